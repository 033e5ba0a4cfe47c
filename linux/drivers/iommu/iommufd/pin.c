// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pinning memory: of a process by pins, of a file by references.
 */
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <uapi/linux/falloc.h>

#include "iommufd_private.h"

static bool is_shmem(struct file *file)
{
	struct inode *inode = file_inode(file);

	return inode->i_sb->s_magic == TMPFS_MAGIC && S_ISREG(inode->i_mode);
}

/*
 * Regular files only: a device node or a pipe in hugetlbfs has other operations
 */
static bool is_hugetlb(struct file *file)
{
	struct inode *inode = file_inode(file);

	return inode->i_sb->s_magic == HUGETLBFS_MAGIC &&
	       S_ISREG(inode->i_mode);
}

/*
 * Count as a writable mapping of the file: as long as this lasts, the file
 * can't be sealed against writing
 */
static int deny_sealing(struct file *file)
{
	if (is_shmem(file) &&
	    SHMEM_I(file_inode(file))->seals & F_SEAL_FUTURE_WRITE)
		return -EPERM;
#ifdef CONFIG_HUGETLBFS
	if (is_hugetlb(file) &&
	    HUGETLBFS_I(file_inode(file))->seals & F_SEAL_FUTURE_WRITE)
		return -EPERM;
#endif
	return mapping_map_writable(file->f_mapping);
}

/*
 * As in mmap(), FMODE_READ is needed even to write: a copy may map for reading
 */
static int check_mode(struct file *file, bool writable)
{
	fmode_t needs = FMODE_READ | (writable ? FMODE_WRITE : 0);

	return (file->f_mode & needs) == needs ? 0 : -EPERM;
}

/**
 * iommufd_pages_init_file - prepare pages for the memory of a file
 * @pages: pages that nobody else sees yet
 * @file: the file. It is referenced if its pages will be pinned; for a dma-buf
 *        the memory of the device is referenced instead
 * @map: the mapping
 *
 * Return: 0; -EPERM if the file can't be read or written; for a dma-buf as
 * iommufd_mmio_of_file().
 */
int iommufd_pages_init_file(struct iommufd_pages *pages, struct file *file,
			    const struct iommufd_mapping *map)
{
	int ret;

	if (is_hugetlb(file) || is_shmem(file)) {
		ret = check_mode(file, pages->writable);
		if (!ret && pages->writable)
			ret = deny_sealing(file);
		if (!ret)
			pages->file = get_file(file);
		return ret;
	}

	ret = iommufd_mmio_of_file(file, map->start, map->length,
				   &pages->mmio_addr);
	if (ret)
		return ret;
	if (!pages->mmio_addr.mmio) {
		/*
		 * The error is returned when it is pinned. A reference to the
		 * file could keep this context open for ever: the file may be
		 * that of the context, or of a device that is bound to it.
		 */
		pages->file = ERR_PTR(-EINVAL);
		return 0;
	}
	ret = check_mode(file, pages->writable);
	if (ret) {
		iommufd_mmio_put(pages->mmio_addr.mmio);
		return ret;
	}
	pages->is_mmio = true;
	/* An IOVA that the kernel chooses is aligned as this is */
	pages->uva = pages->mmio_addr.phys;
	return 0;
}

/**
 * iommufd_pages_put_file - undo iommufd_pages_init_file(), except for memory of
 * a device
 * @pages: pages of a file, none of which is pinned any more
 */
void iommufd_pages_put_file(struct iommufd_pages *pages)
{
	if (IS_ERR(pages->file))
		return;
	if (pages->writable)
		mapping_unmap_writable(pages->file->f_mapping);
	fput(pages->file);
}

static long pin_remote(struct mm_struct *mm, unsigned long uva,
		       unsigned long npages, unsigned int flags,
		       struct page **list)
{
	int locked = 1;
	long ret;

	if (!mmget_not_zero(mm))
		return -EFAULT;
	ret = mmap_read_lock_killable(mm);
	if (ret)
		goto out_put;
	get_user_pages_remote(mm, uva, npages, flags, NULL, NULL, &locked);
	if (!locked)
		ret = mmap_read_lock_killable(mm);
	if (ret)
		goto out_put;
	ret = pin_user_pages_remote(mm, uva, npages, flags | FOLL_LONGTERM,
				    list, NULL, NULL);
	mmap_read_unlock(mm);
out_put:
	mmput(mm);
	return ret;
}

/*
 * A long-term pin can't wait in a page fault: userfaultfd would be refused, and
 * a fatal signal not seen. So pin what is present. If nothing is, take the page
 * faults first and pin after that.
 */
static long pin_user(struct mm_struct *mm, unsigned long uva,
		     unsigned long npages, unsigned int flags,
		     struct page **list)
{
	long ret;

	if (mm != current->mm)
		return pin_remote(mm, uva, npages, flags, list);

	ret = pin_user_pages_fast_only(uva, npages, flags | FOLL_LONGTERM,
				       list);
	if (ret)
		return ret;
	get_user_pages_unlocked(uva, npages, NULL, flags);
	return pin_user_pages_fast(uva, npages, flags | FOLL_LONGTERM, list);
}

/*
 * Get the flags to pin pages that devices only read, from @uva to the end of
 * its VMA. A private page that was not written yet is replaced by the first
 * write of its process, and the device would keep the old page. FOLL_WRITE
 * replaces it before. For shared memory it would only make the page dirty, and
 * allocate blocks for holes of a file.
 */
static int flags_to_read(struct mm_struct *mm, unsigned long uva,
			 unsigned long *npages, unsigned int *flags)
{
	struct vm_area_struct *vma;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	*flags = FOLL_WRITE;
	uva = untagged_addr(uva);
	vma = vma_lookup(mm, uva);
	if (vma) {
		*npages = min(*npages, (vma->vm_end - uva) >> PAGE_SHIFT);
		if ((READ_ONCE(vma->vm_flags) & (VM_SHARED | VM_WRITE)) !=
		    VM_WRITE)
			*flags = 0;
	}
	mmap_read_unlock(mm);
	return 0;
}

static long pin_process(struct iommufd_pages *pages, unsigned long index,
			unsigned long npages, struct page **list)
{
	unsigned long uva = pages->uva + (index << PAGE_SHIFT);
	struct mm_struct *mm = pages->owner->mm;
	unsigned int flags = FOLL_WRITE;
	long ret = 0;

	if (!pages->writable)
		ret = flags_to_read(mm, uva, &npages, &flags);
	if (!ret)
		ret = pin_user(mm, uva, npages, flags, list);
	if (ret > 0 || ret == -ENOMEM || ret == -EINTR)
		return ret;
	return -EFAULT;
}

static struct page *hugetlb_page(struct file *file, pgoff_t index)
{
	struct hstate *h = hstate_file(file);
	unsigned int order = huge_page_order(h);
	pgoff_t inside = index & (pages_per_huge_page(h) - 1);
	struct page *page;
	int ret;

	page = find_get_page(file->f_mapping, index >> order);
	if (!page) {
		/*
		 * As a page fault does, even if the file is not open for
		 * writing
		 */
		ret = file->f_op->fallocate(file, FALLOC_FL_KEEP_SIZE,
					    (loff_t)(index - inside) << PAGE_SHIFT,
					    huge_page_size(h));
		/* Any signal interrupts this: restart after it was handled */
		if (ret == -EINTR)
			ret = -ERESTARTNOINTR;
		/* The pool of huge pages is empty: no lack of disk space */
		if (ret == -ENOSPC)
			ret = -ENOMEM;
		if (ret)
			return ERR_PTR(ret);
		page = find_get_page(file->f_mapping, index >> order);
	}
	if (!page)
		return ERR_PTR(-EFAULT);
	if (PageHWPoison(page)) {
		put_page(page);
		return ERR_PTR(-EIO);
	}
	/* The reference is on the head, as that of a pin is */
	return nth_page(page, inside);
}

/*
 * Get pages of a file. This kernel can't pin without a mapping, so these are
 * plain references. They keep the pages, and the file can't be sealed against
 * writing (EBUSY). Pages that the file had before stay in a movable zone, since
 * only a pin would move them.
 */
static long pin_file(struct iommufd_pages *pages, unsigned long index,
		     unsigned long npages, struct page **list)
{
	struct file *file = pages->file;
	pgoff_t first = (pages->uva >> PAGE_SHIFT) + index;
	unsigned long i;

	if (IS_ERR(file))
		return PTR_ERR(file);
	/* The file must have the whole mapping, whatever part is needed */
	if (pages->uva + pages->area.page_offset + area_length(&pages->area) >
	    i_size_read(file_inode(file)))
		return -EINVAL;
	for (i = 0; i < npages; i++) {
		struct page *page;

		if (is_hugetlb(file))
			page = hugetlb_page(file, first + i);
		else
			page = shmem_read_mapping_page(file->f_mapping,
						       first + i);
		/* As for a pin, the reference count must not overflow */
		if (!IS_ERR(page) && page_count(page) < 0) {
			put_page(page);
			page = ERR_PTR(-ENOMEM);
		}
		if (IS_ERR(page))
			return i ? i : PTR_ERR(page);
		list[i] = page;
		cond_resched();
	}
	return npages;
}

/**
 * iommufd_unpin_list - undo iommufd_pin_list()
 * @pages: the pages
 * @list: pages to unpin, none of which a device has reached
 * @npages: how many
 */
void iommufd_unpin_list(struct iommufd_pages *pages, struct page **list,
			unsigned long npages)
{
	if (pages->file)
		release_pages(list, npages);
	else
		unpin_user_pages(list, npages);
}

/**
 * iommufd_put_file_run - drop references to pages of a file that devices may
 * have written
 * @pages: the pages, which are a file's
 * @pfn: the first page; all are contiguous
 * @npages: number of pages
 */
void iommufd_put_file_run(struct iommufd_pages *pages, unsigned long pfn,
			  unsigned long npages)
{
	while (npages) {
		struct page *page = pfn_to_page(pfn);
		struct folio *folio = page_folio(page);
		unsigned long idx = folio_page_idx(folio, page);
		unsigned long nr = min(npages, folio_nr_pages(folio) - idx);

		if (pages->writable && !folio_test_dirty(folio)) {
			folio_lock(folio);
			folio_mark_dirty(folio);
			folio_unlock(folio);
		}
		folio_put_refs(folio, nr);
		pfn += nr;
		npages -= nr;
	}
}

/**
 * iommufd_pin_list - pin pages, all of them or none
 * @pages: the pages; not memory of a device
 * @index: the first page
 * @npages: how many
 * @list: set to the pages
 *
 * New pages are allocated from memory that does not have to move. A page in a
 * movable zone would have to be copied, or others could not pin it.
 * Context: takes mmap_lock, and sleeps as long as page faults take.
 *
 * Return: 0, or an errno with nothing pinned, as iommufd_pages_pin().
 */
int iommufd_pin_list(struct iommufd_pages *pages, unsigned long index,
		     unsigned long npages, struct page **list)
{
	unsigned int saved = memalloc_pin_save();
	unsigned long have = 0;
	long ret;

	do {
		if (iommufd_should_fail())
			ret = -EFAULT;
		else if (pages->file)
			ret = pin_file(pages, index + have, npages - have,
				       list + have);
		else
			ret = pin_process(pages, index + have, npages - have,
					  list + have);
		if (fatal_signal_pending(current)) {
			if (ret > 0)
				have += ret;
			ret = -EINTR;
		}
		if (ret < 0)
			break;
		have += ret;
	} while (have < npages);
	memalloc_pin_restore(saved);

	if (ret >= 0)
		return 0;
	iommufd_unpin_list(pages, list, have);
	return ret;
}

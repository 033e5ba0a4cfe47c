// SPDX-License-Identifier: GPL-2.0-only
/*
 * User memory: pinning, accounting, and the store of the PFNs that were found.
 *
 * Pages are pinned in chunks of as many pages as one page of pointers can name,
 * 2 MiB in most configurations. The store remembers a chunk in one word if it
 * is contiguous, and else in a table with one entry for each run of contiguous
 * pages. All later work, in page tables and when unpinning, is done by run:
 * what is huge in memory costs no more than one small page.
 *
 * Chunks are counted from the start of the range, not of the address space, so
 * that a small range is a single entry, which needs no tree.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "iommufd_private.h"

#define CHUNK_PAGES (PAGE_SIZE / sizeof(struct page *))

/* Ranges up to this need no memory to be pinned with */
#define FEW_PAGES 16

/*
 * An entry of a table: the PFN of a run in the upper 48 bits, its pages less one
 * in the lower 16. The table ends where the chunk does, so it has no length, and
 * one page is enough if every page is a run.
 */
#define RUN_BITS 16
static_assert(CHUNK_PAGES <= 1 << RUN_BITS);

static u64 pack_run(struct page *first, unsigned long npages)
{
	return (u64)page_to_pfn(first) << RUN_BITS | (npages - 1);
}

static bool is_small(struct iommufd_pages *pages)
{
	return pages->npages <= CHUNK_PAGES;
}

static void *load_chunk(struct iommufd_pages *pages, unsigned long index)
{
	if (is_small(pages))
		return pages->chunk;
	return xa_load(&pages->chunks, index / CHUNK_PAGES);
}

static unsigned long chunk_npages(struct iommufd_pages *pages,
				  unsigned long index)
{
	return min(CHUNK_PAGES, pages->npages - index);
}

/**
 * iommufd_pages_alloc - describe a range of the calling process's memory
 * @uva: first byte
 * @length: bytes, not 0; the end does not wrap
 * @writable: devices may write
 *
 * Nothing is pinned and the memory is not looked at.
 *
 * Return: the pages or an ERR_PTR of -ENOMEM.
 */
struct iommufd_pages *iommufd_pages_alloc(unsigned long uva,
					  unsigned long length, bool writable)
{
	struct iommufd_pages *pages;

	pages = kmalloc(sizeof(*pages), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return ERR_PTR(-ENOMEM);

	*pages = (struct iommufd_pages){
		.npages = PFN_DOWN(uva + length - 1) - PFN_DOWN(uva) + 1,
		.uva = uva & PAGE_MASK,
		.mm = current->mm,
		.task = get_task_struct(current->group_leader),
		.user = get_uid(current_user()),
		.writable = writable,
		.charged = !capable(CAP_IPC_LOCK),
	};
	mmgrab(pages->mm);
	if (!is_small(pages))
		xa_init_flags(&pages->chunks, XA_FLAGS_ACCOUNT);
	return pages;
}

/**
 * iommufd_pages_free - forget a range
 * @pages: from iommufd_pages_alloc(), not pinned
 */
void iommufd_pages_free(struct iommufd_pages *pages)
{
	WARN_ON(pages->npinned);
	free_uid(pages->user);
	put_task_struct(pages->task);
	mmdrop(pages->mm);
	kfree(pages);
}

static int charge(struct iommufd_pages *pages, unsigned long npages)
{
	if (pages->charged) {
		unsigned long limit = task_rlimit(pages->task, RLIMIT_MEMLOCK);
		atomic_long_t *locked = &pages->user->locked_vm;
		long now = atomic_long_read(locked);

		do {
			if (now + npages > limit >> PAGE_SHIFT)
				return -ENOMEM;
		} while (!atomic_long_try_cmpxchg(locked, &now, now + npages));
	}
	atomic64_add(npages, &pages->mm->pinned_vm);
	return 0;
}

static void uncharge(struct iommufd_pages *pages, unsigned long npages)
{
	if (pages->charged)
		atomic_long_sub(npages, &pages->user->locked_vm);
	atomic64_sub(npages, &pages->mm->pinned_vm);
}

static long pin_remote(struct mm_struct *mm, unsigned long uva,
		       unsigned long npages, unsigned int flags,
		       struct page **list)
{
	int locked = 1;
	long ret;

	if (!mmget_not_zero(mm))
		return -EFAULT;
	mmap_read_lock(mm);
	get_user_pages_remote(mm, uva, npages, flags, NULL, NULL, &locked);
	if (!locked)
		mmap_read_lock(mm);
	ret = pin_user_pages_remote(mm, uva, npages, flags | FOLL_LONGTERM,
				    list, NULL, NULL);
	mmap_read_unlock(mm);
	mmput(mm);
	return ret;
}

/*
 * A long-term pin can't wait in a page fault: userfaultfd would be refused, and
 * a fatal signal not seen. So take what is there, and else take the faults first
 * and pin after that.
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

/* Pages from @uva that are in a mapping which its process can't write to */
static unsigned long count_readonly(struct mm_struct *mm, unsigned long uva,
				    unsigned long npages)
{
	struct vm_area_struct *vma;
	unsigned long ret = 0;

	mmap_read_lock(mm);
	uva = untagged_addr(uva);
	vma = vma_lookup(mm, uva);
	if (vma && !(vma->vm_flags & VM_WRITE))
		ret = min(npages, (vma->vm_end - uva) >> PAGE_SHIFT);
	mmap_read_unlock(mm);
	return ret;
}

/*
 * Pin up to @npages pages, return how many. To pin for reading only is not
 * enough even if devices only read: a private page that was not written yet
 * would be replaced under the device by the first write of its process. So ask
 * for write, which makes the page the process's own, unless the process itself
 * can't write.
 */
static long pin_some(struct iommufd_pages *pages, unsigned long index,
		     unsigned long npages, struct page **list)
{
	unsigned long uva = pages->uva + (index << PAGE_SHIFT);
	struct mm_struct *mm = pages->mm;
	long ret;

	ret = pin_user(mm, uva, npages, FOLL_WRITE, list);
	if (ret == -EFAULT && !pages->writable) {
		npages = count_readonly(mm, uva, npages);
		if (npages)
			ret = pin_user(mm, uva, npages, 0, list);
	}
	if (ret > 0 || ret == -ENOMEM)
		return ret;
	return fatal_signal_pending(current) ? -EINTR : -EFAULT;
}

/* Are two pages neighbours? Where struct pages are as pages are, that is easy */
static bool adjoin(struct page *page, struct page *next)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM) && !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		return page_to_pfn(next) == page_to_pfn(page) + 1;
	return next == page + 1;
}

/* Remember one chunk of pinned pages */
static int store_chunk(struct iommufd_pages *pages, unsigned long index,
		       struct page **list, unsigned long npages)
{
	void *entry = xa_mk_value(page_to_pfn(list[0]));
	unsigned long i, first = 1, nr = 1;
	u64 *table = NULL, *run;
	int ret = 0;

	/* Most chunks end here: one run */
	while (first < npages && adjoin(list[first - 1], list[first]))
		first++;

	if (first < npages) {
		for (i = first; i < npages; i++)
			nr += !adjoin(list[i - 1], list[i]);
		table = kmalloc_array(nr, sizeof(*table), GFP_KERNEL_ACCOUNT);
		if (!table)
			return -ENOMEM;
		run = table;
		*run = pack_run(list[0], first);
		for (i = first; i < npages; i++) {
			if (adjoin(list[i - 1], list[i]))
				++*run;
			else
				*++run = pack_run(list[i], 1);
		}
		entry = table;
	}

	if (is_small(pages))
		pages->chunk = entry;
	else
		ret = xa_err(xa_store(&pages->chunks, index / CHUNK_PAGES,
				      entry, GFP_KERNEL_ACCOUNT));
	if (ret)
		kfree(table);
	return ret;
}

/* Pin, charge and store one chunk, or nothing of it */
static int pin_chunk(struct iommufd_pages *pages, struct page **list)
{
	unsigned long index = pages->npinned;
	unsigned long want = chunk_npages(pages, index);
	unsigned long have = 0;
	long ret;

	do {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			goto err_unpin;
		}
		ret = pin_some(pages, index + have, want - have, list + have);
		if (ret < 0)
			goto err_unpin;
		have += ret;
	} while (have < want);

	ret = charge(pages, want);
	if (ret)
		goto err_unpin;
	ret = store_chunk(pages, index, list, want);
	if (ret)
		goto err_uncharge;
	pages->npinned += want;
	return 0;

err_uncharge:
	uncharge(pages, want);
err_unpin:
	unpin_user_pages(list, have);
	return ret;
}

/**
 * iommufd_pages_pin - pin the whole range
 * @pages: pages that are not pinned
 *
 * Works for any process, as long as the one that the memory belongs to lives.
 * Context: takes mmap_lock, and sleeps as long as page faults take.
 *
 * Return: 0; or with nothing pinned -EFAULT if some of it can't be, -ENOMEM for
 * RLIMIT_MEMLOCK or want of memory, -EINTR on a fatal signal.
 */
int iommufd_pages_pin(struct iommufd_pages *pages)
{
	struct page *few[FEW_PAGES], **list = few;
	int ret = 0;

	if (pages->npages > FEW_PAGES) {
		list = (struct page **)__get_free_page(GFP_KERNEL);
		if (!list)
			return -ENOMEM;
	}

	while (!ret && pages->npinned < pages->npages) {
		ret = pin_chunk(pages, list);
		cond_resched();
	}
	if (ret)
		iommufd_pages_unpin(pages);

	if (list != few)
		free_page((unsigned long)list);
	return ret;
}

/* Free what the store holds of pages that were pinned */
static void forget_chunks(struct iommufd_pages *pages)
{
	unsigned long index;
	void *entry;

	if (!is_small(pages)) {
		xa_for_each(&pages->chunks, index, entry)
			if (!xa_is_value(entry))
				kfree(entry);
		xa_destroy(&pages->chunks);
	} else if (pages->npinned && !xa_is_value(pages->chunk)) {
		kfree(pages->chunk);
	}
}

/**
 * iommufd_pages_unpin - let all pinned pages go
 * @pages: pages that no page table maps any more
 */
void iommufd_pages_unpin(struct iommufd_pages *pages)
{
	struct iommufd_cursor cur = { .pages = pages };
	struct iommufd_run run;

	while (iommufd_cursor_next(&cur, &run)) {
		unpin_user_page_range_dirty_lock(pfn_to_page(run.pfn),
						 run.npages, pages->writable);
		cond_resched();
	}
	forget_chunks(pages);
	uncharge(pages, pages->npinned);
	pages->npinned = 0;
}

/**
 * iommufd_cursor_next - get the next run of contiguous pages
 * @cur: cursor, which begins as { .pages = pages }
 * @run: the run found; at most a chunk
 *
 * Return: false at the end of what is pinned.
 */
bool iommufd_cursor_next(struct iommufd_cursor *cur, struct iommufd_run *run)
{
	struct iommufd_pages *pages = cur->pages;
	u64 packed;

	if (cur->index == pages->npinned)
		return false;

	if (!cur->run) {
		void *entry = load_chunk(pages, cur->index);

		if (xa_is_value(entry)) {
			run->pfn = xa_to_value(entry);
			run->npages = chunk_npages(pages, cur->index);
			cur->index += run->npages;
			return true;
		}
		cur->run = entry;
	}

	packed = *cur->run++;
	run->pfn = packed >> RUN_BITS;
	run->npages = (packed & (BIT(RUN_BITS) - 1)) + 1;
	cur->index += run->npages;
	if (!(cur->index % CHUNK_PAGES))
		cur->run = NULL;
	return true;
}

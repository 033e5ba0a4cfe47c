// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of devices (MMIO) that other devices do DMA to: what it is, and how it is
 * found behind a mapping or a file. It has no struct page, so it is not pinned.
 */
#include <linux/export.h>
#include <linux/file.h>
#include <linux/iommufd.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "iommufd_private.h"

static DECLARE_RWSEM(finder_lock);
static const struct iommufd_mmio_finder *finder;

static bool set_addr(struct iommufd_mmio *mmio, struct iommufd_mmio_addr *addr,
		     phys_addr_t phys)
{
	if (IS_ERR_OR_NULL(mmio))
		return false;
	addr->mmio = mmio;
	addr->phys = phys;
	return true;
}

/*
 * The whole range has to be in one VMA, with the permissions that pinning asks
 * for. A page fault of vfio-pci sets VM_PAT there, and so writes vm_flags with
 * mmap_lock held for read.
 */
static int find_in_mm(struct mm_struct *mm, unsigned long uva,
		      unsigned long length, bool write,
		      struct iommufd_mmio_addr *addr)
{
	unsigned long needs = VM_PFNMAP | (write ? VM_WRITE : VM_READ);
	struct vm_area_struct *vma;
	struct iommufd_mmio *mmio;
	phys_addr_t phys;

	uva = untagged_addr(uva);
	vma = vma_lookup(mm, uva);
	if (!vma || vma->vm_end - uva < length ||
	    (READ_ONCE(vma->vm_flags) & needs) != needs)
		return -EFAULT;
	phys = PFN_PHYS(vma->vm_pgoff) + (uva - vma->vm_start);
	mmio = finder->of_vma(vma);
	if (!set_addr(mmio, addr, phys))
		return mmio ? PTR_ERR(mmio) : -EFAULT;
	return 0;
}

/**
 * iommufd_mmio_of_mm - find the device memory behind an address range
 * @mm: address space
 * @uva: first address, page aligned
 * @length: bytes
 * @write: devices may write
 * @addr: the result, with a reference
 *
 * Context: takes mmap_lock and locks of the driver; takes no page fault.
 *
 * Return: 0; -EFAULT if the range is not inside one VMA of a device, or the VMA
 * lacks the permission; -ENOMEM; -EINTR on a fatal signal.
 */
int iommufd_mmio_of_mm(struct mm_struct *mm, unsigned long uva,
		       unsigned long length, bool write,
		       struct iommufd_mmio_addr *addr)
{
	int ret = -EFAULT;

	if (!mmget_not_zero(mm))
		return -EFAULT;
	if (mmap_read_lock_killable(mm)) {
		ret = -EINTR;
		goto out_put;
	}
	down_read(&finder_lock);
	if (finder)
		ret = find_in_mm(mm, uva, length, write, addr);
	up_read(&finder_lock);
	mmap_read_unlock(mm);
out_put:
	mmput(mm);
	return ret;
}

/**
 * iommufd_mmio_of_file - find the device memory behind a dma-buf
 * @file: any file
 * @start: first byte in it
 * @length: bytes; the end does not wrap
 * @addr: the result, for the page of @start, with a reference; @mmio is NULL if
 *        @file is not a dma-buf
 *
 * Return: 0; -EINVAL if the range is beyond the end, -EOPNOTSUPP if the dma-buf is
 * another exporter's or has several ranges, -ENODEV if it is revoked.
 */
int iommufd_mmio_of_file(struct file *file, unsigned long start,
			 unsigned long length, struct iommufd_mmio_addr *addr)
{
	struct iommufd_mmio *mmio = NULL;
	phys_addr_t phys = 0;
	u64 size = 0;
	int ret = 0;

	addr->mmio = NULL;
	if (file_inode(file)->i_sb->s_magic != DMA_BUF_MAGIC)
		return 0;
	down_read(&finder_lock);
	if (finder)
		mmio = finder->of_file(file, &phys, &size);
	up_read(&finder_lock);
	if (!set_addr(mmio, addr, phys + (start & PAGE_MASK)))
		return -EOPNOTSUPP;
	if (start > size || length > size - start)
		ret = -EINVAL;
	else if (READ_ONCE(mmio->revoked))
		ret = -ENODEV;
	if (ret)
		iommufd_mmio_put(mmio);
	return ret;
}

/*
 * For drivers
 */

/**
 * iommufd_mmio_create - describe the memory of a device
 * @revoked: the memory is not accessible now
 *
 * Return: the memory, with one reference, or an ERR_PTR of -ENOMEM.
 */
struct iommufd_mmio *iommufd_mmio_create(bool revoked)
{
	struct iommufd_mmio *mmio = kzalloc(sizeof(*mmio), GFP_KERNEL_ACCOUNT);

	if (!mmio)
		return ERR_PTR(-ENOMEM);
	refcount_set(&mmio->refs, 1);
	mutex_init(&mmio->lock);
	mmio->revoked = revoked;
	mmio->mappings = RB_ROOT;
	return mmio;
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_create, IOMMUFD);

/**
 * iommufd_mmio_get - take a reference
 * @mmio: memory that the caller has a reference to
 *
 * Return: @mmio.
 */
struct iommufd_mmio *iommufd_mmio_get(struct iommufd_mmio *mmio)
{
	refcount_inc(&mmio->refs);
	return mmio;
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_get, IOMMUFD);

/**
 * iommufd_mmio_put - drop a reference
 * @mmio: the memory. The driver revokes it before it drops its own reference, after
 *        which nobody restores it
 */
void iommufd_mmio_put(struct iommufd_mmio *mmio)
{
	if (!refcount_dec_and_test(&mmio->refs))
		return;
	WARN_ON(!RB_EMPTY_ROOT(&mmio->mappings));
	mutex_destroy(&mmio->lock);
	kfree(mmio);
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_put, IOMMUFD);

/**
 * iommufd_mmio_set_finder - set the callbacks that find memory of devices
 * @new: the callbacks, or NULL to remove them
 *
 * Context: waits for running callbacks.
 */
void iommufd_mmio_set_finder(const struct iommufd_mmio_finder *new)
{
	down_write(&finder_lock);
	WARN_ON(new && finder);
	finder = new;
	up_write(&finder_lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_set_finder, IOMMUFD);

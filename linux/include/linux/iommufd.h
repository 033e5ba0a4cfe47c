/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What iommufd offers to the kernel code that drives devices for userspace.
 *
 * A driver turns the file that the user gave it into a context. Whose device does
 * DMA of its own, through the IOMMU, binds it to the context, and then attaches
 * and detaches it as the user asks. Who emulates a device makes an access, and
 * reaches the user's memory through that.
 */
#ifndef _LINUX_IOMMUFD_H
#define _LINUX_IOMMUFD_H

#include <linux/bits.h>
#include <linux/err.h>
#include <linux/types.h>

struct device;
struct file;
struct iommufd_access;
struct iommufd_ctx;
struct iommufd_device;
struct iommufd_mmio;
struct page;
struct vm_area_struct;

struct iommufd_ctx *iommufd_from_file(struct file *file);
struct iommufd_ctx *iommufd_get(int fd);
void iommufd_put(struct iommufd_ctx *ctx);

struct iommufd_device *iommufd_bind(struct iommufd_ctx *ctx,
				    struct device *dev, u32 *id);
void iommufd_unbind(struct iommufd_device *idev);
int iommufd_attach(struct iommufd_device *idev, u32 pt_id,
		   u32 __user *out_pt_id);
int iommufd_detach(struct iommufd_device *idev);
u32 iommufd_device_to_id(struct iommufd_device *idev,
			 struct iommufd_device *asker);
bool iommufd_has_group_of(struct iommufd_device *asker, struct device *dev);
bool iommufd_enforces_coherency(struct device *dev);

/**
 * struct iommufd_access_ops - what the owner of an access does
 * @unpin: the pages from @iova on, every one of which was pinned when it was
 *         looked for, are wanted back. The owner stops using them and unpins them
 *         before it returns. No lock of iommufd is held that pinning or unpinning
 *         takes, so the owner can hold its own lock here and around both; but not
 *         around attaching, detaching and stopping the access, which call this or
 *         wait for it. Not called any more once the access is stopped. NULL if the
 *         owner never pins
 */
struct iommufd_access_ops {
	void (*unpin)(void *owner, unsigned long iova, unsigned long length);
};

/**
 * enum iommufd_access_flags - how an access reaches memory
 * @IOMMUFD_ACCESS_WRITE: to write it; else to read it
 * @IOMMUFD_ACCESS_READ: with the other: to read it too
 * @IOMMUFD_ACCESS_PINNED: iommufd_access_rw() only, for tests: always by pinning
 */
enum iommufd_access_flags {
	IOMMUFD_ACCESS_WRITE = BIT(0),
	IOMMUFD_ACCESS_READ = BIT(1),
	IOMMUFD_ACCESS_PINNED = BIT(2),
};

struct iommufd_access *
iommufd_access_create(struct iommufd_ctx *ctx,
		      const struct iommufd_access_ops *ops, void *owner,
		      u32 *id);
void iommufd_access_stop(struct iommufd_access *access);
void iommufd_access_destroy(struct iommufd_access *access);
int iommufd_access_attach(struct iommufd_access *access, u32 ioas_id,
			  u32 __user *out_ioas_id);
int iommufd_access_detach(struct iommufd_access *access);
int iommufd_access_pin(struct iommufd_access *access, unsigned long iova,
		       unsigned long npages, unsigned int flags,
		       struct page **list);
void iommufd_access_unpin(struct iommufd_access *access, unsigned long iova,
			  unsigned long npages);
int iommufd_access_rw(struct iommufd_access *access, unsigned long iova,
		      void *data, size_t length, unsigned int flags);

/**
 * struct iommufd_mmio_finder - callbacks that find memory of devices
 * @of_vma: return the memory that @vma maps, linearly from the PFN vm_pgoff on;
 *          mmap_lock is held for read
 * @of_file: return the memory behind a dma-buf, and its physical address and length
 *
 * Both return the memory with a reference, NULL if it is not the driver's, or an
 * ERR_PTR: -ENOMEM, or -EOPNOTSUPP for a dma-buf of several ranges.
 */
struct iommufd_mmio_finder {
	struct iommufd_mmio *(*of_vma)(struct vm_area_struct *vma);
	struct iommufd_mmio *(*of_file)(struct file *file, phys_addr_t *start,
					u64 *length);
};

struct iommufd_mmio *iommufd_mmio_create(bool revoked);
struct iommufd_mmio *iommufd_mmio_get(struct iommufd_mmio *mmio);
void iommufd_mmio_put(struct iommufd_mmio *mmio);
void iommufd_mmio_revoke(struct iommufd_mmio *mmio);
void iommufd_mmio_restore(struct iommufd_mmio *mmio);
void iommufd_mmio_set_finder(const struct iommufd_mmio_finder *finder);

int iommufd_container_prepare(struct iommufd_ctx *ctx);
int iommufd_container_set_noiommu(struct iommufd_ctx *ctx);
int iommufd_container_ioas(struct iommufd_ctx *ctx, u32 *id);

#endif

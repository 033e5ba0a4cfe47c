/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interface of iommufd to kernel code that drives devices for userspace.
 *
 * A driver gets a context from a file or an fd of the user. If a device does
 * DMA through an IOMMU, its driver binds it to the context, and attaches and
 * detaches it as the user asks. If a device is emulated, its driver makes an
 * access, and reads and writes the memory of the user through it.
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
			 struct iommufd_device *other);
bool iommufd_has_group_of(struct iommufd_device *idev, struct device *dev);
bool iommufd_enforces_coherency(struct device *dev);

/**
 * struct iommufd_access_ops - callbacks of the owner of an access
 * @unpin: asks for pages from @iova on, all of which were pinned when they were
 *         found. The owner stops using them and unpins them before it returns.
 *         No lock of iommufd is held that pinning or unpinning takes. So the
 *         owner can hold a lock of its own here and around both, but not to
 *         attach, detach or stop the access, which call this or wait for it.
 *         Not called any more once the access is stopped. NULL if the owner
 *         never pins
 */
struct iommufd_access_ops {
	void (*unpin)(void *owner, unsigned long iova, unsigned long length);
};

/**
 * enum iommufd_access_flags - how an access reaches memory
 * @IOMMUFD_ACCESS_WRITE: write; without it, read
 * @IOMMUFD_ACCESS_READ: with IOMMUFD_ACCESS_WRITE: read, too
 * @IOMMUFD_ACCESS_PINNED: iommufd_access_rw() only, for tests: always copy by
 *                         pinning
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
 * @of_file: return the memory behind a dma-buf, and set its physical address
 *           and length
 *
 * Both return the memory with a reference, NULL if it is not the driver's, or
 * an ERR_PTR: @of_vma of -ENOMEM; @of_file of -EOPNOTSUPP if the dma-buf has
 * several ranges.
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

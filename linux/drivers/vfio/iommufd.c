// SPDX-License-Identifier: GPL-2.0-only
/*
 * The binding of a vfio device to an iommufd.
 *
 * A physical device is bound with iommufd_bind(). An emulated device gets an
 * access, through which its driver pins and copies memory. The binding lasts
 * from the first open to the last close. If a device was opened through its
 * cdev, it is attached by ATTACH_IOMMUFD_PT. If it was opened through its
 * group, it is attached when it is opened, to the IOAS of the container.
 */
#include <linux/capability.h>
#include <linux/iommufd.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vfio.h>

#include "vfio.h"

MODULE_IMPORT_NS(IOMMUFD);

static struct iommufd_access *access_of(struct vfio_device *device)
{
	return vfio_device_private(device)->binding.access;
}

static struct iommufd_device *idev_of(struct vfio_device *device)
{
	return vfio_device_private(device)->binding.device;
}

/* iommufd_access_ops.unpin; the device is open until vfio_iommufd_stop() */
static void access_unpin(void *owner, unsigned long iova, unsigned long length)
{
	struct vfio_device *device = owner;

	/* Drivers may expect one call at a time, as from type1 */
	mutex_lock(&vfio_device_private(device)->dma_unmap_lock);
	device->ops->dma_unmap(device, iova, length);
	mutex_unlock(&vfio_device_private(device)->dma_unmap_lock);
}

static const struct iommufd_access_ops access_ops = {
	.unpin = access_unpin,
};

/* A driver without dma_unmap() can't be asked to unpin, so it can't pin */
static const struct iommufd_access_ops no_pin_access_ops;

/**
 * vfio_iommufd_init - allocate the private part of a device
 * @device: device that is being initialized
 *
 * Return: 0 or -ENOMEM.
 */
int vfio_iommufd_init(struct vfio_device *device)
{
	struct vfio_device_private *private;

	private = kzalloc(sizeof(*private), GFP_KERNEL);
	if (!private)
		return -ENOMEM;
	mutex_init(&private->attach_lock);
	mutex_init(&private->dma_unmap_lock);
	dev_set_drvdata(&device->device, private);
	return 0;
}

/**
 * vfio_iommufd_cleanup - undo vfio_iommufd_init()
 * @device: device that nobody can find any more, not even in its dev_set
 */
void vfio_iommufd_cleanup(struct vfio_device *device)
{
	kfree(vfio_device_private(device));
	dev_set_drvdata(&device->device, NULL);
}

/**
 * vfio_iommufd_bind - bind a device to an iommufd
 * @device: device that is not bound
 * @ctx: the iommufd
 * @id: set to the id of the device in the iommufd
 *
 * Context: dev_set->lock is held. It protects the binding.
 *
 * Return: 0, or the errno of iommufd_bind() or iommufd_access_create().
 */
int vfio_iommufd_bind(struct vfio_device *device, struct iommufd_ctx *ctx,
		      u32 *id)
{
	struct iommufd_access *access;
	struct iommufd_device *idev;

	lockdep_assert_held(&device->dev_set->lock);

	if (device->group->type == VFIO_EMULATED_IOMMU) {
		access = iommufd_access_create(ctx, device->ops->dma_unmap ?
					       &access_ops : &no_pin_access_ops,
					       device, id);
		if (IS_ERR(access))
			return PTR_ERR(access);
		vfio_device_private(device)->binding.access = access;
		return 0;
	}
	idev = iommufd_bind(ctx, device->dev, id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	vfio_device_private(device)->binding.device = idev;
	return 0;
}

/**
 * vfio_iommufd_clear - clear and return what vfio_iommufd_bind() has set
 * @device: device that its driver has closed, bound or not
 *
 * Context: dev_set->lock is held.
 *
 * Return: the binding, for vfio_iommufd_unbind().
 */
struct vfio_iommufd_binding vfio_iommufd_clear(struct vfio_device *device)
{
	struct vfio_device_private *private = vfio_device_private(device);
	struct vfio_iommufd_binding binding = private->binding;

	lockdep_assert_held(&device->dev_set->lock);

	private->binding = (struct vfio_iommufd_binding){};
	private->attached = false;
	return binding;
}

/**
 * vfio_iommufd_unbind - undo vfio_iommufd_bind()
 * @binding: what vfio_iommufd_clear() returned
 *
 * Context: waits for requests on the device, which may wait for page faults.
 * Must not be called with dev_set->lock held, since other users need it.
 */
void vfio_iommufd_unbind(struct vfio_iommufd_binding binding)
{
	if (binding.access)
		iommufd_access_destroy(binding.access);
	if (binding.device)
		iommufd_unbind(binding.device);
}

/**
 * vfio_iommufd_attach - attach a bound device, or move it
 * @device: bound device; the caller's file keeps it bound
 * @pt_id: id of an IOAS, or, for a physical device, of an HWPT
 * @out_pt_id: user memory to write the id of the HWPT or IOAS to, or NULL
 *
 * Context: may call dma_unmap() of the driver.
 *
 * Return: 0, or the errno of iommufd_attach() or iommufd_access_attach().
 */
int vfio_iommufd_attach(struct vfio_device *device, u32 pt_id,
			u32 __user *out_pt_id)
{
	if (vfio_device_has_access(device))
		return iommufd_access_attach(access_of(device), pt_id,
					     out_pt_id);
	return iommufd_attach(idev_of(device), pt_id, out_pt_id);
}

/**
 * vfio_iommufd_detach - detach a bound device
 * @device: bound device; the caller's file keeps it bound
 *
 * Context: may call dma_unmap() of the driver.
 *
 * Return: 0, -EINTR, or -EBUSY if another thread attaches or detaches an
 * emulated device.
 */
int vfio_iommufd_detach(struct vfio_device *device)
{
	if (vfio_device_has_access(device))
		return iommufd_access_detach(access_of(device));
	return iommufd_detach(idev_of(device));
}

/**
 * vfio_device_cdev_opened - was an open device opened through its cdev?
 * @device: device that the caller has open
 *
 * If a device was opened through its group, it is bound only if the container
 * of the group is an iommufd. Neither changes while the device is open.
 *
 * Return: false if it was opened through its group.
 */
bool vfio_device_cdev_opened(struct vfio_device *device)
{
	return vfio_device_is_bound(device) && !device->group->iommufd;
}
EXPORT_SYMBOL_GPL(vfio_device_cdev_opened);

/**
 * vfio_iommufd_devid_of - get the id of a device for the user of another one
 * @device: device of the same dev_set, open or not
 * @opened: physical device that was opened through its cdev
 *
 * Context: dev_set->lock is held.
 *
 * Return: the id of @device in the iommufd of @opened. If it has none:
 * VFIO_PCI_DEVID_OWNED if a device of its group is bound there, else
 * VFIO_PCI_DEVID_NOT_OWNED.
 */
int vfio_iommufd_devid_of(struct vfio_device *device,
			  struct vfio_device *opened)
{
	int id = 0;

	lockdep_assert_held(&opened->dev_set->lock);

	if (idev_of(device))
		id = iommufd_device_to_id(idev_of(device), idev_of(opened));
	if (id)
		return id;
	return iommufd_has_group_of(idev_of(opened), device->dev) ?
		       VFIO_PCI_DEVID_OWNED : VFIO_PCI_DEVID_NOT_OWNED;
}
EXPORT_SYMBOL_GPL(vfio_iommufd_devid_of);

/**
 * vfio_device_enforces_coherency - does the IOMMU keep DMA of a device coherent?
 * @device: device, bound or not
 *
 * Return: false if DMA can bypass the CPU caches. Also false for an emulated
 * device, since its driver may let any hardware do DMA.
 */
bool vfio_device_enforces_coherency(struct vfio_device *device)
{
	return iommufd_enforces_coherency(device->dev);
}

/**
 * vfio_group_enforces_coherency - does the IOMMU keep DMA of a group coherent?
 * @group: the group
 *
 * Return: true if the group has a registered device, and it does for each of
 * them.
 */
bool vfio_group_enforces_coherency(struct vfio_group *group)
{
	struct vfio_device *device;
	bool ret;

	mutex_lock(&group->device_lock);
	/* A device that is being unregistered is not listed, but may be open */
	ret = !list_empty(&group->device_list);
	list_for_each_entry(device, &group->device_list, group_next)
		ret = ret && vfio_device_enforces_coherency(device);
	mutex_unlock(&group->device_lock);
	return ret;
}

/**
 * vfio_iommufd_stop - stop the access of an emulated device
 * @device: device that is about to be closed for the last time
 *
 * After this its driver can't pin and is not asked to unpin. Pinned pages stay
 * until the driver has closed the device, since it may use them until then.
 */
void vfio_iommufd_stop(struct vfio_device *device)
{
	if (vfio_device_has_access(device))
		iommufd_access_stop(access_of(device));
}

/* On 32 bits dma_addr_t can be wider than an IOVA of an IOAS */
static bool can_be_mapped(dma_addr_t iova)
{
	return iova == (unsigned long)iova;
}

/**
 * vfio_iommufd_pin - vfio_pin_pages() for a device that is bound
 * @device: open device with an access
 * @iova: first IOVA, anywhere in a page
 * @npages: number of pages
 * @prot: IOMMU_READ, IOMMU_WRITE
 * @pages: set to the pinned pages
 *
 * Return: @npages, or the errno of iommufd_access_pin().
 */
int vfio_iommufd_pin(struct vfio_device *device, dma_addr_t iova, int npages,
		     int prot, struct page **pages)
{
	unsigned int flags = 0;
	int ret;

	if (!can_be_mapped(iova))
		return -ENOENT;
	if (prot & IOMMU_WRITE)
		flags |= IOMMUFD_ACCESS_WRITE;
	if (prot & IOMMU_READ)
		flags |= IOMMUFD_ACCESS_READ;
	ret = iommufd_access_pin(access_of(device), iova & PAGE_MASK, npages,
				 flags, pages);
	return ret ? ret : npages;
}

/**
 * vfio_iommufd_unpin - vfio_unpin_pages() for a device that is bound
 * @device: open device with an access
 * @iova: first IOVA, anywhere in a page
 * @npages: number of pages
 */
void vfio_iommufd_unpin(struct vfio_device *device, dma_addr_t iova, int npages)
{
	if (can_be_mapped(iova))
		iommufd_access_unpin(access_of(device), iova & PAGE_MASK,
				     npages);
}

/**
 * vfio_iommufd_rw - vfio_dma_rw() for a device that is bound
 * @device: open device with an access
 * @iova: first IOVA
 * @data: buffer to read to or write from
 * @length: number of bytes
 * @write: write to the IOVA; otherwise read
 *
 * Return: 0, or the errno of iommufd_access_rw().
 */
int vfio_iommufd_rw(struct vfio_device *device, dma_addr_t iova, void *data,
		    size_t length, bool write)
{
	if (!can_be_mapped(iova))
		return -ENOENT;
	return iommufd_access_rw(access_of(device), iova, data, length,
				 write ? IOMMUFD_ACCESS_WRITE : 0);
}

/**
 * vfio_group_set_iommufd - make an iommufd the container of a group
 * @group: group without a container
 * @file: any file
 *
 * Context: group_lock is held.
 *
 * Return:
 * * 0 - the iommufd is the container
 * * -EINVAL - the file is something else, or groups with and without an IOMMU
 *   are mixed
 * * -EPERM - the group has no IOMMU, and the caller no CAP_SYS_RAWIO
 * * -ENOMEM - no memory
 */
int vfio_group_set_iommufd(struct vfio_group *group, struct file *file)
{
	struct iommufd_ctx *ctx = iommufd_from_file(file);
	int ret;

	lockdep_assert_held(&group->group_lock);

	if (IS_ERR(ctx))
		return -EINVAL;
	if (group->type != VFIO_NO_IOMMU)
		ret = iommufd_container_prepare(ctx);
	else if (capable(CAP_SYS_RAWIO))
		ret = iommufd_container_set_noiommu(ctx);
	else
		ret = -EPERM;
	if (ret) {
		iommufd_put(ctx);
		return ret;
	}
	group->iommufd = ctx;
	group->container_users = 1;
	return 0;
}

/**
 * vfio_group_unset_iommufd - undo vfio_group_set_iommufd()
 * @group: the group; none of its devices is open
 *
 * Context: group_lock is held.
 */
void vfio_group_unset_iommufd(struct vfio_group *group)
{
	lockdep_assert_held(&group->group_lock);
	WARN_ON(group->container_users != 1);

	iommufd_put(group->iommufd);
	group->iommufd = NULL;
	group->container_users = 0;
}

/**
 * vfio_group_bind_device - bind a device that is opened through its group
 * @device: device that is opened for the first time
 *
 * Context: dev_set->lock and group_lock are held.
 *
 * Return: 0, or the errno of vfio_iommufd_bind(). Nothing is done if the group
 * has a VFIO container or no IOMMU.
 */
int vfio_group_bind_device(struct vfio_device *device)
{
	struct vfio_group *group = device->group;
	u32 id;

	lockdep_assert_held(&group->group_lock);

	if (!group->iommufd || group->type == VFIO_NO_IOMMU)
		return 0;
	return vfio_iommufd_bind(device, group->iommufd, &id);
}

/**
 * vfio_group_attach_device - attach a device that is opened through its group
 * @device: device that the caller has opened
 *
 * If several processes open the device at the same time, each waits until it is
 * attached. If the attach of one fails, the next one tries.
 * Context: sleeps as long as page faults take, so no other lock is held.
 *
 * Return: 0, -ENODEV if the iommufd has no IOAS for a container any more,
 * -EINTR, or the errno of vfio_iommufd_attach().
 */
int vfio_group_attach_device(struct vfio_device *device)
{
	struct vfio_device_private *private = vfio_device_private(device);
	u32 id;
	int ret;

	if (!vfio_device_is_bound(device))
		return 0;
	ret = mutex_lock_killable(&private->attach_lock);
	if (ret)
		return ret;
	if (!private->attached) {
		ret = iommufd_container_ioas(device->group->iommufd, &id);
		if (!ret)
			ret = vfio_iommufd_attach(device, id, NULL);
		private->attached = !ret;
	}
	mutex_unlock(&private->attach_lock);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bridge from a vfio device to what iommufd knows of it.
 *
 * Physical devices only, whose own DMA goes through the IOMMU.
 */
#include <linux/iommufd.h>
#include <linux/module.h>
#include <linux/vfio.h>

#include "vfio.h"

MODULE_IMPORT_NS(IOMMUFD);

/**
 * vfio_iommufd_bind - take the DMA of a device for an iommufd
 * @device: device that is not bound
 * @ctx: the iommufd
 * @id: the device's id in there
 *
 * Context: dev_set->lock is held, which protects the binding.
 *
 * Return: 0 or the errno of iommufd_bind().
 */
int vfio_iommufd_bind(struct vfio_device *device, struct iommufd_ctx *ctx,
		      u32 *id)
{
	struct iommufd_device *idev;

	lockdep_assert_held(&device->dev_set->lock);

	idev = iommufd_bind(ctx, device->dev, id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	device->iommufd_device = idev;
	return 0;
}

/**
 * vfio_iommufd_unbind - give the DMA of a device back
 * @device: bound device that its driver has closed
 *
 * Context: dev_set->lock is held.
 */
void vfio_iommufd_unbind(struct vfio_device *device)
{
	lockdep_assert_held(&device->dev_set->lock);

	iommufd_unbind(device->iommufd_device);
	device->iommufd_device = NULL;
}

/**
 * vfio_iommufd_attach - attach a bound device, or move it
 * @device: bound device; the caller's file keeps it so
 * @pt_id: id of an IOAS or page table
 * @out_pt_id: where userspace wants the id of the page table used
 *
 * Return: 0 or the errno of iommufd_attach().
 */
int vfio_iommufd_attach(struct vfio_device *device, u32 pt_id,
			u32 __user *out_pt_id)
{
	return iommufd_attach(device->iommufd_device, pt_id, out_pt_id);
}

/**
 * vfio_iommufd_detach - block the DMA of a bound device
 * @device: bound device; the caller's file keeps it so
 */
void vfio_iommufd_detach(struct vfio_device *device)
{
	iommufd_detach(device->iommufd_device);
}

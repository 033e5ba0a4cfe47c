// SPDX-License-Identifier: GPL-2.0-only
/*
 * BARs as targets of DMA of other devices.
 *
 * iommufd maps them. This file tells iommufd where they are, and revokes and
 * restores them with memory_lock held for write.
 */
#include <linux/iommufd.h>

#include "../vfio.h"
#include "vfio_pci_priv.h"

static struct iommufd_mmio **mmio_slot(struct vfio_pci_core_device *vdev)
{
	return &vfio_device_private(&vdev->vdev)->mmio;
}

/*
 * Can the CPU reach the BARs, as vfio_pci_mmap_fault() decides? A device in low
 * power can be resumed for an ioctl
 */
static bool is_reachable(struct vfio_pci_core_device *vdev)
{
	lockdep_assert_held_write(&vdev->memory_lock);

	return !vdev->pm_runtime_engaged && __vfio_pci_memory_enabled(vdev);
}

/**
 * vfio_pci_get_mmio - get the iommufd_mmio of a device
 * @vdev: open device that is bound to an iommufd
 *
 * It is allocated on first use, since most devices never need it.
 * Context: takes memory_lock; mmap_lock may be held.
 *
 * Return: the iommufd_mmio, with a reference, or an ERR_PTR of -ENOMEM.
 */
struct iommufd_mmio *vfio_pci_get_mmio(struct vfio_pci_core_device *vdev)
{
	struct iommufd_mmio **slot = mmio_slot(vdev), *mmio;

	down_write(&vdev->memory_lock);
	mmio = *slot;
	if (!mmio) {
		mmio = iommufd_mmio_create(!is_reachable(vdev));
		if (!IS_ERR(mmio))
			*slot = mmio;
	}
	if (!IS_ERR(mmio))
		iommufd_mmio_get(mmio);
	up_write(&vdev->memory_lock);
	return mmio;
}

/**
 * vfio_pci_revoke_mmio - revoke the BARs of a device
 * @vdev: the device
 *
 * Context: memory_lock is held for write.
 */
void vfio_pci_revoke_mmio(struct vfio_pci_core_device *vdev)
{
	struct iommufd_mmio **slot = mmio_slot(vdev);

	lockdep_assert_held_write(&vdev->memory_lock);

	if (*slot)
		iommufd_mmio_revoke(*slot);
}

/**
 * vfio_pci_up_write_memory_lock - restore the BARs and release memory_lock
 * @vdev: the device
 *
 * The BARs stay revoked if memory is not enabled or the device is in low power.
 */
void vfio_pci_up_write_memory_lock(struct vfio_pci_core_device *vdev)
{
	struct iommufd_mmio **slot = mmio_slot(vdev);

	if (*slot && is_reachable(vdev))
		iommufd_mmio_restore(*slot);
	up_write(&vdev->memory_lock);
}

/**
 * vfio_pci_end_mmio - revoke the BARs of a device for good
 * @vdev: device that is being closed
 *
 * Context: takes memory_lock, since a runtime resume may restore the BARs.
 */
void vfio_pci_end_mmio(struct vfio_pci_core_device *vdev)
{
	struct iommufd_mmio **slot = mmio_slot(vdev), *mmio;

	down_write(&vdev->memory_lock);
	mmio = *slot;
	*slot = NULL;
	up_write(&vdev->memory_lock);
	if (mmio) {
		iommufd_mmio_revoke(mmio);
		iommufd_mmio_put(mmio);
	}
}

static struct iommufd_mmio *mmio_of_vma(struct vm_area_struct *vma)
{
	struct vfio_pci_core_device *vdev = vma->vm_private_data;

	/* The VMA holds a reference to the file, which keeps the device open */
	if (vma->vm_ops != &vfio_pci_mmap_ops ||
	    !vfio_device_is_bound(&vdev->vdev))
		return NULL;
	return vfio_pci_get_mmio(vdev);
}

static const struct iommufd_mmio_finder finder = {
	.of_vma = mmio_of_vma,
	.of_file = vfio_pci_mmio_of_dmabuf,
};

/**
 * vfio_pci_init_mmio - let iommufd find the BARs of devices
 */
void vfio_pci_init_mmio(void)
{
	iommufd_mmio_set_finder(&finder);
}

/**
 * vfio_pci_exit_mmio - undo vfio_pci_init_mmio()
 */
void vfio_pci_exit_mmio(void)
{
	iommufd_mmio_set_finder(NULL);
}

MODULE_IMPORT_NS(IOMMUFD);

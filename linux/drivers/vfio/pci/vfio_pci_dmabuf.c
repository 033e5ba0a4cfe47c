// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO_DEVICE_FEATURE_DMA_BUF: export ranges of a BAR as a dma-buf.
 *
 * Only iommufd imports it. The dma-buf has a reference to the iommufd_mmio, but
 * none to the device or its driver: the memory is revoked for good when the
 * device is closed.
 */
#include <linux/dma-buf.h>
#include <linux/fcntl.h>
#include <linux/iommufd.h>
#include <linux/overflow.h>
#include <linux/uaccess.h>

#include "../vfio.h"
#include "vfio_pci_priv.h"

/**
 * struct vfio_pci_dmabuf - the private part of a dma-buf
 * @mmio: memory of the device
 * @start: physical address of the first range
 * @size: size of all ranges in bytes
 * @nr_ranges: number of ranges
 */
struct vfio_pci_dmabuf {
	struct iommufd_mmio *mmio;
	phys_addr_t start;
	u64 size;
	u32 nr_ranges;
};

/* Other importers would have to be notified of a revocation */
static int dmabuf_attach(struct dma_buf *dmabuf,
			 struct dma_buf_attachment *attachment)
{
	return -EOPNOTSUPP;
}

static struct sg_table *dmabuf_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction direction)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void dmabuf_unmap(struct dma_buf_attachment *attachment,
			 struct sg_table *table,
			 enum dma_data_direction direction)
{
}

static void dmabuf_release(struct dma_buf *dmabuf)
{
	struct vfio_pci_dmabuf *buf = dmabuf->priv;

	iommufd_mmio_put(buf->mmio);
	kfree(buf);
}

static const struct dma_buf_ops dmabuf_ops = {
	.attach = dmabuf_attach,
	.map_dma_buf = dmabuf_map,
	.unmap_dma_buf = dmabuf_unmap,
	.release = dmabuf_release,
};

/**
 * vfio_pci_mmio_of_dmabuf - find the memory of the device behind a dma-buf
 * @file: file of any dma-buf
 * @start: set to its physical address
 * @length: set to its size in bytes
 *
 * Return: the memory, with a reference; NULL if another driver exported the
 * dma-buf; or an ERR_PTR of -EOPNOTSUPP if it has several ranges.
 */
struct iommufd_mmio *vfio_pci_mmio_of_dmabuf(struct file *file,
					     phys_addr_t *start, u64 *length)
{
	struct dma_buf *dmabuf = file->private_data;
	struct vfio_pci_dmabuf *buf = dmabuf->priv;

	if (dmabuf->ops != &dmabuf_ops)
		return NULL;
	if (buf->nr_ranges != 1)
		return ERR_PTR(-EOPNOTSUPP);
	*start = buf->start;
	*length = buf->size;
	return iommufd_mmio_get(buf->mmio);
}

/* -ENODEV if the region is not a memory BAR, or somebody else has claimed it */
static int claim_bar(struct vfio_pci_core_device *vdev, u32 index)
{
	int ret;

	if (index >= PCI_STD_NUM_BARS || !pci_resource_len(vdev->pdev, index) ||
	    !(pci_resource_flags(vdev->pdev, index) & IORESOURCE_MEM))
		return -ENODEV;
	ret = vfio_pci_setup_barmap(vdev, index);
	return ret == -EBUSY ? -ENODEV : ret;
}

static int check_ranges(const struct vfio_region_dma_range *ranges, u32 nr,
			u64 size, u64 *sum)
{
	u64 end;
	u32 i;

	*sum = 0;
	for (i = 0; i < nr; i++) {
		u64 offset = ranges[i].offset, length = ranges[i].length;

		if (!length || !PAGE_ALIGNED(offset) || !PAGE_ALIGNED(length) ||
		    check_add_overflow(*sum, length, sum))
			return -EINVAL;
		if (check_add_overflow(offset, length, &end))
			return -EOVERFLOW;
		if (end > size)
			return -EINVAL;
	}
	return *sum > SIZE_MAX ? -EINVAL : 0;
}

static int export_ranges(struct vfio_pci_core_device *vdev,
			 const struct vfio_device_feature_dma_buf *feature,
			 const struct vfio_region_dma_range *ranges)
{
	struct pci_dev *pdev = vdev->pdev;
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct vfio_pci_dmabuf *buf;
	struct dma_buf *dmabuf;
	int ret;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	ret = check_ranges(ranges, feature->nr_ranges,
			   pci_resource_len(pdev, feature->region_index),
			   &buf->size);
	if (ret)
		goto err_free;
	ret = -EINVAL;
	if (feature->open_flags & ~(O_ACCMODE | O_CLOEXEC))
		goto err_free;
	buf->nr_ranges = feature->nr_ranges;
	buf->start = pci_resource_start(pdev, feature->region_index) +
		     ranges[0].offset;
	buf->mmio = vfio_pci_get_mmio(vdev);
	if (IS_ERR(buf->mmio)) {
		ret = PTR_ERR(buf->mmio);
		goto err_free;
	}

	info.ops = &dmabuf_ops;
	info.size = buf->size;
	info.flags = feature->open_flags;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto err_put;
	}
	/* From here on dmabuf_release() frees the buffer */
	ret = dma_buf_fd(dmabuf, feature->open_flags);
	if (ret < 0)
		dma_buf_put(dmabuf);
	return ret;

err_put:
	iommufd_mmio_put(buf->mmio);
err_free:
	kfree(buf);
	return ret;
}

/**
 * vfio_pci_feature_dma_buf - VFIO_DEVICE_FEATURE_DMA_BUF
 * @device: open device
 * @flags: flags of the request
 * @arg: struct vfio_device_feature_dma_buf
 * @argsz: size of @arg and what follows, in bytes
 *
 * Return: an fd, 0 for a probe, or an errno. The checks are made in the order
 * that userspace expects.
 */
int vfio_pci_feature_dma_buf(struct vfio_device *device, u32 flags,
			     struct vfio_device_feature_dma_buf __user *arg,
			     size_t argsz)
{
	struct vfio_pci_core_device *vdev =
		container_of(device, struct vfio_pci_core_device, vdev);
	struct vfio_device_feature_dma_buf feature;
	struct vfio_region_dma_range *ranges;
	int ret;

	/* A driver with its own ioctl() may have its own layout of regions */
	if (device->ops->ioctl != vfio_pci_core_ioctl ||
	    !vfio_device_is_bound(device))
		return -EOPNOTSUPP;
	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_GET,
				 sizeof(feature));
	if (ret != 1)
		return ret;
	if (copy_from_user(&feature, arg, sizeof(feature)))
		return -EFAULT;
	if (!feature.nr_ranges || feature.flags)
		return -EINVAL;
	ret = claim_bar(vdev, feature.region_index);
	if (ret)
		return ret;
	ranges = memdup_user(arg->dma_ranges,
			     array_size(feature.nr_ranges, sizeof(*ranges)));
	if (IS_ERR(ranges))
		return PTR_ERR(ranges);
	ret = export_ranges(vdev, &feature, ranges);
	kfree(ranges);
	return ret;
}

MODULE_IMPORT_NS(DMA_BUF);

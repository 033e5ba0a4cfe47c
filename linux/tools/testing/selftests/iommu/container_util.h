/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests that use an open /dev/iommu as a type1 container:
 * one function for each ioctl, which returns what ioctl() returns.
 */
#ifndef CONTAINER_UTIL_H
#define CONTAINER_UTIL_H

#include <linux/vfio.h>

#include "iommufd_util.h"

/* @id: input of SET, output of GET */
static inline int vfio_ioas(int fd, __u16 op, __u32 *id)
{
	struct iommu_vfio_ioas cmd = {
		.size = sizeof(cmd),
		.ioas_id = *id,
		.op = op,
	};
	int ret = ioctl(fd, IOMMU_VFIO_IOAS, &cmd);

	*id = cmd.ioas_id;
	return ret;
}

static inline int set_container(int fd, __u32 id)
{
	return vfio_ioas(fd, IOMMU_VFIO_IOAS_SET, &id);
}

static inline int clear_container(int fd)
{
	__u32 id = 0;

	return vfio_ioas(fd, IOMMU_VFIO_IOAS_CLEAR, &id);
}

static inline int set_type1(int fd)
{
	return ioctl(fd, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU);
}

static inline int map_dma(int fd, const void *va, __u64 size, __u64 iova)
{
	struct vfio_iommu_type1_dma_map cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = iova,
		.size = size,
	};

	return ioctl(fd, VFIO_IOMMU_MAP_DMA, &cmd);
}

/* @unmapped: set to cmd.size after the ioctl, if not NULL */
static inline int unmap_dma(int fd, __u64 iova, __u64 size, __u64 *unmapped)
{
	struct vfio_iommu_type1_dma_unmap cmd = {
		.argsz = sizeof(cmd),
		.iova = iova,
		.size = size,
	};
	int ret = ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &cmd);

	if (unmapped)
		*unmapped = cmd.size;
	return ret;
}

static inline int get_info(int fd, void *info, __u32 argsz)
{
	memcpy(info, &argsz, sizeof(argsz));
	return ioctl(fd, VFIO_IOMMU_GET_INFO, info);
}
#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests of peer-to-peer DMA: the target device, and the
 * two ways to map its BAR in an IOAS, by address and by dma-buf.
 */
#ifndef P2P_UTIL_H
#define P2P_UTIL_H

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "vfio_util.h"

/* IOVA of the test's memory, and bytes per transfer */
#define RAM 0x40000000UL
#define SHORT 64

/*
 * BAR of the ivshmem device of the test VM, and how many bytes of it are tested
 */
#define MEMORY_BAR VFIO_PCI_BAR2_REGION_INDEX
#define WINDOW (4 * SZ_2M)

/* VFIO_DEVICE_FEATURE_DMA_BUF with room for four ranges */
struct dma_buf_request {
	struct vfio_device_feature head;
	struct vfio_device_feature_dma_buf buf;
	struct vfio_region_dma_range ranges[4];
};

/*
 * struct target - a device whose BAR is the target of another device's DMA
 * @region: index of the BAR
 * @size: size of the BAR in bytes
 * @at: offset of the BAR in the device fd
 * @bar: where the CPU has mapped the first @mapped bytes of the BAR
 */
struct target {
	struct pci_dev dev;
	struct opened opened;
	int device;
	__u32 region;
	__u64 size;
	off_t at;
	char *bar;
	size_t mapped;
};

static inline int target_open(struct target *t, const char *container,
			      __u32 region, size_t mapped)
{
	struct vfio_region_info info;

	if (open_device(&t->opened, &t->dev, container))
		return -1;
	t->device = t->opened.device;
	t->region = region;
	if (region_info(t->device, region, &info) ||
	    change_command(t->device, PCI_COMMAND_MEMORY, 0))
		return -1;
	t->size = info.size;
	t->at = info.offset;
	t->mapped = mapped;
	t->bar = map_region(t->device, t->at, mapped);
	return t->bar ? 0 : -1;
}

static inline void target_close(struct target *t)
{
	if (t->bar)
		munmap(t->bar, t->mapped);
	t->bar = NULL;
	if (t->device >= 0)
		close_device(&t->opened);
	t->device = -1;
}

static inline int dma_buf_get(int device, struct dma_buf_request *req)
{
	req->head.argsz = sizeof(*req);
	req->head.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	return ioctl(device, VFIO_DEVICE_FEATURE, req);
}

/* Export one range of a BAR */
static inline int dma_buf_of(int device, __u32 region, __u64 offset,
			     __u64 length)
{
	struct dma_buf_request req = {
		.buf = {
			.region_index = region,
			.open_flags = O_RDWR | O_CLOEXEC,
			.nr_ranges = 1,
		},
		.ranges = { { .offset = offset, .length = length } },
	};

	return dma_buf_get(device, &req);
}

static inline bool decode(struct target *t, bool on)
{
	return !change_command(t->device, on ? PCI_COMMAND_MEMORY : 0,
			       on ? 0 : PCI_COMMAND_MEMORY);
}

/* Make the BAR inaccessible and accessible again */

static inline int take_decoding(struct target *target)
{
	return decode(target, false) ? 0 : -1;
}

static inline int give_decoding(struct target *target)
{
	return decode(target, true) ? 0 : -1;
}

static inline int reset_device(struct target *target)
{
	return ioctl(target->device, VFIO_DEVICE_RESET);
}

static inline int enter_low_power(struct target *target)
{
	return set_power(target->device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
			 -1);
}

static inline int exit_low_power(struct target *target)
{
	return set_power(target->device, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, -1);
}

/* Let a device write a pattern to an IOVA, or read a pattern from it */
static inline int write_to(struct edu *edu, char *ram, __u64 iova,
			   unsigned int seed)
{
	fill_pattern(ram, SHORT, seed);
	return edu_dma_from_ram(edu, RAM, SHORT) ||
	       edu_dma_to_ram(edu, iova, SHORT) ? -1 : 0;
}

static inline bool reads_from(struct edu *edu, char *ram, __u64 iova,
			      unsigned int seed)
{
	memset(ram, 0x5a, SHORT);
	return !edu_dma_from_ram(edu, iova, SHORT) &&
	       !edu_dma_to_ram(edu, RAM, SHORT) && is_pattern(ram, SHORT, seed);
}

/*
 * Is a write to a page refused? Returns true if the IOMMU does not log faults.
 */
static inline bool write_is_refused(const struct pci_dev *dev, struct edu *edu,
				    char *ram, __u64 iova)
{
	int kmsg = kmsg_open(), tries;
	bool reported = !iommu_of(dev)->fault;

	/* The kernel limits the rate of fault messages, so try again */
	for (tries = 0; tries < 30; tries++) {
		if (write_to(edu, ram, iova, 99))
			break;
		if (!reported)
			reported = kmsg_has_fault(kmsg, dev, iova);
		if (reported)
			break;
	}
	close(kmsg);
	return reported;
}

/*
 * Does a pattern that the device writes to the IOVA arrive in the target's BAR?
 */
static inline bool does_reach(struct edu *edu, char *ram, __u64 iova,
			      struct target *target, size_t offset,
			      unsigned int seed)
{
	return !write_to(edu, ram, iova + offset, seed) &&
	       is_pattern(target->bar + offset, SHORT, seed);
}

/* Does the device read this value from a register at the IOVA? */
static inline bool reads_value(struct edu *edu, char *ram, __u64 iova,
			       __u32 value)
{
	memset(ram, 0x5a, 4);
	return !edu_dma_from_ram(edu, iova, 4) &&
	       !edu_dma_to_ram(edu, RAM, 4) && get_register(ram) == value;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests of hot reset: its two ioctls, a mark that only a
 * bus reset removes, and the runtime PM count of a device.
 */
#ifndef RESET_UTIL_H
#define RESET_UTIL_H

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio_util.h"

/* No bus of the test VM has more devices */
#define MAX_DEVICES 8
#define NOT_OWNED ((__u32)VFIO_PCI_DEVID_NOT_OWNED)
#define BY_ID VFIO_PCI_HOT_RESET_FLAG_DEV_ID
#define ALL_OWNED VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED
/* Fills memory that the kernel should leave alone; not a valid id or group */
#define POISON 0x5a5a5a5aU

struct reset_info {
	struct vfio_pci_hot_reset_info head;
	struct vfio_pci_dependent_device devices[MAX_DEVICES];
};

/*
 * Everything but argsz is POISON, so fields that the kernel does not write show
 */
static inline int get_reset_info(int device, struct reset_info *info)
{
	memset(info, POISON & 0xff, sizeof(*info));
	info->head.argsz = sizeof(*info);
	return ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info);
}

/*
 * What the kernel reported for this device: its id or group; POISON if nothing
 */
static inline __u32 told_of(const struct reset_info *info,
			    const struct pci_dev *dev)
{
	unsigned int segment, bus, slot, function, i;

	if (sscanf(dev->bdf, "%x:%x:%x.%x", &segment, &bus, &slot, &function) != 4)
		return POISON;
	for (i = 0; i < MAX_DEVICES && i < info->head.count; i++) {
		const struct vfio_pci_dependent_device *entry =
			&info->devices[i];

		if (entry->segment == segment && entry->bus == bus &&
		    entry->devfn == (slot << 3 | function))
			return entry->devid;
	}
	return POISON;
}

/* Hot reset without groups, for callers that use cdevs */
static inline int hot_reset(int device)
{
	struct vfio_pci_hot_reset cmd = { .argsz = sizeof(cmd) };

	return ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &cmd);
}

static inline int hot_reset_groups(int device, const int *groups, int nr)
{
	struct {
		struct vfio_pci_hot_reset cmd;
		__s32 fds[MAX_DEVICES];
	} arg = {
		.cmd.argsz = sizeof(arg),
		.cmd.count = nr,
	};

	memcpy(arg.fds, groups, nr * sizeof(*groups));
	return ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &arg);
}

/*
 * MARK goes into the MSI address of an edu, which nobody sets while MSI is off.
 * The kernel does not restore it after a reset, so it shows whether there was
 * one.
 */
#define MARK 0x12345678U

static inline int open_mark(const struct pci_dev *dev, off_t *where)
{
	char path[128];
	__u8 cap[2];
	__u8 next;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", dev->bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	*where = 0;
	if (pread(fd, &next, 1, 0x34) != 1)
		next = 0;
	while (next && pread(fd, cap, 2, next) == 2) {
		*where = next + 4;
		if (cap[0] == 5)
			return fd;
		next = cap[1];
	}
	close(fd);
	return -1;
}

static inline int set_mark(const struct pci_dev *dev)
{
	const __u32 mark = MARK;
	off_t where;
	int fd = open_mark(dev, &where);
	int ret = pwrite(fd, &mark, 4, where) == 4 ? 0 : -1;

	close(fd);
	return ret;
}

static inline bool has_mark(const struct pci_dev *dev)
{
	__u32 mark = 0;
	off_t where;
	int fd = open_mark(dev, &where);

	/* The device can't be read, so there is no answer */
	if (pread(fd, &mark, 4, where) != 4 || (mark && mark != MARK))
		abort();
	close(fd);
	return mark;
}

/* Runtime PM usage count of the device; -1 if the kernel does not show it */
static inline int power_users(const struct pci_dev *dev)
{
	char path[256];
	int users = -1;
	FILE *f;

	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/power/runtime_usage", dev->bdf);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%d", &users) != 1)
			users = -1;
		fclose(f);
	}
	return users;
}

#endif

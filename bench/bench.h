/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An address space of a device, in the two ways that a kernel offers, and what the
 * programs of the bench tell the host: one line for each result.
 */
#ifndef BENCH_H
#define BENCH_H

#include <linux/types.h>
#include <stddef.h>

#include "vfio_util.h"

/* What the goals are for */
#define SZ_4K 0x1000UL

/* Where mappings begin: above all memory and the window of interrupts */
#define IOVA (1UL << 32)

/*
 * struct space - what a device can be given memory in
 * @legacy: a container of type1; else an IOAS
 * @fd: the container, or the iommufd
 * @ioas: the IOAS
 * @device: the device's file
 */
struct space {
	bool legacy;
	int fd;
	__u32 ioas;
	int device;
};

extern struct pci_dev devices[2];

void give_devices_to_vfio(void);
void space_open(struct space *s, bool legacy, const struct pci_dev *dev);
int space_map(struct space *s, void *va, size_t length, __u64 iova);
int space_unmap(struct space *s, __u64 iova, size_t length);
int space_ask(struct space *s);

__attribute__((noreturn)) void fail(const char *what);
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *fmt, ...);

#endif

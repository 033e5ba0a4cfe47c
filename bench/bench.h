/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An address space for a device, of a container or an iommufd, and how the
 * bench programs report to the host: one line per result.
 */
#ifndef BENCH_H
#define BENCH_H

#include <linux/types.h>
#include <stddef.h>

#include "vfio_util.h"

/* The page size of the goals */
#define SZ_4K 0x1000UL

/* First IOVA: above all memory and the MSI range */
#define IOVA (1UL << 32)

/*
 * struct space - an address space that a device uses
 * @legacy: a type1 container; otherwise an IOAS
 * @fd: the container, or the iommufd
 * @ioas: the IOAS
 * @device: the device fd
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

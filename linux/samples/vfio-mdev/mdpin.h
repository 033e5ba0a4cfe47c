/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What a program does with the device of mdpin.c, a PCI device with one BAR: a write
 * to the end of the struct mdpin_cmd at MDPIN_CMD executes it, and fails as it does;
 * with EBUSY while the device does not run. A write of all of it can be made by many
 * threads, writes of its parts, which are what a guest can do, by one.
 *
 * The device can be migrated, by the states of VFIO_MIGRATION_STOP_COPY. What goes
 * with it is the data.
 */
#ifndef _MDPIN_H
#define _MDPIN_H

#include <linux/types.h>

#define MDPIN_DATA_SIZE 4096

/* Who it is on a PCI bus: a number that QEMU has not given to a device of its own */
#define MDPIN_VENDOR_ID 0x1234
#define MDPIN_DEVICE_ID 0x6d70

/**
 * enum mdpin_offset - what is where in the BAR
 * @MDPIN_DATA: MDPIN_DATA_SIZE bytes, from or to which a command copies
 * @MDPIN_STATE: a struct mdpin_state, to be read whole
 * @MDPIN_CMD: where a struct mdpin_cmd is written to
 * @MDPIN_BAR_SIZE: the end
 */
enum mdpin_offset {
	MDPIN_DATA = 0,
	MDPIN_STATE = 0x1000,
	MDPIN_CMD = 0x2000,
	MDPIN_BAR_SIZE = 0x4000,
};

/**
 * enum mdpin_op - what to do
 * @MDPIN_PIN: vfio_pin_pages(), @count pages from @iova on; to write to them, if
 *             MDPIN_FLAG_WRITE is set
 * @MDPIN_UNPIN: vfio_unpin_pages(), @count pages from @iova on, pinned or not
 * @MDPIN_FORGET: never unpin @count pages from @iova on, which are pinned
 * @MDPIN_READ: vfio_dma_rw(), @count bytes from @iova on to the data
 * @MDPIN_WRITE: the same from the data
 * @MDPIN_LOAD: read the data from a page that is pinned, with no help of VFIO
 * @MDPIN_STORE: the same to the page
 * @MDPIN_IGNORE: do nothing in the next @count notices
 * @MDPIN_SLEEP: sleep @count milliseconds in each notice, before anything else
 */
enum mdpin_op {
	MDPIN_PIN,
	MDPIN_UNPIN,
	MDPIN_FORGET,
	MDPIN_READ,
	MDPIN_WRITE,
	MDPIN_LOAD,
	MDPIN_STORE,
	MDPIN_IGNORE,
	MDPIN_SLEEP,
};

/**
 * enum mdpin_flags - how to do it
 * @MDPIN_FLAG_WRITE: see MDPIN_PIN
 * @MDPIN_FLAG_WORKER: in a thread of the kernel, which has no memory of its own
 */
enum mdpin_flags {
	MDPIN_FLAG_WRITE = 1 << 0,
	MDPIN_FLAG_WORKER = 1 << 1,
};

struct mdpin_cmd {
	__u32 op;
	__u32 flags;
	__u64 iova;
	__u32 count;
	__u32 __reserved;
};

/**
 * struct mdpin_state - since the device was opened
 * @notices: how often it was told that memory is unmapped
 * @iova: first byte of what the last notice was about
 * @length: its bytes
 * @pins: what is pinned now; a page that is pinned twice counts twice
 * @kvm: 1 if there was a virtual machine when it was opened, or 0
 * @ever: notices since the device was made
 */
struct mdpin_state {
	__u64 notices;
	__u64 iova;
	__u64 length;
	__u64 pins;
	__u64 kvm;
	__u64 ever;
};

#endif

/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of the device of mdpin.c, a PCI device with one BAR.
 *
 * A program writes a struct mdpin_cmd at MDPIN_CMD. The write of its end
 * executes the command, and fails with the error of the command, or with EBUSY
 * while the device is not running. Several threads can write whole commands at
 * the same time. Commands in parts, as a guest writes them, must come from one
 * thread.
 *
 * The device can be migrated, with the states of VFIO_MIGRATION_STOP_COPY. Its
 * data is transferred.
 */
#ifndef _MDPIN_H
#define _MDPIN_H

#include <linux/types.h>

#define MDPIN_DATA_SIZE 4096

/* PCI ids that no device of QEMU has */
#define MDPIN_VENDOR_ID 0x1234
#define MDPIN_DEVICE_ID 0x6d70

/**
 * enum mdpin_offset - layout of the BAR
 * @MDPIN_DATA: MDPIN_DATA_SIZE bytes that commands copy from or to
 * @MDPIN_STATE: a struct mdpin_state, which must be read whole
 * @MDPIN_CMD: a struct mdpin_cmd, which can only be written
 * @MDPIN_BAR_SIZE: size of the BAR
 */
enum mdpin_offset {
	MDPIN_DATA = 0,
	MDPIN_STATE = 0x1000,
	MDPIN_CMD = 0x2000,
	MDPIN_BAR_SIZE = 0x4000,
};

/**
 * enum mdpin_op - commands
 * @MDPIN_PIN: vfio_pin_pages(), @count pages from @iova on; for writing if
 *             MDPIN_FLAG_WRITE is set
 * @MDPIN_UNPIN: vfio_unpin_pages(), @count pages from @iova on, pinned or not
 * @MDPIN_FORGET: forget @count pages from @iova on, which are pinned; never
 *                unpin them
 * @MDPIN_READ: vfio_dma_rw(), @count bytes from @iova on to the data
 * @MDPIN_WRITE: vfio_dma_rw(), @count bytes of the data to @iova on
 * @MDPIN_LOAD: copy @count bytes from a pinned page to the data, without VFIO
 * @MDPIN_STORE: copy @count bytes of the data to a pinned page, without VFIO
 * @MDPIN_IGNORE: do nothing in the next @count calls of dma_unmap()
 * @MDPIN_SLEEP: sleep @count milliseconds at the start of each dma_unmap(), in the
 *               close before pins are dropped, if there are any, and at its end
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
 * enum mdpin_flags - how to execute a command
 * @MDPIN_FLAG_WRITE: see MDPIN_PIN
 * @MDPIN_FLAG_WORKER: in a kernel thread, which has no mm
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
 * struct mdpin_state - state of the device since it was opened
 * @unmaps: number of calls of dma_unmap()
 * @iova: first byte of the range in the last call
 * @length: size of that range in bytes
 * @pins: number of pins; a page that is pinned twice counts twice
 * @kvm: 1 if the device had a VM when it was opened, else 0
 * @total_unmaps: number of calls of dma_unmap() since the device was made
 */
struct mdpin_state {
	__u64 unmaps;
	__u64 iova;
	__u64 length;
	__u64 pins;
	__u64 kvm;
	__u64 total_unmaps;
};

#endif

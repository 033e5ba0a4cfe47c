// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest of the guest does with its devices, in the order of the arguments:
 *
 *	disk	wait for it, and print the checksum of its file
 *	edu	let each edu device read and write memory
 *	p2p	let the edu device copy memory to the BAR of each ivshmem device and back
 *	mdpin	let each mdpin device write to memory again and again, and check
 *		that both have what was written last; meanwhile the guest can be
 *		migrated
 *	mtty	find the serial ports of the sample mtty, and write to a register
 *	empty	print that nothing has been done yet
 *	gone	wait until the disk is gone
 *	stay	do not end; the monitor ends QEMU
 *
 * vm/qemu.c is the other side. A line that it waits for begins with the argument.
 */
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../linux/samples/vfio-mdev/mdpin.h"
#include "vfio_util.h"

#define DISK "/dev/nvme0n1"
#define BAR2 (4UL << 20) /* of the ivshmem device, see vm/machine.args */

/* Pages that an mdpin device writes to */
#define MDPIN_PAGES 16

/* Set by use_edu() */
static struct edu last_edu;

/* Open a file of the device in sysfs */
static int open_leaf(const char *dev, const char *leaf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dev, leaf);
	return open(path, O_RDWR);
}

/* Enable I/O, memory decoding and bus mastering */
static void enable(const char *dev)
{
	int config = open_leaf(dev, "config");
	__u16 command;

	if (pread(config, &command, 2, 4) == 2) {
		command |= 7;
		if (pwrite(config, &command, 2, 4) != 2)
			perror(dev);
	}
	close(config);
}

static int use_disk(void)
{
	while (access(DISK, F_OK))
		usleep(10000);
	printf("disk ");
	fflush(stdout);
	return system("/checksum");
}

/* Map a part of a BAR; NULL if that fails */
static void *map_bar(const char *dev, const char *leaf, size_t length)
{
	int bar = open_leaf(dev, leaf);
	void *va = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);

	close(bar);
	return va == MAP_FAILED ? NULL : va;
}

/* The device must write what it has read */
static int use_edu(const char *dev)
{
	void *page = map_anon(PAGE);
	struct edu edu = { .regs = map_bar(dev, "resource0", PAGE) };

	if (!page || !edu.regs)
		return -1;
	fill_pattern(page, EDU_MAX, 1);
	if (edu_dma_from_ram(&edu, physical_address(page), EDU_MAX))
		return -1;
	memset(page, 0, PAGE);
	if (edu_dma_to_ram(&edu, physical_address(page), EDU_MAX))
		return -1;
	last_edu = edu;
	return is_pattern(page, EDU_MAX, 1) ? 0 : -1;
}

/* Guest-physical address of BAR 2, or 0 */
static __u64 address_of_bar2(const char *dev)
{
	unsigned long long address = 0;
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/resource", dev);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%*[^\n] %*[^\n] %llx", &address) != 1)
		address = 0;
	if (f)
		fclose(f);
	return address;
}

/*
 * Copy memory to the first and the last page of the BAR, with different data,
 * and back
 */
static int use_p2p(const char *dev)
{
	char *page = map_anon(PAGE), *bar = map_bar(dev, "resource2", BAR2);
	__u64 address = address_of_bar2(dev);
	const size_t at[] = { 0, BAR2 - PAGE };
	int i;

	if (!page || !bar || !address || !last_edu.regs)
		return -1;
	memset(bar, 0, BAR2);
	for (i = 0; i < 2; i++) {
		fill_pattern(page, EDU_MAX, i + 2);
		if (edu_dma_from_ram(&last_edu, physical_address(page), EDU_MAX) ||
		    edu_dma_to_ram(&last_edu, address + at[i], EDU_MAX))
			return -1;
	}
	for (i = 0; i < 2; i++) {
		memset(page, 0, PAGE);
		if (!is_pattern(bar + at[i], EDU_MAX, i + 2) ||
		    edu_dma_from_ram(&last_edu, address + at[i], EDU_MAX) ||
		    edu_dma_to_ram(&last_edu, physical_address(page), EDU_MAX) ||
		    !is_pattern(page, EDU_MAX, i + 2))
			return -1;
	}
	return is_byte(bar + PAGE, BAR2 - 2 * PAGE, 0) ? 0 : -1;
}

/* The ports have a scratch register, which keeps what is written */
static int use_mtty(const char *dev)
{
	int bar = open_leaf(dev, "resource0");
	unsigned char written = 0x5a, kept = 0;
	bool ok = pwrite(bar, &written, 1, 7) == 1 && pread(bar, &kept, 1, 7) == 1;

	close(bar);
	return ok && kept == written ? 0 : -1;
}

/* After the start only the device writes to the memory */
static int use_mdpin(const char *dev)
{
	volatile __u64 *bar = map_bar(dev, "resource0", MDPIN_BAR_SIZE);
	volatile __u64 *cmd = bar + MDPIN_CMD / sizeof(*bar);
	volatile __u64 *page[MDPIN_PAGES];
	__u64 round;
	int i;

	if (!bar)
		return -1;
	for (i = 0; i < MDPIN_PAGES; i++) {
		page[i] = map_anon(PAGE);
		/* Until it is written, it is the zero page */
		*page[i] = 0;
	}
	for (round = 0;; round++) {
		if (bar[0] != round)
			return -1;
		for (i = 0; i < MDPIN_PAGES; i++)
			if (*page[i] != round)
				return -1;
		printf("mdpin works, round %llu\n", round);
		bar[0] = round + 1;
		for (i = 0; i < MDPIN_PAGES; i++) {
			cmd[0] = MDPIN_WRITE;
			cmd[1] = physical_address((void *)page[i]);
			cmd[2] = sizeof(round);
		}
		usleep(500000);
	}
}

static int use_all(const char *name, __u16 vendor, __u16 device, int (*use)(const char *dev))
{
	int ret = 0;
	glob_t all;
	size_t i;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &all))
		return -1;
	for (i = 0; i < all.gl_pathc; i++) {
		const char *dev = all.gl_pathv[i];
		int config = open_leaf(dev, "config");
		__u16 id[2] = {};

		if (pread(config, id, sizeof(id), 0) == sizeof(id) &&
		    id[0] == vendor && id[1] == device) {
			int bad;

			enable(dev);
			bad = use(dev);
			ret |= bad;
			printf("%s %s, %04x:%04x at %s\n", name, bad ? "fails" : "works",
			       id[0], id[1], strrchr(dev, '/') + 1);
		}
		close(config);
	}
	return ret;
}

int main(int argc, char **argv)
{
	int i, ret = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "disk"))
			ret |= use_disk();
		else if (!strcmp(argv[i], "edu"))
			ret |= use_all("edu", 0x1234, 0x11e8, use_edu);
		else if (!strcmp(argv[i], "p2p"))
			ret |= use_all("p2p", 0x1af4, 0x1110, use_p2p);
		else if (!strcmp(argv[i], "mdpin"))
			ret |= use_all("mdpin", MDPIN_VENDOR_ID, MDPIN_DEVICE_ID, use_mdpin);
		else if (!strcmp(argv[i], "mtty"))
			ret |= use_all("mtty", 0x4348, 0x3253, use_mtty);
		else if (!strcmp(argv[i], "stay"))
			pause();
		else {
			/* empty, or gone */
			while (!strcmp(argv[i], "gone") && !access(DISK, F_OK))
				usleep(10000);
			puts(argv[i]);
		}
	}
	return !!ret;
}

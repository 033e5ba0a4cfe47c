// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest of the guest does with the devices that it was given, in the order of the
 * arguments:
 *
 *	disk	wait for it, and print the checksum of its file
 *	edu	let each edu device read memory and write it
 *	mtty	find the serial ports of the sample mtty, and write to a register of theirs
 *	empty	say that nothing has been done yet
 *	gone	wait until the disk is gone
 *	stay	do not end: the monitor will do that
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

#include "vfio_util.h"

#define DISK "/dev/nvme0n1"

/* One of the files of a device in sysfs */
static int open_leaf(const char *dev, const char *leaf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dev, leaf);
	return open(path, O_RDWR);
}

/* Let it answer, and reach memory */
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

/* What it read has to be what it writes */
static int use_edu(const char *dev)
{
	int bar = open_leaf(dev, "resource0");
	void *page = map_anon(PAGE);
	struct edu edu = {
		.regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0),
	};

	close(bar);
	if (!page || edu.regs == MAP_FAILED)
		return -1;
	fill_pattern(page, EDU_MAX, 1);
	if (edu_dma_from_ram(&edu, physical_address(page), EDU_MAX))
		return -1;
	memset(page, 0, PAGE);
	if (edu_dma_to_ram(&edu, physical_address(page), EDU_MAX))
		return -1;
	return is_pattern(page, EDU_MAX, 1) ? 0 : -1;
}

/* Its ports have a register that means nothing and keeps what is written */
static int use_mtty(const char *dev)
{
	int bar = open_leaf(dev, "resource0");
	unsigned char written = 0x5a, kept = 0;
	bool ok = pwrite(bar, &written, 1, 7) == 1 && pread(bar, &kept, 1, 7) == 1;

	close(bar);
	return ok && kept == written ? 0 : -1;
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

// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"

/* Each is alone in its IOMMU group; vm/machine.args puts them in these slots */
struct pci_dev devices[2] = {
	{ .bdf = "0000:00:04.0" },
	{ .bdf = "0000:00:06.0" },
};

void give_up(const char *fmt, ...)
{
	va_list args;

	printf("error ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

void fail(const char *what)
{
	give_up("%s: %s", what, strerror(errno));
}

void give_devices_to_vfio(void)
{
	int i;

	for (i = 0; i < 2; i++)
		if (bind_vfio_pci(&devices[i]))
			give_up("can't bind %s to vfio-pci", devices[i].bdf);
}

/* Everything that a program does before it can map memory */
void space_open(struct space *s, bool legacy, const struct pci_dev *dev)
{
	s->legacy = legacy;
	if (legacy) {
		struct legacy l;

		if (legacy_open(&l, dev))
			fail("group");
		s->fd = l.container;
		s->device = l.device;
		return;
	}
	s->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		fail("/dev/iommu");
	s->device = open_cdev(dev);
	if (s->device < 0)
		fail("cdev");
	if (bind_iommufd(s->device, s->fd, NULL))
		fail("BIND");
	if (ioas_alloc(s->fd, &s->ioas))
		fail("IOAS_ALLOC");
	if (attach_pt(s->device, s->ioas, NULL))
		fail("ATTACH");
}

int space_map(struct space *s, void *va, size_t length, __u64 iova)
{
	if (s->legacy)
		return legacy_map(s->fd, va, length, iova, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	return ioas_map(s->fd, s->ioas, va, length, iova, MAP_RW);
}

int space_unmap(struct space *s, __u64 iova, size_t length)
{
	if (s->legacy)
		return legacy_unmap(s->fd, iova, length);
	return ioas_unmap(s->fd, s->ioas, iova, length);
}

/* Query the usable IOVAs */
int space_ask(struct space *s)
{
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };

	if (s->legacy)
		return ioctl(s->fd, VFIO_IOMMU_GET_INFO, &info);
	return is_usable(s->fd, s->ioas, IOVA, IOVA) ? 0 : -1;
}

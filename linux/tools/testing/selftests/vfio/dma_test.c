// SPDX-License-Identifier: GPL-2.0
/*
 * Real DMA, byte exact, for each way to open a device: its cdev with an
 * iommufd, its group with /dev/vfio/vfio as the container, and its group with
 * an iommufd as the container. Each case runs with all of them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

#define IOVA 0x40000000UL

#ifndef MADV_HUGEPAGE
#define MADV_HUGEPAGE 14
#endif

/* struct way - how a device was opened, and where its memory is mapped */
struct way {
	bool cdev;
	int iommufd;
	__u32 ioas;
	struct legacy legacy;
};

FIXTURE(dma)
{
	struct pci_dev dev;
	struct way way;
	int device;
	struct edu edu;
};

/* @container: path of the container, for a group */
FIXTURE_VARIANT(dma)
{
	const char *container;
};

FIXTURE_VARIANT_ADD(dma, cdev)
{
	.container = NULL,
};

FIXTURE_VARIANT_ADD(dma, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(dma, group_with_iommufd)
{
	.container = "/dev/iommu",
};

FIXTURE_SETUP(dma)
{
	struct way *way = &self->way;

	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	way->cdev = !variant->container;
	if (variant->container && strcmp(variant->container, CONTAINER) &&
	    !has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
	if (way->cdev) {
		self->device = open_cdev(&self->dev);
		if (self->device < 0)
			SKIP_TEST("no cdevs in this kernel");
		way->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, way->iommufd);
		ASSERT_EQ(0, ioas_alloc(way->iommufd, &way->ioas));
		ASSERT_EQ(0, bind_iommufd(self->device, way->iommufd, NULL));
		ASSERT_EQ(0, attach_pt(self->device, way->ioas, NULL));
	} else {
		ASSERT_EQ(0, legacy_open_in(&way->legacy, &self->dev,
					    variant->container));
		self->device = way->legacy.device;
	}
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
}

FIXTURE_TEARDOWN(dma)
{
	edu_close(&self->edu);
	if (self->way.cdev) {
		close(self->device);
		close(self->way.iommufd);
	} else {
		legacy_close(&self->way.legacy);
	}
}

static int map_dma(struct way *way, void *va, size_t length, __u64 iova,
		   bool write)
{
	if (way->cdev)
		return ioas_map(way->iommufd, way->ioas, va, length, iova,
				IOMMU_IOAS_MAP_READABLE |
				(write ? IOMMU_IOAS_MAP_WRITEABLE : 0));
	return legacy_map(way->legacy.container, va, length, iova,
			  VFIO_DMA_MAP_FLAG_READ |
			  (write ? VFIO_DMA_MAP_FLAG_WRITE : 0));
}

static int unmap_dma(struct way *way, __u64 iova, size_t length)
{
	if (way->cdev)
		return ioas_unmap(way->iommufd, way->ioas, iova, length);
	return legacy_unmap(way->legacy.container, iova, length);
}

#define MAP_DMA(_va, _length, _iova, _write)                                   \
	map_dma(&self->way, _va, _length, _iova, _write)
#define UNMAP_DMA(_iova, _length) unmap_dma(&self->way, _iova, _length)

/* Load @length bytes of a pattern into the device */
static int load(struct edu *edu, void *buf, __u64 iova, size_t length,
		unsigned int seed)
{
	fill_pattern(buf, length, seed);
	return edu_dma_from_ram(edu, iova, length);
}

/* A whole page to the device and back to another page, in parts */
TEST_F(dma, page_goes_both_ways)
{
	char *buf = map_anon(3 * PAGE);
	size_t at;

	ASSERT_EQ(0, MAP_DMA(buf, 3 * PAGE, IOVA, true));
	fill_pattern(buf, PAGE, 1);
	for (at = 0; at < PAGE; at += 2048) {
		ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + at, 2048));
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE + at,
					    2048));
	}
	EXPECT_TRUE(is_pattern(buf + PAGE, PAGE, 1));
	EXPECT_TRUE(is_byte(buf + 2 * PAGE, PAGE, 0));
}

/* The device writes the bytes of the transfer, and no byte around them */
TEST_F(dma, transfer_crosses_a_page_boundary)
{
	char *buf = map_anon(4 * PAGE), *at = buf + 3 * PAGE - 1000;

	memset(buf, 0xaa, 4 * PAGE);
	ASSERT_EQ(0, MAP_DMA(buf, 4 * PAGE, IOVA, true));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, 2001, 2));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + (at - buf), 2001));
	EXPECT_TRUE(is_byte(buf + PAGE, at - buf - PAGE, 0xaa));
	EXPECT_TRUE(is_pattern(at, 2001, 2));
	EXPECT_TRUE(is_byte(at + 2001, buf + 4 * PAGE - at - 2001, 0xaa));
	/* And reads across the boundary */
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + (at - buf), 2001));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, 2001));
	EXPECT_TRUE(is_pattern(buf, 2001, 2));
}

/* First, last and other pages of a huge page */
TEST_F(dma, huge_page)
{
	static const size_t at[] = {
		0, 0xff000, 0x100000 - 2048, SZ_2M - EDU_MAX,
	};
	char *src = map_anon(PAGE), *buf = map_huge();
	int i;

	if (!buf)
		SKIP(return, "no huge page is reserved");
	ASSERT_EQ(0, MAP_DMA(src, PAGE, IOVA - PAGE, true));
	ASSERT_EQ(0, MAP_DMA(buf, SZ_2M, IOVA, true));
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		memset(buf, 0x55, SZ_2M);
		ASSERT_EQ(0, load(&self->edu, src, IOVA - PAGE, EDU_MAX, i));
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + at[i], EDU_MAX));
		EXPECT_TRUE(is_byte(buf, at[i], 0x55));
		EXPECT_TRUE(is_pattern(buf + at[i], EDU_MAX, i));
		EXPECT_TRUE(is_byte(buf + at[i] + EDU_MAX,
				    SZ_2M - at[i] - EDU_MAX, 0x55));
	}
	/* And the device reads it */
	fill_pattern(buf, SZ_2M, 11);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		memset(src, 0, PAGE);
		ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + at[i],
					      EDU_MAX));
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA - PAGE, EDU_MAX));
		EXPECT_EQ(0, memcmp(src, buf + at[i], EDU_MAX));
	}
	EXPECT_EQ(0, UNMAP_DMA(IOVA, SZ_2M));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + at[1], EDU_MAX));
	EXPECT_TRUE(is_pattern(buf, SZ_2M, 11));
	munmap(buf, SZ_2M);
}

/* Some MiB of memory in pages of any size, mapped off a huge page boundary */
TEST_F(dma, large_range_of_any_pages)
{
	size_t length = 3 * SZ_2M + 5 * PAGE, i;
	char *buf = map_anon(length + SZ_2M);

	buf += SZ_2M - ((uintptr_t)buf & (SZ_2M - 1));
	madvise(buf, SZ_2M, MADV_HUGEPAGE);
	memset(buf, 0x33, length);
	buf += PAGE;
	length -= PAGE;
	ASSERT_EQ(0, MAP_DMA(buf, length, IOVA, true));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, EDU_MAX, 9));
	for (i = PAGE; i < length; i += SZ_2M - PAGE) {
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + i, EDU_MAX));
		EXPECT_TRUE(is_pattern(buf + i, EDU_MAX, 9));
		EXPECT_TRUE(is_byte(buf + i + PAGE, PAGE, 0x33));
	}
}

/*
 * Memory whose neighbouring pages are rarely contiguous: touch every second
 * page first
 */
static char *map_scattered(size_t length)
{
	char *buf = mmap(NULL, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i, adjoin = 0;

	if (buf == MAP_FAILED)
		return NULL;
	madvise(buf, length, MADV_NOHUGEPAGE);
	for (i = 0; i < length; i += 2 * PAGE)
		memset(buf + i, 0x33, PAGE);
	for (i = PAGE; i < length; i += 2 * PAGE)
		memset(buf + i, 0x33, PAGE);
	for (i = PAGE; i < length; i += PAGE)
		adjoin += physical_address(buf + i) ==
			  physical_address(buf + i - PAGE) + PAGE;
	return adjoin < length / PAGE / 2 ? buf : NULL;
}

/* Each page of such memory is in its place, for any size of the range */
TEST_F(dma, scattered_pages)
{
	static const size_t length[] = { 20, 512, 512 + 37 };
	static const size_t at[] = { 0, 1, 19, 511, 512, 513, 548 };
	long pinned = status_kb("VmPin");
	char *src = map_anon(PAGE);
	int i, j;

	ASSERT_EQ(0, MAP_DMA(src, PAGE, IOVA - PAGE, true));
	for (i = 0; i < ARRAY_SIZE(length); i++) {
		char *buf = map_scattered(length[i] * PAGE);

		ASSERT_NE(NULL, buf);
		ASSERT_EQ(0, MAP_DMA(buf, length[i] * PAGE, IOVA, true));
		for (j = 0; j < ARRAY_SIZE(at) && at[j] < length[i]; j++) {
			char *page = buf + at[j] * PAGE;

			ASSERT_EQ(0, load(&self->edu, src, IOVA - PAGE,
					  EDU_MAX, j));
			ASSERT_EQ(0, edu_dma_to_ram(&self->edu,
						    IOVA + at[j] * PAGE,
						    EDU_MAX));
			EXPECT_TRUE(is_pattern(page, EDU_MAX, j));
			memset(page, 0x33, PAGE);
		}
		EXPECT_TRUE(is_byte(buf, length[i] * PAGE, 0x33));
		EXPECT_EQ(0, UNMAP_DMA(IOVA, length[i] * PAGE));
		munmap(buf, length[i] * PAGE);
	}
	EXPECT_EQ(0, UNMAP_DMA(IOVA - PAGE, PAGE));
	EXPECT_EQ(pinned, status_kb("VmPin"));
}

/* Pages of many areas are not mixed up */
TEST_F(dma, areas_are_separate)
{
	char *buf = map_anon(8 * PAGE);
	int i;

	/* In reverse order, with gaps */
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, MAP_DMA(buf + i * PAGE, PAGE,
				     IOVA + (7 - i) * 2 * PAGE, true));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA + 14 * PAGE, EDU_MAX, 3));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 4 * PAGE, EDU_MAX));
	EXPECT_TRUE(is_pattern(buf + 5 * PAGE, EDU_MAX, 3));
	for (i = 1; i < 8; i++)
		if (i != 5)
			EXPECT_TRUE(is_byte(buf + i * PAGE, PAGE, 0));
}

/* DMA to an IOVA without a mapping changes nothing */
TEST_F(dma, unmapped_iova_is_out_of_reach)
{
	char *buf = map_anon(2 * PAGE);

	memset(buf, 0x77, 2 * PAGE);
	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, 64));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA - PAGE, 64));
	EXPECT_TRUE(is_byte(buf, 2 * PAGE, 0x77));
	/* The mapping still works */
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, 64, 4));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 2048, 64));
	EXPECT_TRUE(is_pattern(buf + 2048, 64, 4));
}

/* The IOMMU logs a fault */
TEST_F(dma, unmapped_iova_faults)
{
	char *buf = map_anon(2 * PAGE);
	bool reported = false;
	int kmsg, tries;

	if (!iommu_of(&self->dev)->fault)
		SKIP(return, NO_FAULTS);
	kmsg = kmsg_open();
	ASSERT_LE(0, kmsg);
	memset(buf, 0x77, 2 * PAGE);
	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	/* The kernel limits the rate of fault messages, so try again */
	for (tries = 0; tries < 10 && !reported; tries++) {
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, 64));
		EXPECT_TRUE(is_byte(buf, 2 * PAGE, 0x77));
		reported = kmsg_has_fault(kmsg, &self->dev, IOVA + PAGE);
	}
	EXPECT_TRUE(reported);
	close(kmsg);
}

/* After UNMAP the device can't reach the page */
TEST_F(dma, unmapped_page_is_out_of_reach)
{
	char *buf = map_anon(2 * PAGE);

	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	ASSERT_EQ(0, MAP_DMA(buf + PAGE, PAGE, IOVA + PAGE, true));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, EDU_MAX, 5));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	ASSERT_TRUE(is_pattern(buf + PAGE, EDU_MAX, 5));
	memset(buf + PAGE, 0x11, PAGE);
	ASSERT_EQ(0, UNMAP_DMA(IOVA + PAGE, PAGE));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	EXPECT_TRUE(is_byte(buf + PAGE, PAGE, 0x11));
}

/*
 * After other memory is mapped at the IOVA, the IOMMU does not use the old
 * entry
 */
TEST_F(dma, iova_can_be_used_again)
{
	char *buf = map_anon(3 * PAGE);

	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	ASSERT_EQ(0, MAP_DMA(buf + PAGE, PAGE, IOVA + PAGE, true));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, EDU_MAX, 6));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	memset(buf + PAGE, 0, PAGE);
	ASSERT_EQ(0, UNMAP_DMA(IOVA + PAGE, PAGE));
	ASSERT_EQ(0, MAP_DMA(buf + 2 * PAGE, PAGE, IOVA + PAGE, true));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	EXPECT_TRUE(is_byte(buf + PAGE, PAGE, 0));
	EXPECT_TRUE(is_pattern(buf + 2 * PAGE, EDU_MAX, 6));
}

/* Mapped read-only: the device can read and not write */
TEST_F(dma, read_only_mapping_is_not_written)
{
	char *buf = map_anon(2 * PAGE);

	memset(buf + PAGE, 0x22, PAGE);
	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	ASSERT_EQ(0, MAP_DMA(buf + PAGE, PAGE, IOVA + PAGE, false));
	ASSERT_EQ(0, load(&self->edu, buf, IOVA, EDU_MAX, 7));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	EXPECT_TRUE(is_byte(buf + PAGE, PAGE, 0x22));
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, EDU_MAX));
	EXPECT_TRUE(is_byte(buf, EDU_MAX, 0x22));
}

/*
 * The device sees the process's own page, also after fork() and copy-on-write
 */
TEST_F(dma, device_sees_writes_after_fork)
{
	char *buf = map_anon(2 * PAGE);
	int pipes[2];
	char byte;
	pid_t pid;

	memset(buf, 1, PAGE);
	ASSERT_EQ(0, MAP_DMA(buf, 2 * PAGE, IOVA, true));
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid) {
		/* Share the pages until the parent is done */
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) ? 1 : 0);
	}
	memset(buf, 8, PAGE);
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	EXPECT_TRUE(is_byte(buf + PAGE, EDU_MAX, 8));
	close(pipes[1]);
	waitpid(pid, NULL, 0);
}

/* An interrupt signals the eventfd */
TEST_F(dma, msi_arrives_through_an_eventfd)
{
	struct pollfd pfd = { .events = POLLIN };
	char *buf = map_anon(PAGE);
	__u64 count;

	pfd.fd = irq_eventfd(self->device, VFIO_PCI_MSI_IRQ_INDEX);
	ASSERT_LE(0, pfd.fd);
	ASSERT_EQ(-1, read(pfd.fd, &count, sizeof(count)));
	edu_write(&self->edu, 0x60, 1);
	EXPECT_EQ(1, poll(&pfd, 1, 5000));
	EXPECT_EQ(sizeof(count), read(pfd.fd, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	edu_write(&self->edu, 0x64, 1);

	/* At the end of a transfer, if requested */
	ASSERT_EQ(0, MAP_DMA(buf, PAGE, IOVA, true));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, 100));
	EXPECT_EQ(-1, read(pfd.fd, &count, sizeof(count)));
	ASSERT_EQ(0, edu_dma_to_ram_irq(&self->edu, IOVA, 100));
	EXPECT_EQ(1, poll(&pfd, 1, 5000));
	EXPECT_EQ(0x100, edu_read(&self->edu, 0x24));
	edu_write(&self->edu, 0x64, 0x100);
	close(pfd.fd);
}

/* Only with the cdev */
FIXTURE(move)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 ioas, other;
	struct edu edu;
	char *buf;
};

FIXTURE_SETUP(move)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	if (self->device < 0)
		SKIP_TEST("no cdevs in this kernel");
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	self->buf = map_anon(2 * PAGE);
	memset(self->buf, 0x44, 2 * PAGE);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, PAGE, IOVA,
			      MAP_RW));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, self->buf + PAGE,
			      PAGE, IOVA, MAP_RW));
}

FIXTURE_TEARDOWN(move)
{
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
}

/* What was mapped before the attach works after it */
TEST_F(move, mapping_before_attach_works)
{
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, load(&self->edu, self->buf, IOVA, 100, 1));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 1000, 100));
	EXPECT_TRUE(is_pattern(self->buf + 1000, 100, 1));
}

/* After a move DMA reaches the new memory, not the old */
TEST_F(move, dma_follows_the_device)
{
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, load(&self->edu, self->buf, IOVA, EDU_MAX, 2));
	memset(self->buf, 0x44, PAGE);
	ASSERT_EQ(0, attach_pt(self->device, self->other, NULL));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, EDU_MAX));
	EXPECT_TRUE(is_byte(self->buf, PAGE, 0x44));
	EXPECT_TRUE(is_pattern(self->buf + PAGE, EDU_MAX, 2));
}

/* After a failed move DMA still reaches the old memory (trap C3) */
TEST_F(move, dma_survives_a_failed_move)
{
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, self->buf, PAGE,
			      MSI_START, MAP_RW));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(-1, attach_pt(self->device, self->other, NULL));
	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->other, MSI_START, PAGE));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, (void *)PAGE, PAGE,
			      SZ_2M, MAP_RW));
	EXPECT_EQ(-1, attach_pt(self->device, self->other, NULL));
	ASSERT_EQ(0, load(&self->edu, self->buf, IOVA, 100, 3));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 1000, 100));
	EXPECT_TRUE(is_pattern(self->buf + 1000, 100, 3));
	EXPECT_TRUE(is_byte(self->buf + PAGE, PAGE, 0x44));
}

/* The memory is at the IOVA that the kernel chose */
TEST_F(move, chosen_iova_works)
{
	__u64 iova = 0;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, ioas_map_auto(self->iommufd, self->ioas, self->buf + PAGE,
				   PAGE, &iova, MAP_RW));
	EXPECT_NE(0, iova);
	ASSERT_EQ(0, load(&self->edu, self->buf, IOVA, EDU_MAX, 4));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, iova, EDU_MAX));
	EXPECT_TRUE(is_pattern(self->buf + PAGE, EDU_MAX, 4));
}

/*
 * A device whose default domain is identity: the kernel's DMA reaches all
 * memory
 */
FIXTURE(identity)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	int kmsg;
	__u32 ioas;
	struct edu edu;
	char *page;
	__u64 phys;
};

FIXTURE_SETUP(identity)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	unbind_driver(&self->dev);
	ASSERT_EQ(0, set_default_domain(&self->dev, "identity"));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	self->page = map_anon(PAGE);
	memset(self->page, 0x66, PAGE);
	ASSERT_EQ(0, mlock(self->page, PAGE));
	self->phys = physical_address(self->page);
	ASSERT_NE(0, self->phys);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(identity)
{
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
	close(self->kmsg);
	unbind_driver(&self->dev);
	set_default_domain(&self->dev, "DMA");
}

/*
 * Is DMA to the page's physical address blocked, and logged if the IOMMU does
 * that?
 */
static bool is_blocked(struct _test_data_identity *self)
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		if (edu_dma_to_ram(&self->edu, self->phys, 64) ||
		    !is_byte(self->page, PAGE, 0x66))
			return false;
		if (!iommu_of(&self->dev)->fault ||
		    kmsg_has_fault(self->kmsg, &self->dev, self->phys))
			return true;
	}
	return false;
}

/* Bound and not attached, detached, or after a failed attach: DMA is blocked */
TEST_F(identity, dma_without_attach_is_blocked)
{
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	EXPECT_TRUE(is_blocked(self));

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_TRUE(is_blocked(self));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_TRUE(is_blocked(self));

	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, (void *)PAGE, PAGE,
			      SZ_2M, MAP_RW));
	EXPECT_EQ(-1, attach_pt(self->device, self->ioas, NULL));
	EXPECT_TRUE(is_blocked(self));
}

/* Two devices that share a group */
FIXTURE(shared)
{
	struct pci_dev a, b;
	int dev_a, dev_b;
	int iommufd;
	__u32 ioas, other;
	struct edu edu_a, edu_b;
	char *buf;
};

FIXTURE_SETUP(shared)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->dev_a = open_cdev(&self->a);
	self->dev_b = open_cdev(&self->b);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu_a, self->dev_a));
	ASSERT_EQ(0, edu_open(&self->edu_b, self->dev_b));
	self->buf = map_anon(2 * PAGE);
	memset(self->buf, 0, 2 * PAGE);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, PAGE, IOVA,
			      MAP_RW));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, self->buf + PAGE,
			      PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_b, self->ioas, NULL));
}

FIXTURE_TEARDOWN(shared)
{
	edu_close(&self->edu_a);
	edu_close(&self->edu_b);
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
}

/* The device copies the start of a page to its middle. Does that work? */
static bool copies(struct edu *edu, char *page, unsigned int seed)
{
	memset(page, 0, PAGE);
	return !load(edu, page, IOVA, 100, seed) &&
	       !edu_dma_to_ram(edu, IOVA + 2048, 100) &&
	       is_pattern(page + 2048, 100, seed);
}

/* After one is detached or closed, DMA of the other works */
TEST_F(shared, dma_goes_on_without_the_other)
{
	EXPECT_TRUE(copies(&self->edu_a, self->buf, 1));
	EXPECT_TRUE(copies(&self->edu_b, self->buf, 2));
	ASSERT_EQ(0, detach_pt(self->dev_a));
	EXPECT_TRUE(copies(&self->edu_b, self->buf, 3));
	edu_close(&self->edu_a);
	close(self->dev_a);
	EXPECT_TRUE(copies(&self->edu_b, self->buf, 4));

	/* After the last is detached, DMA is blocked */
	ASSERT_EQ(0, detach_pt(self->dev_b));
	EXPECT_FALSE(copies(&self->edu_b, self->buf, 5));
	ASSERT_EQ(0, attach_pt(self->dev_b, self->ioas, NULL));
	EXPECT_TRUE(copies(&self->edu_b, self->buf, 6));
	self->dev_a = open_cdev(&self->a);
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu_a, self->dev_a));
}

/* Moving one moves the DMA of both to the new memory */
TEST_F(shared, dma_of_both_moves)
{
	ASSERT_EQ(0, attach_pt(self->dev_b, self->other, NULL));
	memset(self->buf, 0x88, PAGE);
	EXPECT_TRUE(copies(&self->edu_a, self->buf + PAGE, 1));
	EXPECT_TRUE(copies(&self->edu_b, self->buf + PAGE, 2));
	EXPECT_TRUE(is_byte(self->buf, PAGE, 0x88));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty pages of a container, as a program queries them that migrates a running
 * VM, with VFIO's container and with /dev/iommu, which return the same. With a
 * device behind an IOMMU (edu), everything that is mapped is dirty. With
 * mediated devices only (mdpin), it is what they have pinned or written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../samples/vfio-mdev/mdpin.h"
#include "vfio_util.h"

#define NR_PAGES 200
#define MEM_SIZE (NR_PAGES * PAGE)
#define IOVA SZ_2M

/* Bits that /dev/iommu returns per step; one bit per page */
#define PIECE (8UL * 65536)

#define ROUND_UP(_n) (((_n) + 63) & ~63UL)

static int command(int device, __u32 op, __u64 iova, __u32 count)
{
	struct mdpin_cmd cmd = { .op = op, .iova = iova, .count = count };

	return pwrite(device, &cmd, sizeof(cmd), MDPIN_CMD) == sizeof(cmd) ? 0 :
									     -1;
}

#define PIN(_page, _nr)                                                        \
	command(self->emulated.device, MDPIN_PIN, IOVA + (_page) * PAGE, _nr)
#define UNPIN(_page, _nr)                                                      \
	command(self->emulated.device, MDPIN_UNPIN, IOVA + (_page) * PAGE, _nr)

static int dirty(int container, __u32 flags)
{
	struct vfio_iommu_type1_dirty_bitmap cmd = {
		.argsz = sizeof(cmd),
		.flags = flags,
	};

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &cmd);
}

#define START() dirty(self->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START)
#define STOP() dirty(self->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)

struct get {
	struct vfio_iommu_type1_dirty_bitmap head;
	struct vfio_iommu_type1_dirty_bitmap_get range;
};

static int get(int container, __u64 iova, __u64 size, __u64 pgsize, void *bits,
	       __u64 bytes)
{
	struct get cmd = {
		.head.argsz = sizeof(cmd),
		.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.range.iova = iova,
		.range.size = size,
		.range.bitmap.pgsize = pgsize,
		.range.bitmap.size = bytes,
		.range.bitmap.data = bits,
	};

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &cmd);
}

struct unmap {
	struct vfio_iommu_type1_dma_unmap head;
	struct vfio_bitmap bitmap;
};

static int unmap_dirty(int container, __u64 iova, __u64 size, __u64 pgsize,
		       void *bits, __u64 bytes, __u64 *unmapped)
{
	struct unmap cmd = {
		.head.argsz = sizeof(cmd),
		.head.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.head.iova = iova,
		.head.size = size,
		.bitmap.pgsize = pgsize,
		.bitmap.size = bytes,
		.bitmap.data = bits,
	};
	int ret = ioctl(container, VFIO_IOMMU_UNMAP_DMA, &cmd);

	*unmapped = cmd.head.size;
	return ret;
}

FIXTURE(dirty)
{
	struct pci_dev mdev, edu;
	struct legacy emulated, physical;
	int container;
	char *mem;
	__u64 bits[NR_PAGES / 64 + 1];
};

FIXTURE_VARIANT(dirty)
{
	const char *container;
	bool physical;
};

FIXTURE_VARIANT_ADD(dirty, emulated_in_vfio) { CONTAINER, false };
FIXTURE_VARIANT_ADD(dirty, emulated_in_iommufd) { "/dev/iommu", false };
FIXTURE_VARIANT_ADD(dirty, physical_in_vfio) { CONTAINER, true };
FIXTURE_VARIANT_ADD(dirty, physical_in_iommufd) { "/dev/iommu", true };

/* Open another device in the container of the first one */
static int join(struct legacy *l, const struct pci_dev *dev, int container)
{
	l->container = container;
	l->group = open_group(dev);
	if (l->group < 0 ||
	    ioctl(l->group, VFIO_GROUP_SET_CONTAINER, &container))
		return -1;
	l->device = ioctl(l->group, VFIO_GROUP_GET_DEVICE_FD, dev->bdf);
	return l->device < 0 ? -1 : 0;
}

FIXTURE_SETUP(dirty)
{
	self->physical.group = -1;
	ASSERT_EQ(0, mdev_create(&self->mdev, "mdpin", "unmap"));
	ASSERT_EQ(0, legacy_open_in(&self->emulated, &self->mdev,
				    variant->container));
	self->container = self->emulated.container;
	ASSERT_EQ(0, find_edu_alone(&self->edu));
	ASSERT_EQ(0, bind_vfio_pci(&self->edu));
	if (variant->physical) {
		ASSERT_EQ(0, join(&self->physical, &self->edu,
				  self->container));
	}

	self->mem = map_anon(MEM_SIZE);
	ASSERT_NE(NULL, self->mem);
	ASSERT_EQ(0, legacy_map(self->container, self->mem, MEM_SIZE, IOVA,
				VFIO_DMA_MAP_FLAG_READ |
				VFIO_DMA_MAP_FLAG_WRITE));
}

FIXTURE_TEARDOWN(dirty)
{
	if (self->physical.group >= 0) {
		close(self->physical.device);
		close(self->physical.group);
	}
	legacy_close(&self->emulated);
	EXPECT_EQ(0, mdev_remove(&self->mdev));
}

/* Are exactly these pages dirty? Each is "first+number". */
static bool bits_are(const __u64 *bits, const char *pages)
{
	__u64 want[NR_PAGES / 64 + 1] = {};
	unsigned long first, nr;
	char *end;

	while (*pages) {
		first = strtoul(pages, &end, 10);
		nr = *end == '+' ? strtoul(end + 1, &end, 10) : 1;
		for (; nr; nr--, first++)
			want[first / 64] |= 1ULL << first % 64;
		pages = end + strspn(end, " ");
	}
	return !memcmp(bits, want, sizeof(want));
}

static bool is_dirty(struct _test_data_dirty *self, const char *pages)
{
	memset(self->bits, 0, sizeof(self->bits));
	return !get(self->container, IOVA, MEM_SIZE, PAGE, self->bits,
		    sizeof(self->bits)) &&
	       bits_are(self->bits, pages);
}

#define ALL "0+200"

/* Dirty because of the mediated device, or anyway */
#define IS_DIRTY(_pages) is_dirty(self, variant->physical ? ALL : (_pages))

TEST_F(dirty, get_info_offers_migration)
{
	struct {
		struct vfio_iommu_type1_info info;
		char caps[4096];
	} info = { .info.argsz = sizeof(info) };
	struct vfio_iommu_type1_info_cap_migration *cap = NULL;
	__u32 at;

	ASSERT_EQ(0, ioctl(self->container, VFIO_IOMMU_GET_INFO, &info));
	for (at = info.info.cap_offset; at;) {
		struct vfio_info_cap_header *head = (void *)&info + at;

		if (head->id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION)
			cap = (void *)head;
		at = head->next;
	}
	ASSERT_NE(NULL, cap);
	EXPECT_EQ(1, cap->header.version);
	EXPECT_EQ(0, cap->flags);
	EXPECT_EQ(PAGE, cap->pgsize_bitmap);
	EXPECT_EQ(1UL << 28, cap->max_dirty_bitmap_size);
}

TEST_F(dirty, nothing_is_told_before_start)
{
	EXPECT_ERRNO(EINVAL, get(self->container, IOVA, MEM_SIZE, PAGE,
				 self->bits, sizeof(self->bits)));
	EXPECT_EQ(0, STOP());
	EXPECT_EQ(0, START());
	EXPECT_EQ(0, PIN(1, 1));
	EXPECT_EQ(0, START());
	EXPECT_TRUE(IS_DIRTY("1"));
	EXPECT_EQ(0, STOP());
	EXPECT_ERRNO(EINVAL, get(self->container, IOVA, MEM_SIZE, PAGE,
				 self->bits, sizeof(self->bits)));

	/* After a new start only what is pinned is dirty */
	EXPECT_EQ(0, UNPIN(1, 1));
	EXPECT_EQ(0, PIN(2, 1));
	EXPECT_EQ(0, START());
	EXPECT_TRUE(IS_DIRTY("2"));
}

TEST_F(dirty, pinned_is_dirty_as_long_as_it_is)
{
	ASSERT_EQ(0, PIN(7, 2));
	ASSERT_EQ(0, START());
	EXPECT_TRUE(IS_DIRTY("7+2"));
	EXPECT_EQ(0, PIN(62, 4));
	EXPECT_TRUE(IS_DIRTY("7+2 62+4"));
	EXPECT_TRUE(IS_DIRTY("7+2 62+4"));

	/* And once more after the unpin, since it was pinned until then */
	EXPECT_EQ(0, UNPIN(7, 1));
	EXPECT_EQ(0, UNPIN(63, 2));
	EXPECT_TRUE(IS_DIRTY("7+2 62+4"));
	EXPECT_TRUE(IS_DIRTY("8 62 65"));
	EXPECT_EQ(0, PIN(NR_PAGES - 1, 1));
	EXPECT_EQ(0, UNPIN(0, NR_PAGES));
	EXPECT_TRUE(IS_DIRTY("8 62 65 199"));
	EXPECT_TRUE(IS_DIRTY(""));
}

static void *close_in_thread(void *fd)
{
	close(*(int *)fd);
	return NULL;
}

/* The device can write until its driver has closed it, whoever asks before */
TEST_F(dirty, pinned_is_dirty_until_the_close)
{
	int device = self->emulated.device, i;
	pthread_t thread;

	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(3, 1));
	EXPECT_TRUE(IS_DIRTY("3"));
	ASSERT_EQ(0, command(device, MDPIN_SLEEP, 0, 1000));
	ASSERT_EQ(0, pthread_create(&thread, NULL, close_in_thread, &device));
	usleep(200000);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, get(self->container, IOVA, MEM_SIZE, PAGE,
				 self->bits, sizeof(self->bits)));
	pthread_join(thread, NULL);
	self->emulated.device = -1;
	EXPECT_TRUE(IS_DIRTY("3"));
	EXPECT_TRUE(IS_DIRTY(""));
}

TEST_F(dirty, written_is_dirty_once)
{
	int device = self->emulated.device;

	ASSERT_EQ(0, START());
	EXPECT_EQ(0, command(device, MDPIN_READ, IOVA + 2 * PAGE, 100));
	EXPECT_TRUE(IS_DIRTY(""));
	EXPECT_EQ(0, command(device, MDPIN_WRITE, IOVA + 2 * PAGE - 1, 1));
	EXPECT_EQ(0, command(device, MDPIN_WRITE, IOVA + 65 * PAGE - 10, 20));
	EXPECT_TRUE(IS_DIRTY("1 64+2"));
	EXPECT_TRUE(IS_DIRTY(""));
}

/* What is not queried stays dirty */
TEST_F(dirty, ranges_of_several_mappings)
{
	__u64 far = IOVA + MEM_SIZE + 70 * PAGE;
	__u64 bits[6] = {}, nr = NR_PAGES + 70 + NR_PAGES;

	ASSERT_EQ(0, legacy_map(self->container, self->mem, MEM_SIZE, far,
				VFIO_DMA_MAP_FLAG_READ |
				VFIO_DMA_MAP_FLAG_WRITE));
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(NR_PAGES - 1, 1));
	ASSERT_EQ(0, UNPIN(NR_PAGES - 1, 1));
	ASSERT_EQ(0, PIN(NR_PAGES + 70, 1));
	ASSERT_EQ(0, UNPIN(NR_PAGES + 70, 1));

	EXPECT_TRUE(IS_DIRTY("199"));
	EXPECT_TRUE(IS_DIRTY(""));
	/* Only these two pages; the gap between the mappings is clean */
	EXPECT_EQ(0, get(self->container, IOVA, nr * PAGE, PAGE, bits,
			 ROUND_UP(nr) / 8));
	if (variant->physical) {
		EXPECT_EQ(~0ULL, bits[0]);
		EXPECT_EQ(0xff, bits[3]);
		EXPECT_EQ(0xffffffffffffc000ULL, bits[4]);
		EXPECT_EQ(~0ULL, bits[5]);
	} else {
		EXPECT_EQ(0, bits[0] | bits[3] | bits[5]);
		EXPECT_EQ(1ULL << 14, bits[4]);
	}
	EXPECT_EQ(0, legacy_unmap(self->container, far, MEM_SIZE));
}

/* A bit on either side of a step of the kernel */
TEST_F(dirty, long_range)
{
	__u64 nr = PIECE + 64, at = IOVA + (PIECE - 1) * PAGE;
	__u64 *bits = calloc(nr / 64, 8);
	__u64 i, others = 0;

	ASSERT_NE(NULL, bits);
	ASSERT_EQ(0, legacy_map(self->container, self->mem, 2 * PAGE, at,
				VFIO_DMA_MAP_FLAG_READ |
				VFIO_DMA_MAP_FLAG_WRITE));
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(PIECE - 1, 2));
	ASSERT_EQ(0, UNPIN(PIECE - 1, 2));
	ASSERT_EQ(0, get(self->container, IOVA, nr * PAGE, PAGE, bits, nr / 8));
	EXPECT_EQ(1ULL << 63, bits[PIECE / 64 - 1]);
	EXPECT_EQ(1, bits[PIECE / 64]);
	for (i = NR_PAGES / 64 + 1; i < PIECE / 64 - 1; i++)
		others |= bits[i];
	EXPECT_EQ(0, others);
	EXPECT_EQ(0, legacy_unmap(self->container, at, 2 * PAGE));
	free(bits);
}

/* Trap A10: the bitmap can be at any address */
TEST_F(dirty, answer_at_any_address)
{
	char *pages = map_anon(2 * PAGE);
	unsigned int i;

	ASSERT_NE(NULL, pages);
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(66, 1));
	for (i = 0; i < 32; i++) {
		char *at = pages + PAGE - 16 + i;

		memset(pages, 0, 2 * PAGE);
		ASSERT_EQ(0, get(self->container, IOVA, MEM_SIZE, PAGE, at,
				 sizeof(self->bits)));
		memcpy(self->bits, at, sizeof(self->bits));
		ASSERT_TRUE(bits_are(self->bits, variant->physical ? ALL : "66"));
		/* No byte beside it is written */
		memset(at, 0, sizeof(self->bits));
		ASSERT_TRUE(is_byte(pages, 2 * PAGE, 0));
	}
}

TEST_F(dirty, unmap_tells_what_was_dirty)
{
	__u64 unmapped;

	EXPECT_ERRNO(EINVAL, unmap_dirty(self->container, IOVA, MEM_SIZE, PAGE,
					 self->bits, sizeof(self->bits),
					 &unmapped));
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(5, 1));
	ASSERT_EQ(0, command(self->emulated.device, MDPIN_WRITE,
			     IOVA + 70 * PAGE, 1));
	memset(self->bits, 0, sizeof(self->bits));
	EXPECT_EQ(0, unmap_dirty(self->container, IOVA, MEM_SIZE, PAGE,
				 self->bits, sizeof(self->bits), &unmapped));
	EXPECT_EQ(MEM_SIZE, unmapped);
	EXPECT_TRUE(bits_are(self->bits, variant->physical ? ALL : "5 70"));

	/* Nothing of it is left for the next mapping */
	ASSERT_EQ(0, legacy_map(self->container, self->mem, MEM_SIZE, IOVA,
				VFIO_DMA_MAP_FLAG_READ |
				VFIO_DMA_MAP_FLAG_WRITE));
	EXPECT_TRUE(IS_DIRTY(""));
}

/* Of a range, or of all */
TEST_F(dirty, nor_is_after_another_unmap)
{
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};
	int i;

	ASSERT_EQ(0, START());
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, command(self->emulated.device, MDPIN_WRITE,
				     IOVA + 70 * PAGE, 1));
		ASSERT_EQ(0, i ? ioctl(self->container, VFIO_IOMMU_UNMAP_DMA,
				       &all) :
				 legacy_unmap(self->container, IOVA, MEM_SIZE));
		ASSERT_EQ(0, legacy_map(self->container, self->mem, MEM_SIZE,
					IOVA, VFIO_DMA_MAP_FLAG_READ |
					      VFIO_DMA_MAP_FLAG_WRITE));
		EXPECT_TRUE(IS_DIRTY(""));
	}
}

/*
 * If the bitmap can't be written, no bit is lost, and the memory stays mapped
 */
TEST_F(dirty, answer_that_cannot_be_written)
{
	char *ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	__u64 unmapped;

	ASSERT_NE(MAP_FAILED, ro);
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, command(self->emulated.device, MDPIN_WRITE, IOVA, 1));
	ASSERT_EQ(0, PIN(65, 1));
	EXPECT_ERRNO(EFAULT, get(self->container, IOVA, MEM_SIZE, PAGE, ro,
				 sizeof(self->bits)));
	EXPECT_ERRNO(EFAULT, unmap_dirty(self->container, IOVA, MEM_SIZE, PAGE,
					 ro, sizeof(self->bits), &unmapped));
	EXPECT_TRUE(IS_DIRTY("0 65"));
}

/* When the last device with an IOMMU leaves, everything was dirty until then */
TEST_F(dirty, device_that_leaves)
{
	ASSERT_EQ(0, START());
	ASSERT_EQ(0, PIN(3, 1));
	if (!variant->physical) {
		ASSERT_EQ(0, join(&self->physical, &self->edu,
				  self->container));
		EXPECT_TRUE(is_dirty(self, ALL));
	}
	close(self->physical.device);
	close(self->physical.group);
	self->physical.group = -1;
	EXPECT_TRUE(is_dirty(self, ALL));
	EXPECT_TRUE(is_dirty(self, "3"));
}

TEST_F(dirty, errors)
{
	struct get cmd = {
		.head.argsz = sizeof(cmd),
		.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
	};
	__u64 size = sizeof(self->bits), unmapped, pgsize;
	int c = self->container;
	void *bits = self->bits;
	__u32 flags;

	ASSERT_EQ(0, START());

	/* Exactly one flag, and a known one */
	for (flags = 3; flags <= 16; flags++)
		if (flags != VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
			EXPECT_ERRNO(EINVAL, dirty(c, flags));
	EXPECT_ERRNO(EINVAL, dirty(c, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP));
	cmd.head.argsz = sizeof(cmd.head) - 1;
	EXPECT_ERRNO(EINVAL, ioctl(c, VFIO_IOMMU_DIRTY_PAGES, &cmd));
	cmd.head.argsz = sizeof(cmd) - 1;
	EXPECT_ERRNO(EINVAL, ioctl(c, VFIO_IOMMU_DIRTY_PAGES, &cmd));
	EXPECT_ERRNO(EFAULT, ioctl(c, VFIO_IOMMU_DIRTY_PAGES, NULL));

	/* Trap A10: all page sizes but one */
	for (pgsize = 1; pgsize; pgsize <<= 1) {
		if (pgsize == PAGE)
			continue;
		EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, pgsize, bits, size));
		EXPECT_ERRNO(EINVAL, unmap_dirty(c, IOVA, MEM_SIZE, pgsize,
						 bits, size, &unmapped));
	}
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, PAGE | 1, bits, size));
	if (is_iommufd(c))
		EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, 0, bits, size));

	/* Ranges, and bitmaps that are too small or too large for them */
	EXPECT_ERRNO(EINVAL, get(c, IOVA, 0, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE + 1, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, get(c, IOVA + 1, MEM_SIZE, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, get(c, -PAGE, 2 * PAGE, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, PAGE, bits, 0));
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, PAGE, bits, size - 1));
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE, PAGE, bits, (1 << 28) + 1));
	EXPECT_ERRNO(EINVAL, get(c, 0, ((1ULL << 31) + 1) * PAGE, PAGE, bits, 1 << 28));
	/* More pages than 32 bits count, and none, from the first IOVA on */
	EXPECT_ERRNO(EINVAL, get(c, 0, ((1ULL << 32) + 1) * PAGE, PAGE, bits, 8));
	EXPECT_ERRNO(EINVAL, get(c, 0, 0, PAGE, bits, size));
	/* VFIO's checks that all of it is memory of the process */
	if (is_iommufd(c))
		EXPECT_EQ(0, get(c, IOVA, MEM_SIZE, PAGE, bits, 1 << 28));

	/* A range that cuts a mapping */
	EXPECT_ERRNO(EINVAL, get(c, IOVA + PAGE, MEM_SIZE - PAGE, PAGE, bits,
				 size));
	EXPECT_ERRNO(EINVAL, get(c, IOVA, MEM_SIZE - PAGE, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, get(c, IOVA + PAGE, PAGE, PAGE, bits, size));
	EXPECT_ERRNO(EINVAL, unmap_dirty(c, IOVA + PAGE, MEM_SIZE - PAGE, PAGE,
					 bits, size, &unmapped));
	EXPECT_EQ(0, get(c, IOVA - PAGE, MEM_SIZE + 2 * PAGE, PAGE, bits, size));

	/* Where nothing is mapped nothing is dirty */
	memset(bits, 0, size);
	EXPECT_EQ(0, get(c, 0, PAGE, PAGE, bits, 8));
	EXPECT_EQ(0, self->bits[0]);
	EXPECT_EQ(0, legacy_unmap(c, IOVA, MEM_SIZE));
}

TEST_HARNESS_MAIN

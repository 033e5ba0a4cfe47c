// SPDX-License-Identifier: GPL-2.0
/*
 * Areas of an IOAS, with and without mock devices: where they can be, how they
 * are copied and unmapped, and what the page tables have. Each case runs with
 * no page table, with one, with two devices of one or of two page tables, and
 * with memory pinned page by page.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "mock_util.h"

#define NR_PAGES 16
#define LENGTH (NR_PAGES * PAGE)

FIXTURE(areas)
{
	int fd;
	__u32 ioas;
	char *buf;
	/* The first usable IOVA, and the alignment of areas */
	__u64 base;
	__u64 alignment;
	struct mock mocks[2];
	int nr_mocks;
	long pinned;
};

FIXTURE_VARIANT(areas)
{
	int nr_mocks;
	/* Devices of two IOMMUs, so each has its own page table */
	bool apart;
	__u32 limit;
};

FIXTURE_VARIANT_ADD(areas, no_device) { .limit = MOCK_MEMORY_LIMIT };

FIXTURE_VARIANT_ADD(areas, one_device) {
	.nr_mocks = 1, .limit = MOCK_MEMORY_LIMIT,
};

FIXTURE_VARIANT_ADD(areas, two_devices) {
	.nr_mocks = 2, .limit = MOCK_MEMORY_LIMIT,
};

FIXTURE_VARIANT_ADD(areas, two_tables) {
	.nr_mocks = 2, .apart = true, .limit = MOCK_MEMORY_LIMIT,
};

FIXTURE_VARIANT_ADD(areas, page_by_page) { .nr_mocks = 1, .limit = 16 };

FIXTURE_SETUP(areas)
{
	int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_memory_limit(self->fd, variant->limit));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill_bytes(self->buf, LENGTH, 0);
	self->pinned = status_kb("VmPin");

	self->alignment = 1;
	self->nr_mocks = variant->nr_mocks;
	for (i = 0; i < self->nr_mocks; i++) {
		ASSERT_EQ(0, mock_device(self->fd, self->ioas,
					 &MOCK_CONFIG(.unit = i &&
						      variant->apart),
					 &self->mocks[i]));
		self->base = MOCK_APERTURE_START;
		self->alignment = MOCK_PAGE;
	}
	if (self->nr_mocks == 2)
		ASSERT_EQ(variant->apart,
			  self->mocks[0].hwpt != self->mocks[1].hwpt);
}

/* However a case ends, close() releases everything */
FIXTURE_TEARDOWN(areas)
{
	EXPECT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

#define MAP(_offset, _length, _iova)                                           \
	map_at(self->fd, self->ioas, (uintptr_t)self->buf + (_offset), _length, \
	       self->base + (_iova))
#define UNMAP(_iova, _length)                                                  \
	unmap(self->fd, self->ioas, self->base + (_iova), _length, NULL)

/* Does every page table map this part of the buffer at the IOVA? */
static bool all_map(struct _test_data_areas *self, __u64 iova, size_t offset,
		    size_t length)
{
	int i;

	for (i = 0; i < self->nr_mocks; i++)
		if (mock_check_map(self->fd, self->mocks[i].hwpt, iova,
				   self->buf + offset, length))
			return false;
	return true;
}

/*
 * Is this part of the buffer pinned once, or not at all without a page table?
 */
static bool is_pinned(struct _test_data_areas *self, size_t offset,
		      size_t length)
{
	return !mock_check_refs(self->fd, self->buf + offset, length,
				self->nr_mocks ? 1 : 0);
}

static void remove_mocks(struct _test_data_areas *self)
{
	while (self->nr_mocks)
		destroy(self->fd, self->mocks[--self->nr_mocks].stdev);
}

/*
 * Destroy
 */

/* Devices prevent the destroy of an IOAS, areas don't (trap B9) */
TEST_F(areas, destroy_waits_for_devices_only)
{
	int i;

	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, MAP(i * PAGE, PAGE, i * PAGE));
	if (self->nr_mocks)
		EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	for (i = 0; i < self->nr_mocks; i++) {
		EXPECT_ERRNO(EBUSY, destroy(self->fd, self->mocks[i].idev));
		EXPECT_ERRNO(EBUSY, destroy(self->fd, self->mocks[i].hwpt));
	}
	remove_mocks(self);
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, self->ioas));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

/* Close with objects of all kinds; the teardown checks the rest (trap B14) */
TEST_F(areas, close_removes_everything)
{
	__u32 other;
	__u64 iova = 0;
	int i, access;

	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, MAP(i * PAGE, PAGE, i * 2 * PAGE));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW, PAGE, &iova,
			  self->base));
	ASSERT_EQ(0, access_create(self->fd, other,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, access_pin(self->fd, access, 0, self->buf, PAGE, 0,
				&other));
	close(access);
}

/*
 * Map and unmap
 */

TEST_F(areas, unmap_of_nothing_is_ENOENT)
{
	int i;

	for (i = 0; i < 10; i++)
		EXPECT_ERRNO(ENOENT, UNMAP(i * PAGE, PAGE));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
}

TEST_F(areas, pages_come_and_go)
{
	__u64 unmapped;
	int i;

	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, MAP(i * PAGE, PAGE, i * PAGE));
		EXPECT_TRUE(all_map(self, self->base + i * PAGE, i * PAGE,
				    PAGE));
	}
	EXPECT_TRUE(is_pinned(self, 0, 10 * PAGE));
	EXPECT_TRUE(mock_is_unpinned(self->buf + 10 * PAGE, 6 * PAGE));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, unmap(self->fd, self->ioas,
				   self->base + i * PAGE, PAGE, &unmapped));
		EXPECT_EQ(PAGE, unmapped);
		EXPECT_TRUE(mock_is_unpinned(self->buf, (i + 1) * PAGE));
	}
}

TEST_F(areas, half_an_area_stays)
{
	ASSERT_EQ(0, MAP(0, 2 * PAGE, 4 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(4 * PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(5 * PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(5 * PAGE, 4 * PAGE));
	EXPECT_TRUE(all_map(self, self->base + 4 * PAGE, 0, 2 * PAGE));
	EXPECT_EQ(0, UNMAP(2 * PAGE, 8 * PAGE));
}

TEST_F(areas, overlap_is_EEXIST)
{
	static const struct {
		__u64 start, length;
	} shapes[] = {
		{ 8, 4 }, { 7, 6 }, { 9, 2 }, { 6, 3 }, { 11, 3 }, { 8, 1 },
		{ 11, 1 },
	};
	int i;

	ASSERT_EQ(0, MAP(0, 4 * PAGE, 8 * PAGE));
	for (i = 0; i < ARRAY_SIZE(shapes); i++)
		EXPECT_ERRNO(EEXIST, MAP(4 * PAGE, shapes[i].length * PAGE,
					 shapes[i].start * PAGE));
	EXPECT_TRUE(mock_is_unpinned(self->buf + 4 * PAGE, 12 * PAGE));
	EXPECT_EQ(0, MAP(4 * PAGE, 2 * PAGE, 6 * PAGE));
	EXPECT_EQ(0, MAP(6 * PAGE, 2 * PAGE, 12 * PAGE));
	EXPECT_TRUE(all_map(self, self->base + 8 * PAGE, 0, 4 * PAGE));
}

/* A range over several areas unmaps all of them and cuts none */
TEST_F(areas, unmap_takes_all_areas_in_range)
{
	__u64 unmapped;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, MAP(0, 8 * PAGE, i * 16 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(PAGE, 63 * PAGE));
	EXPECT_TRUE(all_map(self, self->base, 0, 8 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(3 * 16 * PAGE, 7 * PAGE));
	EXPECT_TRUE(all_map(self, self->base + 3 * 16 * PAGE, 0, 8 * PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, self->base, 64 * PAGE,
			   &unmapped));
	EXPECT_EQ(4 * 8 * PAGE, unmapped);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

/*
 * The last page of the IOVA space: the next byte would be 0 (trap A21). Only
 * the mock IOMMU gets there, no IOMMU driver of 6.1 does.
 */
TEST_F(areas, top_of_the_space)
{
	const __u64 top = -PAGE;
	struct mock mock = {};
	__u64 unmapped;
	__u32 ioas;
	__u64 iova;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas));
	if (self->nr_mocks)
		ASSERT_EQ(0, mock_device(self->fd, ioas,
					 &MOCK_CONFIG(.aperture_start = 0,
						      .aperture_last = ~0ULL),
					 &mock));
	ASSERT_EQ(0, map_at(self->fd, ioas, (uintptr_t)self->buf, PAGE, top));
	if (mock.hwpt)
		EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, top, self->buf,
					    PAGE));
	EXPECT_ERRNO(EEXIST, map_at(self->fd, ioas, (uintptr_t)self->buf, PAGE,
				    top));
	EXPECT_ERRNO(EOVERFLOW, map_at(self->fd, ioas, (uintptr_t)self->buf,
				       2 * PAGE, top));
	/* The lowest page is no neighbour of the highest */
	EXPECT_EQ(0, map_at(self->fd, ioas, (uintptr_t)self->buf, PAGE, 0));
	iova = 4 * PAGE;
	EXPECT_EQ(0, copy(self->fd, ioas, ioas, FIXED_RW, PAGE, &iova, top));
	EXPECT_ERRNO(EEXIST, map_at(self->fd, ioas, (uintptr_t)self->buf,
				    2 * PAGE, -2 * PAGE));
	iova = top - PAGE;
	EXPECT_ERRNO(EOVERFLOW, copy(self->fd, ioas, ioas, FIXED_RW, 2 * PAGE,
				     &iova, top));
	EXPECT_EQ(0, unmap(self->fd, ioas, top, PAGE, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	iova = top;
	EXPECT_EQ(0, copy(self->fd, ioas, ioas, FIXED_RW, PAGE, &iova, 0));
	if (mock.hwpt)
		EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, top, self->buf,
					    PAGE));
	EXPECT_EQ(0, unmap_all(self->fd, ioas, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
}

/* IOVAs that the kernel chooses */

#define MAP_ANYWHERE(_offset, _length, _iova)                                  \
	map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf + (_offset),    \
	    _length, _iova)

static bool inside(__u64 iova, __u64 length, const struct iommu_iova_range *range)
{
	return iova >= range->start && iova + length - 1 <= range->last;
}

TEST_F(areas, chosen_iova_is_aligned)
{
	__u64 iovas[10];
	int i;

	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, MAP_ANYWHERE(i * PAGE, PAGE, &iovas[i]));
		EXPECT_LE(self->base, iovas[i]);
		EXPECT_TRUE(all_map(self, iovas[i], i * PAGE, PAGE));
	}
	for (i = 0; i < 10; i++)
		EXPECT_EQ(0, unmap(self->fd, self->ioas, iovas[i], PAGE, NULL));

	for (i = 1; i <= 10; i++) {
		EXPECT_EQ(0, MAP_ANYWHERE(0, i * PAGE, &iovas[0]));
		EXPECT_EQ(0, iovas[0] % ((i & -i) * PAGE));
	}
}

TEST_F(areas, chosen_iova_is_not_reserved)
{
	struct iommu_iova_range reserved = {
		.start = self->base + PAGE,
		.last = self->base + 100 * PAGE - 1,
	};
	__u64 iova;
	int i;

	ASSERT_EQ(0, mock_reserve(self->fd, self->ioas, reserved.start,
				  reserved.last - reserved.start + 1));
	for (i = 1; i <= 10; i++) {
		EXPECT_EQ(0, MAP_ANYWHERE(0, i * PAGE, &iova));
		EXPECT_TRUE(iova > reserved.last ||
			    iova + i * PAGE <= reserved.start);
	}
	EXPECT_ERRNO(EINVAL, MAP(0, PAGE, PAGE));
	EXPECT_ERRNO(EINVAL, MAP(0, 200 * PAGE, 0));
}

TEST_F(areas, chosen_iova_is_allowed)
{
	struct iommu_iova_range allowed[] = {
		{ self->base + 11 * PAGE, self->base + 20 * PAGE - 1 },
		{ self->base + 41 * PAGE, self->base + 61 * PAGE - 1 },
	};
	__u64 iova;
	int i, nr = 0;

	ASSERT_EQ(0, allow_iovas(self->fd, self->ioas, allowed, 2));
	while (!MAP_ANYWHERE(0, 4 * PAGE, &iova)) {
		ASSERT_TRUE(inside(iova, 4 * PAGE, &allowed[0]) ||
			    inside(iova, 4 * PAGE, &allowed[1]));
		nr++;
	}
	EXPECT_EQ(ENOSPC, errno);
	/* At 12 and 16, and at 44, 48, 52, 56 */
	EXPECT_EQ(6, nr);
	for (i = 1; i <= 10; i++)
		while (!MAP_ANYWHERE(0, i * PAGE, &iova))
			ASSERT_TRUE(inside(iova, i * PAGE, &allowed[0]) ||
				    inside(iova, i * PAGE, &allowed[1]));
	/* An IOVA of the caller's choice need not be allowed */
	EXPECT_EQ(0, MAP(0, PAGE, 0));
}

/* All below a range that is reserved up to the top is taken, also IOVA 0 */
TEST_F(areas, chosen_iova_below_the_reserved_top)
{
	__u64 iova = 0;
	__u32 ioas;
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas));
	ASSERT_EQ(0, mock_reserve(self->fd, ioas, 4 * PAGE, -4 * PAGE));
	ASSERT_EQ(0, map_at(self->fd, ioas, (uintptr_t)self->buf, PAGE, 0));
	for (i = 1; i < 4; i++) {
		EXPECT_EQ(0, map(self->fd, ioas, MAP_RW, (uintptr_t)self->buf,
				 PAGE, &iova));
		EXPECT_EQ(i * PAGE, iova);
	}
	EXPECT_ERRNO(ENOSPC, map(self->fd, ioas, MAP_RW, (uintptr_t)self->buf,
				 PAGE, &iova));
}

/* An allowed range can't overlap a reserved one, and the reverse (trap A17) */
TEST_F(areas, allowed_and_reserved_exclude_each_other)
{
	struct iommu_iova_range allowed = {
		self->base + 10 * PAGE, self->base + 100 * PAGE - 1,
	};

	ASSERT_EQ(0, allow_iovas(self->fd, self->ioas, &allowed, 1));
	/* From before its start, and around it */
	EXPECT_ERRNO(EADDRINUSE, mock_reserve(self->fd, self->ioas,
					      self->base + 9 * PAGE,
					      PAGE + 1));
	EXPECT_ERRNO(EADDRINUSE, mock_reserve(self->fd, self->ioas, self->base,
					      200 * PAGE));
	EXPECT_ERRNO(EADDRINUSE, mock_reserve(self->fd, self->ioas,
					      self->base + 50 * PAGE, PAGE));
	EXPECT_ERRNO(EADDRINUSE, mock_reserve(self->fd, self->ioas,
					      allowed.last, 1));
	EXPECT_EQ(0, allow_iovas(self->fd, self->ioas, NULL, 0));
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, self->base + 50 * PAGE,
				  PAGE));
	EXPECT_ERRNO(EADDRINUSE,
		     allow_iovas(self->fd, self->ioas, &allowed, 1));
	if (self->nr_mocks) {
		allowed.start = self->base - 1;
		allowed.last = self->base;
		EXPECT_ERRNO(EADDRINUSE,
			     allow_iovas(self->fd, self->ioas, &allowed, 1));
	}
}

#define MANY_RANGES 5000

/* A list that is refused changes nothing, wherever the error is (trap A17) */
TEST_F(areas, refused_list_changes_nothing)
{
	struct iommu_iova_range one = {
		self->base + 8 * PAGE, self->base + 9 * PAGE - 1,
	};
	struct iommu_iova_range *list, *last;
	__u64 iova = 0;
	int i;

	list = calloc(MANY_RANGES, sizeof(*list));
	ASSERT_NE(NULL, list);
	for (i = 0; i < MANY_RANGES; i++) {
		list[i].start = self->base + (10 + i) * PAGE;
		list[i].last = list[i].start + PAGE - 1;
	}
	last = &list[MANY_RANGES - 1];
	ASSERT_EQ(0, mock_reserve(self->fd, self->ioas, self->base, PAGE));
	ASSERT_EQ(0, allow_iovas(self->fd, self->ioas, &one, 1));

#define REFUSED(_errno)                                                        \
	do {                                                                   \
		EXPECT_ERRNO(_errno, allow_iovas(self->fd, self->ioas, list,   \
						 MANY_RANGES));                \
		EXPECT_EQ(0, MAP_ANYWHERE(0, PAGE, &iova));                    \
		EXPECT_EQ(one.start, iova);                                    \
		EXPECT_EQ(0, unmap(self->fd, self->ioas, iova, PAGE, NULL));   \
	} while (0)
	last->start = self->base;
	last->last = self->base + 1;
	REFUSED(EADDRINUSE);
	last->last = last->start;
	REFUSED(EINVAL);
	last->last = last->start - 1;
	REFUSED(EINVAL);
	*last = list[MANY_RANGES - 2];
	REFUSED(EINVAL);
	last->start = last->last;
	last->last += PAGE;
	REFUSED(EINVAL);
	EXPECT_ERRNO(EFAULT, allow_iovas(self->fd, self->ioas, (void *)8, 1));
	EXPECT_ERRNO(ENOENT, allow_iovas(self->fd, 99, &one, 1));

	last->start = list[MANY_RANGES - 2].last + 1;
	EXPECT_EQ(0, allow_iovas(self->fd, self->ioas, list, MANY_RANGES));
	EXPECT_EQ(0, MAP_ANYWHERE(0, PAGE, &iova));
	EXPECT_EQ(list[0].start, iova);
}

/* Any length that the page tables can map */
TEST_F(areas, chosen_iova_of_every_length)
{
	__u64 iova = 0, length;

	for (length = 1; length < 2 * PAGE; length++) {
		if (length % self->alignment) {
			EXPECT_ERRNO(EINVAL, MAP_ANYWHERE(0, length, &iova));
			continue;
		}
		EXPECT_EQ(0, MAP_ANYWHERE(0, length, &iova));
		EXPECT_EQ(0, unmap(self->fd, self->ioas, iova, length, NULL));
	}
}

TEST_F(areas, iova_ranges)
{
	struct iommu_iova_range ranges[3] = {}, all = { 0, ~0ULL };
	__u64 alignment = 0;
	__u32 nr = 0;

	if (self->nr_mocks)
		all = (struct iommu_iova_range){
			MOCK_APERTURE_START, MOCK_APERTURE_LAST,
		};
	EXPECT_ERRNO(EMSGSIZE, iova_ranges(self->fd, self->ioas, ranges, &nr,
					   &alignment));
	EXPECT_EQ(1, nr);
	EXPECT_EQ(self->alignment, alignment);
	EXPECT_EQ(0, ranges[0].last);
	EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr, NULL));
	EXPECT_EQ(1, nr);
	EXPECT_EQ(all.start, ranges[0].start);
	EXPECT_EQ(all.last, ranges[0].last);

	/* The same range can be reserved twice */
	ASSERT_EQ(0, mock_reserve(self->fd, self->ioas, self->base + 2 * PAGE,
				  PAGE));
	ASSERT_EQ(0, mock_reserve(self->fd, self->ioas, self->base + 2 * PAGE,
				  PAGE));
	memset(ranges, 0, sizeof(ranges));
	EXPECT_ERRNO(EMSGSIZE, iova_ranges(self->fd, self->ioas, ranges, &nr,
					   NULL));
	EXPECT_EQ(2, nr);
	EXPECT_EQ(all.start, ranges[0].start);
	EXPECT_EQ(self->base + 2 * PAGE - 1, ranges[0].last);
	EXPECT_EQ(0, ranges[1].last);
	EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr, NULL));
	EXPECT_EQ(2, nr);
	EXPECT_EQ(self->base + 3 * PAGE, ranges[1].start);
	EXPECT_EQ(all.last, ranges[1].last);
}

/*
 * Copy
 */

/* Is this part of the buffer mapped in IOAS @id? An access reads it. */
static bool same_memory(struct _test_data_areas *self, __u32 id, __u64 iova,
			size_t offset, size_t length)
{
	char data[LENGTH];
	int access;
	bool ret;

	if (access_create(self->fd, id, 0, &access))
		return false;
	ret = !access_rw(self->fd, access, iova, data, length,
			 MOCK_ACCESS_RW_SLOW_PATH) &&
	      !memcmp(data, self->buf + offset, length);
	close(access);
	return ret;
}

TEST_F(areas, copy_to_the_same_and_to_another)
{
	__u64 iova = self->base + PAGE;
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, MAP(0, PAGE, 0));
	EXPECT_EQ(0, copy(self->fd, self->ioas, self->ioas, FIXED_RW, PAGE,
			  &iova, self->base));
	EXPECT_TRUE(all_map(self, iova, 0, PAGE));
	iova = 0;
	EXPECT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW, PAGE, &iova,
			  self->base));
	EXPECT_TRUE(same_memory(self, other, 0, 0, PAGE));
	EXPECT_TRUE(is_pinned(self, 0, PAGE));
	iova = self->base;
	EXPECT_ERRNO(EEXIST, copy(self->fd, self->ioas, other, FIXED_RW, PAGE,
				  &iova, 0));
}

/* The order of errors, and invalid sources (trap A12) */
TEST_F(areas, copy_checks_the_source)
{
	__u32 other, read_only;
	__u64 iova = 0;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, MAP(0, 2 * PAGE, 0));
	ASSERT_EQ(0, MAP(3 * PAGE, PAGE, 3 * PAGE));
#define COPY(_flags, _length, _from)                                           \
	copy(self->fd, other, self->ioas, _flags, _length, &iova,              \
	     self->base + (_from))
	EXPECT_ERRNO(EINVAL, COPY(FIXED_RW, 0, 0));
	EXPECT_ERRNO(EINVAL, COPY(IOMMU_IOAS_MAP_FIXED_IOVA, PAGE, 0));
	EXPECT_ERRNO(EOPNOTSUPP, COPY(FIXED_RW | 8, PAGE, 0));
	EXPECT_ERRNO(ENOENT, COPY(FIXED_RW, 3 * PAGE, 0));
	EXPECT_ERRNO(ENOENT, COPY(FIXED_RW, 2 * PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, COPY(FIXED_RW, PAGE, 2 * PAGE));
	EXPECT_ERRNO(ENOENT, COPY(FIXED_RW, 2 * PAGE, 3 * PAGE));
	EXPECT_ERRNO(ENOENT, COPY(FIXED_RW, PAGE, 8 * PAGE));
	EXPECT_ERRNO(EOVERFLOW, COPY(FIXED_RW, ~0ULL, 0));
	EXPECT_ERRNO(EOVERFLOW, COPY(FIXED_RW, -PAGE, 2 * PAGE - self->base));
	EXPECT_ERRNO(ENOENT, copy(self->fd, other, 99, FIXED_RW, PAGE, &iova,
				  0));
	EXPECT_ERRNO(ENOENT, copy(self->fd, 99, self->ioas, FIXED_RW, PAGE,
				  &iova, self->base));
	EXPECT_EQ(0, unmap_all(self->fd, other, NULL));

	/* A writable mapping can be copied for reading; the reverse fails */
	ASSERT_EQ(0, alloc_ioas(self->fd, &read_only));
	iova = 0;
	ASSERT_EQ(0, map(self->fd, read_only,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf, PAGE, &iova));
	EXPECT_ERRNO(EPERM, copy(self->fd, other, read_only, FIXED_RW, PAGE,
				 &iova, 0));
	EXPECT_EQ(0, copy(self->fd, other, read_only,
			  IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			  PAGE, &iova, 0));
	/* The destination is checked first */
	EXPECT_ERRNO(EEXIST, copy(self->fd, other, read_only, FIXED_RW, PAGE,
				  &iova, 0));
	iova = PAGE;
	EXPECT_EQ(0, COPY(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			  PAGE, 0));
}

/* The source must be mapped completely */
TEST_F(areas, copy_sweep)
{
	/* Without a page table an area can end at any byte */
	__u64 length = LENGTH - (self->alignment == 1);
	__u64 from, iova;
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, MAP(0, length, 16 * PAGE));
	for (from = self->base + 15 * PAGE; from < self->base + 33 * PAGE;
	     from += 511) {
		__u64 offset = from - self->base - 16 * PAGE;

		iova = 0;
		if (offset > length || offset + MOCK_PAGE > length) {
			EXPECT_ERRNO(ENOENT, copy(self->fd, other, self->ioas,
						  FIXED_RW, MOCK_PAGE, &iova,
						  from));
			continue;
		}
		ASSERT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW,
				  MOCK_PAGE, &iova, from));
		EXPECT_TRUE(same_memory(self, other, 0, offset, MOCK_PAGE));
		EXPECT_EQ(0, unmap_all(self->fd, other, NULL));
	}
}

/* Are exactly these pages of the buffer pinned, once? */
static bool only_pinned(struct _test_data_areas *self, size_t first, size_t nr)
{
	return !mock_check_refs(self->fd, self->buf, first * PAGE, 0) &&
	       !mock_check_refs(self->fd, self->buf + first * PAGE, nr * PAGE,
				1) &&
	       !mock_check_refs(self->fd, self->buf + (first + nr) * PAGE,
				(NR_PAGES - first - nr) * PAGE, 0);
}

/*
 * Copy a part of an area to an IOAS with a device and to one without. The copy
 * needs only its part, and stays when the source is unmapped.
 */
static void check_copy(struct __test_metadata *_metadata,
		       struct _test_data_areas *self, size_t first, size_t nr)
{
	__u64 source = self->base, iova = MOCK_APERTURE_START;
	long kb = nr * PAGE / 1024;
	__u32 with, without;
	struct mock mock;

	ASSERT_EQ(0, alloc_ioas(self->fd, &with));
	ASSERT_EQ(0, alloc_ioas(self->fd, &without));
	ASSERT_EQ(0, mock_domain(self->fd, with, &mock));
	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, copy(self->fd, with, self->ioas, FIXED_RW,
			  nr * PAGE, &iova, source + first * PAGE));
	ASSERT_EQ(0, copy(self->fd, without, with, FIXED_RW, nr * PAGE,
			  &iova, iova));
	ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
				    self->buf + first * PAGE,
				    nr * PAGE));
	ASSERT_TRUE(self->nr_mocks ? is_pinned(self, 0, LENGTH) :
				     only_pinned(self, first, nr));

	/* The copy stays after the unmap of the source */
	ASSERT_EQ(0, UNMAP(0, LENGTH));
	ASSERT_TRUE(only_pinned(self, first, nr));
	ASSERT_EQ(self->pinned + kb, status_kb("VmPin"));
	ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
				    self->buf + first * PAGE,
				    nr * PAGE));
	/* The last copy that needs the pages unpins them */
	ASSERT_EQ(0, unmap(self->fd, with, iova, nr * PAGE, NULL));
	ASSERT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	/* The other copy is pinned at the attach */
	ASSERT_EQ(0, mock_domain(self->fd, without, &mock));
	ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
				    self->buf + first * PAGE,
				    nr * PAGE));
	ASSERT_TRUE(only_pinned(self, first, nr));
	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	ASSERT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	ASSERT_EQ(0, destroy(self->fd, with));
	ASSERT_EQ(0, destroy(self->fd, without));
}

/* Traps A12, J3 */
TEST_F_TIMEOUT(areas, copy_of_every_part, 120)
{
	size_t first, nr;

	for (first = 0; first < NR_PAGES; first++)
		for (nr = 1; nr <= NR_PAGES - first; nr++)
			check_copy(_metadata, self, first, nr);
}

/*
 * COPY of several adjoining areas makes as many areas, with parts at both ends
 */
TEST_F(areas, copy_of_neighbours)
{
	__u64 iova = MOCK_APERTURE_START, unmapped;
	struct mock mock;
	__u32 other;
	int i;

	/* IOVA and memory have opposite orders */
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, MAP((3 - i) * 4 * PAGE, 4 * PAGE, i * 4 * PAGE));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, mock_domain(self->fd, other, &mock));
	EXPECT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW, 12 * PAGE,
			  &iova, self->base + 2 * PAGE));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
				    self->buf + 14 * PAGE, 2 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova + 2 * PAGE,
				    self->buf + 8 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova + 6 * PAGE,
				    self->buf + 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova + 10 * PAGE,
				    self->buf, 2 * PAGE));
	EXPECT_TRUE(mock_is_unpinned(self->buf + 2 * PAGE, 2 * PAGE));
	EXPECT_TRUE(mock_is_unpinned(self->buf + 12 * PAGE, 2 * PAGE));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + 4 * PAGE, 8 * PAGE,
				     1));
	EXPECT_ERRNO(ENOENT, unmap(self->fd, other, iova + PAGE, 12 * PAGE,
				   NULL));
	EXPECT_EQ(0, unmap(self->fd, other, iova + 2 * PAGE, 8 * PAGE,
			   &unmapped));
	EXPECT_EQ(8 * PAGE, unmapped);
	EXPECT_TRUE(mock_is_unpinned(self->buf + 4 * PAGE, 8 * PAGE));
}

/*
 * An offset in the page that the destination can't map, and a map call that
 * fails: nothing of the copy is left
 */
TEST_F(areas, failed_copy_leaves_nothing)
{
	__u64 iova = MOCK_APERTURE_START;
	struct mock mock;
	__u32 other;
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, mock_device(self->fd, other, &MOCK_CONFIG(.unit = 7),
				 &mock));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, MAP(i * 2 * PAGE, PAGE, i * PAGE));
	EXPECT_ERRNO(EINVAL, copy(self->fd, other, self->ioas, FIXED_RW, 100,
				  &iova, self->base));
	EXPECT_ERRNO(EINVAL, copy(self->fd, other, self->ioas, FIXED_RW,
				  MOCK_PAGE, &iova, self->base + 100));
	EXPECT_EQ(self->pinned + (self->nr_mocks ? 16 : 0), status_kb("VmPin"));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, mock_fail(self->fd, 7, MOCK_CALL_MAP, i, 1,
				       ENOSPC));
		EXPECT_ERRNO(ENOSPC, copy(self->fd, other, self->ioas, FIXED_RW,
					  4 * PAGE, &iova, self->base));
		EXPECT_EQ(self->pinned + (self->nr_mocks ? 16 : 0),
			  status_kb("VmPin"));
	}
	EXPECT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW, 4 * PAGE,
			  &iova, self->base));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt,
					    iova + i * PAGE,
					    self->buf + i * 2 * PAGE, PAGE));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
}

/*
 * Each area of a copy is checked, not only the last: its permissions, and its
 * offset in the page
 */
TEST_F(areas, copy_checks_each_area)
{
	__u32 from, to;
	struct mock mock;
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &from));
	ASSERT_EQ(0, alloc_ioas(self->fd, &to));
	ASSERT_EQ(0, mock_domain(self->fd, to, &mock));
	for (i = 0; i < 2; i++) {
		__u64 odd = i * PAGE, fine = !i * PAGE;

		ASSERT_EQ(0, map(self->fd, from, IOMMU_IOAS_MAP_READABLE |
				 IOMMU_IOAS_MAP_FIXED_IOVA,
				 (uintptr_t)self->buf, PAGE, &odd));
		ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf, PAGE,
				    fine));
		EXPECT_ERRNO(EPERM, copy_at(self->fd, to, from, MAP_RW,
					    2 * PAGE, MOCK_APERTURE_START, 0));
		ASSERT_EQ(0, unmap_all(self->fd, from, NULL));
		ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf + 100,
				    PAGE, odd));
		ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf, PAGE,
				    fine));
		EXPECT_ERRNO(EINVAL, copy_at(self->fd, to, from, MAP_RW,
					     2 * PAGE, MOCK_APERTURE_START, 0));
		ASSERT_EQ(0, unmap_all(self->fd, from, NULL));
	}
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

/* The kernel chooses an IOVA that suits the memory that is copied */
TEST_F(areas, copy_to_a_chosen_iova)
{
	__u64 iova = 0;
	__u32 from;

	ASSERT_EQ(0, alloc_ioas(self->fd, &from));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf, LENGTH, 0));
	ASSERT_EQ(0, MAP(0, 2 * PAGE, 0));
	/* Aligned as the second page is, not as the first one */
	EXPECT_EQ(0, copy(self->fd, self->ioas, from, MAP_RW, 4 * PAGE, &iova,
			  PAGE));
	EXPECT_EQ(self->base + 2 * PAGE, iova);
	EXPECT_TRUE(all_map(self, iova, PAGE, 4 * PAGE));
	/* The offset in the page is kept */
	EXPECT_EQ(0, copy(self->fd, self->ioas, from, MAP_RW, PAGE, &iova,
			  8 * PAGE + MOCK_PAGE));
	EXPECT_EQ(self->base + 6 * PAGE + MOCK_PAGE, iova);
	EXPECT_TRUE(all_map(self, iova, 8 * PAGE + MOCK_PAGE, PAGE));
	/* Of several areas the first one counts */
	ASSERT_EQ(0, MAP(0, PAGE, 8 * PAGE));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf + PAGE, PAGE,
			    LENGTH));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)self->buf + 8 * PAGE,
			    7 * PAGE, LENGTH + PAGE));
	EXPECT_EQ(0, copy(self->fd, self->ioas, from, MAP_RW, 8 * PAGE, &iova,
			  LENGTH));
	EXPECT_EQ(self->base + 9 * PAGE, iova);
	EXPECT_TRUE(all_map(self, iova, PAGE, PAGE));
	EXPECT_TRUE(all_map(self, iova + PAGE, 8 * PAGE, 7 * PAGE));
}

/*
 * A process that is killed in a COPY
 */

/* Copy what is mapped at 0, and wait for a page of the parent at its end */
static pid_t stalled_copy(struct _test_data_areas *self, __u32 to, __u32 from,
			  __u64 length, int faults)
{
	pid_t pid = fork();

	if (!pid)
		_exit(copy_at(self->fd, to, from, MAP_RW, length,
			      MOCK_APERTURE_START, 0) ? 1 : 0);
	return is_touched(faults) ? pid : -1;
}

static bool is_killed(pid_t pid)
{
	int status;

	return !kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid &&
	       WIFSIGNALED(status);
}

/*
 * It needs the page tables to undo the first area, but an attach holds their
 * lock. So that area stays, and can be used.
 */
TEST_F(areas, killed_copy_does_not_wait_to_undo)
{
	const __u64 there = MOCK_APERTURE_START;
	char *first = memory(PAGE, MAP_PRIVATE), *second;
	int faults[2], status;
	struct mock mock;
	__u32 from, to;
	pid_t pids[2];

	*first = 1;
	second = stalled_page(&faults[1]);
	ASSERT_NE(NULL, second);
	ASSERT_EQ(0, alloc_ioas(self->fd, &from));
	ASSERT_EQ(0, alloc_ioas(self->fd, &to));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)first, PAGE, 0));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)second, PAGE, PAGE));
	ASSERT_EQ(0, mock_device(self->fd, to, &MOCK_CONFIG(.unit = 7), &mock));
	pids[0] = stalled_copy(self, to, from, 2 * PAGE, faults[1]);
	ASSERT_LT(0, pids[0]);

	/* Another attach has to pin the first area again, and waits for that */
	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_TRUE(mock_is_unpinned(first, PAGE));
	ASSERT_EQ(0, madvise(first, PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, stall(first, &faults[0]));
	pids[1] = fork();
	if (!pids[1])
		_exit(mock_device(self->fd, to, &MOCK_CONFIG(.unit = 7),
				  &mock) ? 1 : 0);
	ASSERT_TRUE(is_touched(faults[0]));

	EXPECT_TRUE(is_killed(pids[0]));
	ASSERT_EQ(0, let_go(faults[0], first));
	ASSERT_EQ(pids[1], waitpid(pids[1], &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
	EXPECT_ERRNO(ENOENT, unmap(self->fd, to, there + PAGE, PAGE, NULL));
	EXPECT_EQ(0, unmap(self->fd, to, there, PAGE, NULL));
	EXPECT_TRUE(mock_is_unpinned(first, PAGE));
	close(faults[0]);
	close(faults[1]);
}

/*
 * It is the last user of the IOAS, and so releases that: completely, though a
 * request of a killed process stops early otherwise
 */
TEST_F(areas, killed_copy_releases_the_ioas)
{
	int file = memfd_create("areas", MFD_ALLOW_SEALING), faults, i;
	const __u64 top = MOCK_APERTURE_LAST + 1 - PAGE;
	char *page = stalled_page(&faults);
	struct mock mock;
	__u32 from, to;
	pid_t pid;

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, alloc_ioas(self->fd, &from));
	ASSERT_EQ(0, alloc_ioas(self->fd, &to));
	ASSERT_EQ(0, map_at(self->fd, from, (uintptr_t)page, PAGE, 0));
	/* More areas than are unmapped at once; the last one is a file */
	for (i = 1; i <= 100; i++)
		ASSERT_EQ(0, map_at(self->fd, to, (uintptr_t)self->buf, PAGE,
				    MOCK_APERTURE_START + i * PAGE));
	ASSERT_EQ(0, map_file_at(self->fd, to, MAP_RW, file, 0, PAGE, top));
	ASSERT_EQ(0, mock_device(self->fd, to, &MOCK_CONFIG(.unit = 7), &mock));
	pid = stalled_copy(self, to, from, PAGE, faults);
	ASSERT_LT(0, pid);

	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, to));
	EXPECT_ERRNO(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_TRUE(is_killed(pid));
	EXPECT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(0, destroy(self->fd, from));
	close(faults);
	close(file);
}

/*
 * Alignment
 */

/* With huge pages off, areas consist of whole pages */
TEST_F(areas, small_pages_align_areas)
{
	__u64 value = 9;

	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_HUGE_PAGES,
			    IOMMU_OPTION_OP_GET, self->ioas, &value));
	EXPECT_EQ(1, value);
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_HUGE_PAGES,
			    IOMMU_OPTION_OP_GET, self->ioas, &value));
	EXPECT_EQ(0, value);
	EXPECT_ERRNO(EINVAL, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					self->ioas, 2));
	EXPECT_ERRNO(ENOENT, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, 0,
					1));

	EXPECT_EQ(0, MAP(0, 4 * PAGE, 0));
	/* They are off already */
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	EXPECT_TRUE(all_map(self, self->base, 0, 4 * PAGE));
	EXPECT_ERRNO(EINVAL, MAP(MOCK_PAGE, PAGE, 4 * PAGE));
	EXPECT_ERRNO(EINVAL, MAP(0, PAGE, 4 * PAGE + MOCK_PAGE));
	EXPECT_ERRNO(EINVAL, MAP(0, MOCK_PAGE, 4 * PAGE));
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				1));
	EXPECT_EQ(0, MAP(MOCK_PAGE, PAGE, 4 * PAGE));
	/* It can't be switched off with what is mapped now */
	EXPECT_ERRNO(self->nr_mocks ? EINVAL : EADDRINUSE,
		     set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	EXPECT_EQ(0, UNMAP(4 * PAGE, PAGE));
	if (!self->nr_mocks)
		EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					self->ioas, 0));
}

/* Contiguous memory is mapped in one call, or page by page */
TEST_F(areas, small_pages_are_mapped_one_by_one)
{
	struct iommu_test_mock_stats before, after;
	char *huge = memory(SZ_2M, MAP_SHARED | MAP_HUGETLB);

	if (!self->nr_mocks)
		return;
	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, SZ_2M);
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)huge, 64 * PAGE,
			    self->base));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_GE(2, after.maps - before.maps);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));

	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)huge, 64 * PAGE,
			    self->base));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_LE(64, after.maps - before.maps);
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt, self->base,
				    huge, 64 * PAGE));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
}

static __u64 alignment_of(int fd, __u32 ioas)
{
	struct iommu_iova_range range;
	__u64 ret = 0;
	__u32 nr = 1;

	iova_ranges(fd, ioas, &range, &nr, &ret);
	return ret;
}

/*
 * The strictest alignment of devices and accesses counts as long as they exist,
 * and areas that don't suit keep them out (trap A13)
 */
TEST_F(areas, alignment_comes_and_goes)
{
	struct mock mock;
	int access;

	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));
	EXPECT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));
	close(access);

	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7, .page_sizes = PAGE),
				 &mock));
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_ERRNO(EINVAL, MAP(MOCK_PAGE, PAGE, 0));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_ERRNO(EINVAL, MAP(MOCK_PAGE, PAGE, 0));
	close(access);
	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));

	/* IOVA, offset in the page, and length count */
	EXPECT_EQ(0, MAP(MOCK_PAGE, PAGE, 0));
	EXPECT_ERRNO(EADDRINUSE,
		     mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7, .page_sizes = PAGE),
				 &mock));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	EXPECT_EQ(0, MAP(0, PAGE, MOCK_PAGE));
	EXPECT_ERRNO(EADDRINUSE,
		     access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	EXPECT_EQ(0, UNMAP(MOCK_PAGE, PAGE));
	EXPECT_EQ(0, MAP(0, MOCK_PAGE, 0));
	EXPECT_ERRNO(EADDRINUSE,
		     mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7, .page_sizes = PAGE),
				 &mock));
	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, self->base + PAGE, PAGE));
	EXPECT_EQ(0, UNMAP(0, MOCK_PAGE));
	EXPECT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7, .page_sizes = PAGE),
				 &mock));
}

/* A device that needs less than another one, an access, or the option */
TEST_F(areas, alignment_is_not_lowered)
{
	struct mock pages, halves;
	int access, second;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 6, .page_sizes = PAGE),
				 &pages));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 7),
				 &halves));
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_ERRNO(EINVAL, MAP(0, MOCK_PAGE, 0));
	EXPECT_EQ(0, destroy(self->fd, pages.stdev));
	EXPECT_EQ(MOCK_PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, halves.stdev));

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 7),
				 &halves));
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	/* Two accesses need it, until the last one is gone */
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &second));
	close(access);
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	close(second);
	EXPECT_EQ(MOCK_PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, halves.stdev));

	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 7),
				 &halves));
	EXPECT_EQ(PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				1));
	EXPECT_EQ(MOCK_PAGE, alignment_of(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, halves.stdev));
	EXPECT_EQ(self->alignment, alignment_of(self->fd, self->ioas));
}

/*
 * Two requests at once: a delay holds one of them in the middle
 */

#define START MOCK_APERTURE_START
#define CAN_PIN MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES
#define NR_ROUNDS 3

FIXTURE(beside)
{
	int fd;
	__u32 ioas;
	char *buf;
};

FIXTURE_SETUP(beside)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	self->buf = memory(PAGE, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	memset(self->buf, 1, PAGE);
	ASSERT_EQ(0, mock_delay(""));
}

FIXTURE_TEARDOWN(beside)
{
	EXPECT_EQ(0, mock_delay(""));
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, PAGE));
}

struct request {
	struct _test_data_beside *self;
	int way;
	__u32 stdev;
	__u64 iova;
	int err;
	atomic_bool done;
};

/* The second one depends on what the first one will have done */
enum { RESERVE, ALIGN, CHOOSE, ALLOW, NR_WAYS };

static void *request_range(void *arg)
{
	struct request *me = arg;
	struct _test_data_beside *self = me->self;
	struct iommu_iova_range range = { START, START + PAGE - 1 };
	int ret;

	if (me->way == ALLOW)
		ret = allow_iovas(self->fd, self->ioas, &range, 1);
	else if (me->way == CHOOSE)
		ret = map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf,
			  PAGE, &me->iova);
	else
		ret = map_at(self->fd, self->ioas, (uintptr_t)self->buf,
			     PAGE / 2, START);
	me->err = ret ? errno : 0;
	me->done = true;
	return NULL;
}

/*
 * A MAP, or ALLOW_IOVAS, has checked its range, but not inserted it. Another
 * request does not come in between.
 */
TEST_F(beside, ranges_are_checked_and_inserted_at_once)
{
	pthread_t thread;
	__u64 iova;
	int i, access;

	ASSERT_EQ(0, mock_delay("interval_tree_iter_first 20000"));
	for (i = 0; i < NR_ROUNDS * NR_WAYS; i++) {
		struct request me = { self, i % NR_WAYS };

		/* ALLOW_IOVAS searches its own list first, with no lock */
		ASSERT_EQ(0, mock_begin(request_range, &me, &me.done,
					me.way == ALLOW ? 2 : 1, &thread));
		if (me.way == CHOOSE) {
			EXPECT_EQ(0, map(self->fd, self->ioas, MAP_RW,
					 (uintptr_t)self->buf, PAGE, &iova));
		} else if (me.way == ALIGN) {
			EXPECT_ERRNO(EADDRINUSE,
				     access_create(self->fd, self->ioas,
						   CAN_PIN, &access));
		} else {
			EXPECT_ERRNO(EADDRINUSE,
				     mock_reserve(self->fd, self->ioas, START,
						  PAGE));
		}
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.err);
		ASSERT_EQ(0, destroy(self->fd, self->ioas));
		ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	}
}

struct asker {
	struct request of;
	struct iommu_iova_range ranges[8];
	__u64 alignment;
};

static void *ask_ranges(void *arg)
{
	struct asker *me = arg;
	__u32 nr = 8;

	me->of.err = iova_ranges(me->of.self->fd, me->of.self->ioas, me->ranges,
				 &nr, &me->alignment) ? errno : 0;
	me->of.done = true;
	return NULL;
}

/*
 * The only device is detached while IOVA_RANGES finds a range: it does not report
 * the alignment of the device with a range that is free only without it
 */
TEST_F(beside, range_and_alignment_are_read_at_once)
{
	pthread_t thread;
	struct mock mock;
	int i;

	ASSERT_EQ(0, mock_delay("interval_tree_iter_first 20000"));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct asker me = { { self } };

		ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
		ASSERT_EQ(0, mock_begin(ask_ranges, &me, &me.of.done, 1,
					&thread));
		EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
		pthread_join(thread, NULL);
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		EXPECT_EQ(0, me.of.err);
		EXPECT_TRUE(me.ranges[0].start || me.alignment == 1);
	}
}

/* Unmap the page as soon as the UNMAP of the main thread owns it */
static void *unmap_too(void *arg)
{
	struct request *me = arg;
	struct _test_data_beside *self = me->self;

	mock_wait_for_calls(1, &me->done);
	me->err = unmap(self->fd, self->ioas, START, PAGE, NULL) ? errno : 0;
	me->done = true;
	return NULL;
}

/*
 * An UNMAP has decided to wait for another one, but does not sleep yet, when
 * that one ends
 */
TEST_F(beside, unmap_ends_before_the_other_one_sleeps)
{
	pthread_t thread;
	struct mock mock;
	int i, tries;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct request me = { self };

		ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    PAGE, START));
		ASSERT_EQ(0, mock_delay(""));
		ASSERT_EQ(0, mock_delay("iommufd_pages_unpin 10000"));
		ASSERT_EQ(0, mock_delay("iova_space_wait 20000"));
		ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_too, &me));
		EXPECT_EQ(0, unmap(self->fd, self->ioas, START, PAGE, NULL));
		for (tries = 0; tries < 500 && !me.done; tries++)
			usleep(10000);
		ASSERT_TRUE(me.done);
		pthread_join(thread, NULL);
		EXPECT_EQ(ENOENT, me.err);
	}
}

static void *map_in_thread(void *arg)
{
	struct request *me = arg;
	struct _test_data_beside *self = me->self;

	me->err = map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			 START) ? errno : 0;
	me->done = true;
	return NULL;
}

/* A MAP is about to map in a page table, which is destroyed meanwhile */
TEST_F(beside, table_is_destroyed_after_a_map)
{
	pthread_t thread;
	struct mock mock;
	__u32 hwpt;
	int i;

	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
	ASSERT_EQ(0, mock_delay("iommufd_hwpt_map 20000"));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct request me = { self };

		ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
		ASSERT_EQ(0, mock_begin(map_in_thread, &me, &me.done, 1,
					&thread));
		EXPECT_EQ(0, destroy(self->fd, hwpt));
		pthread_join(thread, NULL);
		EXPECT_TRUE(me.done);
		EXPECT_EQ(0, me.err);
		EXPECT_TRUE(mock_is_unpinned(self->buf, PAGE));
		EXPECT_EQ(0, unmap(self->fd, self->ioas, START, PAGE, NULL));
	}
}

static void *attach_in_thread(void *arg)
{
	struct request *me = arg;
	__u32 pt_id = me->self->ioas;

	me->err = mock_attach(me->self->fd, me->stdev, &pt_id) ? errno : 0;
	me->done = true;
	return NULL;
}

/* Two attaches pin the same pages at once, which two IOAS map */
TEST_F(beside, same_pages_are_pinned_by_two)
{
	struct mock mocks[2];
	pthread_t thread;
	__u32 other, pt_id;
	char *buf;
	int i;

	buf = memory(SZ_2M, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, buf);
	fill_bytes(buf, SZ_2M, 1);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)buf, SZ_2M,
			    START));
	ASSERT_EQ(0, copy_at(self->fd, other, self->ioas, MAP_RW, SZ_2M, START,
			     START));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(.unit = i),
					 &mocks[i]));
	ASSERT_EQ(0, mock_delay("iommufd_pin_list 20000"));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct request me = { self, .stdev = mocks[0].stdev };

		ASSERT_EQ(0, mock_begin(attach_in_thread, &me, &me.done, 1,
					&thread));
		pt_id = other;
		EXPECT_EQ(0, mock_attach(self->fd, mocks[1].stdev, &pt_id));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.err);
		ASSERT_EQ(0, mock_detach(self->fd, mocks[0].stdev));
		ASSERT_EQ(0, mock_detach(self->fd, mocks[1].stdev));
		EXPECT_TRUE(mock_is_unpinned(buf, SZ_2M));
		EXPECT_EQ(0, status_kb("VmPin"));
	}
}

/*
 * An attach has mapped the first runs of a table, in which a driver stores pages
 * before them meanwhile. No two pages are contiguous.
 */
TEST_F(beside, table_of_runs_is_replaced)
{
	const int nr = 512, half = nr / 2;
	__u32 other, items[64];
	struct mock mock;
	pthread_t thread;
	int access, i, j;
	int *buf;

	buf = (void *)memory(nr * PAGE, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, buf);
	/* Memory is allocated in the order in which it is touched */
	for (i = 0; i < nr; i++) {
		j = i < half ? 2 * i : 2 * (i - half) + 1;
		buf[j * (PAGE / sizeof(int))] = j;
	}
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, map_at(self->fd, other, (uintptr_t)buf, nr * PAGE, START));
	ASSERT_EQ(0, copy_at(self->fd, self->ioas, other, MAP_RW, half * PAGE,
			     START, START + half * PAGE));
	ASSERT_EQ(0, access_create(self->fd, other,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
	ASSERT_EQ(0, mock_delay("iommufd_cursor_next 20000"));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct request me = { self, .stdev = mock.stdev };

		ASSERT_EQ(0, mock_begin(attach_in_thread, &me, &me.done, 2,
					&thread));
		for (j = 0; j < ARRAY_SIZE(items); j++)
			EXPECT_EQ(0, access_pin(self->fd, access,
						START + 2 * j * PAGE, NULL,
						PAGE, 0, &items[j]));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.err);
		for (j = 0; j < half; j++) {
			int found = -1;

			EXPECT_EQ(0, mock_dma(self->fd, mock.stdev,
					      START + j * PAGE, &found,
					      sizeof(found), 0));
			EXPECT_EQ(half + j, found);
		}
		for (j = 0; j < ARRAY_SIZE(items); j++)
			EXPECT_EQ(0, access_unpin(self->fd, access, items[j]));
		ASSERT_EQ(0, mock_detach(self->fd, mock.stdev));
	}
	close(access);
}

/* An attach looks at a page table, which its last device leaves meanwhile */
TEST_F(beside, table_is_left_beside_an_attach)
{
	struct mock first, second;
	pthread_t thread;
	char byte;
	int i;

	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    START));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &second));
	ASSERT_EQ(0, mock_delay("iommufd_units_may_share 20000"));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct request me = { self, .stdev = second.stdev };

		ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &first));
		ASSERT_EQ(0, mock_begin(attach_in_thread, &me, &me.done, 1,
					&thread));
		EXPECT_EQ(0, mock_detach(self->fd, first.stdev));
		pthread_join(thread, NULL);
		ASSERT_EQ(0, destroy(self->fd, first.stdev));
		EXPECT_TRUE(me.done);
		EXPECT_EQ(0, me.err);
		EXPECT_EQ(0, mock_dma(self->fd, second.stdev, START, &byte, 1,
				      0));
		ASSERT_EQ(0, mock_detach(self->fd, second.stdev));
	}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses: kernel drivers that reach the memory of an IOAS, simulated by fds
 * of the mock IOMMU. What they pin stays pinned, and is pinned once; copies are
 * byte exact; before an unmap they are asked to unpin.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/time.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "mock_util.h"

#define NR_PAGES 16
#define LENGTH (NR_PAGES * PAGE)
#define CAN_PIN MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES
#define WRITE MOCK_ACCESS_RW_WRITE
#define SLOW MOCK_ACCESS_RW_SLOW_PATH

FIXTURE(access)
{
	int fd;
	__u32 ioas;
	char *buf;
	__u64 base;
	struct mock mocks[2];
	int nr_mocks;
	int access;
	long pinned;
};

FIXTURE_VARIANT(access)
{
	int nr_mocks;
	__u32 limit;
};

FIXTURE_VARIANT_ADD(access, no_device) { .limit = MOCK_MEMORY_LIMIT };

FIXTURE_VARIANT_ADD(access, one_device) {
	.nr_mocks = 1, .limit = MOCK_MEMORY_LIMIT,
};

FIXTURE_VARIANT_ADD(access, two_tables) {
	.nr_mocks = 2, .limit = MOCK_MEMORY_LIMIT,
};

FIXTURE_VARIANT_ADD(access, page_by_page) { .nr_mocks = 1, .limit = 16 };

FIXTURE_SETUP(access)
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
	self->base = MOCK_APERTURE_START;
	self->nr_mocks = variant->nr_mocks;
	for (i = 0; i < self->nr_mocks; i++)
		ASSERT_EQ(0, mock_device(self->fd, self->ioas,
					 &MOCK_CONFIG(.unit = i),
					 &self->mocks[i]));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN,
				   &self->access));
}

FIXTURE_TEARDOWN(access)
{
	EXPECT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	close(self->access);
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

#define MAP(_offset, _length, _iova)                                           \
	map_at(self->fd, self->ioas, (uintptr_t)self->buf + (_offset), _length, \
	       self->base + (_iova))
#define UNMAP(_iova, _length)                                                  \
	unmap(self->fd, self->ioas, self->base + (_iova), _length, NULL)
#define UNPIN(_item) access_unpin(self->fd, self->access, _item)
#define RW(_iova, _data, _length, _flags)                                      \
	access_rw(self->fd, self->access, self->base + (_iova), _data, _length, \
		  _flags)

static int pin(struct _test_data_access *self, int page, int nr, __u32 *item)
{
	return access_pin(self->fd, self->access, self->base + page * PAGE,
			  self->buf + page * PAGE, nr * PAGE, 0, item);
}

/* Are all pages pinned once? Or only those in [first, end)? */
static bool all_pinned(struct _test_data_access *self)
{
	return !mock_check_refs(self->fd, self->buf, LENGTH, 1) &&
	       status_kb("VmPin") == self->pinned + (long)LENGTH / 1024;
}

static bool only_pinned(struct _test_data_access *self, int first, int end)
{
	return !mock_check_refs(self->fd, self->buf, first * PAGE, 0) &&
	       !mock_check_refs(self->fd, self->buf + first * PAGE,
				(end - first) * PAGE, 1) &&
	       !mock_check_refs(self->fd, self->buf + end * PAGE,
				(NR_PAGES - end) * PAGE, 0) &&
	       status_kb("VmPin") ==
		       self->pinned + (end - first) * (long)PAGE / 1024;
}

static bool is_pinned(struct _test_data_access *self, int first, int end)
{
	return self->nr_mocks ? all_pinned(self) :
				only_pinned(self, first, end);
}

static void remove_mocks(struct _test_data_access *self)
{
	while (self->nr_mocks)
		destroy(self->fd, self->mocks[--self->nr_mocks].stdev);
}

/*
 * Pin
 */

/* Pages in the middle stay pinned while page tables come and go */
static void check_pins(struct __test_metadata *_metadata,
		       struct _test_data_access *self, int first, int end)
{
	struct mock mock;
	__u32 item;
	int i;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, first, end - first, &item));
	ASSERT_TRUE(is_pinned(self, first, end));

	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7), &mock));
	ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, self->base,
				    self->buf, LENGTH));
	ASSERT_TRUE(all_pinned(self));
	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	ASSERT_TRUE(is_pinned(self, first, end));

	/* If there are page tables, the last one goes while pages are pinned */
	for (i = 0; i < self->nr_mocks; i++)
		ASSERT_EQ(0, mock_detach(self->fd,
					 self->mocks[i].stdev));
	ASSERT_TRUE(only_pinned(self, first, end));
	ASSERT_EQ(0, UNPIN(item));
	ASSERT_TRUE(only_pinned(self, 0, 0));
	for (i = 0; i < self->nr_mocks; i++) {
		self->mocks[i].hwpt = self->ioas;
		ASSERT_EQ(0, mock_attach(self->fd,
					 self->mocks[i].stdev,
					 &self->mocks[i].hwpt));
	}
	ASSERT_EQ(0, UNMAP(0, LENGTH));
	ASSERT_TRUE(only_pinned(self, 0, 0));
}

/*
 * Any run of pages is pinned by the access alone, then also by a page table,
 * then by the access alone again (trap A3)
 */
TEST_F_TIMEOUT(access, pins_survive_tables, 120)
{
	int first, end;

	for (first = 0; first < NR_PAGES; first++)
		for (end = first + 1; end <= NR_PAGES; end++)
			check_pins(_metadata, self, first, end);
}

static void check_overlap(struct __test_metadata *_metadata,
			  struct _test_data_access *self, int a, int b)
{
	__u32 items[2];
	int first;

	/* Four pages from a, five from b; either is unpinned first */
	for (first = 0; first < 2; first++) {
		ASSERT_EQ(0, pin(self, a, 4, &items[0]));
		ASSERT_EQ(0, pin(self, b, 5, &items[1]));
		ASSERT_EQ(0, UNPIN(items[first]));
		ASSERT_TRUE(first ? is_pinned(self, a, a + 4) :
				    is_pinned(self, b, b + 5));
		ASSERT_EQ(0, UNPIN(items[!first]));
		ASSERT_TRUE(is_pinned(self, 0, 0));
		EXPECT_ERRNO(ENOENT, UNPIN(items[first]));
	}
}

/* Two ranges that overlap in every way (trap A3) */
TEST_F_TIMEOUT(access, pins_overlap, 120)
{
	int a, b;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	for (a = 0; a < 12; a += 3)
		for (b = 0; b < 12; b++)
			check_overlap(_metadata, self, a, b);
}

/* Across several areas, whose memory need not be contiguous */
TEST_F(access, pin_crosses_areas)
{
	__u32 item;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, MAP((3 - i) * 4 * PAGE, 4 * PAGE, i * 4 * PAGE));
	EXPECT_EQ(0, access_pin(self->fd, self->access,
				self->base + 2 * PAGE, NULL, 12 * PAGE,
				MOCK_FLAGS_ACCESS_WRITE, &item));
	EXPECT_EQ(0, UNPIN(item));
	EXPECT_ERRNO(EBADE, access_pin(self->fd, self->access, self->base,
				       self->buf, 8 * PAGE, 0, &item));
	EXPECT_TRUE(is_pinned(self, 0, 0));
}

/* A pin that fails leaves nothing pinned */
TEST_F(access, pin_checks)
{
	__u32 item, ids[2];
	int copies;

	ASSERT_EQ(0, MAP(0, 8 * PAGE, 0));
	EXPECT_EQ(0, pin(self, 0, 8, &ids[0]));
	EXPECT_EQ(0, pin(self, 0, 8, &ids[1]));
	EXPECT_EQ(ids[0] + 1, ids[1]);
	EXPECT_EQ(0, UNPIN(ids[0]));
	EXPECT_EQ(0, UNPIN(ids[1]));

	EXPECT_ERRNO(ENOENT, pin(self, 4, 5, &item));
	EXPECT_ERRNO(ENOENT, pin(self, 8, 1, &item));
	EXPECT_ERRNO(EINVAL, pin(self, 0, 0, &item));
	EXPECT_ERRNO(EINVAL, access_pin(self->fd, self->access,
					self->base + MOCK_PAGE, NULL, PAGE, 0,
					&item));
	EXPECT_ERRNO(EINVAL, access_pin(self->fd, self->access, self->base,
					NULL, MOCK_PAGE, 0, &item));
	EXPECT_ERRNO(EOVERFLOW, access_pin(self->fd, self->access, -PAGE, NULL,
					   2 * PAGE, 0, &item));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, self->access, -PAGE, NULL,
					PAGE, 0, &item));
	EXPECT_ERRNO(ENOMEM, access_pin(self->fd, self->access, self->base,
					NULL, 4097 * PAGE, 0, &item));
	EXPECT_ERRNO(EOPNOTSUPP, access_pin(self->fd, self->access, self->base,
					    NULL, PAGE, 2, &item));
	EXPECT_ERRNO(EBADFD, access_pin(self->fd, self->fd, self->base, NULL,
					PAGE, 0, &item));
	EXPECT_ERRNO(EBADFD, access_pin(self->fd, 999, self->base, NULL, PAGE,
					0, &item));
	EXPECT_ERRNO(ENOENT, UNPIN(99));

	/* An access that can't be asked to unpin can't pin (trap D6) */
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &copies));
	EXPECT_ERRNO(EOPNOTSUPP, access_pin(self->fd, copies, self->base, NULL,
					    PAGE, 0, &item));
	EXPECT_EQ(0, access_rw(self->fd, copies, self->base, &item, 4, SLOW));
	close(copies);
	EXPECT_ERRNO(EOPNOTSUPP, access_create(self->fd, self->ioas, 2,
					       &copies));
	EXPECT_ERRNO(ENOENT, access_create(self->fd, 99, CAN_PIN, &copies));
	EXPECT_TRUE(mock_is_unpinned(self->buf + 8 * PAGE, 8 * PAGE));
	EXPECT_EQ(0, UNMAP(0, 8 * PAGE));
	EXPECT_TRUE(only_pinned(self, 0, 0));
}

/*
 * It unpins what it has pinned itself, not what was pinned before: the page that
 * can't be written, and the one behind it
 */
TEST_F(access, failed_pin_keeps_others)
{
	__u64 iova = self->base + PAGE;
	__u32 items[2];

	ASSERT_EQ(0, MAP(0, PAGE, 0));
	ASSERT_EQ(0, map(self->fd, self->ioas,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf + PAGE, PAGE, &iova));
	ASSERT_EQ(0, MAP(2 * PAGE, LENGTH - 2 * PAGE, 2 * PAGE));
	ASSERT_EQ(0, pin(self, 1, 2, &items[0]));
	EXPECT_ERRNO(EPERM, access_pin(self->fd, self->access, self->base, NULL,
				       4 * PAGE, MOCK_FLAGS_ACCESS_WRITE,
				       &items[1]));
	EXPECT_TRUE(is_pinned(self, 1, 3));
	EXPECT_EQ(0, UNPIN(items[0]));
	EXPECT_TRUE(is_pinned(self, 0, 0));
}

/* Memory mapped for one direction only (trap D5) */
TEST_F(access, directions)
{
	__u64 reads = self->base, writes = self->base + PAGE;
	__u32 item;
	char byte = 1;

	ASSERT_EQ(0, map(self->fd, self->ioas,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf, PAGE, &reads));
	ASSERT_EQ(0, map(self->fd, self->ioas,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE,
			 (uintptr_t)self->buf, PAGE, &writes));
	EXPECT_EQ(0, access_pin(self->fd, self->access, reads, NULL, PAGE, 0,
				&item));
	EXPECT_ERRNO(EPERM, access_pin(self->fd, self->access, reads, NULL,
				       PAGE, MOCK_FLAGS_ACCESS_WRITE, &item));
	EXPECT_ERRNO(EPERM, access_pin(self->fd, self->access, writes, NULL,
				       PAGE, 0, &item));
	EXPECT_EQ(0, access_pin(self->fd, self->access, writes, NULL, PAGE,
				MOCK_FLAGS_ACCESS_WRITE, &item));
	EXPECT_ERRNO(EPERM, RW(0, &byte, 1, WRITE));
	EXPECT_ERRNO(EPERM, RW(0, &byte, 1, WRITE | SLOW));
	EXPECT_ERRNO(EPERM, RW(PAGE, &byte, 1, 0));
	EXPECT_ERRNO(EPERM, RW(PAGE, &byte, 1, SLOW));
	/* Also if a range spans both */
	EXPECT_ERRNO(EPERM, RW(PAGE - 1, &item, 2, 0));
	EXPECT_EQ(0, RW(0, &byte, 1, 0));
	EXPECT_EQ(0, RW(PAGE, &byte, 1, WRITE));
}

/*
 * A page that is pinned several times is charged once; close() unpins
 * everything
 */
TEST_F(access, close_unpins)
{
	__u32 item;
	int i, second;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, pin(self, i, 6, &item));
	ASSERT_EQ(0, access_pin(self->fd, second, self->base + 4 * PAGE,
				self->buf + 4 * PAGE, PAGE, 0, &item));
	EXPECT_TRUE(is_pinned(self, 0, 15));
	close(self->access);
	self->access = second;
	EXPECT_TRUE(is_pinned(self, 4, 5));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	close(second);
	self->access = -1;
	EXPECT_TRUE(is_pinned(self, 0, 0));
	remove_mocks(self);
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

/*
 * hugetlb memory is one contiguous run, of which accesses have pinned parts.
 * With any small batch size, a device must find each page in its place (trap
 * A4).
 */
TEST_F_TIMEOUT(access, scattered_pins_in_huge_pages, 120)
{
	static const __u32 limits[] = { 12, 24, 36, 60, 12 * 511, 12 * 512,
					MOCK_MEMORY_LIMIT };
	char *huge = memory(2 * SZ_2M, MAP_SHARED | MAP_HUGETLB);
	struct mock mock;
	__u32 items[64];
	size_t i, l, nr;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 2 * SZ_2M);
	for (l = 0; l < ARRAY_SIZE(limits); l++) {
		ASSERT_EQ(0, mock_memory_limit(self->fd, limits[l]));
		ASSERT_EQ(0, map_at(self->fd, self->ioas,
				    (uintptr_t)huge + PAGE, 2 * SZ_2M - PAGE,
				    self->base));
		/* Ranges of 1 to 5 pages, with growing gaps */
		for (i = 0, nr = 0; nr < 64; i += 2 * nr, nr++) {
			size_t pages = nr % 5 + 1;

			if ((i + pages) * PAGE > 2 * SZ_2M - PAGE)
				break;
			ASSERT_EQ(0, access_pin(self->fd, self->access,
						self->base + i * PAGE,
						huge + PAGE + i * PAGE,
						pages * PAGE, 0, &items[nr]));
		}
		ASSERT_LT(20, nr);
		ASSERT_EQ(0, mock_device(self->fd, self->ioas,
					 &MOCK_CONFIG(.unit = 7), &mock));
		ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, self->base,
					    huge + PAGE, 2 * SZ_2M - PAGE));
		ASSERT_EQ(self->pinned + (long)(2 * SZ_2M - PAGE) / 1024,
			  status_kb("VmPin"));
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		/* Unpin every second range, and add a device again */
		for (i = 0; i < nr; i += 2)
			ASSERT_EQ(0, UNPIN(items[i]));
		ASSERT_EQ(0, mock_device(self->fd, self->ioas,
					 &MOCK_CONFIG(.unit = 7), &mock));
		ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, self->base,
					    huge + PAGE, 2 * SZ_2M - PAGE));
		for (i = 1; i < nr; i += 2)
			ASSERT_EQ(0, UNPIN(items[i]));
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		ASSERT_EQ(0, UNMAP(0, 2 * SZ_2M - PAGE));
		ASSERT_EQ(self->pinned, status_kb("VmPin"));
	}
}

/*
 * Around the border of two huge pages; the device is removed before the unpin
 */
TEST_F(access, pin_at_the_border_of_huge_pages)
{
	char *huge = memory(2 * SZ_2M, MAP_SHARED | MAP_HUGETLB);
	__u32 items[2];
	int i;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 2 * SZ_2M);
	for (i = -2; i <= 1; i++) {
		ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)huge,
				    2 * SZ_2M, self->base));
		ASSERT_EQ(0, access_pin(self->fd, self->access,
					self->base + SZ_2M + i * (long)PAGE,
					huge + SZ_2M + i * (long)PAGE, PAGE, 0,
					&items[0]));
		ASSERT_EQ(0, access_pin(self->fd, self->access,
					self->base + SZ_2M - PAGE,
					huge + SZ_2M - PAGE, 2 * PAGE, 0,
					&items[1]));
		if (i == -2)
			remove_mocks(self);
		EXPECT_EQ(self->pinned + (i < -1 || i > 0 ? 12 : 8),
			  status_kb("VmPin"));
		ASSERT_EQ(0, UNPIN(items[1]));
		EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
		ASSERT_EQ(0, UNPIN(items[0]));
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
		ASSERT_EQ(0, UNMAP(0, 2 * SZ_2M));
	}
}

/*
 * Copy
 */

static bool is_at(const char *data, size_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((unsigned char)data[i] != byte_at(offset + i, 0))
			return false;
	return true;
}

/* @offset: start of the area in the buffer; @from: offset of the bytes */
static void check_rw(struct __test_metadata *_metadata,
		     struct _test_data_access *self, size_t offset, size_t from,
		     size_t nr, __u32 way)
{
	__u64 iova = self->base + from - offset;
	char data[64], *at = self->buf + from;
	size_t i;

	ASSERT_EQ(0, access_rw(self->fd, self->access, iova, data, nr, way));
	ASSERT_TRUE(is_at(data, from, nr));
	memset(data, ~*at, nr);
	ASSERT_EQ(0, access_rw(self->fd, self->access, iova, data, nr,
			       way | WRITE));
	ASSERT_EQ(0, memcmp(data, at, nr));
	ASSERT_TRUE(is_at(at - 1, from - 1, 1));
	ASSERT_TRUE(is_at(at + nr, from + nr, 1));
	for (i = 0; i < nr; i++)
		at[i] = byte_at(from + i, 0);
}

/* All places around the border of two pages */
static void sweep_rw(struct __test_metadata *_metadata,
		     struct _test_data_access *self, size_t offset, __u32 way)
{
	size_t from, nr;

	for (from = PAGE - 50; from < PAGE + 50; from++)
		for (nr = 1; nr < 64; nr++)
			check_rw(_metadata, self, offset, from, nr, way);
}

TEST_F_TIMEOUT(access, copies_are_byte_exact, 240)
{
	char data[LENGTH];

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	sweep_rw(_metadata, self, 0, 0);
	sweep_rw(_metadata, self, 0, SLOW);
	EXPECT_EQ(0, RW(0, data, LENGTH, 0));
	EXPECT_TRUE(is_at(data, 0, LENGTH));
	EXPECT_EQ(0, RW(0, data, LENGTH, SLOW));
	EXPECT_TRUE(is_at(data, 0, LENGTH));
	EXPECT_TRUE(is_pinned(self, 0, 0));
}

/* Read and write across areas whose memory is not contiguous */
TEST_F(access, copies_cross_areas)
{
	static const __u32 ways[] = { 0, SLOW };
	char data[LENGTH], *at[4];
	int i, part;

	for (i = 0; i < 4; i++) {
		at[i] = self->buf + (3 - i) * 4 * PAGE;
		ASSERT_EQ(0, MAP(at[i] - self->buf, 4 * PAGE, i * 4 * PAGE));
	}
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		memset(data, 0, LENGTH);
		EXPECT_EQ(0, RW(0, data, LENGTH, ways[i]));
		for (part = 0; part < 4; part++)
			EXPECT_EQ(0, memcmp(data + part * 4 * PAGE, at[part],
					    4 * PAGE));

		/* Two whole areas, and a few bytes on either side */
		memset(data, 0x55 + i, LENGTH);
		EXPECT_EQ(0, RW(4 * PAGE - 10, data, 8 * PAGE + 20,
				ways[i] | WRITE));
		EXPECT_EQ(0, memcmp(at[0] + 4 * PAGE - 10, data, 10));
		EXPECT_EQ(0, memcmp(at[1], data, 4 * PAGE));
		EXPECT_EQ(0, memcmp(at[2], data, 4 * PAGE));
		EXPECT_EQ(0, memcmp(at[3], data, 10));
		EXPECT_TRUE(is_at(at[0], at[0] - self->buf, 4 * PAGE - 10));
		EXPECT_TRUE(is_at(at[3] + 10, at[3] + 10 - self->buf,
				  4 * PAGE - 10));
		fill_bytes(self->buf, LENGTH, 0);
	}
	EXPECT_TRUE(is_pinned(self, 0, 0));
}

/*
 * An area that does not consist of whole pages: only an access that can't pin
 * reaches it
 */
TEST_F_TIMEOUT(access, copies_of_unaligned_areas, 240)
{
	close(self->access);
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &self->access));
	ASSERT_EQ(0, MAP(MOCK_PAGE, 2 * PAGE, 0));
	sweep_rw(_metadata, self, MOCK_PAGE, 0);
	sweep_rw(_metadata, self, MOCK_PAGE, SLOW);
}

/* An error depends on the range, not on earlier requests (trap D4) */
TEST_F(access, copy_checks)
{
	static const __u32 ways[] = { 0, SLOW, WRITE, WRITE | SLOW };
	char data[2 * PAGE] = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		__u32 way = ways[i];

		EXPECT_ERRNO(ENOENT, RW(0, data, 1, way));
		ASSERT_EQ(0, MAP(0, PAGE, PAGE));
		EXPECT_ERRNO(EINVAL, RW(PAGE, data, 0, way));
		EXPECT_ERRNO(EINVAL, RW(0, data, 0, way));
		EXPECT_ERRNO(ENOENT, RW(PAGE - 1, data, 2, way));
		EXPECT_ERRNO(ENOENT, RW(2 * PAGE - 1, data, 2, way));
		EXPECT_EQ(0, RW(PAGE, data, PAGE, way));
		EXPECT_ERRNO(EOVERFLOW, access_rw(self->fd, self->access, -1,
						  data, 2, way));
		EXPECT_ERRNO(ENOMEM, RW(PAGE, data, (16 << 20) + 1, way));
		EXPECT_ERRNO(EFAULT, RW(PAGE, (void *)8, 1, way));
		EXPECT_ERRNO(EOPNOTSUPP, RW(PAGE, data, 1, way | 2));
		EXPECT_ERRNO(EBADFD, access_rw(self->fd, self->fd, self->base,
					       data, 1, way));
		EXPECT_EQ(0, UNMAP(PAGE, PAGE));
	}
}

/* Memory that the process has unmapped since */
TEST_F(access, copy_of_a_hole_is_EFAULT)
{
	char *page = memory(PAGE, MAP_PRIVATE);
	char byte = 1;
	__u32 item;

	remove_mocks(self);
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)page, PAGE,
			    self->base));
	ASSERT_EQ(0, munmap(page, PAGE));
	EXPECT_ERRNO(EFAULT, RW(0, &byte, 1, 0));
	EXPECT_ERRNO(EFAULT, RW(0, &byte, 1, SLOW));
	EXPECT_ERRNO(EFAULT, RW(0, &byte, 1, WRITE));
	EXPECT_ERRNO(EFAULT, RW(0, &byte, 1, WRITE | SLOW));
	EXPECT_ERRNO(EFAULT, access_pin(self->fd, self->access, self->base,
					NULL, PAGE, 0, &item));
}

/*
 * The program has mapped other memory there, but one page is still pinned. A
 * copy of pinned memory reaches that one, as devices do.
 */
TEST_F(access, slow_copy_of_what_is_pinned)
{
	char data[10];
	__u32 item;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 1, 1, &item));
	ASSERT_NE(MAP_FAILED, mmap(self->buf, LENGTH, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0));
	memset(self->buf, 0x55, LENGTH);
	EXPECT_EQ(0, RW(PAGE + 100, data, 10, SLOW));
	EXPECT_TRUE(is_at(data, PAGE + 100, 10));
	memset(data, 0x66, 10);
	EXPECT_EQ(0, RW(PAGE + 100, data, 10, WRITE | SLOW));
	memset(data, 0, 10);
	EXPECT_EQ(0, RW(PAGE + 100, data, 10, SLOW));
	EXPECT_EQ(0x66, data[0]);
	EXPECT_EQ(0x55, self->buf[PAGE + 100]);
	EXPECT_EQ(0, UNPIN(item));
}

/* Memory of another process and of a file, which is pinned for the copy */
TEST_F(access, copy_of_others_memory)
{
	int file = memfd_create("access", 0), status;
	char data[2 * PAGE], *bytes;
	__u64 iova = self->base + LENGTH;
	pid_t pid;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	pid = fork();
	if (!pid) {
		/*
		 * The child has other memory at the address of the parent's
		 * buffer
		 */
		mmap(self->buf, LENGTH, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (RW(PAGE - 10, data, 20, 0) || !is_at(data, PAGE - 10, 20))
			_exit(1);
		memset(data, 0x55, 20);
		_exit(RW(PAGE - 10, data, 20, WRITE) ? 2 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0x55, self->buf[PAGE - 10]);
	EXPECT_EQ(0x55, self->buf[PAGE + 9]);
	EXPECT_TRUE(is_at(self->buf + PAGE + 10, PAGE + 10, 100));

	ASSERT_EQ(0, ftruncate(file, 2 * PAGE));
	bytes = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		     0);
	ASSERT_NE(MAP_FAILED, bytes);
	fill_bytes(bytes, 2 * PAGE, 0);
	ASSERT_EQ(0, map_file(self->fd, self->ioas, FIXED_RW, file, 0, 2 * PAGE,
			      &iova));
	EXPECT_EQ(0, RW(LENGTH + PAGE - 10, data, 20, 0));
	EXPECT_TRUE(is_at(data, PAGE - 10, 20));
	EXPECT_EQ(0, RW(LENGTH, data, PAGE, WRITE));
	EXPECT_EQ(0, memcmp(bytes, data, PAGE));
	EXPECT_EQ(0, UNMAP(LENGTH, 2 * PAGE));
	EXPECT_TRUE(is_pinned(self, 0, 0));
}

static void do_nothing(int signal)
{
}

/*
 * A signal ends the allocation of huge pages for a file. The driver that pins
 * gets EINTR, since it may not be in a system call that can be restarted.
 */
TEST_F(access, pin_of_a_file_ends_with_a_signal)
{
	struct sigaction action = { .sa_handler = do_nothing };
	struct itimerval soon = {}, never = {};
	int i, huge, nr_ended = 0;
	__u32 item;

	remove_mocks(self);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	for (i = 1; i <= 50; i++) {
		huge = memfd_create("huge", MFD_HUGETLB);
		ASSERT_LE(0, huge);
		ASSERT_EQ(0, ftruncate(huge, 2 * SZ_2M));
		ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW, huge, 0,
					 2 * SZ_2M, self->base));
		/* At least once before the second huge page is allocated */
		soon.it_value.tv_usec = i * 20;
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
		if (access_pin(self->fd, self->access,
			       self->base + SZ_2M - PAGE, NULL, 2 * PAGE, 0,
			       &item)) {
			ASSERT_EQ(EINTR, errno);
			nr_ended++;
		} else {
			ASSERT_EQ(0, UNPIN(item));
		}
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
		ASSERT_EQ(self->pinned, status_kb("VmPin"));
		ASSERT_EQ(0, UNMAP(0, 2 * SZ_2M));
		close(huge);
	}
	EXPECT_LT(0, nr_ended);
}

/* The last byte of the IOVA space can be reached (trap A21) */
TEST_F(access, top_of_the_space)
{
	char data[10];
	__u32 ioas, item;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas));
	ASSERT_EQ(0, map_at(self->fd, ioas, (uintptr_t)self->buf, 2 * PAGE,
			    -2 * PAGE));
	ASSERT_EQ(0, access_replace(self->fd, self->access, ioas));
	EXPECT_EQ(0, access_rw(self->fd, self->access, -10, data, 10, 0));
	EXPECT_TRUE(is_at(data, 2 * PAGE - 10, 10));
	EXPECT_EQ(0, access_rw(self->fd, self->access, -1, data, 1,
			       SLOW | WRITE));
	EXPECT_ERRNO(EOVERFLOW, access_rw(self->fd, self->access, -10, data,
					  11, 0));
	EXPECT_EQ(0, access_pin(self->fd, self->access, -2 * PAGE, self->buf,
				2 * PAGE, 0, &item));
	EXPECT_EQ(0, unmap(self->fd, ioas, -2 * PAGE, 2 * PAGE, NULL));
	EXPECT_ERRNO(ENOENT, UNPIN(item));
}

/* Asking an access to unpin */

/*
 * UNMAP asks for all pins of the area, and returns after they are gone (trap
 * D9)
 */
TEST_F(access, unmap_asks_for_pages)
{
	__u32 items[4];
	int i, second;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	ASSERT_EQ(0, MAP(0, 8 * PAGE, 0));
	ASSERT_EQ(0, MAP(8 * PAGE, 8 * PAGE, 8 * PAGE));
	ASSERT_EQ(0, pin(self, 0, 1, &items[0]));
	ASSERT_EQ(0, pin(self, 6, 4, &items[1]));
	ASSERT_EQ(0, pin(self, 10, 2, &items[2]));
	ASSERT_EQ(0, access_pin(self->fd, second, self->base + 7 * PAGE,
				self->buf + 7 * PAGE, PAGE, 0, &items[3]));
	EXPECT_EQ(0, UNMAP(0, 8 * PAGE));
	EXPECT_ERRNO(ENOENT, UNPIN(items[0]));
	EXPECT_ERRNO(ENOENT, UNPIN(items[1]));
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, second, items[3]));
	EXPECT_TRUE(mock_is_unpinned(self->buf, 8 * PAGE));
	/* Pins in the other area are left alone, though they adjoin */
	EXPECT_EQ(0, UNPIN(items[2]));

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pin(self, 8 + i, 1 + i, &items[i]));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	for (i = 0; i < 3; i++)
		EXPECT_ERRNO(ENOENT, UNPIN(items[i]));
	close(second);
}

/* More than one notice asks for, in one pin and in many */
TEST_F_TIMEOUT(access, unmap_asks_for_many_pages, 120)
{
	enum { MANY = 1100, SINGLE = 20 };
	char *buf = memory(MANY * PAGE, MAP_PRIVATE | MAP_POPULATE);
	__u64 iova = self->base + LENGTH;
	__u32 items[1 + SINGLE];
	int i;

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)buf, MANY * PAGE,
			    iova));
	ASSERT_EQ(0, access_pin(self->fd, self->access, iova + SINGLE * PAGE,
				buf + SINGLE * PAGE, (MANY - SINGLE) * PAGE, 0,
				&items[0]));
	for (i = 0; i < SINGLE; i++)
		ASSERT_EQ(0, access_pin(self->fd, self->access, iova + i * PAGE,
					buf + i * PAGE, PAGE, 0, &items[1 + i]));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, iova, MANY * PAGE, NULL));
	for (i = 0; i <= SINGLE; i++)
		EXPECT_ERRNO(ENOENT, UNPIN(items[i]));
	EXPECT_TRUE(mock_is_unpinned(buf, MANY * PAGE));
	munmap(buf, MANY * PAGE);
}

/* After an unmap, pages stay pinned only as far as copies need them */
TEST_F(access, unmap_leaves_copies)
{
	__u64 iova = self->base + LENGTH;
	__u32 items[2];

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, copy(self->fd, self->ioas, self->ioas, FIXED_RW, 4 * PAGE,
			  &iova, self->base + 4 * PAGE));
	ASSERT_EQ(0, pin(self, 2, 4, &items[0]));
	ASSERT_EQ(0, access_pin(self->fd, self->access, iova,
				self->buf + 4 * PAGE, 2 * PAGE, 0, &items[1]));
	EXPECT_EQ(0, UNMAP(0, LENGTH));
	EXPECT_ERRNO(ENOENT, UNPIN(items[0]));
	EXPECT_TRUE(only_pinned(self, 4, self->nr_mocks ? 8 : 6));
	EXPECT_EQ(0, UNPIN(items[1]));
}

/*
 * An access never unpins: UNMAP fails, the area is unchanged, and can be
 * unmapped later (trap A19). The kernel logs that at a limited rate, without a
 * WARN.
 */
TEST_F_TIMEOUT(access, stubborn_access_is_EDEADLOCK, 120)
{
	__u64 unmapped;
	__u32 item, other;

	ASSERT_EQ(0, MAP(0, 4 * PAGE, 0));
	ASSERT_EQ(0, MAP(4 * PAGE, 4 * PAGE, 4 * PAGE));
	ASSERT_EQ(0, pin(self, 5, 1, &item));
	ASSERT_EQ(0, access_set(self->fd, self->access,
				MOCK_ACCESS_NEVER_UNPINS, 0));
	EXPECT_ERRNO(EDEADLOCK, UNMAP(4 * PAGE, 4 * PAGE));
	EXPECT_ERRNO(EDEADLOCK, UNMAP(0, 8 * PAGE));
	EXPECT_ERRNO(EDEADLOCK, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, pin(self, 4, 4, &other));
	EXPECT_EQ(0, UNPIN(other));
	EXPECT_EQ(0, UNPIN(item));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, self->base + 4 * PAGE,
			   4 * PAGE, &unmapped));
	EXPECT_EQ(4 * PAGE, unmapped);

	/* It can be moved and closed nevertheless, with its pins */
	ASSERT_EQ(0, MAP(4 * PAGE, 4 * PAGE, 4 * PAGE));
	ASSERT_EQ(0, pin(self, 5, 2, &item));
	EXPECT_EQ(0, alloc_ioas(self->fd, &other));
	EXPECT_EQ(0, access_replace(self->fd, self->access, other));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_TRUE(only_pinned(self, 0, 0));
	ASSERT_EQ(0, MAP(4 * PAGE, 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, access_replace(self->fd, self->access, self->ioas));
	ASSERT_EQ(0, pin(self, 5, 2, &item));
}

struct unmapper {
	struct _test_data_access *self;
	/* For unmap_page() */
	int page;
	int ret;
	__u64 unmapped;
	/* Nothing was pinned when UNMAP returned */
	bool done;
};

static void *unmap_in_thread(void *arg)
{
	struct unmapper *me = arg;

	me->ret = unmap_all(me->self->fd, me->self->ioas, &me->unmapped);
	me->done = mock_is_unpinned(me->self->buf, LENGTH);
	return NULL;
}

static void *unmap_page(void *arg)
{
	struct unmapper *me = arg;

	me->ret = unmap(me->self->fd, me->self->ioas,
			me->self->base + me->page * PAGE, PAGE, &me->unmapped);
	return NULL;
}

/*
 * While an access is slow to unpin, other unmaps of the area wait and don't
 * find it again; pins, copies and maps fail (trap A1)
 */
TEST_F(access, slow_access)
{
	struct unmapper me[2] = { { self }, { self } };
	__u64 iova = self->base + LENGTH;
	__u32 item;
	pthread_t threads[2];
	int i;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 3, 1, &item));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 500));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    unmap_in_thread, &me[i]));
	usleep(200000);
	/* One of them has taken the area out */
	EXPECT_ERRNO(EINVAL, pin(self, 4, 1, &item));
	EXPECT_ERRNO(EINVAL, RW(0, &iova, 4, 0));
	iova = self->base + LENGTH;
	EXPECT_ERRNO(EBUSY, copy(self->fd, self->ioas, self->ioas, FIXED_RW,
				 PAGE, &iova, self->base));
	EXPECT_ERRNO(EEXIST, MAP(0, PAGE, 0));
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, me[i].ret);
		EXPECT_TRUE(me[i].done);
	}
	EXPECT_EQ(LENGTH, me[0].unmapped + me[1].unmapped);
	EXPECT_ERRNO(ENOENT, UNPIN(item));
	EXPECT_TRUE(only_pinned(self, 0, 0));
	EXPECT_EQ(0, access_set(self->fd, self->access, 0, 0));
}

/* An UNMAP that waits for a slow access does not stop an attach */
TEST_F(access, unmap_that_waits_stops_no_attach)
{
	struct unmapper me = { self };
	pthread_t thread;
	struct mock mock;
	__u32 item;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 3, 1, &item));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 1000));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_in_thread, &me));
	usleep(200000);
	EXPECT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 7),
				 &mock));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, self->base, self->buf,
				    LENGTH));
	EXPECT_EQ(0, me.unmapped);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(LENGTH, me.unmapped);
	EXPECT_TRUE(me.done);
	EXPECT_EQ(0, access_set(self->fd, self->access, 0, 0));
}

/* Closing an access waits until each UNMAP has finished notifying it */
TEST_F(access, close_waits_for_all_notices)
{
	struct unmapper me[2] = { { self, 0 }, { self, 1 } };
	struct timespec before, after;
	pthread_t threads[2];
	__u32 item;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, MAP(i * PAGE, PAGE, i * PAGE));
		ASSERT_EQ(0, pin(self, i, 1, &item));
	}
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 1000));
	/* The notices end after 1000 and 1400 ms */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, unmap_page,
					    &me[i]));
		usleep(i ? 200000 : 400000);
	}
	clock_gettime(CLOCK_MONOTONIC, &before);
	close(self->access);
	clock_gettime(CLOCK_MONOTONIC, &after);
	self->access = -1;
	EXPECT_LT(600, (after.tv_sec - before.tv_sec) * 1000 +
		       (after.tv_nsec - before.tv_nsec) / 1000000);
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, me[i].ret);
	}
}

/*
 * UNMAP and moves give up after a number of notices that an access ignores.
 * Here are more notices, but each returns some pages: the next run, or the end
 * of the only one.
 */
TEST_F(access, progress_is_not_ignoring)
{
	const int nr = 150;
	char *mem = memory(2 * nr * PAGE, MAP_SHARED);
	__u32 items[nr], other;
	int round, i;

	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	for (round = 0; round < 4; round++) {
		size_t step = round % 2 ? PAGE : 2 * PAGE;

		ASSERT_EQ(0, access_set(self->fd, self->access,
					round % 2 ? MOCK_ACCESS_UNPINS_LAST : 0,
					0));
		ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)mem,
				    2 * nr * PAGE, self->base));
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, access_pin(self->fd, self->access,
						self->base + i * step,
						mem + i * step, PAGE, 0,
						&items[i]));
		EXPECT_EQ(0, round / 2 ? access_replace(self->fd, self->access,
							other) :
					 UNMAP(0, 2 * nr * PAGE));
		/* The access itself has unpinned everything */
		for (i = 0; i < nr; i++)
			ASSERT_ERRNO(ENOENT, UNPIN(items[i]));
		if (round / 2) {
			EXPECT_EQ(0, access_replace(self->fd, self->access,
						    self->ioas));
			EXPECT_EQ(0, UNMAP(0, 2 * nr * PAGE));
		}
		EXPECT_TRUE(mock_is_unpinned(mem, 2 * nr * PAGE));
	}
}

/* UNMAP while an access waits for a page fault */

static bool ends(pthread_t thread)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	return !pthread_timedjoin_np(thread, NULL, &end);
}

struct toucher {
	struct _test_data_access *self;
	bool copies;
	int ret;
	__u32 item;
};

static void *touch_in_thread(void *arg)
{
	struct toucher *me = arg;
	struct _test_data_access *self = me->self;
	char data;

	me->ret = me->copies ? RW(0, &data, 1, SLOW) :
		access_pin(self->fd, self->access, self->base, NULL, PAGE, 0,
			   &me->item);
	return NULL;
}

/* Let a thread touch a page that is mapped first, and wait for it there */
static char *begin_to_touch(struct toucher *toucher, pthread_t *thread,
			    int *faults)
{
	struct _test_data_access *self = toucher->self;
	char *page = stalled_page(faults);

	if (!page ||
	    map_at(self->fd, self->ioas, (uintptr_t)page, PAGE, self->base) ||
	    pthread_create(thread, NULL, touch_in_thread, toucher) ||
	    !is_touched(*faults))
		return NULL;
	return page;
}

/*
 * UNMAP starts before anything is pinned. It is woken when the page is pinned,
 * and then asks for it; or when the copy is done; or when there is no page. A
 * signal that is not fatal does not end it.
 */
TEST_F_TIMEOUT(access, unmap_during_a_fault, 60)
{
	enum { PINS, COPIES, FAILS, NR_WAYS };
	struct sigaction action = { .sa_handler = do_nothing };
	int way, faults;

	remove_mocks(self);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (way = 0; way < NR_WAYS; way++) {
		struct toucher toucher = { self, way == COPIES };
		struct unmapper me = { self };
		pthread_t threads[2];
		char *page = begin_to_touch(&toucher, &threads[0], &faults);

		ASSERT_NE(NULL, page);
		ASSERT_EQ(0, pthread_create(&threads[1], NULL, unmap_in_thread,
					    &me));
		usleep(200000);
		ASSERT_EQ(0, pthread_kill(threads[1], SIGUSR1));
		usleep(100000);
		ASSERT_EQ(0, me.unmapped);
		ASSERT_EQ(0, way == FAILS ? munmap(page, PAGE) :
					    let_go(faults, page));
		if (way == FAILS)
			close(faults);
		ASSERT_TRUE(ends(threads[0]));
		ASSERT_TRUE(ends(threads[1]));
		EXPECT_EQ(way == FAILS ? -1 : 0, toucher.ret);
		EXPECT_EQ(0, me.ret);
		EXPECT_EQ(PAGE, me.unmapped);
		if (way == PINS)
			EXPECT_ERRNO(ENOENT, UNPIN(toucher.item));
		if (way != FAILS) {
			EXPECT_TRUE(mock_is_unpinned(page, PAGE));
			close(faults);
		}
	}
}

/*
 * A copy waits for a page. Meanwhile the access moves on, and the IOAS is
 * destroyed; the copy still ends well.
 */
TEST_F_TIMEOUT(access, ioas_is_destroyed_under_a_copy, 60)
{
	struct toucher toucher = { self, true };
	pthread_t thread;
	__u32 other;
	int faults;
	char *page;

	remove_mocks(self);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	page = begin_to_touch(&toucher, &thread, &faults);
	ASSERT_NE(NULL, page);
	EXPECT_EQ(0, access_replace(self->fd, self->access, other));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_TRUE(ends(thread));
	EXPECT_EQ(0, toucher.ret);
	EXPECT_TRUE(mock_is_unpinned(page, PAGE));
	close(faults);
}

/*
 * UNMAP of two areas is killed while it waits for an access to the first. It
 * must wake another UNMAP, which waits for the second.
 */
TEST_F_TIMEOUT(access, killed_unmap_wakes_others, 60)
{
	struct toucher toucher = { self };
	struct unmapper me = { self, 1 };
	int faults, status;
	pthread_t threads[2];
	char *page;
	pid_t pid;

	remove_mocks(self);
	ASSERT_EQ(0, MAP(0, PAGE, PAGE));
	page = begin_to_touch(&toucher, &threads[0], &faults);
	ASSERT_NE(NULL, page);
	pid = fork();
	if (!pid)
		_exit(UNMAP(0, 2 * PAGE));
	usleep(200000);
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, unmap_page, &me));
	usleep(200000);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	ASSERT_TRUE(ends(threads[1]));
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(PAGE, me.unmapped);
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_TRUE(ends(threads[0]));
	EXPECT_EQ(0, toucher.ret);
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(faults);
}

/* A process that waits for a pin of another thread can be killed */
TEST_F_TIMEOUT(access, waits_for_a_pin_can_be_killed, 60)
{
	enum { COPY, DETACH, MOVE, NR_WAITS };
	struct toucher toucher = { self };
	pthread_t thread;
	int wait, faults;
	__u32 other;
	char byte;
	pid_t pid;
	char *page;

	remove_mocks(self);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, MAP(0, PAGE, PAGE));
	page = begin_to_touch(&toucher, &thread, &faults);
	ASSERT_NE(NULL, page);
	for (wait = 0; wait < NR_WAITS; wait++) {
		pid = fork();
		if (!pid) {
			if (wait == COPY)
				RW(PAGE, &byte, 1, 0);
			else if (wait == DETACH)
				access_detach(self->fd, self->access);
			else
				access_replace(self->fd, self->access, other);
			_exit(0);
		}
		EXPECT_TRUE(can_be_killed(pid)) {
			TH_LOG("%d", wait);
		}
	}
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_TRUE(ends(thread));
	EXPECT_EQ(0, toucher.ret);
	/* It is attached as before, and can move */
	EXPECT_EQ(0, RW(PAGE, &byte, 1, 0));
	EXPECT_EQ(0, UNPIN(toucher.item));
	EXPECT_EQ(0, access_replace(self->fd, self->access, other));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	close(faults);
}

static void *attach_in_thread(void *arg)
{
	struct toucher *me = arg;
	struct mock mock;

	me->ret = mock_domain(me->self->fd, me->self->ioas, &mock);
	me->item = mock.stdev;
	return NULL;
}

/*
 * An attach of a device waits for a page and holds the page tables. A process
 * that moves an access there can be killed. One that detaches an access is
 * killed too, but completes that, so the alignment is that of the device.
 */
TEST_F_TIMEOUT(access, killed_while_a_table_is_filled, 60)
{
	struct toucher toucher = { self };
	int faults, second, status;
	pthread_t thread;
	pid_t pids[2];
	__u32 other;
	char *page;

	remove_mocks(self);
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, access_create(self->fd, other, CAN_PIN, &second));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)page, PAGE,
			    self->base));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &toucher));
	ASSERT_TRUE(is_touched(faults));
	pids[0] = fork();
	if (!pids[0])
		_exit(access_replace(self->fd, second, self->ioas) ? 1 : 0);
	EXPECT_TRUE(can_be_killed(pids[0]));
	pids[1] = fork();
	if (!pids[1])
		_exit(access_detach(self->fd, self->access) ? 1 : 0);
	usleep(200000);
	EXPECT_EQ(0, waitpid(pids[1], NULL, WNOHANG));
	kill(pids[1], SIGKILL);
	usleep(200000);

	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_TRUE(ends(thread));
	EXPECT_EQ(0, toucher.ret);
	ASSERT_EQ(pids[1], waitpid(pids[1], &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(MOCK_PAGE, ioas_state(self->fd, self->ioas).alignment);
	EXPECT_EQ(0, access_attach(self->fd, self->access, self->ioas));
	EXPECT_EQ(PAGE, ioas_state(self->fd, self->ioas).alignment);
	/* The other one has not moved */
	EXPECT_ERRNO(EBUSY, destroy(self->fd, other));
	close(second);
	EXPECT_EQ(0, destroy(self->fd, other));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(faults);
}

/*
 * Two UNMAP of one area: one waits for the page tables, the other for the first
 * one, and then finds nothing. A signal that is not fatal ends neither. A
 * process that waits like the second one can be killed.
 */
TEST_F_TIMEOUT(access, second_unmap_waits_for_the_first, 60)
{
	struct sigaction action = { .sa_handler = do_nothing };
	struct unmapper me[2] = { { self, 1 }, { self, 1 } };
	struct toucher toucher = { self };
	pthread_t threads[3];
	int faults, i;
	char *page;
	pid_t pid;

	remove_mocks(self);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)page, PAGE,
			    self->base));
	ASSERT_EQ(0, MAP(0, PAGE, PAGE));
	/* Attach holds the page tables until the first area is pinned */
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, attach_in_thread,
				    &toucher));
	ASSERT_TRUE(is_touched(faults));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    unmap_page, &me[i]));
		usleep(200000);
		ASSERT_EQ(0, pthread_kill(threads[i], SIGUSR1));
	}
	pid = fork();
	if (!pid)
		_exit(UNMAP(PAGE, PAGE));
	EXPECT_TRUE(can_be_killed(pid));
	ASSERT_EQ(0, let_go(faults, page));
	for (i = 0; i < 3; i++)
		ASSERT_TRUE(ends(threads[i]));
	EXPECT_EQ(0, toucher.ret);
	EXPECT_EQ(0, me[0].ret);
	EXPECT_EQ(PAGE, me[0].unmapped);
	EXPECT_EQ(-1, me[1].ret);
	EXPECT_EQ(0, destroy(self->fd, toucher.item));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(faults);
}

/*
 * UNMAP of many areas is blocked in the middle. It does not unmap what others
 * map meanwhile where it has been (trap A8).
 */
TEST_F(access, unmap_does_not_go_back)
{
	struct unmapper me = { self };
	pthread_t thread;
	__u64 unmapped;
	__u32 item;
	int i;

	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, MAP(0, PAGE, i * PAGE));
	ASSERT_EQ(0, access_pin(self->fd, self->access, self->base + 70 * PAGE,
				self->buf, PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 500));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_in_thread, &me));
	usleep(200000);
	EXPECT_EQ(0, MAP(0, 2 * PAGE, 0));
	EXPECT_EQ(0, MAP(0, PAGE, 31 * PAGE));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(100 * PAGE, me.unmapped);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
	EXPECT_EQ(0, access_set(self->fd, self->access, 0, 0));
}

/*
 * UNMAP waits for another one. It skips an area that is mapped meanwhile around
 * the place where it goes on.
 */
TEST_F(access, unmap_skips_a_new_area)
{
	struct unmapper all = { self }, one = { self, 4 };
	pthread_t threads[2];
	__u64 unmapped;
	__u32 item;

	ASSERT_EQ(0, MAP(0, PAGE, 0));
	ASSERT_EQ(0, MAP(0, PAGE, 4 * PAGE));
	ASSERT_EQ(0, access_pin(self->fd, self->access, self->base + 4 * PAGE,
				self->buf, PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 1000));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, unmap_page, &one));
	usleep(200000);
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, unmap_in_thread, &all));
	usleep(200000);
	EXPECT_EQ(0, MAP(0, 2 * PAGE, 0));
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(0, one.ret);
	EXPECT_EQ(0, all.ret);
	EXPECT_EQ(PAGE, all.unmapped);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
	EXPECT_EQ(0, access_set(self->fd, self->access, 0, 0));
}

/*
 * An access unpins one page at a time, slowly. UNMAP is killed meanwhile: the
 * access is not asked for the others, and the area stays.
 */
TEST_F(access, killed_unmap_stops_asking)
{
	__u32 items[8];
	int i, status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, pin(self, i, 1, &items[i]));
	ASSERT_EQ(0, access_set(self->fd, self->access, MOCK_ACCESS_UNPINS_LAST,
				300));
	pid = fork();
	if (!pid)
		_exit(UNMAP(0, LENGTH));
	usleep(100000);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 0));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, 4 * PAGE, 1));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, UNPIN(items[i]));
	EXPECT_EQ(0, RW(7 * PAGE, &byte, 1, SLOW));
	EXPECT_EQ(0, UNMAP(0, LENGTH));
	for (i = 4; i < 8; i++)
		EXPECT_ERRNO(ENOENT, UNPIN(items[i]));
	EXPECT_TRUE(only_pinned(self, 0, 0));
}

static void *close_in_thread(void *fd)
{
	close(*(int *)fd);
	return NULL;
}

/*
 * Closing an access waits for its own notice, not for the UNMAP, which waits for
 * the copy of another access
 */
TEST_F_TIMEOUT(access, close_waits_for_its_own_notice, 60)
{
	struct toucher toucher = { self, true };
	struct unmapper me = { self };
	char *mem = memory(2 * PAGE, MAP_PRIVATE);
	pthread_t threads[3];
	int faults, second;
	__u32 item;

	remove_mocks(self);
	mem[PAGE] = 1;
	ASSERT_EQ(0, stall(mem, &faults));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)mem, 2 * PAGE,
			    self->base));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	ASSERT_EQ(0, access_pin(self->fd, second, self->base + PAGE, mem + PAGE,
				PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, second, 0, 1000));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, touch_in_thread,
				    &toucher));
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, unmap_in_thread, &me));
	usleep(200000);
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, close_in_thread,
				    &second));
	ASSERT_TRUE(ends(threads[2]));
	EXPECT_EQ(0, me.unmapped);
	ASSERT_EQ(0, let_go(faults, mem));
	ASSERT_TRUE(ends(threads[0]));
	ASSERT_TRUE(ends(threads[1]));
	EXPECT_EQ(0, toucher.ret);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(2 * PAGE, me.unmapped);
	close(faults);
}

/*
 * Copies of all parts of an area of which an access has pinned a page: what is
 * pinned already, and what is not, is found whatever begins or ends there
 */
TEST_F(access, copies_around_a_pin)
{
	const int nr_pages = 8;
	int pinned, first, nr;
	struct mock mock;
	__u32 to, item;

	remove_mocks(self);
	ASSERT_EQ(0, MAP(0, nr_pages * PAGE, 0));
	ASSERT_EQ(0, alloc_ioas(self->fd, &to));
	ASSERT_EQ(0, mock_domain(self->fd, to, &mock));
	for (pinned = 0; pinned < nr_pages; pinned++) {
		ASSERT_EQ(0, pin(self, pinned, 1, &item));
		for (first = 0; first < nr_pages; first++)
			for (nr = 1; first + nr <= nr_pages; nr++) {
				bool inside = pinned >= first &&
					      pinned < first + nr;

				ASSERT_EQ(0, copy_at(self->fd, to, self->ioas,
						     MAP_RW, nr * PAGE,
						     self->base, self->base +
								 first * PAGE));
				ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt,
							    self->base,
							    self->buf +
								first * PAGE,
							    nr * PAGE));
				ASSERT_EQ(self->pinned + (nr + !inside) * 4,
					  status_kb("VmPin"));
				ASSERT_EQ(0, unmap(self->fd, to, self->base,
						   nr * PAGE, NULL));
			}
		ASSERT_TRUE(only_pinned(self, pinned, pinned + 1));
		ASSERT_EQ(0, UNPIN(item));
	}
}

/* Pinning by two at once */

/*
 * An attach waits for the last of four pages, and an access pins the second one
 * meanwhile. It is pinned and charged once; if the attach fails, and the access
 * has given it up, it is not pinned.
 */
TEST_F_TIMEOUT(access, pin_during_an_attach, 60)
{
	char *mem, data[4 * PAGE];
	pthread_t thread;
	int fails, faults;
	__u32 item;

	remove_mocks(self);
	for (fails = 0; fails < 2; fails++) {
		struct toucher me = { self };

		mem = memory(4 * PAGE, MAP_PRIVATE);
		memset(mem, 1, 3 * PAGE);
		ASSERT_EQ(0, stall(mem + 3 * PAGE, &faults));
		ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)mem,
				    4 * PAGE, self->base));
		ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread,
					    &me));
		ASSERT_TRUE(is_touched(faults));
		ASSERT_EQ(0, access_pin(self->fd, self->access,
					self->base + PAGE, mem + PAGE, PAGE, 0,
					&item));
		if (fails) {
			EXPECT_EQ(0, UNPIN(item));
			ASSERT_EQ(0, munmap(mem + 3 * PAGE, PAGE));
			close(faults);
			ASSERT_TRUE(ends(thread));
			EXPECT_EQ(-1, me.ret);
		} else {
			ASSERT_EQ(0, let_go(faults, mem + 3 * PAGE));
			ASSERT_TRUE(ends(thread));
			EXPECT_EQ(0, me.ret);
			EXPECT_EQ(0, mock_check_refs(self->fd, mem, 4 * PAGE,
						     1));
			EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
			EXPECT_EQ(0, mock_dma(self->fd, me.item, self->base,
					      data, 4 * PAGE, 0));
			EXPECT_EQ(0, memcmp(data, mem, 4 * PAGE));
			EXPECT_EQ(0, destroy(self->fd, me.item));
			EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
			EXPECT_EQ(0, UNPIN(item));
			close(faults);
		}
		EXPECT_TRUE(mock_is_unpinned(mem, 3 * PAGE));
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
		EXPECT_EQ(0, UNMAP(0, 4 * PAGE));
	}
}

/*
 * An attach fails at the first page. Far behind it an access has given up a page
 * meanwhile, and nothing between the two is pinned.
 */
TEST_F_TIMEOUT(access, failed_attach_lets_go_of_a_far_page, 60)
{
	const size_t far = 1100 * PAGE;
	char *mem = memory(far + PAGE, MAP_PRIVATE);
	struct toucher me = { self };
	pthread_t thread;
	__u32 item;
	int faults;

	remove_mocks(self);
	mem[far] = 1;
	ASSERT_EQ(0, stall(mem, &faults));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)mem, far + PAGE,
			    self->base));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &me));
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, access_pin(self->fd, self->access, self->base + far,
				mem + far, PAGE, 0, &item));
	EXPECT_EQ(0, UNPIN(item));
	/* The attach needs it */
	EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
	ASSERT_EQ(0, munmap(mem, PAGE));
	close(faults);
	ASSERT_TRUE(ends(thread));
	EXPECT_EQ(-1, me.ret);
	EXPECT_TRUE(mock_is_unpinned(mem + far, PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP(0, far + PAGE));
}

/* Offsets that need more than 32 bits, in files that have no pages yet */
TEST_F(access, far_inside_a_large_file)
{
	const __u64 far = 5UL << 30, at = self->base + far + 3 * PAGE;
	int i, files[] = { memfd_create("far", 0),
			   memfd_create("far", MFD_HUGETLB) };
	char data[PAGE], *page;
	__u32 item;

	remove_mocks(self);
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		fill_bytes(data, PAGE, i);
		ASSERT_EQ(0, ftruncate(files[i], far + SZ_2M));
		ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW, files[i],
					 0, far + SZ_2M, self->base));
		EXPECT_EQ(0, access_rw(self->fd, self->access, at, data, PAGE,
				       WRITE | SLOW));
		page = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED,
			    files[i], far);
		ASSERT_NE(MAP_FAILED, page);
		EXPECT_EQ(0, memcmp(data, page + 3 * PAGE, PAGE));
		EXPECT_EQ(0, access_pin(self->fd, self->access, at,
					page + 3 * PAGE, PAGE, 0, &item));
		EXPECT_EQ(0, UNPIN(item));
		EXPECT_EQ(0, UNMAP(0, far + SZ_2M));
		munmap(page, SZ_2M);
		close(files[i]);
	}
}

/*
 * Two at once: a delay holds one of them in the middle
 */

struct caller {
	struct _test_data_access *self;
	__u32 item;
	int ret;
	atomic_bool done;
};

static void *unpin_in_thread(void *arg)
{
	struct caller *me = arg;

	me->ret = access_unpin(me->self->fd, me->self->access, me->item);
	me->done = true;
	return NULL;
}

/* The last pin of a page is being given up, when another access pins the page */
TEST_F(access, pin_beside_the_last_unpin)
{
	struct caller me = { self };
	pthread_t thread;
	int second;
	__u32 item;

	remove_mocks(self);
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	ASSERT_EQ(0, MAP(0, PAGE, 0));
	ASSERT_EQ(0, pin(self, 0, 1, &me.item));
	ASSERT_EQ(0, mock_begin_delayed("unpin_user_page_range_dirty_lock 20000",
					unpin_in_thread, &me, &me.done,
					&thread));
	EXPECT_EQ(0, access_pin(self->fd, second, self->base, self->buf, PAGE,
				0, &item));
	EXPECT_EQ(0, mock_end(thread));
	EXPECT_EQ(0, me.ret);
	EXPECT_TRUE(only_pinned(self, 0, 1));
	EXPECT_EQ(0, access_unpin(self->fd, second, item));
	EXPECT_TRUE(only_pinned(self, 0, 0));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(second);
}

static void *detach_in_thread(void *arg)
{
	struct caller *me = arg;

	me->ret = access_detach(me->self->fd, me->self->access);
	me->done = true;
	return NULL;
}

/*
 * A detach is dropping a page that its owner did not unpin when asked, when the
 * owner unpins it
 */
TEST_F(access, unpin_beside_a_detach)
{
	struct caller me = { self };
	pthread_t thread;

	remove_mocks(self);
	ASSERT_EQ(0, MAP(0, PAGE, 0));
	ASSERT_EQ(0, pin(self, 0, 1, &me.item));
	ASSERT_EQ(0, access_set(self->fd, self->access,
				MOCK_ACCESS_NEVER_UNPINS, 0));
	ASSERT_EQ(0, mock_begin_delayed("xa_erase 20000", detach_in_thread, &me,
					&me.done, &thread));
	EXPECT_EQ(0, UNPIN(me.item));
	EXPECT_EQ(0, mock_end(thread));
	EXPECT_EQ(0, me.ret);
	EXPECT_TRUE(only_pinned(self, 0, 0));
	EXPECT_EQ(0, UNMAP(0, PAGE));
}

struct delayed_unmapper {
	struct unmapper of;
	atomic_bool done;
};

static void *unmap_delayed(void *arg)
{
	struct delayed_unmapper *me = arg;

	unmap_in_thread(&me->of);
	me->done = true;
	return NULL;
}

/*
 * An UNMAP searches the pins of an access, which has none and is closed, and goes
 * on to the next access
 */
TEST_F(access, close_beside_an_unmap)
{
	struct delayed_unmapper me = { { self } };
	pthread_t thread;
	int second;
	__u32 item;

	remove_mocks(self);
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	ASSERT_EQ(0, MAP(0, PAGE, 0));
	ASSERT_EQ(0, access_pin(self->fd, second, self->base, self->buf, PAGE,
				0, &item));
	ASSERT_EQ(0, mock_begin_delayed("find_pinned 20000", unmap_delayed, &me,
					&me.done, &thread));
	close(self->access);
	self->access = -1;
	EXPECT_EQ(0, mock_end(thread));
	EXPECT_TRUE(me.done);
	EXPECT_EQ(0, me.of.ret);
	EXPECT_EQ(PAGE, me.of.unmapped);
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, second, item));
	close(second);
}

struct mapper {
	struct _test_data_access *self;
	char *page;
	int ret;
};

static void *map_in_thread(void *arg)
{
	struct mapper *me = arg;

	me->ret = map_at(me->self->fd, me->self->ioas, (uintptr_t)me->page,
			 PAGE, me->self->base);
	return NULL;
}

/* An area that a MAP has not completed: an access does not find it (trap A11) */
TEST_F_TIMEOUT(access, area_that_is_being_mapped, 60)
{
	struct mapper me = { self };
	__u64 iova = self->base + LENGTH;
	pthread_t thread;
	struct mock mock;
	char byte;
	__u32 item;
	int faults;

	me.page = stalled_page(&faults);
	ASSERT_NE(NULL, me.page);
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 7),
				 &mock));
	ASSERT_EQ(0, pthread_create(&thread, NULL, map_in_thread, &me));
	ASSERT_TRUE(is_touched(faults));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, self->access, self->base, NULL,
					PAGE, 0, &item));
	EXPECT_ERRNO(ENOENT, RW(0, &byte, 1, 0));
	EXPECT_ERRNO(ENOENT, RW(0, &byte, 1, SLOW));
	EXPECT_ERRNO(EBUSY, copy(self->fd, self->ioas, self->ioas, FIXED_RW,
				 PAGE, &iova, self->base));
	EXPECT_ERRNO(EBUSY, UNMAP(0, PAGE));
	EXPECT_ERRNO(EBUSY, change_process(self->fd));
	ASSERT_EQ(0, let_go(faults, me.page));
	ASSERT_TRUE(ends(thread));
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(0, RW(0, &byte, 1, SLOW));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(faults);
}

/* Move to another IOAS */

TEST_F(access, replace_gives_pages_back)
{
	__u32 items[2], other;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 0, 4, &items[0]));
	ASSERT_EQ(0, pin(self, 8, 4, &items[1]));
	/* A move to the same IOAS does nothing */
	EXPECT_EQ(0, access_replace(self->fd, self->access, self->ioas));
	EXPECT_EQ(0, UNPIN(items[0]));
	EXPECT_ERRNO(ENOENT, access_replace(self->fd, self->access, 99));
	EXPECT_ERRNO(ENOENT, access_replace(self->fd, self->access,
					    self->nr_mocks ?
						    self->mocks[0].hwpt : 99));
	EXPECT_EQ(0, access_replace(self->fd, self->access, other));
	EXPECT_ERRNO(ENOENT, UNPIN(items[1]));
	EXPECT_TRUE(is_pinned(self, 0, 0));
	EXPECT_ERRNO(ENOENT, pin(self, 0, 1, &items[0]));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, other));
	remove_mocks(self);
	EXPECT_EQ(0, destroy(self->fd, self->ioas));

	/* Without an IOAS an access reaches nothing (trap D2) */
	EXPECT_EQ(0, access_detach(self->fd, self->access));
	EXPECT_EQ(0, access_detach(self->fd, self->access));
	EXPECT_ERRNO(ENOENT, RW(0, items, 1, 0));
	EXPECT_ERRNO(ENOENT, pin(self, 0, 1, &items[0]));
	EXPECT_ERRNO(ENOENT, access_replace(self->fd, self->access, other));
	EXPECT_EQ(0, access_attach(self->fd, self->access, other));
	EXPECT_EQ(0, access_detach(self->fd, self->access));
	EXPECT_EQ(0, destroy(self->fd, other));
}

/*
 * The areas of the other IOAS don't suit the access: it stays where it was,
 * keeps its pins, and can be closed (trap D1)
 */
TEST_F(access, failed_replace_changes_nothing)
{
	__u32 item, other, ids[2];
	int i, second;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, map_at(self->fd, other, (uintptr_t)self->buf, PAGE,
			    MOCK_PAGE));
	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 0, 4, &item));
	for (i = 0; i < 10; i++)
		EXPECT_ERRNO(EADDRINUSE, access_replace(self->fd, self->access,
							other));
	EXPECT_EQ(0, pin(self, 2, 4, &ids[0]));
	EXPECT_EQ(0, UNPIN(item));
	EXPECT_TRUE(is_pinned(self, 2, 6));
	EXPECT_ERRNO(EADDRINUSE, access_create(self->fd, other, CAN_PIN,
					       &second));
	EXPECT_EQ(0, destroy(self->fd, other));

	/* A second access has its own entry in the list of the IOAS */
	ASSERT_EQ(0, access_create(self->fd, self->ioas, CAN_PIN, &second));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, map_at(self->fd, other, (uintptr_t)self->buf, PAGE,
			    MOCK_PAGE));
	EXPECT_ERRNO(EADDRINUSE, access_replace(self->fd, second, other));
	ASSERT_EQ(0, access_pin(self->fd, second, self->base, self->buf, PAGE,
				0, &ids[1]));
	close(self->access);
	self->access = second;
	EXPECT_EQ(0, UNMAP(0, LENGTH));
	EXPECT_ERRNO(ENOENT, UNPIN(ids[1]));
	close(self->access);
	self->access = -1;
	EXPECT_EQ(0, unmap_all(self->fd, other, NULL));
}

struct mover {
	struct _test_data_access *self;
	__u32 ioas;
	int ret;
};

static void *move_away(void *arg)
{
	struct mover *me = arg;

	me->ret = access_replace(me->self->fd, me->self->access, me->ioas) ?
			  errno : 0;
	return NULL;
}

/*
 * During a move the access is asked to unpin. It can unpin, but neither pin nor
 * copy nor move elsewhere (trap D3). A move that is refused keeps no IOAS, whose
 * file can be sealed when it is gone.
 */
TEST_F(access, no_two_moves_at_once)
{
	int file = memfd_create("access", MFD_ALLOW_SEALING);
	struct mover me = { self };
	__u32 items[2], other, third;
	pthread_t thread;
	char byte;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, alloc_ioas(self->fd, &third));
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, map_file_at(self->fd, third, MAP_RW, file, 0, PAGE,
				 self->base));
	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 0, 1, &items[0]));
	ASSERT_EQ(0, pin(self, 8, 1, &items[1]));
	ASSERT_EQ(0, access_set(self->fd, self->access, 0, 500));
	me.ioas = other;
	ASSERT_EQ(0, pthread_create(&thread, NULL, move_away, &me));
	usleep(200000);
	EXPECT_ERRNO(EBUSY, access_replace(self->fd, self->access, third));
	EXPECT_ERRNO(EBUSY, access_detach(self->fd, self->access));
	EXPECT_ERRNO(ENOENT, RW(4 * PAGE, &byte, 1, 0));
	EXPECT_ERRNO(ENOENT, pin(self, 4, 1, &items[1]));
	EXPECT_EQ(0, UNPIN(items[0]));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_TRUE(is_pinned(self, 0, 0));
	EXPECT_EQ(0, access_set(self->fd, self->access, 0, 0));
	EXPECT_EQ(0, access_replace(self->fd, self->access, third));
	EXPECT_EQ(0, access_replace(self->fd, self->access, other));
	EXPECT_EQ(0, destroy(self->fd, third));
	EXPECT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	close(file);
}

/*
 * A move waits for a pin, and the IOAS that it goes to is destroyed meanwhile:
 * the access stays where it is
 */
TEST_F_TIMEOUT(access, target_of_a_move_is_destroyed, 60)
{
	struct toucher toucher = { self };
	struct mover me = { self };
	pthread_t threads[2];
	int faults;
	char *page;

	remove_mocks(self);
	ASSERT_EQ(0, alloc_ioas(self->fd, &me.ioas));
	page = begin_to_touch(&toucher, &threads[0], &faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, move_away, &me));
	usleep(200000);
	EXPECT_EQ(0, destroy(self->fd, me.ioas));
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_TRUE(ends(threads[0]));
	ASSERT_TRUE(ends(threads[1]));
	EXPECT_EQ(0, toucher.ret);
	EXPECT_EQ(ENOENT, me.ret);
	EXPECT_EQ(0, UNPIN(toucher.item));
	EXPECT_EQ(0, UNMAP(0, PAGE));
	close(faults);
}

/*
 * The fd of an access holds the context, in any order of close (traps B13, B14)
 */
TEST_F(access, context_waits_for_access)
{
	char data[10];
	__u32 item;
	int fd;

	ASSERT_EQ(0, MAP(0, LENGTH, 0));
	ASSERT_EQ(0, pin(self, 0, 4, &item));
	close(self->fd);
	fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, fd);
	self->fd = fd;
	/*
	 * Any open /dev/iommu takes the operation; the access still uses the
	 * old one
	 */
	EXPECT_EQ(0, access_rw(fd, self->access, self->base + 4 * PAGE, data,
			       10, SLOW));
	EXPECT_TRUE(is_at(data, 4 * PAGE, 10));
	EXPECT_TRUE(is_pinned(self, 0, 4));
	EXPECT_EQ(0, UNPIN(item));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The memory behind areas: of all kinds, at every alignment, in tables of every
 * kind of the mock IOMMU; what is pinned of it, whose it is, and who is charged.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "mock_util.h"

#define READ_ONLY (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_FIXED_IOVA)
#define WRITE_ONLY (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_FIXED_IOVA)
#define START MOCK_APERTURE_START

enum kind {
	SMALL,
	THP,
	HUGE,
	MEMFD,
	HUGE_MEMFD,
};

/* What is mapped: memory of the process, or the file that it is a mapping of */
struct buffer {
	char *bytes;
	size_t length;
	int file;
	/* MD_CHECK_REFS sees pins of small pages that are no file's */
	bool countable;
};

static int make_buffer(struct buffer *buf, enum kind kind)
{
	bool huge = kind == HUGE || kind == HUGE_MEMFD;
	int flags = kind == THP ? MAP_PRIVATE : MAP_SHARED;

	buf->file = -1;
	buf->countable = kind == SMALL;
	buf->length = huge || kind == THP ? 2 * SZ_2M : 8 * PAGE;
	if (kind == HUGE)
		flags |= MAP_HUGETLB;
	buf->bytes = memory(buf->length, flags);
	if (kind == MEMFD || kind == HUGE_MEMFD) {
		buf->file = memfd_create("pages", huge ? MFD_HUGETLB : 0);
		if (buf->file < 0 || ftruncate(buf->file, buf->length))
			return -1;
		buf->bytes = mmap(buf->bytes, buf->length,
				  PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, buf->file, 0);
	}
	if (buf->bytes == MAP_FAILED)
		return -1;
	if (kind == THP)
		madvise(buf->bytes, buf->length, MADV_HUGEPAGE);
	fill_bytes(buf->bytes, buf->length, 0);
	return 0;
}

/*
 * What is pinned is all that was pinned before and the pages of a part of the
 * buffer, once
 */
static bool is_pinned(struct buffer *buf, long before, size_t offset,
		      size_t length)
{
	size_t first = offset / PAGE * PAGE;
	size_t end = (offset + length + PAGE - 1) / PAGE * PAGE;
	int fd = open("/dev/iommu", O_RDWR);
	bool ret = true;

	if (!length)
		end = first;
	if (buf->countable)
		ret = !mock_check_refs(fd, buf->bytes, first, 0) &&
		      !mock_check_refs(fd, buf->bytes + first, end - first,
				       1) &&
		      !mock_check_refs(fd, buf->bytes + end, buf->length - end,
				       0);
	close(fd);
	return ret && status_kb("VmPin") == before + (long)(end - first) / 1024;
}

FIXTURE(pages)
{
	int fd;
	__u32 ioas;
	struct buffer buf;
	/* What devices are like; each is of a unit of its own, so with its table */
	struct iommu_test_mock_config config;
	struct mock mocks[2];
	int nr_mocks;
	long pinned;
};

FIXTURE_VARIANT(pages)
{
	enum kind kind;
	int nr_mocks;
	__u64 page_sizes;
	__u32 flags;
	__u32 limit;
};

FIXTURE_VARIANT_ADD(pages, small) { .kind = SMALL, .nr_mocks = 1 };

FIXTURE_VARIANT_ADD(pages, small_two_tables) { .kind = SMALL, .nr_mocks = 2 };

FIXTURE_VARIANT_ADD(pages, small_one_by_one) {
	.kind = SMALL, .nr_mocks = 1, .limit = 16,
};

FIXTURE_VARIANT_ADD(pages, thp) { .kind = THP, .nr_mocks = 1 };

FIXTURE_VARIANT_ADD(pages, thp_large_entries) {
	.kind = THP, .nr_mocks = 2, .page_sizes = MOCK_PAGE | PAGE | SZ_2M,
};

FIXTURE_VARIANT_ADD(pages, huge) { .kind = HUGE, .nr_mocks = 1 };

FIXTURE_VARIANT_ADD(pages, huge_two_tables) { .kind = HUGE, .nr_mocks = 2 };

FIXTURE_VARIANT_ADD(pages, huge_by_64) {
	.kind = HUGE, .nr_mocks = 1, .limit = 64 * MOCK_MEMORY_LIMIT_MIN,
};

FIXTURE_VARIANT_ADD(pages, huge_large_entries) {
	.kind = HUGE, .nr_mocks = 1, .page_sizes = MOCK_PAGE | PAGE | SZ_2M,
	.flags = MOCK_DEVICE_LATE,
};

FIXTURE_VARIANT_ADD(pages, memfd) { .kind = MEMFD, .nr_mocks = 1 };

FIXTURE_VARIANT_ADD(pages, memfd_two_tables) { .kind = MEMFD, .nr_mocks = 2 };

FIXTURE_VARIANT_ADD(pages, huge_memfd) { .kind = HUGE_MEMFD, .nr_mocks = 1 };

FIXTURE_VARIANT_ADD(pages, huge_memfd_large_entries) {
	.kind = HUGE_MEMFD, .nr_mocks = 1,
	.page_sizes = MOCK_PAGE | PAGE | SZ_2M,
};

static int add_mock(struct _test_data_pages *self, int unit, __u32 pt_id,
		    struct mock *mock)
{
	self->config.unit = unit;
	return mock_device(self->fd, pt_id, &self->config, mock);
}

FIXTURE_SETUP(pages)
{
	int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_memory_limit(self->fd,
				       variant->limit ?: MOCK_MEMORY_LIMIT));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, make_buffer(&self->buf, variant->kind));
	self->pinned = status_kb("VmPin");
	self->config = MOCK_CONFIG(.flags = variant->flags,
				   .page_sizes = variant->page_sizes ?:
						 MOCK_PAGE);
	self->nr_mocks = variant->nr_mocks;
	for (i = 0; i < self->nr_mocks; i++)
		ASSERT_EQ(0, add_mock(self, i, self->ioas, &self->mocks[i]));
}

FIXTURE_TEARDOWN(pages)
{
	EXPECT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	close(self->fd);
	EXPECT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
}

static int map_buffer(struct _test_data_pages *self, size_t offset,
		      size_t length, __u64 iova)
{
	struct buffer *buf = &self->buf;

	if (buf->file >= 0)
		return map_file(self->fd, self->ioas, FIXED_RW, buf->file,
				offset, length, &iova);
	return map_at(self->fd, self->ioas, (uintptr_t)buf->bytes + offset,
		      length, iova);
}

static bool all_map(struct _test_data_pages *self, __u64 iova, size_t offset,
		    size_t length)
{
	int i;

	for (i = 0; i < self->nr_mocks; i++)
		if (mock_check_map(self->fd, self->mocks[i].hwpt, iova,
				   self->buf.bytes + offset, length))
			return false;
	return true;
}

struct range {
	size_t start, length;
};

#define MAX_RANGES 512

/*
 * Ranges with every start and end, if pages are small; with those near the ends of
 * large pages, and around the middle of one, if they are large
 */
static int make_ranges(size_t length, struct range *ranges)
{
	size_t offsets[32], at;
	int i, j, nr = 0, nr_ranges = 0;

	for (at = 0; at <= length; at += MOCK_PAGE) {
		size_t page = at % SZ_2M / MOCK_PAGE;

		if (length <= SZ_2M || page < 3 || page > 1021 ||
		    (page > 510 && page < 514 && at < SZ_2M))
			offsets[nr++] = at;
	}
	for (i = 0; i < nr; i++)
		for (j = i + 1; j < nr; j++)
			ranges[nr_ranges++] = (struct range){
				offsets[i], offsets[j] - offsets[i],
			};
	return nr_ranges;
}

/* Where a range is mapped: aligned as the memory is, and otherwise */
static const __u64 skews[] = { 0, PAGE, SZ_2M - PAGE };

/* Every start and every end: the table has it all, and it is pinned once */
TEST_F_TIMEOUT(pages, all_aligns, 120)
{
	struct range ranges[MAX_RANGES];
	int i, nr = make_ranges(self->buf.length, ranges);

	for (i = 0; i < nr; i++) {
		size_t start = ranges[i].start, length = ranges[i].length;
		__u64 iova = START + skews[i % 3] + start;

		ASSERT_EQ(0, map_buffer(self, start, length, iova));
		ASSERT_TRUE(all_map(self, iova, start, length));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, start, length));
		ASSERT_EQ(0, unmap(self->fd, self->ioas, iova, length, NULL));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
	}
}

/* The same with a device that comes while all is mapped already, and goes */
TEST_F_TIMEOUT(pages, all_aligns_with_new_device, 120)
{
	struct range ranges[MAX_RANGES];
	int i, nr = make_ranges(self->buf.length, ranges);
	struct mock mock;

	for (i = 0; i < nr; i++) {
		size_t start = ranges[i].start, length = ranges[i].length;
		__u64 iova = START + skews[i % 3] + start;

		ASSERT_EQ(0, map_buffer(self, start, length, iova));
		ASSERT_EQ(0, add_mock(self, 7, self->ioas, &mock));
		ASSERT_TRUE(all_map(self, iova, start, length));
		ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
					    self->buf.bytes + start, length));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, start, length));
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		ASSERT_TRUE(all_map(self, iova, start, length));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, start, length));
		ASSERT_EQ(0, unmap(self->fd, self->ioas, iova, length, NULL));
	}
}

/* Parts of a buffer that is mapped nowhere, or mapped by others, are copied */
TEST_F_TIMEOUT(pages, all_aligns_of_a_copy, 120)
{
	struct range ranges[MAX_RANGES];
	int i, nr = make_ranges(self->buf.length, ranges);
	struct mock mock;
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, add_mock(self, 7, other, &mock));
	/* A source without a table needs nothing, so the copy pins what it has */
	while (self->nr_mocks)
		ASSERT_EQ(0, destroy(self->fd,
				     self->mocks[--self->nr_mocks].stdev));
	ASSERT_EQ(0, map_buffer(self, 0, self->buf.length, START));
	for (i = 0; i < nr; i++) {
		size_t start = ranges[i].start, length = ranges[i].length;
		__u64 iova = START + skews[i % 3] + start;

		ASSERT_EQ(0, copy(self->fd, other, self->ioas, FIXED_RW,
				  length, &iova, START + start));
		ASSERT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
					    self->buf.bytes + start, length));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, start, length));
		ASSERT_EQ(0, unmap(self->fd, other, iova, length, NULL));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
	}
}

/* Two that overlap in memory, made and removed in either order */
TEST_F(pages, overlapping_copies)
{
	const size_t quarter = self->buf.length / 4;
	__u64 iova;
	int order;

	for (order = 0; order < 2; order++) {
		__u64 low = START, high = START + 4 * SZ_2M + PAGE;
		__u64 first = order ? high : low, second = order ? low : high;

		ASSERT_EQ(0, map_buffer(self, 0, self->buf.length,
					START + 8 * SZ_2M));
		iova = low;
		ASSERT_EQ(0, copy(self->fd, self->ioas, self->ioas, FIXED_RW,
				  3 * quarter, &iova, START + 8 * SZ_2M));
		iova = high;
		ASSERT_EQ(0, copy(self->fd, self->ioas, self->ioas, FIXED_RW,
				  2 * quarter, &iova,
				  START + 8 * SZ_2M + 2 * quarter));
		ASSERT_EQ(0, unmap(self->fd, self->ioas, START + 8 * SZ_2M,
				   self->buf.length, NULL));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0,
				      self->buf.length));
		ASSERT_EQ(0, unmap(self->fd, self->ioas, first,
				   (order ? 2 : 3) * quarter, NULL));
		if (order) {
			ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0,
					      3 * quarter));
			ASSERT_TRUE(all_map(self, low, 0, 3 * quarter));
		} else {
			ASSERT_TRUE(is_pinned(&self->buf, self->pinned,
					      2 * quarter, 2 * quarter));
			ASSERT_TRUE(all_map(self, high, 2 * quarter,
					    2 * quarter));
		}
		ASSERT_EQ(0, unmap(self->fd, self->ioas, second,
				   (order ? 3 : 2) * quarter, NULL));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
	}
}

/* Large pages are large in a table that has such, if the IOVA is as aligned */
TEST_F(pages, large_pages_stay_large)
{
	struct iommu_test_mock_stats before, after;

	if (!(variant->page_sizes & SZ_2M) || variant->kind == THP)
		return;
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	ASSERT_EQ(0, map_buffer(self, 0, self->buf.length, START));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_GE(2, after.maps - before.maps);
	EXPECT_EQ(self->buf.length, after.mapped - before.mapped);
	ASSERT_EQ(0, unmap(self->fd, self->ioas, START, self->buf.length,
			   NULL));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_GE(2, after.unmaps - before.unmaps);
	EXPECT_EQ(after.mapped, after.unmapped);
	EXPECT_EQ(0, after.unsynced);
}

/* What a device writes is in the memory, and the reverse; the bytes in between */
TEST_F(pages, dma_is_byte_exact)
{
	char *data = malloc(self->buf.length);
	size_t half = self->buf.length / 2;
	struct mock *mock = &self->mocks[0];

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, map_buffer(self, 0, self->buf.length, START));
	EXPECT_EQ(0, mock_dma(self->fd, mock->stdev, START, data,
			      self->buf.length, 0));
	EXPECT_EQ(0, memcmp(data, self->buf.bytes, self->buf.length));
	memset(data, 0xff, 300);
	EXPECT_EQ(0, mock_dma(self->fd, mock->stdev, START + half - 100, data,
			      300, MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, memcmp(self->buf.bytes + half - 100, data, 300));
	EXPECT_EQ(byte_at(half - 101, 0),
		  (unsigned char)self->buf.bytes[half - 101]);
	EXPECT_EQ(byte_at(half + 200, 0),
		  (unsigned char)self->buf.bytes[half + 200]);
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock->stdev,
				     START + self->buf.length, data, 1, 0));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock->stdev, START - 1, data, 1,
				     0));
	ASSERT_EQ(0, unmap(self->fd, self->ioas, START, self->buf.length,
			   NULL));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock->stdev, START, data, 1, 0));
}

/* Directions are those of the area, not of the memory (trap D5 for devices) */
TEST_F(pages, directions_of_copies)
{
	static const __u32 directions[] = { READ_ONLY, WRITE_ONLY, FIXED_RW };
	struct mock *mock = &self->mocks[0];
	char byte = 1;
	int i;

	ASSERT_EQ(0, map_buffer(self, 0, PAGE, START));
	for (i = 0; i < ARRAY_SIZE(directions); i++) {
		bool reads = directions[i] & IOMMU_IOAS_MAP_READABLE;
		bool writes = directions[i] & IOMMU_IOAS_MAP_WRITEABLE;
		__u64 iova = START + (i + 1) * PAGE;

		ASSERT_EQ(0, copy(self->fd, self->ioas, self->ioas,
				  directions[i], PAGE, &iova, START));
		EXPECT_EQ(reads, !mock_dma(self->fd, mock->stdev, iova, &byte,
					   1, 0));
		if (!reads)
			EXPECT_EQ(EPERM, errno);
		EXPECT_EQ(writes, !mock_dma(self->fd, mock->stdev, iova, &byte,
					    1, MOCK_ACCESS_RW_WRITE));
		if (!writes)
			EXPECT_EQ(EPERM, errno);
	}
}

/*
 * An access has pinned pages of an IOAS without a table; a copy of the area in
 * one with a table sees the same pages; the access moves on, and the first IOAS
 * can go
 */
TEST_F(pages, copy_of_what_an_access_has_pinned)
{
	const __u64 there = START + 8 * SZ_2M;
	size_t length = self->buf.length;
	__u32 with = self->ioas, next, item;
	int access, i;
	__u64 iova;

	/* From here on the devices are in another IOAS than the buffer */
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, map_buffer(self, 0, length, START));
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, access_pin(self->fd, access, START,
					self->buf.bytes, length, 0, &item));
		iova = there;
		ASSERT_EQ(0, copy(self->fd, with, self->ioas, FIXED_RW, length,
				  &iova, START));
		EXPECT_TRUE(all_map(self, there, 0, length));
		EXPECT_TRUE(is_pinned(&self->buf, self->pinned, 0, length));

		ASSERT_EQ(0, alloc_ioas(self->fd, &next));
		iova = START;
		ASSERT_EQ(0, copy(self->fd, next, self->ioas, FIXED_RW, length,
				  &iova, START));
		EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
		ASSERT_EQ(0, access_replace(self->fd, access, next));
		EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, item));
		EXPECT_EQ(0, destroy(self->fd, self->ioas));
		EXPECT_TRUE(all_map(self, there, 0, length));
		EXPECT_TRUE(is_pinned(&self->buf, self->pinned, 0, length));
		ASSERT_EQ(0, unmap(self->fd, with, there, length, NULL));
		EXPECT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
		self->ioas = next;
	}
	close(access);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of areas: of all kinds, at every alignment, in page tables of all
 * kinds of the mock IOMMU; what is pinned, whose it is, and who is charged.
 */
#define _GNU_SOURCE
#include <linux/loop.h>

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

/* Memory of the process, or a file and its mapping */
struct buffer {
	char *bytes;
	size_t length;
	int file;
	/* MD_CHECK_REFS can count pins: of small pages that are not a file's */
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

/* Is exactly this part of the buffer pinned, once, more than before? */
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
	/*
	 * Of all devices; each is of its own unit, so it has its own page table
	 */
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
 * For small pages, ranges with every start and end; for large ones, those near
 * their ends and around the middle of one
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

/* Skew of IOVA against memory: none, and two others */
static const __u64 skews[] = { 0, PAGE, SZ_2M - PAGE };

/* For every start and end: the page table has it all, and it is pinned once */
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

/* The same with a device that is added and removed while all is mapped */
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

/* Copies of parts of a buffer that is not pinned */
TEST_F_TIMEOUT(pages, all_aligns_of_a_copy, 120)
{
	struct range ranges[MAX_RANGES];
	int i, nr = make_ranges(self->buf.length, ranges);
	struct mock mock;
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, add_mock(self, 7, other, &mock));
	/* The source has no page table, so only the copy's part is pinned */
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

/* Two copies that overlap in memory, mapped and unmapped in either order */
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

/*
 * A range across a 1 GiB boundary, where pieces end, and a huge page border;
 * each is inside a page of the other. Each page table has the right pages on
 * both sides, also one that is filled later.
 */
TEST_F(pages, across_a_window)
{
	static const size_t before[] = {
		MOCK_PAGE, PAGE, PAGE + MOCK_PAGE, 3 * PAGE,
	};
	struct iommu_test_mock_stats stats[2];
	const size_t length = 6 * PAGE;
	struct mock late;
	int i;

	for (i = 0; i < 2 * ARRAY_SIZE(before); i++) {
		size_t offset = self->buf.length / 2 - 3 * PAGE +
				i % 2 * MOCK_PAGE;
		__u64 iova = (1UL << 30) - before[i / 2];

		ASSERT_EQ(0, map_buffer(self, offset, length, iova));
		ASSERT_TRUE(all_map(self, iova, offset, length));
		ASSERT_EQ(0, add_mock(self, 2, self->ioas, &late));
		ASSERT_EQ(0, mock_check_map(self->fd, late.hwpt, iova,
					    self->buf.bytes + offset, length));
		ASSERT_EQ(0, destroy(self->fd, late.stdev));
		ASSERT_EQ(0, mock_query(self->fd, 0, &stats[0]));
		ASSERT_EQ(0, unmap(self->fd, self->ioas, iova, length, NULL));
		ASSERT_TRUE(is_pinned(&self->buf, self->pinned, 0, 0));
		/* No call of the driver is for both sides */
		ASSERT_EQ(0, mock_query(self->fd, 0, &stats[1]));
		EXPECT_LE(stats[0].unmaps + 2, stats[1].unmaps);
	}
}

/*
 * Huge pages take large entries if the IOMMU has them and the IOVA is aligned
 */
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

/* Writes of a device arrive in memory and the reverse, byte exact */
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

/*
 * The directions of the area count, not those of the memory (trap D5 for
 * devices)
 */
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
 * An access has pinned pages of an IOAS without a page table. A copy of the
 * area in an IOAS with one has the same pages. The access moves on, and the
 * first IOAS can be destroyed.
 */
TEST_F(pages, copy_of_what_an_access_has_pinned)
{
	const __u64 there = START + 8 * SZ_2M;
	size_t length = self->buf.length;
	__u32 with = self->ioas, next, item;
	int access, i;
	__u64 iova;

	/* From here on the buffer is in another IOAS than the devices */
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

/*
 * The entries that a range takes: no more than the page sizes of the IOMMU and
 * the physical addresses require
 */
FIXTURE(entries)
{
	int fd;
	int pagemap;
	__u32 ioas;
	struct mock mock;
};

static const size_t entry_sizes[] = { 2 * SZ_2M, SZ_2M, PAGE };

FIXTURE_SETUP(entries)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.page_sizes = PAGE | SZ_2M | 2 * SZ_2M);

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_LE(0, self->pagemap);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &self->mock));
}

FIXTURE_TEARDOWN(entries)
{
	close(self->fd);
	close(self->pagemap);
}

/* Physical address of a page */
static __u64 physical(struct _test_data_entries *self, const char *address)
{
	__u64 page = 0;

	if (pread(self->pagemap, &page, sizeof(page),
		  (uintptr_t)address / PAGE * sizeof(page)) != sizeof(page))
		return 0;
	return (page & ((1ULL << 55) - 1)) * PAGE;
}

static bool is_contiguous(struct _test_data_entries *self, const char *bytes,
			  size_t length)
{
	__u64 first = physical(self, bytes);
	size_t at;

	for (at = PAGE; at < length; at += PAGE)
		if (physical(self, bytes + at) != first + at)
			return false;
	return true;
}

/* Size of the largest entry that can begin a range */
static size_t largest_entry(struct _test_data_entries *self, const char *bytes,
			    size_t length, __u64 iova)
{
	__u64 places = physical(self, bytes) | iova;
	const size_t *size = entry_sizes;

	while (*size > length || places % *size ||
	       !is_contiguous(self, bytes, *size))
		size++;
	return *size;
}

/*
 * Map a range and check it. Return the number of entries above the minimum, so
 * 0 is right. *largest: size of the largest entry.
 */
static long spare_entries(struct _test_data_entries *self, const char *bytes,
			  size_t length, __u64 iova, size_t *largest)
{
	struct iommu_test_mock_stats before, after;
	size_t done, size;
	long ret;

	*largest = 0;
	if (mock_query(self->fd, 0, &before) ||
	    map_at(self->fd, self->ioas, (uintptr_t)bytes, length, iova) ||
	    mock_query(self->fd, 0, &after) ||
	    mock_check_map(self->fd, self->mock.hwpt, iova, bytes, length) ||
	    after.mapped - before.mapped != length)
		return -1;
	ret = after.entries - before.entries;
	for (done = 0; done < length; done += size) {
		size = largest_entry(self, bytes + done, length - done,
				     iova + done);
		if (size > *largest)
			*largest = size;
		ret--;
	}
	if (unmap(self->fd, self->ioas, iova, length, NULL) ||
	    mock_query(self->fd, 0, &after) || after.mapped != after.unmapped)
		return -1;
	return ret;
}

/* IOVAs for a range, one without and one with a 1 GiB boundary in it */
static const __u64 rooms[] = { START, (1UL << 30) - 2 * SZ_2M };

/* Ranges that begin and end at various places of huge pages */
static void check_largest(struct __test_metadata *_metadata,
			  struct _test_data_entries *self, const char *bytes,
			  size_t length)
{
	static const size_t parts[] = { 0, PAGE, SZ_2M / 4, SZ_2M / 2,
					SZ_2M - PAGE };
	size_t largest;
	int i, j, k;

	for (i = 0; i < ARRAY_SIZE(parts); i++)
		for (j = 0; j < ARRAY_SIZE(parts); j++)
			for (k = 0; k < ARRAY_SIZE(rooms); k++) {
				ASSERT_EQ(0, spare_entries(self,
							   bytes + parts[i],
							   length - parts[i] -
								   parts[j],
							   rooms[k] + parts[i],
							   &largest));
				ASSERT_LE(SZ_2M, largest);
			}
}

/* 50 maps, and a look at each page: this is slow on the debug kernel */
TEST_F_TIMEOUT(entries, are_largest_for_thp, 150)
{
	char *thp = memory(3 * SZ_2M, MAP_PRIVATE);

	ASSERT_NE(MAP_FAILED, thp);
	ASSERT_EQ(0, madvise(thp, 3 * SZ_2M, MADV_HUGEPAGE));
	memset(thp, 1, 3 * SZ_2M);
	check_largest(_metadata, self, thp, 3 * SZ_2M);
}

TEST_F_TIMEOUT(entries, are_largest_for_huge, 150)
{
	char *huge = memory(3 * SZ_2M, MAP_SHARED | MAP_HUGETLB);

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 3 * SZ_2M);
	check_largest(_metadata, self, huge, 3 * SZ_2M);
}

/* If the IOVA is not aligned as the memory is, entries are small */
TEST_F(entries, are_small_where_iova_is_shifted)
{
	static const size_t shifts[] = { PAGE, SZ_2M / 2, SZ_2M - PAGE };
	char *huge = memory(3 * SZ_2M, MAP_SHARED | MAP_HUGETLB);
	size_t largest;
	int i, j;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 3 * SZ_2M);
	for (i = 0; i < ARRAY_SIZE(shifts); i++)
		for (j = 0; j < ARRAY_SIZE(rooms); j++) {
			ASSERT_EQ(0, spare_entries(self, huge, 3 * SZ_2M,
						   rooms[j] + shifts[i],
						   &largest));
			ASSERT_EQ(PAGE, largest);
			ASSERT_EQ(0, spare_entries(self, huge + shifts[i],
						   3 * SZ_2M - shifts[i],
						   rooms[j], &largest));
			ASSERT_EQ(PAGE, largest);
		}
}

TEST_F(entries, are_small_for_small_pages)
{
	size_t length = 2 * SZ_2M, largest;
	char *small = memory(length, MAP_SHARED);
	int i;

	ASSERT_NE(MAP_FAILED, small);
	memset(small, 1, length);
	for (i = 0; i < ARRAY_SIZE(rooms); i++)
		ASSERT_EQ(0, spare_entries(self, small + PAGE, length - PAGE,
					   rooms[i] + PAGE, &largest));
}

static int by_place(const void *a, const void *b)
{
	const __u64 *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

/*
 * All free huge pages, in the order of physical addresses. Each is a mapping of
 * its own, since splitting one makes lockdep complain about the base.
 */
static char *sorted_pages(struct _test_data_entries *self, size_t *length)
{
	struct { __u64 place; char *page; } pages[16];
	int i, nr = 0;
	char *sorted;

	while (nr < ARRAY_SIZE(pages)) {
		pages[nr].page = memory(SZ_2M, MAP_PRIVATE | MAP_HUGETLB);
		if (pages[nr].page == MAP_FAILED)
			break;
		*pages[nr].page = 1;
		pages[nr].place = physical(self, pages[nr].page);
		nr++;
	}
	*length = nr * SZ_2M;
	if (!nr)
		return MAP_FAILED;
	qsort(pages, nr, sizeof(pages[0]), by_place);
	sorted = memory(*length, MAP_PRIVATE);
	for (i = 0; sorted != MAP_FAILED && i < nr; i++)
		if (mremap(pages[i].page, SZ_2M, SZ_2M,
			   MREMAP_MAYMOVE | MREMAP_FIXED,
			   sorted + i * SZ_2M) == MAP_FAILED)
			return MAP_FAILED;
	return sorted;
}

/* Contiguous huge pages take larger entries */
TEST_F(entries, go_beyond_huge_pages)
{
	size_t length, at, largest = 0;
	char *bytes = sorted_pages(self, &length);
	int i;

	ASSERT_NE(MAP_FAILED, bytes);
	/* A pair that fits one entry, with a page before it */
	for (at = SZ_2M; at + 2 * SZ_2M <= length; at += SZ_2M)
		if (!(physical(self, bytes + at) % (2 * SZ_2M)) &&
		    is_contiguous(self, bytes + at, 2 * SZ_2M))
			break;
	ASSERT_LE(at + 2 * SZ_2M, length);
	for (i = 0; i < ARRAY_SIZE(rooms); i++) {
		/* The pages are sorted, so the others are aligned too */
		__u64 iova = rooms[i] + at % (2 * SZ_2M);

		ASSERT_EQ(0, spare_entries(self, bytes, length, iova,
					   &largest));
		ASSERT_EQ(2 * SZ_2M, largest);
		ASSERT_EQ(0, spare_entries(self, bytes + at, 2 * SZ_2M,
					   rooms[i], &largest));
		ASSERT_EQ(2 * SZ_2M, largest);
		ASSERT_EQ(0, spare_entries(self, bytes + at - SZ_2M / 2,
					   5 * SZ_2M / 2,
					   rooms[i] + 3 * SZ_2M / 2, &largest));
		ASSERT_EQ(2 * SZ_2M, largest);
		/*
		 * The second page is at the 1 GiB boundary, and the range
		 * begins before it
		 */
		ASSERT_EQ(0, spare_entries(self, bytes + at + SZ_2M / 2,
					   3 * SZ_2M / 2,
					   rooms[i] + 3 * SZ_2M / 2, &largest));
		ASSERT_EQ(SZ_2M, largest);
	}
}

/*
 * Any number of separate pages before a huge page, with any batch size (trap
 * A4)
 */
TEST_F(entries, are_largest_after_small_pages)
{
	char *bytes = memory(2 * SZ_2M, MAP_SHARED), *huge = bytes + SZ_2M;
	int file = memfd_create("page", 0);
	size_t length, largest;
	int nr;

	ASSERT_NE(MAP_FAILED, bytes);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(huge, mmap(huge, SZ_2M, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED |
				     MAP_HUGETLB, -1, 0));
	*huge = 1;
	for (nr = 1; nr < 40; nr++) {
		/* The same page again and again is not contiguous */
		ASSERT_EQ(huge - nr * PAGE,
			  mmap(huge - nr * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, file, 0));
		huge[-nr * PAGE] = 1;
		length = nr * PAGE + SZ_2M;
		ASSERT_EQ(0, spare_entries(self, huge - nr * PAGE, length,
					   START + SZ_2M - nr * PAGE,
					   &largest));
		ASSERT_EQ(SZ_2M, largest);
	}
	close(file);
}

/*
 * Numbers of pages around the sizes of the kernel's lists: on the stack, of runs,
 * and of a chunk. No two pages are contiguous.
 */
TEST_F_TIMEOUT(entries, are_right_for_separate_pages, 150)
{
	static const int nrs[] = {
		1, 2, 15, 16, 17, 18, 31, 32, 33, 511, 512, 513, 528, 529, 1024,
		1025,
	};
	char *bytes = memory(2 * SZ_2M + SZ_2M, MAP_SHARED);
	int file = memfd_create("pages", 0), i;
	size_t largest;

	ASSERT_NE(MAP_FAILED, bytes);
	ASSERT_EQ(0, ftruncate(file, 3 * PAGE));
	/* The first and the last page of the file in turn, as they are written */
	for (i = 0; i < 1025; i++) {
		ASSERT_EQ(bytes + i * PAGE,
			  mmap(bytes + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, file, i % 2 * 2 * PAGE));
		bytes[i * PAGE] = 1;
	}
	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		ASSERT_EQ(0, spare_entries(self, bytes, nrs[i] * PAGE, START,
					   &largest));
		/* From the second page on, and across 1 GiB */
		if (nrs[i] < 1025)
			ASSERT_EQ(0, spare_entries(self, bytes + PAGE,
						   nrs[i] * PAGE,
						   (1UL << 30) - 3 * PAGE,
						   &largest));
	}
	close(file);
}

/*
 * Huge pages of a file are contiguous. A range begins in the middle of one and
 * ends in the middle of the next, and no reference to either is left.
 */
TEST_F(entries, of_two_halves_of_a_file)
{
	int file = memfd_create("pages", MFD_HUGETLB);
	size_t length, at;
	long free;
	char *bytes = sorted_pages(self, &length);

	ASSERT_NE(MAP_FAILED, bytes);
	/* What was freed last is allocated first */
	for (at = length; at; at -= SZ_2M)
		ASSERT_EQ(0, munmap(bytes + at - SZ_2M, SZ_2M));
	free = free_huge_pages();
	ASSERT_EQ(0, ftruncate(file, length));
	bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, bytes);
	for (at = 0; at < length; at += SZ_2M)
		bytes[at] = 1;
	for (at = 0; at + 2 * SZ_2M <= length; at += SZ_2M)
		if (is_contiguous(self, bytes + at, 2 * SZ_2M))
			break;
	ASSERT_LE(at + 2 * SZ_2M, length);
	at += SZ_2M / 2;
	ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW, file, at, SZ_2M,
				 START));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, START,
				    bytes + at, SZ_2M));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, SZ_2M, NULL));
	munmap(bytes, length);
	close(file);
	EXPECT_EQ(free, free_huge_pages());
}

/* A 1 GiB boundary is inside a run of pages that another run follows */
TEST_F(entries, of_a_run_across_a_window)
{
	char *huge = memory(2 * SZ_2M, MAP_SHARED), *end = huge + SZ_2M;
	size_t largest;
	int before;

	ASSERT_NE(MAP_FAILED, huge);
	ASSERT_EQ(huge, mmap(huge, SZ_2M, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED |
				     MAP_HUGETLB, -1, 0));
	*huge = 1;
	*end = 1;
	for (before = 1; before < 5; before++) {
		ASSERT_EQ(0, spare_entries(self, end - 4 * PAGE, 5 * PAGE,
					   (1UL << 30) - before * PAGE,
					   &largest));
		ASSERT_EQ(PAGE, largest);
	}
}

#define SZ_4G 0x100000000ULL

FIXTURE(large)
{
	int iommufd;
	__u32 ioas;
};

FIXTURE_SETUP(large)
{
	self->iommufd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &self->ioas));
}

FIXTURE_TEARDOWN(large)
{
	close(self->iommufd);
}

/*
 * No number is cut to 32 bits: not in an area of more than 4 GiB, nor in a copy
 * or a pin of its end, nor that far behind in a file. The area is one huge page
 * again and again, and another one at the end.
 */
TEST_F_TIMEOUT(large, nothing_is_cut_to_32_bits, 120)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.aperture_last = ~0ULL, .page_sizes = PAGE | SZ_2M);
	const __u64 length = SZ_4G + SZ_2M, there = START + 2 * SZ_4G;
	struct iommu_test_mock_stats stats;
	int fd = self->iommufd, access, file;
	char *bytes, byte = 0;
	__u64 unmapped;
	struct mock mock;
	__u32 ioas = self->ioas, item;
	long pinned;

	ASSERT_EQ(0, mock_device(fd, ioas, &config, &mock));
	ASSERT_EQ(0, access_create(fd, ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	bytes = repeated_huge_page(memfd_create("huge", MFD_HUGETLB), length);
	ASSERT_NE(NULL, bytes);
	bytes[0] = 1;
	bytes[SZ_4G] = 2;
	pinned = status_kb("VmPin");

	ASSERT_EQ(0, map_at(fd, ioas, (uintptr_t)bytes, length, START));
	EXPECT_EQ(pinned + (long)(length / 1024), status_kb("VmPin"));
	ASSERT_EQ(0, mock_query(fd, 0, &stats));
	EXPECT_EQ(length, stats.mapped);
	EXPECT_EQ(0, mock_check_map(fd, mock.hwpt, START + SZ_4G - PAGE,
				    bytes + SZ_4G - PAGE, 2 * PAGE));
	EXPECT_EQ(0, access_rw(fd, access, START + SZ_4G, &byte, 1, 0));
	EXPECT_EQ(2, byte);
	EXPECT_EQ(0, access_pin(fd, access, START + SZ_4G, bytes + SZ_4G, PAGE,
				0, &item));
	ASSERT_EQ(0, copy_at(fd, ioas, ioas, MAP_RW, SZ_2M, there,
			     START + SZ_4G));
	EXPECT_EQ(0, mock_check_map(fd, mock.hwpt, there, bytes + SZ_4G, PAGE));
	byte = 0;
	EXPECT_EQ(0, access_rw(fd, access, there, &byte, 1, 0));
	EXPECT_EQ(2, byte);

	EXPECT_EQ(0, unmap(fd, ioas, START, length, &unmapped));
	EXPECT_EQ(length, unmapped);
	ASSERT_EQ(0, mock_query(fd, 0, &stats));
	EXPECT_EQ(length, stats.unmapped);
	EXPECT_ERRNO(ENOENT, access_unpin(fd, access, item));
	EXPECT_EQ(pinned + (long)(SZ_2M / 1024), status_kb("VmPin"));
	EXPECT_EQ(0, unmap(fd, ioas, there, SZ_2M, NULL));
	EXPECT_EQ(pinned, status_kb("VmPin"));

	file = memfd_create("large", 0);
	ASSERT_EQ(0, ftruncate(file, SZ_4G + PAGE));
	ASSERT_EQ(1, pwrite(file, &byte, 1, SZ_4G));
	ASSERT_EQ(0, map_file_at(fd, ioas, MAP_RW, file, SZ_4G, PAGE, START));
	byte = 0;
	EXPECT_EQ(0, mock_dma(fd, mock.stdev, START, &byte, 1, 0));
	EXPECT_EQ(2, byte);
	munmap(bytes, length);
	close(file);
	close(access);
}

/* Dirty pages */
FIXTURE(dirty)
{
	int fd;
	__u32 ioas;
	struct mock mock;
};

FIXTURE_SETUP(dirty)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &self->mock));
}

FIXTURE_TEARDOWN(dirty)
{
	close(self->fd);
}

#define DIRTY_PAGES 8
#define DIRTY_SIZE (DIRTY_PAGES * PAGE)

/* Bitmap of the dirty pages */
static int dirty_pages(const char *view)
{
	int i, ret = 0;

	for (i = 0; i < DIRTY_PAGES; i++)
		ret |= page_is_dirty(view + i * PAGE) << i;
	return ret;
}

/*
 * Clean memory: devices read the lower half and write the upper one, which must
 * be dirty after the unpin. @file: map the file, not @view.
 */
static void check_dirty(struct __test_metadata *_metadata,
			struct _test_data_dirty *self, char *view, int file)
{
	const size_t half = DIRTY_SIZE / 2;
	char data[half];
	int i;

	memset(data, 0x5a, half);
	ASSERT_EQ(0, dirty_pages(view));
	for (i = 0; i < 2; i++) {
		__u32 flags = i ? FIXED_RW : READ_ONLY;
		__u64 iova = START + i * half;

		ASSERT_EQ(0, file < 0 ? map(self->fd, self->ioas, flags,
					    (uintptr_t)view + i * half, half,
					    &iova) :
					map_file(self->fd, self->ioas, flags,
						 file, i * half, half, &iova));
	}
	/* The file may be written back after the pin, so it is clean */
	ASSERT_EQ(0, msync(view, DIRTY_SIZE, MS_SYNC));
	ASSERT_EQ(0, dirty_pages(view));
	EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, START + half, data,
			      half, MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0xf0, dirty_pages(view));
}

/* Read all of the memory; is it zero? */
static bool is_empty(const char *view)
{
	int i;

	for (i = 0; i < DIRTY_SIZE; i++)
		if (view[i])
			return false;
	return true;
}

TEST_F(dirty, private_memory)
{
	char *view = mmap(NULL, DIRTY_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, view);
	memset(view, 1, DIRTY_SIZE);
	check_dirty(_metadata, self, view, -1);
}

/* Pages that an access unpins one by one, while it has pinned others */
TEST_F(dirty, pages_of_an_access)
{
	char *view = mmap(NULL, DIRTY_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 items[2];
	int access, i;

	ASSERT_NE(MAP_FAILED, view);
	memset(view, 1, DIRTY_SIZE);
	ASSERT_EQ(0, destroy(self->fd, self->mock.stdev));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)view, DIRTY_SIZE,
			    START));
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, access_pin(self->fd, access, START + i * 4 * PAGE,
					view + i * 4 * PAGE, 2 * PAGE,
					MOCK_FLAGS_ACCESS_WRITE, &items[i]));
	ASSERT_EQ(0, dirty_pages(view));
	EXPECT_EQ(0, access_unpin(self->fd, access, items[0]));
	EXPECT_EQ(0x03, dirty_pages(view));
	EXPECT_EQ(0, access_unpin(self->fd, access, items[1]));
	EXPECT_EQ(0x33, dirty_pages(view));
	close(access);
}

TEST_F(dirty, shared_memory_as_a_file)
{
	int file = memfd_create("dirty", MFD_CLOEXEC);
	char *view;

	ASSERT_EQ(0, ftruncate(file, DIRTY_SIZE));
	view = mmap(NULL, DIRTY_SIZE, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, view);
	ASSERT_TRUE(is_empty(view));
	check_dirty(_metadata, self, view, file);
	close(file);
}

/* What a device writes to the page cache of a disk gets to the disk */
TEST_F(dirty, file_that_is_written_back)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), disk;
	int file = memfd_create("disk", MFD_CLOEXEC);
	char path[32], byte, *view;

	ASSERT_EQ(0, ftruncate(file, DIRTY_SIZE));
	snprintf(path, sizeof(path), "/dev/loop%d",
		 ioctl(control, LOOP_CTL_GET_FREE));
	disk = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, disk);
	ASSERT_EQ(0, ioctl(disk, LOOP_SET_FD, file));
	view = mmap(NULL, DIRTY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, disk,
		    0);
	ASSERT_NE(MAP_FAILED, view);
	EXPECT_TRUE(is_empty(view));
	check_dirty(_metadata, self, view, -1);
	EXPECT_EQ(0, msync(view, DIRTY_SIZE, MS_SYNC));
	EXPECT_EQ(0, dirty_pages(view));
	EXPECT_EQ(1, pread(file, &byte, 1, DIRTY_SIZE - 1));
	EXPECT_EQ(0x5a, byte);
	munmap(view, DIRTY_SIZE);
	EXPECT_EQ(0, ioctl(disk, LOOP_CLR_FD, 0));
	close(disk);
	close(control);
	close(file);
}

TEST_HARNESS_MAIN

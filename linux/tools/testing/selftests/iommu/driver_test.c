// SPDX-License-Identifier: GPL-2.0
/*
 * How iommufd treats IOMMU drivers that differ from VT-d's: they fail to unmap,
 * don't support what VT-d does, share page tables between units, or can't
 * protect memory at all. The mock IOMMU simulates them.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "mock_util.h"

#define BASE MOCK_APERTURE_START

FIXTURE(driver)
{
	int fd;
	__u32 ioas;
	char *buf;
	long pinned;
};

#define BUF_SIZE (2 * SZ_2M)

FIXTURE_SETUP(driver)
{
	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	self->buf = memory(BUF_SIZE, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(driver)
{
	close(self->fd);
}

#define DEVICE(_mock, ...)                                                     \
	mock_device(self->fd, self->ioas, &MOCK_CONFIG(__VA_ARGS__), _mock)
#define MAP_AT(_va, _length, _iova)                                            \
	map_at(self->fd, self->ioas, (uintptr_t)(_va), _length, _iova)
#define UNMAP(_iova, _length) unmap(self->fd, self->ioas, _iova, _length, NULL)
#define REFS(_va, _length, _refs)                                              \
	mock_check_refs(self->fd, _va, _length, _refs)

/*
 * The driver fails to unmap one of two areas (trap M2). The device still
 * reaches it, so its memory stays pinned and charged, even when the area is
 * gone. The other area is unpinned.
 */
TEST_F(driver, failed_unmap_keeps_memory_pinned)
{
	char *other = self->buf + 4 * PAGE, data[4 * PAGE];
	struct mock mock;
	__u64 unmapped;

	ASSERT_EQ(0, DEVICE(&mock));
	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(other, 4 * PAGE, BASE + 4 * PAGE));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 0, 1, EIO));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, BASE, 8 * PAGE, &unmapped));
	EXPECT_EQ(8 * PAGE, unmapped);

	EXPECT_EQ(0, REFS(self->buf, 4 * PAGE, 1));
	EXPECT_EQ(0, REFS(other, 4 * PAGE, 0));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, BASE, data, 4 * PAGE, 0));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev, BASE + 4 * PAGE,
				     data, 1, 0));

	/* Everything else works */
	EXPECT_ERRNO(ENOENT, UNMAP(BASE, 4 * PAGE));
	EXPECT_EQ(0, MAP_AT(other, 4 * PAGE, BASE + 4 * PAGE));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, BASE + 4 * PAGE, data,
			      4 * PAGE, 0));
	EXPECT_EQ(0, UNMAP(BASE + 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, REFS(self->buf, 4 * PAGE, 1));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
	memset(self->buf, 1, 4 * PAGE);
}

/* Only the piece that the driver failed to unmap stays pinned */
TEST_F(driver, failed_unmap_keeps_one_piece)
{
	const __u64 iova = BASE + SZ_2M - PAGE;
	char *last = self->buf + PAGE + SZ_2M;
	struct mock mock;

	ASSERT_EQ(0, DEVICE(&mock, .page_sizes = PAGE | SZ_2M));
	ASSERT_EQ(0, MAP_AT(self->buf, SZ_2M + 2 * PAGE, iova));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 1, 1, EIO));
	EXPECT_EQ(0, UNMAP(iova, SZ_2M + 2 * PAGE));
	EXPECT_EQ(0, REFS(self->buf, PAGE, 0));
	EXPECT_EQ(0, REFS(self->buf + PAGE, SZ_2M, 1));
	EXPECT_EQ(0, REFS(last, PAGE, 0));
	EXPECT_EQ(self->pinned + 2048, status_kb("VmPin"));
}

/* If such a piece begins and ends inside pages, both pages stay pinned */
TEST_F(driver, failed_unmap_of_parts_of_pages)
{
	const __u64 iova = BASE + SZ_2M - PAGE;
	struct mock mock;

	ASSERT_EQ(0, DEVICE(&mock, .page_sizes = MOCK_PAGE | SZ_2M));
	ASSERT_EQ(0, MAP_AT(self->buf + MOCK_PAGE, 4 * PAGE, iova));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 1, 1, EIO));
	EXPECT_EQ(0, UNMAP(iova, 4 * PAGE));
	EXPECT_EQ(0, REFS(self->buf, PAGE, 0));
	EXPECT_EQ(0, REFS(self->buf + PAGE, 4 * PAGE, 1));
	EXPECT_EQ(0, REFS(self->buf + 5 * PAGE, PAGE, 0));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
}

/* Mappings of memory that another area has too */
TEST_F(driver, failed_unmap_of_a_copy)
{
	__u64 iova = BASE + SZ_2M;
	struct mock mock;

	ASSERT_EQ(0, DEVICE(&mock));
	ASSERT_EQ(0, MAP_AT(self->buf, 8 * PAGE, BASE));
	ASSERT_EQ(0, copy_at(self->fd, self->ioas, self->ioas, MAP_RW, 2 * PAGE,
			     iova, BASE + 3 * PAGE));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 0, 1, EIO));
	EXPECT_EQ(0, UNMAP(iova, 2 * PAGE));
	EXPECT_EQ(0, UNMAP(BASE, 8 * PAGE));
	EXPECT_EQ(0, REFS(self->buf, 3 * PAGE, 0));
	EXPECT_EQ(0, REFS(self->buf + 3 * PAGE, 2 * PAGE, 1));
	EXPECT_EQ(0, REFS(self->buf + 5 * PAGE, 3 * PAGE, 0));
}

/* An attach fails to fill the page table, and also to undo that */
TEST_F(driver, failed_undo_of_a_fill)
{
	struct mock mock;
	__u32 pt;

	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf + PAGE, PAGE, BASE + PAGE));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, ENOMEM));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 0, 1, EIO));
	pt = self->ioas;
	EXPECT_ERRNO(ENOMEM, mock_attach(self->fd, mock.stdev, &pt));
	EXPECT_EQ(0, REFS(self->buf, PAGE, 1));
	EXPECT_EQ(0, REFS(self->buf + PAGE, PAGE, 0));
	EXPECT_EQ(0, mock_attach(self->fd, mock.stdev, &pt));
	EXPECT_EQ(0, REFS(self->buf, 2 * PAGE, 1));
}

/* What a failed map has left can't be unmapped either */
TEST_F(driver, failed_clean_up_keeps_memory_pinned)
{
	char *thp = memory(SZ_2M, MAP_PRIVATE);
	struct mock mock;

	ASSERT_EQ(0, DEVICE(&mock, .flags = MOCK_DEVICE_KEEPS));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, ENOMEM));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 0, 1, EIO));
	EXPECT_ERRNO(ENOMEM, MAP_AT(self->buf, 2 * PAGE, BASE));
	EXPECT_EQ(0, REFS(self->buf, PAGE, 1));
	EXPECT_EQ(0, REFS(self->buf + PAGE, PAGE, 0));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));

	/*
	 * Eight contiguous pages, half of which stay mapped. Of these two stay
	 * pinned, not one of them twice.
	 */
	ASSERT_EQ(0, madvise(thp, SZ_2M, MADV_HUGEPAGE));
	memset(thp, 1, SZ_2M);
	self->pinned = status_kb("VmPin");
	ASSERT_EQ(0, DEVICE(&mock, .page_sizes = PAGE,
			    .flags = MOCK_DEVICE_KEEPS));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, ENOMEM));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_UNMAP, 1, 2, EIO));
	EXPECT_ERRNO(ENOMEM, MAP_AT(thp, 8 * PAGE, BASE + SZ_2M));
	EXPECT_EQ(self->pinned + 8, status_kb("VmPin"));
}

/*
 * The driver maps and unmaps less than it was asked to, and reports how much. So
 * it is asked again until all is done. If it fails after a part, all is undone.
 */
TEST_F_TIMEOUT(driver, calls_that_stop_early, 60)
{
	char *huge = memory(2 * SZ_2M, MAP_SHARED | MAP_HUGETLB), byte;
	const __u64 iova = BASE + SZ_2M - 3 * PAGE;
	struct iommu_test_mock_stats stats;
	struct mock mock;
	int skip, i;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 2 * SZ_2M);
	ASSERT_EQ(0, DEVICE(&mock, .flags = MOCK_DEVICE_STOPS));
	for (skip = 0; skip < 4; skip++) {
		if (skip < 3) {
			ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, skip,
					       1, EXDEV));
			EXPECT_ERRNO(EXDEV, MAP_AT(huge, 2 * SZ_2M, iova));
		} else {
			ASSERT_EQ(0, MAP_AT(huge, 2 * SZ_2M, iova));
			EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
						    huge, 2 * SZ_2M));
			ASSERT_EQ(0, UNMAP(iova, 2 * SZ_2M));
		}
		for (i = 0; i < 2 * SZ_2M / PAGE; i++)
			ASSERT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev,
						     iova + i * PAGE, &byte, 1,
						     0));
		ASSERT_EQ(0, mock_query(self->fd, 0, &stats));
		EXPECT_EQ(stats.mapped, stats.unmapped);
		EXPECT_EQ(0, stats.unsynced);
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
	}
}

/* The driver unmaps more than it was asked to: all that one call has mapped */
TEST_F(driver, calls_that_unmap_whole_maps)
{
	char *huge = memory(SZ_2M, MAP_SHARED | MAP_HUGETLB);
	struct iommu_test_mock_stats before, after;
	const __u64 iova = BASE + PAGE;
	struct mock mock;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, SZ_2M);
	ASSERT_EQ(0, DEVICE(&mock, .page_sizes = PAGE | SZ_2M,
			    .flags = MOCK_DEVICE_WHOLE));
	/* An unmap without knowledge of the map ends at a multiple of 2 MiB */
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	ASSERT_EQ(0, MAP_AT(huge, SZ_2M, iova));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, iova + SZ_2M));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_EQ(before.maps + 2, after.maps);
	EXPECT_EQ(0, UNMAP(iova, SZ_2M));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_EQ(before.unmaps + 1, after.unmaps);
	EXPECT_EQ(before.unmapped + SZ_2M, after.unmapped);
	EXPECT_EQ(0, after.unsynced);
	EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova + SZ_2M,
				    self->buf, PAGE));
}

static __u64 syncs(struct _test_data_driver *self, __u32 unit)
{
	struct iommu_test_mock_stats stats;

	return mock_query(self->fd, unit, &stats) ? -1 : stats.syncs;
}

/*
 * Areas with gaps need one flush together (trap M10), if it is not too wide. A
 * driver that frees page tables early has freed none before the flush.
 */
TEST_F(driver, disjoint_areas_are_flushed_together)
{
	const __u64 far = BASE + 0x60000000;
	struct mock mock;
	__u64 before;
	int i;

	ASSERT_EQ(0, DEVICE(&mock, .flags = MOCK_DEVICE_FREES_EARLY));
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, MAP_AT(self->buf + i * PAGE, PAGE,
				    BASE + 2 * i * PAGE));
	before = syncs(self, 0);
	EXPECT_EQ(0, UNMAP(BASE, 64 * PAGE));
	EXPECT_EQ(before + 1, syncs(self, 0));
	EXPECT_EQ(0, REFS(self->buf, 32 * PAGE, 0));

	/* Areas of different sizes, one too far away for the same flush */
	ASSERT_EQ(0, MAP_AT(self->buf, 3 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE + SZ_2M));
	ASSERT_EQ(0, MAP_AT(self->buf, SZ_2M, far));
	before = syncs(self, 0);
	EXPECT_EQ(0, UNMAP(BASE, far + SZ_2M - BASE));
	EXPECT_EQ(before + 2, syncs(self, 0));
}

/* Other drivers gather by page size, and still no piece is flushed alone */
TEST_F(driver, neighbours_are_flushed_together)
{
	struct mock mock;
	__u64 before;

	ASSERT_EQ(0, DEVICE(&mock));
	ASSERT_EQ(0, MAP_AT(self->buf, 3 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE + 3 * PAGE));
	ASSERT_EQ(0, MAP_AT(self->buf, 7 * PAGE, BASE + 4 * PAGE));
	before = syncs(self, 0);
	EXPECT_EQ(0, UNMAP(BASE, 11 * PAGE));
	EXPECT_EQ(before + 1, syncs(self, 0));
}

/* The driver takes one page per call, small or large */
TEST_F(driver, calls_for_single_pages)
{
	char *huge = memory(2 * SZ_2M, MAP_SHARED | MAP_HUGETLB), byte;
	struct iommu_test_mock_stats before, after;
	const size_t length = 2 * SZ_2M - PAGE;
	const __u64 iova = BASE + PAGE;
	struct mock mock;
	int i;

	ASSERT_NE(MAP_FAILED, huge);
	memset(huge, 1, 2 * SZ_2M);
	ASSERT_EQ(0, DEVICE(&mock, .page_sizes = PAGE | SZ_2M,
			    .flags = MOCK_DEVICE_SINGLE));
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	ASSERT_EQ(0, MAP_AT(huge + PAGE, length, iova));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_EQ(before.maps + 512, after.maps);
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova, huge + PAGE,
				    length));
	ASSERT_EQ(0, UNMAP(iova, length));
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	/* One for each page size */
	EXPECT_EQ(after.syncs + 2, before.syncs);

	/* A call in the middle fails, and what was mapped is unmapped */
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 100, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, MAP_AT(huge + PAGE, length, iova));
	for (i = 0; i < 1023; i++)
		ASSERT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev,
					     iova + i * PAGE, &byte, 1, 0));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_EQ(after.mapped, after.unmapped);
	EXPECT_EQ(0, after.unsynced);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * Before a map above everything else, the zero page is mapped once in each page
 * table that grows, and in no other (trap M1)
 */
TEST_F(driver, each_table_that_grows_is_grown)
{
	struct iommu_test_mock_stats before[3], after;
	const __u64 high = 1ULL << 40;
	struct mock mocks[3];
	int grows, i;

	for (grows = 0; grows < 8; grows++) {
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i,
					    .aperture_last = ~0ULL,
					    .flags = grows >> i & 1 ?
						     MOCK_DEVICE_GROWS : 0));
			ASSERT_EQ(0, mock_query(self->fd, i, &before[i]));
		}
		/* That reaches up to twice as far, and no further */
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE, high));
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE, 2 * high - PAGE));
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE, 2 * high));
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, mock_query(self->fd, i, &after));
			EXPECT_EQ(before[i].maps + 3 + 2 * (grows >> i & 1),
				  after.maps);
		}
		ASSERT_EQ(0, UNMAP(high, 2 * high));
		for (i = 0; i < 3; i++)
			ASSERT_EQ(0, destroy(self->fd, mocks[i].stdev));
	}
}

static __u64 maps(struct _test_data_driver *self, __u32 unit)
{
	struct iommu_test_mock_stats stats;

	return mock_query(self->fd, unit, &stats) ? -1 : stats.maps;
}

/*
 * One of two page tables can't grow: nothing is mapped, and the next map grows
 * both. Another one that is filled grows first, too.
 */
TEST_F(driver, table_that_fails_to_grow)
{
	const __u64 high = 1ULL << 40;
	struct mock mocks[3];
	int i, fails;

	for (fails = 0; fails < 2; fails++) {
		__u64 before[2];
		__u32 pt_id;

		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i,
					    .aperture_last = ~0ULL,
					    .flags = MOCK_DEVICE_GROWS));
		ASSERT_EQ(0, mock_fail(self->fd, fails, MOCK_CALL_MAP, 0, 1,
				       ENOSPC));
		EXPECT_ERRNO(ENOSPC, MAP_AT(self->buf, PAGE, high));
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
		for (i = 0; i < 2; i++)
			before[i] = maps(self, i);
		EXPECT_EQ(0, MAP_AT(self->buf, PAGE, high));
		for (i = 0; i < 2; i++)
			EXPECT_EQ(before[i] + 2, maps(self, i));
		ASSERT_EQ(0, mock_device(self->fd, 0,
					 &MOCK_CONFIG(.unit = 2,
						      .aperture_last = ~0ULL,
						      .flags = MOCK_DEVICE_GROWS),
					 &mocks[2]));
		ASSERT_EQ(0, mock_fail(self->fd, 2, MOCK_CALL_MAP, 0, 1,
				       ENOSPC));
		pt_id = self->ioas;
		EXPECT_ERRNO(ENOSPC, mock_attach(self->fd, mocks[2].stdev,
						 &pt_id));
		before[0] = maps(self, 2);
		EXPECT_EQ(0, mock_attach(self->fd, mocks[2].stdev, &pt_id));
		EXPECT_EQ(before[0] + 2, maps(self, 2));
		ASSERT_EQ(0, UNMAP(high, PAGE));
		for (i = 0; i < 3; i++)
			ASSERT_EQ(0, destroy(self->fd, mocks[i].stdev));
	}
}

/*
 * Memory never makes a page table grow, since others may be in it: neither an
 * area that begins below what the page table reaches, nor those that a new page
 * table gets. The mock IOMMU warns if it does.
 */
TEST_F(driver, tables_grow_to_the_end)
{
	const __u64 high = 1ULL << 40;
	bool warned = has_warned();
	struct mock mocks[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i,
				    .aperture_last = ~0ULL,
				    .flags = MOCK_DEVICE_GROWS));
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE + i * PAGE));
		ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, (high << i) - PAGE));
	}
	EXPECT_EQ(warned, has_warned());
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, mock_check_map(self->fd, mocks[i].hwpt,
					    high - PAGE, self->buf, 2 * PAGE));
}

/*
 * After UNMAP the device reaches nothing: each IOVA is flushed, with any number
 * of areas and pieces, and with or without gaps
 */
TEST_F(driver, all_that_is_unmapped_is_flushed)
{
	static const __u32 flags[] = { 0, MOCK_DEVICE_FREES_EARLY };
	struct iommu_test_mock_stats stats;
	const int nr = 40;
	struct mock mock;
	char data;
	int i, j;

	for (i = 0; i < 4; i++) {
		__u64 step = (i / 2 + 1) * PAGE;

		ASSERT_EQ(0, DEVICE(&mock, .flags = flags[i % 2],
				    .page_sizes = PAGE | SZ_2M));
		/* The last area has a large page in the middle */
		for (j = 0; j < nr; j++)
			ASSERT_EQ(0, MAP_AT(self->buf + j * PAGE, PAGE,
					    BASE + j * step));
		ASSERT_EQ(0, MAP_AT(self->buf, SZ_2M + 2 * PAGE,
				    BASE + SZ_2M - PAGE));
		ASSERT_EQ(0, UNMAP(BASE, 4 * SZ_2M));
		for (j = 0; j < nr; j++)
			EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev,
						     BASE + j * step, &data, 1,
						     0));
		for (j = -1; j < 514; j++)
			EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev,
						     BASE + SZ_2M + j * PAGE,
						     &data, 1, 0));
		ASSERT_EQ(0, mock_query(self->fd, 0, &stats));
		EXPECT_EQ(0, stats.unsynced);
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	}
}

static __u64 attaches(struct _test_data_driver *self, __u32 unit)
{
	struct iommu_test_mock_stats stats;

	return mock_query(self->fd, unit, &stats) ? -1 : stats.attaches;
}

/* Units of a driver that can share page tables share them (trap M9) */
TEST_F(driver, units_share_a_table)
{
	const __u32 flags = MOCK_DEVICE_SHARES;
	struct mock a, b, c, d;
	char data[PAGE];
	__u64 before;
	__u32 pt;

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, DEVICE(&a, .flags = flags));
	ASSERT_EQ(0, DEVICE(&b, .unit = 1, .flags = flags));
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_EQ(0, mock_dma(self->fd, b.stdev, BASE, data, PAGE, 0));

	/* Also by the id of the page table */
	ASSERT_EQ(0, mock_device(self->fd, 0,
				 &MOCK_CONFIG(.unit = 2, .flags = flags), &c));
	pt = a.hwpt;
	EXPECT_EQ(0, mock_attach(self->fd, c.stdev, &pt));
	EXPECT_EQ(a.hwpt, pt);

	/* A unit that can't share gets its own page table */
	ASSERT_EQ(0, DEVICE(&c, .unit = 3));
	EXPECT_NE(a.hwpt, c.hwpt);
	EXPECT_EQ(0, mock_dma(self->fd, c.stdev, BASE, data, PAGE, 0));
	pt = a.hwpt;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, c.stdev, &pt));
	/* Nor does a unit of another driver share, which is not even asked */
	before = attaches(self, 1);
	ASSERT_EQ(0, DEVICE(&d, .unit = 1, .flags = flags | MOCK_DEVICE_LATE));
	EXPECT_NE(a.hwpt, d.hwpt);
	EXPECT_NE(c.hwpt, d.hwpt);
	EXPECT_EQ(before + 1, attaches(self, 1));
	pt = a.hwpt;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, d.stdev, &pt));
	EXPECT_EQ(0, mock_dma(self->fd, d.stdev, BASE, data, PAGE, 0));
	EXPECT_EQ(0, REFS(self->buf, PAGE, 1));
	EXPECT_EQ(0, UNMAP(BASE, PAGE));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, a.stdev, BASE, data, 1, 0));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, b.stdev, BASE, data, 1, 0));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, c.stdev, BASE, data, 1, 0));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, d.stdev, BASE, data, 1, 0));
}

/*
 * VT-d units share a page table if their registers are equal. If one register
 * differs they do not, even if the driver would accept that (trap C7).
 */
TEST_F(driver, units_with_equal_registers_share)
{
	static const struct { __u64 cap, ecap; } registers[] = {
		{ 5, 6 }, { 5, 6 }, { 5, 7 }, { 4, 6 },
	};
	struct mock mocks[ARRAY_SIZE(registers)];
	struct iommu_hw_info_vtd info;
	__u32 length = sizeof(info), type, pt;
	int i, j;

	for (i = 0; i < ARRAY_SIZE(registers); i++) {
		ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i,
				    .flags = MOCK_DEVICE_REGISTERS |
					     MOCK_DEVICE_SHARES,
				    .cap = registers[i].cap,
				    .ecap = registers[i].ecap));
		for (j = 0; j < i; j++) {
			pt = mocks[j].hwpt;
			if (i == 1) {
				EXPECT_EQ(pt, mocks[i].hwpt);
				continue;
			}
			EXPECT_NE(pt, mocks[i].hwpt);
			EXPECT_ERRNO(EINVAL, mock_replace(self->fd,
							  mocks[i].stdev, &pt));
		}
	}
	ASSERT_EQ(0, hw_info(self->fd, mocks[2].idev, &info, &length, &type));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_INTEL_VTD, type);
	EXPECT_EQ(sizeof(info), length);
	EXPECT_EQ(5, info.cap_reg);
	EXPECT_EQ(7, info.ecap_reg);
}

/*
 * A device can't be bound if its IOMMU lets it reach all memory, or does not
 * use the page table that is attached (traps M7, M11)
 */
TEST_F(driver, unfit_IOMMU_is_ENODEV)
{
	struct mock mock;

	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_CANNOT_MAP));
	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_NO_REATTACH));
	/* IOMMUs that do so are known by their name, or that of their driver */
	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_UNFIT_NAME));
	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_UNFIT_DRIVER));
	/* Coherency is checked first */
	EXPECT_ERRNO(EINVAL, DEVICE(&mock, .flags = MOCK_DEVICE_NO_REATTACH |
				    MOCK_DEVICE_INCOHERENT));
	EXPECT_EQ(0, DEVICE(&mock));
}

/* Domain ids are few: so many page tables can be made for a device (trap M8) */
TEST_F(driver, tables_of_a_device_are_limited)
{
	__u32 hwpts[64], other, more;
	struct mock a, b;
	int i;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	for (i = 0; i < 64; i++)
		ASSERT_EQ(0, alloc_hwpt(self->fd, a.idev,
					i & 1 ? other : self->ioas, &hwpts[i]));
	EXPECT_ERRNO(ENOSPC, alloc_hwpt(self->fd, a.idev, self->ioas, &more));
	EXPECT_ERRNO(ENOSPC, alloc_hwpt(self->fd, a.idev, other, &more));
	EXPECT_EQ(0, alloc_hwpt(self->fd, b.idev, self->ioas, &more));
	EXPECT_EQ(0, destroy(self->fd, hwpts[7]));
	EXPECT_EQ(0, alloc_hwpt(self->fd, a.idev, other, &hwpts[7]));
	EXPECT_ERRNO(ENOSPC, alloc_hwpt(self->fd, a.idev, other, &more));
}

/*
 * A device and its group end with their last user: no request that fails keeps
 * them, and neither does a page table that is gone
 */
TEST_F(driver, device_and_group_are_released)
{
	int groups = nr_entries(IOMMU_GROUPS);
	int other = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct mock mock, second;
	__u32 hwpt;

	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_CANNOT_MAP));
	EXPECT_ERRNO(ENODEV, DEVICE(&mock, .flags = MOCK_DEVICE_NO_REATTACH));
	EXPECT_EQ(groups, nr_entries(IOMMU_GROUPS));
	ASSERT_EQ(0, DEVICE(&mock));
	EXPECT_ERRNO(EPERM, mock_device(other, 0,
					&MOCK_CONFIG(.join = mock.number),
					&second));
	ASSERT_EQ(0, DEVICE(&second, .join = mock.number));
	ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_EQ(groups + 1, nr_entries(IOMMU_GROUPS));
	EXPECT_EQ(0, destroy(self->fd, second.stdev));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_EQ(groups, nr_entries(IOMMU_GROUPS));
	/* The number of a device is free when the device is */
	ASSERT_EQ(0, DEVICE(&second));
	EXPECT_EQ(mock.number, second.number);
	close(other);
}

TEST_HARNESS_MAIN

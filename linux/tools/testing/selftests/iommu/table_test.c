// SPDX-License-Identifier: GPL-2.0
/*
 * Devices and page tables, with mock devices for what real ones here don't do:
 * several units, apertures and capabilities, odd reserved regions, and drivers
 * that fail at any point.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "../kselftest_harness.h"
#include "mock_util.h"

#define START MOCK_APERTURE_START
#define NR_PAGES 16
#define LENGTH (NR_PAGES * PAGE)
/* A range that cases reserve */
#define REGION (START + 0x100000)

FIXTURE(table)
{
	int fd;
	__u32 ioas, other;
	char *buf, *other_buf;
	long pinned;
};

/* Two IOAS, with different memory at the same IOVA */
FIXTURE_SETUP(table)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	self->other_buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->other_buf);
	fill_bytes(self->buf, LENGTH, 1);
	fill_bytes(self->other_buf, LENGTH, 2);
	self->pinned = status_kb("VmPin");
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, LENGTH,
			    START));
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)self->other_buf,
			    LENGTH, START));
}

FIXTURE_TEARDOWN(table)
{
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_TRUE(mock_is_unpinned(self->other_buf, LENGTH));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* A device that is bound but not attached */
#define DEVICE(_mock, ...)                                                     \
	mock_device(self->fd, 0, &MOCK_CONFIG(__VA_ARGS__), _mock)

static int attach(struct _test_data_table *self, struct mock *mock, __u32 pt_id)
{
	int ret = mock_attach(self->fd, mock->stdev, &pt_id);

	if (!ret)
		mock->hwpt = pt_id;
	return ret;
}

static int move(struct _test_data_table *self, struct mock *mock, __u32 pt_id)
{
	int ret = mock_replace(self->fd, mock->stdev, &pt_id);

	if (!ret)
		mock->hwpt = pt_id;
	return ret;
}

/* The id of the page table can't be written */
static int attach_without_answer(struct _test_data_table *self,
				 struct mock *mock, __u32 pt_id)
{
	struct iommu_test_cmd *cmd = memory(PAGE, MAP_PRIVATE);

	*cmd = (struct iommu_test_cmd){
		.size = sizeof(*cmd),
		.op = IOMMU_TEST_OP_MOCK_ATTACH,
		.id = mock->stdev,
		.mock_domain_replace.pt_id = pt_id,
	};
	mprotect(cmd, PAGE, PROT_READ);
	return ioctl(self->fd, IOMMU_TEST_CMD, cmd);
}

static int detach(struct _test_data_table *self, struct mock *mock)
{
	return mock_detach(self->fd, mock->stdev);
}

/* Does the device reach exactly this memory? NULL: does it reach nothing? */
static bool reaches(struct _test_data_table *self, struct mock *mock,
		    const char *memory)
{
	char data[LENGTH];

	if (!memory)
		return mock_dma(self->fd, mock->stdev, START, data, 1, 0) &&
		       errno == ENXIO;
	return !mock_dma(self->fd, mock->stdev, START, data, LENGTH, 0) &&
	       !memcmp(data, memory, LENGTH);
}

/* Is there no page table with this id? */
static bool is_gone(struct _test_data_table *self, __u32 hwpt)
{
	return mock_check_map(self->fd, hwpt, START, self->buf, 0) &&
	       errno == ENOENT;
}

/* State of both IOAS, which a failed request must not change */
struct state {
	struct ioas_state of[2];
};

static struct state state_of(struct _test_data_table *self)
{
	return (struct state){ { ioas_state(self->fd, self->ioas),
				 ioas_state(self->fd, self->other) } };
}

static bool same_state(struct _test_data_table *self, const struct state *before)
{
	return is_ioas_state(self->fd, self->ioas, &before->of[0]) &&
	       is_ioas_state(self->fd, self->other, &before->of[1]);
}

/* Ids */

TEST_F(table, attach_by_id_of_table)
{
	struct mock a, b, c;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	EXPECT_EQ(0, mock_domain(self->fd, a.hwpt, &b));
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_ERRNO(ENOENT, mock_domain(self->fd, 99, &c));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, a.idev, &c));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, a.stdev, &c));
	EXPECT_ERRNO(EINVAL, move(self, &a, b.idev));
	EXPECT_ERRNO(ENOENT, move(self, &a, 99));
	EXPECT_ERRNO(ENOENT, mock_replace(self->fd, a.idev, &self->ioas));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_TRUE(reaches(self, &b, self->buf));
}

/* Ids are reused, and a wrong id does not find another object (trap B9) */
TEST_F(table, ids_come_back)
{
	struct mock a, b;
	__u32 first;
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, a.hwpt));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, a.idev));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	first = a.stdev;
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(0, destroy(self->fd, a.stdev));
		EXPECT_ERRNO(ENOENT, destroy(self->fd, a.stdev));
		EXPECT_ERRNO(ENOENT, destroy(self->fd, a.idev));
		EXPECT_TRUE(is_gone(self, a.hwpt));
		ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
		ASSERT_EQ(first, a.stdev);
	}
	/* A second device attaches; then the first is destroyed */
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &b));
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_EQ(0, destroy(self->fd, a.stdev));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	EXPECT_EQ(0, mock_check_map(self->fd, b.hwpt, START, self->buf,
				    LENGTH));
}

/*
 * Devices attach by id to a page table that is in the list of its IOAS already.
 * Each area is mapped there once (trap B11).
 */
TEST_F(table, table_is_listed_once)
{
	struct mock mocks[4];
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mocks[0]));
	for (i = 1; i < 4; i++)
		ASSERT_EQ(0, mock_domain(self->fd, mocks[0].hwpt, &mocks[i]));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, attach(self, &mocks[i], mocks[0].hwpt));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    START + LENGTH));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, destroy(self->fd, mocks[i].stdev));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START + LENGTH, PAGE, NULL));
	EXPECT_TRUE(reaches(self, &mocks[3], self->buf));
	EXPECT_EQ(0, destroy(self->fd, mocks[3].stdev));
	EXPECT_TRUE(is_gone(self, mocks[0].hwpt));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

/*
 * Move
 */

/* A page table exists as long as a device is attached to it (trap B9) */
TEST_F(table, move_and_back)
{
	struct iommu_test_mock_stats before, after;
	struct mock a, b;
	__u32 old, hwpt;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &b));
	old = a.hwpt;
	/*
	 * To the page table that it has, by either id. The driver is not
	 * called, so DMA goes on, also if the answer can't be written.
	 */
	ASSERT_EQ(0, mock_query(self->fd, 0, &before));
	EXPECT_EQ(0, move(self, &a, self->ioas));
	EXPECT_EQ(old, a.hwpt);
	EXPECT_EQ(0, move(self, &a, old));
	EXPECT_EQ(old, a.hwpt);
	EXPECT_ERRNO(EFAULT, attach_without_answer(self, &a, self->ioas));
	EXPECT_ERRNO(EFAULT, attach_without_answer(self, &a, old));
	ASSERT_EQ(0, mock_query(self->fd, 0, &after));
	EXPECT_EQ(before.attaches, after.attaches);
	EXPECT_TRUE(reaches(self, &a, self->buf));

	EXPECT_EQ(0, move(self, &a, self->other));
	EXPECT_NE(old, a.hwpt);
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	hwpt = a.hwpt;
	EXPECT_EQ(0, move(self, &a, b.hwpt));
	EXPECT_TRUE(is_gone(self, hwpt));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_TRUE(mock_is_unpinned(self->other_buf, LENGTH));

	EXPECT_EQ(0, move(self, &a, self->other));
	EXPECT_EQ(0, move(self, &b, a.hwpt));
	EXPECT_TRUE(is_gone(self, old));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_TRUE(reaches(self, &b, self->other_buf));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_TRUE(reaches(self, &b, NULL));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
}

/* Two page tables of one IOMMU in one IOAS get the same mappings */
TEST_F(table, two_tables_of_an_ioas)
{
	struct mock a, b, c;
	int i;

	/* A page table that enforces coherency is not for devices that can't */
	ASSERT_EQ(0, DEVICE(&a, .flags = MOCK_DEVICE_ENFORCES));
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &b));
	ASSERT_NE(a.hwpt, b.hwpt);
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 1),
				 &c));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, map_at(self->fd, self->ioas,
				    (uintptr_t)self->other_buf + i * PAGE,
				    PAGE, START + LENGTH + i * PAGE));
		EXPECT_EQ(0, mock_check_map(self->fd, a.hwpt, START + LENGTH,
					    self->other_buf, (i + 1) * PAGE));
		EXPECT_EQ(0, mock_check_map(self->fd, b.hwpt, START + LENGTH,
					    self->other_buf, (i + 1) * PAGE));
		EXPECT_EQ(0, mock_check_map(self->fd, c.hwpt, START + LENGTH,
					    self->other_buf, (i + 1) * PAGE));
	}
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, LENGTH, 1));
	EXPECT_EQ(0, destroy(self->fd, b.stdev));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, LENGTH, NULL));
	EXPECT_TRUE(reaches(self, &a, NULL));
	EXPECT_TRUE(reaches(self, &c, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

/*
 * The driver of a unit fails a map call after @skip others. What was mapped
 * before is unmapped in all page tables, whatever the driver has left.
 */
static void check_failed_call(struct __test_metadata *_metadata,
			      struct _test_data_table *self, __u32 unit,
			      __u32 skip, __u32 flags)
{
	const __u64 there = START + LENGTH;
	struct iommu_test_mock_stats stats;
	int i;

	ASSERT_EQ(0, mock_fail(self->fd, unit, MOCK_CALL_MAP, skip, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				   LENGTH, there));
	ASSERT_EQ(self->pinned, status_kb("VmPin"));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, mock_query(self->fd, i, &stats));
		if (!(flags & MOCK_DEVICE_KEEPS))
			ASSERT_EQ(stats.mapped, stats.unmapped);
		ASSERT_EQ(0, stats.unsynced);
	}
	/* A leftover would be in the way of this map */
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, LENGTH,
			    there));
	ASSERT_EQ(0, unmap(self->fd, self->ioas, there, LENGTH, NULL));
}

/* With several page tables, and when another one is filled */
static void check_failed_map(struct __test_metadata *_metadata,
			     struct _test_data_table *self, __u32 flags)
{
	const __u64 there = START + LENGTH;
	struct mock mocks[3], more;
	int i, skip;

	/* One call per page, even if memory is contiguous */
	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, mock_device(self->fd, self->ioas,
					 &MOCK_CONFIG(.unit = i,
						      .flags = flags),
					 &mocks[i]));
	ASSERT_EQ(0, unmap(self->fd, self->ioas, START, LENGTH, NULL));
	for (i = 0; i < 3; i++)
		for (skip = 0; skip < 4; skip++)
			check_failed_call(_metadata, self, i, skip, flags);

	/* The same when a page table is filled */
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, map_at(self->fd, self->ioas,
				    (uintptr_t)self->buf + i * 2 * PAGE, PAGE,
				    there + i * PAGE));
	ASSERT_EQ(0, DEVICE(&more, .unit = 3, .flags = flags));
	for (i = 0; i < 4; i++) {
		struct state state = state_of(self);

		ASSERT_EQ(0, mock_fail(self->fd, 3, MOCK_CALL_MAP, i, 1,
				       EXDEV));
		EXPECT_ERRNO(EXDEV, attach(self, &more, self->ioas));
		EXPECT_TRUE(same_state(self, &state));
	}
	EXPECT_EQ(0, attach(self, &more, self->ioas));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, destroy(self->fd, mocks[i].stdev));
	EXPECT_EQ(0, detach(self, &more));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	ASSERT_EQ(0, mock_fail(self->fd, 3, MOCK_CALL_MAP, 2, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, attach(self, &more, self->ioas));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, attach(self, &more, self->ioas));
}

TEST_F(table, failed_map_is_undone)
{
	check_failed_map(_metadata, self, 0);
}

TEST_F(table, failed_map_leaves_half)
{
	check_failed_map(_metadata, self, MOCK_DEVICE_KEEPS);
}

/* Page tables that the program makes */

/*
 * Such a page table exists before and after any device, and is used only by its
 * id
 */
TEST_F(table, table_of_the_user)
{
	__u32 hwpt, nested;
	struct mock a, b;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b));
	EXPECT_ERRNO(ENOENT, alloc_hwpt(self->fd, a.stdev, self->ioas, &hwpt));
	EXPECT_ERRNO(ENOENT, alloc_hwpt(self->fd, a.idev, 99, &hwpt));
	EXPECT_ERRNO(EINVAL, alloc_hwpt(self->fd, a.idev, b.idev, &hwpt));
	ASSERT_EQ(0, alloc_hwpt(self->fd, a.idev, self->ioas, &hwpt));
	EXPECT_ERRNO(EINVAL, alloc_hwpt(self->fd, a.idev, hwpt, &nested));
	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, START, self->buf, LENGTH));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, LENGTH, 1));
	EXPECT_TRUE(reaches(self, &a, NULL));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, MOCK_APERTURE_START,
				MOCK_APERTURE_LAST - MOCK_APERTURE_START + 1));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, 0, PAGE));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));

	EXPECT_EQ(0, attach(self, &a, self->ioas));
	EXPECT_NE(hwpt, a.hwpt);
	EXPECT_EQ(0, move(self, &a, hwpt));
	EXPECT_EQ(0, attach(self, &b, hwpt));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, hwpt));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	EXPECT_EQ(0, destroy(self->fd, b.stdev));
	EXPECT_EQ(0, move(self, &a, self->other));
	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, START, self->buf, LENGTH));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
}

/* A device moves around between page tables; the others still exist */
TEST_F(table, rotation)
{
	struct mock mock;
	__u32 ids[4];
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev,
					i % 2 ? self->other : self->ioas,
					&ids[i]));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, LENGTH, 1));
	for (i = 0; i < 12; i++) {
		EXPECT_EQ(0, move(self, &mock, ids[i % 4]));
		EXPECT_ERRNO(EBUSY, destroy(self->fd, ids[i % 4]));
		EXPECT_TRUE(reaches(self, &mock, i % 2 ? self->other_buf :
							 self->buf));
	}
	EXPECT_EQ(0, detach(self, &mock));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, destroy(self->fd, ids[i]));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * Memory that can't be pinned, or that is mapped beyond the reach of the IOMMU
 */
TEST_F(table, failed_table_is_undone)
{
	char *own = memory(PAGE, MAP_PRIVATE), *hole;
	bool warned = has_warned();
	struct state state;
	struct mock mock;
	__u32 hwpt;

	/* In front of the hole is memory that is unmapped first, then unpinned */
	*own = 1;
	ASSERT_EQ(0, DEVICE(&mock));
	hole = memory(PAGE, MAP_PRIVATE);
	ASSERT_EQ(0, munmap(hole, PAGE));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)own, PAGE,
			    START + LENGTH));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)hole, PAGE,
			    START + LENGTH + PAGE));
	state = state_of(self);
	EXPECT_ERRNO(EFAULT, alloc_hwpt(self->fd, mock.idev, self->ioas,
					&hwpt));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_EQ(warned, has_warned());
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START + LENGTH, 2 * PAGE,
			   NULL));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_TRUE(same_state(self, &state));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_TRUE(same_state(self, &state));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    MOCK_APERTURE_LAST + 1));
	state = state_of(self);
	EXPECT_ERRNO(EADDRINUSE, alloc_hwpt(self->fd, mock.idev, self->ioas,
					    &hwpt));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

/* Capabilities of the IOMMU */

/* Two kinds of devices get one page table each (trap C6) */
TEST_F(table, coherency_is_kept)
{
	struct mock enforces, plain;

	ASSERT_EQ(0, DEVICE(&enforces, .flags = MOCK_DEVICE_ENFORCES));
	ASSERT_EQ(0, DEVICE(&plain));
	EXPECT_EQ(0, attach(self, &enforces, self->ioas));
	EXPECT_ERRNO(EINVAL, attach(self, &plain, enforces.hwpt));
	EXPECT_TRUE(reaches(self, &plain, NULL));
	EXPECT_EQ(0, attach(self, &plain, self->ioas));
	EXPECT_NE(enforces.hwpt, plain.hwpt);
	EXPECT_TRUE(reaches(self, &plain, self->buf));
	EXPECT_TRUE(reaches(self, &enforces, self->buf));
	/* The reverse works: enforcing is not required */
	EXPECT_EQ(0, move(self, &enforces, plain.hwpt));
	EXPECT_TRUE(reaches(self, &enforces, self->buf));

	/* A device whose DMA no IOMMU can make coherent is refused */
	EXPECT_ERRNO(EINVAL, DEVICE(&plain, .flags = MOCK_DEVICE_INCOHERENT));
}

/* Data of the IOMMU, for a buffer of any size */
TEST_F(table, hw_info)
{
	static const __u32 sizes[] = { 0, 4, 8, 9, 100 };
	const __u32 several_mib = 5 * SZ_2M / 2 + 5;
	struct iommu_test_hw_info *info;
	__u32 length, type;
	__u8 data[128], *large;
	struct mock mock;
	int i;

	info = (struct iommu_test_hw_info *)data;
	ASSERT_EQ(0, DEVICE(&mock));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(data, 0xff, sizeof(data));
		length = sizes[i];
		EXPECT_EQ(0, hw_info(self->fd, mock.idev, data, &length,
				     &type));
		EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, type);
		EXPECT_EQ(sizeof(*info), length);
		EXPECT_EQ(sizes[i] >= 4 ? 0 : 0xffffffff, info->flags);
		EXPECT_EQ(sizes[i] >= 8 ? IOMMU_HW_INFO_SELFTEST_REGVAL :
					  0xffffffff, info->test_reg);
		EXPECT_EQ(sizes[i] > 8 ? 0 : 0xff, data[8]);
		EXPECT_EQ(0xff, data[sizes[i] > 8 ? sizes[i] : 8]);
	}
	/* The rest of the buffer is zeroed, and nothing after it */
	large = memory(2 * SZ_2M + SZ_2M, MAP_PRIVATE);
	ASSERT_NE(MAP_FAILED, large);
	memset(large, 0xff, 3 * SZ_2M);
	length = several_mib;
	EXPECT_EQ(0, hw_info(self->fd, mock.idev, large, &length, &type));
	EXPECT_EQ(0, large[8]);
	EXPECT_EQ(0, memcmp(large + 8, large + 9, several_mib - 9));
	EXPECT_EQ(0xff, large[several_mib]);

	length = 8;
	EXPECT_ERRNO(ENOENT, hw_info(self->fd, self->ioas, data, &length,
				     &type));
	EXPECT_ERRNO(EFAULT, hw_info(self->fd, mock.idev, (void *)8, &length,
				     &type));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_ERRNO(ENOENT, hw_info(self->fd, mock.idev, data, &length,
				     &type));
}

/*
 * A process whose buffer takes seconds to zero can be killed. The buffer is one
 * huge page again and again, and another one at the end.
 * The mappings alone take half a minute with KASAN.
 */
TEST_F_TIMEOUT(table, hw_info_of_gigabytes_can_be_killed, 120)
{
	__u32 length = 0xffe00000, type;
	struct mock mock;
	char *data;
	pid_t pid;

	ASSERT_EQ(0, DEVICE(&mock));
	data = repeated_huge_page(memfd_create("table", MFD_HUGETLB), length);
	ASSERT_NE(NULL, data);
	data[SZ_2M - 1] = 1;
	data[length - 1] = 1;
	pid = fork();
	if (!pid)
		_exit(hw_info(self->fd, mock.idev, data, &length, &type));
	EXPECT_TRUE(can_be_killed(pid));
	EXPECT_EQ(0, data[SZ_2M - 1]);
	EXPECT_EQ(1, data[length - 1]);
	munmap(data, length);
}

/* Each unit has a page table of its own, with its own limits (trap C7) */
TEST_F(table, units_have_tables_of_their_own)
{
	struct mock mocks[3];
	int i, j;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i,
				    .aperture_last = MOCK_APERTURE_LAST >> i,
				    .flags = i ? 0 : MOCK_DEVICE_ENFORCES));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, attach(self, &mocks[i], self->ioas));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, START,
					(MOCK_APERTURE_LAST >> i) - START + 1));
		EXPECT_FALSE(is_mappable(self->fd, self->ioas, START,
					 (MOCK_APERTURE_LAST >> i) - START + 2));
		for (j = 0; j < i; j++) {
			EXPECT_NE(mocks[i].hwpt, mocks[j].hwpt);
			EXPECT_ERRNO(EINVAL, move(self, &mocks[i],
						  mocks[j].hwpt));
			EXPECT_TRUE(reaches(self, &mocks[i], self->buf));
		}
	}
	EXPECT_EQ(0, detach(self, &mocks[2]));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, START,
				(MOCK_APERTURE_LAST >> 1) - START + 1));
}

/*
 * A device with a smaller aperture shares the page table if nothing is mapped
 * outside of it
 */
TEST_F(table, aperture_of_the_second_device)
{
	const __u64 high = MOCK_APERTURE_LAST + 1 - PAGE;
	struct mock a, b, c, d, e, *all[] = { &a, &b, &c, &d, &e };
	struct state state;
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	ASSERT_EQ(0, DEVICE(&b, .aperture_last = MOCK_APERTURE_LAST / 2));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    high));
	state = state_of(self);
	EXPECT_ERRNO(EADDRINUSE, attach(self, &b, self->ioas));
	EXPECT_ERRNO(EADDRINUSE, attach(self, &b, a.hwpt));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_TRUE(reaches(self, &b, NULL));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, high, PAGE, NULL));
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    PAGE, high));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	/* Another device does not widen it */
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &c));
	EXPECT_EQ(a.hwpt, c.hwpt);
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, high, PAGE));

	/* The same for the lower end */
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, LENGTH, NULL));
	ASSERT_EQ(0, DEVICE(&d, .aperture_start = 2 * START));
	EXPECT_EQ(0, attach(self, &d, self->ioas));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, START, PAGE));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &e));
	EXPECT_EQ(a.hwpt, e.hwpt);
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, START, PAGE));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, 2 * START, PAGE));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, high, PAGE));

	/* What any of them reserved is free again when all are gone */
	for (i = 0; i < ARRAY_SIZE(all); i++)
		EXPECT_EQ(0, destroy(self->fd, all[i]->stdev));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, START, PAGE));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, high, PAGE));
}

/*
 * Page sizes above that of the CPU are refused; the smallest one is the
 * alignment (trap A13)
 */
TEST_F(table, page_sizes)
{
	struct state state = state_of(self);
	struct mock mock;
	int late;

	for (late = 0; late < 2; late++) {
		__u32 flags = late ? MOCK_DEVICE_LATE : 0;

		ASSERT_EQ(0, DEVICE(&mock, .page_sizes = 2 * PAGE,
				    .flags = flags));
		EXPECT_ERRNO(EINVAL, attach(self, &mock, self->ioas));
		EXPECT_TRUE(same_state(self, &state));
		EXPECT_TRUE(reaches(self, &mock, NULL));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));

		ASSERT_EQ(0, DEVICE(&mock, .page_sizes = PAGE,
				    .flags = flags));
		EXPECT_EQ(0, attach(self, &mock, self->ioas));
		EXPECT_TRUE(reaches(self, &mock, self->buf));
		EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas,
					    (uintptr_t)self->buf, MOCK_PAGE,
					    START + LENGTH));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
		EXPECT_TRUE(same_state(self, &state));
	}
}

/*
 * Drivers use many errnos for a page table that does not suit. If the program
 * named the page table, the error is EINVAL; if it named the IOAS, the kernel
 * tries another one (trap C7).
 */
TEST_F(table, what_drivers_say)
{
	static const int says[] = {
		EOPNOTSUPP, EFAULT, ENXIO, EXDEV, EINVAL, EBUSY, EIO, ENOSPC,
	};
	static const int is_final[] = { ENOMEM, ENODEV, EPERM, EADDRINUSE };
	struct mock a, b;
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	ASSERT_EQ(0, DEVICE(&b));
	for (i = 0; i < ARRAY_SIZE(says); i++) {
		struct state state = state_of(self);

		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
				       says[i]));
		EXPECT_ERRNO(EINVAL, attach(self, &b, a.hwpt));
		EXPECT_TRUE(same_state(self, &state));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 2,
				       says[i]));
		EXPECT_ERRNO(says[i], attach(self, &b, self->ioas));
		EXPECT_TRUE(same_state(self, &state));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
				       says[i]));
		EXPECT_EQ(0, attach(self, &b, self->ioas));
		EXPECT_NE(a.hwpt, b.hwpt);
		EXPECT_TRUE(reaches(self, &b, self->buf));
		EXPECT_EQ(0, detach(self, &b));
		EXPECT_TRUE(reaches(self, &b, NULL));
		EXPECT_TRUE(same_state(self, &state));
	}
	/* Another page table would not help */
	for (i = 0; i < ARRAY_SIZE(is_final); i++) {
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
				       is_final[i]));
		EXPECT_ERRNO(is_final[i], attach(self, &b, a.hwpt));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
				       is_final[i]));
		EXPECT_ERRNO(is_final[i], attach(self, &b, self->ioas));
	}
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_EQ(a.hwpt, b.hwpt);
}

/*
 * Reserved regions
 */

#define RESERVED(_start, _length) { _start, _length, MOCK_REGION_RESERVED }

#define REGIONS(...)                                                           \
	.nr_regions = ARRAY_SIZE(((struct iommu_test_mock_region[]){           \
		__VA_ARGS__ })),                                               \
	.regions = (uintptr_t)(struct iommu_test_mock_region[]){ __VA_ARGS__ }

/* Each type is reserved as long as the device is attached */
TEST_F(table, reserved_regions)
{
	static const struct {
		__u32 type;
		bool reserved;
	} types[] = {
		{ MOCK_REGION_DIRECT, true },
		{ MOCK_REGION_DIRECT_RELAXABLE, false },
		{ MOCK_REGION_RESERVED, true },
		{ MOCK_REGION_MSI, true },
		{ MOCK_REGION_SW_MSI, true },
	};
	struct iommu_test_mock_region region = { REGION, PAGE };
	struct mock mock;
	int i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		struct state state = state_of(self);

		region.type = types[i].type;
		ASSERT_EQ(0, DEVICE(&mock, .nr_regions = 1,
				    .regions = (uintptr_t)&region));
		EXPECT_TRUE(same_state(self, &state));
		EXPECT_EQ(0, attach(self, &mock, self->ioas));
		EXPECT_EQ(!types[i].reserved,
			  is_mappable(self->fd, self->ioas, REGION, PAGE));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION - PAGE,
					PAGE));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION + PAGE,
					PAGE));
		if (types[i].reserved)
			EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas,
						    (uintptr_t)self->buf, PAGE,
						    REGION));
		EXPECT_EQ(0, move(self, &mock, self->other));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
		EXPECT_EQ(!types[i].reserved,
			  is_mappable(self->fd, self->other, REGION, PAGE));
		EXPECT_EQ(0, detach(self, &mock));
		EXPECT_TRUE(same_state(self, &state));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	}
}

/* Regions that end with the IOVA space or beyond it, or are empty (trap A16) */
TEST_F(table, odd_regions)
{
	const __u64 top = -PAGE;
	struct iommu_iova_range ranges[8];
	__u64 alignment = 0;
	struct mock mock;
	__u32 nr = 8;

	ASSERT_EQ(0, DEVICE(&mock, .aperture_start = 0,
			    .aperture_last = ~0ULL,
			    REGIONS(RESERVED(top, PAGE),
				    RESERVED(REGION, 0),
				    { 0, 0, MOCK_REGION_DIRECT },
				    { 0, 0, MOCK_REGION_MSI })));
	EXPECT_EQ(0, attach(self, &mock, self->ioas));
	EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr, NULL));
	EXPECT_EQ(1, nr);
	EXPECT_EQ(0, ranges[0].start);
	EXPECT_EQ(top - 1, ranges[0].last);
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    PAGE, top));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    REGION));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));

	nr = 8;
	ASSERT_EQ(0, DEVICE(&mock, .aperture_start = 0,
			    .aperture_last = ~0ULL,
			    REGIONS(RESERVED(top - PAGE, 5 * PAGE),
				    { 0, PAGE, MOCK_REGION_DIRECT })));
	EXPECT_EQ(0, attach(self, &mock, self->ioas));
	EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr, NULL));
	EXPECT_EQ(1, nr);
	EXPECT_EQ(PAGE, ranges[0].start);
	EXPECT_EQ(top - PAGE - 1, ranges[0].last);
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));

	/* No usable range is left */
	ASSERT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	nr = 8;
	ASSERT_EQ(0, DEVICE(&mock, .aperture_start = 0,
			    .aperture_last = ~0ULL,
			    REGIONS(RESERVED(0, ~0ULL),
				    { ~0ULL, 1, MOCK_REGION_DIRECT })));
	EXPECT_EQ(0, attach(self, &mock, self->ioas));
	EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr, &alignment));
	EXPECT_EQ(0, nr);
	EXPECT_EQ(MOCK_PAGE, alignment);
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    PAGE, START));
}

/*
 * The range where the kernel maps doorbells stays reserved as long as the page
 * table exists. It does not if the group also has an MSI range that its IOMMU
 * does not translate, in any order.
 */
TEST_F(table, window_of_hardware_wins)
{
	const __u64 last = REGION + 2 * PAGE - 1;
	struct mock mock;
	__u32 hwpt;
	int i;

	for (i = 0; i < 4; i++) {
		__u32 type = i < 2 ? MOCK_REGION_MSI : MOCK_REGION_RESERVED;
		__u64 other = REGION + (i % 2 ? 2 * PAGE : -PAGE);

		ASSERT_EQ(0, DEVICE(&mock,
				    REGIONS({ REGION, 2 * PAGE, MOCK_REGION_SW_MSI },
					    { other, PAGE, type })));
		ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
		EXPECT_EQ(0, attach(self, &mock, hwpt));
		EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
		EXPECT_EQ(0, detach(self, &mock));
		EXPECT_EQ(i < 2, is_mappable(self->fd, self->ioas, REGION, 1));
		EXPECT_EQ(i < 2, is_mappable(self->fd, self->ioas, last, 1));
		EXPECT_EQ(0, destroy(self->fd, hwpt));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	}
}

/* Two groups share a page table, and the range where doorbells are mapped */
TEST_F(table, window_is_reserved_once)
{
	struct mock a, b;

	ASSERT_EQ(0, DEVICE(&a, REGIONS({ REGION, PAGE, MOCK_REGION_SW_MSI })));
	ASSERT_EQ(0, DEVICE(&b, REGIONS({ REGION, PAGE, MOCK_REGION_SW_MSI })));
	EXPECT_EQ(0, attach(self, &a, self->ioas));
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_EQ(0, attach(self, &a, self->ioas));
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
}

/* A mapping, or a range that the program has allowed, overlaps the region */
TEST_F(table, regions_that_are_in_the_way)
{
	struct iommu_iova_range allowed = { START, REGION };
	struct state state = state_of(self);
	struct mock mock;
	int i;

	/* The higher or the lower one of two regions */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, DEVICE(&mock,
				    REGIONS(RESERVED(START + PAGE, 1),
					    RESERVED(i ? REGION : PAGE, 1))));
		EXPECT_ERRNO(EADDRINUSE, attach(self, &mock, self->ioas));
		EXPECT_TRUE(same_state(self, &state));
		EXPECT_TRUE(reaches(self, &mock, NULL));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	}

	ASSERT_EQ(0, DEVICE(&mock, REGIONS(RESERVED(REGION, PAGE))));
	EXPECT_EQ(0, allow_iovas(self->fd, self->ioas, &allowed, 1));
	EXPECT_ERRNO(EADDRINUSE, attach(self, &mock, self->ioas));
	allowed.last--;
	EXPECT_EQ(0, allow_iovas(self->fd, self->ioas, &allowed, 1));
	EXPECT_EQ(0, attach(self, &mock, self->ioas));
}

/*
 * A move that fails at any step: the device works as before, and the same
 * ranges are reserved (traps A15, C3)
 */
static void check_failed_moves(struct __test_metadata *_metadata,
			       struct _test_data_table *self, struct mock *mock,
			       __u32 target, int nr_maps)
{
	struct state state = state_of(self);
	__u32 old = mock->hwpt;
	int skip;

#define STAYS()                                                                \
	do {                                                                   \
		EXPECT_TRUE(same_state(self, &state));                         \
		EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE)); \
		EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas,              \
					    (uintptr_t)self->buf, PAGE,        \
					    REGION));                          \
		EXPECT_TRUE(reaches(self, mock, self->buf));                   \
		EXPECT_EQ(0, mock_check_map(self->fd, old, START, self->buf,   \
					    LENGTH));                          \
	} while (0)
	/*
	 * The driver refuses the new page table; the old one is attached again
	 */
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, ENOMEM));
	EXPECT_ERRNO(ENOMEM, move(self, mock, target));
	STAYS();
	/* Mapping in a new page table fails */
	for (skip = 0; skip < nr_maps; skip++) {
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, skip, 1,
				       ENOMEM));
		EXPECT_ERRNO(ENOMEM, move(self, mock, target));
		STAYS();
	}
	/* The answer can't be written */
	EXPECT_ERRNO(EFAULT, attach_without_answer(self, mock, target));
	STAYS();
}

/* To another IOAS, with a new page table or an existing one */
TEST_F(table, failed_move_to_another_ioas)
{
	struct mock mock, second;
	struct state state;

	ASSERT_EQ(0, DEVICE(&mock, REGIONS(RESERVED(REGION, PAGE))));
	ASSERT_EQ(0, DEVICE(&second));
	ASSERT_EQ(0, attach(self, &mock, self->ioas));
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)self->other_buf,
			    PAGE, START + LENGTH));
	check_failed_moves(_metadata, self, &mock, self->other, 2);
	ASSERT_EQ(0, attach(self, &second, self->other));
	check_failed_moves(_metadata, self, &mock, second.hwpt, 0);
	/* A mapping there overlaps the device's reserved region */
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)self->buf, PAGE,
			    REGION));
	state = state_of(self);
	EXPECT_ERRNO(EADDRINUSE, move(self, &mock, self->other));
	EXPECT_ERRNO(EADDRINUSE, move(self, &mock, second.hwpt));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_TRUE(reaches(self, &mock, self->buf));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->other, REGION, PAGE, NULL));
	EXPECT_EQ(0, move(self, &mock, self->other));
	EXPECT_TRUE(reaches(self, &mock, self->other_buf));
}

/* To another page table of the same IOAS */
TEST_F(table, failed_move_in_the_same_ioas)
{
	struct mock mock, enforces;
	__u32 old;

	ASSERT_EQ(0, DEVICE(&enforces, .flags = MOCK_DEVICE_ENFORCES));
	ASSERT_EQ(0, attach(self, &enforces, self->ioas));
	ASSERT_EQ(0, DEVICE(&mock, REGIONS(RESERVED(REGION, PAGE))));
	ASSERT_EQ(0, attach(self, &mock, self->ioas));
	ASSERT_NE(enforces.hwpt, mock.hwpt);
	old = mock.hwpt;
	/* It can't use that page table; the other device could use this one */
	EXPECT_ERRNO(EINVAL, move(self, &mock, enforces.hwpt));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(reaches(self, &mock, self->buf));

	ASSERT_EQ(0, destroy(self->fd, enforces.stdev));
	ASSERT_EQ(0, DEVICE(&enforces, .flags = MOCK_DEVICE_ENFORCES,
			    REGIONS(RESERVED(REGION, PAGE))));
	/* Make page tables that the two devices do not share */
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EINVAL));
	ASSERT_EQ(0, attach(self, &enforces, self->ioas));
	ASSERT_NE(old, enforces.hwpt);
	EXPECT_EQ(0, detach(self, &mock));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EINVAL));
	ASSERT_EQ(0, attach(self, &mock, self->ioas));
	ASSERT_NE(mock.hwpt, enforces.hwpt);
	check_failed_moves(_metadata, self, &enforces, mock.hwpt, 0);
	EXPECT_EQ(0, move(self, &enforces, mock.hwpt));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
}

/*
 * From a page table of the program to its IOAS. An existing one does not suit,
 * and another is made. Trying them does not give up reserved regions (trap
 * A15).
 */
TEST_F(table, move_from_own_table_to_its_ioas)
{
	struct mock mock, enforces;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&enforces, .flags = MOCK_DEVICE_ENFORCES));
	ASSERT_EQ(0, attach(self, &enforces, self->ioas));
	ASSERT_EQ(0, DEVICE(&mock, REGIONS(RESERVED(REGION, PAGE))));
	ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	ASSERT_EQ(0, attach(self, &mock, hwpt));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_EQ(0, move(self, &mock, self->ioas));
	EXPECT_NE(hwpt, mock.hwpt);
	EXPECT_NE(enforces.hwpt, mock.hwpt);
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    PAGE, REGION));
	EXPECT_TRUE(reaches(self, &mock, self->buf));
	/* And if none of them suits */
	EXPECT_EQ(0, move(self, &mock, hwpt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 2, 1, EINVAL));
	EXPECT_EQ(-1, move(self, &mock, self->ioas));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(reaches(self, &mock, self->buf));
}

/*
 * Groups
 */

/* Devices of a group share one page table (traps C1, C2, C5) */
TEST_F(table, siblings_share_the_table)
{
	struct mock a, b, c;
	__u32 pt_id;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	ASSERT_EQ(0, DEVICE(&c));
	ASSERT_EQ(0, attach(self, &c, self->ioas));
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	EXPECT_EQ(c.hwpt, a.hwpt);
	EXPECT_TRUE(reaches(self, &a, self->buf));
	/* It can only join; before that it can't be moved */
	EXPECT_ERRNO(EINVAL, attach(self, &b, self->other));
	pt_id = self->ioas;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, b.stdev, &pt_id));
	pt_id = self->other;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, b.stdev, &pt_id));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_EQ(a.hwpt, b.hwpt);

	/* A move takes the whole group along, and no other device */
	EXPECT_EQ(0, move(self, &b, self->other));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_TRUE(reaches(self, &b, self->other_buf));
	EXPECT_TRUE(reaches(self, &c, self->buf));
	EXPECT_EQ(0, move(self, &a, c.hwpt));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	EXPECT_EQ(0, move(self, &a, self->other));
	/* The page table stays for the other device */
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_TRUE(reaches(self, &b, self->other_buf));
	EXPECT_ERRNO(EINVAL, attach(self, &a, self->ioas));
	EXPECT_EQ(0, attach(self, &a, b.hwpt));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_EQ(0, move(self, &a, self->ioas));
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_TRUE(reaches(self, &a, NULL));
	EXPECT_TRUE(reaches(self, &b, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->other_buf, LENGTH));
	EXPECT_TRUE(reaches(self, &c, self->buf));
}

/* The driver accepts the first device and refuses the second (traps C3, C9) */
TEST_F(table, failure_at_the_second_sibling)
{
	struct mock a, b;
	int skip;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	for (skip = 0; skip < 2; skip++) {
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, skip, 1,
				       ENOMEM));
		EXPECT_ERRNO(ENOMEM, attach(self, &a, self->ioas));
		EXPECT_TRUE(reaches(self, &a, NULL));
		EXPECT_TRUE(reaches(self, &b, NULL));
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
	}
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	ASSERT_EQ(0, attach(self, &b, self->ioas));
	for (skip = 0; skip < 2; skip++) {
		struct state state = state_of(self);

		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, skip, 1,
				       ENOMEM));
		EXPECT_ERRNO(ENOMEM, move(self, &b, self->other));
		EXPECT_TRUE(same_state(self, &state));
		EXPECT_TRUE(reaches(self, &a, self->buf));
		EXPECT_TRUE(reaches(self, &b, self->buf));
	}
	EXPECT_EQ(0, move(self, &b, self->other));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
}

/*
 * The old page table can't be attached again either: DMA is blocked (trap C3)
 */
TEST_F(table, way_back_fails)
{
	struct mock mock, late;
	__u32 hwpt;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 2, ENOMEM));
	EXPECT_ERRNO(ENOMEM, move(self, &mock, self->other));
	EXPECT_TRUE(reaches(self, &mock, NULL));
	/* The device counts as attached, and can be moved or detached */
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, move(self, &mock, self->ioas));
	EXPECT_TRUE(reaches(self, &mock, self->buf));

	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 2, ENOMEM));
	EXPECT_ERRNO(ENOMEM, move(self, &mock, self->other));
	EXPECT_EQ(0, detach(self, &mock));
	/* The group counts as detached for a table that needs that */
	ASSERT_EQ(0, DEVICE(&late, .unit = 1, .flags = MOCK_DEVICE_LATE));
	ASSERT_EQ(0, attach(self, &late, self->ioas));
	ASSERT_EQ(0, mock_fail(self->fd, 1, MOCK_CALL_ATTACH, 0, 2, ENOMEM));
	EXPECT_ERRNO(ENOMEM, move(self, &late, self->other));
	EXPECT_EQ(0, alloc_hwpt(self->fd, late.idev, self->other, &hwpt));
	EXPECT_TRUE(reaches(self, &late, NULL));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_EQ(0, destroy(self->fd, late.stdev));

	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, attach(self, &mock, self->other));
	EXPECT_TRUE(reaches(self, &mock, self->other_buf));
}

/*
 * Regions of another device of the group are reserved when it is attached. The
 * attach fails if something is mapped there. They stay reserved until the last
 * device of the group is detached (trap C5).
 */
TEST_F(table, regions_of_siblings)
{
	struct state before = state_of(self), state;
	struct mock a, b;

	ASSERT_EQ(0, DEVICE(&a, REGIONS(RESERVED(REGION, PAGE))));
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number,
			    REGIONS(RESERVED(REGION + 2 * PAGE, PAGE))));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    REGION + 2 * PAGE));
	state = state_of(self);
	EXPECT_ERRNO(EADDRINUSE, attach(self, &b, self->ioas));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, REGION + 2 * PAGE, PAGE,
			   NULL));
	/* Nor are they reserved if the attach fails at its last step */
	state = state_of(self);
	EXPECT_ERRNO(EFAULT, attach_without_answer(self, &b, self->ioas));
	EXPECT_TRUE(same_state(self, &state));
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION + PAGE, PAGE));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION + 2 * PAGE, PAGE));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION + 2 * PAGE, PAGE));
	EXPECT_EQ(0, move(self, &b, self->other));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, 3 * PAGE));
	EXPECT_FALSE(is_mappable(self->fd, self->other, REGION, PAGE));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_TRUE(same_state(self, &before));
	/* Without that device its regions are not reserved any more */
	EXPECT_EQ(0, destroy(self->fd, b.stdev));
	EXPECT_EQ(0, attach(self, &a, self->ioas));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION + 2 * PAGE, PAGE));
}

/* A group belongs to one context until its last device is unbound (trap C8) */
TEST_F(table, group_has_one_context)
{
	struct mock a, b, c;
	int fd = open("/dev/iommu", O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	EXPECT_ERRNO(EPERM, mock_device(fd, 0, &MOCK_CONFIG(.join = a.number),
					&c));
	EXPECT_EQ(0, destroy(self->fd, a.stdev));
	EXPECT_ERRNO(EPERM, mock_device(fd, 0, &MOCK_CONFIG(.join = b.number),
					&c));
	/* The remaining device works */
	EXPECT_EQ(0, attach(self, &b, self->ioas));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	EXPECT_ERRNO(EPERM, mock_device(fd, 0, &MOCK_CONFIG(.join = b.number),
					&c));
	EXPECT_TRUE(reaches(self, &b, self->buf));
	EXPECT_EQ(0, destroy(self->fd, b.stdev));
	close(fd);
}

/* Page tables made by the program: their limits */

/* The limits are read again at each attach, and can become narrower */
TEST_F(table, aperture_of_a_made_table)
{
	struct mock a, b;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .aperture_last = REGION - 1));
	ASSERT_EQ(0, alloc_hwpt(self->fd, a.idev, self->ioas, &hwpt));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    REGION));
	EXPECT_ERRNO(EADDRINUSE, attach(self, &b, hwpt));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, REGION, PAGE, NULL));
	EXPECT_EQ(0, attach(self, &b, hwpt));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(reaches(self, &b, self->buf));

	/*
	 * The same for a page table that is allocated meanwhile, which is not
	 * attached
	 */
	ASSERT_EQ(0, alloc_hwpt(self->fd, b.idev, self->other, &hwpt));
	EXPECT_TRUE(is_mappable(self->fd, self->other, REGION - PAGE, PAGE));
	EXPECT_FALSE(is_mappable(self->fd, self->other, REGION, PAGE));
	EXPECT_TRUE(reaches(self, &b, self->buf));
}

/* If that takes an attach, the group must be detached */
TEST_F(table, made_table_of_a_late_device)
{
	struct mock mock;
	__u32 hwpt, second;

	ASSERT_EQ(0, DEVICE(&mock, .flags = MOCK_DEVICE_LATE));
	ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_TRUE(reaches(self, &mock, NULL));
	ASSERT_EQ(0, attach(self, &mock, hwpt));
	EXPECT_TRUE(reaches(self, &mock, self->buf));
	EXPECT_ERRNO(EOPNOTSUPP, alloc_hwpt(self->fd, mock.idev, self->other,
					    &second));
	EXPECT_TRUE(reaches(self, &mock, self->buf));
	EXPECT_EQ(0, detach(self, &mock));
	EXPECT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->other, &second));
	EXPECT_EQ(hwpt + 1, second);
}

/* Each unit needs a page table of its own (trap C7) */
TEST_F(table, made_table_of_another_unit)
{
	struct mock a, b;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .unit = 1));
	ASSERT_EQ(0, alloc_hwpt(self->fd, a.idev, self->ioas, &hwpt));
	EXPECT_ERRNO(EINVAL, attach(self, &b, hwpt));
	EXPECT_EQ(0, attach(self, &a, hwpt));
}

/*
 * Whether a page table can enforce coherency is found by attaching the device,
 * or taken from its current one (trap C6)
 */
TEST_F(table, made_table_is_coherent)
{
	struct mock can, cannot;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&can, .flags = MOCK_DEVICE_ENFORCES));
	ASSERT_EQ(0, DEVICE(&cannot));
	ASSERT_EQ(0, alloc_hwpt(self->fd, can.idev, self->ioas, &hwpt));
	EXPECT_ERRNO(EINVAL, attach(self, &cannot, hwpt));
	ASSERT_EQ(0, attach(self, &can, hwpt));
	ASSERT_EQ(0, alloc_hwpt(self->fd, can.idev, self->ioas, &hwpt));
	EXPECT_ERRNO(EINVAL, attach(self, &cannot, hwpt));
	EXPECT_EQ(0, attach(self, &can, hwpt));

	ASSERT_EQ(0, alloc_hwpt(self->fd, cannot.idev, self->other, &hwpt));
	ASSERT_EQ(0, attach(self, &cannot, hwpt));
	ASSERT_EQ(0, alloc_hwpt(self->fd, cannot.idev, self->other, &hwpt));
	EXPECT_EQ(0, attach(self, &cannot, hwpt));
}

/* The driver's errno is returned, and nothing is left */
TEST_F(table, failed_table_leaves_nothing)
{
	struct state before = state_of(self);
	struct mock mock;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&mock));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, ENXIO));
	EXPECT_ERRNO(ENXIO, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_TRUE(same_state(self, &before));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, ENOMEM));
	EXPECT_ERRNO(ENOMEM, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_TRUE(same_state(self, &before));
	ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	EXPECT_EQ(mock.idev + 1, hwpt);
	EXPECT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_TRUE(same_state(self, &before));
}

/* All page tables are tried in turn; if none suits, a new one is made */
TEST_F(table, each_table_is_tried)
{
	struct mock mocks[4], last;
	int i, j;

	ASSERT_EQ(0, DEVICE(&last));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, DEVICE(&mocks[i]));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, i,
				       EINVAL));
		ASSERT_EQ(0, attach(self, &mocks[i], self->ioas));
		for (j = 0; j < i; j++)
			EXPECT_NE(mocks[j].hwpt, mocks[i].hwpt);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, i,
				       EINVAL));
		EXPECT_EQ(0, attach(self, &last, self->ioas));
		EXPECT_EQ(mocks[i].hwpt, last.hwpt);
		EXPECT_TRUE(reaches(self, &last, self->buf));
		EXPECT_EQ(0, detach(self, &last));
	}
}

/*
 * Between those that suit are page tables of another unit and of the program,
 * which are skipped
 */
TEST_F(table, search_skips_other_tables)
{
	struct mock mocks[4], last;
	__u32 hwpt;
	int i;

	ASSERT_EQ(0, DEVICE(&last));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, DEVICE(&mocks[i], .unit = i & 1,
				    .flags = i & 1 ? MOCK_DEVICE_LATE : 0));
		ASSERT_EQ(0, alloc_hwpt(self->fd, mocks[i].idev, self->ioas,
					&hwpt));
		if (i == 2)
			ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
					       EINVAL));
		ASSERT_EQ(0, attach(self, &mocks[i], self->ioas));
	}
	ASSERT_NE(mocks[0].hwpt, mocks[2].hwpt);
	EXPECT_EQ(mocks[1].hwpt, mocks[3].hwpt);
	EXPECT_EQ(0, attach(self, &last, self->ioas));
	EXPECT_EQ(mocks[0].hwpt, last.hwpt);
	EXPECT_EQ(0, detach(self, &last));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EINVAL));
	EXPECT_EQ(0, attach(self, &last, self->ioas));
	EXPECT_EQ(mocks[2].hwpt, last.hwpt);
	EXPECT_TRUE(reaches(self, &last, self->buf));
}

/*
 * From there to the IOAS, whose first page table is refused. The region stays
 * reserved (trap A15).
 */
TEST_F(table, move_tries_several_tables)
{
	struct mock a, b;
	__u32 hwpt;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &b));
	ASSERT_EQ(0, DEVICE(&a, REGIONS(RESERVED(REGION, PAGE))));
	ASSERT_EQ(0, alloc_hwpt(self->fd, a.idev, self->ioas, &hwpt));
	ASSERT_EQ(0, attach(self, &a, hwpt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EINVAL));
	EXPECT_ERRNO(EINVAL, move(self, &a, b.hwpt));
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EINVAL));
	EXPECT_EQ(0, move(self, &a, self->ioas));
	EXPECT_NE(b.hwpt, a.hwpt);
	EXPECT_NE(hwpt, a.hwpt);
	EXPECT_FALSE(is_mappable(self->fd, self->ioas, REGION, PAGE));
	EXPECT_TRUE(reaches(self, &a, self->buf));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_TRUE(is_mappable(self->fd, self->ioas, REGION, PAGE));
}

/*
 * A page table made for one device: it can't go there alone, and takes the
 * group along
 */
TEST_F(table, sibling_makes_a_table)
{
	struct mock a, b;
	__u32 hwpt, old;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	old = a.hwpt;
	ASSERT_EQ(0, alloc_hwpt(self->fd, b.idev, self->other, &hwpt));
	EXPECT_ERRNO(EINVAL, attach(self, &b, hwpt));
	ASSERT_EQ(0, attach(self, &b, self->ioas));
	ASSERT_EQ(0, move(self, &b, hwpt));
	EXPECT_TRUE(is_gone(self, old));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_EQ(0, detach(self, &b));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, hwpt));
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
}

struct attacher {
	struct _test_data_table *self;
	struct mock *mock;
	__u32 pt_id;
	int err;
	atomic_bool done;
};

static void *attach_in_thread(void *arg)
{
	struct attacher *me = arg;

	me->err = attach(me->self, me->mock, me->pt_id) ? errno : 0;
	me->done = true;
	return NULL;
}

/*
 * An attach waits for one of a sibling, which fails. Meanwhile the IOAS, or the
 * page table, that it goes to is destroyed.
 */
TEST_F_TIMEOUT(table, target_of_an_attach_is_destroyed, 60)
{
	struct mock a, b, maker;
	pthread_t threads[2];
	__u32 first, second;
	int i, faults;
	char *page;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	ASSERT_EQ(0, DEVICE(&maker));
	for (i = 0; i < 2; i++) {
		struct attacher me[2] = { { self, &a }, { self, &b } };

		page = stalled_page(&faults);
		ASSERT_NE(NULL, page);
		ASSERT_EQ(0, alloc_ioas(self->fd, &first));
		ASSERT_EQ(0, alloc_ioas(self->fd, &second));
		ASSERT_EQ(0, map_at(self->fd, first, (uintptr_t)page, PAGE,
				    START));
		me[0].pt_id = first;
		me[1].pt_id = second;
		if (i)
			ASSERT_EQ(0, alloc_hwpt(self->fd, maker.idev, second,
						&me[1].pt_id));
		ASSERT_EQ(0, pthread_create(&threads[0], NULL,
					    attach_in_thread, &me[0]));
		ASSERT_TRUE(is_touched(faults));
		ASSERT_EQ(0, pthread_create(&threads[1], NULL,
					    attach_in_thread, &me[1]));
		usleep(200000);
		EXPECT_EQ(0, destroy(self->fd, me[1].pt_id));
		ASSERT_EQ(0, munmap(page, PAGE));
		close(faults);
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		EXPECT_EQ(EFAULT, me[0].err);
		EXPECT_EQ(ENOENT, me[1].err);
		EXPECT_TRUE(reaches(self, &b, NULL));
		EXPECT_EQ(0, destroy(self->fd, first));
		if (i)
			EXPECT_EQ(0, destroy(self->fd, second));
	}
}

/*
 * Waiting for a page table that waits for a page
 */

static void *make_in_thread(void *arg)
{
	struct attacher *me = arg;

	me->err = alloc_hwpt(me->self->fd, me->mock->idev, me->pt_id,
			     &me->pt_id) ? errno : 0;
	return NULL;
}

/* Two devices are attached meanwhile: the second one finds what the first got */
TEST_F_TIMEOUT(table, attaches_at_once_share_a_table, 60)
{
	struct mock maker, a, b;
	struct attacher me[3] = {
		{ self, &maker, self->other },
		{ self, &a, self->other },
		{ self, &b, self->other },
	};
	pthread_t threads[3];
	int i, faults;
	char *page;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, DEVICE(me[i].mock));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, make_in_thread, &me[0]));
	ASSERT_TRUE(is_touched(faults));
	for (i = 1; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, attach_in_thread,
					    &me[i]));
	usleep(200000);
	ASSERT_EQ(0, let_go(faults, page));
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, me[i].err);
	}
	EXPECT_EQ(a.hwpt, b.hwpt);
	EXPECT_NE(me[0].pt_id, a.hwpt);
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_TRUE(reaches(self, &b, self->other_buf));
	close(faults);
}

static void *detach_in_thread(void *arg)
{
	struct attacher *me = arg;

	me->err = detach(me->self, me->mock) ? errno : 0;
	me->done = true;
	return NULL;
}

/* A detach that comes during the first attach is not lost */
TEST_F_TIMEOUT(table, detach_waits_for_an_attach, 60)
{
	struct mock mock;
	struct attacher attacher = { self, &mock, self->other };
	struct attacher detacher = { self, &mock };
	pthread_t threads[2];
	int faults;
	char *page;

	ASSERT_EQ(0, DEVICE(&mock));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, attach_in_thread,
				    &attacher));
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, detach_in_thread,
				    &detacher));
	usleep(200000);
	EXPECT_FALSE(detacher.done);
	ASSERT_EQ(0, let_go(faults, page));
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(0, attacher.err);
	EXPECT_EQ(0, detacher.err);
	EXPECT_TRUE(reaches(self, &mock, NULL));
	close(faults);
}

/* The driver takes long to attach the device; meanwhile a page table is made */
TEST_F(table, made_while_the_device_is_attached)
{
	struct mock mock;
	struct attacher me = { self, &mock, self->other };
	pthread_t thread;
	__u32 hwpt;

	ASSERT_EQ(0, DEVICE(&mock, .flags = MOCK_DEVICE_SLOW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &me));
	usleep(MOCK_SLOW_MS * 1000 / 5);
	EXPECT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas, &hwpt));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.err);
	EXPECT_TRUE(reaches(self, &mock, self->other_buf));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
}

/*
 * Processes that make another page table, attach a device, or unmap can be
 * killed. What does not need the page tables does not wait, nor does the
 * removal of the device that the page table is for.
 */
TEST_F_TIMEOUT(table, unfinished_table_stops_nobody, 60)
{
	enum { MAKE, ATTACH, UNMAP, NR_WAYS };
	struct mock maker, idle;
	struct attacher me = { self, &maker, self->other };
	__u32 hwpt, length = 0, type;
	pthread_t thread;
	int way, faults;
	__u64 huge = 0;
	char *page;
	pid_t pid;

	ASSERT_EQ(0, DEVICE(&maker));
	ASSERT_EQ(0, DEVICE(&idle));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_in_thread, &me));
	ASSERT_TRUE(is_touched(faults));
	for (way = 0; way < NR_WAYS; way++) {
		pid = fork();
		if (!pid) {
			if (way == MAKE)
				alloc_hwpt(self->fd, idle.idev, self->other,
					   &hwpt);
			else if (way == ATTACH)
				attach(self, &idle, self->other);
			else
				unmap(self->fd, self->other, START, LENGTH,
				      NULL);
			_exit(0);
		}
		EXPECT_TRUE(can_be_killed(pid)) {
			TH_LOG("%d", way);
		}
	}
	EXPECT_EQ(0, hw_info(self->fd, maker.idev, NULL, &length, &type));
	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_HUGE_PAGES,
			    IOMMU_OPTION_OP_GET, self->other, &huge));
	EXPECT_EQ(1, huge);
	EXPECT_EQ(0, destroy(self->fd, maker.stdev));

	ASSERT_EQ(0, let_go(faults, page));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.err);
	EXPECT_EQ(0, mock_check_map(self->fd, me.pt_id, START, self->other_buf,
				    LENGTH));
	EXPECT_TRUE(reaches(self, &idle, NULL));
	EXPECT_EQ(0, destroy(self->fd, me.pt_id));
	EXPECT_EQ(0, destroy(self->fd, self->other));
	close(faults);
}

/*
 * Processes that are killed
 */

struct mapper {
	struct _test_data_table *self;
	int page;
	int ret;
};

static void *map_in_thread(void *arg)
{
	struct mapper *me = arg;
	size_t at = me->page * PAGE;

	me->ret = map_at(me->self->fd, me->self->other,
			 (uintptr_t)me->self->other_buf + at, PAGE,
			 REGION + at);
	return NULL;
}

/*
 * An attach waits for a page and is killed. Others then get the lock of the page
 * tables first; it waits for them to detach the device.
 */
TEST_F_TIMEOUT(table, killed_attach_is_undone, 60)
{
	struct mapper mappers[8];
	pthread_t threads[8];
	struct mock mock;
	int i, faults;
	char *page;
	pid_t pid;

	ASSERT_EQ(0, DEVICE(&mock));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	pid = fork();
	if (!pid)
		_exit(attach(self, &mock, self->other) ? 1 : 0);
	ASSERT_TRUE(is_touched(faults));
	for (i = 0; i < 8; i++) {
		mappers[i] = (struct mapper){ self, i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, map_in_thread,
					    &mappers[i]));
	}
	EXPECT_TRUE(can_be_killed(pid));
	for (i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, mappers[i].ret);
	}
	EXPECT_TRUE(reaches(self, &mock, NULL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, unmap(self->fd, self->other, START + LENGTH, PAGE, NULL));
	ASSERT_EQ(0, munmap(page, PAGE));
	close(faults);
	EXPECT_EQ(0, attach(self, &mock, self->other));
	EXPECT_TRUE(reaches(self, &mock, self->other_buf));
}

/*
 * An attach to the same IOAS takes long. A process that detaches a device
 * meanwhile, or moves it away, can be killed. The device stays attached, and can
 * be detached later.
 */
TEST_F_TIMEOUT(table, killed_while_another_attaches, 60)
{
	enum { DETACH, MOVE, NR_WAYS };
	struct mock mock, slow;
	pthread_t thread;
	pid_t pid;
	int way;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, DEVICE(&slow, .unit = 1, .flags = MOCK_DEVICE_SLOW));
	for (way = 0; way < NR_WAYS; way++) {
		struct attacher me = { self, &slow, self->ioas };
		struct state state = state_of(self);

		ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread,
					    &me));
		usleep(MOCK_SLOW_MS * 1000 / 5);
		pid = fork();
		if (!pid) {
			if (way == DETACH)
				detach(self, &mock);
			else
				move(self, &mock, self->other);
			_exit(0);
		}
		EXPECT_TRUE(can_be_killed(pid)) {
			TH_LOG("%d", way);
		}
		EXPECT_FALSE(me.done);
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.err);
		EXPECT_TRUE(reaches(self, &mock, self->buf));
		EXPECT_EQ(0, detach(self, &slow));
		EXPECT_TRUE(same_state(self, &state));
	}
	EXPECT_EQ(0, detach(self, &mock));
	EXPECT_TRUE(reaches(self, &mock, NULL));
	EXPECT_TRUE(is_gone(self, mock.hwpt));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

/*
 * A move waits for a page and is killed. It goes back to the old page table,
 * though it has to wait for an attach in that IOAS.
 */
TEST_F_TIMEOUT(table, killed_move_goes_back, 60)
{
	struct mock mock, slow;
	struct attacher me = { self, &slow, self->ioas };
	pthread_t thread;
	int faults;
	char *page;
	pid_t pid;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, DEVICE(&slow, .unit = 1, .flags = MOCK_DEVICE_SLOW));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	pid = fork();
	if (!pid)
		_exit(move(self, &mock, self->other) ? 1 : 0);
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &me));
	EXPECT_TRUE(can_be_killed(pid));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.err);
	EXPECT_TRUE(reaches(self, &mock, self->buf));
	EXPECT_EQ(0, unmap(self->fd, self->other, START + LENGTH, PAGE, NULL));
	ASSERT_EQ(0, munmap(page, PAGE));
	close(faults);
	EXPECT_TRUE(mock_is_unpinned(self->other_buf, LENGTH));
	EXPECT_EQ(0, move(self, &mock, self->other));
	EXPECT_TRUE(reaches(self, &mock, self->other_buf));
}

/*
 * A move of a group waits for a page. A process that attaches another device to
 * the same IOAS can be killed. One that unbinds a device of the group is killed
 * too, but completes that.
 */
TEST_F_TIMEOUT(table, killed_during_a_move, 60)
{
	struct mock a, b, c;
	struct attacher me = { self, &a, self->other };
	int faults, status;
	pthread_t thread;
	pid_t pids[2];
	char *page;

	ASSERT_EQ(0, DEVICE(&a));
	ASSERT_EQ(0, DEVICE(&b, .join = a.number));
	ASSERT_EQ(0, DEVICE(&c));
	ASSERT_EQ(0, attach(self, &a, self->ioas));
	ASSERT_EQ(0, attach(self, &b, self->ioas));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START + LENGTH));
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &me));
	ASSERT_TRUE(is_touched(faults));
	pids[0] = fork();
	if (!pids[0])
		_exit(attach(self, &c, self->other) ? 1 : 0);
	EXPECT_TRUE(can_be_killed(pids[0]));
	pids[1] = fork();
	if (!pids[1])
		_exit(destroy(self->fd, b.stdev) ? 1 : 0);
	usleep(200000);
	EXPECT_EQ(0, waitpid(pids[1], NULL, WNOHANG));
	kill(pids[1], SIGKILL);
	usleep(200000);

	ASSERT_EQ(0, let_go(faults, page));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.err);
	ASSERT_EQ(pids[1], waitpid(pids[1], &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, b.stdev));
	EXPECT_TRUE(reaches(self, &a, self->other_buf));
	EXPECT_TRUE(reaches(self, &c, NULL));
	/* Only the first device counts */
	EXPECT_EQ(0, detach(self, &a));
	EXPECT_TRUE(reaches(self, &a, NULL));
	EXPECT_TRUE(is_gone(self, a.hwpt));
	EXPECT_EQ(0, destroy(self->fd, self->other));
	close(faults);
}

TEST_HARNESS_MAIN

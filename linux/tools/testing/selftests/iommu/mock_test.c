// SPDX-License-Identifier: GPL-2.0
/*
 * The mock IOMMU itself: each operation of IOMMU_TEST_CMD, its errors, and that
 * nothing is left behind. Other programs use it to test iommufd.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "mock_util.h"

#define BUF_SIZE (16 * PAGE)
#define BASE MOCK_APERTURE_START
#define NO_ID 1000

FIXTURE(mock)
{
	int fd;
	__u32 ioas;
	char *buf;
};

FIXTURE_SETUP(mock)
{
	size_t i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	self->buf = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buf);
	for (i = 0; i < BUF_SIZE; i++)
		self->buf[i] = i / MOCK_PAGE + i;
}

/* Closing the fd removes whatever a test has left, and unpins everything */
FIXTURE_TEARDOWN(mock)
{
	char *page;
	int fd;

	EXPECT_EQ(0, close(self->fd));
	fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, fd);
	for (page = self->buf; page < self->buf + BUF_SIZE; page += PAGE)
		if (!msync(page, PAGE, MS_ASYNC))
			EXPECT_EQ(0, mock_check_refs(fd, page, PAGE, 0));
	EXPECT_EQ(0, close(fd));
}

#define MAP_AT(_va, _length, _iova)                                            \
	map_at(self->fd, self->ioas, (uintptr_t)(_va), _length, _iova)
#define UNMAP(_iova, _length)                                                  \
	unmap(self->fd, self->ioas, _iova, _length, NULL)

/* The IOAS has exactly these usable ranges */
#define EXPECT_RANGES(_ioas, ...)                                              \
	do {                                                                   \
		struct iommu_iova_range want[] = { __VA_ARGS__ }, got[32];     \
		__u32 nr = 32;                                                 \
		int i;                                                         \
									       \
		ASSERT_EQ(0, iova_ranges(self->fd, _ioas, got, &nr, NULL));    \
		ASSERT_EQ(ARRAY_SIZE(want), nr);                               \
		for (i = 0; i < nr; i++) {                                     \
			EXPECT_EQ(want[i].start, got[i].start);                \
			EXPECT_EQ(want[i].last, got[i].last);                  \
		}                                                              \
	} while (0)

/* The ioctl */

/* The layout that test programs of later kernels are compiled with */
TEST(layout_is_that_of_later_kernels)
{
	EXPECT_EQ(0x3ba0, IOMMU_TEST_CMD);
	EXPECT_EQ(56, sizeof(struct iommu_test_cmd));
	EXPECT_EQ(48, offsetof(struct iommu_test_cmd, last));
	EXPECT_EQ(24, offsetof(struct iommu_test_cmd, mock_domain.out_idev_id));
	EXPECT_EQ(32, offsetof(struct iommu_test_cmd, check_refs.refs));
	EXPECT_EQ(40, offsetof(struct iommu_test_cmd, access_pages.uptr));
	EXPECT_EQ(40, offsetof(struct iommu_test_cmd, access_rw.flags));
	EXPECT_EQ(11, IOMMU_TEST_OP_ACCESS_REPLACE_IOAS);
	EXPECT_EQ(8, sizeof(struct iommu_test_hw_info));
}

TEST_F(mock, size_follows_the_common_rules)
{
	struct {
		struct iommu_test_cmd cmd;
		__u64 more[2];
	} big = { .cmd = {
		.op = IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT,
		.memory_limit.limit = 65536,
	} };

	big.cmd.size = 51;
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, IOMMU_TEST_CMD, &big));
	big.cmd.size = 52;
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_TEST_CMD, &big));
	big.cmd.size = 72;
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_TEST_CMD, &big));
	big.more[1] = 1;
	EXPECT_ERRNO(E2BIG, ioctl(self->fd, IOMMU_TEST_CMD, &big));
}

TEST_F(mock, reserved_and_last_are_ignored)
{
	struct iommu_test_cmd cmd = {
		.__reserved = 1,
		.memory_limit.limit = 65536,
		.last = 1,
	};

	EXPECT_EQ(0, mock_cmd(self->fd, IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT, 0,
			      &cmd));
}

TEST_F(mock, unknown_operations_are_EOPNOTSUPP)
{
	static const __u32 ops[] = { 0, 12, 13, 0x7fff,
				     IOMMU_TEST_OP_ACCESS_SET + 1, ~0U };
	struct iommu_test_cmd cmd = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		EXPECT_ERRNO(EOPNOTSUPP, mock_cmd(self->fd, ops[i], 0, &cmd));
}

/* The table of ioctls has a large hole before this one */
TEST_F(mock, requests_around_it_stay_ENOTTY)
{
	struct iommu_test_cmd cmd = { .size = sizeof(cmd) };
	unsigned int nr;

	for (nr = 0x93; nr <= 0xff; nr++)
		if (nr != 0xa0)
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x3b00 | nr, &cmd));
}

/* Devices, with the operations of later kernels */

TEST_F(mock, domain_makes_a_device)
{
	struct mock mock;
	char path[64];

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_NE(0, mock.stdev);
	EXPECT_NE(mock.stdev, mock.idev);
	EXPECT_NE(mock.idev, mock.hwpt);
	snprintf(path, sizeof(path),
		 "/sys/bus/iommufd_mock/devices/iommufd_mock%d/iommu_group",
		 mock.number);
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_RANGES(self->ioas, { MOCK_APERTURE_START, MOCK_APERTURE_LAST });

	/* Every object but the one of the mock device is in use */
	EXPECT_ERRNO(EBUSY, destroy(self->fd, mock.idev));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, mock.hwpt));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_NE(0, access(path, F_OK));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, mock.stdev));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, mock.idev));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, mock.hwpt));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, domain_takes_a_page_table)
{
	struct mock mock, other;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, mock_domain(self->fd, mock.hwpt, &other));
	EXPECT_EQ(mock.hwpt, other.hwpt);
	EXPECT_NE(mock.number, other.number);
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_ERRNO(EBUSY, destroy(self->fd, other.hwpt));
	EXPECT_EQ(0, destroy(self->fd, other.stdev));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, other.hwpt));
}

/* Names can be reused in any order */
TEST_F(mock, names_do_not_collide)
{
	struct mock a, b, c;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &b));
	EXPECT_EQ(0, destroy(self->fd, a.stdev));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &c));
	EXPECT_NE(b.number, c.number);
}

TEST_F(mock, failed_domain_leaves_nothing)
{
	struct iommu_test_cmd *ro;
	struct mock mock, fine;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &fine));
	EXPECT_ERRNO(ENOENT, mock_domain(self->fd, 0, &mock));
	EXPECT_ERRNO(ENOENT, mock_domain(self->fd, NO_ID, &mock));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, fine.idev, &mock));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, fine.stdev, &mock));
	EXPECT_EQ(0, destroy(self->fd, fine.stdev));

	/* Memory that the process has not mapped */
	ASSERT_EQ(0, munmap(self->buf + PAGE, PAGE));
	ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
	EXPECT_ERRNO(EFAULT, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, UNMAP(BASE, 2 * PAGE));

	/* The answer can't be written */
	ro = (void *)self->buf;
	*ro = (struct iommu_test_cmd){
		.size = sizeof(*ro),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
		.id = self->ioas,
	};
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_TEST_CMD, ro));
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ | PROT_WRITE));

	/* The ids are free again, and the IOAS is not used */
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(fine.stdev, mock.stdev);
	EXPECT_EQ(fine.idev, mock.idev);
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, replace_moves_a_device)
{
	struct mock mock, other;
	__u32 ioas2, pt;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas2));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, map_at(self->fd, ioas2, (uintptr_t)self->buf + PAGE, PAGE,
			    BASE));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE, self->buf, PAGE));

	pt = ioas2;
	EXPECT_EQ(0, mock_replace(self->fd, mock.stdev, &pt));
	EXPECT_NE(ioas2, pt);
	EXPECT_EQ(0, mock_check_map(self->fd, pt, BASE, self->buf + PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, mock_check_map(self->fd, mock.hwpt, BASE, self->buf,
					    PAGE));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &other));
	pt = other.hwpt;
	EXPECT_EQ(0, mock_replace(self->fd, mock.stdev, &pt));
	EXPECT_EQ(other.hwpt, pt);

	pt = NO_ID;
	EXPECT_ERRNO(ENOENT, mock_replace(self->fd, mock.stdev, &pt));
	EXPECT_ERRNO(ENOENT, mock_replace(self->fd, NO_ID, &pt));
	EXPECT_ERRNO(ENOENT, mock_replace(self->fd, mock.idev, &pt));
	pt = mock.idev;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, mock.stdev, &pt));
	EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
	pt = self->ioas;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, mock.stdev, &pt));
}

/* Operations that check */

TEST_F(mock, check_map_sees_what_is_mapped)
{
	struct mock mock;
	__u32 hwpt;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	hwpt = mock.hwpt;
	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf + MOCK_PAGE, MOCK_PAGE, BASE + 5 * PAGE));

	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, BASE, self->buf, 4 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, BASE + MOCK_PAGE,
				    self->buf + MOCK_PAGE, PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, BASE + 5 * PAGE,
				    self->buf + MOCK_PAGE, MOCK_PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, hwpt, 0, self->buf, 0));

	/* Other pages, and IOVAs where nothing is mapped */
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, hwpt, BASE,
					    self->buf + PAGE, PAGE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, hwpt, BASE,
					    self->buf + MOCK_PAGE, MOCK_PAGE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, hwpt, BASE, self->buf,
					    5 * PAGE));
	EXPECT_EQ(0, UNMAP(BASE, 4 * PAGE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, hwpt, BASE, self->buf,
					    PAGE));
}

TEST_F(mock, check_map_errors)
{
	__u32 half = MOCK_PAGE / 2;
	struct mock mock;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, mock.hwpt, BASE + half,
					    self->buf, PAGE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, mock.hwpt, BASE,
					    self->buf + half, PAGE));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, mock.hwpt, BASE, self->buf,
					    half));
	EXPECT_ERRNO(EINVAL, mock_check_map(self->fd, mock.hwpt, BASE,
					    self->buf, -MOCK_PAGE));
	EXPECT_ERRNO(ENOENT, mock_check_map(self->fd, NO_ID, BASE, self->buf,
					    PAGE));
	EXPECT_ERRNO(ENOENT, mock_check_map(self->fd, self->ioas, BASE,
					    self->buf, PAGE));
	ASSERT_EQ(0, munmap(self->buf + PAGE, PAGE));
	EXPECT_ERRNO(EFAULT, mock_check_map(self->fd, mock.hwpt, BASE, self->buf,
					    2 * PAGE));
}

TEST_F(mock, check_refs_counts_pins)
{
	int other = open("/dev/iommu", O_RDWR);
	struct mock mock;

	ASSERT_LE(0, other);
	EXPECT_EQ(0, mock_check_refs(other, self->buf, BUF_SIZE, 0));
	EXPECT_ERRNO(EIO, mock_check_refs(other, self->buf, BUF_SIZE, 1));
	ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
	EXPECT_EQ(0, mock_check_refs(other, self->buf, BUF_SIZE, 0));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, mock_check_refs(other, self->buf, 2 * PAGE, 1));
	EXPECT_EQ(0, mock_check_refs(other, self->buf + 2 * PAGE, PAGE, 0));
	EXPECT_ERRNO(EIO, mock_check_refs(other, self->buf, BUF_SIZE, 1));
	EXPECT_ERRNO(EIO, mock_check_refs(other, self->buf, BUF_SIZE, 0));
	/* A page that is mapped twice is pinned twice */
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE + 8 * PAGE));
	EXPECT_EQ(0, mock_check_refs(other, self->buf, PAGE, 2));

	EXPECT_ERRNO(EINVAL, mock_check_refs(other, self->buf + 1, PAGE, 0));
	EXPECT_ERRNO(EINVAL, mock_check_refs(other, self->buf, PAGE - 1, 0));
	EXPECT_ERRNO(EINVAL, mock_check_refs(other, self->buf, -PAGE, 0));
	ASSERT_EQ(0, munmap(self->buf, PAGE));
	EXPECT_ERRNO(EFAULT, mock_check_refs(other, self->buf, PAGE, 0));
	EXPECT_EQ(0, close(other));
}

TEST_F(mock, add_reserved_takes_iova)
{
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, PAGE, PAGE));
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, 4 * PAGE, PAGE));
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, 0, 2));
	/* Reserved ranges may overlap */
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, PAGE + 1, PAGE));
	EXPECT_RANGES(self->ioas, { 2, PAGE - 1 }, { 2 * PAGE + 1, 4 * PAGE - 1 },
		      { 5 * PAGE, ~0UL });
	EXPECT_ERRNO(EINVAL, MAP_AT(self->buf, PAGE, 4 * PAGE));

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	EXPECT_ERRNO(EADDRINUSE, mock_reserve(self->fd, self->ioas, BASE, 1));
	EXPECT_ERRNO(EINVAL, mock_reserve(self->fd, self->ioas, BASE + PAGE, 0));
	EXPECT_ERRNO(EINVAL, mock_reserve(self->fd, self->ioas, -PAGE, 2 * PAGE));
	EXPECT_EQ(0, mock_reserve(self->fd, self->ioas, -PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, mock_reserve(self->fd, NO_ID, 0, PAGE));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, hw_info_is_known)
{
	struct iommu_test_hw_info info = {};
	__u32 length = sizeof(info), type;
	struct mock mock;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, hw_info(self->fd, mock.idev, &info, &length, &type));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, type);
	EXPECT_EQ(8, length);
	EXPECT_EQ(0, info.flags);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	EXPECT_ERRNO(ENOENT, hw_info(self->fd, mock.stdev, &info, &length,
				     &type));
}

/* A few pages take many rounds */
TEST_F(mock, memory_limit_can_be_tiny)
{
	struct mock mock;

	EXPECT_ERRNO(EINVAL, mock_memory_limit(self->fd, 0));
	EXPECT_ERRNO(EINVAL, mock_memory_limit(self->fd, 11));
	ASSERT_EQ(0, mock_memory_limit(self->fd, 12));
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, MAP_AT(self->buf, BUF_SIZE, BASE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE, self->buf,
				    BUF_SIZE));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, BUF_SIZE, 1));
	EXPECT_EQ(0, mock_memory_limit(self->fd, 65536));
}

/* Devices, with operations of this series */

TEST_F(mock, device_can_stay_unattached)
{
	struct iommu_test_mock_config config = MOCK_CONFIG();
	struct mock mock;
	__u32 pt;

	ASSERT_EQ(0, mock_device(self->fd, 0, &config, &mock));
	EXPECT_EQ(0, mock.hwpt);
	EXPECT_ERRNO(EBUSY, destroy(self->fd, mock.idev));
	EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
	pt = self->ioas;
	EXPECT_EQ(0, mock_attach(self->fd, mock.stdev, &pt));
	EXPECT_NE(self->ioas, pt);
	EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, pt));

	pt = self->ioas;
	EXPECT_ERRNO(ENOENT, mock_attach(self->fd, NO_ID, &pt));
	EXPECT_ERRNO(ENOENT, mock_detach(self->fd, NO_ID));
	EXPECT_ERRNO(ENOENT, mock_detach(self->fd, self->ioas));
}

TEST_F(mock, device_config_is_checked)
{
	struct iommu_test_mock_region region = {
		.type = MOCK_REGION_SW_MSI + 1,
	};
	struct iommu_test_mock_config bad[] = {
		MOCK_CONFIG(.flags = MOCK_DEVICE_UNFIT_DRIVER << 1),
		MOCK_CONFIG(.unit = MOCK_UNITS),
		MOCK_CONFIG(.aperture_start = 1, .aperture_last = 0),
		MOCK_CONFIG(.page_sizes = 0),
		MOCK_CONFIG(.page_sizes = PAGE | MOCK_PAGE / 2),
		MOCK_CONFIG(.nr_regions = 17),
		MOCK_CONFIG(.nr_regions = 1, .regions = (uintptr_t)&region),
	};
	struct iommu_test_mock_config config;
	struct mock mock;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_ERRNO(EINVAL, mock_device(self->fd, 0, &bad[i], &mock));
	EXPECT_ERRNO(EFAULT, mock_device(self->fd, 0, NULL, &mock));
	config = MOCK_CONFIG(.nr_regions = 1);
	EXPECT_ERRNO(EFAULT, mock_device(self->fd, 0, &config, &mock));
	config = MOCK_CONFIG(.flags = MOCK_DEVICE_INCOHERENT);
	EXPECT_ERRNO(EINVAL, mock_device(self->fd, 0, &config, &mock));
	config = MOCK_CONFIG(.join = 1 << 30);
	EXPECT_ERRNO(ENOENT, mock_device(self->fd, 0, &config, &mock));
}

/* The IOMMU can't distinguish devices of a group */
TEST_F(mock, devices_join_a_group)
{
	struct iommu_test_mock_config config = MOCK_CONFIG(.unit = 1);
	struct mock a, b, c;
	__u32 ioas2, pt;
	char data;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas2));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &a));
	config.join = a.number;
	ASSERT_EQ(0, mock_device(self->fd, 0, &config, &b));
	EXPECT_EQ(0, mock_dma(self->fd, b.stdev, BASE, &data, 1, 0));
	/* Trap C1: it can't move its sibling elsewhere */
	pt = ioas2;
	EXPECT_ERRNO(EINVAL, mock_attach(self->fd, b.stdev, &pt));
	pt = self->ioas;
	EXPECT_EQ(0, mock_attach(self->fd, b.stdev, &pt));
	EXPECT_EQ(a.hwpt, pt);
	EXPECT_EQ(0, destroy(self->fd, a.stdev));
	EXPECT_EQ(0, mock_dma(self->fd, b.stdev, BASE, &data, 1, 0));

	/* The first device is gone, but the group still exists */
	config.join = b.number;
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &c));
	EXPECT_EQ(b.hwpt ? b.hwpt : pt, c.hwpt);
	config.unit = 2;
	EXPECT_ERRNO(EINVAL, mock_device(self->fd, 0, &config, &a));
	config = MOCK_CONFIG(.unit = 1, .join = b.number,
			     .flags = MOCK_DEVICE_LATE);
	EXPECT_ERRNO(ENOENT, mock_device(self->fd, 0, &config, &a));
}

/* Trap C8: a group has one owner */
TEST_F(mock, devices_join_a_group_of_another_context)
{
	struct iommu_test_mock_config config = MOCK_CONFIG();
	int other = open("/dev/iommu", O_RDWR);
	struct mock a, b;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, mock_device(other, 0, &config, &a));
	config.join = a.number;
	EXPECT_ERRNO(EPERM, mock_device(self->fd, 0, &config, &b));
	EXPECT_EQ(0, close(other));
}

TEST_F(mock, attach_fails_on_demand)
{
	struct iommu_test_mock_config config = MOCK_CONFIG(.unit = 1);
	struct iommu_test_mock_stats stats;
	struct mock a, b;
	__u32 pt;

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, mock_device(self->fd, 0, &config, &a));
	config.join = a.number;
	ASSERT_EQ(0, mock_device(self->fd, 0, &config, &b));

	/* The attach fails at the second device of the group */
	ASSERT_EQ(0, mock_fail(self->fd, 1, MOCK_CALL_ATTACH, 1, 1, ENOMEM));
	pt = self->ioas;
	EXPECT_ERRNO(ENOMEM, mock_attach(self->fd, a.stdev, &pt));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(1, stats.attaches);
	EXPECT_EQ(0, stats.maps);
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 0));
	EXPECT_EQ(0, mock_attach(self->fd, a.stdev, &pt));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(3, stats.attaches);
	EXPECT_EQ(1, stats.maps);
	EXPECT_EQ(0, mock_check_map(self->fd, pt, BASE, self->buf, PAGE));
}

TEST_F(mock, map_fails_on_demand)
{
	struct iommu_test_mock_config config = MOCK_CONFIG(.unit = 1);
	struct iommu_test_mock_stats stats;
	struct mock mock;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	ASSERT_EQ(0, mock_fail(self->fd, 1, MOCK_CALL_MAP, 1, 2, ENOSPC));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	EXPECT_ERRNO(ENOSPC, MAP_AT(self->buf + PAGE, PAGE, BASE + PAGE));
	EXPECT_ERRNO(ENOSPC, MAP_AT(self->buf + PAGE, PAGE, BASE + PAGE));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + PAGE, PAGE, 0));
	EXPECT_EQ(0, MAP_AT(self->buf + PAGE, PAGE, BASE + PAGE));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(2, stats.maps);
	EXPECT_EQ(2 * PAGE, stats.mapped);
	EXPECT_EQ(0, UNMAP(BASE, 2 * PAGE));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(2 * PAGE, stats.unmapped);
	EXPECT_LE(1, stats.syncs);
	EXPECT_EQ(0, stats.unsynced);

	/* The fault is forgotten with the last device of the unit */
	ASSERT_EQ(0, mock_fail(self->fd, 1, MOCK_CALL_MAP, 0, 1, ENOSPC));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_ERRNO(ENODEV, mock_query(self->fd, 1, &stats));
	EXPECT_ERRNO(ENODEV, mock_fail(self->fd, 1, MOCK_CALL_MAP, 0, 1, EIO));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(0, stats.maps);
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, BASE));

	EXPECT_ERRNO(EINVAL, mock_fail(self->fd, MOCK_UNITS, 0, 0, 1, EIO));
	EXPECT_ERRNO(EINVAL, mock_fail(self->fd, 1, MOCK_CALL_UNMAP + 1, 0, 1, EIO));
	EXPECT_ERRNO(EINVAL, mock_fail(self->fd, 1, MOCK_CALL_MAP, 0, 1, 0));
	EXPECT_ERRNO(EINVAL, mock_fail(self->fd, 1, MOCK_CALL_MAP, 0, 1, 4096));
	EXPECT_ERRNO(EINVAL, mock_query(self->fd, MOCK_UNITS, &stats));
	EXPECT_ERRNO(EFAULT, mock_query(self->fd, 1, NULL));
}

/* What a failed map has left in the page table is unmapped */
TEST_F(mock, failed_map_that_keeps_is_cleaned_up)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.unit = 1, .flags = MOCK_DEVICE_KEEPS);
	struct iommu_test_mock_stats stats;
	struct mock mock;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	ASSERT_EQ(0, mock_fail(self->fd, 1, MOCK_CALL_MAP, 0, 1, ENOMEM));
	EXPECT_ERRNO(ENOMEM, MAP_AT(self->buf, PAGE, BASE));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(0, stats.mapped);
	EXPECT_EQ(MOCK_PAGE, stats.unmapped);
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 0));
	EXPECT_EQ(0, MAP_AT(self->buf, BUF_SIZE, BASE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE, self->buf,
				    BUF_SIZE));
}

/* A huge page takes one entry if IOVA and physical address are aligned */
TEST_F(mock, page_sizes_are_used)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.unit = 1, .page_sizes = PAGE | SZ_2M);
	struct iommu_test_mock_stats stats;
	struct mock mock;
	char *huge;

	huge = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(MAP_FAILED, huge);
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	/* Half a page of this IOMMU */
	EXPECT_ERRNO(EINVAL, MAP_AT(self->buf, MOCK_PAGE, BASE));

	ASSERT_EQ(0, MAP_AT(huge, SZ_2M, BASE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE, huge, SZ_2M));
	EXPECT_EQ(0, mock_query(self->fd, 1, &stats));
	EXPECT_EQ(1, stats.maps);
	ASSERT_EQ(0, MAP_AT(huge, SZ_2M - PAGE, BASE + SZ_2M));
	ASSERT_EQ(0, MAP_AT(huge + PAGE, PAGE, BASE + 2 * SZ_2M - PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE + SZ_2M, huge,
				    SZ_2M - PAGE));
	EXPECT_EQ(0, UNMAP(BASE, 2 * SZ_2M));
	EXPECT_EQ(0, munmap(huge, SZ_2M));
}

/* An IOMMU whose smallest pages are larger than the CPU's is refused */
TEST_F(mock, large_pages_alone_are_refused)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.page_sizes = 2 * PAGE);
	struct mock mock;

	EXPECT_ERRNO(EINVAL, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, aperture_limits_iova)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.aperture_start = PAGE, .aperture_last = 4 * PAGE - 1);
	struct mock mock;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_RANGES(self->ioas, { PAGE, 4 * PAGE - 1 });
	EXPECT_EQ(0, MAP_AT(self->buf, 3 * PAGE, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_AT(self->buf, PAGE, 4 * PAGE));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_RANGES(self->ioas, { 0, ~0UL });

	config.aperture_start = 2 * PAGE;
	EXPECT_ERRNO(EADDRINUSE, mock_device(self->fd, self->ioas, &config,
					     &mock));
	EXPECT_RANGES(self->ioas, { 0, ~0UL });
}

/* The limits of the page table are known only after an attach */
TEST_F(mock, late_device_works)
{
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.flags = MOCK_DEVICE_LATE);
	struct mock mock;

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_RANGES(self->ioas, { MOCK_APERTURE_START, MOCK_APERTURE_LAST });
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, BASE, self->buf, PAGE));
}

/*
 * IOMMU_HWPT_ALLOC: if the group is detached, the kernel attaches it for a
 * moment. Otherwise the limits must be known, and a LATE device does not know
 * them.
 */
TEST_F(mock, tables_can_be_made_beforehand)
{
	struct iommu_test_mock_config kinds[] = {
		MOCK_CONFIG(),
		MOCK_CONFIG(.flags = MOCK_DEVICE_LATE),
	};
	__u32 first, second, ioas2;
	struct mock mock;
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas2));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_EQ(0, mock_device(self->fd, 0, &kinds[i], &mock));
		ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas,
					&first));
		EXPECT_EQ(0, mock_check_map(self->fd, first, BASE, self->buf,
					    PAGE));
		EXPECT_RANGES(self->ioas,
			      { MOCK_APERTURE_START, MOCK_APERTURE_LAST });
		second = ioas2;
		ASSERT_EQ(0, mock_attach(self->fd, mock.stdev, &second));
		if (!i) {
			ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas,
						&second));
			EXPECT_EQ(0, mock_check_map(self->fd, second, BASE,
						    self->buf, PAGE));
			EXPECT_EQ(0, mock_replace(self->fd, mock.stdev, &second));
		} else {
			EXPECT_ERRNO(EOPNOTSUPP,
				     alloc_hwpt(self->fd, mock.idev, self->ioas,
						&second));
			second = 0;
		}
		EXPECT_EQ(0, mock_replace(self->fd, mock.stdev, &first));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
		EXPECT_EQ(0, destroy(self->fd, first));
		if (second)
			EXPECT_EQ(0, destroy(self->fd, second));
		EXPECT_RANGES(self->ioas, { 0, ~0UL });
	}
}

/* Trap A16: firmware can report nonsense */
TEST_F(mock, regions_are_reserved)
{
	struct iommu_test_mock_region regions[] = {
		{ 2 * PAGE, PAGE, MOCK_REGION_DIRECT },
		{ 4 * PAGE, PAGE, MOCK_REGION_DIRECT_RELAXABLE },
		{ 6 * PAGE, PAGE, MOCK_REGION_RESERVED },
		{ 8 * PAGE, PAGE, MOCK_REGION_MSI },
		{ 10 * PAGE, 0, MOCK_REGION_RESERVED },
		{ -2 * PAGE, PAGE, MOCK_REGION_RESERVED },
		{ -PAGE, 2 * PAGE, MOCK_REGION_MSI },
	};
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.aperture_start = 0, .aperture_last = ~0UL,
			    .nr_regions = ARRAY_SIZE(regions),
			    .regions = (uintptr_t)regions);
	struct mock mock;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_RANGES(self->ioas, { 0, 2 * PAGE - 1 },
		      { 3 * PAGE, 6 * PAGE - 1 }, { 7 * PAGE, 8 * PAGE - 1 },
		      { 9 * PAGE, -2 * PAGE - 1 });
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_RANGES(self->ioas, { 0, ~0UL });
}

/* The range where the kernel itself maps the MSI doorbell */
TEST_F(mock, software_msi_window_is_reserved)
{
	struct iommu_test_mock_region region = {
		BASE, SZ_2M, MOCK_REGION_SW_MSI
	};
	struct iommu_test_mock_config config =
		MOCK_CONFIG(.nr_regions = 1, .regions = (uintptr_t)&region);
	struct mock mock;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &mock));
	EXPECT_RANGES(self->ioas, { BASE + SZ_2M, MOCK_APERTURE_LAST });
}

/*
 * Trap C6: a page table that enforces coherency is not for devices that can't
 */
TEST_F(mock, coherency_splits_tables)
{
	struct iommu_test_mock_config enforces =
		MOCK_CONFIG(.unit = 1, .flags = MOCK_DEVICE_ENFORCES);
	struct iommu_test_mock_config bypasses = MOCK_CONFIG(.unit = 1);
	struct mock a, b, c;
	__u32 pt;

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &enforces, &a));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &bypasses, &b));
	EXPECT_NE(a.hwpt, b.hwpt);
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &enforces, &c));
	EXPECT_EQ(a.hwpt, c.hwpt);
	EXPECT_EQ(0, mock_check_map(self->fd, a.hwpt, BASE, self->buf, PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, b.hwpt, BASE, self->buf, PAGE));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 1));
	pt = a.hwpt;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, b.stdev, &pt));
}

/* Trap C7: a page table belongs to one unit */
TEST_F(mock, units_split_tables)
{
	struct iommu_test_mock_config config = MOCK_CONFIG(.unit = 1);
	struct mock a, b;
	__u32 pt;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &a));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config, &b));
	EXPECT_NE(a.hwpt, b.hwpt);
	pt = a.hwpt;
	EXPECT_ERRNO(EINVAL, mock_replace(self->fd, b.stdev, &pt));
}

TEST_F(mock, dma_goes_through_the_table)
{
	char data[3 * PAGE], *cow = self->buf + 8 * PAGE;
	struct mock mock;
	__u64 iova;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, MAP_AT(self->buf + PAGE, 2 * PAGE, BASE));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, BASE + 5, data, PAGE, 0));
	EXPECT_EQ(0, memcmp(self->buf + PAGE + 5, data, PAGE));
	memset(data, 0x5a, sizeof(data));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, BASE + PAGE - 1, data, 2,
			      MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0x5a, self->buf[2 * PAGE - 1]);
	EXPECT_EQ(0x5a, self->buf[2 * PAGE]);
	EXPECT_NE(0x5a, self->buf[2 * PAGE + 1]);

	/* Beyond the mapping, and against its direction */
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev, BASE, data, 3 * PAGE,
				     0));
	iova = BASE + 4 * PAGE;
	ASSERT_EQ(0, map(self->fd, self->ioas,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)cow, PAGE, &iova));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, iova, data, 1, 0));
	EXPECT_ERRNO(EPERM, mock_dma(self->fd, mock.stdev, iova, data, 1,
				     MOCK_ACCESS_RW_WRITE));

	EXPECT_ERRNO(EFAULT, mock_dma(self->fd, mock.stdev, BASE, NULL, 1, 0));
	EXPECT_ERRNO(EFAULT, mock_dma(self->fd, mock.stdev, BASE, NULL, 1,
				      MOCK_ACCESS_RW_WRITE));
	EXPECT_ERRNO(EOPNOTSUPP, mock_dma(self->fd, mock.stdev, BASE, data, 1, 2));
	EXPECT_ERRNO(ENOENT, mock_dma(self->fd, NO_ID, BASE, data, 1, 0));
	EXPECT_EQ(0, UNMAP(BASE, 2 * PAGE));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev, BASE, data, 1, 0));
	EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
	EXPECT_ERRNO(ENXIO, mock_dma(self->fd, mock.stdev, iova, data, 1, 0));
}

/*
 * Accesses
 */

#define PINS MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES
#define SYZ(_nth, _offset) ((__u64)(_offset) << 32 | (_nth))

TEST_F(mock, access_is_a_file)
{
	struct rlimit room, none = {};
	char path[64], name[64] = "";
	int access;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, PINS, &access));
	EXPECT_EQ(FD_CLOEXEC, fcntl(access, F_GETFD));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", access);
	EXPECT_LT(0, readlink(path, name, sizeof(name) - 1));
	EXPECT_STREQ("anon_inode:[iommufd_test_staccess]", name);
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, close(access));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));

	/* No fd is free */
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &room));
	none.rlim_max = room.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_ERRNO(ENOMEM, access_create(self->fd, self->ioas, 0, &access));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &room));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, access_create_errors)
{
	struct iommu_test_cmd *ro = (void *)self->buf;
	int access;

	EXPECT_ERRNO(EOPNOTSUPP, access_create(self->fd, NO_ID, 2, &access));
	EXPECT_ERRNO(ENOENT, access_create(self->fd, NO_ID, 0, &access));
	/* Such an access needs whole pages */
	ASSERT_EQ(0, MAP_AT(self->buf, 10, BASE));
	EXPECT_ERRNO(EADDRINUSE, access_create(self->fd, self->ioas, PINS,
					       &access));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	EXPECT_EQ(0, close(access));
	EXPECT_EQ(0, UNMAP(BASE, 10));

	*ro = (struct iommu_test_cmd){
		.size = sizeof(*ro),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
		.id = self->ioas,
	};
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_TEST_CMD, ro));
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
}

TEST_F(mock, access_pins)
{
	__u32 item, other;
	int access;

	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, BASE));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, PINS, &access));
	EXPECT_EQ(0, access_pin(self->fd, access, BASE, self->buf, 2 * PAGE, 0,
				&item));
	EXPECT_EQ(0, item);
	EXPECT_EQ(0, access_pin(self->fd, access, BASE + PAGE, NULL, PAGE,
				MOCK_FLAGS_ACCESS_WRITE, &other));
	EXPECT_EQ(1, other);
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, 2 * PAGE, 1));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + 2 * PAGE, PAGE, 0));
	EXPECT_EQ(0, access_unpin(self->fd, access, item));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 0));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + PAGE, PAGE, 1));
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, item));

	/* The second area, at an offset of one page */
	ASSERT_EQ(0, MAP_AT(self->buf + 8 * PAGE, 4 * PAGE, BASE + 8 * PAGE));
	EXPECT_EQ(0, access_pin(self->fd, access, SYZ(1, PAGE),
				self->buf + 9 * PAGE, PAGE,
				MOCK_FLAGS_ACCESS_SYZ, &item));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + 9 * PAGE, PAGE, 1));

	/* Unmapping an area unpins its pages; closing the fd unpins the rest */
	EXPECT_EQ(0, UNMAP(BASE, 4 * PAGE));
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, other));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, 4 * PAGE, 0));
	EXPECT_EQ(0, close(access));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, BUF_SIZE, 0));
}

TEST_F(mock, access_pin_errors)
{
	struct iommu_test_cmd *ro = (void *)self->buf;
	__u64 iova = BASE + 8 * PAGE;
	int access, copies;
	__u32 item;

	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, BASE));
	ASSERT_EQ(0, map(self->fd, self->ioas,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf, PAGE, &iova));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &copies));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, PINS, &access));
	EXPECT_ERRNO(ENOMEM, access_pin(self->fd, -1, 0, NULL, (16 << 20) + 1,
					~0U, &item));
	EXPECT_ERRNO(EOPNOTSUPP, access_pin(self->fd, -1, 0, NULL, 0, 2, &item));
	EXPECT_ERRNO(EBADFD, access_pin(self->fd, -1, 0, NULL, 0, 0, &item));
	EXPECT_ERRNO(EBADFD, access_pin(self->fd, self->fd, 0, NULL, 0, 0, &item));
	EXPECT_ERRNO(EOPNOTSUPP, access_pin(self->fd, copies, BASE, NULL, PAGE, 0,
					    &item));
	EXPECT_ERRNO(EINVAL, access_pin(self->fd, access, BASE, NULL, 0, 0,
					&item));
	EXPECT_ERRNO(EINVAL, access_pin(self->fd, access, BASE + 1, NULL, PAGE,
					0, &item));
	EXPECT_ERRNO(EOVERFLOW, access_pin(self->fd, access, -PAGE, NULL,
					   2 * PAGE, 0, &item));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, access, BASE - PAGE, NULL,
					2 * PAGE, 0, &item));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, access, BASE + 3 * PAGE, NULL,
					2 * PAGE, 0, &item));
	EXPECT_ERRNO(EPERM, access_pin(self->fd, access, iova, NULL, PAGE,
				       MOCK_FLAGS_ACCESS_WRITE, &item));
	EXPECT_ERRNO(EBADE, access_pin(self->fd, access, BASE, self->buf + PAGE,
				       PAGE, 0, &item));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, access, SYZ(2, 0), NULL, PAGE,
					MOCK_FLAGS_ACCESS_SYZ, &item));
	EXPECT_ERRNO(EBADFD, access_unpin(self->fd, -1, 0));

	*ro = (struct iommu_test_cmd){
		.size = sizeof(*ro),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.id = access,
		.access_pages.iova = BASE,
		.access_pages.length = 4 * PAGE,
	};
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_TEST_CMD, ro));
	ASSERT_EQ(0, mprotect(ro, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, munmap(self->buf + 2 * PAGE, PAGE));
	EXPECT_ERRNO(EFAULT, access_pin(self->fd, access, BASE, NULL, 4 * PAGE, 0,
					&item));

	/* No failed request has left a pin or taken a number */
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, 2 * PAGE, 0));
	EXPECT_EQ(0, access_pin(self->fd, access, BASE, self->buf, 2 * PAGE, 0,
				&item));
	EXPECT_EQ(0, item);
	EXPECT_EQ(0, close(copies));
	EXPECT_EQ(0, close(access));
}

/* Directly, and by pinning */
TEST_F(mock, access_copies)
{
	__u32 ways[] = { 0, MOCK_ACCESS_RW_SLOW_PATH };
	char data[2 * PAGE];
	int access, i;

	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf + 4 * PAGE, PAGE, BASE + 4 * PAGE));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		memset(data, 0, sizeof(data));
		EXPECT_EQ(0, access_rw(self->fd, access, BASE + 100, data,
				       2 * PAGE, ways[i]));
		EXPECT_EQ(0, memcmp(self->buf + 100, data, 2 * PAGE));
		memset(data, 0x33 + i, sizeof(data));
		EXPECT_EQ(0, access_rw(self->fd, access, BASE + 4 * PAGE - 2,
				       data, 4, ways[i] | MOCK_ACCESS_RW_WRITE));
		EXPECT_EQ(0, memcmp(self->buf + 4 * PAGE - 2, data, 4));
		EXPECT_EQ(0, access_rw(self->fd, access, SYZ(1, 7), data, 8,
				       ways[i] | MOCK_FLAGS_ACCESS_SYZ));
		EXPECT_EQ(0, memcmp(self->buf + 4 * PAGE + 7, data, 8));
	}
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, BUF_SIZE, 0));

	EXPECT_ERRNO(ENOMEM, access_rw(self->fd, -1, 0, data, (16 << 20) + 1,
				       ~0U));
	EXPECT_ERRNO(EOPNOTSUPP, access_rw(self->fd, -1, 0, data, 0, 2));
	EXPECT_ERRNO(EBADFD, access_rw(self->fd, -1, 0, data, 0, 0));
	EXPECT_ERRNO(EINVAL, access_rw(self->fd, access, BASE, data, 0, 0));
	EXPECT_ERRNO(EOVERFLOW, access_rw(self->fd, access, -1, data, 2, 0));
	EXPECT_ERRNO(ENOENT, access_rw(self->fd, access, BASE - 1, data, 2, 0));
	EXPECT_ERRNO(ENOENT, access_rw(self->fd, access, BASE + 5 * PAGE - 1,
				       data, 2, 0));
	EXPECT_ERRNO(EFAULT, access_rw(self->fd, access, BASE, NULL, 1, 0));
	EXPECT_ERRNO(EFAULT, access_rw(self->fd, access, BASE, NULL, 1,
				       MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, close(access));
}

TEST_F(mock, access_moves)
{
	char a = 0, b = 0;
	__u32 ioas2, item;
	int access;

	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas2));
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, map_at(self->fd, ioas2, (uintptr_t)self->buf + PAGE, PAGE,
			    BASE));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, PINS, &access));
	ASSERT_EQ(0, access_pin(self->fd, access, BASE, self->buf, PAGE, 0,
				&item));
	EXPECT_EQ(0, access_replace(self->fd, access, self->ioas));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 1));
	EXPECT_EQ(0, access_replace(self->fd, access, ioas2));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 0));
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, item));
	EXPECT_EQ(0, access_rw(self->fd, access, BASE, &a, 1, 0));
	EXPECT_EQ(self->buf[PAGE], a);
	EXPECT_EQ(0, access_pin(self->fd, access, SYZ(0, 0), self->buf + PAGE,
				PAGE, MOCK_FLAGS_ACCESS_SYZ, &item));
	EXPECT_EQ(1, item);
	EXPECT_EQ(0, destroy(self->fd, self->ioas));

	/* After a failure the access still uses the old IOAS (trap D1) */
	EXPECT_ERRNO(ENOENT, access_replace(self->fd, access, NO_ID));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, MAP_AT(self->buf, 10, BASE));
	EXPECT_ERRNO(EADDRINUSE, access_replace(self->fd, access, self->ioas));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + PAGE, PAGE, 1));
	EXPECT_EQ(0, access_rw(self->fd, access, BASE, &b, 1, 0));
	EXPECT_EQ(a, b);

	EXPECT_EQ(0, access_detach(self->fd, access));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf + PAGE, PAGE, 0));
	EXPECT_ERRNO(ENOENT, access_rw(self->fd, access, BASE, &a, 1, 0));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, access, BASE, NULL, PAGE, 0,
					&item));
	EXPECT_ERRNO(ENOENT, access_pin(self->fd, access, SYZ(0, 0), NULL, PAGE,
					MOCK_FLAGS_ACCESS_SYZ, &item));
	EXPECT_ERRNO(ENOENT, access_replace(self->fd, access, ioas2));
	EXPECT_EQ(0, access_detach(self->fd, access));
	EXPECT_EQ(0, access_attach(self->fd, access, ioas2));
	EXPECT_EQ(0, access_rw(self->fd, access, BASE, &a, 1, 0));

	EXPECT_ERRNO(EBADFD, access_replace(self->fd, -1, ioas2));
	EXPECT_ERRNO(EBADFD, access_attach(self->fd, -1, ioas2));
	EXPECT_ERRNO(EBADFD, access_detach(self->fd, -1));
	EXPECT_EQ(0, close(access));
}

/* Trap A19: UNMAP gives up if an access does not unpin */
TEST_F(mock, stubborn_access_is_EDEADLOCK)
{
	__u32 item;
	int access;

	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, PINS, &access));
	ASSERT_EQ(0, access_pin(self->fd, access, BASE, NULL, PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, access, MOCK_ACCESS_NEVER_UNPINS, 0));
	EXPECT_ERRNO(EDEADLOCK, UNMAP(BASE, PAGE));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 1));
	ASSERT_EQ(0, access_set(self->fd, access, 0, 20));
	EXPECT_EQ(0, UNMAP(BASE, PAGE));

	EXPECT_ERRNO(EOPNOTSUPP, access_set(self->fd, access, 4, 0));
	EXPECT_ERRNO(EBADFD, access_set(self->fd, self->fd, 0, 0));
	EXPECT_EQ(0, close(access));
}

/* The fd of an access holds the context, whose own fd may be closed first */
TEST_F(mock, access_outlives_the_file)
{
	int other = open("/dev/iommu", O_RDWR), access;
	__u32 ioas, item;
	char data;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, alloc_ioas(other, &ioas));
	ASSERT_EQ(0, map_at(other, ioas, (uintptr_t)self->buf, PAGE, BASE));
	ASSERT_EQ(0, access_create(other, ioas, PINS, &access));
	ASSERT_EQ(0, access_pin(other, access, BASE, NULL, PAGE, 0, &item));
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, PAGE, 1));
	EXPECT_EQ(0, access_rw(self->fd, access, BASE, &data, 1, 0));
	EXPECT_EQ(self->buf[0], data);
	EXPECT_EQ(0, close(access));
}

/* COPY also takes the number of an area and an offset, for fuzzers */
TEST_F(mock, copy_takes_an_area_by_number)
{
	__u64 iova = BASE + 8 * PAGE;
	struct mock mock;

	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
	ASSERT_EQ(0, MAP_AT(self->buf + 2 * PAGE, 2 * PAGE, BASE + 4 * PAGE));
	EXPECT_EQ(0, copy(self->fd, self->ioas, self->ioas,
			  FIXED_RW | MOCK_FLAGS_ACCESS_SYZ, PAGE, &iova,
			  SYZ(1, PAGE)));
	EXPECT_EQ(0, mock_check_map(self->fd, mock.hwpt, iova,
				    self->buf + 3 * PAGE, PAGE));
}

/*
 * Faults
 */

static bool fault_at(int file, int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	return pwrite(file, text, strlen(text), 0) > 0;
}

/* Was the fault injected? The read can consume it. */
static bool fault_fired(int file)
{
	char text[16] = "";
	bool fired = pread(file, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	while (!fault_at(file, 0))
		;
	return fired;
}

static bool fault_knob(const char *attribute, const char *knob, int value)
{
	char path[64];
	int file;
	bool ret;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", attribute, knob);
	file = open(path, O_WRONLY);
	if (file < 0)
		return false;
	ret = dprintf(file, "%d", value) > 0;
	close(file);
	return ret;
}

/* Let the n-th fault point of the mock IOMMU fail once; 0 ends that */
static bool iommufd_fault_at(int n)
{
	return fault_knob("fail_iommufd", "probability", n ? 100 : 0) &&
	       fault_knob("fail_iommufd", "space", n) &&
	       fault_knob("fail_iommufd", "times", !!n);
}

static bool iommufd_fault_fired(void)
{
	int file = open("/sys/kernel/debug/fail_iommufd/times", O_RDONLY);
	char text[16] = "";
	bool fired = read(file, text, sizeof(text) - 1) > 0 && !atoi(text);

	close(file);
	return fired;
}

TEST_F(mock, faults_have_a_directory)
{
	EXPECT_EQ(0, access("/sys/kernel/debug/fail_iommufd/probability", F_OK));
	EXPECT_EQ(0, access("/sys/kernel/debug/fail_iommufd/times", F_OK));
}

/*
 * Inject each fault in turn: a failed request leaves nothing, and then succeeds
 */
TEST_F(mock, faults_are_undone)
{
	int file = open("/proc/thread-self/fail-nth", O_RDWR);
	struct mock mock;
	int n, ret, nr_failed = 0;

	ASSERT_LE(0, file);
	fault_knob("fail_iommufd", "verbose", 0);
	fault_knob("failslab", "verbose", 0);
	fault_knob("fail_page_alloc", "verbose", 0);
	fault_knob("fail_usercopy", "verbose", 0);
	for (n = 1; n < 1000; n++) {
		ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
		ASSERT_TRUE(fault_at(file, n));
		ret = mock_domain(self->fd, self->ioas, &mock);
		if (!fault_fired(file))
			break;
		nr_failed += !!ret;
		if (!ret)
			ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		ASSERT_EQ(0, mock_check_refs(self->fd, self->buf, BUF_SIZE, 0));
		EXPECT_RANGES(self->ioas, { 0, ~0UL });
		ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
		ASSERT_EQ(0, destroy(self->fd, mock.stdev));
		ASSERT_EQ(0, destroy(self->fd, self->ioas));
		ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	}
	EXPECT_EQ(0, ret);
	EXPECT_LT(5, n);
	EXPECT_LE(3, nr_failed);
}

/* Errors of an IOMMU driver: regions, charge, page table entries */
TEST_F(mock, faults_of_its_own_have_their_errno)
{
	bool seen[3] = {};
	struct mock mock;
	int n, ret;

	fault_knob("fail_iommufd", "verbose", 0);
	for (n = 1; n < 100; n++) {
		ASSERT_EQ(0, MAP_AT(self->buf, 2 * PAGE, BASE));
		ASSERT_TRUE(iommufd_fault_at(n));
		ret = mock_domain(self->fd, self->ioas, &mock) ? errno : 0;
		if (!iommufd_fault_fired())
			break;
		seen[0] |= ret == EINVAL;
		seen[1] |= ret == ENOMEM;
		seen[2] |= ret == ENOENT;
		ASSERT_TRUE(iommufd_fault_at(0));
		ASSERT_NE(0, ret);
		ASSERT_EQ(0, mock_check_refs(self->fd, self->buf, BUF_SIZE, 0));
		EXPECT_RANGES(self->ioas, { 0, ~0UL });
		ASSERT_EQ(0, UNMAP(BASE, 2 * PAGE));
	}
	ASSERT_TRUE(iommufd_fault_at(0));
	EXPECT_EQ(0, ret);
	EXPECT_LT(3, n);
	EXPECT_TRUE(seen[0] && seen[1] && seen[2]);
}

static int delays(char *text, size_t size)
{
	int file = open(MOCK_DELAY, O_RDONLY);
	int ret = read(file, text, size);

	close(file);
	return ret;
}

TEST_F(mock, delays_are_off_by_default)
{
	char text[16];

	/* Whoever sets DELAYS adds some before running the program */
	EXPECT_EQ(!getenv("DELAYS"), !delays(text, sizeof(text)));
}

TEST_F(mock, delays_are_listed_and_counted)
{
	struct timespec start, end;
	char text[256] = "";

	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("iommufd_areas_map 20000"));
	ASSERT_EQ(0, mock_delay("iommufd_areas_unmap 1 50\n"));
	ASSERT_EQ(0, mock_delay("iommufd_dirty_note 0 0"));
	clock_gettime(CLOCK_MONOTONIC, &start);
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, BASE));
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_LE(20000000, (end.tv_sec - start.tv_sec) * 1000000000LL +
			    end.tv_nsec - start.tv_nsec);
	ASSERT_EQ(0, UNMAP(BASE, PAGE));
	EXPECT_EQ(0, UNMAP(0, ~0ULL));
	EXPECT_EQ(1, mock_nr_delayed());
	ASSERT_LT(0, delays(text, sizeof(text) - 1));
	EXPECT_STREQ("iommufd_areas_map 20000 100 1\n"
		     "iommufd_areas_unmap 1 50 2\n"
		     "iommufd_dirty_note 0 0 0\n", text);
	EXPECT_EQ(0, mock_delay("\n"));
	EXPECT_EQ(0, delays(text, sizeof(text)));
}

TEST_F(mock, delay_errors)
{
	static const char *const bad[] = {
		"iommufd_areas_map", "iommufd_areas_map x",
		"iommufd_areas_map -1", "iommufd_areas_map 20001",
		"iommufd_areas_map 1 x", "iommufd_areas_map 1 101",
		"iommufd_areas_map 1 1 1",
	};
	char text[16];
	int i;

	ASSERT_EQ(0, mock_delay(""));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_ERRNO(EINVAL, mock_delay(bad[i]));
	EXPECT_ERRNO(ENOENT, mock_delay("no_such_function 1"));
	EXPECT_EQ(0, delays(text, sizeof(text)));
	for (i = 0; i < 64; i++)
		ASSERT_EQ(0, mock_delay("iommufd_areas_map 0"));
	EXPECT_ERRNO(ENOSPC, mock_delay("iommufd_areas_map 0"));
	EXPECT_EQ(0, mock_delay(""));
	EXPECT_EQ(0, delays(text, sizeof(text)));
}

TEST_HARNESS_MAIN

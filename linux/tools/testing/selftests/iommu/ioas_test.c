// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/iommu without a device: sizes of structures, ids, and the IOVA space.
 *
 * An IOAS without a device pins nothing, so this runs on any machine.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "../kselftest_harness.h"
#include "iommufd_util.h"

/* Size of a huge page: what one page of page table entries maps */
#define HUGE_PAGE (PAGE * (PAGE / 8))

FIXTURE(ioas)
{
	int fd;
	__u32 id;
	char *buf;
};

FIXTURE_SETUP(ioas)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->id));
	self->buf = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buf);
}

FIXTURE_TEARDOWN(ioas)
{
	close(self->fd);
}

#define MAP_AT(_va, _length, _iova)                                            \
	map_at(self->fd, self->id, (uintptr_t)(_va), _length, _iova)
#define UNMAP(_iova, _length) unmap(self->fd, self->id, _iova, _length, NULL)

/* Rules for all ioctls */
static const struct {
	unsigned long word;
	size_t size;
	/* Size of the first version, if it was smaller */
	size_t min;
} requests[] = {
	{ IOMMU_DESTROY, sizeof(struct iommu_destroy) },
	{ IOMMU_IOAS_ALLOC, sizeof(struct iommu_ioas_alloc) },
	{ IOMMU_IOAS_IOVA_RANGES, sizeof(struct iommu_ioas_iova_ranges) },
	{ IOMMU_IOAS_MAP, sizeof(struct iommu_ioas_map) },
	{ IOMMU_IOAS_UNMAP, sizeof(struct iommu_ioas_unmap) },
	{ IOMMU_IOAS_ALLOW_IOVAS, sizeof(struct iommu_ioas_allow_iovas) },
	{ IOMMU_IOAS_COPY, sizeof(struct iommu_ioas_copy) },
	{ IOMMU_IOAS_MAP_FILE, sizeof(struct iommu_ioas_map_file) },
	{ IOMMU_IOAS_CHANGE_PROCESS, sizeof(struct iommu_ioas_change_process) },
	{ IOMMU_OPTION, sizeof(struct iommu_option) },
	{ IOMMU_HWPT_ALLOC, sizeof(struct iommu_hwpt_alloc), 24 },
	{ IOMMU_GET_HW_INFO, sizeof(struct iommu_hw_info), 32 },
};

/* Ioctl numbers and sizes of structures that programs use */
TEST(layout_is_that_of_later_kernels)
{
	EXPECT_EQ(0x3b80, IOMMU_DESTROY);
	EXPECT_EQ(0x3b81, IOMMU_IOAS_ALLOC);
	EXPECT_EQ(0x3b84, IOMMU_IOAS_IOVA_RANGES);
	EXPECT_EQ(0x3b85, IOMMU_IOAS_MAP);
	EXPECT_EQ(0x3b86, IOMMU_IOAS_UNMAP);
	EXPECT_EQ(8, sizeof(struct iommu_destroy));
	EXPECT_EQ(12, sizeof(struct iommu_ioas_alloc));
	EXPECT_EQ(32, sizeof(struct iommu_ioas_iova_ranges));
	EXPECT_EQ(40, sizeof(struct iommu_ioas_map));
	EXPECT_EQ(24, sizeof(struct iommu_ioas_unmap));
	EXPECT_EQ(16, offsetof(struct iommu_ioas_map, user_va));
}

/* A structure shorter than the first version is EINVAL */
TEST_F(ioas, short_structure_is_EINVAL)
{
	__u32 cmd[32] = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		cmd[0] = (requests[i].min ?: requests[i].size) - 1;
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, requests[i].word, cmd));
		cmd[0] = 0;
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, requests[i].word, cmd));
	}
}

/* Bytes that the kernel does not know must be zero */
TEST_F(ioas, unknown_tail_is_E2BIG)
{
	__u8 cmd[256];
	int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		memset(cmd, 0, sizeof(cmd));
		*(__u32 *)cmd = sizeof(cmd);
		cmd[requests[i].size] = 1;
		EXPECT_ERRNO(E2BIG, ioctl(self->fd, requests[i].word, cmd));
		cmd[requests[i].size] = 0;
		cmd[sizeof(cmd) - 1] = 1;
		EXPECT_ERRNO(E2BIG, ioctl(self->fd, requests[i].word, cmd));
	}
}

/* A longer structure of a newer program works like the known one */
TEST_F(ioas, zero_tail_changes_nothing)
{
	__u8 cmd[256];
	int i, ret, err;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		memset(cmd, 0, sizeof(cmd));
		*(__u32 *)cmd = requests[i].size;
		errno = 0;
		ret = ioctl(self->fd, requests[i].word, cmd);
		err = errno;
		memset(cmd, 0, sizeof(cmd));
		*(__u32 *)cmd = requests[i].size + 1;
		errno = 0;
		EXPECT_EQ(ret, ioctl(self->fd, requests[i].word, cmd));
		EXPECT_EQ(err, errno);
	}
}

/* The answer is at the same offset */
TEST_F(ioas, zero_tail_is_accepted)
{
	struct {
		struct iommu_ioas_alloc alloc;
		__u32 more[8];
	} cmd = { .alloc.size = sizeof(cmd), .more[7] = 0 };

	EXPECT_EQ(0, ioctl(self->fd, IOMMU_IOAS_ALLOC, &cmd));
	EXPECT_EQ(2, cmd.alloc.out_ioas_id);
}

/* A size of gigabytes fails at once (trap A18) */
TEST_F(ioas, huge_size_is_E2BIG)
{
	struct iommu_ioas_alloc alloc = { .size = 0xffffffff };

	EXPECT_ERRNO(E2BIG, ioctl(self->fd, IOMMU_IOAS_ALLOC, &alloc));
}

/* No structure, and one that continues beyond mapped memory */
TEST_F(ioas, unreadable_structure_is_EFAULT)
{
	char *end = self->buf + PAGE;
	int i;

	ASSERT_EQ(0, munmap(end, PAGE));
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, requests[i].word, NULL));
		*(__u32 *)(end - 4) = requests[i].size;
		EXPECT_ERRNO(EFAULT,
			     ioctl(self->fd, requests[i].word, end - 4));
	}
}

/* Programs detect later ioctls by ENOTTY */
TEST_F(ioas, unknown_requests_are_ENOTTY)
{
	static const int later[] = { 0x8b, 0x8c, 0x8d, 0x8e, 0x90, 0x91, 0x93,
				     0x94, 0xff, 0x00, 0x7f };
	__u32 cmd[32] = { sizeof(cmd) };
	int i;

	for (i = 0; i < ARRAY_SIZE(later); i++)
		EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x3b00 | later[i], cmd));
	/* A valid number with another type, size or direction */
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x3a81, cmd));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, IOMMU_IOAS_ALLOC | 1 << 16, cmd));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, IOMMU_IOAS_ALLOC | 1 << 30, cmd));
}

/* read(), write() and mmap() fail */
TEST_F(ioas, read_write_and_mmap_do_not_exist)
{
	EXPECT_ERRNO(EINVAL, read(self->fd, self->buf, 8));
	EXPECT_ERRNO(EINVAL, write(self->fd, self->buf, 8));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(ENODEV, errno);
}

/* Reserved fields and flags are checked before ids */
TEST_F(ioas, reserved_and_flags_are_EOPNOTSUPP)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc), .flags = 1 };
	struct iommu_ioas_iova_ranges ranges = { .size = sizeof(ranges),
						 .__reserved = 1 };
	struct iommu_ioas_map cmd = { .size = sizeof(cmd), .__reserved = 1 };

	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, IOMMU_IOAS_ALLOC, &alloc));
	EXPECT_ERRNO(EOPNOTSUPP,
		     ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &ranges));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, IOMMU_IOAS_MAP, &cmd));
	cmd.__reserved = 0;
	cmd.flags = 8;
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, IOMMU_IOAS_MAP, &cmd));
}

/*
 * Ids
 */

/* Ids begin at 1, and the lowest free one is allocated */
TEST_F(ioas, ids_are_the_lowest_free)
{
	__u32 id;

	EXPECT_EQ(1, self->id);
	EXPECT_EQ(0, alloc_ioas(self->fd, &id));
	EXPECT_EQ(2, id);
	EXPECT_EQ(0, alloc_ioas(self->fd, &id));
	EXPECT_EQ(3, id);
	EXPECT_EQ(0, destroy(self->fd, 2));
	EXPECT_EQ(0, alloc_ioas(self->fd, &id));
	EXPECT_EQ(2, id);
}

/* Ids of no object: unused, destroyed, impossible */
TEST_F(ioas, unknown_ids_are_ENOENT)
{
	__u64 iova = 0;
	int i;
	static const __u32 ids[] = { 0, 2, 1000, 0x7fffffff, 0x80000000, ~0U };

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		EXPECT_ERRNO(ENOENT, destroy(self->fd, ids[i]));
		EXPECT_ERRNO(ENOENT, unmap(self->fd, ids[i], 0, PAGE, NULL));
		EXPECT_ERRNO(ENOENT, map(self->fd, ids[i], FIXED_RW,
					 (uintptr_t)self->buf, PAGE, &iova));
	}
	EXPECT_EQ(0, destroy(self->fd, self->id));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, self->id));
}

/* Each open file has its own ids */
TEST_F(ioas, files_do_not_share_ids)
{
	int other = open("/dev/iommu", O_RDWR);
	__u32 id;

	ASSERT_LE(0, other);
	EXPECT_ERRNO(ENOENT, destroy(other, self->id));
	EXPECT_EQ(0, alloc_ioas(other, &id));
	EXPECT_EQ(1, id);
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(0, destroy(self->fd, self->id));
}

/* Mappings do not prevent the destroy of an IOAS (trap B9) */
TEST_F(ioas, destroy_with_mappings_succeeds)
{
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, PAGE));
	EXPECT_EQ(0, destroy(self->fd, self->id));
}

/* If the id can't be written, the object is gone (traps A14, B7) */
TEST_F(ioas, alloc_with_unwritable_answer_is_undone)
{
	struct iommu_ioas_alloc *alloc = (void *)self->buf;
	__u32 id;

	alloc->size = sizeof(*alloc);
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_ALLOC, alloc));
	EXPECT_ERRNO(ENOENT, destroy(self->fd, 2));
	EXPECT_EQ(0, alloc_ioas(self->fd, &id));
	EXPECT_EQ(2, id);
}

/*
 * IOVA_RANGES
 */

/* Without a device everything is usable */
TEST_F(ioas, ranges_without_device_are_everything)
{
	struct iommu_iova_range range[2] = {};
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = self->id,
		.num_iovas = 2,
		.allowed_iovas = (uintptr_t)range,
	};

	EXPECT_EQ(0, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	EXPECT_EQ(1, cmd.num_iovas);
	EXPECT_EQ(1, cmd.out_iova_alignment);
	EXPECT_EQ(0, range[0].start);
	EXPECT_EQ(~0UL, range[0].last);
	/* Mappings make no difference */
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, PAGE));
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	EXPECT_EQ(1, cmd.num_iovas);
}

/* A call without room returns the number of ranges */
TEST_F(ioas, ranges_without_room_are_EMSGSIZE)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = self->id,
	};

	EXPECT_ERRNO(EMSGSIZE, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	EXPECT_EQ(1, cmd.num_iovas);
}

/* Array or structure can't be written, or there is no such IOAS */
TEST_F(ioas, ranges_errors)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = self->id,
		.num_iovas = 1,
	};
	struct iommu_ioas_iova_ranges *ro = (void *)self->buf;

	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	cmd.ioas_id = 77;
	EXPECT_ERRNO(ENOENT, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, &cmd));

	*ro = cmd;
	ro->ioas_id = self->id;
	ro->num_iovas = 0;
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES, ro));
}

/*
 * MAP at a fixed IOVA
 */

/* A mapping needs a direction (trap A9), which is checked before the id */
TEST_F(ioas, map_without_direction_is_EINVAL)
{
	__u64 iova = PAGE;

	EXPECT_ERRNO(EINVAL, map(self->fd, 99, IOMMU_IOAS_MAP_FIXED_IOVA,
				 (uintptr_t)self->buf, PAGE, &iova));
	EXPECT_ERRNO(EINVAL,
		     map(self->fd, self->id, 0, (uintptr_t)self->buf, PAGE, &iova));
}

/* Each direction alone, and both */
TEST_F(ioas, map_takes_any_direction)
{
	__u64 iova = PAGE;

	EXPECT_EQ(0, map(self->fd, self->id,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf, PAGE, &iova));
	iova = 2 * PAGE;
	EXPECT_EQ(0, map(self->fd, self->id,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE,
			 (uintptr_t)self->buf, PAGE, &iova));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, 3 * PAGE));
	EXPECT_EQ(0, UNMAP(PAGE, 3 * PAGE));
}

/* Limits of numbers, in the order of errors (traps A2, A21) */
TEST_F(ioas, map_checks_numbers)
{
	__u64 va = (uintptr_t)self->buf;

	/* The maximum, even before the id */
	EXPECT_ERRNO(EOVERFLOW, map_at(self->fd, 99, va, ~0UL, PAGE));
	EXPECT_ERRNO(EOVERFLOW, map_at(self->fd, 99, va, PAGE, ~0UL));
	/* Length 0, and nearly the maximum */
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->id, va, 0, PAGE));
	EXPECT_ERRNO(EINVAL, map_at(self->fd, self->id, 0, ~0UL - PAGE, 0));
	/* Memory that wraps, and memory that ends at the top */
	EXPECT_ERRNO(EOVERFLOW,
		     map_at(self->fd, self->id, ~0UL - PAGE + 1, 2 * PAGE, PAGE));
	EXPECT_ERRNO(EOVERFLOW,
		     map_at(self->fd, self->id, ~0UL - PAGE + 1, PAGE, PAGE));
	/* An IOVA that wraps */
	EXPECT_ERRNO(EOVERFLOW,
		     map_at(self->fd, self->id, va, 2 * PAGE, ~0UL - PAGE + 1));
	/* Nothing was mapped */
	EXPECT_ERRNO(ENOENT, UNMAP(PAGE, 1UL << 62));
}

/* The last page of the IOVA space can be mapped and unmapped (trap A21) */
TEST_F(ioas, map_reaches_the_last_byte)
{
	__u64 top = ~0UL - PAGE + 1, unmapped;

	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, top));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, PAGE, top));
	EXPECT_EQ(0, unmap(self->fd, self->id, top, PAGE, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, top));
	EXPECT_EQ(0, unmap(self->fd, self->id, 0, ~0UL, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
}

/* Any overlap with a mapping is EEXIST */
TEST_F(ioas, map_over_mapping_is_EEXIST)
{
	__u64 base = 0x100000;

	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, base));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, 4 * PAGE, base));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, PAGE, base + PAGE));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, 2 * PAGE, base - PAGE));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, 2 * PAGE, base + 3 * PAGE));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, 8 * PAGE, base - 2 * PAGE));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, base - PAGE));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, base + 4 * PAGE));
}

/* Without a device mappings need no alignment */
TEST_F(ioas, map_without_device_has_no_alignment)
{
	EXPECT_EQ(0, MAP_AT(self->buf + 3, 5, 0x1001));
	EXPECT_EQ(0, MAP_AT(self->buf, 1, 0x1000));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, 1, 0x1005));
	EXPECT_EQ(0, MAP_AT(self->buf, 1, 0x1006));
	EXPECT_EQ(0, UNMAP(0x1000, 7));
}

/* Without a device memory is not accessed */
TEST_F(ioas, map_of_no_memory_succeeds_without_device)
{
	EXPECT_EQ(0, map_at(self->fd, self->id, 0x10000, PAGE, PAGE));
}

/* The mapping stays if the answer can't be written (trap A14) */
TEST_F(ioas, map_with_unwritable_answer_stays)
{
	struct iommu_ioas_map *cmd = (void *)self->buf;

	*cmd = (struct iommu_ioas_map){
		.size = sizeof(*cmd),
		.flags = FIXED_RW,
		.ioas_id = self->id,
		.user_va = (uintptr_t)self->buf,
		.length = PAGE,
		.iova = PAGE,
	};
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_MAP, cmd));
	EXPECT_EQ(0, UNMAP(PAGE, PAGE));
}

/*
 * MAP at an IOVA that the kernel chooses
 */

/* First fit from the bottom, never 0, and holes are reused */
TEST_F(ioas, auto_iova_is_the_lowest_free)
{
	__u64 a = 0, b = 0, c = 0, va = (uintptr_t)self->buf & ~(PAGE - 1);

	/* An odd page, so that its alignment is a page */
	va |= PAGE;
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, va, PAGE, &a));
	EXPECT_EQ(PAGE, a);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, va, PAGE, &b));
	EXPECT_EQ(2 * PAGE, b);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, va, PAGE, &c));
	EXPECT_EQ(3 * PAGE, c);
	EXPECT_EQ(0, UNMAP(b, PAGE));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, va, 2 * PAGE, &b));
	EXPECT_EQ(4 * PAGE, b);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, va, PAGE, &b));
	EXPECT_EQ(2 * PAGE, b);
}

/* Aligned as memory and length are, up to a huge page */
TEST_F(ioas, auto_iova_is_aligned_like_the_memory)
{
	__u64 iova = 0;

	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 64 * HUGE_PAGE, HUGE_PAGE,
			 &iova));
	EXPECT_EQ(HUGE_PAGE, iova);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 64 * HUGE_PAGE,
			 64 * HUGE_PAGE, &iova));
	EXPECT_EQ(2 * HUGE_PAGE, iova);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 64 * HUGE_PAGE, 4 * PAGE,
			 &iova));
	EXPECT_EQ(4 * PAGE, iova);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 64 * HUGE_PAGE + PAGE, 4 * PAGE,
			 &iova));
	EXPECT_EQ(PAGE * 8, iova);
	/* Address 0 has the largest alignment, not that of the first free IOVA */
	iova = 66 * HUGE_PAGE;
	ASSERT_EQ(0, map(self->fd, self->id, FIXED_RW,
			 64 * HUGE_PAGE, PAGE, &iova));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0, HUGE_PAGE, &iova));
	EXPECT_EQ(67 * HUGE_PAGE, iova);
	/* And so has one whose lower 32 bits are 0 */
	iova = 68 * HUGE_PAGE;
	ASSERT_EQ(0, map(self->fd, self->id, FIXED_RW,
			 64 * HUGE_PAGE, PAGE, &iova));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 1UL << 32, HUGE_PAGE,
			 &iova));
	EXPECT_EQ(69 * HUGE_PAGE, iova);
}

/* The offset in the page is kept */
TEST_F(ioas, auto_iova_keeps_the_offset_in_the_page)
{
	__u64 iova = 0;

	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, (uintptr_t)self->buf + 0x123,
			 100, &iova));
	EXPECT_EQ(PAGE + 0x123, iova);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, (uintptr_t)self->buf + 0x200,
			 100, &iova));
	EXPECT_EQ(PAGE + 0x200, iova);
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, (uintptr_t)self->buf + 0x123,
			 100, &iova));
	EXPECT_EQ(2 * PAGE + 0x123, iova);
}

/* Lengths that fit nowhere, and whose alignment would overflow (trap A6) */
TEST_F(ioas, auto_iova_of_enormous_length_fails)
{
	__u64 iova = 0;

	EXPECT_ERRNO(EOVERFLOW,
		     map(self->fd, self->id, MAP_RW, 0, 1UL << 63, &iova));
	EXPECT_ERRNO(EOVERFLOW,
		     map(self->fd, self->id, MAP_RW, 0, ~0UL - 2 * PAGE, &iova));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0, (1UL << 63) - 1, &iova));
	EXPECT_EQ(0, UNMAP(iova, (1UL << 63) - 1));
	iova = 0;
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0, (1UL << 62) + PAGE, &iova));
	EXPECT_EQ(HUGE_PAGE, iova);
	iova = 0;
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0, 1UL << 62, &iova));
	iova = 0;
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0, 1UL << 62, &iova));
	EXPECT_ERRNO(ENOSPC, map(self->fd, self->id, MAP_RW, 0, 1UL << 62, &iova));
}

/* Aligning up near the top must not wrap to 0 (trap A7) */
TEST_F(ioas, auto_iova_does_not_wrap_at_the_top)
{
	__u64 iova = 0, hole = ~0UL - 0x1ffff;

	/*
	 * All but the last 128 KiB is taken; the kernel never chooses the last
	 * page
	 */
	ASSERT_EQ(0, map_at(self->fd, self->id, 0, hole / 2, 0));
	ASSERT_EQ(0, map_at(self->fd, self->id, 0, hole - hole / 2, hole / 2));
	EXPECT_ERRNO(ENOSPC,
		     map(self->fd, self->id, MAP_RW, SZ_2M, SZ_2M, &iova));
	iova = 0;
	EXPECT_ERRNO(ENOSPC,
		     map(self->fd, self->id, MAP_RW, 0x20000, 0x20000, &iova));
	/* All but the last page, and a byte more */
	iova = 0;
	EXPECT_ERRNO(ENOSPC, map(self->fd, self->id, MAP_RW, PAGE,
				 0x20001 - PAGE, &iova));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, PAGE, 0x20000 - PAGE,
			 &iova));
	EXPECT_EQ(hole, iova);
	EXPECT_EQ(0, UNMAP(hole, 0x20000 - PAGE));
	iova = 0;
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0x10000, 0x10000, &iova));
	EXPECT_EQ(hole, iova);
	/* Nothing is above the last page */
	ASSERT_EQ(0, map_at(self->fd, self->id, 0, PAGE, -PAGE));
	iova = 0;
	EXPECT_ERRNO(ENOSPC,
		     map(self->fd, self->id, MAP_RW, 0x10000, 0x10000, &iova));
}

/* The kernel chooses across the end of a range if the next one begins there */
TEST_F(ioas, allowed_ranges_that_touch_are_like_one)
{
	struct iommu_iova_range list[] = {
		{ 0x30000, 0x3ffff }, { 0x10000, 0x17fff }, { 0x20000, 0x2ffff },
	};
	__u64 iova = 0;

	EXPECT_EQ(0, allow_iovas(self->fd, self->id, list, ARRAY_SIZE(list)));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, 0x10000, 0x18000, &iova));
	EXPECT_EQ(0x20000, iova);
	EXPECT_ERRNO(ENOSPC, map(self->fd, self->id, MAP_RW, 0x10000, 0x9000,
				 &iova));
}

/* A list can end with the IOVA space */
TEST_F(ioas, list_reaches_the_last_byte)
{
	struct iommu_iova_range all = { 0, ~0UL };
	__u64 iova = 0;

	EXPECT_EQ(0, allow_iovas(self->fd, self->id, &all, 1));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, PAGE, PAGE, &iova));
	EXPECT_EQ(PAGE, iova);
	all.start = ~0UL;
	EXPECT_ERRNO(EINVAL, allow_iovas(self->fd, self->id, &all, 1));
	all.start = ~0UL - 1;
	EXPECT_EQ(0, allow_iovas(self->fd, self->id, &all, 1));
	EXPECT_ERRNO(ENOSPC, map(self->fd, self->id, MAP_RW, PAGE, PAGE, &iova));
}

/*
 * A process that sets a long list can be killed, and then the old list applies:
 * here none, so the kernel chooses the lowest IOVA
 */
TEST_F(ioas, long_list_can_be_killed)
{
	const int nr = 2000000;
	struct iommu_iova_range *list = calloc(nr, sizeof(*list));
	__u64 iova = 0;
	pid_t pid;
	int i;

	ASSERT_NE(NULL, list);
	for (i = 0; i < nr; i++) {
		list[i].start = (i * 7919LL % nr + 100) * 2 * HUGE_PAGE;
		list[i].last = list[i].start + HUGE_PAGE - 1;
	}
	pid = fork();
	if (!pid)
		_exit(allow_iovas(self->fd, self->id, list, nr) ? 1 : 0);
	EXPECT_TRUE(can_be_killed(pid));
	EXPECT_EQ(0, map(self->fd, self->id, MAP_RW, PAGE, PAGE, &iova));
	EXPECT_EQ(PAGE, iova);
	free(list);
}

/* Compare the search with a plain one, in an IOVA space with many holes */
TEST_F(ioas, auto_iova_agrees_with_a_plain_search)
{
	enum { SLOTS = 512 };
	bool used[SLOTS] = {};
	unsigned int round, seed = 1;

	for (round = 0; round < 4000; round++) {
		unsigned int pages = rand_r(&seed) % 5 + 1, i, j;
		__u64 iova = 0;

		if (rand_r(&seed) % 2) {
			i = rand_r(&seed) % (SLOTS - 8) + 1;
			for (j = 0; j < pages && !used[i + j]; j++)
				;
			if (j == pages) {
				ASSERT_EQ(0, MAP_AT(PAGE, pages * PAGE, i * PAGE));
				memset(used + i, 1, pages);
			} else {
				ASSERT_EQ(-1, MAP_AT(PAGE, pages * PAGE, i * PAGE));
			}
			continue;
		}
		if (rand_r(&seed) % 2) {
			__u64 unmapped;

			/*
			 * The start may cut an area, and then nothing is
			 * unmapped
			 */
			i = rand_r(&seed) % SLOTS;
			if (!unmap(self->fd, self->id, i * PAGE, SLOTS * PAGE,
				   &unmapped))
				memset(used + i, 0, SLOTS - i);
			else
				ASSERT_EQ(ENOENT, errno);
			continue;
		}
		/* Memory at an odd page is aligned to a page */
		for (i = 1; i + pages < SLOTS; i++) {
			for (j = 0; j < pages && !used[i + j]; j++)
				;
			if (j == pages)
				break;
		}
		if (i + pages >= SLOTS) {
			ASSERT_EQ(0, UNMAP(0, ~0UL));
			memset(used, 0, sizeof(used));
			continue;
		}
		ASSERT_EQ(0, map(self->fd, self->id, MAP_RW, PAGE, pages * PAGE,
				 &iova));
		ASSERT_EQ(i * PAGE, iova);
		memset(used + i, 1, pages);
	}
}

/*
 * UNMAP
 */

/* One call unmaps several areas and the gaps between them */
TEST_F(ioas, unmap_takes_whole_areas)
{
	__u64 unmapped = 0;
	int i;

	for (i = 1; i <= 5; i++)
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE, 4 * i * PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->id, 7 * PAGE, 10 * PAGE, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, PAGE, 4 * PAGE));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, PAGE, 20 * PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->id, 0, ~0UL, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
}

/* An area is not cut; areas before it are unmapped */
TEST_F(ioas, unmap_of_half_an_area_is_ENOENT)
{
	ASSERT_EQ(0, MAP_AT(self->buf, PAGE, 4 * PAGE));
	ASSERT_EQ(0, MAP_AT(self->buf, 4 * PAGE, 8 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(8 * PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(9 * PAGE, 3 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(9 * PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(4 * PAGE, 6 * PAGE));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, 4 * PAGE));
	EXPECT_EQ(0, UNMAP(8 * PAGE, 4 * PAGE));
}

/* Unmapping nothing is ENOENT, except for "everything" */
TEST_F(ioas, unmap_of_nothing_is_ENOENT)
{
	__u64 unmapped = 1;

	EXPECT_ERRNO(ENOENT, UNMAP(PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(0, ~0UL - 1));
	EXPECT_EQ(0, unmap(self->fd, self->id, 0, ~0UL, &unmapped));
	EXPECT_EQ(0, unmapped);
}

/* Numbers out of range (trap A21) */
TEST_F(ioas, unmap_checks_numbers)
{
	EXPECT_ERRNO(ENOENT, unmap(self->fd, 99, PAGE, 0, NULL));
	EXPECT_ERRNO(EOVERFLOW, UNMAP(~0UL, PAGE));
	EXPECT_ERRNO(EOVERFLOW, UNMAP(PAGE, ~0UL));
	EXPECT_ERRNO(EINVAL, UNMAP(PAGE, 0));
	EXPECT_ERRNO(EOVERFLOW, UNMAP(~0UL - PAGE + 1, 2 * PAGE));
}

/* Ten thousand areas, mapped and unmapped in mixed order */
TEST_F(ioas, ten_thousand_areas)
{
	__u64 unmapped;
	int i;

	for (i = 0; i < 10000; i++)
		ASSERT_EQ(0, MAP_AT(self->buf, PAGE,
				    (i * 7919L % 10000 + 1) * 2 * PAGE));
	for (i = 0; i < 10000; i += 2)
		ASSERT_EQ(0, UNMAP((i * 7919L % 10000 + 1) * 2 * PAGE, PAGE));
	EXPECT_EQ(0, unmap(self->fd, self->id, 0, ~0UL, &unmapped));
	EXPECT_EQ(5000 * PAGE, unmapped);
}

/* At the limit of areas another one fails last, and succeeds after an unmap */
TEST_F(ioas, area_limit_is_ENOSPC)
{
	static const char path[] = "/sys/module/iommufd/parameters/max_areas";
	int fd = open(path, O_RDWR);
	__u64 iova = 3 * PAGE;
	char old[32] = {};

	ASSERT_LE(0, fd);
	ASSERT_LT(0, read(fd, old, sizeof(old) - 1));
	/* What the documentation promises */
	EXPECT_STREQ("1048576\n", old);
	ASSERT_EQ(2, pwrite(fd, "3\n", 2, 0));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, PAGE));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, 2 * PAGE));
	EXPECT_EQ(0, map(self->fd, self->id,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->buf, PAGE, &iova));
	EXPECT_ERRNO(ENOSPC, MAP_AT(self->buf, PAGE, 4 * PAGE));
	/* All other errors come first */
	EXPECT_ERRNO(EINVAL, MAP_AT(self->buf, 0, 4 * PAGE));
	EXPECT_ERRNO(EOVERFLOW, MAP_AT(self->buf, 2 * PAGE, -PAGE));
	EXPECT_ERRNO(EEXIST, MAP_AT(self->buf, PAGE, PAGE));
	EXPECT_ERRNO(EPERM, copy_at(self->fd, self->id, self->id, MAP_RW, PAGE,
				    4 * PAGE, 3 * PAGE));
	EXPECT_EQ(0, UNMAP(PAGE, PAGE));
	EXPECT_EQ(0, MAP_AT(self->buf, PAGE, 4 * PAGE));
	EXPECT_EQ(strlen(old), pwrite(fd, old, strlen(old), 0));
	close(fd);
}

/* A child shares the open file, and what it maps stays after it exits */
TEST_F(ioas, fork_shares_the_file)
{
	__u64 unmapped;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(MAP_AT(self->buf, PAGE, PAGE) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, unmap(self->fd, self->id, 0, ~0UL, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
}

TEST_HARNESS_MAIN

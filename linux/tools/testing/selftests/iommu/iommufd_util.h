/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests of /dev/iommu: one function for each ioctl, which
 * returns what ioctl() returns, and memory to map.
 */
#ifndef IOMMUFD_UTIL_H
#define IOMMUFD_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "status_util.h"

#define SZ_2M 0x200000UL
#define MAP_RW (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define FIXED_RW (MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA)

/* Expect the call to fail with this errno */
#define EXPECT_ERRNO(_errno, _call)                                            \
	do {                                                                   \
		errno = 0;                                                     \
		EXPECT_EQ(-1, _call);                                          \
		EXPECT_EQ(_errno, errno);                                      \
	} while (0)

/* The same for loops: stop at the first failure */
#define ASSERT_ERRNO(_errno, _call)                                            \
	do {                                                                   \
		errno = 0;                                                     \
		ASSERT_EQ(-1, _call);                                          \
		ASSERT_EQ(_errno, errno);                                      \
	} while (0)

/* Make a request. If it fails and has written to @cmd, errno is 0 */
static inline int iommufd_call(int fd, unsigned long nr, void *cmd, size_t size)
{
	char before[64];
	int ret;

	memcpy(before, cmd, size);
	ret = ioctl(fd, nr, cmd);
	if (ret && memcmp(before, cmd, size)) {
		fprintf(stderr, "# failed with %d, yet has written\n", errno);
		errno = 0;
	}
	return ret;
}

static inline int destroy(int fd, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return ioctl(fd, IOMMU_DESTROY, &cmd);
}

static inline int alloc_ioas(int fd, __u32 *id)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	int ret = iommufd_call(fd, IOMMU_IOAS_ALLOC, &cmd, sizeof(cmd));

	*id = cmd.out_ioas_id;
	return ret;
}

/* @nr: in: number of entries in @ranges; out: number of ranges of the IOAS */
static inline int iova_ranges(int fd, __u32 id, struct iommu_iova_range *ranges,
			      __u32 *nr, __u64 *alignment)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = id,
		.num_iovas = *nr,
		.allowed_iovas = (uintptr_t)ranges,
	};
	int ret = ioctl(fd, IOMMU_IOAS_IOVA_RANGES, &cmd);

	*nr = cmd.num_iovas;
	if (alignment)
		*alignment = cmd.out_iova_alignment;
	return ret;
}

static inline int allow_iovas(int fd, __u32 id,
			      const struct iommu_iova_range *ranges, __u32 nr)
{
	struct iommu_ioas_allow_iovas cmd = {
		.size = sizeof(cmd),
		.ioas_id = id,
		.num_iovas = nr,
		.allowed_iovas = (uintptr_t)ranges,
	};

	return ioctl(fd, IOMMU_IOAS_ALLOW_IOVAS, &cmd);
}

static inline int map(int fd, __u32 id, __u32 flags, __u64 va, __u64 length,
		      __u64 *iova)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.ioas_id = id,
		.user_va = va,
		.length = length,
		.iova = *iova,
	};
	int ret = iommufd_call(fd, IOMMU_IOAS_MAP, &cmd, sizeof(cmd));

	*iova = cmd.iova;
	return ret;
}

static inline int map_at(int fd, __u32 id, __u64 va, __u64 length, __u64 iova)
{
	return map(fd, id, FIXED_RW, va, length, &iova);
}

static inline int map_file(int fd, __u32 id, __u32 flags, int file, __u64 start,
			   __u64 length, __u64 *iova)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.ioas_id = id,
		.fd = file,
		.start = start,
		.length = length,
		.iova = *iova,
	};
	int ret = iommufd_call(fd, IOMMU_IOAS_MAP_FILE, &cmd, sizeof(cmd));

	*iova = cmd.iova;
	return ret;
}

static inline int map_file_at(int fd, __u32 id, __u32 flags, int file,
			      __u64 start, __u64 length, __u64 iova)
{
	return map_file(fd, id, flags | IOMMU_IOAS_MAP_FIXED_IOVA, file, start,
			length, &iova);
}

static inline int copy(int fd, __u32 dst, __u32 src, __u32 flags, __u64 length,
		       __u64 *dst_iova, __u64 src_iova)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dst_ioas_id = dst,
		.src_ioas_id = src,
		.length = length,
		.dst_iova = *dst_iova,
		.src_iova = src_iova,
	};
	int ret = iommufd_call(fd, IOMMU_IOAS_COPY, &cmd, sizeof(cmd));

	*dst_iova = cmd.dst_iova;
	return ret;
}

static inline int copy_at(int fd, __u32 dst, __u32 src, __u32 flags,
			  __u64 length, __u64 dst_iova, __u64 src_iova)
{
	return copy(fd, dst, src, flags | IOMMU_IOAS_MAP_FIXED_IOVA, length,
		    &dst_iova, src_iova);
}

static inline int unmap(int fd, __u32 id, __u64 iova, __u64 length,
			__u64 *unmapped)
{
	struct iommu_ioas_unmap cmd = {
		.size = sizeof(cmd),
		.ioas_id = id,
		.iova = iova,
		.length = length,
	};
	int ret = iommufd_call(fd, IOMMU_IOAS_UNMAP, &cmd, sizeof(cmd));

	if (unmapped)
		*unmapped = cmd.length;
	return ret;
}

static inline int unmap_all(int fd, __u32 id, __u64 *unmapped)
{
	return unmap(fd, id, 0, ~0ULL, unmapped);
}

static inline int option(int fd, __u32 option_id, __u16 op, __u32 id, __u64 *val)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = option_id,
		.op = op,
		.object_id = id,
		.val64 = *val,
	};
	int ret = iommufd_call(fd, IOMMU_OPTION, &cmd, sizeof(cmd));

	*val = cmd.val64;
	return ret;
}

static inline int set_option(int fd, __u32 option_id, __u32 id, __u64 val)
{
	return option(fd, option_id, IOMMU_OPTION_OP_SET, id, &val);
}

static inline int alloc_hwpt(int fd, __u32 dev_id, __u32 pt_id, __u32 *id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.dev_id = dev_id,
		.pt_id = pt_id,
	};
	int ret = iommufd_call(fd, IOMMU_HWPT_ALLOC, &cmd, sizeof(cmd));

	*id = cmd.out_hwpt_id;
	return ret;
}

/* @length: in: size of @data; out: size of the kernel's data */
static inline int hw_info(int fd, __u32 dev_id, void *data, __u32 *length,
			  __u32 *type)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = dev_id,
		.data_len = *length,
		.data_uptr = (uintptr_t)data,
	};
	int ret = ioctl(fd, IOMMU_GET_HW_INFO, &cmd);

	*length = cmd.data_len;
	*type = cmd.out_data_type;
	return ret;
}

static inline int change_process(int fd)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };

	return ioctl(fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd);
}

/* Is all of the range usable in this IOAS? */
static inline bool is_mappable(int fd, __u32 id, __u64 start, __u64 length)
{
	struct iommu_iova_range ranges[16];
	__u32 i, nr = 16;

	if (iova_ranges(fd, id, ranges, &nr, NULL))
		return false;
	for (i = 0; i < nr; i++)
		if (start >= ranges[i].start &&
		    start + (length - 1) <= ranges[i].last)
			return true;
	return false;
}

/*
 * struct ioas_state - everything a program can query of an IOAS and of its own
 * charges. It must be equal before and after a request that fails.
 */
struct ioas_state {
	struct iommu_iova_range ranges[8];
	__u64 nr;
	__u64 alignment;
	__u64 huge_pages;
	__u64 charge_mm;
	__s64 pinned;
	__s64 locked;
};

static inline struct ioas_state ioas_state(int fd, __u32 id)
{
	struct ioas_state state = { .huge_pages = ~0, .charge_mm = ~0 };
	__u32 nr = 8;

	if (iova_ranges(fd, id, state.ranges, &nr, &state.alignment))
		nr = ~0;
	state.nr = nr;
	option(fd, IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_GET, id,
	       &state.huge_pages);
	option(fd, IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_GET, 0,
	       &state.charge_mm);
	state.pinned = status_kb("VmPin");
	state.locked = status_kb("VmLck");
	return state;
}

static inline bool is_ioas_state(int fd, __u32 id,
				 const struct ioas_state *before)
{
	struct ioas_state now = ioas_state(fd, id);

	return !memcmp(&now, before, sizeof(now));
}

/*
 * Memory
 */

/*
 * Map memory at a multiple of 2 MiB. @flags: MAP_PRIVATE or MAP_SHARED, and
 * MAP_HUGETLB for huge pages.
 */
static inline void *memory(size_t length, int flags)
{
	uintptr_t where;
	void *room;

	room = mmap(NULL, length + SZ_2M, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return room;
	where = ((uintptr_t)room + SZ_2M - 1) & ~(SZ_2M - 1);
	return mmap((void *)where, length, PROT_READ | PROT_WRITE,
		    MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);
}

/* The byte expected at an offset; it depends on the page and on @salt */
static inline unsigned char byte_at(size_t offset, unsigned int salt)
{
	return (offset * 31 + offset / PAGE * 7 + salt * 101) % 251;
}

static inline void fill_bytes(void *data, size_t length, unsigned int salt)
{
	unsigned char *bytes = data;
	size_t i;

	for (i = 0; i < length; i++)
		bytes[i] = byte_at(i, salt);
}

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * Every ioctl of /dev/iommu with everything that can be wrong with it, and
 * which error it returns if several things are wrong.
 *
 * A row is one thing that is wrong with a request that is otherwise good. The
 * number in its name is its place in the order of checks. Each row is sent
 * alone, then together with each later row that it can be combined with; the
 * error must be that of the first. After that the good request must still work.
 *
 * Memory, fds and ids have fixed values, so that a row is constant.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* PAGE has to be a constant in the rows */
#define PAGE 0x1000ULL

#include "../iommu/container_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define MAX (~0ULL)
#define LENGTH (4 * PAGE)
#define FIXED IOMMU_IOAS_MAP_FIXED_IOVA
#define WRITE IOMMU_IOAS_MAP_WRITEABLE
#define APERTURE 0x1000000000000ULL

/* Memory, by address */
#define BUF 0x20000000ULL	/* can be mapped */
#define CONSTANT 0x21000000ULL	/* read-only */
#define HOLE 0x22000000ULL	/* nothing is mapped here */
#define REGS 0x23000000ULL	/* registers of the device, between pages of memory */
#define CMD 0x24000000ULL	/* the request; no memory after these two pages */
#define LISTS 0x25000000ULL	/* arrays of ranges */

/* Arrays of 16 ranges each */
enum list {
	LIST_GOOD,
	LIST_ONE_BYTE,
	LIST_BACKWARD,
	LIST_OVERLAP,
	LIST_RESERVED,
	NR_LISTS,
};

#define LIST(_list) (LISTS + (_list) * 16 * sizeof(struct iommu_iova_range))

/* Ids of FILE_DEVICE, in the order of allocation */
enum id {
	IOAS = 1,	/* the device is attached to it */
	DEVICE,
	HWPT,
	SOURCES,	/* source of copies */
	EMPTY,		/* nothing is mapped */
	HIGH,		/* has a mapping beyond the reach of the device */
	UNALIGNED,	/* has a mapping that is not page aligned */
	MISSING,	/* has a mapping without memory */
	GONE,		/* was destroyed */
	NO_ID = 99,
};

/* IOVAs in IOAS. The page below the MSI range is also mapped. */
#define IOVA 0x1000000ULL	/* free */
#define USED 0x2000000ULL
#define BELOW_MSI (MSI_START - PAGE)

/* IOVAs in SOURCES */
#define SRC 0x1000000ULL	/* two areas */
#define SRC_CONSTANT 0x2000000ULL	/* read-only, no memory, not aligned */
#define SRC_HOLE 0x3000000ULL	/* no memory */
#define SRC_ODD 0x4000000ULL	/* memory begins in the middle of a page */
#define SRC_GAP 0x5000000ULL	/* one page of four is not mapped */
#define SRC_SHORT 0x6000000ULL	/* the last of four pages is not mapped */
#define SRC_HUGE 0x4000000000000000ULL	/* half of the IOVA space */

/* fds of memory files and of other files */
enum fd {
	FD_MEMORY = 100,
	FD_CONSTANT,
	FD_SEALED,
	FD_SHORT,
	FD_EVENT,
	FD_CLOSED,
};

/* The open /dev/iommu that a request is sent to */
enum file {
	FILE_DEVICE,	/* has all of the above */
	FILE_NEW,	/* has no objects */
	FILE_MEMORY,	/* has mappings of FD_MEMORY */
	NR_FILES,
};

/*
 * struct attempt - a request and the conditions under which it is sent
 * @file: the open /dev/iommu
 * @no_answer: the structure is in read-only memory
 * @memlock: RLIMIT_MEMLOCK in bytes; 0 for no limit
 * @no_resource: the caller has no CAP_SYS_RESOURCE
 */
struct attempt {
	__u32 file;
	__u32 no_answer;
	__u32 memlock;
	__u32 no_resource;
	union {
		__u32 size;
		struct iommu_destroy destroy;
		struct iommu_ioas_alloc ioas_alloc;
		struct iommu_ioas_iova_ranges iova_ranges;
		struct iommu_ioas_allow_iovas allow;
		struct iommu_ioas_map map;
		struct iommu_ioas_map_file map_file;
		struct iommu_ioas_copy copy;
		struct iommu_ioas_unmap unmap;
		struct iommu_option option;
		struct iommu_vfio_ioas vfio_ioas;
		struct iommu_hwpt_alloc hwpt_alloc;
		struct iommu_hw_info hw_info;
		struct iommu_ioas_change_process change;
	};
};

/*
 * A change that a row makes: set these bits of a field of the attempt to those
 * of the value
 */
struct change {
	__u16 at;
	__u16 size;
	__u64 bits;
	__u64 value;
};

#define FIELD(_field) ((*(struct attempt *)0)._field)
#define CHANGE(_field, _bits, _value)                                          \
	{ (uintptr_t)&(_field), sizeof(_field), _bits, _value }
#define SET(_field, _value) CHANGE(FIELD(_field), MAX, _value)
#define ON(_field, _bits) CHANGE(FIELD(_field), _bits, MAX)
#define OFF(_field, _bits) CHANGE(FIELD(_field), _bits, 0)

/*
 * struct row - one thing that is wrong
 * @name: request, place in the order, and rule
 * @error: errno of the request
 * @changes: changes to the good request
 * @alone: not combined with other rows: the change leaves no room for them, or
 *         the order is not documented
 * @then: errno of the good request after this one
 */
struct row {
	const char *name;
	int error;
	struct change changes[3];
	bool alone;
	int then;
};

static const struct row destroy_rows[] = {
	{ "destroy_1_id_0_is_ENOENT", ENOENT, { SET(destroy.id, 0) } },
	{ "destroy_1_unknown_id_is_ENOENT", ENOENT, { SET(destroy.id, NO_ID) } },
	{ "destroy_1_highest_id_is_ENOENT", ENOENT, { SET(destroy.id, MAX) } },
	{ "destroy_1_id_that_is_gone_is_ENOENT", ENOENT,
	  { SET(destroy.id, GONE) } },
	{ "destroy_2_ioas_with_table_is_EBUSY", EBUSY, { SET(destroy.id, IOAS) } },
	{ "destroy_2_bound_device_is_EBUSY", EBUSY, { SET(destroy.id, DEVICE) } },
	{ "destroy_2_attached_hwpt_is_EBUSY", EBUSY, { SET(destroy.id, HWPT) } },
	{}
};

static const struct row ioas_alloc_rows[] = {
	{ "ioas_alloc_1_flag_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(ioas_alloc.flags, 1) } },
	{ "ioas_alloc_1_last_flag_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(ioas_alloc.flags, 1U << 31) } },
	{ "ioas_alloc_3_unwritable_answer_is_EFAULT", EFAULT,
	  { ON(no_answer, 1) } },
	{}
};

static const struct row iova_ranges_rows[] = {
	{ "iova_ranges_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(iova_ranges.__reserved, 1) } },
	{ "iova_ranges_2_unknown_id_is_ENOENT", ENOENT,
	  { SET(iova_ranges.ioas_id, NO_ID) } },
	{ "iova_ranges_2_other_object_is_ENOENT", ENOENT,
	  { SET(iova_ranges.ioas_id, HWPT) } },
	{ "iova_ranges_3_unwritable_array_is_EFAULT", EFAULT,
	  { SET(iova_ranges.allowed_iovas, CONSTANT),
	    SET(iova_ranges.num_iovas, 1) } },
	{ "iova_ranges_4_unwritable_answer_is_EFAULT", EFAULT,
	  { ON(no_answer, 1) } },
	{ "iova_ranges_5_too_many_is_EMSGSIZE", EMSGSIZE,
	  { SET(iova_ranges.num_iovas, 1) } },
	{ "iova_ranges_5_no_array_is_EMSGSIZE", EMSGSIZE,
	  { SET(iova_ranges.num_iovas, 0),
	    SET(iova_ranges.allowed_iovas, HOLE) } },
	{}
};

static const struct row allow_rows[] = {
	{ "allow_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(allow.__reserved, 1) } },
	{ "allow_2_unknown_id_is_ENOENT", ENOENT, { SET(allow.ioas_id, NO_ID) } },
	{ "allow_2_other_object_is_ENOENT", ENOENT, { SET(allow.ioas_id, HWPT) } },
	{ "allow_3_no_array_is_EFAULT", EFAULT, { SET(allow.allowed_iovas, HOLE) } },
	{ "allow_3_half_an_array_is_EFAULT", EFAULT,
	  { SET(allow.allowed_iovas, HOLE - 16), SET(allow.num_iovas, 2) } },
	/* Each of these arrays also contains a reserved range */
	{ "allow_4_one_byte_is_EINVAL", EINVAL,
	  { SET(allow.allowed_iovas, LIST(LIST_ONE_BYTE)),
	    SET(allow.num_iovas, 2) } },
	{ "allow_4_backward_is_EINVAL", EINVAL,
	  { SET(allow.allowed_iovas, LIST(LIST_BACKWARD)),
	    SET(allow.num_iovas, 2) } },
	{ "allow_5_overlap_is_EINVAL", EINVAL,
	  { SET(allow.allowed_iovas, LIST(LIST_OVERLAP)),
	    SET(allow.num_iovas, 3) } },
	{ "allow_7_reserved_range_is_EADDRINUSE", EADDRINUSE,
	  { SET(allow.allowed_iovas, LIST(LIST_RESERVED)),
	    SET(allow.num_iovas, 2) } },
	{}
};

static const struct row map_rows[] = {
	{ "map_1_unknown_flag_is_EOPNOTSUPP", EOPNOTSUPP, { ON(map.flags, 8) } },
	{ "map_1_last_flag_is_EOPNOTSUPP", EOPNOTSUPP, { ON(map.flags, 1U << 31) } },
	{ "map_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP, { SET(map.__reserved, 1) } },
	{ "map_2_maximum_iova_is_EOVERFLOW", EOVERFLOW, { SET(map.iova, MAX) } },
	{ "map_2_maximum_length_is_EOVERFLOW", EOVERFLOW, { SET(map.length, MAX) } },
	/* trap A9 */
	{ "map_3_no_direction_is_EINVAL", EINVAL, { OFF(map.flags, MAP_RW) } },
	{ "map_4_id_0_is_ENOENT", ENOENT, { SET(map.ioas_id, 0) } },
	{ "map_4_unknown_id_is_ENOENT", ENOENT, { SET(map.ioas_id, NO_ID) } },
	{ "map_4_id_that_is_gone_is_ENOENT", ENOENT, { SET(map.ioas_id, GONE) } },
	{ "map_4_device_is_ENOENT", ENOENT, { SET(map.ioas_id, DEVICE) } },
	{ "map_4_hwpt_is_ENOENT", ENOENT, { SET(map.ioas_id, HWPT) } },
	{ "map_5_length_0_is_EINVAL", EINVAL, { SET(map.length, 0) } },
	{ "map_5_nearly_maximum_length_is_EINVAL", EINVAL,
	  { SET(map.length, MAX - PAGE) } },
	{ "map_5_next_to_maximum_length_is_EINVAL", EINVAL,
	  { SET(map.length, MAX - 1) } },
	/* trap A2 */
	{ "map_6_memory_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { SET(map.user_va, -PAGE) } },
	{ "map_6_memory_to_the_end_is_EOVERFLOW", EOVERFLOW,
	  { SET(map.user_va, -LENGTH) }, .alone = true },
	{ "map_7_length_not_of_pages_is_EINVAL", EINVAL,
	  { SET(map.length, LENGTH - 1) } },
	/* Also reserved, or also mapped */
	{ "map_8_iova_not_of_pages_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, BELOW_MSI + 1) } },
	{ "map_8_iova_that_also_wraps_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, -PAGE + 1) } },
	{ "map_8_iova_that_is_also_mapped_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, USED + 1) } },
	/* Also reserved */
	{ "map_9_iova_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { ON(map.flags, FIXED), SET(map.iova, -PAGE) } },
	/* Also mapped */
	{ "map_10_interrupts_are_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, BELOW_MSI) } },
	{ "map_10_end_of_interrupts_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, MSI_LAST - PAGE + 1) } },
	{ "map_10_out_of_reach_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.iova, APERTURE - PAGE) } },
	{ "map_11_mapped_is_EEXIST", EEXIST,
	  { ON(map.flags, FIXED), SET(map.iova, USED) } },
	{ "map_11_mapped_at_the_end_is_EEXIST", EEXIST,
	  { ON(map.flags, FIXED), SET(map.iova, USED - LENGTH + PAGE) } },
	{ "map_11_mapped_at_the_start_is_EEXIST", EEXIST,
	  { ON(map.flags, FIXED), SET(map.iova, USED + LENGTH - PAGE) } },
	/* trap A6 */
	{ "map_12_half_of_the_space_is_EOVERFLOW", EOVERFLOW,
	  { OFF(map.flags, FIXED), SET(map.length, 1ULL << 63) } },
	{ "map_13_memory_not_of_pages_is_EINVAL", EINVAL,
	  { OFF(map.flags, FIXED), SET(map.user_va, HOLE + 16) } },
	/* Too long even for an empty IOAS */
	{ "map_13_no_room_is_ENOSPC", ENOSPC,
	  { OFF(map.flags, FIXED), SET(map.length, APERTURE) } },
	{ "map_14_memory_not_of_pages_is_EINVAL", EINVAL,
	  { ON(map.flags, FIXED), SET(map.user_va, HOLE + 16) } },
	{ "map_15_no_memory_is_EFAULT", EFAULT, { SET(map.user_va, HOLE) } },
	{ "map_15_memory_that_ends_is_EFAULT", EFAULT,
	  { SET(map.user_va, HOLE - PAGE) } },
	{ "map_15_constant_memory_is_EFAULT", EFAULT,
	  { ON(map.flags, WRITE), SET(map.user_va, CONSTANT) } },
	{ "map_15_registers_are_EFAULT", EFAULT,
	  { SET(map.user_va, REGS - PAGE) } },
	{ "map_16_memlock_limit_is_ENOMEM", ENOMEM, { SET(memlock, LENGTH - PAGE) } },
	/* trap A14 */
	{ "map_18_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) },
	  .then = EEXIST },
	{}
};

static const struct row map_file_rows[] = {
	{ "map_file_1_unknown_flag_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(map_file.flags, 8) } },
	{ "map_file_2_maximum_iova_is_EOVERFLOW", EOVERFLOW,
	  { SET(map_file.iova, MAX) } },
	{ "map_file_2_maximum_length_is_EOVERFLOW", EOVERFLOW,
	  { SET(map_file.length, MAX) } },
	{ "map_file_3_no_direction_is_EINVAL", EINVAL,
	  { OFF(map_file.flags, MAP_RW) } },
	{ "map_file_4_unknown_id_is_ENOENT", ENOENT,
	  { SET(map_file.ioas_id, NO_ID) } },
	{ "map_file_4_other_object_is_ENOENT", ENOENT,
	  { SET(map_file.ioas_id, DEVICE) } },
	{ "map_file_5_length_0_is_EINVAL", EINVAL, { SET(map_file.length, 0) } },
	{ "map_file_6_range_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { SET(map_file.start, -PAGE) } },
	{ "map_file_7_length_not_of_pages_is_EINVAL", EINVAL,
	  { SET(map_file.length, LENGTH - 1) } },
	{ "map_file_8_iova_not_of_pages_is_EINVAL", EINVAL,
	  { ON(map_file.flags, FIXED), SET(map_file.iova, BELOW_MSI + 1) } },
	{ "map_file_9_iova_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { ON(map_file.flags, FIXED), SET(map_file.iova, -PAGE) } },
	{ "map_file_10_interrupts_are_EINVAL", EINVAL,
	  { ON(map_file.flags, FIXED), SET(map_file.iova, BELOW_MSI) } },
	{ "map_file_11_mapped_is_EEXIST", EEXIST,
	  { ON(map_file.flags, FIXED), SET(map_file.iova, USED) } },
	{ "map_file_12_half_of_the_space_is_EOVERFLOW", EOVERFLOW,
	  { OFF(map_file.flags, FIXED), SET(map_file.length, 1ULL << 63) } },
	{ "map_file_13_start_not_of_pages_is_EINVAL", EINVAL,
	  { OFF(map_file.flags, FIXED), SET(map_file.start, 16) } },
	{ "map_file_13_no_room_is_ENOSPC", ENOSPC,
	  { OFF(map_file.flags, FIXED), SET(map_file.length, APERTURE) } },
	{ "map_file_14_start_not_of_pages_is_EINVAL", EINVAL,
	  { ON(map_file.flags, FIXED), SET(map_file.start, 16) } },
	{ "map_file_15_other_file_is_EINVAL", EINVAL,
	  { SET(map_file.fd, FD_EVENT) } },
	{ "map_file_15_file_that_is_short_is_EINVAL", EINVAL,
	  { SET(map_file.fd, FD_SHORT) } },
	{ "map_file_15_range_behind_the_file_is_EINVAL", EINVAL,
	  { SET(map_file.start, LENGTH) } },
	/* No file can be that large */
	{ "map_file_15_range_behind_any_file_is_EINVAL", EINVAL,
	  { SET(map_file.start, 1ULL << 63) }, .alone = true },
	{ "map_file_16_memlock_limit_is_ENOMEM", ENOMEM,
	  { SET(memlock, LENGTH - PAGE) } },
	{ "map_file_18_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) },
	  .then = EEXIST },
	/* The place of these errors in the order is not documented */
	{ "map_file_closed_file_is_EBADF", EBADF,
	  { SET(map_file.fd, FD_CLOSED) }, .alone = true },
	{ "map_file_negative_file_is_EBADF", EBADF,
	  { SET(map_file.fd, -1) }, .alone = true },
	{ "map_file_to_write_what_is_open_to_read_is_EPERM", EPERM,
	  { SET(map_file.fd, FD_CONSTANT) }, .alone = true },
	{ "map_file_to_write_what_is_sealed_is_EPERM", EPERM,
	  { SET(map_file.fd, FD_SEALED) }, .alone = true },
	{}
};

static const struct row copy_rows[] = {
	{ "copy_1_unknown_flag_is_EOPNOTSUPP", EOPNOTSUPP, { ON(copy.flags, 8) } },
	{ "copy_2_maximum_length_is_EOVERFLOW", EOVERFLOW,
	  { SET(copy.length, MAX) } },
	{ "copy_2_maximum_source_is_EOVERFLOW", EOVERFLOW,
	  { SET(copy.src_iova, MAX) } },
	{ "copy_2_maximum_destination_is_EOVERFLOW", EOVERFLOW,
	  { SET(copy.dst_iova, MAX) } },
	/* trap A9 */
	{ "copy_3_no_direction_is_EINVAL", EINVAL, { OFF(copy.flags, MAP_RW) } },
	{ "copy_4_unknown_source_is_ENOENT", ENOENT,
	  { SET(copy.src_ioas_id, NO_ID) } },
	{ "copy_4_source_that_is_no_ioas_is_ENOENT", ENOENT,
	  { SET(copy.src_ioas_id, HWPT) } },
	/* traps A12, A21 */
	{ "copy_5_length_0_is_EINVAL", EINVAL, { SET(copy.length, 0) } },
	{ "copy_5_source_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { SET(copy.src_iova, -PAGE) } },
	{ "copy_6_nothing_is_ENOENT", ENOENT, { SET(copy.src_iova, IOVA / 2) } },
	{ "copy_6_gap_is_ENOENT", ENOENT, { SET(copy.src_iova, SRC_GAP) } },
	{ "copy_6_end_that_is_missing_is_ENOENT", ENOENT,
	  { SET(copy.src_iova, SRC_SHORT) } },
	{ "copy_6_start_that_is_missing_is_ENOENT", ENOENT,
	  { SET(copy.src_iova, SRC - PAGE) } },
	{ "copy_7_unknown_destination_is_ENOENT", ENOENT,
	  { SET(copy.dst_ioas_id, NO_ID) } },
	{ "copy_7_destination_that_is_no_ioas_is_ENOENT", ENOENT,
	  { SET(copy.dst_ioas_id, DEVICE) } },
	{ "copy_8_length_not_of_pages_is_EINVAL", EINVAL,
	  { SET(copy.length, LENGTH - 1) } },
	{ "copy_8_iova_not_of_pages_is_EINVAL", EINVAL,
	  { ON(copy.flags, FIXED), SET(copy.dst_iova, BELOW_MSI + 1) } },
	{ "copy_8_iova_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { ON(copy.flags, FIXED), SET(copy.dst_iova, -PAGE) } },
	{ "copy_8_interrupts_are_EINVAL", EINVAL,
	  { ON(copy.flags, FIXED), SET(copy.dst_iova, BELOW_MSI) } },
	{ "copy_8_mapped_is_EEXIST", EEXIST,
	  { ON(copy.flags, FIXED), SET(copy.dst_iova, USED) } },
	{ "copy_8_second_area_is_mapped_is_EEXIST", EEXIST,
	  { ON(copy.flags, FIXED), SET(copy.dst_iova, USED - LENGTH + PAGE) } },
	/* trap A6 */
	{ "copy_8_half_of_the_space_is_EOVERFLOW", EOVERFLOW,
	  { OFF(copy.flags, FIXED), SET(copy.length, 1ULL << 63),
	    SET(copy.src_iova, SRC_HUGE) } },
	{ "copy_8_no_room_is_ENOSPC", ENOSPC,
	  { OFF(copy.flags, FIXED), SET(copy.length, APERTURE),
	    SET(copy.src_iova, SRC_HUGE) } },
	{ "copy_8_memory_not_of_pages_is_EINVAL", EINVAL,
	  { OFF(copy.flags, FIXED), SET(copy.src_iova, SRC_ODD) } },
	/* trap A12 */
	{ "copy_9_to_write_constant_memory_is_EPERM", EPERM,
	  { ON(copy.flags, FIXED | WRITE), SET(copy.src_iova, SRC_CONSTANT) } },
	{ "copy_10_memory_not_of_pages_is_EINVAL", EINVAL,
	  { ON(copy.flags, FIXED), SET(copy.src_iova, SRC_ODD) } },
	{ "copy_10_no_memory_is_EFAULT", EFAULT, { SET(copy.src_iova, SRC_HOLE) } },
	{ "copy_10_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) },
	  .then = EEXIST },
	{}
};

static const struct row unmap_rows[] = {
	{ "unmap_1_unknown_id_is_ENOENT", ENOENT, { SET(unmap.ioas_id, NO_ID) } },
	{ "unmap_1_other_object_is_ENOENT", ENOENT, { SET(unmap.ioas_id, HWPT) } },
	/* trap A21 */
	{ "unmap_3_maximum_iova_is_EOVERFLOW", EOVERFLOW, { SET(unmap.iova, MAX) } },
	{ "unmap_3_maximum_length_is_EOVERFLOW", EOVERFLOW,
	  { SET(unmap.length, MAX) } },
	{ "unmap_4_length_0_is_EINVAL", EINVAL, { SET(unmap.length, 0) } },
	{ "unmap_5_range_that_wraps_is_EOVERFLOW", EOVERFLOW,
	  { SET(unmap.iova, -PAGE) } },
	{ "unmap_6_start_in_an_area_is_ENOENT", ENOENT,
	  { SET(unmap.iova, USED + PAGE) } },
	{ "unmap_6_end_in_an_area_is_ENOENT", ENOENT,
	  { SET(unmap.length, LENGTH - PAGE) } },
	{ "unmap_9_nothing_is_ENOENT", ENOENT, { SET(unmap.iova, IOVA) } },
	/* The answer is written last, so the area is unmapped */
	{ "unmap_10_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) },
	  .then = ENOENT },
	{}
};

static const struct row option_rlimit_rows[] = {
	{ "option_rlimit_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.__reserved, 1) } },
	{ "option_rlimit_2_unknown_option_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.option_id, 2) } },
	{ "option_rlimit_2_unknown_operation_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.op, 2) } },
	{ "option_rlimit_3_object_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.object_id, 1) } },
	/* trap J6 */
	{ "option_rlimit_5_no_capability_is_EPERM", EPERM, { ON(no_resource, 1) } },
	{ "option_rlimit_6_with_objects_is_EBUSY", EBUSY,
	  { SET(file, FILE_DEVICE) } },
	{ "option_rlimit_7_other_value_is_EINVAL", EINVAL, { SET(option.val64, 2) } },
	{ "option_rlimit_7_large_value_is_EINVAL", EINVAL,
	  { SET(option.val64, 1ULL << 32) } },
	{ "option_rlimit_11_unwritable_answer_is_EFAULT", EFAULT,
	  { ON(no_answer, 1) } },
	{}
};

static const struct row option_huge_rows[] = {
	{ "option_huge_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.__reserved, 1) } },
	{ "option_huge_2_unknown_option_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.option_id, MAX) } },
	{ "option_huge_2_unknown_operation_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(option.op, MAX) } },
	{ "option_huge_8_unknown_id_is_ENOENT", ENOENT,
	  { SET(option.object_id, NO_ID) } },
	{ "option_huge_8_other_object_is_ENOENT", ENOENT,
	  { SET(option.object_id, DEVICE) } },
	{ "option_huge_9_table_and_mapping_is_EINVAL", EINVAL,
	  { SET(option.object_id, IOAS), SET(option.val64, 0) } },
	{ "option_huge_9_mapping_not_of_pages_is_EADDRINUSE", EADDRINUSE,
	  { SET(option.object_id, UNALIGNED), SET(option.val64, 0) } },
	{ "option_huge_10_other_value_is_EINVAL", EINVAL, { SET(option.val64, 2) } },
	{ "option_huge_10_large_value_is_EINVAL", EINVAL,
	  { SET(option.val64, 1ULL << 32) } },
	{ "option_huge_11_unwritable_answer_is_EFAULT", EFAULT,
	  { ON(no_answer, 1) } },
	{}
};

static const struct row vfio_ioas_set_rows[] = {
	{ "vfio_ioas_set_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(vfio_ioas.__reserved, 1) } },
	{ "vfio_ioas_set_3_id_0_is_ENOENT", ENOENT, { SET(vfio_ioas.ioas_id, 0) } },
	{ "vfio_ioas_set_3_unknown_id_is_ENOENT", ENOENT,
	  { SET(vfio_ioas.ioas_id, NO_ID) } },
	{ "vfio_ioas_set_3_other_object_is_ENOENT", ENOENT,
	  { SET(vfio_ioas.ioas_id, HWPT) } },
	{ "vfio_ioas_set_3_id_that_is_gone_is_ENOENT", ENOENT,
	  { SET(vfio_ioas.ioas_id, GONE) } },
	/* Only SET reads the id */
	{ "vfio_ioas_set_5_unknown_op_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(vfio_ioas.op, 3), SET(vfio_ioas.ioas_id, NO_ID) },
	  .alone = true },
	{}
};

static const struct row vfio_ioas_get_rows[] = {
	{ "vfio_ioas_get_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(vfio_ioas.__reserved, 1) } },
	{ "vfio_ioas_get_2_none_is_ENODEV", ENODEV, { SET(file, FILE_NEW) } },
	{ "vfio_ioas_get_3_unwritable_answer_is_EFAULT", EFAULT,
	  { ON(no_answer, 1) } },
	{}
};

static const struct row hwpt_alloc_rows[] = {
	{ "hwpt_alloc_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(hwpt_alloc.__reserved, 1) } },
	{ "hwpt_alloc_1_flag_of_nesting_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hwpt_alloc.flags, 1) } },
	{ "hwpt_alloc_1_flag_of_dirty_tracking_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hwpt_alloc.flags, 2) } },
	{ "hwpt_alloc_1_flag_of_faults_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hwpt_alloc.flags, 4) } },
	{ "hwpt_alloc_1_flag_of_pasid_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hwpt_alloc.flags, 8) } },
	{ "hwpt_alloc_1_last_flag_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hwpt_alloc.flags, 1U << 31) } },
	{ "hwpt_alloc_2_length_without_type_is_EINVAL", EINVAL,
	  { SET(hwpt_alloc.data_type, 0), SET(hwpt_alloc.data_len, 8) } },
	{ "hwpt_alloc_2_type_without_length_is_EINVAL", EINVAL,
	  { SET(hwpt_alloc.data_type, 1), SET(hwpt_alloc.data_len, 0) } },
	{ "hwpt_alloc_3_unknown_device_is_ENOENT", ENOENT,
	  { SET(hwpt_alloc.dev_id, NO_ID) } },
	{ "hwpt_alloc_3_device_that_is_ioas_is_ENOENT", ENOENT,
	  { SET(hwpt_alloc.dev_id, IOAS) } },
	{ "hwpt_alloc_3_device_that_is_hwpt_is_ENOENT", ENOENT,
	  { SET(hwpt_alloc.dev_id, HWPT) } },
	{ "hwpt_alloc_4_unknown_parent_is_ENOENT", ENOENT,
	  { SET(hwpt_alloc.pt_id, NO_ID) } },
	{ "hwpt_alloc_4_parent_that_is_hwpt_is_EINVAL", EINVAL,
	  { SET(hwpt_alloc.pt_id, HWPT) } },
	{ "hwpt_alloc_4_parent_that_is_device_is_EINVAL", EINVAL,
	  { SET(hwpt_alloc.pt_id, DEVICE) } },
	/* The errno that the IOMMU driver would return */
	{ "hwpt_alloc_5_data_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(hwpt_alloc.data_type, 1), SET(hwpt_alloc.data_len, 8) } },
	{ "hwpt_alloc_7_mapping_out_of_reach_is_EADDRINUSE", EADDRINUSE,
	  { SET(hwpt_alloc.pt_id, HIGH) } },
	{ "hwpt_alloc_7_mapping_not_of_pages_is_EADDRINUSE", EADDRINUSE,
	  { SET(hwpt_alloc.pt_id, UNALIGNED) } },
	{ "hwpt_alloc_7_mapping_of_no_memory_is_EFAULT", EFAULT,
	  { SET(hwpt_alloc.pt_id, MISSING) } },
	{ "hwpt_alloc_8_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) } },
	{}
};

static const struct row hw_info_rows[] = {
	{ "hw_info_1_flag_is_EOPNOTSUPP", EOPNOTSUPP, { ON(hw_info.flags, 1) } },
	{ "hw_info_1_last_flag_is_EOPNOTSUPP", EOPNOTSUPP,
	  { ON(hw_info.flags, 1U << 31) } },
	{ "hw_info_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(hw_info.__reserved, 1U << 8) } },
	{ "hw_info_2_unknown_id_is_ENOENT", ENOENT, { SET(hw_info.dev_id, NO_ID) } },
	{ "hw_info_2_other_object_is_ENOENT", ENOENT,
	  { SET(hw_info.dev_id, IOAS) } },
	{ "hw_info_5_unwritable_buffer_is_EFAULT", EFAULT,
	  { SET(hw_info.data_uptr, CONSTANT) } },
	/* The end of the buffer, which the kernel zeroes */
	{ "hw_info_5_unwritable_end_of_buffer_is_EFAULT", EFAULT,
	  { SET(hw_info.data_uptr, HOLE - 64), SET(hw_info.data_len, 65) } },
	{ "hw_info_6_unwritable_answer_is_EFAULT", EFAULT, { ON(no_answer, 1) } },
	{}
};

static const struct row change_rows[] = {
	{ "change_1_reserved_is_EOPNOTSUPP", EOPNOTSUPP,
	  { SET(change.__reserved, 1) } },
	{ "change_2_memory_of_a_process_is_EINVAL", EINVAL,
	  { SET(file, FILE_DEVICE) } },
	{}
};

/*
 * struct request - a good request
 * @min_size: size of the first version of the structure
 * @size: size of the structure
 * @answers: the kernel writes to the structure
 * @rows: what can be wrong; the last row has no name
 */
static const struct request {
	const char *name;
	unsigned int word;
	size_t min_size;
	size_t size;
	bool answers;
	const struct row *rows;
	struct attempt good;
} requests[] = {
	{
		"destroy", 0x3b80, 8, 8, false, destroy_rows,
		{ .destroy = { .id = EMPTY } },
	}, {
		"ioas_alloc", 0x3b81, 12, 12, true, ioas_alloc_rows,
	}, {
		"allow", 0x3b82, 24, 24, false, allow_rows,
		{
			.allow = {
				.ioas_id = IOAS,
				.num_iovas = 2,
				.allowed_iovas = LIST(LIST_GOOD),
			},
		},
	}, {
		"copy", 0x3b83, 40, 40, true, copy_rows,
		{
			.copy = {
				.flags = FIXED | MAP_RW,
				.src_ioas_id = SOURCES,
				.src_iova = SRC,
				.length = LENGTH,
				.dst_ioas_id = IOAS,
				.dst_iova = IOVA,
			},
		},
	}, {
		"iova_ranges", 0x3b84, 32, 32, true, iova_ranges_rows,
		{
			.iova_ranges = {
				.ioas_id = IOAS,
				.num_iovas = 16,
				.allowed_iovas = BUF,
			},
		},
	}, {
		"map", 0x3b85, 40, 40, true, map_rows,
		{
			.map = {
				.flags = FIXED | MAP_RW,
				.ioas_id = IOAS,
				.user_va = BUF,
				.length = LENGTH,
				.iova = IOVA,
			},
		},
	}, {
		"unmap", 0x3b86, 24, 24, true, unmap_rows,
		{
			.unmap = {
				.ioas_id = IOAS,
				.iova = USED,
				.length = LENGTH,
			},
		},
	}, {
		"option_rlimit", 0x3b87, 24, 24, true, option_rlimit_rows,
		{
			.file = FILE_NEW,
			.option = {
				.option_id = IOMMU_OPTION_RLIMIT_MODE,
				.op = IOMMU_OPTION_OP_SET,
				.val64 = 1,
			},
		},
	}, {
		"option_huge", 0x3b87, 24, 24, true, option_huge_rows,
		{
			.option = {
				.option_id = IOMMU_OPTION_HUGE_PAGES,
				.op = IOMMU_OPTION_OP_SET,
				.object_id = EMPTY,
				.val64 = 0,
			},
		},
	}, {
		"vfio_ioas_set", 0x3b88, 12, 12, false, vfio_ioas_set_rows,
		{
			.vfio_ioas = {
				.ioas_id = SOURCES,
				.op = IOMMU_VFIO_IOAS_SET,
			},
		},
	}, {
		"vfio_ioas_get", 0x3b88, 12, 12, true, vfio_ioas_get_rows,
		{ .vfio_ioas = { .op = IOMMU_VFIO_IOAS_GET } },
	}, {
		"hwpt_alloc", 0x3b89, 24, 48, true, hwpt_alloc_rows,
		{ .hwpt_alloc = { .dev_id = DEVICE, .pt_id = EMPTY } },
	}, {
		"hw_info", 0x3b8a, 32, 40, true, hw_info_rows,
		{
			.hw_info = {
				.dev_id = DEVICE,
				.data_len = sizeof(struct iommu_hw_info_vtd),
				.data_uptr = BUF,
			},
		},
	}, {
		"map_file", 0x3b8f, 40, 40, true, map_file_rows,
		{
			.map_file = {
				.flags = FIXED | MAP_RW,
				.ioas_id = IOAS,
				.fd = FD_MEMORY,
				.length = LENGTH,
				.iova = IOVA,
			},
		},
	}, {
		"change", 0x3b92, 8, 8, false, change_rows,
		{ .file = FILE_MEMORY },
	},
};

/* The objects that requests are sent to */
struct world {
	struct pci_dev dev;
	int device;
	struct edu edu;
	int files[NR_FILES];
};

static void *at(__u64 address)
{
	return (void *)(uintptr_t)address;
}

static int place(__u64 address, size_t length, int prot)
{
	void *p = mmap(at(address), length, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p == at(address) ? 0 : -1;
}

/* Create a memory file with this fd */
static int place_file(int fd, size_t length, int seals)
{
	int memory = memfd_create("errno", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (memory < 0 || ftruncate(memory, length) ||
	    (seals && fcntl(memory, F_ADD_SEALS, seals)) ||
	    dup2(memory, fd) != fd)
		return -1;
	return close(memory);
}

static int place_constant_file(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", FD_MEMORY);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || dup2(fd, FD_CONSTANT) != FD_CONSTANT)
		return -1;
	return close(fd);
}

static void make_lists(void)
{
	static const struct iommu_iova_range lists[NR_LISTS][16] = {
		[LIST_GOOD] = {
			{ 0x10000000, 0x1fffffff }, { 0x1000, 0xffff },
		},
		[LIST_ONE_BYTE] = {
			{ MSI_START, MSI_LAST }, { 0x5000, 0x5000 },
		},
		[LIST_BACKWARD] = {
			{ MSI_START, MSI_LAST }, { 0x5000, 0x4fff },
		},
		[LIST_OVERLAP] = {
			{ MSI_START, MSI_LAST }, { 0x1000, 0x1fff },
			{ 0x1fff, 0x2fff },
		},
		[LIST_RESERVED] = {
			{ 0x1000, 0x1fff }, { MSI_START - 1, MSI_START },
		},
	};

	memcpy(at(LISTS), lists, sizeof(lists));
	/* And one range at the end of mapped memory */
	memcpy(at(HOLE - 16), lists[LIST_GOOD], 16);
}

static void expect_id(struct __test_metadata *_metadata, int file, __u32 id)
{
	__u32 got;

	ASSERT_EQ(0, alloc_ioas(file, &got));
	ASSERT_EQ(id, got);
}

static void map_memory(struct __test_metadata *_metadata, int file, __u32 ioas,
		       __u64 iova, __u64 va, __u64 length, __u32 flags)
{
	ASSERT_EQ(0, map(file, ioas, flags | FIXED, va, length, &iova));
}

static void make_memory(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, place(BUF, 16 * PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, place(CONSTANT, 16 * PAGE, PROT_READ));
	ASSERT_EQ(0, place(HOLE - PAGE, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, place(REGS - PAGE, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, place(REGS + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, place(CMD, 2 * PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, place(LISTS, PAGE, PROT_READ | PROT_WRITE));
	make_lists();
	ASSERT_EQ(0, place_file(FD_MEMORY, LENGTH, 0));
	ASSERT_EQ(0, place_constant_file());
	ASSERT_EQ(0, place_file(FD_SEALED, LENGTH, F_SEAL_WRITE));
	ASSERT_EQ(0, place_file(FD_SHORT, LENGTH - 1, 0));
	ASSERT_EQ(FD_EVENT, dup2(eventfd(0, 0), FD_EVENT));
}

static void make_sources(struct __test_metadata *_metadata, int file)
{
	static const struct {
		__u64 iova, va, length;
		__u32 flags;
	} areas[] = {
		{ SRC, BUF, 2 * PAGE, MAP_RW },
		{ SRC + 2 * PAGE, BUF + 8 * PAGE, 2 * PAGE, MAP_RW },
		{ SRC_CONSTANT, HOLE + 16, LENGTH, IOMMU_IOAS_MAP_READABLE },
		{ SRC_HOLE, HOLE, LENGTH, MAP_RW },
		{ SRC_ODD, BUF + 16, LENGTH, MAP_RW },
		{ SRC_GAP, BUF, 2 * PAGE, MAP_RW },
		{ SRC_GAP + 3 * PAGE, BUF + 3 * PAGE, PAGE, MAP_RW },
		{ SRC_SHORT, BUF, 3 * PAGE, MAP_RW },
		{ SRC_HUGE, 0, 1ULL << 63, MAP_RW },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(areas); i++)
		map_memory(_metadata, file, SOURCES, areas[i].iova, areas[i].va,
			   areas[i].length, areas[i].flags);
}

static void make_world(struct __test_metadata *_metadata, struct world *w)
{
	__u32 id;
	int file, i;

	if (find_edu_alone(&w->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&w->dev));
	w->device = open_cdev(&w->dev);
	ASSERT_LE(0, w->device);
	for (i = 0; i < NR_FILES; i++) {
		w->files[i] = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, w->files[i]);
	}
	file = w->files[FILE_DEVICE];
	make_memory(_metadata);

	expect_id(_metadata, file, IOAS);
	ASSERT_EQ(0, bind_iommufd(w->device, file, &id));
	ASSERT_EQ(DEVICE, id);
	ASSERT_EQ(0, attach_pt(w->device, IOAS, &id));
	ASSERT_EQ(HWPT, id);
	for (id = SOURCES; id <= GONE; id++)
		expect_id(_metadata, file, id);
	ASSERT_EQ(0, destroy(file, GONE));
	ASSERT_EQ(0, set_container(file, EMPTY));

	ASSERT_EQ(0, edu_open(&w->edu, w->device));
	w->edu.regs = mremap(w->edu.regs, PAGE, PAGE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, at(REGS));
	ASSERT_TRUE(w->edu.regs == at(REGS));

	map_memory(_metadata, file, IOAS, USED, BUF, LENGTH, MAP_RW);
	map_memory(_metadata, file, IOAS, BELOW_MSI, BUF, PAGE, MAP_RW);
	map_memory(_metadata, file, HIGH, APERTURE, BUF, PAGE, MAP_RW);
	map_memory(_metadata, file, UNALIGNED, PAGE, BUF, PAGE / 2, MAP_RW);
	map_memory(_metadata, file, MISSING, PAGE, HOLE, PAGE, MAP_RW);
	make_sources(_metadata, file);
}

static void end_world(struct world *w)
{
	int i;

	edu_close(&w->edu);
	close(w->device);
	for (i = 0; i < NR_FILES; i++)
		close(w->files[i]);
}

/*
 * Attempts
 */

static void apply(struct attempt *attempt, const struct change *change)
{
	void *field = (char *)attempt + change->at;
	__u64 value = 0;

	memcpy(&value, field, change->size);
	value = (value & ~change->bits) | (change->value & change->bits);
	memcpy(field, &value, change->size);
}

static void spoil(struct attempt *attempt, const struct row *row)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(row->changes); i++)
		apply(attempt, &row->changes[i]);
}

/*
 * Can two rows be combined? Not if they set the same bits to different values.
 */
static bool combine(const struct row *a, const struct row *b)
{
	int i, j;

	for (i = 0; i < ARRAY_SIZE(a->changes); i++) {
		for (j = 0; j < ARRAY_SIZE(b->changes); j++) {
			const struct change *c = &a->changes[i];
			const struct change *d = &b->changes[j];

			if (c->at == d->at &&
			    ((c->value ^ d->value) & c->bits & d->bits))
				return false;
		}
	}
	return !a->alone && !b->alone;
}

static int order(const struct row *row)
{
	return atoi(row->name + strcspn(row->name, "0123456789"));
}

/* Send the request that is at CMD; return its errno, or 0 */
static int send(const struct world *w, const struct request *request,
		const struct attempt *attempt)
{
	void *cmd = at(CMD);
	int ret = 0;

	if (attempt->memlock && limit_memlock(attempt->memlock))
		return -1;
	if (attempt->no_resource && drop_cap(CAP_SYS_RESOURCE))
		return -1;
	if (attempt->no_answer && mprotect(cmd, PAGE, PROT_READ))
		return -1;
	errno = 0;
	if (ioctl(w->files[attempt->file], request->word, cmd))
		ret = errno;
	/*
	 * A failed request must not write to the structure, except EMSGSIZE,
	 * which returns the number of ranges
	 */
	if (ret && ret != EMSGSIZE &&
	    memcmp(cmd, &attempt->size, attempt->size))
		return -1;
	return ret;
}

/* In a child, since limits and capabilities can't be restored */
static int try(const struct world *w, const struct request *request,
	       struct attempt attempt)
{
	int status;
	pid_t pid;

	attempt.size = request->size;
	memcpy(at(CMD), &attempt.size, request->size);
	pid = fork();
	if (!pid)
		_exit(send(w, request, &attempt));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/*
 * The device is attached. If its IOMMU can't allocate a page table meanwhile,
 * detach it.
 */
static int prepare_hwpt_alloc(const struct world *w)
{
	return iommu_of(&w->dev)->reach_is_late ? detach_pt(w->device) : 0;
}

#define NO_TABLE "a table is made only while the device is not attached"

/* One variant for each row */
FIXTURE(rule)
{
	struct world world;
};

FIXTURE_VARIANT(rule)
{
	const struct request *request;
	const struct row *row;
};

FIXTURE_SETUP(rule)
{
	make_world(_metadata, &self->world);
	if (variant->request->word == IOMMU_HWPT_ALLOC) {
		if (iommu_of(&self->world.dev)->reach_is_late &&
		    strstr(variant->row->name, "parent_that_is_hwpt"))
			SKIP_TEST(NO_TABLE);
		ASSERT_EQ(0, prepare_hwpt_alloc(&self->world));
	}
	if (variant->request->good.file == FILE_MEMORY) {
		expect_id(_metadata, self->world.files[FILE_MEMORY], 1);
		ASSERT_EQ(0, map_file_at(self->world.files[FILE_MEMORY], 1,
					 MAP_RW, FD_MEMORY, 0, LENGTH, IOVA));
	}
}

FIXTURE_TEARDOWN(rule)
{
	end_world(&self->world);
}

TEST_F(rule, holds)
{
	const struct request *request = variant->request;
	const struct row *row = variant->row, *other;
	struct attempt attempt = request->good;

	spoil(&attempt, row);
	EXPECT_EQ(row->error, try(&self->world, request, attempt)) {
		TH_LOG("%s", row->name);
	}

	for (other = row + 1; other->name; other++) {
		if (order(row) >= order(other) || !combine(row, other))
			continue;
		attempt = request->good;
		spoil(&attempt, row);
		spoil(&attempt, other);
		EXPECT_EQ(row->error, try(&self->world, request, attempt)) {
			TH_LOG("%s with %s", row->name, other->name);
		}
	}

	EXPECT_EQ(row->then, try(&self->world, request, request->good)) {
		TH_LOG("%s and then all well", row->name);
	}
}

/* Rules for all requests; the number in the name is the place in the order */
FIXTURE(common)
{
	struct world world;
	int file;
	__u8 *cmd;
};

FIXTURE_VARIANT(common)
{
	const struct request *request;
};

FIXTURE_SETUP(common)
{
	const struct attempt *good = &variant->request->good;

	make_world(_metadata, &self->world);
	if (variant->request->word == IOMMU_HWPT_ALLOC)
		ASSERT_EQ(0, prepare_hwpt_alloc(&self->world));
	self->file = self->world.files[good->file];
	/*
	 * The structure at the start of two accessible pages, followed by none
	 */
	self->cmd = at(CMD);
	memcpy(self->cmd, &good->size, variant->request->size);
	self->cmd[0] = variant->request->size;
}

FIXTURE_TEARDOWN(common)
{
	end_world(&self->world);
}

static void set_size(void *cmd, __u32 size)
{
	memcpy(cmd, &size, sizeof(size));
}

/* Flip each bit of the ioctl number above the command: type, size, direction */
TEST_F(common, rule_3_other_word_is_ENOTTY)
{
	unsigned int word = variant->request->word;
	int i;

	for (i = 8; i < 32; i++) {
		ASSERT_ERRNO(ENOTTY, ioctl(self->file, word ^ 1U << i,
					   self->cmd));
		/*
		 * ENOTTY ranks before a wrong size and after an unreadable one
		 */
		set_size(self->cmd, 0);
		ASSERT_ERRNO(ENOTTY, ioctl(self->file, word ^ 1U << i,
					   self->cmd));
		ASSERT_ERRNO(EFAULT, ioctl(self->file, word ^ 1U << i, NULL));
		set_size(self->cmd, variant->request->size);
	}
	EXPECT_EQ(0, ioctl(self->file, word, self->cmd));
}

TEST_F(common, rule_2_size_that_cannot_be_read_is_EFAULT)
{
	unsigned int word = variant->request->word;

	EXPECT_ERRNO(EFAULT, ioctl(self->file, word, NULL));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, word, at(HOLE)));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, word, at(HOLE - 3)));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, word, -1UL));
}

/* Whatever the other fields are, even if memory ends after the size */
TEST_F(common, rule_4_short_structure_is_EINVAL)
{
	void *end = at(HOLE - 4);
	__u32 size;

	memset(self->cmd + 4, 0xff, variant->request->size - 4);
	for (size = 0; size < variant->request->min_size; size++) {
		set_size(self->cmd, size);
		ASSERT_ERRNO(EINVAL, ioctl(self->file, variant->request->word,
					   self->cmd));
		set_size(end, size);
		ASSERT_ERRNO(EINVAL,
			     ioctl(self->file, variant->request->word, end));
	}
}

/* Whatever the other fields are, for any nonzero byte of the tail */
TEST_F(common, rule_5_unknown_tail_is_E2BIG)
{
	size_t size = variant->request->size, i;

	set_size(self->cmd, size + 100);
	for (i = 0; i < 100; i++) {
		self->cmd[size + i] = 0x80;
		ASSERT_ERRNO(E2BIG, ioctl(self->file, variant->request->word,
					  self->cmd));
		self->cmd[size + i] = 0;
	}
	/* Reserved fields are checked later (rule 9) */
	memset(self->cmd + 4, 0xff, size - 4);
	self->cmd[PAGE - 1] = 1;
	set_size(self->cmd, PAGE);
	EXPECT_ERRNO(E2BIG,
		     ioctl(self->file, variant->request->word, self->cmd));
}

/*
 * A structure of up to a page is accepted; nothing is written after its known
 * part
 */
TEST_F(common, rule_5_zero_tail_is_accepted)
{
	size_t size = variant->request->size, i;

	set_size(self->cmd, PAGE);
	memset(self->cmd + PAGE, 0x5a, PAGE);
	EXPECT_EQ(0, ioctl(self->file, variant->request->word, self->cmd));
	for (i = size; i < PAGE; i++)
		ASSERT_EQ(0, self->cmd[i]);
	EXPECT_TRUE(is_byte(self->cmd + PAGE, PAGE, 0x5a));
}

/* A structure of more than a page is not read at all (trap A18) */
TEST_F(common, rule_5_more_than_a_page_is_E2BIG)
{
	void *end = at(HOLE - 4);

	set_size(self->cmd, PAGE + 1);
	EXPECT_ERRNO(E2BIG,
		     ioctl(self->file, variant->request->word, self->cmd));
	set_size(end, PAGE + 1);
	EXPECT_ERRNO(E2BIG, ioctl(self->file, variant->request->word, end));
	set_size(end, ~0U);
	EXPECT_ERRNO(E2BIG, ioctl(self->file, variant->request->word, end));
}

TEST_F(common, rule_6_structure_that_cannot_be_read_is_EFAULT)
{
	size_t size = variant->request->size, have;
	void *last = at(HOLE - size);

	/* Only the last bytes of the structure, or of its tail, are missing */
	for (have = 4; have < size; have++) {
		void *cmd = at(HOLE - have);

		set_size(cmd, size);
		ASSERT_ERRNO(EFAULT,
			     ioctl(self->file, variant->request->word, cmd));
	}
	memcpy(last, self->cmd, size);
	set_size(last, size + 1);
	EXPECT_ERRNO(EFAULT, ioctl(self->file, variant->request->word, last));
	/* A good structure at the end of memory */
	set_size(last, size);
	EXPECT_EQ(0, ioctl(self->file, variant->request->word, last));
}

/* Missing fields are zero, whatever follows the structure in memory */
TEST_F(common, rule_7_older_structure_is_accepted)
{
	size_t size = variant->request->size, have;

	for (have = variant->request->min_size; have <= size; have++) {
		pid_t pid;
		int status;

		memcpy(self->cmd, &variant->request->good.size, size);
		memset(self->cmd + have, 0x5a, size + 8 - have);
		set_size(self->cmd, have);
		pid = fork();
		if (!pid) {
			if (ioctl(self->file, variant->request->word, self->cmd))
				_exit(errno);
			/* Rule 8: the kernel writes no more than it has read */
			_exit(is_byte(self->cmd + have, size + 8 - have, 0x5a) ?
			      0 : 255);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status) {
			TH_LOG("%s of %zu bytes", variant->request->name, have);
		}
	}
}

/* A request without an answer does not write to the structure */
TEST_F(common, rule_8_unwritable_structure_is_EFAULT_if_there_is_an_answer)
{
	ASSERT_EQ(0, mprotect(self->cmd, PAGE, PROT_READ));
	if (variant->request->answers)
		EXPECT_ERRNO(EFAULT, ioctl(self->file, variant->request->word,
					   self->cmd));
	else
		EXPECT_EQ(0, ioctl(self->file, variant->request->word,
				   self->cmd));
}

static void add_variant(struct __fixture_metadata *fixture, const char *name,
			const void *data)
{
	struct __fixture_variant_metadata *meta = calloc(1, sizeof(*meta));

	meta->name = name;
	meta->data = data;
	__register_fixture_variant(fixture, meta);
}

static void __attribute__((constructor)) add_variants(void)
{
	const struct request *request = requests;
	const struct row *row;

	for (; request < requests + ARRAY_SIZE(requests); request++) {
		struct _fixture_variant_common *common;

		common = calloc(1, sizeof(*common));
		common->request = request;
		add_variant(&_common_fixture_object, request->name, common);
		for (row = request->rows; row->name; row++) {
			struct _fixture_variant_rule *rule;

			rule = calloc(1, sizeof(*rule));
			rule->request = request;
			rule->row = row;
			add_variant(&_rule_fixture_object, row->name, rule);
		}
	}
}

/* Answers of requests, and what they change */
FIXTURE(answer)
{
	struct world world;
	int file;
};

FIXTURE_SETUP(answer)
{
	make_world(_metadata, &self->world);
	self->file = self->world.files[FILE_DEVICE];
}

FIXTURE_TEARDOWN(answer)
{
	end_world(&self->world);
}

/*
 * Ioctls of VFIO devices and groups, and numbers that nobody uses: ENOTTY, and
 * the argument is not read
 */
TEST_F(answer, common_1_numbers_outside_are_ENOTTY)
{
	static const int numbers[] = { 0x00, 0x67, 0x6f, 0x73, 0x74, 0x76,
				       0x77, 0x78, 0x7f, 0xb0, 0xff };
	__u64 cmd[16] = { sizeof(cmd) };
	int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		EXPECT_ERRNO(ENOTTY, ioctl(self->file, 0x3b00 | numbers[i],
					   NULL));
		EXPECT_ERRNO(ENOTTY, ioctl(self->file, 0x3b00 | numbers[i],
					   cmd));
	}
}

/* Programs detect ioctls by ENOTTY, so a hole returns it for any structure */
TEST_F(answer, common_3_holes_are_ENOTTY)
{
	static const int holes[] = { 0x8b, 0x8c, 0x8d, 0x8e, 0x90, 0x91 };
	static const int above[] = { 0x93, 0x94, 0x95, 0x9f };
	__u64 cmd[16] = { sizeof(cmd) };
	int i;

	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		set_size(cmd, sizeof(cmd));
		EXPECT_ERRNO(ENOTTY, ioctl(self->file, 0x3b00 | holes[i], cmd));
		set_size(cmd, 0);
		EXPECT_ERRNO(ENOTTY, ioctl(self->file, 0x3b00 | holes[i], cmd));
		EXPECT_ERRNO(EFAULT, ioctl(self->file, 0x3b00 | holes[i],
					   NULL));
	}
	for (i = 0; i < ARRAY_SIZE(above); i++)
		EXPECT_ERRNO(ENOTTY, ioctl(self->file, 0x3b00 | above[i], cmd));
}

/* The kernel allocates the lowest free id, so that of EMPTY is next */
TEST_F(answer, destroy_3_id_is_given_again)
{
	EXPECT_EQ(0, destroy(self->file, EMPTY));
	EXPECT_ERRNO(ENOENT, destroy(self->file, EMPTY));
	expect_id(_metadata, self->file, EMPTY);
}

/* Without a page table an IOAS can be destroyed, mapped or not (trap B9) */
TEST_F(answer, destroy_3_after_the_user_is_gone)
{
	ASSERT_EQ(0, detach_pt(self->world.device));
	EXPECT_ERRNO(ENOENT, destroy(self->file, HWPT));
	EXPECT_EQ(0, destroy(self->file, IOAS));
	EXPECT_EQ(0, destroy(self->file, SOURCES));
	EXPECT_ERRNO(EBUSY, destroy(self->file, DEVICE));
}

/* No id is taken, and no object exists (traps A14, B7) */
TEST_F(answer, ioas_alloc_3_is_undone)
{
	struct iommu_ioas_alloc *alloc = at(CMD);

	alloc->size = sizeof(*alloc);
	ASSERT_EQ(0, mprotect(alloc, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, IOMMU_IOAS_ALLOC, alloc));
	EXPECT_ERRNO(ENOENT, destroy(self->file, GONE));
	expect_id(_metadata, self->file, GONE);
}

TEST_F(answer, iova_ranges_5_the_first_entries_are_filled)
{
	struct iommu_iova_range list[3];
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = IOAS,
		.num_iovas = 1,
		.allowed_iovas = (uintptr_t)list,
	};

	memset(list, 0x5a, sizeof(list));
	EXPECT_ERRNO(EMSGSIZE, ioctl(self->file, IOMMU_IOAS_IOVA_RANGES,
				     &ranges));
	EXPECT_EQ(2, ranges.num_iovas);
	EXPECT_EQ(PAGE, ranges.out_iova_alignment);
	EXPECT_EQ(0, list[0].start);
	EXPECT_EQ(MSI_START - 1, list[0].last);
	EXPECT_TRUE(is_byte(&list[1], sizeof(list[1]), 0x5a));

	ranges.num_iovas = 3;
	EXPECT_EQ(0, ioctl(self->file, IOMMU_IOAS_IOVA_RANGES, &ranges));
	EXPECT_EQ(2, ranges.num_iovas);
	EXPECT_EQ(MSI_LAST + 1, list[1].start);
	EXPECT_GT(APERTURE, list[1].last);
	EXPECT_TRUE(is_byte(&list[2], sizeof(list[2]), 0x5a));
}

TEST_F(answer, iova_ranges_without_device_are_all)
{
	struct iommu_iova_range list;
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = SOURCES,
		.num_iovas = 1,
		.allowed_iovas = (uintptr_t)&list,
	};

	EXPECT_EQ(0, ioctl(self->file, IOMMU_IOAS_IOVA_RANGES, &ranges));
	EXPECT_EQ(1, ranges.num_iovas);
	EXPECT_EQ(1, ranges.out_iova_alignment);
	EXPECT_EQ(0, list.start);
	EXPECT_EQ(MAX, list.last);
}

/* Return the IOVA that the kernel chooses; 0 if the map fails */
static __u64 choose(int file, __u32 ioas, __u64 length)
{
	__u64 iova = 0;

	return map(file, ioas, MAP_RW, BUF, length, &iova) ? 0 : iova;
}

/* The kernel chooses only in allowed ranges, until the list is empty */
TEST_F(answer, allow_limits_what_the_kernel_chooses)
{
	static const struct iommu_iova_range list[] = {
		{ 0x7000, 0x8fff }, { 0x5000, 0x5fff },
	};
	__u32 hwpt;

	ASSERT_EQ(0, allow_iovas(self->file, IOAS, list, 2));
	EXPECT_EQ(0x5000, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0x7000, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0x8000, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(ENOSPC, errno);
	/* The list limits neither IOVAs of the program nor existing mappings */
	EXPECT_EQ(0, map_at(self->file, IOAS, BUF, PAGE, IOVA));
	EXPECT_EQ(0, unmap(self->file, IOAS, USED, LENGTH, NULL));
	/* IOVA_RANGES is not affected */
	EXPECT_TRUE(is_usable(self->file, IOAS, 0, MSI_START - 1));

	ASSERT_EQ(0, allow_iovas(self->file, IOAS, NULL, 0));
	EXPECT_EQ(0x1000, choose(self->file, IOAS, PAGE));
	/* A device can be attached to an IOAS with such a list */
	ASSERT_EQ(0, allow_iovas(self->file, EMPTY, list, 2));
	EXPECT_EQ(0, attach_pt(self->world.device, EMPTY, &hwpt));
}

/* Allowed ranges that overlap or adjoin what is mapped or reserved (trap A7) */
TEST_F(answer, allow_goes_together_with_what_is_mapped)
{
	static const struct iommu_iova_range all = { 0, MAX };
	static const struct iommu_iova_range top = { -16 * PAGE, MAX };
	static const struct iommu_iova_range at_msi = {
		MSI_START - 2 * PAGE, MSI_START - 1,
	};

	ASSERT_EQ(0, allow_iovas(self->file, IOAS, &at_msi, 1));
	EXPECT_EQ(MSI_START - 2 * PAGE, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(ENOSPC, errno);

	ASSERT_EQ(0, allow_iovas(self->file, EMPTY, &top, 1));
	EXPECT_EQ(0, choose(self->file, EMPTY, 16 * PAGE));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(-16 * PAGE, choose(self->file, EMPTY, 8 * PAGE));
	EXPECT_EQ(-8 * PAGE, choose(self->file, EMPTY, 4 * PAGE));
	EXPECT_EQ(-4 * PAGE, choose(self->file, EMPTY, 2 * PAGE));
	EXPECT_EQ(-2 * PAGE, choose(self->file, EMPTY, PAGE));
	EXPECT_EQ(0, choose(self->file, EMPTY, PAGE));
	EXPECT_EQ(ENOSPC, errno);

	/*
	 * All is allowed, so a device that needs a reserved range can't be
	 * attached
	 */
	ASSERT_EQ(0, unmap(self->file, EMPTY, 0, MAX, NULL));
	ASSERT_EQ(0, allow_iovas(self->file, EMPTY, &all, 1));
	EXPECT_EQ(PAGE, choose(self->file, EMPTY, PAGE));
	EXPECT_ERRNO(EADDRINUSE, attach_pt(self->world.device, EMPTY, NULL));
	ASSERT_EQ(0, allow_iovas(self->file, EMPTY, NULL, 0));
	EXPECT_EQ(0, attach_pt(self->world.device, EMPTY, NULL));
}

/* All or nothing, wherever in the array the bad range is (trap A17) */
TEST_F(answer, allow_that_fails_keeps_the_list)
{
	enum { NR = 5000 };
	struct iommu_iova_range keep = { 0x5000, 0x5fff }, *list;
	size_t size = NR * sizeof(*list);
	int i;

	/* The array ends where memory does */
	list = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(list != MAP_FAILED);
	list = (void *)list + PAGE - size % PAGE;
	ASSERT_EQ(0, munmap(list + NR, PAGE));
	for (i = 0; i < NR; i++) {
		list[i].start = (i + 1) * 4 * PAGE;
		list[i].last = list[i].start + PAGE - 1;
	}

	ASSERT_EQ(0, allow_iovas(self->file, IOAS, &keep, 1));
	EXPECT_ERRNO(EFAULT, allow_iovas(self->file, IOAS, list, NR + 1));
	list[NR - 1].last = list[NR - 1].start;
	EXPECT_ERRNO(EINVAL, allow_iovas(self->file, IOAS, list, NR));
	list[NR - 1].last = list[0].last;
	list[NR - 1].start = list[0].start;
	EXPECT_ERRNO(EINVAL, allow_iovas(self->file, IOAS, list, NR));
	list[NR - 1].last = MSI_LAST;
	list[NR - 1].start = MSI_LAST - 1;
	EXPECT_ERRNO(EADDRINUSE, allow_iovas(self->file, IOAS, list, NR));
	EXPECT_EQ(0x5000, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0, choose(self->file, IOAS, PAGE));

	list[NR - 1].start = MSI_LAST + 1;
	list[NR - 1].last = MSI_LAST + PAGE;
	EXPECT_EQ(0, allow_iovas(self->file, IOAS, list, NR));
	EXPECT_EQ(0x4000, choose(self->file, IOAS, PAGE));
	EXPECT_EQ(0x8000, choose(self->file, IOAS, PAGE));
}

/* A bad address is detected only when there is a page table */
TEST_F(answer, map_without_table_does_not_touch_memory)
{
	__u32 hwpt;

	map_memory(_metadata, self->file, EMPTY, IOVA, HOLE, LENGTH, MAP_RW);
	EXPECT_ERRNO(EFAULT, attach_pt(self->world.device, EMPTY, &hwpt));
	ASSERT_EQ(0, unmap(self->file, EMPTY, IOVA, LENGTH, NULL));
	EXPECT_EQ(0, attach_pt(self->world.device, EMPTY, &hwpt));
}

/* A copy within an IOAS, and a copy of the copy (trap A12) */
TEST_F(answer, copy_inside_an_ioas)
{
	EXPECT_EQ(0, copy_at(self->file, IOAS, IOAS, MAP_RW, LENGTH, IOVA,
			     USED));
	EXPECT_EQ(0, unmap(self->file, IOAS, USED, LENGTH, NULL));
	EXPECT_EQ(0, copy_at(self->file, IOAS, IOAS, MAP_RW, LENGTH, USED,
			     IOVA));
	/* To its own IOVA, and to an IOVA that overlaps it */
	EXPECT_ERRNO(EEXIST, copy_at(self->file, IOAS, IOAS, MAP_RW, LENGTH,
				     USED, USED));
	EXPECT_ERRNO(EEXIST, copy_at(self->file, IOAS, IOAS, MAP_RW, LENGTH,
				     USED + PAGE, USED));
	EXPECT_EQ(0, copy_at(self->file, IOAS, IOAS, MAP_RW, LENGTH,
			     USED + LENGTH, USED));
}

/*
 * Copies of a part of an area and of several; each part becomes an area (trap
 * A12)
 */
TEST_F(answer, copy_makes_an_area_for_each)
{
	EXPECT_EQ(0, copy_at(self->file, IOAS, SOURCES, MAP_RW, 2 * PAGE, IOVA,
			     SRC + PAGE));
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA, PAGE, NULL));
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA + PAGE, PAGE, NULL));
	EXPECT_EQ(0, copy_at(self->file, IOAS, SOURCES, MAP_RW, LENGTH, IOVA,
			     SRC));
	EXPECT_ERRNO(ENOENT, unmap(self->file, IOAS, IOVA, PAGE, NULL));
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA, 2 * PAGE, NULL));
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA + 2 * PAGE, 2 * PAGE, NULL));
	/* The source is unchanged */
	EXPECT_EQ(0, unmap(self->file, SOURCES, SRC, 2 * PAGE, NULL));
	EXPECT_EQ(0, unmap(self->file, SOURCES, SRC + 2 * PAGE, 2 * PAGE,
			   NULL));
}

/* Read-only memory can be copied for reading */
TEST_F(answer, copy_9_of_constant_memory_to_read)
{
	map_memory(_metadata, self->file, EMPTY, IOVA, CONSTANT, LENGTH,
		   IOMMU_IOAS_MAP_READABLE);
	EXPECT_ERRNO(EPERM, copy_at(self->file, IOAS, EMPTY, WRITE, LENGTH,
				    IOVA, IOVA));
	EXPECT_EQ(0, copy_at(self->file, IOAS, EMPTY, IOMMU_IOAS_MAP_READABLE,
			     LENGTH, IOVA, IOVA));
	/* Nor can a copy of the copy be writable */
	EXPECT_ERRNO(EPERM, copy_at(self->file, EMPTY, IOAS, WRITE, LENGTH, 0,
				    IOVA));
	/*
	 * Memory mapped writable, copied read-only, can be copied writable
	 * again
	 */
	ASSERT_EQ(0, copy_at(self->file, EMPTY, IOAS, IOMMU_IOAS_MAP_READABLE,
			     LENGTH, 0, USED));
	EXPECT_EQ(0, copy_at(self->file, EMPTY, EMPTY, WRITE, LENGTH, LENGTH,
			     0));
}

/* Unmap everything, and again when nothing is mapped */
TEST_F(answer, unmap_2_everything_is_never_an_error)
{
	__u64 unmapped;

	EXPECT_EQ(0, unmap(self->file, IOAS, 0, MAX, &unmapped));
	EXPECT_EQ(LENGTH + PAGE, unmapped);
	EXPECT_EQ(0, unmap(self->file, IOAS, 0, MAX, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_ERRNO(ENOENT, unmap(self->file, IOAS, 0, MAX - 1, &unmapped));
	EXPECT_ERRNO(EOVERFLOW, unmap(self->file, IOAS, 1, MAX, &unmapped));
	/* The id is checked first */
	EXPECT_ERRNO(ENOENT, unmap(self->file, NO_ID, 0, MAX, &unmapped));
}

/* The areas before the one that the range cuts are unmapped, and no others */
TEST_F(answer, unmap_6_areas_in_front_are_gone)
{
	__u64 unmapped;
	int i;

	for (i = 0; i < 40; i++)
		map_memory(_metadata, self->file, IOAS, IOVA + i * PAGE, BUF,
			   PAGE,
			   MAP_RW);
	EXPECT_ERRNO(ENOENT, unmap(self->file, IOAS, IOVA, USED + PAGE - IOVA,
				   &unmapped));
	EXPECT_EQ(USED + PAGE - IOVA, unmapped);
	EXPECT_ERRNO(ENOENT, unmap(self->file, IOAS, IOVA, USED - IOVA,
				   &unmapped));
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA, USED + LENGTH - IOVA,
			   &unmapped));
	EXPECT_EQ(LENGTH, unmapped);
}

/* Several areas and gaps; the range ends in a gap */
TEST_F(answer, unmap_tells_how_much_it_was)
{
	__u64 unmapped;

	map_memory(_metadata, self->file, IOAS, IOVA, BUF, 2 * PAGE, MAP_RW);
	map_memory(_metadata, self->file, IOAS, IOVA + 3 * PAGE, BUF, PAGE,
		   MAP_RW);
	EXPECT_EQ(0, unmap(self->file, IOAS, IOVA - 1, USED - IOVA, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
}

/* Value of an option; MAX for an error */
static __u64 get_option(int file, __u32 option_id, __u32 id)
{
	__u64 value = 0x5555;

	return option(file, option_id, IOMMU_OPTION_OP_GET, id, &value) ? MAX :
									  value;
}

#define GET_HUGE(_file, _ioas)                                                 \
	get_option(_file, IOMMU_OPTION_HUGE_PAGES, _ioas)

/* GET needs no capability, and ignores the value */
TEST_F(answer, option_rlimit_4_get_needs_no_privilege)
{
	int new = self->world.files[FILE_NEW];

	ASSERT_EQ(0, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	ASSERT_EQ(0, drop_cap(CAP_SYS_RESOURCE));
	EXPECT_EQ(0, get_option(self->file, IOMMU_OPTION_RLIMIT_MODE, 0));
	EXPECT_EQ(1, get_option(new, IOMMU_OPTION_RLIMIT_MODE, 0));
	EXPECT_ERRNO(EPERM, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 0));
	EXPECT_ERRNO(EPERM, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
}

/* SET fails while any object exists (trap J6) */
TEST_F(answer, option_rlimit_6_set_when_all_objects_are_gone)
{
	int new = self->world.files[FILE_NEW];

	expect_id(_metadata, new, 1);
	EXPECT_ERRNO(EBUSY, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	EXPECT_ERRNO(EBUSY, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 2));
	ASSERT_EQ(0, destroy(new, 1));
	EXPECT_EQ(0, set_option(new, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
}

/* SET takes effect before the answer is written, which is only the value */
TEST_F(answer, option_11_only_the_value_is_answered)
{
	void *page = at(CMD);
	struct iommu_option *option = page + PAGE - 16;

	*option = (struct iommu_option){
		.size = sizeof(*option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = EMPTY,
	};
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(0, ioctl(self->file, IOMMU_OPTION, option));
	EXPECT_EQ(0, GET_HUGE(self->file, EMPTY));

	option->val64 = 1;
	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, IOMMU_OPTION, option));
	EXPECT_EQ(1, GET_HUGE(self->file, EMPTY));
}

/*
 * Without huge pages, mappings consist of whole pages, even if no device is
 * attached (trap A13)
 */
TEST_F(answer, option_huge_off_raises_the_alignment)
{
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = EMPTY,
	};

	EXPECT_EQ(1, GET_HUGE(self->file, EMPTY));
	ASSERT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, EMPTY, 0));
	EXPECT_ERRNO(EMSGSIZE, ioctl(self->file, IOMMU_IOAS_IOVA_RANGES,
				     &ranges));
	EXPECT_EQ(PAGE, ranges.out_iova_alignment);
	EXPECT_ERRNO(EINVAL, map_at(self->file, EMPTY, BUF, 16, IOVA));
	ASSERT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, EMPTY, 1));
	ranges.num_iovas = 0;
	EXPECT_ERRNO(EMSGSIZE, ioctl(self->file, IOMMU_IOAS_IOVA_RANGES,
				     &ranges));
	EXPECT_EQ(1, ranges.out_iova_alignment);
	EXPECT_EQ(0, map_at(self->file, EMPTY, BUF, 16, IOVA));
	/* This mapping keeps huge pages on until it is unmapped */
	EXPECT_ERRNO(EADDRINUSE,
		     set_option(self->file, IOMMU_OPTION_HUGE_PAGES, EMPTY, 0));
	ASSERT_EQ(0, unmap(self->file, EMPTY, IOVA, 16, NULL));
	EXPECT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, EMPTY, 0));
}

/*
 * Huge pages can't be disabled if there are a page table and a mapping; they
 * can always be enabled
 */
TEST_F(answer, option_huge_9_one_alone_is_fine)
{
	EXPECT_ERRNO(EINVAL,
		     set_option(self->file, IOMMU_OPTION_HUGE_PAGES, IOAS, 0));
	EXPECT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, IOAS, 1));
	ASSERT_EQ(0, unmap(self->file, IOAS, 0, MAX, NULL));
	EXPECT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, IOAS, 0));
	map_memory(_metadata, self->file, IOAS, USED, BUF, LENGTH, MAP_RW);
	EXPECT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, IOAS, 1));
	ASSERT_EQ(0, detach_pt(self->world.device));
	EXPECT_EQ(0, set_option(self->file, IOMMU_OPTION_HUGE_PAGES, IOAS, 0));
	EXPECT_EQ(0, attach_pt(self->world.device, IOAS, NULL));
}

/* No id is taken, and the IOAS is not used (traps A14, B7) */
TEST_F(answer, hwpt_alloc_8_is_undone)
{
	struct iommu_hwpt_alloc *alloc = at(CMD);
	__u32 id, next;

	/*
	 * The lowest free id: HWPT, if detaching the device destroyed that page
	 * table
	 */
	next = iommu_of(&self->world.dev)->reach_is_late ? HWPT : GONE;
	ASSERT_EQ(0, prepare_hwpt_alloc(&self->world));

	*alloc = (struct iommu_hwpt_alloc){
		.size = sizeof(*alloc),
		.dev_id = DEVICE,
		.pt_id = EMPTY,
	};
	ASSERT_EQ(0, mprotect(alloc, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->file, IOMMU_HWPT_ALLOC, alloc));
	EXPECT_ERRNO(ENOENT, destroy(self->file, next));
	EXPECT_TRUE(is_usable(self->file, EMPTY, 0, MAX));
	ASSERT_EQ(0, alloc_hwpt(self->file, DEVICE, EMPTY, &id));
	EXPECT_EQ(next, id);
	ASSERT_EQ(0, destroy(self->file, id));
	EXPECT_EQ(0, destroy(self->file, EMPTY));
}

/*
 * A page table made by the program, with the group attached and detached (trap
 * B9)
 */
TEST_F(answer, hwpt_alloc_lasts_until_it_is_destroyed)
{
	__u32 id, now;
	int i;

	if (iommu_of(&self->world.dev)->reach_is_late)
		SKIP(return, NO_TABLE);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, alloc_hwpt(self->file, DEVICE, EMPTY, &id));
		EXPECT_ERRNO(EBUSY, destroy(self->file, EMPTY));
		EXPECT_TRUE(is_usable(self->file, EMPTY, 0, MSI_LAST));
		EXPECT_FALSE(is_usable(self->file, EMPTY, APERTURE, APERTURE));
		ASSERT_EQ(0, attach_pt(self->world.device, id, &now));
		EXPECT_EQ(id, now);
		EXPECT_FALSE(is_usable(self->file, EMPTY, MSI_LAST, MSI_LAST));
		EXPECT_ERRNO(EBUSY, destroy(self->file, id));
		ASSERT_EQ(0, detach_pt(self->world.device));
		EXPECT_EQ(0, destroy(self->file, id));
	}
	EXPECT_TRUE(is_usable(self->file, EMPTY, 0, MAX));
}

static int get_hw_info(int file, void *data, __u32 *length, __u32 *type)
{
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = DEVICE,
		.data_len = *length,
		.data_uptr = (uintptr_t)data,
		.out_data_type = ~0U,
		.out_capabilities = MAX,
	};
	int ret = ioctl(file, IOMMU_GET_HW_INFO, &info);

	*length = info.data_len;
	*type = info.out_data_type;
	return info.out_capabilities ? -2 : ret;
}

/* Any size of the buffer, including 0; bytes after it are unchanged */
TEST_F(answer, hw_info_fills_the_buffer)
{
	__u8 whole[100], part[100];
	__u32 length = sizeof(whole), type, i;
	struct iommu_hw_info_vtd vtd;

	if (!iommu_of(&self->world.dev)->hw_info)
		SKIP(return, "nothing is told of this IOMMU");
	memset(whole, 0x5a, sizeof(whole));
	ASSERT_EQ(0, get_hw_info(self->file, whole, &length, &type));
	ASSERT_EQ(IOMMU_HW_INFO_TYPE_INTEL_VTD, type);
	ASSERT_EQ(24, length);
	ASSERT_EQ(24, sizeof(vtd));
	memcpy(&vtd, whole, sizeof(vtd));
	EXPECT_EQ(0, vtd.flags);
	EXPECT_EQ(0, vtd.__reserved);
	/* MGAW: addresses of 48 bits */
	EXPECT_EQ(47, vtd.cap_reg >> 16 & 0x3f);
	EXPECT_NE(0, vtd.ecap_reg);
	EXPECT_TRUE(is_byte(whole + 24, sizeof(whole) - 24, 0));

	for (i = 0; i <= sizeof(part); i++) {
		memset(part, 0x5a, sizeof(part));
		length = i;
		ASSERT_EQ(0, get_hw_info(self->file, part, &length, &type));
		EXPECT_EQ(24, length);
		EXPECT_EQ(IOMMU_HW_INFO_TYPE_INTEL_VTD, type);
		EXPECT_EQ(0, memcmp(part, whole, i));
		EXPECT_TRUE(is_byte(part + i, sizeof(part) - i, 0x5a));
	}
	length = 0;
	EXPECT_EQ(0, get_hw_info(self->file, at(HOLE), &length, &type));
	EXPECT_EQ(24, length);
}

/*
 * Whether the file has such memory is checked only when there is a page table
 */
TEST_F(answer, map_file_without_table_does_not_look_at_the_file)
{
	ASSERT_EQ(0, map_file_at(self->file, EMPTY, MAP_RW, FD_EVENT, 0, LENGTH,
				 IOVA));
	EXPECT_ERRNO(EINVAL, attach_pt(self->world.device, EMPTY, NULL));
	ASSERT_EQ(0, unmap(self->file, EMPTY, IOVA, LENGTH, NULL));
	ASSERT_EQ(0, map_file_at(self->file, EMPTY, MAP_RW, FD_SHORT, 0, LENGTH,
				 IOVA));
	EXPECT_ERRNO(EINVAL, attach_pt(self->world.device, EMPTY, NULL));
	ASSERT_EQ(0, unmap(self->file, EMPTY, IOVA, LENGTH, NULL));
	EXPECT_EQ(0, attach_pt(self->world.device, EMPTY, NULL));
}

/* Without mappings there is nothing to charge */
TEST_F(answer, change_of_nothing_succeeds)
{
	EXPECT_ERRNO(EINVAL, change_process(self->file));
	EXPECT_EQ(0, change_process(self->world.files[FILE_NEW]));
	expect_id(_metadata, self->world.files[FILE_NEW], 1);
	EXPECT_EQ(0, change_process(self->world.files[FILE_NEW]));
}

/* Numbers and layouts are those that programs were compiled with */
TEST(layout_is_that_of_later_kernels)
{
	EXPECT_EQ(0x3b80, IOMMU_DESTROY);
	EXPECT_EQ(0x3b81, IOMMU_IOAS_ALLOC);
	EXPECT_EQ(0x3b82, IOMMU_IOAS_ALLOW_IOVAS);
	EXPECT_EQ(0x3b83, IOMMU_IOAS_COPY);
	EXPECT_EQ(0x3b84, IOMMU_IOAS_IOVA_RANGES);
	EXPECT_EQ(0x3b85, IOMMU_IOAS_MAP);
	EXPECT_EQ(0x3b86, IOMMU_IOAS_UNMAP);
	EXPECT_EQ(0x3b87, IOMMU_OPTION);
	EXPECT_EQ(0x3b89, IOMMU_HWPT_ALLOC);
	EXPECT_EQ(0x3b8a, IOMMU_GET_HW_INFO);
	EXPECT_EQ(0x3b8f, IOMMU_IOAS_MAP_FILE);
	EXPECT_EQ(0x3b92, IOMMU_IOAS_CHANGE_PROCESS);

	EXPECT_EQ(8, sizeof(struct iommu_destroy));
	EXPECT_EQ(12, sizeof(struct iommu_ioas_alloc));
	EXPECT_EQ(24, sizeof(struct iommu_ioas_allow_iovas));
	EXPECT_EQ(16, offsetof(struct iommu_ioas_allow_iovas, allowed_iovas));
	EXPECT_EQ(40, sizeof(struct iommu_ioas_copy));
	EXPECT_EQ(16, offsetof(struct iommu_ioas_copy, length));
	EXPECT_EQ(32, offsetof(struct iommu_ioas_copy, src_iova));
	EXPECT_EQ(32, sizeof(struct iommu_ioas_iova_ranges));
	EXPECT_EQ(24, offsetof(struct iommu_ioas_iova_ranges,
			       out_iova_alignment));
	EXPECT_EQ(16, sizeof(struct iommu_iova_range));
	EXPECT_EQ(40, sizeof(struct iommu_ioas_map));
	EXPECT_EQ(32, offsetof(struct iommu_ioas_map, iova));
	EXPECT_EQ(24, sizeof(struct iommu_ioas_unmap));
	EXPECT_EQ(24, sizeof(struct iommu_option));
	EXPECT_EQ(8, offsetof(struct iommu_option, op));
	EXPECT_EQ(12, offsetof(struct iommu_option, object_id));
	EXPECT_EQ(48, sizeof(struct iommu_hwpt_alloc));
	EXPECT_EQ(16, offsetof(struct iommu_hwpt_alloc, out_hwpt_id));
	EXPECT_EQ(32, offsetof(struct iommu_hwpt_alloc, data_uptr));
	EXPECT_EQ(40, sizeof(struct iommu_hw_info));
	EXPECT_EQ(24, offsetof(struct iommu_hw_info, out_data_type));
	EXPECT_EQ(32, offsetof(struct iommu_hw_info, out_capabilities));
	EXPECT_EQ(24, sizeof(struct iommu_hw_info_vtd));
	EXPECT_EQ(40, sizeof(struct iommu_ioas_map_file));
	EXPECT_EQ(12, offsetof(struct iommu_ioas_map_file, fd));
	EXPECT_EQ(8, sizeof(struct iommu_ioas_change_process));
}

TEST_HARNESS_MAIN

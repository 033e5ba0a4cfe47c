/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * IOMMUFD: I/O address spaces made by userspace and the devices that use them.
 *
 * Every request is an ioctl on /dev/iommu. This file is the reference;
 * Documentation/userspace-api/iommufd.rst is the introduction.
 */
#ifndef _UAPI_IOMMUFD_H
#define _UAPI_IOMMUFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The same letter as VFIO, which uses the numbers 100 to 121 */
#define IOMMUFD_TYPE (';')

/**
 * DOC: Rules for every request
 *
 * The argument is a structure that begins with its own size, a __u32 that the
 * caller sets to the sizeof() it was compiled with. So a new program works on
 * an old kernel, and an old program on a new kernel:
 *
 *  - The kernel extends a shorter structure with zeros. It must have the fields
 *    of the first version of the request.
 *  - The kernel accepts a longer structure, up to a page, if the bytes that it
 *    does not know are zero.
 *
 * The kernel writes its answer to the same structure, never beyond @size. Ids
 * of objects are positive, and valid only for the open file that made the
 * object. All addresses and lengths are in bytes.
 *
 * An ioctl returns 0, or -1 with errno set. Errors of any request:
 *
 *  - ENOTTY: the kernel does not know the request
 *  - E2BIG: a field that the kernel does not know is not zero, or the structure
 *    is longer than a page
 *  - EOPNOTSUPP: a reserved field is not zero, or a flag is unknown
 *  - EINVAL: the structure is too short, or a value is not valid
 *  - EFAULT: the structure, or memory that it points to, can't be read or
 *    written
 *  - ENOENT: an id is not that of an object of the right kind
 *  - ENOMEM: out of memory, or RLIMIT_MEMLOCK
 *  - EOVERFLOW: an address or a length is beyond the address space
 *  - EINTR: a fatal signal. Nothing was changed, except by IOMMU_IOAS_UNMAP and
 *    by an IOMMU_IOAS_COPY of several areas
 */
enum {
	IOMMUFD_CMD_BASE = 0x80,
	IOMMUFD_CMD_DESTROY = IOMMUFD_CMD_BASE,
	IOMMUFD_CMD_IOAS_ALLOC = 0x81,
	IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82,
	IOMMUFD_CMD_IOAS_COPY = 0x83,
	IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84,
	IOMMUFD_CMD_IOAS_MAP = 0x85,
	IOMMUFD_CMD_IOAS_UNMAP = 0x86,
	IOMMUFD_CMD_OPTION = 0x87,
	IOMMUFD_CMD_VFIO_IOAS = 0x88,
	IOMMUFD_CMD_HWPT_ALLOC = 0x89,
	IOMMUFD_CMD_GET_HW_INFO = 0x8a,
	IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f,
	IOMMUFD_CMD_IOAS_CHANGE_PROCESS = 0x92,
};

/**
 * struct iommu_destroy - ioctl(IOMMU_DESTROY)
 * @size: sizeof(struct iommu_destroy)
 * @id: object to remove, of any kind
 *
 * Destroy an object and free its id. An IOAS is destroyed with all its
 * mappings.
 *
 * Errors:
 *  - EBUSY: the object is in use: an IOAS by a page table (HWPT) or by an
 *    emulated device, a HWPT by a device, or a device because it is bound
 */
struct iommu_destroy {
	__u32 size;
	__u32 id;
};

#define IOMMU_DESTROY _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DESTROY)

/**
 * struct iommu_ioas_alloc - ioctl(IOMMU_IOAS_ALLOC)
 * @size: sizeof(struct iommu_ioas_alloc)
 * @flags: must be 0
 * @out_ioas_id: id of the new object
 *
 * Allocate an I/O address space (IOAS), which maps I/O virtual addresses (IOVA)
 * to user memory. Devices that are attached to it share these mappings. A new
 * IOAS has no mapping and spans all addresses; attached devices limit it.
 */
struct iommu_ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_ioas_id;
};

#define IOMMU_IOAS_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOC)

/**
 * struct iommu_iova_range - a range of IOVA
 * @start: first byte
 * @last: last byte, inclusive
 */
struct iommu_iova_range {
	__aligned_u64 start;
	__aligned_u64 last;
};

/**
 * struct iommu_ioas_iova_ranges - ioctl(IOMMU_IOAS_IOVA_RANGES)
 * @size: sizeof(struct iommu_ioas_iova_ranges)
 * @ioas_id: IOAS to ask about
 * @num_iovas: in: size of the array, in entries; out: number of ranges
 * @__reserved: must be 0
 * @allowed_iovas: address of an array of struct iommu_iova_range
 * @out_iova_alignment: the IOVA and the length of a mapping must be multiples
 *                      of this power of two, which is at most the page size
 *
 * Return the ranges of IOVA that can be mapped, in ascending order: all
 * addresses except those that attached devices reserve (MSI doorbells, firmware
 * regions) and those that their page tables can't reach. Existing mappings make
 * no difference. The ranges can change when a device is attached or detached,
 * and when a page table is allocated or destroyed.
 *
 * Errors:
 *  - EMSGSIZE: there are more ranges than entries. @num_iovas is the number
 *    that is needed, and all entries have been written
 */
struct iommu_ioas_iova_ranges {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 __reserved;
	__aligned_u64 allowed_iovas;
	__aligned_u64 out_iova_alignment;
};

#define IOMMU_IOAS_IOVA_RANGES _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_IOVA_RANGES)

/**
 * struct iommu_ioas_allow_iovas - ioctl(IOMMU_IOAS_ALLOW_IOVAS)
 * @size: sizeof(struct iommu_ioas_allow_iovas)
 * @ioas_id: IOAS to set the list of
 * @num_iovas: entries of the array; 0 to allow all addresses again
 * @__reserved: must be 0
 * @allowed_iovas: address of an array of struct iommu_iova_range, which must
 *                 not overlap, each with @start < @last
 *
 * Replace the list of IOVA ranges that the program wants to use. The kernel
 * chooses an IOVA only inside the list, and refuses to attach a device that
 * would reserve a part of it. The list does not limit mappings with
 * IOMMU_IOAS_MAP_FIXED_IOVA, and existing mappings stay.
 *
 * Errors, after which the old list stays:
 *  - EADDRINUSE: an attached device or a page table reserves a part of a range
 *  - EINVAL: a range has less than two bytes, overlaps another one, or ends
 *    beyond the address space
 */
struct iommu_ioas_allow_iovas {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 __reserved;
	__aligned_u64 allowed_iovas;
};

#define IOMMU_IOAS_ALLOW_IOVAS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOW_IOVAS)

/**
 * enum iommufd_ioas_map_flags - how to map
 * @IOMMU_IOAS_MAP_FIXED_IOVA: map at the given IOVA, instead of choosing one
 * @IOMMU_IOAS_MAP_WRITEABLE: devices may write to the memory
 * @IOMMU_IOAS_MAP_READABLE: devices may read the memory
 */
enum iommufd_ioas_map_flags {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
	IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
	IOMMU_IOAS_MAP_READABLE = 1 << 2,
};

/**
 * struct iommu_ioas_map - ioctl(IOMMU_IOAS_MAP)
 * @size: sizeof(struct iommu_ioas_map)
 * @flags: enum iommufd_ioas_map_flags, of which READABLE, WRITEABLE or both are
 *         required
 * @ioas_id: IOAS to map into
 * @__reserved: must be 0
 * @user_va: address in the calling process
 * @length: bytes, a multiple of the IOVA alignment
 * @iova: first IOVA. In with IOMMU_IOAS_MAP_FIXED_IOVA, out always
 *
 * Map memory of the calling process at an IOVA. The mapping is one area, which
 * IOMMU_IOAS_UNMAP removes as a whole. While the IOAS has a page table, the
 * memory is pinned and charged to RLIMIT_MEMLOCK of the caller. Before that only
 * drivers of emulated devices pin pages, and a bad address is not noticed; the
 * attach fails later.
 *
 * If the kernel chooses the IOVA, it is the lowest one that fits, but not in the
 * first or the last page of the address space. It has the same offset in a page as
 * @user_va. It is aligned so that huge pages of the memory can be huge pages of the
 * IOMMU: to the lowest bit set in @user_va, to @length rounded up to a power of two,
 * or to a huge page, whichever is least.
 *
 * The memory can be a BAR of a device that is bound to an iommufd, if the range
 * is inside one mmap() of it. Then nothing is pinned or charged, and DMA does
 * not reach the BAR while the device is reset, in low power or does not decode
 * memory.
 *
 * Errors:
 *  - EEXIST: something is mapped in the range
 *  - EINVAL: no direction was given; @length is 0, or within a page below
 *    ULONG_MAX; the range is reserved; or @iova, @length or the offset of
 *    @user_va in its page is not aligned
 *  - EOVERFLOW: an end is beyond the address space, or the kernel chooses the
 *    IOVA and @length is more than half of that space
 *  - ENOSPC: no free range is large enough, or there are too many areas
 *  - EFAULT: the memory can't be pinned. If the answer can't be written, EFAULT
 *    too, and the mapping stays
 *  - ENOMEM: out of memory, or RLIMIT_MEMLOCK
 *  - what the IOMMU driver returns
 */
struct iommu_ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 __reserved;
	__aligned_u64 user_va;
	__aligned_u64 length;
	__aligned_u64 iova;
};

#define IOMMU_IOAS_MAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP)

/**
 * struct iommu_ioas_map_file - ioctl(IOMMU_IOAS_MAP_FILE)
 * @size: sizeof(struct iommu_ioas_map_file)
 * @flags: as in struct iommu_ioas_map
 * @ioas_id: IOAS to map into
 * @fd: file on tmpfs or hugetlbfs, for example of memfd_create(), or dma-buf of
 *      VFIO_DEVICE_FEATURE_DMA_BUF
 * @start: offset in the file
 * @length: bytes, a multiple of the IOVA alignment
 * @iova: as in struct iommu_ioas_map
 *
 * Map memory of a file at an IOVA, as IOMMU_IOAS_MAP maps memory of a process.
 * The mapping holds a reference to the file and needs no process: it stays
 * after munmap() and after the process has exited. While the IOAS has a page
 * table the kernel holds the pages, and allocates those that the file does not
 * have. If the file is truncated after that, devices keep the pages until they
 * are unmapped.
 *
 * A mapping of a dma-buf holds no reference to the file. If the kernel chooses
 * its IOVA, that is aligned as the physical address is.
 *
 * If the file is shorter than the range, no part of the range can be pinned, also
 * not through a copy or an access.
 *
 * Errors, in addition to those of IOMMU_IOAS_MAP:
 *  - EBADF: @fd is not open
 *  - EPERM: @fd is not open for reading; or with IOMMU_IOAS_MAP_WRITEABLE it is
 *    not open for writing, or the file is sealed against writing
 *
 * Errors of the pages, here or in a later copy, attach or IOMMU_HWPT_ALLOC:
 *  - EINVAL: the file is of another kind, or ends before the range
 *  - ENOSPC: the file system is full, or vm.overcommit_memory forbids more
 *    memory
 *  - ENOMEM: there are no huge pages
 *  - EIO: a page has a memory error, or can't be read from swap
 *
 * Errors for a dma-buf:
 *  - EOPNOTSUPP: it has several ranges, or is not from VFIO
 *  - EINVAL: it ends before the range
 *  - ENODEV: it is revoked
 */
struct iommu_ioas_map_file {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__s32 fd;
	__aligned_u64 start;
	__aligned_u64 length;
	__aligned_u64 iova;
};

#define IOMMU_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP_FILE)

/**
 * struct iommu_ioas_copy - ioctl(IOMMU_IOAS_COPY)
 * @size: sizeof(struct iommu_ioas_copy)
 * @flags: as in struct iommu_ioas_map, for the new mapping
 * @dst_ioas_id: IOAS to map into
 * @src_ioas_id: IOAS that maps the memory; can be the same
 * @length: bytes
 * @dst_iova: first IOVA of the new mapping. In with IOMMU_IOAS_MAP_FIXED_IOVA,
 *            out always
 * @src_iova: first IOVA of the existing mapping
 *
 * Map once more what another range of IOVA maps. Both mappings share the pages,
 * which are pinned and charged once. The new mapping stays when the old one is
 * removed. The source can be a part of an area, or several areas without a gap;
 * the new mapping has one area for each.
 *
 * Errors, in addition to those of IOMMU_IOAS_MAP and IOMMU_IOAS_MAP_FILE:
 *  - ENOENT: a part of the source is not mapped
 *  - EPERM: IOMMU_IOAS_MAP_WRITEABLE for memory that was mapped without it
 *  - EBUSY: another thread is still mapping or unmapping the source
 */
struct iommu_ioas_copy {
	__u32 size;
	__u32 flags;
	__u32 dst_ioas_id;
	__u32 src_ioas_id;
	__aligned_u64 length;
	__aligned_u64 dst_iova;
	__aligned_u64 src_iova;
};

#define IOMMU_IOAS_COPY _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_COPY)

/**
 * struct iommu_ioas_unmap - ioctl(IOMMU_IOAS_UNMAP)
 * @size: sizeof(struct iommu_ioas_unmap)
 * @ioas_id: IOAS to unmap from
 * @iova: first IOVA
 * @length: in: bytes; out: bytes of the areas removed
 *
 * Unmap all areas inside a range; there may be gaps between them. When this
 * returns 0, no device reaches the memory. (If the IOMMU driver fails to unmap
 * a page, the page stays pinned.) @iova 0 with @length U64_MAX unmaps
 * everything, and succeeds if there is nothing. @length is written only if the
 * request succeeds.
 *
 * Errors:
 *  - ENOENT: nothing is mapped in the range, or an area is only partly inside;
 *    areas below that one have been unmapped
 *  - EINVAL: @length is 0
 *  - EBUSY: another thread is still mapping an area; areas below that one have
 *    been unmapped
 *  - EFAULT: @length can't be written; all areas have been unmapped
 *  - EDEADLOCK: the driver of an emulated device does not unpin the memory; other
 *    drivers may have unpinned theirs, and some areas may have been unmapped
 *  - EINTR: a fatal signal; some areas may have been unmapped
 */
struct iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};

#define IOMMU_IOAS_UNMAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP)

/**
 * enum iommufd_option - what IOMMU_OPTION can set
 * @IOMMU_OPTION_RLIMIT_MODE: what is compared with RLIMIT_MEMLOCK. 0: what the
 *                            user has locked, as counted by iommufd, io_uring
 *                            and others. 1: what the address space has locked,
 *                            as VFIO type1 counts. @object_id must be 0
 * @IOMMU_OPTION_HUGE_PAGES: for the IOAS @object_id. 1: page tables may have
 *                           large pages. 0: they have only pages of the size of
 *                           CPU pages, to which mappings must be aligned
 */
enum iommufd_option {
	IOMMU_OPTION_RLIMIT_MODE = 0,
	IOMMU_OPTION_HUGE_PAGES = 1,
};

/**
 * enum iommufd_option_ops - what IOMMU_OPTION does with an option
 * @IOMMU_OPTION_OP_SET: set it to @val64
 * @IOMMU_OPTION_OP_GET: read it into @val64
 */
enum iommufd_option_ops {
	IOMMU_OPTION_OP_SET = 0,
	IOMMU_OPTION_OP_GET = 1,
};

/**
 * struct iommu_option - ioctl(IOMMU_OPTION)
 * @size: sizeof(struct iommu_option)
 * @option_id: one of enum iommufd_option
 * @op: one of enum iommufd_option_ops
 * @__reserved: must be 0
 * @object_id: what the option belongs to, or 0
 * @val64: in: value to set; out: value in force
 *
 * If the value can't be written back the request fails with EFAULT, but the
 * option has been set.
 *
 * Errors:
 *  - EOPNOTSUPP: there is no such option or operation, or
 *    IOMMU_OPTION_RLIMIT_MODE with an @object_id
 *  - EINVAL: @val64 is not 0 or 1; or IOMMU_OPTION_HUGE_PAGES changes to 0
 *    while the IOAS has both page tables and mappings
 *  - EPERM: IOMMU_OPTION_RLIMIT_MODE is set without CAP_SYS_RESOURCE
 *  - EBUSY: IOMMU_OPTION_RLIMIT_MODE is set while the file has objects
 *  - EADDRINUSE: IOMMU_OPTION_HUGE_PAGES is set to 0, and a mapping is not
 *    aligned
 */
struct iommu_option {
	__u32 size;
	__u32 option_id;
	__u16 op;
	__u16 __reserved;
	__u32 object_id;
	__aligned_u64 val64;
};

#define IOMMU_OPTION _IO(IOMMUFD_TYPE, IOMMUFD_CMD_OPTION)

/**
 * enum iommufd_vfio_ioas_op - what struct iommu_vfio_ioas does
 * @IOMMU_VFIO_IOAS_GET: get the IOAS
 * @IOMMU_VFIO_IOAS_SET: set the IOAS
 * @IOMMU_VFIO_IOAS_CLEAR: have no IOAS
 */
enum iommufd_vfio_ioas_op {
	IOMMU_VFIO_IOAS_GET = 0,
	IOMMU_VFIO_IOAS_SET = 1,
	IOMMU_VFIO_IOAS_CLEAR = 2,
};

/**
 * struct iommu_vfio_ioas - ioctl(IOMMU_VFIO_IOAS)
 * @size: sizeof(struct iommu_vfio_ioas)
 * @ioas_id: in for IOMMU_VFIO_IOAS_SET; out for IOMMU_VFIO_IOAS_GET
 * @op: one of enum iommufd_vfio_ioas_op
 * @__reserved: must be 0
 *
 * Get or set the IOAS of the VFIO container that this file stands for. Requests
 * of a container use it, and devices that are opened through a group are
 * attached to it. If none was set, one is allocated when the file becomes the
 * container of a group. Devices that are attached already are not moved.
 *
 * Errors:
 *  - EOPNOTSUPP: there is no such operation
 *  - ENODEV: no IOAS is set, or it was destroyed
 *  - ENOENT: @ioas_id is no IOAS
 *  - EINVAL: IOMMU_VFIO_IOAS_SET, and the file is or was the container of a
 *    group without an IOMMU
 */
struct iommu_vfio_ioas {
	__u32 size;
	__u32 ioas_id;
	__u16 op;
	__u16 __reserved;
};

#define IOMMU_VFIO_IOAS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VFIO_IOAS)

/**
 * enum iommu_hwpt_data_type - data for the IOMMU driver
 * @IOMMU_HWPT_DATA_NONE: no data
 */
enum iommu_hwpt_data_type {
	IOMMU_HWPT_DATA_NONE = 0,
};

/**
 * struct iommu_hwpt_alloc - ioctl(IOMMU_HWPT_ALLOC)
 * @size: sizeof(struct iommu_hwpt_alloc)
 * @flags: must be 0
 * @dev_id: bound device; the page table is for its IOMMU
 * @pt_id: IOAS whose mappings the page table has
 * @out_hwpt_id: id of the new page table
 * @__reserved: must be 0
 * @data_type: IOMMU_HWPT_DATA_NONE
 * @data_len: must be 0
 * @data_uptr: ignored
 * @fault_id: ignored
 * @__reserved2: ignored
 *
 * Allocate a page table (HWPT) without attaching it. It has all mappings of the
 * IOAS, also those made later, limits the IOVA of the IOAS to what it can
 * reach, and exists until IOMMU_DESTROY. Attaching a device to the IOAS never
 * uses it; a device is attached to it by @out_hwpt_id.
 *
 * If no device of the IOMMU group is attached, the group is attached to the
 * empty page table for a moment, to find out what the IOMMU can do. Its DMA
 * reaches nothing. If a device of the group is attached, a VT-d page table maps
 * with 4 KiB pages until a device is attached to it: the driver knows larger
 * ones only then.
 *
 * Errors:
 *  - EOPNOTSUPP: a flag or @data_type is unknown; or a device of the group is
 *    attached, and the IOMMU driver can't complete a page table without
 *    attaching it
 *  - EINVAL: @pt_id is another object than an IOAS; only one of @data_type and
 *    @data_len is 0; the pages of the IOMMU are larger than those of the CPU; or
 *    the page table can't enforce cache coherency as the one of the group does
 *  - ENOSPC: iommufd.max_tables for the device, or iommufd.max_areas
 *  - EADDRINUSE: the page table can't reach a mapping or a range of
 *    IOMMU_IOAS_ALLOW_IOVAS, or a mapping is not aligned
 *  - errors of pinning and mapping, as IOMMU_IOAS_MAP and IOMMU_IOAS_MAP_FILE
 *  - what the IOMMU driver returns when it attaches the group
 */
struct iommu_hwpt_alloc {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 pt_id;
	__u32 out_hwpt_id;
	__u32 __reserved;
	__u32 data_type;
	__u32 data_len;
	__aligned_u64 data_uptr;
	__u32 fault_id;
	__u32 __reserved2;
};

#define IOMMU_HWPT_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_ALLOC)

/**
 * enum iommu_hw_info_type - what IOMMU_GET_HW_INFO returns
 * @IOMMU_HW_INFO_TYPE_NONE: no data
 * @IOMMU_HW_INFO_TYPE_INTEL_VTD: struct iommu_hw_info_vtd
 */
enum iommu_hw_info_type {
	IOMMU_HW_INFO_TYPE_NONE = 0,
	IOMMU_HW_INFO_TYPE_INTEL_VTD = 1,
};

/**
 * struct iommu_hw_info_vtd - a VT-d remapping unit
 * @flags: 0
 * @__reserved: 0
 * @cap_reg: the capability register
 * @ecap_reg: the extended capability register
 */
struct iommu_hw_info_vtd {
	__u32 flags;
	__u32 __reserved;
	__aligned_u64 cap_reg;
	__aligned_u64 ecap_reg;
};

/**
 * struct iommu_hw_info - ioctl(IOMMU_GET_HW_INFO)
 * @size: sizeof(struct iommu_hw_info)
 * @flags: must be 0
 * @dev_id: bound device
 * @data_len: in: size of the buffer, can be 0; out: size of the kernel's data
 * @data_uptr: address of the buffer
 * @out_data_type: one of enum iommu_hw_info_type
 * @__reserved: must be 0
 * @out_capabilities: 0
 *
 * Get information about the IOMMU of a device. If the buffer is too short the
 * data is cut; if it is too long the rest is filled with zeros.
 *
 * Errors:
 *  - ENOENT: @dev_id is no bound device; emulated devices have none
 *  - EFAULT: the buffer can't be written
 */
struct iommu_hw_info {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 data_len;
	__aligned_u64 data_uptr;
	__u32 out_data_type;
	__u32 __reserved;
	__aligned_u64 out_capabilities;
};

#define IOMMU_GET_HW_INFO _IO(IOMMUFD_TYPE, IOMMUFD_CMD_GET_HW_INFO)

/**
 * struct iommu_ioas_change_process - ioctl(IOMMU_IOAS_CHANGE_PROCESS)
 * @size: sizeof(struct iommu_ioas_change_process)
 * @__reserved: must be 0
 *
 * Charge the calling process for the pinned memory of all IOAS of this file,
 * instead of the processes that are charged now. A program that hands running
 * devices to its successor needs this. If it fails, nothing has changed.
 *
 * Errors:
 *  - EINVAL: a mapping is of memory of a process, or of a dma-buf
 *  - ENOMEM: RLIMIT_MEMLOCK of the calling process
 *  - EBUSY: another thread is still mapping or unmapping
 */
struct iommu_ioas_change_process {
	__u32 size;
	__u32 __reserved;
};

#define IOMMU_IOAS_CHANGE_PROCESS                                              \
	_IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_CHANGE_PROCESS)
#endif

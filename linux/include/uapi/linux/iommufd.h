/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * IOMMUFD: I/O address spaces made by userspace and the devices that use them.
 *
 * Every request is an ioctl on /dev/iommu. Documentation/userspace-api/
 * iommufd.rst tells how they work together; this file is the reference.
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
 * The argument is a structure that begins with its own size, a __u32 which the
 * caller sets to sizeof() of the structure it was compiled with. A newer
 * program runs on an older kernel and the reverse:
 *
 *  - a structure shorter than what the kernel knows is completed with zeros, as
 *    long as it has the fields of the first version of that request;
 *  - a longer one, up to a page, is accepted when all the bytes that the kernel
 *    does not know are zero.
 *
 * The answer is written into the same structure and never beyond @size. Objects
 * are named by ids from 1 upward that are valid only for the open file that
 * made them. All addresses and lengths are in bytes.
 *
 * Errors that any request can give:
 *
 *  - ENOTTY: the kernel does not know the request
 *  - E2BIG: the structure is longer, and says something that is not understood
 *  - EOPNOTSUPP: a reserved field or an unknown flag is not zero
 *  - EINVAL: the structure is too short, or a value makes no sense
 *  - EFAULT: the structure can't be read or written
 *  - ENOENT: an id does not name an object of the right kind
 *  - ENOMEM: out of memory, or the limit on locked memory is reached
 *  - EOVERFLOW: an address or a length goes beyond the address space
 *  - EINTR: a fatal signal came; but for IOMMU_IOAS_UNMAP all is undone
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
 * Remove an object and give its id free. Mappings inside an IOAS do not keep it
 * from being removed. EBUSY while another object or a driver uses it: an IOAS
 * that has a page table or that a driver of the kernel accesses, a page table
 * with a device on it, the id of a device that is bound.
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
 * Make an I/O address space (IOAS): a map from I/O virtual addresses (IOVA) to
 * user memory, which devices share by attaching to it. It begins empty, spans
 * all addresses, and gets its limits from the devices.
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
 * @num_iovas: in: entries that the array has; out: ranges that there are
 * @__reserved: must be 0
 * @allowed_iovas: address of an array of struct iommu_iova_range
 * @out_iova_alignment: what the IOVA and the length of a mapping must be a
 *                      multiple of: a power of two from 1 to the page size
 *
 * Tell which IOVA can be mapped, in ascending order: all addresses but those
 * that the attached devices reserve (interrupt windows, firmware regions) and
 * those beyond the reach of their page tables. Mapped or not makes no
 * difference. The answer changes with each attach and detach.
 *
 * EMSGSIZE if there are more ranges than entries: @num_iovas then says how many
 * to ask for, and the entries that there are have been filled.
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
 * @allowed_iovas: address of an array of struct iommu_iova_range. Each must have
 *                 a @start below its @last, and they must not overlap
 *
 * Say which IOVA the program wants to be able to use, in place of what it said
 * before. Where the kernel chooses an IOVA it stays inside the list, and a
 * device that would reserve a part of the list can't be attached. What the
 * program chooses itself is not limited, and mappings that exist stay.
 *
 * Errors leave the list as it was. EADDRINUSE a range meets what an attached
 * device reserves, EINVAL a range has one byte or none, or overlaps another.
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
 * @IOMMU_IOAS_MAP_FIXED_IOVA: map at the IOVA given; else the kernel chooses
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
 * @flags: combination of enum iommufd_ioas_map_flags, with a direction or both
 * @ioas_id: IOAS to map into
 * @__reserved: must be 0
 * @user_va: first byte of the caller's memory
 * @length: bytes, a multiple of the IOVA alignment
 * @iova: first IOVA: in with IOMMU_IOAS_MAP_FIXED_IOVA, out always
 *
 * Make memory of the calling process reachable at an IOVA. The mapping is one
 * area, which can be unmapped only as a whole. While the IOAS has a page table
 * the memory is pinned and charged to the caller's RLIMIT_MEMLOCK; before that
 * it is not touched, and a mapping that can't be pinned fails the attach.
 *
 * An IOVA that the kernel chooses is the lowest that is free, but not in the first
 * or the last page of all. It keeps the offset of @user_va in its page, and is
 * aligned so that pages of memory that are huge can be huge for the device too: to
 * the lowest bit set in @user_va, to @length rounded up to a power of two, or to a
 * huge page, whichever is least.
 *
 * The memory can be registers of a device, if all of it is in one mapping of
 * a BAR, and the device is bound to an iommufd. It is then neither pinned nor
 * charged, and out of reach while the device does not answer.
 *
 * Errors: EEXIST something is mapped there, EINVAL the range is reserved or not
 * aligned, ENOSPC no room or too many areas, EFAULT the memory can't be pinned,
 * ENOMEM it is more than RLIMIT_MEMLOCK or there is too little, EINTR killed.
 * If the answer can't be written the mapping stays, and the call gives EFAULT.
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
 * @fd: open file on tmpfs or hugetlbfs, such as memfd_create() makes, or a
 *	dma-buf of VFIO_DEVICE_FEATURE_DMA_BUF
 * @start: first byte in the file
 * @length: bytes, a multiple of the IOVA alignment
 * @iova: as in struct iommu_ioas_map
 *
 * Make memory of a file reachable at an IOVA, as IOMMU_IOAS_MAP does with memory
 * of the process. The mapping keeps the file open and needs no process: it
 * survives munmap() and the exit of who made it. While the IOAS has a page table
 * the pages are held, and those that the file has not yet are allocated. What is
 * cut off the file after that stays until it is unmapped.
 *
 * Errors: as IOMMU_IOAS_MAP, and EBADF @fd is not open, EPERM it is not open for
 * reading, or IOMMU_IOAS_MAP_WRITEABLE and it is not open for writing or sealed
 * against it. EINVAL another kind of file, or one that ends before the range;
 * as the file is not looked at while the IOAS has no page table, that can come
 * from an attach, as can ENOSPC the file system is full, ENOMEM there are no huge
 * pages, and EIO a page is broken. If the file is shorter than the range, no other
 * part of the range can be pinned either, also not through a copy or an access.
 *
 * A dma-buf need not stay open. EOPNOTSUPP it has several ranges, or is not
 * VFIO's; EINVAL it ends before the range; ENODEV its device does not answer now,
 * or was closed.
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
 * @src_ioas_id: IOAS that has the memory mapped; can be the same
 * @length: bytes
 * @dst_iova: first IOVA of the new mapping: in with IOMMU_IOAS_MAP_FIXED_IOVA,
 *            out always
 * @src_iova: first IOVA of the old one
 *
 * Map what is mapped elsewhere once more. The pages are shared: they are pinned
 * and charged once, and the copy stays when the original is unmapped. The source
 * can be a part of an area, or several areas without a gap between them; the
 * copy has an area for each.
 *
 * Errors: as IOMMU_IOAS_MAP, and ENOENT the source has a gap, EPERM
 * IOMMU_IOAS_MAP_WRITEABLE for memory that was mapped without, EBUSY another
 * thread is still making or removing the source.
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
 * Remove every area inside the range; there may be gaps between them. When the
 * call returns no device reaches the memory any more. @iova 0 with @length
 * U64_MAX removes all that there is, and succeeds on an empty IOAS too.
 *
 * Errors: ENOENT nothing is mapped in the range, or an area is only partly
 * inside (areas below it are gone then), EBUSY another thread is still making
 * an area, EDEADLOCK a driver of the kernel does not let go of the memory. After
 * EDEADLOCK, other drivers may have let go of theirs, and areas may be gone.
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
 * @IOMMU_OPTION_RLIMIT_MODE: what is held against RLIMIT_MEMLOCK: 0, all that the
 *                            user has pinned through iommufd; 1, all that the
 *                            address space has locked or pinned, as VFIO's type1
 *                            does. @object_id must be 0. To set it needs
 *                            CAP_SYS_RESOURCE, and a file without any object
 * @IOMMU_OPTION_HUGE_PAGES: of the IOAS @object_id: 1, contiguous memory can be
 *                           mapped with large pages; 0, all is mapped with pages
 *                           of the CPU's size, to which mappings must be aligned
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
 * Errors: EOPNOTSUPP no such option or operation, EINVAL not a value of it, or
 * IOMMU_OPTION_HUGE_PAGES is switched off while there are page tables and
 * mappings; EPERM and EBUSY for IOMMU_OPTION_RLIMIT_MODE; EADDRINUSE a mapping is
 * not aligned to pages.
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
 * @IOMMU_VFIO_IOAS_GET: ask which IOAS it is
 * @IOMMU_VFIO_IOAS_SET: choose one
 * @IOMMU_VFIO_IOAS_CLEAR: have none
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
 * The IOAS that the requests of a VFIO container go to, and that the group
 * interface of VFIO attaches devices to. It is made when the file is first given
 * to a group as a container, unless one was chosen. Devices that are attached
 * already stay where they are.
 *
 * Errors: EOPNOTSUPP no such operation, ENODEV there is none, or it was destroyed;
 * ENOENT no such IOAS; EINVAL groups without an IOMMU were given to the file.
 */
struct iommu_vfio_ioas {
	__u32 size;
	__u32 ioas_id;
	__u16 op;
	__u16 __reserved;
};

#define IOMMU_VFIO_IOAS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VFIO_IOAS)

/**
 * enum iommu_hwpt_data_type - what is handed to the IOMMU driver with a new table
 * @IOMMU_HWPT_DATA_NONE: nothing
 */
enum iommu_hwpt_data_type {
	IOMMU_HWPT_DATA_NONE = 0,
};

/**
 * struct iommu_hwpt_alloc - ioctl(IOMMU_HWPT_ALLOC)
 * @size: sizeof(struct iommu_hwpt_alloc)
 * @flags: must be 0
 * @dev_id: bound device whose IOMMU the table is for
 * @pt_id: IOAS that the table follows
 * @out_hwpt_id: id of the new page table
 * @__reserved: must be 0
 * @data_type: IOMMU_HWPT_DATA_NONE
 * @data_len: must be 0
 * @data_uptr: not looked at
 * @fault_id: not looked at
 * @__reserved2: not looked at
 *
 * Make a page table without attaching it. It holds what the IOAS maps from now
 * on, limits the IOVA of the IOAS to what it can reach, and stays until it is
 * destroyed. To attach an IOAS never picks it: it is attached by its own id.
 *
 * If nothing of the device's group is attached, the group has the empty table for
 * a moment, to find out what the IOMMU can do with it; its DMA reaches nothing.
 *
 * Errors: EOPNOTSUPP a flag or a type of data that this kernel has not, or a
 * table that the IOMMU can't describe while another is attached; EINVAL @pt_id is
 * no IOAS; ENOSPC too many tables were made for the device, or for the areas;
 * EADDRINUSE a mapping does not fit; and why memory can't be pinned or mapped.
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
 * enum iommu_hw_info_type - kinds of what IOMMU_GET_HW_INFO tells
 * @IOMMU_HW_INFO_TYPE_NONE: nothing
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
 * @cap_reg: its capability register
 * @ecap_reg: its extended capability register
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
 * @data_len: in: bytes of the buffer, can be 0; out: bytes that the kernel has
 * @data_uptr: address of the buffer
 * @out_data_type: one of enum iommu_hw_info_type
 * @__reserved: must be 0
 * @out_capabilities: 0, nothing that this kernel has an interface for
 *
 * Tell what the IOMMU of a device is. A buffer that is too short gets the
 * beginning, one that is too long gets zeros at the end.
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
 * Charge the calling process for all that is mapped in all IOAS of this file, in
 * place of whoever is charged now: for a program that hands a running device to
 * its successor. All or nothing.
 *
 * Errors: EINVAL a mapping is of IOMMU_IOAS_MAP, whose memory belongs to its
 * process; ENOMEM it is more than the limit; EBUSY another thread is still making
 * or removing a mapping.
 */
struct iommu_ioas_change_process {
	__u32 size;
	__u32 __reserved;
};

#define IOMMU_IOAS_CHANGE_PROCESS                                              \
	_IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_CHANGE_PROCESS)
#endif

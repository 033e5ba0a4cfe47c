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
	IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84,
	IOMMUFD_CMD_IOAS_MAP = 0x85,
	IOMMUFD_CMD_IOAS_UNMAP = 0x86,
};

/**
 * struct iommu_destroy - ioctl(IOMMU_DESTROY)
 * @size: sizeof(struct iommu_destroy)
 * @id: object to remove, of any kind
 *
 * Remove an object and give its id free. Mappings inside an IOAS do not keep it
 * from being removed. EBUSY while another object or a driver uses it: an IOAS
 * that has a page table, a page table with a device on it, the id of a device
 * that is bound.
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
 * An IOVA that the kernel chooses is the lowest that is free, is never 0, keeps
 * the offset of @user_va in its page, and is aligned so that pages of memory
 * that are huge can be huge for the device too.
 *
 * Errors: EEXIST something is mapped there, EINVAL the range is reserved or not
 * aligned, ENOSPC no room or too many areas, EFAULT the memory can't be pinned.
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
 * an area.
 */
struct iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};

#define IOMMU_IOAS_UNMAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP)
#endif

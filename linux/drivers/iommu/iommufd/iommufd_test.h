/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IOMMU_TEST_CMD: test programs make devices and IOMMUs that exist only in
 * memory, and accesses of an IOAS. With CONFIG_IOMMUFD_TEST only.
 *
 * Operations 1 to 11 are those that test programs of Linux 6.6 know, with their
 * numbers and layouts. Operations from 0x8000 on exist only here; they can
 * change.
 */
#ifndef __IOMMUFD_TEST_H
#define __IOMMUFD_TEST_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <uapi/linux/iommufd.h>
#else
#include <linux/iommufd.h>
#endif

/**
 * enum iommufd_test_ops - what IOMMU_TEST_CMD does
 * @IOMMU_TEST_OP_ADD_RESERVED: reserve IOVA of the IOAS @id as long as it
 *	exists. EINVAL if the length is 0 or the range wraps, EADDRINUSE
 * @IOMMU_TEST_OP_MOCK_DOMAIN: make a mock device and attach it to @id, an IOAS
 *	or an HWPT. DESTROY of @mock_domain.out_stdev_id removes it
 * @IOMMU_TEST_OP_MD_CHECK_MAP: check that the HWPT @id maps the caller's
 *	memory: EINVAL if not
 * @IOMMU_TEST_OP_MD_CHECK_REFS: check that every small page of the caller's
 *	memory is pinned @check_refs.refs times: EIO if not
 * @IOMMU_TEST_OP_CREATE_ACCESS: make a file that has an access to the IOAS @id
 * @IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: unpin what ACCESS_PAGES of the file @id
 *	has pinned. ENOENT if it was asked to unpin that meanwhile
 * @IOMMU_TEST_OP_ACCESS_PAGES: pin pages through the file @id. EBADE if they are
 *	not those of @access_pages.uptr
 * @IOMMU_TEST_OP_ACCESS_RW: copy between IOVA and the caller's memory through the
 *	file @id
 * @IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: set the size of the arrays in which
 *	lists of pages are passed, in bytes. It is global and stays. EINVAL
 *	below MOCK_MEMORY_LIMIT_MIN
 * @IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: move the mock device @id, which is
 *	attached, to another IOAS or HWPT
 * @IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: move the file @id to another IOAS
 * @IOMMU_TEST_OP_MOCK_DEVICE: make a mock device from a struct
 *	iommu_test_mock_config, bind it, and attach it if @id is not 0. EINVAL
 *	if a value is invalid, or the group has another unit; ENOENT if there is
 *	no such device to join
 * @IOMMU_TEST_OP_MOCK_ATTACH: attach the mock device @id, or move it. Uses
 *	@mock_domain_replace
 * @IOMMU_TEST_OP_MOCK_DETACH: detach the mock device @id, if it is attached
 * @IOMMU_TEST_OP_MOCK_DMA: let the mock device @id read or write memory through
 *	the domain that it is attached to. Uses @access_rw, whose only flag
 *	is MOCK_ACCESS_RW_WRITE here. ENXIO if the IOVA is not mapped, EPERM if
 *	it does not permit the direction; then a part may have been copied
 * @IOMMU_TEST_OP_MOCK_FAIL: let calls of the IOMMU driver of unit @id fail.
 *	This ends when a unit gets its first device. ENODEV if it has none
 * @IOMMU_TEST_OP_MOCK_QUERY: get counts of the calls of the IOMMU driver of
 *	unit @id. ENODEV if it has no device
 * @IOMMU_TEST_OP_ACCESS_ATTACH: attach the file @id to an IOAS, or move it.
 *	Uses @access_replace_ioas
 * @IOMMU_TEST_OP_ACCESS_DETACH: detach the file @id from its IOAS
 * @IOMMU_TEST_OP_ACCESS_SET: set what the file @id does when it is asked to
 *	unpin
 */
enum iommufd_test_ops {
	IOMMU_TEST_OP_ADD_RESERVED = 1,
	IOMMU_TEST_OP_MOCK_DOMAIN,
	IOMMU_TEST_OP_MD_CHECK_MAP,
	IOMMU_TEST_OP_MD_CHECK_REFS,
	IOMMU_TEST_OP_CREATE_ACCESS,
	IOMMU_TEST_OP_DESTROY_ACCESS_PAGES,
	IOMMU_TEST_OP_ACCESS_PAGES,
	IOMMU_TEST_OP_ACCESS_RW,
	IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT,
	IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
	IOMMU_TEST_OP_ACCESS_REPLACE_IOAS,

	IOMMU_TEST_OP_MOCK_DEVICE = 0x8000,
	IOMMU_TEST_OP_MOCK_ATTACH,
	IOMMU_TEST_OP_MOCK_DETACH,
	IOMMU_TEST_OP_MOCK_DMA,
	IOMMU_TEST_OP_MOCK_FAIL,
	IOMMU_TEST_OP_MOCK_QUERY,
	IOMMU_TEST_OP_ACCESS_ATTACH,
	IOMMU_TEST_OP_ACCESS_DETACH,
	IOMMU_TEST_OP_ACCESS_SET,
};

/*
 * What the IOMMU of a device of IOMMU_TEST_OP_MOCK_DOMAIN reaches. Its only
 * page size is half a CPU page.
 */
#define MOCK_APERTURE_START 0x01000000UL
#define MOCK_APERTURE_LAST 0x7fffffffUL

/* The least that IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT accepts */
#define MOCK_MEMORY_LIMIT_MIN 12

/*
 * @access_pages.flags: pin to write; @iova is not an IOVA, see there
 */
enum {
	MOCK_FLAGS_ACCESS_WRITE = 1 << 0,
	MOCK_FLAGS_ACCESS_SYZ = 1 << 16,
};

/* @access_rw.flags: write; copy by pinning even if that is not needed */
enum {
	MOCK_ACCESS_RW_WRITE = 1 << 0,
	MOCK_ACCESS_RW_SLOW_PATH = 1 << 2,
};

/* @create_access.flags: the access can pin, and needs areas of whole pages */
enum {
	MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES = 1 << 0,
};

/* Result of IOMMU_GET_HW_INFO for a mock device */
enum {
	IOMMU_HW_INFO_TYPE_SELFTEST = 0xfeedbeef,
	IOMMU_HW_INFO_SELFTEST_REGVAL = 0xdeadbeef,
};

/**
 * struct iommu_test_hw_info - the data of IOMMU_HW_INFO_TYPE_SELFTEST
 * @flags: 0
 * @test_reg: IOMMU_HW_INFO_SELFTEST_REGVAL
 */
struct iommu_test_hw_info {
	__u32 flags;
	__u32 test_reg;
};

/* Types of a struct iommu_test_mock_region, as in the kernel */
enum {
	MOCK_REGION_DIRECT,
	MOCK_REGION_DIRECT_RELAXABLE,
	MOCK_REGION_RESERVED,
	MOCK_REGION_MSI,
	MOCK_REGION_SW_MSI,
};

/**
 * struct iommu_test_mock_region - a region that a mock device reserves
 * @start: first byte
 * @length: bytes; 0, and a region that wraps, are accepted
 * @type: MOCK_REGION_*
 * @__reserved: ignored
 */
struct iommu_test_mock_region {
	__aligned_u64 start;
	__aligned_u64 length;
	__u32 type;
	__u32 __reserved;
};

/**
 * enum iommu_test_mock_flags - properties of a mock device
 * @MOCK_DEVICE_ENFORCES: its IOMMU can keep DMA from bypassing the CPU caches.
 *	Without this, the attach to a domain that enforces it fails with
 *	EOPNOTSUPP, as on VT-d
 * @MOCK_DEVICE_INCOHERENT: its DMA bypasses the CPU caches, so it can't be
 *	bound
 * @MOCK_DEVICE_LATE: its IOMMU has another driver, whose domains have
 *	neither page sizes nor an aperture before a device is attached
 * @MOCK_DEVICE_KEEPS: if a map of several pages fails, half of it stays mapped,
 *	and the IOMMU driver does not report how much that is, as on VT-d.
 *	iommufd cleans up page by page, so an unmap can begin and end anywhere
 * @MOCK_DEVICE_GROWS: a map above all that the page table has reached takes
 *	some time, in which nobody else may map or unmap, as on AMD; the IOMMU
 *	warns otherwise, and if it is not the zero page that is mapped there
 * @MOCK_DEVICE_FREES_EARLY: if an unmap has to flush, it frees what it has
 *	gathered, as on VT-d; the IOMMU warns if it does
 * @MOCK_DEVICE_SHARES: it can be attached to domains of other units
 * @MOCK_DEVICE_CANNOT_MAP: its IOMMU driver can't map, so it can't be bound
 * @MOCK_DEVICE_NO_REATTACH: its IOMMU does not use a domain that was
 *	attached before, so it can't be bound
 * @MOCK_DEVICE_SLOW: IOMMU_GET_HW_INFO takes MOCK_SLOW_MS after it has looked
 *	up the device, and so does the IOMMU driver to attach it
 * @MOCK_DEVICE_STOPS: a map or unmap ends with a page table, at a multiple of
 *	2 MiB, and reports how much it was. If a map fails, half of it stays
 *	mapped, and is reported too
 * @MOCK_DEVICE_SINGLE: its IOMMU driver maps and unmaps one page per call
 * @MOCK_DEVICE_WHOLE: an unmap of a part of what one call has mapped unmaps all
 *	of that, and reports how much it was, as on virtio-iommu
 * @MOCK_DEVICE_REGISTERS: its IOMMU has the registers @cap and @ecap of the
 *	configuration, and is taken for a VT-d unit
 * @MOCK_DEVICE_UNFIT_NAME: its IOMMU has the name of one that can't protect
 *	memory, so it can't be bound
 * @MOCK_DEVICE_UNFIT_DRIVER: the driver of its IOMMU's hardware has such a name
 */
enum iommu_test_mock_flags {
	MOCK_DEVICE_ENFORCES = 1 << 0,
	MOCK_DEVICE_INCOHERENT = 1 << 1,
	MOCK_DEVICE_LATE = 1 << 2,
	MOCK_DEVICE_KEEPS = 1 << 3,
	MOCK_DEVICE_GROWS = 1 << 4,
	MOCK_DEVICE_FREES_EARLY = 1 << 5,
	MOCK_DEVICE_SHARES = 1 << 6,
	MOCK_DEVICE_CANNOT_MAP = 1 << 7,
	MOCK_DEVICE_NO_REATTACH = 1 << 8,
	MOCK_DEVICE_SLOW = 1 << 9,
	MOCK_DEVICE_STOPS = 1 << 10,
	MOCK_DEVICE_SINGLE = 1 << 11,
	MOCK_DEVICE_WHOLE = 1 << 12,
	MOCK_DEVICE_REGISTERS = 1 << 13,
	MOCK_DEVICE_UNFIT_NAME = 1 << 14,
	MOCK_DEVICE_UNFIT_DRIVER = 1 << 15,
};

/* How long a slow device takes, in milliseconds */
#define MOCK_SLOW_MS 500

#define MOCK_UNITS 8

/**
 * struct iommu_test_mock_config - configuration for IOMMU_TEST_OP_MOCK_DEVICE
 * @flags: enum iommu_test_mock_flags
 * @unit: number of the IOMMU that translates its DMA, below MOCK_UNITS. Devices
 *	of IOMMU_TEST_OP_MOCK_DOMAIN are at unit 0
 * @join: -1 for an IOMMU group of its own; else @mock_device.out_number of a
 *	mock device, of any context, whose group it joins. Both must have the
 *	same unit, and both or none MOCK_DEVICE_LATE
 * @nr_regions: number of regions that it reserves, at most 16
 * @regions: address of an array of struct iommu_test_mock_region
 * @aperture_start: first IOVA that its IOMMU reaches
 * @aperture_last: last one
 * @page_sizes: bitmap of the page sizes of its IOMMU, from half a CPU page on.
 *	If there are several, the IOMMU warns and refuses to unmap a part of a
 *	page. If there is one, it warns of an unmap that does not begin and end
 *	where maps did
 * @cap: for MOCK_DEVICE_REGISTERS
 * @ecap: for MOCK_DEVICE_REGISTERS
 */
struct iommu_test_mock_config {
	__u32 flags;
	__u32 unit;
	__s32 join;
	__u32 nr_regions;
	__aligned_u64 regions;
	__aligned_u64 aperture_start;
	__aligned_u64 aperture_last;
	__aligned_u64 page_sizes;
	__aligned_u64 cap;
	__aligned_u64 ecap;
};

/*
 * Calls that IOMMU_TEST_OP_MOCK_FAIL lets fail: each is for one device, or one
 * range. An unmap that fails unmaps nothing and reports 0 bytes; it has no
 * errno.
 */
enum {
	MOCK_CALL_ATTACH,
	MOCK_CALL_MAP,
	MOCK_CALL_UNMAP,
};

/**
 * struct iommu_test_mock_stats - result of IOMMU_TEST_OP_MOCK_QUERY
 * @attaches: number of devices that were attached to a domain
 * @maps: number of ranges that were mapped
 * @unmaps: number of ranges that were unmapped
 * @entries: number of pages in @maps, of any of the page sizes
 * @mapped: bytes of @maps
 * @unmapped: bytes of @unmaps
 * @syncs: number of flushes of the IOTLB
 * @unsynced: bytes that were unmapped and not flushed: 0 while nothing is going
 *	on
 *
 * All are counted since the unit got its first device.
 */
struct iommu_test_mock_stats {
	__aligned_u64 attaches;
	__aligned_u64 maps;
	__aligned_u64 unmaps;
	__aligned_u64 entries;
	__aligned_u64 mapped;
	__aligned_u64 unmapped;
	__aligned_u64 syncs;
	__aligned_u64 unsynced;
};

/* @access_set.flags: never unpins; or unpins only what was pinned last */
enum {
	MOCK_ACCESS_NEVER_UNPINS = 1 << 0,
	MOCK_ACCESS_UNPINS_LAST = 1 << 1,
};

/**
 * struct iommu_test_cmd - ioctl(IOMMU_TEST_CMD)
 * @size: sizeof(struct iommu_test_cmd)
 * @op: one of enum iommufd_test_ops
 * @id: an object, a file descriptor or a unit
 * @__reserved: ignored
 * @add_reserved: IOMMU_TEST_OP_ADD_RESERVED
 * @add_reserved.start: first IOVA
 * @add_reserved.length: bytes
 * @mock_domain: IOMMU_TEST_OP_MOCK_DOMAIN
 * @mock_domain.out_stdev_id: object to destroy, to remove the device
 * @mock_domain.out_hwpt_id: HWPT that it is attached to
 * @mock_domain.out_idev_id: the bound device
 * @mock_domain_replace: IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, _MOCK_ATTACH
 * @mock_domain_replace.pt_id: IOAS or HWPT; set to the HWPT
 * @check_map: IOMMU_TEST_OP_MD_CHECK_MAP
 * @check_map.iova: first IOVA
 * @check_map.length: bytes
 * @check_map.uptr: memory that must be mapped there
 * @check_refs: IOMMU_TEST_OP_MD_CHECK_REFS
 * @check_refs.length: bytes
 * @check_refs.uptr: memory
 * @check_refs.refs: number of pins of each page
 * @create_access: IOMMU_TEST_OP_CREATE_ACCESS
 * @create_access.out_access_fd: fd of the file
 * @create_access.flags: MOCK_FLAGS_ACCESS_CREATE_*
 * @destroy_access_pages: IOMMU_TEST_OP_DESTROY_ACCESS_PAGES
 * @destroy_access_pages.access_pages_id: what to unpin
 * @access_pages: IOMMU_TEST_OP_ACCESS_PAGES
 * @access_pages.flags: MOCK_FLAGS_ACCESS_*
 * @access_pages.out_access_pages_id: for IOMMU_TEST_OP_DESTROY_ACCESS_PAGES
 * @access_pages.iova: first IOVA; or with MOCK_FLAGS_ACCESS_SYZ two __u32:
 *	number of an area of the IOAS, and offset in it
 * @access_pages.length: bytes
 * @access_pages.uptr: memory that is expected there, or 0
 * @access_rw: IOMMU_TEST_OP_ACCESS_RW, _MOCK_DMA
 * @access_rw.iova: as in @access_pages
 * @access_rw.length: bytes
 * @access_rw.uptr: memory to copy to, or from
 * @access_rw.flags: MOCK_ACCESS_RW_*, or MOCK_FLAGS_ACCESS_SYZ
 * @memory_limit: IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT
 * @memory_limit.limit: bytes
 * @access_replace_ioas: IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, _ACCESS_ATTACH
 * @access_replace_ioas.ioas_id: IOAS to move to
 * @mock_device: IOMMU_TEST_OP_MOCK_DEVICE
 * @mock_device.out_stdev_id: object to destroy, to remove the device
 * @mock_device.out_hwpt_id: HWPT that it is attached to, or 0
 * @mock_device.out_idev_id: the bound device
 * @mock_device.out_number: its name is iommufd_mock<number>; also set by
 *	IOMMU_TEST_OP_MOCK_DOMAIN
 * @mock_device.config: address of a struct iommu_test_mock_config
 * @mock_fail: IOMMU_TEST_OP_MOCK_FAIL
 * @mock_fail.call: MOCK_CALL_*
 * @mock_fail.skip: number of calls that succeed first
 * @mock_fail.times: number of calls that fail after that
 * @mock_fail.error: errno of the failure, a positive number
 * @mock_query: IOMMU_TEST_OP_MOCK_QUERY
 * @mock_query.stats: address of a struct iommu_test_mock_stats
 * @access_set: IOMMU_TEST_OP_ACCESS_SET
 * @access_set.flags: MOCK_ACCESS_*, or 0
 * @access_set.delay_ms: time in milliseconds before it unpins
 * @last: ignored
 */
struct iommu_test_cmd {
	__u32 size;
	__u32 op;
	__u32 id;
	__u32 __reserved;
	union {
		struct {
			__aligned_u64 start;
			__aligned_u64 length;
		} add_reserved;
		struct {
			__u32 out_stdev_id;
			__u32 out_hwpt_id;
			__u32 out_idev_id;
		} mock_domain;
		struct {
			__u32 pt_id;
		} mock_domain_replace;
		struct {
			__aligned_u64 iova;
			__aligned_u64 length;
			__aligned_u64 uptr;
		} check_map;
		struct {
			__aligned_u64 length;
			__aligned_u64 uptr;
			__u32 refs;
		} check_refs;
		struct {
			__u32 out_access_fd;
			__u32 flags;
		} create_access;
		struct {
			__u32 access_pages_id;
		} destroy_access_pages;
		struct {
			__u32 flags;
			__u32 out_access_pages_id;
			__aligned_u64 iova;
			__aligned_u64 length;
			__aligned_u64 uptr;
		} access_pages;
		struct {
			__aligned_u64 iova;
			__aligned_u64 length;
			__aligned_u64 uptr;
			__u32 flags;
		} access_rw;
		struct {
			__u32 limit;
		} memory_limit;
		struct {
			__u32 ioas_id;
		} access_replace_ioas;
		struct {
			__u32 out_stdev_id;
			__u32 out_hwpt_id;
			__u32 out_idev_id;
			__u32 out_number;
			__aligned_u64 config;
		} mock_device;
		struct {
			__u32 call;
			__u32 skip;
			__u32 times;
			__u32 error;
		} mock_fail;
		struct {
			__aligned_u64 stats;
		} mock_query;
		struct {
			__u32 flags;
			__u32 delay_ms;
		} access_set;
	};
	__u32 last;
};

#define IOMMU_TEST_CMD _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32)
#endif

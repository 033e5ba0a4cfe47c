/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests of the mock IOMMU: one function for each
 * operation of IOMMU_TEST_CMD, which returns what ioctl() returns. The kernel
 * must have CONFIG_IOMMUFD_TEST.
 */
#ifndef MOCK_UTIL_H
#define MOCK_UTIL_H

#include <dirent.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "delay_util.h"
#include "iommufd_util.h"
#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

/* The mock tests expect a CPU page size of 4 KiB */
#undef PAGE
#define PAGE 0x1000ULL

/* The only page size of devices made by mock_domain() */
#define MOCK_PAGE (PAGE / 2)

/*
 * struct mock - a mock device
 * @stdev: id of the mock device, to destroy it
 * @hwpt: page table that it was attached to
 * @idev: id of the bound device
 * @number: number that another mock device passes to join its group
 */
struct mock {
	__u32 stdev;
	__u32 hwpt;
	__u32 idev;
	int number;
};

static inline int mock_cmd(int fd, __u32 op, __u32 id, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	cmd->op = op;
	cmd->id = id;
	return ioctl(fd, IOMMU_TEST_CMD, cmd);
}

/*
 * Devices
 */

static inline int mock_domain(int fd, __u32 pt_id, struct mock *mock)
{
	struct iommu_test_cmd cmd = {};
	int ret = mock_cmd(fd, IOMMU_TEST_OP_MOCK_DOMAIN, pt_id, &cmd);

	mock->stdev = cmd.mock_domain.out_stdev_id;
	mock->hwpt = cmd.mock_domain.out_hwpt_id;
	mock->idev = cmd.mock_domain.out_idev_id;
	mock->number = cmd.mock_device.out_number;
	return ret;
}

/* Like a device of mock_domain(), except for the members given */
#define MOCK_CONFIG(...)                                                       \
	((struct iommu_test_mock_config){                                      \
		.join = -1,                                                    \
		.aperture_start = MOCK_APERTURE_START,                         \
		.aperture_last = MOCK_APERTURE_LAST,                           \
		.page_sizes = MOCK_PAGE,                                       \
		__VA_ARGS__ })

/* @pt_id: 0: do not attach the device */
static inline int mock_device(int fd, __u32 pt_id,
			      struct iommu_test_mock_config *config,
			      struct mock *mock)
{
	struct iommu_test_cmd cmd = {
		.mock_device.config = (uintptr_t)config,
	};
	int ret = mock_cmd(fd, IOMMU_TEST_OP_MOCK_DEVICE, pt_id, &cmd);

	mock->stdev = cmd.mock_device.out_stdev_id;
	mock->hwpt = cmd.mock_device.out_hwpt_id;
	mock->idev = cmd.mock_device.out_idev_id;
	mock->number = cmd.mock_device.out_number;
	return ret;
}

/* @pt_id: in: IOAS or page table; out: page table */
static inline int mock_replace(int fd, __u32 stdev, __u32 *pt_id)
{
	struct iommu_test_cmd cmd = { .mock_domain_replace.pt_id = *pt_id };
	int ret = mock_cmd(fd, IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, stdev, &cmd);

	*pt_id = cmd.mock_domain_replace.pt_id;
	return ret;
}

/* Like mock_replace(), but the device need not be attached */
static inline int mock_attach(int fd, __u32 stdev, __u32 *pt_id)
{
	struct iommu_test_cmd cmd = { .mock_domain_replace.pt_id = *pt_id };
	int ret = mock_cmd(fd, IOMMU_TEST_OP_MOCK_ATTACH, stdev, &cmd);

	*pt_id = cmd.mock_domain_replace.pt_id;
	return ret;
}

static inline int mock_detach(int fd, __u32 stdev)
{
	struct iommu_test_cmd cmd = {};

	return mock_cmd(fd, IOMMU_TEST_OP_MOCK_DETACH, stdev, &cmd);
}

static inline int mock_dma(int fd, __u32 stdev, __u64 iova, void *data,
			   __u64 length, __u32 flags)
{
	struct iommu_test_cmd cmd = { .access_rw = {
		.iova = iova,
		.length = length,
		.uptr = (uintptr_t)data,
		.flags = flags,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_MOCK_DMA, stdev, &cmd);
}

static inline int mock_fail(int fd, __u32 unit, __u32 call, __u32 skip,
			    __u32 times, __u32 error)
{
	struct iommu_test_cmd cmd = { .mock_fail = {
		.call = call,
		.skip = skip,
		.times = times,
		.error = error,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_MOCK_FAIL, unit, &cmd);
}

static inline int mock_query(int fd, __u32 unit,
			     struct iommu_test_mock_stats *stats)
{
	struct iommu_test_cmd cmd = { .mock_query.stats = (uintptr_t)stats };

	return mock_cmd(fd, IOMMU_TEST_OP_MOCK_QUERY, unit, &cmd);
}

/* Memory: what is mapped and pinned */

static inline int mock_reserve(int fd, __u32 ioas, __u64 start, __u64 length)
{
	struct iommu_test_cmd cmd = { .add_reserved = {
		.start = start,
		.length = length,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_ADD_RESERVED, ioas, &cmd);
}

static inline int mock_check_map(int fd, __u32 hwpt, __u64 iova, const void *va,
				 __u64 length)
{
	struct iommu_test_cmd cmd = { .check_map = {
		.iova = iova,
		.length = length,
		.uptr = (uintptr_t)va,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_MD_CHECK_MAP, hwpt, &cmd);
}

static inline int mock_check_refs(int fd, const void *va, __u64 length,
				  __u32 refs)
{
	struct iommu_test_cmd cmd = { .check_refs = {
		.length = length,
		.uptr = (uintptr_t)va,
		.refs = refs,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_MD_CHECK_REFS, 0, &cmd);
}

/* Is no page of this memory pinned? Any open /dev/iommu can tell. */
static inline bool mock_is_unpinned(const void *va, __u64 length)
{
	int fd = open("/dev/iommu", O_RDWR);
	bool ret = !mock_check_refs(fd, va, length, 0);

	close(fd);
	return ret;
}

static inline int mock_memory_limit(int fd, __u32 limit)
{
	struct iommu_test_cmd cmd = { .memory_limit.limit = limit };

	return mock_cmd(fd, IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT, 0, &cmd);
}

#define MOCK_MEMORY_LIMIT 65536 /* The default */

/* Accesses, each named by its fd */

static inline int access_create(int fd, __u32 ioas, __u32 flags, int *access)
{
	struct iommu_test_cmd cmd = { .create_access.flags = flags };
	int ret = mock_cmd(fd, IOMMU_TEST_OP_CREATE_ACCESS, ioas, &cmd);

	*access = cmd.create_access.out_access_fd;
	return ret;
}

/* @va: memory expected at @iova, or NULL */
static inline int access_pin(int fd, int access, __u64 iova, const void *va,
			     __u64 length, __u32 flags, __u32 *item)
{
	struct iommu_test_cmd cmd = { .access_pages = {
		.flags = flags,
		.iova = iova,
		.length = length,
		.uptr = (uintptr_t)va,
	} };
	int ret = mock_cmd(fd, IOMMU_TEST_OP_ACCESS_PAGES, access, &cmd);

	*item = cmd.access_pages.out_access_pages_id;
	return ret;
}

static inline int access_unpin(int fd, int access, __u32 item)
{
	struct iommu_test_cmd cmd = {
		.destroy_access_pages.access_pages_id = item,
	};

	return mock_cmd(fd, IOMMU_TEST_OP_DESTROY_ACCESS_PAGES, access, &cmd);
}

static inline int access_rw(int fd, int access, __u64 iova, void *data,
			    __u64 length, __u32 flags)
{
	struct iommu_test_cmd cmd = { .access_rw = {
		.iova = iova,
		.length = length,
		.uptr = (uintptr_t)data,
		.flags = flags,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_ACCESS_RW, access, &cmd);
}

static inline int access_replace(int fd, int access, __u32 ioas)
{
	struct iommu_test_cmd cmd = { .access_replace_ioas.ioas_id = ioas };

	return mock_cmd(fd, IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, access, &cmd);
}

/* Like access_replace(), but the access need not be attached */
static inline int access_attach(int fd, int access, __u32 ioas)
{
	struct iommu_test_cmd cmd = { .access_replace_ioas.ioas_id = ioas };

	return mock_cmd(fd, IOMMU_TEST_OP_ACCESS_ATTACH, access, &cmd);
}

static inline int access_detach(int fd, int access)
{
	struct iommu_test_cmd cmd = {};

	return mock_cmd(fd, IOMMU_TEST_OP_ACCESS_DETACH, access, &cmd);
}

static inline int access_set(int fd, int access, __u32 flags, __u32 delay_ms)
{
	struct iommu_test_cmd cmd = { .access_set = {
		.flags = flags,
		.delay_ms = delay_ms,
	} };

	return mock_cmd(fd, IOMMU_TEST_OP_ACCESS_SET, access, &cmd);
}

/*
 * Memory of any size that is one huge page of an empty file again and again, and
 * another one at the end. Closes the file
 */
static inline char *repeated_huge_page(int file, __u64 length)
{
	char *mem = memory(length, MAP_PRIVATE | MAP_NORESERVE);
	bool failed = mem == MAP_FAILED || ftruncate(file, 2 * SZ_2M);
	__u64 at;

	for (at = 0; !failed && at < length; at += SZ_2M)
		failed = mmap(mem + at, SZ_2M, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, file,
			      at + SZ_2M == length ? SZ_2M : 0) == MAP_FAILED;
	close(file);
	return failed ? NULL : mem;
}

/* Memory that can't be touched yet */

/* From here on, whoever touches this page waits until let_go() */
static inline int stall(char *page, int *faults)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	*faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	return ioctl(*faults, UFFDIO_API, &api) ||
	       ioctl(*faults, UFFDIO_REGISTER, &range);
}

static inline char *stalled_page(int *faults)
{
	char *page = memory(PAGE, MAP_PRIVATE);

	return stall(page, faults) ? NULL : page;
}

/* Wait until somebody touches the page, 10 seconds at most */
static inline bool is_touched(int faults)
{
	struct pollfd event = { .fd = faults, .events = POLLIN };
	struct uffd_msg msg;

	return poll(&event, 1, 10000) == 1 &&
	       read(faults, &msg, sizeof(msg)) == sizeof(msg);
}

static inline int let_go(int faults, const char *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
	};

	return ioctl(faults, UFFDIO_ZEROPAGE, &zero);
}

/*
 * Has the kernel warned since it was booted? The mock IOMMU warns about rules
 * that are broken.
 */
static inline bool has_warned(void)
{
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");
	unsigned long taint = 0;

	if (!f || fscanf(f, "%lu", &taint) != 1)
		taint = ~0UL;
	if (f)
		fclose(f);
	return taint >> 9 & 1; /* TAINT_WARN */
}

/* Objects of the kernel that end with the last mock device */

#define MOCK_DEVICES "/sys/bus/iommufd_mock/devices"
#define IOMMU_GROUPS "/sys/kernel/iommu_groups"

static inline int nr_entries(const char *path)
{
	DIR *dir = opendir(path);
	int nr = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}
#endif

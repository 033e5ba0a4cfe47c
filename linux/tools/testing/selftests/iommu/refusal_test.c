// SPDX-License-Identifier: GPL-2.0
/*
 * A request that fails changes nothing: neither IOAS, nor what devices reach,
 * nor who is charged. After its obstacle is removed, nothing of it is left.
 */
#define _GNU_SOURCE
#include <sys/file.h>

#include "../kselftest_harness.h"
#include "container_util.h"
#include "mock_util.h"

#define START MOCK_APERTURE_START
#define NR_PAGES 8
#define LENGTH (NR_PAGES * PAGE)
/* Half a page is mapped here, which many requests don't accept */
#define HALF (START + 0x100000)
/* Free, and inside the only allowed range */
#define FREE (START + 0x200000)
#define ALLOWED_LAST (START + 0x3fffff)
#define CAN_PIN MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES

/* State that is the same after a failure */
struct state {
	struct ioas_state of[2];
	__u64 mapped;
	__u32 container;
};

FIXTURE(refusal)
{
	int fd;
	/*
	 * One with a device, memory of the process, and half a page; one
	 * without a device
	 */
	__u32 ioas, other;
	/* Attached to @ioas; not attached */
	struct mock mock, idle;
	char *buf, *hole;
	int access, file;
	struct state before;
};

static struct state state_of(struct _test_data_refusal *self)
{
	struct state state = { { ioas_state(self->fd, self->ioas),
				 ioas_state(self->fd, self->other) } };
	struct iommu_test_mock_stats stats;

	if (!mock_query(self->fd, 0, &stats))
		state.mapped = stats.mapped - stats.unmapped;
	vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &state.container);
	return state;
}

/* Is everything as before, and does the device reach the same bytes? */
static bool unchanged(struct _test_data_refusal *self)
{
	struct state now = state_of(self);
	char data[LENGTH];

	return !memcmp(&now, &self->before, sizeof(now)) &&
	       !mock_dma(self->fd, self->mock.stdev, START, data, LENGTH, 0) &&
	       !memcmp(data, self->buf, LENGTH) &&
	       mock_dma(self->fd, self->mock.stdev, FREE, data, 1, 0) &&
	       mock_dma(self->fd, self->idle.stdev, START, data, 1, 0) &&
	       !mock_check_refs(self->fd, self->buf, LENGTH, 1);
}

#define REFUSED(_errno, _call)                                                 \
	do {                                                                   \
		EXPECT_ERRNO(_errno, _call);                                   \
		EXPECT_TRUE(unchanged(self));                                  \
	} while (0)

FIXTURE_SETUP(refusal)
{
	struct iommu_iova_range allowed = { START, ALLOWED_LAST };
	int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill_bytes(self->buf, LENGTH, 1);
	self->hole = memory(2 * PAGE, MAP_SHARED);
	ASSERT_EQ(0, munmap(self->hole + PAGE, PAGE));
	self->file = memfd_create("refusal", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->file, PAGE + 100));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	for (i = 0; i < 2; i++) {
		__u32 id = i ? self->other : self->ioas;

		ASSERT_EQ(0, map_at(self->fd, id, (uintptr_t)self->buf, LENGTH,
				    START));
		ASSERT_EQ(0, map_at(self->fd, id, (uintptr_t)self->hole,
				    MOCK_PAGE, HALF));
		ASSERT_EQ(0, allow_iovas(self->fd, id, &allowed, 1));
	}
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &self->mock));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &self->idle));
	ASSERT_EQ(0, access_create(self->fd, self->other, 0, &self->access));
	ASSERT_EQ(0, set_container(self->fd, self->other));
	self->before = state_of(self);
	ASSERT_TRUE(unchanged(self));
}

/* An IOAS without mappings is like a new one, and can be destroyed */
FIXTURE_TEARDOWN(refusal)
{
	struct ioas_state fresh;
	struct mock mock;
	__u32 id;
	int i;

	close(self->access);
	EXPECT_EQ(0, destroy(self->fd, self->mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->idle.stdev));
	EXPECT_EQ(0, alloc_ioas(self->fd, &id));
	fresh = ioas_state(self->fd, id);
	EXPECT_EQ(1, fresh.alignment);
	for (i = 0; i < 2; i++) {
		id = i ? self->other : self->ioas;
		EXPECT_EQ(0, unmap_all(self->fd, id, NULL));
		EXPECT_EQ(0, allow_iovas(self->fd, id, NULL, 0));
		/* The alignment is computed again when a page table goes */
		EXPECT_EQ(0, mock_domain(self->fd, id, &mock));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
		fresh.pinned = status_kb("VmPin");
		EXPECT_TRUE(is_ioas_state(self->fd, id, &fresh));
		EXPECT_EQ(0, destroy(self->fd, id));
	}
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
}

#define MAP_AT(_id, _va, _length, _iova)                                       \
	map_at(self->fd, _id, (uintptr_t)(_va), _length, _iova)

TEST_F(refusal, options)
{
	const __u32 huge = IOMMU_OPTION_HUGE_PAGES;

	/* There are areas and page tables; or an area of half a page */
	REFUSED(EINVAL, set_option(self->fd, huge, self->ioas, 0));
	REFUSED(EADDRINUSE, set_option(self->fd, huge, self->other, 0));
	REFUSED(EINVAL, set_option(self->fd, huge, self->other, 2));
	REFUSED(EINVAL, set_option(self->fd, huge, self->ioas, -1));
	REFUSED(ENOENT, set_option(self->fd, huge, self->mock.idev, 0));
	REFUSED(EBUSY, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	/* The same through the container */
	REFUSED(EADDRINUSE, ioctl(self->fd, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
}

TEST_F(refusal, container)
{
	__u32 id;

	id = 99;
	REFUSED(ENOENT, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_SET, &id));
	id = self->mock.idev;
	REFUSED(ENOENT, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_SET, &id));
	REFUSED(EOPNOTSUPP, vfio_ioas(self->fd, 7, &id));
	REFUSED(EEXIST, map_dma(self->fd, self->buf, PAGE, START));
	REFUSED(ENOENT, unmap_dma(self->fd, START, PAGE, NULL));
}

TEST_F(refusal, lists)
{
	struct iommu_iova_range bad[][2] = {
		{ { START, ALLOWED_LAST }, { ALLOWED_LAST, ALLOWED_LAST + 9 } },
		{ { START, START + 1 }, { FREE, FREE } },
		/* Beyond the reach of the device */
		{ { START, START + 1 }, { FREE, MOCK_APERTURE_LAST + 1 } },
	};
	__u64 iova = 0;
	int i;

	for (i = 0; i < 3; i++)
		REFUSED(i < 2 ? EINVAL : EADDRINUSE,
			allow_iovas(self->fd, self->ioas, bad[i], 2));
	REFUSED(EFAULT, allow_iovas(self->fd, self->ioas, (void *)8, 1));
	/* The kernel chooses only allowed ranges */
	REFUSED(ENOSPC, map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf,
			    ALLOWED_LAST + 1 - START, &iova));
	EXPECT_EQ(0, map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf,
			 PAGE, &iova));
	EXPECT_LE(START, iova);
	EXPECT_GT(ALLOWED_LAST, iova);
}

TEST_F(refusal, maps)
{
	const __u32 read = IOMMU_IOAS_MAP_READABLE;
	__u64 iova;

	REFUSED(EEXIST, MAP_AT(self->ioas, self->buf, PAGE, START + PAGE));
	REFUSED(EEXIST, MAP_AT(self->ioas, self->buf, LENGTH,
			       START + LENGTH - PAGE));
	REFUSED(EINVAL, MAP_AT(self->ioas, self->buf, PAGE, FREE + 1));
	REFUSED(EINVAL, MAP_AT(self->ioas, self->buf, 100, FREE));
	REFUSED(EINVAL, MAP_AT(self->ioas, self->buf, PAGE,
			       MOCK_APERTURE_LAST + 1));
	REFUSED(EFAULT, MAP_AT(self->ioas, self->hole, 2 * PAGE, FREE));
	REFUSED(EINVAL, map_file_at(self->fd, self->ioas, MAP_RW, self->file, 0,
				    2 * PAGE, FREE));
	REFUSED(EINVAL, map_file_at(self->fd, self->ioas, MAP_RW, self->fd, 0,
				    PAGE, FREE));
	REFUSED(ENOENT, copy_at(self->fd, self->ioas, self->other, MAP_RW,
				LENGTH + PAGE, FREE, START));
	REFUSED(EEXIST, copy_at(self->fd, self->ioas, self->other, MAP_RW, PAGE,
				START, START));
	REFUSED(EINVAL, copy_at(self->fd, self->ioas, self->other, MAP_RW, 100,
				FREE, START));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
	REFUSED(EXDEV, MAP_AT(self->ioas, self->buf, LENGTH, FREE));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
	REFUSED(EXDEV, copy_at(self->fd, self->ioas, self->other, MAP_RW, LENGTH,
			       FREE, START));
	REFUSED(ENOENT, unmap(self->fd, self->ioas, START, PAGE, NULL));
	REFUSED(ENOENT, unmap(self->fd, self->ioas, START + PAGE, LENGTH, NULL));
	REFUSED(EINVAL, change_process(self->fd));

	/* An IOVA that the kernel has chosen is told only of what is mapped */
	iova = 7;
	REFUSED(EFAULT, map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->hole,
			    2 * PAGE, &iova));
	EXPECT_EQ(7, iova);
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
	REFUSED(EXDEV, copy(self->fd, self->ioas, self->other, MAP_RW, LENGTH,
			    &iova, START));
	EXPECT_EQ(7, iova);

	/* To write what was mapped for reading */
	iova = FREE;
	ASSERT_EQ(0, map(self->fd, self->other, read | IOMMU_IOAS_MAP_FIXED_IOVA,
			 (uintptr_t)self->buf, PAGE, &iova));
	REFUSED(EPERM, copy_at(self->fd, self->ioas, self->other, MAP_RW, PAGE,
			       FREE, FREE));
}

/*
 * A device that does not suit, or whose page table can't be attached or filled
 */
TEST_F(refusal, tables)
{
	struct iommu_test_mock_region region = {
		START, PAGE, MOCK_REGION_RESERVED,
	};
	struct mock *idle = &self->idle, whole, in_the_way;
	__u32 pt, hwpt;
	int i;

	ASSERT_EQ(0, mock_device(self->fd, 0,
				 &MOCK_CONFIG(.unit = 1, .page_sizes = PAGE),
				 &whole));
	ASSERT_EQ(0, mock_device(self->fd, 0,
				 &MOCK_CONFIG(.unit = 1, .nr_regions = 1,
					      .regions = (uintptr_t)&region),
				 &in_the_way));
	for (i = 0; i < 2; i++) {
		/* Into an IOAS with a page table, and into one without */
		__u32 to = i ? self->other : self->ioas;

		pt = to;
		REFUSED(EADDRINUSE, mock_attach(self->fd, whole.stdev, &pt));
		REFUSED(EADDRINUSE, alloc_hwpt(self->fd, whole.idev, to, &hwpt));
		REFUSED(EADDRINUSE, mock_attach(self->fd, in_the_way.stdev,
						&pt));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1,
				       ENOMEM));
		REFUSED(ENOMEM, mock_attach(self->fd, idle->stdev, &pt));
	}
	/* Filling fails at the second area */
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, ENOMEM));
	REFUSED(ENOMEM, mock_attach(self->fd, idle->stdev, &pt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, ENOMEM));
	REFUSED(ENOMEM, mock_replace(self->fd, self->mock.stdev, &pt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, ENOMEM));
	REFUSED(ENOMEM, alloc_hwpt(self->fd, idle->idev, self->other, &hwpt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, ENOMEM));
	REFUSED(ENOMEM, mock_replace(self->fd, self->mock.stdev, &pt));
	REFUSED(EINVAL, alloc_hwpt(self->fd, idle->idev, idle->idev, &hwpt));
	pt = 99;
	REFUSED(ENOENT, mock_replace(self->fd, self->mock.stdev, &pt));
	EXPECT_EQ(0, destroy(self->fd, in_the_way.stdev));
	EXPECT_EQ(0, destroy(self->fd, whole.stdev));
}

static int set_max_areas(const char *value, char *old, size_t size)
{
	int fd = open("/sys/module/iommufd/parameters/max_areas", O_RDWR);
	ssize_t len;
	bool failed = false;

	if (old) {
		len = read(fd, old, size - 1);
		failed = len <= 0;
		if (!failed)
			old[len] = 0;
	}
	failed |= write(fd, value, strlen(value)) <= 0;
	close(fd);
	return failed ? -1 : 0;
}

/* Failed requests do not count against a limit */
TEST_F(refusal, limits)
{
	char old[32];
	__u32 hwpt, second;
	int i;

	ASSERT_EQ(0, set_max_areas("9", old, sizeof(old)));
	for (i = 0; i < 70; i++) {
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, i % 2, 1,
				       EXDEV));
		ASSERT_ERRNO(EXDEV, alloc_hwpt(self->fd, self->idle.idev,
					       self->other, &hwpt));
		ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
		ASSERT_ERRNO(EXDEV, MAP_AT(self->ioas, self->buf, PAGE, FREE));
		ASSERT_ERRNO(EEXIST, MAP_AT(self->ioas, self->buf, PAGE, START));
	}
	EXPECT_TRUE(unchanged(self));
	/* Two areas in each of two IOAS; five more are allowed */
	EXPECT_EQ(0, alloc_hwpt(self->fd, self->idle.idev, self->other, &hwpt));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, MAP_AT(self->other, self->buf, PAGE,
				    FREE + i * PAGE));
	EXPECT_ERRNO(ENOSPC, MAP_AT(self->other, self->buf, PAGE,
				    FREE + 5 * PAGE));
	/* The offset in the page is checked first */
	EXPECT_ERRNO(EINVAL, MAP_AT(self->other, self->buf + 100, PAGE,
				    FREE + 5 * PAGE));
	/* Nor do page tables that are refused because of the areas */
	for (i = 0; i < 70; i++)
		EXPECT_ERRNO(ENOSPC, alloc_hwpt(self->fd, self->idle.idev,
						self->other, &second));
	EXPECT_EQ(0, set_max_areas(old, NULL, 0));
	EXPECT_EQ(0, alloc_hwpt(self->fd, self->idle.idev, self->other,
				&second));
	EXPECT_EQ(0, destroy(self->fd, second));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
}

/* An access that can pin needs whole pages */
TEST_F(refusal, accesses)
{
	int access;
	__u32 item;

	REFUSED(EADDRINUSE, access_create(self->fd, self->other, CAN_PIN,
					  &access));
	REFUSED(ENOENT, access_create(self->fd, 99, CAN_PIN, &access));
	REFUSED(ENOENT, access_attach(self->fd, self->access, 99));
	REFUSED(EOPNOTSUPP, access_pin(self->fd, self->access, START, NULL, PAGE,
				       0, &item));
	/* It is attached as before, and can move */
	EXPECT_EQ(0, access_rw(self->fd, self->access, START, self->buf, PAGE,
			       MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, access_attach(self->fd, self->access, self->ioas));
}

/* An access that can pin does not suit the IOAS that it should move to */
TEST_F(refusal, moves_of_accesses)
{
	__u32 third, item;
	int access;

	ASSERT_EQ(0, alloc_ioas(self->fd, &third));
	ASSERT_EQ(0, MAP_AT(third, self->buf, LENGTH, START));
	ASSERT_EQ(0, access_create(self->fd, third, CAN_PIN, &access));
	REFUSED(EADDRINUSE, access_replace(self->fd, access, self->other));
	REFUSED(EADDRINUSE, access_replace(self->fd, access, self->ioas));
	EXPECT_EQ(0, access_pin(self->fd, access, START, self->buf, PAGE, 0,
				&item));
	EXPECT_ERRNO(EINVAL, MAP_AT(third, self->buf, MOCK_PAGE, HALF));

	/* Nor does an access lose its pins if it ignores the notice */
	EXPECT_EQ(0, access_set(self->fd, access, MOCK_ACCESS_NEVER_UNPINS, 0));
	EXPECT_ERRNO(EDEADLOCK, unmap(self->fd, third, START, LENGTH, NULL));
	EXPECT_EQ(0, access_unpin(self->fd, access, item));
	close(access);
	EXPECT_EQ(0, destroy(self->fd, third));
}

/*
 * Open a file again. The lock of this open file lasts until its last reference
 * is dropped.
 */
static int open_locked(int file, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) ? -1 : fd;
}

/* Has nobody a reference to the open file with the lock any more? */
static bool is_let_go(int file)
{
	return !flock(file, LOCK_EX | LOCK_NB) && !flock(file, LOCK_UN);
}

/* No request keeps an IOAS, wherever it fails: DESTROY releases its mappings */
TEST_F(refusal, no_request_keeps_an_ioas)
{
	struct iommu_iova_range bad = { FREE, FREE };
	int file = open_locked(self->file, O_RDWR), access;
	__u32 id, pt, hwpt, nr = 0;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, alloc_ioas(self->fd, &id));
	ASSERT_EQ(0, map_file_at(self->fd, id, MAP_RW, file, 0, PAGE, START));
	ASSERT_EQ(0, MAP_AT(id, self->hole, MOCK_PAGE, HALF));
	close(file);

	EXPECT_ERRNO(EINVAL, MAP_AT(id, self->buf, 0, FREE));
	EXPECT_ERRNO(EEXIST, MAP_AT(id, self->buf, PAGE, START));
#define COPY(_dst, _length, _from)                                             \
	copy_at(self->fd, _dst, id, MAP_RW, _length, FREE, _from)
	EXPECT_ERRNO(EINVAL, COPY(id, 0, START));
	EXPECT_ERRNO(EOVERFLOW, COPY(id, 2 * PAGE, -PAGE));
	EXPECT_ERRNO(ENOENT, COPY(99, PAGE, START));
	EXPECT_ERRNO(ENOENT, COPY(id, 2 * PAGE, START));
	EXPECT_ERRNO(EINVAL, unmap(self->fd, id, START, 0, NULL));
	EXPECT_ERRNO(EOVERFLOW, unmap(self->fd, id, ~0ULL, PAGE, NULL));
	EXPECT_ERRNO(EOVERFLOW, unmap(self->fd, id, -PAGE, 2 * PAGE, NULL));
	EXPECT_ERRNO(ENOENT, unmap(self->fd, id, FREE, PAGE, NULL));
	EXPECT_ERRNO(EMSGSIZE, iova_ranges(self->fd, id, NULL, &nr, NULL));
	EXPECT_ERRNO(EFAULT, iova_ranges(self->fd, id, (void *)8, &nr, NULL));
	EXPECT_ERRNO(EFAULT, allow_iovas(self->fd, id, (void *)8, 1));
	EXPECT_ERRNO(EINVAL, allow_iovas(self->fd, id, &bad, 1));
	EXPECT_ERRNO(EINVAL, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, id,
					2));
	EXPECT_ERRNO(EINVAL, change_process(self->fd));
	EXPECT_ERRNO(EADDRINUSE, access_create(self->fd, id, CAN_PIN, &access));
	EXPECT_ERRNO(ENOENT, alloc_hwpt(self->fd, 99, id, &hwpt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, alloc_hwpt(self->fd, self->idle.idev, id, &hwpt));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 1, EXDEV));
	pt = id;
	EXPECT_ERRNO(EXDEV, mock_attach(self->fd, self->idle.stdev, &pt));
	EXPECT_FALSE(is_let_go(self->file));
	EXPECT_EQ(0, destroy(self->fd, id));
	EXPECT_TRUE(is_let_go(self->file));
}

/* Nor does a request of a container, whether it succeeds or not */
TEST_F(refusal, no_request_of_a_container_keeps_an_ioas)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
		.size = PAGE,
	};
	int file = open_locked(self->file, O_RDWR);
	struct vfio_iommu_type1_info info;
	__u32 id, got = 0;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, alloc_ioas(self->fd, &id));
	ASSERT_EQ(0, map_file_at(self->fd, id, MAP_RW, file, 0, PAGE, START));
	close(file);

	ASSERT_EQ(0, set_container(self->fd, id));
	EXPECT_EQ(0, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &got));
	EXPECT_EQ(id, got);
	EXPECT_EQ(1, ioctl(self->fd, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU));
	EXPECT_EQ(0, ioctl(self->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(0, get_info(self->fd, &info, sizeof(info)));
	EXPECT_EQ(0, map_dma(self->fd, self->buf, PAGE, FREE));
	EXPECT_ERRNO(EEXIST, map_dma(self->fd, self->buf, PAGE, FREE));
	EXPECT_EQ(0, unmap_dma(self->fd, FREE, PAGE, NULL));
	EXPECT_ERRNO(EINVAL, unmap_dma(self->fd, FREE, 0, NULL));
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &all));
	EXPECT_EQ(0, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, NULL));
	dirty.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	EXPECT_FALSE(is_let_go(self->file));
	EXPECT_EQ(0, destroy(self->fd, id));
	EXPECT_TRUE(is_let_go(self->file));
}

/* Nor does CHANGE_PROCESS, which locks all of them */
TEST_F(refusal, change_of_process_keeps_no_ioas)
{
	int file = open_locked(self->file, O_RDWR);
	int fd = open("/dev/iommu", O_RDWR);
	__u32 id;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, alloc_ioas(fd, &id));
	ASSERT_EQ(0, map_file_at(fd, id, MAP_RW, file, 0, PAGE, START));
	close(file);
	EXPECT_EQ(0, change_process(fd));
	EXPECT_EQ(0, destroy(fd, id));
	EXPECT_TRUE(is_let_go(self->file));
	close(fd);
}

/* No MAP_FILE that fails keeps the open file */
TEST_F(refusal, no_map_keeps_a_file)
{
	int file = open_locked(self->file, O_RDONLY);

	ASSERT_LE(0, file);
#define FROM_FILE(_flags, _start, _length, _iova)                              \
	map_file_at(self->fd, self->ioas, _flags, file, _start, _length, _iova)
	EXPECT_ERRNO(EPERM, FROM_FILE(MAP_RW, 0, PAGE, FREE));
	EXPECT_ERRNO(EINVAL, FROM_FILE(IOMMU_IOAS_MAP_READABLE, 0, 0, FREE));
	EXPECT_ERRNO(EINVAL, FROM_FILE(IOMMU_IOAS_MAP_READABLE, PAGE, PAGE,
				       FREE));
	EXPECT_ERRNO(EOVERFLOW, FROM_FILE(IOMMU_IOAS_MAP_READABLE, -PAGE,
					  2 * PAGE, FREE));
	EXPECT_ERRNO(EEXIST, FROM_FILE(IOMMU_IOAS_MAP_READABLE, 0, PAGE, START));
	close(file);
	EXPECT_TRUE(is_let_go(self->file));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation, each access to user memory, and each fault point of the mock
 * IOMMU fails in turn, in each request about memory. The request then fails as
 * a whole, and the same request succeeds later. The kernel must have failslab,
 * fail_page_alloc and fail_usercopy.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "container_util.h"
#include "fault_util.h"
#include "mock_util.h"

#define START MOCK_APERTURE_START
#define LENGTH SZ_2M
#define PART (64 * PAGE)
#define CAN_PIN MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES

/* State that a request can change, and must not change if it fails */
struct state {
	long pinned, locked;
	/*
	 * Pins of the first page of the buffer, of the last, and of the others
	 */
	int refs[3];
	struct iommu_iova_range ranges[2][8];
	__u32 nr[2];
	__u64 alignment[2];
};

FIXTURE(fault)
{
	int fd;
	__u32 ioas, other, third;
	struct mock mocks[2];
	char *buf;
	int file;
	int access;
	__u32 item, hwpt;
	struct state before;
	/* Argument of the next request */
	__u32 way;
};

FIXTURE_SETUP(fault)
{
	if (enable_faults())
		SKIP_TEST("no fault injection in this kernel");
	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_memory_limit(self->fd, 32));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill_bytes(self->buf, LENGTH, 0);
	self->file = memfd_create("fault", 0);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, PART));
	self->access = -1;
}

FIXTURE_TEARDOWN(fault)
{
	mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT);
	close(self->access);
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(0, status_kb("VmPin"));
}

static int refs_of(int fd, const void *va, size_t length)
{
	int refs = 0;

	while (refs < 4 && mock_check_refs(fd, va, length, refs))
		refs++;
	return refs;
}

static struct state state_of(struct _test_data_fault *self)
{
	const __u32 ids[] = { self->ioas, self->other };
	struct state state = {
		.pinned = status_kb("VmPin"),
		.locked = status_kb("VmLck"),
		.nr = { 8, 8 },
	};
	int i;

	state.refs[0] = refs_of(self->fd, self->buf, PAGE);
	state.refs[1] = refs_of(self->fd, self->buf + LENGTH - PAGE, PAGE);
	state.refs[2] = refs_of(self->fd, self->buf + PAGE, LENGTH - 2 * PAGE);
	for (i = 0; i < 2; i++)
		iova_ranges(self->fd, ids[i], state.ranges[i], &state.nr[i],
			    &state.alignment[i]);
	return state;
}

static int is_as_before(void *arg)
{
	struct _test_data_fault *self = arg;
	struct state now = state_of(self);

	return memcmp(&now, &self->before, sizeof(now));
}

static int sweep_from(struct _test_data_fault *self,
		      const struct request *request)
{
	self->before = state_of(self);
	return sweep(self, request);
}

/* The request must fail more often than @_least, and succeed at the end */
#define SWEEP(_least, _request) EXPECT_LT(_least, sweep_from(self, &(_request)))

#define REQUEST(_name, _stays)                                                 \
	static const struct request _name = {                                  \
		make_##_name, undo_##_name, is_as_before, _stays,              \
	}

/* Requests */

static int make_alloc(void *arg)
{
	struct _test_data_fault *self = arg;

	return alloc_ioas(self->fd, &self->third);
}

static int undo_alloc(void *arg)
{
	struct _test_data_fault *self = arg;

	return destroy(self->fd, self->third);
}

REQUEST(alloc, false);

static int make_ranges(void *arg)
{
	struct _test_data_fault *self = arg;
	struct iommu_iova_range ranges[8];
	__u32 nr = 8;

	return iova_ranges(self->fd, self->ioas, ranges, &nr, NULL);
}

static int undo_ranges(void *arg)
{
	return 0;
}

REQUEST(ranges, false);

static int make_allow(void *arg)
{
	struct _test_data_fault *self = arg;
	struct iommu_iova_range ranges[] = {
		{ START + 8 * LENGTH, START + 9 * LENGTH - 1 },
		{ START + 4 * LENGTH, START + 5 * LENGTH - 1 },
		{ START + 6 * LENGTH, START + 7 * LENGTH - 1 },
	};

	return allow_iovas(self->fd, self->ioas, ranges, 3);
}

static int undo_allow(void *arg)
{
	struct _test_data_fault *self = arg;

	return allow_iovas(self->fd, self->ioas, NULL, 0);
}

/* Without a list the kernel chooses the IOVA at START */
static int no_list(void *arg)
{
	struct _test_data_fault *self = arg;
	__u64 iova = 0;

	return map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf, PAGE,
		   &iova) ||
	       iova >= START + 4 * LENGTH ||
	       unmap(self->fd, self->ioas, iova, PAGE, NULL) ||
	       is_as_before(self);
}

static const struct request allow = { make_allow, undo_allow, no_list };

static int make_map_all(void *arg)
{
	struct _test_data_fault *self = arg;

	return map_at(self->fd, self->ioas, (uintptr_t)self->buf, LENGTH,
		      START);
}

static int undo_map_all(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_all(self->fd, self->ioas, NULL);
}

REQUEST(map_all, true);

static int make_map_part(void *arg)
{
	struct _test_data_fault *self = arg;

	return map_at(self->fd, self->ioas, (uintptr_t)self->buf, PART, START);
}

static int undo_map_part(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_all(self->fd, self->ioas, NULL);
}

REQUEST(map_part, true);

static int make_map_file_part(void *arg)
{
	struct _test_data_fault *self = arg;
	__u64 iova = START;

	return map_file(self->fd, self->ioas, FIXED_RW, self->file, 0, PART,
			&iova);
}

static int undo_map_file_part(void *arg)
{
	return undo_map_part(arg);
}

REQUEST(map_file_part, true);

/* A part of the mappings, across two areas if there are two */
static int make_copy_part(void *arg)
{
	struct _test_data_fault *self = arg;
	__u64 iova = START + 2 * LENGTH;

	return copy(self->fd, self->other, self->ioas, FIXED_RW, 20 * PAGE,
		    &iova, START + 50 * PAGE);
}

static int undo_copy_part(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_all(self->fd, self->other, NULL);
}

REQUEST(copy_part, true);

static int make_removal(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap(self->fd, self->ioas, START, LENGTH, NULL);
}

static int undo_removal(void *arg)
{
	return make_map_all(arg) && errno != EEXIST;
}

REQUEST(removal, true);

/* Each device has its own IOMMU */
static int make_device(struct _test_data_fault *self, int nr)
{
	return mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = nr),
			   &self->mocks[nr]);
}

static int make_device0(void *arg)
{
	return make_device(arg, 0);
}

static int undo_device0(void *arg)
{
	struct _test_data_fault *self = arg;

	return destroy(self->fd, self->mocks[0].stdev);
}

REQUEST(device0, false);

/* The kernel maps its doorbells for this one */
static int make_device_with_doorbells(void *arg)
{
	struct iommu_test_mock_region window = {
		START + 8 * LENGTH, PAGE, MOCK_REGION_SW_MSI,
	};
	struct _test_data_fault *self = arg;

	return mock_device(self->fd, self->ioas,
			   &MOCK_CONFIG(.nr_regions = 1,
					.regions = (uintptr_t)&window),
			   &self->mocks[0]);
}

static int undo_device_with_doorbells(void *arg)
{
	return undo_device0(arg);
}

REQUEST(device_with_doorbells, false);

static int make_device1(void *arg)
{
	return make_device(arg, 1);
}

static int undo_device1(void *arg)
{
	struct _test_data_fault *self = arg;

	return destroy(self->fd, self->mocks[1].stdev);
}

REQUEST(device1, false);

static int make_move(void *arg)
{
	struct _test_data_fault *self = arg;
	__u32 pt_id = self->other;

	return mock_replace(self->fd, self->mocks[0].stdev, &pt_id);
}

static int undo_move(void *arg)
{
	struct _test_data_fault *self = arg;
	__u32 pt_id = self->ioas;

	return mock_replace(self->fd, self->mocks[0].stdev, &pt_id);
}

/* Its DMA works as before */
static int has_not_moved(void *arg)
{
	struct _test_data_fault *self = arg;
	char data[100];

	return mock_dma(self->fd, self->mocks[0].stdev, START + PAGE - 50, data,
			100, 0) ||
	       memcmp(data, self->buf + PAGE - 50, 100) || is_as_before(self);
}

static const struct request move = { make_move, undo_move, has_not_moved };

static int make_table(void *arg)
{
	struct _test_data_fault *self = arg;

	return alloc_hwpt(self->fd, self->mocks[0].idev, self->other,
			  &self->hwpt);
}

static int undo_table(void *arg)
{
	struct _test_data_fault *self = arg;

	return destroy(self->fd, self->hwpt);
}

static int make_table_move(void *arg)
{
	struct _test_data_fault *self = arg;
	__u32 pt_id = self->hwpt;

	return mock_replace(self->fd, self->mocks[0].stdev, &pt_id);
}

static const struct request table = { make_table, undo_table, has_not_moved };
static const struct request table_move = {
	make_table_move, undo_move, has_not_moved,
};

static int make_info(void *arg)
{
	struct _test_data_fault *self = arg;
	struct iommu_test_hw_info info;
	__u32 length = sizeof(info), type;

	return hw_info(self->fd, self->mocks[0].idev, &info, &length, &type);
}

static int undo_info(void *arg)
{
	return 0;
}

REQUEST(info, false);

static int make_new_access(void *arg)
{
	struct _test_data_fault *self = arg;

	return access_create(self->fd, self->ioas, CAN_PIN, &self->access);
}

static int undo_new_access(void *arg)
{
	struct _test_data_fault *self = arg;

	return close(self->access);
}

REQUEST(new_access, false);

static int make_pin(void *arg)
{
	struct _test_data_fault *self = arg;

	return access_pin(self->fd, self->access, START + 8 * PAGE, NULL,
			  32 * PAGE, 0, &self->item);
}

static int undo_pin(void *arg)
{
	struct _test_data_fault *self = arg;

	return access_unpin(self->fd, self->access, self->item);
}

REQUEST(pin, false);

static int make_rw(void *arg)
{
	struct _test_data_fault *self = arg;
	char data[8 * PAGE] = {};

	return access_rw(self->fd, self->access, START + PAGE - 32, data,
			 self->way & MOCK_ACCESS_RW_SLOW_PATH ? sizeof(data) :
								64,
			 self->way);
}

static int undo_rw(void *arg)
{
	return 0;
}

REQUEST(rw, false);

static int make_access_move(void *arg)
{
	struct _test_data_fault *self = arg;

	return access_replace(self->fd, self->access, self->other);
}

static int undo_access_move(void *arg)
{
	struct _test_data_fault *self = arg;

	/* The move unpinned it */
	return access_replace(self->fd, self->access, self->ioas) ||
	       make_pin(self);
}

REQUEST(access_move, false);

static int make_small_pages(void *arg)
{
	struct _test_data_fault *self = arg;

	return set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas, 0);
}

static int undo_small_pages(void *arg)
{
	struct _test_data_fault *self = arg;

	return set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas, 1);
}

REQUEST(small_pages, true);

static int make_change(void *arg)
{
	struct _test_data_fault *self = arg;

	return change_process(self->fd);
}

static int in_child(struct _test_data_fault *self,
		    int (*function)(void *self))
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(!!function(self));
	return waitpid(pid, &status, 0) != pid || status;
}

static int undo_change(void *arg)
{
	return in_child(arg, make_change);
}

REQUEST(change, false);

/* Before, the IOAS of the container is @other */
static int make_container(void *arg)
{
	struct _test_data_fault *self = arg;

	return set_container(self->fd, self->ioas);
}

static int undo_container(void *arg)
{
	struct _test_data_fault *self = arg;

	return set_container(self->fd, self->other);
}

/* And after a failure it still is */
static int other_is_container(void *arg)
{
	struct _test_data_fault *self = arg;
	__u32 id = 0;

	return vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &id) ||
	       id != self->other || is_as_before(self);
}

static const struct request container = {
	make_container, undo_container, other_is_container,
};

static int make_container_get(void *arg)
{
	struct _test_data_fault *self = arg;
	__u32 id = 0;

	return vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &id);
}

static int undo_container_get(void *arg)
{
	return 0;
}

REQUEST(container_get, false);

static int make_container_info(void *arg)
{
	struct _test_data_fault *self = arg;
	char info[256];

	return get_info(self->fd, info, sizeof(info));
}

static int undo_container_info(void *arg)
{
	return 0;
}

REQUEST(container_info, false);

static int make_dma(void *arg)
{
	struct _test_data_fault *self = arg;

	return map_dma(self->fd, self->buf, PART, START);
}

static int undo_dma(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_dma(self->fd, START, PART, NULL);
}

REQUEST(dma, false);

/* Cut the middle out of an area; afterwards it is mapped as one area again */
static int make_cut(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_dma(self->fd, START + 20 * PAGE, 20 * PAGE, NULL);
}

static int undo_cut(void *arg)
{
	struct _test_data_fault *self = arg;

	return unmap_all(self->fd, self->ioas, NULL) || make_dma(self);
}

/* The area may be cut, but all of it is mapped, also in a new page table */
static int is_all_there(void *arg)
{
	struct _test_data_fault *self = arg;
	struct mock mock;
	int ret;

	ret = is_as_before(self);
	if (!ret)
		ret = mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 2),
				  &mock);
	if (ret)
		return ret;
	return mock_check_map(self->fd, mock.hwpt, START, self->buf, PART) ||
	       destroy(self->fd, mock.stdev) || is_as_before(self) ||
	       undo_cut(self);
}

static const struct request cut = { make_cut, undo_cut, is_all_there, true };

/* Sequences */

TEST_F_TIMEOUT(fault, basic, 300)
{
	SWEEP(0, alloc);
	SWEEP(0, ranges);
	SWEEP(3, allow);
	EXPECT_EQ(0, undo_allow(self));
	SWEEP(2, map_all);
	SWEEP(2, copy_part);
	SWEEP(0, removal);
	EXPECT_EQ(0, undo_copy_part(self));
}

/* A device is attached to an empty IOAS, and to one with mappings */
TEST_F_TIMEOUT(fault, map_and_fill, 300)
{
	SWEEP(5, device_with_doorbells);
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(5, device0);
	SWEEP(20, map_part);
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(20, device0);
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt, START,
				    self->buf, PART));
}

static void check_region(struct __test_metadata *_metadata,
			 struct _test_data_fault *self, __u32 type)
{
	struct iommu_test_mock_region region = {
		START + 8 * LENGTH, PAGE, type,
	};
	bool failed = true;
	int n, ret;

	for (n = 1; failed && n < MANY; n++) {
		struct iommu_test_mock_config config =
			MOCK_CONFIG(.nr_regions = 1,
				    .regions = (uintptr_t)&region);

		ASSERT_EQ(0, fail_nth(n));
		ret = mock_device(self->fd, self->ioas, &config,
				  &self->mocks[0]);
		failed = has_failed();
		ASSERT_TRUE(failed || !ret);
		if (ret)
			continue;
		EXPECT_FALSE(is_mappable(self->fd, self->ioas, region.start,
					 PAGE));
		ASSERT_EQ(0, undo_device0(self));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(5, n);
}

/* An attach reads the regions again, with those of a device that was bound since */
static void check_region_again(struct __test_metadata *_metadata,
			       struct _test_data_fault *self)
{
	struct iommu_test_mock_region region = {
		START + 8 * LENGTH, PAGE, MOCK_REGION_RESERVED,
	};
	bool failed = true;
	__u32 stdev, pt_id;
	int n, ret;

	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &self->mocks[0]));
	stdev = self->mocks[0].stdev;
	for (n = 1; failed && n < MANY; n++) {
		struct iommu_test_mock_config sibling =
			MOCK_CONFIG(.join = self->mocks[0].number,
				    .nr_regions = 1,
				    .regions = (uintptr_t)&region);

		ASSERT_EQ(0, mock_device(self->fd, 0, &sibling,
					 &self->mocks[1]));
		pt_id = self->ioas;
		ASSERT_EQ(0, fail_nth(n));
		ret = mock_attach(self->fd, stdev, &pt_id);
		failed = has_failed();
		ASSERT_TRUE(failed || !ret);
		if (!ret) {
			EXPECT_FALSE(is_mappable(self->fd, self->ioas,
						 region.start, PAGE));
			ASSERT_EQ(0, mock_detach(self->fd, stdev));
		}
		/* And without them */
		ASSERT_EQ(0, undo_device1(self));
		pt_id = self->ioas;
		ASSERT_EQ(0, mock_attach(self->fd, stdev, &pt_id));
		EXPECT_TRUE(is_mappable(self->fd, self->ioas, region.start,
					PAGE));
		ASSERT_EQ(0, mock_detach(self->fd, stdev));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(5, n);
	EXPECT_EQ(0, undo_device0(self));
}

/*
 * Reserved regions that can't be read when the device is bound are read when it
 * is attached. The range of the kernel's doorbells is reserved then, or the
 * attach fails
 */
TEST_F_TIMEOUT(fault, regions_are_reserved, 300)
{
	check_region(_metadata, self, MOCK_REGION_RESERVED);
	check_region(_metadata, self, MOCK_REGION_SW_MSI);
	check_region_again(_metadata, self);
}

TEST_F_TIMEOUT(fault, map_and_fill_two_tables, 300)
{
	ASSERT_EQ(0, make_device0(self));
	SWEEP(5, device1);
	SWEEP(20, map_part);
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(5, device0);
	EXPECT_EQ(0, undo_device1(self));
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(20, device1);
	SWEEP(5, device0);
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt, START,
				    self->buf, PART));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[1].hwpt, START,
				    self->buf, PART));
}

/* The default limit: a batch is stored at once */
TEST_F_TIMEOUT(fault, map_without_limit, 300)
{
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	ASSERT_EQ(0, make_device0(self));
	SWEEP(5, map_all);
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt, START,
				    self->buf, LENGTH));
}

TEST_F_TIMEOUT(fault, access_rw, 300)
{
	static const __u32 ways[] = {
		0, MOCK_ACCESS_RW_WRITE, MOCK_ACCESS_RW_SLOW_PATH,
		MOCK_ACCESS_RW_SLOW_PATH | MOCK_ACCESS_RW_WRITE,
	};
	int i;

	ASSERT_EQ(0, make_map_part(self));
	SWEEP(3, new_access);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		self->way = ways[i];
		SWEEP(2, rw);
	}
}

TEST_F_TIMEOUT(fault, access_pin, 300)
{
	ASSERT_EQ(0, make_map_part(self));
	ASSERT_EQ(0, make_new_access(self));
	SWEEP(32, pin);
	SWEEP(0, access_move);
}

/* With a page table the pages are pinned already; a pin only counts them */
TEST_F_TIMEOUT(fault, access_pin_with_table, 300)
{
	ASSERT_EQ(0, make_device0(self));
	ASSERT_EQ(0, make_map_part(self));
	ASSERT_EQ(0, make_new_access(self));
	SWEEP(32, pin);
	/* A page table goes, and another is filled around the pins */
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(20, device0);
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt, START,
				    self->buf, PART));
}

/* A device moves to an IOAS with mappings and without a page table */
TEST_F_TIMEOUT(fault, device, 300)
{
	ASSERT_EQ(0, make_map_part(self));
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)self->buf + PART,
			    PART, START));
	ASSERT_EQ(0, make_device0(self));
	SWEEP(2, info);
	SWEEP(20, move);
	EXPECT_EQ(0, undo_move(self));
	/* And to a page table that was allocated and filled before */
	SWEEP(20, table);
	SWEEP(2, table_move);
}

/* A copy that shares pins, and one that has to pin its part */
TEST_F_TIMEOUT(fault, copy, 300)
{
	__u32 pt_id = self->other;

	ASSERT_EQ(0, make_map_part(self));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf + PART,
			    PART, START + PART));
	ASSERT_EQ(0, make_device0(self));
	SWEEP(3, copy_part);
	EXPECT_EQ(0, undo_copy_part(self));
	EXPECT_EQ(0, mock_replace(self->fd, self->mocks[0].stdev, &pt_id));
	SWEEP(20, copy_part);
	EXPECT_EQ(0, mock_check_map(self->fd, pt_id, START + 2 * LENGTH,
				    self->buf + 50 * PAGE, 20 * PAGE));
}

TEST_F_TIMEOUT(fault, map_file, 300)
{
	ASSERT_EQ(0, make_device0(self));
	SWEEP(20, map_file_part);
	EXPECT_EQ(0, undo_device0(self));
	SWEEP(20, device0);
	EXPECT_EQ(0, undo_map_file_part(self));
}

/* From a process that has exited to this one */
TEST_F_TIMEOUT(fault, change_process, 300)
{
	ASSERT_EQ(0, make_device0(self));
	ASSERT_EQ(0, in_child(self, make_map_file_part));
	SWEEP(1, change);
	EXPECT_EQ((long)PART / 1024, status_kb("VmPin"));
	EXPECT_EQ(0, undo_map_file_part(self));
}

TEST_F_TIMEOUT(fault, option, 300)
{
	ASSERT_EQ(0, make_map_part(self));
	SWEEP(0, small_pages);
}

/* Requests of a container, and cuts of version 1 */
TEST_F_TIMEOUT(fault, container, 300)
{
	ASSERT_EQ(0, undo_container(self));
	SWEEP(1, container);
	SWEEP(1, container_get);
	SWEEP(3, container_info);
	ASSERT_EQ(0, set_type1(self->fd));
	SWEEP(1, dma);
	SWEEP(4, cut);
	ASSERT_EQ(0, undo_dma(self));
	/*
	 * With page tables pages are pinned, and the rest stays so after a cut
	 */
	ASSERT_EQ(0, make_device0(self));
	ASSERT_EQ(0, make_device1(self));
	SWEEP(20, dma);
	SWEEP(4, cut);
	EXPECT_EQ((long)(PART - 20 * PAGE) / 1024, status_kb("VmPin"));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[1].hwpt, START,
				    self->buf, 20 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[1].hwpt,
				    START + 40 * PAGE, self->buf + 40 * PAGE,
				    PART - 40 * PAGE));
}

static int dirty(int fd, __u32 flags, __u64 *bits)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get range;
	} cmd = {
		.head.argsz = sizeof(cmd),
		.head.flags = flags,
		.range.iova = START,
		.range.size = PART,
		.range.bitmap.pgsize = PAGE,
		.range.bitmap.size = sizeof(*bits),
		.range.bitmap.data = bits,
	};

	return ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, &cmd);
}

#define START_TRACKING()                                                       \
	dirty(self->fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_START, NULL)
#define STOP_TRACKING()                                                        \
	dirty(self->fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP, NULL)
#define GET_DIRTY(_bits)                                                       \
	dirty(self->fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, _bits)

static int write_page(struct _test_data_fault *self)
{
	return access_rw(self->fd, self->access, START + PAGE, "x", 1,
			 MOCK_ACCESS_RW_WRITE);
}

/*
 * If a write can't be recorded, everything is dirty until tracking ends, and the
 * write does not fail
 */
TEST_F_TIMEOUT(fault, what_is_written_is_dirty, 300)
{
	bool failed = true, all = false;
	int n;

	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, PART, START));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &self->access));
	for (n = 1; failed && n < MANY; n++) {
		__u64 bits = 0;
		int ret;

		ASSERT_EQ(0, START_TRACKING());
		ASSERT_EQ(0, fail_nth(n));
		ret = write_page(self);
		failed = has_failed();
		ASSERT_TRUE(failed || !ret);
		ASSERT_EQ(0, GET_DIRTY(&bits));
		if (!ret)
			ASSERT_TRUE(bits == 2 || (failed && bits == ~0ULL));
		all = all || bits == ~0ULL;
		ASSERT_EQ(0, STOP_TRACKING());
	}
	EXPECT_FALSE(failed);
	EXPECT_TRUE(all);
}

static int unmap_dirty(int fd, __u64 *bits)
{
	struct {
		struct vfio_iommu_type1_dma_unmap head;
		struct vfio_bitmap bitmap;
	} cmd = {
		.head.argsz = sizeof(cmd),
		.head.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.head.iova = START,
		.head.size = PART,
		.bitmap.pgsize = PAGE,
		.bitmap.size = sizeof(*bits),
		.bitmap.data = bits,
	};

	return ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &cmd);
}

/*
 * Everything that a page table maps is dirty, also after the unmap, even if
 * that can't be recorded
 */
TEST_F_TIMEOUT(fault, what_is_unmapped_is_dirty, 300)
{
	bool failed = true, noted = true;
	int n;

	ASSERT_EQ(0, make_device0(self));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	for (n = 1; failed && n < MANY; n++) {
		__u64 bits = 0, more = 0;
		int ret;

		ASSERT_EQ(0, map_dma(self->fd, self->buf, PART, START));
		ASSERT_EQ(0, START_TRACKING());
		ASSERT_EQ(0, fail_nth(n));
		ret = unmap_dirty(self->fd, &bits);
		failed = has_failed();
		ASSERT_TRUE(failed || !ret);
		/*
		 * Returned now or by the next query: still mapped, or recorded
		 */
		if (ret)
			ASSERT_EQ(0, GET_DIRTY(&bits));
		ASSERT_EQ(~0ULL, bits);
		ASSERT_EQ(0, map_dma(self->fd, self->buf, PART, START + LENGTH));
		ASSERT_EQ(0, GET_DIRTY(&more));
		noted = noted && !(more && !ret);
		unmap_dma(self->fd, START, PART, NULL);
		ASSERT_EQ(0, unmap_dma(self->fd, START + LENGTH, PART, NULL));
		ASSERT_EQ(0, STOP_TRACKING());
	}
	EXPECT_FALSE(failed);
	/* At least once there was no memory to record it */
	EXPECT_FALSE(noted);
}

/* A query that fails loses nothing */
TEST_F_TIMEOUT(fault, what_is_dirty_is_told, 300)
{
	bool failed = true;
	int n;

	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, PART, START));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &self->access));
	ASSERT_EQ(0, START_TRACKING());
	for (n = 1; failed && n < MANY; n++) {
		__u64 bits = 0;
		int ret;

		ASSERT_EQ(0, write_page(self));
		ASSERT_EQ(0, fail_nth(n));
		ret = GET_DIRTY(&bits);
		failed = has_failed();
		ASSERT_TRUE(failed || !ret);
		if (ret)
			ASSERT_EQ(0, GET_DIRTY(&bits));
		ASSERT_EQ(2, bits);
		bits = 0;
		ASSERT_EQ(0, GET_DIRTY(&bits));
		ASSERT_EQ(0, bits);
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(2, n);
}

/* Allocate an IOAS with no more than so many bytes of memory */
static int alloc_with(struct _test_data_fault *self, int bytes)
{
	char text[16];
	int filter, ret;

	snprintf(text, sizeof(text), "%d", bytes);
	filter = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (filter < 0 || write_file("failslab", "task-filter", "Y") ||
	    write_file("failslab", "times", "-1") ||
	    write_file("failslab", "space", text) ||
	    write_file("failslab", "probability", "100") ||
	    pwrite(filter, "1", 1, 0) != 1)
		return -2;
	ret = alloc_ioas(self->fd, &self->third);
	if (pwrite(filter, "0", 1, 0) != 1 || close(filter) ||
	    write_file("failslab", "probability", "0"))
		return -2;
	return ret;
}

/*
 * The 4,096th id needs two more nodes of the table of ids. If there is memory
 * for one of them, it stays, but is no object.
 */
TEST_F(fault, an_id_without_memory_is_no_object)
{
	__u32 first = 0, last, i;
	int bytes = 0, ret;

	ASSERT_EQ(0, alloc_ioas(self->fd, &first));
	for (last = first; last < 4095;)
		ASSERT_EQ(0, alloc_ioas(self->fd, &last));
	while ((ret = alloc_with(self, bytes)) == -1 && bytes < SZ_2M)
		bytes += 64;
	ASSERT_EQ(0, ret);
	ASSERT_EQ(4096, self->third);
	ASSERT_EQ(0, destroy(self->fd, self->third));
	/* Only the last node has no memory */
	EXPECT_ERRNO(ENOMEM, alloc_with(self, bytes - 64));

	EXPECT_ERRNO(EBUSY,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	ASSERT_EQ(0, destroy(self->fd, self->ioas));
	ASSERT_EQ(0, destroy(self->fd, self->other));
	for (i = first; i <= last; i++)
		ASSERT_EQ(0, destroy(self->fd, i));
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
}

TEST_HARNESS_MAIN

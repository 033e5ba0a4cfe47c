// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads use the same objects of the mock IOMMU at once. What is
 * certain is checked all the time: a read of an IOVA returns what is mapped
 * there or fails, an unmap returns its own range, and a device reaches only
 * what it is attached to. At the end everything is released and works. KASAN
 * and lockdep find more.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "container_util.h"
#include "mock_util.h"
#include "race_util.h"

#define BASE MOCK_APERTURE_START
#define CAN_PIN MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES

/* More than the highest id that these cases use */
#define MAX_ID 32

/* IOVAs of one page each; the same page is always mapped at a slot */
#define NR_SLOTS 16

FIXTURE(race)
{
	int fd;
	__u32 ioas, other;
	struct mock mocks[4];
	int accesses[2];
	char *buf, *guard;
	long pinned, locked;
};

static atomic_uint next_seed;

FIXTURE_SETUP(race)
{
	int i;

	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->buf = memory(2 * NR_SLOTS * PAGE, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	for (i = 0; i < 2 * NR_SLOTS; i++)
		memset(self->buf + i * PAGE, i + 1, PAGE);
	self->guard = memory(4 * PAGE, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->guard);
	memset(self->guard, 0xee, 4 * PAGE);
	self->pinned = status_kb("VmPin");
	self->locked = status_kb("VmLck");
	stop = false;
	wrong = 0;
	next_seed = 1;
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, 2 * NR_SLOTS * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
}

static bool is_one_of(int err, const int *list)
{
	while (*list && *list != err)
		list++;
	return *list;
}

/* The call succeeds, or fails with one of these errnos */
#define MAY_FAIL(_call, ...)                                                   \
	CHECK(!(_call) || is_one_of(errno, (const int[]){ __VA_ARGS__, 0 }))

/* Guessed ids */

static void *make_and_remove(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		struct iommu_test_mock_config config = MOCK_CONFIG();
		struct mock mock, sibling;
		int access = -1;
		__u32 ioas;

		CHECK(!alloc_ioas(self->fd, &ioas));
		CHECK(!mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
		/*
		 * From here on, other threads may have destroyed these objects
		 */
		MAY_FAIL(mock_attach(self->fd, mock.stdev, &ioas), ENOENT,
			 EADDRINUSE, EINVAL);
		config.join = mock.number;
		if (!mock_device(self->fd, 0, &config, &sibling))
			destroy(self->fd, sibling.stdev);
		else
			CHECK(errno == ENOENT);
		if (access_create(self->fd, ioas, CAN_PIN, &access))
			CHECK(errno == ENOENT || errno == EADDRINUSE);
		else
			close(access);
		MAY_FAIL(destroy(self->fd, mock.stdev), ENOENT, EBUSY);
		MAY_FAIL(destroy(self->fd, ioas), ENOENT, EBUSY);
	}
	return NULL;
}

static void *use_ids(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		__u32 id = rand_r(&seed) % MAX_ID, other = rand_r(&seed) % MAX_ID;
		__u64 iova = BASE + rand_r(&seed) % NR_SLOTS * PAGE;
		__u64 there = BASE + rand_r(&seed) % NR_SLOTS * PAGE;
		struct iommu_iova_range ranges[8] = { { BASE, BASE + PAGE } };
		__u32 nr = 8;
		char byte;

		switch (rand_r(&seed) % 14) {
		case 0:
			MAY_FAIL(destroy(self->fd, id), ENOENT, EBUSY);
			break;
		case 1:
		case 2:
			MAY_FAIL(map_at(self->fd, id, (uintptr_t)self->buf,
					PAGE, iova), ENOENT, EEXIST, EINVAL);
			break;
		case 3:
			MAY_FAIL(unmap(self->fd, id, iova, PAGE, NULL), ENOENT,
				 EBUSY);
			break;
		case 4:
			MAY_FAIL(copy(self->fd, id, other, FIXED_RW, PAGE,
				      &iova, there), ENOENT, EEXIST, EINVAL,
				 EBUSY);
			break;
		case 5:
			MAY_FAIL(iova_ranges(self->fd, id, ranges, &nr, NULL),
				 ENOENT);
			break;
		case 6:
			MAY_FAIL(set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					    id, rand_r(&seed) % 2), ENOENT,
				 EINVAL, EADDRINUSE);
			break;
		case 7:
			MAY_FAIL(allow_iovas(self->fd, id, ranges,
					     rand_r(&seed) % 2), ENOENT,
				 EADDRINUSE);
			break;
		case 8:
			MAY_FAIL(mock_attach(self->fd, id, &other), ENOENT,
				 EINVAL, EADDRINUSE);
			break;
		case 9:
			MAY_FAIL(mock_detach(self->fd, id), ENOENT);
			break;
		case 10:
			MAY_FAIL(mock_dma(self->fd, id, iova, &byte, 1, 0),
				 ENOENT, ENXIO);
			break;
		case 11:
			MAY_FAIL(mock_check_map(self->fd, id, iova, self->buf,
						PAGE), ENOENT, EINVAL);
			break;
		case 12:
			if (alloc_hwpt(self->fd, id, other, &id)) {
				CHECK(errno == ENOENT || errno == EINVAL ||
				      errno == EADDRINUSE);
				break;
			}
			MAY_FAIL(mock_attach(self->fd, other, &id), ENOENT,
				 EINVAL, EADDRINUSE);
			MAY_FAIL(destroy(self->fd, id), ENOENT, EBUSY);
			break;
		case 13:
			nr = 1;
			MAY_FAIL(hw_info(self->fd, id, &byte, &nr, &other),
				 ENOENT);
			break;
		}
	}
	return NULL;
}

/*
 * All requests with ids of objects that other threads make and destroy. An
 * object is found complete or not at all, and a short use of it does not
 * prevent its owner from destroying it (traps A1, A8, A11, B1, B2, B6, B7, B8,
 * B9, B12).
 */
TEST_F_TIMEOUT(race, guessed_ids_are_harmless, ANY_TIME)
{
	pthread_t threads[10];
	__u32 id;
	int i;

	for (i = 0; i < 2; i++)
		START(&threads[i], make_and_remove);
	for (; i < 10; i++)
		START(&threads[i], use_ids);
	run_for(3, threads, 10);
	EXPECT_EQ(0, wrong);

	/* Mock devices first, then page tables, then IOAS */
	for (i = 0; i < 3; i++)
		for (id = 0; id < 1000; id++)
			destroy(self->fd, id);
	for (id = 0; id < 1000; id++)
		EXPECT_ERRNO(ENOENT, destroy(self->fd, id));
	ASSERT_EQ(0, alloc_ioas(self->fd, &id));
	EXPECT_EQ(1, id);
}

/* One IOAS, always with the same id */

static void *remake(void *arg)
{
	struct _test_data_race *self = arg;
	__u32 id;

	while (!stop) {
		CHECK(!destroy(self->fd, self->ioas));
		CHECK(!alloc_ioas(self->fd, &id) && id == self->ioas);
	}
	return NULL;
}

static void *use_shortly(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		struct iommu_iova_range ranges[8];
		__u64 value = 1;
		__u32 nr = 8;

		switch (rand_r(&seed) % 4) {
		case 0:
			MAY_FAIL(map_at(self->fd, self->ioas,
					(uintptr_t)self->buf, PAGE, BASE),
				 ENOENT, EEXIST);
			break;
		case 1:
			MAY_FAIL(iova_ranges(self->fd, self->ioas, ranges, &nr,
					     NULL), ENOENT);
			break;
		case 2:
			MAY_FAIL(option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					IOMMU_OPTION_OP_GET, self->ioas,
					&value), ENOENT);
			break;
		case 3:
			MAY_FAIL(unmap_all(self->fd, self->ioas, NULL),
				 ENOENT, EBUSY);
			break;
		}
	}
	return NULL;
}

/* A lookup never makes destroying the object fail (traps B1, B2) */
TEST_F_TIMEOUT(race, destroy_is_never_busy, ANY_TIME)
{
	pthread_t threads[8];
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	START(&threads[0], remake);
	for (i = 1; i < 8; i++)
		START(&threads[i], use_shortly);
	run_for(2, threads, 8);
	EXPECT_EQ(0, wrong);
}

/*
 * Areas
 */

/* Two IOAS with two page tables and an access each */
static void make_all(struct __test_metadata *_metadata,
		     struct _test_data_race *self)
{
	__u32 ids[2];
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ids[0] = self->ioas;
	ids[1] = self->other;
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, mock_device(self->fd, ids[i / 2],
					 &MOCK_CONFIG(.unit = i),
					 &self->mocks[i]));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, access_create(self->fd, ids[i], CAN_PIN,
					   &self->accesses[i]));
}

static void close_accesses(struct _test_data_race *self)
{
	close(self->accesses[0]);
	close(self->accesses[1]);
}

/* Each byte of the page of a slot is the number of the slot + 1 */
static bool is_slot(const char *data, size_t length, int slot)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (data[i] != slot + 1)
			return false;
	return true;
}

/* Any request for one slot or a range of slots */
static void *use_slots(void *arg)
{
	struct _test_data_race *self = arg;
	const __u32 ids[2] = { self->ioas, self->other };
	unsigned int seed = next_seed++;

	while (!stop) {
		int slot = rand_r(&seed) % NR_SLOTS, i = rand_r(&seed) % 2;
		__u64 iova = BASE + slot * PAGE;
		size_t length = PAGE;
		__u64 unmapped;
		char data[64];
		__u32 item;

		switch (rand_r(&seed) % 9) {
		case 0:
		case 1:
			/* Up to four slots */
			length = PAGE * (rand_r(&seed) % 4 + 1);
			if (slot + length / PAGE > NR_SLOTS)
				length = PAGE;
			MAY_FAIL(map_at(self->fd, ids[i], (uintptr_t)self->buf +
					slot * PAGE, length, iova), EEXIST);
			break;
		case 2:
			MAY_FAIL(copy(self->fd, ids[i], ids[rand_r(&seed) % 2],
				      FIXED_RW, length, &iova, iova), EEXIST,
				 ENOENT, EBUSY);
			break;
		case 3:
			MAY_FAIL(unmap(self->fd, ids[i], iova, 4 * PAGE, NULL),
				 ENOENT, EBUSY);
			break;
		case 4:
			unmapped = 0;
			MAY_FAIL(unmap_all(self->fd, ids[i], &unmapped),
				 EBUSY);
			break;
		case 5:
			if (mock_dma(self->fd, self->mocks[2 * i +
				     rand_r(&seed) % 2].stdev, iova + PAGE - 32,
				     data, 32, 0))
				CHECK(errno == ENXIO);
			else
				CHECK(is_slot(data, 32, slot));
			break;
		case 6:
		case 7:
			/*
			 * Through the area's pinned page, or with a pin for
			 * this copy
			 */
			if (access_rw(self->fd, self->accesses[i], iova + 100,
				      data, 64, rand_r(&seed) % 2 ?
				      MOCK_ACCESS_RW_SLOW_PATH : 0))
				CHECK(errno == ENOENT || errno == EINVAL);
			else
				CHECK(is_slot(data, 64, slot));
			break;
		case 8:
			/* EBADE would mean that the wrong page was pinned */
			if (access_pin(self->fd, self->accesses[i], iova,
				       self->buf + slot * PAGE, PAGE, 0,
				       &item)) {
				CHECK(errno == ENOENT || errno == EINVAL);
				break;
			}
			if (rand_r(&seed) % 2)
				MAY_FAIL(access_unpin(self->fd,
						      self->accesses[i], item),
					 ENOENT);
			break;
		}
	}
	return NULL;
}

static void use_slots_for_a_while(struct __test_metadata *_metadata,
				  struct _test_data_race *self)
{
	pthread_t threads[6];
	int i;

	make_all(_metadata, self);
	for (i = 0; i < 6; i++)
		START(&threads[i], use_slots);
	run_for(2, threads, 6);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->buf, NR_SLOTS * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close_accesses(self);
}

/* Map, copy, unmap, pin and read the same pages (traps A1, A3, D9) */
TEST_F_TIMEOUT(race, slots, ANY_TIME)
{
	use_slots_for_a_while(_metadata, self);
}

/* The same with memory pinned page by page */
TEST_F_TIMEOUT(race, slots_page_by_page, ANY_TIME)
{
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT_MIN));
	use_slots_for_a_while(_metadata, self);
}

static void *come_and_go(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;
	struct mock mock;

	while (!stop) {
		/* The new page table gets all mappings, and loses them again */
		CHECK(!mock_device(self->fd, rand_r(&seed) % 2 ? self->ioas :
				   self->other, &MOCK_CONFIG(.unit = 4 +
				   rand_r(&seed) % 4), &mock));
		CHECK(!destroy(self->fd, mock.stdev));
	}
	return NULL;
}

/* Page tables come and go meanwhile, also the last one of an IOAS */
TEST_F_TIMEOUT(race, slots_and_tables, ANY_TIME)
{
	pthread_t threads[6];
	int i;

	make_all(_metadata, self);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, mock_detach(self->fd, self->mocks[i].stdev));
	for (i = 0; i < 3; i++)
		START(&threads[i], use_slots);
	for (; i < 6; i++)
		START(&threads[i], come_and_go);
	run_for(2, threads, 6);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->buf, NR_SLOTS * PAGE));
	close_accesses(self);
}

/*
 * A range that the kernel chooses belongs to the caller until the caller unmaps
 * it: all of it must still be there, however slowly an access unpins
 */
static void *map_and_unmap_own(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		size_t length = PAGE * (rand_r(&seed) % 4 + 1);
		__u64 iova = 0, unmapped = 0;
		__u32 item;

		CHECK(!map(self->fd, self->ioas, MAP_RW, (uintptr_t)self->buf,
			   length, &iova));
		if (rand_r(&seed) % 2)
			CHECK(!access_pin(self->fd, self->accesses[0], iova,
					  self->buf, PAGE, 0, &item));
		CHECK(!unmap(self->fd, self->ioas, iova, length, &unmapped));
		CHECK(unmapped == length);
	}
	return NULL;
}

/* Map the same IOVA again and again, where no other thread maps */
static void *remap(void *arg)
{
	struct _test_data_race *self = arg;
	const __u64 iova = BASE + SZ_2M * 512;
	__u32 item;

	while (!stop) {
		MAY_FAIL(map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				4 * PAGE, iova), EEXIST);
		if (access_pin(self->fd, self->accesses[0], iova, self->buf,
			       PAGE, 0, &item))
			CHECK(errno == ENOENT || errno == EINVAL);
	}
	return NULL;
}

static void *unmap_there(void *arg)
{
	struct _test_data_race *self = arg;
	__u64 unmapped;

	while (!stop) {
		unmapped = 4 * PAGE;
		MAY_FAIL(unmap(self->fd, self->ioas, BASE + SZ_2M * 512,
			       SZ_2M, &unmapped), ENOENT, EBUSY);
		CHECK(unmapped == 4 * PAGE || unmapped == SZ_2M);
	}
	return NULL;
}

/* Traps A1 and A8 */
TEST_F_TIMEOUT(race, unmap_takes_its_own, ANY_TIME)
{
	pthread_t threads[8];
	int i;

	make_all(_metadata, self);
	ASSERT_EQ(0, access_set(self->fd, self->accesses[0], 0, 1));
	for (i = 0; i < 3; i++)
		START(&threads[i], map_and_unmap_own);
	for (; i < 5; i++)
		START(&threads[i], remap);
	for (; i < 8; i++)
		START(&threads[i], unmap_there);
	run_for(2, threads, 8);
	EXPECT_EQ(0, wrong);
	close_accesses(self);
}

/*
 * A slow MAP, since it pins page by page, and everything that walks the areas:
 * the new area is absent or busy (trap A11)
 */
static void *map_for_long(void *arg)
{
	struct _test_data_race *self = arg;
	char *large = memory(SZ_2M, MAP_SHARED);

	while (!stop) {
		MAY_FAIL(map_at(self->fd, self->ioas, (uintptr_t)large, SZ_2M,
				BASE + SZ_2M), EEXIST);
		MAY_FAIL(unmap(self->fd, self->ioas, BASE + SZ_2M, SZ_2M,
			       NULL), ENOENT, EBUSY);
	}
	return NULL;
}

static void *walk(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		struct iommu_iova_range ranges[8] = {
			{ BASE, BASE + 8 * SZ_2M },
		};
		__u64 iova = BASE + 16 * SZ_2M, alignment;
		struct mock mock;
		__u32 nr = 8, item;
		char data[64];

		switch (rand_r(&seed) % 10) {
		case 0:
			MAY_FAIL(unmap_all(self->fd, self->ioas, NULL),
				 EBUSY);
			break;
		case 1:
			MAY_FAIL(unmap(self->fd, self->ioas, BASE + SZ_2M,
				       SZ_2M, NULL), EBUSY, ENOENT);
			break;
		case 2:
			MAY_FAIL(copy(self->fd, self->ioas, self->ioas,
				      FIXED_RW, SZ_2M / 2, &iova,
				      BASE + SZ_2M), EBUSY, ENOENT, EEXIST);
			break;
		case 3:
			CHECK(!mock_device(self->fd, self->ioas,
					   &MOCK_CONFIG(.unit = 5 +
							rand_r(&seed) % 3),
					   &mock));
			CHECK(!destroy(self->fd, mock.stdev));
			break;
		case 4:
			MAY_FAIL(set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					    self->ioas, rand_r(&seed) % 2),
				 EINVAL);
			break;
		case 5:
			CHECK(!allow_iovas(self->fd, self->ioas, ranges, 1));
			break;
		case 6:
			MAY_FAIL(change_process(self->fd), EBUSY, EINVAL);
			break;
		case 7:
			CHECK(!iova_ranges(self->fd, self->ioas, ranges, &nr,
					   &alignment));
			break;
		case 8:
			MAY_FAIL(access_pin(self->fd, self->accesses[0],
					    BASE + SZ_2M + 100 * PAGE, NULL,
					    PAGE, 0, &item), ENOENT, EINVAL);
			break;
		case 9:
			MAY_FAIL(access_rw(self->fd, self->accesses[0],
					   BASE + SZ_2M + 100 * PAGE, data,
					   64, 0), ENOENT, EINVAL);
			break;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(race, half_built_areas, ANY_TIME)
{
	pthread_t threads[5];
	int i;

	ASSERT_EQ(0, mock_memory_limit(self->fd, 10 * MOCK_MEMORY_LIMIT_MIN));
	make_all(_metadata, self);
	for (i = 0; i < 2; i++)
		START(&threads[i], map_for_long);
	for (; i < 5; i++)
		START(&threads[i], walk);
	run_for(3, threads, 5);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close_accesses(self);
}

/*
 * The container
 */

/* The IOAS of the container is set, cleared, destroyed and allocated again */
static void *choose_ioas(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		__u32 id = rand_r(&seed) % 4;

		switch (rand_r(&seed) % 6) {
		case 0:
		case 1:
			MAY_FAIL(set_container(self->fd, id), ENOENT);
			break;
		case 2:
			CHECK(!clear_container(self->fd));
			break;
		case 3:
			/* Other threads may have destroyed it by now */
			if (vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &id))
				CHECK(errno == ENODEV);
			else
				CHECK(id);
			break;
		case 4:
			/* EBUSY: come_to_container() has attached a device */
			MAY_FAIL(destroy(self->fd, id), ENOENT, EBUSY);
			break;
		case 5:
			/* Only a few exist at a time */
			CHECK(!alloc_ioas(self->fd, &id));
			if (id < 4)
				MAY_FAIL(set_container(self->fd, id), ENOENT);
			else
				MAY_FAIL(destroy(self->fd, id), ENOENT);
			break;
		}
	}
	return NULL;
}

static void *use_container(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		int slot = rand_r(&seed) % NR_SLOTS;
		__u64 unmapped = 0;
		char info[512];

		switch (rand_r(&seed) % 6) {
		case 0:
		case 1:
			MAY_FAIL(map_dma(self->fd, self->buf + slot * PAGE,
					 (NR_SLOTS - slot) * PAGE,
					 BASE + slot * PAGE), ENODEV, EEXIST);
			break;
		case 2:
			MAY_FAIL(unmap_dma(self->fd, BASE + slot * PAGE,
					   2 * PAGE, &unmapped), ENODEV,
				 ENOENT, EBUSY);
			CHECK(unmapped <= 2 * PAGE);
			break;
		case 3:
			MAY_FAIL(get_info(self->fd, info, sizeof(info)),
				 ENODEV);
			break;
		case 4:
			/* EINVAL: there are mappings and a page table */
			MAY_FAIL(set_type1(self->fd), ENODEV, EINVAL);
			break;
		case 5:
			if (ioctl(self->fd, VFIO_CHECK_EXTENSION,
				  VFIO_DMA_CC_IOMMU) < 0)
				CHECK(errno == ENODEV);
			break;
		}
	}
	return NULL;
}

/* Like a group, attach a device to the current IOAS of the container */
static void *come_to_container(void *arg)
{
	struct _test_data_race *self = arg;
	__u32 stdev = self->mocks[0].stdev;

	while (!stop) {
		__u32 id = 0;

		if (vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &id)) {
			CHECK(errno == ENODEV);
			continue;
		}
		/* EINVAL: by now another object has this id */
		MAY_FAIL(mock_attach(self->fd, stdev, &id), ENOENT, EINVAL);
		CHECK(!mock_detach(self->fd, stdev));
	}
	return NULL;
}

/* A request uses the IOAS of the container, or finds none (traps B10, I7) */
TEST_F_TIMEOUT(race, container_and_its_ioas, ANY_TIME)
{
	pthread_t threads[7];
	__u32 id;
	int i;

	/* The first ids are those of IOAS that can be destroyed */
	for (i = 1; i < 4; i++)
		ASSERT_EQ(0, alloc_ioas(self->fd, &id));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(),
				 &self->mocks[0]));
	START(&threads[0], come_to_container);
	for (i = 1; i < 4; i++)
		START(&threads[i], choose_ioas);
	for (; i < 7; i++)
		START(&threads[i], use_container);
	run_for(3, threads, 7);
	EXPECT_EQ(0, wrong);
	for (id = 0; id < 1000; id++)
		destroy(self->fd, id);
	EXPECT_ERRNO(ENODEV, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET, &id));
	EXPECT_TRUE(mock_is_unpinned(self->buf, NR_SLOTS * PAGE));
}

/* Version 1 cuts areas of slots; the neighbours stay mapped */
static void *cut_slots(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		int slot = rand_r(&seed) % NR_SLOTS;
		int nr = rand_r(&seed) % (NR_SLOTS - slot) + 1;
		__u64 unmapped = 0;

		if (rand_r(&seed) % 3 == 0) {
			MAY_FAIL(map_dma(self->fd, self->buf + slot * PAGE,
					 nr * PAGE, BASE + slot * PAGE),
				 EEXIST);
			continue;
		}
		/*
		 * EBUSY, EINVAL: other threads unmap the area, or access it.
		 * ENOENT: meanwhile others have mapped an area across an end.
		 */
		MAY_FAIL(unmap_dma(self->fd, BASE + slot * PAGE, nr * PAGE,
				   &unmapped), EBUSY, EINVAL, ENOENT);
		CHECK(unmapped <= nr * PAGE);
	}
	return NULL;
}

/*
 * Cut, map, copy, unmap and pin the same pages, while page tables come and go:
 * no thread sees half an area (traps A5, A11, I6)
 */
TEST_F_TIMEOUT(race, cuts, ANY_TIME)
{
	pthread_t threads[8];
	int i;

	make_all(_metadata, self);
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	ASSERT_EQ(0, set_type1(self->fd));
	for (i = 0; i < 3; i++)
		START(&threads[i], cut_slots);
	for (; i < 6; i++)
		START(&threads[i], use_slots);
	for (; i < 8; i++)
		START(&threads[i], come_and_go);
	run_for(3, threads, 8);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->buf, NR_SLOTS * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close_accesses(self);
}

/*
 * Each thread unmaps and maps its own page of a common area, while a page table
 * comes and goes. A cut must not affect the other pages.
 */
static void *cut_own_page(void *arg)
{
	struct _test_data_race *self = arg;
	int slot = next_seed++ % NR_SLOTS;
	__u64 iova = BASE + slot * PAGE, unmapped;

	while (!stop) {
		unmapped = 0;
		if (unmap_dma(self->fd, iova, PAGE, &unmapped)) {
			/* Another thread is cutting the area, or reads it */
			CHECK(errno == EBUSY || errno == EINVAL);
			continue;
		}
		CHECK(unmapped == PAGE);
		CHECK(!map_dma(self->fd, self->buf + slot * PAGE, PAGE, iova));
		CHECK(!mock_check_map(self->fd, self->mocks[0].hwpt, iova,
				      self->buf + slot * PAGE, PAGE));
	}
	return NULL;
}

/* The upper half of the area stays mapped, since no thread unmaps it */
static void *check_others(void *arg)
{
	struct _test_data_race *self = arg;
	__u64 iova = BASE + NR_SLOTS / 2 * PAGE;

	while (!stop)
		CHECK(!mock_check_map(self->fd, self->mocks[0].hwpt, iova,
				      self->buf + NR_SLOTS / 2 * PAGE,
				      NR_SLOTS / 2 * PAGE));
	return NULL;
}

/* An access waits for a cut, since the memory stays mapped */
static void *read_others(void *arg)
{
	struct _test_data_race *self = arg;
	__u64 iova = BASE + (NR_SLOTS - 1) * PAGE;
	char byte;

	while (!stop) {
		CHECK(!access_rw(self->fd, self->accesses[0], iova, &byte, 1,
				 0));
		CHECK(byte == NR_SLOTS);
	}
	return NULL;
}

TEST_F_TIMEOUT(race, cuts_of_a_common_area, ANY_TIME)
{
	pthread_t threads[7];
	__u64 unmapped;
	int i, round;

	make_all(_metadata, self);
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	ASSERT_EQ(0, set_type1(self->fd));
	/*
	 * Many short rounds, since the first cuts of an area are the ones that
	 * race
	 */
	for (round = 0; round < 20; round++) {
		stop = false;
		next_seed = 0;
		ASSERT_EQ(0, map_dma(self->fd, self->buf, NR_SLOTS * PAGE,
				     BASE));
		for (i = 0; i < 4; i++)
			START(&threads[i], cut_own_page);
		START(&threads[4], check_others);
		START(&threads[5], come_and_go);
		START(&threads[6], read_others);
		run_for(0.05, threads, 7);
		EXPECT_EQ(0, unmap_dma(self->fd, BASE, NR_SLOTS * PAGE,
				       &unmapped));
		EXPECT_EQ(NR_SLOTS * PAGE, unmapped);
		ASSERT_EQ(self->pinned, status_kb("VmPin"));
	}
	EXPECT_EQ(0, wrong);
	close_accesses(self);
}

#define NR_ROUNDS 2000

static atomic_int nr_arrived;

/* Two threads meet, and one goes on at once, the other a little later */
static void meet(int nr, int spins)
{
	atomic_fetch_add(&nr_arrived, 1);
	while (nr_arrived < 2 * nr)
		;
	while (spins--)
		atomic_load(&nr_arrived);
}

static void *cut_in_each_round(void *arg)
{
	struct _test_data_race *self = arg;
	int round;

	for (round = 1; round <= NR_ROUNDS; round++) {
		meet(2 * round - 1, 0);
		/* The other thread is unmapping the area */
		MAY_FAIL(unmap_dma(self->fd, BASE + PAGE, PAGE, NULL), EBUSY);
		meet(2 * round, 0);
	}
	return NULL;
}

/* An UNMAP waits for a cut, and then takes all pieces */
TEST_F_TIMEOUT(race, unmap_waits_for_a_cut, ANY_TIME)
{
	pthread_t thread;
	int round;

	nr_arrived = 0;
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	ASSERT_EQ(0, set_type1(self->fd));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.page_sizes = PAGE),
				 &self->mocks[0]));
	START(&thread, cut_in_each_round);
	for (round = 1; round <= NR_ROUNDS; round++) {
		CHECK(!map_dma(self->fd, self->buf, NR_SLOTS * PAGE, BASE));
		meet(2 * round - 1, round % 100 * 20);
		CHECK(!unmap(self->fd, self->ioas, BASE, NR_SLOTS * PAGE, NULL));
		meet(2 * round, 0);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

static void *change_pages(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	/* EINVAL: there are a page table and mappings */
	while (!stop)
		MAY_FAIL(set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
				    self->ioas, rand_r(&seed) % 2), EINVAL);
	return NULL;
}

static void *cut_anywhere(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		__u64 iova = BASE + rand_r(&seed) % (NR_SLOTS * PAGE);

		MAY_FAIL(map_dma(self->fd, self->buf, 4 * PAGE,
				 iova & -PAGE), EEXIST);
		MAY_FAIL(unmap_dma(self->fd, iova, PAGE, NULL), EINVAL, EBUSY,
			 ENOENT);
		if (rand_r(&seed) % 4 == 0)
			MAY_FAIL(unmap_all(self->fd, self->ioas, NULL), EBUSY);
	}
	return NULL;
}

/*
 * Where an area can be cut depends on an option and on page tables, which
 * change meanwhile. Every cut is at a page boundary, so any page table can be
 * filled (trap I6).
 */
TEST_F_TIMEOUT(race, cuts_while_pages_change, ANY_TIME)
{
	pthread_t threads[6];
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	for (i = 0; i < 3; i++)
		START(&threads[i], cut_anywhere);
	for (; i < 5; i++)
		START(&threads[i], change_pages);
	START(&threads[5], come_and_go);
	run_for(2, threads, 6);
	EXPECT_EQ(0, wrong);
}

/*
 * Accesses
 */

static void *move_access(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		int access = self->accesses[rand_r(&seed) % 2];
		__u32 id = rand_r(&seed) % 2 ? self->ioas : self->other;

		if (rand_r(&seed) % 3) {
			MAY_FAIL(access_attach(self->fd, access, id), EBUSY);
		} else {
			MAY_FAIL(access_detach(self->fd, access), EBUSY);
			MAY_FAIL(access_replace(self->fd, access, id), EBUSY,
				 ENOENT);
		}
	}
	return NULL;
}

/* Pin slots through an access of its own, and close it */
static void *create_and_close(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		int slot = rand_r(&seed) % NR_SLOTS, access;
		__u32 item;

		CHECK(!access_create(self->fd, rand_r(&seed) % 2 ? self->ioas :
				     self->other, CAN_PIN, &access));
		if (access_pin(self->fd, access, BASE + slot * PAGE,
			       self->buf + slot * PAGE, PAGE, 0, &item))
			CHECK(errno == ENOENT || errno == EINVAL);
		close(access);
	}
	return NULL;
}

/*
 * Accesses with pins move, while other threads pin through them and unmap what
 * they have pinned (traps D2, D3, D9)
 */
TEST_F_TIMEOUT(race, moving_accesses, ANY_TIME)
{
	pthread_t threads[7];
	int i;

	make_all(_metadata, self);
	for (i = 0; i < 2; i++)
		START(&threads[i], move_access);
	for (; i < 5; i++)
		START(&threads[i], use_slots);
	for (; i < 7; i++)
		START(&threads[i], create_and_close);
	run_for(2, threads, 7);
	EXPECT_EQ(0, wrong);
	close_accesses(self);
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	EXPECT_TRUE(mock_is_unpinned(self->buf, NR_SLOTS * PAGE));
}

/*
 * Devices
 */

static void *move_devices(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		struct mock *mock = &self->mocks[rand_r(&seed) % 4];
		__u32 pt_id = rand_r(&seed) % 2 ? self->ioas : self->other;

		switch (rand_r(&seed) % 5) {
		case 0:
		case 1:
			/*
			 * EINVAL: another device of the group has another page
			 * table
			 */
			MAY_FAIL(mock_attach(self->fd, mock->stdev, &pt_id),
				 EINVAL);
			break;
		case 2:
			if (mock_attach(self->fd, mock->stdev, &pt_id))
				break;
			/*
			 * Attach any device by the id of a page table that may
			 * be gone
			 */
			mock = &self->mocks[rand_r(&seed) % 4];
			MAY_FAIL(mock_attach(self->fd, mock->stdev, &pt_id),
				 ENOENT, EINVAL);
			MAY_FAIL(destroy(self->fd, pt_id), ENOENT, EBUSY);
			break;
		case 3:
			MAY_FAIL(mock_replace(self->fd, mock->stdev, &pt_id),
				 EINVAL);
			break;
		case 4:
			CHECK(!mock_detach(self->fd, mock->stdev));
			break;
		}
	}
	return NULL;
}

/* A read returns a whole page of one IOAS or of the other */
static void *do_dma(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		struct mock *mock = &self->mocks[rand_r(&seed) % 4];
		int slot = rand_r(&seed) % NR_SLOTS;
		__u64 iova = BASE + slot * PAGE;
		char data[MOCK_PAGE];

		if (mock_dma(self->fd, mock->stdev, iova, data, MOCK_PAGE, 0))
			CHECK(errno == ENXIO);
		else
			CHECK(is_slot(data, MOCK_PAGE, slot) ||
			      is_slot(data, MOCK_PAGE, NR_SLOTS + slot));
		/* A write also goes to one of the two */
		memset(data, 0xdd, MOCK_PAGE);
		MAY_FAIL(mock_dma(self->fd, mock->stdev,
				  BASE + NR_SLOTS * PAGE, data, MOCK_PAGE,
				  MOCK_ACCESS_RW_WRITE), ENXIO);
		MAY_FAIL(mock_dma(self->fd, mock->stdev,
				  BASE + (NR_SLOTS + 1) * PAGE, data,
				  MOCK_PAGE, MOCK_ACCESS_RW_WRITE), ENXIO,
			 EPERM);
	}
	return NULL;
}

static bool is_byte(const char *data, size_t length, char byte)
{
	return data[0] == byte && !memcmp(data, data + 1, length - 1);
}

/*
 * Threads attach, move and detach devices, alone or in a group, which do DMA
 * meanwhile. DMA reaches the old page table, the new one, or nothing (traps
 * B11, B12, C2, C9).
 */
TEST_F_TIMEOUT(race, moving_devices, ANY_TIME)
{
	struct iommu_test_mock_config config = MOCK_CONFIG();
	pthread_t threads[8];
	__u64 iova;
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
			    NR_SLOTS * PAGE, BASE));
	ASSERT_EQ(0, map_at(self->fd, self->other,
			    (uintptr_t)self->buf + NR_SLOTS * PAGE,
			    NR_SLOTS * PAGE, BASE));
	/* Of the guard pages, only the second is mapped writable */
	ASSERT_EQ(0, map_at(self->fd, self->ioas,
			    (uintptr_t)self->guard + PAGE, PAGE,
			    BASE + NR_SLOTS * PAGE));
	iova = BASE + (NR_SLOTS + 1) * PAGE;
	ASSERT_EQ(0, map(self->fd, self->other,
			 IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
			 (uintptr_t)self->guard + 2 * PAGE, PAGE, &iova));
	/* Three devices of a group, and one alone, of the same IOMMU unit */
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &self->mocks[0]));
	config.join = self->mocks[0].number;
	for (i = 1; i < 3; i++)
		ASSERT_EQ(0, mock_device(self->fd, 0, &config,
					 &self->mocks[i]));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &self->mocks[3]));
	for (i = 0; i < 4; i++)
		START(&threads[i], move_devices);
	for (; i < 8; i++)
		START(&threads[i], do_dma);
	run_for(3, threads, 8);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(is_byte(self->guard, PAGE, 0xee));
	EXPECT_TRUE(is_byte(self->guard + PAGE, MOCK_PAGE, 0xdd));
	EXPECT_TRUE(is_byte(self->guard + PAGE + MOCK_PAGE, MOCK_PAGE, 0xee));
	EXPECT_TRUE(is_byte(self->guard + 2 * PAGE, 2 * PAGE, 0xee));

	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, destroy(self->fd, self->mocks[i].stdev));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, self->other));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * The same while the driver fails now and then, also when the kernel moves a
 * device back
 */
static void *let_fail(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		CHECK(!mock_fail(self->fd, 0, rand_r(&seed) % 2 ?
				 MOCK_CALL_ATTACH : MOCK_CALL_MAP,
				 rand_r(&seed) % 4, rand_r(&seed) % 2 + 1,
				 EOPNOTSUPP));
		usleep(rand_r(&seed) % 1000);
	}
	return NULL;
}

static void *move_in_spite(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		struct mock *mock = &self->mocks[rand_r(&seed) % 4];
		__u32 pt_id = rand_r(&seed) % 2 ? self->ioas : self->other;
		__u64 iova = BASE + 64 * PAGE;

		MAY_FAIL(mock_attach(self->fd, mock->stdev, &pt_id), EINVAL,
			 EOPNOTSUPP);
		if (!(rand_r(&seed) % 4))
			CHECK(!mock_detach(self->fd, mock->stdev));
		MAY_FAIL(map(self->fd, pt_id, FIXED_RW, (uintptr_t)self->buf,
			     8 * PAGE, &iova), EEXIST, ENOENT, EOPNOTSUPP);
		MAY_FAIL(unmap(self->fd, self->ioas, iova, 8 * PAGE, NULL),
			 ENOENT, EBUSY);
	}
	return NULL;
}

/* Trap C3 */
TEST_F_TIMEOUT(race, moving_devices_and_failures, ANY_TIME)
{
	struct iommu_test_mock_config config = MOCK_CONFIG();
	pthread_t threads[5];
	int i;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
			    NR_SLOTS * PAGE, BASE));
	for (i = 0; i < 4; i++) {
		config.join = i % 2 ? self->mocks[0].number : -1;
		ASSERT_EQ(0, mock_device(self->fd, 0, &config,
					 &self->mocks[i]));
	}
	START(&threads[0], let_fail);
	for (i = 1; i < 5; i++)
		START(&threads[i], move_in_spite);
	run_for(2, threads, 5);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_ATTACH, 0, 0, EIO));
	EXPECT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 0, 0, EIO));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, destroy(self->fd, self->mocks[i].stdev));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	EXPECT_EQ(0, destroy(self->fd, self->other));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * Each thread has its own context, with devices and an access, and closes both
 * in either order
 */
static void *open_and_close(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC), access;
		struct mock mock, sibling;
		__u32 ioas, item;

		CHECK(!alloc_ioas(fd, &ioas));
		CHECK(!mock_device(fd, ioas, &MOCK_CONFIG(), &mock));
		CHECK(!mock_device(fd, ioas, &MOCK_CONFIG(.join = mock.number),
				   &sibling));
		CHECK(!map_at(fd, ioas, (uintptr_t)self->buf, NR_SLOTS * PAGE,
			      BASE));
		CHECK(!access_create(fd, ioas, CAN_PIN, &access));
		CHECK(!access_pin(fd, access, BASE, self->buf, PAGE, 0,
				  &item));
		if (rand_r(&seed) % 2) {
			close(fd);
			close(access);
		} else {
			close(access);
			close(fd);
		}
	}
	return NULL;
}

/* Traps B13, B14 */
TEST_F_TIMEOUT(race, contexts_come_and_go, ANY_TIME)
{
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		START(&threads[i], open_and_close);
	run_for(1, threads, 4);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(mock_is_unpinned(self->buf, 2 * NR_SLOTS * PAGE));
}

/* Unbinding a device */

struct asker {
	int fd;
	__u32 id, ioas;
	int ret, error;
	atomic_bool done;
};

static void *ask(void *arg)
{
	struct asker *me = arg;
	__u32 length = 0, type;

	me->ret = hw_info(me->fd, me->id, NULL, &length, &type);
	me->error = errno;
	me->done = true;
	return NULL;
}

static void *remove_device(void *arg)
{
	struct asker *me = arg;

	me->ret = destroy(me->fd, me->id);
	me->done = true;
	return NULL;
}

/*
 * A request that has found the device by its id delays the unbind; a later one
 * does not find the device any more, and its process can be killed meanwhile
 */
TEST_F(race, device_is_found_while_it_is_unbound)
{
	struct asker first = { self->fd }, second = { self->fd };
	struct asker gone = { self->fd };
	pthread_t threads[3];
	struct mock mock;
	pid_t pid;

	ASSERT_EQ(0, mock_device(self->fd, 0,
				 &MOCK_CONFIG(.flags = MOCK_DEVICE_SLOW),
				 &mock));
	first.id = mock.idev;
	second.id = mock.idev;
	gone.id = mock.stdev;
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, ask, &first));
	usleep(MOCK_SLOW_MS * 1000 / 10);
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, remove_device, &gone));
	usleep(MOCK_SLOW_MS * 1000 / 10);
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, ask, &second));
	pid = fork();
	if (!pid) {
		ask(&second);
		_exit(0);
	}
	EXPECT_TRUE(can_be_killed(pid));
	EXPECT_FALSE(first.done);
	EXPECT_FALSE(gone.done);
	EXPECT_FALSE(second.done);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	pthread_join(threads[2], NULL);
	EXPECT_EQ(0, first.ret);
	EXPECT_EQ(0, gone.ret);
	EXPECT_EQ(-1, second.ret);
	EXPECT_EQ(ENOENT, second.error);
}

/* Page tables that grow */

static void *map_low(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int nr = next_seed++;
	__u64 iova = BASE + nr * PAGE;

	while (!stop) {
		CHECK(!map_at(self->fd, self->ioas,
			      (uintptr_t)self->buf + nr * PAGE, PAGE, iova));
		CHECK(!unmap(self->fd, self->ioas, iova, PAGE, NULL));
	}
	return NULL;
}

static void *map_high(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = next_seed++;

	while (!stop) {
		__u64 iova = 1ULL << (33 + rand_r(&seed) % 28);
		__u32 pt = self->ioas;

		CHECK(!map_at(self->fd, self->ioas, (uintptr_t)self->buf,
			      2 * PAGE, iova));
		CHECK(!unmap(self->fd, self->ioas, iova, 2 * PAGE, NULL));
		/*
		 * The page table goes with the last device; the next one starts
		 * small again
		 */
		CHECK(!mock_detach(self->fd, self->mocks[0].stdev));
		CHECK(!mock_attach(self->fd, self->mocks[0].stdev, &pt));
	}
	return NULL;
}

/*
 * If the driver needs it, nobody else is in the page table while something is
 * mapped above all that it has. Otherwise the mock IOMMU warns (trap M1).
 */
TEST_F_TIMEOUT(race, growing_tables, ANY_TIME)
{
	pthread_t threads[3];

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.flags = MOCK_DEVICE_GROWS,
					      .aperture_last = ~0ULL),
				 &self->mocks[0]));
	START(&threads[0], map_low);
	START(&threads[1], map_low);
	START(&threads[2], map_high);
	run_for(2, threads, 3);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * Requests that meet in the middle of another one, which is delayed. These cases
 * come last, since they remove all other delays.
 */

/*
 * A sibling is bound while the last device of the group is unbound. The context
 * owns the group all the time, or claims it again.
 */
TEST_F(race, sibling_comes_while_the_last_leaves)
{
	struct iommu_test_mock_config config = MOCK_CONFIG();
	struct asker gone = { self->fd };
	struct mock mock, sibling;
	pthread_t thread;
	int i, ret;

	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("iommu_group_release_dma_owner 20000"));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
		gone.id = mock.stdev;
		gone.done = false;
		config.join = mock.number;
		ASSERT_EQ(0, mock_begin(remove_device, &gone, &gone.done, 1,
					&thread));
		ret = mock_device(self->fd, 0, &config, &sibling);
		/* The device that it joins may be gone by now */
		EXPECT_TRUE(!ret || errno == ENOENT) {
			TH_LOG("errno %d", errno);
		}
		pthread_join(thread, NULL);
		EXPECT_EQ(0, gone.ret);
		if (!ret)
			EXPECT_EQ(0, destroy(self->fd, sibling.stdev));
	}
	EXPECT_EQ(0, mock_delay(""));
}

/* Objects that are being removed */

static void *detach_device(void *arg)
{
	struct asker *me = arg;

	me->ret = mock_detach(me->fd, me->id);
	me->done = true;
	return NULL;
}

/*
 * An IOAS is destroyed, or the last device leaves a page table. Other requests
 * find the object before that, or do not find it.
 */
TEST_F(race, removed_objects_are_not_found)
{
	enum { DESTROY, GET, SET, DESTROY_TABLE, NR_WAYS };
	struct asker gone = { self->fd };
	pthread_t thread;
	struct mock mock;
	__u32 id;
	int i;

	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("__xa_erase 20000"));
	for (i = 0; i < 4 * NR_WAYS; i++) {
		int way = i % NR_WAYS;

		ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
		ASSERT_EQ(0, set_container(self->fd, self->ioas));
		id = self->ioas;
		gone.id = self->ioas;
		if (way == DESTROY_TABLE) {
			ASSERT_EQ(0, mock_attach(self->fd, mock.stdev, &id));
			gone.id = mock.stdev;
		}
		gone.done = false;
		ASSERT_EQ(0, mock_begin(way == DESTROY_TABLE ? detach_device :
					remove_device, &gone, &gone.done, 1,
					&thread));
		if (way == GET)
			EXPECT_ERRNO(ENODEV, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_GET,
						       &id));
		else if (way == SET)
			EXPECT_ERRNO(ENOENT, set_container(self->fd, id));
		else
			EXPECT_ERRNO(ENOENT, destroy(self->fd, id));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, gone.ret);
		if (way == DESTROY_TABLE)
			EXPECT_EQ(0, destroy(self->fd, self->ioas));
	}
	EXPECT_EQ(0, mock_delay(""));
}

/* Page tables that programs make */

static void *make_table(void *arg)
{
	struct asker *me = arg;
	__u32 hwpt;

	me->ret = alloc_hwpt(me->fd, me->id, me->ioas, &hwpt);
	me->done = true;
	return NULL;
}

/* The first two of a device are made at the same time, and both are counted */
TEST_F(race, first_tables_are_counted)
{
	struct asker first = { self->fd };
	pthread_t thread;
	struct mock mock;
	__u32 hwpt;
	int i, j;

	ASSERT_EQ(0, alloc_ioas(self->fd, &first.ioas));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(), &mock));
		first.id = mock.idev;
		first.done = false;
		ASSERT_EQ(0, mock_begin_delayed("get_device 20000", make_table,
						&first, &first.done, &thread));
		EXPECT_EQ(0, alloc_hwpt(self->fd, mock.idev, first.ioas,
					&hwpt));
		EXPECT_EQ(0, mock_end(thread));
		EXPECT_EQ(0, first.ret);
		for (j = 2; j < 64; j++)
			ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, first.ioas,
						&hwpt));
		EXPECT_ERRNO(ENOSPC, alloc_hwpt(self->fd, mock.idev,
						first.ioas, &hwpt));
		EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	}
}

TEST_HARNESS_MAIN

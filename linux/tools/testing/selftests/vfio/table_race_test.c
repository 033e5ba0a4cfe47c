// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads attach, move and detach devices, and map and unmap. No device
 * is opened or closed meanwhile, so this also runs where each processor is a
 * thread of QEMU.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "vfio_util.h"

FIXTURE(table_race)
{
	struct pci_dev a, b;
	int iommufd;
	int dev_a, dev_b;
	__u32 id_a, id_b;
	__u32 ioas, other;
	/* A page table made by each thread */
	__u32 hwpt[3];
	long pinned;
	bool reach_is_late;
};

FIXTURE_SETUP(table_race)
{
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	self->dev_a = open_cdev(&self->a);
	ASSERT_LE(0, self->dev_a);
	self->dev_b = open_cdev(&self->b);
	ASSERT_LE(0, self->dev_b);
	self->reach_is_late = iommu_of(&self->a)->reach_is_late;
	self->pinned = status_kb("VmPin");
	stop = false;
	wrong = 0;
}

FIXTURE_TEARDOWN(table_race)
{
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
}

static void move(struct _test_data_table_race *self, int nr, unsigned int *seed)
{
	int device = nr ? self->dev_b : self->dev_a;
	__u32 *made = &self->hwpt[nr];
	__u32 hwpt = 0, ioas;

	ioas = rand_r(seed) % 2 ? self->ioas : self->other;
	switch (rand_r(seed) % 5) {
	case 0:
		CHECK(!attach_pt(device, ioas, &hwpt) || errno == EINVAL);
		/* Destroyed as soon as the last device leaves it */
		if (hwpt)
			CHECK(!attach_pt(device, hwpt, NULL) ||
			      errno == ENOENT || errno == EINVAL);
		break;
	case 1:
		CHECK(!detach_pt(device));
		break;
	case 2:
		CHECK(iommufd_destroy(self->iommufd, self->ioas) &&
		      errno == EBUSY);
		break;
	case 3:
		if (!*made)
			CHECK(!hwpt_alloc(self->iommufd, nr ? self->id_b :
					  self->id_a, ioas, made) ||
			      (self->reach_is_late && errno == EOPNOTSUPP));
		if (!*made)
			break;
		CHECK(!attach_pt(device, *made, NULL) || errno == EINVAL);
		break;
	case 4:
		if (!*made)
			break;
		if (!iommufd_destroy(self->iommufd, *made))
			*made = 0;
		else
			CHECK(errno == EBUSY);
		break;
	}
}

static void *move_a(void *arg)
{
	struct _test_data_table_race *self = arg;
	unsigned int seed = 1;

	while (!stop)
		move(self, 0, &seed);
	return NULL;
}

static void *move_b(void *arg)
{
	struct _test_data_table_race *self = arg;
	unsigned int seed = 2;

	while (!stop)
		move(self, 1, &seed);
	return NULL;
}

static void *move_b_too(void *arg)
{
	struct _test_data_table_race *self = arg;
	unsigned int seed = 3;

	while (!stop)
		move(self, 2, &seed);
	return NULL;
}

static void *set_up_interrupts(void *arg)
{
	struct _test_data_table_race *self = arg;

	while (!stop) {
		int event = irq_eventfd(self->dev_a, VFIO_PCI_MSI_IRQ_INDEX);

		CHECK(event >= 0);
		CHECK(!irqs_off(self->dev_a, VFIO_PCI_MSI_IRQ_INDEX));
		close(event);
	}
	return NULL;
}

static void *go_to_and_fro(void *arg)
{
	struct _test_data_table_race *self = arg;

	while (!stop) {
		CHECK(!attach_pt(self->dev_a, self->ioas, NULL));
		CHECK(!attach_pt(self->dev_a, self->other, NULL));
		CHECK(!detach_pt(self->dev_a));
	}
	return NULL;
}

/*
 * The page table in which a vector is set up may be destroyed at that moment
 * (trap M3: needs KASAN, and doorbells that are mapped)
 */
TEST_F_TIMEOUT(table_race, interrupts_are_set_up_beside_attach, ANY_TIME)
{
	pthread_t threads[2];
	struct pci_dev dev;
	struct edu edu;
	int event;

	/*
	 * QEMU's AMD IOMMU loses interrupts of the pair, which is behind a
	 * bridge
	 */
	if (find_edu_alone(&dev))
		SKIP(return, "no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	close(self->dev_a);
	self->dev_a = open_cdev(&dev);
	ASSERT_LE(0, self->dev_a);
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, &self->id_a));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	START(&threads[0], set_up_interrupts);
	START(&threads[1], go_to_and_fro);
	run_for(5, threads, 2);
	EXPECT_EQ(0, wrong);

	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	event = irq_eventfd(self->dev_a, VFIO_PCI_MSI_IRQ_INDEX);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, edu_open(&edu, self->dev_a));
	edu_write(&edu, 0x60, 1);
	EXPECT_TRUE(is_signalled(event, 2000));
	edu_write(&edu, 0x64, 1);
	edu_close(&edu);
	close(event);
}

/*
 * Two devices of a group, one of them with two threads, are attached, moved and
 * detached. They agree on a page table, which goes with the last device, or
 * when the thread that made it destroys it (traps B11, B12, C2). A third device
 * prevents the destroy of one IOAS.
 */
TEST_F_TIMEOUT(table_race, attach_and_detach, ANY_TIME)
{
	struct pci_dev c;
	pthread_t threads[3];
	char *buf = map_anon(16 * PAGE);
	int dev_c, i;

	if (find_edu_alone(&c))
		SKIP(return, "no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&c));
	dev_c = open_cdev(&c);
	ASSERT_LE(0, dev_c);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buf, 8 * PAGE, SZ_2M,
			      MAP_RW));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, buf + 8 * PAGE,
			      8 * PAGE, SZ_2M, MAP_RW));
	ASSERT_EQ(0, bind_iommufd(dev_c, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(dev_c, self->ioas, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, &self->id_a));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, &self->id_b));

	START(&threads[0], move_a);
	START(&threads[1], move_b);
	START(&threads[2], move_b_too);
	run_for(2, threads, 3);
	EXPECT_EQ(0, wrong);

	EXPECT_EQ(0, detach_pt(self->dev_a));
	EXPECT_EQ(0, detach_pt(self->dev_b));
	for (i = 0; i < 3; i++)
		if (self->hwpt[i])
			EXPECT_EQ(0, iommufd_destroy(self->iommufd,
						     self->hwpt[i]));
	EXPECT_EQ(self->pinned + PAGES_KB(8), status_kb("VmPin"));
	EXPECT_EQ(0, detach_pt(dev_c));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->other));
	close(dev_c);
}

static void *map_and_unmap(void *arg)
{
	struct _test_data_table_race *self = arg;
	char *buf = map_anon(4 * PAGE);
	__u64 iova;

	while (!stop) {
		struct iommu_ioas_unmap unmap = {
			.size = sizeof(unmap),
			.ioas_id = self->ioas,
			.length = 4 * PAGE,
		};

		CHECK(!ioas_map_auto(self->iommufd, self->ioas, buf, 4 * PAGE,
				     &iova, MAP_RW));
		unmap.iova = iova;
		CHECK(!ioctl(self->iommufd, IOMMU_IOAS_UNMAP, &unmap));
		CHECK(unmap.length == 4 * PAGE);
	}
	return NULL;
}

static void *map_fixed(void *arg)
{
	struct _test_data_table_race *self = arg;
	char *buf = map_anon(4 * PAGE);

	while (!stop) {
		CHECK(!ioas_map(self->iommufd, self->ioas, buf, 4 * PAGE,
				SZ_1G, MAP_RW) || errno == EEXIST);
		CHECK(!ioas_unmap(self->iommufd, self->ioas, SZ_1G,
				  4 * PAGE) ||
		      errno == ENOENT || errno == EBUSY);
	}
	return NULL;
}

static void *unmap_high(void *arg)
{
	struct _test_data_table_race *self = arg;

	while (!stop)
		CHECK(!ioas_unmap(self->iommufd, self->ioas, SZ_1G / 2,
				  1UL << 40) ||
		      errno == ENOENT || errno == EBUSY);
	return NULL;
}

static void *attach_and_detach(void *arg)
{
	struct _test_data_table_race *self = arg;

	while (!stop) {
		CHECK(!attach_pt(self->dev_a, self->ioas, NULL));
		CHECK(!detach_pt(self->dev_a));
	}
	return NULL;
}

/*
 * An UNMAP unmaps exactly its own area, while others map and unmap around it
 * and a device is attached and detached (traps A1, A8, A11)
 */
TEST_F_TIMEOUT(table_race, unmap_takes_its_own, ANY_TIME)
{
	pthread_t threads[6];

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	START(&threads[0], map_and_unmap);
	START(&threads[1], map_and_unmap);
	START(&threads[2], map_fixed);
	START(&threads[3], map_fixed);
	START(&threads[4], unmap_high);
	START(&threads[5], attach_and_detach);
	run_for(2, threads, 6);
	EXPECT_EQ(0, wrong);

	EXPECT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, 0, ~0UL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, detach_pt(self->dev_a));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

static atomic_ulong unmapped;

static void *unmap_all(void *arg)
{
	struct _test_data_table_race *self = arg;
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = self->ioas,
		.length = ~0ULL,
	};

	CHECK(!ioctl(self->iommufd, IOMMU_IOAS_UNMAP, &unmap));
	unmapped += unmap.length;
	return NULL;
}

/*
 * Several threads unmap everything: each area is unmapped once, and no call
 * fails
 */
TEST_F(table_race, unmaps_wait_for_each_other)
{
	char *buf = map_anon(PAGE);
	pthread_t threads[3];
	int i, round;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	for (round = 0; round < 10; round++) {
		unmapped = 0;
		for (i = 0; i < 500; i++)
			ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, buf,
					      PAGE, SZ_2M + i * 2 * PAGE,
					      MAP_RW));
		for (i = 0; i < 3; i++)
			START(&threads[i], unmap_all);
		for (i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		ASSERT_EQ(500 * PAGE, unmapped);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

static void *map_low(void *arg)
{
	struct _test_data_table_race *self = arg;
	char *page = map_anon(PAGE);

	while (!stop) {
		CHECK(!ioas_map(self->iommufd, self->ioas, page, PAGE, SZ_2M,
				MAP_RW));
		CHECK(!ioas_unmap(self->iommufd, self->ioas, SZ_2M, PAGE));
	}
	/* The memory is unmapped, so the device must not write to it */
	memset(page, 0x5a, PAGE);
	return page;
}

/*
 * One thread maps and unmaps a page, another maps higher and higher in a fresh
 * page table, to which some IOMMU drivers then add levels. Each unmap finds its
 * page, so nothing stays pinned, and at the end the device can write to nothing
 * (trap M1).
 */
TEST_F_TIMEOUT(table_race, tables_grow_meanwhile, ANY_TIME)
{
	const char *times = getenv("RACE_TIMES");
	int rounds = 1000 * (times ? atoi(times) : 1);
	char *buf = map_anon(PAGE), *page;
	struct pci_dev dev;
	pthread_t thread;
	struct edu edu;
	int device, i;
	__u64 iova;

	if (find_edu_alone(&dev))
		SKIP(return, "no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	device = open_cdev(&dev);
	ASSERT_LE(0, device);
	ASSERT_EQ(0, bind_iommufd(device, self->iommufd, NULL));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, attach_pt(device, self->ioas, NULL));
	ASSERT_TRUE(is_usable(self->iommufd, self->ioas, 1UL << 38,
			      (1UL << 38) + PAGE - 1));

	START(&thread, map_low);
	for (i = 0; i < rounds && !wrong; i++) {
		/*
		 * The reach of page tables with 3, 4, 5 and 6 levels, as far as
		 * it is usable
		 */
		for (iova = 1UL << 38; iova; iova <<= 9) {
			if (ioas_map(self->iommufd, self->ioas, buf, PAGE,
				     iova, MAP_RW)) {
				CHECK(errno == EINVAL);
				break;
			}
			CHECK(!ioas_unmap(self->iommufd, self->ioas, iova,
					  PAGE));
		}
		/* The last detach destroys the page table */
		CHECK(!detach_pt(device));
		CHECK(!attach_pt(device, self->ioas, NULL));
	}
	stop = true;
	pthread_join(thread, (void **)&page);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));

	ASSERT_EQ(0, edu_open(&edu, device));
	edu_dma_to_ram(&edu, SZ_2M, 64);
	edu_dma_to_ram(&edu, 1UL << 38, 64);
	EXPECT_TRUE(is_byte(page, PAGE, 0x5a));
	EXPECT_TRUE(is_byte(buf, PAGE, 0));
	edu_close(&edu);
	close(device);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The driver of a mediated device pins and copies memory, while it is unmapped
 * and the device moves between two IOAS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "../../../../samples/vfio-mdev/mdpin.h"
#include "vfio_util.h"

#define NR_PAGES 16
#define MEM_SIZE (NR_PAGES * PAGE)
#define IOVA SZ_2M

FIXTURE(race)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 ioas[2];
	void *mem;
};

FIXTURE_SETUP(race)
{
	int i;

	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	self->device = open_cdev(&self->dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	self->mem = map_anon(MEM_SIZE);
	ASSERT_NE(NULL, self->mem);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas[i]));
		ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas[i], self->mem,
				      MEM_SIZE, IOVA, MAP_RW));
	}
	ASSERT_EQ(0, attach_pt(self->device, self->ioas[0], NULL));
}

FIXTURE_TEARDOWN(race)
{
	close(self->device);
	close(self->iommufd);
	EXPECT_EQ(0, mdev_remove(&self->dev));
}

static int command(int device, __u32 op, __u32 flags, __u64 iova, __u32 count)
{
	struct mdpin_cmd cmd = {
		.op = op,
		.flags = flags,
		.iova = iova,
		.count = count,
	};

	return pwrite(device, &cmd, sizeof(cmd), MDPIN_CMD) == sizeof(cmd) ?
		0 : -1;
}

/* Did iommufd warn about a driver that keeps pages? */
static bool blames_driver(int kmsg)
{
	char line[1024];
	ssize_t len;

	while ((len = read(kmsg, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		if (strstr(line, "iommufd: a driver"))
			return true;
	}
	return false;
}

static atomic_ulong nr_done[4];

/* Not attached, not mapped, or being unmapped */
static bool may_be(int ret)
{
	return !ret || errno == ENOENT || errno == EINVAL;
}

static void *pin_and_unpin(void *arg)
{
	struct _test_data_race *self = arg;
	__u32 flags, nr, old_nr = 1;
	__u64 iova, old = IOVA;
	unsigned int seed = 1;
	int ret;

	while (!atomic_load(&stop)) {
		iova = IOVA + rand_r(&seed) % 12 * PAGE;
		nr = 1 + rand_r(&seed) % 4;
		flags = rand_r(&seed) & MDPIN_FLAG_WORKER;
		ret = command(self->device, MDPIN_PIN, flags, iova, nr);
		CHECK(may_be(ret));
		if (ret)
			continue;
		atomic_fetch_add(&nr_done[0], 1);
		/* One pin is always left for the notices */
		CHECK(!command(self->device, MDPIN_UNPIN, 0, old, old_nr));
		old = iova;
		old_nr = nr;
	}
	return NULL;
}

static void *copy(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = 2;

	while (!atomic_load(&stop)) {
		int ret = command(self->device,
				  rand_r(&seed) % 2 ? MDPIN_READ : MDPIN_WRITE,
				  rand_r(&seed) & MDPIN_FLAG_WORKER,
				  IOVA + rand_r(&seed) % (MEM_SIZE - PAGE),
				  1 + rand_r(&seed) % PAGE);

		CHECK(may_be(ret));
		atomic_fetch_add(&nr_done[1], !ret);
	}
	return NULL;
}

static void *move(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = (uintptr_t)&self;

	while (!atomic_load(&stop)) {
		int where = rand_r(&seed) % 3;
		int ret = where < 2 ?
			attach_pt(self->device, self->ioas[where], NULL) :
			detach_pt(self->device);

		/* Another thread is moving it */
		CHECK(!ret || errno == EBUSY);
		atomic_fetch_add(&nr_done[2], !ret);
	}
	return NULL;
}

static void *unmap_and_map(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = (uintptr_t)&self;

	while (!atomic_load(&stop)) {
		__u32 ioas = self->ioas[rand_r(&seed) % 2];
		int ret = ioas_unmap(self->iommufd, ioas, IOVA, MEM_SIZE);

		/*
		 * The other thread has unmapped it, or is unmapping or mapping
		 * it
		 */
		CHECK(!ret || errno == ENOENT || errno == EBUSY);
		atomic_fetch_add(&nr_done[3], !ret);
		ret = ioas_map(self->iommufd, ioas, self->mem, MEM_SIZE, IOVA,
			       MAP_RW);
		CHECK(!ret || errno == EEXIST);
	}
	return NULL;
}

/*
 * At the end nothing is pinned, and no unmap fails. The driver holds its mutex
 * while it pins and in the notice (trap D9), pins while it has no IOAS (trap
 * D2), is moved by two threads (trap D3), and two threads unmap what a third
 * must unpin first (trap A1).
 */
TEST_F_TIMEOUT(race, pins_moves_and_unmaps, ANY_TIME)
{
	struct mdpin_state state;
	pthread_t threads[6];
	int kmsg = kmsg_open();
	int i;

	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, command(self->device, MDPIN_SLEEP, 0, 0, 1));
	START(&threads[0], pin_and_unpin);
	START(&threads[1], copy);
	START(&threads[2], move);
	START(&threads[3], move);
	START(&threads[4], unmap_and_map);
	START(&threads[5], unmap_and_map);
	run_for(8, threads, 6);
	EXPECT_EQ(0, atomic_load(&wrong));
	for (i = 0; i < 4; i++)
		EXPECT_NE(0, atomic_load(&nr_done[i]));

	ASSERT_EQ(sizeof(state), pread(self->device, &state, sizeof(state),
				       MDPIN_STATE));
	EXPECT_NE(0, state.unmaps);
	EXPECT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(sizeof(state), pread(self->device, &state, sizeof(state),
				       MDPIN_STATE));
	EXPECT_EQ(0, state.pins);
	EXPECT_EQ(0, status_kb("VmPin"));
	EXPECT_FALSE(blames_driver(kmsg));
	close(kmsg);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas[i]));
		EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas[i]));
	}
}

/* As long as there is a cdev, BIND succeeds, or the driver is going */
static void *bind_until_it_is_gone(void *arg)
{
	struct pci_dev *dev = arg;
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC), device;

	while ((device = open_cdev(dev)) >= 0) {
		while (!stop && bind_iommufd(device, iommufd, NULL))
			CHECK(errno == ENODEV);
		close(device);
		atomic_fetch_add(&nr_done[0], 1);
		usleep(1000);
	}
	close(iommufd);
	return NULL;
}

/*
 * The module of the driver is unloaded, and its devices are removed one after
 * the other. A BIND of the last one finds that the module goes, and must not
 * hold the device (trap E7)
 */
TEST(module_goes_while_a_device_is_bound)
{
	time_t end = time(NULL) + 15;
	struct pci_dev dev[8];
	int round, i, ret;
	pthread_t thread;

	if (!has_cdevs())
		SKIP(return, "no cdevs");
	wrong = 0;
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 8; i++)
			ASSERT_EQ(0, mdev_create(&dev[i], "mdpin", "unmap"));
		stop = false;
		nr_done[0] = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL,
					    bind_until_it_is_gone, &dev[7]));
		while (!nr_done[0] && time(NULL) < end)
			usleep(1000);
		do
			ret = syscall(SYS_delete_module, "mdpin", O_NONBLOCK);
		while (ret && errno == EWOULDBLOCK && time(NULL) < end);
		stop = true;
		ASSERT_EQ(0, ret);
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, wrong);
}

TEST_HARNESS_MAIN

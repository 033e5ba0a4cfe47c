// SPDX-License-Identifier: GPL-2.0
/*
 * Hot resets while other devices of the bus are bound, closed, used, removed
 * and added, and a GET_PCI_HOT_RESET_INFO whose answer waits for a page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "reset_util.h"
#include "vfio_util.h"

#define IOVA SZ_2M
#define EDU_ID 0x010000edU
#define NOBODY 65534

/*
 * struct both - two devices of a bus, bound to one iommufd
 * @ioas: both are attached to it; it has two pages of @mem at IOVA
 */
struct both {
	struct pci_dev dev[2];
	int device[2];
	int iommufd;
	__u32 ioas, id[2];
	char *mem;
	struct edu edu[2];
};

static int open_one(struct both *both, int i)
{
	both->device[i] = open_cdev(&both->dev[i]);
	return bind_iommufd(both->device[i], both->iommufd, &both->id[i]) ||
	       attach_pt(both->device[i], both->ioas, NULL) ||
	       edu_open(&both->edu[i], both->device[i]) ? -1 : 0;
}

static void close_one(struct both *both, int i)
{
	edu_close(&both->edu[i]);
	close(both->device[i]);
}

static int open_both(struct both *both)
{
	if (bind_vfio_pci(&both->dev[0]) || bind_vfio_pci(&both->dev[1]))
		return -1;
	both->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	both->mem = map_anon(2 * PAGE);
	if (ioas_alloc(both->iommufd, &both->ioas) ||
	    ioas_map(both->iommufd, both->ioas, both->mem, 2 * PAGE, IOVA,
		     MAP_RW))
		return -1;
	return open_one(both, 0) || open_one(both, 1) ? -1 : 0;
}

static void close_both(struct both *both)
{
	close_one(both, 0);
	close_one(both, 1);
	close(both->iommufd);
}

static bool in_one_group(const struct both *both)
{
	return both->dev[0].group == both->dev[1].group;
}

/* Copy a page to another one through the device */
static bool dma_works(struct both *both, int i, unsigned int seed)
{
	fill_pattern(both->mem, 2048, seed);
	memset(both->mem + PAGE, 0, PAGE);
	return !edu_dma_from_ram(&both->edu[i], IOVA, 2048) &&
	       !edu_dma_to_ram(&both->edu[i], IOVA + PAGE, 2048) &&
	       is_pattern(both->mem + PAGE, 2048, seed);
}

/* Do both devices come back from a hot reset, and does their DMA work? */
static bool all_works(struct both *both)
{
	return !set_mark(&both->dev[0]) && !set_mark(&both->dev[1]) &&
	       !hot_reset(both->device[0]) &&
	       !has_mark(&both->dev[0]) && !has_mark(&both->dev[1]) &&
	       dma_works(both, 0, 1) && dma_works(both, 1, 2);
}

/*
 * Both devices are reported, ours with its id, and the flag agrees with the ids
 */
static bool is_sane(const struct both *both, const struct reset_info *info)
{
	__u32 other = told_of(info, &both->dev[1]);
	bool all = other != NOT_OWNED;

	return info->head.count == 2 && other != POISON &&
	       told_of(info, &both->dev[0]) == both->id[0] &&
	       info->head.flags == (all ? BY_ID | ALL_OWNED : BY_ID);
}

FIXTURE(race)
{
	struct both both;
	/* For trap F9: two devices on another bus */
	struct both others;
	int victim;
	int users[2];
};

FIXTURE_VARIANT(race)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
	int (*find_others)(struct pci_dev *a, struct pci_dev *b);
};

FIXTURE_VARIANT_ADD(race, one_group)
{
	.find = find_edu_pair,
	.find_others = find_edu_neighbours,
};

FIXTURE_VARIANT_ADD(race, two_groups)
{
	.find = find_edu_neighbours,
	.find_others = find_edu_pair,
};

static atomic_int done, busy;

static void start_again(void)
{
	stop = false;
	wrong = 0;
	done = 0;
	busy = 0;
}

/* On a busy machine it can take longer until anything is counted */
static void run_until_done(double seconds, pthread_t *threads, int nr)
{
	int tries;

	for (tries = 0; tries < 60 && !done; tries++)
		sleep(1);
	run_for(seconds, threads, nr);
}

FIXTURE_SETUP(race)
{
	struct both *both = &self->both;

	if (variant->find(&both->dev[0], &both->dev[1]))
		SKIP_TEST("no two edu devices on one bus, or not so");
	ASSERT_EQ(0, open_both(both));
	self->users[0] = power_users(&both->dev[0]);
	self->users[1] = power_users(&both->dev[1]);
	start_again();
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_EQ(self->users[0], power_users(&self->both.dev[0]));
	EXPECT_EQ(self->users[1], power_users(&self->both.dev[1]));
	close_both(&self->both);
}

/* Threads that query, reset, and disturb */

static void *ask(void *arg)
{
	struct _test_data_race *self = arg;
	struct reset_info info;

	while (!stop) {
		CHECK(!get_reset_info(self->both.device[0], &info));
		CHECK(is_sane(&self->both, &info));
	}
	return NULL;
}

/* Nobody else resets the bus, or prevents a reset by using fds */
static void *reset(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		if (!hot_reset(self->both.device[0]))
			atomic_fetch_add(&done, 1);
		else
			CHECK(errno == EINVAL && !in_one_group(&self->both));
	}
	return NULL;
}

static void *come_and_go(void *arg)
{
	struct _test_data_race *self = arg;
	struct both *both = &self->both;

	while (!stop) {
		int device = open_cdev(&both->dev[1]);

		CHECK(!bind_iommufd(device, both->iommufd, NULL));
		CHECK(!attach_pt(device, both->ioas, NULL));
		close(device);
	}
	return NULL;
}

/*
 * The same, but every other time with another iommufd, if the group is not
 * ours. Then the device is not reset by anyone else.
 */
static void *change_hands(void *arg)
{
	struct _test_data_race *self = arg;
	struct both *both = &self->both;
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int nr, i;

	for (nr = 0; !stop; nr++) {
		int device = open_cdev(&both->dev[1]);

		if (nr % 2 || in_one_group(both)) {
			CHECK(!bind_iommufd(device, both->iommufd, NULL));
		} else {
			CHECK(!bind_iommufd(device, iommufd, NULL));
			CHECK(!set_mark(&both->dev[1]));
			for (i = 0; i < 10; i++)
				CHECK(has_mark(&both->dev[1]));
		}
		close(device);
	}
	close(iommufd);
	return NULL;
}

/*
 * The owner of the other device changes all the time, also during a query (trap
 * F5)
 */
TEST_F_TIMEOUT(race, sibling_changes_hands, ANY_TIME)
{
	struct both *both = &self->both;
	pthread_t threads[3];

	close_one(both, 1);
	START(&threads[0], change_hands);
	START(&threads[1], ask);
	START(&threads[2], reset);
	run_until_done(2, threads, 3);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

/*
 * A reset and munmap() can zap the same mapping at once, since munmap() then
 * holds mmap_lock only for reading. In that case vfio-pci of this kernel frees
 * the memory type of the registers twice, and at times untrack_pfn() warns. So
 * here resets take a lock for reading, and munmap() for writing.
 */
static pthread_rwlock_t unmapping = PTHREAD_RWLOCK_INITIALIZER;

static int reset_mapped(int device)
{
	int ret;

	pthread_rwlock_rdlock(&unmapping);
	ret = hot_reset(device);
	pthread_rwlock_unlock(&unmapping);
	return ret;
}

/* Map the registers, touch them, and unmap them */
static void touch_registers(int device)
{
	struct edu edu;

	CHECK(!edu_open(&edu, device));
	CHECK(edu_read(&edu, 0) == EDU_ID);
	pthread_rwlock_wrlock(&unmapping);
	edu_close(&edu);
	pthread_rwlock_unlock(&unmapping);
}

static void *use_registers(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop)
		CHECK(edu_read(&self->both.edu[self->victim], 0) == EDU_ID);
	return NULL;
}

static void *reset_or_not(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		if (!reset_mapped(self->both.device[0])) {
			atomic_fetch_add(&done, 1);
		} else {
			CHECK(errno == EBUSY);
			atomic_fetch_add(&busy, 1);
		}
	}
	return NULL;
}

/*
 * A thread that touches a register during a reset waits for it, and can make
 * the next reset fail. That reset must release what it holds, be it nothing or
 * the first device (trap F6).
 */
TEST_F_TIMEOUT(race, registers_are_used_meanwhile, ANY_TIME)
{
	pthread_t threads[4];

	for (self->victim = 0; self->victim < 2; self->victim++) {
		start_again();
		START(&threads[0], use_registers);
		START(&threads[1], use_registers);
		START(&threads[2], reset_or_not);
		START(&threads[3], reset_or_not);
		run_until_done(2, threads, 4);
		EXPECT_EQ(0, wrong);
		EXPECT_LT(0, done);
		EXPECT_LT(0, busy);
		EXPECT_EQ(self->users[0], power_users(&self->both.dev[0]));
		EXPECT_EQ(self->users[1], power_users(&self->both.dev[1]));
		EXPECT_TRUE(all_works(&self->both));
	}
}

static void *map_registers(void *arg)
{
	struct _test_data_race *self = arg;
	int i = 0;

	while (!stop) {
		touch_registers(self->both.device[i]);
		i = !i;
	}
	return NULL;
}

/* The last entry goes to memory that is not present */
static void *ask_in_new_memory(void *arg)
{
	struct _test_data_race *self = arg;
	char *page = map_anon(2 * PAGE);
	struct reset_info *info;

	info = (void *)page + PAGE - offsetof(struct reset_info, devices[1]);
	while (!stop) {
		info->head.argsz = sizeof(*info);
		CHECK(!ioctl(self->both.device[0],
			     VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info));
		CHECK(is_sane(&self->both, info));
		madvise(page + PAGE, PAGE, MADV_DONTNEED);
	}
	return NULL;
}

/* The process's memory and the device's registers at once (trap F1) */
TEST_F_TIMEOUT(race, info_while_registers_are_mapped, ANY_TIME)
{
	pthread_t threads[4];

	START(&threads[0], map_registers);
	START(&threads[1], ask_in_new_memory);
	START(&threads[2], reset_or_not);
	START(&threads[3], map_registers);
	run_until_done(2, threads, 4);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	EXPECT_TRUE(all_works(&self->both));
}

static int write_sysfs(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = write(fd, text, strlen(text)) == strlen(text) ? 0 : -1;

	close(fd);
	return ret;
}

/* Remove the device from the bus and find it again */
static int remove_and_add(struct pci_dev *dev)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", dev->bdf);
	if (write_sysfs(path, "1") ||
	    write_sysfs("/sys/bus/pci/rescan", "1"))
		return -1;
	return bind_vfio_pci(dev);
}

/*
 * A removed device is not reported; one that has just been found is not owned
 */
static void *ask_who_is_there(void *arg)
{
	struct _test_data_race *self = arg;
	struct both *both = &self->both;
	struct reset_info info;

	while (!stop) {
		if (get_reset_info(both->device[0], &info)) {
			CHECK(errno == EAGAIN);
			continue;
		}
		if (info.head.count == 2) {
			CHECK(is_sane(both, &info));
			continue;
		}
		CHECK(info.head.count == 1);
		CHECK(info.head.flags == (BY_ID | ALL_OWNED));
		CHECK(told_of(&info, &both->dev[0]) == both->id[0]);
		CHECK(told_of(&info, &both->dev[1]) == POISON);
	}
	return NULL;
}

/* The devices on the bus change during a query (trap F2) */
TEST_F_TIMEOUT(race, sibling_is_removed, ANY_TIME)
{
	struct both *both = &self->both;
	pthread_t threads[2];
	int i;

	close_one(both, 1);
	START(&threads[0], ask_who_is_there);
	START(&threads[1], ask_who_is_there);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, remove_and_add(&both->dev[1]));
	run_for(0, threads, 2);
	EXPECT_EQ(0, wrong);
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

/*
 * An fd that outlives its device has no reference to it that is still used
 * (trap M14)
 */
TEST_F_TIMEOUT(race, file_outlives_its_device, ANY_TIME)
{
	struct both *both = &self->both;
	pthread_t threads[1];
	int i, file;

	close_one(both, 1);
	START(&threads[0], ask_who_is_there);
	for (i = 0; i < 10; i++) {
		file = open_cdev(&both->dev[1]);
		ASSERT_LE(0, file);
		ASSERT_EQ(0, remove_and_add(&both->dev[1]));
		EXPECT_ERRNO(ENODEV, bind_iommufd(file, both->iommufd, NULL));
		close(file);
	}
	run_for(0, threads, 1);
	EXPECT_EQ(0, wrong);
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

static void *reset_others(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		CHECK(!hot_reset(self->others.device[0]));
		atomic_fetch_add(&busy, 1);
	}
	return NULL;
}

static void *ask_others(void *arg)
{
	struct _test_data_race *self = arg;
	struct reset_info info;

	while (!stop) {
		CHECK(!get_reset_info(self->others.device[0], &info));
		CHECK(is_sane(&self->others, &info));
	}
	return NULL;
}

/* Each bus is reset independently (trap F9) */
TEST_F_TIMEOUT(race, two_buses_are_reset, ANY_TIME)
{
	struct both *others = &self->others;
	pthread_t threads[4];

	ASSERT_EQ(0, variant->find_others(&others->dev[0], &others->dev[1]));
	ASSERT_EQ(0, open_both(others));
	START(&threads[0], reset);
	START(&threads[1], reset_others);
	START(&threads[2], ask);
	START(&threads[3], ask_others);
	run_until_done(2, threads, 4);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	EXPECT_LT(0, busy);
	EXPECT_TRUE(all_works(&self->both));
	EXPECT_TRUE(all_works(others));
	close_both(others);
}

/*
 * Open the first device alone, with memory of a file that is charged by address
 * space
 */
static int open_charged(struct both *both)
{
	int file = memfd_create("race", MFD_CLOEXEC), ret;

	close_both(both);
	munmap(both->mem, 2 * PAGE);
	both->mem = ftruncate(file, 2 * PAGE) ? MAP_FAILED :
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	both->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (set_option(both->iommufd, IOMMU_OPTION_RLIMIT_MODE, 0, 1) ||
	    ioas_alloc(both->iommufd, &both->ioas) || seteuid(NOBODY))
		return -1;
	ret = map_file_at(both->iommufd, both->ioas, MAP_RW, file, 0, 2 * PAGE,
			  IOVA);
	close(file);
	return ret || seteuid(0) || open_one(both, 0);
}

static void *map_and_take_over(void *arg)
{
	struct _test_data_race *self = arg;
	struct both *both = &self->both;

	while (!stop) {
		touch_registers(both->device[0]);
		CHECK(!change_process(both->iommufd));
	}
	return NULL;
}

/*
 * Fails if the other device is not owned, or if a register is just being used
 */
static void *reset_with_other_unbound(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		if (!reset_mapped(self->both.device[0]))
			atomic_fetch_add(&done, 1);
		else
			CHECK(errno == EBUSY || (errno == EINVAL &&
						 !in_one_group(&self->both)));
	}
	return NULL;
}

/*
 * Charges move between two processes and registers are used, while hot resets
 * are requested without the other device bound
 */
TEST_F_TIMEOUT(race, charges_move_meanwhile, ANY_TIME)
{
	struct both *both = &self->both;
	pthread_t threads[3];
	int status;
	pid_t child;

	ASSERT_EQ(0, open_charged(both));
	child = fork();
	if (!child) {
		while (!change_process(both->iommufd))
			;
		_exit(1);
	}
	START(&threads[0], map_and_take_over);
	START(&threads[1], reset_with_other_unbound);
	START(&threads[2], map_and_take_over);
	run_for(2, threads, 3);
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(in_one_group(both), !!done);
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

static void *transfer(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int seed = 0;

	while (!stop) {
		CHECK(dma_works(&self->both, 0, seed++));
		CHECK(has_mark(&self->both.dev[0]));
		atomic_fetch_add(&done, 1);
	}
	return NULL;
}

/*
 * While the first device is in use, closing the second resets nothing (trap F8)
 */
TEST_F_TIMEOUT(race, sibling_is_closed_during_transfers, ANY_TIME)
{
	struct both *both = &self->both;
	pthread_t threads[2];

	ASSERT_EQ(0, set_mark(&both->dev[0]));
	close_one(both, 1);
	START(&threads[0], transfer);
	START(&threads[1], come_and_go);
	run_until_done(2, threads, 2);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

static void *leave_in_turn(void *arg)
{
	struct _test_data_race *self = arg;
	struct both *both = &self->both;
	int device[2];

	while (!stop) {
		device[0] = open_cdev(&both->dev[0]);
		device[1] = open_cdev(&both->dev[1]);
		CHECK(!bind_iommufd(device[0], both->iommufd, NULL));
		CHECK(!bind_iommufd(device[1], both->iommufd, NULL));
		close(device[atomic_fetch_add(&done, 1) % 2]);
		close(device[atomic_load(&done) % 2]);
	}
	return NULL;
}

static void *reset_others_or_not(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop)
		CHECK(!hot_reset(self->others.device[0]) || errno == EBUSY);
	return NULL;
}

/* Resets at the last close, while another bus is reset */
TEST_F_TIMEOUT(race, last_close_while_another_bus_is_reset, ANY_TIME)
{
	struct both *both = &self->both, *others = &self->others;
	pthread_t threads[2];

	ASSERT_EQ(0, variant->find_others(&others->dev[0], &others->dev[1]));
	ASSERT_EQ(0, open_both(others));
	close_one(both, 0);
	close_one(both, 1);
	START(&threads[0], leave_in_turn);
	START(&threads[1], reset_others_or_not);
	run_until_done(1, threads, 2);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	EXPECT_TRUE(all_works(others));
	close_both(others);
	ASSERT_EQ(0, open_one(both, 0));
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_TRUE(all_works(both));
}

/* An answer that waits for a page (trap F1) */
FIXTURE(stalled)
{
	struct both both;
	int faults;
	struct reset_info *info;
};

FIXTURE_VARIANT(stalled)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
};

FIXTURE_VARIANT_ADD(stalled, one_group)
{
	.find = find_edu_pair,
};

FIXTURE_VARIANT_ADD(stalled, two_groups)
{
	.find = find_edu_neighbours,
};

/* Let writes to the page wait, or continue */
static int protect(struct _test_data_stalled *self, bool on)
{
	struct uffdio_writeprotect wp = {
		.range.start = (uintptr_t)self->info,
		.range.len = PAGE,
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(self->faults, UFFDIO_WRITEPROTECT, &wp);
}

FIXTURE_SETUP(stalled)
{
	struct both *both = &self->both;
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register range = {
		.range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (variant->find(&both->dev[0], &both->dev[1]))
		SKIP_TEST("no two edu devices on one bus, or not so");
	ASSERT_EQ(0, open_both(both));
	self->info = map_anon(PAGE);
	self->info->head.argsz = sizeof(*self->info);
	self->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (ioctl(self->faults, UFFDIO_API, &api))
		SKIP_TEST("no write faults of userfaultfd on this architecture");
	range.range.start = (uintptr_t)self->info;
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));
	ASSERT_EQ(0, protect(self, true));
	start_again();
}

FIXTURE_TEARDOWN(stalled)
{
	close_both(&self->both);
	close(self->faults);
}

static void *ask_and_wait(void *arg)
{
	struct _test_data_stalled *self = arg;

	CHECK(!ioctl(self->both.device[0], VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
		     self->info));
	return NULL;
}

/*
 * The query holds no lock that others need: neither users of the devices, nor
 * removal
 */
TEST_F(stalled, info_stops_nobody)
{
	struct both *both = &self->both;
	struct reset_info info;
	struct uffd_msg msg;
	pthread_t thread;
	__u32 id = both->id[1];

	START(&thread, ask_and_wait);
	ASSERT_EQ(sizeof(msg), read(self->faults, &msg, sizeof(msg)));
	EXPECT_EQ(0, get_reset_info(both->device[1], &info));
	EXPECT_EQ(0, hot_reset(both->device[1]));
	EXPECT_EQ(EDU_ID, edu_read(&both->edu[0], 0));
	close_one(both, 1);
	ASSERT_EQ(0, remove_and_add(&both->dev[1]));
	ASSERT_EQ(0, open_one(both, 1));
	EXPECT_EQ(0, hot_reset(both->device[0]));

	/* The answer is that of the time of the query */
	ASSERT_EQ(0, protect(self, false));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(is_sane(both, self->info));
	EXPECT_EQ(id, told_of(self->info, &both->dev[1]));
	EXPECT_TRUE(all_works(both));
}

/* Virtual functions that are added and removed (traps E1, F7) */
FIXTURE(functions)
{
	struct pci_dev pf;
	int device;
	int iommufd;
	__u32 id;
};

static const unsigned char tokens[2][16] = {
	"sixteen letters.", "Sixteen letters.",
};

FIXTURE_SETUP(functions)
{
	if (find_sriov(&self->pf))
		SKIP_TEST("no device that can have virtual functions");
	ASSERT_EQ(0, set_numvfs(&self->pf, 0));
	ASSERT_EQ(0, bind_vfio_pci(&self->pf));
	self->device = open_cdev(&self->pf);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_with_token(self->device, self->iommufd, tokens[0],
				     &self->id));
	start_again();
}

FIXTURE_TEARDOWN(functions)
{
	EXPECT_EQ(0, set_numvfs(&self->pf, 0));
	close(self->device);
	close(self->iommufd);
}

static void *set_tokens(void *arg)
{
	struct _test_data_functions *self = arg;
	struct {
		struct vfio_device_feature feature;
		unsigned char token[16];
	} cmd = {
		.feature = {
			.argsz = sizeof(cmd),
			.flags = VFIO_DEVICE_FEATURE_SET |
				 VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
		},
	};
	int i = 0;

	while (!stop) {
		memcpy(cmd.token, tokens[i], 16);
		CHECK(!ioctl(self->device, VFIO_DEVICE_FEATURE, &cmd));
		i = !i;
	}
	return NULL;
}

/* A VF that does not exist, or does not have vfio-pci yet, has no cdev */
static void *use_vf(void *arg)
{
	struct _test_data_functions *self = arg;
	struct reset_info info;
	struct pci_dev vf;
	__u32 id;
	int i = 0;

	while (!stop) {
		int device = find_vf(&self->pf, i, &vf) ? -1 : open_cdev(&vf);

		if (device < 0) {
			usleep(1000);
			continue;
		}
		if (bind_with_token(device, self->iommufd, tokens[0], &id)) {
			/*
			 * The token is the other one, or the VF is being
			 * removed
			 */
			CHECK(errno == EACCES || errno == ENODEV ||
			      errno == EINVAL || errno == EAGAIN);
		} else {
			CHECK(!get_reset_info(device, &info));
			CHECK(told_of(&info, &vf) == id);
			CHECK(!(info.head.flags & ALL_OWNED));
			CHECK(hot_reset(device) && errno == EINVAL);
			atomic_fetch_add(&done, 1);
		}
		close(device);
		i = !i;
	}
	return NULL;
}

/* The PF with all functions on its bus, which may be the PF alone */
static void *ask_pf(void *arg)
{
	struct _test_data_functions *self = arg;
	struct reset_info info;

	while (!stop) {
		if (get_reset_info(self->device, &info)) {
			CHECK(errno == EAGAIN);
			continue;
		}
		CHECK(told_of(&info, &self->pf) == self->id);
		CHECK(info.head.count >= 1 && info.head.count <= 3);
		CHECK(info.head.flags ==
		      (info.head.count == 1 ? BY_ID | ALL_OWNED : BY_ID));
	}
	return NULL;
}

TEST_F_TIMEOUT(functions, vfs_come_and_go, ANY_TIME)
{
	pthread_t threads[4];
	struct pci_dev vf;
	int i, j;

	START(&threads[0], set_tokens);
	START(&threads[1], use_vf);
	START(&threads[2], use_vf);
	START(&threads[3], ask_pf);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, set_numvfs(&self->pf, 2));
		for (j = 0; j < 2; j++) {
			ASSERT_EQ(0, find_vf(&self->pf, j, &vf));
			ASSERT_EQ(0, bind_vfio_pci(&vf));
		}
		usleep(100000);
		ASSERT_EQ(0, set_numvfs(&self->pf, 0));
	}
	run_for(0, threads, 4);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, done);
	EXPECT_EQ(0, hot_reset(self->device));
}

TEST_HARNESS_MAIN

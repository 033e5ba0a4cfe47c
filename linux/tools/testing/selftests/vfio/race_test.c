// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads open, bind and close devices at once, and requests are
 * stalled in a page fault. A case runs for a second or two, and then everything
 * must be released and work. KASAN and lockdep find more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "vfio_util.h"

/* More than the highest id that these cases use */
#define MAX_ID 16

FIXTURE(race)
{
	struct pci_dev a, b;
	int iommufd;
	int dev_a, dev_b;
	__u32 ioas;
	long pinned;
};

FIXTURE_SETUP(race)
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
	self->pinned = status_kb("VmPin");
	stop = false;
	wrong = 0;
}

FIXTURE_TEARDOWN(race)
{
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
}

static void *bind_and_close(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		int device = open_cdev(&self->a);
		__u32 ioas;

		CHECK(device >= 0);
		CHECK(!bind_iommufd(device, self->iommufd, NULL));
		if (!ioas_alloc(self->iommufd, &ioas))
			CHECK(!attach_pt(device, ioas, NULL) ||
			      errno == ENOENT);
		close(device);
	}
	return NULL;
}

static void *destroy_ids(void *arg)
{
	struct _test_data_race *self = arg;
	__u32 id = 0;

	while (!stop) {
		CHECK(!iommufd_destroy(self->iommufd, id) || errno == EBUSY ||
		      errno == ENOENT);
		id = (id + 1) % MAX_ID;
	}
	return NULL;
}

static void *use_ids(void *arg)
{
	struct _test_data_race *self = arg;
	char *buf = map_anon(PAGE);
	__u32 id = 0;

	while (!stop) {
		CHECK(!ioas_map(self->iommufd, id, buf, PAGE, SZ_2M, MAP_RW) ||
		      errno == ENOENT || errno == EEXIST);
		is_usable(self->iommufd, id, SZ_2M, SZ_2M);
		/* EBUSY: the MAP of the other thread is not complete */
		CHECK(!ioas_unmap(self->iommufd, id, SZ_2M, PAGE) ||
		      errno == ENOENT || errno == EBUSY);
		id = (id + 1) % MAX_ID;
	}
	return NULL;
}

static void *ask_devices(void *arg)
{
	struct _test_data_race *self = arg;
	struct iommu_hw_info_vtd vtd;
	unsigned int seed = 1;
	__u32 hwpt;

	while (!stop) {
		struct iommu_hw_info info = {
			.size = sizeof(info),
			.dev_id = rand_r(&seed) % MAX_ID,
			.data_len = sizeof(vtd),
			.data_uptr = (uintptr_t)&vtd,
		};

		CHECK(!ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info) ||
		      errno == ENOENT);
		if (hwpt_alloc(self->iommufd, rand_r(&seed) % MAX_ID,
			       rand_r(&seed) % MAX_ID, &hwpt))
			CHECK(errno == ENOENT || errno == EINVAL ||
			      (errno == EOPNOTSUPP &&
			       iommu_of(&self->a)->reach_is_late));
		else
			/*
			 * Other threads may have destroyed it and reused its id
			 */
			CHECK(!iommufd_destroy(self->iommufd, hwpt) ||
			      errno == ENOENT || errno == EBUSY);
	}
	return NULL;
}

/*
 * Guessed ids: an object is found complete or not at all, and using it does not
 * prevent unbinding a device (traps B1, B2, B6, B7)
 */
TEST_F_TIMEOUT(race, guessed_ids_are_harmless, ANY_TIME)
{
	pthread_t threads[5];
	__u32 id;

	START(&threads[0], bind_and_close);
	START(&threads[1], destroy_ids);
	START(&threads[2], use_ids);
	START(&threads[3], use_ids);
	START(&threads[4], ask_devices);
	run_for(2, threads, 5);
	EXPECT_EQ(0, wrong);

	for (id = 0; id < MAX_ID; id++)
		iommufd_destroy(self->iommufd, id);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, &id));
	EXPECT_EQ(1, id);
}

struct bind_at_once {
	pthread_barrier_t *barrier;
	int device;
	int iommufd;
	int ret;
};

static void *bind_at_once(void *arg)
{
	struct bind_at_once *me = arg;

	pthread_barrier_wait(me->barrier);
	me->ret = bind_iommufd(me->device, me->iommufd, NULL);
	return NULL;
}

/* Two fds of a device, or one fd twice: one BIND succeeds (traps E5, E6) */
TEST_F(race, one_of_two_binds_succeeds)
{
	time_t end = time(NULL) + 3;
	int i;

	for (i = 0; i < 200 && time(NULL) < end; i++) {
		struct bind_at_once me[2];
		pthread_barrier_t barrier;
		pthread_t threads[2];
		int j, first = open_cdev(&self->a);
		int second = i & 1 ? first : open_cdev(&self->a);

		pthread_barrier_init(&barrier, NULL, 2);
		for (j = 0; j < 2; j++) {
			me[j] = (struct bind_at_once){
				.barrier = &barrier,
				.device = j ? second : first,
				.iommufd = self->iommufd,
			};
			ASSERT_EQ(0, pthread_create(&threads[j], NULL,
						    bind_at_once, &me[j]));
		}
		for (j = 0; j < 2; j++)
			pthread_join(threads[j], NULL);
		ASSERT_EQ(-1, me[0].ret + me[1].ret);
		close(first);
		if (second != first)
			close(second);
	}
	EXPECT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
}

static atomic_int group_users, cdev_users;

static void *use_group(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		struct legacy l;

		if (!legacy_open(&l, &self->a)) {
			group_users++;
			CHECK(!cdev_users);
			group_users--;
		} else {
			CHECK(errno == EBUSY || errno == EINVAL ||
			      errno == EPERM);
		}
		legacy_close(&l);
	}
	return NULL;
}

static void *use_cdev(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		int device = open_cdev(&self->b);

		if (!bind_iommufd(device, self->iommufd, NULL)) {
			cdev_users++;
			CHECK(!group_users);
			CHECK(!attach_pt(device, self->ioas, NULL));
			cdev_users--;
		} else {
			CHECK(errno == EBUSY || errno == EINVAL ||
			      errno == EPERM);
		}
		close(device);
	}
	return NULL;
}

/*
 * Group and cdevs at once: one of them gets the devices, and the locks of both
 * are taken in one order (traps E17, G2, G4)
 */
TEST_F_TIMEOUT(race, group_and_cdev_exclude_each_other, ANY_TIME)
{
	pthread_t threads[4];
	struct legacy l;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	START(&threads[0], use_group);
	START(&threads[1], use_cdev);
	START(&threads[2], use_group);
	START(&threads[3], use_cdev);
	run_for(2, threads, 4);
	EXPECT_EQ(0, wrong);

	EXPECT_EQ(0, legacy_open(&l, &self->a));
	legacy_close(&l);
	EXPECT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
}

static void *open_and_bind(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		int device = open_cdev(&self->a);

		if (device < 0)
			continue;
		/*
		 * EAGAIN: the driver can't reset a device that is being removed
		 */
		CHECK(!bind_iommufd(device, self->iommufd, NULL) ||
		      errno == EINVAL || errno == ENODEV ||
		      errno == EAGAIN);
		close(device);
	}
	return NULL;
}

/*
 * The driver is unbound and bound while programs open its device (traps E7, E8)
 */
TEST_F(race, driver_is_unbound)
{
	pthread_t threads[2];
	int i;

	close(self->dev_a);
	START(&threads[0], open_and_bind);
	START(&threads[1], open_and_bind);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, unbind_driver(&self->a));
		ASSERT_EQ(0, bind_vfio_pci(&self->a));
	}
	run_for(0, threads, 2);
	EXPECT_EQ(0, wrong);

	self->dev_a = open_cdev(&self->a);
	ASSERT_LE(0, self->dev_a);
	EXPECT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
}

struct finder {
	const char *path;
	int iommufd;
	int device, err;
};

static void *find_and_bind(void *arg)
{
	struct finder *me = arg;

	do
		me->device = open(me->path, O_RDWR | O_CLOEXEC);
	while (me->device < 0 && errno == ENOENT && !stop);
	me->err = bind_iommufd(me->device, me->iommufd, NULL) ? errno : 0;
	return NULL;
}

/* As soon as its node is there, a device can be opened and bound */
TEST_F(race, device_is_ready_when_it_is_found)
{
	struct finder me = { .iommufd = self->iommufd };
	char path[64];
	int i;

	close(self->dev_a);
	ASSERT_EQ(0, vfio_cdev_path(&self->a, path, sizeof(path)));
	me.path = path;
	for (i = 0; i < 20; i++) {
		pthread_t thread;

		ASSERT_EQ(0, unbind_driver(&self->a));
		ASSERT_EQ(-1, access(path, F_OK));
		ASSERT_EQ(0, pthread_create(&thread, NULL, find_and_bind, &me));
		EXPECT_EQ(0, bind_vfio_pci(&self->a));
		/* Where the device has another number */
		stop = !!access(path, F_OK);
		pthread_join(thread, NULL);
		ASSERT_LE(0, me.device);
		/* EAGAIN: a device whose driver is being bound can't be reset */
		EXPECT_TRUE(!me.err || me.err == EAGAIN) {
			TH_LOG("errno %d", me.err);
		}
		close(me.device);
	}
	self->dev_a = open_cdev(&self->a);
	EXPECT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
}

static atomic_int taken_over, busy;

static void *map_files(void *arg)
{
	struct _test_data_race *self = arg;
	int file = memfd_create("race", MFD_CLOEXEC);

	CHECK(!ftruncate(file, 4 * SZ_2M));
	while (!stop) {
		CHECK(!map_file_at(self->iommufd, self->ioas, MAP_RW, file, 0,
				   4 * SZ_2M, SZ_1G));
		CHECK(!unmap(self->iommufd, self->ioas, SZ_1G, 4 * SZ_2M, NULL));
	}
	close(file);
	return NULL;
}

static void *take_over(void *arg)
{
	struct _test_data_race *self = arg;

	while (!stop) {
		if (!change_process(self->iommufd)) {
			atomic_fetch_add(&taken_over, 1);
		} else {
			CHECK(errno == EBUSY);
			atomic_fetch_add(&busy, 1);
		}
	}
	return NULL;
}

/*
 * A mapping that is not complete can't be moved to another process (change_2);
 * two moves don't disturb each other
 */
TEST_F_TIMEOUT(race, change_of_process_while_files_are_mapped, ANY_TIME)
{
	pthread_t threads[3];

	ASSERT_EQ(0, alloc_ioas(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	START(&threads[0], map_files);
	START(&threads[1], take_over);
	START(&threads[2], take_over);
	run_for(2, threads, 3);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, taken_over);
	EXPECT_LT(0, busy);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* A BIND whose answer waits for a page */
FIXTURE(answer)
{
	struct pci_dev a, b;
	int iommufd;
	int dev_a, dev_b;
	int faults;
	struct vfio_device_bind_iommufd *bind;
};

static int protect(int faults, void *page, bool on)
{
	struct uffdio_writeprotect wp = {
		.range.start = (uintptr_t)page,
		.range.len = PAGE,
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(faults, UFFDIO_WRITEPROTECT, &wp);
}

FIXTURE_SETUP(answer)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register range = {
		.range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

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

	self->bind = map_anon(PAGE);
	self->bind->argsz = sizeof(*self->bind);
	self->bind->iommufd = self->iommufd;
	self->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (ioctl(self->faults, UFFDIO_API, &api))
		SKIP_TEST("no write faults of userfaultfd on this architecture");
	range.range.start = (uintptr_t)self->bind;
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));
	ASSERT_EQ(0, protect(self->faults, self->bind, true));
	wrong = 0;
}

FIXTURE_TEARDOWN(answer)
{
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
	close(self->faults);
}

/* Wait until the kernel touches the page */
static int wait_for_fault(int faults)
{
	struct uffd_msg msg;

	return read(faults, &msg, sizeof(msg)) == sizeof(msg) ? 0 : -1;
}

static void *bind_a(void *arg)
{
	struct _test_data_answer *self = arg;

	CHECK(!ioctl(self->dev_a, VFIO_DEVICE_BIND_IOMMUFD, self->bind));
	return NULL;
}

/*
 * Before the answer is written the device is claimed, but can't be used. The
 * other device of its dev_set can be used meanwhile.
 */
TEST_F(answer, stalled_bind_stops_nobody)
{
	int second = open_cdev(&self->a);
	pthread_t thread;
	char byte;

	START(&thread, bind_a);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	EXPECT_ERRNO(EINVAL, read(self->dev_a, &byte, 1));
	EXPECT_ERRNO(EINVAL, bind_iommufd(second, self->iommufd, NULL));
	EXPECT_ERRNO(EBUSY, open_group(&self->a));
	EXPECT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	close(self->dev_b);

	ASSERT_EQ(0, protect(self->faults, self->bind, false));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_NE(0, self->bind->out_devid);
	EXPECT_EQ(1, pread(self->dev_a, &byte, 1,
			   (off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40));
	self->dev_b = open_cdev(&self->b);
	close(second);
}

static void *alloc_id_1(void *arg)
{
	struct _test_data_answer *self = arg;
	struct iommu_ioas_alloc *alloc = (void *)(self->bind + 1);

	CHECK(!ioctl(self->iommufd, IOMMU_IOAS_ALLOC, alloc));
	CHECK(alloc->out_ioas_id == 1);
	return NULL;
}

/* Before the id is returned it is taken, but names no object (traps B6, B7) */
TEST_F(answer, stalled_alloc_has_no_object_yet)
{
	struct iommu_ioas_alloc *alloc = (void *)(self->bind + 1);
	pthread_t thread;
	__u32 id;

	ASSERT_EQ(0, protect(self->faults, self->bind, false));
	alloc->size = sizeof(*alloc);
	ASSERT_EQ(0, protect(self->faults, self->bind, true));
	START(&thread, alloc_id_1);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	EXPECT_ERRNO(ENOENT, destroy(self->iommufd, 1));
	EXPECT_ERRNO(ENOENT, map_at(self->iommufd, 1, 0, PAGE, PAGE));
	EXPECT_ERRNO(ENOENT, unmap(self->iommufd, 1, PAGE, PAGE, NULL));
	EXPECT_ERRNO(ENOENT, allow_iovas(self->iommufd, 1, NULL, 0));
	EXPECT_ERRNO(ENOENT, set_option(self->iommufd, IOMMU_OPTION_HUGE_PAGES, 1,
					1));
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &id));
	EXPECT_EQ(2, id);
	EXPECT_ERRNO(ENOENT, copy_at(self->iommufd, 1, 2, MAP_RW, PAGE, PAGE,
				     PAGE));
	EXPECT_ERRNO(ENOENT, copy_at(self->iommufd, 2, 1, MAP_RW, PAGE, PAGE,
				     PAGE));

	ASSERT_EQ(0, protect(self->faults, self->bind, false));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, map_at(self->iommufd, 1, 0, PAGE, PAGE));
	EXPECT_EQ(0, destroy(self->iommufd, 1));
}

/* A MAP, or an ATTACH, that waits for a page */
FIXTURE(stalled)
{
	struct pci_dev dev;
	int device, other;
	int group;
	int iommufd;
	int faults;
	__u32 ioas;
	char *missing, *buf;
	long pinned;
};

/* Whoever touches @missing waits until give_pages() */
static int watch(struct _test_data_stalled *self)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range.start = (uintptr_t)self->missing,
		.range.len = 4 * PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	self->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	return ioctl(self->faults, UFFDIO_API, &api) ||
	       ioctl(self->faults, UFFDIO_REGISTER, &range);
}

FIXTURE_SETUP(stalled)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));

	self->missing = map_anon(4 * PAGE);
	self->buf = map_anon(4 * PAGE);
	ASSERT_EQ(0, watch(self));
	self->pinned = status_kb("VmPin");
	wrong = 0;
}

FIXTURE_TEARDOWN(stalled)
{
	close(self->device);
	close(self->iommufd);
	close(self->faults);
}

static void *map_missing(void *arg)
{
	struct _test_data_stalled *self = arg;

	CHECK(!ioas_map(self->iommufd, self->ioas, self->missing, 4 * PAGE,
			SZ_2M, MAP_RW));
	return NULL;
}

static void *attach_missing(void *arg)
{
	struct _test_data_stalled *self = arg;

	CHECK(!attach_pt(self->device, self->ioas, NULL));
	return NULL;
}

static int give_pages(struct _test_data_stalled *self)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)self->missing,
		.src = (uintptr_t)self->buf,
		.len = 4 * PAGE,
	};

	return ioctl(self->faults, UFFDIO_COPY, &copy);
}

static void *open_by_group(void *arg)
{
	struct _test_data_stalled *self = arg;

	self->other = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
			    self->dev.bdf);
	CHECK(self->other >= 0);
	return NULL;
}

/* Opening the device through its group must now pin the missing pages */
static int take_group(struct _test_data_stalled *self)
{
	__u32 ioas = self->ioas;

	close(self->device);
	self->group = open_group(&self->dev);
	return vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &ioas) ||
	       ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &self->iommufd) ||
	       ioas_map(self->iommufd, self->ioas, self->missing, 4 * PAGE,
			SZ_2M, MAP_RW);
}

/* Requests that can wait for an attach that waits for a page */
enum wish {
	ATTACH_TOO,
	DETACH,
	ALLOC_TABLE,
	MAP_MORE,
	UNMAP_OTHER,
	CUT_OTHER,
	SET_HUGE_PAGES,
	ASK_COHERENCY,
	ASK_INFO,
	NR_WISHES,
};

static void wish_for(struct _test_data_stalled *self, enum wish wish, __u32 dev)
{
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };
	__u32 id;

	switch (wish) {
	case ATTACH_TOO:
		attach_pt(self->device, self->ioas, NULL);
		break;
	case DETACH:
		detach_pt(self->device);
		break;
	case ALLOC_TABLE:
		hwpt_alloc(self->iommufd, dev, self->ioas, &id);
		break;
	case MAP_MORE:
		ioas_map(self->iommufd, self->ioas, self->buf, PAGE, 2 * SZ_2M,
			 MAP_RW);
		break;
	case UNMAP_OTHER:
		ioas_unmap(self->iommufd, self->ioas, 4 * SZ_2M, 2 * PAGE);
		break;
	case CUT_OTHER:
		legacy_unmap(self->iommufd, 4 * SZ_2M, PAGE);
		break;
	case SET_HUGE_PAGES:
		set_option(self->iommufd, IOMMU_OPTION_HUGE_PAGES, self->ioas, 0);
		break;
	case ASK_COHERENCY:
		ioctl(self->iommufd, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU);
		break;
	default:
		ioctl(self->iommufd, VFIO_IOMMU_GET_INFO, &info);
	}
}

/*
 * A process that waits can be killed: a page fault of a user must not hang it
 */
TEST_F(stalled, who_waits_can_be_killed)
{
	__u32 ioas = self->ioas, dev;
	pthread_t thread;
	pid_t pid;
	int wish;

	close(self->device);
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &dev));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	/* For version 1, which can cut areas */
	ASSERT_EQ(0, set_option(self->iommufd, IOMMU_OPTION_HUGE_PAGES,
				self->ioas, 0));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, 2 * PAGE,
			      4 * SZ_2M, MAP_RW));
	map_missing(self);
	START(&thread, attach_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));

	for (wish = 0; wish < NR_WISHES; wish++) {
		pid = fork();
		if (!pid) {
			wish_for(self, wish, dev);
			_exit(0);
		}
		EXPECT_TRUE(can_be_killed(pid)) {
			TH_LOG("%d", wish);
		}
	}

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(6), status_kb("VmPin"));
	/* Nothing was unmapped or cut */
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, 4 * SZ_2M, 2 * PAGE));
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(0, detach_pt(self->device));
}

/*
 * Opening a device through its group pins memory without a lock, so the group
 * and the dev_set can be used
 */
TEST_F(stalled, open_by_group_stops_nobody)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	pthread_t thread;

	ASSERT_EQ(0, take_group(self));
	START(&thread, open_by_group);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_GET_STATUS, &status));
	EXPECT_ERRNO(EBUSY, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	EXPECT_ERRNO(EBUSY, bind_iommufd(self->device, self->iommufd, NULL));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	close(self->other);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(self->group);
}

/*
 * Nor does a process that waits for that, and is killed, hold a lock when it
 * gives up
 */
TEST_F(stalled, open_by_group_can_be_killed)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct pci_dev sibling;
	pthread_t thread;
	int status_of_child;
	pid_t child;

	if (find_edu_pair(&self->dev, &sibling))
		SKIP(return, "no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&sibling));
	ASSERT_EQ(0, take_group(self));
	START(&thread, open_by_group);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	child = fork();
	if (!child) {
		ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, sibling.bdf);
		_exit(0);
	}
	usleep(200000);
	ASSERT_EQ(0, kill(child, SIGKILL));
	usleep(200000);
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_GET_STATUS, &status));
	self->device = open_cdev(&sibling);
	ASSERT_LE(0, self->device);
	EXPECT_ERRNO(EBUSY, bind_iommufd(self->device, self->iommufd, NULL));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	ASSERT_EQ(child, waitpid(child, &status_of_child, 0));
	EXPECT_TRUE(WIFSIGNALED(status_of_child));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	close(self->other);
	close(self->group);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
}

/* Who opens the same device meanwhile waits too, and can be killed at once */
TEST_F(stalled, second_open_by_group_can_be_killed)
{
	pthread_t thread;
	pid_t child;

	ASSERT_EQ(0, take_group(self));
	START(&thread, open_by_group);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	child = fork();
	if (!child) {
		ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
		_exit(0);
	}
	EXPECT_TRUE(can_be_killed(child));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	close(self->other);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(self->group);
	self->device = -1;
}

static void *open_by_group_in_vain(void *arg)
{
	struct _test_data_stalled *self = arg;

	CHECK(ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf) < 0 &&
	      errno == EFAULT);
	atomic_fetch_add(&busy, 1);
	return NULL;
}

/*
 * If the memory can't be pinned, no open succeeds, neither the first nor the
 * second
 */
TEST_F(stalled, each_open_by_group_is_attached)
{
	pthread_t threads[2];

	ASSERT_EQ(0, take_group(self));
	busy = 0;
	START(&threads[0], open_by_group_in_vain);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	START(&threads[1], open_by_group_in_vain);
	usleep(200000);
	EXPECT_EQ(0, busy);
	/* The page that the first one waits for never comes */
	ASSERT_EQ(0, munmap(self->missing, 4 * PAGE));
	ASSERT_EQ(0, close(self->faults));
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(0, wrong);

	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SZ_2M, 4 * PAGE));
	open_by_group(self);
	EXPECT_EQ(0, wrong);
	close(self->other);
	close(self->group);
	self->faults = -1;
	self->device = -1;
}

/* Meanwhile others can map, unmap and query; then the MAP completes */
TEST_F(stalled, map_stops_nobody)
{
	pthread_t thread;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	START(&thread, map_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));

	EXPECT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, PAGE,
			      2 * SZ_2M, MAP_RW));
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, SZ_2M, SZ_2M));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, 2 * SZ_2M, PAGE));
	/* Its IOVA range is taken, and can't be unmapped yet */
	EXPECT_ERRNO(EEXIST, ioas_map(self->iommufd, self->ioas, self->buf,
				      PAGE, SZ_2M, MAP_RW));
	EXPECT_ERRNO(EBUSY, ioas_unmap(self->iommufd, self->ioas, SZ_2M, 4 * PAGE));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SZ_2M, 4 * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * An area that is not complete has an IOVA range, and nothing more (trap A11)
 */
TEST_F(stalled, half_built_area_is_not_touched)
{
	struct iommu_iova_range list = { SZ_2M, 2 * SZ_2M };
	pthread_t thread;
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->iommufd, &other));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	START(&thread, map_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));

	EXPECT_ERRNO(EBUSY, copy_at(self->iommufd, other, self->ioas, MAP_RW, PAGE,
				    PAGE, SZ_2M));
	EXPECT_ERRNO(EBUSY, unmap(self->iommufd, self->ioas, 0, ~0ULL, NULL));
	EXPECT_ERRNO(ENOENT, unmap(self->iommufd, self->ioas, SZ_2M, PAGE, NULL));
	EXPECT_EQ(0, allow_iovas(self->iommufd, self->ioas, &list, 1));
	EXPECT_ERRNO(EINVAL, set_option(self->iommufd, IOMMU_OPTION_HUGE_PAGES,
					self->ioas, 0));
	/* The device moves to another IOAS and back */
	EXPECT_EQ(0, attach_pt(self->device, other, NULL));
	EXPECT_EQ(0, attach_pt(self->device, self->ioas, NULL));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(0, copy_at(self->iommufd, other, self->ioas, MAP_RW, PAGE, PAGE,
			     SZ_2M));
	EXPECT_EQ(0, unmap(self->iommufd, self->ioas, 0, ~0ULL, NULL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * An IOAS in use by an earlier request can be destroyed, and its id reused
 * (trap B2)
 */
TEST_F(stalled, ioas_is_destroyed_under_a_map)
{
	pthread_t thread;
	__u32 id;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	START(&thread, map_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	EXPECT_ERRNO(EBUSY, destroy(self->iommufd, self->ioas));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, destroy(self->iommufd, self->ioas));
	EXPECT_ERRNO(ENOENT, destroy(self->iommufd, self->ioas));
	EXPECT_ERRNO(ENOENT, map_at(self->iommufd, self->ioas, 0, PAGE, PAGE));
	/* The new IOAS with this id is independent */
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &id));
	EXPECT_EQ(self->ioas, id);
	EXPECT_EQ(0, attach_pt(self->device, id, NULL));
	EXPECT_EQ(0, map_at(self->iommufd, id, (uintptr_t)self->buf, 4 * PAGE,
			    SZ_2M));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(0, unmap(self->iommufd, id, SZ_2M, 4 * PAGE, NULL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* The device is detached and attached again before the pages come */
TEST_F(stalled, map_finds_that_the_device_came)
{
	pthread_t thread;
	struct edu edu;

	ASSERT_EQ(0, edu_open(&edu, self->device));
	fill_pattern(self->buf, 4 * PAGE, 5);
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	START(&thread, map_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	ASSERT_EQ(0, edu_dma_from_ram(&edu, SZ_2M, 2000));
	ASSERT_EQ(0, edu_dma_to_ram(&edu, SZ_2M + 2 * PAGE, 2000));
	EXPECT_TRUE(is_pattern(self->missing + 2 * PAGE, 2000, 5));
	edu_close(&edu);
}

/* If there is no device at the end, nothing stays pinned */
TEST_F(stalled, map_finds_that_the_device_left)
{
	pthread_t thread;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	START(&thread, map_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	/* The device is closed while the MAP waits (trap B3) */
	ASSERT_EQ(0, close(self->device));
	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SZ_2M, 4 * PAGE));
	self->device = open_cdev(&self->dev);
}

/*
 * In a child, which userfaultfd does not watch yet: report when the MAP is
 * stalled
 */
static int stall_and_tell(struct _test_data_stalled *self, int to)
{
	pthread_t thread;

	if (watch(self) ||
	    pthread_create(&thread, NULL, map_missing, self) ||
	    wait_for_fault(self->faults) || write(to, "", 1) != 1)
		return 1;
	pthread_join(thread, NULL);
	return 1;
}

/* A process that waits can be killed, and its IOVA range is free (trap A20) */
TEST_F(stalled, map_can_be_killed)
{
	int pipes[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid)
		_exit(stall_and_tell(self, pipes[1]));
	close(pipes[1]);
	ASSERT_EQ(1, read(pipes[0], &byte, 1));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, PAGE,
			      SZ_2M, MAP_RW));
	close(pipes[0]);
}

/*
 * While an attach waits for memory, other IOAS of the same iommufd can be used
 */
TEST_F(stalled, attach_stops_no_other_address_space)
{
	pthread_t thread;
	__u32 other;

	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->missing,
			      4 * PAGE, SZ_2M, MAP_RW));
	START(&thread, attach_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	EXPECT_EQ(0, ioas_alloc(self->iommufd, &other));
	EXPECT_EQ(0, ioas_map(self->iommufd, other, self->buf, PAGE, SZ_2M,
			      MAP_RW));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, other));
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, SZ_2M, SZ_2M));
	ASSERT_EQ(0, give_pages(self));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
}

static void *close_other(void *arg)
{
	struct _test_data_stalled *self = arg;

	close(self->other);
	return NULL;
}

/*
 * Meanwhile another device of the group is closed (trap B3). The close has to
 * wait, but without the lock that others need for devices of this bus.
 */
TEST_F(stalled, attach_and_close_of_the_sibling)
{
	struct pci_dev a, b;
	pthread_t attacher, closer;
	int second;

	if (find_edu_pair(&a, &b))
		SKIP(return, "no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&a));
	ASSERT_EQ(0, bind_vfio_pci(&b));
	close(self->device);
	self->device = open_cdev(&a);
	self->other = open_cdev(&b);
	second = open_cdev(&b);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->other, self->iommufd, NULL));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->missing,
			      4 * PAGE, SZ_2M, MAP_RW));
	START(&attacher, attach_missing);
	ASSERT_EQ(0, wait_for_fault(self->faults));
	START(&closer, close_other);
	usleep(200000);
	EXPECT_ERRNO(EINVAL, bind_iommufd(second, self->iommufd, NULL));

	ASSERT_EQ(0, give_pages(self));
	pthread_join(attacher, NULL);
	pthread_join(closer, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, bind_iommufd(second, self->iommufd, NULL));
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	close(second);
}

TEST_HARNESS_MAIN

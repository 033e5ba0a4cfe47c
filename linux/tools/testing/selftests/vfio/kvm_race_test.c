// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO fds are added to VMs and deleted, while they are bound, and while the
 * VMs go. Two devices at once, which share a group or a reset, or are virtual
 * functions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../iommu/delay_util.h"
#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "kvm_util.h"
#include "vfio_util.h"

/*
 * struct team - a device, and threads that do one thing each, in step
 * @file: one thread binds it, others delete it from the VM or close the VM
 * @vm: a VM
 * @vfio: its VFIO device
 */
struct team {
	const struct pci_dev *dev;
	int iommufd;
	pthread_barrier_t barrier;
	bool over;
	int file;
	int vm, vfio;
	int bound, deleted;
};

#define NR_THREADS 4

FIXTURE(race)
{
	struct pci_dev pf, dev[2];
	int iommufd;
	struct team team[2];
	long kvm_users;
};

enum devices { PAIR, NEIGHBOURS, FUNCTIONS };

FIXTURE_VARIANT(race)
{
	enum devices devices;
};

FIXTURE_VARIANT_ADD(race, pair_of_a_group)
{
	.devices = PAIR,
};

FIXTURE_VARIANT_ADD(race, neighbours_on_a_bus)
{
	.devices = NEIGHBOURS,
};

FIXTURE_VARIANT_ADD(race, functions)
{
	.devices = FUNCTIONS,
};

static int make_functions(struct pci_dev *pf, struct pci_dev vf[2])
{
	return find_sriov(pf) || set_numvfs(pf, 0) || unbind_driver(pf) ||
	       bind_driver(pf, "nvme") || set_numvfs(pf, 2) ||
	       find_vf(pf, 0, &vf[0]) || find_vf(pf, 1, &vf[1]) ? -1 : 0;
}

FIXTURE_SETUP(race)
{
	int i;

	ASSERT_EQ(0, load_kvm());
	self->pf.group = -1;
	switch (variant->devices) {
	case PAIR:
		ASSERT_EQ(0, find_edu_pair(&self->dev[0], &self->dev[1]));
		break;
	case NEIGHBOURS:
		ASSERT_EQ(0, find_edu_neighbours(&self->dev[0], &self->dev[1]));
		break;
	case FUNCTIONS:
		ASSERT_EQ(0, make_functions(&self->pf, self->dev));
		break;
	}
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	for (i = 0; i < 2; i++) {
		struct team *team = &self->team[i];

		ASSERT_EQ(0, bind_vfio_pci(&self->dev[i]));
		*team = (struct team){
			.dev = &self->dev[i],
			.iommufd = self->iommufd,
		};
		pthread_barrier_init(&team->barrier, NULL, NR_THREADS);
	}
	self->kvm_users = module_users("kvm");
	stop = false;
	wrong = 0;
}

/* Everything is released and works */
FIXTURE_TEARDOWN(race)
{
	int i;

	EXPECT_EQ(0, wrong);
	EXPECT_FALSE(vm_is_there());
	EXPECT_EQ(self->kvm_users, module_users("kvm"));
	for (i = 0; i < 2; i++) {
		int cdev = open_cdev(&self->dev[i]);
		int group;

		EXPECT_EQ(0, bind_iommufd(cdev, self->iommufd, NULL));
		close(cdev);
		group = open_group(&self->dev[i]);
		EXPECT_LE(0, group);
		close(group);
	}
	close(self->iommufd);
	if (self->pf.group >= 0)
		EXPECT_EQ(0, set_numvfs(&self->pf, 0));
}

/* Rounds, whose result is the same whichever thread is first */

static void *bind_file(void *arg)
{
	struct team *team = arg;

	for (;;) {
		pthread_barrier_wait(&team->barrier);
		if (team->over)
			return NULL;
		CHECK(!bind_iommufd(team->file, team->iommufd, NULL));
		team->bound++;
		pthread_barrier_wait(&team->barrier);
	}
}

static void *delete_file(void *arg)
{
	struct team *team = arg;

	for (;;) {
		pthread_barrier_wait(&team->barrier);
		if (team->over)
			return NULL;
		switch (team->deleted++ % 3) {
		case 0:
			/* Also ends the VM, if close_vm() was first */
			close(team->vfio);
			team->vfio = -1;
			break;
		case 1:
			CHECK(!del_file(team->vfio, team->file));
			break;
		case 2:
			/* It is added when lead() closes one of the two */
			CHECK(!del_file(team->vfio, team->file));
			CHECK(!add_file(team->vfio, team->file));
			break;
		}
		pthread_barrier_wait(&team->barrier);
	}
}

static void *close_vm(void *arg)
{
	struct team *team = arg;

	for (;;) {
		pthread_barrier_wait(&team->barrier);
		if (team->over)
			return NULL;
		close(team->vm);
		pthread_barrier_wait(&team->barrier);
	}
}

/* Whichever fd is closed last releases the VM; the order varies */
static void *lead(void *arg)
{
	struct team *team = arg;
	unsigned int seed = (uintptr_t)team;

	while (!stop) {
		team->vm = vm_create();
		team->vfio = vm_create_vfio(team->vm);
		team->file = open_cdev(team->dev);
		CHECK(!add_file(team->vfio, team->file));
		pthread_barrier_wait(&team->barrier);
		pthread_barrier_wait(&team->barrier);
		if (rand_r(&seed) & 1) {
			close(team->file);
			close(team->vfio);
		} else {
			close(team->vfio);
			close(team->file);
		}
	}
	team->over = true;
	pthread_barrier_wait(&team->barrier);
	return NULL;
}

/* traps H1, H3 */
TEST_F_TIMEOUT(race, bind_while_the_file_is_deleted, ANY_TIME)
{
	void *(* const jobs[NR_THREADS])(void *) = {
		bind_file, delete_file, close_vm, lead,
	};
	pthread_t threads[2 * NR_THREADS];
	int i;

	for (i = 0; i < 2 * NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    jobs[i % NR_THREADS],
					    &self->team[i / NR_THREADS]));
	run_for(2, threads, 2 * NR_THREADS);
	for (i = 0; i < 2; i++) {
		EXPECT_LT(0, self->team[i].bound);
		EXPECT_EQ(self->team[i].bound, self->team[i].deleted);
	}
}

static void *bind_and_close_added(void *arg)
{
	struct team *team = arg;

	while (!stop) {
		int file = open_cdev(team->dev);

		CHECK(!add_file(team->vfio, file));
		CHECK(!bind_iommufd(file, team->iommufd, NULL));
		/* The VM of the open is that of another thread */
		CHECK(!del_file(team->vfio, file));
		close(file);
		team->bound++;
	}
	return NULL;
}

/* The VFIO device of a VM goes while other VMs have the same fd */
static void *replace_vm(void *arg)
{
	struct team *team = arg;

	while (!stop) {
		int vm = vm_create();
		int vfio = vm_create_vfio(vm);
		int file = open_cdev(team->dev);

		CHECK(vfio >= 0);
		CHECK(!add_file(vfio, team->file));
		CHECK(!add_file(vfio, file));
		if (!bind_iommufd(file, team->iommufd, NULL))
			team->deleted++;
		else
			CHECK(errno == EINVAL);
		close(vm);
		close(file);
		close(vfio);
	}
	return NULL;
}

static void *add_and_delete(void *arg)
{
	struct team *team = arg;

	while (!stop) {
		CHECK(!add_file(team->vfio, team->file) || errno == EEXIST);
		CHECK(!del_file(team->vfio, team->file) || errno == ENOENT);
	}
	return NULL;
}

/* Of two threads that add it one succeeds, and it is added once (trap H2) */
TEST_F_TIMEOUT(race, file_is_added_and_deleted_by_two, ANY_TIME)
{
	pthread_t threads[6];
	int i;

	for (i = 0; i < 6; i++) {
		struct team *team = &self->team[i / 3];

		if (i % 3 == 0) {
			team->vm = vm_create();
			team->vfio = vm_create_vfio(team->vm);
			team->file = open_cdev(team->dev);
		}
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i % 3 < 2 ?
					    add_and_delete :
					    bind_and_close_added, team));
	}
	run_for(2, threads, 6);
	for (i = 0; i < 2; i++) {
		struct team *team = &self->team[i];

		EXPECT_LT(0, team->bound);
		EXPECT_ERRNO(ENOENT, del_file(team->vfio, team->file));
		EXPECT_EQ(0, add_file(team->vfio, team->file));
		close(team->file);
		close(team->vfio);
		close(team->vm);
	}
}

/* VMs share an fd, and any of them can be the last to have it (trap H3) */
TEST_F_TIMEOUT(race, machines_come_and_go_with_a_shared_file, ANY_TIME)
{
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++) {
		struct team *team = &self->team[i / 2];

		if (i % 2 == 0)
			team->file = open_cdev(team->dev);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, replace_vm,
					    team));
	}
	run_for(2, threads, 4);
	for (i = 0; i < 2; i++) {
		EXPECT_LT(0, self->team[i].deleted);
		close(self->team[i].file);
	}
}

/* Opens through the group and through the cdev */
static atomic_int nr_opened[2];

/*
 * Closing a device resets it, or its bus, which takes long. The thread that did
 * it would always be the first to open it again.
 */
static void give_way(bool had_it, atomic_int *others, int before)
{
	int i = 0;

	do
		usleep(10000);
	while (had_it && !stop && *others == before && ++i < 500);
}

static void *use_group(void *arg)
{
	struct team *team = arg;
	unsigned int nr = 0;

	while (!stop) {
		int before = nr_opened[1];
		int vm = vm_create();
		int vfio = vm_create_vfio(vm);
		bool first = nr++ & 1, opened;
		struct legacy l;

		opened = !legacy_open(&l, team->dev);
		if (opened) {
			CHECK(!add_file(vfio, l.group));
			close(l.device);
			/* This open has the VM, which the close releases */
			l.device = ioctl(l.group, VFIO_GROUP_GET_DEVICE_FD,
					 team->dev->bdf);
			CHECK(l.device >= 0);
			CHECK(!add_file(vfio, l.device));
			nr_opened[0]++;
		} else {
			CHECK(errno == EBUSY || errno == EINVAL ||
			      errno == EPERM);
		}
		close(vm);
		if (first)
			close(vfio);
		legacy_close(&l);
		if (!first)
			close(vfio);
		give_way(opened, &nr_opened[1], before);
	}
	return NULL;
}

static void *use_cdev(void *arg)
{
	struct team *team = arg;

	while (!stop) {
		int before = nr_opened[0];
		int vm = vm_create();
		int vfio = vm_create_vfio(vm);
		int file = open_cdev(team->dev);
		bool opened;

		CHECK(!add_file(vfio, file));
		opened = !bind_iommufd(file, team->iommufd, NULL);
		if (opened)
			nr_opened[1]++;
		else
			CHECK(errno == EBUSY || errno == EINVAL ||
			      errno == EPERM);
		close(vm);
		close(file);
		close(vfio);
		give_way(opened, &nr_opened[0], before);
	}
	return NULL;
}

/*
 * KVM holds its own locks when it tells a group about its VM, and drivers may
 * take them in their open (trap H1)
 */
TEST_F_TIMEOUT(race, group_and_cdev_with_machines, ANY_TIME)
{
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    i % 2 ? use_cdev : use_group,
					    &self->team[i / 2]));
	/* Even on a slow machine both must have succeeded once */
	for (i = 0; i < 6000 && !(nr_opened[0] && nr_opened[1]); i++)
		usleep(10000);
	run_for(2, threads, 4);
	EXPECT_LT(0, nr_opened[0]);
	EXPECT_LT(0, nr_opened[1]);
}

/*
 * Requests that meet in the middle of another one, if the kernel can delay that.
 * These cases come last, since they remove all other delays.
 */
FIXTURE(beside)
{
	struct pci_dev dev;
	struct team team;
};

FIXTURE_SETUP(beside)
{
	ASSERT_EQ(0, load_kvm());
	ASSERT_EQ(0, find_edu_alone(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->team.dev = &self->dev;
	self->team.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->team.iommufd);
}

FIXTURE_TEARDOWN(beside)
{
	EXPECT_FALSE(vm_is_there());
	close(self->team.iommufd);
}

struct request {
	struct team *team;
	int group;
	int ret;
	atomic_bool done;
};

static void *bind_once(void *arg)
{
	struct request *me = arg;

	me->ret = bind_iommufd(me->team->file, me->team->iommufd, NULL);
	me->done = true;
	return NULL;
}

/* BIND takes the VM of the file just before KVM clears it, and keeps it */
TEST_F(beside, machine_goes_while_bind_takes_it)
{
	struct team *team = &self->team;
	int i;

	for (i = 0; i < 5; i++) {
		struct request me = { team };
		pthread_t thread;

		team->vm = vm_create();
		team->vfio = vm_create_vfio(team->vm);
		team->file = open_cdev(team->dev);
		ASSERT_EQ(0, add_file(team->vfio, team->file));
		ASSERT_EQ(0, mock_begin_delayed("kvm_get_kvm_safe 20000",
						bind_once, &me, &me.done,
						&thread));
		EXPECT_EQ(0, del_file(team->vfio, team->file));
		close(team->vfio);
		close(team->vm);
		mock_end(thread);
		EXPECT_EQ(0, me.ret);
		EXPECT_TRUE(vm_is_there());
		close(team->file);
		EXPECT_FALSE(vm_is_there());
	}
}

static void *add_group(void *arg)
{
	struct request *me = arg;

	me->ret = add_file(me->team->vfio, me->group);
	me->done = true;
	return NULL;
}

/* The device is unregistered while KVM asks for the coherency of its group */
TEST_F(beside, device_goes_while_its_group_is_added)
{
	struct team *team = &self->team;
	int i;

	for (i = 0; i < 3; i++) {
		struct request me = { team };
		pthread_t thread;

		team->vm = vm_create();
		team->vfio = vm_create_vfio(team->vm);
		me.group = open_group(team->dev);
		ASSERT_LE(0, me.group);
		ASSERT_EQ(0, ioctl(me.group, VFIO_GROUP_SET_CONTAINER,
				   &team->iommufd));
		mock_delay("");
		/* One calls the next, so together they take longest */
		mock_delay("iommufd_enforces_coherency 20000");
		mock_delay("iommufd_unit_probe 20000");
		mock_delay("iommufd_test_set_restrictions 20000");
		ASSERT_EQ(0, mock_begin(add_group, &me, &me.done, 1, &thread));
		EXPECT_EQ(0, unbind_driver(team->dev));
		mock_end(thread);
		EXPECT_EQ(0, me.ret);
		close(team->vfio);
		close(team->vm);
		close(me.group);
		EXPECT_EQ(0, bind_vfio_pci(&self->dev));
	}
}

TEST_HARNESS_MAIN

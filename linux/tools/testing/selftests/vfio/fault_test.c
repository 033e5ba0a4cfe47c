// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation, and each access to user memory, of a request fails in turn.
 * The request then fails as a whole: nothing more is pinned or reserved than
 * before, and the same request succeeds later. The kernel must have failslab,
 * fail_page_alloc and fail_usercopy.
 *
 * Left out is what the IOMMU core of this kernel can't undo: detaching a domain
 * from a device, so detach and move, and a page table for a device that is not
 * attached, except on an SMMU.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../iommu/delay_util.h"
#include "../iommu/fault_util.h"
#include "../kselftest_harness.h"
#include "kvm_util.h"
#include "p2p_util.h"
#include "reset_util.h"
#include "vfio_util.h"

/*
 * Timeout in seconds. A request is made once for each of its allocations: with
 * KASAN, and a machine that does something else as well, 30 s can be too short
 */
#define SWEEP_TIME 120

FIXTURE(fault)
{
	struct pci_dev dev;
	int device;
	int group;
	int iommufd;
	__u32 ioas, other;
	__u32 dev_id;
	int vfio;
	long kvm_users;
	struct target target;
	int dma_buf;
	char *buf;
	size_t length;
	long pinned;
	int second;
};

FIXTURE_SETUP(fault)
{
	size_t i;

	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	if (enable_faults())
		SKIP_TEST("no fault injection in this kernel");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	/* Two batches of small pages, so that the store has tables */
	self->length = 2 * SZ_2M;
	self->buf = map_anon(self->length);
	madvise(self->buf, self->length, MADV_NOHUGEPAGE);
	for (i = 0; i < self->length; i += PAGE)
		self->buf[i] = 1;
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(fault)
{
	close(self->device);
	close(self->iommufd);
}

/* Nothing more is pinned */
static int is_as_before(void *arg)
{
	struct _test_data_fault *self = arg;

	return status_kb("VmPin") != self->pinned;
}

static int make_alloc(void *arg)
{
	struct _test_data_fault *self = arg;

	return ioas_alloc(self->iommufd, &self->other);
}

static int undo_alloc(void *arg)
{
	struct _test_data_fault *self = arg;

	return iommufd_destroy(self->iommufd, self->other);
}

static const struct request alloc = { make_alloc, undo_alloc, is_as_before };

static int make_bind(void *arg)
{
	struct _test_data_fault *self = arg;

	return bind_iommufd(self->device, self->iommufd, &self->dev_id);
}

static int undo_bind(void *arg)
{
	struct _test_data_fault *self = arg;
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (ioctl(self->device, VFIO_DEVICE_GET_INFO, &info))
		return -1;
	close(self->device);
	self->device = open_cdev(&self->dev);
	return self->device < 0;
}

static int group_opens(void *arg)
{
	struct _test_data_fault *self = arg;
	int group = open_group(&self->dev);

	return group < 0 || close(group) || is_as_before(self);
}

static const struct request bind_ = { make_bind, undo_bind, group_opens };

static int make_map(void *arg)
{
	struct _test_data_fault *self = arg;

	return ioas_map(self->iommufd, self->ioas, self->buf, self->length,
			SZ_2M + PAGE, MAP_RW);
}

static int undo_map(void *arg)
{
	struct _test_data_fault *self = arg;

	return ioas_unmap(self->iommufd, self->ioas, 0, ~0UL);
}

static const struct request map_ = { make_map, undo_map, is_as_before, true };

static int make_attach(void *arg)
{
	struct _test_data_fault *self = arg;

	return attach_pt(self->device, self->ioas, NULL);
}

static int undo_attach(void *arg)
{
	struct _test_data_fault *self = arg;

	return detach_pt(self->device);
}

static int nothing_is_reserved(void *arg)
{
	struct _test_data_fault *self = arg;

	return !is_usable(self->iommufd, self->ioas, 0, ~0UL) ||
	       is_as_before(self);
}

static const struct request attach = {
	make_attach, undo_attach, nothing_is_reserved,
};

static int make_hwpt(void *arg)
{
	struct _test_data_fault *self = arg;

	return hwpt_alloc(self->iommufd, self->dev_id, self->ioas,
			  &self->other);
}

static int undo_hwpt(void *arg)
{
	struct _test_data_fault *self = arg;

	return iommufd_destroy(self->iommufd, self->other);
}

static int stays_attached(void *arg)
{
	struct _test_data_fault *self = arg;

	return is_usable(self->iommufd, self->ioas, MSI_START, MSI_START);
}

static const struct request hwpt = {
	make_hwpt, undo_hwpt, nothing_is_reserved,
};

static const struct request hwpt_of_attached = {
	make_hwpt, undo_hwpt, stays_attached,
};

/* Keep errno */
static void close_quietly(int fd)
{
	int err = errno;

	close(fd);
	errno = err;
}

static int make_open(void *arg)
{
	struct _test_data_fault *self = arg;

	self->group = open_group(&self->dev);
	if (self->group < 0 ||
	    ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &self->iommufd))
		goto err_close;
	self->device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
			     self->dev.bdf);
	if (self->device < 0)
		goto err_close;
	return 0;

err_close:
	close_quietly(self->group);
	return -1;
}

static int undo_open(void *arg)
{
	struct _test_data_fault *self = arg;
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int ret = ioctl(self->device, VFIO_DEVICE_GET_INFO, &info);

	close(self->device);
	close(self->group);
	return ret;
}

/* The cdev can be bound, and no more memory is pinned */
static int cdev_binds(void *arg)
{
	struct _test_data_fault *self = arg;
	int cdev = open_cdev(&self->dev);
	int ret = bind_iommufd(cdev, self->iommufd, NULL);

	close(cdev);
	return ret || is_as_before(self);
}

static const struct request open_ = { make_open, undo_open, cdev_binds };

static int make_second_open(void *arg)
{
	struct _test_data_fault *self = arg;

	self->second = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
			     self->dev.bdf);
	return self->second < 0 ? -1 : 0;
}

static int undo_second_open(void *arg)
{
	struct _test_data_fault *self = arg;

	return close(self->second);
}

/* The first open still works, and has its memory */
static int first_open_works(void *arg)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct _test_data_fault *self = arg;

	return ioctl(self->device, VFIO_DEVICE_GET_INFO, &info) ||
	       status_kb("VmPin") != self->pinned + (long)self->length / 1024;
}

static const struct request second_open = {
	make_second_open, undo_second_open, first_open_works,
};

static int make_open_cdev(void *arg)
{
	struct _test_data_fault *self = arg;

	self->second = open_cdev(&self->dev);
	return self->second < 0 ? -1 : 0;
}

static const struct request open_cdev_ = {
	make_open_cdev, undo_second_open, group_opens,
};

static int make_driver(void *arg)
{
	struct _test_data_fault *self = arg;

	return bind_driver(&self->dev, "vfio-pci");
}

static int undo_driver(void *arg)
{
	struct _test_data_fault *self = arg;

	return unbind_driver(&self->dev);
}

/*
 * A device without the driver has no cdev. If only the question whether it has
 * the driver failed, it works.
 */
static int no_cdev_is_left(void *arg)
{
	struct _test_data_fault *self = arg;
	char name[64];

	if (is_bound(&self->dev, "vfio-pci"))
		return cdev_binds(self) || unbind_driver(&self->dev);
	return !vfio_dev_name(&self->dev, name, sizeof(name));
}

static const struct request driver = {
	make_driver, undo_driver, no_cdev_is_left,
};

/* For requests that change nothing */
static int undo_nothing(void *arg)
{
	return 0;
}

static int make_reset_info(void *arg)
{
	struct _test_data_fault *self = arg;
	struct reset_info info;

	return get_reset_info(self->device, &info);
}

static const struct request reset_info_ = {
	make_reset_info, undo_nothing, is_as_before,
};

static int make_reset(void *arg)
{
	struct _test_data_fault *self = arg;

	return hot_reset_groups(self->device, &self->group, 1);
}

static const struct request reset = { make_reset, undo_nothing, is_as_before };

/* A group and its device on an iommufd (traps E2, E3, E11) */
TEST_F_TIMEOUT(fault, open_by_group, SWEEP_TIME)
{
	ASSERT_EQ(0, make_map(self));
	close(self->device);
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET,
			       &self->ioas));
	EXPECT_LT(5, sweep(self, &open_));
	EXPECT_EQ(self->pinned + (long)self->length / 1024,
		  status_kb("VmPin"));
	/* The device is open: a second open that fails leaves it alone */
	EXPECT_LT(2, sweep(self, &second_open));
	EXPECT_EQ(0, undo_second_open(self));
	EXPECT_EQ(0, first_open_works(self));
	EXPECT_EQ(0, undo_open(self));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	self->device = -1;
}

/* Two devices of one group, which are reset together */
static int take_pair(struct _test_data_fault *self)
{
	struct pci_dev other;

	close(self->device);
	self->device = -1;
	return find_edu_pair(&self->dev, &other) || bind_vfio_pci(&self->dev) ||
	       bind_vfio_pci(&other);
}

TEST_F_TIMEOUT(fault, hot_reset_info, SWEEP_TIME)
{
	ASSERT_EQ(0, take_pair(self));
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, make_bind(self));
	EXPECT_LT(3, sweep(self, &reset_info_));
}

TEST_F_TIMEOUT(fault, hot_reset_by_group, SWEEP_TIME)
{
	ASSERT_EQ(0, take_pair(self));
	ASSERT_EQ(0, make_open(self));
	EXPECT_LT(3, sweep(self, &reset));
	EXPECT_EQ(0, undo_open(self));
	self->device = -1;
}

TEST_F_TIMEOUT(fault, open_cdev, SWEEP_TIME)
{
	EXPECT_LT(1, sweep(self, &open_cdev_));
	EXPECT_EQ(0, undo_second_open(self));
}

/*
 * The driver can't take the device, whose cdev may be open by then (trap E11).
 * With the device goes its group.
 */
TEST_F_TIMEOUT(fault, bind_driver, 3 * SWEEP_TIME)
{
	close(self->device);
	self->device = -1;
	ASSERT_EQ(0, unbind_driver(&self->dev));
	EXPECT_LT(10, sweep(self, &driver));
	EXPECT_EQ(0, cdev_binds(self));
}

/*
 * A thread that opens and binds the cdev of an emulated device as soon as it
 * exists. A PCI device can't be bound before its driver's probe ends.
 */
static struct {
	struct pci_dev dev;
	atomic_uint round, finished;
	atomic_bool end;
	/* In this round: the file was bound; it is closed; there is no device */
	atomic_bool bound, closed, failed;
	atomic_bool probed;
	unsigned int nr_bound;
	bool late_bind_is_wrong;
} early;

#define EARLY_NODE "/tmp/fault_test_cdev"

/* The probe waits until the file is closed, and nobody can bind the other one */
static void bind_early(struct _test_data_fault *self)
{
	int file, other;

	do
		file = open(EARLY_NODE, O_RDWR | O_CLOEXEC);
	while (file < 0 && !early.probed);
	if (file < 0)
		return;
	other = open(EARLY_NODE, O_RDWR | O_CLOEXEC);
	if (!bind_iommufd(file, self->iommufd, NULL)) {
		early.bound = true;
		usleep(5000);
	}
	early.closed = true;
	close(file);
	while (!early.probed)
		sched_yield();
	if (other < 0)
		return;
	if (early.failed && (!bind_iommufd(other, self->iommufd, NULL) ||
			     errno != ENODEV))
		early.late_bind_is_wrong = true;
	close(other);
}

static void *bind_early_again(void *arg)
{
	while (!early.end) {
		if (early.round == early.finished) {
			sched_yield();
			continue;
		}
		bind_early(arg);
		early.finished++;
	}
	return NULL;
}

static int make_mdev(void *arg)
{
	bool closed;
	int ret, err;

	early.bound = false;
	early.closed = false;
	early.probed = false;
	early.round++;
	ret = mdev_create(&early.dev, "mdpin", "unmap");
	err = errno;
	closed = early.closed;
	early.failed = ret;
	early.probed = true;
	while (early.finished != early.round)
		sched_yield();
	early.nr_bound += early.failed && early.bound;
	/* EBUSY is wrong, since a user who bound the cdev has to be waited for */
	errno = early.failed && early.bound && !closed ? EBUSY : err;
	return ret;
}

static int undo_mdev(void *arg)
{
	return mdev_remove(&early.dev);
}

static const struct request mdev = { make_mdev, undo_mdev, is_as_before };

/*
 * A device can't be registered, while somebody binds its cdev, which exists for
 * a moment. The delay widens the window.
 */
TEST_F_TIMEOUT(fault, create_mdev_with_early_user, 3 * SWEEP_TIME)
{
	bool can_delay = !mock_delay("device_add 3000");
	pthread_t thread;
	struct stat st;
	char path[64];

	if (mdev_create(&early.dev, "mdpin", "unmap"))
		SKIP_TEST("no mediated devices in this kernel");
	ASSERT_EQ(0, vfio_cdev_path(&early.dev, path, sizeof(path)));
	ASSERT_EQ(0, stat(path, &st));
	ASSERT_EQ(0, mdev_remove(&early.dev));
	/* Its number is used again and again */
	unlink(EARLY_NODE);
	ASSERT_EQ(0, mknod(EARLY_NODE, S_IFCHR | 0600, st.st_rdev));
	ASSERT_EQ(0, pthread_create(&thread, NULL, bind_early_again, self));

	EXPECT_LT(10, sweep(self, &mdev));
	early.end = true;
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, unlink(EARLY_NODE));
	EXPECT_FALSE(early.late_bind_is_wrong);
	if (can_delay) {
		EXPECT_LT(0, early.nr_bound);
		EXPECT_EQ(0, mock_delay(""));
	}
	EXPECT_EQ(0, mdev_remove(&early.dev));
}

/* Ids of failed requests are free again */
TEST_F_TIMEOUT(fault, ioas_alloc, SWEEP_TIME)
{
	EXPECT_LT(0, sweep(self, &alloc));
	EXPECT_EQ(2, self->other);
}

/* The group can be opened after each failure (traps E2, E11, G3) */
TEST_F_TIMEOUT(fault, bind, SWEEP_TIME)
{
	EXPECT_LT(5, sweep(self, &bind_));
	EXPECT_EQ(0, undo_bind(self));
}

static int make_add(void *arg)
{
	struct _test_data_fault *self = arg;

	return add_file(self->vfio, self->device);
}

static int undo_add(void *arg)
{
	struct _test_data_fault *self = arg;

	return del_file(self->vfio, self->device);
}

/* A reference to a VM also holds KVM's module */
static int no_machine_is_held(void *arg)
{
	struct _test_data_fault *self = arg;

	return module_users("kvm") != self->kvm_users || group_opens(self);
}

static const struct request add = { make_add, undo_add, no_machine_is_held };

static int undo_bind_and_add(void *arg)
{
	/* KVM has the fd, and so the device */
	return undo_add(arg) || undo_bind(arg) || make_add(arg);
}

static const struct request bind_for_machine = {
	make_bind, undo_bind_and_add, no_machine_is_held,
};

/* KVM has the fd, and opening the device fails (trap H4) */
TEST_F_TIMEOUT(fault, bind_for_a_machine, SWEEP_TIME)
{
	int vm;

	if (load_kvm())
		SKIP(return, "no KVM");
	vm = vm_create();
	ASSERT_LE(0, vm);
	self->vfio = vm_create_vfio(vm);
	ASSERT_LE(0, self->vfio);
	self->kvm_users = module_users("kvm");
	EXPECT_LT(0, sweep(self, &add));
	EXPECT_LT(5, sweep(self, &bind_for_machine));
	EXPECT_EQ(self->kvm_users + 1, module_users("kvm"));
	close(self->vfio);
	close(vm);
	EXPECT_TRUE(vm_is_there());
	EXPECT_EQ(0, undo_bind(self));
	EXPECT_FALSE(vm_is_there());
	EXPECT_EQ(self->kvm_users, module_users("kvm"));
}

/* Without a device a mapping is only recorded */
TEST_F_TIMEOUT(fault, map_without_device, SWEEP_TIME)
{
	EXPECT_LT(0, sweep(self, &map_));
	EXPECT_EQ(0, undo_map(self));
}

/* With a device pages are pinned, stored and mapped (traps B8, J2) */
TEST_F_TIMEOUT(fault, map_with_device, SWEEP_TIME)
{
	ASSERT_EQ(0, make_bind(self));
	ASSERT_EQ(0, make_attach(self));
	EXPECT_LT(5, sweep(self, &map_));
	EXPECT_EQ(self->pinned + (long)self->length / 1024,
		  status_kb("VmPin"));
	EXPECT_EQ(0, undo_map(self));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* After a failed map other memory can be mapped there, and DMA reaches it */
TEST_F_TIMEOUT(fault, failed_map_leaves_nothing_mapped, SWEEP_TIME)
{
	char *other = map_anon(self->length);
	struct edu edu;
	size_t at;

	madvise(other, self->length, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, make_bind(self));
	ASSERT_EQ(0, make_attach(self));
	ASSERT_EQ(0, edu_open(&edu, self->device));
	EXPECT_LT(5, sweep(self, &map_));
	ASSERT_EQ(0, undo_map(self));

	memset(self->buf, 0x11, self->length);
	fill_pattern(other, PAGE, 1);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, other, self->length,
			      SZ_2M + PAGE, MAP_RW));
	ASSERT_EQ(0, edu_dma_from_ram(&edu, SZ_2M + PAGE, 1000));
	for (at = PAGE; at < self->length; at += self->length / 8) {
		ASSERT_EQ(0, edu_dma_to_ram(&edu, SZ_2M + PAGE + at, 1000));
		EXPECT_TRUE(is_pattern(other + at, 1000, 1));
	}
	EXPECT_TRUE(is_byte(self->buf, self->length, 0x11));
	edu_close(&edu);
}

/* An attach pins and maps what is in the IOAS (trap C3) */
TEST_F_TIMEOUT(fault, attach, SWEEP_TIME)
{
	ASSERT_EQ(0, make_map(self));
	ASSERT_EQ(0, make_bind(self));
	EXPECT_LT(5, sweep(self, &attach));
	EXPECT_EQ(self->pinned + (long)self->length / 1024,
		  status_kb("VmPin"));
	EXPECT_EQ(0, undo_attach(self));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/*
 * A page table that is allocated while the device is attached to another one,
 * or, if the IOMMU can't do that, before it is attached
 */
TEST_F_TIMEOUT(fault, hwpt_alloc, SWEEP_TIME)
{
	bool late = iommu_of(&self->dev)->reach_is_late;

	ASSERT_EQ(0, make_map(self));
	ASSERT_EQ(0, make_bind(self));
	if (!late)
		ASSERT_EQ(0, make_attach(self));
	self->pinned = status_kb("VmPin");
	EXPECT_LT(5, sweep(self, late ? &hwpt : &hwpt_of_attached));
	EXPECT_EQ(0, undo_hwpt(self));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* The BAR of a device of the pair, mapped for the device that is alone */
#define REGISTERS 0x100000UL

static int open_registers(struct _test_data_fault *self)
{
	struct target *target = &self->target;
	struct pci_dev other;

	return find_edu_pair(&target->dev, &other) ||
	       bind_vfio_pci(&target->dev) || bind_vfio_pci(&other) ||
	       target_open(target, NULL, VFIO_PCI_BAR0_REGION_INDEX, REGISTERS);
}

static int make_map_registers(void *arg)
{
	struct _test_data_fault *self = arg;

	return ioas_map(self->iommufd, self->ioas, self->target.bar, REGISTERS,
			SZ_2M, MAP_RW);
}

static const struct request map_registers = {
	make_map_registers, undo_map, is_as_before, true,
};

static int make_dma_buf(void *arg)
{
	struct _test_data_fault *self = arg;

	self->dma_buf = dma_buf_of(self->target.device,
				   VFIO_PCI_BAR0_REGION_INDEX, 0, REGISTERS);
	return self->dma_buf < 0 ? -1 : 0;
}

static int undo_dma_buf(void *arg)
{
	struct _test_data_fault *self = arg;

	return close(self->dma_buf);
}

/* The lowest fd number is free, so no file was left open */
static int no_file_is_left(void *arg)
{
	struct _test_data_fault *self = arg;
	int fd = dup(self->iommufd);

	close(fd);
	return fd != self->group || is_as_before(self);
}

static const struct request dma_buf = {
	make_dma_buf, undo_dma_buf, no_file_is_left,
};

static int make_map_dma_buf(void *arg)
{
	struct _test_data_fault *self = arg;

	return map_file_at(self->iommufd, self->ioas, MAP_RW, self->dma_buf, 0,
			   REGISTERS, SZ_2M);
}

static const struct request map_dma_buf = {
	make_map_dma_buf, undo_map, is_as_before, true,
};

static int make_copy_registers(void *arg)
{
	struct _test_data_fault *self = arg;

	return copy_at(self->iommufd, self->ioas, self->ioas, MAP_RW, REGISTERS,
		       SZ_1G, SZ_2M);
}

static int undo_copy_registers(void *arg)
{
	struct _test_data_fault *self = arg;

	/* EFAULT may leave the copy mapped, or not */
	return ioas_unmap(self->iommufd, self->ioas, SZ_1G, REGISTERS) &&
	       errno != ENOENT;
}

static const struct request copy_registers = {
	make_copy_registers, undo_copy_registers, is_as_before, true,
};

/* By address, by dma-buf, and a copy; nothing is ever pinned */
TEST_F_TIMEOUT(fault, map_registers, SWEEP_TIME)
{
	ASSERT_EQ(0, open_registers(self));
	ASSERT_EQ(0, make_bind(self));
	ASSERT_EQ(0, make_attach(self));
	EXPECT_LT(3, sweep(self, &map_registers));
	EXPECT_LT(1, sweep(self, &copy_registers));
	EXPECT_EQ(0, undo_map(self));

	/* The number that a file left open would have */
	self->group = dup(self->iommufd);
	close(self->group);
	EXPECT_LT(5, sweep(self, &dma_buf));
	EXPECT_LT(2, sweep(self, &map_dma_buf));
	EXPECT_EQ(0, undo_map(self));
	EXPECT_EQ(0, undo_dma_buf(self));
	target_close(&self->target);
}

/*
 * The first dma-buf claims the BAR. If that fails, the error is the same as if
 * another driver had claimed it.
 */
TEST_F_TIMEOUT(fault, claim_of_a_bar_fails, SWEEP_TIME)
{
	bool refused = false, failed = true;
	int n;

	ASSERT_EQ(0, make_bind(self));
	for (n = 1; n < MANY && failed && !refused; n++) {
		bool made;
		int err;

		self->target.device = self->device;
		ASSERT_EQ(0, fail_nth(n));
		made = !make_dma_buf(self);
		err = errno;
		failed = has_failed();
		if (made) {
			/* Let the next one claim the BAR again */
			ASSERT_EQ(0, undo_dma_buf(self));
			ASSERT_EQ(0, undo_bind(self));
			ASSERT_EQ(0, make_bind(self));
			continue;
		}
		refused = err == ENODEV;
		EXPECT_TRUE(refused || is_injected(err)) {
			TH_LOG("errno %d", err);
		}
	}
	EXPECT_TRUE(refused);
}

/* An attach finds the registers and maps them, besides memory */
TEST_F_TIMEOUT(fault, attach_with_registers, SWEEP_TIME)
{
	ASSERT_EQ(0, open_registers(self));
	ASSERT_EQ(0, make_dma_buf(self));
	ASSERT_EQ(0, make_map_registers(self));
	ASSERT_EQ(0, copy_at(self->iommufd, self->ioas, self->ioas, MAP_RW,
			     REGISTERS, SZ_1G, SZ_2M));
	ASSERT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW,
				 self->dma_buf, 0, REGISTERS, 2 * SZ_1G));
	ASSERT_EQ(0, make_bind(self));
	EXPECT_LT(8, sweep(self, &attach));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, undo_attach(self));
	EXPECT_EQ(0, undo_dma_buf(self));
	target_close(&self->target);
}

/* In the middle of all others in registers_come_back, on either side so many */
#define KEPT (256 * SZ_1G)
#define FEW 200

/*
 * Enabling decoding does not fail because of mappings of others. A mapping can
 * then be missing, which the kernel logs. Those after it are there. It returns
 * when decoding is enabled once more, whether it was disabled or not. If the
 * last mapping is missing, those before it are revoked all the same.
 */
TEST_F_TIMEOUT(fault, registers_come_back, SWEEP_TIME)
{
	struct target *target = &self->target;
	int i, nr_missing[2] = {};
	struct edu edu;
	__u32 value;
	char *ram;

	ASSERT_EQ(0, open_registers(self));
	value = get_register(target->bar);
	ASSERT_EQ(0, make_bind(self));
	ASSERT_EQ(0, make_attach(self));
	ASSERT_EQ(0, edu_open(&edu, self->device));
	ram = map_anon(PAGE);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, ram, PAGE, RAM, MAP_RW));
	/* Smaller than what a page table maps, so that stays when this goes */
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, target->bar, REGISTERS,
			      KEPT, MAP_RW));

	/* Each fault twice: the mapping is before the one that is kept, or after */
	for (i = 2; i < 2 * FEW; i++) {
		bool failed, is_on, after = i % 2;
		int n = i / 2;
		/* Where there is no page table yet */
		__u64 iova = KEPT + (after ? n : -n) * SZ_1G;
		int kmsg = kmsg_open();

		ASSERT_TRUE(decode(target, false));
		ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, target->bar,
				      REGISTERS, iova, MAP_RW));
		ASSERT_EQ(0, fail_nth(n));
		is_on = decode(target, true);
		failed = has_failed();
		if (!is_on)
			ASSERT_TRUE(failed && decode(target, true));
		if (!reads_value(&edu, ram, iova, value)) {
			EXPECT_TRUE(failed && is_on);
			EXPECT_TRUE(kmsg_has(kmsg, "can't map device memory"));
			EXPECT_TRUE(reads_value(&edu, ram, KEPT, value));
			nr_missing[after]++;
			if (after) {
				ASSERT_TRUE(decode(target, false));
				EXPECT_TRUE(write_is_refused(&self->dev, &edu,
							     ram, KEPT));
			}
			ASSERT_TRUE(decode(target, true));
			ASSERT_TRUE(reads_value(&edu, ram, iova, value));
		}
		close(kmsg);
		ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, iova,
					REGISTERS));
		if (!failed)
			break;
	}
	EXPECT_GT(2 * FEW, i);
	EXPECT_LT(1, nr_missing[0]);
	EXPECT_LT(1, nr_missing[1]);
	edu_close(&edu);
	target_close(target);
}

TEST_HARNESS_MAIN

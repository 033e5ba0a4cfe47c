// SPDX-License-Identifier: GPL-2.0
/*
 * A device is removed, or its driver unbound, while a program has it open (trap
 * E7). Both wait until a bound fd is closed, but not for other fds. Meanwhile
 * nobody can start to use the device, and its user is asked to release it. A
 * reset does not wait for users.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "vfio_util.h"

#define IOVA SZ_2M

/* A register of edu that reads as the inverse of what was written */
#define EDU_LIVENESS 0x04

enum state {
	OPEN,
	BOUND,
	ATTACHED,
	MMAPPED,
	IN_USE,
};

/*
 * struct user - a user of the device, and the process that removes it
 * @opened: with a cdev its fds are open, and used as far as the state says
 * @irq: an interrupt that can be set up while the device is in use
 */
struct user {
	struct pci_dev dev;
	char path[256];
	struct opened opened;
	struct edu edu;
	off_t bar, config;
	__u32 irq;
	pthread_t threads[2];
	bool in_use;
	pid_t remover;
};

static void *use_registers(void *arg)
{
	struct user *user = arg;
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int device = user->opened.device;
	__u32 first = 0, value;
	int fd;

	CHECK(pread(device, &first, 4, user->config) == 4);
	while (!stop) {
		CHECK(touches(user->edu.regs));
		CHECK(pread(device, &value, 4, user->bar) == 4);
		CHECK(pread(device, &value, 4, user->config) == 4 &&
		      value == first);
		CHECK(!ioctl(device, VFIO_DEVICE_GET_INFO, &info));
		fd = irq_eventfd(device, user->irq);
		CHECK(fd >= 0);
		CHECK(!set_irq(device, user->irq,
			       VFIO_IRQ_SET_DATA_EVENTFD |
			       VFIO_IRQ_SET_ACTION_TRIGGER, -1));
		close(fd);
	}
	return NULL;
}

static void *use_memory(void *arg)
{
	struct user *user = arg;
	char *buf = map_anon(4 * PAGE);

	while (!stop) {
		CHECK(!map_for_device(&user->opened, buf, 4 * PAGE, 2 * IOVA));
		CHECK(!unmap_for_device(&user->opened, 2 * IOVA, 4 * PAGE));
	}
	return NULL;
}

static int open_as_far_as(struct user *user, enum state state,
			  const char *container)
{
	struct opened *o = &user->opened;
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};

	if (container) {
		if (open_device(o, &user->dev, container))
			return -1;
	} else {
		o->device = open(user->path, O_RDWR | O_CLOEXEC);
		o->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		if (o->device < 0 || ioas_alloc(o->iommufd, &o->ioas))
			return -1;
	}
	if (state >= BOUND && !container &&
	    bind_iommufd(o->device, o->iommufd, NULL))
		return -1;
	if (state >= ATTACHED &&
	    ((!container && attach_pt(o->device, o->ioas, NULL)) ||
	     map_for_device(o, map_anon(PAGE), PAGE, IOVA)))
		return -1;
	/* Works for any device with registers in BAR 0 */
	if (state >= MMAPPED &&
	    (edu_open(&user->edu, o->device) ||
	     ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info)))
		return -1;
	user->bar = info.offset;
	info.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (state < IN_USE)
		return 0;
	if (ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -1;
	user->config = info.offset;
	stop = false;
	wrong = 0;
	user->in_use = true;
	return pthread_create(&user->threads[0], NULL, use_registers, user) ||
	       pthread_create(&user->threads[1], NULL, use_memory, user) ?
		-1 : 0;
}

static void end_use(struct user *user)
{
	if (user->in_use)
		run_for(0, user->threads, 2);
	user->in_use = false;
}

/* A mapping holds a reference to its file */
static void end_all(struct user *user)
{
	end_use(user);
	if (user->edu.regs)
		edu_close(&user->edu);
	user->edu.regs = NULL;
	close_device(&user->opened);
}

FIXTURE(removal)
{
	struct user user;
};

/*
 * @container: path of the container for the group; NULL: use the cdev
 * @unplug: remove the device, not only its driver
 */
FIXTURE_VARIANT(removal)
{
	enum state state;
	const char *container;
	bool unplug;
};

FIXTURE_VARIANT_ADD(removal, open)
{
	.state = OPEN,
};

FIXTURE_VARIANT_ADD(removal, bound)
{
	.state = BOUND,
};

FIXTURE_VARIANT_ADD(removal, attached)
{
	.state = ATTACHED,
};

FIXTURE_VARIANT_ADD(removal, mmapped)
{
	.state = MMAPPED,
};

FIXTURE_VARIANT_ADD(removal, in_use)
{
	.state = IN_USE,
};

FIXTURE_VARIANT_ADD(removal, group_mmapped)
{
	.state = MMAPPED,
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(removal, group_in_use)
{
	.state = IN_USE,
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(removal, group_of_iommufd_in_use)
{
	.state = IN_USE,
	.container = "/dev/iommu",
};

FIXTURE_VARIANT_ADD(removal, unplug_open)
{
	.state = OPEN,
	.unplug = true,
};

FIXTURE_VARIANT_ADD(removal, unplug_bound)
{
	.state = BOUND,
	.unplug = true,
};

FIXTURE_VARIANT_ADD(removal, unplug_attached)
{
	.state = ATTACHED,
	.unplug = true,
};

FIXTURE_VARIANT_ADD(removal, unplug_mmapped)
{
	.state = MMAPPED,
	.unplug = true,
};

FIXTURE_VARIANT_ADD(removal, unplug_in_use)
{
	.state = IN_USE,
	.unplug = true,
};

FIXTURE_VARIANT_ADD(removal, unplug_group_in_use)
{
	.state = IN_USE,
	.container = CONTAINER,
	.unplug = true,
};

FIXTURE_SETUP(removal)
{
	struct user *user = &self->user;

	user->irq = VFIO_PCI_MSI_IRQ_INDEX;
	if (find_edu_alone(&user->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&user->dev));
	ASSERT_EQ(0, vfio_cdev_path(&user->dev, user->path,
				    sizeof(user->path)));
	ASSERT_EQ(0, open_as_far_as(user, variant->state, variant->container));
}

FIXTURE_TEARDOWN(removal)
{
	if (variant->unplug)
		rescan_pci();
	bind_vfio_pci(&self->user.dev);
}

static void nap(void)
{
	struct timespec pause = { .tv_nsec = 10000000 };

	nanosleep(&pause, NULL);
}

static void start_removal(struct user *user, bool unplug)
{
	user->remover = fork();
	if (!user->remover) {
		/* This process does not have the threads */
		user->in_use = false;
		end_all(user);
		_exit((unplug ? write_pci_file(&user->dev, "remove", "1") :
				unbind_driver(&user->dev)) ? 1 : 0);
	}
}

static bool cdev_goes(struct user *user)
{
	int tries;

	for (tries = 0; tries < 1000 && !access(user->path, F_OK); tries++)
		nap();
	return tries < 1000;
}

static bool still_waits(struct user *user)
{
	int tries, status;

	for (tries = 0; tries < 30; tries++) {
		nap();
		if (waitpid(user->remover, &status, WNOHANG))
			return false;
	}
	return true;
}

/* Does it end, now that nobody holds the device? */
static bool removal_ends(struct user *user)
{
	int tries, status;

	for (tries = 0; tries < 3000; tries++) {
		if (waitpid(user->remover, &status, WNOHANG))
			return !status;
		nap();
	}
	kill(user->remover, SIGKILL);
	return false;
}

/*
 * The cdev is gone while the unbind still waits, which ends with the last
 * reference to a bound fd. An fd that is not bound does not make it wait.
 */
TEST_F(removal, cdev_goes_before_the_wait)
{
	char byte;

	start_removal(&self->user, variant->unplug);
	ASSERT_TRUE(cdev_goes(&self->user));
	if (variant->state == OPEN) {
		EXPECT_TRUE(removal_ends(&self->user));
		EXPECT_ERRNO(EINVAL, read(self->user.opened.device, &byte, 1));
		end_all(&self->user);
		return;
	}
	ASSERT_TRUE(still_waits(&self->user));
	/* The current user is not disturbed */
	end_use(&self->user);
	EXPECT_EQ(0, wrong);
	/* A mapping counts like an fd */
	if (variant->state >= MMAPPED) {
		close(self->user.opened.device);
		EXPECT_TRUE(still_waits(&self->user));
		EXPECT_TRUE(touches(self->user.edu.regs));
	}
	end_all(&self->user);
	EXPECT_TRUE(removal_ends(&self->user));
	EXPECT_FALSE(is_bound(&self->user.dev, "vfio-pci"));
}

/* A device that is being removed can't be bound */
TEST_F(removal, bind_after_removal_is_ENODEV)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	start_removal(&self->user, variant->unplug);
	ASSERT_TRUE(cdev_goes(&self->user));
	EXPECT_EQ(-1, bind_iommufd(self->user.opened.device, iommufd, NULL));
	EXPECT_EQ(variant->state == OPEN ? ENODEV : EINVAL, errno);
	close(iommufd);
	end_all(&self->user);
	EXPECT_TRUE(removal_ends(&self->user));
}

/* An inode that outlived the cdev can't be opened */
TEST_F(removal, open_after_removal_is_ENODEV)
{
	char path[64];
	int fd;

	/* O_PATH keeps the inode */
	fd = open(self->user.path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	start_removal(&self->user, variant->unplug);
	ASSERT_TRUE(cdev_goes(&self->user));
	EXPECT_ERRNO(ENOENT, open(self->user.path, O_RDWR));
	/* ENXIO if no open fd keeps the struct cdev, which is freed soon */
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_TRUE(errno == ENODEV || (variant->container && errno == ENXIO));

	end_all(&self->user);
	EXPECT_TRUE(removal_ends(&self->user));
	EXPECT_ERRNO(ENXIO, open(path, O_RDWR));
	close(fd);
}

/* Afterwards the device works as before, through cdev and group */
TEST_F(removal, device_can_be_used_again)
{
	struct user *user = &self->user;

	start_removal(&self->user, variant->unplug);
	ASSERT_TRUE(cdev_goes(&self->user));
	end_all(&self->user);
	ASSERT_TRUE(removal_ends(&self->user));
	if (variant->unplug)
		ASSERT_EQ(0, rescan_pci());
	ASSERT_EQ(0, bind_vfio_pci(&user->dev));
	ASSERT_EQ(0, vfio_cdev_path(&user->dev, user->path,
				    sizeof(user->path)));
	ASSERT_EQ(0, open_as_far_as(user, MMAPPED, NULL));
	edu_write(&user->edu, EDU_LIVENESS, 5);
	EXPECT_EQ(~5U, edu_read(&user->edu, EDU_LIVENESS));
	EXPECT_EQ(0, edu_dma_to_ram(&user->edu, IOVA, 16));
	end_all(user);
	ASSERT_EQ(0, open_as_far_as(user, MMAPPED, CONTAINER));
	EXPECT_EQ(0, edu_dma_to_ram(&user->edu, IOVA, 16));
	end_all(user);
}

/*
 * The user of a bound device is asked to release it; without a bind there is no
 * interrupt for that
 */
TEST_F(removal, user_is_asked_to_leave)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = irq_eventfd(self->user.opened.device, VFIO_PCI_REQ_IRQ_INDEX);
	if (variant->state == OPEN) {
		EXPECT_EQ(-1, pfd.fd);
		EXPECT_EQ(EINVAL, errno);
	} else {
		ASSERT_LE(0, pfd.fd);
	}
	start_removal(&self->user, variant->unplug);
	ASSERT_TRUE(cdev_goes(&self->user));
	EXPECT_EQ(variant->state == OPEN ? 0 : 1,
		  poll(&pfd, 1, variant->state == OPEN ? 200 : 10000));
	end_all(&self->user);
	EXPECT_TRUE(removal_ends(&self->user));
	close(pfd.fd);
}

/*
 * A user who opens the device through its group again and again is refused as
 * soon as the driver is being unbound
 */
TEST(group_user_does_not_hold_off_removal)
{
	struct user user = {};
	struct legacy *l = &user.opened.legacy;
	int next;

	if (find_edu_alone(&user.dev))
		SKIP(return, "no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&user.dev));
	ASSERT_EQ(0, open_as_far_as(&user, BOUND, CONTAINER));
	start_removal(&user, false);
	while ((next = ioctl(l->group, VFIO_GROUP_GET_DEVICE_FD,
			     user.dev.bdf)) >= 0) {
		close(l->device);
		l->device = next;
	}
	EXPECT_EQ(ENODEV, errno);
	EXPECT_TRUE(still_waits(&user));
	end_all(&user);
	EXPECT_TRUE(removal_ends(&user));
	EXPECT_EQ(0, bind_vfio_pci(&user.dev));
}

/*
 * A reset through sysfs of a device that can be reset alone, in any state of
 * use
 */
FIXTURE(reset)
{
	struct user user;
};

FIXTURE_VARIANT(reset)
{
	enum state state;
	const char *container;
};

FIXTURE_VARIANT_ADD(reset, open)
{
	.state = OPEN,
};

FIXTURE_VARIANT_ADD(reset, bound)
{
	.state = BOUND,
};

FIXTURE_VARIANT_ADD(reset, attached)
{
	.state = ATTACHED,
};

FIXTURE_VARIANT_ADD(reset, mmapped)
{
	.state = MMAPPED,
};

FIXTURE_VARIANT_ADD(reset, in_use)
{
	.state = IN_USE,
};

FIXTURE_VARIANT_ADD(reset, group_mmapped)
{
	.state = MMAPPED,
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(reset, group_in_use)
{
	.state = IN_USE,
	.container = CONTAINER,
};

FIXTURE_SETUP(reset)
{
	struct user *user = &self->user;

	/*
	 * Not an interrupt of the device's own, since the reset would hit it
	 * half set up
	 */
	user->irq = VFIO_PCI_REQ_IRQ_INDEX;
	if (find_pci_class(&user->dev, "0x010802"))
		SKIP_TEST("no NVMe device");
	ASSERT_EQ(0, bind_vfio_pci(&user->dev));
	ASSERT_EQ(0, vfio_cdev_path(&user->dev, user->path,
				    sizeof(user->path)));
	ASSERT_EQ(0, open_as_far_as(user, variant->state, variant->container));
}

FIXTURE_TEARDOWN(reset)
{
}

/*
 * The reset succeeds, after the 100 ms that the function needs. What the user
 * has set up stays, except values of registers.
 */
TEST_F(reset, reset_waits_for_nobody)
{
	struct user *user = &self->user;
	__u32 *table = NULL;
	time_t start;
	int i;

	if (variant->state >= MMAPPED) {
		table = map_msix_table(user->opened.device);
		ASSERT_NE(NULL, table);
	}
	for (i = 0; i < 5; i++) {
		if (table) {
			set_register(table, 0x12345678);
			ASSERT_EQ(0x12345678, get_register(table));
		}
		start = time(NULL);
		ASSERT_EQ(0, write_pci_file(&user->dev, "reset", "1"));
		/* An unbind asks the user again after 10 s */
		EXPECT_GT(10, time(NULL) - start);
		if (table)
			EXPECT_EQ(0, get_register(table));
		if (variant->state >= ATTACHED) {
			EXPECT_EQ(0, unmap_for_device(&user->opened, IOVA,
						      PAGE));
			EXPECT_EQ(0, map_for_device(&user->opened,
						    map_anon(PAGE), PAGE,
						    IOVA));
		}
	}
	end_use(user);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, access(user->path, F_OK));
	if (table)
		munmap_msix_table(table);
	end_all(user);

	ASSERT_EQ(0, open_as_far_as(user, MMAPPED, NULL));
	EXPECT_TRUE(touches(user->edu.regs));
	end_all(user);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The driver is told to let go of a device whose node is open (trap E7). It waits
 * for the file to be closed; nobody new gets in meanwhile; and the user of a bound
 * device is asked to leave.
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
#include "vfio_util.h"

enum state {
	OPEN,
	BOUND,
	ATTACHED,
	MMAPPED,
};

/*
 * struct user - who has the device, and the process that takes it away
 */
struct user {
	struct pci_dev dev;
	char path[256];
	int device;
	int iommufd;
	struct edu edu;
	pid_t unbinder;
};

FIXTURE(removal)
{
	struct user user;
};

FIXTURE_VARIANT(removal)
{
	enum state state;
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

FIXTURE_SETUP(removal)
{
	struct user *user = &self->user;
	__u32 ioas;

	if (find_edu_alone(&user->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&user->dev));
	ASSERT_EQ(0, vfio_node_path(&user->dev, user->path,
				    sizeof(user->path)));
	user->device = open(user->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, user->device);
	user->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, user->iommufd);
	ASSERT_EQ(0, ioas_alloc(user->iommufd, &ioas));
	if (variant->state >= BOUND)
		ASSERT_EQ(0, bind_iommufd(user->device, user->iommufd, NULL));
	if (variant->state >= ATTACHED) {
		ASSERT_EQ(0, attach_pt(user->device, ioas, NULL));
		ASSERT_EQ(0, ioas_map(user->iommufd, ioas, map_anon(SZ_4K),
				      SZ_4K, SZ_2M, MAP_RW));
	}
	if (variant->state >= MMAPPED)
		ASSERT_EQ(0, edu_open(&user->edu, user->device));
}

FIXTURE_TEARDOWN(removal)
{
	struct user *user = &self->user;

	close(user->iommufd);
	bind_vfio_pci(&user->dev);
}

/* A mapping holds the file that it was made with */
static void close_device(struct user *user)
{
	if (user->edu.regs)
		edu_close(&user->edu);
	close(user->device);
}

static void nap(void)
{
	struct timespec pause = { .tv_nsec = 10000000 };

	nanosleep(&pause, NULL);
}

static void start_unbind(struct user *user)
{
	user->unbinder = fork();
	if (!user->unbinder) {
		close_device(user);
		close(user->iommufd);
		_exit(unbind_driver(&user->dev) ? 1 : 0);
	}
}

static bool node_goes(struct user *user)
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
		if (waitpid(user->unbinder, &status, WNOHANG))
			return false;
	}
	return true;
}

/* Does the driver let go, now that nobody holds the device? */
static bool unbind_ends(struct user *user)
{
	int tries, status;

	for (tries = 0; tries < 3000; tries++) {
		if (waitpid(user->unbinder, &status, WNOHANG))
			return !status;
		nap();
	}
	kill(user->unbinder, SIGKILL);
	return false;
}

/* The node is gone while the driver still waits, and it ends with the file */
TEST_F(removal, node_goes_before_the_wait)
{
	start_unbind(&self->user);
	ASSERT_TRUE(node_goes(&self->user));
	ASSERT_TRUE(still_waits(&self->user));
	/* A mapping is as good as a file */
	if (variant->state == MMAPPED) {
		close(self->user.device);
		EXPECT_TRUE(still_waits(&self->user));
	}
	close_device(&self->user);
	EXPECT_TRUE(unbind_ends(&self->user));
	EXPECT_FALSE(is_bound(&self->user.dev, "vfio-pci"));
}

/* Nobody begins to use a device that is going */
TEST_F(removal, bind_after_removal_is_ENODEV)
{
	start_unbind(&self->user);
	ASSERT_TRUE(node_goes(&self->user));
	EXPECT_EQ(-1, bind_iommufd(self->user.device, self->user.iommufd, NULL));
	EXPECT_EQ(variant->state == OPEN ? ENODEV : EINVAL, errno);
	close_device(&self->user);
	EXPECT_TRUE(unbind_ends(&self->user));
}

/* A name that outlived the node leads nowhere */
TEST_F(removal, open_after_removal_is_ENODEV)
{
	char path[64];
	int fd;

	/* The inode, kept by a file that does not open it */
	fd = open(self->user.path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	start_unbind(&self->user);
	ASSERT_TRUE(node_goes(&self->user));
	EXPECT_ERRNO(ENOENT, open(self->user.path, O_RDWR));
	EXPECT_ERRNO(ENODEV, open(path, O_RDWR));

	close_device(&self->user);
	EXPECT_TRUE(unbind_ends(&self->user));
	EXPECT_ERRNO(ENXIO, open(path, O_RDWR));
	close(fd);
}

/* After all that the device works as before */
TEST_F(removal, device_can_be_bound_again)
{
	int device, iommufd = open("/dev/iommu", O_RDWR);

	start_unbind(&self->user);
	ASSERT_TRUE(node_goes(&self->user));
	close_device(&self->user);
	ASSERT_TRUE(unbind_ends(&self->user));
	ASSERT_EQ(0, bind_vfio_pci(&self->user.dev));
	device = open_cdev(&self->user.dev);
	ASSERT_LE(0, device);
	EXPECT_EQ(0, bind_iommufd(device, iommufd, NULL));
	close(device);
	close(iommufd);
}

/* Who has bound the device is asked to give it back; who has not can't be */
TEST_F(removal, user_is_asked_to_leave)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = irq_eventfd(self->user.device, VFIO_PCI_REQ_IRQ_INDEX);
	if (variant->state == OPEN) {
		EXPECT_EQ(-1, pfd.fd);
		EXPECT_EQ(EINVAL, errno);
	} else {
		ASSERT_LE(0, pfd.fd);
	}
	start_unbind(&self->user);
	ASSERT_TRUE(node_goes(&self->user));
	EXPECT_EQ(variant->state == OPEN ? 0 : 1,
		  poll(&pfd, 1, variant->state == OPEN ? 200 : 10000));
	close_device(&self->user);
	EXPECT_TRUE(unbind_ends(&self->user));
	close(pfd.fd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * When a device is suspended: while it is not open, and while its user allows
 * it, through cdev and group. Needs CONFIG_PM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "reset_util.h"
#include "vfio_util.h"

#define ENTRY VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
#define ENTRY_WITH_WAKEUP VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
#define EXIT VFIO_DEVICE_FEATURE_LOW_POWER_EXIT

FIXTURE(power)
{
	struct pci_dev dev;
	struct opened opened;
};

/* @container: see open_device() */
FIXTURE_VARIANT(power)
{
	const char *container;
};

FIXTURE_VARIANT_ADD(power, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(power, group_of_iommufd)
{
	.container = "/dev/iommu",
};

FIXTURE_VARIANT_ADD(power, cdev)
{
};

FIXTURE_SETUP(power)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	if (!has_power_management(&self->dev))
		SKIP_TEST("no power management in this kernel");
}

FIXTURE_TEARDOWN(power)
{
}

/* Has it still this status after a while? */
static bool stays(const struct pci_dev *dev, const char *status)
{
	struct timespec pause = { .tv_nsec = 200000000 };

	nanosleep(&pause, NULL);
	return has_power_status(dev, status);
}

#define SLEEPS() has_power_status(&self->dev, "suspended")
#define IS_AWAKE() has_power_status(&self->dev, "active")
#define STAYS_AWAKE() stays(&self->dev, "active")
#define OPEN() open_device(&self->opened, &self->dev, variant->container)
#define CLOSE() close_device(&self->opened)

#define SET_POWER(_feature) set_power(self->opened.device, _feature, -1)

/* A register, which can be read only while the device is awake */
static __u32 read_id(int device)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	__u32 id = 0;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    pread(device, &id, 4, bar.offset) != 4)
		return 0;
	return id;
}

/*
 * An unbound fd of the cdev does not wake the device; an open device stays
 * awake
 */
TEST_F(power, device_sleeps_while_it_is_closed)
{
	int device = -1, i;

	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(SLEEPS());
		if (!variant->container) {
			device = open_cdev(&self->dev);
			ASSERT_LE(0, device);
			EXPECT_ERRNO(EBADF, bind_iommufd(device, 1000, NULL));
			EXPECT_TRUE(SLEEPS());
		}
		ASSERT_EQ(0, OPEN());
		EXPECT_TRUE(STAYS_AWAKE());
		CLOSE();
		close(device);
	}
	EXPECT_TRUE(SLEEPS());
}

/* Each access wakes the device while it lasts */
TEST_F(power, device_sleeps_when_it_may)
{
	struct edu edu;
	int i;

	ASSERT_EQ(0, OPEN());
	ASSERT_EQ(0, edu_open(&edu, self->opened.device));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, SET_POWER(ENTRY));
		EXPECT_TRUE(SLEEPS());
		EXPECT_FALSE(touches(edu.regs));
		EXPECT_EQ(0x010000ed, read_id(self->opened.device));
		EXPECT_TRUE(SLEEPS());
		ASSERT_EQ(0, SET_POWER(EXIT));
		EXPECT_TRUE(STAYS_AWAKE());
		EXPECT_TRUE(touches(edu.regs));
		ASSERT_EQ(0, SET_POWER(EXIT));
		EXPECT_TRUE(IS_AWAKE());
	}
	edu_close(&edu);
	CLOSE();
	EXPECT_TRUE(SLEEPS());
}

/* The eventfd is signalled once at the wakeup, and the device stays awake */
TEST_F(power, waking_is_told)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), i;

	ASSERT_EQ(0, OPEN());
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, set_power(self->opened.device, ENTRY_WITH_WAKEUP,
				       event));
		EXPECT_TRUE(SLEEPS());
		EXPECT_FALSE(is_signalled(event, 0));
		EXPECT_EQ(0x010000ed, read_id(self->opened.device));
		EXPECT_TRUE(is_signalled(event, 0));
		EXPECT_TRUE(STAYS_AWAKE());
		EXPECT_FALSE(is_signalled(event, 0));
		ASSERT_EQ(0, SET_POWER(EXIT));
	}
	CLOSE();
	EXPECT_TRUE(SLEEPS());
	close(event);
}

/* Closing the device ends the permission to suspend it */
TEST_F(power, close_ends_the_permission)
{
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, OPEN());
		ASSERT_EQ(0, SET_POWER(ENTRY));
		if (i & 1)
			EXPECT_TRUE(SLEEPS());
		CLOSE();
		ASSERT_EQ(0, OPEN());
		EXPECT_TRUE(STAYS_AWAKE());
		CLOSE();
		EXPECT_TRUE(SLEEPS());
	}
}

/* A hot reset, refused or not, wakes all devices of the bus until it ends */
TEST_F(power, hot_reset_keeps_nobody_awake)
{
	int elsewhere = open_group(&self->dev), device, own;
	struct pci_dev other;

	ASSERT_LE(0, elsewhere);
	if (find_edu_pair(&self->dev, &other))
		SKIP(return, "no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&other));
	ASSERT_EQ(0, OPEN());
	device = self->opened.device;
	/* The group of another device, or with a cdev, any group */
	EXPECT_ERRNO(EINVAL, hot_reset_groups(device, &elsewhere, 1));
	own = self->opened.legacy.group;
	EXPECT_EQ(0, variant->container ? hot_reset_groups(device, &own, 1) :
					  hot_reset(device));
	CLOSE();
	close(elsewhere);
	EXPECT_TRUE(SLEEPS());
	EXPECT_TRUE(has_power_status(&other, "suspended"));
}

TEST_HARNESS_MAIN

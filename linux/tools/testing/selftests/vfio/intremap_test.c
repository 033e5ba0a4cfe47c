// SPDX-License-Identifier: GPL-2.0
/*
 * A platform that can't stop a device from raising other devices' interrupts
 * (trap C10). Needs an IOMMU without interrupt remapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

static const char param[] =
	"/sys/module/iommufd/parameters/allow_unsafe_interrupts";

static int allow(const char *yes_or_no)
{
	int fd = open(param, O_WRONLY), ret;

	if (fd < 0)
		return -1;
	ret = write(fd, yes_or_no, 1) == 1 ? 0 : -1;
	close(fd);
	return ret;
}

FIXTURE(intremap)
{
	struct pci_dev dev;
	int device;
	int iommufd;
};

FIXTURE_SETUP(intremap)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->iommufd);
}

FIXTURE_TEARDOWN(intremap)
{
	allow("N");
	close(self->device);
	close(self->iommufd);
}

/* BIND fails and leaves nothing behind */
TEST_F(intremap, bind_is_EPERM)
{
	int group;

	EXPECT_ERRNO(EPERM, bind_iommufd(self->device, self->iommufd, NULL));
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
}

/* The administrator can permit it, as long as the parameter is set */
TEST_F(intremap, parameter_permits_it)
{
	ASSERT_EQ(0, allow("Y"));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close(self->device);
	ASSERT_EQ(0, allow("N"));
	self->device = open_cdev(&self->dev);
	EXPECT_ERRNO(EPERM, bind_iommufd(self->device, self->iommufd, NULL));
}

TEST_HARNESS_MAIN

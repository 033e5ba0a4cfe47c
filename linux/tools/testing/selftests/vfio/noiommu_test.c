// SPDX-License-Identifier: GPL-2.0
/*
 * A device that no IOMMU protects has a group, for those who may do anything, and
 * no node. Needs a machine without IOMMU and vfio.enable_unsafe_noiommu_mode=1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

FIXTURE(noiommu)
{
	struct pci_dev dev;
	char group[64];
};

FIXTURE_SETUP(noiommu)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device");
	if (self->dev.group >= 0 && !is_bound(&self->dev, "vfio-pci"))
		SKIP_TEST("there is an IOMMU");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	snprintf(self->group, sizeof(self->group), "/dev/vfio/noiommu-%d",
		 self->dev.group);
}

FIXTURE_TEARDOWN(noiommu)
{
}

/* No node, and no number in sysfs (trap E10) */
TEST_F(noiommu, device_has_no_node)
{
	char name[64], path[256];

	ASSERT_EQ(0, vfio_dev_name(&self->dev, name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/class/vfio-dev/%s", name);
	EXPECT_EQ(0, access(path, F_OK));
	snprintf(path, sizeof(path), "/sys/class/vfio-dev/%s/dev", name);
	EXPECT_EQ(-1, access(path, F_OK));
	EXPECT_ERRNO(ENOENT, open_cdev(&self->dev));
}

/* The group works as it does without iommufd */
TEST_F(noiommu, group_opens_the_device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int group, container, device;

	group = open(self->group, O_RDWR);
	ASSERT_LE(0, group);
	container = open("/dev/vfio/vfio", O_RDWR);
	ASSERT_LE(0, container);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	ASSERT_EQ(0, ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
	ASSERT_LE(0, device);
	EXPECT_EQ(0, ioctl(device, VFIO_DEVICE_GET_INFO, &info));
	close(device);
	close(group);
	close(container);
}

/* Its device file can't be bound, though it is a device file */
TEST_F(noiommu, device_of_group_cannot_bind)
{
	int group, container, device, iommufd;

	iommufd = open("/dev/iommu", O_RDWR);
	ASSERT_TRUE(iommufd >= 0 || !has_nodes());
	group = open(self->group, O_RDWR);
	container = open("/dev/vfio/vfio", O_RDWR);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	ASSERT_EQ(0, ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
	ASSERT_LE(0, device);
	EXPECT_EQ(-1, bind_iommufd(device, iommufd, NULL));
	EXPECT_EQ(has_nodes() ? EINVAL : ENOTTY, errno);
	close(device);
	close(group);
	close(container);
	close(iommufd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * A device without an IOMMU has a group, for privileged users, and no cdev.
 * Needs a VM without an IOMMU, and vfio.enable_unsafe_noiommu_mode=1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "reset_util.h"
#include "vfio_util.h"

FIXTURE(noiommu)
{
	struct pci_dev dev;
	char group[64];
};

/* @path: path of the container */
FIXTURE_VARIANT(noiommu)
{
	const char *path;
};

FIXTURE_VARIANT_ADD(noiommu, container)
{
	.path = CONTAINER,
};

FIXTURE_VARIANT_ADD(noiommu, iommufd)
{
	.path = "/dev/iommu",
};

FIXTURE_SETUP(noiommu)
{
	if (strcmp(variant->path, CONTAINER) && !has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
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

/* No cdev, and no device number in sysfs (trap E10) */
TEST_F(noiommu, device_has_no_cdev)
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
	container = open(variant->path, O_RDWR);
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

/* A device fd from the group can't be bound */
TEST_F(noiommu, device_of_group_cannot_bind)
{
	int group, container, device, iommufd;

	iommufd = open("/dev/iommu", O_RDWR);
	ASSERT_TRUE(iommufd >= 0 || !has_cdevs());
	group = open(self->group, O_RDWR);
	container = open(variant->path, O_RDWR);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	ASSERT_EQ(0, ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
	ASSERT_LE(0, device);
	EXPECT_EQ(-1, bind_iommufd(device, iommufd, NULL));
	EXPECT_EQ(has_cdevs() ? EINVAL : ENOTTY, errno);
	close(device);
	close(group);
	close(container);
	close(iommufd);
}

/* A device without a VFIO driver has no group here, so nobody can own it */
TEST_F(noiommu, hot_reset_info_without_all_groups_is_EPERM)
{
	int group, container, device;
	struct pci_dev dev, other;
	struct reset_info info;

	ASSERT_EQ(0, find_edu_neighbours(&dev, &other));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	unbind_driver(&other);
	snprintf(self->group, sizeof(self->group), "/dev/vfio/noiommu-%d",
		 dev.group);
	group = open(self->group, O_RDWR);
	container = open(variant->path, O_RDWR);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	ASSERT_EQ(0, ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, dev.bdf);
	ASSERT_LE(0, device);
	EXPECT_ERRNO(EPERM, get_reset_info(device, &info));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(device, &group, 1));

	ASSERT_EQ(0, bind_vfio_pci(&other));
	EXPECT_EQ(0, get_reset_info(device, &info));
	EXPECT_EQ(0, info.head.flags);
	EXPECT_EQ(dev.group, told_of(&info, &dev));
	EXPECT_EQ(other.group, told_of(&info, &other));
	close(device);
	close(group);
	close(container);
}

static int extension(int container, unsigned long which)
{
	return ioctl(container, VFIO_CHECK_EXTENSION, which);
}

/*
 * Does the kernel refuse to use a group without an IOMMU? The group loses its
 * container
 */
static bool is_refused(int group, int iommufd)
{
	if (ioctl(iommufd, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU) != -1 ||
	    errno != EPERM || ioctl(group, VFIO_GROUP_UNSET_CONTAINER))
		return false;
	return ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd) == -1 &&
	       errno == EPERM;
}

/*
 * An iommufd with such a group has no IOAS, and one with an IOAS can't get such
 * a group (trap I7)
 */
TEST_F(noiommu, does_not_mix_with_translation)
{
	int group, iommufd, status, watch = -1;
	char buf[16];
	__u32 ioas;
	pid_t pid;

	iommufd = open(variant->path, O_RDWR);
	group = open(self->group, O_RDWR);
	ASSERT_LE(0, group);
	if (!is_iommufd(iommufd)) {
		/* VFIO's own container */
		ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd));
		EXPECT_ERRNO(ENODEV, ioctl(iommufd, VFIO_SET_IOMMU,
					   VFIO_TYPE1v2_IOMMU));
		goto out_close;
	}
	watch = watch_iommufd(iommufd);
	ASSERT_LE(0, watch);
	ASSERT_EQ(0, ioas_alloc(iommufd, &ioas));
	ASSERT_EQ(0, vfio_ioas(iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	EXPECT_EQ(1, extension(iommufd, VFIO_TYPE1v2_IOMMU));
	/* Programs ask before they have a group */
	EXPECT_EQ(1, extension(iommufd, VFIO_NOIOMMU_IOMMU));
	EXPECT_ERRNO(EINVAL, ioctl(iommufd, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	EXPECT_ERRNO(EINVAL, ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd));

	ASSERT_EQ(0, vfio_ioas(iommufd, IOMMU_VFIO_IOAS_CLEAR, &ioas));
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd));
	EXPECT_EQ(0, extension(iommufd, VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, extension(iommufd, VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(0, extension(iommufd, VFIO_UNMAP_ALL));
	EXPECT_EQ(1, extension(iommufd, VFIO_NOIOMMU_IOMMU));
	EXPECT_ERRNO(EINVAL, vfio_ioas(iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	EXPECT_ERRNO(ENODEV, vfio_ioas(iommufd, IOMMU_VFIO_IOAS_GET, &ioas));
	EXPECT_ERRNO(EINVAL, ioctl(iommufd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	EXPECT_ERRNO(ENODEV, legacy_map(iommufd, buf, PAGE, 0,
					VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(ENODEV, legacy_unmap(iommufd, 0, PAGE));
	EXPECT_EQ(0, ioctl(iommufd, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	/* The capabilities of root in a user namespace do not count */
	pid = fork();
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) || !is_refused(group, iommufd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd));
	ASSERT_EQ(0, drop_cap(CAP_SYS_RAWIO));
	EXPECT_ERRNO(EPERM, ioctl(group, VFIO_GROUP_GET_DEVICE_FD,
				  self->dev.bdf));
	EXPECT_TRUE(is_refused(group, iommufd));
out_close:
	close(group);
	close(iommufd);
	/* Also after groups were refused */
	EXPECT_TRUE(watch < 0 || is_iommufd_gone(watch));
}

TEST_HARNESS_MAIN

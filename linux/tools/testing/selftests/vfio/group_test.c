// SPDX-License-Identifier: GPL-2.0
/*
 * The old way to a device, by its group and a type1 container. It must be the same
 * with the device nodes, without them, and before there were any.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

FIXTURE(group)
{
	struct pci_dev a, b;
	int group;
	int container;
};

FIXTURE_SETUP(group)
{
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->group = open_group(&self->a);
	self->container = open("/dev/vfio/vfio", O_RDWR);
	ASSERT_LE(0, self->group);
	ASSERT_LE(0, self->container);
}

FIXTURE_TEARDOWN(group)
{
	close(self->group);
	close(self->container);
}

static __u32 status_of(int group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };

	return ioctl(group, VFIO_GROUP_GET_STATUS, &status) ? 0 : status.flags;
}

static int set_container(int group, int *container)
{
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, container))
		return -1;
	return ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
}

/* One open file for each group */
TEST_F(group, second_open_is_EBUSY)
{
	EXPECT_ERRNO(EBUSY, open_group(&self->a));
	close(self->group);
	self->group = open_group(&self->b);
	EXPECT_LE(0, self->group);
}

/* Viable from the start, and with a container only once it is set */
TEST_F(group, status_follows_the_container)
{
	EXPECT_EQ(VFIO_GROUP_FLAGS_VIABLE, status_of(self->group));
	ASSERT_EQ(0, set_container(self->group, &self->container));
	EXPECT_EQ(VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET,
		  status_of(self->group));
	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
				   &self->container));
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	EXPECT_EQ(VFIO_GROUP_FLAGS_VIABLE, status_of(self->group));
}

/* Files that are no container, and no file */
TEST_F(group, container_of_wrong_kind_fails)
{
	int fd = self->group;

	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &fd));
	fd = 1000;
	EXPECT_ERRNO(EBADF, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &fd));
	EXPECT_ERRNO(EFAULT, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, NULL));
}

/* No device without a container, no container without an IOMMU */
TEST_F(group, device_needs_a_container)
{
	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
				   self->a.bdf));
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
			   &self->container));
	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
				   self->a.bdf));
}

/* All devices of the group, by name, and as often as one likes */
TEST_F(group, devices_are_opened_by_name)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int a, again, b;

	ASSERT_EQ(0, set_container(self->group, &self->container));
	a = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	again = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	b = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->b.bdf);
	ASSERT_LE(0, a);
	ASSERT_LE(0, again);
	ASSERT_LE(0, b);
	EXPECT_EQ(0, ioctl(a, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(VFIO_PCI_NUM_REGIONS, info.num_regions);
	close(a);
	EXPECT_EQ(0, ioctl(again, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(0, ioctl(b, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_ERRNO(ENODEV, ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
				   "0000:ff:1f.7"));
	/* An open device keeps the container */
	EXPECT_ERRNO(EBUSY, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	close(again);
	close(b);
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
}

/* What a device file does not know is the driver's to refuse */
TEST_F(group, unknown_device_ioctl_is_ENOTTY)
{
	int device;

	ASSERT_EQ(0, set_container(self->group, &self->container));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	ASSERT_LE(0, device);
	EXPECT_ERRNO(ENOTTY, ioctl(device, 0x3b7f, NULL));
	close(device);
}

/* Hot reset speaks of the group of each device that it would hit */
TEST_F(group, hot_reset_info_names_groups)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[16];
	} reset = { .info.argsz = sizeof(reset) };
	__u32 i;
	int device;

	ASSERT_EQ(0, set_container(self->group, &self->container));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	ASSERT_LE(0, device);
	ASSERT_EQ(0, ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &reset));
	EXPECT_EQ(0, reset.info.flags);
	EXPECT_EQ(2, reset.info.count);
	for (i = 0; i < reset.info.count; i++)
		EXPECT_EQ(self->a.group, reset.devices[i].group_id);
	close(device);
}

/*
 * The driver is told to let go: the user is asked to leave, it waits until then,
 * and the device can be used again
 */
TEST_F(group, removal_waits_for_the_user)
{
	struct pollfd pfd = { .events = POLLIN };
	int device, status;
	pid_t pid;

	ASSERT_EQ(0, set_container(self->group, &self->container));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	ASSERT_LE(0, device);
	pfd.fd = irq_eventfd(device, VFIO_PCI_REQ_IRQ_INDEX);
	ASSERT_LE(0, pfd.fd);

	pid = fork();
	if (!pid) {
		close(device);
		close(self->group);
		close(self->container);
		_exit(unbind_driver(&self->a) ? 1 : 0);
	}
	EXPECT_EQ(1, poll(&pfd, 1, 10000));
	usleep(300000);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	close(device);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(is_bound(&self->a, "vfio-pci"));

	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	EXPECT_LE(0, device);
	close(device);
	close(pfd.fd);
}

/* MAP and UNMAP of the container, with its own errors */
TEST_F(group, container_maps_and_unmaps)
{
	char *buf = map_anon(4 * SZ_4K);

	ASSERT_EQ(0, set_container(self->group, &self->container));
	EXPECT_EQ(0, legacy_map(self->container, buf, 4 * SZ_4K, SZ_2M,
				VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(EEXIST, legacy_map(self->container, buf, SZ_4K, SZ_2M,
					VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(EINVAL, legacy_map(self->container, buf, SZ_4K, 2 * SZ_2M,
					0));
	EXPECT_EQ(0, legacy_unmap(self->container, SZ_2M, 4 * SZ_4K));
	EXPECT_EQ(0, legacy_unmap(self->container, SZ_2M, 4 * SZ_4K));
}

TEST_HARNESS_MAIN

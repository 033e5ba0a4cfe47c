// SPDX-License-Identifier: GPL-2.0
/*
 * The device through its group and a container. It must work the same with
 * cdevs, without them, and in the base; with VFIO's container and with an
 * iommufd.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

FIXTURE(group)
{
	struct pci_dev a, b;
	int group;
	int container;
};

/* @path: path of the container */
FIXTURE_VARIANT(group)
{
	const char *path;
};

FIXTURE_VARIANT_ADD(group, container)
{
	.path = CONTAINER,
};

FIXTURE_VARIANT_ADD(group, iommufd)
{
	.path = "/dev/iommu",
};

FIXTURE_SETUP(group)
{
	if (strcmp(variant->path, CONTAINER) && !has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->group = open_group(&self->a);
	self->container = open(variant->path, O_RDWR);
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

/* A group can be open once */
TEST_F(group, second_open_is_EBUSY)
{
	EXPECT_ERRNO(EBUSY, open_group(&self->a));
	close(self->group);
	self->group = open_group(&self->b);
	EXPECT_LE(0, self->group);
}

/* Viable from the start, and with the container flag only while one is set */
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
	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
}

/* When the last driver of the group is unbound, the group loses its container */
TEST_F(group, container_goes_with_the_last_device)
{
	ASSERT_EQ(0, set_container(self->group, &self->container));
	ASSERT_EQ(0, unbind_driver(&self->b));
	EXPECT_EQ(VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET,
		  status_of(self->group));
	ASSERT_EQ(0, unbind_driver(&self->a));
	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	EXPECT_ERRNO(ENODEV, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
				   &self->container));
	close(self->group);
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->group = open_group(&self->a);
	ASSERT_LE(0, self->group);
	EXPECT_EQ(0, set_container(self->group, &self->container));
}

/* fds that are no container, and no fd */
TEST_F(group, container_of_wrong_kind_fails)
{
	int fd = self->group;

	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &fd));
	fd = 1000;
	EXPECT_ERRNO(EBADF, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &fd));
	EXPECT_ERRNO(EFAULT, ioctl(self->group, VFIO_GROUP_SET_CONTAINER, NULL));
}

/*
 * A device needs a container, and VFIO's container needs an IOMMU. An iommufd
 * has one from the start.
 */
TEST_F(group, device_needs_a_container)
{
	int device;

	EXPECT_ERRNO(EINVAL, ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD,
				   self->a.bdf));
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
			   &self->container));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	if (is_iommufd(self->container)) {
		EXPECT_LE(0, device);
		close(device);
	} else {
		EXPECT_EQ(-1, device);
		EXPECT_EQ(EINVAL, errno);
	}
}

/* All devices of the group can be opened by name, any number of times */
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
	/* An open device keeps the container set */
	EXPECT_ERRNO(EBUSY, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	close(again);
	close(b);
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
}

/* The driver refuses ioctls that VFIO does not know */
TEST_F(group, unknown_device_ioctl_is_ENOTTY)
{
	int device;

	ASSERT_EQ(0, set_container(self->group, &self->container));
	device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, self->a.bdf);
	ASSERT_LE(0, device);
	EXPECT_ERRNO(ENOTTY, ioctl(device, 0x3b7f, NULL));
	close(device);
}

/* Hot reset reports the group of each affected device */
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
 * The driver is unbound: the user is asked to release the device, the unbind
 * waits for that, and the device can be used again
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

/* MAP and UNMAP of the container, with its errors */
TEST_F(group, container_maps_and_unmaps)
{
	char *buf = map_anon(4 * PAGE);

	ASSERT_EQ(0, set_container(self->group, &self->container));
	EXPECT_EQ(0, legacy_map(self->container, buf, 4 * PAGE, SZ_2M,
				VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(EEXIST, legacy_map(self->container, buf, PAGE, SZ_2M,
					VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(EINVAL, legacy_map(self->container, buf, PAGE, 2 * SZ_2M,
					0));
	EXPECT_EQ(0, legacy_unmap(self->container, SZ_2M, 4 * PAGE));
	EXPECT_EQ(0, legacy_unmap(self->container, SZ_2M, 4 * PAGE));
}

/*
 * Minor number of the misc device with this name; -1 unless there is exactly
 * one
 */
static int misc_minor(const char *name)
{
	FILE *file = fopen("/proc/misc", "r");
	int minor, found = -1, nr = 0;
	char line[64];

	while (file && fscanf(file, "%d %63s", &minor, line) == 2) {
		if (!strcmp(line, name)) {
			found = minor;
			nr++;
		}
	}
	if (file)
		fclose(file);
	return nr == 1 ? found : -1;
}

/*
 * The container's node has one owner, which the environment can name, and is
 * open to all. Its memory is charged as containers do it (trap I8).
 */
TEST(container_node_has_one_owner)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_GET,
	};
	const char *owner = getenv("CONTAINER_OWNER");
	int container = open(CONTAINER, O_RDWR), iommufd;
	struct stat st;

	ASSERT_LE(0, container);
	EXPECT_EQ(196, misc_minor("vfio"));
	ASSERT_EQ(0, stat(CONTAINER, &st));
	EXPECT_EQ(makedev(10, 196), st.st_rdev);
	EXPECT_EQ(S_IFCHR | 0666, st.st_mode);
	if (owner)
		EXPECT_EQ(!strcmp(owner, "iommufd"), is_iommufd(container));
	if (is_iommufd(container)) {
		EXPECT_EQ(0, ioctl(container, IOMMU_OPTION, &option));
		EXPECT_EQ(1, option.val64);
		iommufd = open("/dev/iommu", O_RDWR);
		EXPECT_EQ(0, ioctl(iommufd, IOMMU_OPTION, &option));
		EXPECT_EQ(0, option.val64);
		close(iommufd);
	}
	EXPECT_EQ(VFIO_API_VERSION, ioctl(container, VFIO_GET_API_VERSION));
	close(container);
}

/* Only with an iommufd: one IOAS is that of the container */
FIXTURE(stand_in)
{
	struct pci_dev a, b;
	int iommufd;
	int group;
	long pinned, locked;
};

FIXTURE_SETUP(stand_in)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs in this kernel");
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	self->group = open_group(&self->a);
	ASSERT_LE(0, self->group);
	self->pinned = status_kb("VmPin");
	self->locked = status_kb("VmLck");
}

FIXTURE_TEARDOWN(stand_in)
{
	close(self->group);
	close(self->iommufd);
}

static int give_iommufd(struct _test_data_stand_in *self)
{
	return ioctl(self->group, VFIO_GROUP_SET_CONTAINER, &self->iommufd);
}

static int get_device(struct _test_data_stand_in *self, struct pci_dev *dev)
{
	return ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, dev->bdf);
}

/* The first group makes it; it is an ordinary object */
TEST_F(stand_in, ioas_is_made_for_the_first_group)
{
	__u32 ioas = 0, again = 0;
	int device;

	EXPECT_ERRNO(ENODEV, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_GET, &ioas));
	ASSERT_EQ(0, give_iommufd(self));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_GET, &ioas));
	EXPECT_NE(0, ioas);
	EXPECT_TRUE(is_usable(self->iommufd, ioas, 0, ~0UL));

	device = get_device(self, &self->a);
	ASSERT_LE(0, device);
	EXPECT_FALSE(is_usable(self->iommufd, ioas, MSI_START, MSI_LAST));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, ioas));
	close(device);
	EXPECT_TRUE(is_usable(self->iommufd, ioas, 0, ~0UL));

	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
	ASSERT_EQ(0, give_iommufd(self));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_GET, &again));
	EXPECT_EQ(ioas, again);
}

/*
 * An IOAS that was set before is used, and not kept when it is destroyed.
 * Opening a device needs one (trap B10).
 */
TEST_F(stand_in, chosen_ioas_is_used)
{
	int device, file = memfd_create("container", MFD_ALLOW_SEALING);
	__u32 other, ioas;

	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &ioas));
	ASSERT_EQ(0, map_file_at(self->iommufd, ioas, MAP_RW, file, 0, PAGE,
				 SZ_2M));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	ASSERT_EQ(0, give_iommufd(self));
	device = get_device(self, &self->a);
	ASSERT_LE(0, device);
	EXPECT_FALSE(is_usable(self->iommufd, ioas, MSI_START, MSI_LAST));
	EXPECT_TRUE(is_usable(self->iommufd, other, 0, ~0UL));
	close(device);

	EXPECT_ERRNO(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	ASSERT_EQ(0, iommufd_destroy(self->iommufd, ioas));
	EXPECT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	close(file);
	EXPECT_ERRNO(ENODEV, get_device(self, &self->a));
	/* The id is reused for another IOAS */
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &ioas));
	EXPECT_ERRNO(ENODEV, get_device(self, &self->a));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &other));
	device = get_device(self, &self->a);
	EXPECT_LE(0, device);
	close(device);
}

/* Setting another IOAS moves no device, and a group can't be in two */
TEST_F(stand_in, devices_stay_where_they_are)
{
	__u32 ioas, other;
	int a, b;

	ASSERT_EQ(0, give_iommufd(self));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_GET, &ioas));
	a = get_device(self, &self->a);
	ASSERT_LE(0, a);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &other));
	EXPECT_FALSE(is_usable(self->iommufd, ioas, MSI_START, MSI_LAST));
	/* Nor does opening the device again */
	b = get_device(self, &self->a);
	EXPECT_LE(0, b);
	EXPECT_TRUE(is_usable(self->iommufd, other, 0, ~0UL));
	close(b);
	EXPECT_ERRNO(EINVAL, get_device(self, &self->b));

	ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	b = get_device(self, &self->b);
	EXPECT_LE(0, b);
	close(b);
	close(a);
}

/*
 * Memory is pinned from the first open to the last close, and charged as in
 * type1
 */
TEST_F(stand_in, memory_is_pinned_while_a_device_is_open)
{
	char *buf = map_anon(4 * PAGE);
	int first, second;

	ASSERT_EQ(0, give_iommufd(self));
	ASSERT_EQ(0, drop_cap(CAP_IPC_LOCK));
	ASSERT_EQ(0, legacy_map(self->iommufd, buf, 4 * PAGE, SZ_2M,
				VFIO_DMA_MAP_FLAG_READ));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	first = get_device(self, &self->a);
	second = get_device(self, &self->a);
	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(self->locked + PAGES_KB(4), status_kb("VmLck"));
	close(first);
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	close(second);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
}

/* How often was the PCI device enabled? */
static int nr_enabled(const struct pci_dev *dev)
{
	char path[128];
	int nr = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable",
		 dev->bdf);
	f = fopen(path, "r");
	if (f && fscanf(f, "%d", &nr) != 1)
		nr = -1;
	if (f)
		fclose(f);
	return nr;
}

/*
 * Memory can't be pinned: the driver closes the device again, and nothing is
 * reserved (traps E2, E3)
 */
TEST_F(stand_in, open_that_fails_is_undone)
{
	int enabled = nr_enabled(&self->a);
	void *hole = mmap(NULL, PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 id;
	int device;

	ASSERT_EQ(0, give_iommufd(self));
	ASSERT_EQ(0, legacy_map(self->iommufd, hole, PAGE, SZ_2M,
				VFIO_DMA_MAP_FLAG_READ));
	EXPECT_ERRNO(EFAULT, get_device(self, &self->a));
	EXPECT_ERRNO(EFAULT, get_device(self, &self->a));
	EXPECT_LE(0, enabled);
	EXPECT_EQ(enabled, nr_enabled(&self->a));
	for (id = 2; id < 8; id++)
		EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, id));

	ASSERT_EQ(0, legacy_unmap(self->iommufd, SZ_2M, PAGE));
	device = get_device(self, &self->a);
	EXPECT_LE(0, device);
	close(device);
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));
}

/*
 * A driver of the kernel has a device of the group, so DMA can't be claimed: the
 * open fails and is undone
 */
TEST_F(stand_in, driver_of_the_kernel_excludes_the_group)
{
	int enabled = nr_enabled(&self->a), device;
	__u32 id;

	ASSERT_EQ(0, bind_driver(&self->b, "uio_pci_generic"));
	ASSERT_EQ(0, give_iommufd(self));
	EXPECT_ERRNO(EPERM, get_device(self, &self->a));
	EXPECT_ERRNO(EPERM, get_device(self, &self->a));
	EXPECT_EQ(enabled, nr_enabled(&self->a));
	for (id = 2; id < 8; id++)
		EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, id));
	EXPECT_EQ(0, ioctl(self->group, VFIO_GROUP_UNSET_CONTAINER));

	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	ASSERT_EQ(0, give_iommufd(self));
	device = get_device(self, &self->a);
	EXPECT_LE(0, device);
	close(device);
}

/* From the first open on, the group owns DMA of all its devices */
TEST_F(stand_in, cdev_and_group_exclude_each_other)
{
	int device, cdev, other;

	cdev = open_cdev(&self->b);
	ASSERT_LE(0, cdev);
	other = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, give_iommufd(self));
	device = get_device(self, &self->a);
	ASSERT_LE(0, device);
	EXPECT_ERRNO(EBUSY, bind_iommufd(cdev, self->iommufd, NULL));
	EXPECT_ERRNO(EBUSY, bind_iommufd(cdev, other, NULL));
	/* A device fd keeps the group open */
	close(self->group);
	EXPECT_ERRNO(EBUSY, bind_iommufd(cdev, other, NULL));
	EXPECT_ERRNO(EBUSY, open_group(&self->a));
	close(device);
	EXPECT_EQ(0, bind_iommufd(cdev, other, NULL));
	EXPECT_ERRNO(EBUSY, open_group(&self->a));
	close(cdev);
	self->group = open_group(&self->a);
	EXPECT_LE(0, self->group);
	close(other);
}

/* Close in any order, with memory mapped (trap B13) */
TEST_F(stand_in, files_can_be_closed_in_any_order)
{
	char *buf = map_anon(PAGE);
	int order, device, file[3], watch, i;
	static const int orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};

	for (order = 0; order < 6; order++) {
		ASSERT_EQ(0, give_iommufd(self));
		device = get_device(self, &self->a);
		ASSERT_LE(0, device);
		ASSERT_EQ(0, legacy_map(self->iommufd, buf, PAGE, SZ_2M,
					VFIO_DMA_MAP_FLAG_READ));
		watch = watch_iommufd(self->iommufd);
		ASSERT_LE(0, watch);
		file[0] = self->group;
		file[1] = self->iommufd;
		file[2] = device;
		for (i = 0; i < 3; i++)
			close(file[orders[order][i]]);
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
		EXPECT_TRUE(is_iommufd_gone(watch));
		self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		self->group = open_group(&self->a);
		ASSERT_LE(0, self->group);
	}
}

/*
 * On a device fd from the group BIND fails, and the driver refuses the others
 */
TEST_F(stand_in, requests_of_the_cdev_fail)
{
	__u32 id = 1;
	int device;

	ASSERT_EQ(0, give_iommufd(self));
	device = get_device(self, &self->a);
	ASSERT_LE(0, device);
	EXPECT_ERRNO(EINVAL, bind_iommufd(device, self->iommufd, NULL));
	EXPECT_ERRNO(ENOTTY, attach_pt(device, id, NULL));
	EXPECT_ERRNO(ENOTTY, detach_pt(device));
	close(device);
}

TEST_HARNESS_MAIN

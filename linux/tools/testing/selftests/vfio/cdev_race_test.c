// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that can be done to two devices, by many threads and in any order:
 * through cdevs and group, with hot resets, and with a driver that is unbound
 * and bound. A result that no order explains is an error. At the end both
 * devices work, and nothing is held.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "vfio_util.h"

#define CONFIG_SPACE ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40)

FIXTURE(devices)
{
	struct pci_dev dev[2];
	struct pci_dev pf;
	int iommufd[2];
	__u32 ioas[2];
	long pinned;
};

FIXTURE_VARIANT(devices)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
	bool one_owns_all;
};

/* One group, one dev_set */
FIXTURE_VARIANT_ADD(devices, of_one_group)
{
	.find = find_edu_pair,
	.one_owns_all = true,
};

/* Two groups, one dev_set */
FIXTURE_VARIANT_ADD(devices, of_one_bus)
{
	.find = find_edu_neighbours,
};

/* Two groups, two dev_sets, one bus: VFs of a disk that the kernel drives */
FIXTURE_VARIANT_ADD(devices, of_one_disk)
{
	.find = NULL,
};

FIXTURE_SETUP(devices)
{
	int i;

	if (variant->find) {
		if (variant->find(&self->dev[0], &self->dev[1]))
			SKIP_TEST("no two such devices");
	} else {
		if (find_sriov(&self->pf))
			SKIP_TEST("no device with virtual functions");
		ASSERT_EQ(0, bind_driver(&self->pf, "nvme"));
		ASSERT_EQ(0, set_numvfs(&self->pf, 2));
		ASSERT_EQ(0, find_vf(&self->pf, 0, &self->dev[0]));
		ASSERT_EQ(0, find_vf(&self->pf, 1, &self->dev[1]));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, bind_vfio_pci(&self->dev[i]));
		self->iommufd[i] = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->iommufd[i]);
		ASSERT_EQ(0, alloc_ioas(self->iommufd[i], &self->ioas[i]));
		ASSERT_EQ(0, map_at(self->iommufd[i], self->ioas[i],
				    (uintptr_t)map_anon(SZ_2M), SZ_2M, 0));
	}
	self->pinned = status_kb("VmPin");
	stop = false;
	wrong = 0;
}

FIXTURE_TEARDOWN(devices)
{
	close(self->iommufd[0]);
	close(self->iommufd[1]);
	if (!variant->find)
		set_numvfs(&self->pf, 0);
}

/* Is errno in this list, which ends with 0? */
static bool is_errno(const int *list)
{
	for (; *list; list++)
		if (errno == *list)
			return true;
	return false;
}

#define FAILED_WITH(...) is_errno((const int[]){ __VA_ARGS__, 0 })

/* Hot resets, binds, and opens through the group */
static atomic_int resets, binds, opens;

/* Requests to a device that this thread has bound */
static void use(int device, __u32 ioas, unsigned int *seed)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[16];
	} affected = { .info.argsz = sizeof(affected) };
	struct vfio_pci_hot_reset reset = { .argsz = sizeof(reset) };
	struct vfio_device_info info = { .argsz = sizeof(info) };
	__u16 vendor;
	void *bar;

	switch (rand_r(seed) % 8) {
	case 0:
		/* EINVAL: the other device has the group attached elsewhere */
		CHECK(!attach_pt(device, ioas, NULL) ||
		      FAILED_WITH(EINVAL));
		break;
	case 1:
		CHECK(!detach_pt(device));
		break;
	case 2:
		CHECK(!ioctl(device, VFIO_DEVICE_GET_INFO, &info));
		break;
	case 3:
		CHECK(pread(device, &vendor, 2, CONFIG_SPACE) == 2);
		break;
	case 4:
		bar = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, device, 0);
		CHECK(bar != MAP_FAILED);
		munmap(bar, PAGE);
		break;
	case 5:
		/* ENODEV: the device has no hot reset */
		CHECK(!ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
			     &affected) || FAILED_WITH(EAGAIN, ENODEV));
		break;
	case 6:
		/*
		 * EINVAL: not all are owned. EBUSY: another thread accesses
		 * memory.
		 */
		if (!ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &reset))
			atomic_fetch_add(&resets, 1);
		else
			CHECK(FAILED_WITH(EINVAL, EBUSY, ENODEV, EAGAIN,
					  ENOTTY));
		break;
	default:
		CHECK(!ioctl(device, VFIO_DEVICE_RESET) ||
		      FAILED_WITH(EINVAL, EAGAIN, ENOTTY, EBUSY));
	}
}

static void *use_cdevs(void *arg)
{
	struct _test_data_devices *self = arg;
	unsigned int seed = (uintptr_t)&seed >> 12;
	char byte;

	while (!stop) {
		int nr = rand_r(&seed) % 2, i = rand_r(&seed) % 2, times;
		int device;

		/* If sysfs has no name, open_cdev() does not set errno */
		errno = ENOENT;
		device = open_cdev(&self->dev[nr]);
		if (device < 0) {
			/* The driver is unbound, or about to be */
			CHECK(FAILED_WITH(ENOENT, ENODEV, ENXIO));
			continue;
		}
		CHECK(read(device, &byte, 1) < 0 && errno == EINVAL);
		/*
		 * EBUSY: the group is open. EINVAL: another fd has bound the
		 * device. EPERM: the other iommufd has the group. ENODEV,
		 * EAGAIN, ENOTTY: the device is being removed, or can't be
		 * reset any more.
		 */
		if (bind_iommufd(device, self->iommufd[i], NULL)) {
			CHECK(FAILED_WITH(EBUSY, EINVAL, EPERM, ENODEV, EAGAIN,
					  ENOTTY));
		} else {
			atomic_fetch_add(&binds, 1);
			for (times = rand_r(&seed) % 6; times; times--)
				use(device, self->ioas[i], &seed);
			CHECK(bind_iommufd(device, self->iommufd[i], NULL) &&
			      errno == EINVAL);
		}
		close(device);
	}
	return NULL;
}

static void *use_group(void *arg)
{
	struct _test_data_devices *self = arg;
	unsigned int seed = 1;

	while (!stop) {
		struct legacy l;

		if (!legacy_open(&l, &self->dev[rand_r(&seed) % 2]))
			atomic_fetch_add(&opens, 1);
		else
			CHECK(FAILED_WITH(EBUSY, EINVAL, EPERM, ENODEV, ENOENT,
					  EAGAIN, ENXIO, ENOTTY));
		legacy_close(&l);
	}
	return NULL;
}

static void *remove_driver(void *arg)
{
	struct _test_data_devices *self = arg;

	while (!stop) {
		CHECK(!unbind_driver(&self->dev[1]));
		CHECK(!bind_vfio_pci(&self->dev[1]));
		usleep(20000);
	}
	return NULL;
}

/* Traps E2, E4 to E8, F1 to F6, G1 to G6 */
TEST_F_TIMEOUT(devices, survive_all_at_once, ANY_TIME)
{
	struct vfio_pci_hot_reset reset = { .argsz = sizeof(reset) };
	pthread_t threads[6];
	struct legacy l;
	int i, device;

	START(&threads[0], use_cdevs);
	START(&threads[1], use_cdevs);
	START(&threads[2], use_cdevs);
	START(&threads[3], use_cdevs);
	START(&threads[4], use_group);
	START(&threads[5], remove_driver);
	/* Until both have succeeded, even on a slow machine */
	for (i = 0; i < 60; i++) {
		if (binds && opens)
			break;
		sleep(1);
	}
	run_for(3, threads, 6);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, binds);
	EXPECT_LT(0, opens);
	/* The hot reset of a VF would reset the disk itself */
	if (!variant->find)
		EXPECT_EQ(0, resets);

	for (i = 0; i < 2; i++) {
		device = open_cdev(&self->dev[i]);
		ASSERT_LE(0, device);
		EXPECT_EQ(0, bind_iommufd(device, self->iommufd[i], NULL));
		EXPECT_EQ(0, attach_pt(device, self->ioas[i], NULL));
		EXPECT_EQ(self->pinned + 2048, status_kb("VmPin"));
		/* Whoever owns one device of a group owns all */
		if (variant->one_owns_all)
			EXPECT_EQ(0, ioctl(device, VFIO_DEVICE_PCI_HOT_RESET,
					   &reset));
		close(device);
		EXPECT_EQ(0, legacy_open(&l, &self->dev[i]));
		legacy_close(&l);
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
	}
}

TEST_HARNESS_MAIN

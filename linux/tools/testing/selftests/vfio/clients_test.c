// SPDX-License-Identifier: GPL-2.0
/*
 * The call orders of programs that look for the nodes, each with the errors that
 * it relies on. They choose between node and group before they begin, so one call
 * that fails where they don't expect it breaks a program that works with groups.
 *
 * Each case ends with DMA that arrives. KVM's part of these orders is in kvm_test.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

#define RAM SZ_2M

FIXTURE(client)
{
	struct pci_dev dev;
	int device, iommufd;
	__u32 id, ioas, hwpt;
	int memfd;
	char *ram;
	long pinned;
};

FIXTURE_SETUP(client)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	self->memfd = memfd_create("ram", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->memfd, RAM));
	self->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->memfd, 0);
	ASSERT_NE(MAP_FAILED, self->ram);
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(client)
{
	close(self->device);
	close(self->iommufd);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(self->memfd);
}

/* The device writes to the last page of the RAM, which is mapped at @iova */
static bool dma_arrives(struct _test_data_client *self, __u64 iova)
{
	char *page = self->ram + RAM - PAGE;
	char data[EDU_MAX];
	struct edu edu;
	bool ret;

	fill_pattern(data, EDU_MAX, 1);
	memcpy(page, data, EDU_MAX);
	if (edu_open(&edu, self->device))
		return false;
	ret = !edu_dma_from_ram(&edu, iova + RAM - PAGE, EDU_MAX);
	memset(page, 0, PAGE);
	ret = ret && !edu_dma_to_ram(&edu, iova + RAM - PAGE, EDU_MAX) &&
	      !memcmp(page, data, EDU_MAX);
	edu_close(&edu);
	return ret;
}

#define BIND() bind_iommufd(self->device, self->iommufd, &self->id)
#define IOAS_ALLOC() alloc_ioas(self->iommufd, &self->ioas)
#define ATTACH(pt) attach_pt(self->device, pt, &self->hwpt)
#define MAP_RAM(iova) map_at(self->iommufd, self->ioas, (uintptr_t)self->ram, \
			     RAM, iova)

static int get_info(int device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return ioctl(device, VFIO_DEVICE_GET_INFO, &info);
}

/* QEMU asks for the number of ranges first, then for the ranges */
static int ask_twice(int iommufd, __u32 ioas)
{
	struct iommu_iova_range ranges[64];
	__u32 nr = 0;

	if (!iova_ranges(iommufd, ioas, NULL, &nr, NULL) || errno != EMSGSIZE ||
	    !nr || nr > 64)
		return -1;
	return iova_ranges(iommufd, ioas, ranges, &nr, NULL);
}

/* Find the node as QEMU does: by its number, among all nodes */
static int open_by_number(const struct pci_dev *dev)
{
	char path[PATH_MAX], name[64], number[32] = "";
	unsigned int want_major, want_minor;
	struct dirent *entry;
	struct stat st;
	int fd = -1;
	FILE *f;
	DIR *dir;

	if (vfio_dev_name(dev, name, sizeof(name)))
		return -1;
	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/vfio-dev/%s/dev", dev->bdf, name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (!fgets(number, sizeof(number), f))
		number[0] = 0;
	fclose(f);
	if (sscanf(number, "%u:%u", &want_major, &want_minor) != 2)
		return -1;
	dir = opendir("/dev/vfio/devices");
	while (dir && fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
			 entry->d_name);
		if (!stat(path, &st) && S_ISCHR(st.st_mode) &&
		    st.st_rdev == makedev(want_major, want_minor))
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* What QEMU does when a guest that has the device ends */
static int qemu_ends(struct _test_data_client *self, __u32 hwpt)
{
	/* It tolerates that nothing is mapped */
	if (ioas_unmap(self->iommufd, self->ioas, 0, RAM) ||
	    !ioas_unmap(self->iommufd, self->ioas, 0, RAM) || errno != ENOENT)
		return -1;
	if (detach_pt(self->device) || (hwpt && destroy(self->iommufd, hwpt)))
		return -1;
	return destroy(self->iommufd, self->ioas);
}

TEST_F(client, qemu_9_0)
{
	close(self->device);
	self->device = open_by_number(&self->dev);
	ASSERT_LE(0, self->device);
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_NE(self->ioas, self->hwpt);
	ASSERT_EQ(0, ask_twice(self->iommufd, self->ioas));
	ASSERT_EQ(0, MAP_RAM(0));
	ASSERT_EQ(0, get_info(self->device));
	EXPECT_TRUE(dma_arrives(self, 0));
	EXPECT_EQ(0, qemu_ends(self, 0));
}

TEST_F(client, qemu_10_0_makes_the_page_table)
{
	struct iommu_hw_info_vtd vtd;
	__u32 length = sizeof(vtd), type, hwpt;

	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, hw_info(self->iommufd, self->id, &vtd, &length, &type));
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, alloc_hwpt(self->iommufd, self->id, self->ioas, &hwpt));
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_EQ(hwpt, self->hwpt);
	ASSERT_EQ(0, ask_twice(self->iommufd, self->ioas));
	ASSERT_EQ(0, MAP_RAM(0));
	ASSERT_EQ(0, get_info(self->device));
	EXPECT_TRUE(dma_arrives(self, 0));
	/* In use it stays; QEMU destroys it after the detach */
	EXPECT_ERRNO(EBUSY, destroy(self->iommufd, hwpt));
	EXPECT_EQ(0, qemu_ends(self, hwpt));
}

/* Only EINVAL makes it try the next table, and then one of its own */
TEST_F(client, qemu_tries_another_table_after_EINVAL)
{
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	EXPECT_ERRNO(EINVAL, ATTACH(self->id)); /* Neither IOAS nor table */
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP_RAM(0));
	EXPECT_TRUE(dma_arrives(self, 0));
	EXPECT_EQ(0, qemu_ends(self, 0));
}

TEST_F(client, qemu_10_1_maps_the_file_of_its_ram)
{
	struct iommu_hw_info info = { .size = sizeof(info) };
	__u64 unmapped;
	__u32 hwpt;

	ASSERT_EQ(0, BIND());
	info.dev_id = self->id;
	ASSERT_EQ(0, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_EQ(0, info.out_capabilities);
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, alloc_hwpt(self->iommufd, self->id, self->ioas, &hwpt));
	ASSERT_EQ(0, ATTACH(hwpt));
	ASSERT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW, self->memfd,
				 0, RAM, 0));
	EXPECT_TRUE(dma_arrives(self, 0));
	/* QEMU 11 */
	ASSERT_EQ(0, unmap_all(self->iommufd, self->ioas, &unmapped));
	EXPECT_EQ(RAM, unmapped);
	ASSERT_EQ(0, unmap_all(self->iommufd, self->ioas, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, destroy(self->iommufd, hwpt));
	EXPECT_EQ(0, destroy(self->iommufd, self->ioas));
}

/* A failure is an error here, and not an answer that it takes for another kernel's */
TEST_F(client, qemu_asks_for_hot_reset)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[64];
	} reset = { .info.argsz = sizeof(reset) };

	ASSERT_EQ(0, BIND());
	if (ioctl(self->device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &reset)) {
		EXPECT_EQ(ENODEV, errno);
	} else {
		EXPECT_EQ(VFIO_PCI_HOT_RESET_FLAG_DEV_ID, reset.info.flags &
			  VFIO_PCI_HOT_RESET_FLAG_DEV_ID);
	}
}

/* The IOAS first, and addresses of the kernel's choice */
TEST_F(client, libvfn)
{
	struct iommu_iova_range ranges[64];
	__u32 nr = 64;
	__u64 iova = 0;

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, iova_ranges(self->iommufd, self->ioas, ranges, &nr, NULL));
	ASSERT_LT(0, nr);
	ASSERT_EQ(0, get_info(self->device));
	ASSERT_EQ(0, map(self->iommufd, self->ioas, MAP_RW,
			 (uintptr_t)self->ram, RAM, &iova));
	EXPECT_LE(ranges[0].start, iova);
	EXPECT_TRUE(dma_arrives(self, iova));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, iova, RAM));
}

TEST_F(client, ublksrv)
{
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP_RAM(SZ_1G));
	EXPECT_TRUE(dma_arrives(self, SZ_1G));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SZ_1G, RAM));
}

/* Maps before there is a device, and what is mapped already again */
TEST_F(client, dpdk)
{
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, MAP_RAM(SZ_1G));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_ERRNO(EEXIST, MAP_RAM(SZ_1G));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_ERRNO(EEXIST, MAP_RAM(SZ_1G));
	EXPECT_TRUE(dma_arrives(self, SZ_1G));
}

/* The file of its memory before there is a device; DETACH must not fail */
TEST_F(client, xnvme)
{
	__u64 iova = 0;

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, map_file(self->iommufd, self->ioas, MAP_RW, self->memfd, 0,
			      RAM, &iova));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_TRUE(dma_arrives(self, iova));
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, detach_pt(self->device));
}

/* Panics if UNMAP returns another length than it asked for, or DETACH fails */
TEST_F(client, cloud_hypervisor)
{
	char path[PATH_MAX];
	struct dirent *entry;
	__u64 unmapped;
	int entries = 0;
	DIR *dir;

	/* It demands exactly one entry */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev",
		 self->dev.bdf);
	dir = opendir(path);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir)))
		entries += entry->d_name[0] != '.';
	closedir(dir);
	EXPECT_EQ(1, entries);

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, get_info(self->device));
	ASSERT_EQ(0, MAP_RAM(0));
	EXPECT_TRUE(dma_arrives(self, 0));
	EXPECT_EQ(0, unmap(self->iommufd, self->ioas, 0, RAM, &unmapped));
	EXPECT_EQ(RAM, unmapped);
	EXPECT_EQ(0, detach_pt(self->device));
}

/* Maps registers of the device for others, and goes on without if it can't */
TEST_F(client, openvmm)
{
	struct edu edu;

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW, self->memfd,
				 0, RAM, 0));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, edu_open(&edu, self->device));
	EXPECT_ERRNO(EFAULT, map_at(self->iommufd, self->ioas,
				    (uintptr_t)edu.regs, PAGE, SZ_1G));
	edu_close(&edu);
	EXPECT_TRUE(dma_arrives(self, 0));
}

/* Opens for its QEMU, by a node of its own making, and charges by process */
TEST_F(client, libvirt_and_kubevirt)
{
	const char *path = "/tmp/iommu";
	struct stat st;
	int status;
	pid_t pid;

	close(self->iommufd);
	ASSERT_EQ(0, stat("/dev/iommu", &st));
	unlink(path);
	ASSERT_EQ(0, mknod(path, S_IFCHR | 0600, st.st_rdev));
	self->iommufd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, set_option(self->iommufd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));

	/* Its QEMU has copies of both files, and is who binds */
	pid = fork();
	if (!pid)
		_exit(BIND() || IOAS_ALLOC() || ATTACH(self->ioas) ||
		      MAP_RAM(0) || !dma_arrives(self, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The files of the parent still hold what was bound */
	EXPECT_ERRNO(EBUSY, open_group(&self->dev));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Call orders of programs that use cdevs, with the errors that each relies on.
 * They choose between cdev and group before they begin, so one unexpected
 * failure breaks a program that works with groups.
 *
 * Each case ends with DMA that arrives. kvm_test has KVM's part of these
 * orders.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "p2p_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define RAM_SIZE SZ_2M

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
	ASSERT_EQ(0, ftruncate(self->memfd, RAM_SIZE));
	self->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
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
	char *page = self->ram + RAM_SIZE - PAGE;
	char data[EDU_MAX];
	struct edu edu;
	bool ret;

	fill_pattern(data, EDU_MAX, 1);
	memcpy(page, data, EDU_MAX);
	if (edu_open(&edu, self->device))
		return false;
	ret = !edu_dma_from_ram(&edu, iova + RAM_SIZE - PAGE, EDU_MAX);
	memset(page, 0, PAGE);
	ret = ret && !edu_dma_to_ram(&edu, iova + RAM_SIZE - PAGE, EDU_MAX) &&
	      !memcmp(page, data, EDU_MAX);
	edu_close(&edu);
	return ret;
}

#define BIND() bind_iommufd(self->device, self->iommufd, &self->id)
#define IOAS_ALLOC() alloc_ioas(self->iommufd, &self->ioas)
#define ATTACH(pt) attach_pt(self->device, pt, &self->hwpt)
#define MAP_RAM(iova) map_at(self->iommufd, self->ioas, (uintptr_t)self->ram, \
			     RAM_SIZE, iova)

static int get_info(int device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return ioctl(device, VFIO_DEVICE_GET_INFO, &info);
}

/* QEMU queries the number of ranges first, then the ranges */
static int ask_twice(int iommufd, __u32 ioas)
{
	struct iommu_iova_range ranges[64];
	__u32 nr = 0;

	if (!iova_ranges(iommufd, ioas, NULL, &nr, NULL) || errno != EMSGSIZE ||
	    !nr || nr > 64)
		return -1;
	return iova_ranges(iommufd, ioas, ranges, &nr, NULL);
}

/* Find the cdev as QEMU does: by its number, among all in /dev/vfio/devices */
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

/* QEMU's calls when a guest with the device ends */
static int qemu_ends(struct _test_data_client *self, __u32 hwpt)
{
	/* QEMU accepts that nothing is mapped */
	if (ioas_unmap(self->iommufd, self->ioas, 0, RAM_SIZE) ||
	    !ioas_unmap(self->iommufd, self->ioas, 0, RAM_SIZE) ||
	    errno != ENOENT)
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
	/* EBUSY while it is in use; QEMU destroys it after the detach */
	EXPECT_ERRNO(EBUSY, destroy(self->iommufd, hwpt));
	EXPECT_EQ(0, qemu_ends(self, hwpt));
}

/* Only after EINVAL QEMU tries the next page table, and then one of its own */
TEST_F(client, qemu_tries_another_table_after_EINVAL)
{
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	EXPECT_ERRNO(EINVAL, ATTACH(self->id)); /* Neither IOAS nor page table */
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
				 0, RAM_SIZE, 0));
	EXPECT_TRUE(dma_arrives(self, 0));
	/* QEMU 11 */
	ASSERT_EQ(0, unmap_all(self->iommufd, self->ioas, &unmapped));
	EXPECT_EQ(RAM_SIZE, unmapped);
	ASSERT_EQ(0, unmap_all(self->iommufd, self->ioas, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, destroy(self->iommufd, hwpt));
	EXPECT_EQ(0, destroy(self->iommufd, self->ioas));
}

/*
 * QEMU queries the number of devices, then their ids, and resets only devices
 * that are all its own. Return -1 if it reports an error, 0 if it leaves the
 * devices alone, and 1 after a reset.
 */
static int qemu_resets(int device)
{
	struct vfio_pci_hot_reset reset = { .argsz = sizeof(reset) };
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[64];
	} affected = { .info.argsz = sizeof(affected.info) };
	__u32 i;

	if (!ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &affected) ||
	    errno != ENOSPC || affected.info.count > 64)
		return -1;
	affected.info.argsz = sizeof(affected.info) +
			      affected.info.count * sizeof(affected.devices[0]);
	if (ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &affected) ||
	    !(affected.info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID))
		return -1;
	if (!(affected.info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED))
		return 0;
	for (i = 0; i < affected.info.count; i++)
		if (affected.devices[i].devid == VFIO_PCI_DEVID_NOT_OWNED)
			return -1;
	return ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &reset) ? -1 : 1;
}

/* A device without a hot reset, and one that is reset with its neighbour */
TEST_F(client, qemu_asks_for_hot_reset)
{
	struct pci_dev neighbour;

	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(ENODEV, qemu_resets(self->device));
	close(self->device);

	ASSERT_EQ(0, find_edu_pair(&self->dev, &neighbour));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_driver(&neighbour, "pci-stub"));
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, BIND());
	EXPECT_EQ(0, qemu_resets(self->device));
	ASSERT_EQ(0, bind_vfio_pci(&neighbour));
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP_RAM(0));
	EXPECT_EQ(1, qemu_resets(self->device));
	EXPECT_TRUE(loses_dma(&self->dev) || dma_arrives(self, 0));
	EXPECT_EQ(0, qemu_ends(self, 0));
}

/* IOAS first, and IOVAs of the kernel's choice */
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
			 (uintptr_t)self->ram, RAM_SIZE, &iova));
	EXPECT_LE(ranges[0].start, iova);
	EXPECT_TRUE(dma_arrives(self, iova));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, iova, RAM_SIZE));
}

TEST_F(client, ublksrv)
{
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP_RAM(SZ_1G));
	EXPECT_TRUE(dma_arrives(self, SZ_1G));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, SZ_1G, RAM_SIZE));
}

/* Maps before there is a device, and maps the same again */
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

/* Maps the file of its memory before there is a device; DETACH must not fail */
TEST_F(client, xnvme)
{
	__u64 iova = 0;

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, map_file(self->iommufd, self->ioas, MAP_RW, self->memfd, 0,
			      RAM_SIZE, &iova));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_TRUE(dma_arrives(self, iova));
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, detach_pt(self->device));
}

/* Panics if UNMAP returns another length, or if DETACH fails */
TEST_F(client, cloud_hypervisor)
{
	char path[PATH_MAX];
	struct dirent *entry;
	__u64 unmapped;
	int entries = 0;
	DIR *dir;

	/* It requires exactly one entry */
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
	EXPECT_EQ(0, unmap(self->iommufd, self->ioas, 0, RAM_SIZE, &unmapped));
	EXPECT_EQ(RAM_SIZE, unmapped);
	EXPECT_EQ(0, detach_pt(self->device));
}

/* Maps registers of the device for others, as a dma-buf */
TEST_F(client, openvmm)
{
	int dmabuf;

	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW, self->memfd,
				 0, RAM_SIZE, 0));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	dmabuf = dma_buf_of(self->device, VFIO_PCI_BAR0_REGION_INDEX, 0, PAGE);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW, dmabuf, 0,
				 PAGE, SZ_1G));
	close(dmabuf);
	EXPECT_TRUE(dma_arrives(self, 0));
}

/* Programs that get fds which another process has opened or bound */

/* A user who can't open either node, and has no other process */
#define USER 12005

/* Over a socket, between unrelated programs, together with the id of an IOAS */
static int send_files(int socket, const int files[2], __u32 ioas)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = { };
	struct iovec data = { &ioas, sizeof(ioas) };
	struct msghdr msg = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	control.header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(2 * sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(&control.header), files, 2 * sizeof(int));
	return sendmsg(socket, &msg, 0) == sizeof(ioas) ? 0 : -1;
}

static int receive_files(int socket, int files[2], __u32 *ioas)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = { };
	struct iovec data = { ioas, sizeof(*ioas) };
	struct msghdr msg = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != sizeof(*ioas) ||
	    control.header.cmsg_len != CMSG_LEN(2 * sizeof(int)))
		return -1;
	memcpy(files, CMSG_DATA(&control.header), 2 * sizeof(int));
	return 0;
}

/* Receive both fds as a user who could not open them */
static void take_files(struct __test_metadata *_metadata,
		       struct _test_data_client *self, int socket)
{
	int files[2];

	ASSERT_EQ(0, become_user(USER, 0, RAM_SIZE));
	EXPECT_ERRNO(EACCES, open_cdev(&self->dev));
	EXPECT_ERRNO(EACCES, open("/dev/iommu", O_RDWR));
	ASSERT_EQ(0, receive_files(socket, files, &self->ioas));
	self->device = files[0];
	self->iommufd = files[1];
}

/* KiB that this process has pinned, if it has locked as much; else -1 */
static long charged(void)
{
	long pinned = status_kb("VmPin");

	return pinned == status_kb("VmLck") ? pinned : -1;
}

/* A QEMU of libvirt, which ends when its socket is closed */
static void libvirts_qemu(struct __test_metadata *_metadata,
			  struct _test_data_client *self, int socket)
{
	char *more = map_anon(PAGE);
	char byte = 0;

	take_files(_metadata, self, socket);
	/* It can't choose how memory is charged */
	EXPECT_ERRNO(EPERM, set_option(self->iommufd, IOMMU_OPTION_RLIMIT_MODE,
				       0, 0));
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(0, charged());

	/* Exactly the limit, and not a page more, in one request or two */
	EXPECT_ERRNO(ENOMEM, map_at(self->iommufd, self->ioas,
				    (uintptr_t)map_anon(RAM_SIZE + PAGE),
				    RAM_SIZE + PAGE, 0));
	EXPECT_EQ(0, charged());
	ASSERT_EQ(0, MAP_RAM(0));
	EXPECT_EQ(RAM_SIZE / 1024, charged());
	EXPECT_ERRNO(ENOMEM, map_at(self->iommufd, self->ioas, (uintptr_t)more,
				    PAGE, SZ_1G));
	EXPECT_EQ(RAM_SIZE / 1024, charged());
	/* Memory that it locks counts too */
	EXPECT_ERRNO(ENOMEM, mlock(more, PAGE));

	EXPECT_TRUE(dma_arrives(self, 0));
	EXPECT_EQ(1, write(socket, &byte, 1));
	EXPECT_EQ(0, read(socket, &byte, 1));
	EXPECT_EQ(0, qemu_ends(self, 0));
	EXPECT_EQ(0, charged());
}

/*
 * A process of root opens both, with a node of its own for /dev/iommu, for two
 * QEMUs of one user. Each process is charged for its own mappings only.
 */
TEST_F(client, libvirt_and_kubevirt)
{
	const char *path = "/tmp/iommu";
	int qemus[2], sockets[2], files[2], i, status;
	struct pci_dev devs[2], neighbour;
	struct stat st;
	pid_t pids[2];
	char byte;

	devs[0] = self->dev;
	ASSERT_EQ(0, find_edu_pair(&devs[1], &neighbour));
	ASSERT_EQ(0, bind_vfio_pci(&devs[1]));
	ASSERT_EQ(0, bind_vfio_pci(&neighbour));
	ASSERT_EQ(0, stat("/dev/iommu", &st));
	close(self->device);
	close(self->iommufd);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
		qemus[i] = sockets[0];
		pids[i] = fork();
		if (!pids[i]) {
			while (i >= 0)
				close(qemus[i--]);
			libvirts_qemu(_metadata, self, sockets[1]);
			_exit(_metadata->passed ? 0 : 1);
		}
		close(sockets[1]);

		unlink(path);
		ASSERT_EQ(0, mknod(path, S_IFCHR | 0600, st.st_rdev));
		files[0] = open_cdev(&devs[i]);
		files[1] = open(path, O_RDWR | O_CLOEXEC);
		unlink(path);
		ASSERT_EQ(0, set_option(files[1], IOMMU_OPTION_RLIMIT_MODE, 0,
					1));
		ASSERT_EQ(0, send_files(qemus[i], files, 0));
		close(files[0]);
		close(files[1]);
		EXPECT_EQ(1, read(qemus[i], &byte, 1));
		/*
		 * The process that maps is charged, not the one that opened the
		 * fds
		 */
		EXPECT_EQ(self->pinned, status_kb("VmPin"));
	}
	for (i = 0; i < 2; i++) {
		EXPECT_ERRNO(EBUSY, open_group(&devs[i]));
		close(qemus[i]);
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
		status = open_group(&devs[i]);
		EXPECT_LE(0, status);
		close(status);
	}
}

/* Bind the device, attach it or not, send both fds, and exit */
static void bind_for_others(struct __test_metadata *_metadata,
			    struct _test_data_client *self, int socket,
			    bool attach)
{
	const int files[2] = {
		open_cdev(&self->dev), open("/dev/iommu", O_RDWR | O_CLOEXEC),
	};

	self->device = files[0];
	self->iommufd = files[1];
	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, IOAS_ALLOC());
	ASSERT_EQ(0, attach ? ATTACH(self->ioas) : 0);
	ASSERT_EQ(0, send_files(socket, files, self->ioas));
}

static void use_what_is_bound(struct __test_metadata *_metadata,
			      struct _test_data_client *self, int socket,
			      bool attach)
{
	take_files(_metadata, self, socket);
	EXPECT_ERRNO(EINVAL, BIND());
	ASSERT_EQ(0, attach ? 0 : ATTACH(self->ioas));
	ASSERT_EQ(0, get_info(self->device));
	ASSERT_EQ(0, MAP_RAM(0));
	EXPECT_EQ(RAM_SIZE / 1024, status_kb("VmPin"));
	EXPECT_TRUE(dma_arrives(self, 0));
	EXPECT_EQ(0, qemu_ends(self, 0));
	EXPECT_EQ(0, status_kb("VmPin"));
}

TEST_F(client, bound_files_go_to_another_process)
{
	int sockets[2], attach, group, status;
	pid_t pid;

	close(self->device);
	close(self->iommufd);
	for (attach = 0; attach < 2; attach++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
		pid = fork();
		if (!pid) {
			bind_for_others(_metadata, self, sockets[0], attach);
			_exit(_metadata->passed ? 0 : 1);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		/* The fds are only in the socket, and still hold the device */
		EXPECT_ERRNO(EBUSY, open_group(&self->dev));
		pid = fork();
		if (!pid) {
			use_what_is_bound(_metadata, self, sockets[1], attach);
			_exit(_metadata->passed ? 0 : 1);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		group = open_group(&self->dev);
		EXPECT_LE(0, group);
		close(group);
		close(sockets[0]);
		close(sockets[1]);
	}
}

TEST_HARNESS_MAIN

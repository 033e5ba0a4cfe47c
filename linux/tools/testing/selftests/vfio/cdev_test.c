// SPDX-License-Identifier: GPL-2.0
/*
 * The cdev: its properties, what works before BIND, what BIND, ATTACH and
 * DETACH accept, and how cdev and group exclude each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

/* Ioctl numbers, structures and values that programs use */
TEST(layout_is_that_of_later_kernels)
{
	EXPECT_EQ(0x3b76, VFIO_DEVICE_BIND_IOMMUFD);
	EXPECT_EQ(24, sizeof(struct vfio_device_bind_iommufd));
	EXPECT_EQ(0, offsetof(struct vfio_device_bind_iommufd, argsz));
	EXPECT_EQ(4, offsetof(struct vfio_device_bind_iommufd, flags));
	EXPECT_EQ(8, offsetof(struct vfio_device_bind_iommufd, iommufd));
	EXPECT_EQ(12, offsetof(struct vfio_device_bind_iommufd, out_devid));
	EXPECT_EQ(16, offsetof(struct vfio_device_bind_iommufd, token_uuid_ptr));
	EXPECT_EQ(1, VFIO_DEVICE_BIND_FLAG_TOKEN);
	EXPECT_EQ(0x3b77, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
	EXPECT_EQ(12, sizeof(struct vfio_device_attach_iommufd_pt));
	EXPECT_EQ(4, offsetof(struct vfio_device_attach_iommufd_pt, flags));
	EXPECT_EQ(8, offsetof(struct vfio_device_attach_iommufd_pt, pt_id));
	EXPECT_EQ(0x3b78, VFIO_DEVICE_DETACH_IOMMUFD_PT);
	EXPECT_EQ(8, sizeof(struct vfio_device_detach_iommufd_pt));

	EXPECT_EQ(8, sizeof(struct vfio_pci_dependent_device));
	EXPECT_EQ(0, offsetof(struct vfio_pci_dependent_device, devid));
	EXPECT_EQ(0, VFIO_PCI_DEVID_OWNED);
	EXPECT_EQ(-1, VFIO_PCI_DEVID_NOT_OWNED);
	EXPECT_EQ(1, VFIO_PCI_HOT_RESET_FLAG_DEV_ID);
	EXPECT_EQ(2, VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED);

	EXPECT_EQ(11, VFIO_DEVICE_FEATURE_DMA_BUF);
	EXPECT_EQ(16, sizeof(struct vfio_region_dma_range));
	EXPECT_EQ(8, offsetof(struct vfio_region_dma_range, length));
	EXPECT_EQ(4, offsetof(struct vfio_device_feature_dma_buf, open_flags));
	EXPECT_EQ(8, offsetof(struct vfio_device_feature_dma_buf, flags));
	EXPECT_EQ(12, offsetof(struct vfio_device_feature_dma_buf, nr_ranges));
	EXPECT_EQ(16, offsetof(struct vfio_device_feature_dma_buf, dma_ranges));
}

/* A device alone in its group: its cdev, an iommufd and an IOAS */
FIXTURE(cdev)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 ioas;
	char *buf;
};

FIXTURE_SETUP(cdev)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	self->buf = map_anon(16 * PAGE);
	ASSERT_NE(NULL, self->buf);
}

FIXTURE_TEARDOWN(cdev)
{
	close(self->device);
	close(self->iommufd);
}

#define BIND() bind_iommufd(self->device, self->iommufd, NULL)
#define ATTACH(_pt) attach_pt(self->device, _pt, NULL)
#define MAP(_va, _length, _iova)                                               \
	ioas_map(self->iommufd, self->ioas, _va, _length, _iova, MAP_RW)
#define UNMAP(_iova, _length)                                                  \
	ioas_unmap(self->iommufd, self->ioas, _iova, _length)

/* The cdev */

/* Programs find the cdev through sysfs: one name, and the device number */
TEST_F(cdev, sysfs_has_name_and_number)
{
	char name[64], path[256], text[32], wanted[32];
	struct stat st;
	FILE *f;

	ASSERT_EQ(0, vfio_dev_name(&self->dev, name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev/%s/dev",
		 self->dev.bdf, name);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	ASSERT_NE(NULL, fgets(text, sizeof(text), f));
	fclose(f);

	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	ASSERT_EQ(0, stat(path, &st));
	snprintf(wanted, sizeof(wanted), "%u:%u\n", major(st.st_rdev),
		 minor(st.st_rdev));
	EXPECT_STREQ(wanted, text);
	/* vfioN has minor N */
	EXPECT_EQ(atoi(name + strlen("vfio")), minor(st.st_rdev));
}

/* Only root can open the cdev unless the administrator changes that */
TEST_F(cdev, only_root_can_open)
{
	char path[256];
	struct stat st;

	ASSERT_EQ(0, vfio_cdev_path(&self->dev, path, sizeof(path)));
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
}

/* open() does not touch the device, so any number of fds is harmless */
TEST_F(cdev, many_files_can_be_open)
{
	int fds[64], group, i;

	for (i = 0; i < 64; i++) {
		fds[i] = open_cdev(&self->dev);
		ASSERT_LE(0, fds[i]);
	}
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	for (i = 0; i < 64; i++)
		close(fds[i]);
	EXPECT_EQ(0, BIND());
}

/*
 * Before BIND (trap E4)
 */

/* Nothing can be read from the device */
TEST_F(cdev, read_before_bind_fails)
{
	EXPECT_ERRNO(EINVAL, read(self->device, self->buf, 4));
	EXPECT_ERRNO(EINVAL, pread(self->device, self->buf, 4,
				   (off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40));
}

/* Nothing can be written to it */
TEST_F(cdev, write_before_bind_fails)
{
	EXPECT_ERRNO(EINVAL, write(self->device, self->buf, 4));
	EXPECT_ERRNO(EINVAL, pwrite(self->device, self->buf, 4,
				    (off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40));
}

/*
 * Nor can registers be mapped, even if the driver knows them from an earlier
 * bind
 */
TEST_F(cdev, mmap_before_bind_fails)
{
	void *regs;

	ASSERT_EQ(0, BIND());
	close(self->device);
	self->device = open_cdev(&self->dev);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED,
				   self->device, 0));
	EXPECT_EQ(EINVAL, errno);

	ASSERT_EQ(0, BIND());
	regs = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->device, 0);
	EXPECT_NE(MAP_FAILED, regs);
	munmap(regs, PAGE);
}

/* EINVAL for any ioctl, whether or not a bound device has it */
TEST_F(cdev, ioctl_before_bind_fails)
{
	static const unsigned long words[] = {
		VFIO_DEVICE_GET_INFO,
		VFIO_DEVICE_GET_REGION_INFO,
		VFIO_DEVICE_GET_IRQ_INFO,
		VFIO_DEVICE_SET_IRQS,
		VFIO_DEVICE_RESET,
		VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
		VFIO_DEVICE_PCI_HOT_RESET,
		VFIO_DEVICE_QUERY_GFX_PLANE,
		VFIO_DEVICE_GET_GFX_DMABUF,
		VFIO_DEVICE_IOEVENTFD,
		VFIO_DEVICE_FEATURE,
		VFIO_DEVICE_ATTACH_IOMMUFD_PT,
		VFIO_DEVICE_DETACH_IOMMUFD_PT,
		VFIO_GROUP_GET_STATUS,
		VFIO_GET_API_VERSION,
		0x3b7f,
		0x12345678,
	};
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		memset(self->buf, 0, 64);
		*(__u32 *)self->buf = 64;
		EXPECT_ERRNO(EINVAL, ioctl(self->device, words[i], self->buf));
		EXPECT_ERRNO(EINVAL, ioctl(self->device, words[i], NULL));
	}

	/* The same fd after BIND */
	ASSERT_EQ(0, BIND());
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_ERRNO(ENOTTY, ioctl(self->device, 0x3b7f, self->buf));
}

/*
 * BIND
 */

/* After BIND the fd works like a device fd of a group */
TEST_F(cdev, bind_opens_the_device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 ids[2];
	struct edu edu;
	__u32 id = 0;

	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &id));
	/* All objects share one space of ids; 1 is the IOAS */
	EXPECT_EQ(2, id);
	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_TRUE(info.flags & VFIO_DEVICE_FLAGS_PCI);
	EXPECT_EQ(VFIO_PCI_NUM_REGIONS, info.num_regions);
	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_REGION_INFO, &config));
	ASSERT_EQ(4, pread(self->device, ids, 4, config.offset));
	EXPECT_EQ(0x1234, ids[0]);
	EXPECT_EQ(0x11e8, ids[1]);

	ASSERT_EQ(0, edu_open(&edu, self->device));
	EXPECT_EQ(0x010000ed, edu_read(&edu, 0));
	edu_write(&edu, 4, 0x12345678);
	EXPECT_EQ(~0x12345678U, edu_read(&edu, 4));
	edu_close(&edu);
}

/* Errors of the structure are checked before anything else */
TEST_F(cdev, bind_checks_its_argument)
{
	struct {
		struct vfio_device_bind_iommufd bind;
		__u64 more;
	} cmd = { .bind = { .argsz = 15, .iommufd = self->iommufd } };

	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, NULL));
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &cmd));
	cmd.bind.argsz = 16;
	cmd.bind.flags = 2;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &cmd));
	cmd.bind.flags = 0;
	cmd.bind.iommufd = -1;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &cmd));
	cmd.bind.iommufd = self->iommufd;
	cmd.bind.argsz = sizeof(cmd);
	cmd.more = 1;
	EXPECT_ERRNO(E2BIG, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &cmd));
	/* A structure of a later header, with zero in the new field */
	cmd.more = 0;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &cmd));
}

/* The structure has at most a page; 0 is an fd like any other */
TEST_F(cdev, bind_takes_a_page_and_fd_0)
{
	struct vfio_device_bind_iommufd *bind = (void *)self->buf;

	ASSERT_EQ(0, dup2(self->iommufd, 0));
	bind->argsz = PAGE + 1;
	EXPECT_ERRNO(E2BIG, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, bind));
	bind->argsz = PAGE;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, bind));
	close(0);
}

/* If there are several errors, the first of the documented order is returned */
TEST_F(cdev, bind_tells_the_first_error)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = 16,
		.flags = 2,
		.iommufd = 1000,
	};
	struct {
		struct vfio_device_bind_iommufd bind;
		__u64 more;
	} longer = { .bind = bind, .more = 1 };
	int group = open_group(&self->dev), second;

	/* In the structure: the unknown part, the fields, then the token */
	longer.bind.argsz = sizeof(longer);
	EXPECT_ERRNO(E2BIG, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD,
				  &longer));
	longer.more = 0;
	longer.bind.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD,
				   &longer));
	longer.bind.iommufd = -1;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD,
				   &longer));
	/* The structure, then the group, then this fd, then the iommufd */
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	bind.flags = 0;
	EXPECT_ERRNO(EBUSY, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	close(group);
	EXPECT_ERRNO(EBADF, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	/* Last: another fd has bound the device */
	second = open_cdev(&self->dev);
	EXPECT_ERRNO(EBADF, bind_iommufd(second, 1000, NULL));
	EXPECT_ERRNO(EBADFD, bind_iommufd(second, second, NULL));
	EXPECT_ERRNO(EINVAL, bind_iommufd(second, self->iommufd, NULL));
	close(second);
}

/* The first version of the structure works, also at the end of memory */
TEST_F(cdev, bind_takes_the_first_structure)
{
	struct vfio_device_bind_iommufd *bind;

	bind = (void *)(self->buf + PAGE - 16);
	ASSERT_EQ(0, munmap(self->buf + PAGE, PAGE));
	bind->argsz = 16;
	bind->iommufd = self->iommufd;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, bind));
	EXPECT_EQ(2, bind->out_devid);
}

/* The kernel writes only the answer to the structures (trap E16) */
TEST_F(cdev, answers_change_nothing_else)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = self->iommufd,
		.out_devid = 77,
		.token_uuid_ptr = 0x123456789abcULL,
	};
	struct vfio_device_bind_iommufd bound = bind;
	struct vfio_device_attach_iommufd_pt attach[2] = {
		{ .argsz = sizeof(*attach), .pt_id = self->ioas },
		{ ~0, ~0, ~0 },
	};

	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bound));
	bind.out_devid = 2;
	EXPECT_EQ(0, memcmp(&bind, &bound, sizeof(bind)));
	attach[0].argsz = sizeof(attach);
	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach));
	EXPECT_EQ(sizeof(attach), attach[0].argsz);
	EXPECT_EQ(0, attach[0].flags);
	EXPECT_EQ(3, attach[0].pt_id);
	EXPECT_TRUE(is_byte(&attach[1], sizeof(attach[1]), 0xff));
}

/* A token for a device that does not take one (trap E1) */
TEST_F(cdev, bind_with_useless_token_is_EINVAL)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.flags = VFIO_DEVICE_BIND_FLAG_TOKEN,
		.iommufd = self->iommufd,
		.token_uuid_ptr = (uintptr_t)self->buf,
	};

	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	bind.token_uuid_ptr = 0;
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	EXPECT_EQ(0, BIND());
}

/* Not an open file: closed, or O_PATH (trap E15) */
TEST_F(cdev, bind_to_closed_fd_is_EBADF)
{
	int path = open("/dev/iommu", O_PATH);

	EXPECT_ERRNO(EBADF, bind_iommufd(self->device, 1000, NULL));
	EXPECT_ERRNO(EBADF, bind_iommufd(self->device, path, NULL));
	close(path);
}

/* A file that is not an iommufd, which is let go of (trap E15) */
TEST_F(cdev, bind_to_other_file_is_EBADFD)
{
	int event = eventfd(0, 0);
	int memfd = memfd_create("x", 0);
	int pipes[2];
	char byte;

	EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, self->device, NULL));
	EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, event, NULL));
	EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, memfd, NULL));
	close(event);
	close(memfd);
	/* The pipe has no writer after that */
	ASSERT_EQ(0, pipe2(pipes, O_NONBLOCK));
	EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, pipes[1], NULL));
	close(pipes[1]);
	EXPECT_EQ(0, read(pipes[0], &byte, 1));
	close(pipes[0]);
}

TEST_F(cdev, bind_to_container_is_EBADFD)
{
	int container = open("/dev/vfio/vfio", O_RDWR);

	EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, container, NULL));
	close(container);
}

/* An fd can be bound once (trap E6) */
TEST_F(cdev, bind_twice_is_EINVAL)
{
	int other = open("/dev/iommu", O_RDWR);

	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EINVAL, BIND());
	EXPECT_ERRNO(EINVAL, bind_iommufd(self->device, other, NULL));
	/* It is still bound to the first iommufd */
	EXPECT_EQ(0, ATTACH(self->ioas));
	close(other);
}

/* A device can be bound by one fd (trap E5) */
TEST_F(cdev, second_file_cannot_bind)
{
	int second = open_cdev(&self->dev);

	ASSERT_LE(0, second);
	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EINVAL, bind_iommufd(second, self->iommufd, NULL));
	EXPECT_ERRNO(EINVAL, read(second, self->buf, 4));
	close(self->device);
	EXPECT_EQ(0, bind_iommufd(second, self->iommufd, NULL));
	close(second);
	self->device = open_cdev(&self->dev);
}

/*
 * A failed BIND is undone: the fd can be bound, and the group opened (trap G3)
 */
TEST_F(cdev, failed_bind_is_undone)
{
	int i, group;

	for (i = 0; i < 10; i++) {
		EXPECT_ERRNO(EBADF, bind_iommufd(self->device, 1000, NULL));
		EXPECT_ERRNO(EBADFD, bind_iommufd(self->device, self->device,
						  NULL));
	}
	group = open_group(&self->dev);
	ASSERT_LE(0, group);
	close(group);
	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EINVAL, BIND());
	EXPECT_ERRNO(EBUSY, open_group(&self->dev));
	close(self->device);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	self->device = open_cdev(&self->dev);
}

/*
 * The id can't be written: BIND is undone, and the id is free (traps A14, E6)
 */
TEST_F(cdev, bind_with_unwritable_answer_is_undone)
{
	struct vfio_device_bind_iommufd *bind = (void *)self->buf;
	__u32 id;
	int group;

	*bind = (struct vfio_device_bind_iommufd){
		.argsz = sizeof(*bind),
		.iommufd = self->iommufd,
	};
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, bind));
	EXPECT_ERRNO(EINVAL, read(self->device, self->buf + PAGE, 4));
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, &id));
	EXPECT_EQ(2, id);
}

/* The object exists as long as the device is bound (trap B9) */
TEST_F(cdev, destroy_of_bound_device_is_EBUSY)
{
	__u32 id;

	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &id));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, id));
	close(self->device);
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, id));
	self->device = open_cdev(&self->dev);
}

/* fds can be closed in any order, and then everything is released (trap B13) */
TEST_F(cdev, iommufd_can_be_closed_first)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	long pinned = status_kb("VmPin");
	int group;

	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP(self->buf, 4 * PAGE, SZ_2M));
	EXPECT_EQ(pinned + PAGES_KB(4), status_kb("VmPin"));
	close(self->iommufd);
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(pinned + PAGES_KB(4), status_kb("VmPin"));
	close(self->device);
	EXPECT_EQ(pinned, status_kb("VmPin"));
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
}

/* Neither a BIND that succeeds nor one that fails keeps the iommufd for good */
TEST_F(cdev, closed_iommufd_is_gone)
{
	int second = open_cdev(&self->dev), watch;
	char token[16];

	watch = watch_iommufd(self->iommufd);
	ASSERT_LE(0, watch);
	EXPECT_ERRNO(EINVAL, bind_with_token(self->device, self->iommufd, token,
					     NULL));
	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EINVAL, bind_iommufd(second, self->iommufd, NULL));
	close(self->iommufd);
	close(self->device);
	EXPECT_TRUE(is_iommufd_gone(watch));
	close(second);
}

/* A child keeps the device bound until the last fd is closed */
TEST_F(cdev, bound_file_can_be_inherited)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int pipes[2], status, group;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, BIND());
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid) {
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) ||
		      ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	}
	close(self->device);
	EXPECT_ERRNO(EBUSY, open_group(&self->dev));
	close(pipes[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	self->device = open_cdev(&self->dev);
}

/*
 * The group (traps G1 to G5)
 */

/*
 * While a device is bound through its cdev, nobody can open the group, not even
 * root
 */
TEST_F(cdev, group_of_bound_device_is_EBUSY)
{
	int group;

	ASSERT_EQ(0, BIND());
	EXPECT_ERRNO(EBUSY, open_group(&self->dev));
	close(self->device);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	self->device = open_cdev(&self->dev);
}

/* While the group is open, used or not, BIND fails */
TEST_F(cdev, bind_with_open_group_is_EBUSY)
{
	int group = open_group(&self->dev);

	ASSERT_LE(0, group);
	EXPECT_ERRNO(EBUSY, BIND());
	/* The group is checked before the iommufd */
	EXPECT_ERRNO(EBUSY, bind_iommufd(self->device, 1000, NULL));
	close(group);
	EXPECT_EQ(0, BIND());
}

/* A device fd from the group keeps the group open */
TEST_F(cdev, bind_with_device_of_group_is_EBUSY)
{
	struct legacy l;

	ASSERT_EQ(0, legacy_open(&l, &self->dev));
	EXPECT_ERRNO(EBUSY, BIND());
	close(l.group);
	close(l.container);
	EXPECT_ERRNO(EBUSY, BIND());
	close(l.device);
	EXPECT_EQ(0, BIND());
}

/* Ioctls of the cdev on a device fd from the group */
TEST_F(cdev, group_file_has_no_bind_or_attach)
{
	struct legacy l;

	ASSERT_EQ(0, legacy_open(&l, &self->dev));
	EXPECT_ERRNO(EINVAL, bind_iommufd(l.device, self->iommufd, NULL));
	EXPECT_ERRNO(ENOTTY, attach_pt(l.device, self->ioas, NULL));
	EXPECT_ERRNO(ENOTTY, detach_pt(l.device));
	legacy_close(&l);
}

/*
 * ATTACH and DETACH
 */

FIXTURE(bound)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 ioas;
	__u32 id;
	__u64 last;
	char *buf;
};

FIXTURE_SETUP(bound)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->last = last_iova(&self->dev);
	ASSERT_NE(0, self->last);
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->id));
	self->buf = map_anon(16 * PAGE);
	ASSERT_NE(NULL, self->buf);
}

FIXTURE_TEARDOWN(bound)
{
	close(self->device);
	close(self->iommufd);
}

/* Errors of the structure */
TEST_F(bound, attach_checks_its_argument)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = 11,
		.pt_id = self->ioas,
	};

	EXPECT_ERRNO(EFAULT,
		     ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL));
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach));
	attach.argsz = 12;
	attach.flags = 1;
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach));
	attach.flags = 0;
	attach.argsz = 16;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach));
}

/* Errors of the structure */
TEST_F(bound, detach_checks_its_argument)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = 7 };
	__u32 hwpt;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &hwpt));
	EXPECT_ERRNO(EFAULT,
		     ioctl(self->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, NULL));
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
	detach.argsz = 8;
	detach.flags = 1;
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
	/* It is still attached */
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, hwpt));
	detach.flags = 0;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, hwpt));
}

/* An id that does not exist, and one of another object */
TEST_F(bound, attach_to_bad_id_fails)
{
	EXPECT_ERRNO(ENOENT, ATTACH(0));
	EXPECT_ERRNO(ENOENT, ATTACH(99));
	EXPECT_ERRNO(ENOENT, ATTACH(~0U));
	EXPECT_ERRNO(EINVAL, ATTACH(self->id));
	EXPECT_EQ(0, ATTACH(self->ioas));
}

/*
 * ATTACH returns the page table. It holds a reference to the IOAS, and can't be
 * destroyed (trap B9).
 */
TEST_F(bound, attach_makes_a_page_table)
{
	__u32 hwpt, again;

	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &hwpt));
	EXPECT_EQ(3, hwpt);
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, hwpt));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, self->ioas));
	/*
	 * It can be attached by its own id, and is still the one for the IOAS
	 */
	EXPECT_EQ(0, attach_pt(self->device, hwpt, &again));
	EXPECT_EQ(hwpt, again);
	EXPECT_EQ(0, attach_pt(self->device, self->ioas, &again));
	EXPECT_EQ(hwpt, again);
	/* It goes with the last device */
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, hwpt));
	EXPECT_ERRNO(ENOENT, ATTACH(hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

/* Detaching a device that is not attached succeeds */
TEST_F(bound, detach_is_idempotent)
{
	EXPECT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, ATTACH(self->ioas));
}

/*
 * A second attach moves the device: the old page table is destroyed, and pins
 * follow
 */
TEST_F(bound, second_attach_moves_the_device)
{
	long pinned = status_kb("VmPin");
	__u32 other, hwpt1, hwpt2;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, MAP(self->buf, PAGE, SZ_2M));
	ASSERT_EQ(0, ioas_map(self->iommufd, other, self->buf, 2 * PAGE, SZ_2M,
			      MAP_RW));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &hwpt1));
	EXPECT_EQ(pinned + PAGES_KB(1), status_kb("VmPin"));
	ASSERT_EQ(0, attach_pt(self->device, other, &hwpt2));
	EXPECT_EQ(pinned + PAGES_KB(2), status_kb("VmPin"));
	EXPECT_NE(hwpt1, hwpt2);
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, hwpt1));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, other));
}

/* Is the device's MSI range reserved in this IOAS? */
#define RESERVES(_ioas) (!is_usable(self->iommufd, _ioas, MSI_START, MSI_LAST))

/* A failed move leaves the device and both IOAS unchanged (traps A15, C3) */
TEST_F(bound, failed_move_changes_nothing)
{
	__u32 other, hwpt, now;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &hwpt));

	/* Something is mapped in the MSI range */
	ASSERT_EQ(0, ioas_map(self->iommufd, other, self->buf, PAGE, MSI_START,
			      MAP_RW));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(other));
	EXPECT_FALSE(RESERVES(other));
	EXPECT_TRUE(RESERVES(self->ioas));

	/* Memory can't be pinned, which is detected late */
	ASSERT_EQ(0, ioas_unmap(self->iommufd, other, 0, ~0UL));
	ASSERT_EQ(0, ioas_map(self->iommufd, other, (void *)PAGE, PAGE, SZ_2M,
			      MAP_RW));
	EXPECT_ERRNO(EFAULT, ATTACH(other));
	EXPECT_FALSE(RESERVES(other));
	EXPECT_TRUE(RESERVES(self->ioas));

	EXPECT_EQ(0, attach_pt(self->device, self->ioas, &now));
	EXPECT_EQ(hwpt, now);
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, other));
}

/*
 * If the answer can't be written, the device stays where it was (traps A14, C4)
 */
TEST_F(bound, attach_with_unwritable_answer_is_undone)
{
	struct vfio_device_attach_iommufd_pt *attach = (void *)self->buf;
	__u32 other, hwpt, now;

	attach->argsz = sizeof(*attach);
	attach->pt_id = self->ioas;
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_FALSE(RESERVES(self->ioas));

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, attach_pt(self->device, other, &hwpt));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_FALSE(RESERVES(self->ioas));
	EXPECT_TRUE(RESERVES(other));
	EXPECT_EQ(0, attach_pt(self->device, other, &now));
	EXPECT_EQ(hwpt, now);
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

/*
 * Unusable: what the IOMMU reserves, such as the MSI range, and what is beyond
 * its reach. Everything else is usable.
 */
TEST_F(bound, attach_limits_the_ranges)
{
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = self->ioas,
	};
	unsigned int bits = iommu_bits(&self->dev), nr = 1;
	unsigned long long start, end, next = 0;
	bool msi = false;
	char path[64];
	FILE *f;

	if (bits)
		EXPECT_EQ(~0ULL >> (64 - bits), self->last);
	ASSERT_EQ(0, ATTACH(self->ioas));
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/reserved_regions",
		 self->dev.group);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fscanf(f, "%llx %llx %*s", &start, &end) == 2 && end < self->last) {
		EXPECT_TRUE(is_usable(self->iommufd, self->ioas, next, start - 1));
		EXPECT_FALSE(is_usable(self->iommufd, self->ioas, start, start));
		EXPECT_FALSE(is_usable(self->iommufd, self->ioas, end, end));
		EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, start));
		EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, end - PAGE + 1));
		EXPECT_ERRNO(EINVAL, MAP(self->buf, 2 * PAGE, start - PAGE));
		EXPECT_EQ(0, MAP(self->buf, PAGE, start - PAGE));
		msi |= start == MSI_START && end == MSI_LAST;
		next = end + 1;
		nr++;
	}
	fclose(f);
	EXPECT_ERRNO(EMSGSIZE,
		     ioctl(self->iommufd, IOMMU_IOAS_IOVA_RANGES, &ranges));
	EXPECT_EQ(nr, ranges.num_iovas);
	EXPECT_TRUE(msi);
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, next, self->last));
	EXPECT_EQ(0, MAP(self->buf, PAGE, self->last - PAGE + 1));
	if (self->last != ~0ULL) {
		EXPECT_FALSE(is_usable(self->iommufd, self->ioas, self->last + 1,
				       self->last + 1));
		EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, self->last + 1));
	}

	EXPECT_EQ(0, detach_pt(self->device));
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, 0, ~0UL));
	EXPECT_EQ(0, MAP(self->buf, PAGE, MSI_START));
}

/*
 * If a mapping does not suit the device, the attach fails, for whatever reason
 */
TEST_F(bound, attach_to_unsuitable_mapping_is_EADDRINUSE)
{
	ASSERT_EQ(0, MAP(self->buf, PAGE, MSI_START + PAGE));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
	ASSERT_EQ(0, UNMAP(0, ~0UL));
	if (self->last != ~0ULL) {
		ASSERT_EQ(0, MAP(self->buf, PAGE, self->last + 1));
		EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
		ASSERT_EQ(0, UNMAP(0, ~0UL));
	}
	/* trap A13 */
	ASSERT_EQ(0, MAP(self->buf, 100, PAGE));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
	ASSERT_EQ(0, UNMAP(0, ~0UL));
	ASSERT_EQ(0, MAP(self->buf + 16, PAGE, PAGE));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
	ASSERT_EQ(0, UNMAP(0, ~0UL));
	EXPECT_EQ(0, ATTACH(self->ioas));
}

/* While a device is attached, mappings consist of whole pages (trap A13) */
TEST_F(bound, attach_sets_the_alignment)
{
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = self->ioas,
	};

	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_ERRNO(EMSGSIZE,
		     ioctl(self->iommufd, IOMMU_IOAS_IOVA_RANGES, &ranges));
	EXPECT_LE(2, ranges.num_iovas);
	EXPECT_EQ(PAGE, ranges.out_iova_alignment);
	EXPECT_ERRNO(EINVAL, MAP(self->buf, 100, PAGE));
	EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, 100));
	EXPECT_ERRNO(EINVAL, MAP(self->buf + 16, PAGE, PAGE));

	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, MAP(self->buf + 16, 100, 100));
}

/*
 * Memory
 */

/* Without a page table nothing is pinned */
TEST_F(bound, map_before_attach_pins_at_attach)
{
	long pinned = status_kb("VmPin");

	ASSERT_EQ(0, MAP(self->buf, 8 * PAGE, SZ_2M));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(pinned + PAGES_KB(8), status_kb("VmPin"));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(pinned + PAGES_KB(8), status_kb("VmPin"));
	ASSERT_EQ(0, UNMAP(SZ_2M, 8 * PAGE));
	EXPECT_EQ(pinned, status_kb("VmPin"));
}

/* If a device is attached, MAP detects memory that can't be pinned */
TEST_F(bound, map_of_bad_memory_is_EFAULT)
{
	long pinned = status_kb("VmPin");
	char *ro;

	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_ERRNO(EFAULT, MAP((void *)PAGE, PAGE, SZ_2M));
	/* A hole in the middle; pages before it are unpinned again */
	ASSERT_EQ(0, munmap(self->buf + 5 * PAGE, PAGE));
	EXPECT_ERRNO(EFAULT, MAP(self->buf, 16 * PAGE, SZ_2M));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	/* A read-only mapping of the process for devices to write */
	ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_ERRNO(EFAULT, MAP(ro, PAGE, SZ_2M));
	EXPECT_EQ(0, ioas_map(self->iommufd, self->ioas, ro, PAGE, SZ_2M,
			      IOMMU_IOAS_MAP_READABLE));
	EXPECT_EQ(0, MAP(self->buf, 5 * PAGE, 2 * SZ_2M));
}

/* I/O memory that VFIO has not mapped, so nobody would revoke it */
TEST_F(bound, map_of_other_registers_is_EFAULT)
{
	char path[128];
	void *regs;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0",
		 self->dev.bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, regs);
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_ERRNO(EFAULT, MAP(regs, PAGE, SZ_2M));
	munmap(regs, PAGE);
	close(fd);
}

/* If memory can't be pinned, the attach fails with the same error */
TEST_F(bound, attach_to_bad_memory_is_EFAULT)
{
	long pinned = status_kb("VmPin");

	ASSERT_EQ(0, MAP(self->buf, PAGE, SZ_2M));
	ASSERT_EQ(0, MAP((void *)PAGE, PAGE, 2 * SZ_2M));
	EXPECT_ERRNO(EFAULT, ATTACH(self->ioas));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, 0, ~0UL));
	ASSERT_EQ(0, UNMAP(2 * SZ_2M, PAGE));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(pinned + PAGES_KB(1), status_kb("VmPin"));
}

/* The limit is exact to a page (traps J1, J2) */
TEST_F(bound, memlock_limit_is_exact)
{
	long pinned = status_kb("VmPin");

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, limit_memlock(8 * PAGE));
	EXPECT_ERRNO(ENOMEM, MAP(self->buf, 9 * PAGE, SZ_2M));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	EXPECT_EQ(0, MAP(self->buf, 8 * PAGE, SZ_2M));
	EXPECT_ERRNO(ENOMEM, MAP(self->buf, PAGE, 2 * SZ_2M));
	EXPECT_EQ(pinned + PAGES_KB(8), status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP(SZ_2M, 8 * PAGE));
	EXPECT_EQ(0, MAP(self->buf, 8 * PAGE, SZ_2M));
	EXPECT_EQ(0, UNMAP(SZ_2M, 8 * PAGE));
	EXPECT_EQ(pinned, status_kb("VmPin"));
}

/* Half an area can't be unmapped with a device attached, and stays whole */
TEST_F(bound, unmap_of_half_an_area_is_ENOENT)
{
	long pinned = status_kb("VmPin");

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP(self->buf, 4 * PAGE, SZ_2M));
	EXPECT_ERRNO(ENOENT, UNMAP(SZ_2M, 2 * PAGE));
	EXPECT_ERRNO(ENOENT, UNMAP(SZ_2M + 2 * PAGE, 2 * PAGE));
	EXPECT_EQ(pinned + PAGES_KB(4), status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP(SZ_2M, 4 * PAGE));
	EXPECT_EQ(pinned, status_kb("VmPin"));
}

/* The limit is that of the process that maps, when it maps (trap J7) */
TEST_F(bound, memlock_limit_is_the_mappers)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, ATTACH(self->ioas));
	pid = fork();
	if (!pid) {
		if (limit_memlock(2 * PAGE) ||
		    MAP(self->buf, 2 * PAGE, SZ_2M) ||
		    !MAP(self->buf, PAGE, 2 * SZ_2M) || errno != ENOMEM)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/*
	 * After the child's exit its pages are still charged, until they are
	 * unmapped
	 */
	ASSERT_EQ(0, limit_memlock(2 * PAGE));
	EXPECT_ERRNO(ENOMEM, MAP(self->buf, PAGE, 3 * SZ_2M));
	ASSERT_EQ(0, UNMAP(SZ_2M, 2 * PAGE));
	EXPECT_EQ(0, MAP(self->buf, 2 * PAGE, SZ_2M));
	EXPECT_ERRNO(ENOMEM, MAP(self->buf, PAGE, 3 * SZ_2M));
}

/* The limit applies to the attach; failed attaches leave no charge (trap J2) */
TEST_F(bound, memlock_limit_counts_at_attach)
{
	long pinned = status_kb("VmPin");
	int i;

	ASSERT_EQ(0, limit_memlock(8 * PAGE));
	ASSERT_EQ(0, MAP(self->buf, 8 * PAGE, SZ_2M));
	ASSERT_EQ(0, MAP(self->buf, PAGE, 2 * SZ_2M));
	for (i = 0; i < 20; i++) {
		EXPECT_ERRNO(ENOMEM, ATTACH(self->ioas));
		EXPECT_EQ(pinned, status_kb("VmPin"));
	}
	ASSERT_EQ(0, UNMAP(2 * SZ_2M, PAGE));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(pinned + PAGES_KB(8), status_kb("VmPin"));
}

/* Whether the limit applies is decided when memory is mapped (trap J5) */
TEST_F(bound, privileged_mapping_stays_free_of_charge)
{
	ASSERT_EQ(0, MAP(self->buf, 8 * PAGE, SZ_2M));
	ASSERT_EQ(0, limit_memlock(PAGE));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(0, MAP(self->buf, PAGE, 2 * SZ_2M));
	EXPECT_EQ(0, UNMAP(SZ_2M, 8 * PAGE));
	EXPECT_ERRNO(ENOMEM, MAP(self->buf, PAGE, SZ_2M));
	EXPECT_EQ(0, UNMAP(2 * SZ_2M, PAGE));
	EXPECT_EQ(0, MAP(self->buf, PAGE, SZ_2M));
}

/*
 * After the process exits, what it pinned stays pinned; what it only mapped
 * can't be pinned (trap J4)
 */
TEST_F(bound, mapper_may_exit)
{
	__u32 other;
	int status;
	pid_t pid;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, ATTACH(self->ioas));
	pid = fork();
	if (!pid) {
		if (MAP(self->buf, 4 * PAGE, SZ_2M) ||
		    ioas_map(self->iommufd, other, self->buf, PAGE, SZ_2M, MAP_RW))
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_ERRNO(EFAULT, ATTACH(other));
	EXPECT_EQ(0, UNMAP(SZ_2M, 4 * PAGE));
}

/* Closing the device unpins everything that is mapped */
TEST_F(bound, close_unpins)
{
	long pinned = status_kb("VmPin");
	int i;

	ASSERT_EQ(0, ATTACH(self->ioas));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, MAP(self->buf, 2 * PAGE, SZ_2M + i * 4 * PAGE));
	EXPECT_EQ(pinned + PAGES_KB(200), status_kb("VmPin"));
	close(self->device);
	EXPECT_EQ(pinned, status_kb("VmPin"));
	close(self->iommufd);
}

/*
 * Two devices that share a group
 */
FIXTURE(pair)
{
	struct pci_dev a, b;
	int dev_a, dev_b;
	int iommufd;
	__u32 ioas;
};

FIXTURE_SETUP(pair)
{
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->dev_a = open_cdev(&self->a);
	self->dev_b = open_cdev(&self->b);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->dev_a);
	ASSERT_LE(0, self->dev_b);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
}

FIXTURE_TEARDOWN(pair)
{
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
}

/*
 * With one iommufd both are bound, each has an id, and they share a page table
 */
TEST_F(pair, one_context_gets_both)
{
	__u32 id_a, id_b, hwpt_a, hwpt_b;

	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, &id_a));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, &id_b));
	EXPECT_NE(id_a, id_b);
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, &hwpt_a));
	ASSERT_EQ(0, attach_pt(self->dev_b, self->ioas, &hwpt_b));
	EXPECT_EQ(hwpt_a, hwpt_b);
	/* The page table exists until the second device is detached */
	EXPECT_EQ(0, detach_pt(self->dev_a));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, hwpt_a));
	EXPECT_EQ(0, detach_pt(self->dev_b));
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, hwpt_a));
}

/*
 * Another iommufd can't bind any device of the group until all are closed
 * (traps C8, G6)
 */
TEST_F(pair, other_context_is_EPERM)
{
	int other = open("/dev/iommu", O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	EXPECT_ERRNO(EPERM, bind_iommufd(self->dev_b, other, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	close(self->dev_a);
	self->dev_a = open_cdev(&self->a);
	EXPECT_ERRNO(EPERM, bind_iommufd(self->dev_a, other, NULL));
	close(self->dev_b);
	EXPECT_EQ(0, bind_iommufd(self->dev_a, other, NULL));
	self->dev_b = open_cdev(&self->b);
	close(other);
}

/* The group can't be opened until its last device is closed (traps G1, G3) */
TEST_F(pair, group_waits_for_both)
{
	int group;

	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	close(self->dev_a);
	EXPECT_ERRNO(EBUSY, open_group(&self->b));
	close(self->dev_b);
	group = open_group(&self->b);
	EXPECT_LE(0, group);
	close(group);
	self->dev_a = open_cdev(&self->a);
	self->dev_b = open_cdev(&self->b);
}

/*
 * The second device can neither get another page table nor move the first (trap
 * C1)
 */
TEST_F(pair, second_device_cannot_have_another_table)
{
	__u32 other, hwpt, now;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, &hwpt));
	EXPECT_ERRNO(EINVAL, attach_pt(self->dev_b, other, NULL));
	EXPECT_EQ(0, attach_pt(self->dev_b, hwpt, &now));
	EXPECT_EQ(hwpt, now);
}

/* An attach of either device moves both */
TEST_F(pair, move_takes_the_whole_group)
{
	__u32 other, old, new, now;

	ASSERT_EQ(0, ioas_alloc(self->iommufd, &other));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, &old));
	ASSERT_EQ(0, attach_pt(self->dev_b, self->ioas, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_b, other, &new));
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, old));
	EXPECT_EQ(0, attach_pt(self->dev_a, other, &now));
	EXPECT_EQ(new, now);
	/* Closing one leaves the other attached */
	close(self->dev_a);
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, new));
	self->dev_a = open_cdev(&self->a);
}

/*
 * While a kernel driver that uses DMA has one device of the group, others can't
 * be bound; and the reverse (traps C8, G7)
 */
TEST_F(pair, driver_of_the_kernel_excludes_the_group)
{
	int group;

	close(self->dev_b);
	ASSERT_EQ(0, bind_driver(&self->b, "uio_pci_generic"));
	EXPECT_ERRNO(EPERM, bind_iommufd(self->dev_a, self->iommufd, NULL));
	group = open_group(&self->a);
	EXPECT_LE(0, group);
	close(group);

	ASSERT_EQ(0, unbind_driver(&self->b));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	EXPECT_EQ(-1, bind_driver(&self->b, "uio_pci_generic"));
	close(self->dev_a);
	EXPECT_EQ(0, bind_driver(&self->b, "uio_pci_generic"));

	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->dev_a = open_cdev(&self->a);
	self->dev_b = open_cdev(&self->b);
	EXPECT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
}

/* Devices of two groups share a page table of an IOAS if it suits both */
TEST_F(pair, groups_share_the_page_table)
{
	struct pci_dev c;
	__u32 hwpt_a, hwpt_c;
	int dev_c;

	if (find_edu_alone(&c))
		SKIP(return, "no third edu device");
	ASSERT_EQ(0, bind_vfio_pci(&c));
	dev_c = open_cdev(&c);
	ASSERT_LE(0, dev_c);
	ASSERT_EQ(0, bind_iommufd(dev_c, self->iommufd, NULL));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, &hwpt_a));
	ASSERT_EQ(0, attach_pt(dev_c, self->ioas, &hwpt_c));
	EXPECT_EQ(hwpt_a, hwpt_c);
	EXPECT_EQ(0, detach_pt(self->dev_a));
	/* The MSI range of the other group is still reserved (trap C5) */
	EXPECT_FALSE(is_usable(self->iommufd, self->ioas, MSI_START, MSI_LAST));
	close(dev_c);
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, MSI_START, MSI_LAST));
}

TEST_HARNESS_MAIN

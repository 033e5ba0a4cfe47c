// SPDX-License-Identifier: GPL-2.0
/*
 * Whoever can open the cdev and /dev/iommu can use the device, as the
 * administrator sets owner, group and mode of both. It needs no capability, and
 * no higher memlock limit than what is mapped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

/* A user and a group without other members */
#define USER 12003
#define GROUP 12004

/* The user's memlock limit */
#define LIMIT (16 * PAGE)

#define IOVA SZ_2M

/* Like a udev rule for both nodes */
static int give(const char *path, gid_t group, mode_t mode)
{
	return chown(path, 0, group) || chmod(path, mode) ? -1 : 0;
}

FIXTURE(user)
{
	struct pci_dev dev;
	char path[256];
	struct stat iommu;
};

/* A cdev as the kernel makes it */
FIXTURE_SETUP(user)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	unbind_driver(&self->dev);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, vfio_cdev_path(&self->dev, self->path,
				    sizeof(self->path)));
	ASSERT_EQ(0, stat("/dev/iommu", &self->iommu));
}

FIXTURE_TEARDOWN(user)
{
	EXPECT_EQ(0, give("/dev/iommu", self->iommu.st_gid,
			  self->iommu.st_mode & 07777));
	unbind_driver(&self->dev);
	bind_vfio_pci(&self->dev);
}

typedef void (*user_fn)(struct __test_metadata *_metadata,
			struct _test_data_user *self);

/* Does @fn succeed in a process of that user? */
static bool run_as_user(struct __test_metadata *_metadata,
			struct _test_data_user *self, gid_t group, user_fn fn)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (become_user(USER, group, LIMIT))
			_exit(2);
		fn(_metadata, self);
		_exit(_metadata->passed ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

static void find_all_closed(struct __test_metadata *_metadata,
			    struct _test_data_user *self)
{
	EXPECT_ERRNO(EACCES, open(self->path, O_RDWR));
	EXPECT_ERRNO(EACCES, open(self->path, O_RDONLY));
	EXPECT_ERRNO(EACCES, open("/dev/iommu", O_RDWR));
	EXPECT_ERRNO(EACCES, open_group(&self->dev));
}

/* Only root has access until root changes that */
TEST_F(user, nodes_are_roots)
{
	struct stat st;

	ASSERT_EQ(0, stat(self->path, &st));
	EXPECT_EQ(S_IFCHR | 0600, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
	EXPECT_EQ(S_IFCHR | 0660, self->iommu.st_mode);
	EXPECT_EQ(0, self->iommu.st_uid);
	EXPECT_EQ(0, self->iommu.st_gid);
	EXPECT_TRUE(run_as_user(_metadata, self, GROUP, find_all_closed));
}

/* The rules in Documentation/driver-api/vfio.rst match these */
TEST_F(user, nodes_have_a_subsystem_and_a_name)
{
	char *name = strrchr(self->path, '/') + 1, path[512], link[512];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev/%s/%s",
		 self->dev.bdf, name, "subsystem");
	length = readlink(path, link, sizeof(link) - 1);
	ASSERT_LT(0, length);
	link[length] = 0;
	EXPECT_STREQ("vfio-dev", strrchr(link, '/') + 1);
	EXPECT_EQ(0, strncmp(name, "vfio", 4));
	EXPECT_EQ(0, access("/sys/class/misc/iommu", F_OK));
}

TEST_F(user, node_of_a_group_is_closed_to_others)
{
	ASSERT_EQ(0, give(self->path, GROUP, 0660));
	ASSERT_EQ(0, give("/dev/iommu", GROUP, 0660));
	EXPECT_TRUE(run_as_user(_metadata, self, 0, find_all_closed));
}

/*
 * Everything that a user does with a device and an iommufd: map memory up to
 * the limit, DMA both ways, and an interrupt
 */
static void drive(struct __test_metadata *_metadata, struct _test_data_user *self,
		  int device, int iommufd)
{
	char *buf = map_anon(LIMIT + PAGE);
	long pinned = status_kb("VmPin");
	struct edu edu;
	__u32 ioas;
	int event;

	ASSERT_LE(0, device);
	ASSERT_LE(0, iommufd);
	ASSERT_EQ(0, bind_iommufd(device, iommufd, NULL));
	ASSERT_EQ(0, ioas_alloc(iommufd, &ioas));
	ASSERT_EQ(0, attach_pt(device, ioas, NULL));
	ASSERT_EQ(0, edu_open(&edu, device));
	event = irq_eventfd(device, VFIO_PCI_MSI_IRQ_INDEX);
	ASSERT_LE(0, event);

	/* A page above the limit: nothing is mapped or charged */
	EXPECT_ERRNO(ENOMEM, ioas_map(iommufd, ioas, buf, LIMIT + PAGE, IOVA,
				      MAP_RW));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	ASSERT_EQ(0, ioas_map(iommufd, ioas, buf, LIMIT, IOVA, MAP_RW));
	EXPECT_EQ(pinned + (long)LIMIT / 1024, status_kb("VmPin"));
	EXPECT_ERRNO(ENOMEM, ioas_map(iommufd, ioas, buf + LIMIT, PAGE,
				      2 * IOVA, MAP_RW));

	fill_pattern(buf, 1000, 1);
	ASSERT_EQ(0, edu_dma_from_ram(&edu, IOVA, 1000));
	ASSERT_EQ(0, edu_dma_to_ram_irq(&edu, IOVA + LIMIT - 1000, 1000));
	EXPECT_TRUE(is_signalled(event, 5000));
	EXPECT_TRUE(is_pattern(buf + LIMIT - 1000, 1000, 1));
	/* DMA to an IOVA without a mapping arrives nowhere */
	ASSERT_EQ(0, edu_dma_to_ram(&edu, IOVA + LIMIT, 1000));
	EXPECT_TRUE(is_byte(buf + LIMIT, PAGE, 0));

	ASSERT_EQ(0, ioas_unmap(iommufd, ioas, IOVA, LIMIT));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	ASSERT_EQ(0, ioas_map(iommufd, ioas, buf + PAGE, LIMIT, IOVA, MAP_RW));
	edu_close(&edu);
	close(event);
	close(device);
	close(iommufd);
}

static void drive_what_opens(struct __test_metadata *_metadata,
			     struct _test_data_user *self)
{
	/* The group can't be opened */
	EXPECT_ERRNO(EACCES, open_group(&self->dev));
	drive(_metadata, self, open(self->path, O_RDWR),
	      open("/dev/iommu", O_RDWR));
	/* Nothing stays bound, pinned or charged */
	EXPECT_EQ(0, status_kb("VmPin"));
	drive(_metadata, self, open(self->path, O_RDWR),
	      open("/dev/iommu", O_RDWR));
}

/* A member of the group of both nodes needs no other privilege */
TEST_F(user, group_of_the_nodes_drives_the_device)
{
	ASSERT_EQ(0, give(self->path, GROUP, 0660));
	ASSERT_EQ(0, give("/dev/iommu", GROUP, 0660));
	EXPECT_TRUE(run_as_user(_metadata, self, GROUP, drive_what_opens));
}

static int passed_device, passed_iommufd;

static void drive_what_was_passed(struct __test_metadata *_metadata,
				  struct _test_data_user *self)
{
	EXPECT_ERRNO(EACCES, open(self->path, O_RDWR));
	EXPECT_ERRNO(EACCES, open("/dev/iommu", O_RDWR));
	drive(_metadata, self, passed_device, passed_iommufd);
}

/*
 * A user who got both fds can use them without access to the nodes; the limit
 * is the user's
 */
TEST_F(user, passed_files_drive_the_device)
{
	passed_device = open(self->path, O_RDWR | O_CLOEXEC);
	passed_iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	EXPECT_TRUE(run_as_user(_metadata, self, 0, drive_what_was_passed));
	close(passed_device);
	close(passed_iommufd);
}

/* Mapped memory is charged to the user until the last fd is closed */
static void leave_it_mapped(struct __test_metadata *_metadata,
			    struct _test_data_user *self)
{
	__u32 ioas;

	ASSERT_EQ(0, bind_iommufd(passed_device, passed_iommufd, NULL));
	ASSERT_EQ(0, ioas_alloc(passed_iommufd, &ioas));
	ASSERT_EQ(0, attach_pt(passed_device, ioas, NULL));
	ASSERT_EQ(0, ioas_map(passed_iommufd, ioas, map_anon(LIMIT), LIMIT,
			      IOVA, MAP_RW));
}

static void find_no_room(struct __test_metadata *_metadata,
			 struct _test_data_user *self)
{
	__u32 ioas;

	/* Ids of the first process, which is gone */
	for (ioas = 1; ioas < 4; ioas++)
		if (!ioas_map(passed_iommufd, ioas, map_anon(PAGE), PAGE,
			      2 * IOVA, MAP_RW) || errno != ENOENT)
			break;
	EXPECT_EQ(ENOMEM, errno);
}

TEST_F(user, limit_is_of_all_processes_of_the_user)
{
	passed_device = open(self->path, O_RDWR | O_CLOEXEC);
	passed_iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	EXPECT_TRUE(run_as_user(_metadata, self, 0, leave_it_mapped));
	EXPECT_TRUE(run_as_user(_metadata, self, 0, find_no_room));
	close(passed_device);
	close(passed_iommufd);
	passed_device = open(self->path, O_RDWR | O_CLOEXEC);
	passed_iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	EXPECT_TRUE(run_as_user(_metadata, self, 0, drive_what_was_passed));
	close(passed_device);
	close(passed_iommufd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Hot resets, which reset all devices of a bus: what GET_PCI_HOT_RESET_INFO
 * reports to callers of a cdev and of a group, and PCI_HOT_RESET, which needs a
 * caller that owns all of them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "reset_util.h"
#include "vfio_util.h"

#define HEADER sizeof(struct vfio_pci_hot_reset_info)
#define ENTRY sizeof(struct vfio_pci_dependent_device)

/*
 * State of the other device (trap F3). The first device is always bound to our
 * iommufd.
 */
enum whose {
	OURS,		/* bound to the same iommufd */
	CLOSED,		/* has vfio-pci, and is not open */
	OPEN,		/* its cdev is open, and not bound */
	REFUSED,	/* binding it to another iommufd failed, because the group is ours */
	STRANGERS,	/* bound to another iommufd */
	GROUP,		/* its group is open and has a container */
	CONTAINERS,	/* opened through its group */
	IOMMUFDS,	/* the same, and the container is an iommufd */
	OUR_GROUPS,	/* the same, and it is our iommufd */
	DRIVERS,	/* has a driver of the kernel */
	NO_DRIVERS,
};

FIXTURE(other)
{
	struct pci_dev dev[2];
	int device;
	int iommufd;
	__u32 ioas, id, id_of_other;
	int theirs, their_iommufd;
	struct legacy legacy;
};

/*
 * @find: finds the two devices
 * @whose: state of the other device
 * @told: what is reported for it
 */
FIXTURE_VARIANT(other)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
	enum whose whose;
	__u32 told;
};

/* Not a value that the kernel reports */
#define ITS_ID (~1U)

/* If one device of a group is bound, the whole group counts as owned */
FIXTURE_VARIANT_ADD(other, bound_in_the_group)
{
	.find = find_edu_pair,
	.whose = OURS,
	.told = ITS_ID,
};

FIXTURE_VARIANT_ADD(other, closed_in_the_group)
{
	.find = find_edu_pair,
	.whose = CLOSED,
	.told = VFIO_PCI_DEVID_OWNED,
};

FIXTURE_VARIANT_ADD(other, open_in_the_group)
{
	.find = find_edu_pair,
	.whose = OPEN,
	.told = VFIO_PCI_DEVID_OWNED,
};

FIXTURE_VARIANT_ADD(other, refused_in_the_group)
{
	.find = find_edu_pair,
	.whose = REFUSED,
	.told = VFIO_PCI_DEVID_OWNED,
};

/* Except a device without a VFIO driver */
FIXTURE_VARIANT_ADD(other, of_driver_in_the_group)
{
	.find = find_edu_pair,
	.whose = DRIVERS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, without_driver_in_the_group)
{
	.find = find_edu_pair,
	.whose = NO_DRIVERS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, bound_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = OURS,
	.told = ITS_ID,
};

FIXTURE_VARIANT_ADD(other, closed_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = CLOSED,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, open_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = OPEN,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, bound_elsewhere_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = STRANGERS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, of_group_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = GROUP,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, of_container_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = CONTAINERS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, of_iommufd_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = IOMMUFDS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, of_our_iommufd_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = OUR_GROUPS,
	.told = ITS_ID,
};

FIXTURE_VARIANT_ADD(other, of_driver_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = DRIVERS,
	.told = NOT_OWNED,
};

FIXTURE_VARIANT_ADD(other, without_driver_in_another_group)
{
	.find = find_edu_neighbours,
	.whose = NO_DRIVERS,
	.told = NOT_OWNED,
};

FIXTURE_SETUP(other)
{
	struct pci_dev *other = &self->dev[1];

	if (variant->find(&self->dev[0], other))
		SKIP_TEST("no two edu devices on one bus, or not so");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev[0]));
	ASSERT_EQ(0, bind_vfio_pci(other));
	self->device = open_cdev(&self->dev[0]);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	self->their_iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	self->theirs = -1;
	self->legacy = (struct legacy){ -1, -1, -1 };
	/* Take id 1, so that no device has it */
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));

	if (variant->whose == DRIVERS)
		/*
		 * pci-stub may share a group with VFIO devices; uio_pci_generic
		 * may not
		 */
		ASSERT_EQ(0, bind_driver(other, self->dev[0].group ==
					 other->group ? "pci-stub" :
					 "uio_pci_generic"));
	if (variant->whose == NO_DRIVERS)
		ASSERT_EQ(0, unbind_driver(other));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->id));

	switch (variant->whose) {
	case OURS:
		self->theirs = open_cdev(other);
		ASSERT_EQ(0, bind_iommufd(self->theirs, self->iommufd,
					  &self->id_of_other));
		break;
	case OPEN:
		self->theirs = open_cdev(other);
		ASSERT_LE(0, self->theirs);
		break;
	case REFUSED:
		self->theirs = open_cdev(other);
		EXPECT_ERRNO(EPERM, bind_iommufd(self->theirs,
						 self->their_iommufd, NULL));
		break;
	case STRANGERS:
		self->theirs = open_cdev(other);
		ASSERT_EQ(0, bind_iommufd(self->theirs, self->their_iommufd,
					  NULL));
		break;
	case GROUP:
	case CONTAINERS:
		ASSERT_EQ(0, legacy_open(&self->legacy, other));
		if (variant->whose == GROUP)
			ASSERT_EQ(0, close(self->legacy.device));
		break;
	case IOMMUFDS:
		ASSERT_EQ(0, legacy_open_in(&self->legacy, other, "/dev/iommu"));
		break;
	case OUR_GROUPS:
		ASSERT_EQ(0, vfio_ioas(self->iommufd, IOMMU_VFIO_IOAS_SET,
				       &self->ioas));
		self->legacy.group = open_group(other);
		ASSERT_EQ(0, ioctl(self->legacy.group, VFIO_GROUP_SET_CONTAINER,
				   &self->iommufd));
		self->legacy.device = ioctl(self->legacy.group,
					    VFIO_GROUP_GET_DEVICE_FD,
					    other->bdf);
		ASSERT_LE(0, self->legacy.device);
		/*
		 * Ids ascend; the id of this device was not returned to the
		 * program
		 */
		self->id_of_other = self->id + 1;
		break;
	default:
		break;
	}
}

FIXTURE_TEARDOWN(other)
{
	legacy_close(&self->legacy);
	close(self->theirs);
	close(self->their_iommufd);
	close(self->device);
	close(self->iommufd);
	bind_vfio_pci(&self->dev[1]);
}

/* Its id, OWNED or NOT_OWNED */
TEST_F(other, info_tells_whose_it_is)
{
	bool owned = variant->told != NOT_OWNED;
	struct reset_info info;

	ASSERT_EQ(0, get_reset_info(self->device, &info));
	EXPECT_EQ(sizeof(info), info.head.argsz);
	EXPECT_EQ(owned ? BY_ID | ALL_OWNED : BY_ID, info.head.flags);
	EXPECT_EQ(2, info.head.count);
	EXPECT_EQ(self->id, told_of(&info, &self->dev[0]));
	EXPECT_EQ(variant->told == ITS_ID ? self->id_of_other : variant->told,
		  told_of(&info, &self->dev[1]));
	/* Two entries were written, and nothing after them */
	EXPECT_TRUE(is_byte(&info.devices[2], 6 * ENTRY, POISON & 0xff));
}

static int answer_to_reset(int device)
{
	return hot_reset(device) ? errno : 0;
}

/* Nor does it matter which other groups the iommufd owns */
TEST_F(other, group_elsewhere_changes_nothing)
{
	bool owned = variant->told != NOT_OWNED;
	struct reset_info info;
	struct pci_dev alone;
	int device;

	ASSERT_EQ(0, find_edu_alone(&alone));
	ASSERT_EQ(0, bind_vfio_pci(&alone));
	device = open_cdev(&alone);
	ASSERT_EQ(0, bind_iommufd(device, self->iommufd, NULL));
	ASSERT_EQ(0, get_reset_info(self->device, &info));
	EXPECT_EQ(owned ? BY_ID | ALL_OWNED : BY_ID, info.head.flags);
	EXPECT_EQ(self->id, told_of(&info, &self->dev[0]));
	EXPECT_EQ(variant->told == ITS_ID ? self->id_of_other : variant->told,
		  told_of(&info, &self->dev[1]));
	EXPECT_EQ(owned ? 0 : EINVAL, answer_to_reset(self->device));
	close(device);
}

/* If the other device is not owned, neither is reset */
TEST_F(other, reset_needs_both)
{
	int users[] = { power_users(&self->dev[0]), power_users(&self->dev[1]) };
	bool owned = variant->told != NOT_OWNED;

	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
	EXPECT_EQ(owned ? 0 : EINVAL, answer_to_reset(self->device));
	EXPECT_EQ(!owned, has_mark(&self->dev[0]));
	EXPECT_EQ(!owned, has_mark(&self->dev[1]));
	EXPECT_EQ(users[0], power_users(&self->dev[0]));
	EXPECT_EQ(users[1], power_users(&self->dev[1]));

	/* After it was bound to our iommufd, both are reset */
	legacy_close(&self->legacy);
	self->legacy = (struct legacy){ -1, -1, -1 };
	close(self->theirs);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev[1]));
	self->theirs = open_cdev(&self->dev[1]);
	ASSERT_EQ(0, bind_iommufd(self->theirs, self->iommufd, NULL));
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
	EXPECT_EQ(0, hot_reset(self->device));
	EXPECT_FALSE(has_mark(&self->dev[0]));
	EXPECT_FALSE(has_mark(&self->dev[1]));
	/* After it was closed, a reset works only if both share a group */
	close(self->theirs);
	self->theirs = -1;
	EXPECT_EQ(self->dev[0].group == self->dev[1].group ? 0 : EINVAL,
		  answer_to_reset(self->device));
}

/* Two devices of a bus, both bound to one iommufd and attached to one IOAS */
FIXTURE(both)
{
	struct pci_dev dev[2];
	int device[2];
	int iommufd;
	__u32 ioas, id[2];
	struct edu edu[2];
	char *mem;
};

FIXTURE_VARIANT(both)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
};

FIXTURE_VARIANT_ADD(both, one_group)
{
	.find = find_edu_pair,
};

FIXTURE_VARIANT_ADD(both, two_groups)
{
	.find = find_edu_neighbours,
};

#define IOVA SZ_2M

FIXTURE_SETUP(both)
{
	int i;

	if (variant->find(&self->dev[0], &self->dev[1]))
		SKIP_TEST("no two edu devices on one bus, or not so");
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	self->mem = map_anon(4 * PAGE);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->mem, 4 * PAGE,
			      IOVA, MAP_RW));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, bind_vfio_pci(&self->dev[i]));
		self->device[i] = open_cdev(&self->dev[i]);
		ASSERT_EQ(0, bind_iommufd(self->device[i], self->iommufd,
					  &self->id[i]));
		ASSERT_EQ(0, attach_pt(self->device[i], self->ioas, NULL));
		ASSERT_EQ(0, edu_open(&self->edu[i], self->device[i]));
	}
}

FIXTURE_TEARDOWN(both)
{
	int i;

	for (i = 0; i < 2; i++) {
		edu_close(&self->edu[i]);
		close(self->device[i]);
	}
	close(self->iommufd);
}

/* Copy a page to another one through the device */
static bool dma_works(struct edu *edu, char *mem, unsigned int seed)
{
	fill_pattern(mem, 2048, seed);
	memset(mem + PAGE, 0, PAGE);
	return !edu_dma_from_ram(edu, IOVA, 2048) &&
	       !edu_dma_to_ram(edu, IOVA + PAGE, 2048) &&
	       is_pattern(mem + PAGE, 2048, seed);
}

/* Each of them reports both */
TEST_F(both, info_is_the_same_from_each)
{
	struct reset_info info;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, get_reset_info(self->device[i], &info));
		EXPECT_EQ(BY_ID | ALL_OWNED, info.head.flags);
		EXPECT_EQ(2, info.head.count);
		EXPECT_EQ(self->id[0], told_of(&info, &self->dev[0]));
		EXPECT_EQ(self->id[1], told_of(&info, &self->dev[1]));
	}
}

/*
 * A reset through either device keeps what was set up: registers, mappings, DMA
 */
TEST_F(both, both_work_after_a_reset)
{
	int i, j;

	if (loses_dma(&self->dev[0]))
		SKIP(return, LOST_DMA);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, set_mark(&self->dev[0]));
		ASSERT_EQ(0, set_mark(&self->dev[1]));
		EXPECT_EQ(0, hot_reset(self->device[i]));
		EXPECT_FALSE(has_mark(&self->dev[0]));
		EXPECT_FALSE(has_mark(&self->dev[1]));
		for (j = 0; j < 2; j++) {
			EXPECT_EQ(0x010000edU, edu_read(&self->edu[j], 0));
			EXPECT_TRUE(dma_works(&self->edu[j], self->mem, i + j));
		}
	}
}

static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/*
 * During the reset the registers can't be reached: mappings are zapped, and
 * faulted in again later
 */
TEST_F(both, reset_empties_the_mappings)
{
	long faults;
	int i;

	for (i = 0; i < 2; i++)
		edu_read(&self->edu[i], 0);
	faults = page_faults();
	for (i = 0; i < 2; i++)
		edu_read(&self->edu[i], 0);
	EXPECT_EQ(faults, page_faults());

	EXPECT_EQ(0, hot_reset(self->device[0]));
	for (i = 0; i < 2; i++) {
		faults = page_faults();
		EXPECT_EQ(0x010000edU, edu_read(&self->edu[i], 0));
		EXPECT_LT(faults, page_faults());
	}
}

/* Either device can be the one that the caller does not own */
TEST_F(both, either_is_missed)
{
	bool owned = self->dev[0].group == self->dev[1].group;
	struct reset_info info;
	int i;

	for (i = 0; i < 2; i++) {
		edu_close(&self->edu[i]);
		close(self->device[i]);
		ASSERT_EQ(0, get_reset_info(self->device[!i], &info));
		EXPECT_EQ(owned ? BY_ID | ALL_OWNED : BY_ID, info.head.flags);
		EXPECT_EQ(owned ? VFIO_PCI_DEVID_OWNED : NOT_OWNED,
			  told_of(&info, &self->dev[i]));
		EXPECT_EQ(owned ? 0 : EINVAL,
			  answer_to_reset(self->device[!i]));
		self->device[i] = open_cdev(&self->dev[i]);
		ASSERT_EQ(0, bind_iommufd(self->device[i], self->iommufd, NULL));
		ASSERT_EQ(0, edu_open(&self->edu[i], self->device[i]));
		EXPECT_EQ(0, hot_reset(self->device[!i]));
	}
}

/* If memory decoding was off before the reset, it is off after it */
TEST_F(both, reset_keeps_the_command_register)
{
	const off_t where = ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + 4;
	__u16 off = 0, command[2];

	ASSERT_EQ(2, pwrite(self->device[1], &off, 2, where));
	EXPECT_EQ(0, hot_reset(self->device[0]));
	ASSERT_EQ(2, pread(self->device[0], &command[0], 2, where));
	ASSERT_EQ(2, pread(self->device[1], &command[1], 2, where));
	EXPECT_EQ(6, command[0] & 6);
	EXPECT_EQ(0, command[1] & 6);
}

/* Arguments of both ioctls */

TEST_F(both, info_checks_its_argument)
{
	struct reset_info info, before;
	char *page = map_anon(2 * PAGE);
	struct reset_info *at;
	size_t argsz;
	int i;

	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_NONE));
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, NULL));
	/* The last byte of the header is missing */
	at = (void *)page + PAGE - HEADER + 1;
	at->head.argsz = 0;
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, at));

	memset(&info, POISON & 0xff, sizeof(info));
	for (argsz = 0; argsz < HEADER; argsz++) {
		info.head.argsz = argsz;
		before = info;
		EXPECT_ERRNO(EINVAL, ioctl(self->device[0],
					   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
					   &info));
		EXPECT_EQ(0, memcmp(&before, &info, sizeof(info)));
	}

	/* Flags and count are ignored as input (trap F10) */
	for (i = 0; i < 2; i++) {
		memset(&info, i ? 0xff : 0, sizeof(info));
		info.head.argsz = HEADER + 2 * ENTRY;
		EXPECT_EQ(0, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info));
		EXPECT_EQ(BY_ID | ALL_OWNED, info.head.flags);
		EXPECT_EQ(2, info.head.count);
		EXPECT_TRUE(is_byte(&info.devices[2], 6 * ENTRY, i ? 0xff : 0));
	}
}

/* If there is too little room, only the count is returned (trap F10) */
TEST_F(both, info_without_room_is_ENOSPC)
{
	struct reset_info info;
	size_t argsz;

	for (argsz = HEADER; argsz < HEADER + 2 * ENTRY; argsz++) {
		memset(&info, POISON & 0xff, sizeof(info));
		info.head.argsz = argsz;
		EXPECT_ERRNO(ENOSPC, ioctl(self->device[0],
					   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
					   &info));
		EXPECT_EQ(argsz, info.head.argsz);
		EXPECT_EQ(0, info.head.flags);
		EXPECT_EQ(2, info.head.count);
		EXPECT_TRUE(is_byte(info.devices, sizeof(info) - HEADER,
				    POISON & 0xff));
	}
	/* Only the header is accessed */
	EXPECT_ERRNO(ENOSPC, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
				   memcpy(map_anon(PAGE) + PAGE - HEADER,
					  (__u32[]){ HEADER, 0, 0 }, HEADER)));
}

TEST_F(both, info_that_cannot_be_written_is_EFAULT)
{
	char *page = map_anon(2 * PAGE);
	struct vfio_pci_hot_reset_info *head;
	struct reset_info info;

	/* A header that can only be read, with room for entries and without */
	head = (void *)page;
	head->argsz = sizeof(info);
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, head));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	head->argsz = HEADER;
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, head));

	/* A header that can be written, and an entry that can't */
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_READ));
	head = (void *)page + PAGE - HEADER - ENTRY;
	head->argsz = sizeof(info);
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0],
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, head));
	EXPECT_EQ(0, get_reset_info(self->device[0], &info));
	EXPECT_EQ(0, hot_reset(self->device[0]));
}

TEST_F(both, reset_checks_its_argument)
{
	struct vfio_pci_hot_reset cmd = { .argsz = sizeof(cmd) };
	char *page = map_anon(2 * PAGE);
	int i;

	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_NONE));
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0], VFIO_DEVICE_PCI_HOT_RESET,
				   NULL));
	EXPECT_ERRNO(EFAULT, ioctl(self->device[0], VFIO_DEVICE_PCI_HOT_RESET,
				   page + PAGE - HEADER + 1));
	for (i = 0; i < HEADER; i++) {
		cmd.argsz = i;
		EXPECT_ERRNO(EINVAL, ioctl(self->device[0],
					   VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	}
	cmd.argsz = sizeof(cmd);
	for (i = 0; i < 32; i++) {
		cmd.flags = 1U << i;
		EXPECT_ERRNO(EINVAL, ioctl(self->device[0],
					   VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	}
	EXPECT_TRUE(has_mark(&self->dev[0]));

	/* argsz has no upper limit, and no array is read */
	cmd = (struct vfio_pci_hot_reset){ .argsz = ~0U };
	EXPECT_EQ(0, ioctl(self->device[0], VFIO_DEVICE_PCI_HOT_RESET,
			   memcpy(page + PAGE - HEADER, &cmd, HEADER)));
	EXPECT_FALSE(has_mark(&self->dev[0]));
}

/*
 * A caller that bound the device through the cdev must pass count == 0 (trap
 * F4)
 */
TEST_F(both, reset_with_files_is_EINVAL)
{
	struct vfio_pci_hot_reset cmd = { .argsz = sizeof(cmd) };
	struct pci_dev alone;
	int files[2], i;

	ASSERT_EQ(0, find_edu_alone(&alone));
	ASSERT_EQ(0, bind_vfio_pci(&alone));
	files[0] = open_group(&alone);
	ASSERT_LE(0, files[0]);
	files[1] = self->device[1];
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->device[0], files, 1));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->device[0], files, 2));
	close(files[0]);
	/* Also for a closed fd */
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->device[0], files, 1));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->device[0], self->device, 1));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->device[0], self->device, 2));
	for (i = 0; i < 32; i++) {
		cmd.count = 1U << i;
		EXPECT_ERRNO(EINVAL, ioctl(self->device[0],
					   VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	}
	EXPECT_TRUE(has_mark(&self->dev[0]));
	EXPECT_EQ(0, hot_reset(self->device[0]));
	EXPECT_FALSE(has_mark(&self->dev[0]));
}

/* The reset when a device is closed (trap F8) */

/*
 * While the other device is in use, closing this one resets neither, and DMA
 * goes on
 */
TEST_F(both, close_of_one_leaves_the_other)
{
	if (loses_dma(&self->dev[0]))
		SKIP(return, LOST_DMA);
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
	fill_pattern(self->mem, 2048, 3);
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu[1], IOVA, 2048));
	/* A transfer takes 100 ms, far longer than the close */
	edu_start_to_ram(&self->edu[1], IOVA + PAGE, 2048);
	edu_close(&self->edu[0]);
	close(self->device[0]);
	EXPECT_EQ(0, edu_wait(&self->edu[1]));
	EXPECT_TRUE(is_pattern(self->mem + PAGE, 2048, 3));
	EXPECT_TRUE(has_mark(&self->dev[0]));
	EXPECT_TRUE(has_mark(&self->dev[1]));
	EXPECT_TRUE(dma_works(&self->edu[1], self->mem, 4));

	/* Nor if it is opened and closed again */
	self->device[0] = open_cdev(&self->dev[0]);
	ASSERT_EQ(0, bind_iommufd(self->device[0], self->iommufd, NULL));
	close(self->device[0]);
	EXPECT_TRUE(has_mark(&self->dev[1]));

	self->device[0] = open_cdev(&self->dev[0]);
	ASSERT_EQ(0, bind_iommufd(self->device[0], self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu[0], self->device[0]));
}

/* The last close resets both, so the next user finds nothing of the last one */
TEST_F(both, last_close_resets_both)
{
	int i;

	if (loses_dma(&self->dev[0]))
		SKIP(return, LOST_DMA);
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(has_mark(&self->dev[0]));
		EXPECT_TRUE(has_mark(&self->dev[1]));
		edu_close(&self->edu[i]);
		close(self->device[i]);
	}
	EXPECT_FALSE(has_mark(&self->dev[0]));
	EXPECT_FALSE(has_mark(&self->dev[1]));

	for (i = 0; i < 2; i++) {
		self->device[i] = open_cdev(&self->dev[i]);
		ASSERT_EQ(0, bind_iommufd(self->device[i], self->iommufd, NULL));
		ASSERT_EQ(0, attach_pt(self->device[i], self->ioas, NULL));
		ASSERT_EQ(0, edu_open(&self->edu[i], self->device[i]));
		EXPECT_TRUE(dma_works(&self->edu[i], self->mem, i));
	}
}

/* Unless one of them has another driver */
TEST_F(both, last_close_leaves_a_driver_alone)
{
	int i;

	for (i = 0; i < 2; i++) {
		edu_close(&self->edu[i]);
		close(self->device[i]);
	}
	ASSERT_EQ(0, bind_driver(&self->dev[1], "pci-stub"));
	self->device[0] = open_cdev(&self->dev[0]);
	ASSERT_EQ(0, bind_iommufd(self->device[0], self->iommufd, NULL));
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
	close(self->device[0]);
	EXPECT_TRUE(has_mark(&self->dev[0]));
	EXPECT_TRUE(has_mark(&self->dev[1]));

	ASSERT_EQ(0, bind_vfio_pci(&self->dev[1]));
	for (i = 0; i < 2; i++) {
		self->device[i] = open_cdev(&self->dev[i]);
		ASSERT_EQ(0, bind_iommufd(self->device[i], self->iommufd, NULL));
		ASSERT_EQ(0, edu_open(&self->edu[i], self->device[i]));
	}
}

/* A device without a hot reset */
TEST(device_on_the_root_bus_is_ENODEV)
{
	struct vfio_pci_hot_reset cmd = { .argsz = sizeof(cmd) };
	struct reset_info info;
	struct legacy l;
	struct pci_dev dev;
	int device, iommufd, way;

	ASSERT_EQ(0, find_edu_alone(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	device = open_cdev(&dev);
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_iommufd(device, iommufd, NULL));
	EXPECT_ERRNO(ENODEV, get_reset_info(device, &info));
	EXPECT_ERRNO(ENODEV, hot_reset(device));
	/* Errors of the argument rank first */
	info.head.argsz = HEADER - 1;
	EXPECT_ERRNO(EINVAL, ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
				   &info));
	cmd.flags = 1;
	EXPECT_ERRNO(EINVAL, ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	cmd.flags = 0;
	cmd.count = 1;
	EXPECT_ERRNO(EINVAL, ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	close(device);
	close(iommufd);

	for (way = 0; way < 2; way++) {
		ASSERT_EQ(0, legacy_open_in(&l, &dev,
					    way ? "/dev/iommu" : CONTAINER));
		EXPECT_ERRNO(ENODEV, get_reset_info(l.device, &info));
		EXPECT_ERRNO(ENODEV, hot_reset_groups(l.device, &l.group, 1));
		EXPECT_ERRNO(ENODEV, hot_reset(l.device));
		legacy_close(&l);
	}
}

/* Through the group */
FIXTURE(group)
{
	struct pci_dev dev[2];
	struct legacy legacy;
	int other;
};

FIXTURE_VARIANT(group)
{
	int (*find)(struct pci_dev *a, struct pci_dev *b);
	const char *container;
};

FIXTURE_VARIANT_ADD(group, one)
{
	.find = find_edu_pair,
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(group, one_of_iommufd)
{
	.find = find_edu_pair,
	.container = "/dev/iommu",
};

FIXTURE_VARIANT_ADD(group, two)
{
	.find = find_edu_neighbours,
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(group, two_of_iommufd)
{
	.find = find_edu_neighbours,
	.container = "/dev/iommu",
};

FIXTURE_SETUP(group)
{
	if (variant->find(&self->dev[0], &self->dev[1]))
		SKIP_TEST("no two edu devices on one bus, or not so");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev[0]));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev[1]));
	ASSERT_EQ(0, legacy_open_in(&self->legacy, &self->dev[0],
				    variant->container));
	self->other = -1;
	if (self->dev[0].group != self->dev[1].group) {
		self->other = open_group(&self->dev[1]);
		ASSERT_LE(0, self->other);
	}
	ASSERT_EQ(0, set_mark(&self->dev[0]));
	ASSERT_EQ(0, set_mark(&self->dev[1]));
}

FIXTURE_TEARDOWN(group)
{
	close(self->other);
	legacy_close(&self->legacy);
}

/* Get the fds of all groups; return their number */
static int all_groups(const struct _test_data_group *self, int files[2])
{
	files[0] = self->legacy.group;
	files[1] = self->other;
	return self->other < 0 ? 1 : 2;
}

static bool was_reset(const struct _test_data_group *self)
{
	return !has_mark(&self->dev[0]) && !has_mark(&self->dev[1]);
}

static bool was_left(const struct _test_data_group *self)
{
	return has_mark(&self->dev[0]) && has_mark(&self->dev[1]);
}

/* Callers of a group get groups, and no flags */
TEST_F(group, info_is_by_group)
{
	struct reset_info info;

	ASSERT_EQ(0, get_reset_info(self->legacy.device, &info));
	EXPECT_EQ(0, info.head.flags);
	EXPECT_EQ(2, info.head.count);
	EXPECT_EQ(self->dev[0].group, told_of(&info, &self->dev[0]));
	EXPECT_EQ(self->dev[1].group, told_of(&info, &self->dev[1]));
	EXPECT_TRUE(is_byte(&info.devices[2], 6 * ENTRY, POISON & 0xff));

	info.head = (struct vfio_pci_hot_reset_info){ HEADER, ~0U, ~0U };
	EXPECT_ERRNO(ENOSPC, ioctl(self->legacy.device,
				   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info));
	EXPECT_EQ(0, info.head.flags);
	EXPECT_EQ(2, info.head.count);
}

/* The group of a device that was reported goes with the device */
TEST_F(group, info_holds_no_group)
{
	struct reset_info info;
	char path[64];

	if (self->other < 0)
		return;
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d",
		 self->dev[1].group);
	EXPECT_EQ(0, access(path, F_OK));
	close(self->other);
	self->other = -1;
	ASSERT_EQ(0, get_reset_info(self->legacy.device, &info));
	EXPECT_EQ(2, info.head.count);
	ASSERT_EQ(0, write_pci_file(&self->dev[1], "remove", "1"));
	EXPECT_ERRNO(ENOENT, access(path, F_OK));
	ASSERT_EQ(0, rescan_pci());
	ASSERT_EQ(0, bind_vfio_pci(&self->dev[1]));
}

TEST_F(group, reset_takes_the_files_of_all_groups)
{
	int files[2], nr = all_groups(self, files);

	EXPECT_EQ(0, hot_reset_groups(self->legacy.device, files, nr));
	EXPECT_TRUE(was_reset(self));
}

/* A group whose fd is not passed does not belong to the caller */
TEST_F(group, reset_without_a_group_is_EINVAL)
{
	int files[2], nr = all_groups(self, files);
	struct pci_dev alone;
	int group;

	ASSERT_EQ(0, find_edu_alone(&alone));
	ASSERT_EQ(0, bind_vfio_pci(&alone));
	group = open_group(&alone);
	ASSERT_LE(0, group);
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, &group, 1));
	if (nr == 2) {
		EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device,
						      &files[0], 1));
		EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device,
						      &files[1], 1));
	}
	EXPECT_TRUE(was_left(self));
	close(group);
	EXPECT_EQ(0, hot_reset_groups(self->legacy.device, files, nr));
	EXPECT_TRUE(was_reset(self));
}

/* No fd, as for a cdev, and more fds than there are devices */
TEST_F(group, reset_with_wrong_count_is_EINVAL)
{
	struct vfio_pci_hot_reset *cmd = map_anon(PAGE) + PAGE - HEADER;
	int files[MAX_DEVICES], i;

	for (i = 0; i < MAX_DEVICES; i++)
		files[i] = self->legacy.group;
	/* trap F4 */
	EXPECT_ERRNO(EINVAL, hot_reset(self->legacy.device));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, files, 0));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, files, 3));
	/* The array is not read, and no memory is allocated for it */
	cmd->argsz = ~0U;
	for (i = 2; i < 32; i++) {
		cmd->count = 1U << i;
		EXPECT_ERRNO(EINVAL, ioctl(self->legacy.device,
					   VFIO_DEVICE_PCI_HOT_RESET, cmd));
	}
	EXPECT_TRUE(was_left(self));
}

TEST_F(group, reset_checks_its_argument)
{
	struct vfio_pci_hot_reset cmd = { .count = 1 };
	char *page = map_anon(2 * PAGE);
	int files[2], nr = all_groups(self, files), i;

	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_NONE));
	for (i = 0; i < HEADER; i++) {
		cmd.argsz = i;
		EXPECT_ERRNO(EINVAL, ioctl(self->legacy.device,
					   VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	}
	cmd.argsz = HEADER + 4;
	cmd.flags = 1;
	EXPECT_ERRNO(EINVAL, ioctl(self->legacy.device,
				   VFIO_DEVICE_PCI_HOT_RESET, &cmd));
	cmd.flags = 0;
	EXPECT_ERRNO(EFAULT, ioctl(self->legacy.device,
				   VFIO_DEVICE_PCI_HOT_RESET, NULL));
	EXPECT_ERRNO(EFAULT, ioctl(self->legacy.device,
				   VFIO_DEVICE_PCI_HOT_RESET,
				   memcpy(page + PAGE - HEADER, &cmd, HEADER)));
	EXPECT_TRUE(was_left(self));
	EXPECT_EQ(0, hot_reset_groups(self->legacy.device, files, nr));
}

/* Only the fd of a group proves ownership of the group (trap F4) */
TEST_F(group, reset_with_other_files_fails)
{
	int files[2], nr = all_groups(self, files), wrong[5], i;

	wrong[0] = open_cdev(&self->dev[0]);
	wrong[1] = self->legacy.device;
	wrong[2] = self->legacy.container;
	wrong[3] = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	wrong[4] = eventfd(0, EFD_CLOEXEC);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		ASSERT_LE(0, wrong[i]);
		EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device,
						      &wrong[i], 1));
		files[nr - 1] = wrong[i];
		EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device,
						      files, nr));
		/* After a valid fd, whose reference is dropped */
		files[0] = self->legacy.group;
		files[1] = wrong[i];
		EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device,
						      files, 2));
	}
	close(wrong[0]);
	close(wrong[3]);
	close(wrong[4]);
	files[1] = wrong[4];
	EXPECT_ERRNO(EBADF, hot_reset_groups(self->legacy.device, files, 2));
	files[1] = -1;
	EXPECT_ERRNO(EBADF, hot_reset_groups(self->legacy.device, files, 2));
	EXPECT_TRUE(was_left(self));

	nr = all_groups(self, files);
	EXPECT_EQ(0, hot_reset_groups(self->legacy.device, files, nr));
	EXPECT_TRUE(was_reset(self));
}

/*
 * One device opened through its group, one through its cdev: neither caller
 * owns both
 */
TEST_F(group, group_and_cdev_do_not_mix)
{
	int files[2], cdev, iommufd;
	struct reset_info info;
	__u32 id;

	if (self->other < 0) {
		/*
		 * Devices of a group are all opened through the group, or all
		 * through cdevs
		 */
		cdev = open_cdev(&self->dev[1]);
		EXPECT_ERRNO(EBUSY, bind_iommufd(cdev, self->legacy.container,
						 NULL));
		close(cdev);
		return;
	}
	close(self->other);
	iommufd = strcmp(variant->container, CONTAINER) ?
		  dup(self->legacy.container) :
		  open("/dev/iommu", O_RDWR | O_CLOEXEC);
	cdev = open_cdev(&self->dev[1]);
	ASSERT_EQ(0, bind_iommufd(cdev, iommufd, &id));

	files[0] = self->legacy.group;
	files[1] = cdev;
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, files, 1));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, files, 2));
	EXPECT_ERRNO(EINVAL, hot_reset_groups(self->legacy.device, &files[1], 1));
	EXPECT_ERRNO(EINVAL, hot_reset(self->legacy.device));
	ASSERT_EQ(0, get_reset_info(self->legacy.device, &info));
	EXPECT_EQ(0, info.head.flags);
	EXPECT_EQ(self->dev[1].group, told_of(&info, &self->dev[1]));
	EXPECT_TRUE(was_left(self));

	close(cdev);
	close(iommufd);
	self->other = open_group(&self->dev[1]);
	ASSERT_LE(0, self->other);
	files[1] = self->other;
	EXPECT_EQ(0, hot_reset_groups(self->legacy.device, files, 2));
	EXPECT_TRUE(was_reset(self));
}

/*
 * Virtual functions: what is reset with the PF is not the dev_set of VFIO, in
 * which each function is alone (trap F7)
 */
FIXTURE(functions)
{
	struct pci_dev pf, vf[2];
	int device, vfs[2];
	int iommufd;
	__u32 id, vf_ids[2];
};

static const unsigned char token[16] = "sixteen letters.";

FIXTURE_SETUP(functions)
{
	if (find_sriov(&self->pf))
		SKIP_TEST("no device that can have virtual functions");
	ASSERT_EQ(0, set_numvfs(&self->pf, 0));
	ASSERT_EQ(0, bind_vfio_pci(&self->pf));
	self->device = open_cdev(&self->pf);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_with_token(self->device, self->iommufd, token,
				     &self->id));
	self->vfs[0] = -1;
	self->vfs[1] = -1;
}

FIXTURE_TEARDOWN(functions)
{
	close(self->vfs[0]);
	close(self->vfs[1]);
	EXPECT_EQ(0, set_numvfs(&self->pf, 0));
	close(self->device);
	close(self->iommufd);
}

static int bind_vfs(struct _test_data_functions *self)
{
	int i;

	if (set_numvfs(&self->pf, 2))
		return -1;
	for (i = 0; i < 2; i++) {
		if (find_vf(&self->pf, i, &self->vf[i]) ||
		    bind_vfio_pci(&self->vf[i]))
			return -1;
		self->vfs[i] = open_cdev(&self->vf[i]);
		if (bind_with_token(self->vfs[i], self->iommufd, token,
				    &self->vf_ids[i]))
			return -1;
	}
	return 0;
}

/* Queue entry sizes in the configuration register of an NVMe controller */
#define NVME_CC 0x14
#define NVME_CC_SIZES 0x460000U

static __u32 nvme_read(int device)
{
	__u32 value;

	return pread(device, &value, 4, NVME_CC) == 4 ? value : ~0U;
}

static int nvme_write(int device, __u32 value)
{
	const off_t command = ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + 4;
	__u16 memory = 2;

	if (pwrite(device, &memory, 2, command) != 2 ||
	    pwrite(device, &value, 4, NVME_CC) != 4)
		return -1;
	return nvme_read(device) == value ? 0 : -1;
}

/* Without VFs the PF is alone on its bus */
TEST_F(functions, pf_alone_is_reset)
{
	struct reset_info info;

	ASSERT_EQ(0, get_reset_info(self->device, &info));
	EXPECT_EQ(BY_ID | ALL_OWNED, info.head.flags);
	EXPECT_EQ(1, info.head.count);
	EXPECT_EQ(self->id, told_of(&info, &self->pf));

	ASSERT_EQ(0, nvme_write(self->device, NVME_CC_SIZES));
	EXPECT_EQ(0, answer_to_reset(self->device));
	EXPECT_EQ(0, nvme_read(self->device));
}

/* VFs would be reset with the PF, and are not in its dev_set */
TEST_F(functions, pf_with_vfs_is_not_reset)
{
	struct reset_info info;

	ASSERT_EQ(0, bind_vfs(self));
	ASSERT_EQ(0, get_reset_info(self->device, &info));
	EXPECT_EQ(BY_ID, info.head.flags);
	EXPECT_EQ(3, info.head.count);
	EXPECT_EQ(self->id, told_of(&info, &self->pf));
	EXPECT_EQ(NOT_OWNED, told_of(&info, &self->vf[0]));
	EXPECT_EQ(NOT_OWNED, told_of(&info, &self->vf[1]));

	ASSERT_EQ(0, nvme_write(self->device, NVME_CC_SIZES));
	EXPECT_ERRNO(EINVAL, hot_reset(self->device));
	EXPECT_EQ(NVME_CC_SIZES, nvme_read(self->device));

	/* Nor while VFs exist that nobody has open */
	close(self->vfs[0]);
	close(self->vfs[1]);
	EXPECT_ERRNO(EINVAL, hot_reset(self->device));
	EXPECT_EQ(NVME_CC_SIZES, nvme_read(self->device));
	ASSERT_EQ(0, set_numvfs(&self->pf, 0));
	EXPECT_EQ(0, answer_to_reset(self->device));
	EXPECT_EQ(0, nvme_read(self->device));
}

/* A VF owns no other function, even if its user has bound them all */
TEST_F(functions, vf_owns_only_itself)
{
	struct reset_info info;
	int i;

	ASSERT_EQ(0, bind_vfs(self));
	ASSERT_EQ(0, nvme_write(self->device, NVME_CC_SIZES));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, get_reset_info(self->vfs[i], &info));
		EXPECT_EQ(BY_ID, info.head.flags);
		EXPECT_EQ(3, info.head.count);
		EXPECT_EQ(self->vf_ids[i], told_of(&info, &self->vf[i]));
		EXPECT_EQ(NOT_OWNED, told_of(&info, &self->vf[!i]));
		EXPECT_EQ(NOT_OWNED, told_of(&info, &self->pf));
		EXPECT_ERRNO(EINVAL, hot_reset(self->vfs[i]));
		EXPECT_EQ(NVME_CC_SIZES, nvme_read(self->device));
	}
}

/* A VF is reset alone, on request and at the close; the PF keeps its state */
TEST_F(functions, vf_is_reset_alone)
{
	ASSERT_EQ(0, bind_vfs(self));
	ASSERT_EQ(0, nvme_write(self->device, NVME_CC_SIZES));
	EXPECT_EQ(0, ioctl(self->vfs[0], VFIO_DEVICE_RESET));
	EXPECT_EQ(NVME_CC_SIZES, nvme_read(self->device));
	close(self->vfs[0]);
	close(self->vfs[1]);
	self->vfs[0] = -1;
	self->vfs[1] = -1;
	EXPECT_EQ(NVME_CC_SIZES, nvme_read(self->device));
}

TEST_HARNESS_MAIN

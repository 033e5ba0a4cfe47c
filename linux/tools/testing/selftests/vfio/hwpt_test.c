// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables made by the program, and IOMMU_GET_HW_INFO, with real devices.
 * DMA shows what is in a page table. A device that does DMA while it is moved
 * shows that nothing else is attached in between.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "vfio_util.h"

#define IOVA 0x40000000UL

FIXTURE(hwpt)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 dev_id;
	__u32 ioas;
	__u64 last;
	struct edu edu;
	char *buf;
	long pinned;
};

FIXTURE_SETUP(hwpt)
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
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->dev_id));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	self->buf = map_anon(4 * PAGE);
	memset(self->buf, 0, 4 * PAGE);
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(hwpt)
{
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
}

#define HWPT_ALLOC(_id) hwpt_alloc(self->iommufd, self->dev_id, self->ioas, _id)
#define MAP(_va, _length, _iova)                                               \
	ioas_map(self->iommufd, self->ioas, _va, _length, _iova, MAP_RW)
#define UNMAP(_iova, _length)                                                  \
	ioas_unmap(self->iommufd, self->ioas, _iova, _length)
#define ATTACH(_id) attach_pt(self->device, _id, NULL)
#define DESTROY(_id) iommufd_destroy(self->iommufd, _id)
#define USABLE(_start, _last)                                                  \
	is_usable(self->iommufd, self->ioas, _start, _last)
/* The last page that the hardware reaches, and the IOVA after it; 0 for none */
#define LAST_PAGE (self->last - PAGE + 1)
#define BEYOND (self->last + 1)
#define IS_LIMITED() (!BEYOND || !USABLE(BEYOND, BEYOND))
/* KiB pinned since the case began */
#define PINNED() (status_kb("VmPin") - self->pinned)

/* The device copies the start of a page to its middle. Does that work? */
static bool copies(struct edu *edu, char *page, __u64 iova, unsigned int seed)
{
	memset(page, 0, PAGE);
	fill_pattern(page, 100, seed);
	return !edu_dma_from_ram(edu, iova, 100) &&
	       !edu_dma_to_ram(edu, iova + 2048, 100) &&
	       is_pattern(page + 2048, 100, seed);
}

/*
 * It has what was mapped before, and gets what is mapped later, attached or not
 */
TEST_F(hwpt, has_what_the_address_space_has)
{
	__u32 hwpt, now;

	ASSERT_EQ(0, MAP(self->buf, PAGE, IOVA));
	EXPECT_EQ(0, PINNED());
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_EQ(PAGES_KB(1), PINNED());
	ASSERT_EQ(0, MAP(self->buf + PAGE, PAGE, IOVA + PAGE));
	ASSERT_EQ(0, MAP(self->buf + 2 * PAGE, PAGE, IOVA + 2 * PAGE));
	EXPECT_EQ(PAGES_KB(3), PINNED());
	ASSERT_EQ(0, UNMAP(IOVA + 2 * PAGE, PAGE));
	EXPECT_EQ(PAGES_KB(2), PINNED());

	ASSERT_EQ(0, attach_pt(self->device, hwpt, &now));
	EXPECT_EQ(hwpt, now);
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 1));
	EXPECT_TRUE(copies(&self->edu, self->buf + PAGE, IOVA + PAGE, 2));
	EXPECT_FALSE(copies(&self->edu, self->buf + 2 * PAGE,
			    IOVA + 2 * PAGE, 3));
	ASSERT_EQ(0, MAP(self->buf + 3 * PAGE, PAGE, IOVA + 3 * PAGE));
	EXPECT_TRUE(copies(&self->edu, self->buf + 3 * PAGE,
			   IOVA + 3 * PAGE, 4));
}

/* A huge page, larger ranges, and the last page in reach */
TEST_F(hwpt, has_pages_of_all_sizes)
{
	char *huge = map_huge();
	__u32 hwpt;

	if (!huge)
		SKIP(return, "no huge page is reserved");
	memset(huge, 0, SZ_2M);
	ASSERT_EQ(0, MAP(huge, SZ_2M, IOVA));
	ASSERT_EQ(0, MAP(self->buf, PAGE, LAST_PAGE));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_TRUE(copies(&self->edu, huge, IOVA, 1));
	EXPECT_TRUE(copies(&self->edu, huge + SZ_2M - PAGE,
			   IOVA + SZ_2M - PAGE, 2));
	EXPECT_TRUE(copies(&self->edu, self->buf, LAST_PAGE, 3));
	ASSERT_EQ(0, UNMAP(IOVA, SZ_2M));
	EXPECT_FALSE(copies(&self->edu, huge, IOVA, 4));
	EXPECT_TRUE(copies(&self->edu, self->buf, LAST_PAGE, 5));
	munmap(huge, SZ_2M);
}

/* It is not attached: DMA reaches nothing, while it is allocated or after */
TEST_F(hwpt, is_not_attached)
{
	__u32 hwpt;
	int round;

	ASSERT_EQ(0, MAP(self->buf, PAGE, IOVA));
	memset(self->buf, 0x5a, PAGE);
	for (round = 0; round < 10; round++) {
		edu_start_to_ram(&self->edu, IOVA, 64);
		while (edu_read(&self->edu, 0x98) & 1) {
			ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
			ASSERT_EQ(0, DESTROY(hwpt));
		}
		ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, 64));
		ASSERT_EQ(0, DESTROY(hwpt));
	}
	EXPECT_TRUE(is_byte(self->buf, PAGE, 0x5a));
	EXPECT_EQ(0, PINNED());
}

/*
 * It exists until it is destroyed, which fails while a device is attached (trap
 * B9)
 */
TEST_F(hwpt, stays_until_it_is_destroyed)
{
	__u32 hwpt;

	ASSERT_EQ(0, MAP(self->buf, PAGE, IOVA));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_ERRNO(EBUSY, DESTROY(self->ioas));
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_ERRNO(EBUSY, DESTROY(hwpt));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_FALSE(copies(&self->edu, self->buf, IOVA, 1));
	EXPECT_EQ(PAGES_KB(1), PINNED());
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 2));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, DESTROY(hwpt));
	EXPECT_ERRNO(ENOENT, DESTROY(hwpt));
	EXPECT_ERRNO(ENOENT, ATTACH(hwpt));
	EXPECT_EQ(0, PINNED());
	EXPECT_EQ(0, DESTROY(self->ioas));
}

/*
 * It outlives the device that it was allocated for, and goes with the iommufd
 * (trap B14)
 */
TEST_F(hwpt, outlives_the_device)
{
	__u32 hwpt;

	ASSERT_EQ(0, MAP(self->buf, PAGE, IOVA));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	ASSERT_EQ(0, ATTACH(hwpt));
	edu_close(&self->edu);
	close(self->device);
	EXPECT_EQ(PAGES_KB(1), PINNED());
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 1));
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
	EXPECT_EQ(0, PINNED());
	self->device = open_cdev(&self->dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
}

/* Attaching the IOAS never uses it, even if the device is attached to it */
TEST_F(hwpt, is_attached_by_its_own_id_only)
{
	__u32 hwpt, now, other;

	ASSERT_EQ(0, MAP(self->buf, PAGE, IOVA));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &now));
	EXPECT_NE(hwpt, now);
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 1));

	/*
	 * From one page table of the IOAS to another and back; the MSI range
	 * stays reserved
	 */
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_ERRNO(ENOENT, DESTROY(now));
	EXPECT_FALSE(USABLE(MSI_START, MSI_LAST));
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 2));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &now));
	EXPECT_NE(hwpt, now);
	EXPECT_EQ(0, DESTROY(hwpt));
	EXPECT_FALSE(USABLE(MSI_START, MSI_LAST));
	EXPECT_TRUE(copies(&self->edu, self->buf, IOVA, 3));
	EXPECT_EQ(PAGES_KB(1), PINNED());

	/* Attaching the IOAS again uses the page table that the kernel made */
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &other));
	EXPECT_EQ(now, other);
}

/* It limits the IOAS from the start, but does not reserve the MSI range */
TEST_F(hwpt, limits_the_address_space)
{
	__u32 hwpt, second;

	EXPECT_TRUE(USABLE(0, ~0UL));
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_TRUE(USABLE(0, self->last));
	EXPECT_TRUE(IS_LIMITED());
	EXPECT_EQ(PAGE, iova_alignment(self->iommufd, self->ioas));
	if (BEYOND)
		EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, BEYOND));
	EXPECT_ERRNO(EINVAL, MAP(self->buf, 100, IOVA));

	/* The limits exist as long as a page table does */
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_FALSE(USABLE(MSI_START, MSI_START));
	ASSERT_EQ(0, detach_pt(self->device));
	/* It keeps the range of doorbells that may be mapped in it */
	EXPECT_EQ(MAPS_DOORBELLS, !USABLE(MSI_START, MSI_LAST));
	EXPECT_TRUE(USABLE(MSI_LAST + 1, self->last));
	ASSERT_EQ(0, HWPT_ALLOC(&second));
	ASSERT_EQ(0, DESTROY(hwpt));
	EXPECT_TRUE(IS_LIMITED());
	EXPECT_EQ(PAGE, iova_alignment(self->iommufd, self->ioas));
	ASSERT_EQ(0, DESTROY(second));
	EXPECT_TRUE(USABLE(0, ~0UL));
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
}

/*
 * While it is allocated DMA of the attached device goes on, and the limits are
 * the same
 */
TEST_F(hwpt, is_made_while_the_device_works)
{
	unsigned int round;
	__u32 hwpt, auto_;

	ASSERT_EQ(0, MAP(self->buf, 4 * PAGE, IOVA));
	ASSERT_EQ(0, MAP(self->buf, PAGE, LAST_PAGE));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &auto_));
	if (iommu_of(&self->dev)->reach_is_late) {
		EXPECT_ERRNO(EOPNOTSUPP, HWPT_ALLOC(&hwpt));
		EXPECT_TRUE(copies(&self->edu, self->buf + PAGE,
				   IOVA + PAGE, 0));
		return;
	}
	for (round = 0; round < 10; round++) {
		fill_pattern(self->buf, 1000, round);
		ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA, 1000));
		edu_start_to_ram(&self->edu, IOVA + PAGE, 1000);
		while (edu_read(&self->edu, 0x98) & 1) {
			ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
			ASSERT_EQ(0, DESTROY(hwpt));
		}
		ASSERT_TRUE(is_pattern(self->buf + PAGE, 1000, round));
	}
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_TRUE(IS_LIMITED());
	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_ERRNO(ENOENT, DESTROY(auto_));
	EXPECT_TRUE(IS_LIMITED());
	EXPECT_TRUE(copies(&self->edu, self->buf + PAGE, IOVA + PAGE, 1));
	EXPECT_TRUE(copies(&self->edu, self->buf, LAST_PAGE, 2));

	/* The same if the device is attached to a page table of the program */
	ASSERT_EQ(0, HWPT_ALLOC(&auto_));
	ASSERT_EQ(0, ATTACH(auto_));
	ASSERT_EQ(0, DESTROY(hwpt));
	EXPECT_TRUE(copies(&self->edu, self->buf, LAST_PAGE, 3));
}

static int alloc_raw(int iommufd, const struct iommu_hwpt_alloc *alloc)
{
	struct iommu_hwpt_alloc cmd = *alloc;

	return ioctl(iommufd, IOMMU_HWPT_ALLOC, &cmd);
}

/*
 * A request that fails leaves nothing behind: the next id is not skipped (trap
 * C11)
 */
TEST_F(hwpt, bad_arguments_are_refused)
{
	struct iommu_hwpt_alloc good = {
		.size = sizeof(good),
		.dev_id = self->dev_id,
		.pt_id = self->ioas,
	}, bad;
	__u32 hwpt, other;

#define EXPECT_REFUSED(_errno, _member, _value)                                \
	do {                                                                   \
		bad = good;                                                    \
		bad._member = _value;                                          \
		EXPECT_ERRNO(_errno, alloc_raw(self->iommufd, &bad));          \
	} while (0)

	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_REFUSED(EINVAL, size, 23);
	EXPECT_REFUSED(EOPNOTSUPP, flags, 1);
	EXPECT_REFUSED(EOPNOTSUPP, flags, 1u << 31);
	EXPECT_REFUSED(EOPNOTSUPP, __reserved, 1);
	EXPECT_REFUSED(EINVAL, data_type, 1);
	EXPECT_REFUSED(EINVAL, data_len, 8);
	bad = good;
	bad.data_type = 1;
	bad.data_len = 8;
	EXPECT_ERRNO(EOPNOTSUPP, alloc_raw(self->iommufd, &bad));
	EXPECT_REFUSED(ENOENT, dev_id, 0);
	EXPECT_REFUSED(ENOENT, dev_id, 100);
	EXPECT_REFUSED(ENOENT, dev_id, self->ioas);
	EXPECT_REFUSED(ENOENT, pt_id, 0);
	EXPECT_REFUSED(ENOENT, pt_id, 100);
	EXPECT_REFUSED(EINVAL, pt_id, self->dev_id);
	EXPECT_REFUSED(EINVAL, pt_id, hwpt);
#undef EXPECT_REFUSED
	/* Ignored */
	good.fault_id = 1;
	good.__reserved2 = 1;
	good.data_uptr = 1;
	EXPECT_EQ(0, alloc_raw(self->iommufd, &good));
	EXPECT_EQ(0, DESTROY(hwpt + 1));
	/* The first version of the structure */
	good.size = 24;
	EXPECT_EQ(0, alloc_raw(self->iommufd, &good));
	EXPECT_EQ(0, DESTROY(hwpt + 1));
	EXPECT_EQ(0, HWPT_ALLOC(&other));
	EXPECT_EQ(hwpt + 1, other);
}

/* If a mapping does not suit, the IOAS is unchanged */
TEST_F(hwpt, unsuitable_mapping_is_refused)
{
	__u32 hwpt;

	if (BEYOND) {
		ASSERT_EQ(0, MAP(self->buf, PAGE, BEYOND));
		EXPECT_ERRNO(EADDRINUSE, HWPT_ALLOC(&hwpt));
		ASSERT_EQ(0, UNMAP(0, ~0UL));
	}
	ASSERT_EQ(0, MAP(self->buf, 100, PAGE));
	EXPECT_ERRNO(EADDRINUSE, HWPT_ALLOC(&hwpt));
	ASSERT_EQ(0, UNMAP(0, ~0UL));
	ASSERT_EQ(0, MAP(self->buf, PAGE, PAGE));
	ASSERT_EQ(0, MAP((void *)PAGE, PAGE, 2 * PAGE));
	EXPECT_ERRNO(EFAULT, HWPT_ALLOC(&hwpt));
	EXPECT_EQ(0, PINNED());
	EXPECT_TRUE(USABLE(0, ~0UL));
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
	EXPECT_EQ(0, DESTROY(self->ioas));
}

/* If the id can't be written, the page table is destroyed (trap B7) */
TEST_F(hwpt, unwritable_answer_is_undone)
{
	struct iommu_hwpt_alloc *alloc = (void *)self->buf;
	__u32 hwpt;

	ASSERT_EQ(0, MAP(self->buf + PAGE, PAGE, IOVA));
	alloc->size = sizeof(*alloc);
	alloc->dev_id = self->dev_id;
	alloc->pt_id = self->ioas;
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->iommufd, IOMMU_HWPT_ALLOC, alloc));
	EXPECT_EQ(0, PINNED());
	EXPECT_TRUE(USABLE(0, ~0UL));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	EXPECT_EQ(self->dev_id + 1, hwpt);
}

/*
 * A failed move between page tables of one IOAS: the old one works, and the MSI
 * range stays reserved (traps A15, C3)
 */
TEST_F(hwpt, failed_move_in_one_address_space)
{
	struct vfio_device_attach_iommufd_pt *attach = (void *)self->buf;
	__u32 hwpt, first;

	ASSERT_EQ(0, MAP(self->buf + PAGE, PAGE, IOVA));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, &first));
	attach->argsz = sizeof(*attach);
	attach->pt_id = hwpt;
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_FALSE(USABLE(MSI_START, MSI_START));
	EXPECT_ERRNO(EINVAL, MAP(self->buf, PAGE, MSI_START));
	EXPECT_TRUE(copies(&self->edu, self->buf + PAGE, IOVA, 1));
	EXPECT_ERRNO(EBUSY, DESTROY(first));

	/* And from the program's page table to one that the kernel makes */
	ASSERT_EQ(0, ATTACH(hwpt));
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ | PROT_WRITE));
	attach->pt_id = self->ioas;
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_FALSE(USABLE(MSI_START, MSI_START));
	EXPECT_TRUE(copies(&self->edu, self->buf + PAGE, IOVA, 2));
	EXPECT_ERRNO(EBUSY, DESTROY(hwpt));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, DESTROY(hwpt));
	EXPECT_TRUE(USABLE(0, ~0UL));
	EXPECT_EQ(0, DESTROY(self->ioas));
}

static int set_parameter(const char *name, const char *value, char *old,
			 size_t size)
{
	char path[128];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/sys/module/iommufd/parameters/%s", name);
	fd = open(path, O_RDWR);
	if (old) {
		memset(old, 0, size);
		ret = read(fd, old, size - 1) < 1;
	}
	ret |= pwrite(fd, value, strlen(value), 0) < 0;
	close(fd);
	return ret ? -1 : 0;
}

/*
 * The memory of page tables is not charged, so areas count once for each page
 * table that the program has made of their IOAS, and at least once
 */
TEST_F(hwpt, areas_and_tables_are_limited)
{
	__u32 hwpt[3], third;
	char old[32];

	ASSERT_EQ(0, set_parameter("max_areas", "5", old, sizeof(old)));
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA));
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA + PAGE));
	/* The first page table adds nothing to the count */
	EXPECT_EQ(0, HWPT_ALLOC(&hwpt[0]));
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA + 2 * PAGE));
	EXPECT_ERRNO(ENOSPC, HWPT_ALLOC(&hwpt[1]));
	EXPECT_EQ(0, UNMAP(IOVA, PAGE));
	EXPECT_EQ(0, HWPT_ALLOC(&hwpt[1]));
	EXPECT_ERRNO(ENOSPC, MAP(self->buf, PAGE, IOVA));

	/* Areas of another IOAS are counted only once */
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &third));
	EXPECT_EQ(0, ioas_map(self->iommufd, third, self->buf, PAGE, IOVA,
			      MAP_RW));
	EXPECT_ERRNO(ENOSPC, ioas_map(self->iommufd, third, self->buf, PAGE,
				      IOVA + PAGE, MAP_RW));
	EXPECT_EQ(0, DESTROY(hwpt[0]));
	EXPECT_EQ(0, ioas_map(self->iommufd, third, self->buf, PAGE,
			      IOVA + PAGE, MAP_RW));
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA));
	EXPECT_ERRNO(ENOSPC, MAP(self->buf, PAGE, IOVA + 3 * PAGE));
	EXPECT_EQ(0, DESTROY(third));
	EXPECT_EQ(0, DESTROY(hwpt[1]));

	/* Page tables made by an attach are few, and don't count */
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA + 3 * PAGE));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(0, MAP(self->buf, PAGE, IOVA + 4 * PAGE));
	EXPECT_ERRNO(ENOSPC, MAP(self->buf, PAGE, IOVA + 5 * PAGE));
	EXPECT_EQ(0, set_parameter("max_areas", old, NULL, 0));
}

/*
 * Domain ids are few. Page tables that were allocated for a device count in all
 * contexts, even after the device has left them (trap M8).
 */
TEST_F(hwpt, tables_of_a_device_are_limited)
{
	int second = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	__u32 hwpt[2], id, ioas;
	char old[32];

	ASSERT_EQ(0, set_parameter("max_tables", "2", old, sizeof(old)));
	EXPECT_EQ(0, HWPT_ALLOC(&hwpt[0]));
	EXPECT_EQ(0, HWPT_ALLOC(&hwpt[1]));
	EXPECT_ERRNO(ENOSPC, HWPT_ALLOC(&id));
	EXPECT_EQ(0, DESTROY(hwpt[0]));

	/* The device moves to another context */
	edu_close(&self->edu);
	close(self->device);
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	ASSERT_EQ(0, bind_iommufd(self->device, second, &id));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	ASSERT_EQ(0, ioas_alloc(second, &ioas));
	EXPECT_EQ(0, hwpt_alloc(second, id, ioas, &hwpt[0]));
	EXPECT_ERRNO(ENOSPC, hwpt_alloc(second, id, ioas, &hwpt[0]));
	EXPECT_EQ(0, DESTROY(hwpt[1]));
	EXPECT_EQ(0, hwpt_alloc(second, id, ioas, &hwpt[0]));
	EXPECT_EQ(0, set_parameter("max_tables", old, NULL, 0));
	close(second);
}

/* Two devices that share a group */
FIXTURE(shared)
{
	struct pci_dev a, b;
	int dev_a, dev_b;
	__u32 id_a, id_b;
	int iommufd;
	__u32 ioas, other;
	struct edu edu_a, edu_b;
	char *buf;
};

FIXTURE_SETUP(shared)
{
	if (find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no two edu devices that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	self->dev_a = open_cdev(&self->a);
	self->dev_b = open_cdev(&self->b);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	ASSERT_EQ(0, bind_iommufd(self->dev_a, self->iommufd, &self->id_a));
	ASSERT_EQ(0, bind_iommufd(self->dev_b, self->iommufd, &self->id_b));
	ASSERT_EQ(0, edu_open(&self->edu_a, self->dev_a));
	ASSERT_EQ(0, edu_open(&self->edu_b, self->dev_b));
	self->buf = map_anon(2 * PAGE);
	memset(self->buf, 0, 2 * PAGE);
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, self->buf, PAGE, IOVA,
			      MAP_RW));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->other, self->buf + PAGE,
			      PAGE, IOVA, MAP_RW));
}

FIXTURE_TEARDOWN(shared)
{
	edu_close(&self->edu_a);
	edu_close(&self->edu_b);
	close(self->dev_a);
	close(self->dev_b);
	close(self->iommufd);
}

/* Allocated for either device; both are attached by its id (trap B11) */
TEST_F(shared, table_serves_the_whole_group)
{
	__u32 hwpt, now;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->id_a, self->ioas, &hwpt));
	ASSERT_EQ(0, attach_pt(self->dev_b, hwpt, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, hwpt, &now));
	EXPECT_EQ(hwpt, now);
	EXPECT_TRUE(copies(&self->edu_a, self->buf, IOVA, 1));
	EXPECT_TRUE(copies(&self->edu_b, self->buf, IOVA, 2));
	ASSERT_EQ(0, detach_pt(self->dev_b));
	EXPECT_TRUE(copies(&self->edu_a, self->buf, IOVA, 3));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, hwpt));
	ASSERT_EQ(0, detach_pt(self->dev_a));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, hwpt));
}

/* The limit is for each device, and for page tables that programs allocate */
TEST_F(shared, tables_are_limited_for_each_device)
{
	__u32 hwpt;
	char old[32];

	ASSERT_EQ(0, set_parameter("max_tables", "1", old, sizeof(old)));
	EXPECT_EQ(0, hwpt_alloc(self->iommufd, self->id_a, self->ioas, &hwpt));
	EXPECT_ERRNO(ENOSPC, hwpt_alloc(self->iommufd, self->id_a, self->ioas,
					&hwpt));
	EXPECT_EQ(0, hwpt_alloc(self->iommufd, self->id_b, self->ioas, &hwpt));
	EXPECT_ERRNO(ENOSPC, hwpt_alloc(self->iommufd, self->id_b, self->ioas,
					&hwpt));
	EXPECT_EQ(0, attach_pt(self->dev_a, self->other, NULL));
	EXPECT_EQ(0, set_parameter("max_tables", old, NULL, 0));
}

/* Allocated for the other device of an attached group, whose DMA goes on */
TEST_F(shared, sibling_makes_a_table)
{
	bool late = iommu_of(&self->a)->reach_is_late;
	__u32 hwpt, other, none;

	if (!late)
		ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->id_b, self->ioas, &hwpt));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->id_b, self->other, &other));
	if (late) {
		ASSERT_EQ(0, attach_pt(self->dev_a, self->ioas, NULL));
		EXPECT_ERRNO(EOPNOTSUPP, hwpt_alloc(self->iommufd, self->id_b,
						    self->ioas, &none));
	}
	EXPECT_TRUE(copies(&self->edu_a, self->buf, IOVA, 1));

	/*
	 * A device can't be attached to another page table than its group (trap
	 * C1)
	 */
	EXPECT_ERRNO(EINVAL, attach_pt(self->dev_b, hwpt, NULL));
	EXPECT_ERRNO(EINVAL, attach_pt(self->dev_b, other, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_a, hwpt, NULL));
	EXPECT_ERRNO(EINVAL, attach_pt(self->dev_b, self->ioas, NULL));
	ASSERT_EQ(0, attach_pt(self->dev_b, hwpt, NULL));
	EXPECT_TRUE(copies(&self->edu_b, self->buf, IOVA, 2));

	/* Attaching either one moves both */
	ASSERT_EQ(0, attach_pt(self->dev_b, other, NULL));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, hwpt));
	memset(self->buf, 0x77, PAGE);
	EXPECT_TRUE(copies(&self->edu_a, self->buf + PAGE, IOVA, 3));
	EXPECT_TRUE(is_byte(self->buf, PAGE, 0x77));
	EXPECT_TRUE(is_usable(self->iommufd, self->ioas, 0, ~0UL));
	EXPECT_FALSE(is_usable(self->iommufd, self->other, MSI_START,
			       MSI_START));
}

/*
 * A device is moved while it does DMA to an IOVA that both IOAS map, and that
 * is also the physical address of a page of the process. In the default domain
 * of the device, DMA would reach that page.
 */
FIXTURE(moved)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 dev_id;
	__u32 ioas[2];
	__u32 hwpt[2];
	struct edu edu;
	char *buf[2];
	char *bait;
	__u64 iova;
	atomic_ulong moves;
};

FIXTURE_SETUP(moved)
{
	int i;

	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	unbind_driver(&self->dev);
	ASSERT_EQ(0, set_default_domain(&self->dev, "identity"));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->dev_id));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));

	self->bait = map_anon(PAGE);
	memset(self->bait, 0x66, PAGE);
	ASSERT_EQ(0, mlock(self->bait, PAGE));
	self->iova = physical_address(self->bait);
	ASSERT_NE(0, self->iova);
	for (i = 0; i < 2; i++) {
		self->buf[i] = map_anon(3 * PAGE);
		memset(self->buf[i], 0x55, 3 * PAGE);
		ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas[i]));
		ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas[i],
				      self->buf[i] + PAGE, PAGE, self->iova,
				      MAP_RW));
		ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->dev_id,
					self->ioas[i], &self->hwpt[i]));
	}
	stop = false;
	wrong = 0;
}

FIXTURE_TEARDOWN(moved)
{
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
	unbind_driver(&self->dev);
	set_default_domain(&self->dev, "DMA");
}

static void *move(void *arg)
{
	struct _test_data_moved *self = arg;
	unsigned int seed = 1;

	while (!stop) {
		int i = rand_r(&seed) % 2;

		/* By either id, which names different page tables */
		CHECK(!attach_pt(self->device, rand_r(&seed) % 2 ?
				 self->hwpt[i] : self->ioas[i], NULL));
		self->moves++;
	}
	return NULL;
}

/* Is each byte that of the pattern, or unchanged? */
static bool is_pattern_or(const char *buf, size_t length, unsigned int seed,
			  char byte)
{
	char *pattern = malloc(length);
	bool ret = true;
	size_t i;

	fill_pattern(pattern, length, seed);
	for (i = 0; i < length; i++)
		ret &= buf[i] == pattern[i] || buf[i] == byte;
	free(pattern);
	return ret;
}

/*
 * Each byte goes to the memory of one IOAS or of the other, or nowhere if the
 * transfer meets a move. It never goes to the physical address (trap C9).
 */
TEST_F(moved, no_byte_goes_elsewhere)
{
	unsigned int round, hits[2] = {};
	pthread_t thread;
	int i;

	/* Load what the device will write */
	ASSERT_EQ(0, attach_pt(self->device, self->hwpt[0], NULL));
	fill_pattern(self->buf[0] + PAGE, EDU_MAX, 7);
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, self->iova, EDU_MAX));
	memset(self->buf[0] + PAGE, 0x55, PAGE);

	START(&thread, move);
	for (round = 0; round < 40; round++) {
		ASSERT_EQ(0, edu_dma_to_ram(&self->edu, self->iova, EDU_MAX));
		for (i = 0; i < 2; i++) {
			char *page = self->buf[i] + PAGE;

			EXPECT_TRUE(is_pattern_or(page, EDU_MAX, 7, 0x55));
			EXPECT_TRUE(is_byte(page + EDU_MAX, 1, 0x55));
			hits[i] += is_pattern(page, EDU_MAX, 7);
			memset(page, 0x55, PAGE);
		}
		EXPECT_EQ(self->iova, physical_address(self->bait));
		ASSERT_TRUE(is_byte(self->bait, PAGE, 0x66));
	}
	run_for(0, &thread, 1);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(100, self->moves);
	EXPECT_LT(0, hits[0]);
	EXPECT_LT(0, hits[1]);
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(is_byte(self->buf[i], PAGE, 0x55));
		EXPECT_TRUE(is_byte(self->buf[i] + 2 * PAGE, PAGE, 0x55));
	}
}

/* IOMMU_GET_HW_INFO */

/* For VT-d the registers, for other IOMMUs nothing; no capabilities */
TEST_F(hwpt, registers_are_told)
{
	struct iommu_hw_info_vtd vtd;
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = self->dev_id,
		.data_len = sizeof(vtd),
		.data_uptr = (uintptr_t)&vtd,
		.out_data_type = ~0U,
		.out_capabilities = ~0ULL,
	};

	memset(&vtd, 0xff, sizeof(vtd));
	leave_garbage(sizeof(vtd));
	ASSERT_EQ(0, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_EQ(iommu_of(&self->dev)->hw_info, info.out_data_type);
	EXPECT_EQ(0, info.out_capabilities);
	if (info.out_data_type == IOMMU_HW_INFO_TYPE_NONE) {
		EXPECT_EQ(0, info.data_len);
		EXPECT_TRUE(is_byte(&vtd, sizeof(vtd), 0));
		return;
	}
	EXPECT_EQ(24, info.data_len);
	EXPECT_EQ(0, vtd.flags);
	EXPECT_EQ(0, vtd.__reserved);
	EXPECT_NE(0, vtd.cap_reg);
	EXPECT_EQ(vtd_register(&self->dev, "cap"), vtd.cap_reg);
	EXPECT_EQ(vtd_register(&self->dev, "ecap"), vtd.ecap_reg);
}

/* As much as fits; the rest of the buffer is zeroed, and nothing after it */
TEST_F(hwpt, registers_are_cut_to_the_buffer)
{
	unsigned char whole[64], buf[64];
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = self->dev_id,
		.data_len = sizeof(whole),
		.data_uptr = (uintptr_t)whole,
	};
	__u32 length, told;

	memset(whole, 0xee, sizeof(whole));
	ASSERT_EQ(0, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	told = info.data_len;
	ASSERT_GE(sizeof(whole), told);
	info.data_uptr = (uintptr_t)buf;
	for (length = 0; length <= 48; length++) {
		memset(buf, 0xee, sizeof(buf));
		info.size = length % 2 ? 32 : 40;
		info.data_len = length;
		ASSERT_EQ(0, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
		EXPECT_EQ(told, info.data_len);
		EXPECT_EQ(0, memcmp(buf, whole, length));
		EXPECT_TRUE(is_byte(buf + length, 64 - length, 0xee));
	}
	EXPECT_TRUE(is_byte(whole + told, sizeof(whole) - told, 0));
	/* Length 0: the pointer is ignored */
	info.data_len = 0;
	info.data_uptr = 1;
	EXPECT_EQ(0, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_EQ(told, info.data_len);
}

TEST_F(hwpt, bad_questions_are_refused)
{
	char *end = map_anon(2 * PAGE) + PAGE;
	struct iommu_hw_info good = {
		.size = sizeof(good),
		.dev_id = self->dev_id,
	}, bad;
	__u32 hwpt;

	ASSERT_EQ(0, munmap(end, PAGE));
	ASSERT_EQ(0, HWPT_ALLOC(&hwpt));
#define EXPECT_REFUSED(_errno, _member, _value)                                \
	do {                                                                   \
		bad = good;                                                    \
		bad._member = _value;                                          \
		EXPECT_ERRNO(_errno,                                           \
			     ioctl(self->iommufd, IOMMU_GET_HW_INFO, &bad));   \
	} while (0)
	EXPECT_REFUSED(EINVAL, size, 31);
	EXPECT_REFUSED(EOPNOTSUPP, flags, 1);
	EXPECT_REFUSED(EOPNOTSUPP, __reserved, 1);
	EXPECT_REFUSED(ENOENT, dev_id, 0);
	EXPECT_REFUSED(ENOENT, dev_id, self->ioas);
	EXPECT_REFUSED(ENOENT, dev_id, hwpt);
	good.data_uptr = (uintptr_t)end - 24;
	EXPECT_REFUSED(EFAULT, data_len, 25);
	good.data_uptr = (uintptr_t)end - 23;
	EXPECT_REFUSED(EFAULT, data_len, 24);
	EXPECT_REFUSED(EFAULT, data_len, ~0U);
#undef EXPECT_REFUSED
}

/* The id of an unbound device names nothing */
TEST_F(hwpt, unbound_device_is_gone)
{
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = self->dev_id,
	};
	__u32 hwpt;

	edu_close(&self->edu);
	close(self->device);
	EXPECT_ERRNO(ENOENT, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_ERRNO(ENOENT, HWPT_ALLOC(&hwpt));
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
}

TEST_HARNESS_MAIN

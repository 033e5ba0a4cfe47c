// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts of a device that is moved between page tables. If the kernel maps
 * doorbells, in the reserved range MSI_START to MSI_LAST, a page table has them
 * only after a vector was set up while a device was attached to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

FIXTURE(msi)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 dev_id;
	__u32 ioas, other;
	struct edu edu;
	char *buf;
	int event;
};

FIXTURE_SETUP(msi)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->other));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->dev_id));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	self->buf = map_anon(PAGE);
	self->event = -1;
}

FIXTURE_TEARDOWN(msi)
{
	edu_close(&self->edu);
	close(self->event);
	close(self->device);
	close(self->iommufd);
}

#define ATTACH(_id) attach_pt(self->device, _id, NULL)
#define MAP(_iova)                                                             \
	ioas_map(self->iommufd, self->ioas, self->buf, PAGE, _iova, MAP_RW)

/* Disable MSI if it is enabled, then enable it */
#define SET_UP()                                                               \
	do {                                                                   \
		if (self->event >= 0)                                          \
			ASSERT_EQ(0, irqs_off(self->device,                    \
					      VFIO_PCI_MSI_IRQ_INDEX));        \
		close(self->event);                                            \
		self->event = irq_eventfd(self->device,                        \
					  VFIO_PCI_MSI_IRQ_INDEX);             \
		ASSERT_LE(0, self->event);                                     \
	} while (0)

/* Does an interrupt of the device arrive? */
static bool arrives(struct edu *edu, int event)
{
	bool ret;

	edu_write(edu, 0x60, 1);
	ret = is_signalled(event, 2000);
	edu_write(edu, 0x64, 1);
	return ret;
}

/* After each move, interrupts arrive if they are set up again (trap M4) */
TEST_F(msi, set_up_after_each_move)
{
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->dev_id, self->ioas, &hwpt));

	/* Set up before there is a page table */
	SET_UP();
	ASSERT_EQ(0, ATTACH(self->ioas));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));
	/* Enabled during the move */
	ASSERT_EQ(0, ATTACH(self->other));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));
	ASSERT_EQ(0, ATTACH(hwpt));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, ATTACH(self->other));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));
}

/* After a failed move interrupts still arrive */
TEST_F(msi, arrive_after_a_move_that_failed)
{
	ASSERT_EQ(0, MAP(MSI_START));
	ASSERT_EQ(0, ATTACH(self->other));
	SET_UP();
	EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
	EXPECT_TRUE(arrives(&self->edu, self->event));
	ASSERT_EQ(0, ioas_unmap(self->iommufd, self->ioas, MSI_START, PAGE));
	/*
	 * This is detected late, after the device left its page table for a
	 * moment
	 */
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, (void *)PAGE, PAGE,
			      SZ_2M, MAP_RW));
	EXPECT_ERRNO(EFAULT, ATTACH(self->ioas));
	EXPECT_TRUE(arrives(&self->edu, self->event));
}

/*
 * A page table of the program keeps the doorbells that are mapped in it, and
 * their range stays reserved (trap M5)
 */
TEST_F(msi, made_table_keeps_the_doorbells)
{
	__u32 hwpt;

	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->dev_id, self->ioas, &hwpt));
	ASSERT_EQ(0, ATTACH(hwpt));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));

	ASSERT_EQ(0, detach_pt(self->device));
	if (MAPS_DOORBELLS) {
		EXPECT_ERRNO(EINVAL, MAP(MSI_START));
	} else {
		EXPECT_EQ(0, MAP(MSI_START));
		EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, MSI_START,
					PAGE));
	}

	ASSERT_EQ(0, ATTACH(hwpt));
	EXPECT_TRUE(arrives(&self->edu, self->event));
	SET_UP();
	EXPECT_TRUE(arrives(&self->edu, self->event));

	/* After the page table is destroyed the range is free */
	ASSERT_EQ(0, ATTACH(self->other));
	ASSERT_EQ(0, iommufd_destroy(self->iommufd, hwpt));
	EXPECT_EQ(0, MAP(MSI_START));
}

TEST_HARNESS_MAIN

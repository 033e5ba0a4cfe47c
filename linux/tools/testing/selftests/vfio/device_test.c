// SPDX-License-Identifier: GPL-2.0
/*
 * An open device works the same however it was opened: by cdev, by group and
 * VFIO's container, or by group and an iommufd as the container. Each case runs
 * with all three.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../samples/vfio-mdev/mdpin.h"
#include "vfio_util.h"

/* Registers of edu */
enum {
	EDU_ID = 0x00,
	EDU_LIVENESS = 0x04,
	EDU_RAISE = 0x60,
	EDU_ACK = 0x64,
};

#define EDU_ID_VALUE 0x010000edU
#define EDU_BAR_SIZE 0x100000

/* PCI configuration space */
#define CONFIG_VENDOR 0x00
#define COMMAND_INTX_OFF 0x0400

#define EVENTFD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define FIRE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
#define FIRE_IF (VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER)
#define MASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK)
#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

#define BAR0(_at)                                                              \
	(region_at(self->device, VFIO_PCI_BAR0_REGION_INDEX) + (_at))
#define CONFIG(_at)                                                            \
	(region_at(self->device, VFIO_PCI_CONFIG_REGION_INDEX) + (_at))

/* VFIO_DEVICE_FEATURE with @length bytes of @data, which the answer replaces */
static int feature(int device, __u32 flags, void *data, size_t length)
{
	__u64 room[8] = {};
	struct vfio_device_feature *cmd = (void *)room;
	int ret;

	cmd->argsz = sizeof(*cmd) + length;
	cmd->flags = flags;
	memcpy(cmd->data, data, length);
	ret = ioctl(device, VFIO_DEVICE_FEATURE, cmd);
	memcpy(data, cmd->data, length);
	return ret;
}

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE
#define FEATURE(_flags) feature(self->device, _flags, NULL, 0)

FIXTURE(device)
{
	struct pci_dev dev;
	struct opened opened;
	int device;
	struct edu edu;
};

/* @container: see open_device() */
FIXTURE_VARIANT(device)
{
	const char *container;
	bool iommufd;
};

FIXTURE_VARIANT_ADD(device, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(device, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
};

FIXTURE_VARIANT_ADD(device, cdev)
{
	.iommufd = true,
};

FIXTURE_SETUP(device)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	self->device = self->opened.device;
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
}

FIXTURE_TEARDOWN(device)
{
	edu_close(&self->edu);
	close_device(&self->opened);
}

/* Close and open the device; it must be in its initial state */
static int reopen(struct _test_data_device *self, const char *container)
{
	edu_close(&self->edu);
	close_device(&self->opened);
	if (open_device(&self->opened, &self->dev, container))
		return -1;
	self->device = self->opened.device;
	return edu_open(&self->edu, self->device);
}

TEST_F(device, info_is_of_a_pci_device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(VFIO_DEVICE_FLAGS_PCI, info.flags);
	EXPECT_EQ(VFIO_PCI_NUM_REGIONS, info.num_regions);
	EXPECT_EQ(VFIO_PCI_NUM_IRQS, info.num_irqs);
	EXPECT_EQ(sizeof(info), info.argsz);
	info.argsz = offsetof(struct vfio_device_info, num_irqs);
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_GET_INFO, NULL));
}

TEST_F(device, regions_are_told)
{
	struct vfio_region_info info;
	__u32 i;

	ASSERT_EQ(0, region_info(self->device, VFIO_PCI_BAR0_REGION_INDEX,
				 &info));
	EXPECT_EQ(EDU_BAR_SIZE, info.size);
	EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
		  VFIO_REGION_INFO_FLAG_MMAP, info.flags);
	EXPECT_EQ(sizeof(info), info.argsz);
	for (i = VFIO_PCI_BAR1_REGION_INDEX; i <= VFIO_PCI_ROM_REGION_INDEX;
	     i++) {
		ASSERT_EQ(0, region_info(self->device, i, &info));
		EXPECT_EQ(0, info.size);
		EXPECT_EQ(0, info.flags);
	}
	ASSERT_EQ(0, region_info(self->device, VFIO_PCI_CONFIG_REGION_INDEX,
				 &info));
	EXPECT_EQ(256, info.size);
	EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		  info.flags);
	for (i = VFIO_PCI_VGA_REGION_INDEX; i < VFIO_PCI_NUM_REGIONS + 3; i++)
		EXPECT_ERRNO(EINVAL, region_info(self->device, i, &info));
}

TEST_F(device, interrupts_are_told)
{
	static const struct {
		__u32 count;
		__u32 flags;
	} irqs[] = {
		[INTX] = { 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE |
			      VFIO_IRQ_INFO_AUTOMASKED },
		[MSI] = { 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE },
		[MSIX] = { 0, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE },
		/* edu is not PCI Express and has no error interrupt */
		[VFIO_PCI_ERR_IRQ_INDEX] = { 0, 0 },
		[VFIO_PCI_REQ_IRQ_INDEX] = { 1, VFIO_IRQ_INFO_EVENTFD |
						VFIO_IRQ_INFO_NORESIZE },
		[VFIO_PCI_NUM_IRQS] = { 0, 0 },
	};
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(irqs); i++) {
		struct vfio_irq_info info = {
			.argsz = sizeof(info),
			.index = i,
		};

		if (!irqs[i].flags) {
			EXPECT_ERRNO(EINVAL,
				     ioctl(self->device,
					   VFIO_DEVICE_GET_IRQ_INFO, &info));
			continue;
		}
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_IRQ_INFO,
				   &info));
		EXPECT_EQ(irqs[i].flags, info.flags);
		EXPECT_EQ(irqs[i].count, info.count);
	}
}

/* The kernel writes only the answer (trap E16) */
TEST_F(device, answers_change_nothing_else)
{
	struct {
		struct vfio_region_info region;
		__u64 more;
	} region = {
		.region = { .argsz = sizeof(region), .cap_offset = 77 },
		.more = ~0ULL,
	};
	struct {
		struct vfio_irq_info irq;
		__u64 more;
	} irq = { .irq.argsz = sizeof(irq), .more = ~0ULL };
	struct {
		struct vfio_device_info info;
		__u64 more;
	} info = { .info.argsz = sizeof(info), .more = ~0ULL };

	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_REGION_INFO, &region));
	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_IRQ_INFO, &irq));
	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(~0ULL, region.more);
	EXPECT_EQ(~0ULL, irq.more);
	EXPECT_EQ(~0ULL, info.more);
	EXPECT_EQ(77, region.region.cap_offset);
	EXPECT_EQ(0, info.info.cap_offset);
}

/* read(), write() and a mapping reach the same registers */
TEST_F(device, region_is_read_and_written)
{
	void *nowhere = (void *)PAGE;
	__u32 value = 0x12345678;
	__u64 last;

	ASSERT_EQ(4, pwrite(self->device, &value, 4, BAR0(EDU_LIVENESS)));
	EXPECT_EQ(~0x12345678U, edu_read(&self->edu, EDU_LIVENESS));
	edu_write(&self->edu, EDU_LIVENESS, 77);
	ASSERT_EQ(4, pread(self->device, &value, 4, BAR0(EDU_LIVENESS)));
	EXPECT_EQ(~77U, value);
	/*
	 * Without an offset, read() begins at the first register and goes on
	 * from there
	 */
	EXPECT_ERRNO(ESPIPE, lseek(self->device, 0, SEEK_SET));
	ASSERT_EQ(4, read(self->device, &value, 4));
	EXPECT_EQ(EDU_ID_VALUE, value);
	ASSERT_EQ(4, read(self->device, &value, 4));
	EXPECT_EQ(~77U, value);

	EXPECT_EQ(4, pread(self->device, &last, 8, BAR0(EDU_BAR_SIZE - 4)));
	EXPECT_ERRNO(EINVAL, pread(self->device, &value, 4,
				   BAR0(EDU_BAR_SIZE)));
	EXPECT_ERRNO(EINVAL, pread(self->device, &value, 4,
				   region_at(self->device,
					     VFIO_PCI_BAR1_REGION_INDEX)));
	EXPECT_ERRNO(EFAULT, pread(self->device, nowhere, 4, BAR0(EDU_ID)));
}

/* Fixed registers keep their value, and writable ones take it */
TEST_F(device, config_is_read_and_written)
{
	__u8 all[256], other = 0x5a, line;
	void *nowhere = (void *)PAGE;
	__u16 ids[2], vendor = 0xffff;

	ASSERT_EQ(256, pread(self->device, all, 256, CONFIG(0)));
	EXPECT_EQ(0x34, all[0]);
	ASSERT_EQ(2, pwrite(self->device, &vendor, 2, CONFIG(CONFIG_VENDOR)));
	ASSERT_EQ(4, pread(self->device, ids, 4, CONFIG(CONFIG_VENDOR)));
	EXPECT_EQ(0x1234, ids[0]);
	EXPECT_EQ(0x11e8, ids[1]);
	/* The interrupt line is a register for the program's use */
	ASSERT_EQ(1, pwrite(self->device, &other, 1, CONFIG(0x3c)));
	ASSERT_EQ(1, pread(self->device, &line, 1, CONFIG(0x3c)));
	EXPECT_EQ(other, line);
	EXPECT_EQ(-1, pread(self->device, all, 4, CONFIG(256)));
	EXPECT_ERRNO(EFAULT, pread(self->device, nowhere, 4, CONFIG(0)));
}

TEST_F(device, mmap_has_its_limits)
{
	off_t bar = BAR0(0), config = CONFIG(0);
	char *whole;

	whole = map_region(self->device, bar, EDU_BAR_SIZE);
	ASSERT_NE(NULL, whole);
	EXPECT_EQ(EDU_ID_VALUE, get_register(whole));
	munmap(whole, EDU_BAR_SIZE);
	EXPECT_EQ(NULL, map_region(self->device, bar, EDU_BAR_SIZE + PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map_region(self->device, bar + EDU_BAR_SIZE, PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map_region(self->device, config, PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE,
				   self->device, bar));
	EXPECT_EQ(EINVAL, errno);
}

/*
 * While memory decoding is off, mappings raise SIGBUS, also in a child; then
 * they work again (trap E9)
 */
TEST_F(device, mapping_goes_and_comes_with_memory_enable)
{
	char *other = map_region(self->device, BAR0(0), EDU_BAR_SIZE);
	int go[2], done[2], status;
	bool was, off, on;
	__u32 value;
	pid_t pid;
	char c;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	pid = fork();
	if (!pid) {
		was = touches(other);
		if (write(done[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		off = !touches(other);
		if (write(done[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		on = touches(other);
		_exit(was && off && on ? 0 : 1);
	}

	EXPECT_TRUE(touches(self->edu.regs));
	EXPECT_TRUE(touches(other + EDU_BAR_SIZE - PAGE));
	EXPECT_EQ(1, read(done[0], &c, 1));
	ASSERT_EQ(0, change_command(self->device, 0, COMMAND_MEMORY));
	EXPECT_FALSE(touches(self->edu.regs));
	EXPECT_FALSE(touches(other + EDU_BAR_SIZE - PAGE));
	EXPECT_ERRNO(EIO, pread(self->device, &value, 4, BAR0(EDU_ID)));
	EXPECT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(1, read(done[0], &c, 1));

	ASSERT_EQ(0, change_command(self->device, COMMAND_MEMORY, 0));
	EXPECT_EQ(4, pread(self->device, &value, 4, BAR0(EDU_ID)));
	EXPECT_EQ(EDU_ID_VALUE, edu_read(&self->edu, EDU_ID));
	EXPECT_TRUE(touches(other + EDU_BAR_SIZE - PAGE));
	EXPECT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	munmap(other, EDU_BAR_SIZE);
	close(go[0]);
	close(go[1]);
	close(done[0]);
	close(done[1]);
}

/* struct toucher - a thread that may be the first to use the registers */
struct toucher {
	pthread_barrier_t *barrier;
	int device;
	off_t at;
	int err;
	bool right;
};

static void *touch_by_read(void *arg)
{
	struct toucher *me = arg;
	__u32 value = 0;

	pthread_barrier_wait(me->barrier);
	me->err = pread(me->device, &value, 4, me->at) == 4 ? 0 : errno;
	me->right = value == EDU_ID_VALUE;
	return NULL;
}

static void *touch_by_mmap(void *arg)
{
	struct toucher *me = arg;
	void *regs;

	pthread_barrier_wait(me->barrier);
	regs = map_region(me->device, me->at, PAGE);
	me->err = regs ? 0 : errno;
	if (!regs)
		return NULL;
	me->right = get_register(regs) == EDU_ID_VALUE;
	munmap(regs, PAGE);
	return NULL;
}

/*
 * Two threads are the first to use the registers: one reads, one maps them
 * (trap E12). Both succeed, or vfio-pci of this kernel returns EBUSY to one of
 * them, because the other is about to claim them. Either way they are free
 * after the close.
 */
TEST_F(device, registers_are_first_used_by_two)
{
	time_t end = time(NULL) + 5;
	int i, j;

	/* Alternate the roles; fewer rounds if opening the device is slow */
	for (i = 0; i < 2 || (i < 20 && time(NULL) < end); i++) {
		pthread_barrier_t barrier;
		struct toucher me[2];
		pthread_t threads[2];

		edu_close(&self->edu);
		close_device(&self->opened);
		ASSERT_EQ(0, open_device(&self->opened, &self->dev,
					 variant->container));
		self->device = self->opened.device;
		ASSERT_EQ(0, change_command(self->device, COMMAND_MEMORY, 0));

		pthread_barrier_init(&barrier, NULL, 2);
		for (j = 0; j < 2; j++) {
			me[j] = (struct toucher){
				.barrier = &barrier,
				.device = self->device,
				.at = BAR0(0),
			};
			ASSERT_EQ(0, pthread_create(&threads[j], NULL,
						    (i + j) & 1 ? touch_by_mmap
								: touch_by_read,
						    &me[j]));
		}
		for (j = 0; j < 2; j++)
			pthread_join(threads[j], NULL);
		for (j = 0; j < 2; j++)
			EXPECT_TRUE(me[j].err ? me[j].err == EBUSY :
						 me[j].right);
		EXPECT_TRUE(!me[0].err || !me[1].err);
		ASSERT_EQ(0, edu_open(&self->edu, self->device));
		EXPECT_EQ(EDU_ID_VALUE, edu_read(&self->edu, EDU_ID));
	}
}

/*
 * Interrupts
 */

/* The device signals MSI as long as an eventfd is set */
TEST_F(device, msi_signals_an_eventfd)
{
	int event, i;

	for (i = 0; i < 3; i++) {
		event = irq_eventfd(self->device, MSI);
		ASSERT_LE(0, event);
		edu_write(&self->edu, EDU_RAISE, 1);
		EXPECT_TRUE(is_signalled(event, 5000));
		edu_write(&self->edu, EDU_ACK, 1);
		EXPECT_FALSE(is_signalled(event, 0));
		/* The program can trigger it too */
		ASSERT_EQ(0, set_irq(self->device, MSI, FIRE, 0));
		EXPECT_TRUE(is_signalled(event, 0));
		ASSERT_EQ(0, set_irq(self->device, MSI, FIRE_IF, 0));
		EXPECT_FALSE(is_signalled(event, 0));
		ASSERT_EQ(0, set_irq(self->device, MSI, FIRE_IF, 1));
		EXPECT_TRUE(is_signalled(event, 0));

		/* Another eventfd, and none */
		close(event);
		event = irq_eventfd(self->device, MSI);
		ASSERT_LE(0, event);
		edu_write(&self->edu, EDU_RAISE, 1);
		EXPECT_TRUE(is_signalled(event, 5000));
		edu_write(&self->edu, EDU_ACK, 1);
		ASSERT_EQ(0, set_irq(self->device, MSI, EVENTFD, -1));
		edu_write(&self->edu, EDU_RAISE, 1);
		EXPECT_FALSE(is_signalled(event, 100));
		edu_write(&self->edu, EDU_ACK, 1);
		close(event);
		if (i == 1)
			ASSERT_EQ(0, reopen(self, variant->container));
	}
}

/* INTx is masked when it fires, until the program has handled it */
TEST_F(device, intx_masks_itself)
{
	int event = irq_eventfd(self->device, INTX);

	ASSERT_LE(0, event);
	edu_write(&self->edu, EDU_RAISE, 1);
	EXPECT_TRUE(is_signalled(event, 5000));
	/* If it is unmasked too early, it fires again */
	ASSERT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
	EXPECT_TRUE(is_signalled(event, 5000));
	edu_write(&self->edu, EDU_ACK, 1);
	edu_write(&self->edu, EDU_RAISE, 2);
	EXPECT_FALSE(is_signalled(event, 100));
	ASSERT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
	EXPECT_TRUE(is_signalled(event, 5000));
	edu_write(&self->edu, EDU_ACK, 2);
	ASSERT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
	EXPECT_FALSE(is_signalled(event, 100));
	close(event);
}

/* By VFIO_DEVICE_SET_IRQS, and by the command register */
TEST_F(device, intx_is_masked_and_unmasked)
{
	int event = irq_eventfd(self->device, INTX);
	int unmask = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	__u64 one = 1;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, set_irq(self->device, INTX, MASK, 0));
	edu_write(&self->edu, EDU_RAISE, 1);
	EXPECT_FALSE(is_signalled(event, 100));
	ASSERT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
	EXPECT_TRUE(is_signalled(event, 5000));
	edu_write(&self->edu, EDU_ACK, 1);
	ASSERT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));

	ASSERT_EQ(0, change_command(self->device, COMMAND_INTX_OFF, 0));
	edu_write(&self->edu, EDU_RAISE, 1);
	EXPECT_FALSE(is_signalled(event, 100));
	ASSERT_EQ(0, change_command(self->device, 0, COMMAND_INTX_OFF));
	EXPECT_TRUE(is_signalled(event, 5000));
	edu_write(&self->edu, EDU_ACK, 1);

	/* And by another eventfd, as KVM does */
	ASSERT_EQ(0, set_irq(self->device, INTX, VFIO_IRQ_SET_DATA_EVENTFD |
			     VFIO_IRQ_SET_ACTION_UNMASK, unmask));
	edu_write(&self->edu, EDU_RAISE, 1);
	EXPECT_FALSE(is_signalled(event, 100));
	ASSERT_EQ(8, write(unmask, &one, 8));
	EXPECT_TRUE(is_signalled(event, 5000));
	edu_write(&self->edu, EDU_ACK, 1);
	ASSERT_EQ(0, set_irq(self->device, INTX, VFIO_IRQ_SET_DATA_EVENTFD |
			     VFIO_IRQ_SET_ACTION_UNMASK, -1));
	EXPECT_EQ(0, irqs_off(self->device, INTX));
	close(unmask);
	close(event);
}

/* Requests while INTx is off, or has no eventfd (trap E14) */
TEST_F(device, intx_without_trigger_is_harmless)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int unmask = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), i;
	__u64 one = 1;

	EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX, MASK, 0));
	EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX, UNMASK, 0));
	EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX, FIRE, 0));
	EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX,
				     VFIO_IRQ_SET_DATA_EVENTFD |
				     VFIO_IRQ_SET_ACTION_UNMASK, unmask));
	ASSERT_EQ(0, change_command(self->device, COMMAND_INTX_OFF, 0));
	ASSERT_EQ(0, change_command(self->device, 0, COMMAND_INTX_OFF));

	for (i = 0; i < 5; i++) {
		/* INTx is on, without an eventfd */
		ASSERT_EQ(0, set_irq(self->device, INTX, EVENTFD, -1));
		EXPECT_EQ(0, set_irq(self->device, INTX, FIRE, 0));
		EXPECT_EQ(0, set_irq(self->device, INTX, FIRE_IF, 1));
		EXPECT_EQ(0, set_irq(self->device, INTX, MASK, 0));
		edu_write(&self->edu, EDU_RAISE, 1);
		EXPECT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
		EXPECT_EQ(0, set_irq(self->device, INTX,
				     VFIO_IRQ_SET_DATA_EVENTFD |
				     VFIO_IRQ_SET_ACTION_UNMASK, unmask));
		ASSERT_EQ(8, write(unmask, &one, 8));
		EXPECT_ERRNO(ENOTTY, set_irq(self->device, INTX,
					     VFIO_IRQ_SET_DATA_EVENTFD |
					     VFIO_IRQ_SET_ACTION_MASK, event));
		/* The new eventfd gets the interrupt that is still pending */
		ASSERT_EQ(0, set_irq(self->device, INTX, EVENTFD, event));
		EXPECT_EQ(0, set_irq(self->device, INTX, UNMASK, 0));
		EXPECT_TRUE(is_signalled(event, 5000));
		edu_write(&self->edu, EDU_ACK, 1);
		/* MSI can't be enabled while INTx is */
		EXPECT_ERRNO(EINVAL, set_irq(self->device, MSI, EVENTFD, event));
		ASSERT_EQ(0, i & 1 ? irqs_off(self->device, INTX) :
				     reopen(self, variant->container));
		EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX, UNMASK, 0));
	}
	close(event);
	close(unmask);
}

/*
 * Enable and disable MSI, pass fds that are no eventfd, and leave INTx enabled
 * at the end (trap E14)
 */
TEST_F(device, msi_goes_on_and_off)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), i;

	EXPECT_ERRNO(EINVAL, set_irq(self->device, MSI, FIRE, 0));
	EXPECT_ERRNO(ENOTTY, set_irq(self->device, MSI, MASK, 0));
	EXPECT_ERRNO(ENOTTY, set_irq(self->device, MSI, UNMASK, 0));
	EXPECT_ERRNO(EINVAL, set_irq(self->device, MSIX, EVENTFD, event));
	for (i = 0; i < 30; i++) {
		EXPECT_ERRNO(EBADF, set_irq(self->device, MSI, EVENTFD, 1000));
		EXPECT_ERRNO(EINVAL, set_irq(self->device, MSI, EVENTFD,
					     self->device));
		ASSERT_EQ(0, set_irq(self->device, MSI, EVENTFD, event));
		/* The old eventfd is gone, and there is no new one */
		EXPECT_ERRNO(EBADF, set_irq(self->device, MSI, EVENTFD, 1000));
		EXPECT_EQ(0, set_irq(self->device, MSI, FIRE, 0));
		EXPECT_FALSE(is_signalled(event, 0));
		ASSERT_EQ(0, set_irq(self->device, MSI, EVENTFD, event));
		EXPECT_ERRNO(EINVAL, set_irq(self->device, INTX, EVENTFD, event));
		edu_write(&self->edu, EDU_RAISE, 1);
		EXPECT_TRUE(is_signalled(event, 5000));
		edu_write(&self->edu, EDU_ACK, 1);
		ASSERT_EQ(0, i % 10 < 9 ? irqs_off(self->device, MSI) :
					  reopen(self, variant->container));
	}
	ASSERT_EQ(0, set_irq(self->device, INTX, EVENTFD, event));
	close(event);
}

TEST_F(device, set_irqs_checks_its_argument)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd[2];
	} irq = {
		.set = {
			.argsz = sizeof(irq.set) + 4,
			.flags = EVENTFD,
			.index = MSI,
			.count = 1,
		},
	};

	irq.fd[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	irq.set.argsz--;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.argsz += 5;
	irq.set.count = 2;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.count = 1;
	irq.set.start = 1;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.start = ~0;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.start = 0;
	irq.set.flags |= 1 << 6;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.flags = VFIO_IRQ_SET_DATA_EVENTFD;
	EXPECT_ERRNO(ENOTTY, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	irq.set.flags = EVENTFD;
	irq.set.index = VFIO_PCI_NUM_IRQS;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_SET_IRQS, NULL));
	irq.set.index = MSI;
	EXPECT_EQ(0, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
	close(irq.fd[0]);
}

/*
 * The rest
 */

/* A device that can't be reset alone returns EINVAL */
TEST_F(device, reset_without_means_is_EINVAL)
{
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_RESET));
}

TEST_F(device, unknown_ioctl_is_ENOTTY)
{
	EXPECT_ERRNO(ENOTTY, ioctl(self->device, 0x3b7f, NULL));
	EXPECT_ERRNO(ENOTTY, ioctl(self->device, VFIO_GET_API_VERSION));
	EXPECT_ERRNO(ENOTTY, ioctl(self->device, VFIO_GROUP_GET_STATUS, NULL));
}

TEST_F(device, feature_is_probed)
{
	static const __u32 power[] = {
		VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
		VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
		VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
	};
	static const __u32 missing[] = {
		/* For physical functions with SR-IOV */
		VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
		VFIO_DEVICE_FEATURE_MIGRATION,
		VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
		0xfff,
	};
	struct vfio_device_feature cmd = {
		.argsz = sizeof(cmd) - 1,
		.flags = PROBE | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
	};
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(power); i++) {
		EXPECT_EQ(0, FEATURE(PROBE | power[i]));
		EXPECT_EQ(0, FEATURE(PROBE | SET | power[i]));
		EXPECT_ERRNO(EINVAL, FEATURE(PROBE | GET | power[i]));
		EXPECT_ERRNO(EINVAL, FEATURE(PROBE | GET | SET | power[i]));
		EXPECT_ERRNO(EINVAL, FEATURE(GET | power[i]));
		EXPECT_ERRNO(EINVAL, FEATURE(GET | SET | power[i]));
		EXPECT_ERRNO(EINVAL, FEATURE(PROBE << 1 | SET | power[i]));
		/* Neither GET nor SET */
		EXPECT_ERRNO(EINVAL, FEATURE(power[i]));
	}
	for (i = 0; i < ARRAY_SIZE(missing); i++) {
		EXPECT_ERRNO(ENOTTY, FEATURE(PROBE | missing[i]));
		EXPECT_ERRNO(ENOTTY, FEATURE(SET | missing[i]));
		EXPECT_ERRNO(ENOTTY, FEATURE(GET | missing[i]));
	}
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_FEATURE, &cmd));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_FEATURE, NULL));
}

/*
 * In low power the device has no mappings; any other access wakes it (trap E9)
 */
TEST_F(device, low_power_takes_mappings)
{
	int i;

	for (i = 0; i < 3; i++) {
		__u32 value = 0;

		/* It is not in low power */
		EXPECT_EQ(0, FEATURE(SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
		EXPECT_TRUE(touches(self->edu.regs));
		ASSERT_EQ(0, FEATURE(SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
		EXPECT_FALSE(touches(self->edu.regs));
		EXPECT_ERRNO(EINVAL,
			     FEATURE(SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
		EXPECT_EQ(4, pread(self->device, &value, 4, BAR0(EDU_ID)));
		EXPECT_EQ(EDU_ID_VALUE, value);
		EXPECT_FALSE(touches(self->edu.regs));
		/* A device that is opened again is awake */
		ASSERT_EQ(0, i == 1 ? reopen(self, variant->container) :
			     FEATURE(SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
		EXPECT_EQ(EDU_ID_VALUE, edu_read(&self->edu, EDU_ID));
	}
}

/*
 * Which eventfds are accepted for the wakeup; it is signalled if the kernel can
 * suspend the device
 */
TEST_F(device, low_power_takes_an_eventfd)
{
	bool suspends = has_power_management(&self->dev);
	struct vfio_device_low_power_entry_with_wakeup entry = {
		.wakeup_eventfd = -1,
	};
	__u32 flags = SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	__u32 value = 0;

	EXPECT_ERRNO(EINVAL, feature(self->device, flags, &entry, 4));
	EXPECT_ERRNO(EINVAL, feature(self->device, flags, &entry,
				     sizeof(entry)));
	entry.wakeup_eventfd = 1000;
	EXPECT_ERRNO(EBADF, feature(self->device, flags, &entry, sizeof(entry)));
	EXPECT_TRUE(touches(self->edu.regs));
	entry.wakeup_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_EQ(0, feature(self->device, flags, &entry, sizeof(entry)));
	EXPECT_FALSE(touches(self->edu.regs));
	if (suspends)
		EXPECT_TRUE(has_power_status(&self->dev, "suspended"));
	EXPECT_FALSE(is_signalled(entry.wakeup_eventfd, 0));
	EXPECT_EQ(4, pread(self->device, &value, 4, BAR0(EDU_ID)));
	EXPECT_EQ(EDU_ID_VALUE, value);
	EXPECT_EQ(suspends, is_signalled(entry.wakeup_eventfd, 0));
	EXPECT_EQ(suspends, touches(self->edu.regs));
	ASSERT_EQ(0, FEATURE(SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
	EXPECT_FALSE(is_signalled(entry.wakeup_eventfd, 0));
	EXPECT_TRUE(touches(self->edu.regs));
	close(entry.wakeup_eventfd);
}

/* A device that can be reset alone and has several interrupts */
FIXTURE(function)
{
	struct pci_dev dev;
	struct opened opened;
	int device;
	__u32 *table;
};

FIXTURE_VARIANT(function)
{
	const char *container;
	bool iommufd;
};

FIXTURE_VARIANT_ADD(function, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(function, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
};

FIXTURE_VARIANT_ADD(function, cdev)
{
	.iommufd = true,
};

FIXTURE_SETUP(function)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_pci_class(&self->dev, "0x010802"))
		SKIP_TEST("no NVMe device");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	self->device = self->opened.device;
	ASSERT_EQ(0, change_command(self->device, COMMAND_MEMORY, 0));
	self->table = map_msix_table(self->device);
	ASSERT_NE(NULL, self->table);
}

FIXTURE_TEARDOWN(function)
{
	munmap_msix_table(self->table);
	close_device(&self->opened);
}

/* A reset clears registers; config space and mappings stay */
TEST_F(function, reset_resets_the_function)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	__u8 before[64], after[64];
	int i;

	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET, info.flags);
	ASSERT_EQ(64, pread(self->device, before, 64, CONFIG(0)));
	for (i = 0; i < 3; i++) {
		set_register(self->table, 0x12345678);
		ASSERT_EQ(0x12345678, get_register(self->table));
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_RESET));
		EXPECT_TRUE(touches(self->table));
		EXPECT_EQ(0, get_register(self->table));
		ASSERT_EQ(64, pread(self->device, after, 64, CONFIG(0)));
		EXPECT_EQ(0, memcmp(before, after, 64));
	}
}

/* Closing the device resets it for the next user */
TEST_F(function, next_user_has_a_reset_function)
{
	set_register(self->table, 0x12345678);
	munmap_msix_table(self->table);
	close_device(&self->opened);
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	self->device = self->opened.device;
	ASSERT_EQ(0, change_command(self->device, COMMAND_MEMORY, 0));
	self->table = map_msix_table(self->device);
	ASSERT_NE(NULL, self->table);
	EXPECT_EQ(0, get_register(self->table));
}

/* Set some of many vectors, in any order (trap E14) */
TEST_F(function, msix_vectors_are_set_one_by_one)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = MSIX };
	struct {
		struct vfio_irq_set set;
		__s32 fd[4];
	} irq = {
		.set = { .argsz = sizeof(irq), .flags = EVENTFD, .index = MSIX },
	};
	int event[4], i, round;

	ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_GET_IRQ_INFO, &info));
	ASSERT_LE(4, info.count);
	for (i = 0; i < 4; i++)
		event[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (round = 0; round < 10; round++) {
		/* Vector 2 also makes room for 0 and 1 */
		irq.set.start = 2;
		irq.set.count = 1;
		irq.fd[0] = event[2];
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
		irq.set.start = 0;
		irq.set.count = 3;
		irq.fd[0] = event[0];
		irq.fd[1] = -1;
		irq.fd[2] = event[3];
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
		/* But for no more */
		irq.set.start = 3;
		irq.set.count = 1;
		EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS,
					   &irq));
		/*
		 * If one fd is no eventfd, all vectors of the request are unset
		 */
		irq.set.start = 0;
		irq.set.count = 3;
		irq.fd[2] = self->device;
		EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_SET_IRQS,
					   &irq));
		irq.fd[2] = event[3];
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));

		irq.set.flags = FIRE;
		ASSERT_EQ(0, ioctl(self->device, VFIO_DEVICE_SET_IRQS, &irq));
		irq.set.flags = EVENTFD;
		EXPECT_TRUE(is_signalled(event[0], 0));
		EXPECT_FALSE(is_signalled(event[1], 0));
		EXPECT_FALSE(is_signalled(event[2], 0));
		EXPECT_TRUE(is_signalled(event[3], 0));
		ASSERT_EQ(0, irqs_off(self->device, MSIX));
	}
	for (i = 0; i < 4; i++)
		close(event[i]);
}

/* A device with a BAR of more than 4 GiB (trap E13) */
FIXTURE(large)
{
	struct pci_dev dev;
	struct opened opened;
	int device;
};

FIXTURE_VARIANT(large)
{
	const char *container;
	bool iommufd;
};

FIXTURE_VARIANT_ADD(large, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(large, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
};

FIXTURE_VARIANT_ADD(large, cdev)
{
	.iommufd = true,
};

FIXTURE_SETUP(large)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_pci_class_nth(&self->dev, "0x050000", 1))
		SKIP_TEST("no device that has much memory");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	self->device = self->opened.device;
	ASSERT_EQ(0, change_command(self->device, COMMAND_MEMORY, 0));
}

FIXTURE_TEARDOWN(large)
{
	close_device(&self->opened);
}

/* An offset is not confused with one that has the same lower 32 bits */
TEST_F(large, offsets_have_64_bits)
{
	const __u64 places[] = {
		0, 4 * SZ_1G - PAGE, 4 * SZ_1G, 8 * SZ_1G - PAGE,
	};
	__u32 *mapped[ARRAY_SIZE(places)];
	struct vfio_region_info info;
	__u32 i, value;

	ASSERT_EQ(0, region_info(self->device, VFIO_PCI_BAR2_REGION_INDEX,
				 &info));
	ASSERT_EQ(8 * SZ_1G, info.size);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		value = 0x1000 + i;
		ASSERT_EQ(4, pwrite(self->device, &value, 4,
				    info.offset + places[i] + PAGE - 4));
	}
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		mapped[i] = map_region(self->device, info.offset + places[i],
				       PAGE);
		ASSERT_NE(NULL, mapped[i]);
		EXPECT_EQ(0x1000 + i, get_register(mapped[i] + PAGE / 4 - 1));
		set_register(mapped[i], 0x2000 + i);
	}
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		EXPECT_EQ(0x2000 + i, get_register(mapped[i]));
		ASSERT_EQ(4, pread(self->device, &value, 4,
				   info.offset + places[i]));
		EXPECT_EQ(0x2000 + i, value);
		munmap(mapped[i], PAGE);
	}
	EXPECT_ERRNO(EINVAL, pread(self->device, &value, 4,
				   info.offset + info.size));
	EXPECT_EQ(NULL, map_region(self->device,
				   info.offset + info.size - PAGE, 2 * PAGE));
	EXPECT_EQ(EINVAL, errno);
}

/* Migration of a mediated device, whose state is its data */
FIXTURE(migration)
{
	struct pci_dev dev, to_dev;
	struct opened opened, to_opened;
	int device;
	int to;
};

FIXTURE_VARIANT(migration)
{
	const char *container;
	bool iommufd;
};

FIXTURE_VARIANT_ADD(migration, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(migration, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
};

FIXTURE_VARIANT_ADD(migration, cdev)
{
	.iommufd = true,
};

FIXTURE_SETUP(migration)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	self->device = self->opened.device;
	ASSERT_EQ(0, mdev_create(&self->to_dev, "mdpin", "unmap"));
	ASSERT_EQ(0, open_device(&self->to_opened, &self->to_dev,
				 variant->container));
	self->to = self->to_opened.device;
}

FIXTURE_TEARDOWN(migration)
{
	close_device(&self->opened);
	close_device(&self->to_opened);
	EXPECT_EQ(0, mdev_remove(&self->dev));
	EXPECT_EQ(0, mdev_remove(&self->to_dev));
}

#define RUNNING VFIO_DEVICE_STATE_RUNNING
#define STOP VFIO_DEVICE_STATE_STOP
#define STOP_COPY VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING VFIO_DEVICE_STATE_RESUMING
#define ERROR VFIO_DEVICE_STATE_ERROR

/* @fd: set to the data fd, or -1 */
static int set_state(int device, __u32 state, int *fd)
{
	struct vfio_device_feature_mig_state mig = {
		.device_state = state,
		.data_fd = 77,
	};
	int ret = feature(device, SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			  &mig, sizeof(mig));

	*fd = mig.data_fd;
	return ret;
}

static int state_of(int device)
{
	struct vfio_device_feature_mig_state mig = {};

	if (feature(device, GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig,
		    sizeof(mig)) || mig.data_fd != -1)
		return -1;
	return mig.device_state;
}

static int set_data(int device, unsigned int seed)
{
	char data[MDPIN_DATA_SIZE];

	fill_pattern(data, sizeof(data), seed);
	return pwrite(device, data, sizeof(data), MDPIN_DATA) == sizeof(data) ?
		0 : -1;
}

static bool data_is(int device, unsigned int seed)
{
	char data[MDPIN_DATA_SIZE];

	return pread(device, data, sizeof(data), MDPIN_DATA) == sizeof(data) &&
	       is_pattern(data, sizeof(data), seed);
}

/* Read everything, in pieces; -1 for an error */
static ssize_t read_all(int fd, char *buf, size_t size, size_t piece)
{
	size_t done = 0;
	ssize_t got;

	for (;;) {
		if (piece > size - done)
			piece = size - done;
		got = read(fd, buf + done, piece);
		if (got <= 0)
			return got ? got : (ssize_t)done;
		done += got;
	}
}

static int write_all(int fd, const char *buf, size_t size, size_t piece)
{
	size_t done = 0;
	ssize_t put;

	while (done < size) {
		if (piece > size - done)
			piece = size - done;
		put = write(fd, buf + done, piece);
		if (put <= 0)
			return -1;
		done += put;
	}
	return 0;
}

/* Only a running device executes a command */
static int command(int device)
{
	struct mdpin_cmd cmd = { .op = MDPIN_SLEEP };

	return pwrite(device, &cmd, sizeof(cmd), MDPIN_CMD) == sizeof(cmd) ?
		0 : -1;
}

TEST_F(migration, features_are_told)
{
	struct vfio_device_feature_migration mig = {};
	__u32 feat = VFIO_DEVICE_FEATURE_MIGRATION;

	EXPECT_EQ(0, FEATURE(PROBE | feat));
	EXPECT_EQ(0, FEATURE(PROBE | GET | feat));
	EXPECT_ERRNO(EINVAL, FEATURE(PROBE | SET | feat));
	EXPECT_ERRNO(EINVAL, FEATURE(GET | feat));
	ASSERT_EQ(0, feature(self->device, GET | feat, &mig, sizeof(mig)));
	EXPECT_EQ(VFIO_MIGRATION_STOP_COPY, mig.flags);

	feat = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	EXPECT_EQ(0, FEATURE(PROBE | feat));
	EXPECT_EQ(0, FEATURE(PROBE | GET | SET | feat));
	EXPECT_ERRNO(EINVAL, FEATURE(SET | feat));
	EXPECT_EQ(RUNNING, state_of(self->device));
	EXPECT_ERRNO(ENOTTY, FEATURE(PROBE |
				     VFIO_DEVICE_FEATURE_DMA_LOGGING_START));
}

/* The second device gets the state of the first, in pieces of any size */
TEST_F(migration, state_is_saved_and_resumed)
{
	static const size_t pieces[] = { 1000, 1 << 20, 7 };
	int from, to, fd;
	char buf[16384];
	ssize_t size;
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(pieces); i++) {
		ASSERT_EQ(0, set_data(self->device, 40 + i));
		ASSERT_EQ(0, set_state(self->device, STOP, &fd));
		EXPECT_EQ(-1, fd);
		EXPECT_EQ(STOP, state_of(self->device));
		ASSERT_EQ(0, set_state(self->device, STOP_COPY, &from));
		ASSERT_LE(0, from);
		EXPECT_EQ(STOP_COPY, state_of(self->device));
		ASSERT_EQ(0, set_state(self->to, RESUMING, &to));
		ASSERT_LE(0, to);
		EXPECT_EQ(RESUMING, state_of(self->to));

		/* Each fd works in one direction, and can't seek */
		EXPECT_ERRNO(EBADF, write(from, buf, 1));
		EXPECT_ERRNO(EBADF, read(to, buf, 1));
		EXPECT_ERRNO(ESPIPE, lseek(from, 0, SEEK_SET));
		EXPECT_ERRNO(ESPIPE, pread(from, buf, 1, 0));

		size = read_all(from, buf, sizeof(buf), pieces[i]);
		ASSERT_LE(MDPIN_DATA_SIZE, size);
		EXPECT_EQ(0, read(from, buf, 1));
		ASSERT_EQ(0, write_all(to, buf, size, 1234));
		EXPECT_ERRNO(ENOSPC, write(to, buf, 1));

		ASSERT_EQ(0, set_state(self->to, STOP, &fd));
		EXPECT_EQ(-1, fd);
		EXPECT_TRUE(data_is(self->to, 40 + i));
		ASSERT_EQ(0, set_state(self->to, RUNNING, &fd));
		ASSERT_EQ(0, set_state(self->device, RUNNING, &fd));
		EXPECT_TRUE(data_is(self->device, 40 + i));
		/* The transfer is over */
		EXPECT_ERRNO(ENODEV, read(from, buf, 1));
		EXPECT_ERRNO(ENODEV, write(to, buf, 1));
		close(from);
		close(to);
	}
}

/* A device that is not running does nothing */
TEST_F(migration, stopped_device_does_nothing)
{
	static const __u32 states[] = { STOP, STOP_COPY, RESUMING };
	int fd, again;
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		EXPECT_EQ(0, command(self->device));
		ASSERT_EQ(0, set_state(self->device, states[i], &fd));
		EXPECT_ERRNO(EBUSY, command(self->device));
		/* Setting the current state changes nothing */
		EXPECT_EQ(0, set_state(self->device, states[i], &again));
		EXPECT_EQ(-1, again);
		EXPECT_EQ(0, states[i] == RESUMING ?
			     ioctl(self->device, VFIO_DEVICE_RESET) :
			     set_state(self->device, RUNNING, &again));
		EXPECT_EQ(RUNNING, state_of(self->device));
		close(fd);
	}
	EXPECT_EQ(0, command(self->device));
}

/* States that don't exist, or not for this device, change nothing */
TEST_F(migration, state_that_is_not_there_is_EINVAL)
{
	static const __u32 states[] = {
		ERROR, VFIO_DEVICE_STATE_RUNNING_P2P, 6, 77, ~0,
	};
	int fd;
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		EXPECT_ERRNO(EINVAL, set_state(self->device, states[i], &fd));
		EXPECT_EQ(-1, fd);
		EXPECT_EQ(RUNNING, state_of(self->device));
	}
}

/* Incomplete or invalid data: the state is ERROR until a reset */
TEST_F(migration, bad_state_is_an_error_until_reset)
{
	int from, to, fd, i;
	char buf[16384];
	ssize_t size;

	ASSERT_EQ(0, set_state(self->device, STOP_COPY, &from));
	size = read_all(from, buf, sizeof(buf), sizeof(buf));
	ASSERT_LT(0, size);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, set_data(self->to, 50));
		ASSERT_EQ(0, set_state(self->to, RESUMING, &to));
		buf[0] ^= i == 0;
		ASSERT_EQ(0, i == 2 ? 0 : write_all(to, buf, size - (i == 1),
						    size));
		buf[0] ^= i == 0;
		EXPECT_ERRNO(EINVAL, set_state(self->to, RUNNING, &fd));
		EXPECT_EQ(-1, fd);
		EXPECT_EQ(ERROR, state_of(self->to));
		EXPECT_TRUE(data_is(self->to, 50));
		EXPECT_ERRNO(EINVAL, set_state(self->to, RUNNING, &fd));
		EXPECT_ERRNO(EINVAL, set_state(self->to, ERROR, &fd));
		EXPECT_ERRNO(EBUSY, command(self->to));
		EXPECT_ERRNO(ENODEV, write(to, buf, 1));
		EXPECT_EQ(0, ioctl(self->to, VFIO_DEVICE_RESET));
		EXPECT_EQ(RUNNING, state_of(self->to));
		EXPECT_EQ(0, command(self->to));
		close(to);
	}
	close(from);
}

/*
 * If the answer can't be written there is no data fd, and the state can be left
 */
TEST_F(migration, unwritable_answer_is_EFAULT)
{
	struct vfio_device_feature *cmd = map_anon(PAGE);
	struct vfio_device_feature_mig_state *mig = (void *)cmd->data;
	int fd, lowest = dup(self->device);

	close(lowest);
	cmd->argsz = sizeof(*cmd) + sizeof(*mig);
	cmd->flags = SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	mig->device_state = STOP_COPY;
	ASSERT_EQ(0, mprotect(cmd, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_FEATURE, cmd));
	EXPECT_EQ(lowest, dup(self->device));
	close(lowest);
	EXPECT_EQ(0, set_state(self->device, RUNNING, &fd));
	EXPECT_EQ(RUNNING, state_of(self->device));
}

/* Closing the device ends a transfer; its fd stays open, but returns ENODEV */
TEST_F(migration, transfer_ends_when_the_device_is_closed)
{
	int from;
	char c;

	ASSERT_EQ(0, set_state(self->device, STOP_COPY, &from));
	EXPECT_EQ(1, read(from, &c, 1));
	close_device(&self->opened);
	EXPECT_ERRNO(ENODEV, read(from, &c, 1));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	EXPECT_EQ(RUNNING, state_of(self->opened.device));
	EXPECT_ERRNO(ENODEV, read(from, &c, 1));
	close(from);
}

TEST_HARNESS_MAIN

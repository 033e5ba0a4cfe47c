// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer DMA: one device reads and writes the BAR of another, byte exact,
 * mapped by address or by dma-buf; and what happens when the registers are
 * revoked, restored, or get another user.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../iommu/delay_util.h"
#include "../kselftest_harness.h"
#include "p2p_util.h"
#include "reset_util.h"
#include "vfio_util.h"

/* Where the BAR is mapped */
#define IOVA 0x4000000000UL

/* A register of edu that reads as the inverse of what was written */
#define EDU_LIVENESS 0x04

enum door {
	ADDRESS,
	DMA_BUF,
};

FIXTURE(p2p)
{
	struct pci_dev dev;
	struct opened opened;
	struct edu edu;
	struct target target;
	char *ram;
	__u64 iova;
	int dmabuf;
};

/*
 * @door: how the BAR is mapped
 * @container: path of the containers, one for each device; NULL: use cdevs
 */
FIXTURE_VARIANT(p2p)
{
	enum door door;
	const char *container;
};

FIXTURE_VARIANT_ADD(p2p, address)
{
	.door = ADDRESS,
};

FIXTURE_VARIANT_ADD(p2p, dma_buf)
{
	.door = DMA_BUF,
};

FIXTURE_VARIANT_ADD(p2p, address_in_container)
{
	.door = ADDRESS,
	.container = "/dev/iommu",
};

/*
 * Find a device that does DMA and one with a memory BAR; return what is missing
 */
static const char *find_devices(struct pci_dev *dev, struct pci_dev *target)
{
	if (!has_cdevs())
		return "no cdevs";
	if (find_edu_alone(dev))
		return "no edu device that is alone in its group";
	if (find_pci_class(target, "0x050000"))
		return "no device that is memory";
	return NULL;
}

FIXTURE_SETUP(p2p)
{
	const char *missing = find_devices(&self->dev, &self->target.dev);

	self->dmabuf = -1;
	if (missing)
		SKIP_TEST("%s", missing);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	ASSERT_EQ(0, edu_open(&self->edu, self->opened.device));
	ASSERT_EQ(0, target_open(&self->target, variant->container, MEMORY_BAR,
				 WINDOW));
	self->iova = IOVA;
	self->ram = map_anon(2 * PAGE);
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, 2 * PAGE, RAM));
	memset(self->target.bar, 0, WINDOW);
}

FIXTURE_TEARDOWN(p2p)
{
	if (self->dmabuf >= 0)
		close(self->dmabuf);
	target_close(&self->target);
	edu_close(&self->edu);
	close_device(&self->opened);
}

/* Map a part of the BAR in an IOAS */
static int map_in(struct opened *opened, __u32 ioas, struct target *target,
		  int *dmabuf, enum door door, size_t offset, size_t length,
		  __u64 iova)
{
	if (door == ADDRESS && opened->iommufd < 0)
		return map_for_device(opened, target->bar + offset, length, iova);
	if (door == ADDRESS)
		return ioas_map(opened->iommufd, ioas, target->bar + offset,
				length, iova, MAP_RW);
	if (*dmabuf < 0)
		*dmabuf = dma_buf_of(target->device, target->region, 0,
				     target->size);
	return map_file_at(opened->iommufd, ioas, MAP_RW, *dmabuf, offset,
			   length, iova);
}

#define MAP_BAR(_offset, _length, _iova)                                       \
	map_in(&self->opened, self->opened.ioas, &self->target,                \
	       &self->dmabuf, variant->door, _offset, _length, _iova)
#define UNMAP(_iova, _length) unmap_for_device(&self->opened, _iova, _length)

#define WRITE_TO(_iova, _seed) write_to(&self->edu, self->ram, _iova, _seed)
#define READS_FROM(_iova, _seed) reads_from(&self->edu, self->ram, _iova, _seed)
#define HAS(_offset, _seed)                                                    \
	is_pattern(self->target.bar + (_offset), SHORT, _seed)
#define REACHES(_iova, _offset, _seed)                                         \
	does_reach(&self->edu, self->ram, _iova, &self->target, _offset, _seed)

#define IS_REFUSED(_iova)                                                      \
	write_is_refused(&self->dev, &self->edu, self->ram, _iova)

/* Read and write at the start and end of a page, across pages and huge pages */
TEST_F(p2p, bytes_go_both_ways)
{
	const size_t places[] = {
		0, PAGE - SHORT / 2, SZ_2M - SHORT / 2, WINDOW - SHORT,
	};
	unsigned int i;

	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		ASSERT_EQ(0, WRITE_TO(self->iova + places[i], i));
		EXPECT_TRUE(HAS(places[i], i));
		fill_pattern(self->target.bar + places[i], SHORT, 10 + i);
		EXPECT_TRUE(READS_FROM(self->iova + places[i], 10 + i));
	}
	EXPECT_TRUE(is_byte(self->target.bar + SHORT, PAGE - 2 * SHORT, 0));
	EXPECT_EQ(0, UNMAP(self->iova, WINDOW));
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));
	EXPECT_TRUE(HAS(0, 10));
}

/* If a part of the BAR is mapped, its neighbours can't be reached */
TEST_F(p2p, neighbours_are_not_reached)
{
	ASSERT_EQ(0, MAP_BAR(PAGE, PAGE, self->iova + PAGE));
	EXPECT_EQ(0, WRITE_TO(self->iova + PAGE, 1));
	EXPECT_TRUE(HAS(PAGE, 1));
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));
	EXPECT_EQ(0, WRITE_TO(self->iova + 2 * PAGE, 99));
	EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
	EXPECT_TRUE(is_byte(self->target.bar + 2 * PAGE, PAGE, 0));
}

/* A dma-buf of a part of the BAR begins and ends with that part */
TEST_F(p2p, dma_buf_of_a_part)
{
	if (variant->door != DMA_BUF)
		return;
	self->dmabuf = dma_buf_of(self->target.device, MEMORY_BAR, 2 * PAGE,
				  3 * PAGE);
	ASSERT_LE(0, self->dmabuf);
	ASSERT_EQ(0, MAP_BAR(0, 3 * PAGE, self->iova + 2 * PAGE));
	EXPECT_TRUE(REACHES(self->iova, 2 * PAGE, 1));
	EXPECT_TRUE(REACHES(self->iova, 5 * PAGE - SHORT, 2));
	EXPECT_TRUE(is_byte(self->target.bar, 2 * PAGE, 0));
	EXPECT_ERRNO(EINVAL, MAP_BAR(2 * PAGE, 2 * PAGE, self->iova + SZ_2M));
}

/*
 * One UNMAP for memory and a part of the BAR, in any order. The device reaches
 * neither, though it did just before.
 */
TEST_F(p2p, unmapped_together_with_memory)
{
	char *memory = map_anon(PAGE);
	int i;

	for (i = 0; i < 2; i++) {
		__u64 at = self->iova + i * PAGE, bar = self->iova + !i * PAGE;

		ASSERT_EQ(0, map_for_device(&self->opened, memory, PAGE, at));
		ASSERT_EQ(0, MAP_BAR(0, PAGE, bar));
		ASSERT_EQ(0, WRITE_TO(at, 1));
		EXPECT_TRUE(is_pattern(memory, SHORT, 1));
		ASSERT_EQ(0, WRITE_TO(bar, 2));
		EXPECT_TRUE(HAS(0, 2));
		EXPECT_EQ(0, UNMAP(self->iova, 2 * PAGE));
		EXPECT_EQ(0, WRITE_TO(at, 99));
		EXPECT_TRUE(is_pattern(memory, SHORT, 1));
		EXPECT_EQ(0, WRITE_TO(bar, 99));
		EXPECT_TRUE(HAS(0, 2));
	}
	munmap(memory, PAGE);
}

/*
 * The kernel chooses an IOVA that is aligned as the BAR is, not as the offset in
 * the dma-buf, for a copy too. Without a device it can begin anywhere in a page.
 */
TEST_F(p2p, chosen_iova_is_aligned_as_the_bar)
{
	__u64 iova = 0, chosen = 0;
	__u32 other;

	if (variant->door != DMA_BUF)
		return;
	self->dmabuf = dma_buf_of(self->target.device, MEMORY_BAR, PAGE,
				  2 * SZ_2M);
	ASSERT_LE(0, self->dmabuf);
	ASSERT_EQ(0, map_file(self->opened.iommufd, self->opened.ioas, MAP_RW,
			      self->dmabuf, SZ_2M - PAGE, SZ_2M, &iova));
	EXPECT_EQ(0, iova % SZ_2M);
	EXPECT_EQ(0, WRITE_TO(iova, 1));
	EXPECT_TRUE(HAS(SZ_2M, 1));

	ASSERT_EQ(0, alloc_ioas(self->opened.iommufd, &other));
	ASSERT_EQ(0, copy(self->opened.iommufd, other, self->opened.ioas, MAP_RW,
			  SZ_2M, &chosen, iova));
	EXPECT_EQ(0, chosen % SZ_2M);
	ASSERT_EQ(0, map_file(self->opened.iommufd, other, MAP_RW, self->dmabuf,
			      PAGE + 0x123, 100, &iova));
	EXPECT_EQ(0x123, iova % PAGE);
}

/* Nothing is charged, since it is not memory */
TEST_F(p2p, nothing_is_charged)
{
	long pinned = status_kb("VmPin"), locked = status_kb("VmLck");

	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	EXPECT_EQ(locked, status_kb("VmLck"));
	EXPECT_EQ(0, UNMAP(self->iova, WINDOW));
	EXPECT_EQ(pinned, status_kb("VmPin"));
}

/* While decoding is off, DMA is refused; then the mapping works again */
TEST_F(p2p, comes_back_with_decoding)
{
	int i;

	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	for (i = 1; i < 3; i++) {
		EXPECT_TRUE(REACHES(self->iova, SZ_2M, i));
		ASSERT_TRUE(decode(&self->target, false));
		EXPECT_TRUE(IS_REFUSED(self->iova + SZ_2M));
		ASSERT_TRUE(decode(&self->target, true));
		EXPECT_TRUE(HAS(SZ_2M, i));
		EXPECT_TRUE(READS_FROM(self->iova + SZ_2M, i));
	}
}

/* A revoked mapping keeps its IOVA, and can be unmapped (trap N8) */
TEST_F(p2p, revoked_is_unmapped)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_ERRNO(EEXIST, map_for_device(&self->opened, self->ram, PAGE,
					    self->iova));
	EXPECT_EQ(0, UNMAP(self->iova, WINDOW));
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, PAGE,
				    self->iova));
	ASSERT_TRUE(decode(&self->target, true));
	/* It is not restored over what is mapped there now */
	EXPECT_EQ(0, WRITE_TO(self->iova + SHORT, 3));
	EXPECT_TRUE(is_pattern(self->ram + SHORT, SHORT, 3));
	EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
}

/* Unmapped while it is revoked, and mapped again later */
TEST_F(p2p, mapped_again_after_it_is_back)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_EQ(0, UNMAP(self->iova, WINDOW));
	ASSERT_TRUE(decode(&self->target, true));
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_TRUE(REACHES(self->iova, 0, 4));
}

/*
 * Mapped while decoding is off: a dma-buf can't be; an address can, and works
 * once decoding is on
 */
TEST_F(p2p, mapped_while_decoding_is_off)
{
	if (variant->door == DMA_BUF) {
		self->dmabuf = dma_buf_of(self->target.device, MEMORY_BAR, 0,
					  WINDOW);
		ASSERT_LE(0, self->dmabuf);
	}
	ASSERT_TRUE(decode(&self->target, false));
	if (variant->door == DMA_BUF) {
		EXPECT_ERRNO(ENODEV, MAP_BAR(0, WINDOW, self->iova));
		/* Nor can a dma-buf that is exported now */
		close(self->dmabuf);
		self->dmabuf = dma_buf_of(self->target.device, MEMORY_BAR, 0,
					  WINDOW);
		ASSERT_LE(0, self->dmabuf);
		EXPECT_ERRNO(ENODEV, MAP_BAR(0, WINDOW, self->iova));
		ASSERT_TRUE(decode(&self->target, true));
		EXPECT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	} else {
		ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
		EXPECT_TRUE(IS_REFUSED(self->iova));
		ASSERT_TRUE(decode(&self->target, true));
		EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
	}
	EXPECT_TRUE(REACHES(self->iova, SZ_2M, 5));
}

/*
 * The same while the user has put the device in low power. Decoding is on, and
 * turning it on does not end low power.
 */
TEST_F(p2p, mapped_in_low_power)
{
	ASSERT_EQ(0, enter_low_power(&self->target));
	if (variant->door == DMA_BUF) {
		EXPECT_ERRNO(ENODEV, MAP_BAR(0, WINDOW, self->iova));
	} else {
		ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
		EXPECT_TRUE(IS_REFUSED(self->iova));
		ASSERT_TRUE(decode(&self->target, true));
		EXPECT_TRUE(IS_REFUSED(self->iova));
	}
	ASSERT_EQ(0, exit_low_power(&self->target));
	EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
	if (variant->door == DMA_BUF)
		EXPECT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_TRUE(REACHES(self->iova, SZ_2M, 5));
}

/* Requests at the same time. If the kernel has delays, they meet in the middle */

struct request {
	struct _test_data_p2p *self;
	enum door door;
	size_t offset;
	int dmabuf;
	int ret;
	atomic_bool done;
};

static void *map_part(void *arg)
{
	struct request *me = arg;
	struct _test_data_p2p *self = me->self;

	me->ret = map_in(&self->opened, self->opened.ioas, &self->target,
			 &me->dmabuf, me->door, me->offset, SZ_2M,
			 self->iova + me->offset);
	me->done = true;
	return NULL;
}

static void *turn_on_decoding(void *arg)
{
	struct request *me = arg;

	me->ret = decode(&me->self->target, true) ? 0 : -1;
	me->done = true;
	return NULL;
}

/* Two requests are the first to map the BAR; both mappings are revoked */
TEST_F(p2p, first_mapped_by_two)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct request first = { self, variant->door, 0, -1 };
		struct request second = { self, variant->door, SZ_2M, -1 };
		pthread_t thread;

		ASSERT_EQ(0, mock_begin_delayed("iommufd_mmio_create 20000",
						map_part, &first, &first.done,
						&thread));
		map_part(&second);
		mock_end(thread);
		EXPECT_EQ(0, first.ret);
		EXPECT_EQ(0, second.ret);
		ASSERT_TRUE(decode(&self->target, false));
		EXPECT_TRUE(IS_REFUSED(self->iova));
		EXPECT_TRUE(IS_REFUSED(self->iova + SZ_2M));

		EXPECT_EQ(0, UNMAP(self->iova, SZ_2M));
		EXPECT_EQ(0, UNMAP(self->iova + SZ_2M, SZ_2M));
		close(first.dmabuf);
		close(second.dmabuf);
		target_close(&self->target);
		ASSERT_EQ(0, target_open(&self->target, variant->container,
					 MEMORY_BAR, WINDOW));
	}
}

/* Revoked while it is being mapped, and unmapped while it is being restored */
TEST_F(p2p, map_and_revocation_at_once)
{
	struct request map = { self, variant->door, 0, -1 };
	struct request on = { self };
	pthread_t thread;
	unsigned int i;

	for (i = 1; i < 3; i++) {
		/*
		 * Take the BAR out of the CPU's page table, too. Otherwise the
		 * revocation below would flush the TLB of the CPU that is
		 * delayed, and so wait for the delay.
		 */
		ASSERT_TRUE(decode(&self->target, false));
		ASSERT_TRUE(decode(&self->target, true));
		map.done = false;
		ASSERT_EQ(0, mock_begin_delayed("iommufd_domain_map 20000",
						map_part, &map, &map.done,
						&thread));
		EXPECT_TRUE(decode(&self->target, false));
		mock_end(thread);
		EXPECT_EQ(0, map.ret);
		EXPECT_TRUE(IS_REFUSED(self->iova));

		on.done = false;
		ASSERT_EQ(0, mock_begin_delayed("iommufd_domain_map 20000",
						turn_on_decoding, &on, &on.done,
						&thread));
		EXPECT_EQ(0, UNMAP(self->iova, SZ_2M));
		mock_end(thread);
		EXPECT_EQ(0, on.ret);
		EXPECT_EQ(0, WRITE_TO(self->iova, i));
		EXPECT_FALSE(HAS(0, i));
	}
	close(map.dmabuf);
}

/* A second device, which joins the page table of the first, or leaves it */
struct mover {
	int device;
	__u32 ioas;
	bool leaves;
	int ret;
	atomic_bool done;
};

static void *move_device(void *arg)
{
	struct mover *me = arg;

	me->ret = me->leaves ? detach_pt(me->device) :
			       attach_pt(me->device, me->ioas, NULL);
	me->done = true;
	return NULL;
}

/*
 * Milliseconds that it takes to revoke or restore the BAR while the driver of
 * the IOMMU takes 20 to attach or detach a device, or -1
 */
static long time_beside(struct target *target, struct mover *mover, bool on)
{
	struct timespec start, end;
	pthread_t thread;
	bool decoded;

	mover->done = false;
	if (!decode(target, !on) ||
	    mock_begin_delayed(mover->leaves ? "iommu_detach_group 20000" :
					       "iommu_attach_group 20000",
			       move_device, mover, &mover->done, &thread))
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	decoded = decode(target, on);
	clock_gettime(CLOCK_MONOTONIC, &end);
	mock_end(thread);
	if (!decoded || mover->ret)
		return -1;
	return (end.tv_sec - start.tv_sec) * 1000 +
	       (end.tv_nsec - start.tv_nsec) / 1000000;
}

/*
 * Revocation and restoration wait while a device joins or leaves the page table
 * (trap N2). On a kernel without delays only the result is checked.
 */
TEST_F(p2p, revocation_waits_for_a_device_that_moves)
{
	bool slow = !access(MOCK_DELAY, F_OK);
	struct pci_dev other, beside;
	struct mover mover;
	int i, tries;

	if (variant->container)
		return;
	ASSERT_EQ(0, find_edu_pair(&other, &beside));
	ASSERT_EQ(0, bind_vfio_pci(&other));
	mover.device = open_cdev(&other);
	mover.ioas = self->opened.ioas;
	ASSERT_EQ(0, bind_iommufd(mover.device, self->opened.iommufd, NULL));
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	for (i = 0; i < 2; i++) {
		bool on = i;
		long joins = 0, leaves = 0;

		/* On a busy machine the delay is often over before we begin */
		for (tries = 0; tries < 50 && (joins < 10 || leaves < 10);
		     tries++) {
			long ms;

			mover.leaves = false;
			ms = time_beside(&self->target, &mover, on);
			ASSERT_LE(0, ms);
			joins = ms > joins ? ms : joins;
			mover.leaves = true;
			ms = time_beside(&self->target, &mover, on);
			ASSERT_LE(0, ms);
			leaves = ms > leaves ? ms : leaves;
		}
		if (slow) {
			EXPECT_LE(10, joins);
			EXPECT_LE(10, leaves);
		}
	}
	EXPECT_TRUE(REACHES(self->iova, 0, 1));
	close(mover.device);
}

/* The VMA and the dma-buf can go first: the mapping stays */
TEST_F(p2p, door_is_closed_first)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	ASSERT_EQ(0, munmap(self->target.bar, WINDOW));
	self->target.bar = NULL;
	if (self->dmabuf >= 0)
		close(self->dmabuf);
	self->dmabuf = -1;
	ASSERT_EQ(0, WRITE_TO(self->iova, 6));
	ASSERT_TRUE(decode(&self->target, false));
	ASSERT_TRUE(decode(&self->target, true));
	self->target.bar = map_region(self->target.device, self->target.at,
				      WINDOW);
	ASSERT_NE(NULL, self->target.bar);
	EXPECT_TRUE(HAS(0, 6));
	EXPECT_TRUE(REACHES(self->iova, 0, 9));
}

/*
 * After the device was closed its BAR is not reached, even if it is opened
 * again (trap N5)
 */
TEST_F(p2p, closed_is_gone_for_good)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_TRUE(REACHES(self->iova, 0, 7));
	target_close(&self->target);
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));

	ASSERT_EQ(0, target_open(&self->target, variant->container, MEMORY_BAR,
				 WINDOW));
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));
	EXPECT_TRUE(HAS(0, 7));
	if (variant->door == DMA_BUF)
		EXPECT_ERRNO(ENODEV, MAP_BAR(0, PAGE, self->iova + WINDOW));
	ASSERT_EQ(0, UNMAP(self->iova, WINDOW));
	if (variant->door == DMA_BUF) {
		close(self->dmabuf);
		self->dmabuf = -1;
	}
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_TRUE(REACHES(self->iova, 0, 8));
}

/* A mapping does not block unbinding the driver (trap N6) */
TEST_F(p2p, driver_is_unbound)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	EXPECT_TRUE(REACHES(self->iova, 0, 12));
	target_close(&self->target);
	ASSERT_EQ(0, unbind_driver(&self->target.dev));
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));
	if (self->dmabuf >= 0)
		EXPECT_ERRNO(ENODEV, MAP_BAR(0, PAGE, self->iova + WINDOW));
	EXPECT_EQ(0, UNMAP(self->iova, WINDOW));
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
	ASSERT_EQ(0, target_open(&self->target, variant->container, MEMORY_BAR,
				 WINDOW));
	EXPECT_TRUE(HAS(0, 12));
}

/*
 * A process is killed while it makes the BAR accessible again: nothing that
 * others have mapped is left out. A 1 GiB boundary, where a map of memory would
 * end, is inside of each mapping.
 */
TEST_F(p2p, killed_while_decoding_comes_back)
{
	const __u64 last = 200;
	int kmsg, round;
	pid_t pid;
	__u64 i;

	if (variant->container || variant->door == DMA_BUF)
		return;
	kmsg = kmsg_open();
	for (i = 2; i <= last; i++)
		ASSERT_EQ(0, MAP_BAR(0, 2 * PAGE, i * SZ_1G - PAGE));
	for (round = 0; round < 20; round++) {
		pid = fork();
		if (!pid) {
			while (decode(&self->target, false) &&
			       decode(&self->target, true))
				;
			_exit(1);
		}
		usleep(10000 + round * 1500);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	}
	EXPECT_FALSE(kmsg_has(kmsg, "can't map device memory"));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(REACHES(last * SZ_1G - PAGE, 0, 1));
	close(kmsg);
}

/* The device that does DMA is closed first, with its page tables */
TEST_F(p2p, initiator_is_closed_first)
{
	ASSERT_EQ(0, MAP_BAR(0, WINDOW, self->iova));
	edu_close(&self->edu);
	close_device(&self->opened);
	ASSERT_TRUE(decode(&self->target, false));
	ASSERT_TRUE(decode(&self->target, true));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	ASSERT_EQ(0, edu_open(&self->edu, self->opened.device));
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, PAGE, RAM));
	EXPECT_EQ(0, WRITE_TO(self->iova, 99));
	EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
}

/* A device may have its own registers mapped (trap N9) */
TEST_F(p2p, own_registers)
{
	struct target own = {
		.device = self->opened.device,
		.region = VFIO_PCI_BAR0_REGION_INDEX,
		.size = PAGE,
		.bar = self->edu.regs,
	};
	__u32 ioas = self->opened.ioas;
	int dmabuf = -1, kept, group;

	ASSERT_EQ(0, map_in(&self->opened, ioas, &own, &dmabuf, variant->door,
			    0, PAGE, self->iova));
	ASSERT_EQ(0, change_command(own.device, 0, PCI_COMMAND_MEMORY));
	ASSERT_EQ(0, change_command(own.device, PCI_COMMAND_MEMORY, 0));
	EXPECT_EQ(0, WRITE_TO(RAM + PAGE, 11));
	EXPECT_TRUE(is_pattern(self->ram + PAGE, SHORT, 11));
	if (dmabuf >= 0)
		close(dmabuf);

	/* A mapping that is left does not keep the device open */
	kept = dup(variant->container ? self->opened.legacy.container :
					self->opened.iommufd);
	edu_close(&self->edu);
	close_device(&self->opened);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	EXPECT_EQ(0, variant->container ?
		     legacy_unmap(kept, self->iova, PAGE) :
		     ioas_unmap(kept, ioas, self->iova, PAGE));
	close(kept);
	ASSERT_EQ(0, open_device(&self->opened, &self->dev,
				 variant->container));
	ASSERT_EQ(0, edu_open(&self->edu, self->opened.device));
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, 2 * PAGE, RAM));
	EXPECT_EQ(0, WRITE_TO(RAM + PAGE, 12));
	EXPECT_TRUE(is_pattern(self->ram + PAGE, SHORT, 12));
}

/*
 * Several page tables, each of which gets and loses the BAR (trap N4); cdevs
 * only
 */
FIXTURE(tables)
{
	struct pci_dev dev[2];
	struct opened opened[2];
	struct edu edu[2];
	struct target target;
	char *ram;
	__u64 iova;
	int dmabuf;
};

FIXTURE_VARIANT(tables)
{
	enum door door;
};

FIXTURE_VARIANT_ADD(tables, address)
{
	.door = ADDRESS,
};

FIXTURE_VARIANT_ADD(tables, dma_buf)
{
	.door = DMA_BUF,
};

/* Each device has an iommufd and an IOAS of its own */
FIXTURE_SETUP(tables)
{
	int i;

	self->dmabuf = -1;
	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_edu_alone(&self->dev[0]) ||
	    find_edu_neighbours(&self->dev[1], &self->target.dev))
		SKIP_TEST("no edu device that is alone in its group");
	if (loses_dma(&self->dev[1]))
		SKIP_TEST(LOST_DMA);
	if (find_pci_class(&self->target.dev, "0x050000"))
		SKIP_TEST("no device that is memory");
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, bind_vfio_pci(&self->dev[i]));
		ASSERT_EQ(0, open_device(&self->opened[i], &self->dev[i], NULL));
		ASSERT_EQ(0, edu_open(&self->edu[i], self->opened[i].device));
	}
	ASSERT_EQ(0, target_open(&self->target, NULL, MEMORY_BAR, WINDOW));
	self->iova = IOVA;
	self->ram = map_anon(2 * PAGE);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, map_for_device(&self->opened[i], self->ram,
					    2 * PAGE, RAM));
	memset(self->target.bar, 0, WINDOW);
}

FIXTURE_TEARDOWN(tables)
{
	int i;

	if (self->dmabuf >= 0)
		close(self->dmabuf);
	target_close(&self->target);
	for (i = 0; i < 2; i++) {
		edu_close(&self->edu[i]);
		close_device(&self->opened[i]);
	}
}

static int map_whole(struct opened *opened, struct target *target, int *dmabuf,
		     enum door door, __u64 iova)
{
	return map_in(opened, opened->ioas, target, dmabuf, door, 0, WINDOW,
		      iova);
}

#define MAP_BAR_FOR(_i)                                                        \
	map_whole(&self->opened[_i], &self->target, &self->dmabuf,             \
		  variant->door, self->iova)
#define REACHES_BY(_i, _at, _seed)                                             \
	does_reach(&self->edu[_i], self->ram, self->iova, &self->target, _at,  \
		   _seed)
#define WRITE_BY(_i, _at)                                                      \
	write_to(&self->edu[_i], self->ram, self->iova + (_at), 99)

static bool is_refused_by(struct _test_data_tables *self, int i, __u64 at)
{
	return write_is_refused(&self->dev[i], &self->edu[i], self->ram,
				self->iova + at);
}

/* Two contexts have the BAR mapped, and both lose it */
TEST_F(tables, of_two_programs)
{
	ASSERT_EQ(0, MAP_BAR_FOR(0));
	ASSERT_EQ(0, MAP_BAR_FOR(1));
	EXPECT_TRUE(REACHES_BY(0, 0, 1));
	EXPECT_TRUE(REACHES_BY(1, PAGE, 2));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_TRUE(is_refused_by(self, 0, 0));
	EXPECT_TRUE(is_refused_by(self, 1, PAGE));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(HAS(0, 1));
	EXPECT_TRUE(HAS(PAGE, 2));
	EXPECT_TRUE(REACHES_BY(0, 0, 3));
	EXPECT_TRUE(REACHES_BY(1, PAGE, 4));
	/* After one unmaps it, the other still has it */
	EXPECT_EQ(0, unmap_for_device(&self->opened[0], self->iova, WINDOW));
	EXPECT_EQ(0, WRITE_BY(0, 0));
	EXPECT_TRUE(HAS(0, 3));
	EXPECT_TRUE(REACHES_BY(1, PAGE, 5));
}

/*
 * A copy is a mapping of its own, also if it is made while the BAR is revoked
 */
TEST_F(tables, of_copies)
{
	int fd = self->opened[0].iommufd;
	__u32 ioas = self->opened[0].ioas;
	__u64 second = self->iova + WINDOW, third = second + WINDOW;

	ASSERT_EQ(0, MAP_BAR_FOR(0));
	/* A part, from the second page on */
	ASSERT_EQ(0, copy_at(fd, ioas, ioas, MAP_RW, 2 * PAGE, second,
			     self->iova + PAGE));
	EXPECT_EQ(0, write_to(&self->edu[0], self->ram, second, 5));
	EXPECT_TRUE(HAS(PAGE, 5));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_TRUE(is_refused_by(self, 0, 0));
	EXPECT_TRUE(is_refused_by(self, 0, WINDOW));
	ASSERT_EQ(0, copy_at(fd, ioas, ioas, MAP_RW, PAGE, third, second));
	EXPECT_TRUE(is_refused_by(self, 0, 2 * WINDOW));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(HAS(PAGE, 5));

	/* The copies stay after the original is unmapped */
	EXPECT_EQ(0, ioas_unmap(fd, ioas, self->iova, WINDOW));
	ASSERT_EQ(0, write_to(&self->edu[0], self->ram, third, 6));
	EXPECT_TRUE(HAS(PAGE, 6));
	ASSERT_EQ(0, write_to(&self->edu[0], self->ram, second + PAGE, 7));
	EXPECT_TRUE(HAS(2 * PAGE, 7));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_EQ(0, write_to(&self->edu[0], self->ram, second + PAGE, 99));
	EXPECT_EQ(0, ioas_unmap(fd, ioas, second, 2 * PAGE));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(HAS(2 * PAGE, 7));
	EXPECT_EQ(0, write_to(&self->edu[0], self->ram, second + PAGE, 99));
	EXPECT_TRUE(HAS(2 * PAGE, 7));
	ASSERT_EQ(0, write_to(&self->edu[0], self->ram, third, 8));
	EXPECT_TRUE(HAS(PAGE, 8));
}

/*
 * The device moves to another IOAS and is detached, with and without the BAR
 * revoked
 */
TEST_F(tables, of_devices_that_move)
{
	struct opened *o = &self->opened[0];
	__u32 other;

	ASSERT_EQ(0, MAP_BAR_FOR(0));
	ASSERT_EQ(0, ioas_alloc(o->iommufd, &other));
	ASSERT_EQ(0, copy_at(o->iommufd, other, o->ioas, MAP_RW, WINDOW,
			     self->iova, self->iova));
	ASSERT_EQ(0, copy_at(o->iommufd, other, o->ioas, MAP_RW, PAGE, RAM,
			     RAM));
	ASSERT_EQ(0, attach_pt(o->device, other, NULL));
	EXPECT_TRUE(REACHES_BY(0, 0, 1));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_EQ(0, WRITE_BY(0, 0));
	/*
	 * The first IOAS lost its page table with its last device, so this one
	 * is new
	 */
	ASSERT_EQ(0, attach_pt(o->device, o->ioas, NULL));
	EXPECT_EQ(0, WRITE_BY(0, 0));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(HAS(0, 1));
	EXPECT_TRUE(REACHES_BY(0, 0, 2));

	ASSERT_EQ(0, detach_pt(o->device));
	EXPECT_EQ(0, WRITE_BY(0, 0));
	EXPECT_TRUE(HAS(0, 2));
	ASSERT_EQ(0, attach_pt(o->device, other, NULL));
	EXPECT_TRUE(REACHES_BY(0, 0, 3));
}

/*
 * The kernel looks up the address again for the first device after none (trap
 * N5)
 */
TEST_F(tables, found_again)
{
	struct opened *o = &self->opened[0];

	ASSERT_EQ(0, MAP_BAR_FOR(0));
	EXPECT_TRUE(REACHES_BY(0, 0, 1));
	ASSERT_EQ(0, detach_pt(o->device));
	if (variant->door == ADDRESS) {
		/*
		 * Meanwhile the target was closed; the address is now in its
		 * new mapping
		 */
		char *bar = self->target.bar;

		target_close(&self->target);
		ASSERT_EQ(0, target_open(&self->target, NULL, MEMORY_BAR, WINDOW));
		if (self->target.bar != bar)
			ASSERT_EQ(bar, mremap(self->target.bar, WINDOW, WINDOW,
					      MREMAP_MAYMOVE | MREMAP_FIXED,
					      bar));
		self->target.bar = bar;
	}
	ASSERT_EQ(0, attach_pt(o->device, o->ioas, NULL));
	EXPECT_TRUE(REACHES_BY(0, 0, 2));
}

/*
 * The kernel looks up the address in the process that mapped it, whoever
 * attaches
 */
TEST_F(tables, attached_by_another_process)
{
	struct opened *o = &self->opened[0];
	int status;
	pid_t pid;

	ASSERT_EQ(0, detach_pt(o->device));
	ASSERT_EQ(0, MAP_BAR_FOR(0));
	pid = fork();
	if (!pid) {
		munmap(self->target.bar, WINDOW);
		_exit(attach_pt(o->device, o->ioas, NULL) ? 1 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(REACHES_BY(0, 0, 1));
}

/*
 * The second device joins the iommufd of the first, with a page table of its own
 */
static int join_first(struct _test_data_tables *self, __u32 *hwpt)
{
	struct opened *a = &self->opened[0], *b = &self->opened[1];
	__u32 id;

	edu_close(&self->edu[1]);
	close_device(b);
	b->device = open_cdev(&self->dev[1]);
	b->iommufd = open("/dev/null", O_RDONLY);
	return bind_iommufd(b->device, a->iommufd, &id) ||
	       hwpt_alloc(a->iommufd, id, a->ioas, hwpt) ||
	       attach_pt(b->device, *hwpt, NULL) ||
	       edu_open(&self->edu[1], b->device);
}

/* Two page tables of one IOAS */
TEST_F(tables, of_one_ioas)
{
	struct opened *a = &self->opened[0];
	__u32 hwpt;

	ASSERT_EQ(0, join_first(self, &hwpt));
	ASSERT_EQ(0, MAP_BAR_FOR(0));
	EXPECT_TRUE(REACHES_BY(0, 0, 1));
	EXPECT_TRUE(REACHES_BY(1, PAGE, 2));
	ASSERT_TRUE(decode(&self->target, false));
	EXPECT_TRUE(is_refused_by(self, 0, 0));
	EXPECT_TRUE(is_refused_by(self, 1, PAGE));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(HAS(0, 1));
	EXPECT_TRUE(HAS(PAGE, 2));
	/* One page table is destroyed */
	ASSERT_EQ(0, detach_pt(self->opened[1].device));
	ASSERT_EQ(0, iommufd_destroy(a->iommufd, hwpt));
	ASSERT_TRUE(decode(&self->target, false));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(REACHES_BY(0, 0, 3));
	EXPECT_EQ(0, WRITE_BY(1, PAGE));
	EXPECT_TRUE(HAS(PAGE, 2));
}

/* A version 1 type1 container cuts a mapping of the BAR in both */
TEST_F(tables, cut_in_each)
{
	struct opened *a = &self->opened[0];
	__u32 ioas = a->ioas, hwpt;
	int i, revoked;

	ASSERT_EQ(0, ioas_unmap(a->iommufd, ioas, RAM, 2 * PAGE));
	ASSERT_EQ(0, set_option(a->iommufd, IOMMU_OPTION_HUGE_PAGES, ioas, 0));
	ASSERT_EQ(0, vfio_ioas(a->iommufd, IOMMU_VFIO_IOAS_SET, &ioas));
	ASSERT_EQ(0, map_for_device(a, self->ram, 2 * PAGE, RAM));
	ASSERT_EQ(0, join_first(self, &hwpt));
	ASSERT_EQ(0, MAP_BAR_FOR(0));
	ASSERT_EQ(0, legacy_unmap(a->iommufd, self->iova + 2 * PAGE, 2 * PAGE));
	for (revoked = 0; revoked < 2; revoked++) {
		if (revoked) {
			ASSERT_TRUE(decode(&self->target, false));
			ASSERT_TRUE(decode(&self->target, true));
		}
		for (i = 0; i < 2; i++) {
			EXPECT_EQ(0, WRITE_BY(i, 2 * PAGE));
			EXPECT_TRUE(is_byte(self->target.bar + 2 * PAGE,
					    2 * PAGE, 0));
			EXPECT_TRUE(REACHES_BY(i, PAGE, 2 * revoked + i));
			EXPECT_TRUE(REACHES_BY(i, 4 * PAGE, 2 * revoked + i));
		}
	}
}

/* The BAR is not charged to a process, so it can't be moved to another one */
TEST_F(tables, change_process_is_refused)
{
	struct opened *o = &self->opened[0];

	ASSERT_EQ(0, ioas_unmap(o->iommufd, o->ioas, RAM, 2 * PAGE));
	EXPECT_EQ(0, change_process(o->iommufd));
	ASSERT_EQ(0, MAP_BAR_FOR(0));
	EXPECT_ERRNO(EINVAL, change_process(o->iommufd));
	EXPECT_EQ(0, ioas_unmap(o->iommufd, o->ioas, self->iova, WINDOW));
	EXPECT_EQ(0, change_process(o->iommufd));
}

/* The registers are revoked and restored, in each possible way */

FIXTURE(registers)
{
	struct pci_dev dev;
	struct opened opened;
	struct edu edu;
	struct target target;
	struct pci_dev neighbour;
	int beside;
	char *ram;
	int dmabuf;
};

/*
 * @take: revoke the registers; without @give they are restored on return
 * @give: restore the registers
 * @edu: the target is an edu that is reset with a neighbour; else the disk
 * @by_neighbour: the neighbour is asked to do it
 */
FIXTURE_VARIANT(registers)
{
	int (*take)(struct target *target);
	int (*give)(struct target *target);
	bool edu;
	bool by_neighbour;
};

/* Offset of a capability in config space, or 0 */
static off_t capability(int device, __u8 id)
{
	off_t config = region_at(device, VFIO_PCI_CONFIG_REGION_INDEX);
	__u8 cap[2] = {};

	if (pread(device, &cap[1], 1, config + PCI_CAPABILITY_LIST) != 1)
		return 0;
	while (cap[1]) {
		off_t at = config + cap[1];

		if (pread(device, cap, 2, at) != 2)
			return 0;
		if (cap[0] == id)
			return at;
	}
	return 0;
}

static int change_word(int device, off_t at, __u16 clear, __u16 set)
{
	__u16 word;

	if (pread(device, &word, 2, at) != 2)
		return -1;
	word = (word & ~clear) | set;
	return pwrite(device, &word, 2, at) == 2 ? 0 : -1;
}

static int reset_function(struct target *target)
{
	off_t at = capability(target->device, PCI_CAP_ID_EXP);

	return at ? change_word(target->device, at + PCI_EXP_DEVCTL, 0,
				PCI_EXP_DEVCTL_BCR_FLR) : -1;
}

static int reset_bus(struct target *target)
{
	return hot_reset(target->device);
}

static int take_power(struct target *target)
{
	off_t at = capability(target->device, PCI_CAP_ID_PM);

	return at ? change_word(target->device, at + PCI_PM_CTRL,
				PCI_PM_CTRL_STATE_MASK, 3) : -1;
}

static int give_power(struct target *target)
{
	off_t at = capability(target->device, PCI_CAP_ID_PM);

	return at ? change_word(target->device, at + PCI_PM_CTRL,
				PCI_PM_CTRL_STATE_MASK, 0) : -1;
}

/*
 * Resume a device in low power, and let it be suspended again. Without power
 * management in the kernel it is always active
 */
static int resume_for_a_moment(struct target *target)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (has_power_management(&target->dev) &&
	    !has_power_status(&target->dev, "suspended"))
		return -1;
	return ioctl(target->device, VFIO_DEVICE_GET_INFO, &info);
}

/* Low power that ends with the first access */
static int sleep_until_wakeup(struct target *target)
{
	int event = eventfd(0, EFD_CLOEXEC);
	int ret = set_power(target->device,
			    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
			    event);

	close(event);
	return ret;
}

static int wake_up(struct target *target)
{
	return has_power_management(&target->dev) ?
		resume_for_a_moment(target) : exit_low_power(target);
}

FIXTURE_VARIANT_ADD(registers, decoding)
{
	.take = take_decoding,
	.give = give_decoding,
};

FIXTURE_VARIANT_ADD(registers, decoding_of_edu)
{
	.take = take_decoding,
	.give = give_decoding,
	.edu = true,
};

FIXTURE_VARIANT_ADD(registers, reset)
{
	.take = reset_device,
};

FIXTURE_VARIANT_ADD(registers, reset_by_register)
{
	.take = reset_function,
};

FIXTURE_VARIANT_ADD(registers, hot_reset)
{
	.take = reset_bus,
	.edu = true,
};

FIXTURE_VARIANT_ADD(registers, hot_reset_by_neighbour)
{
	.take = reset_bus,
	.edu = true,
	.by_neighbour = true,
};

FIXTURE_VARIANT_ADD(registers, power_state)
{
	.take = take_power,
	.give = give_power,
};

FIXTURE_VARIANT_ADD(registers, low_power)
{
	.take = enter_low_power,
	.give = exit_low_power,
};

FIXTURE_VARIANT_ADD(registers, low_power_until_wakeup)
{
	.take = sleep_until_wakeup,
	.give = wake_up,
};

FIXTURE_SETUP(registers)
{
	struct target *target = &self->target;

	self->dmabuf = -1;
	self->beside = -1;
	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	if (variant->edu ? find_edu_neighbours(&target->dev, &self->neighbour) :
			   find_pci_class(&target->dev, "0x010802"))
		SKIP_TEST("no device to be reset");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&target->dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->opened.device));
	ASSERT_EQ(0, target_open(target, NULL, VFIO_PCI_BAR0_REGION_INDEX,
				 PAGE));
	if (variant->edu) {
		/* A hot reset needs a neighbour that the same user has bound */
		ASSERT_EQ(0, bind_vfio_pci(&self->neighbour));
		self->beside = open_cdev(&self->neighbour);
		ASSERT_EQ(0, bind_iommufd(self->beside, target->opened.iommufd,
					  NULL));
	}
	self->ram = map_anon(2 * PAGE);
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, 2 * PAGE, RAM));
	ASSERT_EQ(0, map_in(&self->opened, self->opened.ioas, target,
			    &self->dmabuf, ADDRESS, 0, PAGE, 2 * SZ_1G));
}

FIXTURE_TEARDOWN(registers)
{
	target_close(&self->target);
	close(self->beside);
	edu_close(&self->edu);
	close_device(&self->opened);
}

/* The first register of both kinds has a fixed nonzero value */
static bool reads_register(struct edu *edu, char *ram, struct target *target)
{
	__u32 value = get_register(target->bar);

	return value && value != ~0U &&
	       reads_value(edu, ram, 2 * SZ_1G, value);
}

#define READS_REGISTER() reads_register(&self->edu, self->ram, &self->target)

/* Is the write refused? Returns true if the IOMMU does not log faults. */
static bool begins_refused(int kmsg, const struct pci_dev *dev)
{
	return !iommu_of(dev)->fault || kmsg_has_fault(kmsg, dev, 2 * SZ_1G);
}

TEST_F(registers, go_and_come_back)
{
	struct target who = self->target;
	bool refused = false;
	int kmsg, tries;

	if (variant->by_neighbour)
		who.device = self->beside;
	ASSERT_TRUE(READS_REGISTER());
	for (tries = 0; tries < 8 && !refused; tries++) {
		kmsg = kmsg_open();
		if (variant->give) {
			ASSERT_EQ(0, variant->take(&who));
			if (variant->take == enter_low_power)
				ASSERT_EQ(0, resume_for_a_moment(&self->target));
			edu_start_to_ram(&self->edu, 2 * SZ_1G, 4);
			ASSERT_EQ(0, edu_wait(&self->edu));
		} else {
			/* The DMA begins 100 ms after the start */
			edu_start_to_ram(&self->edu, 2 * SZ_1G, 4);
			while (edu_is_busy(&self->edu))
				ASSERT_EQ(0, variant->take(&who));
		}
		refused = begins_refused(kmsg, &self->dev);
		close(kmsg);
		if (variant->give)
			ASSERT_EQ(0, variant->give(&self->target));
		EXPECT_TRUE(READS_REGISTER());
	}
	EXPECT_TRUE(refused);

	if (!variant->edu)
		return;
	/* A reset that fails leaves everything as it was */
	close(self->beside);
	self->beside = -1;
	EXPECT_ERRNO(EINVAL, hot_reset(self->target.device));
	EXPECT_TRUE(READS_REGISTER());
}

/* To make virtual functions, the kernel ends the power state that a user set */
TEST_F(registers, come_back_for_virtual_functions)
{
	struct pci_dev *dev = &self->target.dev;

	if (variant->take != take_power)
		return;
	ASSERT_EQ(0, set_numvfs(dev, 0));
	ASSERT_TRUE(READS_REGISTER());
	ASSERT_EQ(0, take_power(&self->target));
	EXPECT_EQ(0, set_numvfs(dev, 2));
	EXPECT_TRUE(READS_REGISTER());
	EXPECT_EQ(0, set_numvfs(dev, 0));
	EXPECT_TRUE(READS_REGISTER());
}

/*
 * Revocation does not wait for a page fault (trap N1). An attach holds the lock
 * of the page tables while it pins memory, and userfaultfd can delay that for
 * any time.
 */
FIXTURE(blocked)
{
	struct pci_dev dev;
	struct opened opened;
	struct edu edu;
	struct target target;
	char *ram;
	char *held;
	int faults;
	pthread_t thread;
};

FIXTURE_SETUP(blocked)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	const char *missing = find_devices(&self->dev, &self->target.dev);

	if (missing)
		SKIP_TEST("%s", missing);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
	ASSERT_EQ(0, open_unattached(&self->opened, &self->dev));
	ASSERT_EQ(0, edu_open(&self->edu, self->opened.device));
	ASSERT_EQ(0, target_open(&self->target, NULL, MEMORY_BAR, WINDOW));
	memset(self->target.bar, 0, PAGE);

	self->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, self->faults);
	self->held = map_anon(PAGE);
	range.range.start = (uintptr_t)self->held;
	range.range.len = PAGE;
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(self->faults, UFFDIO_REGISTER, &range));

	/* In this order, so that the page that blocks comes after the BAR */
	self->ram = map_anon(PAGE);
	ASSERT_EQ(0, map_for_device(&self->opened, self->ram, PAGE, RAM));
	ASSERT_EQ(0, map_for_device(&self->opened, self->target.bar, WINDOW,
				    2 * SZ_1G));
	ASSERT_EQ(0, map_for_device(&self->opened, self->held, PAGE,
				    3 * SZ_1G));
}

FIXTURE_TEARDOWN(blocked)
{
	target_close(&self->target);
	edu_close(&self->edu);
	close_device(&self->opened);
	close(self->faults);
}

static void *attach_in_thread(void *data)
{
	struct opened *o = data;

	return (void *)(intptr_t)attach_pt(o->device, o->ioas, NULL);
}

static void let_go(int faults, void *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
	};

	ioctl(faults, UFFDIO_ZEROPAGE, &zero);
}

TEST_F_TIMEOUT(blocked, revocation_waits_for_no_fault, 20)
{
	struct uffd_msg msg;
	void *ret;

	ASSERT_EQ(0, pthread_create(&self->thread, NULL, attach_in_thread,
				    &self->opened));
	/* The page table has the BAR already, and the attach is blocked */
	ASSERT_EQ((ssize_t)sizeof(msg), read(self->faults, &msg, sizeof(msg)));
	ASSERT_TRUE(decode(&self->target, false));
	ASSERT_TRUE(decode(&self->target, true));
	ASSERT_TRUE(decode(&self->target, false));

	let_go(self->faults, self->held);
	ASSERT_EQ(0, pthread_join(self->thread, &ret));
	ASSERT_EQ(NULL, ret);
	EXPECT_EQ(0, write_to(&self->edu, self->ram, 2 * SZ_1G, 99));
	ASSERT_TRUE(decode(&self->target, true));
	EXPECT_TRUE(is_byte(self->target.bar, PAGE, 0));
	EXPECT_EQ(0, write_to(&self->edu, self->ram, 2 * SZ_1G, 1));
	EXPECT_TRUE(is_pattern(self->target.bar, SHORT, 1));
}

/* Nor does closing the device or unbinding its driver */
TEST_F_TIMEOUT(blocked, close_waits_for_no_fault, 20)
{
	struct uffd_msg msg;
	void *ret;

	ASSERT_EQ(0, pthread_create(&self->thread, NULL, attach_in_thread,
				    &self->opened));
	ASSERT_EQ((ssize_t)sizeof(msg), read(self->faults, &msg, sizeof(msg)));
	target_close(&self->target);
	ASSERT_EQ(0, unbind_driver(&self->target.dev));
	let_go(self->faults, self->held);
	ASSERT_EQ(0, pthread_join(self->thread, &ret));
	ASSERT_EQ(NULL, ret);
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
}

/* What is refused, and the order of errors */

FIXTURE(refused)
{
	struct pci_dev dev;
	struct opened opened;
	struct target target;
	int iommufd;
	__u32 ioas;
};

FIXTURE_SETUP(refused)
{
	const char *missing = find_devices(&self->dev, &self->target.dev);

	if (missing)
		SKIP_TEST("%s", missing);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->target.dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev, NULL));
	self->iommufd = self->opened.iommufd;
	self->ioas = self->opened.ioas;
	ASSERT_EQ(0, target_open(&self->target, NULL, MEMORY_BAR, WINDOW));
}

FIXTURE_TEARDOWN(refused)
{
	target_close(&self->target);
	close_device(&self->opened);
}

#define MAP(_va, _length, _flags)                                              \
	ioas_map(self->iommufd, self->ioas, _va, _length, RAM, _flags)
#define UNMAP_RAM() ioas_unmap(self->iommufd, self->ioas, RAM, WINDOW)

/* A range must be inside one mapping of a BAR (trap N7) */
TEST_F(refused, addresses)
{
	struct target *target = &self->target;
	char *room = map_anon(4 * PAGE);
	const int shared = MAP_SHARED | MAP_FIXED;

	/* Beyond the end of the mapping, and from before its start */
	EXPECT_ERRNO(EFAULT, MAP(target->bar + WINDOW - PAGE, 2 * PAGE, MAP_RW));
	EXPECT_ERRNO(EFAULT, MAP(target->bar - PAGE, 2 * PAGE, MAP_RW));
	/* Memory, BAR, another part of the BAR, memory */
	ASSERT_EQ(room + PAGE, mmap(room + PAGE, PAGE, PROT_READ | PROT_WRITE,
				    shared, target->device, target->at));
	ASSERT_EQ(room + 2 * PAGE,
		  mmap(room + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, shared,
		       target->device, target->at + PAGE));
	EXPECT_ERRNO(EFAULT, MAP(room, 2 * PAGE, MAP_RW));
	EXPECT_ERRNO(EFAULT, MAP(room + PAGE, 2 * PAGE, MAP_RW));
	EXPECT_ERRNO(EFAULT, MAP(room + 2 * PAGE, 2 * PAGE, MAP_RW));
	EXPECT_ERRNO(EFAULT, MAP(room, 4 * PAGE, MAP_RW));
	EXPECT_EQ(0, MAP(room + PAGE, PAGE, MAP_RW));
	EXPECT_EQ(0, UNMAP_RAM());

	/* The device gets no more access than the process */
	ASSERT_EQ(0, mprotect(room + PAGE, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, MAP(room + PAGE, PAGE, MAP_RW));
	EXPECT_EQ(0, MAP(room + PAGE, PAGE, IOMMU_IOAS_MAP_READABLE));
	EXPECT_EQ(0, UNMAP_RAM());
	ASSERT_EQ(0, mprotect(room + PAGE, PAGE, PROT_NONE));
	EXPECT_ERRNO(EFAULT, MAP(room + PAGE, PAGE, IOMMU_IOAS_MAP_READABLE));
}

/*
 * The process has mapped a BAR over memory of which one page is still pinned. An
 * attach takes neither for the other.
 */
TEST_F(refused, memory_that_became_a_bar)
{
	struct target *target = &self->target;
	char *room = map_anon(2 * PAGE);
	long pinned = status_kb("VmPin");
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->iommufd, &other));
	ASSERT_EQ(0, ioas_map(self->iommufd, other, room, 2 * PAGE, RAM,
			      MAP_RW));
	ASSERT_EQ(0, copy_at(self->iommufd, self->ioas, other, MAP_RW, PAGE,
			     RAM, RAM));
	EXPECT_EQ(pinned + PAGES_KB(1), status_kb("VmPin"));
	ASSERT_EQ(room, mmap(room, 2 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, target->device,
			     target->at));
	EXPECT_ERRNO(EFAULT, attach_pt(self->opened.device, other, NULL));
	EXPECT_EQ(pinned + PAGES_KB(1), status_kb("VmPin"));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, self->ioas, RAM, PAGE));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	EXPECT_EQ(0, attach_pt(self->opened.device, other, NULL));
	EXPECT_EQ(pinned, status_kb("VmPin"));
	munmap(room, 2 * PAGE);
}

static int dma_buf_flags(int device, __u32 flags, __u32 argsz, void *req)
{
	struct vfio_device_feature *head = req;

	head->argsz = argsz;
	head->flags = flags | VFIO_DEVICE_FEATURE_DMA_BUF;
	return ioctl(device, VFIO_DEVICE_FEATURE, req);
}

/* A BAR of a device that is not bound to an iommufd can't be mapped */
TEST_F(refused, device_of_type1)
{
	struct dma_buf_request req = {
		.buf = { .region_index = MEMORY_BAR, .nr_ranges = 1 },
		.ranges = { { .length = PAGE } },
	};

	target_close(&self->target);
	if (is_iommufd(open(CONTAINER, O_RDWR)))
		SKIP(return, "/dev/vfio/vfio is an iommufd");
	ASSERT_EQ(0, target_open(&self->target, CONTAINER, MEMORY_BAR, WINDOW));
	EXPECT_ERRNO(EFAULT, MAP(self->target.bar, PAGE, MAP_RW));
	EXPECT_ERRNO(EOPNOTSUPP, dma_buf_get(self->target.device, &req));
	EXPECT_ERRNO(EOPNOTSUPP,
		     dma_buf_flags(self->target.device,
				   VFIO_DEVICE_FEATURE_GET |
				   VFIO_DEVICE_FEATURE_PROBE, sizeof(req), &req));
}

/* In the order of errors */
TEST_F(refused, dma_bufs)
{
	const __u32 min = offsetof(struct dma_buf_request, ranges);
	int device = self->target.device, fd;
	char *edge;
	struct dma_buf_request req = {
		.buf = {
			.region_index = 6,
			.open_flags = O_RDWR | O_CLOEXEC,
			.flags = 1,
		},
	};
	struct vfio_region_dma_range *range = &req.ranges[0];

	EXPECT_ERRNO(EINVAL, dma_buf_flags(device, VFIO_DEVICE_FEATURE_SET,
					   sizeof(req), &req));
	EXPECT_ERRNO(EINVAL, dma_buf_flags(device, VFIO_DEVICE_FEATURE_GET,
					   min - 1, &req));
	EXPECT_EQ(0, dma_buf_flags(device, VFIO_DEVICE_FEATURE_PROBE |
					   VFIO_DEVICE_FEATURE_GET, min, &req));
	EXPECT_ERRNO(EINVAL, dma_buf_flags(device, VFIO_DEVICE_FEATURE_PROBE |
					   VFIO_DEVICE_FEATURE_SET, min, &req));
	req.buf.nr_ranges = 1;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.buf.nr_ranges = 0;
	req.buf.flags = 0;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.buf.nr_ranges = 1;
	/* Not a BAR, and one that the device does not have */
	EXPECT_ERRNO(ENODEV, dma_buf_get(device, &req));
	req.buf.region_index = ~0U;
	EXPECT_ERRNO(ENODEV, dma_buf_get(device, &req));
	req.buf.region_index = 5;
	EXPECT_ERRNO(ENODEV, dma_buf_get(device, &req));
	req.buf.nr_ranges = ~0U;
	EXPECT_ERRNO(ENODEV, dma_buf_get(device, &req));
	req.buf.region_index = MEMORY_BAR;
	EXPECT_ERRNO(ENOMEM, dma_buf_get(device, &req));

	req.buf.nr_ranges = 1;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	range->length = PAGE / 2;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	range->length = PAGE;
	range->offset = PAGE / 2;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	range->offset = self->target.size;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	range->offset = self->target.size - PAGE;
	range->length = 2 * PAGE;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	range->offset = -PAGE;
	range->length = 2 * PAGE;
	EXPECT_ERRNO(EOVERFLOW, dma_buf_get(device, &req));
	req.buf.open_flags |= O_APPEND;
	EXPECT_ERRNO(EOVERFLOW, dma_buf_get(device, &req));
	req.buf.open_flags &= ~O_APPEND;
	/* The second range */
	range->offset = 0;
	req.buf.nr_ranges = 2;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.ranges[1].length = -PAGE;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.ranges[1].length = self->target.size + PAGE;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.ranges[1].length = PAGE / 2;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.ranges[1].length = 2 * PAGE;
	req.ranges[1].offset = -PAGE;
	EXPECT_ERRNO(EOVERFLOW, dma_buf_get(device, &req));
	req.ranges[1].offset = PAGE / 2;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.ranges[1].offset = 0;
	/* The sum of the ranges may exceed the BAR; each range may not */
	req.ranges[1].length = self->target.size;
	fd = dma_buf_get(device, &req);
	EXPECT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ((off_t)(2 * PAGE + self->target.size),
		  lseek(fd, 0, SEEK_END));
	close(fd);

	/* A BAR smaller than a page can't be exported (trap N7) */
	req.buf.nr_ranges = 1;
	req.buf.region_index = VFIO_PCI_BAR0_REGION_INDEX;
	range->length = PAGE;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));

	req.buf.region_index = MEMORY_BAR;
	req.buf.open_flags = O_APPEND;
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	req.buf.open_flags = O_RDWR;
	fd = dma_buf_get(device, &req);
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, fcntl(fd, F_GETFD));
	EXPECT_EQ((off_t)PAGE, lseek(fd, 0, SEEK_END));
	close(fd);

	/* The ranges can't be read; then the request can't */
	edge = map_anon(2 * PAGE) + PAGE - min;
	ASSERT_EQ(0, munmap(edge + min, PAGE));
	req.buf.open_flags = O_APPEND;
	memcpy(edge, &req, min);
	EXPECT_ERRNO(EFAULT, dma_buf_flags(device, VFIO_DEVICE_FEATURE_GET,
					   sizeof(req), edge));
	memmove(edge + 8, edge, min - 8);
	EXPECT_ERRNO(EFAULT, dma_buf_flags(device, VFIO_DEVICE_FEATURE_GET,
					   sizeof(req), edge + 8));
}

/* Number of dma-bufs in the system; -1 if the kernel does not tell */
static long nr_dma_bufs(void)
{
	FILE *f = fopen("/sys/kernel/debug/dma_buf/bufinfo", "r");
	char line[256];
	long nr = -1;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Total %ld objects", &nr);
	if (f)
		fclose(f);
	return nr;
}

/* There is no fd for it: no dma-buf is left */
TEST_F(refused, dma_buf_without_fd_is_EMFILE)
{
	int device = self->target.device, next = dup(device);
	long nr = nr_dma_bufs();
	struct rlimit all, few;
	int i;

	close(next);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &all));
	few = all;
	few.rlim_cur = next;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
	for (i = 0; i < 3; i++)
		EXPECT_ERRNO(EMFILE, dma_buf_of(device, MEMORY_BAR, 0, PAGE));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &all));
	EXPECT_EQ(nr, nr_dma_bufs());
}

/* Has VFIO claimed this BAR? */
static bool is_claimed(const struct pci_dev *dev, int bar)
{
	unsigned long long start = 0, first, last;
	char path[128], line[128], name[8];
	bool ret = false;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource",
		 dev->bdf);
	f = fopen(path, "r");
	while (f && bar-- >= 0 && fscanf(f, "%llx %*x %*x", &start) == 1)
		;
	if (f)
		fclose(f);
	f = fopen("/proc/iomem", "r");
	while (f && fgets(line, sizeof(line), f))
		ret |= sscanf(line, "%llx-%llx : %7s", &first, &last, name) == 3 &&
		       first == start && !strncmp(name, "vfio", 4);
	if (f)
		fclose(f);
	return ret;
}

/* As for a mapping, the BAR is claimed first: no driver may have it too */
TEST_F(refused, dma_buf_claims_the_bar)
{
	struct target *target = &self->target;
	int fd;

	EXPECT_TRUE(is_claimed(&target->dev, MEMORY_BAR));
	target_close(target);
	EXPECT_FALSE(is_claimed(&target->dev, MEMORY_BAR));
	ASSERT_EQ(0, open_device(&target->opened, &target->dev, NULL));
	target->device = target->opened.device;
	fd = dma_buf_of(target->device, MEMORY_BAR, 0, PAGE);
	EXPECT_LE(0, fd);
	EXPECT_TRUE(is_claimed(&target->dev, MEMORY_BAR));
	close(fd);
}

/* I/O ports are no memory: the chipset's SMBus controller has them in BAR 4 */
TEST_F(refused, dma_buf_of_ports_is_ENODEV)
{
	struct pci_dev dev;
	struct opened o;

	ASSERT_EQ(0, find_pci_class(&dev, "0x0c0500"));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	ASSERT_EQ(0, open_unattached(&o, &dev));
	EXPECT_ERRNO(ENODEV, dma_buf_of(o.device, VFIO_PCI_BAR4_REGION_INDEX, 0,
					PAGE));
	close_device(&o);
	EXPECT_EQ(0, unbind_driver(&dev));
}

/* The last BAR is like any other: the chipset's disk controller has it */
TEST_F(refused, dma_buf_of_the_last_bar)
{
	struct pci_dev dev;
	struct opened o;
	int fd;

	ASSERT_EQ(0, find_pci_class(&dev, "0x010601"));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	ASSERT_EQ(0, open_unattached(&o, &dev));
	fd = dma_buf_of(o.device, VFIO_PCI_BAR5_REGION_INDEX, 0, PAGE);
	EXPECT_LE(0, fd);
	close(fd);
	close_device(&o);
	EXPECT_EQ(0, unbind_driver(&dev));
}

/* A device that is not bound: EINVAL, as for any ioctl */
TEST_F(refused, dma_buf_of_unbound_device)
{
	struct dma_buf_request req = {
		.buf = { .region_index = MEMORY_BAR, .nr_ranges = 1 },
		.ranges = { { .length = PAGE } },
	};
	int device;

	target_close(&self->target);
	device = open_cdev(&self->target.dev);
	EXPECT_ERRNO(EINVAL, dma_buf_get(device, &req));
	close(device);
}

#define MAP_BUF(_fd, _start, _length, _flags)                                  \
	map_file_at(self->iommufd, self->ioas, _flags, _fd, _start, _length, RAM)

TEST_F(refused, maps_of_dma_bufs)
{
	struct dma_buf_request two = {
		.buf = {
			.region_index = MEMORY_BAR,
			.open_flags = O_RDWR,
			.nr_ranges = 2,
		},
		.ranges = { { .length = PAGE }, { .length = PAGE } },
	};
	int device = self->target.device, fd;

	fd = dma_buf_of(device, MEMORY_BAR, 0, 4 * PAGE);
	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EINVAL, MAP_BUF(fd, 4 * PAGE, 1, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_BUF(fd, 3 * PAGE, 2 * PAGE, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_BUF(fd, 5 * PAGE, PAGE, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_BUF(fd, 1UL << 60, PAGE, MAP_RW));
	EXPECT_EQ(0, MAP_BUF(fd, 3 * PAGE, PAGE, MAP_RW));
	EXPECT_ERRNO(EEXIST, MAP_BUF(fd, 0, PAGE, MAP_RW));
	EXPECT_EQ(0, UNMAP_RAM());
	close(fd);

	fd = dma_buf_get(device, &two);
	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EOPNOTSUPP, MAP_BUF(fd, 0, PAGE, MAP_RW));
	close(fd);

	/* As with other files, the access mode of the fd counts */
	two.buf.nr_ranges = 1;
	two.buf.open_flags = O_RDONLY;
	fd = dma_buf_get(device, &two);
	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EPERM, MAP_BUF(fd, 0, PAGE, MAP_RW));
	EXPECT_EQ(0, MAP_BUF(fd, 0, PAGE, IOMMU_IOAS_MAP_READABLE));
	/* A copy can't get more access than the mapping */
	EXPECT_ERRNO(EPERM, copy_at(self->iommufd, self->ioas, self->ioas,
				    MAP_RW, PAGE, RAM + PAGE, RAM));
	EXPECT_EQ(0, UNMAP_RAM());
	close(fd);

	/* fds that are no dma-buf */
	EXPECT_ERRNO(EBADF, MAP_BUF(-1, 0, PAGE, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_BUF(device, 0, PAGE, MAP_RW));
}

/* A dma-buf of another driver */
TEST_F(refused, dma_buf_of_others)
{
	struct udmabuf_create create = { .size = PAGE };
	int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	int memfd = memfd_create("memory", MFD_ALLOW_SEALING), fd;

	if (udmabuf < 0)
		SKIP(return, "no driver of other dma-bufs");
	ASSERT_EQ(0, ftruncate(memfd, PAGE));
	ASSERT_EQ(0, fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK));
	create.memfd = memfd;
	fd = ioctl(udmabuf, UDMABUF_CREATE, &create);
	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EOPNOTSUPP, MAP_BUF(fd, 0, PAGE, MAP_RW));
	close(fd);
	close(memfd);
	close(udmabuf);
}

/* The fd can't be mapped for the CPU, read or written */
TEST_F(refused, dma_buf_is_for_iommufd)
{
	int fd = dma_buf_of(self->target.device, MEMORY_BAR, 0, PAGE);
	char byte = 0;

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(-1, write(fd, &byte, 1));
	close(fd);
}

/*
 * An offset in a BAR is not confused with one that has the same lower 32 bits:
 * of a dma-buf, in a dma-buf, of a mapping, inside a long mapping, and in a long
 * VMA. Nor is a length
 */
TEST(offsets_have_64_bits)
{
	const __u64 high = 4 * SZ_1G + PAGE;
	struct target target = {};
	struct opened opened;
	struct pci_dev dev;
	int part, whole, i;
	const char *missing;
	struct edu edu;
	char *ram, *bar, *whole_bar;
	__u64 iova[5];

	missing = find_devices(&dev, &target.dev);
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, find_pci_class_nth(&target.dev, "0x050000", 1));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&target.dev));
	ASSERT_EQ(0, open_device(&opened, &dev, NULL));
	ASSERT_EQ(0, edu_open(&edu, opened.device));
	ram = map_anon(PAGE);
	ASSERT_EQ(0, map_for_device(&opened, ram, PAGE, RAM));
	ASSERT_EQ(0, target_open(&target, NULL, MEMORY_BAR, 2 * PAGE));
	ASSERT_EQ(8 * SZ_1G, target.size);
	memset(target.bar, 0, 2 * PAGE);
	bar = map_region(target.device, target.at + high, PAGE);
	ASSERT_NE(NULL, bar);
	whole_bar = map_region(target.device, target.at, target.size);
	ASSERT_NE(NULL, whole_bar);

	part = dma_buf_of(target.device, MEMORY_BAR, high, PAGE);
	whole = dma_buf_of(target.device, MEMORY_BAR, 0, target.size);
	for (i = 0; i < 3; i++)
		iova[i] = IOVA + i * PAGE;
	iova[3] = IOVA + IOVA / 2 + high;
	iova[4] = IOVA + 3 * PAGE;
	EXPECT_ERRNO(EFAULT, ioas_map(opened.iommufd, opened.ioas, bar, high,
				      IOVA, MAP_RW));
	EXPECT_ERRNO(EINVAL, map_file_at(opened.iommufd, opened.ioas, MAP_RW,
					 part, 0, high, IOVA));
	ASSERT_EQ(0, map_file_at(opened.iommufd, opened.ioas, MAP_RW, part, 0,
				 PAGE, iova[0]));
	ASSERT_EQ(0, map_file_at(opened.iommufd, opened.ioas, MAP_RW, whole,
				 high, PAGE, iova[1]));
	ASSERT_EQ(0, ioas_map(opened.iommufd, opened.ioas, bar, PAGE, iova[2],
			      MAP_RW));
	ASSERT_EQ(0, map_file_at(opened.iommufd, opened.ioas, MAP_RW, whole, 0,
				 target.size, IOVA + IOVA / 2));
	ASSERT_EQ(0, ioas_map(opened.iommufd, opened.ioas, whole_bar + high,
			      PAGE, iova[4], MAP_RW));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, write_to(&edu, ram, iova[i], i));
		EXPECT_TRUE(is_pattern(bar, SHORT, i));
	}
	EXPECT_TRUE(is_byte(target.bar, 2 * PAGE, 0));
	munmap(whole_bar, target.size);
	munmap(bar, PAGE);
	close(part);
	close(whole);
	target_close(&target);
	edu_close(&edu);
	close_device(&opened);
}

/* A version 1 type1 container cuts a mapping of a BAR */
TEST(cut_mapping)
{
	struct pci_dev dev;
	struct target target = {};
	struct legacy legacy = {};
	const char *missing;
	struct edu edu;
	char *ram;

	missing = find_devices(&dev, &target.dev);
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&target.dev));
	legacy.group = open_group(&dev);
	legacy.container = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(legacy.group, VFIO_GROUP_SET_CONTAINER,
			   &legacy.container));
	ASSERT_EQ(0, ioctl(legacy.container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
	legacy.device = ioctl(legacy.group, VFIO_GROUP_GET_DEVICE_FD, dev.bdf);
	ASSERT_LE(0, legacy.device);
	ASSERT_EQ(0, edu_open(&edu, legacy.device));
	ASSERT_EQ(0, target_open(&target, NULL, MEMORY_BAR, WINDOW));
	memset(target.bar, 0, WINDOW);
	ram = map_anon(PAGE);
	ASSERT_EQ(0, legacy_map(legacy.container, ram, PAGE, RAM,
				VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE));
	ASSERT_EQ(0, legacy_map(legacy.container, target.bar, 8 * PAGE,
				2 * SZ_1G,
				VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE));
	/* Unmap the middle */
	ASSERT_EQ(0, legacy_unmap(legacy.container, 2 * SZ_1G + 2 * PAGE,
				  2 * PAGE));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + PAGE, 1));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + 2 * PAGE, 99));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + 4 * PAGE, 2));
	EXPECT_TRUE(is_pattern(target.bar + PAGE, SHORT, 1));
	EXPECT_TRUE(is_byte(target.bar + 2 * PAGE, 2 * PAGE, 0));
	EXPECT_TRUE(is_pattern(target.bar + 4 * PAGE, SHORT, 2));
	/* Both ends are revoked and restored; meanwhile each is cut again */
	ASSERT_TRUE(decode(&target, false));
	ASSERT_EQ(0, legacy_unmap(legacy.container, 2 * SZ_1G, PAGE));
	ASSERT_EQ(0, legacy_unmap(legacy.container, 2 * SZ_1G + 6 * PAGE,
				  2 * PAGE));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + PAGE, 99));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + 5 * PAGE, 99));
	ASSERT_TRUE(decode(&target, true));
	EXPECT_TRUE(is_pattern(target.bar + PAGE, SHORT, 1));
	EXPECT_TRUE(is_byte(target.bar + 5 * PAGE, 3 * PAGE, 0));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + PAGE, 3));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + 5 * PAGE, 4));
	EXPECT_EQ(0, write_to(&edu, ram, 2 * SZ_1G + 6 * PAGE, 99));
	EXPECT_TRUE(is_pattern(target.bar + PAGE, SHORT, 3));
	EXPECT_TRUE(is_pattern(target.bar + 5 * PAGE, SHORT, 4));
	EXPECT_TRUE(is_byte(target.bar + 6 * PAGE, 2 * PAGE, 0));
	target_close(&target);
	edu_close(&edu);
	legacy_close(&legacy);
}

TEST_HARNESS_MAIN

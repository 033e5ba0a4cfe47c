// SPDX-License-Identifier: GPL-2.0
/*
 * Mediated devices, which reach memory through VFIO: by group and type1
 * container, by group and /dev/iommu as the container, and by cdev and an IOAS.
 * They are devices of the samples mdpin, which executes commands of the test,
 * and mtty.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../iommu/delay_util.h"
#include "../kselftest_harness.h"
#include "../../../../samples/vfio-mdev/mdpin.h"
#include "kvm_util.h"
#include "p2p_util.h"
#include "vfio_util.h"

#define NR_PAGES 16
#define MEM_SIZE (NR_PAGES * PAGE)

/* IOVAs: two where memory is mapped, and one where nothing is */
#define IOVA SZ_2M
#define OTHER (2 * SZ_2M)
#define NOWHERE (3 * SZ_2M)

/* More notices than the kernel sends before it gives up */
#define FOREVER 1000000

/* Logged if a driver has left pages pinned */
#define BLAME "iommufd: a driver did not unpin all its pages"

/* Send a command to mdpin */
static int command(int device, __u32 op, __u32 flags, __u64 iova, __u32 count)
{
	struct mdpin_cmd cmd = {
		.op = op,
		.flags = flags,
		.iova = iova,
		.count = count,
	};
	ssize_t ret = pwrite(device, &cmd, sizeof(cmd), MDPIN_CMD);

	return ret == sizeof(cmd) ? 0 : -1;
}

#define PIN(_iova, _nr) command(self->device, MDPIN_PIN, 0, _iova, _nr)
#define PIN_WRITE(_iova, _nr)                                                  \
	command(self->device, MDPIN_PIN, MDPIN_FLAG_WRITE, _iova, _nr)
#define UNPIN(_iova, _nr) command(self->device, MDPIN_UNPIN, 0, _iova, _nr)
#define FORGET(_iova, _nr) command(self->device, MDPIN_FORGET, 0, _iova, _nr)
#define IGNORE(_nr) command(self->device, MDPIN_IGNORE, 0, 0, _nr)
#define DMA_READ(_flags, _iova, _nr)                                           \
	command(self->device, MDPIN_READ, _flags, _iova, _nr)
#define DMA_WRITE(_flags, _iova, _nr)                                          \
	command(self->device, MDPIN_WRITE, _flags, _iova, _nr)

static int set_data(int device, unsigned int seed)
{
	char data[MDPIN_DATA_SIZE];

	fill_pattern(data, sizeof(data), seed);
	return pwrite(device, data, sizeof(data), MDPIN_DATA) == sizeof(data) ?
		0 : -1;
}

/* Do the first @length bytes of the device's data have this pattern? */
static bool data_is(int device, size_t length, unsigned int seed)
{
	char data[MDPIN_DATA_SIZE];

	return pread(device, data, length, MDPIN_DATA) == (ssize_t)length &&
	       is_pattern(data, length, seed);
}

/* Does the device read a page with this pattern at the IOVA? */
static bool reads(int device, __u64 iova, unsigned int seed)
{
	return !set_data(device, seed + 1) &&
	       !command(device, MDPIN_READ, 0, iova, PAGE) &&
	       data_is(device, PAGE, seed);
}

/* Does the page that the device has pinned there have this pattern? */
static bool holds(int device, __u64 iova, unsigned int seed)
{
	return !set_data(device, seed + 1) &&
	       !command(device, MDPIN_LOAD, 0, iova, PAGE) &&
	       data_is(device, PAGE, seed);
}

static struct mdpin_state state_of(int device)
{
	struct mdpin_state state;

	if (pread(device, &state, sizeof(state), MDPIN_STATE) != sizeof(state))
		memset(&state, 0xff, sizeof(state));
	return state;
}

#define STATE() state_of(self->device)

/* All ways to open a device */

/*
 * struct way - a mediated device that memory can be mapped for
 * @legacy: valid if @iommufd is -1: the device was opened through its group
 */
struct way {
	struct pci_dev dev;
	struct legacy legacy;
	int device;
	int iommufd;
	__u32 ioas;
};

/* @container: path of the container for the group; NULL: use the cdev */
static int open_way(struct way *w, const char *container, const char *driver,
		    const char *type)
{
	w->iommufd = -1;
	if (mdev_create(&w->dev, driver, type))
		return -1;
	if (container) {
		if (legacy_open_in(&w->legacy, &w->dev, container))
			return -1;
		w->device = w->legacy.device;
		return 0;
	}
	w->device = open_cdev(&w->dev);
	w->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return bind_iommufd(w->device, w->iommufd, NULL) ||
	       ioas_alloc(w->iommufd, &w->ioas) ||
	       attach_pt(w->device, w->ioas, NULL) ? -1 : 0;
}

static int close_way(struct way *w)
{
	if (w->iommufd >= 0) {
		close(w->device);
		close(w->iommufd);
	} else {
		legacy_close(&w->legacy);
	}
	return mdev_remove(&w->dev);
}

/* Open the device again in the same address space, after its last close */
static int reopen_way(struct way *w)
{
	if (w->iommufd >= 0) {
		w->device = open_cdev(&w->dev);
		return bind_iommufd(w->device, w->iommufd, NULL) ||
		       attach_pt(w->device, w->ioas, NULL) ? -1 : 0;
	}
	w->device = ioctl(w->legacy.group, VFIO_GROUP_GET_DEVICE_FD, w->dev.bdf);
	w->legacy.device = w->device;
	return w->device < 0 ? -1 : 0;
}

/* @flags: those of IOMMU_IOAS_MAP */
static int map_way(struct way *w, void *va, size_t length, __u64 iova,
		   __u32 flags)
{
	__u32 legacy = 0;

	if (w->iommufd >= 0)
		return ioas_map(w->iommufd, w->ioas, va, length, iova, flags);
	if (flags & IOMMU_IOAS_MAP_READABLE)
		legacy |= VFIO_DMA_MAP_FLAG_READ;
	if (flags & IOMMU_IOAS_MAP_WRITEABLE)
		legacy |= VFIO_DMA_MAP_FLAG_WRITE;
	return legacy_map(w->legacy.container, va, length, iova, legacy);
}

static int unmap_way(struct way *w, __u64 iova, size_t length)
{
	if (w->iommufd >= 0)
		return ioas_unmap(w->iommufd, w->ioas, iova, length);
	return legacy_unmap(w->legacy.container, iova, length);
}

/* Each page has a pattern with its number as the seed */
static void *map_patterns(void)
{
	void *mem = map_anon(MEM_SIZE);
	int i;

	for (i = 0; mem && i < NR_PAGES; i++)
		fill_pattern(mem + i * PAGE, PAGE, i);
	return mem;
}

FIXTURE(mdpin)
{
	struct way way;
	int device;
	void *mem;
};

/*
 * @container: see open_way()
 * @iommufd: the memory is mapped in an IOAS
 * @absent: errno where nothing is mapped
 * @pinned: field of /proc/self/status that counts pinned pages
 */
FIXTURE_VARIANT(mdpin)
{
	const char *container;
	bool iommufd;
	int absent;
	const char *pinned;
};

FIXTURE_VARIANT_ADD(mdpin, group)
{
	.container = "/dev/vfio/vfio",
	.absent = EINVAL,
	.pinned = "VmLck",
};

FIXTURE_VARIANT_ADD(mdpin, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
	.absent = ENOENT,
	.pinned = "VmPin",
};

FIXTURE_VARIANT_ADD(mdpin, cdev)
{
	.iommufd = true,
	.absent = ENOENT,
	.pinned = "VmPin",
};

FIXTURE_SETUP(mdpin)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, open_way(&self->way, variant->container, "mdpin",
			      "unmap"));
	self->device = self->way.device;
	self->mem = map_patterns();
	ASSERT_NE(NULL, self->mem);
}

FIXTURE_TEARDOWN(mdpin)
{
	EXPECT_EQ(0, close_way(&self->way));
}

#define MAP(_va, _length, _iova, _flags)                                       \
	map_way(&self->way, _va, _length, _iova, _flags)
#define MAP_ALL() MAP(self->mem, MEM_SIZE, IOVA, MAP_RW)
#define UNMAP_ALL() unmap_way(&self->way, IOVA, MEM_SIZE)

/* Number of pages that the process is charged for */
#define CHARGED() (status_kb(variant->pinned) * 1024 / PAGE)

/*
 * A page is charged once, and released when it was unpinned as often as it was
 * pinned
 */
TEST_F(mdpin, pins_are_counted)
{
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_EQ(0, CHARGED());
	ASSERT_EQ(0, PIN(IOVA, 4));
	EXPECT_EQ(4, CHARGED());
	ASSERT_EQ(0, PIN(IOVA + 2 * PAGE, 2));
	EXPECT_EQ(4, CHARGED());
	EXPECT_EQ(6, STATE().pins);

	ASSERT_EQ(0, UNPIN(IOVA, 4));
	EXPECT_EQ(2, CHARGED());
	EXPECT_EQ(2, STATE().pins);
	/*
	 * The ranges differ from those of the pins, and include pages that are
	 * not pinned
	 */
	ASSERT_EQ(0, UNPIN(IOVA + PAGE, 2));
	EXPECT_EQ(1, CHARGED());
	ASSERT_EQ(0, UNPIN(IOVA, NR_PAGES));
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, STATE().unmaps);
}

/* Like gvt: pin single pages in any order, and unpin them in one call */
TEST_F(mdpin, pins_of_one_page_are_unpinned_in_a_block)
{
	int i;

	ASSERT_EQ(0, MAP_ALL());
	for (i = 0; i < NR_PAGES; i++)
		ASSERT_EQ(0, PIN(IOVA + (i * 5) % NR_PAGES * PAGE, 1));
	EXPECT_EQ(NR_PAGES, CHARGED());
	ASSERT_EQ(0, UNPIN(IOVA, NR_PAGES));
	EXPECT_EQ(0, CHARGED());
}

/* Some drivers pass an address that is not page aligned */
TEST_F(mdpin, address_need_not_be_of_a_page)
{
	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, PIN(IOVA + 5 * PAGE + 0x123, 1));
	EXPECT_EQ(1, CHARGED());
	EXPECT_TRUE(holds(self->device, IOVA + 5 * PAGE, 5));
	ASSERT_EQ(0, UNPIN(IOVA + 5 * PAGE + 0x123, 1));
	EXPECT_EQ(0, CHARGED());
}

TEST_F(mdpin, number_of_pages_has_limits)
{
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_ERRNO(EINVAL, PIN(IOVA, 0));
	EXPECT_ERRNO(E2BIG, PIN(IOVA, PAGE / sizeof(long) + 1));
	EXPECT_EQ(0, CHARGED());
}

/* The part that can't be pinned is at the end, so there is something to undo */
TEST_F(mdpin, pin_of_too_much_pins_nothing)
{
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_ERRNO(variant->absent, PIN(NOWHERE, 1));
	EXPECT_ERRNO(variant->absent, PIN(IOVA, NR_PAGES + 1));
	EXPECT_EQ(0, CHARGED());
	/* Memory that the process has unmapped */
	ASSERT_EQ(0, munmap(self->mem + 8 * PAGE, PAGE));
	EXPECT_ERRNO(EFAULT, PIN(IOVA, NR_PAGES));
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, PIN(IOVA, 8));
	EXPECT_EQ(8, CHARGED());
}

/* Writing needs a writable mapping (trap D5) */
TEST_F(mdpin, pin_to_write_needs_permission)
{
	ASSERT_EQ(0, MAP(self->mem, 4 * PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, MAP(self->mem, 4 * PAGE, IOVA + 4 * PAGE,
			 IOMMU_IOAS_MAP_READABLE));
	EXPECT_ERRNO(EPERM, PIN_WRITE(IOVA + 4 * PAGE, 1));
	EXPECT_ERRNO(EPERM, PIN_WRITE(IOVA, 8));
	/* The driver asks for reading, too */
	ASSERT_EQ(0, MAP(self->mem, PAGE, OTHER, IOMMU_IOAS_MAP_WRITEABLE));
	EXPECT_ERRNO(EPERM, PIN(OTHER, 1));
	EXPECT_ERRNO(EPERM, PIN_WRITE(OTHER, 1));
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, PIN_WRITE(IOVA, 4));
	EXPECT_EQ(0, PIN(IOVA + 4 * PAGE, 4));
}

/* A pin is no copy, and stays when the program maps other memory there */
TEST_F(mdpin, pinned_page_is_the_programs)
{
	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, PIN_WRITE(IOVA + PAGE, 2));
	fill_pattern(self->mem + PAGE, PAGE, 11);
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 11));
	ASSERT_EQ(0, set_data(self->device, 12));
	ASSERT_EQ(0, command(self->device, MDPIN_STORE, 0, IOVA + 2 * PAGE,
			     PAGE));
	EXPECT_TRUE(is_pattern(self->mem + 2 * PAGE, PAGE, 12));

	ASSERT_EQ(self->mem + PAGE,
		  mmap(self->mem + PAGE, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill_pattern(self->mem + PAGE, PAGE, 13);
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 11));
	/* A second pin gets the same page */
	ASSERT_EQ(0, PIN_WRITE(IOVA + PAGE, 1));
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 11));
	/* After the last unpin, a pin gets the program's new page */
	ASSERT_EQ(0, UNPIN(IOVA + PAGE, 1));
	ASSERT_EQ(0, UNPIN(IOVA + PAGE, 1));
	ASSERT_EQ(0, PIN_WRITE(IOVA + PAGE, 1));
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 13));
}

/* Copies of any bytes, by the calling thread and by a kernel thread */
TEST_F(mdpin, copies_any_bytes)
{
	__u32 flags;

	ASSERT_EQ(0, MAP(self->mem, 4 * PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, MAP(self->mem + 4 * PAGE, 4 * PAGE, IOVA + 4 * PAGE,
			 MAP_RW));
	for (flags = 0; flags <= MDPIN_FLAG_WORKER; flags += MDPIN_FLAG_WORKER) {
		/* Across two mappings */
		memset(self->mem, 0, MEM_SIZE);
		fill_pattern(self->mem + 4 * PAGE - 99, 1000, 21);
		ASSERT_EQ(0, DMA_READ(flags, IOVA + 4 * PAGE - 99, 1000));
		EXPECT_TRUE(data_is(self->device, 1000, 21));

		ASSERT_EQ(0, set_data(self->device, 22));
		ASSERT_EQ(0, DMA_WRITE(flags, IOVA + 4 * PAGE - 999, PAGE));
		EXPECT_TRUE(is_pattern(self->mem + 4 * PAGE - 999, PAGE, 22));
		EXPECT_TRUE(is_byte(self->mem, 4 * PAGE - 999, 0));
		EXPECT_TRUE(is_byte(self->mem + 5 * PAGE - 999, 999, 0));
	}
	EXPECT_EQ(0, CHARGED());
}

/* Copies by either thread pin nothing, so a limit does not apply to them */
TEST_F(mdpin, copies_need_no_locked_memory)
{
	__u32 flags;

	ASSERT_EQ(0, limit_memlock(0));
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_ERRNO(ENOMEM, PIN(IOVA, 1));
	for (flags = 0; flags <= MDPIN_FLAG_WORKER; flags += MDPIN_FLAG_WORKER) {
		EXPECT_EQ(0, DMA_READ(flags, IOVA + PAGE, PAGE));
		EXPECT_TRUE(data_is(self->device, PAGE, 1));
		EXPECT_EQ(0, DMA_WRITE(flags, IOVA, PAGE));
		EXPECT_TRUE(is_pattern(self->mem, PAGE, 1));
		fill_pattern(self->mem, PAGE, 0);
	}
}

/* Each error (trap D4) */
TEST_F(mdpin, copy_has_its_errors)
{
	ASSERT_EQ(0, MAP(self->mem, PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, MAP(self->mem, PAGE, IOVA + PAGE,
			 IOMMU_IOAS_MAP_READABLE));
	EXPECT_ERRNO(EINVAL, DMA_READ(0, IOVA, 0));
	EXPECT_ERRNO(variant->absent, DMA_READ(0, NOWHERE, 1));
	EXPECT_ERRNO(variant->absent, DMA_WRITE(0, NOWHERE, 1));
	EXPECT_ERRNO(variant->absent, DMA_READ(0, IOVA + 2 * PAGE - 1, 2));
	EXPECT_ERRNO(EPERM, DMA_WRITE(0, IOVA + PAGE, 1));
	EXPECT_EQ(0, DMA_READ(0, IOVA + PAGE, 1));
	ASSERT_EQ(0, munmap(self->mem, PAGE));
	EXPECT_ERRNO(EFAULT, DMA_READ(0, IOVA, 1));
	EXPECT_ERRNO(EFAULT, DMA_READ(MDPIN_FLAG_WORKER, IOVA, 1));
}

/*
 * A child causes copies, which go to the memory of its parent, who mapped it. A
 * type1 container refuses them.
 */
TEST_F(mdpin, copies_for_another_process)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, set_data(self->device, 31));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(self->mem, 0, MEM_SIZE);
		if (!variant->iommufd)
			_exit(DMA_WRITE(0, IOVA + 50, 2000) != -1 ||
			      errno != EFAULT);
		_exit(DMA_WRITE(0, IOVA + 50, 2000) ||
		      !reads(self->device, IOVA + PAGE, 1) ||
		      !is_byte(self->mem, MEM_SIZE, 0));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	if (variant->iommufd)
		EXPECT_TRUE(is_pattern(self->mem + 50, 2000, 31));
}

/* The same for pins: the process that mapped the memory counts */
TEST_F(mdpin, pins_for_another_process)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, MAP_ALL());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(self->mem, 0, MEM_SIZE);
		_exit(PIN_WRITE(IOVA, 2) || CHARGED());
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, CHARGED());
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 1));
	ASSERT_EQ(0, command(self->device, MDPIN_UNPIN, MDPIN_FLAG_WORKER,
			     IOVA, 2));
	EXPECT_EQ(0, CHARGED());
}

/* A device without pins is not asked */
TEST_F(mdpin, unmap_asks_for_what_is_pinned)
{
	struct mdpin_state state;

	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, MAP(self->mem, PAGE, OTHER, MAP_RW));
	ASSERT_EQ(0, PIN(IOVA + 3 * PAGE, 3));
	/* One page is pinned twice */
	ASSERT_EQ(0, PIN(IOVA + 4 * PAGE, 1));
	EXPECT_EQ(3, CHARGED());
	EXPECT_EQ(0, unmap_way(&self->way, OTHER, PAGE));
	EXPECT_EQ(0, STATE().unmaps);

	EXPECT_EQ(0, UNMAP_ALL());
	state = STATE();
	EXPECT_EQ(1, state.unmaps);
	EXPECT_EQ(0, state.pins);
	/*
	 * A type1 container passes the whole mapping, not only what is pinned
	 */
	EXPECT_EQ(variant->iommufd ? IOVA + 3 * PAGE : IOVA, state.iova);
	EXPECT_EQ(variant->iommufd ? 3 * PAGE : MEM_SIZE, state.length);
	EXPECT_EQ(0, CHARGED());
	EXPECT_ERRNO(variant->absent, PIN(IOVA + 3 * PAGE, 1));
	/* The IOVA range is free */
	EXPECT_EQ(0, MAP_ALL());
}

TEST_F(mdpin, ignored_notice_is_asked_again)
{
	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, PIN(IOVA + PAGE, 1));
	ASSERT_EQ(0, IGNORE(1));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(2, STATE().unmaps);
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(0, CHARGED());
}

/* The driver can unpin, and does, when the device is closed */
TEST_F(mdpin, close_unpins)
{
	int kmsg = kmsg_open();

	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, PIN(IOVA, NR_PAGES));
	EXPECT_EQ(NR_PAGES, CHARGED());
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	EXPECT_FALSE(kmsg_has(kmsg, BLAME));
	close(kmsg);
	self->way.device = -1;
	self->way.legacy.device = -1;
	EXPECT_EQ(0, UNMAP_ALL());
}

/*
 * The device runs until its driver closes it. So before that the kernel neither
 * unpins its pages nor asks for them, even if its user is killed (trap M13).
 */
TEST_F(mdpin, close_asks_for_nothing)
{
	struct mdpin_state before;
	pid_t pid;

	ASSERT_EQ(0, MAP_ALL());
	ASSERT_EQ(0, PIN(IOVA, NR_PAGES));
	before = STATE();
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	ASSERT_EQ(0, reopen_way(&self->way));
	self->device = self->way.device;
	EXPECT_EQ(before.total_unmaps, STATE().total_unmaps);

	ASSERT_EQ(0, PIN(IOVA, NR_PAGES));
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	close(self->device);
	EXPECT_EQ(NR_PAGES, CHARGED());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	EXPECT_EQ(0, CHARGED());
	ASSERT_EQ(0, reopen_way(&self->way));
	self->device = self->way.device;
	EXPECT_EQ(before.total_unmaps, STATE().total_unmaps);

	/*
	 * A pin that the driver forgets is released after the close, except by
	 * type1
	 */
	if (!variant->iommufd)
		return;
	ASSERT_EQ(0, PIN(IOVA, 4));
	ASSERT_EQ(0, FORGET(IOVA, 4));
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	ASSERT_EQ(0, reopen_way(&self->way));
	self->device = self->way.device;
	EXPECT_EQ(before.total_unmaps, STATE().total_unmaps);
	EXPECT_EQ(0, UNMAP_ALL());
}

static void *close_device_of(void *arg)
{
	struct way *w = arg;

	close(w->device);
	w->device = -1;
	w->legacy.device = -1;
	return NULL;
}

/* A device that is being closed is still in use: its removal waits */
TEST_F(mdpin, close_ends_before_a_removal)
{
	struct way *w = &self->way;
	pthread_t thread;
	int status;
	pid_t pid;

	ASSERT_EQ(0, command(self->device, MDPIN_SLEEP, 0, 0, 1000));
	pid = fork();
	if (!pid) {
		/* Also closes the fds that it has inherited */
		_exit(close_way(w) ? 1 : 0);
	}
	usleep(100000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, close_device_of, w));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The close has ended too, or will not for most of a second */
	usleep(200000);
	EXPECT_EQ(-1, w->device);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, mdev_create(&w->dev, "mdpin", "unmap"));
}

/* struct unmapping - an unmap in a thread */
struct unmapping {
	struct way *way;
	__u64 iova;
	int ret;
};

static void *unmap_page(void *arg)
{
	struct unmapping *me = arg;

	me->ret = unmap_way(me->way, me->iova, PAGE);
	return NULL;
}

/*
 * The device is not closed before its driver returns from a notice; otherwise
 * mdpin warns. type1 waits for ever for a driver that forgets a pin.
 */
TEST_F(mdpin, close_waits_for_a_notice)
{
	struct unmapping unmapping = { &self->way, IOVA, -1 };
	int kmsg = kmsg_open();
	pthread_t thread;

	if (!variant->iommufd)
		return;
	ASSERT_EQ(0, MAP(self->mem, PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, PIN(IOVA, 1));
	ASSERT_EQ(0, FORGET(IOVA, 1));
	ASSERT_EQ(0, command(self->device, MDPIN_SLEEP, 0, 0, 300));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_page, &unmapping));
	usleep(100000);
	close(self->device);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, unmapping.ret);
	EXPECT_EQ(0, CHARGED());
	EXPECT_FALSE(kmsg_has(kmsg, "mdpin_dma_unmap"));
	close(kmsg);
	self->way.device = -1;
	self->way.legacy.device = -1;
}

/* The driver gets one notice at a time, whoever unmaps */
TEST_F(mdpin, notices_come_one_by_one)
{
	struct unmapping unmapping[2] = {
		{ &self->way, IOVA, -1 }, { &self->way, OTHER, -1 },
	};
	struct timespec start, end;
	pthread_t threads[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, MAP(self->mem, PAGE, unmapping[i].iova, MAP_RW));
		ASSERT_EQ(0, PIN(unmapping[i].iova, 1));
	}
	ASSERT_EQ(0, command(self->device, MDPIN_SLEEP, 0, 0, 500));
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, unmap_page,
					    &unmapping[i]));
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, unmapping[i].ret);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_LE(1000, (end.tv_sec - start.tv_sec) * 1000 +
			(end.tv_nsec - start.tv_nsec) / 1000000);
	EXPECT_EQ(2, STATE().unmaps);
	EXPECT_EQ(0, CHARGED());
}

struct opening {
	struct way *way;
	int device;
	atomic_bool done;
};

static void *open_by_group(void *arg)
{
	struct opening *me = arg;

	me->device = ioctl(me->way->legacy.group, VFIO_GROUP_GET_DEVICE_FD,
			   me->way->dev.bdf);
	me->done = true;
	return NULL;
}

/* A second open, which comes while the first attaches the device, succeeds too */
TEST_F(mdpin, opened_twice_at_once)
{
	struct way *w = &self->way;
	int i;

	if (!variant->container)
		return;
	for (i = 0; i < 5; i++) {
		struct opening first = { w }, second = { w };
		pthread_t thread;

		close(self->device);
		ASSERT_EQ(0, mock_begin_delayed("iommufd_hwpt_align 20000",
						open_by_group, &first,
						&first.done, &thread));
		open_by_group(&second);
		mock_end(thread);
		EXPECT_LE(0, first.device);
		EXPECT_LE(0, second.device);
		close(second.device);
		self->device = first.device;
		w->device = first.device;
		w->legacy.device = first.device;
	}
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_EQ(0, PIN(IOVA, 1));
	EXPECT_EQ(0, UNPIN(IOVA, 1));
	EXPECT_EQ(0, UNMAP_ALL());
}

/*
 * The driver fails to open the device, which has its access by then. The access
 * is destroyed, and the device can be opened later, through cdev or group.
 */
TEST_F(mdpin, open_that_fails_is_undone)
{
	struct way *w = &self->way;
	int i, iommufd = variant->container ? w->legacy.container : w->iommufd;
	__u32 id, ioas = w->ioas;
	long users;

	ASSERT_FALSE(variant->container && variant->iommufd &&
		     vfio_ioas(iommufd, IOMMU_VFIO_IOAS_GET, &ioas));
	close(self->device);
	users = module_users("mdpin");
	ASSERT_EQ(0, mdpin_fail_open(ENOSPC));
	for (i = 0; i < 3; i++) {
		EXPECT_ERRNO(ENOSPC, reopen_way(w));
		if (!variant->container)
			close(w->device);
	}
	ASSERT_EQ(0, mdpin_fail_open(0));
	EXPECT_EQ(users, module_users("mdpin"));
	/* The iommufd has no objects but the IOAS */
	for (id = 1; variant->iommufd && id < 10; id++) {
		if (id == ioas)
			continue;
		EXPECT_ERRNO(ENOENT, iommufd_destroy(iommufd, id));
	}
	if (!variant->container) {
		struct legacy l;

		/* It can also be opened through its group */
		EXPECT_EQ(0, legacy_open_in(&l, &w->dev, "/dev/iommu"));
		EXPECT_EQ(0, legacy_map(l.container, self->mem, PAGE, IOVA,
					VFIO_DMA_MAP_FLAG_READ));
		EXPECT_EQ(0, command(l.device, MDPIN_PIN, 0, IOVA, 1));
		legacy_close(&l);
	}
	ASSERT_EQ(0, reopen_way(w));
	self->device = w->device;
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_EQ(0, PIN(IOVA, 1));
	EXPECT_TRUE(holds(self->device, IOVA, 0));
}

/* Otherwise it would keep pages that are no longer mapped (trap D6) */
TEST_F(mdpin, who_can_not_be_asked_can_not_pin)
{
	ASSERT_EQ(0, close_way(&self->way));
	ASSERT_EQ(0, open_way(&self->way, variant->container, "mdpin",
			      "nounmap"));
	self->device = self->way.device;
	ASSERT_EQ(0, MAP_ALL());
	EXPECT_ERRNO(EINVAL, PIN(IOVA, 1));
	EXPECT_EQ(0, CHARGED());
	EXPECT_TRUE(reads(self->device, IOVA + PAGE, 1));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_ERRNO(variant->absent, DMA_READ(0, IOVA, 1));
}

/* What is missing for a device without an IOMMU, or NULL */
static const char *lacks_noiommu(void)
{
	if (!has_cdevs())
		return "no cdevs";
	/* noiommu: DMA is not translated */
	if (access("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
		   F_OK))
		return "the kernel has no VFIO_NOIOMMU";
	return NULL;
}

/* Give the group of a new device without an IOMMU an iommufd */
static int open_noiommu(struct legacy *l, struct pci_dev *dev)
{
	char path[64];

	l->device = -1;
	if (mdev_create(dev, "mdpin", "physical"))
		return -1;
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%d", dev->group);
	l->group = open(path, O_RDWR | O_CLOEXEC);
	l->container = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return ioctl(l->group, VFIO_GROUP_SET_CONTAINER, &l->container);
}

/*
 * A driver of a physical device that calls vfio_pin_pages() or vfio_dma_rw()
 * gets an error. A device without an IOMMU stands for all of them; it gets none
 * through an iommufd as the container either.
 */
TEST(physical_device_reaches_no_memory)
{
	const char *missing = lacks_noiommu();
	struct pci_dev dev;
	struct legacy l;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, open_noiommu(&l, &dev));
	ASSERT_EQ(0, ioctl(l.container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
	l.device = ioctl(l.group, VFIO_GROUP_GET_DEVICE_FD, dev.bdf);
	ASSERT_LE(0, l.device);
	EXPECT_ERRNO(EINVAL, command(l.device, MDPIN_PIN, 0, IOVA, 1));
	EXPECT_EQ(0, command(l.device, MDPIN_UNPIN, 0, IOVA, 1));
	EXPECT_ERRNO(EINVAL, command(l.device, MDPIN_READ, 0, IOVA, 1));
	EXPECT_ERRNO(EINVAL, command(l.device, MDPIN_WRITE, 0, IOVA, 1));
	legacy_close(&l);
	EXPECT_EQ(0, mdev_remove(&dev));
}

/*
 * An iommufd that such a group has can't be the container of a group whose
 * device reaches memory, and gets no IOAS (trap I7)
 */
TEST(emulated_device_does_not_mix_with_noiommu)
{
	const char *missing = lacks_noiommu();
	struct pci_dev dev, emulated;
	struct legacy l;
	__u32 ioas = 0;
	int group;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, mdev_create(&emulated, "mdpin", "unmap"));
	ASSERT_EQ(0, open_noiommu(&l, &dev));
	group = open_group(&emulated);
	ASSERT_LE(0, group);
	EXPECT_ERRNO(EINVAL, ioctl(group, VFIO_GROUP_SET_CONTAINER,
				   &l.container));
	EXPECT_ERRNO(ENODEV, vfio_ioas(l.container, IOMMU_VFIO_IOAS_GET, &ioas));
	EXPECT_EQ(0, ioas_alloc(l.container, &ioas));
	EXPECT_EQ(1, ioas);
	close(group);
	legacy_close(&l);
	EXPECT_EQ(0, mdev_remove(&emulated));
	EXPECT_EQ(0, mdev_remove(&dev));
}

/* Through the cdev only */

FIXTURE(cdev)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	__u32 id;
	__u32 ioas;
	void *mem;
};

#undef MAP
#undef CHARGED

#define ATTACH(_id) attach_pt(self->device, _id, NULL)
#define DETACH() detach_pt(self->device)
#define MAP(_va, _length, _iova)                                               \
	ioas_map(self->iommufd, self->ioas, _va, _length, _iova, MAP_RW)
#define UNMAP(_iova, _length)                                                  \
	ioas_unmap(self->iommufd, self->ioas, _iova, _length)
#define CHARGED() (status_kb("VmPin") * 1024 / PAGE)

FIXTURE_SETUP(cdev)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	self->device = open_cdev(&self->dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->id));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	self->mem = map_patterns();
	ASSERT_NE(NULL, self->mem);
	ASSERT_EQ(0, MAP(self->mem, MEM_SIZE, IOVA));
}

FIXTURE_TEARDOWN(cdev)
{
	close(self->device);
	close(self->iommufd);
	EXPECT_EQ(0, mdev_remove(&self->dev));
}

/* A second IOAS, which has page 1 of the memory at IOVA */
static int make_other(int iommufd, void *mem, __u32 *ioas)
{
	if (ioas_alloc(iommufd, ioas))
		return -1;
	return ioas_map(iommufd, *ioas, mem + PAGE, PAGE, IOVA, MAP_RW);
}

TEST_F(cdev, comes_and_goes_with_the_device)
{
	char path[64];

	ASSERT_EQ(0, vfio_cdev_path(&self->dev, path, sizeof(path)));
	EXPECT_EQ(0, access(path, F_OK));
	close(self->device);
	ASSERT_EQ(0, mdev_remove(&self->dev));
	EXPECT_ERRNO(ENOENT, access(path, F_OK));
	ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	self->device = open_cdev(&self->dev);
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
}

TEST_F(cdev, excludes_the_group_and_other_files)
{
	int other = open_cdev(&self->dev);

	ASSERT_LE(0, other);
	EXPECT_ERRNO(EINVAL, bind_iommufd(other, self->iommufd, NULL));
	EXPECT_ERRNO(EINVAL, command(other, MDPIN_IGNORE, 0, 0, 0));
	EXPECT_ERRNO(EBUSY, open_group(&self->dev));
	close(self->device);
	self->device = open_group(&self->dev);
	ASSERT_LE(0, self->device);
	EXPECT_ERRNO(EBUSY, bind_iommufd(other, self->iommufd, NULL));
	close(self->device);
	self->device = other;
	EXPECT_EQ(0, bind_iommufd(other, self->iommufd, NULL));
}

/*
 * The device has an id, but not one that accepts requests for DMA translation
 */
TEST_F(cdev, id_is_an_access)
{
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = self->id,
	};
	__u32 hwpt;

	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, self->id));
	EXPECT_ERRNO(ENOENT, ioctl(self->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_ERRNO(ENOENT, hwpt_alloc(self->iommufd, self->id, self->ioas,
					&hwpt));
	close(self->device);
	EXPECT_ERRNO(ENOENT, iommufd_destroy(self->iommufd, self->id));
	self->device = -1;
}

TEST_F(cdev, attach_gives_the_ioas_back)
{
	__u32 id = 0;

	EXPECT_EQ(0, attach_pt(self->device, self->ioas, &id));
	EXPECT_EQ(self->ioas, id);
	EXPECT_TRUE(reads(self->device, IOVA, 0));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, self->ioas));
}

TEST_F(cdev, attach_has_its_errors)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach) - 1,
		.pt_id = self->ioas,
	};
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
		.flags = 1,
	};

	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   &attach));
	attach.argsz = sizeof(attach);
	attach.flags = 2;
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   &attach));
	EXPECT_ERRNO(EINVAL, ioctl(self->device, VFIO_DEVICE_DETACH_IOMMUFD_PT,
				   &detach));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
}

TEST_F(cdev, nothing_is_reached_before_attach)
{
	EXPECT_ERRNO(ENOENT, PIN(IOVA, 1));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
	EXPECT_ERRNO(ENOENT, DMA_WRITE(MDPIN_FLAG_WORKER, IOVA, 1));
	EXPECT_EQ(0, UNPIN(IOVA, 1));
	EXPECT_EQ(0, DETACH());
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, STATE().unmaps);
}

TEST_F(cdev, nothing_is_reached_after_detach)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_TRUE(reads(self->device, IOVA, 0));
	ASSERT_EQ(0, PIN(IOVA, 3));
	EXPECT_EQ(0, DETACH());
	EXPECT_EQ(1, STATE().unmaps);
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(0, CHARGED());
	EXPECT_ERRNO(ENOENT, PIN(IOVA, 1));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
	EXPECT_EQ(0, DETACH());
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

/* The next user starts with a device that is not attached (trap D8) */
TEST_F(cdev, bind_after_close_is_not_attached)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA, 1));
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	self->device = open_cdev(&self->dev);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	EXPECT_EQ(0, DETACH());
	EXPECT_ERRNO(ENOENT, PIN(IOVA, 1));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_TRUE(reads(self->device, IOVA, 0));
	EXPECT_EQ(0, PIN(IOVA, 1));
}

TEST_F(cdev, second_attach_moves)
{
	__u32 other;

	ASSERT_EQ(0, make_other(self->iommufd, self->mem, &other));
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA + 2 * PAGE, 2));
	EXPECT_EQ(2, CHARGED());
	ASSERT_EQ(0, ATTACH(other));
	EXPECT_EQ(1, STATE().unmaps);
	EXPECT_EQ(IOVA + 2 * PAGE, STATE().iova);
	EXPECT_EQ(2 * PAGE, STATE().length);
	EXPECT_EQ(0, CHARGED());
	EXPECT_TRUE(reads(self->device, IOVA, 1));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA + PAGE, 1));
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, other));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

TEST_F(cdev, attach_to_the_same_changes_nothing)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA, 1));
	EXPECT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(0, STATE().unmaps);
	EXPECT_EQ(1, CHARGED());
	EXPECT_EQ(0, DETACH());
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));
}

/* Only whole pages can be pinned */
TEST_F(cdev, attach_raises_the_alignment)
{
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(PAGE, iova_alignment(self->iommufd, self->ioas));
	EXPECT_ERRNO(EINVAL, MAP(self->mem, PAGE / 2, OTHER));
	ASSERT_EQ(0, DETACH());
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
	EXPECT_EQ(0, MAP(self->mem, PAGE / 2, OTHER));
}

/* Later moves, and the close, find the device where it was (trap D1) */
TEST_F(cdev, attach_to_parts_of_pages_is_EADDRINUSE)
{
	__u32 other;

	ASSERT_EQ(0, make_other(self->iommufd, self->mem, &other));
	ASSERT_EQ(0, ioas_map(self->iommufd, other, self->mem, PAGE / 2, OTHER,
			      MAP_RW));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(other));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA, 1));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(other));
	EXPECT_TRUE(reads(self->device, IOVA, 0));
	EXPECT_EQ(0, STATE().unmaps);
	EXPECT_EQ(1, CHARGED());
	EXPECT_EQ(1, iova_alignment(self->iommufd, other));
	EXPECT_EQ(0, ioas_unmap(self->iommufd, other, OTHER, PAGE / 2));
	EXPECT_EQ(0, ATTACH(other));
	EXPECT_TRUE(reads(self->device, IOVA, 1));
	EXPECT_EQ(0, CHARGED());
}

/* Only a driver that can pin needs whole pages */
TEST_F(cdev, driver_that_can_not_pin_takes_parts_of_pages)
{
	struct pci_dev dev;
	int device;

	ASSERT_EQ(0, mdev_create(&dev, "mdpin", "nounmap"));
	device = open_cdev(&dev);
	ASSERT_EQ(0, bind_iommufd(device, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(device, self->ioas, NULL));
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));
	EXPECT_EQ(0, MAP(self->mem, PAGE / 2, OTHER));
	EXPECT_ERRNO(EADDRINUSE, ATTACH(self->ioas));
	close(device);
	EXPECT_EQ(0, mdev_remove(&dev));
}

/* If the answer can't be written, the attach is undone */
TEST_F(cdev, attach_without_an_answer_is_undone)
{
	struct vfio_device_attach_iommufd_pt *attach = map_anon(PAGE);
	__u32 other;

	ASSERT_NE(NULL, attach);
	attach->argsz = sizeof(*attach);
	attach->pt_id = self->ioas;
	ASSERT_EQ(0, mprotect(attach, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
	EXPECT_EQ(1, iova_alignment(self->iommufd, self->ioas));

	ASSERT_EQ(0, make_other(self->iommufd, self->mem, &other));
	ASSERT_EQ(0, ATTACH(other));
	ASSERT_EQ(0, PIN(IOVA, 1));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_TRUE(reads(self->device, IOVA, 1));
	EXPECT_EQ(0, STATE().unmaps);
	EXPECT_EQ(1, CHARGED());
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, self->ioas));

	/* To the IOAS that it has: it still uses that */
	ASSERT_EQ(0, mprotect(attach, PAGE, PROT_READ | PROT_WRITE));
	attach->pt_id = other;
	ASSERT_EQ(0, mprotect(attach, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				   attach));
	EXPECT_EQ(1, CHARGED());
	EXPECT_ERRNO(EBUSY, iommufd_destroy(self->iommufd, other));
	EXPECT_EQ(PAGE, iova_alignment(self->iommufd, other));
}

/* The kernel asks for each run, the lowest first, and not for other pages */
TEST_F(cdev, each_run_is_asked_for)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP(self->mem, PAGE, IOVA + MEM_SIZE));
	ASSERT_EQ(0, PIN(IOVA + 9 * PAGE, 1));
	ASSERT_EQ(0, PIN(IOVA + 3 * PAGE, 2));
	/* The last page, and the first one of the next mapping */
	ASSERT_EQ(0, PIN(IOVA + 15 * PAGE, 2));
	ASSERT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	EXPECT_EQ(3, STATE().unmaps);
	EXPECT_EQ(IOVA + 15 * PAGE, STATE().iova);
	EXPECT_EQ(PAGE, STATE().length);
	EXPECT_EQ(1, STATE().pins);
	EXPECT_EQ(1, CHARGED());
	EXPECT_TRUE(holds(self->device, IOVA + 16 * PAGE, 0));
}

/*
 * A long run is asked for in pieces, since others wait while pages are counted
 */
TEST_F(cdev, long_run_is_asked_for_in_pieces)
{
	const unsigned int nr = 1000;
	void *mem = map_anon(nr * PAGE);
	unsigned int i;

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, MAP(mem, nr * PAGE, 2 * IOVA));
	for (i = 0; i < nr; i += 200)
		ASSERT_EQ(0, PIN(2 * IOVA + i * PAGE, 200));
	ASSERT_EQ(0, UNMAP(2 * IOVA, nr * PAGE));
	EXPECT_EQ(2, STATE().unmaps);
	EXPECT_EQ(2 * IOVA + 512 * PAGE, STATE().iova);
	EXPECT_EQ((nr - 512) * PAGE, STATE().length);
	EXPECT_EQ(0, STATE().pins);
}

/* After the failed unmap everything works as before */
TEST_F(cdev, unmap_of_what_is_kept_is_EDEADLOCK)
{
	int kmsg = kmsg_open();

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA + PAGE, 2));
	ASSERT_EQ(0, IGNORE(FOREVER));
	EXPECT_ERRNO(EDEADLOCK, UNMAP(IOVA, MEM_SIZE));
	EXPECT_TRUE(kmsg_has(kmsg, "iommufd: a driver did not unpin a range"));
	close(kmsg);
	EXPECT_GT(1000, STATE().unmaps);
	EXPECT_EQ(2, STATE().pins);
	EXPECT_EQ(2, CHARGED());
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 1));
	EXPECT_TRUE(reads(self->device, IOVA + 3 * PAGE, 3));
	EXPECT_ERRNO(EEXIST, MAP(self->mem, PAGE, IOVA));
	EXPECT_EQ(0, PIN(IOVA, NR_PAGES));

	ASSERT_EQ(0, IGNORE(0));
	EXPECT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(0, CHARGED());
}

/*
 * A driver that ignores 99 notices in a row is asked once more, before an UNMAP
 * and before a DETACH
 */
TEST_F(cdev, kept_pages_are_asked_for_100_times)
{
	int i;

	ASSERT_EQ(0, ATTACH(self->ioas));
	for (i = 1; i <= 2; i++) {
		ASSERT_EQ(0, PIN(IOVA + PAGE, 2));
		ASSERT_EQ(0, IGNORE(99));
		EXPECT_EQ(0, i == 1 ? UNMAP(IOVA, MEM_SIZE) : DETACH());
		EXPECT_EQ(i * 100, STATE().unmaps);
		EXPECT_EQ(0, STATE().pins);
		EXPECT_EQ(0, CHARGED());
		if (i == 1)
			ASSERT_EQ(0, MAP(self->mem, MEM_SIZE, IOVA));
	}
}

/* DETACH can't fail: the kernel unpins what the driver keeps */
TEST_F(cdev, detach_of_what_is_kept_ends)
{
	int kmsg = kmsg_open();

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA + PAGE, 2));
	ASSERT_EQ(0, FORGET(IOVA + PAGE, 2));
	EXPECT_EQ(2, CHARGED());
	EXPECT_EQ(0, DETACH());
	EXPECT_TRUE(kmsg_has(kmsg, BLAME));
	EXPECT_LT(1, STATE().unmaps);
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	close(kmsg);
}

TEST_F(cdev, forgotten_pin_ends_with_the_device)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA + PAGE, 4));
	ASSERT_EQ(0, FORGET(IOVA + 2 * PAGE, 1));
	EXPECT_ERRNO(EDEADLOCK, UNMAP(IOVA, MEM_SIZE));
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(1, CHARGED());
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	EXPECT_EQ(0, UNMAP(IOVA, MEM_SIZE));

	self->device = open_cdev(&self->dev);
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	EXPECT_EQ(0, ATTACH(self->ioas));
}

/* Also if the iommufd is closed first, with the memory still mapped */
TEST_F(cdev, last_close_unpins)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA, 4));
	ASSERT_EQ(0, FORGET(IOVA, 1));
	close(self->iommufd);
	EXPECT_EQ(4, CHARGED());
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 1));
	close(self->device);
	EXPECT_EQ(0, CHARGED());
	self->iommufd = -1;
	self->device = -1;
}

/* A worker borrows the memory of the process that mapped it, and does not keep it */
TEST_F(cdev, worker_keeps_no_process)
{
	int pipes[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid) {
		if (MAP(self->mem + PAGE, PAGE, OTHER) ||
		    write(pipes[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(pipes[1]);
	ASSERT_EQ(1, read(pipes[0], &byte, 1));
	ASSERT_EQ(0, set_data(self->device, 2));
	EXPECT_EQ(0, DMA_READ(MDPIN_FLAG_WORKER, OTHER, PAGE));
	EXPECT_TRUE(data_is(self->device, PAGE, 1));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_ERRNO(EFAULT, DMA_READ(MDPIN_FLAG_WORKER, OTHER, 1));
	EXPECT_ERRNO(EFAULT, DMA_WRITE(MDPIN_FLAG_WORKER, OTHER, 1));
	EXPECT_ERRNO(EFAULT, DMA_READ(0, OTHER, 1));
	close(pipes[0]);
}

/* Two devices in one IOAS: each is asked for its own pins */
TEST_F(cdev, each_device_is_asked_for_its_own)
{
	struct pci_dev dev;
	int other;

	ASSERT_EQ(0, mdev_create(&dev, "mdpin", "unmap"));
	other = open_cdev(&dev);
	ASSERT_EQ(0, bind_iommufd(other, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(other, self->ioas, NULL));
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN(IOVA, 4));
	ASSERT_EQ(0, command(other, MDPIN_PIN, 0, IOVA + 2 * PAGE, 4));
	/* A page that both have pinned is charged once */
	EXPECT_EQ(6, CHARGED());
	ASSERT_EQ(0, UNPIN(IOVA, 3));
	EXPECT_EQ(4, CHARGED());
	EXPECT_TRUE(holds(other, IOVA + 2 * PAGE, 2));
	ASSERT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	EXPECT_EQ(1, STATE().unmaps);
	EXPECT_EQ(IOVA + 3 * PAGE, STATE().iova);
	EXPECT_EQ(PAGE, STATE().length);
	EXPECT_EQ(1, state_of(other).unmaps);
	EXPECT_EQ(IOVA + 2 * PAGE, state_of(other).iova);
	EXPECT_EQ(4 * PAGE, state_of(other).length);
	EXPECT_EQ(0, CHARGED());
	close(other);
	EXPECT_EQ(0, mdev_remove(&dev));
}

/* Together with a device that does DMA, in the same IOAS */

FIXTURE(shared)
{
	struct pci_dev dev, edu_dev;
	int device, edu_device;
	int iommufd;
	__u32 id, edu_id;
	__u32 ioas;
	__u32 hwpt;
	struct edu edu;
	void *mem;
};

FIXTURE_SETUP(shared)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	if (find_edu_alone(&self->edu_dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->edu_dev));
	ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	self->device = open_cdev(&self->dev);
	self->edu_device = open_cdev(&self->edu_dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, &self->id));
	ASSERT_EQ(0, bind_iommufd(self->edu_device, self->iommufd,
				  &self->edu_id));
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
	ASSERT_EQ(0, attach_pt(self->edu_device, self->ioas, &self->hwpt));
	ASSERT_EQ(0, edu_open(&self->edu, self->edu_device));
	self->mem = map_patterns();
	ASSERT_NE(NULL, self->mem);
	ASSERT_EQ(0, MAP(self->mem, MEM_SIZE, IOVA));
}

FIXTURE_TEARDOWN(shared)
{
	edu_close(&self->edu);
	close(self->edu_device);
	close(self->device);
	close(self->iommufd);
	EXPECT_EQ(0, mdev_remove(&self->dev));
}

/* An id of another object is refused, without side effects (trap D10) */
TEST_F(shared, only_an_ioas_can_be_attached)
{
	bool late = iommu_of(&self->edu_dev)->reach_is_late;
	__u32 own, not[6];
	int i, round;

	if (late)
		ASSERT_EQ(0, detach_pt(self->edu_device));
	ASSERT_EQ(0, hwpt_alloc(self->iommufd, self->edu_id, self->ioas, &own));
	if (late)
		ASSERT_EQ(0, attach_pt(self->edu_device, self->ioas,
				       &self->hwpt));
	not[0] = own;
	not[1] = self->hwpt;
	not[2] = self->edu_id;
	not[3] = self->id;
	not[4] = 0;
	not[5] = 1000;
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 6; i++)
			EXPECT_ERRNO(ENOENT, ATTACH(not[i]));
		if (!round) {
			EXPECT_ERRNO(ENOENT, DMA_READ(0, IOVA, 1));
			ASSERT_EQ(0, ATTACH(self->ioas));
			ASSERT_EQ(0, PIN(IOVA, 1));
		}
	}
	EXPECT_EQ(0, STATE().unmaps);
	EXPECT_TRUE(reads(self->device, IOVA, 0));
}

/* Each sees what the other has written, and the memory is charged once */
TEST_F(shared, pinned_page_is_what_a_device_sees)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	EXPECT_EQ(NR_PAGES, CHARGED());
	ASSERT_EQ(0, PIN_WRITE(IOVA, 2));
	EXPECT_EQ(NR_PAGES, CHARGED());

	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + 7 * PAGE, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA, EDU_MAX));
	ASSERT_EQ(0, command(self->device, MDPIN_LOAD, 0, IOVA, PAGE));
	EXPECT_TRUE(data_is(self->device, EDU_MAX, 7));

	ASSERT_EQ(0, set_data(self->device, 41));
	ASSERT_EQ(0, command(self->device, MDPIN_STORE, 0, IOVA + PAGE, PAGE));
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA + PAGE, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 2 * PAGE, EDU_MAX));
	EXPECT_TRUE(is_pattern(self->mem + 2 * PAGE, EDU_MAX, 41));
	EXPECT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	EXPECT_EQ(0, CHARGED());
}

/*
 * The program has mapped another page there: a pin still gets the one that
 * devices see
 */
TEST_F(shared, pinned_page_is_what_a_device_sees_after_remap)
{
	ASSERT_EQ(self->mem, mmap(self->mem, MEM_SIZE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0));
	memset(self->mem, 0, MEM_SIZE);
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN_WRITE(IOVA, 3));
	EXPECT_TRUE(holds(self->device, IOVA + PAGE, 1));

	ASSERT_EQ(0, set_data(self->device, 42));
	ASSERT_EQ(0, command(self->device, MDPIN_STORE, 0, IOVA, PAGE));
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 2 * PAGE, EDU_MAX));
	ASSERT_EQ(0, command(self->device, MDPIN_LOAD, 0, IOVA + 2 * PAGE,
			     PAGE));
	EXPECT_TRUE(data_is(self->device, EDU_MAX, 42));
	EXPECT_TRUE(is_byte(self->mem, MEM_SIZE, 0));
}

/* A pinned page stays while devices come and go (trap A3) */
TEST_F(shared, pinned_page_stays_when_devices_leave)
{
	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, PIN_WRITE(IOVA + 5 * PAGE, 3));
	ASSERT_EQ(0, detach_pt(self->edu_device));
	EXPECT_EQ(3, CHARGED());
	ASSERT_EQ(self->mem, mmap(self->mem, MEM_SIZE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0));
	fill_pattern(self->mem, PAGE, 51);
	EXPECT_TRUE(holds(self->device, IOVA + 6 * PAGE, 6));

	ASSERT_EQ(0, attach_pt(self->edu_device, self->ioas, NULL));
	EXPECT_EQ(NR_PAGES, CHARGED());
	ASSERT_EQ(0, edu_dma_from_ram(&self->edu, IOVA, EDU_MAX));
	ASSERT_EQ(0, edu_dma_to_ram(&self->edu, IOVA + 5 * PAGE, EDU_MAX));
	ASSERT_EQ(0, command(self->device, MDPIN_LOAD, 0, IOVA + 5 * PAGE,
			     PAGE));
	EXPECT_TRUE(data_is(self->device, EDU_MAX, 51));
	ASSERT_EQ(0, UNPIN(IOVA + 5 * PAGE, 3));
	EXPECT_EQ(NR_PAGES, CHARGED());
	ASSERT_EQ(0, detach_pt(self->edu_device));
	EXPECT_EQ(0, CHARGED());
}

/* Do pins and copies of this page fail, by either thread? */
static bool is_out_of_reach(int device, __u64 iova)
{
	__u32 flags;

	for (flags = 0; flags <= MDPIN_FLAG_WORKER; flags += MDPIN_FLAG_WORKER)
		if (!command(device, MDPIN_PIN, flags, iova, 1) ||
		    errno != EINVAL ||
		    !command(device, MDPIN_PIN, flags | MDPIN_FLAG_WRITE, iova, 1) ||
		    errno != EINVAL ||
		    !command(device, MDPIN_READ, flags, iova, 4) ||
		    errno != EINVAL ||
		    !command(device, MDPIN_WRITE, flags, iova, 4) ||
		    errno != EINVAL)
			return false;
	return true;
}

/*
 * Drivers can neither pin nor copy registers that a page table has mapped, by
 * address or by dma-buf; those of a dma-buf never (trap N10)
 */
TEST_F(shared, registers_are_EINVAL)
{
	const __u64 by_address = OTHER, by_dma_buf = OTHER + PAGE;
	int device = self->edu_device, dma_buf;

	ASSERT_EQ(0, ATTACH(self->ioas));
	ASSERT_EQ(0, UNMAP(IOVA, MEM_SIZE));
	ASSERT_EQ(0, MAP(self->mem, PAGE, OTHER - PAGE));
	ASSERT_EQ(0, MAP(self->edu.regs, PAGE, by_address));
	dma_buf = dma_buf_of(device, VFIO_PCI_BAR0_REGION_INDEX, 0, PAGE);
	ASSERT_LE(0, dma_buf);
	ASSERT_EQ(0, map_file_at(self->iommufd, self->ioas, MAP_RW, dma_buf, 0,
				 PAGE, by_dma_buf));
	EXPECT_TRUE(is_out_of_reach(self->device, by_address));
	EXPECT_TRUE(is_out_of_reach(self->device, by_dma_buf));
	/* The page before them is unpinned again */
	EXPECT_ERRNO(EINVAL, PIN(OTHER - PAGE, 2));
	EXPECT_ERRNO(EINVAL, DMA_WRITE(0, OTHER - 4, 8));
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(1, CHARGED());

	/* Also while they are revoked */
	ASSERT_EQ(0, change_command(device, 0, PCI_COMMAND_MEMORY));
	EXPECT_TRUE(is_out_of_reach(self->device, by_address));
	EXPECT_TRUE(is_out_of_reach(self->device, by_dma_buf));
	ASSERT_EQ(0, change_command(device, PCI_COMMAND_MEMORY, 0));

	/*
	 * Also without a page table, except copies by address, which use the
	 * address of the process
	 */
	ASSERT_EQ(0, detach_pt(device));
	EXPECT_EQ(0, CHARGED());
	EXPECT_TRUE(is_out_of_reach(self->device, by_dma_buf));
	EXPECT_ERRNO(EINVAL, PIN(by_address, 1));
	EXPECT_ERRNO(EINVAL, PIN_WRITE(by_address, 1));
	EXPECT_EQ(0, DMA_READ(0, by_address, 4));
	EXPECT_EQ(0, DMA_READ(MDPIN_FLAG_WORKER, by_address, 4));
	EXPECT_EQ(0, STATE().pins);
	EXPECT_EQ(0, CHARGED());
	ASSERT_EQ(0, attach_pt(device, self->ioas, NULL));
	EXPECT_EQ(0, UNMAP(by_address, 2 * PAGE));
	EXPECT_EQ(0, STATE().unmaps);
	EXPECT_EQ(1, CHARGED());
	close(dma_buf);
}

/* A UART, whose driver does not access memory */

FIXTURE(mtty)
{
};

FIXTURE_VARIANT(mtty)
{
	const char *container;
	bool iommufd;
};

FIXTURE_VARIANT_ADD(mtty, group)
{
	.container = "/dev/vfio/vfio",
};

FIXTURE_VARIANT_ADD(mtty, group_of_iommufd)
{
	.container = "/dev/iommu",
	.iommufd = true,
};

FIXTURE_VARIANT_ADD(mtty, cdev)
{
	.iommufd = true,
};

FIXTURE_SETUP(mtty)
{
	if (variant->iommufd && !has_cdevs())
		SKIP_TEST("no cdevs");
}

FIXTURE_TEARDOWN(mtty)
{
}

/* Sent bytes come back in order */
static bool loops(int device)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	static const char text[] = "loop";
	char c, status;
	size_t i;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region))
		return false;
	for (i = 0; i < sizeof(text); i++)
		if (pwrite(device, text + i, 1, region.offset + UART_TX) != 1)
			return false;
	for (i = 0; i < sizeof(text); i++) {
		if (pread(device, &status, 1, region.offset + UART_LSR) != 1 ||
		    !(status & UART_LSR_DR) ||
		    pread(device, &c, 1, region.offset + UART_RX) != 1 ||
		    c != text[i])
			return false;
	}
	return pread(device, &status, 1, region.offset + UART_LSR) == 1 &&
	       !(status & UART_LSR_DR);
}

/* Also after the device was closed and removed */
TEST_F(mtty, sends_and_receives)
{
	struct way way;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, open_way(&way, variant->container, "mtty", "1"));
		EXPECT_TRUE(loops(way.device));
		ASSERT_EQ(0, close_way(&way));
	}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Registers of a device are revoked and restored while they are mapped for
 * other devices, unmapped and copied, page tables are made, attached and
 * destroyed, and the device is closed and opened (traps N2 to N6). At the end
 * DMA reaches nothing while they are revoked, and what is mapped after they
 * were restored.
 *
 * If each processor is a thread of QEMU, registers must not move. Of these
 * cases, only low_power also runs there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../iommu/race_util.h"
#include "p2p_util.h"
#include "reset_util.h"
#include "vfio_util.h"

/* IOVA of the BAR during a case, and IOVAs where the threads map it */
#define BASE (64 * SZ_1G)
#define PLACE(_nr) (BASE + (1 + (_nr)) * SZ_1G)

/* Memory that is in the same page table of the IOMMU as the end of BASE */
#define NR_BESIDE 16
#define BESIDE(_storm) (BASE + (_storm)->length)

/*
 * struct kind - how registers are revoked, and of which device
 * @find: finds the target and another device
 * @region: the BAR
 * @is_memory: a transfer can write to it, and WINDOW is mapped; else a page
 * @take: revoke the registers. Without @give they are restored on return, and the
 *	call can fail because they are in use
 * @give: restore the registers
 */
struct kind {
	int (*find)(struct pci_dev *target, struct pci_dev *second);
	__u32 region;
	bool is_memory;
	int (*take)(struct target *target);
	int (*give)(struct target *target);
};

/*
 * struct storm - objects of the threads of a case
 * @dev: a device that reaches the target, one that is only attached and detached,
 *	and one in another context if there is a third
 * @ioas: has @ram, and the BAR at BASE
 * @other: has the same
 * @length: how much of the BAR is mapped
 * @made: a page table of @ioas made by the program
 * @value: value of the first register
 * @taken: the registers are revoked when the threads end
 * @left: IOVA of what a thread leaves mapped, @left_at in the BAR; or 0
 */
struct storm {
	const struct kind *kind;
	size_t length;
	struct target target;
	struct pci_dev dev[3];
	int device[3];
	__u32 id[3];
	int iommufd, elsewhere;
	__u32 ioas, other, ioas_elsewhere;
	__u32 made;
	struct edu edu;
	char *ram;
	__u32 value;
	long pinned;
	bool taken;
	__u64 left;
	size_t left_at;
};

static atomic_int nr_taken, nr_mapped, nr_moved, nr_touched, nr_opened;

/* The next IOVA or seed */
static atomic_uint tickets;

/* Setup */

static int open_target(struct storm *s)
{
	struct target *t = &s->target;

	t->device = open_cdev(&t->dev);
	if (bind_iommufd(t->device, s->iommufd, NULL) ||
	    change_command(t->device, PCI_COMMAND_MEMORY, 0))
		return -1;
	t->at = region_at(t->device, t->region);
	t->bar = map_region(t->device, t->at, t->mapped);
	return t->bar ? 0 : -1;
}

static int open_in(struct storm *s, int i, int iommufd)
{
	if (bind_vfio_pci(&s->dev[i]))
		return -1;
	s->device[i] = open_cdev(&s->dev[i]);
	return bind_iommufd(s->device[i], iommufd, &s->id[i]);
}

/* A third device, in a group of its own */
static int find_elsewhere(struct storm *s)
{
	struct pci_dev beside;
	int i;

	for (i = 0; i < 2; i++) {
		struct pci_dev *dev = &s->dev[2];

		if ((i ? find_edu_neighbours(dev, &beside) :
			 find_edu_pair(dev, &beside)) ||
		    dev->group == s->target.dev.group ||
		    dev->group == s->dev[1].group)
			continue;
		return open_in(s, 2, s->elsewhere);
	}
	s->device[2] = -1;
	return 0;
}

/* Map in an IOAS what the device needs, and the BAR */
static int fill(struct storm *s, __u32 ioas)
{
	return ioas_map(s->iommufd, ioas, s->ram, PAGE, RAM, MAP_RW) ||
	       ioas_map(s->iommufd, ioas, s->target.bar, s->length, BASE,
			MAP_RW);
}

static int storm_open(struct storm *s, const struct kind *kind)
{
	struct target *t = &s->target;

	s->kind = kind;
	s->length = kind->is_memory ? WINDOW : PAGE;
	t->region = kind->region;
	t->mapped = s->length;
	s->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	s->elsewhere = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	s->ram = map_anon(PAGE);
	if (bind_vfio_pci(&t->dev) || open_target(s) ||
	    open_in(s, 0, s->iommufd) || open_in(s, 1, s->iommufd) ||
	    find_elsewhere(s) || edu_open(&s->edu, s->device[0]) ||
	    ioas_alloc(s->iommufd, &s->ioas) ||
	    ioas_alloc(s->iommufd, &s->other) ||
	    ioas_alloc(s->elsewhere, &s->ioas_elsewhere) ||
	    fill(s, s->ioas) || fill(s, s->other) ||
	    attach_pt(s->device[0], s->ioas, NULL))
		return -1;
	if (kind->is_memory)
		memset(t->bar, 0, s->length);
	s->value = get_register(t->bar);
	s->pinned = status_kb("VmPin");
	stop = false;
	wrong = 0;
	nr_taken = 0;
	nr_mapped = 0;
	nr_moved = 0;
	nr_touched = 0;
	nr_opened = 0;
	tickets = 0;
	return 0;
}

static void storm_close(struct storm *s)
{
	int i;

	if (s->target.bar)
		munmap(s->target.bar, s->target.mapped);
	edu_close(&s->edu);
	close(s->target.device);
	for (i = 0; i < 3; i++)
		close(s->device[i]);
	close(s->iommufd);
	close(s->elsewhere);
}

static int find_memory(struct pci_dev *target, struct pci_dev *second)
{
	struct pci_dev beside;

	return find_pci_class(target, "0x050000") ||
	       find_edu_neighbours(second, &beside);
}

static int find_disk(struct pci_dev *target, struct pci_dev *second)
{
	struct pci_dev beside;

	return find_pci_class(target, "0x010802") ||
	       find_edu_neighbours(second, &beside);
}

static int reset_bus(struct target *target)
{
	return hot_reset(target->device);
}

static const struct kind by_decoding = {
	.find = find_memory,
	.region = MEMORY_BAR,
	.is_memory = true,
	.take = take_decoding,
	.give = give_decoding,
};

static const struct kind by_reset = {
	.find = find_disk,
	.take = reset_device,
};

static const struct kind by_hot_reset = {
	.find = find_edu_neighbours,
	.take = reset_bus,
};

static const struct kind by_low_power = {
	.find = find_edu_pair,
	.take = enter_low_power,
	.give = exit_low_power,
};

/* Checks after the threads have ended */

/* Does DMA to the IOVA reach this offset of the BAR? */
static bool is_reached(struct storm *s, __u64 iova, size_t at, unsigned int seed)
{
	if (s->kind->is_memory)
		return does_reach(&s->edu, s->ram, iova - at, &s->target, at,
				  seed);
	return reads_value(&s->edu, s->ram, iova, s->value);
}

/*
 * Does the IOMMU refuse the DMA, not only the target? The kernel limits the
 * rate of fault messages, so try again.
 */
static bool is_refused(struct storm *s, __u64 iova)
{
	int kmsg = kmsg_open(), tries;
	bool reported = !iommu_of(&s->dev[0])->fault;

	for (tries = 0; tries < 20; tries++) {
		if (s->kind->is_memory ?
		    write_to(&s->edu, s->ram, iova, 99) :
		    reads_value(&s->edu, s->ram, iova, s->value)) {
			printf("# note: DMA was done at 0x%llx\n",
			       (unsigned long long)iova);
			fflush(stdout);
			reported = false;
			break;
		}
		if (!reported)
			reported = kmsg_has_fault(kmsg, &s->dev[0], iova);
		if (reported)
			break;
	}
	close(kmsg);
	return reported;
}

static void check_reach(struct storm *s, __u64 iova)
{
	bool gives = s->kind->give;
	int (*take)(struct target *t) = gives ? s->kind->take : take_decoding;
	int (*give)(struct target *t) = gives ? s->kind->give : give_decoding;
	struct target *t = &s->target;

	if (!s->taken)
		CHECK(!take(t));
	CHECK(is_refused(s, iova));
	if (s->left)
		CHECK(is_refused(s, s->left));
	CHECK(!give(t));
	if (s->kind->is_memory)
		CHECK(!is_pattern(t->bar, SHORT, 99));
	CHECK(is_reached(s, iova, 0, 1));
	if (s->left)
		CHECK(is_reached(s, s->left, s->left_at, 2));
	CHECK(!take(t));
	CHECK(is_refused(s, iova));
	CHECK(!give(t));
	CHECK(is_reached(s, iova, 0, 3));
	CHECK(!ioas_unmap(s->iommufd, s->ioas, 0, ~0UL));
	CHECK(!ioas_unmap(s->iommufd, s->other, 0, ~0UL));
	CHECK(!status_kb("VmPin"));
}

/* Threads */

/* Sleep for up to a millisecond, or not at all */
static void pause_for(unsigned int *seed)
{
	if (rand_r(seed) % 2)
		usleep(rand_r(seed) % 1000);
}

static void *take_and_give(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);

	while (!stop) {
		if (s->kind->give) {
			CHECK(!s->kind->take(&s->target));
			pause_for(&seed);
			if (stop) {
				s->taken = true;
				break;
			}
			CHECK(!s->kind->give(&s->target));
		} else if (s->kind->take(&s->target)) {
			CHECK(errno == EBUSY || errno == EAGAIN);
			continue;
		}
		atomic_fetch_add(&nr_taken, 1);
		pause_for(&seed);
	}
	return NULL;
}

/* An offset of a page in the BAR */
static size_t part(struct storm *s, unsigned int *seed)
{
	if (rand_r(seed) % 2)
		return 0;
	return rand_r(seed) % (s->length / PAGE) * PAGE;
}

static void *map_address(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	__u64 iova = PLACE(seed);

	while (!stop) {
		size_t at = part(s, &seed), length = s->length - at;

		CHECK(!ioas_map(s->iommufd, s->ioas, s->target.bar + at, length,
				iova, MAP_RW));
		if (stop) {
			s->left = iova;
			s->left_at = at;
			break;
		}
		CHECK(!ioas_unmap(s->iommufd, s->ioas, iova, length));
		atomic_fetch_add(&nr_mapped, 1);
	}
	return NULL;
}

/*
 * A dma-buf can't be mapped while it is revoked, and can be closed once it is
 * mapped
 */
static void *map_dma_buf(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	__u64 iova = PLACE(seed);

	while (!stop) {
		size_t at = part(s, &seed), length = s->length - at;
		bool early = rand_r(&seed) % 2;
		int fd = dma_buf_of(s->target.device, s->target.region, 0,
				    s->length);
		int ret;

		CHECK(fd >= 0);
		ret = map_file_at(s->iommufd, s->ioas, MAP_RW, fd, at, length,
				  iova);
		CHECK(!ret || errno == ENODEV);
		if (early)
			close(fd);
		if (!ret) {
			CHECK(!ioas_unmap(s->iommufd, s->ioas, iova, length));
			atomic_fetch_add(&nr_mapped, 1);
		}
		if (!early)
			close(fd);
	}
	return NULL;
}

static void *copy_to_other(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	__u64 iova = PLACE(seed);

	while (!stop) {
		size_t at = part(s, &seed), length = s->length - at;
		__u32 to = rand_r(&seed) % 2 ? s->ioas : s->other;

		CHECK(!copy_at(s->iommufd, to, s->ioas, MAP_RW, length, iova,
			       BASE + at));
		CHECK(!ioas_unmap(s->iommufd, to, iova, length));
		atomic_fetch_add(&nr_mapped, 1);
	}
	return NULL;
}

static void *map_memory_beside(void *arg)
{
	struct storm *s = arg;
	char *mem = map_anon(NR_BESIDE * PAGE);

	while (!stop) {
		CHECK(!ioas_map(s->iommufd, s->ioas, mem, NR_BESIDE * PAGE,
				BESIDE(s), MAP_RW));
		CHECK(!ioas_unmap(s->iommufd, s->ioas, BESIDE(s),
				  NR_BESIDE * PAGE));
	}
	munmap(mem, NR_BESIDE * PAGE);
	return NULL;
}

/* Another program, with a device of its own if there is one */
static void *map_elsewhere(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	int fd = s->elsewhere;
	__u32 ioas = s->ioas_elsewhere;

	while (!stop) {
		CHECK(!ioas_map(fd, ioas, s->target.bar, s->length, BASE,
				MAP_RW));
		if (s->device[2] >= 0)
			CHECK(!attach_pt(s->device[2], ioas, NULL));
		pause_for(&seed);
		if (s->device[2] >= 0 && rand_r(&seed) % 2)
			CHECK(!detach_pt(s->device[2]));
		CHECK(!ioas_unmap(fd, ioas, BASE, s->length));
	}
	return NULL;
}

static __thread sigjmp_buf no_register;

static void no_register_there(int sig)
{
	siglongjmp(no_register, 1);
}

/* Can the CPU read this, or does it get SIGBUS? */
static bool touch(const char *p)
{
	if (sigsetjmp(no_register, 1))
		return false;
	get_register(p);
	return true;
}

/*
 * Each revocation zaps the mapping of the CPU too, so this causes page faults.
 * Nothing is mapped or unmapped meanwhile: munmap() and a revocation both hold
 * mmap_lock for reading, and the kernel warns if they zap the same range at
 * once.
 */
static void *use_cpu(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);

	while (!stop)
		if (touch(s->target.bar + part(s, &seed)))
			atomic_fetch_add(&nr_touched, 1);
	return NULL;
}

/* To and from IOVAs where something may be mapped */
static void *transfer(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);

	while (!stop) {
		unsigned int nr = rand_r(&seed) % 4;
		__u64 iova = nr ? PLACE(nr - 1) : BASE;

		if (s->kind->is_memory)
			CHECK(!write_to(&s->edu, s->ram, iova, seed));
		else
			reads_value(&s->edu, s->ram, iova, s->value);
	}
	return NULL;
}

static void move(struct storm *s, int i, unsigned int *seed)
{
	switch (rand_r(seed) % 4) {
	case 0:
		CHECK(!attach_pt(s->device[i], s->other, NULL));
		break;
	case 1:
		CHECK(!detach_pt(s->device[i]));
		break;
	default:
		CHECK(!attach_pt(s->device[i], s->ioas, NULL));
	}
	atomic_fetch_add(&nr_moved, 1);
}

static void *move_first(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);

	while (!stop)
		move(s, 0, &seed);
	return NULL;
}

static void *move_second(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);

	while (!stop)
		move(s, 1, &seed);
	return NULL;
}

/*
 * A page table made by the program, to which the second device is attached at
 * times
 */
static void *make_tables(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	bool late = iommu_of(&s->dev[1])->reach_is_late;

	while (!stop) {
		if (!s->made)
			CHECK(!hwpt_alloc(s->iommufd, s->id[1], s->ioas,
					  &s->made) ||
			      (late && errno == EOPNOTSUPP));
		if (s->made && rand_r(&seed) % 2)
			CHECK(!attach_pt(s->device[1], s->made, NULL));
		if (!s->made)
			continue;
		if (!iommufd_destroy(s->iommufd, s->made))
			s->made = 0;
		else
			CHECK(errno == EBUSY);
	}
	return NULL;
}

/* Cases */

FIXTURE(race)
{
	struct storm storm;
};

FIXTURE_VARIANT(race)
{
	const struct kind *kind;
};

FIXTURE_VARIANT_ADD(race, decoding)
{
	.kind = &by_decoding,
};

FIXTURE_VARIANT_ADD(race, reset)
{
	.kind = &by_reset,
};

FIXTURE_VARIANT_ADD(race, hot_reset)
{
	.kind = &by_hot_reset,
};

FIXTURE_VARIANT_ADD(race, low_power)
{
	.kind = &by_low_power,
};

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = no_register_there };

	sigaction(SIGBUS, &action, NULL);
}

FIXTURE_SETUP(race)
{
	struct storm *s = &self->storm;

	if (find_edu_alone(&s->dev[0]) ||
	    variant->kind->find(&s->target.dev, &s->dev[1]))
		SKIP_TEST("no devices whose registers can go so");
	catch_sigbus();
	ASSERT_EQ(0, storm_open(s, variant->kind));
}

FIXTURE_TEARDOWN(race)
{
	storm_close(&self->storm);
}

/* The page tables stay, and their mappings change (trap N3) */
TEST_F_TIMEOUT(race, maps_and_unmaps, ANY_TIME)
{
	struct storm *s = &self->storm;
	pthread_t threads[8];

	START(&threads[0], map_address);
	START(&threads[1], map_dma_buf);
	START(&threads[2], copy_to_other);
	START(&threads[3], map_memory_beside);
	START(&threads[4], map_elsewhere);
	START(&threads[5], use_cpu);
	START(&threads[6], transfer);
	START(&threads[7], take_and_give);
	run_for(2, threads, 8);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, nr_taken);
	EXPECT_LT(0, nr_mapped);
	EXPECT_LT(0, nr_touched);
	EXPECT_EQ(s->pinned, status_kb("VmPin"));
	check_reach(s, BASE);
	EXPECT_EQ(0, wrong);
}

/*
 * Page tables are made, attached and destroyed, also by the last detach (traps
 * N2, N4)
 */
TEST_F_TIMEOUT(race, tables_come_and_go, ANY_TIME)
{
	struct storm *s = &self->storm;
	pthread_t threads[7];

	START(&threads[0], map_address);
	START(&threads[1], copy_to_other);
	START(&threads[2], move_first);
	START(&threads[3], move_second);
	START(&threads[4], make_tables);
	START(&threads[5], transfer);
	START(&threads[6], take_and_give);
	run_for(2, threads, 7);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, nr_taken);
	EXPECT_LT(0, nr_moved);

	EXPECT_EQ(0, detach_pt(s->device[0]));
	EXPECT_EQ(0, detach_pt(s->device[1]));
	if (s->made)
		EXPECT_EQ(0, iommufd_destroy(s->iommufd, s->made));
	EXPECT_EQ(0, status_kb("VmPin"));
	ASSERT_EQ(0, attach_pt(s->device[0], s->ioas, NULL));
	EXPECT_EQ(s->pinned, status_kb("VmPin"));
	check_reach(s, BASE);
	EXPECT_EQ(0, wrong);
}

/* The second device joins and leaves the page table of the first (trap N2) */
TEST_F_TIMEOUT(race, second_device_comes_and_goes, ANY_TIME)
{
	struct storm *s = &self->storm;
	pthread_t threads[4];

	START(&threads[0], map_address);
	START(&threads[1], map_memory_beside);
	START(&threads[2], move_second);
	START(&threads[3], take_and_give);
	run_for(2, threads, 4);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, nr_taken);
	EXPECT_LT(0, nr_mapped);
	EXPECT_LT(0, nr_moved);
	EXPECT_EQ(0, detach_pt(s->device[1]));
	EXPECT_EQ(s->pinned, status_kb("VmPin"));
	check_reach(s, BASE);
	EXPECT_EQ(0, wrong);
}

/*
 * The target itself is closed and opened, and its driver unbound (traps N5,
 * N6). The other threads use fds and addresses that were valid a moment ago.
 */
FIXTURE(closed)
{
	struct storm storm;
};

FIXTURE_SETUP(closed)
{
	struct storm *s = &self->storm;

	if (find_edu_alone(&s->dev[0]) ||
	    find_memory(&s->target.dev, &s->dev[1]))
		SKIP_TEST("no device that is memory");
	ASSERT_EQ(0, storm_open(s, &by_decoding));
}

FIXTURE_TEARDOWN(closed)
{
	storm_close(&self->storm);
}

static atomic_uintptr_t some_bar;
static atomic_int some_device, some_dma_buf;

static void close_in_any_order(struct storm *s, int dma_buf, unsigned int *seed)
{
	int first = rand_r(seed) % 3, i;

	for (i = first; i < first + 3; i++) {
		if (i % 3 == 0)
			close(dma_buf);
		else if (i % 3 == 1)
			munmap(s->target.bar, s->target.mapped);
		else
			close(s->target.device);
		pause_for(seed);
	}
}

static void *come_and_go(void *arg)
{
	struct storm *s = arg;
	struct target *t = &s->target;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	int dma_buf = dma_buf_of(t->device, t->region, 0, t->mapped);

	while (!stop) {
		CHECK(dma_buf >= 0);
		some_dma_buf = dma_buf;
		some_device = t->device;
		some_bar = (uintptr_t)t->bar;
		pause_for(&seed);
		close_in_any_order(s, dma_buf, &seed);
		if (!(rand_r(&seed) % 4)) {
			CHECK(!unbind_driver(&t->dev));
			CHECK(!bind_vfio_pci(&t->dev));
		}
		/* A request of another thread may still use the closed fd */
		while (open_target(s)) {
			CHECK(errno == EINVAL || errno == EBUSY);
			close(t->device);
		}
		dma_buf = dma_buf_of(t->device, t->region, 0, t->mapped);
		atomic_fetch_add(&nr_opened, 1);
	}
	close(dma_buf);
	return NULL;
}

/* Through an fd that may be the device's, another one, or closed */
static void *take_and_give_some(void *arg)
{
	struct target t = {};

	while (!stop) {
		t.device = some_device;
		if (!take_decoding(&t))
			atomic_fetch_add(&nr_taken, 1);
		give_decoding(&t);
	}
	return NULL;
}

static void *map_some_address(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	__u64 iova = PLACE(seed);
	int ret;

	while (!stop) {
		ret = ioas_map(s->iommufd, s->ioas, (void *)some_bar, WINDOW,
			       iova, MAP_RW);
		CHECK(!ret || errno == EFAULT);
		if (ret)
			continue;
		pause_for(&seed);
		CHECK(!ioas_unmap(s->iommufd, s->ioas, iova, WINDOW));
		atomic_fetch_add(&nr_mapped, 1);
	}
	return NULL;
}

static void *map_some_dma_buf(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = atomic_fetch_add(&tickets, 1);
	__u64 iova = PLACE(seed);
	int ret;

	while (!stop) {
		ret = map_file_at(s->iommufd, s->ioas, MAP_RW, some_dma_buf, 0,
				  WINDOW, iova);
		/* EINVAL, EPERM: meanwhile the number is that of another fd */
		CHECK(!ret || errno == EBADF || errno == ENODEV ||
		      errno == EINVAL || errno == EPERM);
		if (ret)
			continue;
		pause_for(&seed);
		CHECK(!ioas_unmap(s->iommufd, s->ioas, iova, WINDOW));
		atomic_fetch_add(&nr_mapped, 1);
	}
	return NULL;
}

TEST_F_TIMEOUT(closed, target_comes_and_goes, ANY_TIME)
{
	struct storm *s = &self->storm;
	pthread_t threads[6];

	/* The address is looked up again at an attach, and may be gone */
	ASSERT_EQ(0, ioas_unmap(s->iommufd, s->other, BASE, WINDOW));
	some_device = s->target.device;
	some_dma_buf = -1;
	some_bar = (uintptr_t)s->target.bar;
	START(&threads[0], map_some_address);
	START(&threads[1], map_some_dma_buf);
	START(&threads[2], copy_to_other);
	START(&threads[3], move_second);
	START(&threads[4], take_and_give_some);
	START(&threads[5], come_and_go);
	run_for(2, threads, 6);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, nr_opened);
	EXPECT_LT(0, nr_mapped);
	EXPECT_LT(0, nr_taken);
	EXPECT_EQ(0, detach_pt(s->device[1]));
	EXPECT_EQ(s->pinned, status_kb("VmPin"));

	/*
	 * What was mapped before is gone for good; what is mapped now can be
	 * reached
	 */
	ASSERT_EQ(0, change_command(s->target.device, PCI_COMMAND_MEMORY, 0));
	memset(s->target.bar, 0, PAGE);
	EXPECT_EQ(0, write_to(&s->edu, s->ram, BASE, 99));
	EXPECT_TRUE(is_byte(s->target.bar, PAGE, 0));
	ASSERT_EQ(0, ioas_map(s->iommufd, s->ioas, s->target.bar, WINDOW,
			      PLACE(9), MAP_RW));
	check_reach(s, PLACE(9));
	EXPECT_EQ(0, wrong);
}

TEST_HARNESS_MAIN

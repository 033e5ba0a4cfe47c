// SPDX-License-Identifier: GPL-2.0
/*
 * A user with one device and no capability tries to use up or to block the
 * machine, in a memory cgroup of 64 MiB and with a memlock limit of 8 MiB.
 *
 * What an attack can allocate is charged to its cgroup or bounded by a limit;
 * the table in Documentation/userspace-api/iommufd.rst says which. After it
 *  - the cgroup is empty and can be removed;
 *  - the machine has its memory back;
 *  - another process of the user can use the whole memlock limit, and do DMA
 *    with the device.
 *
 * At the limit of a cgroup the kernel kills a process of it. If all are exempt
 * (oom_score_adj -1000), the request fails instead. Attacks that reach the limit
 * run in both ways.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "p2p_util.h"

/* A user that has no other process */
#define USER 12005

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP CGROUPS "/vfio_abuse"
#define PARAMETERS "/sys/module/iommufd/parameters/"

#define SZ_1M 0x100000UL
#define CGROUP_MAX (64 * SZ_1M)
#define MEMLOCK (8 * SZ_1M)

/* What fill_cgroup() leaves, so that attacks soon reach the limit */
#define ROOM (3 * SZ_1M)

/* The kernel leaves some unused charges with each CPU */
#define EMPTY (2 * SZ_1M)

/* KASAN keeps up to 32 MiB of freed objects for a while */
#define SLACK_KB (40 * 1024)

/* The tables for so many mappings, 8 KiB each, are more than that */
#define NR_SPARSE 6144UL

/* More than the cgroup has room for */
#define MANY SZ_1M

#define IOVA SZ_2M
#define FILES 1024

/* How often an attacker is killed at a random moment */
#define ROUNDS 8

/* For a case. Most take a few */
#define SECONDS 300

/*
 * struct attacker - the process that attacks
 * @error: errno of the request that reaches a limit
 * @device: its device, attached to @ioas
 * @fill: memory that fills the cgroup
 * @page: whoever touches it waits
 * @faults: userfaultfd of @page
 */
struct attacker {
	int error;
	int device;
	int iommufd;
	__u32 dev_id;
	__u32 ioas;
	char *fill;
	char *page;
	int faults;
};

typedef void (*attack_fn)(struct __test_metadata *_metadata,
			  struct attacker *a);

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	int ret = write(fd, text, len) == len ? 0 : -1;

	close(fd);
	return ret;
}

static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, text, size - 1);

	close(fd);
	text[len < 0 ? 0 : len] = 0;
	return len > 0 ? 0 : -1;
}

static unsigned long number_in(const char *path)
{
	char text[32];

	return read_text(path, text, sizeof(text)) ? ~0UL : strtoul(text, NULL, 10);
}

static unsigned long charged(void)
{
	return number_in(CGROUP "/memory.current");
}

static long memory_kb(const char *field)
{
	return field_of("/proc/meminfo", field);
}

/*
 * Touch memory until at most ROOM of the cgroup is left. Also touch what is
 * needed when nothing is left, since an exempt process would repeat a page fault
 * for ever.
 */
static void fill_cgroup(struct attacker *a)
{
	uintptr_t start;
	size_t i;

	munmap(map_anon(PAGE), PAGE);
	errno = 0;
	a->fill = map_anon(CGROUP_MAX + SZ_2M);
	/* Huge pages take less time */
	madvise(a->fill, CGROUP_MAX + SZ_2M, MADV_HUGEPAGE);
	start = ((uintptr_t)a->fill + SZ_2M - 1) & ~(SZ_2M - 1);
	for (i = 0; i < CGROUP_MAX; i += PAGE) {
		if (!(i % SZ_2M) && charged() >= CGROUP_MAX - ROOM)
			break;
		*(char *)(start + i) = 1;
	}
}

/* Free that memory, and return the errno of the last request */
static int make_room(struct attacker *a)
{
	int error = errno;

	munmap(a->fill, CGROUP_MAX + SZ_2M);
	return error;
}

/* For the table in iommufd.rst: what was charged, and what free memory lost */
static void report(const char *what, unsigned long nr, unsigned long charge,
		   long kb)
{
	printf("# note: %lu %s: %lu KiB are charged, %ld KiB are gone\n", nr,
	       what, (charged() - charge) / 1024, kb - memory_kb("MemFree"));
	fflush(stdout);
}

/*
 * Attacks
 */

/* Trap B15 */
static void alloc_objects(struct __test_metadata *_metadata,
			  struct attacker *a)
{
	unsigned long nr = 0;
	__u32 id;

	fill_cgroup(a);
	while (nr < MANY && !ioas_alloc(a->iommufd, &id))
		nr++;
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_GT(MANY, nr);
}

/* Copies of one page in an IOAS without page table */
static void copy_areas(struct __test_metadata *_metadata, struct attacker *a)
{
	unsigned long nr = 0;
	__u32 ioas;

	ASSERT_EQ(0, ioas_alloc(a->iommufd, &ioas));
	ASSERT_EQ(0, ioas_map(a->iommufd, ioas, map_anon(PAGE), PAGE, 0,
			      MAP_RW));
	fill_cgroup(a);
	while (++nr < MANY && !copy_at(a->iommufd, ioas, ioas, MAP_RW, PAGE,
				       nr * PAGE, 0))
		;
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_GT(MANY, nr);
}

/* The same with areas that have their own memory, which is never pinned */
static void map_areas(struct __test_metadata *_metadata, struct attacker *a)
{
	void *page = map_anon(PAGE);
	unsigned long nr = 0;
	__u32 ioas;

	ASSERT_EQ(0, ioas_alloc(a->iommufd, &ioas));
	fill_cgroup(a);
	while (nr < MANY && !ioas_map(a->iommufd, ioas, page, PAGE, nr * PAGE,
				      MAP_RW))
		nr++;
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_GT(MANY, nr);
}

/*
 * Each copy needs two levels of page tables for itself. VT-d does not charge
 * them: only max_areas bounds them (trap J8).
 */
static void spread_copies(struct __test_metadata *_metadata, struct attacker *a)
{
	unsigned long i, before;
	long kb;

	ASSERT_EQ(0, ioas_map(a->iommufd, a->ioas, map_anon(PAGE), PAGE, IOVA,
			      MAP_RW));
	before = charged();
	kb = memory_kb("MemFree");
	for (i = 1; i <= NR_SPARSE; i++)
		ASSERT_EQ(0, copy_at(a->iommufd, a->ioas, a->ioas, MAP_RW, PAGE,
				     i * SZ_1G, IOVA));
	report("copies of a page, 1 GiB apart", NR_SPARSE, before, kb);
}

/* VT-d keeps the tables after the unmap, so nothing bounds them */
static void leave_tables(struct __test_metadata *_metadata, struct attacker *a)
{
	void *page = map_anon(PAGE);
	unsigned long i, before;
	long kb;

	before = charged();
	kb = memory_kb("MemFree");
	for (i = 1; i <= NR_SPARSE; i++) {
		ASSERT_EQ(0, ioas_map(a->iommufd, a->ioas, page, PAGE,
				      i * SZ_1G, MAP_RW));
		ASSERT_EQ(0, ioas_unmap(a->iommufd, a->ioas, i * SZ_1G, PAGE));
	}
	report("pages mapped and unmapped, 1 GiB apart", NR_SPARSE, before, kb);
}

static void alloc_hwpts(struct __test_metadata *_metadata, struct attacker *a)
{
	unsigned long nr = 0;
	__u32 id;

	ASSERT_EQ(0, ioas_map(a->iommufd, a->ioas, map_anon(PAGE), PAGE, IOVA,
			      MAP_RW));
	while (!hwpt_alloc(a->iommufd, a->dev_id, a->ioas, &id))
		nr++;
	EXPECT_EQ(a->error, errno);
	EXPECT_EQ(number_in(PARAMETERS "max_tables"), nr);
	/* Another IOAS makes no difference */
	ASSERT_EQ(0, ioas_alloc(a->iommufd, &a->ioas));
	EXPECT_ERRNO(ENOSPC, hwpt_alloc(a->iommufd, a->dev_id, a->ioas, &id));
}

static void export_dma_bufs(struct __test_metadata *_metadata,
			    struct attacker *a)
{
	unsigned long nr = 0, before = charged();
	long kb = memory_kb("MemFree");
	int fd;

	ASSERT_EQ(0, change_command(a->device, PCI_COMMAND_MEMORY, 0));
	while ((fd = dma_buf_of(a->device, VFIO_PCI_BAR0_REGION_INDEX, 0,
				PAGE)) >= 0) {
		ASSERT_EQ(0, map_file_at(a->iommufd, a->ioas, MAP_RW, fd, 0,
					 PAGE, IOVA + nr * PAGE));
		nr++;
	}
	EXPECT_EQ(a->error, errno);
	EXPECT_GT(FILES, nr);
	/* Another file can be opened again */
	close(0);
	report("dma-bufs", nr, before, kb);
}

static void allow_many_ranges(struct __test_metadata *_metadata,
			      struct attacker *a)
{
	__u32 nr = 1 << 16, ioas, i;
	struct iommu_iova_range *ranges = map_anon(nr * sizeof(*ranges));

	for (i = 0; i < nr; i++) {
		ranges[i].start = 2 * (i + 1) * PAGE;
		ranges[i].last = ranges[i].start + PAGE - 1;
	}
	ASSERT_EQ(0, ioas_alloc(a->iommufd, &ioas));
	fill_cgroup(a);
	EXPECT_EQ(-1, allow_iovas(a->iommufd, ioas, ranges, nr));
	EXPECT_EQ(a->error, make_room(a));
	/* The old list, which allows everything, is still there */
	EXPECT_EQ(0, ioas_map_auto(a->iommufd, ioas, ranges, PAGE,
				   &ranges[0].start, MAP_RW));
}

/* The kernel allocates nothing in advance for arrays that are said to be long */
static void claim_long_arrays(struct __test_metadata *_metadata,
			      struct attacker *a)
{
	struct iommu_iova_range *ranges = map_anon(2 * PAGE);
	struct dma_buf_request req = {
		.buf = {
			.region_index = VFIO_PCI_BAR0_REGION_INDEX,
			.open_flags = O_RDWR,
			.nr_ranges = ~0U,
		},
	};
	__u32 nr = ~0U, i;

	ASSERT_EQ(0, munmap((char *)ranges + PAGE, PAGE));
	EXPECT_EQ(0, iova_ranges(a->iommufd, a->ioas, ranges, &nr, NULL));
	EXPECT_GT(16, nr);
	for (i = 0; i < PAGE / sizeof(*ranges); i++) {
		ranges[i].start = 2 * (i + 1) * PAGE;
		ranges[i].last = ranges[i].start + PAGE - 1;
	}
	EXPECT_ERRNO(EFAULT, allow_iovas(a->iommufd, a->ioas, ranges, ~0U));
	EXPECT_ERRNO(a->error, dma_buf_get(a->device, &req));
}

/* The answer is longer than the rest of the cgroup */
static void get_long_bitmap(struct __test_metadata *_metadata,
			    struct attacker *a)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get range;
	} cmd = {
		.head.argsz = sizeof(cmd.head),
		.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
		.range.size = MEMLOCK * 8 * PAGE,
		.range.bitmap.pgsize = PAGE,
		.range.bitmap.size = MEMLOCK,
		.range.bitmap.data = map_anon(MEMLOCK),
	};

	ASSERT_EQ(0, vfio_ioas(a->iommufd, IOMMU_VFIO_IOAS_SET, &a->ioas));
	ASSERT_EQ(0, ioctl(a->iommufd, VFIO_IOMMU_DIRTY_PAGES, &cmd));
	cmd.head.argsz = sizeof(cmd);
	cmd.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	fill_cgroup(a);
	EXPECT_EQ(-1, ioctl(a->iommufd, VFIO_IOMMU_DIRTY_PAGES, &cmd));
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_EQ(0, ioctl(a->iommufd, VFIO_IOMMU_DIRTY_PAGES, &cmd));
}

/* Map memory of which nothing exists yet */
static void fill_in_map(struct __test_metadata *_metadata, struct attacker *a)
{
	char *buf = map_anon(MEMLOCK);

	fill_cgroup(a);
	EXPECT_EQ(-1, ioas_map(a->iommufd, a->ioas, buf, MEMLOCK, IOVA,
			       MAP_RW));
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_EQ(0, status_kb("VmPin"));
	EXPECT_EQ(0, ioas_map(a->iommufd, a->ioas, buf, MEMLOCK, IOVA,
			      MAP_RW));
}

static int new_file(void)
{
	int fd = memfd_create("abuse", MFD_CLOEXEC);

	return ftruncate(fd, MEMLOCK) ? -1 : fd;
}

static void fill_in_map_file(struct __test_metadata *_metadata,
			     struct attacker *a)
{
	int fd = new_file();

	ASSERT_LE(0, fd);
	fill_cgroup(a);
	EXPECT_EQ(-1, map_file_at(a->iommufd, a->ioas, MAP_RW, fd, 0, MEMLOCK,
				  IOVA));
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_EQ(0, status_kb("VmPin"));
	EXPECT_EQ(0, map_file_at(a->iommufd, a->ioas, MAP_RW, fd, 0, MEMLOCK,
				 IOVA));
}

static void fill_in_attach(struct __test_metadata *_metadata,
			   struct attacker *a)
{
	__u32 ioas;

	ASSERT_EQ(0, ioas_alloc(a->iommufd, &ioas));
	ASSERT_EQ(0, ioas_map(a->iommufd, ioas, map_anon(MEMLOCK), MEMLOCK,
			      IOVA, MAP_RW));
	fill_cgroup(a);
	EXPECT_EQ(-1, attach_pt(a->device, ioas, NULL));
	EXPECT_EQ(a->error, make_room(a));
	EXPECT_EQ(0, status_kb("VmPin"));
	EXPECT_EQ(0, attach_pt(a->device, ioas, NULL));
}

static int ready[2];

/* From now on the test can kill the attacker */
static int say_ready(void)
{
	return write(ready[1], "", 1) == 1 ? 0 : -1;
}

static void map_for_ever(struct __test_metadata *_metadata, struct attacker *a)
{
	char *buf = map_anon(MEMLOCK);

	ASSERT_EQ(0, say_ready());
	do {
		ASSERT_EQ(0, ioas_map(a->iommufd, a->ioas, buf, MEMLOCK, IOVA,
				      MAP_RW));
		madvise(buf, MEMLOCK, MADV_DONTNEED);
	} while (!ioas_unmap(a->iommufd, a->ioas, IOVA, MEMLOCK));
	ASSERT_TRUE(false);
}

static void map_file_for_ever(struct __test_metadata *_metadata,
			      struct attacker *a)
{
	int fd = new_file();

	ASSERT_EQ(0, say_ready());
	do {
		ASSERT_EQ(0, map_file_at(a->iommufd, a->ioas, MAP_RW, fd, 0,
					 MEMLOCK, IOVA));
		ASSERT_EQ(0, ftruncate(fd, 0));
		ASSERT_EQ(0, ftruncate(fd, MEMLOCK));
	} while (!ioas_unmap(a->iommufd, a->ioas, IOVA, MEMLOCK));
	ASSERT_TRUE(false);
}

static void attach_for_ever(struct __test_metadata *_metadata,
			    struct attacker *a)
{
	__u32 ioas;

	ASSERT_EQ(0, ioas_alloc(a->iommufd, &ioas));
	ASSERT_EQ(0, ioas_map(a->iommufd, ioas, map_anon(MEMLOCK), MEMLOCK,
			      IOVA, MAP_RW));
	ASSERT_EQ(0, say_ready());
	do {
		ASSERT_EQ(0, attach_pt(a->device, ioas, NULL));
	} while (!attach_pt(a->device, a->ioas, NULL));
	ASSERT_TRUE(false);
}

static void *map_page(void *arg)
{
	struct attacker *a = arg;

	ioas_map(a->iommufd, a->ioas, a->page, PAGE, IOVA, MAP_RW);
	return NULL;
}

/* Calls while the MAP is stalled: they may wait or fail */
static void call(struct attacker *a, int nr, __u32 other)
{
	__u32 id;

	switch (nr) {
	case 0:
		ioas_unmap(a->iommufd, a->ioas, 0, ~0ULL);
		break;
	case 1:
		iommufd_destroy(a->iommufd, a->ioas);
		break;
	case 2:
		attach_pt(a->device, other, NULL);
		break;
	case 3:
		detach_pt(a->device);
		break;
	case 4:
		hwpt_alloc(a->iommufd, a->dev_id, a->ioas, &id);
		break;
	case 5:
		copy_at(a->iommufd, a->ioas, a->ioas, MAP_RW, PAGE, SZ_1G,
			IOVA);
		break;
	case 6:
		ioas_map(a->iommufd, a->ioas, map_anon(PAGE), PAGE, 2 * SZ_1G,
			 MAP_RW);
		break;
	case 7:
		ioctl(a->device, VFIO_DEVICE_RESET);
		break;
	}
}

#define CALLS 8

/* Wait for the end of a process; -1 if that takes longer */
static int wait_for(pid_t pid, int seconds)
{
	int status, tries;

	for (tries = 0; tries < seconds * 100; tries++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		poll(NULL, 0, 10);
	}
	return -1;
}

/*
 * Leave a MAP stalled in a page that never comes, and let others wait for it.
 * They can be killed, and so can the process with the MAP.
 */
static void stall(struct __test_metadata *_metadata, struct attacker *a)
{
	struct pollfd fault = { .fd = a->faults, .events = POLLIN };
	pthread_t thread;
	pid_t pids[CALLS];
	int go[2], i;
	__u32 other;
	char byte;

	ASSERT_EQ(0, ioas_alloc(a->iommufd, &other));
	ASSERT_EQ(0, pipe(go));
	for (i = 0; i < CALLS; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		if (read(go[0], &byte, 1) == 1)
			call(a, i, other);
		_exit(0);
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, map_page, a));
	ASSERT_EQ(1, poll(&fault, 1, 10000));
	ASSERT_EQ(CALLS, write(go[1], "12345678", CALLS));
	poll(NULL, 0, 1000);
	for (i = 0; i < CALLS; i++)
		ASSERT_EQ(0, kill(pids[i], SIGKILL));
	for (i = 0; i < CALLS; i++)
		EXPECT_NE(-1, wait_for(pids[i], 10))
			TH_LOG("call %d can't be killed", i);
	ASSERT_EQ(0, say_ready());
	pthread_join(thread, NULL);
	ASSERT_TRUE(false);
}

/*
 * Cases
 */

enum end {
	EXITS,
	/* By the kernel, at the limit of the cgroup */
	IS_KILLED,
	/* By the test, at a random moment after say_ready() */
	WE_KILL,
};

/*
 * struct machine - what is attacked
 * @max_areas: value of the module parameter
 * @kb: free memory before the attack, in KiB
 * @sitter: an idle process of the user
 */
struct machine {
	struct pci_dev dev;
	char max_areas[32];
	long kb;
	pid_t sitter;
};

static int make_cgroup(void)
{
	char max[32];

	if (access(CGROUPS "/cgroup.controllers", F_OK))
		mount("none", CGROUPS, "cgroup2", 0, NULL);
	write_text(CGROUPS "/cgroup.subtree_control", "+memory");
	rmdir(CGROUP);
	snprintf(max, sizeof(max), "%lu", CGROUP_MAX);
	return mkdir(CGROUP, 0755) || write_text(CGROUP "/memory.max", max);
}

static void prepare(struct __test_metadata *_metadata, struct machine *m)
{
	if (find_edu_alone(&m->dev))
		SKIP_TEST("no edu device that is alone in its group");
	if (make_cgroup())
		SKIP_TEST("no memory cgroup of version 2");
	ASSERT_EQ(0, bind_vfio_pci(&m->dev));
	ASSERT_EQ(0, read_text(PARAMETERS "max_areas", m->max_areas,
			       sizeof(m->max_areas)));
	/* What is locked is counted for a user until the last process ends */
	m->sitter = fork();
	if (!m->sitter) {
		if (!become_user(USER, 0, MEMLOCK))
			pause();
		_exit(1);
	}
	srandom(time(NULL));
	m->kb = memory_kb("MemAvailable");
}

/* Open both files for a user who can't */
static void give_device(struct __test_metadata *_metadata, struct attacker *a,
			const struct pci_dev *dev)
{
	a->device = open_cdev(dev);
	a->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, a->device);
	ASSERT_LE(0, a->iommufd);
}

static void attach_device(struct __test_metadata *_metadata,
			  struct attacker *a)
{
	ASSERT_EQ(0, bind_iommufd(a->device, a->iommufd, &a->dev_id));
	ASSERT_EQ(0, ioas_alloc(a->iommufd, &a->ioas));
	ASSERT_EQ(0, attach_pt(a->device, a->ioas, NULL));
}

/* A page that never comes. FUSE allows that to users who have no userfaultfd. */
static int make_stalled_page(struct attacker *a)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	a->page = map_anon(PAGE);
	range.range.start = (uintptr_t)a->page;
	a->faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return ioctl(a->faults, UFFDIO_API, &api) ||
	       ioctl(a->faults, UFFDIO_REGISTER, &range);
}

/*
 * In a child. It is exempt from the OOM killer if the attack should end with an
 * errno.
 */
static void attack(struct __test_metadata *_metadata,
		   struct machine *m, attack_fn fn, enum end end, int error)
{
	struct rlimit files = { .rlim_cur = FILES, .rlim_max = FILES };
	struct attacker a = { .error = error };

	ASSERT_EQ(0, write_text(CGROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, write_text("/proc/self/oom_score_adj",
				end == EXITS ? "-1000" : "0"));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, make_stalled_page(&a));
	give_device(_metadata, &a, &m->dev);
	ASSERT_EQ(0, become_user(USER, 0, MEMLOCK));
	attach_device(_metadata, &a);
	fn(_metadata, &a);
}

/* Does the attack end as it should? */
static bool ends_well(struct __test_metadata *_metadata,
		      struct machine *m, attack_fn fn, enum end end, int error)
{
	int status;
	pid_t pid;
	char byte;

	if (pipe(ready))
		return false;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		_metadata->passed = 1;
		attack(_metadata, m, fn, end, error);
		_exit(_metadata->passed ? 0 : 1);
	}
	close(ready[1]);
	if (end == WE_KILL && read(ready[0], &byte, 1) == 1) {
		usleep(random() % 300000);
		kill(pid, SIGKILL);
	}
	close(ready[0]);
	status = wait_for(pid, 60);
	if (end == EXITS ? !status : status == SIGKILL)
		return true;
	TH_LOG("the attack ended with status %#x", status);
	if (status == -1) {
		kill(pid, SIGKILL);
		wait_for(pid, 60);
	}
	return false;
}

/* Reclaim what is left, and return charges of the CPUs */
static bool cgroup_becomes_empty(void)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		write_text(CGROUP "/memory.high", "0");
		if (charged() < EMPTY)
			return true;
		poll(NULL, 0, 100);
	}
	return false;
}

static bool cgroup_is_removed(void)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (!rmdir(CGROUP))
			return true;
		poll(NULL, 0, 100);
	}
	return false;
}

static bool memory_is_back(long kb)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (memory_kb("MemAvailable") >= kb - SLACK_KB)
			return true;
		poll(NULL, 0, 100);
	}
	return false;
}

/* In a child: another process of the user that uses all it may */
static void use_device(struct __test_metadata *_metadata,
		       struct machine *m)
{
	char *buf = map_anon(MEMLOCK + PAGE);
	struct attacker a = {};
	struct edu edu;

	give_device(_metadata, &a, &m->dev);
	ASSERT_EQ(0, become_user(USER, 0, MEMLOCK));
	attach_device(_metadata, &a);
	ASSERT_EQ(0, ioas_map(a.iommufd, a.ioas, buf, MEMLOCK, IOVA, MAP_RW));
	EXPECT_ERRNO(ENOMEM, ioas_map(a.iommufd, a.ioas, buf + MEMLOCK, PAGE,
				      SZ_1G, MAP_RW));
	ASSERT_EQ(0, edu_open(&edu, a.device));
	fill_pattern(buf, 1000, 1);
	ASSERT_EQ(0, edu_dma_from_ram(&edu, IOVA, 1000));
	ASSERT_EQ(0, edu_dma_to_ram(&edu, IOVA + MEMLOCK - 1000, 1000));
	EXPECT_TRUE(is_pattern(buf + MEMLOCK - 1000, 1000, 1));
}

static bool device_is_usable(struct __test_metadata *_metadata,
			     struct machine *m)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		_metadata->passed = 1;
		use_device(_metadata, m);
		_exit(_metadata->passed ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

/* After the attack: everything is as before */
static void check_remains(struct __test_metadata *_metadata, struct machine *m)
{
	EXPECT_TRUE(cgroup_becomes_empty())
		TH_LOG("%lu KiB are charged", charged() / 1024);
	EXPECT_TRUE(cgroup_is_removed());
	EXPECT_TRUE(memory_is_back(m->kb))
		TH_LOG("%ld KiB are missing",
		       m->kb - memory_kb("MemAvailable"));
	EXPECT_TRUE(device_is_usable(_metadata, m));
	kill(m->sitter, SIGKILL);
	waitpid(m->sitter, NULL, 0);
	EXPECT_EQ(0, write_text(PARAMETERS "max_areas", m->max_areas));
}

#define ATTACK(_attack, _end, _error)                                          \
	EXPECT_TRUE(ends_well(_metadata, &self->m, _attack, _end, _error))

/* Attacks that use up the cgroup */
FIXTURE(limit)
{
	struct machine m;
};

FIXTURE_VARIANT(limit)
{
	enum end end;
};

FIXTURE_VARIANT_ADD(limit, killed)
{
	.end = IS_KILLED,
};

/* With oom_score_adj -1000 */
FIXTURE_VARIANT_ADD(limit, exempt)
{
	.end = EXITS,
};

FIXTURE_SETUP(limit)
{
	prepare(_metadata, &self->m);
}

FIXTURE_TEARDOWN(limit)
{
	check_remains(_metadata, &self->m);
}

TEST_F_TIMEOUT(limit, objects, SECONDS)
{
	ATTACK(alloc_objects, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, copies, SECONDS)
{
	ATTACK(copy_areas, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, areas, SECONDS)
{
	ATTACK(map_areas, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, ranges, SECONDS)
{
	ATTACK(allow_many_ranges, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, bitmap, SECONDS)
{
	ATTACK(get_long_bitmap, variant->end, EFAULT);
}

TEST_F_TIMEOUT(limit, memory_of_map, SECONDS)
{
	ATTACK(fill_in_map, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, memory_of_map_file, SECONDS)
{
	ATTACK(fill_in_map_file, variant->end, ENOMEM);
}

TEST_F_TIMEOUT(limit, memory_of_attach, SECONDS)
{
	ATTACK(fill_in_attach, variant->end, ENOMEM);
}

/* Attacks that meet other limits, or none, and those that block */
FIXTURE(abuse)
{
	struct machine m;
};

FIXTURE_SETUP(abuse)
{
	prepare(_metadata, &self->m);
}

FIXTURE_TEARDOWN(abuse)
{
	check_remains(_metadata, &self->m);
}

TEST_F_TIMEOUT(abuse, areas_are_limited, SECONDS)
{
	ASSERT_EQ(0, write_text(PARAMETERS "max_areas", "100"));
	ATTACK(map_areas, EXITS, ENOSPC);
	ATTACK(copy_areas, EXITS, ENOSPC);
}

TEST_F_TIMEOUT(abuse, hwpts_are_limited, SECONDS)
{
	ATTACK(alloc_hwpts, EXITS, ENOSPC);
}

TEST_F_TIMEOUT(abuse, dma_bufs_are_limited, SECONDS)
{
	ATTACK(export_dma_bufs, EXITS, EMFILE);
}

TEST_F_TIMEOUT(abuse, arrays_are_not_copied, SECONDS)
{
	ATTACK(claim_long_arrays, EXITS, ENOMEM);
}

TEST_F_TIMEOUT(abuse, page_tables_of_copies, SECONDS)
{
	ATTACK(spread_copies, EXITS, 0);
}

TEST_F_TIMEOUT(abuse, page_tables_after_unmap, SECONDS)
{
	ATTACK(leave_tables, EXITS, 0);
}

TEST_F_TIMEOUT(abuse, stalled_map, SECONDS)
{
	ATTACK(stall, WE_KILL, 0);
}

TEST_F_TIMEOUT(abuse, killed_in_map, SECONDS)
{
	int i;

	for (i = 0; i < ROUNDS; i++)
		ATTACK(map_for_ever, WE_KILL, 0);
}

TEST_F_TIMEOUT(abuse, killed_in_map_file, SECONDS)
{
	int i;

	for (i = 0; i < ROUNDS; i++)
		ATTACK(map_file_for_ever, WE_KILL, 0);
}

TEST_F_TIMEOUT(abuse, killed_in_attach, SECONDS)
{
	int i;

	for (i = 0; i < ROUNDS; i++)
		ATTACK(attach_for_ever, WE_KILL, 0);
}

TEST_HARNESS_MAIN

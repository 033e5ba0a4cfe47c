// SPDX-License-Identifier: GPL-2.0
/*
 * Who is charged for pinned memory, how much, and when the charge ends:
 * exactly, in both modes of IOMMU_OPTION_RLIMIT_MODE.
 *
 * Agents, processes with their own users and limits, execute orders; what the
 * kernel counts for them is read from outside.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define IOVA 0x40000000ULL
#define MAX (~0ULL)

/* More than one batch of pins, and no multiple of it */
#define MANY 1200

/* Users that have no other process */
#define ALICE 12001
#define BOB 12002

enum order {
	/*
	 * Map @pages pages at @iova, from page @first of the memory or the file
	 */
	ORDER_MAP,
	ORDER_MAP_FILE,
	ORDER_MAP_IN_THREAD,
	ORDER_MAP_HUGE,
	ORDER_UNMAP,
	/* Also check that nothing is pinned in the child */
	ORDER_UNMAP_IN_CHILD,
	ORDER_CHANGE_PROCESS,
	/* mlock() this many pages of other memory */
	ORDER_LOCK,
	ORDER_MAKE_HOLE,
	ORDER_DROP_IPC_LOCK,
	/* Execute another program, which waits */
	ORDER_EXEC,
};

struct command {
	enum order order;
	__u64 iova;
	unsigned long pages;
	unsigned long first;
};

/*
 * struct agent - a process that executes orders
 * @socket: takes commands, returns errnos
 */
struct agent {
	pid_t pid;
	int socket;
};

FIXTURE(memlock)
{
	struct pci_dev dev;
	int device;
	__u32 device_id;
	int file;
	__u32 ioas;
	int memory;
	void *buf;
	/* All agents of the case */
	pid_t agents[16];
	int nr_agents;
};

FIXTURE_VARIANT(memlock)
{
	bool per_process;
};

FIXTURE_VARIANT_ADD(memlock, per_user)
{
	.per_process = false,
};

FIXTURE_VARIANT_ADD(memlock, per_process)
{
	.per_process = true,
};

FIXTURE_SETUP(memlock)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->file = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, set_option(self->file, IOMMU_OPTION_RLIMIT_MODE, 0,
				variant->per_process));
	ASSERT_EQ(0, alloc_ioas(self->file, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->device, self->file, &self->device_id));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	self->memory = memfd_create("memlock", 0);
	ASSERT_LE(0, self->memory);
	ASSERT_EQ(0, ftruncate(self->memory, MANY * PAGE));
	self->buf = map_anon((MANY + 1) * PAGE);
}

/* Kill an agent and wait until it is gone */
static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

FIXTURE_TEARDOWN(memlock)
{
	int i;

	/* Agents have these fds open too */
	for (i = 0; i < self->nr_agents; i++)
		stop(self->agents[i]);
	close(self->device);
	close(self->file);
	close(self->memory);
}

static void *map_in_thread(void *arg)
{
	struct _test_data_memlock *self = arg;

	return (void *)(uintptr_t)(map_at(self->file, self->ioas,
					  (uintptr_t)self->buf, PAGE, IOVA) ?
				   errno : 0);
}

static int obey(struct _test_data_memlock *self, const struct command *c)
{
	static char *const argv[] = { "sh", "-c", "read line", NULL };
	uintptr_t va = (uintptr_t)self->buf + c->first * PAGE;
	pthread_t thread;
	int status;
	pid_t pid;
	void *p;

	switch (c->order) {
	case ORDER_MAP:
		return map_at(self->file, self->ioas, va, c->pages * PAGE,
			      c->iova);
	case ORDER_MAP_FILE:
		return map_file_at(self->file, self->ioas, MAP_RW, self->memory,
				   c->first * PAGE, c->pages * PAGE, c->iova);
	case ORDER_MAP_IN_THREAD:
		if (pthread_create(&thread, NULL, map_in_thread, self))
			return -1;
		pthread_join(thread, &p);
		errno = (uintptr_t)p;
		return p ? -1 : 0;
	case ORDER_MAP_HUGE:
		p = map_huge();
		return map_at(self->file, self->ioas, (uintptr_t)p,
			      c->pages * PAGE, c->iova);
	case ORDER_UNMAP:
		return unmap(self->file, self->ioas, c->iova, c->pages * PAGE,
			     NULL);
	case ORDER_UNMAP_IN_CHILD:
		pid = fork();
		if (!pid) {
			if (status_kb("VmPin") ||
			    unmap(self->file, self->ioas, c->iova,
				  c->pages * PAGE, NULL) ||
			    status_kb("VmPin"))
				_exit(1);
			_exit(status_kb("VmLck"));
		}
		errno = ECHILD;
		return waitpid(pid, &status, 0) != pid || status;
	case ORDER_CHANGE_PROCESS:
		return change_process(self->file);
	case ORDER_LOCK:
		p = map_anon(c->pages * PAGE);
		return mlock(p, c->pages * PAGE);
	case ORDER_MAKE_HOLE:
		return munmap((void *)va, c->pages * PAGE);
	case ORDER_DROP_IPC_LOCK:
		return drop_cap(CAP_IPC_LOCK);
	case ORDER_EXEC:
		break;
	}
	return execv("/bin/sh", argv);
}

static int tell(const struct agent *agent, const struct command *c)
{
	int ret = -1;

	if (write(agent->socket, c, sizeof(*c)) != sizeof(*c) ||
	    read(agent->socket, &ret, sizeof(ret)) != sizeof(ret))
		return -1;
	return ret;
}

/* TELL(&agent, MAP, .iova = ..., .pages = ...) returns the errno */
#define TELL(_agent, _order, ...)                                              \
	tell(_agent, &(struct command){ .order = ORDER_##_order, __VA_ARGS__ })

/*
 * Start an agent of this user, with a limit of so many pages; user 0 has none
 */
static struct agent start(struct __test_metadata *_metadata,
			  struct _test_data_memlock *self, uid_t user,
			  unsigned long pages)
{
	/* The hard limit does not count */
	struct rlimit limit = { pages * PAGE, 2 * pages * PAGE };
	struct agent agent;
	struct command c;
	int sockets[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
	agent.socket = sockets[0];
	agent.pid = fork();
	if (agent.pid) {
		close(sockets[1]);
		self->agents[self->nr_agents++] = agent.pid;
		/* Once it answers it has its user and limit */
		ASSERT_EQ(EINVAL, TELL(&agent, UNMAP, 0, 0));
		return agent;
	}
	close(sockets[0]);
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || (user && setuid(user)))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(sockets[1], 0);
	while (read(sockets[1], &c, sizeof(c)) == sizeof(c)) {
		int ret = obey(self, &c) ? errno : 0;

		if (write(sockets[1], &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

static long count(pid_t pid, const char *field)
{
	size_t len = strlen(field);
	char path[64], line[256];
	long ret = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			ret = atol(line + len + 1) / PAGES_KB(1);
	if (f)
		fclose(f);
	return ret;
}

/*
 * Pages pinned for an agent, and locked as well in that mode; -1 if they differ
 */
static long pages_of(const struct agent *agent, bool per_process)
{
	long pinned = count(agent->pid, "VmPin");

	return count(agent->pid, "VmLck") == (per_process ? pinned : 0) ? pinned :
									  -1;
}

#define PAGES(_agent) pages_of(_agent, variant->per_process)

/* Exactly N pages, in one mapping and in several (traps J1, J2) */
TEST_F(memlock, limit_is_exact)
{
	static const unsigned long limits[] = { 1, 8, 511, 512, 513, MANY };
	int i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		unsigned long n = limits[i], half = (n + 1) / 2;
		struct agent a = start(_metadata, self, ALICE, n);

		EXPECT_EQ(ENOMEM, TELL(&a, MAP, IOVA, n + 1));
		EXPECT_EQ(0, PAGES(&a));
		EXPECT_EQ(0, TELL(&a, MAP, IOVA, n));
		EXPECT_EQ(n, PAGES(&a));
		EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, 1));
		EXPECT_EQ(n, PAGES(&a));
		EXPECT_EQ(0, TELL(&a, UNMAP, IOVA, n));
		EXPECT_EQ(0, PAGES(&a));

		/* Pages that are mapped twice are charged twice */
		EXPECT_EQ(0, TELL(&a, MAP, IOVA, half));
		EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, n - half + 1));
		EXPECT_EQ(n > half ? 0 : EINVAL,
			  TELL(&a, MAP, 2 * IOVA, n - half));
		EXPECT_EQ(n, PAGES(&a));
		EXPECT_EQ(0, unmap(self->file, self->ioas, 0, MAX, NULL));
		EXPECT_EQ(0, PAGES(&a));
	}
}

/*
 * Does the command fail with ENOMEM, and is that in the log? The kernel limits
 * the rate of messages, so try again.
 */
static bool is_logged(const struct agent *agent, const struct command *c,
		      const char *text)
{
	int kmsg = kmsg_open(), tries;
	bool found = false;

	for (tries = 0; tries < 10 && !found; tries++) {
		if (tell(agent, c) != ENOMEM)
			break;
		found = kmsg_has(kmsg, text);
	}
	close(kmsg);
	return found;
}

/* ENOMEM alone does not tell users which limit to raise, and how far */
TEST_F_TIMEOUT(memlock, limit_is_in_the_log, 60)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	char text[160];

	ASSERT_EQ(0, TELL(&a, MAP, IOVA, 3));
	snprintf(text, sizeof(text),
		 "(%d): RLIMIT_MEMLOCK is %lu KiB, the %s has %lu KiB locked and needs %lu KiB more",
		 a.pid, PAGES_KB(8), variant->per_process ? "process" : "user",
		 PAGES_KB(3), PAGES_KB(6));
	EXPECT_TRUE(is_logged(&a, &(struct command){ ORDER_MAP, 2 * IOVA, 6 },
			      text));
}

/* It names the process, also if another thread of it maps */
TEST_F_TIMEOUT(memlock, limit_of_a_thread_is_in_the_log, 60)
{
	struct agent a = start(_metadata, self, ALICE, 0);
	char text[64];

	snprintf(text, sizeof(text), "(%d): RLIMIT_MEMLOCK is 0 KiB", a.pid);
	EXPECT_TRUE(is_logged(&a, &(struct command){ ORDER_MAP_IN_THREAD },
			      text));
}

/* A part of a page in the limit does not count */
TEST_F(memlock, part_of_a_page_does_not_count)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct rlimit limit = { 4 * PAGE - 1, 4 * PAGE - 1 };

	/* The limit is read when memory is mapped (trap J7) */
	ASSERT_EQ(0, prlimit(a.pid, RLIMIT_MEMLOCK, &limit, NULL));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, IOVA, 4));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 3));
	/*
	 * If the limit is lowered below what is pinned, nothing more can be
	 * pinned
	 */
	limit.rlim_cur = 0;
	ASSERT_EQ(0, prlimit(a.pid, RLIMIT_MEMLOCK, &limit, NULL));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, 1));
	EXPECT_EQ(3, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, UNMAP, IOVA, 3));
	EXPECT_EQ(0, PAGES(&a));
}

/* Pages are charged while they are pinned, so only with a device */
TEST_F(memlock, nothing_counts_without_a_device)
{
	struct agent a = start(_metadata, self, ALICE, MANY);

	EXPECT_EQ(0, TELL(&a, MAP_FILE, IOVA, 3));
	EXPECT_EQ(3, PAGES(&a));
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, PAGES(&a));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(3, PAGES(&a));
}

/* A huge page counts as all of its pages, 512 of 4 KiB (trap J1) */
TEST_F(memlock, huge_page_counts_as_its_pages)
{
	const long nr = SZ_2M / PAGE;
	struct agent a = start(_metadata, self, ALICE, nr - 1);
	struct agent b = start(_metadata, self, BOB, nr);

	EXPECT_EQ(ENOMEM, TELL(&a, MAP_HUGE, IOVA, nr));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&b, MAP_HUGE, IOVA, nr));
	EXPECT_EQ(nr, PAGES(&b));
	EXPECT_EQ(0, TELL(&b, UNMAP, IOVA, nr));
	EXPECT_EQ(0, PAGES(&b));
}

/* A map that fails late has pinned a lot; none of it stays (trap J2) */
TEST_F(memlock, failures_leave_nothing)
{
	struct agent a = start(_metadata, self, ALICE, MANY);
	int i;

	ASSERT_EQ(0, TELL(&a, MAKE_HOLE, .pages = 1, .first = MANY - 1));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(EFAULT, TELL(&a, MAP, IOVA, MANY));
		ASSERT_EQ(EINVAL, TELL(&a, MAP_FILE, IOVA, MANY, 1));
	}
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, MANY - 1));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 1));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 3 * IOVA, 1));
	for (i = 0; i < 200; i++)
		ASSERT_EQ(ENOMEM, TELL(&a, MAP, 3 * IOVA, MANY - 1));
	EXPECT_EQ(MANY, PAGES(&a));
}

/* An attach fails late too, and charges the process that mapped (trap J2) */
TEST_F(memlock, limit_at_attach)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	int i;

	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 1));
	for (i = 0; i < 50; i++) {
		EXPECT_ERRNO(ENOMEM, attach_pt(self->device, self->ioas, NULL));
		EXPECT_EQ(0, PAGES(&a));
	}
	ASSERT_EQ(0, TELL(&a, UNMAP, 2 * IOVA, 1));
	EXPECT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(8, PAGES(&a));
}

/* The log names the process whose limit it is, not the one that attaches */
TEST_F_TIMEOUT(memlock, limit_at_attach_is_in_the_log, 60)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	int kmsg = kmsg_open(), tries;
	bool found = false;
	char text[64];

	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, TELL(&a, MAP, IOVA, 9));
	snprintf(text, sizeof(text), "(%d): RLIMIT_MEMLOCK is %lu KiB", a.pid,
		 PAGES_KB(8));
	for (tries = 0; tries < 10 && !found; tries++) {
		EXPECT_ERRNO(ENOMEM, attach_pt(self->device, self->ioas, NULL));
		found = kmsg_has(kmsg, text);
	}
	EXPECT_TRUE(found);
	close(kmsg);
}

/* Two processes of a user have one limit together, or one each */
TEST_F(memlock, processes_of_a_user)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent a2 = start(_metadata, self, ALICE, 8);
	struct agent b = start(_metadata, self, BOB, 8);

	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 5));
	EXPECT_EQ(variant->per_process ? 0 : ENOMEM, TELL(&a2, MAP, 2 * IOVA,
							  4));
	EXPECT_EQ(0, TELL(&a2, MAP, 3 * IOVA, 3));
	EXPECT_EQ(5, PAGES(&a));
	EXPECT_EQ(variant->per_process ? 7 : 3, PAGES(&a2));
	/* Another user has its own limit */
	EXPECT_EQ(0, TELL(&b, MAP, 4 * IOVA, 8));
	EXPECT_EQ(8, PAGES(&b));
	/* Any process can unmap */
	EXPECT_EQ(0, TELL(&b, UNMAP, IOVA, 5));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(8, PAGES(&b));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 5));
}

/* Memory locked by other means counts only if the process is charged */
TEST_F(memlock, locked_memory_of_the_process)
{
	struct agent a = start(_metadata, self, ALICE, 8);

	ASSERT_EQ(0, TELL(&a, LOCK, .pages = 3));
	EXPECT_EQ(variant->per_process ? ENOMEM : 0, TELL(&a, MAP, IOVA, 6));
	EXPECT_EQ(variant->per_process ? 0 : ENOMEM, TELL(&a, MAP, 2 * IOVA,
							  5));
	EXPECT_EQ(variant->per_process ? 5 : 6, count(a.pid, "VmPin"));
	EXPECT_EQ(variant->per_process ? 8 : 3, count(a.pid, "VmLck"));
	/* The reverse */
	EXPECT_EQ(variant->per_process ? ENOMEM : 0, TELL(&a, LOCK,
							  .pages = 1));
}

/* A map by a thread charges its process (trap J7) */
TEST_F(memlock, thread_maps_for_its_process)
{
	struct agent a = start(_metadata, self, ALICE, 1);

	EXPECT_EQ(0, TELL(&a, MAP_IN_THREAD, IOVA, 1));
	EXPECT_EQ(1, PAGES(&a));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, 1));
	EXPECT_EQ(0, TELL(&a, UNMAP, IOVA, 1));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 1));
}

/* Limit and privilege count when memory is mapped (trap J5) */
TEST_F(memlock, privilege_is_that_of_the_mapping)
{
	struct agent a = start(_metadata, self, 0, 4);

	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 100));
	ASSERT_EQ(0, TELL(&a, DROP_IPC_LOCK));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, 5));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 4));
	EXPECT_EQ(104, count(a.pid, "VmPin"));
	EXPECT_EQ(variant->per_process ? 4 : 0, count(a.pid, "VmLck"));
	/* Pinned again, it is still not limited */
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, PAGES(&a));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(104, count(a.pid, "VmPin"));
	EXPECT_EQ(variant->per_process ? 4 : 0, count(a.pid, "VmLck"));
	EXPECT_EQ(0, TELL(&a, UNMAP, IOVA, 100));
	EXPECT_EQ(4, PAGES(&a));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, IOVA, 1));
	EXPECT_EQ(0, TELL(&a, UNMAP, 2 * IOVA, 4));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 4));
}

/*
 * If the process that mapped exits, the charge stays until the unmap (trap J4)
 */
TEST_F(memlock, exit_between_map_and_unmap)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent b = start(_metadata, self, ALICE, 8);

	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	stop(a.pid);
	/* The process is gone, but its pages are still pinned */
	EXPECT_EQ(variant->per_process ? 0 : ENOMEM, TELL(&b, MAP, 2 * IOVA,
							  8));
	EXPECT_EQ(0, TELL(&b, UNMAP, IOVA, 8));
	EXPECT_EQ(variant->per_process ? 8 : 0, PAGES(&b));
	EXPECT_EQ(variant->per_process ? ENOMEM : 0, TELL(&b, MAP, 3 * IOVA,
							  8));
	EXPECT_EQ(8, PAGES(&b));
}

/*
 * A child is not charged for mappings of its parent, even if it unmaps them
 * (trap J4)
 */
TEST_F(memlock, child_unmaps_for_its_parent)
{
	struct agent a = start(_metadata, self, ALICE, 8);

	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	EXPECT_EQ(0, TELL(&a, UNMAP_IN_CHILD, IOVA, 8));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
}

/*
 * After exec() the process has no charge, and gets none by the unmap (trap J4)
 */
TEST_F(memlock, exec_between_map_and_unmap)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent b = start(_metadata, self, ALICE, 8);
	struct command c = { ORDER_EXEC };
	int tries;

	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	EXPECT_EQ(8, PAGES(&a));
	ASSERT_EQ(sizeof(c), write(a.socket, &c, sizeof(c)));
	for (tries = 0; tries < 1000 && count(a.pid, "VmPin"); tries++)
		usleep(10000);
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(variant->per_process ? 0 : ENOMEM, TELL(&b, MAP, 2 * IOVA,
							  1));
	EXPECT_EQ(0, TELL(&b, UNMAP, IOVA, 8));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&b, MAP, 3 * IOVA, 7));
}

/* Detach the device meanwhile if the IOMMU requires it */
static int alloc_table(struct _test_data_memlock *self, __u32 ioas, __u32 *hwpt)
{
	bool late = iommu_of(&self->dev)->reach_is_late;
	int ret;

	if (late && detach_pt(self->device))
		return -1;
	ret = alloc_hwpt(self->file, self->device_id, ioas, hwpt);
	if (late && attach_pt(self->device, self->ioas, NULL))
		return -1;
	return ret;
}

/* Pages count once, however many IOAS and devices have them (trap J3) */
TEST_F(memlock, copies_count_once)
{
	enum { NR = 6 };
	struct agent a = start(_metadata, self, ALICE, 8);
	__u32 ioas[NR], hwpt[NR];
	unsigned int seed = 1, round;
	int i, left;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, alloc_ioas(self->file, &ioas[i]));
		/*
		 * Two thirds have a page table in advance, the rest get one
		 * later
		 */
		if (i % 3)
			ASSERT_EQ(0, alloc_table(self, ioas[i], &hwpt[i]));
	}
	for (round = 0; round < 50; round++) {
		__u32 all = (2 << NR) - 1;

		ASSERT_EQ(0, TELL(&a, MAP, IOVA, 8));
		for (i = 0; i < NR; i++)
			ASSERT_EQ(0, copy_at(self->file, ioas[i],
					     i % 2 ? ioas[i - 1] : self->ioas,
					     MAP_RW, 8 * PAGE, 2 * IOVA,
					     i % 2 ? 2 * IOVA : IOVA));
		if (!round)
			for (i = 0; i < NR; i += 3)
				ASSERT_EQ(0, alloc_table(self, ioas[i],
							 &hwpt[i]));
		EXPECT_EQ(8, PAGES(&a));
		EXPECT_EQ(ENOMEM, TELL(&a, MAP, 3 * IOVA, 1));

		/* In random order; bit NR is the original */
		for (left = NR + 1; left; left--) {
			EXPECT_EQ(8, PAGES(&a));
			do
				i = rand_r(&seed) % (NR + 1);
			while (!(all & 1 << i));
			all &= ~(1 << i);
			ASSERT_EQ(0, unmap(self->file,
					   i < NR ? ioas[i] : self->ioas,
					   i < NR ? 2 * IOVA : IOVA, 8 * PAGE,
					   NULL));
		}
		EXPECT_EQ(0, PAGES(&a));
	}
}

/*
 * Copies need overlapping parts: each page that is needed counts once (traps
 * A12, J3)
 */
TEST_F(memlock, parts_count_page_by_page)
{
	enum { NR = 24 };
	struct agent a = start(_metadata, self, ALICE, MANY);
	static unsigned char needed[MANY];
	unsigned int seed = 2, round;
	unsigned long first[NR] = {}, pages[NR] = {};
	__u32 other;
	int i;

	/* The device leaves the agent's IOAS, so nothing in it is pinned */
	ASSERT_EQ(0, alloc_ioas(self->file, &other));
	ASSERT_EQ(0, attach_pt(self->device, other, NULL));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, MANY));
	EXPECT_EQ(0, PAGES(&a));

	for (round = 0; round < 400; round++) {
		long pinned = 0;

		i = rand_r(&seed) % NR;
		if (pages[i]) {
			ASSERT_EQ(0, unmap(self->file, other, (i + 1) * IOVA,
					   pages[i] * PAGE, NULL));
			pages[i] = 0;
		} else {
			first[i] = rand_r(&seed) % MANY;
			pages[i] = rand_r(&seed) % (MANY - first[i]) + 1;
			ASSERT_EQ(0, copy_at(self->file, other, self->ioas,
					     MAP_RW,
					     pages[i] * PAGE, (i + 1) * IOVA,
					     IOVA + first[i] * PAGE));
		}
		memset(needed, 0, sizeof(needed));
		for (i = 0; i < NR; i++)
			memset(needed + first[i], 1, pages[i]);
		for (i = 0; i < MANY; i++)
			pinned += needed[i];
		EXPECT_EQ(pinned, PAGES(&a));
	}
}

/* A copy above the limit, and one below */
TEST_F(memlock, copy_10_memlock_limit_is_ENOMEM)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->file, &other));
	ASSERT_EQ(0, attach_pt(self->device, other, NULL));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 20));
	EXPECT_ERRNO(ENOMEM, copy_at(self->file, other, self->ioas, MAP_RW,
				     9 * PAGE, IOVA, IOVA));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, copy_at(self->file, other, self->ioas, MAP_RW, 5 * PAGE,
			     IOVA,
			     IOVA));
	/* Pages that are already pinned are not charged again */
	EXPECT_ERRNO(ENOMEM, copy_at(self->file, other, self->ioas, MAP_RW,
				     9 * PAGE, 2 * IOVA, IOVA));
	EXPECT_EQ(5, PAGES(&a));
	EXPECT_EQ(0, copy_at(self->file, other, self->ioas, MAP_RW, 7 * PAGE,
			     2 * IOVA, IOVA + PAGE));
	EXPECT_EQ(8, PAGES(&a));
	/* The destination is checked before the limit */
	EXPECT_ERRNO(EEXIST, copy_at(self->file, other, self->ioas, MAP_RW,
				     9 * PAGE, IOVA, IOVA));
}

/* A page table whose mappings exceed the limit, and one below */
TEST_F(memlock, hwpt_alloc_7_memlock_limit_is_ENOMEM)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	__u32 other, hwpt;

	ASSERT_EQ(0, alloc_ioas(self->file, &other));
	ASSERT_EQ(0, iommu_of(&self->dev)->reach_is_late ?
		  detach_pt(self->device) :
		  attach_pt(self->device, other, NULL));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 1));
	EXPECT_ERRNO(ENOMEM, alloc_hwpt(self->file, self->device_id, self->ioas,
					&hwpt));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(0, TELL(&a, UNMAP, 2 * IOVA, 1));
	ASSERT_EQ(0, alloc_hwpt(self->file, self->device_id, self->ioas,
				&hwpt));
	EXPECT_EQ(8, PAGES(&a));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 2 * IOVA, 1));
	ASSERT_EQ(0, destroy(self->file, hwpt));
	EXPECT_EQ(0, PAGES(&a));
}

/*
 * Another process makes the copy: the charge stays with the one that mapped
 * (trap J3)
 */
TEST_F(memlock, copy_does_not_move_the_charge)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent b = start(_metadata, self, BOB, 8);
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->file, &other));
	EXPECT_EQ(0, TELL(&a, MAP, IOVA, 8));
	ASSERT_EQ(0, copy_at(self->file, other, self->ioas, MAP_RW, 8 * PAGE,
			     IOVA,
			     IOVA));
	/* A copy without a page table pins nothing */
	EXPECT_EQ(0, TELL(&b, UNMAP, IOVA, 8));
	EXPECT_EQ(0, PAGES(&a));
	ASSERT_EQ(0, attach_pt(self->device, other, NULL));
	EXPECT_EQ(8, PAGES(&a));
	EXPECT_EQ(0, PAGES(&b));
	EXPECT_EQ(0, unmap(self->file, other, 0, MAX, NULL));
	EXPECT_EQ(0, PAGES(&a));
}

/* From one process to another and back: all charges move, or none */
TEST_F(memlock, change_of_process_moves_the_charge)
{
	struct agent a = start(_metadata, self, ALICE, MANY);
	struct agent b = start(_metadata, self, BOB, MANY);
	struct agent c = start(_metadata, self, BOB, 7);
	__u32 other;

	ASSERT_EQ(0, alloc_ioas(self->file, &other));
	EXPECT_EQ(0, TELL(&a, MAP_FILE, IOVA, 5));
	EXPECT_EQ(0, TELL(&a, MAP_FILE, 2 * IOVA, 3, 600));
	/* Shared pages move once */
	ASSERT_EQ(0, copy_at(self->file, other, self->ioas, MAP_RW, 5 * PAGE,
			     IOVA,
			     IOVA));
	EXPECT_EQ(8, PAGES(&a));

	EXPECT_EQ(ENOMEM, TELL(&c, CHANGE_PROCESS));
	EXPECT_EQ(8, PAGES(&a));
	EXPECT_EQ(0, PAGES(&c));
	EXPECT_EQ(0, TELL(&b, CHANGE_PROCESS));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(8, PAGES(&b));
	EXPECT_EQ(0, TELL(&b, CHANGE_PROCESS));
	EXPECT_EQ(8, PAGES(&b));
	/* From now on they count for the new process */
	EXPECT_EQ(ENOMEM, TELL(&b, MAP, 3 * IOVA, MANY - 7));
	EXPECT_EQ(0, TELL(&b, MAP, 3 * IOVA, MANY - 8));
	EXPECT_EQ(0, TELL(&a, MAP, 4 * IOVA, MANY));
	/* Memory of a process can't be moved, and then nothing moves */
	EXPECT_EQ(EINVAL, TELL(&a, CHANGE_PROCESS));
	EXPECT_EQ(MANY, PAGES(&b));
	EXPECT_EQ(0, TELL(&b, UNMAP, 3 * IOVA, MANY - 8));
	EXPECT_EQ(0, TELL(&b, UNMAP, 4 * IOVA, MANY));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(8, PAGES(&b));

	/* The old process exits; its charges can still be moved */
	stop(b.pid);
	EXPECT_EQ(0, TELL(&a, CHANGE_PROCESS));
	EXPECT_EQ(8, PAGES(&a));
	EXPECT_EQ(0, unmap(self->file, self->ioas, 0, MAX, NULL));
	EXPECT_EQ(0, PAGES(&a));
}

/* What is not pinned yet is charged to the new process later */
TEST_F(memlock, change_of_process_without_a_table)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent b = start(_metadata, self, BOB, 8);

	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_EQ(0, TELL(&a, MAP_FILE, IOVA, 8));
	EXPECT_EQ(0, TELL(&b, CHANGE_PROCESS));
	EXPECT_EQ(0, PAGES(&b));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(8, PAGES(&b));
	EXPECT_EQ(ENOMEM, TELL(&b, MAP, 2 * IOVA, 1));
}

/* What was mapped with privilege is not limited, whoever takes it over */
TEST_F(memlock, change_of_process_keeps_the_privilege)
{
	struct agent root = start(_metadata, self, 0, 1);
	struct agent a = start(_metadata, self, ALICE, 1);

	EXPECT_EQ(0, TELL(&root, MAP_FILE, IOVA, 8));
	EXPECT_EQ(0, TELL(&a, CHANGE_PROCESS));
	EXPECT_EQ(0, count(root.pid, "VmPin"));
	EXPECT_EQ(8, count(a.pid, "VmPin"));
	EXPECT_EQ(0, count(a.pid, "VmLck"));
	EXPECT_EQ(0, TELL(&a, MAP, 2 * IOVA, 1));
	EXPECT_EQ(ENOMEM, TELL(&a, MAP, 3 * IOVA, 1));
	EXPECT_EQ(0, TELL(&a, UNMAP, IOVA, 8));
	EXPECT_EQ(1, PAGES(&a));
}

/*
 * Between two processes of a user the total does not change, so it never fails
 */
TEST_F(memlock, change_of_process_of_a_user)
{
	struct agent a = start(_metadata, self, ALICE, 8);
	struct agent a2 = start(_metadata, self, ALICE, 8);

	EXPECT_EQ(0, TELL(&a, MAP_FILE, IOVA, 8));
	EXPECT_EQ(0, TELL(&a2, CHANGE_PROCESS));
	EXPECT_EQ(0, PAGES(&a));
	EXPECT_EQ(8, PAGES(&a2));
	EXPECT_EQ(ENOMEM, TELL(&a2, MAP, 2 * IOVA, 1));
	EXPECT_EQ(variant->per_process ? 0 : ENOMEM, TELL(&a, MAP, 2 * IOVA,
							  1));
}

TEST_HARNESS_MAIN

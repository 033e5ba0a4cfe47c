// SPDX-License-Identifier: GPL-2.0-only
/*
 * Show which requests wait for each other.
 *
 *	parallel cdev|type1 stall	which requests pass while a MAP waits in userfaultfd
 *	parallel cdev|type1 scale	throughput of two processors relative to one
 *	parallel cdev|type1 locks	locks that two address spaces contend for (CONFIG_LOCK_STAT)
 *
 * For the VM "pair", which has two processors that run in parallel.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "memory.h"

/*
 * Adjoining IOVAs: of the stalled map, of an earlier map, and of one meanwhile
 */
#define STALLED IOVA
#define BEFORE (IOVA + SZ_2M)
#define MEANWHILE (IOVA + 2 * SZ_2M)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Before 8.2, QEMU at times loses an access to registers if a device's
 * registers move while another processor runs in its own thread. vfio-pci moves
 * them when it opens and closes a device, so only one processor is online then.
 */
static void second_processor(bool on)
{
	static const char file[] = "/sys/devices/system/cpu/cpu1/online";
	int fd = open(file, O_WRONLY);

	if (fd < 0 || write(fd, on ? "1" : "0", 1) != 1)
		fail(file);
	close(fd);
}

/*
 * struct request - one request, made by its own thread
 * @state: what the thread waits for, and reports
 *
 * The threads are created before anything stalls: if a stalled MAP held mmap_lock,
 * no thread could be created.
 */
struct request {
	const char *name;
	struct space *s;
	void *buf;
	pthread_t thread;
	int ret;
	enum { IDLE, STARTED, DONE } state;
};

static int state(struct request *r)
{
	return __atomic_load_n(&r->state, __ATOMIC_ACQUIRE);
}

static void set_state(struct request *r, int state)
{
	__atomic_store_n(&r->state, state, __ATOMIC_RELEASE);
}

static void *make_request(void *arg)
{
	struct request *r = arg;

	while (state(r) != STARTED)
		usleep(1000);
	if (!strcmp(r->name, "stalled"))
		r->ret = space_map(r->s, r->buf, SZ_4K, STALLED);
	else if (!strcmp(r->name, "MAP"))
		r->ret = space_map(r->s, r->buf, SZ_4K, MEANWHILE);
	else if (!strcmp(r->name, "UNMAP"))
		r->ret = space_unmap(r->s, BEFORE, SZ_4K);
	else
		r->ret = space_ask(r->s);
	set_state(r, DONE);
	return NULL;
}

static void prepare(struct request *r, struct space *s, const char *name, void *buf)
{
	*r = (struct request){ .name = name, .s = s, .buf = buf };
	if (pthread_create(&r->thread, NULL, make_request, r))
		fail("pthread_create");
}

static bool is_done_in(struct request *r, double seconds)
{
	double deadline = now() + seconds;

	while (state(r) != DONE && now() < deadline)
		usleep(1000);
	return state(r) == DONE;
}

static void stall(bool legacy)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero = {};
	struct request stalled, other[3];
	static const char *const names[] = { "MAP", "UNMAP", "IOVA_RANGES" };
	struct pollfd event = { .events = POLLIN };
	char *missing, *buf;
	struct uffd_msg msg;
	struct space s;
	int i;

	second_processor(false);
	space_open(&s, legacy, &devices[0]);
	second_processor(true);
	buf = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	missing = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED || missing == MAP_FAILED)
		fail("mmap");
	if (space_map(&s, buf, SZ_4K, BEFORE))
		fail("MAP");

	event.fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	reg.range.start = (uintptr_t)missing;
	reg.range.len = SZ_4K;
	if (event.fd < 0 || ioctl(event.fd, UFFDIO_API, &api) || ioctl(event.fd, UFFDIO_REGISTER, &reg))
		fail("userfaultfd");
	prepare(&stalled, &s, "stalled", missing);
	for (i = 0; i < 3; i++)
		prepare(&other[i], &s, names[i], buf);
	set_state(&stalled, STARTED);
	if (poll(&event, 1, 2000) != 1 || read(event.fd, &msg, sizeof(msg)) != sizeof(msg)) {
		if (state(&stalled) != DONE || !stalled.ret)
			give_up("the MAP did not come to the missing page");
		/* Type1 does not let userfaultfd handle the fault */
		printf("stall fails\n");
		return;
	}

	for (i = 0; i < 3; i++) {
		set_state(&other[i], STARTED);
		printf("stall %s %s\n", names[i], is_done_in(&other[i], 2) ? "passes" : "waits");
	}
	if (state(&stalled) == DONE)
		give_up("the MAP did not stall");

	zero.range = reg.range;
	if (ioctl(event.fd, UFFDIO_ZEROPAGE, &zero))
		fail("UFFDIO_ZEROPAGE");
	pthread_join(stalled.thread, NULL);
	if (stalled.ret)
		give_up("the MAP that stalled failed");
	for (i = 0; i < 3; i++) {
		pthread_join(other[i].thread, NULL);
		if (other[i].ret)
			give_up("%s failed", names[i]);
	}
}

/*
 * struct worker - a process with its own device, address space and processor
 * @go: the parent writes a byte
 * @ready: the worker answers each byte with one when its work is done
 */
struct worker {
	int go[2];
	int ready[2];
	pid_t pid;
};

struct work {
	const char *name;
	enum memory_kind kind;
	size_t size, nr;
};

static const struct work works[] = {
	{ "4 KiB", SMALL, SZ_4K, 10000 },
	{ "64 KiB", SMALL, 16 * SZ_4K, 6000 },
	{ "2 MiB", SMALL, SZ_2M, 300 },
	{ "2 MiB THP", THP, SZ_2M, 6000 },
	{ "no requests", SMALL, 0, 300000000 }, /* the share of the host that two processors get */
};
#define NR_WORKS (sizeof(works) / sizeof(works[0]))

static void work(struct worker *w, const struct work *what, bool legacy, int i)
{
	struct space s;
	char *buf, byte;
	size_t n;

	buf = get_memory(what->kind, 4 * SZ_2M);
	space_open(&s, legacy, &devices[i]);
	while (write(w->ready[1], "", 1) == 1 && read(w->go[0], &byte, 1) == 1)
		for (n = 0; n < what->nr; n++) {
			if (!what->size)
				asm volatile("");
			else if (space_map(&s, buf, what->size, IOVA) || space_unmap(&s, IOVA, what->size))
				fail(what->name);
		}
}

static void wait_ready(struct worker *w)
{
	char byte;

	if (read(w->ready[0], &byte, 1) != 1)
		give_up("a worker is gone");
}

static void start_workers(struct worker *w, const struct work *what, bool legacy)
{
	cpu_set_t cpus;
	int i;

	fflush(stdout);
	second_processor(false);
	for (i = 0; i < 2; i++) {
		if (pipe2(w[i].go, O_CLOEXEC) || pipe2(w[i].ready, O_CLOEXEC))
			fail("pipe");
		w[i].pid = fork();
		if (!w[i].pid) {
			work(&w[i], what, legacy, i);
			_exit(0);
		}
		close(w[i].ready[1]);
		wait_ready(&w[i]);
	}
	second_processor(true);
	for (i = 0; i < 2; i++) {
		CPU_ZERO(&cpus);
		CPU_SET(i, &cpus);
		if (sched_setaffinity(w[i].pid, sizeof(cpus), &cpus))
			fail("sched_setaffinity");
	}
}

static double run_workers(struct worker *w, int nr)
{
	double start = now();
	int i;

	for (i = 0; i < nr; i++)
		if (write(w[i].go[1], "", 1) != 1)
			fail("pipe");
	for (i = 0; i < nr; i++)
		wait_ready(&w[i]);
	return now() - start;
}

static void stop_workers(struct worker *w)
{
	int i;

	second_processor(false);
	for (i = 0; i < 2; i++) {
		kill(w[i].pid, SIGKILL);
		waitpid(w[i].pid, NULL, 0);
		close(w[i].go[0]);
		close(w[i].go[1]);
		close(w[i].ready[0]);
	}
	second_processor(true);
}

static double min(double a, double b)
{
	return a < b ? a : b;
}

/* The shortest of several times has the least disturbance by the host */
static void scale(bool legacy)
{
	struct worker w[2];
	size_t i, j;

	for (i = 0; i < NR_WORKS; i++) {
		double one = 1e9, two = 1e9;

		start_workers(w, &works[i], legacy);
		run_workers(w, 2);
		for (j = 0; j < 15; j++) {
			one = min(one, run_workers(w, 1));
			two = min(two, run_workers(w, 2));
		}
		stop_workers(w);
		printf("scale %.2f %s\n", 2 * one / two, works[i].name);
	}
}

/* Locks that two address spaces contend for, from /proc/lock_stat, and where */
static void locks(bool legacy)
{
	static const char stat[] = "/proc/lock_stat";
	struct worker w[2];
	char line[512];
	int shown = 0;
	size_t i;
	FILE *f;

	for (i = 0; i < NR_WORKS; i++) {
		printf("work %s\n", works[i].name);
		start_workers(w, &works[i], legacy);
		run_workers(w, 2);
		f = fopen(stat, "w");
		if (!f || fputs("0\n", f) < 0 || fclose(f))
			fail(stat);
		run_workers(w, 2);
		f = fopen(stat, "r");
		if (!f)
			fail(stat);
		while (fgets(line, sizeof(line), f)) {
			char *colon = strrchr(line, ':'), *site = strstr(line, "[<");
			long bounces, contentions, times;

			/* "class: bounces contentions ...", then "class times [<address>] place" */
			if (site) {
				if (shown && sscanf(site - 20, "%ld", &times) == 1)
					printf("site %ld %s", times, site);
			} else if (colon && sscanf(colon + 1, "%ld %ld", &bounces, &contentions) == 2) {
				shown = contentions > 0;
				*colon = 0;
				if (shown)
					printf("lock %ld %s\n", contentions, line + strspn(line, " "));
			}
		}
		fclose(f);
		stop_workers(w);
	}
}

int main(int argc, char **argv)
{
	static char line[BUFSIZ];
	bool legacy;

	/*
	 * Not from malloc: brk() needs mmap_lock, which a stalled MAP may hold
	 */
	setvbuf(stdout, line, _IOLBF, sizeof(line));
	if (argc != 3)
		give_up("usage: parallel cdev|type1 stall|scale|locks");
	legacy = !strcmp(argv[1], "type1");
	give_devices_to_vfio();
	if (!strcmp(argv[2], "stall"))
		stall(legacy);
	else if (!strcmp(argv[2], "scale"))
		scale(legacy);
	else if (!strcmp(argv[2], "locks"))
		locks(legacy);
	else
		give_up("no such thing to see: %s", argv[2]);
	/* The devices are closed now */
	second_processor(false);
	printf("done\n");
	return 0;
}

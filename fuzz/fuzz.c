// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz /dev/iommu against a model that knows the expected result of each call.
 * This is not one of the selftests, which do the same each time and say what they
 * prove. A bug found here becomes a case of theirs.
 *
 *	mock	IOMMUs and devices that exist only in memory (CONFIG_IOMMUFD_TEST)
 *	real	the edu devices of the test VM, with DMA
 *
 * A sequence of calls begins in a new process. Its numbers are random, but near
 * what the model has. After each call its result, what it wrote, and the charges
 * of processes are compared with the model; at the end the memory, and that
 * nothing stays pinned or charged. Every eighth sequence continues in threads, for
 * which only that end is checked, and that errors are documented.
 *
 * A sequence that fails is tried again without some of its calls, as long as it
 * fails in the same way. The rest is printed as a test has it.
 *
 * Environment: SEED is the first seed, and also repeats a sequence; FUZZ_SECONDS.
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "ops.h"
#include "real.h"

#undef ioctl

struct world *w;

#define MAX_TYPES 64
const struct op_type *op_types[MAX_TYPES];
int nr_op_types;

/* Operations that make sense here */
static void collect_types(void)
{
	static const struct op_type *const tables[] = {
		ioas_ops, container_ops, device_ops, access_ops, memory_ops,
		real_ops,
	};
	const struct op_type *type;
	int i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (type = tables[i]; type->name; type++)
			if (type->where != (w->real ? MOCK : REAL))
				op_types[nr_op_types++] = type;
}

/*
 * Ways in which a sequence can fail. The type of operation is added to the
 * first four, and both errnos to the first.
 */
enum {
	BAD_RET = 100, BAD_VALUE = 200, BAD_DATA = 300, BAD_CHARGE = 400,
	BAD_END = 500, SPLAT, CRASH, HANG, RACE,
};

/* Threads that race, and calls of each */
#define NTHREADS 3
#define NRACES 40

/* Seconds for shortening a sequence, and how many sequences are reported */
#define SHRINK_SECONDS 60
#define MAX_REPORTS 6

/*
 * Random numbers
 */

static __u64 state;

static __u64 next_rnd(void)
{
	__u64 z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

__u64 rnd(__u64 n)
{
	return next_rnd() % n;
}

bool chance(int one_in)
{
	return !rnd(one_in);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Reporting */

void say(const char *fmt, ...)
{
	size_t used = strlen(w->call);
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->call + used, sizeof(w->call) - used, fmt, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3)))
static void fail(int kind, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->failed, sizeof(w->failed), fmt, args);
	va_end(args);
	w->failed_kind = kind;
	if (w->trace)
		printf("# note: \t/* here: %s */\n", w->failed);
	fflush(stdout);
	_exit(1);
}

static const char *name(int ret)
{
	return ret ? strerrorname_np(-ret) ?: "no errno" : "0";
}

static void trace(const struct op *op)
{
	w->call[0] = 0;
	op_types[op->type]->print(op);
	printf("# note: \t");
	if (op->proc)
		printf("/* process %d */ ", op->proc);
	if (w->expect.ret)
		printf("EXPECT_ERRNO(%s, (%s));\n", name(w->expect.ret), w->call);
	else
		printf("ASSERT_EQ(0, (%s));\n", w->call);
}

/*
 * One operation
 */

static int type_of(const char *which)
{
	int type = 0;

	while (strcmp(op_types[type]->name, which))
		type++;
	return type;
}

static void compare(const struct op *op)
{
	const struct outcome *e = &w->expect, *g = &w->got;
	const char *what = op_types[op->type]->name;
	size_t i;

	if (g->ret != e->ret && !(e->other && g->ret == e->other))
		fail((BAD_RET + op->type) | -g->ret << 10 | -e->ret << 18,
		     "%s: the kernel says %s, the model %s", what,
		     name(g->ret), name(e->ret));
	for (i = 0; i < e->nr; i++)
		if (g->val[i] != e->val[i])
			fail(BAD_VALUE + op->type,
			     "%s: number %zu is 0x%llx, the model has 0x%llx",
			     what, i, g->val[i], e->val[i]);
	for (i = 0; i < e->check; i++)
		if (g->data[i] != e->data[i])
			fail(BAD_DATA + op->type,
			     "%s: byte %zu is 0x%02x, the model has 0x%02x",
			     what, i, g->data[i], e->data[i]);
}

static long status_of(const struct proc *p, const char *text, const char *field)
{
	const char *line = strstr(text, field);

	return line ? atol(line + strlen(field)) * 1024 / (long)PAGE : -1;
}

/*
 * Compare VmPin and VmLck of the caller, of processes whose charge should
 * change, and at times of all
 */
static void check_charges(const struct op *op)
{
	static long pinned_before[NPROCS];
	static unsigned int turn;
	int i;

	turn++;
	for (i = 0; i < NPROCS; i++) {
		const struct proc *p = &w->procs[i];
		char path[64], text[2048];
		long pinned, locked;
		ssize_t len;
		int fd;

		if (!p->alive || (i != op->proc && p->pinned == pinned_before[i] &&
				  turn % 8))
			continue;
		pinned_before[i] = p->pinned;
		snprintf(path, sizeof(path), "/proc/%d/status", p->pid);
		fd = open(path, O_RDONLY);
		len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		close(fd);
		if (len < 0)
			fail(CRASH, "process %d has died", i);
		text[len] = 0;
		pinned = status_of(p, text, "VmPin:");
		locked = status_of(p, text, "VmLck:");
		if (pinned == p->pinned && locked == p->locked)
			continue;
		fail(BAD_CHARGE + op->type,
		     "%s: process %d has VmPin %ld VmLck %ld pages, the model has %ld and %ld",
		     op_types[op->type]->name, i, pinned, locked, p->pinned,
		     p->locked);
	}
}

/*
 * A failed call may have faulted in some pages. Write to them, so that model
 * and kernel agree on which pages belong to the process.
 */
static void settle_pages(void)
{
	int i, page;

	for (i = 0; i < NPROCS; i++) {
		struct proc *p = &w->procs[i];

		for (page = 0; p->fuzzy && page < NPAGES; page++) {
			if (!p->touch[page])
				continue;
			p->touch[page] = false;
			if (!p->alive || p->pages[page].kind != ANON ||
			    !(p->pages[page].prot & PROT_WRITE))
				continue;
			w->op = (struct op){ .type = type_of("touch"), .a = page };
			run_in(i, &w->op);
		}
		p->fuzzy = false;
	}
}

/* Get the expected result from the model, make the call, and compare */
static void step(const struct op *op)
{
	const struct op_type *type = op_types[op->type];

	if (!w->procs[op->proc].alive)
		return;
	memset(&w->expect, 0, offsetof(struct outcome, data));
	memset(&w->got, 0, offsetof(struct outcome, data));
	w->op = *op;
	type->model(&w->op, &w->expect);
	if (w->expect.skip)
		return;
	run_in(op->proc, &w->op);
	w->calls++;
	w->good += !w->expect.ret;
	if (type->bind && !w->got.ret && !w->expect.ret)
		type->bind(&w->op, &w->got);
	if (w->trace && !w->ending)
		trace(&w->op);
	compare(op);
	settle_pages();
	if (!w->ending)
		check_charges(op);
}

/*
 * CHANGE_PROCESS succeeds only if everything that is mapped is memory of files
 */
static bool is_unwanted(const char *which)
{
	return w->only_files && (!strcmp(which, "MAP") || !strcmp(which, "MAP_DMA"));
}

static void choose(struct op *op)
{
	int total = 0, i, at, next_slot = w->next_slot;

	for (i = 0; i < nr_op_types; i++)
		total += op_types[i]->weight;
again:
	w->next_slot = next_slot;
	do {
		at = rnd(total);
		for (i = 0; at >= op_types[i]->weight; i++)
			at -= op_types[i]->weight;
	} while ((w->racing && op_types[i]->alone) ||
		 is_unwanted(op_types[i]->name));
	memset(op, 0, sizeof(*op));
	op->type = i;
	op->ctx = chance(5);
	if (!w->racing && chance(3)) {
		op->proc = rnd(NPROCS);
		if (!w->procs[op->proc].alive)
			op->proc = 0;
	}
	op_types[i]->gen(op);
	/*
	 * A call for no object always returns the same error. While threads race,
	 * a device that was closed is a number that another file can get
	 */
	if (op->obj && !w->objects[op->obj].live &&
	    ((w->racing && w->real) || !chance(10)))
		goto again;
}

/* A sequence begins with one of these, or with anything */
#define NFIRST 6

static const struct {
	const char *name;
	__u64 a, b;
} firsts[][NFIRST] = {
	{ { "IOAS_ALLOC" }, { "device" }, { "IOAS_ALLOC" }, { "ATTACH" },
	  { "device" }, { "ATTACH" } },
	/* A container of version 1, which can cut mappings */
	{ { "IOAS_ALLOC" }, { "VFIO_IOAS", IOMMU_VFIO_IOAS_SET },
	  { "SET_IOMMU", VFIO_TYPE1_IOMMU }, { "MAP_DMA" }, { "device" },
	  { "ATTACH" } },
	{ { "IOAS_ALLOC" }, { "access" }, { "MAP" }, { "access_pin" },
	  { "device" }, { "ATTACH" } },
	/* More than one batch of pins */
	{ { "IOAS_ALLOC" }, { "device" }, { "ATTACH" },
	  { "MAP", BUF + 5 * PAGE, 600 * PAGE }, { "DMA" }, { "DMA" } },
};

static void choose_first(struct op *op, int nr)
{
	int which = w->seed % (ARRAY_SIZE(firsts) + 1);
	const char *wanted;

	if (which == ARRAY_SIZE(firsts) || nr >= NFIRST ||
	    is_unwanted(firsts[which][nr].name) ||
	    (w->real && !strncmp(firsts[which][nr].name, "access", 6))) {
		choose(op);
		return;
	}
	wanted = firsts[which][nr].name;
	if (w->real && !strcmp(wanted, "device"))
		wanted = "open";
	if (w->real && !strcmp(wanted, "DMA"))
		wanted = "dma";
	memset(op, 0, sizeof(*op));
	op->type = type_of(wanted);
	op_types[op->type]->gen(op);
	op->mangle = PLAIN;
	if (firsts[which][nr].a)
		op->a = firsts[which][nr].a;
	if (firsts[which][nr].b)
		op->b = firsts[which][nr].b;
}

/*
 * One sequence
 */

/*
 * Become a user without locked memory, so that a leaked charge does not make
 * the next sequence fail. The user keeps all capabilities but CAP_IPC_LOCK.
 */
static int become_user(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	uid_t uid = 100000 + getpid();

	if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(uid, uid, uid) ||
	    syscall(SYS_capget, &header, data))
		return -1;
	data[0].effective = data[0].permitted & ~(1U << CAP_IPC_LOCK);
	data[1].effective = data[1].permitted;
	return syscall(SYS_capset, &header, data);
}

/*
 * Write to some pages from the last to the first. Pages that are faulted in
 * ascending order are contiguous, which hides mistakes at the border of two
 * batches.
 */
static void scatter(void)
{
	int page, i;

	for (page = 560; page >= 0; page--) {
		if (page == 480)
			page = 32;
		*(volatile char *)(BUF + page * PAGE) = 0;
		look(&w->procs[0], page, true);
		for (i = 0; i < NFILES; i++) {
			if (pwrite(w->files[i].fd, "", 1, page * PAGE) != 1)
				fail(CRASH, "no memory for a memfd");
			w->files[i].frames[page] = new_frame(NULL);
		}
	}
}

static void set_up(void)
{
	struct rlimit limit = { .rlim_max = RLIM_INFINITY };
	void *buf;
	int i;

	state = w->seed;
	w->huge = chance(4);
	w->only_files = chance(5);
	w->limit = chance(2) ? 0 : chance(3) ? 600 + rnd(500) : 2 + rnd(30);
	buf = mmap((void *)BUF, NPAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (buf != (void *)BUF)
		fail(CRASH, "no memory at BUF");
	madvise(buf, NPAGES * PAGE, w->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);

	w->procs[0].alive = true;
	w->procs[0].pid = getpid();
	for (i = 0; i < NPAGES; i++) {
		w->procs[0].pages[i] = (struct vpage){
			.kind = ANON, .prot = PROT_READ | PROT_WRITE,
		};
		if (w->huge)
			look(&w->procs[0], i, true);
	}
	if (w->huge)
		memset(buf, 0, NPAGES * PAGE);
	for (i = 0; i < NFILES; i++) {
		w->files[i].fd = memfd_create("fuzz", 0);
		w->files[i].npages = NPAGES;
		if (ftruncate(w->files[i].fd, NPAGES * PAGE))
			fail(CRASH, "no memfd");
	}
	if (!w->huge && chance(2))
		scatter();
	for (i = 0; i < NCTX; i++)
		w->ctx[i] = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	w->spare = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (w->spare < 0)
		fail(CRASH, "no /dev/iommu");
	/* Number of pages that are handled at once */
	i = chance(2) ? MOCK_MEMORY_LIMIT : 12 * (1 + rnd(40));
	if (!w->real)
		mock_memory_limit(w->spare, i);
	limit.rlim_cur = w->limit ? w->limit * PAGE : RLIM_INFINITY;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || (w->limit && become_user()))
		fail(CRASH, "can't set the limit");
}

static bool is_same(int page, const struct frame *frame)
{
	return !memcmp(frame->data, (void *)(BUF + page * PAGE), PAGE);
}

/* Compare all memory with the model */
static void check_memory(void)
{
	struct op op = { .type = type_of("check") };
	int page;

	w->ending = true;
	for (; op.proc < NPROCS; op.proc++) {
		struct proc *p = &w->procs[op.proc];

		for (page = 0; page < NPAGES; page++) {
			struct frame *frame = look(p, page, false);

			op.a = page;
			/*
			 * The first process can compare by itself, which is
			 * faster
			 */
			if (!frame || (!op.proc && is_same(page, frame)))
				continue;
			if (p->frames[page] || p->pages[page].kind == SHARED)
				step(&op);
		}
	}
}

static void close_all(void)
{
	int i;

	for (i = 1; i < NPROCS; i++) {
		if (!w->procs[i].alive)
			continue;
		close(w->procs[i].to);
		close(w->procs[i].from);
		waitpid(w->procs[i].pid, NULL, 0);
	}
	for (i = 0; i <= w->next_slot; i++) {
		struct object *obj = &w->objects[i];

		if (obj->type == ACCESS && obj->access > 0)
			close(obj->access);
		if (obj->live && obj->type == DEVICE && w->real)
			real_close(obj);
	}
	for (i = 0; i < NCTX; i++)
		close(w->ctx[i]);
}

/* Is the whole limit available again, and no more? */
static void check_limit(void)
{
	long limit = w->limit ?: 40;
	struct rlimit rlimit = { limit * PAGE, RLIM_INFINITY };
	struct mock mock;
	__u32 ioas;

	setrlimit(RLIMIT_MEMLOCK, &rlimit);
	if (mmap((void *)BUF, NPAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail(CRASH, "no memory: %s", name(-errno));
	if (!w->limit && become_user())
		fail(CRASH, "no capset: %s", name(-errno));
	if (alloc_ioas(w->spare, &ioas))
		fail(CRASH, "no ioas: %s", name(-errno));
	if (mock_domain(w->spare, ioas, &mock))
		fail(CRASH, "no mock device: %s", name(-errno));
	if (map_at(w->spare, ioas, BUF, limit * PAGE, 0x2000000))
		fail(BAD_END, "the user is still charged for something");
	if (!map_at(w->spare, ioas, BUF + limit * PAGE, PAGE, 0x3000000))
		fail(BAD_END, "the user can lock more than the limit");
}

/* Close all, and check that nothing stays pinned or charged */
static void tear_down(void)
{
	int page;

	close_all();
	if (status_kb("VmPin") || status_kb("VmLck"))
		fail(BAD_END, "VmPin is %ld KiB and VmLck %ld KiB after all files were closed",
		     status_kb("VmPin"), status_kb("VmLck"));
	for (page = 0; !w->real && page < NPAGES; page++) {
		struct proc *p = &w->procs[0];

		if (p->pages[page].kind == ANON && p->frames[page] &&
		    (p->pages[page].prot & PROT_READ) &&
		    mock_check_refs(w->spare, (void *)(BUF + page * PAGE), PAGE, 0))
			fail(BAD_END, "page 0x%llx of BUF is still pinned",
			     page * PAGE);
	}
	if (!w->real)
		check_limit();
}

/* Threads: each error must be documented, and tear_down() must find nothing */

static struct op races[NTHREADS][NRACES];

static void *race(void *arg)
{
	struct op *ops = arg;
	int i, j;

	for (i = 0; i < NRACES; i++) {
		const struct op_type *type = op_types[ops[i].type];
		struct outcome out = {};

		type->issue(&ops[i], &out);
		for (j = 0; type->errnos[j] <= 0; j++)
			if (type->errnos[j] == out.ret)
				break;
		if (type->errnos[j] > 0)
			fail(RACE, "%s returned %s, which is not documented",
			     type->name, name(out.ret));
	}
	return NULL;
}

static void race_all(void)
{
	pthread_t threads[NTHREADS];
	int i, j;

	w->racing = true;
	for (i = 0; i < NTHREADS; i++)
		for (j = 0; j < NRACES; j++)
			choose(&races[i][j]);
	for (i = 0; i < NTHREADS; i++)
		pthread_create(&threads[i], NULL, race, races[i]);
	for (i = 0; i < NTHREADS; i++)
		pthread_join(threads[i], NULL);
	w->calls += NTHREADS * NRACES;
	/* The model does not know what the threads did to memory */
	memset(w->procs[0].frames, 0, sizeof(w->procs[0].frames));
}

static bool is_race(__u64 seed)
{
	return seed % 8 == 7;
}

/* @nr: number of calls given in @ops; 0 to choose them */
static void run(int nr)
{
	int i, wanted;

	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up();
	wanted = is_race(w->seed) ? 25 : 20 + rnd(MAX_OPS - 20);
	if (w->real)
		wanted = 20 + rnd(40);
	for (i = 0; nr ? i < nr : i < wanted; i++) {
		if (!nr) {
			choose_first(&w->ops[i], i);
			w->nr_ops = i + 1;
		}
		step(&w->ops[i]);
	}
	if (is_race(w->seed))
		race_all();
	else
		check_memory();
	w->op.mangle = PLAIN;
	tear_down();
	_exit(0);
}

static int kmsg;

/* Has the kernel warned since the last time? */
static bool has_splat(void)
{
	static const char *const splats[] = {
		"WARNING:", "BUG:", "KASAN:", "UBSAN:", "refcount_t:",
		"Call Trace:", "INFO: task", "possible recursive locking",
	};
	char line[4096];
	bool found = false;
	ssize_t len;
	size_t i;

	for (;;) {
		len = read(kmsg, line, sizeof(line) - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			break;
		line[len] = 0;
		for (i = 0; i < ARRAY_SIZE(splats); i++)
			if (strstr(line, splats[i]) && !found) {
				snprintf(w->failed, sizeof(w->failed), "%.*s",
					 (int)strcspn(line, "\n"), line);
				found = true;
			}
	}
	return found;
}

/* Run in a new process. Return how it failed, or 0. */
static int try(__u64 seed, const struct op *ops, int nr, bool trace)
{
	static struct op copy[MAX_OPS];
	bool real = w->real;
	int status, i;
	pid_t pid;

	if (nr)
		memcpy(copy, ops, nr * sizeof(*ops));
	/* Get fresh pages instead of clearing them */
	madvise(w, sizeof(*w), MADV_REMOVE);
	w->seed = seed;
	w->real = real;
	w->trace = trace;
	memcpy(w->ops, copy, nr * sizeof(*ops));
	w->nr_ops = nr;
	for (i = 0; i < nr; i++)
		if (w->next_slot < copy[i].slot + 2)
			w->next_slot = copy[i].slot + 2;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		run(nr);
	}
	setpgid(pid, pid);
	for (i = 0; i < 6000; i++) {
		struct timespec pause = { .tv_nsec = i < 100 ? 1000000 : 10000000 };

		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
		nanosleep(&pause, NULL);
	}
	kill(-pid, SIGKILL);
	if (i == 6000) {
		snprintf(w->failed, sizeof(w->failed), "it took longer than a minute");
		w->failed_kind = HANG;
	} else if (WIFSIGNALED(status)) {
		snprintf(w->failed, sizeof(w->failed), "signal %d: a bug of the fuzzer?",
			 WTERMSIG(status));
		w->failed_kind = CRASH;
	}
	if (has_splat())
		w->failed_kind = SPLAT;
	return w->failed_kind;
}

/* Shorten a failing sequence */

static struct op ops[MAX_OPS];
static int nr_ops;
static double deadline;

/* Does this fail in the same way? */
static bool still(__u64 seed, int kind, const struct op *list, int nr)
{
	return nr && now() < deadline && try(seed, list, nr, false) == kind;
}

static void leave_out(__u64 seed, int kind)
{
	struct op list[MAX_OPS];
	int size, at;

	for (size = nr_ops / 2; size; size = size > 1 ? size / 2 : 0) {
again:
		for (at = nr_ops - size; at > -size; at -= size) {
			int from = at < 0 ? 0 : at, nr = nr_ops - size;

			if (nr < 1)
				break;
			memcpy(list, ops, from * sizeof(*ops));
			memcpy(list + from, ops + from + size,
			       (nr - from) * sizeof(*ops));
			if (!still(seed, kind, list, nr))
				continue;
			memcpy(ops, list, nr * sizeof(*ops));
			nr_ops = nr;
			if (at > nr_ops)
				at = nr_ops;
			if (size == 1)
				goto again;
		}
	}
}

/* Make the numbers of a sequence simpler */
static void simplify(__u64 seed, int kind)
{
	struct op list[MAX_OPS];
	int i, how;

	for (i = 0; i < nr_ops; i++) {
		for (how = 0; how < 5; how++) {
			struct op *op = &list[i];

			memcpy(list, ops, sizeof(ops));
			switch (how) {
			case 0:
				op->proc = 0;
				break;
			case 1:
				op->mangle = PLAIN;
				break;
			case 2:
				op->b = PAGE;
				break;
			case 3:
				op->a &= -PAGE;
				break;
			case 4:
				op->a = op->a >= BUF && op->a < BUF + NPAGES * PAGE ?
					BUF : op->a;
				break;
			}
			if (memcmp(op, &ops[i], sizeof(*op)) &&
			    still(seed, kind, list, nr_ops))
				memcpy(ops, list, sizeof(ops));
		}
	}
}

static void report(__u64 seed, int kind, unsigned long sequences)
{
	char first[sizeof(w->failed)];
	int before = w->nr_ops;

	strcpy(first, w->failed);
	memcpy(ops, w->ops, sizeof(ops));
	nr_ops = before;
	deadline = now() + SHRINK_SECONDS;
	printf("# note: sequence %lu, SEED=%llu: %s\n", sequences, seed, first);
	if (is_race(seed)) {
		printf("# note: threads raced; make fuzz SEED=%llu runs it again\n",
		       seed);
		return;
	}
	leave_out(seed, kind);
	simplify(seed, kind);
	leave_out(seed, kind);
	printf("# note: %d of %d calls are left:\n", nr_ops, before);
	try(seed, ops, nr_ops, true);
	printf("# note: RLIMIT_MEMLOCK is %ld pages (0: CAP_IPC_LOCK)%s\n", w->limit,
	       w->huge ? ", memory has huge pages" : "");
	if (w->failed_kind != kind)
		printf("# note: it did not fail in the same way when it was repeated\n");
	else
		printf("# note: %s\n", w->failed);
}

int main(int argc, char **argv)
{
	const char *seconds = getenv("FUZZ_SECONDS") ?: "40";
	const char *seed = getenv("SEED");
	unsigned long nr = 0, calls = 0, good = 0;
	struct timespec ts;
	int reported[MAX_REPORTS], nr_reported = 0, kind, i;
	unsigned long failed = 0;
	double end;
	__u64 first, at;

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (w == MAP_FAILED || kmsg < 0)
		return 1;
	lseek(kmsg, 0, SEEK_END);
	w->real = strstr(argv[0], "real");
	if (w->real && real_prepare()) {
		printf("1..0 # SKIP the edu devices of the test VM are missing\n");
		return 4;
	}
	collect_types();
	clock_gettime(CLOCK_REALTIME, &ts);
	first = seed && *seed ? strtoull(seed, NULL, 0) :
				(ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000) * 1000;
	end = now() + atof(seconds);
	printf("TAP version 13\n1..1\n# note: SEED=%llu, for %s s\n", first, seconds);
	for (at = first; nr_reported < MAX_REPORTS && now() < end; at++) {
		/* If the VM is lost, the host knows the seed */
		printf("#  RUN           SEED=%llu\n", at);
		kind = try(at, NULL, 0, false);
		nr++;
		calls += w->calls;
		good += w->good;
		failed += !!kind;
		/* Failures of the same kind are most often the same bug */
		for (i = 0; i < nr_reported; i++)
			if (reported[i] == kind)
				kind = 0;
		if (!kind)
			continue;
		reported[nr_reported++] = kind;
		report(at, kind, nr);
	}
	printf("# note: %lu sequences, %lu calls, %lu of them without an error; ",
	       nr, calls, good);
	printf("%lu sequences failed\n", failed);
	printf("%sok 1 model_and_kernel_agree\n", failed ? "not " : "");
	return !!failed;
}

// SPDX-License-Identifier: GPL-2.0-only
/* Memory of processes, files, and the processes themselves */
#include <sys/wait.h>

#include "ops.h"
#include "real.h"

/* @a: page of the buffer, @b: number of pages */

static void g_memory(struct op *op)
{
	op->a = some_page();
	op->b = 1 + rnd(6);
	if (op->a + op->b > NPAGES)
		op->b = NPAGES - op->a;
}

static void *page_va(__u64 page)
{
	return (void *)(uintptr_t)(BUF + page * PAGE);
}

/* @flags: GAP, ANON or SHARED; @obj: the file, @c: its page */
static void g_mem_map(struct op *op)
{
	g_memory(op);
	op->flags = rnd(3);
	op->obj = rnd(NFILES);
	op->c = some_page();
	if (op->c + op->b > NPAGES)
		op->c = 0;
}

static void m_mem_map(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->proc];
	__u64 i;

	for (i = 0; i < op->b; i++) {
		p->frames[op->a + i] = NULL;
		p->pages[op->a + i] = (struct vpage){
			.kind = op->flags,
			.prot = PROT_READ | PROT_WRITE,
			.file = op->obj,
			.index = op->c + i,
		};
		if (op->flags == ANON && w->huge)
			look(p, op->a + i, true);
	}
}

static void i_mem_map(const struct op *op, struct outcome *out)
{
	size_t length = op->b * PAGE;
	void *ret;

	switch (op->flags) {
	case GAP:
		out->ret = result(munmap(page_va(op->a), length));
		return;
	case ANON:
		ret = mmap(page_va(op->a), length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (ret != MAP_FAILED && w->huge && !w->racing)
			memset(ret, 0, length);
		else if (ret != MAP_FAILED)
			madvise(ret, length, MADV_NOHUGEPAGE);
		break;
	default:
		ret = mmap(page_va(op->a), length, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, w->files[op->obj].fd,
			   op->c * PAGE);
	}
	out->ret = ret == MAP_FAILED ? -errno : 0;
}

static void p_mem_map(const struct op *op)
{
	if (op->flags == GAP)
		say("munmap(BUF + 0x%llx, 0x%llx)", op->a * PAGE, op->b * PAGE);
	else if (op->flags == ANON)
		say("mmap_anon(BUF + 0x%llx, 0x%llx)", op->a * PAGE, op->b * PAGE);
	else
		say("mmap_shared(BUF + 0x%llx, 0x%llx, memfd%d, 0x%llx)",
		    op->a * PAGE, op->b * PAGE, op->obj, op->c * PAGE);
}

static void g_protect(struct op *op)
{
	g_memory(op);
	op->flags = chance(4) ? PROT_NONE : chance(2) ? PROT_READ :
		    PROT_READ | PROT_WRITE;
}

static void m_protect(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->proc];
	__u64 i;

	for (i = 0; i < op->b; i++)
		if (p->pages[op->a + i].kind == GAP)
			out->skip = true;
	for (i = 0; !out->skip && i < op->b; i++)
		p->pages[op->a + i].prot = op->flags;
}

static void i_protect(const struct op *op, struct outcome *out)
{
	out->ret = result(mprotect(page_va(op->a), op->b * PAGE, op->flags));
}

static void p_protect(const struct op *op)
{
	say("mprotect(BUF + 0x%llx, 0x%llx, %u)", op->a * PAGE, op->b * PAGE,
	    op->flags);
}

/* @c: data to write. Short, so that older data stays visible */
static void g_write(struct op *op)
{
	g_memory(op);
	op->b = 1 + rnd(64);
	op->c = rnd(MAX);
}

static void m_write(const struct op *op, struct outcome *out)
{
	struct frame *frame = look(&w->procs[op->proc], op->a, true);

	if (!frame || !(w->procs[op->proc].pages[op->a].prot & PROT_WRITE))
		out->skip = true;
	else
		pattern(frame->data + op->c % 4000, op->b, op->c);
}

static void i_write(const struct op *op, struct outcome *out)
{
	pattern(page_va(op->a) + op->c % 4000, op->b, op->c);
}

static void p_write(const struct op *op)
{
	say("write_pattern(BUF + 0x%llx, %llu)", op->a * PAGE + op->c % 4000, op->b);
}

static void m_check(const struct op *op, struct outcome *out)
{
	struct frame *frame = look(&w->procs[op->proc], op->a, false);

	out->skip = !frame;
	if (!frame)
		return;
	memcpy(out->data, frame->data, PAGE);
	out->check = PAGE;
}

static void i_check(const struct op *op, struct outcome *out)
{
	memcpy(out->data, page_va(op->a), PAGE);
}

static void p_check(const struct op *op)
{
	say("read_page(BUF + 0x%llx)", op->a * PAGE);
}

/* What a failed call may have done: no byte changes */
static void m_touch_page(const struct op *op, struct outcome *out)
{
}

static void i_touch(const struct op *op, struct outcome *out)
{
	volatile char *byte = page_va(op->a);

	*byte = *byte;
}

/* Number of pins of the page; pages of the first process */
static void g_refs(struct op *op)
{
	op->proc = 0;
	op->a = some_page();
}

static void m_refs(const struct op *op, struct outcome *out)
{
	struct frame *frame = look(&w->procs[0], op->a, false);

	out->skip = !frame || w->procs[0].pages[op->a].kind != ANON ||
		    frame != w->procs[0].frames[op->a];
	/* For the process that issues the call */
	if (!out->skip)
		w->op.b = frame->pins;
}

static void i_refs(const struct op *op, struct outcome *out)
{
	out->ret = result(mock_check_refs(w->ctx[0], page_va(op->a), PAGE,
					  w->op.b));
}

static void p_refs(const struct op *op)
{
	say("mock_check_refs(fd0, BUF + 0x%llx, PAGE, %llu)", op->a * PAGE, w->op.b);
}

/* @obj: the file, @a: pages that are left */
static void g_truncate(struct op *op)
{
	op->obj = rnd(NFILES);
	op->a = chance(3) ? some_page() : NPAGES;
}

static void m_truncate(const struct op *op, struct outcome *out)
{
	struct file *file = &w->files[op->obj];
	__u64 i;

	for (i = op->a; i < NPAGES; i++)
		file->frames[i] = NULL;
	file->npages = op->a;
}

static void i_truncate(const struct op *op, struct outcome *out)
{
	out->ret = result(ftruncate(w->files[op->obj].fd, op->a * PAGE));
}

static void p_truncate(const struct op *op)
{
	say("ftruncate(memfd%d, 0x%llx)", op->obj, op->a * PAGE);
}

/*
 * Processes
 */

/* Execute what the first process says, until it is gone */
static void serve(int from, int to)
{
	char c = 0;

	/*
	 * Report that the inherited fds are closed; until then no other process
	 * may go on
	 */
	if (write(to, &c, 1) != 1)
		_exit(1);
	while (read(from, &c, 1) == 1) {
		op_types[w->op.type]->issue(&w->op, &w->got);
		if (write(to, &c, 1) != 1)
			break;
	}
	_exit(0);
}

static void g_fork(struct op *op)
{
	op->proc = 0;
	op->a = 1 + rnd(NPROCS - 1);
}

static void m_fork(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->a];
	int i;

	out->skip = p->alive || p->pid;
	if (out->skip)
		return;
	p->alive = true;
	memcpy(p->pages, w->procs[0].pages, sizeof(p->pages));
	for (i = 0; i < NPAGES; i++)
		p->frames[i] = w->procs[0].frames[i] ?
			       new_frame(w->procs[0].frames[i]) : NULL;
}

static void i_fork(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->a];
	int to[2], from[2], i;
	pid_t pid;
	char c;

	if (pipe(to) || pipe(from)) {
		out->ret = -errno;
		return;
	}
	pid = fork();
	if (!pid) {
		close(to[1]);
		close(from[0]);
		/*
		 * Close the pipes of other processes, so that those see an end
		 */
		for (i = 1; i < NPROCS; i++)
			if (i != op->a && w->procs[i].alive) {
				close(w->procs[i].to);
				close(w->procs[i].from);
			}
		for (i = 0; i <= w->next_slot; i++) {
			if (!w->objects[i].live)
				continue;
			if (w->objects[i].type == ACCESS)
				close(w->objects[i].access);
			if (w->objects[i].type == DEVICE && w->real)
				real_close(&w->objects[i]);
		}
		serve(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	p->to = to[1];
	p->from = from[0];
	p->pid = pid;
	if (read(p->from, &c, 1) != 1)
		out->ret = -ECHILD;
}

static void p_fork(const struct op *op)
{
	say("fork() /* makes process %llu */", op->a);
}

static void m_exit(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->a];

	out->skip = !p->alive;
	p->alive = false;
}

static void i_exit(const struct op *op, struct outcome *out)
{
	struct proc *p = &w->procs[op->a];

	close(p->to);
	close(p->from);
	if (waitpid(p->pid, NULL, 0) != p->pid)
		out->ret = -errno;
}

static void p_exit(const struct op *op)
{
	say("exit() of process %llu", op->a);
}

/* Let another process make the call */
void run_in(int proc, const struct op *op)
{
	char c = 0;

	if (!proc) {
		op_types[op->type]->issue(&w->op, &w->got);
		return;
	}
	if (write(w->procs[proc].to, &c, 1) != 1 ||
	    read(w->procs[proc].from, &c, 1) != 1)
		w->got.ret = -ECHILD;
}

/* Close a context with all its objects, and open a new one */
static void g_reopen(struct op *op)
{
	op->proc = 0;
	op->ctx = rnd(NCTX);
}

static void m_reopen(const struct op *op, struct outcome *out)
{
	int i;

	for (i = 1; i < NPROCS; i++)
		if (w->procs[i].alive)
			out->skip = true;
	if (w->real)
		out->skip = true;
	if (out->skip)
		return;
	m_close(op->ctx);
	w->by_process[op->ctx] = false;
}

static void i_reopen(const struct op *op, struct outcome *out)
{
	int fd, i;

	for (i = 0; i <= w->next_slot; i++)
		if (w->objects[i].type == ACCESS && w->objects[i].ctx == op->ctx &&
		    w->objects[i].access > 0) {
			close(w->objects[i].access);
			w->objects[i].access = -1;
		}
	close(w->ctx[op->ctx]);
	fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (fd != w->ctx[op->ctx]) {
		dup2(fd, w->ctx[op->ctx]);
		close(fd);
	}
}

static void p_reopen(const struct op *op)
{
	say("close(fd%d), fd%d = open(\"/dev/iommu\", O_RDWR)", op->ctx, op->ctx);
}

const struct op_type memory_ops[] = {
	{ "mmap", 5, ANYWHERE, false, g_mem_map, m_mem_map, i_mem_map, NULL,
	  p_mem_map, ERRNOS(0) },
	{ "mprotect", 4, ANYWHERE, false, g_protect, m_protect, i_protect, NULL,
	  p_protect, ERRNOS(0) },
	{ "write", 8, ANYWHERE, true, g_write, m_write, i_write, NULL, p_write,
	  ERRNOS(0) },
	{ "check", 10, ANYWHERE, true, g_memory, m_check, i_check, NULL, p_check,
	  ERRNOS(0) },
	{ "touch", 0, ANYWHERE, true, g_memory, m_touch_page, i_touch, NULL,
	  p_check, ERRNOS(0) },
	{ "refs", 4, MOCK, true, g_refs, m_refs, i_refs, NULL, p_refs, ERRNOS(0) },
	{ "truncate", 2, ANYWHERE, false, g_truncate, m_truncate, i_truncate,
	  NULL, p_truncate, ERRNOS(0) },
	{ "fork", 2, ANYWHERE, true, g_fork, m_fork, i_fork, NULL, p_fork,
	  ERRNOS(0) },
	{ "exit", 1, ANYWHERE, true, g_fork, m_exit, i_exit, NULL, p_exit,
	  ERRNOS(0) },
	{ "reopen", 1, MOCK, true, g_reopen, m_reopen, i_reopen, NULL, p_reopen,
	  ERRNOS(0) },
	{ }
};

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses: kernel drivers that reach memory themselves. Only the first process
 * has their fds.
 */
#include "ops.h"

static void g_access(struct op *op)
{
	op->proc = 0;
	op->slot = new_slots(1);
	op->obj = pick(op, IOAS);
	op->flags = chance(3) ? 0 : MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
}

/* The id of an access is not returned, but it is the lowest free one */
static __u32 lowest_id(int ctx)
{
	__u32 id = 0;
	int i;

	do {
		id++;
		for (i = 0; i <= w->next_slot; i++)
			if (w->objects[i].live && w->objects[i].ctx == ctx &&
			    w->objects[i].id == id)
				break;
	} while (i <= w->next_slot);
	return id;
}

static void m_access(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS), *access;

	if (!ioas) {
		out->ret = -ENOENT;
		return;
	}
	out->skip = count_live(ACCESS) >= 5;
	if (out->skip)
		return;
	access = m_new(op->slot, ACCESS, op->ctx);
	access->pins = op->flags;
	out->ret = m_access_attach(access, ioas);
	if (out->ret)
		access->live = false;
	else
		access->id = lowest_id(op->ctx);
}

static void i_access(const struct op *op, struct outcome *out)
{
	int access = -1;

	out->ret = result(access_create(fd_of(op), id_of(op->obj), op->flags,
					&access));
	out->ids[0] = access;
}

static void b_access(const struct op *op, const struct outcome *got)
{
	w->objects[op->slot].access = got->ids[0];
}

static void p_access(const struct op *op)
{
	say("access_create(fd%d, %s, %u, &access%d)", op->ctx, name_of(op->obj),
	    op->flags, op->slot);
}

static struct object *access_of(const struct op *op)
{
	struct object *access = &w->objects[op->obj];

	return access->live && access->type == ACCESS ? access : NULL;
}

/* Without an access there is no fd to try */
static struct object *the_access(const struct op *op, struct outcome *out)
{
	struct object *access = access_of(op);

	if (access && access->ctx == op->ctx)
		return access;
	out->skip = true;
	return NULL;
}

static bool is_holding(const struct object *access)
{
	int i;

	for (i = 0; i < MAX_ITEMS; i++)
		if (access->items[i].live)
			return true;
	return false;
}

static void g_access_op(struct op *op)
{
	op->proc = 0;
	op->obj = pick(op, ACCESS);
}

static void m_access_close(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);

	if (!access)
		return;
	m_access_detach(access);
	access->live = false;
}

static void i_access_close(const struct op *op, struct outcome *out)
{
	out->ret = result(close(w->objects[op->obj].access));
	/* Another file can get the number, and is not to be closed with the context */
	w->objects[op->obj].access = -1;
}

static void p_access_close(const struct op *op)
{
	say("close(%s)", name_of(op->obj));
}

static void g_access_attach(struct op *op)
{
	g_access_op(op);
	op->obj2 = pick(op, IOAS);
	op->flags = rnd(3);
}

static void m_access_move(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);
	struct object *ioas = find(op->ctx, op->obj2, IOAS);

	if (!access)
		return;
	/* The mock would later unpin what it does not have any more */
	if (access->stubborn && is_holding(access))
		out->skip = true;
	else if (!op->flags)
		m_access_detach(access);
	else if (!ioas)
		out->ret = -ENOENT;
	else
		out->ret = m_access_attach(access, ioas);
}

static void i_access_attach(const struct op *op, struct outcome *out)
{
	int access = w->objects[op->obj].access;

	out->ret = result(op->flags ?
			  access_attach(fd_of(op), access, id_of(op->obj2)) :
			  access_detach(fd_of(op), access));
}

static void p_access_attach(const struct op *op)
{
	if (op->flags)
		say("access_attach(fd%d, %s, %s)", op->ctx, name_of(op->obj),
		    name_of(op->obj2));
	else
		say("access_detach(fd%d, %s)", op->ctx, name_of(op->obj));
}

/* @a: IOVA, @b: bytes, @flags: MOCK_FLAGS_ACCESS_WRITE or 0 */
static void g_access_pin(struct op *op)
{
	struct object *access;

	g_access_op(op);
	access = access_of(op);
	op->a = some_iova(access ? access->ioas : NULL);
	op->b = chance(10) ? some_length() : (1 + rnd(4)) * PAGE;
	if (!chance(10))
		op->a &= -PAGE;
	op->flags = chance(2) ? MOCK_FLAGS_ACCESS_WRITE : 0;
}

/*
 * Addresses of the first process where it has the memory that was pinned, or 0
 */
static __u64 same_at(struct object *access, __u64 iova, __u64 length)
{
	struct area *area = area_at(access->ioas, iova);
	__u64 va = area->pos + (iova - area->start), done;

	if (area->store->file >= 0 || area->store->owner != &w->procs[0] ||
	    area->last - iova < length - 1)
		return 0;
	for (done = 0; done < length; done += PAGE) {
		int page = (va + done) / PAGE - FIRST_PAGE;

		if (w->procs[0].pages[page].kind != ANON ||
		    !(w->procs[0].pages[page].prot & PROT_READ) ||
		    w->procs[0].frames[page] != frame_at(area, iova + done))
			return 0;
	}
	return va;
}

/* What the last operation of this kind must find, and where it is recorded */
static __u64 expected_at;
static struct item *new_item;

static void m_access_pages(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);
	int i;

	expected_at = 0;
	new_item = NULL;
	if (!access)
		return;
	if (op->b > 1 << 24)
		out->ret = -ENOMEM;
	else if (!access->pins)
		out->ret = -EOPNOTSUPP;
	else if (!op->b)
		out->ret = -EINVAL;
	else if (op->a + op->b - 1 < op->a)
		out->ret = -EOVERFLOW;
	else if ((op->a | op->b) % PAGE)
		out->ret = -EINVAL;
	else if (!access->ioas)
		out->ret = -ENOENT;
	if (out->ret)
		return;
	for (i = 0; i < MAX_ITEMS && !new_item; i++)
		if (!access->items[i].live)
			new_item = &access->items[i];
	out->skip = !new_item;
	if (out->skip)
		return;
	out->ret = m_access_pin(access, op->a, op->b / PAGE, op->flags, &out->other);
	if (out->ret)
		return;
	*new_item = (struct item){
		.live = true, .iova = op->a, .npages = op->b / PAGE,
	};
	expected_at = same_at(access, op->a, op->b);
}

static void i_access_pin(const struct op *op, struct outcome *out)
{
	const void *va = w->racing ? NULL : (void *)(uintptr_t)expected_at;

	out->ret = result(access_pin(fd_of(op), w->objects[op->obj].access, op->a,
				     va, op->b, op->flags, &out->ids[0]));
}

static void b_access_pin(const struct op *op, const struct outcome *got)
{
	if (new_item)
		new_item->id = got->ids[0];
}

static void p_access_pin(const struct op *op)
{
	say("access_pin(fd%d, %s, 0x%llx, %s, 0x%llx, %u, &item)", op->ctx,
	    name_of(op->obj), op->a,
	    expected_at ? va_name(expected_at) : "NULL", op->b, op->flags);
}

static void g_access_unpin(struct op *op)
{
	g_access_op(op);
	op->a = rnd(6);
}

static void m_access_unpin_item(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);
	struct item *item;

	if (!access)
		return;
	item = &access->items[op->a];
	if (!item->npages)
		out->skip = true;
	else if (!item->live)
		out->ret = -ENOENT;
	else
		m_access_unpin(access, item);
}

static void i_access_unpin(const struct op *op, struct outcome *out)
{
	const struct object *access = &w->objects[op->obj];

	out->ret = result(access_unpin(fd_of(op), access->access,
				       access->items[op->a].id));
}

static void p_access_unpin(const struct op *op)
{
	say("access_unpin(fd%d, %s, %u)", op->ctx, name_of(op->obj),
	    w->objects[op->obj].items[op->a].id);
}

/* @a: IOVA, @b: bytes, @c: data to write, @flags: MOCK_ACCESS_RW_* */
static void g_access_rw(struct op *op)
{
	struct object *access;

	g_access_op(op);
	access = access_of(op);
	op->a = some_iova(access ? access->ioas : NULL);
	op->b = ONE_OF(0, 1, 8, 100, PAGE, 5000);
	op->c = rnd(MAX);
	op->flags = (chance(2) ? MOCK_ACCESS_RW_WRITE : 0) |
		    (chance(2) ? MOCK_ACCESS_RW_SLOW_PATH : 0);
}

/*
 * The frame that an access copies from or to: through the process's address if
 * it is its own memory
 */
static int access_page(struct area *area, __u64 iova, __u32 flags,
		       struct frame **frame)
{
	__u64 page = (area->pos + (iova - area->start)) / PAGE;
	struct store *store = area->store;

	if ((flags & MOCK_ACCESS_RW_SLOW_PATH) || store->file >= 0 ||
	    store->owner != &w->procs[0])
		return m_touch(area, iova, frame);
	*frame = page - FIRST_PAGE < NPAGES ?
		 look(&w->procs[0], page - FIRST_PAGE,
		      flags & MOCK_ACCESS_RW_WRITE) : NULL;
	return *frame ? 0 : -EFAULT;
}

static void m_access_copy(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);
	bool write = op->flags & MOCK_ACCESS_RW_WRITE;
	unsigned char data[sizeof(out->data)];
	struct frame *frames[4];
	__u64 done, size;
	int nr = 0;

	if (!access)
		return;
	out->ret = !op->b ? -EINVAL : op->a + op->b - 1 < op->a ? -EOVERFLOW :
		   !access->ioas ? -ENOENT : 0;
	if (out->ret)
		return;
	for (done = 0; done < op->b; done += size) {
		__u64 iova = op->a + done, to_end, at;
		struct area *area = area_at(access->ioas, iova);
		struct frame *frame;

		out->ret = m_access_check(access, iova, 1, write);
		if (!out->ret)
			out->ret = access_page(area, iova, op->flags, &frame);
		if (out->ret)
			break;
		at = (area->pos + (iova - area->start)) % PAGE;
		to_end = PAGE - at;
		if (to_end > area->last - iova + 1)
			to_end = area->last - iova + 1;
		size = to_end < op->b - done ? to_end : op->b - done;
		if (nr == ARRAY_SIZE(frames)) {
			out->skip = true;
			return;
		}
		frames[nr++] = frame;
		if (!write)
			memcpy(out->data + done, frame->data + at, size);
	}
	/* A part may have been written, and no document says how much */
	if (out->ret && write && done) {
		out->skip = true;
		return;
	}
	if (out->ret)
		return;
	out->check = write ? 0 : op->b;
	pattern(data, op->b, op->c);
	for (done = 0, nr = 0; write && done < op->b; done += size, nr++) {
		__u64 iova = op->a + done, to_end, at;
		struct area *area = area_at(access->ioas, iova);

		at = (area->pos + (iova - area->start)) % PAGE;
		to_end = PAGE - at;
		if (to_end > area->last - iova + 1)
			to_end = area->last - iova + 1;
		size = to_end < op->b - done ? to_end : op->b - done;
		memcpy(frames[nr]->data + at, data + done, size);
	}
}

static void i_access_rw(const struct op *op, struct outcome *out)
{
	if (op->flags & MOCK_ACCESS_RW_WRITE)
		pattern(out->data, op->b, op->c);
	out->ret = result(access_rw(fd_of(op), w->objects[op->obj].access, op->a,
				    out->data, op->b, op->flags));
}

static void p_access_rw(const struct op *op)
{
	say("access_rw(fd%d, %s, 0x%llx, data, %llu, %u)", op->ctx,
	    name_of(op->obj), op->a, op->b, op->flags);
}

static void g_access_set(struct op *op)
{
	g_access_op(op);
	op->a = chance(3);
}

static void m_access_set(const struct op *op, struct outcome *out)
{
	struct object *access = the_access(op, out);

	if (access)
		access->stubborn = op->a;
}

static void i_access_set(const struct op *op, struct outcome *out)
{
	out->ret = result(access_set(fd_of(op), w->objects[op->obj].access,
				     op->a ? MOCK_ACCESS_NEVER_UNPINS : 0, 0));
}

static void p_access_set(const struct op *op)
{
	say("access_set(fd%d, %s, %s, 0)", op->ctx, name_of(op->obj),
	    op->a ? "MOCK_ACCESS_NEVER_UNPINS" : "0");
}

const struct op_type access_ops[] = {
	{ "access", 5, MOCK, true, g_access, m_access, i_access, b_access,
	  p_access, ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "access_close", 1, MOCK, true, g_access_op, m_access_close,
	  i_access_close, NULL, p_access_close, ERRNOS(0) },
	{ "access_attach", 4, MOCK, false, g_access_attach, m_access_move,
	  i_access_attach, NULL, p_access_attach,
	  ERRNOS(-ENOENT, -EADDRINUSE, -EBUSY, -EBADFD) },
	{ "access_pin", 10, MOCK, false, g_access_pin, m_access_pages,
	  i_access_pin, b_access_pin, p_access_pin,
	  ERRNOS(-ENOENT, -EPERM, -EOVERFLOW, -EBADFD) },
	{ "access_unpin", 4, MOCK, false, g_access_unpin, m_access_unpin_item,
	  i_access_unpin, NULL, p_access_unpin, ERRNOS(-ENOENT, -EBADFD) },
	{ "access_rw", 8, MOCK, false, g_access_rw, m_access_copy, i_access_rw,
	  NULL, p_access_rw, ERRNOS(-ENOENT, -EPERM, -EOVERFLOW, -EBADFD) },
	{ "access_set", 1, MOCK, true, g_access_set, m_access_set, i_access_set,
	  NULL, p_access_set, ERRNOS(0) },
	{ }
};

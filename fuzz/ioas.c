// SPDX-License-Identifier: GPL-2.0-only
/* Requests about an IOAS, and about any object */
#include "ops.h"

static void g_ioas_alloc(struct op *op)
{
	op->slot = new_slots(1);
	some_mangle(op, true, true);
}

static void m_ioas_alloc(const struct op *op, struct outcome *out)
{
	if (spoiled(op, out))
		return;
	/* No program would know the id */
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		return;
	}
	m_new(op->slot, IOAS, op->ctx);
}

static void i_ioas_alloc(const struct op *op, struct outcome *out)
{
	out->ret = result(alloc_ioas(fd_of(op), &out->ids[0]));
}

void b_slot(const struct op *op, const struct outcome *got)
{
	w->objects[op->slot].id = got->ids[0];
}

static void p_ioas_alloc(const struct op *op)
{
	say("alloc_ioas(fd%d, &ioas%d)", op->ctx, op->slot);
	spoil_name(op);
}

static void g_destroy(struct op *op)
{
	op->obj = pick(op, chance(2) ? HWPT : chance(2) ? IOAS :
			   chance(3) ? DEVICE : chance(2) ? IDEV : ACCESS);
	if (chance(30))
		op->a = ONE_OF(0, 1, 2, 77, 0x7fffffff, 0xffffffff);
	some_mangle(op, false, false);
}

static void m_destroy_id(const struct op *op, struct outcome *out)
{
	struct object *obj = find(op->ctx, op->obj, ANY);

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (op->a > 16)
		return;
	if (op->a) {
		out->skip = true;
		return;
	}
	if (obj)
		out->ret = m_destroy(obj);
}

static void i_destroy(const struct op *op, struct outcome *out)
{
	out->ret = result(destroy(fd_of(op), op->a ?: id_of(op->obj)));
}

static void p_destroy(const struct op *op)
{
	say("destroy(fd%d, %s)", op->ctx, name_of(op->obj));
	spoil_name(op);
}

/* Errors of a length in itself */
int check_range(__u64 iova, __u64 length, __u32 directions)
{
	if (iova == MAX || length == MAX)
		return -EOVERFLOW;
	return directions & MAP_RW ? 0 : -EINVAL;
}

int check_bytes(__u64 pos, __u64 length)
{
	if (!length || length >= MAX - PAGE)
		return -EINVAL;
	return pos + length < pos ? -EOVERFLOW : 0;
}

enum charge charge_of(int ctx)
{
	if (!w->limit)
		return NOBODY;
	return w->by_process[ctx] ? PROCESS : USER;
}

bool is_full(struct object *ioas)
{
	return ioas->nr > 28;
}

static void g_map(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->flags = some_flags();
	op->a = some_va();
	op->b = some_length();
	op->c = some_iova(picked(op, op->obj));
	some_mangle(op, true, true);
}

/* The mapping stays, even if its IOVA can't be returned */
static void answer_iova(const struct op *op, struct outcome *out, __u64 iova)
{
	if (out->ret)
		return;
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		return;
	}
	out->nr = 1;
	out->val[0] = iova;
}

/* @file: -1 for memory of the process */
static void map_memory(const struct op *op, struct outcome *out, int file,
		       bool unmappable, bool bad)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct store *store;
	__u64 iova = op->c;

	if (spoiled(op, out))
		return;
	out->ret = check_range(op->c, op->b, op->flags);
	if (out->ret)
		return;
	out->ret = -ENOENT;
	if (!ioas)
		return;
	out->skip = is_full(ioas);
	out->ret = check_bytes(op->a, op->b);
	if (out->ret || out->skip)
		return;
	out->ret = -EBADF;
	if (unmappable)
		return;
	store = m_store(&w->procs[op->proc], file, op->a, op->b,
			op->flags & IOMMU_IOAS_MAP_WRITEABLE, charge_of(op->ctx));
	store->bad = bad;
	out->ret = m_map(ioas, store, op->flags, op->a, op->b, &iova,
			 &out->other);
	m_drop(store);
	answer_iova(op, out, iova);
}

static void m_map_va(const struct op *op, struct outcome *out)
{
	map_memory(op, out, -1, false, false);
}

static void i_map(const struct op *op, struct outcome *out)
{
	__u64 iova = op->c;

	out->ret = result(map(fd_of(op), id_of(op->obj), op->flags, op->a, op->b,
			      &iova));
	out->val[0] = iova;
}

static void p_map(const struct op *op)
{
	say("iova = 0x%llx, map(fd%d, %s, %s, %s, 0x%llx, &iova)", op->c, op->ctx,
	    name_of(op->obj), flag_names(op->flags), va_name(op->a), op->b);
	spoil_name(op);
}

/* Files: the memfds, one that is not open, and one that is no memory */
#define CLOSED_FILE NFILES
#define OTHER_FILE (NFILES + 1)

static void g_map_file(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->obj2 = chance(20) ? CLOSED_FILE + rnd(2) : rnd(NFILES);
	op->flags = some_flags();
	op->a = some_page() * PAGE + some_offset();
	op->b = some_length();
	op->c = some_iova(picked(op, op->obj));
	some_mangle(op, true, true);
}

static void m_map_file(const struct op *op, struct outcome *out)
{
	map_memory(op, out, op->obj2 < NFILES ? op->obj2 : 0,
		   op->obj2 == CLOSED_FILE, op->obj2 == OTHER_FILE);
}

static int file_fd(int file)
{
	/* /dev/iommu itself: neither tmpfs nor a dma-buf */
	return file < NFILES ? w->files[file].fd :
	       file == CLOSED_FILE ? -1 : w->ctx[0];
}

static void i_map_file(const struct op *op, struct outcome *out)
{
	__u64 iova = op->c;

	out->ret = result(map_file(fd_of(op), id_of(op->obj), op->flags,
				   file_fd(op->obj2), op->a, op->b, &iova));
	out->val[0] = iova;
}

static void p_map_file(const struct op *op)
{
	say("iova = 0x%llx, map_file(fd%d, %s, %s, %s%d, 0x%llx, 0x%llx, &iova)",
	    op->c, op->ctx, name_of(op->obj), flag_names(op->flags),
	    op->obj2 < NFILES ? "memfd" : "other", op->obj2, op->a, op->b);
	spoil_name(op);
}

static void g_copy(struct op *op)
{
	struct object *src, *dst;

	op->obj = pick(op, IOAS);
	op->obj2 = pick(op, IOAS);
	src = picked(op, op->obj2);
	dst = picked(op, op->obj);
	op->flags = some_flags();
	op->a = some_iova(src);
	op->b = some_length();
	if (src && src->type == IOAS && src->nr && !chance(3)) {
		struct area *a = &src->areas[rnd(src->nr)];

		op->a = a->start;
		op->b = a->last - a->start + 1;
		if (chance(3))
			op->a += rnd(4) * PAGE;
		if (chance(3))
			op->b = (1 + rnd(3)) * PAGE;
	}
	op->c = some_iova(dst);
	some_mangle(op, true, true);
}

static void m_copy_areas(const struct op *op, struct outcome *out)
{
	struct object *src = find(op->ctx, op->obj2, IOAS);
	struct object *dst = find(op->ctx, op->obj, IOAS);
	__u64 iova = op->c;

	if (spoiled(op, out))
		return;
	out->ret = op->a == MAX ? -EOVERFLOW :
		   check_range(op->c, op->b, op->flags);
	if (out->ret)
		return;
	out->ret = -ENOENT;
	if (!src)
		return;
	out->ret = !op->b ? -EINVAL : op->a + op->b - 1 < op->a ? -EOVERFLOW : 0;
	if (out->ret)
		return;
	out->ret = -ENOENT;
	if (!dst)
		return;
	out->skip = is_full(dst);
	if (out->skip)
		return;
	out->ret = m_copy(dst, src, op->flags, op->b, &iova, op->a, &out->other);
	answer_iova(op, out, iova);
}

static void i_copy(const struct op *op, struct outcome *out)
{
	__u64 iova = op->c;

	out->ret = result(copy(fd_of(op), id_of(op->obj), id_of(op->obj2),
			       op->flags, op->b, &iova, op->a));
	out->val[0] = iova;
}

static void p_copy(const struct op *op)
{
	say("iova = 0x%llx, copy(fd%d, %s, %s, %s, 0x%llx, &iova, 0x%llx)", op->c,
	    op->ctx, name_of(op->obj), name_of(op->obj2), flag_names(op->flags),
	    op->b, op->a);
	spoil_name(op);
}

/* A whole area, several, a part, or anything */
void some_area(struct object *ioas, __u64 *iova, __u64 *length)
{
	*iova = some_iova(ioas);
	*length = some_length();
	if (ioas && ioas->type == IOAS && ioas->nr && !chance(4)) {
		int from = rnd(ioas->nr), to = from + rnd(ioas->nr - from);
		__u64 last = ioas->areas[chance(3) ? to : from].last;

		*iova = ioas->areas[from].start;
		*length = last - *iova + 1;
		if (chance(6))
			*length += ONE_OF(PAGE, -PAGE, 1, -1);
		if (chance(6))
			*iova += ONE_OF(PAGE, -PAGE, 1, -1);
	}
}

static void g_unmap(struct op *op)
{
	op->obj = pick(op, IOAS);
	some_area(picked(op, op->obj), &op->a, &op->b);
	if (chance(12)) {
		op->a = 0;
		op->b = chance(8) ? MAX - 1 : MAX;
	}
	some_mangle(op, false, true);
}

static void m_unmap_areas(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	bool all = !op->a && op->b == MAX;

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (!ioas)
		return;
	out->ret = all ? 0 : op->a == MAX || op->b == MAX ? -EOVERFLOW :
		   !op->b ? -EINVAL : op->a + op->b - 1 < op->a ? -EOVERFLOW : 0;
	if (out->ret)
		return;
	out->ret = m_unmap(ioas, op->a, all ? MAX : op->a + op->b - 1,
			   &out->val[0]);
	if (!out->ret && !out->val[0] && !all)
		out->ret = -ENOENT;
	if (!out->ret && op->mangle == UNWRITABLE)
		out->ret = -EFAULT;
	out->nr = !out->ret;
}

static void i_unmap(const struct op *op, struct outcome *out)
{
	out->ret = result(unmap(fd_of(op), id_of(op->obj), op->a, op->b,
				&out->val[0]));
}

static void p_unmap(const struct op *op)
{
	say("unmap(fd%d, %s, 0x%llx, 0x%llx, &bytes)", op->ctx, name_of(op->obj),
	    op->a, op->b);
	spoil_name(op);
}

static void g_ranges(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->a = chance(3) ? rnd(4) : MAX_RANGES;
	some_mangle(op, true, true);
}

/* Usable ranges, as numbers to compare */
int put_ranges(const struct ranges *list, int max, __u64 *val)
{
	int i;

	for (i = 0; i < list->nr && i < max; i++) {
		val[2 * i] = list->at[i].start;
		val[2 * i + 1] = list->at[i].last;
	}
	return 2 * i;
}

static void m_ranges(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct ranges list;

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (!ioas)
		return;
	free_ranges(ioas, &list);
	out->ret = op->mangle == UNWRITABLE ? -EFAULT :
		   list.nr > op->a ? -EMSGSIZE : 0;
	if (out->ret == -EFAULT)
		return;
	out->val[0] = list.nr;
	out->val[1] = alignment_of(ioas);
	out->nr = 2 + put_ranges(&list, op->a, out->val + 2);
}

static void i_ranges(const struct op *op, struct outcome *out)
{
	struct iommu_iova_range list[MAX_RANGES] = {};
	__u32 nr = op->a, i;

	out->ret = result(iova_ranges(fd_of(op), id_of(op->obj), list, &nr,
				      &out->val[1]));
	out->val[0] = nr;
	for (i = 0; i < nr && i < op->a; i++) {
		out->val[2 * i + 2] = list[i].start;
		out->val[2 * i + 3] = list[i].last;
	}
}

static void p_ranges(const struct op *op)
{
	say("nr = %llu, iova_ranges(fd%d, %s, ranges, &nr, &alignment)", op->a,
	    op->ctx, name_of(op->obj));
	spoil_name(op);
}

/* One or two ranges: @a to @b, and from @c */
static void g_allow(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->flags = rnd(3);
	op->a = chance(3) ? GROUND - rnd(64) * PAGE : some_iova(picked(op, op->obj));
	op->b = op->a + ONE_OF(0, 1, PAGE - 1, 16 * PAGE, 200 * PAGE, SZ_2M, -1);
	op->c = op->b + ONE_OF(0, 1, PAGE, 64 * PAGE);
	some_mangle(op, true, false);
}

static int allow_list(const struct op *op, struct ranges *list)
{
	list->nr = op->flags;
	list->at[0] = (struct range){ op->a, op->b };
	list->at[1] = (struct range){ op->c, op->c + SZ_2M };
	return list->nr;
}

static void m_allow_iovas(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct ranges list;

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (!ioas)
		return;
	allow_list(op, &list);
	out->ret = m_allow(ioas, &list);
}

static void i_allow(const struct op *op, struct outcome *out)
{
	struct ranges list;
	int nr = allow_list(op, &list);

	out->ret = result(allow_iovas(fd_of(op), id_of(op->obj),
				      (struct iommu_iova_range *)list.at, nr));
}

static void p_allow(const struct op *op)
{
	say("allow_iovas(fd%d, %s, (struct iommu_iova_range[]){ ", op->ctx,
	    name_of(op->obj));
	say("{ 0x%llx, 0x%llx }, { 0x%llx, 0x%llx } }, %u)", op->a, op->b, op->c, op->c + SZ_2M,
	    op->flags);
	spoil_name(op);
}

static void g_reserve(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->a = some_iova(picked(op, op->obj));
	op->b = (1 + rnd(4)) * PAGE;
}

static void m_reserve_iova(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct ranges list = { 1, { { op->a, op->a + op->b - 1 } } };

	out->ret = -ENOENT;
	if (!ioas)
		return;
	out->skip = ioas->reserved.nr > 2;
	if (!out->skip)
		out->ret = op->a + op->b - 1 < op->a ? -EINVAL :
			   m_reserve(ioas, &list);
}

static void i_reserve(const struct op *op, struct outcome *out)
{
	out->ret = result(mock_reserve(fd_of(op), id_of(op->obj), op->a, op->b));
}

static void p_reserve(const struct op *op)
{
	say("mock_reserve(fd%d, %s, 0x%llx, 0x%llx)", op->ctx, name_of(op->obj),
	    op->a, op->b);
}

static void g_huge(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->a = chance(8) ? 2 : rnd(2);
	op->b = chance(3) ? IOMMU_OPTION_OP_GET :
		chance(20) ? 7 : IOMMU_OPTION_OP_SET;
	some_mangle(op, false, true);
}

static void m_huge(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);

	if (spoiled(op, out))
		return;
	out->ret = op->b > IOMMU_OPTION_OP_GET ? -EOPNOTSUPP : -ENOENT;
	if (op->b > IOMMU_OPTION_OP_GET || !ioas)
		return;
	out->ret = op->b == IOMMU_OPTION_OP_SET ? m_set_huge(ioas, op->a) : 0;
	if (!out->ret && op->mangle == UNWRITABLE)
		out->ret = -EFAULT;
	out->nr = !out->ret;
	out->val[0] = !ioas->small_pages;
}

static void i_huge(const struct op *op, struct outcome *out)
{
	out->val[0] = op->a;
	out->ret = result(option(fd_of(op), IOMMU_OPTION_HUGE_PAGES, op->b,
				 id_of(op->obj), &out->val[0]));
}

static void p_huge(const struct op *op)
{
	say("val = %llu, option(fd%d, IOMMU_OPTION_HUGE_PAGES, %llu, %s, &val)",
	    op->a, op->ctx, op->b, name_of(op->obj));
	spoil_name(op);
}

static void g_mode(struct op *op)
{
	op->a = chance(6) ? 2 : rnd(2);
	op->ctx = rnd(NCTX);
}

static void m_mode(const struct op *op, struct outcome *out)
{
	int i;

	for (i = 0; i <= w->next_slot; i++)
		if (w->objects[i].live && w->objects[i].ctx == op->ctx)
			out->ret = -EBUSY;
	if (!out->ret && op->a > 1)
		out->ret = -EINVAL;
	if (!out->ret)
		w->by_process[op->ctx] = op->a;
}

static void i_mode(const struct op *op, struct outcome *out)
{
	out->ret = result(set_option(fd_of(op), IOMMU_OPTION_RLIMIT_MODE, 0, op->a));
}

static void p_mode(const struct op *op)
{
	say("set_option(fd%d, IOMMU_OPTION_RLIMIT_MODE, 0, %llu)", op->ctx, op->a);
}

static void g_change_process(struct op *op)
{
	some_mangle(op, true, false);
}

static void m_change(const struct op *op, struct outcome *out)
{
	if (!spoiled(op, out))
		out->ret = m_change_process(op->ctx, &w->procs[op->proc]);
}

static void i_change_process(const struct op *op, struct outcome *out)
{
	out->ret = result(change_process(fd_of(op)));
}

static void p_change_process(const struct op *op)
{
	say("change_process(fd%d)", op->ctx);
	spoil_name(op);
}

const struct op_type ioas_ops[] = {
	{ "IOAS_ALLOC", 6, ANYWHERE, false, g_ioas_alloc, m_ioas_alloc,
	  i_ioas_alloc, b_slot, p_ioas_alloc, ERRNOS(0) },
	{ "DESTROY", 4, ANYWHERE, false, g_destroy, m_destroy_id, i_destroy, NULL,
	  p_destroy, ERRNOS(-ENOENT, -EBUSY) },
	{ "MAP", 26, ANYWHERE, false, g_map, m_map_va, i_map, NULL, p_map,
	  MAP_ERRNOS },
	{ "MAP_FILE", 12, ANYWHERE, false, g_map_file, m_map_file, i_map_file,
	  NULL, p_map_file, MAP_ERRNOS },
	{ "COPY", 14, ANYWHERE, false, g_copy, m_copy_areas, i_copy, NULL, p_copy,
	  MAP_ERRNOS },
	{ "UNMAP", 16, ANYWHERE, false, g_unmap, m_unmap_areas, i_unmap, NULL,
	  p_unmap, ERRNOS(-ENOENT, -EOVERFLOW, -EBUSY, -EDEADLOCK) },
	{ "IOVA_RANGES", 4, ANYWHERE, false, g_ranges, m_ranges, i_ranges, NULL,
	  p_ranges, ERRNOS(-ENOENT, -EMSGSIZE) },
	{ "ALLOW_IOVAS", 3, ANYWHERE, false, g_allow, m_allow_iovas, i_allow, NULL,
	  p_allow, ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "reserve", 1, MOCK, false, g_reserve, m_reserve_iova, i_reserve, NULL,
	  p_reserve, ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "OPTION_HUGE", 4, ANYWHERE, false, g_huge, m_huge, i_huge, NULL, p_huge,
	  ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "OPTION_MODE", 1, ANYWHERE, false, g_mode, m_mode, i_mode, NULL, p_mode,
	  ERRNOS(-EBUSY) },
	{ "CHANGE_PROCESS", 2, ANYWHERE, false, g_change_process, m_change,
	  i_change_process, NULL, p_change_process, ERRNOS(-EBUSY) },
	{ }
};

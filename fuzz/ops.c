// SPDX-License-Identifier: GPL-2.0-only
/*
 * The operations: how each is chosen, what the model says of it, how it is done, and how
 * a test would write it. The table at the end lists them.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/wait.h>

#include "real.h"

/* Calls in this file are spoiled too, if the operation says so */
#define ioctl fuzz_ioctl

/* Where areas are, so that they meet: inside of what any table reaches */
#define GROUND 0x2000000ULL
#define GROUND_PAGES 48

/*
 * Choosing
 */

static __u64 one_of(const __u64 *list, int nr)
{
	return list[rnd(nr)];
}

#define ONE_OF(...)                                                            \
	one_of((const __u64[]){ __VA_ARGS__ },                                 \
	       ARRAY_SIZE(((const __u64[]){ __VA_ARGS__ })))

/* The number of an object; now and then of another kind, or of none */
static int pick(struct op *op, enum type type)
{
	int tries, slot = 0;

	if (chance(40))
		return rnd(w->next_slot + 1);
	for (tries = 0; tries < 200; tries++) {
		slot = rnd(w->next_slot + 1);
		if (w->objects[slot].live && w->objects[slot].type == type &&
		    (w->objects[slot].ctx == op->ctx || tries > 100))
			break;
	}
	/* Then the operation is about the file that this one is in */
	if (tries < 200 && !chance(40))
		op->ctx = w->objects[slot].ctx;
	return slot;
}

static struct object *picked(const struct op *op, int slot)
{
	struct object *obj = find(op->ctx, slot, ANY);

	return obj && obj->type == HWPT ? obj->ioas : obj;
}

static int new_slots(int nr)
{
	int slot = w->next_slot + 1;

	w->next_slot += nr;
	if (w->next_slot >= MAX_OBJECTS)
		abort();
	return slot;
}

static int count_live(enum type type)
{
	int i, nr = 0;

	for (i = 0; i <= w->next_slot; i++)
		nr += w->objects[i].live && w->objects[i].type == type;
	return nr;
}

static __u64 some_length(void)
{
	switch (rnd(16)) {
	case 0:
		return ONE_OF(0, 1, 16, MOCK_PAGE, PAGE - 1, PAGE + 1, 3 * MOCK_PAGE);
	case 1:
		return ONE_OF(MAX, MAX - 1, MAX - PAGE, MAX - PAGE - 1,
			      -2 * PAGE, 1ULL << 63, (1ULL << 63) - PAGE,
			      1ULL << 40, 1ULL << 30);
	case 2:
		return ONE_OF(511, 512, 513, 1024, 1025, NPAGES) * PAGE;
	case 3:
		return (1 + rnd(40)) * PAGE;
	default:
		return (1 + rnd(6)) * PAGE;
	}
}

/* Near something, or where there is nothing */
static __u64 some_iova(struct object *ioas)
{
	static const __s64 steps[] = { 0, 0, 0, 1, -1, PAGE, -(__s64)PAGE,
				       MOCK_PAGE, 16 };
	__u64 at = GROUND + rnd(GROUND_PAGES) * PAGE;

	if (ioas && ioas->type == IOAS && ioas->nr && !chance(3)) {
		struct area *a = &ioas->areas[rnd(ioas->nr)];

		at = chance(2) ? a->start : a->last + 1;
		if (chance(4))
			at = a->start + (a->last - a->start) / 2 / PAGE * PAGE;
	} else if (chance(16)) {
		at = ONE_OF(0, 1, PAGE, MOCK_APERTURE_START, MOCK_APERTURE_LAST + 1,
			    0xfee00000, 0xfef00000, 1ULL << 32, 1ULL << 39,
			    1ULL << 48, 1ULL << 63, MAX, MAX - 1, -PAGE, -2 * PAGE);
	}
	if (chance(3))
		at += steps[rnd(ARRAY_SIZE(steps))];
	return at;
}

/* A page of the buffer; the few at the edges of chunks more often than others */
static int some_page(void)
{
	if (chance(6))
		return 505 + rnd(14);
	if (chance(12))
		return NPAGES - 1 - rnd(8);
	return rnd(24);
}

static __u64 some_offset(void)
{
	return chance(8) ? ONE_OF(1, 16, MOCK_PAGE, PAGE - 1) : 0;
}

static __u64 some_va(void)
{
	if (chance(30))
		return ONE_OF(0, 1, BUF - PAGE, BUF + NPAGES * PAGE, MAX, -PAGE,
			      1ULL << 47, 1ULL << 63);
	return BUF + some_page() * PAGE + some_offset();
}

static __u32 some_directions(void)
{
	switch (rnd(8)) {
	case 0:
		return IOMMU_IOAS_MAP_WRITEABLE;
	case 1:
	case 2:
		return IOMMU_IOAS_MAP_READABLE;
	case 3:
		return chance(6) ? 0 : MAP_RW;
	default:
		return MAP_RW;
	}
}

static __u32 some_flags(void)
{
	return some_directions() | (chance(4) ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA);
}

/*
 * Printing
 */

static const char *name_of(int slot)
{
	static const char *const names[] = {
		[IOAS] = "ioas", [HWPT] = "hwpt", [DEVICE] = "dev",
		[IDEV] = "idev", [ACCESS] = "access",
	};
	static char text[4][16];
	static int next;
	char *ret = text[next++ % 4];

	if (w->objects[slot].type)
		sprintf(ret, "%s%d", names[w->objects[slot].type], slot);
	else
		strcpy(ret, "0");
	return ret;
}

static const char *va_name(__u64 va)
{
	static char text[32];

	if (va >= BUF && va < BUF + NPAGES * PAGE)
		sprintf(text, "BUF + 0x%llx", va - BUF);
	else
		sprintf(text, "0x%llx", va);
	return text;
}

static const char *flag_names(__u32 flags)
{
	static const char *const names[] = {
		"0", "FIXED", "WRITE", "FIXED | WRITE", "READ", "FIXED | READ",
		"MAP_RW", "FIXED_RW",
	};

	return names[flags & 7];
}

/*
 * Spoiled structures
 */

/* Where a request has a field that must be 0, or a flag that is not known */
static const struct {
	unsigned long word;
	size_t at;
} must_be_0[] = {
	{ IOMMU_IOAS_ALLOC, offsetof(struct iommu_ioas_alloc, flags) },
	{ IOMMU_IOAS_ALLOW_IOVAS, offsetof(struct iommu_ioas_allow_iovas, __reserved) },
	{ IOMMU_IOAS_IOVA_RANGES, offsetof(struct iommu_ioas_iova_ranges, __reserved) },
	{ IOMMU_IOAS_MAP, offsetof(struct iommu_ioas_map, __reserved) },
	{ IOMMU_IOAS_MAP_FILE, offsetof(struct iommu_ioas_map_file, flags) },
	{ IOMMU_IOAS_COPY, offsetof(struct iommu_ioas_copy, flags) },
	{ IOMMU_HWPT_ALLOC, offsetof(struct iommu_hwpt_alloc, __reserved) },
	{ IOMMU_GET_HW_INFO, offsetof(struct iommu_hw_info, __reserved) },
	{ IOMMU_IOAS_CHANGE_PROCESS, offsetof(struct iommu_ioas_change_process, __reserved) },
};

#undef ioctl
int fuzz_ioctl(int fd, unsigned long word, ...)
{
	int how = w->racing ? PLAIN : w->op.mangle, ret, i;
	unsigned char *copy;
	size_t size = 0;
	va_list args;
	void *arg;

	va_start(args, word);
	arg = va_arg(args, void *);
	va_end(args);
	if (how == PLAIN || _IOC_NR(word) < IOMMUFD_CMD_BASE ||
	    word == IOMMU_TEST_CMD)
		return ioctl(fd, word, arg);

	/* Three pages, of which the last can't be written */
	copy = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(&size, arg, sizeof(__u32));
	if (how == UNWRITABLE)
		memcpy(copy + 2 * PAGE, arg, size);
	else
		memcpy(copy, arg, size);
	switch (how) {
	case SHORT:
		copy[0] = 4;
		break;
	case TAIL:
	case BAD_TAIL:
		copy[0] = size + 24;
		copy[size + 20] = how == BAD_TAIL;
		break;
	case VAST:
		copy[1] = 0x20;
		break;
	case RESERVED:
		for (i = 0; i < ARRAY_SIZE(must_be_0); i++)
			if (must_be_0[i].word == word)
				copy[must_be_0[i].at] |= 0x80;
		break;
	case OTHER_WORD:
		word = _IOW(IOMMUFD_TYPE, _IOC_NR(word), __u32);
		break;
	}
	mprotect(copy + 2 * PAGE, PAGE, PROT_READ);
	ret = ioctl(fd, word, how == UNREADABLE ? (void *)16 :
		    how == UNWRITABLE ? copy + 2 * PAGE : copy);
	i = errno;
	if (how == TAIL)
		memcpy((char *)arg + 4, copy + 4, size - 4);
	munmap(copy, 3 * PAGE);
	errno = i;
	return ret;
}
#define ioctl fuzz_ioctl

/* @reserved: it has such a field. @answers: something is written back */
static void some_mangle(struct op *op, bool reserved, bool answers)
{
	if (!chance(16))
		return;
	op->mangle = 1 + rnd(OTHER_WORD);
	if ((op->mangle == RESERVED && !reserved) ||
	    (op->mangle == UNWRITABLE && !answers))
		op->mangle = BAD_TAIL;
}

/* The errno of a structure that is wrong before it is looked at */
static bool spoiled(const struct op *op, struct outcome *out)
{
	static const int errnos[] = {
		[SHORT] = -EINVAL, [BAD_TAIL] = -E2BIG, [VAST] = -E2BIG,
		[RESERVED] = -EOPNOTSUPP, [UNREADABLE] = -EFAULT,
		[OTHER_WORD] = -ENOTTY, [UNWRITABLE] = 0,
	};

	out->ret = errnos[op->mangle];
	return out->ret;
}

static void spoil_name(const struct op *op)
{
	static const char *const names[] = {
		"", "size 4", "24 more bytes, zero", "24 more bytes, not zero",
		"size + 0x2000", "a reserved bit set", "a structure at 16",
		"a structure that can't be written", "_IOW()",
	};

	if (op->mangle)
		say(" /* with %s */", names[op->mangle]);
}

static int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

static int fd_of(const struct op *op)
{
	return w->ctx[op->ctx];
}

static __u32 id_of(int slot)
{
	return w->objects[slot].id;
}

/* What is written to memory: another byte for each place and @seed */
static void pattern(unsigned char *data, size_t length, __u64 seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = (seed + i * 13 + i / 256) * 0x9e37 >> 5;
}

/*
 * IOAS
 */

static void g_ioas_alloc(struct op *op)
{
	op->slot = new_slots(1);
	some_mangle(op, true, true);
}

static void m_ioas_alloc(const struct op *op, struct outcome *out)
{
	if (spoiled(op, out))
		return;
	/* Nobody could know of it */
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

static void b_slot(const struct op *op, const struct outcome *got)
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

/* Errors of a length that does not depend on anything */
static int check_range(__u64 iova, __u64 length, __u32 directions)
{
	if (iova == MAX || length == MAX)
		return -EOVERFLOW;
	return directions & MAP_RW ? 0 : -EINVAL;
}

static int check_memory(__u64 pos, __u64 length)
{
	if (!length || length >= MAX - PAGE)
		return -EINVAL;
	return pos + length < pos ? -EOVERFLOW : 0;
}

static enum charge charge_of(int ctx)
{
	if (!w->limit)
		return NOBODY;
	return w->by_process[ctx] ? PROCESS : USER;
}

static bool is_full(struct object *ioas)
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
	out->ret = check_memory(op->a, op->b);
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
	if (out->ret)
		return;
	/* The mapping stays */
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		return;
	}
	out->nr = 1;
	out->val[0] = iova;
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

/* Files: those that there are, one that is not open, and one that is no memory */
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
	/* Itself: a file that is neither tmpfs nor a dma-buf */
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
	if (out->ret)
		return;
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		return;
	}
	out->nr = 1;
	out->val[0] = iova;
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

/* All of an area, several, a part, or anything */
static void some_area(struct object *ioas, __u64 *iova, __u64 *length)
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

/* Ranges that can be used, as numbers to compare */
static int put_ranges(const struct ranges *list, int max, __u64 *val)
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

/* One or two ranges, from @a to @b and from @c on */
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
	say("allow_iovas(fd%d, %s, (struct iommu_iova_range[]){ { 0x%llx, 0x%llx }, { 0x%llx, 0x%llx } }, %u)",
	    op->ctx, name_of(op->obj), op->a, op->b, op->c, op->c + SZ_2M,
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
	out->ret = op->b == 7 ? -EOPNOTSUPP : -ENOENT;
	if (op->b == 7 || !ioas)
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

/*
 * A container
 */

static void g_vfio_ioas(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->a = chance(6) ? IOMMU_VFIO_IOAS_CLEAR : chance(3) ?
		IOMMU_VFIO_IOAS_GET : chance(20) ? 9 : IOMMU_VFIO_IOAS_SET;
	some_mangle(op, false, false);
}

static void m_vfio_ioas(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct object **container = &w->container[op->ctx];

	if (spoiled(op, out))
		return;
	switch (op->a) {
	case IOMMU_VFIO_IOAS_GET:
		out->ret = *container ? 0 : -ENODEV;
		out->nr = !!*container;
		out->val[0] = *container ? (*container)->id : 0;
		break;
	case IOMMU_VFIO_IOAS_SET:
		out->ret = ioas ? 0 : -ENOENT;
		if (ioas)
			*container = ioas;
		break;
	case IOMMU_VFIO_IOAS_CLEAR:
		*container = NULL;
		break;
	default:
		out->ret = -EOPNOTSUPP;
	}
}

static void i_vfio_ioas(const struct op *op, struct outcome *out)
{
	__u32 id = id_of(op->obj);

	out->ret = result(vfio_ioas(fd_of(op), op->a, &id));
	out->val[0] = id;
}

static void p_vfio_ioas(const struct op *op)
{
	say("id = %s, vfio_ioas(fd%d, %llu, &id)", name_of(op->obj), op->ctx, op->a);
	spoil_name(op);
}

static void g_container(struct op *op)
{
	op->ctx = rnd(NCTX);
	if (!w->container[op->ctx])
		op->ctx = rnd(NCTX);
	op->flags = MAP_RW;
	some_area(w->container[op->ctx], &op->c, &op->b);
	op->a = some_va();
}

static void g_map_dma(struct op *op)
{
	g_container(op);
	op->c = some_iova(w->container[op->ctx]);
	op->b = some_length();
	op->flags = some_directions();
}

static void m_map_dma(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	struct store *store;
	__u64 iova = op->c;

	out->ret = -ENODEV;
	if (!ioas)
		return;
	out->skip = is_full(ioas);
	out->ret = !op->flags ? -EINVAL : check_range(op->c, op->b, op->flags);
	if (!out->ret)
		out->ret = check_memory(op->a, op->b);
	if (out->ret || out->skip)
		return;
	store = m_store(&w->procs[op->proc], -1, op->a, op->b,
			op->flags & IOMMU_IOAS_MAP_WRITEABLE,
			w->limit ? PROCESS : NOBODY);
	out->ret = m_map(ioas, store, op->flags | IOMMU_IOAS_MAP_FIXED_IOVA,
			 op->a, op->b, &iova, &out->other);
	m_drop(store);
}

static void i_map_dma(const struct op *op, struct outcome *out)
{
	struct vfio_iommu_type1_dma_map cmd = {
		.argsz = sizeof(cmd),
		.flags = (op->flags & IOMMU_IOAS_MAP_READABLE ?
			  VFIO_DMA_MAP_FLAG_READ : 0) |
			 (op->flags & IOMMU_IOAS_MAP_WRITEABLE ?
			  VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = op->a,
		.iova = op->c,
		.size = op->b,
	};

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_MAP_DMA, &cmd));
}

static void p_map_dma(const struct op *op)
{
	say("map_dma(fd%d, %s, 0x%llx, 0x%llx) /* %s */", op->ctx, va_name(op->a),
	    op->b, op->c, flag_names(op->flags));
}

static void g_unmap_dma(struct op *op)
{
	g_container(op);
	if (chance(10)) {
		op->flags = VFIO_DMA_UNMAP_FLAG_ALL;
		op->b = op->c = 0;
		if (chance(4))
			op->b = PAGE;
	} else {
		op->flags = chance(30) ? 1 << 7 : 0;
	}
	/* In the middle of something */
	if (!op->flags && chance(3) && op->b > 2 * PAGE) {
		op->c += PAGE;
		op->b -= 2 * PAGE;
	}
}

static void m_unmap_dma(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	bool all = op->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	__u64 last = all ? MAX : op->c + op->b - 1;

	out->ret = op->flags & ~VFIO_DMA_UNMAP_FLAG_ALL ? -EINVAL : -ENODEV;
	if (out->ret == -EINVAL || !ioas)
		return;
	out->ret = all && (op->c || op->b) ? -EINVAL : 0;
	if (out->ret)
		return;
	out->nr = 1;
	if (!all)
		out->ret = op->c == MAX || op->b == MAX ? -EOVERFLOW :
			   !op->b ? -EINVAL : last < op->c ? -EOVERFLOW : 0;
	if (out->ret)
		return;
	if (!all && ioas->small_pages) {
		out->skip = is_full(ioas);
		if (out->skip)
			return;
		out->ret = m_cut(ioas, op->c);
		if (!out->ret && last != MAX)
			out->ret = m_cut(ioas, last + 1);
		/* Nothing is written back */
		out->val[0] = op->b;
		if (out->ret)
			return;
	}
	out->ret = m_unmap(ioas, op->c, last, &out->val[0]);
}

static void i_unmap_dma(const struct op *op, struct outcome *out)
{
	struct vfio_iommu_type1_dma_unmap cmd = {
		.argsz = sizeof(cmd),
		.flags = op->flags,
		.iova = op->c,
		.size = op->b,
	};

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_UNMAP_DMA, &cmd));
	out->val[0] = cmd.size;
}

static void p_unmap_dma(const struct op *op)
{
	say("unmap_dma(fd%d, 0x%llx, 0x%llx, &bytes) /* flags %u */", op->ctx,
	    op->c, op->b, op->flags);
}

static void g_set_iommu(struct op *op)
{
	op->ctx = rnd(NCTX);
	op->a = ONE_OF(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_TYPE1v2_IOMMU, 2);
}

static void m_set_iommu(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];

	if (op->a == 2)
		out->ret = -EINVAL;
	else if (!ioas)
		out->ret = -ENODEV;
	else if (op->a == VFIO_TYPE1_IOMMU)
		out->ret = m_set_huge(ioas, 0);
}

static void i_set_iommu(const struct op *op, struct outcome *out)
{
	out->ret = result(ioctl(fd_of(op), VFIO_SET_IOMMU, op->a));
}

static void p_set_iommu(const struct op *op)
{
	say("ioctl(fd%d, VFIO_SET_IOMMU, %llu)", op->ctx, op->a);
}

struct info {
	struct vfio_iommu_type1_info head;
	__u64 more[64];
};

static void g_get_info(struct op *op)
{
	op->ctx = rnd(NCTX);
	op->a = ONE_OF(sizeof(struct info), sizeof(struct info), 0, 16, 24, 40);
}

static void m_get_info(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	struct ranges list;
	__u64 sizes = -PAGE;
	int i;

	out->ret = op->a < 16 ? -EINVAL : ioas ? 0 : -ENODEV;
	if (out->ret)
		return;
	for (i = 0; i <= w->next_slot; i++)
		if (w->objects[i].live && w->objects[i].type == HWPT &&
		    w->objects[i].ioas == ioas)
			sizes &= w->objects[i].unit->sizes | PAGE;
	free_ranges(ioas, &list);
	out->val[0] = sizes;
	out->nr = 1;
	if (op->a != sizeof(struct info))
		return;
	out->val[1] = list.nr;
	out->nr = 2 + put_ranges(&list, MAX_RANGES, out->val + 2);
}

static void i_get_info(const struct op *op, struct outcome *out)
{
	struct info info = { .head.argsz = op->a };
	struct vfio_iommu_type1_info_cap_iova_range *cap;
	__u32 at, i;

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_GET_INFO, &info));
	if (out->ret)
		return;
	out->val[0] = info.head.iova_pgsizes;
	at = op->a == sizeof(info) ? info.head.cap_offset : 0;
	for (; at; at = cap->header.next) {
		cap = (void *)&info + at;
		if (cap->header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		out->val[1] = cap->nr_iovas;
		for (i = 0; i < cap->nr_iovas && i < MAX_RANGES; i++) {
			out->val[2 * i + 2] = cap->iova_ranges[i].start;
			out->val[2 * i + 3] = cap->iova_ranges[i].end;
		}
	}
}

static void p_get_info(const struct op *op)
{
	say("get_info(fd%d, &info, %llu)", op->ctx, op->a);
}

/*
 * Devices
 */

static const struct ranges some_regions[] = {
	{ },
	{ 1, { { 0xfee00000, 0xfeefffff } } },
	{ 2, { { 0xfee00000, 0xfeefffff }, { GROUND + 8 * PAGE, GROUND + 9 * PAGE - 1 } } },
};

/* @flags: which regions; @a: unit, @obj: whose group it joins, 0 for none */
static void g_device(struct op *op)
{
	op->slot = new_slots(3);
	op->ctx = rnd(NCTX);
	op->flags = chance(4) ? 2 : rnd(2);
	op->a = rnd(NR_UNITS);
	op->obj = chance(3) ? pick(op, DEVICE) : 0;
	if (op->obj && w->objects[op->obj].unit && !chance(10))
		op->a = w->objects[op->obj].unit - mock_units;
}

static void add_device(const struct op *op, const struct unit_kind *unit,
		       const struct ranges *regions, struct object *group)
{
	struct object *dev = m_new(op->slot, DEVICE, op->ctx), *idev;

	dev->unit = unit;
	dev->regions = *regions;
	dev->group = group ?: dev;
	idev = m_new(op->slot + 1, IDEV, op->ctx);
	idev->group = dev;
}

static void m_device(const struct op *op, struct outcome *out)
{
	struct object *sibling = op->obj ? &w->objects[op->obj] : NULL;

	out->skip = count_live(DEVICE) >= 6;
	if (sibling && (sibling->type != DEVICE || !sibling->live))
		out->skip = true;
	if (out->skip)
		return;
	if (sibling && sibling->unit != &mock_units[op->a]) {
		/* Another bus has no such device */
		out->ret = -EINVAL;
		out->other = -ENOENT;
	} else if (sibling && sibling->ctx != op->ctx) {
		out->ret = -EPERM;
	} else {
		add_device(op, &mock_units[op->a], &some_regions[op->flags],
			   sibling ? sibling->group : NULL);
	}
}

static void i_device(const struct op *op, struct outcome *out)
{
	const struct unit_kind *unit = &mock_units[op->a];
	const struct ranges *list = &some_regions[op->flags];
	struct iommu_test_mock_region regions[2] = {};
	struct iommu_test_mock_config config = {
		.flags = unit->flags,
		.unit = op->a,
		.join = op->obj ? w->objects[op->obj].number : -1,
		.nr_regions = list->nr,
		.regions = (uintptr_t)regions,
		.aperture_start = unit->reach.start,
		.aperture_last = unit->reach.last,
		.page_sizes = unit->sizes,
	};
	struct mock mock = {};
	int i;

	for (i = 0; i < list->nr; i++)
		regions[i] = (struct iommu_test_mock_region){
			.start = list->at[i].start,
			.length = list->at[i].last - list->at[i].start + 1,
			.type = i ? MOCK_REGION_RESERVED : MOCK_REGION_MSI,
		};
	out->ret = result(mock_device(fd_of(op), 0, &config, &mock));
	out->ids[0] = mock.stdev;
	out->ids[1] = mock.idev;
	out->ids[2] = mock.number;
}

static void b_device(const struct op *op, const struct outcome *got)
{
	w->objects[op->slot].id = got->ids[0];
	w->objects[op->slot + 1].id = got->ids[1];
	w->objects[op->slot].number = got->ids[2];
}

static void p_device(const struct op *op)
{
	static const char *const regions[] = { "", ", an MSI window",
					       ", an MSI window, a region at 0x2008000" };

	say("mock_device(fd%d, 0, &unit%llu%s, &dev%d) /* join %s%s */", op->ctx,
	    op->a, "", op->slot, op->obj ? name_of(op->obj) : "none",
	    regions[op->flags]);
}

static void g_attach(struct op *op)
{
	op->slot = new_slots(1);
	op->obj = pick(op, DEVICE);
	op->obj2 = pick(op, chance(4) ? HWPT : IOAS);
	if (w->objects[op->obj].live)
		op->ctx = w->objects[op->obj].ctx;
	if (w->real)
		op->proc = 0;
}

static void m_attach_device(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE);
	struct object *to = find(op->ctx, op->obj2, ANY), *table = NULL;

	if (w->real && !dev) {
		out->skip = true;
		return;
	}
	out->ret = -ENOENT;
	if (!dev || !to)
		return;
	/* What the mock does here no driver does: a table of unit 0 is for any unit */
	if (to->type == HWPT && !to->known && to->unit != dev->unit) {
		out->skip = true;
		return;
	}
	out->ret = m_attach(dev, to, op->slot, &table, &out->other);
	if (out->ret)
		return;
	table->known = true;
	out->nr = !!table->id;
	out->val[0] = table->id;
}

static void b_attach(const struct op *op, const struct outcome *got)
{
	if (w->objects[op->slot].live)
		w->objects[op->slot].id = got->ids[0];
}

static void p_attach(const struct op *op)
{
	if (w->real)
		say("attach_pt(%s, %s, &hwpt)", name_of(op->obj), name_of(op->obj2));
	else
		say("hwpt = %s, mock_attach(fd%d, %s, &hwpt)",
		    name_of(op->obj2), op->ctx, name_of(op->obj));
	if (w->objects[op->slot].live)
		say(" /* makes hwpt%d */", op->slot);
}

static void g_detach(struct op *op)
{
	op->obj = pick(op, DEVICE);
	if (w->real)
		op->proc = 0;
}

static void m_detach_device(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE);

	if (dev)
		m_detach(dev);
	else if (w->real)
		out->skip = true;
	else
		out->ret = -ENOENT;
}

static void p_detach(const struct op *op)
{
	if (w->real)
		say("detach_pt(%s)", name_of(op->obj));
	else
		say("mock_detach(fd%d, %s)", op->ctx, name_of(op->obj));
}

static void g_hwpt_alloc(struct op *op)
{
	op->slot = new_slots(1);
	op->obj = pick(op, IDEV);
	op->obj2 = pick(op, IOAS);
	if (w->objects[op->obj].live)
		op->ctx = w->objects[op->obj].ctx;
	some_mangle(op, true, true);
}

static void m_hwpt_alloc(const struct op *op, struct outcome *out)
{
	struct object *idev = find(op->ctx, op->obj, IDEV);
	struct object *ioas = find(op->ctx, op->obj2, ANY);
	struct object *dev = idev ? idev->group : NULL;
	bool live = dev && dev->group->table;

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (!idev || !ioas)
		return;
	out->ret = -EINVAL;
	if (ioas->type != IOAS)
		return;
	/* The mock says of a table that was never attached that its pages are small */
	if (!w->real && live && !(dev->unit->flags & MOCK_DEVICE_LATE) &&
	    dev->unit != &mock_units[0]) {
		out->skip = true;
		return;
	}
	out->ret = m_make_hwpt(dev, ioas, op->slot, &out->other);
	if (out->ret)
		return;
	w->objects[op->slot].known = !live;
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		m_destroy(&w->objects[op->slot]);
	}
}

static void i_hwpt_alloc(const struct op *op, struct outcome *out)
{
	out->ret = result(alloc_hwpt(fd_of(op), id_of(op->obj), id_of(op->obj2),
				     &out->ids[0]));
}

static void p_hwpt_alloc(const struct op *op)
{
	say("alloc_hwpt(fd%d, %s, %s, &hwpt%d)", op->ctx, name_of(op->obj),
	    name_of(op->obj2), op->slot);
	spoil_name(op);
}

static void g_hw_info(struct op *op)
{
	op->obj = pick(op, IDEV);
	some_mangle(op, true, true);
}

static void m_hw_info(const struct op *op, struct outcome *out)
{
	if (spoiled(op, out))
		return;
	out->ret = !find(op->ctx, op->obj, IDEV) ? -ENOENT :
		   op->mangle == UNWRITABLE ? -EFAULT : 0;
	if (!out->ret) {
		out->nr = 1;
		out->val[0] = w->real ? IOMMU_HW_INFO_TYPE_INTEL_VTD :
					IOMMU_HW_INFO_TYPE_SELFTEST;
	}
}

static void i_hw_info(const struct op *op, struct outcome *out)
{
	__u32 length = 0, type = 0;

	out->ret = result(hw_info(fd_of(op), id_of(op->obj), NULL, &length, &type));
	out->val[0] = type;
}

static void p_hw_info(const struct op *op)
{
	say("hw_info(fd%d, %s, NULL, &length, &type)", op->ctx, name_of(op->obj));
	spoil_name(op);
}

/* @a: IOVA, @b: bytes, @c: what is written, @flags: MOCK_ACCESS_RW_WRITE or 0 */
static void g_dma(struct op *op)
{
	struct object *dev, *ioas = NULL;

	op->obj = pick(op, DEVICE);
	dev = find(op->ctx, op->obj, DEVICE);
	if (dev && dev->group->table)
		ioas = dev->group->table->ioas;
	op->flags = chance(2) ? MOCK_ACCESS_RW_WRITE : 0;
	op->a = some_iova(ioas);
	if (ioas && ioas->nr && !chance(4)) {
		struct area *a = &ioas->areas[rnd(ioas->nr)];

		op->a = chance(2) ? a->start : a->last - rnd(PAGE);
		if (chance(3))
			op->a = a->start + rnd(a->last - a->start + 1);
	}
	op->b = ONE_OF(1, 8, 64, 100, PAGE / 2, PAGE, 5000);
	op->c = rnd(MAX);
}

/* The piece that a mock device does at once */
static __u64 piece(__u64 iova, __u64 left)
{
	__u64 to_end = MOCK_PAGE - iova % MOCK_PAGE;

	return left < to_end ? left : to_end;
}

/* What a device does to the memory that it reaches */
static void m_dma(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE), *table;
	bool write = op->flags & MOCK_ACCESS_RW_WRITE;
	unsigned char data[sizeof(out->data)];
	__u64 done, size;

	if (!dev) {
		out->ret = -ENOENT;
		return;
	}
	table = dev->group->table;
	pattern(data, op->b, op->c);
	for (done = 0; done < op->b && !out->ret; done += size) {
		__u64 iova = op->a + done;
		struct area *area = table ? area_at(table->ioas, iova) : NULL;
		struct frame *frame;

		size = piece(iova, op->b - done);
		if (!area) {
			out->ret = -ENXIO;
		} else if (!(area->prot & (write ? IOMMU_IOAS_MAP_WRITEABLE :
						   IOMMU_IOAS_MAP_READABLE))) {
			out->ret = -EPERM;
		} else {
			__u64 at = (area->pos + (iova - area->start)) % PAGE;

			frame = frame_at(area, iova);
			if (write)
				memcpy(frame->data + at, data + done, size);
			else
				memcpy(out->data + done, frame->data + at, size);
		}
	}
	out->check = write || out->ret ? 0 : op->b;
}

static void i_dma(const struct op *op, struct outcome *out)
{
	if (op->flags & MOCK_ACCESS_RW_WRITE)
		pattern(out->data, op->b, op->c);
	out->ret = result(mock_dma(fd_of(op), id_of(op->obj), op->a, out->data,
				   op->b, op->flags));
}

static void p_dma(const struct op *op)
{
	say("mock_dma(fd%d, %s, 0x%llx, data, %llu, %s)", op->ctx,
	    name_of(op->obj), op->a, op->b,
	    op->flags ? "MOCK_ACCESS_RW_WRITE" : "0");
}

/*
 * Accesses. Their files are the first process's
 */

static void g_access(struct op *op)
{
	op->proc = 0;
	op->slot = new_slots(1);
	op->obj = pick(op, IOAS);
	op->flags = chance(3) ? 0 : MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
}

/* The id of an access is not told, but ids are given from the lowest free one on */
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

/* Without one there is no file to try it with */
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
	/* It would unpin what it does not have any more */
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

/* The addresses of the first process where it sees what was pinned, if it does */
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

/* What the last operation of this kind has to find, and where it is remembered */
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

/* @a: IOVA, @b: bytes, @c: what is written, @flags: MOCK_ACCESS_RW_* */
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

/* The page that an access copies from or to: as the process does, if it is its own */
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
	/* A part may have been written: there is no saying how much */
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
				     op->a ? MOCK_ACCESS_STUBBORN : 0, 0));
}

static void p_access_set(const struct op *op)
{
	say("access_set(fd%d, %s, %s, 0)", op->ctx, name_of(op->obj),
	    op->a ? "MOCK_ACCESS_STUBBORN" : "0");
}

/*
 * Memory. @a: page of the buffer, @b: how many
 */

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

/* @flags: GAP, ANON or SHARED; @obj: the file, @c: page of that */
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

/* @c: what is written. Short, so that what was there before is seen too */
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

/* What a call that failed may have done already: no byte changes */
static void m_touch_page(const struct op *op, struct outcome *out)
{
}

static void i_touch(const struct op *op, struct outcome *out)
{
	volatile char *byte = page_va(op->a);

	*byte = *byte;
}

/* How often the page is pinned; those of the first process */
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
	/* Is told to who issues it */
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

/* @obj: the file, @a: pages that are left of it */
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

/* Do what the first process says, until it is gone */
static void serve(int from, int to)
{
	char c = 0;

	/* Until here nobody else may go on: what is closed has to be the old */
	if (write(to, &c, 1) != 1)
		_exit(1);
	while (read(from, &c, 1) == 1) {
		op_types[w->op.type].issue(&w->op, &w->got);
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
		/* Others have to see that they are closed */
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

/* Have another process do it */
void run_in(int proc, const struct op *op)
{
	char c = 0;

	if (!proc) {
		op_types[op->type].issue(&w->op, &w->got);
		return;
	}
	if (write(w->procs[proc].to, &c, 1) != 1 ||
	    read(w->procs[proc].from, &c, 1) != 1)
		w->got.ret = -ECHILD;
}

/* Close a file with all that is in it, and open another one in its place */
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

/*
 * With real devices, see real.c
 */

static void i_attach(const struct op *op, struct outcome *out)
{
	__u32 id = id_of(op->obj2);

	out->ret = result(w->real ? real_attach(op, &id) :
			  mock_attach(fd_of(op), id_of(op->obj), &id));
	out->ids[0] = id;
	out->val[0] = id;
}

static void i_detach(const struct op *op, struct outcome *out)
{
	out->ret = result(w->real ? real_detach(op) :
			  mock_detach(fd_of(op), id_of(op->obj)));
}

static void m_close_device(const struct op *op, struct outcome *out)
{
	struct object *dev = &w->objects[op->obj];

	out->skip = !dev->live || dev->type != DEVICE;
	if (!out->skip)
		m_unbind(dev);
}

static void p_close_device(const struct op *op)
{
	say("close(%s)", name_of(op->obj));
}

/* What each can give, whatever others do at the same time */
#define ERRNOS(...) ((const int[]){ 0, -EINVAL, -E2BIG, -EOPNOTSUPP, -EFAULT,  \
				    -ENOTTY, -ENOMEM, __VA_ARGS__, 1 })
#define MAP_ERRNOS ERRNOS(-ENOENT, -EOVERFLOW, -EEXIST, -ENOSPC, -EPERM, -EBADF, -EBUSY)

const struct op_type op_types[] = {
	/* name, weight, where, alone, ... */
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
	{ "VFIO_IOAS", 4, ANYWHERE, false, g_vfio_ioas, m_vfio_ioas, i_vfio_ioas,
	  NULL, p_vfio_ioas, ERRNOS(-ENODEV, -ENOENT) },
	{ "MAP_DMA", 6, ANYWHERE, false, g_map_dma, m_map_dma, i_map_dma, NULL,
	  p_map_dma, ERRNOS(-ENODEV, -EOVERFLOW, -EEXIST) },
	{ "UNMAP_DMA", 6, ANYWHERE, false, g_unmap_dma, m_unmap_dma, i_unmap_dma,
	  NULL, p_unmap_dma, ERRNOS(-ENODEV, -ENOENT, -EOVERFLOW, -EBUSY, -EDEADLOCK) },
	{ "SET_IOMMU", 2, ANYWHERE, false, g_set_iommu, m_set_iommu, i_set_iommu,
	  NULL, p_set_iommu, ERRNOS(-ENODEV, -EADDRINUSE) },
	{ "GET_INFO", 2, ANYWHERE, false, g_get_info, m_get_info, i_get_info, NULL,
	  p_get_info, ERRNOS(-ENODEV) },

	{ "device", 7, MOCK, true, g_device, m_device, i_device, b_device,
	  p_device, ERRNOS(-ENOENT, -EPERM, -EBUSY) },
	{ "open", 6, REAL, true, g_open, m_open, i_open, b_open, p_open, ERRNOS(0) },
	{ "close", 1, REAL, true, g_detach, m_close_device, i_close_device, NULL,
	  p_close_device, ERRNOS(0) },
	{ "ATTACH", 14, ANYWHERE, false, g_attach, m_attach_device, i_attach,
	  b_attach, p_attach, ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "DETACH", 3, ANYWHERE, false, g_detach, m_detach_device, i_detach, NULL,
	  p_detach, ERRNOS(-ENOENT) },
	{ "HWPT_ALLOC", 6, ANYWHERE, false, g_hwpt_alloc, m_hwpt_alloc,
	  i_hwpt_alloc, b_slot, p_hwpt_alloc,
	  ERRNOS(-ENOENT, -EADDRINUSE, -ENOSPC, -EXDEV) },
	{ "GET_HW_INFO", 1, ANYWHERE, false, g_hw_info, m_hw_info, i_hw_info, NULL,
	  p_hw_info, ERRNOS(-ENOENT) },
	{ "DMA", 24, MOCK, false, g_dma, m_dma, i_dma, NULL, p_dma,
	  ERRNOS(-ENOENT, -ENXIO, -EPERM) },
	{ "dma", 12, REAL, true, g_real_dma, m_real_dma, i_real_dma, NULL, p_real_dma,
	  ERRNOS(0) },

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
};

const int nr_op_types = ARRAY_SIZE(op_types);

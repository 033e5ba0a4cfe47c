// SPDX-License-Identifier: GPL-2.0-only
/* Helpers of operations: choose numbers, print them, and spoil structures */
#include <stdarg.h>

#include "ops.h"

#undef ioctl

/*
 * Choosing
 */

__u64 one_of(const __u64 *list, int nr)
{
	return list[rnd(nr)];
}

/* The number of an object; at times of another type, or of none */
int pick(struct op *op, enum type type)
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
	/* Then the call goes to the file of this object */
	if (tries < 200 && !chance(40))
		op->ctx = w->objects[slot].ctx;
	return slot;
}

struct object *picked(const struct op *op, int slot)
{
	struct object *obj = find(op->ctx, slot, ANY);

	return obj && obj->type == HWPT ? obj->ioas : obj;
}

int new_slots(int nr)
{
	int slot = w->next_slot + 1;

	w->next_slot += nr;
	if (w->next_slot >= MAX_OBJECTS)
		abort();
	return slot;
}

int count_live(enum type type)
{
	int i, nr = 0;

	for (i = 0; i <= w->next_slot; i++)
		nr += w->objects[i].live && w->objects[i].type == type;
	return nr;
}

__u64 some_length(void)
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

/* An IOVA near something, or where nothing is */
__u64 some_iova(struct object *ioas)
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

/* A page of the buffer; those at the borders of batches more often */
int some_page(void)
{
	if (chance(6))
		return 505 + rnd(14);
	if (chance(12))
		return NPAGES - 1 - rnd(8);
	return rnd(24);
}

__u64 some_offset(void)
{
	return chance(8) ? ONE_OF(1, 16, MOCK_PAGE, PAGE - 1) : 0;
}

__u64 some_va(void)
{
	if (chance(30))
		return ONE_OF(0, 1, BUF - PAGE, BUF + NPAGES * PAGE, MAX, -PAGE,
			      1ULL << 47, 1ULL << 63);
	return BUF + some_page() * PAGE + some_offset();
}

__u32 some_directions(void)
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

__u32 some_flags(void)
{
	return some_directions() | (chance(4) ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA);
}

/*
 * Printing
 */

const char *name_of(int slot)
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

const char *va_name(__u64 va)
{
	static char text[32];

	if (va >= BUF && va < BUF + NPAGES * PAGE)
		sprintf(text, "BUF + 0x%llx", va - BUF);
	else
		sprintf(text, "0x%llx", va);
	return text;
}

const char *flag_names(__u32 flags)
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

/* Offset of a field that must be 0, or of a flag that is unknown */
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

	/* Three pages; the last one is read-only */
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

/*
 * @reserved: it has such a field. @answers: the kernel writes to the structure.
 */
void some_mangle(struct op *op, bool reserved, bool answers)
{
	if (!chance(16))
		return;
	op->mangle = 1 + rnd(OTHER_WORD);
	if ((op->mangle == RESERVED && !reserved) ||
	    (op->mangle == UNWRITABLE && !answers))
		op->mangle = BAD_TAIL;
}

/* The errno for a structure that is wrong in itself */
bool spoiled(const struct op *op, struct outcome *out)
{
	static const int errnos[] = {
		[SHORT] = -EINVAL, [BAD_TAIL] = -E2BIG, [VAST] = -E2BIG,
		[RESERVED] = -EOPNOTSUPP, [UNREADABLE] = -EFAULT,
		[OTHER_WORD] = -ENOTTY, [UNWRITABLE] = 0,
	};

	out->ret = errnos[op->mangle];
	return out->ret;
}

void spoil_name(const struct op *op)
{
	static const char *const names[] = {
		"", "size 4", "24 more bytes, zero", "24 more bytes, not zero",
		"size + 0x2000", "a reserved bit set", "a structure at 16",
		"a structure that can't be written", "_IOW()",
	};

	if (op->mangle)
		say(" /* with %s */", names[op->mangle]);
}

int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

int fd_of(const struct op *op)
{
	return w->ctx[op->ctx];
}

__u32 id_of(int slot)
{
	return w->objects[slot].id;
}

/* Data to write: it depends on the place and on @seed */
void pattern(unsigned char *data, size_t length, __u64 seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = (seed + i * 13 + i / 256) * 0x9e37 >> 5;
}

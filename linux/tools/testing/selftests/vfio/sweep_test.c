// SPDX-License-Identifier: GPL-2.0
/*
 * MAP, UNMAP and COPY with every start and length near something: a page
 * border, an area, the MSI range, half of the IOVA space, its end. A plain
 * model, which has a list of areas and the order of errors, gives the expected
 * result.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The model has IOMMU pages of 4 KiB */
#define PAGE 0x1000ULL

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define MAX (~0ULL)
#define APERTURE 0x1000000000000ULL
#define HALF 0x8000000000000000ULL

#define ERRNO(_call) ((_call) ? -errno : 0)

/* Memory at a known address, with nothing around it */
#define BUF 0x20000000ULL
#define BUF_SIZE (4 * PAGE)

struct range {
	__u64 start;
	__u64 last;
};

/*
 * struct area - a mapping
 * @va: address of the memory at @start
 */
struct area {
	__u64 start;
	__u64 last;
	__u64 va;
	bool writable;
};

/*
 * struct model - expected state of an IOAS
 * @device: it has a page table
 * @alignment: of mappings
 * @areas: ascending
 */
struct model {
	bool device;
	__u64 alignment;
	struct area areas[16];
	int nr;
};

static const struct range reserved[] = {
	{ MSI_START, MSI_LAST },
	{ APERTURE, MAX },
};

static bool meet(__u64 start, __u64 last, __u64 other_start, __u64 other_last)
{
	return start <= other_last && last >= other_start;
}

static bool is_reserved(const struct model *m, __u64 start, __u64 last)
{
	int i;

	for (i = 0; m->device && i < ARRAY_SIZE(reserved); i++)
		if (meet(start, last, reserved[i].start, reserved[i].last))
			return true;
	return false;
}

static bool is_mapped(const struct model *m, __u64 start, __u64 last)
{
	int i;

	for (i = 0; i < m->nr; i++)
		if (meet(start, last, m->areas[i].start, m->areas[i].last))
			return true;
	return false;
}

static bool has_memory(__u64 va, __u64 length)
{
	return va >= BUF && va < BUF + BUF_SIZE && length <= BUF + BUF_SIZE - va;
}

static __u64 misaligned(const struct model *m, __u64 value)
{
	return value & (m->alignment - 1);
}

/* Errors of an IOVA that the program chooses */
static int expect_place(const struct model *m, __u64 length, __u64 iova)
{
	if (misaligned(m, length) || misaligned(m, iova))
		return -EINVAL;
	if (iova + length - 1 < iova)
		return -EOVERFLOW;
	if (is_reserved(m, iova, iova + length - 1))
		return -EINVAL;
	if (is_mapped(m, iova, iova + length - 1))
		return -EEXIST;
	return 0;
}

/* Errors of the memory */
static int expect_memory(const struct model *m, __u64 va, __u64 length)
{
	if (misaligned(m, va))
		return -EINVAL;
	return m->device && !has_memory(va, length) ? -EFAULT : 0;
}

static int expect_length(__u64 va, __u64 length)
{
	if (length == MAX)
		return -EOVERFLOW;
	if (!length || length >= MAX - PAGE)
		return -EINVAL;
	return va + length < va ? -EOVERFLOW : 0;
}

static int expect_map(const struct model *m, __u64 va, __u64 length, __u64 iova)
{
	int ret;

	if (iova == MAX)
		return -EOVERFLOW;
	ret = expect_length(va, length);
	if (!ret)
		ret = expect_place(m, length, iova);
	if (!ret)
		ret = expect_memory(m, va, length);
	return ret;
}

/*
 * If [@start, @start + @length) overlaps [@from, @last], move @start behind it
 */
static bool step_over(__u64 *start, __u64 length, __u64 from, __u64 last)
{
	if (!meet(*start, *start + length - 1, from, last))
		return false;
	/* Wraps to 0 if the range reaches the end */
	*start = last + 1;
	return true;
}

/* The lowest IOVA for this memory; 0 if there is none */
static __u64 find_place(const struct model *m, __u64 va, __u64 length)
{
	__u64 offset = va % PAGE, align = PAGE, start = PAGE;
	bool moved = true;
	int i;

	while (align < SZ_2M && align < length && !(va & (2 * align - 1)))
		align *= 2;

	while (moved) {
		__u64 aligned = (start - offset + align - 1) / align * align + offset;

		/* Never in the last page, so the end does not wrap */
		if (!start || aligned < start || aligned > MAX - PAGE - (length - 1))
			return 0;
		start = aligned;
		moved = false;
		for (i = 0; !moved && m->device && i < ARRAY_SIZE(reserved); i++)
			moved = step_over(&start, length, reserved[i].start,
					  reserved[i].last);
		for (i = 0; !moved && i < m->nr; i++)
			moved = step_over(&start, length, m->areas[i].start,
					  m->areas[i].last);
	}
	return start;
}

static int expect_auto(const struct model *m, __u64 va, __u64 length, __u64 *iova)
{
	int ret = expect_length(va, length);

	if (ret)
		return ret;
	if (misaligned(m, length))
		return -EINVAL;
	if (length >= HALF)
		return -EOVERFLOW;
	if (misaligned(m, va))
		return -EINVAL;
	*iova = find_place(m, va, length);
	if (!*iova)
		return -ENOSPC;
	return expect_memory(m, va, length);
}

/* Unmap in the model; areas before one that is cut are gone */
static int expect_unmap(struct model *m, __u64 iova, __u64 length, __u64 *bytes)
{
	__u64 last = iova + length - 1;
	bool all = !iova && length == MAX;
	int i, left = 0, ret = 0;

	*bytes = 0;
	if (all)
		last = MAX;
	else if (iova == MAX || length == MAX)
		return -EOVERFLOW;
	else if (!length)
		return -EINVAL;
	else if (last < iova)
		return -EOVERFLOW;

	for (i = 0; i < m->nr; i++) {
		struct area *a = &m->areas[i];

		if (!ret && meet(iova, last, a->start, a->last)) {
			if (a->start >= iova && a->last <= last) {
				*bytes += a->last - a->start + 1;
				continue;
			}
			ret = -ENOENT;
		}
		m->areas[left++] = *a;
	}
	m->nr = left;
	return ret || *bytes || all ? ret : -ENOENT;
}

/* Is all of it mapped? @parts is set to the areas of the copy */
static bool split(const struct model *src, __u64 iova, __u64 length, __u64 dst,
		  struct model *parts)
{
	__u64 at = iova, last = iova + length - 1;
	int i;

	parts->nr = 0;
	for (i = 0; i < src->nr; i++) {
		const struct area *a = &src->areas[i];
		__u64 end = a->last < last ? a->last : last;

		if (at < a->start || at > a->last)
			continue;
		parts->areas[parts->nr++] = (struct area){
			.start = dst + (at - iova),
			.last = dst + (end - iova),
			.va = a->va + (at - a->start),
			.writable = a->writable,
		};
		if (end == last)
			return true;
		at = end + 1;
	}
	return false;
}

static int expect_copy(const struct model *src, __u64 src_iova, __u64 length,
		       const struct model *dst, __u64 dst_iova, bool write,
		       struct model *parts)
{
	int i, ret;

	if (length == MAX || src_iova == MAX || dst_iova == MAX)
		return -EOVERFLOW;
	if (!length)
		return -EINVAL;
	if (src_iova + length - 1 < src_iova)
		return -EOVERFLOW;
	if (!split(src, src_iova, length, dst_iova, parts))
		return -ENOENT;
	ret = expect_place(dst, length, dst_iova);
	for (i = 0; !ret && i < parts->nr; i++)
		if (write && !parts->areas[i].writable)
			ret = -EPERM;
	/* Each part is an area, and must be aligned like one */
	for (i = 0; !ret && i < parts->nr; i++)
		if (misaligned(dst, parts->areas[i].last + 1) ||
		    misaligned(dst, parts->areas[i].va))
			ret = -EINVAL;
	for (i = 0; !ret && i < parts->nr; i++)
		ret = expect_memory(dst, parts->areas[i].va,
				    parts->areas[i].last -
				    parts->areas[i].start + 1);
	return ret;
}

static int map_area(int file, __u32 ioas, const struct area *area)
{
	__u64 iova = area->start;

	return map(file, ioas,
		   area->writable ? FIXED_RW : FIXED_RW & ~IOMMU_IOAS_MAP_WRITEABLE,
		   area->va, area->last - area->start + 1, &iova);
}

/* Unmap areas that fill the range completely */
static int unmap_area(int file, __u32 ioas, __u64 start, __u64 last)
{
	__u64 bytes;

	return unmap(file, ioas, start, last - start + 1, &bytes) ||
	       bytes != last - start + 1;
}

/* With a device, so that memory is pinned and pages count, and without */
FIXTURE(sweep)
{
	struct pci_dev dev;
	int device;
	int file;
	__u32 ioas, source;
	struct model model;
	long pinned;
};

FIXTURE_VARIANT(sweep)
{
	bool device;
};

FIXTURE_VARIANT_ADD(sweep, device)
{
	.device = true,
};

FIXTURE_VARIANT_ADD(sweep, no_device)
{
	.device = false,
};

FIXTURE_SETUP(sweep)
{
	void *buf = mmap((void *)BUF, BUF_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	ASSERT_EQ((void *)BUF, buf);
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->file = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, alloc_ioas(self->file, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->file, &self->source));
	ASSERT_EQ(0, bind_iommufd(self->device, self->file, NULL));
	self->model.alignment = 1;
	if (variant->device) {
		ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
		self->model.device = true;
		self->model.alignment = PAGE;
	}
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(sweep)
{
	EXPECT_EQ(0, unmap(self->file, self->ioas, 0, MAX, NULL));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(self->device);
	close(self->file);
}

/* Map an area above all others */
static void add(struct __test_metadata *_metadata, struct _test_data_sweep *self,
		__u64 start, __u64 length, __u64 va)
{
	struct model *m = &self->model;
	struct area area = {
		.start = start,
		.last = start + length - 1,
		.va = va,
		.writable = true,
	};

	ASSERT_EQ(0, map_area(self->file, self->ioas, &area));
	m->areas[m->nr++] = area;
}

#define ADD(_start, _length, _va) add(_metadata, self, _start, _length, _va)

/* traps A2, A14, A21 */
TEST_F(sweep, map_at_any_place)
{
	static const __u64 used = 0x2000000;
	static const __u64 vas[] = {
		BUF, BUF + 1, BUF + PAGE - 1, BUF + PAGE, BUF + BUF_SIZE - PAGE,
		BUF - PAGE, 0, PAGE, HALF - PAGE, HALF, -2 * PAGE - 1, -2 * PAGE,
		-PAGE - 1, -PAGE, -PAGE + 1, MAX - 1, MAX,
	};
	static const __u64 lengths[] = {
		0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE,
		BUF_SIZE, BUF_SIZE + PAGE, 1ULL << 32, APERTURE - PAGE, APERTURE,
		1ULL << 62, HALF - PAGE, HALF - 1, HALF, HALF + 1, HALF + PAGE,
		-3 * PAGE, -2 * PAGE - 1, -2 * PAGE, -PAGE - 2, -PAGE - 1, -PAGE,
		-PAGE + 1, MAX - 1, MAX,
	};
	static const __u64 iovas[] = {
		0, 1, PAGE - 1, PAGE, PAGE + 1, used - 2 * PAGE, used - PAGE - 1,
		used - PAGE, used - 1, used, used + 1, used + PAGE,
		used + 4 * PAGE - 1, used + 4 * PAGE, MSI_START - 2 * PAGE,
		MSI_START - PAGE, MSI_START - 1, MSI_START, MSI_LAST - PAGE,
		MSI_LAST - PAGE + 1, MSI_LAST, MSI_LAST + 1, 1ULL << 32,
		APERTURE - 2 * PAGE, APERTURE - PAGE, APERTURE - 1, APERTURE,
		1ULL << 62, HALF - PAGE, HALF - 1, HALF, HALF + 1, -2 * PAGE - 1,
		-2 * PAGE, -PAGE - 1, -PAGE, -PAGE + 1, MAX - 1, MAX,
	};
	int i, j, k, good = 0;

	ADD(used, 4 * PAGE, BUF);
	for (i = 0; i < ARRAY_SIZE(vas); i++) {
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			for (k = 0; k < ARRAY_SIZE(iovas); k++) {
				__u64 va = vas[i], length = lengths[j];
				__u64 iova = iovas[k];
				int ret;

				ret = ERRNO(map_at(self->file, self->ioas, va,
						   length, iova));
				ASSERT_EQ(expect_map(&self->model, va, length,
						     iova), ret) {
					TH_LOG("va 0x%llx length 0x%llx iova 0x%llx",
					       va, length, iova);
				}
				if (ret)
					continue;
				ASSERT_EQ(0, unmap_area(self->file, self->ioas,
							iova, iova + length - 1));
				good++;
			}
		}
	}
	/* Some maps must succeed */
	EXPECT_LT(20, good);
}

/* Layouts of areas, from much free space to nearly none */
static void fill(struct __test_metadata *_metadata,
		 struct _test_data_sweep *self, int how)
{
	int i;

	switch (how) {
	case 0:
		break;
	case 1:
		/* Gaps of 1, 2, 3, ... pages */
		for (i = 1; i < 8; i++)
			ADD(i * (i + 3) / 2 * PAGE, PAGE, BUF);
		/* And below the MSI range */
		ADD(MSI_START - 3 * PAGE, PAGE, BUF);
		break;
	case 2:
		/* The last 32 pages are free (trap A7) */
		ADD(0, HALF, 0);
		ADD(HALF, HALF - 32 * PAGE, 0);
		break;
	case 3:
		/* Of those, the first three, and one byte less than a page */
		ADD(0, HALF, 0);
		ADD(HALF, HALF - 32 * PAGE, 0);
		ADD(-29 * PAGE, 27 * PAGE, 0);
		ADD(-2 * PAGE + PAGE - 1, PAGE + 1, 0);
		break;
	}
}

/* traps A6, A7 */
TEST_F(sweep, map_at_a_place_of_the_kernels_choice)
{
	static const __u64 vas[] = {
		BUF, BUF + 1, BUF + 0x800, BUF + PAGE - 1, BUF + PAGE,
		BUF + 2 * PAGE, BUF + BUF_SIZE, 0, 16, PAGE, 5 * PAGE, SZ_2M,
		HALF, -2 * PAGE, -PAGE, -1,
	};
	static const __u64 lengths[] = {
		0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE, 4 * PAGE,
		5 * PAGE, 7 * PAGE, 8 * PAGE, 16 * PAGE, 31 * PAGE - 1, 31 * PAGE,
		32 * PAGE, SZ_2M, SZ_2M + PAGE, SZ_1G, 1ULL << 32,
		APERTURE - MSI_LAST - 1, APERTURE - MSI_LAST - 1 + PAGE,
		APERTURE, 1ULL << 62, (1ULL << 62) + PAGE, HALF - 2 * PAGE,
		HALF - PAGE, HALF - 1, HALF, HALF + 1, -3 * PAGE, -2 * PAGE,
		-PAGE - 2, -PAGE - 1, -PAGE, MAX - 1, MAX,
	};
	int how, i, j, good = 0;

	for (how = 0; how < (variant->device ? 2 : 4); how++) {
		self->model.nr = 0;
		ASSERT_EQ(0, unmap(self->file, self->ioas, 0, MAX, NULL));
		fill(_metadata, self, how);
		for (i = 0; i < ARRAY_SIZE(vas); i++) {
			for (j = 0; j < ARRAY_SIZE(lengths); j++) {
				__u64 va = vas[i], length = lengths[j];
				__u64 iova = 0, place = 0;
				int ret;

				ret = ERRNO(map(self->file, self->ioas, MAP_RW,
						va, length, &iova));
				ASSERT_EQ(expect_auto(&self->model, va, length,
						      &place), ret) {
					TH_LOG("layout %d va 0x%llx length 0x%llx",
					       how, va, length);
				}
				if (ret)
					continue;
				ASSERT_EQ(place, iova) {
					TH_LOG("layout %d va 0x%llx length 0x%llx",
					       how, va, length);
				}
				ASSERT_EQ(0, unmap_area(self->file, self->ioas,
							iova, iova + length - 1));
				good++;
			}
		}
	}
	EXPECT_LT(10, good);
}

/* IOVAs near the ends of all areas */
static int borders(const struct model *m, __u64 *list)
{
	static const __s64 near[] = { -(__s64)PAGE, -1, 0, 1, PAGE };
	int i, j, nr = 0;

	list[nr++] = 0;
	list[nr++] = 1;
	for (i = 0; i < m->nr; i++) {
		for (j = 0; j < ARRAY_SIZE(near); j++) {
			list[nr++] = m->areas[i].start + near[j];
			list[nr++] = m->areas[i].last + near[j];
		}
	}
	list[nr++] = HALF;
	list[nr++] = MAX - 1;
	list[nr++] = MAX;
	return nr;
}

/*
 * From any border to any other. Afterwards areas that should be unmapped can be
 * mapped, and others are EEXIST (trap A21).
 */
TEST_F(sweep, unmap_any_range)
{
	__u64 top = variant->device ? APERTURE : 0, list[256];
	struct model whole;
	int i, j, k, nr;

	ADD(0, PAGE, BUF);
	ADD(PAGE, 2 * PAGE, BUF);
	ADD(5 * PAGE, PAGE, BUF);
	ADD(MSI_START - PAGE, PAGE, BUF);
	if (!variant->device) {
		ADD(MSI_START + 3, 2, BUF);
		ADD(MSI_START + 5, 1, BUF);
	}
	ADD(top - 3 * PAGE, PAGE, BUF);
	ADD(top - PAGE, PAGE, BUF);
	whole = self->model;

	nr = borders(&whole, list);
	for (i = 0; i < nr; i++) {
		for (j = 0; j <= nr; j++) {
			__u64 start = list[i], bytes, expect_bytes;
			/* The last iteration uses MAX as the length */
			__u64 length = j < nr ? list[j] - start + 1 : MAX;
			struct model left = whole;
			int ret, expect;

			ret = ERRNO(unmap(self->file, self->ioas, start, length,
					  &bytes));
			expect = expect_unmap(&left, start, length,
					      &expect_bytes);
			ASSERT_EQ(expect, ret) {
				TH_LOG("start 0x%llx length 0x%llx", start, length);
			}
			if (!ret)
				ASSERT_EQ(expect_bytes, bytes);

			for (k = 0; k < whole.nr; k++) {
				struct area *a = &whole.areas[k];
				bool kept = is_mapped(&left, a->start, a->last);

				ASSERT_EQ(kept ? -EEXIST : 0,
					  ERRNO(map_area(self->file,
							 self->ioas, a))) {
					TH_LOG("start 0x%llx length 0x%llx: area %d",
					       start, length, k);
				}
			}
		}
	}
}

/* The source is an IOAS without a device, with areas of all kinds (trap A12) */
TEST_F_TIMEOUT(sweep, copy_any_range, 300)
{
	static const struct area sources[] = {
		{ 0, PAGE - 1, BUF, true },
		{ PAGE, 3 * PAGE - 1, BUF + 2 * PAGE, true },
		/* Read-only */
		{ 3 * PAGE, 4 * PAGE - 1, BUF, false },
		{ 6 * PAGE, 7 * PAGE - 1, BUF, true },
		/* In the middle of a page, then read-only */
		{ 7 * PAGE, 8 * PAGE - 1, BUF + 16, true },
		{ 8 * PAGE, 9 * PAGE - 1, BUF, false },
		/* No memory */
		{ 9 * PAGE, 10 * PAGE - 1, BUF - PAGE, true },
		{ -4 * PAGE, -2 * PAGE - 1, BUF, true },
		{ -2 * PAGE, MAX, BUF, true },
	};
	static const __u64 used = 0x2000000;
	static const __u64 dsts[] = {
		0, 1, PAGE, used - PAGE, used, used + 1, MSI_START - PAGE,
		MSI_START, APERTURE - PAGE, APERTURE, -PAGE, -1,
	};
	struct model source = {}, parts;
	int i, j, k, n, write, nr, good = 0;
	__u64 list[256];

	for (i = 0; i < ARRAY_SIZE(sources); i++) {
		ASSERT_EQ(0, map_area(self->file, self->source, &sources[i]));
		source.areas[source.nr++] = sources[i];
	}
	ADD(used, PAGE, BUF);

	nr = borders(&source, list);
	for (i = 0; i < nr; i++) {
		for (j = 0; j <= nr; j++) {
			for (k = 0; k < 2 * ARRAY_SIZE(dsts); k++) {
				__u64 start = list[i], dst = dsts[k / 2];
				__u64 length = j < nr ? list[j] - start + 1 : MAX;
				int ret;

				write = k % 2;
				ret = ERRNO(copy_at(self->file, self->ioas,
						    self->source,
						    write ? MAP_RW :
						    IOMMU_IOAS_MAP_READABLE,
						    length, dst, start));
				ASSERT_EQ(expect_copy(&source, start, length,
						      &self->model, dst, write,
						      &parts), ret) {
					TH_LOG("from 0x%llx length 0x%llx to 0x%llx%s",
					       start, length, dst,
					       write ? " to write" : "");
				}
				if (ret)
					continue;
				/*
				 * One area for each part, from the last to the
				 * first
				 */
				for (n = parts.nr - 1; n >= 0; n--) {
					__u64 last = parts.areas[n].last;

					/*
					 * UNMAP can't begin at the last byte;
					 * unmap it with the part before
					 */
					if (parts.areas[n].start == MAX)
						n--;
					ASSERT_EQ(0, unmap_area(self->file,
								self->ioas,
								parts.areas[n].start,
								last));
				}
				good++;
			}
		}
	}
	EXPECT_LT(20, good);
}

/* The kernel chooses the IOVA of a copy by the memory of the part (trap A6) */
TEST_F(sweep, copy_to_a_place_of_the_kernels_choice)
{
	struct area big = { 0x40000000, 0x40000000 + SZ_1G - 1, 0, true };
	static const __u64 offsets[] = { 0, PAGE, 3 * PAGE, SZ_2M, SZ_2M + PAGE };
	static const __u64 lengths[] = {
		1, PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE, BUF_SIZE, SZ_2M, 8 * SZ_2M,
	};
	int i, j;

	/* With a device, the memory must exist */
	big.va = variant->device ? BUF : 0;
	ASSERT_EQ(0, map_area(self->file, self->source, &big));
	fill(_metadata, self, 1);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			__u64 iova = 0, place = 0;
			int ret;

			ret = ERRNO(copy(self->file, self->ioas, self->source,
					 MAP_RW, lengths[j], &iova,
					 big.start + offsets[i]));
			ASSERT_EQ(expect_auto(&self->model, big.va + offsets[i],
					      lengths[j], &place), ret) {
				TH_LOG("offset 0x%llx length 0x%llx", offsets[i],
				       lengths[j]);
			}
			if (ret)
				continue;
			ASSERT_EQ(place, iova) {
				TH_LOG("offset 0x%llx length 0x%llx", offsets[i],
				       lengths[j]);
			}
			ASSERT_EQ(0, unmap_area(self->file, self->ioas, place,
						place + lengths[j] - 1));
		}
	}
}

/*
 * Mappings that a device can't use, with every combination of misalignment: the
 * attach fails, and succeeds without them (trap A13)
 */
TEST_F(sweep, attach_to_misaligned_areas)
{
	static const __u64 offsets[] = { 0, 1, PAGE / 2, PAGE - 1 };
	int i, j, k;

	ASSERT_EQ(0, detach_pt(self->device));
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			for (k = 0; k < ARRAY_SIZE(offsets); k++) {
				int ret;

				ASSERT_EQ(0, map_at(self->file, self->ioas,
						    BUF + offsets[i],
						    PAGE + offsets[j],
						    PAGE + offsets[k]));
				ret = ERRNO(attach_pt(self->device, self->ioas,
						      NULL));
				ASSERT_EQ(i || j || k ? -EADDRINUSE : 0, ret);
				ASSERT_EQ(0, unmap(self->file, self->ioas, 0,
						   MAX, NULL));
				ASSERT_EQ(0, detach_pt(self->device));
			}
		}
	}
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
}

TEST_HARNESS_MAIN

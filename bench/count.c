// SPDX-License-Identifier: GPL-2.0-only
/*
 * Count the instructions that a kernel executes for requests to VFIO.
 *
 *	count cdev|type1 KIND [CASE]
 *
 * KIND is a kind of memory (memory.h), "areas" or "gaps". In a VM whose clock
 * counts instructions (-icount shift=0), so does the time stamp counter. CASE gets
 * a frame for bench/profile.c, which counts its instructions one by one.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench.h"
#include "memory.h"

#define SZ_64K 0x10000UL
#define SZ_256M 0x10000000UL

static const char *framed_case = "";

static struct {
	char name[32];
	long sleeps;
	uint64_t start;
} now;

static long sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw;
}

/*
 * Instructions between begin() and end() are counted. The frame consists of
 * nops that compilers don't emit.
 */
static void begin(const char *name)
{
	snprintf(now.name, sizeof(now.name), "%s", name);
	now.sleeps = sleeps();
	if (!strcmp(name, framed_case))
		asm volatile("nopl 0x62656731(%rax)");
	now.start = __rdtsc();
}

static void end(void)
{
	uint64_t count = __rdtsc() - now.start;

	if (!strcmp(now.name, framed_case))
		asm volatile("nopl 0x62656732(%rax)");
	if (sleeps() != now.sleeps)
		give_up("%s slept, so the count includes idle time", now.name);
	printf("count %s %lu\n", now.name, count);
}

static void check(int ret)
{
	if (ret < 0)
		fail(now.name);
}

static void map_pieces(struct space *s, char *buf, size_t size, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		check(space_map(s, buf + i * size, size, IOVA + i * size));
}

static void unmap_pieces(struct space *s, size_t size, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		check(space_unmap(s, IOVA + i * size, size));
}

/*
 * Map in pieces and unmap them one by one; first without counting, to fill the
 * kernel's caches
 */
static void map_and_unmap(struct space *s, const char *name, char *buf, size_t size, size_t nr)
{
	char case_name[32];

	map_pieces(s, buf, size, nr);
	unmap_pieces(s, size, nr);
	snprintf(case_name, sizeof(case_name), "map-%s", name);
	begin(case_name);
	map_pieces(s, buf, size, nr);
	end();
	snprintf(case_name, sizeof(case_name), "unmap-%s", name);
	begin(case_name);
	unmap_pieces(s, size, nr);
	end();
}

/* Memory that the kernel uses for a mapped GiB, with the IOMMU's page tables */
static void memory_of_a_gib(struct space *s, char *buf)
{
	long free = kernel_free_pages();

	map_pieces(s, buf, SZ_1G, 1);
	printf("kib memory-1g %ld\n", (free - kernel_free_pages()) * 4);
	unmap_pieces(s, SZ_1G, 1);
}

static void second_device_type1(struct space *s)
{
	int group = open_group(&devices[1]);

	begin("attach-second");
	check(ioctl(group, VFIO_GROUP_SET_CONTAINER, &s->fd));
	end();
}

static void second_device(struct space *s)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.src_ioas_id = s->ioas,
		.length = SZ_256M,
		.src_iova = IOVA,
		.dst_iova = IOVA,
	};
	int device = open_cdev(&devices[1]);
	__u32 other;

	if (device < 0 || bind_iommufd(device, s->fd, NULL) || ioas_alloc(s->fd, &other))
		fail("second device");
	begin("attach-second");
	check(attach_pt(device, s->ioas, NULL));
	end();

	check(detach_pt(device));
	check(attach_pt(device, other, NULL));
	copy.dst_ioas_id = other;
	begin("copy");
	check(ioctl(s->fd, IOMMU_IOAS_COPY, &copy));
	end();

	begin("replace");
	check(attach_pt(s->device, other, NULL));
	end();
}

static void count_kind(bool legacy, enum memory_kind kind)
{
	char *buf = get_memory(kind, SZ_1G);
	struct space s;
	int i;

	begin("open");
	space_open(&s, legacy, &devices[0]);
	end();

	/*
	 * Before other mappings, since an IOMMU driver may keep page tables of
	 * those
	 */
	memory_of_a_gib(&s, buf);

	/*
	 * Like memory in use: a page that was pinned twice is on the active
	 * list
	 */
	for (i = 0; i < 2; i++) {
		map_pieces(&s, buf, SZ_1G, 1);
		unmap_pieces(&s, SZ_1G, 1);
	}
	map_and_unmap(&s, "4k", buf, SZ_4K, 1000);
	map_and_unmap(&s, "64k", buf, SZ_64K, 500);
	map_and_unmap(&s, "2m", buf, SZ_2M, 100);
	map_and_unmap(&s, "256m", buf, SZ_256M, 1);
	map_and_unmap(&s, "1g", buf, SZ_1G, 1);

	check(space_map(&s, buf, SZ_256M, IOVA));
	if (legacy)
		second_device_type1(&s);
	else
		second_device(&s);
}

/* Map areas of one page, @stride pages apart, up to @max of them */
static void count_areas(bool legacy, size_t stride, size_t max)
{
	static const struct {
		const char *name, *unmap_all;
		size_t last, nr;
	} steps[] = {
		{ "areas-1", NULL, 1, 1 },
		{ "areas-1000", NULL, 1000, 999 },
		{ "areas-60000", "unmap-all-60000", 60000, 1000 },
		{ "areas-64000", NULL, 64000, 1000 },
		{ "areas-1000000", "unmap-all-1000000", 1000000, 1000 },
	};
	char *buf = get_memory(LONG_RUNS, SZ_256M);
	struct space s;
	size_t i, n = 0;

	space_open(&s, legacy, &devices[0]);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]) && steps[i].last <= max; i++) {
		for (; n < steps[i].last; n++) {
			if (n == steps[i].last - steps[i].nr)
				begin(steps[i].name);
			check(space_map(&s, buf + n * SZ_4K % SZ_256M, SZ_4K, IOVA + n * stride * SZ_4K));
		}
		end();
		if (!steps[i].unmap_all)
			continue;
		begin(steps[i].unmap_all);
		check(space_unmap(&s, IOVA, n * stride * SZ_4K));
		end();
		n = 0;
	}
}

int main(int argc, char **argv)
{
	enum memory_kind kind;
	bool legacy;

	setlinebuf(stdout);
	if (argc < 3)
		give_up("usage: count cdev|type1 KIND [CASE]");
	legacy = !strcmp(argv[1], "type1");
	if (argc > 3)
		framed_case = argv[3];
	give_devices_to_vfio();
	for (kind = 0; kind < NR_KINDS; kind++)
		if (!strcmp(argv[2], kind_names[kind]))
			break;
	if (!strcmp(argv[2], "areas"))
		count_areas(legacy, 1, 1000000);
	else if (!strcmp(argv[2], "gaps"))
		count_areas(legacy, 2, 60000);
	else if (kind < NR_KINDS)
		count_kind(legacy, kind);
	else
		give_up("no kind of memory is called %s", argv[2]);
	printf("done\n");
	return 0;
}

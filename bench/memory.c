// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "memory.h"

const char *const kind_names[NR_KINDS] = {
	[LONG_RUNS] = "long",
	[ALONE] = "alone",
	[THP] = "thp",
	[HUGETLB] = "hugetlb",
	[SMALL] = "small",
};

/* Touch pages at this step */
static void touch(char *buf, size_t size, size_t first, size_t step)
{
	size_t i;

	for (i = first; i < size; i += step)
		((volatile char *)buf)[i] = 1;
}

/* How much of the mapping of the buffer is huge, according to the kernel */
static size_t huge_bytes(const void *buf, const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end, kib = 0;
	bool here = false;
	char line[256];

	if (!f)
		fail("/proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)buf && (uintptr_t)buf < end;
		else if (here && !strncmp(line, field, strlen(field)))
			sscanf(line + strlen(field), ": %lu", &kib);
	}
	fclose(f);
	return kib * 1024;
}

/* Number of physically contiguous runs of pages */
static size_t count_runs(const void *buf, size_t size)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t runs = 0, nr = size / SZ_4K, i, j;
	uint64_t last = 0, entry[512];

	if (fd < 0)
		fail("/proc/self/pagemap");
	for (i = 0; i < nr; i += 512) {
		if (pread(fd, entry, sizeof(entry), ((uintptr_t)buf / SZ_4K + i) * 8) != sizeof(entry))
			fail("/proc/self/pagemap");
		for (j = 0; j < 512; j++) {
			uint64_t pfn = entry[j] & ((1ULL << 55) - 1);

			if (!(entry[j] >> 63) || !pfn)
				give_up("page %zu of the buffer is not in memory", i + j);
			runs += pfn != last + 1;
			last = pfn;
		}
	}
	close(fd);
	return runs;
}

/* A figure for memory of the wrong kind would be worse than none */
static void check_kind(enum memory_kind kind, const void *buf, size_t size)
{
	size_t pages = size / SZ_4K, runs = count_runs(buf, size);
	size_t thp = huge_bytes(buf, "AnonHugePages");
	size_t hugetlb = huge_bytes(buf, "Private_Hugetlb");
	bool good;

	printf("memory %s %zu %zu\n", kind_names[kind], pages, runs);
	switch (kind) {
	case LONG_RUNS:
		good = !thp && !hugetlb && pages >= 64 * runs;
		break;
	case ALONE:
		good = !thp && !hugetlb && pages == runs;
		break;
	case THP:
		good = thp == size;
		break;
	case HUGETLB:
		good = hugetlb == size;
		break;
	default:
		good = !thp && !hugetlb;
	}
	if (!good)
		give_up("memory is not %s: %zu pages in %zu runs, %zu KiB THP, %zu KiB hugetlb",
			kind_names[kind], pages, runs, thp / 1024, hugetlb / 1024);
}

/*
 * Get a buffer of this kind, populated and aligned to 2 MiB. The size is a
 * multiple of 2 MiB. A kernel that has just booted allocates contiguous pages
 * one after the other; touching every second page first keeps neighbours apart.
 */
void *get_memory(enum memory_kind kind, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	size_t slack = kind == HUGETLB ? 0 : SZ_2M;
	char *buf;

	if (kind == HUGETLB)
		flags |= MAP_HUGETLB;
	buf = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (buf == MAP_FAILED)
		fail("mmap");
	buf += -(uintptr_t)buf & (SZ_2M - 1);
	if (kind != HUGETLB)
		madvise(buf, size, kind == THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (kind == ALONE) {
		touch(buf, size, 0, 2 * SZ_4K);
		touch(buf, size, SZ_4K, 2 * SZ_4K);
	} else {
		touch(buf, size, 0, SZ_4K);
	}
	check_kind(kind, buf, size);
	return buf;
}

/* Exact, including per-CPU lists, which MemFree leaves out */
long kernel_free_pages(void)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "r");
	long total = 0, nr;
	char line[256];

	/* Reading the file updates the sums */
	if (!f || fgetc(f) != EOF)
		fail("/proc/sys/vm/stat_refresh");
	fclose(f);
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		fail("/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %ld", &nr) == 1 || sscanf(line, " count: %ld", &nr) == 1)
			total += nr;
	fclose(f);
	return total;
}

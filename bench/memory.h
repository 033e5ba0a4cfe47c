/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of a known kind: what it costs to map depends on how it lies in the machine.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>

/*
 * enum memory_kind - how the pages of a buffer lie
 * @LONG_RUNS: pages of 4 KiB, most of them beside their neighbours
 * @ALONE: pages of 4 KiB, none beside its neighbour
 * @THP: transparent huge pages, all of it
 * @HUGETLB: pages of 2 MiB from hugetlbfs
 * @SMALL: pages of 4 KiB, however they lie
 */
enum memory_kind {
	LONG_RUNS,
	ALONE,
	THP,
	HUGETLB,
	SMALL,
	NR_KINDS,
};

extern const char *const kind_names[NR_KINDS];

void *get_memory(enum memory_kind kind, size_t size);
long kernel_free_pages(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory of a known kind: the cost of a map depends on how its pages lie */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>

/*
 * enum memory_kind - how the pages of a buffer lie in physical memory
 * @LONG_RUNS: pages of 4 KiB, mostly contiguous
 * @ALONE: pages of 4 KiB, no two of them contiguous
 * @THP: transparent huge pages only
 * @HUGETLB: pages of 2 MiB from hugetlbfs
 * @SMALL: pages of 4 KiB, anywhere
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

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel says of memory: its pages, and that of a process.
 */
#ifndef STATUS_UTIL_H
#define STATUS_UTIL_H

#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A page of this machine, unless a test is about one size. Of 64 bits in a 32-bit
 * program too, so that -PAGE is the last page of all
 */
#ifndef PAGE
#define PAGE ((unsigned long long)sysconf(_SC_PAGESIZE))
#endif

/* KiB of so many pages */
#define PAGES_KB(_nr) ((long)((_nr) * PAGE / 1024))

/* A number of /proc/self/status, in KiB, or -1 */
static inline long status_kb(const char *field)
{
	size_t len = strlen(field);
	char line[256];
	long ret = -1;
	FILE *f;

	f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			ret = atol(line + len + 1);
	if (f)
		fclose(f);
	return ret;
}

static inline __u64 read_u64(const char *path, __u64 index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	__u64 ret;

	if (pread(fd, &ret, sizeof(ret), index * sizeof(ret)) != sizeof(ret))
		ret = ~0ULL;
	close(fd);
	return ret;
}

/* Of a page that the process has mapped and that is there; 0 if it can't be told */
static inline __u64 pfn_of(const void *va)
{
	__u64 entry = read_u64("/proc/self/pagemap", (uintptr_t)va / PAGE);

	return entry == ~0ULL ? 0 : entry & ((1ULL << 55) - 1);
}

/* Has such a page to be written back? -1 if it can't be told */
static inline int page_is_dirty(const void *va)
{
	__u64 pfn = pfn_of(va);
	__u64 flags = pfn ? read_u64("/proc/kpageflags", pfn) : ~0ULL;

	return flags == ~0ULL ? -1 : flags >> KPF_DIRTY & 1;
}

#endif

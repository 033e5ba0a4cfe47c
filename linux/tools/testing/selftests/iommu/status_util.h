/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of VFIO and of iommufd: skips, processes that wait, and what the
 * kernel reports about the state of pages and of a process's memory.
 */
#ifndef STATUS_UTIL_H
#define STATUS_UTIL_H

#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <linux/types.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/*
 * CPU page size, unless a test has defined its own. It has 64 bits in 32-bit
 * programs too, so that -PAGE is the last page of the address space.
 */
#ifndef PAGE
#define PAGE ((unsigned long long)sysconf(_SC_PAGESIZE))
#endif

/*
 * SKIP() for a fixture setup: after SKIP(return, ...) the test body would still
 * run
 */
#define SKIP_TEST(...) SKIP(_exit(255), __VA_ARGS__)

/* Does the child wait, and does it die when it is killed? */
static inline bool can_be_killed(pid_t pid)
{
	int tries;

	poll(NULL, 0, 200);
	if (waitpid(pid, NULL, WNOHANG))
		return false;
	kill(pid, SIGKILL);
	for (tries = 0; tries < 500; tries++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

/*
 * The next allocation of the kernel that has this size, 1024 bytes at most, is
 * not zero. It gets memory that the kernel frees here.
 */
static inline void leave_garbage(size_t size)
{
	char data[1024];

	memset(data, 0xa5, sizeof(data));
	/* No attribute is set: device nodes have none of users */
	setxattr("/dev", "user.garbage", data, size, 0);
}

#define PAGES_KB(_nr) ((long)((_nr) * PAGE / 1024))

/* The number in a field of a file such as /proc/meminfo; -1 if there is none */
static inline long field_of(const char *path, const char *field)
{
	size_t len = strlen(field);
	char line[256];
	long ret = -1;
	FILE *f;

	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			ret = atol(line + len + 1);
	if (f)
		fclose(f);
	return ret;
}

/* A field of /proc/self/status, in KiB */
static inline long status_kb(const char *field)
{
	return field_of("/proc/self/status", field);
}

static inline long free_huge_pages(void)
{
	return field_of("/proc/meminfo", "HugePages_Free");
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

/* PFN of a present page of this process; 0 if unknown */
static inline __u64 pfn_of(const void *va)
{
	__u64 entry = read_u64("/proc/self/pagemap", (uintptr_t)va / PAGE);

	return entry == ~0ULL ? 0 : entry & ((1ULL << 55) - 1);
}

/* Is the page dirty? -1 if unknown */
static inline int page_is_dirty(const void *va)
{
	__u64 pfn = pfn_of(va);
	__u64 flags = pfn ? read_u64("/proc/kpageflags", pfn) : ~0ULL;

	return flags == ~0ULL ? -1 : flags >> KPF_DIRTY & 1;
}

#endif

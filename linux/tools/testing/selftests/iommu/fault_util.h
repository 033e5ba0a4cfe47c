/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests share that let each allocation, and each access to user memory, of a
 * request fail in turn. They need a kernel with failslab, fail_page_alloc and
 * fail_usercopy.
 */
#ifndef FAULT_UTIL_H
#define FAULT_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than any request here has chances to fail */
#define MANY 1000

static int write_file(const char *dir, const char *name, const char *value)
{
	char path[256];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	ret = write(fd, value, strlen(value)) < 0 ? -1 : 0;
	close(fd);
	return ret;
}

/* The file has to be open before: to open it is to take chances */
static int fail_nth_fd = -1;

/* Let this thread's n-th chance fail */
static int fail_nth(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	return pwrite(fail_nth_fd, text, strlen(text), 0) < 0 ? -1 : 0;
}

/* Allocations that may wait fail too, and nothing is said about it */
static int enable_faults(void)
{
	fail_nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fail_nth(0) ||
	       write_file("failslab", "ignore-gfp-wait", "N") ||
	       write_file("failslab", "verbose", "0") ||
	       write_file("fail_page_alloc", "ignore-gfp-wait", "N") ||
	       write_file("fail_page_alloc", "min-order", "0") ||
	       write_file("fail_page_alloc", "verbose", "0") ||
	       write_file("fail_usercopy", "verbose", "0") ||
	       /* There is this one only with the mock IOMMU */
	       (write_file("fail_iommufd", "verbose", "0") && errno != ENOENT);
}

/* Did it come to that? From now on nothing fails any more. */
static bool has_failed(void)
{
	char text[16] = "";
	bool ret;

	/* To look takes a chance too, which then is the one that fails */
	ret = pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (fail_nth(0))
		;
	return ret;
}

struct request {
	int (*make)(void *self);
	/* The reverse */
	int (*undo)(void *self);
	/* What has to be as before after a failure */
	int (*check)(void *self);
	/* Stays when all but the answer was done, so then @undo must not mind */
	bool stays;
};

/* The kernel's own faults, and those of the mock IOMMU's kernel */
static bool is_injected(int err)
{
	return err == ENOMEM || err == EFAULT || err == ENOENT || err == EINVAL;
}

/* What became of a request whose n-th chance was to fail */
enum outcome {
	IS_WRONG,
	HAD_FEWER_CHANCES,
	HAS_FAILED,
	FOUND_ANOTHER_WAY,
};

static enum outcome make_failing(void *self, const struct request *request,
				 int n)
{
	int ret, made, err;

	if (fail_nth(n))
		return IS_WRONG;
	made = !request->make(self);
	err = errno;
	if (!has_failed())
		return made ? HAD_FEWER_CHANCES : IS_WRONG;
	if (made || (err == EFAULT && request->stays))
		ret = request->undo(self);
	else
		ret = !is_injected(err);
	if (ret || request->check(self)) {
		fprintf(stderr, "# chance %d: errno %d\n", n, err);
		return IS_WRONG;
	}
	return made ? FOUND_ANOTHER_WAY : HAS_FAILED;
}

/*
 * Make a request with its first, second, ... chance failing, until all have. It
 * fails and leaves nothing behind, or it has found another way. In the end it is
 * made with success. Returns how often it failed, -1 if one of this is not so.
 *
 * A chance that did not matter can be one that comes now and then, like the page
 * that KASAN takes to keep stacks in. It stays until it is granted, and a chance of
 * the request is at its place then: so grant it, and let that one fail.
 */
static int sweep(void *self, const struct request *request)
{
	int n, nr_failed = 0;

	for (n = 1; n < MANY; n++) {
		enum outcome outcome = make_failing(self, request, n);

		if (outcome == FOUND_ANOTHER_WAY) {
			if (request->make(self) || request->undo(self))
				return -1;
			outcome = make_failing(self, request, n);
		}
		if (outcome == IS_WRONG)
			return -1;
		if (outcome == HAD_FEWER_CHANCES)
			return nr_failed;
		nr_failed += outcome == HAS_FAILED;
	}
	return -1;
}

#endif

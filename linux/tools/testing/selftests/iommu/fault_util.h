/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests that make each allocation, and each access to
 * user memory, of a request fail in turn. The kernel must have failslab,
 * fail_page_alloc and fail_usercopy.
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

/*
 * Upper limit: no request here has so many points where a fault can be injected
 */
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

/* Opened in advance, since open() itself has such points */
static int fail_nth_fd = -1;

/* Let the n-th point of this thread fail */
static int fail_nth(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	return pwrite(fail_nth_fd, text, strlen(text), 0) < 0 ? -1 : 0;
}

/* Inject faults in allocations that may sleep too, without logging them */
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
	       /* Only a kernel with the mock IOMMU has this one */
	       (write_file("fail_iommufd", "verbose", "0") && errno != ENOENT);
}

/* Was the fault injected? Switches fault injection off for this thread. */
static bool has_failed(void)
{
	char text[16] = "";
	bool ret;

	/*
	 * If the fault hits this read, pread() fails: the request did not see
	 * it
	 */
	ret = pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (fail_nth(0))
		;
	return ret;
}

struct request {
	int (*make)(void *self);
	int (*undo)(void *self);
	/* Fails if a request that failed has changed anything */
	int (*check)(void *self);
	/*
	 * EFAULT may leave the effect in place; @undo must tolerate that there
	 * is none
	 */
	bool stays;
};

/* Errnos of the kernel's fault injection and of the mock IOMMU's */
static bool is_injected(int err)
{
	return err == ENOMEM || err == EFAULT || err == ENOENT || err == EINVAL;
}

/* Result of a request whose n-th point was to fail */
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
	if (!has_failed()) {
		if (made)
			return HAD_FEWER_CHANCES;
		fprintf(stderr, "# failed with %d before chance %d\n", err, n);
		return IS_WRONG;
	}
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
 * Make a request with a fault at its first, second, ... point, until it has no
 * more. Each time it has to fail and leave nothing behind, or succeed in
 * another way. Return the number of failures, or -1 if a call breaks this rule.
 *
 * A fault that did not matter can have hit an allocation that is made only now
 * and then, such as the page in which KASAN keeps stacks. It is tried again
 * until it succeeds, and displaces a point of the request. So let it succeed,
 * and then inject the fault at the same n again.
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

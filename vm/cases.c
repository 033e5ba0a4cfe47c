// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linked into the selftests of V=mutant in place of fork(). The kselftest harness
 * forks for each case, so this knows where a case begins. Cases are numbered from 1.
 *
 *	CASES=3,7-9	run only these; the others pass without running
 *	CASES_areas_test=3
 *			the same for one program
 *	REACHED=1	print for each case which mutants it has reached
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pid_t __real_fork(void);
pid_t __wrap_fork(void);

static pid_t harness;
static int nr;

__attribute__((constructor))
static void begin(void)
{
	harness = getpid();
}

static const char *cases(void)
{
	char name[64];

	snprintf(name, sizeof(name), "CASES_%s", program_invocation_short_name);
	return getenv("CASES") ?: getenv(name);
}

static int wanted(void)
{
	const char *at = cases();

	while (at && *at) {
		char *end;
		long first = strtol(at, &end, 10), last = first;

		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		if (first <= nr && nr <= last)
			return 1;
		if (*end != ',')
			return 0;
		at = end + 1;
	}
	return !at;
}

/* Print the mutants that were reached. Reading the file also clears it. */
static void tell(void)
{
	char text[4096];
	ssize_t len;
	int fd;

	if (!nr || !getenv("REACHED"))
		return;
	fd = open("/sys/module/iommufd/parameters/reached", O_RDONLY);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len < 0)
		return;
	text[len] = '\0';
	printf("# reached %d %s", nr, text);
	fflush(stdout);
}

__attribute__((destructor))
static void end(void)
{
	if (getpid() == harness)
		tell();
}

pid_t __wrap_fork(void)
{
	pid_t pid;

	if (getpid() != harness)
		return __real_fork();
	tell();
	nr++;
	pid = __real_fork();
	if (!pid && !wanted())
		_exit(0);
	return pid;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Delays of calls of kernel functions, see delay.c of iommufd. Only kernels with
 * CONFIG_IOMMUFD_TEST and CONFIG_KPROBES have the file. A case that makes sense
 * without a delay ignores that it can't be added.
 */
#ifndef DELAY_UTIL_H
#define DELAY_UTIL_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOCK_DELAY "/sys/kernel/debug/iommufd/delay"

/* @line: FUNCTION MICROSECONDS [PERCENT], or empty to remove all delays */
static inline int mock_delay(const char *line)
{
	int file = open(MOCK_DELAY, O_WRONLY | O_CLOEXEC);
	int ret = write(file, line, strlen(line)) < 0 ? -1 : 0;

	if (file >= 0)
		close(file);
	return ret;
}

/*
 * How often was the function called whose delay was added first? 0 if there is
 * none
 */
static inline unsigned int mock_nr_delayed(void)
{
	int file = open(MOCK_DELAY, O_RDONLY | O_CLOEXEC);
	unsigned int nr = 0;
	char text[4096] = "";

	if (read(file, text, sizeof(text) - 1) > 0)
		sscanf(text, "%*s %*u %*u %u", &nr);
	close(file);
	return nr;
}

/*
 * Wait until the function was called @calls times, or @done is set. A test that
 * counts calls starts with mock_nr_delayed().
 */
static inline void mock_wait_for_calls(unsigned int calls,
				       const atomic_bool *done)
{
	while (mock_nr_delayed() < calls && !*done)
		;
}

/*
 * Begin a request in a thread, and return while its @nth call of the function is
 * being delayed, or when it is done. On a kernel without delays the two requests
 * seldom meet.
 */
static inline int mock_begin(void *(*request)(void *), void *arg,
			     const atomic_bool *done, unsigned int nth,
			     pthread_t *thread)
{
	unsigned int nr = mock_nr_delayed();

	if (pthread_create(thread, NULL, request, arg))
		return -1;
	mock_wait_for_calls(nr + nth, done);
	return 0;
}

/* The same with a delay that replaces all others; mock_end() removes it */
static inline int mock_begin_delayed(const char *delay,
				     void *(*request)(void *), void *arg,
				     const atomic_bool *done,
				     pthread_t *thread)
{
	if (!mock_delay("") && mock_delay(delay))
		return -1;
	return mock_begin(request, arg, done, 1, thread);
}

static inline int mock_end(pthread_t thread)
{
	pthread_join(thread, NULL);
	return mock_delay("");
}
#endif

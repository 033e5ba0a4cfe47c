/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests with several threads share. They count answers that no order of
 * events explains, and go on until they are told to stop.
 */
#ifndef RACE_UTIL_H
#define RACE_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * For TEST_F_TIMEOUT(): seconds that are enough for any dose. RACE_TIMES in the
 * environment says how many times as long as usual threads go on; who sets it
 * limits the whole.
 */
#define ANY_TIME 86400

static atomic_bool stop;
/* Answers that must not be */
static atomic_int wrong;

static void check(bool right, const char *what)
{
	if (!right && !atomic_fetch_add(&wrong, 1))
		fprintf(stderr, "# %s: errno %d (%s)\n", what, errno,
			strerror(errno));
}

#define CHECK(_right) check(_right, #_right)

static void run_for(double seconds, pthread_t *threads, int nr)
{
	const char *times = getenv("RACE_TIMES");
	struct timespec pause;

	seconds *= times ? atof(times) : 1;
	pause.tv_sec = seconds;
	pause.tv_nsec = (seconds - pause.tv_sec) * 1e9;
	nanosleep(&pause, NULL);
	atomic_store(&stop, true);
	while (nr--)
		pthread_join(threads[nr], NULL);
}

#define START(_thread, _function)                                              \
	ASSERT_EQ(0, pthread_create(_thread, NULL, _function, self))

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests with several threads. The threads run until @stop
 * is set, and count results that no order of events explains.
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
 * Timeout for TEST_F_TIMEOUT() in seconds, enough for any RACE_TIMES.
 * RACE_TIMES in the environment multiplies how long the threads run; whoever
 * sets it has to limit the whole run.
 */
#define ANY_TIME 86400

static atomic_bool stop;
/* Number of results that must not happen */
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

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel says of the memory of a process.
 */
#ifndef STATUS_UTIL_H
#define STATUS_UTIL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#endif

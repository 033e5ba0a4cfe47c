// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs that test the harness: each ends in the way of its name. tests/vm
 * runs them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static void provoke(const char *how)
{
	int fd = open("/sys/kernel/debug/provoke-crash/DIRECT", O_WRONLY);

	if (fd < 0 || write(fd, how, strlen(how)) < 0)
		perror("# provoke-crash");
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/') + 1;

	printf("TAP version 13\n1..2\nok 1 first\n");
	fflush(stdout);

	if (!strcmp(name, "warn"))
		provoke("WARNING");
	if (!strcmp(name, "panic"))
		provoke("PANIC");
	if (!strcmp(name, "vanish"))
		reboot(RB_POWER_OFF);
	if (!strcmp(name, "hang"))
		pause();
	if (!strcmp(name, "skip")) {
		printf("ok 2 second # SKIP on purpose\n");
		return 0;
	}
	if (!strcmp(name, "fail")) {
		printf("# why it failed\nnot ok 2 second\n");
		return 1;
	}
	printf("ok 2 second\n");
	return 0;
}

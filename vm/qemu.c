// SPDX-License-Identifier: GPL-2.0-only
/*
 * An unmodified QEMU in our machine gives the disk of that machine to a guest of its own,
 * which has to read from it what we read, and what the host wrote.
 *
 * vm/qemu packs all that this needs: QEMU, a kernel and an initrd for its guest, the disk.
 * ways[] says in which ways QEMU gets the disk, and which of them are this program's.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "vfio_util.h"

#define DISK "nvme0n1"
#define SUM_LENGTH 64 /* of SHA-256, in hexadecimal */
#define QEMU "/usr/bin/qemu-system-x86_64"
#define CONSOLE "/tmp/inner.console"
#define VERDICT "/tmp/inner.verdict"
#define SAID "/tmp/inner.qemu"

/*
 * struct way - how QEMU gets the disk
 * @program: that goes this way
 * @device: QEMU's arguments; %s is the address of the device
 */
static const struct way {
	const char *program;
	const char *name;
	const char *device;
} ways[] = {
	{ "qemu7", "group", "-device vfio-pci,host=%s" },
	{ "qemu7-iommufd", "container", "-device vfio-pci,host=%s" },
	{ "qemu10", "group", "-device vfio-pci,host=%s" },
	{ "qemu10", "node", "-object iommufd,id=i0 -device vfio-pci,host=%s,iommufd=i0" },
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* The last lines of a file, as comments */
static void show(const char *path)
{
	char line[256];
	FILE *f = fopen(path, "r");

	if (!f)
		return;
	if (!fseek(f, -2000, SEEK_END))
		fgets(line, sizeof(line), f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		ksft_print_msg("%s: %s\n", path, line);
	}
	fclose(f);
}

/* The first checksum that is there; empty if there is none */
static int find_sum(FILE *f, char *sum)
{
	char line[512];

	*sum = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (strspn(line, "0123456789abcdef") == SUM_LENGTH) {
			memcpy(sum, line, SUM_LENGTH);
			sum[SUM_LENGTH] = 0;
			return 0;
		}
	}
	return -1;
}

static int sum_of_file(const char *path, char *sum)
{
	FILE *f = fopen(path, "r");
	int ret = find_sum(f, sum);

	if (f)
		fclose(f);
	return ret;
}

static void note_version(void)
{
	char line[64] = "of an unknown version";
	FILE *f = fopen("/qemu/version", "r");

	if (f && fgets(line, sizeof(line), f))
		line[strcspn(line, "\n")] = 0;
	if (f)
		fclose(f);
	ksft_print_msg("note: QEMU     %s\n", line);
}

/* What this kernel reads, through its own driver; the disk appears some time after bind */
static int sum_outside(char *sum)
{
	double deadline = now() + 30;
	FILE *f;
	int ret;

	while (access("/dev/" DISK, F_OK) && now() < deadline)
		usleep(10000);
	f = popen("/checksum", "r");
	ret = find_sum(f, sum);
	return f && !pclose(f) ? ret : -1;
}

static int find_disk(struct pci_dev *dev)
{
	char path[PATH_MAX];

	/* The disk's name space, its controller, its PCI function */
	if (!realpath("/sys/block/" DISK "/device/device", path))
		return -1;
	return sscanf(strrchr(path, '/') + 1, "%15s", dev->bdf) == 1 ? 0 : -1;
}

/* Its guest is to be done in this many seconds */
static pid_t start(const struct way *way, const struct pci_dev *dev, unsigned int seconds)
{
	char device[256], command[1024], append[128];
	char *argv[64], *word, *next = command;
	pid_t pid;
	int n = 0;

	snprintf(device, sizeof(device), way->device, dev->bdf);
	snprintf(command, sizeof(command),
		 QEMU " -accel tcg -machine q35,sata=off,smbus=off -cpu max -m 128"
		 " -nodefaults -no-user-config -no-reboot -display none"
		 " -serial file:" CONSOLE " -serial file:" VERDICT
		 " -kernel /qemu/kernel -initrd /qemu/initrd %s -append",
		 device);
	while ((word = strsep(&next, " ")))
		argv[n++] = word;
	snprintf(append, sizeof(append), "console=ttyS0 quiet panic=-1 oops=panic"
		 " tsc=reliable no_timer_check vm.exec=%u:/checksum", seconds);
	argv[n++] = append;
	argv[n] = NULL;

	pid = fork();
	if (!pid) {
		int fd = open(SAID, O_WRONLY | O_CREAT | O_TRUNC, 0644);

		dup2(fd, 1);
		dup2(fd, 2);
		execv(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	return pid;
}

/* The wait status, or -1 if it had to be killed */
static int wait_for_end(pid_t pid, unsigned int seconds)
{
	double deadline = now() + seconds;
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (now() > deadline) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		usleep(100000);
	}
	return status;
}

/* Give it the disk, and have it back; what the host wrote is what all have to read */
static void go(const struct way *way, struct pci_dev *disk, const char *host, unsigned int seconds)
{
	char inside[SUM_LENGTH + 1], outside[SUM_LENGTH + 1];
	double begin = now();
	int status = -1;

	unlink(VERDICT);
	if (!bind_vfio_pci(disk))
		status = wait_for_end(start(way, disk, seconds), seconds);
	sum_of_file(VERDICT, inside);
	ksft_print_msg("note: inside   %s by %s, %.0f s\n", *inside ? inside : "nothing",
		       way->name, now() - begin);
	show(SAID);
	if (status || strcmp(inside, host)) {
		show(CONSOLE);
		show(VERDICT);
	}
	ksft_test_result(*inside, "%s: guest mounts the disk\n", way->name);
	ksft_test_result(!strcmp(inside, host), "%s: checksum inside equals outside\n", way->name);
	ksft_test_result(!status, "%s: QEMU ends without an error\n", way->name);
	ksft_test_result(!bind_driver(disk, "nvme") && !sum_outside(outside) &&
			 !strcmp(outside, host),
			 "%s: this kernel reads the disk again\n", way->name);
}

int main(int argc, char **argv)
{
	const char *program = strrchr(argv[0], '/') + 1;
	char host[SUM_LENGTH + 1], outside[SUM_LENGTH + 1];
	unsigned int i, nr = 0, seconds = atoi(getenv("SECONDS") ?: "300");
	struct pci_dev disk;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		nr += !strcmp(program, ways[i].program);
	ksft_print_header();
	if (!nr || find_disk(&disk) || sum_of_file("/qemu/sum", host))
		ksft_exit_fail_msg("no disk, or no way of %s\n", program);
	ksft_set_plan(1 + 4 * nr);

	note_version();
	ksft_print_msg("note: host     %s\n", host);
	ksft_test_result(!sum_outside(outside) && !strcmp(outside, host),
			 "this kernel reads what the host wrote\n");
	ksft_print_msg("note: outside  %s\n", outside);

	/* A program that only knows the container is given an iommufd in its place */
	if (strstr(program, "-iommufd") &&
	    (unlink("/dev/vfio/vfio") || symlink("/dev/iommu", "/dev/vfio/vfio")))
		ksft_exit_fail_msg("/dev/vfio/vfio can't be a link\n");

	/* Of what the plan gives, as much as leaves time to tell why it was not enough */
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(program, ways[i].program))
			go(&ways[i], &disk, host, seconds * 9 / 10 / nr);
	ksft_finished();
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM's whole userland: run the programs that the kernel command line names,
 * and report how each of them ended, on a channel of its own.
 *
 *	vm.run=NAME:SECONDS:PROGRAM[,...]	run these, with SECONDS in their environment
 *	vm.mutate				run the mutants of /mutants (tools/mutate)
 *	vm.exec=SECONDS:PROGRAM[,ARG...]	run this and pass on its output
 *	vm.shell				start a shell on the console
 *
 * The channel is a separate serial port. It has KTAP, with the output of a program
 * as its subtest, and "# end" as the last line. The console has only kernel
 * messages, and the name of each program before it starts. vm/run is the host's
 * side. On a kernel that counts executed lines (V=gcov), the counts are read after
 * each program and sent through I/O port 0xe9.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Serial port for reports; the first one if the console is of another kind */
#ifdef __aarch64__
#define VERDICT "/dev/ttyS0"
#else
#define VERDICT "/dev/ttyS1"
#endif

/* Number of the active mutant; 0 for none */
#define MUTANT "/sys/module/kernel/parameters/mutant"

/* Delays at the entry of functions: FUNCTION MICROSECONDS [PERCENT] */
#define DELAY "/sys/kernel/debug/iommufd/delay"
#define MAX_PLACES 64

static int verdict;
/*
 * Results besides wait statuses: timeout, killed at its first failure, can't be
 * killed
 */
enum { LATE = -1, FAILED = -2, STUCK = -3 };

static const char *counted;	/* the program whose counts are sent */
static int hasty;		/* 1: timeout per case; 2: stop at the first failure */
static unsigned int results;	/* result lines of the running program */

static void put(const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(verdict, buf, len);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			buf += n;
			len -= n;
		}
	}
}

__attribute__((format(printf, 1, 2)))
static void say(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	put(line, len);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		say("# cannot write %s: %s\n", path, strerror(errno));
	close(fd);
}

static void run_and_wait(char *const argv[])
{
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static void set_up(void)
{
	static const struct {
		const char *type, *dir;
	} mounts[] = {
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },
		{ "tmpfs", "/tmp" },
		{ "debugfs", "/sys/kernel/debug" },
	};
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].dir, 0755);
		mount(mounts[i].type, mounts[i].dir, mounts[i].type, 0, NULL);
	}
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/", 1);
}

/*
 * With a device tree, the kernel knows the IOMMU only once a driver of a device
 * behind it is bound, and isolates devices (ACS) only behind ports that it
 * finds after that. So remove the ports and find them again.
 */
static void find_ports_again(void)
{
	char path[64], class[16];
	glob_t ports;
	size_t i;
	FILE *f;

	if (access("/proc/device-tree", F_OK) ||
	    glob("/sys/bus/pci/devices/0000:00:*", 0, NULL, &ports))
		return;
	for (i = 0; i < ports.gl_pathc; i++) {
		snprintf(path, sizeof(path), "%s/class", ports.gl_pathv[i]);
		f = fopen(path, "r");
		if (f && fgets(class, sizeof(class), f) && !strncmp(class, "0x0604", 6)) {
			snprintf(path, sizeof(path), "%s/remove", ports.gl_pathv[i]);
			write_file(path, "1");
		}
		if (f)
			fclose(f);
	}
	write_file("/sys/bus/pci/rescan", "1");
	globfree(&ports);
}

static void open_verdict(void)
{
	struct termios tio;

	verdict = open(VERDICT, O_RDWR | O_NOCTTY);
	if (verdict < 0)
		exit(1);
	tcgetattr(verdict, &tio);
	cfmakeraw(&tio);
	cfsetspeed(&tio, B115200);
	tcsetattr(verdict, TCSANOW, &tio);
}

/*
 * The initrd has modules only if the kernel was built with some. In Debian's
 * kernel all of these are modules.
 */
static void load_modules(void)
{
	char *const argv[] = {
		"/bin/busybox", "modprobe", "-a", "-q", "nvme", "ext4", "crc32c_generic",
		"pci-stub", "uio_pci_generic", "vfio_iommu_type1", "vfio-pci", NULL,
	};
	struct utsname uts;
	char dir[128];

	uname(&uts);
	snprintf(dir, sizeof(dir), "/lib/modules/%s", uts.release);
	if (!access(dir, F_OK))
		run_and_wait(argv);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Pass on the program's output, each line indented, until it ends or times out
 */
static int copy_output(int fd, unsigned int seconds, const char *indent)
{
	static const char failed[] = "not ok ";	/* failed + 4 is "ok " */
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	double deadline = now() + seconds;
	size_t column = 0, same = 0, well = 0;
	char buf[4096];

	results = 0;
	for (;;) {
		double left = deadline - now();
		ssize_t n, i;

		if (left <= 0)
			return LATE;
		if (poll(&pfd, 1, left * 1000 + 1) <= 0)
			continue;
		n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			return 0;
		if (hasty)
			deadline = now() + seconds;
		for (i = 0; i < n; i++) {
			if (!column)
				put(indent, strlen(indent));
			put(buf + i, 1);
			if (same == column && column < strlen(failed) &&
			    buf[i] == failed[column])
				same++;
			if (well == column && column < strlen(failed + 4) &&
			    buf[i] == failed[4 + column])
				well++;
			column++;
			if (buf[i] != '\n')
				continue;
			results += same == strlen(failed) || well == strlen(failed + 4);
			if (hasty > 1 && same == strlen(failed))
				return FAILED;
			column = 0;
			same = 0;
			well = 0;
		}
	}
}

/* Kill everything that a program has left, in any session; -1 if that fails */
static int reap(pid_t program, int *status)
{
	double deadline = now() + 10;
	int ignored;
	pid_t pid;

	while (now() < deadline) {
		kill(-1, SIGKILL);
		pid = waitpid(-1, &ignored, WNOHANG);
		if (pid == program)
			*status = ignored;
		if (pid < 0)
			return 0;
		if (!pid)
			usleep(10000);
	}
	return -1;
}

/* Return the wait status; LATE or FAILED if the program was killed for that */
static int run_program(char *const argv[], unsigned int seconds, const char *indent)
{
	int out[2], status, killed;
	pid_t pid;

	if (pipe(out))
		return 127 << 8;
	pid = fork();
	if (!pid) {
		setsid();
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		execv(argv[0], argv);
		fprintf(stderr, "# cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(out[1]);
	killed = copy_output(out[0], seconds, indent);
	kill(-pid, SIGKILL);
	close(out[0]);
	if (hasty)
		return reap(pid, &status) ? STUCK : killed ? killed : status;
	waitpid(pid, &status, 0);
	return killed ? killed : status;
}

/* Leaks are reported for the program, so scan after each one */
static void scan_for_leaks(const char *name)
{
	static const char file[] = "/sys/kernel/debug/kmemleak";
	char line[256];
	FILE *f;

	if (access(file, F_OK))
		return;
	/*
	 * kmemleak reports only objects that are some seconds old, so scan
	 * twice
	 */
	write_file(file, "scan");
	sleep(6);
	write_file(file, "scan");
	f = fopen(file, "r");
	while (f && fgets(line, sizeof(line), f))
		say("# kmemleak %s: %s", name, line);
	if (f)
		fclose(f);
	write_file(file, "clear");
}

/*
 * Send the counts of one object file: a header line with program, path and
 * number of bytes, then the bytes. One byte per call, because /dev/port takes
 * the file position as the port.
 */
static int send_counts(const char *path, const struct stat *st, int type,
		       struct FTW *at)
{
	static char buf[1 << 20];
	size_t len = strlen(path), n, i, total = 0;
	char header[512];
	int port;
	FILE *f;

	if (type != FTW_F || len < 5 || strcmp(path + len - 5, ".gcda"))
		return 0;
	f = fopen(path, "r");
	port = open("/dev/port", O_WRONLY);
	if (!f || port < 0) {
		say("# cannot read %s or write to /dev/port\n", path);
		exit(1);
	}
	while ((n = fread(buf + total, 1, sizeof(buf) - total, f)))
		total += n;
	fclose(f);
	n = snprintf(header, sizeof(header), "%s %s %zu\n", counted, path, total);
	for (i = 0; i < n; i++)
		pwrite(port, header + i, 1, 0xe9);
	for (i = 0; i < total; i++)
		pwrite(port, buf + i, 1, 0xe9);
	close(port);
	return 0;
}

/* Reset the counts, so that each program has its own */
static void count_for(const char *name)
{
	static const char dir[] = "/sys/kernel/debug/gcov";
	static const char reset[] = "/sys/kernel/debug/gcov/reset";

	if (access(reset, F_OK))
		return;
	counted = name;
	nftw(dir, send_counts, 16, FTW_PHYS);
	write_file(reset, "0");
}

/*
 * Delay calls of eight functions of /delays. DELAYS in the environment and the
 * name of the program select them, so a run of this program alone has the same.
 */
static void add_delays(const char *name)
{
	const char *seed = getenv("DELAYS");
	char line[256], *places[MAX_PLACES];
	unsigned int hash, nr = 0, i;
	FILE *f;

	f = seed ? fopen("/delays", "r") : NULL;
	if (!f)
		return;
	while (nr < MAX_PLACES && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "#\n")] = '\0';
		if (*line)
			places[nr++] = strdup(line);
	}
	fclose(f);
	for (hash = atoi(seed), i = 0; name[i]; i++)
		hash = hash * 31 + name[i];
	srand(hash);
	say("  # note: delays of seed %s:", seed);
	for (i = 0; i < nr; i++) {
		unsigned int other = i + rand() % (nr - i);
		char *place = places[other];

		places[other] = places[i];
		if (i < 8) {
			say(" %.*s", (int)strcspn(place, " "), place);
			write_file(DELAY, place);
		}
		free(place);
	}
	say("\n");
}

/* Show how often the functions were called, and remove what delays there are */
static void remove_delays(void)
{
	char line[256];
	FILE *f;

	f = fopen(DELAY, "r");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		say("  # delayed: %s", line);
	fclose(f);
	write_file(DELAY, "\n");
}

static void report(int nr, const char *name, const char *seconds, int status)
{
	if (!status)
		say("ok %d %s\n", nr, name);
	else if (status == LATE)
		say("not ok %d %s # timeout after %s s\n", nr, name, seconds);
	else if (status == FAILED)
		say("not ok %d %s # case\n", nr, name);
	else if (WIFSIGNALED(status))
		say("not ok %d %s # signal %d\n", nr, name, WTERMSIG(status));
	else
		say("not ok %d %s # exit %d\n", nr, name, WEXITSTATUS(status));
}

static void run_plan(char *plan)
{
	char *item, *next = plan;
	int nr = 0;

	count_for("boot");
	say("KTAP version 1\n");
	while ((item = strsep(&next, ","))) {
		char *name = strsep(&item, ":");
		char *seconds = strsep(&item, ":");
		char *const argv[] = { item, NULL };
		char note[128];
		int status;

		if (!seconds || !item)
			continue;
		snprintf(note, sizeof(note), "vm: run %s\n", name);
		write_file("/dev/kmsg", note);
		say("# run %s\n", name);
		setenv("SECONDS", seconds, 1);
		add_delays(name);
		status = run_program(argv, atoi(seconds), "  ");
		remove_delays();
		scan_for_leaks(name);
		count_for(name);

		nr++;
		report(nr, name, seconds, status);
	}
	say("1..%d\n", nr);
}

/*
 * Run some cases of a program with one mutant, and kill all its processes
 * before the next one is chosen
 */
static int run_mutant(int nr, const char *mutant, const char *name, const char *seconds,
		      char *program, const char *cases)
{
	char *const argv[] = { program, NULL };
	char full[64], note[96];
	int status;

	snprintf(full, sizeof(full), "%s/%s", mutant, name);
	snprintf(note, sizeof(note), "vm: run %s\n", full);
	write_file("/dev/kmsg", note);
	say("# run %s\n", full);
	write_file("/sys/kernel/debug/clear_warn_once", "1");
	setenv("SECONDS", seconds, 1);
	if (*cases == '*')
		unsetenv("CASES");
	else
		setenv("CASES", cases, 1);
	/*
	 * Mutant -1 is none, and records which mutants are reached; all cases
	 * run then
	 */
	hasty = *mutant == '-' ? 1 : 2;
	if (hasty == 1)
		setenv("REACHED", "1", 1);
	else
		unsetenv("REACHED");
	write_file(MUTANT, mutant);
	status = run_program(argv, atoi(seconds), "  ");
	if (status == STUCK) {
		say("not ok %d %s # stuck\n", nr, full);
		return status;
	}
	write_file(MUTANT, "0");
	write_file(DELAY, "\n");
	report(nr, full, seconds, status);
	return status;
}

/* Lockdep checks nothing any more after its first report */
static bool lockdep_is_off(void)
{
	FILE *f = fopen("/proc/lockdep_stats", "r");
	char line[128];
	bool off = false;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		off |= !strncmp(line, " debug_locks:", 13) && !atoi(line + 13);
	fclose(f);
	return off;
}

/*
 * Each line of /mutants: mutant, name of the program, seconds for a case,
 * program, cases. The other lines of a mutant that was caught are skipped.
 *
 * A mutant can leave something behind that makes the next one fail. So the case
 * that caught it must pass without a mutant; otherwise this boot ends. It also
 * ends if lockdep is off.
 */
static void run_mutants(void)
{
	char line[4096], caught[16] = "", *word[5], *at, number[16];
	FILE *f = fopen("/mutants", "r");
	int nr = 0, status, i;

	if (!f || access(MUTANT, W_OK)) {
		say("# there are no mutants\n");
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		for (i = 0, at = line; i < 5 && (word[i] = strsep(&at, " \n")); i++)
			;
		if (i < 5 || !strcmp(word[0], caught))
			continue;	/* incomplete, or its mutant was caught */
		status = run_mutant(++nr, word[0], word[1], word[2], word[3], word[4]);
		if (status == STUCK || lockdep_is_off())
			break;
		if (!status || *word[0] == '-')
			continue;
		snprintf(caught, sizeof(caught), "%s", word[0]);
		snprintf(number, sizeof(number), "%u", results + (status != FAILED));
		if (run_mutant(++nr, "0", word[1], word[2], word[3], number))
			break;
	}
	fclose(f);
}

static void run_one(char *command)
{
	char *seconds = strsep(&command, ":");
	char *argv[8];
	int i = 0;

	while (i < 7 && (argv[i] = strsep(&command, ",")))
		i++;
	argv[i] = NULL;
	say("# exit %d\n", run_program(argv, atoi(seconds), ""));
}

static char *option(char *cmdline, const char *name)
{
	size_t len = strlen(name);
	char *word;

	while ((word = strsep(&cmdline, " \n")))
		if (!strncmp(word, name, len) && (!word[len] || word[len] == '='))
			return word + len + (word[len] == '=');
	return NULL;
}

int main(void)
{
	char cmdline[8192] = "", copy[sizeof(cmdline)], *plan;
	char *const shell[] = { "/bin/busybox", "sh", "-l", NULL };
	FILE *f;

	set_up();
	find_ports_again();
	load_modules();
	f = fopen("/proc/cmdline", "r");
	if (!f || !fgets(cmdline, sizeof(cmdline), f))
		return 1;
	fclose(f);

	if (option(strcpy(copy, cmdline), "vm.shell")) {
		run_and_wait(shell);
		reboot(RB_POWER_OFF);
	}

	open_verdict();
	plan = option(strcpy(copy, cmdline), "vm.run");
	if (plan)
		run_plan(plan);
	else if (option(strcpy(copy, cmdline), "vm.mutate"))
		run_mutants();
	else if ((plan = option(strcpy(copy, cmdline), "vm.exec")))
		run_one(plan);
	say("# end\n");
	tcdrain(verdict);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}

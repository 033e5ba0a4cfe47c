// SPDX-License-Identifier: GPL-2.0-only
/*
 * An unmodified QEMU in the VM assigns devices of the VM to a guest of its own.
 * The guest must read from the disk what this program reads, which is what the
 * host wrote; other devices must reach its memory. ways[] lists how QEMU gets
 * the devices, and for which program: all ways of a program, or one of them by
 * program and name, such as qemu10-node.
 *
 * vm/qemu packs QEMU, a kernel and an initrd for its guest, and the disk. The
 * guest runs vm/inner.c.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
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
#define MONITOR "/tmp/inner.monitor"
#define REPLIES "/tmp/inner.replies"
#define SAVED "/tmp/inner.saved"
/*
 * QEMU migrates such a device only if told to, since it expects the device to
 * report dirty pages
 */
#define MDPIN \
	"-device vfio-pci,sysfsdev=/sys/bus/mdev/devices/{mdpin},enable-migration=on" \
	" -trace vfio_get_dirty_bitmap"
#define MIGRATED "QEMU sends dirty memory again while the guest runs, and saves all of it"
#define USER 1000
#define RAM_MB 128

/*
 * struct step - a command for QEMU's monitor, and when to send it
 * @line: start of a line of the guest
 * @nr: number of such lines that must exist
 * @holds: condition that must be true then, or within a minute; or NULL
 * @command: the command, with words in braces as in struct way
 * @repeat: send it again after so many seconds, until the next step; 0 for never
 */
struct step {
	const char *line;
	int nr;
	bool (*holds)(pid_t qemu);
	const char *command;
	unsigned int repeat;
};

static bool disk_is_free(pid_t qemu);
static bool was_reset(pid_t qemu);
static bool told_kvm(pid_t qemu);
static bool said_no_more(pid_t qemu);
static bool is_sent_again(pid_t qemu);
static bool is_saved(pid_t qemu);

static const struct step reboot[] = {
	{ "disk", 1, NULL, "system_reset" },
	{ "disk", 2, NULL, "quit" },
	{ }
};

static const struct step plug[] = {
	{ "empty", 1, NULL, "device_add vfio-pci,id=hot,bus=plug,host={disk}{by}" },
	/* QEMU refuses while the guest is busy with the slot */
	{ "disk", 1, NULL, "device_del hot", 20 },
	{ "gone", 1, disk_is_free, "quit" },
	{ }
};

static const struct step reset[] = { { "edu", 2, was_reset, "quit" }, { } };
static const struct step p2p[] = { { "p2p", 1, said_no_more, "quit" }, { } };
static const struct step kvm[] = { { "disk", 1, told_kvm, "quit" }, { } };

/*
 * QEMU 10 assumes 100 GiB for a device that can't report its size, and keeps
 * sending memory until there is time for that
 */
static const struct step save[] = {
	{ "mdpin", 2, NULL, "migrate -d file:" SAVED },
	{ "mdpin", 3, NULL, "info migrate", 1 },
	/* What the device writes in later rounds was sent before */
	{ "mdpin", 3, is_sent_again, "info migrate" },
	{ "mdpin", 10, NULL, "migrate_set_parameter avail-switchover-bandwidth 1T\n"
			     "migrate_set_parameter downtime-limit 2000000\n"
			     "info migrate", 1 },
	{ "mdpin", 10, is_saved, "quit" },
	{ }
};

static const struct step load[] = { { "mdpin", 3, NULL, "quit" }, { } };
static const struct step none[] = { { } };

/*
 * struct way - how QEMU gets devices, and what its guest does with them
 * @program: program that has this way
 * @accel: QEMU's accelerator
 * @user: 0, or a user who may lock as much memory as the guest has
 * @args: more arguments of QEMU. {disk}, {edu}, {ivshmem}, {mtty} and {mdpin} are
 *	devices, {neighbour} one that is reset together with {edu}. {iommufd} and
 *	{cdev}, of the disk, are opened and passed to QEMU. {object} and {by}
 *	select an iommufd and the cdev, or nothing for the group
 * @does: arguments of vm/inner.c
 * @disks: number of checksums expected; the following are numbers of devices that
 *	must work, for mdpins the least
 * @steps: commands for the monitor
 * @claim: what holds in the steps, or NULL
 * @group_too: run it again through the group
 * @then: commands for a second QEMU, which continues from the saved state
 */
static const struct way {
	const char *program;
	const char *name;
	const char *accel;
	uid_t user;
	const char *args;
	const char *does;
	int disks, edus, mttys, p2ps, mdpins;
	const struct step *steps;
	const char *claim;
	bool group_too;
	const struct step *then;
} ways[] = {
	{ "qemu7", "group", "tcg", 0, "-device vfio-pci,host={disk}", "disk", 1 },
	{ "qemu7-iommufd", "container", "tcg", 0, "-device vfio-pci,host={disk}", "disk", 1 },
	{ "qemu10", "group", "tcg", 0, "-device vfio-pci,host={disk}", "disk", 1 },
	{ "qemu10", "node", "tcg", 0,
	  "{object}-device vfio-pci,host={disk}{by}", "disk", 1 },
	/* The process that starts QEMU can open the cdev and /dev/iommu, QEMU can't */
	{ "qemu10", "fds", "tcg", USER,
	  "-object iommufd,id=i0,fd={iommufd}"
	  " -device vfio-pci,id=disk,fd={cdev},iommufd=i0", "disk", 1 },
	/* QEMU's user owns the cdev and /dev/iommu, and has no other privilege */
	{ "qemu10", "user", "tcg", USER,
	  "{object}-device vfio-pci,host={disk}{by}", "disk", 1 },
	{ "qemu10", "edu", "kvm", 0,
	  "{object}-device vfio-pci,host={edu}{by}", "edu", 0, 1, .group_too = true },
	{ "qemu10", "two", "kvm", 0,
	  "{object}-device vfio-pci,host={disk}{by}"
	  " -device vfio-pci,host={edu}{by}", "disk,edu", 1, 1, .group_too = true },
	{ "qemu10", "p2p", "kvm", 0,
	  "{object}-device vfio-pci,host={edu}{by}"
	  " -device vfio-pci,host={ivshmem}{by}", "edu,p2p,stay", 0, 1, .p2ps = 1,
	  .steps = p2p, .claim = "QEMU warns only that they can't be reset", .group_too = true },
	{ "qemu10", "reset", "kvm", 0,
	  "{object}-device vfio-pci,host={edu}{by}"
	  " -device vfio-pci,host={neighbour}{by}"
	  " -trace vfio_pci_hot_reset* -trace iommufd_cdev_pci_hot_reset*", "edu,stay", 0, 2,
	  .steps = reset, .claim = "QEMU resets both, by their ids or groups",
	  .group_too = true },
	{ "qemu10", "reboot", "kvm", 0,
	  "{object}-device vfio-pci,host={disk}{by}", "disk,stay", 2,
	  .steps = reboot, .group_too = true },
	/* Through the port itself, as on hardware, not through ACPI */
	{ "qemu10", "hotplug", "kvm", 0,
	  "{object}-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
	  " -device pcie-root-port,id=plug,chassis=1", "empty,disk,gone,stay", 1,
	  .steps = plug, .claim = "the disk is free while QEMU keeps running",
	  .group_too = true },
	{ "qemu10", "mdev", "kvm", 0,
	  "{object}-device vfio-pci,sysfsdev=/sys/bus/mdev/devices/{mtty}{by}",
	  "mtty", .mttys = 1, .group_too = true },
	{ "qemu10", "kvm", "kvm", 0,
	  "{object}-device vfio-pci,host={disk}{by}", "disk,stay", 1,
	  .steps = kvm, .claim = "KVM was told of the device", .group_too = true },
	/*
	 * A container reports what the device has written; with a cdev nothing
	 * does
	 */
	{ "qemu10", "migrate", "kvm", 0, MDPIN, "mdpin", .mdpins = 3, .steps = save,
	  .claim = MIGRATED, .then = load },
	{ "qemu10-iommufd", "migrate", "kvm", 0, MDPIN, "mdpin", .mdpins = 3, .steps = save,
	  .claim = MIGRATED, .then = load },
};

/* State of a run, set by main() and set_up() */
static struct pci_dev disk, edu, neighbour, ivshmem, mtty, mdpin;
static int iommufd = -1, cdev = -1;
static bool held, by_group;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Print the last lines of a file as comments, without repetitions */
static void show(const char *path)
{
	char line[256], before[256] = "";
	FILE *f = fopen(path, "r");

	if (!f)
		return;
	if (!fseek(f, -2000, SEEK_END))
		fgets(line, sizeof(line), f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		if (strcmp(line, before))
			ksft_print_msg("%s: %s\n", path, line);
		strcpy(before, line);
	}
	fclose(f);
}

/* Get the first checksum; -1 if there is none */
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
	ksft_print_msg("note: QEMU    %s\n", line);
}

/*
 * Checksum by this kernel's own driver; the disk appears some time after bind
 */
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

	/*
	 * From the namespace of the disk to its controller and its PCI function
	 */
	if (!realpath("/sys/block/" DISK "/device/device", path))
		return -1;
	return sscanf(strrchr(path, '/') + 1, "%15s", dev->bdf) == 1 ? 0 : -1;
}

/* Print the guest's lines into the report */
static void note_lines(const char *path)
{
	char line[256];
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		if (*line != '#')
			ksft_print_msg("note: inside  %s\n", strtok(line, "\r\n") ?: "");
	if (f)
		fclose(f);
}

/* Number of complete lines of the guest with this start */
static int inside(const char *begin)
{
	char line[512];
	int nr = 0;
	FILE *f = fopen(VERDICT, "r");

	while (f && fgets(line, sizeof(line), f))
		nr += !strncmp(line, begin, strlen(begin)) && strchr(line, '\n');
	if (f)
		fclose(f);
	return nr;
}

/* Number of lines of a file that contain this */
static int lines_with(const char *path, const char *what)
{
	char line[512];
	int nr = 0;
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		nr += !!strstr(line, what);
	if (f)
		fclose(f);
	return nr;
}

static int said(const char *what)
{
	return lines_with(SAID, what);
}

/*
 * By the ids of both devices, or by their groups. Id 0 means owned without an
 * id, -1 not owned.
 */
static bool was_reset(pid_t qemu)
{
	if (!said("hot reset: Success"))
		return false;
	return by_group ? said(" group ") >= 2 && !said(" devid ") :
			  said(" devid ") >= 2 && !said(" devid 0\n") && !said(" devid -1\n");
}

/*
 * QEMU has an fd of KVM's VFIO device, created before the first bind. QEMU
 * exits if KVM does not accept a device.
 */
static bool told_kvm(pid_t qemu)
{
	char path[64], target[64];
	int fd;

	for (fd = 0; fd < 256; fd++) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", qemu, fd);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = 0;
		if (!strcmp(target, "anon_inode:kvm-vfio"))
			return true;
	}
	return false;
}

/* edu and ivshmem have no reset, which QEMU warns about */
static bool said_no_more(pid_t qemu)
{
	return said("") == said("no available reset mechanism");
}

/*
 * QEMU has queried the container before it sent anything, before it sent memory
 * again, and later. It does not query a container that can't report dirty
 * pages, and sends everything again.
 */
static bool is_sent_again(pid_t qemu)
{
	return said("vfio_get_dirty_bitmap") &&
	       lines_with(REPLIES, "dirty sync count:") >
	       lines_with(REPLIES, "dirty sync count: 1\r") +
	       lines_with(REPLIES, "dirty sync count: 2\r");
}

static bool is_saved(pid_t qemu)
{
	return lines_with(REPLIES, "status: completed");
}

/* Replace the words in braces of @text; the caller frees the result */
static char *expand(const char *text)
{
	char fds[2][16];
	const struct {
		const char *word, *value;
	} words[] = {
		{ "{disk}", disk.bdf }, { "{edu}", edu.bdf }, { "{neighbour}", neighbour.bdf },
		{ "{ivshmem}", ivshmem.bdf }, { "{mtty}", mtty.bdf },
		{ "{mdpin}", mdpin.bdf },
		{ "{iommufd}", fds[0] }, { "{cdev}", fds[1] },
		{ "{object}", by_group ? "" : "-object iommufd,id=i0 " },
		{ "{by}", by_group ? "" : ",iommufd=i0" },
	};
	char *out;
	size_t size, i;
	FILE *f = open_memstream(&out, &size);

	snprintf(fds[0], sizeof(fds[0]), "%d", iommufd);
	snprintf(fds[1], sizeof(fds[1]), "%d", cdev);
	while (*text) {
		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (!strncmp(text, words[i].word, strlen(words[i].word)))
				break;
		if (i < ARRAY_SIZE(words)) {
			fputs(words[i].value, f);
			text += strlen(words[i].word);
		} else {
			fputc(*text++, f);
		}
	}
	fclose(f);
	return out;
}

static bool uses(const struct way *way, const char *word)
{
	const struct step *step;

	for (step = way->steps ?: none; step->line; step++)
		if (strstr(step->command, word))
			return true;
	return strstr(way->args, word);
}

/* Can the device be opened, bound and closed? */
static bool is_free(const struct pci_dev *dev)
{
	int device = open_cdev(dev), fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	bool ok = device >= 0 && fd >= 0 && !bind_iommufd(device, fd, NULL);

	close(device);
	close(fd);
	return ok;
}

/*
 * The guest drops the device before the port is powered off, and only then QEMU
 * releases it
 */
static bool disk_is_free(pid_t qemu)
{
	return is_free(&disk);
}

/* Does the device reach memory of this program? */
static bool edu_works(const struct pci_dev *dev)
{
	int device = open_cdev(dev), fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	void *page = map_anon(PAGE);
	struct edu e;
	__u32 ioas;
	bool ok = false;

	fill_pattern(page, EDU_MAX, 2);
	if (!bind_iommufd(device, fd, NULL) && !ioas_alloc(fd, &ioas) &&
	    !attach_pt(device, ioas, NULL) && !ioas_map(fd, ioas, page, PAGE, SZ_2M, MAP_RW) &&
	    !edu_open(&e, device)) {
		ok = !edu_dma_from_ram(&e, SZ_2M, EDU_MAX) && memset(page, 0, PAGE) &&
		     !edu_dma_to_ram(&e, SZ_2M, EDU_MAX) && is_pattern(page, EDU_MAX, 2);
		/* A mapping of its registers keeps the device open */
		edu_close(&e);
	}
	close(device);
	close(fd);
	munmap(page, PAGE);
	return ok;
}

/* Set up the devices of a way, and who may open them */
static int set_up(const struct way *way)
{
	char path[64];

	if (uses(way, "{neighbour}") ? find_edu_neighbours(&edu, &neighbour) :
	    uses(way, "{edu}") ? find_edu_alone(&edu) : 0)
		return -1;
	if (uses(way, "{ivshmem}") &&
	    (find_pci_class(&ivshmem, "0x050000") || bind_vfio_pci(&ivshmem)))
		return -1;
	if ((uses(way, "{disk}") || uses(way, "{cdev}")) && bind_vfio_pci(&disk))
		return -1;
	if ((uses(way, "{edu}") && bind_vfio_pci(&edu)) ||
	    (uses(way, "{neighbour}") && bind_vfio_pci(&neighbour)) ||
	    (uses(way, "{mtty}") && mdev_create(&mtty, "mtty", "1")) ||
	    (uses(way, "{mdpin}") && mdev_create(&mdpin, "mdpin", "nounmap")))
		return -1;
	if (!strcmp(way->accel, "kvm") && system("modprobe kvm_amd"))
		return -1;

	if (uses(way, "{cdev}")) {
		if (vfio_cdev_path(&disk, path, sizeof(path)))
			return -1;
		cdev = open(path, O_RDWR);
		iommufd = open("/dev/iommu", O_RDWR);
		return cdev < 0 || iommufd < 0 ? -1 : 0;
	}
	if (way->user)
		return vfio_cdev_path(&disk, path, sizeof(path)) ||
		       chown(path, way->user, way->user) ||
		       chown("/dev/iommu", way->user, way->user) ? -1 : 0;
	return 0;
}

/* Does this kernel have all devices again? */
static bool give_back(const struct way *way, const char *host)
{
	char outside[SUM_LENGTH + 1];
	bool ok = true;

	if (way->user && chown("/dev/iommu", 0, 0))
		ok = false;
	if (way->disks)
		ok &= !bind_driver(&disk, "nvme") && !sum_outside(outside) &&
		      !strcmp(outside, host);
	if (way->edus)
		ok &= edu_works(&edu);
	if (way->edus > 1)
		ok &= edu_works(&neighbour);
	if (way->p2ps)
		ok &= is_free(&ivshmem);
	if (way->mttys)
		ok &= is_free(&mtty) && !mdev_remove(&mtty);
	if (way->mdpins)
		ok &= is_free(&mdpin) && !mdev_remove(&mdpin);
	return ok;
}

/*
 * Become this user, without groups, who may lock only the guest's memory and
 * firmware
 */
static int become(uid_t user)
{
	struct rlimit limit = { .rlim_cur = (RAM_MB + 1) << 20, .rlim_max = (RAM_MB + 1) << 20 };

	return setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
	       setresgid(user, user, user) || setresuid(user, user, user);
}

/* The guest must be done within this many seconds; @more: arguments of QEMU */
static pid_t start(const struct way *way, const char *more, unsigned int seconds)
{
	char command[2048], append[128], *args = expand(way->args);
	char *argv[64], *word, *next = command;
	pid_t pid;
	int n = 0;

	/*
	 * -no-reboot ends a guest that resets itself; a reset by the monitor
	 * must not end it
	 */
	snprintf(command, sizeof(command),
		 QEMU " -accel %s -machine q35,sata=off,smbus=off -cpu max -m %d"
		 " -nodefaults -no-user-config %s-display none"
		 " -serial file:" CONSOLE " -serial file:" VERDICT
		 " -monitor unix:" MONITOR ",server=on,wait=off"
		 " -kernel /qemu/kernel -initrd /qemu/initrd %s%s -append",
		 way->accel, RAM_MB, way->steps == reboot ? "" : "-no-reboot ", args, more);
	free(args);
	while ((word = strsep(&next, " ")))
		argv[n++] = word;
	snprintf(append, sizeof(append), "console=ttyS0 quiet panic=-1 oops=panic"
		 " tsc=reliable no_timer_check vm.exec=%u:/inner,%s", seconds, way->does);
	argv[n++] = append;
	argv[n] = NULL;

	pid = fork();
	if (!pid) {
		int fd = open(SAID, O_WRONLY | O_CREAT | O_TRUNC, 0644);

		dup2(fd, 1);
		dup2(fd, 2);
		if (way->user && become(way->user))
			perror("can't change the user");
		else
			execv(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	/* QEMU has inherited them */
	close(iommufd);
	close(cdev);
	iommufd = -1;
	cdev = -1;
	return pid;
}

static int tell(int *monitor, const char *command)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = MONITOR };
	char *line = expand(command);
	int ret;

	if (*monitor < 0) {
		*monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(*monitor, (struct sockaddr *)&addr, sizeof(addr)))
			return -1;
	}
	ret = dprintf(*monitor, "%s\n", line);
	free(line);
	return ret;
}

/* Save replies for show() */
static void take_replies(int monitor)
{
	int log = open(REPLIES, O_WRONLY | O_CREAT | O_APPEND, 0644);
	char buf[512];
	ssize_t len;

	while ((len = recv(monitor, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		if (write(log, buf, len) != len)
			break;
	close(log);
}

/*
 * Send the commands of the steps. Return the wait status, or -1 if it had to be
 * killed.
 */
static int wait_for_end(pid_t pid, const struct step *step, unsigned int seconds)
{
	double told = 0, since = 0, deadline = now() + seconds;
	const struct step *last = none;
	int status, monitor = -1;
	bool all = true;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (now() > deadline) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			status = -1;
			break;
		}
		if (step->line && inside(step->line) >= step->nr) {
			bool holds = !step->holds || step->holds(pid);

			since = since ?: now();
			if (holds || now() - since > 60) {
				all &= holds;
				tell(&monitor, step->command);
				told = now();
				since = 0;
				last = step++;
			}
		}
		if (last->repeat && now() - told > last->repeat) {
			tell(&monitor, last->command);
			told = now();
		}
		take_replies(monitor);
		usleep(100000);
	}
	close(monitor);
	held = all && !step->line;
	return status;
}

/*
 * Run QEMU with the devices, and get them back. All must read what the host
 * wrote.
 */
static void go(const struct way *way, const char *host, unsigned int seconds)
{
	char right[SUM_LENGTH + 8], name[64];
	double begin = now();
	bool found, works;
	int status = -1;

	unlink(CONSOLE);
	unlink(VERDICT);
	unlink(SAID);
	unlink(MONITOR);
	unlink(REPLIES);
	held = false;
	snprintf(name, sizeof(name), "%s%s", way->name, by_group ? " by its group" : "");
	if (!set_up(way))
		status = wait_for_end(start(way, "", seconds), way->steps ?: none, seconds);
	if (!status && held && way->then) {
		note_lines(VERDICT);
		ksft_print_msg("note: continued from the saved state\n");
		unlink(VERDICT);
		unlink(MONITOR);
		status = wait_for_end(start(way, " -incoming file:" SAVED, seconds), way->then,
				      seconds);
		/*
		 * The claim is about the first QEMU; the guest's output is
		 * about the second
		 */
		held = true;
	}

	snprintf(right, sizeof(right), "disk %s", host);
	found = inside("disk ") == way->disks && inside("edu ") == way->edus &&
		inside("mtty ") == way->mttys && inside("p2p ") == way->p2ps &&
		inside("mdpin ") >= way->mdpins;
	works = inside(right) == way->disks && inside("edu works") == way->edus &&
		inside("mtty works") == way->mttys && inside("p2p works") == way->p2ps &&
		inside("mdpin works") == inside("mdpin ");
	ksft_print_msg("note: %s, %.0f s\n", name, now() - begin);
	note_lines(VERDICT);
	show(SAID);
	if (status || !found || !works || (way->claim && !held)) {
		show(REPLIES);
		show(CONSOLE);
	}

	ksft_test_result(found, "%s: the guest finds its devices\n", name);
	ksft_test_result(works, "%s: %s\n", name,
			 way->disks ? "the guest reads the right checksum" : "the devices reach memory");
	ksft_test_result(!status, "%s: QEMU exits without an error\n", name);
	ksft_test_result(give_back(way, host), "%s: this kernel can use the devices again\n", name);
	if (way->claim)
		ksft_test_result(held, "%s: %s\n", name, way->claim);
}

/*
 * By program, or by program and name: qemu10 has many ways, qemu10-node is one
 * of them
 */
static bool is_of(const struct way *way, const char *program)
{
	size_t len = strlen(way->program);

	return !strcmp(program, way->program) ||
	       (!strncmp(program, way->program, len) && program[len] == '-' &&
		!strcmp(program + len + 1, way->name));
}

int main(int argc, char **argv)
{
	const char *program = strrchr(argv[0], '/') + 1;
	char host[SUM_LENGTH + 1], outside[SUM_LENGTH + 1];
	unsigned int i, times, nr = 0, cases = 1, seconds = atoi(getenv("SECONDS") ?: "300");

	/* Print results at once, whatever happens to the rest */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (is_of(&ways[i], program)) {
			times = ways[i].group_too ? 2 : 1;
			nr += times;
			cases += times * (ways[i].claim ? 5 : 4);
		}
	}
	ksft_print_header();
	if (!nr || find_disk(&disk) || sum_of_file("/qemu/sum", host))
		ksft_exit_fail_msg("no disk, or no way of %s\n", program);
	ksft_set_plan(cases);

	note_version();
	ksft_print_msg("note: host    disk %s\n", host);
	ksft_test_result(!sum_outside(outside) && !strcmp(outside, host),
			 "this kernel reads what the host wrote\n");
	ksft_print_msg("note: outside disk %s\n", outside);

	/*
	 * For a program that knows only containers, make /dev/vfio/vfio an
	 * iommufd
	 */
	if (strstr(program, "-iommufd") &&
	    (unlink("/dev/vfio/vfio") || symlink("/dev/iommu", "/dev/vfio/vfio")))
		ksft_exit_fail_msg("can't replace /dev/vfio/vfio by a link\n");

	/*
	 * Use a part of the plan's time, so that the rest can explain a timeout
	 */
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (is_of(&ways[i], program)) {
			by_group = false;
			go(&ways[i], host, seconds * 9 / 10 / nr);
			by_group = true;
			if (ways[i].group_too)
				go(&ways[i], host, seconds * 9 / 10 / nr);
		}
	ksft_finished();
}

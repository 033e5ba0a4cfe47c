// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of the documentation, called as a person calls them: lsvfio, and
 * nvme_read, which must read the same as the kernel's driver.
 *
 * They are found in PATH. The disk must have SR-IOV, and a first namespace of
 * at least 16 blocks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "kvm_util.h"
#include "vfio_util.h"

#define NOBODY 65534

/* Arguments of QEMU */
#define OBJECT "-object iommufd,id=iommufd0"
#define DEVICE " -device vfio-pci,host=%s,iommufd=iommufd0"
#define BLOCKS 16

/*
 * struct said - output of a program
 * @status: its exit status
 * @length: bytes in @out, which are followed by a 0
 */
struct said {
	int status;
	size_t length;
	char out[64 * 1024];
};

static struct said said;

/* Run a program as user @uid; collect standard output and standard error */
static void run_as(uid_t uid, char *const argv[])
{
	int out[2], status;
	pid_t pid;
	ssize_t n;

	memset(&said, 0, sizeof(said));
	said.status = -1;
	if (pipe(out))
		return;
	pid = fork();
	if (!pid) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		if (uid && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(out[1]);
	do {
		n = read(out[0], said.out + said.length,
			 sizeof(said.out) - 1 - said.length);
		if (n > 0)
			said.length += n;
	} while (n > 0);
	close(out[0]);
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		said.status = WEXITSTATUS(status);
}

#define LSVFIO(uid, ...) \
	run_as(uid, (char *const[]){ "lsvfio", ##__VA_ARGS__, NULL })
#define NVME_READ(uid, ...) \
	run_as(uid, (char *const[]){ "nvme_read", ##__VA_ARGS__, NULL })

/* The line with this start, or "". The next call reuses the buffer. */
static const char *line_of(const char *start)
{
	static char line[1024];
	const char *p;

	for (p = said.out; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, start, strlen(start))) {
			snprintf(line, sizeof(line), "%.*s",
				 (int)strcspn(p, "\n"), p);
			return line;
		}
	}
	return "";
}

/* A word of a line, counted from 0, or "" */
static const char *word_of(const char *line, int nr)
{
	static char word[256];

	for (; nr && *line; nr--) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(line, " "), line);
	return word;
}

/* Text of the last column */
static const char *usable(const char *bdf)
{
	const char *title = line_of("DEVICE");
	size_t column = strstr(title, "USABLE") - title;
	const char *line = line_of(bdf);

	return strlen(line) > column ? line + column : "";
}

static bool contains(const char *text)
{
	return strstr(said.out, text);
}

/* Directory for device nodes */
#define DIR "/tmp/tools_test"

/*
 * struct child - a process that holds something until it is killed
 * @ready: a pipe; the process writes a byte once it holds it
 */
struct child {
	pid_t pid;
	int ready[2];
};

/* Return 0 in the child, which must call stay() */
static pid_t start(struct child *child)
{
	if (pipe(child->ready))
		return -1;
	child->pid = fork();
	if (child->pid)
		close(child->ready[1]);
	return child->pid;
}

static void stay(struct child *child, bool ok)
{
	if (!ok || write(child->ready[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Does the child hold what it should? */
static bool stays(struct child *child)
{
	char byte;
	bool ret = read(child->ready[0], &byte, 1) == 1;

	close(child->ready[0]);
	return ret;
}

static void end(struct child *child)
{
	if (child->pid <= 0)
		return;
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	child->pid = 0;
}

FIXTURE(lsvfio)
{
	struct pci_dev dev, a, b;
	char path[PATH_MAX];
	struct child child;
};

FIXTURE_SETUP(lsvfio)
{
	LSVFIO(0, "--help");
	if (said.status == 127)
		SKIP_TEST("no lsvfio in PATH");
	if (find_edu_alone(&self->dev) || find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no edu device alone, or no two that share a group");
	memset(&self->child, 0, sizeof(self->child));
	mkdir("/tmp", 01777);
	mkdir(DIR, 0700);
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	if (has_cdevs())
		ASSERT_EQ(0, vfio_cdev_path(&self->dev, self->path,
					    sizeof(self->path)));
}

FIXTURE_TEARDOWN(lsvfio)
{
	end(&self->child);
	rmdir(DIR);
	bind_vfio_pci(&self->b);
	if (has_cdevs())
		chmod(self->path, 0600);
	chmod("/dev/iommu", 0660);
}

TEST_F(lsvfio, device_is_listed_with_all_about_it)
{
	char number[32], group[16];
	struct stat st;
	const char *line;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, stat(self->path, &st));
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev),
		 minor(st.st_rdev));
	snprintf(group, sizeof(group), "%d", self->dev.group);

	LSVFIO(0);
	ASSERT_EQ(0, said.status);
	line = line_of(self->dev.bdf);
	EXPECT_STREQ("vfio-pci", word_of(line, 1));
	EXPECT_STREQ(self->path, word_of(line, 2));
	EXPECT_STREQ(number, word_of(line, 3));
	EXPECT_STREQ(group, word_of(line, 4));
	EXPECT_STREQ("-", word_of(line, 5));
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

TEST_F(lsvfio, columns_line_up)
{
	static const char *const titles[] = {
		"DRIVER", "NODE", "NUMBER", "GROUP", "SHARED WITH", "USABLE",
	};
	const char *p;
	char title[1024];
	size_t i;

	LSVFIO(0);
	snprintf(title, sizeof(title), "%s", line_of("DEVICE"));
	for (p = strchr(said.out, '\n') + 1; *p; p = strchr(p, '\n') + 1) {
		for (i = 0; i < ARRAY_SIZE(titles); i++) {
			size_t at = strstr(title, titles[i]) - title;

			EXPECT_EQ(' ', p[at - 1]);
			EXPECT_NE(' ', p[at]);
		}
	}
}

TEST_F(lsvfio, sharers_of_the_group_are_named)
{
	LSVFIO(0, self->a.bdf);
	EXPECT_EQ(0, said.status);
	EXPECT_NE(NULL, strstr(word_of(line_of(self->a.bdf), 5), self->b.bdf));
	EXPECT_STREQ("", line_of(self->dev.bdf));
}

/*
 * A driver prevents the use of the group: uio_pci_generic allows its device any
 * DMA
 */
TEST_F(lsvfio, driver_in_the_way_is_named)
{
	char reason[128];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, bind_driver(&self->b, "uio_pci_generic"));
	snprintf(reason, sizeof(reason),
		 "no: %s in the same group has driver uio_pci_generic",
		 self->b.bdf);
	LSVFIO(0);
	EXPECT_STREQ(reason, usable(self->a.bdf));
	LSVFIO(0, "-q", self->a.bdf);
	EXPECT_EQ(1, said.status);
}

TEST_F(lsvfio, other_user_is_told_who_owns_the_cdev)
{
	char reason[PATH_MAX + 32];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	LSVFIO(NOBODY);
	EXPECT_EQ(0, said.status);
	/* Numbers or names, since the system may have no /etc/passwd */
	snprintf(reason, sizeof(reason), "no: %s belongs to ", self->path);
	EXPECT_EQ(0, strncmp(reason, usable(self->dev.bdf), strlen(reason)));
	EXPECT_NE(NULL, strstr(usable(self->dev.bdf), "mode 0600"));

	ASSERT_EQ(0, chmod(self->path, 0666));
	LSVFIO(NOBODY);
	EXPECT_EQ(0, strncmp("no: /dev/iommu belongs to ",
			     usable(self->dev.bdf), 26));

	ASSERT_EQ(0, chmod("/dev/iommu", 0666));
	LSVFIO(NOBODY);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

TEST_F(lsvfio, program_that_has_it_open_is_named)
{
	char user[64];
	int device;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	snprintf(user, sizeof(user), "yes, unless bound by tools_test (%d)",
		 getpid());
	device = open_cdev(&self->dev);
	ASSERT_LE(0, device);
	LSVFIO(0);
	EXPECT_STREQ(user, usable(self->dev.bdf));
	close(device);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

/* Open a copy of the cdev with the device's number, and unlink it */
static int open_copy(const char *path)
{
	struct stat st;
	int fd;

	if (stat(path, &st) || mknod(DIR "/copy", S_IFCHR | 0600, st.st_rdev))
		return -1;
	fd = open(DIR "/copy", O_RDWR | O_CLOEXEC);
	unlink(DIR "/copy");
	return fd;
}

/* Open and bind the device; -1 if that fails */
static int open_bound(const struct pci_dev *dev)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int device = open_cdev(dev);
	int ret = bind_iommufd(device, iommufd, NULL);

	close(iommufd);
	if (!ret)
		return device;
	close(device);
	return -1;
}

/* Output of -w: a word of the line of a device, from its second on */
static const char *who(const char *bdf, int word)
{
	LSVFIO(0, "-w", (char *)bdf);
	return word_of(line_of(bdf), word);
}

enum {
	WHO_HELD = 1, WHO_PID, WHO_USER, WHO_HAS, WHO_PINNED, WHO_LOCKED,
	WHO_LIMIT, WHO_PROGRAM,
};

/* The device number counts, not the name, which is gone */
TEST_F(lsvfio, copy_of_the_cdev_is_found)
{
	char user[64];
	int fd;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	snprintf(user, sizeof(user), "yes, unless bound by tools_test (%d)",
		 getpid());
	fd = open_copy(self->path);
	ASSERT_LE(0, fd);
	LSVFIO(0);
	EXPECT_STREQ(user, usable(self->dev.bdf));
	close(fd);
}

TEST_F(lsvfio, other_mount_namespace_is_looked_into)
{
	char user[64];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	if (!start(&self->child))
		stay(&self->child, !unshare(CLONE_NEWNS) &&
		     !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		     !mount("none", DIR, "tmpfs", 0, NULL) &&
		     open_copy(self->path) >= 0);
	ASSERT_TRUE(stays(&self->child));
	snprintf(user, sizeof(user), "yes, unless bound by tools_test (%d)",
		 self->child.pid);
	LSVFIO(0);
	EXPECT_STREQ(user, usable(self->dev.bdf));
}

static void *open_alone(void *arg)
{
	struct _test_data_lsvfio *self = arg;

	stay(&self->child, !unshare(CLONE_FILES) &&
	     open_cdev(&self->dev) >= 0);
	return NULL;
}

/* The first thread of the process has exited, so /proc/PID/fd is empty */
TEST_F(lsvfio, thread_has_files_of_its_own)
{
	pthread_t thread;
	char user[64];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	if (!start(&self->child)) {
		if (pthread_create(&thread, NULL, open_alone, self))
			_exit(1);
		pthread_exit(NULL);
	}
	ASSERT_TRUE(stays(&self->child));
	snprintf(user, sizeof(user), "yes, unless bound by tools_test (%d)",
		 self->child.pid);
	LSVFIO(0);
	EXPECT_STREQ(user, usable(self->dev.bdf));
}

TEST_F(lsvfio, file_that_is_only_a_path_holds_nothing)
{
	int fd;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	fd = open(self->path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, fd);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
	close(fd);
}

TEST_F(lsvfio, bound_device_is_held)
{
	char text[128];
	int device;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	device = open_bound(&self->dev);
	ASSERT_LE(0, device);
	LSVFIO(0);
	snprintf(text, sizeof(text), "no: held by tools_test (%d)", getpid());
	EXPECT_STREQ(text, usable(self->dev.bdf));
	EXPECT_STREQ("yes", usable(self->a.bdf));
	EXPECT_STREQ("yes", who(self->dev.bdf, WHO_HELD));
	EXPECT_STREQ("cdev", who(self->dev.bdf, WHO_HAS));
	EXPECT_STREQ("tools_test", who(self->dev.bdf, WHO_PROGRAM));
	LSVFIO(0, "-q", self->dev.bdf);
	EXPECT_EQ(1, said.status);
	LSVFIO(0, "-j", self->dev.bdf);
	snprintf(text, sizeof(text), "{\"pid\": %d, \"uid\": 0, ", getpid());
	EXPECT_TRUE(contains(text));
	EXPECT_TRUE(contains("\"has\": [\"cdev\"], \"sure\": true"));
	EXPECT_TRUE(contains("\"held\": true, \"holders\": ["));

	close(device);
	EXPECT_STREQ("", who(self->dev.bdf, WHO_HELD));
	LSVFIO(0, "-j", self->dev.bdf);
	EXPECT_TRUE(contains("\"held\": false, \"holders\": []"));
}

/* Only the process that holds the other device can bind this one */
TEST_F(lsvfio, held_device_of_the_group_is_named)
{
	char text[128];
	int device;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	device = open_bound(&self->a);
	ASSERT_LE(0, device);
	LSVFIO(0);
	snprintf(text, sizeof(text),
		 "yes, but %s in the same group is held by tools_test (%d)",
		 self->a.bdf, getpid());
	EXPECT_STREQ(text, usable(self->b.bdf));
	close(device);
}

/* While a process has the group fd, no other process can use a device of it */
TEST_F(lsvfio, group_is_held_by_who_has_it_open)
{
	char pid[16];
	int group;

	group = open_group(&self->a);
	ASSERT_LE(0, group);
	snprintf(pid, sizeof(pid), "%d", getpid());
	EXPECT_STREQ("yes", who(self->b.bdf, WHO_HELD));
	EXPECT_STREQ(pid, who(self->b.bdf, WHO_PID));
	EXPECT_STREQ("group", who(self->b.bdf, WHO_HAS));
	EXPECT_STREQ("", who(self->dev.bdf, WHO_HELD));
	if (has_cdevs()) {
		LSVFIO(0);
		EXPECT_EQ(0, strncmp("no: held by tools_test (",
				     usable(self->b.bdf), 24));
	}
	close(group);
}

TEST_F(lsvfio, mapping_outlives_the_file)
{
	struct edu edu;
	char text[128];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, edu_open(&edu, open_bound(&self->dev)));
	close(edu.device);
	LSVFIO(0);
	snprintf(text, sizeof(text), "no: held by tools_test (%d)", getpid());
	EXPECT_STREQ(text, usable(self->dev.bdf));
	EXPECT_STREQ("mapping", who(self->dev.bdf, WHO_HAS));
	edu_close(&edu);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

/* The copy of the cdev is gone, so the name of the mapping leads nowhere */
TEST_F(lsvfio, mapping_of_a_copy_outlives_the_file)
{
	struct edu edu;
	int iommufd, device;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	device = open_copy(self->path);
	ASSERT_EQ(0, bind_iommufd(device, iommufd, NULL));
	ASSERT_EQ(0, edu_open(&edu, device));
	close(device);
	close(iommufd);
	EXPECT_STREQ("mapping", who(self->dev.bdf, WHO_HAS));
	edu_close(&edu);
}

/* Without the capability for map_files, lsvfio uses the name in maps */
TEST_F(lsvfio, own_mapping_is_found_without_privilege)
{
	struct edu edu;
	char text[128];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, chmod(self->path, 0666));
	ASSERT_EQ(0, chmod("/dev/iommu", 0666));
	if (!start(&self->child)) {
		if (edu_open(&edu, open_bound(&self->dev)) ||
		    close(edu.device) || setgroups(0, NULL) ||
		    setgid(NOBODY) || setuid(NOBODY) ||
		    prctl(PR_SET_DUMPABLE, 1))
			_exit(1);
		stay(&self->child, true);
	}
	ASSERT_TRUE(stays(&self->child));
	LSVFIO(NOBODY);
	snprintf(text, sizeof(text), "no: held by tools_test (%d)",
		 self->child.pid);
	EXPECT_STREQ(text, usable(self->dev.bdf));
}

/*
 * Neither a device fd from the group nor its mapping tells which device it is
 */
TEST_F(lsvfio, device_fd_of_a_closed_group_is_a_candidate)
{
	struct legacy l;
	struct edu edu;

	ASSERT_EQ(0, legacy_open(&l, &self->dev));
	EXPECT_STREQ("group", who(self->dev.bdf, WHO_HAS));
	close(l.group);
	EXPECT_STREQ("yes", who(self->dev.bdf, WHO_HELD));
	EXPECT_STREQ("device?", who(self->dev.bdf, WHO_HAS));
	ASSERT_EQ(0, edu_open(&edu, l.device));
	close(l.device);
	EXPECT_STREQ("device?", who(self->dev.bdf, WHO_HAS));
	EXPECT_STREQ("", who(self->a.bdf, WHO_HELD));
	if (has_cdevs()) {
		LSVFIO(0);
		EXPECT_EQ(0, strncmp("no: held, perhaps by tools_test (",
				     usable(self->dev.bdf), 33));
	}
	edu_close(&edu);
	close(l.container);
	EXPECT_STREQ("", who(self->dev.bdf, WHO_HELD));
}

TEST_F(lsvfio, vm_is_a_candidate)
{
	int device, vm, vfio;
	char text[128];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	if (load_kvm())
		SKIP(return, "no KVM");
	if (!start(&self->child))
		stay(&self->child, open_bound(&self->a) >= 0);
	ASSERT_TRUE(stays(&self->child));
	device = open_bound(&self->dev);
	ASSERT_LE(0, device);
	vm = vm_create();
	vfio = vm_create_vfio(vm);
	ASSERT_EQ(0, add_file(vfio, device));
	EXPECT_STREQ("cdev", who(self->dev.bdf, WHO_HAS));
	close(device);
	LSVFIO(0);
	snprintf(text, sizeof(text),
		 "no: held, perhaps by the VM of tools_test (%d)", getpid());
	EXPECT_STREQ(text, usable(self->dev.bdf));
	EXPECT_STREQ("vm?", who(self->dev.bdf, WHO_HAS));
	/* A device that is open has no candidates */
	EXPECT_STREQ("cdev", who(self->a.bdf, WHO_HAS));
	LSVFIO(0, "-j", self->dev.bdf);
	EXPECT_TRUE(contains("\"has\": [\"vm\"], \"sure\": false"));
	close(vfio);
	close(vm);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

TEST_F(lsvfio, file_in_flight_is_held_by_nobody)
{
	int device, pair[2];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	device = open_bound(&self->dev);
	ASSERT_EQ(0, send_fd(pair[0], device));
	close(device);
	LSVFIO(0);
	EXPECT_STREQ("no: held, but no process has it open",
		     usable(self->dev.bdf));
	EXPECT_STREQ("-", who(self->dev.bdf, WHO_PID));
	EXPECT_STREQ("no", who(self->dev.bdf, WHO_PROGRAM));
	/* NOBODY can't inspect all processes */
	ASSERT_EQ(0, chmod(self->path, 0666));
	ASSERT_EQ(0, chmod("/dev/iommu", 0666));
	LSVFIO(NOBODY);
	EXPECT_STREQ("no: held by a process that you can't inspect",
		     usable(self->dev.bdf));
	close(pair[0]);
	close(pair[1]);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

/*
 * No attribute tells that a group fd is in flight. After -t the group can be
 * opened.
 */
TEST_F(lsvfio, group_in_flight_is_found_by_trying)
{
	int group, pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	group = open_group(&self->a);
	ASSERT_EQ(0, send_fd(pair[0], group));
	close(group);
	EXPECT_STREQ("", who(self->a.bdf, WHO_HELD));
	LSVFIO(0, "-t", "-w");
	EXPECT_STREQ("yes", word_of(line_of(self->a.bdf), WHO_HELD));
	EXPECT_STREQ("no", word_of(line_of(self->a.bdf), WHO_PROGRAM));
	EXPECT_STREQ("yes", word_of(line_of(self->b.bdf), WHO_HELD));
	EXPECT_STREQ("", line_of(self->dev.bdf));
	close(pair[0]);
	close(pair[1]);
	LSVFIO(0, "-t", "-w");
	EXPECT_STREQ("", line_of(self->a.bdf));
	group = open_group(&self->a);
	EXPECT_LE(0, group);
	close(group);
}

/*
 * Nor does an attribute tell that a mediated device is open, but a process can
 */
TEST_F(lsvfio, mediated_device_is_found_by_trying)
{
	struct pci_dev mtty;
	int device, pair[2];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	ASSERT_EQ(0, mdev_create(&mtty, "mtty", "1"));
	/* But the module of its driver has no user yet */
	LSVFIO(0, "-j", mtty.bdf);
	EXPECT_TRUE(contains("\"held\": false"));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	device = open_bound(&mtty);
	EXPECT_LE(0, device);
	EXPECT_STREQ("?", who(mtty.bdf, WHO_HELD));
	EXPECT_STREQ("cdev", who(mtty.bdf, WHO_HAS));
	EXPECT_EQ(0, send_fd(pair[0], device));
	close(device);
	LSVFIO(0, "-j", mtty.bdf);
	EXPECT_TRUE(contains("\"held\": null, \"holders\": []"));
	LSVFIO(0, "-t");
	EXPECT_STREQ("no: held, but no process has it open", usable(mtty.bdf));
	close(pair[0]);
	close(pair[1]);
	LSVFIO(0, "-t", "-j", mtty.bdf);
	EXPECT_TRUE(contains("\"held\": false, \"holders\": []"));
	EXPECT_EQ(0, mdev_remove(&mtty));
}

/* The device's previous driver can leave it enabled, as if it were open */
TEST_F(lsvfio, enabled_device_is_found_free_by_trying)
{
	ASSERT_EQ(0, unbind_driver(&self->dev));
	ASSERT_EQ(0, write_pci_file(&self->dev, "enable", "1"));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	/* Unless the module is known to have no user */
	EXPECT_STREQ(module_users("vfio_pci") < 0 ? "yes" : "",
		     who(self->dev.bdf, WHO_HELD));
	LSVFIO(0, "--try", "--who");
	EXPECT_STREQ("", line_of(self->dev.bdf));
	ASSERT_EQ(0, unbind_driver(&self->dev));
	ASSERT_EQ(0, write_pci_file(&self->dev, "enable", "0"));
}

#define BUFFER 0x100000
#define LIMIT 0x2000000

/* Pin memory for the device as a process of this user */
static void pin(struct _test_data_lsvfio *self, uid_t uid, bool by_process)
{
	int iommufd = open("/dev/iommu", O_RDWR), device = open_cdev(&self->dev);
	struct rlimit limit = { LIMIT, LIMIT };
	__u32 id, ioas;

	if (set_option(iommufd, IOMMU_OPTION_RLIMIT_MODE, 0, by_process) ||
	    alloc_ioas(iommufd, &ioas) || bind_iommufd(device, iommufd, &id) ||
	    attach_pt(device, ioas, NULL) ||
	    setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
	    setgid(uid) || setuid(uid))
		_exit(1);
	stay(&self->child, !map_at(iommufd, ioas, (uintptr_t)map_anon(BUFFER),
				   BUFFER, 0));
}

TEST_F(lsvfio, memory_is_beside_its_limit)
{
	int by_process;

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	for (by_process = 0; by_process < 2; by_process++) {
		if (!start(&self->child))
			pin(self, NOBODY, by_process);
		ASSERT_TRUE(stays(&self->child));
		EXPECT_STREQ("1M", who(self->dev.bdf, WHO_PINNED));
		EXPECT_STREQ(by_process ? "1M" : "0",
			     who(self->dev.bdf, WHO_LOCKED));
		EXPECT_STREQ("32M", who(self->dev.bdf, WHO_LIMIT));
		LSVFIO(0, "-j", self->dev.bdf);
		EXPECT_TRUE(contains("\"pinned\": 1048576, \"locked\": "));
		EXPECT_TRUE(contains("\"limit\": 33554432}"));
		end(&self->child);
	}
}

/* By user, pages of the user's other processes count too */
TEST_F(lsvfio, needed_limit_is_told)
{
	struct rlimit limit = { LIMIT, LIMIT };

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	if (!start(&self->child))
		pin(self, NOBODY, false);
	ASSERT_TRUE(stays(&self->child));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));

	LSVFIO(NOBODY, "-m", "32M");
	EXPECT_EQ(1, said.status);
	EXPECT_STREQ("by user     1M      33M     32M    no: ulimit -l 33792",
		     line_of("by user"));
	EXPECT_STREQ("by process  0       32M     32M    yes",
		     line_of("by process"));
	LSVFIO(NOBODY, "--memory", "32505855");
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("by user     1M      32M     32M    yes",
		     line_of("by user"));
	/* Other users don't count, nor do processes without a limit */
	LSVFIO(NOBODY - 1, "-m", "32M");
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("by user     0       32M     32M    yes",
		     line_of("by user"));
	end(&self->child);
	if (!start(&self->child))
		pin(self, 0, false);
	ASSERT_TRUE(stays(&self->child));
	EXPECT_STREQ("1M", who(self->dev.bdf, WHO_PINNED));
	LSVFIO(0, "-m", "1T");
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("by user     0       1T      32M    yes: CAP_IPC_LOCK",
		     line_of("by user"));
	end(&self->child);
	LSVFIO(NOBODY, "-m", "32m");
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("by user     0       32M     32M    yes",
		     line_of("by user"));
}

/* In the order of the arguments, whatever the order of the cdevs */
TEST_F(lsvfio, arguments_for_qemu_are_one_line)
{
	char *dev = self->dev.bdf, *a = self->a.bdf;
	char line[256];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	LSVFIO(0, "-q", dev, a, dev);
	EXPECT_EQ(0, said.status);
	snprintf(line, sizeof(line), OBJECT DEVICE DEVICE "\n", dev, a);
	EXPECT_STREQ(line, said.out);
	LSVFIO(0, "-q", a, dev);
	EXPECT_EQ(0, said.status);
	snprintf(line, sizeof(line), OBJECT DEVICE DEVICE "\n", a, dev);
	EXPECT_STREQ(line, said.out);
}

TEST_F(lsvfio, json_has_the_same)
{
	char text[PATH_MAX + 64];

	if (!has_cdevs())
		SKIP(return, "the kernel has no cdevs");
	LSVFIO(0, "--json", self->a.bdf);
	EXPECT_EQ(0, said.status);
	EXPECT_EQ('[', said.out[0]);
	EXPECT_STREQ("}\n]\n", said.out + said.length - 4);
	snprintf(text, sizeof(text), "\"device\": \"%s\", \"bus\": \"pci\"",
		 self->a.bdf);
	EXPECT_TRUE(contains(text));
	EXPECT_TRUE(contains("\"driver\": \"vfio-pci\""));
	snprintf(text, sizeof(text), "\"group\": \"%d\"", self->a.group);
	EXPECT_TRUE(contains(text));
	snprintf(text, sizeof(text), "{\"device\": \"%s\", \"driver\": \"vfio-pci\"}",
		 self->b.bdf);
	EXPECT_TRUE(contains(text));
	EXPECT_TRUE(contains("\"usable\": true, \"reason\": null"));
}

TEST_F(lsvfio, kernel_without_cdevs_is_the_reason)
{
	if (has_cdevs())
		SKIP(return, "the kernel has cdevs");
	LSVFIO(0);
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("-", word_of(line_of(self->dev.bdf), 2));
	EXPECT_STREQ("no: no cdev, since CONFIG_VFIO_DEVICE_CDEV is not set",
		     usable(self->dev.bdf));
}

TEST_F(lsvfio, unknown_device_and_wrong_use_fail)
{
	LSVFIO(0, "0000:ff:1f.7");
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("lsvfio: 0000:ff:1f.7 is not a VFIO device"));
	LSVFIO(0, self->dev.bdf, "vfio999");
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("lsvfio: vfio999 is not a VFIO device"));
	EXPECT_TRUE(contains(self->dev.bdf));
	LSVFIO(0, "-q", "-j");
	EXPECT_EQ(2, said.status);
	LSVFIO(0, "-q", "-w");
	EXPECT_EQ(2, said.status);
	LSVFIO(0, "-m", "1G", self->dev.bdf);
	EXPECT_EQ(2, said.status);
	LSVFIO(0, "-m", "16384P");
	EXPECT_EQ(2, said.status);
	EXPECT_TRUE(contains("lsvfio: 16384P is not a valid size"));
	LSVFIO(0, "-m", "-1");
	EXPECT_EQ(2, said.status);
	LSVFIO(0, "-m", "16777217T");
	EXPECT_EQ(2, said.status);
	LSVFIO(0, "--frobnicate");
	EXPECT_EQ(2, said.status);
}

FIXTURE(nvme_read)
{
	struct pci_dev disk;
	char blocks[BLOCKS * 512];
};

/* Bind the kernel's driver, and read when the disk appears */
static int read_disk(struct pci_dev *disk, void *blocks, size_t size)
{
	int tries, fd = -1;
	ssize_t n;

	/* Another test may have left virtual functions */
	if (set_numvfs(disk, 0) || bind_driver(disk, "nvme"))
		return -1;
	for (tries = 0; tries < 3000 && fd < 0; tries++) {
		usleep(10000);
		fd = open("/dev/nvme0n1", O_RDONLY);
	}
	n = read(fd, blocks, size);
	close(fd);
	return n == size ? 0 : -1;
}

FIXTURE_SETUP(nvme_read)
{
	NVME_READ(0);
	if (said.status == 127)
		SKIP_TEST("no nvme_read in PATH");
	if (!has_cdevs())
		SKIP_TEST("the kernel has no cdevs");
	if (find_sriov(&self->disk))
		SKIP_TEST("no NVMe disk");
	ASSERT_EQ(0, read_disk(&self->disk, self->blocks,
			       sizeof(self->blocks)));
	ASSERT_EQ(0, bind_vfio_pci(&self->disk));
}

FIXTURE_TEARDOWN(nvme_read)
{
}

TEST_F(nvme_read, reads_what_the_kernel_reads)
{
	const char *data;

	NVME_READ(0, self->disk.bdf);
	ASSERT_EQ(0, said.status);
	EXPECT_TRUE(contains("serial functions"));

	NVME_READ(0, self->disk.bdf, "0", "16");
	ASSERT_EQ(0, said.status);
	/* After the description of the disk */
	data = said.out + said.length - sizeof(self->blocks);
	EXPECT_LT(sizeof(self->blocks), said.length);
	EXPECT_EQ(0, memcmp(self->blocks, data, sizeof(self->blocks)));

	NVME_READ(0, self->disk.bdf, "7", "1");
	ASSERT_EQ(0, said.status);
	data = said.out + said.length - 512;
	EXPECT_EQ(0, memcmp(self->blocks + 7 * 512, data, 512));
}

TEST_F(nvme_read, says_what_is_wrong)
{
	NVME_READ(0, self->disk.bdf, "0");
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("usage: nvme_read"));
	NVME_READ(0, "0000:ff:1f.7");
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("0000:ff:1f.7 is not bound to vfio-pci"));
	NVME_READ(NOBODY, self->disk.bdf);
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("Permission denied"));
	NVME_READ(0, self->disk.bdf, "0x7fffffffffff", "1");
	EXPECT_EQ(1, said.status);
	EXPECT_TRUE(contains("status 0x"));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The programs that the documentation speaks of, as a person calls them: lsvfio,
 * and nvme_read, which has to read what the kernel's own driver reads.
 *
 * They are looked for in PATH. The disk that is to be read can have virtual functions,
 * and has a first namespace of at least 16 blocks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

#define NOBODY 65534

/* Arguments of QEMU */
#define OBJECT "-object iommufd,id=iommufd0"
#define DEVICE " -device vfio-pci,host=%s,iommufd=iommufd0"
#define BLOCKS 16

/*
 * struct said - what a program said
 * @status: its exit status
 * @length: bytes in @out, which ends with a 0 beyond
 */
struct said {
	int status;
	size_t length;
	char out[64 * 1024];
};

static struct said said;

/* Run a program, as the user @uid; what it writes to the standard error too */
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

/* The line that begins so, in a buffer that the next call uses too, or "" */
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

/* What the last column says */
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

FIXTURE(lsvfio)
{
	struct pci_dev dev, a, b;
	char node[PATH_MAX];
};

FIXTURE_SETUP(lsvfio)
{
	LSVFIO(0, "--help");
	if (said.status == 127)
		SKIP_TEST("no lsvfio in PATH");
	if (find_edu_alone(&self->dev) || find_edu_pair(&self->a, &self->b))
		SKIP_TEST("no edu device alone, or no two that share a group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->a));
	ASSERT_EQ(0, bind_vfio_pci(&self->b));
	if (has_nodes())
		ASSERT_EQ(0, vfio_node_path(&self->dev, self->node,
					    sizeof(self->node)));
}

FIXTURE_TEARDOWN(lsvfio)
{
	bind_vfio_pci(&self->b);
	if (has_nodes())
		chmod(self->node, 0600);
	chmod("/dev/iommu", 0660);
}

TEST_F(lsvfio, device_is_listed_with_all_about_it)
{
	char number[32], group[16];
	struct stat st;
	const char *line;

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
	ASSERT_EQ(0, stat(self->node, &st));
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev),
		 minor(st.st_rdev));
	snprintf(group, sizeof(group), "%d", self->dev.group);

	LSVFIO(0);
	ASSERT_EQ(0, said.status);
	line = line_of(self->dev.bdf);
	EXPECT_STREQ("vfio-pci", word_of(line, 1));
	EXPECT_STREQ(self->node, word_of(line, 2));
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

/* A driver that is in the way; uio_pci_generic lets its device do any DMA */
TEST_F(lsvfio, driver_in_the_way_is_named)
{
	char reason[128];

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
	ASSERT_EQ(0, bind_driver(&self->b, "uio_pci_generic"));
	snprintf(reason, sizeof(reason),
		 "no: %s in the same group has driver uio_pci_generic",
		 self->b.bdf);
	LSVFIO(0);
	EXPECT_STREQ(reason, usable(self->a.bdf));
	LSVFIO(0, "-q", self->a.bdf);
	EXPECT_EQ(1, said.status);
}

TEST_F(lsvfio, other_user_is_told_whose_the_node_is)
{
	char reason[PATH_MAX + 32];

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
	LSVFIO(NOBODY);
	EXPECT_EQ(0, said.status);
	/* Numbers or names: the system may have no /etc/passwd */
	snprintf(reason, sizeof(reason), "no: %s belongs to ", self->node);
	EXPECT_EQ(0, strncmp(reason, usable(self->dev.bdf), strlen(reason)));
	EXPECT_NE(NULL, strstr(usable(self->dev.bdf), "mode 0600"));

	ASSERT_EQ(0, chmod(self->node, 0666));
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

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
	snprintf(user, sizeof(user), "yes, if not bound by tools_test (%d)",
		 getpid());
	device = open_cdev(&self->dev);
	ASSERT_LE(0, device);
	LSVFIO(0);
	EXPECT_STREQ(user, usable(self->dev.bdf));
	close(device);
	LSVFIO(0);
	EXPECT_STREQ("yes", usable(self->dev.bdf));
}

/* In the order in which they are named, whichever node was there first */
TEST_F(lsvfio, arguments_for_qemu_are_one_line)
{
	char *dev = self->dev.bdf, *a = self->a.bdf;
	char line[256];

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
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

	if (!has_nodes())
		SKIP(return, "the kernel has no nodes");
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

TEST_F(lsvfio, kernel_without_nodes_is_the_reason)
{
	if (has_nodes())
		SKIP(return, "the kernel has nodes");
	LSVFIO(0);
	EXPECT_EQ(0, said.status);
	EXPECT_STREQ("-", word_of(line_of(self->dev.bdf), 2));
	EXPECT_STREQ("no: no node, the kernel has no CONFIG_VFIO_DEVICE_CDEV",
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
	LSVFIO(0, "--frobnicate");
	EXPECT_EQ(2, said.status);
}

FIXTURE(nvme_read)
{
	struct pci_dev disk;
	char blocks[BLOCKS * 512];
};

/* Have the kernel drive it; the disk appears some time after its driver */
static int read_disk(struct pci_dev *disk, void *blocks, size_t size)
{
	int tries, fd = -1;
	ssize_t n;

	/* Others may have left virtual functions */
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
	if (!has_nodes())
		SKIP_TEST("the kernel has no nodes");
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
	/* After what it says of the disk */
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

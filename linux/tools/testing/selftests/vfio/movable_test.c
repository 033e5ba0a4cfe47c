// SPDX-License-Identifier: GPL-2.0
/*
 * Memory on a machine where most of it is for movable pages (movablecore=):
 * pages that are pinned for devices are allocated elsewhere at once, and others
 * can pin them too (trap M15).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define IOVA 0x40000000ULL
#define SIZE (64 * 1024 * 1024UL)

FIXTURE(movable)
{
	struct pci_dev dev;
	struct opened opened;
};

/* The number after this name in a file; -1 if there is none */
static long number(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[256], word[64];
	long value, found = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", word, &value) == 2 &&
		    !strcmp(word, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

/* The first PFN of the movable zone, which is the highest; 0 if there is none */
static unsigned long movable_start(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	unsigned long value, present = 0, start = 0;
	bool movable = false;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Node", 4))
			movable = strstr(line, "Movable");
		if (movable && sscanf(line, " present %lu", &value) == 1)
			present = value;
		if (movable && sscanf(line, " start_pfn: %lu", &value) == 1)
			start = value;
	}
	if (f)
		fclose(f);
	return present ? start : 0;
}

FIXTURE_SETUP(movable)
{
	ASSERT_NE(0, movable_start());
	ASSERT_EQ(0, find_edu_alone(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, open_device(&self->opened, &self->dev, NULL));
}

FIXTURE_TEARDOWN(movable)
{
	close_device(&self->opened);
}

#define MIGRATED() number("/proc/vmstat", "pgmigrate_success")

/* Memory that was not touched before is not migrated in order to be pinned */
TEST_F(movable, new_memory_is_not_migrated)
{
	void *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long before = MIGRATED();

	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_LE(0, before);
	ASSERT_EQ(0, madvise(mem, SIZE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, map_for_device(&self->opened, mem, SIZE, IOVA));
	/* A few pages may move for other reasons */
	EXPECT_GT(before + 100, MIGRATED());
	EXPECT_EQ(0, unmap_for_device(&self->opened, IOVA, SIZE));
	munmap(mem, SIZE);
}

/* Nor is it migrated if another process pins it first */
TEST_F(movable, memory_of_another_process_is_not_migrated)
{
	void *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 other;
	long before;
	pid_t pid;
	int status;

	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, madvise(mem, SIZE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, alloc_ioas(self->opened.iommufd, &other));
	/* No page table, so nothing is pinned */
	ASSERT_EQ(0, ioas_map(self->opened.iommufd, other, mem, SIZE, IOVA,
			      MAP_RW));
	before = MIGRATED();
	ASSERT_LE(0, before);
	pid = fork();
	if (!pid)
		_exit(attach_pt(self->opened.device, other, NULL) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_GT(before + 100, MIGRATED());
	munmap(mem, SIZE);
}

/* Other memory of a process that has pinned some, or failed to, can be moved */
TEST_F(movable, other_memory_is_allocated_as_before)
{
	char *mem = map_anon(2 * PAGE), *other;
	const int nr = 512;
	int i, fails, nr_movable;

	ASSERT_EQ(0, munmap(mem + PAGE, PAGE));
	for (fails = 0; fails < 2; fails++) {
		EXPECT_EQ(fails ? -1 : 0,
			  map_for_device(&self->opened, mem,
					 (1 + fails) * PAGE,
					 IOVA + fails * SZ_2M));
		other = map_anon(nr * PAGE);
		ASSERT_NE(NULL, other);
		memset(other, 1, nr * PAGE);
		for (i = 0, nr_movable = 0; i < nr; i++)
			nr_movable += pfn_of(other + i * PAGE) >=
				      movable_start();
		EXPECT_LT(nr / 2, nr_movable);
		munmap(other, nr * PAGE);
	}
}

static int register_buffer(void *mem, size_t length)
{
	struct io_uring_params params = {};
	struct iovec buffer = { mem, length };
	int fd = syscall(SYS_io_uring_setup, 1, &params), ret, saved;

	ret = syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS,
		      &buffer, 1);
	saved = errno;
	close(fd);
	errno = saved;
	return ret;
}

/*
 * Memory that was touched before is migrated when it is pinned, also by another
 * process. So others can pin it too.
 */
TEST_F(movable, touched_memory_can_be_pinned_by_others)
{
	const size_t size = 4 * SZ_2M;
	int by_child, status = 0;
	__u32 other;
	pid_t pid;
	void *mem;

	for (by_child = 0; by_child < 2; by_child++) {
		mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, mem);
		ASSERT_EQ(0, madvise(mem, size, MADV_NOHUGEPAGE));
		/* The child does not share it, so no page is copied */
		ASSERT_EQ(0, madvise(mem, size, MADV_DONTFORK));
		memset(mem, 1, size);
		ASSERT_EQ(0, alloc_ioas(self->opened.iommufd, &other));
		if (!by_child)
			ASSERT_EQ(0, attach_pt(self->opened.device, other,
					       NULL));
		ASSERT_EQ(0, ioas_map(self->opened.iommufd, other, mem, size,
				      IOVA, MAP_RW));
		pid = by_child ? fork() : -1;
		if (!pid)
			_exit(attach_pt(self->opened.device, other, NULL) ?
			      1 : 0);
		if (by_child)
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, register_buffer(mem, size));
		ASSERT_EQ(0, attach_pt(self->opened.device, self->opened.ioas,
				       NULL));
		munmap(mem, size);
	}
}

/* Pages that are allocated for a device can be pinned by others */
TEST_F(movable, file_can_be_pinned_by_others)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	const size_t size = 4 * SZ_2M;
	void *view;

	ASSERT_EQ(0, ftruncate(fd, size));
	ASSERT_EQ(0, map_file_at(self->opened.iommufd, self->opened.ioas,
				 MAP_RW, fd, 0, size, IOVA));
	view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, view);
	EXPECT_EQ(0, register_buffer(view, size));
	munmap(view, size);
	close(fd);
}

/*
 * Pages that the file had before stay in place. Others can't pin them until an
 * unmap, nor can they be mapped by address.
 */
TEST_F(movable, pages_that_a_file_had_can_not)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	const size_t size = 4 * SZ_2M;
	void *view;

	ASSERT_EQ(0, ftruncate(fd, size));
	view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, view);
	memset(view, 1, size);
	ASSERT_EQ(0, map_file_at(self->opened.iommufd, self->opened.ioas,
				 MAP_RW, fd, 0, size, IOVA));
	EXPECT_ERRNO(ENOMEM, register_buffer(view, size));
	EXPECT_ERRNO(ENOMEM, map_for_device(&self->opened, view, size,
					    2 * IOVA));
	EXPECT_EQ(0, unmap_for_device(&self->opened, IOVA, size));
	EXPECT_EQ(0, register_buffer(view, size));
	munmap(view, size);
	close(fd);
}

TEST_HARNESS_MAIN

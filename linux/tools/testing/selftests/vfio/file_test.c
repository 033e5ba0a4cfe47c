// SPDX-License-Identifier: GPL-2.0
/* Memory of files, mapped with IOMMU_IOAS_MAP_FILE, with real DMA */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../iommu/iommufd_util.h"
#include "../kselftest_harness.h"
#include "vfio_util.h"

#define IOVA 0x40000000ULL
/* A page for data that goes to and from the device */
#define OWN (IOVA - PAGE)
#define READ_ONLY IOMMU_IOAS_MAP_READABLE

FIXTURE(file)
{
	struct pci_dev dev;
	struct edu edu;
	int device;
	int iommufd;
	__u32 ioas;
	char *own;
	long pinned;
};

FIXTURE_SETUP(file)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &self->ioas));
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, edu_open(&self->edu, self->device));
	self->own = map_anon(PAGE);
	ASSERT_EQ(0, map_at(self->iommufd, self->ioas, (uintptr_t)self->own,
			    PAGE,
			    OWN));
	self->pinned = status_kb("VmPin");
}

FIXTURE_TEARDOWN(file)
{
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
}

/* Create a memory file of this length */
static int memory_file(off_t length, unsigned int flags)
{
	int fd = memfd_create("file", MFD_CLOEXEC | flags);

	if (fd < 0 || ftruncate(fd, length))
		return -1;
	return fd;
}

static int seal(int fd, int seals)
{
	return fcntl(fd, F_ADD_SEALS, seals);
}

/* Open the same file again, with these flags */
static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

#define MAP_AT(_fd, _start, _length, _iova, _flags)                            \
	map_file_at(self->iommufd, self->ioas, _flags, _fd, _start, _length,   \
		    _iova)
#define UNMAP(_iova, _length)                                                  \
	unmap(self->iommufd, self->ioas, _iova, _length, NULL)

/* Let the device write a pattern */
static int write_pattern(struct _test_data_file *self, __u64 iova, size_t length,
			 unsigned int seed)
{
	fill_pattern(self->own, length, seed);
	return edu_dma_from_ram(&self->edu, OWN, length) ||
	       edu_dma_to_ram(&self->edu, iova, length);
}

/* Does the device read this pattern? */
static bool reads_pattern(struct _test_data_file *self, __u64 iova,
			  size_t length, unsigned int seed)
{
	memset(self->own, 0, length);
	return !edu_dma_from_ram(&self->edu, iova, length) &&
	       !edu_dma_to_ram(&self->edu, OWN, length) &&
	       is_pattern(self->own, length, seed);
}

/* What the device writes is in the file, and the reverse */
static void expect_both_ways(struct __test_metadata *_metadata,
			     struct _test_data_file *self, int fd, off_t at,
			     __u64 iova, unsigned int seed)
{
	char buf[EDU_MAX];

	ASSERT_EQ(0, write_pattern(self, iova, EDU_MAX, seed));
	ASSERT_EQ(EDU_MAX, pread(fd, buf, EDU_MAX, at));
	EXPECT_TRUE(is_pattern(buf, EDU_MAX, seed));
	fill_pattern(buf, EDU_MAX, seed + 1);
	ASSERT_EQ(EDU_MAX, pwrite(fd, buf, EDU_MAX, at));
	EXPECT_TRUE(reads_pattern(self, iova, EDU_MAX, seed + 1));
}

/* Pages that exist in the file and holes, from an offset inside it */
TEST_F(file, dma_goes_both_ways)
{
	int fd = memory_file(8 * PAGE, 0);
	char *view, byte = 1;

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pwrite(fd, &byte, 1, 3 * PAGE));
	ASSERT_EQ(0, MAP_AT(fd, 2 * PAGE, 4 * PAGE, IOVA, MAP_RW));
	EXPECT_EQ(self->pinned + PAGES_KB(4), status_kb("VmPin"));
	expect_both_ways(_metadata, self, fd, 2 * PAGE, IOVA, 1);
	expect_both_ways(_metadata, self, fd, 3 * PAGE, IOVA + PAGE, 2);
	expect_both_ways(_metadata, self, fd, 5 * PAGE, IOVA + 3 * PAGE, 3);

	/* A mapping of the file shows the same */
	view = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, view);
	ASSERT_EQ(0, write_pattern(self, IOVA + 2 * PAGE, EDU_MAX, 4));
	EXPECT_TRUE(is_pattern(view + 4 * PAGE, EDU_MAX, 4));
	fill_pattern(view + 4 * PAGE, EDU_MAX, 5);
	EXPECT_TRUE(reads_pattern(self, IOVA + 2 * PAGE, EDU_MAX, 5));
	/* Nothing around the range is written */
	EXPECT_TRUE(is_byte(view, 2 * PAGE, 0));
	EXPECT_TRUE(is_byte(view + 6 * PAGE, 2 * PAGE, 0));

	EXPECT_EQ(0, UNMAP(IOVA, 4 * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	munmap(view, 8 * PAGE);
	close(fd);
}

/* More pages than one batch of pins */
TEST_F(file, long_file)
{
	enum { NR = 1300 };
	static const int at[] = { 0, 511, 512, 1023, 1024, NR - 1 };
	int fd = memory_file(NR * PAGE, 0), i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, MAP_AT(fd, 0, NR * PAGE, IOVA, MAP_RW));
	EXPECT_EQ(self->pinned + PAGES_KB(NR), status_kb("VmPin"));
	for (i = 0; i < ARRAY_SIZE(at); i++)
		expect_both_ways(_metadata, self, fd, at[i] * PAGE,
				 IOVA + at[i] * PAGE, i);
	EXPECT_EQ(0, UNMAP(IOVA, NR * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(fd);
}

/* A file on tmpfs with a name, which can be unlinked */
TEST_F(file, file_on_tmpfs)
{
	int fd = open("/tmp/file_test", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE));
	ASSERT_EQ(0, MAP_AT(fd, 0, 2 * PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, unlink("/tmp/file_test"));
	expect_both_ways(_metadata, self, fd, PAGE, IOVA + PAGE, 1);
	close(fd);
	ASSERT_EQ(0, write_pattern(self, IOVA, EDU_MAX, 2));
	EXPECT_TRUE(reads_pattern(self, IOVA, EDU_MAX, 2));
	EXPECT_EQ(0, UNMAP(IOVA, 2 * PAGE));
}

/* Huge pages of a file, all of them and a range inside */
TEST_F(file, huge_pages)
{
	int fd = memory_file(2 * SZ_2M, MFD_HUGETLB);
	off_t at = SZ_2M - 3 * PAGE;
	char *view;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, MAP_AT(fd, 0, 2 * SZ_2M, IOVA, MAP_RW));
	EXPECT_EQ(self->pinned + 4096, status_kb("VmPin"));
	ASSERT_EQ(0, MAP_AT(fd, at, 5 * PAGE, 2 * IOVA, MAP_RW));
	EXPECT_EQ(self->pinned + 4096 + PAGES_KB(5), status_kb("VmPin"));

	/* hugetlbfs has no write(), so use a mapping */
	view = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, view);
	ASSERT_EQ(0, write_pattern(self, IOVA + SZ_2M, EDU_MAX, 1));
	EXPECT_TRUE(is_pattern(view + SZ_2M, EDU_MAX, 1));
	EXPECT_TRUE(reads_pattern(self, 2 * IOVA + 3 * PAGE, EDU_MAX, 1));
	ASSERT_EQ(0, write_pattern(self, 2 * IOVA, EDU_MAX, 2));
	EXPECT_TRUE(is_pattern(view + at, EDU_MAX, 2));
	fill_pattern(view + 2 * SZ_2M - PAGE, EDU_MAX, 3);
	EXPECT_TRUE(reads_pattern(self, IOVA + 2 * SZ_2M - PAGE, EDU_MAX, 3));

	EXPECT_EQ(0, UNMAP(IOVA, 2 * SZ_2M));
	EXPECT_TRUE(reads_pattern(self, 2 * IOVA, EDU_MAX, 2));
	EXPECT_EQ(0, UNMAP(2 * IOVA, 5 * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	munmap(view, 2 * SZ_2M);
	close(fd);
}

/* More than are free: fails, and none is lost */
TEST_F(file, too_many_huge_pages)
{
	int free = free_huge_pages(), fd;

	ASSERT_LT(0, free);
	fd = memory_file((free + 1) * SZ_2M, MFD_HUGETLB);
	ASSERT_LE(0, fd);
	EXPECT_ERRNO(ENOMEM,
		     MAP_AT(fd, 0, (free + 1) * SZ_2M, IOVA, MAP_RW));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(fd);
	EXPECT_EQ(free, free_huge_pages());

	fd = memory_file(free * SZ_2M, MFD_HUGETLB);
	EXPECT_EQ(0, MAP_AT(fd, 0, free * SZ_2M, IOVA, MAP_RW));
	EXPECT_EQ(0, free_huge_pages());
	close(fd);
	EXPECT_EQ(0, UNMAP(IOVA, free * SZ_2M));
	EXPECT_EQ(free, free_huge_pages());
}

/*
 * To map a file for reading, an fd for reading is enough; devices can't write
 */
TEST_F(file, read_only)
{
	int fd = memory_file(2 * PAGE, 0), ro;
	char buf[EDU_MAX];

	ASSERT_LE(0, fd);
	ro = reopen(fd, O_RDONLY);
	ASSERT_LE(0, ro);
	EXPECT_ERRNO(EPERM, MAP_AT(ro, 0, PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EPERM, MAP_AT(ro, 0, PAGE, IOVA,
				   IOMMU_IOAS_MAP_WRITEABLE));
	ASSERT_EQ(0, MAP_AT(ro, 0, 2 * PAGE, IOVA, READ_ONLY));
	fill_pattern(buf, EDU_MAX, 1);
	ASSERT_EQ(EDU_MAX, pwrite(fd, buf, EDU_MAX, PAGE));
	EXPECT_TRUE(reads_pattern(self, IOVA + PAGE, EDU_MAX, 1));
	ASSERT_EQ(0, write_pattern(self, IOVA + PAGE, EDU_MAX, 2));
	ASSERT_EQ(EDU_MAX, pread(fd, buf, EDU_MAX, PAGE));
	EXPECT_TRUE(is_pattern(buf, EDU_MAX, 1));
	/* Nor with a copy */
	EXPECT_ERRNO(EPERM, copy_at(self->iommufd, self->ioas, self->ioas,
				    MAP_RW,
				    PAGE, 2 * IOVA, IOVA));
	close(ro);
	close(fd);
}

/* The fd must be open for reading in any case, as for mmap() */
TEST_F(file, write_only)
{
	int fd = memory_file(PAGE, 0), wo;

	ASSERT_LE(0, fd);
	wo = reopen(fd, O_WRONLY);
	ASSERT_LE(0, wo);
	EXPECT_ERRNO(EPERM, MAP_AT(wo, 0, PAGE, IOVA, READ_ONLY));
	EXPECT_ERRNO(EPERM, MAP_AT(wo, 0, PAGE, IOVA, IOMMU_IOAS_MAP_WRITEABLE));
	EXPECT_ERRNO(EPERM, MAP_AT(wo, 0, PAGE, IOVA, MAP_RW));
	close(wo);
	close(fd);
}

/* A file that is sealed against writing can be mapped for reading only */
TEST_F(file, seals_against_writing)
{
	static const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };
	int i;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		int fd = memory_file(PAGE, MFD_ALLOW_SEALING);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, seal(fd, seals[i]));
		EXPECT_ERRNO(EPERM, MAP_AT(fd, 0, PAGE, IOVA, MAP_RW));
		EXPECT_EQ(0, MAP_AT(fd, 0, PAGE, IOVA, READ_ONLY));
		EXPECT_EQ(0, UNMAP(IOVA, PAGE));
		close(fd);
	}
}

/* Sealing fails as long as a device could write, in any IOAS */
TEST_F(file, seal_while_mapped_is_EBUSY)
{
	int fd = memory_file(2 * PAGE, MFD_ALLOW_SEALING);
	__u32 other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &other));
	ASSERT_EQ(0, MAP_AT(fd, 0, PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, MAP_AT(fd, PAGE, PAGE, 2 * IOVA, READ_ONLY));
	ASSERT_EQ(0, copy_at(self->iommufd, other, self->ioas, MAP_RW, PAGE,
			     IOVA,
			     IOVA));
	EXPECT_ERRNO(EBUSY, seal(fd, F_SEAL_WRITE));
	/* Also while it is not pinned */
	ASSERT_EQ(0, detach_pt(self->device));
	EXPECT_ERRNO(EBUSY, seal(fd, F_SEAL_WRITE));
	ASSERT_EQ(0, UNMAP(IOVA, PAGE));
	EXPECT_ERRNO(EBUSY, seal(fd, F_SEAL_WRITE));
	ASSERT_EQ(0, unmap(self->iommufd, other, IOVA, PAGE, NULL));
	EXPECT_EQ(0, seal(fd, F_SEAL_WRITE));
	EXPECT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	close(fd);
}

/* After a failed MAP the file can be sealed */
TEST_F(file, failed_map_does_not_prevent_a_seal)
{
	int fd = memory_file(2 * PAGE, MFD_ALLOW_SEALING);

	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 0, 3 * PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 0, PAGE, MSI_START, MAP_RW));
	EXPECT_EQ(0, seal(fd, F_SEAL_WRITE));
	close(fd);
}

/* Truncated before it is pinned: the range is not inside the file any more */
TEST_F(file, truncate_before_attach)
{
	int fd = memory_file(2 * PAGE, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, MAP_AT(fd, 0, 2 * PAGE, IOVA, MAP_RW));
	EXPECT_EQ(self->pinned - PAGES_KB(1), status_kb("VmPin"));
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE - 1));
	EXPECT_ERRNO(EINVAL, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(self->pinned - PAGES_KB(1), status_kb("VmPin"));
	ASSERT_EQ(0, ftruncate(fd, 3 * PAGE));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_EQ(self->pinned + PAGES_KB(2), status_kb("VmPin"));
	expect_both_ways(_metadata, self, fd, PAGE, IOVA + PAGE, 1);
	close(fd);
}

/* Truncated afterwards: the device has the old pages, the file new ones */
TEST_F(file, truncate_after_map)
{
	int fd = memory_file(2 * PAGE, 0);
	char buf[EDU_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, MAP_AT(fd, 0, 2 * PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, write_pattern(self, IOVA + PAGE, EDU_MAX, 1));
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	EXPECT_TRUE(reads_pattern(self, IOVA + PAGE, EDU_MAX, 1));
	ASSERT_EQ(0, write_pattern(self, IOVA + PAGE, EDU_MAX, 2));
	EXPECT_TRUE(reads_pattern(self, IOVA + PAGE, EDU_MAX, 2));
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE));
	ASSERT_EQ(EDU_MAX, pread(fd, buf, EDU_MAX, PAGE));
	EXPECT_TRUE(is_byte(buf, EDU_MAX, 0));
	/* The other page still belongs to the file */
	expect_both_ways(_metadata, self, fd, 0, IOVA, 3);
	EXPECT_EQ(0, UNMAP(IOVA, 2 * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(fd);
}

/* A file that ends inside its last page */
TEST_F(file, range_has_to_be_in_the_file)
{
	int fd = memory_file(2 * PAGE - 1, 0);

	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 0, 2 * PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, PAGE, PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 1ULL << 40, PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 1ULL << 63, PAGE, IOVA, MAP_RW));
	EXPECT_EQ(0, MAP_AT(fd, 0, PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE));
	EXPECT_EQ(0, MAP_AT(fd, PAGE, PAGE, IOVA + PAGE, MAP_RW));
	close(fd);
}

/*
 * An offset inside a page fails with a device, and prevents an attach (trap
 * A13)
 */
TEST_F(file, start_inside_a_page)
{
	int fd = memory_file(2 * PAGE, 0);
	__u64 iova = 0;

	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EINVAL, MAP_AT(fd, 16, PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, MAP_AT(fd, 16, 100, IOVA + 16, MAP_RW));
	EXPECT_ERRNO(EADDRINUSE, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, UNMAP(IOVA + 16, 100));
	/* The kernel's IOVA has the same offset in the page */
	ASSERT_EQ(0, map_file(self->iommufd, self->ioas, MAP_RW, fd,
			      PAGE + 0x123,
			      100, &iova));
	EXPECT_EQ(0x123, iova % PAGE);
	ASSERT_EQ(0, UNMAP(iova, 100));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	close(fd);
}

/* A failed MAP does not keep the file open: see when the last reference goes */
TEST_F(file, other_files_are_EINVAL)
{
	int pipes[2], i;
	int fds[] = {
		eventfd(0, 0), self->device, self->iommufd,
		open("/dev/zero", O_RDWR), open("/proc/self/status", O_RDONLY),
		open("/tmp", O_RDONLY), -1,
	};

	ASSERT_EQ(0, pipe(pipes));
	fds[ARRAY_SIZE(fds) - 1] = pipes[0];
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		ASSERT_LE(0, fds[i]);
		EXPECT_ERRNO(EINVAL, MAP_AT(fds[i], 0, PAGE, IOVA, READ_ONLY));
	}
	/* The writer gets an error because there is no reader */
	signal(SIGPIPE, SIG_IGN);
	close(pipes[0]);
	EXPECT_ERRNO(EPIPE, write(pipes[1], "", 1));
	close(pipes[1]);
}

/* Not open, or O_PATH */
TEST_F(file, no_file_is_EBADF)
{
	int fd = memory_file(PAGE, 0), path;

	ASSERT_LE(0, fd);
	path = reopen(fd, O_PATH);
	ASSERT_LE(0, path);
	EXPECT_ERRNO(EBADF, MAP_AT(path, 0, PAGE, IOVA, MAP_RW));
	close(fd);
	EXPECT_ERRNO(EBADF, MAP_AT(fd, 0, PAGE, IOVA, MAP_RW));
	EXPECT_ERRNO(EBADF, MAP_AT(-1, 0, PAGE, IOVA, MAP_RW));
	close(path);
}

/* Mapped by a process that has not mapped the file, and has exited */
TEST_F(file, mapping_needs_no_process)
{
	int fd = memory_file(2 * PAGE, 0), status;
	char buf[EDU_MAX];
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, detach_pt(self->device));
	pid = fork();
	if (!pid)
		_exit(MAP_AT(fd, 0, PAGE, IOVA, MAP_RW) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	/* Pinned after the process has exited, twice */
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	ASSERT_EQ(0, write_pattern(self, IOVA, EDU_MAX, 1));
	ASSERT_EQ(EDU_MAX, pread(fd, buf, EDU_MAX, 0));
	EXPECT_TRUE(is_pattern(buf, EDU_MAX, 1));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP(IOVA, PAGE));
	close(fd);
}

/* Without any fd or VMA the file still exists */
TEST_F(file, mapping_keeps_the_file)
{
	int fd = memory_file(PAGE, 0);
	char *view;

	ASSERT_LE(0, fd);
	view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, view);
	fill_pattern(view, PAGE, 1);
	ASSERT_EQ(0, MAP_AT(fd, 0, PAGE, IOVA, MAP_RW));
	munmap(view, PAGE);
	close(fd);
	EXPECT_TRUE(reads_pattern(self, IOVA, EDU_MAX, 1));
	/* Its pages are unpinned and pinned again */
	ASSERT_EQ(0, detach_pt(self->device));
	ASSERT_EQ(0, attach_pt(self->device, self->ioas, NULL));
	EXPECT_TRUE(reads_pattern(self, IOVA, EDU_MAX, 1));
}

/* A part, in another IOAS, after the original was unmapped */
TEST_F(file, copy_of_a_part)
{
	int fd = memory_file(4 * PAGE, 0);
	__u32 other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, alloc_ioas(self->iommufd, &other));
	ASSERT_EQ(0, MAP_AT(fd, 0, 4 * PAGE, IOVA, MAP_RW));
	ASSERT_EQ(0, copy_at(self->iommufd, other, self->ioas, MAP_RW, 2 * PAGE,
			     2 * IOVA, IOVA + PAGE));
	ASSERT_EQ(0, map_at(self->iommufd, other, (uintptr_t)self->own, PAGE,
			    OWN));
	ASSERT_EQ(0, UNMAP(IOVA, 4 * PAGE));
	ASSERT_EQ(0, attach_pt(self->device, other, NULL));
	expect_both_ways(_metadata, self, fd, PAGE, 2 * IOVA, 1);
	expect_both_ways(_metadata, self, fd, 2 * PAGE, 2 * IOVA + PAGE, 2);
	close(fd);
}

/*
 * A mapping keeps a reference to its file, but not if the file would keep the
 * mapping: closing both fds releases everything, and the group is free
 */
TEST_F(file, own_files_are_not_kept)
{
	__u32 ioas;
	int group;

	ASSERT_EQ(0, alloc_ioas(self->iommufd, &ioas));
	EXPECT_EQ(0, map_file_at(self->iommufd, ioas, READ_ONLY, self->iommufd,
				 0, PAGE, IOVA));
	EXPECT_EQ(0, map_file_at(self->iommufd, ioas, READ_ONLY, self->device,
				 0, PAGE, IOVA + PAGE));
	edu_close(&self->edu);
	close(self->device);
	close(self->iommufd);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
}

/* The same with a cdev on hugetlbfs */
TEST_F(file, own_files_on_hugetlbfs_are_not_kept)
{
	char path[256];
	struct stat st;
	int cdev, group;

	edu_close(&self->edu);
	close(self->device);
	ASSERT_EQ(0, vfio_cdev_path(&self->dev, path, sizeof(path)));
	ASSERT_EQ(0, stat(path, &st));
	mkdir("/tmp/file_test", 0700);
	ASSERT_EQ(0, mount("none", "/tmp/file_test", "hugetlbfs", 0, NULL));
	ASSERT_EQ(0, mknod("/tmp/file_test/node", S_IFCHR | 0600,
			   st.st_rdev));
	cdev = open("/tmp/file_test/node", O_RDWR | O_CLOEXEC);
	EXPECT_LE(0, cdev);
	EXPECT_EQ(0, bind_iommufd(cdev, self->iommufd, NULL));
	EXPECT_EQ(0, UNMAP(OWN, PAGE));
	EXPECT_EQ(0, MAP_AT(cdev, 0, PAGE, IOVA, READ_ONLY));
	EXPECT_ERRNO(EINVAL, attach_pt(cdev, self->ioas, NULL));
	close(cdev);
	close(self->iommufd);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	EXPECT_EQ(0, umount("/tmp/file_test"));
	rmdir("/tmp/file_test");
	self->device = open_cdev(&self->dev);
	self->iommufd = -1;
}

/*
 * Shared memory is mapped for reading as it is, and shows later writes (trap
 * M16)
 */
TEST_F(file, shared_memory_for_reading_stays_clean)
{
	int fd = memory_file(2 * PAGE, 0);
	char *view = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);

	ASSERT_NE(MAP_FAILED, view);
	/* A page that the file has, and a hole */
	EXPECT_EQ(0, get_register(view));
	EXPECT_EQ(0, page_is_dirty(view));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, view, 2 * PAGE, IOVA,
			      READ_ONLY));
	EXPECT_EQ(0, get_register(view + PAGE));
	EXPECT_EQ(0, page_is_dirty(view));
	EXPECT_EQ(0, page_is_dirty(view + PAGE));
	fill_pattern(view, EDU_MAX, 1);
	fill_pattern(view + PAGE, EDU_MAX, 2);
	EXPECT_TRUE(reads_pattern(self, IOVA, EDU_MAX, 1));
	EXPECT_TRUE(reads_pattern(self, IOVA + PAGE, EDU_MAX, 2));
	EXPECT_EQ(0, UNMAP(IOVA, 2 * PAGE));
	munmap(view, 2 * PAGE);
	close(fd);
}

/*
 * One mapping of private and shared memory: the private page is made the
 * process's own
 */
TEST_F(file, private_memory_for_reading_becomes_own)
{
	int fd = memory_file(PAGE, 0);
	char *view = map_anon(2 * PAGE);

	ASSERT_NE(MAP_FAILED, mmap(view + PAGE, PAGE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, fd, 0));
	ASSERT_EQ(0, ioas_map(self->iommufd, self->ioas, view, 2 * PAGE, IOVA,
			      READ_ONLY));
	EXPECT_EQ(0, get_register(view + PAGE));
	EXPECT_EQ(0, page_is_dirty(view + PAGE));
	fill_pattern(view, EDU_MAX, 1);
	EXPECT_TRUE(reads_pattern(self, IOVA, EDU_MAX, 1));
	EXPECT_EQ(0, UNMAP(IOVA, 2 * PAGE));
	munmap(view, 2 * PAGE);
	close(fd);
}

TEST_HARNESS_MAIN

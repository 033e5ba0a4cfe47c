// SPDX-License-Identifier: GPL-2.0
/*
 * An open /dev/iommu as a type1 container: which IOAS it uses, the answers of
 * its ioctls, the order of errors, and the cuts of version 1. Uses the mock
 * IOMMU. Also built as a 32-bit program.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "container_util.h"
#include "mock_util.h"

#define MAX (~0ULL)
#define START MOCK_APERTURE_START
#define NR_PAGES 8
#define LENGTH (NR_PAGES * PAGE)
#define ALL_PAGES ((1U << NR_PAGES) - 1)
#define AT(_page) (START + (_page) * PAGE)
#define PAGE_KB ((long)PAGE / 1024)
#define POISON 0x5a
#define NOBODY 65534

FIXTURE(container)
{
	int fd;
	/* The container's IOAS, and another one */
	__u32 ioas, other;
	char *buf;
	/* Pages of a file are referenced, not pinned */
	bool is_file;
	struct mock mocks[4];
	int nr_mocks;
	long pinned, locked;
};

static void set_up(struct __test_metadata *_metadata,
		   struct _test_data_container *self)
{
	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_TRUE(self->buf != MAP_FAILED);
	fill_bytes(self->buf, LENGTH, 0);
	self->is_file = false;
	self->nr_mocks = 0;
	self->pinned = status_kb("VmPin");
	self->locked = status_kb("VmLck");
}

static void tear_down(struct __test_metadata *_metadata,
		      struct _test_data_container *self)
{
	close(self->fd);
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
}

FIXTURE_SETUP(container)
{
	set_up(_metadata, self);
}

FIXTURE_TEARDOWN(container)
{
	tear_down(_metadata, self);
}

/* Map pages of the buffer, each at its own place */
static int map_pages(struct _test_data_container *self, int page, int nr)
{
	return map_dma(self->fd, self->buf + page * PAGE, nr * PAGE, AT(page));
}

#define MAP_DMA(_page, _nr) map_pages(self, _page, _nr)
#define UNMAP_DMA(_page, _nr, _unmapped)                                       \
	unmap_dma(self->fd, AT(_page), (_nr) * PAGE, _unmapped)
#define CHECK_EXTENSION(_extension)                                            \
	ioctl(self->fd, VFIO_CHECK_EXTENSION, _extension)
#define SET_IOMMU(_type) ioctl(self->fd, VFIO_SET_IOMMU, _type)

/* Each mock device has an IOMMU unit, and so a page table, of its own */
static int add_mock(struct _test_data_container *self, __u64 page_sizes)
{
	int nr = self->nr_mocks;
	int ret = mock_device(self->fd, self->ioas,
			      &MOCK_CONFIG(.unit = nr,
					   .page_sizes = page_sizes),
			      &self->mocks[nr]);

	self->nr_mocks += !ret;
	return ret;
}

static int remove_mock(struct _test_data_container *self)
{
	return destroy(self->fd, self->mocks[--self->nr_mocks].stdev);
}

static bool is_byte(const void *data, size_t length, unsigned char byte)
{
	const unsigned char *bytes = data;
	size_t i;

	for (i = 0; i < length; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

static bool is_mapped(struct _test_data_container *self, struct mock *mock,
		      __u64 iova)
{
	char byte;

	return !mock_dma(self->fd, mock->stdev, iova, &byte, 1, 0);
}

/* Are exactly these pages mapped in each page table, pinned and charged? */
static bool only_has(struct _test_data_container *self, unsigned int pages)
{
	long kb = __builtin_popcount(self->nr_mocks ? pages : 0) * PAGE_KB;
	int i, m;

	for (i = 0; i < NR_PAGES; i++) {
		const char *va = self->buf + i * PAGE;
		bool there = pages & (1U << i);

		for (m = 0; m < self->nr_mocks; m++) {
			struct mock *mock = &self->mocks[m];

			if (is_mapped(self, mock, AT(i)) != there)
				return false;
			if (there && mock_check_map(self->fd, mock->hwpt,
						    AT(i), va, PAGE))
				return false;
		}
		if (mock_check_refs(self->fd, va, PAGE,
				    there && m && !self->is_file))
			return false;
	}
	return status_kb("VmPin") == self->pinned + kb &&
	       status_kb("VmLck") == self->locked;
}

static unsigned int pages_in(int first, int nr)
{
	return ((1U << nr) - 1) << first;
}

/* The IOAS of the container */

static int container_of(int fd)
{
	__u32 id = 0;

	return vfio_ioas(fd, IOMMU_VFIO_IOAS_GET, &id) ? -errno : (int)id;
}

TEST_F(container, ioas_is_set_and_cleared)
{
	int second = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	__u32 id = 77;

	EXPECT_EQ(self->ioas, container_of(self->fd));
	EXPECT_EQ(0, set_container(self->fd, self->other));
	EXPECT_EQ(self->other, container_of(self->fd));
	/* Each open file has its own */
	EXPECT_EQ(-ENODEV, container_of(second));
	EXPECT_ERRNO(ENOENT, set_container(second, self->ioas));
	EXPECT_EQ(0, clear_container(second));
	close(second);
	EXPECT_EQ(self->other, container_of(self->fd));
	/* CLEAR neither reads nor writes the id */
	EXPECT_EQ(0, vfio_ioas(self->fd, IOMMU_VFIO_IOAS_CLEAR, &id));
	EXPECT_EQ(77, id);
	EXPECT_EQ(-ENODEV, container_of(self->fd));
	EXPECT_EQ(0, clear_container(self->fd));
	/* The IOAS itself was not changed */
	EXPECT_EQ(0, map_at(self->fd, self->other, (uintptr_t)self->buf, PAGE,
			    START));
	EXPECT_EQ(0, destroy(self->fd, self->other));
}

/* In the order of errors */
TEST_F(container, ioas_rules)
{
	struct iommu_vfio_ioas cmd = { .size = sizeof(cmd), .ioas_id = 99 };
	int ops[] = { IOMMU_VFIO_IOAS_GET, IOMMU_VFIO_IOAS_SET,
		      IOMMU_VFIO_IOAS_CLEAR, 3, 0xffff };
	struct mock mock;
	__u32 ids[4];
	int i;

	ASSERT_EQ(0, mock_domain(self->fd, self->other, &mock));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		cmd.op = ops[i];
		cmd.__reserved = 1;
		EXPECT_ERRNO(EOPNOTSUPP,
			     ioctl(self->fd, IOMMU_VFIO_IOAS, &cmd));
		cmd.__reserved = 0;
		if (cmd.op > IOMMU_VFIO_IOAS_CLEAR)
			EXPECT_ERRNO(EOPNOTSUPP,
				     ioctl(self->fd, IOMMU_VFIO_IOAS, &cmd));
	}
	/* An id that is not, or no longer, that of an IOAS changes nothing */
	ids[0] = 0;
	ids[1] = 99;
	ids[2] = mock.hwpt;
	ids[3] = mock.idev;
	for (i = 0; i < 4; i++)
		EXPECT_ERRNO(ENOENT, set_container(self->fd, ids[i]));
	EXPECT_EQ(0, alloc_ioas(self->fd, &ids[0]));
	EXPECT_EQ(0, destroy(self->fd, ids[0]));
	EXPECT_ERRNO(ENOENT, set_container(self->fd, ids[0]));
	EXPECT_EQ(self->ioas, container_of(self->fd));
}

/* The rules for all ioctls of /dev/iommu */
TEST_F(container, ioas_sizes)
{
	struct iommu_vfio_ioas *cmd;
	__u8 *page = memory(2 * PAGE, MAP_PRIVATE);
	__u32 size;
	int i;

	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	cmd = (void *)page;
	for (size = 0; size <= PAGE; size++) {
		memset(page, 0, PAGE);
		cmd->size = size;
		if (size < 12) {
			ASSERT_ERRNO(EINVAL,
				     ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
			continue;
		}
		ASSERT_EQ(0, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
		ASSERT_EQ(size, cmd->size);
		ASSERT_EQ(self->ioas, cmd->ioas_id);
		ASSERT_TRUE(is_byte(page + 8, PAGE - 8, 0));
	}
	for (i = 12; i < 40; i++) {
		memset(page, 0, PAGE);
		cmd->size = 40;
		page[i] = 1;
		ASSERT_ERRNO(E2BIG, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
		cmd->size = i;
		ASSERT_EQ(0, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
		ASSERT_EQ(1, page[i]);
	}
	memset(page, 0, PAGE);
	cmd->size = PAGE + 1;
	EXPECT_ERRNO(E2BIG, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));

	cmd = (void *)(page + PAGE - sizeof(*cmd));
	*cmd = (struct iommu_vfio_ioas){ .size = sizeof(*cmd) };
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
	cmd = (void *)(page + PAGE - 8);
	cmd->size = 12;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_VFIO_IOAS, NULL));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, IOMMU_VFIO_IOAS | 1U << 16, page));

	/* Only GET writes an answer */
	cmd = (void *)page;
	*cmd = (struct iommu_vfio_ioas){ .size = sizeof(*cmd) };
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	cmd->op = IOMMU_VFIO_IOAS_SET;
	cmd->ioas_id = self->other;
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_VFIO_IOAS, cmd));
	EXPECT_EQ(self->other, container_of(self->fd));
}

static void check_without_ioas(struct __test_metadata *_metadata,
			       struct _test_data_container *self)
{
	char info[64];

	EXPECT_EQ(-ENODEV, container_of(self->fd));
	EXPECT_ERRNO(ENODEV, MAP_DMA(0, 1));
	EXPECT_ERRNO(ENODEV, UNMAP_DMA(0, 1, NULL));
	EXPECT_ERRNO(ENODEV, get_info(self->fd, info, sizeof(info)));
	EXPECT_ERRNO(ENODEV, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_ERRNO(ENODEV, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	EXPECT_ERRNO(ENODEV, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	/* These need no IOAS */
	EXPECT_EQ(VFIO_API_VERSION, ioctl(self->fd, VFIO_GET_API_VERSION));
	EXPECT_EQ(1, CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU));
	EXPECT_ERRNO(EINVAL, SET_IOMMU(VFIO_NOIOMMU_IOMMU));
}

/* While no IOAS is set, as before the first group (trap I7) */
TEST_F(container, without_ioas_is_ENODEV)
{
	int fd = self->fd;

	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	check_without_ioas(_metadata, self);
	close(self->fd);
	self->fd = fd;
	ASSERT_EQ(0, clear_container(self->fd));
	check_without_ioas(_metadata, self);
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(0, MAP_DMA(0, 1));
}

/* A destroyed IOAS is unset, even if another one gets its id (trap B10) */
TEST_F(container, destroyed_ioas_is_ENODEV)
{
	struct mock mock;
	__u64 unmapped;
	__u32 id;

	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	/*
	 * A page table prevents the destroy; being the container's IOAS does
	 * not
	 */
	EXPECT_ERRNO(EBUSY, destroy(self->fd, self->ioas));
	EXPECT_EQ(self->ioas, container_of(self->fd));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->ioas));
	check_without_ioas(_metadata, self);
	ASSERT_EQ(0, alloc_ioas(self->fd, &id));
	ASSERT_EQ(self->ioas, id);
	check_without_ioas(_metadata, self);
	ASSERT_EQ(0, set_container(self->fd, id));
	EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, &unmapped));
	EXPECT_EQ(0, unmapped);
	/* Destroying another IOAS has no effect */
	EXPECT_EQ(0, destroy(self->fd, self->other));
	EXPECT_EQ(id, container_of(self->fd));
}

/* What is mapped in one IOAS stays there when another one is set */
TEST_F(container, requests_go_to_the_ioas_that_is_set)
{
	__u64 unmapped;

	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	ASSERT_EQ(0, set_container(self->fd, self->other));
	EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_EQ(0, MAP_DMA(0, 2));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, &unmapped));
	EXPECT_EQ(LENGTH, unmapped);
	EXPECT_EQ(0, unmap_all(self->fd, self->other, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
}

/*
 * Extensions and types
 */

TEST_F(container, extensions)
{
	unsigned long extension;

	for (extension = 0; extension < 100; extension++) {
		int ret = CHECK_EXTENSION(extension);

		switch (extension) {
		case VFIO_TYPE1_IOMMU:
		case VFIO_TYPE1v2_IOMMU:
		case VFIO_DMA_CC_IOMMU:
		case VFIO_UNMAP_ALL:
			ASSERT_EQ(1, ret);
			break;
		case VFIO_NOIOMMU_IOMMU:
			/* Depends on the kernel configuration */
			ASSERT_TRUE(ret == 0 || ret == 1);
			break;
		default:
			ASSERT_EQ(0, ret);
		}
	}
	EXPECT_EQ(0, CHECK_EXTENSION(-1UL));
	EXPECT_EQ(0, CHECK_EXTENSION(1UL << 31 | VFIO_TYPE1_IOMMU));
}

/* DMA is coherent if all page tables enforce it */
TEST_F(container, dma_is_coherent_if_all_tables_are)
{
	struct mock coherent, second, other;

	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.flags = MOCK_DEVICE_ENFORCES),
				 &coherent));
	EXPECT_EQ(1, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	ASSERT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 1),
				 &second));
	EXPECT_EQ(0, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	EXPECT_EQ(0, destroy(self->fd, coherent.stdev));
	EXPECT_EQ(0, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	EXPECT_EQ(0, destroy(self->fd, second.stdev));
	EXPECT_EQ(1, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	/* Page tables of another IOAS don't count */
	ASSERT_EQ(0, mock_domain(self->fd, self->other, &other));
	EXPECT_EQ(1, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
	EXPECT_EQ(0, set_container(self->fd, self->other));
	EXPECT_EQ(0, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
}

/* A limit of one IOMMU counts, whichever page table was made first */
TEST_F(container, weakest_of_three_tables_counts)
{
	struct vfio_iommu_type1_info info;
	struct iommu_iova_range range;
	struct mock mocks[3];
	__u64 alignment;
	int weak, i;

	for (weak = 0; weak < 3; weak++) {
		__u32 nr = 1;

		for (i = 0; i < 3; i++) {
			struct iommu_test_mock_config config =
				MOCK_CONFIG(.unit = i);

			if (i == weak) {
				config.page_sizes = PAGE;
				config.aperture_start *= 2;
				config.aperture_last /= 2;
			} else {
				config.page_sizes = MOCK_PAGE | PAGE | SZ_2M;
				config.flags = MOCK_DEVICE_ENFORCES;
			}
			ASSERT_EQ(0, mock_device(self->fd, self->ioas, &config,
						 &mocks[i]));
		}
		EXPECT_EQ(0, CHECK_EXTENSION(VFIO_DMA_CC_IOMMU));
		EXPECT_EQ(0, get_info(self->fd, &info, sizeof(info)));
		EXPECT_EQ(PAGE, info.iova_pgsizes);
		EXPECT_EQ(0, iova_ranges(self->fd, self->ioas, &range, &nr,
					 &alignment));
		EXPECT_EQ(MOCK_APERTURE_START * 2, range.start);
		EXPECT_EQ(MOCK_APERTURE_LAST / 2, range.last);
		EXPECT_EQ(PAGE, alignment);
		for (i = 0; i < 3; i++)
			ASSERT_EQ(0, destroy(self->fd, mocks[i].stdev));
	}
}

/* @bits: room for @bytes of the bitmap of the pages from @iova on */
static int dirty_in(struct _test_data_container *self, __u32 flags, __u64 iova,
		    __u64 nr, void *bits, __u64 bytes)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap cmd;
		struct vfio_iommu_type1_dirty_bitmap_get get;
		/*
		 * For a 32-bit program: the upper half of the kernel's pointer
		 */
		__u32 high;
	} dirty = {
		.cmd.argsz = sizeof(dirty),
		.cmd.flags = flags,
		.get.iova = iova,
		.get.size = nr * PAGE,
		.get.bitmap.pgsize = PAGE,
		.get.bitmap.size = bytes,
		.get.bitmap.data = bits,
	};

	return ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty);
}

/* The same for 64 pages at most */
static int dirty(struct _test_data_container *self, __u32 flags, __u64 iova,
		 int nr, __u64 *bits)
{
	return dirty_in(self, flags, iova, nr, bits, sizeof(*bits));
}

/* UNMAP_DMA with the bitmap of what was dirty */
static int unmap_dirty(struct _test_data_container *self, __u32 flags,
		       __u64 iova, int nr, __u64 *bits, __u64 *unmapped)
{
	struct {
		struct vfio_iommu_type1_dma_unmap cmd;
		struct vfio_bitmap bitmap;
		__u32 high;
	} unmap = {
		.cmd.argsz = sizeof(unmap),
		.cmd.flags = flags,
		.cmd.iova = iova,
		.cmd.size = nr * PAGE,
		.bitmap.pgsize = PAGE,
		.bitmap.size = sizeof(*bits),
		.bitmap.data = (void *)bits,
	};
	int ret = ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &unmap);

	*unmapped = unmap.cmd.size;
	return ret;
}

#define TELL VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

#define START_TRACKING()                                                       \
	dirty(self, VFIO_IOMMU_DIRTY_PAGES_FLAG_START, 0, 0, NULL)
#define GET_DIRTY(_iova, _nr, _bits)                                           \
	dirty(self, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, _iova, _nr, _bits)

/* A page that any of three accesses has pinned is dirty, in whatever order */
TEST_F(container, dirty_is_what_any_access_has_pinned)
{
	const __u32 can_pin = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
	static const int pages[] = { 5, 1, 7 };
	int i, accesses[3];
	__u64 bits = 0;
	__u32 item;

	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		ASSERT_EQ(0, access_create(self->fd, self->ioas, can_pin,
					   &accesses[i]));
		ASSERT_EQ(0, access_pin(self->fd, accesses[i],
					AT(pages[i]), NULL, PAGE,
					0, &item));
	}
	ASSERT_EQ(0, START_TRACKING());
	/* A page is reported by each query as long as it is pinned */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(1 << 5 | 1 << 1 | 1 << 7, bits);
	}
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		close(accesses[i]);
}

#define WRITE_TO(_iova, _length)                                               \
	access_rw(self->fd, access, _iova, data, _length, MOCK_ACCESS_RW_WRITE)

/*
 * Records are kept for 512 pages together. Writes to one such part, and across
 * two, are recorded to the page, and an unmap deletes only its own.
 */
TEST_F(container, dirty_records_are_exact)
{
	const __u64 there = AT(508);
	char data[LENGTH] = {};
	__u64 bits = 0;
	int access;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 6 * PAGE, there));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 2 * PAGE, AT(514)));
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_EQ(0, WRITE_TO(AT(512) - 1, 2));
	EXPECT_EQ(0, WRITE_TO(AT(515), 1));
	EXPECT_EQ(0, GET_DIRTY(there, NR_PAGES, &bits));
	EXPECT_EQ(1 << 3 | 1 << 4 | 1 << 7, bits);
	EXPECT_EQ(0, GET_DIRTY(there, NR_PAGES, &bits));
	EXPECT_EQ(0, bits);

	EXPECT_EQ(0, WRITE_TO(there, LENGTH));
	/* The first unmap fails, and deletes none */
	EXPECT_ERRNO(ENOENT, unmap_dma(self->fd, there, PAGE, NULL));
	EXPECT_EQ(0, unmap_dma(self->fd, AT(514), 2 * PAGE, NULL));
	EXPECT_EQ(0, GET_DIRTY(there, NR_PAGES, &bits));
	EXPECT_EQ(pages_in(0, 6), bits);

	/* The same up to the end of the IOVA space */
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 2 * PAGE, AT(514)));
	EXPECT_EQ(0, WRITE_TO(there, LENGTH));
	EXPECT_EQ(0, unmap_dma(self->fd, AT(514), MAX - AT(514), NULL));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 2 * PAGE, AT(514)));
	EXPECT_EQ(0, GET_DIRTY(there, NR_PAGES, &bits));
	EXPECT_EQ(pages_in(0, 6), bits);

	/* In both parts */
	EXPECT_EQ(0, WRITE_TO(there, LENGTH));
	EXPECT_EQ(0, unmap_dma(self->fd, there, 6 * PAGE, NULL));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 6 * PAGE, there));
	EXPECT_EQ(0, GET_DIRTY(there, NR_PAGES, &bits));
	EXPECT_EQ(pages_in(6, 2), bits);
	close(access);
}

/* A query deletes the records of its own pages only, and a second start none */
TEST_F(container, dirty_records_beside_a_query)
{
	char data[LENGTH] = {};
	int access, first;
	__u64 bits = 0;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	for (first = 0; first < NR_PAGES; first++)
		ASSERT_EQ(0, MAP_DMA(first, 1));
	ASSERT_EQ(0, START_TRACKING());
	for (first = 0; first < NR_PAGES; first++) {
		EXPECT_EQ(0, WRITE_TO(START, LENGTH));
		EXPECT_EQ(0, START_TRACKING());
		EXPECT_EQ(0, GET_DIRTY(AT(first), 1, &bits));
		EXPECT_EQ(1, bits);
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(ALL_PAGES & ~pages_in(first, 1), bits);
	}
	close(access);
}

/*
 * The area that is unmapped has parts of two pages, of which others have the
 * rest. What was written to these pages is still dirty.
 */
TEST_F(container, unmap_keeps_records_of_shared_pages)
{
	const size_t end = 2 * PAGE + MOCK_PAGE;
	char data[3 * PAGE] = {};
	__u64 bits = 0;
	int access;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, MOCK_PAGE, START));
	ASSERT_EQ(0, map_dma(self->fd, self->buf + MOCK_PAGE, 2 * PAGE,
			     START + MOCK_PAGE));
	ASSERT_EQ(0, map_dma(self->fd, self->buf + end, MOCK_PAGE,
			     START + end));
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_EQ(0, WRITE_TO(START, 3 * PAGE));
	EXPECT_EQ(0, unmap_dma(self->fd, START + MOCK_PAGE, 2 * PAGE, NULL));
	EXPECT_EQ(0, GET_DIRTY(START, 3, &bits));
	EXPECT_EQ(1 << 0 | 1 << 2, bits);
	close(access);
}

/* A write that fails half way is recorded */
TEST_F(container, failed_write_is_dirty)
{
	char *page = memory(2 * PAGE, MAP_PRIVATE), data[2 * PAGE];
	__u64 bits = 0;
	int access;

	memset(data, 1, sizeof(data));
	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	ASSERT_EQ(0, map_dma(self->fd, page, 2 * PAGE, START));
	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_ERRNO(EFAULT, WRITE_TO(START, 2 * PAGE));
	EXPECT_EQ(1, *page);
	EXPECT_EQ(0, GET_DIRTY(START, 2, &bits));
	EXPECT_EQ(1, bits & 1);
	close(access);
}

/* An access keeps a page of the range: what was dirty stays so */
TEST_F(container, failed_unmap_tells_again)
{
	char data[1] = { 1 };
	__u64 bits = 0, unmapped;
	int access;
	__u32 item;

	ASSERT_EQ(0, MAP_DMA(0, 1));
	ASSERT_EQ(0, MAP_DMA(1, 2));
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	EXPECT_ERRNO(EINVAL, unmap_dirty(self, TELL, START, 3, &bits,
					 &unmapped));
	EXPECT_EQ(0, unmapped);
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_EQ(0, WRITE_TO(AT(2), 1));
	ASSERT_EQ(0, access_pin(self->fd, access, AT(1), NULL, PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, access, MOCK_ACCESS_NEVER_UNPINS, 0));
	EXPECT_ERRNO(EDEADLOCK, unmap_dirty(self, TELL, START, 3, &bits,
					    &unmapped));
	EXPECT_GE(PAGE, unmapped);
	bits = 0;
	EXPECT_EQ(0, GET_DIRTY(START, 3, &bits));
	EXPECT_EQ(pages_in(1, 2), bits);

	ASSERT_EQ(0, access_set(self->fd, access, 0, 0));
	EXPECT_EQ(0, WRITE_TO(AT(2), 1));
	bits = 0;
	EXPECT_EQ(0, unmap_dirty(self, TELL, AT(1), 2, &bits, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
	EXPECT_EQ(3, bits);
	/* The report was the last one about these pages */
	ASSERT_EQ(0, MAP_DMA(1, 2));
	EXPECT_EQ(0, GET_DIRTY(START, 3, &bits));
	EXPECT_EQ(0, bits & pages_in(1, 2));
	close(access);
}

/* The flag for that excludes all others; known or not, nothing is unmapped */
TEST_F(container, unmap_that_tells_has_no_other_flag)
{
	const __u32 flags[] = {
		VFIO_DMA_UNMAP_FLAG_ALL, VFIO_DMA_UNMAP_FLAG_VADDR, 8, 1U << 31,
	};
	__u64 bits = 0, unmapped;
	int i;

	ASSERT_EQ(0, MAP_DMA(0, 1));
	ASSERT_EQ(0, START_TRACKING());
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_ERRNO(EINVAL, unmap_dirty(self, TELL | flags[i], START,
						 1, &bits, &unmapped));
		EXPECT_EQ(PAGE, unmapped);
	}
	EXPECT_EQ(0, unmap_dirty(self, TELL, START, 1, &bits, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_EQ(0, UNMAP_DMA(0, 1, &unmapped));
	EXPECT_EQ(0, unmapped);
}

/* What should follow the structures is not there */
TEST_F(container, bitmap_that_cannot_be_read)
{
	char *end = (char *)memory(2 * PAGE, MAP_PRIVATE) + PAGE;
	struct vfio_iommu_type1_dirty_bitmap *query;
	struct vfio_iommu_type1_dma_unmap *unmap;

	ASSERT_EQ(0, munmap(end, PAGE));
	ASSERT_EQ(0, MAP_DMA(0, 1));
	ASSERT_EQ(0, START_TRACKING());
	unmap = (void *)(end - sizeof(*unmap));
	*unmap = (struct vfio_iommu_type1_dma_unmap){
		.argsz = 100, .flags = TELL, .iova = START, .size = PAGE,
	};
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, unmap));
	EXPECT_EQ(PAGE, unmap->size);
	query = (void *)(end - sizeof(*query));
	*query = (struct vfio_iommu_type1_dirty_bitmap){
		.argsz = 100, .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
	};
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, query));
}

/*
 * An attach waits for a page and holds the page tables: a process that asks for
 * dirty pages can be killed meanwhile
 */
TEST_F_TIMEOUT(container, dirty_queries_can_be_killed, 60)
{
	__u64 bits = 0, unmapped;
	int faults, i, status;
	struct mock mock;
	pid_t pid, other;
	char *page;

	page = stalled_page(&faults);
	ASSERT_TRUE(!!page);
	ASSERT_EQ(0, map_dma(self->fd, page, PAGE, START));
	ASSERT_EQ(0, START_TRACKING());
	other = fork();
	if (!other)
		_exit(mock_domain(self->fd, self->ioas, &mock) != 0);
	ASSERT_TRUE(is_touched(faults));
	for (i = 0; i < 2; i++) {
		pid = fork();
		if (!pid) {
			if (i)
				GET_DIRTY(START, 1, &bits);
			else
				unmap_dirty(self, TELL, START, 1, &bits,
					    &unmapped);
			_exit(0);
		}
		EXPECT_TRUE(can_be_killed(pid));
	}
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_EQ(other, waitpid(other, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, GET_DIRTY(START, 1, &bits));
	EXPECT_EQ(1, bits);
	EXPECT_EQ(0, unmap_dma(self->fd, START, PAGE, NULL));
	close(faults);
}

/* An area that has one byte inside the range, at either end */
TEST_F(container, dirty_pages_of_half_an_area)
{
	__u64 bits = 0;
	int i;

	ASSERT_EQ(0, START_TRACKING());
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, map_dma(self->fd, self->buf, 2, AT(i) - 1));
		EXPECT_ERRNO(EINVAL, GET_DIRTY(START, 1, &bits));
		ASSERT_EQ(0, unmap_dma(self->fd, AT(i) - 1, 2, NULL));
		EXPECT_EQ(0, GET_DIRTY(START, 1, &bits));
	}
}

/* The last page of the IOVA space, pinned and then mapped (trap A21) */
TEST_F(container, dirty_pages_at_the_top)
{
	const __u64 top = -PAGE;
	char data[1] = {};
	struct mock mock;
	__u64 bits = 0;
	int access, i;
	__u32 item;

	ASSERT_EQ(0, map_dma(self->fd, self->buf, PAGE, top));
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, access_pin(self->fd, access, top, NULL, PAGE, 0, &item));
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_EQ(0, GET_DIRTY(top - PAGE, 2, &bits));
	EXPECT_EQ(2, bits);
	EXPECT_EQ(0, access_unpin(self->fd, access, item));
	/* A query that fails loses nothing */
	EXPECT_ERRNO(EFAULT, GET_DIRTY(top, 1, NULL));
	for (i = 1; i >= 0; i--) {
		EXPECT_EQ(0, GET_DIRTY(top, 1, &bits));
		EXPECT_EQ(i, bits);
	}
	/* Nor does an unmap leave anything */
	EXPECT_EQ(0, WRITE_TO(top, 1));
	EXPECT_EQ(0, unmap_dma(self->fd, top, PAGE, NULL));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, PAGE, top));
	EXPECT_EQ(0, GET_DIRTY(top, 1, &bits));
	EXPECT_EQ(0, bits);
	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.aperture_start = 0,
					      .aperture_last = MAX), &mock));
	EXPECT_EQ(0, GET_DIRTY(top - PAGE, 2, &bits));
	EXPECT_EQ(2, bits);
	/* And once more when the page table is gone */
	ASSERT_EQ(0, destroy(self->fd, mock.stdev));
	for (i = 1; i >= 0; i--) {
		EXPECT_EQ(0, GET_DIRTY(top, 1, &bits));
		EXPECT_EQ(i, bits);
	}
	close(access);
}

/*
 * A page table maps several areas, one with parts of two pages. All of these
 * pages are dirty as long as it does, and once more after that, and no others.
 */
TEST_F(container, dirty_pages_of_a_table)
{
	const __u64 mapped = pages_in(0, 2) | pages_in(3, 2) | pages_in(6, 1);
	__u64 bits = 0;
	int i;

	ASSERT_EQ(0, map_dma(self->fd, self->buf + MOCK_PAGE, PAGE,
			     START + MOCK_PAGE));
	ASSERT_EQ(0, MAP_DMA(3, 2));
	ASSERT_EQ(0, MAP_DMA(6, 1));
	ASSERT_EQ(0, START_TRACKING());
	EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
	EXPECT_EQ(0, bits);
	ASSERT_EQ(0, add_mock(self, MOCK_PAGE));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(mapped, bits);
	}
	ASSERT_EQ(0, remove_mock(self));
	EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
	EXPECT_EQ(mapped, bits);
	EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
	EXPECT_EQ(0, bits);
}

/*
 * An attach fails at an area that can't be mapped, or whose memory can't be used.
 * Until then the device could write to the areas below.
 */
TEST_F(container, dirty_pages_of_a_failed_attach)
{
	struct mock other;
	__u64 bits = 0;
	__u32 ioas;
	int i;

	ASSERT_EQ(0, MAP_DMA(0, 1));
	ASSERT_EQ(0, MAP_DMA(2, 1));
	ASSERT_EQ(0, MAP_DMA(4, 1));
	ASSERT_EQ(0, START_TRACKING());
	/* There is a unit only if it has a device */
	ASSERT_EQ(0, alloc_ioas(self->fd, &ioas));
	ASSERT_EQ(0, mock_domain(self->fd, ioas, &other));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, EIO));
	EXPECT_ERRNO(EIO, add_mock(self, MOCK_PAGE));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(i ? 0 : 1 << 0 | 1 << 2, bits);
	}
	ASSERT_EQ(0, mprotect(self->buf + 2 * PAGE, PAGE, PROT_NONE));
	EXPECT_ERRNO(EFAULT, add_mock(self, MOCK_PAGE));
	mprotect(self->buf + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(i ? 0 : 1 << 0, bits);
	}
}

/*
 * The kernel fills a long bitmap in pieces. It can't write the second one, and
 * loses none of its records. Pins in it are reported by each query.
 */
TEST_F(container, dirty_pages_of_two_pieces)
{
	const __u64 piece = 8 * 65536, second = AT(piece);
	char *pages = memory(65536 + PAGE, MAP_PRIVATE), data[1] = {};
	__u64 bits = 0, *end = (__u64 *)(pages + 65536);
	int access, i;
	__u32 item;

	ASSERT_EQ(0, MAP_DMA(0, 1));
	ASSERT_EQ(0, map_dma(self->fd, self->buf, 3 * PAGE, second));
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, WRITE_TO(second, 1));
	ASSERT_EQ(0, mprotect(end, PAGE, PROT_NONE));
	EXPECT_ERRNO(EFAULT, dirty_in(self,
				      VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
				      START, piece + 64, pages, 65536 + 8));
	EXPECT_EQ(0, GET_DIRTY(START, 64, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, GET_DIRTY(second, 64, &bits));
	EXPECT_EQ(1, bits);

	ASSERT_EQ(0, mprotect(end, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, access_pin(self->fd, access, second + 2 * PAGE, NULL, PAGE,
				0, &item));
	for (i = 0; i < 2; i++) {
		*end = 0;
		EXPECT_EQ(0, dirty_in(self,
				      VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
				      START, piece + 64, pages, 65536 + 8));
		EXPECT_EQ(1 << 2, *end);
		EXPECT_TRUE(is_byte(pages, 65536, 0));
	}
	close(access);
}

static int nr_signals;

static void count_signal(int signal)
{
	nr_signals++;
}

/* A query of a long bitmap goes on after signals that are not fatal */
TEST_F(container, dirty_query_goes_on_after_signals)
{
	const __u64 bytes = 8 * SZ_2M;
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = {};
	struct sigaction action = { .sa_handler = count_signal };
	void *bits = memory(bytes, MAP_PRIVATE);
	int tries;

	ASSERT_TRUE(bits != MAP_FAILED);
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	/* The fault handler takes most of the time at first */
	for (tries = 0; tries < 3; tries++)
		EXPECT_EQ(0, dirty_in(self,
				      VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
				      START, bytes * 8, bits, bytes));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_LT(2, nr_signals);
}

static __u64 huge_pages(struct _test_data_container *self)
{
	__u64 value = 77;

	option(self->fd, IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_GET,
	       self->ioas, &value);
	return value;
}

TEST_F(container, types)
{
	static const unsigned long wrong[] = {
		0, 2, 4, 5, 6, 7, VFIO_NOIOMMU_IOMMU, VFIO_UNMAP_ALL, 10, 99,
		1UL << 31 | VFIO_TYPE1_IOMMU, -1UL,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT_ERRNO(EINVAL, SET_IOMMU(wrong[i]));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(1, huge_pages(self));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, huge_pages(self));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	/* A wrong type ranks before a missing IOAS */
	ASSERT_EQ(0, clear_container(self->fd));
	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT_ERRNO(EINVAL, SET_IOMMU(wrong[i]));
}

/* Trap I5 */
TEST_F(container, type1_is_chosen_before_something_is_in_large_pages)
{
	/* Mappings without a page table; then a page table without mappings */
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, huge_pages(self));
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				1));
	ASSERT_EQ(0, UNMAP_DMA(0, NR_PAGES, NULL));
	ASSERT_EQ(0, add_mock(self, PAGE | SZ_2M));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, huge_pages(self));
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				1));
	/* Both */
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	EXPECT_ERRNO(EINVAL, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_EQ(1, huge_pages(self));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	EXPECT_TRUE(only_has(self, ALL_PAGES));
	/* If version 1 was set before, it can be set again */
	ASSERT_EQ(0, UNMAP_DMA(0, NR_PAGES, NULL));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, huge_pages(self));
}

/*
 * Dirty tracking needs version 2, as in VFIO's type1. The version ranks after a
 * missing IOAS, and before errors of the argument.
 */
TEST_F(container, version_1_tells_no_dirty_pages)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};

	ASSERT_EQ(0, clear_container(self->fd));
	EXPECT_ERRNO(ENODEV, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	EXPECT_ERRNO(ENODEV, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, NULL));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	EXPECT_EQ(0, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	EXPECT_EQ(0, SET_IOMMU(VFIO_TYPE1_IOMMU));
	EXPECT_ERRNO(EACCES, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	EXPECT_ERRNO(EACCES, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, NULL));
	dirty.argsz = 0;
	EXPECT_ERRNO(EACCES, ioctl(self->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty));
}

/* Ioctls that no container has */
TEST_F(container, all_else_is_ENOTTY)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	unsigned int nr;

	for (nr = 0; nr < 256; nr++) {
		switch (nr) {
		/* Ioctls of /dev/iommu, and those of a container */
		case _IOC_NR(IOMMU_DESTROY) ... _IOC_NR(IOMMU_DESTROY) + 0x20:
		case _IOC_NR(VFIO_GET_API_VERSION):
		case _IOC_NR(VFIO_CHECK_EXTENSION):
		case _IOC_NR(VFIO_SET_IOMMU):
		case _IOC_NR(VFIO_IOMMU_GET_INFO):
		case _IOC_NR(VFIO_IOMMU_MAP_DMA):
		case _IOC_NR(VFIO_IOMMU_UNMAP_DMA):
		case _IOC_NR(VFIO_IOMMU_DIRTY_PAGES):
			/* With another direction, size or type */
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x40003b00 | nr,
						   &dirty));
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x00083b00 | nr,
						   &dirty));
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x00003a00 | nr,
						   &dirty));
			break;
		default:
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x3b00 | nr,
						   &dirty));
			EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0x3b00 | nr,
						   NULL));
		}
	}
}

/*
 * Errors, in their order
 */

/* Values of row.at that are not an offset in the structure */
enum { NO_STRUCTURE = 100, NO_IOAS };

/*
 * struct row - one thing that is wrong with a good request
 * @error: errno of the request
 * @at: offset of a field, or one of the values above
 * @value: value of that field
 * @written: the kernel sets the size to the bytes unmapped, which are 0
 */
struct row {
	int error;
	struct {
		int at;
		__u64 value;
	};
	bool written;
};

#define SET_MAP(_field, _value)                                                \
	{ offsetof(struct vfio_iommu_type1_dma_map, _field), _value }
#define SET_UNMAP(_field, _value)                                              \
	{ offsetof(struct vfio_iommu_type1_dma_unmap, _field), _value }

union cmd {
	__u32 argsz;
	struct vfio_iommu_type1_dma_map map;
	struct vfio_iommu_type1_dma_unmap unmap;
	char bytes[32];
};

/* An address without memory */
static void *hole;

static void spoil(struct _test_data_container *self, union cmd *cmd,
		  const struct row *row, void **user)
{
	switch (row->at) {
	case NO_STRUCTURE:
		*user = hole;
		break;
	case NO_IOAS:
		clear_container(self->fd);
		break;
	default:
		/* The first two fields have 32 bits */
		memcpy(cmd->bytes + row->at, &row->value, row->at < 8 ? 4 : 8);
	}
}

/* Return the errno of a request with one or two wrong things */
static int try(struct _test_data_container *self, unsigned long word,
	       union cmd good, const struct row *row, const struct row *other)
{
	union cmd cmd = good, before;
	void *user = &cmd;
	int ret;

	spoil(self, &cmd, row, &user);
	if (other)
		spoil(self, &cmd, other, &user);
	before = cmd;
	if (row->written)
		before.unmap.size = 0;
	ret = ioctl(self->fd, word, user) ? errno : 0;
	set_container(self->fd, self->ioas);
	return user == hole || !memcmp(&cmd, &before, sizeof(cmd)) ? ret : -1;
}

static void check_rows(struct __test_metadata *_metadata,
		       struct _test_data_container *self, unsigned long word,
		       union cmd good, const struct row *rows, int nr)
{
	int i, j;

	for (i = 0; i < nr; i++) {
		EXPECT_EQ(rows[i].error, try(self, word, good, &rows[i], NULL)) {
			TH_LOG("row %d", i);
		}
		for (j = i + 1; j < nr; j++) {
			if (rows[i].at == rows[j].at)
				continue;
			EXPECT_EQ(rows[i].error,
				  try(self, word, good, &rows[i], &rows[j])) {
				TH_LOG("row %d with %d", i, j);
			}
		}
	}
}

static void *make_hole(void)
{
	void *ret = memory(LENGTH, MAP_PRIVATE);

	munmap(ret, LENGTH);
	return ret;
}

/* Whether memory can be pinned is checked last (trap I9) */
TEST_F(container, map_dma_errors)
{
	const union cmd good = { .map = {
		.argsz = sizeof(good.map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)self->buf,
		.iova = START + 4 * LENGTH,
		.size = LENGTH,
	} };
	struct row rows[] = {
		{ EFAULT, { NO_STRUCTURE } },
		{ EINVAL, SET_MAP(argsz, 0) },
		{ EINVAL, SET_MAP(argsz, sizeof(good.map) - 1) },
		{ EINVAL, SET_MAP(flags, VFIO_DMA_MAP_FLAG_VADDR) },
		{ EINVAL, SET_MAP(flags, VFIO_DMA_MAP_FLAG_READ | 8) },
		{ EINVAL, SET_MAP(flags, VFIO_DMA_MAP_FLAG_READ | 1U << 31) },
		{ ENODEV, { NO_IOAS } },
		{ EINVAL, SET_MAP(flags, 0) },
		{ EOVERFLOW, SET_MAP(iova, MAX) },
		{ EOVERFLOW, SET_MAP(size, MAX) },
		{ EINVAL, SET_MAP(size, 0) },
		{ EINVAL, SET_MAP(size, MAX - PAGE) },
		{ EINVAL, SET_MAP(size, MAX - 1) },
		{ EOVERFLOW, SET_MAP(vaddr, -PAGE) },
		{ EINVAL, SET_MAP(size, LENGTH - 1) },
		{ EINVAL, SET_MAP(iova, START + 1) },
		{ EOVERFLOW, SET_MAP(iova, -PAGE) },
		/* Reserved; then in use */
		{ EINVAL, SET_MAP(iova, START - PAGE) },
		{ EEXIST, SET_MAP(iova, START) },
		{ EEXIST, SET_MAP(iova, START + LENGTH - PAGE) },
		{ EINVAL, SET_MAP(vaddr, 0) },
		{ EFAULT, SET_MAP(vaddr, 0) },
	};

	hole = make_hole();
	rows[ARRAY_SIZE(rows) - 2].value = (uintptr_t)hole + 16;
	rows[ARRAY_SIZE(rows) - 1].value = (uintptr_t)hole;
	ASSERT_EQ(0, add_mock(self, PAGE / 2));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	check_rows(_metadata, self, VFIO_IOMMU_MAP_DMA, good, rows,
		   ARRAY_SIZE(rows));
	EXPECT_TRUE(only_has(self, ALL_PAGES));
	EXPECT_EQ(0, ioctl(self->fd, VFIO_IOMMU_MAP_DMA, &good));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[0].hwpt,
				    good.map.iova, self->buf, LENGTH));
}

/*
 * In both versions. Once the arguments are valid for UNMAP, the size is set to
 * the number of bytes unmapped.
 */
TEST_F(container, unmap_dma_errors)
{
	const union cmd good = { .unmap = {
		.argsz = sizeof(good.unmap),
		.iova = START,
		.size = LENGTH,
	} };
	struct row rows[] = {
		{ EFAULT, { NO_STRUCTURE } },
		{ EINVAL, SET_UNMAP(argsz, 0) },
		{ EINVAL, SET_UNMAP(argsz, sizeof(good.unmap) - 1) },
		{ EINVAL, SET_UNMAP(flags,
				    VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) },
		{ EINVAL, SET_UNMAP(flags, VFIO_DMA_UNMAP_FLAG_VADDR) },
		{ EINVAL, SET_UNMAP(flags, 1U << 31) },
		{ ENODEV, { NO_IOAS } },
		/* Together with an IOVA and a size */
		{ EINVAL, SET_UNMAP(flags, VFIO_DMA_UNMAP_FLAG_ALL) },
		{ EOVERFLOW, SET_UNMAP(iova, MAX), true },
		{ EOVERFLOW, SET_UNMAP(size, MAX), true },
		{ EINVAL, SET_UNMAP(size, 0), true },
		{ EOVERFLOW, SET_UNMAP(iova, -PAGE), true },
		{ ENOENT, SET_UNMAP(iova, START + PAGE), true },
	};
	/* A size without an IOVA, which is 0 */
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
		.size = LENGTH,
	};
	int version;

	hole = make_hole();
	for (version = 2; version; version--) {
		if (version == 1) {
			ASSERT_EQ(0, set_type1(self->fd));
			/*
			 * In version 1 this cuts the area, here not at a page
			 * boundary
			 */
			rows[ARRAY_SIZE(rows) - 1] = (struct row){
				EINVAL, SET_UNMAP(iova, START + 1),
			};
		}
		ASSERT_EQ(0, add_mock(self, PAGE / 2));
		ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
		check_rows(_metadata, self, VFIO_IOMMU_UNMAP_DMA, good, rows,
			   ARRAY_SIZE(rows));
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA,
					   &all));
		EXPECT_EQ(LENGTH, all.size);
		EXPECT_TRUE(only_has(self, ALL_PAGES));
		EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, NULL));
		EXPECT_EQ(0, remove_mock(self));
	}
}

/* The unmap is complete before the answer is written */
TEST_F(container, unmap_dma_without_answer)
{
	struct vfio_iommu_type1_dma_unmap *cmd = memory(PAGE, MAP_PRIVATE);

	ASSERT_EQ(0, add_mock(self, PAGE));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	*cmd = (struct vfio_iommu_type1_dma_unmap){
		.argsz = sizeof(*cmd), .iova = START, .size = LENGTH,
	};
	ASSERT_EQ(0, mprotect(cmd, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, cmd));
	EXPECT_TRUE(only_has(self, 0));
}

/* More than 4 GiB at once. Without a page table the memory need not exist. */
TEST_F(container, lengths_have_64_bits)
{
	const __u64 length = (1ULL << 32) + PAGE;
	__u64 unmapped;

	ASSERT_EQ(0, map_dma(self->fd, self->buf, length, START));
	EXPECT_ERRNO(ENOENT, unmap_dma(self->fd, START, PAGE, NULL));
	EXPECT_EQ(0, unmap_dma(self->fd, START, length, &unmapped));
	EXPECT_EQ(length, unmapped);
}

/* Mappings for one direction, by the flags of the container */
TEST_F(container, map_dma_directions)
{
	struct vfio_iommu_type1_dma_map cmd = {
		.argsz = sizeof(cmd) + 100,
		.vaddr = (uintptr_t)self->buf,
		.iova = START,
		.size = PAGE,
	};
	struct mock *mock = &self->mocks[0];
	char byte;

	ASSERT_EQ(0, add_mock(self, PAGE));
	for (cmd.flags = VFIO_DMA_MAP_FLAG_READ;
	     cmd.flags <= (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	     cmd.flags++) {
		ASSERT_EQ(0, ioctl(self->fd, VFIO_IOMMU_MAP_DMA, &cmd));
		byte = *self->buf;
		EXPECT_EQ(cmd.flags & VFIO_DMA_MAP_FLAG_WRITE ? 0 : -1,
			  mock_dma(self->fd, mock->stdev, START, &byte, 1,
				   MOCK_ACCESS_RW_WRITE));
		EXPECT_EQ(cmd.flags & VFIO_DMA_MAP_FLAG_READ ? 0 : -1,
			  mock_dma(self->fd, mock->stdev, START, &byte, 1, 0));
		ASSERT_EQ(0, UNMAP_DMA(0, 1, NULL));
	}
}

/*
 * UNMAP_DMA
 */

/* Unmapping nothing succeeds, unlike IOMMU_IOAS_UNMAP (trap I1) */
TEST_F(container, unmap_of_nothing_is_0)
{
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all), .flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};
	__u64 unmapped;
	int version;

	for (version = 2; version; version--) {
		ASSERT_EQ(0, version == 2 ? 0 : set_type1(self->fd));
		EXPECT_EQ(0, UNMAP_DMA(0, 4, &unmapped));
		EXPECT_EQ(0, unmapped);
		EXPECT_ERRNO(ENOENT, unmap(self->fd, self->ioas, START, PAGE,
					   NULL));
		EXPECT_EQ(0, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &all));
		EXPECT_EQ(0, all.size);
		/* Ranges beside, between and around the mappings */
		ASSERT_EQ(0, MAP_DMA(1, 2));
		ASSERT_EQ(0, MAP_DMA(5, 1));
		EXPECT_EQ(0, UNMAP_DMA(0, 1, &unmapped));
		EXPECT_EQ(0, unmapped);
		EXPECT_EQ(0, UNMAP_DMA(3, 2, &unmapped));
		EXPECT_EQ(0, unmapped);
		EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, &unmapped));
		EXPECT_EQ(3 * PAGE, unmapped);
		ASSERT_EQ(0, MAP_DMA(0, 1));
		ASSERT_EQ(0, MAP_DMA(6, 2));
		EXPECT_EQ(0, ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &all));
		EXPECT_EQ(3 * PAGE, all.size);
		all.size = 0;
	}
}

/*
 * Version 2 unmaps whole areas. If it fails, the size says what was unmapped
 * (trap I2).
 */
TEST_F(container, version_2_does_not_cut)
{
	__u64 unmapped;

	ASSERT_EQ(0, add_mock(self, PAGE | SZ_2M));
	ASSERT_EQ(0, SET_IOMMU(VFIO_TYPE1v2_IOMMU));
	ASSERT_EQ(0, MAP_DMA(0, 3));
	ASSERT_EQ(0, MAP_DMA(3, 5));
	EXPECT_ERRNO(ENOENT, UNMAP_DMA(1, 2, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_ERRNO(ENOENT, UNMAP_DMA(0, 2, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_ERRNO(ENOENT, UNMAP_DMA(1, 7, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_TRUE(only_has(self, ALL_PAGES));
	EXPECT_ERRNO(ENOENT, UNMAP_DMA(0, 7, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
	EXPECT_TRUE(only_has(self, pages_in(3, 5)));
}

/* More areas than an unmap takes out at once */
#define MANY_AREAS 100

/*
 * An access does not unpin a page of one area. Areas unmapped before that are
 * gone, and the size says how much (trap I2).
 */
TEST_F(container, bytes_are_told_of_an_unmap_that_fails)
{
	static const int held[] = { 0, 1, 31, 32, 33, 70, 99 };
	__u64 unmapped;
	int access, i, h, version;
	__u32 item;

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, add_mock(self, PAGE));
	for (h = 0; h < 2 * ARRAY_SIZE(held); h++) {
		__u64 there = AT(held[h / 2]), left = 0;

		version = 2 - h % 2;
		ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES,
					self->ioas, version - 1));
		for (i = 0; i < MANY_AREAS; i++)
			ASSERT_EQ(0, map_dma(self->fd, self->buf, PAGE,
					     AT(i)));
		ASSERT_EQ(0, access_set(self->fd, access,
					MOCK_ACCESS_NEVER_UNPINS, 0));
		ASSERT_EQ(0, access_pin(self->fd, access, there, NULL, PAGE, 0,
					&item));
		EXPECT_ERRNO(EDEADLOCK, unmap_dma(self->fd, START,
						  MANY_AREAS * PAGE,
						  &unmapped));
		for (i = 0; i < MANY_AREAS; i++)
			if (is_mapped(self, &self->mocks[0], AT(i)))
				left += PAGE;
		EXPECT_EQ(MANY_AREAS * PAGE - left, unmapped);
		EXPECT_LE(unmapped, there - START);
		if (held[h / 2] >= 70)
			EXPECT_LT(0, unmapped);
		EXPECT_TRUE(is_mapped(self, &self->mocks[0], there));

		ASSERT_EQ(0, access_set(self->fd, access, 0, 0));
		EXPECT_EQ(0, unmap_dma(self->fd, START, MANY_AREAS * PAGE,
				       &unmapped));
		EXPECT_EQ(left, unmapped);
	}
	close(access);
}

/* At both ends of the IOVA space (trap I6) */
TEST_F(container, ends_of_the_space)
{
	__u64 unmapped;
	int version;

	for (version = 2; version; version--) {
		ASSERT_EQ(0, version == 2 ? 0 : set_type1(self->fd));
		ASSERT_EQ(0, map_dma(self->fd, self->buf, LENGTH, 0));
		ASSERT_EQ(0, map_dma(self->fd, self->buf, LENGTH,
				     -LENGTH - PAGE));
		EXPECT_ERRNO(EINVAL, unmap_dma(self->fd, 0, 0, NULL));
		EXPECT_ERRNO(EINVAL, unmap_dma(self->fd, -PAGE, 0, NULL));
		EXPECT_ERRNO(EOVERFLOW, unmap_dma(self->fd, -PAGE, PAGE + 1,
						  NULL));
		EXPECT_ERRNO(EOVERFLOW, unmap_dma(self->fd, PAGE, MAX - PAGE + 2,
						  NULL));
		EXPECT_EQ(0, unmap_dma(self->fd, -PAGE, PAGE, &unmapped));
		EXPECT_EQ(0, unmapped);
		if (version == 1) {
			EXPECT_EQ(0, unmap_dma(self->fd, 0, PAGE, &unmapped));
			EXPECT_EQ(PAGE, unmapped);
			EXPECT_EQ(0, unmap_dma(self->fd, -3 * PAGE, 3 * PAGE,
					       &unmapped));
			EXPECT_EQ(2 * PAGE, unmapped);
			EXPECT_EQ(0, unmap_dma(self->fd, -4 * PAGE, 2 * PAGE,
					       &unmapped));
			EXPECT_EQ(PAGE, unmapped);
			EXPECT_EQ(0, unmap_dma(self->fd, 2 * PAGE,
					       MAX - 2 * PAGE, &unmapped));
			EXPECT_EQ((NR_PAGES - 2 + NR_PAGES - 3) * PAGE,
				  unmapped);
			EXPECT_EQ(0, unmap_dma(self->fd, 0, MAX - 1,
					       &unmapped));
			EXPECT_EQ(PAGE, unmapped);
		} else {
			EXPECT_ERRNO(ENOENT, unmap_dma(self->fd, 0, PAGE,
						       NULL));
			EXPECT_EQ(0, unmap_dma(self->fd, 0, MAX - 1,
					       &unmapped));
			EXPECT_EQ(2 * LENGTH, unmapped);
		}
	}
}

/*
 * GET_INFO
 */

#define INFO_CAPS 24	/* offset of the first capability */
#define INFO_MIGRATION 40	/* of the second */
#define INFO_IOVAS 72	/* of the third */
#define INFO_RANGES 88
#define INFO_MAX 512

static void put32(unsigned char *info, int at, __u32 value)
{
	memcpy(info + at, &value, sizeof(value));
}

static void put64(unsigned char *info, int at, __u64 value)
{
	memcpy(info + at, &value, sizeof(value));
}

/*
 * The expected contents, byte by byte; what the kernel does not write is POISON
 */
static void expected_info(unsigned char *info, __u32 argsz, __u64 page_sizes,
			  const struct iommu_iova_range *ranges, __u32 nr)
{
	__u32 need = INFO_RANGES + nr * 16, i;
	unsigned char full[INFO_MAX + 64] = {};

	put32(full, 0, need);
	put32(full, 4, VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS);
	put64(full, 8, page_sizes);
	if (argsz >= need)
		put32(full, 16, INFO_CAPS);
	/*
	 * A header is the id and version, 16 bits each, and the offset of the
	 * next one
	 */
	put32(full, INFO_CAPS, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL | 1 << 16);
	put32(full, INFO_CAPS + 4, INFO_MIGRATION);
	put32(full, INFO_CAPS + 8, ~0U);
	put32(full, INFO_MIGRATION,
	      VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION | 1 << 16);
	put32(full, INFO_MIGRATION + 4, INFO_IOVAS);
	put64(full, INFO_MIGRATION + 16, PAGE);
	put64(full, INFO_MIGRATION + 24, 1UL << 28);
	put32(full, INFO_IOVAS,
	      VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE | 1 << 16);
	put32(full, INFO_IOVAS + 8, nr);
	for (i = 0; i < nr; i++) {
		put64(full, INFO_RANGES + i * 16, ranges[i].start);
		put64(full, INFO_RANGES + i * 16 + 8, ranges[i].last);
	}

	memset(info, POISON, INFO_MAX + 64);
	if (argsz < need)
		memcpy(info, full, argsz < INFO_CAPS ? argsz : INFO_CAPS);
	else
		memcpy(info, full, need);
}

static void check_info(struct __test_metadata *_metadata,
		       struct _test_data_container *self, __u64 page_sizes,
		       __u32 nr)
{
	unsigned char info[INFO_MAX + 64], expected[INFO_MAX + 64];
	struct iommu_iova_range ranges[32];
	__u32 nr_ranges = 32, argsz;

	ASSERT_EQ(0, iova_ranges(self->fd, self->ioas, ranges, &nr_ranges,
				 NULL));
	ASSERT_EQ(nr, nr_ranges);
	ASSERT_GT(INFO_MAX, INFO_RANGES + nr * 16);
	for (argsz = 0; argsz <= INFO_MAX; argsz++) {
		memset(info, POISON, sizeof(info));
		if (argsz < 16) {
			ASSERT_ERRNO(EINVAL, get_info(self->fd, info, argsz));
			ASSERT_TRUE(is_byte(info + 4, sizeof(info) - 4,
					    POISON));
			continue;
		}
		leave_garbage(INFO_RANGES + nr * 16 - INFO_CAPS);
		ASSERT_EQ(0, get_info(self->fd, info, argsz));
		expected_info(expected, argsz, page_sizes, ranges, nr);
		ASSERT_EQ(0, memcmp(info, expected, sizeof(info))) {
			TH_LOG("argsz %u", argsz);
		}
	}
}

/*
 * The kernel writes nothing beyond argsz and no stale data. Capabilities are
 * aligned, and complete or absent (traps I3, I4).
 */
TEST_F(container, get_info_at_each_length)
{
	struct iommu_test_mock_region regions[] = {
		{ START + 0x100000, PAGE, MOCK_REGION_MSI },
		{ START + 0x200000, PAGE, MOCK_REGION_RESERVED },
		{ START + 0x300000, 16 * PAGE, MOCK_REGION_RESERVED },
		{ START + 0x400000, PAGE, MOCK_REGION_RESERVED },
	};
	struct mock mock;
	int i;

	check_info(_metadata, self, -PAGE, 1);
	/* Page sizes below that of the CPU are not reported */
	ASSERT_EQ(0, add_mock(self, PAGE / 2));
	check_info(_metadata, self, PAGE, 1);
	ASSERT_EQ(0, remove_mock(self));
	ASSERT_EQ(0, add_mock(self, PAGE | SZ_2M | 512 * SZ_2M));
	check_info(_metadata, self, PAGE | SZ_2M | 512 * SZ_2M, 1);
	/*
	 * Page sizes that all page tables have; ranges that no device reserves
	 */
	ASSERT_EQ(0, mock_device(self->fd, self->ioas,
				 &MOCK_CONFIG(.unit = 7,
					.page_sizes = PAGE | SZ_2M,
					.nr_regions = ARRAY_SIZE(regions),
					.regions = (uintptr_t)regions),
				 &mock));
	check_info(_metadata, self, PAGE | SZ_2M, 5);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, mock_reserve(self->fd, self->ioas,
					  START + 0x1000000 + i * 2 * PAGE,
					  PAGE));
	check_info(_metadata, self, PAGE | SZ_2M, 25);
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	check_info(_metadata, self, PAGE | SZ_2M | 512 * SZ_2M, 21);
}

TEST_F(container, get_info_errors)
{
	char *page = memory(2 * PAGE, MAP_PRIVATE), *end = page + PAGE;

	ASSERT_EQ(0, munmap(end, PAGE));
	ASSERT_EQ(0, clear_container(self->fd));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_GET_INFO, NULL));
	EXPECT_ERRNO(EFAULT, get_info(self->fd, end - 15, 0));
	EXPECT_ERRNO(EINVAL, get_info(self->fd, page, 15));
	EXPECT_ERRNO(ENODEV, get_info(self->fd, page, 16));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	EXPECT_EQ(0, get_info(self->fd, end - 16, 16));
	/* argsz is more than the memory there */
	EXPECT_ERRNO(EFAULT, get_info(self->fd, end - 16, 20));
	EXPECT_ERRNO(EFAULT, get_info(self->fd, end - INFO_CAPS, INFO_MAX));
	get_info(self->fd, page, 15);
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, VFIO_IOMMU_GET_INFO, page));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, get_info(self->fd, page, INFO_MAX));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, VFIO_IOMMU_GET_INFO, page));
}

/* Charges */

static int become_charged(long kb)
{
	struct rlimit limit = { kb * 1024, kb * 1024 };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ||
	       setresuid(NOBODY, NOBODY, NOBODY);
}

/* Is so much charged, in KiB, more than at the start? */
static bool charges_are(struct _test_data_container *self, long pinned,
			long locked)
{
	return status_kb("VmPin") == self->pinned + pinned &&
	       status_kb("VmLck") == self->locked + locked;
}

static void check_charges(struct __test_metadata *_metadata,
			  struct _test_data_container *self, bool by_mm)
{
	const long limit = NR_PAGES * PAGE_KB;
	char *second = memory(LENGTH, MAP_SHARED);

	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				0));
	ASSERT_EQ(0, add_mock(self, PAGE));
	ASSERT_EQ(0, become_charged(limit));
	/* The limit is exact to a page */
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES - 1));
	EXPECT_TRUE(charges_are(self, limit - PAGE_KB, limit - PAGE_KB));
	EXPECT_ERRNO(ENOMEM, map_dma(self->fd, second, 2 * PAGE,
				     START + LENGTH));
	EXPECT_TRUE(charges_are(self, limit - PAGE_KB, limit - PAGE_KB));
	EXPECT_EQ(0, map_dma(self->fd, second, PAGE, START + LENGTH));
	EXPECT_TRUE(charges_are(self, limit, limit));
	EXPECT_ERRNO(ENOMEM, map_dma(self->fd, second, PAGE,
				     START + LENGTH + PAGE));
	/*
	 * IOMMU_IOAS_MAP is charged as the option says: to this limit or
	 * another one
	 */
	if (by_mm) {
		EXPECT_ERRNO(ENOMEM, map_at(self->fd, self->ioas,
					    (uintptr_t)second, PAGE,
					    START + 2 * LENGTH));
	} else {
		EXPECT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)second,
				    LENGTH, START + 2 * LENGTH));
		EXPECT_TRUE(charges_are(self, 2 * limit, limit));
		EXPECT_ERRNO(ENOMEM, map_at(self->fd, self->ioas,
					    (uintptr_t)second, PAGE, AT(100)));
		EXPECT_EQ(0, unmap(self->fd, self->ioas, START + 2 * LENGTH,
				   LENGTH, NULL));
	}
	EXPECT_TRUE(charges_are(self, limit, limit));
	/* What is cut off is no longer charged */
	EXPECT_EQ(0, UNMAP_DMA(2, 2, NULL));
	EXPECT_TRUE(charges_are(self, limit - 2 * PAGE_KB,
				limit - 2 * PAGE_KB));
	EXPECT_ERRNO(ENOMEM, map_dma(self->fd, second, 3 * PAGE,
				     START + 2 * LENGTH));
	EXPECT_EQ(0, MAP_DMA(2, 2));
	EXPECT_TRUE(charges_are(self, limit, limit));
	/* A copy is not charged again */
	EXPECT_EQ(0, copy_at(self->fd, self->other, self->ioas, MAP_RW,
			     LENGTH - PAGE, START, START));
	EXPECT_TRUE(charges_are(self, limit, limit));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_TRUE(charges_are(self, 0, 0));
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	EXPECT_TRUE(charges_are(self, 0, 0));
}

/* By address space whatever the option says, as in type1 (trap I8) */
TEST_F(container, map_dma_is_charged_by_address_space)
{
	check_charges(_metadata, self, false);
}

TEST_F(container, map_dma_is_charged_by_address_space_as_map_is)
{
	close(self->fd);
	self->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	ASSERT_EQ(0, set_container(self->fd, self->ioas));
	check_charges(_metadata, self, true);
}

/* /dev/vfio/vfio charges by address space, as type1 does; /dev/iommu does not */
TEST_F(container, path_decides_who_is_charged)
{
	int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), ret;
	__u64 by_mm = 7;

	ASSERT_LE(0, fd);
	ret = option(fd, IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_GET, 0,
		     &by_mm);
	/* In some kernels the path is not iommufd's, and has no such option */
	EXPECT_TRUE(ret ? errno == EINVAL : by_mm == 1);
	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_RLIMIT_MODE,
			    IOMMU_OPTION_OP_GET, 0, &by_mm));
	EXPECT_EQ(0, by_mm);
	close(fd);
}

/*
 * Cuts
 */

/* Version 1 with various page tables */
FIXTURE(cut)
{
	struct _test_data_container container;
};

FIXTURE_VARIANT(cut)
{
	int nr_mocks;
	__u64 page_sizes;
};

FIXTURE_VARIANT_ADD(cut, no_table) {};
FIXTURE_VARIANT_ADD(cut, half_pages) { 1, MOCK_PAGE };
FIXTURE_VARIANT_ADD(cut, large_pages) { 1, PAGE | SZ_2M };
FIXTURE_VARIANT_ADD(cut, two_tables) { 2, PAGE };

FIXTURE_SETUP(cut)
{
	int i;

	set_up(_metadata, &self->container);
	ASSERT_EQ(0, set_type1(self->container.fd));
	for (i = 0; i < variant->nr_mocks; i++)
		ASSERT_EQ(0, add_mock(&self->container, variant->page_sizes));
}

FIXTURE_TEARDOWN(cut)
{
	tear_down(_metadata, &self->container);
}

#define TEST_CUT(_name)                                                        \
	static void check_##_name(struct __test_metadata *_metadata,           \
				  struct _test_data_container *self);          \
	TEST_F_TIMEOUT(cut, _name, 120)                                        \
	{                                                                      \
		check_##_name(_metadata, &self->container);                    \
	}                                                                      \
	static void check_##_name(struct __test_metadata *_metadata,           \
				  struct _test_data_container *self)

/* Unmap any run of pages of an area: the others stay mapped */
TEST_CUT(any_pages)
{
	__u64 unmapped;
	int first, nr;

	for (first = 0; first < NR_PAGES; first++) {
		for (nr = 1; first + nr <= NR_PAGES; nr++) {
			ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
			ASSERT_EQ(0, UNMAP_DMA(first, nr, &unmapped));
			ASSERT_EQ(nr * PAGE, unmapped);
			ASSERT_TRUE(only_has(self, ALL_PAGES &
						   ~pages_in(first, nr)));
			/* The range can be mapped again */
			ASSERT_EQ(0, MAP_DMA(first, nr));
			ASSERT_TRUE(only_has(self, ALL_PAGES));
			ASSERT_EQ(0, unmap(self->fd, self->ioas, START, LENGTH,
					   &unmapped));
			ASSERT_EQ(LENGTH, unmapped);
			ASSERT_TRUE(only_has(self, 0));
		}
	}
}

/* A cut that is not at a page boundary fails and changes nothing (trap I6) */
TEST_CUT(misaligned_is_EINVAL)
{
	__u64 unmapped;
	int i;

	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	for (i = 1; i < PAGE; i *= 2) {
		ASSERT_ERRNO(EINVAL, unmap_dma(self->fd, AT(1) + i, PAGE,
					       &unmapped));
		ASSERT_EQ(PAGE, unmapped);
		ASSERT_ERRNO(EINVAL, unmap_dma(self->fd, START, PAGE + i,
					       &unmapped));
		ASSERT_EQ(PAGE + i, unmapped);
		/* One end is at a page boundary; the area may be cut there */
		ASSERT_ERRNO(EINVAL, unmap_dma(self->fd, AT(1), PAGE - i,
					       &unmapped));
		ASSERT_EQ(PAGE - i, unmapped);
		ASSERT_TRUE(only_has(self, ALL_PAGES));
	}
	/* The range includes the whole area, so nothing is cut */
	EXPECT_EQ(0, unmap_dma(self->fd, START - 1, LENGTH + 2, &unmapped));
	EXPECT_EQ(LENGTH, unmapped);
}

/* Nor can an area be cut if an access has pinned a page of it (trap I6) */
TEST_CUT(pinned_is_EINVAL)
{
	__u64 unmapped;
	int access, i;
	__u32 item;

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, MAP_DMA(0, 4));
	ASSERT_EQ(0, MAP_DMA(4, 4));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, access_pin(self->fd, access, AT(i),
					self->buf + i * PAGE, PAGE, 0, &item));
		EXPECT_ERRNO(EINVAL, UNMAP_DMA(1, 2, &unmapped));
		EXPECT_EQ(2 * PAGE, unmapped);
		EXPECT_ERRNO(EINVAL, UNMAP_DMA(2, 6, &unmapped));
		EXPECT_EQ(6 * PAGE, unmapped);
		EXPECT_ERRNO(EINVAL, UNMAP_DMA(0, 1, &unmapped));
		EXPECT_EQ(PAGE, unmapped);
		EXPECT_EQ(0, access_unpin(self->fd, access, item));
		EXPECT_TRUE(only_has(self, ALL_PAGES));
	}
	/*
	 * The neighbour can be cut. To unmap the whole area, the kernel asks
	 * the access to unpin.
	 */
	ASSERT_EQ(0, access_pin(self->fd, access, AT(2), self->buf + 2 * PAGE,
				PAGE, 0, &item));
	EXPECT_EQ(0, UNMAP_DMA(5, 2, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
	EXPECT_EQ(0, UNMAP_DMA(0, 4, &unmapped));
	EXPECT_EQ(4 * PAGE, unmapped);
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, item));
	EXPECT_TRUE(only_has(self, 1 << 4 | 1 << 7));
	/* A part can be pinned like any area */
	EXPECT_EQ(0, access_pin(self->fd, access, AT(7), self->buf + 7 * PAGE,
				PAGE, 0, &item));
	EXPECT_EQ(0, UNMAP_DMA(4, 4, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
	EXPECT_TRUE(only_has(self, 0));
	close(access);
}

static const int orders[6][3] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 },
	{ 2, 1, 0 },
};

/*
 * Unmap one page of four, then the others in this order. A device is added at
 * one step and removed at another.
 */
static void check_rest(struct __test_metadata *_metadata,
		       struct _test_data_container *self, int cut,
		       const int *order, int comes, int goes)
{
	unsigned int left = pages_in(0, 4);
	__u64 unmapped;
	int i, page;

	ASSERT_EQ(0, MAP_DMA(0, 4));
	for (i = 0; i < 4; i++) {
		/* One of the three others */
		page = i ? (order[i - 1] + cut + 1) % 4 : cut;
		ASSERT_EQ(0, UNMAP_DMA(page, 1, &unmapped));
		ASSERT_EQ(PAGE, unmapped);
		left &= ~(1U << page);
		ASSERT_TRUE(only_has(self, left));
		if (i == comes) {
			ASSERT_EQ(0, add_mock(self, PAGE));
			ASSERT_TRUE(only_has(self, left));
		}
		if (i == goes) {
			ASSERT_EQ(0, remove_mock(self));
			ASSERT_TRUE(only_has(self, left));
		}
	}
}

/*
 * What is left is mapped in another page table and unmapped from it, in every
 * order (trap A5)
 */
TEST_CUT(rest_in_another_table)
{
	int cut, order, comes, goes;

	for (cut = 0; cut < 4; cut++)
		for (order = 0; order < 6; order++)
			for (comes = 0; comes < 3; comes++)
				for (goes = comes; goes < 4; goes++)
					check_rest(_metadata, self, cut,
						   orders[order], comes, goes);
}

/*
 * Compare random requests with a bitmap of pages, while page tables come and go
 * (traps A5, I6)
 */
TEST_CUT(random_requests)
{
	unsigned int seed = 1, pages = 0, i;
	__u64 unmapped;

	for (i = 0; i < 1500; i++) {
		int first = rand_r(&seed) % NR_PAGES;
		int nr = rand_r(&seed) % (NR_PAGES - first) + 1;
		unsigned int range = pages_in(first, nr);

		switch (rand_r(&seed) % 8) {
		case 0 ... 2:
			if (pages & range) {
				ASSERT_ERRNO(EEXIST, MAP_DMA(first, nr));
				break;
			}
			ASSERT_EQ(0, MAP_DMA(first, nr));
			pages |= range;
			break;
		case 3 ... 5:
			ASSERT_EQ(0, UNMAP_DMA(first, nr, &unmapped));
			ASSERT_EQ(__builtin_popcount(pages & range) * PAGE,
				  unmapped);
			pages &= ~range;
			break;
		case 6:
			if (self->nr_mocks < 4)
				ASSERT_EQ(0, add_mock(self, PAGE));
			break;
		case 7:
			if (self->nr_mocks)
				ASSERT_EQ(0, remove_mock(self));
			break;
		}
		ASSERT_TRUE(only_has(self, pages)) {
			TH_LOG("step %u", i);
		}
	}
}

/* Cut a copy, or what was copied: the other mapping is unchanged */
TEST_CUT(copies)
{
	__u64 unmapped;
	int i;

	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	for (i = 0; i < 2; i++) {
		/* The container's IOAS has the original first, then the copy */
		ASSERT_EQ(0, copy_at(self->fd, i ? self->ioas : self->other,
				     i ? self->other : self->ioas, MAP_RW,
				     LENGTH, START, START));
		EXPECT_EQ(0, UNMAP_DMA(2, 3, &unmapped));
		EXPECT_EQ(3 * PAGE, unmapped);
		/* Still one area */
		EXPECT_ERRNO(ENOENT, unmap(self->fd, self->other, START, PAGE,
					   NULL));
		EXPECT_TRUE(only_has(self, ALL_PAGES & ~pages_in(2, 3)));
		EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, &unmapped));
		EXPECT_EQ(5 * PAGE, unmapped);
	}
	EXPECT_TRUE(only_has(self, 0));
	/* A copy of parts has an area for each part */
	EXPECT_EQ(0, unmap_all(self->fd, self->other, NULL));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	ASSERT_EQ(0, UNMAP_DMA(3, 1, NULL));
	ASSERT_EQ(0, map_dma(self->fd, self->buf + 3 * PAGE, PAGE, AT(3)));
	ASSERT_EQ(0, copy_at(self->fd, self->other, self->ioas, MAP_RW,
			     4 * PAGE, AT(2), AT(2)));
	EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, NULL));
	EXPECT_EQ(0, unmap(self->fd, self->other, AT(2), PAGE, NULL));
	EXPECT_EQ(0, unmap(self->fd, self->other, AT(3), PAGE, NULL));
	EXPECT_EQ(0, unmap(self->fd, self->other, AT(4), 2 * PAGE, NULL));
	EXPECT_TRUE(only_has(self, 0));
}

/* Each part has a reference to the file; the last one closes it */
TEST_CUT(file)
{
	int file = memfd_create("container", 0), second;
	char path[64];

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, LENGTH));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	second = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, second);
	ASSERT_EQ(0, munmap(self->buf, LENGTH));
	ASSERT_TRUE(self->buf == mmap(self->buf, LENGTH,
				      PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, second, 0));
	fill_bytes(self->buf, LENGTH, 3);
	self->is_file = true;
	/* The lock is held until the last reference to the file is dropped */
	ASSERT_EQ(0, flock(file, LOCK_EX | LOCK_NB));
	ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW, file, 0, LENGTH,
				 START));
	close(file);
	EXPECT_EQ(0, UNMAP_DMA(3, 2, NULL));
	EXPECT_TRUE(only_has(self, ALL_PAGES & ~pages_in(3, 2)));
	EXPECT_EQ(0, UNMAP_DMA(0, 1, NULL));
	EXPECT_EQ(0, UNMAP_DMA(6, 2, NULL));
	EXPECT_TRUE(only_has(self, pages_in(1, 2) | pages_in(5, 1)));
	EXPECT_EQ(0, UNMAP_DMA(1, 2, NULL));
	EXPECT_ERRNO(EWOULDBLOCK, flock(second, LOCK_EX | LOCK_NB));
	EXPECT_EQ(0, UNMAP_DMA(5, 1, NULL));
	EXPECT_EQ(0, flock(second, LOCK_EX | LOCK_NB));
	close(second);
}

static int set_max_areas(const char *value, char *old, size_t size)
{
	int fd = open("/sys/module/iommufd/parameters/max_areas", O_RDWR);
	int ret;

	if (old) {
		memset(old, 0, size);
		if (read(fd, old, size - 1) < 1)
			return -1;
	}
	ret = pwrite(fd, value, strlen(value), 0) < 0;
	close(fd);
	return ret;
}

/* A cut adds an area. At the limit it fails, and changes nothing. */
TEST_CUT(too_many_areas_is_ENOSPC)
{
	__u64 unmapped;
	char old[32];

	ASSERT_EQ(0, set_max_areas("2", old, sizeof(old)));
	EXPECT_EQ(0, MAP_DMA(0, 4));
	EXPECT_EQ(0, MAP_DMA(4, 4));
	EXPECT_ERRNO(ENOSPC, UNMAP_DMA(0, 1, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_ERRNO(ENOSPC, UNMAP_DMA(1, 3, &unmapped));
	EXPECT_EQ(3 * PAGE, unmapped);
	EXPECT_TRUE(only_has(self, ALL_PAGES));
	/* Both areas are still whole */
	EXPECT_ERRNO(ENOENT, unmap(self->fd, self->ioas, START, PAGE, NULL));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, 4 * PAGE, NULL));
	/*
	 * One more area is allowed: enough to cut at an end, not in the middle
	 */
	EXPECT_ERRNO(ENOSPC, UNMAP_DMA(5, 1, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_TRUE(only_has(self, pages_in(4, 4)));
	EXPECT_EQ(0, UNMAP_DMA(4, 1, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_EQ(0, UNMAP_DMA(7, 1, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	EXPECT_TRUE(only_has(self, pages_in(5, 2)));
	EXPECT_EQ(0, UNMAP_DMA(0, NR_PAGES, &unmapped));
	EXPECT_EQ(2 * PAGE, unmapped);
	EXPECT_EQ(0, set_max_areas(old, NULL, 0));
}

/* A cut adds an area, which counts for each page table that the program made */
TEST_F(container, cut_counts_for_each_table)
{
	struct mock mock;
	__u32 hwpts[2];
	char old[32];
	int i;

	ASSERT_EQ(0, set_type1(self->fd));
	ASSERT_EQ(0, mock_device(self->fd, 0, &MOCK_CONFIG(.page_sizes = PAGE),
				 &mock));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, alloc_hwpt(self->fd, mock.idev, self->ioas,
					&hwpts[i]));
	ASSERT_EQ(0, MAP_DMA(0, 2));
	ASSERT_EQ(0, set_max_areas("3", old, sizeof(old)));
	EXPECT_ERRNO(ENOSPC, UNMAP_DMA(0, 1, NULL));
	ASSERT_EQ(0, set_max_areas("4", NULL, 0));
	/* What is unmapped does not count any more, for either */
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, UNMAP_DMA(0, 1, NULL));
		EXPECT_EQ(0, MAP_DMA(0, 1));
		EXPECT_ERRNO(ENOSPC, MAP_DMA(2, 1));
	}
	EXPECT_EQ(0, destroy(self->fd, hwpts[0]));
	EXPECT_EQ(0, MAP_DMA(2, 1));
	EXPECT_EQ(0, MAP_DMA(3, 1));
	EXPECT_ERRNO(ENOSPC, MAP_DMA(4, 1));
	EXPECT_EQ(0, set_max_areas(old, NULL, 0));
}

/* The parts of an area have its directions, also in another page table */
TEST_F(container, cut_keeps_the_directions)
{
	char byte = 1;
	int reads, page;

	ASSERT_EQ(0, set_type1(self->fd));
	for (reads = 0; reads < 2; reads++) {
		__u64 iova = START;

		ASSERT_EQ(0, map(self->fd, self->ioas, IOMMU_IOAS_MAP_FIXED_IOVA |
				 (reads ? IOMMU_IOAS_MAP_READABLE :
					  IOMMU_IOAS_MAP_WRITEABLE),
				 (uintptr_t)self->buf, 3 * PAGE, &iova));
		ASSERT_EQ(0, UNMAP_DMA(1, 1, NULL));
		ASSERT_EQ(0, add_mock(self, PAGE));
		for (page = 0; page < 3; page += 2) {
			EXPECT_EQ(reads ? 0 : -1,
				  mock_dma(self->fd, self->mocks[0].stdev,
					   AT(page), &byte, 1, 0));
			EXPECT_EQ(reads ? -1 : 0,
				  mock_dma(self->fd, self->mocks[0].stdev,
					   AT(page), &byte, 1,
					   MOCK_ACCESS_RW_WRITE));
		}
		ASSERT_EQ(0, remove_mock(self));
		ASSERT_EQ(0, UNMAP_DMA(0, 3, NULL));
	}
}

struct mapper {
	struct _test_data_container *self;
	char *mem;
	int ret;
};

static void *map_two_pages(void *arg)
{
	struct mapper *me = arg;

	me->ret = map_dma(me->self->fd, me->mem, 2 * PAGE, START);
	return NULL;
}

static void *unmap_two_pages(void *arg)
{
	struct mapper *me = arg;

	me->ret = unmap_dma(me->self->fd, START, 2 * PAGE, NULL);
	return NULL;
}

static void *map_64_pages(void *arg)
{
	struct mapper *me = arg;

	me->ret = map_dma(me->self->fd, me->mem, 64 * PAGE, START);
	return NULL;
}

/* What a MAP has not mapped yet is not dirty when the last page table goes */
TEST_F_TIMEOUT(container, unfinished_map_is_clean, 60)
{
	struct mapper me = { self };
	pthread_t thread;
	__u64 bits = 0;
	int faults;

	me.mem = memory(64 * PAGE, MAP_PRIVATE);
	ASSERT_EQ(0, stall(me.mem, &faults));
	ASSERT_EQ(0, add_mock(self, PAGE));
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, pthread_create(&thread, NULL, map_64_pages, &me));
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, remove_mock(self));
	EXPECT_EQ(0, GET_DIRTY(START, 64, &bits));
	EXPECT_EQ(0, bits);
	ASSERT_EQ(0, let_go(faults, me.mem));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(0, unmap_dma(self->fd, START, 64 * PAGE, NULL));
	close(faults);
}

/* Another thread maps the area, and then another one unmaps it */
TEST_F_TIMEOUT(container, cut_of_a_busy_area_is_EBUSY, 60)
{
	struct mapper me = { self };
	pthread_t thread;
	int faults, access;
	__u64 unmapped;
	__u32 item;

	me.mem = memory(2 * PAGE, MAP_PRIVATE);
	me.mem[PAGE] = 1;
	ASSERT_EQ(0, stall(me.mem, &faults));
	ASSERT_EQ(0, set_type1(self->fd));
	ASSERT_EQ(0, add_mock(self, PAGE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, map_two_pages, &me));
	ASSERT_TRUE(is_touched(faults));
	EXPECT_ERRNO(EBUSY, UNMAP_DMA(1, 1, &unmapped));
	EXPECT_EQ(PAGE, unmapped);
	ASSERT_EQ(0, let_go(faults, me.mem));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(self->pinned + 2 * PAGE_KB, status_kb("VmPin"));

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, access_pin(self->fd, access, START, NULL, PAGE, 0, &item));
	ASSERT_EQ(0, access_set(self->fd, access, 0, 500));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_two_pages, &me));
	poll(NULL, 0, 200);
	EXPECT_ERRNO(EBUSY, UNMAP_DMA(1, 1, &unmapped));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(0, UNMAP_DMA(0, 2, &unmapped));
	EXPECT_EQ(0, unmapped);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	close(access);
	close(faults);
}

struct writer {
	struct _test_data_container *self;
	int access;
	int page;
	__u64 bits;
	int ret;
	atomic_bool done;
};

static void *write_a_byte(void *arg)
{
	struct writer *me = arg;
	char byte = 1;

	me->ret = access_rw(me->self->fd, me->access, AT(me->page), &byte, 1,
			    MOCK_ACCESS_RW_WRITE);
	me->done = true;
	return NULL;
}

static void *get_dirty_in_thread(void *arg)
{
	struct writer *me = arg;
	struct _test_data_container *self = me->self;

	me->ret = GET_DIRTY(START, NR_PAGES, &me->bits);
	me->done = true;
	return NULL;
}

/*
 * A driver writes to a page, and the UNMAP begins before that is recorded. The
 * UNMAP is the last query that can report the page.
 */
TEST_F(container, write_beside_an_unmap_is_dirty)
{
	struct writer me = { self };
	pthread_t thread;
	__u64 unmapped;
	int i;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &me.access));
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("iommufd_dirty_note 20000"));
	for (i = 0; i < 5; i++) {
		__u64 bits = 0;

		ASSERT_EQ(0, MAP_DMA(0, 1));
		me.done = false;
		ASSERT_EQ(0, mock_begin(write_a_byte, &me, &me.done, 1,
					&thread));
		EXPECT_EQ(0, unmap_dirty(self, TELL, START, 1, &bits,
					 &unmapped));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.ret);
		EXPECT_EQ(PAGE, unmapped);
		EXPECT_EQ(1, bits);
	}
	EXPECT_EQ(0, mock_delay(""));
	close(me.access);
}

struct stalled_unmap {
	struct _test_data_container *self;
	__u64 *bits, unmapped;
	int ret;
};

static void *unmap_and_tell(void *arg)
{
	struct stalled_unmap *me = arg;

	me->ret = unmap_dirty(me->self, TELL, START, 2, me->bits,
			      &me->unmapped);
	return NULL;
}

/*
 * An UNMAP waits for its bitmap. Meanwhile the first page table is attached, or
 * another page is mapped. The device can write to it until the UNMAP.
 */
TEST_F_TIMEOUT(container, table_and_map_beside_an_unmap_are_dirty, 60)
{
	int faults, i;

	ASSERT_EQ(0, START_TRACKING());
	for (i = 0; i < 2; i++) {
		struct stalled_unmap me = { self };
		pthread_t thread;

		me.bits = (void *)stalled_page(&faults);
		ASSERT_TRUE(!!me.bits);
		ASSERT_EQ(0, MAP_DMA(0, 2 - i));
		ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_and_tell, &me));
		ASSERT_TRUE(is_touched(faults));
		ASSERT_EQ(0, i ? MAP_DMA(1, 1) : add_mock(self, PAGE));
		ASSERT_EQ(0, let_go(faults, (char *)me.bits));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, me.ret);
		EXPECT_EQ(2 * PAGE, me.unmapped);
		EXPECT_EQ(3, *me.bits);
		close(faults);
	}
}

/* Two writes make the first record at once, and then a query deletes records */
TEST_F(container, records_are_made_and_deleted_at_once)
{
	static const char *const delays[] = {
		"xa_store 20000",	/* the record is made, but not stored */
		"__bitmap_clear 20000",	/* it is read, but not deleted */
	};
	pthread_t thread;
	int i, access;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &access));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	for (i = 0; i < 6; i++) {
		struct writer first = { self, access, 0 };
		struct writer second = { self, access, 1 };
		bool query = i % 2;
		__u64 bits = 0;

		/* STOP deletes the record of the query before */
		if (!query) {
			dirty(self, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP, 0, 0,
			      NULL);
			ASSERT_EQ(0, START_TRACKING());
		}
		ASSERT_EQ(0, mock_begin_delayed(delays[query], query ?
						get_dirty_in_thread :
						write_a_byte, &first,
						&first.done, &thread));
		write_a_byte(&second);
		ASSERT_EQ(0, mock_end(thread));
		EXPECT_EQ(0, first.ret);
		EXPECT_EQ(0, first.bits);
		EXPECT_EQ(0, second.ret);
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(query ? 2 : 3, bits);
	}
	close(access);
}

/*
 * An UNMAP deletes the only record, when a page of another area is recorded at
 * the same place
 */
TEST_F(container, record_beside_an_unmap)
{
	struct writer first = { self, .page = 1 }, second = { self };
	pthread_t thread;
	__u64 bits;
	int i;

	ASSERT_EQ(0, access_create(self->fd, self->ioas, 0, &first.access));
	second.access = first.access;
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, MAP_DMA(0, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, mock_delay(""));
		ASSERT_EQ(0, MAP_DMA(1, 1));
		write_a_byte(&first);
		EXPECT_EQ(0, first.ret);
		ASSERT_EQ(0, mock_delay("iommufd_dirty_note 10000"));
		ASSERT_EQ(0, mock_delay("xa_erase 20000"));
		second.done = false;
		ASSERT_EQ(0, mock_begin(write_a_byte, &second, &second.done, 1,
					&thread));
		EXPECT_EQ(0, unmap_dma(self->fd, AT(1), PAGE, NULL));
		pthread_join(thread, NULL);
		EXPECT_EQ(0, second.ret);
		bits = 0;
		EXPECT_EQ(0, GET_DIRTY(START, NR_PAGES, &bits));
		EXPECT_EQ(1, bits);
		/* Delete the empty record, too */
		dirty(self, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP, 0, 0, NULL);
		ASSERT_EQ(0, START_TRACKING());
	}
	EXPECT_EQ(0, mock_delay(""));
	close(first.access);
}

/* A query searches the pins of an access, which is closed meanwhile */
TEST_F(container, query_beside_a_close)
{
	struct writer me = { self };
	pthread_t thread;
	int access;

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, START_TRACKING());
	ASSERT_EQ(0, mock_begin_delayed("find_pinned 20000",
					get_dirty_in_thread, &me, &me.done,
					&thread));
	close(access);
	EXPECT_EQ(0, mock_end(thread));
	EXPECT_TRUE(me.done);
	EXPECT_EQ(0, me.ret);
	EXPECT_EQ(0, me.bits);
}

/*
 * The process that starts the tracking is killed while pinned pages are recorded:
 * nothing is tracked then
 */
TEST_F(container, killed_start_tracks_nothing)
{
	/* On a busy machine the signal often comes too late */
	const int nr_tries = 200;
	atomic_bool done = false;
	unsigned int nr;
	int i, access;
	__u64 bits;
	__u32 item;
	pid_t pid;

	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, MAP_DMA(0, NR_PAGES));
	for (i = 0; i < 3; i += 2)
		ASSERT_EQ(0, access_pin(self->fd, access, AT(i), NULL, PAGE, 0,
					&item));
	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("iommufd_dirty_note 20000"));
	for (i = 0; i < nr_tries; i++) {
		nr = mock_nr_delayed();
		pid = fork();
		if (!pid) {
			START_TRACKING();
			_exit(0);
		}
		mock_wait_for_calls(nr + 1, &done);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		if (mock_nr_delayed() == nr + 1)
			break;
		/* Both pages were recorded before the signal */
		dirty(self, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP, 0, 0, NULL);
	}
	EXPECT_EQ(0, mock_delay(""));
	ASSERT_GT(nr_tries, i);
	EXPECT_ERRNO(EINVAL, GET_DIRTY(START, NR_PAGES, &bits));
	close(access);
}

/* Cuts around multiples of 2 MiB, where the stored pages are divided */
TEST_CUT(long_area)
{
	static const int pages[] = { 0, 510, 511, 512, 1023, 1024, 1534 };
	const size_t length = 3 * SZ_2M - PAGE;
	const __u64 there = START + SZ_2M;
	char *large = memory(3 * SZ_2M, MAP_SHARED);
	__u64 unmapped, left = length;
	int i, m;

	ASSERT_TRUE(large != MAP_FAILED);
	fill_bytes(large, 3 * SZ_2M, 4);
	/* Begin off a huge page boundary */
	large += PAGE;
	ASSERT_EQ(0, map_dma(self->fd, large, length, there));
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		int next = i + 1 < ARRAY_SIZE(pages) ? pages[i + 1] : 1535;
		__u64 after = (pages[i] + 1) * PAGE;

		EXPECT_EQ(0, unmap_dma(self->fd, there + pages[i] * PAGE, PAGE,
				       &unmapped));
		EXPECT_EQ(PAGE, unmapped);
		left -= unmapped;
		EXPECT_EQ(0, mock_check_refs(self->fd, large + pages[i] * PAGE,
					     PAGE, 0));
		if (next == pages[i] + 1)
			continue;
		for (m = 0; m < self->nr_mocks; m++)
			EXPECT_EQ(0, mock_check_map(self->fd,
						    self->mocks[m].hwpt,
						    there + after,
						    large + after,
						    next * PAGE - after));
		EXPECT_EQ(0, mock_check_refs(self->fd, large + after,
					     next * PAGE - after, !!m));
		if (m)
			EXPECT_EQ(self->pinned + (long)left / 1024,
				  status_kb("VmPin"));
	}
	EXPECT_EQ(0, unmap_dma(self->fd, there, length, &unmapped));
	EXPECT_EQ(left, unmapped);
	EXPECT_TRUE(mock_is_unpinned(large, length));
}

/*
 * Version 1 maps a huge page with small ones and can cut it anywhere; version 2
 * maps it with a large one and does not cut it
 */
TEST_CUT(huge_page)
{
	char *huge = memory(SZ_2M, MAP_SHARED | MAP_HUGETLB);
	static const int pages[] = { 0, 1, 255, 256, 511 };
	const __u64 there = START + SZ_2M;
	__u64 unmapped, left = SZ_2M;
	int i;

	ASSERT_TRUE(huge != MAP_FAILED);
	memset(huge, 1, SZ_2M);
	ASSERT_EQ(0, map_dma(self->fd, huge, SZ_2M, there));
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		EXPECT_EQ(0, unmap_dma(self->fd, there + pages[i] * PAGE, PAGE,
				       &unmapped));
		EXPECT_EQ(PAGE, unmapped);
		left -= unmapped;
		if (self->nr_mocks)
			EXPECT_EQ(self->pinned + (long)left / 1024,
				  status_kb("VmPin"));
	}
	for (i = 0; i < self->nr_mocks; i++) {
		EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[i].hwpt,
					    there + 2 * PAGE, huge + 2 * PAGE,
					    253 * PAGE));
		EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[i].hwpt,
					    there + 257 * PAGE,
					    huge + 257 * PAGE, 254 * PAGE));
	}
	EXPECT_EQ(0, unmap_dma(self->fd, there, SZ_2M, &unmapped));
	EXPECT_EQ(left, unmapped);

	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_HUGE_PAGES, self->ioas,
				1));
	ASSERT_EQ(0, map_dma(self->fd, huge, SZ_2M, there));
	EXPECT_ERRNO(ENOENT, unmap_dma(self->fd, there + PAGE, PAGE,
				       &unmapped));
	EXPECT_EQ(0, unmapped);
	for (i = 0; i < self->nr_mocks; i++)
		EXPECT_EQ(0, mock_check_map(self->fd, self->mocks[i].hwpt,
					    there, huge, SZ_2M));
	EXPECT_EQ(0, unmap_dma(self->fd, there, SZ_2M, &unmapped));
	EXPECT_EQ(SZ_2M, unmapped);
}

TEST_HARNESS_MAIN

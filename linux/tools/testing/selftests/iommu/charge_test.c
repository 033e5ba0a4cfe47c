// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory is mapped, and who is charged: holes, read-only mappings,
 * processes that map and exit, files, CHANGE_PROCESS. Uses the mock IOMMU.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "mock_util.h"

#define READ_ONLY (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_FIXED_IOVA)
#define START MOCK_APERTURE_START
#define NR_PAGES 16
#define LENGTH (NR_PAGES * PAGE)
#define NOBODY 65534

FIXTURE(charge)
{
	int fd;
	__u32 ioas;
	struct mock mock;
	char *buf;
	long pinned;
	long locked;
};

FIXTURE_SETUP(charge)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->buf = memory(LENGTH, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill_bytes(self->buf, LENGTH, 0);
	self->pinned = status_kb("VmPin");
	self->locked = status_kb("VmLck");
}

FIXTURE_TEARDOWN(charge)
{
	close(self->fd);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
}

/* The rest of the setup; some cases first choose who is charged */
static int set_up(struct _test_data_charge *self)
{
	return alloc_ioas(self->fd, &self->ioas) ||
	       mock_domain(self->fd, self->ioas, &self->mock);
}

#define MAP(_va, _length)                                                      \
	map_at(self->fd, self->ioas, (uintptr_t)(_va), _length, START)
#define UNMAP_ALL() unmap_all(self->fd, self->ioas, NULL)

static bool nothing_is_left(struct _test_data_charge *self)
{
	return mock_is_unpinned(self->buf, NR_PAGES / 2 * PAGE) &&
	       status_kb("VmPin") == self->pinned &&
	       status_kb("VmLck") == self->locked;
}

/*
 * Memory
 */

/*
 * A hole can't be pinned, and then nothing is, whatever the batch size (trap
 * J2)
 */
TEST_F(charge, holes_are_EFAULT)
{
	static const __u32 limits[] = { 12, 36, MOCK_MEMORY_LIMIT };
	struct mock mock;
	int i;

	ASSERT_EQ(0, set_up(self));
	EXPECT_EQ(0, MAP(self->buf, LENGTH));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, START, self->buf,
				    LENGTH));
	EXPECT_EQ(0, UNMAP_ALL());

	/* The second half of the buffer, and then all of it */
	ASSERT_EQ(0, munmap(self->buf + LENGTH / 2, LENGTH / 2));
	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		ASSERT_EQ(0, mock_memory_limit(self->fd, limits[i]));
		EXPECT_ERRNO(EFAULT, MAP(self->buf, LENGTH));
		EXPECT_ERRNO(EFAULT, MAP(self->buf + PAGE, LENGTH - PAGE));
		EXPECT_TRUE(nothing_is_left(self));
		EXPECT_EQ(0, MAP(self->buf, LENGTH / 2));
		EXPECT_EQ(0, UNMAP_ALL());
	}
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));

	/* Without a page table a hole is detected at the attach */
	ASSERT_EQ(0, destroy(self->fd, self->mock.stdev));
	EXPECT_EQ(0, MAP(self->buf, LENGTH));
	EXPECT_ERRNO(EFAULT, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_TRUE(nothing_is_left(self));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, munmap(self->buf, LENGTH / 2));
	EXPECT_ERRNO(EFAULT, MAP(self->buf, PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* Many pages are pinned with the help of another page, which is freed again */
TEST_F_TIMEOUT(charge, pins_lose_no_page, 120)
{
	const int rounds = 12000;
	char *hole = memory(32 * PAGE, MAP_PRIVATE);
	long before;
	int i;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, munmap(hole, 32 * PAGE));
	before = field_of("/proc/meminfo", "MemFree");
	for (i = 0; i < rounds; i++)
		ASSERT_ERRNO(EFAULT, MAP(hole, 32 * PAGE));
	/* Other memory comes and goes, but not as much */
	EXPECT_GT(rounds * (long)PAGE / 1024 * 2 / 3,
		  before - field_of("/proc/meminfo", "MemFree"));
}

/* Addresses that wrap fail at once, even without a page table (trap A2) */
TEST_F(charge, address_that_wraps_is_EOVERFLOW)
{
	ASSERT_EQ(0, set_up(self));
	EXPECT_ERRNO(EOVERFLOW, MAP(-PAGE, 2 * PAGE));
	EXPECT_ERRNO(EOVERFLOW, MAP(-PAGE, PAGE));
	EXPECT_ERRNO(EFAULT, MAP(-2 * PAGE, PAGE));
	ASSERT_EQ(0, destroy(self->fd, self->mock.stdev));
	EXPECT_ERRNO(EOVERFLOW, MAP(-PAGE, 2 * PAGE));
}

/*
 * A private page that was only read, or is a file's, is replaced before it is
 * pinned. So when the process writes to it, the device sees that.
 */
TEST_F(charge, write_does_not_move_what_is_read_only)
{
	int file = open("/proc/self/exe", O_RDONLY);
	char *pages[2], byte;
	__u64 iova = START;
	int i;

	ASSERT_EQ(0, set_up(self));
	ASSERT_LE(0, file);
	pages[0] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file,
			0);
	ASSERT_NE(MAP_FAILED, pages[0]);
	pages[1] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, pages[1]);
	for (i = 0; i < 2; i++) {
		/* The page that is there does not belong to this process */
		byte = *pages[i];
		ASSERT_EQ(0, map(self->fd, self->ioas, READ_ONLY,
				 (uintptr_t)pages[i], PAGE, &iova));
		*pages[i] = byte + 1;
		EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, iova,
					    pages[i], PAGE));
		EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, iova, &byte,
				      1, 0));
		EXPECT_EQ(*pages[i], byte);
		iova += PAGE;
	}
}

/* The same at the end of a range that begins with shared memory */
TEST_F(charge, write_does_not_move_the_end_of_a_range)
{
	char *pages = memory(2 * PAGE, MAP_SHARED), *end = pages + PAGE, byte;
	int file = memfd_create("end", 0);
	__u64 iova = START;

	ASSERT_EQ(0, set_up(self));
	*pages = 1;
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(end, mmap(end, PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED, file, 0));
	/* Present, so both pages can be pinned at once, but not its own yet */
	byte = *end;
	ASSERT_EQ(0, map(self->fd, self->ioas, READ_ONLY, (uintptr_t)pages,
			 2 * PAGE, &iova));
	*end = byte + 1;
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, iova, pages,
				    2 * PAGE));
	EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, iova + PAGE, &byte, 1,
			      0));
	EXPECT_EQ(*end, byte);
	close(file);
}

/* Memory that the process can't write can be mapped for reading only */
TEST_F(charge, read_only_memory_is_for_reading)
{
	__u64 iova = START;
	char byte, *page;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, mprotect(self->buf, LENGTH, PROT_READ));
	EXPECT_ERRNO(EFAULT, MAP(self->buf, LENGTH));
	EXPECT_TRUE(nothing_is_left(self));
	EXPECT_EQ(0, map(self->fd, self->ioas, READ_ONLY, (uintptr_t)self->buf,
			 LENGTH, &iova));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, LENGTH, 1));
	EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, iova, &byte, 1, 0));
	EXPECT_ERRNO(EPERM, mock_dma(self->fd, self->mock.stdev, iova, &byte, 1,
				     MOCK_ACCESS_RW_WRITE));
	/* One area, half of it read-only */
	EXPECT_EQ(0, UNMAP_ALL());
	ASSERT_EQ(0, mprotect(self->buf + LENGTH / 2, LENGTH / 2,
			      PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, map(self->fd, self->ioas, READ_ONLY, (uintptr_t)self->buf,
			 LENGTH, &iova));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, iova, self->buf,
				    LENGTH));
	EXPECT_ERRNO(EFAULT, map_at(self->fd, self->ioas, (uintptr_t)self->buf,
				    LENGTH, START + LENGTH));
	/* The same for private memory */
	page = memory(PAGE, MAP_PRIVATE);
	*page = 77;
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_ERRNO(EFAULT, MAP(page, PAGE));
	EXPECT_EQ(0, map(self->fd, self->ioas, READ_ONLY, (uintptr_t)page, PAGE,
			 &iova));
	EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, iova, &byte, 1, 0));
	EXPECT_EQ(77, byte);
}

/*
 * Processes
 */

/* A child has the fd and maps memory of its own at the buffer's address */
static pid_t child_maps(struct _test_data_charge *self, int *pipe_fds)
{
	char byte = 0;
	pid_t pid;

	if (pipe(pipe_fds))
		return -1;
	pid = fork();
	if (pid)
		return pid;
	if (mmap(self->buf, LENGTH, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != self->buf)
		_exit(1);
	fill_bytes(self->buf, LENGTH, 5);
	if (MAP(self->buf, LENGTH))
		_exit(2);
	if (write(pipe_fds[1], &byte, 1) != 1)
		_exit(3);
	/* Until the parent kills it */
	pause();
	_exit(0);
}

static bool reads_childs_bytes(struct _test_data_charge *self, __u32 stdev)
{
	unsigned char data[LENGTH];
	size_t i;

	if (mock_dma(self->fd, stdev, START, data, LENGTH, 0))
		return false;
	for (i = 0; i < LENGTH; i++)
		if (data[i] != byte_at(i, 5))
			return false;
	return true;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The process that mapped is alive: its memory is pinned at the attach */
TEST_F(charge, memory_of_a_living_process)
{
	struct mock mock;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	pid = child_maps(self, pipe_fds);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, read(pipe_fds[0], &byte, 1));
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_TRUE(reads_childs_bytes(self, mock.stdev));
	/* The process that attaches is not charged */
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	end_child(pid);
	EXPECT_TRUE(reads_childs_bytes(self, mock.stdev));
	EXPECT_EQ(0, UNMAP_ALL());
}

/*
 * A child maps private memory for reading, and writes to it after its parent has
 * attached a device. The parent has shared memory at that address.
 */
TEST_F(charge, private_memory_of_another_process)
{
	int to_child[2], to_parent[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(to_parent));
	pid = fork();
	if (!pid) {
		__u64 iova = START;

		if (mmap(self->buf, LENGTH, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) != self->buf || *self->buf ||
		    map(self->fd, self->ioas, READ_ONLY, (uintptr_t)self->buf,
			PAGE, &iova) ||
		    write(to_parent[1], "", 1) != 1 ||
		    read(to_child[0], &byte, 1) != 1)
			_exit(1);
		*self->buf = 77;
		if (write(to_parent[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(to_parent[1]);
	ASSERT_EQ(1, read(to_parent[0], &byte, 1));
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &self->mock));
	ASSERT_EQ(1, write(to_child[1], "", 1));
	ASSERT_EQ(1, read(to_parent[0], &byte, 1));
	EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, START, &byte, 1, 0));
	EXPECT_EQ(77, byte);
	EXPECT_EQ(0, UNMAP_ALL());
	end_child(pid);
}

/*
 * The process that mapped is gone: pinned pages stay, others can't be pinned
 * (trap J4)
 */
TEST_F(charge, memory_of_a_dead_process)
{
	struct mock mock;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, set_up(self));
	pid = child_maps(self, pipe_fds);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, read(pipe_fds[0], &byte, 1));
	end_child(pid);
	EXPECT_TRUE(reads_childs_bytes(self, self->mock.stdev));
	EXPECT_EQ(0, mock_device(self->fd, self->ioas, &MOCK_CONFIG(.unit = 1),
				 &mock));
	EXPECT_TRUE(reads_childs_bytes(self, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->mock.stdev));
	EXPECT_TRUE(reads_childs_bytes(self, mock.stdev));
	EXPECT_EQ(0, destroy(self->fd, mock.stdev));
	/* That was the last page table */
	EXPECT_ERRNO(EFAULT, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
}

/*
 * Neither pins nor pins that fail keep the memory of a process: when it is gone,
 * nothing can be pinned
 */
TEST_F(charge, dead_process_is_not_kept)
{
	char *hole = memory(PAGE, MAP_PRIVATE), byte;
	int pipe_fds[2];
	pid_t pid;

	ASSERT_EQ(0, munmap(hole, PAGE));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	if (!pid) {
		if (MAP(self->buf, LENGTH) ||
		    map_at(self->fd, self->ioas, (uintptr_t)hole, PAGE,
			   START + LENGTH) ||
		    write(pipe_fds[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(pipe_fds[0], &byte, 1));
	/* In the hole the kernel looks for memory of a device, too */
	EXPECT_ERRNO(EFAULT, mock_domain(self->fd, self->ioas, &self->mock));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START + LENGTH, PAGE, NULL));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &self->mock));
	EXPECT_EQ(0, destroy(self->fd, self->mock.stdev));
	end_child(pid);
	EXPECT_ERRNO(EFAULT, mock_domain(self->fd, self->ioas, &self->mock));
}

/* The process that attaches takes the page faults of the one that mapped */
TEST_F(charge, page_faults_of_another_process)
{
	struct mock mock;
	int faults, status;
	char *page;
	pid_t pid;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	page = stalled_page(&faults);
	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, MAP(page, PAGE));
	pid = fork();
	if (!pid)
		_exit(mock_domain(self->fd, self->ioas, &mock) ? 1 : 0);
	ASSERT_TRUE(is_touched(faults));
	ASSERT_EQ(0, let_go(faults, page));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mock_check_refs(self->fd, page, PAGE, 1));
	EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_TRUE(mock_is_unpinned(page, PAGE));
	/* Nobody holds the lock of the address space */
	EXPECT_EQ(0, munmap(page, PAGE));
	close(faults);
}

#define LONG_LENGTH (64UL << 20)
#define END (START + LONG_LENGTH)
/* A copy has so many areas */
#define LONG_AREAS 16

enum request {
	MAP_LONG,
	ATTACH_LONG,
	COPY_LONG,
};

static int map_long(int fd, __u32 ioas, const char *large, int nr)
{
	const size_t length = LONG_LENGTH / nr;
	int i;

	for (i = 0; i < nr; i++)
		if (map_at(fd, ioas, (uintptr_t)large + i * length, length,
			   START + i * length))
			return -1;
	return 0;
}

/* All that comes before the request */
static int prepare(int fd, enum request request, __u32 *ids, const char *large)
{
	struct mock mock;

	if (alloc_ioas(fd, &ids[0]) || alloc_ioas(fd, &ids[1]))
		return -1;
	if (request == ATTACH_LONG)
		return map_long(fd, ids[0], large, 1);
	return mock_domain(fd, ids[0], &mock) ||
	       (request == COPY_LONG &&
		map_long(fd, ids[1], large, LONG_AREAS));
}

static int run(int fd, enum request request, const __u32 *ids,
	       const char *large)
{
	struct mock mock;

	switch (request) {
	case MAP_LONG:
		return map_long(fd, ids[0], large, 1);
	case ATTACH_LONG:
		return mock_domain(fd, ids[0], &mock);
	default:
		return copy_at(fd, ids[0], ids[1], MAP_RW, LONG_LENGTH, START,
			       START);
	}
}

/*
 * Kill a process while a request of it runs: that is complete or undone. Return
 * how often it was undone.
 */
static int kill_on_its_way(struct __test_metadata *_metadata,
			   enum request request)
{
	char *large = memory(LONG_LENGTH, MAP_SHARED);
	long pinned = status_kb("VmPin");
	int round, nr_killed = 0;
	useconds_t delay = 20000;

	ASSERT_NE(MAP_FAILED, large);
	memset(large, 1, LONG_LENGTH);
	for (round = 0; round < 10; round++) {
		int fd = open("/dev/iommu", O_RDWR), status, i;
		__u32 ids[2];
		pid_t pid;

		ASSERT_EQ(0, mock_memory_limit(fd, MOCK_MEMORY_LIMIT_MIN));
		ASSERT_EQ(0, prepare(fd, request, ids, large));
		pid = fork();
		if (!pid)
			_exit(run(fd, request, ids, large) ? 1 : 0);
		usleep(delay);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (!mock_check_refs(fd, large, LONG_LENGTH, 0)) {
			nr_killed++;
			EXPECT_EQ(pinned, status_kb("VmPin"));
			/* The IOVA is free, also in the last area */
			for (i = 0; request != ATTACH_LONG && i < 2; i++)
				EXPECT_EQ(0, map_at(fd, ids[0],
						    (uintptr_t)large, PAGE,
						    i ? END - PAGE : START));
			delay *= 2;
		} else {
			EXPECT_EQ(0, mock_check_refs(fd, large, LONG_LENGTH,
						     1));
			delay /= 2;
		}
		ASSERT_EQ(0, mock_memory_limit(fd, MOCK_MEMORY_LIMIT));
		close(fd);
		EXPECT_EQ(pinned, status_kb("VmPin"));
	}
	EXPECT_TRUE(mock_is_unpinned(large, LONG_LENGTH));
	return nr_killed;
}

/* Trap A20 */
TEST_F_TIMEOUT(charge, map_can_be_killed, 240)
{
	EXPECT_LT(1, kill_on_its_way(_metadata, MAP_LONG));
}

TEST_F_TIMEOUT(charge, attach_can_be_killed, 240)
{
	EXPECT_LT(1, kill_on_its_way(_metadata, ATTACH_LONG));
}

TEST_F_TIMEOUT(charge, copy_can_be_killed, 240)
{
	EXPECT_LT(1, kill_on_its_way(_metadata, COPY_LONG));
}

#define NR_AREAS 8000
#define NR_RUNS 32000

enum request_of_many {
	ATTACH_MANY,
	ATTACH_SCATTERED,
	COPY_MANY,
	UNMAP_MANY,
};

/* One area in which no page is contiguous with the next */
static int map_scattered(struct _test_data_charge *self)
{
	char *buf = memory(NR_RUNS * PAGE, MAP_SHARED);
	int i;

	if (buf == MAP_FAILED)
		return -1;
	/* Memory is allocated in the order in which it is touched */
	for (i = 0; i < NR_RUNS; i += 2)
		buf[i * PAGE] = 1;
	for (i = 1; i < NR_RUNS; i += 2)
		buf[i * PAGE] = 1;
	return MAP(buf, NR_RUNS * PAGE);
}

/* Many pinned areas, and another page table in which nothing is mapped yet */
static int prepare_many(struct _test_data_charge *self,
			enum request_of_many request, __u32 *other,
			struct mock *mock)
{
	struct iommu_test_mock_config config = MOCK_CONFIG(.unit = 1);
	int i;

	if (set_up(self) || alloc_ioas(self->fd, other) ||
	    mock_device(self->fd, 0, &config, mock))
		return -1;
	if (request == ATTACH_SCATTERED)
		return map_scattered(self);
	for (i = 0; i < NR_AREAS; i++)
		if (map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			   START + i * PAGE))
			return -1;
	return 0;
}

static int run_many(struct _test_data_charge *self,
		    enum request_of_many request, __u32 other, __u32 stdev)
{
	__u32 pt_id = self->ioas;

	switch (request) {
	case ATTACH_MANY:
	case ATTACH_SCATTERED:
		return mock_attach(self->fd, stdev, &pt_id);
	case COPY_MANY:
		return copy_at(self->fd, other, self->ioas, MAP_RW,
			       NR_AREAS * PAGE, START, START);
	default:
		return unmap_all(self->fd, other, NULL);
	}
}

/* Number of calls that the driver of the other page table got */
static __u64 calls_of(struct _test_data_charge *self,
		      enum request_of_many request)
{
	struct iommu_test_mock_stats stats;

	if (mock_query(self->fd, 1, &stats))
		return 0;
	return request == UNMAP_MANY ? stats.unmaps : stats.maps;
}

/*
 * No area takes long, or there is only one, and all memory is pinned already. So
 * only a look at signals between areas, or between runs, ends the request. Kill
 * its process until that is in the middle: an attach and a copy are undone, and
 * an unmap leaves the rest.
 */
static void kill_among_many(struct __test_metadata *_metadata,
			    struct _test_data_charge *self,
			    enum request_of_many request)
{
	bool attaches = request == ATTACH_MANY || request == ATTACH_SCATTERED;
	int last = (request == ATTACH_SCATTERED ? NR_RUNS : NR_AREAS) - 1;
	useconds_t delay = 20000;
	bool killed = false;
	struct mock mock;
	__u32 other, pt_id;
	int round, status;
	char byte;

	ASSERT_EQ(0, prepare_many(self, request, &other, &mock));
	pt_id = other;
	if (!attaches)
		ASSERT_EQ(0, mock_attach(self->fd, mock.stdev, &pt_id));
	for (round = 0; round < 12 && !killed; round++) {
		__u64 before, unmapped = 0;
		bool done;
		pid_t pid;

		if (request == UNMAP_MANY)
			ASSERT_EQ(0, run_many(self, COPY_MANY, other, 0));
		before = calls_of(self, request);
		pid = fork();
		if (!pid)
			_exit(run_many(self, request, other, mock.stdev));
		usleep(delay);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (calls_of(self, request) == before) {
			delay *= 2;
		} else {
			done = !mock_dma(self->fd, mock.stdev,
					 START + last * PAGE, &byte, 1, 0);
			killed = request == UNMAP_MANY ? done : !done;
			delay /= 2;
		}
		EXPECT_EQ(0, attaches ?
				     mock_detach(self->fd, mock.stdev) :
				     unmap_all(self->fd, other, &unmapped));
		if (killed && !attaches)
			EXPECT_EQ(request == UNMAP_MANY, unmapped > 0);
	}
	EXPECT_TRUE(killed);
}

TEST_F_TIMEOUT(charge, attach_of_many_areas_can_be_killed, 240)
{
	kill_among_many(_metadata, self, ATTACH_MANY);
}

TEST_F_TIMEOUT(charge, attach_of_scattered_memory_can_be_killed, 240)
{
	kill_among_many(_metadata, self, ATTACH_SCATTERED);
}

TEST_F_TIMEOUT(charge, copy_of_many_areas_can_be_killed, 240)
{
	kill_among_many(_metadata, self, COPY_MANY);
}

TEST_F_TIMEOUT(charge, unmap_of_many_areas_can_be_killed, 240)
{
	kill_among_many(_metadata, self, UNMAP_MANY);
}

/* The limit */

/* From here on the process is charged, up to @kb */
static int become_charged(long kb)
{
	struct rlimit limit = { kb * 1024, kb * 1024 };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ||
	       setresuid(NOBODY, NOBODY, NOBODY);
}

/*
 * Memory is pinned in several batches, the last of which is the smallest. The
 * limit is reached in any of them; the smaller ones would still fit.
 */
TEST_F(charge, limit_in_each_batch)
{
	static const __u32 limits[] = { 12, 36, MOCK_MEMORY_LIMIT };
	struct rlimit limit = { .rlim_max = LENGTH };
	int i;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, become_charged(LENGTH / 1024));
	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		ASSERT_EQ(0, mock_memory_limit(self->fd, limits[i]));
		for (limit.rlim_cur = 0; limit.rlim_cur < LENGTH;
		     limit.rlim_cur += PAGE) {
			ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
			EXPECT_ERRNO(ENOMEM, MAP(self->buf, LENGTH));
			EXPECT_TRUE(nothing_is_left(self));
		}
		ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
		EXPECT_EQ(0, MAP(self->buf, LENGTH));
		EXPECT_EQ(0, UNMAP_ALL());
	}
}

/* A process of another user that copies with an iommufd of its own */
static pid_t copying_process(const char *large, int *pipe_fds)
{
	__u32 ids[2];
	pid_t pid;
	int fd, ret;

	if (pipe(pipe_fds))
		return -1;
	pid = fork();
	if (pid) {
		close(pipe_fds[1]);
		return pid;
	}
	fd = open("/dev/iommu", O_RDWR);
	if (prepare(fd, MAP_LONG, ids, large) ||
	    become_charged(LONG_LENGTH / 1024) ||
	    map_long(fd, ids[1], large, LONG_AREAS) ||
	    write(pipe_fds[1], "", 1) != 1)
		_exit(1);
	ret = run(fd, COPY_LONG, ids, large) ||
	      write(pipe_fds[1], "", 1) != 1;
	if (ret)
		_exit(1);
	pause();
	_exit(0);
}

/*
 * With a process that is killed in a COPY, everything that it has made goes: its
 * devices and groups, its pins, and what its user is charged
 */
TEST_F_TIMEOUT(charge, killed_process_leaves_nothing, 240)
{
	int devices = nr_entries(MOCK_DEVICES), groups = nr_entries(IOMMU_GROUPS);
	char *large = memory(LONG_LENGTH, MAP_SHARED), byte;
	int round, pipe_fds[2], nr_killed = 0;
	useconds_t delay = 20000;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, large);
	memset(large, 1, LONG_LENGTH);
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT_MIN));
	for (round = 0; round < 8; round++) {
		pid = copying_process(large, pipe_fds);
		ASSERT_LT(0, pid);
		ASSERT_EQ(1, read(pipe_fds[0], &byte, 1));
		EXPECT_EQ(devices + 1, nr_entries(MOCK_DEVICES));
		usleep(delay);
		end_child(pid);
		if (read(pipe_fds[0], &byte, 1)) {
			delay /= 2;
		} else {
			nr_killed++;
			delay *= 2;
		}
		close(pipe_fds[0]);
		EXPECT_TRUE(mock_is_unpinned(large, LONG_LENGTH));
		EXPECT_EQ(devices, nr_entries(MOCK_DEVICES));
		EXPECT_EQ(groups, nr_entries(IOMMU_GROUPS));
	}
	EXPECT_LT(0, nr_killed);
	/* Up to the last page of the user's limit, so nothing is charged */
	pid = copying_process(large, pipe_fds);
	ASSERT_LT(0, pid);
	EXPECT_EQ(1, read(pipe_fds[0], &byte, 1));
	EXPECT_EQ(1, read(pipe_fds[0], &byte, 1));
	end_child(pid);
	close(pipe_fds[0]);
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
}

/*
 * One page above the limit is ENOMEM, and nothing drifts. The number of rounds
 * would exceed the limit if each round lost a page (trap J2).
 */
static void check_limit(struct __test_metadata *_metadata,
			struct _test_data_charge *self, bool by_mm)
{
	const __u32 limits[] = { 16, MOCK_MEMORY_LIMIT };
	int i;

	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, mock_memory_limit(self->fd, limits[i % 2]));
		ASSERT_EQ(-1, MAP(self->buf, 9 * PAGE));
		ASSERT_EQ(ENOMEM, errno);
		ASSERT_EQ(0, MAP(self->buf, 8 * PAGE));
		if (i % 100 == 0) {
			ASSERT_EQ(self->pinned + 32, status_kb("VmPin"));
			ASSERT_EQ(self->locked + (by_mm ? 32 : 0),
				  status_kb("VmLck"));
		}
		ASSERT_EQ(-1, map_at(self->fd, self->ioas,
				     (uintptr_t)self->buf, PAGE,
				     START + LENGTH));
		ASSERT_EQ(ENOMEM, errno);
		ASSERT_EQ(0, UNMAP_ALL());
	}
	EXPECT_TRUE(nothing_is_left(self));
}

TEST_F_TIMEOUT(charge, limit_of_the_user_does_not_drift, 120)
{
	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, become_charged(32));
	check_limit(_metadata, self, false);
}

static int map_part(struct _test_data_charge *self, int page, int nr)
{
	return map_at(self->fd, self->ioas, (uintptr_t)self->buf + page * PAGE,
		      nr * PAGE, START + page * PAGE);
}

/*
 * The user at the time of the map is charged, whoever the process ran as before
 */
TEST_F(charge, user_of_the_map_is_charged)
{
	struct rlimit limit = { 4 * PAGE, 4 * PAGE };

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, setresuid(NOBODY, NOBODY, 0));
	EXPECT_EQ(0, map_part(self, 0, 4));
	EXPECT_ERRNO(ENOMEM, map_part(self, 4, 1));
	ASSERT_EQ(0, setresuid(-1, 0, 0));
	ASSERT_EQ(0, setresuid(NOBODY - 1, NOBODY - 1, 0));
	EXPECT_EQ(0, map_part(self, 4, 4));
	EXPECT_ERRNO(ENOMEM, map_part(self, 8, 1));
	/* An unmap uncharges the user who was charged */
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, 4 * PAGE, NULL));
	EXPECT_ERRNO(ENOMEM, map_part(self, 8, 1));
	ASSERT_EQ(0, setresuid(-1, 0, 0));
	ASSERT_EQ(0, setresuid(NOBODY, NOBODY, 0));
	EXPECT_EQ(0, map_part(self, 8, 4));
	EXPECT_ERRNO(ENOMEM, map_part(self, 0, 1));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, map_part(self, 0, 4));
}

/* Run by the test below through exec, before any test */
static void __attribute__((constructor)) map_after_exec(void)
{
	const char *args = getenv("MAP_AFTER_EXEC");
	int fd, ioas, stdev;
	char *page, byte;

	if (!args)
		return;
	if (sscanf(args, "%d %d %d", &fd, &ioas, &stdev) != 3)
		_exit(1);
	page = memory(PAGE, MAP_SHARED);
	*page = 77;
	_exit(map_at(fd, ioas, (uintptr_t)page, PAGE, START + PAGE) ||
	      mock_dma(fd, stdev, START + PAGE, &byte, 1, 0) || byte != 77);
}

/* After exec() a process maps its new memory */
TEST_F(charge, memory_of_the_next_program)
{
	char args[64];
	int status;
	pid_t pid;

	ASSERT_EQ(0, set_up(self));
	snprintf(args, sizeof(args), "%d %u %u", self->fd, self->ioas,
		 self->mock.stdev);
	pid = fork();
	if (!pid) {
		setenv("MAP_AFTER_EXEC", args, 1);
		if (!map_part(self, 0, 1))
			execl("/proc/self/exe", "charge_test", NULL);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* A vfork() child shares the memory of its parent and has its own limit */
TEST_F(charge, limit_of_a_vfork_child_counts)
{
	struct rlimit none = {};
	int status;
	pid_t pid;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, become_charged(32));
	EXPECT_EQ(0, map_part(self, 0, 1));
	pid = vfork();
	if (!pid)
		_exit(setrlimit(RLIMIT_MEMLOCK, &none) ? 1 :
		      map_part(self, 1, 1) ? errno : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(ENOMEM, WEXITSTATUS(status));
	EXPECT_EQ(0, map_part(self, 1, 2));
}

TEST_F_TIMEOUT(charge, limit_of_the_address_space_does_not_drift, 120)
{
	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, become_charged(32));
	check_limit(_metadata, self, true);
}

/* The option needs CAP_SYS_RESOURCE and a context without objects (trap J6) */
TEST_F(charge, mode_is_set_first)
{
	__u64 value = 7;

	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_RLIMIT_MODE,
			    IOMMU_OPTION_OP_GET, 0, &value));
	EXPECT_EQ(0, value);
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	EXPECT_ERRNO(EINVAL,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 2));
	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_RLIMIT_MODE,
			    IOMMU_OPTION_OP_GET, 0, &value));
	EXPECT_EQ(1, value);
	EXPECT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 0));
	EXPECT_ERRNO(EINVAL,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 2));
	EXPECT_EQ(0, option(self->fd, IOMMU_OPTION_RLIMIT_MODE,
			    IOMMU_OPTION_OP_GET, 0, &value));
	EXPECT_EQ(0, value);
	EXPECT_ERRNO(EOPNOTSUPP,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 1, 0));
	EXPECT_ERRNO(EOPNOTSUPP, option(self->fd, IOMMU_OPTION_RLIMIT_MODE,
					IOMMU_OPTION_OP_GET, 1, &value));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	EXPECT_ERRNO(EBUSY,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 2));
	ASSERT_EQ(0, become_charged(32));
	EXPECT_ERRNO(EPERM,
		     set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 2));
}

/*
 * A process has all capabilities in a user namespace of its own. For iommufd it
 * has none of them.
 */
TEST_F(charge, user_namespace_gives_no_privilege)
{
	struct rlimit none = {};
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) ? 255 :
		      set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1) ?
			      errno : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EPERM, WEXITSTATUS(status));
	ASSERT_EQ(0, set_up(self));
	pid = fork();
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) ||
		      setrlimit(RLIMIT_MEMLOCK, &none) ? 255 :
		      map_part(self, 0, 1) ? errno : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(ENOMEM, WEXITSTATUS(status));
}

/*
 * Ten copies in ten IOAS, three of them with page tables, and an access: the
 * memory is charged once, up to the last page of the limit (trap J3)
 */
TEST_F(charge, copies_are_charged_once)
{
	const int order[] = { 3, 9, 0, 7, 1, 8, 2, 6, 5, 4 };
	__u32 ioas[10], item;
	struct mock mocks[3];
	int i, access;
	__u64 iova;

	ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0, 1));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, alloc_ioas(self->fd, &ioas[i]));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, mock_domain(self->fd, ioas[i], &mocks[i]));
	ASSERT_EQ(0, access_create(self->fd, ioas[3],
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, become_charged(LENGTH / 1024));
	ASSERT_EQ(0, map_at(self->fd, ioas[0], (uintptr_t)self->buf, LENGTH,
			    START));
	for (i = 1; i < 10; i++) {
		iova = START;
		ASSERT_EQ(0, copy(self->fd, ioas[i], ioas[i - 1], FIXED_RW,
				  LENGTH, &iova, START));
	}
	ASSERT_EQ(0, access_pin(self->fd, access, START, self->buf, LENGTH, 0,
				&item));
	EXPECT_EQ(self->pinned + (long)LENGTH / 1024, status_kb("VmPin"));
	EXPECT_EQ(self->locked + (long)LENGTH / 1024, status_kb("VmLck"));
	EXPECT_EQ(0, mock_check_refs(self->fd, self->buf, LENGTH, 1));

	for (i = 0; i < 10; i++) {
		/* Number 2 is the last one that needs the pages */
		long kb = i < 6 ? LENGTH / 1024 : 0;

		ASSERT_EQ(0, unmap(self->fd, ioas[order[i]], START, LENGTH,
				   NULL));
		EXPECT_EQ(self->pinned + kb, status_kb("VmPin"));
	}
	EXPECT_ERRNO(ENOENT, access_unpin(self->fd, access, item));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
	EXPECT_TRUE(mock_is_unpinned(self->buf, LENGTH));
	close(access);
}

/*
 * Files
 */

static int make_file_of(unsigned int flags, size_t length)
{
	int file = memfd_create("charge", MFD_ALLOW_SEALING | flags);

	if (file >= 0 && ftruncate(file, length)) {
		close(file);
		return -1;
	}
	return file;
}

static int make_file(size_t length)
{
	return make_file_of(0, length);
}

#define MAP_FROM(_flags, _file, _start, _length)                               \
	({                                                                     \
		__u64 _iova = START;                                           \
		map_file(self->fd, self->ioas, _flags, _file, _start, _length, \
			 &_iova);                                              \
	})

/*
 * The order of errors. The contents of the file are checked when it is pinned.
 */
TEST_F(charge, map_file_checks)
{
	int file = make_file(PAGE), other = open("/dev/null", O_RDWR);
	struct mock mock;

	ASSERT_EQ(0, set_up(self));
	ASSERT_LE(0, file);
	ASSERT_LE(0, other);
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, PAGE));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 0, PAGE + MOCK_PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, PAGE, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 1ULL << 50, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(IOMMU_IOAS_MAP_FIXED_IOVA, file, 0,
				      PAGE));
	EXPECT_ERRNO(EOPNOTSUPP, MAP_FROM(FIXED_RW | 8, file, 0, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 0, 0));
	EXPECT_ERRNO(EOVERFLOW, MAP_FROM(FIXED_RW, file, -PAGE, 2 * PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 0, 100));
	EXPECT_ERRNO(EBADF, MAP_FROM(FIXED_RW, -1, 0, PAGE));
	EXPECT_ERRNO(EBADF, MAP_FROM(FIXED_RW, 999, 0, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, other, 0, PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, self->fd, 0, PAGE));
	ASSERT_EQ(0, ftruncate(file, 0));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 0, PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));

	ASSERT_EQ(0, destroy(self->fd, self->mock.stdev));
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, other, 0, PAGE));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, PAGE));
	EXPECT_ERRNO(EINVAL, mock_domain(self->fd, self->ioas, &mock));
	ASSERT_EQ(0, ftruncate(file, PAGE));
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
}

/* All of the mapping must be inside the file, whatever part of it is needed */
TEST_F(charge, map_file_beyond_the_end)
{
	int huge = memfd_create("huge", MFD_HUGETLB), file = make_file(PAGE);
	__u64 iova = START;
	__u32 other;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_LE(0, file);
	ASSERT_LE(0, huge);
	ASSERT_EQ(0, ftruncate(huge, SZ_2M));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, huge, 0, SZ_2M + PAGE));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, huge, SZ_2M, PAGE));
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, huge, SZ_2M - PAGE, PAGE));
	EXPECT_EQ(0, UNMAP_ALL());
	EXPECT_EQ(0, map_file(self->fd, other, FIXED_RW, file, 0, 2 * PAGE,
			      &iova));
	EXPECT_ERRNO(EINVAL, copy(self->fd, self->ioas, other, FIXED_RW, PAGE,
				  &iova, START));
	ASSERT_EQ(0, ftruncate(file, 2 * PAGE));
	EXPECT_EQ(0, copy(self->fd, self->ioas, other, FIXED_RW, PAGE, &iova,
			  START));
}

/*
 * Ranges that begin and end inside pages, with the end of the file inside a
 * page
 */
TEST_F(charge, map_file_inside_pages)
{
	static const struct {
		size_t start, length;
		bool is_inside;
	} ranges[] = {
		{ 0, PAGE + MOCK_PAGE, true },
		{ MOCK_PAGE, PAGE, true },
		{ MOCK_PAGE, MOCK_PAGE, true },
		{ PAGE, MOCK_PAGE, true },
		/* In a page that the file has, and beyond its end */
		{ 0, 2 * PAGE, false },
		{ MOCK_PAGE, PAGE + MOCK_PAGE, false },
		{ PAGE, PAGE, false },
		{ PAGE + MOCK_PAGE, MOCK_PAGE, false },
	};
	unsigned char bytes[PAGE + MOCK_PAGE], data[PAGE + MOCK_PAGE];
	int file = make_file(sizeof(bytes)), i;

	ASSERT_EQ(0, set_up(self));
	fill_bytes(bytes, sizeof(bytes), 5);
	ASSERT_EQ(sizeof(bytes), pwrite(file, bytes, sizeof(bytes), 0));
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		size_t start = ranges[i].start, length = ranges[i].length;

		if (!ranges[i].is_inside) {
			EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, start,
						      length));
			continue;
		}
		EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, start, length));
		EXPECT_EQ(0, mock_dma(self->fd, self->mock.stdev, START, data,
				      length, 0));
		EXPECT_EQ(0, memcmp(data, bytes + start, length));
		EXPECT_EQ(0, UNMAP_ALL());
	}
	/* One byte is missing */
	ASSERT_EQ(0, ftruncate(file, sizeof(bytes) - 1));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, 0, sizeof(bytes)));
	EXPECT_ERRNO(EINVAL, MAP_FROM(FIXED_RW, file, MOCK_PAGE, PAGE));
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, PAGE));
}

/* A file that can't be written can be mapped for reading only */
TEST_F(charge, map_file_respects_seals)
{
	static const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };
	char path[64];
	int i, file, read_only;
	__u32 other;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	for (i = 0; i < 2 * ARRAY_SIZE(seals); i++) {
		/* On tmpfs, and on hugetlbfs */
		file = i % 2 ? make_file_of(MFD_HUGETLB, SZ_2M) :
			       make_file(PAGE);
		ASSERT_LE(0, file);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
		read_only = open(path, O_RDONLY);
		ASSERT_LE(0, read_only);
		EXPECT_ERRNO(EPERM, MAP_FROM(FIXED_RW, read_only, 0, PAGE));
		EXPECT_EQ(0, MAP_FROM(READ_ONLY, read_only, 0, PAGE));
		EXPECT_EQ(0, UNMAP_ALL());

		/* No seal against writing while devices can write */
		EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, PAGE));
		EXPECT_ERRNO(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
		EXPECT_EQ(0, UNMAP_ALL());
		/* Nor while it is mapped without a page table */
		EXPECT_EQ(0, map_file_at(self->fd, other, MAP_RW, file, 0, PAGE,
					 START));
		EXPECT_ERRNO(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
		EXPECT_EQ(0, unmap_all(self->fd, other, NULL));
		EXPECT_EQ(0, fcntl(file, F_ADD_SEALS, seals[i / 2]));
		EXPECT_ERRNO(EPERM, MAP_FROM(FIXED_RW, file, 0, PAGE));
		EXPECT_EQ(0, MAP_FROM(READ_ONLY, file, 0, PAGE));
		EXPECT_EQ(0, UNMAP_ALL());
		close(file);
		close(read_only);
	}
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
}

/* Requests that fail keep no reference to the file, so it can be sealed */
TEST_F(charge, failed_requests_let_go_of_the_file)
{
	int file = make_file(4 * PAGE), i;
	__u32 from;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, alloc_ioas(self->fd, &from));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, map_file_at(self->fd, from, MAP_RW, file, i * PAGE,
					 PAGE, START + i * PAGE));
	EXPECT_ERRNO(EEXIST, map_file_at(self->fd, from, MAP_RW, file, 0, PAGE,
					 START));
#define COPY(_nr) copy_at(self->fd, self->ioas, from, MAP_RW, (_nr) * PAGE,    \
			  START, START)
	/* The third page is not mapped; the driver fails at the second */
	EXPECT_ERRNO(ENOENT, COPY(3));
	ASSERT_EQ(0, mock_fail(self->fd, 0, MOCK_CALL_MAP, 1, 1, EXDEV));
	EXPECT_ERRNO(EXDEV, COPY(2));
	/* The IOVA of the second is in use, and that of the first stays free */
	ASSERT_EQ(0, map_at(self->fd, self->ioas, (uintptr_t)self->buf, PAGE,
			    START + PAGE));
	EXPECT_ERRNO(EEXIST, COPY(2));
	EXPECT_EQ(0, MAP(self->buf, PAGE));
	EXPECT_EQ(0, UNMAP_ALL());

	EXPECT_ERRNO(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(0, unmap_all(self->fd, from, NULL));
	EXPECT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	close(file);
}

/*
 * A mapping of a file needs neither the process that made it, nor its VMA, nor
 * its fd; truncating the file takes nothing from it
 */
TEST_F(charge, map_file_outlives_its_process)
{
	unsigned char data[4 * PAGE];
	int file = make_file(sizeof(data));
	unsigned char *bytes;
	struct mock mock;
	int status;
	size_t i;
	pid_t pid;

	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_LE(0, file);
	pid = fork();
	if (!pid) {
		bytes = mmap(NULL, sizeof(data), PROT_READ | PROT_WRITE,
			     MAP_SHARED, file, 0);
		fill_bytes(bytes, sizeof(data), 3);
		_exit(!!MAP_FROM(FIXED_RW, file, 0, sizeof(data)));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	close(file);
	EXPECT_EQ(0, mock_domain(self->fd, self->ioas, &mock));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, START, data, sizeof(data),
			      0));
	for (i = 0; i < sizeof(data); i++)
		ASSERT_EQ(byte_at(i, 3), data[i]);
	EXPECT_EQ(0, UNMAP_ALL());

	file = make_file(sizeof(data));
	bytes = mmap(NULL, sizeof(data), PROT_READ | PROT_WRITE, MAP_SHARED,
		     file, 0);
	ASSERT_NE(MAP_FAILED, bytes);
	fill_bytes(bytes, sizeof(data), 4);
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, sizeof(data)));
	ASSERT_EQ(0, ftruncate(file, 0));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, START, data, sizeof(data),
			      MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, mock_dma(self->fd, mock.stdev, START, data, sizeof(data),
			      0));
	for (i = 0; i < sizeof(data); i++)
		ASSERT_EQ(byte_at(i, 3), data[i]);
	EXPECT_EQ(self->pinned + (long)sizeof(data) / 1024, status_kb("VmPin"));
}

/* Holes of the file are allocated when it is pinned */
TEST_F(charge, map_file_allocates)
{
	int huge = memfd_create("huge", MFD_HUGETLB);
	long free = free_huge_pages();
	int file = make_file(LENGTH);
	char *bytes;

	ASSERT_EQ(0, set_up(self));
	ASSERT_LE(0, huge);
	ASSERT_EQ(0, ftruncate(huge, 2 * SZ_2M));
	bytes = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, bytes);
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, LENGTH));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, START, bytes,
				    LENGTH));
	EXPECT_EQ(0, UNMAP_ALL());

	/* No more huge pages than are needed */
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, huge, SZ_2M - PAGE, PAGE));
	EXPECT_EQ(free - 1, free_huge_pages());
	EXPECT_EQ(0, UNMAP_ALL());
	bytes = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED, huge,
		     0);
	ASSERT_NE(MAP_FAILED, bytes);
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, huge, SZ_2M - PAGE, 2 * PAGE));
	EXPECT_EQ(0, mock_check_map(self->fd, self->mock.hwpt, START,
				    bytes + SZ_2M - PAGE, 2 * PAGE));
}

/*
 * The pool has one huge page less than is needed. The last one is missing in the
 * middle of what is pinned at once, and the others go back to the pool.
 */
TEST_F(charge, map_file_lacks_half_of_a_chunk)
{
	int huge = memfd_create("huge", MFD_HUGETLB);
	long free = free_huge_pages();

	ASSERT_EQ(0, set_up(self));
	ASSERT_LT(1, free);
	ASSERT_EQ(0, ftruncate(huge, (free + 1) * SZ_2M));
	EXPECT_ERRNO(ENOMEM, MAP_FROM(FIXED_RW, huge, SZ_2M / 2, free * SZ_2M));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, huge, SZ_2M / 2, (free - 1) * SZ_2M));
	EXPECT_EQ(0, UNMAP_ALL());
	close(huge);
	EXPECT_EQ(free, free_huge_pages());
}

/* Nor has tmpfs room for all of the file */
TEST_F(charge, map_file_on_a_full_disk)
{
	char dir[] = "/tmp/charge_XXXXXX", path[64];
	int file;

	ASSERT_EQ(0, set_up(self));
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("none", dir, "tmpfs", 0, "size=16k"));
	snprintf(path, sizeof(path), "%s/file", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 8 * PAGE));
	EXPECT_ERRNO(ENOSPC, MAP_FROM(FIXED_RW, file, 0, 8 * PAGE));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, MAP_FROM(FIXED_RW, file, 0, 4 * PAGE));
	EXPECT_EQ(0, UNMAP_ALL());
	close(file);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

static atomic_int nr_signals;

static void count_signal(int signal)
{
	nr_signals++;
}

/*
 * A signal ends the allocation of huge pages for the file. The MAP is restarted
 * then, whether the handler asks for that or not.
 */
TEST_F(charge, map_file_restarts_after_a_signal)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct itimerval soon = {};
	int i, huge;

	ASSERT_EQ(0, set_up(self));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	for (i = 1; i <= 50; i++) {
		huge = memfd_create("huge", MFD_HUGETLB);
		ASSERT_LE(0, huge);
		ASSERT_EQ(0, ftruncate(huge, 2 * SZ_2M));
		/* While the first page is cleared, at least once */
		soon.it_value.tv_usec = i * 20;
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
		ASSERT_EQ(0, MAP_FROM(FIXED_RW, huge, 0, 2 * SZ_2M));
		ASSERT_EQ(0, UNMAP_ALL());
		close(huge);
	}
	EXPECT_LT(0, nr_signals);
}

/* Signals that are not fatal end no request, however long it takes */
TEST_F_TIMEOUT(charge, requests_go_on_after_signals, 120)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = {};
	struct sigaction action = { .sa_handler = count_signal };
	char *large = memory(LONG_LENGTH, MAP_SHARED);
	struct mock mock;
	__u32 other, pt_id;

	ASSERT_NE(MAP_FAILED, large);
	memset(large, 1, LONG_LENGTH);
	ASSERT_EQ(0, prepare_many(self, UNMAP_MANY, &other, &mock));
	pt_id = other;
	ASSERT_EQ(0, mock_attach(self->fd, mock.stdev, &pt_id));
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT_MIN));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	EXPECT_EQ(0, map_long(self->fd, other, large, 1));
	EXPECT_EQ(0, unmap_all(self->fd, other, NULL));
	EXPECT_EQ(0, run_many(self, COPY_MANY, other, 0));
	EXPECT_EQ(0, run_many(self, UNMAP_MANY, other, 0));
	EXPECT_EQ(0, mock_detach(self->fd, mock.stdev));
	EXPECT_EQ(0, run_many(self, ATTACH_MANY, other, mock.stdev));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	ASSERT_EQ(0, mock_memory_limit(self->fd, MOCK_MEMORY_LIMIT));
	EXPECT_LT(4, nr_signals);
}

/*
 * CHANGE_PROCESS
 */

static int become(uid_t user)
{
	return setresuid(-1, 0, 0) || setresuid(user, user, 0);
}

static int map_file_part(struct _test_data_charge *self, int file, int page,
			 int nr)
{
	return map_file_at(self->fd, self->ioas, MAP_RW, file, page * PAGE,
			   nr * PAGE, START + page * PAGE);
}

/* A process changes its user: the charge moves, though its memory is the same */
TEST_F(charge, change_of_user_moves_the_charge)
{
	struct rlimit limit = { 4 * PAGE, 4 * PAGE };
	int file = make_file(LENGTH);

	ASSERT_EQ(0, set_up(self));
	ASSERT_LE(0, file);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, become(NOBODY));
	EXPECT_EQ(0, map_file_part(self, file, 0, 4));
	ASSERT_EQ(0, become(NOBODY - 1));
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
	EXPECT_ERRNO(ENOMEM, map_file_part(self, file, 4, 1));
	ASSERT_EQ(0, become(NOBODY));
	EXPECT_EQ(0, map_file_part(self, file, 4, 4));
	EXPECT_ERRNO(ENOMEM, map_file_part(self, file, 8, 1));
	EXPECT_EQ(0, unmap(self->fd, self->ioas, START, 4 * PAGE, NULL));
	EXPECT_ERRNO(ENOMEM, map_file_part(self, file, 8, 1));
	ASSERT_EQ(0, become(NOBODY - 1));
	EXPECT_EQ(0, map_file_part(self, file, 8, 4));
	EXPECT_ERRNO(ENOMEM, map_file_part(self, file, 12, 1));
}

/*
 * CHANGE_PROCESS has counted the pages of a file that are pinned, when one of
 * them is unpinned: nobody is charged for it any more
 */
TEST_F(charge, unpin_beside_a_change_of_process)
{
	int file = make_file(LENGTH), access, status = -1;
	atomic_bool done = false;
	__u32 item;
	pid_t pid;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, map_file_part(self, file, 0, 2));
	ASSERT_EQ(0, access_create(self->fd, self->ioas,
				   MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
				   &access));
	ASSERT_EQ(0, access_pin(self->fd, access, START, NULL, PAGE, 0, &item));
	EXPECT_EQ(self->pinned + 4, status_kb("VmPin"));
	ASSERT_EQ(0, mock_delay(""));
	ASSERT_EQ(0, mock_delay("iommufd_owner_move_charge 20000"));
	pid = fork();
	if (!pid) {
		long pinned = status_kb("VmPin");

		status = change_process(self->fd);
		/* The parent unpins the page meanwhile, or soon after that */
		usleep(100000);
		_exit(status || status_kb("VmPin") != pinned);
	}
	mock_wait_for_calls(1, &done);
	EXPECT_EQ(0, access_unpin(self->fd, access, item));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mock_delay(""));
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(0, UNMAP_ALL());
	close(access);
}

/*
 * A user that is above its limit takes over memory that is not pinned: this
 * needs no room
 */
TEST_F(charge, what_is_not_pinned_needs_no_room)
{
	struct rlimit limit = { 4 * PAGE, 4 * PAGE };
	int file = make_file(LENGTH);
	__u32 other;

	ASSERT_EQ(0, set_up(self));
	ASSERT_LE(0, file);
	ASSERT_EQ(0, alloc_ioas(self->fd, &other));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, become(NOBODY));
	ASSERT_EQ(0, map_file_at(self->fd, other, MAP_RW, file, 0, 4 * PAGE,
				 START));
	ASSERT_EQ(0, become(NOBODY - 1));
	ASSERT_EQ(0, map_file_part(self, file, 4, 4));
	limit.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_EQ(self->pinned + 16, status_kb("VmPin"));
}

enum mode {
	BY_DEFAULT,
	BY_USER,
	BY_MM,
};

FIXTURE(hand_over)
{
	int fd;
	__u32 ioas, other;
	struct mock mock;
	int file;
	long pinned, locked;
};

FIXTURE_VARIANT(hand_over)
{
	enum mode mode;
	bool privileged;
};

FIXTURE_VARIANT_ADD(hand_over, by_default) { .mode = BY_DEFAULT };

FIXTURE_VARIANT_ADD(hand_over, by_user) { .mode = BY_USER };

FIXTURE_VARIANT_ADD(hand_over, by_mm) { .mode = BY_MM };

FIXTURE_VARIANT_ADD(hand_over, privileged) {
	.mode = BY_MM, .privileged = true,
};

#define NR_FILE_PAGES 8
#define FILE_KB ((long)(NR_FILE_PAGES * PAGE / 1024))

FIXTURE_SETUP(hand_over)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	if (variant->mode)
		ASSERT_EQ(0, set_option(self->fd, IOMMU_OPTION_RLIMIT_MODE, 0,
					variant->mode == BY_MM));
	/* There are other objects between the two IOAS */
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->ioas));
	ASSERT_EQ(0, mock_domain(self->fd, self->ioas, &self->mock));
	ASSERT_EQ(0, alloc_ioas(self->fd, &self->other));
	self->file = make_file(2 * NR_FILE_PAGES * PAGE);
	ASSERT_LE(0, self->file);
	if (!variant->privileged)
		ASSERT_EQ(0, become_charged(2 * FILE_KB));
	self->pinned = status_kb("VmPin");
	self->locked = status_kb("VmLck");
}

FIXTURE_TEARDOWN(hand_over)
{
	close(self->fd);
	EXPECT_EQ(self->pinned, status_kb("VmPin"));
	EXPECT_EQ(self->locked, status_kb("VmLck"));
}

static bool owns(struct _test_data_hand_over *self, bool by_mm, long kb)
{
	return status_kb("VmPin") == self->pinned + kb &&
	       status_kb("VmLck") == self->locked + (by_mm ? kb : 0);
}

/* CHANGE_PROCESS in a child, which checks its charge and exits */
static int call_in_child(int fd, bool by_mm, long kb)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		long pinned = status_kb("VmPin"), locked = status_kb("VmLck");

		if (change_process(fd))
			_exit(errno);
		_exit(status_kb("VmPin") == pinned + kb &&
		      status_kb("VmLck") == locked + (by_mm ? kb : 0) ?
			      0 : 255);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(hand_over, charges_move_to_the_caller)
{
	bool by_mm = variant->mode == BY_MM && !variant->privileged;
	__u64 iova = START;

	/* Nothing to move */
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_EQ(0, call_in_child(self->fd, by_mm, 0));
	ASSERT_EQ(0, map_file(self->fd, self->ioas, FIXED_RW, self->file, 0,
			      NR_FILE_PAGES * PAGE, &iova));
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_TRUE(owns(self, by_mm, FILE_KB));

	/* Charges of all IOAS move; what is copied counts once */
	ASSERT_EQ(0, copy(self->fd, self->other, self->ioas, FIXED_RW,
			  2 * PAGE, &iova, START));
	EXPECT_EQ(0, call_in_child(self->fd, by_mm, FILE_KB));
	EXPECT_TRUE(owns(self, by_mm, 0));
	/* From a process that is gone */
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_TRUE(owns(self, by_mm, FILE_KB));
	EXPECT_EQ(0, unmap_all(self->fd, self->ioas, NULL));
	EXPECT_TRUE(owns(self, by_mm, 0));
	/* The copy has no page table, and is charged when it gets one */
	ASSERT_EQ(0, mock_domain(self->fd, self->other, &self->mock));
	EXPECT_TRUE(owns(self, by_mm, 2 * PAGE / 1024));
}

/* Memory of a process can't be charged to another, and then nothing moves */
TEST_F(hand_over, all_must_be_files)
{
	bool by_mm = variant->mode == BY_MM && !variant->privileged;
	__u64 iova = START;
	char *page = memory(PAGE, MAP_PRIVATE);

	ASSERT_EQ(0, map_file(self->fd, self->ioas, FIXED_RW, self->file, 0,
			      NR_FILE_PAGES * PAGE, &iova));
	ASSERT_EQ(0, map_at(self->fd, self->other, (uintptr_t)page, PAGE,
			    START));
	EXPECT_ERRNO(EINVAL, change_process(self->fd));
	EXPECT_EQ(EINVAL, call_in_child(self->fd, by_mm, 0));
	EXPECT_TRUE(owns(self, by_mm, FILE_KB));
	EXPECT_EQ(0, unmap(self->fd, self->other, START, PAGE, NULL));
	EXPECT_EQ(0, call_in_child(self->fd, by_mm, FILE_KB));
	EXPECT_TRUE(owns(self, by_mm, 0));
}

/*
 * More than the limit of the new process: all charges stay with the old one,
 * even if that has a lower limit now
 */
TEST_F(hand_over, limit_of_the_caller_counts)
{
	bool by_mm = variant->mode == BY_MM && !variant->privileged;
	const size_t half = NR_FILE_PAGES / 2 * PAGE;
	struct rlimit limit = { FILE_KB / 2 * 1024, 2 * FILE_KB * 1024 };
	struct rlimit none = { 0, 2 * FILE_KB * 1024 };
	int status, i;
	pid_t pid;

	/*
	 * Two mappings, and a copy of the first between them. The charge of the
	 * first is moved, and has to be moved back
	 */
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW,
					 self->file, i * half, half,
					 START + i * 2 * half));
	ASSERT_EQ(0, copy_at(self->fd, self->ioas, self->ioas, MAP_RW, half,
			     START + half, START));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	pid = fork();
	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit))
			_exit(254);
		_exit(call_in_child(self->fd, by_mm, by_mm ? 0 : FILE_KB));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	/* The user's counter is the same before and after */
	EXPECT_EQ(by_mm ? ENOMEM : 0, WEXITSTATUS(status));
	EXPECT_TRUE(owns(self, by_mm, by_mm ? FILE_KB : 0));
}

/* The count stays the same, so nothing is needed up to the limit */
TEST_F(hand_over, same_address_space_needs_no_room)
{
	bool by_mm = variant->mode == BY_MM && !variant->privileged;
	int status;
	pid_t pid;

	ASSERT_EQ(0, map_file_at(self->fd, self->ioas, MAP_RW, self->file, 0,
				 2 * NR_FILE_PAGES * PAGE, START));
	/* A process with the memory of its parent */
	pid = vfork();
	if (!pid)
		_exit(change_process(self->fd) ? errno : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(owns(self, by_mm, 2 * FILE_KB));
}

TEST_HARNESS_MAIN

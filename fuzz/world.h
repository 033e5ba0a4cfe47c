/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fuzzer's world: what user programs have made through /dev/iommu, and the
 * state that the kernel should be in. See fuzz.c.
 *
 * struct world is shared between the processes of a sequence. Only the first
 * process runs the model; the others issue the calls that they are told to.
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <sys/ioctl.h>

/*
 * ioctl() of the selftests' headers is this function, which can spoil the
 * structure
 */
int fuzz_ioctl(int fd, unsigned long word, ...);
#define ioctl fuzz_ioctl

#include "../linux/tools/testing/selftests/iommu/container_util.h"
#include "../linux/tools/testing/selftests/iommu/mock_util.h"

#undef ioctl

#define MAX (~0ULL)
#define ARRAY_SIZE(_array) (sizeof(_array) / sizeof((_array)[0]))

/* The memory of each process: more than two batches of pins */
#define BUF 0x20000000ULL
#define NPAGES 1152
#define FIRST_PAGE (BUF / PAGE)

#define NPROCS 3
#define NCTX 2
#define NFILES 2
#define MAX_OBJECTS 512
#define MAX_AREAS 64
#define MAX_RANGES 64
#define MAX_ITEMS 32
#define MAX_OPS 160

struct range {
	__u64 start, last;
};

struct ranges {
	int nr;
	struct range at[MAX_RANGES];
};

/*
 * Memory
 */

/*
 * struct frame - a physical page
 * @pins: number of pins as memory of a process
 */
struct frame {
	int pins;
	unsigned char data[PAGE];
};

enum { GAP, ANON, SHARED };

/*
 * struct vpage - what a process has at a page of its memory
 * @kind: GAP, ANON or SHARED
 * @prot: of mmap()
 * @file: if SHARED, number of the file
 * @index: if SHARED, page of the file
 */
struct vpage {
	unsigned char kind, prot, file;
	unsigned short index;
};

/*
 * struct proc - a process
 * @frames: of ANON pages; NULL before the first write
 * @touch: pages that a failed call may have written to
 * @pinned: pages that VmPin counts
 * @locked: pages that VmLck counts
 */
struct proc {
	bool alive, fuzzy;
	pid_t pid;
	int to, from;
	struct vpage pages[NPAGES];
	struct frame *frames[NPAGES];
	bool touch[NPAGES];
	long pinned, locked;
};

/* struct file - a memfd. @frames: NULL is a hole */
struct file {
	int fd;
	int npages;
	struct frame *frames[NPAGES];
};

/* Objects of the kernel */

enum charge { NOBODY, USER, PROCESS };

/*
 * struct store - memory that areas share
 * @file: -1 for memory of @owner
 * @first: page number, of an address or of the file
 * @end: first byte after it
 * @bad: a file of the wrong kind
 * @need: number of users of each page
 * @held: frames that are pinned
 */
struct store {
	int refs;
	struct proc *owner;
	int file;
	__u64 first, last, end;
	bool writable, bad;
	enum charge charge;
	long npinned;
	unsigned short need[NPAGES];
	struct frame *held[NPAGES];
	bool visited;
};

/*
 * struct area - a mapping
 * @pos: address, or offset in the file, of the first byte
 * @prot: IOMMU_IOAS_MAP_READABLE and _WRITEABLE
 */
struct area {
	__u64 start, last;
	struct store *store;
	__u64 pos;
	__u32 prot;
	bool pinned;
};

struct unit_kind;

enum type { NONE, IOAS, HWPT, DEVICE, IDEV, ACCESS };

/* struct item - what an access has pinned with one call */
struct item {
	bool live;
	__u32 id;
	__u64 iova;
	__u64 npages;
};

/*
 * struct object - an object that has or had an id
 * @order: objects are listed in the order of creation
 */
struct object {
	enum type type;
	bool live;
	int ctx;
	__u32 id;
	int order;

	/* IOAS */
	bool small_pages;
	int nr;
	struct area areas[MAX_AREAS];
	struct ranges allowed, reserved;

	/* HWPT, ACCESS: the IOAS; NULL if an access has none */
	struct object *ioas;

	/* HWPT, DEVICE */
	const struct unit_kind *unit;

	/* HWPT. @known: it was attached to a device, so its limits are known */
	bool user_made, known;

	/*
	 * DEVICE, in the group of device @group or its own. @buffer: of a real
	 * device
	 */
	struct object *hwpt;
	struct object *group;
	struct ranges regions;
	int number, fd;
	void *edu;
	struct buffer *buffer;

	/* Of the DEVICE that stands for a group */
	struct object *table;
	struct ranges excluded;

	/* ACCESS */
	int access;
	bool pins, stubborn;
	struct item items[MAX_ITEMS];
};

/*
 * Operations
 */

/* How the structure of a request is spoiled */
enum mangle {
	PLAIN, SHORT, TAIL, BAD_TAIL, VAST, RESERVED, UNREADABLE, UNWRITABLE, OTHER_WORD,
};

/*
 * struct op - one call, with all random choices
 * @proc: the caller
 * @ctx: open file of /dev/iommu
 * @obj: number of an object
 * @obj2: number of another object
 * @slot: number of the first object that it makes
 *
 * Objects are numbered, so an operation means the same when others are left out.
 */
struct op {
	unsigned char type, proc, mangle, ctx;
	short obj, obj2, slot;
	__u32 flags;
	__u64 a, b, c;
};

/*
 * struct outcome - the actual or expected result
 * @ret: 0 or a negative errno
 * @other: another errno that is also right
 * @nr: numbers in @val that count
 * @check: bytes to compare in @data
 * @skip: the model does not know the result; do not make the call
 */
struct outcome {
	int ret, other;
	bool skip;
	int nr;
	__u64 val[2 * MAX_RANGES + 4];
	size_t check;
	unsigned char data[2 * PAGE];
	/* Ids chosen by the kernel */
	__u32 ids[4];
};

/*
 * struct world - everything
 * @limit: RLIMIT_MEMLOCK in pages, 0 for no limit
 * @charged: pages that are charged to the user of all processes
 */
struct world {
	__u64 seed;
	bool real;
	bool huge, only_files;
	bool trace, racing, ending;
	int spare;
	long limit;
	long charged;
	int order, next_slot;
	int ctx[NCTX];
	bool by_process[NCTX];
	struct object *container[NCTX];
	struct proc procs[NPROCS];
	struct file files[NFILES];
	int nr_ops;
	struct op ops[MAX_OPS];
	struct op op;
	struct outcome expect, got;
	struct object objects[MAX_OBJECTS];
	unsigned long calls, good;
	char call[2048];
	char failed[1024];
	int failed_kind;
};

extern struct world *w;

/*
 * struct op_type - a kind of operation
 * @weight: how often it is chosen
 * @where: ANYWHERE, or the one where it makes sense
 * @alone: not while threads race
 * @gen: choose its arguments
 * @model: set the expected result and change the world
 * @issue: make the call
 * @bind: record the ids that the kernel chose
 * @print: the call as a test has it
 * @errnos: all errnos that it can return, whatever others do meanwhile
 */
struct op_type {
	const char *name;
	int weight;
	enum { ANYWHERE, MOCK, REAL } where;
	bool alone;
	void (*gen)(struct op *op);
	void (*model)(const struct op *op, struct outcome *out);
	void (*issue)(const struct op *op, struct outcome *out);
	void (*bind)(const struct op *op, const struct outcome *got);
	void (*print)(const struct op *op);
	const int *errnos;
};

/* All operations that make sense here */
extern const struct op_type *op_types[];
extern int nr_op_types;

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void run_in(int proc, const struct op *op);

/* fuzz.c */
__u64 rnd(__u64 n);
bool chance(int one_in);

/* model.c */

/*
 * struct unit_kind - an IOMMU
 * @flags: of a mock device behind it
 * @reach: of its page tables
 * @sizes: of its pages
 */
struct unit_kind {
	__u32 flags;
	struct range reach;
	__u64 sizes;
};

extern const struct unit_kind mock_units[], vtd_unit;
#define NR_UNITS 6

struct object *find(int ctx, int slot, enum type type);
#define ANY ((enum type)-1)
bool meets(const struct range *r, __u64 start, __u64 last);
__u64 alignment_of(const struct object *ioas);
void free_ranges(const struct object *ioas, struct ranges *out);
void reserved_ranges(const struct object *ioas, struct ranges *out);
struct area *area_at(struct object *ioas, __u64 iova);
struct frame *frame_at(const struct area *area, __u64 iova);
struct frame *new_frame(const struct frame *from);
struct frame *look(struct proc *p, int page, bool write);

int m_map(struct object *ioas, struct store *store, __u32 flags, __u64 pos,
	  __u64 length, __u64 *iova, int *other);
struct store *m_store(struct proc *owner, int file, __u64 pos, __u64 length,
		      bool writable, enum charge charge);
void m_drop(struct store *store);
int m_copy(struct object *dst, struct object *src, __u32 flags, __u64 length,
	   __u64 *dst_iova, __u64 src_iova, int *other);
int m_unmap(struct object *ioas, __u64 first, __u64 last, __u64 *bytes);
int m_cut(struct object *ioas, __u64 at);
int m_attach(struct object *dev, struct object *to, int slot,
	     struct object **table, int *other);
void m_detach(struct object *dev);
void m_unbind(struct object *dev);
int m_make_hwpt(struct object *dev, struct object *ioas, int slot, int *other);
int m_destroy(struct object *obj);
int m_allow(struct object *ioas, const struct ranges *list);
int m_reserve(struct object *ioas, const struct ranges *list);
int m_set_huge(struct object *ioas, __u64 huge);
int m_access_attach(struct object *access, struct object *ioas);
void m_access_detach(struct object *access);
int m_access_pin(struct object *access, __u64 iova, __u64 npages, bool write,
		 int *other);
void m_access_unpin(struct object *access, struct item *item);
int m_access_check(struct object *access, __u64 iova, __u64 length, bool write);
int m_touch(struct area *area, __u64 iova, struct frame **frame);
int m_change_process(int ctx, struct proc *to);
void m_close(int ctx);
struct object *m_new(int slot, enum type type, int ctx);
#endif

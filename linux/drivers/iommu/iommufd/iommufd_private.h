/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The objects of iommufd and what their files offer to each other.
 *
 *     context --- ids ---+--- IOAS: areas (IOVA -> pages), reserved ranges
 *        |               |     |                  |
 *        |               |     |                pages: memory, shared by areas
 *        |               |     |
 *        |               +--- page table (HWPT): an iommu_domain kept equal to
 *        |               |     |                 the areas of its IOAS
 *        +--- group -----------+
 *              |         |
 *              +--- device
 *                        |
 *                        +--- access: a driver of the kernel that reaches the
 *                                     memory of an IOAS
 *
 * Lock order, outermost first. A path may leave out any of them.
 *
 *     iommufd_ctx::held_lock
 *     iommufd_device::bound
 *     iommufd_group::lock
 *     iommufd_ioas::attach_lock
 *     iommufd_access::lock
 *     iommufd_ioas::domains_lock
 *     iova_space::lock
 *     iommufd_pages::lock
 *     iommufd_dirty::lock
 *     mmap_lock
 *     the locks of a driver under which it serves page faults
 *     iommufd_mmio::lock
 *     iommufd_hwpt::mmio_lock
 *     the locks of the IOMMU core and its drivers
 *
 * Memory is pinned, and page faults taken, under domains_lock at most, and under
 * none of those after it. mmap_lock is taken under iommufd_pages::lock to charge by
 * address space. A driver revokes its memory with its own locks held, so from there on
 * no lock before them is taken.
 *
 * iommufd_ctx::groups_lock is taken under locks that are other users' too, so what
 * waits for memory of a user is not done under it.
 */
#ifndef __IOMMUFD_PRIVATE_H
#define __IOMMUFD_PRIVATE_H

#include <linux/fs.h>
#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

/**
 * struct iommufd_ctx - one open /dev/iommu
 * @file: the file, which lives as long as someone uses the context
 * @objects: id to object, ids from 1; a reserved id has no object yet
 * @groups_lock: protects @groups and what they have claimed
 * @groups: struct iommufd_group of the devices bound to this context
 * @held_lock: lets one request at a time have all areas
 * @nr_mapped: areas in all IOAS, each as often as its iova_space says. The module
 *             parameter max_areas limits it
 * @owner: who mapped last, to be found without a lock by who maps next
 * @container: IOAS that stands for a container of VFIO, or NULL; protected by the
 *             lock of @objects
 * @noiommu: groups without an IOMMU were given to it, so it can't have @container;
 *           protected by the lock of @objects
 * @charge_mm: option: who maps from now on is charged by address space. It
 *             changes only under the lock of @objects, while there are none
 */
struct iommufd_ctx {
	struct file *file;
	struct xarray objects;
	struct mutex groups_lock; /* see above */
	struct list_head groups;
	struct mutex held_lock; /* see above */
	atomic_long_t nr_mapped;
	struct iommufd_owner __rcu *owner;
	struct iommufd_object *container;
	bool noiommu;
	bool charge_mm;
};

/*
 * One request
 */

/**
 * struct iommufd_request - an ioctl being served
 * @ctx: the context it came to
 * @user: the caller's structure
 * @user_size: its size as the caller says
 * @cmd: the kernel's copy, zero beyond @user_size
 */
struct iommufd_request {
	struct iommufd_ctx *ctx;
	void __user *user;
	u32 user_size;
	void *cmd;
};

/**
 * iommufd_answer - write a request's structure back
 * @req: the request
 * @size: bytes of it that the kernel knows
 *
 * Return: 0 or -EFAULT.
 */
static inline int iommufd_answer(struct iommufd_request *req, size_t size)
{
	size = min_t(size_t, req->user_size, size);
	return copy_to_user(req->user, req->cmd, size) ? -EFAULT : 0;
}

/*
 * object.c: ids and references
 */
enum iommufd_object_type {
	IOMMUFD_OBJECT_ANY,
	IOMMUFD_OBJECT_IOAS,
	IOMMUFD_OBJECT_HWPT,
	IOMMUFD_OBJECT_DEVICE,
	IOMMUFD_OBJECT_ACCESS,
	IOMMUFD_OBJECT_TEST,
};

/**
 * struct iommufd_object - head, and first member, of everything that has an id
 * @refs: who may touch the memory: the id, and each request that looked it up.
 *        The last one to go releases the object, so nobody ever waits
 * @users: 1 for the id and 1 for each object or driver that depends on this
 *         one. DESTROY takes it from 1 to 0, after which nobody can begin to
 *         depend on the object. Never raised only to look
 * @type: what it is
 * @id: its id, constant
 * @release: called when the last reference is gone, by anyone who had it; NULL if
 *           there is nothing to do but to free the memory
 * @rcu: lookups take no lock
 */
struct iommufd_object {
	refcount_t refs;
	refcount_t users;
	enum iommufd_object_type type;
	u32 id;
	void (*release)(struct iommufd_object *obj);
	struct rcu_head rcu;
};

void *iommufd_object_alloc(struct iommufd_ctx *ctx, size_t size,
			   enum iommufd_object_type type,
			   void (*release)(struct iommufd_object *obj));
void iommufd_object_publish(struct iommufd_ctx *ctx,
			    struct iommufd_object *obj);
void iommufd_object_abort(struct iommufd_ctx *ctx, struct iommufd_object *obj);
struct iommufd_object *iommufd_object_get(struct iommufd_ctx *ctx, u32 id,
					  enum iommufd_object_type type);
void iommufd_object_put(struct iommufd_object *obj);
int iommufd_object_remove(struct iommufd_ctx *ctx, u32 id);
void iommufd_object_unuse_last(struct iommufd_ctx *ctx,
			       struct iommufd_object *obj);
void iommufd_object_withdraw(struct iommufd_ctx *ctx,
			     struct iommufd_object *obj);
void iommufd_object_remove_all(struct iommufd_ctx *ctx);
int iommufd_destroy(struct iommufd_request *req);

/**
 * iommufd_object_use - begin to depend on an object
 * @obj: object that the caller holds a reference to
 *
 * Return: false when the object is being destroyed.
 */
static inline bool iommufd_object_use(struct iommufd_object *obj)
{
	return refcount_inc_not_zero(&obj->users);
}

/**
 * iommufd_object_unuse - end what iommufd_object_use() began
 * @obj: the object
 */
static inline void iommufd_object_unuse(struct iommufd_object *obj)
{
	refcount_dec(&obj->users);
}

/*
 * Areas: what is mapped where
 */

enum iommufd_area_owner {
	IOMMUFD_AREA_FREE,
	IOMMUFD_AREA_MAP,
	IOMMUFD_AREA_UNMAP,
};

/**
 * struct iommufd_area - one mapping
 * @node: in iova_space::areas, by @start
 * @start: first IOVA
 * @last: last IOVA
 * @gap: free IOVA between the area below and this one; 0 for the lowest
 * @max_gap: largest @gap in the subtree
 * @pages: the memory; the area is one of its users
 * @part: what of @pages the area needs, or NULL for all
 * @index: which of @pages @start is in
 * @page_offset: where @start is in that page
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE
 * @owner: the MAP or UNMAP that owns the area
 * @filled: every page table of the IOAS maps the area; nothing to do if there
 *          is none
 * @pinned: the area has pinned @pages
 * @accessed: what accesses have pinned of the area, in pages, and what they are
 *            about to copy
 * @batch: list of areas that a request makes or removes together
 *
 * Who may write a field depends on @owner. What is not in the table is constant while
 * the area is in the tree.
 *
 *              MAP               FREE               UNMAP
 *  @node,      space lock        space lock         space lock
 *  @gap
 *  @owner      the MAP, with     space lock         space lock
 *              release
 *  @filled     the MAP [1]       nobody             the UNMAP [1]
 *  @pinned     the MAP           domains_lock [2]   the UNMAP once @filled is clear;
 *                                                   domains_lock [2] before
 *  @accessed   nobody, it is 0   space lock         space lock, and only down
 *  @batch      the MAP           nobody             the UNMAP
 *
 * [1] with domains_lock held for read, so that @filled does not change for who holds
 * it for write and makes or removes a page table
 * [2] held for write: the first table pins, the last one unpins. It passes by areas
 * that are not @filled
 *
 * An UNMAP frees the area, but only from FREE. So a MAP does not touch the area after
 * area_give_back().
 */
struct iommufd_area {
	struct rb_node node;
	unsigned long start;
	unsigned long last;
	unsigned long gap;
	unsigned long max_gap;
	struct iommufd_pages *pages;
	struct interval_tree_node *part;
	unsigned long index;
	unsigned int page_offset;
	u8 prot;
	u8 owner; /* enum iommufd_area_owner */
	bool filled;
	bool pinned;
	unsigned long accessed;
	struct list_head batch;
};

static inline unsigned long area_length(struct iommufd_area *area)
{
	return area->last - area->start + 1;
}

/* Who has an area in its hands; iova_space::lock is held */
static inline enum iommufd_area_owner area_owner(struct iommufd_area *area)
{
	/* Pairs with area_give_back() */
	return smp_load_acquire(&area->owner);
}

/* The owner is done with an area, which an UNMAP can free from now on */
static inline void area_give_back(struct iommufd_area *area)
{
	/* Pairs with area_owner() */
	smp_store_release(&area->owner, IOMMUFD_AREA_FREE);
}

/*
 * charge.c: who is charged
 */

/**
 * struct iommufd_owner - whose memory is mapped, and who is charged for it
 * @refs: pages, and iommufd_ctx::owner
 * @mm: address space
 * @task: whose RLIMIT_MEMLOCK counts
 * @cred: of which the user is charged
 * @rcu: it is found without a lock
 */
struct iommufd_owner {
	refcount_t refs;
	struct mm_struct *mm;
	struct task_struct *task;
	const struct cred *cred;
	struct rcu_head rcu;
};

/**
 * enum iommufd_charge - what is held against RLIMIT_MEMLOCK
 * @IOMMUFD_CHARGE_NOBODY: nothing
 * @IOMMUFD_CHARGE_USER: what the user has pinned
 * @IOMMUFD_CHARGE_MM: what the address space has locked
 */
enum iommufd_charge {
	IOMMUFD_CHARGE_NOBODY,
	IOMMUFD_CHARGE_USER,
	IOMMUFD_CHARGE_MM,
};

struct iommufd_owner *iommufd_owner_get(struct iommufd_ctx *ctx);
void iommufd_owner_put(struct iommufd_owner *owner);
int iommufd_owner_charge(struct iommufd_owner *owner,
			 enum iommufd_charge charge, unsigned long npages,
			 bool force);
void iommufd_owner_uncharge(struct iommufd_owner *owner,
			    enum iommufd_charge charge, unsigned long npages);
int iommufd_owner_move_charge(struct iommufd_owner *from,
			      struct iommufd_owner *to,
			      enum iommufd_charge charge, unsigned long npages,
			      bool force);

/*
 * mmio.c: memory of devices
 */

/**
 * struct iommufd_mmio - the memory of one device
 * @refs: held by the driver, by dma-bufs, and by each struct iommufd_pages in it
 * @lock: protects what follows, and what page tables map of the memory
 * @revoked: no page table maps any of it
 * @missing: the last restore could not map all of it
 * @uses: struct mmio_use, sorted by page table and IOVA, so that one flush per table
 *        is enough
 */
struct iommufd_mmio {
	refcount_t refs;
	struct mutex lock; /* see above */
	bool revoked;
	bool missing;
	struct rb_root uses;
};

/**
 * struct iommufd_place - where memory of a device is
 * @mmio: the device's
 * @phys: of the first byte of the first page
 */
struct iommufd_place {
	struct iommufd_mmio *mmio;
	phys_addr_t phys;
};

int iommufd_mmio_of_mm(struct mm_struct *mm, unsigned long uva,
		       unsigned long length, bool write,
		       struct iommufd_place *place);
int iommufd_mmio_of_file(struct file *file, unsigned long start,
			 unsigned long length, struct iommufd_place *place);

/*
 * pages.c: pages, and the store of what is pinned
 */

/**
 * struct iommufd_pages - a range of memory, of which some can be pinned
 * @refs: areas, and accesses that have pinned some
 * @lock: protects what follows up to @before, @is_mmio and @found. Never held in a
 *        page fault, but as long as it takes to unpin a range
 * @chunks: the PFN store, see pages.c
 * @chunk: instead of @chunks when there is room for one only
 * @place: used instead of both if @is_mmio
 * @changes: counts changes of chunks that had been stored
 * @npinned: pages in the store
 * @whole: how many need all pages pinned
 * @needs: what of the pages others need, by index
 * @owner: who is charged; changes only if there is a @file
 * @before: who was, while that changes
 * @npages: pages in the range
 * @uva: address of the first one, or its place in the file
 * @file: the memory is this file's; an ERR_PTR if it has none that can be pinned;
 *        or NULL for memory of the owner
 * @charge: how the limit applies; decided once, when the range was mapped
 * @writable: devices may write
 * @is_mmio: the range is memory of a device; constant while anyone needs a part
 * @found: that was found out by address, and holds until nobody needs a part
 * @area: the first area, which has all of the pages. Its memory is in here, since
 *        hardly any pages have more than one
 */
struct iommufd_pages {
	refcount_t refs;
	struct mutex lock; /* see above */
	union {
		struct xarray chunks;
		void *chunk;
		struct iommufd_place place;
	};
	unsigned long changes;
	unsigned long npinned;
	unsigned long whole;
	struct rb_root_cached needs;
	struct iommufd_owner *owner;
	struct iommufd_owner *before;
	unsigned long npages;
	unsigned long uva;
	struct file *file;
	u8 charge; /* enum iommufd_charge */
	bool writable;
	bool is_mmio;
	bool found;
	struct iommufd_area area;
};

/**
 * struct iommufd_run - physically contiguous pages
 * @pfn: the first
 * @npages: how many
 */
struct iommufd_run {
	unsigned long pfn;
	unsigned long npages;
};

/**
 * struct iommufd_mapping - what is to be mapped, and where
 * @flags: IOMMU_IOAS_MAP_*
 * @fd: file descriptor of the memory, or NULL for memory of the calling process
 * @start: first byte, an address or a place in the file
 * @length: bytes
 * @iova: where; the answer unless it is fixed
 * @charge_mm: what is pinned is charged by address space, not by user
 */
struct iommufd_mapping {
	u32 flags;
	const s32 *fd;
	u64 start;
	u64 length;
	u64 iova;
	bool charge_mm;
};

struct iommufd_pages *iommufd_pages_alloc(struct iommufd_ctx *ctx,
					  struct file *file,
					  const struct iommufd_mapping *map);
void iommufd_pages_put(struct iommufd_pages *pages);
int iommufd_pages_pin(struct iommufd_pages *pages,
		      struct interval_tree_node *part);
void iommufd_pages_unpin(struct iommufd_pages *pages,
			 struct interval_tree_node *part);
void iommufd_pages_keep(struct iommufd_pages *pages, unsigned long first,
			unsigned long last);
int iommufd_pages_move_charge(struct iommufd_pages *pages,
			      struct iommufd_owner *owner);
void iommufd_pages_end_move(struct iommufd_pages *pages, bool commit);

/**
 * struct iommufd_cursor - place in pinned pages, walked run by run
 * @pages: the pages
 * @index: the next page
 * @run: its run in the table of its chunk, or NULL to look it up
 * @changes: as iommufd_pages::changes was when @run was looked up
 */
struct iommufd_cursor {
	struct iommufd_pages *pages;
	unsigned long index;
	const u64 *run;
	unsigned long changes;
};

unsigned int iommufd_cursor_next(struct iommufd_cursor *cur, unsigned long last,
				 struct iommufd_run *runs, unsigned int max);

/*
 * pin.c: getting hold of memory
 */
int iommufd_hold_file(struct iommufd_pages *pages, struct file *file,
		      const struct iommufd_mapping *map);
void iommufd_release_file(struct iommufd_pages *pages);
int iommufd_pin_list(struct iommufd_pages *pages, unsigned long index,
		     unsigned long npages, struct page **list);
void iommufd_unpin_list(struct iommufd_pages *pages, struct page **list,
			unsigned long npages);
void iommufd_put_file_run(struct iommufd_pages *pages, unsigned long pfn,
			  unsigned long npages);

/* Unpin contiguous pages that devices may have written; inline since it is per run */
static inline void iommufd_unpin_run(struct iommufd_pages *pages,
				     unsigned long pfn, unsigned long npages)
{
	if (pages->file)
		iommufd_put_file_run(pages, pfn, npages);
	else
		unpin_user_page_range_dirty_lock(pfn_to_page(pfn), npages,
						 pages->writable);
}

/*
 * iova.c: the IOVA space
 */

/**
 * struct iova_space - which IOVA are mapped, and which can't be
 * @lock: protects all of it. Held no longer than a walk of all areas takes: never
 *        while memory is pinned, a page table is changed or user memory is touched
 * @areas: struct iommufd_area, which never overlap
 * @reserved: ranges that devices and page tables exclude, which may overlap
 * @allowed: ranges that the user wants to be able to use, which don't; all if
 *           there are none
 * @alignment: what start and length of an area are multiples of, in bytes
 * @nr_areas: areas in @areas
 * @nr_tables: page tables that the program has made. Each fills kernel memory for
 *             each area, so an area counts that often against the limit, or once if
 *             there are none
 * @total: iommufd_ctx::nr_mapped
 * @changed: those who wait for an UNMAP or an access of others to end
 * @nr_changes: how many of those have ended
 */
struct iova_space {
	struct mutex lock; /* see above */
	struct rb_root_cached areas;
	struct rb_root_cached reserved;
	struct rb_root_cached allowed;
	unsigned long alignment;
	unsigned long nr_areas;
	unsigned long nr_tables;
	atomic_long_t *total;
	wait_queue_head_t changed;
	unsigned long nr_changes;
};

struct iova_range {
	unsigned long start;
	unsigned long last;
};

/**
 * struct iova_reserved - a reserved range
 * @node: in iova_space::reserved
 * @next: another range of the same owner, who has them all in a list
 */
struct iova_reserved {
	struct interval_tree_node node;
	struct iova_reserved *next;
};

void iova_space_init(struct iova_space *space, atomic_long_t *total);
int iova_space_add_table(struct iova_space *space);
void iova_space_remove_table(struct iova_space *space);
int iova_space_insert(struct iova_space *space, struct list_head *batch,
		      unsigned long *iova, unsigned long length,
		      unsigned long uva, bool fixed);
void iova_space_erase(struct iova_space *space, struct list_head *batch);
int iova_space_halve(struct iova_space *space, struct list_head *old,
		     struct list_head *new);
void iova_space_changed(struct iova_space *space);
int iova_space_wait(struct iova_space *space, unsigned long changes);
struct iommufd_area *iova_space_first(struct iova_space *space,
				      unsigned long start);
struct iommufd_area *iova_space_next(struct iommufd_area *area);
unsigned long iova_space_last(struct iova_space *space);
int iova_reserved_add(struct iova_reserved **list, unsigned long start,
		      unsigned long last);
void iova_reserved_free(struct iova_reserved *list);
int iova_space_reserve(struct iova_space *space, struct iova_reserved *list);
void iova_space_unreserve(struct iova_space *space, struct iova_reserved *list);
int iova_space_allow(struct iova_space *space, struct rb_root_cached *allowed);
void iova_ranges_free(struct rb_root_cached *ranges);
int iova_space_align(struct iova_space *space, unsigned long alignment);
bool iova_space_usable(struct iova_space *space, unsigned long from,
		       struct iova_range *range, unsigned long *alignment);

/*
 * dirty.c: what devices may have written
 */

/**
 * struct iommufd_dirty - what may have been written since somebody asked
 * @lock: protects all of it; nothing is locked inside
 * @tracked: somebody wants to know
 * @all: there was no memory to note it, so everything counts
 * @chunks: bitmaps of pages, each of 512, by IOVA
 */
struct iommufd_dirty {
	struct mutex lock; /* see above */
	bool tracked;
	bool all;
	struct xarray chunks;
};

/*
 * ioas.c: the I/O address space
 */

/**
 * struct iommufd_ioas - an I/O address space
 * @obj: head
 * @ctx: the context that has the id
 * @attach_lock: held while a device is attached here, so that two devices which
 *               could share a new page table do
 * @domains_lock: held for write to change @hwpts, to attach their domains and
 *                detach them, and to give a new page table the areas; held for
 *                read to map and unmap in all of them
 * @hwpts: struct iommufd_hwpt that hold every area that is filled
 * @reach: a map up to here changes the root of no table in @hwpts, so it can run
 *         beside others; protected by domains_lock
 * @small_pages: option: map with pages of the CPU's size; protected by
 *               domains_lock
 * @nr_pinners: accesses that can pin, which needs pages of the CPU's size;
 *              protected by domains_lock
 * @space: the areas
 * @accesses: struct iommufd_access that reach the areas; protected by
 *            iova_space::lock
 * @test_reserved: ranges that tests reserve; protected by iova_space::lock
 * @held: list of IOAS whose areas are held for a request on all of them;
 *        protected by iommufd_ctx::held_lock
 * @dirty: what a container is told to be dirty
 */
struct iommufd_ioas {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	struct mutex attach_lock; /* see above */
	struct rw_semaphore domains_lock;
	struct list_head hwpts;
	unsigned long reach;
	bool small_pages;
	unsigned int nr_pinners;
	struct iova_space space;
	struct list_head accesses;
	struct iova_reserved *test_reserved;
	struct list_head held;
	struct iommufd_dirty dirty;
};

static inline struct iommufd_ioas *to_ioas(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_ioas, obj);
}

/**
 * iommufd_ioas_get - look up the id of an IOAS
 * @ctx: context of the id
 * @id: what the user gave
 *
 * Return: the IOAS, to be given back with iommufd_object_put(), or an ERR_PTR of
 * -ENOENT.
 */
static inline struct iommufd_ioas *iommufd_ioas_get(struct iommufd_ctx *ctx,
						    u32 id)
{
	struct iommufd_object *obj;

	obj = iommufd_object_get(ctx, id, IOMMUFD_OBJECT_IOAS);
	return IS_ERR(obj) ? ERR_CAST(obj) : to_ioas(obj);
}

struct iommufd_ioas *iommufd_ioas_create(struct iommufd_ctx *ctx);
int iommufd_ioas_set_huge_pages(struct iommufd_ioas *ioas, u64 huge);
int iommufd_ioas_alloc(struct iommufd_request *req);
int iommufd_ioas_allow_iovas(struct iommufd_request *req);
int iommufd_ioas_iova_ranges(struct iommufd_request *req);
int iommufd_ioas_map(struct iommufd_request *req);
int iommufd_ioas_map_file(struct iommufd_request *req);
int iommufd_ioas_copy(struct iommufd_request *req);
int iommufd_ioas_unmap(struct iommufd_request *req);
int iommufd_ioas_change_process(struct iommufd_request *req);
int iommufd_option(struct iommufd_request *req);

static inline bool iommufd_dirty_tracked(struct iommufd_ioas *ioas)
{
	return READ_ONCE(ioas->dirty.tracked);
}

void iommufd_dirty_init(struct iommufd_dirty *dirty);
void iommufd_dirty_destroy(struct iommufd_dirty *dirty);
void iommufd_dirty_stop(struct iommufd_ioas *ioas);
void iommufd_dirty_note(struct iommufd_ioas *ioas, unsigned long first,
			unsigned long last);
void iommufd_dirty_note_mapped(struct iommufd_ioas *ioas, unsigned long first,
			       unsigned long last);
bool iommufd_dirty_next_mapped(struct iommufd_ioas *ioas, unsigned long last,
			       struct iova_range *range);
bool iommufd_dirty_take(struct iommufd_ioas *ioas, unsigned long page,
			unsigned long nr, unsigned long *bits);
void iommufd_dirty_forget(struct iommufd_ioas *ioas, unsigned long first,
			  unsigned long last);

/*
 * dirty_bitmap.c: what a container is told to be dirty
 */
int iommufd_dirty_start(struct iommufd_ioas *ioas);
int iommufd_dirty_read(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long npages, bool keep, void __user *user);

/*
 * areas.c: how areas are made and removed
 */
int iommufd_areas_map(struct iommufd_ioas *ioas, struct iommufd_mapping *map);
int iommufd_areas_copy(struct iommufd_ioas *dst, struct iommufd_ioas *src,
		       unsigned long first, unsigned long last,
		       struct iommufd_mapping *map);
int iommufd_areas_unmap(struct iommufd_ioas *ioas, unsigned long first,
			unsigned long last, bool going, unsigned long *unmapped);
int iommufd_areas_cut(struct iommufd_ioas *ioas, unsigned long at);

/*
 * unit.c: the IOMMU of a device
 */

/* No page table of a driver that grows them reaches less than this */
#define IOMMUFD_FIRST_REACH U32_MAX

/**
 * struct iommufd_unit - an IOMMU, and what its driver does not stand
 * @ops: the driver's, only to be compared
 * @unfit: why no device behind it can be bound, or NULL
 * @grows: a map above all that a page table has reached may change the table's root
 *         without a lock, so nobody else may map or unmap meanwhile
 * @frees_early: an unmap that flushes before it is in its gather frees page tables
 *               that the IOMMU still walks
 * @vtd: it is a unit of VT-d, and these are known:
 * @cap: its capability register
 * @ecap: its extended capability register
 */
struct iommufd_unit {
	const struct iommu_ops *ops;
	const char *unfit;
	bool grows;
	bool frees_early;
	bool vtd;
	u64 cap;
	u64 ecap;
};

int iommufd_unit_of(struct device *dev, struct iommufd_unit *unit);
bool iommufd_units_alike(const struct iommufd_unit *a,
			 const struct iommufd_unit *b);
void *iommufd_unit_info(const struct iommufd_unit *unit, struct device *dev,
			u32 *length, u32 *type);
struct iommufd_maker *iommufd_maker_get(struct device *dev);
void iommufd_maker_put(struct iommufd_maker *maker);

/*
 * Page tables
 */

/**
 * struct iommufd_hwpt - a page table that mirrors an IOAS
 * @obj: head
 * @ioas: what it mirrors; used as long as the table exists
 * @unit: IOMMU that it was made for; it serves all that iommufd_units_alike()
 *        says are alike
 * @maker: where it counts, if a program made it; NULL otherwise
 * @user_made: made by IOMMU_HWPT_ALLOC. It stays until it is destroyed, and is
 *             attached only by its own id. Else it was made for an attach, and
 *             goes with the last device
 * @domain: the IOMMU driver's side
 * @mmio_lock: held to attach, detach and grow @domain, which also needs domains_lock
 *             for write; and to map and unmap memory of devices, which a revocation
 *             does without domains_lock
 * @ioas_item: in iommufd_ioas::hwpts, or empty before the table is filled;
 *             protected by domains_lock
 * @aperture: IOVA that the hardware reaches. It only ever gets smaller, since
 *            VT-d reports that of the device attached last. Protected by
 *            domains_lock
 * @beyond: what is reserved because it is outside; protected by domains_lock
 * @doorbells: what is reserved because the kernel maps doorbells there, or NULL;
 *             protected by iommufd_ioas::attach_lock
 * @coherent: no device can bypass the CPU caches; constant once filled
 */
struct iommufd_hwpt {
	struct iommufd_object obj;
	struct iommufd_ioas *ioas;
	struct iommufd_unit unit;
	struct iommufd_maker *maker;
	struct iommu_domain *domain;
	struct mutex mmio_lock; /* see above */
	struct list_head ioas_item;
	struct iova_range aperture;
	struct iova_reserved *beyond;
	struct iova_reserved *doorbells;
	bool user_made;
	bool coherent;
};

static inline struct iommufd_hwpt *to_hwpt(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_hwpt, obj);
}

/*
 * table.c: the entries of a page table
 */
static inline unsigned long iommufd_min_page(struct iommu_domain *domain)
{
	return 1UL << __ffs(domain->pgsize_bitmap);
}

int iommufd_table_grow(struct iommufd_hwpt *hwpt, unsigned long last);
int iommufd_table_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_table_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			 struct iommu_iotlb_gather *gather);

/*
 * revoke.c: memory of devices in page tables
 */
int iommufd_mmio_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_mmio_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_mmio_halve(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommufd_area *lower, struct iommufd_area *upper);

/*
 * hwpt.c: page tables
 */
struct iommufd_hwpt *iommufd_hwpt_create(struct iommufd_ioas *ioas,
					 const struct iommufd_unit *unit,
					 struct device *dev, bool user_made);
int iommufd_hwpt_attach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable);
int iommufd_hwpt_detach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable);
int iommufd_hwpt_take_doorbells(struct iommufd_hwpt *hwpt,
				const struct iommu_resv_region *region);
int iommufd_hwpt_explore(struct iommufd_hwpt *hwpt, struct iommu_group *group);
int iommufd_hwpt_imitate(struct iommufd_hwpt *hwpt, struct iommufd_hwpt *model);
int iommufd_hwpt_settle(struct iommufd_hwpt *hwpt);
struct iommufd_hwpt *iommufd_hwpt_next(struct iommufd_ioas *ioas,
				       const struct iommufd_unit *unit,
				       struct iommufd_hwpt *prev);
void iommufd_hwpt_unuse(struct iommufd_hwpt *hwpt);
int iommufd_hwpt_grow(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
int iommufd_hwpt_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
bool iommufd_hwpt_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommu_iotlb_gather *gather);
void iommufd_hwpt_unmap_sync(struct iommufd_hwpt *hwpt,
			     struct iommufd_area *area);
int iommufd_hwpt_align(struct iommufd_ioas *ioas);

/*
 * device.c: devices and their groups
 */

/**
 * struct iommufd_group - the part of a context in an iommu_group
 * @ctx_item: in iommufd_ctx::groups
 * @group: the group, whose DMA the context owns as long as this exists
 * @nr_bound: bound devices; protected by iommufd_ctx::groups_lock
 * @changed: a device was bound or unbound since @regions were read
 * @lock: protects all that follows, and iommufd_device::attached
 * @regions: struct iommu_resv_region, what the group's devices don't translate
 * @hwpt: page table that the attached devices share, used, or NULL
 * @reserved: @regions, as they are reserved in the IOAS of @hwpt
 * @live: table that the IOMMU uses for the group: @hwpt but for the time of a
 *        change, NULL when the group is blocked
 * @nr_attached: attached devices
 */
struct iommufd_group {
	struct list_head ctx_item;
	struct iommu_group *group;
	unsigned int nr_bound;
	bool changed;
	struct mutex lock; /* see above */
	struct list_head regions;
	struct iommufd_hwpt *hwpt;
	struct iova_reserved *reserved;
	struct iommufd_hwpt *live;
	unsigned int nr_attached;
};

/**
 * struct iommufd_device - a device bound to a context
 * @obj: head
 * @ctx: the context, referenced
 * @bound: held for read by requests that came by the id, and for write to unbind,
 *         which waits for them
 * @igroup: its group, NULL when the device is unbound
 * @unit: its IOMMU
 * @dev: the device; not to be touched after it was unbound
 * @attached: counted in iommufd_group::nr_attached
 */
struct iommufd_device {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	struct rw_semaphore bound; /* see above */
	struct iommufd_group *igroup;
	struct iommufd_unit unit;
	struct device *dev;
	bool attached;
};

static inline struct iommufd_device *to_idev(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_device, obj);
}

struct iommufd_device *iommufd_bind_noref(struct iommufd_ctx *ctx,
					  struct device *dev, u32 *id);
void iommufd_unbind_noref(struct iommufd_device *idev);
int iommufd_make_hwpt(struct iommufd_request *req);
int iommufd_hw_info(struct iommufd_request *req);

/*
 * access.c: drivers of the kernel that reach memory themselves
 */

/**
 * struct iommufd_access - a way for a driver to the memory of an IOAS
 * @obj: head
 * @ctx: the context, referenced
 * @ops: what the driver does
 * @owner: the driver's, for @ops
 * @lock: held to pin and unpin; protects @ioas, @changing and the values of @pins
 * @ioas: the IOAS, used, or NULL
 * @changing: another thread attaches or detaches; nothing can be pinned
 * @pins: struct access_pin by the number of the page in the IOVA space
 * @item: in iommufd_ioas::accesses
 * @nr_notices: calls of @ops that are going on; protected by iova_space::lock
 */
struct iommufd_access {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	const struct iommufd_access_ops *ops;
	void *owner;
	struct mutex lock; /* see above */
	struct iommufd_ioas *ioas;
	bool changing;
	struct xarray pins;
	struct list_head item;
	unsigned int nr_notices;
};

int iommufd_access_evict(struct iommufd_ioas *ioas, struct iommufd_area *area);
unsigned long iommufd_access_pinned(struct iommufd_ioas *ioas,
				    unsigned long *iova, unsigned long last);

/*
 * vfio_compat.c: the container of VFIO
 */
int iommufd_vfio_ioas(struct iommufd_request *req);
long iommufd_container_ioctl(struct iommufd_ctx *ctx, unsigned int word,
			     unsigned long arg);

/*
 * selftest.c: the mock IOMMU, and what else only tests need
 */
#ifdef CONFIG_IOMMUFD_TEST
/* A flag of IOMMU_IOAS_COPY that goes with iommufd_test_syz_iova() */
#define IOMMUFD_TEST_SYZ BIT(16)

int iommufd_test_init(void);
void iommufd_test_exit(void);
int iommufd_test(struct iommufd_request *req);
void iommufd_test_set_habits(struct device *dev, struct iommufd_unit *unit);
void *iommufd_test_hw_info(struct device *dev, u32 *length, u32 *type);
void iommufd_test_syz_iova(struct iommufd_ioas *ioas, u32 flags, u64 *iova);
unsigned long iommufd_test_limit(unsigned long npages);
bool iommufd_should_fail(void);
#else
#define IOMMUFD_TEST_SYZ 0

static inline int iommufd_test_init(void)
{
	return 0;
}

static inline void iommufd_test_exit(void)
{
}

static inline void iommufd_test_set_habits(struct device *dev,
					   struct iommufd_unit *unit)
{
}

static inline void *iommufd_test_hw_info(struct device *dev, u32 *length,
					 u32 *type)
{
	return NULL;
}

static inline void iommufd_test_syz_iova(struct iommufd_ioas *ioas, u32 flags,
					 u64 *iova)
{
}

static inline unsigned long iommufd_test_limit(unsigned long npages)
{
	return npages;
}

static inline bool iommufd_should_fail(void)
{
	return false;
}
#endif /* CONFIG_IOMMUFD_TEST */
#endif

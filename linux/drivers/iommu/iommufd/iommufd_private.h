/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The objects of iommufd, and the functions that its source files share.
 *
 *     context --- ids ---+--- IOAS: areas (IOVA -> pages), reserved ranges
 *        |               |     |                  |
 *        |               |     |                pages: memory, shared by areas
 *        |               |     |
 *        |               +--- HWPT: an iommu_domain that maps the areas of
 *        |               |     |    its IOAS
 *        +--- group -----------+
 *              |         |
 *              +--- device
 *                        |
 *                        +--- access: a kernel driver that reads and writes the
 *                                     memory of an IOAS
 *
 * Lock order, outermost first. Any of them may be left out.
 *
 *     iommufd_ctx::held_lock
 *     iommufd_device::bind_lock
 *     iommufd_group::lock
 *     iommufd_ioas::attach_lock
 *     quotas_lock
 *     iommufd_access::lock
 *     iommufd_ioas::domains_lock
 *     iova_space::lock
 *     iommufd_pages::lock
 *     iommufd_dirty::lock
 *     mmap_lock
 *     finder_lock
 *     the locks of a driver under which it serves page faults
 *     iommufd_mmio::lock
 *     iommufd_hwpt::mmio_lock
 *     the locks of the IOMMU core and its drivers
 *
 * When memory is pinned and page faults are taken, the innermost lock that may
 * be held is domains_lock. To charge by address space, mmap_lock is taken under
 * iommufd_pages::lock. A driver revokes its memory with its own locks held, so
 * a revocation takes only the locks after them.
 *
 * iommufd_ctx::groups_lock is taken under locks that other users share
 * (dev_set->lock). Nothing under it may wait for a page fault.
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
 * @file: the open file; a reference to it is a reference to the context
 * @objects: objects by id, from 1; a reserved id has no object yet
 * @groups_lock: protects @groups, and is held to claim and release groups
 * @groups: struct iommufd_group of the devices that are bound to this context
 * @held_lock: serializes requests that lock the areas of all IOAS
 * @nr_mapped: sum over all IOAS of nr_areas * max(nr_user_hwpts, 1); limited by
 *             the module parameter max_areas
 * @owner: owner of the last MAP, which the next one finds without a lock
 * @container: IOAS that is used as a VFIO container, or NULL; protected by the
 *             lock of @objects
 * @noiommu: groups without an IOMMU use the context as their container, so it
 *           can't have @container; protected by the lock of @objects
 * @charge_mm: IOMMU_OPTION_RLIMIT_MODE: new mappings are charged by address
 *             space. Changed only under the lock of @objects, while there is no
 *             object
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
 * @ctx: the context
 * @user: the caller's structure
 * @user_size: its size, from the caller
 * @cmd: the kernel's copy, zero beyond @user_size
 */
struct iommufd_request {
	struct iommufd_ctx *ctx;
	void __user *user;
	u32 user_size;
	void *cmd;
};

/**
 * iommufd_answer - copy the structure of a request back to the caller
 * @req: the request
 * @size: size of the structure in this kernel
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
 * @refs: references that keep the memory: one for the id, and one for each
 *        request that looked it up. The last put releases the object, so nobody
 *        ever waits for others
 * @users: 1 for the id and 1 for each object or driver that depends on this
 *         one. DESTROY changes it from 1 to 0, after which nobody can begin to
 *         depend on the object. A lookup does not change it
 * @type: type of the object
 * @id: its id; constant
 * @release: called by whoever drops the last reference; NULL if there is only
 *           memory to free
 * @rcu: for lookups, which take no lock
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
void iommufd_object_unuse_try_remove(struct iommufd_ctx *ctx,
				     struct iommufd_object *obj);
void iommufd_object_remove_owned(struct iommufd_ctx *ctx,
				 struct iommufd_object *obj);
void iommufd_object_remove_all(struct iommufd_ctx *ctx);
int iommufd_destroy(struct iommufd_request *req);

/**
 * iommufd_object_use - begin to depend on an object
 * @obj: object that the caller holds a reference to
 *
 * Return: false if the object is being destroyed.
 */
static inline bool iommufd_object_use(struct iommufd_object *obj)
{
	return refcount_inc_not_zero(&obj->users);
}

/**
 * iommufd_object_unuse - undo iommufd_object_use()
 * @obj: the object
 */
static inline void iommufd_object_unuse(struct iommufd_object *obj)
{
	refcount_dec(&obj->users);
}

/*
 * Areas: the mappings of an IOAS
 */

enum iommufd_area_owner {
	IOMMUFD_AREA_FREE,
	IOMMUFD_AREA_MAP,
	IOMMUFD_AREA_UNMAP,
	IOMMUFD_AREA_SPLIT,
};

/**
 * struct iommufd_area - one mapping of an IOAS
 * @node: in iova_space::areas, by @start
 * @start: first IOVA
 * @last: last IOVA
 * @gap: free IOVA between the area below and this one; 0 for the lowest
 * @max_gap: largest @gap in the subtree
 * @pages: the memory; the area is one of its users
 * @part: the part of @pages that the area needs, or NULL for all
 * @index: index in @pages of the page that @start is in
 * @page_offset: offset of @start in that page
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE
 * @owner: the MAP, UNMAP or split that owns the area
 * @filled: the area is complete: every HWPT of the IOAS, if any, maps it,
 *          except device memory while it is revoked
 * @pinned: the area has pinned @part of @pages
 * @nr_accesses: number of pages that accesses have pinned in the area, plus
 *               running pins and copies
 * @batch: list of areas that a request maps or unmaps together
 *
 * @owner decides who may write a field. Fields that are not in the table are
 * constant while the area is in the tree.
 *
 * A split is like an UNMAP here, but accesses wait for it, since the memory
 * stays mapped.
 *
 *                MAP              FREE              UNMAP
 *  @node,        space lock       space lock        space lock
 *  the gaps
 *  @owner        the MAP, with    space lock        space lock
 *                release
 *  @filled       the MAP [1]      nobody            the UNMAP [1]
 *  @pinned       [3]              domains_lock [2]  [3]
 *  @nr_accesses  nobody, it is 0  space lock        space lock, and only down
 *  @batch        the MAP          nobody            the UNMAP
 *
 * [1] with domains_lock held for read, so @filled does not change while the
 * lock is held for write to add or remove an HWPT
 * [2] held for write: the first HWPT pins, the last one unpins. Both skip areas
 * that are not @filled
 * [3] the owner, while @filled is clear or the area is not in the tree; else as
 * for FREE
 *
 * As soon as an area is FREE, an UNMAP can own and free it. So a MAP must not
 * touch the area after area_give_back().
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
	unsigned long nr_accesses;
	struct list_head batch;
};

static inline unsigned long area_length(struct iommufd_area *area)
{
	return area->last - area->start + 1;
}

/* The owner of an area; iova_space::lock is held */
static inline enum iommufd_area_owner area_owner(struct iommufd_area *area)
{
	/* Pairs with area_give_back() */
	return smp_load_acquire(&area->owner);
}

/* Give up ownership; from now on an UNMAP can free the area */
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
 * @refs: references of struct iommufd_pages and of iommufd_ctx::owner
 * @mm: address space
 * @task: process whose RLIMIT_MEMLOCK applies
 * @cred: credentials of the user that is charged
 * @rcu: for iommufd_owner_get(), which takes no lock
 */
struct iommufd_owner {
	refcount_t refs;
	struct mm_struct *mm;
	struct task_struct *task;
	const struct cred *cred;
	struct rcu_head rcu;
};

/**
 * enum iommufd_charge - what is compared with RLIMIT_MEMLOCK
 * @IOMMUFD_CHARGE_NOBODY: nothing, there is no limit
 * @IOMMUFD_CHARGE_USER: what is counted for the user
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
 * @refs: held by the driver, by dma-bufs, and by each struct iommufd_pages in
 *        it
 * @lock: protects the members below, and what HWPTs map of the memory
 * @revoked: no HWPT maps any of it
 * @restore_incomplete: the last restore could not map all of it
 * @mappings: struct mmio_mapping, sorted by HWPT and IOVA, so that one flush
 *            per HWPT is enough
 */
struct iommufd_mmio {
	refcount_t refs;
	struct mutex lock; /* see above */
	bool revoked;
	bool restore_incomplete;
	struct rb_root mappings;
};

/**
 * struct iommufd_mmio_addr - where memory of a device is
 * @mmio: the memory of the device
 * @phys: physical address of the first page
 */
struct iommufd_mmio_addr {
	struct iommufd_mmio *mmio;
	phys_addr_t phys;
};

int iommufd_mmio_of_mm(struct mm_struct *mm, unsigned long uva,
		       unsigned long length, bool write,
		       struct iommufd_mmio_addr *addr);
int iommufd_mmio_of_file(struct file *file, unsigned long start,
			 unsigned long length, struct iommufd_mmio_addr *addr);

/*
 * pages.c: pages, and the store of PFNs
 */

/**
 * struct iommufd_pages - a range of memory, parts of which can be pinned
 * @refs: references of areas, and of accesses that have pinned pages
 * @lock: protects @is_mmio, @mmio_by_uva, and all members from @chunks to
 *        @old_owner. Not held in a page fault, but held while a range is
 *        unpinned, however large
 * @chunks: the PFN store, see pages.c
 * @chunk: used instead of @chunks if there is only one
 * @mmio_addr: used instead of both if @is_mmio
 * @changes: incremented when a chunk that was stored changes
 * @npinned: number of pages in the store
 * @nr_whole: number of users that need all pages
 * @needs: parts that other users need, by index
 * @owner: who is charged; changes only if there is a @file
 * @old_owner: the old owner while @owner is being changed, or NULL
 * @npages: number of pages in the range
 * @uva: address of the first page, its offset in the file, or for a dma-buf its
 *       physical address; an IOVA is chosen to be aligned as this is
 * @file: file that has the memory; an ERR_PTR if nothing of it can be pinned;
 *        NULL for memory of the owner or of a dma-buf
 * @charge: how RLIMIT_MEMLOCK applies; decided when the range is mapped
 * @writable: devices may write
 * @is_mmio: the range is memory of a device; constant from the first pin that
 *           succeeds until nobody needs a part
 * @mmio_by_uva: @mmio_addr was found by address, and is used until nobody needs
 *               a part
 * @area: the first area, which has all pages. It is embedded, since hardly any
 *        pages have a second one
 */
struct iommufd_pages {
	refcount_t refs;
	struct mutex lock; /* see above */
	union {
		struct xarray chunks;
		void *chunk;
		struct iommufd_mmio_addr mmio_addr;
	};
	unsigned long changes;
	unsigned long npinned;
	unsigned long nr_whole;
	struct rb_root_cached needs;
	struct iommufd_owner *owner;
	struct iommufd_owner *old_owner;
	unsigned long npages;
	unsigned long uva;
	struct file *file;
	u8 charge; /* enum iommufd_charge */
	bool writable;
	bool is_mmio;
	bool mmio_by_uva;
	struct iommufd_area area;
};

/**
 * struct iommufd_run - physically contiguous pages
 * @pfn: the first page
 * @npages: number of pages
 */
struct iommufd_run {
	unsigned long pfn;
	unsigned long npages;
};

/**
 * struct iommufd_mapping - what is to be mapped, and where
 * @flags: IOMMU_IOAS_MAP_*
 * @fd: file descriptor of the memory, or NULL for memory of the calling process
 * @start: first byte: an address, or an offset in the file
 * @length: bytes
 * @iova: start of the IOVA; set unless it is fixed
 * @charge_mm: charge by address space, not by user
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
void iommufd_pages_keep_pinned(struct iommufd_pages *pages, unsigned long first,
			       unsigned long last);
int iommufd_pages_move_charge(struct iommufd_pages *pages,
			      struct iommufd_owner *owner);
void iommufd_pages_end_move_charge(struct iommufd_pages *pages, bool commit);

/**
 * struct iommufd_cursor - position in pinned pages, which are walked run by run
 * @pages: the pages
 * @index: the next page
 * @run: the run of @index in the table of its chunk, or NULL to look it up
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
 * pin.c: pinning memory
 */
int iommufd_pages_init_file(struct iommufd_pages *pages, struct file *file,
			    const struct iommufd_mapping *map);
void iommufd_pages_put_file(struct iommufd_pages *pages);
int iommufd_pin_list(struct iommufd_pages *pages, unsigned long index,
		     unsigned long npages, struct page **list);
void iommufd_unpin_list(struct iommufd_pages *pages, struct page **list,
			unsigned long npages);
void iommufd_put_file_run(struct iommufd_pages *pages, unsigned long pfn,
			  unsigned long npages);

/*
 * Unpin contiguous pages that devices may have written; inline, as it is per
 * run
 */
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
 * struct iova_space - which IOVA are mapped or reserved
 * @lock: protects all members. Not held while memory is pinned, an HWPT is
 *        changed or user memory is accessed. IOMMU_IOAS_CHANGE_PROCESS waits
 *        under it for iommufd_pages::lock and mmap_lock; others at most walk
 *        all areas, ranges or records of dirty pages
 * @areas: struct iommufd_area, which never overlap
 * @reserved: ranges that devices and HWPTs exclude, which may overlap
 * @allowed: ranges that the user wants to use, which never overlap; if empty,
 *           all
 * @alignment: start and length of each area are multiples of this, in bytes
 * @nr_areas: number of areas in @areas
 * @nr_user_hwpts: number of user-made HWPTs. An area counts once for each of
 *                 them against max_areas, and at least once
 * @total: iommufd_ctx::nr_mapped
 * @waitq: waiters for an UNMAP, a split or an access to end
 * @wake_seq: incremented whenever they should look again
 */
struct iova_space {
	struct mutex lock; /* see above */
	struct rb_root_cached areas;
	struct rb_root_cached reserved;
	struct rb_root_cached allowed;
	unsigned long alignment;
	unsigned long nr_areas;
	unsigned long nr_user_hwpts;
	atomic_long_t *total;
	wait_queue_head_t waitq;
	unsigned long wake_seq;
};

struct iova_range {
	unsigned long start;
	unsigned long last;
};

/**
 * struct iova_reserved - a reserved range
 * @node: in iova_space::reserved
 * @next: next range in the list of its owner
 */
struct iova_reserved {
	struct interval_tree_node node;
	struct iova_reserved *next;
};

void iova_space_init(struct iova_space *space, atomic_long_t *total);
int iova_space_add_user_hwpt(struct iova_space *space);
void iova_space_remove_user_hwpt(struct iova_space *space);
int iova_space_insert(struct iova_space *space, struct list_head *batch,
		      unsigned long *iova, unsigned long length,
		      unsigned long uva, bool fixed);
void iova_space_erase(struct iova_space *space, struct list_head *batch);
int iova_space_split(struct iova_space *space, struct list_head *old,
		     struct list_head *new);
void iova_space_wake(struct iova_space *space);
int iova_space_wait(struct iova_space *space, unsigned long seq);
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
 * struct iommufd_dirty - pages that may have been written since the last query
 * @lock: protects all of it; nothing is locked inside
 * @tracked: the container tracks dirty pages
 * @all: there was no memory for a record, so every page is dirty
 * @chunks: bitmaps of 512 pages each, by IOVA
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
 * @attach_lock: held while a device is attached, so that two devices that can
 *               share a new HWPT do so
 * @domains_lock: held for write to change @hwpts, to attach and detach their
 *                domains, and to fill a new HWPT; held for read to map and
 *                unmap in all of them
 * @hwpts: struct iommufd_hwpt, each of which maps every filled area, except
 *         revoked device memory
 * @reach: no HWPT in @hwpts changes its root when something is mapped at or
 *         below this IOVA. A MAP above it grows them first. Protected by
 *         domains_lock
 * @small_pages: option: map with pages of the size of CPU pages; protected by
 *               domains_lock. iommufd_mmio_restore() reads it without that
 *               lock: while it has anything to map, it can only be cleared
 * @nr_pinners: number of accesses that can pin, which need areas of whole CPU
 *              pages; protected by domains_lock
 * @space: the areas
 * @accesses: struct iommufd_access that are attached and not stopped; protected
 *            by iova_space::lock
 * @test_reserved: ranges that tests reserve; protected by iova_space::lock
 * @held: list of IOAS that are locked for a request on all areas; protected by
 *        iommufd_ctx::held_lock
 * @dirty: dirty pages of the container
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
 * @ctx: the context
 * @id: id from the user
 *
 * Return: the IOAS, for iommufd_object_put(), or an ERR_PTR of -ENOENT.
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
bool iommufd_dirty_next_mapped(struct iommufd_ioas *ioas, unsigned long last,
			       struct iova_range *range);
bool iommufd_dirty_take(struct iommufd_ioas *ioas, unsigned long page,
			unsigned long nr, unsigned long *bits);
void iommufd_dirty_forget(struct iommufd_ioas *ioas, unsigned long first,
			  unsigned long last);

/*
 * dirty_bitmap.c: reporting dirty pages to a container
 */
int iommufd_dirty_start(struct iommufd_ioas *ioas);
int iommufd_dirty_read(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long npages, bool keep, void __user *user);

/*
 * areas.c: mapping and unmapping areas
 */
int iommufd_areas_map(struct iommufd_ioas *ioas, struct iommufd_mapping *map);
int iommufd_areas_copy(struct iommufd_ioas *dst, struct iommufd_ioas *src,
		       unsigned long first, unsigned long last,
		       struct iommufd_mapping *map);

/**
 * enum iommufd_unmap_flags - flags of iommufd_areas_unmap()
 * @IOMMUFD_UNMAP_RELEASE: the IOAS is being released: a signal does not end the
 *                         call, since nobody else would remove the rest
 * @IOMMUFD_UNMAP_KEEP_DIRTY: keep the records of dirty pages, and record all
 *                            pages that an HWPT has mapped: the caller reports
 *                            them afterwards
 */
enum iommufd_unmap_flags {
	IOMMUFD_UNMAP_RELEASE = BIT(0),
	IOMMUFD_UNMAP_KEEP_DIRTY = BIT(1),
};

int iommufd_areas_unmap(struct iommufd_ioas *ioas, unsigned long first,
			unsigned long last, unsigned int flags,
			unsigned long *unmapped);
int iommufd_areas_split(struct iommufd_ioas *ioas, unsigned long at);

/*
 * unit.c: the IOMMU of a device
 */

/* A new page table of a driver that grows it reaches at least this IOVA */
#define IOMMUFD_FIRST_REACH U32_MAX

/**
 * struct iommufd_unit - an IOMMU, and the restrictions of its driver
 * @ops: the driver's, only compared
 * @unusable_reason: the reason why no device behind it can be bound, or NULL
 * @grows: a map above all that a page table has reached may change the root of
 *         the table without a lock, so nobody else may map or unmap in parallel
 * @frees_early: an unmap may free page tables before it flushes their range,
 *               unless the gather covers the range already
 * @vtd: it is a VT-d unit, and @cap and @ecap are valid
 * @cap: its capability register
 * @ecap: its extended capability register
 */
struct iommufd_unit {
	const struct iommu_ops *ops;
	const char *unusable_reason;
	bool grows;
	bool frees_early;
	bool vtd;
	u64 cap;
	u64 ecap;
};

int iommufd_unit_probe(struct device *dev, struct iommufd_unit *unit);
bool iommufd_units_may_share(const struct iommufd_unit *a,
			     const struct iommufd_unit *b);
void *iommufd_unit_hw_info(const struct iommufd_unit *unit, struct device *dev,
			   u32 *length, u32 *type);
struct iommufd_hwpt_quota *iommufd_hwpt_quota_get(struct device *dev);
void iommufd_hwpt_quota_put(struct iommufd_hwpt_quota *quota);

/*
 * HWPTs
 */

/**
 * struct iommufd_hwpt - a domain that has the mappings of an IOAS
 * @obj: head
 * @ioas: the IOAS; used as long as the HWPT exists
 * @unit: IOMMU that it was made for. Units that iommufd_units_may_share()
 *        accepts can use it too
 * @quota: where it is counted if a program made it; else NULL
 * @user_made: made by IOMMU_HWPT_ALLOC. It exists until it is destroyed, and is
 *             attached only by its own id. Otherwise it was made for an attach,
 *             and is destroyed with the last device
 * @domain: the domain of the IOMMU driver
 * @mmio_lock: held to attach, detach and grow @domain, for which domains_lock
 *             is held for write too; and to map and unmap memory of devices,
 *             which a revocation does without domains_lock
 * @ioas_item: in iommufd_ioas::hwpts, or empty before the HWPT is filled;
 *             protected by domains_lock
 * @aperture: IOVA that the hardware reaches. It only ever shrinks, since VT-d
 *            reports that of the last attached device. Protected by
 *            domains_lock
 * @reserved: reserved ranges outside of @aperture; protected by domains_lock
 * @msi_reserved: reserved range where the kernel maps MSI doorbells, or NULL;
 *                protected by iommufd_ioas::attach_lock
 * @coherent: no device can bypass the CPU caches; constant once filled
 */
struct iommufd_hwpt {
	struct iommufd_object obj;
	struct iommufd_ioas *ioas;
	struct iommufd_unit unit;
	struct iommufd_hwpt_quota *quota;
	struct iommu_domain *domain;
	struct mutex mmio_lock; /* see above */
	struct list_head ioas_item;
	struct iova_range aperture;
	struct iova_reserved *reserved;
	struct iova_reserved *msi_reserved;
	bool user_made;
	bool coherent;
};

static inline struct iommufd_hwpt *to_hwpt(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_hwpt, obj);
}

/*
 * domain.c: mapping and unmapping in the domain of an HWPT
 */
static inline unsigned long iommufd_min_page(struct iommu_domain *domain)
{
	return 1UL << __ffs(domain->pgsize_bitmap);
}

int iommufd_domain_grow(struct iommufd_hwpt *hwpt, unsigned long last);
int iommufd_domain_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_domain_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			  struct iommu_iotlb_gather *gather);

/*
 * revoke.c: memory of devices in HWPTs
 */
int iommufd_mmio_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_mmio_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_mmio_split(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommufd_area *lower, struct iommufd_area *upper);

/*
 * hwpt.c: HWPTs
 */
struct iommufd_hwpt *iommufd_hwpt_create(struct iommufd_ioas *ioas,
					 const struct iommufd_unit *unit,
					 struct device *dev, bool user_made);
int iommufd_hwpt_attach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable);
int iommufd_hwpt_detach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable);
int iommufd_hwpt_setup_msi(struct iommufd_hwpt *hwpt,
			   const struct iommu_resv_region *region);
int iommufd_hwpt_probe_limits(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group);
int iommufd_hwpt_copy_limits(struct iommufd_hwpt *hwpt,
			     struct iommufd_hwpt *from);
int iommufd_hwpt_fill(struct iommufd_hwpt *hwpt);
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
 * struct iommufd_group - an iommu_group that a context has claimed
 * @ctx_item: in iommufd_ctx::groups
 * @group: the group; the context owns its DMA as long as this exists
 * @nr_bound: bound devices; protected by iommufd_ctx::groups_lock
 * @regions_stale: a device was bound or unbound since @regions were read
 * @lock: protects the members below, and iommufd_device::attached
 * @regions: struct iommu_resv_region: what the IOMMU does not translate
 * @hwpt: HWPT that the attached devices share, used, or NULL
 * @reserved: @regions as they are reserved in the IOAS of @hwpt
 * @attached_hwpt: HWPT whose domain the group is attached to: @hwpt, or during
 *                 an attach another one; NULL if DMA is blocked
 * @nr_attached: number of attached devices
 */
struct iommufd_group {
	struct list_head ctx_item;
	struct iommu_group *group;
	unsigned int nr_bound;
	bool regions_stale;
	struct mutex lock; /* see above */
	struct list_head regions;
	struct iommufd_hwpt *hwpt;
	struct iova_reserved *reserved;
	struct iommufd_hwpt *attached_hwpt;
	unsigned int nr_attached;
};

/**
 * struct iommufd_device - a device bound to a context
 * @obj: head
 * @ctx: the context, referenced
 * @bind_lock: held for read by requests that use the id, and for write to
 *             unbind, which waits for them
 * @igroup: its group, or NULL once the device is unbound
 * @unit: its IOMMU
 * @dev: the device; not used once it is unbound
 * @attached: counted in iommufd_group::nr_attached
 */
struct iommufd_device {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	struct rw_semaphore bind_lock; /* see above */
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
int iommufd_hwpt_alloc(struct iommufd_request *req);
int iommufd_get_hw_info(struct iommufd_request *req);

/*
 * access.c: kernel drivers that read and write memory themselves
 */

/**
 * struct iommufd_access - the access of a driver to the memory of an IOAS
 * @obj: head
 * @ctx: the context, referenced
 * @ops: callbacks of the driver
 * @owner: argument for @ops
 * @lock: held to pin and unpin; protects @ioas, @changing and the values of
 *        @pins
 * @ioas: the IOAS that it is attached to, used, or NULL
 * @changing: another thread attaches, detaches or has stopped the access;
 *            nothing can be pinned
 * @pins: struct access_pin by page number of the IOVA
 * @item: in iommufd_ioas::accesses
 * @nr_unpin_calls: number of running calls of ops->unpin(); protected by
 *                  iova_space::lock
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
	unsigned int nr_unpin_calls;
};

int iommufd_access_evict(struct iommufd_ioas *ioas, struct iommufd_area *area);
unsigned long iommufd_access_pinned(struct iommufd_ioas *ioas,
				    unsigned long *iova, unsigned long last);

/*
 * vfio_compat.c: use as a VFIO container
 */
int iommufd_vfio_ioas(struct iommufd_request *req);
long iommufd_container_ioctl(struct iommufd_ctx *ctx, unsigned int word,
			     unsigned long arg);

/*
 * selftest.c: the mock IOMMU, and what else only tests need
 */
#ifdef CONFIG_IOMMUFD_TEST
/* Flag of IOMMU_IOAS_COPY for iommufd_test_syz_iova() */
#define IOMMUFD_TEST_SYZ BIT(16)

int iommufd_test_init(void);
void iommufd_test_exit(void);
int iommufd_test(struct iommufd_request *req);
void iommufd_test_set_restrictions(struct device *dev,
				   struct iommufd_unit *unit);
void *iommufd_test_hw_info(struct device *dev, u32 *length, u32 *type);
void iommufd_test_syz_iova(struct iommufd_ioas *ioas, u32 flags, u64 *iova);
unsigned long iommufd_test_limit(unsigned long npages);
bool iommufd_should_fail(void);

/*
 * delay.c: delays that widen the windows of races
 */
void iommufd_test_delay_init(void);
void iommufd_test_delay_exit(void);
#else
#define IOMMUFD_TEST_SYZ 0

static inline int iommufd_test_init(void)
{
	return 0;
}

static inline void iommufd_test_exit(void)
{
}

static inline void iommufd_test_set_restrictions(struct device *dev,
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

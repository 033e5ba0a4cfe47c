/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The objects of iommufd and what their files offer to each other.
 *
 *     context --- ids ---+--- IOAS: areas (IOVA -> pages), reserved ranges
 *        |               |     |
 *        |               +--- page table (HWPT): an iommu_domain kept equal to
 *        |               |     |                 the areas of its IOAS
 *        +--- group -----------+
 *              |         |
 *              +--- device
 *
 * Lock order, outermost first. A path may leave out any of them.
 *
 *     iommufd_ctx::groups_lock
 *     iommufd_group::lock
 *     iommufd_ioas::attach_lock
 *     iommufd_ioas::domains_lock
 *     iova_space::lock
 *
 * User memory is pinned, so mmap_lock taken, under domains_lock at most. The
 * locks of the IOMMU core and its drivers come last.
 */
#ifndef __IOMMUFD_PRIVATE_H
#define __IOMMUFD_PRIVATE_H

#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

/**
 * struct iommufd_ctx - one open /dev/iommu
 * @file: the file, which lives as long as someone uses the context
 * @objects: id to object, ids from 1; a reserved id has no object yet
 * @groups_lock: protects @groups and what they have claimed
 * @groups: struct iommufd_group of the devices bound to this context
 * @nr_areas: areas in all IOAS, limited by the module parameter max_areas
 */
struct iommufd_ctx {
	struct file *file;
	struct xarray objects;
	struct mutex groups_lock; /* see above */
	struct list_head groups;
	atomic_long_t nr_areas;
};

/*
 * main.c: one request
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

int iommufd_answer(struct iommufd_request *req, size_t size);

/*
 * object.c: ids and references
 */
enum iommufd_object_type {
	IOMMUFD_OBJECT_ANY,
	IOMMUFD_OBJECT_IOAS,
	IOMMUFD_OBJECT_HWPT,
	IOMMUFD_OBJECT_DEVICE,
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
 * @rcu: lookups take no lock
 */
struct iommufd_object {
	refcount_t refs;
	refcount_t users;
	enum iommufd_object_type type;
	u32 id;
	struct rcu_head rcu;
};

void *iommufd_object_alloc(struct iommufd_ctx *ctx, size_t size,
			   enum iommufd_object_type type);
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
 * pages.c: user memory
 */

/**
 * struct iommufd_pages - a range of a process's memory, pinned or not
 * @chunks: the PFN store, see pages.c. It changes only while the pages get
 *          pinned and unpinned, so who knows them to be pinned reads it without
 *          a lock
 * @chunk: instead of @chunks when there is room for one only
 * @npinned: pages pinned, counted from the first
 * @npages: pages in the range
 * @uva: address of the first one
 * @mm: address space that the range is in
 * @task: whose RLIMIT_MEMLOCK counts
 * @user: who is charged
 * @writable: devices may write
 * @charged: the limit applies; decided once, when the range was mapped
 *
 * Pinned and unpinned by one thread at a time: the owner of the area, see
 * there.
 */
struct iommufd_pages {
	union {
		struct xarray chunks;
		void *chunk;
	};
	unsigned long npinned;
	unsigned long npages;
	unsigned long uva;
	struct mm_struct *mm;
	struct task_struct *task;
	struct user_struct *user;
	bool writable;
	bool charged;
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

struct iommufd_pages *iommufd_pages_alloc(unsigned long uva,
					  unsigned long length, bool writable);
void iommufd_pages_free(struct iommufd_pages *pages);
int iommufd_pages_pin(struct iommufd_pages *pages);
void iommufd_pages_unpin(struct iommufd_pages *pages);

/**
 * struct iommufd_cursor - place in pinned pages, walked run by run
 * @pages: pages that are pinned
 * @index: the next page
 * @run: its run in the table of its chunk, or NULL to look up the chunk
 */
struct iommufd_cursor {
	struct iommufd_pages *pages;
	unsigned long index;
	const u64 *run;
};

bool iommufd_cursor_next(struct iommufd_cursor *cur, struct iommufd_run *run);

/*
 * iova.c: the IOVA space
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
 * @pages: the memory; belongs to the area
 * @page_offset: where @start is in the first page
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE
 * @owner: the MAP or UNMAP that has the area in its hands. Taken under
 *         iova_space::lock, given back with release
 * @filled: every page table of the IOAS maps the area; nothing to do if there
 *          is none. Written by the owner with domains_lock held for read
 * @pinned: the area has pinned @pages. Written by the owner while not @filled,
 *          and with domains_lock held for write
 * @batch: list of areas that an UNMAP removes together
 */
struct iommufd_area {
	struct rb_node node;
	unsigned long start;
	unsigned long last;
	unsigned long gap;
	unsigned long max_gap;
	struct iommufd_pages *pages;
	unsigned int page_offset;
	u8 prot;
	u8 owner; /* enum iommufd_area_owner */
	bool filled;
	bool pinned;
	struct list_head batch;
};

/**
 * struct iova_space - which IOVA are mapped, and which can't be
 * @lock: protects all of it. Held for short times: never while memory is
 *        pinned, a page table is changed or user memory is touched
 * @areas: struct iommufd_area, which never overlap
 * @reserved: ranges that devices and page tables exclude, which may overlap
 * @alignment: what start and length of an area are multiples of, in bytes
 */
struct iova_space {
	struct mutex lock; /* see above */
	struct rb_root areas;
	struct rb_root_cached reserved;
	unsigned long alignment;
};

struct iova_range {
	unsigned long start;
	unsigned long last;
};

void iova_space_init(struct iova_space *space);
int iova_space_insert(struct iova_space *space, struct iommufd_area *area,
		      unsigned long length, unsigned long uva, bool fixed);
void iova_space_erase(struct iova_space *space, struct iommufd_area *area);
void iova_space_erase_all(struct iova_space *space, struct list_head *batch);
struct iommufd_area *iova_space_first(struct iova_space *space,
				      unsigned long start);
struct iommufd_area *iova_space_next(struct iommufd_area *area);
int iova_space_reserve(struct iova_space *space, void *owner,
		       const struct iova_range *ranges, unsigned int nr);
void iova_space_unreserve(struct iova_space *space, void *owner);
int iova_space_align(struct iova_space *space, unsigned long alignment);
bool iova_space_usable(struct iova_space *space, unsigned long from,
		       struct iova_range *range, unsigned long *alignment);

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
 * @space: the areas
 * @removed: those who wait for an UNMAP that others have begun
 * @nr_removals: how many of those have ended; protected by iova_space::lock
 */
struct iommufd_ioas {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	struct mutex attach_lock; /* see above */
	struct rw_semaphore domains_lock;
	struct list_head hwpts;
	struct iova_space space;
	wait_queue_head_t removed;
	unsigned long nr_removals;
};

static inline struct iommufd_ioas *to_ioas(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_ioas, obj);
}

void iommufd_ioas_release(struct iommufd_object *obj);
int iommufd_ioas_alloc(struct iommufd_request *req);
int iommufd_ioas_iova_ranges(struct iommufd_request *req);
int iommufd_ioas_map(struct iommufd_request *req);
int iommufd_ioas_unmap(struct iommufd_request *req);

/*
 * hwpt.c: page tables
 */

/**
 * struct iommufd_hwpt - a page table that mirrors an IOAS
 * @obj: head
 * @ioas: what it mirrors; used as long as the table exists
 * @unit: IOMMU that it was made for. Units of one machine can differ in page
 *        table levels and coherency, and not all drivers of this kernel see to
 *        it, so a table stays with its unit
 * @domain: the IOMMU driver's side
 * @ioas_item: in iommufd_ioas::hwpts, or empty before the table is filled;
 *             protected by domains_lock
 * @aperture: IOVA that the hardware reaches. It only ever gets smaller, since
 *            VT-d reports that of the device attached last. Protected by
 *            domains_lock
 * @coherent: no device can bypass the CPU caches; constant once filled
 */
struct iommufd_hwpt {
	struct iommufd_object obj;
	struct iommufd_ioas *ioas;
	struct iommu_device *unit;
	struct iommu_domain *domain;
	struct list_head ioas_item;
	struct iova_range aperture;
	bool coherent;
};

static inline struct iommufd_hwpt *to_hwpt(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_hwpt, obj);
}

/**
 * iommufd_iommu_of - the IOMMU that translates a device's DMA
 * @dev: device in an IOMMU group
 *
 * Return: the unit, to be compared with others.
 */
static inline struct iommu_device *iommufd_iommu_of(struct device *dev)
{
	return dev->iommu ? dev->iommu->iommu_dev : NULL;
}

struct iommufd_hwpt *iommufd_hwpt_create(struct iommufd_ioas *ioas,
					 struct device *dev);
int iommufd_hwpt_attach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group);
void iommufd_hwpt_detach_group(struct iommufd_hwpt *hwpt,
			       struct iommu_group *group);
int iommufd_hwpt_attached(struct iommufd_hwpt *hwpt);
struct iommufd_hwpt *iommufd_hwpt_next(struct iommufd_ioas *ioas,
				       struct iommufd_hwpt *prev);
void iommufd_hwpt_unuse(struct iommufd_hwpt *hwpt);
int iommufd_hwpt_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area);
void iommufd_hwpt_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommu_iotlb_gather *gather);
void iommufd_hwpt_release(struct iommufd_object *obj);

/*
 * device.c: devices and their groups
 */

/**
 * struct iommufd_group - the part of a context in an iommu_group
 * @ctx_item: in iommufd_ctx::groups
 * @group: the group, whose DMA the context owns as long as this exists
 * @nr_bound: bound devices; protected by iommufd_ctx::groups_lock
 * @lock: protects all that follows, and iommufd_device::attached
 * @hwpt: page table that the attached devices share, used, or NULL
 * @live: table that the IOMMU uses for the group: @hwpt but for the time of a
 *        change, NULL when the group is blocked
 * @nr_attached: attached devices
 */
struct iommufd_group {
	struct list_head ctx_item;
	struct iommu_group *group;
	unsigned int nr_bound;
	struct mutex lock; /* see above */
	struct iommufd_hwpt *hwpt;
	struct iommufd_hwpt *live;
	unsigned int nr_attached;
};

/**
 * struct iommufd_device - a device bound to a context
 * @obj: head
 * @ctx: the context, referenced
 * @igroup: its group; gone when the device is unbound
 * @dev: the device; not to be touched after it was unbound
 * @attached: counted in iommufd_group::nr_attached
 */
struct iommufd_device {
	struct iommufd_object obj;
	struct iommufd_ctx *ctx;
	struct iommufd_group *igroup;
	struct device *dev;
	bool attached;
};

void iommufd_device_release(struct iommufd_object *obj);
#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IOVA space: which IOVA are mapped, reserved or free.
 *
 * Areas don't overlap, so they are in a tree by start address. Each node has
 * the size of the gap below it, and of the largest gap in its subtree. So a
 * free range is found without visiting every area.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rbtree_augmented.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "iommufd_private.h"

#define area_of(_node) rb_entry_safe(_node, struct iommufd_area, node)

/*
 * Most IOMMU drivers don't charge their page tables, so limit what fills them
 */
static unsigned long max_areas = 1UL << 20;
module_param(max_areas, ulong, 0644);
MODULE_PARM_DESC(max_areas, "Maximum number of mappings of one open /dev/iommu; a mapping counts once for each page table that the program has allocated for its IOAS, and at least once");

static unsigned long area_gap(struct iommufd_area *area)
{
	return area->gap;
}

RB_DECLARE_CALLBACKS_MAX(static, area_callbacks, struct iommufd_area, node,
			 unsigned long, max_gap, area_gap);

/**
 * iova_space_init - initialize an empty space without limits
 * @space: the space
 * @total: iommufd_ctx::nr_mapped
 */
void iova_space_init(struct iova_space *space, atomic_long_t *total)
{
	space->total = total;
	mutex_init(&space->lock);
	init_waitqueue_head(&space->waitq);
	space->areas = RB_ROOT_CACHED;
	space->reserved = RB_ROOT_CACHED;
	space->allowed = RB_ROOT_CACHED;
	space->alignment = 1;
}

/**
 * iova_space_wake - wake those who wait for an UNMAP or an access to end
 * @space: the space, locked by the caller
 */
void iova_space_wake(struct iova_space *space)
{
	lockdep_assert_held(&space->lock);

	space->wake_seq++;
	if (wq_has_sleeper(&space->waitq))
		wake_up_all(&space->waitq);
}

/**
 * iova_space_wait - wait until an UNMAP or an access has ended
 * @space: the space, not locked
 * @seq: iova_space::wake_seq when the caller decided to wait
 *
 * Return: 0, or -ERESTARTSYS on a fatal signal.
 */
int iova_space_wait(struct iova_space *space, unsigned long seq)
{
	return wait_event_killable(space->waitq,
				   READ_ONCE(space->wake_seq) != seq);
}

/**
 * iova_space_first - find the lowest area that ends at or above an IOVA
 * @space: the space, locked by the caller
 * @start: IOVA
 *
 * Return: the area or NULL.
 */
struct iommufd_area *iova_space_first(struct iova_space *space,
				      unsigned long start)
{
	struct iommufd_area *area = area_of(space->areas.rb_root.rb_node);
	struct iommufd_area *found = NULL;

	lockdep_assert_held(&space->lock);

	while (area) {
		if (area->last >= start) {
			found = area;
			area = area_of(area->node.rb_left);
		} else {
			area = area_of(area->node.rb_right);
		}
	}
	return found;
}

/**
 * iova_space_last - find the highest IOVA that is mapped
 * @space: the space, locked by the caller
 *
 * Return: the IOVA, or 0 if there is no area.
 */
unsigned long iova_space_last(struct iova_space *space)
{
	struct iommufd_area *area = area_of(rb_last(&space->areas.rb_root));

	lockdep_assert_held(&space->lock);

	return area ? area->last : 0;
}

/**
 * iova_space_next - find the next higher area
 * @area: area of a space that is locked by the caller
 *
 * Return: the area or NULL.
 */
struct iommufd_area *iova_space_next(struct iommufd_area *area)
{
	return area_of(rb_next(&area->node));
}

static bool is_reserved(struct iova_space *space, unsigned long start,
			unsigned long last)
{
	lockdep_assert_held(&space->lock);

	return interval_tree_iter_first(&space->reserved, start, last);
}

static void set_gap(struct iommufd_area *area, unsigned long gap)
{
	if (gap == area->gap)
		return;
	area->gap = gap;
	area_callbacks.propagate(&area->node, NULL);
}

/* Add @more to the count of the context. -ENOSPC if that exceeds the limit */
static int add_to_total(struct iova_space *space, unsigned long more)
{
	if (atomic_long_add_return(more, space->total) <= READ_ONCE(max_areas))
		return 0;
	atomic_long_sub(more, space->total);
	return -ENOSPC;
}

/* How often each area counts */
static unsigned long area_weight(struct iova_space *space)
{
	lockdep_assert_held(&space->lock);

	return max(space->nr_user_hwpts, 1UL);
}

static int count_areas(struct iova_space *space, unsigned long nr)
{
	int ret = add_to_total(space, nr * area_weight(space));

	if (!ret)
		space->nr_areas += nr;
	return ret;
}

static void uncount_areas(struct iova_space *space, unsigned long nr)
{
	space->nr_areas -= nr;
	atomic_long_sub(nr * area_weight(space), space->total);
}

/**
 * iova_space_add_user_hwpt - count all areas for another HWPT made by a program
 * @space: the space
 *
 * For the first HWPT the areas are counted already.
 *
 * Return: 0, or -ENOSPC with nothing counted.
 */
int iova_space_add_user_hwpt(struct iova_space *space)
{
	int ret = 0;

	mutex_lock(&space->lock);
	if (space->nr_user_hwpts)
		ret = add_to_total(space, space->nr_areas);
	if (!ret)
		space->nr_user_hwpts++;
	mutex_unlock(&space->lock);
	return ret;
}

/**
 * iova_space_remove_user_hwpt - undo iova_space_add_user_hwpt()
 * @space: the space
 */
void iova_space_remove_user_hwpt(struct iova_space *space)
{
	mutex_lock(&space->lock);
	if (--space->nr_user_hwpts)
		atomic_long_sub(space->nr_areas, space->total);
	mutex_unlock(&space->lock);
}

/*
 * Insert an area, or return -EEXIST if it overlaps another. The gap below the
 * lowest area is stored as 0, see find_free().
 */
static int insert_area(struct iova_space *space, struct iommufd_area *area)
{
	struct rb_node **link = &space->areas.rb_root.rb_node, *parent = NULL;
	struct iommufd_area *below = NULL, *above = NULL;

	while (*link) {
		struct iommufd_area *other = area_of(*link);

		parent = *link;
		if (area->start > other->last) {
			below = other;
			link = &parent->rb_right;
		} else if (area->last < other->start) {
			above = other;
			link = &parent->rb_left;
		} else {
			return -EEXIST;
		}
	}

	area->gap = below ? area->start - (below->last + 1) : 0;
	area->max_gap = area->gap;
	rb_link_node(&area->node, parent, link);
	area_callbacks.propagate(parent, NULL);
	rb_insert_augmented_cached(&area->node, &space->areas, !below,
				   &area_callbacks);
	if (above)
		set_gap(above, above->start - (area->last + 1));
	return 0;
}

/* Remove areas and return how many. The gap of neighbours is set once */
static unsigned long erase_areas(struct iova_space *space,
				 struct list_head *batch)
{
	struct iommufd_area *area, *next, *above = NULL;
	unsigned long free = 0, nr = 0;
	bool lowest = false;

	list_for_each_entry_safe(area, next, batch, batch) {
		/*
		 * Start of the gap that will be left; the lowest area has none
		 */
		if (area != above) {
			lowest = space->areas.rb_leftmost == &area->node;
			free = area->start - area->gap;
		}
		above = iova_space_next(area);
		rb_erase_augmented_cached(&area->node, &space->areas,
					  &area_callbacks);
		if (above && above != next)
			set_gap(above, lowest ? 0 : above->start - free);
		nr++;
		cond_resched();
	}
	return nr;
}

/**
 * iova_space_erase - remove areas
 * @space: the space, locked by the caller
 * @batch: areas, linked by their @batch, ascending and usually neighbours;
 *         their IOVA are free afterwards
 */
void iova_space_erase(struct iova_space *space, struct list_head *batch)
{
	uncount_areas(space, erase_areas(space, batch));
}

/**
 * iova_space_split - replace an area by two
 * @space: the space, locked by the caller
 * @old: list of the area, linked by its @batch
 * @new: list of two areas that together have the same IOVA
 *
 * Return: 0, or -ENOSPC with nothing changed if there are too many areas.
 */
int iova_space_split(struct iova_space *space, struct list_head *old,
		     struct list_head *new)
{
	struct iommufd_area *area;
	int ret = count_areas(space, 1);

	if (ret)
		return ret;
	erase_areas(space, old);
	list_for_each_entry(area, new, batch)
		WARN_ON(insert_area(space, area));
	return 0;
}

/*
 * Find the lowest area, @area or higher, with a gap of at least @length below
 * it
 */
static struct iommufd_area *find_gap(struct iommufd_area *area,
				     unsigned long length)
{
	while (area && area->gap < length) {
		struct iommufd_area *child = area_of(area->node.rb_right);

		if (child && child->max_gap >= length) {
			/* It is in the right subtree: find the lowest one */
			for (area = child;;) {
				child = area_of(area->node.rb_left);
				if (child && child->max_gap >= length) {
					area = child;
					continue;
				}
				if (area->gap >= length)
					return area;
				area = area_of(area->node.rb_right);
			}
		}
		/* Not there: climb until this is a left child */
		for (;;) {
			child = area;
			area = area_of(rb_parent(&child->node));
			if (!area || &child->node == area->node.rb_left)
				break;
		}
	}
	return area;
}

/*
 * Find the lowest free range of at least @length bytes at or above @from.
 * Return the range above the highest area whatever its length; @start is 0 if
 * it is empty.
 *
 * find_gap() does not see the gap that contains @from, so check it here. The
 * gap below the lowest area can only be that one. So the tree stores 0 for it,
 * and does not change when areas are added and removed in order.
 */
static struct iova_range find_free(struct iova_space *space, unsigned long from,
				   unsigned long length)
{
	struct iommufd_area *area = iova_space_first(space, from);
	struct iova_range free = { .start = from, .last = ULONG_MAX };

	if (!area)
		return free;

	/* Only the part of this gap at or above @from counts */
	if (area->start > from && area->start - from >= length) {
		free.last = area->start - 1;
		return free;
	}

	area = find_gap(iova_space_next(area), length);
	if (area) {
		free.start = area->start - area->gap;
		free.last = area->start - 1;
	} else {
		free.start = iova_space_last(space) + 1;
	}
	return free;
}

/*
 * True if the user allows a range. If not, set @from to where to search next,
 * or to 0 if there is no other place.
 */
static bool is_allowed(struct iova_space *space, unsigned long *from,
		       unsigned long start, unsigned long last)
{
	struct interval_tree_node *node;
	unsigned long next = start;

	if (RB_EMPTY_ROOT(&space->allowed.rb_root))
		return true;
	/* Allowed ranges don't overlap; those that touch are like one */
	node = interval_tree_iter_first(&space->allowed, start, ULONG_MAX);
	while (node && node->start <= next) {
		if (node->last >= last)
			return true;
		next = node->last + 1;
		node = interval_tree_iter_next(node, start, ULONG_MAX);
	}
	*from = node ? node->start : 0;
	return false;
}

/*
 * Choose the lowest IOVA for a range. The range
 *
 * - is not in the first page, so that no device uses 0, nor in the last one, so
 *   that its end does not wrap;
 * - has the same offset in its page as the memory;
 * - is aligned as the memory is, but at most to the size of a huge page, and to
 *   @length rounded up to a power of two.
 */
static int choose_iova(struct iova_space *space, unsigned long *iova,
		       unsigned long length, unsigned long uva)
{
	unsigned long offset = offset_in_page(uva);
	unsigned long from = PAGE_SIZE;
	unsigned long align, step;

	if (length > ULONG_MAX / 2)
		return -EOVERFLOW;

	align = PAGE_SIZE;
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		align = HPAGE_PMD_SIZE;
	align = min(align, roundup_pow_of_two(length));
	if (uva)
		align = min(align, 1UL << __ffs(uva));
	if (align < space->alignment)
		return -EINVAL;
	step = max(align, PAGE_SIZE);

	do {
		struct interval_tree_node *hit;
		struct iova_range free = find_free(space, from, length);
		unsigned long start;

		/* Many gaps can be long enough but not aligned */
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		if (!free.start)
			return -ENOSPC;
		start = round_up(free.start - offset, step) + offset;
		/* Rounding up may wrap */
		if (start < free.start ||
		    start > ULONG_MAX - PAGE_SIZE - (length - 1))
			return -ENOSPC;
		if (start + length - 1 > free.last) {
			from = free.last + 1;
			continue;
		}
		if (!is_allowed(space, &from, start, start + length - 1))
			continue;

		hit = interval_tree_iter_first(&space->reserved, start,
					       start + length - 1);
		if (!hit) {
			*iova = start;
			return 0;
		}
		from = hit->last + 1;
	} while (from);
	return -ENOSPC;
}

static int check_iova(struct iova_space *space, unsigned long iova,
		      unsigned long length)
{
	unsigned long last;

	if (iova & (space->alignment - 1))
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last))
		return -EOVERFLOW;
	return is_reserved(space, iova, last) ? -EINVAL : 0;
}

/* Insert all areas or none. Before that their IOVA are relative to @iova */
static int insert_batch(struct iova_space *space, struct list_head *batch,
			unsigned long iova)
{
	unsigned long nr = 0, offsets = 0;
	struct iommufd_area *area;
	bool denied = false;
	LIST_HEAD(done);
	int ret;

	list_for_each_entry(area, batch, batch) {
		area->start += iova;
		area->last += iova;
		ret = insert_area(space, area);
		if (ret)
			goto err_erase;
		denied |= (area->prot & IOMMU_WRITE) && !area->pages->writable;
		offsets |= area->start | area->page_offset;
		nr++;
		if (!list_is_last(&area->batch, batch))
			cond_resched();
	}
	ret = -EPERM;
	if (denied)
		goto err_all;
	ret = -EINVAL;
	if (offsets & (space->alignment - 1))
		goto err_all;
	ret = count_areas(space, nr);
	if (ret)
		goto err_all;
	return 0;

err_erase:
	list_cut_before(&done, batch, &area->batch);
	erase_areas(space, &done);
	list_splice(&done, batch);
	return ret;

err_all:
	erase_areas(space, batch);
	return ret;
}

/**
 * iova_space_insert - choose or check a range, and insert areas there
 * @space: the space
 * @batch: areas, linked by their @batch, ascending and without a gap; their
 *         IOVA are relative to the range
 * @iova: start of the range; set if it is not @fixed
 * @length: size of the range in bytes
 * @uva: first byte of the memory
 * @fixed: the caller has chosen @iova
 *
 * Return: 0, or an errno in the order that userspace expects of IOMMU_IOAS_MAP:
 * -EINVAL, -EOVERFLOW, -EEXIST, -ENOSPC, -EPERM; -ENOSPC also if there are too
 * many areas; or -EINTR on a fatal signal.
 */
int iova_space_insert(struct iova_space *space, struct list_head *batch,
		      unsigned long *iova, unsigned long length,
		      unsigned long uva, bool fixed)
{
	int ret;

	mutex_lock(&space->lock);
	if (length & (space->alignment - 1))
		ret = -EINVAL;
	else if (fixed)
		ret = check_iova(space, *iova, length);
	else
		ret = choose_iova(space, iova, length, uva);
	if (!ret)
		ret = insert_batch(space, batch, *iova);
	mutex_unlock(&space->lock);
	return ret;
}

/**
 * iova_reserved_add - add a range to a list for iova_space_reserve()
 * @list: the list, NULL at first
 * @start: first IOVA
 * @last: last IOVA
 *
 * Return: 0 or -ENOMEM.
 */
int iova_reserved_add(struct iova_reserved **list, unsigned long start,
		      unsigned long last)
{
	struct iova_reserved *res;

	res = kmalloc(sizeof(*res), GFP_KERNEL_ACCOUNT);
	if (!res)
		return -ENOMEM;
	res->node.start = start;
	res->node.last = last;
	res->next = *list;
	*list = res;
	return 0;
}

/**
 * iova_reserved_free - free a list
 * @list: ranges that are not reserved
 */
void iova_reserved_free(struct iova_reserved *list)
{
	while (list) {
		struct iova_reserved *res = list;

		list = res->next;
		kfree(res);
	}
}

/**
 * iova_space_reserve - reserve ranges
 * @space: the space
 * @list: the ranges. The caller keeps them for iova_space_unreserve(); on error
 *        they are freed
 *
 * Return: 0, or -EADDRINUSE with nothing changed if a range overlaps an area or
 * a range that the user wants to use.
 */
int iova_space_reserve(struct iova_space *space, struct iova_reserved *list)
{
	struct iova_reserved *res;

	mutex_lock(&space->lock);
	for (res = list; res; res = res->next) {
		struct interval_tree_node *node = &res->node;
		struct iommufd_area *area;

		area = iova_space_first(space, node->start);
		if ((area && area->start <= node->last) ||
		    interval_tree_iter_first(&space->allowed, node->start,
					     node->last)) {
			mutex_unlock(&space->lock);
			iova_reserved_free(list);
			return -EADDRINUSE;
		}
	}
	for (res = list; res; res = res->next)
		interval_tree_insert(&res->node, &space->reserved);
	mutex_unlock(&space->lock);
	return 0;
}

/**
 * iova_space_unreserve - undo iova_space_reserve()
 * @space: the space
 * @list: the ranges, which are freed
 */
void iova_space_unreserve(struct iova_space *space, struct iova_reserved *list)
{
	struct iova_reserved *res;

	mutex_lock(&space->lock);
	for (res = list; res; res = res->next)
		interval_tree_remove(&res->node, &space->reserved);
	mutex_unlock(&space->lock);
	iova_reserved_free(list);
}

/**
 * iova_ranges_free - free a set of ranges
 * @ranges: interval tree of nodes that were allocated one by one
 */
void iova_ranges_free(struct rb_root_cached *ranges)
{
	struct interval_tree_node *node, *next;

	rbtree_postorder_for_each_entry_safe(node, next, &ranges->rb_root, rb) {
		kfree(node);
		cond_resched();
	}
	*ranges = RB_ROOT_CACHED;
}

/**
 * iova_space_allow - set the ranges that the user wants to use
 * @space: the space
 * @allowed: interval tree of the ranges, exchanged for the old one
 *
 * Return: 0, or -EADDRINUSE with nothing changed if one overlaps a reserved
 * range.
 */
int iova_space_allow(struct iova_space *space, struct rb_root_cached *allowed)
{
	struct interval_tree_node *node;
	int ret = 0;

	mutex_lock(&space->lock);
	node = interval_tree_iter_first(allowed, 0, ULONG_MAX);
	for (; node && !ret; node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		if (is_reserved(space, node->start, node->last))
			ret = -EADDRINUSE;
		cond_resched();
	}
	if (!ret)
		swap(space->allowed, *allowed);
	mutex_unlock(&space->lock);
	return ret;
}

static bool is_aligned(struct iommufd_area *area, unsigned long alignment)
{
	return IS_ALIGNED(area->start | (area->last + 1) | area->page_offset,
			  alignment);
}

/**
 * iova_space_align - set the alignment that areas must have
 * @space: the space
 * @alignment: power of two, in bytes
 *
 * Return: 0, or -EADDRINUSE with nothing changed if an area is not aligned.
 */
int iova_space_align(struct iova_space *space, unsigned long alignment)
{
	struct iommufd_area *area = NULL;

	mutex_lock(&space->lock);
	if (alignment > space->alignment)
		area = iova_space_first(space, 0);
	while (area && is_aligned(area, alignment)) {
		area = iova_space_next(area);
		cond_resched();
	}
	if (!area)
		space->alignment = alignment;
	mutex_unlock(&space->lock);
	return area ? -EADDRINUSE : 0;
}

/**
 * iova_space_usable - find the next range that is not reserved
 * @space: the space
 * @from: first IOVA to consider
 * @range: set to the range, which ends below the next reserved one
 * @alignment: set to the alignment of areas
 *
 * Return: false if everything from @from on is reserved.
 */
bool iova_space_usable(struct iova_space *space, unsigned long from,
		       struct iova_range *range, unsigned long *alignment)
{
	struct interval_tree_node *node;
	bool found = true;

	mutex_lock(&space->lock);
	*alignment = space->alignment;
	while ((node = interval_tree_iter_first(&space->reserved, from,
						ULONG_MAX)) &&
	       node->start <= from) {
		from = node->last + 1;
		if (!from) {
			found = false;
			break;
		}
	}
	range->start = from;
	range->last = node ? node->start - 1 : ULONG_MAX;
	mutex_unlock(&space->lock);
	return found;
}

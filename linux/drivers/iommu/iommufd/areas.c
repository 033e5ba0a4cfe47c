// SPDX-License-Identifier: GPL-2.0-only
/*
 * Areas: how they are mapped, copied, split and unmapped.
 *
 * A MAP inserts its area into the IOVA space first, then pins the memory with
 * no lock held, however long page faults take, and then maps it in all HWPTs of
 * the IOAS. An UNMAP takes the same steps in reverse. Meanwhile the area has an
 * owner, so no other request touches it, and requests on other areas can go on.
 */
#include <linux/file.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/* Number of areas that an UNMAP removes with one IOTLB flush */
#define UNMAP_BATCH 32

/* An area that shares the pages of another area */
struct copied_area {
	struct iommufd_area area;
	struct interval_tree_node part;
};

static void free_area(struct iommufd_area *area)
{
	struct iommufd_pages *pages = area->pages;

	if (area != &pages->area)
		kfree(area);
	iommufd_pages_put(pages);
}

static void free_batch(struct list_head *batch)
{
	struct iommufd_area *area, *next;

	list_for_each_entry_safe(area, next, batch, batch) {
		free_area(area);
		if (!list_entry_is_head(next, batch, batch))
			cond_resched();
	}
}

static int map_prot(u32 flags)
{
	return IOMMU_CACHE |
	       (flags & IOMMU_IOAS_MAP_READABLE ? IOMMU_READ : 0) |
	       (flags & IOMMU_IOAS_MAP_WRITEABLE ? IOMMU_WRITE : 0);
}

static void unpin_area(struct iommufd_area *area)
{
	if (area->pinned) {
		area->pinned = false;
		iommufd_pages_unpin(area->pages, area->part);
	}
}

/* Map an area in all HWPTs; domains_lock is held for read */
static int map_in_hwpts(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	lockdep_assert_held_read(&ioas->domains_lock);

	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item) {
		ret = iommufd_hwpt_map(hwpt, area);
		if (ret)
			goto err_unmap;
	}
	area->filled = true;
	return 0;

err_unmap:
	list_for_each_entry_continue_reverse(hwpt, &ioas->hwpts, ioas_item)
		iommufd_hwpt_unmap_sync(hwpt, area);
	return ret;
}

/* True if @area ends above what an HWPT that grows has reached */
static bool is_beyond_reach(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	return area->last > ioas->reach && !list_empty(&ioas->hwpts);
}

/*
 * Grow all HWPTs until they reach the end of an area. domains_lock is held for
 * write, so nobody maps or unmaps meanwhile. This is rare, since the levels of
 * a page table end at powers of two.
 */
static int grow_hwpts(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	ret = down_write_killable(&ioas->domains_lock);
	if (ret)
		return ret;
	if (is_beyond_reach(ioas, area)) {
		list_for_each_entry(hwpt, &ioas->hwpts, ioas_item) {
			ret = iommufd_hwpt_grow(hwpt, area);
			if (ret)
				goto out_unlock;
		}
		ioas->reach = GENMASK(__fls(area->last), 0);
	}
out_unlock:
	up_write(&ioas->domains_lock);
	return ret;
}

/*
 * Pin and map a new area if the IOAS has HWPTs. The first HWPT may be added, or
 * the last one removed, whenever domains_lock is not held.
 */
static int fill_area(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	int ret;

	for (;;) {
		ret = down_read_killable(&ioas->domains_lock);
		if (ret)
			break;
		if (area->pinned == !list_empty(&ioas->hwpts)) {
			if (unlikely(is_beyond_reach(ioas, area))) {
				up_read(&ioas->domains_lock);
				ret = grow_hwpts(ioas, area);
				if (ret)
					break;
				continue;
			}
			ret = map_in_hwpts(ioas, area);
			up_read(&ioas->domains_lock);
			break;
		}
		up_read(&ioas->domains_lock);

		/* Pin with no lock held, or unpin if the last HWPT is gone */
		if (area->pinned) {
			unpin_area(area);
			continue;
		}
		ret = iommufd_pages_pin(area->pages, area->part);
		if (ret)
			break;
		area->pinned = true;
	}
	if (ret)
		unpin_area(area);
	return ret;
}

static void unmap_from_hwpts(struct iommufd_ioas *ioas,
			     struct list_head *batch)
{
	struct iommu_iotlb_gather gather;
	struct iommufd_hwpt *hwpt;
	struct iommufd_area *area;

	lockdep_assert_held_read(&ioas->domains_lock);

	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item) {
		bool flush = false;

		iommu_iotlb_gather_init(&gather);
		list_for_each_entry(area, batch, batch)
			flush |= iommufd_hwpt_unmap(hwpt, area, &gather);
		if (flush)
			iommu_iotlb_sync(hwpt->domain, &gather);
	}
	list_for_each_entry(area, batch, batch)
		area->filled = false;
}

/*
 * Insert areas, fill them, and let other requests use them. On error all of
 * them are removed and freed; if the caller is killed, areas that are filled
 * may stay.
 */
static int add_batch(struct iommufd_ioas *ioas, struct list_head *batch,
		     unsigned long *iova, unsigned long length,
		     unsigned long uva, bool fixed)
{
	struct iommufd_area *area, *next;
	LIST_HEAD(filled);
	int ret;

	ret = iova_space_insert(&ioas->space, batch, iova, length, uva, fixed);
	if (ret)
		goto out_free;
	list_for_each_entry(area, batch, batch) {
		/* If all pages are pinned, fill_area() may not see a signal */
		ret = fatal_signal_pending(current) ? -EINTR :
						      fill_area(ioas, area);
		if (ret)
			goto out_undo;
		if (!list_is_last(&area->batch, batch))
			cond_resched();
	}
	list_for_each_entry_safe(area, next, batch, batch)
		area_give_back(area);
	return 0;

out_undo:
	list_cut_before(&filled, batch, &area->batch);
	if (!list_empty(&filled) && down_read_killable(&ioas->domains_lock)) {
		/* Killed while waiting for the lock: the filled areas stay */
		list_for_each_entry_safe(area, next, &filled, batch)
			area_give_back(area);
		INIT_LIST_HEAD(&filled);
	} else if (!list_empty(&filled)) {
		unmap_from_hwpts(ioas, &filled);
		up_read(&ioas->domains_lock);
		list_for_each_entry(area, &filled, batch)
			unpin_area(area);
	}
	list_splice(&filled, batch);
	mutex_lock(&ioas->space.lock);
	iova_space_erase(&ioas->space, batch);
	mutex_unlock(&ioas->space.lock);
out_free:
	free_batch(batch);
	return ret;
}

/**
 * iommufd_areas_map - map memory
 * @ioas: the IOAS
 * @map: the mapping, with a direction checked by the caller; @iova is set if it
 *       is not fixed
 *
 * Context: sleeps as long as page faults take.
 *
 * Return: 0, or an errno with nothing mapped. The checks are made in the order
 * that userspace expects of IOMMU_IOAS_MAP.
 */
int iommufd_areas_map(struct iommufd_ioas *ioas, struct iommufd_mapping *map)
{
	bool fixed = map->flags & IOMMU_IOAS_MAP_FIXED_IOVA;
	unsigned long iova = map->iova, end, uva;
	struct iommufd_pages *pages;
	struct file *file = NULL;
	LIST_HEAD(batch);
	int ret;

	if (!map->length || map->length >= ULONG_MAX - PAGE_SIZE)
		return -EINVAL;
	if (map->start > ULONG_MAX ||
	    check_add_overflow((unsigned long)map->start,
			       (unsigned long)map->length, &end))
		return -EOVERFLOW;

	if (map->fd) {
		file = fget(*map->fd);
		if (!file)
			return -EBADF;
	}
	pages = iommufd_pages_alloc(ioas->ctx, file, map);
	if (IS_ERR(pages)) {
		ret = PTR_ERR(pages);
		goto out_put;
	}
	pages->area.prot = map_prot(map->flags);
	list_add(&pages->area.batch, &batch);
	uva = pages->uva + pages->area.page_offset;
	ret = add_batch(ioas, &batch, &iova, map->length, uva, fixed);
	map->iova = iova;
out_put:
	if (file)
		fput(file);
	return ret;
}

/* Make @copy an area that shares the pages of [start, last] of @from */
static void share_pages(struct copied_area *copy, struct iommufd_area *from,
			unsigned long start, unsigned long last)
{
	unsigned long offset = from->page_offset + (start - from->start);
	struct iommufd_pages *pages = from->pages;
	struct iommufd_area *area = &copy->area;

	refcount_inc(&pages->refs);
	area->start = start;
	area->last = last;
	area->pages = pages;
	area->index = from->index + (offset >> PAGE_SHIFT);
	area->page_offset = offset_in_page(offset);
	copy->part.start = area->index;
	copy->part.last = area->index +
			  PFN_DOWN(area->page_offset + (last - start));
	if (copy->part.start || copy->part.last != pages->npages - 1)
		area->part = &copy->part;
}

/*
 * Make an area that shares the pages mapped at @start, up to the end of the
 * area there or @last
 */
static struct iommufd_area *share_area(struct iommufd_ioas *src,
				       unsigned long start, unsigned long last,
				       u32 flags)
{
	struct iommufd_area *from;
	struct copied_area *copy;
	int ret = 0;

	copy = kzalloc(sizeof(*copy), GFP_KERNEL_ACCOUNT);
	if (!copy)
		return ERR_PTR(-ENOMEM);

	mutex_lock(&src->space.lock);
	from = iova_space_first(&src->space, start);
	if (!from || from->start > start)
		ret = -ENOENT;
	else if (area_owner(from) != IOMMUFD_AREA_FREE)
		ret = -EBUSY;
	if (ret)
		goto err_unlock;
	share_pages(copy, from, start, min(from->last, last));
	mutex_unlock(&src->space.lock);

	copy->area.owner = IOMMUFD_AREA_MAP;
	copy->area.prot = map_prot(flags);
	return &copy->area;

err_unlock:
	mutex_unlock(&src->space.lock);
	kfree(copy);
	return ERR_PTR(ret);
}

/*
 * Make areas that share everything that is mapped in [start, last]. Their IOVA
 * are relative to @start.
 */
static int share_areas(struct iommufd_ioas *src, unsigned long start,
		       unsigned long last, u32 flags, struct list_head *batch)
{
	unsigned long at = start;
	int ret = 0;

	for (;;) {
		struct iommufd_area *area;

		if (fatal_signal_pending(current))
			ret = -EINTR;
		if (ret)
			break;
		cond_resched();
		area = share_area(src, at, last, flags);
		if (IS_ERR(area)) {
			ret = PTR_ERR(area);
			break;
		}
		list_add_tail(&area->batch, batch);
		at = area->last + 1;
		area->start -= start;
		area->last -= start;
		if (area->last == last - start)
			return 0;
	}
	free_batch(batch);
	return ret;
}

/**
 * iommufd_areas_copy - map pages that are mapped already
 * @dst: the IOAS to map in
 * @src: the IOAS to copy from; may be @dst
 * @first: first IOVA in @src
 * @last: last IOVA in @src; the range must not have a gap
 * @map: flags, length and IOVA in @dst, as for iommufd_areas_map()
 *
 * Return: 0, or an errno with nothing mapped, except that after a fatal signal
 * some areas may stay. The checks are made in the order that userspace expects
 * of IOMMU_IOAS_COPY.
 */
int iommufd_areas_copy(struct iommufd_ioas *dst, struct iommufd_ioas *src,
		       unsigned long first, unsigned long last,
		       struct iommufd_mapping *map)
{
	bool fixed = map->flags & IOMMU_IOAS_MAP_FIXED_IOVA;
	unsigned long iova = map->iova, uva;
	struct iommufd_area *area;
	LIST_HEAD(batch);
	int ret;

	ret = share_areas(src, first, last, map->flags, &batch);
	if (ret)
		return ret;
	area = list_first_entry(&batch, struct iommufd_area, batch);
	uva = area->pages->uva + (area->index << PAGE_SHIFT) +
	      area->page_offset;
	ret = add_batch(dst, &batch, &iova, map->length, uva, fixed);
	map->iova = iova;
	return ret;
}

/*
 * Take the next areas from @start on, up to UNMAP_BATCH, for an UNMAP of
 * [first, last]: own them and add them to @batch. Return
 *
 *   -ENOENT   the range cuts an area
 *   -EBUSY    a MAP owns an area
 *   -EAGAIN   another UNMAP or a split owns the next area, and @batch is
 *             empty: wait
 *             until iova_space::wake_seq is no longer @seq
 *
 * If the error is -ENOENT or -EBUSY, areas before that one are in @batch.
 */
static int claim_batch(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long *start, unsigned long last,
		       struct list_head *batch, unsigned long *seq)
{
	struct iommufd_area *area;
	unsigned int nr = 0;
	int ret = 0;

	mutex_lock(&ioas->space.lock);
	*seq = ioas->space.wake_seq;
	area = iova_space_first(&ioas->space, *start);
	/*
	 * Skip an area that spans @start: it was mapped after the areas below
	 * @start were removed
	 */
	if (area && area->start < *start && *start != first) {
		*start = area->last + 1;
		area = iova_space_next(area);
	}
	for (; area && area->start <= last && nr < UNMAP_BATCH; nr++) {
		if (area->start < *start || area->last > last) {
			ret = -ENOENT;
			break;
		}
		switch (area_owner(area)) {
		case IOMMUFD_AREA_FREE:
			break;
		case IOMMUFD_AREA_MAP:
			ret = -EBUSY;
			goto out_unlock;
		case IOMMUFD_AREA_UNMAP:
		case IOMMUFD_AREA_SPLIT:
			ret = nr ? 0 : -EAGAIN;
			goto out_unlock;
		}
		area->owner = IOMMUFD_AREA_UNMAP;
		list_add_tail(&area->batch, batch);
		*start = area->last + 1;
		if (area->last == last)
			break;
		area = iova_space_next(area);
	}
out_unlock:
	mutex_unlock(&ioas->space.lock);
	return ret;
}

/*
 * Ask accesses to unpin the areas. No access can begin, since the caller owns
 * them.
 */
static int evict(struct iommufd_ioas *ioas, struct list_head *batch)
{
	struct iommufd_area *area;
	int ret;

	list_for_each_entry(area, batch, batch) {
		/* The count only decreases here */
		ret = READ_ONCE(area->nr_accesses) ?
			iommufd_access_evict(ioas, area) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

/* Give up the ownership of areas, which stay mapped */
static void give_back_batch(struct iommufd_ioas *ioas, struct list_head *batch)
{
	struct iommufd_area *area;

	mutex_lock(&ioas->space.lock);
	list_for_each_entry(area, batch, batch)
		area_give_back(area);
	iova_space_wake(&ioas->space);
	mutex_unlock(&ioas->space.lock);
}

/*
 * Remove areas that the caller owns, and add their bytes to @removed. On error
 * no area is removed, and the caller doesn't own them any more.
 */
static int remove_batch(struct iommufd_ioas *ioas, struct list_head *batch,
			unsigned int flags, unsigned long *removed)
{
	struct iommufd_area *area;
	int ret;

	ret = evict(ioas, batch);
	if (!ret)
		ret = down_read_killable(&ioas->domains_lock);
	if (ret) {
		give_back_batch(ioas, batch);
		return ret;
	}
	unmap_from_hwpts(ioas, batch);
	/* Only now can devices not write any more */
	if ((flags & IOMMUFD_UNMAP_KEEP_DIRTY) && !list_empty(&ioas->hwpts))
		list_for_each_entry(area, batch, batch)
			iommufd_dirty_note(ioas, area->start, area->last);
	up_read(&ioas->domains_lock);

	list_for_each_entry(area, batch, batch) {
		unpin_area(area);
		*removed += area_length(area);
	}

	mutex_lock(&ioas->space.lock);
	/* A MAP can use the IOVA again as soon as this lock is dropped */
	if (iommufd_dirty_tracked(ioas) && !(flags & IOMMUFD_UNMAP_KEEP_DIRTY))
		list_for_each_entry(area, batch, batch)
			iommufd_dirty_forget(ioas, area->start, area->last);
	iova_space_erase(&ioas->space, batch);
	iova_space_wake(&ioas->space);
	mutex_unlock(&ioas->space.lock);
	free_batch(batch);
	return 0;
}

/**
 * iommufd_areas_unmap - remove all areas in a range
 * @ioas: the IOAS
 * @first: first IOVA
 * @last: last IOVA
 * @flags: IOMMUFD_UNMAP_*
 * @unmapped: number of bytes removed, also on error
 *
 * Context: calls ops->unpin() of accesses, and waits for other UNMAPs and
 * splits.
 *
 * Return:
 * * 0 - all areas were removed, or there was none
 * * -ENOENT - the range cuts an area
 * * -EBUSY - a MAP is not done with an area
 * * -EDEADLOCK - an access does not unpin
 * * -EINTR, -ERESTARTSYS - a fatal signal
 */
int iommufd_areas_unmap(struct iommufd_ioas *ioas, unsigned long first,
			unsigned long last, unsigned int flags,
			unsigned long *unmapped)
{
	unsigned long start = first, seq;
	int ret, err;

	*unmapped = 0;
	for (;;) {
		LIST_HEAD(batch);

		ret = claim_batch(ioas, first, &start, last, &batch, &seq);
		if (ret == -EAGAIN) {
			ret = iova_space_wait(&ioas->space, seq);
			if (ret)
				return ret;
			continue;
		}
		if (list_empty(&batch))
			return ret;
		err = remove_batch(ioas, &batch, flags, unmapped);
		if (err)
			return err;

		/* @start is 0 if the area ended at the highest IOVA */
		if (ret || !start || start > last)
			return ret;
		if (!(flags & IOMMUFD_UNMAP_RELEASE) &&
		    fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

/*
 * Own the area that contains both @at - 1 and @at. Return NULL if there is
 * none, -EBUSY if it has an owner, or -EINVAL if it can't be split: an access
 * uses it, HWPTs may map it with large pages, or @at is not aligned.
 * domains_lock is held for read.
 */
static struct iommufd_area *claim_area_to_split(struct iommufd_ioas *ioas,
						unsigned long at)
{
	struct iommufd_area *area;

	lockdep_assert_held_read(&ioas->domains_lock);

	mutex_lock(&ioas->space.lock);
	area = iova_space_first(&ioas->space, at);
	if (!area || area->start >= at)
		area = NULL;
	else if (area_owner(area) != IOMMUFD_AREA_FREE)
		area = ERR_PTR(-EBUSY);
	else if (area->nr_accesses || !ioas->small_pages ||
		 (at & (ioas->space.alignment - 1)))
		area = ERR_PTR(-EINVAL);
	else
		area->owner = IOMMUFD_AREA_SPLIT;
	mutex_unlock(&ioas->space.lock);
	return area;
}

static int make_piece(struct iommufd_area *area, unsigned long start,
		      unsigned long last, struct list_head *pieces)
{
	struct copied_area *piece = kzalloc(sizeof(*piece), GFP_KERNEL_ACCOUNT);

	if (!piece)
		return -ENOMEM;
	share_pages(piece, area, start, last);
	piece->area.owner = IOMMUFD_AREA_SPLIT;
	piece->area.prot = area->prot;
	list_add_tail(&piece->area.batch, pieces);
	return 0;
}

static void unpin_pieces(struct list_head *pieces)
{
	struct iommufd_area *piece;

	list_for_each_entry(piece, pieces, batch)
		unpin_area(piece);
}

/*
 * Pin the pages for each piece. If the area is pinned, the store has all pages
 * already, and only the need is recorded.
 */
static int pin_pieces(struct iommufd_area *area, struct list_head *pieces)
{
	struct iommufd_area *piece;
	int ret = 0;

	list_for_each_entry(piece, pieces, batch) {
		if (area->pinned)
			ret = iommufd_pages_pin(piece->pages, piece->part);
		if (ret) {
			unpin_pieces(pieces);
			return ret;
		}
		piece->pinned = area->pinned;
		piece->filled = area->filled;
	}
	return 0;
}

/*
 * HWPTs map the area with small pages, so their entries stay as they are. Only
 * for memory of devices an HWPT refers to the area.
 */
static void split_in_hwpts(struct iommufd_ioas *ioas,
			   struct iommufd_area *area,
			   struct list_head *pieces)
{
	struct iommufd_hwpt *hwpt;

	if (!area->pinned || !area->pages->is_mmio)
		return;
	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
		iommufd_mmio_split(hwpt, area,
				   list_first_entry(pieces, struct iommufd_area,
						    batch),
				   list_last_entry(pieces, struct iommufd_area,
						   batch));
}

/**
 * iommufd_areas_split - split an area in two
 * @ioas: the IOAS
 * @at: first IOVA of the upper piece
 *
 * On error nothing is changed.
 *
 * Return:
 * * 0 - the area was split, or no area contains both @at - 1 and @at
 * * -EBUSY - the area is being mapped, unmapped or split
 * * -EINVAL - @at is not aligned, an access uses the area, or HWPTs may map it
 *   with large pages
 * * -ENOSPC - too many areas
 * * -ENOMEM, -EINTR
 */
int iommufd_areas_split(struct iommufd_ioas *ioas, unsigned long at)
{
	struct iommufd_area *area;
	LIST_HEAD(pieces);
	LIST_HEAD(whole);
	struct list_head *gone = &pieces, *kept = &whole;
	int ret;

	/* The HWPTs, small_pages and the alignment can't change now */
	ret = down_read_killable(&ioas->domains_lock);
	if (ret)
		return ret;
	area = claim_area_to_split(ioas, at);
	if (IS_ERR_OR_NULL(area)) {
		ret = PTR_ERR_OR_ZERO(area);
		goto out_unlock;
	}
	list_add(&area->batch, &whole);

	ret = make_piece(area, area->start, at - 1, &pieces);
	if (!ret)
		ret = make_piece(area, at, area->last, &pieces);
	if (!ret)
		ret = pin_pieces(area, &pieces);
	if (!ret) {
		mutex_lock(&ioas->space.lock);
		ret = iova_space_split(&ioas->space, &whole, &pieces);
		mutex_unlock(&ioas->space.lock);
		if (ret)
			unpin_pieces(&pieces);
	}
	if (!ret) {
		split_in_hwpts(ioas, area, &pieces);
		unpin_area(area);
		swap(gone, kept);
	}
	free_batch(gone);
	give_back_batch(ioas, kept);
out_unlock:
	up_read(&ioas->domains_lock);
	return ret;
}

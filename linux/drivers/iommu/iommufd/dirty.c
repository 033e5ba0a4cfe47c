// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty pages: what devices may have written since a container was asked last.
 *
 * No IOMMU of this kernel tells what it has written, so with a page table all that is
 * mapped is dirty. Without one only drivers of emulated devices reach memory: then a page
 * is dirty if one of them has pinned it or written to it, and stays so as long as it is
 * pinned. That is noted here, by IOVA, and only while somebody asks.
 */
#include <linux/bitmap.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

#define CHUNK_PAGES 512

struct dirty_chunk {
	DECLARE_BITMAP(pages, CHUNK_PAGES);
};

/* Pages whose bits are copied to the user at once */
#define PIECE_PAGES ((unsigned long)SZ_64K * BITS_PER_BYTE)

static struct dirty_chunk *get_chunk(struct iommufd_dirty *dirty,
				     unsigned long index)
{
	struct dirty_chunk *chunk = xa_load(&dirty->chunks, index);

	if (chunk)
		return chunk;
	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL_ACCOUNT);
	if (chunk && xa_err(xa_store(&dirty->chunks, index, chunk,
				     GFP_KERNEL_ACCOUNT))) {
		kfree(chunk);
		chunk = NULL;
	}
	return chunk;
}

/**
 * iommufd_dirty_note - note what may have been written
 * @ioas: the IOAS
 * @first: first IOVA
 * @last: last IOVA
 *
 * To be called after that has become visible which it is noted for, and
 * iova_space::lock was taken meanwhile: who begins to track takes it too, so either
 * sees the other.
 *
 * Without memory to note it everything is dirty until tracking ends.
 */
void iommufd_dirty_note(struct iommufd_ioas *ioas, unsigned long first,
			unsigned long last)
{
	struct iommufd_dirty *dirty = &ioas->dirty;
	unsigned long page = first >> PAGE_SHIFT, nr;

	for (; page <= last >> PAGE_SHIFT; page += nr) {
		unsigned int bit = page % CHUNK_PAGES;
		struct dirty_chunk *chunk;

		nr = min((last >> PAGE_SHIFT) - page, CHUNK_PAGES - 1UL - bit) + 1;
		mutex_lock(&dirty->lock);
		if (!dirty->tracked) {
			mutex_unlock(&dirty->lock);
			return;
		}
		chunk = get_chunk(dirty, page / CHUNK_PAGES);
		if (chunk)
			bitmap_set(chunk->pages, bit, nr);
		else
			dirty->all = true;
		mutex_unlock(&dirty->lock);
		cond_resched();
	}
}

/* The next area that reaches into [range->start, last], as much of it as does */
static bool next_mapped(struct iommufd_ioas *ioas, unsigned long last,
			struct iova_range *range)
{
	struct iommufd_area *area;
	bool found;

	mutex_lock(&ioas->space.lock);
	area = iova_space_first(&ioas->space, range->start);
	found = area && area->start <= last;
	if (found) {
		range->start = max(area->start, range->start);
		range->last = min(area->last, last);
	}
	mutex_unlock(&ioas->space.lock);
	return found;
}

/**
 * iommufd_dirty_note_mapped - note all that is mapped in a range
 * @ioas: the IOAS
 * @first: first IOVA
 * @last: last IOVA
 */
void iommufd_dirty_note_mapped(struct iommufd_ioas *ioas, unsigned long first,
			       unsigned long last)
{
	struct iova_range range = { .start = first };

	if (!iommufd_dirty_tracked(ioas))
		return;
	do {
		if (!next_mapped(ioas, last, &range))
			break;
		iommufd_dirty_note(ioas, range.start, range.last);
		range.start = range.last + 1;
	} while (range.last != last);
}

/* What is pinned can be written at any time, so it is dirty again at once */
static int note_pinned(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long last)
{
	unsigned long iova = first, length;

	while ((length = iommufd_access_pinned(ioas, &iova, last))) {
		iommufd_dirty_note(ioas, iova, iova + length - 1);
		iova += length;
		if (iova > last || !iova)
			break;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Forget what was noted; tracking goes on or not. The lock is held */
static void forget_all(struct iommufd_dirty *dirty)
{
	struct dirty_chunk *chunk;
	unsigned long index;

	lockdep_assert_held(&dirty->lock);

	xa_for_each(&dirty->chunks, index, chunk) {
		kfree(chunk);
		cond_resched();
	}
	xa_destroy(&dirty->chunks);
	dirty->all = false;
}

/**
 * iommufd_dirty_stop - end what iommufd_dirty_start() began
 * @ioas: the IOAS
 */
void iommufd_dirty_stop(struct iommufd_ioas *ioas)
{
	struct iommufd_dirty *dirty = &ioas->dirty;

	mutex_lock(&dirty->lock);
	WRITE_ONCE(dirty->tracked, false);
	forget_all(dirty);
	mutex_unlock(&dirty->lock);
}

/**
 * iommufd_dirty_start - begin to note what may be written
 * @ioas: the IOAS; nothing happens if that was begun already
 *
 * Return: 0, or -EINTR with nothing begun.
 */
int iommufd_dirty_start(struct iommufd_ioas *ioas)
{
	struct iommufd_dirty *dirty = &ioas->dirty;
	bool tracked;
	int ret;

	mutex_lock(&dirty->lock);
	tracked = dirty->tracked;
	WRITE_ONCE(dirty->tracked, true);
	mutex_unlock(&dirty->lock);
	if (tracked)
		return 0;
	ret = note_pinned(ioas, 0, ULONG_MAX);
	if (ret)
		iommufd_dirty_stop(ioas);
	return ret;
}

/*
 * Move what was noted of [page, page + nr) to a bitmap. False if that is not all, so
 * that everything counts
 */
static bool take(struct iommufd_dirty *dirty, unsigned long page,
		 unsigned long nr, unsigned long *bits)
{
	unsigned long index = page / CHUNK_PAGES;
	struct dirty_chunk *chunk;
	bool complete;

	mutex_lock(&dirty->lock);
	complete = !dirty->all;
	xa_for_each_range(&dirty->chunks, index, chunk, page / CHUNK_PAGES,
			  (page + nr - 1) / CHUNK_PAGES) {
		unsigned long base = index * CHUNK_PAGES;
		unsigned long from = max(base, page) - base;
		unsigned long end = min(base + CHUNK_PAGES, page + nr) - base;
		unsigned long bit;

		bit = find_next_bit(chunk->pages, end, from);
		while (bit < end) {
			__set_bit(base + bit - page, bits);
			bit = find_next_bit(chunk->pages, end, bit + 1);
		}
		bitmap_clear(chunk->pages, from, end - from);
	}
	mutex_unlock(&dirty->lock);
	return complete;
}

/* Undo take() */
static void give_back(struct iommufd_ioas *ioas, unsigned long page,
		      unsigned long nr, const unsigned long *bits)
{
	unsigned long start, end;

	for_each_set_bitrange(start, end, bits, nr)
		iommufd_dirty_note(ioas, (page + start) << PAGE_SHIFT,
				   ((page + end) << PAGE_SHIFT) - 1);
}

static void set_mapped(struct iommufd_ioas *ioas, unsigned long page,
		       unsigned long nr, unsigned long *bits)
{
	unsigned long last = ((page + nr) << PAGE_SHIFT) - 1;
	struct iova_range range = { .start = page << PAGE_SHIFT };

	do {
		if (!next_mapped(ioas, last, &range))
			break;
		bitmap_set(bits, (range.start >> PAGE_SHIFT) - page,
			   (range.last >> PAGE_SHIFT) -
			   (range.start >> PAGE_SHIFT) + 1);
		range.start = range.last + 1;
		cond_resched();
	} while (range.last != last);
}

static int has_tables(struct iommufd_ioas *ioas)
{
	int ret = down_read_killable(&ioas->domains_lock);

	if (ret)
		return ret;
	ret = !list_empty(&ioas->hwpts);
	up_read(&ioas->domains_lock);
	return ret;
}

/**
 * iommufd_dirty_read - tell what may have been written, and begin anew
 * @ioas: IOAS that is tracked
 * @first: first IOVA, of a page
 * @npages: pages
 * @keep: forget nothing, and note all that is told
 * @user: where a bit for each page goes, as multiples of 64
 *
 * Context: writes to user memory.
 *
 * Return: 0, -ENOMEM; -EFAULT or -EINTR, then nothing is forgotten whose bits could
 * not be told.
 */
int iommufd_dirty_read(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long npages, bool keep, void __user *user)
{
	unsigned long page = first >> PAGE_SHIFT, end = page + npages, nr;
	unsigned long *bits;
	int ret, tables;

	tables = has_tables(ioas);
	if (tables < 0)
		return tables;
	bits = kvmalloc(ALIGN(min(npages, PIECE_PAGES), 64) / BITS_PER_BYTE,
			GFP_KERNEL_ACCOUNT);
	if (!bits)
		return -ENOMEM;

	for (ret = 0; !ret && page < end; page += nr) {
		size_t size;

		nr = min(end - page, PIECE_PAGES);
		size = ALIGN(nr, 64) / BITS_PER_BYTE;
		bitmap_zero(bits, ALIGN(nr, 64));
		if (!take(&ioas->dirty, page, nr, bits))
			bitmap_set(bits, 0, nr);
		else if (tables)
			set_mapped(ioas, page, nr, bits);
		ret = note_pinned(ioas, page << PAGE_SHIFT,
				  ((page + nr) << PAGE_SHIFT) - 1);
		if (!ret && copy_to_user(user, bits, size))
			ret = -EFAULT;
		if (ret || keep)
			give_back(ioas, page, nr, bits);
		user += size;
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(bits);
	return ret;
}

/**
 * iommufd_dirty_forget - nothing is there any more that could be dirty
 * @ioas: the IOAS
 * @first: first IOVA, of a page
 * @last: last IOVA
 */
void iommufd_dirty_forget(struct iommufd_ioas *ioas, unsigned long first,
			  unsigned long last)
{
	struct iommufd_dirty *dirty = &ioas->dirty;
	unsigned long page = first >> PAGE_SHIFT, index;
	unsigned long end = (last >> PAGE_SHIFT) + 1;
	struct dirty_chunk *chunk;

	if (!iommufd_dirty_tracked(ioas))
		return;
	mutex_lock(&dirty->lock);
	xa_for_each_range(&dirty->chunks, index, chunk, page / CHUNK_PAGES,
			  (end - 1) / CHUNK_PAGES) {
		unsigned long base = index * CHUNK_PAGES;
		unsigned long from = max(base, page) - base;

		bitmap_clear(chunk->pages, from,
			     min(base + CHUNK_PAGES, end) - base - from);
		cond_resched();
	}
	mutex_unlock(&dirty->lock);
}

/**
 * iommufd_dirty_init - prepare to track
 * @dirty: of an IOAS that is being made
 */
void iommufd_dirty_init(struct iommufd_dirty *dirty)
{
	mutex_init(&dirty->lock);
	xa_init_flags(&dirty->chunks, XA_FLAGS_ACCOUNT);
}

/**
 * iommufd_dirty_destroy - end it
 * @dirty: of an IOAS that is being released
 */
void iommufd_dirty_destroy(struct iommufd_dirty *dirty)
{
	mutex_lock(&dirty->lock);
	forget_all(dirty);
	mutex_unlock(&dirty->lock);
	mutex_destroy(&dirty->lock);
}

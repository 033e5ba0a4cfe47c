// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty pages: notes of what devices may have written since a container was asked last.
 *
 * No IOMMU of this kernel tells what it has written, so with a page table all that is
 * mapped is dirty. Without one only drivers of emulated devices reach memory: then a page
 * is dirty if one of them has pinned it or written to it, and stays so as long as it is
 * pinned. That is noted here, by IOVA, and only while somebody asks.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "iommufd_private.h"

#define CHUNK_PAGES 512

struct dirty_chunk {
	DECLARE_BITMAP(pages, CHUNK_PAGES);
};

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

/**
 * iommufd_dirty_next_mapped - find what is mapped in a range
 * @ioas: the IOAS
 * @last: last IOVA of the range
 * @range: its start; the result is the next area in there, as much of it as is
 *
 * Return: false if there is none.
 */
bool iommufd_dirty_next_mapped(struct iommufd_ioas *ioas, unsigned long last,
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
		if (!iommufd_dirty_next_mapped(ioas, last, &range))
			break;
		iommufd_dirty_note(ioas, range.start, range.last);
		range.start = range.last + 1;
	} while (range.last != last);
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
 * iommufd_dirty_take - move what was noted to a bitmap
 * @ioas: the IOAS
 * @page: first page, by IOVA
 * @nr: pages
 * @bits: a bit for each, which is set for those that were noted
 *
 * Return: false if that is not all, so that everything counts.
 */
bool iommufd_dirty_take(struct iommufd_ioas *ioas, unsigned long page,
			unsigned long nr, unsigned long *bits)
{
	struct iommufd_dirty *dirty = &ioas->dirty;
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty pages: records of what may have been written since the last query.
 *
 * No IOMMU driver of this kernel reports what devices have written. So if the
 * IOAS has an HWPT, everything that is mapped is dirty. Otherwise only drivers
 * of emulated devices write memory: a page is dirty if one of them has pinned
 * it or written to it, and as long as it is pinned. That is recorded here by
 * IOVA, but only while a container tracks dirty pages.
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
	struct dirty_chunk *chunk;

	lockdep_assert_held(&dirty->lock);

	chunk = xa_load(&dirty->chunks, index);
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
 * iommufd_dirty_note - record what may have been written
 * @ioas: the IOAS
 * @first: first IOVA
 * @last: last IOVA
 *
 * The caller has made the pin or write visible before it read @tracked: by
 * taking iova_space::lock for a pin, by a barrier for a write. The start of
 * tracking does the same in the other order. So either this sees @tracked, or
 * the start sees the pin, and the user the write. The access of the area has not
 * ended, so an UNMAP that reports dirty pages waits for the record.
 *
 * If there is no memory for the record, everything is dirty until tracking
 * ends.
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
		if (!dirty->tracked || dirty->all) {
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
 * iommufd_dirty_next_mapped - find the next area in a range
 * @ioas: the IOAS
 * @last: last IOVA of the range
 * @range: where the range starts; set to the part of the area that is in the
 *         range
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

/* Delete all records. The lock is held */
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
 * iommufd_dirty_stop - undo iommufd_dirty_start()
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
 * iommufd_dirty_take - move records to a bitmap
 * @ioas: the IOAS
 * @page: first page of the IOVA
 * @nr: number of pages
 * @bits: bitmap; bits of recorded pages are set
 *
 * Return: false if records are missing, so that all pages are dirty.
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
 * iommufd_dirty_forget - delete the records of an area that was unmapped
 * @ioas: the IOAS, which is tracked
 * @first: first IOVA
 * @last: last IOVA
 *
 * A page of which another area may have a part stays recorded.
 */
void iommufd_dirty_forget(struct iommufd_ioas *ioas, unsigned long first,
			  unsigned long last)
{
	unsigned long page = (first >> PAGE_SHIFT) + !!offset_in_page(first);
	unsigned long end = (last >> PAGE_SHIFT) + !offset_in_page(last + 1);
	struct iommufd_dirty *dirty = &ioas->dirty;
	struct dirty_chunk *chunk;
	unsigned long index;

	if (page >= end)
		return;
	mutex_lock(&dirty->lock);
	xa_for_each_range(&dirty->chunks, index, chunk, page / CHUNK_PAGES,
			  (end - 1) / CHUNK_PAGES) {
		unsigned long base = index * CHUNK_PAGES;
		unsigned long from = max(base, page) - base;

		bitmap_clear(chunk->pages, from,
			     min(base + CHUNK_PAGES, end) - base - from);
		if (bitmap_empty(chunk->pages, CHUNK_PAGES)) {
			xa_erase(&dirty->chunks, index);
			kfree(chunk);
		}
		cond_resched();
	}
	mutex_unlock(&dirty->lock);
}

/**
 * iommufd_dirty_init - initialize the records
 * @dirty: records of an IOAS that is being made
 */
void iommufd_dirty_init(struct iommufd_dirty *dirty)
{
	mutex_init(&dirty->lock);
	xa_init_flags(&dirty->chunks, XA_FLAGS_ACCOUNT);
}

/**
 * iommufd_dirty_destroy - free the records
 * @dirty: records of an IOAS that is being released
 */
void iommufd_dirty_destroy(struct iommufd_dirty *dirty)
{
	mutex_lock(&dirty->lock);
	forget_all(dirty);
	mutex_unlock(&dirty->lock);
	mutex_destroy(&dirty->lock);
}

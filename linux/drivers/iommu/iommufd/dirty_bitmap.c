// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reporting dirty pages to a container: those that are recorded, and those that
 * are dirty as long as they are mapped or pinned.
 */
#include <linux/bitmap.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

/* Pages whose bits are copied to the user at once */
#define PIECE_PAGES ((unsigned long)SZ_64K * BITS_PER_BYTE)

/* Record pinned pages, which can be written at any time */
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

/**
 * iommufd_dirty_start - start to record what may be written
 * @ioas: the IOAS; nothing happens if it is tracked already
 *
 * Return: 0, or -EINTR with tracking stopped.
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
	/* A write that misses @tracked is seen from here on: iommufd_access_rw() */
	smp_mb();
	ret = note_pinned(ioas, 0, ULONG_MAX);
	if (ret)
		iommufd_dirty_stop(ioas);
	return ret;
}

/* Undo iommufd_dirty_take() */
static void restore_records(struct iommufd_ioas *ioas, unsigned long page,
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
		if (!iommufd_dirty_next_mapped(ioas, last, &range))
			break;
		bitmap_set(bits, (range.start >> PAGE_SHIFT) - page,
			   (range.last >> PAGE_SHIFT) -
			   (range.start >> PAGE_SHIFT) + 1);
		range.start = range.last + 1;
		cond_resched();
	} while (range.last != last);
}

static int has_hwpts(struct iommufd_ioas *ioas)
{
	int ret = down_read_killable(&ioas->domains_lock);

	if (ret)
		return ret;
	ret = !list_empty(&ioas->hwpts);
	up_read(&ioas->domains_lock);
	return ret;
}

/**
 * iommufd_dirty_read - report dirty pages, and delete their records
 * @ioas: IOAS that is tracked
 * @first: first IOVA, page aligned
 * @npages: number of pages
 * @keep: keep the records, and record all pages that are reported
 * @user: user memory for a bitmap of the pages, a multiple of 64 bits
 *
 * Context: writes to user memory.
 *
 * Return: 0, -ENOMEM, -EFAULT or -EINTR. Records of pages that were not
 * reported are kept.
 */
int iommufd_dirty_read(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long npages, bool keep, void __user *user)
{
	unsigned long page = first >> PAGE_SHIFT, end = page + npages, nr;
	unsigned long *bits;
	int ret, hwpts;

	hwpts = has_hwpts(ioas);
	if (hwpts < 0)
		return hwpts;
	bits = kvmalloc(ALIGN(min(npages, PIECE_PAGES), 64) / BITS_PER_BYTE,
			GFP_KERNEL_ACCOUNT);
	if (!bits)
		return -ENOMEM;

	for (ret = 0; !ret && page < end; page += nr) {
		size_t size;

		nr = min(end - page, PIECE_PAGES);
		size = ALIGN(nr, 64) / BITS_PER_BYTE;
		bitmap_zero(bits, ALIGN(nr, 64));
		if (!iommufd_dirty_take(ioas, page, nr, bits))
			bitmap_set(bits, 0, nr);
		else if (hwpts)
			set_mapped(ioas, page, nr, bits);
		ret = note_pinned(ioas, page << PAGE_SHIFT,
				  ((page + nr) << PAGE_SHIFT) - 1);
		if (!ret && copy_to_user(user, bits, size))
			ret = -EFAULT;
		if (ret || keep)
			restore_records(ioas, page, nr, bits);
		user += size;
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(bits);
	return ret;
}

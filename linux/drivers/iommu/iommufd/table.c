// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping and unmapping one area in one page table.
 *
 * The callers decide which areas and tables these are, and hold the locks.
 */
#include <linux/iommu.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <trace/events/iommu.h>

#include "iommufd_private.h"

/*
 * A range is mapped and unmapped in the same pieces, for IOMMU drivers that
 * can't unmap a part of what was mapped; the size bounds the time that one
 * takes. No page that is used is larger.
 */
#define WINDOW SZ_1G

/* Runs mapped before the caches of the IOMMU are flushed */
#define BATCH_RUNS 16

static unsigned long window_left(unsigned long iova)
{
	return WINDOW - (iova & (WINDOW - 1));
}

/*
 * The first part of a range that has pages of one size, as large as they can be.
 *
 * An unmap does not know which sizes a map has used, and calls this with @phys == @iova.
 * Yet no page that was mapped reaches over the end of one of its pieces, if none reaches
 * over the ends of the range. Say none reaches over the start of a piece. A page of @s
 * bytes that was mapped is aligned to @s.
 * - If it begins where the piece does, and in the range, @s is one of the sizes that fit
 *   there, so *@page >= @s.
 * - If it begins further on and @s > *@page, it begins at a multiple of the next larger
 *   size, where the piece ends at the latest.
 * - If @s <= *@page, it can't reach over the end, which is a multiple of *@page.
 * So the next piece, too, begins where no page is cut.
 */
static unsigned long piece_of(struct iommu_domain *domain, unsigned long iova,
			      phys_addr_t phys, unsigned long length,
			      unsigned long *page)
{
	unsigned long sizes = domain->pgsize_bitmap, larger;

	*page = iommufd_min_page(domain);
	if (length == *page)
		return length;

	length = min(length, window_left(iova));
	sizes &= GENMASK(min(__ffs(iova | phys | WINDOW), __fls(length)), 0);
	*page = 1UL << __fls(sizes);
	/* Up to where they can be larger, if they ever can */
	larger = domain->pgsize_bitmap & ~(*page | (*page - 1));
	larger = larger ? 1UL << __ffs(larger) : 0;
	if (larger && !((iova ^ phys) & (larger - 1)))
		length = min(length, larger - (iova & (larger - 1)));
	return round_down(length, *page);
}

/* The page of an area's memory that an IOVA is in */
static unsigned long page_at(struct iommufd_area *area, unsigned long iova)
{
	return area->index +
	       PFN_DOWN(area->page_offset + (iova - area->start));
}

/*
 * The IOMMU driver did not unmap a range, so devices may still reach its memory:
 * that stays pinned, if it can be. Everything else goes on.
 */
static void keep_pinned(struct iommufd_area *area, unsigned long iova,
			unsigned long length)
{
	pr_err_once("iommufd: the IOMMU driver did not unmap 0x%lx bytes at IOVA 0x%lx; their memory stays pinned for good, and so does that of all later failures\n",
		    length, iova);
	if (!area->pages->is_mmio)
		iommufd_pages_keep(area->pages, page_at(area, iova),
				   page_at(area, iova + length - 1));
}

/*
 * VT-d puts the page tables of a range on the list that the next flush frees, and
 * only then looks whether the range can be added to the gather. If it can't, the
 * flush of what was gathered before frees them, and the IOMMU still walks them.
 * So make the gather cover the range first, with any page size: nothing is flushed
 * in the middle, and disjoint ranges need one flush together. It is kept within
 * a window, of which VT-d can flush each page without flushing the whole domain.
 */
static void widen_gather(struct iommu_domain *domain,
			 struct iommu_iotlb_gather *gather,
			 unsigned long iova, unsigned long length)
{
	if (max(gather->end, iova + length - 1) - min(gather->start, iova) >=
	    WINDOW)
		iommu_iotlb_sync(domain, gather);
	iommu_iotlb_gather_add_range(gather, iova, length);
	gather->pgsize = 0;
}

/*
 * Unmap a range of an area piece by piece. The driver is called directly, here and
 * to map: what iommu_map() and others do around that takes a fifth of the time when
 * every page stands alone.
 */
static void unmap_range(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			unsigned long iova, unsigned long length,
			struct iommu_iotlb_gather *gather)
{
	struct iommu_domain *domain = hwpt->domain;
	const struct iommu_domain_ops *ops = domain->ops;

	while (length) {
		unsigned long page, size, unmapped;

		size = piece_of(domain, iova, iova, length, &page);
		if (hwpt->unit.frees_early)
			widen_gather(domain, gather, iova, size);
		if (ops->unmap_pages) {
			unmapped = ops->unmap_pages(domain, iova, page,
						    size / page, gather);
			trace_unmap(iova, size, unmapped);
		} else {
			unmapped = iommu_unmap_fast(domain, iova, size, gather);
		}
		if (unlikely(!unmapped)) {
			keep_pinned(area, iova, size);
			unmapped = size;
		}
		/*
		 * Some drivers end where a table ends, and virtio-iommu unmaps
		 * all of what was mapped at once
		 */
		unmapped = min(unmapped, length);
		iova += unmapped;
		length -= unmapped;
		cond_resched();
	}
}

/**
 * iommufd_table_unmap - take an area out of a page table
 * @hwpt: the table, whose domain nobody attaches or detaches meanwhile
 * @area: area that the table maps, whose pages are pinned. What the IOMMU driver
 *        fails to unmap stays pinned for good
 * @gather: what to flush; the memory must stay until iommu_iotlb_sync()
 */
void iommufd_table_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			 struct iommu_iotlb_gather *gather)
{
	unmap_range(hwpt, area, area->start, area_length(area), gather);
}

/* Unmap the first part of an area, and flush */
static void unmap_sync(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
		       unsigned long length)
{
	struct iommu_iotlb_gather gather;

	if (!length)
		return;
	iommu_iotlb_gather_init(&gather);
	unmap_range(hwpt, area, area->start, length, &gather);
	iommu_iotlb_sync(hwpt->domain, &gather);
}

/*
 * Clean up after a map that failed. VT-d does not undo what it has done, nor say
 * how much that was, and an unmap of more than is there would take neighbours
 * with it. So look page by page.
 */
static void unmap_remains(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			  unsigned long iova, unsigned long length)
{
	unsigned long page = iommufd_min_page(hwpt->domain);
	unsigned long done, step;

	for (done = 0; done < length; done += step) {
		step = page;
		if (iommu_iova_to_phys(hwpt->domain, iova + done)) {
			step = iommu_unmap(hwpt->domain, iova + done, page);
			if (unlikely(!step)) {
				keep_pinned(area, iova + done, page);
				step = page;
			}
		}
		cond_resched();
	}
}

/*
 * Map a part of a run, as much as there is in pages of one size. If that fails,
 * *piece is where the driver may have left something: what it says that it mapped,
 * or all of it if it says nothing
 */
static int map_piece(struct iommufd_hwpt *hwpt, unsigned long iova,
		     phys_addr_t phys, unsigned long length, int prot,
		     unsigned long *piece)
{
	struct iommu_domain *domain = hwpt->domain;
	const struct iommu_domain_ops *ops = domain->ops;
	unsigned long page, size;
	size_t mapped = 0;
	int ret;

	if (hwpt->ioas->small_pages)
		length = min(length, PAGE_SIZE - offset_in_page(iova));
	size = piece_of(domain, iova, phys, length, &page);
	*piece = size;
	if (!ops->map_pages)
		return iommu_map(domain, iova, phys, size, prot);
	ret = ops->map_pages(domain, iova, phys, page, size / page, prot,
			     GFP_KERNEL_ACCOUNT, &mapped);
	/* Some drivers end where a table ends */
	if (!mapped)
		return ret ?: -ENOMEM;
	*piece = mapped;
	trace_map(iova, phys, mapped);
	return ret;
}

/* Map runs; *mapped is how many bytes were, even if it fails */
static int map_runs(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
		    unsigned long iova, const struct iommufd_run *run,
		    unsigned long offset, unsigned long length, int prot,
		    unsigned long *mapped)
{
	struct iommu_domain *domain = hwpt->domain;
	unsigned long done = 0, piece;
	int ret = 0;

	while (done < length) {
		unsigned long end = done + (run->npages << PAGE_SHIFT) - offset;
		phys_addr_t phys = PFN_PHYS(run->pfn) + offset;

		for (end = min(end, length); done < end; done += piece) {
			ret = map_piece(hwpt, iova + done, phys, end - done,
					prot, &piece);
			if (ret) {
				unmap_remains(hwpt, area, iova + done, piece);
				goto out_sync;
			}
			phys += piece;
		}
		offset = 0;
		run++;
	}
out_sync:
	if (domain->ops->iotlb_sync_map && done)
		domain->ops->iotlb_sync_map(domain, iova, done);
	*mapped = done;
	return ret;
}

/**
 * iommufd_table_grow - let a page table reach as high as an IOVA is
 * @hwpt: the table, in which nobody maps or unmaps meanwhile
 * @last: the IOVA; nothing is mapped there
 *
 * For drivers that change the root of a page table when something is mapped above
 * all that it has reached. Nothing stays mapped.
 *
 * Return: 0 or what the IOMMU driver says.
 */
int iommufd_table_grow(struct iommufd_hwpt *hwpt, unsigned long last)
{
	struct iommu_domain *domain = hwpt->domain;
	unsigned long page = iommufd_min_page(domain), iova = last & ~(page - 1);
	int ret;

	if (!hwpt->unit.grows)
		return 0;
	/* A device that reads there meanwhile gets zeros */
	ret = iommu_map(domain, iova, page_to_phys(ZERO_PAGE(0)), page,
			IOMMU_READ);
	if (ret)
		return ret;
	if (iommu_unmap(domain, iova, page) != page)
		pr_err_once("iommufd: the IOMMU driver did not unmap the zero page at IOVA 0x%lx\n",
			    iova);
	return 0;
}

/* MMIO is not cached, so there is nothing to be coherent with */
static int prot_of(struct iommufd_area *area)
{
	if (unlikely(area->pages->is_mmio))
		return (area->prot & ~IOMMU_CACHE) | IOMMU_MMIO;
	return area->prot;
}

/**
 * iommufd_table_map - put an area into a page table
 * @hwpt: the table, whose domain nobody attaches or detaches meanwhile
 * @area: area whose pages are pinned
 *
 * Return: 0; or with nothing mapped what the IOMMU driver says, or -EINTR on a fatal
 * signal, which does not interrupt the mapping of device memory.
 */
int iommufd_table_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	unsigned long length = area_length(area), done = 0;
	unsigned long offset = area->page_offset;
	struct iommufd_cursor cur = {
		.pages = area->pages,
		.index = area->index,
	};
	struct iommufd_run runs[BATCH_RUNS];
	int prot = prot_of(area);
	int ret;

	for (;;) {
		unsigned long first = cur.index, bytes, last, mapped;

		/* A step is a window at most: between two a signal is seen */
		bytes = min(length - done, window_left(area->start + done));
		last = first + PFN_DOWN(offset + bytes - 1);
		iommufd_cursor_next(&cur, last, runs, BATCH_RUNS);
		bytes = ((cur.index - first) << PAGE_SHIFT) - offset;
		ret = map_runs(hwpt, area, area->start + done, runs, offset,
			       min(bytes, length - done), prot, &mapped);
		done += mapped;
		if (!ret && done == length)
			return 0;
		if (!ret && fatal_signal_pending(current) &&
		    !area->pages->is_mmio)
			ret = -EINTR;
		if (ret) {
			unmap_sync(hwpt, area, done);
			return ret;
		}
		offset = 0;
		cond_resched();
	}
}

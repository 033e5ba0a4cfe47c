// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping and unmapping one area in one HWPT.
 *
 * The callers decide which area and HWPT that is, and hold the locks.
 */
#include <linux/iommu.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <trace/events/iommu.h>

#include "iommufd_private.h"

/*
 * A range is mapped and unmapped in the same pieces, for IOMMU drivers that
 * can't unmap a part of what was mapped. A piece does not cross a window, which
 * bounds its time. No page is larger than a window.
 */
#define WINDOW SZ_1G

/* Number of runs mapped before iotlb_sync_map() */
#define BATCH_RUNS 16

static unsigned long window_left(unsigned long iova)
{
	return WINDOW - (iova & (WINDOW - 1));
}

/*
 * Return the length of the first piece of a range. A piece has pages of one
 * size, as large as possible.
 *
 * An unmap does not know which page sizes the map has used, and calls this with
 * @phys == @iova. Claim: no mapped page crosses the end of a piece. Let the
 * page have s bytes; it is aligned to s, and does not cross the start of the
 * piece or an end of the range.
 *
 * - If the page begins where the piece begins, s is one of the sizes that fit
 *   there, so s <= *@page.
 * - If it begins later and s > *@page, it begins at a multiple of the next
 *   larger size, where the piece ends at the latest.
 * - If s <= *@page, it can't cross the end, which is a multiple of *@page.
 *
 * So no page crosses the start of the next piece, either.
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
	/* End where pages can be larger, if that is possible */
	larger = domain->pgsize_bitmap & ~(*page | (*page - 1));
	larger = larger ? 1UL << __ffs(larger) : 0;
	if (larger && !((iova ^ phys) & (larger - 1)))
		length = min(length, larger - (iova & (larger - 1)));
	return round_down(length, *page);
}

/* Index in area->pages of the page that an IOVA is in */
static unsigned long page_at(struct iommufd_area *area, unsigned long iova)
{
	return area->index +
	       PFN_DOWN(area->page_offset + (iova - area->start));
}

/*
 * The IOMMU driver did not unmap a range, so devices may still reach its
 * memory. Keep it pinned, unless it is memory of a device, and go on.
 */
static void keep_pinned(struct iommufd_area *area, unsigned long iova,
			unsigned long length)
{
	pr_err_once("iommufd: the IOMMU driver failed to unmap 0x%lx bytes at IOVA 0x%lx; devices may still access the memory. Later failures are not logged\n",
		    length, iova);
	if (!area->pages->is_mmio)
		iommufd_pages_keep_pinned(area->pages, page_at(area, iova),
					  page_at(area, iova + length - 1));
}

/*
 * VT-d adds the page tables of a range to the list that the next flush frees,
 * and only then checks whether the range can be added to the gather. If not, it
 * flushes what was gathered before, and so frees page tables that the IOMMU
 * still walks. So extend the gather to the range first and clear its pgsize.
 * Then the driver has no reason to flush, and disjoint ranges need one flush.
 * Keep the gather within a window, in which VT-d can flush single pages instead
 * of the whole domain.
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
 * Unmap a range of an area piece by piece. The driver is called directly, here
 * and to map: if no page is contiguous with the next, the wrappers of the core
 * take a fifth of the time.
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
		 * Some drivers stop at the end of a page table, and
		 * virtio-iommu always unmaps whole mappings
		 */
		unmapped = min(unmapped, length);
		iova += unmapped;
		length -= unmapped;
		cond_resched();
	}
}

/* Nobody attaches, detaches or grows the domain meanwhile */
static void assert_domain_held(struct iommufd_hwpt *hwpt)
{
	lockdep_assert(lockdep_is_held(&hwpt->ioas->domains_lock) ||
		       lockdep_is_held(&hwpt->mmio_lock));
}

/**
 * iommufd_domain_unmap - unmap an area from an HWPT
 * @hwpt: the HWPT; its mmio_lock or domains_lock of its IOAS is held
 * @area: area that the HWPT maps, whose pages are pinned. What the IOMMU driver
 *        fails to unmap stays pinned for good
 * @gather: what to flush; the pages must stay pinned until iommu_iotlb_sync()
 */
void iommufd_domain_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			  struct iommu_iotlb_gather *gather)
{
	assert_domain_held(hwpt);
	unmap_range(hwpt, area, area->start, area_length(area), gather);
}

/* Unmap the first @length bytes of an area, and flush */
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
 * Clean up after a failed map. VT-d neither undoes what it has mapped nor
 * reports how much that was. An unmap of more than that would unmap neighbours,
 * so check page by page.
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
 * Map the first piece of a part of a run. On error *piece is the length in
 * which the driver may have left something: what it says that it has mapped, or
 * the whole piece if it says nothing.
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
	/* Some drivers stop at the end of a page table */
	if (!mapped)
		return ret ?: -ENOMEM;
	*piece = mapped;
	trace_map(iova, phys, mapped);
	return ret;
}

/* Map runs; *mapped is the number of bytes that were mapped, also on error */
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
 * iommufd_domain_grow - grow an HWPT until it reaches an IOVA
 * @hwpt: the HWPT; nobody else maps or unmaps in it meanwhile
 * @last: the IOVA; nothing is mapped there
 *
 * For drivers that change the root of a page table when something is mapped
 * above all that it has reached. Nothing stays mapped.
 *
 * Return: 0, or an errno from the IOMMU driver.
 */
int iommufd_domain_grow(struct iommufd_hwpt *hwpt, unsigned long last)
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
		pr_err_once("iommufd: the IOMMU driver failed to unmap the zero page at IOVA 0x%lx\n",
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
 * iommufd_domain_map - map an area in an HWPT
 * @hwpt: the HWPT; its mmio_lock or domains_lock of its IOAS is held
 * @area: area whose pages are pinned
 *
 * Return: 0, or an errno with nothing mapped: from the IOMMU driver, or -EINTR
 * on a fatal signal. A signal does not interrupt the mapping of device memory.
 */
int iommufd_domain_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
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

	assert_domain_held(hwpt);

	for (;;) {
		unsigned long first = cur.index, bytes, last, mapped;

		/* Map a window at most, then check for a signal */
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

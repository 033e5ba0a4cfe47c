// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables (HWPT): an iommu_domain that maps what the areas of its IOAS say.
 *
 * A table is made for the first device that needs it and gone with the last, or
 * the user makes it and destroys it. Either way it is attached while it is empty
 * and filled after that, because many IOMMU drivers only know what a domain can
 * do once a device is on it.
 */
#include <linux/iommu.h>
#include <linux/irqdomain.h>
#include <linux/sched.h>
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

static unsigned long min_page(struct iommu_domain *domain)
{
	return 1UL << __ffs(domain->pgsize_bitmap);
}

/* The first part of a range that has pages of one size, as large as they can be */
static unsigned long piece_of(struct iommu_domain *domain, unsigned long iova,
			      phys_addr_t phys, unsigned long length,
			      unsigned long *page)
{
	unsigned long sizes = domain->pgsize_bitmap, larger;

	*page = min_page(domain);
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
 * that stays pinned. Everything else goes on.
 */
static void keep_pinned(struct iommufd_area *area, unsigned long iova,
			unsigned long length)
{
	pr_err_once("iommufd: the IOMMU driver did not unmap 0x%lx bytes at IOVA 0x%lx; their memory stays pinned for good, and so does that of all later failures\n",
		    length, iova);
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
 * iommufd_hwpt_unmap - take an area out of a page table
 * @hwpt: the table; domains_lock of its IOAS is held
 * @area: area that the table maps, whose pages are pinned. What the IOMMU driver
 *        fails to unmap stays pinned for good
 * @gather: what to flush; the memory must stay until iommu_iotlb_sync()
 */
void iommufd_hwpt_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
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
	unsigned long page = min_page(hwpt->domain);
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
		    unsigned long offset, unsigned long length,
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
					area->prot, &piece);
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
 * iommufd_hwpt_grow - let a page table reach as high as an area does
 * @hwpt: the table; domains_lock of its IOAS is held for write
 * @area: area whose pages are pinned
 *
 * For drivers that change the root of a page table when something is mapped above
 * all that it has reached. Nothing stays mapped.
 *
 * Return: 0 or what the IOMMU driver says.
 */
int iommufd_hwpt_grow(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	struct iommu_domain *domain = hwpt->domain;
	unsigned long page = min_page(domain), iova = area->last & ~(page - 1);
	unsigned long index = page_at(area, area->last);
	struct iommufd_cursor cur = { .pages = area->pages, .index = index };
	struct iommufd_run run;
	phys_addr_t phys;
	int ret;

	if (!hwpt->unit.grows)
		return 0;
	iommufd_cursor_next(&cur, index, &run, 1);
	phys = PFN_PHYS(run.pfn) +
	       offset_in_page(area->page_offset + (iova - area->start));
	ret = iommu_map(domain, iova, phys, page, area->prot);
	if (ret)
		return ret;
	if (iommu_unmap(domain, iova, page) != page)
		keep_pinned(area, iova, page);
	return 0;
}

/**
 * iommufd_hwpt_map - put an area into a page table
 * @hwpt: the table; domains_lock of its IOAS is held
 * @area: area whose pages are pinned
 *
 * Return: 0; or with nothing mapped what the IOMMU driver says, or -EINTR.
 */
int iommufd_hwpt_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	unsigned long length = area_length(area), done = 0;
	unsigned long offset = area->page_offset;
	struct iommufd_cursor cur = {
		.pages = area->pages,
		.index = area->index,
	};
	struct iommufd_run runs[BATCH_RUNS];
	int ret;

	while (done < length) {
		unsigned long first = cur.index, bytes, last, mapped;

		/* No page goes beyond a window, so runs need not either */
		bytes = min(length - done, window_left(area->start + done));
		last = first + PFN_DOWN(offset + bytes - 1);
		iommufd_cursor_next(&cur, last, runs, BATCH_RUNS);
		bytes = ((cur.index - first) << PAGE_SHIFT) - offset;
		ret = map_runs(hwpt, area, area->start + done, runs, offset,
			       min(bytes, length - done), &mapped);
		done += mapped;
		if (!ret && done < length && fatal_signal_pending(current))
			ret = -EINTR;
		if (ret) {
			unmap_sync(hwpt, area, done);
			return ret;
		}
		offset = 0;
		cond_resched();
	}
	return 0;
}

/*
 * The strictest alignment that the tables of an IOAS and @hwpt, if any, ask for,
 * and those who want pages of the CPU's size
 */
static unsigned long ioas_alignment(struct iommufd_ioas *ioas,
				    struct iommufd_hwpt *hwpt)
{
	unsigned long ret = hwpt ? min_page(hwpt->domain) : 1;

	if (ioas->small_pages || ioas->nr_pinners)
		ret = PAGE_SIZE;
	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
		ret = max(ret, min_page(hwpt->domain));
	return ret;
}

/**
 * iommufd_hwpt_align - align areas as all that an IOAS has asks for
 * @ioas: the IOAS; domains_lock is held for write
 *
 * Return: 0, or -EADDRINUSE if an area is not aligned so.
 */
int iommufd_hwpt_align(struct iommufd_ioas *ioas)
{
	return iova_space_align(&ioas->space, ioas_alignment(ioas, NULL));
}

/* What the hardware reaches, as far as the driver tells now or has told */
static struct iova_range reach_of(struct iommufd_hwpt *hwpt)
{
	const struct iommu_domain_geometry *geometry = &hwpt->domain->geometry;
	struct iova_range range = hwpt->aperture;

	if (geometry->force_aperture) {
		range.start = max_t(u64, range.start, geometry->aperture_start);
		range.last = min_t(u64, range.last, geometry->aperture_end);
	}
	return range;
}

/* Exclude what the hardware can't reach. -EADDRINUSE if something is there */
static int narrow_aperture(struct iommufd_hwpt *hwpt)
{
	struct iova_space *space = &hwpt->ioas->space;
	struct iova_range now = reach_of(hwpt);
	struct iova_reserved *beyond = NULL;
	int ret = 0;

	/* A table in the list has reserved what it needed so far */
	if (!list_empty(&hwpt->ioas_item) &&
	    now.start == hwpt->aperture.start && now.last == hwpt->aperture.last)
		return 0;

	if (now.start)
		ret = iova_reserved_add(&beyond, 0, now.start - 1);
	if (!ret && now.last != ULONG_MAX)
		ret = iova_reserved_add(&beyond, now.last + 1, ULONG_MAX);
	if (ret) {
		iova_reserved_free(beyond);
		return ret;
	}
	ret = iova_space_reserve(space, beyond);
	if (ret)
		return ret;
	iova_space_unreserve(space, hwpt->beyond);
	hwpt->beyond = beyond;
	hwpt->aperture = now;
	return 0;
}

static struct iommufd_area *next_filled(struct iommufd_ioas *ioas,
					struct iommufd_area *area)
{
	struct iova_space *space = &ioas->space;

	/*
	 * domains_lock is held for write: an area that is filled can't leave
	 * the tree, one that is not can; the space's lock is for those.
	 */
	mutex_lock(&space->lock);
	area = area ? iova_space_next(area) : iova_space_first(space, 0);
	while (area && !area->filled)
		area = iova_space_next(area);
	mutex_unlock(&space->lock);
	return area;
}

/* Unpin areas below @end, which no table maps any more; all of them for NULL */
static void unpin_areas(struct iommufd_ioas *ioas, struct iommufd_area *end)
{
	struct iommufd_area *area = NULL;

	while ((area = next_filled(ioas, area)) != end) {
		area->pinned = false;
		iommufd_pages_unpin(area->pages, area->part);
	}
}

/*
 * Take areas below @end out of a table that its IOAS does not list, or not any more;
 * all for NULL
 */
static void unmap_areas(struct iommufd_hwpt *hwpt, struct iommufd_area *end)
{
	struct iommufd_area *area = NULL;

	while ((area = next_filled(hwpt->ioas, area)) != end)
		unmap_sync(hwpt, area, area_length(area));
}

/* Pin what is not pinned yet, and map it all */
static int fill(struct iommufd_hwpt *hwpt)
{
	struct iommufd_ioas *ioas = hwpt->ioas;
	struct iommufd_area *area = NULL;
	int ret = 0;

	while ((area = next_filled(ioas, area))) {
		ret = fatal_signal_pending(current) ? -EINTR : 0;
		if (ret)
			break;
		if (!area->pinned) {
			ret = iommufd_pages_pin(area->pages, area->part);
			if (ret)
				break;
			area->pinned = true;
		}
		ret = iommufd_hwpt_map(hwpt, area);
		if (ret) {
			if (list_empty(&ioas->hwpts)) {
				area->pinned = false;
				iommufd_pages_unpin(area->pages, area->part);
			}
			break;
		}
	}
	if (!ret)
		return 0;

	unmap_areas(hwpt, area);
	if (list_empty(&ioas->hwpts))
		unpin_areas(ioas, area);
	return ret;
}

/**
 * iommufd_hwpt_create - make an empty page table for an IOAS
 * @ioas: IOAS that it will mirror; the caller holds a reference
 * @unit: IOMMU that it is for
 * @dev: device behind that
 * @user_made: what it will be
 *
 * The id is reserved and the caller is a user of the table. To be published, or
 * aborted, when iommufd_hwpt_settle() has said whether it can be filled.
 *
 * Return: the table or an ERR_PTR: -ENOENT the IOAS is being destroyed, -ENOSPC
 * the user has made too many for the device, or for the areas; -ENOMEM.
 */
struct iommufd_hwpt *iommufd_hwpt_create(struct iommufd_ioas *ioas,
					 const struct iommufd_unit *unit,
					 struct device *dev, bool user_made)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	hwpt = iommufd_object_alloc(ioas->ctx, sizeof(*hwpt),
				    IOMMUFD_OBJECT_HWPT);
	if (IS_ERR(hwpt))
		return hwpt;
	INIT_LIST_HEAD(&hwpt->ioas_item);
	hwpt->aperture.last = ULONG_MAX;
	iommufd_object_use(&hwpt->obj);

	if (!iommufd_object_use(&ioas->obj)) {
		ret = -ENOENT;
		goto err_abort;
	}
	hwpt->ioas = ioas;

	if (user_made) {
		hwpt->maker = iommufd_maker_get(dev);
		if (IS_ERR(hwpt->maker)) {
			ret = PTR_ERR(hwpt->maker);
			hwpt->maker = NULL;
			goto err_abort;
		}
		ret = iova_space_add_table(&ioas->space);
		if (ret)
			goto err_abort;
		hwpt->user_made = true;
	}
	hwpt->unit = *unit;
	hwpt->domain = iommu_domain_alloc(dev->bus);
	if (!hwpt->domain) {
		ret = -ENOMEM;
		goto err_abort;
	}
	return hwpt;

err_abort:
	iommufd_object_abort(ioas->ctx, &hwpt->obj);
	return ERR_PTR(ret);
}

static void enforce_coherency(struct iommufd_hwpt *hwpt)
{
	struct iommu_domain *domain = hwpt->domain;

	if (domain->ops->enforce_cache_coherency)
		hwpt->coherent = domain->ops->enforce_cache_coherency(domain);
}

/*
 * Page faults can be taken with domains_lock held, so who waits for it can be killed
 * wherever that can be told
 */
static int lock_tables(struct iommufd_ioas *ioas, bool killable)
{
	if (killable)
		return down_write_killable(&ioas->domains_lock);
	down_write(&ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_attach_group - give the domain of a table to a group
 * @hwpt: the table
 * @group: group whose DMA is blocked
 * @killable: a fatal signal ends the wait for the lock
 *
 * A table that is not filled yet is made coherent, if it can be. VT-d is right
 * about that only now, and keeps to it for what is mapped from then on.
 *
 * Nobody maps or unmaps meanwhile: what VT-d changes here, page table levels
 * and the list of units to flush, it reads without a lock there.
 * Context: takes domains_lock of the IOAS.
 *
 * Return: 0, -EINTR, or what the IOMMU driver says.
 */
int iommufd_hwpt_attach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable)
{
	int ret = lock_tables(hwpt->ioas, killable);

	if (ret)
		return ret;
	ret = iommu_attach_group(hwpt->domain, group);
	if (!ret && list_empty(&hwpt->ioas_item))
		enforce_coherency(hwpt);
	up_write(&hwpt->ioas->domains_lock);
	return ret;
}

/**
 * iommufd_hwpt_detach_group - undo iommufd_hwpt_attach_group()
 * @hwpt: the table
 * @group: the group; its DMA is blocked
 * @killable: a fatal signal ends the wait for the lock
 *
 * Context: takes domains_lock of the IOAS.
 *
 * Return: 0, or -EINTR with nothing changed.
 */
int iommufd_hwpt_detach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable)
{
	int ret = lock_tables(hwpt->ioas, killable);

	if (ret)
		return ret;
	iommu_detach_group(hwpt->domain, group);
	up_write(&hwpt->ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_take_doorbells - let the kernel map doorbells of interrupts
 * @hwpt: the table; attach_lock of its IOAS is held
 * @region: where, as the IOMMU driver of the group says that will be attached
 *
 * What is mapped there stays as long as the table does, whoever is attached. So
 * no area can be there either, from the first attach of such a group on, even if
 * that fails.
 *
 * Return: 0, -EADDRINUSE an area is there, -ENOMEM.
 */
int iommufd_hwpt_take_doorbells(struct iommufd_hwpt *hwpt,
				const struct iommu_resv_region *region)
{
	struct iova_space *space = &hwpt->ioas->space;
	struct iova_reserved *window = NULL;
	int ret;

	/* An earlier group's: of one driver, all have the same */
	if (hwpt->doorbells)
		return 0;
	ret = iova_reserved_add(&window, region->start,
				region->start + region->length - 1);
	if (ret)
		return ret;
	ret = iova_space_reserve(space, window);
	if (ret)
		return ret;
	ret = iommu_get_msi_cookie(hwpt->domain, region->start);
	if (ret) {
		iova_space_unreserve(space, window);
		/* The kernel can't map them, nor needs to */
		return ret == -ENODEV ? 0 : ret;
	}
	hwpt->doorbells = window;
	return 0;
}

/**
 * iommufd_hwpt_explore - find out what an IOMMU can do with a new table
 * @hwpt: table that is not filled
 * @group: group whose DMA is blocked, and is again after that
 *
 * Context: takes no lock, as nobody else can find the table yet.
 *
 * Return: 0 or what the IOMMU driver says.
 */
int iommufd_hwpt_explore(struct iommufd_hwpt *hwpt, struct iommu_group *group)
{
	int ret = iommu_attach_group(hwpt->domain, group);

	if (ret)
		return ret;
	enforce_coherency(hwpt);
	hwpt->aperture = reach_of(hwpt);
	iommu_detach_group(hwpt->domain, group);
	return 0;
}

/**
 * iommufd_hwpt_imitate - take over what is known of another table
 * @hwpt: table that is not filled, whose group is attached to @model
 * @model: table of the same unit
 *
 * For a group whose DMA can't be stopped to explore.
 *
 * Return: 0, -EOPNOTSUPP the IOMMU driver needs a device to complete a domain,
 * -EINVAL it can't be made coherent as the other is, -EINTR.
 */
int iommufd_hwpt_imitate(struct iommufd_hwpt *hwpt, struct iommufd_hwpt *model)
{
	int ret;

	if (!hwpt->domain->geometry.force_aperture)
		return -EOPNOTSUPP;

	if (model->coherent)
		enforce_coherency(hwpt);
	if (hwpt->coherent != model->coherent)
		return -EINVAL;

	ret = down_read_killable(&model->ioas->domains_lock);
	if (ret)
		return ret;
	hwpt->aperture = model->aperture;
	up_read(&model->ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_settle - make a table fit for what is known of its IOMMU
 * @hwpt: the table; the caller uses it, and has attached or explored it
 *
 * What the hardware can do may have become less for a table that other groups
 * use already. The first time, the table is filled.
 *
 * Return: 0, or an errno with the table as it was: -EADDRINUSE a mapping
 * doesn't fit, -EINVAL the pages of the IOMMU are too large, -EINTR, or why
 * memory can't be pinned or mapped.
 */
int iommufd_hwpt_settle(struct iommufd_hwpt *hwpt)
{
	struct iommufd_ioas *ioas = hwpt->ioas;
	bool first = list_empty(&hwpt->ioas_item);
	struct iommu_domain *domain = hwpt->domain;
	int ret;

	if (!domain->pgsize_bitmap || min_page(domain) > PAGE_SIZE)
		return -EINVAL;

	ret = down_write_killable(&ioas->domains_lock);
	if (ret)
		return ret;
	ret = narrow_aperture(hwpt);
	if (ret || !first)
		goto out_unlock;

	ret = iova_space_align(&ioas->space, ioas_alignment(ioas, hwpt));
	if (ret)
		goto out_unlock;
	ret = fill(hwpt);
	if (ret) {
		iommufd_hwpt_align(ioas);
	} else {
		list_add_tail(&hwpt->ioas_item, &ioas->hwpts);
		if (hwpt->unit.grows)
			ioas->reach = IOMMUFD_FIRST_REACH;
	}
out_unlock:
	up_write(&ioas->domains_lock);
	return ret;
}

static bool can_share(struct iommufd_hwpt *hwpt,
		      const struct iommufd_unit *unit)
{
	return !hwpt->user_made && iommufd_units_alike(&hwpt->unit, unit);
}

/**
 * iommufd_hwpt_next - go through the page tables that an attach can choose
 * @ioas: the IOAS attached to
 * @unit: the device's
 * @prev: table that this function returned, or NULL to begin
 *
 * Return: the next table that is not being destroyed, which the caller uses, NULL,
 * or an ERR_PTR of -EINTR. @prev is not used any more.
 */
struct iommufd_hwpt *iommufd_hwpt_next(struct iommufd_ioas *ioas,
				       const struct iommufd_unit *unit,
				       struct iommufd_hwpt *prev)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	ret = down_read_killable(&ioas->domains_lock);
	if (ret) {
		hwpt = ERR_PTR(ret);
		goto out_unuse;
	}
	hwpt = list_prepare_entry(prev, &ioas->hwpts, ioas_item);
	list_for_each_entry_continue(hwpt, &ioas->hwpts, ioas_item)
		if (can_share(hwpt, unit) && iommufd_object_use(&hwpt->obj))
			break;
	if (list_entry_is_head(hwpt, &ioas->hwpts, ioas_item))
		hwpt = NULL;
	up_read(&ioas->domains_lock);

out_unuse:
	if (prev)
		iommufd_hwpt_unuse(prev);
	return hwpt;
}

/**
 * iommufd_hwpt_unuse - end the use of a published page table
 * @hwpt: the table. If it was made for its users it goes with the last of them,
 *        unless a DESTROY was faster
 */
void iommufd_hwpt_unuse(struct iommufd_hwpt *hwpt)
{
	if (hwpt->user_made)
		iommufd_object_unuse(&hwpt->obj);
	else
		iommufd_object_unuse_last(hwpt->ioas->ctx, &hwpt->obj);
}

/*
 * iommu_dma_prepare_msi() takes the domain of a group, and the cookie in it, with
 * no lock that an attach takes. But all its callers set up a vector with the lock
 * held that this function takes for a moment. A domain that no group has any
 * more is known to none of them after that.
 */
static void wait_for_vectors(void)
{
	if (IS_ENABLED(CONFIG_IRQ_MSI_IOMMU))
		irq_domain_check_msi_remap();
}

/**
 * iommufd_hwpt_release - end a page table
 * @obj: its head. Nobody has a reference: the domain is not attached to any group
 */
void iommufd_hwpt_release(struct iommufd_object *obj)
{
	struct iommufd_hwpt *hwpt = to_hwpt(obj);
	struct iommufd_ioas *ioas = hwpt->ioas;

	if (!ioas)
		return;

	if (!list_empty(&hwpt->ioas_item)) {
		down_write(&ioas->domains_lock);
		list_del(&hwpt->ioas_item);
		unmap_areas(hwpt, NULL);
		if (list_empty(&ioas->hwpts)) {
			unpin_areas(ioas, NULL);
			iommufd_dirty_note_mapped(ioas, 0, ULONG_MAX);
		}
		iommufd_hwpt_align(ioas);
		up_write(&ioas->domains_lock);
	}
	iova_space_unreserve(&ioas->space, hwpt->beyond);
	if (hwpt->doorbells)
		iova_space_unreserve(&ioas->space, hwpt->doorbells);
	if (hwpt->domain) {
		wait_for_vectors();
		iommu_domain_free(hwpt->domain);
	}
	if (hwpt->user_made)
		iova_space_remove_table(&ioas->space);
	if (hwpt->maker)
		iommufd_maker_put(hwpt->maker);
	iommufd_object_unuse(&ioas->obj);
}

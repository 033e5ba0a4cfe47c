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

#include "iommufd_private.h"

/**
 * iommufd_hwpt_grow - let a page table reach as high as an area does
 * @hwpt: the table; domains_lock of its IOAS is held for write
 * @area: the area
 *
 * Return: 0 or what the IOMMU driver says.
 */
int iommufd_hwpt_grow(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	int ret;

	mutex_lock(&hwpt->mmio_lock);
	ret = iommufd_table_grow(hwpt, area->last);
	mutex_unlock(&hwpt->mmio_lock);
	return ret;
}

/**
 * iommufd_hwpt_map - put an area into a page table
 * @hwpt: the table; domains_lock of its IOAS is held
 * @area: area whose pages are pinned
 *
 * Return: 0; or with nothing mapped what the IOMMU driver says, -ENOMEM or -EINTR.
 */
int iommufd_hwpt_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	if (unlikely(area->pages->is_mmio))
		return iommufd_mmio_map(hwpt, area);
	return iommufd_table_map(hwpt, area);
}

/**
 * iommufd_hwpt_unmap - take an area out of a page table
 * @hwpt: the table; domains_lock of its IOAS is held
 * @area: area that iommufd_hwpt_map() has put there, whose pages are pinned
 * @gather: what to flush; the memory must stay until iommu_iotlb_sync()
 *
 * Return: true if that has to be called; false for memory of a device, which is
 * flushed already.
 */
bool iommufd_hwpt_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommu_iotlb_gather *gather)
{
	if (unlikely(area->pages->is_mmio)) {
		iommufd_mmio_unmap(hwpt, area);
		return false;
	}
	iommufd_table_unmap(hwpt, area, gather);
	return true;
}

/**
 * iommufd_hwpt_unmap_sync - take an area out of a page table, and flush
 * @hwpt: the table; domains_lock of its IOAS is held
 * @area: as for iommufd_hwpt_unmap()
 */
void iommufd_hwpt_unmap_sync(struct iommufd_hwpt *hwpt,
			     struct iommufd_area *area)
{
	struct iommu_iotlb_gather gather;

	iommu_iotlb_gather_init(&gather);
	if (iommufd_hwpt_unmap(hwpt, area, &gather))
		iommu_iotlb_sync(hwpt->domain, &gather);
}

/*
 * The strictest alignment that the tables of an IOAS and @hwpt, if any, ask for,
 * and those who want pages of the CPU's size
 */
static unsigned long ioas_alignment(struct iommufd_ioas *ioas,
				    struct iommufd_hwpt *hwpt)
{
	unsigned long ret = hwpt ? iommufd_min_page(hwpt->domain) : 1;

	if (ioas->small_pages || ioas->nr_pinners)
		ret = PAGE_SIZE;
	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
		ret = max(ret, iommufd_min_page(hwpt->domain));
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
		iommufd_hwpt_unmap_sync(hwpt, area);
}

/* Grow an empty table until it reaches all areas */
static int grow_to_end(struct iommufd_hwpt *hwpt)
{
	struct iova_space *space = &hwpt->ioas->space;
	unsigned long last;

	mutex_lock(&space->lock);
	last = iova_space_last(space);
	mutex_unlock(&space->lock);
	return last ? iommufd_table_grow(hwpt, last) : 0;
}

/*
 * Pin what is not pinned yet, and map it all. The table grows first: once it maps
 * memory of devices, that can be revoked and restored in parallel
 */
static int fill(struct iommufd_hwpt *hwpt)
{
	struct iommufd_ioas *ioas = hwpt->ioas;
	struct iommufd_area *area = NULL;
	int ret;

	ret = grow_to_end(hwpt);
	if (ret)
		return ret;
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
		cond_resched();
	}
	if (!ret)
		return 0;

	unmap_areas(hwpt, area);
	if (list_empty(&ioas->hwpts))
		unpin_areas(ioas, area);
	return ret;
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

/* No group has the domain any more */
static void release_hwpt(struct iommufd_object *obj)
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
	mutex_destroy(&hwpt->mmio_lock);
	iommufd_object_unuse(&ioas->obj);
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
				    IOMMUFD_OBJECT_HWPT, release_hwpt);
	if (IS_ERR(hwpt))
		return hwpt;
	INIT_LIST_HEAD(&hwpt->ioas_item);
	mutex_init(&hwpt->mmio_lock);
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
	mutex_lock(&hwpt->mmio_lock);
	ret = iommu_attach_group(hwpt->domain, group);
	if (!ret && list_empty(&hwpt->ioas_item))
		enforce_coherency(hwpt);
	mutex_unlock(&hwpt->mmio_lock);
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
	mutex_lock(&hwpt->mmio_lock);
	iommu_detach_group(hwpt->domain, group);
	mutex_unlock(&hwpt->mmio_lock);
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

	if (!domain->pgsize_bitmap || iommufd_min_page(domain) > PAGE_SIZE)
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

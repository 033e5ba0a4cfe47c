// SPDX-License-Identifier: GPL-2.0-only
/*
 * HWPTs: each has an iommu_domain that maps the areas of its IOAS.
 *
 * An HWPT is made for the first device that needs it and destroyed with the
 * last, or the user allocates and destroys it. It is filled once its limits are
 * known. Many IOMMU drivers know them only after a device was attached to the
 * domain, so it is attached empty.
 */
#include <linux/iommu.h>
#include <linux/irqdomain.h>
#include <linux/sched.h>

#include "iommufd_private.h"

/**
 * iommufd_hwpt_grow - grow an HWPT until it reaches the end of an area
 * @hwpt: the HWPT; domains_lock of its IOAS is held for write
 * @area: the area
 *
 * Return: 0, or an errno from the IOMMU driver.
 */
int iommufd_hwpt_grow(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	int ret;

	mutex_lock(&hwpt->mmio_lock);
	ret = iommufd_domain_grow(hwpt, area->last);
	mutex_unlock(&hwpt->mmio_lock);
	return ret;
}

/**
 * iommufd_hwpt_map - map an area in an HWPT
 * @hwpt: the HWPT; domains_lock of its IOAS is held
 * @area: area whose pages are pinned
 *
 * Return: 0, or an errno with nothing mapped: -ENOMEM, -EINTR, or from the
 * IOMMU driver.
 */
int iommufd_hwpt_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	if (unlikely(area->pages->is_mmio))
		return iommufd_mmio_map(hwpt, area);
	return iommufd_domain_map(hwpt, area);
}

/**
 * iommufd_hwpt_unmap - unmap an area from an HWPT
 * @hwpt: the HWPT; domains_lock of its IOAS is held
 * @area: area that iommufd_hwpt_map() has mapped, whose pages are pinned
 * @gather: what to flush; the pages must stay pinned until iommu_iotlb_sync()
 *
 * Return: true if the caller must call iommu_iotlb_sync(). Memory of a device
 * is flushed already.
 */
bool iommufd_hwpt_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommu_iotlb_gather *gather)
{
	if (unlikely(area->pages->is_mmio)) {
		iommufd_mmio_unmap(hwpt, area);
		return false;
	}
	iommufd_domain_unmap(hwpt, area, gather);
	return true;
}

/**
 * iommufd_hwpt_unmap_sync - unmap an area from an HWPT, and flush
 * @hwpt: the HWPT; domains_lock of its IOAS is held
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
 * Return the largest of: the smallest page size of each HWPT of the IOAS; that
 * of @hwpt, unless NULL; PAGE_SIZE if small_pages or an access requires it
 */
static unsigned long ioas_alignment(struct iommufd_ioas *ioas,
				    struct iommufd_hwpt *hwpt)
{
	unsigned long ret = hwpt ? iommufd_min_page(hwpt->domain) : 1;

	lockdep_assert_held_write(&ioas->domains_lock);

	if (ioas->small_pages || ioas->nr_pinners)
		ret = PAGE_SIZE;
	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
		ret = max(ret, iommufd_min_page(hwpt->domain));
	return ret;
}

/**
 * iommufd_hwpt_align - set the alignment that areas of an IOAS must have
 * @ioas: the IOAS; domains_lock is held for write
 *
 * Return: 0, or -EADDRINUSE if an area does not have this alignment.
 */
int iommufd_hwpt_align(struct iommufd_ioas *ioas)
{
	return iova_space_align(&ioas->space, ioas_alignment(ioas, NULL));
}

/*
 * The IOVA that the hardware reaches, by all that the IOMMU driver has reported
 */
static struct iova_range read_aperture(struct iommufd_hwpt *hwpt)
{
	const struct iommu_domain_geometry *geometry = &hwpt->domain->geometry;
	struct iova_range range = hwpt->aperture;

	if (geometry->force_aperture) {
		range.start = max_t(u64, range.start, geometry->aperture_start);
		range.last = min_t(u64, range.last, geometry->aperture_end);
	}
	return range;
}

/* Reserve what the hardware can't reach. -EADDRINUSE if an area is there */
static int narrow_aperture(struct iommufd_hwpt *hwpt)
{
	struct iova_space *space = &hwpt->ioas->space;
	struct iova_range aperture = read_aperture(hwpt);
	struct iova_reserved *reserved = NULL;
	int ret = 0;

	lockdep_assert_held_write(&hwpt->ioas->domains_lock);

	/* A filled HWPT has reserved the rest already */
	if (!list_empty(&hwpt->ioas_item) &&
	    aperture.start == hwpt->aperture.start &&
	    aperture.last == hwpt->aperture.last)
		return 0;

	if (aperture.start)
		ret = iova_reserved_add(&reserved, 0, aperture.start - 1);
	if (!ret && aperture.last != ULONG_MAX)
		ret = iova_reserved_add(&reserved, aperture.last + 1,
					ULONG_MAX);
	if (ret) {
		iova_reserved_free(reserved);
		return ret;
	}
	ret = iova_space_reserve(space, reserved);
	if (ret)
		return ret;
	iova_space_unreserve(space, hwpt->reserved);
	hwpt->reserved = reserved;
	hwpt->aperture = aperture;
	return 0;
}

static struct iommufd_area *next_filled(struct iommufd_ioas *ioas,
					struct iommufd_area *area)
{
	struct iova_space *space = &ioas->space;

	lockdep_assert_held_write(&ioas->domains_lock);

	/*
	 * domains_lock is held for write, so a filled area can't leave the
	 * tree. Other areas can, therefore take the lock of the space.
	 */
	mutex_lock(&space->lock);
	area = area ? iova_space_next(area) : iova_space_first(space, 0);
	while (area && !area->filled)
		area = iova_space_next(area);
	mutex_unlock(&space->lock);
	return area;
}

/*
 * Unpin filled areas below @end, all if it is NULL. The last HWPT maps them no
 * more: it made them dirty, so record that. An area that is not filled was never
 * mapped, and can be larger than any memory.
 */
static void unpin_areas(struct iommufd_ioas *ioas, struct iommufd_area *end)
{
	struct iommufd_area *area = NULL;

	while ((area = next_filled(ioas, area)) != end) {
		if (iommufd_dirty_tracked(ioas))
			iommufd_dirty_note(ioas, area->start, area->last);
		area->pinned = false;
		iommufd_pages_unpin(area->pages, area->part);
	}
}

/*
 * Unmap filled areas below @end, all if it is NULL, from an HWPT that is not in
 * the list of its IOAS
 */
static void unmap_areas(struct iommufd_hwpt *hwpt, struct iommufd_area *end)
{
	struct iommufd_area *area = NULL;

	while ((area = next_filled(hwpt->ioas, area)) != end)
		iommufd_hwpt_unmap_sync(hwpt, area);
}

/* Grow an empty HWPT until it reaches all areas */
static int grow_to_end(struct iommufd_hwpt *hwpt)
{
	struct iova_space *space = &hwpt->ioas->space;
	unsigned long last;

	mutex_lock(&space->lock);
	last = iova_space_last(space);
	mutex_unlock(&space->lock);
	return last ? iommufd_domain_grow(hwpt, last) : 0;
}

/*
 * Pin the areas that are not pinned yet, and map all. Grow first: as soon as
 * the HWPT maps memory of a device, that can be revoked and restored in
 * parallel.
 */
static int map_areas(struct iommufd_hwpt *hwpt)
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
		if (ret)
			break;
		cond_resched();
	}
	if (!ret)
		return 0;

	unmap_areas(hwpt, area);
	if (list_empty(&ioas->hwpts))
		/* It is pinned if its map has failed */
		unpin_areas(ioas, area->pinned ? next_filled(ioas, area) : area);
	return ret;
}

/*
 * iommu_dma_prepare_msi() uses the domain of a group under irq_domain_mutex,
 * and under no lock that a detach takes. irq_domain_check_msi_remap() takes
 * that mutex. If it is called after the detach, nobody uses the domain any more
 * when it returns.
 */
static void wait_for_msi_prepare(void)
{
	if (IS_ENABLED(CONFIG_IRQ_MSI_IOMMU))
		irq_domain_check_msi_remap();
}

/* The domain is attached to no group */
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
		if (list_empty(&ioas->hwpts))
			unpin_areas(ioas, NULL);
		iommufd_hwpt_align(ioas);
		up_write(&ioas->domains_lock);
	}
	iova_space_unreserve(&ioas->space, hwpt->reserved);
	if (hwpt->msi_reserved)
		iova_space_unreserve(&ioas->space, hwpt->msi_reserved);
	if (hwpt->domain) {
		wait_for_msi_prepare();
		iommu_domain_free(hwpt->domain);
	}
	if (hwpt->user_made)
		iova_space_remove_user_hwpt(&ioas->space);
	if (hwpt->quota)
		iommufd_hwpt_quota_put(hwpt->quota);
	mutex_destroy(&hwpt->mmio_lock);
	iommufd_object_unuse(&ioas->obj);
}

/**
 * iommufd_hwpt_create - make an empty HWPT for an IOAS
 * @ioas: the IOAS; the caller holds a reference
 * @unit: IOMMU that the HWPT is for
 * @dev: device behind that IOMMU
 * @user_made: iommufd_hwpt::user_made
 *
 * The id is reserved, and the caller uses the HWPT. It must publish the HWPT
 * after iommufd_hwpt_fill() has succeeded, or else abort it.
 *
 * Return: the HWPT, or an ERR_PTR: -ENOENT if the IOAS is being destroyed,
 * -ENOSPC if the user has made too many HWPTs for the device or for the number
 * of areas, or -ENOMEM.
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
		hwpt->quota = iommufd_hwpt_quota_get(dev);
		if (IS_ERR(hwpt->quota)) {
			ret = PTR_ERR(hwpt->quota);
			hwpt->quota = NULL;
			goto err_abort;
		}
		ret = iova_space_add_user_hwpt(&ioas->space);
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
 * Page faults can be taken with domains_lock held, so the wait for it is
 * killable wherever the caller can fail
 */
static int lock_domains(struct iommufd_ioas *ioas, bool killable)
{
	if (killable)
		return down_write_killable(&ioas->domains_lock);
	down_write(&ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_attach_group - attach a group to the domain of an HWPT
 * @hwpt: the HWPT
 * @group: group whose DMA is blocked
 * @killable: a fatal signal ends the wait for the lock
 *
 * If the HWPT is not filled yet, enforce cache coherency if the IOMMU can. VT-d
 * knows that only once a device is attached, and enforces it for what is mapped
 * after that.
 *
 * The lock excludes map and unmap: VT-d changes page table levels and the list
 * of units to flush here, and reads them without a lock there.
 * Context: takes domains_lock of the IOAS.
 *
 * Return: 0, -EINTR, or an errno from the IOMMU driver.
 */
int iommufd_hwpt_attach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable)
{
	int ret = lock_domains(hwpt->ioas, killable);

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
 * @hwpt: the HWPT
 * @group: the group; its DMA is blocked afterwards
 * @killable: a fatal signal ends the wait for the lock
 *
 * Context: takes domains_lock of the IOAS.
 *
 * Return: 0, or -EINTR with nothing changed.
 */
int iommufd_hwpt_detach_group(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group, bool killable)
{
	int ret = lock_domains(hwpt->ioas, killable);

	if (ret)
		return ret;
	mutex_lock(&hwpt->mmio_lock);
	iommu_detach_group(hwpt->domain, group);
	mutex_unlock(&hwpt->mmio_lock);
	up_write(&hwpt->ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_setup_msi - reserve the range of the kernel's MSI doorbells
 * @hwpt: the HWPT; attach_lock of its IOAS is held
 * @region: the range, from the IOMMU driver of the group that will be attached
 *
 * What the kernel maps there stays until the HWPT is destroyed, whatever is
 * attached. So the range stays reserved until then, even if the attach fails.
 *
 * Return: 0, -EADDRINUSE if an area or an allowed range is in the range, or
 * -ENOMEM.
 */
int iommufd_hwpt_setup_msi(struct iommufd_hwpt *hwpt,
			   const struct iommu_resv_region *region)
{
	struct iova_space *space = &hwpt->ioas->space;
	struct iova_reserved *window = NULL;
	int ret;

	lockdep_assert_held(&hwpt->ioas->attach_lock);

	/* Reserved for another group; one IOMMU driver uses one range */
	if (hwpt->msi_reserved)
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
		/* Without CONFIG_IOMMU_DMA no doorbell is mapped */
		return ret == -ENODEV ? 0 : ret;
	}
	hwpt->msi_reserved = window;
	return 0;
}

/**
 * iommufd_hwpt_probe_limits - attach a new HWPT for a moment to get its limits
 * @hwpt: HWPT that is not filled
 * @group: group whose DMA is blocked, before and afterwards
 *
 * Context: takes no lock of iommufd, as nobody else can find the HWPT yet.
 *
 * Return: 0, or an errno from the IOMMU driver.
 */
int iommufd_hwpt_probe_limits(struct iommufd_hwpt *hwpt,
			      struct iommu_group *group)
{
	int ret = iommu_attach_group(hwpt->domain, group);

	if (ret)
		return ret;
	enforce_coherency(hwpt);
	hwpt->aperture = read_aperture(hwpt);
	iommu_detach_group(hwpt->domain, group);
	return 0;
}

/**
 * iommufd_hwpt_copy_limits - copy the limits of another HWPT
 * @hwpt: HWPT that is not filled, for a group that is attached to @from
 * @from: HWPT of the same unit
 *
 * For a group whose DMA must not be interrupted.
 *
 * Return: 0, -EOPNOTSUPP if the IOMMU driver completes a domain only when a
 * device is attached, -EINVAL if @hwpt can't have the coherency of @from, or
 * -EINTR.
 */
int iommufd_hwpt_copy_limits(struct iommufd_hwpt *hwpt,
			     struct iommufd_hwpt *from)
{
	int ret;

	if (!hwpt->domain->geometry.force_aperture)
		return -EOPNOTSUPP;

	if (from->coherent)
		enforce_coherency(hwpt);
	if (hwpt->coherent != from->coherent)
		return -EINVAL;

	ret = down_read_killable(&from->ioas->domains_lock);
	if (ret)
		return ret;
	hwpt->aperture = from->aperture;
	up_read(&from->ioas->domains_lock);
	return 0;
}

/**
 * iommufd_hwpt_fill - apply the limits of an HWPT to its IOAS, and fill it
 * @hwpt: the HWPT, which the caller uses; its limits are known
 *
 * If another group was attached, the limits can be narrower, also for an HWPT
 * that is filled. The first call fills the HWPT. If it fails, nothing is
 * mapped, but what the hardware can't reach may stay reserved until the HWPT is
 * freed.
 *
 * Return:
 * * 0 - the limits apply, and the HWPT is filled
 * * -EADDRINUSE - an area or an allowed range is outside the limits, or an area
 *   is not aligned
 * * -EINVAL - the IOMMU has only pages larger than those of the CPU
 * * -EINTR - a fatal signal
 * * -ENOMEM - no memory
 * * or an errno from iommufd_pages_pin() or iommufd_hwpt_map(), not if the HWPT
 *   is filled
 */
int iommufd_hwpt_fill(struct iommufd_hwpt *hwpt)
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
	ret = map_areas(hwpt);
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
	return !hwpt->user_made && iommufd_units_may_share(&hwpt->unit, unit);
}

/**
 * iommufd_hwpt_next - iterate over the HWPTs that an attach can choose
 * @ioas: the IOAS to attach to
 * @unit: IOMMU of the device
 * @prev: HWPT that this function has returned, or NULL to begin
 *
 * Return: the next HWPT that is not being destroyed, used by the caller; NULL;
 * or an ERR_PTR of -EINTR. The use of @prev is ended.
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
 * iommufd_hwpt_unuse - end the use of a published HWPT
 * @hwpt: the HWPT. If no user made it, it is destroyed with its last use
 */
void iommufd_hwpt_unuse(struct iommufd_hwpt *hwpt)
{
	if (hwpt->user_made)
		iommufd_object_unuse(&hwpt->obj);
	else
		iommufd_object_unuse_try_remove(hwpt->ioas->ctx, &hwpt->obj);
}

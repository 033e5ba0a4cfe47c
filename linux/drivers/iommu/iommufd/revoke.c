// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping memory of devices in HWPTs, and revoking it.
 *
 * The driver of a device revokes its memory before it becomes inaccessible, and
 * restores it afterwards. Revoking unmaps it from all HWPTs; the areas stay.
 *
 * Meanwhile the driver holds locks that its page fault handler takes. So under
 * iommufd_mmio::lock or iommufd_hwpt::mmio_lock: take no page fault, and no
 * lock of iommufd but these two.
 */
#include <linux/export.h>
#include <linux/iommufd.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/* An area that an HWPT maps, or will map when the memory is restored */
struct mmio_use {
	struct rb_node node;
	struct iommufd_hwpt *hwpt;
	struct iommufd_area *area;
	bool mapped;
};

static struct mmio_use *use_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct mmio_use, node);
}

static int compare(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
		   struct mmio_use *use)
{
	if (hwpt != use->hwpt)
		return hwpt < use->hwpt ? -1 : 1;
	if (area->start != use->area->start)
		return area->start < use->area->start ? -1 : 1;
	return 0;
}

static void insert_use(struct iommufd_mmio *mmio, struct mmio_use *use)
{
	struct rb_node **link = &mmio->uses.rb_node, *parent = NULL;

	while (*link) {
		parent = *link;
		if (compare(use->hwpt, use->area, use_of(parent)) < 0)
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node(&use->node, parent, link);
	rb_insert_color(&use->node, &mmio->uses);
}

static struct mmio_use *find_use(struct iommufd_mmio *mmio,
				 struct iommufd_hwpt *hwpt,
				 struct iommufd_area *area)
{
	struct rb_node *node = mmio->uses.rb_node;

	while (node) {
		int side = compare(hwpt, area, use_of(node));

		if (!side)
			return use_of(node);
		node = side < 0 ? node->rb_left : node->rb_right;
	}
	return NULL;
}

static int map_use(struct mmio_use *use)
{
	int ret;

	mutex_lock(&use->hwpt->mmio_lock);
	ret = iommufd_table_map(use->hwpt, use->area);
	mutex_unlock(&use->hwpt->mmio_lock);
	use->mapped = !ret;
	return ret;
}

/*
 * Unmap the uses of one HWPT from its first; return the first of the next HWPT
 */
static struct mmio_use *unmap_uses(struct mmio_use *use)
{
	struct iommufd_hwpt *hwpt = use->hwpt;
	struct iommu_iotlb_gather gather;
	bool flush = false;

	mutex_lock(&hwpt->mmio_lock);
	iommu_iotlb_gather_init(&gather);
	for (; use && use->hwpt == hwpt; use = use_of(rb_next(&use->node))) {
		if (use->mapped) {
			iommufd_table_unmap(hwpt, use->area, &gather);
			flush = true;
		}
		use->mapped = false;
	}
	if (flush)
		iommu_iotlb_sync(hwpt->domain, &gather);
	mutex_unlock(&hwpt->mmio_lock);
	return use;
}

/**
 * iommufd_mmio_map - map an area of a device's memory in an HWPT
 * @hwpt: the HWPT; domains_lock of its IOAS is held
 * @area: area whose pages are pinned
 *
 * If the memory is revoked, it is mapped when it is restored.
 *
 * Return: 0, -ENOMEM, or an errno from the IOMMU driver.
 */
int iommufd_mmio_map(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	struct iommufd_mmio *mmio = area->pages->place.mmio;
	struct mmio_use *use;
	int ret = 0;

	use = kzalloc(sizeof(*use), GFP_KERNEL_ACCOUNT);
	if (!use)
		return -ENOMEM;
	use->hwpt = hwpt;
	use->area = area;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked)
		ret = map_use(use);
	if (!ret)
		insert_use(mmio, use);
	mutex_unlock(&mmio->lock);
	if (ret)
		kfree(use);
	return ret;
}

/**
 * iommufd_mmio_unmap - undo iommufd_mmio_map()
 * @hwpt: the HWPT; domains_lock of its IOAS is held
 * @area: the area
 *
 * The IOTLB is flushed under @lock of the memory, so a revocation that finds no
 * use any more needs no flush.
 */
void iommufd_mmio_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	struct iommufd_mmio *mmio = area->pages->place.mmio;
	struct iommu_iotlb_gather gather;
	struct mmio_use *use;

	mutex_lock(&mmio->lock);
	use = find_use(mmio, hwpt, area);
	if (!WARN_ON(!use)) {
		if (use->mapped) {
			mutex_lock(&hwpt->mmio_lock);
			iommu_iotlb_gather_init(&gather);
			iommufd_table_unmap(hwpt, area, &gather);
			iommu_iotlb_sync(hwpt->domain, &gather);
			mutex_unlock(&hwpt->mmio_lock);
		}
		rb_erase(&use->node, &mmio->uses);
		kfree(use);
	}
	mutex_unlock(&mmio->lock);
}

/**
 * iommufd_mmio_split - replace an area by its pieces
 * @hwpt: an HWPT that maps the area; domains_lock of its IOAS is held
 * @area: the area
 * @lower: its lower piece
 * @upper: its upper piece
 */
void iommufd_mmio_split(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
			struct iommufd_area *lower, struct iommufd_area *upper)
{
	struct iommufd_mmio *mmio = area->pages->place.mmio;
	struct mmio_use *use, *other;

	/* The area is split already, so this can't fail */
	other = kmalloc(sizeof(*other), GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	mutex_lock(&mmio->lock);
	use = find_use(mmio, hwpt, area);
	*other = *use;
	/* @lower starts where @area does, so the order of @uses is kept */
	use->area = lower;
	other->area = upper;
	insert_use(mmio, other);
	mutex_unlock(&mmio->lock);
}

/**
 * iommufd_mmio_revoke - unmap the memory of a device from all HWPTs
 * @mmio: the memory; may be revoked already
 *
 * When this returns, no device reaches the memory.
 * Context: may sleep, but never waits for a page fault. The caller may hold locks
 * that its page fault handler takes.
 */
void iommufd_mmio_revoke(struct iommufd_mmio *mmio)
{
	struct mmio_use *use;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked) {
		WRITE_ONCE(mmio->revoked, true);
		use = use_of(rb_first(&mmio->uses));
		while (use)
			use = unmap_uses(use);
	}
	mutex_unlock(&mmio->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_revoke, IOMMUFD);

/**
 * iommufd_mmio_restore - undo iommufd_mmio_revoke()
 * @mmio: the memory; it need not be revoked
 *
 * If a map fails, the next call tries it again.
 * Context: as for iommufd_mmio_revoke().
 */
void iommufd_mmio_restore(struct iommufd_mmio *mmio)
{
	struct mmio_use *use;
	int ret;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked && !mmio->missing)
		goto out_unlock;
	WRITE_ONCE(mmio->revoked, false);
	mmio->missing = false;
	for (use = use_of(rb_first(&mmio->uses)); use;
	     use = use_of(rb_next(&use->node))) {
		cond_resched();
		ret = use->mapped ? 0 : map_use(use);
		if (!ret)
			continue;
		mmio->missing = true;
		pr_warn_ratelimited("iommufd: can't map device memory at IOVA 0x%lx again (%d)\n",
				    use->area->start, ret);
	}
out_unlock:
	mutex_unlock(&mmio->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_restore, IOMMUFD);

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
struct mmio_mapping {
	struct rb_node node;
	struct iommufd_hwpt *hwpt;
	struct iommufd_area *area;
	bool mapped;
};

static struct mmio_mapping *mapping_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct mmio_mapping, node);
}

static int compare(struct iommufd_hwpt *hwpt, struct iommufd_area *area,
		   struct mmio_mapping *map)
{
	if (hwpt != map->hwpt)
		return hwpt < map->hwpt ? -1 : 1;
	if (area->start != map->area->start)
		return area->start < map->area->start ? -1 : 1;
	return 0;
}

static void insert_mapping(struct iommufd_mmio *mmio, struct mmio_mapping *map)
{
	struct rb_node **link = &mmio->mappings.rb_node, *parent = NULL;

	lockdep_assert_held(&mmio->lock);

	while (*link) {
		parent = *link;
		if (compare(map->hwpt, map->area, mapping_of(parent)) < 0)
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node(&map->node, parent, link);
	rb_insert_color(&map->node, &mmio->mappings);
}

static struct mmio_mapping *find_mapping(struct iommufd_mmio *mmio,
					 struct iommufd_hwpt *hwpt,
					 struct iommufd_area *area)
{
	struct rb_node *node = mmio->mappings.rb_node;

	lockdep_assert_held(&mmio->lock);

	while (node) {
		int side = compare(hwpt, area, mapping_of(node));

		if (!side)
			return mapping_of(node);
		node = side < 0 ? node->rb_left : node->rb_right;
	}
	return NULL;
}

static int map_one(struct mmio_mapping *map)
{
	int ret;

	mutex_lock(&map->hwpt->mmio_lock);
	ret = iommufd_domain_map(map->hwpt, map->area);
	mutex_unlock(&map->hwpt->mmio_lock);
	map->mapped = !ret;
	return ret;
}

/*
 * Unmap the mappings of one HWPT, from the first on. Return the first one of
 * the next HWPT.
 */
static struct mmio_mapping *unmap_from_hwpt(struct mmio_mapping *map)
{
	struct iommufd_hwpt *hwpt = map->hwpt;
	struct iommu_iotlb_gather gather;
	bool flush = false;

	mutex_lock(&hwpt->mmio_lock);
	iommu_iotlb_gather_init(&gather);
	for (; map && map->hwpt == hwpt;
	     map = mapping_of(rb_next(&map->node))) {
		if (map->mapped) {
			iommufd_domain_unmap(hwpt, map->area, &gather);
			flush = true;
		}
		map->mapped = false;
	}
	if (flush)
		iommu_iotlb_sync(hwpt->domain, &gather);
	mutex_unlock(&hwpt->mmio_lock);
	return map;
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
	struct iommufd_mmio *mmio = area->pages->mmio_addr.mmio;
	struct mmio_mapping *map;
	int ret = 0;

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;
	map->hwpt = hwpt;
	map->area = area;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked)
		ret = map_one(map);
	if (!ret)
		insert_mapping(mmio, map);
	mutex_unlock(&mmio->lock);
	if (ret)
		kfree(map);
	return ret;
}

/**
 * iommufd_mmio_unmap - undo iommufd_mmio_map()
 * @hwpt: the HWPT; domains_lock of its IOAS is held
 * @area: the area
 *
 * The IOTLB is flushed under @lock of the memory, so a revocation that finds no
 * mapping any more needs no flush.
 */
void iommufd_mmio_unmap(struct iommufd_hwpt *hwpt, struct iommufd_area *area)
{
	struct iommufd_mmio *mmio = area->pages->mmio_addr.mmio;
	struct iommu_iotlb_gather gather;
	struct mmio_mapping *map;

	mutex_lock(&mmio->lock);
	map = find_mapping(mmio, hwpt, area);
	if (!WARN_ON(!map)) {
		if (map->mapped) {
			mutex_lock(&hwpt->mmio_lock);
			iommu_iotlb_gather_init(&gather);
			iommufd_domain_unmap(hwpt, area, &gather);
			iommu_iotlb_sync(hwpt->domain, &gather);
			mutex_unlock(&hwpt->mmio_lock);
		}
		rb_erase(&map->node, &mmio->mappings);
		kfree(map);
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
	struct iommufd_mmio *mmio = area->pages->mmio_addr.mmio;
	struct mmio_mapping *map, *other;

	/* The area is split already, so this can't fail */
	other = kmalloc(sizeof(*other), GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	mutex_lock(&mmio->lock);
	map = find_mapping(mmio, hwpt, area);
	*other = *map;
	/* @lower starts where @area does, so the order of @mappings is kept */
	map->area = lower;
	other->area = upper;
	insert_mapping(mmio, other);
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
	struct mmio_mapping *map;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked) {
		WRITE_ONCE(mmio->revoked, true);
		map = mapping_of(rb_first(&mmio->mappings));
		while (map)
			map = unmap_from_hwpt(map);
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
	struct mmio_mapping *map;
	int ret;

	mutex_lock(&mmio->lock);
	if (!mmio->revoked && !mmio->restore_incomplete)
		goto out_unlock;
	WRITE_ONCE(mmio->revoked, false);
	mmio->restore_incomplete = false;
	for (map = mapping_of(rb_first(&mmio->mappings)); map;
	     map = mapping_of(rb_next(&map->node))) {
		cond_resched();
		ret = map->mapped ? 0 : map_one(map);
		if (!ret)
			continue;
		mmio->restore_incomplete = true;
		pr_warn_ratelimited("iommufd: can't map device memory at IOVA 0x%lx again (%d)\n",
				    map->area->start, ret);
	}
out_unlock:
	mutex_unlock(&mmio->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmio_restore, IOMMUFD);

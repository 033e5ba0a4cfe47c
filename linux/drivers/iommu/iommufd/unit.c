// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units: which IOMMU translates for a device, and what it is.
 */
#include <linux/iommu.h>
#include <linux/slab.h>

#include "../intel/registers.h"
#include "iommufd_private.h"

/* All that is called in a driver of an IOMMU by its name */
static bool read_registers(struct device *dev, u64 *cap, u64 *ecap)
{
	return intel_iommu_registers(dev, cap, ecap);
}

/**
 * iommufd_unit_of - find the IOMMU of a device
 * @dev: device in an IOMMU group that the caller owns
 *
 * Return: what tells it from others.
 */
struct iommufd_unit iommufd_unit_of(struct device *dev)
{
	struct iommufd_unit unit = {};

	if (dev->iommu)
		unit.iommu = dev->iommu->iommu_dev;
	unit.vtd = read_registers(dev, &unit.cap, &unit.ecap);
	return unit;
}

/**
 * iommufd_units_alike - can a page table of one IOMMU serve another one?
 * @a: the one
 * @b: the other
 *
 * What VT-d decides for a domain when a device is attached (page table levels,
 * width, page sizes, coherency) follows from the registers of the unit, and from
 * settings that all units share. So units with the same registers never disagree.
 * Other drivers of this kernel don't tell.
 *
 * Return: true if it can.
 */
bool iommufd_units_alike(const struct iommufd_unit *a,
			 const struct iommufd_unit *b)
{
	if (a->vtd && b->vtd)
		return a->cap == b->cap && a->ecap == b->ecap;
	return a->iommu == b->iommu;
}

/**
 * iommufd_enforces_coherency - do page tables keep a device from bypassing caches?
 * @dev: device of any kind, which stays on its bus meanwhile
 *
 * Foretells what a page table says that the device is attached to: all tables are
 * asked to enforce it. VT-d can if the unit has snoop control; others that can ask
 * nothing else.
 *
 * Return: false also for a device that no IOMMU translates for.
 */
bool iommufd_enforces_coherency(struct device *dev)
{
	struct iommufd_unit unit;

	if (!dev->iommu || !dev->iommu->iommu_dev ||
	    !dev_iommu_ops(dev)->default_domain_ops->enforce_cache_coherency)
		return false;
	unit = iommufd_unit_of(dev);
	return !unit.vtd || unit.ecap & VTD_ECAP_SNOOP_CONTROL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_enforces_coherency, IOMMUFD);

/**
 * iommufd_unit_info - tell userspace what the IOMMU of a device is
 * @dev: device in an IOMMU group that the caller owns
 * @length: bytes of the answer, or 0
 * @type: one of enum iommu_hw_info_type
 *
 * Return: what @type says, to be freed; NULL if there is nothing to tell; or an
 * ERR_PTR.
 */
void *iommufd_unit_info(struct device *dev, u32 *length, u32 *type)
{
	struct iommufd_unit unit = iommufd_unit_of(dev);
	struct iommu_hw_info_vtd *vtd;

	*length = 0;
	*type = IOMMU_HW_INFO_TYPE_NONE;
	if (!unit.vtd)
		return iommufd_test_hw_info(dev, length, type);

	vtd = kzalloc(sizeof(*vtd), GFP_KERNEL);
	if (!vtd)
		return ERR_PTR(-ENOMEM);
	vtd->cap_reg = unit.cap;
	vtd->ecap_reg = unit.ecap;
	*length = sizeof(*vtd);
	*type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	return vtd;
}

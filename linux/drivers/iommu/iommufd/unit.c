// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units: the IOMMU of a device, and the restrictions of its driver.
 */
#include <linux/device.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/* Extended capability register: the unit can make all DMA snoop the caches */
#define VTD_ECAP_SNOOP_CONTROL BIT_ULL(7)

static const struct attribute_group *find_group(struct device *hw,
						const char *name)
{
	const struct attribute_group **group = hw ? hw->groups : NULL;

	for (; group && *group; group++)
		if ((*group)->name && !strcmp((*group)->name, name))
			return *group;
	return NULL;
}

static int read_attribute(struct device *hw,
			  const struct attribute_group *group, const char *name,
			  char *page, u64 *value)
{
	struct device_attribute *attr;
	struct attribute **each;

	for (each = group->attrs; *each; each++) {
		if (strcmp((*each)->name, name))
			continue;
		attr = container_of(*each, struct device_attribute, attr);
		if (attr->show(hw, attr, page) <= 0)
			return -EIO;
		return kstrtou64(page, 16, value);
	}
	return -ENOENT;
}

/*
 * The VT-d driver shows the registers of a unit in sysfs and nowhere else.
 * There they are ABI, and reading them needs no change to built-in code.
 */
static int read_registers(struct device *hw,
			  const struct attribute_group *group,
			  struct iommufd_unit *unit)
{
	char *page = (char *)__get_free_page(GFP_KERNEL);
	int ret;

	if (!page)
		return -ENOMEM;
	ret = read_attribute(hw, group, "cap", page, &unit->cap);
	if (!ret)
		ret = read_attribute(hw, group, "ecap", page, &unit->ecap);
	if (ret)
		unit->unusable_reason = "its registers can't be read";
	free_page((unsigned long)page);
	return 0;
}

/*
 * IOMMU drivers of this kernel that can't protect memory, and why. The names
 * are those of the IOMMU in sysfs, or of the driver of the hardware.
 */
static const struct {
	const char *name;
	const char *reason;
} unusable_drivers[] = {
	{ "gart", "it passes untranslated addresses through" },
	{ "qcom-iommu", "it does not program a domain that was attached before" },
	{ "mtk-iommu", "it programs only the first domain" },
	{ "mtk-iommu-v1", "it programs only its own domain" },
	{ "msm_iommu", "it frees the page table of a domain that is detached" },
	{ "sprd-iommu", "it frees the page table of a domain that is detached" },
};

static const char *why_unusable(struct iommu_device *iommu)
{
	const struct iommu_domain_ops *ops = iommu->ops->default_domain_ops;
	struct device *hw = iommu->dev ? iommu->dev->parent : NULL;
	const char *driver = hw && hw->driver ? hw->driver->name : "";
	const char *name = iommu->dev ? dev_name(iommu->dev) : "";
	int i;

	/* A domain of such a driver is a window to all of memory */
	if (!ops->map && !ops->map_pages)
		return "it can't map";
	for (i = 0; i < ARRAY_SIZE(unusable_drivers); i++)
		if (!strcmp(driver, unusable_drivers[i].name) ||
		    !strcmp(name, unusable_drivers[i].name))
			return unusable_drivers[i].reason;
	return NULL;
}

/**
 * iommufd_unit_probe - find the IOMMU of a device
 * @dev: any device; it must stay on its bus
 * @unit: set to the IOMMU and the restrictions of its driver
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_unit_probe(struct device *dev, struct iommufd_unit *unit)
{
	const struct attribute_group *vtd;
	struct iommu_device *iommu;
	int ret = 0;

	*unit = (struct iommufd_unit){};
	if (!dev->iommu || !dev->iommu->iommu_dev) {
		unit->unusable_reason = "the device has none";
		return 0;
	}
	iommu = dev->iommu->iommu_dev;
	unit->ops = iommu->ops;
	unit->unusable_reason = why_unusable(iommu);
	vtd = find_group(iommu->dev, "intel-iommu");
	if (vtd)
		ret = read_registers(iommu->dev, vtd, unit);
	unit->vtd = vtd;
	/*
	 * AMD is known to grow page tables. Other drivers have all levels from
	 * the start, but don't promise that. Only VT-d puts page tables on the
	 * list of a gather.
	 */
	unit->grows = !vtd;
	unit->frees_early = vtd;
	iommufd_test_set_restrictions(dev, unit);
	return ret;
}

/**
 * iommufd_units_may_share - can two IOMMUs share an HWPT?
 * @a: an IOMMU
 * @b: another one
 *
 * What VT-d decides for a domain at attach (page table levels, width, page
 * sizes, coherency) follows from the registers of the unit and from global
 * settings. So units with equal registers always agree. Others may disagree,
 * and VT-d does not check that. Other drivers refuse to attach a device to a
 * domain that its unit can't use.
 *
 * Return: true if they can, or if the driver refuses the attach otherwise.
 */
bool iommufd_units_may_share(const struct iommufd_unit *a,
			     const struct iommufd_unit *b)
{
	if (a->vtd && b->vtd)
		return a->cap == b->cap && a->ecap == b->ecap;
	return a->ops == b->ops;
}

/**
 * iommufd_enforces_coherency - does the IOMMU keep DMA of a device coherent?
 * @dev: any device; it must stay on its bus
 *
 * The answer is iommufd_hwpt::coherent of an HWPT that the device is attached
 * to, since every HWPT is asked to enforce coherency. VT-d can if the unit has
 * snoop control. For other drivers it is enough to have the operation.
 *
 * Return: false if DMA can bypass the CPU caches; also if no IOMMU translates
 * for the device, or it is not known.
 */
bool iommufd_enforces_coherency(struct device *dev)
{
	struct iommufd_unit unit;

	/* An IOMMU that is not in sysfs can't be identified */
	if (iommufd_unit_probe(dev, &unit) || unit.unusable_reason ||
	    !dev->iommu->iommu_dev->dev ||
	    !unit.ops->default_domain_ops->enforce_cache_coherency)
		return false;
	return !unit.vtd || unit.ecap & VTD_ECAP_SNOOP_CONTROL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_enforces_coherency, IOMMUFD);

/**
 * iommufd_unit_hw_info - describe the IOMMU of a device to userspace
 * @unit: the IOMMU
 * @dev: the device, whose group the caller owns
 * @length: set to the size of the data in bytes, or 0
 * @type: set to one of enum iommu_hw_info_type
 *
 * Return: the data, for kfree(); NULL if there is none; or an ERR_PTR of
 * -ENOMEM.
 */
void *iommufd_unit_hw_info(const struct iommufd_unit *unit, struct device *dev,
			   u32 *length, u32 *type)
{
	struct iommu_hw_info_vtd *vtd;

	*length = 0;
	*type = IOMMU_HW_INFO_TYPE_NONE;
	if (!unit->vtd)
		return iommufd_test_hw_info(dev, length, type);

	vtd = kzalloc(sizeof(*vtd), GFP_KERNEL);
	if (!vtd)
		return ERR_PTR(-ENOMEM);
	vtd->cap_reg = unit->cap;
	vtd->ecap_reg = unit->ecap;
	*length = sizeof(*vtd);
	*type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	return vtd;
}

/*
 * The number of HWPTs that programs make
 */

/* Domain ids are few: 65,535 for all AMD IOMMUs, 255 for some SMMUs */
static unsigned int max_tables = 64;
module_param(max_tables, uint, 0644);
MODULE_PARM_DESC(max_tables, "Maximum number of page tables that programs can allocate for one device, in all /dev/iommu files");

/**
 * struct iommufd_hwpt_quota - the HWPTs that programs have made for one device
 * @item: in quotas
 * @dev: the device, referenced, as an HWPT can outlive its binding
 * @nr_hwpts: number of these HWPTs; protected by quotas_lock
 */
struct iommufd_hwpt_quota {
	struct list_head item;
	struct device *dev;
	unsigned int nr_hwpts;
};

static LIST_HEAD(quotas);
static DEFINE_MUTEX(quotas_lock);

/**
 * iommufd_hwpt_quota_get - count an HWPT that a program makes for a device
 * @dev: bound device
 *
 * Return: where it is counted, for iommufd_hwpt_quota_put(); or an ERR_PTR:
 * -ENOSPC if there are too many, or -ENOMEM.
 */
struct iommufd_hwpt_quota *iommufd_hwpt_quota_get(struct device *dev)
{
	struct iommufd_hwpt_quota *quota;
	unsigned int nr = 0;

	mutex_lock(&quotas_lock);
	list_for_each_entry(quota, &quotas, item) {
		if (quota->dev == dev) {
			nr = quota->nr_hwpts;
			break;
		}
	}
	if (nr >= READ_ONCE(max_tables)) {
		quota = ERR_PTR(-ENOSPC);
		goto out_unlock;
	}
	if (!nr) {
		quota = kzalloc(sizeof(*quota), GFP_KERNEL_ACCOUNT);
		if (!quota) {
			quota = ERR_PTR(-ENOMEM);
			goto out_unlock;
		}
		quota->dev = get_device(dev);
		list_add(&quota->item, &quotas);
	}
	quota->nr_hwpts++;
out_unlock:
	mutex_unlock(&quotas_lock);
	return quota;
}

/**
 * iommufd_hwpt_quota_put - undo iommufd_hwpt_quota_get()
 * @quota: where the HWPT was counted
 */
void iommufd_hwpt_quota_put(struct iommufd_hwpt_quota *quota)
{
	mutex_lock(&quotas_lock);
	if (!--quota->nr_hwpts) {
		list_del(&quota->item);
		put_device(quota->dev);
		kfree(quota);
	}
	mutex_unlock(&quotas_lock);
}

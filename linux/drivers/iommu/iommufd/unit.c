// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units: which IOMMU translates for a device, what it is, and what its driver does
 * not stand.
 */
#include <linux/device.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/* In the extended capability register: can it make all DMA snoop the caches? */
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
 * The driver of VT-d tells the registers of a unit in sysfs and nowhere else. There
 * they are part of the kernel's ABI, and no built-in code has to be changed for them
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
		unit->unfit = "its registers can't be read";
	free_page((unsigned long)page);
	return 0;
}

/*
 * IOMMU drivers of this kernel that can't keep a device from memory, and why. Names
 * are those of the IOMMU in sysfs, or of the driver of the hardware
 */
static const struct {
	const char *name;
	const char *reason;
} unfit_drivers[] = {
	{ "gart", "it lets pass what it does not translate" },
	{ "qcom-iommu", "it does not program a domain that was attached before" },
	{ "mtk-iommu", "it programs only the first domain" },
	{ "mtk-iommu-v1", "it programs only a domain of its own" },
	{ "msm_iommu", "it frees the page table of a domain that is detached" },
	{ "sprd-iommu", "it frees the page table of a domain that is detached" },
};

static const char *why_unfit(struct iommu_device *iommu)
{
	const struct iommu_domain_ops *ops = iommu->ops->default_domain_ops;
	struct device *hw = iommu->dev ? iommu->dev->parent : NULL;
	const char *driver = hw && hw->driver ? hw->driver->name : "";
	const char *name = iommu->dev ? dev_name(iommu->dev) : "";
	int i;

	/* What such a driver calls a domain is a window to all of memory */
	if (!ops->map && !ops->map_pages)
		return "it can't map";
	for (i = 0; i < ARRAY_SIZE(unfit_drivers); i++)
		if (!strcmp(driver, unfit_drivers[i].name) ||
		    !strcmp(name, unfit_drivers[i].name))
			return unfit_drivers[i].reason;
	return NULL;
}

/**
 * iommufd_unit_of - find the IOMMU of a device
 * @dev: device of any kind, which stays on its bus meanwhile
 * @unit: what tells its IOMMU from others
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_unit_of(struct device *dev, struct iommufd_unit *unit)
{
	const struct attribute_group *vtd;
	struct iommu_device *iommu;
	int ret = 0;

	*unit = (struct iommufd_unit){};
	if (!dev->iommu || !dev->iommu->iommu_dev) {
		unit->unfit = "there is none";
		return 0;
	}
	iommu = dev->iommu->iommu_dev;
	unit->ops = iommu->ops;
	unit->unfit = why_unfit(iommu);
	vtd = find_group(iommu->dev, "intel-iommu");
	if (vtd)
		ret = read_registers(iommu->dev, vtd, unit);
	unit->vtd = vtd;
	/*
	 * amd is known to grow tables; others have all levels from the beginning,
	 * but nothing says so. Only VT-d has page tables on a gather's list
	 */
	unit->grows = !vtd;
	unit->frees_early = vtd;
	iommufd_test_set_habits(dev, unit);
	return ret;
}

/**
 * iommufd_units_alike - can a page table of one IOMMU serve another one?
 * @a: the one
 * @b: the other
 *
 * What VT-d decides for a domain when a device is attached (page table levels,
 * width, page sizes, coherency) follows from the registers of the unit, and from
 * settings that all units share. So units with the same registers never disagree;
 * others can, and VT-d does not see to it. Other drivers refuse to attach a device
 * to a table that its unit can't use.
 *
 * Return: true if it can, or if the driver will say so.
 */
bool iommufd_units_alike(const struct iommufd_unit *a,
			 const struct iommufd_unit *b)
{
	if (a->vtd && b->vtd)
		return a->cap == b->cap && a->ecap == b->ecap;
	return a->ops == b->ops;
}

/**
 * iommufd_enforces_coherency - do page tables keep a device from bypassing caches?
 * @dev: device of any kind, which stays on its bus meanwhile
 *
 * Foretells what a page table says that the device is attached to: all tables are
 * asked to enforce it. VT-d can if the unit has snoop control; others that can ask
 * nothing else.
 *
 * Return: false also for a device that no IOMMU translates for, or whose IOMMU is
 * not known.
 */
bool iommufd_enforces_coherency(struct device *dev)
{
	struct iommufd_unit unit;

	/* Without a place in sysfs an IOMMU could be any */
	if (iommufd_unit_of(dev, &unit) || unit.unfit ||
	    !dev->iommu->iommu_dev->dev ||
	    !unit.ops->default_domain_ops->enforce_cache_coherency)
		return false;
	return !unit.vtd || unit.ecap & VTD_ECAP_SNOOP_CONTROL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_enforces_coherency, IOMMUFD);

/**
 * iommufd_unit_info - tell userspace what the IOMMU of a device is
 * @unit: the IOMMU
 * @dev: the device, whose group the caller owns
 * @length: bytes of the answer, or 0
 * @type: one of enum iommu_hw_info_type
 *
 * Return: what @type says, to be freed; NULL if there is nothing to tell; or an
 * ERR_PTR.
 */
void *iommufd_unit_info(const struct iommufd_unit *unit, struct device *dev,
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
 * How many page tables programs make
 */

/* A machine has few ids for domains: 65,535 with AMD's IOMMUs, 255 with some SMMUs */
static unsigned int max_tables = 64;
module_param(max_tables, uint, 0644);
MODULE_PARM_DESC(max_tables, "Limit of page tables that programs have made for one device, in all /dev/iommu that it was bound to");

/**
 * struct iommufd_maker - device that page tables were made for
 * @item: in makers
 * @dev: the device, referenced, as tables can outlive its binding
 * @nr_tables: how many there are; protected by makers_lock
 */
struct iommufd_maker {
	struct list_head item;
	struct device *dev;
	unsigned int nr_tables;
};

static LIST_HEAD(makers);
static DEFINE_MUTEX(makers_lock);

/**
 * iommufd_maker_get - count a page table that a program makes for a device
 * @dev: bound device
 *
 * Return: where it is counted, to be given back when the table goes; or an ERR_PTR:
 * -ENOSPC there are too many, -ENOMEM.
 */
struct iommufd_maker *iommufd_maker_get(struct device *dev)
{
	struct iommufd_maker *maker;
	unsigned int nr = 0;

	mutex_lock(&makers_lock);
	list_for_each_entry(maker, &makers, item) {
		if (maker->dev == dev) {
			nr = maker->nr_tables;
			break;
		}
	}
	if (nr >= READ_ONCE(max_tables)) {
		maker = ERR_PTR(-ENOSPC);
		goto out_unlock;
	}
	if (!nr) {
		maker = kzalloc(sizeof(*maker), GFP_KERNEL_ACCOUNT);
		if (!maker) {
			maker = ERR_PTR(-ENOMEM);
			goto out_unlock;
		}
		maker->dev = get_device(dev);
		list_add(&maker->item, &makers);
	}
	maker->nr_tables++;
out_unlock:
	mutex_unlock(&makers_lock);
	return maker;
}

/**
 * iommufd_maker_put - undo iommufd_maker_get()
 * @maker: where the table was counted
 */
void iommufd_maker_put(struct iommufd_maker *maker)
{
	mutex_lock(&makers_lock);
	if (!--maker->nr_tables) {
		list_del(&maker->item);
		put_device(maker->dev);
		kfree(maker);
	}
	mutex_unlock(&makers_lock);
}

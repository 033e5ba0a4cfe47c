// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices: bound to a context, and attached to HWPTs.
 *
 * An IOMMU can only attach whole groups. So a context claims the DMA of a group
 * when the first of its devices is bound, and releases it when the last one is
 * unbound. All attached devices of a group share one HWPT.
 */
#include <linux/device.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/irqdomain.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

static bool allow_unsafe_interrupts;
module_param(allow_unsafe_interrupts, bool, 0644);
MODULE_PARM_DESC(allow_unsafe_interrupts,
		 "Allow binding devices whose interrupts the platform can't isolate; such a device can raise any interrupt");

static int cannot_remap_interrupts(struct device *dev, void *unused)
{
	return !device_iommu_capable(dev, IOMMU_CAP_INTR_REMAP);
}

static bool interrupts_isolated(struct iommu_group *group)
{
	return irq_domain_check_msi_remap() ||
	       !iommu_group_for_each_dev(group, NULL, cannot_remap_interrupts);
}

/*
 * Read the reserved regions of a group, again if a device was bound or unbound
 * since. The first bind reads them, so that most attaches don't have to.
 */
static int read_regions(struct iommufd_group *igroup)
{
	LIST_HEAD(regions);
	int ret;

	if (!READ_ONCE(igroup->regions_stale))
		return 0;
	WRITE_ONCE(igroup->regions_stale, false);

	ret = iommu_get_group_resv_regions(igroup->group, &regions);
	if (ret) {
		WRITE_ONCE(igroup->regions_stale, true);
		iommu_put_resv_regions(NULL, &regions);
		return ret;
	}
	iommu_put_resv_regions(NULL, &igroup->regions);
	INIT_LIST_HEAD(&igroup->regions);
	list_splice(&regions, &igroup->regions);
	return 0;
}

/* Find the iommufd_group of a group, or claim the group for the context */
static struct iommufd_group *get_group(struct iommufd_ctx *ctx,
				       struct iommu_group *group)
{
	struct iommufd_group *igroup;
	int ret;

	mutex_lock(&ctx->groups_lock);
	list_for_each_entry(igroup, &ctx->groups, ctx_item) {
		if (igroup->group == group) {
			igroup->nr_bound++;
			WRITE_ONCE(igroup->regions_stale, true);
			goto out_unlock;
		}
	}

	igroup = kzalloc(sizeof(*igroup), GFP_KERNEL_ACCOUNT);
	if (!igroup) {
		igroup = ERR_PTR(-ENOMEM);
		goto out_unlock;
	}
	ret = iommu_group_claim_dma_owner(group, ctx);
	if (ret) {
		kfree(igroup);
		igroup = ERR_PTR(ret);
		goto out_unlock;
	}
	igroup->group = iommu_group_ref_get(group);
	igroup->nr_bound = 1;
	mutex_init(&igroup->lock);
	INIT_LIST_HEAD(&igroup->regions);
	igroup->regions_stale = true;
	/* If this fails, the attach tries again and fails */
	read_regions(igroup);
	list_add(&igroup->ctx_item, &ctx->groups);
out_unlock:
	mutex_unlock(&ctx->groups_lock);
	return igroup;
}

static void put_group(struct iommufd_ctx *ctx, struct iommufd_group *igroup)
{
	mutex_lock(&ctx->groups_lock);
	if (--igroup->nr_bound) {
		WRITE_ONCE(igroup->regions_stale, true);
		mutex_unlock(&ctx->groups_lock);
		return;
	}
	list_del(&igroup->ctx_item);
	iommu_group_release_dma_owner(igroup->group);
	mutex_unlock(&ctx->groups_lock);

	iommu_put_resv_regions(NULL, &igroup->regions);
	iommu_group_put(igroup->group);
	mutex_destroy(&igroup->lock);
	kfree(igroup);
}

/**
 * iommufd_bind_noref - bind a device without a reference to the context
 * @ctx: the context; the caller unbinds the device before its file is released
 * @dev: as for iommufd_bind()
 * @id: as for iommufd_bind()
 *
 * Return: as iommufd_bind().
 */
struct iommufd_device *iommufd_bind_noref(struct iommufd_ctx *ctx,
					  struct device *dev, u32 *id)
{
	struct iommufd_group *igroup;
	struct iommufd_device *idev;
	struct iommu_group *group;
	struct iommufd_unit unit;
	int ret;

	if (!device_iommu_capable(dev, IOMMU_CAP_CACHE_COHERENCY))
		return ERR_PTR(-EINVAL);
	group = iommu_group_get(dev);
	if (!group)
		return ERR_PTR(-ENODEV);

	ret = iommufd_unit_probe(dev, &unit);
	if (ret) {
		idev = ERR_PTR(ret);
		goto out_put;
	}
	if (unit.unusable_reason) {
		dev_warn_ratelimited(dev, "can't bind: the IOMMU can't protect memory: %s\n",
				     unit.unusable_reason);
		idev = ERR_PTR(-ENODEV);
		goto out_put;
	}
	if (!interrupts_isolated(group)) {
		if (!READ_ONCE(allow_unsafe_interrupts)) {
			dev_warn_ratelimited(dev, "can't bind: interrupts are not isolated, see iommufd.allow_unsafe_interrupts\n");
			idev = ERR_PTR(-EPERM);
			goto out_put;
		}
		dev_warn_ratelimited(dev, "bound by \"%s\" (%d), but interrupts are not isolated\n",
				     current->comm, task_pid_nr(current));
	}

	igroup = get_group(ctx, group);
	if (IS_ERR(igroup)) {
		idev = ERR_CAST(igroup);
		goto out_put;
	}
	idev = iommufd_object_alloc(ctx, sizeof(*idev), IOMMUFD_OBJECT_DEVICE,
				    NULL);
	if (IS_ERR(idev)) {
		put_group(ctx, igroup);
		goto out_put;
	}
	idev->ctx = ctx;
	init_rwsem(&idev->bind_lock);
	idev->igroup = igroup;
	idev->unit = unit;
	idev->dev = dev;
	*id = idev->obj.id;
	iommufd_object_use(&idev->obj);
	iommufd_object_publish(ctx, &idev->obj);
out_put:
	iommu_group_put(group);
	return idev;
}

/**
 * iommufd_bind - bind a device to a context, which then owns its DMA
 * @ctx: the context; the device holds a reference to it
 * @dev: device whose driver sets driver_managed_dma
 * @id: set to the id of the device in the context
 *
 * DMA of the whole group is blocked until one of its devices is attached, and
 * nobody else can use it.
 * Context: sleeps. The caller makes sure that @dev stays.
 *
 * Return:
 * * the bound device
 * * ERR_PTR(-EINVAL) - it has no IOMMU, its DMA can bypass the CPU caches, or
 *   the IOMMU driver can't allocate a domain that blocks DMA
 * * ERR_PTR(-ENODEV) - it has no IOMMU group, or its IOMMU can't protect memory
 * * ERR_PTR(-EPERM) - its interrupts are not isolated, or the DMA of the group
 *   has another owner or is used by a kernel driver
 * * ERR_PTR(-EBUSY) - the group is attached to another domain
 * * ERR_PTR(-ENOMEM) - no memory
 * * or an ERR_PTR from the IOMMU driver, which did not block DMA
 */
struct iommufd_device *iommufd_bind(struct iommufd_ctx *ctx,
				    struct device *dev, u32 *id)
{
	struct iommufd_device *idev = iommufd_bind_noref(ctx, dev, id);

	if (!IS_ERR(idev))
		get_file(ctx->file);
	return idev;
}
EXPORT_SYMBOL_NS_GPL(iommufd_bind, IOMMUFD);

static int detach_group(struct iommufd_group *igroup, bool killable)
{
	int ret;

	lockdep_assert_held(&igroup->lock);

	if (!igroup->attached_hwpt)
		return 0;
	ret = iommufd_hwpt_detach_group(igroup->attached_hwpt, igroup->group,
					killable);
	if (!ret)
		igroup->attached_hwpt = NULL;
	return ret;
}

static int attach_group(struct iommufd_group *igroup, struct iommufd_hwpt *hwpt,
			bool killable)
{
	int ret;

	lockdep_assert_held(&igroup->lock);

	ret = iommufd_hwpt_attach_group(hwpt, igroup->group, killable);
	if (!ret)
		igroup->attached_hwpt = hwpt;
	return ret;
}

static int detach(struct iommufd_device *idev, bool killable)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_hwpt *hwpt;
	int ret = 0;

	if (!killable)
		mutex_lock(&igroup->lock);
	else if (mutex_lock_killable(&igroup->lock))
		return -EINTR;
	if (!idev->attached)
		goto out_unlock;
	if (igroup->nr_attached == 1) {
		ret = detach_group(igroup, killable);
		if (ret)
			goto out_unlock;
	}
	idev->attached = false;
	if (--igroup->nr_attached)
		goto out_unlock;

	hwpt = igroup->hwpt;
	igroup->hwpt = NULL;
	iova_space_unreserve(&hwpt->ioas->space, igroup->reserved);
	igroup->reserved = NULL;
	iommufd_hwpt_unuse(hwpt);
out_unlock:
	mutex_unlock(&igroup->lock);
	return ret;
}

/**
 * iommufd_unbind_noref - undo iommufd_bind_noref()
 * @idev: as for iommufd_unbind()
 */
void iommufd_unbind_noref(struct iommufd_device *idev)
{
	struct iommufd_group *igroup = idev->igroup;

	detach(idev, false);
	down_write(&idev->bind_lock);
	idev->igroup = NULL;
	up_write(&idev->bind_lock);
	put_group(idev->ctx, igroup);
	iommufd_object_remove_owned(idev->ctx, &idev->obj);
}

/**
 * iommufd_unbind - undo iommufd_bind()
 * @idev: the device, which is detached first if it is attached
 *
 * Its driver must have stopped using it. When the last device of the group is
 * unbound, the kernel owns the DMA of the group again.
 */
void iommufd_unbind(struct iommufd_device *idev)
{
	struct iommufd_ctx *ctx = idev->ctx;

	iommufd_unbind_noref(idev);
	fput(ctx->file);
}
EXPORT_SYMBOL_NS_GPL(iommufd_unbind, IOMMUFD);

/**
 * iommufd_device_to_id - get the id of a device in the context of another one
 * @idev: bound device
 * @other: another bound device
 *
 * Return: the id, or 0 if they are not bound to the same context.
 */
u32 iommufd_device_to_id(struct iommufd_device *idev,
			 struct iommufd_device *other)
{
	return idev->ctx == other->ctx ? idev->obj.id : 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_to_id, IOMMUFD);

/**
 * iommufd_has_group_of - does the context of a device own the group of another?
 * @idev: bound device, whose context is searched
 * @dev: device whose group is searched for; need not be bound
 *
 * Return: true if a device of the group of @dev is bound to the context of
 * @idev.
 */
bool iommufd_has_group_of(struct iommufd_device *idev, struct device *dev)
{
	struct iommufd_ctx *ctx = idev->ctx;
	struct iommufd_group *igroup;
	struct iommu_group *group;
	bool found = false;

	group = iommu_group_get(dev);
	mutex_lock(&ctx->groups_lock);
	list_for_each_entry(igroup, &ctx->groups, ctx_item) {
		if (igroup->group == group) {
			found = true;
			break;
		}
	}
	mutex_unlock(&ctx->groups_lock);
	iommu_group_put(group);
	return found;
}
EXPORT_SYMBOL_NS_GPL(iommufd_has_group_of, IOMMUFD);

/*
 * Reserve the regions of a group in an IOAS. @sw_msi is set to the region where
 * the kernel has to map MSI doorbells, or NULL.
 */
static int reserve_regions(struct iommufd_group *igroup,
			   struct iommufd_ioas *ioas,
			   struct iova_reserved **reserved,
			   struct iommu_resv_region **sw_msi)
{
	struct iommu_resv_region *region;
	bool hw_msi = false;
	int ret;

	*reserved = NULL;
	*sw_msi = NULL;
	if (iommufd_should_fail())
		return -EINVAL;
	ret = read_regions(igroup);
	if (ret)
		return ret;

	list_for_each_entry(region, &igroup->regions, list) {
		unsigned long start = region->start, last;

		if (region->type == IOMMU_RESV_DIRECT_RELAXABLE ||
		    !region->length || region->start > ULONG_MAX)
			continue;
		if (region->type == IOMMU_RESV_MSI)
			hw_msi = true;
		if (region->type == IOMMU_RESV_SW_MSI)
			*sw_msi = region;
		if (check_add_overflow(start, (unsigned long)region->length - 1,
				       &last))
			last = ULONG_MAX;
		ret = iova_reserved_add(reserved, start, last);
		if (ret) {
			iova_reserved_free(*reserved);
			return ret;
		}
	}
	if (hw_msi)
		*sw_msi = NULL;
	return iova_space_reserve(&ioas->space, *reserved);
}

/*
 * How an attach changes the HWPT of a group from T, or NULL, to N. The attach
 * begins with a use of N; the last column says who must end that use.
 *
 *                         @hwpt  @attached_hwpt  @reserved  use of N
 *  before                 T      T               T's        attach
 *  try_hwpt() succeeded   T      N               T's        attach
 *  commit_hwpt()          N      N               N's        group; T is unused
 *  try_hwpt() failed, or  T      T               T's        attach, now
 *  rollback_hwpt()
 *  the same, and T can't  T      NULL            T's        attach, now
 *  be attached again
 *
 * Until commit_hwpt() the attach owns what try_hwpt() has reserved. In the last
 * state DMA stays blocked until an attach succeeds.
 */

/* Go back from @hwpt to the HWPT that the group has; not killable */
static void rollback_hwpt(struct iommufd_group *igroup,
			  struct iommufd_hwpt *hwpt,
			  struct iova_reserved *reserved)
{
	struct iommufd_hwpt *old = igroup->hwpt;

	if (igroup->attached_hwpt != old) {
		detach_group(igroup, false);
		if (old && attach_group(igroup, old, false))
			pr_warn("iommufd: group %d: can't attach the old page table again, DMA stays blocked\n",
				iommu_group_id(igroup->group));
	}
	iova_space_unreserve(&hwpt->ioas->space, reserved);
}

/*
 * Try an HWPT: reserve what the group needs, attach the group, and fill the
 * HWPT if it is new. The IOMMU drivers of this kernel detach in attach, so DMA
 * is blocked in between. The caller passes @reserved to commit_hwpt() or
 * rollback_hwpt(). On error nothing is left to undo.
 */
static int try_hwpt(struct iommufd_group *igroup, struct iommufd_hwpt *hwpt,
		    struct iova_reserved **reserved)
{
	struct iommu_resv_region *sw_msi;
	int ret;

	ret = reserve_regions(igroup, hwpt->ioas, reserved, &sw_msi);
	if (ret)
		return ret;
	/* A vector may be set up as soon as the group is attached */
	if (sw_msi) {
		ret = iommufd_hwpt_setup_msi(hwpt, sw_msi);
		if (ret)
			goto err_rollback;
	}
	if (igroup->attached_hwpt != hwpt) {
		ret = detach_group(igroup, true);
		if (!ret)
			ret = attach_group(igroup, hwpt, true);
		if (ret)
			goto err_rollback;
	}
	ret = iommufd_hwpt_fill(hwpt);
	if (ret)
		goto err_rollback;
	return 0;

err_rollback:
	rollback_hwpt(igroup, hwpt, *reserved);
	return ret;
}

/* Make @hwpt the HWPT of the group, which takes over the caller's use */
static void commit_hwpt(struct iommufd_group *igroup, struct iommufd_hwpt *hwpt,
			struct iova_reserved *reserved)
{
	struct iommufd_hwpt *old = igroup->hwpt;

	if (old)
		iova_space_unreserve(&old->ioas->space, igroup->reserved);
	igroup->hwpt = hwpt;
	igroup->reserved = reserved;
	if (old)
		iommufd_hwpt_unuse(old);
}

/*
 * True if another domain may suit the device. IOMMU drivers of this kernel
 * return many different errnos for an incompatible domain, but not these.
 */
static bool is_incompatible(int err)
{
	switch (err) {
	case -ENOMEM:
	case -ENODEV:
	case -EPERM:
	case -EADDRINUSE:
	case -EINTR:
	case -ERESTARTNOINTR:
		return false;
	default:
		return true;
	}
}

static int finish_attach(struct iommufd_group *igroup,
			 struct iommufd_hwpt *hwpt,
			 struct iova_reserved *reserved, u32 __user *out_pt_id)
{
	if (out_pt_id && put_user(hwpt->obj.id, out_pt_id)) {
		rollback_hwpt(igroup, hwpt, reserved);
		return -EFAULT;
	}
	commit_hwpt(igroup, hwpt, reserved);
	return 0;
}

/* Attach the group to the first suitable HWPT of an IOAS, or to a new one */
static int attach_ioas(struct iommufd_device *idev, struct iommufd_ioas *ioas,
		       u32 __user *out_pt_id)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_hwpt *hwpt = NULL;
	struct iova_reserved *reserved;
	int ret;

	while ((hwpt = iommufd_hwpt_next(ioas, &idev->unit, hwpt))) {
		if (IS_ERR(hwpt))
			return PTR_ERR(hwpt);
		ret = try_hwpt(igroup, hwpt, &reserved);
		if (!ret)
			ret = finish_attach(igroup, hwpt, reserved, out_pt_id);
		else if (is_incompatible(ret))
			continue;
		if (ret)
			iommufd_hwpt_unuse(hwpt);
		return ret;
	}

	hwpt = iommufd_hwpt_create(ioas, &idev->unit, idev->dev, false);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);
	ret = try_hwpt(igroup, hwpt, &reserved);
	if (!ret)
		ret = finish_attach(igroup, hwpt, reserved, out_pt_id);
	if (ret)
		iommufd_object_abort(idev->ctx, &hwpt->obj);
	else
		iommufd_object_publish(idev->ctx, &hwpt->obj);
	return ret;
}

/* Attach the group to one HWPT and no other */
static int attach_hwpt(struct iommufd_device *idev, struct iommufd_hwpt *hwpt,
		       u32 __user *out_pt_id)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iova_reserved *reserved;
	int ret;

	if (!iommufd_units_may_share(&hwpt->unit, &idev->unit))
		return -EINVAL;
	if (!iommufd_object_use(&hwpt->obj))
		return -ENOENT;

	ret = try_hwpt(igroup, hwpt, &reserved);
	if (!ret)
		ret = finish_attach(igroup, hwpt, reserved, out_pt_id);
	else if (is_incompatible(ret))
		ret = -EINVAL; /* Programs then try another HWPT */
	if (ret)
		iommufd_hwpt_unuse(hwpt);
	return ret;
}

static int attach_object(struct iommufd_device *idev,
			 struct iommufd_object *obj, u32 __user *out_pt_id)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_hwpt *now = igroup->hwpt;
	struct iommufd_hwpt *hwpt = NULL;
	struct iommufd_ioas *ioas;
	int ret;

	switch (obj->type) {
	case IOMMUFD_OBJECT_IOAS:
		ioas = to_ioas(obj);
		/*
		 * Stay on the HWPT if it belongs to this IOAS, unless the user
		 * made it: to attach the IOAS is to move away from that
		 */
		if (now && now->ioas == ioas && !now->user_made)
			hwpt = now;
		break;
	case IOMMUFD_OBJECT_HWPT:
		hwpt = to_hwpt(obj);
		ioas = hwpt->ioas;
		break;
	default:
		return -EINVAL;
	}
	/* A device that is not attached can't move those that are */
	if (now && now != hwpt && !idev->attached)
		return -EINVAL;

	ret = mutex_lock_killable(&ioas->attach_lock);
	if (ret)
		return ret;
	if (hwpt)
		ret = attach_hwpt(idev, hwpt, out_pt_id);
	else
		ret = attach_ioas(idev, ioas, out_pt_id);
	mutex_unlock(&ioas->attach_lock);
	return ret;
}

/**
 * iommufd_attach - attach a device to an IOAS or an HWPT
 * @idev: the device. If it is attached already, it moves with all attached
 *        devices of its group
 * @pt_id: id of an IOAS or an HWPT, from the user
 * @out_pt_id: user memory to write the id of the HWPT to, or NULL
 *
 * If this fails, the group goes back to the HWPT that it had. If that fails
 * too, DMA of the group stays blocked.
 * Context: sleeps; writes to user memory.
 *
 * Return:
 * * 0 - the device is attached
 * * -ENOENT - no such id
 * * -EINVAL - the id is of another type, the group has another HWPT, or the
 *   HWPT does not suit the device
 * * -EADDRINUSE - an area or an allowed range is where the device can't have
 *   one, or an area is not aligned
 * * -EFAULT - @out_pt_id can't be written
 * * -ENOMEM, -EINTR
 * * or an errno from iommufd_pages_pin() or the IOMMU driver
 */
int iommufd_attach(struct iommufd_device *idev, u32 pt_id,
		   u32 __user *out_pt_id)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_object *obj;
	int ret;

	obj = iommufd_object_get(idev->ctx, pt_id, IOMMUFD_OBJECT_ANY);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	ret = mutex_lock_killable(&igroup->lock);
	if (ret)
		goto out_put;
	ret = attach_object(idev, obj, out_pt_id);
	if (!ret && !idev->attached) {
		idev->attached = true;
		igroup->nr_attached++;
	}
	mutex_unlock(&igroup->lock);
out_put:
	iommufd_object_put(obj);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_attach, IOMMUFD);

/**
 * iommufd_detach - undo iommufd_attach()
 * @idev: the device; nothing happens if it is not attached
 *
 * If this is the last attached device of the group, DMA of the group is
 * blocked.
 *
 * Return: 0, or -EINTR with nothing changed.
 */
int iommufd_detach(struct iommufd_device *idev)
{
	return detach(idev, true);
}
EXPORT_SYMBOL_NS_GPL(iommufd_detach, IOMMUFD);

/*
 * Look up a device for a request. It stays bound until put_bound(), so its
 * group and the device itself can be used.
 */
static struct iommufd_device *get_bound(struct iommufd_ctx *ctx, u32 id)
{
	struct iommufd_object *obj;
	struct iommufd_device *idev;
	int ret;

	obj = iommufd_object_get(ctx, id, IOMMUFD_OBJECT_DEVICE);
	if (IS_ERR(obj))
		return ERR_CAST(obj);
	idev = to_idev(obj);

	ret = down_read_killable(&idev->bind_lock);
	if (!ret && !idev->igroup) {
		up_read(&idev->bind_lock);
		ret = -ENOENT;
	}
	if (ret) {
		iommufd_object_put(obj);
		return ERR_PTR(ret);
	}
	return idev;
}

static void put_bound(struct iommufd_device *idev)
{
	up_read(&idev->bind_lock);
	iommufd_object_put(&idev->obj);
}

/* Make an HWPT and get its limits, so that it can be filled */
static struct iommufd_hwpt *new_hwpt(struct iommufd_device *idev,
				     struct iommufd_ioas *ioas)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_hwpt *hwpt;
	int ret;

	hwpt = iommufd_hwpt_create(ioas, &idev->unit, idev->dev, true);
	if (IS_ERR(hwpt))
		return hwpt;

	ret = mutex_lock_killable(&igroup->lock);
	if (ret)
		goto err_abort;
	if (igroup->attached_hwpt)
		ret = iommufd_hwpt_copy_limits(hwpt, igroup->attached_hwpt);
	else
		ret = iommufd_hwpt_probe_limits(hwpt, igroup->group);
	mutex_unlock(&igroup->lock);
	if (ret)
		goto err_abort;
	return hwpt;

err_abort:
	iommufd_object_abort(idev->ctx, &hwpt->obj);
	return ERR_PTR(ret);
}

/**
 * iommufd_hwpt_alloc - IOMMU_HWPT_ALLOC
 * @req: struct iommu_hwpt_alloc
 *
 * Return: 0, or an errno. The checks are made in the order that userspace
 * expects.
 */
int iommufd_hwpt_alloc(struct iommufd_request *req)
{
	struct iommu_hwpt_alloc *cmd = req->cmd;
	struct iommufd_device *idev;
	struct iommufd_object *parent;
	struct iommufd_hwpt *hwpt;
	int ret;

	if (cmd->flags || cmd->__reserved)
		return -EOPNOTSUPP;
	if (!cmd->data_type != !cmd->data_len)
		return -EINVAL;

	idev = get_bound(req->ctx, cmd->dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	parent = iommufd_object_get(req->ctx, cmd->pt_id, IOMMUFD_OBJECT_ANY);
	if (IS_ERR(parent)) {
		put_bound(idev);
		return PTR_ERR(parent);
	}
	if (parent->type != IOMMUFD_OBJECT_IOAS)
		hwpt = ERR_PTR(-EINVAL);
	else if (cmd->data_type)
		hwpt = ERR_PTR(-EOPNOTSUPP);
	else
		hwpt = new_hwpt(idev, to_ioas(parent));
	put_bound(idev);
	iommufd_object_put(parent);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	ret = iommufd_hwpt_fill(hwpt);
	if (!ret) {
		cmd->out_hwpt_id = hwpt->obj.id;
		ret = iommufd_answer(req, sizeof(*cmd));
	}
	if (ret) {
		iommufd_object_abort(req->ctx, &hwpt->obj);
		return ret;
	}
	/* Before the id can be found, and destroyed */
	iommufd_object_unuse(&hwpt->obj);
	iommufd_object_publish(req->ctx, &hwpt->obj);
	return 0;
}

/* Clear user memory of any length; a fatal signal ends it */
static int clear_rest(void __user *rest, unsigned long length)
{
	while (length) {
		unsigned long size = min_t(unsigned long, length, SZ_1M);

		if (clear_user(rest, size))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		rest += size;
		length -= size;
		cond_resched();
	}
	return 0;
}

/**
 * iommufd_get_hw_info - IOMMU_GET_HW_INFO
 * @req: struct iommu_hw_info
 *
 * Return: 0, -EOPNOTSUPP, -ENOENT, -EFAULT, -ENOMEM, -EINTR.
 */
int iommufd_get_hw_info(struct iommufd_request *req)
{
	struct iommu_hw_info *cmd = req->cmd;
	void __user *buf = u64_to_user_ptr(cmd->data_uptr);
	struct iommufd_device *idev;
	u32 length, size;
	void *info;
	int ret;

	if (cmd->flags || cmd->__reserved)
		return -EOPNOTSUPP;
	idev = get_bound(req->ctx, cmd->dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	info = iommufd_unit_hw_info(&idev->unit, idev->dev, &length,
				    &cmd->out_data_type);
	put_bound(idev);
	if (IS_ERR(info))
		return PTR_ERR(info);

	size = min(cmd->data_len, length);
	ret = copy_to_user(buf, info, size) ? -EFAULT : 0;
	kfree(info);
	if (!ret)
		ret = clear_rest(buf + size, cmd->data_len - size);
	if (ret)
		return ret;

	cmd->data_len = length;
	cmd->out_capabilities = 0;
	return iommufd_answer(req, sizeof(*cmd));
}

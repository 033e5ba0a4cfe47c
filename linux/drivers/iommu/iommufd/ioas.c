// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O address space (IOAS): areas of user memory, mapped in all page
 * tables.
 *
 * A MAP takes its place in the IOVA space first, then pins the memory with no
 * lock held, however long page faults take, and then maps it in the tables that
 * there are. An UNMAP goes the same way back. Between the steps the area has an
 * owner, which keeps other requests from touching it, and everything else can
 * go on.
 */
#include <linux/capability.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

/*
 * The kernel's page tables can't be charged to a process, so bound what fills
 * them
 */
static unsigned long max_areas = 1UL << 20;
module_param(max_areas, ulong, 0644);
MODULE_PARM_DESC(max_areas, "Limit of mappings that one open /dev/iommu can have");

#define MAP_DIRECTIONS (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define MAP_FLAGS (IOMMU_IOAS_MAP_FIXED_IOVA | MAP_DIRECTIONS)

/* Areas that an UNMAP takes out with one flush */
#define UNMAP_BATCH 32

static struct iommufd_ioas *get_ioas(struct iommufd_request *req, u32 id)
{
	struct iommufd_object *obj;

	obj = iommufd_object_get(req->ctx, id, IOMMUFD_OBJECT_IOAS);
	return IS_ERR(obj) ? ERR_CAST(obj) : to_ioas(obj);
}

/**
 * iommufd_ioas_alloc - IOMMU_IOAS_ALLOC
 * @req: struct iommu_ioas_alloc
 *
 * Return: 0, -EOPNOTSUPP, -ENOMEM; -EFAULT with nothing allocated.
 */
int iommufd_ioas_alloc(struct iommufd_request *req)
{
	struct iommu_ioas_alloc *cmd = req->cmd;
	struct iommufd_ioas *ioas;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;

	ioas = iommufd_object_alloc(req->ctx, sizeof(*ioas),
				    IOMMUFD_OBJECT_IOAS);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	ioas->ctx = req->ctx;
	mutex_init(&ioas->attach_lock);
	init_rwsem(&ioas->domains_lock);
	init_waitqueue_head(&ioas->removed);
	INIT_LIST_HEAD(&ioas->hwpts);
	iova_space_init(&ioas->space);

	cmd->out_ioas_id = ioas->obj.id;
	ret = iommufd_answer(req, sizeof(*cmd));
	if (ret)
		iommufd_object_abort(req->ctx, &ioas->obj);
	else
		iommufd_object_publish(req->ctx, &ioas->obj);
	return ret;
}

static struct iommufd_area *alloc_area(struct iommufd_ioas *ioas,
				       unsigned long uva, unsigned long length,
				       u32 flags)
{
	bool writable = flags & IOMMU_IOAS_MAP_WRITEABLE;
	atomic_long_t *nr_areas = &ioas->ctx->nr_areas;
	struct iommufd_area *area;
	void *err = ERR_PTR(-ENOMEM);

	if (atomic_long_inc_return(nr_areas) > READ_ONCE(max_areas)) {
		err = ERR_PTR(-ENOSPC);
		goto err_count;
	}
	area = kmalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	if (!area)
		goto err_count;
	*area = (struct iommufd_area){
		.page_offset = offset_in_page(uva),
		.prot = IOMMU_CACHE,
		.owner = IOMMUFD_AREA_MAP,
	};
	area->pages = iommufd_pages_alloc(uva, length, writable);
	if (IS_ERR(area->pages)) {
		kfree(area);
		goto err_count;
	}

	if (writable)
		area->prot |= IOMMU_WRITE;
	if (flags & IOMMU_IOAS_MAP_READABLE)
		area->prot |= IOMMU_READ;
	return area;

err_count:
	atomic_long_dec(nr_areas);
	return err;
}

static void free_area(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	iommufd_pages_free(area->pages);
	kfree(area);
	atomic_long_dec(&ioas->ctx->nr_areas);
}

static void unpin_area(struct iommufd_area *area)
{
	if (area->pinned) {
		area->pinned = false;
		iommufd_pages_unpin(area->pages);
	}
}

/* Map an area in all tables; domains_lock is held for read */
static int map_in_tables(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item) {
		ret = iommufd_hwpt_map(hwpt, area);
		if (ret)
			goto err_unmap;
	}
	area->filled = true;
	return 0;

err_unmap:
	list_for_each_entry_continue_reverse(hwpt, &ioas->hwpts, ioas_item) {
		struct iommu_iotlb_gather gather;

		iommu_iotlb_gather_init(&gather);
		iommufd_hwpt_unmap(hwpt, area, &gather);
		iommu_iotlb_sync(hwpt->domain, &gather);
	}
	return ret;
}

/* Give a new area what the tables need; whether there are any can change */
static int fill_area(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	int ret;

	for (;;) {
		ret = down_read_killable(&ioas->domains_lock);
		if (ret)
			break;
		if (area->pinned == !list_empty(&ioas->hwpts)) {
			ret = map_in_tables(ioas, area);
			up_read(&ioas->domains_lock);
			break;
		}
		up_read(&ioas->domains_lock);

		/* Pin without a lock, or unpin what nobody needs any more */
		if (area->pinned) {
			unpin_area(area);
			continue;
		}
		ret = iommufd_pages_pin(area->pages);
		if (ret)
			break;
		area->pinned = true;
	}
	if (ret)
		unpin_area(area);
	return ret;
}

/**
 * iommufd_ioas_map - IOMMU_IOAS_MAP
 * @req: struct iommu_ioas_map
 *
 * Return: 0 or an errno; the checks have the order that userspace knows.
 */
int iommufd_ioas_map(struct iommufd_request *req)
{
	struct iommu_ioas_map *cmd = req->cmd;
	bool fixed = cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA;
	unsigned long uva = cmd->user_va;
	unsigned long length = cmd->length;
	struct iommufd_ioas *ioas;
	struct iommufd_area *area;
	unsigned long end;
	int ret;

	if ((cmd->flags & ~MAP_FLAGS) || cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & MAP_DIRECTIONS))
		return -EINVAL;

	ioas = get_ioas(req, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	ret = -EINVAL;
	if (!length || length >= ULONG_MAX - PAGE_SIZE)
		goto out_put;
	ret = -EOVERFLOW;
	if (cmd->user_va > ULONG_MAX || check_add_overflow(uva, length, &end))
		goto out_put;

	area = alloc_area(ioas, uva, length, cmd->flags);
	ret = PTR_ERR_OR_ZERO(area);
	if (ret)
		goto out_put;
	area->start = cmd->iova;
	ret = iova_space_insert(&ioas->space, area, length, uva, fixed);
	if (ret)
		goto out_free;

	cmd->iova = area->start;
	ret = fill_area(ioas, area);
	if (ret) {
		mutex_lock(&ioas->space.lock);
		iova_space_erase(&ioas->space, area);
		mutex_unlock(&ioas->space.lock);
		goto out_free;
	}
	/* Pairs with collect(). From here on an UNMAP can free the area */
	smp_store_release(&area->owner, IOMMUFD_AREA_FREE);
	ret = iommufd_answer(req, sizeof(*cmd));
	goto out_put;

out_free:
	free_area(ioas, area);
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/*
 * Take the next areas inside [*start, last] in hand. -ENOENT: one is cut.
 * -EBUSY: a MAP is not done with one. -EAGAIN: none for now, since the first is
 * being removed by others; @removals tells when to look again
 */
static int collect(struct iommufd_ioas *ioas, unsigned long *start,
		   unsigned long last, struct list_head *batch,
		   unsigned long *removals)
{
	struct iommufd_area *area;
	unsigned int nr = 0;
	int ret = 0;

	mutex_lock(&ioas->space.lock);
	*removals = ioas->nr_removals;
	area = iova_space_first(&ioas->space, *start);
	for (; area && area->start <= last && nr < UNMAP_BATCH; nr++) {
		if (area->start < *start || area->last > last) {
			ret = -ENOENT;
			break;
		}
		/* Pairs with the end of iommufd_ioas_map() */
		switch (smp_load_acquire(&area->owner)) {
		case IOMMUFD_AREA_MAP:
			ret = -EBUSY;
			goto out_unlock;
		case IOMMUFD_AREA_UNMAP:
			ret = nr ? 0 : -EAGAIN;
			goto out_unlock;
		}
		area->owner = IOMMUFD_AREA_UNMAP;
		list_add_tail(&area->batch, batch);
		*start = area->last + 1;
		area = iova_space_next(area);
	}
out_unlock:
	mutex_unlock(&ioas->space.lock);
	return ret;
}

static void unmap_from_tables(struct iommufd_ioas *ioas,
			      struct list_head *batch)
{
	struct iommu_iotlb_gather gather;
	struct iommufd_hwpt *hwpt;
	struct iommufd_area *area;

	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item) {
		iommu_iotlb_gather_init(&gather);
		list_for_each_entry(area, batch, batch)
			iommufd_hwpt_unmap(hwpt, area, &gather);
		iommu_iotlb_sync(hwpt->domain, &gather);
	}
	list_for_each_entry(area, batch, batch)
		area->filled = false;
}

/* Unpin, erase and free areas that no table maps any more; how many bytes */
static unsigned long remove_batch(struct iommufd_ioas *ioas,
				  struct list_head *batch)
{
	struct iommufd_area *area, *next;
	unsigned long bytes = 0;

	list_for_each_entry(area, batch, batch)
		unpin_area(area);

	mutex_lock(&ioas->space.lock);
	iova_space_erase_all(&ioas->space, batch);
	ioas->nr_removals++;
	mutex_unlock(&ioas->space.lock);
	if (wq_has_sleeper(&ioas->removed))
		wake_up_all(&ioas->removed);

	list_for_each_entry_safe(area, next, batch, batch) {
		bytes += area->last - area->start + 1;
		free_area(ioas, area);
	}
	INIT_LIST_HEAD(batch);
	return bytes;
}

/* Wait until a batch is done that was not when @removals was read */
static int wait_for_removal(struct iommufd_ioas *ioas, unsigned long removals)
{
	return wait_event_killable(ioas->removed,
				   READ_ONCE(ioas->nr_removals) != removals);
}

/*
 * Remove all areas inside a range. What was found is removed even if the rest
 * can't be; *@unmapped is the bytes of it. Ends early on a fatal signal, unless
 * the IOAS is going and there is nobody else to do it.
 */
static int unmap_range(struct iommufd_ioas *ioas, unsigned long start,
		       unsigned long last, bool going, unsigned long *unmapped)
{
	unsigned long removals;
	LIST_HEAD(batch);
	int ret;

	*unmapped = 0;
	for (;;) {
		ret = down_read_killable(&ioas->domains_lock);
		if (ret)
			return ret;
		ret = collect(ioas, &start, last, &batch, &removals);
		if (!list_empty(&batch))
			unmap_from_tables(ioas, &batch);
		up_read(&ioas->domains_lock);

		if (ret == -EAGAIN) {
			ret = wait_for_removal(ioas, removals);
			if (ret)
				return ret;
			continue;
		}
		if (list_empty(&batch))
			return ret;
		*unmapped += remove_batch(ioas, &batch);

		/* Zero when the highest IOVA was in an area */
		if (ret || !start || start > last)
			return ret;
		if (!going && fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

/**
 * iommufd_ioas_unmap - IOMMU_IOAS_UNMAP
 * @req: struct iommu_ioas_unmap
 *
 * Return: 0 or an errno; the checks have the order that userspace knows.
 */
int iommufd_ioas_unmap(struct iommufd_request *req)
{
	struct iommu_ioas_unmap *cmd = req->cmd;
	bool all = !cmd->iova && cmd->length == U64_MAX;
	unsigned long last = ULONG_MAX;
	unsigned long unmapped;
	struct iommufd_ioas *ioas;
	int ret;

	ioas = get_ioas(req, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	if (!all) {
		ret = -EOVERFLOW;
		if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
			goto out_put;
		ret = -EINVAL;
		if (!cmd->length)
			goto out_put;
		ret = -EOVERFLOW;
		if (check_add_overflow((unsigned long)cmd->iova,
				       (unsigned long)cmd->length - 1, &last))
			goto out_put;
	}

	ret = unmap_range(ioas, cmd->iova, last, false, &unmapped);
	if (!ret && !unmapped && !all)
		ret = -ENOENT;
	if (ret)
		goto out_put;
	cmd->length = unmapped;
	ret = iommufd_answer(req, sizeof(*cmd));
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/**
 * iommufd_ioas_iova_ranges - IOMMU_IOAS_IOVA_RANGES
 * @req: struct iommu_ioas_iova_ranges
 *
 * No lock is held while an entry is written, so each is right by itself, and
 * they ascend, even while devices come and go.
 *
 * Return: 0, -EOPNOTSUPP, -ENOENT, -EFAULT; -EMSGSIZE with the answer written.
 */
int iommufd_ioas_iova_ranges(struct iommufd_request *req)
{
	struct iommu_ioas_iova_ranges *cmd = req->cmd;
	struct iommu_iova_range __user *entry;
	unsigned long alignment, from = 0;
	struct iommufd_ioas *ioas;
	struct iova_range range;
	u32 nr = 0;
	int ret = 0;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	ioas = get_ioas(req, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	entry = u64_to_user_ptr(cmd->allowed_iovas);
	while (iova_space_usable(&ioas->space, from, &range, &alignment)) {
		struct iommu_iova_range out = {
			.start = range.start,
			.last = range.last,
		};

		if (nr < cmd->num_iovas &&
		    copy_to_user(&entry[nr], &out, sizeof(out))) {
			ret = -EFAULT;
			goto out_put;
		}
		nr++;
		from = range.last + 1;
		if (!from)
			break;
	}

	if (nr > cmd->num_iovas)
		ret = -EMSGSIZE;
	cmd->num_iovas = nr;
	cmd->out_iova_alignment = alignment;
	if (iommufd_answer(req, sizeof(*cmd)))
		ret = -EFAULT;
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/* Nobody has a reference: no page table is left, and no request */
void iommufd_ioas_release(struct iommufd_object *obj)
{
	struct iommufd_ioas *ioas = to_ioas(obj);
	unsigned long unmapped;

	WARN_ON(!list_empty(&ioas->hwpts));
	WARN_ON(unmap_range(ioas, 0, ULONG_MAX, true, &unmapped));
	WARN_ON(!RB_EMPTY_ROOT(&ioas->space.reserved.rb_root));
	mutex_destroy(&ioas->space.lock);
	mutex_destroy(&ioas->attach_lock);
}

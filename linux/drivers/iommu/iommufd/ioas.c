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
#include <linux/file.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

#define MAP_DIRECTIONS (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define MAP_FLAGS (IOMMU_IOAS_MAP_FIXED_IOVA | MAP_DIRECTIONS)

/* Areas that an UNMAP takes out with one flush */
#define UNMAP_BATCH 32

/* An area that shares pages that were mapped before */
struct copied_area {
	struct iommufd_area area;
	struct interval_tree_node part;
};

/**
 * iommufd_ioas_get - look up the id of an IOAS
 * @ctx: context of the id
 * @id: what the user gave
 *
 * Return: the IOAS, to be given back with iommufd_object_put(), or an ERR_PTR of
 * -ENOENT.
 */
struct iommufd_ioas *iommufd_ioas_get(struct iommufd_ctx *ctx, u32 id)
{
	struct iommufd_object *obj;

	obj = iommufd_object_get(ctx, id, IOMMUFD_OBJECT_IOAS);
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
	init_waitqueue_head(&ioas->changed);
	INIT_LIST_HEAD(&ioas->hwpts);
	INIT_LIST_HEAD(&ioas->accesses);
	iova_space_init(&ioas->space);

	cmd->out_ioas_id = ioas->obj.id;
	ret = iommufd_answer(req, sizeof(*cmd));
	if (ret)
		iommufd_object_abort(req->ctx, &ioas->obj);
	else
		iommufd_object_publish(req->ctx, &ioas->obj);
	return ret;
}

static void free_area(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	struct iommufd_pages *pages = area->pages;

	if (area != &pages->area)
		kfree(area);
	iommufd_pages_put(pages);
	atomic_long_dec(&ioas->ctx->nr_areas);
}

static void free_batch(struct iommufd_ioas *ioas, struct list_head *batch)
{
	struct iommufd_area *area, *next;

	list_for_each_entry_safe(area, next, batch, batch) {
		free_area(ioas, area);
		cond_resched();
	}
}

static int map_prot(u32 flags)
{
	return IOMMU_CACHE |
	       (flags & IOMMU_IOAS_MAP_READABLE ? IOMMU_READ : 0) |
	       (flags & IOMMU_IOAS_MAP_WRITEABLE ? IOMMU_WRITE : 0);
}

/*
 * What others have begun and ended
 */

/**
 * iommufd_ioas_changed - tell those who wait that an UNMAP or an access has ended
 * @ioas: the IOAS; the caller holds iova_space::lock
 */
void iommufd_ioas_changed(struct iommufd_ioas *ioas)
{
	lockdep_assert_held(&ioas->space.lock);

	ioas->nr_changes++;
	if (wq_has_sleeper(&ioas->changed))
		wake_up_all(&ioas->changed);
}

/**
 * iommufd_ioas_wait - wait for something to end
 * @ioas: the IOAS
 * @changes: iommufd_ioas::nr_changes when the caller saw that it has to wait
 *
 * Return: 0, or -ERESTARTSYS on a fatal signal.
 */
int iommufd_ioas_wait(struct iommufd_ioas *ioas, unsigned long changes)
{
	return wait_event_killable(ioas->changed,
				   READ_ONCE(ioas->nr_changes) != changes);
}

static void unpin_area(struct iommufd_area *area)
{
	if (area->pinned) {
		area->pinned = false;
		iommufd_pages_unpin(area->pages, area->part);
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
		ret = iommufd_pages_pin(area->pages, area->part);
		if (ret)
			break;
		area->pinned = true;
	}
	if (ret)
		unpin_area(area);
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

/*
 * Make areas: give them their place, fill them, and let others see them. Those that
 * can't be made are freed.
 */
static int make_areas(struct iommufd_ioas *ioas, struct list_head *batch,
		      unsigned long *iova, unsigned long length,
		      unsigned long uva, bool fixed)
{
	struct iommufd_area *area, *next;
	LIST_HEAD(filled);
	int ret;

	ret = iova_space_insert(&ioas->space, batch, iova, length, uva, fixed);
	if (ret)
		goto out_free;
	list_for_each_entry(area, batch, batch) {
		ret = fill_area(ioas, area);
		if (ret)
			goto out_undo;
	}
	list_for_each_entry_safe(area, next, batch, batch)
		area_give_back(area);
	return 0;

out_undo:
	list_cut_before(&filled, batch, &area->batch);
	if (!list_empty(&filled)) {
		down_read(&ioas->domains_lock);
		unmap_from_tables(ioas, &filled);
		up_read(&ioas->domains_lock);
		list_for_each_entry(area, &filled, batch)
			unpin_area(area);
	}
	list_splice(&filled, batch);
	mutex_lock(&ioas->space.lock);
	iova_space_erase(&ioas->space, batch);
	mutex_unlock(&ioas->space.lock);
out_free:
	free_batch(ioas, batch);
	return ret;
}

/*
 * IOMMU_IOAS_MAP and IOMMU_IOAS_MAP_FILE are the same but for where the memory is.
 * @fd is that of the file, NULL for memory of the caller
 */
static int map_memory(struct iommufd_ioas *ioas, u32 flags, const s32 *fd,
		      u64 start, u64 length, u64 *out_iova)
{
	bool fixed = flags & IOMMU_IOAS_MAP_FIXED_IOVA;
	unsigned long iova = *out_iova, end;
	struct iommufd_pages *pages;
	struct file *file = NULL;
	LIST_HEAD(batch);
	int ret;

	if (!length || length >= ULONG_MAX - PAGE_SIZE)
		return -EINVAL;
	if (start > ULONG_MAX ||
	    check_add_overflow((unsigned long)start, (unsigned long)length,
			       &end))
		return -EOVERFLOW;

	if (fd) {
		file = fget(*fd);
		if (!file)
			return -EBADF;
	}
	ret = iommufd_count_area(ioas->ctx);
	if (ret)
		goto out_put;
	pages = iommufd_pages_alloc(ioas->ctx, file, start, length,
				    flags & IOMMU_IOAS_MAP_WRITEABLE);
	if (IS_ERR(pages)) {
		ret = PTR_ERR(pages);
		atomic_long_dec(&ioas->ctx->nr_areas);
		goto out_put;
	}
	pages->area.prot = map_prot(flags);
	list_add(&pages->area.batch, &batch);
	ret = make_areas(ioas, &batch, &iova, length, start, fixed);
	*out_iova = iova;
out_put:
	if (file)
		fput(file);
	return ret;
}

static int check_map(u32 flags, u64 iova, u64 length)
{
	if (iova >= ULONG_MAX || length >= ULONG_MAX)
		return -EOVERFLOW;
	return flags & MAP_DIRECTIONS ? 0 : -EINVAL;
}

/**
 * iommufd_ioas_map - IOMMU_IOAS_MAP
 * @req: struct iommu_ioas_map
 *
 * Return: 0 or an errno; the checks have the order that userspace knows.
 */
int iommufd_ioas_map(struct iommufd_request *req)
{
	struct iommu_ioas_map __user *user = req->user;
	struct iommu_ioas_map *cmd = req->cmd;
	struct iommufd_ioas *ioas;
	int ret;

	if ((cmd->flags & ~MAP_FLAGS) || cmd->__reserved)
		return -EOPNOTSUPP;
	ret = check_map(cmd->flags, cmd->iova, cmd->length);
	if (ret)
		return ret;
	ioas = iommufd_ioas_get(req->ctx, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	ret = map_memory(ioas, cmd->flags, NULL, cmd->user_va, cmd->length,
			 &cmd->iova);
	if (!ret)
		ret = put_user(cmd->iova, &user->iova);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/**
 * iommufd_ioas_map_file - IOMMU_IOAS_MAP_FILE
 * @req: struct iommu_ioas_map_file
 *
 * Return: 0 or an errno; the checks have the order of IOMMU_IOAS_MAP.
 */
int iommufd_ioas_map_file(struct iommufd_request *req)
{
	struct iommu_ioas_map_file __user *user = req->user;
	struct iommu_ioas_map_file *cmd = req->cmd;
	struct iommufd_ioas *ioas;
	int ret;

	if (cmd->flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	ret = check_map(cmd->flags, cmd->iova, cmd->length);
	if (ret)
		return ret;
	ioas = iommufd_ioas_get(req->ctx, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	ret = map_memory(ioas, cmd->flags, &cmd->fd, cmd->start, cmd->length,
			 &cmd->iova);
	if (!ret)
		ret = put_user(cmd->iova, &user->iova);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/*
 * Make an area that shares what is mapped at @start, as far as the area there and
 * @last go
 */
static struct iommufd_area *share_area(struct iommufd_ioas *dst,
				       struct iommufd_ioas *src,
				       unsigned long start, unsigned long last,
				       u32 flags)
{
	struct iommufd_area *area, *from;
	struct iommufd_pages *pages;
	struct copied_area *copy;
	unsigned long offset;
	int ret;

	ret = iommufd_count_area(dst->ctx);
	if (ret)
		return ERR_PTR(ret);
	copy = kzalloc(sizeof(*copy), GFP_KERNEL_ACCOUNT);
	if (!copy) {
		ret = -ENOMEM;
		goto err_count;
	}
	area = &copy->area;

	mutex_lock(&src->space.lock);
	from = iova_space_first(&src->space, start);
	if (!from || from->start > start)
		ret = -ENOENT;
	else if (area_owner(from) != IOMMUFD_AREA_FREE)
		ret = -EBUSY;
	if (ret)
		goto err_unlock;
	pages = from->pages;
	refcount_inc(&pages->refs);
	offset = from->page_offset + (start - from->start);
	area->index = from->index + (offset >> PAGE_SHIFT);
	area->last = min(from->last, last) - start;
	mutex_unlock(&src->space.lock);

	area->owner = IOMMUFD_AREA_MAP;
	area->pages = pages;
	area->page_offset = offset_in_page(offset);
	area->prot = map_prot(flags);
	copy->part.start = area->index;
	copy->part.last = area->index + PFN_DOWN(area->page_offset + area->last);
	if (copy->part.start || copy->part.last != pages->npages - 1)
		area->part = &copy->part;
	return area;

err_unlock:
	mutex_unlock(&src->space.lock);
	kfree(copy);
err_count:
	atomic_long_dec(&dst->ctx->nr_areas);
	return ERR_PTR(ret);
}

/* Make areas that share all that is mapped in a range */
static int share_areas(struct iommufd_ioas *dst, struct iommufd_ioas *src,
		       unsigned long start, unsigned long last, u32 flags,
		       struct list_head *batch)
{
	unsigned long at = start;
	int ret = 0;

	for (;;) {
		struct iommufd_area *area;

		if (fatal_signal_pending(current))
			ret = -EINTR;
		if (ret)
			break;
		cond_resched();
		area = share_area(dst, src, at, last, flags);
		if (IS_ERR(area)) {
			ret = PTR_ERR(area);
			break;
		}
		list_add_tail(&area->batch, batch);
		/* They are numbered as if the range began at 0 */
		area->start = at - start;
		area->last += area->start;
		if (area->last == last - start)
			return 0;
		at = start + area->last + 1;
	}
	free_batch(dst, batch);
	return ret;
}

/**
 * iommufd_ioas_copy - IOMMU_IOAS_COPY
 * @req: struct iommu_ioas_copy
 *
 * Return: 0 or an errno; the checks have the order that userspace knows.
 */
int iommufd_ioas_copy(struct iommufd_request *req)
{
	struct iommu_ioas_copy *cmd = req->cmd;
	struct iommufd_ioas *src, *dst;
	struct iommufd_area *first;
	unsigned long last, iova, uva;
	LIST_HEAD(batch);
	int ret;

	if (cmd->flags & ~(MAP_FLAGS | IOMMUFD_TEST_SYZ))
		return -EOPNOTSUPP;
	if (cmd->src_iova >= ULONG_MAX)
		return -EOVERFLOW;
	ret = check_map(cmd->flags, cmd->dst_iova, cmd->length);
	if (ret)
		return ret;

	src = iommufd_ioas_get(req->ctx, cmd->src_ioas_id);
	if (IS_ERR(src))
		return PTR_ERR(src);
	iommufd_test_syz_iova(src, cmd->flags, &cmd->src_iova);
	ret = -EINVAL;
	if (!cmd->length)
		goto out_src;
	ret = -EOVERFLOW;
	if (check_add_overflow((unsigned long)cmd->src_iova,
			       (unsigned long)cmd->length - 1, &last))
		goto out_src;
	dst = iommufd_ioas_get(req->ctx, cmd->dst_ioas_id);
	if (IS_ERR(dst)) {
		ret = PTR_ERR(dst);
		goto out_src;
	}

	ret = share_areas(dst, src, cmd->src_iova, last, cmd->flags, &batch);
	if (ret)
		goto out_dst;
	first = list_first_entry(&batch, struct iommufd_area, batch);
	uva = first->pages->uva + (first->index << PAGE_SHIFT) +
	      first->page_offset;
	iova = cmd->dst_iova;
	ret = make_areas(dst, &batch, &iova, cmd->length, uva,
			 cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA);
	if (ret)
		goto out_dst;
	cmd->dst_iova = iova;
	ret = iommufd_answer(req, sizeof(*cmd));
out_dst:
	iommufd_object_put(&dst->obj);
out_src:
	iommufd_object_put(&src->obj);
	return ret;
}

/*
 * Take the next areas inside [first, last] in hand, from @start on. -ENOENT: one is
 * cut. -EBUSY: a MAP is not done with one. -EAGAIN: none for now, since the next is
 * being removed by others; @changes tells when to look again
 */
static int collect(struct iommufd_ioas *ioas, unsigned long first,
		   unsigned long *start, unsigned long last,
		   struct list_head *batch, unsigned long *changes)
{
	struct iommufd_area *area;
	unsigned int nr = 0;
	int ret = 0;

	mutex_lock(&ioas->space.lock);
	*changes = ioas->nr_changes;
	area = iova_space_first(&ioas->space, *start);
	/* What reaches over a place that was come to is new there: pass by it */
	if (area && area->start < *start && *start != first) {
		*start = area->last + 1;
		area = iova_space_next(area);
	}
	for (; area && area->start <= last && nr < UNMAP_BATCH; nr++) {
		if (area->start < *start || area->last > last) {
			ret = -ENOENT;
			break;
		}
		switch (area_owner(area)) {
		case IOMMUFD_AREA_FREE:
			break;
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
		if (area->last == last)
			break;
		area = iova_space_next(area);
	}
out_unlock:
	mutex_unlock(&ioas->space.lock);
	return ret;
}

/* Have those who access areas let go of them; nobody can begin to access them */
static int evict(struct iommufd_ioas *ioas, struct list_head *batch)
{
	struct iommufd_area *area;
	int ret;

	list_for_each_entry(area, batch, batch) {
		/* It only goes down */
		ret = READ_ONCE(area->accessed) ?
			iommufd_access_evict(ioas, area) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

/* Leave areas that can't be removed as they were */
static void give_back(struct iommufd_ioas *ioas, struct list_head *batch)
{
	struct iommufd_area *area, *next;

	mutex_lock(&ioas->space.lock);
	list_for_each_entry_safe(area, next, batch, batch)
		area_give_back(area);
	iommufd_ioas_changed(ioas);
	mutex_unlock(&ioas->space.lock);
}

/* Remove areas that were taken in hand, and count their bytes; or none of them */
static int remove_batch(struct iommufd_ioas *ioas, struct list_head *batch,
			unsigned long *removed)
{
	struct iommufd_area *area;
	int ret;

	ret = evict(ioas, batch);
	if (!ret)
		ret = down_read_killable(&ioas->domains_lock);
	if (ret) {
		give_back(ioas, batch);
		return ret;
	}
	unmap_from_tables(ioas, batch);
	up_read(&ioas->domains_lock);

	list_for_each_entry(area, batch, batch) {
		unpin_area(area);
		*removed += area_length(area);
	}

	mutex_lock(&ioas->space.lock);
	iova_space_erase(&ioas->space, batch);
	iommufd_ioas_changed(ioas);
	mutex_unlock(&ioas->space.lock);
	free_batch(ioas, batch);
	return 0;
}

/*
 * Remove all areas inside a range. What was found is removed even if the rest
 * can't be; *@unmapped is the bytes of it. Ends early on a fatal signal, unless
 * the IOAS is going and there is nobody else to do it.
 */
static int unmap_range(struct iommufd_ioas *ioas, unsigned long first,
		       unsigned long last, bool going, unsigned long *unmapped)
{
	unsigned long start = first, changes;
	int ret, err;

	*unmapped = 0;
	for (;;) {
		LIST_HEAD(batch);

		ret = collect(ioas, first, &start, last, &batch, &changes);
		if (ret == -EAGAIN) {
			ret = iommufd_ioas_wait(ioas, changes);
			if (ret)
				return ret;
			continue;
		}
		if (list_empty(&batch))
			return ret;
		err = remove_batch(ioas, &batch, unmapped);
		if (err)
			return err;

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
	struct iommu_ioas_unmap __user *user = req->user;
	struct iommu_ioas_unmap *cmd = req->cmd;
	bool all = !cmd->iova && cmd->length == U64_MAX;
	unsigned long last = ULONG_MAX;
	unsigned long unmapped;
	struct iommufd_ioas *ioas;
	int ret;

	ioas = iommufd_ioas_get(req->ctx, cmd->ioas_id);
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
	if (!ret)
		ret = put_user((u64)unmapped, &user->length);
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
	ioas = iommufd_ioas_get(req->ctx, cmd->ioas_id);
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

/**
 * iommufd_ioas_allow_iovas - IOMMU_IOAS_ALLOW_IOVAS
 * @req: struct iommu_ioas_allow_iovas
 *
 * Return: 0; or with the list as it was -EOPNOTSUPP, -ENOENT, -EFAULT, -EINVAL,
 * -ENOMEM, -EADDRINUSE, or -EINTR on a fatal signal.
 */
int iommufd_ioas_allow_iovas(struct iommufd_request *req)
{
	struct iommu_ioas_allow_iovas *cmd = req->cmd;
	struct rb_root_cached allowed = RB_ROOT_CACHED;
	struct iommu_iova_range __user *entry;
	struct iommufd_ioas *ioas;
	int ret = 0;
	u32 i;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	ioas = iommufd_ioas_get(req->ctx, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	entry = u64_to_user_ptr(cmd->allowed_iovas);
	for (i = 0; i < cmd->num_iovas; i++) {
		struct interval_tree_node *node;
		struct iommu_iova_range range;

		if (fatal_signal_pending(current))
			ret = -EINTR;
		else if (copy_from_user(&range, &entry[i], sizeof(range)))
			ret = -EFAULT;
		else if (range.start >= range.last || range.last > ULONG_MAX ||
			 interval_tree_iter_first(&allowed, range.start,
						  range.last))
			ret = -EINVAL;
		if (ret)
			goto out_free;

		node = kzalloc(sizeof(*node), GFP_KERNEL_ACCOUNT);
		if (!node) {
			ret = -ENOMEM;
			goto out_free;
		}
		node->start = range.start;
		node->last = range.last;
		interval_tree_insert(node, &allowed);
		cond_resched();
	}
	ret = iova_space_allow(&ioas->space, &allowed);
out_free:
	iova_ranges_free(&allowed);
	iommufd_object_put(&ioas->obj);
	return ret;
}

static int set_rlimit_mode(struct iommufd_ctx *ctx, u64 mode)
{
	int ret = 0;

	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;
	xa_lock(&ctx->objects);
	if (!xa_empty(&ctx->objects))
		ret = -EBUSY;
	else if (mode > 1)
		ret = -EINVAL;
	else
		WRITE_ONCE(ctx->charge_mm, mode);
	xa_unlock(&ctx->objects);
	return ret;
}

static int set_huge_pages(struct iommufd_ioas *ioas, u64 huge)
{
	bool small, old, mapped;
	int ret;

	ret = down_write_killable(&ioas->domains_lock);
	if (ret)
		return ret;
	mutex_lock(&ioas->space.lock);
	mapped = !RB_EMPTY_ROOT(&ioas->space.areas.rb_root);
	mutex_unlock(&ioas->space.lock);

	old = ioas->small_pages;
	small = !huge;
	ret = -EINVAL;
	if (huge > 1 || (small && !old && mapped && !list_empty(&ioas->hwpts)))
		goto out_unlock;
	ioas->small_pages = small;
	ret = iommufd_hwpt_align(ioas);
	if (ret)
		ioas->small_pages = old;
out_unlock:
	up_write(&ioas->domains_lock);
	return ret;
}

static int option_huge_pages(struct iommufd_request *req)
{
	struct iommu_option *cmd = req->cmd;
	struct iommufd_ioas *ioas;
	int ret = 0;

	ioas = iommufd_ioas_get(req->ctx, cmd->object_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	if (cmd->op == IOMMU_OPTION_OP_SET)
		ret = set_huge_pages(ioas, cmd->val64);
	else
		cmd->val64 = !READ_ONCE(ioas->small_pages);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/**
 * iommufd_option - IOMMU_OPTION
 * @req: struct iommu_option
 *
 * Return: 0 or an errno; the checks have the order that userspace knows. If the
 * value can't be written back, -EFAULT, with the option set.
 */
int iommufd_option(struct iommufd_request *req)
{
	struct iommu_option __user *user = req->user;
	struct iommu_option *cmd = req->cmd;
	int ret = 0;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->op != IOMMU_OPTION_OP_SET && cmd->op != IOMMU_OPTION_OP_GET)
		return -EOPNOTSUPP;

	switch (cmd->option_id) {
	case IOMMU_OPTION_RLIMIT_MODE:
		if (cmd->object_id)
			return -EOPNOTSUPP;
		if (cmd->op == IOMMU_OPTION_OP_SET)
			ret = set_rlimit_mode(req->ctx, cmd->val64);
		else
			cmd->val64 = READ_ONCE(req->ctx->charge_mm);
		break;
	case IOMMU_OPTION_HUGE_PAGES:
		ret = option_huge_pages(req);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (ret)
		return ret;
	return put_user(cmd->val64, &user->val64);
}

/*
 * Requests on all areas of a context: they are held where they are meanwhile
 */

static void hold_all(struct iommufd_ctx *ctx, struct list_head *held)
{
	struct iommufd_object *obj;
	struct iommufd_ioas *ioas;
	unsigned long id;

	mutex_lock(&ctx->groups_lock);
	xa_for_each(&ctx->objects, id, obj) {
		ioas = iommufd_ioas_get(ctx, id);
		if (IS_ERR(ioas))
			continue;
		mutex_lock_nest_lock(&ioas->space.lock, &ctx->groups_lock);
		list_add_tail(&ioas->held, held);
	}
}

static void let_go_all(struct iommufd_ctx *ctx, struct list_head *held)
{
	struct iommufd_ioas *ioas, *next;

	/* The last reference may be here, and with it goes all that is mapped */
	list_for_each_entry(ioas, held, held)
		mutex_unlock(&ioas->space.lock);
	list_for_each_entry_safe(ioas, next, held, held)
		iommufd_object_put(&ioas->obj);
	mutex_unlock(&ctx->groups_lock);
}

/* Do something for each area, until it fails */
static int visit_held(struct list_head *held,
		      int (*what)(struct iommufd_area *area, void *data),
		      void *data)
{
	struct iommufd_area *area;
	struct iommufd_ioas *ioas;
	int ret;

	list_for_each_entry(ioas, held, held) {
		area = iova_space_first(&ioas->space, 0);
		for (; area; area = iova_space_next(area)) {
			ret = what(area, data);
			if (ret)
				return ret;
			cond_resched();
		}
	}
	return 0;
}

static int can_move_charge(struct iommufd_area *area, void *unused)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (area_owner(area) != IOMMUFD_AREA_FREE)
		return -EBUSY;
	return area->pages->file ? 0 : -EINVAL;
}

static int move_charge(struct iommufd_area *area, void *owner)
{
	return iommufd_pages_move_charge(area->pages, owner);
}

static int end_move(struct iommufd_area *area, void *commit)
{
	iommufd_pages_end_move(area->pages, commit);
	return 0;
}

/**
 * iommufd_ioas_change_process - IOMMU_IOAS_CHANGE_PROCESS
 * @req: struct iommu_ioas_change_process
 *
 * Return: 0, or with nothing changed -EOPNOTSUPP, -EINVAL, -EBUSY, -ENOMEM, or
 * -EINTR on a fatal signal.
 */
int iommufd_ioas_change_process(struct iommufd_request *req)
{
	struct iommu_ioas_change_process *cmd = req->cmd;
	struct iommufd_ctx *ctx = req->ctx;
	struct iommufd_owner *owner;
	LIST_HEAD(held);
	int ret;

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	owner = iommufd_owner_get(ctx);
	if (IS_ERR(owner))
		return PTR_ERR(owner);

	hold_all(ctx, &held);
	ret = visit_held(&held, can_move_charge, NULL);
	if (!ret) {
		ret = visit_held(&held, move_charge, owner);
		visit_held(&held, end_move, ret ? NULL : owner);
	}
	let_go_all(ctx, &held);
	iommufd_owner_put(owner);
	return ret;
}

/**
 * iommufd_ioas_release - end an IOAS
 * @obj: its head. Nobody has a reference: no page table is left, and no request
 */
void iommufd_ioas_release(struct iommufd_object *obj)
{
	struct iommufd_ioas *ioas = to_ioas(obj);
	unsigned long unmapped;

	WARN_ON(!list_empty(&ioas->hwpts));
	WARN_ON(!list_empty(&ioas->accesses));
	WARN_ON(unmap_range(ioas, 0, ULONG_MAX, true, &unmapped));
	iova_space_unreserve(&ioas->space, ioas->test_reserved);
	WARN_ON(!RB_EMPTY_ROOT(&ioas->space.reserved.rb_root));
	iova_ranges_free(&ioas->space.allowed);
	mutex_destroy(&ioas->space.lock);
	mutex_destroy(&ioas->attach_lock);
}

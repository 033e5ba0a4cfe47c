// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O address space (IOAS): its life, and the requests on it.
 */
#include <linux/capability.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

#define MAP_DIRECTIONS (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define MAP_FLAGS (IOMMU_IOAS_MAP_FIXED_IOVA | MAP_DIRECTIONS)

/* No HWPT and no access is left */
static void release_ioas(struct iommufd_object *obj)
{
	struct iommufd_ioas *ioas = to_ioas(obj);
	unsigned long unmapped;

	WARN_ON(!list_empty(&ioas->hwpts));
	WARN_ON(!list_empty(&ioas->accesses));
	WARN_ON(iommufd_areas_unmap(ioas, 0, ULONG_MAX,
				    IOMMUFD_UNMAP_RELEASE, &unmapped));
	iova_space_unreserve(&ioas->space, ioas->test_reserved);
	WARN_ON(!RB_EMPTY_ROOT(&ioas->space.reserved.rb_root));
	iova_ranges_free(&ioas->space.allowed);
	iommufd_dirty_destroy(&ioas->dirty);
	mutex_destroy(&ioas->space.lock);
	mutex_destroy(&ioas->attach_lock);
}

/**
 * iommufd_ioas_create - make an empty IOAS
 * @ctx: the context
 *
 * The caller publishes or aborts it.
 *
 * Return: the IOAS or an ERR_PTR of -ENOMEM.
 */
struct iommufd_ioas *iommufd_ioas_create(struct iommufd_ctx *ctx)
{
	struct iommufd_ioas *ioas;

	ioas = iommufd_object_alloc(ctx, sizeof(*ioas), IOMMUFD_OBJECT_IOAS,
				    release_ioas);
	if (IS_ERR(ioas))
		return ioas;
	ioas->ctx = ctx;
	mutex_init(&ioas->attach_lock);
	init_rwsem(&ioas->domains_lock);
	INIT_LIST_HEAD(&ioas->hwpts);
	INIT_LIST_HEAD(&ioas->accesses);
	iova_space_init(&ioas->space, &ctx->nr_mapped);
	iommufd_dirty_init(&ioas->dirty);
	ioas->reach = ULONG_MAX;
	return ioas;
}

/**
 * iommufd_ioas_alloc - IOMMU_IOAS_ALLOC
 * @req: struct iommu_ioas_alloc
 *
 * Return: 0, -EOPNOTSUPP, -ENOMEM, or -EFAULT with nothing allocated.
 */
int iommufd_ioas_alloc(struct iommufd_request *req)
{
	struct iommu_ioas_alloc *cmd = req->cmd;
	struct iommufd_ioas *ioas;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;

	ioas = iommufd_ioas_create(req->ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	cmd->out_ioas_id = ioas->obj.id;
	ret = iommufd_answer(req, sizeof(*cmd));
	if (ret)
		iommufd_object_abort(req->ctx, &ioas->obj);
	else
		iommufd_object_publish(req->ctx, &ioas->obj);
	return ret;
}

static int check_map(u32 flags, u64 iova, u64 length)
{
	if (iova >= ULONG_MAX || length >= ULONG_MAX)
		return -EOVERFLOW;
	return flags & MAP_DIRECTIONS ? 0 : -EINVAL;
}

/* IOMMU_IOAS_MAP and IOMMU_IOAS_MAP_FILE differ only in where the memory is */
static int do_map(struct iommufd_request *req, u32 ioas_id,
		  struct iommufd_mapping *map, u64 __user *iova)
{
	struct iommufd_ioas *ioas;
	int ret;

	ret = check_map(map->flags, map->iova, map->length);
	if (ret)
		return ret;
	ioas = iommufd_ioas_get(req->ctx, ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	map->charge_mm = READ_ONCE(req->ctx->charge_mm);
	ret = iommufd_areas_map(ioas, map);
	if (!ret)
		ret = put_user(map->iova, iova);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/**
 * iommufd_ioas_map - IOMMU_IOAS_MAP
 * @req: struct iommu_ioas_map
 *
 * Return: 0, or an errno. The checks are made in the order that userspace
 * expects.
 */
int iommufd_ioas_map(struct iommufd_request *req)
{
	struct iommu_ioas_map __user *user = req->user;
	struct iommu_ioas_map *cmd = req->cmd;
	struct iommufd_mapping map = {
		.flags = cmd->flags,
		.start = cmd->user_va,
		.length = cmd->length,
		.iova = cmd->iova,
	};

	if ((cmd->flags & ~MAP_FLAGS) || cmd->__reserved)
		return -EOPNOTSUPP;
	return do_map(req, cmd->ioas_id, &map, &user->iova);
}

/**
 * iommufd_ioas_map_file - IOMMU_IOAS_MAP_FILE
 * @req: struct iommu_ioas_map_file
 *
 * Return: 0, or an errno. The checks are made in the order of IOMMU_IOAS_MAP.
 */
int iommufd_ioas_map_file(struct iommufd_request *req)
{
	struct iommu_ioas_map_file __user *user = req->user;
	struct iommu_ioas_map_file *cmd = req->cmd;
	struct iommufd_mapping map = {
		.flags = cmd->flags,
		.fd = &cmd->fd,
		.start = cmd->start,
		.length = cmd->length,
		.iova = cmd->iova,
	};

	if (cmd->flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	return do_map(req, cmd->ioas_id, &map, &user->iova);
}

/**
 * iommufd_ioas_copy - IOMMU_IOAS_COPY
 * @req: struct iommu_ioas_copy
 *
 * Return: 0, or an errno. The checks are made in the order that userspace
 * expects.
 */
int iommufd_ioas_copy(struct iommufd_request *req)
{
	struct iommu_ioas_copy *cmd = req->cmd;
	struct iommufd_mapping map = {
		.flags = cmd->flags,
		.length = cmd->length,
		.iova = cmd->dst_iova,
	};
	struct iommufd_ioas *src, *dst;
	unsigned long last;
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

	ret = iommufd_areas_copy(dst, src, cmd->src_iova, last, &map);
	if (!ret) {
		cmd->dst_iova = map.iova;
		ret = iommufd_answer(req, sizeof(*cmd));
	}
	iommufd_object_put(&dst->obj);
out_src:
	iommufd_object_put(&src->obj);
	return ret;
}

/**
 * iommufd_ioas_unmap - IOMMU_IOAS_UNMAP
 * @req: struct iommu_ioas_unmap
 *
 * Return: 0, or an errno. The checks are made in the order that userspace
 * expects.
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

	ret = iommufd_areas_unmap(ioas, cmd->iova, last, 0, &unmapped);
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
 * No lock is held while an entry is written. So if devices are attached or
 * detached meanwhile, each entry is correct by itself, and the entries ascend.
 *
 * Return: 0, -EOPNOTSUPP, -ENOENT, -EFAULT, or -EMSGSIZE with the answer
 * written.
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
 * Return: 0, or an errno with the list unchanged: -EOPNOTSUPP, -ENOENT,
 * -EFAULT, -EINVAL, -ENOMEM, -EADDRINUSE, or -EINTR on a fatal signal.
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
	XA_STATE(xas, &ctx->objects, 1);
	int ret = 0;

	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;
	xa_lock(&ctx->objects);
	/*
	 * Not xa_empty(): a failed allocation can leave empty nodes. Unlike
	 * xa_find(), this finds reserved ids too.
	 */
	if (xas_find(&xas, ULONG_MAX))
		ret = -EBUSY;
	else if (mode > 1)
		ret = -EINVAL;
	else
		WRITE_ONCE(ctx->charge_mm, mode);
	xa_unlock(&ctx->objects);
	return ret;
}

/**
 * iommufd_ioas_set_huge_pages - let HWPTs have large pages, or no longer
 * @ioas: the IOAS
 * @huge: 0 or 1
 *
 * On error nothing is changed.
 *
 * Return:
 * * 0 - the option is set
 * * -EINVAL - another value, or large pages are to end while the IOAS has both
 *   areas and HWPTs
 * * -EADDRINUSE - an area does not consist of whole pages
 * * -EINTR - a fatal signal
 */
int iommufd_ioas_set_huge_pages(struct iommufd_ioas *ioas, u64 huge)
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
		ret = iommufd_ioas_set_huge_pages(ioas, cmd->val64);
	else
		cmd->val64 = !READ_ONCE(ioas->small_pages);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/**
 * iommufd_option - IOMMU_OPTION
 * @req: struct iommu_option
 *
 * Return: 0, or an errno. The checks are made in the order that userspace
 * expects. If the value can't be written back, the error is -EFAULT, with the
 * option set.
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
 * Requests on all areas of a context: meanwhile the lock of each IOVA space is
 * held
 */

static void lock_all_ioas(struct iommufd_ctx *ctx, struct list_head *held)
{
	struct iommufd_object *obj;
	struct iommufd_ioas *ioas;
	unsigned long id;

	mutex_lock(&ctx->held_lock);
	xa_for_each(&ctx->objects, id, obj) {
		ioas = iommufd_ioas_get(ctx, id);
		if (IS_ERR(ioas))
			continue;
		mutex_lock_nest_lock(&ioas->space.lock, &ctx->held_lock);
		list_add_tail(&ioas->held, held);
		cond_resched();
	}
}

static void unlock_all_ioas(struct iommufd_ctx *ctx, struct list_head *held)
{
	struct iommufd_ioas *ioas, *next;

	/* Unlock first: a put may be the last one, which unmaps everything */
	list_for_each_entry(ioas, held, held)
		mutex_unlock(&ioas->space.lock);
	list_for_each_entry_safe(ioas, next, held, held)
		iommufd_object_put(&ioas->obj);
	mutex_unlock(&ctx->held_lock);
}

/* Call @fn for each area until it fails */
static int visit_held(struct list_head *held,
		      int (*fn)(struct iommufd_area *area, void *data),
		      void *data)
{
	struct iommufd_area *area;
	struct iommufd_ioas *ioas;
	int ret;

	list_for_each_entry(ioas, held, held) {
		area = iova_space_first(&ioas->space, 0);
		for (; area; area = iova_space_next(area)) {
			ret = fn(area, data);
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

static int end_move_charge(struct iommufd_area *area, void *commit)
{
	iommufd_pages_end_move_charge(area->pages, commit);
	return 0;
}

/**
 * iommufd_ioas_change_process - IOMMU_IOAS_CHANGE_PROCESS
 * @req: struct iommu_ioas_change_process
 *
 * Return: 0, or an errno with nothing changed: -EOPNOTSUPP, -EINVAL, -EBUSY,
 * -ENOMEM, or -EINTR on a fatal signal.
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

	lock_all_ioas(ctx, &held);
	ret = visit_held(&held, can_move_charge, NULL);
	if (!ret) {
		ret = visit_held(&held, move_charge, owner);
		visit_held(&held, end_move_charge, ret ? NULL : owner);
	}
	unlock_all_ioas(ctx, &held);
	iommufd_owner_put(owner);
	return ret;
}

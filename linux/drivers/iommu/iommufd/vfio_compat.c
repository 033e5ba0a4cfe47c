// SPDX-License-Identifier: GPL-2.0-only
/*
 * The type1 container of VFIO on a context.
 *
 * One IOAS of the context, which the user can choose, is the address space of
 * the container: its ioctls map and unmap there, and groups attach their
 * devices to it. If groups without an IOMMU got the context, it is in noiommu
 * mode and has no such IOAS.
 */
#include <linux/capability.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/linux/vfio.h>

#include "iommufd_private.h"

/*
 * Get the IOAS of the container, for iommufd_object_put(), or an ERR_PTR of
 * -ENODEV. While it is set, its id holds a reference.
 */
static struct iommufd_ioas *get_container(struct iommufd_ctx *ctx)
{
	struct iommufd_object *obj;

	xa_lock(&ctx->objects);
	obj = ctx->container;
	if (obj)
		refcount_inc(&obj->refs);
	xa_unlock(&ctx->objects);
	return obj ? to_ioas(obj) : ERR_PTR(-ENODEV);
}

/*
 * Set the IOAS, unless the context is in noiommu mode or the IOAS was destroyed
 */
static int set_container(struct iommufd_ctx *ctx, struct iommufd_object *obj)
{
	int ret = 0;

	xa_lock(&ctx->objects);
	if (ctx->noiommu)
		ret = -EINVAL;
	else if (xa_load(&ctx->objects, obj->id) != obj)
		ret = -ENOENT;
	else
		ctx->container = obj;
	xa_unlock(&ctx->objects);
	return ret;
}

/**
 * iommufd_vfio_ioas - IOMMU_VFIO_IOAS
 * @req: struct iommu_vfio_ioas
 *
 * Return: 0, -EOPNOTSUPP, -ENODEV if no IOAS is set, -ENOENT, -EINVAL in
 * noiommu mode, or -EFAULT.
 */
int iommufd_vfio_ioas(struct iommufd_request *req)
{
	struct iommu_vfio_ioas *cmd = req->cmd;
	struct iommufd_ctx *ctx = req->ctx;
	struct iommufd_ioas *ioas;
	int ret;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	switch (cmd->op) {
	case IOMMU_VFIO_IOAS_GET:
		ioas = get_container(ctx);
		if (IS_ERR(ioas))
			return PTR_ERR(ioas);
		cmd->ioas_id = ioas->obj.id;
		iommufd_object_put(&ioas->obj);
		return iommufd_answer(req, sizeof(*cmd));
	case IOMMU_VFIO_IOAS_SET:
		ioas = iommufd_ioas_get(ctx, cmd->ioas_id);
		if (IS_ERR(ioas))
			return PTR_ERR(ioas);
		ret = set_container(ctx, &ioas->obj);
		iommufd_object_put(&ioas->obj);
		return ret;
	case IOMMU_VFIO_IOAS_CLEAR:
		xa_lock(&ctx->objects);
		ctx->container = NULL;
		xa_unlock(&ctx->objects);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/**
 * iommufd_container_prepare - make sure that a container has an IOAS
 * @ctx: context that is given to a group
 *
 * Allocates one if the user has not set one.
 *
 * Return: 0, -ENOMEM, or -EINVAL in noiommu mode.
 */
int iommufd_container_prepare(struct iommufd_ctx *ctx)
{
	struct iommufd_ioas *ioas;
	int ret = 0;

	/* A context with a container is not in noiommu mode */
	if (READ_ONCE(ctx->container))
		return 0;
	ioas = iommufd_ioas_create(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	xa_lock(&ctx->objects);
	if (ctx->noiommu) {
		ret = -EINVAL;
	} else if (!ctx->container) {
		/* The id is reserved, so the entry exists */
		__xa_store(&ctx->objects, ioas->obj.id, ioas, 0);
		ctx->container = &ioas->obj;
		ioas = NULL;
	}
	xa_unlock(&ctx->objects);

	if (ioas)
		iommufd_object_abort(ctx, &ioas->obj);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_container_prepare, IOMMUFD);

/**
 * iommufd_container_set_noiommu - put a context into noiommu mode
 * @ctx: context that is given to a group without an IOMMU
 *
 * Return: 0, or -EINVAL if the context has an IOAS for a container.
 */
int iommufd_container_set_noiommu(struct iommufd_ctx *ctx)
{
	int ret = 0;

	xa_lock(&ctx->objects);
	if (ctx->container)
		ret = -EINVAL;
	else
		ctx->noiommu = true;
	xa_unlock(&ctx->objects);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_container_set_noiommu, IOMMUFD);

/**
 * iommufd_container_ioas - get the IOAS that a group attaches its devices to
 * @ctx: context that was given to a group
 * @id: set to the id of the IOAS, for iommufd_attach() and
 *      iommufd_access_attach()
 *
 * Return: 0, or -ENODEV if the user has cleared or destroyed it.
 */
int iommufd_container_ioas(struct iommufd_ctx *ctx, u32 *id)
{
	struct iommufd_ioas *ioas = get_container(ctx);

	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	*id = ioas->obj.id;
	iommufd_object_put(&ioas->obj);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_container_ioas, IOMMUFD);

/*
 * Return 1 if no HWPT of the container lets a device bypass the CPU caches,
 * else 0; -ENODEV or -EINTR
 */
static int is_coherent(struct iommufd_ctx *ctx)
{
	struct iommufd_ioas *ioas = get_container(ctx);
	struct iommufd_hwpt *hwpt;
	int ret;

	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	ret = down_read_killable(&ioas->domains_lock);
	if (!ret) {
		ret = 1;
		list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
			if (!hwpt->coherent)
				ret = 0;
		up_read(&ioas->domains_lock);
	}
	iommufd_object_put(&ioas->obj);
	return ret;
}

static int check_extension(struct iommufd_ctx *ctx, unsigned long extension)
{
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return !READ_ONCE(ctx->noiommu);
	case VFIO_NOIOMMU_IOMMU:
		return IS_ENABLED(CONFIG_VFIO_NOIOMMU);
	case VFIO_DMA_CC_IOMMU:
		return is_coherent(ctx);
	default:
		return 0;
	}
}

static int set_iommu(struct iommufd_ctx *ctx, unsigned long type)
{
	bool noiommu = READ_ONCE(ctx->noiommu);
	struct iommufd_ioas *ioas;
	int ret = 0;

	if (type == VFIO_NOIOMMU_IOMMU && noiommu)
		return capable(CAP_SYS_RAWIO) ? 0 : -EPERM;
	if ((type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU) || noiommu)
		return -EINVAL;

	ioas = get_container(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	/* Version 1 can unmap a part of a mapping */
	if (type == VFIO_TYPE1_IOMMU)
		ret = iommufd_ioas_set_huge_pages(ioas, 0);
	iommufd_object_put(&ioas->obj);
	return ret;
}

static int map_dma(struct iommufd_ctx *ctx, void __user *arg)
{
	struct vfio_iommu_type1_dma_map cmd;
	struct iommufd_mapping map = {
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA,
		.charge_mm = true,
	};
	struct iommufd_ioas *ioas;
	int ret;

	if (copy_from_user(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	if (cmd.argsz < sizeof(cmd) ||
	    (cmd.flags & ~(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)))
		return -EINVAL;
	ioas = get_container(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	if (cmd.flags & VFIO_DMA_MAP_FLAG_READ)
		map.flags |= IOMMU_IOAS_MAP_READABLE;
	if (cmd.flags & VFIO_DMA_MAP_FLAG_WRITE)
		map.flags |= IOMMU_IOAS_MAP_WRITEABLE;
	map.start = cmd.vaddr;
	map.length = cmd.size;
	map.iova = cmd.iova;
	if (!cmd.flags)
		ret = -EINVAL;
	else if (cmd.iova >= ULONG_MAX || cmd.size >= ULONG_MAX)
		ret = -EOVERFLOW;
	else
		ret = iommufd_areas_map(ioas, &map);
	iommufd_object_put(&ioas->obj);
	return ret;
}

/*
 * Dirty pages
 */

/* As in type1: a bit for each of 2^31 pages */
#define MAX_DIRTY_BYTES SZ_256M

/* The bitmap has a bit for each PAGE_SIZE, whatever pages the HWPTs have */
static int check_bitmap(const struct vfio_bitmap *bitmap, u64 iova, u64 size)
{
	u64 npages = size >> PAGE_SHIFT;

	if (bitmap->pgsize != PAGE_SIZE || !npages ||
	    offset_in_page(iova | size) || bitmap->size > MAX_DIRTY_BYTES ||
	    bitmap->size < ALIGN(npages, 64) / BITS_PER_BYTE)
		return -EINVAL;
	return 0;
}

/* True if neither end of a range cuts an area */
static bool is_whole(struct iommufd_ioas *ioas, unsigned long first,
		     unsigned long last)
{
	struct iommufd_area *area;
	bool whole;

	mutex_lock(&ioas->space.lock);
	area = iova_space_first(&ioas->space, first);
	whole = !area || area->start >= first || area->start > last;
	area = iova_space_first(&ioas->space, last);
	whole = whole && (!area || area->start > last || area->last == last);
	mutex_unlock(&ioas->space.lock);
	return whole;
}

static int get_dirty_pages(struct iommufd_ioas *ioas, void __user *arg)
{
	struct vfio_iommu_type1_dirty_bitmap_get range;
	unsigned long first, last;
	int ret;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	ret = check_bitmap(&range.bitmap, range.iova, range.size);
	if (ret)
		return ret;
	first = range.iova;
	if (first != range.iova || range.size > ULONG_MAX ||
	    check_add_overflow(first, (unsigned long)range.size - 1, &last) ||
	    !iommufd_dirty_tracked(ioas) || !is_whole(ioas, first, last))
		return -EINVAL;
	return iommufd_dirty_read(ioas, first, range.size >> PAGE_SHIFT, false,
				  range.bitmap.data);
}

static int dirty_pages(struct iommufd_ctx *ctx, void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_iommu_type1_dirty_bitmap,
					 flags);
	struct vfio_iommu_type1_dirty_bitmap cmd;
	struct iommufd_ioas *ioas;
	int ret = 0;

	ioas = get_container(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	if (READ_ONCE(ioas->small_pages)) {
		ret = -EACCES;
		goto out_put;
	}
	if (copy_from_user(&cmd, arg, minsz)) {
		ret = -EFAULT;
		goto out_put;
	}
	if (cmd.argsz < minsz) {
		ret = -EINVAL;
		goto out_put;
	}

	switch (cmd.flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
		ret = iommufd_dirty_start(ioas);
		break;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		iommufd_dirty_stop(ioas);
		break;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		ret = cmd.argsz - minsz <
				      sizeof(struct vfio_iommu_type1_dirty_bitmap_get) ?
			      -EINVAL : get_dirty_pages(ioas, arg + minsz);
		break;
	default:
		ret = -EINVAL;
	}
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/*
 * Unmap a range and report its dirty pages. Read once before the unmap, to fail
 * before anything is unmapped if the bitmap can't be written. Read again when
 * devices can't write any more: the unmap records what an HWPT has mapped.
 */
static int unmap_dirty(struct iommufd_ioas *ioas,
		       const struct vfio_bitmap *bitmap, unsigned long first,
		       unsigned long last, unsigned long *unmapped)
{
	unsigned long npages = (last - first) / PAGE_SIZE + 1;
	int ret;

	if (!iommufd_dirty_tracked(ioas) || !is_whole(ioas, first, last))
		return -EINVAL;
	ret = iommufd_dirty_read(ioas, first, npages, true, bitmap->data);
	if (!ret)
		ret = iommufd_areas_unmap(ioas, first, last,
					  IOMMUFD_UNMAP_KEEP_DIRTY, unmapped);
	if (ret)
		return ret;
	return iommufd_dirty_read(ioas, first, npages, false, bitmap->data);
}

/* With version 1 a range can begin and end inside a mapping */
static int split_ends(struct iommufd_ioas *ioas, unsigned long first,
		      unsigned long last)
{
	int ret = iommufd_areas_split(ioas, first);

	if (!ret && last != ULONG_MAX)
		ret = iommufd_areas_split(ioas, last + 1);
	return ret;
}

/*
 * Get the last IOVA of an unmap, with errors in the order of IOMMU_IOAS_UNMAP
 */
static int last_to_unmap(const struct vfio_iommu_type1_dma_unmap *cmd,
			 unsigned long *last)
{
	if (cmd->iova >= ULONG_MAX || cmd->size >= ULONG_MAX)
		return -EOVERFLOW;
	if (!cmd->size)
		return -EINVAL;
	return check_add_overflow((unsigned long)cmd->iova,
				  (unsigned long)cmd->size - 1, last) ?
		-EOVERFLOW : 0;
}

static int unmap_dma(struct iommufd_ctx *ctx, void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_iommu_type1_dma_unmap, size);
	unsigned long last = ULONG_MAX, unmapped = 0;
	struct vfio_iommu_type1_dma_unmap __user *user = arg;
	struct vfio_iommu_type1_dma_unmap cmd;
	struct vfio_bitmap bitmap;
	struct iommufd_ioas *ioas;
	bool all, dirty;
	int ret = 0;

	if (copy_from_user(&cmd, arg, minsz))
		return -EFAULT;
	dirty = cmd.flags == VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	if (cmd.argsz < minsz ||
	    (!dirty && (cmd.flags & ~VFIO_DMA_UNMAP_FLAG_ALL)))
		return -EINVAL;
	if (dirty) {
		if (cmd.argsz < minsz + sizeof(bitmap))
			return -EINVAL;
		if (copy_from_user(&bitmap, arg + minsz, sizeof(bitmap)))
			return -EFAULT;
		ret = check_bitmap(&bitmap, cmd.iova, cmd.size);
		if (ret)
			return ret;
	}
	ioas = get_container(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	all = cmd.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	if (all && (cmd.iova || cmd.size)) {
		ret = -EINVAL;
		goto out_put;
	}
	if (!all)
		ret = last_to_unmap(&cmd, &last);
	if (!ret && !all && READ_ONCE(ioas->small_pages)) {
		ret = split_ends(ioas, cmd.iova, last);
		if (ret)
			goto out_put;
	}
	if (!ret && dirty)
		ret = unmap_dirty(ioas, &bitmap, cmd.iova, last, &unmapped);
	else if (!ret)
		ret = iommufd_areas_unmap(ioas, cmd.iova, last, 0, &unmapped);
	/* Also on error, so that the caller knows how much is left */
	if (put_user((u64)unmapped, &user->size))
		ret = -EFAULT;
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/*
 * Get the page sizes that all HWPTs have. Those below PAGE_SIZE are of no use
 */
static int page_sizes(struct iommufd_ioas *ioas, u64 *sizes)
{
	struct iommufd_hwpt *hwpt;
	u64 common = PAGE_MASK;
	int ret;

	ret = down_read_killable(&ioas->domains_lock);
	if (ret)
		return ret;
	list_for_each_entry(hwpt, &ioas->hwpts, ioas_item)
		common &= hwpt->domain->pgsize_bitmap | PAGE_SIZE;
	up_read(&ioas->domains_lock);
	*sizes = common;
	return 0;
}

/*
 * The chain of capabilities as it is copied to the user. Each is aligned for its
 * u64, also where the compiler does not need that
 */
struct info_caps {
	struct vfio_iommu_type1_info_dma_avail avail;
	struct vfio_iommu_type1_info_cap_migration migration __aligned(8);
	struct vfio_iommu_type1_info_cap_iova_range iovas __aligned(8);
	struct vfio_iova_range ranges[];
};

/* Get usable ranges. Write at most @max, and return how many there are */
static u32 usable_ranges(struct iommufd_ioas *ioas,
			 struct vfio_iova_range *ranges, u32 max)
{
	unsigned long alignment, from = 0;
	struct iova_range range;
	u32 nr = 0;

	while (iova_space_usable(&ioas->space, from, &range, &alignment)) {
		if (nr < max)
			ranges[nr] = (struct vfio_iova_range){
				.start = range.start,
				.end = range.last,
			};
		nr++;
		from = range.last + 1;
		if (!from)
			break;
	}
	return nr;
}

static struct info_caps *info_caps(struct iommufd_ioas *ioas, u32 offset,
				   size_t *size)
{
	u32 nr = usable_ranges(ioas, NULL, 0), now;
	struct info_caps *caps;

	for (;;) {
		*size = struct_size(caps, ranges, nr);
		caps = kvzalloc(*size, GFP_KERNEL_ACCOUNT);
		if (!caps)
			return NULL;
		now = usable_ranges(ioas, caps->ranges, nr);
		if (now <= nr)
			break;
		/* Another device was attached meanwhile */
		kvfree(caps);
		nr = now;
	}
	*size = struct_size(caps, ranges, now);

	caps->avail.header.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
	caps->avail.header.version = 1;
	caps->avail.header.next = offset + offsetof(struct info_caps, migration);
	caps->avail.avail = U32_MAX;
	caps->migration.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
	caps->migration.header.version = 1;
	caps->migration.header.next = offset + offsetof(struct info_caps, iovas);
	caps->migration.pgsize_bitmap = PAGE_SIZE;
	caps->migration.max_dirty_bitmap_size = MAX_DIRTY_BYTES;
	caps->iovas.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	caps->iovas.header.version = 1;
	caps->iovas.nr_iovas = now;
	return caps;
}

/*
 * Copy the info as far as there is room. The chain of capabilities is copied
 * whole or not at all.
 */
static int get_info(struct iommufd_ctx *ctx, void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_iommu_type1_info,
					 iova_pgsizes);
	/*
	 * The chain begins after the padding, which 32-bit programs don't have
	 */
	const u32 offset = ALIGN(sizeof(struct vfio_iommu_type1_info), 8);
	struct vfio_iommu_type1_info info;
	struct iommufd_ioas *ioas;
	struct info_caps *caps;
	size_t room, size;
	int ret = 0;

	memset(&info, 0, sizeof(info));
	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	room = info.argsz;
	if (room < minsz)
		return -EINVAL;
	ioas = get_container(ctx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	ret = page_sizes(ioas, &info.iova_pgsizes);
	caps = ret ? NULL : info_caps(ioas, offset, &size);
	iommufd_object_put(&ioas->obj);
	if (!caps)
		return ret ? ret : -ENOMEM;

	info.argsz = offset + size;
	if (room >= info.argsz) {
		info.cap_offset = offset;
		if (copy_to_user(arg + offset, caps, size))
			ret = -EFAULT;
	}
	if (copy_to_user(arg, &info, min(room, sizeof(info))))
		ret = -EFAULT;
	kvfree(caps);
	return ret;
}

/**
 * iommufd_container_ioctl - handle an ioctl of a container
 * @ctx: the context
 * @word: any ioctl
 * @arg: its argument
 *
 * Return: the result of the ioctl, or an errno; -ENOTTY for all ioctls that a
 * context does not have. MAP_DMA and UNMAP_DMA fail like IOMMU_IOAS_MAP and
 * IOMMU_IOAS_UNMAP, except that
 *
 * - an unknown flag or a short @arg is -EINVAL
 * - -ENODEV means that the container has no IOAS
 * - an UNMAP of a range where nothing is mapped succeeds
 * - an UNMAP of version 1 also has the errnos of iommufd_areas_split()
 * - an UNMAP that reports dirty pages also has those of iommufd_dirty_read(),
 *   and -EINVAL if the bitmap is not valid, pages are not tracked, or the range
 *   cuts an area
 */
long iommufd_container_ioctl(struct iommufd_ctx *ctx, unsigned int word,
			     unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (word) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(ctx, arg);
	case VFIO_SET_IOMMU:
		return set_iommu(ctx, arg);
	case VFIO_IOMMU_GET_INFO:
		return get_info(ctx, user);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(ctx, user);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(ctx, user);
	case VFIO_IOMMU_DIRTY_PAGES:
		return dirty_pages(ctx, user);
	default:
		return -ENOTTY;
	}
}

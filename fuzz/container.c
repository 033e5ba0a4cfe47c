// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of a type1 container, whose address space is one IOAS of a context
 */
#include "ops.h"

static void g_vfio_ioas(struct op *op)
{
	op->obj = pick(op, IOAS);
	op->a = chance(6) ? IOMMU_VFIO_IOAS_CLEAR : chance(3) ?
		IOMMU_VFIO_IOAS_GET : chance(20) ? 9 : IOMMU_VFIO_IOAS_SET;
	some_mangle(op, false, false);
}

static void m_vfio_ioas(const struct op *op, struct outcome *out)
{
	struct object *ioas = find(op->ctx, op->obj, IOAS);
	struct object **container = &w->container[op->ctx];

	if (spoiled(op, out))
		return;
	switch (op->a) {
	case IOMMU_VFIO_IOAS_GET:
		out->ret = *container ? 0 : -ENODEV;
		out->nr = !!*container;
		out->val[0] = *container ? (*container)->id : 0;
		break;
	case IOMMU_VFIO_IOAS_SET:
		out->ret = ioas ? 0 : -ENOENT;
		if (ioas)
			*container = ioas;
		break;
	case IOMMU_VFIO_IOAS_CLEAR:
		*container = NULL;
		break;
	default:
		out->ret = -EOPNOTSUPP;
	}
}

static void i_vfio_ioas(const struct op *op, struct outcome *out)
{
	__u32 id = id_of(op->obj);

	out->ret = result(vfio_ioas(fd_of(op), op->a, &id));
	out->val[0] = id;
}

static void p_vfio_ioas(const struct op *op)
{
	say("id = %s, vfio_ioas(fd%d, %llu, &id)", name_of(op->obj), op->ctx, op->a);
	spoil_name(op);
}

static void g_container(struct op *op)
{
	op->ctx = rnd(NCTX);
	if (!w->container[op->ctx])
		op->ctx = rnd(NCTX);
	op->flags = MAP_RW;
	some_area(w->container[op->ctx], &op->c, &op->b);
	op->a = some_va();
}

static void g_map_dma(struct op *op)
{
	g_container(op);
	op->c = some_iova(w->container[op->ctx]);
	op->b = some_length();
	op->flags = some_directions();
}

static void m_map_dma(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	struct store *store;
	__u64 iova = op->c;

	out->ret = -ENODEV;
	if (!ioas)
		return;
	out->skip = is_full(ioas);
	out->ret = !op->flags ? -EINVAL : check_range(op->c, op->b, op->flags);
	if (!out->ret)
		out->ret = check_bytes(op->a, op->b);
	if (out->ret || out->skip)
		return;
	store = m_store(&w->procs[op->proc], -1, op->a, op->b,
			op->flags & IOMMU_IOAS_MAP_WRITEABLE,
			w->limit ? PROCESS : NOBODY);
	out->ret = m_map(ioas, store, op->flags | IOMMU_IOAS_MAP_FIXED_IOVA,
			 op->a, op->b, &iova, &out->other);
	m_drop(store);
}

static void i_map_dma(const struct op *op, struct outcome *out)
{
	struct vfio_iommu_type1_dma_map cmd = {
		.argsz = sizeof(cmd),
		.flags = (op->flags & IOMMU_IOAS_MAP_READABLE ?
			  VFIO_DMA_MAP_FLAG_READ : 0) |
			 (op->flags & IOMMU_IOAS_MAP_WRITEABLE ?
			  VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = op->a,
		.iova = op->c,
		.size = op->b,
	};

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_MAP_DMA, &cmd));
}

static void p_map_dma(const struct op *op)
{
	say("map_dma(fd%d, %s, 0x%llx, 0x%llx) /* %s */", op->ctx, va_name(op->a),
	    op->b, op->c, flag_names(op->flags));
}

static void g_unmap_dma(struct op *op)
{
	g_container(op);
	if (chance(10)) {
		op->flags = VFIO_DMA_UNMAP_FLAG_ALL;
		op->c = 0;
		op->b = chance(4) ? PAGE : 0;
	} else {
		op->flags = chance(30) ? 1 << 7 : 0;
	}
	/* A piece at the start, at the end, or in the middle */
	if (!op->flags && chance(2) && op->b > 2 * PAGE && op->b < 1 << 24) {
		op->c += rnd(2) * PAGE;
		op->b = chance(2) ? PAGE : op->b - rnd(3) * PAGE;
	}
}

static void m_unmap_dma(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	bool all = op->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	__u64 last = all ? MAX : op->c + op->b - 1;

	out->ret = op->flags & ~VFIO_DMA_UNMAP_FLAG_ALL ? -EINVAL : -ENODEV;
	if (out->ret == -EINVAL || !ioas)
		return;
	out->ret = all && (op->c || op->b) ? -EINVAL : 0;
	if (out->ret)
		return;
	out->nr = 1;
	if (!all)
		out->ret = op->c == MAX || op->b == MAX ? -EOVERFLOW :
			   !op->b ? -EINVAL : last < op->c ? -EOVERFLOW : 0;
	if (out->ret)
		return;
	if (!all && ioas->small_pages) {
		out->skip = is_full(ioas);
		if (out->skip)
			return;
		out->ret = m_cut(ioas, op->c);
		if (!out->ret && last != MAX)
			out->ret = m_cut(ioas, last + 1);
		/* The size is not written back */
		out->val[0] = op->b;
		if (out->ret)
			return;
	}
	out->ret = m_unmap(ioas, op->c, last, &out->val[0]);
}

static void i_unmap_dma(const struct op *op, struct outcome *out)
{
	struct vfio_iommu_type1_dma_unmap cmd = {
		.argsz = sizeof(cmd),
		.flags = op->flags,
		.iova = op->c,
		.size = op->b,
	};

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_UNMAP_DMA, &cmd));
	out->val[0] = cmd.size;
}

static void p_unmap_dma(const struct op *op)
{
	say("unmap_dma(fd%d, 0x%llx, 0x%llx, &bytes) /* flags %u */", op->ctx,
	    op->c, op->b, op->flags);
}

static void g_set_iommu(struct op *op)
{
	op->ctx = rnd(NCTX);
	op->a = ONE_OF(VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_TYPE1v2_IOMMU, 2);
}

static void m_set_iommu(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];

	if (op->a == 2)
		out->ret = -EINVAL;
	else if (!ioas)
		out->ret = -ENODEV;
	else if (op->a == VFIO_TYPE1_IOMMU)
		out->ret = m_set_huge(ioas, 0);
}

static void i_set_iommu(const struct op *op, struct outcome *out)
{
	out->ret = result(ioctl(fd_of(op), VFIO_SET_IOMMU, op->a));
}

static void p_set_iommu(const struct op *op)
{
	say("ioctl(fd%d, VFIO_SET_IOMMU, %llu)", op->ctx, op->a);
}

struct info {
	struct vfio_iommu_type1_info head;
	__u64 more[64];
};

static void g_get_info(struct op *op)
{
	op->ctx = rnd(NCTX);
	op->a = ONE_OF(sizeof(struct info), sizeof(struct info), 0, 16, 24, 40);
}

static void m_get_info(const struct op *op, struct outcome *out)
{
	struct object *ioas = w->container[op->ctx];
	struct ranges list;
	__u64 sizes = -PAGE;
	int i;

	out->ret = op->a < 16 ? -EINVAL : ioas ? 0 : -ENODEV;
	if (out->ret)
		return;
	for (i = 0; i <= w->next_slot; i++)
		if (w->objects[i].live && w->objects[i].type == HWPT &&
		    w->objects[i].ioas == ioas)
			sizes &= (w->objects[i].known ? w->objects[i].unit->sizes : 0) | PAGE;
	free_ranges(ioas, &list);
	out->val[0] = sizes;
	out->nr = 1;
	if (op->a != sizeof(struct info))
		return;
	out->val[1] = list.nr;
	out->nr = 2 + put_ranges(&list, MAX_RANGES, out->val + 2);
}

static void i_get_info(const struct op *op, struct outcome *out)
{
	struct info info = { .head.argsz = op->a };
	struct vfio_iommu_type1_info_cap_iova_range *cap;
	__u32 at, i;

	out->ret = result(ioctl(fd_of(op), VFIO_IOMMU_GET_INFO, &info));
	if (out->ret)
		return;
	out->val[0] = info.head.iova_pgsizes;
	at = op->a == sizeof(info) ? info.head.cap_offset : 0;
	for (; at; at = cap->header.next) {
		cap = (void *)&info + at;
		if (cap->header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		out->val[1] = cap->nr_iovas;
		for (i = 0; i < cap->nr_iovas && i < MAX_RANGES; i++) {
			out->val[2 * i + 2] = cap->iova_ranges[i].start;
			out->val[2 * i + 3] = cap->iova_ranges[i].end;
		}
	}
}

static void p_get_info(const struct op *op)
{
	say("get_info(fd%d, &info, %llu)", op->ctx, op->a);
}

const struct op_type container_ops[] = {
	{ "VFIO_IOAS", 4, ANYWHERE, false, g_vfio_ioas, m_vfio_ioas, i_vfio_ioas,
	  NULL, p_vfio_ioas, ERRNOS(-ENODEV, -ENOENT) },
	{ "MAP_DMA", 6, ANYWHERE, false, g_map_dma, m_map_dma, i_map_dma, NULL,
	  p_map_dma, ERRNOS(-ENODEV, -EOVERFLOW, -EEXIST) },
	{ "UNMAP_DMA", 6, ANYWHERE, false, g_unmap_dma, m_unmap_dma, i_unmap_dma,
	  NULL, p_unmap_dma, ERRNOS(-ENODEV, -ENOENT, -EOVERFLOW, -EBUSY, -EDEADLOCK) },
	{ "SET_IOMMU", 2, ANYWHERE, false, g_set_iommu, m_set_iommu, i_set_iommu,
	  NULL, p_set_iommu, ERRNOS(-ENODEV, -EADDRINUSE) },
	{ "GET_INFO", 2, ANYWHERE, false, g_get_info, m_get_info, i_get_info, NULL,
	  p_get_info, ERRNOS(-ENODEV) },
	{ }
};

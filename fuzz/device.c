// SPDX-License-Identifier: GPL-2.0-only
/* Devices and page tables; attach and detach also of real devices */
#include "ops.h"
#include "real.h"

static const struct ranges some_regions[] = {
	{ },
	{ 1, { { 0xfee00000, 0xfeefffff } } },
	{ 2, { { 0xfee00000, 0xfeefffff }, { GROUND + 8 * PAGE, GROUND + 9 * PAGE - 1 } } },
};

/*
 * @flags: which regions; @a: unit; @obj: device whose group it joins, 0 for
 * none
 */
static void g_device(struct op *op)
{
	op->slot = new_slots(3);
	op->ctx = rnd(NCTX);
	op->flags = chance(4) ? 2 : rnd(2);
	op->a = rnd(NR_UNITS);
	op->obj = chance(3) ? pick(op, DEVICE) : 0;
	if (op->obj && w->objects[op->obj].unit && !chance(10))
		op->a = w->objects[op->obj].unit - mock_units;
}

static void add_device(const struct op *op, const struct unit_kind *unit,
		       const struct ranges *regions, struct object *group)
{
	struct object *dev = m_new(op->slot, DEVICE, op->ctx), *idev;

	dev->unit = unit;
	dev->regions = *regions;
	dev->group = group ?: dev;
	idev = m_new(op->slot + 1, IDEV, op->ctx);
	idev->group = dev;
}

static void m_device(const struct op *op, struct outcome *out)
{
	struct object *sibling = op->obj ? &w->objects[op->obj] : NULL;

	out->skip = count_live(DEVICE) >= 6;
	if (sibling && (sibling->type != DEVICE || !sibling->live))
		out->skip = true;
	if (out->skip)
		return;
	if (sibling && sibling->unit != &mock_units[op->a]) {
		/* Another unit's bus has no such device */
		out->ret = -EINVAL;
		out->other = -ENOENT;
	} else if (sibling && sibling->ctx != op->ctx) {
		out->ret = -EPERM;
	} else {
		add_device(op, &mock_units[op->a], &some_regions[op->flags],
			   sibling ? sibling->group : NULL);
	}
}

static void i_device(const struct op *op, struct outcome *out)
{
	const struct unit_kind *unit = &mock_units[op->a];
	const struct ranges *list = &some_regions[op->flags];
	struct iommu_test_mock_region regions[2] = {};
	struct iommu_test_mock_config config = {
		.flags = unit->flags,
		.unit = op->a,
		.join = op->obj ? w->objects[op->obj].number : -1,
		.nr_regions = list->nr,
		.regions = (uintptr_t)regions,
		.aperture_start = unit->reach.start,
		.aperture_last = unit->reach.last,
		.page_sizes = unit->sizes,
	};
	struct mock mock = {};
	int i;

	for (i = 0; i < list->nr; i++)
		regions[i] = (struct iommu_test_mock_region){
			.start = list->at[i].start,
			.length = list->at[i].last - list->at[i].start + 1,
			.type = i ? MOCK_REGION_RESERVED : MOCK_REGION_MSI,
		};
	out->ret = result(mock_device(fd_of(op), 0, &config, &mock));
	out->ids[0] = mock.stdev;
	out->ids[1] = mock.idev;
	out->ids[2] = mock.number;
}

static void b_device(const struct op *op, const struct outcome *got)
{
	w->objects[op->slot].id = got->ids[0];
	w->objects[op->slot + 1].id = got->ids[1];
	w->objects[op->slot].number = got->ids[2];
}

static void p_device(const struct op *op)
{
	static const char *const regions[] = { "", ", an MSI window",
					       ", an MSI window, a region at 0x2008000" };

	say("mock_device(fd%d, 0, &unit%llu%s, &dev%d) /* join %s%s */", op->ctx,
	    op->a, "", op->slot, op->obj ? name_of(op->obj) : "none",
	    regions[op->flags]);
}

static void g_attach(struct op *op)
{
	op->slot = new_slots(1);
	op->obj = pick(op, DEVICE);
	op->obj2 = pick(op, chance(4) ? HWPT : IOAS);
	if (w->objects[op->obj].live)
		op->ctx = w->objects[op->obj].ctx;
	if (w->real)
		op->proc = 0;
}

static void m_attach_device(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE);
	struct object *to = find(op->ctx, op->obj2, ANY), *table = NULL;

	if (w->real && !dev) {
		out->skip = true;
		return;
	}
	out->ret = -ENOENT;
	if (!dev || !to)
		return;
	/*
	 * The mock accepts a page table of unit 0 for any unit, which no driver
	 * does
	 */
	if (to->type == HWPT && !to->known && to->unit != dev->unit) {
		out->skip = true;
		return;
	}
	out->ret = m_attach(dev, to, op->slot, &table, &out->other);
	if (out->ret)
		return;
	table->known = true;
	out->nr = !!table->id;
	out->val[0] = table->id;
}

static void b_attach(const struct op *op, const struct outcome *got)
{
	if (w->objects[op->slot].live)
		w->objects[op->slot].id = got->ids[0];
}

static void p_attach(const struct op *op)
{
	if (w->real)
		say("attach_pt(%s, %s, &hwpt)", name_of(op->obj), name_of(op->obj2));
	else
		say("hwpt = %s, mock_attach(fd%d, %s, &hwpt)",
		    name_of(op->obj2), op->ctx, name_of(op->obj));
	if (w->objects[op->slot].live)
		say(" /* makes hwpt%d */", op->slot);
}

void g_detach(struct op *op)
{
	op->obj = pick(op, DEVICE);
	if (w->real)
		op->proc = 0;
}

static void m_detach_device(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE);

	if (dev)
		m_detach(dev);
	else if (w->real)
		out->skip = true;
	else
		out->ret = -ENOENT;
}

static void p_detach(const struct op *op)
{
	if (w->real)
		say("detach_pt(%s)", name_of(op->obj));
	else
		say("mock_detach(fd%d, %s)", op->ctx, name_of(op->obj));
}

static void g_hwpt_alloc(struct op *op)
{
	op->slot = new_slots(1);
	op->obj = pick(op, IDEV);
	op->obj2 = pick(op, IOAS);
	if (w->objects[op->obj].live)
		op->ctx = w->objects[op->obj].ctx;
	some_mangle(op, true, true);
}

static void m_hwpt_alloc(const struct op *op, struct outcome *out)
{
	struct object *idev = find(op->ctx, op->obj, IDEV);
	struct object *ioas = find(op->ctx, op->obj2, ANY);
	struct object *dev = idev ? idev->group : NULL;
	bool live = dev && dev->group->table;

	if (spoiled(op, out))
		return;
	out->ret = -ENOENT;
	if (!idev || !ioas)
		return;
	out->ret = -EINVAL;
	if (ioas->type != IOAS)
		return;
	/*
	 * The mock reports small pages for a page table that was never attached
	 */
	if (!w->real && live && !(dev->unit->flags & MOCK_DEVICE_LATE) &&
	    dev->unit != &mock_units[0]) {
		out->skip = true;
		return;
	}
	out->ret = m_make_hwpt(dev, ioas, op->slot, &out->other);
	if (out->ret)
		return;
	w->objects[op->slot].known = !live;
	if (op->mangle == UNWRITABLE) {
		out->ret = -EFAULT;
		m_destroy(&w->objects[op->slot]);
	}
}

static void i_hwpt_alloc(const struct op *op, struct outcome *out)
{
	out->ret = result(alloc_hwpt(fd_of(op), id_of(op->obj), id_of(op->obj2),
				     &out->ids[0]));
}

static void p_hwpt_alloc(const struct op *op)
{
	say("alloc_hwpt(fd%d, %s, %s, &hwpt%d)", op->ctx, name_of(op->obj),
	    name_of(op->obj2), op->slot);
	spoil_name(op);
}

static void g_hw_info(struct op *op)
{
	op->obj = pick(op, IDEV);
	some_mangle(op, true, true);
}

static void m_hw_info(const struct op *op, struct outcome *out)
{
	if (spoiled(op, out))
		return;
	out->ret = !find(op->ctx, op->obj, IDEV) ? -ENOENT :
		   op->mangle == UNWRITABLE ? -EFAULT : 0;
	if (!out->ret) {
		out->nr = 1;
		out->val[0] = w->real ? IOMMU_HW_INFO_TYPE_INTEL_VTD :
					IOMMU_HW_INFO_TYPE_SELFTEST;
	}
}

static void i_hw_info(const struct op *op, struct outcome *out)
{
	__u32 length = 0, type = 0;

	out->ret = result(hw_info(fd_of(op), id_of(op->obj), NULL, &length, &type));
	out->val[0] = type;
}

static void p_hw_info(const struct op *op)
{
	say("hw_info(fd%d, %s, NULL, &length, &type)", op->ctx, name_of(op->obj));
	spoil_name(op);
}

/* @a: IOVA, @b: bytes, @c: data to write, @flags: MOCK_ACCESS_RW_WRITE or 0 */
void g_dma(struct op *op)
{
	struct object *dev, *ioas = NULL;

	op->obj = pick(op, DEVICE);
	dev = find(op->ctx, op->obj, DEVICE);
	if (dev && dev->group->table)
		ioas = dev->group->table->ioas;
	op->flags = chance(2) ? MOCK_ACCESS_RW_WRITE : 0;
	op->a = some_iova(ioas);
	if (ioas && ioas->nr && !chance(4)) {
		struct area *a = &ioas->areas[rnd(ioas->nr)];

		op->a = chance(2) ? a->start : a->last - rnd(PAGE);
		if (chance(3))
			op->a = a->start + rnd(a->last - a->start + 1);
		/* Where the kernel begins the next batch of pages */
		if (a->last - a->start > 512 * PAGE && chance(2))
			op->a = a->start + (510 + rnd(4)) * PAGE;
	}
	op->b = ONE_OF(1, 8, 64, 100, PAGE / 2, PAGE, 5000);
	op->c = rnd(MAX);
}

/* Bytes that a mock device transfers at once */
static __u64 piece(__u64 iova, __u64 left)
{
	__u64 to_end = MOCK_PAGE - iova % MOCK_PAGE;

	return left < to_end ? left : to_end;
}

/* Effect of a device's DMA on memory */
static void m_dma(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE), *table;
	bool write = op->flags & MOCK_ACCESS_RW_WRITE;
	unsigned char data[sizeof(out->data)];
	__u64 done, size;

	if (!dev) {
		out->ret = -ENOENT;
		return;
	}
	table = dev->group->table;
	pattern(data, op->b, op->c);
	for (done = 0; done < op->b && !out->ret; done += size) {
		__u64 iova = op->a + done;
		struct area *area = table ? area_at(table->ioas, iova) : NULL;
		struct frame *frame;

		size = piece(iova, op->b - done);
		if (!area) {
			out->ret = -ENXIO;
		} else if (!(area->prot & (write ? IOMMU_IOAS_MAP_WRITEABLE :
						   IOMMU_IOAS_MAP_READABLE))) {
			out->ret = -EPERM;
		} else {
			__u64 at = (area->pos + (iova - area->start)) % PAGE;

			frame = frame_at(area, iova);
			if (write)
				memcpy(frame->data + at, data + done, size);
			else
				memcpy(out->data + done, frame->data + at, size);
		}
	}
	out->check = write || out->ret ? 0 : op->b;
}

static void i_dma(const struct op *op, struct outcome *out)
{
	if (op->flags & MOCK_ACCESS_RW_WRITE)
		pattern(out->data, op->b, op->c);
	out->ret = result(mock_dma(fd_of(op), id_of(op->obj), op->a, out->data,
				   op->b, op->flags));
}

static void p_dma(const struct op *op)
{
	say("mock_dma(fd%d, %s, 0x%llx, data, %llu, %s)", op->ctx,
	    name_of(op->obj), op->a, op->b,
	    op->flags ? "MOCK_ACCESS_RW_WRITE" : "0");
}

static void i_attach(const struct op *op, struct outcome *out)
{
	__u32 id = id_of(op->obj2);

	out->ret = result(w->real ? real_attach(op, &id) :
			  mock_attach(fd_of(op), id_of(op->obj), &id));
	out->ids[0] = id;
	out->val[0] = id;
}

static void i_detach(const struct op *op, struct outcome *out)
{
	out->ret = result(w->real ? real_detach(op) :
			  mock_detach(fd_of(op), id_of(op->obj)));
}

const struct op_type device_ops[] = {
	{ "device", 7, MOCK, true, g_device, m_device, i_device, b_device,
	  p_device, ERRNOS(-ENOENT, -EPERM, -EBUSY) },
	{ "ATTACH", 14, ANYWHERE, false, g_attach, m_attach_device, i_attach,
	  b_attach, p_attach, ERRNOS(-ENOENT, -EADDRINUSE) },
	{ "DETACH", 3, ANYWHERE, false, g_detach, m_detach_device, i_detach, NULL,
	  p_detach, ERRNOS(-ENOENT) },
	{ "HWPT_ALLOC", 6, ANYWHERE, false, g_hwpt_alloc, m_hwpt_alloc,
	  i_hwpt_alloc, b_slot, p_hwpt_alloc,
	  ERRNOS(-ENOENT, -EADDRINUSE, -ENOSPC, -EXDEV) },
	{ "GET_HW_INFO", 1, ANYWHERE, false, g_hw_info, m_hw_info, i_hw_info, NULL,
	  p_hw_info, ERRNOS(-ENOENT) },
	{ "DMA", 24, MOCK, false, g_dma, m_dma, i_dma, NULL, p_dma,
	  ERRNOS(-ENOENT, -ENXIO, -EPERM) },
	{ }
};

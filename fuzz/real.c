// SPDX-License-Identifier: GPL-2.0-only
/*
 * Real devices: the three edu devices of the test VM, through their cdevs. Two
 * of them share an IOMMU group. The IOMMU is VT-d with 48 bits.
 */
#include "world.h"
/* Both headers define one */
#define vfio_ioas vfio_ioas_too
#include "../linux/tools/testing/selftests/vfio/vfio_util.h"
#include "ops.h"
#include "real.h"

static struct pci_dev devs[3];

/* struct buffer - contents of a device's buffer, as far as @known */
struct buffer {
	unsigned char data[PAGE];
	bool known[PAGE];
};

/* Bind the devices to vfio-pci */
int real_prepare(void)
{
	int i;

	if (find_edu_alone(&devs[0]) || find_edu_pair(&devs[1], &devs[2]))
		return -1;
	for (i = 0; i < 3; i++)
		if (bind_vfio_pci(&devs[i]))
			return -1;
	return 0;
}

static struct object *opened(__u64 nr)
{
	int i;

	for (i = 0; i <= w->next_slot; i++)
		if (w->objects[i].live && w->objects[i].type == DEVICE &&
		    w->objects[i].number == nr)
			return &w->objects[i];
	return NULL;
}

/* @a: which device */
static void g_open(struct op *op)
{
	op->proc = 0;
	op->a = rnd(3);
	op->ctx = chance(6);
	op->slot = w->next_slot + 1;
	w->next_slot += 2;
}

static void m_open(const struct op *op, struct outcome *out)
{
	struct object *sibling = op->a ? opened(3 - op->a) : NULL;
	struct object *dev, *idev;

	out->skip = opened(op->a);
	if (out->skip)
		return;
	if (sibling && sibling->ctx != op->ctx) {
		out->ret = -EPERM;
		out->other = -EBUSY;
		return;
	}
	dev = m_new(op->slot, DEVICE, op->ctx);
	dev->number = op->a;
	dev->buffer = calloc(1, sizeof(*dev->buffer));
	dev->unit = &vtd_unit;
	dev->regions = (struct ranges){ 1, { { MSI_START, MSI_LAST } } };
	dev->group = sibling ? sibling->group : dev;
	idev = m_new(op->slot + 1, IDEV, op->ctx);
	idev->group = dev;
}

static void i_open(const struct op *op, struct outcome *out)
{
	struct object *dev = &w->objects[op->slot];
	struct edu *edu = calloc(1, sizeof(*edu));
	int fd = open_cdev(&devs[op->a]);

	out->ret = fd < 0 ? -errno : 0;
	if (out->ret)
		return;
	if (bind_iommufd(fd, w->ctx[op->ctx], &out->ids[0]) ||
	    edu_open(edu, fd)) {
		out->ret = -errno;
		close(fd);
		return;
	}
	dev->fd = fd;
	dev->edu = edu;
}

/* The device itself has no id; give it one that no object has */
static void b_open(const struct op *op, const struct outcome *got)
{
	w->objects[op->slot].id = 0x40000000 + op->slot;
	w->objects[op->slot + 1].id = got->ids[0];
}

static void p_open(const struct op *op)
{
	say("open_cdev(&edu[%llu]), bind_iommufd(dev%d, fd%d, &idev%d)", op->a,
	    op->slot, op->ctx, op->slot + 1);
}

/* A mapping of its registers would keep the device open */
int real_close(struct object *dev)
{
	edu_close(dev->edu);
	return close(dev->fd);
}

static void i_close_device(const struct op *op, struct outcome *out)
{
	out->ret = real_close(&w->objects[op->obj]) ? -errno : 0;
}

static void m_close_device(const struct op *op, struct outcome *out)
{
	struct object *dev = &w->objects[op->obj];

	out->skip = !dev->live || dev->type != DEVICE;
	if (!out->skip)
		m_unbind(dev);
}

static void p_close_device(const struct op *op)
{
	say("close(%s)", name_of(op->obj));
}

int real_attach(const struct op *op, __u32 *id)
{
	return attach_pt(w->objects[op->obj].fd, *id, id);
}

int real_detach(const struct op *op)
{
	return detach_pt(w->objects[op->obj].fd);
}

/* A transfer takes 100 ms, so most go where something is mapped */
static void g_real_dma(struct op *op)
{
	g_dma(op);
	op->proc = 0;
	if (op->b > EDU_MAX)
		op->b = EDU_MAX;
}

/*
 * A transfer is between memory and the device's buffer. Errors are not
 * reported: what can't be written does not arrive, and what can't be read is
 * unknown.
 */
static void m_real_dma(const struct op *op, struct outcome *out)
{
	struct object *dev = find(op->ctx, op->obj, DEVICE), *table;
	bool write = op->flags & MOCK_ACCESS_RW_WRITE;
	__u32 prot = write ? IOMMU_IOAS_MAP_WRITEABLE : IOMMU_IOAS_MAP_READABLE;
	int try;
	__u64 i;

	if (!dev) {
		out->skip = true;
		return;
	}
	table = dev->group->table;
	for (try = 1; try >= 0; try--) {
		for (i = 0; i < op->b; i++) {
			struct area *area = table ? area_at(table->ioas,
							    op->a + i) : NULL;
			unsigned char *byte;

			if (!area || !(area->prot & prot)) {
				if (!try && !write)
					dev->buffer->known[i] = false;
				continue;
			}
			byte = frame_at(area, op->a + i)->data +
			       (area->pos + op->a + i - area->start) % PAGE;
			if (try && write && !dev->buffer->known[i])
				out->skip = true;
			else if (!try && write)
				*byte = dev->buffer->data[i];
			else if (!try)
				dev->buffer->data[i] = *byte;
			if (!try && !write)
				dev->buffer->known[i] = true;
		}
		if (out->skip)
			return;
	}
}

static void i_real_dma(const struct op *op, struct outcome *out)
{
	struct object *dev = &w->objects[op->obj];

	if (op->flags & MOCK_ACCESS_RW_WRITE)
		out->ret = edu_dma_to_ram(dev->edu, op->a, op->b) ? -EIO : 0;
	else
		out->ret = edu_dma_from_ram(dev->edu, op->a, op->b) ? -EIO : 0;
}

static void p_real_dma(const struct op *op)
{
	say("edu_dma_%s_ram(&edu%d, 0x%llx, %llu)", op->flags ? "to" : "from",
	    op->obj, op->a, op->b);
}

const struct op_type real_ops[] = {
	{ "open", 6, REAL, true, g_open, m_open, i_open, b_open, p_open, ERRNOS(0) },
	{ "close", 1, REAL, true, g_detach, m_close_device, i_close_device, NULL,
	  p_close_device, ERRNOS(0) },
	{ "dma", 12, REAL, true, g_real_dma, m_real_dma, i_real_dma, NULL, p_real_dma,
	  ERRNOS(0) },
	{ }
};

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mediated device for tests. It pins and copies memory as a program tells it
 * to, see mdpin.h. It can also do what a driver must not do: ignore
 * dma_unmap(), or forget what it has pinned.
 *
 * Types:
 *
 *	mdpin-unmap	unpins in dma_unmap(), with a mutex held that is held
 *			around pinning too
 *	mdpin-nounmap	has no dma_unmap()
 *	mdpin-physical	is registered as a physical device, which must not pin; it
 *			has no IOMMU, so it needs enable_unsafe_noiommu_mode
 *
 * It is a PCI device without interrupts, which QEMU can assign to a guest. It
 * can be migrated: its data is saved and restored.
 */
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>

#include <asm/unaligned.h>

#include "mdpin.h"

#define MAX_PINS 1024

static unsigned int fail_open;
module_param(fail_open, uint, 0644);
MODULE_PARM_DESC(fail_open, "Errno with which each open of a device fails, or 0");

/* Offset of the configuration space in the device file, after the BAR */
#define CONFIG_OFFSET MDPIN_BAR_SIZE

/* A pin; a page that is pinned several times has several */
struct mdpin_pin {
	unsigned long index;
	struct page *page;
};

/* Data that is transferred when the device migrates */
struct mdpin_image {
	__le32 magic;
	u8 data[MDPIN_DATA_SIZE];
};

#define MDPIN_MAGIC 0x6e69706d

/*
 * struct mdpin_transfer - a file through which userspace reads or writes the
 * image
 * @ended: the device has left the state that the file is for
 * @done: number of bytes transferred
 */
struct mdpin_transfer {
	/* Protects the members below */
	struct mutex lock;
	bool ended;
	loff_t done;
	struct mdpin_image image;
};

/*
 * @cmd: what was written so far of a command in parts
 * @found: pages that are being pinned
 */
struct mdpin {
	struct vfio_device vdev;
	bool open;
	u8 data[MDPIN_DATA_SIZE];
	u8 config[PCI_CFG_SPACE_SIZE];
	struct mdpin_cmd cmd;
	unsigned int sleep;

	/* Held for read while a command is executed. Protects the two below */
	struct rw_semaphore migration_lock;
	enum vfio_device_mig_state migration_state;
	struct file *transfer;

	/* Held around pinning. Protects the members below */
	struct mutex lock;
	unsigned int ignore;
	struct mdpin_state state;
	struct mdpin_pin pins[MAX_PINS];
	struct page *found[VFIO_PIN_PAGES_MAX_ENTRIES];
};

struct mdpin_type {
	struct mdev_type type;
	const struct vfio_device_ops *ops;
	int (*register_dev)(struct vfio_device *vdev);
};

struct mdpin_work {
	struct work_struct work;
	struct mdpin *mdpin;
	const struct mdpin_cmd *cmd;
	int ret;
};

static struct mdpin *to_mdpin(struct vfio_device *vdev)
{
	return container_of(vdev, struct mdpin, vdev);
}

static struct mdpin_pin *find_pin(struct mdpin *mdpin, unsigned long first,
				  unsigned long last)
{
	struct mdpin_pin *pin;

	for (pin = mdpin->pins; pin < mdpin->pins + mdpin->state.pins; pin++)
		if (pin->index >= first && pin->index <= last)
			return pin;
	return NULL;
}

static void forget_pin(struct mdpin *mdpin, struct mdpin_pin *pin)
{
	*pin = mdpin->pins[--mdpin->state.pins];
}

/* Drop all pins in a range */
static void unpin_range(struct mdpin *mdpin, u64 iova, u64 last)
{
	struct mdpin_pin *pin;

	while ((pin = find_pin(mdpin, iova >> PAGE_SHIFT,
			       last >> PAGE_SHIFT))) {
		vfio_unpin_pages(&mdpin->vdev,
				 (dma_addr_t)pin->index << PAGE_SHIFT, 1);
		forget_pin(mdpin, pin);
	}
}

static int do_pin(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	int prot = IOMMU_READ;
	int i, ret;

	if (cmd->count > MAX_PINS - mdpin->state.pins)
		return -ENOSPC;
	if (cmd->flags & MDPIN_FLAG_WRITE)
		prot |= IOMMU_WRITE;
	ret = vfio_pin_pages(&mdpin->vdev, cmd->iova, cmd->count, prot,
			     mdpin->found);
	for (i = 0; i < ret; i++)
		mdpin->pins[mdpin->state.pins++] = (struct mdpin_pin) {
			.index = (cmd->iova >> PAGE_SHIFT) + i,
			.page = mdpin->found[i],
		};
	return ret < 0 ? ret : 0;
}

/* Unlike unpin_range(), pass also pages that are not pinned to VFIO */
static int do_unpin(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	unsigned long index = cmd->iova >> PAGE_SHIFT;
	struct mdpin_pin *pin;
	u32 i;

	if (!cmd->count || cmd->count > VFIO_PIN_PAGES_MAX_ENTRIES)
		return -EINVAL;
	if (cmd->op == MDPIN_UNPIN)
		vfio_unpin_pages(&mdpin->vdev, cmd->iova, cmd->count);
	for (i = 0; i < cmd->count; i++) {
		pin = find_pin(mdpin, index + i, index + i);
		if (pin)
			forget_pin(mdpin, pin);
	}
	return 0;
}

static int do_copy_pinned(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	unsigned long index = cmd->iova >> PAGE_SHIFT;
	size_t offset = offset_in_page(cmd->iova);
	struct mdpin_pin *pin = find_pin(mdpin, index, index);

	if (!pin)
		return -ENOENT;
	if (cmd->count > min_t(size_t, PAGE_SIZE - offset, MDPIN_DATA_SIZE))
		return -EINVAL;
	if (cmd->op == MDPIN_LOAD)
		memcpy_from_page(mdpin->data, pin->page, offset, cmd->count);
	else
		memcpy_to_page(pin->page, offset, mdpin->data, cmd->count);
	return 0;
}

static int do_locked(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	switch (cmd->op) {
	case MDPIN_PIN:
		return do_pin(mdpin, cmd);
	case MDPIN_UNPIN:
	case MDPIN_FORGET:
		return do_unpin(mdpin, cmd);
	case MDPIN_LOAD:
	case MDPIN_STORE:
		return do_copy_pinned(mdpin, cmd);
	case MDPIN_IGNORE:
		mdpin->ignore = cmd->count;
		return 0;
	case MDPIN_SLEEP:
		WRITE_ONCE(mdpin->sleep, cmd->count);
		return 0;
	default:
		return -EINVAL;
	}
}

static int do_cmd(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	int ret;

	if (cmd->op == MDPIN_READ || cmd->op == MDPIN_WRITE) {
		if (cmd->count > MDPIN_DATA_SIZE)
			return -EINVAL;
		return vfio_dma_rw(&mdpin->vdev, cmd->iova, mdpin->data,
				   cmd->count, cmd->op == MDPIN_WRITE);
	}

	mutex_lock(&mdpin->lock);
	ret = do_locked(mdpin, cmd);
	mutex_unlock(&mdpin->lock);
	return ret;
}

static void do_work(struct work_struct *arg)
{
	struct mdpin_work *work = container_of(arg, struct mdpin_work, work);

	work->ret = do_cmd(work->mdpin, work->cmd);
}

static int do_cmd_in_worker(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	struct mdpin_work work = { .mdpin = mdpin, .cmd = cmd };

	INIT_WORK_ONSTACK(&work.work, do_work);
	queue_work(system_unbound_wq, &work.work);
	flush_work(&work.work);
	destroy_work_on_stack(&work.work);
	return work.ret;
}

static int do_cmd_if_running(struct mdpin *mdpin, const struct mdpin_cmd *cmd)
{
	int ret = -EBUSY;

	down_read(&mdpin->migration_lock);
	if (mdpin->migration_state == VFIO_DEVICE_STATE_RUNNING)
		ret = cmd->flags & MDPIN_FLAG_WORKER ?
			do_cmd_in_worker(mdpin, cmd) : do_cmd(mdpin, cmd);
	up_read(&mdpin->migration_lock);
	return ret;
}

/* A guest can only write a command in parts */
static int write_cmd(struct mdpin *mdpin, const char __user *buf, size_t offset,
		     size_t count)
{
	struct mdpin_cmd cmd = mdpin->cmd;

	if (copy_from_user((char *)&cmd + offset, buf, count))
		return -EFAULT;
	if (offset + count == sizeof(cmd))
		return do_cmd_if_running(mdpin, &cmd);
	mdpin->cmd = cmd;
	return 0;
}

/* Only the command register can be written */
static int write_config(struct mdpin *mdpin, const char __user *buf,
			size_t offset, size_t count)
{
	__le16 command;

	if (offset != PCI_COMMAND || count != sizeof(command))
		return 0;
	if (copy_from_user(&command, buf, count))
		return -EFAULT;
	memcpy(mdpin->config + offset, &command, count);
	return 0;
}

static bool is_in(loff_t pos, size_t count, loff_t offset, size_t size)
{
	return pos >= offset && pos < offset + size &&
	       count <= offset + size - pos;
}

static ssize_t mdpin_write(struct vfio_device *vdev, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	struct mdpin *mdpin = to_mdpin(vdev);
	int ret = 0;

	if (is_in(*ppos, count, MDPIN_CMD, sizeof(mdpin->cmd)))
		ret = write_cmd(mdpin, buf, *ppos - MDPIN_CMD, count);
	else if (is_in(*ppos, count, CONFIG_OFFSET, sizeof(mdpin->config)))
		ret = write_config(mdpin, buf, *ppos - CONFIG_OFFSET, count);
	else if (!is_in(*ppos, count, MDPIN_DATA, MDPIN_DATA_SIZE))
		ret = -EINVAL;
	else if (copy_from_user(mdpin->data + *ppos, buf, count))
		ret = -EFAULT;
	if (ret)
		return ret;
	*ppos += count;
	return count;
}

static ssize_t mdpin_read(struct vfio_device *vdev, char __user *buf,
			  size_t count, loff_t *ppos)
{
	struct mdpin *mdpin = to_mdpin(vdev);
	struct mdpin_state state;

	if (*ppos == MDPIN_STATE && count == sizeof(state)) {
		mutex_lock(&mdpin->lock);
		state = mdpin->state;
		mutex_unlock(&mdpin->lock);
		if (copy_to_user(buf, &state, count))
			return -EFAULT;
	} else if (is_in(*ppos, count, CONFIG_OFFSET, sizeof(mdpin->config))) {
		if (copy_to_user(buf, mdpin->config + *ppos - CONFIG_OFFSET,
				 count))
			return -EFAULT;
	} else if (is_in(*ppos, count, MDPIN_DATA, MDPIN_DATA_SIZE)) {
		if (copy_to_user(buf, mdpin->data + *ppos, count))
			return -EFAULT;
	} else {
		return -EINVAL;
	}
	*ppos += count;
	return count;
}

static long get_info(void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long get_region_info(void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.flags = 0;
	info.cap_offset = 0;
	info.size = 0;
	info.offset = 0;
	if (info.index == VFIO_PCI_BAR0_REGION_INDEX) {
		info.size = MDPIN_BAR_SIZE;
	} else if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info.size = PCI_CFG_SPACE_SIZE;
		info.offset = CONFIG_OFFSET;
	}
	if (info.size)
		info.flags = VFIO_REGION_INFO_FLAG_READ |
			     VFIO_REGION_INFO_FLAG_WRITE;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long get_irq_info(void __user *arg)
{
	const size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	/* No error interrupt: the bus can't report errors */
	if (info.argsz < minsz || info.index >= VFIO_PCI_ERR_IRQ_INDEX)
		return -EINVAL;
	info.flags = 0;
	info.count = 0;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static ssize_t transfer_read(struct file *filp, char __user *buf, size_t count,
			     loff_t *ppos)
{
	struct mdpin_transfer *transfer = filp->private_data;
	ssize_t ret = -ENODEV;

	mutex_lock(&transfer->lock);
	if (!transfer->ended)
		ret = simple_read_from_buffer(buf, count, &transfer->done,
					      &transfer->image,
					      sizeof(transfer->image));
	mutex_unlock(&transfer->lock);
	return ret;
}

static ssize_t transfer_write(struct file *filp, const char __user *buf,
			      size_t count, loff_t *ppos)
{
	struct mdpin_transfer *transfer = filp->private_data;
	ssize_t ret = -ENODEV;

	mutex_lock(&transfer->lock);
	if (!transfer->ended)
		ret = simple_write_to_buffer(&transfer->image,
					     sizeof(transfer->image),
					     &transfer->done, buf, count);
	mutex_unlock(&transfer->lock);
	return ret || !count ? ret : -ENOSPC;
}

static int transfer_release(struct inode *inode, struct file *filp)
{
	kfree(filp->private_data);
	return 0;
}

static const struct file_operations transfer_fops = {
	.owner = THIS_MODULE,
	.read = transfer_read,
	.write = transfer_write,
	.release = transfer_release,
	.llseek = no_llseek,
};

/* The file is for userspace; the device has a reference. O_RDONLY: save */
static struct file *begin_transfer(struct mdpin *mdpin, int flags)
{
	struct mdpin_transfer *transfer;
	struct file *filp;

	transfer = kzalloc(sizeof(*transfer), GFP_KERNEL_ACCOUNT);
	if (!transfer)
		return ERR_PTR(-ENOMEM);
	mutex_init(&transfer->lock);
	if (flags == O_RDONLY) {
		transfer->image.magic = cpu_to_le32(MDPIN_MAGIC);
		memcpy(transfer->image.data, mdpin->data, MDPIN_DATA_SIZE);
	}
	filp = anon_inode_getfile("mdpin-migration", &transfer_fops, transfer,
				  flags);
	if (IS_ERR(filp)) {
		kfree(transfer);
		return filp;
	}
	stream_open(filp->f_inode, filp);
	mdpin->transfer = get_file(filp);
	return filp;
}

/* With @load, what was written becomes the data of the device */
static int end_transfer(struct mdpin *mdpin, bool load)
{
	struct mdpin_transfer *transfer = mdpin->transfer->private_data;
	int ret = 0;

	mutex_lock(&transfer->lock);
	transfer->ended = true;
	if (load) {
		if (transfer->done == sizeof(transfer->image) &&
		    transfer->image.magic == cpu_to_le32(MDPIN_MAGIC))
			memcpy(mdpin->data, transfer->image.data,
			       MDPIN_DATA_SIZE);
		else
			ret = -EINVAL;
	}
	mutex_unlock(&transfer->lock);
	fput(mdpin->transfer);
	mdpin->transfer = NULL;
	return ret;
}

/* Take one arc, to a state from vfio_mig_get_next_state() */
static struct file *enter_state(struct mdpin *mdpin,
				enum vfio_device_mig_state next)
{
	struct file *filp = NULL;
	int ret;

	if (mdpin->transfer) {
		ret = end_transfer(mdpin, mdpin->migration_state ==
						  VFIO_DEVICE_STATE_RESUMING);
		if (ret) {
			mdpin->migration_state = VFIO_DEVICE_STATE_ERROR;
			return ERR_PTR(ret);
		}
	}
	if (next == VFIO_DEVICE_STATE_STOP_COPY)
		filp = begin_transfer(mdpin, O_RDONLY);
	else if (next == VFIO_DEVICE_STATE_RESUMING)
		filp = begin_transfer(mdpin, O_WRONLY);
	if (!IS_ERR(filp))
		mdpin->migration_state = next;
	return filp;
}

static struct file *mdpin_set_state(struct vfio_device *vdev,
				    enum vfio_device_mig_state new_state)
{
	struct mdpin *mdpin = to_mdpin(vdev);
	enum vfio_device_mig_state next;
	struct file *filp = NULL;
	int ret;

	down_write(&mdpin->migration_lock);
	/*
	 * vfio_mig_get_next_state() warns of this state; only a reset ends it
	 */
	if (mdpin->migration_state == VFIO_DEVICE_STATE_ERROR)
		filp = ERR_PTR(-EINVAL);
	while (!IS_ERR(filp) && mdpin->migration_state != new_state) {
		ret = vfio_mig_get_next_state(vdev, mdpin->migration_state,
					      new_state, &next);
		filp = ret ? ERR_PTR(ret) : enter_state(mdpin, next);
	}
	up_write(&mdpin->migration_lock);
	return filp;
}

static int mdpin_get_state(struct vfio_device *vdev,
			   enum vfio_device_mig_state *state)
{
	struct mdpin *mdpin = to_mdpin(vdev);

	down_read(&mdpin->migration_lock);
	*state = mdpin->migration_state;
	up_read(&mdpin->migration_lock);
	return 0;
}

static const struct vfio_migration_ops mdpin_migration_ops = {
	.migration_set_state = mdpin_set_state,
	.migration_get_state = mdpin_get_state,
};

static void restart(struct mdpin *mdpin)
{
	down_write(&mdpin->migration_lock);
	if (mdpin->transfer)
		end_transfer(mdpin, false);
	mdpin->migration_state = VFIO_DEVICE_STATE_RUNNING;
	memset(mdpin->data, 0, sizeof(mdpin->data));
	memset(&mdpin->cmd, 0, sizeof(mdpin->cmd));
	memset(mdpin->config, 0, sizeof(mdpin->config));
	put_unaligned_le16(MDPIN_VENDOR_ID, mdpin->config + PCI_VENDOR_ID);
	put_unaligned_le16(MDPIN_DEVICE_ID, mdpin->config + PCI_DEVICE_ID);
	mdpin->config[PCI_CLASS_DEVICE + 1] = PCI_CLASS_OTHERS;
	up_write(&mdpin->migration_lock);
}

static long mdpin_ioctl(struct vfio_device *vdev, unsigned int cmd,
			unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info((void __user *)arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info((void __user *)arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info((void __user *)arg);
	case VFIO_DEVICE_RESET:
		restart(to_mdpin(vdev));
		return 0;
	default:
		return -ENOTTY;
	}
}

static void mdpin_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct mdpin *mdpin = to_mdpin(vdev);

	/* VFIO calls this only while the device is open, and waits for its end */
	WARN_ON(!READ_ONCE(mdpin->open));
	if (READ_ONCE(mdpin->sleep))
		msleep(mdpin->sleep);
	WARN_ON(!READ_ONCE(mdpin->open));

	mutex_lock(&mdpin->lock);
	mdpin->state.unmaps++;
	mdpin->state.total_unmaps++;
	mdpin->state.iova = iova;
	mdpin->state.length = length;
	if (mdpin->ignore)
		mdpin->ignore--;
	else
		unpin_range(mdpin, iova, iova + length - 1);
	mutex_unlock(&mdpin->lock);
}

static int mdpin_open_device(struct vfio_device *vdev)
{
	struct mdpin *mdpin = to_mdpin(vdev);
	unsigned int error = READ_ONCE(fail_open);

	if (error)
		return error <= MAX_ERRNO ? -(int)error : -EINVAL;
	mdpin->sleep = 0;
	mdpin->ignore = 0;
	mdpin->state = (struct mdpin_state) {
		.kvm = !!vdev->kvm,
		.total_unmaps = mdpin->state.total_unmaps,
	};
	restart(mdpin);
	WRITE_ONCE(mdpin->open, true);
	return 0;
}

static void mdpin_close_device(struct vfio_device *vdev)
{
	struct mdpin *mdpin = to_mdpin(vdev);

	/* Until it drops its pins the device may write to the pages */
	if (mdpin->sleep && mdpin->state.pins)
		msleep(mdpin->sleep);
	mutex_lock(&mdpin->lock);
	unpin_range(mdpin, 0, U64_MAX);
	mutex_unlock(&mdpin->lock);
	restart(mdpin);
	WRITE_ONCE(mdpin->open, false);
	if (mdpin->sleep)
		msleep(mdpin->sleep);
}

static const struct vfio_device_ops mdpin_ops = {
	.name = "vfio-mdpin",
	.release = vfio_free_device,
	.open_device = mdpin_open_device,
	.close_device = mdpin_close_device,
	.read = mdpin_read,
	.write = mdpin_write,
	.ioctl = mdpin_ioctl,
	.dma_unmap = mdpin_dma_unmap,
};

static const struct vfio_device_ops mdpin_no_unmap_ops = {
	.name = "vfio-mdpin",
	.release = vfio_free_device,
	.open_device = mdpin_open_device,
	.close_device = mdpin_close_device,
	.read = mdpin_read,
	.write = mdpin_write,
	.ioctl = mdpin_ioctl,
};

static int mdpin_probe(struct mdev_device *mdev)
{
	struct mdpin_type *type =
		container_of(mdev->type, struct mdpin_type, type);
	struct mdpin *mdpin;
	int ret;

	mdpin = vfio_alloc_device(mdpin, vdev, &mdev->dev, type->ops);
	if (IS_ERR(mdpin))
		return PTR_ERR(mdpin);
	mutex_init(&mdpin->lock);
	init_rwsem(&mdpin->migration_lock);
	mdpin->vdev.mig_ops = &mdpin_migration_ops;
	mdpin->vdev.migration_flags = VFIO_MIGRATION_STOP_COPY;

	ret = type->register_dev(&mdpin->vdev);
	if (ret) {
		vfio_put_device(&mdpin->vdev);
		return ret;
	}
	dev_set_drvdata(&mdev->dev, mdpin);
	return 0;
}

static void mdpin_remove(struct mdev_device *mdev)
{
	struct mdpin *mdpin = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&mdpin->vdev);
	vfio_put_device(&mdpin->vdev);
}

static struct mdpin_type mdpin_types[] = {
	{
		.type.sysfs_name = "unmap",
		.ops = &mdpin_ops,
		.register_dev = vfio_register_emulated_iommu_dev,
	}, {
		.type.sysfs_name = "nounmap",
		.ops = &mdpin_no_unmap_ops,
		.register_dev = vfio_register_emulated_iommu_dev,
	}, {
		.type.sysfs_name = "physical",
		.ops = &mdpin_ops,
		.register_dev = vfio_register_group_dev,
	},
};

static struct mdev_type *mdpin_mdev_types[] = {
	&mdpin_types[0].type, &mdpin_types[1].type, &mdpin_types[2].type,
};

static struct mdev_driver mdpin_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = 16,
	.driver = {
		.name = "mdpin",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
	.probe = mdpin_probe,
	.remove = mdpin_remove,
};

/* The names of the types begin with the name of the class */
static struct class *mdpin_class;
static struct device *mdpin_dev;
static struct mdev_parent mdpin_parent;

static int __init mdpin_init(void)
{
	int ret;

	ret = mdev_register_driver(&mdpin_driver);
	if (ret)
		return ret;

	mdpin_class = class_create(THIS_MODULE, "mdpin");
	ret = PTR_ERR_OR_ZERO(mdpin_class);
	if (ret)
		goto err_driver;
	mdpin_dev = device_create(mdpin_class, NULL, 0, NULL, "mdpin");
	ret = PTR_ERR_OR_ZERO(mdpin_dev);
	if (ret)
		goto err_class;

	ret = mdev_register_parent(&mdpin_parent, mdpin_dev, &mdpin_driver,
				   mdpin_mdev_types,
				   ARRAY_SIZE(mdpin_mdev_types));
	if (ret)
		goto err_device;
	return 0;

err_device:
	device_unregister(mdpin_dev);
err_class:
	class_destroy(mdpin_class);
err_driver:
	mdev_unregister_driver(&mdpin_driver);
	return ret;
}
module_init(mdpin_init);

static void __exit mdpin_exit(void)
{
	mdev_unregister_parent(&mdpin_parent);
	device_unregister(mdpin_dev);
	class_destroy(mdpin_class);
	mdev_unregister_driver(&mdpin_driver);
}
module_exit(mdpin_exit);

MODULE_DESCRIPTION("Mediated device for tests, which pins memory");
MODULE_LICENSE("GPL");

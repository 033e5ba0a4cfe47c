// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vfio/devices/vfioX: one character device for each vfio device.
 *
 * Who opens the node has a file that can do nothing but bind. Binding takes the
 * device's DMA for an iommufd and opens the device; closing the file is the
 * only way to undo it. Devices that no IOMMU protects have no node, unless they
 * are emulated and do no DMA of their own.
 */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/iommufd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uuid.h>
#include <linux/vfio.h>

#include "vfio.h"

static dev_t cdev_devt;

/**
 * vfio_cdev_add - add a device to sysfs, with a node if it can have one
 * @device: device whose name is set, and which may be opened from now on
 *
 * Return: 0 or the errno of cdev_device_add().
 */
int vfio_cdev_add(struct vfio_device *device)
{
	int ret;

	if (device->group->type != VFIO_NO_IOMMU)
		device->device.devt = MKDEV(MAJOR(cdev_devt), device->index);
	cdev_init(&device->cdev, &vfio_device_fops);
	/* What is to be called last when the file is closed is in there */
	device->cdev.owner = device->dev->driver->owner;
	ret = cdev_device_add(&device->cdev, &device->device);
	if (ret) {
		/* Somebody may have opened it for all that */
		vfio_device_put_registration(device);
		wait_for_completion(&device->comp);
	}
	return ret;
}

/**
 * vfio_cdev_del - undo vfio_cdev_add()
 * @device: the device, which files may still be open on
 */
void vfio_cdev_del(struct vfio_device *device)
{
	WRITE_ONCE(device->cdev_gone, true);
	cdev_device_del(&device->cdev, &device->device);
}

/* file_operations.open of the node; the group makes its files in another way */
int vfio_cdev_open(struct inode *inode, struct file *file)
{
	struct vfio_device_file *df;
	struct vfio_device *device;
	int ret = -ENODEV;

	device = container_of(inode->i_cdev, struct vfio_device, cdev);

	if (!vfio_device_try_get_registration(device))
		return ret;

	/*
	 * An inode that was opened before leads here even after the node is
	 * gone. Don't let new files keep a device that is about to leave.
	 */
	if (READ_ONCE(device->cdev_gone))
		goto err_put;

	df = vfio_device_file_alloc(device);
	if (!df) {
		ret = -ENOMEM;
		goto err_put;
	}
	df->cdev = true;
	file->private_data = df;
	return 0;

err_put:
	vfio_device_put_registration(device);
	return ret;
}

/*
 * The group's file and a bound device of the group exclude each other. @nr is 0
 * only to ask, 1 to bind.
 */
static int block_group(struct vfio_group *group, unsigned int nr)
{
	int ret = 0;

	mutex_lock(&group->group_lock);
	if (group->opened_file)
		ret = -EBUSY;
	else
		group->cdev_bound += nr;
	mutex_unlock(&group->group_lock);
	return ret;
}

static void unblock_group(struct vfio_group *group)
{
	mutex_lock(&group->group_lock);
	group->cdev_bound--;
	mutex_unlock(&group->group_lock);
}

/*
 * Ask the driver whether the user may have the device, as the group path does
 * when the device is named there: what comes after the name is the VF token.
 */
static int check_token(struct vfio_device *device, const uuid_t *token)
{
	char *name;
	int ret;

	if (!device->ops->match)
		return token ? -EINVAL : 0;

	if (token)
		name = kasprintf(GFP_KERNEL, "%s vf_token=%pUb",
				 dev_name(device->dev), token);
	else
		name = kasprintf(GFP_KERNEL, "%s", dev_name(device->dev));
	if (!name)
		return -ENOMEM;

	ret = device->ops->match(device, name);
	kfree(name);
	if (ret < 0)
		return ret;
	return ret ? 0 : -EINVAL;
}

/* The open file holds the driver's module, see vfio_cdev_add() */
static int open_device(struct vfio_device *device, struct kvm *kvm)
{
	int ret = 0;

	device->open_count = 1;
	device->kvm = kvm;
	if (device->ops->open_device) {
		ret = device->ops->open_device(device);
		if (ret) {
			device->kvm = NULL;
			device->open_count = 0;
		}
	}
	return ret;
}

/* Leave a device that the driver has closed, or could not open, to others */
static void release_device(struct vfio_device *device,
			   struct vfio_iommufd_binding binding)
{
	vfio_iommufd_unbind(binding);

	mutex_lock(&device->dev_set->lock);
	device->cdev_taken = false;
	unblock_group(device->group);
	mutex_unlock(&device->dev_set->lock);
}

static void close_device(struct vfio_device *device)
{
	struct vfio_iommufd_binding binding;
	struct kvm *kvm = NULL;

	vfio_iommufd_stop(device);

	mutex_lock(&device->dev_set->lock);
	if (device->ops->close_device)
		device->ops->close_device(device);
	device->open_count = 0;
	swap(kvm, device->kvm);
	binding = vfio_iommufd_take(device);
	mutex_unlock(&device->dev_set->lock);

	vfio_vm_put(kvm);
	release_device(device, binding);
}

static int copy_bind(struct vfio_device_bind_iommufd *bind, void __user *arg,
		     uuid_t *token)
{
	const size_t minsz = offsetofend(struct vfio_device_bind_iommufd,
					 out_devid);
	int ret;

	if (copy_from_user(bind, arg, minsz))
		return -EFAULT;
	if (bind->argsz < minsz)
		return -EINVAL;
	if (bind->argsz > PAGE_SIZE)
		return -E2BIG;
	/* A part of the pointer is none */
	ret = copy_struct_from_user(bind, sizeof(*bind), arg,
				    bind->argsz < sizeof(*bind) ? minsz :
								  bind->argsz);
	if (ret)
		return ret;

	if ((bind->flags & ~VFIO_DEVICE_BIND_FLAG_TOKEN) || bind->iommufd < 0)
		return -EINVAL;
	if ((bind->flags & VFIO_DEVICE_BIND_FLAG_TOKEN) &&
	    copy_from_user(token, u64_to_user_ptr(bind->token_uuid_ptr),
			   sizeof(*token)))
		return -EFAULT;
	return 0;
}

/*
 * The checks have the order that userspace knows. What was bound is taken again if
 * the driver can't open the device.
 */
static int bind_locked(struct vfio_device_file *df,
		       const struct vfio_device_bind_iommufd *bind,
		       const uuid_t *token, struct kvm *kvm, u32 *id,
		       struct vfio_iommufd_binding *taken)
{
	struct vfio_device *device = df->device;
	struct iommufd_ctx *ctx;
	int ret;

	ret = block_group(device->group, 0);
	if (ret)
		return ret;
	if (vfio_device_file_granted(df))
		return -EINVAL;
	ctx = iommufd_get(bind->iommufd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	ret = -EINVAL;
	if (device->cdev_taken)
		goto out_put;
	ret = -ENODEV;
	if (READ_ONCE(device->cdev_gone))
		goto out_put;
	ret = check_token(device, token);
	if (ret)
		goto out_put;

	ret = block_group(device->group, 1);
	if (ret)
		goto out_put;
	ret = vfio_iommufd_bind(device, ctx, id);
	if (ret) {
		unblock_group(device->group);
		goto out_put;
	}
	device->cdev_taken = true;
	ret = open_device(device, kvm);
	if (ret)
		*taken = vfio_iommufd_take(device);
out_put:
	iommufd_put(ctx);
	return ret;
}

/**
 * vfio_cdev_bind - VFIO_DEVICE_BIND_IOMMUFD
 * @df: file of any kind
 * @arg: struct vfio_device_bind_iommufd
 *
 * Return: 0, or an errno with everything undone, so that the caller can try
 * again. Only a VF token that the driver of a PF has accepted stays in force, as
 * in the group path.
 */
int vfio_cdev_bind(struct vfio_device_file *df,
		   struct vfio_device_bind_iommufd __user *arg)
{
	struct vfio_iommufd_binding taken = {};
	struct vfio_device *device = df->device;
	struct vfio_device_bind_iommufd cmd;
	uuid_t token, *given = NULL;
	struct kvm *kvm;
	u32 id;
	int ret;

	ret = copy_bind(&cmd, arg, &token);
	if (ret)
		return ret;
	if (!df->cdev)
		return -EINVAL;

	if (cmd.flags & VFIO_DEVICE_BIND_FLAG_TOKEN)
		given = &token;
	kvm = vfio_vm_get(&df->vm);
	mutex_lock(&device->dev_set->lock);
	ret = bind_locked(df, &cmd, given, kvm, &id, &taken);
	mutex_unlock(&device->dev_set->lock);
	if (ret) {
		if (taken.access || taken.device)
			release_device(device, taken);
		vfio_vm_put(kvm);
		return ret;
	}

	/*
	 * User memory can take any time, so not under a lock that other users
	 * may want. The device is open, so nobody can bind it meanwhile.
	 */
	if (put_user(id, &arg->out_devid)) {
		close_device(device);
		return -EFAULT;
	}
	vfio_device_file_grant(df);
	return 0;
}

/**
 * vfio_cdev_close - end what the file has bound, if it has
 * @df: file that is being released
 */
void vfio_cdev_close(struct vfio_device_file *df)
{
	if (df->access_granted)
		close_device(df->device);
}

/* A structure that will not grow, has no flags yet, and begins with both */
static int copy_cmd(void *cmd, void __user *arg, size_t size)
{
	struct {
		u32 argsz;
		u32 flags;
	} *head = cmd;

	if (copy_from_user(cmd, arg, size))
		return -EFAULT;
	return head->argsz < size || head->flags ? -EINVAL : 0;
}

static int attach(struct vfio_device *device, void __user *arg)
{
	struct vfio_device_attach_iommufd_pt __user *user = arg;
	struct vfio_device_attach_iommufd_pt cmd;
	int ret;

	ret = copy_cmd(&cmd, arg, sizeof(cmd));
	if (ret)
		return ret;
	return vfio_iommufd_attach(device, cmd.pt_id, &user->pt_id);
}

static int detach(struct vfio_device *device, void __user *arg)
{
	struct vfio_device_detach_iommufd_pt cmd;
	int ret;

	ret = copy_cmd(&cmd, arg, sizeof(cmd));
	if (ret)
		return ret;
	return vfio_iommufd_detach(device);
}

/**
 * vfio_cdev_ioctl - what the node adds to, and takes from, a device's ioctls
 * @df: file that was given access
 * @cmd: ioctl
 * @arg: its argument
 *
 * Return: -ENOIOCTLCMD if the ioctl is the driver's, else its result.
 */
int vfio_cdev_ioctl(struct vfio_device_file *df, unsigned int cmd,
		    void __user *arg)
{
	if (!df->cdev)
		return -ENOIOCTLCMD;

	switch (cmd) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return attach(df->device, arg);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		return detach(df->device, arg);
	default:
		return -ENOIOCTLCMD;
	}
}

static char *cdev_devnode(struct device *dev, umode_t *mode)
{
	return kasprintf(GFP_KERNEL, "vfio/devices/%s", dev_name(dev));
}

/**
 * vfio_cdev_init - prepare for nodes
 * @class: class of the vfio devices
 *
 * Return: 0 or the errno of alloc_chrdev_region().
 */
int __init vfio_cdev_init(struct class *class)
{
	class->devnode = cdev_devnode;
	return alloc_chrdev_region(&cdev_devt, 0, MINORMASK + 1, "vfio-dev");
}

/**
 * vfio_cdev_cleanup - undo vfio_cdev_init()
 */
void vfio_cdev_cleanup(void)
{
	unregister_chrdev_region(cdev_devt, MINORMASK + 1);
}

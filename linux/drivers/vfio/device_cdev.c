// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vfio/devices/vfioX: one character device for each vfio device.
 *
 * open() gives an unbound vfio_device_file, on which only BIND_IOMMUFD works. BIND
 * claims the DMA of the device for an iommufd and opens the device; closing the file
 * is the only way to undo it. An unbound file does not block unbinding of the
 * driver. Noiommu devices have no cdev.
 */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/iommufd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uuid.h>
#include <linux/vfio.h>

#include "vfio.h"

/**
 * struct vfio_cdev - the cdev of a vfio device
 * @dev: the device in sysfs
 * @cdev: the cdev, which references @dev. An open file references @cdev, hence this
 *        structure, and nothing else until it binds
 * @lock: protects @device
 * @device: the device, NULL once it is being unregistered
 * @enforces_coherency: iommufd_enforces_coherency() of the device
 */
struct vfio_cdev {
	struct device		dev;
	struct cdev		cdev;
	spinlock_t		lock; /* protects @device */
	struct vfio_device	*device;
	bool			enforces_coherency;
};

static dev_t cdev_devt;

static void vfio_cdev_release(struct device *dev)
{
	kfree(container_of(dev, struct vfio_cdev, dev));
}

/* After this BIND fails with -ENODEV */
static void disable_bind(struct vfio_cdev *cdev)
{
	spin_lock(&cdev->lock);
	WRITE_ONCE(cdev->device, NULL);
	spin_unlock(&cdev->lock);
}

/**
 * vfio_cdev_add - add a device to sysfs, with a cdev unless it is noiommu
 * @device: device whose name is set. It can be bound before this returns
 *
 * An unbound file can outlive the device. Drivers expect that nobody references a
 * device that they have unregistered, so the cdev is an object of its own.
 *
 * Return: 0, -ENOMEM, or the errno of cdev_device_add().
 */
int vfio_cdev_add(struct vfio_device *device)
{
	struct vfio_cdev *cdev;
	int ret;

	cdev = kzalloc(sizeof(*cdev), GFP_KERNEL);
	if (!cdev)
		return -ENOMEM;

	spin_lock_init(&cdev->lock);
	cdev->device = device;
	cdev->enforces_coherency = vfio_device_enforces_coherency(device);
	device_initialize(&cdev->dev);
	cdev->dev.release = vfio_cdev_release;
	cdev->dev.class = device->device.class;
	cdev->dev.parent = device->dev;
	if (device->group->type != VFIO_NO_IOMMU)
		cdev->dev.devt = MKDEV(MAJOR(cdev_devt), device->index);
	cdev_init(&cdev->cdev, &vfio_device_fops);
	cdev->cdev.owner = THIS_MODULE;
	vfio_device_private(device)->cdev = cdev;

	ret = dev_set_name(&cdev->dev, "%s", dev_name(&device->device));
	if (!ret)
		ret = cdev_device_add(&cdev->cdev, &cdev->dev);
	if (ret) {
		disable_bind(cdev);
		put_device(&cdev->dev);
		/* The cdev was live for a moment: wait for anyone who bound it */
		vfio_device_put_registration(device);
		wait_for_completion(&device->comp);
	}
	return ret;
}

/**
 * vfio_cdev_del - undo vfio_cdev_add()
 * @device: the device; files may still have it bound
 */
void vfio_cdev_del(struct vfio_device *device)
{
	struct vfio_cdev *cdev = vfio_device_private(device)->cdev;

	disable_bind(cdev);
	cdev_device_del(&cdev->cdev, &cdev->dev);
	put_device(&cdev->dev);
}

/* file_operations.open of the cdev; files of a group are made by GET_DEVICE_FD */
int vfio_cdev_open(struct inode *inode, struct file *file)
{
	struct vfio_device_file *df;
	struct vfio_cdev *cdev;

	cdev = container_of(inode->i_cdev, struct vfio_cdev, cdev);

	/*
	 * An inode that is still in use can be opened after the cdev was
	 * deleted
	 */
	if (!READ_ONCE(cdev->device))
		return -ENODEV;

	df = vfio_device_file_alloc();
	if (!df)
		return -ENOMEM;
	df->cdev = cdev;
	file->private_data = df;
	return 0;
}

/* Get the references that BIND holds until close: to the registration and the driver */
static struct vfio_device *get_registered_device(struct vfio_cdev *cdev)
{
	struct vfio_device *device;

	spin_lock(&cdev->lock);
	device = cdev->device;
	if (device && !vfio_device_try_get_registration(device))
		device = NULL;
	spin_unlock(&cdev->lock);

	if (device && !try_module_get(device->dev->driver->owner)) {
		vfio_device_put_registration(device);
		device = NULL;
	}
	return device;
}

static void put_registered_device(struct vfio_device *device)
{
	module_put(device->dev->driver->owner);
	vfio_device_put_registration(device);
}

static bool group_is_open(struct vfio_group *group)
{
	bool open;

	mutex_lock(&group->group_lock);
	open = group->opened_file;
	mutex_unlock(&group->group_lock);
	return open;
}

/* An open file of a group and a bound device of the group exclude each other */
static int block_group(struct vfio_group *group)
{
	int ret = 0;

	mutex_lock(&group->group_lock);
	if (group->opened_file)
		ret = -EBUSY;
	else
		group->nr_cdev_bound++;
	mutex_unlock(&group->group_lock);
	return ret;
}

static void unblock_group(struct vfio_group *group)
{
	mutex_lock(&group->group_lock);
	group->nr_cdev_bound--;
	mutex_unlock(&group->group_lock);
}

/*
 * Let the driver check the VF token, as GET_DEVICE_FD does: match() gets the name of
 * the device, followed by the token.
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

/*
 * After a close or a failed open: unbind the device, so that others can bind it
 */
static void release_device(struct vfio_device *device,
			   struct vfio_iommufd_binding binding)
{
	vfio_iommufd_unbind(binding);

	mutex_lock(&device->dev_set->lock);
	vfio_device_private(device)->cdev_taken = false;
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
	binding = vfio_iommufd_clear(device);
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
	/* Ignore a partially supplied token_uuid_ptr */
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
 * The order of the checks is ABI. If open_device() fails, *taken is set to the
 * binding, and the caller undoes it without the lock.
 */
static int bind_locked(struct vfio_device *device,
		       const struct vfio_device_bind_iommufd *bind,
		       const uuid_t *token, struct kvm *kvm, u32 *id,
		       struct vfio_iommufd_binding *taken)
{
	struct iommufd_ctx *ctx;
	int ret;

	if (group_is_open(device->group))
		return -EBUSY;
	ctx = iommufd_get(bind->iommufd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	ret = -EINVAL;
	if (vfio_device_private(device)->cdev_taken)
		goto out_put;
	ret = check_token(device, token);
	if (ret)
		goto out_put;

	ret = block_group(device->group);
	if (ret)
		goto out_put;
	ret = vfio_iommufd_bind(device, ctx, id);
	if (ret) {
		unblock_group(device->group);
		goto out_put;
	}
	vfio_device_private(device)->cdev_taken = true;
	ret = open_device(device, kvm);
	if (ret)
		*taken = vfio_iommufd_clear(device);
out_put:
	iommufd_put(ctx);
	return ret;
}

static int bind_device(struct vfio_device_file *df, struct vfio_device *device,
		       const struct vfio_device_bind_iommufd *bind,
		       const uuid_t *token, u32 __user *out_devid)
{
	struct vfio_iommufd_binding taken = {};
	struct kvm *kvm;
	u32 id;
	int ret;

	kvm = vfio_vm_get(&df->kvm);
	mutex_lock(&device->dev_set->lock);
	ret = bind_locked(device, bind, token, kvm, &id, &taken);
	mutex_unlock(&device->dev_set->lock);
	if (ret) {
		if (taken.access || taken.device)
			release_device(device, taken);
		vfio_vm_put(kvm);
		return ret;
	}

	/*
	 * A page fault can take any time, and other users need dev_set->lock.
	 * The device is open, so nobody else can bind it.
	 */
	if (put_user(id, out_devid)) {
		close_device(device);
		return -EFAULT;
	}
	vfio_device_file_grant(df, device);
	return 0;
}

/**
 * vfio_cdev_bind - VFIO_DEVICE_BIND_IOMMUFD
 * @df: any device file
 * @arg: struct vfio_device_bind_iommufd
 *
 * Return: 0, -ENODEV if the device is being unregistered or is gone, or an
 * errno with everything undone, so that the caller can try again. Exception: a
 * VF token that the driver of a PF has accepted stays in force, as in the group
 * path.
 */
int vfio_cdev_bind(struct vfio_device_file *df,
		   struct vfio_device_bind_iommufd __user *arg)
{
	struct vfio_device_bind_iommufd cmd;
	uuid_t token, *given = NULL;
	struct vfio_device *device;
	int ret;

	ret = copy_bind(&cmd, arg, &token);
	if (ret)
		return ret;
	if (!df->cdev || vfio_device_file_granted(df))
		return -EINVAL;

	device = get_registered_device(df->cdev);
	if (!device)
		return -ENODEV;
	if (cmd.flags & VFIO_DEVICE_BIND_FLAG_TOKEN)
		given = &token;
	ret = bind_device(df, device, &cmd, given, &arg->out_devid);
	if (ret)
		put_registered_device(device);
	return ret;
}

/**
 * vfio_cdev_close - close the device of a file if it was bound
 * @df: file of the cdev that is being released
 */
void vfio_cdev_close(struct vfio_device_file *df)
{
	struct vfio_device *device = df->device;

	if (device) {
		close_device(device);
		put_registered_device(device);
	}
}

/**
 * vfio_cdev_enforces_coherency - does the IOMMU keep DMA of the device coherent?
 * @df: file of the cdev, bound or not; the device may have been unregistered
 *
 * Return: false if the device can bypass the CPU caches.
 */
bool vfio_cdev_enforces_coherency(struct vfio_device_file *df)
{
	return df->cdev->enforces_coherency;
}

/* Copy a struct of fixed size that begins with argsz and flags, which must be 0 */
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
 * vfio_cdev_ioctl - handle the ioctls that only files of the cdev have
 * @df: file whose access is granted
 * @cmd: ioctl
 * @arg: its argument
 *
 * Return: -ENOIOCTLCMD if the driver has to handle the ioctl, else its result.
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
 * vfio_cdev_init - reserve the device numbers of the cdevs
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

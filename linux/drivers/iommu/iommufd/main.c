// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/iommu: contexts, and the dispatch of requests.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"
#include "iommufd_test.h"

static int iommufd_open(struct inode *inode, struct file *file)
{
	struct iommufd_ctx *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	ctx->file = file;
	xa_init_flags(&ctx->objects, XA_FLAGS_ALLOC1 | XA_FLAGS_ACCOUNT);
	mutex_init(&ctx->groups_lock);
	mutex_init(&ctx->held_lock);
	INIT_LIST_HEAD(&ctx->groups);
	/* As a container does, charge by address space */
	ctx->charge_mm = iminor(inode) == VFIO_MINOR;
	file->private_data = ctx;
	return 0;
}

static int iommufd_release(struct inode *inode, struct file *file)
{
	struct iommufd_ctx *ctx = file->private_data;
	struct iommufd_owner *owner;

	iommufd_object_remove_all(ctx);
	WARN_ON(!list_empty(&ctx->groups));
	WARN_ON(atomic_long_read(&ctx->nr_mapped));
	owner = rcu_dereference_protected(ctx->owner, true);
	if (owner)
		iommufd_owner_put(owner);
	xa_destroy(&ctx->objects);
	mutex_destroy(&ctx->held_lock);
	mutex_destroy(&ctx->groups_lock);
	kfree(ctx);
	return 0;
}

union iommufd_cmd {
	struct iommu_destroy destroy;
	struct iommu_ioas_alloc ioas_alloc;
	struct iommu_ioas_allow_iovas allow_iovas;
	struct iommu_ioas_change_process change_process;
	struct iommu_ioas_copy copy;
	struct iommu_ioas_iova_ranges iova_ranges;
	struct iommu_ioas_map map;
	struct iommu_ioas_map_file map_file;
	struct iommu_ioas_unmap unmap;
	struct iommu_vfio_ioas vfio_ioas;
	struct iommu_hwpt_alloc hwpt_alloc;
	struct iommu_hw_info hw_info;
	struct iommu_option option;
#ifdef CONFIG_IOMMUFD_TEST
	struct iommu_test_cmd test;
#endif
};

/**
 * struct iommufd_ioctl - handler of a request, and the sizes of its structure
 * @size: size of the structure in this kernel
 * @min_size: size of its first version
 * @handler: returns 0 or an errno
 */
struct iommufd_ioctl {
	u16 size;
	u16 min_size;
	int (*handler)(struct iommufd_request *req);
};

#define IOCTL(_word, _handler, _struct, _last)                                 \
	[_IOC_NR(_word) - IOMMUFD_CMD_BASE] = {                                \
		.size = sizeof(_struct),                                       \
		.min_size = offsetofend(_struct, _last),                       \
		.handler = (_handler),                                         \
	}

static const struct iommufd_ioctl iommufd_ioctls[] = {
	IOCTL(IOMMU_DESTROY, iommufd_destroy, struct iommu_destroy, id),
	IOCTL(IOMMU_IOAS_ALLOC, iommufd_ioas_alloc, struct iommu_ioas_alloc,
	      out_ioas_id),
	IOCTL(IOMMU_IOAS_ALLOW_IOVAS, iommufd_ioas_allow_iovas,
	      struct iommu_ioas_allow_iovas, allowed_iovas),
	IOCTL(IOMMU_IOAS_COPY, iommufd_ioas_copy, struct iommu_ioas_copy,
	      src_iova),
	IOCTL(IOMMU_IOAS_IOVA_RANGES, iommufd_ioas_iova_ranges,
	      struct iommu_ioas_iova_ranges, out_iova_alignment),
	IOCTL(IOMMU_IOAS_MAP, iommufd_ioas_map, struct iommu_ioas_map, iova),
	IOCTL(IOMMU_IOAS_UNMAP, iommufd_ioas_unmap, struct iommu_ioas_unmap,
	      length),
	IOCTL(IOMMU_OPTION, iommufd_option, struct iommu_option, val64),
	IOCTL(IOMMU_VFIO_IOAS, iommufd_vfio_ioas, struct iommu_vfio_ioas,
	      __reserved),
	IOCTL(IOMMU_HWPT_ALLOC, iommufd_hwpt_alloc, struct iommu_hwpt_alloc,
	      __reserved),
	IOCTL(IOMMU_GET_HW_INFO, iommufd_get_hw_info, struct iommu_hw_info,
	      __reserved),
	IOCTL(IOMMU_IOAS_MAP_FILE, iommufd_ioas_map_file,
	      struct iommu_ioas_map_file, iova),
	IOCTL(IOMMU_IOAS_CHANGE_PROCESS, iommufd_ioas_change_process,
	      struct iommu_ioas_change_process, __reserved),
#ifdef CONFIG_IOMMUFD_TEST
	IOCTL(IOMMU_TEST_CMD, iommufd_test, struct iommu_test_cmd, last),
#endif
};

static long iommufd_unlocked_ioctl(struct file *file, unsigned int word,
				   unsigned long arg)
{
	struct iommufd_request req = {
		.ctx = file->private_data,
		.user = (void __user *)arg,
	};
	unsigned int nr = _IOC_NR(word) - IOMMUFD_CMD_BASE;
	const struct iommufd_ioctl *ioctl;
	union iommufd_cmd cmd;
	int ret;

	if (nr >= ARRAY_SIZE(iommufd_ioctls))
		return iommufd_container_ioctl(req.ctx, word, arg);
	if (get_user(req.user_size, (u32 __user *)req.user))
		return -EFAULT;

	ioctl = &iommufd_ioctls[array_index_nospec(nr,
						   ARRAY_SIZE(iommufd_ioctls))];
	if (!ioctl->handler || word != _IO(IOMMUFD_TYPE, _IOC_NR(word)))
		return -ENOTTY;
	if (req.user_size < ioctl->min_size)
		return -EINVAL;
	/*
	 * Larger than any structure: don't search gigabytes for a nonzero byte
	 */
	if (req.user_size > PAGE_SIZE)
		return -E2BIG;

	ret = copy_struct_from_user(&cmd, ioctl->size, req.user, req.user_size);
	if (ret)
		return ret;
	req.cmd = &cmd;
	return ioctl->handler(&req);
}

static const struct file_operations iommufd_fops = {
	.owner = THIS_MODULE,
	.open = iommufd_open,
	.release = iommufd_release,
	.unlocked_ioctl = iommufd_unlocked_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/**
 * iommufd_from_file - get the context of a file
 * @file: any file
 *
 * The reference keeps the file open.
 *
 * Return: the context, for iommufd_put(), or an ERR_PTR of -EBADFD if the file
 * is something else.
 */
struct iommufd_ctx *iommufd_from_file(struct file *file)
{
	if (file->f_op != &iommufd_fops)
		return ERR_PTR(-EBADFD);
	get_file(file);
	return file->private_data;
}
EXPORT_SYMBOL_NS_GPL(iommufd_from_file, IOMMUFD);

/**
 * iommufd_get - get the context of an fd
 * @fd: fd of the calling process
 *
 * Return: as iommufd_from_file(), or an ERR_PTR of -EBADF if the fd is not
 * open.
 */
struct iommufd_ctx *iommufd_get(int fd)
{
	struct file *file = fget(fd);
	struct iommufd_ctx *ctx;

	if (!file)
		return ERR_PTR(-EBADF);
	ctx = iommufd_from_file(file);
	fput(file);
	return ctx;
}
EXPORT_SYMBOL_NS_GPL(iommufd_get, IOMMUFD);

/**
 * iommufd_put - drop a reference to a context
 * @ctx: the context. Bound devices and accesses have references of their own
 */
void iommufd_put(struct iommufd_ctx *ctx)
{
	fput(ctx->file);
}
EXPORT_SYMBOL_NS_GPL(iommufd_put, IOMMUFD);

static struct miscdevice iommufd_miscdev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "iommu",
	.nodename = "iommu",
	.mode = 0660,
	.fops = &iommufd_fops,
};

/* For programs that can only use a container */
static struct miscdevice container_miscdev = {
	.minor = VFIO_MINOR,
	.name = "vfio",
	.nodename = "vfio/vfio",
	.mode = 0666,
	.fops = &iommufd_fops,
};

static int __init iommufd_init(void)
{
	int ret;

	ret = iommufd_test_init();
	if (ret)
		return ret;
	ret = misc_register(&iommufd_miscdev);
	if (ret)
		goto err_test;
	if (IS_ENABLED(CONFIG_IOMMUFD_VFIO_CONTAINER)) {
		ret = misc_register(&container_miscdev);
		if (ret)
			goto err_misc;
	}
	return 0;

err_misc:
	misc_deregister(&iommufd_miscdev);
err_test:
	iommufd_test_exit();
	return ret;
}

static void __exit iommufd_exit(void)
{
	if (IS_ENABLED(CONFIG_IOMMUFD_VFIO_CONTAINER))
		misc_deregister(&container_miscdev);
	misc_deregister(&iommufd_miscdev);
	iommufd_test_exit();
}

module_init(iommufd_init);
module_exit(iommufd_exit);

#if IS_ENABLED(CONFIG_IOMMUFD_VFIO_CONTAINER)
MODULE_ALIAS_MISCDEV(VFIO_MINOR);
MODULE_ALIAS("devname:vfio/vfio");
#endif
MODULE_DESCRIPTION("I/O address spaces for userspace drivers");
MODULE_LICENSE("GPL");

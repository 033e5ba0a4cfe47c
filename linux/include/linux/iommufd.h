/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What iommufd offers to the kernel code that drives devices for userspace.
 *
 * A driver turns the file that the user gave it into a context, binds its
 * device to the context, and then attaches and detaches it as the user asks.
 */
#ifndef __LINUX_IOMMUFD_H
#define __LINUX_IOMMUFD_H

#include <linux/err.h>
#include <linux/types.h>

struct device;
struct iommufd_ctx;
struct iommufd_device;

#if IS_ENABLED(CONFIG_IOMMUFD)
struct iommufd_ctx *iommufd_ctx_from_fd(int fd);
void iommufd_ctx_put(struct iommufd_ctx *ctx);

struct iommufd_device *iommufd_device_bind(struct iommufd_ctx *ctx,
					   struct device *dev, u32 *id);
void iommufd_device_unbind(struct iommufd_device *idev);
int iommufd_device_attach(struct iommufd_device *idev, u32 pt_id,
			  u32 __user *out_pt_id);
void iommufd_device_detach(struct iommufd_device *idev);
#endif
#endif

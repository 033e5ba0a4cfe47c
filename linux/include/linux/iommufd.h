/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What iommufd offers to the kernel code that drives devices for userspace.
 *
 * A driver turns the file that the user gave it into a context, binds its
 * device to the context, and then attaches and detaches it as the user asks.
 */
#ifndef _LINUX_IOMMUFD_H
#define _LINUX_IOMMUFD_H

#include <linux/err.h>
#include <linux/types.h>

struct device;
struct iommufd_ctx;
struct iommufd_device;

struct iommufd_ctx *iommufd_get(int fd);
void iommufd_put(struct iommufd_ctx *ctx);

struct iommufd_device *iommufd_bind(struct iommufd_ctx *ctx,
				    struct device *dev, u32 *id);
void iommufd_unbind(struct iommufd_device *idev);
int iommufd_attach(struct iommufd_device *idev, u32 pt_id,
		   u32 __user *out_pt_id);
void iommufd_detach(struct iommufd_device *idev);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Create VMs to test KVM's VFIO device, and check whether a VM still exists.
 * KVM must be built as modules, and modprobe is needed.
 */
#ifndef KVM_UTIL_H
#define KVM_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Number of references to a module, or -1 if there is no such module */
static inline long module_users(const char *module)
{
	char path[128];
	long ret = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &ret) != 1)
		ret = -1;
	fclose(f);
	return ret;
}

static inline int load_kvm(void)
{
	if (access("/dev/kvm", F_OK) &&
	    system("modprobe kvm_amd 2>&1 || modprobe kvm_intel 2>&1"))
		return -1;
	return access("/dev/kvm", F_OK);
}

/*
 * Does any process have a VM? A VM holds a reference to the module until its
 * memory is freed, even if its fd is closed.
 */
static inline bool vm_is_there(void)
{
	return module_users("kvm_amd") > 0 || module_users("kvm_intel") > 0;
}

static inline int vm_create(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	close(kvm);
	return vm;
}

/* Create KVM's VFIO device; a VM can have only one */
static inline int vm_create_vfio(int vm)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };

	return ioctl(vm, KVM_CREATE_DEVICE, &create) ? -1 : (int)create.fd;
}

static inline int set_attr(int vfio, __u32 group, __u64 attr, const void *addr)
{
	struct kvm_device_attr set = {
		.group = group,
		.attr = attr,
		.addr = (uintptr_t)addr,
	};

	return ioctl(vfio, KVM_SET_DEVICE_ATTR, &set);
}

static inline int has_attr(int vfio, __u32 group, __u64 attr)
{
	struct kvm_device_attr has = { .group = group, .attr = attr };

	return ioctl(vfio, KVM_HAS_DEVICE_ATTR, &has);
}

static inline int add_file(int vfio, __s32 fd)
{
	return set_attr(vfio, KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, &fd);
}

static inline int del_file(int vfio, __s32 fd)
{
	return set_attr(vfio, KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_DEL, &fd);
}

#endif

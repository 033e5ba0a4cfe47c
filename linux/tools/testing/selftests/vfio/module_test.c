// SPDX-License-Identifier: GPL-2.0
/*
 * A module can't be unloaded while it is in use, and can afterwards, in any
 * order. Needs vfio-pci, KVM, mdpin and mtty as modules, and modprobe. What
 * else is built in is skipped.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

/* Each before the modules that it uses */
static const char * const modules[] = {
	"kvm_amd", "kvm", "mdpin", "mtty", "mdev", "vfio_pci", "vfio_pci_core",
	"vfio_iommu_type1", "vfio_virqfd", "vfio", "iommufd", "irqbypass",
};

#define NR_MODULES ARRAY_SIZE(modules)

/* Does not wait until the module is free */
static int unload(const char *module)
{
	return syscall(SYS_delete_module, module, O_NONBLOCK);
}

static int load(const char *module)
{
	char command[64];

	snprintf(command, sizeof(command), "modprobe %s", module);
	return system(command);
}

/* False if it is built in */
static bool is_loaded(const char *module)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module);
	return !access(path, F_OK);
}

/* Does another module use it? */
static bool has_holders(const char *module)
{
	char path[64];
	int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/module/%s/holders", module);
	dir = opendir(path);
	while (dir && readdir(dir))
		nr++;
	if (dir)
		closedir(dir);
	return nr > 2; /* . and .. */
}

static int load_all(void)
{
	int i, ret = 0;

	/* In reverse order, so that each is loaded by its own name */
	for (i = NR_MODULES - 1; i >= 0; i--)
		ret |= load(modules[i]);
	return ret;
}

/* Unload in order, up to one that is in use; return its name */
static const char *unload_all(void)
{
	int i;

	for (i = 0; i < NR_MODULES; i++)
		if (is_loaded(modules[i]) && unload(modules[i]))
			return modules[i];
	return "";
}

FIXTURE(module)
{
	struct pci_dev dev;
	int device;
	int iommufd;
	int kvm;
	int vm;
	int kvm_vfio;
};

static int open_it(struct _test_data_module *self)
{
	self->device = open_cdev(&self->dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return self->device < 0 || self->iommufd < 0 ? -1 : 0;
}

static void close_it(struct _test_data_module *self)
{
	close(self->device);
	close(self->iommufd);
}

/* Load everything, and bind and attach the device */
static int use_again(struct _test_data_module *self)
{
	__u32 ioas;

	return load_all() || bind_vfio_pci(&self->dev) || open_it(self) ||
	       bind_iommufd(self->device, self->iommufd, NULL) ||
	       ioas_alloc(self->iommufd, &ioas) ||
	       attach_pt(self->device, ioas, NULL) ? -1 : 0;
}

/* A VM without processors, and KVM's VFIO device */
static int open_kvm(struct _test_data_module *self)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };

	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	self->vm = ioctl(self->kvm, KVM_CREATE_VM, 0);
	if (ioctl(self->vm, KVM_CREATE_DEVICE, &create))
		return -1;
	self->kvm_vfio = create.fd;
	return 0;
}

static void close_kvm(struct _test_data_module *self)
{
	close(self->kvm_vfio);
	close(self->vm);
	close(self->kvm);
}

static int kvm_add(struct _test_data_module *self, int file)
{
	__s32 fd = file;
	struct kvm_device_attr attr = {
		.group = KVM_DEV_VFIO_FILE,
		.attr = KVM_DEV_VFIO_FILE_ADD,
		.addr = (uintptr_t)&fd,
	};

	return ioctl(self->kvm_vfio, KVM_SET_DEVICE_ATTR, &attr);
}

FIXTURE_SETUP(module)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	load("vfio-pci");
	if (!is_loaded("vfio_pci"))
		SKIP_TEST("vfio-pci is no module");
	ASSERT_EQ(0, load_all());
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, open_it(self));
}

FIXTURE_TEARDOWN(module)
{
	close_it(self);
}

/*
 * A bound cdev holds the driver's module; an fd that is only open holds vfio
 * alone
 */
TEST_F(module, bound_cdev_keeps_the_driver)
{
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	EXPECT_ERRNO(EWOULDBLOCK, unload("vfio_pci"));
	EXPECT_TRUE(is_bound(&self->dev, "vfio-pci"));
	close_it(self);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

TEST_F(module, open_cdev_keeps_vfio)
{
	close(self->iommufd);
	EXPECT_EQ(0, unload("vfio_pci"));
	EXPECT_EQ(0, unload("vfio_pci_core"));
	EXPECT_STREQ(is_loaded("vfio") ? "vfio" : "", unload_all());
	close(self->device);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* And iommufd, even without an fd of it */
TEST_F(module, bound_device_keeps_iommufd)
{
	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close(self->iommufd);
	EXPECT_STREQ("vfio_pci", unload_all());
	if (is_loaded("iommufd"))
		EXPECT_ERRNO(EWOULDBLOCK, unload("iommufd"));
	close(self->device);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* It holds only its own module */
TEST_F(module, open_iommufd_keeps_iommufd)
{
	const char *kept = is_loaded("iommufd") ? "iommufd" : "";

	close(self->device);
	EXPECT_STREQ(kept, unload_all());
	close(self->iommufd);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

TEST_F(module, open_group_keeps_the_driver_and_type1)
{
	struct legacy l;

	close_it(self);
	ASSERT_EQ(0, legacy_open(&l, &self->dev));
	EXPECT_STREQ("vfio_pci", unload_all());
	if (is_loaded("vfio_iommu_type1"))
		EXPECT_ERRNO(EWOULDBLOCK, unload("vfio_iommu_type1"));
	legacy_close(&l);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* A group gives its iommufd back when it loses its last device */
TEST_F(module, open_group_without_device_keeps_vfio)
{
	struct legacy l;

	close_it(self);
	ASSERT_EQ(0, legacy_open_in(&l, &self->dev, "/dev/iommu"));
	close(l.container);
	close(l.device);
	EXPECT_EQ(0, unload("vfio_pci"));
	EXPECT_EQ(0, unload("vfio_pci_core"));
	EXPECT_STREQ(is_loaded("vfio") ? "vfio" : "", unload_all());
	close(l.group);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

TEST_F(module, open_mediated_device_keeps_its_driver)
{
	struct pci_dev mdev;
	int device;

	ASSERT_EQ(0, mdev_create(&mdev, "mdpin", "unmap"));
	device = open_cdev(&mdev);
	ASSERT_LE(0, device);
	EXPECT_EQ(0, bind_iommufd(device, self->iommufd, NULL));
	EXPECT_ERRNO(EWOULDBLOCK, unload("mdpin"));
	close(device);

	/* If it is not in use, it goes with its driver */
	EXPECT_EQ(0, unload("mdpin"));
	EXPECT_EQ(-1, open_cdev(&mdev));
	close_it(self);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* An fd that only KVM has, of a device that is not open */
static void kvm_keeps_vfio(struct __test_metadata *_metadata,
			   struct _test_data_module *self, int file)
{
	ASSERT_LE(0, file);
	ASSERT_EQ(0, open_kvm(self));
	EXPECT_EQ(0, kvm_add(self, file));
	close(file);
	EXPECT_STREQ("kvm_amd", unload_all());
	EXPECT_EQ(0, unload("vfio_pci"));
	EXPECT_EQ(0, unload("vfio_pci_core"));
	if (is_loaded("vfio")) {
		EXPECT_EQ(0, unload("mdpin"));
		EXPECT_EQ(0, unload("mtty"));
		EXPECT_EQ(0, unload("vfio_iommu_type1"));
		EXPECT_ERRNO(EWOULDBLOCK, unload("vfio"));
	}
	close_kvm(self);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

TEST_F(module, kvm_with_a_group_keeps_vfio)
{
	close_it(self);
	kvm_keeps_vfio(_metadata, self, open_group(&self->dev));
}

TEST_F(module, kvm_with_a_cdev_keeps_vfio)
{
	close_it(self);
	kvm_keeps_vfio(_metadata, self, open_cdev(&self->dev));
}

/* KVM has the device's fd, and the device has the VM (trap H6) */
TEST_F(module, kvm_with_a_bound_cdev_keeps_both)
{
	ASSERT_EQ(0, open_kvm(self));
	EXPECT_EQ(0, kvm_add(self, self->device));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close_it(self);
	close(self->vm);
	close(self->kvm);
	EXPECT_ERRNO(EWOULDBLOCK, unload("vfio_pci"));
	EXPECT_ERRNO(EWOULDBLOCK, unload("kvm_amd"));
	close(self->kvm_vfio);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* From open to close a device holds its VM, and so KVM's modules */
TEST_F(module, bound_device_keeps_its_kvm)
{
	ASSERT_EQ(0, open_kvm(self));
	EXPECT_EQ(0, kvm_add(self, self->device));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close_kvm(self);
	EXPECT_ERRNO(EWOULDBLOCK, unload("kvm_amd"));
	close_it(self);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

/* KVM had the fd, but the device was not open: nothing is held */
TEST_F(module, closed_kvm_keeps_nothing)
{
	ASSERT_EQ(0, open_kvm(self));
	EXPECT_EQ(0, kvm_add(self, self->device));
	close_kvm(self);
	EXPECT_EQ(0, unload("kvm_amd"));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close_it(self);
	EXPECT_STREQ("", unload_all());
	EXPECT_EQ(0, use_again(self));
}

static void shuffle(const char **list, unsigned int *seed)
{
	int i;

	for (i = NR_MODULES - 1; i > 0; i--) {
		int j = rand_r(seed) % (i + 1);
		const char *module = list[i];

		list[i] = list[j];
		list[j] = module;
	}
}

/* A module can be unloaded if and only if no other module uses it */
TEST_F(module, any_order)
{
	bool stays = !is_loaded("vfio");
	const char *list[NR_MODULES];
	unsigned int seed = 1;
	int i, n, round, left;

	memcpy(list, modules, sizeof(list));
	close_it(self);
	for (round = 0; round < 8; round++) {
		n = 0;
		do {
			shuffle(list, &seed);
			for (i = 0, left = 0; i < NR_MODULES; i++) {
				if (!is_loaded(list[i]))
					continue;
				if (has_holders(list[i])) {
					EXPECT_ERRNO(EWOULDBLOCK, unload(list[i]));
					left++;
				} else {
					EXPECT_EQ(0, unload(list[i])) {
						TH_LOG("%s, round %d", list[i], round);
					}
				}
			}
		} while (left && ++n < NR_MODULES);
		ASSERT_EQ(0, left);
		EXPECT_EQ(-1, open_cdev(&self->dev));
		/* vfio has given its device numbers back */
		EXPECT_EQ(stays, has_cdevs());

		shuffle(list, &seed);
		for (i = 0; i < NR_MODULES; i++)
			EXPECT_EQ(0, load(list[i]));
		ASSERT_EQ(0, use_again(self));
		close_it(self);
	}
	ASSERT_EQ(0, open_it(self));
}

TEST_HARNESS_MAIN

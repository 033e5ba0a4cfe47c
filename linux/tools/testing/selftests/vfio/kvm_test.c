// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO fds that are given to a VM: which ones KVM accepts, what opening a
 * device takes from the VM, and when VM and device are free again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../samples/vfio-mdev/mdpin.h"
#include "kvm_util.h"
#include "vfio_util.h"

/* fds that are not of VFIO, and attributes that don't exist */
FIXTURE(args)
{
	int vm;
	int vfio;
};

FIXTURE_SETUP(args)
{
	ASSERT_EQ(0, load_kvm());
	self->vm = vm_create();
	ASSERT_LE(0, self->vm);
	self->vfio = vm_create_vfio(self->vm);
	ASSERT_LE(0, self->vfio);
}

FIXTURE_TEARDOWN(args)
{
	close(self->vfio);
	close(self->vm);
	EXPECT_FALSE(vm_is_there());
}

/* Programs made for groups run unchanged */
TEST(numbers_of_files_are_those_of_groups)
{
	EXPECT_EQ(1, KVM_DEV_VFIO_FILE);
	EXPECT_EQ(1, KVM_DEV_VFIO_FILE_ADD);
	EXPECT_EQ(2, KVM_DEV_VFIO_FILE_DEL);
	EXPECT_EQ(KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_FILE);
	EXPECT_EQ(KVM_DEV_VFIO_GROUP_ADD, KVM_DEV_VFIO_FILE_ADD);
	EXPECT_EQ(KVM_DEV_VFIO_GROUP_DEL, KVM_DEV_VFIO_FILE_DEL);
}

TEST_F(args, unreadable_fd_is_EFAULT)
{
	void *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	EXPECT_ERRNO(EFAULT, set_attr(self->vfio, KVM_DEV_VFIO_FILE,
				      KVM_DEV_VFIO_FILE_ADD, page));
	EXPECT_ERRNO(EFAULT, set_attr(self->vfio, KVM_DEV_VFIO_FILE,
				      KVM_DEV_VFIO_FILE_DEL, page));
	EXPECT_ERRNO(EFAULT, set_attr(self->vfio, KVM_DEV_VFIO_FILE,
				      KVM_DEV_VFIO_FILE_ADD, NULL));
	munmap(page, PAGE);
}

/* Closed, negative, and O_PATH */
TEST_F(args, bad_fd_is_EBADF)
{
	int fds[3] = { 1000, -1, open("/dev/null", O_PATH | O_CLOEXEC) };
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_ERRNO(EBADF, add_file(self->vfio, fds[i]));
		EXPECT_ERRNO(EBADF, del_file(self->vfio, fds[i]));
	}
	close(fds[2]);
}

TEST_F(args, file_of_another_kind_is_EINVAL)
{
	int fds[] = {
		eventfd(0, EFD_CLOEXEC),
		open("/dev/null", O_RDWR | O_CLOEXEC),
		open(CONTAINER, O_RDWR | O_CLOEXEC),
		open("/dev/kvm", O_RDWR | O_CLOEXEC),
		self->vm,
		self->vfio,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		ASSERT_LE(0, fds[i]);
		EXPECT_ERRNO(EINVAL, add_file(self->vfio, fds[i]));
		EXPECT_ERRNO(ENOENT, del_file(self->vfio, fds[i]));
	}
	for (i = 0; i < 4; i++)
		close(fds[i]);
}

TEST_F(args, iommufd_is_EINVAL)
{
	int iommufd;

	if (!has_cdevs())
		SKIP(return, "no cdevs");
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, iommufd);
	EXPECT_ERRNO(EINVAL, add_file(self->vfio, iommufd));
	close(iommufd);
}

/* Whatever the argument is; 3 is for sPAPR */
TEST_F(args, unknown_attribute_or_group_is_ENXIO)
{
	static const struct {
		__u32 group;
		__u64 attr;
	} none[] = {
		{ 0, 1 }, { 2, 1 }, { ~0U, 1 },
		{ 1, 0 }, { 1, 3 }, { 1, 4 }, { 1, 1ULL << 32 | 1 },
		{ 1, ~0ULL },
	};
	__s32 fd = -1;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(none); i++) {
		EXPECT_ERRNO(ENXIO, set_attr(self->vfio, none[i].group,
					     none[i].attr, &fd));
		EXPECT_ERRNO(ENXIO, set_attr(self->vfio, none[i].group,
					     none[i].attr, NULL));
		EXPECT_ERRNO(ENXIO, has_attr(self->vfio, none[i].group,
					     none[i].attr));
	}
	EXPECT_EQ(0, has_attr(self->vfio, 1, 1));
	EXPECT_EQ(0, has_attr(self->vfio, 1, 2));
}

/* Until the last fd of the first one is closed */
TEST_F(args, machine_has_one_vfio_device)
{
	int copy = dup(self->vfio);

	EXPECT_ERRNO(EBUSY, vm_create_vfio(self->vm));
	close(self->vfio);
	EXPECT_ERRNO(EBUSY, vm_create_vfio(self->vm));
	close(copy);
	self->vfio = vm_create_vfio(self->vm);
	EXPECT_LE(0, self->vfio);
}

/* Each kind of VFIO fd */
enum kind {
	CDEV,
	BOUND_CDEV,
	GROUP,
	GROUP_IN_CONTAINER,
	DEVICE_OF_GROUP,
};

FIXTURE(file)
{
	struct pci_dev dev;
	struct legacy legacy;
	int iommufd;
	int fd;
	int vm;
	int vfio;
};

FIXTURE_VARIANT(file)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(file, cdev)
{
	.kind = CDEV,
};

FIXTURE_VARIANT_ADD(file, bound_cdev)
{
	.kind = BOUND_CDEV,
};

FIXTURE_VARIANT_ADD(file, group)
{
	.kind = GROUP,
};

FIXTURE_VARIANT_ADD(file, group_in_container)
{
	.kind = GROUP_IN_CONTAINER,
};

FIXTURE_VARIANT_ADD(file, device_of_group)
{
	.kind = DEVICE_OF_GROUP,
};

FIXTURE_SETUP(file)
{
	bool is_old = variant->kind == GROUP ||
		      variant->kind == GROUP_IN_CONTAINER;

	if (!is_old && !has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, load_kvm());
	ASSERT_EQ(0, find_edu_alone(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->legacy = (struct legacy){ -1, -1, -1 };
	self->iommufd = -1;
	switch (variant->kind) {
	case CDEV:
	case BOUND_CDEV:
		self->fd = open_cdev(&self->dev);
		self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		if (variant->kind == BOUND_CDEV)
			ASSERT_EQ(0, bind_iommufd(self->fd, self->iommufd,
						  NULL));
		break;
	case GROUP:
		self->fd = open_group(&self->dev);
		break;
	case GROUP_IN_CONTAINER:
	case DEVICE_OF_GROUP:
		ASSERT_EQ(0, legacy_open(&self->legacy, &self->dev));
		self->fd = dup(is_old ? self->legacy.group :
			       self->legacy.device);
		break;
	}
	ASSERT_LE(0, self->fd);
	self->vm = vm_create();
	ASSERT_LE(0, self->vm);
	self->vfio = vm_create_vfio(self->vm);
	ASSERT_LE(0, self->vfio);
}

FIXTURE_TEARDOWN(file)
{
	close(self->vfio);
	close(self->vm);
	close(self->fd);
	close(self->iommufd);
	legacy_close(&self->legacy);
	EXPECT_FALSE(vm_is_there());
}

TEST_F(file, can_be_added_and_deleted)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, add_file(self->vfio, self->fd));
		EXPECT_EQ(0, del_file(self->vfio, self->fd));
	}
}

/* Through any fd of the file */
TEST_F(file, added_twice_is_EEXIST)
{
	int copy = dup(self->fd);

	ASSERT_EQ(0, add_file(self->vfio, self->fd));
	EXPECT_ERRNO(EEXIST, add_file(self->vfio, self->fd));
	EXPECT_ERRNO(EEXIST, add_file(self->vfio, copy));
	EXPECT_EQ(0, del_file(self->vfio, copy));
	EXPECT_EQ(0, add_file(self->vfio, copy));
	EXPECT_ERRNO(EEXIST, add_file(self->vfio, self->fd));
	close(copy);
}

/* Never added, deleted before, or added to another VM */
TEST_F(file, deleted_without_being_added_is_ENOENT)
{
	int vm = vm_create();
	int vfio = vm_create_vfio(vm);

	ASSERT_LE(0, vfio);
	EXPECT_ERRNO(ENOENT, del_file(self->vfio, self->fd));
	ASSERT_EQ(0, add_file(self->vfio, self->fd));
	EXPECT_ERRNO(ENOENT, del_file(vfio, self->fd));
	EXPECT_EQ(0, del_file(self->vfio, self->fd));
	EXPECT_ERRNO(ENOENT, del_file(self->vfio, self->fd));
	close(vfio);
	close(vm);
}

/* Other fds that are added and deleted do not matter */
TEST_F(file, others_come_and_go_beside_it)
{
	struct pci_dev a, b;
	int fd;

	ASSERT_EQ(0, find_edu_pair(&a, &b));
	ASSERT_EQ(0, bind_vfio_pci(&a));
	ASSERT_EQ(0, bind_vfio_pci(&b));
	fd = open_group(&a);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, add_file(self->vfio, self->fd));
	ASSERT_EQ(0, add_file(self->vfio, fd));
	EXPECT_EQ(0, del_file(self->vfio, self->fd));
	EXPECT_ERRNO(EEXIST, add_file(self->vfio, fd));
	EXPECT_EQ(0, add_file(self->vfio, self->fd));
	EXPECT_EQ(0, del_file(self->vfio, fd));
	EXPECT_ERRNO(EEXIST, add_file(self->vfio, self->fd));
	close(fd);
}

/* KVM keeps the file after the fd is closed, until its VFIO device is closed */
TEST_F(file, can_be_closed_while_it_is_added)
{
	int group;

	ASSERT_EQ(0, add_file(self->vfio, self->fd));
	close(self->fd);
	legacy_close(&self->legacy);
	self->legacy = (struct legacy){ -1, -1, -1 };
	if (variant->kind != CDEV)
		EXPECT_ERRNO(EBUSY, open_group(&self->dev));
	close(self->vfio);
	group = open_group(&self->dev);
	EXPECT_LE(0, group);
	close(group);
	self->vfio = vm_create_vfio(self->vm);
	self->fd = -1;
	EXPECT_LE(0, self->vfio);
}

/* Each open of a cdev is a file of its own */
TEST_F(args, each_file_of_a_cdev_is_added)
{
	struct pci_dev dev;
	int fds[2], i;

	if (!has_cdevs())
		SKIP(return, "no cdevs");
	ASSERT_EQ(0, find_edu_alone(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	for (i = 0; i < 2; i++) {
		fds[i] = open_cdev(&dev);
		EXPECT_EQ(0, add_file(self->vfio, fds[i]));
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, del_file(self->vfio, fds[i]));
		EXPECT_ERRNO(ENOENT, del_file(self->vfio, fds[i]));
		close(fds[i]);
	}
}

/*
 * fds of a cdev that were never bound do not delay the unbind of the driver,
 * wherever they are. KVM does not use the device after that.
 */
TEST_F(args, unbound_files_do_not_hold_off_removal)
{
	struct pci_dev dev, other;
	int files[64], added[8], pair[2], iommufd, file;
	unsigned int i;

	if (!has_cdevs())
		SKIP(return, "no cdevs");
	ASSERT_EQ(0, find_edu_alone(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		files[i] = open_cdev(&dev);
		ASSERT_LE(0, files[i]);
	}
	for (i = 0; i < ARRAY_SIZE(added); i++) {
		added[i] = open_cdev(&dev);
		ASSERT_EQ(0, add_file(self->vfio, added[i]));
		file = open_cdev(&dev);
		ASSERT_EQ(0, send_fd(pair[0], file));
		close(file);
	}
	close(added[0]);
	ASSERT_EQ(0, unbind_driver(&dev));
	EXPECT_FALSE(is_bound(&dev, "vfio-pci"));

	/* One that KVM has, one that it gets now, and one of another device */
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	EXPECT_ERRNO(ENODEV, bind_iommufd(added[1], iommufd, NULL));
	EXPECT_EQ(0, del_file(self->vfio, added[1]));
	EXPECT_EQ(0, add_file(self->vfio, files[0]));
	EXPECT_ERRNO(ENODEV, bind_iommufd(files[0], iommufd, NULL));
	ASSERT_EQ(0, find_edu_neighbours(&dev, &other));
	ASSERT_EQ(0, bind_vfio_pci(&other));
	file = open_cdev(&other);
	EXPECT_EQ(0, add_file(self->vfio, file));
	EXPECT_EQ(0, bind_iommufd(file, iommufd, NULL));
	close(file);
	close(iommufd);
	for (i = 1; i < ARRAY_SIZE(added); i++)
		close(added[i]);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		close(files[i]);
	close(pair[0]);
	close(pair[1]);
}

/* Lifetime of the VM and of the device's use */
FIXTURE(life)
{
	struct pci_dev dev;
	int vm;
	int vfio;
	int file, device, context;
	long kvm_users, vfio_users;
};

/*
 * @mdev: an emulated device, which reports whether its driver got the VM
 * @group: used through group and container, not through its cdev
 */
FIXTURE_VARIANT(life)
{
	bool mdev;
	bool group;
};

FIXTURE_VARIANT_ADD(life, pci_by_cdev)
{
};

FIXTURE_VARIANT_ADD(life, pci_by_group)
{
	.group = true,
};

FIXTURE_VARIANT_ADD(life, mdev_by_cdev)
{
	.mdev = true,
};

FIXTURE_VARIANT_ADD(life, mdev_by_group)
{
	.mdev = true,
	.group = true,
};

FIXTURE_SETUP(life)
{
	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, load_kvm());
	if (variant->mdev) {
		ASSERT_EQ(0, mdev_create(&self->dev, "mdpin", "unmap"));
	} else {
		ASSERT_EQ(0, find_edu_alone(&self->dev));
		ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	}
	self->kvm_users = module_users("kvm");
	self->vfio_users = module_users("vfio");
}

FIXTURE_TEARDOWN(life)
{
	EXPECT_FALSE(vm_is_there());
	EXPECT_EQ(self->kvm_users, module_users("kvm"));
	EXPECT_EQ(self->vfio_users, module_users("vfio"));
	if (self->dev.mdev)
		EXPECT_EQ(0, mdev_remove(&self->dev));
}

static int open_vm(struct _test_data_life *self)
{
	self->vm = vm_create();
	self->vfio = vm_create_vfio(self->vm);
	return self->vm < 0 || self->vfio < 0 ? -1 : 0;
}

/* Open what KVM is given, and what the device needs */
static int open_file(struct _test_data_life *self, bool group)
{
	self->device = -1;
	if (!group) {
		self->file = open_cdev(&self->dev);
		self->context = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		return self->file < 0 || self->context < 0 ? -1 : 0;
	}
	self->file = open_group(&self->dev);
	self->context = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (ioctl(self->file, VFIO_GROUP_SET_CONTAINER, &self->context))
		return -1;
	return ioctl(self->context, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
}

static int use_device(struct _test_data_life *self, bool group)
{
	if (group) {
		self->device = ioctl(self->file, VFIO_GROUP_GET_DEVICE_FD,
				     self->dev.bdf);
		return self->device < 0 ? -1 : 0;
	}
	self->device = dup(self->file);
	return bind_iommufd(self->file, self->context, NULL);
}

static void close_files(struct _test_data_life *self)
{
	close(self->device);
	close(self->file);
	close(self->context);
}

#define MACHINE 1
#define GROUP_IN_USE 2

/* Which of the two exist? */
static int what_is(struct _test_data_life *self)
{
	int ret = vm_is_there() ? MACHINE : 0;
	int group = open_group(&self->dev);

	if (group < 0)
		return errno == EBUSY ? ret | GROUP_IN_USE : -1;
	close(group);
	return ret;
}

static bool saw_machine(int device)
{
	struct mdpin_state state = {};

	return pread(device, &state, sizeof(state), MDPIN_STATE) ==
		sizeof(state) && state.kvm;
}

/*
 * A: add the fd. D: delete it. U: use the device, by BIND or through the group.
 */
static const char * const stories[] = { "A", "AU", "UA", "ADU", "AUD", "UAD" };

/* V: close the VM. K: KVM's VFIO device. F: the VFIO fds. */
static const char * const orders[] = {
	"VKF", "VFK", "KVF", "KFV", "FVK", "FKV",
};

/*
 * A VM exists as long as it or its VFIO device has an fd, or a device that was
 * opened with it is open. A device is in use as long as its fd is open, or KVM
 * has it. The last one to go releases the others (traps H1, H3, H6).
 */
TEST_F_TIMEOUT(life, ends_in_any_order, 300)
{
	unsigned int i, j;
	const char *c;

	for (i = 0; i < ARRAY_SIZE(stories) * ARRAY_SIZE(orders); i++) {
		const char *story = stories[i / ARRAY_SIZE(orders)];
		const char *order = orders[i % ARRAY_SIZE(orders)];
		bool added = false, used = variant->group, took = false;
		bool vm = true, vfio = true, files = true;

		ASSERT_EQ(0, open_vm(self));
		ASSERT_EQ(0, open_file(self, variant->group));
		for (c = story; *c; c++) {
			if (*c == 'U') {
				ASSERT_EQ(0, use_device(self, variant->group));
				used = true;
				took = added;
			} else if (*c == 'A') {
				ASSERT_EQ(0, add_file(self->vfio, self->file));
				added = true;
			} else {
				ASSERT_EQ(0, del_file(self->vfio, self->file));
				added = false;
			}
		}
		if (variant->mdev && self->device >= 0)
			EXPECT_EQ(took, saw_machine(self->device));

		for (j = 0; j < 3; j++) {
			int expected = 0;

			if (order[j] == 'V') {
				close(self->vm);
				vm = false;
			} else if (order[j] == 'K') {
				close(self->vfio);
				vfio = false;
			} else {
				close_files(self);
				files = false;
			}
			if (vm || vfio || (took && files))
				expected |= MACHINE;
			if (used && (files || (vfio && added)))
				expected |= GROUP_IN_USE;
			ASSERT_EQ(expected, what_is(self)) {
				TH_LOG("%s, then %.*s", story, j + 1, order);
			}
		}
	}
}

/*
 * A cdev that only KVM has is still bound, and is free once KVM releases it
 * (trap H6)
 */
TEST_F(life, device_of_a_kept_file_stays_in_use)
{
	int cdev;

	ASSERT_EQ(0, open_vm(self));
	ASSERT_EQ(0, open_file(self, variant->group));
	ASSERT_EQ(0, add_file(self->vfio, self->file));
	ASSERT_EQ(0, use_device(self, variant->group));
	close_files(self);
	close(self->vm);

	self->context = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	cdev = open_cdev(&self->dev);
	EXPECT_EQ(MACHINE | GROUP_IN_USE, what_is(self));
	EXPECT_ERRNO(variant->group ? EBUSY : EINVAL,
		     bind_iommufd(cdev, self->context, NULL));
	EXPECT_ERRNO(ENOENT, del_file(self->vfio, cdev));
	close(self->vfio);
	EXPECT_EQ(0, what_is(self));
	EXPECT_EQ(0, bind_iommufd(cdev, self->context, NULL));
	close(cdev);
	close(self->context);
}

/* A driver gets the VM of its own open, not that of the previous one */
TEST_F(life, next_open_has_no_machine)
{
	ASSERT_EQ(0, open_vm(self));
	ASSERT_EQ(0, open_file(self, variant->group));
	ASSERT_EQ(0, add_file(self->vfio, self->file));
	ASSERT_EQ(0, use_device(self, variant->group));
	close_files(self);
	close(self->vfio);
	close(self->vm);

	ASSERT_EQ(0, open_file(self, variant->group));
	ASSERT_EQ(0, use_device(self, variant->group));
	EXPECT_EQ(GROUP_IN_USE, what_is(self));
	if (variant->mdev)
		EXPECT_FALSE(saw_machine(self->device));
	close_files(self);
}

/* Of several fds of a device of a group, the last that is closed counts */
TEST_F(life, last_close_releases_the_machine)
{
	int second;

	if (!variant->group)
		return;
	ASSERT_EQ(0, open_vm(self));
	ASSERT_EQ(0, open_file(self, true));
	ASSERT_EQ(0, add_file(self->vfio, self->file));
	ASSERT_EQ(0, use_device(self, true));
	second = ioctl(self->file, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
	ASSERT_LE(0, second);
	close(self->vfio);
	close(self->vm);
	close(self->device);
	EXPECT_TRUE(vm_is_there());
	close(second);
	EXPECT_FALSE(vm_is_there());
	self->device = -1;
	close_files(self);
}

/* The driver got the VM and failed, by cdev or group (trap H4) */
TEST_F(life, open_that_fails_keeps_no_machine)
{
	if (!variant->mdev)
		return;
	ASSERT_EQ(0, open_vm(self));
	ASSERT_EQ(0, open_file(self, variant->group));
	ASSERT_EQ(0, add_file(self->vfio, self->file));
	ASSERT_EQ(0, mdpin_fail_open(EIO));
	EXPECT_ERRNO(EIO, use_device(self, variant->group));
	ASSERT_EQ(0, mdpin_fail_open(0));
	close(self->vfio);
	close(self->vm);
	EXPECT_FALSE(vm_is_there());
	/* The next open has no VM, not that of the one that failed */
	close(self->device);
	ASSERT_EQ(0, use_device(self, variant->group));
	EXPECT_FALSE(saw_machine(self->device));
	close_files(self);
}

/* A VM and two fds of a cdev */
FIXTURE(bind)
{
	struct _test_data_life life;
	int other;
};

FIXTURE_SETUP(bind)
{
	struct _test_data_life *life = &self->life;

	if (!has_cdevs())
		SKIP_TEST("no cdevs");
	ASSERT_EQ(0, load_kvm());
	ASSERT_EQ(0, mdev_create(&life->dev, "mdpin", "unmap"));
	life->kvm_users = module_users("kvm");
	ASSERT_EQ(0, open_vm(life));
	ASSERT_EQ(0, open_file(life, false));
	ASSERT_EQ(0, add_file(life->vfio, life->file));
	self->other = open_cdev(&life->dev);
	ASSERT_LE(0, self->other);
}

/* No reference to the VM may be left while the fds are still open */
FIXTURE_TEARDOWN(bind)
{
	close(self->life.vfio);
	close(self->life.vm);
	EXPECT_FALSE(vm_is_there());
	EXPECT_EQ(self->life.kvm_users, module_users("kvm"));
	close_files(&self->life);
	close(self->other);
	EXPECT_EQ(0, what_is(&self->life));
	EXPECT_EQ(0, mdev_remove(&self->life.dev));
}

/* trap H4 */
TEST_F(bind, that_fails_keeps_no_machine)
{
	struct vfio_device_bind_iommufd *bind = map_anon(PAGE);
	struct _test_data_life *life = &self->life;
	int group;

	EXPECT_ERRNO(EBADF, bind_iommufd(life->file, 1000, NULL));
	EXPECT_ERRNO(EINVAL, bind_iommufd(life->file, -1, NULL));
	EXPECT_ERRNO(EBADFD, bind_iommufd(life->file, life->vm, NULL));
	group = open_group(&life->dev);
	ASSERT_LE(0, group);
	EXPECT_ERRNO(EBUSY, bind_iommufd(life->file, life->context, NULL));
	close(group);
	/* The device was open, and its driver had the VM */
	*bind = (struct vfio_device_bind_iommufd){
		.argsz = sizeof(*bind),
		.iommufd = life->context,
	};
	ASSERT_EQ(0, mprotect(bind, PAGE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(life->file, VFIO_DEVICE_BIND_IOMMUFD, bind));
	munmap(bind, PAGE);
}

/* The driver got the VM, and failed to open the device (trap H4) */
TEST_F(bind, that_the_driver_fails_keeps_no_machine)
{
	struct _test_data_life *life = &self->life;

	ASSERT_EQ(0, mdpin_fail_open(EIO));
	EXPECT_ERRNO(EIO, bind_iommufd(life->file, life->context, NULL));
	EXPECT_ERRNO(EIO, bind_iommufd(life->file, life->context, NULL));
	ASSERT_EQ(0, mdpin_fail_open(0));
}

/* trap H4 */
TEST_F(bind, of_a_device_in_use_keeps_no_machine)
{
	struct _test_data_life *life = &self->life;

	ASSERT_EQ(0, bind_iommufd(self->other, life->context, NULL));
	EXPECT_ERRNO(EINVAL, bind_iommufd(life->file, life->context, NULL));
}

/* trap H4 */
TEST_F(bind, of_a_bound_file_keeps_no_machine)
{
	struct _test_data_life *life = &self->life;

	ASSERT_EQ(0, del_file(life->vfio, life->file));
	ASSERT_EQ(0, bind_iommufd(life->file, life->context, NULL));
	ASSERT_EQ(0, add_file(life->vfio, life->file));
	EXPECT_ERRNO(EINVAL, bind_iommufd(life->file, life->context, NULL));
	EXPECT_FALSE(saw_machine(life->file));
}

/* The fd is given to KVM, not the device */
TEST_F(bind, by_another_file_has_no_machine)
{
	struct _test_data_life *life = &self->life;

	ASSERT_EQ(0, bind_iommufd(self->other, life->context, NULL));
	EXPECT_FALSE(saw_machine(self->other));
}

/* A failed BIND does not affect the next one */
TEST_F(bind, after_one_that_failed_has_the_machine)
{
	struct _test_data_life *life = &self->life;

	EXPECT_ERRNO(EBADF, bind_iommufd(life->file, 1000, NULL));
	ASSERT_EQ(0, bind_iommufd(life->file, life->context, NULL));
	EXPECT_TRUE(saw_machine(life->file));
	close(life->vfio);
	close(life->vm);
	EXPECT_TRUE(vm_is_there());
	close(life->file);
	ASSERT_EQ(0, open_vm(life));
	life->file = open_cdev(&life->dev);
}

/* If the VM goes before BIND, the driver gets none */
TEST_F(bind, after_the_machine_has_none)
{
	struct _test_data_life *life = &self->life;

	close(life->vfio);
	close(life->vm);
	EXPECT_FALSE(vm_is_there());
	ASSERT_EQ(0, bind_iommufd(life->file, life->context, NULL));
	EXPECT_FALSE(saw_machine(life->file));
	ASSERT_EQ(0, open_vm(life));
}

TEST_HARNESS_MAIN

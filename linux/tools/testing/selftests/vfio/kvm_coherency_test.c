// SPDX-License-Identifier: GPL-2.0
/*
 * Does KVM know which VFIO fds stand for DMA that can bypass caches? If there
 * is one, KVM honours the memory types that a guest sets, and drops its page
 * table when such a type changes. The test runs a guest of one instruction, so
 * that this table has a page, which debugfs counts.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "kvm_util.h"
#include "vfio_util.h"

#define KVM_DEBUG "/sys/kernel/debug/kvm"

#define MSR_MTRR_DEF_TYPE 0x2ff
/* Enabled, with write-back as the default */
#define MTRR_WRITE_BACK 0xc06

#define OPCODE_HLT 0xf4

/* According to the capability register of the VT-d unit */
static bool has_snoop_control(void)
{
	FILE *f = fopen("/sys/class/iommu/dmar0/intel-iommu/ecap", "r");
	unsigned long long ecap = 0;

	if (!f)
		return false;
	if (fscanf(f, "%llx", &ecap) != 1)
		ecap = 0;
	fclose(f);
	return ecap & (1 << 7);
}

FIXTURE(coherency)
{
	struct pci_dev dev;
	struct pci_dev mdev;
	int vm;
	int vcpu;
	int vfio;
	struct kvm_run *run;
	long run_size;
	void *memory;
	char count[PATH_MAX];
};

static int make_guest(struct _test_data_coherency *self)
{
	struct kvm_userspace_memory_region region = { .memory_size = PAGE };
	struct kvm_sregs sregs;
	int kvm;

	self->vm = vm_create();
	snprintf(self->count, sizeof(self->count), KVM_DEBUG "/%d-%d/pages_4k",
		 getpid(), self->vm);
	self->vfio = vm_create_vfio(self->vm);
	self->memory = map_anon(PAGE);
	memset(self->memory, OPCODE_HLT, PAGE);
	region.userspace_addr = (uintptr_t)self->memory;
	if (ioctl(self->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return -1;

	self->vcpu = ioctl(self->vm, KVM_CREATE_VCPU, 0);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	self->run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	close(kvm);
	self->run = mmap(NULL, self->run_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, self->vcpu, 0);
	if (self->run == MAP_FAILED ||
	    ioctl(self->vcpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return ioctl(self->vcpu, KVM_SET_SREGS, &sregs);
}

FIXTURE_SETUP(coherency)
{
	ASSERT_EQ(0, load_kvm());
	ASSERT_EQ(0, find_edu_alone(&self->dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	ASSERT_EQ(0, mdev_create(&self->mdev, "mdpin", "unmap"));
	ASSERT_EQ(0, make_guest(self));
}

FIXTURE_TEARDOWN(coherency)
{
	munmap(self->run, self->run_size);
	close(self->vcpu);
	close(self->vfio);
	close(self->vm);
	EXPECT_FALSE(vm_is_there());
	EXPECT_EQ(0, mdev_remove(&self->mdev));
}

static long nr_pages(struct _test_data_coherency *self)
{
	FILE *f = fopen(self->count, "r");
	long ret = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &ret) != 1)
		ret = -1;
	fclose(f);
	return ret;
}

enum { FAILED = -1, COHERENT, NOT_COHERENT };

/* Does KVM take all DMA of this VM's devices as coherent? */
static int coherency(struct _test_data_coherency *self)
{
	struct kvm_regs regs = { .rflags = 2 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {
		.head.nmsrs = 1,
		.entry.index = MSR_MTRR_DEF_TYPE,
		.entry.data = MTRR_WRITE_BACK,
	};

	if (ioctl(self->vcpu, KVM_SET_REGS, &regs) ||
	    ioctl(self->vcpu, KVM_RUN, 0) ||
	    self->run->exit_reason != KVM_EXIT_HLT || nr_pages(self) != 1 ||
	    ioctl(self->vcpu, KVM_SET_MSRS, &msrs) != 1)
		return FAILED;
	return nr_pages(self) ? COHERENT : NOT_COHERENT;
}

/* The IOMMU counts only if there is a device, KVM's VFIO device does not */
TEST_F(coherency, machine_without_files_is_coherent)
{
	EXPECT_EQ(COHERENT, coherency(self));
	close(self->vfio);
	EXPECT_EQ(COHERENT, coherency(self));
	self->vfio = vm_create_vfio(self->vm);
	EXPECT_LE(0, self->vfio);
	EXPECT_EQ(COHERENT, coherency(self));
}

/* The driver of an emulated device may let any hardware reach memory */
TEST_F(coherency, emulated_device_is_not)
{
	int cdev = open_cdev(&self->mdev);

	ASSERT_EQ(0, add_file(self->vfio, cdev));
	EXPECT_EQ(NOT_COHERENT, coherency(self));
	EXPECT_EQ(0, del_file(self->vfio, cdev));
	EXPECT_EQ(COHERENT, coherency(self));
	close(cdev);
}

/* As long as there is one, whichever fd it is, and each counts once */
TEST_F(coherency, last_that_is_not_counts)
{
	int cdevs[2], i;

	for (i = 0; i < 2; i++) {
		cdevs[i] = open_cdev(&self->mdev);
		ASSERT_EQ(0, add_file(self->vfio, cdevs[i]));
		EXPECT_EQ(NOT_COHERENT, coherency(self));
	}
	ASSERT_EQ(0, del_file(self->vfio, cdevs[0]));
	EXPECT_EQ(NOT_COHERENT, coherency(self));
	EXPECT_ERRNO(ENOENT, del_file(self->vfio, cdevs[0]));
	EXPECT_EQ(NOT_COHERENT, coherency(self));
	ASSERT_EQ(0, del_file(self->vfio, cdevs[1]));
	EXPECT_EQ(COHERENT, coherency(self));
	close(cdevs[0]);
	close(cdevs[1]);
}

/* Closing KVM's VFIO device ends its effect, and the VM continues */
TEST_F(coherency, release_takes_it_back)
{
	int cdev = open_cdev(&self->mdev);

	ASSERT_EQ(0, add_file(self->vfio, cdev));
	ASSERT_EQ(NOT_COHERENT, coherency(self));
	close(self->vfio);
	EXPECT_EQ(COHERENT, coherency(self));
	self->vfio = vm_create_vfio(self->vm);
	ASSERT_LE(0, self->vfio);
	ASSERT_EQ(0, add_file(self->vfio, cdev));
	EXPECT_EQ(NOT_COHERENT, coherency(self));
	close(cdev);
}

/*
 * A group is queried again when another fd is added, since it may have a
 * container now
 */
TEST_F(coherency, container_that_comes_later_is_seen)
{
	int expected = has_snoop_control() ? COHERENT : NOT_COHERENT;
	int container = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int group = open_group(&self->dev);
	int mdev_group = open_group(&self->mdev);

	ASSERT_EQ(0, add_file(self->vfio, group));
	/* A device that can't reach memory is not queried */
	EXPECT_EQ(COHERENT, coherency(self));
	ASSERT_EQ(0, ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	ASSERT_EQ(0, add_file(self->vfio, mdev_group));
	EXPECT_EQ(expected, coherency(self));
	close(mdev_group);
	close(group);
	close(container);
}

/*
 * A device that is still open when its driver is unbound is not one of its
 * group any more, but can still do DMA
 */
TEST_F(coherency, device_that_is_removed_is_not)
{
	struct legacy l;
	char name[64];
	int i, status;
	pid_t pid;

	ASSERT_EQ(0, legacy_open_in(&l, &self->dev, "/dev/iommu"));
	pid = fork();
	if (!pid) {
		legacy_close(&l);
		_exit(unbind_driver(&self->dev) ? 1 : 0);
	}
	for (i = 0; i < 1000 && !vfio_dev_name(&self->dev, name, sizeof(name));
	     i++)
		usleep(10000);
	ASSERT_GT(1000, i);
	usleep(200000);
	ASSERT_EQ(0, add_file(self->vfio, l.group));
	EXPECT_EQ(NOT_COHERENT, coherency(self));
	EXPECT_EQ(0, del_file(self->vfio, l.group));
	legacy_close(&l);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Each kind of fd of a PCI device */
enum kind {
	CDEV,
	BOUND_CDEV,
	GROUP_IN_CONTAINER,
	GROUP_IN_IOMMUFD,
	DEVICE_OF_GROUP_IN_IOMMUFD,
};

FIXTURE(pci)
{
	struct _test_data_coherency c;
	struct legacy legacy;
	int iommufd;
	int file;
};

FIXTURE_VARIANT(pci)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(pci, cdev)
{
	.kind = CDEV,
};

FIXTURE_VARIANT_ADD(pci, bound_cdev)
{
	.kind = BOUND_CDEV,
};

FIXTURE_VARIANT_ADD(pci, group_in_container)
{
	.kind = GROUP_IN_CONTAINER,
};

FIXTURE_VARIANT_ADD(pci, group_in_iommufd)
{
	.kind = GROUP_IN_IOMMUFD,
};

FIXTURE_VARIANT_ADD(pci, device_of_group_in_iommufd)
{
	.kind = DEVICE_OF_GROUP_IN_IOMMUFD,
};

FIXTURE_SETUP(pci)
{
	const char *container = variant->kind == GROUP_IN_CONTAINER ?
		CONTAINER : "/dev/iommu";

	ASSERT_EQ(0, load_kvm());
	ASSERT_EQ(0, find_edu_alone(&self->c.dev));
	ASSERT_EQ(0, bind_vfio_pci(&self->c.dev));
	ASSERT_EQ(0, make_guest(&self->c));
	self->legacy = (struct legacy){ -1, -1, -1 };
	self->iommufd = -1;
	if (variant->kind > BOUND_CDEV) {
		ASSERT_EQ(0, legacy_open_in(&self->legacy, &self->c.dev,
					    container));
		self->file = dup(variant->kind == DEVICE_OF_GROUP_IN_IOMMUFD ?
				 self->legacy.device : self->legacy.group);
		return;
	}
	self->file = open_cdev(&self->c.dev);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (variant->kind == BOUND_CDEV)
		ASSERT_EQ(0, bind_iommufd(self->file, self->iommufd, NULL));
}

FIXTURE_TEARDOWN(pci)
{
	munmap(self->c.run, self->c.run_size);
	close(self->c.vcpu);
	close(self->c.vfio);
	close(self->c.vm);
	EXPECT_FALSE(vm_is_there());
	close(self->file);
	close(self->iommufd);
	legacy_close(&self->legacy);
}

/* Not because the container is missing (trap H5) */
TEST_F(pci, is_not_coherent_without_snoop_control)
{
	if (has_snoop_control())
		SKIP(return, "the IOMMU has snoop control");
	ASSERT_EQ(0, add_file(self->c.vfio, self->file));
	EXPECT_EQ(NOT_COHERENT, coherency(&self->c));
	EXPECT_EQ(0, del_file(self->c.vfio, self->file));
	EXPECT_EQ(COHERENT, coherency(&self->c));
}

/* KVM can get an unbound fd after the driver was unbound; nothing has changed */
TEST_F(pci, is_the_same_without_its_driver)
{
	if (variant->kind != CDEV)
		return;
	ASSERT_EQ(0, unbind_driver(&self->c.dev));
	ASSERT_EQ(0, add_file(self->c.vfio, self->file));
	EXPECT_EQ(has_snoop_control() ? COHERENT : NOT_COHERENT,
		  coherency(&self->c));
	EXPECT_EQ(0, del_file(self->c.vfio, self->file));
	EXPECT_EQ(0, bind_vfio_pci(&self->c.dev));
}

/* trap H5 */
TEST_F(pci, is_coherent_with_snoop_control)
{
	if (!has_snoop_control())
		SKIP(return, "the IOMMU has no snoop control");
	ASSERT_EQ(0, add_file(self->c.vfio, self->file));
	EXPECT_EQ(COHERENT, coherency(&self->c));
	EXPECT_EQ(0, del_file(self->c.vfio, self->file));
	EXPECT_EQ(COHERENT, coherency(&self->c));
}

TEST_HARNESS_MAIN

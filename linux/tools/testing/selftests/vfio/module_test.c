// SPDX-License-Identifier: GPL-2.0
/*
 * Modules stay as long as something of theirs is in use, and only that long. Needs
 * vfio-pci as a module, and modprobe.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

/* Does not wait until the module is free */
static int unload(const char *module)
{
	return syscall(SYS_delete_module, module, O_NONBLOCK);
}

FIXTURE(module)
{
	struct pci_dev dev;
	int device;
	int iommufd;
};

FIXTURE_SETUP(module)
{
	if (find_edu_alone(&self->dev))
		SKIP_TEST("no edu device that is alone in its group");
	if (access("/sys/module/vfio_pci/refcnt", F_OK))
		SKIP_TEST("vfio-pci is no module");
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
}

FIXTURE_TEARDOWN(module)
{
	close(self->device);
	close(self->iommufd);
}

/* Nothing but an open node */
TEST_F(module, open_node_keeps_the_driver)
{
	EXPECT_ERRNO(EWOULDBLOCK, unload("vfio_pci"));
	EXPECT_TRUE(is_bound(&self->dev, "vfio-pci"));
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	EXPECT_ERRNO(EWOULDBLOCK, unload("vfio_pci"));
}

/* All of them go, from the top, and come again */
TEST_F(module, everything_can_be_unloaded)
{
	static const char * const modules[] = {
		"mdpin", "mtty", "mdev", "vfio_pci", "vfio_pci_core",
		"vfio_iommu_type1", "vfio_virqfd", "vfio", "iommufd",
	};
	int i;

	ASSERT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
	close(self->device);
	close(self->iommufd);
	for (i = 0; i < ARRAY_SIZE(modules); i++) {
		errno = 0;
		/* What is built in is not there to be unloaded */
		EXPECT_TRUE(!unload(modules[i]) || errno == ENOENT);
	}
	EXPECT_EQ(-1, open_cdev(&self->dev));

	ASSERT_EQ(0, system("modprobe vfio-pci"));
	ASSERT_EQ(0, bind_vfio_pci(&self->dev));
	self->device = open_cdev(&self->dev);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	EXPECT_EQ(0, bind_iommufd(self->device, self->iommufd, NULL));
}

TEST_HARNESS_MAIN

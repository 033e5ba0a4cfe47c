// SPDX-License-Identifier: GPL-2.0
/*
 * VF tokens (trap E1): a secret that the user of a physical function (PF)
 * shares with the users of its virtual functions (VFs), because they can harm
 * each other. A group takes it after the name of the device, a cdev with BIND.
 * The rules are the same, so each case runs with cdev, group, and group on an
 * iommufd.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "vfio_util.h"

/* All bytes differ, so that their order counts */
#define TOKEN(_first)                                                          \
	{ _first, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,                    \
	  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff }

static const unsigned char token[16] = TOKEN(0x01);
static const unsigned char other[16] = TOKEN(0x02);

/*
 * struct user - a user of a device
 * @dev: the device
 * @cdev: through its cdev, not its group
 * @iommufd: iommufd, or container of the group
 * @group: -1 with a cdev
 * @device: with a group, -1 until it is opened
 */
struct user {
	const struct pci_dev *dev;
	bool cdev;
	int iommufd;
	int group;
	int device;
};

/* Everything but the last step. @container: NULL for the cdev */
static int user_open(struct user *user, const char *container,
		     const struct pci_dev *dev)
{
	*user = (struct user){
		.dev = dev,
		.cdev = !container,
		.iommufd = open(container ? container : "/dev/iommu",
				O_RDWR | O_CLOEXEC),
		.group = -1,
		.device = -1,
	};
	if (user->cdev) {
		user->device = open_cdev(dev);
		return user->device < 0 ? -1 : 0;
	}
	user->group = open_group(dev);
	return ioctl(user->group, VFIO_GROUP_SET_CONTAINER, &user->iommufd) ||
	       ioctl(user->iommufd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ? -1 : 0;
}

static void user_close(struct user *user)
{
	close(user->device);
	close(user->group);
	close(user->iommufd);
}

/* Open or bind the device with this token; NULL for none */
static int user_take(struct user *user, const unsigned char *uuid)
{
	char name[128];
	int i, len;

	if (user->cdev)
		return bind_with_token(user->device, user->iommufd, uuid, NULL);

	len = sprintf(name, "%s", user->dev->bdf);
	for (i = 0; uuid && i < 16; i++)
		len += sprintf(name + len, "%s%02x",
			       !i ? " vf_token=" :
			       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			       uuid[i]);
	user->device = ioctl(user->group, VFIO_GROUP_GET_DEVICE_FD, name);
	return user->device < 0 ? -1 : 0;
}

static int user_start(struct user *user, const char *container,
		      const struct pci_dev *dev, const unsigned char *uuid)
{
	return user_open(user, container, dev) || user_take(user, uuid) ? -1 : 0;
}

/* Open or bind the device and close it; return 0 or the errno */
static int answer_to(const char *container, const struct pci_dev *dev,
		     const unsigned char *uuid)
{
	struct user user;
	int err = 0;

	if (user_start(&user, container, dev, uuid))
		err = errno;
	user_close(&user);
	return err;
}

/* Set the token of an open PF */
static int set_token(int device, const unsigned char *uuid)
{
	struct {
		struct vfio_device_feature feature;
		unsigned char uuid[16];
	} cmd = {
		.feature = {
			.argsz = sizeof(cmd),
			.flags = VFIO_DEVICE_FEATURE_SET |
				 VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
		},
	};

	memcpy(cmd.uuid, uuid, sizeof(cmd.uuid));
	return ioctl(device, VFIO_DEVICE_FEATURE, &cmd);
}

static bool is_nvme(int device)
{
	__u32 class;

	return pread(device, &class, 4,
		     ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + 8) == 4 &&
	       class >> 8 == 0x010802;
}

/*
 * A PF and two of its VFs, all with vfio-pci. They are kept for the next case,
 * because removing VFs takes the kernel a second; so the token is the last one
 * set.
 */
FIXTURE(token)
{
	struct pci_dev pf, vf[2];
};

FIXTURE_VARIANT(token)
{
	const char *container;
};

FIXTURE_VARIANT_ADD(token, cdev)
{
	.container = NULL,
};

FIXTURE_VARIANT_ADD(token, group)
{
	.container = CONTAINER,
};

FIXTURE_VARIANT_ADD(token, group_of_iommufd)
{
	.container = "/dev/iommu",
};

/* Skip the resets at each open and close, which take 100 ms */
static int spare_resets(const struct pci_dev *dev)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset_method",
		 dev->bdf);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ret = write(fd, "\n", 1) == 1 ? 0 : -1;
	close(fd);
	return ret;
}

static int make_functions(struct pci_dev *pf, struct pci_dev vf[2],
			  const char *driver)
{
	int i;

	if (set_numvfs(pf, 0))
		return -1;
	/* It may have no driver */
	unbind_driver(pf);
	if (bind_driver(pf, driver) || set_numvfs(pf, 2))
		return -1;
	for (i = 0; i < 2; i++)
		if (find_vf(pf, i, &vf[i]) || spare_resets(&vf[i]) ||
		    bind_vfio_pci(&vf[i]))
			return -1;
	return 0;
}

static int have_functions(struct pci_dev *pf, struct pci_dev vf[2])
{
	if (is_bound(pf, "vfio-pci") &&
	    !find_vf(pf, 0, &vf[0]) && is_bound(&vf[0], "vfio-pci") &&
	    !find_vf(pf, 1, &vf[1]) && is_bound(&vf[1], "vfio-pci"))
		return 0;
	return make_functions(pf, vf, "vfio-pci");
}

FIXTURE_SETUP(token)
{
	if (find_sriov(&self->pf))
		SKIP_TEST("no device that can have virtual functions");
	ASSERT_EQ(0, have_functions(&self->pf, self->vf));
}

FIXTURE_TEARDOWN(token)
{
}

#define ANSWER_TO(_dev, _uuid) answer_to(variant->container, _dev, _uuid)
#define START(_user, _dev, _uuid)                                              \
	user_start(_user, variant->container, _dev, _uuid)

/* Virtual functions */

/* Whether or not the PF is open */
TEST_F(token, vf_without_token_is_EACCES)
{
	struct user pf;

	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], NULL));
	ASSERT_EQ(0, START(&pf, &self->pf, token));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], NULL));
	user_close(&pf);
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], NULL));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], token));
}

/* Each of the 128 bits counts */
TEST_F(token, vf_with_wrong_token_is_EACCES)
{
	unsigned char guess[16];
	int i;

	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	for (i = 0; i < 128; i++) {
		memcpy(guess, token, 16);
		guess[i / 8] ^= 1 << i % 8;
		ASSERT_EQ(EACCES, ANSWER_TO(&self->vf[0], guess));
	}
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], token));
}

/* Until a user sets the token, nobody knows it */
TEST_F(token, token_is_not_zero_at_first)
{
	static const unsigned char zero[16];

	ASSERT_EQ(0, make_functions(&self->pf, self->vf, "vfio-pci"));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], zero));
	ASSERT_EQ(0, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], zero));
	ASSERT_EQ(0, ANSWER_TO(&self->pf, zero));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], zero));
}

/* All functions can be used at once with one token */
TEST_F(token, vf_with_token_of_its_pf_works)
{
	struct user pf, vf[2];

	ASSERT_EQ(0, START(&pf, &self->pf, token));
	ASSERT_EQ(0, START(&vf[0], &self->vf[0], token));
	ASSERT_EQ(0, START(&vf[1], &self->vf[1], token));
	EXPECT_TRUE(is_nvme(pf.device));
	EXPECT_TRUE(is_nvme(vf[0].device));
	EXPECT_TRUE(is_nvme(vf[1].device));
	user_close(&vf[1]);
	user_close(&vf[0]);
	user_close(&pf);
}

/* A refused user claims nothing: others can use the device meanwhile */
TEST_F(token, refused_vf_is_free)
{
	struct iommu_option mode = {
		.size = sizeof(mode),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
	};
	struct user refused;
	int group;

	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	ASSERT_EQ(0, user_open(&refused, variant->container, &self->vf[0]));
	EXPECT_ERRNO(EACCES, user_take(&refused, other));
	EXPECT_ERRNO(EACCES, user_take(&refused, NULL));
	if (refused.cdev) {
		group = open_group(&self->vf[0]);
		EXPECT_LE(0, group);
		close(group);
		EXPECT_EQ(0, answer_to(NULL, &self->vf[0], token));
		EXPECT_EQ(0, answer_to(CONTAINER, &self->vf[0], token));
		/* Succeeds only if the iommufd has no object */
		EXPECT_EQ(0, ioctl(refused.iommufd, IOMMU_OPTION, &mode));
	}
	/* The refused user can use the device with the right token */
	EXPECT_EQ(0, user_take(&refused, token));
	user_close(&refused);
}

/*
 * Only the tokens decide, through cdev or group, for PF and VF. The bytes of
 * BIND are the hex digits of the group's string.
 */
TEST_F(token, cdev_and_group_make_no_difference)
{
	static const struct {
		/* Token of the user who opens one function and keeps it open */
		const unsigned char *first;
		/* Token of the user who then opens the other one */
		const unsigned char *then;
		bool vf_is_first;
		int answer;
	} rows[] = {
		/* The user of the PF has set no token, so nobody knows it */
		{ NULL, NULL, false, EACCES },
		{ NULL, token, false, EACCES },
		{ token, NULL, false, EACCES },
		{ token, other, false, EACCES },
		{ token, token, false, 0 },
		/* A VF is in use; the token is still that of the rows above */
		{ token, NULL, true, EACCES },
		{ token, other, true, EACCES },
		{ token, token, true, 0 },
	}, *row;
	static const char *const ways[] = { NULL, CONTAINER, "/dev/iommu" };
	const char *pf = variant->container, *vf;
	struct user first;
	int i, answer;

	ASSERT_EQ(0, make_functions(&self->pf, self->vf, "vfio-pci"));
	for (row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		for (i = 0; i < ARRAY_SIZE(ways); i++) {
			vf = ways[i];
			ASSERT_EQ(0, row->vf_is_first ?
				     user_start(&first, vf, &self->vf[0],
						row->first) :
				     user_start(&first, pf, &self->pf,
						row->first));
			answer = row->vf_is_first ?
				 answer_to(pf, &self->pf, row->then) :
				 answer_to(vf, &self->vf[0], row->then);
			EXPECT_EQ(row->answer, answer) {
				TH_LOG("row %td: PF by %s, VF by %s",
				       row - rows, pf ? pf : "its cdev",
				       vf ? vf : "its cdev");
			}
			user_close(&first);
		}
	}
}

/* A PF with another driver than vfio-pci has no token */
TEST_F(token, vf_of_a_pf_elsewhere_has_no_token)
{
	ASSERT_EQ(0, make_functions(&self->pf, self->vf, "nvme"));
	EXPECT_EQ(EINVAL, ANSWER_TO(&self->vf[0], token));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], NULL));
	EXPECT_EQ(EINVAL, ANSWER_TO(&self->vf[0], token));
}

/* The physical function */

/* A user who passes a token sets it; a user who passes none leaves it */
TEST_F(token, pf_sets_the_token_while_no_vf_is_used)
{
	EXPECT_EQ(0, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, token));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], token));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], token));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, other));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], other));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], token));
}

/* A BIND that fails before the driver is asked leaves it, too */
TEST_F(token, refused_bind_sets_no_token)
{
	struct user pf;
	int second, group;

	if (variant->container)
		return;
	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	second = open_cdev(&self->pf);
	ASSERT_LE(0, second);
	group = open_group(&self->pf);
	EXPECT_ERRNO(EBUSY, bind_with_token(second, 1000, other, NULL));
	close(group);
	EXPECT_ERRNO(EBADF, bind_with_token(second, 1000, other, NULL));
	EXPECT_ERRNO(EBADFD, bind_with_token(second, second, other, NULL));
	/* Another file has bound the PF */
	ASSERT_EQ(0, START(&pf, &self->pf, NULL));
	EXPECT_ERRNO(EINVAL, bind_with_token(second, pf.iommufd, other, NULL));
	EXPECT_ERRNO(EINVAL, bind_with_token(pf.device, pf.iommufd, other, NULL));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], other));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], token));
	user_close(&pf);
	close(second);
}

/* While a VF is in use, the user of the PF must know the token */
TEST_F(token, pf_of_used_vf_needs_the_token)
{
	struct user vf;

	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	ASSERT_EQ(0, START(&vf, &self->vf[0], token));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->pf, other));
	/* The failed attempt did not set the token */
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[1], other));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[1], token));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, token));
	user_close(&vf);

	EXPECT_EQ(0, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, other));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[0], other));
}

/* A refused user does not count, whatever the token */
TEST_F(token, refused_vf_is_not_used)
{
	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], NULL));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], other));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, other));
}

/*
 * The user of the open PF can set another token, which counts for later users
 */
TEST_F(token, token_is_set_through_the_open_pf)
{
	struct user pf, vf;

	ASSERT_EQ(0, START(&pf, &self->pf, NULL));
	ASSERT_EQ(0, set_token(pf.device, token));
	ASSERT_EQ(0, START(&vf, &self->vf[0], token));
	ASSERT_EQ(0, set_token(pf.device, other));
	EXPECT_TRUE(is_nvme(vf.device));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[1], token));
	EXPECT_EQ(0, ANSWER_TO(&self->vf[1], other));
	/* A VF has no token to set */
	EXPECT_ERRNO(ENOTTY, set_token(vf.device, token));
	user_close(&vf);
	user_close(&pf);
	EXPECT_EQ(0, ANSWER_TO(&self->vf[1], other));
}

/* The token goes with the driver, even if the same driver is bound again */
TEST_F(token, token_goes_with_the_driver)
{
	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	ASSERT_EQ(0, ANSWER_TO(&self->vf[0], token));
	ASSERT_EQ(0, make_functions(&self->pf, self->vf, "vfio-pci"));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->vf[0], token));
}

/* A device that is neither PF nor VF */
TEST_F(token, token_for_a_device_without_functions_is_EINVAL)
{
	struct pci_dev dev;

	ASSERT_EQ(0, find_edu_alone(&dev));
	ASSERT_EQ(0, bind_vfio_pci(&dev));
	EXPECT_EQ(EINVAL, ANSWER_TO(&dev, token));
	EXPECT_EQ(0, ANSWER_TO(&dev, NULL));
}

/*
 * A driver without tokens. The group then compares the name with the whole
 * string.
 */
TEST_F(token, token_for_a_driver_without_tokens)
{
	struct pci_dev dev;

	ASSERT_EQ(0, mdev_create(&dev, "mtty", "1"));
	EXPECT_EQ(variant->container ? ENODEV : EINVAL, ANSWER_TO(&dev, token));
	EXPECT_EQ(0, ANSWER_TO(&dev, NULL));
	EXPECT_EQ(0, mdev_remove(&dev));
}

/* Users in different processes */

static pid_t fork_that_dies(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Errno of another process, which shares no fd with this one */
static int answer_to_other(struct user *mine, const char *container,
			   const struct pci_dev *dev, const unsigned char *uuid)
{
	pid_t pid = fork_that_dies();
	int status;

	if (!pid) {
		user_close(mine);
		_exit(answer_to(container, dev, uuid));
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* Another process that holds the device until it is killed */
static pid_t held_by_other(struct user *mine, const char *container,
			   const struct pci_dev *dev, const unsigned char *uuid)
{
	struct user user;
	int pipes[2];
	char byte;
	pid_t pid;

	if (pipe(pipes))
		return -1;
	pid = fork_that_dies();
	if (!pid) {
		user_close(mine);
		if (!user_start(&user, container, dev, uuid) &&
		    write(pipes[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) != 1)
		pid = -1;
	close(pipes[0]);
	return pid;
}

/* Any process can use a VF if it got the token from the user of the PF */
TEST_F(token, pf_and_vf_in_different_hands)
{
	struct user pf;
	int status;
	pid_t pid;

	ASSERT_EQ(0, START(&pf, &self->pf, token));
	EXPECT_EQ(EACCES, answer_to_other(&pf, variant->container,
					  &self->vf[0], NULL));
	EXPECT_EQ(EACCES, answer_to_other(&pf, variant->container,
					  &self->vf[0], other));
	EXPECT_EQ(0, answer_to_other(&pf, variant->container, &self->vf[0],
				     token));

	pid = held_by_other(&pf, variant->container, &self->vf[0], token);
	ASSERT_LT(0, pid);
	/* The PF is closed: its next user must know the token too */
	user_close(&pf);
	EXPECT_EQ(EACCES, ANSWER_TO(&self->pf, NULL));
	EXPECT_EQ(EACCES, ANSWER_TO(&self->pf, other));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, token));

	EXPECT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, ANSWER_TO(&self->pf, NULL));
}

static void nap(void)
{
	struct timespec pause = { .tv_nsec = 10000000 };

	nanosleep(&pause, NULL);
}

/* Removing VFs asks their users to close them, and waits */
TEST_F(token, removal_of_vfs_waits_for_their_users)
{
	struct user vf;
	struct pollfd asked = { .events = POLLIN };
	int tries, status;
	pid_t pid;

	ASSERT_EQ(0, ANSWER_TO(&self->pf, token));
	ASSERT_EQ(0, START(&vf, &self->vf[1], token));
	asked.fd = irq_eventfd(vf.device, VFIO_PCI_REQ_IRQ_INDEX);
	ASSERT_LE(0, asked.fd);

	pid = fork_that_dies();
	if (!pid) {
		user_close(&vf);
		_exit(set_numvfs(&self->pf, 0) ? 1 : 0);
	}
	EXPECT_EQ(1, poll(&asked, 1, 10000));
	for (tries = 0; tries < 30; tries++) {
		nap();
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	}
	EXPECT_TRUE(is_nvme(vf.device));
	/* A VF that is being removed can't be opened */
	EXPECT_NE(0, ANSWER_TO(&self->vf[1], token));

	user_close(&vf);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-1, find_vf(&self->pf, 0, &self->vf[0]));
	/* The PF stays, and none of its VFs is in use */
	EXPECT_EQ(0, ANSWER_TO(&self->pf, other));
}

/* Rules for BIND only */
FIXTURE(bind)
{
	struct pci_dev pf, vf[2];
	int device;
	int iommufd;
	char room[64];
	struct vfio_device_bind_iommufd *cmd;
};

FIXTURE_SETUP(bind)
{
	if (find_sriov(&self->pf))
		SKIP_TEST("no device that can have virtual functions");
	ASSERT_EQ(0, have_functions(&self->pf, self->vf));
	ASSERT_EQ(0, answer_to(NULL, &self->pf, token));
	self->device = open_cdev(&self->vf[0]);
	ASSERT_LE(0, self->device);
	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	self->cmd = (void *)self->room;
	*self->cmd = (struct vfio_device_bind_iommufd){
		.argsz = 24,
		.flags = VFIO_DEVICE_BIND_FLAG_TOKEN,
		.iommufd = self->iommufd,
		.token_uuid_ptr = (uintptr_t)token,
	};
}

FIXTURE_TEARDOWN(bind)
{
	close(self->device);
	close(self->iommufd);
}

#define BIND() ioctl(self->device, VFIO_DEVICE_BIND_IOMMUFD, self->cmd)

TEST_F(bind, unreadable_token_is_EFAULT)
{
	char *page = map_anon(2 * PAGE);

	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	self->cmd->token_uuid_ptr = 0;
	EXPECT_ERRNO(EFAULT, BIND());
	self->cmd->token_uuid_ptr = ~0ULL;
	EXPECT_ERRNO(EFAULT, BIND());
	/* All but the last byte can be read */
	memcpy(page + PAGE - 15, token, 15);
	self->cmd->token_uuid_ptr = (uintptr_t)page + PAGE - 15;
	EXPECT_ERRNO(EFAULT, BIND());
	memcpy(page + PAGE - 16, token, 16);
	self->cmd->token_uuid_ptr = (uintptr_t)page + PAGE - 16;
	EXPECT_EQ(0, BIND());
}

/* Without the flag the pointer is ignored */
TEST_F(bind, pointer_without_flag_is_ignored)
{
	self->cmd->flags = 0;
	EXPECT_ERRNO(EACCES, BIND());
	self->cmd->token_uuid_ptr = 0;
	EXPECT_ERRNO(EACCES, BIND());
	self->cmd->argsz = 16;
	EXPECT_ERRNO(EACCES, BIND());

	/* For a device that needs no token */
	close(self->device);
	self->device = open_cdev(&self->pf);
	self->cmd->argsz = 24;
	self->cmd->token_uuid_ptr = ~0ULL;
	EXPECT_EQ(0, BIND());
}

/* A structure that ends before or inside the pointer has no token */
TEST_F(bind, short_structure_has_no_token)
{
	for (self->cmd->argsz = 16; self->cmd->argsz < 24; self->cmd->argsz++)
		EXPECT_ERRNO(EFAULT, BIND());
	EXPECT_EQ(0, BIND());
}

/* The unknown part of a longer structure must be zero */
TEST_F(bind, unknown_tail_is_E2BIG)
{
	int i;

	self->cmd->argsz = sizeof(self->room);
	for (i = 24; i < sizeof(self->room); i++) {
		self->room[i] = 1;
		EXPECT_ERRNO(E2BIG, BIND());
		self->room[i] = 0;
	}
	EXPECT_EQ(0, BIND());
}

TEST_F(bind, unknown_flag_is_EINVAL)
{
	int i;

	for (i = 1; i < 32; i++) {
		self->cmd->flags = VFIO_DEVICE_BIND_FLAG_TOKEN | 1U << i;
		EXPECT_ERRNO(EINVAL, BIND());
		self->cmd->flags = 1U << i;
		EXPECT_ERRNO(EINVAL, BIND());
	}
	self->cmd->flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
	EXPECT_EQ(0, BIND());
}

/* An unreadable token is the first error, a wrong one the last */
TEST_F(bind, wrong_token_is_the_last_error)
{
	struct user user;
	int file;

	ASSERT_EQ(0, user_open(&user, CONTAINER, &self->vf[0]));
	self->cmd->token_uuid_ptr = 0;
	EXPECT_ERRNO(EFAULT, BIND());
	self->cmd->token_uuid_ptr = (uintptr_t)other;
	EXPECT_ERRNO(EBUSY, BIND());
	user_close(&user);

	file = dup(self->iommufd);
	close(file);
	self->cmd->iommufd = file;
	EXPECT_ERRNO(EBADF, BIND());
	self->cmd->iommufd = self->device;
	EXPECT_ERRNO(EBADFD, BIND());
	self->cmd->iommufd = self->iommufd;

	ASSERT_EQ(0, user_start(&user, NULL, &self->vf[0], token));
	EXPECT_ERRNO(EINVAL, BIND());
	user_close(&user);

	EXPECT_ERRNO(EACCES, BIND());
	self->cmd->token_uuid_ptr = (uintptr_t)token;
	EXPECT_EQ(0, BIND());
	self->cmd->token_uuid_ptr = (uintptr_t)other;
	EXPECT_ERRNO(EINVAL, BIND());
}

/* Only the id is written, and 16 bytes are read */
TEST_F(bind, answer_changes_nothing_else)
{
	char before[64];

	self->cmd->argsz = sizeof(self->room);
	self->cmd->out_devid = 0x5a5a5a5a;
	self->cmd->token_uuid_ptr = (uintptr_t)other;
	memcpy(before, self->room, sizeof(before));
	EXPECT_ERRNO(EACCES, BIND());
	EXPECT_EQ(0, memcmp(before, self->room, sizeof(before)));

	self->cmd->token_uuid_ptr = (uintptr_t)token;
	EXPECT_EQ(0, BIND());
	EXPECT_EQ(1, self->cmd->out_devid);
	self->cmd->out_devid = 0x5a5a5a5a;
	self->cmd->token_uuid_ptr = (uintptr_t)other;
	EXPECT_EQ(0, memcmp(before, self->room, sizeof(before)));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vfio_util.h"

#define PCI "/sys/bus/pci/devices"

static int read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "r");
	char *got;

	if (!f)
		return -1;
	got = fgets(line, size, f);
	fclose(f);
	if (!got)
		return -1;
	line[strcspn(line, "\n")] = 0;
	return 0;
}

static int write_line(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY);
	ssize_t len = strlen(line);
	int ret;

	if (fd < 0)
		return -1;
	ret = write(fd, line, len) == len ? 0 : -1;
	close(fd);
	return ret;
}

static int link_name(const char *path, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len < 0)
		return -1;
	target[len] = 0;
	snprintf(name, size, "%s", strrchr(target, '/') + 1);
	return 0;
}

static void sysfs_path(const struct pci_dev *dev, const char *leaf,
		       char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "/sys/bus/%s/devices/%s/%s",
		 dev->mdev ? "mdev" : "pci", dev->bdf, leaf);
}

static bool has_iommu(void)
{
	DIR *dir = opendir("/sys/class/iommu");
	struct dirent *entry;
	bool ret = false;

	while (dir && (entry = readdir(dir)))
		ret |= entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return ret;
}

static int group_of(const struct pci_dev *dev)
{
	char path[PATH_MAX], name[32];

	sysfs_path(dev, "iommu_group", path);
	if (link_name(path, name, sizeof(name)))
		return -1;
	return atoi(name);
}

/*
 * If the IOMMU driver is loaded after the devices exist, as virtio-iommu's is,
 * a device gets its group only when a driver is bound to it
 */
static void find_group(struct pci_dev *dev)
{
	char path[PATH_MAX];

	dev->group = group_of(dev);
	sysfs_path(dev, "driver", path);
	if (dev->group >= 0 || !access(path, F_OK) || !has_iommu())
		return;
	bind_driver(dev, "vfio-pci");
	unbind_driver(dev);
	dev->group = group_of(dev);
}

static int find_edus(struct pci_dev *found, int max)
{
	struct dirent **list;
	int nr, i, n = 0;

	memset(found, 0, max * sizeof(*found));
	nr = scandir(PCI, &list, NULL, alphasort);
	for (i = 0; i < nr; i++) {
		char path[PATH_MAX], vendor[16], device[16];
		const char *bdf = list[i]->d_name;

		snprintf(path, sizeof(path), PCI "/%s/vendor", bdf);
		if (n < max && !read_line(path, vendor, sizeof(vendor)) &&
		    !strcmp(vendor, "0x1234")) {
			snprintf(path, sizeof(path), PCI "/%s/device", bdf);
			if (!read_line(path, device, sizeof(device)) &&
			    !strcmp(device, "0x11e8")) {
				if (sscanf(bdf, "%15s", found[n].bdf) == 1) {
					find_group(&found[n]);
					n++;
				}
			}
		}
		free(list[i]);
	}
	if (nr >= 0)
		free(list);
	return n;
}

int find_edu_alone(struct pci_dev *dev)
{
	struct pci_dev all[16];
	int nr = find_edus(all, 16), i, j;

	for (i = 0; i < nr; i++) {
		int sharers = 0;

		for (j = 0; j < nr; j++)
			sharers += all[i].group == all[j].group;
		if (sharers == 1 || all[i].group < 0) {
			*dev = all[i];
			return 0;
		}
	}
	return -1;
}

int find_edu_pair(struct pci_dev *a, struct pci_dev *b)
{
	struct pci_dev all[16];
	int nr = find_edus(all, 16), i, j;

	for (i = 0; i < nr; i++) {
		for (j = i + 1; j < nr; j++) {
			if (all[i].group >= 0 && all[i].group == all[j].group) {
				*a = all[i];
				*b = all[j];
				return 0;
			}
		}
	}
	return -1;
}

/*
 * Find two edus that share a bus and so are reset together, each alone in its
 * group. Without an IOMMU they need no group.
 */
int find_edu_neighbours(struct pci_dev *a, struct pci_dev *b)
{
	const size_t domain_and_bus = strlen("0000:00:");
	struct pci_dev all[16];
	int nr = find_edus(all, 16), i;

	/* scandir() has sorted them by address */
	for (i = 0; i + 1 < nr; i++) {
		char bridge[PATH_MAX];

		snprintf(bridge, sizeof(bridge), PCI "/%s/../device",
			 all[i].bdf);
		if (!strncmp(all[i].bdf, all[i + 1].bdf, domain_and_bus) &&
		    (all[i].group < 0 || all[i].group != all[i + 1].group) &&
		    !access(bridge, F_OK)) {
			*a = all[i];
			*b = all[i + 1];
			return 0;
		}
	}
	return -1;
}

/* Find the device number n, from 0, of this class, such as 0x010802 */
int find_pci_class_nth(struct pci_dev *dev, const char *class, int n)
{
	struct dirent **list;
	int nr, i, ret = -1;

	memset(dev, 0, sizeof(*dev));
	nr = scandir(PCI, &list, NULL, alphasort);
	for (i = 0; i < nr; i++) {
		char path[PATH_MAX], line[16];

		snprintf(path, sizeof(path), PCI "/%s/class", list[i]->d_name);
		if (ret && !read_line(path, line, sizeof(line)) &&
		    !strcmp(line, class) && !n-- &&
		    sscanf(list[i]->d_name, "%15s", dev->bdf) == 1) {
			dev->group = group_of(dev);
			ret = 0;
		}
		free(list[i]);
	}
	if (nr >= 0)
		free(list);
	return ret;
}

int find_pci_class(struct pci_dev *dev, const char *class)
{
	return find_pci_class_nth(dev, class, 0);
}

/* Write to a file of the device in sysfs, such as reset or remove */
int write_pci_file(const struct pci_dev *dev, const char *leaf, const char *line)
{
	char path[PATH_MAX];

	sysfs_path(dev, leaf, path);
	return write_line(path, line);
}

int rescan_pci(void)
{
	return write_line("/sys/bus/pci/rescan", "1");
}

bool is_bound(const struct pci_dev *dev, const char *driver)
{
	char path[PATH_MAX], name[64];

	snprintf(path, sizeof(path), PCI "/%s/driver", dev->bdf);
	return !link_name(path, name, sizeof(name)) && !strcmp(name, driver);
}

int bind_driver(const struct pci_dev *dev, const char *driver)
{
	char path[PATH_MAX];

	if (!is_bound(dev, driver)) {
		unbind_driver(dev);
		snprintf(path, sizeof(path), PCI "/%s/driver_override", dev->bdf);
		if (write_line(path, driver))
			return -1;
		write_line("/sys/bus/pci/drivers_probe", dev->bdf);
	}
	return is_bound(dev, driver) ? 0 : -1;
}

int bind_vfio_pci(struct pci_dev *dev)
{
	int ret = bind_driver(dev, "vfio-pci");

	/* Without an IOMMU the device gets its group only now */
	dev->group = group_of(dev);
	return ret;
}

/*
 * Set the domain that kernel drivers get for the device: "DMA" or "identity".
 * The device must be alone in its group and have no driver.
 */
int set_default_domain(const struct pci_dev *dev, const char *type)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/type",
		 dev->group);
	return write_line(path, type);
}

int unbind_driver(const struct pci_dev *dev)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/%s/driver/unbind", dev->bdf);
	return write_line(path, dev->bdf);
}

/* Create a device of a sample driver, whose module is loaded if necessary */
int mdev_create(struct pci_dev *dev, const char *driver, const char *type)
{
	char path[PATH_MAX], modprobe[64];
	static int nr;

	memset(dev, 0, sizeof(*dev));
	dev->mdev = true;
	snprintf(dev->bdf, sizeof(dev->bdf), "%08x-0000-4000-8000-%012x",
		 getpid(), nr++);
	snprintf(path, sizeof(path),
		 "/sys/class/mdev_bus/%s/mdev_supported_types/%s-%s/create",
		 driver, driver, type);
	snprintf(modprobe, sizeof(modprobe), "modprobe %s", driver);
	if ((access(path, F_OK) && system(modprobe)) ||
	    write_line(path, dev->bdf))
		return -1;
	dev->group = group_of(dev);
	return 0;
}

/* Blocks until the device is no longer in use */
int mdev_remove(const struct pci_dev *dev)
{
	char path[PATH_MAX];

	sysfs_path(dev, "remove", path);
	return write_line(path, "1");
}

/* Let the next opens of mdpin devices fail with this errno; 0 stops that */
int mdpin_fail_open(int error)
{
	char line[16];

	snprintf(line, sizeof(line), "%d", error);
	return write_line("/sys/module/mdpin/parameters/fail_open", line);
}

/* Find an SR-IOV physical function (PF) */
int find_sriov(struct pci_dev *pf)
{
	struct dirent **list;
	int nr, i, ret = -1;

	memset(pf, 0, sizeof(*pf));
	nr = scandir(PCI, &list, NULL, alphasort);
	for (i = 0; i < nr; i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), PCI "/%s/sriov_totalvfs",
			 list[i]->d_name);
		if (ret && !access(path, F_OK) &&
		    sscanf(list[i]->d_name, "%15s", pf->bdf) == 1) {
			pf->group = group_of(pf);
			ret = 0;
		}
		free(list[i]);
	}
	if (nr >= 0)
		free(list);
	return ret;
}

/*
 * Create @nr VFs without a driver, or with 0 remove all, which blocks until
 * none is in use. The kernel refuses to change one number of VFs to another;
 * set 0 first.
 *
 * While the PF has VFs, the reset of the PF at open and close is switched off:
 * it would remove QEMU's VFs without the kernel knowing.
 */
int set_numvfs(const struct pci_dev *pf, int nr)
{
	char path[PATH_MAX], text[16];

	write_line("/sys/module/vfio_pci/parameters/enable_sriov", "1");
	sysfs_path(pf, "sriov_drivers_autoprobe", path);
	if (write_line(path, "0"))
		return -1;
	sysfs_path(pf, "reset_method", path);
	if (write_line(path, nr ? "\n" : "default"))
		return -1;
	sysfs_path(pf, "sriov_numvfs", path);
	snprintf(text, sizeof(text), "%d", nr);
	return write_line(path, text);
}

int find_vf(const struct pci_dev *pf, int nr, struct pci_dev *vf)
{
	char path[PATH_MAX], leaf[32];

	memset(vf, 0, sizeof(*vf));
	snprintf(leaf, sizeof(leaf), "virtfn%d", nr);
	sysfs_path(pf, leaf, path);
	if (link_name(path, vf->bdf, sizeof(vf->bdf)))
		return -1;
	vf->group = group_of(vf);
	return 0;
}

/*
 * One entry for each IOMMU driver. The properties are those of Debian 12's QEMU
 * 7.2.
 */
static const struct iommu_kind iommu_kinds[] = {
	{ .units = "dmar", .fault = "fault addr 0x%llx",
	  .hw_info = IOMMU_HW_INFO_TYPE_INTEL_VTD },
	/* AMD: QEMU logs no DMA faults, and does not see buses behind ports */
	{ .units = "ivhd", .bits = 64, .root_bus_only = true },
	{ .units = "smmu3", .fault = "0x%016llx", .reach_is_late = true },
	/* virtio-iommu's unit has the name of its PCI device */
	{ .units = "0000:", .fault = "at 0x%llx", .bits = 64,
	  .reach_is_late = true },
	/* Any other IOMMU, or none */
	{ .units = "" },
};

const struct iommu_kind *iommu_of(const struct pci_dev *dev)
{
	const struct iommu_kind *kind = iommu_kinds;
	char path[PATH_MAX], unit[64] = "";

	sysfs_path(dev, "iommu", path);
	link_name(path, unit, sizeof(unit));
	while (strncmp(unit, kind->units, strlen(kind->units)))
		kind++;
	return kind;
}

/* Register "cap" or "ecap" of the VT-d unit of a device; 0 if it has none */
__u64 vtd_register(const struct pci_dev *dev, const char *name)
{
	char path[PATH_MAX], leaf[64], line[32];

	snprintf(leaf, sizeof(leaf), "iommu/intel-iommu/%s", name);
	sysfs_path(dev, leaf, path);
	return read_line(path, line, sizeof(line)) ? 0 : strtoull(line, NULL, 16);
}

/* Address width of the IOMMU; 0 if unknown */
unsigned int iommu_bits(const struct pci_dev *dev)
{
	if (iommu_of(dev)->hw_info == IOMMU_HW_INFO_TYPE_INTEL_VTD)
		return (vtd_register(dev, "cap") >> 16 & 0x3f) + 1;
	return iommu_of(dev)->bits;
}

/*
 * The last IOVA that the device can use; 0 if unknown. The device must not be
 * open.
 */
__u64 last_iova(const struct pci_dev *dev)
{
	struct iommu_iova_range range[32];
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.num_iovas = 32,
		.allowed_iovas = (uintptr_t)range,
	};
	__u64 last = 0;
	struct opened o;

	if (!open_device(&o, dev, NULL)) {
		ranges.ioas_id = o.ioas;
		if (!ioctl(o.iommufd, IOMMU_IOAS_IOVA_RANGES, &ranges))
			last = range[ranges.num_iovas - 1].last;
	}
	close_device(&o);
	return last;
}

/* QEMU loses DMA of this device, so a test of DMA has to skip */
bool loses_dma(const struct pci_dev *dev)
{
	char path[PATH_MAX];

	/* Only a PCI Express port has this file */
	sysfs_path(dev, "../current_link_speed", path);
	return iommu_of(dev)->root_bus_only && !access(path, F_OK);
}

/* Does this kernel have VFIO cdevs? */
bool has_cdevs(void)
{
	FILE *f = fopen("/proc/devices", "r");
	bool found = false;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		found |= !!strstr(line, " vfio-dev\n");
	if (f)
		fclose(f);
	return found;
}

/*
 * Get the only name in the device's vfio-dev directory; -1 if there is none or
 * several
 */
int vfio_dev_name(const struct pci_dev *dev, char *name, size_t size)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int nr = 0;
	DIR *dir;

	sysfs_path(dev, "vfio-dev", path);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(name, size, "%s", entry->d_name);
		nr++;
	}
	closedir(dir);
	return nr == 1 ? 0 : -1;
}

int vfio_cdev_path(const struct pci_dev *dev, char *path, size_t size)
{
	char name[64];

	if (vfio_dev_name(dev, name, sizeof(name)))
		return -1;
	snprintf(path, size, "/dev/vfio/devices/%s", name);
	return 0;
}

int open_cdev(const struct pci_dev *dev)
{
	char path[PATH_MAX];

	if (vfio_cdev_path(dev, path, sizeof(path)))
		return -1;
	return open(path, O_RDWR | O_CLOEXEC);
}

int open_group(const struct pci_dev *dev)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%d", dev->group);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* @token: 16 bytes, or NULL for none */
int bind_with_token(int device, int iommufd, const void *token, __u32 *id)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.flags = token ? VFIO_DEVICE_BIND_FLAG_TOKEN : 0,
		.iommufd = iommufd,
		.token_uuid_ptr = (uintptr_t)token,
	};

	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -1;
	if (id)
		*id = bind.out_devid;
	return 0;
}

int bind_iommufd(int device, int iommufd, __u32 *id)
{
	return bind_with_token(device, iommufd, NULL, id);
}

int attach_pt(int device, __u32 pt_id, __u32 *hwpt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = pt_id,
	};

	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return -1;
	if (hwpt_id)
		*hwpt_id = attach.pt_id;
	return 0;
}

int detach_pt(int device)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
	};

	return ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

int ioas_alloc(int iommufd, __u32 *id)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		return -1;
	*id = alloc.out_ioas_id;
	return 0;
}

int ioas_map(int iommufd, __u32 ioas, void *va, size_t length, __u64 iova,
	     __u32 flags)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = flags | IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = ioas,
		.user_va = (uintptr_t)va,
		.length = length,
		.iova = iova,
	};

	return ioctl(iommufd, IOMMU_IOAS_MAP, &map);
}

int ioas_map_auto(int iommufd, __u32 ioas, void *va, size_t length,
		  __u64 *iova, __u32 flags)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = ioas,
		.user_va = (uintptr_t)va,
		.length = length,
	};

	if (ioctl(iommufd, IOMMU_IOAS_MAP, &map))
		return -1;
	*iova = map.iova;
	return 0;
}

int ioas_unmap(int iommufd, __u32 ioas, __u64 iova, __u64 length)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas,
		.iova = iova,
		.length = length,
	};

	return ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

int iommufd_destroy(int iommufd, __u32 id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return ioctl(iommufd, IOMMU_DESTROY, &destroy);
}

/* @id: input of SET, output of GET */
int vfio_ioas(int iommufd, __u16 op, __u32 *id)
{
	struct iommu_vfio_ioas cmd = {
		.size = sizeof(cmd),
		.ioas_id = *id,
		.op = op,
	};
	int ret = ioctl(iommufd, IOMMU_VFIO_IOAS, &cmd);

	*id = cmd.ioas_id;
	return ret;
}

int hwpt_alloc(int iommufd, __u32 dev_id, __u32 ioas, __u32 *id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = dev_id,
		.pt_id = ioas,
	};

	if (ioctl(iommufd, IOMMU_HWPT_ALLOC, &alloc))
		return -1;
	*id = alloc.out_hwpt_id;
	return 0;
}

/* Is all of [start, last] in one range of IOMMU_IOAS_IOVA_RANGES? */
bool is_usable(int iommufd, __u32 ioas, __u64 start, __u64 last)
{
	struct iommu_iova_range range[32];
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = ioas,
		.num_iovas = 32,
		.allowed_iovas = (uintptr_t)range,
	};
	__u32 i;

	if (ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &ranges))
		return false;
	for (i = 0; i < ranges.num_iovas; i++)
		if (range[i].start <= start && range[i].last >= last)
			return true;
	return false;
}

/* Is the container an iommufd? Only that knows IOMMU_OPTION. */
bool is_iommufd(int container)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_GET,
	};

	return !ioctl(container, IOMMU_OPTION, &option);
}

/* Alignment of IOVAs and lengths; 0 if it can't be queried */
__u64 iova_alignment(int iommufd, __u32 ioas)
{
	struct iommu_iova_range range;
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = ioas,
		.num_iovas = 1,
		.allowed_iovas = (uintptr_t)&range,
	};

	if (ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &ranges) &&
	    errno != EMSGSIZE)
		return 0;
	return ranges.out_iova_alignment;
}

/*
 * Map a file in a new IOAS, and return an fd of it. The mapping, which keeps the
 * file from being sealed, exists as long as anything has a reference to the
 * iommufd.
 */
int watch_iommufd(int iommufd)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.length = PAGE,
		.iova = SZ_2M,
	};

	map.fd = memfd_create("watch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(map.fd, PAGE) || ioas_alloc(iommufd, &map.ioas_id) ||
	    ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map) ||
	    !fcntl(map.fd, F_ADD_SEALS, F_SEAL_WRITE))
		return -1;
	return map.fd;
}

/* Does nothing have a reference to the iommufd any more? Closes the fd. */
bool is_iommufd_gone(int watch)
{
	bool ret = !fcntl(watch, F_ADD_SEALS, F_SEAL_WRITE);

	close(watch);
	return ret;
}

int legacy_open(struct legacy *l, const struct pci_dev *dev)
{
	return legacy_open_in(l, dev, CONTAINER);
}

/* @container: path of the container, which can be /dev/iommu */
int legacy_open_in(struct legacy *l, const struct pci_dev *dev,
		   const char *container)
{
	l->device = -1;
	l->group = open_group(dev);
	l->container = open(container, O_RDWR | O_CLOEXEC);
	if (l->group < 0 || l->container < 0 ||
	    ioctl(l->group, VFIO_GROUP_SET_CONTAINER, &l->container) ||
	    ioctl(l->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -1;
	l->device = ioctl(l->group, VFIO_GROUP_GET_DEVICE_FD, dev->bdf);
	return l->device < 0 ? -1 : 0;
}

void legacy_close(struct legacy *l)
{
	close(l->device);
	close(l->group);
	close(l->container);
}

int legacy_map(int container, void *va, size_t length, __u64 iova, __u32 flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)va,
		.iova = iova,
		.size = length,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

int legacy_unmap(int container, __u64 iova, __u64 length)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = length,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

int open_unattached(struct opened *o, const struct pci_dev *dev)
{
	o->device = open_cdev(dev);
	o->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return bind_iommufd(o->device, o->iommufd, NULL) ||
	       ioas_alloc(o->iommufd, &o->ioas) ? -1 : 0;
}

/* @container: path of the container for the group; NULL: use the cdev */
int open_device(struct opened *o, const struct pci_dev *dev,
		const char *container)
{
	o->iommufd = -1;
	if (container) {
		if (legacy_open_in(&o->legacy, dev, container))
			return -1;
		o->device = o->legacy.device;
		return 0;
	}
	return open_unattached(o, dev) || attach_pt(o->device, o->ioas, NULL) ?
		-1 : 0;
}

void close_device(struct opened *o)
{
	if (o->iommufd < 0) {
		legacy_close(&o->legacy);
		return;
	}
	close(o->device);
	close(o->iommufd);
}

int map_for_device(struct opened *o, void *va, size_t length, __u64 iova)
{
	if (o->iommufd < 0)
		return legacy_map(o->legacy.container, va, length, iova,
				  VFIO_DMA_MAP_FLAG_READ |
				  VFIO_DMA_MAP_FLAG_WRITE);
	return ioas_map(o->iommufd, o->ioas, va, length, iova, MAP_RW);
}

int unmap_for_device(struct opened *o, __u64 iova, size_t length)
{
	if (o->iommufd < 0)
		return legacy_unmap(o->legacy.container, iova, length);
	return ioas_unmap(o->iommufd, o->ioas, iova, length);
}

int region_info(int device, __u32 index, struct vfio_region_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	info->index = index;
	return ioctl(device, VFIO_DEVICE_GET_REGION_INFO, info);
}

off_t region_at(int device, __u32 index)
{
	struct vfio_region_info info;

	return region_info(device, index, &info) ? -1 : (off_t)info.offset;
}

void *map_region(int device, off_t offset, size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		       offset);

	return p == MAP_FAILED ? NULL : p;
}

int change_command(int device, __u16 set, __u16 clear)
{
	off_t at = region_at(device, VFIO_PCI_CONFIG_REGION_INDEX) +
		   PCI_COMMAND;
	__u16 command;

	if (pread(device, &command, 2, at) != 2)
		return -1;
	command = (command & ~clear) | set;
	return pwrite(device, &command, 2, at) == 2 ? 0 : -1;
}

enum {
	EDU_DMA_SRC = 0x80,
	EDU_DMA_DST = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_CMD = 0x98,
	EDU_DMA_START = 1,
	EDU_DMA_TO_RAM = 2,
	EDU_DMA_IRQ = 4,
	EDU_BUFFER = 0x40000,
};

int edu_open(struct edu *edu, int device)
{
	edu->device = device;
	if (change_command(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0))
		return -1;
	edu->regs = map_region(device,
			       region_at(device, VFIO_PCI_BAR0_REGION_INDEX),
			       PAGE);
	return edu->regs ? 0 : -1;
}

void edu_close(struct edu *edu)
{
	munmap(edu->regs, PAGE);
}

__u32 edu_read(struct edu *edu, unsigned int reg)
{
	return __atomic_load_n((__u32 *)(edu->regs + reg), __ATOMIC_SEQ_CST);
}

void edu_write(struct edu *edu, unsigned int reg, __u32 value)
{
	__atomic_store_n((__u32 *)(edu->regs + reg), value, __ATOMIC_RELAXED);
}

/* The registers of the DMA engine are 64 bits wide */
static void edu_write64(struct edu *edu, unsigned int reg, __u64 value)
{
	__atomic_store_n((__u64 *)(edu->regs + reg), value, __ATOMIC_RELAXED);
}

static void edu_start(struct edu *edu, __u64 src, __u64 dst, size_t length,
		      __u64 cmd)
{
	edu_write64(edu, EDU_DMA_SRC, src);
	edu_write64(edu, EDU_DMA_DST, dst);
	edu_write64(edu, EDU_DMA_COUNT, length);
	/* Order the program's writes to memory before the start of the DMA */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	edu_write64(edu, EDU_DMA_CMD, cmd | EDU_DMA_START);
}

/* Is the transfer still running? */
bool edu_is_busy(struct edu *edu)
{
	return edu_read(edu, EDU_DMA_CMD) & EDU_DMA_START;
}

int edu_wait(struct edu *edu)
{
	struct timespec pause = { .tv_nsec = 5000000 };
	int tries;

	/* A transfer takes the device 100 ms */
	for (tries = 0; tries < 2000; tries++) {
		nanosleep(&pause, NULL);
		if (!edu_is_busy(edu))
			return 0;
	}
	errno = ETIMEDOUT;
	return -1;
}

static int edu_dma(struct edu *edu, __u64 src, __u64 dst, size_t length,
		   __u64 cmd)
{
	edu_start(edu, src, dst, length, cmd);
	return edu_wait(edu);
}

/* Start to write the first @length bytes of the device's buffer to memory */
void edu_start_to_ram(struct edu *edu, __u64 iova, size_t length)
{
	edu_start(edu, EDU_BUFFER, iova, length, EDU_DMA_TO_RAM);
}

/* The same, and wait until it is complete */
int edu_dma_to_ram(struct edu *edu, __u64 iova, size_t length)
{
	return edu_dma(edu, EDU_BUFFER, iova, length, EDU_DMA_TO_RAM);
}

/* The same, with an interrupt at the end */
int edu_dma_to_ram_irq(struct edu *edu, __u64 iova, size_t length)
{
	return edu_dma(edu, EDU_BUFFER, iova, length,
		       EDU_DMA_TO_RAM | EDU_DMA_IRQ);
}

/* Let the device read memory into its buffer */
int edu_dma_from_ram(struct edu *edu, __u64 iova, size_t length)
{
	return edu_dma(edu, iova, EDU_BUFFER, length, 0);
}

/*
 * VFIO_DEVICE_SET_IRQS for the first interrupt of this index. @value: eventfd
 * or bool, as in @flags; otherwise ignored.
 */
int set_irq(int device, __u32 index, __u32 flags, __s32 value)
{
	struct {
		struct vfio_irq_set set;
		__s32 value;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = flags,
			.index = index,
			.count = 1,
		},
		.value = value,
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &irq);
}

/* Return an eventfd that the first interrupt of this index signals */
int irq_eventfd(int device, __u32 index)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), err;

	if (fd < 0 || !set_irq(device, index, VFIO_IRQ_SET_DATA_EVENTFD |
			       VFIO_IRQ_SET_ACTION_TRIGGER, fd))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* Disable all interrupts of this index; at least one must be enabled */
int irqs_off(int device, __u32 index)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}

/* Is the eventfd signalled within @ms? Resets its count. */
bool is_signalled(int eventfd, int ms)
{
	struct pollfd pfd = { .fd = eventfd, .events = POLLIN };
	__u64 count;

	return poll(&pfd, 1, ms) == 1 && read(eventfd, &count, 8) == 8;
}

static sigjmp_buf no_memory;

static void jump(int sig)
{
	siglongjmp(no_memory, 1);
}

/* Can this be read without a SIGBUS? */
bool touches(const void *p)
{
	struct sigaction old, new = { .sa_handler = jump };
	bool ret = false;

	sigaction(SIGBUS, &new, &old);
	if (!sigsetjmp(no_memory, 1)) {
		get_register(p);
		ret = true;
	}
	sigaction(SIGBUS, &old, NULL);
	return ret;
}

/*
 * Map the MSI-X table, which VFIO allows to programs. A reset clears its
 * contents.
 */
__u32 *map_msix_table(int device)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_region_info bar = { .argsz = sizeof(bar) };
	__u8 at, id = 0;
	__u32 table;
	void *page;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(device, &at, 1, config.offset + 0x34) != 1)
		return NULL;
	while (at && pread(device, &id, 1, config.offset + at) == 1 &&
	       id != 0x11)
		if (pread(device, &at, 1, config.offset + at + 1) != 1)
			return NULL;
	if (!at || pread(device, &table, 4, config.offset + at + 4) != 4)
		return NULL;
	bar.index = table & 7;
	table &= ~7;
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar))
		return NULL;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		    bar.offset + (table & ~(PAGE - 1)));
	return page == MAP_FAILED ? NULL : page + (table & (PAGE - 1));
}

void munmap_msix_table(__u32 *table)
{
	munmap((void *)(uintptr_t)((uintptr_t)table & ~(PAGE - 1)), PAGE);
}

static int open_power_status(const struct pci_dev *dev)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/power/runtime_status", dev->bdf);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* VFIO_DEVICE_FEATURE_LOW_POWER_*; @eventfd: for a wakeup, or -1 */
int set_power(int device, __u32 feature, int eventfd)
{
	struct {
		struct vfio_device_feature cmd;
		struct vfio_device_low_power_entry_with_wakeup entry;
	} set = {
		.cmd = {
			.argsz = sizeof(set),
			.flags = VFIO_DEVICE_FEATURE_SET | feature,
		},
		.entry.wakeup_eventfd = eventfd,
	};

	return ioctl(device, VFIO_DEVICE_FEATURE, &set);
}

/* Has the kernel runtime power management? */
bool has_power_management(const struct pci_dev *dev)
{
	int fd = open_power_status(dev);

	close(fd);
	return fd >= 0;
}

/* Has the device this status of runtime power management within 5 seconds? */
bool has_power_status(const struct pci_dev *dev, const char *status)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	ssize_t length;
	char now[32];
	int tries, fd;

	for (tries = 0; tries < 500; tries++) {
		fd = open_power_status(dev);
		length = read(fd, now, sizeof(now));
		close(fd);
		if (length > 0 && !strncmp(now, status, strlen(status)))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* Open the kernel log; reads return only later messages */
int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/*
 * Does the kernel log this text within a second? The kernel limits the rate of
 * messages, so the caller may have to repeat the cause.
 */
bool kmsg_has(int kmsg, const char *text)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	char line[1024];
	int tries;

	for (tries = 0; tries < 100; tries++) {
		ssize_t len = read(kmsg, line, sizeof(line) - 1);

		if (len < 0 && errno == EAGAIN) {
			nanosleep(&pause, NULL);
			continue;
		}
		if (len <= 0)
			continue;
		line[len] = 0;
		if (strstr(line, text))
			return true;
	}
	return false;
}

/* Does the IOMMU log a fault at this page? */
bool kmsg_has_fault(int kmsg, const struct pci_dev *dev, __u64 iova)
{
	const char *fault = iommu_of(dev)->fault;
	char addr[64];

	if (!fault)
		return false;
	snprintf(addr, sizeof(addr), fault,
		 (unsigned long long)(iova & ~(PAGE - 1)));
	return kmsg_has(kmsg, addr);
}

void *map_anon(size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void *map_huge(void)
{
	void *p = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The page must be present, and must not be movable */
__u64 physical_address(const void *va)
{
	return pfn_of(va) * PAGE;
}

static unsigned char pattern(size_t i, unsigned int seed)
{
	return (i * 31 + (i >> 8) * 7 + seed) & 0xff;
}

void fill_pattern(void *buf, size_t length, unsigned int seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		((unsigned char *)buf)[i] = pattern(i, seed);
}

bool is_pattern(const void *buf, size_t length, unsigned int seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (((const unsigned char *)buf)[i] != pattern(i, seed))
			return false;
	return true;
}

bool is_byte(const void *buf, size_t length, unsigned char byte)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (((const unsigned char *)buf)[i] != byte)
			return false;
	return true;
}

/* Put an fd into a socket, where it stays until it is received */
int send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -1;
}

/* Drop an effective capability of this thread */
int drop_cap(unsigned int cap)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[0].effective &= ~(1U << cap);
	return syscall(SYS_capset, &header, data);
}

/* Become a user without capabilities, only in @group if that is not 0 */
int become_user(uid_t user, gid_t group, size_t memlock)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct rlimit limit = { .rlim_cur = memlock, .rlim_max = memlock };
	struct __user_cap_data_struct caps[2];

	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    setgroups(group ? 1 : 0, &group) || setgid(user) || setuid(user) ||
	    syscall(SYS_capget, &header, caps))
		return -1;
	return caps[0].effective | caps[0].permitted | caps[1].effective |
	       caps[1].permitted ? -1 : 0;
}

/* Set RLIMIT_MEMLOCK and drop CAP_IPC_LOCK, which exempts from it */
int limit_memlock(size_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = bytes };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -1 : drop_cap(CAP_IPC_LOCK);
}

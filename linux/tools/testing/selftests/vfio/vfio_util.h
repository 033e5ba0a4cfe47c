/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the vfio tests: find devices, bind them to vfio-pci, and
 * drive QEMU's edu device, which has a DMA engine and an interrupt.
 *
 * The tests bind devices to vfio-pci themselves and leave them bound. They need
 * root and two kinds of edu devices: one alone in its IOMMU group, and two that
 * share a group.
 */
#ifndef VFIO_UTIL_H
#define VFIO_UTIL_H

#include <linux/types.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../iommu/status_util.h"

#define SZ_2M 0x200000UL
#define SZ_1G 0x40000000UL

/*
 * The IOVA range of MSI, which a program can't map. On x86 the IOMMU does not
 * translate it; on Arm the kernel maps the MSI doorbells there.
 */
#ifdef __aarch64__
#define MSI_START 0x8000000UL
#define MSI_LAST 0x80fffffUL
#define MAPS_DOORBELLS true
#else
#define MSI_START 0xfee00000UL
#define MSI_LAST 0xfeefffffUL
#define MAPS_DOORBELLS false
#endif

#define MAP_RW (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

/* Expect the call to fail with this errno */
#define EXPECT_ERRNO(_errno, _call)                                            \
	do {                                                                   \
		errno = 0;                                                     \
		EXPECT_EQ(-1, _call);                                          \
		EXPECT_EQ(_errno, errno);                                      \
	} while (0)

/*
 * struct pci_dev - a device in sysfs
 * @bdf: PCI address such as 0000:00:04.0, or the UUID of a mediated device
 * @group: number of its IOMMU group, -1 if it has none
 * @mdev: the device is a mediated device
 */
struct pci_dev {
	char bdf[40];
	int group;
	bool mdev;
};

int find_edu_alone(struct pci_dev *dev);
int find_edu_pair(struct pci_dev *a, struct pci_dev *b);
int find_edu_neighbours(struct pci_dev *a, struct pci_dev *b);
int find_pci_class(struct pci_dev *dev, const char *class);
int find_pci_class_nth(struct pci_dev *dev, const char *class, int n);
int bind_driver(const struct pci_dev *dev, const char *driver);
int bind_vfio_pci(struct pci_dev *dev);
int unbind_driver(const struct pci_dev *dev);
bool is_bound(const struct pci_dev *dev, const char *driver);
int write_pci_file(const struct pci_dev *dev, const char *leaf,
		   const char *line);
int rescan_pci(void);
int mdev_create(struct pci_dev *dev, const char *driver, const char *type);
int mdev_remove(const struct pci_dev *dev);
int mdpin_fail_open(int error);
int find_sriov(struct pci_dev *pf);
int set_numvfs(const struct pci_dev *pf, int nr);
int find_vf(const struct pci_dev *pf, int nr, struct pci_dev *vf);

/*
 * struct iommu_kind - differences between IOMMUs that the tests depend on
 * @units: prefix of the names of its units in /sys/class/iommu
 * @fault: how the kernel log prints the IOVA of a DMA fault; NULL if it does not
 * @bits: address width; 0 if the test has to query it
 * @hw_info: type that IOMMU_GET_HW_INFO returns
 * @root_bus_only: DMA of devices behind a PCI Express port is lost
 * @reach_is_late: the limits of a page table are known only after an attach, so
 *	IOMMU_HWPT_ALLOC for an attached device fails with EOPNOTSUPP
 */
struct iommu_kind {
	const char *units;
	const char *fault;
	unsigned int bits;
	__u32 hw_info;
	bool root_bus_only;
	bool reach_is_late;
};

/* Reasons for a skip */
#define NO_FAULTS "the emulated IOMMU reports no access that finds no entry"
#define LOST_DMA "the emulated IOMMU takes devices behind a port for others"

const struct iommu_kind *iommu_of(const struct pci_dev *dev);
__u64 vtd_register(const struct pci_dev *dev, const char *name);
unsigned int iommu_bits(const struct pci_dev *dev);
__u64 last_iova(const struct pci_dev *dev);
bool loses_dma(const struct pci_dev *dev);

bool has_cdevs(void);
int vfio_dev_name(const struct pci_dev *dev, char *name, size_t size);
int vfio_cdev_path(const struct pci_dev *dev, char *path, size_t size);
int open_cdev(const struct pci_dev *dev);
int open_group(const struct pci_dev *dev);

int bind_iommufd(int device, int iommufd, __u32 *id);
int bind_with_token(int device, int iommufd, const void *token, __u32 *id);
int attach_pt(int device, __u32 pt_id, __u32 *hwpt_id);
int detach_pt(int device);
int ioas_alloc(int iommufd, __u32 *id);
int ioas_map(int iommufd, __u32 ioas, void *va, size_t length, __u64 iova,
	     __u32 flags);
int ioas_map_auto(int iommufd, __u32 ioas, void *va, size_t length,
		  __u64 *iova, __u32 flags);
int ioas_unmap(int iommufd, __u32 ioas, __u64 iova, __u64 length);
int iommufd_destroy(int iommufd, __u32 id);
int vfio_ioas(int iommufd, __u16 op, __u32 *id);
int hwpt_alloc(int iommufd, __u32 dev_id, __u32 ioas, __u32 *id);
bool is_usable(int iommufd, __u32 ioas, __u64 start, __u64 last);
__u64 iova_alignment(int iommufd, __u32 ioas);
int watch_iommufd(int iommufd);
bool is_iommufd_gone(int watch);

/*
 * struct legacy - a device opened through its group and a container
 */
struct legacy {
	int container;
	int group;
	int device;
};

/*
 * The path that a program opens if it knows only containers. VFIO or iommufd
 * provides it.
 */
#define CONTAINER "/dev/vfio/vfio"

bool is_iommufd(int container);
int legacy_open(struct legacy *l, const struct pci_dev *dev);
int legacy_open_in(struct legacy *l, const struct pci_dev *dev,
		   const char *container);
void legacy_close(struct legacy *l);
int legacy_map(int container, void *va, size_t length, __u64 iova, __u32 flags);
int legacy_unmap(int container, __u64 iova, __u64 length);
int set_default_domain(const struct pci_dev *dev, const char *type);

/*
 * struct opened - an open device with a container or an IOAS for its DMA
 * @legacy: valid if @iommufd is -1: the device was opened through its group
 */
struct opened {
	struct legacy legacy;
	int device;
	int iommufd;
	__u32 ioas;
};

/* Open and bind the cdev without attaching the device */
int open_unattached(struct opened *o, const struct pci_dev *dev);
int open_device(struct opened *o, const struct pci_dev *dev,
		const char *container);
void close_device(struct opened *o);
int map_for_device(struct opened *o, void *va, size_t length, __u64 iova);
int unmap_for_device(struct opened *o, __u64 iova, size_t length);

#define COMMAND_MEMORY 0x0002

int region_info(int device, __u32 index, struct vfio_region_info *info);
off_t region_at(int device, __u32 index);
void *map_region(int device, off_t offset, size_t length);
int change_command(int device, __u16 set, __u16 clear);

/*
 * struct edu - an edu device that is open through VFIO
 * @regs: its registers, mapped
 */
struct edu {
	int device;
	void *regs;
};

/* The device's buffer has 4 KiB; a transfer must end before its last byte */
#define EDU_MAX 4095UL

int edu_open(struct edu *edu, int device);
void edu_close(struct edu *edu);
__u32 edu_read(struct edu *edu, unsigned int reg);
void edu_write(struct edu *edu, unsigned int reg, __u32 value);
void edu_start_to_ram(struct edu *edu, __u64 iova, size_t length);
bool edu_is_busy(struct edu *edu);
int edu_wait(struct edu *edu);
int edu_dma_to_ram(struct edu *edu, __u64 iova, size_t length);
int edu_dma_to_ram_irq(struct edu *edu, __u64 iova, size_t length);
int edu_dma_from_ram(struct edu *edu, __u64 iova, size_t length);

int set_irq(int device, __u32 index, __u32 flags, __s32 value);
int irq_eventfd(int device, __u32 index);
int irqs_off(int device, __u32 index);
bool is_signalled(int eventfd, int ms);
bool touches(const void *p);
__u32 *map_msix_table(int device);
void munmap_msix_table(__u32 *table);

/* Access a mapped register: the compiler must not merge or drop accesses */
static inline __u32 get_register(const void *p)
{
	return __atomic_load_n((const __u32 *)p, __ATOMIC_SEQ_CST);
}

static inline void set_register(void *p, __u32 value)
{
	__atomic_store_n((__u32 *)p, value, __ATOMIC_SEQ_CST);
}

int kmsg_open(void);
bool kmsg_has(int kmsg, const char *text);
int set_power(int device, __u32 feature, int eventfd);
bool has_power_management(const struct pci_dev *dev);
bool has_power_status(const struct pci_dev *dev, const char *status);
bool kmsg_has_fault(int kmsg, const struct pci_dev *dev, __u64 iova);

void *map_anon(size_t length);
void *map_huge(void);
__u64 physical_address(const void *va);
void fill_pattern(void *buf, size_t length, unsigned int seed);
bool is_pattern(const void *buf, size_t length, unsigned int seed);
bool is_byte(const void *buf, size_t length, unsigned char byte);
int send_fd(int socket, int fd);
int drop_cap(unsigned int cap);
int become_user(uid_t user, gid_t group, size_t memlock);
int limit_memlock(size_t bytes);

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read an NVMe disk from userspace, through the cdev of its VFIO device.
 *
 *	nvme_read 0000:01:00.0			say what it is
 *	nvme_read 0000:01:00.0 BLOCK COUNT	and write these blocks to stdout
 *
 * The device must be bound to vfio-pci, and the caller must be allowed to open
 * its cdev and /dev/iommu; nothing else is needed. The disk reaches only one
 * buffer, and runs one command at a time: this is an example, not a fast
 * driver.
 */
#include <dirent.h>
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Registers of the controller, in BAR 0 */
#define NVME_CAP	0x00
#define NVME_CC		0x14
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ	0x28
#define NVME_ACQ	0x30
#define NVME_DOORBELLS	0x1000

#define CC_ENABLE	(4 << 20 | 6 << 16 | 1)	/* entries of 16 and 64 bytes */

#define ADMIN_CREATE_SQ	1
#define ADMIN_CREATE_CQ	5
#define ADMIN_IDENTIFY	6
#define IO_READ		2
#define PAGE		4096UL
#define ENTRIES		16	/* of a queue */

/* Layout of the buffer, in pages */
enum { ADMIN_SQ, ADMIN_CQ, IO_SQ, IO_CQ, DATA, PAGES };

struct command {
	__u8 opcode;
	__u8 flags;
	__u16 id;
	__u32 namespace;
	__u64 unused[2];
	__u64 data[2];	/* address of a page, and of a second one */
	__u32 arg[6];	/* dwords 10 to 15 */
};

struct completion {
	__u16 unused[7];
	__u16 status;		/* bit 0 changes each time round the queue */
};

static struct queue {
	struct command *sq;
	struct completion *cq;
	unsigned int doorbells;	/* doorbell of sq; that of cq follows */
	unsigned int tail, head, phase;
} admin, io;

static char *regs, *buffer;
static __u64 iova;		/* of the buffer */

static __u32 read32(unsigned int reg)
{
	return le32toh(__atomic_load_n((__u32 *)(regs + reg), __ATOMIC_ACQUIRE));
}

/* What was written to memory is visible to the device before the register */
static void write32(unsigned int reg, __u32 value)
{
	__sync_synchronize();
	__atomic_store_n((__u32 *)(regs + reg), htole32(value),
			 __ATOMIC_RELEASE);
}

/* The cdev is named in /sys/bus/pci/devices/BDF/vfio-dev/ */
static int open_cdev(const char *bdf)
{
	char path[300];
	struct dirent *entry;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	dir = opendir(path);
	if (!dir)
		errx(1, "%s is not bound to vfio-pci", bdf);
	while ((entry = readdir(dir)) && strncmp(entry->d_name, "vfio", 4))
		;
	if (!entry)
		errx(1, "%s is empty", path);
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
	closedir(dir);

	fd = open(path, O_RDWR);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* Bind the device, and let its DMA reach only the buffer */
static void set_up_dma(int device)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt pt = { .argsz = sizeof(pt) };
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.length = PAGES * PAGE,
	};
	int iommufd = open("/dev/iommu", O_RDWR);

	if (iommufd < 0)
		err(1, "/dev/iommu");
	bind.iommufd = iommufd;
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		err(1, "can't bind the device");
	if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &ioas))
		err(1, "can't allocate an I/O address space");
	pt.pt_id = ioas.out_ioas_id;
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt))
		err(1, "can't attach the device");

	buffer = mmap(NULL, map.length, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		err(1, "can't allocate the buffer");
	map.ioas_id = ioas.out_ioas_id;
	map.user_va = (uintptr_t)buffer;
	if (ioctl(iommufd, IOMMU_IOAS_MAP, &map))
		err(1, "can't map the buffer");
	iova = map.iova; /* The kernel has chosen it */
}

/* Enable DMA of the device, and map its registers */
static void set_up_registers(int device)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_region_info bar = {
		.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	__u16 command;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar))
		err(1, "can't get the regions");
	if (pread(device, &command, 2, config.offset + PCI_COMMAND) != 2)
		err(1, "configuration space");
	command = htole16(le16toh(command) | PCI_COMMAND_MASTER);
	if (pwrite(device, &command, 2, config.offset + PCI_COMMAND) != 2)
		err(1, "configuration space");

	regs = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    device, bar.offset);
	if (regs == MAP_FAILED)
		err(1, "can't map the registers");
}

/* Wait for a millisecond, but for 30 seconds at most in all */
static void nap(unsigned int *naps)
{
	if ((*naps)++ == 30000)
		errx(1, "the disk does not answer");
	usleep(1000);
}

static void enable(unsigned int on)
{
	unsigned int naps = 0;

	write32(NVME_CC, on ? CC_ENABLE : 0);
	while ((read32(NVME_CSTS) & 1) != on)
		nap(&naps);
}

/* The distance between doorbells is in the upper half of CAP */
static unsigned int stride(void)
{
	return 4 << (read32(NVME_CAP + 4) & 15);
}

static void init_queue(struct queue *queue, unsigned int nr, unsigned int page)
{
	queue->sq = (void *)(buffer + page * PAGE);
	queue->cq = (void *)(buffer + (page + 1) * PAGE);
	queue->doorbells = NVME_DOORBELLS + 2 * nr * stride();
	queue->phase = 1;
}

/*
 * Run one command; if it has no address for data, use page DATA of the buffer
 */
static void run(struct queue *queue, struct command command)
{
	struct completion *done = &queue->cq[queue->head];
	unsigned int naps = 0, status;

	if (!command.data[0])
		command.data[0] = htole64(iova + DATA * PAGE);
	queue->sq[queue->tail] = command;
	queue->tail = (queue->tail + 1) % ENTRIES;
	write32(queue->doorbells, queue->tail);

	while (status = __atomic_load_n(&done->status, __ATOMIC_ACQUIRE),
	       (le16toh(status) & 1) != queue->phase)
		nap(&naps);
	status = le16toh(status);
	if (status >> 1)
		errx(1, "command %u: status 0x%x", command.opcode, status >> 1);
	queue->head = (queue->head + 1) % ENTRIES;
	queue->phase ^= !queue->head;
	write32(queue->doorbells + stride(), queue->head);
}

static void start_controller(void)
{
	enable(0);
	init_queue(&admin, 0, ADMIN_SQ);
	write32(NVME_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	write32(NVME_ASQ, iova + ADMIN_SQ * PAGE);
	write32(NVME_ASQ + 4, (iova + ADMIN_SQ * PAGE) >> 32);
	write32(NVME_ACQ, iova + ADMIN_CQ * PAGE);
	write32(NVME_ACQ + 4, (iova + ADMIN_CQ * PAGE) >> 32);
	enable(1);

	init_queue(&io, 1, IO_SQ);
	run(&admin, (struct command){
		.opcode = ADMIN_CREATE_CQ,
		.data[0] = htole64(iova + IO_CQ * PAGE),
		.arg = { htole32((ENTRIES - 1) << 16 | 1), htole32(1) },
	});
	run(&admin, (struct command){
		.opcode = ADMIN_CREATE_SQ,
		.data[0] = htole64(iova + IO_SQ * PAGE),
		.arg = { htole32((ENTRIES - 1) << 16 | 1), htole32(1 << 16 | 1) },
	});
}

/* Return the size of a block of the first namespace */
static unsigned int identify(void)
{
	const unsigned char *data = (void *)(buffer + DATA * PAGE);
	const __u64 *blocks = (void *)data;

	run(&admin, (struct command){
		.opcode = ADMIN_IDENTIFY, .arg = { htole32(1) },
	});
	fprintf(stderr, "%.40s serial %.20s\n", data + 24, data + 4);

	run(&admin, (struct command){
		.opcode = ADMIN_IDENTIFY, .namespace = htole32(1),
	});
	fprintf(stderr, "%llu blocks\n", (unsigned long long)le64toh(*blocks));
	return 1 << data[128 + 4 * (data[26] & 15) + 2];
}

int main(int argc, char **argv)
{
	unsigned long long block, end;
	unsigned int size;
	int device;

	if (argc != 2 && argc != 4)
		errx(1, "usage: nvme_read PCI-ADDRESS [BLOCK COUNT]");
	device = open_cdev(argv[1]);
	set_up_dma(device);
	set_up_registers(device);
	start_controller();
	size = identify();
	if (argc == 2)
		return 0;
	if (size > PAGE)
		errx(1, "blocks of %u bytes are too large", size);

	block = strtoull(argv[2], NULL, 0);
	end = block + strtoull(argv[3], NULL, 0);
	for (; block < end; block++) {
		run(&io, (struct command){
			.opcode = IO_READ, .namespace = htole32(1),
			.arg = { htole32(block), htole32(block >> 32) },
		});
		fwrite(buffer + DATA * PAGE, size, 1, stdout);
	}
	return fflush(stdout) || ferror(stdout); /* Exit closes the device */
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program of `make demo`: it gets the cdev of a device and /dev/iommu and
 * drives the device, which reaches the memory that it was given and nothing
 * else.
 *
 * The device is QEMU's edu, made for teaching: it copies memory into its own
 * buffer and back.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PCI "/sys/bus/pci/devices"
#define PAGE 4096

static char device_name[32];

static void fail(const char *what)
{
	printf("\nFAILED: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Print a step, with its name in a column */
__attribute__((format(printf, 2, 3)))
static void step(const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("  %-8s ", name);
	vprintf(fmt, args);
	printf("\n");
	fflush(stdout);
	va_end(args);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

/* Path of a file of the device in sysfs */
__attribute__((format(printf, 1, 2)))
static const char *sysfs(const char *fmt, ...)
{
	static char path[512];
	va_list args;
	int len = snprintf(path, sizeof(path), PCI "/%s/", device_name);

	va_start(args, fmt);
	vsnprintf(path + len, sizeof(path) - len, fmt, args);
	va_end(args);
	return path;
}

static const char *base_of_link(const char *path)
{
	static char target[256];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len < 0)
		fail(path);
	target[len] = 0;
	return strrchr(target, '/') + 1;
}

static const char *read_line(const char *path)
{
	static char line[64];
	FILE *f = fopen(path, "r");

	if (!f || !fgets(line, sizeof(line), f))
		fail(path);
	line[strcspn(line, "\n")] = 0;
	fclose(f);
	return line;
}

static int is_edu(void)
{
	return !strcmp(read_line(sysfs("vendor")), "0x1234") &&
	       !strcmp(read_line(sysfs("device")), "0x11e8");
}

static int is_alone(void)
{
	int nr = 0;
	DIR *dir = opendir(sysfs("iommu_group/devices"));

	if (!dir)
		return 0;
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr == 3; /* with . and .. */
}

/* Find an edu that is alone in its group */
static void find_device(void)
{
	struct dirent *entry;
	DIR *dir = opendir(PCI);

	if (!dir)
		fail(PCI);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(device_name, sizeof(device_name), "%.31s", entry->d_name);
		if (is_edu() && is_alone())
			break;
	}
	if (!entry) {
		errno = ENODEV;
		fail("looking for an edu device that is alone in its IOMMU group");
	}
	closedir(dir);
}

/* A device can be used once vfio-pci is bound to it */
static void give_to_vfio(void)
{
	write_file(sysfs("driver_override"), "vfio-pci");
	write_file("/sys/bus/pci/drivers_probe", device_name);
	step("device", "%s, driver %s", device_name, base_of_link(sysfs("driver")));
	step("", "alone in IOMMU group %s", base_of_link(sysfs("iommu_group")));
}

static const char *find_cdev(void)
{
	static char path[300];
	struct dirent *entry;
	DIR *dir = opendir(sysfs("vfio-dev"));

	if (!dir)
		fail(sysfs("vfio-dev"));
	while ((entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	if (!entry)
		fail(sysfs("vfio-dev"));
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
	step("cdev", "%s, %s in sysfs", path,
	     read_line(sysfs("vfio-dev/%s/dev", entry->d_name)));
	closedir(dir);
	return path;
}

/* Registers of edu; a transfer has ended when bit 0 of the command is clear */
static volatile uint64_t *map_registers(int device)
{
	struct vfio_region_info bar = { .argsz = sizeof(bar), .index = 0 };
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	uint16_t command = 6; /* memory, bus master */
	void *regs;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pwrite(device, &command, 2, config.offset + 4) != 2)
		fail("getting the regions of the device");
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar.offset);
	if (regs == MAP_FAILED)
		fail("mapping the registers");
	return regs;
}

static void transfer(volatile uint64_t *regs, uint64_t from, uint64_t to, size_t length, int to_ram)
{
	regs[0x80 / 8] = from;
	regs[0x88 / 8] = to;
	regs[0x90 / 8] = length;
	regs[0x98 / 8] = 1 | (to_ram ? 2 : 0);
	while (regs[0x98 / 8] & 1)
		usleep(10000);
}

/* The fault that the IOMMU has logged since @kmsg was opened, or "" */
static const char *fault_report(int kmsg)
{
	static char line[1024];
	int tries;

	for (tries = 0; tries < 200; tries++) {
		ssize_t len = read(kmsg, line, sizeof(line) - 1);
		char *text;

		if (len < 0) {
			usleep(10000);
			continue;
		}
		line[len] = 0;
		text = strstr(line, "DMAR: [");
		if (text) {
			text[strcspn(text, "\n")] = 0;
			return text;
		}
	}
	return "";
}

int main(void)
{
	static const char message[] = "Hello from the device";
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = { .size = sizeof(map) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	int kmsg, iommufd, device, group;
	volatile uint64_t *regs;
	char group_path[64];
	struct utsname uts;
	const char *fault;
	char *memory;

	uname(&uts);
	printf("\nA device driven through its own cdev, on Linux %s\n\n", uts.release);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	lseek(kmsg, 0, SEEK_END);

	find_device();
	give_to_vfio();
	device = open(find_cdev(), O_RDWR);
	iommufd = open("/dev/iommu", O_RDWR);
	if (device < 0 || iommufd < 0)
		fail("opening the cdev and /dev/iommu");

	if (read(device, group_path, 4) >= 0)
		fail("a read before BIND succeeded");
	step("read", "refused before BIND: %s", strerror(errno));

	bind.iommufd = iommufd;
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		fail("BIND");
	step("BIND", "device %u of the iommufd; its DMA is blocked", bind.out_devid);

	if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		fail("IOAS_ALLOC");
	attach.pt_id = alloc.out_ioas_id;
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		fail("ATTACH");
	step("ATTACH", "to address space %u, page table %u", alloc.out_ioas_id, attach.pt_id);

	/* Three pages; the device gets the first two */
	memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(memory + PAGE, '.', 2 * PAGE);
	strcpy(memory, message);
	map.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
	map.ioas_id = alloc.out_ioas_id;
	map.user_va = (uintptr_t)memory;
	map.length = 2 * PAGE;
	if (ioctl(iommufd, IOMMU_IOAS_MAP, &map))
		fail("MAP");
	step("MAP", "8 KiB of memory at IOVA 0x%llx, chosen by the kernel", (unsigned long long)map.iova);

	regs = map_registers(device);
	step("", "second page before: \"%.21s\"", memory + PAGE);
	transfer(regs, map.iova, 0x40000, sizeof(message), 0);
	transfer(regs, 0x40000, map.iova + PAGE, sizeof(message), 1);
	if (memcmp(memory + PAGE, message, sizeof(message)))
		fail("the device did not write the message");
	step("DMA", "the device read the first page and wrote to the second");
	step("", "second page after:  \"%.21s\"", memory + PAGE);

	transfer(regs, 0x40000, map.iova + 2 * PAGE, sizeof(message), 1);
	if (memory[2 * PAGE] != '.')
		fail("the device wrote where nothing is mapped");
	step("DMA", "to IOVA 0x%llx, outside the mapping: refused, memory unchanged",
	     (unsigned long long)map.iova + 2 * PAGE);
	fault = fault_report(kmsg);
	if (!*fault)
		fail("the IOMMU did not log the fault");
	step("", "%s", fault);

	snprintf(group_path, sizeof(group_path), "/dev/vfio/%s", base_of_link(sysfs("iommu_group")));
	group = open(group_path, O_RDWR);
	if (group >= 0)
		fail("the group could be opened while the device is bound");
	step("group", "%s meanwhile: %s", group_path, strerror(errno));

	munmap((void *)regs, PAGE);
	close(device);
	close(iommufd);
	group = open(group_path, O_RDWR);
	if (group < 0)
		fail(group_path);
	step("close", "the device can be opened again, through its cdev or its group");
	printf("\nThe device reached the mapped memory, and nothing else.\n");
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * lsvfio - list VFIO devices, and say who can use them
 *
 * All is read from sysfs and found by opening nodes, which takes nothing from
 * anybody: a device is used only when its node is bound to /dev/iommu.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <linux/compiler.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define CLASS "/sys/class/vfio-dev"
#define GROUPS "/sys/kernel/iommu_groups"
#define IOMMU "/dev/iommu"

enum column { DEVICE, DRIVER, NODE, NUMBER, GROUP, SHARED, USABLE, COLUMNS };

static const char *const titles[COLUMNS] = {
	"DEVICE", "DRIVER", "NODE", "NUMBER", "GROUP", "SHARED WITH", "USABLE",
};

/*
 * struct vdev - one VFIO device
 * @text: what the columns show
 * @name: vfioX
 * @bus: pci, mdev, ...
 * @sharers: what else is in the IOMMU group, @nr_sharers of them
 * @reason: why the caller can't use it, or NULL
 * @users: programs that have its node or its group open, or NULL
 * @qemu: the argument for QEMU, or NULL if we know none
 */
struct vdev {
	char *text[COLUMNS];
	char *name;
	char *bus;
	struct sharer {
		char *device;
		char *driver;
	} *sharers;
	int nr_sharers;
	char *reason;
	char *users;
	char *qemu;
};

static __printf(1, 2) char *print(const char *fmt, ...)
{
	va_list args;
	char *s;

	va_start(args, fmt);
	if (vasprintf(&s, fmt, args) < 0) {
		perror("lsvfio");
		exit(2);
	}
	va_end(args);
	return s;
}

/* The last part of where a link leads, or NULL */
static char *read_name(const char *dir, const char *link)
{
	char *path = print("%s/%s", dir, link), target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	free(path);
	if (n < 0)
		return NULL;
	target[n] = '\0';
	return print("%s", strrchr(target, '/') ? strrchr(target, '/') + 1 :
						  target);
}

/* The first line of a file, or NULL */
static char *read_line(const char *dir, const char *file)
{
	char *path = print("%s/%s", dir, file), *line = NULL;
	FILE *f = fopen(path, "r");
	size_t size = 0;

	free(path);
	if (!f)
		return NULL;
	if (getline(&line, &size, f) < 0) {
		free(line);
		line = NULL;
	} else {
		line[strcspn(line, "\n")] = '\0';
	}
	fclose(f);
	return line;
}

static bool exists(const char *dir, const char *name)
{
	char *path = print("%s/%s", dir, name);
	bool ret = !access(path, F_OK);

	free(path);
	return ret;
}

/* Why the caller can't open a node, or NULL; @number is 0 for any */
static char *why_closed(const char *path, dev_t number)
{
	struct passwd *user;
	struct group *group;
	struct stat st;
	char *owner, *ret;
	int fd;

	if (stat(path, &st))
		return print("%s: %s", path, strerror(errno));
	if (number && st.st_rdev != number)
		return print("%s is the node of something else", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return NULL;
	}
	if (errno != EACCES)
		return print("%s: %s", path, strerror(errno));

	user = getpwuid(st.st_uid);
	owner = user ? print("%s", user->pw_name) : print("%u", st.st_uid);
	group = getgrgid(st.st_gid);
	if (group)
		ret = print("%s belongs to %s:%s, mode %04o", path, owner,
			    group->gr_name, st.st_mode & 07777);
	else
		ret = print("%s belongs to %s:%u, mode %04o", path, owner,
			    st.st_gid, st.st_mode & 07777);
	free(owner);
	return ret;
}

/*
 * Drivers that leave the DMA of a group to its user, besides those of VFIO. With
 * another one in the group the kernel refuses to bind any device of it.
 */
static bool is_harmless(const char *dir, const char *driver)
{
	return !driver || !strcmp(driver, "pcieport") ||
	       !strcmp(driver, "pci-stub") || exists(dir, "vfio-dev");
}

static void read_group(struct vdev *v, const char *group)
{
	char *dir = print(GROUPS "/%s/devices", group);
	struct dirent **list;
	int i, n = scandir(dir, &list, NULL, versionsort);

	for (i = 0; i < n; i++) {
		const char *device = list[i]->d_name;
		char *path, *driver, *all;

		if (device[0] == '.' || !strcmp(device, v->text[DEVICE]))
			continue;
		path = print("%s/%s", dir, device);
		driver = read_name(path, "driver");
		if (!is_harmless(path, driver) && !v->reason)
			v->reason = print("%s in the same group has driver %s",
					  device, driver);
		v->sharers = realloc(v->sharers, (v->nr_sharers + 1) *
				     sizeof(*v->sharers));
		if (!v->sharers)
			exit(2);
		v->sharers[v->nr_sharers].device = print("%s", device);
		v->sharers[v->nr_sharers++].driver = driver;
		all = v->text[SHARED];
		v->text[SHARED] = all ? print("%s,%s", all, device) :
					print("%s", device);
		free(all);
		free(path);
	}
	for (i = 0; i < n; i++)
		free(list[i]);
	if (n >= 0)
		free(list);
	free(dir);
}

/* Note who of the processes that we may look into has one of two files open */
static void find_users(struct vdev *v, const char *a, const char *b)
{
	DIR *proc = opendir("/proc"), *fds;
	struct dirent *p, *f;

	while (proc && (p = readdir(proc))) {
		char *dir, *program, *users;
		bool found = false;

		if (p->d_name[0] < '0' || p->d_name[0] > '9')
			continue;
		dir = print("/proc/%s/fd", p->d_name);
		fds = opendir(dir);
		while (fds && !found && (f = readdir(fds))) {
			char target[PATH_MAX];
			ssize_t n = readlinkat(dirfd(fds), f->d_name, target,
					       sizeof(target) - 1);

			if (n < 0)
				continue;
			target[n] = '\0';
			found = !strcmp(target, a) || !strcmp(target, b);
		}
		if (fds)
			closedir(fds);
		free(dir);
		if (!found)
			continue;
		dir = print("/proc/%s", p->d_name);
		program = read_line(dir, "comm");
		users = v->users;
		v->users = print("%s%s%s (%s)", users ? users : "",
				 users ? ", " : "", program ? program : "?",
				 p->d_name);
		free(program);
		free(users);
		free(dir);
	}
	if (proc)
		closedir(proc);
}

static char *qemu_argument(const struct vdev *v, const char *dir)
{
	char *api, *ret;

	if (!strcmp(v->bus, "pci"))
		return print("vfio-pci,host=%s", v->text[DEVICE]);
	api = read_line(dir, "mdev_type/device_api");
	if (!api)
		return NULL;
	ret = print("%s,sysfsdev=/sys/bus/mdev/devices/%s", api,
		    v->text[DEVICE]);
	free(api);
	return ret;
}

static char *or_dash(char *s)
{
	return s ? s : print("-");
}

static struct vdev *read_device(const char *name)
{
	char *link = print(CLASS "/%s", name), path[PATH_MAX], *group;
	struct vdev *v = calloc(1, sizeof(*v));
	unsigned int major, minor;
	char *parent, *group_node, *group_name;

	if (!v || !realpath(link, path)) { /* It has gone */
		free(link);
		free(v);
		return NULL;
	}
	free(link);
	v->name = print("%s", name);
	v->text[NUMBER] = read_line(path, "dev");

	/* PARENT/vfio-dev/vfioX */
	*strrchr(path, '/') = '\0';
	*strrchr(path, '/') = '\0';
	parent = path;
	v->text[DEVICE] = print("%s", strrchr(parent, '/') + 1);
	v->text[DRIVER] = or_dash(read_name(parent, "driver"));
	v->bus = or_dash(read_name(parent, "subsystem"));
	group = read_name(parent, "iommu_group");
	v->text[GROUP] = group ? group : print("-");
	group_name = group ? read_line(parent, "iommu_group/name") : NULL;
	if (group)
		read_group(v, group);
	v->text[SHARED] = or_dash(v->text[SHARED]);

	if (v->text[NUMBER] &&
	    sscanf(v->text[NUMBER], "%u:%u", &major, &minor) == 2) {
		v->text[NODE] = print("/dev/vfio/devices/%s", name);
		if (!v->reason)
			v->reason = why_closed(v->text[NODE],
					       makedev(major, minor));
		if (!v->reason)
			v->reason = why_closed(IOMMU, 0);
	} else {
		free(v->reason);
		if (group_name && !strcmp(group_name, "vfio-noiommu"))
			v->reason = print("no node, since no IOMMU protects it");
		else
			v->reason = print("no node, the kernel has no CONFIG_VFIO_DEVICE_CDEV");
	}
	v->text[NODE] = or_dash(v->text[NODE]);
	v->text[NUMBER] = or_dash(v->text[NUMBER]);

	group_node = print("/dev/vfio/%s", v->text[GROUP]);
	find_users(v, v->text[NODE], group_node);
	free(group_node);
	free(group_name);

	if (v->reason)
		v->text[USABLE] = print("no: %s", v->reason);
	else if (v->users)
		v->text[USABLE] = print("yes, if not bound by %s", v->users);
	else
		v->text[USABLE] = print("yes");
	v->qemu = qemu_argument(v, parent);
	return v;
}

static void show_table(struct vdev *const *list, int n)
{
	size_t width[COLUMNS];
	int i, c;

	for (c = 0; c < COLUMNS; c++) {
		width[c] = strlen(titles[c]);
		for (i = 0; i < n; i++)
			if (strlen(list[i]->text[c]) > width[c])
				width[c] = strlen(list[i]->text[c]);
	}
	for (i = -1; i < n; i++) {
		char *const *text = i < 0 ? (char *const *)titles :
					    list[i]->text;

		for (c = 0; c < USABLE; c++)
			printf("%-*s  ", (int)width[c], text[c]);
		printf("%s\n", text[USABLE]);
	}
}

static void show_string(const char *key, const char *value)
{
	printf("\"%s\": ", key);
	if (!value) {
		printf("null");
		return;
	}
	putchar('"');
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else if ((unsigned char)*value < ' ')
			printf("\\u%04x", *value);
		else
			putchar(*value);
	}
	putchar('"');
}

static const char *or_null(const char *text)
{
	return strcmp(text, "-") ? text : NULL;
}

static void show_json(struct vdev *const *list, int n)
{
	int i, j;

	printf("[");
	for (i = 0; i < n; i++) {
		struct vdev *v = list[i];

		printf("%s\n  {", i ? "," : "");
		show_string("device", v->text[DEVICE]);
		printf(", ");
		show_string("bus", or_null(v->bus));
		printf(", ");
		show_string("driver", or_null(v->text[DRIVER]));
		printf(", ");
		show_string("name", v->name);
		printf(",\n   ");
		show_string("node", or_null(v->text[NODE]));
		printf(", ");
		show_string("number", or_null(v->text[NUMBER]));
		printf(", ");
		show_string("group", or_null(v->text[GROUP]));
		printf(",\n   \"shared_with\": [");
		for (j = 0; j < v->nr_sharers; j++) {
			printf("%s{", j ? ", " : "");
			show_string("device", v->sharers[j].device);
			printf(", ");
			show_string("driver", v->sharers[j].driver);
			printf("}");
		}
		printf("],\n   \"usable\": %s, ", v->reason ? "false" : "true");
		show_string("reason", v->reason);
		printf(", ");
		show_string("users", v->users);
		printf(", ");
		show_string("qemu", v->qemu);
		printf("}");
	}
	printf("%s]\n", n ? "\n" : "");
}

/* One line, to be put into a command line as it is */
static int show_qemu(struct vdev *const *list, int n)
{
	int i, found = 0, ret = 0;

	for (i = 0; i < n; i++) {
		struct vdev *v = list[i];

		if (v->reason || !v->qemu) {
			fprintf(stderr, "lsvfio: %s: %s\n", v->text[DEVICE],
				v->reason ? v->reason :
					    "not a device that QEMU can be given this way");
			ret = 1;
			continue;
		}
		printf("%s -device %s,iommufd=iommufd0",
		       found++ ? "" : "-object iommufd,id=iommufd0", v->qemu);
	}
	if (found)
		printf("\n");
	return ret;
}

/* Where the device with a name is in a list, or @n */
static int find_named(struct vdev *const *list, int n, const char *name)
{
	int i;

	for (i = 0; i < n; i++)
		if (!strcmp(name, list[i]->text[DEVICE]) ||
		    !strcmp(name, list[i]->name))
			break;
	return i;
}

static void swap_devices(struct vdev **a, struct vdev **b)
{
	struct vdev *v = *a;

	*a = *b;
	*b = v;
}

static int report_unknown(const char *name)
{
	fprintf(stderr, "lsvfio: %s is not a VFIO device; is it bound to vfio-pci?\n",
		name);
	return 1;
}

/*
 * Put the devices that are named first, in the order of the names. Returns how many
 * there are, and in @status whether one is missing.
 */
static int choose(struct vdev **list, int n, char *const *names, int *status)
{
	int found = 0;

	for (; *names; names++) {
		int i = find_named(list, n, *names);

		if (i == n)
			*status = report_unknown(*names);
		else if (i >= found) /* Not named twice */
			swap_devices(&list[i], &list[found++]);
	}
	return found;
}

static int usage(FILE *to)
{
	fprintf(to, "Usage: lsvfio [-q | -j] [DEVICE...]\n"
		"List VFIO devices, and say whether you can use them through their nodes.\n"
		"  -q, --qemu    the arguments that give them to QEMU\n"
		"  -j, --json    for programs\n"
		"  -h, --help    this\n"
		"DEVICE is a name on its bus, such as 0000:06:0d.0, or vfioX.\n");
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "qemu", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool qemu = false, json = false;
	struct dirent **names;
	struct vdev **list;
	int i, n, found = 0, opt, ret = 0;

	while ((opt = getopt_long(argc, argv, "qjh", options, NULL)) != -1) {
		switch (opt) {
		case 'q':
			qemu = true;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (qemu && json)
		return usage(stderr);

	n = scandir(CLASS, &names, NULL, versionsort);
	if (n < 0) {
		fprintf(stderr, "lsvfio: no VFIO in the kernel; try modprobe vfio-pci\n");
		return 1;
	}
	list = calloc(n, sizeof(*list));
	if (!list)
		return 2;
	for (i = 0; i < n; i++) {
		struct vdev *v;

		if (names[i]->d_name[0] == '.')
			continue;
		v = read_device(names[i]->d_name);
		if (v)
			list[found++] = v;
	}
	if (optind < argc)
		found = choose(list, found, argv + optind, &ret);
	if (json)
		show_json(list, found);
	else if (qemu)
		ret |= show_qemu(list, found);
	else if (found)
		show_table(list, found);
	else if (!ret)
		fprintf(stderr, "lsvfio: no device is bound to a driver of VFIO\n");
	return ret;
}

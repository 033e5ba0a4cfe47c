// SPDX-License-Identifier: GPL-2.0-only
/*
 * lsvfio - list VFIO devices, who can use them, and who holds them
 *
 * Everything is read from sysfs and proc, or found by opening cdevs.
 * That does not disturb other users: an open cdev does not claim its device
 * until it is bound. Only --try opens groups, each of which only one
 * program can have open.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/compiler.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define CLASS "/sys/class/vfio-dev"
#define GROUPS "/sys/kernel/iommu_groups"
#define GROUP_CLASS "/sys/class/vfio"
#define IOMMU "/dev/iommu"

/*
 * PROC_PID_INIT_INO of the kernel: in this namespace all processes are visible
 */
#define INIT_PID_NS "pid:[4026531836]"

enum column { DEVICE, DRIVER, NODE, NUMBER, GROUP, SHARED, USABLE, COLUMNS };

static const char *const titles[COLUMNS] = {
	"DEVICE", "DRIVER", "NODE", "NUMBER", "GROUP", "SHARED WITH", "USABLE",
};

/*
 * What a process has of a device. The last two don't say of which device. So
 * they count only for a device that is held, if no process has one of the first
 * three.
 */
enum {
	HAS_CDEV	= 1 << 0, /* its cdev is open */
	HAS_GROUP	= 1 << 1, /* its group is open */
	HAS_MAPPING	= 1 << 2, /* a region of it is mapped */
	HAS_DEVICE	= 1 << 3, /* a device that its group has opened, or a mapping */
	HAS_VM		= 1 << 4, /* KVM's VFIO device, which holds references to files */
};

#define SURE (HAS_CDEV | HAS_GROUP | HAS_MAPPING)

#define WAYS 5

static const char *const ways[WAYS] = {
	"cdev", "group", "mapping", "device", "vm",
};

/*
 * struct process - a process that has something of VFIO
 * @unsure: HAS_DEVICE, HAS_VM
 * @has: flags in SURE for each device, in the order in which devices were read
 * @pinned, @locked: bytes; @limit: of what it can lock, or UNLIMITED
 */
struct process {
	pid_t pid;
	uid_t uid;
	char *program;
	unsigned int unsure;
	unsigned int *has;
	unsigned long long pinned;
	unsigned long long locked;
	unsigned long long limit;
};

#define UNLIMITED ULLONG_MAX

static struct process *processes;
static int nr_processes;
/* True if some processes can't be examined */
static bool is_blind;

enum held { UNKNOWN, FREE, HELD };

/*
 * struct vdev - one VFIO device
 * @text: what the columns show
 * @name: vfioX
 * @bus: pci, mdev, ...
 * @sharers: what else is in the IOMMU group, @nr_sharers of them
 * @reason: why the caller can't use it, or NULL
 * @users: programs that have its cdev or its group open, or map it, or NULL
 * @qemu: the argument for QEMU, or NULL if we know none
 * @rdev: number of its cdev, and @group_rdev of its group's; 0 if there is none
 * @held: whether somebody has the device or its group; @dir: where sysfs tells
 * @group_busy: its group can't be opened a second time
 * @index: in the order in which devices were read
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
	dev_t rdev;
	dev_t group_rdev;
	char *dir;
	enum held held;
	bool group_busy;
	int index;
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

/* The last component of the target of a link, or NULL */
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
		return print("%s is the node of another device", path);
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

/* The rest of the line that begins with @name, or NULL */
static char *read_field(const char *dir, const char *file, const char *name)
{
	char *path = print("%s/%s", dir, file), *line = NULL, *ret = NULL;
	size_t size = 0, length = strlen(name);
	FILE *f = fopen(path, "r");

	free(path);
	if (!f)
		return NULL;
	while (!ret && getline(&line, &size, f) >= 0)
		if (!strncmp(line, name, length))
			ret = print("%s", line + length +
					  strspn(line + length, " \t"));
	free(line);
	fclose(f);
	return ret;
}

static unsigned long long read_number(const char *dir, const char *file,
				      const char *name, int base)
{
	char *text = read_field(dir, file, name);
	unsigned long long ret = text ? strtoull(text, NULL, base) : 0;

	free(text);
	return ret;
}

/*
 * Get the number of a device node, or 0 if the path is something else. Returns
 * -1 with errno on error. Does not wait for a file system that does not answer.
 */
static int read_rdev(int dir, const char *path, dev_t *rdev, struct statx *st)
{
	if (statx(dir, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		  STATX_TYPE | STATX_INO, st))
		return -1;
	*rdev = S_ISCHR(st->stx_mode) ?
			makedev(st->stx_rdev_major, st->stx_rdev_minor) : 0;
	return 0;
}

/* Other errors: the process has ended, or the file is not a device node */
static void note_blindness(void)
{
	if (errno == EACCES || errno == EPERM)
		is_blind = true;
}

/* An fd of O_PATH is no open file */
static bool is_path(const char *dir, const char *fd)
{
	char *file = print("fdinfo/%s", fd);
	unsigned long long flags = read_number(dir, file, "flags:", 8);

	free(file);
	return flags & O_PATH;
}

static void note_number(struct process *p, struct vdev *const *list, int n,
			dev_t rdev, unsigned int cdev, unsigned int group)
{
	int i;

	for (i = 0; i < n; i++) {
		if (list[i]->rdev == rdev)
			p->has[i] |= cdev;
		if (list[i]->group_rdev == rdev)
			p->has[i] |= group;
	}
}

static bool is_known(struct vdev *const *list, int n, dev_t rdev)
{
	int i;

	for (i = 0; i < n; i++)
		if (list[i]->rdev == rdev || list[i]->group_rdev == rdev)
			return true;
	return false;
}

/* Looks at the open files of one thread, which can have a table of its own */
static void look_at_files(struct process *p, const char *dir,
			  struct vdev *const *list, int n)
{
	char *path = print("%s/fd", dir), target[64];
	DIR *fds = opendir(path);
	struct dirent *f;
	struct statx st;
	ssize_t length;
	dev_t rdev;

	free(path);
	if (!fds) {
		note_blindness();
		return;
	}
	while ((f = readdir(fds))) {
		if (f->d_name[0] == '.')
			continue;
		if (read_rdev(dirfd(fds), f->d_name, &rdev, &st)) {
			note_blindness();
			continue;
		}
		if (rdev) {
			if (is_known(list, n, rdev) && !is_path(dir, f->d_name))
				note_number(p, list, n, rdev, HAS_CDEV,
					    HAS_GROUP);
			continue;
		}
		if (st.stx_mode & S_IFMT)
			continue;
		length = readlinkat(dirfd(fds), f->d_name, target,
				    sizeof(target) - 1);
		target[length < 0 ? 0 : length] = '\0';
		if (!strcmp(target, "anon_inode:[vfio-device]"))
			p->unsure |= HAS_DEVICE;
		else if (!strcmp(target, "anon_inode:kvm-vfio"))
			p->unsure |= HAS_VM;
	}
	closedir(fds);
}

/*
 * Get the number of the device node that a line of maps is for. The name in the
 * line may be of another mount namespace, and a device can have several nodes,
 * so ask map_files. Without the capability for that use the name, if it leads
 * to the inode in the line.
 */
static int mapped_rdev(const char *dir, const char *line, dev_t *rdev)
{
	unsigned long long start, end, ino;
	unsigned int major, minor;
	struct statx st;
	char *path;
	int name, ret;

	if (sscanf(line, "%llx-%llx %*s %*x %x:%x %llu %n", &start, &end, &major,
		   &minor, &ino, &name) != 5) {
		errno = EINVAL;
		return -1;
	}
	path = print("%s/map_files/%llx-%llx", dir, start, end);
	ret = read_rdev(AT_FDCWD, path, rdev, &st);
	free(path);
	if (!ret || (errno != EPERM && errno != EACCES))
		return ret;

	path = print("%s/root%.*s", dir, (int)strcspn(line + name, "\n"),
		     line + name);
	ret = read_rdev(AT_FDCWD, path, rdev, &st);
	free(path);
	if (ret || st.stx_ino != ino || st.stx_dev_major != major ||
	    st.stx_dev_minor != minor) {
		errno = EPERM;
		return -1;
	}
	return 0;
}

/* Returns false if there is no mapping: the first thread may have ended */
static bool look_at_mappings(struct process *p, const char *dir,
			     struct vdev *const *list, int n)
{
	char *path = print("%s/maps", dir), *line = NULL;
	FILE *f = fopen(path, "r");
	bool found = false;
	size_t size = 0;
	dev_t rdev;

	free(path);
	if (!f) {
		note_blindness();
		return false;
	}
	while (getline(&line, &size, f) >= 0) {
		char *mode = strchr(line, ' ');

		found = true;
		/* Regions can be mapped only with MAP_SHARED */
		if (!mode || mode[4] != 's')
			continue;
		if (strstr(line, " anon_inode:[vfio-device]\n"))
			p->unsure |= HAS_DEVICE;
		else if (!strchr(line, '/'))
			continue;
		else if (mapped_rdev(dir, line, &rdev))
			note_blindness();
		else if (rdev)
			note_number(p, list, n, rdev, HAS_MAPPING, 0);
	}
	free(line);
	fclose(f);
	return found;
}

/* Every user may read these files */
static void read_memory(struct process *p, const char *dir)
{
	char *limit = read_field(dir, "limits", "Max locked memory");

	p->pinned = read_number(dir, "status", "VmPin:", 10) * 1024;
	p->locked = read_number(dir, "status", "VmLck:", 10) * 1024;
	p->limit = limit && *limit != 'u' ? strtoull(limit, NULL, 10) : UNLIMITED;
	free(limit);
}

static void look_at_process(const char *pid, struct vdev *const *list, int n)
{
	struct process p = { .pid = atoi(pid), .has = calloc(n + 1, sizeof(*p.has)) };
	char *dir = print("/proc/%s", pid), *tasks = print("%s/task", dir);
	DIR *threads = opendir(tasks);
	bool keep, mapped = false;
	struct dirent *t;
	int i;

	if (!p.has)
		exit(2);
	while (threads && (t = readdir(threads))) {
		char *thread;

		if (t->d_name[0] == '.')
			continue;
		thread = print("/proc/%s", t->d_name);
		look_at_files(&p, thread, list, n);
		mapped = mapped || look_at_mappings(&p, thread, list, n);
		free(thread);
	}
	if (threads)
		closedir(threads);

	keep = p.unsure;
	for (i = 0; i < n; i++)
		keep = keep || p.has[i];
	if (keep) {
		p.uid = read_number(dir, "status", "Uid:", 10);
		p.program = read_line(dir, "comm");
		read_memory(&p, dir);
		processes = realloc(processes,
				    (nr_processes + 1) * sizeof(*processes));
		if (!processes)
			exit(2);
		processes[nr_processes++] = p;
	} else {
		free(p.has);
	}
	free(tasks);
	free(dir);
}

/* Find the processes that have a file or a mapping of VFIO */
static void look_at_processes(struct vdev *const *list, int n)
{
	char *ns = read_name("/proc/self/ns", "pid");
	struct dirent **names;
	int i, nr = scandir("/proc", &names, NULL, versionsort);

	/* Not seen: processes outside the namespace, or hidden by hidepid */
	is_blind = nr < 0 || (ns && strcmp(ns, INIT_PID_NS)) ||
		   !exists("/proc", "1");
	free(ns);
	for (i = 0; i < nr; i++) {
		if (names[i]->d_name[0] > '0' && names[i]->d_name[0] <= '9')
			look_at_process(names[i]->d_name, list, n);
		free(names[i]);
	}
	if (nr >= 0)
		free(names);
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

static dev_t read_dev(const char *dir)
{
	char *line = read_line(dir, "dev");
	unsigned int major, minor;
	dev_t ret = 0;

	if (line && sscanf(line, "%u:%u", &major, &minor) == 2)
		ret = makedev(major, minor);
	free(line);
	return ret;
}

/*
 * Find out whether a device is open. While it is, the module of its driver has
 * a reference, and vfio-pci has enabled the device. The driver before vfio-pci
 * may have left it enabled.
 */
static enum held read_held(const char *dir)
{
	char *users = read_line(dir, "driver/module/refcnt");
	char *enabled = read_line(dir, "enable");
	enum held ret = UNKNOWN;

	if (users && !strcmp(users, "0"))
		ret = FREE;
	else if (enabled)
		ret = strcmp(enabled, "0") ? HELD : FREE;
	free(users);
	free(enabled);
	return ret;
}

/* A group can be opened only once, and not while one of its devices is bound */
static void try_group(struct vdev *v, const char *group)
{
	char *path = print("/dev/vfio/%s", group);
	struct stat st;
	int fd;

	if (stat(path, &st) || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != v->group_rdev) {
		free(path);
		return;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	free(path);
	if (fd >= 0) {
		close(fd);
		v->held = FREE;
	}
	v->group_busy = fd < 0 && errno == EBUSY;
}

static void read_state(struct vdev *v, bool try)
{
	bool noiommu = !exists(GROUP_CLASS, v->text[GROUP]);
	char *group = print("%s%s", noiommu ? "noiommu-" : "", v->text[GROUP]);
	char *path = print(GROUP_CLASS "/%s", group);

	v->group_rdev = read_dev(path);
	v->held = read_held(v->dir);
	if (try && v->group_rdev)
		try_group(v, group);
	free(path);
	free(group);
}

static struct vdev *read_device(const char *name, bool try)
{
	char *link = print(CLASS "/%s", name), path[PATH_MAX], *group;
	struct vdev *v = calloc(1, sizeof(*v));
	char *parent, *group_name;

	if (!v || !realpath(link, path)) { /* The device is gone */
		free(link);
		free(v);
		return NULL;
	}
	free(link);
	v->name = print("%s", name);
	v->text[NUMBER] = read_line(path, "dev");
	v->rdev = read_dev(path);

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

	if (v->rdev) {
		v->text[NODE] = print("/dev/vfio/devices/%s", name);
		if (!v->reason)
			v->reason = why_closed(v->text[NODE], v->rdev);
		if (!v->reason)
			v->reason = why_closed(IOMMU, 0);
	} else {
		free(v->reason);
		if (group_name && !strcmp(group_name, "vfio-noiommu"))
			v->reason = print("no cdev, since it has no IOMMU");
		else
			v->reason = print("no cdev, since CONFIG_VFIO_DEVICE_CDEV is not set");
	}
	v->text[NODE] = or_dash(v->text[NODE]);
	v->text[NUMBER] = or_dash(v->text[NUMBER]);

	v->dir = print("%s", parent);
	free(group_name);
	read_state(v, try);
	v->qemu = qemu_argument(v, parent);
	return v;
}

/* What a process has of a device that it holds or may hold, else 0 */
static unsigned int holds(const struct process *p, const struct vdev *v)
{
	if (p->has[v->index])
		return p->has[v->index];
	return v->held == HELD && !v->users ? p->unsure : 0;
}

/* Names the processes that have one of @ways of a device, or returns NULL */
static char *name_holders(const struct vdev *v, unsigned int ways)
{
	char *ret = NULL, *all;
	int i;

	for (i = 0; i < nr_processes; i++) {
		const struct process *p = &processes[i];

		if (!(holds(p, v) & ways))
			continue;
		all = ret;
		ret = print("%s%s%s (%d)", all ? all : "", all ? ", " : "",
			    p->program ? p->program : "?", p->pid);
		free(all);
	}
	return ret;
}

/* Names the holders of a device that is held, to follow the word "held" */
static char *say_holders(const struct vdev *v)
{
	char *vms, *others, *ret;

	if (v->users)
		return print(" by %s", v->users);
	vms = name_holders(v, HAS_VM);
	others = name_holders(v, HAS_DEVICE);
	if (vms && others)
		ret = print(", perhaps by the VM of %s, or by %s", vms, others);
	else if (vms)
		ret = print(", perhaps by the VM of %s", vms);
	else if (others)
		ret = print(", perhaps by %s", others);
	else if (is_blind)
		ret = print(" by a process that you can't inspect");
	else
		ret = print(", but no process has it open");
	free(vms);
	free(others);
	return ret;
}

/* Another device of the group that is held, or NULL */
static const struct vdev *held_sibling(const struct vdev *v,
				       struct vdev *const *list, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (list[i] != v && list[i]->held == HELD && v->group_rdev &&
		    list[i]->group_rdev == v->group_rdev)
			return list[i];
	return NULL;
}

/* Find the holders of all devices, and whether the caller can use each */
static void judge(struct vdev *const *list, int n)
{
	const struct vdev *sibling;
	char *holders;
	int i, j;

	for (i = 0; i < n; i++)
		list[i]->index = i;
	look_at_processes(list, n);

	for (i = 0; i < n; i++) {
		struct vdev *v = list[i];

		/* It may have been closed before its process was examined */
		if (v->held == HELD)
			v->held = read_held(v->dir);
		v->users = name_holders(v, SURE);
		for (j = 0; j < nr_processes; j++)
			if (processes[j].has[i] & HAS_GROUP)
				v->held = HELD;
	}
	/*
	 * If no other device keeps the group busy, it is this one or an fd of
	 * the group
	 */
	for (i = 0; i < n; i++)
		if (held_sibling(list[i], list, n))
			list[i]->group_busy = false;
	for (i = 0; i < n; i++)
		if (list[i]->group_busy)
			list[i]->held = HELD;

	for (i = 0; i < n; i++) {
		struct vdev *v = list[i];

		sibling = held_sibling(v, list, n);
		if (!v->reason && v->held == HELD) {
			holders = say_holders(v);
			v->reason = print("held%s", holders);
			free(holders);
		}
		if (v->reason) {
			v->text[USABLE] = print("no: %s", v->reason);
		} else if (v->users) {
			v->text[USABLE] = print("yes, unless bound by %s",
						v->users);
		} else if (sibling) {
			holders = say_holders(sibling);
			v->text[USABLE] = print("yes, but %s in the same group is held%s",
						sibling->text[DEVICE], holders);
			free(holders);
		} else {
			v->text[USABLE] = print("yes");
		}
	}
}

/* Each column but the last is as wide as its widest text */
static void print_table(const char *const *rows, int nr, int columns)
{
	int r, c;

	for (r = 0; r < nr; r++) {
		for (c = 0; c < columns - 1; c++) {
			size_t width = 0;
			int i;

			for (i = 0; i < nr; i++)
				if (strlen(rows[i * columns + c]) > width)
					width = strlen(rows[i * columns + c]);
			printf("%-*s  ", (int)width, rows[r * columns + c]);
		}
		printf("%s\n", rows[r * columns + c]);
	}
}

static void show_table(struct vdev *const *list, int n)
{
	const char **rows = calloc((n + 1) * COLUMNS, sizeof(*rows));
	int i;

	if (!rows)
		exit(2);
	memcpy(rows, titles, sizeof(titles));
	for (i = 0; i < n; i++)
		memcpy(rows + (i + 1) * COLUMNS, list[i]->text,
		       sizeof(list[i]->text));
	print_table(rows, n + 1, COLUMNS);
	free(rows);
}

/* A number of bytes in the largest unit in which it is whole */
static const char *say_bytes(unsigned long long bytes)
{
	static const char units[] = "\0KMGT";
	int i = 0;

	while (bytes && !(bytes % 1024) && units[i + 1]) {
		bytes /= 1024;
		i++;
	}
	return units[i] ? print("%llu%c", bytes, units[i]) :
			  print("%llu", bytes);
}

static const char *say_limit(unsigned long long limit)
{
	return limit == UNLIMITED ? "unlimited" : say_bytes(limit);
}

static const char *say_ways(unsigned int has)
{
	char *ret = NULL, *all;
	int i;

	for (i = 0; i < WAYS; i++) {
		if (!(has & 1 << i))
			continue;
		all = ret;
		ret = print("%s%s%s%s", all ? all : "", all ? "," : "", ways[i],
			    1 << i & SURE ? "" : "?");
		free(all);
	}
	return ret;
}

enum who { WHO_DEVICE, WHO_HELD, WHO_PID, WHO_USER, WHO_HAS, WHO_PINNED,
	   WHO_LOCKED, WHO_LIMIT, WHO_PROGRAM, WHO_COLUMNS };

static const char *const who_titles[WHO_COLUMNS] = {
	"DEVICE", "HELD", "PID", "USER", "HAS", "PINNED", "LOCKED", "LIMIT",
	"PROGRAM",
};

static const char *const held_texts[] = {
	[UNKNOWN] = "?", [FREE] = "no", [HELD] = "yes",
};

static const char *name_user(uid_t uid)
{
	struct passwd *user = getpwuid(uid);

	return user ? print("%s", user->pw_name) : print("%u", uid);
}

/* Write a line for each process that has something of a device */
static int show_who(struct vdev *const *list, int n)
{
	const char **rows = calloc((n * (nr_processes + 1) + 1) * WHO_COLUMNS,
				   sizeof(*rows)), **row = rows;
	int i, j, c;

	if (!rows)
		exit(2);
	memcpy(row, who_titles, sizeof(who_titles));
	row += WHO_COLUMNS;
	for (i = 0; i < n; i++) {
		const char **first = row;

		for (j = 0; j < nr_processes; j++) {
			const struct process *p = &processes[j];
			unsigned int has = holds(p, list[i]);

			if (!has)
				continue;
			row[WHO_DEVICE] = list[i]->text[DEVICE];
			row[WHO_HELD] = held_texts[list[i]->held];
			row[WHO_PID] = print("%d", p->pid);
			row[WHO_USER] = name_user(p->uid);
			row[WHO_HAS] = say_ways(has);
			row[WHO_PINNED] = say_bytes(p->pinned);
			row[WHO_LOCKED] = say_bytes(p->locked);
			row[WHO_LIMIT] = say_limit(p->limit);
			row[WHO_PROGRAM] = p->program ? p->program : "?";
			row += WHO_COLUMNS;
		}
		if (row > first || list[i]->held != HELD)
			continue;
		for (c = 0; c < WHO_COLUMNS; c++)
			row[c] = "-";
		row[WHO_DEVICE] = list[i]->text[DEVICE];
		row[WHO_HELD] = held_texts[HELD];
		row[WHO_PROGRAM] = is_blind ? "a process that you can't inspect" :
					      "no process has it open";
		row += WHO_COLUMNS;
	}
	print_table(rows, (row - rows) / WHO_COLUMNS, WHO_COLUMNS);
	free(rows);
	return 0;
}

/* Parse a number of bytes with an optional unit; 0 if it is invalid */
static unsigned long long parse_bytes(const char *text)
{
	static const char units[] = "KMGT";
	unsigned long long ret;
	const char *unit;
	char *end;

	errno = 0;
	ret = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9')
		return 0;
	if (*end) {
		unit = strchr(units, *end & ~0x20);
		if (!unit || end[1] || ret >> (64 - 10 * (unit - units + 1)))
			return 0;
		ret <<= 10 * (unit - units + 1);
	}
	return ret;
}

/*
 * The sum of what the processes of a user have pinned, without those that have
 * no limit. The kernel does not show what it has charged to a user; this is the
 * best estimate.
 */
static unsigned long long pinned_by(uid_t uid)
{
	unsigned long long ret = 0;
	DIR *proc = opendir("/proc");
	struct dirent *p;

	while (proc && (p = readdir(proc))) {
		char *dir;

		if (p->d_name[0] <= '0' || p->d_name[0] > '9')
			continue;
		dir = print("/proc/%s", p->d_name);
		if (read_number(dir, "status", "Uid:", 10) == uid &&
		    exists(dir, "status") &&
		    !(read_number(dir, "status", "CapEff:", 16) >> CAP_IPC_LOCK & 1))
			ret += read_number(dir, "status", "VmPin:", 10) * 1024;
		free(dir);
	}
	if (proc)
		closedir(proc);
	return ret;
}

/* Print the limit on locked memory that the caller needs to map @bytes */
static int show_memory(unsigned long long bytes)
{
	bool is_free = read_number("/proc/self", "status", "CapEff:", 16) >>
		       CAP_IPC_LOCK & 1;
	unsigned long long page = sysconf(_SC_PAGESIZE), pinned;
	const char *rows[3][5] = {
		{ "COUNTED", "PINNED", "NEEDED", "LIMIT", "ENOUGH" },
		{ "by user" },
		{ "by process", "0" },
	};
	unsigned long long needed[3], limit;
	struct rlimit rlimit;
	int i;

	if (getrlimit(RLIMIT_MEMLOCK, &rlimit))
		return 2;
	limit = rlimit.rlim_cur == RLIM_INFINITY ? UNLIMITED : rlimit.rlim_cur;
	pinned = pinned_by(getuid());
	needed[2] = (bytes + page - 1) / page * page;
	needed[1] = needed[2] + pinned;
	rows[1][1] = say_bytes(pinned);
	for (i = 1; i < 3; i++) {
		rows[i][2] = say_bytes(needed[i]);
		rows[i][3] = say_limit(limit);
		if (is_free)
			rows[i][4] = "yes: CAP_IPC_LOCK";
		else if (limit >= needed[i])
			rows[i][4] = "yes";
		else
			rows[i][4] = print("no: ulimit -l %llu",
					   needed[i] / 1024);
	}
	print_table(&rows[0][0], 3, 5);
	return !is_free && limit < needed[1];
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

static void show_holders(const struct vdev *v)
{
	bool first = true;
	int i;

	printf("\"holders\": [");
	for (i = 0; i < nr_processes; i++) {
		const struct process *p = &processes[i];
		unsigned int has = holds(p, v);
		const char *comma = "";
		int w;

		if (!has)
			continue;
		printf("%s\n    {\"pid\": %d, \"uid\": %u, ", first ? "" : ",",
		       p->pid, p->uid);
		first = false;
		show_string("program", p->program);
		printf(", \"has\": [");
		for (w = 0; w < WAYS; w++) {
			if (!(has & 1 << w))
				continue;
			printf("%s\"%s\"", comma, ways[w]);
			comma = ", ";
		}
		printf("], \"sure\": %s, \"pinned\": %llu, \"locked\": %llu, ",
		       has & SURE ? "true" : "false", p->pinned, p->locked);
		if (p->limit == UNLIMITED)
			printf("\"limit\": null}");
		else
			printf("\"limit\": %llu}", p->limit);
	}
	printf("]");
}

static void show_json(struct vdev *const *list, int n)
{
	static const char *const held[] = {
		[UNKNOWN] = "null", [FREE] = "false", [HELD] = "true",
	};
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
		printf("],\n   \"held\": %s, ", held[v->held]);
		show_holders(v);
		printf(",\n   \"usable\": %s, ", v->reason ? "false" : "true");
		show_string("reason", v->reason);
		printf(", ");
		show_string("users", v->users);
		printf(", ");
		show_string("qemu", v->qemu);
		printf("}");
	}
	printf("%s]\n", n ? "\n" : "");
}

/* Print one line that can be used as part of a command line */
static int show_qemu(struct vdev *const *list, int n)
{
	int i, found = 0, ret = 0;

	for (i = 0; i < n; i++) {
		struct vdev *v = list[i];

		if (v->reason || !v->qemu) {
			fprintf(stderr, "lsvfio: %s: %s\n", v->text[DEVICE],
				v->reason ? v->reason :
					    "no QEMU argument is known for it");
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

/* The index of the device with a name, or @n */
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
	fprintf(to, "Usage: lsvfio [-t] [-q | -j | -w] [DEVICE...]\n"
		"       lsvfio -m SIZE\n"
		"List VFIO devices, and whether you can use them through their cdevs.\n"
		"  -q, --qemu         print the QEMU arguments that assign the devices\n"
		"  -j, --json         print JSON\n"
		"  -w, --who          list processes that hold devices, and their locked memory\n"
		"  -t, --try          also open the groups, to find out whether they are busy\n"
		"  -m, --memory SIZE  print the memlock limit that you need to map SIZE bytes\n"
		"  -h, --help         print this help\n"
		"DEVICE is a name on the bus, such as 0000:06:0d.0, or vfioX.\n"
		"SIZE is a number of bytes; K, M, G or T may follow it.\n");
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "qemu", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "who", no_argument, NULL, 'w' },
		{ "try", no_argument, NULL, 't' },
		{ "memory", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool qemu = false, json = false, who = false, try = false;
	unsigned long long memory = 0;
	struct dirent **names;
	struct vdev **list;
	int i, n, found = 0, opt, ret = 0;

	while ((opt = getopt_long(argc, argv, "qjwtm:h", options, NULL)) != -1) {
		switch (opt) {
		case 'q':
			qemu = true;
			break;
		case 'j':
			json = true;
			break;
		case 'w':
			who = true;
			break;
		case 't':
			try = true;
			break;
		case 'm':
			memory = parse_bytes(optarg);
			if (memory)
				break;
			fprintf(stderr, "lsvfio: %s is not a valid size; for example: 16G\n",
				optarg);
			return 2;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (qemu + json + who + !!memory > 1 ||
	    (memory && (try || optind < argc)))
		return usage(stderr);
	if (memory)
		return show_memory(memory);

	n = scandir(CLASS, &names, NULL, versionsort);
	if (n < 0) {
		fprintf(stderr, "lsvfio: VFIO is not loaded; try: modprobe vfio-pci\n");
		return 1;
	}
	list = calloc(n, sizeof(*list));
	if (!list)
		return 2;
	for (i = 0; i < n; i++) {
		struct vdev *v;

		if (names[i]->d_name[0] == '.')
			continue;
		v = read_device(names[i]->d_name, try);
		if (v)
			list[found++] = v;
	}
	judge(list, found);
	if (optind < argc)
		found = choose(list, found, argv + optind, &ret);
	if (json)
		show_json(list, found);
	else if (qemu)
		ret |= show_qemu(list, found);
	else if (who)
		ret |= show_who(list, found);
	else if (found)
		show_table(list, found);
	else if (!ret)
		fprintf(stderr, "lsvfio: no device is bound to a VFIO driver\n");
	return ret;
}

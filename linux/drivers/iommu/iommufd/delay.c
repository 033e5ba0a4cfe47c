// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delays at the entry of functions, for tests of races. A delay widens the
 * window between what was done before the call and what the function does. The
 * code of the function does not change: each place is a kprobe. There is none
 * until a test writes lines to the file iommufd/delay of debugfs:
 *
 *   FUNCTION MICROSECONDS [PERCENT]	delay PERCENT of the calls; default: all
 *   an empty line			remove all places
 *
 * When read, the file has a line for each place: these three words, and the
 * number of calls.
 */
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "iommufd_private.h"

#define MAX_PLACES 64

/* Interrupts may be off meanwhile */
#define MAX_US (20 * USEC_PER_MSEC)

/**
 * struct place - a function whose calls are delayed
 * @probe: kprobe at its entry
 * @words: line that was written, as words
 * @us: microseconds
 * @percent: how many of the calls are delayed
 * @calls: number of calls, including those that are being delayed
 */
struct place {
	struct kprobe probe;
	char **words;
	unsigned int us;
	unsigned int percent;
	atomic_t calls;
};

static DEFINE_MUTEX(places_lock); /* protects @probes and @nr_places */
static struct kprobe *probes[MAX_PLACES];
static unsigned int nr_places;
static struct dentry *dir;

static struct place *to_place(struct kprobe *probe)
{
	return container_of(probe, struct place, probe);
}

/*
 * kprobe.pre_handler. This may be in NMI context, where no lock can be taken,
 * not even for a random number. So hash the number of the call instead.
 */
static int __kprobes delay_call(struct kprobe *probe, struct pt_regs *regs)
{
	struct place *place = to_place(probe);
	u64 end = ktime_get_mono_fast_ns() + place->us * NSEC_PER_USEC;
	u32 nr = atomic_inc_return(&place->calls);

	if (hash_32(nr, 16) * 100 >> 16 < place->percent)
		while (ktime_get_mono_fast_ns() < end)
			cpu_relax();
	return 0;
}

static void free_place(struct place *place)
{
	argv_free(place->words);
	kfree(place);
}

static void remove_places(void)
{
	unregister_kprobes(probes, nr_places);
	while (nr_places)
		free_place(to_place(probes[--nr_places]));
}

/* Parse the line; the number of words is 2 or 3 */
static int parse(struct place *place, int nr_words)
{
	place->percent = 100;
	if (kstrtouint(place->words[1], 10, &place->us) ||
	    (nr_words > 2 && kstrtouint(place->words[2], 10, &place->percent)))
		return -EINVAL;
	return place->us > MAX_US || place->percent > 100 ? -EINVAL : 0;
}

/* Takes over @words unless it fails */
static int add_place(char **words, int nr_words)
{
	struct place *place;
	int ret;

	if (nr_words < 2 || nr_words > 3)
		return -EINVAL;
	if (nr_places == MAX_PLACES)
		return -ENOSPC;
	place = kzalloc(sizeof(*place), GFP_KERNEL);
	if (!place)
		return -ENOMEM;
	place->words = words;
	place->probe.symbol_name = words[0];
	place->probe.pre_handler = delay_call;
	ret = parse(place, nr_words);
	if (!ret)
		ret = register_kprobe(&place->probe);
	if (ret) {
		kfree(place);
		return ret;
	}
	probes[nr_places++] = &place->probe;
	return 0;
}

static ssize_t delay_write(struct file *file, const char __user *data,
			   size_t count, loff_t *pos)
{
	char *line, **words;
	int nr_words, ret = 0;

	if (count >= PAGE_SIZE)
		return -EINVAL;
	line = memdup_user_nul(data, count);
	if (IS_ERR(line))
		return PTR_ERR(line);
	words = argv_split(GFP_KERNEL, line, &nr_words);
	kfree(line);
	if (!words)
		return -ENOMEM;

	mutex_lock(&places_lock);
	if (nr_words)
		ret = add_place(words, nr_words);
	else
		remove_places();
	mutex_unlock(&places_lock);
	if (ret || !nr_words)
		argv_free(words);
	return ret ? ret : count;
}

static int delay_show(struct seq_file *seq, void *unused)
{
	unsigned int i;

	mutex_lock(&places_lock);
	for (i = 0; i < nr_places; i++) {
		struct place *place = to_place(probes[i]);

		seq_printf(seq, "%s %u %u %u\n", place->words[0], place->us,
			   place->percent, atomic_read(&place->calls));
	}
	mutex_unlock(&places_lock);
	return 0;
}

static int delay_open(struct inode *inode, struct file *file)
{
	return single_open(file, delay_show, NULL);
}

static const struct file_operations delay_fops = {
	.owner = THIS_MODULE,
	.open = delay_open,
	.read = seq_read,
	.write = delay_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * iommufd_test_delay_init - create the file of the delays
 */
void __init iommufd_test_delay_init(void)
{
	dir = debugfs_create_dir("iommufd", NULL);
	debugfs_create_file("delay", 0600, dir, NULL, &delay_fops);
}

/**
 * iommufd_test_delay_exit - remove the file and all delays
 */
void iommufd_test_delay_exit(void)
{
	debugfs_remove_recursive(dir);
	mutex_lock(&places_lock);
	remove_places();
	mutex_unlock(&places_lock);
}

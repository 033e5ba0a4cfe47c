// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QEMU plugin that counts the executions of each instruction between the two
 * nops with which bench/count.c frames a case, and writes lines "address count"
 * to a file:
 *
 *	qemu-system-x86_64 ... -plugin profile.so,out=FILE
 *
 * Debian has no header for plugins, so the used part of the interface (version 1,
 * of QEMU 4.2 and later) is declared here. The VM has one processor, so there are
 * no locks.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, CB_NO_REGS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned int cpu, void *data),
					    int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *counter, uint64_t add);

EXPORT int qemu_plugin_version = 1;

/*
 * Hash table of counters by address; a power of two, far above the number of
 * instructions
 */
#define NR_COUNTERS (1UL << 22)

static struct counter {
	uint64_t address, count;
} *counters;
static size_t nr_used;
static char *out;

static struct counter *counter_of(uint64_t address)
{
	size_t i = address * 0x9e3779b97f4a7c15ULL >> 42;

	while (counters[i].address && counters[i].address != address)
		i = (i + 1) % NR_COUNTERS;
	if (!counters[i].address) {
		counters[i].address = address;
		if (++nr_used > NR_COUNTERS / 2) {
			fprintf(stderr, "profile: more instructions than expected\n");
			exit(1);
		}
	}
	return &counters[i];
}

static void begin(unsigned int cpu, void *data)
{
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++)
		counters[i].count = 0;
}

static void end(unsigned int cpu, void *data)
{
	FILE *f = fopen(out, "w");
	size_t i;

	for (i = 0; f && i < NR_COUNTERS; i++)
		if (counters[i].count)
			fprintf(f, "%" PRIx64 " %" PRIu64 "\n", counters[i].address, counters[i].count);
	if (!f || fclose(f)) {
		perror(out);
		exit(1);
	}
}

/* nopl 0x62656731(%rax) and nopl 0x62656732(%rax) */
static bool is_frame(struct qemu_plugin_insn *insn, char last)
{
	const char frame[] = { 0x0f, 0x1f, (char)0x80, last, 0x67, 0x65, 0x62 };

	return qemu_plugin_insn_size(insn) == sizeof(frame) &&
	       !memcmp(qemu_plugin_insn_data(insn), frame, sizeof(frame));
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct counter *c = counter_of(qemu_plugin_insn_vaddr(insn));

		qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &c->count, 1);
		if (is_frame(insn, 0x31))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, CB_NO_REGS, NULL);
		else if (is_frame(insn, 0x32))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, end, CB_NO_REGS, NULL);
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "profile: it needs out=FILE\n");
		return 1;
	}
	out = strdup(argv[0] + 4);
	counters = calloc(NR_COUNTERS, sizeof(*counters));
	if (!out || !counters)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}

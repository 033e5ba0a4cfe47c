/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers of the files with operations, each of which ends with a table of its
 * own
 */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include "world.h"

/* Calls in these files can be spoiled too */
#define ioctl fuzz_ioctl

/* Base of the areas, so that they meet; inside the reach of any page table */
#define GROUND 0x2000000ULL
#define GROUND_PAGES 48

#define ONE_OF(...)                                                            \
	one_of((const __u64[]){ __VA_ARGS__ },                                 \
	       ARRAY_SIZE(((const __u64[]){ __VA_ARGS__ })))

__u64 one_of(const __u64 *list, int nr);
int pick(struct op *op, enum type type);
struct object *picked(const struct op *op, int slot);
int new_slots(int nr);
int count_live(enum type type);
__u64 some_length(void);
__u64 some_iova(struct object *ioas);
int some_page(void);
__u64 some_offset(void);
__u64 some_va(void);
__u32 some_directions(void);
__u32 some_flags(void);
const char *name_of(int slot);
const char *va_name(__u64 va);
const char *flag_names(__u32 flags);
void some_mangle(struct op *op, bool reserved, bool answers);
bool spoiled(const struct op *op, struct outcome *out);
void spoil_name(const struct op *op);
int result(int ret);
int fd_of(const struct op *op);
__u32 id_of(int slot);
void pattern(unsigned char *data, size_t length, __u64 seed);
int check_range(__u64 iova, __u64 length, __u32 directions);
int check_bytes(__u64 pos, __u64 length);
enum charge charge_of(int ctx);
bool is_full(struct object *ioas);
int put_ranges(const struct ranges *list, int max, __u64 *val);
void some_area(struct object *ioas, __u64 *iova, __u64 *length);
void b_slot(const struct op *op, const struct outcome *got);
void g_detach(struct op *op);
void g_dma(struct op *op);

/* Errnos that each can return, whatever others do at the same time */
#define ERRNOS(...) ((const int[]){ 0, -EINVAL, -E2BIG, -EOPNOTSUPP, -EFAULT,  \
				    -ENOTTY, -ENOMEM, __VA_ARGS__, 1 })
#define MAP_ERRNOS ERRNOS(-ENOENT, -EOVERFLOW, -EEXIST, -ENOSPC, -EPERM, -EBADF, -EBUSY)

extern const struct op_type ioas_ops[];
extern const struct op_type container_ops[];
extern const struct op_type device_ops[];
extern const struct op_type access_ops[];
extern const struct op_type memory_ops[];
extern const struct op_type real_ops[];

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FUZZ_REAL_H
#define FUZZ_REAL_H

#include "world.h"

int real_prepare(void);

int real_close(struct object *dev);
int real_attach(const struct op *op, __u32 *id);
int real_detach(const struct op *op);
#endif

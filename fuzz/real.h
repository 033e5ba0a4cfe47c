/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FUZZ_REAL_H
#define FUZZ_REAL_H

#include "world.h"

int real_prepare(void);
int drop_ipc_lock(void);

void g_open(struct op *op);
void m_open(const struct op *op, struct outcome *out);
void i_open(const struct op *op, struct outcome *out);
void b_open(const struct op *op, const struct outcome *got);
void p_open(const struct op *op);
int real_close(struct object *dev);
void i_close_device(const struct op *op, struct outcome *out);
int real_attach(const struct op *op, __u32 *id);
int real_detach(const struct op *op);
void g_real_dma(struct op *op);
void m_real_dma(const struct op *op, struct outcome *out);
void i_real_dma(const struct op *op, struct outcome *out);
void p_real_dma(const struct op *op);
#endif

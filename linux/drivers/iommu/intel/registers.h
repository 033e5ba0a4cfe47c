/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What VT-d tells to other code about its units
 */
#ifndef _INTEL_REGISTERS_H
#define _INTEL_REGISTERS_H

#include <linux/bits.h>
#include <linux/types.h>

struct device;

/* In the extended capability register: can it make all DMA snoop the caches? */
#define VTD_ECAP_SNOOP_CONTROL	BIT_ULL(7)

#ifdef CONFIG_INTEL_IOMMU
bool intel_iommu_registers(struct device *dev, u64 *cap, u64 *ecap);
#else
static inline bool intel_iommu_registers(struct device *dev, u64 *cap,
					 u64 *ecap)
{
	return false;
}
#endif
#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mock IOMMU: devices and IOMMUs that exist only in memory, and accesses,
 * all made by test programs through IOMMU_TEST_CMD.
 *
 * In this kernel the IOMMU core takes its operations from the bus of a device,
 * and registers IOMMUs only for a fixed list of buses. So mock devices are on
 * buses of their own, which have no drivers. Their group and per-device data
 * are set here.
 *
 * The mock IOMMU does what is odd about real IOMMU drivers: an attach begins
 * with a detach, a domain has its limits only after the first attach, and a
 * failed map can leave half of what it mapped. A device reaches what was mapped
 * only after iotlb_sync_map(), and what was unmapped until that IOVA is
 * flushed.
 */
#include <linux/anon_inodes.h>
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/fault-inject.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"
#include "iommufd_test.h"

#define MOCK_SHIFT (PAGE_SHIFT - 1)
#define MOCK_PAGE BIT(MOCK_SHIFT)

#define MAX_REGIONS 16

/* Number of bytes that a test can ask an access to copy or pin */
#define MAX_ACCESS SZ_16M

/* Values from the test are passed on unchanged */
static_assert((int)MOCK_ACCESS_RW_WRITE == IOMMUFD_ACCESS_WRITE);
static_assert((int)MOCK_ACCESS_RW_SLOW_PATH == IOMMUFD_ACCESS_PINNED);
static_assert(MOCK_FLAGS_ACCESS_SYZ == IOMMUFD_TEST_SYZ);
static_assert((int)MOCK_REGION_SW_MSI == IOMMU_RESV_SW_MSI);

static DECLARE_FAULT_ATTR(fail_iommufd);

/* Bytes, for iommufd_test_limit() */
static u32 memory_limit = SZ_64K;

/**
 * iommufd_should_fail - inject a failure
 *
 * In a test build, tests choose through debugfs or /proc/PID/fail-nth which
 * calls of this return true.
 *
 * Return: true to fail.
 */
bool iommufd_should_fail(void)
{
	return should_fail(&fail_iommufd, 1);
}

/**
 * iommufd_test_limit - limit how many pages are pinned at once
 * @npages: number of pages
 *
 * Return: fewer pages if the test wants many rounds, but at least one.
 */
unsigned long iommufd_test_limit(unsigned long npages)
{
	return min_t(unsigned long, npages,
		     READ_ONCE(memory_limit) / MOCK_MEMORY_LIMIT_MIN);
}

/*
 * Page tables
 */

/*
 * An entry is a page of any size, at the index of its first MOCK_PAGE. It
 * consists of the physical address and, in the lower bits, of
 */
#define ENTRY_EDGE BIT(0) /* First or last page of a map */
#define ENTRY_READ BIT(1)
#define ENTRY_WRITE BIT(2)
#define ENTRY_ORDER GENMASK(7, 3) /* Its size is MOCK_PAGE << this */
#define ENTRY_LAST BIT(8) /* Last page of a map */
#define ENTRY_NEW BIT(9) /* No device sees it yet */
#define ENTRY_STALE BIT(10) /* It was unmapped, but devices still see it */
#define ENTRY_ADDRESS (~(MOCK_PAGE - 1))

struct mock_failure {
	u32 skip;
	u32 times;
	u32 error;
};

/**
 * struct mock_unit - an IOMMU
 * @iommu: its data in the IOMMU core
 * @nr_devices: number of devices; protected by mock_lock
 * @lock: protects the members below
 * @failures: injected failures, by MOCK_CALL_*
 * @stats: for IOMMU_TEST_OP_MOCK_QUERY
 */
struct mock_unit {
	struct iommu_device iommu;
	unsigned int nr_devices;
	spinlock_t lock; /* see above */
	struct mock_failure failures[MOCK_CALL_UNMAP + 1];
	struct iommu_test_mock_stats stats;
};

/**
 * struct mock_table - a page table
 * @domain: its data in the IOMMU core
 * @entries: see above
 * @lock: held for read while a device uses an entry, and for write to flush
 * @unit: unit of the device that was attached last; unit 0 before that
 * @attached: a device was attached, so page sizes are known
 * @enforces: it rejects devices that can bypass the CPU caches
 * @bypassed: such a device was attached
 * @keeps: MOCK_DEVICE_KEEPS
 * @stops: MOCK_DEVICE_STOPS
 * @grows: MOCK_DEVICE_GROWS
 * @frees_early: MOCK_DEVICE_FREES_EARLY
 * @whole: MOCK_DEVICE_WHOLE
 * @stuck: an unmap has failed, so entries are left
 * @reach: a map up to this IOVA does not grow the page table
 * @growing: @reach is being changed
 * @nr_walkers: number of running maps and unmaps
 */
struct mock_table {
	struct iommu_domain domain;
	struct xarray entries;
	struct rw_semaphore lock; /* see above */
	struct mock_unit *unit;
	bool attached;
	bool enforces;
	bool bypassed;
	bool keeps;
	bool stops;
	bool grows;
	bool frees_early;
	bool whole;
	bool stuck;
	unsigned long reach;
	bool growing;
	atomic_t nr_walkers;
};

/**
 * struct mock_device - a device
 * @dev: on one of the buses
 * @iommu: its data in the IOMMU core
 * @unit: its IOMMU
 * @number: it is called iommufd_mock<number>
 * @lock: protects @table, and keeps it while the device uses it
 * @table: page table that translates its DMA, or NULL if that is blocked
 * @config: configuration from the test
 * @regions: regions that it reserves
 */
struct mock_device {
	struct device dev;
	struct dev_iommu iommu;
	struct mock_unit *unit;
	int number;
	struct mutex lock; /* see above */
	struct mock_table *table;
	struct iommu_test_mock_config config;
	struct iommu_test_mock_region regions[];
};

static struct mock_unit units[MOCK_UNITS];

static struct mock_table *to_table(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_table, domain);
}

static struct mock_device *to_mock(struct device *dev)
{
	return container_of(dev, struct mock_device, dev);
}

static int injected_failure(struct mock_unit *unit, unsigned int call)
{
	struct mock_failure *failure = &unit->failures[call];
	int ret = 0;

	spin_lock(&unit->lock);
	if (failure->skip) {
		failure->skip--;
	} else if (failure->times) {
		failure->times--;
		ret = -failure->error;
	}
	spin_unlock(&unit->lock);
	return ret;
}

static unsigned long size_of(unsigned long entry)
{
	return MOCK_PAGE << FIELD_GET(ENTRY_ORDER, entry);
}

/* As lookup(), also for an entry that was unmapped and not flushed */
static unsigned long lookup_any(struct mock_table *table, unsigned long iova,
				unsigned long *start)
{
	unsigned int shift;

	for_each_set_bit(shift, &table->domain.pgsize_bitmap, BITS_PER_LONG) {
		void *slot;

		*start = iova & ~(BIT(shift) - 1);
		slot = xa_load(&table->entries, *start >> MOCK_SHIFT);
		if (slot && iova - *start < size_of(xa_to_value(slot)))
			return xa_to_value(slot);
	}
	return 0;
}

/* Find the entry for an IOVA and the start of its page; 0 if there is none */
static unsigned long lookup(struct mock_table *table, unsigned long iova,
			    unsigned long *start)
{
	unsigned long entry = lookup_any(table, iova, start);

	return entry & ENTRY_STALE ? 0 : entry;
}

/* True also for what was unmapped but not flushed: a device may still use it */
static bool is_mapped(struct mock_table *table, unsigned long iova,
		      unsigned long size)
{
	unsigned long index = iova >> MOCK_SHIFT;

	return lookup_any(table, iova, &iova) ||
	       xa_find(&table->entries, &index, index + (size >> MOCK_SHIFT) - 1,
		       XA_PRESENT);
}

/* Begin to map up to @last, or to unmap if it is 0 */
static void begin_walk(struct mock_table *table, unsigned long last)
{
	int nr = atomic_inc_return(&table->nr_walkers);

	WARN_ON(READ_ONCE(table->growing));
	if (last <= table->reach)
		return;
	if (!table->grows) {
		table->reach = GENMASK(__fls(last), 0);
		return;
	}
	WRITE_ONCE(table->growing, true);
	WARN_ON(nr > 1);
	usleep_range(1000, 2000);
	table->reach = GENMASK(__fls(last), 0);
	WRITE_ONCE(table->growing, false);
}

static void end_walk(struct mock_table *table)
{
	atomic_dec(&table->nr_walkers);
}

/* How many pages a call maps or unmaps if it stops with a page table */
static size_t pages_in_table(struct mock_table *table, unsigned long iova,
			     size_t pgsize, size_t pgcount)
{
	size_t left = (SZ_2M - (iova & (SZ_2M - 1))) / pgsize;

	return table->stops && left ? min(pgcount, left) : pgcount;
}

static int map_entries(struct iommu_domain *domain, unsigned long iova,
		       phys_addr_t paddr, size_t pgsize, size_t pgcount,
		       int prot, gfp_t gfp, size_t *mapped)
{
	struct mock_table *table = to_table(domain);
	struct mock_unit *unit = table->unit;
	unsigned long flags = ENTRY_NEW |
		FIELD_PREP(ENTRY_ORDER, ilog2(pgsize) - MOCK_SHIFT);
	unsigned long index = iova >> MOCK_SHIFT;
	size_t i, nr;
	int ret;

	pgcount = pages_in_table(table, iova, pgsize, pgcount);
	nr = pgcount;
	ret = iommufd_should_fail() ? -ENOENT :
				      injected_failure(unit, MOCK_CALL_MAP);
	if (ret && !table->keeps && !table->stops)
		return ret;
	if (ret)
		nr /= 2;
	/* The rest of a failed map is unmapped page by page */
	if (table->keeps || table->stops)
		flags |= ENTRY_EDGE;
	if (prot & IOMMU_READ)
		flags |= ENTRY_READ;
	if (prot & IOMMU_WRITE)
		flags |= ENTRY_WRITE;

	WARN_ON(!IS_ALIGNED(iova | paddr, pgsize));
	/* All processes read the zero page, so no device may write it */
	if (WARN_ON((prot & IOMMU_WRITE) &&
		    paddr == page_to_phys(ZERO_PAGE(0))))
		return -EPERM;
	/* Memory is cached; the zero page is mapped to grow, for nobody */
	WARN_ON(!(prot & IOMMU_CACHE) && paddr != page_to_phys(ZERO_PAGE(0)));
	WARN_ON(is_mapped(table, iova, pgsize * pgcount));
	for (i = 0; i < nr; i++) {
		unsigned long entry = (paddr + i * pgsize) | flags;
		int err;

		if (!i || i == pgcount - 1)
			entry |= ENTRY_EDGE;
		if (i == pgcount - 1)
			entry |= ENTRY_LAST;
		err = xa_err(xa_store(&table->entries,
				      index + i * (pgsize >> MOCK_SHIFT),
				      xa_mk_value(entry), gfp));
		if (err) {
			ret = err;
			break;
		}
	}
	if (ret && !table->stops) {
		while (!table->keeps && i--)
			xa_erase(&table->entries,
				 index + i * (pgsize >> MOCK_SHIFT));
		return ret;
	}

	*mapped = pgsize * i;
	spin_lock(&unit->lock);
	unit->stats.maps++;
	unit->stats.entries += i;
	unit->stats.mapped += *mapped;
	spin_unlock(&unit->lock);
	return ret;
}

static int mock_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t paddr, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	struct mock_table *table = to_table(domain);
	unsigned long last = iova + pgsize * pgcount - 1;
	int ret;

	/* Others may map memory in parallel, so it must not grow the table */
	WARN_ON(table->grows && last > table->reach &&
		paddr != page_to_phys(ZERO_PAGE(0)));
	begin_walk(table, last);
	ret = map_entries(domain, iova, paddr, pgsize, pgcount, prot, gfp,
			  mapped);
	end_walk(table);
	return ret;
}

static void mock_iotlb_sync_map(struct iommu_domain *domain,
				unsigned long iova, size_t size)
{
	struct xarray *entries = &to_table(domain)->entries;
	unsigned long index;
	void *slot;

	xa_for_each_range(entries, index, slot, iova >> MOCK_SHIFT,
			  (iova + size - 1) >> MOCK_SHIFT) {
		xa_store(entries, index,
			 xa_mk_value(xa_to_value(slot) & ~ENTRY_NEW),
			 GFP_KERNEL);
		cond_resched();
	}
}

/*
 * Gather pages that were unmapped. As VT-d does, add to the list of what can be
 * freed first; or, as other drivers do, gather page by page.
 */
static void gather_pages(struct iommu_domain *domain, unsigned long iova,
			 size_t pgsize, size_t size,
			 struct iommu_iotlb_gather *gather)
{
	struct page *page = NULL;
	size_t done;

	if (!to_table(domain)->frees_early) {
		for (done = 0; done < size; done += pgsize)
			iommu_iotlb_gather_add_page(domain, gather, iova + done,
						    pgsize);
		return;
	}
	page = alloc_page(GFP_KERNEL | __GFP_NOFAIL);
	set_page_private(page, 1);
	get_page(page);
	list_add_tail(&page->lru, &gather->freelist);
	iommu_iotlb_gather_add_page(domain, gather, iova, size);
	set_page_private(page, 0);
	put_page(page);
}

/*
 * Only whole pages that are mapped may be unmapped. If there is one page size,
 * check also that iommufd unmaps ranges as they were mapped, or several at
 * once.
 */
static size_t unmap_entries(struct iommu_domain *domain, unsigned long iova,
			    size_t pgsize, size_t pgcount,
			    struct iommu_iotlb_gather *gather)
{
	struct mock_table *table = to_table(domain);
	bool edges = is_power_of_2(domain->pgsize_bitmap);
	size_t size = pgsize * pages_in_table(table, iova, pgsize, pgcount);
	size_t done, page;

	if (injected_failure(table->unit, MOCK_CALL_UNMAP)) {
		table->stuck = true;
		return 0;
	}
	WARN_ON(!IS_ALIGNED(iova, pgsize));
	for (done = 0; done < size; done += page) {
		unsigned long start;
		unsigned long entry = lookup(table, iova + done, &start);

		page = pgsize;
		if (WARN_ON(!entry))
			continue;
		page = size_of(entry);
		/* The rest of the map goes, too */
		if (table->whole && !(entry & ENTRY_LAST))
			size = max(size, done + 2 * page);
		if (WARN_ON(start != iova + done || page > size - done))
			break;
		WARN_ON(edges && (!done || done + page == size) &&
			!(entry & ENTRY_EDGE));
		xa_store(&table->entries, start >> MOCK_SHIFT,
			 xa_mk_value(entry | ENTRY_STALE), GFP_KERNEL);
	}
	if (!done)
		return 0;

	gather_pages(domain, iova, pgsize, done, gather);
	spin_lock(&table->unit->lock);
	table->unit->stats.unmaps++;
	table->unit->stats.unmapped += done;
	table->unit->stats.unsynced += done;
	spin_unlock(&table->unit->lock);
	return done;
}

static size_t mock_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct mock_table *table = to_table(domain);
	size_t ret;

	begin_walk(table, 0);
	ret = unmap_entries(domain, iova, pgsize, pgcount, gather);
	end_walk(table);
	return ret;
}

/* For MOCK_DEVICE_SINGLE */
static int mock_map(struct iommu_domain *domain, unsigned long iova,
		    phys_addr_t paddr, size_t size, int prot, gfp_t gfp)
{
	size_t mapped = 0;

	return mock_map_pages(domain, iova, paddr, size, 1, prot, gfp, &mapped);
}

static size_t mock_unmap(struct iommu_domain *domain, unsigned long iova,
			 size_t size, struct iommu_iotlb_gather *gather)
{
	return mock_unmap_pages(domain, iova, size, 1, gather);
}

/* Memory of a process must stay pinned until no device reaches it */
static bool was_unpinned(unsigned long entry)
{
	unsigned long pfn = PHYS_PFN(entry & ENTRY_ADDRESS);

	return pfn_valid(pfn) && PageAnon(pfn_to_page(pfn)) &&
	       !page_maybe_dma_pinned(pfn_to_page(pfn));
}

/* Flush only what was unmapped in the range of a gather, and return its size */
static size_t flush_range(struct mock_table *table,
			  struct iommu_iotlb_gather *gather)
{
	unsigned long index;
	size_t size = 0;
	void *slot;

	xa_for_each_range(&table->entries, index, slot,
			  gather->start >> MOCK_SHIFT,
			  gather->end >> MOCK_SHIFT) {
		unsigned long entry = xa_to_value(slot);

		cond_resched();
		/* Another flush may do the same */
		if (!(entry & ENTRY_STALE) ||
		    xa_cmpxchg(&table->entries, index, slot, NULL, 0) != slot)
			continue;
		WARN_ON(was_unpinned(entry));
		size += size_of(entry);
	}
	return size;
}

static void mock_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	struct mock_table *table = to_table(domain);
	struct page *page;
	size_t size;

	/*
	 * A page on the list that is not in the gather would be freed unflushed
	 */
	list_for_each_entry(page, &gather->freelist, lru)
		WARN_ON(page_private(page));
	put_pages_list(&gather->freelist);

	/* Wait for devices that use what was unmapped */
	down_write(&table->lock);
	size = flush_range(table, gather);
	up_write(&table->lock);

	spin_lock(&table->unit->lock);
	table->unit->stats.syncs++;
	table->unit->stats.unsynced -= size;
	spin_unlock(&table->unit->lock);
}

/* After a failed map iommufd looks for what is left, so 0 is no error */
static phys_addr_t mock_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	unsigned long start;
	unsigned long entry = lookup(to_table(domain), iova, &start);

	return entry ? (entry & ENTRY_ADDRESS) + iova - start : 0;
}

/*
 * As on VT-d: an empty domain can always enforce it, for what is mapped after
 * that; a later attach can fail
 */
static bool mock_enforce_cache_coherency(struct iommu_domain *domain)
{
	struct mock_table *table = to_table(domain);

	WARN_ON(!xa_empty(&table->entries));
	if (table->bypassed)
		return false;
	table->enforces = true;
	return true;
}

static const struct iommu_domain_ops single_ops;

static void set_table(struct mock_device *mock, struct mock_table *table)
{
	mutex_lock(&mock->lock);
	mock->table = table;
	mutex_unlock(&mock->lock);
}

static int mock_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	struct mock_table *table = to_table(domain);
	struct mock_device *mock = to_mock(dev);
	const struct iommu_test_mock_config *config = &mock->config;
	bool enforces = config->flags & MOCK_DEVICE_ENFORCES;
	int ret;

	set_table(mock, NULL);
	if (config->flags & MOCK_DEVICE_SLOW)
		msleep(MOCK_SLOW_MS);
	if (table->attached && table->unit != mock->unit &&
	    !(config->flags & MOCK_DEVICE_SHARES))
		return -EXDEV;
	ret = injected_failure(mock->unit, MOCK_CALL_ATTACH);
	if (ret)
		return ret;
	if (table->enforces && !enforces)
		return -EOPNOTSUPP;

	if (!table->attached && xa_empty(&table->entries))
		domain->pgsize_bitmap = config->page_sizes;
	else if (domain->pgsize_bitmap & ~config->page_sizes)
		return -EINVAL;
	domain->geometry = (struct iommu_domain_geometry){
		.aperture_start = config->aperture_start,
		.aperture_end = config->aperture_last,
		.force_aperture = true,
	};
	if (config->flags & MOCK_DEVICE_SINGLE)
		domain->ops = &single_ops;
	table->unit = mock->unit;
	table->attached = true;
	table->bypassed |= !enforces;
	table->keeps |= config->flags & MOCK_DEVICE_KEEPS;
	table->stops |= config->flags & MOCK_DEVICE_STOPS;
	table->grows |= config->flags & MOCK_DEVICE_GROWS;
	table->frees_early |= config->flags & MOCK_DEVICE_FREES_EARLY;
	table->whole |= config->flags & MOCK_DEVICE_WHOLE;
	set_table(mock, table);

	spin_lock(&mock->unit->lock);
	mock->unit->stats.attaches++;
	spin_unlock(&mock->unit->lock);
	return 0;
}

static void mock_detach_dev(struct iommu_domain *domain, struct device *dev)
{
	set_table(to_mock(dev), NULL);
}

static void mock_free(struct iommu_domain *domain)
{
	struct mock_table *table = to_table(domain);

	WARN_ON(!xa_empty(&table->entries) && !table->stuck);
	xa_destroy(&table->entries);
	kfree(table);
}

static const struct iommu_domain_ops table_ops = {
	.attach_dev = mock_attach_dev,
	.detach_dev = mock_detach_dev,
	.map_pages = mock_map_pages,
	.unmap_pages = mock_unmap_pages,
	.iotlb_sync_map = mock_iotlb_sync_map,
	.iotlb_sync = mock_iotlb_sync,
	.iova_to_phys = mock_iova_to_phys,
	.enforce_cache_coherency = mock_enforce_cache_coherency,
	.free = mock_free,
};

static const struct iommu_domain_ops single_ops = {
	.attach_dev = mock_attach_dev,
	.detach_dev = mock_detach_dev,
	.map = mock_map,
	.unmap = mock_unmap,
	.iotlb_sync_map = mock_iotlb_sync_map,
	.iotlb_sync = mock_iotlb_sync,
	.iova_to_phys = mock_iova_to_phys,
	.enforce_cache_coherency = mock_enforce_cache_coherency,
	.free = mock_free,
};

static int blocked_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	set_table(to_mock(dev), NULL);
	return 0;
}

static void blocked_free(struct iommu_domain *domain)
{
}

static const struct iommu_domain_ops blocked_ops = {
	.attach_dev = blocked_attach_dev,
	.detach_dev = mock_detach_dev,
	.free = blocked_free,
};

static struct iommu_domain blocked_domain = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &blocked_ops,
};

/* The unit is not known before the first attach */
static struct iommu_domain *alloc_table(unsigned int type)
{
	struct mock_table *table;

	if (type == IOMMU_DOMAIN_BLOCKED)
		return &blocked_domain;
	if (type != IOMMU_DOMAIN_UNMANAGED)
		return NULL;

	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return NULL;
	table->domain.ops = &table_ops;
	table->unit = &units[0];
	table->reach = U32_MAX;
	xa_init_flags(&table->entries, XA_FLAGS_ACCOUNT);
	init_rwsem(&table->lock);
	return &table->domain;
}

static struct iommu_domain *mock_domain_alloc(unsigned int type)
{
	struct iommu_domain *domain = alloc_table(type);

	if (domain && domain != &blocked_domain)
		domain->geometry = (struct iommu_domain_geometry){
			.aperture_end = ~(dma_addr_t)0,
			.force_aperture = true,
		};
	return domain;
}

/*
 * Devices
 */

static bool mock_capable(struct device *dev, enum iommu_cap cap)
{
	switch (cap) {
	case IOMMU_CAP_CACHE_COHERENCY:
		return !(to_mock(dev)->config.flags & MOCK_DEVICE_INCOHERENT);
	case IOMMU_CAP_INTR_REMAP:
		return true; /* There are no interrupts to isolate */
	default:
		return false;
	}
}

static void mock_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct mock_device *mock = to_mock(dev);
	u32 i;

	for (i = 0; i < mock->config.nr_regions; i++) {
		const struct iommu_test_mock_region *from = &mock->regions[i];
		struct iommu_resv_region *region;

		/* The callback can't report an error */
		region = iommu_alloc_resv_region(from->start, from->length, 0,
						 from->type,
						 GFP_KERNEL | __GFP_NOFAIL);
		list_add_tail(&region->list, head);
	}
}

static const struct iommu_ops mock_ops = {
	.capable = mock_capable,
	.domain_alloc = mock_domain_alloc,
	.get_resv_regions = mock_get_resv_regions,
	.default_domain_ops = &table_ops,
	.pgsize_bitmap = MOCK_PAGE,
};

static struct bus_type mock_bus = {
	.name = "iommufd_mock",
	.iommu_ops = &mock_ops,
};

/* For MOCK_DEVICE_LATE */
static const struct iommu_ops late_ops = {
	.capable = mock_capable,
	.domain_alloc = alloc_table,
	.get_resv_regions = mock_get_resv_regions,
	.default_domain_ops = &table_ops,
	.pgsize_bitmap = ~0UL,
};

static struct bus_type late_bus = {
	.name = "iommufd_mock_late",
	.iommu_ops = &late_ops,
};

static struct iommu_device late_iommu = { .ops = &late_ops };

/* For MOCK_DEVICE_CANNOT_MAP */
static const struct iommu_ops no_map_ops = {
	.capable = mock_capable,
	.domain_alloc = mock_domain_alloc,
	.default_domain_ops = &blocked_ops,
};

static struct iommu_device no_map_iommu = { .ops = &no_map_ops };

/* For MOCK_DEVICE_UNFIT_NAME */
static struct device unfit_sysfs = { .init_name = "gart" };
static struct iommu_device unfit_iommu = {
	.ops = &mock_ops,
	.dev = &unfit_sysfs,
};

/* For MOCK_DEVICE_UNFIT_DRIVER */
static struct device_driver unfit_driver = { .name = "sprd-iommu" };
static struct device unfit_hardware = { .driver = &unfit_driver };
static struct device other_sysfs = {
	.init_name = "iommu0",
	.parent = &unfit_hardware,
};

static struct iommu_device unfit_driver_iommu = {
	.ops = &mock_ops,
	.dev = &other_sysfs,
};

/*
 * Protects groups and mock_unit::nr_devices; may be held while devices attach
 */
static DEFINE_MUTEX(mock_lock);
static DEFINE_IDA(mock_ida);

static bool is_mock(struct device *dev)
{
	return dev->bus == &mock_bus || dev->bus == &late_bus;
}

/**
 * iommufd_test_set_restrictions - set the restrictions of a mock device's IOMMU
 * driver
 * @dev: any device
 * @unit: its IOMMU; set if this is a mock device
 */
void iommufd_test_set_restrictions(struct device *dev,
				   struct iommufd_unit *unit)
{
	const struct iommu_test_mock_config *config;

	if (!is_mock(dev))
		return;
	config = &to_mock(dev)->config;
	unit->grows = config->flags & MOCK_DEVICE_GROWS;
	unit->frees_early = config->flags & MOCK_DEVICE_FREES_EARLY;
	if (config->flags & MOCK_DEVICE_NO_REATTACH)
		unit->unusable_reason = "it does not reattach";
	if (config->flags & MOCK_DEVICE_REGISTERS) {
		unit->vtd = true;
		unit->cap = config->cap;
		unit->ecap = config->ecap;
	}
}

/**
 * iommufd_test_hw_info - IOMMU_GET_HW_INFO for a mock device
 * @dev: any device
 * @length: set to the size of the data in bytes
 * @type: set to the type of the data
 *
 * Return: the data, for kfree(); NULL if this is no mock device; or an ERR_PTR
 * of -ENOMEM.
 */
void *iommufd_test_hw_info(struct device *dev, u32 *length, u32 *type)
{
	struct iommu_test_hw_info *info;

	if (!is_mock(dev))
		return NULL;
	if (to_mock(dev)->config.flags & MOCK_DEVICE_SLOW)
		msleep(MOCK_SLOW_MS);
	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return ERR_PTR(-ENOMEM);
	info->test_reg = IOMMU_HW_INFO_SELFTEST_REGVAL;
	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_SELFTEST;
	return info;
}

static void release_mock(struct device *dev)
{
	struct mock_device *mock = to_mock(dev);

	ida_free(&mock_ida, mock->number);
	mutex_destroy(&mock->lock);
	kfree(mock);
}

/* Get a new group, or that of another device */
static struct iommu_group *find_group(struct mock_device *mock)
{
	struct iommu_group *group = ERR_PTR(-ENOENT);
	struct device *other;
	char name[32];

	lockdep_assert_held(&mock_lock);
	if (mock->config.join < 0)
		return iommu_group_alloc();

	snprintf(name, sizeof(name), "iommufd_mock%d", mock->config.join);
	other = bus_find_device_by_name(mock->dev.bus, NULL, name);
	if (!other)
		return group;
	if (to_mock(other)->unit != mock->unit)
		group = ERR_PTR(-EINVAL);
	else
		group = iommu_group_get(other) ?: group;
	put_device(other);
	return group;
}

static int join_group(struct mock_device *mock)
{
	struct mock_unit *unit = mock->unit;
	struct iommu_group *group;
	int ret;

	mutex_lock(&mock_lock);
	group = find_group(mock);
	if (IS_ERR(group)) {
		ret = PTR_ERR(group);
		goto out_unlock;
	}
	if (!unit->nr_devices) {
		spin_lock(&unit->lock);
		memset(unit->failures, 0, sizeof(unit->failures));
		unit->stats = (struct iommu_test_mock_stats){};
		spin_unlock(&unit->lock);
	}
	ret = iommu_group_add_device(group, &mock->dev);
	if (!ret)
		unit->nr_devices++;
	iommu_group_put(group);
out_unlock:
	mutex_unlock(&mock_lock);
	return ret;
}

/* Takes over @mock, which has its regions and a checked config */
static int add_mock(struct mock_device *mock)
{
	int ret;

	ret = ida_alloc(&mock_ida, GFP_KERNEL);
	if (ret < 0) {
		kfree(mock);
		return ret;
	}
	mock->number = ret;
	mock->unit = &units[mock->config.unit];
	mutex_init(&mock->lock);
	mutex_init(&mock->iommu.lock);
	mock->iommu.iommu_dev = &mock->unit->iommu;
	if (mock->config.flags & MOCK_DEVICE_LATE)
		mock->iommu.iommu_dev = &late_iommu;
	if (mock->config.flags & MOCK_DEVICE_CANNOT_MAP)
		mock->iommu.iommu_dev = &no_map_iommu;
	if (mock->config.flags & MOCK_DEVICE_UNFIT_NAME)
		mock->iommu.iommu_dev = &unfit_iommu;
	if (mock->config.flags & MOCK_DEVICE_UNFIT_DRIVER)
		mock->iommu.iommu_dev = &unfit_driver_iommu;

	device_initialize(&mock->dev);
	mock->dev.release = release_mock;
	mock->dev.iommu = &mock->iommu;
	mock->dev.bus = mock->config.flags & MOCK_DEVICE_LATE ? &late_bus :
								&mock_bus;
	ret = dev_set_name(&mock->dev, "iommufd_mock%d", mock->number);
	if (ret)
		goto err_put;
	ret = device_add(&mock->dev);
	if (ret)
		goto err_put;
	ret = join_group(mock);
	if (ret)
		goto err_del;
	return 0;

err_del:
	device_del(&mock->dev);
err_put:
	put_device(&mock->dev);
	return ret;
}

static void remove_mock(struct mock_device *mock)
{
	mutex_lock(&mock_lock);
	iommu_group_remove_device(&mock->dev);
	mock->unit->nr_devices--;
	mutex_unlock(&mock_lock);
	device_unregister(&mock->dev);
}

/**
 * struct test_device - owner of a mock device in a context
 * @obj: head
 * @mock: the device, NULL if it was not made
 * @idev: the bound device, NULL if it was not bound
 */
struct test_device {
	struct iommufd_object obj;
	struct mock_device *mock;
	struct iommufd_device *idev;
};

static_assert(offsetof(struct test_device, obj) == 0);

static void release_test(struct iommufd_object *obj)
{
	struct test_device *tdev = container_of(obj, struct test_device, obj);

	if (tdev->idev)
		iommufd_unbind_noref(tdev->idev);
	if (tdev->mock)
		remove_mock(tdev->mock);
}

static struct test_device *get_test_device(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct iommufd_object *obj;

	obj = iommufd_object_get(req->ctx, cmd->id, IOMMUFD_OBJECT_TEST);
	return IS_ERR(obj) ? ERR_CAST(obj) :
			     container_of(obj, struct test_device, obj);
}

/* Takes over @mock. The answer is written before the object is published */
static int make_device(struct iommufd_request *req, struct mock_device *mock,
		       bool attach)
{
	struct iommu_test_cmd __user *user = req->user;
	struct iommu_test_cmd *cmd = req->cmd;
	struct iommufd_device *idev;
	struct test_device *tdev;
	int ret;

	tdev = iommufd_object_alloc(req->ctx, sizeof(*tdev),
				    IOMMUFD_OBJECT_TEST, release_test);
	if (IS_ERR(tdev)) {
		kfree(mock);
		return PTR_ERR(tdev);
	}
	ret = add_mock(mock);
	if (ret)
		goto err_abort;
	tdev->mock = mock;
	idev = iommufd_bind_noref(req->ctx, &mock->dev,
				  &cmd->mock_domain.out_idev_id);
	if (IS_ERR(idev)) {
		ret = PTR_ERR(idev);
		goto err_abort;
	}
	tdev->idev = idev;

	cmd->mock_domain.out_stdev_id = tdev->obj.id;
	cmd->mock_domain.out_hwpt_id = 0;
	cmd->mock_device.out_number = mock->number;
	ret = iommufd_answer(req, sizeof(*cmd));
	if (ret)
		goto err_abort;
	if (attach) {
		ret = iommufd_attach(idev, cmd->id,
				     &user->mock_domain.out_hwpt_id);
		if (ret)
			goto err_abort;
	}
	iommufd_object_publish(req->ctx, &tdev->obj);
	return 0;

err_abort:
	iommufd_object_abort(req->ctx, &tdev->obj);
	return ret;
}

static int test_mock_domain(struct iommufd_request *req)
{
	struct mock_device *mock;

	mock = kzalloc(sizeof(*mock), GFP_KERNEL_ACCOUNT);
	if (!mock)
		return -ENOMEM;
	mock->config = (struct iommu_test_mock_config){
		.join = -1,
		.aperture_start = MOCK_APERTURE_START,
		.aperture_last = MOCK_APERTURE_LAST,
		.page_sizes = MOCK_PAGE,
	};
	return make_device(req, mock, true);
}

static bool is_valid(const struct iommu_test_mock_config *config)
{
	return config->flags < MOCK_DEVICE_UNFIT_DRIVER << 1 &&
	       config->unit < MOCK_UNITS &&
	       config->aperture_start <= config->aperture_last &&
	       config->page_sizes && !(config->page_sizes & (MOCK_PAGE - 1)) &&
	       config->nr_regions <= MAX_REGIONS;
}

static int test_mock_device(struct iommufd_request *req)
{
	struct iommu_test_mock_config config;
	struct iommu_test_cmd *cmd = req->cmd;
	struct mock_device *mock;
	u32 i;
	int ret;

	if (copy_from_user(&config, u64_to_user_ptr(cmd->mock_device.config),
			   sizeof(config)))
		return -EFAULT;
	if (!is_valid(&config))
		return -EINVAL;

	mock = kzalloc(struct_size(mock, regions, config.nr_regions),
		       GFP_KERNEL_ACCOUNT);
	if (!mock)
		return -ENOMEM;
	mock->config = config;
	ret = -EFAULT;
	if (copy_from_user(mock->regions, u64_to_user_ptr(config.regions),
			   flex_array_size(mock, regions, config.nr_regions)))
		goto err_free;
	ret = -EINVAL;
	for (i = 0; i < config.nr_regions; i++)
		if (mock->regions[i].type > MOCK_REGION_SW_MSI)
			goto err_free;
	return make_device(req, mock, cmd->id);

err_free:
	kfree(mock);
	return ret;
}

/* @replace: only if the device is attached */
static int test_attach(struct iommufd_request *req, bool replace)
{
	struct iommu_test_cmd __user *user = req->user;
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_device *tdev;
	int ret = -EINVAL;

	tdev = get_test_device(req);
	if (IS_ERR(tdev))
		return PTR_ERR(tdev);
	if (!replace || READ_ONCE(tdev->idev->attached))
		ret = iommufd_attach(tdev->idev, cmd->mock_domain_replace.pt_id,
				     &user->mock_domain_replace.pt_id);
	iommufd_object_put(&tdev->obj);
	return ret;
}

static int test_detach(struct iommufd_request *req)
{
	struct test_device *tdev = get_test_device(req);

	if (IS_ERR(tdev))
		return PTR_ERR(tdev);
	iommufd_detach(tdev->idev);
	iommufd_object_put(&tdev->obj);
	return 0;
}

/* Copy within a MOCK_PAGE as the device would */
static int dma_page(struct mock_device *mock, unsigned long iova, void *data,
		    size_t size, bool write)
{
	unsigned long entry, start;
	phys_addr_t phys;
	int ret = -ENXIO;
	void *page;

	mutex_lock(&mock->lock);
	if (!mock->table)
		goto out_unlock;
	down_read(&mock->table->lock);
	entry = lookup_any(mock->table, iova, &start);
	if (!entry || (entry & ENTRY_NEW))
		goto out_unlock_table;
	ret = -EPERM;
	if (!(entry & (write ? ENTRY_WRITE : ENTRY_READ)))
		goto out_unlock_table;

	phys = (entry & ENTRY_ADDRESS) + iova - start;
	page = kmap_local_page(pfn_to_page(PHYS_PFN(phys)));
	if (write)
		memcpy(page + offset_in_page(phys), data, size);
	else
		memcpy(data, page + offset_in_page(phys), size);
	kunmap_local(page);
	ret = 0;
out_unlock_table:
	up_read(&mock->table->lock);
out_unlock:
	mutex_unlock(&mock->lock);
	return ret;
}

static int dma(struct mock_device *mock, unsigned long iova,
	       void __user *uptr, size_t length, bool write)
{
	void *data = kmalloc(MOCK_PAGE, GFP_KERNEL);
	size_t size;
	int ret = 0;

	if (!data)
		return -ENOMEM;
	for (; length && !ret; length -= size, iova += size, uptr += size) {
		size = min(length, MOCK_PAGE - (iova & (MOCK_PAGE - 1)));
		if (write && copy_from_user(data, uptr, size))
			ret = -EFAULT;
		else
			ret = dma_page(mock, iova, data, size, write);
		if (!ret && !write && copy_to_user(uptr, data, size))
			ret = -EFAULT;
		cond_resched();
	}
	kfree(data);
	return ret;
}

static int test_dma(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_device *tdev;
	int ret;

	if (cmd->access_rw.flags & ~MOCK_ACCESS_RW_WRITE)
		return -EOPNOTSUPP;
	tdev = get_test_device(req);
	if (IS_ERR(tdev))
		return PTR_ERR(tdev);
	ret = dma(tdev->mock, cmd->access_rw.iova,
		  u64_to_user_ptr(cmd->access_rw.uptr), cmd->access_rw.length,
		  cmd->access_rw.flags & MOCK_ACCESS_RW_WRITE);
	iommufd_object_put(&tdev->obj);
	return ret;
}

/*
 * Units
 */

static int test_fail(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct mock_unit *unit;
	int ret = -ENODEV;

	if (cmd->id >= MOCK_UNITS || cmd->mock_fail.call > MOCK_CALL_UNMAP ||
	    !cmd->mock_fail.error || cmd->mock_fail.error > MAX_ERRNO)
		return -EINVAL;

	unit = &units[array_index_nospec(cmd->id, MOCK_UNITS)];
	mutex_lock(&mock_lock);
	if (unit->nr_devices) {
		spin_lock(&unit->lock);
		unit->failures[cmd->mock_fail.call] = (struct mock_failure){
			.skip = cmd->mock_fail.skip,
			.times = cmd->mock_fail.times,
			.error = cmd->mock_fail.error,
		};
		spin_unlock(&unit->lock);
		ret = 0;
	}
	mutex_unlock(&mock_lock);
	return ret;
}

static int test_query(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct iommu_test_mock_stats stats;
	struct mock_unit *unit;
	int ret = -ENODEV;

	if (cmd->id >= MOCK_UNITS)
		return -EINVAL;

	unit = &units[array_index_nospec(cmd->id, MOCK_UNITS)];
	mutex_lock(&mock_lock);
	if (unit->nr_devices) {
		spin_lock(&unit->lock);
		stats = unit->stats;
		spin_unlock(&unit->lock);
		ret = 0;
	}
	mutex_unlock(&mock_lock);
	if (!ret && copy_to_user(u64_to_user_ptr(cmd->mock_query.stats), &stats,
				 sizeof(stats)))
		ret = -EFAULT;
	return ret;
}

/*
 * Reserved IOVA, mappings and pins
 */

static int test_add_reserved(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	unsigned long start = cmd->add_reserved.start, last;
	struct iova_reserved *reserved = NULL;
	struct iommufd_ioas *ioas;
	int ret = -EINVAL;

	ioas = iommufd_ioas_get(req->ctx, cmd->id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	if (!cmd->add_reserved.length ||
	    check_add_overflow(start,
			       (unsigned long)cmd->add_reserved.length - 1,
			       &last))
		goto out_put;
	ret = iova_reserved_add(&reserved, start, last);
	if (!ret)
		ret = iova_space_reserve(&ioas->space, reserved);
	if (!ret) {
		mutex_lock(&ioas->space.lock);
		reserved->next = ioas->test_reserved;
		ioas->test_reserved = reserved;
		mutex_unlock(&ioas->space.lock);
	}
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}

/* Get the page at an address of the caller, with a reference but no pin */
static int page_at(unsigned long uptr, struct page **page)
{
	int ret = get_user_pages_fast(uptr & PAGE_MASK, 1, 0, page);

	return ret < 0 ? ret : 0;
}

static int check_map(struct mock_table *table, unsigned long iova,
		     unsigned long uptr, unsigned long length)
{
	unsigned long end;

	if ((iova | uptr | length) & (MOCK_PAGE - 1) ||
	    check_add_overflow(uptr, length, &end))
		return -EINVAL;

	for (; uptr != end; iova += MOCK_PAGE, uptr += MOCK_PAGE) {
		unsigned long entry, start;
		struct page *page;
		phys_addr_t phys;
		int ret;

		ret = page_at(uptr, &page);
		if (ret)
			return ret;
		phys = page_to_phys(page) + offset_in_page(uptr);
		put_page(page);
		entry = lookup(table, iova, &start);
		if (!entry || (entry & ENTRY_NEW) ||
		    (entry & ENTRY_ADDRESS) + iova - start != phys)
			return -EINVAL;
		cond_resched();
	}
	return 0;
}

static int test_check_map(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct iommufd_object *obj;
	struct iommu_domain *domain;
	int ret = -EINVAL;

	obj = iommufd_object_get(req->ctx, cmd->id, IOMMUFD_OBJECT_HWPT);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	domain = to_hwpt(obj)->domain;
	if (domain->ops == &table_ops || domain->ops == &single_ops)
		ret = check_map(to_table(domain), cmd->check_map.iova,
				cmd->check_map.uptr, cmd->check_map.length);
	iommufd_object_put(obj);
	return ret;
}

static int test_check_refs(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	unsigned long length = cmd->check_refs.length;
	unsigned long uptr = cmd->check_refs.uptr;
	unsigned long end;

	if ((uptr | length) & ~PAGE_MASK ||
	    check_add_overflow(uptr, length, &end))
		return -EINVAL;

	for (; uptr != end; uptr += PAGE_SIZE) {
		struct page *page;
		int ret;

		ret = page_at(uptr, &page);
		if (ret)
			return ret;
		/* A compound page counts the references of all its pages */
		if (!PageCompound(page) &&
		    page_ref_count(page) / GUP_PIN_COUNTING_BIAS !=
			    cmd->check_refs.refs)
			ret = -EIO;
		put_page(page);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static int test_memory_limit(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;

	if (cmd->memory_limit.limit < MOCK_MEMORY_LIMIT_MIN)
		return -EINVAL;
	WRITE_ONCE(memory_limit, cmd->memory_limit.limit);
	return 0;
}

/*
 * Accesses
 */

/**
 * struct test_access - a file that accesses an IOAS
 * @file: the file
 * @access: its access
 * @ctx: context of the IOAS; @access holds a reference to it
 * @ioas_id: id of the IOAS, 0 for none
 * @pins: it can pin
 * @flags: MOCK_ACCESS_*
 * @delay_ms: time in milliseconds before it unpins
 * @lock: protects the members below. Held to pin until the pages are in @items,
 *        so that give_back() finds them
 * @items: list of struct test_item
 * @next_item: id of the next struct test_item
 */
struct test_access {
	struct file *file;
	struct iommufd_access *access;
	struct iommufd_ctx *ctx;
	u32 ioas_id;
	bool pins;
	u32 flags;
	u32 delay_ms;
	struct mutex lock; /* see above */
	struct list_head items;
	u32 next_item;
};

/**
 * struct test_item - pages that an access has pinned
 * @item: in test_access::items
 * @id: for IOMMU_TEST_OP_DESTROY_ACCESS_PAGES
 * @iova: first IOVA
 * @npages: number of pages
 */
struct test_item {
	struct list_head item;
	u32 id;
	unsigned long iova;
	unsigned long npages;
};

static void drop_item(struct test_access *ta, struct test_item *item)
{
	lockdep_assert_held(&ta->lock);
	list_del(&item->item);
	iommufd_access_unpin(ta->access, item->iova, item->npages);
	kfree(item);
}

static void give_back(void *owner, unsigned long iova, unsigned long length)
{
	struct test_access *ta = owner;
	struct test_item *item, *next;
	u32 flags = READ_ONCE(ta->flags);

	if (flags & MOCK_ACCESS_NEVER_UNPINS)
		return;
	msleep(READ_ONCE(ta->delay_ms));

	mutex_lock(&ta->lock);
	list_for_each_entry_safe_reverse(item, next, &ta->items, item) {
		unsigned long last = item->iova + item->npages * PAGE_SIZE - 1;

		if (item->iova > iova + (length - 1) || iova > last)
			continue;
		drop_item(ta, item);
		if (flags & MOCK_ACCESS_UNPINS_LAST)
			break;
	}
	mutex_unlock(&ta->lock);
}

static const struct iommufd_access_ops pinning_ops = {
	.unpin = give_back,
};

static const struct iommufd_access_ops copying_ops = {};

static void free_access(struct test_access *ta)
{
	struct test_item *item, *next;

	mutex_lock(&ta->lock);
	list_for_each_entry_safe(item, next, &ta->items, item)
		drop_item(ta, item);
	mutex_unlock(&ta->lock);
	iommufd_access_destroy(ta->access);
	mutex_destroy(&ta->lock);
	kfree(ta);
}

static int access_release(struct inode *inode, struct file *file)
{
	free_access(file->private_data);
	return 0;
}

static const struct file_operations access_fops = {
	.owner = THIS_MODULE,
	.release = access_release,
};

/* Get the access of an fd; the caller must call fput() for its file */
static struct test_access *get_access(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct file *file = fget(cmd->id);

	if (file && file->f_op == &access_fops)
		return file->private_data;
	if (file)
		fput(file);
	return ERR_PTR(-EBADFD);
}

static int test_create_access(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	bool pins = cmd->create_access.flags &
		    MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
	struct test_access *ta;
	struct file *file;
	u32 id;
	int ret, fd;

	if (cmd->create_access.flags &
	    ~MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES)
		return -EOPNOTSUPP;

	ta = kzalloc(sizeof(*ta), GFP_KERNEL_ACCOUNT);
	if (!ta)
		return -ENOMEM;
	ta->ctx = req->ctx;
	ta->ioas_id = cmd->id;
	ta->pins = pins;
	mutex_init(&ta->lock);
	INIT_LIST_HEAD(&ta->items);
	ta->access = iommufd_access_create(req->ctx,
					   pins ? &pinning_ops : &copying_ops,
					   ta, &id);
	if (IS_ERR(ta->access)) {
		ret = PTR_ERR(ta->access);
		kfree(ta);
		return ret;
	}
	ret = iommufd_access_attach(ta->access, cmd->id, NULL);
	if (ret)
		goto err_free;

	ret = -ENOMEM;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto err_free;
	file = anon_inode_getfile("[iommufd_test_staccess]", &access_fops, ta,
				  O_RDWR);
	if (IS_ERR(file))
		goto err_fd;
	ta->file = file;

	cmd->create_access.out_access_fd = fd;
	ret = iommufd_answer(req, sizeof(*cmd));
	if (ret) {
		put_unused_fd(fd);
		fput(file);
		return ret;
	}
	fd_install(fd, file);
	return 0;

err_fd:
	put_unused_fd(fd);
err_free:
	free_access(ta);
	return ret;
}

/**
 * iommufd_test_syz_iova - turn the number of an area and an offset into an
 * IOVA, for a fuzzer
 * @ioas: the IOAS
 * @flags: nothing is done without IOMMUFD_TEST_SYZ
 * @iova: number of the area and offset, each a u32; set to the IOVA
 */
void iommufd_test_syz_iova(struct iommufd_ioas *ioas, u32 flags, u64 *iova)
{
	struct iommufd_area *area;
	u32 syz[2];

	if (!(flags & IOMMUFD_TEST_SYZ))
		return;
	memcpy(syz, iova, sizeof(syz));
	mutex_lock(&ioas->space.lock);
	area = iova_space_first(&ioas->space, 0);
	while (area && syz[0]--)
		area = iova_space_next(area);
	*iova = area ? area->start + syz[1] : 0;
	mutex_unlock(&ioas->space.lock);
}

static int syz_iova(struct test_access *ta, u32 flags, u64 *iova)
{
	struct iommufd_object *obj;

	if (!(flags & IOMMUFD_TEST_SYZ))
		return 0;
	obj = iommufd_object_get(ta->ctx, READ_ONCE(ta->ioas_id),
				 IOMMUFD_OBJECT_IOAS);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	iommufd_test_syz_iova(to_ioas(obj), flags, iova);
	iommufd_object_put(obj);
	return 0;
}

static int check_pages(struct page **pages, unsigned long npages,
		       unsigned long uptr)
{
	unsigned long i;

	for (i = 0; i < npages; i++, uptr += PAGE_SIZE) {
		struct page *page;
		int ret;

		ret = page_at(uptr, &page);
		if (ret)
			return ret;
		put_page(page);
		if (page != pages[i])
			return -EBADE;
	}
	return 0;
}

/* Pin pages, compare them, and list them */
static int pin_item(struct iommufd_request *req, struct test_access *ta,
		    struct page **pages, struct test_item *item)
{
	struct iommu_test_cmd *cmd = req->cmd;
	unsigned int flags = 0;
	int ret;

	if (cmd->access_pages.flags & MOCK_FLAGS_ACCESS_WRITE)
		flags = IOMMUFD_ACCESS_WRITE;
	mutex_lock(&ta->lock);
	ret = iommufd_access_pin(ta->access, item->iova, item->npages, flags,
				 pages);
	if (ret)
		goto out_unlock;
	if (cmd->access_pages.uptr)
		ret = check_pages(pages, item->npages, cmd->access_pages.uptr);
	item->id = ta->next_item;
	if (!ret) {
		cmd->access_pages.out_access_pages_id = item->id;
		ret = iommufd_answer(req, sizeof(*cmd));
	}
	if (ret) {
		iommufd_access_unpin(ta->access, item->iova, item->npages);
		goto out_unlock;
	}
	ta->next_item++;
	list_add_tail(&item->item, &ta->items);
out_unlock:
	mutex_unlock(&ta->lock);
	return ret;
}

static int pin_pages(struct iommufd_request *req, struct test_access *ta)
{
	struct iommu_test_cmd *cmd = req->cmd;
	u64 iova = cmd->access_pages.iova;
	u64 length = cmd->access_pages.length;
	struct test_item *item;
	struct page **pages;
	u64 last;
	int ret;

	if (!ta->pins)
		return -EOPNOTSUPP;
	ret = syz_iova(ta, cmd->access_pages.flags, &iova);
	if (ret)
		return ret;
	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last))
		return -EOVERFLOW;
	if ((iova | length) & ~PAGE_MASK)
		return -EINVAL;

	item = kzalloc(sizeof(*item), GFP_KERNEL_ACCOUNT);
	if (!item)
		return -ENOMEM;
	item->iova = iova;
	item->npages = length / PAGE_SIZE;
	pages = kvcalloc(item->npages, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	ret = pages ? pin_item(req, ta, pages, item) : -ENOMEM;
	kvfree(pages);
	if (ret)
		kfree(item);
	return ret;
}

static int test_access_pages(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_access *ta;
	int ret;

	if (cmd->access_pages.length > MAX_ACCESS)
		return -ENOMEM;
	if (cmd->access_pages.flags &
	    ~(MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ))
		return -EOPNOTSUPP;
	ta = get_access(req);
	if (IS_ERR(ta))
		return PTR_ERR(ta);
	ret = pin_pages(req, ta);
	fput(ta->file);
	return ret;
}

static int test_destroy_access_pages(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_access *ta = get_access(req);
	struct test_item *item;
	int ret = -ENOENT;

	if (IS_ERR(ta))
		return PTR_ERR(ta);
	mutex_lock(&ta->lock);
	list_for_each_entry(item, &ta->items, item) {
		if (item->id == cmd->destroy_access_pages.access_pages_id) {
			drop_item(ta, item);
			ret = 0;
			break;
		}
	}
	mutex_unlock(&ta->lock);
	fput(ta->file);
	return ret;
}

static int copy_through(struct test_access *ta, struct iommu_test_cmd *cmd)
{
	void __user *uptr = u64_to_user_ptr(cmd->access_rw.uptr);
	bool write = cmd->access_rw.flags & MOCK_ACCESS_RW_WRITE;
	u64 iova = cmd->access_rw.iova;
	size_t length = cmd->access_rw.length;
	void *data;
	int ret;

	ret = syz_iova(ta, cmd->access_rw.flags, &iova);
	if (ret)
		return ret;
	data = kvzalloc(length, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOMEM;
	ret = -EFAULT;
	if (write && copy_from_user(data, uptr, length))
		goto out_free;
	ret = iommufd_access_rw(ta->access, iova, data, length,
				cmd->access_rw.flags & ~MOCK_FLAGS_ACCESS_SYZ);
	if (!ret && !write && copy_to_user(uptr, data, length))
		ret = -EFAULT;
out_free:
	kvfree(data);
	return ret;
}

static int test_access_rw(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_access *ta;
	int ret;

	if (cmd->access_rw.length > MAX_ACCESS)
		return -ENOMEM;
	if (cmd->access_rw.flags &
	    ~(MOCK_ACCESS_RW_WRITE | MOCK_ACCESS_RW_SLOW_PATH |
	      MOCK_FLAGS_ACCESS_SYZ))
		return -EOPNOTSUPP;
	ta = get_access(req);
	if (IS_ERR(ta))
		return PTR_ERR(ta);
	ret = copy_through(ta, cmd);
	fput(ta->file);
	return ret;
}

/* @replace: only if the access is attached */
static int test_access_attach(struct iommufd_request *req, bool replace)
{
	struct iommu_test_cmd *cmd = req->cmd;
	u32 ioas_id = cmd->access_replace_ioas.ioas_id;
	struct test_access *ta = get_access(req);
	int ret = -ENOENT;

	if (IS_ERR(ta))
		return PTR_ERR(ta);
	if (!replace || READ_ONCE(ta->ioas_id))
		ret = iommufd_access_attach(ta->access, ioas_id, NULL);
	if (!ret)
		WRITE_ONCE(ta->ioas_id, ioas_id);
	fput(ta->file);
	return ret;
}

static int test_access_detach(struct iommufd_request *req)
{
	struct test_access *ta = get_access(req);
	int ret;

	if (IS_ERR(ta))
		return PTR_ERR(ta);
	ret = iommufd_access_detach(ta->access);
	if (!ret)
		WRITE_ONCE(ta->ioas_id, 0);
	fput(ta->file);
	return ret;
}

static int test_access_set(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;
	struct test_access *ta;

	if (cmd->access_set.flags &
	    ~(MOCK_ACCESS_NEVER_UNPINS | MOCK_ACCESS_UNPINS_LAST))
		return -EOPNOTSUPP;
	ta = get_access(req);
	if (IS_ERR(ta))
		return PTR_ERR(ta);
	WRITE_ONCE(ta->flags, cmd->access_set.flags);
	WRITE_ONCE(ta->delay_ms, cmd->access_set.delay_ms);
	fput(ta->file);
	return 0;
}

/**
 * iommufd_test - IOMMU_TEST_CMD
 * @req: struct iommu_test_cmd
 *
 * Return: 0 or an errno, see iommufd_test.h; -EOPNOTSUPP for no such operation.
 */
int iommufd_test(struct iommufd_request *req)
{
	struct iommu_test_cmd *cmd = req->cmd;

	switch (cmd->op) {
	case IOMMU_TEST_OP_ADD_RESERVED:
		return test_add_reserved(req);
	case IOMMU_TEST_OP_MOCK_DOMAIN:
		return test_mock_domain(req);
	case IOMMU_TEST_OP_MD_CHECK_MAP:
		return test_check_map(req);
	case IOMMU_TEST_OP_MD_CHECK_REFS:
		return test_check_refs(req);
	case IOMMU_TEST_OP_CREATE_ACCESS:
		return test_create_access(req);
	case IOMMU_TEST_OP_DESTROY_ACCESS_PAGES:
		return test_destroy_access_pages(req);
	case IOMMU_TEST_OP_ACCESS_PAGES:
		return test_access_pages(req);
	case IOMMU_TEST_OP_ACCESS_RW:
		return test_access_rw(req);
	case IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT:
		return test_memory_limit(req);
	case IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE:
		return test_attach(req, true);
	case IOMMU_TEST_OP_ACCESS_REPLACE_IOAS:
		return test_access_attach(req, true);
	case IOMMU_TEST_OP_MOCK_DEVICE:
		return test_mock_device(req);
	case IOMMU_TEST_OP_MOCK_ATTACH:
		return test_attach(req, false);
	case IOMMU_TEST_OP_MOCK_DETACH:
		return test_detach(req);
	case IOMMU_TEST_OP_MOCK_DMA:
		return test_dma(req);
	case IOMMU_TEST_OP_MOCK_FAIL:
		return test_fail(req);
	case IOMMU_TEST_OP_MOCK_QUERY:
		return test_query(req);
	case IOMMU_TEST_OP_ACCESS_ATTACH:
		return test_access_attach(req, false);
	case IOMMU_TEST_OP_ACCESS_DETACH:
		return test_access_detach(req);
	case IOMMU_TEST_OP_ACCESS_SET:
		return test_access_set(req);
	default:
		return -EOPNOTSUPP;
	}
}

/**
 * iommufd_test_init - initialize the mock IOMMU
 *
 * Return: 0 or an errno.
 */
int __init iommufd_test_init(void)
{
	int i, ret;

	for (i = 0; i < MOCK_UNITS; i++) {
		units[i].iommu.ops = &mock_ops;
		spin_lock_init(&units[i].lock);
	}
	ret = bus_register(&mock_bus);
	if (ret)
		return ret;
	ret = bus_register(&late_bus);
	if (ret) {
		bus_unregister(&mock_bus);
		return ret;
	}
	fault_create_debugfs_attr("fail_iommufd", NULL, &fail_iommufd);
	if (IS_ENABLED(CONFIG_IOMMUFD_TEST_DELAY))
		iommufd_test_delay_init();
	return 0;
}

/**
 * iommufd_test_exit - remove the mock IOMMU
 *
 * No context exists any more, so there is no device either.
 */
void iommufd_test_exit(void)
{
	if (IS_ENABLED(CONFIG_IOMMUFD_TEST_DELAY))
		iommufd_test_delay_exit();
	debugfs_remove_recursive(fail_iommufd.dname);
	dput(fail_iommufd.dname);
	bus_unregister(&late_bus);
	bus_unregister(&mock_bus);
}

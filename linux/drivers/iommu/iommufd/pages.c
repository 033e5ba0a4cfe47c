// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages: which of them are needed, and the store of their PFNs.
 *
 * Pages are pinned in chunks of 512, 2 MiB in most configurations. The store
 * has one word for a chunk that is contiguous, and otherwise a table with one
 * entry for each run of contiguous pages. Mapping and unpinning are done by
 * run, so a huge page costs no more than a small one. iommufd_cursor_next()
 * joins runs that continue in the next chunk.
 *
 * Areas share pages, and accesses pin some of them. Each declares first what it
 * needs. What is needed and not in the store is pinned with no lock held, and
 * then stored. If another thread has stored a page meanwhile, that page stays,
 * so that all see the same one. Pages that nobody needs any more are unpinned.
 * If only a part of a chunk is pinned, its table has runs without a PFN for the
 * rest.
 *
 * Chunks are counted from the start of the range, not of the address space. So
 * a small range is a single entry, which needs no tree.
 */
#include <linux/interval_tree.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "iommufd_private.h"

#define CHUNK_PAGES 512UL

/* Ranges up to this size are pinned without allocating a list */
#define FEW_PAGES 16

/*
 * An entry of a table: the PFN of a run in the upper 48 bits, its number of
 * pages minus one in the lower 16. The table has no length, since it ends where
 * the chunk does. It fits in a page even if every page is a run.
 */
#define RUN_BITS 16
#define NO_PFN (U64_MAX >> RUN_BITS)
static_assert(CHUNK_PAGES * sizeof(u64) <= PAGE_SIZE);

static u64 run_pfn(u64 run)
{
	return run >> RUN_BITS;
}

static unsigned long run_npages(u64 run)
{
	return (run & (BIT(RUN_BITS) - 1)) + 1;
}

static bool is_small(struct iommufd_pages *pages)
{
	return pages->npages <= CHUNK_PAGES;
}

static void *load_chunk(struct iommufd_pages *pages, unsigned long index)
{
	lockdep_assert_held(&pages->lock);

	if (is_small(pages))
		return pages->chunk;
	return xa_load(&pages->chunks, index / CHUNK_PAGES);
}

static int store_chunk(struct iommufd_pages *pages, unsigned long index,
		       void *entry)
{
	if (is_small(pages)) {
		/* Pairs with get_single_run() */
		WRITE_ONCE(pages->chunk, entry);
		return 0;
	}
	if (!entry) {
		xa_erase(&pages->chunks, index / CHUNK_PAGES);
		return 0;
	}
	return xa_err(xa_store(&pages->chunks, index / CHUNK_PAGES, entry,
			       GFP_KERNEL_ACCOUNT));
}

static void init_store(struct iommufd_pages *pages)
{
	if (is_small(pages))
		pages->chunk = NULL;
	else
		xa_init_flags(&pages->chunks, XA_FLAGS_ACCOUNT);
}

/* A failed xa_store() can leave nodes without an entry */
static void destroy_store(struct iommufd_pages *pages)
{
	if (!is_small(pages))
		xa_destroy(&pages->chunks);
}

static unsigned long chunk_start(unsigned long index)
{
	return round_down(index, CHUNK_PAGES);
}

/* The last page of the chunk that a page is in */
static unsigned long chunk_last(struct iommufd_pages *pages,
				unsigned long index)
{
	return min(index | (CHUNK_PAGES - 1), pages->npages - 1);
}

static int charge(struct iommufd_pages *pages, unsigned long npages)
{
	if (iommufd_should_fail())
		return -ENOMEM;
	return iommufd_owner_charge(pages->owner, pages->charge, npages, false);
}

static void uncharge(struct iommufd_pages *pages, unsigned long npages)
{
	iommufd_owner_uncharge(pages->owner, pages->charge, npages);
}

/* Charge another owner for pinned pages of a file; @force ignores the limit */
static int move_charge(struct iommufd_pages *pages, struct iommufd_owner *owner,
		       bool force)
{
	int ret;

	lockdep_assert_held(&pages->lock);

	ret = iommufd_owner_move_charge(pages->owner, owner, pages->charge,
					pages->npinned, force);
	if (!ret)
		pages->owner = owner;
	return ret;
}

/**
 * iommufd_pages_move_charge - begin to charge another owner
 * @pages: pages of a file, which many areas may share
 * @owner: the new owner
 *
 * The caller ends this with iommufd_pages_end_move_charge(), also on error.
 *
 * Return: 0, -ENOMEM if that exceeds the limit of the new owner, or -EINTR on a
 * fatal signal.
 */
int iommufd_pages_move_charge(struct iommufd_pages *pages,
			      struct iommufd_owner *owner)
{
	int ret = 0;

	mutex_lock(&pages->lock);
	if (pages->owner != owner) {
		struct iommufd_owner *old_owner = pages->owner;

		ret = move_charge(pages, owner, false);
		if (!ret)
			pages->old_owner = old_owner;
	}
	mutex_unlock(&pages->lock);
	return ret;
}

/**
 * iommufd_pages_end_move_charge - end what iommufd_pages_move_charge() began
 * @pages: the pages, whether they were moved or not
 * @commit: keep the new owner; otherwise charge the old one again
 */
void iommufd_pages_end_move_charge(struct iommufd_pages *pages, bool commit)
{
	struct iommufd_owner *old_owner;

	mutex_lock(&pages->lock);
	old_owner = pages->old_owner;
	if (old_owner) {
		if (commit) {
			refcount_inc(&pages->owner->refs);
			iommufd_owner_put(old_owner);
		} else {
			move_charge(pages, old_owner, true);
		}
		pages->old_owner = NULL;
	}
	mutex_unlock(&pages->lock);
}

/**
 * iommufd_pages_alloc - describe a range of memory, with its first area
 * @ctx: context that it is mapped in
 * @file: file of @map, or NULL for memory of the calling process
 * @map: the mapping. Its length is not 0, and its end does not wrap
 *
 * Nothing is pinned, and no address is looked up. The calling process will be
 * charged.
 *
 * Return: the pages, with one reference, or an ERR_PTR: -ENOMEM; -EPERM if the
 * file can't be read or written; for a dma-buf as iommufd_mmio_of_file().
 */
struct iommufd_pages *iommufd_pages_alloc(struct iommufd_ctx *ctx,
					  struct file *file,
					  const struct iommufd_mapping *map)
{
	bool writable = map->flags & IOMMU_IOAS_MAP_WRITEABLE;
	unsigned long uva = map->start, length = map->length;
	struct iommufd_owner *owner;
	struct iommufd_pages *pages;
	int ret;

	pages = kmalloc(sizeof(*pages), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return ERR_PTR(-ENOMEM);
	owner = iommufd_owner_get(ctx);
	if (IS_ERR(owner)) {
		ret = PTR_ERR(owner);
		goto err_free;
	}
	*pages = (struct iommufd_pages){
		.refs = REFCOUNT_INIT(1),
		.needs = RB_ROOT_CACHED,
		.owner = owner,
		.npages = PFN_DOWN(uva + length - 1) - PFN_DOWN(uva) + 1,
		.uva = uva & PAGE_MASK,
		.writable = writable,
		.area = {
			.pages = pages,
			.last = length - 1,
			.page_offset = offset_in_page(uva),
			.owner = IOMMUFD_AREA_MAP,
		},
	};
	mutex_init(&pages->lock);
	if (file) {
		ret = iommufd_pages_init_file(pages, file, map);
		if (ret)
			goto err_owner;
	}
	if (!pages->is_mmio)
		init_store(pages);
	if (!capable(CAP_IPC_LOCK))
		pages->charge = map->charge_mm ? IOMMUFD_CHARGE_MM :
						 IOMMUFD_CHARGE_USER;
	return pages;

err_owner:
	iommufd_owner_put(owner);
err_free:
	kfree(pages);
	return ERR_PTR(ret);
}

/**
 * iommufd_pages_put - drop a reference to pages
 * @pages: the pages; the caller has pinned none of them any more
 */
void iommufd_pages_put(struct iommufd_pages *pages)
{
	if (!refcount_dec_and_test(&pages->refs))
		return;
	WARN_ON(pages->npinned);
	if (pages->is_mmio)
		iommufd_mmio_put(pages->mmio_addr.mmio);
	else
		destroy_store(pages);
	if (pages->file)
		iommufd_pages_put_file(pages);
	iommufd_owner_put(pages->owner);
	mutex_destroy(&pages->lock);
	kfree(pages);
}

/*
 * The store
 */

/*
 * The list of pages in memory that pack_list() fills with runs, in place. If
 * pointers are shorter than runs, the list is at the end.
 */
static struct page **list_in(u64 *runs, unsigned long npages)
{
	return (struct page **)(runs + npages) - npages;
}

static void *make_entry(u64 *runs, unsigned long nr)
{
	u64 *table;

	if (nr == 1)
		return xa_mk_value(run_pfn(runs[0]));
	table = kmalloc_array(nr, sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (table)
		memcpy(table, runs, nr * sizeof(*table));
	return table;
}

/* nth_page() would look up a memory section that may not exist */
static bool is_nth_page(struct page *page, struct page *first, unsigned long n)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM) &&
	    !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		return page_to_pfn(page) == page_to_pfn(first) + n;
	return page == first + n;
}

/* Make the entry of the store for a whole chunk; NULL if there is no memory */
static void *pack_list(u64 *runs, struct page **list, unsigned long npages)
{
	struct page *first = list[0];
	unsigned long i = 1;
	u64 *run = runs;

	/* Most chunks are one run */
	while (i < npages && is_nth_page(list[i], first, i))
		i++;

	*run = (u64)page_to_pfn(first) << RUN_BITS | (i - 1);
	for (; i < npages; i++) {
		u64 next = (u64)page_to_pfn(list[i]) << RUN_BITS;

		if (run_pfn(*run) + run_npages(*run) == run_pfn(next))
			++*run;
		else
			*++run = next;
	}
	return make_entry(runs, run - runs + 1);
}

/* Get the PFN of each page of a chunk */
static void unpack(u64 *pfns, void *entry, unsigned long npages)
{
	const u64 *run = entry;
	unsigned long i, j;

	if (!entry) {
		memset64(pfns, NO_PFN, npages);
	} else if (xa_is_value(entry)) {
		for (i = 0; i < npages; i++)
			pfns[i] = xa_to_value(entry) + i;
	} else {
		for (i = 0; i < npages; run++)
			for (j = 0; j < run_npages(*run); j++, i++)
				pfns[i] = run_pfn(*run) == NO_PFN ?
					NO_PFN : run_pfn(*run) + j;
	}
}

/* Undo unpack(), in place */
static int pack(u64 *pfns, unsigned long npages, void **entry, gfp_t gfp)
{
	u64 *run = pfns, pfn = pfns[0];
	unsigned long i, nr;

	*run = pfn << RUN_BITS;
	for (i = 1; i < npages; i++) {
		u64 next = pfns[i];

		if (pfn == NO_PFN ? next == NO_PFN : next == pfn + 1)
			++*run;
		else
			*++run = next << RUN_BITS;
		pfn = next;
	}

	nr = run - pfns + 1;
	*entry = NULL;
	if (nr > 1) {
		*entry = kmemdup(pfns, nr * sizeof(*pfns), gfp);
		if (!*entry)
			return -ENOMEM;
	} else if (run_pfn(*run) != NO_PFN) {
		*entry = xa_mk_value(run_pfn(*run));
	}
	return 0;
}

/* Unpin the runs of a chunk, and return how many pages they had */
static unsigned long unpin_runs(struct iommufd_pages *pages, const u64 *run,
				unsigned long npages)
{
	unsigned long nr = 0;

	for (; npages; run++) {
		npages -= run_npages(*run);
		if (run_pfn(*run) == NO_PFN)
			continue;
		iommufd_unpin_run(pages, run_pfn(*run), run_npages(*run));
		nr += run_npages(*run);
	}
	return nr;
}

static void free_entry(void *entry)
{
	if (!xa_is_value(entry))
		kfree(entry);
}

/*
 * Replace the entry of a chunk; with __GFP_NOFAIL this can't fail if there is
 * one
 */
static int replace_chunk(struct iommufd_pages *pages, unsigned long index,
			 u64 *pfns, gfp_t gfp)
{
	unsigned long npages = chunk_last(pages, index) - chunk_start(index) + 1;
	void *old = load_chunk(pages, index), *entry;
	int ret;

	ret = pack(pfns, npages, &entry, gfp);
	if (ret)
		return ret;
	ret = store_chunk(pages, index, entry);
	if (ret) {
		free_entry(entry);
		return ret;
	}
	pages->changes++;
	free_entry(old);
	return 0;
}

/*
 * Store a list as part of a chunk, except where another thread has stored a
 * page
 */
static int merge_list(struct iommufd_pages *pages, unsigned long index,
		      unsigned long npages, struct page **list)
{
	unsigned long start = chunk_start(index), offset = index - start;
	unsigned long size = chunk_last(pages, index) - start + 1;
	unsigned long i, nr = 0;
	u64 *pfns;
	int ret;

	pfns = kmalloc_array(size, sizeof(*pfns), GFP_KERNEL);
	if (!pfns)
		return -ENOMEM;
	unpack(pfns, load_chunk(pages, index), size);
	for (i = 0; i < npages; i++) {
		if (pfns[offset + i] != NO_PFN)
			continue;
		pfns[offset + i] = page_to_pfn(list[i]);
		/* Move pages that are not stored to the end */
		swap(list[nr], list[i]);
		nr++;
	}

	ret = charge(pages, nr);
	if (ret)
		goto out_free;
	ret = replace_chunk(pages, index, pfns, GFP_KERNEL_ACCOUNT);
	if (ret) {
		uncharge(pages, nr);
		goto out_free;
	}
	pages->npinned += nr;
	iommufd_unpin_list(pages, list + nr, npages - nr);
out_free:
	kfree(pfns);
	return ret;
}

/* Charge for a list of pinned pages and store it, or unpin it */
static int store_list(struct iommufd_pages *pages, unsigned long index,
		      unsigned long npages, u64 *runs)
{
	struct page **list = list_in(runs, npages);
	void *entry;
	int ret;

	/* Another thread has found memory of a device at this address meanwhile */
	if (unlikely(pages->is_mmio)) {
		iommufd_unpin_list(pages, list, npages);
		return 0;
	}
	/* Usually the list is a whole chunk, and nothing of it is stored */
	if (npages != chunk_last(pages, index) - chunk_start(index) + 1 ||
	    load_chunk(pages, index)) {
		ret = merge_list(pages, index, npages, list);
		if (ret)
			iommufd_unpin_list(pages, list, npages);
		return ret;
	}

	ret = charge(pages, npages);
	if (ret) {
		iommufd_unpin_list(pages, list, npages);
		return ret;
	}
	entry = pack_list(runs, list, npages);
	ret = entry ? store_chunk(pages, index, entry) : -ENOMEM;
	if (ret) {
		free_entry(entry);
		uncharge(pages, npages);
		unpin_runs(pages, runs, npages);
		return ret;
	}
	pages->npinned += npages;
	return 0;
}

/*
 * Find the first pages in [*index, last] that are not pinned. Return how many,
 * up to the end of their chunk, or 0 if there are none.
 */
static unsigned long find_unpinned(struct iommufd_pages *pages,
				   unsigned long *index, unsigned long last)
{
	/* All pages are in the store already, or none can be */
	if (pages->npinned == pages->npages || pages->is_mmio)
		return 0;

	while (*index <= last) {
		unsigned long end = min(last, chunk_last(pages, *index));
		const u64 *run = load_chunk(pages, *index);
		unsigned long at = chunk_start(*index);

		if (!run)
			return end - *index + 1;
		while (!xa_is_value(run) && at <= end) {
			unsigned long next = at + run_npages(*run);

			if (run_pfn(*run) == NO_PFN && next > *index) {
				*index = max(*index, at);
				return min(next - 1, end) - *index + 1;
			}
			at = next;
			run++;
		}
		*index = end + 1;
		cond_resched();
	}
	return 0;
}

/*
 * Unpin a part of a chunk or all of it, and return how many pages were pinned
 */
static unsigned long unpin_in_chunk(struct iommufd_pages *pages, void *entry,
				    unsigned long index, unsigned long last)
{
	unsigned long start = chunk_start(index);
	unsigned long size = chunk_last(pages, index) - start + 1;
	unsigned long nr = 0;
	u64 *pfns;

	if (last - index + 1 == size) {
		if (xa_is_value(entry)) {
			iommufd_unpin_run(pages, xa_to_value(entry), size);
			nr = size;
		} else {
			nr = unpin_runs(pages, entry, size);
		}
		store_chunk(pages, index, NULL);
		pages->changes++;
		free_entry(entry);
		return nr;
	}

	/*
	 * Unpinning can't fail, so neither can this: a page at most, rarely
	 * needed
	 */
	pfns = kmalloc_array(size, sizeof(*pfns), GFP_KERNEL | __GFP_NOFAIL);
	unpack(pfns, entry, size);
	for (; index <= last; index++) {
		u64 *pfn = &pfns[index - start];

		if (*pfn == NO_PFN)
			continue;
		iommufd_unpin_run(pages, *pfn, 1);
		*pfn = NO_PFN;
		nr++;
	}
	WARN_ON(replace_chunk(pages, start, pfns,
			      GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
	kfree(pfns);
	return nr;
}

/* Find the next chunk of a range that has an entry, and move *index there */
static void *find_chunk(struct iommufd_pages *pages, unsigned long *index,
			unsigned long last)
{
	unsigned long chunk = *index / CHUNK_PAGES;
	void *entry;

	if (is_small(pages))
		return pages->chunk;
	entry = xa_find(&pages->chunks, &chunk, last / CHUNK_PAGES, XA_PRESENT);
	*index = max(*index, chunk * CHUNK_PAGES);
	return entry;
}

/* Unpin a range; unpinned parts of it cost nothing */
static unsigned long unpin_range(struct iommufd_pages *pages,
				 unsigned long index, unsigned long last)
{
	unsigned long nr = 0, end;
	void *entry;

	for (; index <= last; index = end + 1) {
		entry = find_chunk(pages, &index, last);
		if (!entry)
			break;
		end = min(last, chunk_last(pages, index));
		nr += unpin_in_chunk(pages, entry, index, end);
		cond_resched();
	}
	return nr;
}

/*
 * Memory of a device that was found by address is forgotten with the last need
 */
static void forget_mmio(struct iommufd_pages *pages)
{
	if (!pages->mmio_by_uva || !RB_EMPTY_ROOT(&pages->needs.rb_root))
		return;
	iommufd_mmio_put(pages->mmio_addr.mmio);
	pages->is_mmio = false;
	pages->mmio_by_uva = false;
	init_store(pages);
}

/*
 * Pinning has failed: look up whether the whole range is memory of a device.
 * @lock is not held.
 */
static noinline int find_mmio(struct iommufd_pages *pages)
{
	struct iommufd_mmio_addr addr;
	int ret;

	ret = iommufd_mmio_of_mm(pages->owner->mm, pages->uva,
				 pages->npages << PAGE_SHIFT, pages->writable,
				 &addr);
	if (ret)
		return ret;

	mutex_lock(&pages->lock);
	if (pages->is_mmio || pages->npinned) {
		ret = pages->is_mmio ? 0 : -EFAULT;
		iommufd_mmio_put(addr.mmio);
	} else {
		destroy_store(pages);
		pages->mmio_addr = addr;
		pages->is_mmio = true;
		pages->mmio_by_uva = true;
	}
	mutex_unlock(&pages->lock);
	return ret;
}

/* Unpin the pages of a range that nobody needs */
static void unpin_unneeded(struct iommufd_pages *pages, unsigned long index,
			   unsigned long last)
{
	struct interval_tree_node *need = NULL;
	unsigned long nr = 0, end;

	lockdep_assert_held(&pages->lock);

	if (pages->nr_whole)
		return;
	if (pages->is_mmio) {
		forget_mmio(pages);
		return;
	}
	for (; index <= last; index = end + 1) {
		end = last;
		if (!RB_EMPTY_ROOT(&pages->needs.rb_root))
			need = interval_tree_iter_first(&pages->needs, index,
							last);
		if (need && need->start <= index) {
			end = need->last;
			cond_resched();
			continue;
		}
		if (need)
			end = need->start - 1;
		nr += unpin_range(pages, index, end);
	}
	if (nr) {
		pages->npinned -= nr;
		uncharge(pages, nr);
	}
}

static void drop_need(struct iommufd_pages *pages,
		      struct interval_tree_node *part)
{
	if (part)
		interval_tree_remove(part, &pages->needs);
	else
		pages->nr_whole--;
}

/**
 * iommufd_pages_pin - declare that pages are needed, and pin those that are not
 * pinned yet
 * @pages: the pages; the caller holds a reference
 * @part: which of them, by index, or NULL for all; used until
 *        iommufd_pages_unpin()
 *
 * A process can pin the memory of another one, as long as that one lives. On
 * error nothing is changed.
 * Context: takes @lock of the pages and mmap_lock, and sleeps as long as page
 * faults take.
 *
 * Return:
 * * 0 - all of them are pinned
 * * -EFAULT - some of it can't be pinned
 * * -ENOMEM - RLIMIT_MEMLOCK is exceeded, or there is no memory or no huge page
 * * -EINTR - a fatal signal
 * * -EINVAL - the file is of the wrong kind or too short
 * * -ENOSPC - tmpfs is full, or overcommit forbids more memory for it
 * * -ERESTARTNOINTR - a signal while a huge page was allocated for a file
 * * -EIO - a page of a file is poisoned, or can't be read
 */
int iommufd_pages_pin(struct iommufd_pages *pages,
		      struct interval_tree_node *part)
{
	unsigned long first = part ? part->start : 0;
	unsigned long last = part ? part->last : pages->npages - 1;
	unsigned long index = first, npages;
	u64 few[FEW_PAGES], *runs = few;
	int ret = 0;

	if (last - first >= FEW_PAGES) {
		runs = (u64 *)__get_free_page(GFP_KERNEL);
		if (!runs)
			return -ENOMEM;
	}

	mutex_lock(&pages->lock);
	if (part)
		interval_tree_insert(part, &pages->needs);
	else
		pages->nr_whole++;
	while ((npages = find_unpinned(pages, &index, last))) {
		npages = iommufd_test_limit(npages);
		mutex_unlock(&pages->lock);
		if (index != first)
			cond_resched();
		ret = iommufd_pin_list(pages, index, npages, list_in(runs, npages));
		if (unlikely(ret == -EFAULT) && !pages->file) {
			ret = find_mmio(pages);
			mutex_lock(&pages->lock);
			break;
		}
		mutex_lock(&pages->lock);
		if (!ret)
			ret = store_list(pages, index, npages, runs);
		if (ret)
			break;
		index += npages;
	}
	if (ret) {
		drop_need(pages, part);
		/* Also unpin what others gave up while it was needed here */
		unpin_unneeded(pages, first, last);
	}
	mutex_unlock(&pages->lock);

	if (runs != few)
		free_page((unsigned long)runs);
	return ret;
}

/**
 * iommufd_pages_unpin - declare that pages are not needed, and unpin those that
 * nobody needs
 * @pages: the pages
 * @part: as in iommufd_pages_pin(); the caller does not use them any more
 */
void iommufd_pages_unpin(struct iommufd_pages *pages,
			 struct interval_tree_node *part)
{
	mutex_lock(&pages->lock);
	drop_need(pages, part);
	unpin_unneeded(pages, part ? part->start : 0,
		       part ? part->last : pages->npages - 1);
	mutex_unlock(&pages->lock);
}

/**
 * iommufd_pages_keep_pinned - keep some pages pinned for good
 * @pages: the pages
 * @first: index of the first one that stays
 * @last: index of the last one; the caller needs all of them
 *
 * For pages that a device may still reach. They stay charged, too.
 */
void iommufd_pages_keep_pinned(struct iommufd_pages *pages, unsigned long first,
			       unsigned long last)
{
	struct interval_tree_node *need;

	need = kmalloc(sizeof(*need), GFP_KERNEL | __GFP_NOFAIL);
	need->start = first;
	need->last = last;
	refcount_inc(&pages->refs);
	kmemleak_not_leak(pages);
	mutex_lock(&pages->lock);
	interval_tree_insert(need, &pages->needs);
	mutex_unlock(&pages->lock);
}

/* Return the run at the cursor without its first @skip pages, and advance */
static struct iommufd_run run_in_table(struct iommufd_cursor *cur,
				       unsigned long skip)
{
	struct iommufd_run found = {
		.pfn = run_pfn(*cur->run) + skip,
		.npages = run_npages(*cur->run) - skip,
	};

	cur->index += found.npages;
	cur->run++;
	if (!(cur->index % CHUNK_PAGES))
		cur->run = NULL;
	return found;
}

/* Look up the run of the next page, up to the end of its chunk, and advance */
static struct iommufd_run look_up_run(struct iommufd_cursor *cur)
{
	unsigned long skip = cur->index - chunk_start(cur->index);
	const u64 *run = load_chunk(cur->pages, cur->index);

	if (xa_is_value(run)) {
		struct iommufd_run found = {
			.pfn = xa_to_value(run) + skip,
			.npages = chunk_last(cur->pages, cur->index) -
				  cur->index + 1,
		};

		cur->index += found.npages;
		return found;
	}
	for (; skip >= run_npages(*run); run++)
		skip -= run_npages(*run);
	cur->run = run;
	return run_in_table(cur, skip);
}

/*
 * If all pages are one run, return true and its first PFN. No lock is needed:
 * the caller needs some of the pages, so they keep their PFNs, and a value
 * entry is not memory that could be freed.
 */
static bool get_single_run(struct iommufd_pages *pages, unsigned long *pfn)
{
	void *entry;

	if (unlikely(pages->is_mmio)) {
		*pfn = PHYS_PFN(pages->mmio_addr.phys);
		return true;
	}
	if (!is_small(pages))
		return false;
	entry = READ_ONCE(pages->chunk);
	*pfn = xa_to_value(entry);
	return xa_is_value(entry);
}

/**
 * iommufd_cursor_next - get the next runs of contiguous pages
 * @cur: cursor, which begins as { .pages = pages, .index = first page }
 * @last: the last page wanted; all pages up to it are pinned, and needed by the
 *        caller
 * @runs: set to the runs, each as long as pages up to @last are contiguous
 * @max: number of runs that fit
 *
 * Context: takes @lock of the pages, except for device memory, or for up to 512
 * pages that are contiguous. If everything up to @last is contiguous, it takes
 * one step for each chunk.
 *
 * Return: the number of runs; 0 after @last.
 */
unsigned int iommufd_cursor_next(struct iommufd_cursor *cur, unsigned long last,
				 struct iommufd_run *runs, unsigned int max)
{
	struct iommufd_pages *pages = cur->pages;
	unsigned int nr = 0;
	unsigned long pfn;

	if (get_single_run(pages, &pfn)) {
		if (cur->index > last)
			return 0;
		runs[0] = (struct iommufd_run){
			.pfn = pfn + cur->index,
			.npages = last - cur->index + 1,
		};
		cur->index = last + 1;
		return 1;
	}

	mutex_lock(&pages->lock);
	if (cur->changes != pages->changes) {
		/* The table may have been replaced */
		cur->run = NULL;
		cur->changes = pages->changes;
	}
	while (cur->index <= last) {
		unsigned long index = cur->index;
		struct iommufd_run run;

		if (cur->run) {
			if (nr == max)
				break;
			runs[nr++] = run_in_table(cur, 0);
			continue;
		}

		/* Only the first run of a chunk can continue the one before */
		run = look_up_run(cur);
		if (nr && runs[nr - 1].pfn + runs[nr - 1].npages == run.pfn) {
			runs[nr - 1].npages += run.npages;
		} else if (nr < max) {
			runs[nr++] = run;
		} else {
			cur->index = index;
			cur->run = NULL;
			break;
		}
	}
	if (nr && cur->index - 1 > last) {
		/* The rest of this run is looked up by the next call */
		runs[nr - 1].npages -= cur->index - 1 - last;
		cur->index = last + 1;
		cur->run = NULL;
	}
	mutex_unlock(&pages->lock);
	return nr;
}

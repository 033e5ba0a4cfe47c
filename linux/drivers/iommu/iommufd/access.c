// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses: kernel drivers of emulated devices read and write the memory of an
 * IOAS themselves.
 *
 * A driver may pin a page several times and unpin in other ranges than it has
 * pinned, so pins are counted per page. An area can't be removed while one of
 * its pages is pinned or copied. UNMAP and accesses synchronize like this:
 *
 * - begin_access() increments iommufd_area::nr_accesses under iova_space::lock,
 *   and only if the area has no owner. An UNMAP owns the area first, so from
 *   then on the count only decreases. end_access() decrements it.
 * - iommufd_access_evict() calls ops->unpin() with no lock held until the count
 *   is 0. Before each call it finds an access in the list of the IOAS and
 *   increments its nr_unpin_calls, both under iova_space::lock. After an access
 *   was removed from the list, unlist() waits until nr_unpin_calls is 0, so
 *   ops->unpin() is not called any more.
 * - If the count is not 0 but no access has a pin there, a copy is running, or
 *   a pin is not stored in iommufd_access::pins yet. The UNMAP then waits until
 *   iova_space::wake_seq differs from its value when the count was read. It is
 *   incremented by each end_access(), each pin that was stored, and each
 *   ops->unpin() that has returned.
 * - If the count is not lower after ops->unpin(), the call was ignored. After
 *   MAX_IGNORED ignored calls in a row the UNMAP fails with -EDEADLOCK.
 * - begin_change() sets iommufd_access::changing under iommufd_access::lock,
 *   which is also held to pin. After that no pin or copy can begin, and no
 *   other attach or detach. A copy that has begun goes on, and pages can be
 *   unpinned.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"

/* Calls of ops->unpin() in a row that a driver may ignore */
#define MAX_IGNORED 100

/* One page that an access has pinned */
struct access_pin {
	struct interval_tree_node part;
	struct iommufd_pages *pages;
	struct iommufd_area *area;
	unsigned long count;
};

/* The permissions that an area must have */
static int wanted_prot(unsigned int flags)
{
	if (!(flags & IOMMUFD_ACCESS_WRITE))
		return IOMMU_READ;
	return IOMMU_WRITE | (flags & IOMMUFD_ACCESS_READ ? IOMMU_READ : 0);
}

/*
 * Find the area at an IOVA and increment its count, so that an UNMAP can't
 * remove it. An area that a MAP owns does not exist yet. Wait for a split, which
 * waits for no access.
 */
static struct iommufd_area *begin_access(struct iommufd_ioas *ioas,
					 unsigned long iova, unsigned int flags)
{
	int prot = wanted_prot(flags);
	struct iommufd_area *area;
	unsigned long seq;

retry:
	mutex_lock(&ioas->space.lock);
	area = iova_space_first(&ioas->space, iova);
	if (area && area->start <= iova &&
	    area_owner(area) == IOMMUFD_AREA_SPLIT) {
		seq = ioas->space.wake_seq;
		mutex_unlock(&ioas->space.lock);
		if (iova_space_wait(&ioas->space, seq))
			return ERR_PTR(-EINTR);
		goto retry;
	}
	if (!area || area->start > iova ||
	    area_owner(area) == IOMMUFD_AREA_MAP)
		area = ERR_PTR(-ENOENT);
	else if (area_owner(area) != IOMMUFD_AREA_FREE)
		area = ERR_PTR(-EINVAL);
	else if ((area->prot & prot) != prot)
		area = ERR_PTR(-EPERM);
	else
		area->nr_accesses++;
	mutex_unlock(&ioas->space.lock);
	return area;
}

static void end_access(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	mutex_lock(&ioas->space.lock);
	area->nr_accesses--;
	iova_space_wake(&ioas->space);
	mutex_unlock(&ioas->space.lock);
}

/* Offset in bytes of an IOVA from the start of iommufd_area::pages */
static unsigned long offset_in_pages(struct iommufd_area *area,
				     unsigned long iova)
{
	return (area->index << PAGE_SHIFT) + area->page_offset +
	       (iova - area->start);
}

static int pin_page(struct iommufd_pages *pages,
		    struct interval_tree_node *part, unsigned long index)
{
	int ret;

	part->start = index;
	part->last = index;
	ret = iommufd_pages_pin(pages, part);
	if (!ret && pages->is_mmio) {
		iommufd_pages_unpin(pages, part);
		return -EINVAL;
	}
	/* The caller may be outside a system call, so nothing can restart */
	return ret == -ERESTARTNOINTR ? -EINTR : ret;
}

static struct page *pinned_page(struct iommufd_pages *pages,
				unsigned long index)
{
	struct iommufd_cursor cur = { .pages = pages, .index = index };
	struct iommufd_run run;

	iommufd_cursor_next(&cur, index, &run, 1);
	return pfn_to_page(run.pfn);
}

/* Pin one page, or increment the count of an existing pin */
static struct page *get_pin(struct iommufd_access *access, unsigned long iova,
			    unsigned int flags)
{
	struct iommufd_ioas *ioas = access->ioas;
	struct iommufd_area *area;
	struct access_pin *pin;
	int ret;

	lockdep_assert_held(&access->lock);

	area = begin_access(ioas, iova, flags);
	if (IS_ERR(area))
		return ERR_CAST(area);
	pin = xa_load(&access->pins, iova >> PAGE_SHIFT);
	if (pin) {
		end_access(ioas, area);
		pin->count++;
		goto out;
	}

	ret = -ENOMEM;
	pin = kzalloc(sizeof(*pin), GFP_KERNEL_ACCOUNT);
	if (!pin)
		goto err_end;
	pin->pages = area->pages;
	pin->area = area;
	pin->count = 1;
	ret = pin_page(pin->pages, &pin->part,
		       offset_in_pages(area, iova) >> PAGE_SHIFT);
	if (ret)
		goto err_free;
	ret = iommufd_should_fail() ? -EINVAL :
		xa_err(xa_store(&access->pins, iova >> PAGE_SHIFT, pin,
				GFP_KERNEL_ACCOUNT));
	if (ret)
		goto err_unpin;
	refcount_inc(&pin->pages->refs);

	/* The pin can be found now: wake an UNMAP that waits for it */
	mutex_lock(&ioas->space.lock);
	iova_space_wake(&ioas->space);
	mutex_unlock(&ioas->space.lock);
	if (iommufd_dirty_tracked(ioas))
		iommufd_dirty_note(ioas, iova, iova);
out:
	return pinned_page(pin->pages, pin->part.start);

err_unpin:
	iommufd_pages_unpin(pin->pages, &pin->part);
err_free:
	kfree(pin);
err_end:
	end_access(ioas, area);
	return ERR_PTR(ret);
}

static void drop_pin(struct iommufd_access *access, unsigned long index,
		     struct access_pin *pin)
{
	lockdep_assert_held(&access->lock);

	/* A query of dirty pages does not see pins of a stopped access */
	if (iommufd_dirty_tracked(access->ioas))
		iommufd_dirty_note(access->ioas, index << PAGE_SHIFT,
				   index << PAGE_SHIFT);
	xa_erase(&access->pins, index);
	iommufd_pages_unpin(pin->pages, &pin->part);
	iommufd_pages_put(pin->pages);
	end_access(access->ioas, pin->area);
	kfree(pin);
}

static void put_pins(struct iommufd_access *access, unsigned long iova,
		     unsigned long npages)
{
	unsigned long index = iova >> PAGE_SHIFT;

	lockdep_assert_held(&access->lock);

	for (; npages; npages--, index++) {
		struct access_pin *pin = xa_load(&access->pins, index);

		if (pin && !--pin->count)
			drop_pin(access, index, pin);
		cond_resched();
	}
}

/**
 * iommufd_access_pin - pin the pages of a range
 * @access: the access; its ops must have unpin()
 * @iova: first IOVA, page aligned
 * @npages: number of pages
 * @flags: IOMMUFD_ACCESS_WRITE, with or without IOMMUFD_ACCESS_READ, or 0
 * @list: set to the pinned pages
 *
 * The pages stay pinned until iommufd_access_unpin() was called for them as
 * often. The owner must do that when ops->unpin() asks for it. On error nothing
 * is pinned.
 * Context: sleeps as long as page faults take.
 *
 * Return:
 * * 0 - all pages are pinned
 * * -EINVAL - @iova or @npages is invalid, the access can't pin, the area is
 *   being unmapped, or it is memory of a device
 * * -EOVERFLOW - the range wraps
 * * -ENOENT - the access is not attached, or nothing is mapped there
 * * -EPERM - the area does not permit the access
 * * -EFAULT, -ENOMEM, -EINTR, and for a file -EINVAL, -ENOSPC, -EIO - as for
 *   iommufd_pages_pin()
 */
int iommufd_access_pin(struct iommufd_access *access, unsigned long iova,
		       unsigned long npages, unsigned int flags,
		       struct page **list)
{
	unsigned long done, end;
	int ret;

	if (!access->ops->unpin || !npages || offset_in_page(iova))
		return -EINVAL;
	if (npages > ULONG_MAX >> PAGE_SHIFT ||
	    check_add_overflow(iova, (npages << PAGE_SHIFT) - 1, &end))
		return -EOVERFLOW;

	ret = mutex_lock_killable(&access->lock);
	if (ret)
		return ret;
	if (!access->ioas || access->changing)
		ret = -ENOENT;
	for (done = 0; !ret && done < npages; done++) {
		list[done] = get_pin(access, iova + (done << PAGE_SHIFT),
				     flags);
		if (IS_ERR(list[done])) {
			ret = PTR_ERR(list[done]);
			put_pins(access, iova, done);
		}
		cond_resched();
	}
	mutex_unlock(&access->lock);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_pin, IOMMUFD);

/**
 * iommufd_access_unpin - undo iommufd_access_pin(), in any ranges
 * @access: the access
 * @iova: first IOVA, page aligned
 * @npages: number of pages; pages that are not pinned are ignored
 */
void iommufd_access_unpin(struct iommufd_access *access, unsigned long iova,
			  unsigned long npages)
{
	mutex_lock(&access->lock);
	put_pins(access, iova, npages);
	mutex_unlock(&access->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_unpin, IOMMUFD);

/* Copy to or from the pages that devices see */
static int copy_pinned(struct iommufd_pages *pages, unsigned long offset,
		       void *data, size_t length, unsigned int flags)
{
	while (length) {
		size_t bytes = min(length, PAGE_SIZE - offset_in_page(offset));
		struct interval_tree_node part;
		void *map;
		int ret;

		if (iommufd_should_fail())
			return -EINVAL;
		ret = pin_page(pages, &part, offset >> PAGE_SHIFT);
		if (ret)
			return ret;
		map = kmap_local_page(pinned_page(pages, part.start)) +
		      offset_in_page(offset);
		if (flags & IOMMUFD_ACCESS_WRITE)
			memcpy(map, data, bytes);
		else
			memcpy(data, map, bytes);
		kunmap_local(map);
		iommufd_pages_unpin(pages, &part);

		offset += bytes;
		data += bytes;
		length -= bytes;
		cond_resched();
	}
	return 0;
}

static int copy_area(struct iommufd_area *area, unsigned long iova, void *data,
		     size_t length, unsigned int flags)
{
	unsigned long offset = offset_in_pages(area, iova);
	struct iommufd_pages *pages = area->pages;
	void __user *user = (void __user *)(pages->uva + offset);
	/* A kernel thread without an mm can use that of the owner */
	bool borrow = (current->flags & PF_KTHREAD) && !current->mm;
	struct mm_struct *mm;

	/*
	 * The owner of a file's pages may change, so its mm is not used.
	 * pin_page() rejects memory of devices.
	 */
	if ((flags & IOMMUFD_ACCESS_PINNED) || pages->file ||
	    READ_ONCE(pages->is_mmio))
		return copy_pinned(pages, offset, data, length, flags);
	mm = pages->owner->mm;
	if (mm != current->mm && !borrow)
		return copy_pinned(pages, offset, data, length, flags);

	if (borrow) {
		if (!mmget_not_zero(mm))
			return -EFAULT;
		kthread_use_mm(mm);
	}
	if (flags & IOMMUFD_ACCESS_WRITE)
		length = copy_to_user(user, data, length);
	else
		length = copy_from_user(data, user, length);
	if (borrow) {
		kthread_unuse_mm(mm);
		mmput(mm);
	}
	return length ? -EFAULT : 0;
}

/**
 * iommufd_access_rw - read or write the memory that is mapped in a range
 * @access: the access
 * @iova: first IOVA
 * @data: buffer to read to or write from
 * @length: number of bytes
 * @flags: enum iommufd_access_flags
 *
 * Context: sleeps as long as page faults take.
 *
 * Return: 0, or an errno as for iommufd_access_pin(). On error a part may have
 * been copied.
 */
int iommufd_access_rw(struct iommufd_access *access, unsigned long iova,
		      void *data, size_t length, unsigned int flags)
{
	struct iommufd_ioas *ioas;
	unsigned long last;
	int ret;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last))
		return -EOVERFLOW;

	/* The access may be detached meanwhile: the reference keeps the IOAS */
	ret = mutex_lock_killable(&access->lock);
	if (ret)
		return ret;
	ioas = access->changing ? NULL : access->ioas;
	if (ioas)
		refcount_inc(&ioas->obj.refs);
	mutex_unlock(&access->lock);
	if (!ioas)
		return -ENOENT;

	while (length) {
		struct iommufd_area *area = begin_access(ioas, iova, flags);
		size_t bytes;

		if (IS_ERR(area)) {
			ret = PTR_ERR(area);
			break;
		}
		bytes = min(length - 1, area->last - iova) + 1;
		ret = copy_area(area, iova, data, bytes, flags);
		if (flags & IOMMUFD_ACCESS_WRITE) {
			/* Write before the load; pairs with iommufd_dirty_start() */
			smp_mb();
			if (iommufd_dirty_tracked(ioas))
				iommufd_dirty_note(ioas, iova,
						   iova + bytes - 1);
		}
		end_access(ioas, area);
		if (ret)
			break;
		iova += bytes;
		data += bytes;
		length -= bytes;
	}
	iommufd_object_put(&ioas->obj);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_rw, IOMMUFD);

/* Pages in one ops->unpin(); they are counted under iova_space::lock */
#define MAX_UNPIN_PAGES 512

/*
 * Find the first pages in [*iova, last] that an access has pinned. Set *iova to
 * the first one and return how many bytes follow each other, or 0 if there are
 * none.
 */
static unsigned long find_pinned(struct iommufd_access *access,
				 unsigned long *iova, unsigned long last)
{
	unsigned long index = *iova >> PAGE_SHIFT, end, limit;

	if (!xa_find(&access->pins, &index, last >> PAGE_SHIFT, XA_PRESENT))
		return 0;
	*iova = index << PAGE_SHIFT;
	limit = min((last >> PAGE_SHIFT) + 1, index + MAX_UNPIN_PAGES);
	for (end = index + 1; end < limit; end++)
		if (!xa_load(&access->pins, end))
			break;
	return (end - index) << PAGE_SHIFT;
}

/**
 * iommufd_access_evict - ask accesses to unpin an area, and wait for them
 * @ioas: the IOAS
 * @area: area that the caller's UNMAP owns
 *
 * Context: calls ops->unpin(), which takes locks of the driver.
 *
 * Return: 0, -EDEADLOCK if a driver does not unpin, or -EINTR on a fatal
 * signal.
 */
int iommufd_access_evict(struct iommufd_ioas *ioas, struct iommufd_area *area)
{
	unsigned int ignored = 0;

	while (ignored < MAX_IGNORED) {
		unsigned long iova, length = 0, seq, nr_accesses;
		struct iommufd_access *access;

		mutex_lock(&ioas->space.lock);
		nr_accesses = area->nr_accesses;
		seq = ioas->space.wake_seq;
		if (!nr_accesses) {
			mutex_unlock(&ioas->space.lock);
			return 0;
		}
		list_for_each_entry(access, &ioas->accesses, item) {
			iova = area->start;
			length = find_pinned(access, &iova, area->last);
			if (length) {
				access->nr_unpin_calls++;
				break;
			}
		}
		mutex_unlock(&ioas->space.lock);

		if (!length) {
			/* A copy is running, or a pin is not stored yet */
			if (iova_space_wait(&ioas->space, seq))
				return -EINTR;
			continue;
		}
		access->ops->unpin(access->owner, iova, length);

		mutex_lock(&ioas->space.lock);
		ignored = area->nr_accesses < nr_accesses ? 0 : ignored + 1;
		access->nr_unpin_calls--;
		iova_space_wake(&ioas->space);
		mutex_unlock(&ioas->space.lock);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	pr_warn_ratelimited("iommufd: a driver did not unpin a range to be unmapped\n");
	return -EDEADLOCK;
}

/**
 * iommufd_access_pinned - find the first pages of a range that are pinned
 * @ioas: the IOAS
 * @iova: first IOVA of the range; set to the first pinned IOVA
 * @last: last IOVA of the range
 *
 * Return: the number of pinned bytes there, or 0 if nothing is pinned up to
 * @last. The pages may be unpinned at any time.
 */
unsigned long iommufd_access_pinned(struct iommufd_ioas *ioas,
				    unsigned long *iova, unsigned long last)
{
	unsigned long length = 0, found = last, first = *iova;
	struct iommufd_access *access;

	mutex_lock(&ioas->space.lock);
	list_for_each_entry(access, &ioas->accesses, item) {
		unsigned long at = first, bytes = find_pinned(access, &at, last);

		if (bytes && (!length || at < found)) {
			found = at;
			length = bytes;
		}
	}
	mutex_unlock(&ioas->space.lock);
	*iova = found;
	return length;
}

/* Ask the owner to unpin everything */
static void evict_all(struct iommufd_access *access)
{
	unsigned long iova = 0, length;
	unsigned int ignored = 0;

	while (ignored < MAX_IGNORED &&
	       (length = find_pinned(access, &iova, ULONG_MAX))) {
		access->ops->unpin(access->owner, iova, length);
		/* One page fewer is progress */
		ignored = find_pinned(access, &iova, iova + length - 1) ==
			length ? ignored + 1 : 0;
		iova = 0;
		cond_resched();
	}
}

/* Unpin the pages that the owner has not unpinned */
static void drop_pins(struct iommufd_access *access)
{
	struct access_pin *pin;
	unsigned long index;
	bool left = false;

	/* The lock excludes an owner that is unpinning a page */
	mutex_lock(&access->lock);
	xa_for_each(&access->pins, index, pin) {
		drop_pin(access, index, pin);
		left = true;
	}
	mutex_unlock(&access->lock);
	if (left)
		pr_warn_ratelimited("iommufd: a driver did not unpin all its pages\n");
}

/*
 * Require areas of whole CPU pages, which an access that can pin needs, or give
 * up the requirement. Only the former can be killed.
 */
static int set_pinner(struct iommufd_access *access, struct iommufd_ioas *ioas,
		      bool pinner)
{
	int ret;

	if (!access->ops->unpin)
		return 0;
	if (!pinner)
		down_write(&ioas->domains_lock);
	else if (down_write_killable(&ioas->domains_lock))
		return -EINTR;
	ioas->nr_pinners += pinner ? 1 : -1;
	ret = iommufd_hwpt_align(ioas);
	if (ret)
		ioas->nr_pinners--;
	up_write(&ioas->domains_lock);
	return ret;
}

static void unuse_ioas(struct iommufd_access *access, struct iommufd_ioas *ioas)
{
	set_pinner(access, ioas, false);
	iommufd_object_unuse(&ioas->obj);
}

/* Hide the access from UNMAPs, and wait for those that call ops->unpin() */
static void unlist(struct iommufd_access *access, struct iommufd_ioas *ioas)
{
	mutex_lock(&ioas->space.lock);
	list_del(&access->item);
	mutex_unlock(&ioas->space.lock);
	wait_event(ioas->space.waitq, !READ_ONCE(access->nr_unpin_calls));
}

static void detach_from(struct iommufd_access *access,
			struct iommufd_ioas *ioas)
{
	evict_all(access);
	unlist(access, ioas);
	drop_pins(access);
	unuse_ioas(access, ioas);
}

static int use_ioas(struct iommufd_access *access, struct iommufd_ioas *ioas)
{
	int ret;

	if (!iommufd_object_use(&ioas->obj))
		return -ENOENT;
	ret = set_pinner(access, ioas, true);
	if (ret)
		iommufd_object_unuse(&ioas->obj);
	return ret;
}

/* After this no pin or copy can begin; pages can still be unpinned */
static int begin_change(struct iommufd_access *access, bool killable)
{
	int ret = 0;

	if (!killable)
		mutex_lock(&access->lock);
	else if (mutex_lock_killable(&access->lock))
		return -EINTR;
	if (access->changing)
		ret = -EBUSY;
	access->changing = true;
	mutex_unlock(&access->lock);
	return ret;
}

static void end_change(struct iommufd_access *access, struct iommufd_ioas *ioas)
{
	mutex_lock(&access->lock);
	access->ioas = ioas;
	access->changing = false;
	mutex_unlock(&access->lock);
}

/**
 * iommufd_access_attach - attach an access to an IOAS
 * @access: the access. If it is attached already, it moves: its owner is asked
 *          to unpin everything first
 * @ioas_id: id from the user
 * @out_ioas_id: user memory to write the id of the IOAS to, or NULL
 *
 * On error nothing is changed.
 * Context: calls ops->unpin(); writes to user memory.
 *
 * Return:
 * * 0 - the access is attached
 * * -ENOENT - no such IOAS
 * * -EADDRINUSE - the access can pin, and an area does not consist of whole
 *   pages
 * * -EBUSY - another thread attaches or detaches
 * * -EFAULT - @out_ioas_id can't be written
 * * -EINTR - a fatal signal
 */
int iommufd_access_attach(struct iommufd_access *access, u32 ioas_id,
			  u32 __user *out_ioas_id)
{
	struct iommufd_ioas *ioas, *old;
	int ret;

	ioas = iommufd_ioas_get(access->ctx, ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	ret = begin_change(access, true);
	if (ret)
		goto out_put;

	old = access->ioas;
	if (ioas != old) {
		ret = use_ioas(access, ioas);
		if (ret)
			goto err_end;
	}
	/*
	 * This can fail, so do it before the pins in the old IOAS are dropped
	 */
	if (out_ioas_id && put_user(ioas_id, out_ioas_id)) {
		ret = -EFAULT;
		if (ioas != old)
			unuse_ioas(access, ioas);
		goto err_end;
	}
	if (ioas != old) {
		if (old)
			detach_from(access, old);
		mutex_lock(&ioas->space.lock);
		list_add_tail(&access->item, &ioas->accesses);
		mutex_unlock(&ioas->space.lock);
	}
	end_change(access, ioas);
	goto out_put;

err_end:
	end_change(access, old);
out_put:
	iommufd_object_put(&ioas->obj);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_attach, IOMMUFD);

/**
 * iommufd_access_detach - undo iommufd_access_attach()
 * @access: the access; nothing happens if it is not attached
 *
 * Context: calls ops->unpin().
 *
 * Return: 0, -EBUSY if another thread attaches or detaches, or -EINTR.
 */
int iommufd_access_detach(struct iommufd_access *access)
{
	int ret = begin_change(access, true);

	if (ret)
		return ret;
	if (access->ioas)
		detach_from(access, access->ioas);
	end_change(access, NULL);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_detach, IOMMUFD);

static void release_access(struct iommufd_object *obj)
{
	struct iommufd_access *access =
		container_of(obj, struct iommufd_access, obj);

	/* A failed xa_store() can leave nodes without an entry */
	xa_destroy(&access->pins);
	mutex_destroy(&access->lock);
}

/**
 * iommufd_access_create - create an access for an emulated device
 * @ctx: the context; the access holds a reference to it
 * @ops: callbacks of the owner
 * @owner: argument for @ops
 * @id: set to the id of the access in the context
 *
 * Return: the access, or an ERR_PTR of -ENOMEM.
 */
struct iommufd_access *
iommufd_access_create(struct iommufd_ctx *ctx,
		      const struct iommufd_access_ops *ops, void *owner,
		      u32 *id)
{
	struct iommufd_access *access;

	access = iommufd_object_alloc(ctx, sizeof(*access),
				      IOMMUFD_OBJECT_ACCESS, release_access);
	if (IS_ERR(access))
		return access;
	access->ctx = ctx;
	access->ops = ops;
	access->owner = owner;
	mutex_init(&access->lock);
	xa_init_flags(&access->pins, XA_FLAGS_ACCOUNT);
	get_file(ctx->file);

	*id = access->obj.id;
	iommufd_object_use(&access->obj);
	iommufd_object_publish(ctx, &access->obj);
	return access;
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_create, IOMMUFD);

/**
 * iommufd_access_stop - stop calling the owner of an access
 * @access: the access, which may be stopped already. Nobody may attach or
 *          detach it from now on
 *
 * After this no pin or copy can begin. Pinned pages stay pinned until the owner
 * unpins them or the access is destroyed; an UNMAP of their area waits for
 * that.
 * Context: waits for a running pin, however long its page faults take, and for
 * running calls of ops->unpin(). Not killable.
 */
void iommufd_access_stop(struct iommufd_access *access)
{
	if (!begin_change(access, false) && access->ioas)
		unlist(access, access->ioas);
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_stop, IOMMUFD);

/**
 * iommufd_access_destroy - undo iommufd_access_create()
 * @access: the access, which is stopped and detached first. The owner is not
 *          asked to unpin: it may be gone
 */
void iommufd_access_destroy(struct iommufd_access *access)
{
	struct iommufd_ctx *ctx = access->ctx;

	iommufd_access_stop(access);
	if (access->ioas) {
		drop_pins(access);
		unuse_ioas(access, access->ioas);
		end_change(access, NULL);
	}
	iommufd_object_remove_owned(ctx, &access->obj);
	fput(ctx->file);
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_destroy, IOMMUFD);

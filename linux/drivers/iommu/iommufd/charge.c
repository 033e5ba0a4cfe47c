// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owners: processes whose memory is mapped, and who are charged for pinned
 * pages.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/**
 * iommufd_owner_put - drop a reference to an owner
 * @owner: the owner
 */
void iommufd_owner_put(struct iommufd_owner *owner)
{
	if (!refcount_dec_and_test(&owner->refs))
		return;
	put_cred(owner->cred);
	put_task_struct(owner->task);
	mmdrop(owner->mm);
	kfree_rcu(owner, rcu);
}

/**
 * iommufd_owner_get - find or make the owner for the calling process
 * @ctx: context, which remembers the last owner
 *
 * Return: the owner or an ERR_PTR of -ENOMEM.
 */
struct iommufd_owner *iommufd_owner_get(struct iommufd_ctx *ctx)
{
	struct iommufd_owner *owner, *old;

	rcu_read_lock();
	owner = rcu_dereference(ctx->owner);
	if (owner && owner->mm == current->mm &&
	    owner->task == current->group_leader &&
	    owner->cred->user == current_user() &&
	    refcount_inc_not_zero(&owner->refs)) {
		rcu_read_unlock();
		return owner;
	}
	rcu_read_unlock();

	owner = kmalloc(sizeof(*owner), GFP_KERNEL_ACCOUNT);
	if (!owner)
		return ERR_PTR(-ENOMEM);
	/* One for the caller, one for the context */
	refcount_set(&owner->refs, 2);
	owner->mm = current->mm;
	mmgrab(owner->mm);
	owner->task = get_task_struct(current->group_leader);
	owner->cred = get_current_cred();

	old = unrcu_pointer(xchg(&ctx->owner, RCU_INITIALIZER(owner)));
	if (old)
		iommufd_owner_put(old);
	return owner;
}

static int charge_user(struct iommufd_owner *owner, unsigned long npages,
		       bool force)
{
	unsigned long limit = task_rlimit(owner->task, RLIMIT_MEMLOCK);
	atomic_long_t *locked = &owner->cred->user->locked_vm;
	long now = atomic_long_read(locked);

	do {
		if (now + npages > limit >> PAGE_SHIFT && !force)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(locked, &now, now + npages));
	return 0;
}

static int charge_mm(struct iommufd_owner *owner, unsigned long npages,
		     bool inc, bool force)
{
	int ret;

	/* What can't fail must not be killed either */
	if (!inc || force)
		mmap_write_lock(owner->mm);
	else if (mmap_write_lock_killable(owner->mm))
		return -EINTR;
	ret = __account_locked_vm(owner->mm, npages, inc, owner->task, force);
	mmap_write_unlock(owner->mm);
	return ret;
}

/* -ENOMEM does not tell users which limit was reached, and by how much */
static void report_limit(struct iommufd_owner *owner,
			 enum iommufd_charge charge, unsigned long npages)
{
	unsigned long limit = task_rlimit(owner->task, RLIMIT_MEMLOCK);
	bool by_user = charge == IOMMUFD_CHARGE_USER;
	unsigned long locked;

	if (by_user)
		locked = atomic_long_read(&owner->cred->user->locked_vm);
	else
		locked = READ_ONCE(owner->mm->locked_vm);
	pr_warn_ratelimited("iommufd: %s (%d): RLIMIT_MEMLOCK is %lu KiB, the %s has %lu KiB locked and needs %lu KiB more\n",
			    owner->task->comm, task_pid_nr(owner->task),
			    limit >> 10, by_user ? "user" : "process",
			    locked << (PAGE_SHIFT - 10),
			    npages << (PAGE_SHIFT - 10));
}

/**
 * iommufd_owner_charge - charge an owner for pinned pages
 * @owner: the owner
 * @charge: how the limit applies
 * @npages: number of pages
 * @force: ignore the limit, and do not fail
 *
 * Context: takes mmap_lock for IOMMUFD_CHARGE_MM.
 *
 * Return: 0, -ENOMEM if that exceeds RLIMIT_MEMLOCK, or -EINTR on a fatal signal.
 */
int iommufd_owner_charge(struct iommufd_owner *owner,
			 enum iommufd_charge charge, unsigned long npages,
			 bool force)
{
	int ret = 0;

	/* An owner can be above its limit without asking for more */
	if (!npages)
		return 0;
	if (charge == IOMMUFD_CHARGE_USER)
		ret = charge_user(owner, npages, force);
	else if (charge == IOMMUFD_CHARGE_MM)
		ret = charge_mm(owner, npages, true, force);
	if (!ret)
		atomic64_add(npages, &owner->mm->pinned_vm);
	else if (ret == -ENOMEM)
		report_limit(owner, charge, npages);
	return ret;
}

/**
 * iommufd_owner_uncharge - undo iommufd_owner_charge()
 * @owner: the owner
 * @charge: how the limit applied
 * @npages: number of pages
 *
 * Context: takes mmap_lock for IOMMUFD_CHARGE_MM.
 */
void iommufd_owner_uncharge(struct iommufd_owner *owner,
			    enum iommufd_charge charge, unsigned long npages)
{
	if (charge == IOMMUFD_CHARGE_USER)
		atomic_long_sub(npages, &owner->cred->user->locked_vm);
	else if (charge == IOMMUFD_CHARGE_MM)
		charge_mm(owner, npages, false, false);
	atomic64_sub(npages, &owner->mm->pinned_vm);
}

/**
 * iommufd_owner_move_charge - charge an owner instead of another
 * @from: who is charged now
 * @to: who is to be charged
 * @charge: how the limit applies
 * @npages: number of pages
 * @force: ignore the limit of @to, and do not fail
 *
 * Context: takes mmap_lock for IOMMUFD_CHARGE_MM.
 *
 * Return: 0, or -ENOMEM or -EINTR with nothing changed.
 */
int iommufd_owner_move_charge(struct iommufd_owner *from,
			      struct iommufd_owner *to,
			      enum iommufd_charge charge, unsigned long npages,
			      bool force)
{
	int ret;

	/* If the count does not change, its limit does not apply */
	if ((charge == IOMMUFD_CHARGE_USER &&
	     to->cred->user == from->cred->user) ||
	    (charge == IOMMUFD_CHARGE_MM && to->mm == from->mm))
		charge = IOMMUFD_CHARGE_NOBODY;
	ret = iommufd_owner_charge(to, charge, npages, force);
	if (!ret)
		iommufd_owner_uncharge(from, charge, npages);
	return ret;
}

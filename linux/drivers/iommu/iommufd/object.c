// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ids and references of objects. An id is reserved first, and gets its object
 * when that is complete. So nobody can find an incomplete object by guessing
 * its id.
 */
#include <linux/slab.h>

#include "iommufd_private.h"

/* kfree_rcu() and the casts of callers rely on the head being first */
static_assert(offsetof(struct iommufd_ioas, obj) == 0);
static_assert(offsetof(struct iommufd_hwpt, obj) == 0);
static_assert(offsetof(struct iommufd_device, obj) == 0);
static_assert(offsetof(struct iommufd_access, obj) == 0);

/**
 * iommufd_object_alloc - allocate an object and reserve its id
 * @ctx: context to reserve the id in
 * @size: size of the structure, which begins with a struct iommufd_object
 * @type: type of the object
 * @release: iommufd_object::release
 *
 * The memory is zeroed. The caller ends with iommufd_object_publish() or
 * iommufd_object_abort().
 *
 * Return: the object or an ERR_PTR of -ENOMEM.
 */
void *iommufd_object_alloc(struct iommufd_ctx *ctx, size_t size,
			   enum iommufd_object_type type,
			   void (*release)(struct iommufd_object *obj))
{
	struct iommufd_object *obj;

	obj = kzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!obj)
		return ERR_PTR(-ENOMEM);
	refcount_set(&obj->refs, 1);
	refcount_set(&obj->users, 1);
	obj->type = type;
	obj->release = release;

	if (xa_alloc(&ctx->objects, &obj->id, NULL, XA_LIMIT(1, INT_MAX),
		     GFP_KERNEL_ACCOUNT)) {
		kfree(obj);
		return ERR_PTR(-ENOMEM);
	}
	return obj;
}

/**
 * iommufd_object_publish - make a complete object available by its id
 * @ctx: context of the id
 * @obj: object from iommufd_object_alloc()
 *
 * Afterwards another thread may destroy the object. So the caller must not
 * touch it any more, unless it uses the object. The entry exists, so this can't
 * fail.
 */
void iommufd_object_publish(struct iommufd_ctx *ctx,
			    struct iommufd_object *obj)
{
	WARN_ON(xa_store(&ctx->objects, obj->id, obj, GFP_KERNEL_ACCOUNT));
}

/**
 * iommufd_object_abort - give up an object that was not published
 * @ctx: context of the id
 * @obj: object from iommufd_object_alloc()
 *
 * Frees the id and releases the object.
 */
void iommufd_object_abort(struct iommufd_ctx *ctx, struct iommufd_object *obj)
{
	WARN_ON(xa_erase(&ctx->objects, obj->id));
	iommufd_object_put(obj);
}

/**
 * iommufd_object_get - look up an id
 * @ctx: context of the id
 * @id: id from the user
 * @type: type of the object, or IOMMUFD_OBJECT_ANY
 *
 * Takes no lock. The reference keeps the memory, but not the id: others can
 * still destroy the object. iommufd_object_use() prevents that.
 *
 * Return: the object, for iommufd_object_put(), or an ERR_PTR of -ENOENT.
 */
struct iommufd_object *iommufd_object_get(struct iommufd_ctx *ctx, u32 id,
					  enum iommufd_object_type type)
{
	struct iommufd_object *obj;

	if (iommufd_should_fail())
		return ERR_PTR(-ENOENT);
	rcu_read_lock();
	obj = xa_load(&ctx->objects, id);
	if (!obj || (type != IOMMUFD_OBJECT_ANY && obj->type != type) ||
	    !refcount_inc_not_zero(&obj->refs))
		obj = ERR_PTR(-ENOENT);
	rcu_read_unlock();
	return obj;
}

/**
 * iommufd_object_put - drop a reference
 * @obj: the object; released if this was the last reference
 *
 * Context: a release takes quotas_lock, domains_lock and all locks after it, and
 * waits for memory to be unpinned. So of the locks of iommufd only these may be
 * held: iommufd_ctx::held_lock, iommufd_device::bind_lock, iommufd_group::lock
 * and iommufd_ioas::attach_lock.
 */
void iommufd_object_put(struct iommufd_object *obj)
{
	if (!refcount_dec_and_test(&obj->refs))
		return;
	if (obj->release)
		obj->release(obj);
	kfree_rcu(obj, rcu);
}

/* Remove an id if nothing depends on its object */
static int remove_locked(struct iommufd_ctx *ctx, struct iommufd_object *obj)
{
	if (!refcount_dec_if_one(&obj->users))
		return -EBUSY;
	__xa_erase(&ctx->objects, obj->id);
	if (ctx->container == obj)
		ctx->container = NULL;
	return 0;
}

/**
 * iommufd_object_remove - remove the id of an object that nobody uses
 * @ctx: context of the id
 * @id: id of a published object
 *
 * Return: 0, -ENOENT, or -EBUSY while something depends on the object.
 */
int iommufd_object_remove(struct iommufd_ctx *ctx, u32 id)
{
	struct iommufd_object *obj;
	int ret = -ENOENT;

	xa_lock(&ctx->objects);
	obj = xa_load(&ctx->objects, id);
	if (obj)
		ret = remove_locked(ctx, obj);
	xa_unlock(&ctx->objects);

	if (!ret)
		iommufd_object_put(obj);
	return ret;
}

/**
 * iommufd_object_unuse_try_remove - end a use, and remove the object if it was
 * the last one
 * @ctx: context of the id
 * @obj: published object that the caller uses
 *
 * If another thread removes the object or begins to use it, it is left to that
 * thread.
 */
void iommufd_object_unuse_try_remove(struct iommufd_ctx *ctx,
				     struct iommufd_object *obj)
{
	int ret;

	/* When the use has ended, only a reference keeps the object */
	refcount_inc(&obj->refs);
	iommufd_object_unuse(obj);

	xa_lock(&ctx->objects);
	ret = remove_locked(ctx, obj);
	xa_unlock(&ctx->objects);

	if (!ret)
		iommufd_object_put(obj);
	iommufd_object_put(obj);
}

/**
 * iommufd_object_remove_owned - remove the id of an object that the caller owns
 * @ctx: context of the id
 * @obj: published object whose only user is the caller
 */
void iommufd_object_remove_owned(struct iommufd_ctx *ctx,
				 struct iommufd_object *obj)
{
	WARN_ON(refcount_read(&obj->users) != 2);
	xa_erase(&ctx->objects, obj->id);
	iommufd_object_put(obj);
}

/**
 * iommufd_object_remove_all - remove the objects that are left when the file is
 * closed
 * @ctx: context that nobody else references
 *
 * Devices and accesses hold a reference to the file, except mock devices, whose
 * owners are removed first. After those only HWPTs and IOAS are left.
 */
void iommufd_object_remove_all(struct iommufd_ctx *ctx)
{
	static const enum iommufd_object_type order[] = {
		IOMMUFD_OBJECT_TEST,
		IOMMUFD_OBJECT_HWPT,
		IOMMUFD_OBJECT_IOAS,
	};
	struct iommufd_object *obj;
	unsigned long id;
	int i;

	for (i = 0; i < ARRAY_SIZE(order); i++)
		xa_for_each(&ctx->objects, id, obj) {
			if (obj->type == order[i])
				WARN_ON(iommufd_object_remove(ctx, id));
			cond_resched();
		}
	/* Not xa_empty(): a failed allocation can leave empty nodes */
	id = 0;
	WARN_ON(xa_find(&ctx->objects, &id, ULONG_MAX, XA_PRESENT));
}

/**
 * iommufd_destroy - IOMMU_DESTROY
 * @req: struct iommu_destroy
 *
 * Return: as iommufd_object_remove(). Nothing is written back.
 */
int iommufd_destroy(struct iommufd_request *req)
{
	struct iommu_destroy *cmd = req->cmd;

	return iommufd_object_remove(req->ctx, cmd->id);
}

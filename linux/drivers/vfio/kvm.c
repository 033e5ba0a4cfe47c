// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtual machine that a device works for.
 *
 * KVM names it on a group or on a file of a device, under locks of its own, and
 * takes the name back before the machine goes. A device that is opened takes a
 * reference that its driver can rely on until the device is closed. VFIO does not
 * depend on KVM's module, which is there as long as there is a machine.
 */
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/vfio.h>

#include "vfio.h"

/*
 * Protects the pointers in all groups and files. KVM holds locks of its own when it
 * takes this one, so nothing is locked inside
 */
static DEFINE_SPINLOCK(vm_lock);

/**
 * vfio_vm_set - say which virtual machine there is
 * @where: of a group or of a file
 * @kvm: the machine, which exists until it is replaced here; or NULL
 */
void vfio_vm_set(struct kvm **where, struct kvm *kvm)
{
	spin_lock(&vm_lock);
	*where = kvm;
	spin_unlock(&vm_lock);
}

/**
 * vfio_vm_get - take a reference to the virtual machine
 * @where: of a group or of a file
 *
 * Return: the machine, for vfio_vm_put(), or NULL if there is none, or none any
 * more.
 */
struct kvm *vfio_vm_get(struct kvm **where)
{
	bool (*get)(struct kvm *kvm);
	struct kvm *kvm;

	if (!READ_ONCE(*where))
		return NULL;
	get = symbol_get(kvm_get_kvm_safe);
	if (!get)
		return NULL;

	spin_lock(&vm_lock);
	kvm = *where;
	if (kvm && !get(kvm))
		kvm = NULL;
	spin_unlock(&vm_lock);

	/* With the reference to the machine stays one to the module */
	if (!kvm)
		symbol_put(kvm_get_kvm_safe);
	return kvm;
}

/**
 * vfio_vm_put - let a virtual machine go
 * @kvm: what vfio_vm_get() gave
 *
 * Context: the machine can end here, so no lock is held.
 */
void vfio_vm_put(struct kvm *kvm)
{
	void (*put)(struct kvm *kvm);

	if (!kvm)
		return;
	put = symbol_get(kvm_put_kvm);
	if (!WARN_ON(!put)) {
		put(kvm);
		symbol_put(kvm_put_kvm);
	}
	symbol_put(kvm_get_kvm_safe);
}

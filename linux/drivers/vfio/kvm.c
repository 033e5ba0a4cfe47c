// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM that a device is assigned to.
 *
 * KVM sets the VM of a group or of a device file with its own locks held, and
 * clears it before the VM is destroyed. When a device is opened, VFIO takes a
 * reference to the VM, which the driver can rely on until the device is closed.
 * VFIO does not depend on the KVM module, which is loaded as long as there is a
 * VM.
 */
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/vfio.h>

#include "vfio.h"

/*
 * Protects the pointers in all groups and files. KVM takes this lock with its
 * own locks held, so no lock is taken under it.
 */
static DEFINE_SPINLOCK(vm_lock);

/**
 * vfio_vm_set - set the VM of a group or of a device file
 * @where: pointer in the group or the file
 * @kvm: the VM, which exists until it is replaced here; or NULL
 */
void vfio_vm_set(struct kvm **where, struct kvm *kvm)
{
	spin_lock(&vm_lock);
	*where = kvm;
	spin_unlock(&vm_lock);
}

/**
 * vfio_vm_get - take a reference to the VM
 * @where: pointer in a group or a file
 *
 * Return: the VM, for vfio_vm_put(), or NULL if there is none or it is being
 * destroyed.
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

	/* Keep the module referenced as long as the VM */
	if (!kvm)
		symbol_put(kvm_get_kvm_safe);
	return kvm;
}

/**
 * vfio_vm_put - drop a reference to a VM
 * @kvm: what vfio_vm_get() has returned
 *
 * Context: no lock may be held, since this may destroy the VM.
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

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

/**
 * vfio_vm_set - say which virtual machine there is
 * @vm: of a group or of a file
 * @kvm: the machine, which exists until it is replaced here; or NULL
 */
void vfio_vm_set(struct vfio_vm *vm, struct kvm *kvm)
{
	spin_lock(&vm->lock);
	vm->kvm = kvm;
	spin_unlock(&vm->lock);
}

/**
 * vfio_vm_get - take a reference to the virtual machine
 * @vm: of a group or of a file
 *
 * Return: the machine, for vfio_vm_put(), or NULL if there is none, or none any
 * more.
 */
struct kvm *vfio_vm_get(struct vfio_vm *vm)
{
	bool (*get)(struct kvm *kvm);
	struct kvm *kvm;

	if (!READ_ONCE(vm->kvm))
		return NULL;
	get = symbol_get(kvm_get_kvm_safe);
	if (!get)
		return NULL;

	spin_lock(&vm->lock);
	kvm = vm->kvm;
	if (kvm && !get(kvm))
		kvm = NULL;
	spin_unlock(&vm->lock);

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

# The front door. `make` alone lists what there is to do.
#
#	V=	which kernel: plain, debug, a name in vm/variants, or stock: Debian's own with our packages
#	ARCH=	what to build for and run: x86, or arm64 (kernel, guest, test, race, demo, shell)
#	T=	which test of vm/plan, or several with commas; qemu for all with QEMU in the machine,
#		@amd for all with that IOMMU, using for what docs/using.md tells a reader to do (V=stock)
#	TIMES=	how many times as long as in `make test` threads race
#	S= SEED= how many seconds to fuzz for, and with which random numbers to begin
#	KSRC=	another base: directory or tarball of a Linux 6.1.y
#	CASE= KIND=	what to profile, in which kind of memory: two words of a row of bench/rows
#	PEER=	another peer: tarball of a later kernel that has both ways
#	KERNEL=	which of Debian's kernels V=stock is: 6.1.0-47-amd64, for example
#	N= SEED= FILES= M=	how many mutants (0: all), which sample of them, of which files; or their numbers
#	SAVE=	1: write the committed figures anew
#	A=	kvm, to try whether KVM can run the machine; else QEMU's own translator does
V ?= plain
ARCH ?= x86
T ?=
TIMES ?= 25
S ?= 600
SEED ?=
FUZZ_V := $(if $(filter file,$(origin V)),mock,$(V))
N ?= 100
RACES := race,cdev-race,reset-race,table-race,mdev-race,kvm-race,p2p-race,p2p-threads,mock-race
export KSRC A PEER ARCH KERNEL
ifeq ($(filter x86 x86_64 arm64,$(ARCH)),)
$(error no architecture is called $(ARCH); there are: x86 arm64)
endif
ifeq ($(T),qemu)
override T := qemu7,qemu7-iommufd,qemu10,qemu10-iommufd
endif

help:
	@echo "make demo            from a fresh Debian 12 to DMA through a device's own node, in a VM"
	@echo "make test            build, boot, run all tests    [T=name] [V=debug] [ARCH=arm64]"
	@echo "make race            the tests in which threads race, for minutes each    [V=debug] [TIMES=25] [T=name]"
	@echo "make fuzz            random calls against a model of what each should do    [S=600] [SEED=] [V=mock] [T=fuzz-mock]"
	@echo "make machines        the tests with each IOMMU: AMD's, virtio's, other forms of VT-d; a table    [V=] [T=@amd]"
	@echo "make tree            build/linux: the base, and one commit for each patch    [KSRC=]"
	@echo "make save            bring what was changed in build/linux back to linux/ and series/"
	@echo "make kernel          build a kernel; the last line is its path    [V=] [ARCH=]"
	@echo "make series          write build/series/*.patch for git am; the fixes of the base alone, in build/stable    [STABLE=1]"
	@echo "make rebase          does the series apply to another kernel? Says it of each patch    KSRC=tree-or-tarball"
	@echo "make docs            build the documentation that the series adds or changes, and refuse what is wrong in it"
	@echo "make check           all that needs no kernel build"
	@echo "make matrix          build and test every configuration in vm/variants"
	@echo "make bisect          build what each patch of the series gives"
	@echo "make cross           compile every driver on VFIO, for x86-64, i386, arm64, s390x and powerpc64le"
	@echo "make builds          compile and link what make matrix leaves out: VFIO, iommufd and KVM each off, module, built in"
	@echo "make crc             does all that the base exports have the CRC that it has there?"
	@echo "make debian          compile VFIO, iommufd and KVM as Debian's kernel is configured, with our options on"
	@echo "make deb             build/deb/*.deb: modules for Debian 12's own kernels, by dkms, and tools"
	@echo "make test-deb        install, upgrade, refuse, remove and purge them in a Debian 12, and build for its kernels"
	@echo "make deb-kernel      a kernel as Debian configures it, with our options, as packages; takes hours"
	@echo "make bench           what it costs, beside the peers: a table, and build/results/bench.svg    [SAVE=1]"
	@echo "make profile         in which functions the cost of a case is    CASE=map-256m [KIND=thp]"
	@echo "make budget          do the main rows cost what they did?    [SAVE=1]"
	@echo "make coverage        which of our lines and branches the tests execute: a table, and build/coverage/html    [T=name]"
	@echo "make mutate          plant small faults, and list those that no test catches    [N=100] [SEED=1] [FILES=areas.c,hwpt.c] [M=12,13] [T=name]"
	@echo "make shell           the test machine, with a shell    [V=] [ARCH=]"
	@echo "make clean           remove build/"

setup:
	@tools/setup $(filter arm64,$(ARCH))

tree: setup
	@tools/series tree

save:
	@tools/series save

series: setup
	@tools/series $(if $(STABLE),stable,mail)

rebase: setup
	@tools/series rebase

docs: tree
	@tools/setup docs
	@tools/docs

kernel: tree $(if $(filter stock,$(V)),deb)
	@vm/kernel $(V)

guest: kernel
	@vm/initrd $(V)

# What the guest of the guest is given: when all tests run, or those that QEMU in the guest is for
ifeq ($(ARCH),arm64)
inner: guest
else
inner: guest
	@$(if $(if $(T),$(findstring qemu,$(T)),all),$(if $(filter debug stock,$(V)),vm/kernel plain &&) vm/qemu $(V))
	@$(if $(findstring qemu10,$(T)),vm/qemu $(V) 10)
	@$(if $(findstring using,$(T)),vm/kernel plain && vm/qemu $(V) 10 && tests/using/root)
endif

test: inner
	@$(if $(T)$(filter-out plain,$(V)),,tests/vm/boot)
	@vm/run $(V) $(if $(T),--tests $(T))

machines: guest
	@$(if $(filter debug,$(V)),vm/kernel plain &&) vm/qemu $(V) 10
	@vm/run $(V) --machines $(if $(T),--tests $(T))

race: guest
	@vm/run $(V) --times $(TIMES) --tests $(if $(T),$(T),$(RACES))

# Half of the time on the mock IOMMU, half on real devices, unless T= names one
fuzz:
	@$(MAKE) --no-print-directory guest V=$(FUZZ_V)
	@vm/run $(FUZZ_V) --tests $(if $(T),$(T),fuzz-mock,fuzz-real) --fuzz $$(( $(S) / $(if $(T),1,2) )) $(if $(SEED),--seed $(SEED))

demo: guest
	@vm/run $(V) --demo

shell: guest
	@vm/run $(V) --shell

check: tree
	@tools/check

matrix: tree
	@tools/matrix

bisect: tree
	@tools/bisect

cross: tree
	@tools/setup cross
	@tools/cross

builds: tree
	@tools/builds

crc: tree
	@tools/crc

debian: tree
	@tools/setup debian
	@tools/debian

deb: tree
	@tools/setup deb
	@packaging/build

test-deb: deb
	@packaging/test

deb-kernel: tree
	@tools/setup debian
	@tools/debian packages

bench: guest
	@tools/setup bench
	@vm/kernel peer && vm/initrd peer
	@vm/kernel lockstat && vm/initrd lockstat
	@bench/run $(if $(SAVE),--save)

case:
	@$(if $(CASE),,echo "which case? For example: make profile CASE=map-256m KIND=thp" >&2; exit 1)

profile: case guest
	@bench/profile $(CASE) $(KIND)

budget: guest
	@$(if $(SAVE),,tests/bench/boot)
	@bench/budget $(if $(SAVE),--save)

coverage: tree
	@tools/setup coverage
	@vm/kernel gcov && vm/initrd gcov
	@tools/coverage $(if $(T),--tests $(T))

mutate: tree
	@tools/mutate --seed $(or $(SEED),1) --count $(N) $(if $(FILES),--files $(FILES)) $(if $(M),--only $(M)) $(if $(T),--tests $(T))

clean:
	rm -rf build

.PHONY: help setup tree save series rebase docs kernel guest inner test machines race fuzz demo shell check matrix bisect cross builds crc debian deb test-deb deb-kernel bench case profile budget coverage mutate clean
# One step at a time; the steps themselves use all processors
.NOTPARALLEL:

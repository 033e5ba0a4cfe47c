# The entry point. `make` alone lists the targets.
#
#	V=	kernel: plain, debug, a name in vm/variants, or stock: Debian's own with our packages
#	ARCH=	architecture: x86, or arm64 (kernel, guest, test, race, demo, shell)
#	T=	test of vm/plan, or several with commas; qemu: all that run QEMU in the VM; @amd: all with
#		that IOMMU; using: the commands of docs/using.md (V=stock)
#	TIMES=	factor on the time for which threads race in `make test`
#	CPUS=	number of vCPUs for `make race`; default: that of the machine, 2
#	DELAYS=	seed of the functions that `make race` delays (V=debug, V=mock)
#	S= SEED= seconds of fuzzing, and the first seed
#	KSRC=	another base: directory or tarball of a Linux 6.1.y
#	CASE= KIND=	case to profile, and kind of memory: two words of a row of bench/rows
#	PEER=	another peer: tarball of a later kernel with the cdev and the group
#	KERNEL=	kernel of Debian's for V=stock, for example 6.1.0-47-amd64
#	N= SEED= FILES= M=	number of mutants (0: all), seed of the sample, files; or numbers of mutants
#	F=	faults of tests/mutate/faults by their names
#	SAVE=	1: write the committed figures again
#	A=	kvm: use KVM if it can boot the VM; default: TCG
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
	@echo "make demo            from a fresh Debian 12 to DMA through a device's cdev, in a VM"
	@echo "make test            build and boot a kernel, and run all tests    [T=name] [V=debug] [ARCH=arm64]"
	@echo "make race            the race tests, for minutes each    [V=debug] [TIMES=25] [CPUS=4] [DELAYS=1] [T=name]"
	@echo "make fuzz            random calls, compared with a model of their results    [S=600] [SEED=] [V=mock] [T=fuzz-mock]"
	@echo "make machines        the tests with each IOMMU (AMD, virtio, variants of VT-d), as a table    [V=] [T=@amd]"
	@echo "make tree            make build/linux: the base, and one commit for each patch    [KSRC=]"
	@echo "make save            save changes of build/linux to linux/ and series/"
	@echo "make kernel          build a kernel; the last line is its path    [V=] [ARCH=]"
	@echo "make series          write build/series/*.patch for git am; or only fixes of the base, to build/stable    [STABLE=1]"
	@echo "make rebase          show for each patch whether it applies to another kernel    KSRC=tree-or-tarball"
	@echo "make docs            build the documentation that the series adds or changes, and check it"
	@echo "make check           all checks that need no kernel build"
	@echo "make matrix          build and test every configuration in vm/variants"
	@echo "make bisect          compile what the series changes after each patch, and boot the kernel where that can matter"
	@echo "make cross           compile every VFIO driver for x86-64, i386, arm64, s390x and powerpc64le"
	@echo "make builds          compile and link the configurations that make matrix leaves out: VFIO, iommufd and KVM each off, module, built in"
	@echo "make crc             check that every symbol of the base keeps its CRC"
	@echo "make debian          compile VFIO, iommufd and KVM in Debian's configuration, with our options on"
	@echo "make deb             build the packages build/deb/*.deb: dkms modules for Debian 12's kernels, and tools"
	@echo "make test-deb        test the packages in a Debian 12: install, upgrade, refuse, remove, purge, and build for its kernels"
	@echo "make deb-kernel      build packages of a kernel in Debian's configuration, with our options; takes hours"
	@echo "make bench           measure the cost, compared with the peers: a table, and build/results/bench.svg    [SAVE=1]"
	@echo "make profile         show in which functions the instructions of a case are    CASE=map-256m [KIND=thp]"
	@echo "make budget          check that the main rows cost no more than before    [SAVE=1]"
	@echo "make coverage        show which of our lines and branches the tests execute: a table, and build/coverage/html    [T=name]"
	@echo "make mutate          plant small faults, and list those that no test catches    [N=100] [SEED=1] [FILES=areas.c,hwpt.c] [M=12,13] [T=name]"
	@echo "make plant           plant the faults of tests/mutate/faults, and list those that their test does not catch    [F=name]"
	@echo "make shell           boot the test VM with a shell    [V=] [ARCH=]"
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

# QEMU and its files for the guest: if all tests run, or tests that run QEMU in the guest
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
	@vm/run $(V) --times $(TIMES) $(if $(CPUS),--cpus $(CPUS)) $(if $(DELAYS),--delays $(DELAYS)) --tests $(if $(T),$(T),$(RACES))

# Half of the time goes to the mock IOMMU and half to real devices, unless T= names one
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

bisect: guest
	@vm/kernel mock
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

plant: tree
	@vm/kernel mock
	@tools/plant $(F)

clean:
	rm -rf build

.PHONY: help setup tree save series rebase docs kernel guest inner test machines race fuzz demo shell check matrix bisect cross builds crc debian deb test-deb deb-kernel bench case profile budget coverage mutate plant clean
# One step at a time, since each step uses all processors
.NOTPARALLEL:

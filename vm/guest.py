"""A VM: its arguments, and one boot of it.

vm/run, bench/ and tools/mutate use this. vm/init.c is the guest's side.
"""
import ctypes, functools, mmap, os, platform, re, shlex, subprocess, time
from collections import namedtuple

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT = 90           # seconds for a boot under TCG

# Values of ARCH=: prefix of directories in build/out, directory of machine.args and the plan, QEMU, the command
# that installs it, the kernel, its fixed parameters, and the port for the report. vm/arch is the same for builds.
# The watchdog's threshold is long, since a vCPU of a busy host may not run for a while.
Arch = namedtuple('Arch', 'named dir qemu setup kernel append verdict')
ARCHES = {
    'x86': Arch('', 'vm', 'qemu-system-x86_64', 'tools/setup', 'arch/x86/boot/bzImage',
                'console=ttyS0 tsc=reliable no_timer_check watchdog_thresh=60', ['-serial', 'chardev:verdict']),
    # virt has one serial port for a kernel without firmware, so the second one is a PCI device
    'arm64': Arch('arm64-', 'vm/arm64', 'qemu-system-aarch64', 'tools/setup arm64', 'arch/arm64/boot/Image',
                  'console=ttyAMA0', ['-device', 'pci-serial,chardev=verdict,bus=pcie.0,addr=0x3']),
}


class HarnessError(Exception):
    pass


def arch():
    """The Arch that ARCH= selects."""
    name = os.environ.get('ARCH') or 'x86'
    name = {'x86_64': 'x86'}.get(name, name)
    if name not in ARCHES:
        raise HarnessError(f'no architecture is called {name}; there are: {" ".join(ARCHES)}')
    return ARCHES[name]


def out_dir(v):
    """The directory of a kernel and its initrd, from vm/kernel and vm/initrd."""
    return os.path.join(TOP, 'build/out', arch().named + v)


def make_args(v):
    """The arguments of make for this kernel."""
    return f'V={v}' + (f' ARCH={os.environ["ARCH"]}' if arch().named else '')


def lines_of(path):
    """The lines of a file without empty lines and comments."""
    try:
        with open(path) as f:
            lines = [l.rstrip('\n') for l in f if l.strip() and not l.startswith('#')]
    except OSError as e:
        raise HarnessError(f'cannot read {os.path.relpath(path, TOP)}: {e.strerror}')
    if not lines:
        raise HarnessError(f'{os.path.relpath(path, TOP)} is empty')
    return lines


def read_machine(name):
    """QEMU's arguments, the kernel's parameters, and the name of the initrd.

    name is a machine, or MACHINE@IOMMU for a machine with another IOMMU.
    """
    sections = {}       # name -> its lines, in their order
    path = os.path.join(arch().dir, 'machine.args')
    for line in lines_of(os.path.join(TOP, path)):
        if line.startswith('['):
            names = line.strip('[]').split()
            for n in names:
                sections.setdefault(n, [])
        else:
            for n in names:
                sections[n].append(shlex.split(line, comments=True))

    machine, _, iommu = name.partition('@')
    for kind, n in ('machine', machine), ('IOMMU', iommu):
        if n and n not in sections:
            raise HarnessError(f'{path} has no {kind} {n}')
    args, append, initrd, replace = [], [], 'initrd.cpio', []
    for line in sections[machine]:
        for words in sections[iommu or line[1]] if line[0] == 'iommu' else [line]:
            if words[0] == 'append':
                append += words[1:]
            elif words[0] == 'initrd':
                initrd = words[1]
            elif words[0] == 'replace':
                replace.append(words[1:])
            else:
                args += words
    for old, new in replace:
        args = [a.replace(old, new) for a in args]
    return args, append, initrd


def read(path):
    with open(path, errors='replace') as f:
        return f.read()


@functools.cache
def tsc_khz():
    """How fast the TSC of this processor counts, which is how fast that of a guest does.

    A guest would measure it beside the PIT. On a busy host that comes late, and the TSC can seem ten times slower.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b'\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3')    # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def both():
        # Of several, the one that took least time was not interrupted
        took = lambda reading: reading[2] - reading[0]
        before, ticks, after = min(((time.monotonic_ns(), rdtsc(), time.monotonic_ns()) for _ in range(20)), key=took)
        return before, ticks

    start, first = both()
    time.sleep(0.05)
    end, last = both()
    return (last - first) * 1000000 // (end - start)


class Guest:
    """One boot of a machine: its kernel, the files of its output, and more arguments for QEMU.

    options.v names the kernel. options.accel has QEMU's arguments for the accelerator, which come first.
    """

    def __init__(self, options, machine, results, tag, more=()):
        self.console = os.path.join(results, f'{tag}.console')
        self.verdict = os.path.join(results, f'{tag}.ktap')
        self.said = os.path.join(results, f'{tag}.qemu')
        self.arch, self.out, self.v = arch(), out_dir(options.v), options.v
        self.machine, self.append, initrd = read_machine(machine)
        self.initrd = os.path.join(self.out, initrd)
        self.accel, self.more = options.accel, more
        for f in (self.console, self.verdict, self.said):
            open(f, 'w').close()

    def command(self, append, serial):
        kernel = os.path.join(self.out, self.arch.kernel)
        for f in (kernel, self.initrd):
            if not os.path.exists(f):
                raise HarnessError(f'{os.path.relpath(f, TOP)} is missing; run: make guest {make_args(self.v)}')
        # With -icount, a guest's TSC counts instructions
        if self.arch.dir == 'vm' and platform.machine() == 'x86_64' and '-icount' not in self.machine:
            append += f' tsc_early_khz={tsc_khz()}'
        append = ' '.join([self.arch.append, 'panic=-1 oops=panic', *self.append, append])
        # QEMU takes the first accelerator that works
        return [self.arch.qemu, *self.accel, *self.machine, *self.more, *serial,
                '-kernel', kernel, '-initrd', self.initrd, '-append', append]

    def spawn(self, append, serial, **how):
        try:
            # Paths in machine.args are relative to the top
            return subprocess.Popen(self.command(append, serial), cwd=TOP, **how)
        except FileNotFoundError:
            raise HarnessError(f'{self.arch.qemu} is missing; run: {self.arch.setup}')

    def boot(self, append, seconds, progress=lambda text: None):
        """Boot and wait until the guest ends; False on a timeout. Also stop if progress() returns true."""
        serial = ['-serial', f'file:{self.console}', *self.arch.verdict,
                  '-chardev', 'file,id=verdict,path=' + self.verdict.replace(',', ',,')]
        with open(self.said, 'w') as said:
            qemu = self.spawn(append, serial, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        deadline = time.monotonic() + seconds
        try:
            while qemu.poll() is None:
                if time.monotonic() > deadline:
                    return False
                if progress(read(self.verdict)):
                    return True
                time.sleep(0.5)
        finally:
            if qemu.poll() is None:
                qemu.kill()
                qemu.wait()
        progress(read(self.verdict))
        if qemu.returncode:
            raise HarnessError('QEMU failed: ' + (read(self.said).strip() or f'status {qemu.returncode}'))
        return True

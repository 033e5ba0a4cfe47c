"""Builds of a kernel, or of a part of it, that are not run: options, make, and the report of failures.

Each build has an output directory under build/, and a log beside it.
"""
import os, re, shutil, subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Failure(Exception):
    """A build failed. The text says which one, and why."""


def options(*texts):
    """{option: line} of these texts; the last line about an option wins."""
    wanted = {}
    for text in texts:
        for line in text.splitlines():
            if m := re.match(r'(?:# )?(CONFIG_\w+)', line):
                wanted[m[1]] = line
    return wanted


def read(*paths):
    """The texts of files of this repository."""
    texts = []
    for path in paths:
        with open(os.path.join(TOP, path)) as f:
            texts.append(f.read())
    return texts


# The fragments with which vm/kernel begins, so that most objects are in ccache
PLAIN = [f'linux/tools/testing/selftests/{d}/config' for d in ('iommu', 'vfio')] + ['vm/base.config']


class Build:
    """One output directory of kbuild. The name is for messages."""

    def __init__(self, name, out, log=None, tree='build/linux', arch='x86_64', prefix=''):
        self.name, self.arch, self.prefix = name, arch, prefix
        self.log = f'build/{log or out}.log'
        self.out, self.tree = os.path.join(TOP, 'build', out), os.path.join(TOP, tree)
        if not os.path.exists(os.path.join(self.tree, 'Makefile')):
            raise Failure(f'{tree} is missing; run: make tree')
        os.makedirs(self.out, exist_ok=True)
        open(os.path.join(TOP, self.log), 'w').close()

    def complaints(self, pattern):
        with open(os.path.join(TOP, self.log), errors='replace') as log:
            return [line for line in log if re.search(pattern, line)]

    def failed(self, what, lines):
        return Failure(f'{self.name} {what}, see {self.log}:\n{"".join(lines[:10])}'.rstrip())

    def make(self, *goals):
        gcc = self.prefix + 'gcc-12' if self.prefix else 'gcc'
        if not shutil.which(gcc):
            raise Failure(f'{gcc} is missing; run: tools/setup cross')
        with open(os.path.join(TOP, self.log), 'ab') as log:
            status = subprocess.call(
                ['nice', 'make', '-s', '-C', self.tree, f'O={self.out}', f'ARCH={self.arch}', f'CROSS_COMPILE={self.prefix}',
                 f'CC=ccache {gcc}', f'-j{os.cpu_count()}', *goals], stdout=log, stderr=log)
        if status:
            raise self.failed('does not build', self.complaints(r'error:|ERROR:|Error |\*\*\*|undefined reference|No space left'))

    def refuse_warnings(self):
        """For builds without CONFIG_WERROR, which would change the compiler's options and so miss ccache."""
        if lines := self.complaints(r'(?i)\bwarning: (?!override: )'):
            raise self.failed('builds with warnings', lines)

    def configure(self, wanted, start=None, expect={}):
        """Configure: start, the text of a config file, or allnoconfig; then the wanted lines.

        An option that Kconfig refuses is an error. expect has the lines that Kconfig must write in place of wanted ones.
        """
        config = os.path.join(self.out, '.config')
        if start is None:
            self.make('allnoconfig')
        else:
            with open(config, 'w') as f:
                f.write(start)
        with open(config, 'a') as f:
            f.write('\n'.join(wanted.values()) + '\n')
        self.make('olddefconfig')
        with open(config) as f:
            lines = f.read().splitlines()
        for option, line in {**wanted, **expect}.items():
            got = [l for l in lines if re.match(rf'(# )?{option}[ =]', l)]
            if got != [line] and not (line.startswith('#') and not got):
                raise Failure(f'{self.name}: asked for "{line}", got "{"".join(got) or "nothing"}"')

    def build(self, goals, objects):
        """Make the goals, which must build these objects; objects of an earlier run are removed first.

        Symbols of VFIO, iommufd and mdev that an object uses must be exported by one of the objects.
        """
        objects = [os.path.join(self.out, o) for o in objects]
        for o in objects:
            if os.path.exists(o):
                os.unlink(o)
        self.make(*goals)
        for o in objects:
            if not os.path.exists(o):
                raise Failure(f'{self.name}: {os.path.relpath(o, self.out)} was not built')
        symbols = subprocess.run([self.prefix + 'nm', *objects], check=True, text=True, stdout=subprocess.PIPE).stdout
        exported = set(re.findall(r' __ksymtab_(\w+)$', symbols, re.M))
        missing = set(re.findall(r' U ((?:vfio|iommufd|mdev)_\w+)$', symbols, re.M)) - exported
        if missing:
            raise Failure(f'{self.name}: nothing exports {" ".join(sorted(missing))}')

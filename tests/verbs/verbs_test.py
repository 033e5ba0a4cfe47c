"""Test our commands when something is missing: they fail, with one line that says what to do.

Each test has a copy of the scripts, and its own PATH, in which programs are missing or replaced
by scripts that fail like the real ones.
"""
import os, shutil, subprocess, tempfile, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Verbs(unittest.TestCase):
    def setUp(self):
        self.repo = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.repo)
        for part in ('tools', 'vm', 'bench', 'packaging', 'Makefile', 'linux/tools/testing/selftests'):
            copy = shutil.copytree if os.path.isdir(os.path.join(TOP, part)) else shutil.copy
            os.makedirs(os.path.dirname(os.path.join(self.repo, part)), exist_ok=True)
            copy(os.path.join(TOP, part), os.path.join(self.repo, part))
        self.bin = os.path.join(self.repo, 'bin')
        os.mkdir(self.bin)

    def put(self, path, text='', mode=0o644):
        path = os.path.join(self.repo, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(text)
        os.chmod(path, mode)

    def program(self, name, text):
        self.put('bin/' + name, '#!/bin/sh\n' + text, 0o755)

    def without(self, *programs):
        """A PATH with all programs of this host except these."""
        everything = {}
        for d in reversed(os.environ['PATH'].split(':')):
            if os.path.isdir(d):
                everything.update({name: os.path.join(d, name) for name in os.listdir(d)})
        for name, path in everything.items():
            if name not in programs and not os.path.lexists(os.path.join(self.bin, name)):
                os.symlink(path, os.path.join(self.bin, name))
        return self.bin

    def refused(self, words, *command, path=None, status=None, **env):
        path = path or f'{self.bin}:{os.environ["PATH"]}'
        r = subprocess.run([os.path.join(self.repo, command[0]), *command[1:]], cwd=self.repo, text=True,
                           env=dict(os.environ, PATH=path, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertNotEqual(0, r.returncode, r.stdout)
        if status is not None:
            self.assertEqual(status, r.returncode, r.stderr)
        self.assertEqual(1, len(r.stderr.splitlines()), r.stderr)
        self.assertNotIn('Traceback', r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)

    def kernel(self, v='plain'):
        """Make files that look like a built kernel."""
        self.put(f'build/out/{v}/.config', 'CONFIG_IOMMUFD=y\nCONFIG_VFIO_DEVICE_CDEV=y\n')
        self.put(f'build/out/{v}/arch/x86/boot/bzImage')
        self.put(f'build/out/{v}/initrd.cpio')

    # set-up

    def nothing_installed(self, apt):
        self.program('dpkg-query', 'exit 1')
        self.program('apt-get', apt)
        self.program('sudo', 'shift; while [ "$1" != "${1#*=}" ] || [ "$1" = env ]; do shift; done; exec "$@"')

    def test_setup_without_network(self):
        self.nothing_installed('echo "E: Failed to fetch bc  Temporary failure resolving" >&2; exit 100')
        self.refused(["cannot reach Debian's mirror", 'tools/setup'], 'tools/setup')

    def test_setup_for_the_bench_names_itself(self):
        self.nothing_installed('echo "E: Unable to locate package linux-source-6.12" >&2; exit 100')
        self.refused(['linux-source-6.12', 'run: tools/setup bench'], 'tools/setup', 'bench')

    def test_setup_of_unknown_set(self):
        self.refused(['no set is called speed', 'tools/setup arm64, bench, coverage, cross, deb, debian or docs'], 'tools/setup', 'speed')

    def test_setup_on_a_full_disk(self):
        self.nothing_installed('echo "E: You don\'t have enough free space" "No space left on device" >&2; exit 100')
        self.refused(['disk is full', 'tools/setup'], 'tools/setup')

    def test_setup_with_an_unknown_package(self):
        self.nothing_installed('echo "E: Unable to locate package busybox-static" >&2; exit 100')
        self.refused(['Unable to locate package busybox-static', 'tools/setup'], 'tools/setup')

    def test_setup_without_apt(self):
        self.program('dpkg-query', 'exit 1')
        self.refused(['no apt-get', 'qemu-system-x86'], 'tools/setup', path=self.without('apt-get', 'dpkg-query'))

    def test_setup_without_root_and_sudo(self):
        self.nothing_installed('exit 0')
        os.remove(os.path.join(self.bin, 'sudo'))
        self.program('id', 'echo 1000')
        self.refused(['not root, and no sudo', 'apt-get install', 'busybox-static'], 'tools/setup', path=self.without('sudo'))

    def test_setup_with_a_sudo_that_asks(self):
        self.nothing_installed('exit 0')
        self.program('sudo', 'exit 1')
        self.program('id', 'echo 1000')
        self.refused(['sudo would ask', 'sudo apt-get install'], 'tools/setup')

    def test_setup_with_everything_installed_does_nothing(self):
        self.program('dpkg-query', 'echo -n installed')
        self.program('apt-get', 'touch called')
        r = subprocess.run([os.path.join(self.repo, 'tools/setup')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual((0, '', ''), (r.returncode, r.stdout, r.stderr))
        self.assertFalse(os.path.exists(os.path.join(self.repo, 'called')))

    # packages

    def test_packages_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'packaging/build')

    def test_packages_without_debhelper(self):
        self.put('build/linux/.git/HEAD')
        self.program('dh', '')
        self.refused(['dh_dkms is missing', 'tools/setup deb'], 'packaging/build', path=self.without('dh_dkms'))

    def test_root_without_a_kernel(self):
        self.refused(['which kernel', 'packaging/root 6.1.0-'], 'packaging/root')

    def test_root_without_mmdebstrap(self):
        self.program('id', 'echo 0')
        self.refused(['mmdebstrap is missing', 'tools/setup deb'], 'packaging/root', '6.1.0-56-amd64', path=self.without('mmdebstrap'))

    def test_root_as_a_user(self):
        self.program('id', 'echo 1000')
        self.refused(['sudo packaging/root 6.1.0-56-amd64'], 'packaging/root', '6.1.0-56-amd64')

    def test_crc_without_packages(self):
        self.refused(['packages are missing', 'make deb'], 'packaging/crc')

    # kernel and initrd

    def test_kernel_of_unknown_name(self):
        self.refused(['no kernel is called fast', 'plain debug'], 'vm/kernel', 'fast')

    def test_kernel_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'vm/kernel', 'plain')

    def test_kernel_without_a_tool(self):
        self.put('build/linux/Makefile')
        self.refused(['flex is missing', 'tools/setup'], 'vm/kernel', 'plain', path=self.without('flex'))

    def test_kernel_of_the_peer_without_its_source(self):
        self.put('build/linux/Makefile')
        self.refused(['/nowhere/linux.tar.xz is missing', 'tools/setup bench'], 'vm/kernel', 'peer', PEER='/nowhere/linux.tar.xz')

    def test_kernel_of_the_peer_from_something_else(self):
        self.put('build/linux/Makefile')
        self.put('notes.txt')
        self.refused(['cannot unpack notes.txt'], 'vm/kernel', 'peer', PEER='notes.txt')

    def test_kernel_with_an_option_that_Kconfig_refuses(self):
        self.put('build/linux/Makefile', '%config:\n\t@: >$(O)/.config\n')
        self.refused(['asked for "CONFIG_BLK_DEV=y"', 'selftests/iommu/config', 'got "nothing"'], 'vm/kernel', 'plain')

    def test_kernel_that_does_not_build(self):
        self.put('build/linux/Makefile', '%config:\n\t@cp $(O)/wanted $(O)/.config\nbzImage:\n\t@cc -c nothing.c\n')
        r = subprocess.run([os.path.join(self.repo, 'vm/kernel'), 'plain'], cwd=self.repo, capture_output=True, text=True)
        self.assertNotEqual(0, r.returncode)
        self.assertIn('error: nothing.c', r.stderr)
        self.assertIn('kernel failed, see build/out/plain/build.log', r.stderr.splitlines()[-1])

    def test_kernel_on_a_full_disk(self):
        self.put('build/linux/Makefile', '%config:\n\t@cp $(O)/wanted $(O)/.config\n'
                 'bzImage:\n\t@echo "cc: error: No space left on device" >&2; false\n')
        self.refused(['the disk is full', 'make clean'], 'vm/kernel', 'plain')

    # other architectures

    def test_unknown_architecture(self):
        for command in ['make', 'test'], ['vm/kernel', 'plain'], ['vm/initrd', 'plain'], ['vm/run']:
            with self.subTest(command):
                if command[0] == 'make':
                    r = subprocess.run([*command, '-s', '--no-print-directory', 'ARCH=vax'], cwd=self.repo, capture_output=True, text=True)
                    self.assertEqual((2, ''), (r.returncode, r.stdout))
                    self.assertIn('no architecture is called vax; there are: x86 arm64', r.stderr)
                    self.assertEqual(1, len(r.stderr.splitlines()))
                else:
                    self.refused(['no architecture is called vax', 'x86 arm64'], *command, ARCH='vax')

    def test_kernel_without_the_compiler_for_its_architecture(self):
        self.refused(['aarch64-linux-gnu-gcc-12 is missing', 'tools/setup arm64'], 'vm/kernel', 'plain', ARCH='arm64',
                     path=self.without('aarch64-linux-gnu-gcc-12'))

    def test_kernel_of_unknown_name_for_another_architecture(self):
        self.program('aarch64-linux-gnu-gcc-12', '')
        self.refused(['no kernel is called fast', ' 64k'], 'vm/kernel', 'fast', ARCH='arm64')
        self.refused(['no kernel is called 64k'], 'vm/kernel', '64k')

    def test_initrd_without_a_kernel_for_its_architecture(self):
        self.program('aarch64-linux-gnu-gcc-12', '')
        self.refused(['no kernel is built for arm64-plain', 'make kernel V=plain ARCH=arm64'], 'vm/initrd', 'plain', ARCH='arm64')

    def test_busybox_without_network(self):
        self.program('apt-get', 'case $1 in indextargets) echo bookworm nowhere;; *) echo "E: Temporary failure resolving"; exit 100;; esac')
        r = subprocess.run([os.path.join(self.repo, 'vm/busybox'), 'arm64'], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual(1, r.returncode)
        self.assertRegex(r.stderr, "^vm/busybox: cannot reach Debian's mirror .* for arm64 .*\n$")

    def test_busybox_without_package_lists(self):
        self.program('apt-get', ':')
        self.refused(['apt knows no mirror', 'apt-get update'], 'vm/busybox', 'arm64')

    def test_run_without_the_qemu_of_another_architecture(self):
        self.put('build/out/arm64-plain/.config', 'CONFIG_IOMMUFD=y\nCONFIG_VFIO_DEVICE_CDEV=y\n')
        self.put('build/out/arm64-plain/arch/arm64/boot/Image')
        self.put('build/out/arm64-plain/initrd.cpio')
        self.refused(['qemu-system-aarch64 is missing', 'tools/setup arm64'], 'vm/run', '--tests', 'ioas', ARCH='arm64',
                     path=self.without('qemu-system-aarch64'), status=5)

    def test_run_without_a_kernel_of_another_architecture(self):
        self.refused(['no kernel is built for arm64-plain', 'make kernel V=plain ARCH=arm64'], 'vm/run', ARCH='arm64', status=5)

    def test_initrd_without_a_kernel(self):
        self.refused(['no kernel is built for plain', 'make kernel V=plain'], 'vm/initrd', 'plain')

    # cross

    def toy(self, build=':', config='@cp $(O)/../wanted $(O)/.config\n', nm=''):
        """Make a target with one object, and a kernel tree with these commands."""
        shutil.rmtree(os.path.join(self.repo, 'tools/cross.d'))
        self.put('tools/cross.d/common.config', 'CONFIG_VFIO=y\n')
        self.put('tools/cross.d/toy.config', '# A toy\n# arch: toy toy-\n# make: dir/\n# objects: dir/toy.o\n# CONFIG_OFF is not set\n')
        self.put('build/cross/wanted', 'CONFIG_VFIO=y\n')
        self.put('build/linux/Makefile', f'allnoconfig:\n\t@mkdir -p $(O)\nolddefconfig:\n\t{config}\ndir/:\n\t@{build}\n.PHONY: dir/\n')
        self.program('toy-gcc-12', '')
        self.program('toy-nm', nm)
        self.program('ccache', '')

    BUILDS = 'mkdir -p $(O)/dir; >$(O)/dir/toy.o'

    def test_cross_of_unknown_target(self):
        self.refused(['no target is called vax', 'arm64', 's390x'], 'tools/cross', 'vax')

    def test_cross_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'tools/cross')

    def test_cross_without_a_compiler(self):
        self.toy()
        os.remove(os.path.join(self.bin, 'toy-gcc-12'))
        self.refused(['toy-gcc-12 is missing', 'tools/setup cross'], 'tools/cross')

    def test_cross_with_an_option_that_Kconfig_refuses(self):
        self.toy(self.BUILDS, config='@echo "# CONFIG_VFIO is not set" >$(O)/.config\n')
        self.refused(['toy: asked for "CONFIG_VFIO=y"', 'got "# CONFIG_VFIO is not set"'], 'tools/cross')

    def test_cross_with_an_option_that_Kconfig_enables(self):
        self.toy(self.BUILDS)
        self.put('build/cross/wanted', 'CONFIG_VFIO=y\nCONFIG_OFF=m\n')
        self.refused(['asked for "# CONFIG_OFF is not set"', 'got "CONFIG_OFF=m"'], 'tools/cross')

    def test_cross_that_does_not_build(self):
        self.toy('echo "toy.c:1:1: error: unused variable" >&2; false')
        r = subprocess.run([os.path.join(self.repo, 'tools/cross')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual((1, ''), (r.returncode, r.stdout))
        self.assertIn('toy does not build, see build/cross/toy.log', r.stderr)
        self.assertIn('error: unused variable', r.stderr)

    def test_cross_ignores_objects_of_an_earlier_run(self):
        self.toy()
        self.put('build/cross/toy/dir/toy.o')
        self.refused(['toy: dir/toy.o was not built'], 'tools/cross')

    def test_cross_with_a_function_that_is_not_exported(self):
        self.toy(self.BUILDS, nm='echo "                 U vfio_gone"; echo "                 U vfio_there";'
                 ' echo "0000000000000000 r __ksymtab_vfio_there"')
        self.refused(['toy: nothing exports vfio_gone'], 'tools/cross')

    def test_cross_names_what_was_built(self):
        self.toy(self.BUILDS)
        r = subprocess.run([os.path.join(self.repo, 'tools/cross')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual(0, r.returncode, r.stderr)
        self.assertRegex(r.stdout, r'^  toy, \d+ s: dir/toy.o\nevery driver compiles\n$')

    # builds, crc, debian

    def succeeds(self, *command):
        r = subprocess.run([os.path.join(self.repo, command[0]), *command[1:]], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual((0, ''), (r.returncode, r.stderr))
        return r.stdout

    def toy_list(self, text, refuse='', vmlinux=':', modules=':'):
        """Make a list of configurations, and a kernel tree whose Kconfig refuses an option."""
        self.program('ccache', '')
        self.put('tools/builds.list', text)
        refuse = refuse and f'\t@sed -i s/^CONFIG_{refuse}=.$$// $(O)/.config\n'
        self.put('build/linux/Makefile', 'allnoconfig:\n\t@>$(O)/.config\nolddefconfig:\n' + refuse +
                 f'vmlinux:\n\t@{vmlinux}\nmodules:\n\t@{modules}\n')

    def test_builds_of_unknown_name(self):
        self.refused(['no configuration is called fast', 'no-modules'], 'tools/builds', 'fast')

    def test_builds_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'tools/builds')

    def test_builds_with_an_invalid_line(self):
        self.toy_list('what is this\n')
        self.refused(['tools/builds.list: not a configuration: what is this'], 'tools/builds')

    def test_builds_with_an_option_that_Kconfig_refuses(self):
        self.toy_list('odd: IOMMUFD=m\n', refuse='IOMMUFD')
        self.refused(['odd: asked for "CONFIG_IOMMUFD=m", got "nothing"'], 'tools/builds')

    def test_builds_with_an_option_that_Kconfig_should_refuse(self):
        self.toy_list('odd? IOMMUFD=m -> IOMMUFD=n\n')
        self.refused(['odd: asked for "# CONFIG_IOMMUFD is not set", got "CONFIG_IOMMUFD=m"'], 'tools/builds')

    def test_builds_that_does_not_link(self):
        self.toy_list('odd: IOMMUFD=m\n', modules='echo "ERROR: modpost: \\"gone\\" undefined!"; false')
        r = subprocess.run([os.path.join(self.repo, 'tools/builds')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual(1, r.returncode)
        self.assertIn('odd does not build, see build/builds/odd.log', r.stderr)
        self.assertIn('"gone" undefined', r.stderr)

    def test_builds_with_a_warning(self):
        self.toy_list('odd: IOMMUFD=m\n', vmlinux='echo "a.c:1: warning: unused variable"')
        r = subprocess.run([os.path.join(self.repo, 'tools/builds')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual(1, r.returncode)
        self.assertIn('odd builds with warnings', r.stderr)
        self.assertIn('unused variable', r.stderr)

    def test_builds_prints_reasons(self):
        self.toy_list('# about the list\n\n$m = IOMMUFD=m VFIO=m\n\n# one\n# reason\na: $m\nb? VFIO=m -> VFIO=n\n\n'
                      '# another\nc: MODULES=n\n', refuse='NOTHING')
        self.put('build/linux/Makefile', 'allnoconfig:\n\t@>$(O)/.config\nolddefconfig:\n'
                 '\t@grep -q IOMMUFD=m $(O)/.config || sed -i "s/^CONFIG_VFIO=m$$//" $(O)/.config\nvmlinux modules:\n')
        out = self.succeeds('tools/builds')
        self.assertRegex(out, r'^  a, \d+ s: one reason\n  b, \d+ s: one reason\n  c, \d+ s: another\n3 configurations, ')

    def toy_symbols(self, series, base='0x1\tone\tvmlinux\tGPL\t\n0x2\ttwo\tvmlinux\tGPL\t\n0x3\tthree\tdrivers/vfio/vfio\tGPL\t\n'):
        """Make a kernel tree whose commits base and series export these symbols."""
        self.program('ccache', '')
        tree = os.path.join(self.repo, 'build/linux')
        self.put('build/linux/Makefile', 'allnoconfig:\n\t@>$(O)/.config\nolddefconfig:\n'
                 'modules:\n\t@cp symvers $(O)/Module.symvers\n')
        for args in (['init', '-q'], ['add', 'Makefile'], ['base', base], ['series', series]):
            if args[0] in ('base', 'series'):
                self.put('build/linux/symvers', args[1])
                commands = [['add', 'symvers'], ['-c', 'user.name=a', '-c', 'user.email=a@a', 'commit', '-qm', args[0]], ['tag', args[0]]]
            else:
                commands = [args]
            for c in commands:
                subprocess.run(['git', '-C', tree, *c], check=True)

    def test_crc_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'tools/crc')

    def test_crc_names_a_symbol_that_differs(self):
        vfio = '0x3\tthree\tdrivers/vfio/vfio\tGPL\t\n'
        self.toy_symbols('0x1\tone\tvmlinux\tGPL\t\n0x9\ttwo\tvmlinux\tGPL\t\n' + vfio)
        self.refused(['changes the CRC of', 'two'], 'tools/crc')

    def test_crc_names_a_symbol_of_a_module_that_differs(self):
        self.toy_symbols('0x1\tone\tvmlinux\tGPL\t\n0x2\ttwo\tvmlinux\tGPL\t\n0x9\tthree\tdrivers/vfio/vfio\tGPL\t\n')
        self.refused(['changes the CRC of', 'three'], 'tools/crc')

    def test_crc_fails_without_symbols_of_vfio(self):
        self.toy_symbols('0x1\tone\tvmlinux\tGPL\t\n0x2\ttwo\tvmlinux\tGPL\t\n')
        self.refused(['the series: drivers/vfio/vfio exports nothing'], 'tools/crc')

    def test_crc_names_a_missing_symbol(self):
        self.toy_symbols('0x1\tone\tvmlinux\tGPL\t\n0x3\tthree\tdrivers/vfio/vfio\tGPL\t\n')
        self.refused(['does not export two'], 'tools/crc')

    def test_crc_fails_without_a_CRC(self):
        self.toy_symbols('0x00000000\tone\tvmlinux\tGPL\t\n0x2\ttwo\tvmlinux\tGPL\t\n')
        self.refused(['the series: one of vmlinux has no CRC'], 'tools/crc')

    def test_crc_lists_new_symbols(self):
        self.toy_symbols('0x1\tone\tvmlinux\tGPL\t\n0x2\ttwo\tvmlinux\tGPL\t\n0x5\tnew\tvmlinux\tGPL\t\n'
                         '0x3\tthree\tdrivers/vfio/vfio\tGPL\t\n')
        out = self.succeeds('tools/crc')
        self.assertIn('new: new\n', out)
        self.assertIn('3 exported symbols, all with the CRC of the base', out)
        self.assertIn('3 exported symbols', self.succeeds('tools/crc'))     # again, with an existing tree

    def test_debian_without_its_configuration(self):
        self.put('build/linux/Makefile')
        with open(os.path.join(self.repo, 'tools/debian')) as f:
            self.put('tools/debian', f.read().replace("CONFIG = '/usr", "CONFIG = '/nowhere"), 0o755)
        self.refused(['config.amd64_none_amd64.xz is missing', 'tools/setup debian'], 'tools/debian')

    # docs

    def toy_docs(self, warns='', document='', header='struct toy {\n', page='<dt id="c.toy">', kernel_doc='', abi='', missing='', maintainers='m@m'):
        """Make a tree with a document and a header that the base does not have, and tools that print these texts."""
        self.program('sphinx-build', f'for last; do :; done; mkdir -p $last; echo \'{page}\' >$last/toy.html; echo "{warns}"')
        tree = os.path.join(self.repo, 'build/linux')
        run = lambda *args: subprocess.run(['git', '-C', tree, '-c', 'user.name=a', '-c', 'user.email=a@a', *args], check=True)
        for name, says in (('kernel-doc', kernel_doc), ('get_abi.pl', abi), ('documentation-file-ref-check', missing), ('get_maintainer.pl', maintainers)):
            self.put(f'build/linux/scripts/{name}', f"print '{says}', chr(10);\n")
        self.put('build/linux/Makefile')
        run('init', '-q')
        run('add', '.')
        run('commit', '-qm', 'base')
        run('tag', 'base')
        self.put('build/linux/Documentation/toy.rst', 'Toy\n===\n' + document)
        self.put('build/linux/Documentation/there.rst', 'There\n=====\n')
        self.put('build/linux/include/uapi/linux/toy.h', header)
        self.put('build/linux/drivers/toy.c', 'void toy_exists(void);\n')
        run('add', '.')
        run('commit', '-qm', 'series')

    def docs_refuse(self, problem, **toy):
        self.toy_docs(**toy)
        r = subprocess.run([os.path.join(self.repo, 'tools/docs')], cwd=self.repo, capture_output=True, text=True,
                           env=dict(os.environ, PATH=f'{self.bin}:{os.environ["PATH"]}'))
        self.assertEqual((1, 'tools/docs: 1 problems in the documentation, named above\n'), (r.returncode, r.stderr), r.stdout)
        self.assertIn(problem, r.stdout)

    def test_docs_without_a_tree(self):
        self.refused(['build/linux is missing', 'make tree'], 'tools/docs')

    def test_docs_without_sphinx(self):
        self.put('build/linux/Makefile')
        self.refused(['sphinx-build is missing', 'tools/setup docs'], 'tools/docs', path=self.without('sphinx-build'))

    def test_docs_that_are_right(self):
        self.toy_docs()
        self.assertRegex(self.succeeds('tools/docs'), r'docs: there.rst toy.rst\nno warning, ')

    def test_docs_without_a_document(self):
        self.toy_docs()
        subprocess.run(['git', '-C', os.path.join(self.repo, 'build/linux'), 'tag', '-f', 'base'], check=True, capture_output=True)
        self.refused(['build/linux and the base have the same documents'], 'tools/docs')

    def test_docs_with_a_warning(self):
        self.docs_refuse('toy.rst:3: WARNING: undefined label', warns='/x/toy.rst:3: WARNING: undefined label: nothing')

    def test_docs_with_a_warning_of_another_document(self):
        self.toy_docs(warns='/x/other-toy.rst:3: WARNING: undefined label: nothing')
        self.succeeds('tools/docs')

    def test_docs_with_an_index_of_existing_documents(self):
        self.toy_docs(warns="/x/toy.rst:3: WARNING: toctree contains reference to nonexisting document 'there'")
        self.succeeds('tools/docs')

    def test_docs_with_an_index_of_missing_documents(self):
        self.docs_refuse("nonexisting document 'gone'", warns="/x/toy.rst:3: WARNING: toctree contains reference to nonexisting document 'gone'")

    def test_docs_that_name_a_function(self):
        self.toy_docs(warns='/x/toy.rst:3: WARNING: c:func reference target not found: toy_exists')
        self.succeeds('tools/docs')

    def test_docs_that_name_a_missing_function(self):
        self.docs_refuse('toy_gone', warns='/x/toy.rst:3: WARNING: c:func reference target not found: toy_gone')

    def test_docs_with_a_warning_of_kernel_doc(self):
        self.docs_refuse('drivers/toy.c:7: warning: bad', kernel_doc='drivers/toy.c:7: warning: bad')

    def test_docs_that_name_a_missing_document(self):
        self.docs_refuse('Documentation/gone.rst does not exist', document='Documentation/gone.rst\n', missing='Documentation/toy.rst: Documentation/gone.rst')

    def test_docs_with_a_struct_on_no_page(self):
        self.docs_refuse('struct toy is on no page', page='')

    def test_docs_with_an_ioctl_on_no_page(self):
        self.docs_refuse('ioctl(TOY_GO) is on no page', header='#define TOY_GO _IO(1, 2)\n')

    def test_docs_of_a_file_without_a_maintainer(self):
        self.toy_docs(maintainers='linux-kernel@vger.kernel.org')
        self.refused(['3 problems'], 'tools/docs')     # one for each directory

    # coverage, mutate

    def test_coverage_without_a_kernel(self):
        self.refused(['no kernel is built for gcov', 'make coverage'], 'tools/coverage')

    def test_coverage_of_unknown_test(self):
        self.kernel('gcov')
        self.refused(['no test is called speed'], 'vm/run', 'gcov', '--tests', 'speed', status=5)

    def test_mutate_of_unknown_file(self):
        self.put('linux/drivers/iommu/iommufd/areas.c')
        self.refused(['no file is called speed.c', 'iommu/iommufd/areas.c'], 'tools/mutate', '--files', 'areas.c,speed.c')

    def test_plant_unknown_fault(self):
        self.put('tests/mutate/faults/areas.diff', '# one: areas areas.map\n--- a/areas.c\n+++ b/areas.c\n')
        self.refused(['no fault is called two', 'tools/plant --list'], 'tools/plant', 'two')

    def test_plant_without_a_tree(self):
        self.put('tests/mutate/faults/areas.diff', '# one: areas areas.map\n--- a/areas.c\n+++ b/areas.c\n')
        self.refused(['build/linux is missing', 'make tree'], 'tools/plant')

    def test_kernel_with_mutants_without_mutants(self):
        self.put('build/linux/Makefile')
        self.refused(['build/mutant is missing', 'make mutate'], 'vm/kernel', 'mutant')

    # run

    def test_run_without_a_kernel(self):
        self.refused(['no kernel is built for plain', 'make kernel V=plain'], 'vm/run', status=5)

    def test_run_without_qemu(self):
        self.kernel()
        self.refused(['qemu-system-x86_64 is missing', 'tools/setup'], 'vm/run', path=self.without('qemu-system-x86_64'), status=5)

    def test_run_with_a_qemu_that_fails(self):
        self.kernel()
        self.program('qemu-system-x86_64', 'echo "qemu: no such machine" >&2; exit 1')
        self.refused(['QEMU failed: qemu: no such machine'], 'vm/run', status=5)

    def test_run_of_unknown_test(self):
        self.kernel()
        self.refused(['no test is called speed', 'there are: ioas '], 'vm/run', '--tests', 'speed', status=5)

    def test_run_with_unknown_iommu(self):
        self.kernel()
        self.refused(['no test is called @intel', 'there are: ioas@amd '], 'vm/run', '--machines', '--tests', '@intel', status=5)
        self.put('vm/plan', 'ioas x default 10 0 -\n@ nothing\nioas@ 0\n')
        self.refused(['vm/machine.args has no IOMMU nothing'], 'vm/run', '--machines', status=5)

    def test_run_of_a_test_that_the_kernel_does_not_support(self):
        self.kernel('bare')
        self.put('build/out/bare/.config', 'CONFIG_PCI=y\n')
        self.refused(['nothing to run', 'kernel bare'], 'vm/run', 'bare', '--tests', 'ioas', status=5)

    def test_run_with_unknown_accelerator(self):
        self.kernel()
        self.refused(['no accelerator is called fast', 'A=kvm'], 'vm/run', status=5, A='fast')

    def test_run_uses_tcg_if_kvm_does_not_boot(self):
        self.kernel()
        self.program('qemu-system-x86_64', 'case "$*" in *kvm*) exit 1;; esac; echo "not kvm" >&2; exit 1')
        self.refused(['QEMU failed: not kvm'], 'vm/run', status=5, A='kvm')


if __name__ == '__main__':
    unittest.main()

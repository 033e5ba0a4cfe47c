"""Test how vm/run judges the report of a VM. No VM is booted.

The reports have the form in which VMs send them; tests/vm/boot boots VMs that end in these ways.
"""
import argparse, contextlib, importlib.machinery, importlib.util, io, os, tempfile, unittest, unittest.mock

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
loader = importlib.machinery.SourceFileLoader('run', os.path.join(TOP, 'vm/run'))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader('run', loader))
loader.exec_module(run)

GOOD = '''KTAP version 1
# run a
  TAP version 13
  1..2
  # Starting 2 tests from 1 test cases.
  ok 1 a.one
  ok 2 a.two
ok 1 a
# run b
  1..2
  ok 1 b.one
  ok 2 b.two # SKIP no device
ok 2 b
1..2
# end
'''
PLAN = [run.Run('a', 'x/a', 'default', 10, 0, '-'), run.Run('b', 'x/b', 'default', 10, 1, '-')]


def judge(text, in_time=True, splats=(), plan=PLAN):
    return run.judge(plan, run.Verdict(text), in_time, splats)


class Judge(unittest.TestCase):
    def outcome(self, wanted, reason, *args, **how):
        outcome, reasons = judge(*args, **how)
        self.assertEqual(run.OUTCOMES[wanted], run.OUTCOMES[outcome], reasons)
        self.assertTrue(any(reason in r for r in reasons), reasons)

    def test_complete_report_is_pass(self):
        self.assertEqual((run.PASS, []), judge(GOOD))

    def test_failed_program_is_fail(self):
        self.outcome(run.FAIL, 'a: exit 1', GOOD.replace('ok 1 a\n', 'not ok 1 a # exit 1\n'))

    def test_program_without_a_case_is_fail(self):
        self.outcome(run.FAIL, 'no case', GOOD.replace('  ok 1 a.one\n  ok 2 a.two\n', ''))

    def test_other_number_of_skips_is_fail(self):
        self.outcome(run.FAIL, 'skipped', GOOD.replace('ok 1 a.one', 'ok 1 a.one # SKIP why'))
        self.outcome(run.FAIL, 'skipped', GOOD.replace(' # SKIP no device', ''))

    def test_kernel_warning_is_splat(self):
        self.outcome(run.SPLAT, 'WARNING', GOOD, splats=[('a', 'WARNING: x')])

    def test_leak_is_splat(self):
        self.outcome(run.SPLAT, 'kmemleak', GOOD.replace('ok 1 a\n', '# kmemleak a: unreferenced object 0xff\nok 1 a\n'))

    def test_late_program_is_timeout(self):
        self.outcome(run.TIMEOUT, 'a: timeout', GOOD.replace('ok 1 a\n', 'not ok 1 a # timeout after 10 s\n'))

    def test_late_vm_is_timeout(self):
        self.outcome(run.TIMEOUT, 'b did not report', GOOD[:GOOD.index('# run b')], in_time=False)

    def test_missing_program_is_lost(self):
        self.outcome(run.LOST, 'b did not report', GOOD[:GOOD.index('# run b')] + '# end\n')

    def test_case_of_a_lost_program_is_named(self):
        self.outcome(run.LOST, 'b did not report; the last case was b.one',
                     GOOD[:GOOD.index('  ok 1 b.one')] + '  #  RUN           b.one ...\n# end\n')

    def test_report_without_end_is_lost(self):
        self.outcome(run.LOST, 'before its report was complete', GOOD.replace('# end\n', ''))

    def test_empty_report_is_lost(self):
        self.outcome(run.LOST, 'a did not report', '')

    def test_incomplete_line_is_ignored(self):
        self.outcome(run.LOST, 'b did not report', GOOD[:GOOD.index('ok 2 b\n') + 3])

    def test_worst_outcome_is_returned(self):
        self.outcome(run.LOST, 'a: exit 1', GOOD.replace('ok 1 a\n', 'not ok 1 a # exit 1\n').replace('# end\n', ''))


class Choose(unittest.TestCase):
    PLAN = 'a x/a default 10 0 cdev\nb x/b default 10 0 cdev,asked\nc x/c default 10 0 !cdev\n'

    def chosen(self, tests, have, plan=PLAN, machines=False):
        with tempfile.NamedTemporaryFile('w') as f:
            f.write(plan)
            f.flush()
            options = argparse.Namespace(plan=f.name, tests=tests, v='plain', machines=machines)
            with unittest.mock.patch.object(run, 'features', lambda v: {'-', *have}), contextlib.redirect_stdout(io.StringIO()) as said:
                return [r.name for r in run.choose(options)], said.getvalue()

    def test_tests_that_the_kernel_does_not_support_are_left_out(self):
        self.assertEqual(['a'], self.chosen(None, ['cdev'])[0])
        self.assertEqual(['c'], self.chosen(None, ['!cdev'])[0])

    def test_asked_tests_run_only_by_name(self):
        names, said = self.chosen(None, ['cdev'])
        self.assertEqual(['a'], names)
        self.assertIn('b                left out: runs only with T=b', said)
        self.assertEqual(['a', 'b'], self.chosen('a,b', ['cdev'])[0])

    MACHINES = PLAN + '@ amd virtio\na@ 2+ 0\nb@ - q\nq: is quiet\n'

    def test_other_iommus(self):
        names, said = self.chosen(None, ['cdev'], self.MACHINES)
        self.assertEqual(['a', 'a@amd'], names)
        self.assertIn('left out: 1 tests with other IOMMUs', said)
        self.assertEqual(['a@amd', 'a@virtio'], self.chosen(None, ['cdev'], self.MACHINES, machines=True)[0])
        self.assertEqual(['a@virtio'], self.chosen('@virtio', ['cdev'], self.MACHINES)[0])
        self.assertEqual(['a', 'a@amd'], self.chosen('a,@amd', ['cdev'], self.MACHINES)[0])
        for name in '@', '@intel', 'b@amd', 'b@virtio':
            with self.assertRaisesRegex(run.HarnessError, f'no test is called {name}; there are: a b c a@amd a@virtio'):
                self.chosen(name, ['cdev'], self.MACHINES)

    def test_one_of_two_lines_with_the_same_name_is_chosen(self):
        self.PLAN = 'a x/a default 10 0 cdev,!64k\na x/a default 10 2 cdev,64k\n'
        for have, skips in ['!64k', 0], ['64k', 2]:
            with tempfile.NamedTemporaryFile('w') as f:
                f.write(self.PLAN)
                f.flush()
                options = argparse.Namespace(plan=f.name, tests=None, v='plain', machines=False)
                with unittest.mock.patch.object(run, 'features', lambda v: {'-', 'cdev', have}), \
                        contextlib.redirect_stdout(io.StringIO()) as said:
                    self.assertEqual([skips], [r.skips for r in run.choose(options)])
                self.assertEqual('', said.getvalue())

    def test_named_test_that_the_kernel_does_not_support_is_left_out(self):
        names, said = self.chosen('b,c', ['!cdev'])
        self.assertEqual(['c'], names)
        self.assertIn('kernel plain has no cdev', said)


class Delays(unittest.TestCase):
    def check(self, places, config='CONFIG_IOMMUFD_TEST_DELAY=y\n'):
        with tempfile.TemporaryDirectory() as out:
            for name, text in ('.config', config), ('System.map', 'ff0 T a\nff8 t b\nffa t b\nffc d c\n'), ('delays', places):
                with open(os.path.join(out, name), 'w') as f:
                    f.write(text)
            with unittest.mock.patch.object(run, 'out_dir', lambda v: out):
                run.check_delays('mock', os.path.join(out, 'delays'))

    def test_place_is_one_function(self):
        self.check('# why\na 20000 # window\na 1 50  # window\n')
        for name, nr in ('b', 2), ('c', 0), ('d', 0):
            with self.assertRaisesRegex(run.HarnessError, f'has {nr} functions called {name}'):
                self.check(f'{name} 1 # window\n')

    def test_bad_place_is_an_error(self):
        for line in 'a # window', 'a 1', 'a 20001 # window', 'a 1 101 # window', 'a 1 0 # window', 'a x # window', 'a 1 #':
            with self.subTest(line), self.assertRaisesRegex(run.HarnessError, 'not a place of a delay'):
                self.check(line + '\n')

    def test_kernel_without_delays_is_an_error(self):
        with self.assertRaisesRegex(run.HarnessError, 'kernel mock has no delays'):
            self.check('a 1 # window\n', '# nothing\n')

    def test_places_are_valid(self):
        """And vm/init.c has room for them."""
        self.assertIn(len(run.read_delays(os.path.join(TOP, 'vm/delays'))), range(8, 65))


class Show(unittest.TestCase):
    def shown(self, text):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            run.Progress(PLAN)(text)
        return said.getvalue()

    def test_notes_of_a_program_that_passes_are_shown(self):
        text = GOOD.replace('  ok 2 a.two\n', '  # note: of interest\n  # of none\n  ok 2 a.two\n')
        self.assertIn('       of interest\n', self.shown(text))
        self.assertNotIn('of none', self.shown(text))


class Machines(unittest.TestCase):
    PLAN = [run.Run(n, 'x', 'y', 10, 0, '-') for n in ('a@amd', 'b@amd', 'a@virtio', 'c@virtio', 'd@virtio')]
    SAID = '''# run a@amd
  ok 1 one
  ok 2 two # SKIP no bridge
ok 1 a@amd
# run b@amd
  ok 1 one
  not ok 2 two
not ok 2 b@amd # exit 1
# run a@virtio
  ok 1 one # SKIP no bridge
ok 3 a@virtio
# run d@virtio
  ok 1 one
'''

    def test_table_of_machines(self):
        verdict = run.Verdict(self.SAID)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            run.show_machines(self.PLAN, {'b@virtio': 'too quiet'}, {r.name: verdict for r in self.PLAN})
        lines = [l.split() for l in said.getvalue().splitlines() if l and not l.startswith('Numbers')]
        self.assertEqual([['amd', 'virtio'], ['a', '1', '1a', '0', '1a'], ['b', 'FAILED', '1', 'b'], ['c', '-', 'FAILED', 'lost'],
                          ['d', '-', 'FAILED', 'lost'], ['a', 'no', 'bridge'], ['b', 'too', 'quiet']], lines)


class Splats(unittest.TestCase):
    CONSOLE = '[1] booting\n[2] vm: run a\n[3] %s\n[4] vm: run b\n[5] fine\n'

    def test_each_pattern_matches(self):
        """Each kind of kernel failure must be detected."""
        splats, exceptions = run.read_splats()
        for line in ['BUG: KASAN: use-after-free in f+0x1/0x2', 'WARNING: CPU: 0 PID: 1 at f.c:1', 'BUG: unable to handle page fault',
                     'WARNING: possible circular locking dependency detected', 'INFO: task x:1 blocked for more than 120 seconds.',
                     'kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)', 'Kernel panic - not syncing: Fatal',
                     'general protection fault, probably for non-canonical address', 'UBSAN: shift-out-of-bounds in f.c:1:2',
                     'ODEBUG: free active (active state 0) object type', 'list_add corruption. prev->next should be next',
                     'refcount_t: underflow; use-after-free.', 'watchdog: BUG: soft lockup - CPU#0 stuck for 22s!',
                     'INFO: rcu_sched self-detected stall on CPU', 'Out of memory: Killed process 7 (x) total-vm:1kB', 'Oops: 0000 [#1] PREEMPT SMP', 'INFO: possible recursive locking detected']:
            with self.subTest(line):
                self.assertEqual([('a', '[3] ' + line)], run.find_splats(self.CONSOLE % line, splats, exceptions))

    def test_ordinary_lines_do_not_match(self):
        splats, exceptions = run.read_splats()
        for line in ['DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x3000', 'vfio-pci 0000:00:04.0: enabling device',
                     'lkdtm: Performing direct entry WARNING']:
            with self.subTest(line):
                self.assertEqual([], run.find_splats(self.CONSOLE % line, splats, exceptions))

    def test_limit_of_a_cgroup_is_no_failure(self):
        console = ('vm: run a\nx invoked oom-killer: gfp_mask=0xcc0\nCall Trace:\n'
                   'Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB\n')
        splats = run.read_splats()
        self.assertEqual([], run.find_splats(console, *splats))
        self.assertEqual([('a', 'Call Trace:')], run.find_splats(console + 'Call Trace:\n', *splats))

    def test_extract_shows_the_splat_and_the_end(self):
        console = self.CONSOLE % 'BUG: b' + 'more\n' * 100 + 'last\n'
        shown = run.extract(console, [('a', '[3] BUG: b')])
        self.assertEqual(['the first splat:', '| [3] BUG: b', '| [4] vm: run b'], shown[:3])
        self.assertEqual(['the end of the console:', '| more', '| last'], [shown[61], shown[62], shown[-1]])
        self.assertEqual(16, len(run.extract(console, [])))

    def test_patterns_are_read(self):
        self.assertGreater(len(run.read_splats()[0]), 10)


class OwnFiles(unittest.TestCase):
    def broken(self, text, function, words):
        with tempfile.NamedTemporaryFile('w') as f:
            f.write(text)
            f.flush()
            with self.assertRaises(run.HarnessError) as e:
                function(f.name)
            self.assertIn(words, str(e.exception))

    def test_empty_file_is_an_error(self):
        self.broken('# only a comment\n', run.read_plan, 'empty')

    def test_bad_line_of_a_plan_is_an_error(self):
        self.broken('a x/a default ten 0 -\n', run.read_plan, 'not a line of a plan')

    def test_bad_line_of_iommus_is_an_error(self):
        plan = 'a x/a default 10 0 -\n@ amd virtio\n'
        self.broken(plan + 'a@ 0\n', run.read_plan, 'not a line of a plan: a@ 0')
        self.broken(plan + 'b@ 0 0\n', run.read_plan, 'not a line of a plan: b@ 0 0')
        self.broken(plan + 'a@ 0 q\n', run.read_plan, 'a@virtio: "q" is neither a number nor a letter with a reason')

    def test_unknown_need_is_an_error(self):
        """Otherwise the test would be left out of every run."""
        self.broken('a x/a default 10 0 cdve\n', run.read_plan, 'not a line of a plan')

    def test_missing_file_is_an_error(self):
        with self.assertRaises(run.HarnessError):
            run.lines_of('/nonexistent')

    def test_unknown_machine_is_an_error(self):
        with self.assertRaises(run.HarnessError):
            run.read_machine('nowhere')

    def test_machine_with_another_iommu(self):
        own, other = run.read_machine('pci'), run.read_machine('pci@amd')
        self.assertIn('amd-iommu,intremap=on', other[0])
        self.assertIn('intel_iommu=on', own[1])
        self.assertNotIn('intel_iommu=on', other[1])
        # Only the bridge and the IOMMU differ
        self.assertEqual(4, len(set(own[0]) ^ set(other[0])))

    def test_iommu_replaces_unsupported_arguments(self):
        self.assertIn('nvme,bus=pcie.0,addr=0x9,drive=disk,serial=disk', run.read_machine('qemu10@amd')[0])
        self.assertIn('nvme,bus=port3,drive=disk,serial=disk', run.read_machine('qemu10')[0])

    def test_unknown_iommu_is_an_error(self):
        with self.assertRaisesRegex(run.HarnessError, 'vm/machine.args has no IOMMU nothing'):
            run.read_machine('pci@nothing')

    def test_plans_and_their_machines_are_valid(self):
        for name in run.ARCHES:
            with self.subTest(name), unittest.mock.patch.dict(os.environ, ARCH=name):
                plan = run.read_plan(os.path.join(TOP, run.arch().dir, 'plan'))[0]
                for r in plan:
                    self.assertTrue(run.read_machine(r.machine))
                # A name can occur twice if no kernel runs both
                twice = [r for r in plan if sum(r.name == other.name for other in plan) > 1]
                self.assertTrue(all({'64k', '!64k'} & set(r.needs.split(',')) for r in twice), twice)

    def test_unknown_architecture_is_an_error(self):
        with unittest.mock.patch.dict(os.environ, ARCH='vax'), self.assertRaisesRegex(run.HarnessError, 'x86 arm64'):
            run.arch()

    def test_each_architecture_has_its_own_directory(self):
        with unittest.mock.patch.dict(os.environ, ARCH='arm64'):
            self.assertEqual('build/out/arm64-plain', os.path.relpath(run.out_dir('plain'), TOP))
            self.assertEqual('V=plain ARCH=arm64', run.make_args('plain'))
        with unittest.mock.patch.dict(os.environ, ARCH='x86_64'):
            self.assertEqual('build/out/plain', os.path.relpath(run.out_dir('plain'), TOP))
            self.assertEqual('V=plain', run.make_args('plain'))


if __name__ == '__main__':
    unittest.main()

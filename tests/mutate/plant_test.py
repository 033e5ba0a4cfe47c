"""Test the faults of tests/mutate/faults and the reading of results by tools/plant. Nothing is built or booted."""
import importlib.machinery, importlib.util, os, re, sys, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader('plant', os.path.join(TOP, 'tools/plant'))
plant = importlib.util.module_from_spec(importlib.util.spec_from_loader('plant', loader))
loader.exec_module(plant)


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.faults = plant.faults()

    def test_names_differ(self):
        self.assertLess(100, len(self.faults))
        self.assertEqual(len(self.faults), len({f.name for f in self.faults}))

    def test_programs_and_cases_exist(self):
        programs = {run.name for run in plant.mutate.run.read_plan(os.path.join(TOP, 'vm/plan'))[0]}
        tests = os.path.join(TOP, 'linux/tools/testing/selftests')
        cases = {case for where in ('iommu', 'vfio') for path in os.listdir(os.path.join(tests, where)) if path.endswith('.c')
                 for case in re.findall(r'^TEST\w*\((?:\w+, )?(\w+)', plant.read(os.path.join(tests, where, path)), re.M)}
        for f in self.faults:
            with self.subTest(f.name):
                self.assertIn(f.program, programs)
                self.assertIn(f.case, cases)

    def test_all_fit(self):
        """Each fits the tree as it is; a fault that does not has to follow the code."""
        put, plant.mutate.put = plant.mutate.put, lambda path, text: None
        try:
            for f in self.faults:
                with self.subTest(f.name):
                    self.assertEqual([f], plant.plant([f]))
        finally:
            plant.mutate.put = put

    def test_groups(self):
        a, b, c = plant.Fault('# a: p x.v.one V=mmm\n+++ b/f.c\n'), plant.Fault('# b: p x.w.one\n+++ b/f.c\n'), plant.Fault('# c: p x.two\n+++ b/f.c\n')
        self.assertEqual(('p', 'one', 'V=mmm', 'f.c'), (a.program, a.case, a.kernel, a.path))
        self.assertEqual([[a, c], [b]], plant.groups([a, b, c], 6))
        self.assertEqual([[a], [b], [c]], plant.groups([a, b, c], 1))

    def test_line_without_a_case(self):
        with self.assertRaises(plant.HarnessError):
            plant.Fault('# a: program\n')

    def test_results(self):
        text = '# run p\n  1..2\n  ok 1 x.v.one\n  not ok 2 x.w.one\n  ok 3 two\n# run q\n  ok 1 two # SKIP no\n'
        cases = plant.results([text])
        self.assertEqual({('p', 'x.v.one'): (True, '1'), ('p', 'x.w.one'): (False, '2'), ('p', 'two'): (True, '3'),
                          ('q', 'two'): (True, '1')}, cases)
        self.assertEqual([('p', 'x.v.one'), ('p', 'x.w.one')], plant.variants(plant.Fault('# a: p x.one\n+++ b/f.c\n'), cases))

"""Test the bench: goals, the budget, and the attribution of instructions to functions. No VM is booted."""
import contextlib, importlib.machinery, importlib.util, io, os, re, subprocess, sys, tempfile, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, 'bench'))


def script(name):
    loader = importlib.machinery.SourceFileLoader('bench_' + name, os.path.join(TOP, 'bench', name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


boots = importlib.import_module('boots')
run, budget, profile = script('run'), script('budget'), script('profile')
ROW = boots.Row('long', 'map-4k', 3.3e6, True, 'a row')
BEST = ROW._replace(goal='best')


def counts(*figures):
    c = boots.Counts()
    for column, n in zip(boots.COLUMNS, figures):
        if n is not None:
            c.counts[column, 'long', 'map-4k'] = n
    return c


def table(row, *figures):
    t = run.Table()
    run.show_counts(t, 'title', [row], counts(*figures), True)
    return t, t.lines[-1]


class Goals(unittest.TestCase):
    def setUp(self):
        run.column_name = ' '.join

    def test_at_the_goal_is_met(self):
        t, line = table(ROW, 3300000, 4000000, 5000000, 6000000)
        self.assertIn('3.30 met', line)
        self.assertEqual((1, 0, 0), (t.met, t.missed, t.absent))

    def test_above_the_goal_is_missed_and_says_by_how_much(self):
        t, line = table(ROW, 3630000, 4000000, 5000000, 6000000)
        self.assertIn('missed, +10%', line)
        self.assertEqual((0, 1, 0), (t.met, t.missed, t.absent))

    def test_best_is_the_least_of_the_others(self):
        self.assertEqual(2, run.goal_of(BEST, [9, 4, 2, 3]))
        self.assertEqual(4, run.goal_of(BEST, [9, 4, None, None]))

    def test_best_of_no_others_is_no_goal(self):
        self.assertIsNone(run.goal_of(BEST, [9, None, None, None]))

    def test_unsupported_request_is_neither_met_nor_missed(self):
        t, line = table(BEST, None, None, 2000000, None)
        self.assertIn('not supported', line)
        self.assertEqual((0, 0, 1), (t.met, t.missed, t.absent))

    def test_ratios_are_to_the_peers_cdev_and_our_type1(self):
        self.assertRegex(table(ROW, 1000000, 4000000, 2000000, 8000000)[1], r' 0\.5 +0\.25 ')

    def test_growth_of_more_than_half_is_missed(self):
        for last, judged in (1501, (1, 0)), (1502, (0, 1)):
            c = boots.Counts()
            for column in boots.COLUMNS:
                c.counts[column, 'areas', 'areas-1000'] = 999
                c.counts[column, 'areas', 'areas-1000000'] = last - 1
            t = run.Table()
            run.show_growth(t, c)
            self.assertEqual(judged, (t.met, t.missed))

    def test_memory_goal_is_relative_to_type1(self):
        for ours, judged in (20, (3, 0)), (21, (1, 2)):
            c = boots.Counts()
            for column in boots.COLUMNS:
                for kind in 'long', 'alone', 'thp', 'hugetlb':
                    c.kib[column, kind] = ours if column == boots.OURS else 4
                    c.memory[column, kind] = 512, 1
            t = run.Table()
            run.show_memory(t, c)
            self.assertEqual(judged, (t.met, t.missed))


class Rows(unittest.TestCase):
    def test_budget_has_the_figures_of_nine_rows(self):
        kept = [(r.kind, r.case) for r in boots.read_rows() if r.budget]
        self.assertEqual(9, len(kept))
        with open(os.path.join(TOP, 'bench/budget.txt')) as f:
            self.assertEqual(kept, list(budget.parse(f.read())))

    def test_each_row_is_counted_by_the_program(self):
        with open(os.path.join(TOP, 'bench/count.c')) as f:
            said = f.read()
        names = set(re.findall(r'"([a-z0-9-]+)"', said))
        names |= {way + size for size in re.findall(r'map_and_unmap\(&s, "(\w+)"', said) for way in ('map-', 'unmap-')}
        for row in boots.read_rows():
            self.assertIn(row.case, names)

    def test_rows_are_unique(self):
        rows = boots.read_rows()
        self.assertEqual(len(rows), len({(r.kind, r.case) for r in rows}), 'duplicate row')


class Compare(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        run.FIGURES = os.path.join(self.dir.name, 'figures')

    def before(self, figures):
        with open(run.FIGURES, 'w') as f:
            f.writelines(f'{k}\t{v}\n' for k, v in figures.items())

    def test_first_run(self):
        self.assertIn('no earlier run', run.compare({'a': 1}))

    def test_same_within_one_percent(self):
        self.before({'a': 1000, 'b': 1000})
        self.assertIn('0.90% (b)', run.compare({'a': 1001, 'b': 1009}))
        self.assertNotIn('changed', run.compare({'a': 1001, 'b': 1009}))

    def test_change_of_more_than_one_percent_is_reported(self):
        self.before({'a': 1000})
        self.assertIn('something changed', run.compare({'a': 980}))


class Figures(unittest.TestCase):
    def test_only_figures_of_the_table_are_compared(self):
        run.column_name = ' '.join
        c = counts(1, 2, 3, 4)
        c.counts[boots.OURS, 'thp', 'open'] = 5
        figures = run.figures_of([ROW], {'count': c})
        self.assertEqual([1, 2, 3, 4], list(figures.values()))
        self.assertEqual('plain cdev, a row, caching mode off', list(figures)[0])


class Budget(unittest.TestCase):
    def over(self, n, kept):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            return budget.over_budget([ROW], {('long', 'map-4k'): n}, kept), said.getvalue()

    def test_three_percent_more_is_ok(self):
        self.assertEqual((False, 'ok'), (self.over(1030, {('long', 'map-4k'): 1000})[0], self.over(1030, {('long', 'map-4k'): 1000})[1][:2]))

    def test_over_three_percent_exceeds_the_budget(self):
        over, said = self.over(1031, {('long', 'map-4k'): 1000})
        self.assertTrue(over)
        self.assertIn('OVER  a row', said)
        self.assertIn('+3.10%', said)

    def test_row_without_a_figure_names_the_fix(self):
        with self.assertRaisesRegex(boots.HarnessError, 'make budget SAVE=1'):
            self.over(1, {})


class Save(unittest.TestCase):
    def test_rise_within_noise_is_not_saved(self):
        self.assertEqual(1000, budget.to_keep(1000, 1010))

    def test_larger_rise_and_fall_are_saved(self):
        self.assertEqual(1011, budget.to_keep(1000, 1011))
        self.assertEqual(999, budget.to_keep(1000, 999))
        self.assertEqual(7, budget.to_keep(None, 7))


class Rises(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.git('init', '-q')

    def git(self, *args):
        subprocess.run(['git', '-C', self.dir.name, '-c', 'user.name=t', '-c', 'user.email=t@localhost', *args], check=True)

    def commit(self, figure, message):
        os.makedirs(os.path.join(self.dir.name, 'bench'), exist_ok=True)
        with open(os.path.join(self.dir.name, 'bench/budget.txt'), 'w') as f:
            f.write(f'# figures\nlong map-4k {figure}\n')
        self.git('add', '-A')
        self.git('commit', '-q', '-m', message)
        return budget.unexplained_rises(self.dir.name)

    def test_rise_without_a_reason_is_reported(self):
        self.assertEqual([], self.commit(1000, 'first'))
        self.assertEqual([], self.commit(900, 'faster'))
        self.assertRegex(self.commit(901, 'slower')[0], 'raises long map-4k')

    def test_rise_with_a_reason_is_ok(self):
        self.commit(1000, 'first')
        self.assertEqual([], self.commit(1100, 'slower\n\nBudget: it now does more'))

    def test_shallow_clone_has_no_history(self):
        self.commit(1000, 'first')
        self.commit(1100, 'slower')
        self.assertTrue(budget.has_history(self.dir.name))
        with tempfile.TemporaryDirectory() as clone:
            subprocess.run(['git', 'clone', '-q', '--depth', '1', 'file://' + self.dir.name, clone], check=True)
            self.assertFalse(budget.has_history(clone))


class Functions(unittest.TestCase):
    def test_instructions_belong_to_the_function_they_are_in(self):
        symbols = ['ffffffff81000100 t second', 'ffffffff81000000 T first']
        counts = ['ffffffff81000000 1', 'ffffffff810000ff 2', 'ffffffff81000100 4', '401000 8']
        self.assertEqual({'first': 3, 'second': 4, '(the program)': 8}, profile.functions_of(counts, symbols))


if __name__ == '__main__':
    unittest.main()

"""Test tools/mutate: which mutants are found, that they compile, and how a boot with them is judged. No VM is booted."""
import contextlib, importlib.machinery, importlib.util, io, os, re, subprocess, sys, tempfile, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, 'tools'))
import mutants

loader = importlib.machinery.SourceFileLoader('mutate', os.path.join(TOP, 'tools/mutate'))
mutate = importlib.util.module_from_spec(importlib.util.spec_from_loader('mutate', loader))
loader.exec_module(mutate)

C = '''/* { not a body */
struct thing { int a[4 + 1]; };
static const int table[] = { 1, 2 };

static int f(int a, int b)
{
	int n, ret = a ? b * 16 : 16;

	if (a < b ||
	    b == 3)		/* } nor its end */
		return -22;
#ifdef NEVER
	g(a);
#endif
	for (n = 0; n < a + 1; n++) {
		ret |= g(5 - n);
		lock();
		g(a);
		unlock();
	}
	if (b > 4)
		ret -= g(b);
	else if (!a)
		ret = -EINVAL;
	return min(ret, MAX);
}
'''
RUN = '''enum { EINVAL = 22, MAX = 50 };
static int mutant, calls, locked;
#define MUTANT(n) (mutant == (n))
#define min(a, b) ((a) < (b) ? (a) : (b))
static int g(int n) { calls++; return n; }
static void lock(void) { locked++; }
static void unlock(void) { locked--; }
'''


def found(text=C):
    return {(m.line, m.rule): m.text for m in mutants.find(text)}


def body(code):
    return 'static int f(int a)\n{\n' + code + '}\n'


class Find(unittest.TestCase):
    def rules(self, code):
        return sorted((m.rule, m.text) for m in mutants.find(body(code)))

    def test_mutants_are_only_in_functions(self):
        self.assertEqual(7, min(line for line, _ in found()))

    def test_name_of_a_function_decides_the_rule(self):
        self.assertEqual('drop: lock();', found()[17, 'lock'])
        self.assertEqual('drop: unlock();', found()[19, 'unlock'])
        self.assertEqual('drop: g(a);', found()[18, 'call'])
        for call, rule in (('mutex_unlock', 'unlock'), ('up_read', 'unlock'), ('kfree', 'put'), ('refcount_inc', 'get'),
                           ('iommu_iotlb_sync', 'flush'), ('wake_up_all', 'wake'), ('iommufd_pages_unpin', 'unpin')):
            self.assertEqual([(rule, f'drop: {call}(a);')], self.rules(f'\t{call}(a);\n'))

    def test_calls_without_visible_effect_are_not_mutated(self):
        self.assertEqual([], self.rules('\tcond_resched();\n\tlockdep_assert_held(a);\n\tpr_info("1 + 1");\n\trcu_read_lock();\n'))

    def test_only_statements_with_a_common_variable_are_swapped(self):
        self.assertIn(('swap', 'swap: a(x); b(x);'), self.rules('\ta(x);\n\tb(x);\n'))
        self.assertNotIn('swap', [r for r, _ in self.rules('\ta(x);\n\tb(y);\n\tx = 1;\n\ty = x;\n')])

    def test_errors_are_dropped_or_become_0(self):
        self.assertEqual([('error', 'drop: ret = -EINVAL;'), ('return0', 'return 0 for: return ret;')],
                         self.rules('\tret = -EINVAL;\n\treturn ret;\n'))
        self.assertEqual([('call', 'ret = 0 for: ret = g(a);')], self.rules('\tret = g(a);\n'))
        self.assertEqual([], self.rules('\tp = g(a);\n'))

    def test_only_integer_functions_return_0(self):
        self.assertEqual([], [m.rule for m in mutants.find('struct a *f(void)\n{\n\treturn ret;\n}\n')])

    def test_each_operand_is_left_out(self):
        self.assertEqual(['without || a', 'without || b', 'without || c(d, e)'],
                         [t for r, t in self.rules('\tx = a || b || c(d, e);\n') if r == 'operand'])

    def test_only_one_of_several_values_counts(self):
        self.assertIn(('last', 'only the last counts: a |= b;'), self.rules('\ta |= b;\n'))
        self.assertEqual(['only the first counts: max_t(int, a, b)', 'only the second counts: max_t(int, a, b)'],
                         [t for r, t in self.rules('\ta = max_t(int, a, b);\n') if r == 'last'])

    def test_bounds_and_off_by_one(self):
        self.assertEqual([('assign', 'drop: x = a - 1 < b;'), ('bound', '<= for <: a - 1 < b'), ('one', 'no - 1: x = a - 1 < b;')],
                         self.rules('\tx = a - 1 < b;\n'))
        self.assertEqual([], [r for r, _ in self.rules('\treturn -1;\n\tx = (1);\n\ty = 1 << a + 1 << 2;\n') if r == 'one'])

    def test_all_our_files_are_parsed(self):
        for path in mutate.FILES:
            with self.subTest(path):
                self.assertTrue(mutants.find(mutate.source(path)))


class Plant(unittest.TestCase):
    def run_all(self, program, numbers):
        """{number: output of the program with this mutant}"""
        with tempfile.TemporaryDirectory() as d:
            with open(d + '/a.c', 'w') as f:
                f.write(program)
            subprocess.run(['gcc', '-w', '-o', d + '/a', d + '/a.c'], check=True)
            return {n: subprocess.run([d + '/a', str(n)], stdout=subprocess.PIPE, text=True, timeout=10).stdout for n in numbers}

    def test_all_compile_and_most_change_the_output(self):
        chosen = dict(enumerate(mutants.find(C), 1))
        text, left_out = mutants.plant(C, chosen)
        self.assertEqual(C.count('\n'), text.count('\n'))
        main = '''
#include <stdio.h>
#include <stdlib.h>
int main(int n, char **v) { mutant = atoi(v[1]);
for (int a = 0; a < 7; a++) for (int b = 0; b < 7; b++) { calls = 0; printf("%d ", f(a, b)); printf("%d %d;", calls, locked); } return 0; }
'''
        said = self.run_all(RUN + text + main, [0, *(n for n in chosen if n not in left_out)])
        self.assertEqual(said[0], self.run_all(RUN + C + main, [0])[0])
        same = [chosen[n].text for n in said if n and said[n] == said[0]]
        # Code that is not compiled, and calls whose order does not matter
        self.assertEqual(['drop: g(a);'], [t for t in same if not t.startswith('swap')])
        self.assertGreater(len(said), 20)

    def test_overlapping_mutant_is_left_out(self):
        text = body('\ta(x);\n\tb(x);\n\tc(x);\n')
        swaps = [m for m in mutants.find(text) if m.rule == 'swap']
        self.assertEqual(2, len(swaps))
        self.assertEqual([2], mutants.plant(text, {1: swaps[0], 2: swaps[1]})[1])

    def test_mutants_that_do_not_compile_are_identified(self):
        known = mutate.candidates()
        n, (path, m) = next((n, c) for n, c in known.items() if c[0].endswith('areas.c'))
        log = f'/x/build/mutant/{path}:{m.line}:3: error: what is this\n'
        self.assertEqual({n}, mutate.broken({n: known[n]}, log))
        self.assertEqual(set(), mutate.broken({n: known[n]}, log.replace(f':{m.line}:', f':{m.line + 90}:')))


class Judge(unittest.TestCase):
    SPLATS = mutate.run.read_splats()

    def judge(self, *steps, console=''):
        """Each step is a mutant and its result: '' passed, None did not end, otherwise the failure."""
        text = 'boot\n'
        for i, (n, how) in enumerate(steps, 1):
            text += f'# run {n}/p\n  #  RUN           a.case{n} ...\n'
            if how is not None:
                text += f'not ok {i} {n}/p # {how}\n' if how else f'ok {i} {n}/p\n'
        return {n: how for (n, _), how in mutate.Boot(text, console, self.SPLATS).judge().items()}

    def test_survivor_and_caught(self):
        self.assertEqual({1: '', 2: 'case: a.case2', 3: ''}, self.judge((1, ''), (2, 'case'), (0, ''), (3, '')))

    def test_several_are_caught_if_the_case_passes_in_between(self):
        self.assertEqual({1: 'case: a.case1', 2: 'signal 9: a.case2'}, self.judge((1, 'case'), (0, ''), (2, 'signal 9'), (0, '')))

    def test_failure_after_damage_is_not_a_catch(self):
        self.assertEqual({1: 'case: a.case1'}, self.judge((1, 'case'), (0, ''), (2, 'case'), (0, 'case')))
        self.assertEqual({1: 'case: a.case1'}, self.judge((1, 'case'), (0, 'case')))

    def test_dead_or_stuck_vm(self):
        self.assertEqual({1: '', 2: 'died: a.case2'}, self.judge((1, ''), (2, None)))
        self.assertEqual({1: 'case: a.case1'}, self.judge((1, 'case'), (0, ''), (2, None)))
        self.assertEqual({1: 'stuck: a.case1'}, self.judge((1, 'stuck')))
        self.assertEqual({1: 'case: a.case1'}, self.judge((1, 'case'), (0, ''), (2, 'stuck')))

    def test_splat(self):
        console = '[ 1.0] vm: run 1/p\n[ 1.1] WARNING: CPU: 0\n[ 1.2] Call Trace:\n[ 1.3] vm: run 2/p\n'
        self.assertEqual({1: 'WARNING: CPU: 0', 2: ''}, self.judge((1, ''), (2, ''), console=console))


class Equivalent(unittest.TestCase):
    def test_each_entry_is_a_mutant_and_has_a_reason(self):
        known = mutate.names(mutate.candidates())
        self.assertEqual(len(known), len(set(known.values())))
        self.assertEqual(set(), mutate.equivalents() - set(known.values()))
        text = mutate.read(mutate.EQUIVALENT)
        self.assertEqual(len(mutate.equivalents()), len(re.findall(r'^[^#\t\n].*\n\t\S', text, re.M)))

    def test_they_are_left_out(self):
        known = mutate.candidates()
        options = mutate.argparse.Namespace(only='', count=0, seed=1)
        self.assertEqual(len(known) - len(mutate.equivalents()), len(mutate.choose(known, mutate.FILES, options)))


class Silence(unittest.TestCase):
    def test_end_without_a_message_must_happen_twice(self):
        known = mutate.candidates()
        session = mutate.Session({1: known[1]}, {}, '')
        for said, caught in (('died: a.b', {}), ('died: a.b', {1: 'p: died: a.b'})):
            with self.subTest(caught):
                boot = mutate.Boot('# run 1/p\n  #  RUN           a.b ...\n', '', session.splats)
                session.boot = lambda *args: ('', boot, None)
                with contextlib.redirect_stdout(io.StringIO()):
                    self.assertEqual(set() if caught else {1}, session.try_them('default', [(1, 'p', '1')]))
                self.assertEqual(caught, session.caught)


HARNESS = """
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	for (int i = 1; i <= 4; i++) {
		pid_t pid = fork();

		if (!pid) {
			pid = fork();
			if (!pid)
				_exit(0);
			waitpid(pid, NULL, 0);
			dprintf(1, "%d", i);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}
"""


class Cases(unittest.TestCase):
    def test_each_fork_of_the_harness_is_a_case(self):
        with tempfile.TemporaryDirectory() as d:
            with open(d + '/a.c', 'w') as f:
                f.write(HARNESS)
            subprocess.run(['gcc', '-static', '-Wl,--wrap=fork', os.path.join(TOP, 'vm/cases.c'), '-o', d + '/a', d + '/a.c'], check=True)
            env = {k: v for k, v in os.environ.items() if k != 'CASES'}
            for cases, ran in ((None, '1234'), ('2', '2'), ('1,3-4', '134'), ('2-3,9', '23'), ('', '')):
                own = env if cases is None else dict(env, CASES=cases)
                self.assertEqual(ran, subprocess.run([d + '/a'], env=own, stdout=subprocess.PIPE, text=True).stdout, cases)


class Reach(unittest.TestCase):
    def test_ranges(self):
        self.assertEqual('3,7-9,11', mutate.compact({7, 3, 9, 8, 11}))
        self.assertEqual({7, 3, 9, 8, 11}, mutate.ranges('3,7-9,11'))
        self.assertEqual(set(), mutate.ranges(''))
        self.assertLess(len(mutate.compact(range(0, 9000, 2))), 3500)

    def test_cases_of_programs(self):
        text = ('# run -1/p\n  # reached 1 5,7-8\n  ok 1 a.x\n  # reached 2 \n  ok 2 a.y\nok 1 -1/p\n'
                '# run -1/q\n  # reached 1 8\nok 2 -1/q\n')
        self.assertEqual({5: {'p': {1}}, 7: {'p': {1}}, 8: {'p': {1}, 'q': {1}}}, mutate.reached(text))

    def test_cases_that_fail_without_a_mutant_are_left_out(self):
        text = ('# run -1/p\n  # reached 1 1\n  not ok 1 a.x\n  # reached 2 1-2\n  ok 2 a.y\nnot ok 1 -1/p # exit 1\n'
                '# run -1/q\n  # reached 1 1\n  not ok 1 a.x\n%s\nnot ok 2 -1/q # exit 1\n')
        known = mutate.candidates()
        session = mutate.Session({1: known[1], 2: known[2], 3: known[3]}, {}, '')
        for last, good in (('  ok 2 a.y', True), ('', False)):
            boot = mutate.Boot(text % last, '', session.splats)
            watch = mutate.Watch()
            watch(text % last)
            session.boot = lambda *args: (text % last, boot, watch)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                if good:
                    session.reach('default', ['p', 'q'])
                    self.assertIn('p: 1 of 2 cases fail', said.getvalue())
                else:
                    self.assertRaisesRegex(mutate.HarnessError, 'q fails without a mutant', session.reach, 'default', ['p', 'q'])
        self.assertEqual({1: {'p': {2}}, 2: {'p': {2}}, 3: {}}, session.cases)


if __name__ == '__main__':
    unittest.main()

"""Check docs/using.md as far as possible without a VM. `make test V=stock T=using` runs its commands."""
import os, re, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(os.path.join(TOP, path)) as f:
        return f.read()


class Page(unittest.TestCase):
    def setUp(self):
        self.commands = re.findall(r'^    [#$] (.*)$', read('docs/using.md'), re.M)
        self.marked = [c for c in self.commands if '○' in c]

    def test_number_of_marked_commands_is_in_the_plan(self):
        skips = re.search(r'^using +\S+ +\S+ +\d+ +(\d+) ', read('vm/plan'), re.M)[1]
        self.assertEqual(int(skips), len(self.marked))
        self.assertGreater(len(self.commands), len(self.marked))

    def test_marked_commands_have_a_reason(self):
        for command in self.marked:
            self.assertRegex(command, '○ .*[a-z]{3}')

    def test_named_sections_exist(self):
        page = read('docs/using.md')
        sections = re.findall(r'^## (\d+)\.', page, re.M)
        self.assertEqual(sections, [str(n + 1) for n in range(len(sections))])
        for n in re.findall(r'[Ss]ections? (\d+)', page):
            self.assertIn(n, sections)


if __name__ == '__main__':
    unittest.main()

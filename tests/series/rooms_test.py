"""Check that calls between the files of iommufd have no cycle."""
import glob
import os
import re
import unittest

ROOMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../linux/drivers/iommu/iommufd')
# The mock takes the place of drivers, which call iommufd and are called by it
OTHERS = {'selftest.c'}


def code_of(text):
    return re.sub(r'/\*.*?\*/|"(\\.|[^"\\])*"', '', text, flags=re.S)


def calls(files):
    """{caller: {callee: functions}}, for functions that are defined in one file and named in another."""
    owner = {name: file for file, text in files.items()
             for name in re.findall(r'^(?!static\b|struct \w+ \{)\w[\w \t*]*?\b(\w+)\([^;{}]*\)\n\{', text, re.M)}
    found = {}
    for file, text in files.items():
        for name in set(re.findall(r'\b\w+\b', text)) & set(owner):
            if owner[name] != file:
                found.setdefault(file, {}).setdefault(owner[name], []).append(name)
    return found


def circles(graph):
    """Each pair of files that call each other, directly or through other files."""
    def reaches(a, b, seen):
        seen.add(a)
        return a == b or any(reaches(c, b, seen) for c in graph.get(a, ()) if c not in seen)
    return [(a, b, names) for a, called in sorted(graph.items()) for b, names in sorted(called.items()) if reaches(b, a, set())]


class Rooms(unittest.TestCase):
    def test_cycle_is_found(self):
        self.assertEqual(['a', 'b', 'c'], sorted(a for a, _, _ in circles({'a': {'b': []}, 'b': {'c': []}, 'c': {'a': []}, 'd': {'a': []}})))
        self.assertEqual({'b.c': {'a.c': ['f']}}, calls({'a.c': 'int f(int a,\n      int b)\n{\n}\n', 'b.c': 'static int g(void)\n{\n\treturn f(1, 2);\n}\n'}))

    def test_calls_have_no_cycle(self):
        files = {}
        for path in glob.glob(os.path.join(ROOMS, '*.c')):
            with open(path) as f:
                files[os.path.basename(path)] = code_of(f.read())
        graph = calls({name: text for name, text in files.items() if name not in OTHERS})
        self.assertGreater(sum(len(names) for called in graph.values() for names in called.values()), 60)
        self.assertEqual([], circles(graph))


if __name__ == '__main__':
    unittest.main()

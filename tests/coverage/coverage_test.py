"""Test tools/coverage: parsing the counts of a guest, selecting our lines, merging counts. No VM is booted."""
import importlib.machinery, importlib.util, os, sys, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader('coverage', os.path.join(TOP, 'tools/coverage'))
coverage = importlib.util.module_from_spec(importlib.util.spec_from_loader('coverage', loader))
loader.exec_module(coverage)

DIFF = '''diff --git a/drivers/vfio/vfio_main.c b/drivers/vfio/vfio_main.c
--- a/drivers/vfio/vfio_main.c
+++ b/drivers/vfio/vfio_main.c
@@ -10,0 +11,2 @@ void f(void)
+one
+two
@@ -20 +22 @@ void g(void)
-three
+four
@@ -30,2 +31,0 @@
-five
-six
'''


def told(file, *lines):
    return {'files': [{'file': file, 'lines': [{'line_number': n, 'count': count, 'function_name': 'f',
                                                'branches': [{'count': b} for b in branches]} for n, count, *branches in lines]}]}


class Coverage(unittest.TestCase):
    def test_counts_of_a_guest_are_parsed(self):
        data = b'boot /a/b.gcda 3\nx\ny' + b'areas /a/b.gcda 0\n' + b'areas /c.gcda 1\n\n'
        self.assertEqual([('boot', '/a/b.gcda', b'x\ny'), ('areas', '/a/b.gcda', b''), ('areas', '/c.gcda', b'\n')],
                         list(coverage.split_counts(data)))

    def test_truncated_counts_are_an_error(self):
        for data in (b'areas /a.gcda 3\nxy', b'areas /a', b'gibberish here, and more\n'):
            with self.assertRaises(coverage.Failure):
                list(coverage.split_counts(data))

    def test_added_lines_are_found(self):
        self.assertEqual({'drivers/vfio/vfio_main.c': {11, 12, 22}}, coverage.added_lines(DIFF))

    def test_counts_of_programs_add_up(self):
        c = coverage.Counts({'drivers/a.c': None})
        for count in (0, 3):
            c.add('a.gcda', told('/x/build/linux/drivers/a.c', (5, count, count, 0), (6, 1)))
        self.assertEqual([('drivers/a.c', 2, 2, 1, 2)], c.table())
        self.assertEqual({5: 3, 6: 2}, c.lines['drivers/a.c'])

    def test_other_lines_are_not_counted(self):
        c = coverage.Counts({'drivers/a.c': {6}})
        c.add('a.gcda', told('/x/build/linux/drivers/a.c', (5, 1), (6, 1)))
        c.add('a.gcda', told('/x/build/linux/include/b.h', (1, 1)))
        self.assertEqual([('drivers/a.c', 1, 1, 0, 0)], c.table())

    def test_counts_of_an_inline_function_in_several_objects_add_up(self):
        c = coverage.Counts({'drivers/a.h': None})
        c.add('a.gcda', told('/x/build/linux/drivers/a.h', (5, 1, 1, 0)))
        c.add('b.gcda', told('/x/build/linux/drivers/a.h', (5, 2, 0, 2)))
        self.assertEqual([('drivers/a.h', 1, 1, 2, 4)], c.table())

    def test_tracefile_has_lines_and_branches(self):
        c = coverage.Counts({'drivers/a.c': None})
        c.add('a.gcda', told('/x/build/linux/drivers/a.c', (5, 2, 2, 0), (6, 0, 0, 0)))
        text = c.tracefile()
        for line in ('DA:5,2', 'DA:6,0', 'BRDA:5,0,0,2', 'BRDA:5,0,1,0', 'BRDA:6,1,0,-', 'end_of_record'):
            self.assertIn(line + '\n', text)


if __name__ == '__main__':
    unittest.main()

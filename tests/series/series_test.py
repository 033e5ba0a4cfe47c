"""Test tools/series on a toy repository: conversions in both directions, and refusals.

Each test has its own repository with two patches, and a toy base "Linux 6.1.7" as a tarball.
tools/series works on the repository in which it is, so the tests run a copy.
"""
import hashlib, os, shutil, subprocess, tempfile, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

FIRST = '''Subject: toy: Add a file

It was missing.

Signed-off-by: Toy <toy@localhost>
---
Adds: drivers/toy/toy.c
      drivers/toy/toy.h
'''

SECOND = '''Subject: toy: Build the file

It is of no use otherwise.

Signed-off-by: Toy <toy@localhost>
---
diff --git a/drivers/Makefile b/drivers/Makefile
--- a/drivers/Makefile
+++ b/drivers/Makefile
@@ -3,3 +3,4 @@ two
 three
 four
 five
+toy
'''


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


class Toy(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.repo = os.path.join(self.dir, 'repo')
        self.tree = os.path.join(self.repo, 'build/linux')
        os.makedirs(os.path.join(self.repo, 'tools'))
        for tool in ('series', 'difforder'):
            shutil.copy(os.path.join(TOP, 'tools', tool), os.path.join(self.repo, 'tools', tool))
        self.put('series/0010-toy-add-a-file.patch', FIRST)
        self.put('series/0020-toy-build-the-file.patch', SECOND)
        self.put('series/0000-cover.txt', 'Subject: toy\n')
        self.put('linux/drivers/toy/toy.c', 'int toy;\n')
        self.put('linux/drivers/toy/toy.h', 'extern int toy;\n')
        self.base = self.make_base('base', '6.1.7')

    def make_base(self, name, version, makefile='one\ntwo\nthree\nfour\nfive\n'):
        top = os.path.join(self.dir, name, 'linux')
        a, b, c = version.split('.')
        write(f'{top}/Makefile', f'VERSION = {a}\nPATCHLEVEL = {b}\nSUBLEVEL = {c}\n')
        write(f'{top}/drivers/Makefile', makefile)
        write(f'{top}/.gitignore', '/*\n!/debian/\n')
        tarball = os.path.join(self.dir, name + '.tar')
        subprocess.run(['tar', '-c', '-f', tarball, '-C', os.path.dirname(top), 'linux'], check=True)
        with open(tarball, 'rb') as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        if name == 'base':
            self.put('BASE', f'package: none\nversion: {version}\nsha256: {digest}\ndate: 2026-01-01T00:00:00Z\n')
        return tarball

    def put(self, path, text):
        write(os.path.join(self.repo, path), text)

    def get(self, path):
        return read(os.path.join(self.repo, path))

    def run_series(self, verb, ksrc=None):
        return subprocess.run([os.path.join(self.repo, 'tools/series'), verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=dict(os.environ, KSRC=ksrc or self.base))

    def ok(self, verb, ksrc=None):
        r = self.run_series(verb, ksrc)
        self.assertEqual(0, r.returncode, r.stderr)
        return r.stdout

    def refused(self, words, verb='tree', ksrc=None):
        """The command fails with one line that has the words, and changes nothing."""
        before = self.snapshot()
        r = self.run_series(verb, ksrc)
        self.assertEqual(1, r.returncode, r.stdout)
        self.assertEqual(1, len(r.stderr.splitlines()), r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertEqual(before, self.snapshot())

    def snapshot(self):
        """All files of the repository and of the tree, except those in .git, and the commit of the tree."""
        out = {}
        for d, dirs, files in os.walk(self.repo):
            dirs[:] = [x for x in dirs if x != '.git']
            for f in files:
                if f != 'checksums':
                    out[os.path.join(d, f)] = read(os.path.join(d, f))
        head = self.git('rev-parse', 'HEAD') if os.path.exists(self.tree) else None
        return out, head

    def git(self, *args):
        r = subprocess.run(['git', '-C', self.tree, '-c', 'user.name=t', '-c', 'user.email=t@t', *args], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, env=dict(os.environ, GIT_SEQUENCE_EDITOR='true', GIT_EDITOR='true'))
        self.assertEqual(0, r.returncode, r.stderr)
        return r.stdout.strip()

    def edit(self, path, text):
        write(os.path.join(self.tree, path), text)


class RoundTrip(Toy):
    def test_tree_is_the_base_and_one_commit_per_patch(self):
        self.ok('tree')
        self.assertEqual('toy: Build the file\ntoy: Add a file\nLinux 6.1.7', self.git('log', '--format=%s'))
        self.assertEqual('int toy;\n', read(self.tree + '/drivers/toy/toy.c'))
        self.assertEqual('one\ntwo\nthree\nfour\nfive\ntoy\n', read(self.tree + '/drivers/Makefile'))

    def test_save_after_tree_changes_nothing(self):
        self.ok('tree')
        before = self.snapshot()
        self.ok('save')
        self.assertEqual(before, self.snapshot())

    def test_same_input_gives_same_commits(self):
        self.ok('tree')
        first = self.git('rev-parse', 'HEAD')
        shutil.rmtree(self.repo + '/build')
        self.ok('tree')
        self.assertEqual(first, self.git('rev-parse', 'HEAD'))

    def test_only_changed_files_are_touched(self):
        self.ok('tree')
        old = {f: os.stat(f'{self.tree}/drivers/toy/{f}').st_mtime_ns for f in ('toy.c', 'toy.h')}
        self.put('linux/drivers/toy/toy.c', 'long toy;\n')
        self.ok('tree')
        self.assertEqual('long toy;\n', read(self.tree + '/drivers/toy/toy.c'))
        self.assertNotEqual(old['toy.c'], os.stat(self.tree + '/drivers/toy/toy.c').st_mtime_ns)
        self.assertEqual(old['toy.h'], os.stat(self.tree + '/drivers/toy/toy.h').st_mtime_ns)

    def test_old_tip_is_kept(self):
        self.ok('tree')
        old = self.git('rev-parse', 'HEAD')
        self.put('linux/drivers/toy/toy.c', 'long toy;\n')
        self.ok('tree')
        self.assertIn(old, self.git('for-each-ref', '--format=%(objectname)', 'refs/old'))

    def test_save_copies_edits_of_our_files(self):
        self.ok('tree')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.ok('save')
        self.assertEqual('char toy;\n', self.get('linux/drivers/toy/toy.c'))
        self.assertEqual('', self.git('status', '--porcelain', '-uno'))

    def test_save_writes_a_fixup_to_its_patch(self):
        self.ok('tree')
        self.edit('drivers/Makefile', 'one\ntwo\nthree\nfour\nfive\ntoys\n')
        self.git('commit', '-q', '-a', '--fixup=HEAD')
        self.git('rebase', '-q', '-i', '--autosquash', 'base')
        self.ok('save')
        self.assertEqual(SECOND.replace('+toy\n', '+toys\n'), self.get('series/0020-toy-build-the-file.patch'))

    def test_save_keeps_changes_of_the_repository(self):
        self.ok('tree')
        self.put('linux/drivers/toy/toy.h', 'extern long toy;\n')
        message = SECOND.replace('no use', 'little use')
        self.put('series/0020-toy-build-the-file.patch', message)
        self.put('linux/drivers/toy/new.h', '')
        self.put('series/0015-toy-new.patch', FIRST.replace('toy.c', 'new.h').replace('      drivers/toy/toy.h\n', ''))
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.ok('save')
        self.assertTrue(os.path.exists(self.tree + '/drivers/toy/new.h'))
        self.assertEqual('extern long toy;\n', self.get('linux/drivers/toy/toy.h'))
        self.assertEqual('char toy;\n', self.get('linux/drivers/toy/toy.c'))
        self.assertEqual(message, self.get('series/0020-toy-build-the-file.patch'))
        self.assertEqual('extern long toy;\n', read(self.tree + '/drivers/toy/toy.h'))
        self.assertEqual('char toy;\n', read(self.tree + '/drivers/toy/toy.c'))
        self.assertEqual('', self.git('status', '--porcelain', '-uno'))

    def test_save_makes_a_new_patch_between_two(self):
        self.ok('tree')
        first = self.git('rev-parse', 'HEAD~')
        self.git('checkout', '-q', '-B', 'work', first)
        self.edit('drivers/toy/more.c', 'int more;\n')
        self.git('add', '-f', 'drivers/toy/more.c')
        self.git('commit', '-q', '-m', 'toy: Add more\n\nOf it.\n\nSigned-off-by: Toy <toy@localhost>')
        self.git('rebase', '-q', 'work', 'series')
        self.ok('save')
        self.assertIn('Adds: drivers/toy/more.c\n', self.get('series/0015-toy-add-more.patch'))
        self.assertEqual('int more;\n', self.get('linux/drivers/toy/more.c'))

    def test_mail_applies_and_is_the_same_each_time(self):
        self.assertIn('git am results in the same tree', self.ok('mail'))
        first = {f: self.get('build/series/' + f) for f in os.listdir(self.repo + '/build/series')}
        self.ok('mail')
        self.assertEqual(first, {f: self.get('build/series/' + f) for f in os.listdir(self.repo + '/build/series')})
        self.assertEqual(3, len(first))

    def test_stable_mails_only_fixes_of_the_base(self):
        self.refused(['no patch has a line'], 'stable')
        fix = FIRST.replace('Signed-off-by', 'Cc: stable@localhost\nSigned-off-by')
        self.put('series/0010-toy-add-a-file.patch', fix)
        self.assertIn('has no Fixes: line', self.ok('stable'))
        self.assertEqual(1, len(os.listdir(self.repo + '/build/stable')))
        self.put('series/0010-toy-add-a-file.patch', fix.replace('Cc:', 'Fixes: 123456789abc ("toy: Begin")\nCc:'))
        self.assertNotIn('Fixes', self.ok('stable'))
        self.put('series/0010-toy-add-a-file.patch', FIRST)
        self.put('series/0020-toy-build-the-file.patch', SECOND.replace('Signed-off-by', 'Cc: stable@localhost\nSigned-off-by'))
        self.assertIn('this fix for stable comes after series/0010', self.run_series('check').stdout)

    def test_offsets_on_another_base_are_reported(self):
        other = self.make_base('other', '6.1.9', 'zero\n' * 4 + 'one\ntwo\nthree\nfour\nfive\n')
        out = self.ok('tree', other)
        self.assertIn('6.1.9', out)
        self.assertEqual(1, out.count('offset'))
        self.assertTrue(read(self.tree + '/drivers/Makefile').endswith('five\ntoy\n'))

    def test_directory_as_base_is_not_changed(self):
        directory = os.path.join(self.dir, 'base/linux')
        self.ok('tree', directory)
        self.assertEqual(['.gitignore', 'Makefile', 'drivers'], sorted(os.listdir(directory)))
        self.assertEqual('int toy;\n', read(self.tree + '/drivers/toy/toy.c'))

    def test_interrupted_unpacking_is_repeated(self):
        write(self.tree + '.new/half', 'a tree')
        self.ok('tree')
        self.assertFalse(os.path.exists(self.tree + '.new'))


class Rebase(Toy):
    """The report about another kernel. Nothing is changed."""

    def said(self, status, makefile=None, version='6.1.9', ksrc=None):
        if makefile:
            ksrc = self.make_base('other', version, makefile)
        r = self.run_series('rebase', ksrc)
        self.assertEqual(status, r.returncode, r.stdout + r.stderr)
        self.assertEqual(status, len(r.stderr.splitlines()), r.stderr)
        self.assertFalse(os.path.exists(self.tree))
        return r.stdout + r.stderr

    def test_the_base_itself(self):
        out = self.said(0)
        self.assertIn('applies  0010  toy: Add a file', out)
        self.assertIn('2 patches: 2 apply, 0 move, 0 break', out)

    def test_a_directory(self):
        self.assertIn('2 apply', self.said(0, ksrc=os.path.join(self.dir, 'base/linux')))

    def test_hunk_that_moves(self):
        out = self.said(0, 'zero\n' * 4 + 'one\ntwo\nthree\nfour\nfive\n')
        self.assertIn('moves    0020  toy: Build the file\n               1 hunk moved, by +4 lines', out)
        self.assertIn('Linux 6.1.9', out)

    def test_context_that_differs(self):
        out = self.said(1, 'one\ntwo\nTHREE\nfour\nfive\n')
        self.assertIn('breaks   0020', out)
        self.assertIn('drivers/Makefile: hunk 1 (line 3): context differs, fuzz', out)
        self.assertIn('1 patches do not apply', out)

    def test_hunk_that_does_not_apply(self):
        out = self.said(1, 'six\nseven\n')
        self.assertIn('drivers/Makefile: hunk 1 (line 3) does not apply', out)
        self.assertIn('1 apply, 0 move, 1 break', out)

    def test_patch_after_a_broken_one_is_tried(self):
        self.put('series/0030-toy-more.patch', SECOND.replace('Build the file', 'Say more').replace('drivers/Makefile', 'Makefile').replace(
            '@@ -3,3 +3,4 @@ two\n three\n four\n five\n+toy', '@@ -1,3 +1,4 @@\n VERSION = 6\n PATCHLEVEL = 1\n SUBLEVEL = 9\n+toy'))
        self.assertIn('applies  0030', self.said(1, 'six\nseven\n'))

    def test_missing_file_of_the_base(self):
        os.remove(os.path.join(self.dir, 'base/linux/drivers/Makefile'))
        self.assertIn('drivers/Makefile is missing', self.said(1, ksrc=os.path.join(self.dir, 'base/linux')))

    def test_added_file_that_exists(self):
        write(os.path.join(self.dir, 'base/linux/drivers/toy/toy.h'), '')
        self.assertIn('drivers/toy/toy.h exists already', self.said(1, ksrc=os.path.join(self.dir, 'base/linux')))

    def test_fix_that_the_kernel_has(self):
        self.assertIn('has this change already; drop the patch', self.said(1, 'one\ntwo\nthree\nfour\nfive\ntoy\n'))

    def test_kernel_that_is_not_6_1(self):
        self.assertIn('Linux 6.2.0; give', self.said(1, 'one\n', version='6.2.0'))

    def test_tarball_that_is_not_a_kernel(self):
        tarball = os.path.join(self.dir, 'else.tar')
        subprocess.run(['tar', '-c', '-f', tarball, '-C', self.repo, 'series'], check=True)
        self.assertIn('not a kernel tree; give', self.said(1, ksrc=tarball))

    def test_rebase_without_KSRC(self):
        r = subprocess.run([os.path.join(self.repo, 'tools/series'), 'rebase'], capture_output=True, text=True,
                           env={k: v for k, v in os.environ.items() if k != 'KSRC'})
        self.assertEqual(1, r.returncode)
        self.assertIn('make rebase KSRC=', r.stderr)


class Refusals(Toy):
    def test_offset_on_the_base(self):
        self.put('series/0020-toy-build-the-file.patch', SECOND.replace('-3,3 +3,4', '-2,3 +2,4'))
        self.ok('tree', self.make_base('other', '6.1.9'))
        shutil.rmtree(self.repo + '/build')
        self.assert_refused_new(['0020', 'offset', 'correct the line numbers'])

    def assert_refused_new(self, words, **how):
        """Like refused(), but without a tree before: nothing outside build/ changes."""
        before = {k: v for k, v in self.snapshot()[0].items() if '/build/' not in k}
        r = self.run_series('tree', **how)
        self.assertEqual(1, r.returncode, r.stdout)
        self.assertEqual(1, len(r.stderr.splitlines()), r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertEqual(before, {k: v for k, v in self.snapshot()[0].items() if '/build/' not in k})

    def test_fuzz(self):
        other = self.make_base('other', '6.1.9', 'one\ntwo\nthree\nFOUR\nfive\n')
        self.assert_refused_new(['0020', 'does not apply', 'rebase.md'], ksrc=other)

    def test_added_path_that_the_base_has(self):
        self.put('series/0010-toy-add-a-file.patch', FIRST.replace('drivers/toy/toy.h', 'Makefile'))
        os.rename(self.repo + '/linux/drivers/toy/toy.h', self.repo + '/linux/Makefile')
        self.assert_refused_new(['Makefile', 'in the base already'])

    def test_file_in_no_patch(self):
        self.put('linux/drivers/toy/orphan.c', '')
        self.refused(['linux/drivers/toy/orphan.c', 'Adds:'])

    def test_file_that_is_missing(self):
        os.remove(self.repo + '/linux/drivers/toy/toy.h')
        self.refused(['linux/drivers/toy/toy.h', 'missing', '0010'])

    def test_file_that_is_added_twice(self):
        self.put('series/0030-toy-again.patch', FIRST)
        self.refused(['added twice', '0010', '0030'])

    def test_hunk_for_a_file_of_ours(self):
        self.put('series/0020-toy-build-the-file.patch', SECOND.replace('drivers/Makefile', 'drivers/toy/toy.c'))
        self.refused(['0020', 'drivers/toy/toy.c', 'ours'])

    def test_patch_in_another_form(self):
        self.put('series/0020-toy-build-the-file.patch', 'From: somebody\n' + SECOND)
        self.refused(['0020', 'README.md'])

    def test_patch_without_sign_off(self):
        self.put('series/0020-toy-build-the-file.patch', SECOND.replace('Signed-off-by', 'Seen-by'))
        self.assert_refused_new(['0020', 'Signed-off-by'])

    def test_changed_on_both_sides(self):
        self.ok('tree')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.put('linux/drivers/toy/toy.c', 'long toy;\n')
        self.refused(['both sides', 'linux/drivers/toy/toy.c', 'build/linux/drivers/toy/toy.c'])

    def test_save_of_what_was_changed_on_both_sides(self):
        self.ok('tree')
        self.put('linux/drivers/toy/toy.c', 'long toy;\n')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.refused(['linux/drivers/toy/toy.c', 'both sides'], 'save')

    def test_save_of_a_patch_that_was_changed_on_both_sides(self):
        self.ok('tree')
        self.put('series/0020-toy-build-the-file.patch', SECOND.replace('no use', 'little use'))
        self.edit('drivers/Makefile', 'one\ntwo\nthree\nfour\nfive\ntoys\n')
        self.git('commit', '-q', '-a', '--fixup=HEAD')
        self.git('rebase', '-q', '-i', '--autosquash', 'base')
        self.refused(['series/0020', 'both sides'], 'save')

    def test_different_files_changed_on_both_sides(self):
        self.ok('tree')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.put('linux/drivers/toy/toy.h', 'extern long toy;\n')
        self.refused(['not saved', 'drivers/toy/toy.c', 'drivers/toy/toy.h', 'save'])

    def test_new_file_in_the_tree_is_not_lost(self):
        self.ok('tree')
        self.edit('drivers/toy/new.c', 'int n;\n')
        self.refused(['not saved', 'drivers/toy/new.c'], ksrc=self.make_base('other', '6.1.9'))
        self.refused(['drivers/toy/new.c', 'add'], 'save')

    def test_commit_in_the_tree_is_not_lost(self):
        self.ok('tree')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.git('commit', '-q', '-a', '-m', 'mine')
        self.put('linux/drivers/toy/toy.h', 'extern long toy;\n')
        self.refused(['not saved', 'drivers/toy/toy.c'])

    def test_save_with_edit_of_the_base(self):
        self.ok('tree')
        self.edit('drivers/Makefile', 'other\n')
        self.refused(['drivers/Makefile', '--fixup=', self.git('rev-parse', '--short', 'HEAD')], 'save')

    def test_save_of_a_commit_that_changes_an_added_file(self):
        self.ok('tree')
        self.edit('drivers/toy/toy.c', 'char toy;\n')
        self.git('commit', '-q', '-a', '-m', 'toy: Change it')
        self.refused(['toy: Change it', 'squash the change', '--fixup'], 'save')

    def test_save_without_a_tree(self):
        self.refused(['build/linux is missing', 'tree'], 'save')

    def test_other_kernel(self):
        self.assert_refused_new(['6.12.3', '6.1.y'], ksrc=self.make_base('other', '6.12.3'))

    def test_no_kernel(self):
        write(self.dir + '/empty/file', '')
        self.assert_refused_new(['not a kernel tree', '6.1.y'], ksrc=self.dir + '/empty')

    def test_KSRC_that_does_not_exist(self):
        self.assert_refused_new(['does not exist', '6.1.y'], ksrc=self.dir + '/nothing')

    def test_broken_tarball(self):
        write(self.dir + '/broken.tar.xz', 'not a tarball')
        self.assert_refused_new(['not a kernel tree', '6.1.y'], ksrc=self.dir + '/broken.tar.xz')

    def test_no_base_installed(self):
        before = self.snapshot()
        r = subprocess.run([self.repo + '/tools/series', 'tree'], stderr=subprocess.PIPE, text=True,
                           env={k: v for k, v in os.environ.items() if k != 'KSRC'})
        self.assertEqual(1, r.returncode)
        self.assertIn('tools/setup', r.stderr)
        self.assertEqual(before, self.snapshot())

    def test_full_disk(self):
        """The tool checks for free space before it unpacks. Here it needs more than any disk has."""
        path = self.repo + '/tools/series'
        write(path, read(path).replace('NEED = 3 << 30', 'NEED = 3 << 60'))
        self.assert_refused_new(['disk is full', 'make clean'])
        self.assertFalse(os.path.exists(self.tree + '.new'))


if __name__ == '__main__':
    unittest.main()

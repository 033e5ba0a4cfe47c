"""Test the bash completion of lsvfio: in a real bash, with devices in a temporary directory."""
import os, re, shlex, subprocess, tempfile, unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(*path):
    with open(os.path.join(TOP, *path)) as f:
        return f.read()


class Completion(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        classes = os.path.join(tmp.name, 'class')
        os.mkdir(classes)
        for name, device in (('vfio0', '0000:06:0d.0'), ('vfio1', '0000:06:0e.0'), ('vfio2', '0001:00:02.0')):
            cdev = os.path.join(tmp.name, device, 'vfio-dev', name)
            os.makedirs(cdev)
            os.symlink('../..', os.path.join(cdev, 'device'))
            os.symlink(cdev, os.path.join(classes, name))
        self.script = read('packaging', 'tools', 'lsvfio.bash-completion').replace('/sys/class/vfio-dev', classes)

    def complete(self, line, words):
        """The completions for a line that bash has broken into words."""
        script = self.script + f'''
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
set -u
_lsvfio
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p lsvfio >&2
'''
        done = subprocess.run(['bash', '--norc', '-c', script], capture_output=True, text=True)
        self.assertEqual(done.stderr, 'complete -F _lsvfio lsvfio\n')
        return done.stdout.split()

    def test_both_names_of_devices_are_completed(self):
        self.assertEqual(sorted(self.complete('lsvfio ', ['lsvfio', ''])),
                         ['0000:06:0d.0', '0000:06:0e.0', '0001:00:02.0', 'vfio0', 'vfio1', 'vfio2'])
        self.assertEqual(self.complete('lsvfio -q vfio1', ['lsvfio', '-q', 'vfio1']), ['vfio1'])

    def test_only_the_part_after_the_last_colon_is_returned(self):
        self.assertEqual(self.complete('lsvfio 0000:06:0', ['lsvfio', '0000', ':', '06', ':', '0']), ['0d.0', '0e.0'])
        self.assertEqual(self.complete('lsvfio 0001:', ['lsvfio', '0001', ':']), ['00:02.0'])

    def test_size_is_not_completed(self):
        self.assertEqual(self.complete('lsvfio -m ', ['lsvfio', '-m', '']), [])
        self.assertEqual(self.complete('lsvfio --memory ', ['lsvfio', '--memory', '']), [])

    def test_options_are_those_of_the_program(self):
        """Each option is also in the usage text and in the manual page."""
        source = read('linux', 'tools', 'vfio', 'lsvfio.c')
        page = read('linux', 'tools', 'vfio', 'lsvfio.1').replace('\\-', '-')
        options = re.findall(r'\{ "(\w+)", \w+_argument, NULL, \'(\w)\' \}', source)
        self.assertGreater(len(options), 5)
        self.assertEqual(sorted(self.complete('lsvfio -', ['lsvfio', '-'])),
                         sorted([f'-{short}' for _, short in options] + [f'--{long}' for long, _ in options]))
        for long, short in options:
            self.assertIn(f'"  -{short}, --{long} ', source)
            self.assertRegex(page, rf'(?m)^\.BR? -{short} ?", " --{long}')


if __name__ == '__main__':
    unittest.main()

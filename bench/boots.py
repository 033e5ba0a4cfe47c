"""Helpers of bench/run, budget and profile: rows, and boots of a kernel with one program."""
import argparse, os, sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'vm'))
from guest import TOP, Guest, HarnessError, lines_of, read

RESULTS = os.path.join(TOP, 'build/results/bench')
SECONDS = 600       # for a boot
SAME = 0.01         # how much two runs may differ

Row = namedtuple('Row', 'kind case goal budget what')
# The columns of the table: a kernel, and its interface
COLUMNS = [('plain', 'cdev'), ('plain', 'type1'), ('peer', 'cdev'), ('peer', 'type1')]
OURS, OUR_TYPE1, PEER = COLUMNS[:3]
MACHINES = {'count': 'off', 'count-caching': 'on'}     # and their caching mode


def column_name(column):
    """For example "6.12 cdev"."""
    v, way = column
    release = read(os.path.join(TOP, 'build/out', v, 'include/config/kernel.release'))
    return '.'.join(release.split('.')[:2]) + ' ' + way


def read_rows():
    rows = []
    for line in lines_of(os.path.join(TOP, 'bench/rows')):
        kind, case, goal, budget, what = line.split(None, 4)
        rows.append(Row(kind, case, goal if goal == 'best' else float(goal) * 1e6, budget == 'budget', what))
    return rows


class Boot:
    """One boot of a kernel with one program, and the program's output as lists of words."""

    def __init__(self, v, machine, *program, append='', more=()):
        tag = '-'.join([v, machine, *program[0].split('/')[1:], *program[1:]])
        self.name = ' '.join([v, *program])
        guest = Guest(argparse.Namespace(v=v, accel=[]), machine, RESULTS, tag, more)
        in_time = guest.boot(f'{append} vm.exec={SECONDS}:' + ','.join(program), SECONDS)
        self.lines = [line.split() for line in read(guest.verdict).splitlines() if line]
        error = self.of('error')
        if error or not self.of('done'):
            what = ' '.join(error[0]) if error else 'did not finish' if in_time else 'took too long'
            raise HarnessError(f'{self.name}: {what}; console: {os.path.relpath(guest.console)}')

    def of(self, word):
        return [line[1:] for line in self.lines if line[0] == word]


def append_for(kind):
    """hugetlb needs pages reserved at boot; other kinds run without, since the reservation fragments memory."""
    return 'hugepages=520' if kind == 'hugetlb' else ''


class Counts:
    """The results of bench/count.c on one machine."""

    def __init__(self):
        self.counts = {}        # (column, kind, case) -> instructions
        self.kib = {}           # (column, kind) -> KiB that the kernel uses for a GiB
        self.memory = {}        # (column, kind) -> (pages, runs)

    def boot(self, column, machine, kind):
        v, way = column
        boot = Boot(v, machine, '/count', way, kind, append=append_for(kind))
        for case, count in boot.of('count'):
            self.counts[column, kind, case] = int(count)
        for _, kib in boot.of('kib'):
            self.kib[column, kind] = int(kib)
        for _, pages, runs in boot.of('memory'):
            self.memory[column, kind] = (int(pages), int(runs))
        return f'{boot.name}, caching mode {MACHINES[machine]}'


def count_all(jobs, counts):
    """Boot as many VMs at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(counts[machine].boot, column, machine, kind) for machine, column, kind in jobs]
        for i, future in enumerate(futures):
            print(f'  {i + 1:2}/{len(jobs)} {future.result()}', flush=True)


def millions(n):
    return f'{n / 1e6:.3g}' if n < 1e6 else f'{n / 1e6:.2f}' if n < 1e8 else f'{n / 1e6:.1f}'


def verb(name, work):
    """Run work() and exit with its result; an error is printed in one line."""
    try:
        os.makedirs(RESULTS, exist_ok=True)
        sys.exit(work())
    except HarnessError as e:
        print(f'{name}: {e}', file=sys.stderr)
    except OSError as e:
        print(f'{name}: {e.strerror}: {e.filename}', file=sys.stderr)
    sys.exit(5)

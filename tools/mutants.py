"""Mutants: small faults in C code of kernel style, any of which a number switches on in the same kernel.

find() lists the faults of a file by rule; plant() writes all of them into its text. A fault is a range of the text with
a prefix and a suffix, such as `{ if (!MUTANT(7)) ` and ` }`. So line numbers do not change, and faults can nest.

There is no preprocessor and there are no types, only a tokenizer and a parser of statements in kernel style.
Mutants of other code may not compile; tools/mutate leaves these out.
"""
import re
from bisect import bisect_right
from collections import namedtuple

Mutant = namedtuple('Mutant', 'start end before after rule line text')     # {n} in before is its number
Token = namedtuple('Token', 'text start end')
Statement = namedtuple('Statement', 'kind first last body head')    # tokens from first to last; body: statements; head: tokens in parentheses

TOKEN = re.compile(r'''(?P<skip>\s+|/\*.*?\*/|//[^\n]*)|(?P<directive>(?<![^\n])[ \t]*\#(?:[^\n\\]|\\.)*)|
    (?P<word>[A-Za-z_]\w*|\d[\w.]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|
    (?P<sign>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\.\.\.|.)''', re.S | re.X)
OPEN, CLOSE = '([{', ')]}'
ASSIGN = {'=', '+=', '-=', '*=', '/=', '%=', '&=', '|=', '^=', '<<=', '>>='}
TYPES = set('struct enum union const static unsigned signed bool char short int long void u8 u16 u32 u64 s64 size_t ssize_t '
            'loff_t pgoff_t phys_addr_t dma_addr_t gfp_t fmode_t __u32 __u64 typeof'.split())
# Tokens that end the operands of an operator: those that bind less than `||`, `&&`, a comparison
LOOSE = {'?', ':', ',', ';', 'return', 'case', *ASSIGN}
LEVELS = {'||': LOOSE | {'||'}, '&&': LOOSE | {'||', '&&'}, '<': LOOSE | {'||', '&&', '==', '!=', '&', '|', '^'}, '?': LOOSE}

# The rule for a call, by the name of the function; the first match wins
CALLS = [(rule, re.compile(pattern)) for rule, pattern in (
    ('unlock', r'unlock|^up_(read|write)|^downgrade_'),
    ('lock', r'lock|^down_(read|write)'),
    ('unpin', r'unpin|uncharge'),
    ('flush', r'flush|sync|iotlb|^invalidate'),
    ('wake', r'wake|^complete'),
    ('put', r'put|free|release|destroy|drop|erase|del|remove|_dec|unreserve|give_back|abort|unmap|detach|close|exit'),
    ('get', r'get|_inc|hold|add|insert|pin|charge|note'),
    ('call', r''))]
# Calls that only print a message, or whose absence is not visible in a kernel without preemption and debugging
INVISIBLE = re.compile(r'lockdep_|might_|cond_resched|BUILD_BUG|static_assert|pr_|dev_(info|warn|err|dbg)|WARN|rcu_read_|rcu_assign|'
                       r'kunmap_local|LIST_HEAD|mutex_destroy|DEFINE_|DECLARE_|EXPORT_|trace_|barrier|smp_|preempt_|va_|likely|unlikely')


def tokenize(text):
    tokens, at = [], 0
    for m in TOKEN.finditer(text):
        if m.start() != at:
            raise ValueError(f'cannot read at byte {at}')
        at = m.end()
        if m.lastgroup in ('word', 'sign'):
            tokens.append(Token(m[0], m.start(), m.end()))
    return tokens


class Parser:
    """Parses tokens into statements."""

    def __init__(self, tokens):
        self.t = tokens
        self.pair = {}
        stack = []
        for i, token in enumerate(tokens):
            if token.text in OPEN:
                stack.append(i)
            elif token.text in CLOSE:
                if not stack:
                    raise ValueError(f'{token.text} closes nothing')
                j = stack.pop()
                self.pair[i], self.pair[j] = j, i

    def text(self, i):
        return self.t[i].text if i < len(self.t) else ''

    def bodies(self):
        """The tokens `{` that begin the bodies of functions."""
        i = 0
        while i < len(self.t):
            if self.t[i].text == '{':
                if i and self.t[i - 1].text == ')' and not any(self.text(k) == '=' for k in range(self.begin(i), i)):
                    yield i
                i = self.pair[i]
            elif self.t[i].text in OPEN:
                i = self.pair[i]
            i += 1

    def begin(self, i):
        """The first token of the function with the body at i: behind the previous definition."""
        i -= 1
        while i >= 0 and self.t[i].text not in ';}':
            i = self.pair[i] if self.t[i].text in CLOSE else i
            i -= 1
        return i + 1

    def end_of(self, i):
        """The `;` of a plain statement."""
        while self.text(i) != ';':
            if i >= len(self.t) or self.t[i].text in CLOSE:
                raise ValueError('a statement has no end')
            i = self.pair[i] + 1 if self.t[i].text in OPEN else i + 1
        return i

    def block(self, i):
        """Statements from `{` at i to its `}`."""
        end, found = self.pair[i], []
        i += 1
        while i < end:
            s = self.statement(i)
            found.append(s)
            i = s.last + 1
        return found

    def statement(self, i):
        word, nxt = self.text(i), self.text(i + 1)
        if word == '{':
            return Statement('block', i, self.pair[i], self.block(i), None)
        if word in ('if', 'while', 'switch', 'for') or (re.search(r'for_each', word) and nxt == '('):
            close = self.pair[i + 1]
            body = [self.statement(close + 1)]
            if word == 'if' and self.text(body[0].last + 1) == 'else':
                body.append(self.statement(body[0].last + 2))
            kind = word if word in ('if', 'while', 'switch', 'for') else 'each'
            return Statement(kind, i, body[-1].last, body, (i + 2, close))
        if word == 'do':
            body = self.statement(i + 1)
            close = self.pair[body.last + 2]
            return Statement('do', i, close + 1, [body], (body.last + 3, close))
        if word in ('case', 'default'):
            while self.text(i) != ':':
                i += 1
            return Statement('label', i, i, [], None)
        if nxt == ':' and re.match(r'[A-Za-z_]', word):
            return Statement('label', i, i + 1, [], None)
        last = self.end_of(i)
        if word in ('return', 'goto', 'break', 'continue'):
            return Statement(word, i, last, [], None)
        if word in TYPES or re.match(r'[A-Za-z_]\w*$', nxt) or (nxt == '*' and re.match(r'[A-Za-z_*]', self.text(i + 2))):
            return Statement('declaration', i, last, [], None)
        depth, assigns = i, False
        while depth < last:
            assigns |= self.text(depth) in ASSIGN or self.text(depth) in ('++', '--')
            depth = self.pair[depth] + 1 if self.t[depth].text in OPEN else depth + 1
        if assigns:
            return Statement('assign', i, last, [], None)
        if nxt == '(' and self.pair[i + 1] == last - 1:
            return Statement('call', i, last, [], None)
        return Statement('other', i, last, [], None)


class Finder:
    def __init__(self, text):
        self.source = text
        self.p = Parser(tokenize(text))
        self.t = self.p.t
        self.lines = [0] + [m.end() for m in re.finditer('\n', text)]
        self.found = []

    def one_line(self, i, j):
        """The text of tokens i to j without its newlines and comments."""
        text = self.source[self.t[i].start:self.t[j].end]
        return re.sub(r'\s+', ' ', re.sub(r'/\*.*?\*/', ' ', text, flags=re.S))

    def add(self, rule, i, j, before, after, what):
        start, end = self.t[i].start, self.t[j].end
        if '\n#' in self.source[start:end]:
            return
        self.found.append(Mutant(start, end, before, after, rule, bisect_right(self.lines, start), what))

    def instead(self, rule, i, j, other, what):
        self.add(rule, i, j, '(MUTANT({n}) ? (' + escape(other) + ') : (', '))', what)

    def run(self):
        for body in self.p.bodies():
            name = next((self.t[i - 1].text for i in range(self.p.begin(body), body) if self.t[i].text == '('), '')
            returns = self.t[self.p.begin(body)].text
            self.integer = not any(self.t[i].text in ('*', 'void', 'struct') for i in range(self.p.begin(body), body)
                                   if self.t[i].end <= self.source.find('(', self.t[self.p.begin(body)].start))
            self.name = name
            self.block(self.p.block(body))
        return self.found

    def block(self, statements):
        for a, b in zip(statements, statements[1:]):
            self.swap(a, b)
        for s in statements:
            self.visit(s)

    # statements

    def callee(self, s):
        return self.t[s.first].text

    def drop(self, rule, s):
        self.add(rule, s.first, s.last, '{{ if (!MUTANT({n})) ', ' }}', 'drop: ' + self.one_line(s.first, s.last))

    def visit(self, s):
        p = self.p
        if s.kind == 'block':
            self.block(s.body)
        elif s.kind == 'if':
            self.condition(s)
        elif s.kind in ('while', 'do'):
            self.expression(*s.head)
        elif s.kind == 'for':
            at = s.head[0]
            for part in range(3):
                end = at
                while end < s.head[1] and self.t[end].text != ';':
                    end = p.pair[end] + 1 if self.t[end].text in OPEN else end + 1
                self.expression(at, end)
                at = end + 1
        elif s.kind == 'call':
            if not INVISIBLE.match(self.callee(s)):
                self.drop(next(rule for rule, pattern in CALLS if pattern.search(self.callee(s))), s)
            self.expression(s.first, s.last)
        elif s.kind == 'assign':
            self.assignment(s)
            self.expression(s.first, s.last)
        elif s.kind == 'declaration':
            if self.callee(s) != 'static':
                self.expression(s.first, s.last)
        elif s.kind == 'return':
            self.result(s)
            self.expression(s.first + 1, s.last)
        elif s.kind == 'other':
            self.expression(s.first, s.last)
        if s.kind not in ('block',):
            for inner in s.body:
                self.visit(inner)

    def leaves(self, s):
        """Does a statement leave the block, or set an error?"""
        last = s.body[-1] if s.kind == 'block' and s.body else s
        if last.kind in ('return', 'goto', 'break', 'continue'):
            return True
        return last.kind == 'assign' and re.search(r'= (-E|ERR_|PTR_ERR)', self.one_line(last.first, last.last))

    def condition(self, s):
        i, j = s.head
        text = self.one_line(i, j - 1)
        if len(s.body) == 2:
            self.add('negate', i, j - 1, '(MUTANT({n}) ^ !!(', '))', f'negate: if ({text})')
        else:
            rule = 'check' if self.leaves(s.body[0]) else 'never'
            self.add(rule, i, j - 1, '(!MUTANT({n}) && (', '))', f'never: if ({text})')
            if rule == 'never':
                self.add('always', i, j - 1, '(MUTANT({n}) || (', '))', f'always: if ({text})')
        self.expression(i, j)

    def assignment(self, s):
        text = self.one_line(s.first, s.last)
        ops = [k for k in range(s.first, s.last) if self.t[k].text in ASSIGN]
        op = ops[0] if ops else None
        if op and self.t[op].text in ('|=', '&='):
            left, right = self.one_line(s.first, op - 1), self.one_line(op + 1, s.last - 1)
            self.add('last', s.first, s.last, '{{ if (MUTANT({n})) ' + escape(f'{left} = {right};') + ' else ', ' }}',
                     f'only the last counts: {text}')
        error = re.search(r'= (-E[A-Z]+|ERR_PTR\(|PTR_ERR\()', text)
        if m := re.match(r'(\w+) = (?!-E).*\(', text):
            # Without the assignment the variable is not initialised, which is found at once and shows nothing
            if m[1] in ('ret', 'rc', 'err') and not error:
                self.add('call', s.first, s.last, '{{ if (MUTANT({n})) ' + m[1] + ' = 0; else ', ' }}', f'{m[1]} = 0 for: {text}')
                return
            if not error:
                return
        self.drop('error' if error else 'assign', s)

    def result(self, s):
        text = self.one_line(s.first, s.last)
        if re.fullmatch(r'return (-E[A-Z]+|ret|rc|err) ?;', text) and self.integer:
            self.instead('return0', s.first + 1, s.last - 1, '0', f'return 0 for: {text}')
        elif re.fullmatch(r'return (true|false) ?;', text):
            self.add('bool', s.first + 1, s.last - 1, '(MUTANT({n}) ^ ', ')', f'the opposite: {text}')

    def swap(self, a, b):
        if not {a.kind, b.kind} <= {'call', 'assign'} or 'call' not in (a.kind, b.kind):
            return
        if any(s.kind == 'call' and INVISIBLE.match(self.callee(s)) for s in (a, b)):
            return
        words = [{self.t[k].text for k in range(s.first, s.last) if re.match('[a-z_]', self.t[k].text)} for s in (a, b)]
        if not words[0] & words[1]:
            return
        one, two = self.one_line(a.first, a.last), self.one_line(b.first, b.last)
        self.add('swap', a.first, b.last, '{{ if (MUTANT({n})) {{ ' + escape(f'{two} {one}') + ' }} else {{ ', ' }} }}',
                 f'swap: {one} {two}')

    # expressions: tokens from i to before j

    def edges(self, k, i, j, level):
        """The first and the last token of the operands of the operator at k."""
        left, right = k, k
        while left > i and self.t[left - 1].text not in LEVELS[level] and self.t[left - 1].text not in OPEN:
            left = self.p.pair[left - 1] if self.t[left - 1].text in CLOSE else left - 1
        while right + 1 < j and self.t[right + 1].text not in LEVELS[level] and self.t[right + 1].text not in CLOSE:
            right = self.p.pair[right + 1] if self.t[right + 1].text in OPEN else right + 1
        return left, right

    def expression(self, i, j):
        chains = set()
        for k in range(i, j):
            op = self.t[k].text
            if op in ('<', '>', '<=', '>='):
                left, right = self.edges(k, i, j, '<')
                if left < k < right:
                    other = op[0] if len(op) == 2 else op + '='
                    what = self.one_line(left, right)
                    self.instead('bound', left, right, f'{self.one_line(left, k - 1)} {other} {self.one_line(k + 1, right)}',
                                 f'{other} for {op}: {what}')
            elif op in ('||', '&&'):
                self.operands(k, i, j, op, chains)
            elif op == '?' and self.t[k + 1].text != ':':
                left = self.edges(k, i, j, '?')[0]
                colon, right = self.arms(k, j)
                if colon:
                    other = f'!({self.one_line(left, k - 1)}) ? {self.one_line(k + 1, colon - 1)} : {self.one_line(colon + 1, right)}'
                    self.instead('ternary', left, right, other, 'the other: ' + self.one_line(left, right))
            elif op in ('min', 'max', 'min_t', 'max_t') and self.t[k + 1].text == '(':
                args = self.arguments(k + 1)[-2:]
                for keep, (a, b) in zip(('first', 'second'), args):
                    self.instead('last', k, self.p.pair[k + 1], self.one_line(a, b),
                                 f'only the {keep} counts: ' + self.one_line(k, self.p.pair[k + 1]))
            elif op == '1' and k > i and self.t[k - 1].text in ('+', '-') and self.text(k + 1) != '<<':
                if k - 1 > i and (re.match(r'\w', self.t[k - 2].text) or self.t[k - 2].text in ')]') and self.t[k - 2].text != 'return':
                    self.add('one', k, k, '(', ' - MUTANT({n}))', f'no {self.t[k - 1].text} 1: ' + self.around(k))
            elif op == '|' and re.match(r'[A-Z]\w*$', self.text(k + 1)) and self.text(k + 2) not in '(':
                self.flag(k + 1)
            if op == '|' and k > i and re.match(r'[A-Z]\w*$', self.t[k - 1].text) and self.t[k - 2].text != '|':
                self.flag(k - 1)

    def text(self, i):
        return self.p.text(i)

    def around(self, k):
        """The line that a token is in."""
        n = bisect_right(self.lines, self.t[k].start)
        return self.source[self.lines[n - 1]:self.source.find('\n', self.t[k].start)].strip()

    def flag(self, k):
        self.instead('flag', k, k, '0', f'without {self.t[k].text}: ' + self.around(k))

    def operands(self, k, i, j, op, chains):
        left, right = self.edges(k, i, j, op)
        for a, b in ((left, k - 1), (k + 1, right)):
            if (a, b) in chains or b < a:
                continue
            chains.add((a, b))
            text = self.one_line(a, b)
            if op == '||':
                self.add('operand', a, b, '(!MUTANT({n}) && (', '))', f'without || {text}')
            else:
                self.add('operand', a, b, '(MUTANT({n}) || (', '))', f'without && {text}')

    def arms(self, k, j):
        """The colon and the last token of `? a : b`."""
        depth, colon, at = 0, None, k + 1
        while at < j:
            text = self.t[at].text
            if text == '?':
                depth += 1
            elif text == ':' and depth:
                depth -= 1
            elif text == ':':
                if colon:
                    break
                colon = at
            elif text in CLOSE or text in (',', ';'):
                break
            at = self.p.pair[at] + 1 if text in OPEN else at + 1
        return colon, at - 1

    def arguments(self, i):
        """The first and the last token of each argument in `(a, b)` at i."""
        end, found, at, first = self.p.pair[i], [], i + 1, i + 1
        while at < end:
            if self.t[at].text == ',':
                found.append((first, at - 1))
                first = at + 1
            at = self.p.pair[at] + 1 if self.t[at].text in OPEN else at + 1
        return found + [(first, end - 1)]


def escape(text):
    return text.replace('{', '{{').replace('}', '}}')


def find(text):
    """All mutants of a file, in the order of their lines."""
    return sorted(Finder(text).run(), key=lambda m: (m.start, -m.end, m.rule, m.text))


def function_of(text, mutant):
    """The name of the function that the mutant is in."""
    return re.findall(r'^\w[^;{}]*?(\w+)\([^;{}]*\)\n\{', text[:mutant.start], re.M)[-1]


def plant(text, chosen):
    """Write the mutants {number: Mutant} into the text; return it, and the numbers left out since they overlap with others."""
    kept, left_out, stack = [], [], []
    for n, m in sorted(chosen.items(), key=lambda item: (item[1].start, -item[1].end, item[0])):
        while stack and stack[-1].end <= m.start:
            stack.pop()
        if stack and m.end > stack[-1].end:
            left_out.append(n)
            continue
        stack.append(m)
        kept.append((n, m))
    inserts = []        # (where, order, depth, text): ends before starts, inner ends first, outer starts first
    for depth, (n, m) in enumerate(kept):
        inserts.append((m.start, 1, depth, m.before.format(n=n)))
        inserts.append((m.end, 0, -depth, m.after.format(n=n)))
    out, at = [], 0
    for where, _, _, what in sorted(inserts):
        out += [text[at:where], what]
        at = where
    return ''.join(out) + text[at:], left_out

"""Reading GBNF, the notation of llama.cpp's grammars (grammars/README.md there), without its token literals.

Takes what llama.cpp's own parser takes, says where it stopped, and refuses what that one would misread in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from lmlab.errors import ConstraintError

MAX_REPEATS = 2000
"""llama.cpp refuses to repeat more often, and takes a larger upper bound for none at all."""

MAX_ELEMENTS = 200_000
MAX_NESTING = 64

CHARACTER = -1
_ESCAPES = {"t": 9, "r": 13, "n": 10, "\\": 92, '"': 34, "[": 91, "]": 93, "-": 45}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_DIGITS = frozenset("0123456789")


@dataclass(slots=True)
class Rules:
    """Rules by number, as llama.cpp makes them: a sequence is of rule numbers, and of CHARACTER for what reads a character."""

    names: dict[str, int] = field(default_factory=dict)
    count: int = 0
    owners: dict[int, str] = field(default_factory=dict)
    used_at: dict[int, str] = field(default_factory=dict)
    defined: dict[int, list[list[int]]] = field(default_factory=dict)
    elements: int = 0

    def named(self, name: str) -> int:
        if name not in self.names:
            self.names[name] = self.new(name)
        return self.names[name]

    def new(self, owner: str) -> int:
        self.owners[self.count] = owner
        self.count += 1
        return self.count - 1


class GbnfReader:
    """A parser that takes what llama.cpp's takes, and remembers where it is."""

    def __init__(self, text: str) -> None:
        # The end mark cannot be in the text: there it would end llama.cpp's reading too.
        self._text = text + "\0"
        self._at = 0
        self._rules = Rules()
        self._nesting = 0
        if "\0" in text:
            self._refuse("a NUL character cannot stand in a grammar", text.index("\0"))

    def read(self) -> Rules:
        self._skip(newlines=True)
        while self._here != "\0":
            self._rule()
        rules = self._rules
        for name, number in rules.names.items():
            if number not in rules.defined:
                raise ConstraintError(f"grammar, {rules.used_at[number]}: there is no rule called {name!r}")
        if "root" not in rules.names:
            raise ConstraintError("the grammar has no rule called root: a reply begins there")
        return rules

    @property
    def _here(self) -> str:
        return self._text[self._at]

    def _place(self, at: int) -> str:
        before = self._text[:at]
        return f"line {before.count(chr(10)) + 1}, column {at - before.rfind(chr(10))}"

    def _refuse(self, why: str, at: int | None = None) -> NoReturn:
        raise ConstraintError(f"grammar, {self._place(self._at if at is None else at)}: {why}")

    def _skip(self, *, newlines: bool) -> None:
        blanks = " \t\r\n" if newlines else " \t"
        while True:
            if self._here == "#":
                while self._here not in "\r\n\0":
                    self._at += 1
            elif self._here in blanks:
                self._at += 1
            else:
                return

    def _name(self) -> str:
        begin = self._at
        while self._here in _NAME_LETTERS:
            self._at += 1
        if self._at == begin:
            self._refuse("a rule's name is expected (letters, digits and -)")
        return self._text[begin : self._at]

    def _rule(self) -> None:
        begin = self._at
        name = self._name()
        number = self._rules.named(name)
        if number in self._rules.defined:
            self._refuse(f"there are two rules called {name!r}", begin)
        self._skip(newlines=False)
        if not self._text.startswith("::=", self._at):
            self._refuse("::= is expected")
        self._at += 3
        self._skip(newlines=True)
        self._rules.defined[number] = self._alternatives(name, nested=False)
        if self._here not in "\r\n\0":
            self._refuse("a new line is expected after the rule")
        self._skip(newlines=True)

    def _alternatives(self, owner: str, *, nested: bool) -> list[list[int]]:
        found = [self._sequence(owner, nested=nested)]
        while self._here == "|":
            self._at += 1
            self._skip(newlines=True)
            found.append(self._sequence(owner, nested=nested))
        self._spend(len(found))
        return found

    def _sequence(self, owner: str, *, nested: bool) -> list[int]:
        sequence: list[int] = []
        # The last item, its elements in llama.cpp's count, and how many rules it takes to repeat it once.
        item: list[int] = []
        elements, weight, repeatable = 0, 1, False
        while True:
            if self._here in "*+?{":
                if not repeatable:
                    self._refuse("there is nothing before it to repeat")
                at = self._at
                least, most = self._repetition(nested=nested)
                weight *= most or least or 1
                if weight > MAX_REPEATS:
                    self._refuse(f"repeated that often it takes {weight:,} rules; {MAX_REPEATS:,} are possible", at)
                self._spend(elements * max(least - 1, 0) + (elements + 2) * (1 if most is None else most - least))
                repeated = self._repeat(item, least, most, owner)
                sequence[len(sequence) - len(item) :] = repeated
                item, elements, repeatable = repeated, elements * max(least, 1) + 1, bool(repeated)
                continue
            if self._here == "(":
                before = self._rules.count
                item, elements = [self._group(owner)], 1
                weight = max(1, self._rules.count - before)
            elif (read := self._terminal()) is not None:
                item, elements, weight = *read, 1
            else:
                return sequence
            repeatable = bool(item)
            self._spend(elements)
            sequence += item
            self._skip(newlines=nested)

    def _terminal(self) -> tuple[list[int], int] | None:
        """Read a literal, a class, a dot or a rule's name: its sequence, and its elements. None where none begins."""
        at = self._at
        if self._here == '"':
            length = self._literal()
            return [CHARACTER] * length, length
        if self._here == "[":
            return [CHARACTER], self._class()
        if self._here == ".":
            self._at += 1
            return [CHARACTER], 1
        if self._here in "<!":
            self._refuse("a token cannot be named here: spell the text that is wanted")
        if self._here in _NAME_LETTERS:
            number = self._rules.named(self._name())
            self._rules.used_at.setdefault(number, self._place(at))
            return [number], 1
        return None

    def _group(self, owner: str) -> int:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            self._refuse(f"parentheses are nested more than {MAX_NESTING} deep: give the inner part a rule of its own")
        opened = self._at
        self._at += 1
        self._skip(newlines=True)
        number = self._rules.new(owner)
        self._rules.defined[number] = self._alternatives(owner, nested=True)
        if self._here != ")":
            self._refuse("a ) is missing" if self._here != "\0" else "the ( is never closed", opened)
        self._at += 1
        self._nesting -= 1
        return number

    def _literal(self) -> int:
        opened = self._at
        self._at += 1
        length = 0
        while self._here != '"':
            self._character("the text is never closed", opened)
            length += 1
        self._at += 1
        return length

    def _class(self) -> int:
        opened = self._at
        self._at += 2 if self._text[self._at + 1] == "^" else 1
        elements = 0
        while self._here != "]":
            at = self._at
            low = self._character("the [ is never closed", opened)
            elements += 1
            if self._here == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                high = self._character("the [ is never closed", opened)
                elements += 1
                if high < low:
                    self._refuse("the range is empty: its end comes before its beginning", at)
        if not elements:
            self._refuse("the class holds no character; . is any character", opened)
        self._at += 1
        return elements

    def _character(self, unclosed: str, opened: int) -> int:
        at = self._at
        if self._here == "\0":
            self._refuse(unclosed, opened)
        if self._here != "\\":
            self._at += 1
            return ord(self._text[at])
        kind = self._text[at + 1]
        if kind in _ESCAPES:
            self._at += 2
            return _ESCAPES[kind]
        digits = self._text[at + 2 : at + 2 + _HEX_DIGITS.get(kind, 0)]
        if not digits or len(digits) < _HEX_DIGITS[kind] or set(digits) - set("0123456789abcdefABCDEF"):
            self._refuse('an escape is one of \\n \\r \\t \\\\ \\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH')
        self._at += 2 + len(digits)
        return int(digits, 16)

    def _repetition(self, *, nested: bool) -> tuple[int, int | None]:
        at, mark = self._at, self._here
        self._at += 1
        self._skip(newlines=nested)
        if mark != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[mark]
        least = self._number(nested=nested)
        most: int | None = least
        if self._here == ",":
            self._at += 1
            self._skip(newlines=nested)
            most = self._number(nested=nested) if self._here in _DIGITS else None
        if self._here != "}":
            self._refuse("a } is expected")
        self._at += 1
        self._skip(newlines=nested)
        if most is not None and most < least:
            self._refuse(f"at least {least:,} and at most {most:,} times is never", at)
        if max(least, most or 0) > MAX_REPEATS:
            self._refuse(f"nothing can be repeated more than {MAX_REPEATS:,} times: leave the upper bound open", at)
        return least, most

    def _number(self, *, nested: bool) -> int:
        begin = self._at
        while self._here in _DIGITS:
            self._at += 1
        if self._at == begin:
            self._refuse("a number is expected")
        # Python refuses to read numbers of thousands of digits; these are all too large alike.
        value = int(self._text[begin : self._at][:20])
        self._skip(newlines=nested)
        return value

    def _repeat(self, item: list[int], least: int, most: int | None, owner: str) -> list[int]:
        repeated = item * least
        if most is None:
            number = self._rules.new(owner)
            self._rules.defined[number] = [[*item, number], []]
            return [*repeated, number]
        previous: list[int] = []
        for _ in range(most - least):
            number = self._rules.new(owner)
            self._rules.defined[number] = [[*item, *previous], []]
            previous = [number]
        return repeated + previous

    def _spend(self, elements: int) -> None:
        self._rules.elements += elements
        if self._rules.elements > MAX_ELEMENTS:
            self._refuse(
                f"the grammar grows beyond {MAX_ELEMENTS:,} characters and rules: repeat less, or shorter parts"
            )

"""Regular expressions of JSON Schema as GBNF: the part of ECMA-262 that a grammar can follow; the rest is refused."""

from __future__ import annotations

from typing import NoReturn

from lmlab.errors import ConstraintError
from lmlab.gbnf import check_gbnf
from lmlab.worker.constraint_text import PLAIN, SHARED_RULES, Ranges, character_class, intersect, literal, without

_ANY: Ranges = [(0, 0x10FFFF)]
_LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
_DIGITS: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)]
_SPACE += [(0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
_SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B, "0": 0}
_ESCAPED_IN_JSON = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0A: "n", 0x0C: "f", 0x0D: "r", 0x09: "t"}
_MAX_NESTING = 50


def pattern_rules(pattern: str, name: str) -> dict[str, str]:
    """Return rules, ``name`` the first, for what a JSON string that matches ``pattern`` holds. Raises ConstraintError.

    As JSON Schema has it, the pattern is sought anywhere in the text unless ``^`` and ``$`` hold it to the ends.
    """
    rules = _Pattern(pattern, name).read()
    shared = [f"{shared} ::= {SHARED_RULES[shared]}" for shared in ("char",)]
    check_gbnf("\n".join([f"root ::= {name}", *(f"{rule} ::= {body}" for rule, body in rules.items()), *shared]))
    return rules


class _Pattern:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._at = 0
        self._name = name
        self._rules: dict[str, str] = {name: ""}
        self._nesting = 0
        self._ended = False

    def read(self) -> dict[str, str]:
        begun = self._take("^")
        body, alternatives = self._alternatives()
        if self._at < len(self._text):
            self._refuse("a ) has no (")
        if alternatives > 1 and (begun or self._ended):
            raise ConstraintError("^ and $ hold only the alternative they stand in: write ^(a|b)$")
        parts = ["" if begun else "char*", f"({body})" if body else "", "" if self._ended else "char*"]
        self._rules[self._name] = " ".join(part for part in parts if part) or '""'
        return self._rules

    def _refuse(self, why: str) -> NoReturn:
        raise ConstraintError(f"at character {self._at + 1} of the pattern: {why}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _alternatives(self) -> tuple[str, int]:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return " | ".join(part or '""' for part in found) if len(found) > 1 else found[0], len(found)

    def _sequence(self) -> str:
        parts = []
        while (here := self._peek()) and here not in "|)":
            if here == "$" and self._at == len(self._text) - 1 and not self._nesting:
                self._at += 1
                self._ended = True
                break
            parts.append(self._atom() + self._quantifier())
        return " ".join(parts)

    def _atom(self) -> str:
        here = self._peek()
        if here == "(":
            return self._group()
        if here == "[":
            return self._spelled(self._class())
        if self._take("."):
            return self._spelled(without(_ANY, _LINE_ENDS))
        if here in "^$":
            self._refuse(f"{here} is possible only at the {'beginning' if here == '^' else 'end'} of the pattern")
        if here in "*+?{}]":
            self._refuse(f"{here} has nothing before it; for the character itself write \\{here}")
        if here == "\\":
            return self._spelled(self._escape())
        self._at += 1
        return self._spelled([(ord(here), ord(here))])

    def _group(self) -> str:
        self._at += 1
        if not self._take("?:") and self._peek() == "?":
            self._refuse("looking ahead or back, and named groups, are not supported")
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            self._refuse(f"groups are nested more than {_MAX_NESTING} deep")
        name = f"{self._name}-{len(self._rules)}"
        self._rules[name] = ""
        body, _ = self._alternatives()
        if not self._take(")"):
            self._refuse("a ) is missing")
        self._nesting -= 1
        # A rule of its own: repeated, it counts once.
        self._rules[name] = body or '""'
        return name

    def _quantifier(self) -> str:
        for mark in "*+?":
            if self._take(mark):
                self._take("?")
                return mark
        if self._peek() != "{":
            return ""
        end = self._text.find("}", self._at)
        bounds = self._text[self._at + 1 : end] if end > 0 else ""
        least, comma, most = bounds.partition(",")
        if not (least.isascii() and least.isdecimal() and (not most or (most.isascii() and most.isdecimal()))):
            self._refuse("{ must be {2}, {2,} or {2,5}; for the character itself write \\{")
        self._at = end + 1
        self._take("?")
        return f"{{{least}{comma}{most}}}"

    def _class(self) -> Ranges:
        self._at += 1
        negated = self._take("^")
        found: Ranges = []
        while not self._take("]"):
            low = self._class_item()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_item()
                if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                    self._refuse("a range goes from one character to a later one")
                low = [(low[0][0], high[0][1])]
            found += low
        return without(_ANY, found) if negated else found

    def _class_item(self) -> Ranges:
        here = self._peek()
        if not here:
            self._refuse("a ] is missing")
        if here == "\\":
            return self._escape()
        self._at += 1
        return [(ord(here), ord(here))]

    def _escape(self) -> Ranges:
        kind = self._text[self._at + 1 : self._at + 2]
        digits = {"x": 2, "u": 4}.get(kind, 0)
        code = self._text[self._at + 2 : self._at + 2 + digits]
        if digits and len(code) == digits and not set(code.lower()) - set("0123456789abcdef"):
            self._at += 2 + digits
            return [(int(code, 16), int(code, 16))]
        if kind and kind.lower() in _SETS:
            self._at += 2
            found = _SETS[kind.lower()]
            return without(_ANY, found) if kind.isupper() else found
        if kind in _CONTROLS and not self._text[self._at + 2 : self._at + 3].isdecimal():
            self._at += 2
            return [(_CONTROLS[kind], _CONTROLS[kind])]
        if kind.isalnum() or kind in ("", "_"):
            self._refuse(f"\\{kind} is not supported")
        self._at += 2
        return [(ord(kind), ord(kind))]

    def _spelled(self, wanted: Ranges) -> str:
        """Return GBNF for one of the characters ``wanted`` as a JSON string spells it."""
        parts = []
        if plain := intersect(wanted, PLAIN):
            parts.append(character_class(plain))
        for point, letter in _ESCAPED_IN_JSON.items():
            if any(low <= point <= high for low, high in wanted):
                parts.append(literal("\\" + letter))
        if not parts:
            self._refuse("before here stands a character that no reply can contain")
        return parts[0] if len(parts) == 1 and parts[0][0] == "[" else f"({' | '.join(parts)})"

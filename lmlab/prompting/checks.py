"""How an answer is compared with the one that was expected. Knows nothing of where either comes from."""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Check: TypeAlias = Literal["exact", "number", "contains", "mentions", "set", "json", "overlap", "python"]

_QUOTES = "\"'`*“”„‘’‚«»‹› "
_CLOSING = ".,;:!?。！？、 "
_BULLETS = "[](){}-•* "
_ARTICLES = frozenset({"a", "an", "the"})
_OVERLAP = 0.5
# Scripts that put no space between words: there a word has no edge to look for.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_CURRENCY = str.maketrans("", "", "$€£¥₹")
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+]?)\s?(?:(?P<whole>\d+)\s)?(?:(?P<over>\d+)/(?P<under>\d+)"
    r"|(?P<plain>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?P<power>[eE][-+]?\d{1,3})?)(?P<percent>\s?%)?(?![\d/])"
)


def check_answer(check: Check, answer: str, expected: str) -> bool:
    """Return whether ``answer`` is as ``expected``, in the manner of ``check``."""
    return _CHECKS[check](answer, expected)


def fold(text: str) -> str:
    """Return ``text`` without what does not matter: case, white space, quotes around it, punctuation at its end."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    folded, before = plain, ""
    while folded != before:
        before, folded = folded, folded.strip(_QUOTES).rstrip(_CLOSING)
    return folded or plain


def _contains(answer: str, expected: str) -> bool:
    """Whether the words of ``expected`` are in ``answer``, as whole words: 7 is not in 17."""
    wanted, text = fold(expected), fold(answer)
    if not wanted:
        return False
    before = r"(?<!\w)" if _is_word(wanted[0]) else ""
    after = r"(?!\w)" if _is_word(wanted[-1]) else ""
    return re.search(before + re.escape(wanted) + after, text) is not None


def _is_word(character: str) -> bool:
    return character.isalnum() and not _UNSPACED.match(character)


def _items(text: str) -> list[str]:
    parts = (fold(part.strip(_BULLETS)) for part in re.split(r"[,\n]", text))
    return [part for part in parts if part]


def _mentions(answer: str, expected: str) -> bool:
    items = _items(expected)
    return bool(items) and all(_contains(answer, item) for item in items)


def _same_set(answer: str, expected: str) -> bool:
    items = set(_items(expected))
    return bool(items) and items == set(_items(answer))


def _same_number(answer: str, expected: str) -> bool:
    found, wanted = _number(answer), _number(expected)
    if found is None or wanted is None:
        return False
    (value, percent), (other, other_percent) = found, wanted
    if percent == other_percent:
        return _close(value, other)
    # 50% may be meant as 50 or as 0.5 when only one of the two has the sign.
    signed, bare = (value, other) if percent else (other, value)
    return _close(signed, bare) or _close(signed / 100, bare)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)


def _number(text: str) -> tuple[float, bool] | None:
    """Return the one number in ``text`` and whether it is a percentage; None when there is none, or more than one."""
    plain = unicodedata.normalize("NFKC", text).replace("⁄", "/").replace("−", "-").translate(_CURRENCY)
    found = list(_NUMBER.finditer(plain))
    if len(found) != 1 or sum(character.isdigit() for character in plain) != sum(map(str.isdigit, found[0].group())):
        return None
    match = found[0]
    try:
        if match["under"]:
            value = int(match["over"]) / int(match["under"]) + int(match["whole"] or 0)
        elif match["whole"]:
            return None
        else:
            value = float(match["plain"].replace(",", "") + (match["power"] or ""))
    except (ArithmeticError, ValueError):
        return None
    if not math.isfinite(value):
        return None
    return (-value if match["sign"] == "-" else value), match["percent"] is not None


def _same_json(answer: str, expected: str) -> bool:
    try:
        return _same(_json(answer), _json(expected))
    except (ValueError, RecursionError):
        return False


def _json(text: str) -> Any:
    """Raises ValueError, or RecursionError for what is nested too deeply."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(unfenced(text))


def _same(one: Any, other: Any) -> bool:
    # In Python True == 1, in JSON it is not.
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _overlaps(answer: str, expected: str) -> bool:
    """Whether the words of both overlap enough: the F1 over words of SQuAD."""
    found, wanted = _words(answer), _words(expected)
    common = (Counter(found) & Counter(wanted)).total()
    return common > 0 and 2 * common / (len(found) + len(wanted)) >= _OVERLAP


def _words(text: str) -> list[str]:
    spaced = _UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(character for character in spaced if not unicodedata.category(character).startswith("P"))
    return [word for word in kept.split() if word not in _ARTICLES]


def _is_python(answer: str, expected: str) -> bool:
    """Whether it is Python, and holds ``expected`` if anything is."""
    code = unfenced(answer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(tree.body) and expected.strip() in code


def unfenced(text: str) -> str:
    """Return what stands in the last ``` fence of ``text``, or ``text`` when it has none."""
    fences = _FENCE.findall(text)
    return fences[-1] if fences else text


_CHECKS: dict[Check, Callable[[str, str], bool]] = {
    "exact": lambda answer, expected: fold(answer) == fold(expected) != "",
    "number": _same_number,
    "contains": _contains,
    "mentions": _mentions,
    "set": _same_set,
    "json": _same_json,
    "overlap": _overlaps,
    "python": _is_python,
}

"""What is wrong with a key of the front matter, in words for whoever wrote the file. Knows nothing of the body."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from lmlab.prompting.checks import Check
from lmlab.prompting.template import KEYS, Answer, Input, PromptTemplate, Style, Technique
from lmlab.sampling import SamplingParams
from lmlab.terminal_text import one_line

_SHOWN = 40
_SAMPLING = tuple(sorted(field.name for field in fields(SamplingParams)))
_WORDS: dict[str, tuple[str, ...]] = {
    "technique": get_args(Technique),
    "style": get_args(Style),
    "check": get_args(Check),
}
_SHAPES = {
    "inputs": "write each on a line of its own with a colon, such as text: {}",
    "examples": "write a list, each example beginning with - and on lines of its own",
    "stop": 'write a list of texts, such as ["\\n\\n"]',
    "answer": "write keys and values, such as {check: exact}",
}


def explain(problem: ErrorDetails) -> str:
    """Return the problem as one line, without the file's line."""
    where, kind = problem["loc"], problem["type"]
    if kind == "extra_forbidden":
        holder: type[BaseModel] = PromptTemplate if len(where) == 1 else Answer if where[0] == "answer" else Input
        known = [key for key in holder.model_fields if holder is not PromptTemplate or key in KEYS]
        return f"unknown key {'.'.join(map(str, where))!r}: {_near(str(where[-1]), known)}"
    label = _label(where)
    if kind == "missing":
        return f"{label} is missing"
    return f"{label}: {_what_to_do(problem)}"


def _what_to_do(problem: ErrorDetails) -> str:
    where, kind, value = problem["loc"], problem["type"], problem["input"]
    key = str(where[-1])
    if kind in ("value_error", "assertion_error"):
        return problem["msg"].removeprefix("Value error, ")
    if kind == "string_type":
        if isinstance(value, (list, dict)) or value is None:
            return "give a text"
        return f"give a text: put it in quotes, {json.dumps(one_line(_as_typed(value), _SHOWN), ensure_ascii=False)}"
    if kind == "literal_error" and key in _WORDS:
        given = f"{one_line(_as_typed(value), _SHOWN)!r} is none of them"
        return f"{given}: {_near(str(value), _WORDS[key])}"
    if kind == "string_pattern_mismatch":
        if key == "name":
            return f"{one_line(value, _SHOWN)!r} has characters that no name may have: {_name_hint(value)}"
        return "it is empty: write a sentence, or leave the key out"
    if kind.startswith("bool"):
        return "give true or false"
    if kind.startswith(("int", "greater_than")):
        return "give a whole number from 1"
    if len(where) == 1 and key in _SHAPES:
        return _SHAPES[key]
    if where[0] == "inputs":
        return "write keys and values, such as {required: false, default: none}"
    if where[0] == "examples":
        return "write keys and values: the inputs, and the answer"
    return problem["msg"][:1].lower() + problem["msg"][1:]


def unknown_sampling(values: object) -> Iterable[tuple[str, str]]:
    """Yield each key of ``sampling`` that there is not, and what to say of it."""
    for key in values if isinstance(values, dict) else ():
        if key not in _SAMPLING:
            yield str(key), f"unknown sampling parameter {key!r}: {_near(str(key), _SAMPLING)}"


def _near(typed: str, known: Collection[str]) -> str:
    plain = typed.replace("-", "_") if not set(known) & {typed} else typed
    begins = [word for word in known if len(typed) > 2 and word.startswith(plain)]
    near = begins[:1] or get_close_matches(plain, known, n=1) or get_close_matches(typed, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _name_hint(name: str) -> str:
    mended = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in name.lower()).split())
    return f"use small letters, digits and hyphens{f', such as {mended}' if mended else ''}"


def _as_typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _label(where: tuple[str | int, ...]) -> str:
    """Return where it is as a person counts: ``example 1, answer``."""
    first, *rest = where
    words: list[str] = [f"{first}"]
    if first == "examples" and rest:
        words = [f"example {int(rest.pop(0)) + 1}"]
    elif first == "inputs" and rest:
        words = [f"input {rest.pop(0)!r}"]
    elif first == "stop" and rest:
        words = [f"stop text {int(rest.pop(0)) + 1}"]
    return ", ".join([*words, *map(str, rest)])

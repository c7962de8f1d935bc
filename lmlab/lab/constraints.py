"""Grammars and schemas as a person names them, read and checked. Knows nothing of how a reply is held to them."""

from __future__ import annotations

import json
from dataclasses import replace

from lmlab.backends import Constraint, Event, Failed
from lmlab.errors import ConstraintError, UsageError
from lmlab.settings import expanded

_LIMIT = 2**20


def read_grammar(name: str, file: str, *, at_once: bool = False) -> Constraint:
    """Return the GBNF grammar in ``file``. Raises UsageError, for a grammar that no reply can be held to too; ``name`` is
    what it calls the option.

    ``at_once`` refuses what may have to be waited for, such as a pipe.
    """
    if not file.strip():
        raise UsageError(f"{name}: no file is named: give one with a GBNF grammar in it")
    return _checked(name, Constraint("gbnf", _read(name, file, at_once)))


def read_schema(name: str, typed: str, *, at_once: bool = False) -> Constraint:
    """Return the JSON Schema that is in a file, or that was typed itself. Raises UsageError as ``read_grammar``."""
    typed = typed.strip()
    if not typed:
        raise UsageError(f"{name}: nothing is given: name a file with a JSON Schema in it, or give the schema itself")
    # A schema is an object, or true or false.
    text = typed if typed.startswith("{") or typed in ("true", "false") else _read(name, typed, at_once)
    try:
        json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name}: this is no JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{name}: this JSON is nested too deeply to be read") from None
    return _checked(name, Constraint("json-schema", text))


def called(constraint: Constraint) -> str:
    """Return what a person calls it."""
    return "grammar" if constraint.kind == "gbnf" else "schema"


def with_a_way_out(event: Event, constraint: Constraint | None) -> Event:
    """Return ``event``; when no reply can be held to a chat's ``constraint``, it says how to get rid of that."""
    if not isinstance(event, Failed) or not isinstance(event.error, ConstraintError):
        return event
    command = "" if constraint is None else f"; /{called(constraint)} FILE gives another, /{called(constraint)} - none"
    return replace(event, error=ConstraintError(f"{event.error}{command}"))


def _checked(name: str, constraint: Constraint) -> Constraint:
    # Imported here: few replies are held to anything.
    from lmlab.worker.constraint import compile_constraint

    try:
        compile_constraint(constraint)
    except ConstraintError as error:
        raise ConstraintError(f"{name}: {error}") from None
    return constraint


def _read(name: str, file: str, at_once: bool) -> str:
    path = expanded(file)
    try:
        if at_once and path.exists() and not (path.is_file() or path.is_dir()):
            raise UsageError(f"{name} {file}: this is no ordinary file: copy what it gives to one")
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{name} {file}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name} {file}: the file is no UTF-8 text") from None
    if len(text) > _LIMIT:
        raise UsageError(f"{name} {file}: it is longer than {_LIMIT:,} characters: give a shorter one")
    return text

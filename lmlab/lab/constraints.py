"""Grammars and schemas as a person names them, read. Knows nothing of what a worker makes of them."""

from __future__ import annotations

import json

from lmlab.backends import Constraint
from lmlab.errors import UsageError
from lmlab.settings import expanded


def read_grammar(name: str, file: str) -> Constraint:
    """Return the GBNF grammar in ``file``. Raises UsageError; ``name`` is what it calls the option."""
    return Constraint("gbnf", _read(name, file))


def read_schema(name: str, typed: str) -> Constraint:
    """Return the JSON Schema that is in a file, or that was typed itself. Raises UsageError as ``read_grammar``."""
    typed = typed.strip()
    # A schema is an object, or true or false.
    text = typed if typed.startswith("{") or typed in ("true", "false") else _read(name, typed)
    try:
        json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name}: this is no JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{name}: this JSON is nested too deeply to be read") from None
    return Constraint("json-schema", text)


def _read(name: str, file: str) -> str:
    try:
        return expanded(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{name} {file}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name} {file}: the file is no UTF-8 text") from None

"""Aliases in the config file, set and removed by changing one line: comments and everything else stay as they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from lmlab.errors import UsageError
from lmlab.settings import private_folder
from lmlab.terminal_text import one_line

# Not str.splitlines, which also ends lines where TOML does not.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TABLE = re.compile(r"^\s*\[")
_ALIASES = re.compile(r"^\s*\[\s*aliases\s*\]\s*(#.*)?$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[^\s:/\\\"'@,=-][^\s:/\\\"'@,=]*")
# An alias is a line: a key, bare or in quotes, and a text in quotes.
_ENTRY = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')\s*=\s*(?P<value>.*)$""")


def check_name(name: str) -> None:
    """Raise UsageError for what cannot be told from another kind of reference, or typed in a variant."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise UsageError(f"{one_line(name, 60)!r} is no name for an alias: use letters and digits, and - . _ within")


def set_alias(config: Path, name: str, ref: str) -> None:
    """Make ``name`` stand for ``ref``. Raises UsageError when the file cannot be changed without changing more."""
    check_name(name)
    _change(config, name, ref)


def remove_alias(config: Path, name: str) -> None:
    """Raises UsageError when there is none of that name, and as ``set_alias`` does."""
    _change(config, name, None)


def _change(config: Path, name: str, ref: str | None) -> None:
    # A link to a file that is kept elsewhere stays one.
    path = Path(os.path.realpath(config))
    text = _read(path)
    before = _parsed(text, config)
    aliases = before.get("aliases", {})
    if ref is None and name not in aliases:
        known = ", ".join(sorted(aliases)) or "none at all"
        raise UsageError(f"there is no alias {one_line(name, 60)!r}: there are {known}")
    end = "\r\n" if "\r\n" in text else "\n"
    lines = _edited(_LINE.findall(text), name, ref, end)
    after = "".join(lines)
    wanted = (
        {**aliases, name: ref} if ref is not None else {key: value for key, value in aliases.items() if key != name}
    )
    if _lenient(after) != {**before, "aliases": wanted}:
        line = f"{_key(name)} = {_quoted(ref)}" if ref is not None else f"without {_key(name)}"
        raise UsageError(
            f"{config} is written in a way that lmlab does not edit: change [aliases] in it yourself: {line}"
        )
    _replace(path, after)


def _edited(lines: list[str], name: str, ref: str | None, end: str) -> list[str]:
    new = [] if ref is None else [f"{_key(name)} = {_quoted(ref)}{end}"]
    start = next((index for index, line in enumerate(lines) if _ALIASES.match(line.rstrip("\r\n"))), None)
    if start is None:
        gap = [end] if lines and lines[-1].strip() else []
        if lines and not lines[-1].endswith("\n"):
            lines = [*lines[:-1], lines[-1] + end]
        return [*lines, *gap, f"[aliases]{end}", *new]
    stop = next((index for index in range(start + 1, len(lines)) if _TABLE.match(lines[index])), len(lines))
    for index in range(start + 1, stop):
        match = _ENTRY.match(lines[index].rstrip("\r\n"))
        if match and _same_key(match["key"], name):
            comment = _comment(match["value"]) if new else ""
            return [*lines[:index], *(line.rstrip("\r\n") + comment + end for line in new), *lines[index + 1 :]]
    last = max((index for index in range(start, stop) if lines[index].strip()), default=start)
    if not lines[last].endswith("\n"):
        lines = [*lines[:last], lines[last] + end, *lines[last + 1 :]]
    return [*lines[: last + 1], *new, *lines[last + 1 :]]


def _comment(value: str) -> str:
    """Return what follows the text in quotes, with the spaces before it."""
    match = re.fullmatch(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')(?P<rest>\s*#.*)""", value.rstrip())
    return match["rest"] if match else ""


def _same_key(key: str, name: str) -> bool:
    return list(_lenient(f"{key} = 0")) == [name]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # What JSON escapes, TOML's basic strings escape alike, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed(text: str, config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read the config file {config}: {error}") from None


def _lenient(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the config file {path}: {error}") from None


def _replace(path: Path, text: str) -> None:
    """Replace the file in one step, with the rights it had; a new one is this user's only."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        # On a disk that is read-only even this fails, though the file was never made.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"cannot write the config file {path}: {error.strerror or error}") from None

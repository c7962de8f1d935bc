"""What a person may type for a model, taken apart. Looks at names and at the config; fetches and reads nothing."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lmlab.errors import ModelNotFound, UsageError
from lmlab.models import catalogue
from lmlab.models.hub_files import HubReference
from lmlab.models.local_files import gguf_files
from lmlab.models.ollama import OllamaReference, parse_name
from lmlab.models.wheel_reference import WheelReference, find_kept
from lmlab.settings import expanded
from lmlab.terminal_text import one_line

_REPO = r"[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]*\w)?"
_HUB = re.compile(rf"^(?P<repo>{_REPO})(?::(?P<selector>[^:\\]+))?$", re.ASCII)
_PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==(?P<version>[A-Za-z0-9.+!_-]+))?$")


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file on disk, or what is meant to be one."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class CatalogueReference:
    entry: catalogue.Entry

    def __str__(self) -> str:
        return self.entry.name


Reference: TypeAlias = FileReference | CatalogueReference | HubReference | WheelReference | OllamaReference


def parse(text: str, aliases: Mapping[str, str], models: Path, folders: Sequence[Path] = ()) -> Reference:
    """Return what ``text`` means: an alias, a catalogue name, a path, ``hf:``, ``pypi:`` or ``ollama:``, or a file in
    ``models`` or in one of ``folders``, by its name.

    Raises UsageError when it is malformed and ModelNotFound, with near names, when nothing is called so.
    """
    text = text.strip()
    followed: list[str] = []
    while text in aliases:
        if text in followed:
            raise UsageError(f"the alias {text!r} leads back to itself: change [aliases] in the config file")
        followed.append(text)
        text = aliases[text].strip()
    if not text:
        raise UsageError("the model's name is empty: give a path, an alias, hf:owner/repo or pypi:package")
    if scheme := re.match(r"(hf|pypi|ollama):", text):
        return _with_scheme(scheme[1], text[scheme.end() :])
    if entry := catalogue.BY_NAME.get(text):
        return CatalogueReference(entry)
    path = expanded(text)
    if path.exists():
        return FileReference(path.absolute())
    if ":" in text and (match := _HUB.match(text)):
        return HubReference(match["repo"], match["selector"])
    for folder in (models, *folders):
        if kept := next((file for file in gguf_files(folder) if text in (file.name, file.stem)), None):
            return FileReference(kept)
    if _looks_like_path(text):
        return FileReference(path.absolute())
    raise ModelNotFound(_unknown(text, aliases, models))


def _with_scheme(scheme: str, rest: str) -> Reference:
    if scheme == "ollama":
        return parse_name(rest)
    shown = one_line(f"{scheme}:{rest}", 120)
    if scheme == "hf":
        if match := _HUB.match(rest):
            return HubReference(match["repo"], match["selector"])
        raise UsageError(f"{shown}: write it as hf:owner/repo, hf:owner/repo:Q4_K_M or hf:owner/repo:FILE.gguf")
    if match := _PACKAGE.match(rest):
        return WheelReference(match["name"], match["version"])
    raise UsageError(f"{shown}: write it as pypi:package or pypi:package==1.0")


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.startswith("~") or text.lower().endswith(".gguf")


def other_files(aliases: Mapping[str, str], models: Path) -> list[Path]:
    """Return the files in ``models`` that go by no name: neither of the catalogue nor of an alias."""
    packaged = (entry for entry in catalogue.ENTRIES if isinstance(entry, catalogue.PackagedEntry))
    named = {find_kept(entry.wheel, models) for entry in packaged}
    for target in aliases.values():
        # An alias that can be no path is an error for whoever uses it, not for whoever looks at a list.
        with contextlib.suppress(UsageError):
            named.add(expanded(target).absolute())
    return [path for path in gguf_files(models) if path not in named]


def _unknown(text: str, aliases: Mapping[str, str], models: Path) -> str:
    tested = {entry.name for entry in catalogue.ENTRIES if isinstance(entry, catalogue.PackagedEntry)}
    names = [*sorted({*aliases, *tested}), *sorted({path.stem for path in other_files(aliases, models)})]
    folded = {name.casefold(): name for name in (*names, *catalogue.BY_NAME)}
    near = [folded[name] for name in difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)]
    shown = one_line(text, 80)
    if near:
        return f"no model is called {shown!r}: did you mean {' or '.join(near)}?"
    return (
        f"no model is called {shown!r}: there are {', '.join(names)}; or give a path, hf:owner/repo or pypi:package "
        "(lmlab models list has all that are here)"
    )

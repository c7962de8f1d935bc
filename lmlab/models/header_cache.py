"""What a list of models says of each, kept between runs: reading a hundred headers anew takes seconds.

An entry holds for one file as long as its size and time of change stay, all parts counted. Whatever is wrong with the
kept file, the headers are read instead.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import __version__
from lmlab.errors import ModelError, UsageError
from lmlab.models.header import GgufHeader, part_names, read_any_header, why_no_language_model
from lmlab.models.memory_need import Fit, MemoryNeeds, memory_needs
from lmlab.settings import write_private

# Another version may reckon otherwise what a model needs.
_FORMAT = f"1, lmlab {__version__}"


@dataclass(frozen=True, slots=True)
class Facts:
    """A model in a list. ``size`` and what it needs of memory in bytes; ``context`` in tokens, None when it is not said."""

    name: str
    architecture: str
    parameters: int
    quantization: str
    size: int
    context: int | None
    chat_template: bool
    usual_context: int
    usual_need: int
    least_need: int

    def fit(self, available: int) -> Fit:
        return MemoryNeeds(self.usual_context, self.usual_need, self.least_need).fit(available)


def facts_of(header: GgufHeader) -> Facts:
    needs = memory_needs(header)
    return Facts(
        name=header.name,
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        size=header.size,
        context=header.context_length,
        chat_template=header.chat_template is not None,
        usual_context=needs.context,
        usual_need=needs.usual,
        least_need=needs.least,
    )


class HeaderCache:
    """``facts`` answers from what the file ``kept`` holds, or reads; ``save`` keeps what was asked for, and only that."""

    def __init__(self, kept: Path) -> None:
        self._path = kept
        self._old = _load(kept)
        self._new: dict[str, Any] = {}

    def facts(self, path: Path) -> Facts | None:
        """Return what is said of the model at ``path``, None when it is a GGUF of another kind. Raises ModelError."""
        stamp = _stamp(path)
        entry = self._old.get(str(path))
        if stamp is not None and isinstance(entry, dict) and entry.get("stamp") == stamp:
            known = _facts(entry.get("facts"))
            if known is not None or entry.get("facts", 0) is None:
                self._new[str(path)] = entry
                return known
        header = read_any_header(path)
        found = None if why_no_language_model(header) else facts_of(header)
        if stamp is not None:
            self._new[str(path)] = {"stamp": stamp, "facts": found and dataclasses.asdict(found)}
        return found

    def save(self) -> None:
        """Write what changed. A folder that cannot be written costs time at the next list, and nothing else."""
        if self._new == self._old:
            return
        try:
            write_private(self._path, json.dumps({"format": _FORMAT, "files": self._new}))
        except (OSError, UsageError):
            return


def _stamp(path: Path) -> list[int] | None:
    """Return size and time of change of every part; None when one cannot be looked at."""
    stamp: list[int] = []
    try:
        for name in part_names(path.name):
            found = os.stat(path.with_name(name))
            stamp += [found.st_size, found.st_mtime_ns]
    except OSError:
        return None
    return stamp


def _facts(values: Any) -> Facts | None:
    if not isinstance(values, dict):
        return None
    fields = {field.name: field.type for field in dataclasses.fields(Facts)}
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "bool": (bool,),
        "int | None": (int, type(None)),
    }
    if values.keys() != fields.keys():
        return None
    if not all(isinstance(values[name], kinds[str(kind)]) for name, kind in fields.items()):
        return None
    return Facts(**values)


def _load(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(kept, dict) or kept.get("format") != _FORMAT or not isinstance(kept.get("files"), dict):
        return {}
    files: dict[str, Any] = kept["files"]
    return files


def read_facts(cache: HeaderCache, path: Path) -> tuple[Facts | None, str | None]:
    """Return what is said of the file, or one line about what is wrong with it; neither for a GGUF of another kind."""
    try:
        return cache.facts(path), None
    except ModelError as error:
        return None, str(error)

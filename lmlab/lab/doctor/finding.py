"""One thing that was looked at, and what is to be thought of it. Knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import psutil

from lmlab.errors import LmlabError
from lmlab.terminal_text import one_line

Level: TypeAlias = Literal["ok", "note", "warning", "broken"]
"""``note``: worth knowing. ``warning``: something is worse than it could be. ``broken``: something does not work."""

LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "broken")


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` is one line of what to do. ``values`` are the numbers in ``text`` for programs: sizes in bytes."""

    section: str
    name: str
    level: Level
    text: str
    advice: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "name": self.name,
            "level": self.level,
            "text": self.text,
            "advice": self.advice,
            "values": dict(self.values),
        }


def guarded(section: str, name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what ``check`` finds; what goes wrong within it is a finding, too."""
    try:
        yield from check()
    except (LmlabError, OSError, psutil.Error) as error:
        yield Finding(section, name, "broken", one_line(str(error) or type(error).__name__, 600))


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def counted(count: int, one: str, more: str | None = None) -> str:
    """Return ``1 thread`` or ``1,234 threads``."""
    return f"1 {one}" if count == 1 else f"{count:,} {more or one + 's'}"

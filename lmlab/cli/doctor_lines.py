"""Findings as lines: by sections for people, fields between tabs for programs. Knows nothing of how they were found."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from lmlab.cli.streams import Stdout
from lmlab.lab.doctor.finding import LEVELS, Finding, Level
from lmlab.terminal_text import one_line

_FIELDS = ("section", "name", "level", "text", "advice")
_MARKS: dict[Level, str] = {"ok": "✓", "note": "·", "warning": "!", "broken": "✗"}
_PLAIN_MARKS: dict[Level, str] = {"ok": "+", "note": "-", "warning": "!", "broken": "X"}
_STYLES: dict[Level, str] = {"ok": "32", "note": "36", "warning": "33", "broken": "1;31"}
_HEADING = "1"
_NAME = 13
_LEAST = 30


class Lines:
    """Writes findings as they come: a heading wherever a section begins, on a terminal."""

    def __init__(self, stdout: Stdout) -> None:
        self._stdout = stdout
        self._section: str | None = None
        self._unicode = str(getattr(sys.stdout, "encoding", "")).lower().replace("-", "") == "utf8"

    def add(self, finding: Finding) -> None:
        if self._stdout.terminal:
            self._for_people(finding)
            return
        if self._section is None:
            self._stdout.line("\t".join(_FIELDS))
        self._section = finding.section
        values = (finding.section, finding.name, finding.level, finding.text, finding.advice or "")
        self._stdout.line("\t".join(" ".join(value.split()) for value in values))

    def end(self, findings: Sequence[Finding]) -> None:
        """Write what there is to say of all of them, for people."""
        if not self._stdout.terminal:
            return
        counts = [(level, sum(finding.level == level for finding in findings)) for level in reversed(LEVELS)]
        bad = [(level, count) for level, count in counts if count and level in ("broken", "warning")]
        self._stdout.line("")
        if not bad:
            self._stdout.styled("nothing is wrong\n", _STYLES["ok"])
            return
        said = {"broken": "broken", "warning": "that could be better"}
        text = ", ".join(f"{count} {said[level]}" for level, count in bad)
        self._stdout.styled(f"{text}\n", _STYLES[bad[0][0]])

    def _for_people(self, finding: Finding) -> None:
        if finding.section != self._section:
            self._stdout.write("" if self._section is None else "\n")
            self._stdout.styled(f"{finding.section}\n", _HEADING)
            self._section = finding.section
        marks, arrow = (_MARKS, "→") if self._unicode else (_PLAIN_MARKS, "->")
        indent = " " * (2 + _NAME)
        width = max(shutil.get_terminal_size().columns, len(indent) + _LEAST) - 1
        style = _STYLES[finding.level]
        self._stdout.styled(marks[finding.level], style)
        lines = textwrap.wrap(
            f" {finding.name:<{_NAME}}{_homely(one_line(finding.text, 1000))}", width - 1, subsequent_indent=indent
        )
        if finding.level in ("broken", "warning"):
            self._stdout.styled("\n".join(lines) + "\n", style)
        else:
            self._stdout.line("\n".join(lines))
        if finding.advice:
            # Not broken into lines: a command is there to be copied.
            self._stdout.line(f"{indent}{arrow} {one_line(finding.advice, 5_000)}")


def _homely(text: str) -> str:
    """Return ``text`` with ~ for the person's own folder."""
    return text.replace(f"{Path.home()}{os.sep}", f"~{os.sep}")

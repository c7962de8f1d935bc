"""What was typed before, kept in a private file, and the walk through it. Knows nothing of keys or widgets."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lmlab.settings import private_folder

_KEPT = 1000


class History:
    """Texts, oldest first. Walking keeps the draft that was being typed and gives it back at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: list[str] | None = None
        self._position: int | None = None
        self._draft = ""

    def add(self, text: str) -> None:
        """Remember ``text``, also on disk. Raises OSError or UsageError when the file cannot be written."""
        self._position = None
        texts = self._read()
        if texts and texts[-1] == text:
            return
        texts.append(text)
        private_folder(self._path.parent)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(text) + "\n")

    def older(self, current: str) -> str | None:
        """Return the text before the one shown; ``current`` is what is in the input now. None: there is none."""
        texts = self._read()
        position = len(texts) if self._position is None else self._position
        if position == 0:
            return None
        if self._position is None:
            self._draft = current
        self._position = position - 1
        return texts[self._position]

    def newer(self) -> str | None:
        """Return the text after the one shown, at the end the draft. None: nothing older is shown."""
        if self._position is None:
            return None
        texts = self._read()
        self._position += 1
        if self._position < len(texts):
            return texts[self._position]
        self._position = None
        return self._draft

    def leave(self) -> None:
        """The text shown was changed: it is a draft now."""
        self._position = None

    def _read(self) -> list[str]:
        if self._texts is None:
            self._texts = []
            try:
                lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                lines = []
            for line in lines[-_KEPT:]:
                try:
                    text = json.loads(line)
                except ValueError:
                    # A line cut off by a crash: the others are good.
                    continue
                if isinstance(text, str):
                    self._texts.append(text)
        return self._texts

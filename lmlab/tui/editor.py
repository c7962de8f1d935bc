"""A text in the person's own editor. Knows nothing of the screen; whoever calls gives the terminal away first."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lmlab.errors import UsageError

_FALLBACKS = ("nano", "vim", "vi", "notepad")


def editor_command(
    environ: Mapping[str, str] = os.environ, which: Callable[[str], str | None] = shutil.which
) -> list[str]:
    """Return the command of $VISUAL, $EDITOR or an editor that is there. Raises UsageError when there is none."""
    for name in ("VISUAL", "EDITOR"):
        if value := environ.get(name, "").strip():
            try:
                command = shlex.split(value, posix=os.name == "posix")
            except ValueError as error:
                raise UsageError(f"${name} is {value!r}, no command ({error}): set it to an editor") from None
            if which(command[0]) is None:
                raise UsageError(f"${name} is {value!r}, and no such program is there: set it to an editor")
            return command
    for name in _FALLBACKS:
        if path := which(name):
            return [path]
    raise UsageError("no editor was found: set $EDITOR to one")


def edit(text: str, command: list[str]) -> str:
    """Return ``text`` as the editor left it. Raises UsageError when the editor fails; the text is then unchanged."""
    with _written(text) as path:
        try:
            status = subprocess.run([*command, str(path)], check=False).returncode
        except OSError as error:
            raise UsageError(f"cannot start the editor {command[0]}: {error.strerror}") from None
        if status != 0:
            raise UsageError(f"the editor {command[0]} ended with status {status}: the text was left as it was")
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read what the editor wrote: {error}; the text was left as it was") from None


@contextmanager
def _written(text: str) -> Iterator[Path]:
    """A file with ``text`` in a folder of its own. Raises UsageError when it cannot be written."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lmlab-", ignore_cleanup_errors=True))
            path = Path(folder) / "message.md"
            path.write_text(text, encoding="utf-8")
        except (OSError, UnicodeEncodeError) as error:
            raise UsageError(f"cannot write the text to a file for the editor: {error}; it is still here") from None
        yield path

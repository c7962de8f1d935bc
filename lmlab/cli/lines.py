"""Where a plain chat's messages come from: a terminal with a prompt and a history, or a pipe, a line each.

A message of several lines begins and ends with three double quotes. Knows nothing of what is done with a message.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.cli.streams import decode, is_terminal

FENCE = '"""'
HELP = f"Several lines: begin the message with {FENCE} and end it with {FENCE}. Ctrl-C stops a reply, Ctrl-D leaves."


@dataclass(frozen=True, slots=True)
class Typed:
    """A message. One that was fenced is never a command."""

    text: str
    fenced: bool = False


class Lines:
    """``read`` returns one message after another, None at the end.

    From a terminal, ``read`` raises KeyboardInterrupt for Ctrl-C; from a pipe, UsageError for what is not UTF-8.
    """

    def __init__(self, history: Path) -> None:
        self.terminal = is_terminal(sys.stdin)
        self._offset = 0
        self._read_line: Callable[[str], str | None] = _terminal_line if self.terminal else self._piped_line
        if self.terminal:
            _load_history(history)

    def read(self) -> Typed | None:
        line = self._read_line("you> ")
        if line is None:
            return None
        if not line.startswith(FENCE):
            return Typed(line)
        lines: list[str] = []
        line = line.removeprefix(FENCE)
        while line is not None and not line.endswith(FENCE):
            lines.append(line)
            line = self._read_line("...> ")
        # At the end of the input what was typed so far is the message: nothing is lost.
        if line is not None:
            lines.append(line.removesuffix(FENCE))
        return Typed("\n".join(lines).strip("\n"), fenced=True)

    def _piped_line(self, _prompt: str) -> str | None:
        if sys.stdin is None:
            return None
        data = sys.stdin.buffer.readline()
        if not data:
            return None
        text = decode(data, "stdin", self._offset)
        self._offset += len(data)
        return text.removesuffix("\n").removesuffix("\r")


def _terminal_line(prompt: str) -> str | None:
    if not is_terminal(sys.stdout):
        # input() would write the prompt among the data.
        sys.stderr.write(prompt)
        sys.stderr.flush()
        prompt = ""
    try:
        return input(prompt)
    except EOFError:
        # The cursor is still on the prompt's line.
        sys.stderr.write("\n")
        return None


def _load_history(path: Path) -> None:
    """Let the arrow keys bring back what was typed in earlier chats, where there is readline."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import readline

        for line in path.read_text(encoding="utf-8").splitlines():
            text = json.loads(line)
            if isinstance(text, str) and "\n" not in text:
                readline.add_history(text)

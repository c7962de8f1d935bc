"""What a person chooses in the prompt view: a template and how it is put, tried on a copy of the chat's own choice.

Knows nothing of Textual or of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.errors import LmlabError
from lmlab.lab.chat_prompts import ChatPrompts
from lmlab.lab.message_prompt import MessagePrompt
from lmlab.lab.slash_template import PICKS, STYLES, TECHNIQUES
from lmlab.prompting.approach import pool_of
from lmlab.terminal_text import one_line

NO_TEMPLATE = "as it is typed"
_VALUE = 200


@dataclass(frozen=True, slots=True)
class PutRow:
    """One thing about how a template is put. ``typed``: its value is a text, else it is stepped through.

    ``faint``: the value is what the template has, or that there is none.
    """

    name: str
    value: str
    typed: bool = False
    faint: bool = False


class Choice:
    """``prompts`` is the choice; ``error`` says why the last change could not be."""

    def __init__(self, prompts: ChatPrompts) -> None:
        self.prompts = prompts.copy()
        self.error: str | None = None
        self.filter = ""
        self.row = 0
        self._tried: dict[str | None, ChatPrompts] = {self.name: self.prompts}
        known = prompts.names()
        own = [self.name] if self.name is not None and self.name not in known else []
        self._names: tuple[str | None, ...] = (None, *own, *known)
        self._pointed = self.name

    @property
    def current(self) -> MessagePrompt | None:
        return self.prompts.current

    @property
    def name(self) -> str | None:
        """The template that is chosen, None for none."""
        return self.current.name if self.current is not None else None

    @property
    def pointed(self) -> str | None:
        """The template that the cursor is on: the one chosen, or one that cannot be."""
        return self._pointed

    @property
    def names(self) -> tuple[str | None, ...]:
        """The templates that match the filter; None stands for none."""
        wanted = self.filter.lower()
        return tuple(name for name in self._names if wanted in title(name).lower())

    def narrow(self, text: str) -> None:
        """Show the templates whose names have ``text`` in them; the first is chosen if the chosen one is not there."""
        self.filter, self.error = text, None
        if self.names and self.pointed not in self.names:
            self.choose(self.names[0])

    def refuse(self) -> None:
        """Say that what is typed chooses nothing."""
        self.error = f'nothing matches "{one_line(self.filter, 20)}": ⌫ takes a letter back'

    def move(self, by: int) -> None:
        """Choose the template ``by`` places from the one pointed at."""
        names = self.names
        if names:
            at = names.index(self.pointed) if self.pointed in names else 0
            self.choose(names[min(len(names) - 1, max(0, at + by))])

    def choose(self, name: str | None) -> None:
        """Try another template; one that was tried before is put as it was then."""
        self.error, self._pointed, self.row = None, name, 0
        found = self._tried.get(name)
        if found is None:
            found = self.prompts.copy()
            try:
                found.choose(name)
            except LmlabError as error:
                self.error = str(error)
                return
            self._tried[name] = found
        self.prompts = found

    def rows(self) -> tuple[PutRow, ...]:
        """Return what can be said of how the template is put."""
        current = self.current
        if current is None or self.pointed != self.name:
            return ()
        renderer, approach = current.renderer, current.approach
        rows = [PutRow("technique", renderer.technique)]
        if renderer.shots:
            rows.append(PutRow("shots", f"{renderer.shots} of {self._pool(current)}"))
            rows.append(PutRow("pick", approach.pick))
            if approach.pick == "random":
                rows.append(PutRow("seed", str(approach.pick_seed)))
            rows.append(PutRow("style", approach.style or renderer.template.style))
        for name, given in renderer.template.inputs.items():
            if name == current.main:
                continue
            value = renderer.fixed.get(name)
            faint = "type it: it is needed" if given.required else given.default
            shown = one_line(value if value is not None else faint, _VALUE)
            rows.append(PutRow(name, shown, typed=True, faint=value is None))
        return tuple(rows)

    def point(self, by: int) -> None:
        """Move to another row."""
        self.row = min(max(0, len(self.rows()) - 1), max(0, self.row + by))

    def step(self, by: int) -> None:
        """Change the value of the row by a step."""
        rows, current = self.rows(), self.current
        if not rows or current is None:
            return
        approach, renderer = current.approach, current.renderer
        match rows[self.row]:
            case PutRow("technique"):
                self._first_that_can_be("technique", _beyond(TECHNIQUES, renderer.technique, by))
            case PutRow("shots"):
                wanted = min(self._pool(current), max(1, renderer.shots + by))
                self._put(shots=wanted)
            case PutRow("pick"):
                self._first_that_can_be("pick", _beyond(PICKS, approach.pick, by))
            case PutRow("seed"):
                self._put(pick_seed=max(0, approach.pick_seed + by))
            case PutRow("style"):
                self._first_that_can_be("style", _beyond(STYLES, approach.style or renderer.template.style, by))

    def type(self, text: str) -> None:
        """Add to the text of the row."""
        self._edit(lambda value: value + text)

    def erase(self) -> None:
        """Take the last character of the row's text away; without any, the input is as the template has it."""
        self._edit(lambda value: value[:-1])

    def _edit(self, change: Callable[[str], str]) -> None:
        rows, current = self.rows(), self.current
        if not rows or current is None or not rows[self.row].typed:
            return
        name = rows[self.row].name
        value = change(current.renderer.fixed.get(name, ""))
        self._do(lambda: self.prompts.set_variable(name, value or None))

    def _first_that_can_be(self, name: str, values: Sequence[str]) -> None:
        for value in values:
            self._put(**{name: value})
            if self.error is None:
                return

    def _put(self, **changes: Any) -> None:
        self._do(lambda: self.prompts.put(**changes))

    def _do(self, act: Callable[[], None]) -> None:
        self.error = None
        try:
            act()
        except LmlabError as error:
            self.error = str(error)

    def _pool(self, current: MessagePrompt) -> int:
        return len(pool_of(current.renderer.template, current.renderer.technique))


def title(name: str | None) -> str:
    """Return what a template is called in the list: a file by its name."""
    if name is None:
        return NO_TEMPLATE
    return Path(name).stem if name.endswith(".md") else name


def _beyond(values: tuple[str, ...], value: str, by: int) -> tuple[str, ...]:
    """Return the values after ``value``, the nearest first; those before it where ``by`` is negative."""
    at = values.index(value)
    return values[at + 1 :] if by > 0 else values[:at][::-1]

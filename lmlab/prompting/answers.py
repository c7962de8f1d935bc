"""How an example's answer is written, and how an answer is read off a reply. Knows nothing of what is right."""

from __future__ import annotations

import re
from collections import deque

from lmlab.prompting.parts import Part
from lmlab.prompting.template import Answer

MARKER = "Answer:"
"""Comes before the answer where a template has no words of its own for it."""

_MARKED = re.compile(r"(?is).*\banswer:(.*)")


class AnswerForm:
    """A template's ``answer``, for replies with or without reasoning.

    With reasoning and no regex the answer comes after MARKER: ``marked`` is then True. Raises RenderingError for a format
    that no answer can be written by.
    """

    def __init__(self, answer: Answer, reasons: bool) -> None:
        self._reasons = reasons
        self.marked = reasons and answer.regex is None
        self._regex = re.compile(answer.regex) if answer.regex is not None else None
        self._format = Part.of(answer.format) if answer.format is not None else None
        self._beginning = self._format.beginning({}) if self._format else ""

    @property
    def cue(self) -> str:
        """What a base model goes on from, in place of reasoning."""
        return self._beginning or MARKER

    def write(self, answer: str) -> str:
        """Return the answer as an example shows it."""
        text = self._format.render({"answer": answer}) if self._format else answer
        return f"{MARKER}{_gap(text)}{text}" if self.marked else text

    def write_after_cue(self, answer: str) -> str:
        """Return the same for a base model: it begins with ``cue``."""
        text = self.write(answer)
        return text if self._beginning else f"{MARKER}{_gap(text)}{text}"

    def read(self, reply: str, lead: str) -> str | None:
        """Return the answer in ``lead + reply``, stripped; None when there is none.

        A lead that asks for reasoning is no part of an answer, even if it says how one is written.
        """
        if self.marked:
            match = _MARKED.match(reply)
            return (match[1].strip(" \t\r\n*") or None) if match else None
        if self._regex is not None:
            return find(self._regex, reply if self._reasons else lead + reply)
        # Without a format the lead is MARKER, which is no part of the answer.
        return ((lead if self._beginning else "") + reply).strip() or None

    def read_inline(self, reply: str) -> str | None:
        """Return the answer of a chat model that was given ``cue`` as the end of a message: it may say it again."""
        if self._regex is not None or self.marked:
            # A chat model's reply does not begin with the space that comes after the cue.
            leads = ("", self.cue, f"{self.cue} ")
            return next((found for lead in leads if (found := self.read(reply, lead)) is not None), None)
        text = reply.lstrip()
        again = text[: len(self.cue)].casefold() == self.cue.casefold()
        return self.read(text[len(self.cue) :] if again else reply, self.cue)


def find(regex: re.Pattern[str], text: str) -> str | None:
    """Return what the last match gives: the group ``answer``, else the first group that took part, else all of it."""
    matches = deque(regex.finditer(text), maxlen=1)
    if not matches:
        return None
    last = matches[0]
    if "answer" in regex.groupindex:
        found = last["answer"]
    else:
        found = next((group for group in last.groups() if group is not None), None if regex.groups else last[0])
    return (found or "").strip() or None


def _gap(text: str) -> str:
    return "\n" if "\n" in text else " "

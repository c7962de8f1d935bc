"""A conversation as Markdown, and such Markdown read back. Knows nothing of files or of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.lab.candidate_words import standing
from lmlab.store import Session, Turn

Role: TypeAlias = Literal["system", "user", "assistant"]

_NAMELESS = "Reply"
_LETTERS: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}

# Which lines are whose: a message may have headings of its own. It holds only while no line was added or removed.
_PLACES = re.compile(r"<!-- lmlab (\S+) (\d{1,9}):((?: \d{1,9}\+\d{1,9}[sua])*) -->")
_SMALL_PRINT = re.compile(r"\*(?:candidate |cut off|ended: |temperature |seed )[^\n]*\*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under a heading. ``model``: who replied."""

    role: Role
    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """``session``: the id of the session that it was written from, if the file says so."""

    title: str
    sections: tuple[Section, ...]
    session: str | None = None


def to_markdown(session: Session, turns: Sequence[Turn], *, places: bool = False) -> str:
    """Return the transcript: what was said, by whom, and a line of small print under each reply.

    With ``places`` a comment at the end says which lines are whose, for ``from_markdown``.
    """
    parts = [f"# {session.title or session.id}"]
    line = _height(parts[0]) + 2
    found = []
    for letter, heading, body, small_print in _sections(session, turns):
        found.append(f"{line}+{_height(body)}{letter}")
        part = "\n\n".join(text for text in (heading, body, small_print) if text)
        parts.append(part)
        line += _height(part) + 1
    text = "\n\n".join(parts) + "\n"
    if places:
        text += f"\n<!-- lmlab {session.id} {line - 2}: {' '.join(found)} -->\n"
    return text


def from_markdown(text: str) -> Transcript | None:
    """Return what ``to_markdown`` wrote; None for text that has no message.

    Without the comment, or after lines were added, a heading within a message may be taken for the next message's.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    title = lines[0][2:].strip() if lines[0].startswith("# ") else ""
    session, sections = _by_places(lines)
    if sections is None:
        sections = list(_by_headings(lines))
    if all(section.role == "system" for section in sections):
        return None
    return Transcript(title, tuple(sections), session)


def _sections(session: Session, turns: Sequence[Turn]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the letter of the role, the heading, the text and the small print of each."""
    if session.system:
        yield "s", "## System", session.system, ""
    for turn in turns:
        if turn.reply is None:
            files = [f"Attached: {file.name} ({len(file.text):,} characters)" for file in turn.attachments]
            yield "u", "## You", "\n\n".join([*files, turn.content]).rstrip(), ""
        else:
            yield "a", f"## {turn.reply.model or _NAMELESS}", turn.content.strip(), _small_print(turn)


def _height(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _by_places(lines: list[str]) -> tuple[str | None, list[Section] | None]:
    """Return the session that is named, and the sections if the lines are where they were."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    if (match := _PLACES.fullmatch(last.strip())) is None:
        return None, None
    session, height, places = match.groups()
    end = len(lines) - next(number for number, line in enumerate(reversed(lines)) if line.strip()) - 1
    # Above it are the text's last line and a blank one.
    if end != int(height) + 1:
        return session, None
    sections = []
    for place in places.split():
        start, count = (int(number) for number in place[:-1].split("+"))
        heading, body = lines[start - 1 : start], lines[start + 1 : start + 1 + count]
        if not heading or not heading[0].startswith("## ") or len(body) != count:
            return session, None
        sections.append(_section(_LETTERS[place[-1]], heading[0][3:], "\n".join(body)))
    return session, sections


def _by_headings(lines: list[str]) -> Iterator[Section]:
    """Yield the sections by their headings, but for those within a fence of code.

    The model's may be called anything, so what follows a question is a reply, and only ``## You`` ends that.
    """
    heading, role, body = "", None, list[str]()
    fence = ""
    for line in [*lines, "## You"]:
        if _PLACES.fullmatch(line.strip()):
            continue
        if (match := _FENCE.match(line)) and (not fence or match[1].startswith(fence)):
            fence = "" if fence else match[1]
        following = None if fence else _role_after(line, role)
        if following is None:
            body.append(line)
            continue
        if role is not None:
            text = "\n".join(body).strip("\n")
            yield _section(role, heading, _without_small_print(text) if role == "assistant" else text)
        heading, role, body = line[3:], following, []
    # A fence that was never closed hides the end.
    if fence and role is not None:
        yield _section(role, heading, "\n".join(body[:-1]).strip("\n"))


def _role_after(line: str, role: Role | None) -> Role | None:
    if not line.startswith("## "):
        return None
    if line == "## You":
        return "user"
    if role is None:
        return "system" if line == "## System" else None
    return "assistant" if role == "user" else None


def _section(role: Role, heading: str, text: str) -> Section:
    name = heading.strip()
    return Section(role, text, name if role == "assistant" and name != _NAMELESS else None)


def _without_small_print(text: str) -> str:
    head, _, last = text.rpartition("\n\n")
    return head if _SMALL_PRINT.fullmatch(last) else text


def _small_print(turn: Turn) -> str:
    reply = turn.reply
    assert reply is not None
    notes = [said] if (said := standing(reply)) else []
    if reply.status == "partial":
        notes.append("cut off")
    elif reply.finish_reason not in ("stop", None):
        notes.append(f"ended: {reply.finish_reason}")
    if reply.error:
        notes.append(reply.error)
    if reply.sampling is not None:
        notes += [f"temperature {reply.sampling.temperature:g}", f"seed {reply.sampling.seed}"]
    notes += [f"{name} {old} → {new} at token {at}" for at, name, old, new in reply.changes]
    return f"*{' · '.join(notes)}*" if notes else ""

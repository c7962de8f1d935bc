"""Renderings of the library's templates as files, so that a change in any of them is seen.

``LMLAB_GOLDEN=write python -m pytest tests/prompting`` writes the files anew; read what changed before keeping it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmlab.prompting import Rendered, Renderer

FOLDER = Path(__file__).parent / "golden"
# Read on import: each test runs without the LMLAB_ variables of whoever runs it.
_WRITE = os.environ.get("LMLAB_GOLDEN") == "write"


def check_golden(name: str, technique: str, rendered: Rendered) -> None:
    """Compare ``rendered`` with the file of this template and technique, character for character."""
    path = FOLDER / f"{name}.{technique}.txt"
    found = spell(rendered)
    if _WRITE:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8", newline="\n")
        return
    if not path.is_file():
        pytest.fail(f"{path.name} is missing: write it with LMLAB_GOLDEN=write and read it")
    assert found == path.read_text(encoding="utf-8"), f"{path.name} differs: LMLAB_GOLDEN=write writes it anew"


def spell(rendered: Rendered) -> str:
    """Return the messages, then the base model's text and where it ends, with marks between that no prompt has."""
    parts = [f"===== {message.role}\n{message.content}" for message in rendered.messages]
    shared = f"{rendered.shared_messages} messages and {rendered.shared_in_message} characters"
    ends = [
        f"===== shared: {shared} of the next; {rendered.shared_characters} characters of the text",
        f"===== lead: {rendered.lead!r}",
        f"===== stop: {list(rendered.stop)!r}",
        f"===== examples: {list(rendered.examples)!r}",
    ]
    return "\n".join([*parts, f"===== text\n{rendered.text}", *ends]) + "\n"


def assert_stopped_after_the_answer(renderer: Renderer, row: dict[str, str]) -> None:
    """Let a base model reply as the last example does and write the next question, and read what the stop texts leave."""
    rendered = renderer.render(row)
    shown, following = (message.content for message in rendered.messages[-2:])
    assert shown in rendered.text
    reply = f"{shown.removeprefix(rendered.lead)}\n\n{following}"
    cut = min((found for stop in rendered.stop if (found := reply.find(stop)) >= 0), default=len(reply))
    last = renderer.template.examples[rendered.examples[-1]]
    assert renderer.read_answer(reply[:cut], rendered.lead) == last.answer

"""What the terminal sends becomes keys and pastes, however it was cut into reads."""

from __future__ import annotations

import pytest
from textual import events
from textual.message import Message

from lmlab.tui.paste import PasteParser

START, END = "\x1b[200~", "\x1b[201~"
HOSTILE = "one\x1b]0;title\x07\x1b[31mred\x1b[A\x1b\x00two\r\nthree \x1b[200~ é\x1b[201"


def told(*reads: str) -> list[str]:
    """The keys, by name, and the pastes, in angle brackets, that come of these reads."""
    parser = PasteParser()
    return [shown(event) for read in reads for event in parser.feed(read)]


def shown(event: Message) -> str:
    if isinstance(event, events.Paste):
        return f"<{event.text}>"
    assert isinstance(event, events.Key)
    return event.key


@pytest.mark.parametrize("size", range(1, 60))
def test_a_paste_is_one_event_with_all_that_was_in_it(size: int) -> None:
    sent = f"a\x1b[A{START}{HOSTILE}{END}b{START}{END}\x1b[B{START}c{END}d"
    reads = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert told(*reads) == ["a", "up", f"<{HOSTILE}>", "b", "<>", "down", "<c>", "d"]


def test_a_paste_waits_for_its_end() -> None:
    parser = PasteParser()
    assert list(parser.feed(f"{START}\x1b")) == []
    assert list(parser.tick()) == []
    assert [shown(event) for event in parser.feed(f"\x03{END}")] == ["<\x1b\x03>"]


def test_a_mark_whose_escape_was_taken_for_a_key_still_begins_a_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("textual._parser.get_time", lambda: now)
    parser = PasteParser()
    assert list(parser.feed("\x1b")) == []
    now = 10.0
    assert [shown(event) for event in parser.tick()] == ["escape"]
    keys = [shown(event) for event in parser.feed(f"[200~\x07{END}x")]
    assert keys[-2:] == ["<\x07>", "x"]
    assert "ctrl+g" not in keys


def test_the_end_of_the_input_ends_the_parser() -> None:
    parser = PasteParser()
    assert list(parser.feed("")) == []
    assert parser.is_eof

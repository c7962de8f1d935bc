from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.terminal_text import one_line, visible

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=40)
BIDIRECTIONAL = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u200e\u200f\u061c"


def drives_a_terminal(character: str) -> bool:
    category = unicodedata.category(character)
    return (
        (category == "Cc" and character not in "\t\n")
        or category == "Cs"
        or character in MARKS
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
    )


@settings(deadline=None)
@given(ANY_TEXT)
def test_nothing_that_is_shown_can_drive_a_terminal(text: str) -> None:
    shown = visible(text)
    assert not any(map(drives_a_terminal, shown))
    assert visible(shown) == shown
    shown.encode("utf-8")


def test_no_character_at_all_gets_through() -> None:
    unsafe = [chr(code) for code in range(0x110000) if drives_a_terminal(chr(code))]
    assert len(unsafe) > 2048
    assert not any(character in visible(character) for character in unsafe)


@settings(deadline=None)
@given(ANY_TEXT)
def test_safe_characters_stay_as_they_are(text: str) -> None:
    safe = "".join(character for character in text if not drives_a_terminal(character))
    assert visible(safe) == safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("a\rb", "a␍b"),
        ("\x00\x07\x08\x0b\x0c", "␀␇␈␋␌"),
        ("\x7f", "␡"),
        ("\x9b31m", "‹U+009B›31m"),
        ("\x85", "‹U+0085›"),
        ("\u202etxt.exe", "‹U+202E›txt.exe"),
        ("\u2066x\u2069", "‹U+2066›x‹U+2069›"),
        ("\u061c", "‹U+061C›"),
        ("\ud800", "‹U+D800›"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("שלום 👩‍👩‍👧 é", "שלום 👩‍👩‍👧 é"),
    ],
)
def test_pictures(text: str, shown: str) -> None:
    assert visible(text) == shown


@settings(deadline=None)
@given(ANY_TEXT, st.integers(1, 50))
def test_one_line_is_one_safe_line_within_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert not any(map(drives_a_terminal, line))


def test_one_line_says_that_it_was_cut() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"

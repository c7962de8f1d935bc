from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.worker.text_stream import TextStream

# Few letters, so that stops overlap each other and themselves; several bytes, so that characters are split.
LETTERS = st.text(alphabet="abé👍", max_size=24)
STOPS = st.lists(st.text(alphabet="abé👍", min_size=1, max_size=4), max_size=4)


def cut_at_first_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """The plain definition: characters come one by one; the first stop that is complete ends it, the longest if several."""
    for end in range(1, len(text) + 1):
        complete = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: min(complete)], True
    return text, False


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@settings(deadline=None)
@given(st.data(), LETTERS, STOPS)
def test_any_split_gives_the_text_up_to_the_first_stop(data: st.DataObject, text: str, stops: list[str]) -> None:
    expected, stopped = cut_at_first_stop(text, stops)
    stream = TextStream(stops)
    shown = ""
    for piece in data.draw(pieces_of(text.encode())):
        shown += stream.push(piece)
        assert expected.startswith(shown)
    assert shown + stream.flush() == expected
    assert stream.stopped is stopped


@settings(deadline=None)
@given(st.data(), LETTERS, STOPS)
def test_nothing_that_is_certain_is_held_back(data: st.DataObject, text: str, stops: list[str]) -> None:
    stream = TextStream(stops)
    seen = shown = ""
    for character in text:
        seen += character
        shown += stream.push(character.encode())
        if stream.stopped:
            return
        held = seen[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


@settings(deadline=None)
@given(st.data(), st.binary(max_size=40))
def test_any_bytes_in_any_split_read_as_they_do_whole(data: st.DataObject, content: bytes) -> None:
    stream = TextStream()
    shown = "".join(stream.push(piece) for piece in data.draw(pieces_of(content)))
    assert shown + stream.flush() == content.decode("utf-8", "replace")


def test_an_emoji_over_three_tokens_arrives_whole() -> None:
    stream = TextStream()
    assert [stream.push(piece) for piece in (b"hi \xf0", b"\x9f\x91", b"\x8d!")] == ["hi ", "", "👍!"]


def test_half_a_character_at_the_end_is_not_lost() -> None:
    stream = TextStream()
    assert stream.push(b"hi \xf0\x9f") == "hi "
    assert stream.flush() == "\ufffd"


def test_a_byte_that_starts_nothing_is_replaced_and_the_rest_goes_on() -> None:
    stream = TextStream()
    assert stream.push(b"a\xffb\xc3") + stream.push(b"c") == "a\ufffdb\ufffdc"


def test_a_stop_over_several_tokens_is_never_half_shown() -> None:
    stream = TextStream(["\nUser:"])
    assert [stream.push(piece) for piece in (b"fine.", b"\nUs", b"er", b": more")] == ["fine.", "", "", ""]
    assert stream.stopped
    assert stream.flush() == ""


def test_what_only_began_like_a_stop_is_shown() -> None:
    stream = TextStream(["\nUser:"])
    assert [stream.push(piece) for piece in (b"a\nUs", b"ed", b"\nUse")] == ["a", "\nUsed", ""]
    assert stream.flush() == "\nUse"
    assert not stream.stopped


def test_the_stop_that_is_complete_first_wins_over_one_that_began_earlier() -> None:
    whole, split = TextStream(["abcd", "bc"]), TextStream(["abcd", "bc"])
    assert whole.push(b"abcd") == "a"
    assert "".join(split.push(bytes([byte])) for byte in b"abcd") == "a"


def test_of_two_stops_complete_at_once_the_longer_is_cut() -> None:
    stream = TextStream(["b", "ab"])
    assert stream.push(b"xab") == "x"


def test_after_a_stop_nothing_more_is_said() -> None:
    stream = TextStream(["."])
    assert stream.push(b"One. Two") == "One"
    assert stream.push(b" three") + stream.flush() == ""


def test_a_stop_set_midway_is_looked_for_in_what_is_held_back() -> None:
    stream = TextStream(["abcd"])
    assert stream.push(b"xabc") == "x"
    stream.set_stop(["bc"])
    assert stream.push(b"!") == "a"
    assert stream.stopped


def test_a_stop_set_midway_does_not_call_back_what_was_shown() -> None:
    stream = TextStream()
    assert stream.push(b"ab") == "ab"
    stream.set_stop(["abc"])
    assert stream.push(b"c") == "c"
    assert not stream.stopped


def test_a_stop_taken_away_releases_what_it_held_back() -> None:
    stream = TextStream(["abcd"])
    assert stream.push(b"abc") == ""
    stream.set_stop([])
    assert stream.push(b"d") == "abcd"


@pytest.mark.parametrize("end", ["push", "flush"])
def test_a_stop_completed_by_a_replaced_byte(end: str) -> None:
    stream = TextStream(["a\ufffd"])
    assert stream.push(b"xa\xf0") == "x"
    assert (stream.push(b"y") if end == "push" else stream.flush()) == ""
    assert stream.stopped

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lmlab.cli import streams
from lmlab.cli.app import run_command
from lmlab.errors import LmlabError, UsageError


class Terminal(io.TextIOWrapper):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@contextmanager
def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Iterator[None]:
    with io.TextIOWrapper(io.BytesIO(data)) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield


def shown_on_terminal(monkeypatch: pytest.MonkeyPatch, text: str, encoding: str = "utf-8") -> bytes:
    with Terminal(io.BytesIO(), encoding=encoding) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        streams.Stdout().write(text)
        return terminal.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_is_shown_escape_sequences_that_it_does_not_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_on_terminal(monkeypatch, "a\x1b[2Jb\rc\n") == "a␛[2Jb␍c\n".encode()


def test_a_terminal_that_lacks_a_character_gets_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_on_terminal(monkeypatch, "caf\u00e9 \u65e5", "latin-1") == b"caf\xe9 \\u65e5"


def test_a_pipe_gets_the_bytes_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code = "from lmlab.cli.streams import Stdout; Stdout().write('a\\x1b[2J\\r\\u65e5')"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert capfdbinary.readouterr().out == "a\x1b[2J\r\u65e5".encode()


def test_an_open_line_is_ended_once(capsys: pytest.CaptureFixture[str]) -> None:
    stdout = streams.Stdout()
    stdout.end_line()
    stdout.write("one")
    stdout.end_line()
    stdout.end_line()
    assert capsys.readouterr().out == "one\n"


def test_json_on_a_terminal_is_the_same_value_and_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal(io.BytesIO(), encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        streams.Stdout().json({"text": "\u009b2J \u202e"})
        assert terminal.buffer.getvalue() == b'{"text": "\\u009b2J \\u202e"}\n'  # type: ignore[attr-defined]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line_that_names_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(LmlabError, match=r"cannot write to stdout: No space left on device"):
            streams.Stdout().write("text")


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(streams.OutputClosed):
            streams.Stdout().write("text")


def test_a_closed_stdout_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(LmlabError, match="stdout is closed"):
        streams.Stdout().write("text")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"one\n", "one"),
        (b"one\r\n", "one"),
        (b"one\n\n", "one\n"),
        (b"\xef\xbb\xbfone", "one"),
        ("日本\n".encode(), "日本"),
    ],
)
def test_piped_input_loses_one_line_end(monkeypatch: pytest.MonkeyPatch, data: bytes, text: str) -> None:
    with stdin(monkeypatch, data):
        assert streams.piped_input() == text


def test_piped_input_that_is_not_utf8_names_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    with stdin(monkeypatch, b"caf\xe9 au lait"), pytest.raises(UsageError, match=r"byte 3 is 0xE9"):
        streams.piped_input()


def test_input_from_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal(io.BytesIO(b"typed\n")) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert streams.piped_input() == ""


@pytest.mark.parametrize(
    "arguments", [["run", "a", "\udce9"], ["chat", "--system", "caf\udce9"], ["run", "--stop", "\udce9"]]
)
def test_words_that_are_no_text_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match=r"not UTF-8 text: .*‹U\+DCE9›"):
        run_command(arguments)


def test_colours_are_only_for_terminals_and_never_come_out_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal(io.BytesIO(), encoding="utf-8", newline="\n") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        streams.Stdout().styled("red\x1b[2J\n", "1;31")
        assert terminal.buffer.getvalue().decode() == "\x1b[1;31mred␛[2J\n\x1b[0m"  # type: ignore[attr-defined]
    with io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        streams.Stdout().styled("red\n", "1;31")
        assert pipe.buffer.getvalue() == b"red\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environ", "platform", "shown"),
    [
        ({"TERM": "xterm"}, "linux", True),
        ({"TERM": "dumb"}, "linux", False),
        ({"NO_COLOR": "1", "TERM": "xterm"}, "linux", False),
        ({"NO_COLOR": "", "TERM": "xterm"}, "linux", True),
        ({}, "win32", False),
        ({"WT_SESSION": "x"}, "win32", True),
    ],
)
def test_whether_colours_are_shown(environ: dict[str, str], platform: str, shown: bool) -> None:
    assert streams.shows_colours(environ, platform) is shown

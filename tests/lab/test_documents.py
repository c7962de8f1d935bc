"""Files that go with a message: what is read, what is refused in a line, and what is said about tokens."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest
from chat_harness import Desk
from pdf_files import encrypted, pdf

from lmlab.errors import UsageError
from lmlab.lab import documents, slash
from lmlab.lab import pdf as pdf_module
from lmlab.lab.documents import Document, read, takes_time
from lmlab.lab.events import Notice
from lmlab.store import Attachment


def problem(path: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        read(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


# Text


def test_a_text_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "notes.md", "\ufeffgrün\r\n\x1b[31m".encode())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    document = read("~/notes.md")
    assert document == Document(Attachment("notes.md", "grün\r\n\x1b[31m"))
    assert str(document) == "notes.md, 11 characters"
    assert not takes_time("~/notes.md")


def test_what_is_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "TEXT_LIMIT", 10)
    monkeypatch.setattr(documents, "PDF_LIMIT", 20)
    assert problem(tmp_path / "none.txt") == f"no such file: {tmp_path / 'none.txt'}"
    assert problem(tmp_path) == f"{tmp_path} is a folder: give a text file or a PDF"
    assert "latin.txt is no PDF and not UTF-8 text (byte 2): convert it" in problem(
        put(tmp_path, "latin.txt", b"gr\xfcn")
    )
    assert "large.txt has 11 bytes and at most 10 can be attached" in problem(put(tmp_path, "large.txt", b"x" * 11))
    assert "huge.txt has 21 bytes and at most 20 are read" in problem(put(tmp_path, "huge.txt", b"x" * 21))
    assert "null character" in problem("a\0b")
    assert read(str(put(tmp_path, "fits.txt", b"x" * 10))).attachment.text == "x" * 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    assert "is not an ordinary file" in problem(tmp_path / "pipe.pdf")
    assert not takes_time(str(tmp_path / "pipe.pdf"))


# PDF


def test_a_pdf_is_its_text_with_the_numbers_of_its_pages(tmp_path: Path) -> None:
    file = put(tmp_path, "paper.pdf", pdf("The first page\nhas two lines", "", "The third"))
    assert takes_time(str(file))
    document = read(str(file))
    assert document.attachment.name == "paper.pdf"
    assert [line.split() for line in document.attachment.text.splitlines()] == [
        ["[page", "1]"],
        ["The", "first", "page"],
        ["has", "two", "lines"],
        [],
        ["[page", "2]"],
        [],
        [],
        ["[page", "3]"],
        ["The", "third"],
    ]
    assert (document.pages, document.blank) == (3, 1)
    characters = len(document.attachment.text)
    assert str(document) == f"paper.pdf, 3 pages, 1 of them without text, {characters} characters"


def test_a_pdf_of_one_page_is_its_text_alone_whatever_its_name(tmp_path: Path) -> None:
    document = read(str(put(tmp_path, "paper", pdf("Only this"))))
    assert document.attachment == Attachment("paper", "Only this")
    assert str(document) == "paper, 1 page, 9 characters"


def test_a_locked_pdf_says_what_to_do_and_one_locked_for_writing_is_read(tmp_path: Path) -> None:
    locked = put(tmp_path, "locked.pdf", encrypted(pdf("Secret"), "password"))
    assert problem(locked) == f"{locked} is encrypted: save a copy without a password, and read that"
    assert read(str(put(tmp_path, "open.pdf", encrypted(pdf("Public"), "")))).attachment.text == "Public"


def test_a_scan_says_what_to_do(tmp_path: Path) -> None:
    one, two = put(tmp_path, "one.pdf", pdf("")), put(tmp_path, "two.pdf", pdf("", ""))
    assert (
        problem(one)
        == f"{one} has no text, its page is a picture: recognize it first (OCR, such as ocrmypdf), and read that"
    )
    assert f"{two} has no text, its 2 pages are pictures" in problem(two)


@pytest.mark.parametrize(
    "data",
    [b"", b"%PDF-1.4\n", b"hello", pdf("x")[:200], b"%PDF-1.7\n" + b"<<" * 5000, b"%PDF-" + bytes(range(256)) * 40],
)
def test_a_damaged_pdf_is_one_line(tmp_path: Path, data: bytes) -> None:
    file = put(tmp_path, "damaged.pdf", data)
    message = problem(file)
    assert message.startswith(f"{file} ")
    assert "Traceback" not in message


def test_the_bounds_of_a_pdf_are_told_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path, "long.pdf", pdf("one two", "three four", "five"))
    monkeypatch.setattr(documents, "TEXT_LIMIT", 12)
    assert "long.pdf has more than 12 characters by page 2 of 3: read a part of it" in problem(file)
    monkeypatch.setattr(pdf_module, "MOST_PAGES", 2)
    assert "long.pdf has 3 pages and at most 2 are read: read a part of it" in problem(file)


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PDF that keeps its reader busy for ever."""
    child = put(tmp_path, "busy.py", b"import sys\nsys.stdin.buffer.read()\nwhile True: pass\n")
    monkeypatch.setattr(pdf_module, "_CHILD", child)
    return put(tmp_path, "endless.pdf", pdf("x"))


def test_a_pdf_that_takes_too_long_is_given_up(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_module, "LIMIT_S", 0.3)
    assert problem(endless) == f"{endless} was not read within 0.3 s: read a part of it, or save its text and read that"


def test_reading_can_be_stopped(endless: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(UsageError, match="was not read: it was stopped"):
        read(str(endless), stop)


def test_a_reader_that_falls_over_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = put(tmp_path, "falls.py", b"import sys\nsys.stdin.buffer.read()\nraise RecursionError('too deep')\n")
    monkeypatch.setattr(pdf_module, "_CHILD", child)
    file = put(tmp_path, "odd.pdf", pdf("x"))
    assert problem(file) == (
        f"{file} cannot be read as a PDF (RecursionError: too deep): "
        "print it to a new PDF, or save its text, and read that"
    )


# In the chat


def said(desk: Desk) -> list[str]:
    return [notice.text for notice in desk.told(Notice)]


def test_a_document_is_read_once_and_asked_often(auto: Desk, tmp_path: Path) -> None:
    backend = auto.open()
    file = put(tmp_path, "paper.pdf", pdf("All about apples"))
    assert slash.run(auto.chat, f"/read {file}").lines == (
        "paper.pdf, 1 page, 16 characters, goes with your next message",
    )
    assert said(auto)[-1].startswith("with what is attached the prompt has ")
    assert said(auto)[-1].endswith(" tokens (8,192 fit), none of them cached yet")
    auto.chat.send("What is it about?")
    auto.chat.send("And who wrote it?")
    contents = [[message.content for message in request.prompt.messages] for request in backend.requests]  # type: ignore[union-attr]
    assert contents[0][0] == "--- File: paper.pdf ---\nAll about apples\n--- End of paper.pdf ---\n\nWhat is it about?"
    assert contents[1][0] == contents[0][0]
    assert contents[1][-1] == "And who wrote it?"
    assert slash.run(auto.chat, f"/read {file}").lines == (
        "paper.pdf, 1 page, 16 characters, is in the conversation already, and has not changed: ask about it",
    )
    assert auto.chat.attachments == ()
    lines = slash.run(auto.chat, "/read").lines
    assert lines == (
        "no file goes with your next message",
        "in the conversation are, and can be asked about:",
        "  paper.pdf, 16 characters",
    )
    assert said(auto)[-1].startswith("the prompt has ")


def test_a_document_that_does_not_fit_is_said_before_it_is_asked(auto: Desk, tmp_path: Path) -> None:
    auto.open()
    file = put(tmp_path, "notes.txt", b"word " * 20_000)
    slash.run(auto.chat, f"/read {file}")
    assert "tokens and the context holds 8,192: /read - drops what is attached; --ctx-size makes room" in said(auto)[-1]


def test_before_a_model_is_there_nothing_is_said_about_tokens(desk: Desk, tmp_path: Path) -> None:
    slash.run(desk.chat, f"/read {put(tmp_path, 'notes.txt', b'one')}")
    assert said(desk) == []
    assert slash.run(desk.chat, "/read").lines == ("with your next message go:", "  notes.txt, 3 characters")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("/read a b.pdf", "a b.pdf"),
        ('/READ "a.pdf"', "a.pdf"),
        ("/read", None),
        ("/read -", None),
        ("/reader a.pdf", None),
        ("//read a.pdf", None),
        ("read a.pdf", None),
        ("", None),
    ],
)
def test_which_lines_read_a_file(line: str, path: str | None) -> None:
    assert slash.file_to_read(line) == path

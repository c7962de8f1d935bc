"""The text of a PDF, read in a child process that is ended when it takes too long. Knows nothing of chats."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

from lmlab.errors import UsageError
from lmlab.lab.selectors.shell import NEW_GROUP
from lmlab.terminal_text import one_line

MOST_PAGES = 2000
LIMIT_S = 60.0

_CHILD = Path(__file__).with_name("pdf_child.py")
_POLL_S = 0.1


def page_texts(name: str, data: bytes, most_characters: int, stop: Event | None = None) -> list[str]:
    """Return the text of each page of the PDF ``data``, which errors call ``name``.

    Raises UsageError that says what is wrong with it and what to do, also when ``stop`` was set.
    """
    limits = [str(MOST_PAGES), str(most_characters), str(math.ceil(LIMIT_S) + 1)]
    try:
        # -P: the child's folder is no place to import from.
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(_CHILD), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=NEW_GROUP,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"{name} cannot be read, for no process could be started: {error}") from None
    with process:
        try:
            out, complaints = _wait(name, process, data, stop)
        finally:
            process.kill()
    if process.returncode or not out:
        last = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = f" ({one_line(last, 120)})" if last else ""
        raise UsageError(f"{name} cannot be read as a PDF{why}: print it to a new PDF, or save its text, and read that")
    return _pages(name, json.loads(out), most_characters)


def _wait(name: str, process: subprocess.Popen[bytes], data: bytes, stop: Event | None) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + LIMIT_S
    sent: bytes | None = data
    while True:
        try:
            return process.communicate(sent, timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            # What was given once is not to be given again.
            sent = None
        if stop is not None and stop.is_set():
            raise UsageError(f"{name} was not read: it was stopped")
        if time.monotonic() > deadline:
            raise UsageError(
                f"{name} was not read within {LIMIT_S:g} s: read a part of it, or save its text and read that"
            )


def _pages(name: str, answer: dict[str, Any], most_characters: int) -> list[str]:
    if "encrypted" in answer:
        raise UsageError(f"{name} is encrypted: save a copy without a password, and read that")
    if "too_many_pages" in answer:
        raise UsageError(
            f"{name} has {answer['too_many_pages']:,} pages and at most {MOST_PAGES:,} are read: read a part of it"
        )
    if "too_long_at_page" in answer:
        raise UsageError(
            f"{name} has more than {most_characters:,} characters by page {answer['too_long_at_page']:,} "
            f"of {answer['of']:,}: read a part of it"
        )
    pages = [page.strip() for page in answer["pages"]]
    if not any(pages):
        what = "its page is a picture" if len(pages) == 1 else f"its {len(pages):,} pages are pictures"
        raise UsageError(f"{name} has no text, {what}: recognize it first (OCR, such as ocrmypdf), and read that")
    return pages

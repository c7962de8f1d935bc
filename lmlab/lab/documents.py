"""Files that go with a message: text, Markdown and the text of PDFs. Knows nothing of chats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event

from lmlab.errors import UsageError
from lmlab.lab.pdf import page_texts
from lmlab.settings import expanded
from lmlab.store import Attachment
from lmlab.terminal_text import one_line

TEXT_LIMIT = 16 * 2**20
PDF_LIMIT = 128 * 2**20

_PDF = b"%PDF-"


@dataclass(frozen=True, slots=True)
class Document:
    """``pages`` of a PDF, None for a text; ``blank`` of them have no text."""

    attachment: Attachment
    pages: int | None = None
    blank: int = 0

    def __str__(self) -> str:
        """Return ``paper.pdf, 12 pages, 34,512 characters``."""
        parts = [one_line(self.attachment.name, 60)]
        if self.pages is not None:
            parts.append("1 page" if self.pages == 1 else f"{self.pages:,} pages")
        if self.blank:
            parts.append(f"{self.blank:,} of them without text")
        return ", ".join([*parts, f"{len(self.attachment.text):,} characters"])


def takes_time(path: str) -> bool:
    """Whether reading ``path`` may take seconds: it is a PDF."""
    try:
        file = expanded(path)
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return _is_pdf(file, stream.read(len(_PDF)))
    except (OSError, ValueError, UsageError):
        # Reading it will say why.
        return False


def read(path: str, stop: Event | None = None) -> Document:
    """Return the UTF-8 text or PDF at ``path``, which may begin with ``~``; ``stop``, once set, ends the wait for a PDF.

    Raises UsageError that says what is wrong and what to do.
    """
    file = expanded(path)
    data = _bytes(path, file)
    if _is_pdf(file, data):
        pages = page_texts(path, data, TEXT_LIMIT, stop)
        # So that one may ask what is on which page.
        texts = [f"[page {number}]\n{text}" for number, text in enumerate(pages, 1)] if len(pages) > 1 else pages
        text = _text("\n\n".join(texts))
        return Document(Attachment(file.name, text), len(pages), sum(not page for page in pages))
    if len(data) > TEXT_LIMIT:
        raise UsageError(
            f"{path} has {len(data):,} bytes and at most {TEXT_LIMIT:,} can be attached: attach a part of it"
        )
    try:
        return Document(Attachment(file.name, data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no PDF and not UTF-8 text (byte {error.start:,}): convert it, or choose another file"
        ) from None


def _is_pdf(file: Path, data: bytes) -> bool:
    # Some have other bytes before their beginning.
    return data.startswith(_PDF) or file.suffix.lower() == ".pdf"


def _bytes(path: str, file: Path) -> bytes:
    try:
        if file.is_dir():
            raise UsageError(f"{path} is a folder: give a text file or a PDF")
        if not file.exists():
            raise UsageError(f"no such file: {path}")
        if not file.is_file():
            raise UsageError(f"{path} is not an ordinary file: give a text file or a PDF")
        with file.open("rb") as stream:
            data = stream.read(PDF_LIMIT + 1)
        if len(data) > PDF_LIMIT:
            size = file.stat().st_size
            raise UsageError(f"{path} has {size:,} bytes and at most {PDF_LIMIT:,} are read: read a part of it")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    return data


def _text(text: str) -> str:
    """Return ``text`` without what cannot be stored: fonts may name half a character."""
    return text.encode("utf-8", "replace").decode()

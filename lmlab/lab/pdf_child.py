"""A program: reads a PDF from its input and writes what is on its pages as JSON: ``{"pages": [...]}`` or why not.

Run by path, so that it can be killed: some files keep a reader busy for hours, or fill the memory. Its arguments are the
most pages, the most characters, and after how many seconds it ends by itself. Knows nothing of lmlab.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from contextlib import suppress
from typing import Any

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

_MEMORY = 2 << 30


def main() -> None:
    most_pages, most_characters, seconds = (int(argument) for argument in sys.argv[1:])
    _limit(seconds)
    answer = _read(sys.stdin.buffer.read(), most_pages, most_characters)
    sys.stdout.buffer.write(json.dumps(answer).encode())


def _read(data: bytes, most_pages: int, most_characters: int) -> dict[str, Any]:
    reader = PdfReader(io.BytesIO(data))
    try:
        # Many files are locked for writing alone, and open without a password.
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            return {"encrypted": True}
        count = len(reader.pages)
    except (DependencyError, FileNotDecryptedError):
        return {"encrypted": True}
    if count > most_pages:
        return {"too_many_pages": count}
    pages: list[str] = []
    characters = 0
    for page in reader.pages:
        pages.append(page.extract_text())
        characters += len(pages[-1])
        if characters > most_characters:
            return {"too_long_at_page": len(pages), "of": count}
    return {"pages": pages}


def _limit(seconds: int) -> None:
    # A parent that was killed cannot end it.
    if sys.platform != "win32":
        import resource

        signal.alarm(seconds)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    main()

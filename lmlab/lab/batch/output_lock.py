"""One run at a time on an output: a lock file beside it. A run that was killed leaves the file, but not the lock."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lmlab.errors import LmlabError, UsageError


class OutputLock:
    """Held from the moment it is made. Raises UsageError when another run has it, LmlabError when none can be made."""

    def __init__(self, output: Path, name: str) -> None:
        self._path = output.with_name(output.name + ".lock")
        self._lock = FileLock(self._path, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"another run is writing to {name}: wait until it has ended, or write to another file with -o"
            ) from None
        except OSError as error:
            raise LmlabError(
                f"cannot make {self._path}, which keeps a second run away from {name}: {error.strerror}; "
                "write to a folder where you may make files, with -o"
            ) from None

    def release(self) -> None:
        # The name goes before the lock: whoever has opened the file by then finds it unlinked and opens a new one.
        # Windows cannot remove an open file, and there nobody can open it in a way that makes removing it dangerous.
        if sys.platform == "win32":
            self._lock.release()
            with suppress(OSError):
                self._path.unlink()
        else:
            with suppress(OSError):
                self._path.unlink()
            self._lock.release()

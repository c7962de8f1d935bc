"""Prefixes that outlive the program: states of sequences on disk, found by the tokens they hold.

Finding is for the engine's thread; writing happens on a thread of its own. Whatever is wrong with a file, the folder or
the disk costs a line in the log and one reuse, nothing more. Knows nothing of llama.cpp: a state is bytes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmlab import snapshot_layout
from lmlab.engine.prefix_cache import ReusePolicy
from lmlab.errors import UsageError
from lmlab.settings import private_folder
from lmlab.snapshot_layout import folder_name
from lmlab.worker import snapshot_file
from lmlab.worker.snapshot_file import Tokens
from lmlab.worker.snapshot_index import Indexed, SnapshotIndex

SMALLEST = 64
"""Tokens worth a file: fewer are decoded in about the time that a file takes to be found, read and checked."""

WAITING_BYTES = 256 << 20
"""States that wait for the disk in memory; one more is not taken, unless it is the only one."""

SETTLE_S = 1.0
"""A state is written once no other has come for so long: the next question of a person or a script comes first, and
often brings a state that takes this one's place."""

ABANDONED_S = 3600.0
"""A file that has been half written for so long was left by a process that was killed."""

FOLDER_TRIES = 8
"""How often a folder is made that vanishes before its file is in it: another process removes one with its last file."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A snapshot of which the first ``length`` positions can be reused, once all of it has been restored.

    ``tokens`` are all that it holds. ``read`` returns the state, checked to the last byte, or None when the file turns
    out to be gone or damaged; any thread may call it.
    """

    tokens: tuple[int, ...]
    length: int
    read: Callable[[], bytes | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Offer:
    session: str | None
    key: str
    tokens: Tokens
    state: bytes | memoryview
    branch: bool

    def replaces(self, other: _Offer) -> bool:
        """Whether ``other`` is of no use beside this one: the same session, less far."""
        return not other.branch and _alike(self, other) and _continues(self.tokens, other.tokens)


class SnapshotStore:
    """The snapshots below ``folder``, ``budget`` bytes at most, for a model whose memory is reused by ``policy``.

    ``context``: tokens that fit; a snapshot of more cannot be restored. ``window``: positions that
    sliding-window layers attend to. ``log`` gets one line for each thing that went wrong, on
    any thread. Other processes may use the folder at the same time.
    """

    def __init__(
        self,
        folder: Path,
        budget: int,
        log: Callable[[str], None],
        *,
        policy: ReusePolicy,
        context: int,
        window: int = 0,
    ) -> None:
        self._folder = folder
        self._budget = budget
        self._log = log
        self._policy = policy
        self._context = context
        self._window = window
        self._index = SnapshotIndex(folder, log)
        self._state = threading.Condition()
        self._waiting: deque[_Offer] = deque()
        self._writing: _Offer | None = None
        self._offered = 0
        self._flushing = 0
        self._closed = False
        self._writer: threading.Thread | None = None

    def find(self, tokens: Sequence[int], key: str) -> Found | None:
        """Return the snapshot of ``key`` that saves most of decoding ``tokens``; of two that save the same, the smaller.

        ``key`` is a SnapshotKey's digest. The last token of a prompt is decoded again, for its logits: leave it out.
        """
        wanted = np.asarray(tokens, np.int32)
        best: Indexed | None = None
        length = SMALLEST - 1
        for found in self._index.find(key) if len(wanted) >= SMALLEST else ():
            count = len(found.header.tokens)
            usable = self._usable(count, _common(found.header.tokens, wanted))
            if usable > length or (best and usable == length and count < len(best.header.tokens)):
                best, length = found, usable
        if best is None:
            return None
        chosen = best
        return Found(tuple(chosen.header.tokens.tolist()), length, lambda: self._index.read(chosen))

    def offer(
        self, session: str | None, key: str, tokens: Sequence[int], state: bytes | memoryview, *, branch: bool = False
    ) -> None:
        """Have ``state``, which holds ``tokens``, written soon for ``session``; older states that it continues go.

        A ``branch`` is where two prompts part: it stays beside the states that continue it.

        Nothing is done for fewer than SMALLEST tokens, for an empty state, or when a snapshot of the session serves all
        of ``tokens`` already. The caller must not change ``state`` afterwards.
        """
        offer = _Offer(session, key, np.asarray(tokens, np.int32), state, branch)
        if len(tokens) < SMALLEST or not len(state) or self._has(offer):
            return
        size = snapshot_file.size_on_disk(len(tokens), len(state))
        if size > self._budget:
            self._log(f"a prefix of {len(tokens):,} tokens is not kept: {size:,} bytes, the budget is {self._budget:,}")
            return
        with self._state:
            if self._closed:
                return
            for other in list(self._waiting):
                if offer.replaces(other):
                    self._waiting.remove(other)
            waiting = sum(len(other.state) for other in self._waiting)
            if self._waiting and waiting + len(state) > WAITING_BYTES:
                self._log(
                    f"a prefix of {len(tokens):,} tokens is not kept: {waiting:,} bytes wait for the disk already"
                )
                return
            self._waiting.append(offer)
            self._offered += 1
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, daemon=True, name="snapshot-writer")
                self._writer.start()
            self._state.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was offered is on disk. False when it is not after ``timeout`` seconds."""
        with self._state:
            self._flushing += 1
            self._state.notify_all()
            try:
                return self._state.wait_for(lambda: not self._waiting and self._writing is None, timeout)
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Take nothing more, give up what has not been begun, and wait for what has."""
        with self._state:
            self._closed = True
            self._waiting.clear()
            self._state.notify_all()
        if self._writer is not None:
            self._writer.join()

    def _usable(self, count: int, shared: int) -> int:
        """Return how many positions of a snapshot of ``count`` tokens continue a prompt that begins with ``shared``."""
        if count > self._context:
            return 0
        if self._policy == "recurrent":
            # A recurrent state holds its end only: all of it continues, or nothing does.
            return shared if shared == count else 0
        if self._policy == "sliding-window":
            # Of the layers with a window, only what the next token would attend to is in a state.
            return shared if max(0, count - self._window) <= max(0, shared - self._window + 1) else 0
        return shared

    def _has(self, new: _Offer) -> bool:
        """Whether something on disk, or on its way there, serves all that ``new`` would."""
        with self._state:
            coming = [*self._waiting, *([self._writing] if self._writing else [])]
        held = [offer.tokens for offer in coming if _alike(offer, new)]
        held += [found.header.tokens for found in self._of(new.session, new.key)]
        count = len(new.tokens)
        return any(_common(other, new.tokens) == count and self._usable(len(other), count) for other in held)

    def _of(self, session: str | None, key: str) -> list[Indexed]:
        return [found for found in self._index.find(key) if found.entry.session == session]

    # The writer's thread

    def _write_all(self) -> None:
        while True:
            with self._state:
                self._writing = None
                self._state.notify_all()
                self._state.wait_for(lambda: self._waiting or self._closed)
                self._settle()
                if not self._waiting:
                    return
                self._writing = offer = self._waiting.popleft()
            self._write(offer)
            # It holds a state, which is large.
            del offer

    def _settle(self) -> None:
        """Wait until no state has come for a while, or somebody waits for those that have."""
        seen = -1
        while seen != self._offered and not self._flushing and not self._closed:
            seen = self._offered
            # Woken by an offer, a flush or the end, or by none of them.
            self._state.wait(SETTLE_S)

    def _write(self, offer: _Offer) -> None:
        older = [
            found
            for found in self._of(offer.session, offer.key)
            if not found.entry.branch and _continues(offer.tokens, found.header.tokens)
        ]
        path = self._folder / folder_name(offer.session) / snapshot_layout.new_name(offer.key, branch=offer.branch)
        failed: OSError | UsageError | None = None
        for _ in range(FOLDER_TRIES):
            failed = _try_to_write(path, offer)
            if not isinstance(failed, FileNotFoundError | UsageError):
                break
        if failed is not None:
            reason = getattr(failed, "strerror", None) or failed
            self._log(f"a prefix of {len(offer.tokens):,} tokens could not be written to {path.parent}: {reason}")
            return
        for found in older:
            snapshot_layout.remove(found.entry)
        self._make_room(path)
        self._index.changed()

    def _make_room(self, newest: Path) -> None:
        """Remove what was used longest ago until the budget is kept, and what processes that were killed left behind."""
        entries = list(snapshot_layout.entries(self._folder))
        total = sum(entry.size for entry in entries)
        abandoned_ns = time.time_ns() - int(ABANDONED_S * 1e9)
        for entry in sorted(entries, key=lambda entry: entry.used_ns):
            too_much = total > self._budget and not entry.temporary and entry.path != newest
            abandoned = entry.temporary and entry.used_ns < abandoned_ns
            if (too_much or abandoned) and snapshot_layout.remove(entry):
                total -= entry.size


def _try_to_write(path: Path, offer: _Offer) -> OSError | UsageError | None:
    try:
        private_folder(path.parent)
        snapshot_file.write(path, offer.key, offer.tokens, offer.state)
    except (OSError, UsageError) as error:
        return error
    return None


def _common(left: Tokens, right: Tokens) -> int:
    """Return how many tokens both begin with."""
    length = min(len(left), len(right))
    different = np.flatnonzero(left[:length] != right[:length])
    return int(different[0]) if len(different) else length


def _alike(left: _Offer, right: _Offer) -> bool:
    return (left.session, left.key) == (right.session, right.key)


def _continues(longer: Tokens, shorter: Tokens) -> bool:
    return _common(longer, shorter) == len(shorter)

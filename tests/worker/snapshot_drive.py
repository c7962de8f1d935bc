"""A snapshot store as the worker has it, but with states made from the tokens they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmlab.engine.prefix_cache import ReusePolicy
from lmlab.worker.snapshots import SnapshotStore

KEY = hashlib.sha256(b"a model").hexdigest()
OTHER_KEY = hashlib.sha256(b"another").hexdigest()


def numbers(count: int, *, seed: int = 0, begin: Sequence[int] = ()) -> tuple[int, ...]:
    """Return ``count`` tokens that go on from ``begin``, other ones for another ``seed``."""
    return (*begin, *((seed * 104729 + place * 7919) % 32000 for place in range(len(begin), count)))


def state_of(tokens: Sequence[int], size: int = 2000) -> bytes:
    """Return the bytes that stand for the state of ``tokens``."""
    return hashlib.shake_128(repr(tuple(tokens)).encode()).digest(size)


@dataclass
class Disk:
    """A folder, a store on it, and what the store has said."""

    folder: Path
    budget: int = 1_000_000
    policy: ReusePolicy = "full"
    window: int = 0
    context: int = 4096
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SnapshotStore(
            self.folder,
            self.budget,
            self.said.append,
            policy=self.policy,
            context=self.context,
            window=self.window,
        )

    def again(self) -> Disk:
        """Return the same folder as the next process finds it."""
        return Disk(self.folder, self.budget, self.policy, self.window, self.context)

    def keep(self, tokens: Sequence[int], *, session: str | None = "abc234", key: str = KEY, size: int = 2000) -> None:
        """Offer the state of ``tokens`` and wait for the disk."""
        self.store.offer(session, key, tokens, state_of(tokens, size))
        assert self.store.flush(60)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def length(self, tokens: Sequence[int], *, key: str = KEY) -> int:
        """Return how much of ``tokens`` is found, having checked that it can be read."""
        found = self.store.find(tokens, key)
        if found is None:
            return 0
        assert found.tokens[: found.length] == tuple(tokens[: found.length])
        assert found.read() == state_of(found.tokens)
        return found.length

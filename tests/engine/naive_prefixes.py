"""The prefix tree without a tree: a list in plain sight, scanned from end to end. Slow, and too simple to be wrong."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


def slow_common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))


@dataclass
class Record:
    """One entry. The least recently used has the smallest ``used``."""

    space: Hashable
    tokens: Tokens
    sequence: int
    used: int


class NaivePrefixes:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.locks: list[tuple[Hashable, Tokens]] = []
        self.clock = 0

    @property
    def size(self) -> int:
        return len({(r.space, r.tokens[:end]) for r in self.records for end in range(1, len(r.tokens) + 1)})

    @property
    def evictable(self) -> int:
        return self.size - len({(space, t[:end]) for space, t in self.locks for end in range(1, len(t) + 1)})

    def match(self, tokens: Tokens, space: Hashable) -> list[tuple[int, int]]:
        """How much each sequence shares, most first, then most recently used first."""
        found = [(slow_common_prefix(r.tokens, tokens), r) for r in self.records if r.space == space]
        found.sort(key=lambda pair: (-pair[0], -pair[1].used))
        return [(shared, record.sequence) for shared, record in found if shared]

    def prefixes(self, tokens: Tokens, space: Hashable) -> list[int]:
        found = [r for r in self.records if r.space == space and tokens[: len(r.tokens)] == r.tokens]
        return [r.sequence for r in sorted(found, key=lambda r: len(r.tokens))]

    def at(self, tokens: Tokens, space: Hashable) -> Record | None:
        return next((r for r in self.records if (r.space, r.tokens) == (space, tokens)), None)

    def of(self, sequence: int) -> Record:
        return next(r for r in self.records if r.sequence == sequence)

    def insert(self, tokens: Tokens, sequence: int, space: Hashable) -> None:
        self.clock += 1
        self.records.append(Record(space, tokens, sequence, self.clock))

    def extend(self, sequence: int, tokens: Tokens) -> None:
        self.clock += 1
        record = self.of(sequence)
        record.tokens, record.used = tokens, self.clock

    def touch(self, sequence: int) -> None:
        self.clock += 1
        self.of(sequence).used = self.clock

    def kept(self, record: Record) -> int:
        """How much of ``record`` stays when it is removed: the longest locked prefix that no other entry has."""
        others = [r.tokens for r in self.records if r is not record and r.space == record.space]
        locked = [t for space, t in self.locks if space == record.space and record.tokens[: len(t)] == t]
        longest = max(locked, key=len, default=())
        return 0 if any(other[: len(longest)] == longest for other in others) else len(longest)

    def is_leaf(self, record: Record) -> bool:
        return not any(
            r is not record and r.space == record.space and r.tokens[: len(record.tokens)] == record.tokens
            for r in self.records
        )

    def is_locked(self, record: Record) -> bool:
        return (record.space, record.tokens) in self.locks

    def remove(self, record: Record) -> tuple[int, int, int]:
        """Return (sequence, how much of it is kept, tokens freed)."""
        before, keep = self.size, self.kept(record)
        if keep:
            record.tokens = record.tokens[:keep]
        else:
            self.records.remove(record)
        return record.sequence, keep, before - self.size

    def evict(self) -> tuple[int, int, int] | None:
        victims = [r for r in self.records if self.is_leaf(r) and not self.is_locked(r)]
        return self.remove(min(victims, key=lambda r: r.used)) if victims else None

    def evict_whole(self) -> tuple[int, int, int] | None:
        victims = [r for r in self.records if not self.is_locked(r) and not self.kept(r)]
        return self.remove(min(victims, key=lambda r: r.used)) if victims else None

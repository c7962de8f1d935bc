"""Token prefixes whose KV cells outlive their requests, and how each kind of model may reuse them.

Idle prefixes lie on shelf sequences, which are never decoded; a request begins by sharing a shelf sequence's first
positions, which copies nothing, and holds a lease on them while it runs. Knows tokens and sequence ids only.

Cells are counted once however many sequences share them. Where two sequences decoded the same tokens apart, the tree
counts one set of cells; whoever holds the other set pays for it: a lease by being that much shorter, an entry by what
``_doubles`` says of it. Someone may pay for cells that are counted already, never the other way round: no fewer cells
are counted than are in use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.engine.prefix_tree import Entry, Node, PrefixTree, Removal, common_prefix
from lmlab.llama import Context

__all__ = ["Hit", "Lease", "PrefixCache", "ReusePolicy", "common_prefix"]

ReusePolicy: TypeAlias = Literal["full", "sliding-window", "recurrent"]
Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Ranges of positions, in order, none empty."""


@dataclass(frozen=True, slots=True)
class Hit:
    """``length`` positions of ``entry`` can be reused, now: the cache must not give them up before ``begin``."""

    length: int
    entry: Entry | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """A running sequence's claim: so many of its positions are cells that the cache accounts for, and keeps until release.

    Changed by the cache only. ``length`` is 0 once it is over, or where nothing was shared.
    """

    node: Node | None = None
    doubles: Spans = ()

    @property
    def length(self) -> int:
        return 0 if self.node is None else self.node.depth - _total(self.doubles)


class PrefixCache:
    """The shelf: sequence ids ``first`` to ``first + capacity - 1``. With a sliding window an entry takes two of them."""

    def __init__(
        self, context: Context, policy: ReusePolicy, *, sliding_window: int, first: int, capacity: int
    ) -> None:
        self._context = context
        self._policy = policy
        self._window = sliding_window
        # llama.cpp takes the cells behind the window of an idle sequence for others, unless a second one holds them too.
        width = 2 if policy == "sliding-window" else 1
        self._shelves = [tuple(range(first + at, first + at + width)) for at in range(0, capacity - width + 1, width)]
        self._free = self._shelves.copy()
        self._tree = PrefixTree()
        self._shelf_of: dict[Entry, tuple[int, ...]] = {}
        self._doubles: dict[Entry, Spans] = {}
        self._leases: set[Lease] = set()

    @property
    def held(self) -> int:
        """KV cells in use here, those that running sequences share among them. A recurrent state is not made of cells."""
        if self._policy == "recurrent":
            return 0
        return self._tree.size + sum(map(_total, self._doubles.values()))

    @property
    def evictable(self) -> int:
        """How many cells ``evict`` frees, at least, when it is called until it returns None."""
        if self._policy == "recurrent":
            return 0
        doubles = sum(_total(spans) for entry, spans in self._doubles.items() if self._tree.unlocked(entry))
        return self._tree.evictable + doubles

    def match(self, tokens: Sequence[int], space: Hashable = ()) -> Hit:
        """Return how many of ``tokens`` need not be decoded. Changes nothing.

        At most ``len(tokens) - 1``: the last token is decoded again, for its logits.
        """
        for length, entry in self._tree.match(tuple(tokens[:-1]), space):
            if self._reusable(entry, length):
                return Hit(length, entry)
        return Hit(0)

    def _reusable(self, entry: Entry, length: int) -> bool:
        if self._policy == "recurrent":
            # A recurrent state holds its end only: all of it continues, or nothing does.
            return length == entry.length
        return self.window_intact(entry.sequence, length)

    def window_intact(self, sequence: int, position: int) -> bool:
        """Whether all that a token at ``position`` attends to is still held; llama.cpp drops old cells silently."""
        if self._policy != "sliding-window":
            return True
        # A token attends to itself and the window - 1 positions before it. Old cells go first, so no gap lies after them.
        return 0 <= self._context.first_position(sequence) <= max(0, position - self._window + 1)

    def begin(self, hit: Hit, sequence: int) -> Lease:
        """Let the empty ``sequence`` begin with what was hit, the most recently used from now on.

        Raises ValueError when the cache has given up what was hit.
        """
        entry = hit.entry
        if entry is None:
            return Lease()
        if hit.length > entry.length or not self._reusable(entry, hit.length):
            raise ValueError(f"the prefix of {hit.length} tokens is no longer held: match again")
        self._context.share(entry.sequence, sequence, hit.length)
        self._tree.touch(entry)
        return self._lease(entry, hit.length)

    def insert(self, sequence: int, tokens: Sequence[int], lease: Lease | None, space: Hashable = ()) -> Lease:
        """Let others share ``tokens``, all that the running ``sequence`` holds; return the lease that replaces ``lease``.

        That is ``lease`` itself where nothing was added: the cache holds these tokens already, or has no id free.
        """
        lease = lease or Lease()
        entry = self._shelve(sequence, tuple(tokens), lease, space)
        if entry is None:
            return lease
        new = self._lease(entry, entry.length)
        self.release(lease)
        return new

    def keep(self, sequence: int, tokens: Sequence[int], lease: Lease | None, space: Hashable = ()) -> None:
        """Move what ``sequence`` holds, ``tokens``, to the shelf; it is empty afterwards, and the lease over."""
        lease = lease or Lease()
        self._shelve(sequence, tuple(tokens), lease, space)
        self._context.drop(sequence)
        self.release(lease)

    def release(self, lease: Lease) -> None:
        """The sequence of ``lease`` no longer needs what it shares."""
        node, lease.node, lease.doubles = lease.node, None, ()
        self._leases.discard(lease)
        if node is not None:
            self._tree.unlock(node)
            self._settle()

    def evict(self) -> int | None:
        """Give up the least recently used prefix that no running sequence needs; return how many cells that frees.

        None when there is nothing to give up. An entry that others extend frees no cells and waits for them to go,
        but for a recurrent state.
        """
        before = self.held
        removal = self._tree.evict_whole() if self._policy == "recurrent" else self._tree.evict()
        if removal is None:
            return None
        self._carry_out(removal)
        return before - self.held

    def clear(self) -> None:
        """Forget every idle prefix. Leases are over: what running sequences share is theirs alone from now on."""
        for shelf in self._shelf_of.values():
            self._drop(shelf)
        for lease in self._leases:
            lease.node, lease.doubles = None, ()
        self._leases.clear()
        self._shelf_of.clear()
        self._doubles.clear()
        self._free = self._shelves.copy()
        self._tree = PrefixTree()

    def check_integrity(self) -> None:
        """Raise AssertionError where the cache contradicts itself."""
        self._tree.check_integrity()
        assert set(self._shelf_of) == self._tree.entries, "a shelf has no entry, or an entry no shelf"
        assert all(shelf[0] == entry.sequence for entry, shelf in self._shelf_of.items())
        assert sorted([*self._free, *self._shelf_of.values()]) == self._shelves, "an id is lost or there twice"
        assert set(self._doubles) <= set(self._shelf_of)
        for entry, spans in self._doubles.items():
            _check_spans(spans, entry.length)
        for lease in self._leases:
            assert lease.node is not None, "a lease that is over is kept"
            _check_spans(lease.doubles, lease.node.depth)
        assert self._tree.locks == len(self._leases), "a lock belongs to no lease"

    def _lease(self, entry: Entry, length: int) -> Lease:
        """Return a lease on the first ``length`` positions of ``entry``."""
        if self._policy == "recurrent":
            # The state was copied: nothing is shared with it.
            return Lease()
        lease = Lease(self._tree.lock(entry, length), _cut(self._doubles.get(entry, ()), length))
        self._leases.add(lease)
        return lease

    def _shelve(self, sequence: int, tokens: tuple[int, ...], lease: Lease, space: Hashable) -> Entry | None:
        """Make ``tokens``, all that ``sequence`` holds, an entry and return it; None where that is impossible or useless."""
        if not tokens:
            return None
        for length, entry in self._tree.match(tokens, space):
            if length < len(tokens):
                break
            if self._serves_as_well(entry, sequence, len(tokens)):
                self._tree.touch(entry)
                return None
        redundant = [entry for entry in self._tree.prefixes(tokens, space) if self._is_redundant(entry, sequence)]
        if not redundant and not self._free_a_shelf():
            return None
        known = self._tree.shared(tokens, space)
        if redundant:
            # The longest goes on as what extends it, so no id is needed.
            entry = redundant.pop()
            shelf = self._shelf_of[entry]
            self._drop(shelf)
            self._tree.extend(entry, tokens, space)
        else:
            shelf = self._free.pop()
            entry = self._tree.insert(tokens, shelf[0], space)
            self._shelf_of[entry] = shelf
        for target in shelf:
            self._context.share(sequence, target, len(tokens))
        leased = 0 if lease.node is None else lease.node.depth
        # What the tree held beyond the lease, it holds in cells of others.
        self._pay(entry, (*lease.doubles, (leased, known)))
        for shorter in redundant:
            self._carry_out(self._tree.remove(shorter))
        self._settle()
        return entry

    def _serves_as_well(self, entry: Entry, sequence: int, length: int) -> bool:
        """Whether ``entry``, which begins with the ``length`` tokens of ``sequence``, can be reused wherever that can."""
        if self._policy == "recurrent":
            return entry.length == length
        return self._reaches_as_far_back(entry.sequence, sequence)

    def _is_redundant(self, entry: Entry, sequence: int) -> bool:
        """Whether ``sequence``, which begins with the tokens of ``entry``, can be reused wherever that can.

        A recurrent state serves its own end only. And a sequence that ran on for longer than the window may have lost
        what lies behind it, which an entry of its prompt still has: that stays, for those who leave the prompt early.
        """
        return self._policy != "recurrent" and self._reaches_as_far_back(sequence, entry.sequence)

    def _reaches_as_far_back(self, sequence: int, other: int) -> bool:
        if self._policy == "full":
            return True
        first = self._context.first_position(sequence)
        other_first = self._context.first_position(other)
        return other_first < 0 or 0 <= first <= other_first

    def _free_a_shelf(self) -> bool:
        """Give up entries until an id is free. False when all are in use."""
        if not self._free:
            removal = self._tree.evict_whole()
            if removal is None:
                return False
            self._carry_out(removal)
        return True

    def _carry_out(self, removal: Removal) -> None:
        """Do to the sequences what was decided for their entry."""
        entry = removal.entry
        if removal.keep:
            for sequence in self._shelf_of[entry]:
                # Attention cells can be cut anywhere; counting on after a refusal would promise cells that are taken.
                if not self._context.cut(sequence, removal.keep):
                    raise RuntimeError(f"sequence {sequence} could not be cut at {removal.keep}")
        else:
            shelf = self._shelf_of.pop(entry)
            self._doubles.pop(entry, None)
            self._drop(shelf)
            self._free.append(shelf)
        self._settle()

    def _drop(self, shelf: Iterable[int]) -> None:
        for sequence in shelf:
            self._context.drop(sequence)

    def _pay(self, entry: Entry, spans: Iterable[tuple[int, int]]) -> None:
        paid = tuple(span for span in spans if span[0] < span[1])
        if paid:
            self._doubles[entry] = paid
        else:
            self._doubles.pop(entry, None)

    def _settle(self) -> None:
        """Let entries stop paying where theirs are the only cells left for what the tree counts."""
        for entry, spans in list(self._doubles.items()):
            self._pay(entry, _cut(spans, self._tree.alone_from(entry)))


def _cut(spans: Spans, end: int) -> Spans:
    """Return what of ``spans`` lies before ``end``."""
    return tuple((start, min(stop, end)) for start, stop in spans if start < end)


def _total(spans: Spans) -> int:
    return sum(stop - start for start, stop in spans)


def _check_spans(spans: Spans, length: int) -> None:
    ends = [end for span in spans for end in span]
    assert ends == sorted(ends), "positions are paid for twice"
    assert all(start < stop for start, stop in spans)
    assert not ends or 0 <= ends[0] <= ends[-1] <= length, "positions are paid for that are not held"

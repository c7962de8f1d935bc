"""A radix tree over token ids: which idle sequence holds which prefix, what is in use, and what was used longest ago.

Knows tokens, sequence ids and a logical clock; decides what to give up, and leaves doing it to the caller.

A node is the edge that leads to it and the depth, in tokens, at which it ends. An entry is a sequence whose tokens are
the way to its node, so it holds every edge on that way; so many entries may hold an edge. Every leaf has an entry. A
node without one is there because the tree branches, or because its depth is locked; any other is merged into its child.
Splitting and merging leave the lower part in place, so a node keeps its depth for life.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Node:
    """``tokens`` lead from ``parent`` to here. ``locks`` are on this depth; ``locked`` counts those of the nodes below too."""

    tokens: tuple[int, ...]
    depth: int
    parent: Node | None = field(repr=False)
    children: dict[int, Node] = field(default_factory=dict, repr=False)
    entry: Entry | None = field(default=None, repr=False)
    locks: int = 0
    locked: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """``sequence`` holds the tokens on the way to ``node``; ``used`` is when it last was of use. Node is None once removed."""

    sequence: int
    node: Node | None
    used: int

    @property
    def length(self) -> int:
        return 0 if self.node is None else self.node.depth


@dataclass(frozen=True, slots=True)
class Removal:
    """``entry`` keeps the first ``keep`` of its tokens, 0 when it is gone; the tree holds ``freed`` tokens less."""

    entry: Entry
    keep: int
    freed: int


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two sequences, both tuples or both lists, share from the start."""
    low, high = 0, min(len(left), len(right))
    # Slices compare in C: halve towards the first difference.
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PrefixTree:
    """Entries of one ``space`` never match those of another."""

    def __init__(self) -> None:
        self._roots: dict[Hashable, Node] = {}
        self._entries: set[Entry] = set()
        self._clock = 0
        self._size = 0
        self._locked = 0

    @property
    def size(self) -> int:
        """Tokens held, each edge once however many entries hold it."""
        return self._size

    @property
    def evictable(self) -> int:
        """How many of them no lock needs: what ``evict`` frees when it is called until it returns None."""
        return self._size - self._locked

    @property
    def locks(self) -> int:
        """Locks taken and not yet given back."""
        return sum(root.locked for root in self._roots.values())

    @property
    def entries(self) -> frozenset[Entry]:
        return frozenset(self._entries)

    def match(self, tokens: tuple[int, ...], space: Hashable = ()) -> Iterator[tuple[int, Entry]]:
        """Yield how much each entry shares with ``tokens`` and the entry, most first, then most recently used first.

        Entries that share nothing are left out. The tree must not change while this is read.
        """
        path, depth = self._walk(tokens, space)
        visited: Node | None = None
        for node in reversed(path):
            for entry in sorted(_entries_under(node, visited), key=_by_use, reverse=True):
                yield min(depth, node.depth), entry
            visited = node

    def shared(self, tokens: tuple[int, ...], space: Hashable = ()) -> int:
        """Return how many of ``tokens``, from the first, the tree holds."""
        return self._walk(tokens, space)[1]

    def prefixes(self, tokens: tuple[int, ...], space: Hashable = ()) -> list[Entry]:
        """Return the entries that ``tokens`` begin with, equal ones too, shortest first."""
        path, depth = self._walk(tokens, space)
        return [node.entry for node in path if node.entry is not None and node.depth <= depth]

    def touch(self, entry: Entry) -> None:
        """Make ``entry`` the most recently used."""
        self._clock += 1
        entry.used = self._clock

    def insert(self, tokens: tuple[int, ...], sequence: int, space: Hashable = ()) -> Entry:
        """Add that ``sequence`` holds ``tokens``, now the most recently used. No entry may end there."""
        entry = Entry(sequence, None, 0)
        self._put(entry, self._grow(tokens, space))
        self._entries.add(entry)
        return entry

    def extend(self, entry: Entry, tokens: tuple[int, ...], space: Hashable = ()) -> None:
        """Let ``entry`` hold ``tokens`` from now on, which begin with its own; it is the most recently used."""
        old = _node_of(entry)
        node = self._grow(tokens, space)
        old.entry = None
        self._put(entry, node)
        self._merge(old)

    def lock(self, entry: Entry, length: int) -> Node:
        """Protect the first ``length`` tokens of ``entry``, at least one, until the node returned is unlocked."""
        node = _node_of(entry)
        if not 0 < length <= node.depth:
            raise ValueError(f"{length} is not within the {node.depth} tokens of the entry")
        while node.depth - len(node.tokens) >= length:
            node = _parent(node)
        if node.depth > length:
            node = self._split(node, length)
        node.locks += 1
        self._count_lock(node, 1)
        return node

    def unlock(self, node: Node) -> None:
        if not node.locks:
            raise ValueError("the node is not locked")
        node.locks -= 1
        self._count_lock(node, -1)
        self._merge(node)

    def evict(self) -> Removal | None:
        """Remove the least recently used unlocked entry that none extends, or None. It frees one token or more.

        Trimmed rather than removed where it alone holds a locked node on its way.
        """
        return self._remove_oldest(lambda node: not node.children)

    def evict_whole(self) -> Removal | None:
        """Remove the least recently used unlocked entry that need not be trimmed, or None. It may free no token."""
        return self._remove_oldest(lambda node: self._trimmed(node) is None)

    def remove(self, entry: Entry) -> Removal:
        """Remove ``entry``, or trim it to the deepest locked node that it alone holds."""
        node = _node_of(entry)
        rest = self._trimmed(node)
        before = self._size
        node.entry = entry.node = None
        if rest is None:
            self._entries.remove(entry)
        else:
            rest.entry, entry.node = entry, rest
        self._prune(node)
        return Removal(entry, entry.length, before - self._size)

    def alone_from(self, entry: Entry) -> int:
        """Return the depth from which on nothing but ``entry`` holds or locks its tokens."""
        node = _node_of(entry)
        if node.children or node.locks:
            return node.depth
        while True:
            parent = _parent(node)
            if parent.parent is None or parent.entry or parent.locks or len(parent.children) > 1:
                return parent.depth
            node = parent

    def unlocked(self, entry: Entry) -> bool:
        """Whether no lock keeps any part of ``entry``, nor one that extends it."""
        node: Node | None = _node_of(entry)
        if node is not None and node.locked:
            return False
        while node is not None:
            if node.locks:
                return False
            node = node.parent
        return True

    def check_integrity(self) -> None:
        """Raise AssertionError where the tree contradicts itself."""
        seen: list[Entry] = []
        size = locked = 0
        for root in self._roots.values():
            assert root.children, "an empty space is kept"
            assert root.parent is None
            assert (root.tokens, root.depth, root.entry, root.locks) == ((), 0, None, 0)
            for node in _nodes_under(root):
                _check_node(node)
                if node.entry is not None:
                    seen.append(node.entry)
                size += len(node.tokens)
                locked += len(node.tokens) if node.locked else 0
        assert len(seen) == len(self._entries), "an entry is in two nodes, or in none"
        assert set(seen) == self._entries
        assert len({entry.sequence for entry in seen}) == len(seen), "a sequence is in two entries"
        assert len({entry.used for entry in seen}) == len(seen), "two entries were used at once"
        assert all(0 < entry.used <= self._clock for entry in seen)
        assert (size, locked) == (self._size, self._locked), "tokens are miscounted"

    def _walk(self, tokens: tuple[int, ...], space: Hashable) -> tuple[list[Node], int]:
        """Return the nodes on the way of ``tokens``, and how many tokens lead along it: the last may be reached halfway."""
        path: list[Node] = []
        depth = 0
        node = self._roots.get(space)
        while node is not None and depth < len(tokens):
            node = node.children.get(tokens[depth])
            if node is None:
                break
            path.append(node)
            part = tokens[depth : node.depth]
            if part != node.tokens:
                return path, depth + common_prefix(part, node.tokens)
            depth = node.depth
        return path, depth

    def _grow(self, tokens: tuple[int, ...], space: Hashable) -> Node:
        """Return the node where ``tokens`` end, made if need be. The caller gives it an entry."""
        if not tokens:
            raise ValueError("an entry needs at least one token")
        path, depth = self._walk(tokens, space)
        if path and path[-1].depth > depth:
            path[-1] = self._split(path[-1], depth)
        node = path[-1] if path else self._roots.setdefault(space, Node((), 0, None))
        if depth < len(tokens):
            leaf = Node(tokens[depth:], len(tokens), node)
            node.children[tokens[depth]] = leaf
            self._size += len(leaf.tokens)
            node = leaf
        return node

    def _put(self, entry: Entry, node: Node) -> None:
        if node.entry is not None:
            raise ValueError(f"sequence {node.entry.sequence} has these tokens already")
        node.entry, entry.node = entry, node
        self.touch(entry)

    def _split(self, node: Node, depth: int) -> Node:
        """Return a new node at ``depth``, within the edge of ``node``."""
        at = depth - node.depth + len(node.tokens)
        upper = Node(node.tokens[:at], depth, node.parent, {node.tokens[at]: node}, locked=node.locked)
        _parent(node).children[upper.tokens[0]] = upper
        node.tokens, node.parent = node.tokens[at:], upper
        return upper

    def _merge(self, node: Node) -> None:
        """Merge ``node`` into its only child where nothing else needs it."""
        if node.parent is None or node.entry or node.locks or len(node.children) != 1:
            return
        (child,) = node.children.values()
        child.tokens, child.parent = node.tokens + child.tokens, node.parent
        child.parent.children[child.tokens[0]] = child

    def _prune(self, node: Node) -> None:
        """Take away ``node`` and the nodes above that nothing needs any more."""
        while node.parent is not None and not (node.children or node.entry or node.locks):
            del node.parent.children[node.tokens[0]]
            self._size -= len(node.tokens)
            node = node.parent
        self._merge(node)
        if node.parent is None and not node.children:
            self._roots = {space: root for space, root in self._roots.items() if root is not node}

    def _trimmed(self, node: Node) -> Node | None:
        """Return the locked node that would be left without an entry if that of ``node`` went."""
        if node.children:
            return None
        while not node.locks:
            node = _parent(node)
            if node.parent is None or node.entry or len(node.children) > 1:
                return None
        return node

    def _remove_oldest(self, removable: Callable[[Node], bool]) -> Removal | None:
        for entry in sorted(self._entries, key=_by_use):
            node = _node_of(entry)
            if not node.locks and removable(node):
                return self.remove(entry)
        return None

    def _count_lock(self, node: Node | None, change: int) -> None:
        while node is not None:
            before = node.locked
            node.locked += change
            self._locked += (bool(node.locked) - bool(before)) * len(node.tokens)
            node = node.parent


def _by_use(entry: Entry) -> int:
    return entry.used


def _node_of(entry: Entry) -> Node:
    if entry.node is None:
        raise ValueError(f"the entry of sequence {entry.sequence} was removed")
    return entry.node


def _parent(node: Node) -> Node:
    assert node.parent is not None
    return node.parent


def _nodes_under(top: Node, without: Node | None = None) -> Iterator[Node]:
    """Yield ``top`` and what lies below it, but for the branch ``without``. A root is not yielded."""
    stack = [top]
    while stack:
        node = stack.pop()
        if node.parent is not None:
            yield node
        stack += [child for child in node.children.values() if child is not without]


def _entries_under(top: Node, without: Node | None) -> Iterator[Entry]:
    return (node.entry for node in _nodes_under(top, without) if node.entry is not None)


def _check_node(node: Node) -> None:
    assert node.tokens, "an edge is empty"
    parent = _parent(node)
    assert parent.children.get(node.tokens[0]) is node, "a child is under another token than its first"
    assert all(child.parent is node for child in node.children.values()), "a child has another parent"
    assert node.depth == parent.depth + len(node.tokens), "a depth is not where the edge ends"
    assert node.entry is None or node.entry.node is node, "an entry is elsewhere"
    assert node.children or node.entry, "a leaf has no entry"
    assert node.entry or node.locks or len(node.children) > 1, "a node could be merged into its child"
    assert node.locks >= 0
    below = sum(child.locked for child in node.children.values())
    assert node.locked == node.locks + below, "locks are miscounted"

"""The radix tree of prefixes, by itself: no model, no context."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from naive_prefixes import NaivePrefixes, slow_common_prefix

from lmlab.engine.prefix_tree import Entry, Node, PrefixTree, Removal, common_prefix


def tokens(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def text_of(entry: Entry) -> str:
    """What an entry holds, read off the way to its node."""
    parts: list[str] = []
    node = entry.node
    while node is not None:
        parts.insert(0, "".join(map(chr, node.tokens)))
        node = node.parent
    return "".join(parts)


def grown(*texts: str, space: Hashable = ()) -> tuple[PrefixTree, dict[str, Entry]]:
    tree = PrefixTree()
    entries = {text: tree.insert(tokens(text), number, space) for number, text in enumerate(texts)}
    tree.check_integrity()
    return tree, entries


def found(tree: PrefixTree, text: str, space: Hashable = ()) -> list[tuple[int, str]]:
    return [(length, text_of(entry)) for length, entry in tree.match(tokens(text), space)]


def gone(removal: Removal | None) -> tuple[int, int, int]:
    assert removal is not None
    return removal.entry.sequence, removal.keep, removal.freed


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_common_prefix_is_what_a_loop_would_find(left: list[int], right: list[int]) -> None:
    assert common_prefix(left, right) == slow_common_prefix(left, right)
    assert common_prefix(tuple(right), tuple(left)) == slow_common_prefix(left, right)


def test_an_empty_tree_has_nothing_to_say() -> None:
    tree = PrefixTree()
    tree.check_integrity()
    assert found(tree, "abc") == []
    assert tree.shared(tokens("abc")) == 0
    assert tree.evict() is None
    assert tree.evict_whole() is None
    assert (tree.size, tree.evictable) == (0, 0)


def test_entries_come_by_how_much_they_share_then_by_use() -> None:
    tree, _ = grown("abcdef", "abcxyz", "abQ", "R", "abcde")
    assert found(tree, "abcde!") == [(5, "abcde"), (5, "abcdef"), (3, "abcxyz"), (2, "abQ")]
    assert found(tree, "abc") == [(3, "abcde"), (3, "abcxyz"), (3, "abcdef"), (2, "abQ")]
    assert found(tree, "none") == []


def test_an_edge_is_matched_halfway_and_stays_whole() -> None:
    tree, entries = grown("hello world")
    node = entries["hello world"].node
    assert found(tree, "hello there") == [(6, "hello world")]
    assert tree.shared(tokens("hello there")) == 6
    assert entries["hello world"].node is node
    assert node is not None
    assert node.tokens == tokens("hello world")


def test_shared_edges_count_once() -> None:
    tree, _ = grown("abcdef", "abcxyz", "abc", "Q")
    assert tree.size == 6 + 3 + 0 + 1


def test_the_entries_that_a_text_begins_with_come_shortest_first() -> None:
    tree, _ = grown("abcdef", "ab", "abcd", "abx", "abcdefgh")
    assert [text_of(entry) for entry in tree.prefixes(tokens("abcdefg"))] == ["ab", "abcd", "abcdef"]
    assert [text_of(entry) for entry in tree.prefixes(tokens("abcde"))] == ["ab", "abcd"]


def test_spaces_never_meet() -> None:
    tree, _ = grown("abc", space=(1.0,))
    assert found(tree, "abc") == []
    assert found(tree, "abc", (0.5,)) == []
    assert found(tree, "abcd", (1.0,)) == [(3, "abc")]
    tree.insert(tokens("abc"), 7, (0.5,))
    tree.check_integrity()
    assert tree.size == 6
    assert gone(tree.evict()) == (0, 0, 3)
    assert found(tree, "abc", (1.0,)) == []
    assert found(tree, "abc", (0.5,)) == [(3, "abc")]


def test_the_least_recently_used_leaf_goes_first() -> None:
    tree, entries = grown("ab", "abcd", "xy", "abef", "abefgh")
    tree.touch(entries["xy"])
    tree.touch(entries["ab"])
    order = []
    while removal := tree.evict():
        tree.check_integrity()
        order.append(gone(removal))
    # "ab" and "abef" wait for those that extend them, however long ago they were used.
    assert order == [(1, 0, 2), (4, 0, 2), (3, 0, 2), (2, 0, 2), (0, 0, 2)]
    assert tree.size == 0


def test_the_least_recently_used_of_all_goes_first_when_only_an_id_is_wanted() -> None:
    tree, entries = grown("ab", "abcd", "xy")
    tree.touch(entries["xy"])
    assert gone(tree.evict_whole()) == (0, 0, 0)
    tree.check_integrity()
    assert gone(tree.evict_whole()) == (1, 0, 4)
    assert gone(tree.evict_whole()) == (2, 0, 2)


def test_what_is_locked_stays() -> None:
    tree, entries = grown("abc", "xyz")
    lock = tree.lock(entries["abc"], 3)
    assert (tree.size, tree.evictable) == (6, 3)
    assert not tree.unlocked(entries["abc"])
    assert tree.unlocked(entries["xyz"])
    assert gone(tree.evict()) == (1, 0, 3)
    assert tree.evict() is None
    assert tree.evict_whole() is None
    tree.unlock(lock)
    assert gone(tree.evict()) == (0, 0, 3)


def test_a_lock_counts_as_often_as_it_was_taken() -> None:
    tree, entries = grown("abc")
    locks = [tree.lock(entries["abc"], 3) for _ in range(2)]
    tree.unlock(locks[0])
    assert tree.evict() is None
    tree.unlock(locks[1])
    with pytest.raises(ValueError, match="not locked"):
        tree.unlock(locks[1])
    assert tree.evict() is not None


@pytest.mark.parametrize("length", [0, 4, -1])
def test_only_what_is_held_can_be_locked(length: int) -> None:
    tree, entries = grown("abc")
    with pytest.raises(ValueError, match="not within"):
        tree.lock(entries["abc"], length)


def test_an_entry_is_trimmed_to_what_is_locked_of_it() -> None:
    tree, entries = grown("abcdef")
    lock = tree.lock(entries["abcdef"], 2)
    tree.check_integrity()
    assert tree.evictable == 4
    assert tree.evict_whole() is None
    assert gone(tree.evict()) == (0, 2, 4)
    tree.check_integrity()
    assert found(tree, "abcdef") == [(2, "ab")]
    assert tree.evict() is None
    tree.unlock(lock)
    assert gone(tree.evict()) == (0, 0, 2)


def test_an_entry_is_dropped_where_another_holds_what_is_locked() -> None:
    tree, entries = grown("abcdef", "abcxyz")
    tree.lock(entries["abcdef"], 2)
    assert gone(tree.evict()) == (0, 0, 3)
    assert gone(tree.evict()) == (1, 2, 4)
    assert tree.evict() is None


def test_an_entry_is_trimmed_to_the_deepest_of_several_locks() -> None:
    tree, entries = grown("abcdef")
    shallow, deep = tree.lock(entries["abcdef"], 2), tree.lock(entries["abcdef"], 4)
    assert gone(tree.evict()) == (0, 4, 2)
    tree.unlock(deep)
    tree.check_integrity()
    assert gone(tree.evict()) == (0, 2, 2)
    tree.unlock(shallow)
    tree.check_integrity()
    assert tree.evictable == 2


def test_a_lock_within_an_edge_leaves_no_trace() -> None:
    tree, entries = grown("abcdef")
    tree.unlock(tree.lock(entries["abcdef"], 3))
    node = entries["abcdef"].node
    assert node is not None
    assert node.tokens == tokens("abcdef")
    tree.check_integrity()


def test_an_entry_goes_on_as_what_extends_it() -> None:
    tree, entries = grown("ab", "xy")
    tree.extend(entries["ab"], tokens("abcd"))
    tree.check_integrity()
    assert found(tree, "abcde") == [(4, "abcd")]
    assert (tree.size, len(tree.entries)) == (6, 2)
    assert gone(tree.evict()) == (1, 0, 2)


def test_two_entries_cannot_end_at_one_place() -> None:
    tree, _ = grown("abc")
    with pytest.raises(ValueError, match="sequence 0 has these tokens"):
        tree.insert(tokens("abc"), 5)
    with pytest.raises(ValueError, match="at least one token"):
        tree.insert((), 5)


def test_a_removed_entry_cannot_be_used() -> None:
    tree, entries = grown("abc")
    tree.evict()
    assert entries["abc"].length == 0
    with pytest.raises(ValueError, match="was removed"):
        tree.lock(entries["abc"], 1)


def test_an_entry_is_alone_beyond_the_last_place_that_others_need() -> None:
    tree, entries = grown("abcdef")
    assert tree.alone_from(entries["abcdef"]) == 0
    lock = tree.lock(entries["abcdef"], 2)
    assert tree.alone_from(entries["abcdef"]) == 2
    tree.unlock(lock)
    entries["abcx"] = tree.insert(tokens("abcx"), 8)
    assert tree.alone_from(entries["abcdef"]) == 3
    entries["abcd"] = tree.insert(tokens("abcd"), 9)
    assert tree.alone_from(entries["abcdef"]) == 4
    assert tree.alone_from(entries["abcd"]) == 4


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda tree, node: setattr(node, "tokens", ()), "edge is empty"),
        (lambda tree, node: setattr(node, "entry", None), "leaf has no entry"),
        (lambda tree, node: setattr(node, "locked", 1), "locks are miscounted"),
        (lambda tree, node: setattr(node, "depth", 9), "not where the edge ends"),
        (lambda tree, node: setattr(tree, "_size", 1), "miscounted"),
        (lambda tree, node: setattr(node.entry, "sequence", 1), "in two entries"),
        (lambda tree, node: setattr(node.entry, "used", 2), "used at once"),
        (lambda tree, node: tree._entries.discard(node.entry), "in two nodes"),
        (lambda tree, node: tree._roots.update({"other": Node((), 0, None)}), "empty space"),
    ],
)
def test_integrity_is_really_checked(damage, complaint: str) -> None:  # type: ignore[no-untyped-def]
    tree, entries = grown("abc", "xyz")
    damage(tree, entries["abc"].node)
    with pytest.raises(AssertionError, match=complaint):
        tree.check_integrity()


TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=7).map(tuple)
SPACES = st.sampled_from([(), (1.0,)])


class Growing(RuleBasedStateMachine):
    """Any order of use, held against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree()
        self.naive = NaivePrefixes()
        self.entries: dict[int, Entry] = {}
        self.locks: list[tuple[Node, tuple[Hashable, tuple[int, ...]]]] = []
        self.next = 0

    @rule(text=TEXTS, space=SPACES)
    def insert(self, text: tuple[int, ...], space: Hashable) -> None:
        if self.naive.at(text, space) is None:
            self.entries[self.next] = self.tree.insert(text, self.next, space)
            self.naive.insert(text, self.next, space)
            self.next += 1

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), more=TEXTS)
    def extend(self, data: st.DataObject, more: tuple[int, ...]) -> None:
        record = self.naive.of(data.draw(st.sampled_from(sorted(self.entries))))
        longer = record.tokens + more
        # An entry that alone holds a locked node passes it still once it is extended.
        if self.naive.at(longer, record.space) is None:
            self.tree.extend(self.entries[record.sequence], longer, record.space)
            self.naive.extend(record.sequence, longer)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.entries)))
        self.tree.touch(self.entries[sequence])
        self.naive.touch(sequence)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def lock(self, data: st.DataObject) -> None:
        record = self.naive.of(data.draw(st.sampled_from(sorted(self.entries))))
        length = data.draw(st.integers(1, len(record.tokens)))
        node = self.tree.lock(self.entries[record.sequence], length)
        assert node.depth == length
        locked = (record.space, record.tokens[:length])
        self.locks.append((node, locked))
        self.naive.locks.append(locked)

    @precondition(lambda self: self.locks)
    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        node, locked = self.locks.pop(data.draw(st.integers(0, len(self.locks) - 1)))
        self.tree.unlock(node)
        self.naive.locks.remove(locked)

    @rule()
    def evict(self) -> None:
        self.agree(self.tree.evict(), self.naive.evict())

    @rule()
    def evict_whole(self) -> None:
        self.agree(self.tree.evict_whole(), self.naive.evict_whole())

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.entries)))
        self.agree(self.tree.remove(self.entries[sequence]), self.naive.remove(self.naive.of(sequence)))

    def agree(self, removal: Removal | None, expected: tuple[int, int, int] | None) -> None:
        assert (None if removal is None else gone(removal)) == expected
        if expected is not None and not expected[1]:
            del self.entries[expected[0]]

    @rule(text=TEXTS, space=SPACES)
    def match(self, text: tuple[int, ...], space: Hashable) -> None:
        matched = [(length, entry.sequence) for length, entry in self.tree.match(text, space)]
        expected = self.naive.match(text, space)
        assert matched == expected
        assert self.tree.shared(text, space) == max((length for length, _ in expected), default=0)
        assert [entry.sequence for entry in self.tree.prefixes(text, space)] == self.naive.prefixes(text, space)

    @invariant()
    def agrees(self) -> None:
        self.tree.check_integrity()
        assert self.tree.size == self.naive.size
        assert self.tree.evictable == self.naive.evictable
        held = {entry.sequence: (entry.length, entry.used) for entry in self.tree.entries}
        assert held == {r.sequence: (len(r.tokens), r.used) for r in self.naive.records}

    def teardown(self) -> None:
        """Everything goes once nothing is locked, in the order of the list."""
        for node, locked in self.locks:
            self.tree.unlock(node)
            self.naive.locks.remove(locked)
        freed, promised = 0, self.tree.evictable
        while removal := self.tree.evict():
            self.agree(removal, self.naive.evict())
            self.tree.check_integrity()
            freed += removal.freed
        assert freed == promised
        assert (self.tree.size, self.entries) == (0, {})


TestGrowing = Growing.TestCase
TestGrowing.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)

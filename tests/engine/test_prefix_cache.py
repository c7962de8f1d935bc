"""The shelf of idle prefixes, over a context that only keeps books."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lmlab.engine.prefix_cache import PrefixCache, ReusePolicy, common_prefix

FIRST = 10
"""The first shelf id; requests run on ids below it."""


class Books:
    """A context that records who holds which positions. A share must go to an empty sequence, as in llama.cpp's contract."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.first: dict[int, int] = {}
        self.calls: list[tuple[object, ...]] = []

    def decode(self, sequence: int, length: int) -> None:
        self.held[sequence] = length

    def share(self, source: int, target: int, length: int) -> None:
        assert target not in self.held, f"{target} is not empty"
        assert self.held[source] >= length > 0
        self.held[target] = length
        self.first[target] = self.first.get(source, 0)
        self.calls.append(("share", source, target, length))

    def drop(self, sequence: int) -> None:
        del self.held[sequence]
        self.first.pop(sequence, None)
        self.calls.append(("drop", sequence))

    def first_position(self, sequence: int) -> int:
        return self.first.get(sequence, 0) if sequence in self.held else -1


def shelf(policy: ReusePolicy = "full", *, capacity: int = 3, window: int = 0) -> tuple[PrefixCache, Books]:
    books = Books()
    cache = PrefixCache(books, policy, sliding_window=window, first=FIRST, capacity=capacity)  # type: ignore[arg-type]
    return cache, books


def keep(cache: PrefixCache, books: Books, text: str, sequence: int = 0) -> None:
    books.decode(sequence, len(text))
    cache.keep(sequence, tokens(text))


def tokens(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def residents(cache: PrefixCache) -> list[str]:
    """What lies on the shelf, least recently used first."""
    return ["".join(map(chr, resident.tokens)) for resident in cache._residents]


def match(cache: PrefixCache, text: str) -> tuple[str | None, int]:
    resident, length = cache.match(tokens(text))
    return (None if resident is None else "".join(map(chr, resident.tokens))), length


def use(cache: PrefixCache, books: Books, text: str, sequence: int = 0) -> int:
    """Begin a request with ``text`` on ``sequence`` and drop it again; return how much was reused."""
    resident, length = cache.match(tokens(text))
    assert resident is not None
    cache.begin(resident, length, sequence)
    books.drop(sequence)
    return length


def slow_common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_common_prefix_is_what_a_loop_would_find(left: list[int], right: list[int]) -> None:
    assert common_prefix(left, right) == slow_common_prefix(left, right)
    assert common_prefix(tuple(right), tuple(left)) == slow_common_prefix(left, right)


def test_an_empty_shelf_matches_nothing() -> None:
    cache, books = shelf()
    assert match(cache, "hello") == (None, 0)
    assert books.calls == []


def test_matching_changes_nothing() -> None:
    cache, books = shelf()
    keep(cache, books, "abc")
    keep(cache, books, "xyz")
    before = (residents(cache), dict(books.held), list(books.calls))
    assert match(cache, "abcd") == ("abc", 3)
    assert (residents(cache), books.held, books.calls) == before


def test_a_match_leaves_the_last_token_to_decode() -> None:
    cache, books = shelf()
    keep(cache, books, "hello")
    assert match(cache, "hello") == ("hello", 4)
    assert match(cache, "hell") == ("hello", 3)
    assert match(cache, "h") == (None, 0)


def test_half_of_a_resident_is_used_halfway() -> None:
    cache, books = shelf()
    keep(cache, books, "hello world")
    assert match(cache, "hello there") == ("hello world", 6)
    assert match(cache, "jello") == (None, 0)


def test_the_resident_that_shares_most_is_matched() -> None:
    cache, books = shelf()
    for text in ("ab__", "abcd__", "abc__"):
        keep(cache, books, text)
    assert match(cache, "abcdefgh") == ("abcd__", 4)


def test_keeping_moves_a_sequence_to_the_shelf() -> None:
    cache, books = shelf()
    keep(cache, books, "abc", sequence=2)
    assert books.held == {FIRST + 2: 3}
    assert books.calls == [("share", 2, FIRST + 2, 3), ("drop", 2)]


def test_beginning_shares_and_keeps_the_resident() -> None:
    cache, books = shelf()
    keep(cache, books, "abcdef")
    resident, length = cache.match(tokens("abcxyz"))
    assert resident is not None
    cache.begin(resident, length, 1)
    assert books.held == {FIRST + 2: 6, 1: 3}
    assert residents(cache) == ["abcdef"]


def test_the_least_recently_used_goes_first() -> None:
    cache, books = shelf(capacity=3)
    for text in ("a1", "b1", "c1"):
        keep(cache, books, text)
    use(cache, books, "a1+")
    keep(cache, books, "d1")
    assert residents(cache) == ["c1", "a1", "d1"]
    keep(cache, books, "e1")
    assert residents(cache) == ["a1", "d1", "e1"]
    assert cache.evict()
    assert residents(cache) == ["d1", "e1"]
    assert cache.evict()
    assert cache.evict()
    assert not cache.evict()
    assert books.held == {}


def test_an_extension_replaces_what_it_extends() -> None:
    cache, books = shelf()
    keep(cache, books, "ab")
    keep(cache, books, "xy")
    keep(cache, books, "abc")
    assert residents(cache) == ["xy", "abc"]
    keep(cache, books, "abc")
    assert residents(cache) == ["xy", "abc"]
    assert len(books.held) == 2


def test_a_shorter_one_does_not_replace_a_longer() -> None:
    cache, books = shelf()
    keep(cache, books, "abcdef")
    keep(cache, books, "abc")
    assert residents(cache) == ["abcdef", "abc"]


def test_an_extension_on_a_full_shelf_evicts_nobody_else() -> None:
    cache, books = shelf(capacity=3)
    for text in ("xx", "yy", "ab"):
        keep(cache, books, text)
    keep(cache, books, "abc")
    assert residents(cache) == ["xx", "yy", "abc"]


def test_a_recurrent_state_is_reused_whole_or_not_at_all() -> None:
    cache, books = shelf("recurrent")
    keep(cache, books, "hello")
    assert match(cache, "hello!") == ("hello", 5)
    assert match(cache, "hello") == (None, 0)
    assert match(cache, "help me") == (None, 0)


def test_recurrent_states_of_one_conversation_lie_side_by_side() -> None:
    cache, books = shelf("recurrent")
    for text in ("ab", "abcd", "abcdef"):
        keep(cache, books, text)
    assert residents(cache) == ["ab", "abcd", "abcdef"]
    assert match(cache, "abcdXX") == ("abcd", 4)
    assert match(cache, "abcdefg") == ("abcdef", 6)
    keep(cache, books, "abcd")
    assert residents(cache) == ["ab", "abcdef", "abcd"]


@pytest.mark.parametrize(
    ("first", "text", "reused"),
    [
        (0, "abcdefghij+", 10),
        (0, "ab+", 2),
        (7, "abcdefghij+", 10),
        (8, "abcdefghij+", 0),
        (7, "abcdefghi+", 0),
        (6, "abcdefghi+", 9),
        (1, "ab+", 0),
    ],
)
def test_a_sliding_window_is_reused_where_all_of_it_is_held(first: int, text: str, reused: int) -> None:
    """With a window of 4, the token at position 10 attends to 7, 8, 9 and itself."""
    cache, books = shelf("sliding-window", window=4)
    keep(cache, books, "abcdefghij")
    books.first[FIRST + 2] = first
    assert match(cache, text)[1] == reused


def test_a_resident_without_its_window_gives_way_to_a_shorter_match() -> None:
    cache, books = shelf("sliding-window", window=4)
    keep(cache, books, "abcdefghij")
    keep(cache, books, "abcdXX")
    books.first[FIRST + 2] = 9
    assert match(cache, "abcdefghij+") == ("abcdXX", 4)


def test_a_sequence_that_holds_nothing_has_no_window() -> None:
    cache, _ = shelf("sliding-window", window=4)
    assert not cache.window_intact(3, 0)


class Shelving(RuleBasedStateMachine):
    """Any order of keep, begin and evict, held against a list in plain sight."""

    policy: ReusePolicy = "full"

    def __init__(self) -> None:
        super().__init__()
        self.cache, self.books = shelf(self.policy, capacity=3)
        self.model: list[tuple[int, ...]] = []

    @rule(text=st.lists(st.integers(0, 1), min_size=1, max_size=6))
    def keep(self, text: list[int]) -> None:
        kept = tuple(text)
        self.books.decode(0, len(text))
        self.cache.keep(0, text)
        same = (lambda old: old == kept) if self.policy == "recurrent" else (lambda old: kept[: len(old)] == old)
        self.model = [old for old in self.model if not same(old)]
        self.model = [*self.model[-2:], kept] if len(self.model) == 3 else [*self.model, kept]

    @rule(text=st.lists(st.integers(0, 1), min_size=1, max_size=8))
    def begin(self, text: list[int]) -> None:
        resident, length = self.cache.match(text)
        best = max((self.reusable(old, text) for old in self.model), default=0)
        assert length == best
        assert (resident is None) == (best == 0)
        if resident is not None:
            assert resident.tokens[:length] == tuple(text[:length])
            self.cache.begin(resident, length, 1)
            self.books.drop(1)
            self.model.remove(resident.tokens)
            self.model.append(resident.tokens)

    def reusable(self, old: Sequence[int], text: Sequence[int]) -> int:
        shared = slow_common_prefix(old, text[:-1])
        return shared if self.policy != "recurrent" or shared == len(old) else 0

    @precondition(lambda self: self.model)
    @rule()
    def evict(self) -> None:
        assert self.cache.evict()
        del self.model[0]

    @invariant()
    def holds_what_it_says(self) -> None:
        kept = self.cache._residents
        assert sorted(r.tokens for r in kept) == sorted(self.model)
        assert self.books.held == {r.sequence: len(r.tokens) for r in kept}
        ids = [*self.cache._free, *(r.sequence for r in kept)]
        assert sorted(ids) == [FIRST, FIRST + 1, FIRST + 2], "no id is lost or there twice"

    @invariant()
    def keeps_the_order_of_use(self) -> None:
        assert [r.tokens for r in self.cache._residents] == self.model


class RecurrentShelving(Shelving):
    policy: ReusePolicy = "recurrent"


TestShelving = Shelving.TestCase
TestRecurrentShelving = RecurrentShelving.TestCase
TestShelving.settings = TestRecurrentShelving.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)

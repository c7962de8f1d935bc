"""The shelf of idle prefixes, over a context on paper."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from naive_prefixes import slow_common_prefix
from paper_context import FIRST, PaperContext

from lmlab.engine.prefix_cache import Hit, Lease, PrefixCache, ReusePolicy


def shelf(policy: ReusePolicy = "full", *, capacity: int = 3, window: int = 0) -> tuple[PrefixCache, PaperContext]:
    paper = PaperContext(window)
    cache = PrefixCache(paper, policy, sliding_window=window, first=FIRST, capacity=capacity)  # type: ignore[arg-type]
    return cache, paper


def tokens(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def start(cache: PrefixCache, paper: PaperContext, text: str, sequence: int = 0, space: Hashable = ()) -> Lease:
    """Run ``text`` on ``sequence``: share what is known, decode the rest."""
    lease = cache.begin(cache.match(tokens(text), space), sequence)
    paper.decode(sequence, tokens(text), space)
    return lease


def keep(cache: PrefixCache, paper: PaperContext, text: str, sequence: int = 0, space: Hashable = ()) -> None:
    """A whole request, kept."""
    cache.keep(sequence, tokens(text), start(cache, paper, text, sequence, space), space)
    cache.check_integrity()


def decode_apart(cache: PrefixCache, paper: PaperContext, text: str, sequence: int = 0) -> None:
    """A request that shares nothing, kept."""
    paper.decode(sequence, tokens(text))
    cache.keep(sequence, tokens(text), None)
    cache.check_integrity()


def kept(paper: PaperContext) -> set[str]:
    """What lies on the shelf."""
    return {"".join(map(chr, paper.tokens(sequence))) for sequence in paper.cells if sequence >= FIRST}


def matched(cache: PrefixCache, paper: PaperContext, text: str, space: Hashable = ()) -> tuple[str | None, int]:
    hit = cache.match(tokens(text), space)
    return (None if hit.entry is None else "".join(map(chr, paper.tokens(hit.entry.sequence)))), hit.length


def test_an_empty_shelf_matches_nothing() -> None:
    cache, paper = shelf()
    assert cache.match(tokens("hello")) == Hit(0)
    assert cache.match([]) == Hit(0)
    assert paper.calls == []
    assert (cache.held, cache.evictable, cache.evict()) == (0, 0, None)


def test_beginning_with_nothing_is_legal() -> None:
    cache, paper = shelf()
    lease = cache.begin(Hit(0), 0)
    assert lease.length == 0
    cache.release(lease)
    assert paper.calls == []


def test_a_sequence_that_held_nothing_leaves_nothing() -> None:
    cache, paper = shelf()
    paper.decode(0, [])
    cache.keep(0, [], None)
    assert paper.calls == [("drop", 0)]
    assert cache.insert(0, [], None).length == 0


def test_matching_changes_nothing() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    keep(cache, paper, "xyz")
    before = list(paper.calls)
    assert matched(cache, paper, "abcd") == ("abc", 3)
    assert paper.calls == before
    assert cache.evict() == 3
    assert kept(paper) == {"xyz"}


def test_a_match_leaves_the_last_token_to_decode() -> None:
    cache, paper = shelf()
    keep(cache, paper, "hello")
    assert matched(cache, paper, "hello") == ("hello", 4)
    assert matched(cache, paper, "hell") == ("hello", 3)
    assert matched(cache, paper, "h") == (None, 0)


def test_half_of_an_entry_is_used_halfway() -> None:
    cache, paper = shelf()
    keep(cache, paper, "hello world")
    assert matched(cache, paper, "hello there") == ("hello world", 6)
    assert matched(cache, paper, "jello") == (None, 0)
    lease = start(cache, paper, "hello there", 1)
    assert lease.length == 6
    assert paper.tokens(1) == tuple(tokens("hello there"))
    assert paper.used == 11 + 5


def test_the_most_recently_used_of_equals_is_matched() -> None:
    cache, paper = shelf()
    keep(cache, paper, "ab1")
    keep(cache, paper, "ab2")
    assert matched(cache, paper, "abc") == ("ab2", 2)
    cache.release(start(cache, paper, "ab1!"))
    assert matched(cache, paper, "abc") == ("ab1", 2)


def test_spaces_never_meet() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc", space=(1.0,))
    assert matched(cache, paper, "abcd") == (None, 0)
    assert matched(cache, paper, "abcd", (1.0,)) == ("abc", 3)
    keep(cache, paper, "abcd")
    assert cache.held == 7


def test_keeping_moves_a_sequence_to_the_shelf() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc", sequence=2)
    assert paper.calls == [("share", 2, FIRST + 2, 3), ("drop", 2)]
    assert cache.held == cache.evictable == 3


def test_an_inserted_prompt_is_shared_while_its_request_goes_on() -> None:
    cache, paper = shelf()
    lease = cache.insert(0, tokens("abc"), start(cache, paper, "abc"))
    cache.check_integrity()
    assert (lease.length, cache.held, cache.evictable) == (3, 3, 0)
    other = start(cache, paper, "abcX", 1)
    assert other.length == 3
    assert paper.used == 4
    paper.decode(0, tokens("abcde"))
    cache.keep(0, tokens("abcde"), lease)
    assert kept(paper) == {"abcde"}
    assert (cache.held, cache.evictable) == (5, 2)


def test_what_runs_is_not_evicted() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abcdef")
    keep(cache, paper, "xyz")
    lease = start(cache, paper, "abcX")
    assert (cache.held, cache.evictable) == (9, 6)
    assert cache.evict() == 3
    assert cache.evict() == 3, "the rest of what is shared"
    assert cache.evict() is None
    assert kept(paper) == {"abc"}
    assert matched(cache, paper, "abcdef") == ("abc", 3)
    cache.release(lease)
    assert cache.evict() == 3
    assert kept(paper) == set()


def test_a_lease_is_over_once() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    lease = start(cache, paper, "abcd")
    cache.release(lease)
    assert lease.length == 0
    cache.release(lease)
    cache.check_integrity()
    assert cache.evictable == 3


def test_a_match_that_was_given_up_since_cannot_begin() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    hit = cache.match(tokens("abcd"))
    cache.evict()
    with pytest.raises(ValueError, match="no longer held: match again"):
        cache.begin(hit, 0)


def test_the_least_recently_used_goes_first() -> None:
    cache, paper = shelf(capacity=3)
    for text in ("a1", "b1", "c1"):
        keep(cache, paper, text)
    cache.release(start(cache, paper, "a1+"))
    paper.drop(0)
    keep(cache, paper, "d1")
    assert kept(paper) == {"c1", "a1", "d1"}
    keep(cache, paper, "e1")
    assert kept(paper) == {"a1", "d1", "e1"}
    assert cache.evict() == 2
    assert kept(paper) == {"d1", "e1"}
    assert [cache.evict(), cache.evict(), cache.evict()] == [2, 2, None]
    assert paper.cells == {}


def test_keeping_what_is_known_makes_it_recent_and_adds_nothing() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    keep(cache, paper, "xyz")
    keep(cache, paper, "abc")
    assert kept(paper) == {"abc", "xyz"}
    assert (cache.held, paper.used) == (6, 6)
    cache.evict()
    assert kept(paper) == {"abc"}


def test_an_extension_replaces_what_it_extends() -> None:
    cache, paper = shelf()
    for text in ("ab", "xy", "abc", "abcdef", "abcd"):
        keep(cache, paper, text)
    assert kept(paper) == {"xy", "abcdef"}
    assert cache.held == 8


def test_an_extension_on_a_full_shelf_evicts_nobody_else() -> None:
    cache, paper = shelf(capacity=3)
    for text in ("xx", "yy", "ab", "abc"):
        keep(cache, paper, text)
    assert kept(paper) == {"xx", "yy", "abc"}


def test_when_all_is_in_use_nothing_is_added() -> None:
    cache, paper = shelf(capacity=1)
    keep(cache, paper, "abc")
    lease = start(cache, paper, "abX", 0)
    assert cache.insert(0, tokens("abX"), lease) is lease
    assert lease.length == 2
    other = start(cache, paper, "xyz", 1)
    assert cache.insert(1, tokens("xyz"), other) is other
    assert other.length == 0
    cache.keep(1, tokens("xyz"), other)
    cache.check_integrity()
    assert kept(paper) == {"abc"}
    assert set(paper.cells) == {0, FIRST}


def test_the_same_prompt_again_shares_all_but_its_last_token() -> None:
    """The tree holds that token by another cell, so the lease does not cover it; what follows is kept all the same."""
    cache, paper = shelf()
    keep(cache, paper, "hello: one")
    lease = cache.insert(0, tokens("hello:"), start(cache, paper, "hello:"))
    assert lease.length == 5
    assert kept(paper) == {"hello: one"}
    paper.decode(0, tokens("hello: two"))
    cache.keep(0, tokens("hello: two"), lease)
    cache.check_integrity()
    assert kept(paper) == {"hello: one", "hello: two"}
    assert cache.held == paper.used == 10 + 1 + 1 + 3


def test_a_text_decoded_apart_is_counted_twice_while_both_are_held() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abcdef")
    decode_apart(cache, paper, "abcdXY")
    assert cache.held == paper.used == cache.evictable == 12
    lease = start(cache, paper, "abcdXYZ")
    assert lease.length == 2, "four of its six shared cells are not those that the tree counts"
    assert cache.held + len("abcdXYZ") - lease.length >= paper.used
    cache.release(lease)
    paper.drop(0)
    assert cache.evict() == 6
    assert cache.held == paper.used == 6, "those that are left are the tree's now"


def test_an_entry_decoded_apart_replaces_what_it_extends_and_pays_for_nothing() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    decode_apart(cache, paper, "abcdef")
    assert kept(paper) == {"abcdef"}
    assert cache.held == paper.used == 6


def test_clearing_forgets_what_is_idle_and_ends_leases() -> None:
    cache, paper = shelf()
    keep(cache, paper, "abc")
    keep(cache, paper, "xyz")
    lease = start(cache, paper, "abcd")
    cache.clear()
    cache.check_integrity()
    assert (lease.length, cache.held, kept(paper)) == (0, 0, set())
    cache.keep(0, tokens("abcd"), lease)
    cache.check_integrity()
    assert kept(paper) == {"abcd"}
    assert cache.held == cache.evictable == 4


def test_a_recurrent_state_is_reused_whole_or_not_at_all() -> None:
    cache, paper = shelf("recurrent")
    keep(cache, paper, "hello")
    assert matched(cache, paper, "hello!") == ("hello", 5)
    assert matched(cache, paper, "hello") == (None, 0)
    assert matched(cache, paper, "help me") == (None, 0)


def test_recurrent_states_of_one_conversation_lie_side_by_side() -> None:
    cache, paper = shelf("recurrent", capacity=4)
    for text in ("ab", "abcd", "abcdef"):
        keep(cache, paper, text)
    assert kept(paper) == {"ab", "abcd", "abcdef"}
    assert matched(cache, paper, "abcdXX") == ("abcd", 4)
    assert matched(cache, paper, "abcdefg") == ("abcdef", 6)
    assert (cache.held, cache.evictable) == (0, 0)


def test_recurrent_states_go_by_age_alone_and_free_no_cells() -> None:
    cache, paper = shelf("recurrent", capacity=3)
    for text in ("ab", "abcd", "x"):
        decode_apart(cache, paper, text)
    assert cache.evict() == 0
    assert kept(paper) == {"abcd", "x"}, "the oldest, though another extends it"
    decode_apart(cache, paper, "abcd")
    decode_apart(cache, paper, "y")
    decode_apart(cache, paper, "z")
    assert kept(paper) == {"abcd", "y", "z"}
    assert [cache.evict() for _ in range(4)] == [0, 0, 0, None]


def test_a_recurrent_prompt_is_there_for_others_at_once_and_needs_no_lease() -> None:
    cache, paper = shelf("recurrent")
    lease = cache.insert(0, tokens("abc"), start(cache, paper, "abc"))
    assert lease.length == 0
    other = start(cache, paper, "abcd", 1)
    assert other.length == 0
    assert paper.calls[-1] == ("share", FIRST + 2, 1, 3)
    assert cache.evict() == 0
    cache.keep(1, tokens("abcd"), other)
    assert kept(paper) == {"abcd"}


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
    cache, paper = shelf("sliding-window", window=4)
    keep(cache, paper, "abcdefghij")
    for sequence in paper.first:
        paper.first[sequence] = first
    assert cache.match(tokens(text)).length == reused


def test_two_ids_hold_what_has_a_window() -> None:
    cache, paper = shelf("sliding-window", window=4, capacity=5)
    for text in ("abcdefgh", "xyz"):
        keep(cache, paper, text)
    assert set(paper.cells) == {FIRST, FIRST + 1, FIRST + 2, FIRST + 3}
    assert paper.recyclable() == []
    keep(cache, paper, "third")
    assert kept(paper) == {"xyz", "third"}
    assert len(paper.cells) == 4, "the fifth id has no second"
    lease = start(cache, paper, "thX")
    assert [cache.evict(), cache.evict(), cache.evict()] == [3, 3, None]
    assert {len(paper.cells[sequence]) for sequence in paper.cells if sequence >= FIRST} == {2}
    cache.release(lease)


def test_an_entry_without_its_window_gives_way_to_a_shorter_match() -> None:
    cache, paper = shelf("sliding-window", window=4, capacity=4)
    keep(cache, paper, "abcdXX")
    paper.decode(0, tokens("abcdefghij"))
    paper.recycle(0, 6)
    cache.keep(0, tokens("abcdefghij"), None)
    assert matched(cache, paper, "abcdefghij+") == ("abcdefghij", 10)
    assert matched(cache, paper, "abcdefgh+") == ("abcdXX", 4)


def test_a_prompt_stays_while_what_extends_it_has_lost_its_beginning() -> None:
    cache, paper = shelf("sliding-window", window=4, capacity=8)
    lease = cache.insert(0, tokens("abcdef"), start(cache, paper, "abcdef"))
    paper.decode(0, tokens("abcdefghijklmn"))
    paper.recycle(0, 8)
    cache.keep(0, tokens("abcdefghijklmn"), lease)
    cache.check_integrity()
    assert kept(paper) == {"abcdef", "abcdefghijklmn"}
    assert matched(cache, paper, "abcXX") == ("abcdef", 3)
    assert matched(cache, paper, "abcdefghijklmn+") == ("abcdefghijklmn", 14)
    assert cache.held == paper.used == 14
    assert cache.evict() == 8
    assert kept(paper) == {"abcdef"}


def test_a_prompt_goes_when_what_extends_it_serves_as_well() -> None:
    cache, paper = shelf("sliding-window", window=4, capacity=8)
    lease = cache.insert(0, tokens("abcdef"), start(cache, paper, "abcdef"))
    paper.decode(0, tokens("abcdefgh"))
    cache.keep(0, tokens("abcdefgh"), lease)
    assert kept(paper) == {"abcdefgh"}
    assert len(paper.cells) == 2


def test_a_prompt_decoded_again_for_want_of_its_window_is_there_for_the_next() -> None:
    cache, paper = shelf("sliding-window", window=4, capacity=8)
    paper.decode(0, tokens("abcdefghij"))
    paper.recycle(0, 6)
    cache.keep(0, tokens("abcdefghij"), None)
    keep(cache, paper, "abcdef")
    assert kept(paper) == {"abcdefghij", "abcdef"}
    assert matched(cache, paper, "abcdef") == ("abcdef", 5)
    assert cache.held == paper.used == 16
    keep(cache, paper, "abcdefghij")
    assert kept(paper) == {"abcdefghij"}
    assert matched(cache, paper, "abX") == ("abcdefghij", 2)
    assert cache.held == paper.used == 10


def test_a_sequence_that_holds_nothing_has_no_window() -> None:
    cache, _ = shelf("sliding-window", window=4)
    assert not cache.window_intact(3, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: cache._free.pop(),
        lambda cache: cache._shelf_of.popitem(),
        lambda cache: cache._leases.add(Lease()),
        lambda cache: cache._doubles.update({next(iter(cache._shelf_of)): ((2, 9),)}),
        lambda cache: cache._tree.lock(next(iter(cache._shelf_of)), 1),
    ],
)
def test_integrity_is_really_checked(damage) -> None:  # type: ignore[no-untyped-def]
    cache, paper = shelf()
    keep(cache, paper, "abc")
    damage(cache)
    with pytest.raises(AssertionError):
        cache.check_integrity()


SPACES = st.sampled_from([(), (1.0,)])
TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=8)


@dataclass
class Run:
    """A running sequence."""

    space: Hashable
    tokens: list[int]
    lease: Lease | None = field(default=None)


class Sharing(RuleBasedStateMachine):
    """Any order of requests, held against the cells that are really there."""

    policy: ReusePolicy = "full"
    window = 0

    def __init__(self) -> None:
        super().__init__()
        self.cache, self.paper = shelf(self.policy, capacity=6, window=self.window)
        self.running: dict[int, Run] = {}
        self.orphans = False
        """Whether running sequences share cells that the cache no longer knows of: each pays for them all."""

    @precondition(lambda self: len(self.running) < 4)
    @rule(text=TEXTS, space=SPACES)
    def start(self, text: list[int], space: Hashable) -> None:
        sequence = min({0, 1, 2, 3} - set(self.running))
        hit = self.cache.match(text, space)
        assert hit.length == max((self.reusable(s, text, space) for s in self.paper.cells if s >= FIRST), default=0)
        lease = self.cache.begin(hit, sequence)
        assert len(self.paper.cells.get(sequence, ())) == hit.length
        assert lease.length <= hit.length
        self.paper.decode(sequence, text, space)
        self.running[sequence] = Run(space, text.copy(), lease)

    def reusable(self, sequence: int, text: list[int], space: Hashable) -> int:
        if self.paper.cells[sequence][0].space != space:
            return 0
        held = self.paper.tokens(sequence)
        shared = slow_common_prefix(held, text[:-1])
        if self.policy == "recurrent":
            return shared if shared == len(held) else 0
        needed = range(max(0, shared - self.window + 1), shared) if self.window else range(0)
        return shared if all(position >= self.paper.first[sequence] for position in needed) else 0

    @precondition(lambda self: len(self.running) < 4)
    @rule(text=TEXTS, space=SPACES)
    def start_apart(self, text: list[int], space: Hashable) -> None:
        """Restored from disk, say, or begun before another kept the same."""
        sequence = min({0, 1, 2, 3} - set(self.running))
        self.paper.decode(sequence, text, space)
        self.running[sequence] = Run(space, text.copy())

    @precondition(lambda self: self.running)
    @rule(data=st.data(), more=st.lists(st.integers(0, 1), min_size=1, max_size=6))
    def decode(self, data: st.DataObject, more: list[int]) -> None:
        sequence, run = self.draw(data)
        run.tokens += more
        self.paper.decode(sequence, run.tokens, run.space)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def insert(self, data: st.DataObject) -> None:
        sequence, run = self.draw(data)
        length = run.lease.length if run.lease else 0
        run.lease = self.cache.insert(sequence, run.tokens, run.lease, run.space)
        assert length <= run.lease.length <= len(run.tokens)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        sequence, run = self.draw(data)
        del self.running[sequence]
        self.cache.keep(sequence, run.tokens, run.lease, run.space)
        assert sequence not in self.paper.cells

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        sequence, run = self.draw(data)
        del self.running[sequence]
        if run.lease is not None:
            self.cache.release(run.lease)
        self.paper.drop(sequence)

    def draw(self, data: st.DataObject) -> tuple[int, Run]:
        return data.draw(st.sampled_from(sorted(self.running.items(), key=lambda pair: pair[0])))

    @rule()
    def evict(self) -> None:
        held, used, promised = self.cache.held, self.paper.used, self.cache.evictable
        freed = self.cache.evict()
        if freed is None:
            assert promised == 0
        else:
            assert freed == held - self.cache.held >= 0
            assert self.paper.used <= used

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.orphans = bool(self.running)
        assert set(self.paper.cells) == set(self.running)

    @precondition(lambda self: self.window and self.paper.recyclable())
    @rule(data=st.data())
    def recycle(self, data: st.DataObject) -> None:
        """What lies behind a window is taken; nothing on the shelf may ever be among it."""
        sequence, position = data.draw(st.sampled_from(self.paper.recyclable()))
        assert sequence < FIRST
        self.paper.recycle(sequence, position)

    @invariant()
    def counts_what_is_used(self) -> None:
        self.cache.check_integrity()
        assert self.cache.evictable <= self.cache.held
        if self.policy == "recurrent":
            assert (self.cache.held, self.cache.evictable) == (0, 0)
            return
        leases = [run.lease for run in self.running.values() if run.lease]
        private = sum(len(run.tokens) for run in self.running.values()) - sum(lease.length for lease in leases)
        counted = self.cache.held + private
        assert counted >= self.paper.used
        self.orphans = self.orphans and bool(self.running)
        if not self.orphans and not self.cache._doubles and not any(lease.doubles for lease in leases):
            assert counted == self.paper.used

    @invariant()
    def holds_what_it_says(self) -> None:
        for entry, shelf_ids in self.cache._shelf_of.items():
            for sequence in shelf_ids:
                assert len(self.paper.tokens(sequence)) == entry.length
            held = self.paper.tokens(shelf_ids[0])
            space = self.paper.cells[shelf_ids[0]][0].space
            assert (entry.length, entry) in self.cache._tree.match(held, space)
        used_ids = {sequence for shelf_ids in self.cache._shelf_of.values() for sequence in shelf_ids}
        assert {sequence for sequence in self.paper.cells if sequence >= FIRST} == used_ids

    def teardown(self) -> None:
        """With nothing running, everything can be given up."""
        for sequence, run in self.running.items():
            if run.lease is not None:
                self.cache.release(run.lease)
            self.paper.drop(sequence)
        promised = self.cache.evictable
        assert promised == self.cache.held
        freed = 0
        while (more := self.cache.evict()) is not None:
            freed += more
        assert freed == promised
        assert self.paper.cells == {}
        self.cache.check_integrity()


class WindowSharing(Sharing):
    policy: ReusePolicy = "sliding-window"
    window = 3


class RecurrentSharing(Sharing):
    policy: ReusePolicy = "recurrent"


TestSharing = Sharing.TestCase
TestWindowSharing = WindowSharing.TestCase
TestRecurrentSharing = RecurrentSharing.TestCase
for case in (TestSharing, TestWindowSharing, TestRecurrentSharing):
    case.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

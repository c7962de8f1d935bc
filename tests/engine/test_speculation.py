"""Guesses and how many are worth their rows; no model, only streams of tokens and the cost of rows."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.engine.speculation import (
    LONGEST,
    MAX_DEPTH,
    SHORTEST,
    DepthControl,
    Lookup,
    RowCost,
    best_depth,
)

README = Path(__file__).parents[2] / "README.md"


def smollm2_step(rows: int) -> float:
    """Seconds, from 130 tokens a second alone and 242 with eight rows, on two cores."""
    return (1 + 0.472 * (rows - 1)) / 130


def gemma3_step(rows: int) -> float:
    """Seconds, from 74 tokens a second alone and 188 with eight rows, on two cores."""
    return (1 + 0.307 * (rows - 1)) / 74


def sample_and_match(drafts: Sequence[int], draw: Callable[[int], int]) -> list[int]:
    """The rule by which the engine verifies, on paper.

    Return the tokens that a step with ``drafts`` yields: those drafts that were drawn, and the draw after them.

    ``draw(row)`` draws what follows row ``row``, of which there is one more than drafts. A row is drawn from only when
    all drafts before it were drawn, so draws are as many, as distributed and in the same order as without drafts.
    """
    drawn: list[int] = []
    for row, draft in enumerate(drafts):
        drawn.append(draw(row))
        if drawn[-1] != draft:
            return drawn
    drawn.append(draw(len(drafts)))
    return drawn


STEPS = pytest.mark.parametrize("step", [smollm2_step, gemma3_step])


def words(text: str) -> list[int]:
    """Tokens of a kind: each word and each other character, numbered as they appear anywhere."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(word, len(numbers)) for word in re.findall(r"\w+|\W", text)]


# The lookup


class NaiveLookup:
    """The same rule, by reading the whole text again for each token."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self.source: int | None = None
        for token in tokens:
            if self.source is not None:
                self.source = self.source + 1 if self.tokens[self.source] == token else None
            self.tokens.append(token)
            if self.source is None:
                self.source = self._search()

    def _search(self) -> int | None:
        for length in range(LONGEST, SHORTEST - 1, -1):
            for place in range(len(self.tokens) - 1, length - 1, -1):
                if self.tokens[place - length : place] == self.tokens[-length:]:
                    return place
        return None

    def propose(self, depth: int) -> list[int]:
        if self.source is None:
            return []
        text = list(self.tokens)
        for ahead in range(depth):
            text.append(text[self.source + ahead])
        return text[len(self.tokens) :]


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 9), st.integers(1, 20))
def test_it_proposes_what_a_linear_scan_proposes(tokens: list[int], depth: int, stride: int) -> None:
    lookup = Lookup(tokens[:stride])
    for begin in range(stride, len(tokens), stride):
        lookup.extend(tokens[begin : begin + stride])
    assert lookup.propose(depth) == NaiveLookup(tokens).propose(depth)
    assert len(lookup) == len(tokens)


@given(st.lists(st.integers(0, 2**31 - 1), max_size=30))
def test_large_token_ids_are_not_mixed_up(tokens: list[int]) -> None:
    assert Lookup(tokens).propose(3) == NaiveLookup(tokens).propose(3)


def test_the_longer_match_goes_before_the_later_one() -> None:
    #                1 2 3 4 -> 5     3 4 -> 6    1 2 3 4
    assert Lookup([1, 2, 3, 4, 5, 0, 3, 4, 6, 0, 1, 2, 3, 4]).propose(1) == [5]
    assert Lookup([1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 6, 0, 1, 2, 3, 4]).propose(1) == [6], "of equals, the latest"


def test_a_source_is_followed_past_a_later_place_that_looks_the_same() -> None:
    copied = list(range(10, 30))
    decoy = [*copied[10:14], 99]
    assert Lookup([*copied, *decoy, *copied[:14]]).propose(2) == copied[14:16]


def test_text_that_never_repeats_gives_nothing() -> None:
    lookup = Lookup(range(500))
    assert lookup.propose(8) == []
    assert lookup.depth(lambda rows: 1.0) == 0
    assert Lookup([]).propose(8) == []


def test_a_loop_goes_on_looping() -> None:
    assert Lookup([7, 1, 2, 3, 1, 2, 3, 1, 2, 3]).propose(8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert Lookup([5, 5, 5, 5]).propose(4) == [5, 5, 5, 5]


def test_a_long_match_is_trusted_deeper_than_a_short_one() -> None:
    text = list(range(100, 200))
    depths = [Lookup([*text, 0, *text[:matched]]).depth(smollm2_step) for matched in (2, 6, 12, 40)]
    assert depths == sorted(depths)
    assert depths[0] == 0
    assert depths[-1] >= 6


def test_the_prompt_teaches_nothing_about_the_reply() -> None:
    text = list(range(100, 200))
    deceiving = [token for end in range(1000, 1100) for token in (1, 2, 3, 4, end)]
    alone, after = Lookup([*text, 0, *text[:6]]), Lookup([*deceiving, *text, 0, *text[:6]])
    assert alone.depth(smollm2_step) == after.depth(smollm2_step) > 0


def test_matches_that_deceive_are_given_up_and_found_again_when_they_hold() -> None:
    text = list(range(100, 200))
    lookup = Lookup([*text, 0, *text[:8]])
    assert lookup.depth(smollm2_step) > 0
    for number in range(1000, 1060):
        lookup.extend([number, *text[:8]])
    assert lookup.depth(smollm2_step) == 0, "eight tokens alike have never meant a ninth"
    for number in range(2000, 2020):
        lookup.extend([number, *text[:60]])
    lookup.extend([3000, *text[:8]])
    assert lookup.depth(smollm2_step) > 0


# What it gains


def speedup(prompt: Sequence[int], reply: Sequence[int], step: Callable[[int], float]) -> float:
    """Return how much faster ``reply`` is said with lookup, the cost of rows being learned on the way as in the engine."""
    lookup, cost, seconds, said = Lookup(prompt), RowCost(), 0.0, 0
    while said < len(reply):
        drafts = lookup.propose(lookup.depth(cost))
        drawn = sample_and_match(drafts, lambda row, said=said: reply[said + row] if said + row < len(reply) else -1)
        cost.record(1 + len(drafts), step(1 + len(drafts)))
        seconds += step(1 + len(drafts))
        lookup.extend(drawn)
        said += len(drawn)
    return len(reply) * step(1) / seconds


def edited(tokens: list[int], every: int) -> list[int]:
    """``tokens`` with one of ``every`` replaced, left out, or followed by another."""
    dice = random.Random(every)
    result = []
    for token in tokens:
        new = dice.randrange(10**6, 10**7)
        kept = [token] if dice.randrange(every) else dice.choice([[new], [], [token, new]])
        result += kept
    return result


@STEPS
@pytest.mark.parametrize("every", [30, 80])
def test_copying_with_edits_is_faster_by_a_third(step: Callable[[int], float], every: int) -> None:
    text = words(README.read_text(encoding="utf-8"))[:1500]
    assert speedup(text, edited(text, every), step) >= 1.3


@STEPS
def test_free_text_loses_next_to_nothing(step: Callable[[int], float]) -> None:
    text = words(README.read_text(encoding="utf-8"))
    for begin in range(0, len(text) - 1000, 500):
        assert speedup(text[begin : begin + 500], text[begin + 500 : begin + 1000], step) >= 0.97
    letters = list(README.read_bytes()[:3000])
    assert speedup(letters[:1500], letters[1500:], step) >= 0.97


@STEPS
def test_text_made_to_deceive_loses_little(step: Callable[[int], float]) -> None:
    dice = random.Random(1)
    phrases = [[dice.randrange(1000) for _ in range(5)] for _ in range(20)]
    reply = [
        token for _ in range(500) for token in (*dice.choice(phrases)[: dice.randrange(2, 6)], dice.randrange(1000))
    ]
    assert speedup([], reply, step) >= 0.97


# Depth


def test_certain_guesses_are_as_deep_as_they_may_be_and_hopeless_ones_not_made() -> None:
    assert best_depth([1.0] * 50, smollm2_step, 0) == MAX_DEPTH
    assert best_depth([0.0] * 50, smollm2_step, 0) == 0
    assert best_depth([], smollm2_step, 0) == 0


def test_a_row_is_worth_its_cost() -> None:
    assert best_depth([0.48], smollm2_step, 0) == 1
    assert best_depth([0.46], smollm2_step, 0) == 0


def test_those_who_wait_for_the_rows_count_too() -> None:
    """In a step of eight requests the rows are all of the cost that is left, so only a sure guess is worth one."""
    assert best_depth([0.7] * MAX_DEPTH, smollm2_step, 0) >= 1

    def beside(rows: int) -> float:
        return smollm2_step(7 + rows)

    assert best_depth([0.7] * MAX_DEPTH, beside, 7) == 0
    assert best_depth([0.95] * MAX_DEPTH, beside, 7) >= 1


def test_a_draft_is_tried_at_first_and_off_when_it_loses() -> None:
    control = DepthControl()
    assert 1 <= control.depth(smollm2_step) <= MAX_DEPTH
    for _ in range(5):
        control.record(1, 0)
    assert control.depth(smollm2_step) == 0


def test_guesses_that_hold_go_deep_and_no_deeper_than_allowed() -> None:
    control = DepthControl()
    for _ in range(100):
        control.record(MAX_DEPTH, MAX_DEPTH)
    assert control.depth(smollm2_step) == MAX_DEPTH
    assert control.depth(lambda rows: 1.0) == MAX_DEPTH


def test_a_draft_that_proposes_nothing_when_asked_has_missed() -> None:
    control = DepthControl()
    for _ in range(5):
        control.record(0, 0)
    assert control.depth(smollm2_step) == 0


def steps_of(control: DepthControl, right: Callable[[int], bool], steps: int) -> tuple[float, int]:
    """Run ``steps`` steps, a guess of step k right if ``right(k)``; return time and tokens, in steps of one row."""
    seconds, tokens = 0.0, 0
    for number in range(steps):
        depth = control.depth(smollm2_step)
        accepted = depth if right(number) else 0
        if depth:
            control.record(depth, accepted)
        seconds += smollm2_step(1 + depth) / smollm2_step(1)
        tokens += 1 + accepted
    return seconds, tokens


def test_a_draft_that_is_always_wrong_costs_little() -> None:
    control = DepthControl()
    steps_of(control, lambda step: False, 10)
    seconds, tokens = steps_of(control, lambda step: False, 1000)
    assert tokens < seconds <= 1.02 * tokens, "off, and tried now and then"
    seconds, tokens = steps_of(DepthControl(), lambda step: False, 300)
    assert seconds <= 1.03 * tokens, "what it takes to find out included"


def test_a_run_that_begins_later_is_found() -> None:
    control = DepthControl()
    steps_of(control, lambda step: False, 30)
    assert control.depth(smollm2_step) == 0
    steps_of(control, lambda step: True, 120)
    assert control.depth(smollm2_step) >= 4
    steps_of(control, lambda step: False, 12)
    assert control.depth(smollm2_step) == 0, "and its end too"


def test_tries_that_fail_grow_rarer_and_one_that_is_right_is_followed_by_another() -> None:
    control = DepthControl()
    steps_of(control, lambda step: False, 10)
    gaps = []
    for _ in range(4):
        gaps.append(1)
        while control.depth(smollm2_step) == 0:
            gaps[-1] += 1
        control.record(1, 0)
    assert gaps == sorted(gaps)
    assert gaps[0] >= 15, "a row for a guess costs 0.472 of a step, 2 % of 24"
    assert gaps[-1] >= 4 * gaps[0]
    while control.depth(smollm2_step) == 0:
        pass
    control.record(1, 1)
    assert control.depth(smollm2_step) == 1


def test_a_draft_left_far_behind_is_tried_later() -> None:
    waits = []
    for catch_up in (0.0, smollm2_step(1)):
        control = DepthControl()
        steps_of(control, lambda step: False, 8)
        waits.append(1)
        while control.depth(smollm2_step, catch_up=catch_up) == 0:
            waits[-1] += 1
    assert waits[1] > 2 * waits[0]


# The cost of rows


def test_before_any_step_only_the_proportion_is_known() -> None:
    cost = RowCost()
    assert [cost(rows) for rows in (1, 2, 5)] == pytest.approx([1.0, 1.45, 2.8])


@STEPS
def test_the_cost_of_rows_is_learned(step: Callable[[int], float]) -> None:
    cost = RowCost()
    for rows in [1, 4, 1, 9, 2] * 20:
        cost.record(rows, step(rows))
    for rows in (1, 2, 3, 4, 7, 9):
        assert cost(rows) == pytest.approx(step(rows), rel=0.05)
    assert cost(20) == pytest.approx(step(20), rel=0.25), "beyond what was seen, by its trend"


def test_a_machine_that_slows_down_is_slower_at_row_counts_not_seen_since() -> None:
    cost = RowCost()
    for rows in [1, 4, 8] * 20:
        cost.record(rows, smollm2_step(rows))
    for _ in range(30):
        cost.record(1, 3 * smollm2_step(1))
    assert cost(8) == pytest.approx(3 * smollm2_step(8), rel=0.05)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(1e-4, 10)), max_size=40))
def test_more_rows_never_cost_less(steps: list[tuple[int, float]]) -> None:
    cost = RowCost()
    for rows, seconds in steps:
        cost.record(rows, seconds)
    costs = [cost(rows) for rows in range(1, 60)]
    assert all(left <= right * (1 + 1e-9) for left, right in pairwise(costs))
    assert costs[0] > 0


# Sample and match

NEXT = {None: (0.6, 0.3, 0.1), 0: (0.1, 0.2, 0.7), 1: (0.45, 0.1, 0.45), 2: (0.3, 0.6, 0.1)}
"""A language of three tokens: how likely each is after the one before."""
DRAFT = (0.8, 0.15, 0.05)
"""A draft that knows nothing of it."""


def say(length: int, dice: random.Random, guess: Callable[[int], list[int]]) -> tuple[int, ...]:
    """Return a text drawn in steps with the drafts of ``guess``, which is told how many may still come."""
    text: list[int] = []
    while len(text) < length:
        drafts = guess(length - len(text) - 1)
        before = text[-1] if text else None

        def draw(row: int, before: int | None = before, drafts: list[int] = drafts) -> int:
            return dice.choices(range(3), NEXT[drafts[row - 1] if row else before])[0]

        text += sample_and_match(drafts, draw)
    return tuple(text)


def test_drafts_leave_the_distribution_as_it_is() -> None:
    dice, guesses, total = random.Random(20), random.Random(3), 20_000
    drafts: Callable[[int], list[int]] = lambda room: guesses.choices(range(3), DRAFT, k=guesses.randint(0, room))  # noqa: E731
    seen = Counter(say(3, dice, drafts) for _ in range(total))
    statistic = 0.0
    for text in product(range(3), repeat=3):
        first, second, third = text
        expected = total * NEXT[None][first] * NEXT[first][second] * NEXT[second][third]
        statistic += (seen[text] - expected) ** 2 / expected
    assert statistic < 54.05, "chi-square of 27 cells, once in a thousand by chance"


@given(st.integers(0, 2**32), st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=20))
def test_the_same_random_numbers_give_the_same_text_with_any_drafts(seed: int, drafts: list[list[int]]) -> None:
    later = iter(drafts)
    with_drafts = say(20, random.Random(seed), lambda room: next(later, [])[:room])
    assert with_drafts == say(20, random.Random(seed), lambda room: [])


def test_a_step_yields_the_drafts_that_were_drawn_and_the_draw_after_them() -> None:
    assert sample_and_match([], lambda row: 9) == [9]
    assert sample_and_match([4, 5], [4, 5, 6].__getitem__) == [4, 5, 6]
    assert sample_and_match([4, 5], [4, 7].__getitem__) == [4, 7], "and draws no more"

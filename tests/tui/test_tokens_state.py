"""The tokens view's state: which token is selected, which look is under way, what is shown, without any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from tokens_oracle import weigh

from lmlab.backends import Failed
from lmlab.errors import EngineStopped, UsageError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.store import Reply, Turn
from lmlab.tui.keys import Hint
from lmlab.tui.widgets.tokens.keys import action, hints
from lmlab.tui.widgets.tokens.looks import Look, Looks, Place
from lmlab.tui.widgets.tokens.reading import Reading
from lmlab.tui.widgets.tokens.state import Part, TokensState

WARM = SamplingParams(temperature=1.5).merge(DEFAULTS)


def reply(number: int, tokens: int, chances: Sequence[float] | None = None, **fields: object) -> Turn:
    record = {"status": "done", "finish_reason": "stop", "sampling": DEFAULTS, "tokens": tuple(range(tokens))}
    if chances is not None:
        record["logprobs"] = tuple(map(math.log, chances))
    record |= fields
    return Turn(number, "s", number - 1, "text", datetime.now(UTC), reply=Reply(**record))  # type: ignore[arg-type]


def streaming(number: int, tokens: int) -> Turn:
    return reply(number, tokens, [0.5] * tokens, status="partial", finish_reason=None)


def question(number: int) -> Turn:
    return Turn(number, "s", None, "question", datetime.now(UTC))


def reading(*turns: Turn) -> Reading:
    made = Reading()
    assert made.take((question(0), *turns))
    return made


def answer(looks: Looks, name: str = "look-1") -> Look:
    """Ask what is to be asked, and have the answer."""
    look = looks.next()
    assert look is not None
    looks.answer(weigh(name, look.place.at, look.place.drawn, " x", look.sampling))
    return look


# Looks


def test_at_most_one_look_is_under_way_and_the_latest_wins() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    first = looks.next()
    assert first is not None
    for at in range(1, 100):
        looks.want(Place(1, at), DEFAULTS)
        assert looks.next() is None
    looks.answer(weigh("look-1", 0, 99, " x", DEFAULTS))
    assert looks.seen is not None
    assert looks.seen.place == Place(1, 0)
    last = looks.next()
    assert last is not None
    assert last.place == Place(1, 99)


def test_other_sampling_at_the_same_place_is_weighed_from_the_kept_logits() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    answer(looks, "look-7")
    assert looks.next() is None
    looks.want(Place(1, 0), WARM)
    assert answer(looks, "look-7").kept == "look-7"
    assert looks.up_to_date
    looks.want(Place(1, 1), WARM)
    elsewhere = looks.next()
    assert elsewhere is not None
    assert elsewhere.kept is None


def test_logits_that_are_gone_are_had_again() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    answer(looks)
    looks.want(Place(1, 0), WARM)
    looks.next()
    looks.answer(Failed("look-1", UsageError("this token is no longer looked at")))
    assert looks.trouble is None
    again = looks.next()
    assert again is not None
    assert again.kept is None
    assert again.sampling == WARM


def test_a_look_that_fails_is_not_asked_again_until_something_else_is_wanted() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    looks.next()
    looks.answer(Failed("look-1", EngineStopped("the engine stopped")))
    assert looks.trouble == "the engine stopped"
    looks.want(Place(1, 0), DEFAULTS)
    assert looks.next() is None
    looks.want(Place(1, 1), DEFAULTS)
    assert looks.trouble is None
    assert looks.next() is not None


def test_the_failure_of_a_place_that_is_no_longer_wanted_is_nobodys() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    looks.next()
    looks.want(Place(1, 1), DEFAULTS)
    looks.answer(Failed("look-1", EngineStopped("the engine stopped")))
    assert looks.trouble is None


def test_another_model_has_kept_nothing_and_may_answer_what_failed() -> None:
    looks = Looks()
    looks.want(Place(1, 0), DEFAULTS)
    looks.next()
    looks.refuse("no model is open")
    looks.forget()
    assert looks.seen is None
    again = looks.next()
    assert again is not None
    assert again.kept is None


# Reading


def test_only_replies_are_read_and_the_last_first() -> None:
    made = reading(reply(1, 3), question(2), reply(3, 5))
    assert made.turn.id == 3
    assert [turn.id for turn in made.replies] == [1, 3]
    assert made.choose(-1)
    assert made.turn.id == 1
    assert not made.choose(-1)


def test_after_a_reply_that_ended_by_itself_there_is_one_place_more() -> None:
    made = reading(reply(1, 3))
    made.go(99)
    assert (made.at, made.drawn) == (3, None)
    cut = reading(reply(1, 3, finish_reason="length"))
    cut.go(99)
    assert (cut.at, cut.drawn) == (2, 2)


def test_a_reply_without_tokens_has_no_place() -> None:
    made = reading(reply(1, 0))
    made.go(5)
    assert (made.places, made.at) == (0, 0)


def test_while_a_reply_streams_the_newest_token_is_followed_until_another_is_selected() -> None:
    made = reading(streaming(1, 2))
    assert made.following
    assert made.at == 1
    assert not made.take([streaming(1, 4)])
    assert made.at == 3
    made.go(1)
    made.take([streaming(1, 9)])
    assert made.at == 1
    made.follow()
    made.take([streaming(1, 12)])
    assert made.at == 11
    made.take([reply(1, 12)])
    assert not made.following


def test_a_turn_that_is_gone_gives_way_to_the_last_reply() -> None:
    made = reading(reply(1, 3), reply(3, 5))
    assert made.take([question(0), reply(1, 3), reply(4, 2)])
    assert made.turn.id == 4
    assert not made.take([question(0)])
    assert made.turn.id == 4


def test_the_next_surprise_goes_round() -> None:
    made = reading(reply(1, 5, [0.9, 0.01, 0.9, 0.04, 0.9]))
    made.go(0)
    found = []
    for step in (1, 1, 1, -1):
        at = made.surprise(step)
        assert at is not None
        found.append(at)
        made.go(at)
    assert found == [1, 3, 1, 3]


def test_the_only_surprise_is_found_from_itself_and_none_is_none() -> None:
    one = reading(reply(1, 3, [0.9, 0.01, 0.9]))
    one.go(1)
    assert one.surprise(1) == 1
    assert reading(reply(1, 2, [0.9, 0.9])).surprise(1) is None
    assert reading(reply(1, 2)).surprise(1) is None


def test_a_probability_that_is_not_known_is_no_surprise() -> None:
    made = reading(reply(1, 2, logprobs=(math.nan, math.log(0.9))))
    assert made.chance(0) is None
    assert made.surprise(1) is None


def test_a_token_was_drawn_with_what_was_in_force_then() -> None:
    changes = ((2, "temperature", 0.8, 0.2), (4, "temperature", 0.2, 1.5), (4, "top_k", 40, 5))
    made = reading(reply(1, 6, sampling=SamplingParams(temperature=1.5, top_k=5), changes=changes))
    found = []
    for at in range(6):
        made.go(at)
        found.append((made.sampling().temperature, made.sampling().top_k))
    assert found == [(0.8, 40)] * 2 + [(0.2, 40)] * 2 + [(1.5, 5)] * 2
    assert made.sampling().min_p == DEFAULTS.min_p


# The whole


@pytest.fixture
def state() -> TokensState:
    made = TokensState()
    made.take([question(0), reply(1, 6, [0.9, 0.9, 0.01, 0.9, 0.9, 0.9])])
    answer(made.looks)
    made.settle_row()
    return made


def test_sliders_bend_what_is_wanted_and_go_along_to_the_next_token(state: TokensState) -> None:
    state.turn(state.knobs.set("temperature", 0.2))
    look = answer(state.looks)
    assert look.kept == "look-1"
    assert look.sampling.temperature == 0.2
    state.go(3)
    moved = state.looks.next()
    assert moved is not None
    assert moved.sampling.temperature == 0.2
    state.unbend()
    assert state.knobs.changed == ()


@pytest.mark.parametrize("part", ["weighed", "knobs"])
def test_away_from_the_text_the_token_that_is_seen_stays_while_newer_ones_come(part: Part) -> None:
    made = TokensState()
    made.take([question(0), streaming(1, 2)])
    answer(made.looks, "look-1")
    made.settle_row()
    made.take([question(0), streaming(1, 3)])
    late = made.looks.next()
    assert late is not None
    made.enter(part)
    made.row = 4
    assert made.reading.at == 1
    made.looks.answer(weigh("look-2", late.place.at, late.place.drawn, " x", late.sampling))
    made.settle_row()
    made.take([question(0), streaming(1, 9)])
    assert made.reading.at == 1
    assert made.row == 4
    assert made.looks.up_to_date
    made.enter("text")
    made.follow()
    assert made.reading.at == 8


def test_what_is_typed_is_checked(state: TokensState) -> None:
    state.take_knob("top_p")
    state.typed = "7"
    state.set_typed()
    assert state.note is not None
    assert "from 0 to 1" in state.note.text
    assert state.typed == "7"
    state.typed = ".5"
    state.set_typed()
    assert state.knobs.value("top_p") == 0.5
    assert state.typed is None


def test_the_row_begins_at_the_likeliest_other_token_and_stays_while_reweighed(state: TokensState) -> None:
    assert state.chosen is not None
    assert state.row == 1
    state.step_row(3)
    state.turn(state.knobs.set("top_k", 2))
    answer(state.looks)
    state.settle_row()
    assert state.row == 4
    state.step_row(99)
    assert state.row == len(state.alternatives) - 1


def test_nothing_can_be_chosen_while_another_token_is_looked_at(state: TokensState) -> None:
    state.go(2)
    assert state.chosen is None


def test_stages_are_walked_and_stop_at_the_ends(state: TokensState) -> None:
    assert state.looks.seen is not None
    names = [stage.name for stage in state.looks.seen.distribution.stages]
    state.step_stage(-1)
    assert state.stage == names[-2]
    state.step_stage(-99)
    assert state.stage == "raw"
    state.step_stage(99)
    assert state.stage == names[-1]


def test_no_surprise_is_said(state: TokensState) -> None:
    state.surprise(1)
    assert state.reading.at == 2
    state.take([question(0), reply(5, 2)])
    state.surprise(1)
    assert state.note is not None
    assert "without probabilities" in state.note.text
    state.take([question(0), reply(6, 2, [0.9, 0.9])])
    state.surprise(1)
    assert state.note.text == "no token of this reply was below 5 %"


def test_keys_depend_on_the_part_that_has_them(state: TokensState) -> None:
    assert action("text", "left", None) == "move(-1)"
    assert action("knobs", "left", None) == "nudge(-1)"
    assert action("weighed", "enter", None) == "branch"
    assert action("text", "left_square_bracket", "[") == "step_stage(-1)"
    assert action("text", "5", "5") is None
    assert action("knobs", "5", "5") == "type('5')"
    assert action("text", "f1", None) is None


@pytest.mark.parametrize("part", ["text", "weighed", "knobs"])
@pytest.mark.parametrize("bent", [False, True])
def test_what_keys_do_fits_in_eighty_columns_with_the_way_back(state: TokensState, part: Part, bent: bool) -> None:
    state.take([question(0), reply(1, 6), question(2), reply(3, 6)])
    state.enter(part)
    if bent:
        state.turn(state.knobs.set("min_p", 0.5))
    shown = [*hints(state), Hint("esc", "back")]
    assert sum(len(f"{hint.key} {hint.text}") + 3 for hint in shown) - 3 <= 78
    assert bent == ("s" in [hint.key for hint in shown])

"""Events in, what the screen shows out; no Textual."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from screen_harness import Clock

from lmlab.backends import (
    Applied,
    CandidateEnded,
    Failed,
    Finished,
    Loading,
    Prefill,
    Ready,
    Started,
    Stopped,
    Timings,
    Token,
    Usage,
)
from lmlab.backends.fake import fake_info
from lmlab.errors import EngineStopped, ModelNotFound, StoreError
from lmlab.lab.events import (
    Choosing,
    Chosen,
    Drawing,
    Fetching,
    ModelFailed,
    Notice,
    SaveFailed,
    SelectorFailed,
)
from lmlab.models import Progress
from lmlab.sampling import DEFAULTS
from lmlab.store import Candidacy, Reply, Turn
from lmlab.tui.state import EngineGone, FetchingModel, LiveReply, LoadingModel, ModelReady, NoModel, Said, ScreenState
from lmlab.tui.status import (
    candidate_lines,
    change_notes,
    facts,
    kept_candidate_lines,
    live_notes,
    live_status,
    model_line,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ScreenState:
    return ScreenState(clock)


def started(name: str = "r", prompt: int = 812, cached: int = 790) -> Started:
    return Started(name, prompt, cached, DEFAULTS)


def shown(reply: LiveReply) -> str:
    return reply.shown.since(0)[0]


def finished(name: str = "r", tail: str = "") -> Finished:
    return Finished(name, "stop", tail, (1, 2), Usage(812, 790, 2), Timings(0.09, 300.0, 118.0, 0.5), 814)


def test_the_model_goes_from_fetching_to_ready_and_may_be_gone(state: ScreenState) -> None:
    info = fake_info()
    seen = []
    for event in (
        Fetching(Progress("x", 1, 2)),
        Loading(0.5),
        Ready(info),
        Stopped(EngineStopped("gone")),
        Loading(0.0),
        Ready(info),
    ):
        state.fold(event)
        seen.append(type(state.model))
    assert seen == [FetchingModel, LoadingModel, ModelReady, EngineGone, LoadingModel, ModelReady]


def test_a_failed_model_leaves_the_open_one_and_says_why(state: ScreenState) -> None:
    state.fold(ModelFailed(ModelNotFound("first")))
    assert isinstance(state.model, NoModel)
    state.fold(Ready(fake_info()))
    state.fold(ModelFailed(ModelNotFound("second")))
    assert isinstance(state.model, ModelReady)
    assert state.take_said() == [Said("first", error=True), Said("second", error=True)]
    assert state.take_said() == []


def test_the_rate_of_a_download_is_measured_from_where_it_was_taken_up(state: ScreenState, clock: Clock) -> None:
    state.fold(Fetching(Progress("x", 50_000_000, 98_000_000)))
    assert isinstance(state.model, FetchingModel)
    assert state.model.bytes_per_s is None
    clock.now += 2
    state.fold(Fetching(Progress("x", 70_000_000, 98_000_000)))
    assert model_line(state.model, "m") == (
        "fetching x  ▕███████▏░░▏ 70 / 98 MB · 3 s left",
        False,
    )


def test_unpacking_is_not_called_fetching(state: ScreenState) -> None:
    state.fold(Fetching(Progress("unpacking gemma3-270m", 1_000_000, None)))
    assert model_line(state.model, "m") == ("unpacking gemma3-270m  1 MB", False)


def test_until_the_engine_has_the_prompt_it_is_said_what_is_waited_for(state: ScreenState, clock: Clock) -> None:
    reply = state.begin_reply()
    state.fold(Loading(0.5))
    assert live_status(reply, state.model, clock.now) == "waiting for the model"
    state.fold(Ready(fake_info()))
    assert live_status(reply, state.model, clock.now) == "preparing the prompt"


def test_whoever_shows_a_text_gets_what_is_new_to_him_and_the_tail_last(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(started())
    state.fold(Token("r", 0, 1, "a"))
    text, place = reply.shown.since(0)
    state.fold(Token("r", 1, 2, "b"))
    state.fold(finished(tail="c"))
    assert (text, reply.shown.since(place)[0], reply.shown.since(0)[0]) == ("a", "bc", "abc")


def test_a_branch_begins_with_the_text_it_shares(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(replace(started(), text="so far "))
    state.fold(Token("r", 3, 1, "and on"))
    assert shown(reply) == "so far and on"


def test_late_news_of_an_old_reply_is_not_taken_for_the_new_one(state: ScreenState) -> None:
    state.begin_reply()
    state.fold(started("old"))
    reply = state.begin_reply()
    state.fold(Token("old", 0, 1, "late"))
    state.fold(finished("old"))
    assert shown(reply) == ""
    assert state.replying
    state.fold(started("new"))
    state.fold(Token("new", 0, 1, "now"))
    assert shown(reply) == "now"


def test_what_comes_after_the_conversation_changed_is_dropped(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(started())
    state.forget_reply()
    state.fold(Token("r", 0, 1, "x"))
    assert shown(reply) == ""
    assert state.context_used == 0


def test_a_long_prompt_shows_a_bar_a_rate_and_the_time_left(state: ScreenState, clock: Clock) -> None:
    reply = state.begin_reply()
    state.fold(started(prompt=8000, cached=800))
    assert live_status(reply, state.model, clock.now) == "reading the prompt"
    clock.now += 4
    state.fold(Prefill("r", 2000, 8000))
    assert live_status(reply, state.model, clock.now) == (
        "reading the prompt ▕██▌░░░░░░░▏ 2,000 / 8,000 · 300 tok/s · 20 s left"
    )


def test_the_wait_for_the_model_is_no_part_of_the_time_to_the_first_token(state: ScreenState, clock: Clock) -> None:
    reply = state.begin_reply()
    clock.now += 30
    state.fold(Ready(fake_info()))
    clock.now += 0.5
    state.fold(started())
    state.fold(Token("r", 0, 1, "x"))
    assert reply.ttft_s == 0.5


def test_numbers_keep_their_width_while_a_reply_streams(state: ScreenState, clock: Clock) -> None:
    reply = state.begin_reply()
    state.fold(started())
    widths = set()
    for index in range(300):
        clock.now += 0.01
        state.fold(Token("r", index, 1, "x"))
        widths.add(len(live_status(reply, state.model, clock.now)))
    assert len(widths) == 1


def test_the_end_counts_as_the_engine_does(state: ScreenState, clock: Clock) -> None:
    reply = state.begin_reply()
    state.fold(started())
    state.fold(Token("r", 0, 1, "x"))
    state.fold(finished())
    assert live_status(reply, state.model, clock.now) == (
        "2 tokens · 118 tok/s · first token 0.09 s · 790 of 812 cached"
    )
    assert state.context_used == 814


def test_a_failure_ends_the_reply_with_its_error(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(Failed("r", EngineStopped("gone")))
    assert not state.replying
    assert str(reply.error) == "gone"


def test_changes_of_one_parameter_are_one_note(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(started())
    state.fold(Applied("r", 41, replace(DEFAULTS, temperature=1.3), (("temperature", 0.2, 1.3), ("top_k", 40, 5))))
    state.fold(Applied("r", 50, DEFAULTS, (("temperature", 1.3, 0.8),)))
    assert change_notes(reply.changes) == [
        "temperature 0.20 → 1.30 at token 41 → 0.80 at 50",
        "top-k 40 → 5 at token 41",
    ]


def test_a_notice_is_said(state: ScreenState) -> None:
    state.fold(Notice("hello"))
    assert state.take_said() == [Said("hello")]


def test_a_reply_that_cannot_be_saved_says_so_once(state: ScreenState) -> None:
    full, failing = SaveFailed(StoreError("the disk is full")), SaveFailed(StoreError("the disk failed"))
    state.begin_reply()
    for event in (full, full, failing):
        state.fold(event)
    assert [said.text for said in state.take_said()] == ["the disk is full", "the disk failed"]
    state.begin_reply()
    state.fold(failing)
    assert [said.text for said in state.take_said()] == ["the disk failed"]


def test_what_is_not_known_is_not_said() -> None:
    assert facts(0, None, None, 0, 0) == ""
    assert facts(1, None, None, 0, 7) == "1 token · 0 of 7 cached"


def test_each_candidate_grows_by_itself_until_one_is_chosen(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(Drawing("r", 3))
    state.fold(started())
    for candidate, text in ((0, "A"), (1, "B"), (0, "C")):
        state.fold(Token("r", 0, 1, text, candidate=candidate))
    assert [text.since(0)[0] for text in reply.texts] == ["AC", "B", ""]
    assert (reply.tokens, live_notes(reply)) == (3, ["0 of 3 candidates ended"])
    assert [candidate_lines(text) for text in reply.texts] == [
        ["2 tokens", "drawing"],
        ["1 token", "drawing"],
        ["0 tokens", "waiting"],
    ]

    state.fold(CandidateEnded("r", 1, "length", "b", (1,), logprob=-0.25))
    state.fold(CandidateEnded("r", 0, "stop", "c", (1, 2)))
    assert [text.since(0)[0] for text in reply.texts] == ["ACc", "Bb", ""]
    assert candidate_lines(reply.texts[1]) == ["1 token · max tokens", "log-probability -0.250"]
    assert candidate_lines(reply.texts[0]) == ["2 tokens", "ended"]
    state.fold(CandidateEnded("r", 2, "cancelled", "", ()))
    state.fold(Choosing("r", "judge:smollm2"))
    assert live_notes(reply) == ["judge:smollm2 chooses among 3 · esc takes the most probable"]
    assert not state.take_chosen()

    kept = Reply(status="done", candidate=Candidacy(1, 3, chosen=True, selector="vote", why="2 of 3 say B"))
    state.fold(Chosen("r", Turn(3, "s", 1, "Bb", datetime(2025, 1, 1, tzinfo=UTC), reply=kept)))
    assert (state.take_chosen(), state.take_chosen()) == (True, False)
    state.fold(finished())
    assert shown(reply) == "Bb"
    assert live_notes(reply) == ["candidate 2 of 3, by vote: 2 of 3 say B"]
    assert reply.tokens == 2


def test_candidates_that_fail_leave_the_first(state: ScreenState) -> None:
    reply = state.begin_reply()
    state.fold(Drawing("r", 2))
    state.fold(started())
    state.fold(Token("r", 0, 1, "A"))
    state.fold(Failed("r", EngineStopped("gone")))
    assert (shown(reply), live_notes(reply)) == ("A", ["candidate 1 of 2"])


def test_a_kept_candidate_says_its_score_and_why_it_was_chosen() -> None:
    kept = Reply(status="done", finish_reason="length", tokens=(1, 2))
    assert kept_candidate_lines(kept) == ["2 tokens · max tokens", "drawn alone"]
    judged = Candidacy(0, 2, logprob=-0.5, score=3.0, note="says 42", chosen=True, selector="vote", why="3 of 3")
    assert kept_candidate_lines(replace(kept, candidate=judged)) == [
        "2 tokens · max tokens",
        "score 3 · log-probability -0.500",
        "chosen by vote: 3 of 3",
        "says 42",
    ]
    assert kept_candidate_lines(Reply(tokens=(1,), candidate=Candidacy(0, 2))) == ["1 token", "not ended"]


def test_the_choice_of_the_reply_before_is_late_news(state: ScreenState) -> None:
    state.begin_reply()
    state.fold(started("old"))
    state.begin_reply()
    state.fold(Chosen("old", Turn(3, "s", 1, "B", datetime(2025, 1, 1, tzinfo=UTC), reply=Reply())))
    assert not state.take_chosen()


def test_a_selector_that_cannot_be_opened_is_said(state: ScreenState) -> None:
    state.fold(SelectorFailed(ModelNotFound("no model is called 'x'")))
    assert state.take_said() == [Said("no model is called 'x'", error=True)]

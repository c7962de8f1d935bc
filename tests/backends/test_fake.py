from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from lmlab.backends import (
    Applied,
    Backend,
    CandidateEnded,
    ChatPrompt,
    Encode,
    Encoded,
    Event,
    Failed,
    Finished,
    Loading,
    LoadSpec,
    Message,
    Prefill,
    Rank,
    Ranked,
    RankPair,
    Ready,
    Request,
    Spell,
    Spelled,
    Started,
    Status,
    StatusSink,
    Stopped,
    TextPrompt,
    Token,
    Usage,
)
from lmlab.backends.fake import FAKE_SEED, FAKE_TIMINGS, FakeBackend, FakeCandidate, fake_info
from lmlab.errors import ContextOverflow, EngineStopped, ModelLoadError
from lmlab.sampling import DEFAULTS, SamplingParams

IN_FORCE = replace(DEFAULTS, seed=FAKE_SEED)


def ask(name: str = "a", sampling: SamplingParams | None = None) -> Request:
    return Request(name, TextPrompt("once"), sampling or SamplingParams())


def fake(*, auto: bool = False) -> tuple[FakeBackend, list[Status]]:
    statuses: list[Status] = []
    return FakeBackend(LoadSpec("x.gguf"), statuses.append, auto=auto), statuses


def test_it_is_a_backend_and_its_class_an_opener() -> None:
    def opener(spec: LoadSpec, on_status: StatusSink) -> Backend:
        return partial(FakeBackend, auto=True)(spec, on_status)

    assert opener(LoadSpec("x.gguf"), lambda status: None).wait_ready() == fake_info("x.gguf")


def test_auto_loads_and_answers_inside_the_call() -> None:
    backend, statuses = fake(auto=True)
    backend.script(["Hel", "lo"], prompt_tokens=7, cached=3, tail="!", reason="length")
    events: list[Event] = []

    backend.generate(ask(), events.append)

    assert statuses == [Loading(0.0), Ready(backend.info)]
    assert events == [
        Started("a", 7, 3, IN_FORCE),
        Prefill("a", 7, 7),
        Token("a", 0, 100, "Hel"),
        Token("a", 1, 101, "lo"),
        Finished("a", "length", "!", (100, 101), Usage(7, 3, 2), FAKE_TIMINGS, 9),
    ]


def test_by_hand_nothing_comes_before_it_is_stepped() -> None:
    backend, statuses = fake()
    events: list[Event] = []
    backend.script(["one", "two"])

    backend.generate(ask(), events.append)
    assert (statuses, events) == ([Loading(0.0)], [])
    backend.ready()
    assert events == []
    backend.step(2)
    assert events[2:] == [Token("a", 0, 100, "one")]
    backend.finish()

    assert [type(event) for event in events[3:]] == [Token, Finished]
    assert backend.running == ()


def test_stepping_before_the_model_is_there_is_a_mistake_of_the_test() -> None:
    backend, _ = fake()
    backend.generate(ask(), lambda event: None)

    with pytest.raises(AssertionError, match="call ready"):
        backend.step()


def test_a_script_may_be_made_of_the_request() -> None:
    backend, _ = fake(auto=True)
    events: list[Event] = []
    backend.script(lambda request: request.prompt.messages[-1].content.split())  # type: ignore[union-attr]

    backend.generate(Request("a", ChatPrompt((Message("user", "say this"),))), events.append)

    assert [event.text for event in events if isinstance(event, Token)] == ["say", "this"]


def test_an_update_applies_at_the_next_token_and_says_what_changed() -> None:
    backend, _ = fake()
    events: list[Event] = []
    handle = backend.generate(ask(), events.append)
    backend.ready()
    backend.step(2)

    handle.update(SamplingParams(temperature=0.1))
    backend.step()

    assert backend.updates == [("a", SamplingParams(temperature=0.1))]
    applied = Applied("a", 1, replace(IN_FORCE, temperature=0.1), (("temperature", 0.8, 0.1),))
    assert events[-2:] == [applied, Token("a", 1, 101, " fake")]


def test_cancelling_ends_it_once_with_what_had_come() -> None:
    backend, _ = fake()
    events: list[Event] = []
    handle = backend.generate(ask(), events.append)
    backend.ready()
    backend.step(2)

    handle.cancel()
    handle.cancel()

    assert backend.cancels == ["a", "a"]
    assert [event for event in events if isinstance(event, Finished)] == [
        Finished("a", "cancelled", "", (100,), Usage(10, 0, 1), FAKE_TIMINGS, 11)
    ]


def test_a_crash_fails_what_runs_and_the_next_request_loads_again() -> None:
    backend, statuses = fake()
    events: list[Event] = []
    backend.generate(ask(), events.append)
    backend.ready()
    backend.step(2)
    error = EngineStopped("killed")

    backend.crash(error)
    assert events[-1] == Failed("a", error)
    assert statuses[2:] == [Stopped(error)]

    backend.generate(ask("b"), events.append)
    assert statuses[3:] == [Loading(0.0)]
    backend.ready()
    backend.finish()
    assert (backend.starts, events[-1].request_id) == (2, "b")
    assert isinstance(events[-1], Finished)


def test_a_model_that_cannot_be_loaded_fails_its_requests_and_who_waits() -> None:
    backend, statuses = fake()
    events: list[Event] = []
    backend.generate(ask(), events.append)
    error = ModelLoadError("no memory")

    backend.fail_load(error)

    assert (events, statuses[1:]) == ([Failed("a", error)], [Stopped(error)])


def test_a_request_may_be_refused_before_it_begins_or_fail_within() -> None:
    backend, _ = fake(auto=True)
    overflow = ContextOverflow(9000, 8192)
    backend.script([], error=overflow)
    backend.script(["a"], error=EngineStopped("gone"))
    events: list[Event] = []

    backend.generate(ask(), events.append)
    assert events == [Failed("a", overflow)]
    backend.generate(ask("b"), events.append)

    assert [type(event) for event in events[1:]] == [Started, Prefill, Token, Failed]


def test_closing_fails_what_runs_and_what_comes_later() -> None:
    backend, _ = fake()
    events: list[Event] = []
    backend.generate(ask(), events.append)

    backend.close()
    backend.close()
    backend.generate(ask("b"), events.append)

    assert [(type(event), event.request_id) for event in events] == [(Failed, "a"), (Failed, "b")]
    with pytest.raises(EngineStopped):
        backend.wait_ready()


def test_several_candidates_advance_together_and_each_end_is_told() -> None:
    backend, _ = fake(auto=True)
    backend.script_candidates(["yes", FakeCandidate(["no", "pe"], "length", logprob=-0.5)], prompt_tokens=3)
    events: list[Event] = []

    backend.generate(Request("a", TextPrompt("once"), candidates=2), events.append)

    assert events[2:] == [
        Token("a", 0, 100, "yes"),
        Token("a", 0, 200, "no", candidate=1),
        CandidateEnded("a", 0, "stop", "", (100,), -1.0),
        Token("a", 1, 201, "pe", candidate=1),
        CandidateEnded("a", 1, "length", "", (200, 201), -0.5),
        Finished("a", "stop", "", (100,), Usage(3, 0, 3), FAKE_TIMINGS, 4, -1.0),
    ]


def test_what_is_not_streamed_comes_whole_with_its_end() -> None:
    backend, _ = fake(auto=True)
    backend.script(["Hel", "lo"], tail="!")
    backend.script_candidates(["one two", "three"])
    events: list[Event] = []

    backend.generate(Request("a", TextPrompt("once"), stream=False), events.append)
    backend.generate(Request("b", TextPrompt("once"), candidates=2, stream=False), events.append)

    assert [(type(event), getattr(event, "tail", None)) for event in events] == [
        (Started, None),
        (Finished, "Hello!"),
        (Started, None),
        (CandidateEnded, "three"),
        (CandidateEnded, "one two"),
        (Finished, ""),
    ]


def test_one_candidate_of_several_is_cancelled_and_the_others_go_on() -> None:
    backend, _ = fake()
    backend.script_candidates(["a b c", "d e f"])
    events: list[Event] = []
    handle = backend.generate(Request("a", TextPrompt("once"), candidates=2), events.append)
    backend.ready()
    backend.step(2)

    handle.cancel(1)
    backend.finish()

    assert (backend.cancels, backend.candidate_cancels) == ([], [("a", 1)])
    ends = [event for event in events if isinstance(event, CandidateEnded)]
    assert [(end.candidate, end.reason, len(end.tokens)) for end in ends] == [(1, "cancelled", 1), (0, "stop", 3)]
    assert isinstance(events[-1], Finished)


def test_a_callback_may_cancel_the_candidates_that_are_left() -> None:
    backend, _ = fake()
    backend.script_candidates(["a", "b", "c d e"])
    ends: list[CandidateEnded] = []

    def sink(event: Event) -> None:
        if isinstance(event, CandidateEnded):
            ends.append(event)
            if event.candidate == 1:
                handle.cancel(2)

    handle = backend.generate(Request("a", TextPrompt("once"), candidates=3), sink)
    backend.ready()
    backend.finish()

    assert [(end.candidate, end.reason) for end in ends] == [(0, "stop"), (1, "stop"), (2, "cancelled")]
    assert backend.running == ()


def test_requests_can_be_stepped_in_any_order() -> None:
    backend, _ = fake()
    events: list[Event] = []
    for name in "abc":
        backend.generate(ask(name), events.append)
    backend.ready()

    backend.step(1, "c")
    backend.step(2, "b")
    backend.step()

    assert [event.request_id for event in events if isinstance(event, Started)] == ["c", "b", "a"]
    assert [event.request_id for event in events if isinstance(event, Token)] == ["b"]


def test_replies_that_ask_for_the_next_one_do_not_nest() -> None:
    events: list[Event] = []
    backend = FakeBackend(LoadSpec("x.gguf"), lambda status: None, auto=True, forgetful=True)

    def sink(event: Event) -> None:
        events.append(event)
        if isinstance(event, Finished) and len(events) < 20_000:
            backend.generate(ask("next"), sink)

    backend.generate(ask("first"), sink)

    assert len(events) >= 20_000
    assert (backend.requests, backend.running) == ([], ())


def test_a_script_of_another_number_of_candidates_is_a_mistake_of_the_test() -> None:
    backend, _ = fake(auto=True)
    backend.script_candidates(["a", "b"])

    with pytest.raises(AssertionError, match="2 candidates are scripted and 3 are asked for"):
        backend.generate(Request("a", TextPrompt("once"), candidates=3), lambda event: None)


def test_questions_are_answered_at_once() -> None:
    backend, _ = fake()
    answers: list[Event] = []
    pairs = tuple(RankPair((Message("user", "?"),), text) for text in ("long", "one"))

    backend.ask(Encode("a", TextPrompt("to be to be")), answers.append)
    backend.ask(Encode("b", ChatPrompt((Message("user", "hi"),))), answers.append)
    backend.ask(Rank("c", pairs), answers.append)
    backend.scores = lambda rank: [0.5]
    backend.ask(Rank("d", pairs[:1]), answers.append)
    backend.ask_error = gone = EngineStopped("gone")
    backend.ask(Rank("e", pairs), answers.append)

    assert answers == [
        Encoded("a", (0, 1, 2, 1), "to be to be"),
        Encoded("b", (3, 4, 5), "user: hi\nassistant:"),
        Ranked("c", (4.0, 3.0)),
        Ranked("d", (0.5,)),
        Failed("e", gone),
    ]
    assert [question.request_id for question in backend.questions] == list("abcde")


def test_a_reply_goes_on_from_the_tokens_it_begins_with() -> None:
    backend, _ = fake(auto=True)
    backend.script(["Hel", "lo", "!"])
    backend.script([" x", " y"], prompt_tokens=7, cached=5)
    events: list[Event] = []

    backend.generate(ask(), lambda event: None)
    backend.generate(Request("b", TextPrompt("once"), reply=(100, 101, 7)), events.append)

    assert events == [
        Started("b", 10, 5, IN_FORCE, text="Hello<7>"),
        Prefill("b", 10, 10),
        Token("b", 3, 103, " x"),
        Token("b", 4, 104, " y"),
        Finished("b", "stop", "", (100, 101, 7, 103, 104), Usage(10, 5, 2), FAKE_TIMINGS, 12),
    ]


def test_a_reply_cancelled_before_it_starts_has_not_even_its_beginning() -> None:
    backend, _ = fake()
    events: list[Event] = []
    handle = backend.generate(Request("a", TextPrompt("once"), reply=(5,)), events.append)

    handle.cancel()

    assert events == [Finished("a", "cancelled", "", (), Usage(0, 0, 0), FAKE_TIMINGS, 0)]


def test_each_candidate_goes_on_from_the_same_tokens() -> None:
    backend, _ = fake(auto=True)
    backend.script_candidates(["yes", "no"])
    ends: list[CandidateEnded] = []

    def sink(event: Event) -> None:
        if isinstance(event, CandidateEnded):
            ends.append(event)

    backend.generate(Request("a", TextPrompt("once"), candidates=2, reply=(5,)), sink)

    assert [end.tokens for end in ends] == [(5, 101), (5, 201)]


def test_log_probabilities_come_when_they_are_asked_for() -> None:
    backend, _ = fake(auto=True)
    backend.script(["a", "b", "c"], logprobs=[-0.5, -2.5])
    backend.script_candidates([FakeCandidate("d", logprob=-0.25)])
    backend.script(["e"], logprobs=[-0.5])
    events: list[Event] = []

    for name, asked in (("a", True), ("b", True), ("c", False)):
        backend.generate(Request(name, TextPrompt("once"), logprobs=asked), events.append)

    assert [event.logprob for event in events if isinstance(event, Token)] == [-0.5, -2.5, -1.0, -0.25, None]


def test_tokens_are_spelled_as_they_were_said() -> None:
    backend, _ = fake(auto=True)
    answers: list[Event] = []
    backend.generate(ask(), lambda event: None)
    backend.texts[9] = "nine"
    backend.cached = 3

    backend.ask(Spell("a", (100, 101, 9, 300)), answers.append)
    backend.ask(Encode("b", TextPrompt("to be or not to be")), answers.append)
    backend.ask(Spell("c", (0, 1)), answers.append)
    backend.ask(Encode("d", TextPrompt("to be")), answers.append)

    assert answers == [
        Spelled("a", ("A", " fake", "nine", "<300>")),
        Encoded("b", (0, 1, 2, 3, 4, 1), "to be or not to be", 3),
        Spelled("c", ("to", " be")),
        Encoded("d", (0, 1), "to be", 2),
    ]

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from lmlab.backends import (
    Applied,
    Backend,
    ChatPrompt,
    Event,
    Failed,
    Finished,
    Loading,
    LoadSpec,
    Message,
    Prefill,
    Ready,
    Request,
    Started,
    Status,
    StatusSink,
    Stopped,
    TextPrompt,
    Token,
    Usage,
)
from lmlab.backends.fake import FAKE_SEED, FAKE_TIMINGS, FakeBackend, fake_info
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

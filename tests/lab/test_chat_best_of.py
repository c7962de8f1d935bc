from __future__ import annotations

import queue
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chat_harness import Desk, model_file

from lmlab.backends import CandidateEnded, ChatPrompt, Failed, Finished, LoadSpec, Message, Prefill, Token, Usage
from lmlab.backends.fake import FakeBackend, FakeCandidate
from lmlab.backends.local import LocalBackend
from lmlab.errors import EngineStopped, ModelNotFound, StoreError, UsageError
from lmlab.lab.best_of import parse_selector
from lmlab.lab.chat import Chat, ChatEvent
from lmlab.lab.contest import question_text
from lmlab.lab.events import Choosing, Chosen, Drawing, SaveFailed, SelectorFailed
from lmlab.lab.events import Notice as Said
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Candidacy, Reply, Store, Turn


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name in ("lmlab-select", "lmlab-chooser"):
            thread.join(30)
            assert not thread.is_alive()


def draw(desk: Desk, *candidates: FakeCandidate | str, select: str = "logprob", ref: str = "fake") -> FakeBackend:
    """Open a model and ask it a question that the ``candidates`` will answer."""
    backend = desk.open(ref)
    desk.chat.set_best_of(len(candidates))
    desk.chat.set_selector(parse_selector(select))
    backend.script_candidates(candidates, prompt_tokens=12, cached=4)
    desk.chat.send("How many?")
    return backend


def likely(text: str, logprob: float, **options: Any) -> FakeCandidate:
    return FakeCandidate(text, logprob=logprob, **options)


THREE = (likely("It is 41", -0.9), likely("It is 42", -0.2), likely("It may be 42", -0.5))


def record(turn: Turn) -> Reply:
    assert turn.reply is not None
    return turn.reply


def candidacy(turn: Turn) -> Candidacy:
    found = record(turn).candidate
    assert found is not None
    return found


def on_disk(desk: Desk) -> list[Turn]:
    """The replies to the only question, as another program would read them."""
    assert desk.chat.session is not None
    return [turn for turn in desk.store.turns(desk.chat.session.id) if turn.reply is not None]


def test_one_request_draws_all_candidates_and_the_choice_is_the_reply(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    (request,) = backend.requests
    assert (request.candidates, request.logprobs, request.stream) == (3, True, True)
    assert [turn.content for turn in on_disk(desk)] == ["", "", ""]
    backend.finish()

    assert [turn.content for turn in desk.chat.turns] == ["How many?", "It is 42"]
    assert not desk.chat.replying
    replies = on_disk(desk)
    assert [turn.content for turn in replies] == ["It is 41", "It is 42", "It may be 42"]
    assert {turn.parent for turn in replies} == {desk.chat.turns[0].id}
    assert [candidacy(turn) for turn in replies] == [
        Candidacy(0, 3, -0.9, -0.9),
        Candidacy(1, 3, -0.2, -0.2, "", True, "logprob", "the highest mean log-probability of 3: -0.200"),
        Candidacy(2, 3, -0.5, -0.5),
    ]
    assert [record(turn).tokens for turn in replies] == [(100, 101, 102), (200, 201, 202), (300, 301, 302, 303)]
    assert [record(turn).usage for turn in replies] == [Usage(12, 4, 3), Usage(12, 4, 3), Usage(12, 4, 4)]
    assert [record(turn).context_used for turn in replies] == [15, 15, 16]
    assert desk.chat.session is not None
    assert desk.store.path(desk.chat.session.id) == desk.chat.turns


def test_the_front_end_is_told_of_the_drawing_the_choice_and_one_end(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    name = backend.requests[0].id
    backend.finish()

    assert desk.told(Drawing) == [Drawing(name, 3)]
    assert [event.candidate for event in desk.told(CandidateEnded)] == [0, 1, 2]
    assert desk.told(Choosing) == []
    assert desk.events[-2:] == [Chosen(name, desk.chat.turns[-1]), *desk.told(Finished)]
    (end,) = desk.told(Finished)
    assert (end.reason, end.tokens, end.tail, end.context_used) == ("stop", (200, 201, 202), "", 15)


def test_the_next_message_goes_on_from_the_chosen_candidate(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    backend.finish()
    desk.chat.set_best_of(1)
    desk.chat.send("Sure?")
    prompt = backend.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [(message.content, message.tokens) for message in prompt.messages] == [
        ("How many?", None),
        ("It is 42", (200, 201, 202)),
        ("Sure?", None),
    ]
    assert backend.requests[-1].candidates == 1


def test_another_candidate_can_be_gone_on_from(desk: Desk) -> None:
    draw(desk, *THREE).finish()
    found = desk.chat.siblings(desk.chat.turns[-1])
    assert [turn.content for turn in found] == ["It is 41", "It is 42", "It may be 42"]
    desk.chat.select(found[2])
    assert desk.chat.turns[-1].content == "It may be 42"
    assert desk.chat.session is not None
    assert desk.store.path(desk.chat.session.id)[-1].id == found[2].id


def test_regenerating_adds_as_many_candidates_to_the_same_question(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    backend.finish()
    backend.script_candidates(["a", "b", "c"])
    desk.chat.regenerate()
    backend.finish()
    assert [turn.content for turn in desk.chat.siblings(desk.chat.turns[-1])][3:] == ["a", "b", "c"]
    assert desk.chat.turns[-1].content == "a"


def test_the_growing_candidates_are_written_and_can_be_looked_at(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    backend.step(2)
    desk.clock.now += 1
    backend.step()
    assert [turn.content for turn in on_disk(desk)] == ["It is", "It", "It"]
    assert [record(turn).status for turn in on_disk(desk)] == ["partial"] * 3
    backend.step()
    live = desk.chat.siblings(desk.chat.turns[-1])
    assert [turn.content for turn in live] == ["It is 41", "It is 42", "It may be"]
    assert desk.chat.turns[-1].content == "It is 41"


def test_a_candidate_that_has_ended_is_written_at_once(desk: Desk) -> None:
    backend = draw(desk, likely("Yes", -1), likely("No it is not", -2))
    backend.step(3)
    assert [(turn.content, record(turn).status) for turn in on_disk(desk)] == [("Yes", "done"), ("", "partial")]
    assert candidacy(on_disk(desk)[0]).logprob == -1


def test_vote_cancels_what_can_no_longer_change_the_choice(desk: Desk) -> None:
    backend = draw(desk, "Yes", "yes.", likely("Well it depends on what", -1), select="vote")
    backend.finish()
    assert backend.candidate_cancels == [(backend.requests[0].id, 2)]
    assert desk.chat.turns[-1].content == "Yes"
    assert candidacy(desk.chat.turns[-1]).why == "2 of 2 say Yes; 1 was not drawn to the end"
    assert [record(turn).finish_reason for turn in on_disk(desk)] == ["stop", "stop", "cancelled"]
    assert [candidacy(turn).score for turn in on_disk(desk)] == [1.0, 1.0, None]


def test_stopping_chooses_among_those_that_have_ended(desk: Desk) -> None:
    backend = draw(desk, likely("It is a long story", -1), likely("No", -3), likely("Yes", -2))
    backend.step(3)
    assert desk.chat.stop()
    assert desk.chat.turns[-1].content == "Yes"
    assert candidacy(desk.chat.turns[-1]).why.endswith("; 1 was not drawn to the end")
    assert [turn.content for turn in on_disk(desk)] == ["It is", "No", "Yes"]
    assert not desk.chat.replying


def test_stopping_before_one_has_ended_keeps_the_first_as_far_as_it_came(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    backend.step(2)
    assert desk.chat.stop()
    assert (desk.chat.turns[-1].content, record(desk.chat.turns[-1]).finish_reason) == ("It", "cancelled")
    assert candidacy(desk.chat.turns[-1]) == Candidacy(
        0, 3, -0.9, chosen=True, why="stopped before one had come to its end"
    )
    assert [turn.content for turn in on_disk(desk)] == ["It", "It", "It"]
    assert [event.reason for event in desk.told(Finished)] == ["cancelled"]


def test_stopping_what_waits_for_a_model_ends_every_candidate(desk: Desk) -> None:
    desk.held["fake"] = threading.Event()
    desk.chat.open_model("fake")
    desk.chat.set_best_of(2)
    desk.chat.send("early")
    assert desk.chat.stop()
    assert [record(turn).finish_reason for turn in on_disk(desk)] == ["cancelled", "cancelled"]
    assert [event.reason for event in desk.told(Finished)] == ["cancelled"]
    assert not desk.chat.replying


def test_clearing_keeps_what_had_arrived_and_the_most_probable_that_had_ended(desk: Desk) -> None:
    backend = draw(desk, likely("It is a long story", -1), likely("No", -3), likely("Yes", -2))
    backend.step(3)
    session = desk.chat.session
    assert session is not None
    desk.chat.clear()
    assert desk.told(Finished) == []
    assert [turn.content for turn in desk.store.path(session.id)] == ["How many?", "Yes"]
    assert sorted(turn.content for turn in desk.store.turns(session.id)) == ["How many?", "It is", "No", "Yes"]


def test_an_engine_that_dies_leaves_every_candidate_as_far_as_it_came(desk: Desk) -> None:
    backend = draw(desk, likely("It is a long story", -1), likely("No", -3))
    backend.step(3)
    backend.crash(EngineStopped("it was killed"))
    assert [str(event.error) for event in desk.told(Failed)] == ["it was killed"]
    assert [(turn.content, record(turn).finish_reason) for turn in on_disk(desk)] == [
        ("It is", "error"),
        ("No", "stop"),
    ]
    assert not desk.chat.replying


def test_a_change_of_sampling_is_recorded_with_every_candidate_that_goes_on(desk: Desk) -> None:
    backend = draw(desk, likely("It is a long story", -1), likely("No", -3), likely("Yes and no", -2))
    backend.step(3)
    desk.chat.set_sampling("temperature", 0.1)
    backend.finish()
    assert [len(record(turn).changes) for turn in on_disk(desk)] == [1, 0, 1]


def test_a_base_model_draws_candidates_of_the_transcript(desk: Desk) -> None:
    backend = draw(desk, *THREE, ref="base")
    prompt = backend.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template is not None
    backend.finish()
    assert desk.chat.turns[-1].content == "It is 42"


def test_a_full_disk_is_said_and_the_choice_is_written_with_the_next_message(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = draw(desk, *THREE)
    save, full = desk.store.save_reply, [True]

    def save_reply(turn: int, content: str, reply: Reply) -> None:
        if full[0]:
            raise StoreError("the disk is full")
        save(turn, content, reply)

    monkeypatch.setattr(desk.store, "save_reply", save_reply)
    backend.finish()
    assert desk.chat.turns[-1].content == "It is 42"
    assert {str(event.error) for event in desk.told(SaveFailed)} == {"the disk is full"}
    full[0] = False
    desk.chat.send("Sure?")
    assert [turn.content for turn in on_disk(desk)][:3] == ["It is 41", "It is 42", "It may be 42"]
    assert [turn.content for turn in desk.chat.turns] == ["How many?", "It is 42", "Sure?", ""]


# The judge


@pytest.fixture
def held_judge(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Two candidates whose judge thinks until it is stopped."""
    backend = draw(desk, likely("It is 41", -0.9), likely("It is 42", -0.2), select="judge")
    asked = threading.Event()
    generate = backend.generate

    def ask(request: Any, sink: Any) -> Any:
        asked.set()
        return generate(request, sink)

    monkeypatch.setattr(backend, "generate", ask)
    backend.step(5)
    assert asked.wait(30)
    return backend


def test_the_judge_thinks_on_a_thread_of_its_own(desk: Desk, held_judge: FakeBackend) -> None:
    assert desk.told(Choosing) == [Choosing(held_judge.requests[0].id, "judge")]
    assert desk.chat.replying
    assert desk.told(Finished) == []
    assert [record(turn).status for turn in on_disk(desk)] == ["done", "done"]
    with pytest.raises(UsageError, match="a reply is under way"):
        desk.chat.send("Sure?")


def test_stopping_the_judge_takes_the_most_probable_and_says_so(desk: Desk, held_judge: FakeBackend) -> None:
    assert desk.chat.stop()
    assert not desk.chat.replying
    assert desk.chat.turns[-1].content == "It is 42"
    assert candidacy(desk.chat.turns[-1]).why == "stopped before the choice: the most probable"
    assert len(desk.told(Finished)) == 1
    assert not desk.chat.stop()
    wait_for_threads()
    assert held_judge.running == ()
    assert len(desk.told(Finished)) == 1


def test_leaving_while_the_judge_thinks_keeps_the_most_probable(desk: Desk, held_judge: FakeBackend) -> None:
    session = desk.chat.session
    assert session is not None
    desk.chat.clear()
    wait_for_threads()
    assert desk.store.path(session.id)[-1].content == "It is 42"
    assert desk.told(Finished) == []


def test_an_engine_that_dies_while_the_judge_thinks_loses_nothing(desk: Desk, held_judge: FakeBackend) -> None:
    held_judge.crash(EngineStopped("it was killed"))
    wait_for_threads()
    assert desk.chat.turns[-1].content == "It is 42"
    assert candidacy(desk.chat.turns[-1]).why == "no choice was made (it was killed): the most probable"


def test_a_judge_of_another_model_is_opened_once_and_closed_at_the_end(auto: Desk) -> None:
    auto.models["wise"] = model_file("wise")
    auto.chat.set_selector(parse_selector("judge:wise"))
    auto.chat.set_best_of(2)
    auto.open()
    backend = auto.backends[0]
    wait_for_threads()
    assert auto.resolved == ["fake", "wise"]
    assert [event.text for event in auto.told(Said)] == [
        "fetching wise, 2 bytes, in the background",
        "wise is open: it chooses among candidates",
    ]
    for _ in range(2):
        backend.script_candidates(["one", "two"])
        auto.chat.send("Which?")
        wait_for_threads()
    judge = auto.backends[1]
    assert len(auto.backends) == 2
    assert len(judge.requests) == 4
    assert all(candidacy(turn).of == 2 for turn in on_disk(auto))
    auto.chat.close()
    assert judge.closed


def test_a_judge_that_cannot_be_opened_is_one_line_and_the_most_probable_is_kept(desk: Desk) -> None:
    backend = draw(desk, *THREE, select="judge:nobody")
    wait_for_threads()
    assert [str(event.error) for event in desk.told(SelectorFailed)] == ["no model is called 'nobody'"]
    backend.finish()
    wait_for_threads()
    assert desk.chat.turns[-1].content == "It is 42"
    assert candidacy(desk.chat.turns[-1]).why == "no choice was made (no model is called 'nobody'): the most probable"
    assert isinstance(desk.told(SelectorFailed)[0].error, ModelNotFound)


def test_a_defect_of_a_selector_does_not_leave_the_chat_waiting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: seen.append(hook.exc_type))

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("defect")

    monkeypatch.setattr("lmlab.lab.selectors.pattern.RegexSelector.choose", broken)
    draw(desk, *THREE, select="regex:42").finish()
    wait_for_threads()
    assert seen == [KeyError]
    assert not desk.chat.replying
    assert candidacy(desk.chat.turns[-1]).why == "the selector failed: the most probable"


def test_a_pattern_chooses(desk: Desk) -> None:
    draw(desk, *THREE, select="regex:may").finish()
    wait_for_threads()
    assert desk.chat.turns[-1].content == "It may be 42"
    assert candidacy(desk.chat.turns[-1]).selector == "regex:may"


# A real model


def test_a_real_model_draws_after_one_prefill_and_its_candidates_are_kept(smollm2: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "config.toml", tmp_path, tmp_path / "logs")
    store = Store(paths.database)
    events: queue.SimpleQueue[ChatEvent] = queue.SimpleQueue()
    chat = Chat(
        store=store,
        paths=paths,
        config=Config(),
        opener=partial(LocalBackend, log_folder=tmp_path),
        listener=events.put,
        sampling=SamplingParams(max_tokens=12, seed=3),
        best_of=3,
        selector=parse_selector("judge"),
        load=LoadSpec("", gpu_layers=0, threads=1, context=2048),
    )
    try:
        chat.open_model(str(smollm2))
        chat.send("Name a colour.")
        prefills: list[Prefill] = []
        while not isinstance(event := events.get(timeout=120), Finished):
            assert not isinstance(event, Failed)
            if isinstance(event, Prefill):
                prefills.append(event)
        drawn = chat.siblings(chat.turns[-1])
        said = [candidacy(turn) for turn in drawn]
        prompt = {usage.prompt_tokens for turn in drawn if (usage := record(turn).usage) is not None}
        kept = store.path(chat.session.id if chat.session else "")
    finally:
        chat.close()
        store.close()

    assert [one.index for one in said] == [0, 1, 2]
    assert [one.chosen for one in said].count(True) == 1
    assert all(turn.content and record(turn).tokens for turn in drawn)
    assert all(one.logprob is not None and one.logprob < 0 for one in said)
    assert len(prompt) == 1
    assert prefills[-1].done == prefills[-1].total == prompt.pop()
    assert kept == chat.turns
    assert candidacy(kept[-1]).selector == "judge"


# What it is set to


@pytest.mark.parametrize("count", [0, -1, 65])
def test_the_number_of_candidates_has_bounds(desk: Desk, count: int) -> None:
    with pytest.raises(UsageError, match="give a whole number from 1 to 64"):
        desk.chat.set_best_of(count)
    assert desk.chat.best_of == 1


def test_a_model_is_loaded_with_room_for_the_candidates(desk: Desk) -> None:
    assert desk.open().spec.sequences == 8
    desk.chat.set_best_of(12)
    assert desk.open().spec.sequences == 12
    desk.chat.set_best_of(2)
    assert desk.open().spec.sequences == 12


def test_what_is_asked_is_the_message_or_the_whole_conversation() -> None:
    said = (Message("system", "Be brief"), Message("user", "Hi"))
    assert question_text(said) == "Hi"
    longer = (*said, Message("assistant", "Hello"), Message("user", "How many?"))
    assert question_text(longer) == "user: Hi\n\nassistant: Hello\n\nuser: How many?"


def test_tokens_are_told_as_they_come(desk: Desk) -> None:
    backend = draw(desk, *THREE)
    backend.step(2)
    assert [(event.candidate, event.text) for event in desk.told(Token)] == [(0, "It"), (1, "It"), (2, "It")]

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from chat_harness import Desk, model_file

from lmlab.backends import ChatPrompt, EventSink, Failed, Finished, Loading, Message, Ready, Request, Stopped
from lmlab.backends.fake import FakeHandle
from lmlab.errors import DownloadError, EngineStopped, ModelLoadError, ModelNotFound, StoreError, UsageError
from lmlab.lab import asking
from lmlab.lab.chat import Fetching, ModelFailed, Notice
from lmlab.lab.model_slot import size_and_quantization
from lmlab.models import Progress
from lmlab.sampling import SamplingParams
from lmlab.store import Reply, Turn

STOPS = ("\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:")


def hold(desk: Desk, ref: str) -> threading.Event:
    desk.held[ref] = threading.Event()
    return desk.held[ref]


def test_opening_tells_each_step_and_remembers_the_model_once_loaded(desk: Desk) -> None:
    desk.models["fake"] = model_file("fake", notice="fetched from somewhere")
    desk.chat.open_model("fake")
    desk.settle()
    assert desk.events == [Fetching(Progress("fake", 1, 2)), Loading(0.0), Notice("fetched from somewhere")]
    assert (desk.chat.model, desk.chat.info, desk.remembered) == (desk.models["fake"], None, [])
    assert desk.backends[0].spec.path == "/models/fake.gguf"

    desk.backends[0].ready()

    assert desk.events[3:] == [Ready(desk.backends[0].info)]
    assert (desk.chat.info, desk.remembered) == (desk.backends[0].info, ["fake"])


def test_without_a_reference_the_choice_is_left_to_models(desk: Desk) -> None:
    desk.open(None)
    assert desk.chat.model == desk.models["fake"]


def test_a_message_waits_while_the_model_is_fetched(desk: Desk) -> None:
    gate = hold(desk, "fake")
    desk.chat.open_model("fake")
    desk.chat.send("early")
    desk.chat.set_sampling("temperature", 0.3)
    assert desk.chat.replying
    assert [turn.content for turn in desk.store.turns(desk.store.sessions()[0].id)] == ["early", ""]

    gate.set()
    desk.settle()
    backend = desk.backends[0]
    assert [request.sampling for request in backend.requests] == [SamplingParams(temperature=0.3)]
    backend.ready()
    backend.finish()

    assert desk.chat.turns[-1].content == "A fake reply."
    reply = desk.chat.turns[-1].reply
    assert reply is not None
    assert (reply.asked, reply.fingerprint) == (SamplingParams(temperature=0.3), "print-fake")


def test_a_message_that_waits_can_be_stopped(desk: Desk) -> None:
    gate = hold(desk, "fake")
    desk.chat.open_model("fake")
    desk.chat.send("early")

    desk.chat.stop()
    gate.set()
    desk.settle()

    assert [event.reason for event in desk.told(Finished)] == ["cancelled"]
    assert not desk.chat.replying
    assert desk.backends[0].requests == []


def test_a_message_that_waits_fails_with_the_model_and_can_be_asked_again(desk: Desk) -> None:
    gate = hold(desk, "gone")
    desk.chat.open_model("gone")
    desk.chat.send("early")
    gate.set()
    desk.settle()

    (failed,) = desk.told(ModelFailed)
    assert isinstance(failed.error, ModelNotFound)
    assert [event.error for event in desk.told(Failed)] == [failed.error]
    assert not desk.chat.replying
    with pytest.raises(UsageError, match="no model is open: open one with /model REF"):
        desk.chat.regenerate()

    backend = desk.open()
    desk.chat.regenerate()
    assert backend.requests[0].prompt == ChatPrompt((Message("user", "early"),))


def test_the_old_model_stays_open_until_the_new_ones_file_is_there(desk: Desk) -> None:
    old = desk.open()
    gate = hold(desk, "base")
    desk.chat.open_model("base")
    assert (old.closed, desk.chat.model, desk.chat.opening) == (False, desk.models["fake"], True)

    gate.set()
    desk.settle()

    assert (old.closed, desk.chat.model, desk.chat.opening) == (True, desk.models["base"], False)
    assert desk.chat.info is None


def test_the_old_model_stays_open_when_the_new_one_fails(desk: Desk) -> None:
    old = desk.open()
    desk.models["broken"] = DownloadError("no network")
    desk.chat.open_model("broken")
    desk.settle()

    assert [str(event.error) for event in desk.told(ModelFailed)] == ["no network"]
    assert desk.told(Notice)[-1] == Notice("fake is still open")
    desk.chat.send("hi")
    assert len(old.requests) == 1


def test_what_is_said_while_another_model_is_fetched_goes_to_that_one(desk: Desk) -> None:
    old = desk.open()
    gate = hold(desk, "base")
    desk.chat.open_model("base")
    desk.chat.send("hi")
    gate.set()
    desk.settle()

    assert (len(old.requests), len(desk.backends[1].requests)) == (0, 1)


def test_opening_another_model_gives_up_the_one_on_its_way(desk: Desk) -> None:
    gate = hold(desk, "fake")
    desk.chat.open_model("fake")
    desk.chat.send("hi")
    desk.chat.open_model("base")
    gate.set()
    desk.settle()

    assert [backend.spec.path for backend in desk.backends] == ["/models/base.gguf"]
    assert len(desk.backends[0].requests) == 1
    assert not desk.told(ModelFailed)


def test_a_failure_of_one_given_up_is_not_told(desk: Desk) -> None:
    gate = hold(desk, "gone")
    desk.chat.open_model("gone")
    desk.chat.open_model("fake")
    gate.set()
    desk.settle()

    assert not desk.told(ModelFailed)
    assert desk.chat.model == desk.models["fake"]


def test_opening_is_refused_during_a_reply(desk: Desk) -> None:
    desk.open()
    desk.chat.send("hi")
    with pytest.raises(UsageError, match="a reply is under way: stop it first"):
        desk.chat.open_model("base")
    assert desk.resolved == ["fake"]


def test_another_model_is_said_to_be_open_once_it_has_loaded(desk: Desk) -> None:
    desk.open()
    desk.models["other"] = model_file("other")
    desk.open("other")
    assert [notice.text for notice in desk.told(Notice)] == ["other is open"]
    desk.backends[-1].ready()
    assert len(desk.told(Notice)) == 1


@pytest.mark.parametrize(("number", "shown"), [(134_515_008, "135M"), (999_600_000, "1.0B"), (70_600_000_000, "70.6B")])
def test_a_models_size_is_said_as_people_say_it(number: int, shown: str) -> None:
    file = model_file("x")
    sized = replace(file, header=replace(file.header, parameters=number))
    assert size_and_quantization(sized) == f"{shown} Q4_0"


def test_what_an_old_model_still_says_is_not_told(desk: Desk) -> None:
    old = desk.open()
    new = desk.open("base")
    heard = len(desk.events)

    old.loading(0.5)
    old.ready()

    assert len(desk.events) == heard
    assert desk.chat.info == new.info


def test_closing_while_a_model_is_fetched_leaves_nothing_behind(desk: Desk) -> None:
    gate = hold(desk, "fake")
    desk.chat.open_model("fake")
    desk.chat.close()
    gate.set()
    desk.settle()

    assert desk.backends == []
    assert desk.told(ModelFailed) == []


def test_a_message_sent_just_as_opening_fails_is_not_left_waiting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    session = desk.store.create_session()
    desk.store.add_turn(session.id, None, "before")
    desk.chat.resume(session)
    gate = hold(desk, "gone")
    desk.chat.open_model("gone")

    def fail_meanwhile(turn: Turn) -> bool:
        gate.set()
        desk.settle()
        return False

    monkeypatch.setattr(asking, "refused", fail_meanwhile)
    desk.chat.send("hi")

    assert [str(event.error) for event in desk.told(Failed)] == ["no model is open: open one with /model REF"]
    assert not desk.chat.replying


@pytest.mark.parametrize("act", ["stop", "set", "clear"])
def test_what_is_wanted_while_the_request_is_handed_over_is_not_lost(desk: Desk, act: str) -> None:
    backend = desk.open()
    generate = backend.generate

    def generate_slowly(request: Request, sink: EventSink) -> FakeHandle:
        handle = generate(request, sink)
        if act == "stop":
            desk.chat.stop()
        elif act == "clear":
            desk.chat.clear()
        else:
            desk.chat.set_sampling("temperature", 0.1)
        return handle

    backend.generate = generate_slowly  # type: ignore[method-assign]
    desk.chat.send("hi")

    name = backend.requests[0].id
    assert backend.cancels == ([] if act == "set" else [name])
    assert backend.updates == ([(name, SamplingParams(temperature=0.1))] if act == "set" else [])
    assert desk.chat.replying == (act == "set")


def test_a_model_that_cannot_be_loaded_fails_the_message(desk: Desk) -> None:
    desk.chat.open_model("fake")
    desk.chat.send("hi")
    desk.settle()
    error = ModelLoadError("not enough memory")
    desk.backends[0].fail_load(error)

    assert [event.error for event in desk.told(Failed)] == [error]
    assert desk.told(Stopped) == [Stopped(error)]
    assert desk.remembered == []


def test_a_crash_between_replies_is_told_and_the_next_message_starts_it_again(desk: Desk) -> None:
    backend = desk.open()
    error = EngineStopped("killed")
    backend.crash(error)
    assert desk.told(Stopped) == [Stopped(error)]

    desk.chat.send("hi")
    backend.ready()
    backend.finish()

    assert desk.chat.turns[-1].content == "A fake reply."


def test_that_a_model_could_not_be_remembered_is_said(desk: Desk) -> None:
    def fail(model: object, paths: object) -> None:
        raise StoreError("the disk is full")

    desk.chat._remember = fail
    desk.open()
    assert desk.told(Notice)[-1].text == "the next start will not know that fake was used last: the disk is full"


def test_a_base_model_is_given_a_plain_transcript_and_says_so_once(auto: Desk) -> None:
    auto.chat.set_sampling("stop", ("END",))
    backend = auto.open("base")
    auto.chat.send("Hi")
    auto.chat.send("Bye")

    first = backend.requests[0]
    assert isinstance(first.prompt, ChatPrompt)
    assert first.prompt.messages == (Message("user", "Hi"),)
    assert "Assistant:" in (first.prompt.template or "")
    assert first.sampling == SamplingParams(stop=("END", *STOPS))
    assert auto.chat.asked == SamplingParams(stop=("END",))
    assert auto.chat.in_force.stop == ("END", *STOPS)
    assert [notice.text for notice in auto.told(Notice)] == [
        "base is a base model: it continues text and follows no instructions. The chat is written to it as a plain transcript."
    ]
    reply = auto.chat.turns[-1].reply
    assert isinstance(reply, Reply)
    assert reply.asked == SamplingParams(stop=("END",))


def test_the_transcripts_stops_are_the_models_own(auto: Desk) -> None:
    auto.open("base")
    assert auto.chat.origin("stop") == "model"
    auto.open("fake")
    assert (auto.chat.origin("stop"), auto.chat.in_force.stop) == ("default", ())


def test_sampling_changed_live_keeps_the_transcripts_stops(desk: Desk) -> None:
    backend = desk.open("base")
    desk.chat.send("Hi")
    backend.step(2)
    desk.chat.set_sampling("temperature", 0)
    assert backend.updates == [(backend.requests[0].id, SamplingParams(temperature=0, stop=STOPS))]

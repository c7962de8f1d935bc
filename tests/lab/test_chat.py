from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chat_harness import RECOMMENDED, Desk

from lmlab import __version__
from lmlab.backends import (
    Applied,
    ChatPrompt,
    Failed,
    Finished,
    Message,
    Prefill,
    Request,
    Started,
    Token,
    Usage,
)
from lmlab.backends.fake import FAKE_SEED, FAKE_TIMINGS
from lmlab.errors import ContextOverflow, EngineStopped, SamplingError, StoreError, UsageError
from lmlab.lab.chat import Notice
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.settings import Config
from lmlab.store import Attachment, Reply, Store, Turn

IN_FORCE = replace(RECOMMENDED.merge(DEFAULTS), seed=FAKE_SEED)


def said(request: Request) -> list[tuple[str, str]]:
    assert isinstance(request.prompt, ChatPrompt)
    return [(message.role, message.content) for message in request.prompt.messages]


def reply_of(turn: Turn) -> Reply:
    assert turn.reply is not None
    return turn.reply


def test_nothing_is_stored_before_something_is_said(desk: Desk) -> None:
    desk.open()
    assert (desk.chat.session, desk.chat.turns, desk.store.sessions()) == (None, (), ())


def test_the_question_is_on_disk_before_the_request_goes_out(desk: Desk) -> None:
    backend = desk.open()
    on_disk: list[list[str]] = []
    backend.script(lambda request: ["Fine."])
    generate = backend.generate

    def spy(request: Request, sink: object) -> object:
        with_own_eyes = Store(desk.store.file)
        on_disk.append([turn.content for turn in with_own_eyes.path(with_own_eyes.sessions()[0].id)])
        with_own_eyes.close()
        return generate(request, sink)  # type: ignore[arg-type]

    backend.generate = spy  # type: ignore[method-assign, assignment]
    desk.chat.send("How are you?")

    assert on_disk == [["How are you?", ""]]


def test_a_reply_is_told_and_recorded_with_all_that_reproduces_it(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_system("Be brief.")
    desk.chat.set_sampling("top_p", 0.9)
    backend.script(["Fine", "."], prompt_tokens=12, cached=4, tail="!")
    before = len(desk.events)

    desk.chat.send("How are you?")
    assert desk.chat.replying
    backend.finish()

    name = backend.requests[0].id
    in_force = replace(IN_FORCE, top_p=0.9)
    end = Finished(name, "stop", "!", (100, 101), Usage(12, 4, 2), FAKE_TIMINGS, 14)
    assert desk.events[before:] == [
        Started(name, 12, 4, in_force),
        Prefill(name, 12, 12),
        Token(name, 0, 100, "Fine", -1.0),
        Token(name, 1, 101, ".", -1.0),
        end,
    ]
    assert desk.chat.session is not None
    assert backend.requests == [
        Request(
            name,
            ChatPrompt((Message("system", "Be brief."), Message("user", "How are you?"))),
            SamplingParams(top_p=0.9),
            logprobs=True,
            session=desk.chat.session.id,
        )
    ]
    question, answer = desk.chat.turns
    assert (question.content, question.reply, answer.content) == ("How are you?", None, "Fine.!")
    assert answer.reply == Reply(
        status="done",
        finish_reason="stop",
        tokens=(100, 101),
        logprobs=(-1.0, -1.0),
        asked=SamplingParams(top_p=0.9),
        sampling=in_force,
        usage=end.usage,
        timings=FAKE_TIMINGS,
        context_used=14,
        system="Be brief.",
        model="fake",
        fingerprint="print-fake",
        template_hash="fake-template",
        versions=(__version__, "0.0.0"),
    )
    assert desk.chat.session is not None
    assert desk.store.path(desk.chat.session.id) == desk.chat.turns
    assert not desk.chat.replying


def test_the_growing_reply_is_the_last_turn(desk: Desk) -> None:
    backend = desk.open()
    backend.script(["Fi", "ne", "."], prompt_tokens=12, cached=4)
    desk.chat.send("How are you?")
    assert [turn.content for turn in desk.chat.turns] == ["How are you?", ""]

    backend.step(3)

    assert [turn.content for turn in desk.chat.turns] == ["How are you?", "Fine"]
    reply = reply_of(desk.chat.turns[-1])
    assert (reply.status, reply.usage, reply.tokens) == ("partial", Usage(12, 4, 2), (100, 101))


def test_the_next_question_brings_the_reply_along_as_its_own_tokens(auto: Desk) -> None:
    backend = auto.open()
    backend.script(["Fine", "."])
    auto.chat.send("How are you?")
    auto.chat.send("Really?")

    assert backend.requests[1].prompt == ChatPrompt(
        (Message("user", "How are you?"), Message("assistant", "Fine.", (100, 101)), Message("user", "Really?"))
    )
    assert len({request.id for request in backend.requests}) == 2


def test_another_models_tokens_are_not_sent(auto: Desk) -> None:
    auto.models["other"] = replace(auto.models["fake"], ref="other", path=Path("/models/other.gguf"))  # type: ignore[type-var]
    auto.open()
    auto.chat.send("How are you?")
    backend = auto.open("other")
    auto.chat.send("Really?")

    assert isinstance(backend.requests[0].prompt, ChatPrompt)
    assert [message.tokens for message in backend.requests[0].prompt.messages] == [None, None, None]


def test_the_session_is_named_by_its_first_message(auto: Desk) -> None:
    auto.open()
    auto.chat.send("What is\na train?")
    assert auto.chat.session is not None
    assert auto.chat.session == replace(
        auto.store.session(auto.chat.session.id), updated=auto.chat.session.updated, model=None
    )
    assert auto.chat.session.title == "What is a train?"
    assert auto.store.session(auto.chat.session.id).model == "fake"


def test_regenerating_adds_a_sibling_and_keeps_the_old_reply(auto: Desk) -> None:
    backend = auto.open()
    backend.script(["one"])
    backend.script(["two"])
    auto.chat.send("Say a number")
    first = auto.chat.turns[-1]
    auto.chat.regenerate()
    second = auto.chat.turns[-1]

    assert [turn.content for turn in auto.chat.turns] == ["Say a number", "two"]
    assert said(backend.requests[1]) == [("user", "Say a number")]
    assert auto.chat.siblings(second) == (first, second)

    auto.chat.select(first)
    assert [turn.content for turn in auto.chat.turns] == ["Say a number", "one"]
    auto.chat.send("and?")
    assert said(backend.requests[2]) == [("user", "Say a number"), ("assistant", "one"), ("user", "and?")]


def test_regenerating_answers_a_question_that_has_no_reply(auto: Desk) -> None:
    session = auto.store.create_session()
    auto.store.add_turn(session.id, None, "Anyone?")
    auto.chat.resume(session)
    backend = auto.open()
    auto.chat.regenerate()

    assert said(backend.requests[0]) == [("user", "Anyone?")]
    assert [turn.role for turn in auto.chat.turns] == ["user", "assistant"]


def test_stopping_keeps_what_had_arrived(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)

    desk.chat.stop()
    desk.chat.stop()

    assert backend.cancels == [backend.requests[0].id]
    assert (desk.chat.turns[-1].content, reply_of(desk.chat.turns[-1]).finish_reason) == ("A fake", "cancelled")
    assert not desk.chat.replying


def test_sampling_changed_during_a_reply_applies_and_is_recorded(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)

    desk.chat.set_sampling("temperature", 1.3)
    desk.chat.set_sampling("temperature", 1.3)
    backend.finish()

    name = backend.requests[0].id
    assert backend.updates == [(name, SamplingParams(temperature=1.3))]
    assert desk.told(Applied) == [Applied(name, 2, replace(IN_FORCE, temperature=1.3), (("temperature", 0.6, 1.3),))]
    reply = reply_of(desk.chat.turns[-1])
    assert reply.changes == ((2, "temperature", 0.6, 1.3),)
    assert (reply.asked, reply.sampling) == (SamplingParams(), replace(IN_FORCE, temperature=1.3))


def test_sampling_between_replies_goes_with_the_next_one(auto: Desk) -> None:
    backend = auto.open()
    auto.chat.set_sampling("temperature", 0)
    auto.chat.send("Go")
    auto.chat.set_sampling("temperature", None)
    auto.chat.send("Go on")

    assert [request.sampling for request in backend.requests] == [SamplingParams(temperature=0), SamplingParams()]
    assert backend.updates == []


def test_a_value_out_of_range_changes_nothing(desk: Desk) -> None:
    with pytest.raises(SamplingError):
        desk.chat.set_sampling("temperature", -1)
    with pytest.raises(SamplingError):
        desk.chat.set_sampling("temprature", 1)
    assert desk.chat.asked == SamplingParams()


def test_what_is_in_force_is_what_was_set_over_the_models_over_the_defaults(desk: Desk) -> None:
    config = Config(sampling=SamplingParams(min_p=0.1, top_p=0.5))
    desk.chat = desk.make_chat(config=config, sampling=SamplingParams(top_p=0.9))
    names = ("top_p", "min_p", "temperature", "repeat_penalty", "seed")
    assert [desk.chat.origin(name) for name in names] == ["set", "set", "default", "default", "default"]

    desk.open()

    assert desk.chat.in_force == SamplingParams(top_p=0.9, min_p=0.1, temperature=0.6, top_k=20).merge(DEFAULTS)
    assert [desk.chat.origin(name) for name in names] == ["set", "set", "model", "default", "default"]


def test_the_systems_prompt_is_the_sessions(auto: Desk) -> None:
    auto.chat = auto.make_chat(config=Config(system="From the config."))
    backend = auto.open()
    auto.chat.send("Hi")
    assert auto.chat.session is not None
    auto.chat.set_system("Be brief.")
    auto.chat.send("Hi")
    auto.chat.set_system("")
    auto.chat.send("Hi")

    assert [said(request)[0] for request in backend.requests] == [
        ("system", "From the config."),
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert auto.store.session(auto.chat.session.id).system is None
    assert [reply_of(turn).system for turn in auto.chat.turns[1::2]] == ["From the config.", "Be brief.", None]


def test_a_system_prompt_given_goes_over_the_resumed_sessions(desk: Desk) -> None:
    session = desk.store.create_session(system="old")
    assert desk.make_chat(session=session, config=Config(system="config")).system == "old"
    assert desk.make_chat(session=session, system="new").system == "new"
    assert desk.store.session(session.id).system == "new"
    assert desk.make_chat(session=session, system="").system is None


def test_an_attached_file_goes_with_the_next_message(auto: Desk, tmp_path: Path) -> None:
    backend = auto.open()
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    auto.chat.attach(str(tmp_path / "notes.txt"))
    file = Attachment("notes.txt", "one\ntwo\n")
    assert auto.chat.attachments == (file,)

    auto.chat.send("Sum up")
    auto.chat.send("Shorter")

    with_file = "--- File: notes.txt ---\none\ntwo\n--- End of notes.txt ---\n\nSum up"
    assert said(backend.requests[0]) == [("user", with_file)]
    assert said(backend.requests[1])[0] == ("user", with_file)
    assert auto.chat.attachments == ()
    assert (auto.chat.turns[0].content, auto.chat.turns[0].attachments) == ("Sum up", (file,))


def test_a_file_alone_is_a_message(auto: Desk, tmp_path: Path) -> None:
    backend = auto.open()
    (tmp_path / "a.txt").write_text("one")
    auto.chat.attach(str(tmp_path / "a.txt"))
    auto.chat.send("")
    assert said(backend.requests[0]) == [("user", "--- File: a.txt ---\none\n--- End of a.txt ---")]


def test_what_cannot_be_sent_is_refused(desk: Desk) -> None:
    with pytest.raises(UsageError, match="no model is open"):
        desk.chat.send("hi")
    desk.open()
    for text in ("", " \n"):
        with pytest.raises(UsageError, match="nothing to send"):
            desk.chat.send(text)
    with pytest.raises(UsageError, match="no Unicode text"):
        desk.chat.send("half \ud83d")
    with pytest.raises(UsageError, match="nothing to answer again"):
        desk.chat.regenerate()
    desk.chat.send("hi")
    for act in (lambda: desk.chat.send("again"), desk.chat.regenerate, lambda: desk.chat.select(desk.chat.turns[0])):
        with pytest.raises(UsageError, match="a reply is under way"):
            act()
    assert len(desk.store.sessions()) == 1


def test_a_crash_keeps_what_had_arrived_and_the_next_message_works(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)
    backend.crash(EngineStopped("the engine was killed"))

    assert not desk.chat.replying
    reply = reply_of(desk.chat.turns[-1])
    assert (desk.chat.turns[-1].content, reply.status, reply.finish_reason) == ("A fake", "done", "error")
    assert (reply.error, reply.error_type) == ("the engine was killed", "EngineStopped")
    assert desk.chat.session is not None
    assert desk.store.path(desk.chat.session.id) == desk.chat.turns

    desk.chat.send("Go on")
    backend.ready()
    backend.finish()

    assert backend.requests[1].prompt == ChatPrompt(
        (Message("user", "Go"), Message("assistant", "A fake"), Message("user", "Go on"))
    )
    assert desk.chat.turns[-1].content == "A fake reply."
    assert desk.remembered == ["fake"]


def test_a_question_the_crash_left_unanswered_is_sent_with_the_next(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.crash()
    desk.chat.send("Are you there?")

    assert said(backend.requests[1]) == [("user", "Go\n\nAre you there?")]


def test_a_question_that_does_not_fit_is_kept_but_not_sent_again(auto: Desk) -> None:
    backend = auto.open()
    error = ContextOverflow(9000, 8192)
    auto.chat.send("Hi")
    backend.script([], error=error)
    auto.chat.send("a very long question")
    assert auto.told(Failed)[0].error is error
    reply = reply_of(auto.chat.turns[-1])
    assert (reply.error_type, reply.error) == ("ContextOverflow", str(error))

    auto.chat.send("a short one")

    assert [turn.content for turn in auto.chat.turns][2:] == [
        "a very long question",
        "",
        "a short one",
        "A fake reply.",
    ]
    assert said(backend.requests[2]) == [("user", "Hi"), ("assistant", "A fake reply."), ("user", "a short one")]
    assert "left out" in auto.told(Notice)[-1].text


def test_a_question_that_did_not_fit_can_be_asked_again(auto: Desk) -> None:
    backend = auto.open()
    backend.script([], error=ContextOverflow(9000, 8192))
    auto.chat.send("a very long question")
    auto.chat.regenerate()
    assert said(backend.requests[1]) == [("user", "a very long question")]


def test_clear_begins_anew_and_keeps_the_old_session(auto: Desk, tmp_path: Path) -> None:
    backend = auto.open()
    auto.chat.set_system("Be brief.")
    auto.chat.send("Hi")
    old = auto.chat.session
    assert old is not None
    (tmp_path / "a.txt").write_text("one")
    auto.chat.attach(str(tmp_path / "a.txt"))
    auto.chat.clear()
    assert (auto.chat.session, auto.chat.turns, auto.chat.attachments) == (None, (), ())

    auto.chat.send("Hello")

    assert auto.chat.session is not None
    assert auto.chat.session.id != old.id
    assert said(backend.requests[1]) == [("system", "Be brief."), ("user", "Hello")]
    assert [turn.content for turn in auto.store.path(old.id)] == ["Hi", "A fake reply."]


def test_clear_during_a_reply_keeps_what_had_arrived_and_later_events_are_nobodys(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)
    old, request = desk.chat.session, backend.requests[0].id
    assert old is not None

    desk.chat.clear()
    desk.chat.send("Hello")
    heard = len(desk.events)
    backend.emit(Token(request, 2, 102, " stray"))

    assert backend.cancels == [request]
    assert len(desk.events) == heard
    assert not desk.told(Finished)
    assert [turn.content for turn in desk.chat.turns] == ["Hello", ""]
    kept = desk.store.path(old.id)[-1]
    assert (kept.content, reply_of(kept).status, reply_of(kept).finish_reason) == ("A fake", "done", "cancelled")


def test_an_event_of_an_older_request_does_not_land_in_a_new_reply(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.finish()
    desk.chat.send("Go on")
    heard = len(desk.events)

    backend.emit(Token(backend.requests[0].id, 3, 103, "stray"))

    assert (len(desk.events), desk.chat.turns[-1].content) == (heard, "")


def test_resuming_shows_a_reply_that_was_cut_off_as_it_is(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)
    desk.clock.now += 1
    backend.step()
    assert desk.chat.session is not None

    other = desk.make_chat(session=desk.store.session(desk.chat.session.id))

    assert [turn.content for turn in other.turns] == ["Go", "A fake reply"]
    assert reply_of(other.turns[-1]).status == "partial"
    assert not other.replying


def test_a_cut_off_reply_goes_along_as_text(auto: Desk) -> None:
    session = auto.store.create_session()
    question = auto.store.add_turn(session.id, None, "Go")
    half = Reply(tokens=(100, 101), fingerprint="print-fake")
    auto.store.add_turn(session.id, question.id, "A fa", reply=half)
    auto.chat = auto.make_chat(session=session)
    backend = auto.open()
    auto.chat.send("on")

    assert backend.requests[0].prompt == ChatPrompt(
        (Message("user", "Go"), Message("assistant", "A fa"), Message("user", "on"))
    )


def test_resuming_another_session_goes_on_there(auto: Desk) -> None:
    backend = auto.open()
    auto.chat.send("first")
    first = auto.chat.session
    assert first is not None
    auto.chat.clear()
    auto.chat.send("second")
    auto.chat.resume(auto.store.session(first.id))
    auto.chat.send("third")

    assert said(backend.requests[2]) == [("user", "first"), ("assistant", "A fake reply."), ("user", "third")]
    assert [turn.content for turn in auto.store.path(first.id)] == ["first", "A fake reply.", "third", "A fake reply."]


RESUMED = "sampling as this session had it: "


def test_resuming_takes_up_the_sampling_of_the_last_reply(auto: Desk) -> None:
    auto.open()
    auto.chat.set_sampling("temperature", 0)
    auto.chat.set_sampling("top_k", 5)
    auto.chat.send("Go")
    assert auto.chat.session is not None
    session = auto.chat.session

    other = auto.make_chat(session=session, config=Config(sampling=SamplingParams(temperature=0.5, top_p=0.5)))
    assert other.asked == SamplingParams(temperature=0, top_k=5, top_p=0.5)
    assert auto.told(Notice)[-1].text == f"{RESUMED}temperature 0.00, top-k 5"

    given = auto.make_chat(session=session, sampling=SamplingParams(temperature=1))
    assert given.asked == SamplingParams(temperature=1, top_k=5)
    assert auto.told(Notice)[-1].text == f"{RESUMED}top-k 5"

    heard = len(auto.events)
    assert auto.make_chat(session=session, sampling=given.asked).asked == given.asked
    assert len(auto.events) == heard


def test_resuming_takes_up_a_seed_that_was_set_but_none_that_was_drawn(auto: Desk) -> None:
    auto.open()
    auto.chat.send("Go")
    assert auto.chat.session is not None
    assert auto.make_chat(session=auto.chat.session).asked.seed is None
    auto.chat.set_sampling("seed", 0)
    auto.chat.regenerate()
    assert auto.make_chat(session=auto.store.session(auto.chat.session.id)).asked.seed == 0
    assert [notice.text for notice in auto.told(Notice)] == [f"{RESUMED}seed 0"]


def test_resuming_takes_up_what_was_changed_during_the_last_reply(desk: Desk) -> None:
    backend = desk.open("base")
    desk.chat.set_sampling("stop", ("END",))
    desk.chat.send("Go")
    backend.step(3)
    desk.chat.set_sampling("temperature", 1.3)
    desk.chat.set_sampling("stop", ("END", "STOP"))
    backend.finish()
    assert desk.chat.session is not None
    assert desk.make_chat(session=desk.chat.session).asked == SamplingParams(temperature=1.3, stop=("END",))


def test_a_session_without_a_reply_leaves_the_sampling(desk: Desk) -> None:
    desk.chat.set_sampling("temperature", 1)
    desk.chat.resume(desk.store.create_session())
    assert desk.chat.asked == SamplingParams(temperature=1)
    assert desk.events == []


def test_stopping_twice_is_stopping_once(desk: Desk) -> None:
    assert not desk.chat.stop()
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(2)
    assert [desk.chat.stop(), desk.chat.stop()] == [True, False]


def test_closing_during_a_reply_keeps_it_and_ends_the_engine(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(3)
    desk.chat.close()

    assert backend.closed
    assert not desk.told(Failed)
    kept = desk.store.path(desk.store.sessions()[0].id)[-1]
    assert (kept.content, reply_of(kept).finish_reason) == ("A fake", "cancelled")


def test_a_store_that_fails_at_once_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = desk.open()
    full = StoreError("the disk is full")

    def fail(*args: object, **kwargs: object) -> Turn:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "add_turn", fail)
        with pytest.raises(StoreError) as caught:
            desk.chat.send("Go")

    assert caught.value is full
    assert (desk.chat.session, desk.chat.turns, desk.chat.replying) == (None, (), False)
    assert (desk.store.sessions(), backend.requests) == ((), [])
    desk.chat.send("Go")
    assert said(backend.requests[0]) == [("user", "Go")]

from __future__ import annotations

import math
import threading

import pytest
from chat_harness import Desk, model_file

from lmlab.backends import Alternative, ChatPrompt, Distribution, Event, EventSink, Failed, Finished, Question, Stage
from lmlab.backends.fake import FakeBackend
from lmlab.errors import EngineStopped, StoreError, UsageError
from lmlab.lab.events import BranchRefused
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.store import Attachment, Branch, Reply, Turn


def record(turn: Turn) -> Reply:
    assert turn.reply is not None
    return turn.reply


def talk(desk: Desk, *messages: str, reply: str = "One two three") -> FakeBackend:
    backend = desk.open()
    for message in messages:
        backend.script(reply)
        desk.chat.send(message)
        backend.finish()
    return backend


def said(turns: tuple[Turn, ...]) -> list[str]:
    return [turn.content for turn in turns]


def prompt_of(backend: FakeBackend) -> list[tuple[str, str]]:
    prompt = backend.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [(message.role, message.content) for message in prompt.messages]


def on_disk(desk: Desk) -> tuple[Turn, ...]:
    assert desk.chat.session is not None
    return desk.store.path(desk.chat.session.id)


# Branching from a token


def test_a_branch_begins_with_the_tokens_before_it_and_the_one_picked(desk: Desk) -> None:
    backend = talk(desk, "q")
    first = desk.chat.turns[-1]
    desk.chat.set_sampling("temperature", 0.1)
    desk.chat.set_best_of(3)
    backend.script([" four", " five"])

    desk.chat.branch(first, 2, 7)
    assert desk.chat.replying
    backend.finish()

    request = backend.requests[-1]
    assert (request.reply, request.candidates, request.logprobs) == ((100, 101, 7), 1, True)
    assert request.prompt == backend.requests[0].prompt
    branched = desk.chat.turns[-1]
    assert branched.content == f"One two{backend.spell(7)} four five"
    assert record(branched).tokens == (100, 101, 7, 103, 104)
    assert record(branched).branch == Branch(first.id, 2)
    assert record(branched).asked == SamplingParams(temperature=0.1)
    assert branched.parent == first.parent
    assert [turn.id for turn in desk.chat.siblings(first)] == [first.id, branched.id]
    assert [turn.id for turn in on_disk(desk)] == [turn.id for turn in desk.chat.turns]
    assert record(on_disk(desk)[-1]).branch == Branch(first.id, 2)
    usage = record(branched).usage
    assert usage is not None
    assert usage.completion_tokens == 2


def test_the_tokens_it_begins_with_are_there_before_the_next_is_drawn(desk: Desk) -> None:
    backend = talk(desk, "q")
    backend.script([" four"])

    desk.chat.branch(desk.chat.turns[-1], 1, 7)
    assert (record(desk.chat.turns[-1]).tokens, desk.chat.turns[-1].content) == ((100, 7), "")
    backend.step()

    assert desk.chat.turns[-1].content == f"One{backend.spell(7)}"
    usage = record(desk.chat.turns[-1]).usage
    assert usage is not None
    assert usage.completion_tokens == 0


def test_the_log_probability_of_the_token_picked_is_what_the_look_there_showed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = talk(desk, "q")
    first = desk.chat.turns[-1]
    weighed = (
        Alternative(101, " two", 0, 1.0, (0.75, 1.0), None),
        Alternative(7, " zwei", 1, 0.0, (0.25, 0.0), "top-k"),
    )
    stages = (Stage("raw", 9, 1.0), Stage("top-k", 1, 0.0))

    def answer(question: Question, sink: EventSink) -> None:
        sink(Distribution(question.request_id, DEFAULTS, stages, weighed))

    monkeypatch.setattr(backend, "ask", answer)
    desk.chat.look(first, 1, SamplingParams(), lambda event: None)
    desk.chat.branch(first, 1, 7)
    backend.finish()
    seen = record(desk.chat.turns[-1]).logprobs
    desk.chat.branch(first, 2, 7)
    backend.finish()
    unseen = record(desk.chat.turns[-1]).logprobs

    assert seen is not None
    assert seen[:2] == (-1.0, pytest.approx(math.log(0.25)))
    assert unseen is not None
    assert unseen[:2] == (-1.0, -1.0)
    assert math.isnan(unseen[2])


def test_a_branch_keeps_the_system_prompt_of_the_reply(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_system("old")
    desk.chat.send("q")
    backend.finish()
    desk.chat.set_system("new")

    desk.chat.branch(desk.chat.turns[-1], 1, 7)
    backend.finish()

    assert prompt_of(backend)[0] == ("system", "old")
    assert record(desk.chat.turns[-1]).system == "old"


def test_a_reply_of_another_branch_can_be_branched(desk: Desk) -> None:
    backend = talk(desk, "q", "again")
    question, first, _, _ = desk.chat.turns
    backend.script("Other")
    desk.chat.select(question)
    desk.chat.fork(first)
    desk.chat.send("elsewhere")
    backend.finish()
    old = desk.chat.siblings(desk.chat.turns[2])[0]
    answer = desk.store.children(old.id)[0]

    desk.chat.branch(answer, 0, 7)
    backend.finish()

    assert said(desk.chat.turns[:-1]) == ["q", "One two three", "again"]
    assert desk.chat.turns[-1].parent == old.id


def test_at_its_end_a_reply_goes_on(desk: Desk) -> None:
    backend = talk(desk, "q")

    desk.chat.branch(desk.chat.turns[-1], 3, 7)
    backend.finish()

    assert backend.requests[-1].reply == (100, 101, 102, 7)


def test_what_cannot_be_branched_is_said_and_nothing_is_written(desk: Desk) -> None:
    backend = talk(desk, "q")
    question, answer = desk.chat.turns
    before = desk.chat.tree()

    with pytest.raises(UsageError, match="that is your own message"):
        desk.chat.branch(question, 0, 7)
    with pytest.raises(UsageError, match="no branch at token 4: the reply has 3"):
        desk.chat.branch(answer, 4, 7)
    with pytest.raises(UsageError, match="no branch at token -1"):
        desk.chat.branch(answer, -1, 7)
    backend.script("x", error=EngineStopped("gone"))
    desk.chat.regenerate()
    backend.finish()
    with pytest.raises(UsageError, match="its tokens may not be whole"):
        desk.chat.branch(desk.chat.turns[-1], 1, 7)
    desk.chat.prune(desk.chat.turns[-1])
    desk.models["other"] = model_file("other")
    desk.open("other")
    with pytest.raises(UsageError, match="fake made that reply: open it with /model fake"):
        desk.chat.branch(answer, 1, 7)

    assert desk.chat.tree() == before
    assert not desk.chat.replying


def test_a_branch_that_is_refused_leaves_nothing_and_the_chat_where_it_was(desk: Desk) -> None:
    backend = talk(desk, "q", "two")
    first, path, tree = desk.chat.turns[1], desk.chat.turns, desk.chat.tree()
    backend.script((), error=UsageError("the constraint forbids 'x'"))
    desk.chat.branch(first, 1, 7)
    assert desk.chat.turns != path
    backend.finish()

    assert desk.chat.turns == on_disk(desk) == path
    assert desk.chat.tree() == tree
    assert desk.chat.pruned == ()
    assert not desk.chat.replying
    refused = [event for event in desk.events if isinstance(event, BranchRefused)]
    assert [str(event.error) for event in refused] == ["the constraint forbids 'x'"]
    assert not any(isinstance(event, Failed) for event in desk.events)


def test_a_branch_that_the_engine_fails_stays(desk: Desk) -> None:
    backend = talk(desk, "q")
    backend.script((), error=EngineStopped("gone"))
    desk.chat.branch(desk.chat.turns[-1], 1, 7)
    backend.finish()

    assert record(desk.chat.turns[-1]).error == "gone"
    assert len(desk.chat.tree()) == 3


def test_nothing_is_branched_while_a_reply_is_under_way_or_another_model_on_its_way(desk: Desk) -> None:
    backend = talk(desk, "q")
    answer = desk.chat.turns[-1]
    desk.chat.send("and")
    with pytest.raises(UsageError, match="a reply is under way"):
        desk.chat.branch(answer, 1, 7)
    backend.finish()
    desk.held["fake"] = threading.Event()
    desk.chat.open_model("fake")
    with pytest.raises(UsageError, match="another model is being opened"):
        desk.chat.branch(answer, 1, 7)
    desk.held["fake"].set()
    desk.settle()

    desk.chat.clear()
    with pytest.raises(UsageError, match="of another session"):
        desk.chat.branch(answer, 1, 7)


# Editing


def test_an_edited_message_stands_beside_the_old_one_with_its_files(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.attachments = (Attachment("a.txt", "text"),)
    desk.chat.send("first")
    backend.finish()
    desk.chat.send("second")
    backend.finish()
    old = desk.chat.turns
    desk.chat.attachments = (Attachment("b.txt", "pending"),)
    backend.script("Other")

    desk.chat.edit(old[0], "first, better")
    backend.finish()

    assert said(desk.chat.turns) == ["first, better", "Other"]
    assert desk.chat.turns[0].attachments == (Attachment("a.txt", "text"),)
    assert desk.chat.attachments == (Attachment("b.txt", "pending"),)
    assert [turn.content for turn in desk.chat.siblings(old[0])] == ["first", "first, better"]
    assert "text" in prompt_of(backend)[0][1]
    assert prompt_of(backend)[0][1].endswith("first, better")
    assert on_disk(desk) == desk.chat.turns
    desk.chat.select(old[0])
    assert desk.chat.turns == old


def test_what_was_said_before_the_edited_message_stays(desk: Desk) -> None:
    backend = talk(desk, "q", "two", "three")

    desk.chat.edit(desk.chat.turns[2], "two, better")
    backend.finish()

    assert [text for _, text in prompt_of(backend)] == ["q", "One two three", "two, better"]
    assert len(desk.chat.turns) == 4


def test_an_edit_is_answered_by_as_many_candidates_as_any_message(desk: Desk) -> None:
    backend = talk(desk, "q")
    desk.chat.set_best_of(2)
    backend.script_candidates(["a", "b"])

    desk.chat.edit(desk.chat.turns[0], "better")
    backend.finish()

    assert len(desk.chat.siblings(desk.chat.turns[-1])) == 2
    assert said(desk.chat.turns)[0] == "better"


def test_what_cannot_be_edited_is_said(desk: Desk) -> None:
    backend = talk(desk, "q")
    question, answer = desk.chat.turns
    with pytest.raises(UsageError, match="a reply cannot be edited"):
        desk.chat.edit(answer, "x")
    with pytest.raises(UsageError, match="there is nothing to send"):
        desk.chat.edit(question, "  ")
    with pytest.raises(UsageError, match="no Unicode text"):
        desk.chat.edit(question, "\ud800")
    desk.chat.send("again")
    with pytest.raises(UsageError, match="a reply is under way"):
        desk.chat.edit(question, "x")
    backend.finish()
    assert len(desk.chat.tree()) == 4
    desk.chat.clear()
    with pytest.raises(UsageError, match="of another session"):
        desk.chat.edit(question, "x")


# Forking, pruning, renaming


def test_after_a_fork_the_next_message_is_another_child(desk: Desk) -> None:
    backend = talk(desk, "q", "two")
    first = desk.chat.turns[1]

    desk.chat.fork(first)
    assert said(desk.chat.turns) == ["q", "One two three"]
    desk.chat.send("other")
    backend.finish()

    assert said(desk.chat.turns)[:3] == ["q", "One two three", "other"]
    assert [turn.content for turn in desk.store.children(first.id)] == ["two", "other"]
    with pytest.raises(UsageError, match="that is your own message"):
        desk.chat.fork(desk.chat.turns[0])


def test_what_is_pruned_comes_back_as_it_was(desk: Desk) -> None:
    backend = talk(desk, "q", "two")
    desk.chat.regenerate()
    backend.finish()
    before, tree = desk.chat.turns, desk.chat.tree()

    gone = desk.chat.prune(before[1])
    assert (gone.count, said(desk.chat.turns), desk.chat.pruned) == (4, ["q"], (gone,))
    desk.chat.restore(gone)

    assert (desk.chat.turns, desk.chat.tree(), desk.chat.pruned) == (before, tree, ())
    assert on_disk(desk) == before


def test_pruning_the_selected_reply_goes_on_from_another(desk: Desk) -> None:
    backend = talk(desk, "q")
    first = desk.chat.turns[-1]
    desk.chat.regenerate()
    backend.finish()

    desk.chat.prune(desk.chat.turns[-1])

    assert desk.chat.turns[-1] == first
    desk.chat.regenerate()
    backend.finish()
    assert len(desk.chat.siblings(first)) == 2


def test_a_question_whose_replies_are_gone_can_be_answered_again(desk: Desk) -> None:
    backend = talk(desk, "q")
    desk.chat.prune(desk.chat.turns[-1])
    assert said(desk.chat.turns) == ["q"]

    desk.chat.regenerate()
    backend.finish()

    assert said(desk.chat.turns) == ["q", "A fake reply."]


def test_a_session_that_is_pruned_bare_can_be_filled_again(desk: Desk) -> None:
    backend = talk(desk, "q")
    desk.chat.prune(desk.chat.turns[0])
    assert desk.chat.turns == ()

    desk.chat.send("anew")
    backend.finish()

    assert said(desk.chat.turns) == ["anew", "A fake reply."]
    desk.chat.restore(desk.chat.pruned[0])
    assert said(desk.chat.turns) == ["q", "One two three"]
    assert len(desk.chat.siblings(desk.chat.turns[0])) == 2


def test_what_a_reply_under_way_belongs_to_is_not_pruned_and_a_branch_beside_it_is(desk: Desk) -> None:
    backend = talk(desk, "q", "two")
    side = desk.chat.turns[2]
    desk.chat.fork(desk.chat.turns[1])
    desk.chat.set_best_of(2)
    desk.chat.send("three")
    path = desk.chat.turns
    other = next(turn for turn in desk.chat.siblings(path[-1]) if turn.id != path[-1].id)
    for turn in (*path, other):
        with pytest.raises(UsageError, match="a reply is under way there"):
            desk.chat.prune(turn)

    gone = desk.chat.prune(side)
    assert gone.count == 2
    with pytest.raises(UsageError, match="a reply is under way"):
        desk.chat.restore(gone)
    assert desk.chat.turns == path
    backend.finish()
    assert len(desk.chat.tree()) == 5
    desk.chat.restore(gone)
    assert said(desk.chat.turns) == [*said(path[:-1]), desk.chat.turns[-1].content]


def test_the_tree_has_replies_under_way_as_they_stand(desk: Desk) -> None:
    backend = talk(desk, "q")
    backend.script(["Fi", "ne"])
    desk.chat.regenerate()
    backend.step(2)

    assert [turn.content for turn in desk.chat.tree()] == ["q", "One two three", "Fi"]
    backend.finish()
    desk.chat.clear()
    assert desk.chat.tree() == ()


def test_first_messages_are_siblings_of_one_another(desk: Desk) -> None:
    backend = talk(desk, "q")
    first = desk.chat.turns[0]
    desk.chat.edit(first, "other")
    backend.finish()

    assert said(desk.chat.siblings(first)) == ["q", "other"]


def test_a_reply_that_could_not_be_saved_is_saved_before_it_is_pruned(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = desk.open()
    desk.chat.send("q")
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StoreError("the disk is full")

        patch.setattr(desk.store, "save_reply", full)
        backend.finish()
    kept = desk.chat.turns[-1]

    gone = desk.chat.prune(kept)
    desk.chat.restore(gone)

    assert desk.chat.turns[-1] == kept
    assert on_disk(desk)[-1] == kept


def test_another_session_leaves_nothing_to_bring_back(desk: Desk) -> None:
    talk(desk, "q", "two")
    session = desk.chat.session
    assert session is not None
    desk.chat.prune(desk.chat.turns[2])

    desk.chat.clear()
    assert desk.chat.pruned == ()
    desk.chat.resume(session)
    assert desk.chat.pruned == ()
    assert said(desk.chat.turns) == ["q", "One two three"]


def test_a_session_gets_another_title(desk: Desk) -> None:
    with pytest.raises(UsageError, match="no session to rename yet"):
        desk.chat.rename("x")
    talk(desk, "q")
    with pytest.raises(UsageError, match="give one"):
        desk.chat.rename(" \n ")

    desk.chat.rename("  Trains\n and  times ")

    assert desk.chat.session is not None
    assert desk.chat.session.title == "Trains and times"
    assert desk.store.session(desk.chat.session.id).title == "Trains and times"


def test_every_reply_has_the_log_probability_of_each_token(desk: Desk) -> None:
    backend = talk(desk, "q")

    assert backend.requests[0].logprobs
    assert record(desk.chat.turns[-1]).logprobs == (-1.0, -1.0, -1.0)
    assert [event.tokens for event in desk.told(Finished)] == [(100, 101, 102)]


def test_an_event_of_a_look_is_not_told_to_the_listener(desk: Desk) -> None:
    talk(desk, "q")
    before, heard = len(desk.events), list[Event]()

    desk.chat.look(desk.chat.turns[-1], 0, SamplingParams(), heard.append)

    assert len(heard) == 1
    assert len(desk.events) == before

from __future__ import annotations

import pytest
from chat_harness import Desk, model_file

from lmlab.backends import (
    ChatPrompt,
    Distribution,
    Encode,
    Encoded,
    Event,
    Failed,
    Inspect,
    Message,
    Reweigh,
    Spell,
    Spelled,
)
from lmlab.errors import EngineStopped, UsageError
from lmlab.sampling import SamplingParams
from lmlab.store import Attachment, TemplateUse

WARM = SamplingParams(temperature=1.5)


def replied(desk: Desk, *messages: str, ref: str = "fake") -> None:
    backend = desk.open(ref)
    for message in messages:
        backend.script("One two three")
        desk.chat.send(message)
        backend.finish()


@pytest.fixture
def heard() -> list[Event]:
    return []


def test_a_look_asks_for_the_place_in_the_prompt_that_the_reply_had(desk: Desk, heard: list[Event]) -> None:
    desk.chat.set_system("Be brief.")
    replied(desk, "q", "two")
    desk.chat.set_system("Be long.")

    name = desk.chat.look(desk.chat.turns[1], 2, WARM, heard.append, top=7)

    prompt = ChatPrompt((Message("system", "Be brief."), Message("user", "q")))
    assert desk.backends[-1].questions == [Inspect(name, prompt, (100, 101), WARM, 7, 102)]
    assert [type(event) for event in heard] == [Distribution]
    desk.chat.look(desk.chat.turns[3], 0, WARM, heard.append)
    asked = desk.backends[-1].questions[-1]
    assert isinstance(asked, Inspect)
    assert asked.prompt == desk.backends[-1].requests[-1].prompt
    assert asked.request_id != name


def test_where_a_reply_ended_nothing_was_drawn(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q")

    desk.chat.look(desk.chat.turns[1], 3, WARM, heard.append)

    asked = desk.backends[-1].questions[-1]
    assert isinstance(asked, Inspect)
    assert (asked.tokens, asked.drawn) == ((100, 101, 102), None)
    for at in (-1, 4):
        with pytest.raises(UsageError, match=f"there is no token {at} to look at: the reply has 3"):
            desk.chat.look(desk.chat.turns[1], at, WARM, heard.append)


def test_a_reply_on_another_branch_is_looked_at_in_its_own_prompt(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q", "two")
    old = desk.chat.turns[3]
    desk.chat.edit(desk.chat.turns[2], "other")
    desk.backends[-1].finish()

    desk.chat.look(old, 0, WARM, heard.append)

    asked = desk.backends[-1].questions[-1]
    assert isinstance(asked, Inspect)
    assert isinstance(asked.prompt, ChatPrompt)
    assert [message.content for message in asked.prompt.messages] == ["q", "One two three", "two"]


def test_one_may_look_while_a_reply_streams(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q")
    backend = desk.backends[-1]
    backend.script(["Fi", "ne"])
    desk.chat.send("two")
    backend.step(3)

    desk.chat.look(desk.chat.turns[-1], 1, WARM, heard.append)
    desk.chat.look(desk.chat.turns[1], 1, WARM, heard.append)
    desk.chat.spell((100,), heard.append)
    desk.chat.encode("next", heard.append)

    assert [type(event) for event in heard] == [Distribution, Distribution, Spelled, Encoded]
    assert desk.chat.replying


def test_reweighing_names_the_look(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q")
    name = desk.chat.look(desk.chat.turns[1], 0, SamplingParams(), heard.append)

    desk.chat.reweigh(name, WARM, heard.append)

    assert desk.backends[-1].questions[-1] == Reweigh(name, WARM)
    assert isinstance(heard[-1], Distribution)


def test_a_base_model_is_asked_in_its_transcript(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q", ref="base")

    desk.chat.look(desk.chat.turns[1], 0, WARM, heard.append)
    desk.chat.encode("next", heard.append)

    generated = desk.backends[-1].requests[-1].prompt
    looked, encoded = desk.backends[-1].questions
    assert isinstance(looked, Inspect)
    assert isinstance(encoded, Encode)
    assert looked.prompt == generated
    assert isinstance(encoded.prompt, ChatPrompt)
    assert isinstance(generated, ChatPrompt)
    assert encoded.prompt.template == generated.template is not None


def test_tokens_are_spelled(desk: Desk, heard: list[Event]) -> None:
    desk.open()

    name = desk.chat.spell((1, 2), heard.append)

    assert desk.backends[-1].questions == [Spell(name, (1, 2))]
    assert isinstance(heard[0], Spelled)


def test_the_next_message_is_encoded_with_its_files_or_through_a_template(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q")
    desk.chat.attachments = (Attachment("a.txt", "text"),)

    desk.chat.encode("next", heard.append)
    use = TemplateUse("t", "f", "zero-shot", 0, {}, (Message("user", "made of it"),))
    desk.chat.encode("next", heard.append, use)

    plain, through = (question.prompt for question in desk.backends[-1].questions if isinstance(question, Encode))
    assert isinstance(plain, ChatPrompt)
    assert isinstance(through, ChatPrompt)
    assert [message.content for message in plain.messages[:2]] == ["q", "One two three"]
    assert plain.messages[2].content.startswith("--- File: a.txt ---")
    assert plain.messages[2].content.endswith("next")
    assert [message.content for message in through.messages] == ["q", "One two three", "made of it"]
    assert len(desk.chat.turns) == 2


def test_without_the_model_that_made_a_reply_there_is_nothing_to_see(desk: Desk, heard: list[Event]) -> None:
    for look in (
        lambda: desk.chat.spell((1,), heard.append),
        lambda: desk.chat.encode("x", heard.append),
        lambda: desk.chat.reweigh("look-1", WARM, heard.append),
    ):
        with pytest.raises(UsageError, match="no model is open to"):
            look()
    replied(desk, "q")
    with pytest.raises(UsageError, match="that is your own message"):
        desk.chat.look(desk.chat.turns[0], 0, WARM, heard.append)
    desk.models["other"] = model_file("other")
    desk.open("other")
    with pytest.raises(UsageError, match="other cannot see into what another model weighed: fake made that reply"):
        desk.chat.look(desk.chat.turns[1], 0, WARM, heard.append)
    assert heard == []


def test_an_engine_that_is_gone_answers_with_the_reason(desk: Desk, heard: list[Event]) -> None:
    replied(desk, "q")
    desk.backends[-1].ask_error = EngineStopped("gone")

    name = desk.chat.look(desk.chat.turns[1], 0, WARM, heard.append)

    assert [(event.request_id, str(event.error)) for event in heard if isinstance(event, Failed)] == [(name, "gone")]

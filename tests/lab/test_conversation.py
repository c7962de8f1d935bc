from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.backends import Message
from lmlab.lab.conversation import compose, messages, refused
from lmlab.store import Attachment, Reply, TemplateUse, Turn

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DONE = Reply(status="done", finish_reason="stop", tokens=(1, 2), fingerprint="f")
REFUSED = Reply(status="done", finish_reason="error", error="too long", error_type="ContextOverflow")


def turns(*said: str | tuple[str, Reply]) -> list[Turn]:
    """A text is the user's; with a Reply it is the model's."""
    made = [(text, None) if isinstance(text, str) else text for text in said]
    return [Turn(i + 1, "s", i or None, text, NOW, reply=reply) for i, (text, reply) in enumerate(made)]


def test_the_system_prompt_comes_first() -> None:
    assert messages(turns("hi"), "Be brief.", None) == (Message("system", "Be brief."), Message("user", "hi"))


@pytest.mark.parametrize(
    ("reply", "fingerprint", "tokens"),
    [
        (DONE, "f", (1, 2)),
        (DONE, "g", None),
        (DONE, None, None),
        (Reply(status="done", finish_reason="stop", tokens=(1, 2)), None, None),
        (Reply(status="done", finish_reason="cancelled", tokens=(1,), fingerprint="f"), "f", (1,)),
        (Reply(status="done", finish_reason="error", tokens=(1,), fingerprint="f"), "f", None),
        (Reply(status="partial", tokens=(1,), fingerprint="f"), "f", None),
        (Reply(status="done", finish_reason="stop", fingerprint="f"), "f", None),
    ],
)
def test_a_reply_takes_its_tokens_along_only_when_they_say_what_its_text_says(
    reply: Reply, fingerprint: str | None, tokens: tuple[int, ...] | None
) -> None:
    said = messages(turns("hi", ("yes", reply), "and?"), None, fingerprint)
    assert said == (Message("user", "hi"), Message("assistant", "yes", tokens), Message("user", "and?"))


def test_a_reply_without_text_is_left_out_and_its_question_joined_to_the_next() -> None:
    stopped = Reply(status="done", finish_reason="cancelled")
    assert messages(turns("one", ("", stopped), "two"), None, None) == (Message("user", "one\n\ntwo"),)


def test_a_refused_question_is_left_out_with_its_reply() -> None:
    said = messages(turns("hi", ("yes", DONE), "too long", ("", REFUSED), "short"), None, "f")
    assert said == (Message("user", "hi"), Message("assistant", "yes", (1, 2)), Message("user", "short"))


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (("", REFUSED), True),
        (("", Reply(error_type="TemplateError")), True),
        (("", Reply(error_type="EngineStopped")), False),
        (("", Reply(error_type="annotations")), False),
        (("", Reply(error_type="NoSuchError")), False),
        (("", DONE), False),
        (("half", REFUSED), False),
        ("hi", False),
    ],
)
def test_refused_is_a_reply_that_never_began(turn: str | tuple[str, Reply], expected: bool) -> None:
    assert refused(turns(turn)[0]) is expected


@given(
    st.lists(
        st.text(max_size=3)
        | st.tuples(st.text(max_size=3), st.sampled_from([DONE, REFUSED, Reply(), Reply(status="done")])),
        max_size=12,
    ),
    st.none() | st.just("system"),
)
def test_roles_alternate_whatever_the_turns(said: list[str | tuple[str, Reply]], system: str | None) -> None:
    path = turns(*said)
    roles = [message.role for message in messages(path, system, "f")]

    assert all(before != after for before, after in pairwise(roles))
    assert roles.count("system") == (1 if system else 0)
    assert path == turns(*said)


def test_files_come_before_what_was_typed_each_with_its_name() -> None:
    files = (Attachment("a.txt", "one\n"), Attachment("b.txt", ""))
    assert compose("Compare", files) == (
        "--- File: a.txt ---\none\n--- End of a.txt ---\n\n--- File: b.txt ---\n\n--- End of b.txt ---\n\nCompare"
    )
    assert compose("Hi", ()) == "Hi"


def through(turn: Turn, *said: Message) -> Turn:
    return replace(turn, prompt=TemplateUse("t", "f", "few-shot", 1, {}, said))


SHOTS = (Message("system", "Rules."), Message("user", "1"), Message("assistant", "one"), Message("user", "made of it"))


def test_a_message_that_went_through_a_template_is_what_that_made_of_it() -> None:
    (typed,) = turns("typed")

    found = messages([through(typed, *SHOTS)], "Be brief.", None)

    assert found == (Message("system", "Be brief.\n\nRules."), *SHOTS[1:])


def test_later_in_a_conversation_the_rules_of_a_template_are_the_users() -> None:
    first, reply, typed = turns("hi", ("ho", DONE), "typed")

    found = messages([first, reply, through(typed, *SHOTS)], None, None)

    assert found == (
        Message("user", "hi"),
        Message("assistant", "ho"),
        Message("user", "Rules.\n\n1"),
        Message("assistant", "one"),
        Message("user", "made of it"),
    )

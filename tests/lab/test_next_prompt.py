"""The exact prompt of the next message: where its tokens and its messages stand in it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.backends import Event, Failed, Finished, LoadSpec, Message
from lmlab.backends.local import LocalBackend
from lmlab.errors import LmlabError, TemplateError, UsageError
from lmlab.lab.chat import Chat
from lmlab.lab.events import ChatEvent
from lmlab.lab.next_prompt import NextPrompt, PromptLook, passages, token_starts
from lmlab.prompting import Approach
from lmlab.settings import Config, Paths
from lmlab.store import Store


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, auto=True)
    yield desk
    desk.close()


def look(chat: Chat, text: str, answers: queue.SimpleQueue[Event] | None = None) -> NextPrompt:
    """Ask for the prompt of ``text`` and wait for it."""
    waiting: queue.SimpleQueue[Event] = queue.SimpleQueue()
    asker = PromptLook(chat, waiting.put)
    asker.ask(text, chat.prompts.current)
    while True:
        found = asker.take(waiting.get(timeout=60))
        if isinstance(found, LmlabError):
            raise found
        if found is not None:
            assert not asker.asking
            return found


def test_characters_of_several_tokens_belong_to_the_one_that_begins_them() -> None:
    text = "a€ b"
    assert token_starts(text, ["a", "\\xE2\\x82", "\\xAC", " b"]) == [0, 1, 2, 2, 4]
    assert token_starts(text, ["a\\xE2", "\\x82\\xAC b"]) == [0, 2, 4]
    assert token_starts("", []) == [0]


def test_what_looks_like_a_byte_and_is_text_is_text() -> None:
    assert token_starts("\\x41!", ["\\x41", "!"]) == [0, 4, 5]


def test_a_piece_that_the_text_has_not_does_not_lose_the_place() -> None:
    assert token_starts("abcd", ["a", "?", "c", "d"]) == [0, 1, 1, 3, 4]


def test_messages_are_found_by_what_the_template_puts_around_them() -> None:
    said = [Message("user", " user "), Message("assistant", "end"), Message("user", "x")]
    parts = ["<user>", "<end><assistant>", "<end><user>", "<end>"]
    text = "<user>user<end><assistant>end<end><user>x<end>"
    starts = list(range(len(text) + 1))
    found = passages(text, said, parts, starts)
    assert [(one.role, text[one.start : one.end], one.tokens) for one in found] == [
        ("user", "user", 4),
        ("assistant", "end", 3),
        ("user", "x", 1),
    ]


@pytest.mark.parametrize(
    ("text", "parts", "count"),
    [
        ("<a>one<b>two<c>", ["<a>", "<b>"], 0),
        ("<a>one<b>two<c>", ["<x>", "<b>", "<c>"], 0),
        ("<a>rewritten<b>two<c>", ["<a>", "<b>", "<c>"], 2),
        ("<a>one<b>two", ["<a>", "<b>", "<c>"], 1),
    ],
)
def test_where_the_template_does_as_it_likes_less_is_marked(text: str, parts: list[str], count: int) -> None:
    said = [Message("user", "one"), Message("user", "two")]
    assert len(passages(text, said, parts, range(len(text) + 1))) == count


def test_it_is_what_would_be_sent(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.send("hello there")
    backend.cached = 3
    seen = look(desk.chat, "and now?")
    assert seen.text.startswith("user: hello there\nassistant: ")
    assert seen.text.endswith("\nuser: and now?\nassistant:")
    assert (seen.cached, seen.text[: seen.cached_at]) == (3, "user: hello there")
    # What comes before the new message is the same whatever it is.
    assert seen.text[: seen.shared_at].endswith("user:")
    assert [one.role for one in seen.passages] == ["user", "assistant", "user"]
    assert seen.text[seen.passages[-1].start : seen.passages[-1].end] == "and now?"


def test_a_template_shares_what_does_not_depend_on_the_message(desk: Desk) -> None:
    desk.open()
    desk.chat.set_template("word-problem", Approach("few-shot", 2))
    seen = look(desk.chat, "What is 3 + 4?")
    assert len(seen.passages) == 5
    # The tokens of the fake are words between white space: the one that what is typed may change is not shared.
    assert seen.text[seen.shared_at :] == " Problem: What is 3 + 4?\nassistant:"
    assert 0 < seen.shared < seen.tokens


def test_other_inputs_are_the_same_for_any_message_also_when_the_template_gives_them(desk: Desk) -> None:
    desk.open()
    desk.chat.set_template("summarize", variables={"sentences": "3"})
    seen = look(desk.chat, "Bees dance.")
    assert seen.text[: seen.shared_at].endswith("Reply with the summary and nothing else.")
    assert "for someone who has not read it, in at most 3 sentences" in seen.text


def test_what_cannot_be_asked_is_raised_and_what_fails_is_returned(desk: Desk) -> None:
    with pytest.raises(UsageError, match="no model is open"):
        look(desk.chat, "hi")
    backend = desk.open()
    backend.ask_error = TemplateError("the chat template fails")
    with pytest.raises(TemplateError):
        look(desk.chat, "hi")
    asker = PromptLook(desk.chat, lambda event: None)
    assert asker.take(Failed("nobody's", UsageError("late"))) is None


def test_a_real_model_says_which_tokens_it_has(tmp_path: Path, smollm2: Path) -> None:
    paths = Paths(tmp_path / "config.toml", tmp_path, tmp_path / "logs")
    store = Store(paths.database)
    events: queue.SimpleQueue[ChatEvent] = queue.SimpleQueue()
    chat = Chat(
        store=store,
        paths=paths,
        config=Config(),
        opener=partial(LocalBackend, log_folder=tmp_path),
        listener=events.put,
        load=LoadSpec("", gpu_layers=0, threads=1, context=2048),
    )
    try:
        chat.open_model(str(smollm2))
        chat.set_template("word-problem", Approach("few-shot-cot", 2))
        chat.set_sampling("max_tokens", 4)
        chat.send("What is 3 + 4?")
        while not isinstance(event := events.get(timeout=120), Finished):
            assert not isinstance(event, Failed)
        sent = event.usage.prompt_tokens
        chat.clear()
        seen = look(chat, "Grüße: what is 9 + 9? 🙂")
        chat.send("Grüße: what is 9 + 9? 🙂")
        while not isinstance(event := events.get(timeout=120), Finished):
            assert not isinstance(event, Failed)
    finally:
        chat.close()
        store.close()
    assert event.usage.prompt_tokens == seen.tokens > sent - 10
    # What was said to be in memory was, to the token.
    assert event.usage.cached_tokens == seen.cached >= seen.shared
    assert seen.text.startswith("<|im_start|>system\n")
    assert seen.text.endswith("<|im_start|>assistant\n")
    assert seen.text[: seen.shared_at].endswith("Problem:")
    contents = [seen.text[one.start : one.end] for one in seen.passages]
    assert len(contents) == 5
    assert contents[-1].startswith("Problem: Grüße: what is 9 + 9? 🙂")
    assert contents[1].endswith("The answer is 29.")
    assert sum(one.tokens for one in seen.passages) < seen.tokens

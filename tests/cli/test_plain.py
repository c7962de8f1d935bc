from __future__ import annotations

import builtins
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Terminal

from lmlab.backends import ChatPrompt, EventSink, Request
from lmlab.backends.fake import FakeBackend, FakeHandle
from lmlab.errors import EngineStopped, ModelLoadError, ModelNotFound, StoreError
from lmlab.models import ModelFile
from lmlab.settings import Paths
from lmlab.store import Store


def last_words(request: Request) -> list[str]:
    """A model that repeats what was said last."""
    assert isinstance(request.prompt, ChatPrompt)
    return ["<", request.prompt.messages[-1].content, ">"]


@pytest.fixture
def echo(fake: Fake) -> Fake:
    def repeat(backend: FakeBackend) -> None:
        for _ in range(5):
            backend.script(last_words)

    fake.prepare = repeat
    return fake


def typing(monkeypatch: pytest.MonkeyPatch, lines: Iterable[str | BaseException]) -> list[str]:
    """Have a person at the terminal type ``lines``; return the list that their prompts go to."""
    prompts: list[str] = []
    left = iter(lines)

    def input_(prompt: str = "") -> str:
        prompts.append(prompt)
        line = next(left, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", input_)
    return prompts


# From a pipe


def test_each_line_is_a_message_answered_in_order(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", stdin="hi\n/set temp 0\n\nagain\r\ndéjà".encode())
    assert (outcome.code, outcome.out) == (0, "<hi>\n<again>\n<déjà>\n")
    assert outcome.err.startswith("temperature")
    assert [request.sampling.temperature for request in echo.backend.requests] == [None, 0, 0]
    assert echo.backend.closed


def test_a_fenced_message_has_several_lines_and_is_never_a_command(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", "--plain", stdin=b'"""\none\n\ntwo\n"""\n"""/bye"""\n"""not ended\n')
    assert (outcome.code, outcome.out) == (0, "<one\n\ntwo>\n</bye>\n<not ended>\n")


def test_bye_ends_and_what_follows_is_not_read(echo: Fake, lmlab: Lmlab) -> None:
    assert lmlab("chat", stdin=b"hi\n/bye\nagain\n").out == "<hi>\n"


def test_commands_answer_on_stderr(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", stdin=b"/help\n//slash\n/regen\n")
    assert (outcome.code, outcome.out) == (0, "</slash>\n</slash>\n")
    assert "/regen" in outcome.err
    assert '"""' in outcome.err


def test_a_command_that_is_wrong_is_one_line_and_the_chat_goes_on(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", stdin=b"/set temp 1000\nhi\n")
    assert (outcome.code, outcome.out) == (2, "<hi>\n")
    assert re.fullmatch(r"lmlab: temperature 1000.*\n", outcome.err)


def test_another_model_can_be_opened(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", "first", stdin=b"one\n/model second\ntwo\n")
    assert (outcome.code, outcome.out) == (0, "<one>\n<two>\n")
    assert [ref for ref, _ in echo.resolved] == ["first", "second"]
    assert [len(backend.requests) for backend in echo.backends] == [1, 1]


def test_a_reply_that_fails_is_said_once_kept_and_the_exit_code(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script(["half"], error=EngineStopped("the engine was killed"))
        backend.script(["whole"])

    fake.prepare = prepare
    outcome = lmlab("chat", stdin=b"one\ntwo\n")
    assert (outcome.code, outcome.out, outcome.err) == (1, "half\nwhole\n", "lmlab: the engine was killed\n")


def test_a_model_that_is_not_there_ends_a_piped_chat(fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmlab.lab.chat import Chat

    def resolve(ref: str | None, **_: Any) -> ModelFile:
        raise ModelNotFound("no model is called 'x'")

    monkeypatch.setitem(Chat.__init__.__kwdefaults__, "resolve", resolve)
    outcome = lmlab("chat", "x", stdin=b"hi\n")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "lmlab: no model is called 'x'\n")


class Broken(FakeBackend):
    """A model that llama.cpp refuses."""

    def start(self) -> None:
        super().start()
        self.fail_load(ModelLoadError("it is broken"))


def test_a_model_that_does_not_load_ends_a_piped_chat(fake: Fake, lmlab: Lmlab) -> None:
    fake.auto = False

    fake.kind = Broken
    outcome = lmlab("chat", stdin=b"hi\n")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "lmlab: it is broken\n")


def test_input_that_is_not_utf8_names_the_byte_of_the_whole_input(echo: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("chat", stdin=b"hi\ncaf\xe9\n")
    assert (outcome.code, outcome.out) == (2, "<hi>\n")
    assert "byte 6 is 0xE9" in outcome.err
    assert echo.backend.closed


def test_what_cannot_matter_or_was_cut_is_said(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["a"], reason="length")
    outcome = lmlab("chat", "--temp", "0", "--top-k", "3", "-c", "9999", "-n", "1", stdin=b"hi\n")
    assert outcome.err.splitlines() == [
        "lmlab: the context is 8,192 tokens, not the 9,999 asked for",
        "lmlab: top-k 3: no effect at temperature 0",
        "lmlab: the reply was ended at 1 token, as --max-tokens says",
    ]
    assert lmlab("chat", "--temp", "0", "--top-k", "3", "--quiet", stdin=b"hi\n").err == ""


def test_a_message_that_cannot_be_saved_is_said_and_the_chat_goes_on(
    echo: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_turn, left = Store.add_turn, [StoreError("cannot write sessions.db: the disk is full")]

    def full_once(self: Store, *arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return add_turn(self, *arguments, **options)

    monkeypatch.setattr(Store, "add_turn", full_once)
    outcome = lmlab("chat", stdin=b"one\ntwo\n")
    assert (outcome.code, outcome.out) == (1, "<two>\n")
    assert outcome.err == "lmlab: cannot write sessions.db: the disk is full\n"


# Sessions


def test_a_session_is_kept_and_gone_on_with(echo: Fake, lmlab: Lmlab, home: Path) -> None:
    lmlab("chat", "--system", "Be brief", stdin=b"one\n")
    outcome = lmlab("chat", "--continue", stdin=b"two\n")
    assert outcome.out == "<two>\n"
    prompt = echo.backend.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [message.content for message in prompt.messages] == ["Be brief", "one", "<one>", "two"]
    store = Store(Paths.find().database)
    try:
        (session,) = store.sessions()
    finally:
        store.close()
    assert outcome.err == f"lmlab: going on with session {session.id} (one), 2 messages\n"
    assert lmlab("chat", "--session", session.id[:3], stdin=b"three\n").out == "<three>\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--continue",), 2, "there is no session to continue yet"),
        (("--session", "abc"), 1, "no session is called 'abc'"),
        (("--continue", "--session", "abc"), 2, "--continue and --session name two sessions"),
        (("one", "-m", "two"), 2, "two models are named, one and two"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    fake: Fake, lmlab: Lmlab, arguments: tuple[str, ...], code: int, message: str
) -> None:
    outcome = lmlab("chat", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"lmlab: {message}")
    assert outcome.err.count("\n") == 1
    assert fake.backends == []


# On a terminal


def test_a_terminal_gets_a_prompt_and_the_reply_made_visible(
    fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.prepare = lambda backend: backend.script(["a\x1b[2J"], cached=4)
    prompts = typing(monkeypatch, ["hi"])
    with Terminal() as keyboard, Terminal() as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        outcome = lmlab("chat", "--plain", stdin=keyboard)
        shown = screen.shown
    assert (outcome.code, shown) == (0, "a␛[2J\n")
    assert prompts == ["you> ", "you> "]
    assert "(1 token · 100 tok/s · first token 0.10 s · 4 of 10 cached)\n" in outcome.err


def test_a_prompt_is_no_data(echo: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = typing(monkeypatch, ['"""one', 'two"""'])
    with Terminal() as keyboard:
        outcome = lmlab("chat", stdin=keyboard)
    assert (outcome.code, outcome.out, prompts) == (0, "<one\ntwo>\n", ["", "", ""])
    assert "you> ...> " in outcome.err


def test_ctrl_c_at_the_prompt_ends_at_the_second(echo: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    typing(monkeypatch, [KeyboardInterrupt(), "hi", KeyboardInterrupt(), KeyboardInterrupt(), "never"])
    with Terminal() as keyboard:
        outcome = lmlab("chat", "--plain", stdin=keyboard)
    assert (outcome.code, outcome.out) == (130, "<hi>\n")
    assert outcome.err.count("Ctrl-C again leaves") == 2
    assert echo.backend.closed


class Interrupted(FakeBackend):
    """Says one token, and then the person presses Ctrl-C."""

    def start(self) -> None:
        super().start()
        self.ready()

    def generate(self, request: Request, sink: EventSink) -> FakeHandle:
        handle = super().generate(request, sink)
        self.step(2)
        signal.raise_signal(signal.SIGINT)
        return handle


def test_ctrl_c_stops_the_reply_and_keeps_what_came(fake: Fake, lmlab: Lmlab) -> None:
    fake.kind = Interrupted
    fake.auto = False
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = lmlab("chat", stdin=b"hi\n")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.out, outcome.err) == (130, "A\n", "")
    assert fake.backend.cancels


class Ended(FakeBackend):
    """Says two tokens, and then the program is told to end."""

    def start(self) -> None:
        super().start()
        self.ready()

    def generate(self, request: Request, sink: EventSink) -> FakeHandle:
        handle = super().generate(request, sink)
        self.step(3)
        signal.raise_signal(signal.SIGTERM)
        return handle


def test_of_several_candidates_the_chosen_one_is_printed_and_why_is_said(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script_candidates(["Yes", "No", "no."])
        backend.script(["one"])

    fake.prepare = prepare
    lines = b"hi\n/candidates 1\n/best-of off\nagain\n"
    outcome = lmlab("chat", "--best-of", "3", "--select", "vote", stdin=lines)
    assert (outcome.code, outcome.out) == (0, "No\nYes\none\n")
    assert outcome.err.splitlines() == [
        "lmlab: candidate 2 of 3, by vote: 2 of 3 say No",
        "going on from reply 1 of 3",
        "one reply is drawn; /best-of N draws N and keeps the best",
    ]
    assert [request.candidates for request in fake.backend.requests] == [3, 1]


def test_the_tree_is_walked_and_pruned_line_by_line(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script(["one"])
        backend.script(["two"])

    fake.prepare = prepare
    outcome = lmlab("chat", stdin=b"hi\n/edit hello\n/tree\n/tree 2\n/prune 4\n/prune 1\n/prune 1\n/undo\n/edit\n")
    assert (outcome.code, outcome.out) == (0, "one\ntwo\none\none\n")
    assert outcome.err.splitlines() == [
        "  1    you (1 of 2): hi",
        "  2    fake: one",
        "› 3  you (2 of 2): hello",
        "› 4  fake: two",
        "/tree K goes on from message K",
        "going on from message 2",
        "1 message is gone: /undo brings back what was there",
        "2 messages are gone: /undo brings back what was there",
        "1 message is gone: /undo brings back what was there",
        "it is back",
        'message 1 is "hello"',
        "/edit 1 TEXT sends TEXT beside it",
    ]


def test_of_several_candidates_the_first_is_printed_when_the_engine_dies(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script(["half"], error=EngineStopped("the engine was killed"))
        backend.script(["whole"])

    fake.prepare = prepare
    outcome = lmlab("chat", "--best-of", "2", stdin=b"one\n/best-of off\ntwo\n")
    assert (outcome.code, outcome.out) == (1, "half\nwhole\n")
    assert outcome.err.splitlines()[0] == "lmlab: the engine was killed"


class Drawing(FakeBackend):
    """Gets Ctrl-C when the second of three candidates has ended."""

    def start(self) -> None:
        super().start()
        self.ready()

    def generate(self, request: Request, sink: EventSink) -> FakeHandle:
        handle = super().generate(request, sink)
        self.step(3)
        signal.raise_signal(signal.SIGINT)
        return handle


def test_ctrl_c_while_candidates_are_drawn_chooses_among_those_that_ended(fake: Fake, lmlab: Lmlab) -> None:
    fake.kind = Drawing
    fake.auto = False
    fake.prepare = lambda backend: backend.script_candidates(["It is a long story", "No"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = lmlab("chat", "--best-of", "2", stdin=b"hi\n")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.out) == (0, "No\n")
    assert outcome.err == "lmlab: candidate 2 of 2, by logprob: the only candidate; 1 was not drawn to the end\n"


def test_being_told_to_end_saves_what_came(fake: Fake, lmlab: Lmlab) -> None:
    fake.kind = Ended
    fake.auto = False
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        lmlab("chat", stdin=b"hi\n")
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert fake.backend.closed
    store = Store(Paths.find().database)
    session = store.latest_session()
    assert session is not None
    assert [turn.content for turn in store.path(session.id)] == ["hi", "A fake"]
    store.close()

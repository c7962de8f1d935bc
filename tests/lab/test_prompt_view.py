from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_models import fake_header

from lmlab.backends import Backend, Encoded, Loading, LoadSpec, Message, Ready, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.backends.local import LocalBackend
from lmlab.errors import EngineStopped, PromptError
from lmlab.lab import prompt_view
from lmlab.lab.prompt_view import PromptView, Sharing, Viewing
from lmlab.models import ModelFile
from lmlab.prompting import Approach, Rendered, Renderer, load
from lmlab.settings import Config, Paths

MESSAGES = (Message("user", "one two three"), Message("assistant", "four"), Message("user", "five six"))


class Opener:
    """Opens a FakeBackend, in which a token is a word, after ``prepare``."""

    def __init__(self) -> None:
        self.backend: FakeBackend | None = None
        self.ask_error: PromptError | None = None

    def __call__(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        self.backend = FakeBackend(spec, on_status, auto=True)
        self.backend.ask_error = self.ask_error
        self.backend.start()
        return self.backend


@pytest.fixture
def opener() -> Opener:
    return Opener()


def model(path: Path, chat_template: str | None) -> ModelFile:
    header = fake_header(chat_template=chat_template)
    return ModelFile(ref="fake", path=path, header=header, notice=None)


def look(
    opener: Any,
    messages: tuple[Message, ...],
    text: str,
    sharing: Sharing,
    events: list[Any] | None = None,
    ref: str = "fake",
) -> PromptView:
    viewing = Viewing(
        ref=ref,
        paths=Paths.find(),
        config=Config(),
        opener=opener,
        listener=(events if events is not None else []).append,
    )
    return viewing.look(messages, text, sharing)


@pytest.fixture
def chat_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_view, "resolve", lambda ref, **_: model(tmp_path / "fake.gguf", "{{ messages }}"))


@pytest.fixture
def base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_view, "resolve", lambda ref, **_: model(tmp_path / "fake.gguf", None))


@pytest.mark.usefixtures("base_model")
def test_a_base_model_gets_the_text(opener: Opener) -> None:
    events: list[Any] = []
    view = look(opener, MESSAGES, "Do it.\n\nText: abc def", Sharing(0, 0, len("Do it.\n\nText:")), events)
    assert (view.tokens, view.shared, view.parts, view.chat) == (5, 2, (), False)
    assert [type(event) for event in events] == [Loading, Ready]
    assert opener.backend is not None
    assert opener.backend.closed
    assert opener.backend.spec.sequences == 1


@pytest.mark.usefixtures("chat_model")
def test_what_fails_is_raised_and_the_model_closed(opener: Opener) -> None:
    opener.ask_error = PromptError("no")
    with pytest.raises(PromptError, match=r"^no$"):
        look(opener, MESSAGES, "", Sharing(0, 0, 0))
    assert opener.backend is not None
    assert opener.backend.closed


def test_a_mark_is_unlike_the_text_on_both_sides() -> None:
    for text in ("", "a", "~", "~ ^", " ^a~\n"):
        mark = prompt_view.other_than(text)
        assert text.strip()[:1] != mark
        assert text.strip()[-1:] != mark


def test_where_two_encodings_differ() -> None:
    def count(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        return prompt_view._differing(Encoded("a", one, ""), Encoded("b", other, ""))

    assert count((1, 2, 3, 4), (1, 9, 4)) == 2
    assert count((1, 4), (1, 9, 4)) == 0
    assert count((1, 1, 1), (1, 9, 1)) == 1
    assert count((1, 1), (1, 1)) == 0


# With real models


def rendered(**values: Any) -> tuple[Rendered, Sharing]:
    renderer = Renderer(load("word-problem", None), Approach("few-shot", shots=2), values)
    found = renderer.render({"question": "What is 1 + 1?"})
    return found, Sharing(found.shared_messages, found.shared_in_message, found.shared_characters)


def local(spec: LoadSpec, on_status: StatusSink) -> Backend:
    logs = Paths.find().logs
    logs.mkdir(parents=True, exist_ok=True)
    return LocalBackend(replace(spec, threads=1), on_status, log_folder=logs)


def test_a_chat_models_messages_are_counted_where_they_stand(smollm2: Path) -> None:
    found, sharing = rendered()
    view = look(local, found.messages, found.text, sharing, ref=str(smollm2))
    assert view.chat
    assert view.text.count("<|im_start|>") == 7
    assert all(message.content in view.text for message in found.messages)
    other = Renderer(load("word-problem", None), Approach("few-shot", shots=2)).render({"question": "Zoe has no pens."})
    again = look(local, other.messages, other.text, sharing, ref=str(smollm2))
    # The template's own tokens are the same, whatever is said.
    assert view.tokens - sum(view.parts) == again.tokens - sum(again.parts)
    assert view.parts[:-1] == again.parts[:-1]
    assert view.shared == again.shared
    assert view.tokens - view.parts[-1] <= view.shared + 10
    assert view.shared < view.tokens


def test_a_base_models_text_is_counted(gemma3: Path) -> None:
    found, sharing = rendered()
    view = look(local, found.messages, found.text, sharing, ref=str(gemma3))
    assert not view.chat
    assert view.text.endswith(found.text)
    assert 0.8 * view.tokens < view.shared < view.tokens


def test_an_engine_that_stops_is_told(smollm2: Path) -> None:
    def broken(spec: LoadSpec, on_status: StatusSink) -> Backend:
        backend = FakeBackend(spec, on_status)
        backend.ask_error = EngineStopped("gone")
        return backend

    found, sharing = rendered()
    with pytest.raises(EngineStopped, match="gone"):
        look(broken, found.messages, found.text, sharing, ref=str(smollm2))

"""What a model gets for a prompt: the final text, where its tokens are, and how many of them every row shares.

Nothing is generated. Knows nothing of templates or of any screen.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lmlab.backends import (
    Backend,
    ChatPrompt,
    Encode,
    Encoded,
    Event,
    Failed,
    LoadSpec,
    Message,
    Prompt,
    Status,
    StatusSink,
    TextPrompt,
)
from lmlab.models import ModelFile, Progress, resolve
from lmlab.settings import Config, Paths

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2
# Nothing is decoded, so the smallest context will do.
_CONTEXT = 256
# Each begins no word, so that it makes a token of its own.
_MARKS = "~^|#"

ViewEvent: TypeAlias = Progress | Status


@dataclass(frozen=True, slots=True)
class Sharing:
    """What every row has: ``messages`` whole, ``in_message`` characters of the next; ``characters`` of the text."""

    messages: int
    in_message: int
    characters: int


@dataclass(frozen=True, slots=True)
class PromptView:
    """``text`` is what ``model`` gets, special tokens spelled, ``tokens`` long; the first ``shared`` every row has.

    ``parts`` are the tokens of each message's content. The rest are the chat template's own.
    """

    model: ModelFile
    text: str
    tokens: int
    shared: int
    parts: tuple[int, ...]

    @property
    def chat(self) -> bool:
        return self.model.header.chat_template is not None


class Viewing:
    """Opens a model, and looks at one prompt with it: the messages if it has a chat template, else the text."""

    def __init__(
        self,
        *,
        ref: str,
        paths: Paths,
        config: Config,
        opener: Callable[[LoadSpec, StatusSink], Backend],
        listener: Callable[[ViewEvent], None],
        offline: bool = False,
    ) -> None:
        self._ref = ref
        self._paths = paths
        self._config = config
        self._opener = opener
        self._listener = listener
        self._offline = offline
        self._inbox: queue.SimpleQueue[Status | Event] = queue.SimpleQueue()

    def look(self, messages: Sequence[Message], text: str, sharing: Sharing) -> PromptView:
        """Return what the model gets. The listener is called on this thread. Raises LmlabError."""
        model = resolve(
            self._ref,
            paths=self._paths,
            config=self._config,
            offline=self._offline,
            progress=self._listener,
            cancelled=lambda: False,
        )
        chat = model.header.chat_template is not None
        spec = LoadSpec(path=str(model.path), context=_CONTEXT, sequences=1, reuse=False)
        backend = self._opener(spec, self._inbox.put)
        try:
            if not chat:
                part = text[: sharing.characters]
                whole, other = self._encode(
                    backend, [TextPrompt(text), TextPrompt(part + other_than(text[len(part) :]))]
                )
                return PromptView(model, whole.text, len(whole.tokens), in_common(whole, other), ())
            whole, other, *replaced = self._encode(backend, _chat_prompts(messages, sharing))
        finally:
            backend.close()
        parts = tuple(_differing(whole, encoded) for encoded in replaced)
        return PromptView(model, whole.text, len(whole.tokens), in_common(whole, other), parts)

    def _encode(self, backend: Backend, prompts: Sequence[Prompt]) -> list[Encoded]:
        for number, prompt in enumerate(prompts):
            backend.ask(Encode(str(number), prompt), self._inbox.put)
        found: dict[str, Encoded] = {}
        while len(found) < len(prompts):
            try:
                item = self._inbox.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            match item:
                case Encoded():
                    found[item.request_id] = item
                case Failed(error=error):
                    raise error
                case _ if isinstance(item, Status):
                    self._listener(item)
        return [found[str(number)] for number in range(len(prompts))]


def _chat_prompts(messages: Sequence[Message], sharing: Sharing) -> list[Prompt]:
    """Return the prompt, one that is as it up to where sharing ends, and one with another content for each message.

    Where these differ from it is where a message's tokens are: a chat template cannot be asked.
    """

    def changed(index: int, kept: int) -> Prompt:
        content = messages[index].content
        other = replace(messages[index], content=content[:kept] + other_than(content[kept:]))
        return ChatPrompt((*messages[:index], other, *messages[index + 1 :]))

    contents = (changed(index, 0) for index in range(len(messages)))
    return [ChatPrompt(tuple(messages)), changed(sharing.messages, sharing.in_message), *contents]


def other_than(text: str) -> str:
    """Return a text that neither begins nor ends as ``text`` does."""
    return next(mark for mark in _MARKS if not text.lstrip().startswith(mark) and not text.rstrip().endswith(mark))


def in_common(one: Encoded, other: Encoded) -> int:
    """Return how many tokens both begin with."""
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one.tokens), len(other.tokens)))


def _differing(one: Encoded, other: Encoded) -> int:
    """Return how many tokens of ``one`` lie between what both begin and what both end with."""
    start = in_common(one, other)
    rest, other_rest = one.tokens[start:], other.tokens[start:]
    end = 0
    while end < min(len(rest), len(other_rest)) and rest[-1 - end] == other_rest[-1 - end]:
        end += 1
    return len(rest) - end

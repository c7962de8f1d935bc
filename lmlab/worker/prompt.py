"""A prompt to token ids: the chat template, special tokens made inert, and replies as the tokens they were drawn as.

Ordinary text is tokenized whole, as llama-server does it. Two kinds of passages are kept apart by markers that go
through the template: the text of a special token inside what a user or a file wrote, tokenized as plain text; and a
reply that the template leaves unchanged, put back as its own tokens.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from lmlab.errors import PromptError, TemplateError
from lmlab.worker.prompts import ChatPrompt, Message, Prompt, TextPrompt
from lmlab.worker.template import ChatTemplate


class Vocabulary(Protocol):
    """What is needed of a model's vocabulary (llama.Vocabulary has it)."""

    bos: int
    add_bos: bool
    size: int

    def tokenize(self, text: str, *, special: bool) -> list[int]: ...
    def piece(self, token: int, *, special: bool = False) -> bytes: ...
    def text(self, token: int) -> str: ...


class PromptEncoder:
    """Encodes prompts for one model.

    ``template`` is its own chat template, None for a base model, or the error that every chat with it is to get.
    """

    def __init__(
        self, vocabulary: Vocabulary, template: ChatTemplate | TemplateError | None, special: dict[str, str]
    ) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._special = special
        self._given: dict[str, ChatTemplate] = {}
        self._adds_space = b"".join(map(vocabulary.piece, vocabulary.tokenize("a", special=False))) == b" a"

    @property
    def has_template(self) -> bool:
        """Whether the model comes with a chat template, be it one that cannot be used."""
        return self._template is not None

    def encode(self, prompt: Prompt, *, generation_prompt: bool = True) -> list[int]:
        """Return the ids of ``prompt``, BOS once where the model wants one. Raises PromptError or TemplateError.

        ``generation_prompt`` False leaves out what asks a chat model for a reply.
        """
        with _valid_text():
            if isinstance(prompt, TextPrompt):
                ids = self._encode_text(prompt)
            else:
                ids = self._encode_chat(prompt, generation_prompt)
        vocabulary = self._vocabulary
        if vocabulary.add_bos and vocabulary.bos >= 0 and (not ids or ids[0] != vocabulary.bos):
            ids.insert(0, vocabulary.bos)
        if not ids:
            raise PromptError("the prompt is empty; this model needs at least one token to go on from")
        return ids

    def fill(self, pattern: str, values: Mapping[str, str]) -> list[int]:
        """Return the ids of ``pattern``, each ``{name}`` in it a text of ``values`` whose special tokens are plain text.

        Special tokens of ``pattern`` itself are that, and nothing is added. Raises PromptError.
        """
        markers = _Markers()
        with _valid_text():
            inert = {name: self._mark_special(text, markers) for name, text in values.items()}
            names = "|".join(map(re.escape, values))
            filled = re.sub(rf"\{{({names})\}}", lambda match: inert[match.group(1)], pattern)
            return self._tokenize(markers.split(filled))

    def spell(self, tokens: Sequence[int]) -> str:
        """Return the text that ``tokens`` are, special tokens spelled."""
        pieces = (self._vocabulary.piece(token, special=True) for token in tokens)
        return b"".join(pieces).decode("utf-8", "replace")

    def _encode_text(self, prompt: TextPrompt) -> list[int]:
        if prompt.parse_special:
            return self._vocabulary.tokenize(prompt.text, special=True)
        markers = _Markers()
        return self._tokenize(markers.split(self._mark_special(prompt.text, markers)))

    def _encode_chat(self, prompt: ChatPrompt, generation_prompt: bool) -> list[int]:
        template = self._choose(prompt.template)
        plain = [{"role": m.role, "content": m.content} for m in prompt.messages]
        markers = _Markers()
        inert = [self._mark_special(m.content, markers) for m in prompt.messages]
        replies = {index for index, m in enumerate(prompt.messages) if self._replayable(m)}
        # One moment for all the renderings of this prompt: they are compared.
        now = datetime.now()
        expected = template.render(plain, generation_prompt=generation_prompt, now=now)
        # A template may trim or rewrite replies: mark those it leaves as they are, seen by rendering with and without.

        def render(marked: set[int]) -> str | None:
            rendered = template.render(
                [
                    {"role": m.role, "content": markers.reply(index, m) if index in marked else inert[index]}
                    for index, m in enumerate(prompt.messages)
                ],
                generation_prompt=generation_prompt,
                now=now,
            )
            return rendered if markers.plain(rendered) == expected else None

        rendered = render(replies)
        if rendered is None:
            rendered = render({index for index in replies if render({index}) is not None}) or render(set())
        if rendered is not None:
            return self._tokenize(markers.split(rendered))
        raise TemplateError(
            "the chat template rewrites the text of a special token inside a message, which would make it a command; "
            "remove it from the message, or use --raw"
        )

    def _choose(self, source: str | None) -> ChatTemplate:
        if source is None:
            if self._template is None:
                raise PromptError("this is a base model without a chat template: give it text to continue (--raw)")
            if isinstance(self._template, TemplateError):
                raise self._template
            return self._template
        if source not in self._given:
            self._given[source] = ChatTemplate(source, self._special)
        return self._given[source]

    def _replayable(self, message: Message) -> bool:
        """Whether a reply's tokens are of this vocabulary and spell exactly its text, with no special token unseen."""
        tokens = message.tokens
        if message.role != "assistant" or not tokens or not all(0 <= t < self._vocabulary.size for t in tokens):
            return False
        pieces = [self._vocabulary.piece(token) for token in tokens]
        return all(pieces) and b"".join(pieces) == message.content.encode("utf-8")

    def _mark_special(self, text: str, markers: _Markers) -> str:
        """Return ``text`` with the text of every special token in it marked as inert."""
        ids = self._vocabulary.tokenize(text, special=True)
        # Special are those that spell nothing: control tokens and the unknown token.
        found = {self._vocabulary.text(i) for i in set(ids) if not self._vocabulary.piece(i)}
        found = {name for name in found if name and name in text}
        if not found:
            return text
        pattern = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True))
        return re.sub(pattern, lambda match: markers.inert(match.group()), text)

    def _tokenize(self, parts: Iterable[_Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            if isinstance(part, tuple):
                ids.extend(part)
            else:
                ids.extend(self._spell(part.text, special=not part.inert, before=ids[-1] if ids else None))
        return ids

    def _spell(self, text: str, *, special: bool, before: int | None) -> list[int]:
        """Tokenize ``text`` that follows the token ``before``.

        Some vocabularies put a space before a text that begins a prompt or follows a special token, and only there.
        """
        vocabulary = self._vocabulary
        if self._adds_space and before is not None and vocabulary.piece(before):
            # Behind a character that it does not merge with; no text can merge with all of these.
            for lead in "\n.a":
                alone = vocabulary.tokenize(lead, special=False)
                both = vocabulary.tokenize(lead + text, special=special)
                if both[: len(alone)] == alone:
                    return both[len(alone) :]
        return vocabulary.tokenize(text, special=special)


@contextmanager
def _valid_text() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        raise PromptError("the prompt holds characters that are not valid Unicode text; remove them") from None


class _Text:
    """A passage of text; ``inert``: special tokens in it are plain text."""

    __slots__ = ("inert", "text")

    def __init__(self, text: str, *, inert: bool) -> None:
        self.text = text
        self.inert = inert


_Part = _Text | tuple[int, ...]


class _Markers:
    """Private names for passages, unguessable, that pass through a template as text does."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(8)
        self._passages: list[tuple[str, _Part]] = []
        self._replies: dict[int, str] = {}
        self._pattern = re.compile(f"\ue000{self._nonce}:(\\d+)\ue001")

    def inert(self, text: str) -> str:
        """Return a marker for ``text``, which is to be tokenized as plain text."""
        return self._add(text, _Text(text, inert=True))

    def reply(self, index: int, message: Message) -> str:
        """Return a marker for a reply, which is to be its own tokens."""
        if index not in self._replies:
            self._replies[index] = self._add(message.content, message.tokens or ())
        return self._replies[index]

    def _add(self, text: str, part: _Part) -> str:
        self._passages.append((text, part))
        return f"\ue000{self._nonce}:{len(self._passages) - 1}\ue001"

    def plain(self, rendered: str) -> str:
        """Return ``rendered`` with each marker replaced by the text it stands for."""
        return self._pattern.sub(lambda match: self._passages[int(match.group(1))][0], rendered)

    def split(self, rendered: str) -> Sequence[_Part]:
        """Return ``rendered`` as its passages in order."""
        parts: list[_Part] = []
        end = 0
        for match in self._pattern.finditer(rendered):
            if match.start() > end:
                parts.append(_Text(rendered[end : match.start()], inert=False))
            parts.append(self._passages[int(match.group(1))][1])
            end = match.end()
        if end < len(rendered):
            parts.append(_Text(rendered[end:], inert=False))
        return parts

"""The exact text that a model would get for the next message, and which of its tokens are in memory already.

A chat's model is asked for it. Knows nothing of screens.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmlab.backends import Encoded, Event, EventSink, Failed, Message, Spelled
from lmlab.errors import LmlabError
from lmlab.lab.chat import Chat
from lmlab.lab.conversation import compose
from lmlab.lab.prompt_view import in_common, other_than

if TYPE_CHECKING:
    from lmlab.lab.message_prompt import MessagePrompt

_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")
# No chat template has them, and none of them is a word, a number or a special token.
_PLACE = "⟦{}⟧"


@dataclass(frozen=True, slots=True)
class Passage:
    """A message inside the text, from ``start`` to ``end``, ``tokens`` long. What lies between is the chat template's."""

    role: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class NextPrompt:
    """``text`` with its special tokens spelled, ``tokens`` long.

    The first ``cached`` tokens, to the character ``cached_at``, are in memory. The first ``shared``, to ``shared_at``,
    are the same whatever is typed.
    """

    text: str
    tokens: int
    cached: int
    cached_at: int
    shared: int
    shared_at: int
    passages: tuple[Passage, ...]


class PromptLook:
    """Asks one prompt at a time of a chat's model. ``sink`` is called on any thread, at once or later; what it gets goes to
    ``take``, on the thread that asks."""

    def __init__(self, chat: Chat, sink: EventSink) -> None:
        self._chat = chat
        self._sink = sink
        self._said: tuple[Message, ...] = ()
        self._waiting: dict[str, str] = {}
        self._encoded: dict[str, Encoded] = {}

    @property
    def asking(self) -> bool:
        return bool(self._waiting)

    def ask(self, text: str, prompt: MessagePrompt | None) -> None:
        """Ask for the prompt of ``text``, by way of a template if one is given. Raises LmlabError."""
        self._waiting, self._encoded = {}, {}
        chat = self._chat
        main = compose(text, chat.attachments)
        use = prompt.use(main) if prompt is not None else None
        said = self._said = chat.to_send(text, use)
        index, kept = len(said) - 1, 0
        if prompt is not None and use is not None:
            rendered = prompt.filled().render(main)
            index = len(said) - len(use.messages) + rendered.shared_messages
            # The first message of the template may have been joined to one before it.
            own = use.messages[rendered.shared_messages].content
            kept = len(said[index].content) - len(own) + rendered.shared_in_message
        content = said[index].content
        other = replace(said[index], content=content[:kept] + other_than(content[kept:]), tokens=None)
        places = tuple(Message(message.role, _PLACE.format(number)) for number, message in enumerate(said))
        for what, messages in (
            ("whole", said),
            ("other", (*said[:index], other, *said[index + 1 :])),
            ("places", places),
        ):
            self._waiting[chat.encode_messages(messages, self._sink)] = what

    def take(self, event: Event) -> NextPrompt | LmlabError | None:
        """Take in an answer; return the prompt once all are there, or why there is none. Raises LmlabError."""
        what = self._waiting.pop(event.request_id, None)
        if what is None:
            return None
        match event:
            case Failed(error=error):
                self._waiting.clear()
                return error
            case Encoded():
                self._encoded[what] = event
                if not self._waiting:
                    self._waiting[self._chat.spell(self._encoded["whole"].tokens, self._sink)] = "spelled"
                return None
            case Spelled():
                return self._put_together(event.texts)
            case _:
                return None

    def _put_together(self, pieces: Sequence[str]) -> NextPrompt:
        whole, other, places = (self._encoded[name] for name in ("whole", "other", "places"))
        starts = token_starts(whole.text, pieces)
        shared = in_common(whole, other)
        parts = re.split("|".join(re.escape(_PLACE.format(number)) for number in range(len(self._said))), places.text)
        return NextPrompt(
            text=whole.text,
            tokens=len(whole.tokens),
            cached=whole.cached,
            cached_at=starts[whole.cached],
            shared=shared,
            shared_at=starts[shared],
            passages=passages(whole.text, self._said, parts, starts),
        )


def token_starts(text: str, pieces: Sequence[str]) -> list[int]:
    r"""Return the character at which each token begins, and the end of ``text``; ``pieces`` spell the tokens one by one.

    Bytes that are part of a character are ``\xHH`` in a piece. Such a character belongs to the token that begins it.
    """
    data = text.encode("utf-8", "replace")
    starts, at, characters = [], 0, 0
    for piece in pieces:
        starts.append(characters)
        raw = piece.encode("utf-8", "replace")
        if not data.startswith(raw, at):
            raw = b"".join(
                bytes([int(part, 16)]) if odd else part.encode("utf-8", "replace")
                for odd, part in ((index % 2, part) for index, part in enumerate(_ESCAPE.split(piece)))
            )
        # Where a piece is not what the text has, the next one that is finds the place again.
        found = data.find(raw, at, at + len(raw) + 16)
        if found < 0:
            continue
        end = found + len(raw)
        characters += sum(byte & 0xC0 != 0x80 for byte in data[at:end])
        at = end
    return [*starts, len(text)]


def passages(
    text: str, messages: Sequence[Message], parts: Sequence[str], starts: Sequence[int]
) -> tuple[Passage, ...]:
    """Return where the messages stand in ``text``, as far as it can be told; ``parts`` is what the chat template has
    before, between and after them."""
    if len(parts) != len(messages) + 1:
        # The template leaves messages out, or repeats them.
        return ()
    found: list[Passage] = []
    at = 0
    for message, before, after in zip(messages, parts[:-1], parts[1:], strict=True):
        if not text.startswith(before, at):
            break
        start = at + len(before)
        # A template may take white space away.
        as_it_is, rest = message.content, message.content.lstrip()
        wordings = dict.fromkeys((as_it_is, rest.rstrip(), rest, as_it_is.rstrip()))
        ends = (start + len(one) for one in wordings if text.startswith(one, start))
        end = next((end for end in ends if text.startswith(after, end)), text.find(after, start))
        if end < 0:
            break
        tokens = bisect_left(starts, end, hi=len(starts) - 1) - bisect_left(starts, start, hi=len(starts) - 1)
        found.append(Passage(message.role, start, end, tokens))
        at = end
    return tuple(found)

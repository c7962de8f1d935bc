"""Where instruction, examples and input stand in a prompt: as turns, inside one message, or as plain text.

Knows nothing of templates: it is given texts that are ready.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmlab.worker.prompts import Message


@dataclass(frozen=True, slots=True)
class Worked:
    """An example: what was ``asked``, the ``reply`` of a chat model, and what a base model's text has after it."""

    asked: str
    reply: str
    continued: str


@dataclass(frozen=True, slots=True)
class Layout:
    """``ask`` is what a chat model is asked for besides (reasoning), ``""`` for nothing.

    A base model is asked ``ask_text`` besides, and goes on from ``cue``. ``inline``: a chat model gets the same text as one
    message, which ends in the cue as each example has it.
    """

    inline: bool
    ask: str
    ask_text: str
    cue: str

    def turns(self, instruction: str, examples: Sequence[Worked], asked: str | None) -> tuple[Message, ...]:
        """Return the messages; without ``asked`` only those of the examples. The instruction is in the first."""
        return tuple(self._turns(instruction, examples, asked))

    def _turns(self, instruction: str, examples: Sequence[Worked], asked: str | None) -> Iterator[Message]:
        for example in examples:
            yield Message("user", paragraphs(instruction, example.asked, self.ask))
            yield Message("assistant", example.reply)
            instruction = ""
        if asked is not None:
            yield Message("user", paragraphs(instruction, asked, self.ask))

    def messages(self, instruction: str, examples: Sequence[Worked], asked: str) -> tuple[Message, ...]:
        """Return the whole prompt for a chat model."""
        if self.inline and examples:
            return (Message("user", self.text(instruction, examples, asked)),)
        return self.turns(instruction, examples, asked)

    def text(self, instruction: str, examples: Sequence[Worked], asked: str) -> str:
        """Return the whole prompt for a base model. It ends in the cue."""
        return paragraphs(instruction, *self._blocks(examples), f"{self._question(asked)}\n{self.cue}")

    def _blocks(self, examples: Sequence[Worked]) -> Iterator[str]:
        return (f"{self._question(example.asked)}\n{example.continued}" for example in examples)

    def _question(self, asked: str) -> str:
        return paragraphs(asked, self.ask_text)

    def skeleton(self, instruction: str, examples: Sequence[Worked], beginning: str, *, turned: bool) -> Skeleton:
        """Return what every prompt has that begins so; ``turned``: the examples are turns of their own."""
        text = paragraphs(instruction, *self._blocks(examples), beginning)
        if not turned:
            return Skeleton((), text, text)
        return Skeleton(self.turns(instruction, examples, None), beginning, text)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What every row's prompt begins with: whole messages, the beginning of the next one; and, of a text, ``text``."""

    messages: tuple[Message, ...]
    beginning: str
    text: str

    def shared(self, messages: Sequence[Message], text: str) -> tuple[int, int, int]:
        """Return how many messages, characters of the message after them, and characters of ``text`` are in it."""
        expected = [*(message.content for message in self.messages), self.beginning]
        whole = 0
        while whole < len(self.messages) and messages[whole : whole + 1] == self.messages[whole : whole + 1]:
            whole += 1
        return whole, _in_common(expected[whole], messages[whole].content), _in_common(self.text, text)


def paragraphs(*texts: str) -> str:
    """Return the texts that are not empty with a blank line between them."""
    return "\n\n".join(text for text in texts if text)


def _in_common(expected: str, found: str) -> int:
    """Return how many characters both begin with."""
    if found.startswith(expected):
        return len(expected)
    pairs = zip(expected, found, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(found)))

"""What a parent asks beside generation: how a prompt is encoded, how good answers are. Part of what the two processes say."""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.worker.prompts import Message, Prompt


@dataclass(frozen=True, slots=True)
class Encode:
    """Ask for the tokens of ``prompt``; an Encoded or Failed answers. Nothing is decoded."""

    request_id: str
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Encoded:
    """``text`` is the final text that the model gets, what it puts first included, special tokens spelled.

    ``cached`` of the tokens, from the first, are in memory now and would not be decoded again.
    """

    request_id: str
    tokens: tuple[int, ...]
    text: str
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Spell:
    """Ask for the text of each of ``tokens`` by itself; a Spelled or Failed answers."""

    request_id: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spelled:
    r"""One text a token, in order: a control token by its name, bytes that are part of a character as ``\xHH``."""

    request_id: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankPair:
    """An ``answer`` to a conversation that ends with what it answers."""

    question: tuple[Message, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Rank:
    """Ask a model that was loaded to rank for the score of each pair; a Ranked or Failed answers."""

    request_id: str
    pairs: tuple[RankPair, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One score a pair, in order; higher is better. They can be compared within one model only."""

    request_id: str
    scores: tuple[float, ...]

"""What is measured of a model, step by step, as far as it fits the context. Knows nothing of how, or of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.worker.benching.messages import Run

Measure: TypeAlias = Literal[
    "prefill",
    "decode",
    "decode_together",
    "load",
    "first_token",
    "first_token_again",
    "first_token_from_disk",
    "reply",
    "memory",
    "memory_peak",
]
Unit: TypeAlias = Literal["tokens/s", "s", "bytes"]

UNITS: dict[Measure, Unit] = {
    "prefill": "tokens/s",
    "decode": "tokens/s",
    "decode_together": "tokens/s",
    "load": "s",
    "first_token": "s",
    "first_token_again": "s",
    "first_token_from_disk": "s",
    "reply": "tokens/s",
    "memory": "bytes",
    "memory_peak": "bytes",
}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Tokens, but for ``repeat``, how often everything is measured, and ``together``, how many sequences at once.

    ``prompt`` are read and ``decode`` are written by one sequence after each of ``depths``. Of several sequences each writes
    ``together_decode`` after ``together_depth``. A question to the whole program is of ``question``, its answer of
    ``reply``; no ``question`` leaves the whole program out.
    """

    repeat: int = 3
    prompt: int = 512
    decode: int = 64
    depths: tuple[int, ...] = (0, 1024, 4096)
    together: tuple[int, ...] = (1, 2, 4, 8, 16)
    together_depth: int = 128
    together_decode: int = 32
    question: int = 1000
    reply: int = 64


LEAST_FOR_QUESTIONS = 512

QUICK = Amounts(repeat=2, depths=(0, 1024), together=(1, 4, 16), together_decode=16, question=500, reply=32)


@dataclass(frozen=True, slots=True)
class Key:
    """What one figure is of: ``sequences`` that each hold ``depth`` tokens already."""

    measure: Measure
    depth: int = 0
    sequences: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement. ``reads`` and ``writes``: about how many tokens it takes in all, those that bring it to its depth
    included. ``run`` None is the whole program's."""

    key: Key
    run: Run | None
    reads: int
    writes: int

    @property
    def tokens(self) -> int:
        """How many tokens the time that is measured is for."""
        return 0 if self.run is None else self.run.sequences * (self.run.prompt + self.run.decode)


@dataclass(frozen=True, slots=True)
class Steps:
    """``left_out``: what does not fit, in sentences."""

    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def steps_within(amounts: Amounts, *, context: int, sequences: int) -> Steps:
    """Return the steps of a round, cheap ones first, for ``context`` tokens and up to ``sequences`` sequences."""
    found: list[Step] = []
    left_out: list[str] = []
    at_once = [count for count in amounts.together if count <= sequences]
    each = amounts.together_depth + amounts.together_decode
    fitting = [count for count in at_once if count * each <= context]
    depths = [depth for depth in amounts.depths if depth + max(amounts.prompt, amounts.decode) <= context]
    if len(fitting) < len(at_once):
        least = max(at_once) * each
        left_out.append(
            f"{_counts(set(at_once) - set(fitting))} sequences at once need a context of up to {least:,} tokens"
        )
    if len(depths) < len(amounts.depths):
        missing = set(amounts.depths) - set(depths)
        left_out.append(
            f"depth {_counts(missing)} needs a context of {max(missing) + max(amounts.prompt, amounts.decode):,} tokens"
        )
    found += _alone(amounts, [depth for depth in depths if depth == 0])
    if amounts.question and context < LEAST_FOR_QUESTIONS:
        left_out.append(f"asking the whole program needs a context of {LEAST_FOR_QUESTIONS} tokens")
    elif amounts.question:
        reply = reply_within(amounts, context)
        # Beside it there must be room for two replies, and for what the two next questions add.
        asked = min(amounts.question, context // 2 - 2 * reply)
        found.append(Step(Key("first_token", asked), None, 2 * asked, 4 * reply))
    found += _together(amounts, fitting)
    found += _alone(amounts, [depth for depth in depths if depth])
    return Steps(tuple(found), tuple(f"{one}, and this one is of {context:,}: not measured" for one in left_out))


def reply_within(amounts: Amounts, context: int) -> int:
    """Return how many tokens the whole program replies with."""
    return min(amounts.reply, context // 16)


def _alone(amounts: Amounts, depths: list[int]) -> Iterator[Step]:
    held = 0
    for depth in sorted(depths):
        # Decoding first: what it adds is cut off again, and the depth need be brought about once only.
        fills, held = depth - held, depth
        yield Step(Key("decode", depth), Run(depth=depth, decode=amounts.decode), fills, amounts.decode)
        yield Step(Key("prefill", depth), Run(depth=depth, prompt=amounts.prompt), amounts.prompt, 0)


def _together(amounts: Amounts, counts: list[int]) -> Iterator[Step]:
    held = 0
    for count in sorted(counts):
        fills, held = (count - held) * amounts.together_depth, count
        run = Run(count, amounts.together_depth, decode=amounts.together_decode)
        # The whole batch is read for each of its tokens: more sequences take little longer.
        yield Step(
            Key("decode_together", amounts.together_depth, count),
            run,
            fills,
            amounts.together_decode * (1 + count // 3),
        )


def _counts(values: set[int]) -> str:
    return " and ".join(f"{value:,}" for value in sorted(values))

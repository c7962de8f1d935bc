"""Sliding a sampling knob over a token that is looked at: from the question to the bars, the kept logits weighed again.

Round trips from the parent, 40 candidates each, on several tokens of a reply: temperature, top-k, top-p and min-p slid from
end to end, then penalties and the settings that leave most tokens. Once with nothing beside it and once while a reply
streams, when the weighing has no core to itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing

from sides import DRAWN, Lmlab, Reply, sampling
from table import Row, Setting, quantile

from lmlab.backends import Distribution, Inspect, Reweigh, TextPrompt
from lmlab.sampling import SamplingParams

PROMPT = "The lighthouse keeper had three rules, and the first of them was"
REPLY, LOOKS = 64, 8
STREAMED = 4000
TOP = 40
STEPS = 20
GOAL = 16.0
"""Milliseconds: a screen that shows sixty pictures a second has no longer for one."""


def knobs(steps: int) -> list[SamplingParams]:
    """Return the samplings that are asked for in turn: one knob moves at a time."""
    shares = [step / steps for step in range(steps + 1)]
    wide = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    slides: list[dict[str, float]] = [{"temperature": 2 * share} for share in shares]
    slides += [{"top_k": 1 + round(199 * share)} for share in shares]
    slides += [{**wide, "top_p": share} for share in shares]
    slides += [{**wide, "min_p": share / 4} for share in shares]
    slides += [{**wide, "temperature": 2 * share} for share in shares]
    slides += [{**wide, "top_p": 0.95, "repeat_penalty": 1 + share} for share in shares]
    slides += [{**wide, "presence_penalty": 2 * share, "frequency_penalty": share} for share in shares]
    return [SamplingParams.from_dict({**DRAWN, **slide}) for slide in slides]


def measure(setting: Setting) -> Iterator[Row]:
    wanted = knobs(setting.size(STEPS, 2))
    for beside in (False, True):
        with closing(Lmlab(setting.path)) as lmlab:
            reply = lmlab.run([TextPrompt(PROMPT)], sampling(DRAWN, REPLY))[0].finished.tokens
            turns = [
                [1000 * seconds for seconds in round_trips(lmlab, reply, wanted, Stream(lmlab) if beside else None)]
                for _ in range(setting.turns or 3)
            ]
            vocabulary = lmlab.info.vocabulary
        spent = [milliseconds for turn in turns for milliseconds in turn]
        yield Row(
            work=f"bars reshaped, p95, {'while a reply streams' if beside else 'nothing beside it'}",
            model=setting.ref,
            against=f"{vocabulary:,} tokens",
            goal=GOAL,
            unit="ms",
            at_most=True,
            values=tuple(quantile(turn, 0.95) for turn in turns),
            detail=f"p50 {statistics.median(spent):.1f} ms, worst {max(spent):.1f} ms, n {len(spent)}",
        )


class Stream:
    """A reply that streams whenever it is looked at: one that has ended is followed by another."""

    def __init__(self, lmlab: Lmlab) -> None:
        self._lmlab = lmlab
        self._reply: Reply | None = None
        self._seed = 0

    def keep(self) -> None:
        if self._reply is None or self._reply.ended.is_set():
            self._seed += 1
            self._reply = self._lmlab.send(TextPrompt(PROMPT), sampling(DRAWN, STREAMED, self._seed))


def round_trips(
    lmlab: Lmlab, reply: tuple[int, ...], wanted: list[SamplingParams], stream: Stream | None
) -> Iterator[float]:
    """Yield the seconds of each change, on several tokens of ``reply``."""
    for look in range(LOOKS):
        if stream is not None:
            stream.keep()
        at = look * len(reply) // LOOKS
        name = f"look-{look}"
        place = Inspect(name, TextPrompt(PROMPT), reply[:at], wanted[0], top=TOP, drawn=reply[at])
        assert isinstance(lmlab.ask(place), Distribution)
        for sampled in wanted:
            begin = time.perf_counter()
            answer = lmlab.ask(Reweigh(name, sampled))
            yield time.perf_counter() - begin
            assert isinstance(answer, Distribution)

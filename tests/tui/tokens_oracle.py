"""A model that weighs a dozen tokens at every place, and answers when a test says so: what the tokens view asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from screen_harness import Desk
from textual.pilot import Pilot

from lmlab.backends import Alternative, Distribution, Event, EventSink, Inspect, Question, Reweigh, Stage
from lmlab.backends.fake import FakeBackend
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.tui.screens.tokens import TokensView

WORDS = (" Paris", " the", " a", " London", " located", " in", " known", "\n", " one", " Lyon", " called", "\\xe2")
FIRST_ID = 500
VOCABULARY = 49_152

PIECES = (
    "The",
    " capital",
    " of",
    " France",
    " is",
    " Madagascar",
    ".",
    "\n",
    "It",
    " is",
    " very",
    " ",
    "warm",
    " there.",
)
CHANCES = (0.31, 0.97, 0.99, 0.91, 0.95, 0.002, 0.62, 0.4, 0.18, 0.7, 0.09, 0.03, 0.55, 0.93)


def weigh(request_id: str, at: int, drawn: int | None, drawn_text: str, asked: SamplingParams) -> Distribution:
    """Return a distribution that depends on the place: the drawn token stands at rank ``at`` modulo 4."""
    sampling = asked.merge(DEFAULTS)
    logits = {FIRST_ID + number: 6.0 - 0.9 * number for number in range(len(WORDS))}
    texts = {FIRST_ID + number: word for number, word in enumerate(WORDS)}
    if drawn is not None:
        logits[drawn] = 6.0 - 0.9 * (at % 4) + 0.1
        texts[drawn] = drawn_text
    order = sorted(logits, key=lambda token: -logits[token])
    stages, left = [("raw", order, logits)], order
    assert sampling.top_k is not None
    assert sampling.top_p is not None
    assert sampling.min_p is not None
    if sampling.top_k:
        left = left[: sampling.top_k]
        stages.append(("top-k", left, logits))
    if sampling.top_p < 1:
        left = _top_p(left, logits, sampling.top_p)
        stages.append(("top-p", left, logits))
    if sampling.min_p:
        left = [token for token in left if logits[token] >= logits[left[0]] + math.log(sampling.min_p)]
        stages.append(("min-p", left, logits))
    assert sampling.temperature is not None
    if sampling.temperature == 0:
        left, scaled = left[:1], logits
    else:
        scaled = {token: logit / sampling.temperature for token, logit in logits.items()}
    if sampling.temperature != 1:
        stages.append(("temperature", left, scaled))
    columns = [_softmax(kept, values) for _, kept, values in stages]
    names: list[Any] = [name for name, _, _ in stages]
    return Distribution(
        request_id,
        sampling,
        tuple(
            Stage(name, VOCABULARY if name == "raw" else len(column), -sum(p * math.log2(p) for p in column.values()))
            for name, column in zip(names, columns, strict=True)
        ),
        tuple(
            Alternative(
                token,
                texts[token],
                rank,
                logits[token],
                tuple(column.get(token, 0.0) for column in columns),
                next((name for name, column in zip(names, columns, strict=True) if token not in column), None),
            )
            for rank, token in enumerate(order)
        ),
    )


class Oracle:
    """Stands in for what a backend answers about distributions. ``hold``: answers wait for ``answer``."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.hold = False
        self.looks: list[Inspect] = []
        self.reweighs: list[Reweigh] = []
        self.waiting: list[Callable[[], None]] = []
        self._ask = backend.ask
        backend.ask = self.ask  # type: ignore[method-assign]

    def ask(self, command: Question, sink: EventSink) -> None:
        if self.backend.ask_error is not None or not isinstance(command, Inspect | Reweigh):
            self._ask(command, sink)
            return
        if isinstance(command, Inspect):
            self.looks.append(command)
        else:
            self.reweighs.append(command)
        place = self.looks[-1]
        event: Event = replace(
            weigh(
                command.request_id,
                len(place.tokens),
                place.drawn,
                self.backend.spell(place.drawn) if place.drawn is not None else "",
                command.sampling,
            )
        )
        if self.hold:
            self.waiting.append(lambda: sink(event))
        else:
            sink(event)

    def answer(self) -> None:
        """Answer the oldest question that waits."""
        self.waiting.pop(0)()


async def converse(desk: Desk, pilot: Pilot[Any], question: str = "What is the capital of France?") -> None:
    """Ask, and have the whole reply."""
    desk.backend.script(PIECES, logprobs=[math.log(chance) for chance in CHANCES])
    await desk.send(pilot, question)
    desk.backend.finish()
    await desk.settle(pilot)


async def open_tokens(desk: Desk, pilot: Pilot[Any]) -> TokensView:
    """Open the view, and wait until it shows tokens."""
    await pilot.press("ctrl+t")
    await desk.wait_until(pilot, lambda: isinstance(pilot.app.screen, TokensView))
    await pilot.pause()
    await pilot.pause()
    view = pilot.app.screen
    assert isinstance(view, TokensView)
    return view


def _softmax(kept: list[int], logits: dict[int, float]) -> dict[int, float]:
    most = max(logits[token] for token in kept)
    weights = {token: math.exp(logits[token] - most) for token in kept}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def _top_p(kept: list[int], logits: dict[int, float], share: float) -> list[int]:
    reached, found = 0.0, []
    for token, chance in _softmax(kept, logits).items():
        found.append(token)
        reached += chance
        if reached >= share:
            break
    return found

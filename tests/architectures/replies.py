"""What an engine replies to requests, greedily, and how far two replies are the same."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.engine import Admitted, Drawn, Engine, EngineRequest, Restorable, Saved
from lmlab.sampling import DEFAULTS, SamplingParams

LENGTH = 6
_GREEDY = SamplingParams(temperature=0.0, seed=1, max_tokens=LENGTH).merge(DEFAULTS)
_STEPS = 1000
_DRAW = 1e-3


@dataclass
class Reply:
    """``cached`` and ``restored`` tokens of its prompt were not decoded. ``saved``: its state, where it was asked for."""

    cached: int = 0
    restored: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    saved: Saved | None = None


def text(count: int, seed: int) -> tuple[int, ...]:
    """Tokens that no tiny model ends a reply with."""
    return tuple(random.Random(seed).choices(range(3, 256), k=count))


def request(
    name: str,
    tokens: Sequence[int],
    *,
    candidates: int = 1,
    save: bool = False,
    restorable: Restorable | None = None,
) -> EngineRequest:
    return EngineRequest(name, tuple(tokens), _GREEDY, True, 0.0, candidates, save=save, restorable=restorable)


def all_replies(engine: Engine, *requests: EngineRequest) -> dict[tuple[str, int], Reply]:
    """Run ``requests`` at the same time; return each candidate's reply."""
    found = {(new.id, candidate): Reply() for new in requests for candidate in range(new.candidates)}
    for new in requests:
        engine.submit(new)
    for _ in range(_STEPS):
        if not engine.busy:
            return found
        for event in engine.step():
            if isinstance(event, Admitted):
                found[event.request_id, 0].cached = event.cached
                found[event.request_id, 0].restored = event.restored
            elif isinstance(event, Drawn):
                assert event.logprob is not None
                assert math.isfinite(event.logprob)
                found[event.request_id, event.candidate].tokens.append(event.token)
                found[event.request_id, event.candidate].logprobs.append(event.logprob)
            elif isinstance(event, Saved) and not event.branch:
                found[event.request_id, 0].saved = event
    raise AssertionError(f"still busy after {_STEPS} steps")


def reply(engine: Engine, new: EngineRequest) -> Reply:
    return all_replies(engine, new)[new.id, 0]


def difference(one: Reply, other: Reply) -> float:
    """Return by how much the log-probabilities of two replies differ at most, up to where two tokens were equally likely
    and each took another; infinite where the tokens differ otherwise."""
    assert len(one.tokens) == len(other.tokens) == LENGTH
    most = 0.0
    for token, twin, likely, twin_likely in zip(one.tokens, other.tokens, one.logprobs, other.logprobs, strict=True):
        apart = abs(likely - twin_likely)
        most = max(most, apart)
        if token != twin:
            return most if apart < _DRAW and likely < math.log(0.5) + _DRAW else math.inf
    return most

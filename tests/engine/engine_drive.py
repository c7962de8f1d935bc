"""Driving an engine to the end of its work, and looking at what it did."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import llama_cpp

from lmlab.engine import Changed, Drawn, Ended, Engine, EngineEvent, EngineRequest, Refused
from lmlab.llama import Context, DecodeStatus
from lmlab.sampling import DEFAULTS, SamplingParams

OpenEngine = Callable[..., Engine]
GREEDY = SamplingParams(temperature=0.0, seed=1, max_tokens=12).merge(DEFAULTS)
HOT = SamplingParams(temperature=1.5, seed=1, max_tokens=12).merge(DEFAULTS)


def request(
    name: str, tokens: Iterable[int], sampling: SamplingParams = GREEDY, *, candidates: int = 1, **values: object
) -> EngineRequest:
    """A request; ``values`` are sampling parameters that differ from ``sampling``."""
    different = SamplingParams(**values).merge(sampling)  # type: ignore[arg-type]
    return EngineRequest(name, tuple(tokens), different, True, 0.0, candidates)


def noise(count: int, seed: int = 0) -> list[int]:
    """Tokens that no tiny model ends a reply with."""
    return random.Random(seed).choices(range(256), k=count)


@dataclass
class Reply:
    """What was said of one request."""

    events: list[EngineEvent] = field(default_factory=list)

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [event for event in self.events if isinstance(event, kind)]

    def of_candidate(self, candidate: int) -> Reply:
        """What was said of one of several candidates."""
        return Reply([event for event in self.events if getattr(event, "candidate", candidate) == candidate])

    @property
    def tokens(self) -> list[int]:
        return [event.token for event in self.of(Drawn)]

    @property
    def logprobs(self) -> list[float]:
        return [event.logprob for event in self.of(Drawn)]

    @property
    def ended(self) -> Ended:
        (ended,) = self.of(Ended)
        return ended

    @property
    def changed(self) -> list[Changed]:
        return self.of(Changed)

    @property
    def refused(self) -> Refused:
        (refused,) = self.of(Refused)
        return refused


class Drive:
    """Steps ``engine`` and sorts its events by request. ``rows``: how many each decode of the engine was given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.context: Context = engine._context
        self.replies: dict[str, Reply] = {}
        self.rows: list[int] = []
        self.before_decode: Callable[[], None] = lambda: None
        self._decode = self.context.decode
        self.context.decode = self._counted  # type: ignore[method-assign]

    def submit(self, *requests: EngineRequest) -> None:
        for new in requests:
            self.engine.submit(new)

    def step(self) -> list[EngineEvent]:
        events = self.engine.step()
        for event in events:
            self.replies.setdefault(event.request_id, Reply()).events.append(event)
        return events

    def finish(self, *requests: EngineRequest) -> dict[str, Reply]:
        """Submit ``requests`` and step until nothing is left to do."""
        self.submit(*requests)
        for _ in range(3000):
            if not self.engine.busy:
                return self.replies
            self.step()
        raise AssertionError(f"still busy after 3,000 steps: {self.replies}")

    def until(self, name: str, drawn: int) -> None:
        """Step until request ``name`` has drawn ``drawn`` tokens."""
        for _ in range(3000):
            if name in self.replies and len(self.replies[name].tokens) >= drawn:
                return
            self.step()
        raise AssertionError(f"{name} never drew {drawn} tokens")

    def _counted(self) -> DecodeStatus:
        self.before_decode()
        self.rows.append(int(self.context.batch.struct.n_tokens))
        return self._decode()


def alone(engine: Engine, new: EngineRequest) -> Reply:
    """The reply to one request with nothing beside it."""
    return Drive(engine).finish(new)[new.id]


class NodeHook:
    """Calls ``on_node(count)`` after each graph node of a decode, as deep inside llama.cpp as one can get.

    Honours the context's own interrupt flag as well; ``on_node`` returning True interrupts too.
    """

    def __init__(self, context: Context, on_node: Callable[[int], bool]) -> None:
        self.count = 0

        @llama_cpp.ggml_abort_callback
        def callback(_: object) -> bool:
            self.count += 1
            return on_node(self.count) or context._flag.value == b"1"  # type: ignore[attr-defined]

        # As long as the context can call it, it must not be collected.
        context.node_callback = callback  # type: ignore[attr-defined]
        llama_cpp.llama_set_abort_callback(context.pointer, callback, None)


def check_same(one: Reply, other: Reply, *, tolerance: float = 0.1) -> None:
    """The two greedy replies are the same, as far as floats allow, which shift with the shape of a batch.

    From where two tokens were equally likely, and each reply took another, they are not compared.
    """
    assert len(one.tokens) == len(other.tokens)
    for index, (token, twin) in enumerate(zip(one.tokens, other.tokens, strict=True)):
        likely, twin_likely = one.logprobs[index], other.logprobs[index]
        assert abs(likely - twin_likely) < tolerance, f"token {index}"
        if token != twin:
            assert likely < math.log(0.5) + tolerance, f"token {index} is another, and it was no draw"
            return


def check_nothing_left(engine: Engine) -> None:
    """No request runs, every sequence id is free exactly once, and no cells are held but by the prefix cache."""
    context, memory = engine._context, engine._memory
    assert not engine.busy
    assert not engine._running
    assert not engine._groups
    assert sorted(memory._free) == list(range(context.sequences))
    memory.cache.check_integrity()
    for sequence in memory._free:
        assert context.last_position(sequence) == -1
    if engine._policy != "recurrent":
        assert memory.cache.evictable == memory.cache.held, "no lock outlives its request"
    while memory.cache.evict() is not None:
        pass
    assert memory.cache.held == 0
    for sequence in range(256 if engine._policy != "recurrent" else context.sequences):
        assert context.last_position(sequence) == -1

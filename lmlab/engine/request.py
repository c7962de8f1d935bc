"""A request in tokens, what the engine says of it, and its state while it runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lmlab.errors import LmlabError
from lmlab.llama import Sampler
from lmlab.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """``tokens`` to continue, at least one. ``sampling`` is complete. ``received`` is when it came (perf_counter)."""

    id: str
    tokens: tuple[int, ...]
    sampling: SamplingParams
    logprobs: bool
    received: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """It runs. ``cached`` of its tokens are in the KV cache already and will not be decoded again."""

    request_id: str
    cached: int


@dataclass(frozen=True, slots=True)
class Prefilled:
    """``done`` of ``total`` prompt tokens are in the KV cache."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """Token number ``index``. ``end`` marks the model's own end of generation. ``logprob`` is before any sampler."""

    request_id: str
    index: int
    token: int
    end: bool
    logprob: float | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Other sampling is in force from token number ``index`` on."""

    request_id: str
    index: int
    sampling: SamplingParams
    changes: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over. ``drawn`` counts every draw, the end token too; ``held`` the tokens its KV cells hold.

    Seconds: ``first_s`` from receipt to the first token, ``prefill_s`` from admission to it, ``decode_s`` from there to
    the last one, ``total_s`` from receipt to now.
    """

    request_id: str
    reason: Literal["stop", "length", "context", "cancelled"]
    cached: int
    drawn: int
    first_s: float | None
    prefill_s: float
    decode_s: float
    total_s: float
    held: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It could not be done; no other request is touched."""

    request_id: str
    error: LmlabError


EngineEvent: TypeAlias = Admitted | Prefilled | Drawn | Changed | Ended | Refused


@dataclass(slots=True, eq=False)
class Running:
    """A request's state. ``tokens`` grow from the prompt; the first ``computed`` are in the KV cache of ``sequence``."""

    request: EngineRequest
    tokens: list[int]
    sampling: SamplingParams
    sequence: int = -1
    computed: int = 0
    cached: int = 0
    admitted_before: bool = False
    sampler: Sampler | None = None
    pending: SamplingParams | None = None
    started: float = 0.0
    first: float | None = None
    latest: float = 0.0
    ended: bool = False

    @property
    def drawn(self) -> int:
        """Tokens of the reply so far."""
        return len(self.tokens) - len(self.request.tokens)

    @property
    def remaining(self) -> int:
        """Tokens that are known and not yet decoded; one when it is decoding, more while it prefills."""
        return len(self.tokens) - self.computed

    @property
    def decoding(self) -> bool:
        return self.remaining == 1 and self.drawn > 0


@dataclass(slots=True)
class Mailbox:
    """What other threads asked for. deque appends and pops are atomic, so no lock is needed."""

    submitted: deque[EngineRequest] = field(default_factory=deque)
    updates: deque[tuple[str, SamplingParams]] = field(default_factory=deque)
    cancelled: deque[str] = field(default_factory=deque)

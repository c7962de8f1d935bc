"""A request in tokens, what the engine says of it, and the state of each of its candidates while it runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from lmlab.engine.prefix_cache import Lease
from lmlab.engine.speculation import DepthControl, Lookup
from lmlab.errors import LmlabError
from lmlab.llama import Grammar, Sampler
from lmlab.sampling import SamplingParams

Scales: TypeAlias = tuple[float, ...]
"""How strongly each LoRA adapter applies. Cells decoded at other scales are another text's."""

EndReason: TypeAlias = Literal["stop", "length", "context", "cancelled"]


@dataclass(frozen=True, slots=True)
class Restorable:
    """A state outside of this process that begins with ``length`` of a request's tokens.

    ``tokens`` are all that it holds. ``read`` returns its bytes, or None when it cannot be used after all.
    """

    tokens: tuple[int, ...]
    length: int
    read: Callable[[], bytes | memoryview | None]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """``tokens`` to continue, at least one; the last ``replied`` of them are the first of the reply. ``sampling`` is
    complete. ``received`` is when it came (perf_counter).

    ``candidates`` continuations are drawn. ``grammar`` constrains each of them. ``save`` asks for the state at the end.
    ``inspect`` draws nothing: the logits after the last token are the answer. ``watched``: somebody reads its tokens as
    they are drawn, so that pauses between them count.
    """

    id: str
    tokens: tuple[int, ...]
    sampling: SamplingParams
    logprobs: bool
    received: float
    candidates: int = 1
    grammar: Grammar | None = None
    scales: Scales = ()
    restorable: Restorable | None = None
    save: bool = False
    inspect: bool = False
    watched: bool = True
    replied: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """It runs. ``cached`` of its tokens are in the KV cache already and will not be decoded again, ``restored`` of these
    from outside of this process."""

    request_id: str
    cached: int
    restored: int


@dataclass(frozen=True, slots=True)
class Prefilled:
    """``done`` of ``total`` prompt tokens are in the KV cache."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """Token number ``index`` of the reply. ``end`` marks the model's own end of generation. ``logprob`` is before any sampler."""

    request_id: str
    candidate: int
    index: int
    token: int
    end: bool
    logprob: float | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Other sampling is in force from token number ``index`` on, of the first candidate that goes on."""

    request_id: str
    index: int
    sampling: SamplingParams
    changes: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A candidate is over, and with the last one its request. ``drawn`` counts every draw of this candidate, the end
    token too; ``held`` the tokens its KV cells hold; ``drafted`` and ``accepted`` the draft's tokens.

    Seconds: ``first_s`` from receipt to the request's first token, ``prefill_s`` from admission to it, ``decode_s`` from
    there to the last one, ``total_s`` from receipt to now.
    """

    request_id: str
    candidate: int
    reason: EndReason
    cached: int
    restored: int
    drawn: int
    drafted: int | None
    accepted: int | None
    first_s: float | None
    prefill_s: float
    decode_s: float
    total_s: float
    held: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The whole request could not be done; no other is touched."""

    request_id: str
    error: LmlabError


@dataclass(frozen=True, slots=True)
class Peeked:
    """``cached`` of the tokens asked about are in the KV cache and would not be decoded again."""

    request_id: str
    cached: int


@dataclass(frozen=True, slots=True)
class Inspected:
    """The logits after the request's tokens, shape (vocabulary,). It is over."""

    request_id: str
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, repr=False)
class Saved:
    """The state of a request that asked to be saved: ``payload`` restores ``tokens``. A ``branch`` is where it parted from
    another request, and not its end."""

    request_id: str
    tokens: tuple[int, ...]
    scales: Scales
    payload: memoryview
    branch: bool = False


EngineEvent: TypeAlias = Admitted | Prefilled | Drawn | Changed | Ended | Refused | Inspected | Peeked | Saved


@dataclass(slots=True, eq=False)
class Group:
    """What the candidates of one request share. ``live`` are those that have not ended, in order."""

    request: EngineRequest
    live: list[Running] = field(default_factory=list)
    admitted: bool = False
    cached: int = 0
    restored: int = 0
    started: float = 0.0
    first: float | None = None
    latest: float = 0.0


@dataclass(slots=True, eq=False)
class Running:
    """A candidate's state. ``tokens`` grow from the prompt; the first ``computed`` are in the KV cache of ``sequence``,
    and of these the first ``lease.length`` in cells that the prefix cache accounts for."""

    group: Group
    candidate: int
    tokens: list[int]
    sampling: SamplingParams
    sequence: int = -1
    computed: int = 0
    lease: Lease | None = None
    sampler: Sampler | None = None
    pending: SamplingParams | None = None
    ended: bool = False
    lookup: Lookup | None = None
    depth: DepthControl | None = None
    drafted: int = 0
    accepted: int = 0

    @property
    def request(self) -> EngineRequest:
        return self.group.request

    @property
    def drawn(self) -> int:
        """Tokens drawn so far."""
        return len(self.tokens) - len(self.group.request.tokens)

    @property
    def length(self) -> int:
        """Tokens of the reply so far, those that it began with included."""
        return self.group.request.replied + self.drawn

    @property
    def complete(self) -> bool:
        """Whether the reply has as many tokens as it may have."""
        return self.sampling.max_tokens is not None and self.length >= self.sampling.max_tokens

    @property
    def remaining(self) -> int:
        """Tokens that are known and not yet decoded; one when it is decoding, more while it prefills."""
        return len(self.tokens) - self.computed

    @property
    def decoding(self) -> bool:
        return self.remaining == 1 and self.drawn > 0

    @property
    def prefilling(self) -> bool:
        """Whether some of its prompt is still to be decoded."""
        return self.computed < len(self.group.request.tokens)

    @property
    def private(self) -> int:
        """KV cells that only this candidate holds."""
        return self.computed - (self.lease.length if self.lease else 0)

    def end_event(self, reason: EndReason, now: float, *, held: int, speculating: bool) -> Ended:
        """Return what is to be said of its end, ``now``; fields as in Ended."""
        request, group = self.group.request, self.group
        return Ended(
            request_id=request.id,
            candidate=self.candidate,
            reason=reason,
            cached=group.cached,
            restored=group.restored,
            drawn=self.drawn + self.ended,
            drafted=self.drafted if speculating else None,
            accepted=self.accepted if speculating else None,
            first_s=None if group.first is None else group.first - request.received,
            prefill_s=((group.first or now) - group.started) if group.admitted else 0.0,
            decode_s=0.0 if group.first is None else group.latest - group.first,
            total_s=now - request.received,
            held=held,
        )


@dataclass(slots=True)
class Mailbox:
    """What other threads asked for. deque appends and pops are atomic, so no lock is needed."""

    submitted: deque[EngineRequest] = field(default_factory=deque)
    peeks: deque[tuple[str, tuple[int, ...], Scales]] = field(default_factory=deque)
    updates: deque[tuple[str, SamplingParams]] = field(default_factory=deque)
    cancelled: deque[tuple[str, int | None]] = field(default_factory=deque)

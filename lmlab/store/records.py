"""What the store keeps, as frozen values: a session is a tree of turns, a reply says how it came to be.

Knows nothing of SQLite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from lmlab.sampling import SamplingParams
from lmlab.worker.messages import Constraint, FinishReason, Timings, Usage
from lmlab.worker.prompts import Message

Change: TypeAlias = tuple[int, str, Any, Any]
"""``(at_token, name, old, new)``: from that token on, a sampling parameter was another."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text file that went with a message: its name without folders, and what was in it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Candidacy:
    """Where a reply stands among the ``of`` that were drawn at once; ``index`` counts from 0.

    ``logprob`` is the mean log-probability of its tokens; ``score`` (higher is better) and ``note`` are the selector's.
    ``chosen``: this one was kept, by ``selector`` (None: nothing had to choose) and for the reason ``why``.
    """

    index: int
    of: int
    logprob: float | None = None
    score: float | None = None
    note: str = ""
    chosen: bool = False
    selector: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """Where a reply left another: it took the first ``at`` tokens of the turn ``turn``, which may be gone, and then
    one that was picked by hand."""

    turn: int
    at: int


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """The prompt template that a message went through: ``messages`` is what the model sees in place of its text.

    ``fingerprint`` names the template's content. ``stop`` ends a reply to it, ``sampling`` lies under what was asked,
    and ``lead`` is what the reply goes on from. ``variables`` are the inputs beside the message, not to be changed;
    ``pick``, ``pick_seed`` and ``style`` say how the ``shots`` examples were chosen and shown.
    """

    template: str
    fingerprint: str
    technique: str
    shots: int
    variables: Mapping[str, str]
    messages: tuple[Message, ...]
    stop: tuple[str, ...] = ()
    lead: str = ""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    pick: str = "order"
    pick_seed: int = 0
    style: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Everything about a reply but its text. What is not known, or not known yet, is None.

    ``status`` is ``partial`` until the reply has ended; one that stays so was cut off with the program itself.
    ``asked`` is what the person set, ``sampling`` what was in force at the end, complete, with the seed used.
    ``error`` is the line shown for a reply that failed and ``error_type`` its class in lmlab.errors.
    ``versions`` are lmlab's and llama.cpp's. ``candidate`` is None for a reply that was drawn alone; else ``timings``
    are those of all candidates together.
    ``logprobs`` are natural logarithms before any sampler, one a token; NaN is one that is not known. ``branch`` says
    where the reply was branched from, ``constraint`` what it had to look like.
    """

    status: Literal["partial", "done"] = "partial"
    finish_reason: FinishReason | None = None
    tokens: tuple[int, ...] = ()
    asked: SamplingParams = field(default_factory=SamplingParams)
    sampling: SamplingParams | None = None
    changes: tuple[Change, ...] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    context_used: int | None = None
    system: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    template_hash: str | None = None
    versions: tuple[str, str | None] | None = None
    error: str | None = None
    error_type: str | None = None
    candidate: Candidacy | None = None
    logprobs: tuple[float, ...] | None = None
    branch: Branch | None = None
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a session. ``parent`` None is a first message; ``reply`` is None exactly for the user's turns.

    ``prompt`` is the template that a user's message went through, None for one that is sent as it was typed.
    """

    id: int
    session: str
    parent: int | None
    content: str
    created: datetime
    attachments: tuple[Attachment, ...] = ()
    reply: Reply | None = None
    prompt: TemplateUse | None = None

    @property
    def role(self) -> Literal["user", "assistant"]:
        return "user" if self.reply is None else "assistant"


@dataclass(frozen=True, slots=True)
class Pruned:
    """``turn`` and all below it, ``count`` turns, as they were before they were removed from the tree.

    ``rows`` are the store's own; ``leaf`` and ``chosen`` are what the session and the parent pointed at.
    """

    turn: Turn
    rows: tuple[tuple[Any, ...], ...] = field(repr=False)
    leaf: int | None
    chosen: int | None

    @property
    def count(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation. ``id`` is short; ``title`` comes from the first message; ``leaf`` ends the selected path.

    ``model`` is the reference of the model that replied last.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    model: str | None = None
    system: str | None = None
    leaf: int | None = None

"""What the store keeps, as frozen values: a session is a tree of turns, a reply says how it came to be.

Knows nothing of SQLite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from lmlab.sampling import SamplingParams
from lmlab.worker.messages import FinishReason, Timings, Usage

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
class Reply:
    """Everything about a reply but its text. What is not known, or not known yet, is None.

    ``status`` is ``partial`` until the reply has ended; one that stays so was cut off with the program itself.
    ``asked`` is what the person set, ``sampling`` what was in force at the end, complete, with the seed used.
    ``error`` is the line shown for a reply that failed and ``error_type`` its class in lmlab.errors.
    ``versions`` are lmlab's and llama.cpp's. ``candidate`` is None for a reply that was drawn alone; else ``timings``
    are those of all candidates together.
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


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a session. ``parent`` None is a first message; ``reply`` is None exactly for the user's turns."""

    id: int
    session: str
    parent: int | None
    content: str
    created: datetime
    attachments: tuple[Attachment, ...] = ()
    reply: Reply | None = None

    @property
    def role(self) -> Literal["user", "assistant"]:
        return "user" if self.reply is None else "assistant"


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

"""What a chat tells its front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.backends import Event, Status
from lmlab.errors import LmlabError
from lmlab.models import Progress
from lmlab.store import Turn


@dataclass(frozen=True, slots=True)
class Fetching:
    """A model file is being fetched."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The model could not be found, fetched or read. The one open before, if any, stays open."""

    error: LmlabError


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the person."""

    text: str


@dataclass(frozen=True, slots=True)
class SaveFailed:
    """The store could not write; the reply goes on, and what is unsaved is tried again at the next write."""

    error: LmlabError


@dataclass(frozen=True, slots=True)
class Drawing:
    """Several candidates are asked for; until the choice their tokens come mixed."""

    request_id: str
    candidates: int


@dataclass(frozen=True, slots=True)
class Choosing:
    """All candidates have ended, and the selector takes its time."""

    request_id: str
    selector: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of several candidates is the reply, in the ``turn`` that is now selected; its Finished follows."""

    request_id: str
    turn: Turn


@dataclass(frozen=True, slots=True)
class SelectorFailed:
    """The model that should choose could not be opened; each reply tries it again."""

    error: LmlabError


@dataclass(frozen=True, slots=True)
class BranchRefused:
    """A reply cannot begin as its branch would have it. Nothing is left of that: the chat goes on from where it was."""

    request_id: str
    error: LmlabError


# Status is Loading | Ready | Stopped of backends; Event is Started | Prefill | Token | Applied | CandidateEnded | Finished | Failed
ChatEvent: TypeAlias = (
    Fetching
    | ModelFailed
    | Notice
    | SaveFailed
    | SelectorFailed
    | Drawing
    | Choosing
    | Chosen
    | BranchRefused
    | Status
    | Event
)

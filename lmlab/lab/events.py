"""What a chat tells its front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.backends import Event, Status
from lmlab.errors import LmlabError
from lmlab.models import Progress


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


# Status is Loading | Ready | Stopped of backends; Event is Started | Prefill | Token | Applied | Finished | Failed
ChatEvent: TypeAlias = Fetching | ModelFailed | Notice | SaveFailed | Status | Event

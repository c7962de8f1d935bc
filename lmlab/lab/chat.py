"""A chat, headless: one session, one model, one reply at a time. Both chats on screen are made of this.

CONTRACT (to be implemented; signatures are fixed, bodies are not here yet)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lmlab.backends import Event, ModelInfo, Status
from lmlab.errors import LmlabError
from lmlab.models import ModelFile, Progress
from lmlab.sampling import SamplingParams
from lmlab.store import Session, Store, Turn


@dataclass(frozen=True, slots=True)
class Fetching:
    """A model file is being fetched."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The model could not be found, fetched or read; the chat goes on without one until another is opened."""

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

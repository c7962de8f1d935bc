"""What lab talks to. A Backend is one model, loaded or loading, that takes requests and answers with events.

Callbacks are called one at a time on a thread of the backend's own; they must be quick and must not raise. Nothing here
knows whether a process, a network or a test stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams
from lmlab.worker.messages import Event, Loading, ModelInfo, Question, Ready, Request

EventSink: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The engine is gone; ``error`` says why. The next request starts it again, unless the model cannot be loaded."""

    error: LmlabError


Status: TypeAlias = Loading | Ready | Stopped
StatusSink: TypeAlias = Callable[[Status], None]


class Handle(Protocol):
    """A request under way."""

    def update(self, sampling: SamplingParams) -> None:
        """Ask for other sampling from the next token on; an Applied event follows. No effect once it has ended."""

    def cancel(self, candidate: int | None = None) -> None:
        """End it, or one candidate of it, as soon as can be, also inside a prefill; its end, ``cancelled``, follows."""


class Backend(Protocol):
    def start(self) -> None:
        """Begin loading and return at once. Does nothing when loading or loaded."""

    def wait_ready(self) -> ModelInfo:
        """Start if need be and block until loaded. Raises ModelLoadError or EngineStopped."""

    def generate(self, request: Request, sink: EventSink) -> Handle:
        """Queue a request and return at once; it waits for a model that is loading.

        ``sink`` gets exactly one Finished or Failed, last. A dead engine is started again first.
        """

    def ask(self, command: Question, sink: EventSink) -> None:
        """Ask what is answered by one event, and return at once. ``sink`` gets one Answer or Failed."""

    def close(self) -> None:
        """End everything and give back the memory. Requests under way fail with EngineStopped."""

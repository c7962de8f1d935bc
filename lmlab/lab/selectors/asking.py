"""Many short requests to one model at once, and their replies: what a judge needs. Knows nothing of what they say."""

from __future__ import annotations

import itertools
import queue
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lmlab.backends import Backend, Event, Failed, Finished, Handle, Prompt, Request
from lmlab.errors import EngineStopped, LmlabError, PromptError
from lmlab.lab.gather import Gather
from lmlab.sampling import SamplingParams

Reply: TypeAlias = str | PromptError
"""What a model said, or why it could not be asked."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One request to make."""

    prompt: Prompt
    sampling: SamplingParams


@dataclass(slots=True)
class Asker:
    """Sends requests together, so that the engine batches them and decodes what they begin with once.

    May be used by several threads at once.
    """

    backend: Backend
    _prefix: str = field(default_factory=lambda: f"ask-{secrets.token_hex(4)}")
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _under_way: dict[str, Handle] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def ask(self, askings: Sequence[Asking]) -> list[Reply]:
        """Return the replies in order. Raises LmlabError when the model can answer none: stopped, or closed here."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        names = [f"{self._prefix}-{next(self._numbers)}" for _ in askings]
        gathers = {name: Gather(1, lambda text: text) for name in names}
        try:
            for name, asking in zip(names, askings, strict=True):
                self._send(Request(name, asking.prompt, asking.sampling, stream=False), events)
            open_ends = len(names)
            while open_ends:
                event = events.get()
                gathers[event.request_id].fold(event)
                open_ends -= isinstance(event, Finished | Failed)
        finally:
            with self._lock:
                handles = {name: self._under_way.pop(name) for name in names if name in self._under_way}
            for name, handle in handles.items():
                # Only when the wait was broken off.
                if not gathers[name].over:
                    handle.cancel()
        return [_reply(gathers[name]) for name in names]

    def close(self) -> None:
        """End what is under way: whoever waits for it gets EngineStopped."""
        with self._lock:
            self._closed = True
            handles = list(self._under_way.values())
        for handle in handles:
            handle.cancel()

    def _send(self, request: Request, events: queue.SimpleQueue[Event]) -> None:
        # A lock is not held while a backend is called: its sinks run on threads of its own.
        handle = self.backend.generate(request, events.put)
        with self._lock:
            self._under_way[request.id] = handle
            closed = self._closed
        if closed:
            handle.cancel()


def _reply(gather: Gather) -> Reply:
    if isinstance(gather.failed, PromptError):
        return gather.failed
    if gather.failed is not None:
        raise gather.failed
    (candidate,) = gather.ended
    if candidate.reason == "cancelled":
        raise EngineStopped("the judging was stopped")
    return candidate.text


def raise_if_all_failed(replies: Sequence[Reply]) -> None:
    """Raise the first error when there is nothing else."""
    errors: list[LmlabError] = [reply for reply in replies if isinstance(reply, PromptError)]
    if errors and len(errors) == len(replies):
        # Else its numbers would be read as those of the reply's own prompt.
        raise PromptError(f"the judge cannot be asked: {errors[0]}")

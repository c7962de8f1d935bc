"""What tests of the local backend share: a sink and a status sink that remember, and waiting with an end."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmlab.backends import (
    CandidateEnded,
    Distribution,
    Event,
    Failed,
    Finished,
    Inspect,
    LoadSpec,
    Prompt,
    Question,
    Request,
    Reweigh,
    Started,
    Status,
    Stopped,
    TextPrompt,
    Token,
)
from lmlab.backends.local import LocalBackend, LocalHandle
from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams

unix = pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals and sockets")
LIMIT_S = 120.0
GREEDY = SamplingParams(temperature=0.0)


def wait_until(predicate: Callable[[], bool]) -> None:
    """Poll until ``predicate`` holds, for what nothing notifies of."""
    end = time.monotonic() + LIMIT_S
    while not predicate():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.01)


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False
    return True


@dataclass(eq=False)
class Reply:
    """The events of one request. ``on_event`` is called on the backend's thread, before a test that waits goes on."""

    handle: LocalHandle
    on_event: Callable[[Event], None] | None = None
    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[Event], bool]) -> Event:
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(predicate, self.events)), LIMIT_S), self.events[-3:]
            return next(filter(predicate, self.events))

    def end(self) -> Finished | Failed:
        event = self.wait_for(lambda event: isinstance(event, Finished | Failed))
        assert isinstance(event, Finished | Failed)
        assert self.events[-1] is event
        return event

    def finished(self) -> Finished:
        event = self.end()
        assert isinstance(event, Finished), event
        return event

    def error(self) -> LmlabError:
        event = self.end()
        assert isinstance(event, Failed), event
        return event.error

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.events if isinstance(event, Token)]

    def ends(self) -> list[CandidateEnded]:
        """Each candidate's end, by number, once all have ended."""
        self.end()
        ended = [event for event in self.events if isinstance(event, CandidateEnded)]
        return sorted(ended, key=lambda event: event.candidate)

    def text_of(self, candidate: int) -> str:
        end = self.ends()[candidate]
        return "".join(token.text for token in self.tokens if token.candidate == candidate) + end.tail

    @property
    def text(self) -> str:
        tail = self.finished().tail
        return "".join(token.text for token in self.tokens) + tail


class Bench:
    """A backend, what it said of itself, and requests to it. ``on_status`` may act on the backend's thread."""

    def __init__(self, path: Path | str, log_folder: Path, context: int = 1024, **options: object) -> None:
        self.logs = log_folder
        self.statuses: list[Status] = []
        self.on_status: Callable[[Status], None] = lambda _status: None
        # One thread: tests run beside other programs, and threads that spin for a busy core are slow.
        spec = LoadSpec(str(path), context=context, gpu_layers=0, threads=1, **options)  # type: ignore[arg-type]
        self.backend = LocalBackend(spec, self._status, log_folder=log_folder)
        self._count = 0

    def _status(self, status: Status) -> None:
        self.statuses.append(status)
        self.on_status(status)

    @property
    def workers(self) -> int:
        """How many workers were started: each has a log."""
        return len(list(self.logs.glob("worker-*.log")))

    @property
    def stops(self) -> list[LmlabError]:
        return [status.error for status in self.statuses if isinstance(status, Stopped)]

    @property
    def pid(self) -> int:
        pid = self.backend.worker_pid
        assert pid is not None
        return pid

    def ask(
        self,
        prompt: Prompt | str,
        sampling: SamplingParams = GREEDY,
        *,
        logprobs: bool = False,
        on_event: Callable[[LocalHandle, Event], None] | None = None,
        options: Mapping[str, object] = {},
        **values: object,
    ) -> Reply:
        """Send a request; ``on_event`` gets its handle too. ``options`` are the request's, ``values`` are more sampling
        parameters."""
        self._count += 1
        handle = LocalHandle(self.backend, f"request {self._count}")
        reply = Reply(handle, None if on_event is None else lambda event: on_event(handle, event))
        asked = TextPrompt(prompt) if isinstance(prompt, str) else prompt
        given = SamplingParams(**values).merge(sampling)  # type: ignore[arg-type]
        new = Request(handle.request_id, asked, given, logprobs, **options)  # type: ignore[arg-type]
        assert self.backend.generate(new, reply) == handle
        return reply

    def look(self, command: Inspect | Reweigh) -> Distribution | Failed:
        """Ask what was weighed at one place, and wait for the answer."""
        answer = self.answer(command)
        assert isinstance(answer, Distribution | Failed)
        return answer

    def answer(self, command: Question) -> Event:
        """Ask, and wait for the answer."""
        answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.backend.ask(command, answers.put)
        return answers.get(timeout=LIMIT_S)

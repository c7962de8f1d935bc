"""A question to the whole program, as chat and run put it: a worker, the engine, its cache, and its snapshots on disk.

What is measured is what a person waits for, from here to the first token and back.
"""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lmlab.backends import Encode, Encoded, Event, Failed, Finished, LoadSpec, Request, Snapshots, TextPrompt, Token
from lmlab.backends.local import LocalBackend
from lmlab.lab.bench.process_memory import ProcessMemory, memory_of
from lmlab.lab.bench.question_text import question_text
from lmlab.sampling import SamplingParams

WAIT_S = 0.1
_SESSION = "bench"
_NEXT_WORDS = 20
_SNAPSHOT_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """``first_s``: seconds from the question to the first token. ``rate``: tokens per second after it, None of a single one.

    Of ``prompt`` tokens ``cached`` were not read again, of which ``restored`` came from disk.
    """

    first_s: float
    rate: float | None
    prompt: int
    cached: int
    restored: int
    text: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A question never seen before, another that goes on from its answer, and one that does after the worker was
    started again; None when nothing is kept on disk. ``memory``: of the worker, after the second."""

    load_s: float
    first: Answer
    again: Answer
    from_disk: Answer | None
    memory: ProcessMemory | None


def measure_whole(
    spec: LoadSpec,
    *,
    question: int,
    reply: int,
    number: int,
    log_folder: Path,
    cancelled: Callable[[], bool],
) -> Whole | None:
    """Ask about ``question`` tokens and have ``reply`` written; ``number`` says which question. None once ``cancelled``.

    Raises what loading or answering raises.
    """
    asked = SamplingParams(temperature=0.0, max_tokens=reply)
    with tempfile.TemporaryDirectory(prefix="lmlab-bench-") as folder:
        if spec.reuse and not spec.deterministic:
            spec = replace(spec, snapshots=Snapshots(folder, _SNAPSHOT_BYTES))
        begin = time.perf_counter()
        with closing(_Asked(spec, log_folder, cancelled)) as program:
            text = program.text_of(question, number)
            load_s = time.perf_counter() - begin
            first = None if text is None else program.answer(text, asked)
            if text is None or first is None:
                return None
            text += first.text + "\n\n" + question_text(_NEXT_WORDS, number + 1)
            again = program.answer(text, asked)
            if again is None:
                return None
            memory = program.memory()
        if spec.snapshots is None:
            return Whole(load_s, first, again, None, memory)
        with closing(_Asked(spec, log_folder, cancelled)) as program:
            text += again.text + "\n\n" + question_text(_NEXT_WORDS, number + 2)
            # So that the model has been loaded when the time begins.
            if program.count(text) is None or (later := program.answer(text, asked)) is None:
                return None
            return Whole(load_s, first, again, later if later.restored else None, memory)


class _Asked:
    """A model in a worker, asked one thing at a time; every answer is None once ``cancelled``."""

    def __init__(self, spec: LoadSpec, log_folder: Path, cancelled: Callable[[], bool]) -> None:
        self._backend = LocalBackend(spec, lambda status: None, log_folder=log_folder)
        self._cancelled = cancelled
        self._sent = 0

    def count(self, text: str) -> int | None:
        """Return how many tokens ``text`` has, once the model is loaded."""
        events = self._events()
        self._backend.ask(Encode(self._name(), TextPrompt(text)), events.put)
        event = self._next(events)
        if event is None:
            return None
        assert isinstance(event, Encoded)
        return len(event.tokens)

    def text_of(self, tokens: int, number: int) -> str | None:
        """Return a text of about so many tokens."""
        counted = self.count(question_text(tokens, number))
        return None if counted is None else question_text(max(1, tokens * tokens // counted), number)

    def answer(self, text: str, asked: SamplingParams) -> Answer | None:
        events = self._events()
        begin = time.perf_counter()
        first = last = 0.0
        tokens, pieces = 0, []
        self._backend.generate(Request(self._name(), TextPrompt(text), asked, session=_SESSION), events.put)
        while (event := self._next(events)) is not None:
            now = time.perf_counter()
            if isinstance(event, Token | Finished) and not first:
                first = now - begin
            if isinstance(event, Token):
                tokens, last = tokens + 1, now - begin
                pieces.append(event.text)
            if isinstance(event, Finished):
                usage = event.usage
                rate = (tokens - 1) / (last - first) if tokens > 1 and last > first else None
                text = "".join(pieces) + event.tail
                return Answer(first, rate, usage.prompt_tokens, usage.cached_tokens, usage.restored_tokens, text)
        return None

    def memory(self) -> ProcessMemory | None:
        pid = self._backend.worker_pid
        return None if pid is None else memory_of(pid)

    def close(self) -> None:
        self._backend.close()

    def _name(self) -> str:
        self._sent += 1
        return f"bench-{self._sent}"

    def _events(self) -> queue.SimpleQueue[Event]:
        return queue.SimpleQueue()

    def _next(self, events: queue.SimpleQueue[Event]) -> Event | None:
        while not self._cancelled():
            try:
                event = events.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            if isinstance(event, Failed):
                raise event.error
            return event
        return None

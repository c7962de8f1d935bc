"""The workers of a comparison: one for each model as it is loaded, with memory and threads shared out among them.

Knows nothing of prompts or answers.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from lmlab.backends import Backend, LoadSpec, ModelInfo, Ready, Status, StatusSink
from lmlab.errors import LmlabError, ModelLoadError
from lmlab.lab.batch.lane import Inbox, await_ready
from lmlab.lab.compare.contender import Contender, taken, together
from lmlab.models.progress import size_text


@dataclass(frozen=True, slots=True)
class Opening:
    """What a worker says of itself; ``variants`` are the columns it answers for."""

    variants: tuple[int, ...]
    status: Status


def number_workers(loads: Sequence[LoadSpec]) -> list[int]:
    """Return which worker serves each: what is loaded alike shares one."""
    numbers: dict[LoadSpec, int] = {}
    return [numbers.setdefault(load, len(numbers)) for load in loads]


def share_threads(workers: int, cores: int) -> list[int]:
    """Return the threads of each of ``workers`` that run at the same time: together no more than ``cores``, if they can.

    Threads of one step wait for each other: more of them than cores would wait for those that have none.
    """
    each, rest = divmod(cores, workers)
    return [max(1, each + (number < rest)) for number in range(workers)]


class Workers:
    """Opens and closes the workers of ``contenders``. ``at_once``: all are open together, so they share the cores.

    ``listener`` is called on the workers' own threads.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        *,
        opener: Callable[[LoadSpec, StatusSink], Backend],
        listener: Callable[[Opening], None],
        at_once: bool,
    ) -> None:
        self._contenders = contenders
        self._opener = opener
        self._listener = listener
        self._open: dict[int, Backend] = {}
        self._closing: set[int] = set()
        self._opening: Inbox | None = None
        self._cancelled = False
        self.count = max(one.worker for one in contenders) + 1
        shares = share_threads(self.count, cores()) if at_once and self.count > 1 else [None] * self.count
        self._threads: list[int | None] = list(shares)

    def cancel(self) -> None:
        """Wait for no model that is loading. May be called from a signal handler."""
        self._cancelled = True
        if (inbox := self._opening) is not None:
            inbox.put(None)

    def check_each(self) -> bool:
        """Load each alone, and close it again. Returns False when cancelled. Raises what ``open_all`` raises."""
        problems: list[tuple[str, LmlabError]] = []
        for number in range(self.count):
            try:
                if self.open(number) is None:
                    return False
            except LmlabError as error:
                problems.append((self._names(number), error))
            finally:
                self.close()
        if problems:
            raise together(problems, len(self._contenders), "be loaded")
        return True

    def open_all(self) -> bool:
        """Load one after the other, each only where there is room beside those before it. Returns False when cancelled.

        Raises LmlabError that says of each that cannot be loaded why; none is open then.
        """
        problems: list[tuple[str, LmlabError]] = []
        room: int | None = None
        try:
            for number in range(self.count):
                try:
                    self._check_room(number, room)
                    info = self.open(number)
                    if info is None:
                        self.close()
                        return False
                    room = self._room_left(number, info, room)
                except LmlabError as error:
                    problems.append((self._names(number), self._advised(error)))
            if problems:
                raise together(problems, len(self._contenders), "be loaded")
        except BaseException:
            self.close()
            raise
        return True

    def open(self, number: int) -> ModelInfo | None:
        """Load one worker; None when cancelled. Raises LmlabError when it cannot be loaded."""
        mine = self._of(number)
        columns = tuple(one.index for one in mine)
        load = mine[0].plan.load
        if load.threads is None:
            load = replace(load, threads=self._threads[number])
        inbox: Inbox = queue.SimpleQueue()
        self._opening = inbox
        self._closing.discard(number)

        def hear(status: Status) -> None:
            inbox.put(status)
            if isinstance(status, Ready):
                for one in mine:
                    one.info = status.info
            # That it ends when it is told to is no news.
            if number not in self._closing:
                self._listener(Opening(columns, status))

        backend = self._opener(load, hear)
        self._open[number] = backend
        try:
            ready = None if self._cancelled else await_ready(backend, inbox, lambda status: None)
        except LmlabError:
            self._close(number)
            raise
        finally:
            self._opening = None
        if ready is None:
            self._close(number)
            return None
        for one in mine:
            one.backend, one.info = backend, ready.info
        return ready.info

    def close(self) -> None:
        """End all that are open."""
        for number in tuple(self._open):
            self._close(number)

    def _close(self, number: int) -> None:
        backend = self._open.pop(number)
        self._closing.add(number)
        for one in self._of(number):
            one.backend = None
        backend.close()

    def _of(self, number: int) -> list[Contender]:
        return [one for one in self._contenders if one.worker == number]

    def _names(self, number: int) -> str:
        return ", ".join(one.label for one in self._of(number))

    def _check_room(self, number: int, room: int | None) -> None:
        """Raise ModelLoadError when the weights alone are more than what those before leave.

        The worker measures before it loads, too. But weights mapped from a file count as free memory there, though the
        models that read them are to stay.
        """
        header = self._of(number)[0].plan.model.header
        if room is not None and header.size > room:
            raise ModelLoadError(
                f"its weights take {size_text(header.size)} of memory, and the models before it leave {size_text(max(0, room))}"
            )

    def _room_left(self, number: int, info: ModelInfo, room: int | None) -> int | None:
        """Return what is left beside this one, in bytes; None where that is not known, as when layers lie on a GPU."""
        if info.gpu_layers:
            return None
        left = (info.layout.available if room is None else room) - taken(info.layout)
        if room is not None and left < 0:
            self._close(number)
            raise ModelLoadError(
                f"it takes {size_text(taken(info.layout))} of memory (weights {size_text(info.layout.weights)}, KV cache "
                f"{size_text(info.layout.kv)}, buffers {size_text(info.layout.compute)}), and the models before it leave "
                f"{size_text(max(0, room))}"
            )
        return left

    def _advised(self, error: LmlabError) -> LmlabError:
        """Return ``error``, with the way out where another model takes the room."""
        if self._open and isinstance(error, ModelLoadError):
            beside = ", ".join(self._names(number) for number in self._open)
            return ModelLoadError(f"{error} (beside {beside}; --sequential loads one at a time)")
        return error


def cores() -> int:
    """Return how many physical cores this process may run on, as far as that can be told."""
    # Imported here: slow, and only needed where several models run at once.
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    with suppress(AttributeError):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical

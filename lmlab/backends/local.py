"""A model in a worker process of its own on this machine: requests in, events out, and a new worker after a crash.

Knows nothing of what the worker does inside.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.base import EventSink, StatusSink, Stopped
from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped, LmlabError, UsageError
from lmlab.sampling import SamplingParams
from lmlab.worker.messages import (
    Answer,
    Cancel,
    Command,
    Events,
    Failed,
    Finished,
    Generate,
    Load,
    LoadFailed,
    Loading,
    LoadSpec,
    ModelInfo,
    Question,
    Ready,
    Request,
    Update,
)


@dataclass(frozen=True, slots=True)
class LocalHandle:
    """A request in a worker. Once it has ended, both calls do nothing."""

    backend: LocalBackend
    request_id: str

    def update(self, sampling: SamplingParams) -> None:
        self.backend.post(Update(self.request_id, sampling))

    def cancel(self, candidate: int | None = None) -> None:
        self.backend.post(Cancel(self.request_id, candidate))


class LocalBackend:
    """One model file in one worker at a time. ``log_folder`` gets the workers' logs."""

    def __init__(self, spec: LoadSpec, on_status: StatusSink, *, log_folder: Path) -> None:
        self._spec = spec
        self._on_status = on_status
        self._log_folder = log_folder
        self._changed = threading.Condition(threading.RLock())
        self._sinks: dict[str, EventSink] = {}
        # The commands of each request that no worker has answered with anything yet, in order, and which of these
        # requests a worker has died of, perhaps.
        self._unheard: dict[str, list[Command]] = {}
        self._suspect: set[str] = set()
        self._connection: Connection | None = None
        self._process: WorkerProcess | None = None
        self._thread: threading.Thread | None = None
        self._serving = False
        self._info: ModelInfo | None = None
        self._error: LmlabError | None = None
        self._closed = False

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id while there is one."""
        process = self._process
        return process.pid if process else None

    def start(self) -> None:
        with self._changed:
            self._start()

    def _start(self) -> None:
        if self._closed:
            raise UsageError("this model has been closed; open it again")
        if not self._serving:
            self._serving = True
            self._error = None
            self._thread = threading.Thread(target=self._run, args=(self._thread,), daemon=True, name="worker-reader")
            self._thread.start()

    def wait_ready(self) -> ModelInfo:
        with self._changed:
            self._start()
            self._changed.wait_for(lambda: self._info or self._error)
            if self._info is None:
                raise self._error or EngineStopped("the engine stopped while it loaded the model")
            return self._info

    def generate(self, request: Request, sink: EventSink) -> LocalHandle:
        with self._changed:
            self._start()
            self._sinks[request.id] = sink
            self._unheard[request.id] = []
            self.post(Generate(request))
        return LocalHandle(self, request.id)

    def ask(self, command: Question, sink: EventSink) -> None:
        with self._changed:
            self._start()
            self._sinks[command.request_id] = sink
            self._unheard[command.request_id] = []
            self.post(command)

    def post(self, command: Command) -> None:
        """Send ``command`` to the worker, now or as soon as it listens; drop it when its request has ended."""
        request_id = command.request.id if isinstance(command, Generate) else command.request_id
        with self._changed:
            if request_id not in self._sinks:
                return
            if request_id in self._unheard:
                self._unheard[request_id].append(command)
            if self._connection is not None:
                try:
                    self._connection.send(command)
                except OSError:
                    # It has just died, and the reader is about to learn it.
                    return

    def close(self) -> None:
        with self._changed:
            self._closed = True
            process, thread = self._process, self._thread
        if process is not None:
            process.end()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, previous: threading.Thread | None) -> None:
        """Be the reader of one worker after another, until there is nothing left to do for one."""
        if previous is not None:
            # It may still be telling what was lost, and callbacks come one at a time.
            previous.join()
        serving = True
        while serving:
            try:
                error = self._serve()
            # A callback raised: a defect, whose traceback goes where all such go; who waits here must still be told.
            except Exception as unforeseen:  # noqa: BLE001
                error = EngineStopped(f"the engine was stopped by a defect of lmlab: {unforeseen!r}")
                hook = (type(unforeseen), unforeseen, unforeseen.__traceback__, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(hook))
            if self._closed:
                error = EngineStopped("the model was closed")
            self._on_status(Stopped(error))
            with self._changed:
                self._connection = self._process = self._info = None
                # What the dead worker had not answered goes to the next one, once: it may be what killed it.
                again = self._unheard.keys() - self._suspect
                if self._closed or not isinstance(error, EngineStopped):
                    again = set()
                self._suspect = again
                self._unheard = {
                    request_id: self._unheard[request_id] for request_id in self._unheard if request_id in again
                }
                lost = {request_id: sink for request_id, sink in self._sinks.items() if request_id not in again}
                for request_id in lost:
                    del self._sinks[request_id]
                serving = self._serving = bool(again)
                if not serving:
                    self._error = error
                    self._changed.notify_all()
            for request_id, sink in lost.items():
                sink(Failed(request_id, error))

    def _serve(self) -> LmlabError:
        """Start a worker and pass on what it says until it ends; return why it did."""
        try:
            process = WorkerProcess(self._log_folder)
        except LmlabError as error:
            return error
        with self._changed:
            self._process = process
        if self._closed:
            process.end(0)
            return EngineStopped("the model was closed")
        self._on_status(Loading(0.0))
        try:
            with process.connect() as connection:
                connection.send(Load(self._spec))
                with self._changed:
                    self._connection = connection
                    for command in itertools.chain.from_iterable(self._unheard.values()):
                        connection.send(command)
                while True:
                    refused = self._take(connection.recv())
                    if refused is not None:
                        return refused
        except EngineStopped as error:
            return error
        except (EOFError, OSError):
            return process.explain()
        finally:
            with self._changed:
                self._connection = None
            process.end()

    def _take(self, report: object) -> LmlabError | None:
        """Pass on one report; return the error that ends the worker's life, if this is one."""
        match report:
            case Events(events):
                for event in events:
                    with self._changed:
                        ended = isinstance(event, Finished | Failed | Answer)
                        sink = self._sinks.pop(event.request_id, None) if ended else self._sinks.get(event.request_id)
                        self._unheard.pop(event.request_id, None)
                    if sink is not None:
                        sink(event)
            case Loading():
                self._on_status(report)
            case Ready(info):
                with self._changed:
                    self._info = info
                    self._changed.notify_all()
                self._on_status(report)
            case LoadFailed(error):
                return error
        return None

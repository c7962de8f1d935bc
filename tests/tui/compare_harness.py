"""The compare screen at a table: a real comparison and record over fake workers, and what is on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_models import fake_header
from screen_harness import Clock, screen_text
from textual.pilot import Pilot

from lmlab.backends import LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import Row
from lmlab.lab.compare.case import Case, cases
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.record import Record
from lmlab.lab.compare.sitting import Sitting, SittingEvent
from lmlab.lab.task import Task
from lmlab.models import ModelFile
from lmlab.sampling import SamplingParams
from lmlab.tui.compare.app import CompareApp
from lmlab.tui.history import History
from lmlab.tui.inbox import Inbox

_PATIENCE_S = 20.0


def prompts(*texts: str) -> list[Case]:
    rows = [Row(number, number, {"prompt": text}, None, 0) for number, text in enumerate(texts, 1)]
    return list(cases(rows))


@dataclass
class Table:
    """``models`` has a name for each variant; those of one name share a worker. ``prepare`` gets each fake as it opens."""

    folder: Path
    models: Sequence[str] = ("calm", "hot")
    auto: bool = True
    blind: bool = False
    sequential: bool = False
    asked: Sequence[Case] = ()
    prepare: Callable[[FakeBackend], None] = lambda backend: None
    backends: dict[str, FakeBackend] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    @property
    def record(self) -> Path:
        return self.folder / "record.jsonl"

    def plans(self) -> list[Plan]:
        return [self._plan(name, number) for number, name in enumerate(self.models)]

    def make(self, listener: Any) -> Comparison:
        plans = self.plans()
        runs = [plan.fingerprint() for plan in plans]
        self.held = Record(self.record, runs)
        if self.held.empty:
            self.held.begin({"variants": [{"run": run} for run in runs]})
        return Comparison(
            plans,
            record=self.held,
            opener=self._open,
            resolve=lambda ref: plans[0].model,
            template_folder=None,
            listener=listener,
            sequential=self.sequential,
        )

    @contextmanager
    def app(self) -> Iterator[CompareApp]:
        """The screen, with its workers until it is left."""
        inbox: Inbox[SittingEvent] = Inbox()
        self.sitting = Sitting(self.make, inbox.put)
        app = CompareApp(
            self.sitting,
            inbox,
            iter(self.asked),
            History(self.folder / "history"),
            blind=self.blind,
            clock=self.clock,
        )
        app.prompt.cursor_blink = False
        try:
            yield app
        finally:
            self.sitting.close()
            self.held.close()

    @asynccontextmanager
    async def run(self, size: tuple[int, int] = (120, 36), *, loads: bool = True) -> Any:
        with self.app() as app:
            async with app.run_test(size=size) as pilot:
                if loads:
                    await self.wait_until(pilot, lambda: app.state.ready)
                yield pilot

    async def load(self, pilot: Pilot[Any]) -> None:
        """Let each model be loaded in its turn, where the fakes wait to be told."""
        app = pilot.app
        assert isinstance(app, CompareApp)
        for name in dict.fromkeys(self.models):
            await self.wait_until(pilot, lambda name=name: name in self.backends)  # type: ignore[misc]
            self.backends[name].ready()
        await self.wait_until(pilot, lambda: app.state.ready)

    async def wait_until(self, pilot: Pilot[Any], predicate: Callable[[], bool]) -> None:
        """Let the app work until ``predicate`` holds."""
        deadline = time.monotonic() + _PATIENCE_S
        while not predicate():
            assert time.monotonic() < deadline, f"it did not come to pass; on the screen:\n{screen_text(pilot.app)}"
            self.clock.now += 1.0
            await pilot.pause()

    async def ask(self, pilot: Pilot[Any], text: str) -> None:
        """Type a prompt and wait until every answer is in."""
        app = pilot.app
        assert isinstance(app, CompareApp)
        if app.focused is not app.prompt:
            await pilot.press("tab")
        app.prompt.insert(text)
        before = app.state.number
        await pilot.press("enter")
        await self.wait_until(pilot, lambda: app.state.number == before + 1)
        await self.all_in(pilot)

    async def all_in(self, pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, CompareApp)
        await self.wait_until(pilot, lambda: app.state.case is not None and not app.state.asking)
        self.clock.now += 1.0
        app.catch_up()
        await pilot.pause()

    def _plan(self, name: str, number: int) -> Plan:
        path = self.folder / f"{name}.gguf"
        path.write_bytes(b"GGUF" + name.encode())
        return Plan(
            label=f"{name}-{number}",
            model=ModelFile(name, path, fake_header(name=name), None),
            load=LoadSpec(str(path)),
            task=Task(),
            asked=SamplingParams(temperature=number / 10),
            seed=0,
        )

    def _open(self, spec: LoadSpec, on_status: StatusSink) -> FakeBackend:
        name = Path(spec.path).stem
        backend = self.backends[name] = FakeBackend(spec, on_status, auto=self.auto)
        self.opened.append(name)
        self.prepare(backend)
        return backend

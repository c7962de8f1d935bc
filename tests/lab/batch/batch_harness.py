"""A batch on fake models: plans, rows and outputs for tests of what runs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_models import fake_header

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.lab.batch.output import Output
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.runner import BatchEvent, BatchRun
from lmlab.lab.batch.summary import Summary
from lmlab.lab.task import Task
from lmlab.models import ModelFile
from lmlab.sampling import SamplingParams


def model_file(path: Path, *, chat: bool = True) -> ModelFile:
    """Return a model whose file holds its own path: each is another one."""
    path.write_bytes(str(path).encode())
    header = fake_header(chat_template="{{ messages }}" if chat else None)
    return ModelFile(path.stem, path, header, None)


def rows(*values: dict[str, Any]) -> list[Row | BadRow]:
    """Return rows of a file, a line each."""
    return [
        Row(number, number, value, None if value.get("id") is None else str(value["id"]), number * 10)
        for number, value in enumerate(values, 1)
    ]


def prompts(count: int) -> list[Row | BadRow]:
    return rows(*({"id": f"r{number}", "prompt": f"Say {number}"} for number in range(count)))


@dataclass
class Bench:
    """Runs batches over fakes. ``prepare`` gets each backend as it is opened."""

    folder: Path
    prepare: Callable[[FakeBackend], None] = lambda backend: None
    auto: bool = True
    backends: list[FakeBackend] = field(default_factory=list)
    events: list[BatchEvent] = field(default_factory=list)
    on_event: Callable[[BatchEvent], None] = lambda event: None
    last: BatchRun | None = None

    def plan(self, label: str = "fake", **options: Any) -> Plan:
        options.setdefault("model", model_file(self.folder / f"{options.pop('name', 'fake')}.gguf"))
        options.setdefault("load", LoadSpec(path=str(options["model"].path)))
        options.setdefault("task", Task())
        options.setdefault("asked", SamplingParams(temperature=0.5))
        options.setdefault("seed", 0)
        return Plan(label=label, **options)

    def open(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        backend = FakeBackend(spec, on_status, auto=self.auto)
        self.backends.append(backend)
        self.prepare(backend)
        return backend

    def listen(self, event: BatchEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    @property
    def out(self) -> Path:
        return self.folder / "out.jsonl"

    def run(
        self, found: Iterable[Row | BadRow] | Callable[[], Iterable[Row | BadRow]], *plans: Plan, **options: Any
    ) -> Summary:
        """Answer the rows that are ``found``, or that come as it is called."""
        asked = plans or (self.plan(),)
        kept = None if callable(found) else list(found)
        options.setdefault("at_once", True)
        with Output.open(self.out, [plan.fingerprint() for plan in asked]) as output:
            self.last = BatchRun(
                asked,
                rows=lambda: found() if callable(found) else kept or (),
                output=output,
                opener=self.open,
                resolve=lambda ref: model_file(self.folder / f"{ref}.gguf"),
                listener=self.listen,
                **options,
            )
            return self.last.run()

    def lines(self, suffix: str = "") -> list[dict[str, Any]]:
        path = self.out.with_name(self.out.name + suffix)
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

"""A comparison on fake models: plans, cases and a record for tests of what works with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_models import fake_header

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.compare.case import Case, cases
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.record import Record
from lmlab.lab.compare.report import Report
from lmlab.lab.compare.study import Asked, Study, StudyEvent, make_header
from lmlab.lab.compare.workers import Opening
from lmlab.lab.task import Task
from lmlab.models import ModelFile
from lmlab.sampling import SamplingParams

CHECKED = """---
name: sums
description: Add.
inputs: {question: {required: true}}
answer: {regex: 'is (-?\\d+)', check: number}
---
Add: {{ question }}
"""


def rows(*values: dict[str, Any] | str) -> list[Row | BadRow]:
    return [
        Row(number, number, {"prompt": one} if isinstance(one, str) else one, None, number)
        for number, one in enumerate(values, 1)
    ]


def prompts(*texts: str, repeats: int = 1) -> list[Case]:
    return list(cases(rows(*texts), repeats))


@dataclass
class Desk:
    """``prepare`` gets each fake as it opens; ``backends`` are those opened, by the stem of their file."""

    folder: Path
    auto: bool = True
    prepare: Callable[[FakeBackend], None] = lambda backend: None
    backends: dict[str, FakeBackend] = field(default_factory=dict)
    opened: list[LoadSpec] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    progress: list[StudyEvent] = field(default_factory=list)

    def model(self, name: str) -> ModelFile:
        path = self.folder / f"{name}.gguf"
        path.write_bytes(name.encode())
        return ModelFile(name, path, fake_header(), None)

    def plan(self, name: str, label: str | None = None, **options: Any) -> Plan:
        model = options.pop("model", None) or self.model(name)
        load = replace(options.pop("load", LoadSpec(path="", sequences=4)), path=str(model.path))
        options.setdefault("asked", SamplingParams(temperature=0.5))
        options.setdefault("task", Task())
        return Plan(label=label or name, model=model, load=load, seed=options.pop("seed", 0), **options)

    def open(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        backend = FakeBackend(spec, on_status, auto=self.auto)
        self.opened.append(spec)
        self.backends[Path(spec.path).stem] = backend
        self.prepare(backend)
        return backend

    @property
    def path(self) -> Path:
        return self.folder / "record.jsonl"

    def record(self, plans: Sequence[Plan]) -> Record:
        return Record(self.path, [plan.fingerprint() for plan in plans])

    def comparison(self, plans: Sequence[Plan], record: Record, **options: Any) -> Comparison:
        made = Comparison(
            plans,
            record=record,
            opener=self.open,
            resolve=self.model,
            template_folder=None,
            listener=self.openings.append,
            **options,
        )
        if record.empty:
            record.begin(make_header(made, Asked("lmlab compare", "a test")))
        return made

    def study(self, asked_cases: Iterable[Case], *plans: Plan, sequential: bool = False, **asked: Any) -> Report | None:
        with (
            closing(self.record(plans)) as record,
            closing(self.comparison(plans, record, sequential=sequential)) as comparison,
        ):
            return Study(
                comparison,
                list(asked_cases),
                Asked("lmlab compare a b", "a test", **asked),
                load=LoadSpec(path=""),
                resolve=self.model,
                opener=self.open,
                template_folder=self.folder,
                log_folder=self.folder,
                listener=self.progress.append,
            ).run()

    def lines(self, kind: str) -> list[dict[str, Any]]:
        every = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        return [line for line in every if line["kind"] == kind]


def says(texts: dict[str, str | Sequence[str]]) -> Callable[[FakeBackend], None]:
    """Return what has the model of each name say the same to every prompt, or one text after the other."""

    def prepare(backend: FakeBackend) -> None:
        told = texts[Path(backend.spec.path).stem]
        for text in [told] * 50 if isinstance(told, str) else told:
            backend.script(text)

    return prepare

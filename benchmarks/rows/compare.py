"""Two models compared on the same prompts at the same time, against one after the other, and with threads undivided.

All three draw the same answers by way of ``lmlab compare`` without its screen, in fresh processes each turn. Loading counts: a
person waits for it. One after the other, each model has all threads; at the same time they share them, or do not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import texts
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.backends.local import LocalBackend
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.planning import SEQUENCES
from lmlab.lab.compare.case import cases, typed_row
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.record import Record
from lmlab.lab.compare.series import Series
from lmlab.lab.compare.study import Asked, make_header
from lmlab.lab.compare.workers import cores
from lmlab.lab.task import Task
from lmlab.models import ModelFile, resolve
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

OTHER = "gemma3-270m"
PROMPTS, TOKENS = 24, 48


def measure(setting: Setting) -> Iterator[Row]:
    prompts, tokens = setting.size(PROMPTS, 4), setting.size(TOKENS, 4)
    models = [resolve(str(setting.path), paths=Paths.find(), config=Config())]
    models.append(resolve(OTHER, paths=Paths.find(), config=Config()))
    if models[0].path == models[1].path:
        raise NotMeasured(f"{setting.ref} is compared with {OTHER}: name another")

    def shared(turn: int) -> float:
        return _seconds(models, turn, prompts, tokens)

    def alone(turn: int) -> float:
        return sum(_seconds([model], turn, prompts, tokens) for model in models)

    def undivided(turn: int) -> float:
        return _seconds(models, turn, prompts, tokens, threads=cores())

    figures = alternate(setting.turns or 3, shared, alone, undivided)
    work = f"{prompts} prompts put to two models, {tokens} tokens each"
    detail = f"together {middle(figures, 0):.1f} s"
    yield Row(
        work=work,
        model=f"{setting.ref} and {OTHER}",
        against="one model after the other",
        goal=1.0,
        values=ratios(figures, 1, 0),
        detail=f"{detail}, one after the other {middle(figures, 1):.1f} s",
    )
    yield Row(
        work=work,
        model=f"{setting.ref} and {OTHER}",
        against=f"{cores()} threads for each",
        goal=1.0,
        values=ratios(figures, 2, 0),
        detail=f"{detail}, undivided {middle(figures, 2):.1f} s",
    )


def _seconds(models: list[ModelFile], turn: int, prompts: int, tokens: int, threads: int | None = None) -> float:
    """Return how long ``models`` take at the same time, from loading to the last answer."""
    asked = SamplingParams(temperature=0.0, max_tokens=tokens)
    load = LoadSpec(path="", sequences=SEQUENCES, threads=threads)
    plans = [
        Plan(model.ref, model, replace(load, path=str(model.path)), Task(raw=True), asked, seed=turn)
        for model in models
    ]
    rows = [
        typed_row(f"{number} {texts.SENTENCES[number % len(texts.SENTENCES)]}", number) for number in range(prompts)
    ]
    with tempfile.TemporaryDirectory() as folder:

        def opened(spec: LoadSpec, on_status: StatusSink) -> Backend:
            return LocalBackend(spec, on_status, log_folder=Path(folder))

        record = Record(Path(folder, "record.jsonl"), [plan.fingerprint() for plan in plans])
        comparison = Comparison(
            plans,
            record=record,
            opener=opened,
            resolve=lambda ref: resolve(ref, paths=Paths.find(), config=Config()),
            template_folder=None,
        )
        with closing(record), closing(comparison):
            record.begin(make_header(comparison, Asked("benchmarks/engine.py compare", "texts")))
            series = Series(comparison, list(cases(rows)), lambda progress: None)
            begin = time.perf_counter()
            series.run()
            took = time.perf_counter() - begin
        if series.progress.failed:
            raise NotMeasured(f"{series.progress.failed} answers failed: {series.progress.first_failure}")
    return took

"""Several variants measured in turns: a round for each, again and again, another one first each time.

One model is in memory at a time, and what else the machine does meets all of them alike. Prints nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmlab.backends import LoadSpec
from lmlab.backends.benching import BenchProcess
from lmlab.errors import LmlabError, ModelError, UsageError
from lmlab.lab.bench.amounts import Amounts, Key, Measure, Step, reply_within, steps_within
from lmlab.lab.bench.pace import Pace
from lmlab.lab.bench.report import Figure, Result
from lmlab.lab.bench.roofline import array_size, decode_bound
from lmlab.lab.bench.spread import spread_of
from lmlab.lab.bench.subject import Subject
from lmlab.lab.bench.whole_program import Whole, measure_whole
from lmlab.worker.benching.messages import Opened

BANDWIDTH_READS = 3


@dataclass(frozen=True, slots=True)
class Doing:
    """What is about to be measured: ``key`` of the variant ``label``, for the ``turn``th time; None while it is loaded.

    ``left_s``: about how long the rest takes, None while that cannot be told.
    """

    label: str
    key: Key | None
    turn: int
    elapsed_s: float
    left_s: float | None


class _Stopped(Exception):
    """Cancelled, or out of time."""


@dataclass(slots=True)
class _Bench:
    """A subject, and what has been measured of it."""

    number: int
    subject: Subject
    load: LoadSpec
    opened: Opened
    steps: tuple[Step, ...]
    notes: list[str]
    samples: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    bandwidth: list[float] = field(default_factory=list)
    prompts: dict[Key, int] = field(default_factory=dict)
    failed: bool = False


class Bench:
    """``most_s``: seconds that it may take. ``listener`` is called on the thread that calls ``run``."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        amounts: Amounts,
        *,
        log_folder: Path,
        listener: Callable[[Doing], None],
        most_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subjects = subjects
        self._amounts = amounts
        self._log_folder = log_folder
        self._listener = listener
        self._most_s = most_s
        self._clock = clock
        self._cancelled = self._complete = False
        self._pace = Pace([], 0, most_s=most_s, clock=clock)

    def cancel(self) -> None:
        """Measure nothing more. May be called from a signal handler."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def complete(self) -> bool:
        """Whether all that was planned has been measured as often as it was to be."""
        return self._complete

    def run(self) -> tuple[Result, ...]:
        """Return what was found of each; once cancelled or out of time, of those measured so far, as far as they were.

        Raises LmlabError that says of each variant that cannot be loaded why, before anything is measured.
        """
        benches: list[_Bench] = []
        begun = self._clock()
        with suppress(_Stopped):
            benches = self._look()
            steps, turns = [bench.steps for bench in benches], self._amounts.repeat
            self._pace = Pace(steps, turns, most_s=self._most_s, clock=self._clock, begun=begun)
            for turn in range(self._amounts.repeat):
                for place in range(len(benches)):
                    self._round(benches[(place + turn) % len(benches)], turn)
        self._complete = bool(benches) and all(
            len(bench.samples.get(step.key, ())) == self._amounts.repeat for bench in benches for step in bench.steps
        )
        return tuple(self._result(bench) for bench in benches)

    def _look(self) -> list[_Bench]:
        """Load each once: whether it can be, what fits its context; and the first time is slower, for the file is read."""
        found, problems = [], []
        for number, subject in enumerate(self._subjects):
            at_once = 1 if subject.load.deterministic else max(self._amounts.together, default=1)
            load = replace(subject.load, sequences=at_once)
            self._listener(Doing(subject.label, None, 0, 0.0, None))
            try:
                with BenchProcess(self._log_folder, cancelled=self._stops) as process:
                    opened = process.open(load)
            except LmlabError as error:
                problems.append((subject.label, error))
                continue
            if opened is None:
                raise _Stopped
            held = opened.layout.sequences
            fitting = steps_within(self._amounts, context=opened.context, sequences=held)
            notes = list(fitting.left_out)
            if at_once == 1 and max(self._amounts.together, default=1) > 1:
                notes.append("several sequences at once are not what --deterministic does: not measured")
            elif held < at_once:
                notes.append("llama.cpp decodes one sequence at a time of this architecture: several are not measured")
            if subject.load.draft is not None:
                notes.append("the draft takes part in the whole program only: of the model alone, tokens are random")
            if subject.ignored:
                notes.append(f"no speed depends on {', '.join(subject.ignored)}: left out")
            found.append(_Bench(number, subject, load, opened, fitting.steps, notes))
        if problems:
            told = "; ".join(f"{label}: {error}" for label, error in problems) if len(self._subjects) > 1 else ""
            kind = UsageError if all(isinstance(error, UsageError) for _, error in problems) else ModelError
            raise kind(told) if told else problems[0][1]
        return found

    def _round(self, bench: _Bench, turn: int) -> None:
        if bench.failed:
            return
        try:
            self._measure_model(bench, turn)
            self._measure_whole(bench, turn)
        except LmlabError as error:
            # What it has shown so far stands, and the others go on.
            bench.failed = True
            bench.notes.append(f"it failed, and was measured no more: {error}")
            for step in bench.steps:
                self._pace.give_up(bench.number, step)

    def _measure_model(self, bench: _Bench, turn: int) -> None:
        with BenchProcess(self._log_folder, cancelled=self._stops) as process:
            self._listener(self._doing(bench, None, turn))
            rates = process.bandwidth(bench.load.threads, size=array_size(), repeat=BANDWIDTH_READS)
            if rates is None or process.open(bench.load) is None:
                raise _Stopped
            bench.bandwidth += rates.rates
            for step in bench.steps:
                if step.run is not None and self._may(bench, step, turn):
                    begin = self._clock()
                    ran = process.run(step.run)
                    if ran is None:
                        raise _Stopped
                    rate = step.tokens / ran.seconds
                    bench.samples[step.key].append(rate)
                    self._pace.done(bench.number, step, self._clock() - begin, rate)

    def _measure_whole(self, bench: _Bench, turn: int) -> None:
        for step in bench.steps:
            if step.run is None and self._may(bench, step, turn):
                begin = self._clock()
                whole = measure_whole(
                    bench.subject.load,
                    question=step.key.depth,
                    reply=reply_within(self._amounts, bench.opened.context),
                    number=3 * turn + 1,
                    log_folder=self._log_folder,
                    cancelled=self._stops,
                )
                if whole is None:
                    raise _Stopped
                _take(bench, step, whole)
                self._pace.done(bench.number, step, self._clock() - begin, None)

    def _may(self, bench: _Bench, step: Step, turn: int) -> bool:
        """Say that ``step`` is next; False when there is no time for it."""
        if not self._pace.allows(bench.number, step):
            self._pace.skipped(bench.number, step)
            return False
        self._listener(self._doing(bench, step.key, turn))
        return True

    def _doing(self, bench: _Bench, key: Key | None, turn: int) -> Doing:
        return Doing(bench.subject.label, key, turn, self._pace.elapsed_s, self._pace.left_s())

    def _stops(self) -> bool:
        return self._cancelled or self._pace.over

    def _result(self, bench: _Bench) -> Result:
        bandwidth = spread_of(bench.bandwidth) if bench.bandwidth else None
        steps = {step.key: step for step in bench.steps}
        figures = []
        for key, samples in sorted(bench.samples.items(), key=lambda item: _order(item[0])):
            step, bound = steps.get(key), None
            if step is not None and bandwidth is not None and key.measure.startswith("decode"):
                header = bench.subject.model.header
                bound = decode_bound(step, header, bench.load, bench.opened, bandwidth.median)
            figures.append(Figure(key, spread_of(samples), bound, bench.prompts.get(key)))
        missing = [step for step in bench.steps if not bench.samples.get(step.key)]
        if missing and not bench.failed:
            bench.notes.append(f"{len(missing)} of {len(bench.steps)} measurements were not made")
        return Result(
            label=bench.subject.label,
            model=_model(bench.subject),
            load=_load(bench.subject.load, bench.opened),
            bandwidth=bandwidth,
            weights_read=bench.opened.weights_read,
            figures=tuple(figures),
            notes=tuple(dict.fromkeys(bench.notes)),
            failed=bench.failed,
        )


def _take(bench: _Bench, step: Step, whole: Whole) -> None:
    """Add what the whole program did to the samples."""

    def add(measure: Measure, value: float | None, tokens: int | None = None) -> None:
        if value is None:
            return
        key = Key(measure, step.key.depth)
        bench.samples[key].append(value)
        if tokens is not None:
            bench.prompts[key] = tokens

    add("load", whole.load_s)
    add("first_token", whole.first.first_s, whole.first.prompt)
    add("first_token_again", whole.again.first_s, whole.again.prompt)
    if not whole.again.cached:
        bench.notes.append("nothing of the first question was reused for the second")
    if whole.from_disk is not None:
        add("first_token_from_disk", whole.from_disk.first_s, whole.from_disk.prompt)
    else:
        bench.notes.append("no prefix came back from disk: no first token from there")
    add("reply", whole.first.rate)
    if whole.memory is not None:
        add("memory", float(whole.memory.held))
        add("memory_peak", None if whole.memory.peak is None else float(whole.memory.peak))


_KINDS: tuple[Measure, ...] = (
    *("prefill", "decode", "decode_together", "load", "first_token", "first_token_again", "first_token_from_disk"),
    *("reply", "memory", "memory_peak"),
)


def _order(key: Key) -> tuple[int, int, int]:
    return _KINDS.index(key.measure), key.sequences, key.depth


def _model(subject: Subject) -> dict[str, Any]:
    header = subject.model.header
    return {
        "ref": subject.model.ref,
        "fingerprint": subject.model.fingerprint,
        "architecture": header.architecture,
        "quantization": header.quantization,
        "parameters": header.parameters,
        "size": header.size,
    }


def _load(load: LoadSpec, opened: Opened) -> dict[str, Any]:
    layout = opened.layout
    return {
        "threads": opened.threads,
        "context": opened.context,
        "gpu_layers": opened.gpu_layers,
        "devices": list(opened.devices),
        "llama_cpp": opened.llama_cpp,
        "ubatch": layout.ubatch,
        "flash_attention": layout.flash_attention,
        "kv_type": f"{load.key_type},{load.value_type}",
        "mapped": layout.mapped,
        "lora": [f"{adapter.path}:{adapter.scale:g}" for adapter in load.lora],
        "draft": load.draft,
        "deterministic": load.deterministic,
        "reuse": load.reuse,
    }

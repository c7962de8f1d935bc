"""All that may be said of a comparison once its answers are in, in one value. Knows nothing of how it is laid out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.lab.batch.row import Row
from lmlab.lab.compare.answer import Answer, answer_of
from lmlab.lab.compare.case import Case, prompt_text
from lmlab.lab.compare.figures import Figures, figures_of
from lmlab.lab.compare.measures import Measure, by_check, by_judge, by_scores, by_votes
from lmlab.lab.compare.record import Record, Score, Verdict, Vote


@dataclass(frozen=True, slots=True)
class Weighed:
    """The answers to one case, by column, and what was said of them. ``scores`` are by scorer, then by column."""

    key: str
    repeat: int
    answers: tuple[Answer | None, ...]
    vote: Vote | None
    verdicts: tuple[Verdict, ...]
    scores: Mapping[str, tuple[Score | None, ...]]


@dataclass(frozen=True, slots=True)
class PromptOf:
    """One prompt and all that came of it. ``number`` counts from 1; ``text`` is the prompt as a person would call it.

    ``asked`` are the ways in which templates put it, where they do; a way may be that of several variants.
    """

    question: str
    number: int
    id: str | None
    text: str
    asked: tuple[str, ...]
    expected: str | None
    cases: tuple[Weighed, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """What was compared and how, as a reader needs it to do the same again.

    ``header`` is what the record says of the command: its variants, versions and machine. ``judge`` and ``judged_by``
    name the judge for a person and exactly; ``scorers`` as they were typed.
    """

    header: Mapping[str, Any]
    record: str
    judge: str | None = None
    judged_by: str | None = None
    scorers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """``engines`` says of each variant how its model was loaded and its tokens were drawn, in full, as far as an answer of
    it is there.
    """

    setup: Setup
    labels: tuple[str, ...]
    runs: tuple[str, ...]
    prompts: tuple[PromptOf, ...]
    repeats: int
    figures: tuple[Figures, ...]
    engines: tuple[Mapping[str, Any] | None, ...]
    measures: tuple[Measure, ...]
    divergences: tuple[Mapping[str, Any], ...]

    @property
    def variants(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.setup.header["variants"])

    @property
    def failed(self) -> int:
        return sum(one.failed for one in self.figures)

    @property
    def missing(self) -> int:
        """How many answers there are not, as when it was interrupted."""
        cases = sum(len(prompt.cases) for prompt in self.prompts)
        return cases * len(self.runs) - sum(one.answers + one.failed for one in self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        named = dict(zip(self.runs, self.labels, strict=True))
        return {
            **{name: value for name, value in self.setup.header.items() if name not in ("kind", "format")},
            "record": self.setup.record,
            "prompts": len(self.prompts),
            "repeats": self.repeats,
            "failed": self.failed,
            "missing": self.missing,
            "figures": {
                label: {**asdict(figures), "cached": figures.cached, "engine": engine}
                for label, figures, engine in zip(self.labels, self.figures, self.engines, strict=True)
            },
            "measures": [self._measure(measure) for measure in self.measures],
            "divergences": [dict(one) for one in self.divergences],
            "answers": [_prompt(prompt, named) for prompt in self.prompts],
        }

    def _measure(self, measure: Measure) -> dict[str, Any]:
        labels = self.labels
        return {
            "kind": measure.kind,
            "name": measure.name,
            "notes": list(measure.notes),
            "variants": [{**asdict(mean), "variant": labels[mean.variant]} for mean in measure.means],
            "pairs": [
                {
                    "first": labels[duel.first],
                    "second": labels[duel.second],
                    **asdict(duel.rate),
                    "more": duel.more,
                    "decided": duel.rate.decided,
                    "p_adjusted": duel.adjusted,
                    "difference": duel.mean,
                    "difference_low": duel.low,
                    "difference_high": duel.high,
                    "prompts": len(duel.differences),
                    "answers": duel.answers,
                }
                for duel in measure.duels
            ],
        }


def make_report(
    setup: Setup, cases: Iterable[Case], record: Record, divergences: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """Put together what ``record`` holds of ``cases``; a case that was not answered has a gap."""
    variants = setup.header["variants"]
    runs = tuple(variant["run"] for variant in variants)
    prompts: dict[str, list[Weighed]] = {}
    rows: dict[str, Case] = {}
    for case in cases:
        rows.setdefault(case.question, case)
        prompts.setdefault(case.question, []).append(_weighed(case, runs, setup, record))
    every = [answer for found in prompts.values() for one in found for answer in one.answers if answer is not None]
    keys = {one.key for found in prompts.values() for one in found}
    check = next((variant["template"]["check"] for variant in variants if _checks(variant)), "")
    measures = [by_votes(record, keys, runs), by_check(every, len(runs), check)]
    if setup.judge is not None and setup.judged_by is not None:
        measures.append(by_judge(record, keys, runs, setup.judge, setup.judged_by))
    measures += [by_scores(record, keys, runs, name) for name in setup.scorers]
    return Report(
        setup=setup,
        labels=tuple(variant["label"] for variant in variants),
        runs=runs,
        prompts=tuple(
            _prompt_of(number, rows[question], found, variants)
            for number, (question, found) in enumerate(prompts.items(), 1)
        ),
        repeats=max(map(len, prompts.values()), default=1),
        figures=tuple(figures_of(one for one in every if one.variant == index) for index in range(len(runs))),
        engines=tuple(_engine(record, keys, run) for run in runs),
        measures=tuple(measure for measure in measures if measure is not None),
        divergences=tuple(divergences),
    )


def _checks(variant: Mapping[str, Any]) -> bool:
    return variant["template"] is not None and variant["template"]["check"] is not None


def _weighed(case: Case, runs: Sequence[str], setup: Setup, record: Record) -> Weighed:
    lines = [record.answer(case.key, run) for run in runs]
    verdicts = (record.verdicts.get((setup.judged_by or "", case.key, one, other)) for one in runs for other in runs)
    return Weighed(
        case.key,
        case.repeat,
        tuple(None if line is None else answer_of(line, index) for index, line in enumerate(lines)),
        record.votes.get(case.key),
        tuple(verdict for verdict in verdicts if verdict is not None),
        {name: tuple(record.scores.get((name, case.key, run)) for run in runs) for name in setup.scorers},
    )


def _prompt_of(number: int, case: Case, found: list[Weighed], variants: Sequence[Mapping[str, Any]]) -> PromptOf:
    answers = [answer for one in found for answer in one.answers if answer is not None]
    expected = next((one.expected for one in answers if one.expected is not None), None)
    text = case.prompt
    inputs = next((variant["template"]["inputs"] for variant in variants if variant["template"] is not None), ())
    if isinstance(case.row, Row) and (
        given := {name: case.row.values[name] for name in inputs if name in case.row.values}
    ):
        text = prompt_text(given)
    asked = tuple(dict.fromkeys(answer.asked for answer in answers if answer.asked != text))
    return PromptOf(case.question, number, case.row.id, text, asked, expected, tuple(found))


def _engine(record: Record, keys: Iterable[str], run: str) -> Mapping[str, Any] | None:
    for key in keys:
        line = record.answer(key, run)
        if line is not None and "engine" in line:
            found: dict[str, Any] = {**line["engine"], "llama_cpp": line["versions"]["llama_cpp"]}
            # Each case has a seed of its own.
            found["sampling"] = {name: value for name, value in line["sampling"].items() if name != "seed"}
            return found
    return None


def _prompt(prompt: PromptOf, named: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": prompt.number,
        "id": prompt.id,
        "prompt": prompt.text,
        "expected": prompt.expected,
        "cases": [
            {
                "key": case.key,
                "repeat": case.repeat,
                "answers": [None if one is None else _plain(one) for one in case.answers],
                "vote": None
                if case.vote is None
                else {"choice": case.vote.choice, "winner": named.get(case.vote.winner or "")},
                "verdicts": [
                    {"first": named[one.runs[0]], "second": named[one.runs[1]], "share": one.share, "note": one.note}
                    for one in case.verdicts
                ],
                "scores": {
                    name: [None if one is None else one.score for one in scores] for name, scores in case.scores.items()
                },
            }
            for case in prompt.cases
        ],
    }


def _plain(answer: Answer) -> dict[str, Any]:
    values = asdict(answer)
    for name in ("variant", "run", "key", "question", "repeat", "id", "input"):
        del values[name]
    return values

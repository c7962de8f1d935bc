"""How a comparison was made, in sentences that can be cited. Knows nothing of how a report is laid out."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.lab.compare.measures import MeasureKind
from lmlab.lab.compare.report import Report
from lmlab.lab.compare.tables import at_once
from lmlab.terminal_text import one_line


def method(report: Report) -> Iterator[str]:
    """Yield a paragraph for each thing that a reader must know to judge the numbers."""
    kinds = {measure.kind for measure in report.measures}
    if report.prompts:
        yield _design(report)
        yield _drawing(report)
    if "judge" in kinds:
        yield (
            f"The judge, {one_line(report.setup.judge or '', 80)} (model and prompt {report.setup.judged_by}), was shown "
            "the prompt as the first of two variants got it, and both answers, in both orders, at temperature 0. An "
            "answer won where both orders named it; anything else is a tie, so a judge that prefers a place prefers no "
            "variant. Equal texts tie without being shown."
        )
    if "check" in kinds:
        yield (
            "An answer is correct where what the template reads off the reply agrees with the expected answer by the "
            "template's own check. A reply that no answer could be read off is not correct."
        )
    if "votes" in kinds:
        yield "A person read the answers side by side and said which was best, that they tie, or that all are bad."
    if any(measure.name == "logprob" for measure in report.measures):
        yield (
            "A log-probability is each model's own: between models with different vocabularies it says little of "
            "which answer is better."
        )
    if report.measures:
        yield from _statistics(report, kinds)
    if report.divergences:
        yield (
            "For divergence, two models read the same text in windows, and are compared at each token of the second half "
            "of every window: KL is the Kullback-Leibler divergence of the second model's predictions from the first's, "
            "in nats, before any sampling parameter. Errors are standard errors of the mean over windows."
        )


def _design(report: Report) -> str:
    count, repeats = len(report.prompts), report.repeats
    said = f"{count:,} prompts" if count != 1 else "One prompt"
    said += f" from {one_line(report.setup.header['input'], 120)} were" if count != 1 else " was"
    said += f" put to each of {len(report.labels)} variants"
    if repeats > 1:
        said += f", {repeats} times each with other random numbers"
    said += (
        ". All variants drew a prompt's answer with the same seed, which follows from the run's seed and the prompt, so "
        "that variants are compared on equal terms and the same command gives the same draws."
    )
    if report.missing:
        said += f" {report.missing:,} answers are missing: the comparison was not run to its end."
    if report.failed:
        said += f" {report.failed:,} answers failed and are left out, with those they would be compared with."
    return said


def _drawing(report: Report) -> str:
    most = at_once(report)
    said = "Log-probabilities are of the drawn tokens under the model, before any sampling parameter."
    if most > 1:
        said = (
            f"Up to {most} answers were drawn at a time by each model, so the time to the first token and tokens per "
            "second are those of a busy machine: they compare variants, and are no answer's own. Which variant was asked "
            f"first changed from prompt to prompt. {said}"
        )
    return said


def _statistics(report: Report, kinds: set[MeasureKind]) -> Iterator[str]:
    yield (
        "Everything is paired: two variants are compared on the prompts that both answered. A prompt is won by the "
        "variant that is better on it, and ties are counted and left out of the test. The share won has Wilson's score "
        "interval (Wilson, 1927); p is the exact two-sided sign test's"
        + (", which for correct answers is McNemar's exact test (McNemar, 1947)." if "check" in kinds else ".")
    )
    if report.repeats > 1:
        yield (
            "The answers to one prompt are one cluster: a prompt is won by its mean over repeats and counts once, and "
            "intervals resample or weigh whole prompts, not answers (Korn and Graubard, 1998, for shares)."
        )
    if kinds & {"check", "score"}:
        yield (
            "Mean differences have 95 % percentile bootstrap intervals over prompts (Efron, 1979; 10,000 resamples, a "
            "fixed seed); with few prompts these are somewhat too narrow."
        )
    if len(report.labels) > 2:
        yield (
            "With several pairs of variants, p is also given by Holm's method (1979), over the pairs of one measure; "
            "conclusions, and how many more prompts would reach one, go by it."
        )
    yield (
        "“About N more prompts” is how many would make the test significant with a chance of 80 %, should the share "
        "won go on as it is. It is a guide for planning: a test repeated until it succeeds is no longer at 5 %."
    )

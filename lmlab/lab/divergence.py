"""How far two models with one vocabulary differ over a text: KL divergence, agreement and perplexity, with their errors.

Knows nothing of how it is measured: a process of its own does that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.backends.divergence import Listener, run_measure
from lmlab.lab.statistics import Interval, wilson_of_error
from lmlab.worker.divergence.messages import Estimate, Figures, Measure
from lmlab.worker.messages import LoadSpec


@dataclass(frozen=True, slots=True)
class Divergence:
    """``second`` beside ``first``, the reference. ``agreement`` is the interval of the share of positions whose most likely
    token is the same; None, like all errors, when there are too few windows."""

    first: str
    second: str
    figures: Figures
    agreement: Interval | None

    @property
    def complete(self) -> bool:
        """False when it was cancelled before the end of the text."""
        return self.figures.windows == self.figures.planned

    def words(self) -> tuple[str, ...]:
        """Return it as lines for a person."""
        figures, agreement, rms = self.figures, self.agreement, self.figures.probability_rms
        spread = f"median {figures.kl_median:.4g}, 99% below {figures.kl_p99:.4g}, most {figures.kl_max:.4g}"
        perplexities = f"{_of(figures.perplexity_first)} and {_of(figures.perplexity_second)}"
        lines = [
            f"mean KL divergence {_of(figures.kl)} nats ({spread})",
            f"same most likely token {figures.agreement.value:.1%}",
            f"perplexity {perplexities}, ratio {_of(figures.perplexity_ratio)}",
            f"probability of the text's own token changed by {rms.value:.2%} (root mean square)",
            f"{figures.scored:,} of {figures.tokens:,} tokens scored: the second half of each window of {figures.window}",
        ]
        if agreement is not None:
            lines[1] += f" ({agreement.confidence:.0%} interval {agreement.low:.1%} to {agreement.high:.1%})"
        if figures.left_over:
            lines[-1] += f"; the last {figures.left_over:,} fill no window"
        if figures.kl.error is None:
            lines.append("no errors are named of so few windows: give a longer text")
        if not self.complete:
            lines.append(f"cancelled after {figures.windows:,} of {figures.planned:,} windows")
        return tuple(lines)


def measure(
    first: LoadSpec,
    second: LoadSpec,
    text: str,
    listener: Listener,
    *,
    log_folder: Path,
    cancelled: Callable[[], bool] = lambda: False,
) -> Divergence | None:
    """Run ``text`` through both models and return how far ``second`` is from ``first``.

    ``listener`` gets ModelLoading and Measuring on this thread. Once ``cancelled``, which is asked some ten times a second,
    it is what was measured so far, or None when that is nothing. Raises UsageError when the vocabularies differ or the text
    is too short, ModelLoadError when a model cannot be loaded or both do not fit, EngineStopped when the process ends.
    """
    request = Measure(first, second, text)
    figures = run_measure(request, listener, log_folder=log_folder, cancelled=cancelled)
    if figures is None:
        return None
    share, agreement = figures.agreement, None
    if share.error is not None:
        agreement = wilson_of_error(share.value, share.error, figures.windows, figures.scored)
    return Divergence(first.path, second.path, figures, agreement)


def _of(estimate: Estimate) -> str:
    error = "" if estimate.error is None else f" ± {estimate.error:.2g}"
    return f"{estimate.value:.4g}{error}"

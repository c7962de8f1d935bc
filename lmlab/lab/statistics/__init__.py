"""What paired results say, and how surely. Knows nothing of prompts, models or votes: only counts and differences.

Everything is paired: one difference, or one win, loss or tie, for each prompt that both sides answered. Several answers
to one prompt (``--repeat K``) are one cluster: ``Clusters`` holds a sequence of values for each prompt, and a prompt
counts once, however many answers it has.

::

    wilson(successes, trials, confidence=0.95) -> (low, high)            independent trials, trials > 0
    clustered_wilson(clusters of bool, confidence=0.95) -> Interval      a share, of answers in clusters
    wilson_of_error(share, error, clusters, trials, confidence=0.95) -> Interval     the same, from a known error
    sign_test(wins, losses) -> p                                         exact, two-sided; ties left out
    mcnemar(only_first, only_second) -> p                                exact: prompts that one side alone got right
    prompt_outcomes(clusters of differences) -> (wins, losses, ties)     the sign of each prompt's mean difference
    win_rate(wins, losses, ties=0, confidence=0.95) -> WinRate           .share .low .high .p .more .words()
    more_needed(wins, losses, ties=0, alpha=0.05, power=0.8) -> int | None
    paired_bootstrap(differences or clusters, resamples=10_000, seed=0, confidence=0.95) -> Interval | None

A difference is first minus second: above 0 the first side is better. Counts that are negative, and values that are not
finite, raise ValueError.
"""

from lmlab.lab.statistics.bootstrap import paired_bootstrap
from lmlab.lab.statistics.clusters import Clusters, Interval, clustered_wilson, prompt_outcomes, wilson_of_error
from lmlab.lab.statistics.counts import mcnemar, sign_test, wilson
from lmlab.lab.statistics.win_rate import WinRate, more_needed, win_rate

__all__ = [
    "Clusters",
    "Interval",
    "WinRate",
    "clustered_wilson",
    "mcnemar",
    "more_needed",
    "paired_bootstrap",
    "prompt_outcomes",
    "sign_test",
    "wilson",
    "wilson_of_error",
    "win_rate",
]

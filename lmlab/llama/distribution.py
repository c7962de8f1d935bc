"""What each stage of the sampler chain makes of a row of logits, computed as llama.cpp computes it, but in numpy.

Sums and comparisons are in its precision and order, so that the cuts fall where its cuts fall. Only which of several
equal logits a cut leaves is not defined by llama.cpp; here it is the lower id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lmlab.llama.logits_row import Floats, Ids, LogitsRow, last_key, running_sum, shifted, softened
from lmlab.llama.sampler import StageName, chain_stages, complete, greedy
from lmlab.sampling import SamplingParams

_LAST = np.uint64(2**64 - 1)
_STEPS = (512, 16384)
"""How many tokens are summed up at first, and then: few distributions need more to reach their top-p."""


@dataclass(frozen=True, slots=True)
class WeighedStage:
    """The distribution after a stage: tokens ``left``, and ``entropy`` in bits."""

    name: Literal["raw"] | StageName
    left: int
    entropy: float


@dataclass(frozen=True, slots=True)
class WeighedToken:
    """``rank`` is by raw probability from 0, equals by id. ``probabilities`` after each stage, 0 once it is removed."""

    token: int
    rank: int
    logit: float
    probabilities: tuple[float, ...]
    removed_by: StageName | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """``stages`` begins with ``raw``, before any; ``tokens`` are by rank."""

    stages: tuple[WeighedStage, ...]
    tokens: tuple[WeighedToken, ...]


class Weigher:
    """The token that follows ``history``, by ``logits`` of shape (vocabulary,), at one sampling after another.

    What does not depend on the sampling is computed once, and what depends on the penalties alone as long as they stay.
    """

    def __init__(self, logits: Floats, history: Sequence[int]) -> None:
        self._raw = LogitsRow(logits.astype(np.float32))
        self._history = history
        self._penalized: tuple[_Penalties, LogitsRow] | None = None

    def weigh(self, sampling: SamplingParams, *, top: int, drawn: int | None = None) -> Weighed:
        """Weigh at ``sampling``, which must be complete but for seed, max_tokens and stop.

        Reports the ``top`` likeliest tokens before any stage, and ``drawn``.
        """
        tokens, ranks = self._reported(top, drawn)
        left = _Left(self._raw)
        reports = [left.report(tokens)]
        stages = [WeighedStage("raw", left.count, reports[0].entropy)]
        removed: list[StageName | None] = [None] * len(tokens)
        for name in chain_stages(sampling):
            left = self._apply(name, left, sampling)
            reports.append(left.report(tokens))
            stages.append(WeighedStage(name, left.count, reports[-1].entropy))
            for index in np.flatnonzero(reports[-2].held & ~reports[-1].held).tolist():
                removed[index] = name
        rows = np.stack([report.probabilities for report in reports], axis=1).tolist()
        weighed = zip(tokens.tolist(), ranks, self._raw.logits[tokens].tolist(), rows, removed, strict=True)
        return Weighed(tuple(stages), tuple(WeighedToken(t, r, x, tuple(p), stage) for t, r, x, p, stage in weighed))

    def _reported(self, top: int, drawn: int | None) -> tuple[Ids, list[int]]:
        """Return the tokens to report and the rank of each."""
        tokens = self._raw.largest(top)
        ranks = list(range(len(tokens)))
        if drawn is not None:
            if not 0 <= drawn < len(self._raw):
                raise ValueError(f"token {drawn} is not in a vocabulary of {len(self._raw)}")
            if drawn not in tokens:
                tokens = np.append(tokens, drawn)
                ranks.append(self._raw.rank(drawn))
        return tokens, ranks

    def _apply(self, name: StageName, left: _Left, sampling: SamplingParams) -> _Left:
        match name:
            case "penalties":
                return _Left(self._penalize(sampling))
            case "top-k":
                return left.first(int(complete(sampling.top_k)))
            case "top-p":
                return left.cut_top_p(np.float32(complete(sampling.top_p)))
            case "min-p":
                return left.cut_min_p(np.float32(complete(sampling.min_p)))
            case "temperature":
                if greedy(sampling):
                    return left.first(1)
                return replace(left, temperature=np.float32(complete(sampling.temperature)))

    def _penalize(self, sampling: SamplingParams) -> LogitsRow:
        penalties = _Penalties(
            int(complete(sampling.repeat_last_n)),
            complete(sampling.repeat_penalty),
            complete(sampling.frequency_penalty),
            complete(sampling.presence_penalty),
        )
        if self._penalized is None or self._penalized[0] != penalties:
            self._penalized = penalties, penalties.apply(self._raw, self._history)
        return self._penalized[1]


@dataclass(frozen=True, slots=True)
class _Penalties:
    window: int
    repeat: float
    frequency: float
    presence: float

    def apply(self, row: LogitsRow, history: Sequence[int]) -> LogitsRow:
        recent, counts = np.unique(np.asarray(history[-self.window :], np.int64), return_counts=True)
        repeat, frequency, presence = np.float32(self.repeat), np.float32(self.frequency), np.float32(self.presence)
        raised = row.logits[recent]
        raised = np.where(raised <= 0, raised * repeat, raised / repeat)
        logits = row.logits.copy()
        logits[recent] = raised - (counts.astype(np.float32) * frequency + presence)
        return LogitsRow(logits, row, recent)


@dataclass(frozen=True, slots=True)
class _Report:
    """Of a stage: its ``entropy`` in bits, and of each token asked about its probability and whether it is left."""

    entropy: float
    probabilities: npt.NDArray[np.float64]
    held: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Left:
    """The tokens of ``row`` that are left, whose keys are ``last`` at most: ``ids``, None for all. ``ordered``: they are
    in llama.cpp's order by logit, and not by id. ``temperature`` divides their logits."""

    row: LogitsRow
    ids: Ids | None = None
    last: np.uint64 = _LAST
    ordered: bool = False
    temperature: np.float32 | None = None

    @property
    def count(self) -> int:
        return len(self.row) if self.ids is None else len(self.ids)

    def report(self, tokens: Ids) -> _Report:
        row, ids = self.row, self.ids
        held = row.keys(tokens) <= self.last
        if self.temperature is not None:
            logits = row.logits if ids is None else row.logits[ids]
            peak = row.peak / self.temperature
            total, bits = softened(logits, self.temperature, peak)
            found = np.exp(shifted(row.logits[tokens] / self.temperature, peak))
        else:
            total, bits = (row.total, row.entropy) if ids is None else row.entropy_of(ids)
            found = row.weights[tokens]
        return _Report(bits, np.where(held, found / total, 0.0), held)

    def first(self, count: int) -> _Left:
        """Keep the ``count`` likeliest."""
        if self.ordered and count >= self.count:
            return self
        ids = self.row.largest(min(count, self.count))
        return replace(self, ids=ids, last=self.row.keys(ids[-1:])[0], ordered=True)

    def cut_top_p(self, share: np.float32) -> _Left:
        """Keep the likeliest that together reach ``share``, the one that reaches it included."""
        # One that is 1 in this precision cuts nothing, and leaves the order.
        if share >= 1:
            return self
        row, size = self.row, self.count
        total = running_sum(row.rounded[self.ids])[-1] if self.ids is not None else row.rounded_total
        for count in sorted({min(step, size) for step in (*_STEPS, size)}):
            reached = running_sum(row.rounded[row.largest(count)] / total) >= share
            if reached.any():
                return self.first(int(reached.argmax()) + 1)
        return self.first(size)

    def cut_min_p(self, share: np.float32) -> _Left:
        """Keep those at least as likely as ``share`` of the likeliest."""
        # One that is 0 in this precision cuts nothing.
        if share <= 0:
            return self
        least = np.float32(self.row.peak + np.log(share))
        last = min(self.last, last_key(least))
        if self.ids is None:
            return replace(self, ids=np.flatnonzero(self.row.logits >= least), last=last)
        return replace(self, ids=self.ids[self.row.logits[self.ids] >= least], last=last)

"""Windows and sums, with arrays in place of models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from lmlab.errors import ModelError, UsageError
from lmlab.worker.divergence.messages import Figures
from lmlab.worker.divergence.tally import Tally
from lmlab.worker.divergence.windows import SHORTEST, Windows, windows

VOCABULARY = 300


def tally_of(first: np.ndarray, second: np.ndarray, tokens: list[int], done: int = 1) -> Figures:
    tally = Tally(windows([0] * 600, None, []), first.shape[1])
    for row in zip(first, second, tokens, strict=True):
        tally.add(*row)
    return tally.figures(done)


def rows(count: int, seed: int, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (count, VOCABULARY)).astype(np.float32)


class TestWindows:
    def test_each_begins_anew_with_its_beginning_token(self) -> None:
        cut = windows([1, *range(100, 140)], 1, [16, 4096])
        assert (cut.size, cut.count, cut.left_over) == (16, 2, 9)
        assert list(cut) == [[1, *range(100, 115)], [1, *range(116, 131)]]

    def test_without_one_every_token_is_the_texts_own(self) -> None:
        cut = windows(range(1200), None, [])
        assert (cut.size, cut.count, cut.left_over, cut.first_scored) == (512, 2, 176, 256)
        assert [token for window in cut for token in window] == list(range(1024))

    def test_a_short_text_is_one_window(self) -> None:
        cut = windows(range(100), None, [2048])
        assert (cut.size, cut.count, cut.left_over) == (100, 1, 0)

    def test_a_text_too_short_to_say_anything_is_refused(self) -> None:
        assert windows(range(SHORTEST), None, []).count == 1
        with pytest.raises(UsageError, match="15 tokens"):
            windows(range(SHORTEST - 1), None, [])


class TestTally:
    def test_figures_are_scipys(self) -> None:
        count = 200
        first = rows(count, 1)
        second = first + rows(count, 2, scale=0.5)
        tokens = np.random.default_rng(3).integers(0, VOCABULARY, count).tolist()
        found = tally_of(first, second, tokens, done=20)

        p, q = (special.softmax(logits.astype(np.float64), axis=1) for logits in (first, second))
        kl = special.rel_entr(p, q).sum(axis=1)
        own = np.arange(count), tokens
        ratios = np.log(p[own] / q[own])
        change = q[own] - p[own]

        def error(values: np.ndarray) -> float:
            return float(stats.sem([values[start : start + 10].mean() for start in range(0, count, 10)]))

        assert found.kl.value == pytest.approx(kl.mean(), rel=1e-9)
        assert found.kl.error == pytest.approx(error(kl), rel=1e-9)
        assert (found.kl_median, found.kl_max) == pytest.approx((np.median(kl), kl.max()), rel=1e-9)
        assert found.kl_p99 == pytest.approx(np.percentile(kl, 99), rel=1e-9)
        same = p.argmax(axis=1) == q.argmax(axis=1)
        assert 0 < same.mean() < 1
        assert (found.agreement.value, found.agreement.error) == pytest.approx((same.mean(), error(same)), rel=1e-9)
        for estimate, shares in ((found.perplexity_first, p), (found.perplexity_second, q)):
            perplexity = stats.gmean(1 / shares[own])
            assert estimate.value == pytest.approx(perplexity, rel=1e-9)
            assert estimate.error == pytest.approx(perplexity * error(np.log(shares[own])), rel=1e-9)
        assert found.perplexity_ratio.value == pytest.approx(np.exp(ratios.mean()), rel=1e-9)
        assert found.perplexity_ratio.error == pytest.approx(np.exp(ratios.mean()) * error(ratios), rel=1e-9)
        rms = np.sqrt((change**2).mean())
        assert found.probability_rms.value == pytest.approx(rms, rel=1e-9)
        assert found.probability_rms.error == pytest.approx(error(change**2) / (2 * rms), rel=1e-9)

    def test_a_model_does_not_differ_from_itself(self) -> None:
        logits = rows(20, 1)
        found = tally_of(logits, logits, [0] * 20, done=10)
        assert (found.kl.value, found.kl.error, found.kl_max, found.agreement.value) == (0, 0, 0, 1)
        assert (found.perplexity_ratio.value, found.probability_rms.value) == (1, 0)

    def test_logits_are_free_of_a_common_offset_and_may_be_large(self) -> None:
        logits = rows(20, 1)
        # A power of two, so that the logits themselves lose little.
        assert tally_of(logits, logits + np.float32(2048), [0] * 20).kl.value == pytest.approx(0, abs=1e-6)

    def test_what_both_rule_out_counts_for_nothing(self) -> None:
        first, second = rows(12, 1), rows(12, 2)
        without = tally_of(first[:, 1:], second[:, 1:], [4] * 12)
        first[:, 0] = second[:, 0] = -np.inf
        found = tally_of(first, second, [5] * 12)
        assert (found.kl.value, found.kl_max) == pytest.approx((without.kl.value, without.kl_max))

    def test_what_only_the_second_rules_out_is_refused(self) -> None:
        first, second = rows(1, 1), rows(1, 2)
        second[:, 7] = -np.inf
        with pytest.raises(ModelError, match="no divergence at position 0"):
            tally_of(first, second, [5])

    @pytest.mark.parametrize("broken", [np.nan, np.inf])
    def test_logits_that_are_no_numbers_are_refused(self, broken: float) -> None:
        first, second = rows(1, 1), rows(1, 2)
        first[:, 7] = broken
        with pytest.raises(ModelError, match="not numbers"):
            tally_of(first, second, [5])

    def test_of_a_few_windows_no_error_is_named(self) -> None:
        found = tally_of(rows(90, 1), rows(90, 2), [0] * 90, done=9)
        assert [found.kl.error, found.perplexity_first.error, found.probability_rms.error] == [None] * 3
        assert found.agreement.error is None

    def test_a_hard_passage_is_not_as_many_independent_trials_as_it_has_positions(self) -> None:
        first = rows(200, 1)
        passages = np.repeat(np.random.default_rng(4).uniform(0, 1, 10), 20).astype(np.float32)
        second = first + passages[:, None] * rows(200, 2, scale=2)
        found = tally_of(first, second, [0] * 200, done=10)
        alone = tally_of(first, second, [0] * 200, done=200)
        assert found.kl.value == pytest.approx(alone.kl.value)
        assert (found.kl.error or 0) > 2 * (alone.kl.error or 0) > 0

    def test_it_says_how_much_of_the_text_it_is_of(self) -> None:
        tally = Tally(Windows(range(1100), 512, None), VOCABULARY)
        tally.add(rows(1, 1)[0], rows(1, 2)[0], 3)
        found = tally.figures(1)
        assert (found.windows, found.planned, found.window, found.tokens, found.left_over, found.scored) == (
            1,
            2,
            512,
            1100,
            76,
            1,
        )

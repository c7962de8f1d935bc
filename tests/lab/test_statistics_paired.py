from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from lmlab.lab.statistics import (
    clustered_wilson,
    mcnemar,
    more_needed,
    paired_bootstrap,
    prompt_outcomes,
    sign_test,
    wilson,
    win_rate,
)

# Darwin's maize, cross- less self-fertilized, in eighths of an inch (Fisher, "The Design of Experiments", 1935, III).
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


class TestExactTests:
    @pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 6), (5, 5), (10, 3), (60, 40), (4000, 3800)])
    def test_the_sign_test_is_scipys(self, wins: int, losses: int) -> None:
        expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)

    def test_published_examples(self) -> None:
        # Zar, "Biostatistical Analysis", example 24.11: deer's hindleg against foreleg, 8 longer and 2 shorter.
        assert sign_test(8, 2) == pytest.approx(0.109375)
        # Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data" (2013): Bentur's children, 1 and 7.
        assert mcnemar(1, 7) == pytest.approx(0.070, abs=5e-4)

    def test_it_finds_a_difference_where_there_is_none_no_more_often_than_it_says(self) -> None:
        for trials in (5, 20, 47):
            chances = stats.binom.pmf(range(trials + 1), trials, 0.5)
            found = sum(chance for wins, chance in enumerate(chances) if sign_test(wins, trials - wins) <= 0.05)
            assert found <= 0.05

    @pytest.mark.parametrize("counts", [(-1, 3), (3, -1)])
    def test_negative_counts_are_refused(self, counts: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="negative"):
            sign_test(*counts)


class TestWinRate:
    def test_the_share_is_of_the_decided(self) -> None:
        rate = win_rate(12, 8, 5)
        assert (rate.share, (rate.low, rate.high), rate.p) == (0.6, wilson(12, 20), sign_test(12, 8))
        assert rate.words() == (
            "won 12 of 20 decided (60%, 95% interval 39% to 78%), 5 tied, left out, p = 0.5, "
            f"about {rate.more} more prompts would decide it"
        )

    def test_one_more_is_one_prompt(self) -> None:
        assert win_rate(5, 0).words().endswith("about 1 more prompt would decide it")

    def test_only_ties_say_nothing_of_a_share(self) -> None:
        rate = win_rate(0, 0, 3)
        assert (rate.share, rate.low, rate.high, rate.p, rate.more) == (None, None, None, 1.0, None)
        assert rate.words() == "nothing decided: 3 tied"

    def test_decided_and_even_are_told_apart(self) -> None:
        assert win_rate(20, 2).words() == "won 20 of 22 decided (91%, 95% interval 72% to 97%), no ties, p = 0.00012"
        assert "even so far" in win_rate(4, 4).words()

    def test_confidence_moves_the_interval_and_the_decision_together(self) -> None:
        assert (win_rate(6, 0).more, win_rate(6, 0, confidence=0.99).more) == (0, 2)
        assert (win_rate(6, 0, confidence=0.99).low or 0) < (win_rate(6, 0).low or 0)


class TestMoreNeeded:
    @pytest.mark.parametrize(("wins", "losses"), [(7, 3), (3, 7), (60, 50), (12, 8), (1, 2), (300, 270)])
    def test_so_many_have_the_power_and_one_less_has_not(self, wins: int, losses: int) -> None:
        def power(extra: int) -> float:
            more, fewer = max(wins, losses), min(wins, losses)
            return sum(
                stats.binom.pmf(won, extra, more / (wins + losses))
                for won in range(extra + 1)
                if more + won > fewer + extra - won
                and stats.binomtest(more + won, wins + losses + extra).pvalue <= 0.05
            )

        needed = more_needed(wins, losses)
        assert needed is not None
        assert power(needed) >= 0.8 > power(needed - 1)

    def test_without_a_loss_it_is_what_the_test_lacks(self) -> None:
        assert [more_needed(wins, 0) for wins in (1, 3, 5, 6)] == [5, 3, 1, 0]

    def test_ties_are_expected_to_go_on(self) -> None:
        assert (more_needed(3, 0), more_needed(3, 0, ties=3)) == (3, 6)

    def test_a_split_even_or_empty_has_no_answer(self) -> None:
        assert (more_needed(0, 0), more_needed(9, 9)) == (None, None)

    def test_a_split_all_but_even_is_answered_soon(self) -> None:
        needed = more_needed(500, 499)
        # (1.96 + 0.84)^2 / (2 share - 1)^2, and a little less for what is there.
        assert needed == pytest.approx(2.8**2 * 999**2, rel=0.01)


class TestBootstrap:
    def test_it_is_scipys_on_darwins_maize(self) -> None:
        interval = paired_bootstrap(DARWIN, resamples=40_000)
        theirs = stats.bootstrap(
            (np.array(DARWIN),), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        assert interval is not None
        assert interval.estimate == pytest.approx(314 / 15)
        assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.5)

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        assert paired_bootstrap(DARWIN) == paired_bootstrap(DARWIN) != paired_bootstrap(DARWIN, seed=1)

    def test_blocks_of_draws_make_no_difference_to_its_width(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = paired_bootstrap(DARWIN)
        monkeypatch.setattr("lmlab.lab.statistics.bootstrap.DRAWS", 64)
        parts = paired_bootstrap(DARWIN)
        assert whole is not None
        assert parts is not None
        assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1.0)

    @pytest.mark.parametrize("differences", [[], [3.0], [1, 1, 1], [[0, 0], [0]]])
    def test_what_does_not_vary_has_no_interval(self, differences: list[float]) -> None:
        assert paired_bootstrap(differences) is None

    @pytest.mark.parametrize(("differences", "named"), [([[1.0], []], "prompt 1"), ([0.0, float("nan")], "prompt 1")])
    def test_what_is_no_difference_is_refused(self, differences: list[float], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            paired_bootstrap(differences)

    def test_a_prompt_counts_once_however_many_answers_it_has(self) -> None:
        assert paired_bootstrap([[1, 1, 1, 1], [0], [0]]) == paired_bootstrap([1, 0, 0])

    @pytest.mark.parametrize(("prompts", "least"), [(10, 0.87), (30, 0.91), (100, 0.92)])
    def test_it_holds_the_true_mean_about_as_often_as_it_says(self, prompts: int, least: float) -> None:
        draw = np.random.default_rng(5)
        held = {"normal": 0, "of wins": 0}
        for _ in range(600):
            samples = {
                "normal": draw.normal(0.2, 1, prompts),
                "of wins": draw.choice([-1, 0, 1], prompts, p=[0.2, 0.4, 0.4]),
            }
            for kind, sample in samples.items():
                interval = paired_bootstrap(sample.tolist(), resamples=1000)
                held[kind] += interval is not None and interval.low <= 0.2 <= interval.high
        assert all(least < count / 600 < 0.98 for count in held.values())

    def test_repeats_taken_for_prompts_would_claim_too_much(self) -> None:
        draw = np.random.default_rng(6)
        clustered = independent = 0
        for _ in range(400):
            # Five answers to each of 40 prompts, that mostly share what the prompt makes of them.
            values = draw.normal(0, 1, (40, 1)) + draw.normal(0, 0.5, (40, 5))
            whole, rows = paired_bootstrap(values.tolist(), 800), paired_bootstrap(values.ravel().tolist(), 800)
            assert whole is not None
            assert rows is not None
            clustered += whole.low <= 0 <= whole.high
            independent += rows.low <= 0 <= rows.high
        assert clustered / 400 > 0.91
        assert independent / 400 < 0.75


class TestClusters:
    def test_a_prompt_is_won_by_the_sum_of_its_answers(self) -> None:
        assert prompt_outcomes([[1, -1, 1], [-1, -1, 1], [1, -1], [0], [0.3 - 0.2, -0.1]]) == (1, 1, 3)

    def test_one_answer_a_prompt_is_wilson(self) -> None:
        interval = clustered_wilson([[True]] * 7 + [[False]] * 3)
        assert (interval.low, interval.high) == pytest.approx(wilson(7, 10))

    def test_answers_all_alike_count_as_one_a_prompt(self) -> None:
        interval = clustered_wilson([[True] * 5] * 7 + [[False] * 5] * 3)
        assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.7, *wilson(7, 10)))
        assert clustered_wilson([[True] * 5] * 10).low == pytest.approx(wilson(10, 10)[0])

    def test_no_answers_have_no_share(self) -> None:
        with pytest.raises(ValueError, match="no answers"):
            clustered_wilson([])

    @pytest.mark.parametrize("alike", [0.0, 0.5, 0.95])
    def test_it_holds_the_true_share_about_as_often_as_it_says(self, alike: float) -> None:
        draw = random.Random(7)
        held = naive = 0
        for _ in range(800):
            clusters = []
            for _ in range(40):
                first = draw.random() < 0.7
                clusters.append([first if draw.random() < alike else draw.random() < 0.7 for _ in range(5)])
            interval = clustered_wilson(clusters)
            held += interval.low <= 0.7 <= interval.high
            low, high = wilson(sum(map(sum, clusters)), 200)
            naive += low <= 0.7 <= high
        assert held / 800 > 0.93
        if alike > 0.9:
            assert naive / 800 < 0.75

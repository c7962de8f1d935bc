"""What marks are made into: always paired, prompts as clusters, several pairs adjusted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.figures import figures_of
from lmlab.lab.compare.measures import by_check, by_judge, by_scores, by_votes, holm
from lmlab.lab.compare.record import Record, Score, Verdict, Vote
from lmlab.lab.statistics import mcnemar, wilson

A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def record(tmp_path: Path) -> Record:
    with closing(Record(tmp_path / "r.jsonl", [A, B, C])) as made:
        yield made


def answer(variant: int, question: str, correct: bool | None, repeat: int = 0, **values: object) -> Answer:
    made = Answer(variant, "v", "run", f"{question}{repeat}", question, repeat, None, "q", "text", "stop", answer="4")
    return replace(made, correct=correct, **values)


def test_correct_answers_are_compared_by_mcnemar_over_prompts_both_answered() -> None:
    first = [True] * 6 + [False] * 4
    second = [True] * 2 + [False] * 6
    answers = [answer(0, f"q{number}", correct) for number, correct in enumerate(first)]
    answers += [answer(1, f"q{number}", correct) for number, correct in enumerate(second)]
    measure = by_check(answers, 2, "number")
    assert measure is not None
    assert [(mean.mean, mean.prompts) for mean in measure.means] == [(0.6, 10), (0.25, 8)]
    assert (measure.means[0].low, measure.means[0].high) == pytest.approx(wilson(6, 10))
    (duel,) = measure.duels
    assert (duel.rate.wins, duel.rate.losses, duel.rate.ties) == (4, 0, 4)
    assert duel.rate.p == mcnemar(4, 0)
    assert duel.mean == 0.5
    assert duel.low is not None
    assert duel.low < 0.5


def test_repeats_of_a_prompt_are_one_trial() -> None:
    once = [answer(0, f"q{n}", True) for n in range(3)] + [answer(1, f"q{n}", False) for n in range(3)]
    often = [replace(one, repeat=repeat, key=f"{one.question}{repeat}") for one in once for repeat in range(20)]
    first, second = by_check(once, 2, "number"), by_check(often, 2, "number")
    assert first is not None
    assert second is not None
    assert first.duels[0].rate == second.duels[0].rate
    assert (second.duels[0].answers, len(second.duels[0].differences)) == (60, 3)


def test_answers_are_paired_repeat_by_repeat() -> None:
    answers = [answer(0, "q", True, 0), answer(0, "q", False, 1), answer(1, "q", False, 0)]
    measure = by_check(answers, 2, "number")
    assert measure is not None
    assert (measure.duels[0].mean, measure.duels[0].answers) == (1.0, 1)


def test_a_reply_without_an_answer_is_not_correct_and_is_told() -> None:
    measure = by_check([answer(0, "q", False, answer=None), answer(1, "q", True)], 2, "number")
    assert measure is not None
    assert measure.notes == ("no answer could be read off 1 reply: not correct",)
    assert by_check([answer(0, "q", None)], 2, "number") is None


def test_scores_are_means_of_prompts_and_a_missing_one_is_told(record: Record) -> None:
    for number, (first, second) in enumerate([(3.0, 1.0), (2.0, 2.0), (5.0, None)]):
        for run, score in ((A, first), (B, second)):
            record.add(Score("command:x", f"k{number}", f"q{number}", 0, run, score))
    measure = by_scores(record, {"k0", "k1", "k2"}, [A, B], "command:x")
    assert measure is not None
    assert [mean.mean for mean in measure.means] == [pytest.approx(10 / 3), 1.5]
    assert (measure.duels[0].mean, measure.duels[0].rate.wins, measure.duels[0].rate.ties) == (1.0, 1, 1)
    assert measure.notes == ("1 answer could not be marked",)
    assert by_scores(record, {"k0"}, [A, B], "command:x") != measure
    assert by_scores(record, {"k0"}, [A, B], "regex:x") is None


def test_verdicts_count_whichever_way_they_were_kept(record: Record) -> None:
    record.add(Verdict("j", "id", "k0", "q0", 0, (A, B), 1.0, asked=True))
    record.add(Verdict("j", "id", "k1", "q1", 0, (B, A), 0.0, asked=True))
    record.add(Verdict("j", "id", "k2", "q2", 0, (A, B), 0.5, asked=True, swayed=True))
    record.add(Verdict("j", "id", "k3", "q3", 0, (A, B), None, asked=True))
    record.add(Verdict("j", "another", "k0", "q0", 0, (A, B), 0.0, asked=True))
    measure = by_judge(record, {"k0", "k1", "k2", "k3"}, [A, B], "j", "id")
    assert measure is not None
    rate = measure.duels[0].rate
    assert (rate.wins, rate.losses, rate.ties) == (2, 0, 1)
    assert measure.duels[0].mean is None
    assert "in 1 of them the judge named the same place in both orders" in measure.notes[1]
    assert "1 pair left out" in measure.notes[-1]


def test_a_vote_among_three_says_nothing_of_the_two_that_lost(record: Record) -> None:
    record.add(Vote("k0", "q0", 0, (A, B, C), "win", A, blind=True))
    record.add(Vote("k1", "q1", 0, (A, B, C), "bad"))
    measure = by_votes(record, {"k0", "k1"}, [A, B, C])
    assert measure is not None
    counts = {(duel.first, duel.second): (duel.rate.wins, duel.rate.losses, duel.rate.ties) for duel in measure.duels}
    assert counts == {(0, 1): (1, 0, 1), (0, 2): (1, 0, 1), (1, 2): (0, 0, 1)}
    assert measure.notes == ("2 votes, 1 of them blind", "1 found all answers bad, which counts as a tie")


def test_holms_method() -> None:
    # The example of the R manual's p.adjust: 0.01, 0.02, 0.03, 0.04, 0.05 become 0.05, 0.08, 0.09, 0.09, 0.09.
    chances = {(0, number): (number + 1) / 100 for number in range(5)}
    assert list(holm(chances).values()) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm({(0, 1): 0.8, (0, 2): 0.9}) == {(0, 1): 1.0, (0, 2): 1.0}


def test_more_prompts_are_named_that_decide_it_beside_all_pairs(record: Record) -> None:
    for number in range(6):
        record.add(Vote(f"k{number}", f"q{number}", 0, (A, B, C), "win", A))
    keys = {f"k{number}" for number in range(6)}
    alone, beside = by_votes(record, keys, [A, B]), by_votes(record, keys, [A, B, C])
    assert alone is not None
    assert beside is not None
    # Six of six: p = 0.031, which is 0.094 of three pairs; seven of seven are 0.047 there.
    assert alone.duels[0].more == 0
    assert [round(duel.adjusted, 3) for duel in beside.duels] == [0.094, 0.094, 1.0]
    assert [duel.more for duel in beside.duels] == [1, 1, None]


def test_figures_leave_out_what_failed() -> None:
    answers = [
        answer(
            0, "a", None, tokens=10, prompt_tokens=100, cached_tokens=50, ttft_s=1.0, tokens_per_s=20.0, logprob=-1.0
        ),
        answer(
            0, "b", None, tokens=20, prompt_tokens=100, cached_tokens=100, ttft_s=3.0, reason="length", logprob=-2.0
        ),
        answer(0, "c", None, reason="error", error="odd", tokens=0),
    ]
    figures = figures_of(answers)
    assert (figures.answers, figures.failed, figures.cut, figures.first_failure) == (2, 1, 1, "odd")
    assert (figures.tokens, figures.longest, figures.cached) == (15.0, 20, 0.75)
    assert (figures.ttft_s, figures.tokens_per_s, figures.logprob) == (2.0, 20.0, -1.5)
    assert figures_of([]).cached is None

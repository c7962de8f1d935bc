"""The vote: what counts as one answer, when the majority stands, and who wins."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selector_harness import QUESTION, answers, candidate, notes, scores

from lmlab.errors import LmlabError
from lmlab.lab.selectors.vote import VoteSelector, ballot

VOTE = VoteSelector()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,200", "1200"),
        ("1200.0", "1200"),
        ("$1,200.00", "1200."),
        ("-3", "−3"),
        ("+0.50", ".5"),
        ("Paris", " paris. "),
        ('"New  York"', "new york"),
        ("**yes**", "Yes!"),
        ("12345678901234567890123456789012.0", "12345678901234567890123456789012"),
    ],
)
def test_spellings_of_one_answer_are_one(one: str, other: str) -> None:
    assert ballot(one) == ballot(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "120"),
        ("1,2", "12"),
        ("3", "-3"),
        ("1.5", "15"),
        ("!", "?"),
        ("5 km", "5"),
        ("-12345678901234567890123456789012", "-12345678901234567890123456789013"),
    ],
)
def test_different_answers_stay_so(one: str, other: str) -> None:
    assert ballot(one) != ballot(other)


def test_the_majority_wins_by_its_most_probable_candidate() -> None:
    choice = VOTE.choose(QUESTION, answers("41", "42", "42.0", "42"))
    assert choice.selected == 1
    assert choice.best.answer == "42"
    assert choice.why == "3 of 4 say 42"
    assert scores(choice) == [0.25, 0.75, 0.75, 0.75]


def test_a_tie_goes_to_the_more_probable_answer() -> None:
    pool = [
        candidate(0, "a", -0.1, answer="1"),
        candidate(1, "b", -5.0, answer="1"),
        candidate(2, "c", -1.0, answer="2"),
        candidate(3, "d", -1.0, answer="2"),
    ]
    choice = VOTE.choose(QUESTION, pool)
    assert choice.best.answer == "2"
    assert choice.why == "2 of 4 say 2, as many say 1: the more probable"


def test_a_candidate_without_an_answer_has_no_vote() -> None:
    choice = VOTE.choose(QUESTION, answers(None, None, "7", None))
    assert choice.selected == 2
    assert choice.why == "1 of 4 say 7"
    assert scores(choice) == [0.0, 0.0, 0.25, 0.0]
    assert notes(choice) == ["no answer", "no answer", "", "no answer"]


def test_with_no_answer_at_all_the_most_probable_is_kept_and_that_is_said() -> None:
    choice = VOTE.choose(QUESTION, answers(None, " ", None))
    assert choice.selected == 0
    assert choice.why == "no answer was found in any of 3: the most probable"


def test_a_single_candidate_is_chosen() -> None:
    assert VOTE.choose(QUESTION, answers("7")).why == "the only candidate says 7"
    assert VOTE.choose(QUESTION, answers(None)).why == "no answer was found in the only candidate"


def test_cancelled_candidates_are_saved_and_have_no_vote() -> None:
    pool = [*answers("1", "2", "2"), candidate(3, "It", None, answer="1", reason="cancelled")]
    choice = VOTE.choose(QUESTION, pool)
    assert (choice.best.answer, choice.saved, choice.why) == ("2", 1, "2 of 3 say 2")
    assert scores(choice)[3] is None


def test_nothing_can_be_chosen_when_every_candidate_failed() -> None:
    with pytest.raises(LmlabError, match="none of 2 candidates came to its end"):
        VOTE.choose(QUESTION, [candidate(0, reason="error"), candidate(1, reason="cancelled")])


@pytest.mark.parametrize(
    ("said", "total", "settled"),
    [
        (["1", "1"], 3, True),
        (["1"], 2, False),
        (["1", "1"], 4, False),
        (["1", "1", "1", "2"], 5, True),
        (["1", "1", "1", "2"], 6, False),
        ([None, None], 3, False),
        ([None, "1"], 2, True),
        ([None, "1"], 3, False),
        ([], 1, False),
        (["1", "2"], 2, True),
    ],
)
def test_when_a_vote_is_settled(said: list[str | None], total: int, settled: bool) -> None:
    assert VOTE.settled(answers(*said), total) is settled


@given(
    said=st.lists(st.sampled_from(["1", "2", "3", None]), max_size=5),
    running=st.integers(0, 3),
)
def test_settled_is_what_trying_every_completion_says(said: list[str | None], running: int) -> None:
    ended = answers(*said)
    # "new" is an answer that nobody has given yet.
    leaders = [_leaders([*said, *rest]) for rest in product(["1", "2", "3", "new", None], repeat=running)]
    one_leader = len(leaders[0]) == 1 and all(leader == leaders[0] for leader in leaders)
    assert VOTE.settled(ended, len(ended) + running) is (running == 0 or one_leader)


def test_a_vote_counts_candidates_in_their_order_whichever_was_the_quicker() -> None:
    """What is kept follows from the candidates alone: a later one that ended early changes nothing."""
    first, second, third, fourth = answers("2", "1", "1", "1")
    assert not VOTE.settled([second, third, fourth], 5)
    assert VOTE.settled([first, second, third, fourth], 5)
    late = candidate(4, answer="2", logprob=-0.01)
    stopped = candidate(4, answer=None, reason="cancelled")
    for fifth in (late, stopped):
        made = VOTE.choose(QUESTION, [first, second, third, fourth, fifth])
        assert (made.best.answer, made.why) == ("1", "3 of 4 say 1")
        assert [one.score for one in made.candidates] == [0.25, 0.75, 0.75, 0.75, None]


def _leaders(said: list[str | None]) -> set[str]:
    votes = Counter(answer for answer in said if answer is not None)
    return {answer for answer, count in votes.items() if count == max(votes.values())}


@given(st.lists(st.tuples(st.sampled_from(["1", "1.0", "2", None]), st.floats(-9, 0)), min_size=1, max_size=6))
def test_the_chosen_answer_has_as_many_votes_as_any(said: list[tuple[str | None, float]]) -> None:
    pool = [candidate(index, f"It is {a}", logprob, answer=a) for index, (a, logprob) in enumerate(said)]
    votes = Counter(ballot(answer) for answer, _ in said if answer is not None)
    chosen = VOTE.choose(QUESTION, pool).best.answer
    if votes:
        assert chosen is not None
        assert votes[ballot(chosen)] == max(votes.values())
    else:
        assert chosen is None

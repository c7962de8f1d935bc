"""Training rows: what is kept, what is chosen and rejected, and why some answers make none."""

from __future__ import annotations

from typing import Any

import pytest

from lmlab.backends import ChatPrompt, Message, Prompt, TextPrompt
from lmlab.errors import UsageError
from lmlab.lab.batch.training import parse_keep, training_row
from lmlab.lab.best_of import Candidate, Choice, parse_selector

CHAT = ChatPrompt((Message("system", "Be brief"), Message("user", "Hi")))
TEXT = TextPrompt("Once")
ASKED = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]


def candidate(index: int, text: str, score: float | None, **options: Any) -> Candidate:
    return Candidate(index, text, options.pop("reason", "stop"), (1,), -0.5, score=score, **options)


def choice(*candidates: Candidate, selected: int = 0) -> Choice:
    return Choice(selected, "x", "", candidates)


def row(keep: str, made: Choice, *, prompt: Prompt = CHAT, selector: str = "logprob", **correct: bool) -> Any:
    known = {int(name[1:]): value for name, value in correct.items()}
    return training_row(parse_keep(keep), prompt, made, parse_selector(selector), known)


GOOD, WORSE, WORST = candidate(0, "good", 3.0), candidate(1, "worse", 2.0), candidate(2, "worst", 1.0)


def test_best_is_the_conversation_with_the_answer_kept() -> None:
    assert row("best", choice(GOOD, WORSE)) == {
        "messages": [*ASKED, {"role": "assistant", "content": "good"}],
        "score": 3.0,
    }


def test_a_text_has_a_completion() -> None:
    assert row("best", choice(GOOD), prompt=TEXT) == {"prompt": "Once", "completion": "good", "score": 3.0}
    pair = row("pairs", choice(GOOD, WORSE), prompt=TEXT)
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("Once", "good", "worse")


def test_pairs_are_the_best_and_the_worst() -> None:
    assert row("pairs", choice(GOOD, WORSE, WORST)) == {
        "prompt": ASKED,
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "worst"}],
        "chosen_score": 3.0,
        "rejected_score": 1.0,
    }


def test_where_the_answer_is_known_a_wrong_one_is_rejected_whatever_its_score() -> None:
    pair = row("pairs", choice(GOOD, WORSE, WORST), c0=True, c1=False, c2=True)
    assert pair["rejected"][0]["content"] == "worse"
    assert row("pairs", choice(GOOD, WORSE), c0=True, c1=True) == "no candidate is worse than the one chosen"


@pytest.mark.parametrize("keep", ["best", "pairs"])
def test_a_wrong_answer_is_never_kept(keep: str) -> None:
    assert row(keep, choice(GOOD, WORSE), c0=False, c1=True) == "the answer chosen is not the expected one"


@pytest.mark.parametrize("selector", ["regex:x", "command:true"])
def test_an_answer_that_did_not_pass_is_never_kept(selector: str) -> None:
    failed = choice(candidate(0, "a", 0.0), candidate(1, "b", 0.0))
    assert row("best", failed, selector=selector) == f"no candidate passed {selector}: none has a score above 0"
    below = choice(candidate(0, "a", -1.0), candidate(1, "b", -2.0))
    assert isinstance(row("best", below, selector=selector), str)
    assert isinstance(row("best", choice(candidate(0, "a", 1.0)), selector=selector), dict)


def test_nothing_is_rejected_that_is_as_good_or_was_cut_off() -> None:
    none = "no candidate is worse than the one chosen"
    assert row("pairs", choice(GOOD, candidate(1, "equal", 3.0))) == none
    assert row("pairs", choice(GOOD, candidate(1, "good", 1.0))) == none
    assert row("pairs", choice(GOOD, candidate(1, "half", None, reason="cancelled"))) == none


def test_all_has_every_candidate_and_which_was_chosen() -> None:
    found = row("all", choice(GOOD, WORSE), c0=False, c1=True)
    assert found["prompt"] == ASKED
    assert [(one["completion"], one["score"], one["selected"], one["correct"]) for one in found["candidates"]] == [
        ([{"role": "assistant", "content": "good"}], 3.0, True, False),
        ([{"role": "assistant", "content": "worse"}], 2.0, False, True),
    ]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="give one of best, all, pairs"):
        parse_keep("worst")

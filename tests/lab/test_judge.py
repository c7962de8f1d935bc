"""A judge: whom it is asked about, in which order, and what becomes of its replies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from selector_harness import QUESTION, candidate, notes, replies, scores

from lmlab.backends import ChatPrompt, LoadSpec, Request, TextPrompt
from lmlab.backends.fake import FakeBackend, fake_info
from lmlab.errors import ContextOverflow, EngineStopped, LmlabError, PromptError, UsageError
from lmlab.lab.best_of import Candidate, Choice
from lmlab.lab.selectors.judge import JudgeSelector

SCORE = """---
name: judge
description: Score.
inputs: {question: {}, reply: {}}
answer: {regex: 'Score: (.*)'}
---
Question={{ question }}
Reply={{ reply }}
"""
PAIR = """---
name: judge-pair
description: Compare.
inputs: {question: {}, first: {}, second: {}}
answer: {regex: 'Better: (.*)'}
sampling: {temperature: 0.9, max_tokens: 20, stop: ['END']}
---
Question={{ question }}
First={{ first }}
Second={{ second }}
"""

Verdict: TypeAlias = Callable[..., str]


class Court(FakeBackend):
    """A model that says ``score`` of a reply and ``better`` of two, and cannot read what has ``long`` in it."""

    def __init__(self, *, chat: bool = True, score: Verdict | None = None, better: Verdict | None = None) -> None:
        info = replace(fake_info(), chat_template=chat)
        super().__init__(LoadSpec("judge.gguf"), lambda status: None, auto=True, info=info)
        self.score, self.better = score, better
        self.asked: list[tuple[str, ...]] = []

    def generate(self, request: Request, sink):  # type: ignore[no-untyped-def]
        lines = dict(line.split("=", 1) for line in text_of(request).splitlines() if "=" in line)
        texts = tuple(lines[name] for name in ("Reply", "First", "Second") if name in lines)
        self.asked.append(texts)
        if any("long" in text for text in texts):
            self.script((), error=ContextOverflow(9000, 8192))
        elif len(texts) == 1:
            assert self.score is not None
            self.script([f"Score: {self.score(*texts)}"])
        else:
            assert self.better is not None
            self.script([f"Better: {self.better(*texts)}"])
        return super().generate(request, sink)


def text_of(request: Request) -> str:
    if isinstance(request.prompt, ChatPrompt):
        return request.prompt.messages[-1].content
    return request.prompt.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "judge.md").write_text(SCORE)
    (tmp_path / "judge-pair.md").write_text(PAIR)
    return tmp_path


def judged(court: FakeBackend, folder: Path, pool: list[Candidate]) -> Choice:
    return JudgeSelector.open("judge", court, folder).choose(QUESTION, pool)


def longer(first: str, second: str) -> str:
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def test_two_are_compared_in_both_orders(folder: Path) -> None:
    court = Court(better=longer)
    choice = judged(court, folder, replies("a", "aa"))
    assert court.asked == [("a", "aa"), ("aa", "a")]
    assert (choice.selected, scores(choice)) == (1, [0.0, 1.0])
    assert choice.why == "won 100% of its comparisons"
    assert notes(choice) == ["won 0 of 1 comparison", "won 1 of 1 comparison"]


def test_up_to_four_are_compared_each_with_each(folder: Path) -> None:
    court = Court(better=longer)
    choice = judged(court, folder, replies("a", "aaaa", "aa", "aaa"))
    assert len(court.asked) == len(set(court.asked)) == 12
    assert choice.selected == 1
    assert scores(choice) == [0.0, 1.0, pytest.approx(1 / 3), pytest.approx(2 / 3)]


@pytest.mark.parametrize("favourite", ["A", "B"])
def test_a_judge_that_prefers_a_place_prefers_nobody(folder: Path, favourite: str) -> None:
    choice = judged(Court(better=lambda first, second: favourite), folder, replies("a", "b", "c"))
    assert (choice.selected, scores(choice)) == (0, [0.5, 0.5, 0.5])
    assert choice.why == "3 are equal, each won 50% of its comparisons: the most probable"


@pytest.mark.parametrize(
    ("said", "won"),
    [("(B).", 1.0), ("answer b", 1.0), ("**B**", 1.0), ("tie", 0.5), ("Tie.", 0.5), ("AB", 0.5), ("Both", 0.5)],
)
def test_verdicts_as_models_write_them(folder: Path, said: str, won: float) -> None:
    choice = judged(Court(better=lambda first, second: said if second == "b" else "A"), folder, replies("a", "b"))
    assert scores(choice)[1] == won


def test_equal_texts_are_judged_once(folder: Path) -> None:
    court = Court(better=longer)
    pool = [candidate(0, "a"), candidate(1, "aa", -3.0), candidate(2, "aa", -2.0), candidate(3, "a")]
    choice = judged(court, folder, pool)
    assert len(court.asked) == 2
    assert (choice.selected, scores(choice)) == (2, [0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("texts", "selected", "why"),
    [
        (("a",), 0, "the only candidate"),
        (("a", "a"), 0, "all 2 candidates are the same"),
        (("", " "), 0, "all 2 candidates are empty"),
        (("", "a", "a"), 1, "the only text among the candidates"),
    ],
)
def test_where_there_is_nothing_to_compare_nobody_is_asked(
    folder: Path, texts: tuple[str, ...], selected: int, why: str
) -> None:
    court = Court()
    choice = judged(court, folder, replies(*texts))
    assert (choice.selected, choice.why, court.asked) == (selected, why, [])


def test_cancelled_and_empty_candidates_are_not_judged(folder: Path) -> None:
    court = Court(better=longer)
    pool = [*replies("a", "aa", ""), candidate(3, "aaa", reason="cancelled")]
    choice = judged(court, folder, pool)
    assert (len(court.asked), choice.selected, choice.saved) == (2, 1, 1)
    assert notes(choice)[2] == "empty: not judged"


def test_more_than_four_are_scored_one_by_one(folder: Path) -> None:
    court = Court(score=lambda text: f"{len(text)}/10")
    choice = judged(court, folder, replies("a", "aa", "aaaaa", "aaaa", "aaa"))
    assert court.asked == [("a",), ("aa",), ("aaaaa",), ("aaaa",), ("aaa",)]
    assert (choice.selected, scores(choice)) == (2, [1.0, 2.0, 5.0, 4.0, 3.0])
    assert choice.why == "scored 5 by the judge"


def test_of_those_with_the_highest_score_the_most_probable_four_are_compared(folder: Path) -> None:
    court = Court(score=lambda text: "9" if text != "low" else "2", better=longer)
    choice = judged(court, folder, replies("a", "aa", "low", "aaa", "aaaa", "aaaaa"))
    assert len(court.asked) == 6 + 12
    assert ("low", "a") not in court.asked
    assert choice.selected == 4
    assert choice.why == "5 have the highest score, 9; won 100% of its comparisons"
    assert scores(choice) == [9.0, 9.0, 2.0, 9.0, 9.0, 9.0]


def test_a_reply_without_a_verdict_counts_as_a_tie_and_is_noted(folder: Path) -> None:
    court = Court(better=lambda first, second: "who knows" if "a" in (first, second) else longer(first, second))
    choice = judged(court, folder, replies("a", "bb", "ccc"))
    assert (choice.selected, scores(choice)) == (2, [0.5, 0.25, 0.75])
    assert notes(choice)[0] == "won 1 of 2 comparisons; 4 of 4 replies of the judge had no readable verdict"


@pytest.mark.parametrize("count", [2, 5])
def test_no_readable_verdict_at_all_is_said(folder: Path, count: int) -> None:
    court = Court(score=lambda text: "great", better=lambda first, second: "who knows")
    choice = judged(court, folder, replies(*"abcde"[:count]))
    assert (choice.selected, choice.why) == (0, "no verdict could be read off the judge's replies: the most probable")
    assert all("readable verdict" in note for note in notes(choice))


@pytest.mark.parametrize("count", [3, 5])
def test_a_candidate_too_long_to_judge_keeps_no_other_from_being_judged(folder: Path, count: int) -> None:
    court = Court(score=lambda text: str(len(text)), better=longer)
    choice = judged(court, folder, replies("long", "a", "aa", "aaa", "aaaa")[:count])
    assert choice.selected == count - 1
    assert scores(choice)[0] is None
    assert notes(choice)[0].startswith("not judged: the prompt has 9,000 tokens")


def test_what_could_be_scored_but_not_compared_goes_by_log_probability(folder: Path) -> None:
    class Narrow(Court):
        def generate(self, request: Request, sink):  # type: ignore[no-untyped-def]
            if "Second=" in text_of(request):
                self.script((), error=ContextOverflow(9000, 8192))
                return FakeBackend.generate(self, request, sink)
            return super().generate(request, sink)

    choice = judged(Narrow(score=lambda text: "9" if text in "bc" else "1"), folder, replies(*"abcde"))
    assert choice.selected == 1
    assert (
        "2 have the highest score, 9, and could not be compared (the judge cannot be asked: the prompt has 9,000 tokens"
        in choice.why
    )


@pytest.mark.parametrize("count", [2, 5])
def test_when_no_candidate_can_be_judged_the_reason_is_raised(folder: Path, count: int) -> None:
    with pytest.raises(PromptError, match="the judge cannot be asked: the prompt has 9,000 tokens"):
        judged(Court(), folder, replies(*(f"long {number}" for number in range(count))))


def test_a_judge_that_dies_is_raised(folder: Path) -> None:
    court = Court(better=longer)
    court.script((), error=EngineStopped("the engine stopped: killed by signal 9"))
    with pytest.raises(EngineStopped, match="signal 9"):
        judged(court, folder, replies("a", "aa"))


def test_the_judge_is_asked_greedily_whatever_the_template_says(folder: Path) -> None:
    court = Court(better=longer, score=lambda text: str(len(text)))
    judged(court, folder, replies("a", "aa"))
    judged(court, folder, replies("a", "aa", "aaa", "aaaa", "aaaaa"))
    pair, single = court.requests[0], court.requests[-1]
    assert (pair.sampling.temperature, pair.sampling.seed, pair.stream) == (0.0, 0, False)
    assert (pair.sampling.max_tokens, pair.sampling.stop) == (20, ("END",))
    assert single.sampling.max_tokens == 512
    assert len({request.id for request in court.requests}) == len(court.requests)


def test_a_base_model_judges_by_text(folder: Path) -> None:
    court = Court(chat=False, better=lambda first, second: longer(first, second) + "\n")
    choice = judged(court, folder, replies("a", "aa"))
    assert choice.selected == 1
    request = court.requests[0]
    assert isinstance(request.prompt, TextPrompt)
    assert request.prompt.text.endswith("Second=aa\nAnswer:")
    assert request.sampling.stop == ("END", "\n\nQuestion=")


def test_a_template_that_cannot_judge_is_refused_at_once(folder: Path) -> None:
    (folder / "judge.md").write_text(SCORE.replace("reply", "text"))
    with pytest.raises(UsageError, match="inputs must be question, reply: they are question, text"):
        JudgeSelector.open("judge", Court(), folder)
    (folder / "judge.md").write_text("---\nname: judge\n---\nHi")
    with pytest.raises(PromptError, match=r"judge\.md, line"):
        JudgeSelector.open("judge", Court(), folder)


def test_closing_ends_what_the_judge_is_asked(folder: Path) -> None:
    backend = FakeBackend(LoadSpec("judge.gguf"), lambda status: None)
    backend.ready()
    selector = JudgeSelector.open("judge", backend, folder)
    failures: list[LmlabError] = []

    def choose() -> None:
        try:
            selector.choose(QUESTION, replies("a", "b"))
        except LmlabError as error:
            failures.append(error)

    waiting = threading.Thread(target=choose)
    waiting.start()
    while len(backend.requests) < 2:
        threading.Event().wait(0.01)
    selector.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert [str(failure) for failure in failures] == ["the judging was stopped"]


def test_the_templates_of_the_library_are_fit_to_judge() -> None:
    court = Court()
    court.script_candidates(["Reason: The second is right.\nBetter: B"])
    court.script_candidates(["Reason: The first is right.\nBetter: A"])
    selector = JudgeSelector.open("judge", court, None)
    court.generate = lambda request, sink: FakeBackend.generate(court, request, sink)  # type: ignore[method-assign]
    choice = selector.choose(QUESTION, replies("six", "seven"))
    assert (choice.selected, scores(choice)) == (1, [0.0, 1.0])

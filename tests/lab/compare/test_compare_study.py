"""Answers, marks and verdicts of a whole comparison: what is done, what is passed over, what is done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from compare_desk import CHECKED, Desk, prompts, rows, says

from lmlab.backends import ChatPrompt, Request
from lmlab.backends.fake import FakeBackend
from lmlab.errors import EngineStopped, LmlabError, ModelLoadError, UsageError
from lmlab.lab.batch.row import BadRow
from lmlab.lab.best_of import SelectorSpec, parse_selector
from lmlab.lab.compare.case import cases
from lmlab.lab.compare.series import Progress
from lmlab.lab.compare.study import Drawn
from lmlab.lab.compare.weighing import parse_scorer
from lmlab.lab.task import Task
from lmlab.prompting import Renderer, load


def checked(folder: Path) -> Task:
    file = folder / "sums.md"
    file.write_text(CHECKED)
    return Task(Renderer(load(str(file), None)))


def asked(desk: Desk) -> Counter[str]:
    """Return how many requests each model got."""
    return Counter({name: len(backend.requests) for name, backend in desk.backends.items()})


def test_every_prompt_is_put_to_every_variant_as_often_as_asked(desk: Desk) -> None:
    report = desk.study(prompts("one", "two", "three", repeats=2), desk.plan("a"), desk.plan("b"))
    assert report is not None
    assert asked(desk) == {"a": 6, "b": 6}
    assert (len(report.prompts), report.repeats, report.missing, report.failed) == (3, 2, 0, 0)
    assert len({request.sampling.seed for request in desk.backends["a"].requests}) == 6
    assert not any(request.stream for request in desk.backends["a"].requests)
    assert all(backend.closed for backend in desk.backends.values())


def test_the_same_command_again_draws_nothing_and_loads_nothing(desk: Desk) -> None:
    plans = (desk.plan("a"), desk.plan("b"))
    first = desk.study(prompts("one", "two"), *plans)
    desk.opened.clear()
    second = desk.study(prompts("one", "two"), *plans)
    assert desk.opened == []
    assert first is not None
    assert second is not None
    assert [one.cases for one in first.prompts] == [one.cases for one in second.prompts]
    assert isinstance(desk.progress[-1], Drawn)
    assert desk.progress[-1].progress == Progress(found=4)


def test_more_prompts_repeats_and_variants_go_on_from_what_is_there(desk: Desk) -> None:
    desk.study(prompts("one"), desk.plan("a"), desk.plan("b"))
    desk.study(prompts("one", "two", repeats=2), desk.plan("a"), desk.plan("b"), desk.plan("c"))
    assert asked(desk) == {"a": 3, "b": 3, "c": 4}


def test_a_failed_answer_is_drawn_again_by_the_next_run(desk: Desk) -> None:
    plans = (desk.plan("a"), desk.plan("b"))
    desk.prepare = lambda backend: backend.script((), error=LmlabError("odd")) if "a." in backend.spec.path else None
    first = desk.study(prompts("one"), *plans)
    assert first is not None
    assert first.failed == 1
    assert first.figures[0].first_failure == "odd"
    desk.prepare = lambda backend: None
    second = desk.study(prompts("one"), *plans)
    assert second is not None
    assert (second.failed, asked(desk)) == (0, {"a": 1, "b": 0})


def test_a_bad_row_fails_alone_and_loads_no_model_a_second_time(desk: Desk) -> None:
    bad = BadRow(1, 1, None, UsageError("x.jsonl, line 1: broken"), 1)
    every = list(cases([bad, *rows("fine")]))
    first = desk.study(every, desk.plan("a"), desk.plan("b"))
    assert first is not None
    assert (first.failed, first.figures[0].answers) == (2, 1)
    desk.opened.clear()
    assert desk.study(every, desk.plan("a"), desk.plan("b")) is not None
    assert desk.opened == []


def test_an_answer_whose_worker_died_is_drawn_once_more_and_alone(desk: Desk) -> None:
    running: list[int] = []

    def prepare(backend: FakeBackend) -> None:
        if "a." in backend.spec.path:
            backend.script("fine")
            backend.script((), error=EngineStopped("the engine stopped"))
            backend.script("fine")
            backend.script(lambda request: (running.append(len(backend.running)), ["again"])[1])

    desk.prepare = prepare
    report = desk.study(prompts("one", "two", "three"), desk.plan("a"), desk.plan("b"))
    assert report is not None
    assert report.failed == 0
    assert running == [1]
    assert sorted(prompt.cases[0].answers[0].text for prompt in report.prompts if prompt.cases[0].answers[0]) == [
        "again",
        "fine",
        "fine",
    ]


def test_one_that_dies_twice_has_failed_and_the_others_are_there(desk: Desk) -> None:
    def prepare(backend: FakeBackend) -> None:
        if "a." in backend.spec.path:
            for _ in range(2):
                backend.script((), error=EngineStopped("the engine stopped"))

    desk.prepare = prepare
    report = desk.study(prompts("one"), desk.plan("a"), desk.plan("b"))
    assert report is not None
    assert (report.failed, asked(desk)) == (1, {"a": 2, "b": 1})


def test_a_model_that_does_not_load_again_ends_it(desk: Desk) -> None:
    desk.prepare = lambda backend: backend.script((), error=ModelLoadError("gone"))
    with pytest.raises(ModelLoadError, match="gone"):
        desk.study(prompts("one"), desk.plan("a"), desk.plan("b"))


def test_sequential_holds_one_model_at_a_time_and_has_seen_each_before(desk: Desk) -> None:
    held: list[int] = []
    desk.prepare = lambda backend: held.append(sum(not one.closed for one in desk.backends.values()))
    report = desk.study(
        prompts("one", "two"), desk.plan("a"), desk.plan("b"), desk.plan("a", "c", seed=1), sequential=True
    )
    assert report is not None
    assert report.missing == 0
    assert held == [1] * 4
    assert [Path(spec.path).stem for spec in desk.opened] == ["a", "b", "a", "b"]
    assert {spec.threads for spec in desk.opened} == {None}


def test_correct_answers_are_told_by_the_templates_check(desk: Desk) -> None:
    task = checked(desk.folder)
    desk.prepare = says({"a": "It is 4.", "b": "It is 5."})
    every = list(cases(rows({"question": "2+2", "answer": 4}, {"question": "2+3", "answer": "5"}, {"question": "?"})))
    report = desk.study(every, desk.plan("a", task=task), desk.plan("b", task=task))
    assert report is not None
    (measure,) = report.measures
    assert (measure.kind, measure.name) == ("check", "number")
    assert [mean.mean for mean in measure.means] == [0.5, 0.5]
    assert [mean.prompts for mean in measure.means] == [2, 2]
    assert (measure.duels[0].rate.wins, measure.duels[0].rate.losses) == (1, 1)
    assert report.prompts[0].text == "2+2"
    assert report.prompts[0].asked == ("Add: 2+2",)


def test_scorers_mark_each_answer_and_not_twice_but_for_commands(desk: Desk) -> None:
    desk.prepare = says({"a": "yes", "b": "no"})
    plans = (desk.plan("a"), desk.plan("b"))
    scorers = (parse_selector("regex:yes"), parse_selector("command:exit 0"))
    report = desk.study(prompts("one", "two"), *plans, scorers=scorers)
    assert report is not None
    assert [[mean.mean for mean in measure.means] for measure in report.measures] == [[1, 0], [1, 1]]
    assert report.measures[0].duels[0].rate.wins == 2
    assert len(desk.lines("score")) == 8
    desk.study(prompts("one", "two"), *plans, scorers=scorers)
    assert Counter(line["by"] for line in desk.lines("score")) == {"regex:yes": 4, "command:exit 0": 8}


def test_a_reward_model_is_another_scorer_when_its_file_changes(desk: Desk) -> None:
    plans = (desk.plan("a"), desk.plan("b"))
    scorer = SelectorSpec("reward", "r")
    for _ in range(2):
        report = desk.study(prompts("one"), *plans, scorers=(scorer,))
        assert report is not None
        assert report.measures[0].name.startswith("reward:r (")
    assert len(desk.lines("score")) == 2


def judge_says(verdicts: dict[str, str]) -> dict[str, object]:
    """Return what has the judge prefer, by the answer that is shown first."""

    def reply(request: Request) -> list[str]:
        assert isinstance(request.prompt, ChatPrompt)
        shown = request.prompt.messages[-1].content
        first = next(name for name in verdicts if f"A: {name}\n" in shown)
        return [f"Reason: so.\nBetter: {verdicts[first]}"]

    return {"j": reply}


@pytest.mark.parametrize(
    ("verdicts", "won", "swayed"),
    [
        ({"yes": "A", "no": "B"}, (1, 0, 0), False),
        ({"yes": "A", "no": "A"}, (0, 0, 1), True),
        ({"yes": "B", "no": "A"}, (0, 1, 0), False),
    ],
)
def test_a_judge_sees_both_orders(
    desk: Desk, verdicts: dict[str, str], won: tuple[int, int, int], swayed: bool
) -> None:
    answers = says({"a": "yes", "b": "no"})
    replies = judge_says(verdicts)

    def prepare(backend: FakeBackend) -> None:
        if "j." in backend.spec.path:
            for _ in range(2):
                backend.script(replies["j"])  # type: ignore[arg-type]
        else:
            answers(backend)

    desk.prepare = prepare
    plans = (desk.plan("a"), desk.plan("b"))
    report = desk.study(prompts("one"), *plans, judge="j")
    assert report is not None
    (duel,) = report.measures[0].duels
    assert (duel.rate.wins, duel.rate.losses, duel.rate.ties) == won
    assert desk.lines("verdict")[0]["swayed"] is swayed
    assert asked(desk)["j"] == 2
    desk.backends.clear()
    again = desk.study(prompts("one"), *reversed(plans), judge="j")
    assert again is not None
    assert "j" not in desk.backends
    (turned,) = again.measures[0].duels
    assert (turned.rate.losses, turned.rate.wins, turned.rate.ties) == won


def test_equal_texts_tie_and_an_empty_one_loses_without_a_judge(desk: Desk) -> None:
    desk.prepare = lambda backend: (
        [
            backend.script(text)
            for text in ({"a": ("same", ""), "b": ("same", "no")}.get(Path(backend.spec.path).stem, ()))
        ]
        and None
    )
    report = desk.study(prompts("one", "two"), desk.plan("a"), desk.plan("b"), judge="j")
    assert report is not None
    duel = report.measures[0].duels[0]
    assert (duel.rate.wins, duel.rate.losses, duel.rate.ties) == (0, 1, 1)
    assert asked(desk)["j"] == 0


def test_a_judge_that_cannot_be_loaded_is_said_before_anything_is_drawn(desk: Desk) -> None:
    def prepare(backend: FakeBackend) -> None:
        if "j." in backend.spec.path:
            backend.start = lambda: backend.fail_load(ModelLoadError("j is odd"))  # type: ignore[method-assign]

    desk.prepare = prepare
    with pytest.raises(ModelLoadError, match="j is odd"):
        desk.study(prompts("one"), desk.plan("a"), desk.plan("b"), judge="j")
    assert set(desk.backends) == {"j"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vote", "--score vote: .*,select=vote"),
        ("judge", "--score judge: .* --judge MODEL"),
        ("judge:", "--score judge:: .* --judge MODEL"),
        ("Judge:m", "--score Judge:m: .* --judge MODEL"),
        ("vot", "--score: select vot: give logprob, reward:MODEL, regex:PATTERN or command:CMD$"),
        ("regx:a", "did you mean regex"),
        ("command:", "say which command"),
    ],
)
def test_what_gives_an_answer_no_mark_of_its_own_is_no_scorer_and_is_not_suggested(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_scorer(text)

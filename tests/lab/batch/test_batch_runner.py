"""A batch from rows to lines on fake models: resuming, failing, stopping, order, choosing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_harness import Bench, prompts, rows

from lmlab.backends import LoadSpec
from lmlab.backends.fake import FakeBackend, FakeCandidate
from lmlab.errors import ContextOverflow, EngineStopped, LmlabError, ModelLoadError, UsageError
from lmlab.lab.batch.keys import row_seed
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.runner import Advanced, BatchEvent, LeftOut, Loaded
from lmlab.lab.best_of import parse_selector
from lmlab.lab.task import Task
from lmlab.prompting import Approach, Renderer, load
from lmlab.sampling import SamplingParams


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def asked(backend: FakeBackend, index: int = 0) -> str:
    return backend.requests[index].prompt.messages[-1].content  # type: ignore[union-attr]


def say(text: Callable[[str], str], times: int = 1000) -> Callable[[FakeBackend], None]:
    def prepare(backend: FakeBackend) -> None:
        for _ in range(times):
            backend.script(lambda request: [text(request.prompt.messages[-1].content)])  # type: ignore[union-attr]

    return prepare


def test_each_row_is_a_line_that_says_how_it_came_to_be(bench: Bench) -> None:
    bench.prepare = say(lambda text: text.upper())
    summary = bench.run(prompts(3))
    lines = bench.lines()
    assert {line["id"]: line["text"] for line in lines} == {"r0": "SAY 0", "r1": "SAY 1", "r2": "SAY 2"}
    line = next(line for line in lines if line["id"] == "r1")
    assert line["input"] == {"id": "r1", "prompt": "Say 1"}
    assert (line["variant"], line["finish_reason"], line["usage"]["prompt_tokens"]) == ("fake", "stop", 10)
    assert line["sampling"]["seed"] == row_seed(0, line["key"])
    assert (line["model"]["ref"], line["selector"], line["selected"]) == ("fake", None, 0)
    assert (summary.total.rows, summary.total.failed, summary.interrupted) == (3, 0, False)
    assert any(isinstance(event, Loaded) for event in bench.events)
    assert sum(isinstance(event, Advanced) for event in bench.events) == 3
    assert bench.backends[0].closed


def test_what_is_done_is_passed_over_and_loads_no_model(bench: Bench) -> None:
    bench.run(prompts(3))
    before = bench.out.read_bytes()
    summary = bench.run(prompts(3))
    assert (summary.total.rows, summary.total.skipped) == (0, 3)
    assert (len(bench.backends), bench.out.read_bytes()) == (1, before)


def test_new_rows_are_added_to_what_is_done(bench: Bench) -> None:
    bench.run(prompts(2))
    bench.run(prompts(5))
    assert sorted(line["id"] for line in bench.lines()) == ["r0", "r1", "r2", "r3", "r4"]
    assert len(bench.backends[1].requests) == 3


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_holes_among_many_done_rows_are_filled(bench: Bench, at_once: bool, ordered: bool) -> None:
    """Enough of them that they are looked up in groups, equal rows and another variant among them."""
    found = rows(*({"prompt": f"Say {number % 900}"} for number in range(1500)))
    holes = {0, 1, 700, 1024, 1499}
    plans = (bench.plan("one"), bench.plan("two", seed=1))
    bench.run([row for row in found if row.number - 1 not in holes], *plans, at_once=at_once)
    bench.backends.clear()
    summary = bench.run(found, *plans, at_once=at_once, ordered=ordered)
    assert (summary.total.skipped, summary.total.rows) == (2 * (1500 - len(holes)), 2 * len(holes))
    lines = bench.lines()
    assert len({line["key"] for line in lines}) == len(lines) == 3000
    if ordered:
        assert [line["input"]["prompt"] for line in lines[::2]] == [f"Say {number % 900}" for number in range(1500)]


def test_a_rows_answer_depends_on_neither_neighbours_nor_resuming(bench: Bench) -> None:
    bench.run(prompts(4))
    whole = {line["id"]: (line["key"], line["sampling"]["seed"]) for line in bench.lines()}
    bench.out.unlink()
    bench.run(prompts(4)[2:3])
    bench.run(list(reversed(prompts(4))))
    assert {line["id"]: (line["key"], line["sampling"]["seed"]) for line in bench.lines()} == whole


def test_equal_rows_are_each_done_once(bench: Bench) -> None:
    same = rows(*({"prompt": "Again"} for _ in range(3)))
    bench.run(same)
    bench.run(same)
    assert len({line["key"] for line in bench.lines()}) == len(bench.lines()) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"asked": SamplingParams(temperature=0.6)},
        {"asked": SamplingParams(temperature=0.5, top_k=3)},
        {"asked": SamplingParams(temperature=0.5, stop=("x",))},
        {"seed": 1},
        {"candidates": 2, "selector": parse_selector("logprob")},
        {"task": Task(system="Be brief")},
        {"task": Task(raw=True)},
        {"default_system": "Be brief"},
        {"expect": "gold"},
        {"judged_by": "another judge"},
        {"name": "another"},
    ],
)
def test_anything_that_shapes_the_answer_makes_another_run(bench: Bench, other: dict[str, Any]) -> None:
    bench.run(prompts(1))
    assert bench.plan(**other).fingerprint() != bench.plan().fingerprint()
    with pytest.raises(UsageError, match="another run"):
        bench.run(prompts(1), bench.plan(**other))
    assert len(bench.lines()) == 1


def test_what_only_makes_it_faster_is_the_same_run(bench: Bench) -> None:
    plan = bench.plan()
    slower = bench.plan(load=LoadSpec(path=plan.load.path, threads=1, sequences=2, context=512))
    assert slower.fingerprint() == plan.fingerprint()


def test_a_row_that_cannot_be_asked_is_a_line_with_its_error(bench: Bench) -> None:
    summary = bench.run(rows({"id": "a", "prompt": "Hi"}, {"id": "b", "text": "Hi"}, {"id": "c", "prompt": "Ho"}))
    errors = {line["id"]: line.get("error") for line in bench.lines()}
    assert errors["a"] is None
    assert errors["c"] is None
    assert errors["b"]["type"] == "PromptError"
    assert "there is no prompt" in errors["b"]["message"]
    assert (summary.total.rows, summary.total.failed) == (3, 1)


def test_a_failed_row_is_tried_again_by_the_next_run(bench: Bench) -> None:
    bench.prepare = lambda backend: backend.script((), error=ContextOverflow(9000, 8191))
    assert bench.run(prompts(2)).total.failed == 1
    assert sum("error" in line for line in bench.lines()) == 1
    bench.prepare = lambda backend: None
    summary = bench.run(prompts(2))
    assert (summary.total.rows, summary.total.skipped, summary.total.failed) == (1, 1, 0)
    assert [line for line in bench.lines() if "error" in line] == []
    assert len(bench.lines()) == 2


def test_a_row_that_ends_the_engine_costs_no_other_its_answer(bench: Bench) -> None:
    """Those beside it are tried again one at a time, itself only as often as allowed."""
    bench.auto = False
    fatal = "Say 3"
    alone: list[int] = []

    def feed(backend: FakeBackend) -> None:
        original = backend.generate

        def generate(request: Any, sink: Any) -> Any:
            handle = original(request, sink)
            if backend.state != "ready":
                backend.ready()
            running = backend.running
            if backend.starts > 1:
                alone.append(len(running))
            if any(one.request.prompt.messages[-1].content == fatal for one in running) and (
                backend.starts > 1 or len(running) == 5
            ):
                backend.crash()
            elif backend.starts > 1:
                backend.finish()
            return handle

        backend.generate = generate  # type: ignore[method-assign]
        original_start = backend.start

        def start() -> None:
            original_start()
            if backend.state == "loading":
                backend.ready()

        backend.start = start  # type: ignore[method-assign]

    bench.prepare = feed
    summary = bench.run(prompts(5), retries=1)
    failed = [line for line in bench.lines() if "error" in line]
    assert [line["id"] for line in failed] == ["r3"]
    assert failed[0]["error"]["type"] == "EngineStopped"
    assert (summary.total.rows, summary.total.failed) == (5, 1)
    assert set(alone) == {1}


def test_a_model_that_cannot_be_loaded_ends_the_run(bench: Bench) -> None:
    bench.auto = False

    def prepare(backend: FakeBackend) -> None:
        backend.start = lambda: backend.fail_load(ModelLoadError("no memory"))  # type: ignore[method-assign]

    bench.prepare = prepare
    with pytest.raises(ModelLoadError, match="no memory"):
        bench.run(prompts(2))
    assert bench.out.read_bytes() == b""
    assert bench.backends[0].closed


def test_cancelled_it_finishes_what_is_being_made_and_goes_on_later(bench: Bench) -> None:
    bench.auto = False
    done: list[str] = []

    def prepare(backend: FakeBackend) -> None:
        backend.start = lambda: backend.ready() if backend.state == "new" else None  # type: ignore[method-assign]
        original = backend.generate

        def generate(request: Any, sink: Any) -> Any:
            handle = original(request, sink)
            done.append(request.id)
            if len(done) == 1:
                # Begun before the cancel: it comes to its end. The next is not, and is not waited for.
                handle.step()
            if len(done) == 2:
                assert bench.last is not None
                bench.last.cancel()
                backend.running[0].step()
                while not backend.running[0].ended and len(backend.running) > 1:
                    backend.running[0].step()
            return handle

        backend.generate = generate  # type: ignore[method-assign]

    bench.prepare = prepare
    summary = bench.run(prompts(30))
    assert summary.interrupted
    assert [line["id"] for line in bench.lines()] == ["r0"]
    bench.auto, bench.prepare = True, lambda backend: None
    assert bench.run(prompts(30)).total.rows == 29
    assert len(bench.lines()) == 30


def test_the_engine_is_kept_full_and_no_fuller_than_it_can_use(bench: Bench) -> None:
    bench.auto = False
    most = 0

    def prepare(backend: FakeBackend) -> None:
        backend.start = lambda: backend.ready() if backend.state == "new" else None  # type: ignore[method-assign]
        original = backend.generate

        def generate(request: Any, sink: Any) -> Any:
            nonlocal most
            handle = original(request, sink)
            most = max(most, len(backend.running))
            if len(backend.running) == 2 * backend.info.layout.sequences or len(backend.requests) == 40:
                backend.finish()
            return handle

        backend.generate = generate  # type: ignore[method-assign]

    bench.prepare = prepare
    bench.run(prompts(40))
    assert (most, len(bench.lines())) == (16, 40)


def test_lines_can_have_the_order_of_the_rows(bench: Bench) -> None:
    bench.auto = False

    def backwards(backend: FakeBackend) -> None:
        backend.start = lambda: backend.ready() if backend.state == "new" else None  # type: ignore[method-assign]
        original = backend.generate

        def generate(request: Any, sink: Any) -> Any:
            handle = original(request, sink)
            if len(backend.requests) % 5 == 0:
                for one in reversed(backend.running):
                    while not one.ended:
                        one.step()
            return handle

        backend.generate = generate  # type: ignore[method-assign]

    bench.prepare = backwards
    bench.run(prompts(10))
    assert [line["id"] for line in bench.lines()] != [f"r{number}" for number in range(10)]
    bench.out.unlink()
    bench.run(prompts(10), ordered=True)
    assert [line["id"] for line in bench.lines()] == [f"r{number}" for number in range(10)]


def test_ordered_also_puts_in_order_what_is_done(bench: Bench) -> None:
    bench.run(list(reversed(prompts(4))))
    assert [line["id"] for line in bench.lines()] == ["r3", "r2", "r1", "r0"]
    assert bench.run(prompts(4), ordered=True).total.rows == 0
    assert [line["id"] for line in bench.lines()] == ["r0", "r1", "r2", "r3"]


def test_ordered_holds_after_a_resume_too(bench: Bench) -> None:
    bench.run(prompts(6)[4:], ordered=True)
    bench.run(prompts(6), ordered=True)
    assert [line["id"] for line in bench.lines()] == [f"r{number}" for number in range(6)]


def test_variants_that_are_loaded_alike_share_a_model_and_others_follow(bench: Bench) -> None:
    cold = bench.plan("cold", asked=SamplingParams(temperature=0.1))
    warm = bench.plan("warm", asked=SamplingParams(temperature=0.9))
    other = bench.plan("other", name="other")
    summary = bench.run(prompts(2), cold, other, warm)
    assert [len(backend.requests) for backend in bench.backends] == [4, 2]
    assert sorted((line["variant"], line["id"]) for line in bench.lines()) == [
        (variant, row) for variant in ("cold", "other", "warm") for row in ("r0", "r1")
    ]
    assert {label: tally.rows for label, tally in summary.variants.items()} == {"cold": 2, "other": 2, "warm": 2}


def test_answers_are_checked_against_the_expected_column(bench: Bench) -> None:
    task = Task(Renderer(load("word-problem", None), Approach()))
    bench.prepare = say(lambda text: "The answer is 4." if "2 + 2" in text else "I do not know.")
    found = rows(
        {"id": "a", "question": "What is 2 + 2?", "answer": "4"},
        {"id": "b", "question": "What is 2 + 2?", "answer": "5"},
        {"id": "c", "question": "What is 3 + 3?", "answer": "6"},
        {"id": "d", "question": "What is 4 + 4?"},
    )
    summary = bench.run(found, bench.plan(task=task))
    told = {line["id"]: (line["answer"], line.get("correct"), line.get("expected")) for line in bench.lines()}
    assert told == {
        "a": ("4", True, "4"),
        "b": ("4", False, "5"),
        "c": (None, False, "6"),
        "d": (None, None, None),
    }
    total = summary.total
    assert (total.checked, total.correct, total.no_answer) == (3, 1, 1)


def test_accuracy_counts_what_an_earlier_run_answered(bench: Bench) -> None:
    plan = bench.plan(task=Task(Renderer(load("word-problem", None), Approach())))
    bench.prepare = say(lambda text: "The answer is 4.")
    # What a row itself says of being correct is not taken for it.
    found = rows(
        {"question": "2 + 2?", "answer": "4", "correct": False, "variant": '"correct":false,'},
        {"question": "2 + 3?", "answer": "5", "correct": True},
    )
    bench.run(found, plan)
    again = bench.run(found, plan).total
    assert (again.rows, again.skipped, again.checked, again.correct) == (0, 2, 2, 1)
    # Of the rows that were asked for, not of all that the output holds.
    some = bench.run(found[1:], plan).total
    assert (some.skipped, some.checked, some.correct) == (1, 1, 0)


def test_a_row_without_a_label_is_answered_and_not_checked(bench: Bench) -> None:
    bench.prepare = say(lambda text: "The answer is 4.")
    plan = bench.plan(expect="gold", task=Task(Renderer(load("word-problem", None), Approach())))
    found = rows({"id": "a", "question": "2 + 2?", "gold": ""}, {"id": "b", "question": "2 + 2?", "gold": "4"})
    summary = bench.run(found, plan)
    assert {line["id"]: line.get("correct") for line in bench.lines()} == {"a": None, "b": True}
    assert (summary.total.checked, summary.total.correct) == (1, 1)


# Best of N


def voting(bench: Bench, **options: Any) -> Any:
    task = Task(Renderer(load("word-problem", None), Approach()))
    return bench.plan(task=task, candidates=3, selector=parse_selector("vote"), **options)


def test_of_several_candidates_the_chosen_one_is_the_text(bench: Bench) -> None:
    bench.prepare = lambda backend: backend.script_candidates(
        ["The answer is 5.", "The answer is 4.", "So the answer is 4."]
    )
    summary = bench.run(rows({"question": "2 + 2?", "answer": "4"}), voting(bench))
    line = bench.lines()[0]
    assert (line["answer"], line["correct"], line["selector"]) == ("4", True, "vote")
    assert line["text"] == line["candidates"][line["selected"]]["text"]
    assert [one["answer"] for one in line["candidates"]] == ["5", "4", "4"]
    assert summary.total.candidates == 3
    assert bench.backends[0].requests[0].candidates == 3


def test_candidates_that_cannot_change_the_vote_are_not_drawn_to_their_end(bench: Bench) -> None:
    endless = FakeCandidate(tuple(" so" for _ in range(10_000)), logprob=-1.0)
    bench.auto = False

    def prepare(backend: FakeBackend) -> None:
        backend.start = lambda: backend.ready() if backend.state == "new" else None  # type: ignore[method-assign]
        backend.script_candidates(["The answer is 4.", "The answer is 4.", endless])
        original = backend.generate

        def generate(request: Any, sink: Any) -> Any:
            handle = original(request, sink)
            # Far enough for the short ones to end: what they say ends the third.
            backend.step(50)
            return handle

        backend.generate = generate  # type: ignore[method-assign]

    bench.prepare = prepare
    summary = bench.run(rows({"question": "2 + 2?"}), voting(bench))
    line = bench.lines()[0]
    assert (line["answer"], line["candidates"][2]["finish_reason"]) == ("4", "cancelled")
    assert summary.total.saved == 1
    assert bench.backends[0].candidate_cancels == [("row-1", 2)]


def test_a_command_chooses_on_threads_beside_the_engine(bench: Bench) -> None:
    bench.prepare = lambda backend: [  # type: ignore[func-returns-value, return-value]
        backend.script_candidates(["short", "much longer"]) for _ in range(4)
    ]
    plan = bench.plan(candidates=2, selector=parse_selector("command:wc -c"))
    bench.run(prompts(4), plan)
    assert {line["text"] for line in bench.lines()} == {"much longer"}
    assert [one["score"] for one in bench.lines()[0]["candidates"]] == [5.0, 11.0]


def test_a_command_that_cannot_be_run_ends_the_run(bench: Bench) -> None:
    plan = bench.plan(candidates=2, selector=parse_selector("command:lmlab-no-such-program"))
    with pytest.raises(LmlabError, match="lmlab-no-such-program"):
        bench.run(prompts(3), plan)


def test_a_judge_that_is_a_model_of_its_own_is_opened_once_and_closed(bench: Bench) -> None:
    bench.prepare = lambda backend: [backend.script_candidates(["a", "b"]) for _ in range(2)] and None
    plan = bench.plan(candidates=2, selector=parse_selector("reward:big"))
    bench.run(prompts(2), plan)
    assert [backend.spec.rank for backend in bench.backends] == [False, True]
    assert all(backend.closed for backend in bench.backends)


# Training data


@pytest.mark.parametrize("keep", ["best", "all", "pairs"])
def test_training_rows_go_to_the_output_and_what_makes_none_beside_it(bench: Bench, keep: Any) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script_candidates(["The answer is 4.", "The answer is 4.", "The answer is 5."])
        backend.script_candidates(["The answer is 7.", "The answer is 7.", "The answer is 7."])

    bench.prepare = prepare
    found = rows({"id": "a", "question": "2 + 2?", "answer": "4"}, {"id": "b", "question": "3 + 3?", "answer": "6"})
    plan = voting(bench, keep=keep)
    summary = bench.run(found, plan)
    kept = {line["id"]: line for line in bench.lines()}
    if keep == "all":
        assert [one["correct"] for one in kept["a"]["candidates"]] == [True, True, False]
        assert set(kept) == {"a", "b"}
        return
    assert set(kept) == {"a"}
    assert summary.total.left_out == 1
    assert [(line["id"], line["left_out"]) for line in bench.lines(".skipped.jsonl")] == [
        ("b", "the answer chosen is not the expected one")
    ]
    if keep == "best":
        assert [message["role"] for message in kept["a"]["messages"]] == ["user", "assistant"]
        assert kept["a"]["messages"][-1]["content"] == "The answer is 4."
    else:
        assert kept["a"]["chosen"] == [{"role": "assistant", "content": "The answer is 4."}]
        assert kept["a"]["rejected"] == [{"role": "assistant", "content": "The answer is 5."}]
    assert [(event.number, event.why) for event in bench.events if isinstance(event, LeftOut)] == [
        (2, "the answer chosen is not the expected one")
    ]
    # Both are done, with a line and without, and still known for right and wrong.
    again = bench.run(found, plan).total
    assert (again.skipped, again.checked, again.correct) == (2, 2, 1)


def test_a_failed_row_is_no_training_row(bench: Bench) -> None:
    bench.prepare = lambda backend: backend.script((), error=EngineStopped("gone"))
    plan = bench.plan(candidates=2, selector=parse_selector("logprob"), keep="best")
    assert bench.run(prompts(1), plan, retries=0).total.failed == 1
    assert bench.lines() == []
    assert bench.lines(".skipped.jsonl")[0]["error"]["type"] == "EngineStopped"


# Rows that come one after the other


def test_an_answer_is_written_though_the_next_row_has_not_come(bench: Bench) -> None:
    first, second = prompts(2)
    written = threading.Event()
    bench.on_event = lambda event: written.set() if isinstance(event, Advanced) else None

    def trickle() -> Iterator[Row | BadRow]:
        yield first
        assert written.wait(20)
        yield second

    assert bench.run(trickle, at_once=False).total.rows == 2
    assert [line["id"] for line in bench.lines()] == ["r0", "r1"]


def test_what_is_stopped_waits_for_no_further_row(bench: Bench) -> None:
    over = threading.Event()

    def trickle() -> Iterator[Row | BadRow]:
        yield prompts(1)[0]
        over.wait(20)

    def stop(event: BatchEvent) -> None:
        if isinstance(event, Advanced):
            bench.last.cancel()  # type: ignore[union-attr]

    bench.on_event = stop
    summary = bench.run(trickle, at_once=False)
    assert not over.is_set()
    over.set()
    assert summary.interrupted
    assert len(bench.lines()) == 1


def test_a_stream_that_breaks_off_ends_the_run_with_its_reason(bench: Bench) -> None:
    def broken() -> Iterator[Row | BadRow]:
        yield prompts(1)[0]
        raise LmlabError("reading stdin failed")

    with pytest.raises(LmlabError, match="reading stdin failed"):
        bench.run(broken, at_once=False)


def test_of_a_stream_that_is_done_no_model_is_loaded(bench: Bench) -> None:
    found = prompts(200)
    bench.run(found)
    assert bench.run(lambda: iter(found), at_once=False).total.skipped == 200
    assert len(bench.backends) == 1

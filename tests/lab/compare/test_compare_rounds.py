from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from compare_desk import Desk, prompts, says

from lmlab.backends import LoadSpec, ModelInfo, Stopped, Token
from lmlab.backends.fake import FakeBackend, FakeCandidate, fake_info
from lmlab.errors import LmlabError, ModelLoadError, PromptError
from lmlab.lab.batch.plan import Plan
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.round import Answered, Over, RoundEvent, Said
from lmlab.lab.compare.workers import share_threads


@contextmanager
def opened(desk: Desk, *plans: Plan, **options: Any) -> Iterator[Comparison]:
    """Open a comparison whose fakes are ready at once and stepped by hand."""

    def ready(backend: FakeBackend) -> None:
        prepare(backend)
        start = backend.start
        backend.start = lambda: (start(), backend.state == "loading" and backend.ready())  # type: ignore[assignment, return-value]

    prepare, desk.prepare, desk.auto = desk.prepare, ready, False
    with closing(desk.record(plans)) as record, closing(desk.comparison(plans, record, **options)) as comparison:
        assert comparison.open()
        yield comparison


def kinds(events: list[RoundEvent], variant: int) -> list[str]:
    return [
        type(event.event).__name__ if isinstance(event, Said) else type(event).__name__
        for event in events
        if not isinstance(event, Over) and getattr(event, "variant", None) == variant
    ]


def test_variants_that_are_loaded_alike_share_a_worker(desk: Desk) -> None:
    plans = (desk.plan("a", "cold"), desk.plan("b"), desk.plan("a", "hot"))
    with opened(desk, *plans) as comparison:
        assert [one.worker for one in comparison.contenders] == [0, 1, 0]
        assert len(desk.opened) == 2
        assert comparison.contenders[0].memory == comparison.contenders[2].memory == 10_000_000


def test_all_draw_with_the_same_seed_and_ask_for_probabilities(desk: Desk) -> None:
    with opened(desk, desk.plan("a", "cold"), desk.plan("b"), desk.plan("a", "hot", seed=0)) as comparison:
        for case in prompts("Hi", repeats=2):
            comparison.begin(case, lambda event: None)
        requests = [*desk.backends["a"].requests, *desk.backends["b"].requests]
        assert len({request.sampling.seed for request in requests}) == 2
        assert all(request.logprobs and request.stream for request in requests)


def test_columns_stream_apart_and_end_once(desk: Desk) -> None:
    desk.prepare = says({"a": "one two", "b": "three"})
    events: list[RoundEvent] = []
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], events.append)
        desk.backends["b"].finish()
        assert [type(event) for event in events if isinstance(event, Answered | Over)] == [Answered]
        assert begun.answers[0] is None
        desk.backends["a"].finish()
        assert begun.over
        assert kinds(events, 0) == ["Started", "Prefill", "Token", "Token", "Finished", "Answered"]
        assert isinstance(events[-1], Over)
        assert [answer.text for answer in events[-1].answers] == ["one two", "three"]
        assert (
            "".join(
                event.event.text
                for event in events
                if isinstance(event, Said) and isinstance(event.event, Token) and event.variant == 0
            )
            == "one two"
        )
    assert {line["variant"]: line["text"] for line in desk.lines("answer")} == {"a": "one two", "b": "three"}


def test_a_crash_ends_its_own_column_and_the_next_round_starts_it_again(desk: Desk) -> None:
    events: list[RoundEvent] = []
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        first = comparison.begin(prompts("Hi")[0], events.append)
        desk.backends["a"].step(2)
        desk.backends["a"].crash()
        assert not first.over
        desk.backends["b"].finish()
        crashed, fine = first.wait()
        assert (crashed.reason, crashed.error_type, crashed.text) == ("error", "EngineStopped", "A")
        assert "killed by signal 9" in (crashed.error or "")
        assert fine.ended
        assert [type(one.status).__name__ for one in desk.openings if one.variants == (0,)][-1] == "Stopped"
        again = comparison.begin(prompts("Hi")[0], events.append, only=[0])
        desk.backends["a"].finish()
        assert again.wait()[0].ended
        assert desk.backends["a"].starts == 2


def test_closing_is_no_news(desk: Desk) -> None:
    with opened(desk, desk.plan("a"), desk.plan("b")):
        pass
    assert not any(isinstance(one.status, Stopped) for one in desk.openings)


def test_one_column_is_cancelled_and_recorded_as_far_as_it_came(desk: Desk) -> None:
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], lambda event: None)
        desk.backends["a"].step(2)
        begun.cancel(0)
        begun.cancel(0)
        assert desk.backends["a"].cancels == ["case-1-0"]
        desk.backends["b"].finish()
        stopped, fine = begun.wait()
        assert (stopped.reason, stopped.text, stopped.error) == ("cancelled", "A", None)
        assert fine.ended
        assert comparison.answered(begun.case) == (stopped, fine)
        runs = [one.run for one in comparison.contenders]
        assert [comparison.record.is_done(begun.case.key, run) for run in runs] == [False, True]
    kept = {line["variant"]: (line["text"], line["finish_reason"]) for line in desk.lines("answer")}
    assert kept == {"a": ("A", "cancelled"), "b": (fine.text, fine.reason)}


def test_what_nobody_watches_is_not_recorded_when_it_is_cancelled(desk: Desk) -> None:
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], lambda event: None, stream=False)
        begun.cancel()
        begun.wait()
    assert desk.lines("answer") == []


def test_cancelling_all_ends_all(desk: Desk) -> None:
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], lambda event: None)
        comparison.cancel()
        assert {answer.reason for answer in begun.wait()} == {"cancelled"}


def test_a_prompt_that_one_cannot_take_is_its_error_alone(desk: Desk) -> None:
    desk.prepare = lambda backend: (
        backend.script((), error=PromptError("too long")) if "a." in backend.spec.path else None
    )
    with opened(desk, desk.plan("a"), desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], lambda event: None)
        for backend in desk.backends.values():
            backend.finish()
        assert [answer.error for answer in begun.wait()] == ["too long", None]


def test_the_best_of_several_is_the_answer(desk: Desk) -> None:
    desk.prepare = lambda backend: (
        backend.script_candidates([FakeCandidate("dull", logprob=-2.0), FakeCandidate("fine", logprob=-0.5)])
        if "a." in backend.spec.path
        else None
    )
    plan = desk.plan("a", candidates=2, selector=SelectorSpec("logprob"))
    with opened(desk, plan, desk.plan("b")) as comparison:
        begun = comparison.begin(prompts("Hi")[0], lambda event: None)
        for backend in desk.backends.values():
            backend.finish()
        best = begun.wait()[0]
        assert (best.text, best.candidates, best.logprob, best.drawn) == ("fine", 2, -0.5, 2)
        assert "the highest mean log-probability" in best.why


def test_a_selector_that_takes_long_is_waited_for_apart(desk: Desk) -> None:
    desk.prepare = lambda backend: backend.script_candidates(["one", "two"]) if "a." in backend.spec.path else None
    plan = desk.plan("a", candidates=2, selector=SelectorSpec("regex", "two"))
    told = threading.Event()
    events: list[RoundEvent] = []
    with opened(desk, plan, desk.plan("b")) as comparison:
        begun = comparison.begin(
            prompts("Hi")[0], lambda event: (events.append(event), isinstance(event, Over) and told.set())[0]
        )
        for backend in desk.backends.values():
            backend.finish()
        assert told.wait(20)
        assert begun.wait()[0].text == "two"


def test_who_is_asked_first_changes_and_the_columns_do_not(desk: Desk) -> None:
    orders = set()
    with opened(desk, desk.plan("a", "cold"), desk.plan("a", "hot")) as comparison:
        for number, case in enumerate(prompts(*(f"Say {number}" for number in range(12))), 1):
            begun = comparison.begin(case, lambda event: None)
            mine = [request.id for request in desk.backends["a"].requests if request.id.startswith(f"case-{number}-")]
            orders.add(tuple(mine[0][-1]))
            desk.backends["a"].finish()
            assert [answer.label for answer in begun.wait()] == ["cold", "hot"]
    assert orders == {("0",), ("1",)}


def test_a_blind_order_is_the_same_for_the_same_case(desk: Desk) -> None:
    with opened(desk, desk.plan("a"), desk.plan("b"), desk.plan("c")) as comparison:
        orders = [comparison.order(case) for case in prompts(*(f"Say {number}" for number in range(20)))]
        again = [comparison.order(case) for case in prompts(*(f"Say {number}" for number in range(20)))]
    assert orders == again
    assert len(set(orders)) > 3


def failing(desk: Desk, **errors: LmlabError) -> None:
    def prepare(backend: FakeBackend) -> None:
        error = next((error for name, error in errors.items() if f"{name}." in backend.spec.path), None)
        if error is not None:
            backend.start = lambda: backend.fail_load(error)  # type: ignore[method-assign]

    desk.prepare = prepare


def test_every_variant_that_cannot_be_loaded_is_named_at_once(desk: Desk) -> None:
    failing(desk, a=ModelLoadError("a is odd"), c=ModelLoadError("c is odd"))
    plans = (desk.plan("a"), desk.plan("b"), desk.plan("c"))
    with (
        closing(desk.record(plans)) as record,
        closing(desk.comparison(plans, record)) as comparison,
        pytest.raises(LmlabError) as raised,
    ):
        comparison.open()
    assert str(raised.value).startswith("2 of 3 variants cannot be loaded: a: a is odd; c: c is odd")
    assert "--sequential" in str(raised.value)
    assert all(backend.closed for backend in desk.backends.values())


def layout(info: ModelInfo, **sizes: int) -> ModelInfo:
    return replace(info, layout=replace(info.layout, **sizes))


def test_a_model_that_does_not_fit_beside_the_first_is_refused_with_numbers(desk: Desk) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.info = layout(
            fake_info(backend.spec.path), weights=600_000_000, kv=100_000_000, compute=0, available=1_000_000_000
        )

    desk.prepare = prepare
    plans = (desk.plan("a"), desk.plan("b"))
    with (
        closing(desk.record(plans)) as record,
        closing(desk.comparison(plans, record)) as comparison,
        pytest.raises(LmlabError) as raised,
    ):
        comparison.open()
    assert "b: it takes 700 MB of memory (weights 600 MB, KV cache 100 MB, buffers 0 bytes)" in str(raised.value)
    assert "leave 300 MB" in str(raised.value)
    assert "--sequential loads one at a time" in str(raised.value)


def test_weights_that_cannot_fit_are_refused_before_they_are_loaded(desk: Desk) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.info = layout(fake_info(backend.spec.path), weights=600, kv=0, compute=0, available=1_000)

    desk.prepare = prepare
    plans = (desk.plan("a"), desk.plan("b"))
    with (
        closing(desk.record(plans)) as record,
        closing(desk.comparison(plans, record)) as comparison,
        pytest.raises(LmlabError, match="its weights take 1 MB of memory, and the models before it leave 400 bytes"),
    ):
        comparison.open()
    assert len(desk.opened) == 1


def test_models_that_run_at_the_same_time_share_the_threads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmlab.lab.compare.workers.cores", lambda: 5)
    with opened(desk, desk.plan("a"), desk.plan("b")):
        assert [spec.threads for spec in desk.opened] == [3, 2]
    desk.opened.clear()
    desk.path.unlink()
    with opened(desk, desk.plan("a", "cold"), desk.plan("a", "hot", seed=1)):
        assert [spec.threads for spec in desk.opened] == [None]
    desk.opened.clear()
    desk.path.unlink()
    with opened(desk, desk.plan("a", load=LoadSpec(path="", threads=7)), desk.plan("c")):
        assert [spec.threads for spec in desk.opened] == [7, 2]


@pytest.mark.parametrize(("workers", "cores", "shares"), [(2, 2, [1, 1]), (3, 8, [3, 3, 2]), (4, 2, [1, 1, 1, 1])])
def test_threads_are_divided_and_nobody_has_none(workers: int, cores: int, shares: list[int]) -> None:
    assert share_threads(workers, cores) == shares


def test_loading_that_is_cancelled_opens_nothing(desk: Desk) -> None:
    desk.auto = False
    plans = (desk.plan("a"), desk.plan("b"))
    with closing(desk.record(plans)) as record, closing(desk.comparison(plans, record)) as comparison:
        desk.prepare = lambda backend: comparison.cancel_loading()
        assert comparison.open() is False
    assert all(backend.closed for backend in desk.backends.values())

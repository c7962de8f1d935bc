"""What the engine can do, seen from the other side of the worker: candidates, constraints, drafts, snapshots, looks inside."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from local_harness import GREEDY, Bench, Reply, unix, wait_until
from tiny_models import write_lora

from lmlab.backends import (
    Constraint,
    Distribution,
    Failed,
    Inspect,
    Lora,
    Reweigh,
    Snapshots,
    TextPrompt,
)
from lmlab.errors import ConstraintError, EngineStopped, UsageError
from lmlab.sampling import SamplingParams

HOT = SamplingParams(temperature=1.2, seed=7, max_tokens=16)
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)


def test_candidates_are_streamed_and_ended_apart(bench: Bench) -> None:
    reply = bench.ask("Once upon a time", HOT, options={"candidates": 3})
    finished = reply.finished()
    assert [end.candidate for end in reply.ends()] == [0, 1, 2]
    assert finished.usage.completion_tokens == sum(len(end.tokens) for end in reply.ends())
    assert all(end.logprob is not None and end.logprob < 0 for end in reply.ends())
    for candidate, end in enumerate(reply.ends()):
        streamed = [token.id for token in reply.tokens if token.candidate == candidate]
        assert streamed == list(end.tokens)
    assert finished.tokens == reply.ends()[0].tokens
    assert finished.tail == ""


def test_one_candidate_is_the_first_of_many(bench: Bench) -> None:
    alone = bench.ask("Once upon a time", HOT)
    many = bench.ask("Once upon a time", HOT, options={"candidates": 4})
    assert alone.text == many.text_of(0)
    assert len({many.text_of(candidate) for candidate in range(4)}) == 4


def test_a_stop_text_ends_one_candidate_alone(bench: Bench) -> None:
    whole = bench.ask("Once upon a time", HOT, options={"candidates": 3})
    stop = whole.text_of(1)[3:6]
    cut = bench.ask("Once upon a time", HOT, options={"candidates": 3}, stop=(stop,))
    for candidate, end in enumerate(cut.ends()):
        before, met, _ = whole.text_of(candidate).partition(stop)
        assert cut.text_of(candidate) == before
        assert end.reason == ("stop" if met else "length")


def test_one_candidate_can_be_cancelled_and_the_others_go_on(bench: Bench) -> None:
    first = threading.Event()

    def cancel_the_second(handle: object, event: object) -> None:
        if getattr(event, "candidate", 0) == 2 and not first.is_set():
            first.set()
            handle.cancel(2)  # type: ignore[attr-defined]

    reply = bench.ask("Once upon a time", HOT, options={"candidates": 3}, max_tokens=200, on_event=cancel_the_second)
    assert [end.reason for end in reply.ends()] == ["length", "length", "cancelled"]


def test_a_json_schema_holds_a_real_model(open_model: Callable[..., Bench], smollm2: Path) -> None:
    bench = open_model(smollm2)
    options = {"candidates": 3, "constraint": Constraint("json-schema", PERSON)}
    bound = bench.ask("A person as JSON: ", HOT, options=options, max_tokens=100)
    free = bench.ask("A person as JSON: ", HOT, max_tokens=10)
    for candidate in range(3):
        person = json.loads(bound.text_of(candidate))
        assert set(person) == {"name", "age"}
        assert isinstance(person["age"], int)
    assert free.finished().usage.completion_tokens > 0


def test_a_broken_grammar_amid_good_ones_is_one_requests_trouble(bench: Bench) -> None:
    def asked(constraint: Constraint | None) -> Reply:
        return bench.ask("Numbers: ", HOT, options={"constraint": constraint}, max_tokens=8)

    broken = [
        Constraint("gbnf", "root ::= ("),
        Constraint("gbnf", "root ::= nobody"),
        Constraint("gbnf", "root ::= root [0-9] | [0-9]"),
        Constraint("json-schema", '{"type": "nonsense"}'),
        Constraint("json-schema", "{"),
        Constraint("json-schema", '{"$ref": "#/$defs/nowhere"}'),
    ]
    good = Constraint("gbnf", "root ::= [0-9]{4}")
    replies = [(asked(good), asked(bad), asked(None)) for bad in broken]
    for first, bad, free in replies:
        assert first.text.isdigit()
        assert len(first.text) == 4
        assert isinstance(bad.error(), ConstraintError), bad.error()
        assert "\n" not in str(bad.error())
        assert free.finished().reason in ("length", "stop")
    assert bench.workers == 1


def test_prompt_lookup_says_how_much_was_right(open_model: Callable[..., Bench], smollm2: Path) -> None:
    text = "apple, banana, cherry, date, elder, fig, grape\n" * 8
    timings = open_model(smollm2, draft="lookup").ask(text, max_tokens=40).finished().timings
    assert timings.draft_tokens is not None
    assert timings.draft_accepted is not None
    assert 20 < timings.draft_accepted <= timings.draft_tokens
    assert open_model(smollm2).ask(text, max_tokens=4).finished().timings.draft_tokens is None


def test_a_prefix_survives_the_program(open_model: Callable[..., Bench], smollm2: Path, tmp_path: Path) -> None:
    document = "The boats went out early, and the sea was calm. " * 30
    snapshots = Snapshots(str(tmp_path / "snapshots"), 1 << 30)
    options = {"session": "one"}
    first = open_model(smollm2, snapshots=snapshots)
    before = first.ask(document + "When did the boats go out?", options=options, max_tokens=3).finished()
    first.backend.close()
    (kept,) = (tmp_path / "snapshots").rglob("*.kv")
    assert kept.stat().st_mode & 0o077 == 0
    second = open_model(smollm2, snapshots=snapshots)
    reply = second.ask(document + "How was the sea?", options=options, max_tokens=3)
    usage = reply.finished().usage
    assert usage.restored_tokens == usage.cached_tokens > 300
    assert usage.prompt_tokens - usage.cached_tokens < 12
    plain = open_model(smollm2).ask(document + "How was the sea?", max_tokens=3)
    assert reply.text == plain.text
    assert before.usage.restored_tokens == 0


def test_a_damaged_snapshot_costs_only_its_worth(
    open_model: Callable[..., Bench], smollm2: Path, tmp_path: Path
) -> None:
    document = "The boats went out early, and the sea was calm. " * 10
    snapshots = Snapshots(str(tmp_path / "snapshots"), 1 << 30)
    first = open_model(smollm2, snapshots=snapshots)
    whole = first.ask(document, options={"session": "one"}, max_tokens=3).text
    first.backend.close()
    (kept,) = (tmp_path / "snapshots").rglob("*.kv")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 4
    kept.write_bytes(content)
    second = open_model(smollm2, snapshots=snapshots)
    reply = second.ask(document, options={"session": "one"}, max_tokens=3)
    assert reply.text == whole
    assert reply.finished().usage.cached_tokens == 0


def test_what_was_weighed_is_what_was_drawn_from(bench: Bench) -> None:
    reply = bench.ask("Once upon a time", HOT, logprobs=True)
    reply.end()
    third = reply.tokens[3]
    place = tuple(token.id for token in reply.tokens[:3])
    look = bench.look(Inspect("look", TextPrompt("Once upon a time"), place, HOT, top=5, drawn=third.id))
    assert isinstance(look, Distribution)
    assert [stage.name for stage in look.stages] == ["raw", "top-k", "top-p", "min-p", "temperature"]
    drawn = next(alternative for alternative in look.alternatives if alternative.token == third.id)
    assert drawn.removed_by is None
    assert math.log(drawn.probabilities[0]) == pytest.approx(third.logprob, abs=0.01)
    assert [alternative.rank for alternative in look.alternatives][:5] == list(range(5))
    cold = bench.look(Reweigh("look", SamplingParams(temperature=0.0)))
    assert isinstance(cold, Distribution)
    assert cold.stages[-1].left == 1
    assert cold.alternatives[0].probabilities[-1] == 1
    assert cold.alternatives[0].probabilities[0] == look.alternatives[0].probabilities[0]


def test_what_is_no_longer_looked_at_is_not_kept(bench: Bench) -> None:
    for name in ("one", "two"):
        assert isinstance(bench.look(Inspect(name, TextPrompt("Once upon"), (), HOT)), Distribution)
    gone = bench.look(Reweigh("one", HOT))
    assert isinstance(gone, Failed)
    assert isinstance(gone.error, UsageError)
    too_long = bench.look(Inspect("long", TextPrompt("word " * 2000), (), HOT))
    assert isinstance(too_long, Failed)


def test_what_makes_no_sense_is_refused_and_harms_nobody(bench: Bench) -> None:
    for look in (
        Inspect("none", TextPrompt("Once upon"), (), HOT, top=0),
        Inspect("beyond", TextPrompt("Once upon"), (), HOT, drawn=10**6),
    ):
        refused = bench.look(look)
        assert isinstance(refused, Failed)
        assert isinstance(refused.error, UsageError)
    assert isinstance(bench.ask("Once upon", HOT, options={"candidates": 0}).error(), UsageError)
    assert bench.ask("Once upon", HOT).finished().reason in ("length", "stop")
    assert bench.workers == 1


@unix
def test_a_worker_killed_under_load_loses_each_of_its_requests_once(
    open_model: Callable[..., Bench], tiny: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    for number in range(5):
        doomed = open_model(tiny, logs=tmp_path / f"doomed-{number}")
        other = open_model(tiny, logs=tmp_path / f"other-{number}")
        moment = chance.randrange(1, 300)
        seen = 0
        killed = threading.Event()

        def count(
            handle: object,
            event: object,
            doomed: Bench = doomed,
            moment: int = moment,
            killed: threading.Event = killed,
        ) -> None:
            nonlocal seen
            seen += 1
            if seen == moment and not killed.is_set():
                killed.set()
                os.kill(doomed.pid, signal.SIGKILL)

        lost = [doomed.ask(f"Number {row}", HOT, max_tokens=60, on_event=count) for row in range(12)]
        kept = [other.ask(f"Number {row}", HOT, max_tokens=30) for row in range(12)]
        for reply in kept:
            assert reply.finished().reason in ("length", "stop")
        for reply in lost:
            end = reply.end()
            assert not isinstance(end, Failed) or isinstance(end.error, EngineStopped)
            assert len([event for event in reply.events if type(event) is type(end)]) == 1
        wait_until(lambda doomed=doomed: not doomed.backend._sinks)
        doomed.backend.close()
        other.backend.close()


def test_two_hundred_requests_in_the_room_for_ten(open_model: Callable[..., Bench], tiny: Path) -> None:
    bench = open_model(tiny, context=512)
    replies = [bench.ask(f"Request number {row}: ", GREEDY, max_tokens=20) for row in range(200)]
    for reply in replies:
        finished = reply.finished()
        assert finished.reason in ("length", "stop")
        assert len(finished.tokens) == finished.usage.completion_tokens
    assert bench.workers == 1


@unix
def test_ten_thousand_short_requests_leave_no_trace(open_model: Callable[..., Bench], tiny: Path) -> None:
    bench = open_model(tiny, context=512)
    chance = random.Random(0)

    def serve(count: int) -> None:
        running: list[Reply] = []
        for _ in range(count):
            if len(running) >= 40:
                running.pop(0).end()
            running.append(bench.ask(f"{chance.random()} is", HOT, max_tokens=2))
        for reply in running:
            assert reply.finished().usage.completion_tokens <= 2

    serve(1000)
    worker = psutil.Process(bench.pid)
    before = worker.memory_info().rss, worker.num_fds(), worker.num_threads(), bench_log_size(bench)
    serve(9000)
    after = worker.memory_info().rss, worker.num_fds(), worker.num_threads(), bench_log_size(bench)
    assert after[0] - before[0] < 4 << 20
    assert after[1:] == before[1:]
    assert not bench.backend._sinks
    assert not bench.backend._unheard


def bench_log_size(bench: Bench) -> int:
    (log,) = bench.logs.glob("worker-*.log")
    return log.stat().st_size


def test_adapter_scales_change_between_requests(open_model: Callable[..., Bench], tiny: Path, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "adapter.gguf")
    bench = open_model(tiny, lora=(Lora(str(adapter), 1.0),))
    prompt = "Once upon a time there was a very small model"

    def asked(scale: float | None) -> Reply:
        options = {} if scale is None else {"lora": (scale,)}
        return bench.ask(prompt, GREEDY, options=options, max_tokens=8, logprobs=True)

    on, off, again, nearly = asked(None), asked(0.0), asked(1.0), asked(0.001)
    plain = open_model(tiny).ask(prompt, GREEDY, max_tokens=8, logprobs=True)
    assert off.text == plain.text
    assert off.finished().logprob == pytest.approx(plain.finished().logprob, abs=1e-3)
    assert on.finished().logprob != pytest.approx(plain.finished().logprob, abs=1e-3)
    assert again.text == on.text
    assert again.finished().usage.cached_tokens > 0
    assert off.finished().usage.cached_tokens == nearly.finished().usage.cached_tokens == 0
    wrong = bench.ask(prompt, options={"lora": (1.0, 2.0)}).error()
    assert isinstance(wrong, UsageError)

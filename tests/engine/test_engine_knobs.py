"""What is switched on for a model or asked of one request: repeatable runs, no reuse, drafts, grammars, saved states."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from engine_drive import GREEDY, HOT, Drive, OpenEngine, alone, check_nothing_left, check_same, noise, request

from lmlab.engine import Drafting, Inspected, Restorable, Saved
from lmlab.engine.draft import DraftModel
from lmlab.engine.scheduler import Slice
from lmlab.errors import ConstraintError
from lmlab.llama import Context, Grammar, Model

DIGITS = "root ::= [0-9]{200}"


def test_deterministic_runs_repeat_to_the_last_bit(smollm2_model: Model, open_engine: OpenEngine) -> None:
    prompt = smollm2_model.vocabulary.tokenize("Once upon a time there was a", special=False)
    engine = open_engine(smollm2_model, sequences=1, deterministic=True)
    drive = Drive(engine)
    first = drive.finish(request("a", prompt, HOT))["a"]
    drive.finish(request("between", [*prompt, 5, 6, 7], HOT, max_tokens=3))
    again = drive.finish(request("b", prompt, HOT))["b"]
    assert first.tokens == again.tokens
    assert first.logprobs == again.logprobs
    assert again.ended.cached == 0
    assert engine._memory.cache.held == 0


def test_deterministic_candidates_are_those_of_one_at_a_time(tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(tiny, sequences=1, deterministic=True)
    drive = Drive(engine)
    four = drive.finish(request("a", noise(20), HOT, candidates=4))["a"]
    two = drive.finish(request("b", noise(20), HOT, candidates=2))["b"]
    for candidate in range(2):
        assert four.of_candidate(candidate).logprobs == two.of_candidate(candidate).logprobs
    assert set(drive.rows) == {20, 1}


def test_without_reuse_every_prompt_is_decoded_whole(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, reuse=False))
    for name in "ab":
        drive.finish(request(name, noise(30), max_tokens=2))
    together = drive.finish(*(request(name, noise(30), max_tokens=2) for name in "cd"))
    assert [together[name].ended.cached for name in "abcd"] == [0] * 4
    assert sum(drive.rows) == 4 * 31
    check_nothing_left(drive.engine)


def test_without_reuse_candidates_still_share_their_prompt(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, reuse=False))
    drive.finish(request("a", noise(30), HOT, candidates=4, max_tokens=3))
    assert drive.rows == [30, 4, 4]
    check_nothing_left(drive.engine)


REPEATING = [*noise(24, seed=3)] * 5


@pytest.mark.parametrize("sampling", [GREEDY, HOT], ids=["greedy", "hot"])
@pytest.mark.parametrize("name", ["tiny", "windowed"])
def test_prompt_lookup_changes_no_reply(
    name: str, sampling: object, open_engine: OpenEngine, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(name)
    asked = requests(sampling)
    plain = Drive(open_engine(model, spare=16)).finish(*asked)
    drive = Drive(open_engine(model, spare=16, drafting=Drafting(None)))
    ahead = drive.finish(*asked)
    for new in asked:
        check_same(ahead[new.id], plain[new.id])
        assert ahead[new.id].ended.drafted is not None
        assert plain[new.id].ended.drafted is None
    check_nothing_left(drive.engine)


def requests(sampling: object) -> list[object]:
    return [
        request("repeating", REPEATING, sampling, max_tokens=80),  # type: ignore[arg-type]
        request("free", noise(40, seed=5), sampling, max_tokens=40),  # type: ignore[arg-type]
        request("three", REPEATING[:70], sampling, max_tokens=30, candidates=1),  # type: ignore[arg-type]
    ]


def test_prompt_lookup_takes_fewer_steps_for_a_copy(smollm2_model: Model, open_engine: OpenEngine) -> None:
    line = "apple, banana, cherry, date, elder, fig, grape\n"
    prompt = smollm2_model.vocabulary.tokenize(line * 8, special=False)
    new = request("a", prompt, max_tokens=60)
    drive = Drive(open_engine(smollm2_model, spare=16, drafting=Drafting(None)))
    reply = drive.finish(new)["a"]
    check_same(reply, alone(open_engine(smollm2_model), new))
    assert reply.ended.accepted > 30
    assert len(drive.rows) < 40


def test_a_draft_model_that_is_right_takes_fewer_steps(smollm2_model: Model, open_engine: OpenEngine) -> None:
    context = Context(smollm2_model, context=512, sequences=4, idle=0, batch=512, threads=1)
    draft = DraftModel(smollm2_model, context, vocabulary=smollm2_model.vocabulary.size)
    prompt = smollm2_model.vocabulary.tokenize("The capital of France is", special=False)
    new = request("a", prompt, max_tokens=40)
    drive = Drive(open_engine(smollm2_model, spare=16, drafting=Drafting(draft)))
    # What guesses cost is another test's matter: here they are free.
    drive.engine._drafting._cost.record(1, 1.0)  # type: ignore[union-attr]
    reply = drive.finish(new)["a"]
    check_same(reply, alone(open_engine(smollm2_model), new))
    assert reply.ended.drafted >= reply.ended.accepted
    context.close()


def test_a_reply_with_drafts_ends_where_it_should(tiny: Model, open_engine: OpenEngine) -> None:
    for length in range(1, 12):
        drive = Drive(open_engine(tiny, context=256, spare=16, drafting=Drafting(None)))
        reply = drive.finish(request("a", REPEATING, max_tokens=length))["a"]
        assert (reply.ended.reason, reply.ended.drawn) == ("length", length)
    reply = drive.finish(request("b", (REPEATING * 3)[:240], max_tokens=100))["b"]
    assert (reply.ended.reason, reply.ended.drawn) == ("context", 16)
    check_nothing_left(drive.engine)


def test_a_grammar_holds_each_candidate_to_it(smollm2_model: Model, open_engine: OpenEngine) -> None:
    vocabulary = smollm2_model.vocabulary
    prompt = vocabulary.tokenize("My phone number is", special=False)
    bound = dataclasses.replace(
        request("bound", prompt, HOT, candidates=3), grammar=Grammar(vocabulary, 'root ::= [0-9]{3} "-" [0-9]{4}')
    )
    drive = Drive(open_engine(smollm2_model))
    replies = drive.finish(bound, request("free", prompt, HOT))
    for candidate in range(3):
        reply = replies["bound"].of_candidate(candidate)
        text = b"".join(vocabulary.piece(token) for token in reply.tokens)
        assert reply.ended.reason == "stop"
        assert text[3:4] == b"-"
        assert text.replace(b"-", b"").isdigit()
        assert len(text) == 8
    check_same(replies["free"], alone(open_engine(smollm2_model), request("free", prompt, HOT)))
    check_nothing_left(drive.engine)


def test_a_grammar_that_gets_stuck_is_one_requests_trouble(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    stuck = dataclasses.replace(
        request("stuck", noise(10), HOT, candidates=2), grammar=Grammar(tiny.vocabulary, DIGITS)
    )
    drive.submit(stuck, request("good", noise(10, seed=2)))
    drive.until("good", 3)

    def no_way_on(*_: object) -> int:
        raise ConstraintError("no token may come next")

    sampler = drive.engine._groups["stuck"].live[1].sampler
    assert sampler is not None
    sampler.sample = no_way_on  # type: ignore[method-assign]
    replies = drive.finish()
    assert isinstance(replies["stuck"].refused.error, ConstraintError)
    assert replies["good"].ended.drawn == 12
    check_nothing_left(drive.engine)


def test_a_grammar_that_nothing_can_begin_refuses_every_candidate(
    tiny: Model, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grammar, "allows", lambda *_: False)
    monkeypatch.setattr(Grammar, "mask", lambda _, candidates: candidates[:0])
    drive = Drive(open_engine(tiny))
    stuck = dataclasses.replace(
        request("stuck", noise(10), HOT, candidates=3), grammar=Grammar(tiny.vocabulary, DIGITS)
    )
    drive.submit(stuck, request("good", noise(10, seed=2)))
    replies = drive.finish()
    assert isinstance(replies["stuck"].refused.error, ConstraintError)
    assert replies["good"].ended.drawn == 12
    check_nothing_left(drive.engine)


def test_a_saved_state_is_restored_in_another_engine(any_tiny: Model, open_engine: OpenEngine) -> None:
    prompt = noise(60)
    first = Drive(open_engine(any_tiny))
    reply = first.finish(dataclasses.replace(request("a", prompt), save=True))["a"]
    (saved,) = reply.of(Saved)
    assert saved.tokens == (*prompt, *reply.tokens[:-1])
    longer = request("b", [*saved.tokens, *noise(9, seed=4)])
    state = Restorable(saved.tokens, len(saved.tokens), lambda: saved.payload)
    drive = Drive(open_engine(any_tiny))
    restored = drive.finish(dataclasses.replace(longer, restorable=state))["b"]
    assert (restored.ended.cached, restored.ended.restored) == (71, 71)
    assert drive.rows[0] == 9
    check_same(restored, alone(open_engine(any_tiny), longer))
    check_nothing_left(drive.engine)


def test_where_two_questions_part_a_state_that_cannot_be_cut_is_saved(any_tiny: Model, open_engine: OpenEngine) -> None:
    document = noise(300)
    drive = Drive(open_engine(any_tiny, context=1024))
    drive.finish(request("document", document, max_tokens=1))
    for seed in (1, 2, 3):
        asked = dataclasses.replace(request(str(seed), [*document, *noise(5, seed)], max_tokens=2), save=True)
        drive.finish(asked)
    saved = [[event.tokens for event in drive.replies[name].of(Saved)] for name in "123"]
    branch = [tuple(document)] if any_tiny.recurrent or any_tiny.sliding_window else []
    assert [tokens[:-1] for tokens in saved] == [branch, [], []]
    assert [len(tokens[-1]) for tokens in saved] == [306, 306, 306]


def test_a_restored_state_serves_the_next_one_from_memory(any_tiny: Model, open_engine: OpenEngine) -> None:
    prompt = noise(60)
    reply = alone(open_engine(any_tiny), dataclasses.replace(request("a", prompt), save=True))
    (saved,) = reply.of(Saved)
    reads = []

    def read() -> memoryview:
        reads.append(1)
        return saved.payload

    state = Restorable(saved.tokens, len(saved.tokens), read)
    drive = Drive(open_engine(any_tiny))
    for name in "bc":
        new = request(name, [*saved.tokens, *noise(9, seed=4)])
        drive.finish(dataclasses.replace(new, restorable=state))
    assert len(reads) == 1
    assert drive.replies["c"].ended.cached >= 71
    assert drive.replies["c"].ended.restored == 0


def test_a_state_that_cannot_be_read_is_only_a_miss(tiny: Model, open_engine: OpenEngine) -> None:
    prompt = noise(60)
    for payload in (None, memoryview(b"not a state")):
        state = Restorable(tuple(prompt[:50]), 50, lambda payload=payload: payload)
        drive = Drive(open_engine(tiny))
        reply = drive.finish(dataclasses.replace(request("a", prompt), restorable=state))["a"]
        assert (reply.ended.cached, reply.ended.restored) == (0, 0)
        check_same(reply, alone(open_engine(tiny), request("a", prompt)))
        check_nothing_left(drive.engine)


def test_inspecting_decodes_one_token_and_draws_none(smollm2_model: Model, open_engine: OpenEngine) -> None:
    prompt = smollm2_model.vocabulary.tokenize("The capital of France is", special=False)
    drive = Drive(open_engine(smollm2_model))
    reply = drive.finish(request("a", prompt))["a"]
    before = len(drive.rows)
    place = [*prompt, *reply.tokens[:5]]
    look = drive.finish(dataclasses.replace(request("look", place), inspect=True))["look"]
    (inspected,) = look.of(Inspected)
    assert drive.rows[before:] == [1]
    logits = inspected.logits.astype(np.float64)
    logprob = logits[reply.tokens[5]] - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    assert logprob == pytest.approx(reply.logprobs[5], abs=0.02)
    check_nothing_left(drive.engine)


def test_requests_of_other_adapter_scales_share_no_batch_and_no_prefix(tiny: Model, open_engine: OpenEngine) -> None:
    applied: list[tuple[float, ...]] = []
    drive = Drive(open_engine(tiny, adapt=applied.append))
    prompt = noise(30)
    scaled = [
        dataclasses.replace(request(name, prompt), scales=(scale,))
        for name, scale in {"a": 1.0, "b": 0.5, "c": 1.0}.items()
    ]
    together: list[set[str]] = []
    drive.before_decode = lambda: together.append({running.request.id for running in drive.engine._running})
    drive.finish(*scaled)
    assert applied == [(1.0,), (0.5,), (1.0,)]
    assert {frozenset(names) for names in together} == {frozenset("a"), frozenset("b"), frozenset("c")}
    assert [drive.replies[name].ended.cached for name in "abc"] == [0, 0, 29]
    check_nothing_left(drive.engine)


class Guessing(Drafting):
    """Guesses the same tokens whatever came before."""

    def __init__(self, guesses: list[int]) -> None:
        super().__init__(None)
        self.guesses = guesses

    def propose(self, plan: Sequence[Slice], outputs: int, size: int) -> None:
        for part in plan:
            if part.running.decoding:
                left = 3 - part.running.drawn
                part.drafts = self.guesses[part.running.drawn - 1 :][: left - 1]


def test_drafts_leave_the_distribution_as_it_is(tiny: Model, open_engine: OpenEngine) -> None:
    """Three tokens of two each, drawn with other seeds with and without drafts, fall into the same shares."""

    def counts(drive: Drive, first_seed: int) -> Counter[tuple[int, ...]]:
        asked = [
            request(str(seed), noise(20), HOT, seed=seed, top_k=2, min_p=0.0, top_p=1.0, max_tokens=3)
            for seed in range(first_seed, first_seed + 1500)
        ]
        return Counter(tuple(reply.tokens) for reply in drive.finish(*asked).values())

    plain = counts(Drive(open_engine(tiny, spare=16)), 0)
    (_, *guesses), _ = plain.most_common(1)[0]
    drive = Drive(open_engine(tiny, spare=16, drafting=Guessing(list(guesses))))
    drafted = counts(drive, 10_000)
    accepted = sum(reply.ended.accepted for reply in drive.replies.values())
    assert 300 < accepted < sum(reply.ended.drafted for reply in drive.replies.values())
    outcomes = [outcome for outcome in plain | drafted if plain[outcome] + drafted[outcome] >= 10]
    assert len(outcomes) >= 4
    statistic = sum(
        (plain[outcome] - drafted[outcome]) ** 2 / (plain[outcome] + drafted[outcome]) for outcome in outcomes
    )
    # The 99.9th percentile of chi-square with seven degrees of freedom, the most that eight outcomes have.
    assert statistic < 24.32

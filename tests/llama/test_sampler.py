"""The sampler chain, held against a small reference in numpy, on the logits of a real model."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence

import llama_cpp
import numpy as np
import pytest
from plain_sampling import OFF

from lmlab.errors import ConstraintError
from lmlab.llama import Context, DecodeStatus, Model, Sampler
from lmlab.llama import sampler as sampler_module
from lmlab.llama.grammar import Grammar
from lmlab.llama.logits_row import LogitsRow
from lmlab.sampling import DEFAULTS, SamplingParams


@pytest.fixture(scope="module")
def context(smollm2_model: Model) -> Iterator[Context]:
    """A context whose last decode left logits in row 4: "The capital of France is"."""
    context = Context(smollm2_model, context=256, sequences=1, idle=0, batch=64, threads=2)
    tokens = smollm2_model.vocabulary.tokenize("The capital of France is", special=False)
    assert len(tokens) == 5
    context.batch.add(tokens, 0, 0, logits=True)
    assert context.decode() is DecodeStatus.DONE
    yield context
    context.close()


@pytest.fixture
def logits(context: Context) -> np.ndarray:
    return context.logits(4).copy()


class Samplers:
    """Makes samplers for one vocabulary and closes them."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._made: list[Sampler] = []

    def __call__(self, history: Sequence[int] = (), longest: int = 256, **values: float) -> Sampler:
        sampling = SamplingParams(**values).merge(OFF)
        self._made.append(Sampler(sampling, history, vocabulary=self._vocabulary, longest=longest))
        return self._made[-1]

    def close(self) -> None:
        for sampler in self._made:
            sampler.close()


@pytest.fixture
def sampler(smollm2_model: Model) -> Iterator[Samplers]:
    samplers = Samplers(smollm2_model.vocabulary.size)
    yield samplers
    samplers.close()


def draws(sampler: Sampler, context: Context, count: int) -> list[int]:
    return [sampler.sample(context, 4) for _ in range(count)]


def distribution(sampler: Sampler, logits: np.ndarray) -> dict[int, float]:
    """Return the tokens the chain would draw from and how likely each is."""
    candidates = (llama_cpp.llama_token_data * len(logits))()
    view = np.ctypeslib.as_array(candidates)
    view["id"], view["logit"] = np.arange(len(logits)), logits
    array = llama_cpp.llama_token_data_array(data=candidates, size=len(logits), selected=-1, sorted=False)
    llama_cpp.llama_sampler_apply(sampler._chain, ctypes.byref(array))
    left = [(array.data[i].id, array.data[i].p) for i in range(array.size)]
    return {token: p for token, p in left if p > 0}


def expected(logits: np.ndarray, history: Sequence[int] = (), **values: float) -> dict[int, float]:
    """The same by the definitions, in float64."""
    want = SamplingParams(**values).merge(OFF)
    scores = logits.astype(np.float64)
    recent = list(history)[-want.repeat_last_n :] if want.repeat_last_n else []
    for token in set(recent):
        scores[token] *= want.repeat_penalty if scores[token] <= 0 else 1 / want.repeat_penalty
        scores[token] -= recent.count(token) * want.frequency_penalty + want.presence_penalty
    order = np.argsort(-scores, kind="stable")
    if want.top_k:
        order = order[: want.top_k]
    if want.top_p < 1:
        reached = np.cumsum(softmax(scores[order]))
        order = order[: int(np.searchsorted(reached, want.top_p)) + 1]
    p = softmax(scores[order])
    order = order[p >= want.min_p * p.max()]
    return dict(zip(order.tolist(), softmax(scores[order] / want.temperature).tolist(), strict=True))


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


HISTORY = [506, 3575, 282, 4649, 314, 7042, 7042, 7042]
SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 10**9},
    {"top_p": 0.0},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"repeat_penalty": 1.4},
    {"repeat_penalty": 0.5},
    {"presence_penalty": 2.5},
    {"presence_penalty": -1.5},
    {"frequency_penalty": 1.25},
    {"frequency_penalty": 1.25, "repeat_last_n": 2},
    {"repeat_penalty": 1.4, "repeat_last_n": 0},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8, "repeat_penalty": 1.1, "presence_penalty": 0.5},
]


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_the_distribution_is_the_one_defined(logits: np.ndarray, sampler: Samplers, values: dict[str, float]) -> None:
    # Penalized tokens that matter: the likeliest ones.
    history = [*HISTORY, *np.argsort(-logits)[:3].tolist(), int(logits.argmax())]
    got, want = distribution(sampler(history, **values), logits), expected(logits, history, **values)
    likely = {token for token, p in want.items() if p > 1e-30}
    assert likely <= set(got) <= set(want)
    assert {token: got[token] for token in likely} == pytest.approx({t: want[t] for t in likely}, rel=1e-2, abs=1e-6)


def test_each_setting_makes_a_difference(logits: np.ndarray) -> None:
    """Guards the test above: a setting that changes nothing would prove nothing."""
    history = [*HISTORY, *np.argsort(-logits)[:3].tolist(), int(logits.argmax())]
    plain = expected(logits, history)
    without_effect = [values for values in SETTINGS if expected(logits, history, **values) == plain]
    assert without_effect == [{}, {"top_k": 10**9}, {"repeat_penalty": 1.4, "repeat_last_n": 0}]


def test_draws_follow_the_distribution(context: Context, logits: np.ndarray, sampler: Samplers) -> None:
    values = {"top_k": 5, "temperature": 2.0}
    want = expected(logits, **values)
    drawn = draws(sampler(**values), context, 2000)
    assert set(drawn) == set(want)
    for token, p in want.items():
        assert abs(drawn.count(token) / 2000 - p) < 5 * (p * (1 - p) / 2000) ** 0.5


def test_temperature_0_and_top_k_1_are_greedy(context: Context, logits: np.ndarray, sampler: Samplers) -> None:
    likeliest = [int(logits.argmax())] * 5
    assert draws(sampler(temperature=0.0, top_k=3, top_p=0.2), context, 5) == likeliest
    assert draws(sampler(temperature=5.0, top_k=1), context, 5) == likeliest


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-37, 1e-39, 5e-46])
def test_a_temperature_near_0_is_greedy_too(
    context: Context, logits: np.ndarray, sampler: Samplers, temperature: float
) -> None:
    for cut in ({}, {"top_k": 40}, {"top_p": 0.95, "min_p": 0.05}):
        assert set(draws(sampler(temperature=temperature, **cut), context, 3)) == {int(logits.argmax())}


def test_penalties_reach_greedy_draws(context: Context, logits: np.ndarray, sampler: Samplers) -> None:
    first, second = np.argsort(-logits)[:2].tolist()
    assert draws(sampler([first], temperature=0.0, presence_penalty=100.0), context, 1) == [second]


def test_the_penalties_remember_what_was_drawn(context: Context, logits: np.ndarray, sampler: Samplers) -> None:
    order = np.argsort(-logits)[:4].tolist()
    assert draws(sampler(temperature=0.0, presence_penalty=100.0), context, 4) == order
    short = draws(sampler(temperature=0.0, presence_penalty=100.0, repeat_last_n=2), context, 4)
    assert short == [*order[:3], order[0]], "the first has left a window of two"


def test_a_repeat_window_of_any_length_is_taken(context: Context, logits: np.ndarray, sampler: Samplers) -> None:
    values = {"temperature": 0.0, "presence_penalty": 100.0, "repeat_last_n": 2**31 - 1}
    assert draws(sampler([int(logits.argmax())] * 3, **values), context, 1) == [int(np.argsort(-logits)[1])]


def test_a_seed_decides_the_draws(context: Context, sampler: Samplers) -> None:
    first, again, other = (draws(sampler(temperature=1.5, seed=seed), context, 20) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 2])
def test_every_seed_is_a_seed(context: Context, sampler: Samplers, seed: int) -> None:
    first, again = (draws(sampler(temperature=1.5, seed=seed), context, 12) for _ in range(2))
    assert first == again


def test_a_change_that_is_undone_leaves_the_random_numbers_where_they_were(context: Context, sampler: Samplers) -> None:
    hot = SamplingParams(temperature=1.5).merge(OFF)
    plain, changed = sampler(temperature=1.5), sampler(temperature=1.5)
    assert draws(plain, context, 5) == draws(changed, context, 5)
    for between in ({"temperature": 0.7, "top_k": 12}, {"temperature": 0.0}, {"presence_penalty": 1.0}):
        changed.change(SamplingParams(**between).merge(OFF), [])
        draws(changed, context, 3)
        draws(plain, context, 3)
        changed.change(hot, [])
        assert draws(plain, context, 8) == draws(changed, context, 8)


def test_another_seed_in_flight_begins_its_own_numbers(context: Context, sampler: Samplers) -> None:
    running = sampler(temperature=1.5, seed=7)
    draws(running, context, 5)
    running.change(SamplingParams(temperature=1.5, seed=8).merge(OFF), [])
    assert draws(running, context, 10) == draws(sampler(temperature=1.5, seed=8), context, 10)


def test_a_penalty_switched_on_in_flight_knows_what_came_before(
    context: Context, logits: np.ndarray, sampler: Samplers
) -> None:
    running = sampler(temperature=0.0)
    first = draws(running, context, 1)
    running.change(SamplingParams(temperature=0.0, presence_penalty=100.0).merge(OFF), first)
    assert draws(running, context, 2) == np.argsort(-logits)[1:3].tolist()


def test_it_draws_what_an_independent_llama_chain_draws(
    context: Context, sampler: Samplers, smollm2_model: Model
) -> None:
    """The defaults, against the chain that llama.cpp's own tools would build for them."""
    sampling = SamplingParams(seed=99).merge(DEFAULTS)
    ours = Sampler(sampling, [], vocabulary=smollm2_model.vocabulary.size, longest=256)
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for stage in (
        llama_cpp.llama_sampler_init_top_k(40),
        llama_cpp.llama_sampler_init_top_p(0.95, 0),
        llama_cpp.llama_sampler_init_min_p(0.05, 0),
        llama_cpp.llama_sampler_init_temp(0.8),
        llama_cpp.llama_sampler_init_dist(99),
    ):
        llama_cpp.llama_sampler_chain_add(chain, stage)
    theirs = [llama_cpp.llama_sampler_sample(chain, context.pointer, 4) for _ in range(40)]
    llama_cpp.llama_sampler_free(chain)
    assert draws(ours, context, 40) == theirs
    assert len(set(theirs)) > 1
    ours.close()


FEW_OF_MANY = [
    {"top_k": 1, "temperature": 1.0},
    {"top_k": 2, "temperature": 3.0},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
    {"top_k": 40, "temperature": 5.0},
    {"top_k": 256, "temperature": 4.0},
    {"top_k": 257, "temperature": 4.0},
    {"top_k": 40, "temperature": 2.0, "presence_penalty": 50.0},
]


@pytest.mark.parametrize("values", FEW_OF_MANY, ids=str)
def test_to_look_for_the_likeliest_first_changes_no_draw(
    context: Context, sampler: Samplers, monkeypatch: pytest.MonkeyPatch, values: dict[str, float]
) -> None:
    """What is done with large vocabularies alone, held against the chain that gets all of the vocabulary."""
    whole = draws(sampler([7042], seed=3, **values), context, 40)
    monkeypatch.setattr(sampler_module, "MANY", 0)
    assert draws(sampler([7042], seed=3, **values), context, 40) == whole
    assert len(set(whole)) > 1 or values["top_k"] == 1


def test_only_a_large_vocabulary_and_a_small_top_k_are_looked_through_first(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the test above, which proves nothing when both sides do the same."""
    asked: list[int] = []
    monkeypatch.setattr(LogitsRow, "largest", lambda row, count: asked.append(count) or np.array([5]))
    for size in (sampler_module.MANY, sampler_module.MANY - 1):
        for values in ({"top_k": 40}, {"top_k": 256}, {"top_k": 257}, {}, {"top_k": 40, "presence_penalty": 1.0}):
            one = Sampler(SamplingParams(**values).merge(OFF), [], vocabulary=size, longest=256)
            one.sample(context, 4)
            one.close()
    assert asked == [40, 256]


def test_a_row_without_logits_is_refused(context: Context, sampler: Samplers) -> None:
    for row in (0, 5, 1000):
        with pytest.raises(ValueError, match=f"row {row} of the batch has no logits"):
            sampler().sample(context, row)


def test_parameters_with_a_gap_are_refused(smollm2_model: Model) -> None:
    with pytest.raises(ValueError, match="must be complete"):
        Sampler(SamplingParams(temperature=1.0), [], vocabulary=smollm2_model.vocabulary.size, longest=16)


class Row:
    """Logits that no model made, in the place of a context with one row."""

    def __init__(self, logits: np.ndarray) -> None:
        self._row = LogitsRow(logits)

    def row(self, row: int) -> LogitsRow:
        return self._row


def constrained(model: Model, gbnf: str, **values: float) -> Sampler:
    sampling = SamplingParams(**values).merge(OFF)
    grammar = Grammar(model.vocabulary, gbnf)
    return Sampler(sampling, [], vocabulary=model.vocabulary.size, longest=256, grammar=grammar)


def row_for(model: Model, favourites: dict[int, float]) -> Context:
    logits = np.full(model.vocabulary.size, -20, np.float32)
    for token, logit in favourites.items():
        logits[token] = logit
    return Row(logits)  # type: ignore[return-value]


def token(model: Model, text: str) -> int:
    (found,) = model.vocabulary.tokenize(text, special=False)
    return found


def test_several_samplers_draw_from_one_row_and_leave_it_as_it_was(context: Context, sampler: Samplers) -> None:
    before = context.logits(4).copy()
    settings = [{"temperature": 0.5 + seed / 4, "top_k": 3 * seed, "seed": seed} for seed in range(8)]
    settings[3] |= {"presence_penalty": 50.0, "repeat_penalty": 2.0}
    alone = [draws(sampler([7042], **values), context, 3) for values in settings]
    together = [sampler([7042], **values) for values in settings]
    rounds = [[one.sample(context, 4) for one in together] for _ in range(3)]
    assert [list(drawn) for drawn in zip(*rounds, strict=True)] == alone
    assert (context.logits(4) == before).all()


@pytest.mark.parametrize(
    "values", [{"temperature": 0.0}, {"temperature": 2.0}, {"temperature": 1.0, "top_k": 5}], ids=str
)
def test_a_grammar_holds_every_draw(context: Context, smollm2_model: Model, values: dict[str, float]) -> None:
    vocabulary = smollm2_model.vocabulary
    for seed in range(5):
        held = constrained(smollm2_model, 'root ::= "<" [a-e]{3} ">"', seed=seed, **values)
        reply = b""
        while not vocabulary.is_end(drawn := held.sample(context, 4)):
            reply += vocabulary.piece(drawn)
        assert re.fullmatch(rb"<[a-e]{3}>", reply)
        assert vocabulary.is_end(held.sample(context, 4)), "when it is complete only an end can follow"
        held.close()


def test_a_grammar_that_allows_everything_changes_no_draw(
    context: Context, sampler: Samplers, smollm2_model: Model
) -> None:
    free = constrained(smollm2_model, "root ::= .*", temperature=0.8, top_k=40, seed=5)
    assert draws(free, context, 30) == draws(sampler(temperature=0.8, top_k=40, seed=5), context, 30)
    free.close()


def test_draws_under_a_grammar_follow_the_distribution_of_what_it_allows(tiny: Model) -> None:
    a, b, c = (token(tiny, text) for text in "abc")
    row = row_for(tiny, {a: 1.0, b: 2.0, c: 3.0})
    counts = {a: 0, b: 0}
    for seed in range(1500):
        held = constrained(tiny, "root ::= [ab]", seed=seed)
        counts[held.sample(row, 0)] += 1
        held.close()
    share = 1 / (1 + np.e)
    assert abs(counts[a] / 1500 - share) < 5 * (share * (1 - share) / 1500) ** 0.5


def test_the_penalties_see_only_what_was_drawn_in_the_end(tiny: Model) -> None:
    a, b, c = (token(tiny, text) for text in "abc")
    row = row_for(tiny, {a: 3.0, b: 2.5, c: 9.0})
    held = constrained(tiny, "root ::= [ab]*", temperature=0.0, presence_penalty=1.0)
    # c is the likeliest and never allowed; a is penalized once it has been drawn.
    assert [held.sample(row, 0) for _ in range(3)] == [a, b, a]
    held.close()


def test_nothing_left_to_draw_is_an_error_that_ends_no_process(tiny: Model) -> None:
    # No text is spelled with a character 0.
    held = constrained(tiny, 'root ::= "a" "\\x00"')
    row = row_for(tiny, {})
    held.sample(row, 0)
    with pytest.raises(ConstraintError, match="no token of this model can follow"):
        held.sample(row, 0)
    held.close()


def test_a_change_in_flight_keeps_the_place_in_the_grammar(tiny: Model) -> None:
    held = constrained(tiny, 'root ::= "ab" "c"', temperature=2.0)
    row = row_for(tiny, {})
    first = held.sample(row, 0)
    held.change(SamplingParams(temperature=0.0).merge(OFF), [first])
    reply = tiny.vocabulary.piece(first)
    while not tiny.vocabulary.is_end(drawn := held.sample(row, 0)):
        reply += tiny.vocabulary.piece(drawn)
    assert reply == b"abc"
    held.close()

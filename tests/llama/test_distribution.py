"""The distribution report, held stage by stage against the samplers of llama.cpp on the same logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import llama_cpp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_sampling import OFF

from lmlab.llama import Context, DecodeStatus, Model, Sampler
from lmlab.llama.distribution import Weighed, Weigher
from lmlab.llama.grammar import CANDIDATE, CandidateArray
from lmlab.sampling import DEFAULTS, SamplingParams

EVERYTHING = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8, "repeat_penalty": 1.1}


def sampling(**values: float) -> SamplingParams:
    return SamplingParams(**values).merge(OFF)


def weigh(
    logits: np.ndarray, want: SamplingParams, history: Sequence[int], *, top: int, drawn: int | None = None
) -> Weighed:
    return Weigher(logits, history).weigh(want, top=top, drawn=drawn)


def llama_stage(name: str, want: SamplingParams, vocabulary: int, history: Sequence[int]) -> object:
    match name:
        case "penalties":
            penalties = (want.repeat_penalty, want.frequency_penalty, want.presence_penalty)
            stage = llama_cpp.llama_sampler_init_penalties(vocabulary, want.repeat_last_n, *penalties)
            for token in history:
                llama_cpp.llama_sampler_accept(stage, token)
            return stage
        case "top-k":
            return llama_cpp.llama_sampler_init_top_k(want.top_k)
        case "top-p":
            return llama_cpp.llama_sampler_init_top_p(want.top_p, 1)
        case "min-p":
            return llama_cpp.llama_sampler_init_min_p(want.min_p, 1)
        case _:
            greedy = want.temperature == 0
            return (
                llama_cpp.llama_sampler_init_greedy() if greedy else llama_cpp.llama_sampler_init_temp(want.temperature)
            )


def llama_stages(
    names: Sequence[str], logits: np.ndarray, want: SamplingParams, history: Sequence[int]
) -> Iterator[dict[int, float]]:
    """Yield, after each stage, what llama.cpp has left and how likely it would draw each."""
    candidates = np.zeros(len(logits), CANDIDATE)
    candidates["id"], candidates["logit"] = np.arange(len(logits)), logits
    array = CandidateArray(candidates)
    for name in names:
        stage = llama_stage(name, want, len(logits), history)
        array.apply(stage)
        llama_cpp.llama_sampler_free(stage)
        left = array.left
        if name == "temperature" and want.temperature == 0:
            left = left[left["id"] == array.selected]
        copy = CandidateArray(left.copy())
        draw = llama_cpp.llama_sampler_init_dist(1)
        copy.apply(draw)
        llama_cpp.llama_sampler_free(draw)
        yield dict(zip(copy.left["id"].tolist(), copy.left["p"].tolist(), strict=True))


def survivors(weighed: Weighed, stage: int) -> dict[int, float]:
    """Return what ``weighed`` has left after a stage, and its probabilities."""
    order = [found.name for found in weighed.stages]
    return {
        token.token: token.probabilities[stage]
        for token in weighed.tokens
        if token.removed_by is None or order.index(token.removed_by) > stage
    }


def compare(logits: np.ndarray, want: SamplingParams, history: Sequence[int] = ()) -> Weighed:
    weighed = weigh(logits, want, history, top=len(logits))
    names = [stage.name for stage in weighed.stages]
    assert names[0] == "raw"
    for index, theirs in enumerate(llama_stages(names[1:], logits, want, history), 1):
        ours = survivors(weighed, index)
        assert len(ours) == len(theirs) == weighed.stages[index].left, names[index]
        # Of equals at a cut llama.cpp may keep any: those must be as likely.
        other = [ours[token] for token in ours.keys() - theirs] + [theirs[token] for token in theirs.keys() - ours]
        assert not other or max(other) - min(other) < 1e-6, names[index]
        both = ours.keys() & theirs
        assert {t: ours[t] for t in both} == pytest.approx({t: theirs[t] for t in both}, rel=1e-4, abs=1e-5)
        assert weighed.stages[index].entropy == pytest.approx(entropy(theirs.values()), abs=1e-3)
    return weighed


def entropy(probabilities: object) -> float:
    p = np.array([*probabilities], np.float64)  # type: ignore[misc]
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


SETTINGS = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.0, "top_k": 5, "repeat_penalty": 1.3},
    {"temperature": 0.3},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 500},
    {"top_k": 10**9},
    {"top_p": 0.0},
    {"top_p": 0.5},
    {"top_p": 0.9999},
    {"top_p": 1 - 1e-12},
    {"min_p": 0.02},
    {"min_p": 1.0},
    {"min_p": 1e-50},
    {"repeat_penalty": 1.4},
    {"repeat_penalty": 0.5, "repeat_last_n": 3},
    {"presence_penalty": 2.5},
    {"frequency_penalty": -1.25, "presence_penalty": 0.5},
    {"repeat_penalty": 1.4, "repeat_last_n": 0},
    EVERYTHING,
    {**EVERYTHING, "temperature": 5.0, "top_k": 0, "frequency_penalty": 0.3},
]


@pytest.mark.parametrize("values", SETTINGS, ids=str)
@pytest.mark.parametrize("shape", ["peaked", "flat", "tied"])
def test_each_stage_leaves_what_llama_cpp_leaves(values: dict[str, float], shape: str) -> None:
    random = np.random.default_rng(3)
    logits = random.standard_normal(3000, np.float32) * {"peaked": 4, "flat": 0.3, "tied": 2}[shape]
    if shape == "tied":
        logits = np.round(logits * 2) / 2
    history = [int(logits.argmax()), 5, 5, 7, 11, 5, int(logits.argmin()), int(logits.argmax())]
    compare(logits.astype(np.float32), sampling(**values), history)


FLOATS = st.floats(-30, 30, width=32)
LOGITS = st.one_of(
    st.lists(FLOATS, min_size=1, max_size=60),
    st.lists(st.sampled_from([-2.0, 0.0, 0.5, 0.5, 3.0]), min_size=1, max_size=60),
)


@settings(max_examples=300, deadline=None)
@given(
    LOGITS,
    st.integers(0, 70),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.1, 1.0, 7.5]),
    st.floats(0.5, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.lists(st.integers(0, 59), max_size=12),
    st.integers(0, 14),
)
def test_random_logits_and_settings(
    values: list[float],
    top_k: int,
    top_p: float,
    min_p: float,
    temperature: float,
    repeat: float,
    presence: float,
    frequency: float,
    history: list[int],
    window: int,
) -> None:
    logits = np.array(values, np.float32)
    # A share that a running sum meets to the last bit is decided by how exp was rounded.
    likeliest = np.sort(np.exp(logits - logits.max(), dtype=np.float64))[::-1]
    assume(np.abs(np.cumsum(likeliest / likeliest.sum()) - top_p).min() > 1e-6)
    want = sampling(
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        temperature=temperature,
        repeat_penalty=repeat,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repeat_last_n=window,
    )
    compare(logits, want, [token for token in history if token < len(logits)])


@pytest.fixture(scope="module", params=["smollm2_model", "gemma3_model"])
def real(request: pytest.FixtureRequest) -> Iterator[tuple[Context, np.ndarray, list[int]]]:
    """A context with logits in its last row, those logits, and the tokens before."""
    model: Model = request.getfixturevalue(request.param)
    context = Context(model, context=256, sequences=1, idle=0, batch=64, threads=1)
    tokens = model.vocabulary.tokenize("Once upon a time there was a cat, and the cat", special=False)
    context.batch.add(tokens, 0, 0, logits=True)
    assert context.decode() is DecodeStatus.DONE
    yield context, context.logits(len(tokens) - 1).copy(), tokens
    context.close()


@pytest.mark.parametrize("values", [EVERYTHING, {"top_p": 0.95}, {"min_p": 0.01, "presence_penalty": 1.0}], ids=str)
def test_each_stage_on_the_logits_of_a_model(
    real: tuple[Context, np.ndarray, list[int]], values: dict[str, float]
) -> None:
    _, logits, tokens = real
    compare(logits, sampling(**values), tokens)


def test_draws_follow_the_last_stage(real: tuple[Context, np.ndarray, list[int]]) -> None:
    context, logits, tokens = real
    want = sampling(top_k=12, top_p=0.99, temperature=1.3, seed=11)
    last = weigh(logits, want, tokens, top=12)
    likely = {token.token: token.probabilities[-1] for token in last.tokens if token.removed_by is None}
    sampler = Sampler(want, tokens, vocabulary=len(logits), longest=256)
    drawn = Counter(sampler.sample(context, len(tokens) - 1) for _ in range(3000))
    sampler.close()
    assert drawn.keys() <= likely.keys()
    statistic = sum((drawn[token] - 3000 * p) ** 2 / (3000 * p) for token, p in likely.items())
    # The chi-square distribution has mean n and variance 2n: five standard deviations.
    freedom = len(likely) - 1
    assert freedom >= 4
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def test_the_report_names_the_stage_that_removed_a_token() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01], np.float32))
    weighed = weigh(logits, sampling(top_k=5, top_p=0.9, min_p=0.4, temperature=0.5), [], top=6)
    assert [token.token for token in weighed.tokens] == [0, 1, 2, 3, 4, 5]
    assert [token.removed_by for token in weighed.tokens] == [None, None, "min-p", "min-p", "top-p", "top-k"]
    assert [(stage.name, stage.left) for stage in weighed.stages] == [
        ("raw", 6),
        ("top-k", 5),
        ("top-p", 4),
        ("min-p", 2),
        ("temperature", 2),
    ]
    assert weighed.tokens[0].probabilities[0] == pytest.approx(0.4)
    assert weighed.tokens[0].probabilities[-1] == pytest.approx(0.16 / 0.25)
    assert weighed.tokens[5].probabilities[1:] == (0, 0, 0, 0)
    assert weighed.stages[-1].entropy == pytest.approx(entropy([0.64, 0.36]))


def test_the_drawn_token_is_reported_wherever_it_ranks() -> None:
    logits = np.array([1, 5, 3, 3, 3, -4], np.float32)
    assert [token.token for token in weigh(logits, OFF, [], top=2).tokens] == [1, 2]
    for drawn, rank in {1: 0, 2: 1, 3: 2, 4: 3, 0: 4, 5: 5}.items():
        tokens = weigh(logits, OFF, [], top=2, drawn=drawn).tokens
        assert [token.rank for token in tokens] == ([0, 1, rank] if rank > 1 else [0, 1])
        (found,) = [token for token in tokens if token.token == drawn]
        assert (found.rank, found.logit) == (rank, logits[drawn])


def test_what_is_asked_for_must_exist() -> None:
    logits = np.zeros(4, np.float32)
    for drawn in (-1, 4):
        with pytest.raises(ValueError, match=f"token {drawn} is not in a vocabulary of 4"):
            weigh(logits, OFF, [], top=2, drawn=drawn)
    assert weigh(logits, OFF, [], top=0).tokens == ()
    assert len(weigh(logits, OFF, [], top=100).tokens) == 4


def test_a_logit_of_minus_infinity_is_a_probability_of_0() -> None:
    weighed = weigh(np.array([0, -np.inf, 0], np.float32), sampling(temperature=2.0), [], top=3)
    assert [token.probabilities for token in weighed.tokens] == [(0.5, 0.5), (0.5, 0.5), (0.0, 0.0)]
    assert weighed.stages[-1].entropy == 1.0


def test_the_defaults_are_reported_in_the_order_of_the_chain() -> None:
    logits = np.arange(100, dtype=np.float32) / 5
    want = SamplingParams(seed=1, repeat_penalty=1.2).merge(DEFAULTS)
    names = [stage.name for stage in weigh(logits, want, [99], top=1).stages]
    assert names == ["raw", "penalties", "top-k", "top-p", "min-p", "temperature"]

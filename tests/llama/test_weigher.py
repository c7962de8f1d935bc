"""The whole report against the textbook on the logits of real models, and one place weighed again and again."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import textbook_sampling
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sampling import OFF

from lmlab.llama import Context, DecodeStatus, Model, logits_row
from lmlab.llama.distribution import Weighed, Weigher
from lmlab.sampling import SamplingParams

SETTINGS = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.0, "repeat_penalty": 1.8},
    {"temperature": 0.35},
    {"temperature": 2.5},
    {"top_k": 40},
    {"top_k": 3000, "temperature": 1.5},
    {"top_p": 0.5},
    {"top_p": 0.95},
    {"top_p": 0.999, "temperature": 1.2},
    {"min_p": 0.05},
    {"min_p": 0.0001, "temperature": 3.0},
    {"repeat_penalty": 1.3},
    {"presence_penalty": 1.5, "frequency_penalty": 0.7, "repeat_last_n": 6},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
    {"top_k": 500, "top_p": 0.9, "min_p": 0.01, "temperature": 1.4, "repeat_penalty": 1.2},
]

REPORTED = 4000


def sampling(**values: float) -> SamplingParams:
    return SamplingParams(**values).merge(OFF)


@functools.cache
def logits_of(model: Model, text: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the logits after ``text``, and its tokens."""
    context = Context(model, context=256, sequences=1, idle=0, batch=64, threads=1)
    tokens = model.vocabulary.tokenize(text, special=False)
    context.batch.add(tokens, 0, 0, logits=True)
    assert context.decode() is DecodeStatus.DONE
    logits = context.logits(len(tokens) - 1).copy()
    context.close()
    return logits, tuple(tokens)


@pytest.fixture(params=["smollm2_model", "gemma3_model"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("values", SETTINGS, ids=str)
@pytest.mark.parametrize("text", ["The capital of France is", "cat dog cat bird cat\ncat dog cat bird"])
def test_every_stage_is_what_the_textbook_says(model: Model, text: str, values: dict[str, float]) -> None:
    logits, history = logits_of(model, text)
    want = sampling(**values)
    weighed = Weigher(logits, history).weigh(want, top=REPORTED)
    left = {stage.name: stage.left for stage in weighed.stages}
    expected = textbook_sampling.stages(logits, want, history, left.get("top-p", 0))
    assert [stage.name for stage in weighed.stages] == list(expected)
    order = np.argsort(-logits, kind="stable")[:REPORTED]
    assert [token.token for token in weighed.tokens] == order.tolist()
    ours = np.array([token.probabilities for token in weighed.tokens])
    for place, (stage, theirs) in enumerate(zip(weighed.stages, expected.values(), strict=True)):
        assert stage.left == np.count_nonzero(theirs)
        assert np.abs(ours[:, place] - theirs[order]).max() < 2e-6
        assert stage.entropy == pytest.approx(textbook_sampling.entropy(theirs), abs=2e-5)
    held = np.stack([expected[name][order] > 0 for name in expected], axis=1)
    names = [*expected, None]
    gone = [names[stage] for stage in np.where(held.all(axis=1), len(expected), held.argmin(axis=1))]
    assert [token.removed_by for token in weighed.tokens] == gone


def test_a_place_weighed_again_is_what_it_is_the_first_time(model: Model) -> None:
    logits, history = logits_of(model, "The capital of France is")
    wanted = [sampling(**values) for values in SETTINGS]
    fresh = {want: Weigher(logits, history).weigh(want, top=30, drawn=7) for want in wanted}
    weigher = Weigher(logits, history)
    for want in random.Random(1).choices(wanted, k=60):
        assert weigher.weigh(want, top=30, drawn=7) == fresh[want]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=90),
    st.lists(st.integers(0, 89), max_size=8),
    st.lists(
        st.fixed_dictionaries(
            {
                "top_k": st.integers(0, 100),
                "top_p": st.floats(0.05, 1),
                "min_p": st.sampled_from([0.0, 0.02, 0.4]),
                "temperature": st.sampled_from([0.0, 0.5, 1.0, 3.0]),
                "repeat_penalty": st.sampled_from([1.0, 0.5, 1.7]),
            }
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_what_is_kept_between_two_samplings_changes_none(
    values: list[float], history: list[int], wanted: list[dict[str, float]]
) -> None:
    logits = np.array(values, np.float32)
    past = [token for token in history if token < len(logits)]

    def whole(want: SamplingParams) -> Weighed:
        return Weigher(logits, past).weigh(want, top=len(logits))

    fresh = [whole(sampling(**one)) for one in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logits_row, "HEADS", (4, 24))
        weigher = Weigher(logits, past)
        assert [weigher.weigh(sampling(**one), top=len(logits)) for one in wanted] == fresh

from __future__ import annotations

from dataclasses import replace

import pytest

from lmlab.lab.bench.amounts import Amounts, Key, Step, steps_within
from lmlab.worker.benching.messages import Run

ALL = Amounts(depths=(0, 100), together=(1, 4), together_depth=20, together_decode=5, prompt=50, decode=10, question=0)


def test_every_step_of_a_round_cheap_ones_first() -> None:
    assert steps_within(ALL, context=8192, sequences=4).steps == (
        Step(Key("decode", 0), Run(depth=0, decode=10), 0, 10),
        Step(Key("prefill", 0), Run(depth=0, prompt=50), 50, 0),
        Step(Key("decode_together", 20, 1), Run(1, 20, decode=5), 20, 5),
        Step(Key("decode_together", 20, 4), Run(4, 20, decode=5), 60, 10),
        Step(Key("decode", 100), Run(depth=100, decode=10), 100, 10),
        Step(Key("prefill", 100), Run(depth=100, prompt=50), 50, 0),
    )


def test_a_rate_counts_the_tokens_of_all_sequences() -> None:
    steps = steps_within(ALL, context=8192, sequences=4).steps
    assert [step.tokens for step in steps] == [10, 50, 5, 20, 10, 50]


def test_the_whole_program_is_asked_what_half_the_context_holds() -> None:
    asked = replace(ALL, question=1000)
    for context, tokens in ((8192, 1000), (1024, 384), (512, 192)):
        whole = next(step for step in steps_within(asked, context=context, sequences=1).steps if step.run is None)
        assert whole.key == Key("first_token", tokens)


@pytest.mark.parametrize(
    ("context", "left_out", "keys"),
    [
        (150, (), 6),
        (149, ("depth 100 needs a context of 150 tokens, and this one is of 149: not measured",), 4),
        (
            99,
            (
                "4 sequences at once need a context of up to 100 tokens, and this one is of 99: not measured",
                "depth 100 needs a context of 150 tokens, and this one is of 99: not measured",
            ),
            3,
        ),
    ],
)
def test_what_does_not_fit_is_left_out_and_said(context: int, left_out: tuple[str, ...], keys: int) -> None:
    found = steps_within(ALL, context=context, sequences=4)
    assert (found.left_out, len(found.steps)) == (left_out, keys)
    assert all(step.run.sequences * step.run.depth + step.tokens <= context for step in found.steps if step.run)


def test_a_context_too_small_for_questions_is_said() -> None:
    found = steps_within(replace(ALL, question=1000), context=511, sequences=1)
    assert all(step.run is not None for step in found.steps)
    assert found.left_out[-1].startswith(
        "asking the whole program needs a context of 512 tokens, and this one is of 511"
    )


def test_no_more_sequences_than_there_may_be() -> None:
    steps = steps_within(ALL, context=8192, sequences=1).steps
    assert {step.key.sequences for step in steps} == {1}

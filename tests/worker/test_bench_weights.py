from __future__ import annotations

import pytest

from lmlab.llama import FileHeader
from lmlab.worker.benching.bandwidth import read_rates
from lmlab.worker.benching.weights import WeightsRead, weights_read

DENSE = {"token_embd.weight": 1000, "blk.0.attn_q.weight": 30, "blk.0.ffn_up.weight": 50, "output_norm.weight": 2}
EXPERTS = {"blk.0.ffn_up_exps.weight": 800, "blk.0.ffn_up_shexp.weight": 40}


def header(tensors: dict[str, int], **numbers: int) -> FileHeader:
    return FileHeader("llama", {f"llama.{key}": value for key, value in numbers.items()}, {}, tensors)


@pytest.mark.parametrize(
    ("tensors", "total"),
    [
        # Tied: the embeddings are the output matrix, and read whole.
        (DENSE, 1082),
        ({**DENSE, "output.weight": 1000}, 1082),
        ({**DENSE, "output.weight": 1000, "position_embd.weight": 500}, 1082),
    ],
)
def test_of_what_is_looked_up_nothing_counts(tensors: dict[str, int], total: int) -> None:
    assert weights_read(header(tensors)) == WeightsRead(total, 0, 0, 0)


def test_of_experts_those_count_that_a_token_uses() -> None:
    found = weights_read(header({**DENSE, **EXPERTS}, expert_count=8, expert_used_count=2))
    assert found == WeightsRead(1082 + 40 + 200, 800, 8, 2)


@pytest.mark.parametrize("numbers", [{}, {"expert_count": 8}, {"expert_count": 2, "expert_used_count": 3}])
def test_experts_without_sane_numbers_count_whole(numbers: dict[str, int]) -> None:
    assert weights_read(header({**DENSE, **EXPERTS}, **numbers)) == WeightsRead(1922, 0, 0, 0)


def test_no_header_tells_nothing() -> None:
    assert weights_read(None).total is None


@pytest.mark.parametrize("threads", [1, 3])
def test_bandwidth_is_measured_as_often_as_asked(threads: int) -> None:
    rates = read_rates(threads, 1 << 20, 4)
    assert len(rates) == 4
    assert min(rates) > 0

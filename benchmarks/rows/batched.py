"""Eight requests decoding at once through the whole stack, against llama-batched-bench at eight.

Only the time in which all eight decode counts, as in llama-batched-bench: lmlab has read the prompts before, so that all
begin together, and its rate is the sum of the eight's own, as the worker reports them. Neither side streams, and each starts
a process of its own each turn: what a worker keeps of earlier turns would cost it some time, and llama-batched-bench keeps
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import texts
from sides import GREEDY, Lmlab, Reply, find_tool, llama_batched_bench, sampling
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt
from lmlab.lab.compare.workers import cores

SEQUENCES, PROMPT, TOKENS = 8, 16, 128
TOGETHER = 0.95
"""The least share of the time in which any decodes that all of them must."""


def measure(setting: Setting) -> Iterator[Row]:
    tool = find_tool(setting.tools, "llama-batched-bench")
    tokens = setting.size(TOKENS, 24)
    threads = cores()

    def ours(_: int) -> float:
        prompts = [TextPrompt(prompt) for prompt in texts.COUNTING]
        with closing(Lmlab(setting.path, sequences=SEQUENCES, threads=threads)) as lmlab:
            lmlab.run(prompts, sampling(GREEDY, 1))
            rate, share = together(lmlab.run(prompts, sampling(GREEDY, tokens), stream=False))
        if share < TOGETHER:
            raise NotMeasured(f"all {SEQUENCES} decoded together for {share:.0%} of the time only")
        return rate

    def theirs(_: int) -> float:
        return llama_batched_bench(
            tool, setting.path, sequences=SEQUENCES, prompt=PROMPT, tokens=tokens, threads=threads
        )

    figures = alternate(setting.turns or 5, ours, theirs)
    yield Row(
        work=f"{SEQUENCES} sequences decoding, {tokens} tokens each",
        model=setting.ref,
        against=f"llama-batched-bench at {SEQUENCES}",
        goal=0.95,
        values=ratios(figures, 0, 1),
        detail=f"lmlab {middle(figures, 0):.1f} tokens/s, llama-batched-bench {middle(figures, 1):.1f}",
    )


def together(replies: Sequence[Reply]) -> tuple[float, float]:
    """Return the tokens per second of all ``replies``, and for what share of the time all of them decoded."""
    begins, ends, rate = [], [], 0.0
    for reply in replies:
        timings = reply.finished.timings
        assert timings.ttft_s is not None
        assert timings.decode_tokens_per_s is not None
        begins.append(reply.begin + timings.ttft_s)
        ends.append(reply.begin + timings.total_s)
        rate += timings.decode_tokens_per_s
    return rate, (min(ends) - max(begins)) / (max(ends) - min(begins))

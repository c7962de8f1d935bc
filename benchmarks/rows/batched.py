"""Eight requests decoding at once through the whole stack, against llama-batched-bench at eight.

Only the time in which all eight decode counts, as in llama-batched-bench; it starts a process of its own each turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import texts
from sides import GREEDY, Lmlab, Reply, find_tool, llama_batched_bench, sampling
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt

SEQUENCES, PROMPT, TOKENS = 8, 16, 128
TOGETHER_S = 0.003
"""Tokens that arrive closer together than this came in one message."""


def measure(setting: Setting) -> Iterator[Row]:
    tool = find_tool(setting.tools, "llama-batched-bench")
    tokens = setting.size(TOKENS, 24)
    with closing(Lmlab(setting.path, sequences=SEQUENCES)) as lmlab:
        threads = lmlab.info.threads

        def ours(_: int) -> float:
            prompts = [TextPrompt(prompt) for prompt in texts.COUNTING]
            rate, share = together(lmlab.run(prompts, sampling(GREEDY, tokens)), tokens)
            if share < 0.4:
                raise NotMeasured(f"all {SEQUENCES} decoded together for {share:.0%} of their tokens only")
            return rate

        def theirs(_: int) -> float:
            return llama_batched_bench(
                tool, setting.path, sequences=SEQUENCES, prompt=PROMPT, tokens=tokens, threads=threads
            )

        ours(99)
        figures = alternate(setting.turns or 5, ours, theirs)
    yield Row(
        work=f"{SEQUENCES} sequences decoding, {tokens} tokens each",
        model=setting.ref,
        against=f"llama-batched-bench at {SEQUENCES}",
        goal=0.95,
        values=ratios(figures, 0, 1),
        detail=f"lmlab {middle(figures, 0):.1f} tokens/s, llama-batched-bench {middle(figures, 1):.1f}",
    )


def together(replies: Sequence[Reply], tokens: int) -> tuple[float, float]:
    """Return tokens per second while all ``replies`` decode, and what share of ``tokens`` that time covers."""
    begin = max(reply.arrivals[0] for reply in replies)
    end = min(reply.arrivals[-1] for reply in replies)
    arrivals = sorted(at for reply in replies for at in reply.arrivals)
    # Tokens come several in a message: the time begins with the last of one message and ends with the last of another.
    begin, end = _last_of_message(arrivals, begin), _last_of_message(arrivals, end)
    drawn = sum(begin < at <= end for at in arrivals)
    return drawn / (end - begin), drawn / (len(replies) * tokens)


def _last_of_message(arrivals: Sequence[float], moment: float) -> float:
    for at in arrivals:
        if moment <= at <= moment + TOGETHER_S:
            moment = at
    return moment

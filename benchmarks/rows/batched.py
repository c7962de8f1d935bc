"""Eight sequences decoding at once through the whole stack, against llama-batched-bench at eight.

lmlab's are eight replies to one prompt, which all begin and end together; llama-batched-bench, which starts a process of its
own each turn, reads eight prompts first. Only decoding counts on both sides; neither streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import texts
from sides import GREEDY, Lmlab, find_tool, llama_batched_bench, sampling
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt

SEQUENCES, PROMPT, TOKENS = 8, 16, 128


def measure(setting: Setting) -> Iterator[Row]:
    tool = find_tool(setting.tools, "llama-batched-bench")
    tokens = setting.size(TOKENS, 24)
    with closing(Lmlab(setting.path, sequences=SEQUENCES)) as lmlab:
        threads = lmlab.info.threads

        def ours(_: int) -> float:
            (reply,) = lmlab.run(
                [TextPrompt(texts.COUNTING[0])], sampling(GREEDY, tokens), candidates=SEQUENCES, stream=False
            )
            rate = reply.finished.timings.decode_tokens_per_s
            if rate is None or reply.tokens < SEQUENCES * tokens:
                raise NotMeasured(f"the model ends before {tokens} tokens: make them fewer with --scale")
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

"""64 prompts that share all but their ends, 32 tokens each, against llama-server over the same 64.

Every turn has another beginning, so that on both sides the first prompt pays for it. Neither side streams.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing

import texts
from sides import GREEDY, LlamaServer, Lmlab, find_tool, sampling, token_counter
from table import Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt

SHARED, PROMPTS, TOKENS, SLOTS = 265, 64, 32, 8


def measure(setting: Setting) -> Iterator[Row]:
    count = token_counter(setting.path)
    tool = find_tool(setting.tools, "llama-server")
    prompts_each, tokens = setting.size(PROMPTS, SLOTS), setting.size(TOKENS, 4)
    with contextlib.ExitStack() as sides:
        lmlab = sides.enter_context(closing(Lmlab(setting.path)))
        info = lmlab.info
        server = sides.enter_context(
            closing(LlamaServer(tool, setting.path, slots=SLOTS, context=info.context, threads=info.threads))
        )

        def ours(turn: int) -> float:
            prompts = texts.few_shot(turn, SHARED, count)[1][:prompts_each]
            begin = time.perf_counter()
            replies = lmlab.run([TextPrompt(prompt) for prompt in prompts], sampling(GREEDY, tokens), stream=False)
            return sum(reply.tokens for reply in replies) / (time.perf_counter() - begin)

        def theirs(turn: int) -> float:
            prompts = texts.few_shot(turn, SHARED, count)[1][:prompts_each]
            begin = time.perf_counter()
            drawn = server.run(prompts, GREEDY, tokens, in_flight=setting.in_flight)
            return drawn / (time.perf_counter() - begin)

        lmlab.run([TextPrompt(texts.PROMPTS[0])], sampling(GREEDY, 8))
        server.run([texts.PROMPTS[0]], GREEDY, 8, in_flight=1)
        figures = alternate(setting.turns or 3, ours, theirs)
    beginning, prompts = texts.few_shot(0, SHARED, count)
    yield Row(
        work=f"{prompts_each} prompts sharing {count(beginning)} of {count(prompts[0])} tokens, {tokens} tokens each",
        model=setting.ref,
        against=f"llama-server -np {SLOTS}, {setting.in_flight} in flight",
        goal=1.8,
        values=ratios(figures, 0, 1),
        detail=f"lmlab {middle(figures, 0):.1f} tokens/s, llama-server {middle(figures, 1):.1f}",
    )

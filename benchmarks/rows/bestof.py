"""Eight answers to one long prompt, against eight calls of ``Llama`` and one call of llama-server with ``n=8``.

Every turn has a fresh prompt, so that nothing of it is cached anywhere. What counts is tokens drawn by the time that all
eight are complete, prefill included; nobody streams. All heed the model's end: a turn that ends much too early is made again with
another prompt.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import texts
from sides import DRAWN, LineProcess, LlamaServer, Lmlab, find_tool, sampling, token_counter
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt

PROMPT, CANDIDATES, TOKENS = 1000, 8, 128
ENOUGH = 0.9
GOALS = {"llama": 1.5, "gemma3": 1.8}
"""Against ``Llama``, by the model's architecture; another's is that of the first."""


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt of ``length`` tokens, eight replies of ``tokens`` each."""

    count: texts.Count
    length: int
    tokens: int

    def rate(self, draw: Callable[[str, int, int], int], turn: int) -> float:
        """Return tokens per second of ``draw``: from a fresh prompt, a length and a seed to the tokens drawn."""
        for attempt in range(10):
            seed = 100 * turn + attempt
            prompt = texts.document(seed, self.length, self.count)
            begin = time.perf_counter()
            drawn = draw(prompt, self.tokens, seed)
            seconds = time.perf_counter() - begin
            if drawn >= ENOUGH * CANDIDATES * self.tokens:
                return drawn / seconds
        raise NotMeasured(f"the model ends before {self.tokens} tokens each time: make them fewer with --scale")


def measure(setting: Setting) -> Iterator[Row]:
    tool = find_tool(setting.tools, "llama-server")
    task = Task(token_counter(setting.path), setting.size(PROMPT, 50), setting.size(TOKENS, 8))
    with contextlib.ExitStack() as sides:
        lmlab = sides.enter_context(closing(Lmlab(setting.path)))
        info = lmlab.info
        server = sides.enter_context(
            closing(LlamaServer(tool, setting.path, slots=CANDIDATES, context=info.context, threads=info.threads))
        )
        high = sides.enter_context(closing(LineProcess("high_level.py", setting.path, info.context, info.threads)))

        def ours(prompt: str, tokens: int, seed: int) -> int:
            how = sampling(DRAWN, tokens, seed)
            return lmlab.run([TextPrompt(prompt)], how, candidates=CANDIDATES, stream=False)[0].tokens

        def calls(prompt: str, tokens: int, seed: int) -> int:
            order = {"prompt": prompt, "calls": CANDIDATES, "tokens": tokens, "seed": seed}
            return int(high.ask(order)["tokens"])

        def one_call(prompt: str, tokens: int, seed: int) -> int:
            return server.run([prompt], DRAWN, tokens, seed=seed, n=CANDIDATES, in_flight=1, ignore_eos=False)

        draws = (ours, calls, one_call)
        for draw in draws:
            draw(texts.PROMPTS[0], 8, 1)
        figures = alternate(setting.turns or 3, *(functools.partial(task.rate, draw) for draw in draws))
    work = f"best of {CANDIDATES}, prompt of {task.length:,} tokens, {task.tokens} tokens each"
    for which, name, goal in (
        (1, f"{CANDIDATES} calls of Llama", GOALS.get(info.architecture, GOALS["llama"])),
        (2, f"llama-server, n={CANDIDATES}", 1.1),
    ):
        detail = f"lmlab {middle(figures, 0):.1f} tokens/s, the other {middle(figures, which):.1f}"
        yield Row(work, setting.ref, name, goal, ratios(figures, 0, which), detail)

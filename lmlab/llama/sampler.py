"""One request's sampler chain, whose stages can be replaced while its random numbers run on."""

from __future__ import annotations

from collections.abc import Sequence

import llama_cpp

from lmlab.llama.context import Context
from lmlab.sampling import SamplingParams

COLDEST = 1e-30
"""A temperature below this is greedy: logits divided by it overflow, and the draw would be of the least likely."""


class Sampler:
    """A llama.cpp chain: penalties, top-k, top-p, min-p, temperature, draw.

    ``sampling`` must be complete (every field but max_tokens and stop set). ``history`` are the tokens before the first
    draw, which the penalties look back on, as llama-server has it; it never grows beyond ``longest``.
    """

    def __init__(self, sampling: SamplingParams, history: Sequence[int], *, vocabulary: int, longest: int) -> None:
        self._vocabulary_size = vocabulary
        self._longest = longest
        self._seed = sampling.seed
        self._draw = _checked(llama_cpp.llama_sampler_init_dist(_value(sampling.seed)), "dist")
        self._chain = _checked(
            llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params()), "chain"
        )
        self._build(sampling, history)

    def change(self, sampling: SamplingParams, history: Sequence[int]) -> None:
        """Replace the stages from the next draw on. The random numbers go on, unless the seed itself is another."""
        last = llama_cpp.llama_sampler_chain_n(self._chain) - 1
        self._draw = llama_cpp.llama_sampler_chain_remove(self._chain, last)
        for _ in range(last):
            llama_cpp.llama_sampler_free(llama_cpp.llama_sampler_chain_remove(self._chain, 0))
        if sampling.seed != self._seed:
            llama_cpp.llama_sampler_free(self._draw)
            self._draw = _checked(llama_cpp.llama_sampler_init_dist(_value(sampling.seed)), "dist")
            self._seed = sampling.seed
        self._build(sampling, history)

    def _build(self, sampling: SamplingParams, history: Sequence[int]) -> None:
        stages = []
        # llama.cpp allots the window at once: one longer than any history would only cost memory.
        window = int(min(_value(sampling.repeat_last_n), self._longest))
        penalties = (
            _value(sampling.repeat_penalty),
            _value(sampling.frequency_penalty),
            _value(sampling.presence_penalty),
        )
        if window and penalties != (1, 0, 0):
            stage = _checked(
                llama_cpp.llama_sampler_init_penalties(self._vocabulary_size, window, *penalties), "penalties"
            )
            # A sampler made now knows nothing of what came before: tell it.
            for token in history[-window:]:
                llama_cpp.llama_sampler_accept(stage, token)
            stages.append(stage)
        temperature = _value(sampling.temperature)
        if temperature >= COLDEST:
            if sampling.top_k:
                stages.append(_checked(llama_cpp.llama_sampler_init_top_k(sampling.top_k), "top-k"))
            if _value(sampling.top_p) < 1:
                stages.append(_checked(llama_cpp.llama_sampler_init_top_p(_value(sampling.top_p), 1), "top-p"))
            if _value(sampling.min_p) > 0:
                stages.append(_checked(llama_cpp.llama_sampler_init_min_p(_value(sampling.min_p), 1), "min-p"))
            stages.append(_checked(llama_cpp.llama_sampler_init_temp(temperature), "temperature"))
        else:
            # Greedy as a stage that keeps one candidate: the draw stays last, where `change` finds it.
            stages.append(_checked(llama_cpp.llama_sampler_init_top_k(1), "greedy"))
        for stage in (*stages, self._draw):
            llama_cpp.llama_sampler_chain_add(self._chain, stage)

    def sample(self, context: Context, row: int) -> int:
        """Draw the token that follows batch row ``row``, and remember it for the penalties."""
        context.require_logits(row)
        return int(llama_cpp.llama_sampler_sample(self._chain, context.pointer, row))

    def close(self) -> None:
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def _value(value: float | None) -> int | float:
    if value is None:
        raise ValueError("the sampling parameters of a running request must be complete")
    return value


def _checked(pointer: object, stage: str) -> object:
    # A null sampler in a chain is a segmentation fault at the next draw; ctypes gives a falsy pointer, not None.
    if not pointer:
        raise MemoryError(f"llama.cpp could not make the {stage} sampler")
    return pointer

"""One request's sampler chain, whose stages can be replaced while its random numbers run on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import llama_cpp
import numpy as np
import numpy.typing as npt

from lmlab.errors import ConstraintError
from lmlab.llama.context import Context
from lmlab.llama.grammar import CANDIDATE, CandidateArray, Grammar
from lmlab.llama.logits_row import Floats, Ids
from lmlab.sampling import SamplingParams

COLDEST = 1e-30
"""A temperature below this is greedy: logits divided by it overflow, and the draw would be of the least likely."""

MANY = 100_000
"""Tokens of a vocabulary of which the likeliest are looked for before the chain, which would copy them all."""
MOST = 256
"""Likeliest tokens that are so looked for; with more the chain is as fast."""

StageName: TypeAlias = Literal["penalties", "top-k", "top-p", "min-p", "temperature"]


def chain_stages(sampling: SamplingParams) -> tuple[StageName, ...]:
    """Return the stages that are on for complete ``sampling``, in order. Greedy is a temperature that leaves one token."""
    stages: list[StageName] = []
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if sampling.repeat_last_n and penalties != (1, 0, 0):
        stages.append("penalties")
    if not greedy(sampling):
        if sampling.top_k:
            stages.append("top-k")
        if complete(sampling.top_p) < 1:
            stages.append("top-p")
        if complete(sampling.min_p) > 0:
            stages.append("min-p")
    return (*stages, "temperature")


def greedy(sampling: SamplingParams) -> bool:
    return complete(sampling.temperature) < COLDEST


def complete(value: float | None) -> int | float:
    """Return a sampling parameter that must be set; ValueError when it is not."""
    if value is None:
        raise ValueError("the sampling parameters of a running request must be complete")
    return value


class Sampler:
    """A llama.cpp chain: penalties, top-k, top-p, min-p, temperature, draw.

    ``sampling`` must be complete (every field but max_tokens and stop set). ``history`` are the tokens before the first
    draw, which the penalties look back on, as llama-server has it; it never grows beyond ``longest``. With a ``grammar``,
    at the place of the first draw and owned from now on, only what it allows is drawn.
    """

    def __init__(
        self,
        sampling: SamplingParams,
        history: Sequence[int],
        *,
        vocabulary: int,
        longest: int,
        grammar: Grammar | None = None,
    ) -> None:
        self._grammar = grammar
        self._vocabulary_size = vocabulary
        self._longest = longest
        self._seed = sampling.seed
        self._draw = _checked(llama_cpp.llama_sampler_init_dist(complete(sampling.seed)), "dist")
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
            self._draw = _checked(llama_cpp.llama_sampler_init_dist(complete(sampling.seed)), "dist")
            self._seed = sampling.seed
        self._build(sampling, history)

    def _build(self, sampling: SamplingParams, history: Sequence[int]) -> None:
        stages = chain_stages(sampling)
        self._needed = self._needed_of(sampling, stages)
        for name in stages:
            stage = _checked(self._stage(name, sampling), name)
            if name == "penalties":
                # A sampler made now knows nothing of what came before: tell it.
                for token in history[-self._window(sampling) :]:
                    llama_cpp.llama_sampler_accept(stage, token)
            llama_cpp.llama_sampler_chain_add(self._chain, stage)
        llama_cpp.llama_sampler_chain_add(self._chain, self._draw)

    def _stage(self, name: StageName, sampling: SamplingParams) -> object:
        match name:
            case "penalties":
                return llama_cpp.llama_sampler_init_penalties(
                    self._vocabulary_size,
                    self._window(sampling),
                    complete(sampling.repeat_penalty),
                    complete(sampling.frequency_penalty),
                    complete(sampling.presence_penalty),
                )
            case "top-k":
                return llama_cpp.llama_sampler_init_top_k(int(complete(sampling.top_k)))
            case "top-p":
                return llama_cpp.llama_sampler_init_top_p(complete(sampling.top_p), 1)
            case "min-p":
                return llama_cpp.llama_sampler_init_min_p(complete(sampling.min_p), 1)
            case "temperature":
                # Greedy as a stage that keeps one candidate: the draw stays last, where `change` finds it.
                if greedy(sampling):
                    return llama_cpp.llama_sampler_init_top_k(1)
                return llama_cpp.llama_sampler_init_temp(complete(sampling.temperature))

    def _needed_of(self, sampling: SamplingParams, stages: Sequence[StageName]) -> int | None:
        """Return how many of the likeliest tokens to look for before the chain, or None to give it all."""
        if stages == ("temperature",) and greedy(sampling):
            return 1
        if stages[0] != "top-k" or self._vocabulary_size < MANY:
            return None
        count = int(complete(sampling.top_k))
        return count if count <= MOST else None

    def _window(self, sampling: SamplingParams) -> int:
        # llama.cpp allots the window at once: one longer than any history would only cost memory.
        return int(min(complete(sampling.repeat_last_n), self._longest))

    def sample(self, context: Context, row: int) -> int:
        """Draw the token that follows batch row ``row``, and remember it for the penalties and the grammar.

        The row's logits stay as they are: several samplers may draw from one. Raises ConstraintError when no token can
        follow the grammar.
        """
        logits = context.row(row)
        grammar = self._grammar
        some = None if self._needed is None else logits.largest(self._needed)
        if grammar is None and some is None:
            return int(llama_cpp.llama_sampler_sample(self._chain, context.pointer, row))
        # Drawn freely, and again among what the grammar allows only if it does not allow that: it is slow to ask of all.
        token = self._draw_among(_candidates(logits.logits, some), falling=some is not None)
        if grammar is not None and not grammar.allows(token):
            allowed = grammar.mask(_candidates(logits.logits))
            if not len(allowed):
                raise ConstraintError(
                    "no token of this model can follow what the grammar has let through so far: loosen the grammar there"
                )
            token = self._draw_among(allowed)
        llama_cpp.llama_sampler_accept(self._chain, token)
        if grammar is not None:
            grammar.accept(token)
        return token

    def _draw_among(self, candidates: npt.NDArray[np.void], *, falling: bool = False) -> int:
        array = CandidateArray(candidates, falling=falling)
        array.apply(self._chain)
        return array.selected

    def close(self) -> None:
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar is not None:
            self._grammar.close()


def _candidates(logits: Floats, ids: Ids | None = None) -> npt.NDArray[np.void]:
    """Return ``ids`` with their logits, or all of the vocabulary."""
    count = len(logits) if ids is None else len(ids)
    candidates = np.empty(count, CANDIDATE)
    candidates["id"] = np.arange(count) if ids is None else ids
    candidates["logit"] = logits if ids is None else logits[ids]
    return candidates


def _checked(pointer: object, stage: str) -> object:
    # A null sampler in a chain is a segmentation fault at the next draw; ctypes gives a falsy pointer, not None.
    if not pointer:
        raise MemoryError(f"llama.cpp could not make the {stage} sampler")
    return pointer

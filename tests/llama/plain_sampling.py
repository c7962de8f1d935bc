"""Sampling with every stage off."""

from __future__ import annotations

from lmlab.sampling import SamplingParams

OFF = SamplingParams(
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    min_p=0.0,
    repeat_penalty=1.0,
    repeat_last_n=64,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    seed=1,
)

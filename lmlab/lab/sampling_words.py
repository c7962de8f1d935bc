"""Sampling parameters and their values in words. Knows nothing of chats or of where a value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable

from lmlab.sampling import BY_NAME, SamplingParams


def hyphened(name: str) -> str:
    return name.replace("_", "-")


def format_value(name: str, params: SamplingParams) -> str:
    value = getattr(params, name)
    if name == "stop":
        return " ".join(json.dumps(text, ensure_ascii=False) for text in value) if value else "none"
    if name == "seed" and value in (None, -1):
        return "random"
    if name == "max_tokens" and value is None:
        return "no limit"
    return BY_NAME[name].format(value)


def value_list(params: SamplingParams, names: Iterable[str]) -> str:
    """Return ``temperature 0.00, top-k 5``."""
    return ", ".join(f"{hyphened(name)} {format_value(name, params)}" for name in names)

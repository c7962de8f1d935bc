"""What a parent asks about one place of a reply, and the answer. Part of what the two processes say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.sampling import SamplingParams
from lmlab.worker.prompts import Prompt

StageName: TypeAlias = Literal["raw", "penalties", "top-k", "top-p", "min-p", "temperature"]


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask what the model weighed after ``prompt`` and ``tokens``, a reply's first tokens; a Distribution or Failed answers.

    One token is decoded onto the prefix that is cached, and its logits are kept until the next Inspect. ``top``
    candidates are reported, and the token ``drawn`` if it is not among them.
    """

    request_id: str
    prompt: Prompt
    tokens: tuple[int, ...]
    sampling: SamplingParams
    top: int = 20
    drawn: int | None = None


@dataclass(frozen=True, slots=True)
class Reweigh:
    """Ask for the distribution of the last Inspect at other sampling; decodes nothing."""

    request_id: str
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token the model weighed. ``probabilities`` has one entry a stage, 0 after the stage that removed it, which
    ``removed_by`` names. ``rank`` is by raw probability, from 0. ``end``: it ends the reply, and nothing can follow it."""

    token: int
    text: str
    rank: int
    logit: float
    probabilities: tuple[float, ...]
    removed_by: StageName | None
    end: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """The distribution after one stage of the sampler: tokens ``left`` and ``entropy`` in bits."""

    name: StageName
    left: int
    entropy: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the model weighed at one place, before and after each stage that is on; ``alternatives`` by raw rank."""

    request_id: str
    sampling: SamplingParams
    stages: tuple[Stage, ...]
    alternatives: tuple[Alternative, ...]

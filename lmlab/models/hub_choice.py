"""Which of a repository's quantizations to take when nobody named one: the usual one if it fits, else one that does.

Knows nothing of how a listing is had or a file is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lmlab.errors import ModelNotFound
from lmlab.models.hub_files import PREFERRED, HubReference, all_parts, choose, models_among, quantization_in
from lmlab.models.progress import size_text

_WHOLE = re.compile(r"B?F16|FP16|F32|FP32", re.IGNORECASE)
_BESIDE = 1.2
"""Of a file's size, for its context and buffers, too: its header is not here yet."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A file, and in a few words why it."""

    name: str
    why: str


def choose_for_memory(sizes: Mapping[str, int | None], reference: HubReference, available: int) -> Choice:
    """Return the file of ``sizes`` (name -> bytes) to take for a reference that names none, with ``available`` memory.

    Q4_K_M if it fits, else the largest that fits; one that is not quantized only if it is the only one. Raises
    ModelNotFound when none fits, or when the listing does not say sizes and there is no single answer.
    """
    models = {name: _whole_size(name, sizes) for name in models_among(sizes)}
    known = {name: size for name, size in models.items() if size is not None}
    if len(known) < len(models) or not models:
        return Choice(choose(list(sizes), reference), "")
    fitting = [name for name, size in known.items() if size * _BESIDE <= available]
    room = f"{size_text(available)} of memory are free"
    if not fitting:
        least = min(known, key=lambda name: known[name])
        raise ModelNotFound(
            f"{reference.repo} has nothing that fits: {room}, and the smallest, {_label(least)}, has "
            f"{size_text(known[least])}: choose a smaller model, or fetch it all the same as hf:{reference.repo}:{least}"
        )
    usual = [name for name in known if _label(name).upper() == PREFERRED]
    if len(usual) == 1 and usual[0] in fitting:
        return Choice(
            usual[0], "" if len(known) == 1 else f"{PREFERRED} of {len(known)} quantizations, which fits: {room}"
        )
    best = max(fitting, key=lambda name: (not _WHOLE.fullmatch(_label(name)), known[name]))
    if len(known) == 1:
        return Choice(best, "")
    if len(usual) == 1:
        reason = f"{PREFERRED}, with {size_text(known[usual[0]])}, does not"
    else:
        reason = f"{len(usual)} are {PREFERRED}" if usual else f"there is no {PREFERRED}"
    return Choice(best, f"{_label(best)} of {len(known)} quantizations, the largest that fits ({room}; {reason})")


def _label(name: str) -> str:
    return quantization_in(name) or name


def _whole_size(first: str, sizes: Mapping[str, int | None]) -> int | None:
    parts = [sizes.get(part) for part in all_parts(first)]
    known = [size for size in parts if size is not None]
    return sum(known) if len(known) == len(parts) else None

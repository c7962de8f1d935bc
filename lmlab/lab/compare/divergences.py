"""How far the models of a comparison are from each other over a text, kept in the record. Knows nothing of variants' prompts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.errors import UsageError
from lmlab.lab.compare.contender import Contender
from lmlab.lab.compare.record import Record

if TYPE_CHECKING:
    from lmlab.lab.divergence import Divergence
    from lmlab.worker.divergence.messages import Measuring, ModelLoading


@dataclass(frozen=True, slots=True)
class Text:
    """What models are measured over: where it came from, and what it is."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def measure_all(
    contenders: Sequence[Contender],
    text: Text,
    record: Record,
    *,
    log_folder: Path,
    listener: Callable[[str, ModelLoading | Measuring], None],
    cancelled: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Return what is said of each model against the first variant's, measured now or found in ``record``.

    ``listener`` is told between which two. Models that cannot be compared are said with the reason.
    """
    first = contenders[0]
    told: list[dict[str, Any]] = []
    for other in contenders[1:]:
        if cancelled():
            break
        line = _measured(first, other, text, record, log_folder, listener, cancelled)
        if line is not None:
            told.append(line)
    return told


def divergence_lines(line: Mapping[str, Any]) -> Iterator[str]:
    """Yield a kept divergence in words."""
    yield f"{line['first']} and {line['second']} over {line['text']}"
    if line["why"] is not None:
        yield f"  not measured: {line['why']}"
    for said in line["words"]:
        yield f"  {said}"


def _measured(
    first: Contender,
    second: Contender,
    text: Text,
    record: Record,
    log_folder: Path,
    listener: Callable[[str, ModelLoading | Measuring], None],
    cancelled: Callable[[], bool],
) -> dict[str, Any] | None:
    of = (_loaded(first), _loaded(second), text.digest)
    head = {"of": list(of), "first": first.label, "second": second.label, "text": text.name}
    if of[0] == of[1]:
        return {**head, "why": "one model, loaded alike: its predictions are the same", "words": [], "figures": None}
    if of in record.divergences:
        return {**record.divergences[of], **head}
    names = f"{first.label} and {second.label}"
    # Few comparisons ask for it.
    from lmlab.lab.divergence import measure

    try:
        found = measure(
            first.plan.load,
            second.plan.load,
            text.text,
            lambda event: listener(names, event),
            log_folder=log_folder,
            cancelled=cancelled,
        )
    except UsageError as error:
        # Vocabularies that differ, or a text too short: no reason to lose the rest of a comparison.
        return {**head, "why": str(error), "words": [], "figures": None}
    if found is None:
        return None
    line = {**head, "why": None, "words": list(found.words()), "figures": _plain(found)}
    if found.complete:
        record.add_divergence(line)
    return line


def _loaded(contender: Contender) -> str:
    """Return what names the model and all that changes its predictions."""
    load = contender.plan.load
    parts = [contender.plan.model.fingerprint, load.key_type, load.value_type]
    parts += [f"{lora.path}:{lora.scale:g}" for lora in load.lora]
    return " ".join(parts)


def _plain(found: Divergence) -> dict[str, Any]:
    return {name: _finite(value) for name, value in asdict(found).items() if name not in ("first", "second")}


def _finite(value: Any) -> Any:
    """Return ``value`` as JSON can have it: an infinite perplexity is null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

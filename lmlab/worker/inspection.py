"""What the model weighed at one place of a reply: asked for, answered, and asked again at other sampling.

The logits of the last place looked at are kept; older ones are had again by decoding one token.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.engine import EngineEvent
from lmlab.engine.request import Ended, Inspected, Refused
from lmlab.errors import EngineStopped, UsageError
from lmlab.llama import Vocabulary
from lmlab.llama.distribution import Weigher
from lmlab.sampling import SamplingParams
from lmlab.worker.distribution import describe
from lmlab.worker.looks import Distribution, Inspect, Reweigh
from lmlab.worker.messages import Event, Failed


@dataclass(slots=True, eq=False)
class _Place:
    command: Inspect
    history: tuple[int, ...]
    sampling: SamplingParams
    weigher: Weigher | None = None


class Inspections:
    """Places asked for, by request id; the latest answered one can be reweighed."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._asked: dict[str, _Place] = {}
        self._latest: _Place | None = None

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._asked

    def add(self, command: Inspect, tokens: tuple[int, ...], sampling: SamplingParams) -> None:
        """``tokens`` are all that comes before the draw; ``sampling`` is complete."""
        self._asked[command.request_id] = _Place(command, tokens, sampling)

    def answer(self, event: EngineEvent) -> list[Event]:
        """Return what to tell the parent of an engine event about one of these requests."""
        if isinstance(event, Inspected):
            place = self._latest = self._asked.pop(event.request_id)
            place.weigher = Weigher(event.logits, place.history)
            return [self._distribution(place, place.sampling)]
        if isinstance(event, Refused):
            del self._asked[event.request_id]
            return [Failed(event.request_id, event.error)]
        if isinstance(event, Ended):
            del self._asked[event.request_id]
            return [
                Failed(event.request_id, EngineStopped("the context is full: there is no room to look at this token"))
            ]
        return []

    def reweigh(self, command: Reweigh, sampling: SamplingParams) -> Distribution | Failed:
        """Return the distribution at the latest place with other ``sampling`` (complete)."""
        place = self._latest
        if place is None or place.command.request_id != command.request_id:
            return Failed(command.request_id, UsageError("this token is no longer looked at: select it again"))
        return self._distribution(place, sampling)

    def _distribution(self, place: _Place, sampling: SamplingParams) -> Distribution:
        assert place.weigher is not None
        command = place.command
        return describe(
            command.request_id,
            self._vocabulary,
            place.weigher,
            sampling,
            top=command.top,
            drawn=command.drawn,
        )

"""Which look into a reply is wanted, which is under way, which is shown. At most one is under way and the latest wins.

Knows nothing of the chat, which is asked, or of widgets, which show.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.backends import Distribution, Failed
from lmlab.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Place:
    """Before token ``at`` of the reply ``turn``, where ``drawn`` was drawn; None where the reply ends."""

    turn: int
    at: int
    drawn: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What to ask: the distribution at ``place`` with ``sampling``. With ``kept`` its logits are there already, under
    that request id, and it only has to be weighed again.
    """

    place: Place
    sampling: SamplingParams
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer: what was asked, and the distribution."""

    place: Place
    sampling: SamplingParams
    distribution: Distribution


class Looks:
    """``seen`` is what was answered last; ``trouble`` is why what is wanted cannot be seen."""

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self.trouble: str | None = None
        self._wanted: tuple[Place, SamplingParams] | None = None
        self._under_way: Look | None = None
        self._kept: tuple[Place, str] | None = None

    @property
    def wanted(self) -> Place | None:
        return None if self._wanted is None else self._wanted[0]

    @property
    def up_to_date(self) -> bool:
        """Whether what is seen is what is wanted."""
        return self.seen is not None and (self.seen.place, self.seen.sampling) == self._wanted

    def want(self, place: Place, sampling: SamplingParams) -> None:
        if (place, sampling) != self._wanted:
            self._wanted = (place, sampling)
            self.trouble = None

    def next(self) -> Look | None:
        """Return what is to be asked now, which is then under way; None when nothing is, or something already is."""
        if self._under_way is not None or self._wanted is None or self.up_to_date or self.trouble is not None:
            return None
        place, sampling = self._wanted
        kept = self._kept[1] if self._kept is not None and self._kept[0] == place else None
        self._under_way = Look(place, sampling, kept)
        return self._under_way

    def answer(self, event: Distribution | Failed) -> None:
        """Take in the answer to what is under way."""
        look, self._under_way = self._under_way, None
        if look is None:
            return
        if isinstance(event, Distribution):
            self._kept = (look.place, event.request_id)
            # What is seen may be wanted again by now: then it stays.
            if not self.up_to_date:
                self.seen = Seen(look.place, look.sampling, event)
            return
        self._kept = None
        # Logits that are no longer kept can be had again; only a look that fails is an answer.
        if look.kept is None and (look.place, look.sampling) == self._wanted:
            self.trouble = str(event.error)

    def lose(self) -> None:
        """What is under way was asked of a model that is gone."""
        self._under_way = None

    def refuse(self, reason: str) -> None:
        """What is under way could not even be asked."""
        self._under_way = None
        self._kept = None
        self.trouble = reason

    def forget(self) -> None:
        """The model is another one, or loaded anew: nothing is kept there, and what failed may work now."""
        self.seen = self.trouble = self._kept = None

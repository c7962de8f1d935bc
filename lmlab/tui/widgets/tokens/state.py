"""The tokens view as plain values: what a person does goes in, what is shown and what is to be asked comes out.

Knows nothing of Textual or of the chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.backends import Alternative
from lmlab.errors import SamplingError
from lmlab.sampling import SamplingParams
from lmlab.store import Turn
from lmlab.tui.widgets.tokens.bands import SURPRISING
from lmlab.tui.widgets.tokens.figures import first_alternative, stage_index
from lmlab.tui.widgets.tokens.knobs import KNOBS, Knobs
from lmlab.tui.widgets.tokens.looks import Looks, Place
from lmlab.tui.widgets.tokens.reading import Reading

Part: TypeAlias = Literal["text", "weighed", "knobs"]

_PARTS: tuple[Part, ...] = ("text", "weighed", "knobs")


@dataclass(frozen=True, slots=True)
class Note:
    """A line said to the person until the next key."""

    text: str
    trouble: bool = False


class TokensState:
    """``part`` has the keys; ``row`` is the place of the selected candidate, ``stage`` the stage chosen (None: the
    last); ``knob`` the slider the keys turn and ``typed`` what is being typed for it.
    """

    def __init__(self) -> None:
        self.reading = Reading()
        self.looks = Looks()
        self.part: Part = "text"
        self.stage: str | None = None
        self.row = 0
        self.knob = "temperature"
        self.typed: str | None = None
        self.note: Note | None = None
        self._bent = SamplingParams()
        self._row_of: Place | None = None

    @property
    def knobs(self) -> Knobs:
        """The sliders, over what the token selected was drawn with."""
        return Knobs(self.reading.sampling(), self._bent)

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        seen = self.looks.seen
        return () if seen is None else seen.distribution.alternatives

    @property
    def chosen(self) -> Alternative | None:
        """The candidate a branch would begin with; None while the token selected is still being looked at."""
        seen = self.looks.seen
        if seen is None or seen.place != self.looks.wanted or not self.alternatives:
            return None
        return self.alternatives[min(self.row, len(self.alternatives) - 1)]

    # What happens

    def take(self, turns: Sequence[Turn]) -> bool:
        """Take in the turns as they stand. Return whether another reply is read than before."""
        changed = self.reading.take(turns)
        self.want()
        return changed

    def want(self) -> None:
        """Want to see what is selected."""
        reading = self.reading
        if reading.replies and reading.places:
            self.looks.want(Place(reading.turn.id, reading.at, reading.drawn), self.knobs.sampling)

    def settle_row(self) -> None:
        """At another token, begin at the likeliest candidate that was not drawn."""
        seen = self.looks.seen
        if seen is not None and seen.place != self._row_of:
            self._row_of = seen.place
            self.row = first_alternative(self.alternatives, seen.place.drawn)

    # What a person does

    def go(self, at: int) -> None:
        self.reading.go(at)
        self.want()

    def follow(self) -> None:
        self.reading.follow()
        self.want()

    def choose_reply(self, step: int) -> bool:
        """Read the reply ``step`` further; return whether there is one, and say so if not."""
        if self.reading.choose(step):
            self.want()
            return True
        self.note = Note("this is the first reply" if step < 0 else "this is the last reply")
        return False

    def surprise(self, step: int) -> None:
        """Go to the next surprising token, or say that there is none."""
        if self.reading.reply.logprobs is None:
            self.note = Note("this reply was kept without probabilities: no token is known to be surprising")
            return
        at = self.reading.surprise(step)
        if at is None:
            self.note = Note(f"no token of this reply was below {SURPRISING * 100:g} %")
        else:
            self.go(at)

    def enter(self, part: Part) -> None:
        """Give ``part`` the keys. Away from the text the token that is seen stays, also while newer ones come."""
        self.part = part
        self.typed = None
        reading, seen = self.reading, self.looks.seen
        if part != "text" and reading.following:
            self.go(seen.place.at if seen is not None and seen.place.turn == reading.turn.id else reading.at)

    def step_part(self, step: int) -> None:
        self.enter(_PARTS[(_PARTS.index(self.part) + step) % len(_PARTS)])

    def step_row(self, step: int) -> None:
        self.row = min(max(0, self.row + step), max(0, len(self.alternatives) - 1))

    def step_stage(self, step: int) -> None:
        seen = self.looks.seen
        if seen is not None:
            names = [stage.name for stage in seen.distribution.stages]
            place = stage_index(seen.distribution, self.stage) + step
            self.stage = names[min(max(0, place), len(names) - 1)]

    def take_knob(self, name: str) -> None:
        self.enter("knobs")
        self.knob = name

    def step_knob(self, step: int) -> None:
        names = list(KNOBS.values())
        self.take_knob(names[min(max(0, names.index(self.knob) + step), len(names) - 1)])

    def turn(self, knobs: Knobs) -> None:
        """Bend the sampling here: the same logits are weighed again."""
        self.typed = None
        self._bent = knobs.bent
        self.want()

    def unbend(self) -> None:
        """Go back to what the reply was drawn with."""
        self.turn(Knobs(self.knobs.base))

    def set_typed(self) -> None:
        """Turn the slider to what was typed, or say what may be."""
        if not self.typed:
            return
        try:
            self.turn(self.knobs.typed(self.knob, self.typed))
        except SamplingError as error:
            self.note = Note(str(error), trouble=True)

"""The lines above and below the tokens: which reply it is and how sure the model was of it, and what colours mean."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from lmlab.lab.constraints import called
from lmlab.terminal_text import one_line
from lmlab.tui.format import count
from lmlab.tui.status import short_name
from lmlab.tui.widgets.tokens.bands import BANDS, perplexity
from lmlab.tui.widgets.tokens.reading import Reading
from lmlab.tui.widgets.tokens.spelling import NEWLINE, SPACE, fit
from lmlab.tui.widgets.tokens.state import Note

_MODEL_CELLS = 24
NO_PROBABILITIES = "kept without probabilities: no colours"


class TitleLine(Widget):
    """``Tokens   ‹ reply 2 of 3 ›   the question   smollm2 · 87 tokens · perplexity 3.1``."""

    COMPONENT_CLASSES = {"tokens-title--name", "tokens-title--quiet"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="tokens-title")
        self._facts: tuple[str, str, str] = ("", "", "")

    def show(self, reading: Reading, question: str) -> None:
        reply = reading.reply
        total, number = len(reading.replies), reading.index + 1
        which = f"{'‹' if number > 1 else ' '} reply {number} of {total} {'›' if number < total else ' '}"
        parts = [one_line(short_name(reply.model), _MODEL_CELLS)] if reply.model else []
        parts.append(count(len(reply.tokens), "token"))
        if reply.constraint is not None:
            parts.append(f"held to a {called(reply.constraint)}")
        if reply.finish_reason == "error":
            parts.append("failed")
        if reading.streaming:
            parts.append("it streams")
        elif (value := perplexity(reply.logprobs or ())) is not None:
            parts.append(f"perplexity {value:,.2f}")
        facts = (which, one_line(question), " · ".join(parts))
        if facts != self._facts:
            self._facts = facts
            self.refresh()

    def render(self) -> Content:
        which, question, facts = self._facts
        left = f"   {which}   "
        room = self.content_size.width - len("Tokens") - len(left) - len(facts) - 3
        return Content.assemble(
            ("Tokens", ".tokens-title--name"),
            left,
            (fit(question, room) if room >= 8 else " " * max(0, room), ".tokens-title--quiet"),
            (f"   {facts}", ".tokens-title--quiet"),
        )


@dataclass(frozen=True, slots=True)
class _Foot:
    note: Note | None
    coloured: bool


class LegendLine(Widget):
    """What the colours mean; a note lies over it until the next key."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        *(f"tokens--{one.name}" for one in BANDS),
        "tokens-legend--text",
        "tokens-legend--trouble",
    }

    def __init__(self) -> None:
        super().__init__(id="tokens-legend")
        self._foot = _Foot(None, True)

    def show(self, note: Note | None, coloured: bool) -> None:
        foot = _Foot(note, coloured)
        if foot != self._foot:
            self._foot = foot
            self.refresh()

    def render(self) -> Content:
        note = self._foot.note
        if note is not None:
            style = ".tokens-legend--trouble" if note.trouble else ".tokens-legend--text"
            return Content.styled(one_line(note.text, 500), style).truncate(self.content_size.width, ellipsis=True)
        marks = Content.styled(f"{SPACE} space  {NEWLINE} new line", ".tokens-legend--text")
        if not self._foot.coloured:
            return Content.styled(f"{NO_PROBABILITIES}   ", ".tokens-legend--text") + marks
        bands = [Content.styled(one.sample, f".tokens--{one.name}") for one in BANDS]
        return Content("  ").join([Content.styled("probability", ".tokens-legend--text"), *bands, marks])

"""The tokens view: a reply as tokens, what the model weighed at each, bent with sliders, and branched from there.

What is shown and asked is decided in TokensState; here keys and clicks go in, and questions go to the chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget

from lmlab.backends import Distribution, Event, EventSink, Failed, ModelInfo, Spelled
from lmlab.errors import LmlabError, UsageError
from lmlab.lab.constraints import called
from lmlab.store import Turn
from lmlab.tui.keys import Hint
from lmlab.tui.screens.view import ChatView
from lmlab.tui.state import LoadingModel
from lmlab.tui.status import label, value_text
from lmlab.tui.widgets.tokens import (
    LegendLine,
    Note,
    ReplyText,
    Sliders,
    SlidersView,
    TitleLine,
    TokensState,
    TokenText,
    Weighed,
    WeighedView,
    action,
    hints,
)

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_LATE_S = 0.25
"""A look that takes longer is said to be under way; until then the token before stays, so that nothing flickers."""

_TALL = 30
"""Lines of screen from which on there is room for an empty one."""


def open_view(app: ChatApp) -> TokensView:
    """Raises UsageError when there is no reply."""
    if not any(turn.reply is not None for turn in app.chat.turns):
        raise UsageError("there is no reply to look into yet: send a message first")
    return TokensView()


class TokensView(ChatView):
    """One look and one spelling are under way at most; each answer asks for what is wanted by then."""

    view = "tokens"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (_TALL, "-tall")]  # noqa: RUF012 - Textual's own declaration

    class Answered(Message):
        """The model that was open as ``info`` has answered ``event``; ``tokens`` were to be spelled."""

        def __init__(self, info: ModelInfo | None, event: Event, tokens: tuple[int, ...] = ()) -> None:
            super().__init__()
            self.info = info
            self.event = event
            self.tokens = tokens

    def __init__(self) -> None:
        super().__init__()
        self.state = TokensState()
        self._title = TitleLine()
        self._text = ReplyText()
        self._weighed = Weighed()
        self._sliders = Sliders()
        self._legend = LegendLine()
        self._info: ModelInfo | None = None
        self._spelling = False
        self._late = False
        self._late_timer: Timer | None = None

    def content(self) -> Sequence[Widget]:
        right = Vertical(self._weighed, self._sliders, id="tokens-right")
        return (self._title, Horizontal(self._text.widget, right, id="tokens-body"), self._legend)

    def hints(self) -> list[Hint]:
        return hints(self.state)

    def catch_up(self) -> None:
        chat = self.host.chat
        if chat.info is not self._info:
            self._info = chat.info
            self._text.forget()
            self.state.looks.forget()
        self.state.take(chat.turns)
        self._go_on()

    # Questions to the chat

    def _go_on(self) -> None:
        """Ask what is to be asked now, and show what there is."""
        self._look()
        self._spell()
        self._show()

    def _look(self) -> None:
        looks, chat = self.state.looks, self.host.chat
        look = looks.next()
        if look is None:
            return
        turn = self.state.reading.turn
        try:
            if look.kept is not None:
                chat.reweigh(look.kept, look.sampling, self._sink())
            else:
                chat.look(turn, look.place.at, look.sampling, self._sink())
        except LmlabError as error:
            looks.refuse(str(error))
            return
        self._text.own = turn.id
        if self._late_timer is None:
            self._late_timer = self.set_timer(_LATE_S, self._say_late)

    def _spell(self) -> None:
        missing = self._text.missing(self.state.reading)
        if not missing or self._spelling:
            return
        try:
            self.host.chat.spell(missing, self._sink(missing))
        except LmlabError as error:
            self.state.note = Note(str(error), trouble=True)
            return
        self._spelling = True

    def _sink(self, tokens: tuple[int, ...] = ()) -> EventSink:
        info = self._info
        return lambda event: self._hear(self.Answered(info, event, tokens))

    def _hear(self, answer: Answered) -> None:
        """Called on any thread."""
        self.post_message(answer)

    @on(Answered)
    def _on_answered(self, answer: Answered) -> None:
        event, stale = answer.event, answer.info is not self._info
        if answer.tokens:
            self._spelling = False
            if isinstance(event, Spelled) and not stale:
                self._text.spelling.add(answer.tokens, event.texts)
            elif isinstance(event, Failed) and not stale:
                self.state.note = Note(str(event.error), trouble=True)
                self._text.own = None
        else:
            self._in_time()
            if stale:
                self.state.looks.lose()
            elif isinstance(event, Distribution | Failed):
                self.state.looks.answer(event)
                self.state.settle_row()
        self._go_on()

    def _say_late(self) -> None:
        self._late = True
        self._show()

    def _in_time(self) -> None:
        if self._late_timer is not None:
            self._late_timer.stop()
            self._late_timer = None
        self._late = False

    # What is shown

    def _show(self) -> None:
        state = self.state
        reading, looks = state.reading, state.looks
        constraint = reading.reply.constraint
        self._text.show(reading)
        self._title.show(reading, self._question())
        self._weighed.show(
            WeighedView(
                seen=looks.seen if reading.places else None,
                count=len(reading.reply.tokens),
                stage=state.stage,
                row=state.row if state.part == "weighed" else None,
                late=self._late,
                loading=self._loading(),
                trouble=looks.trouble if reading.places else _nothing_yet(reading.streaming),
                held=None if constraint is None else called(constraint),
            )
        )
        self._sliders.show(SlidersView(state.knobs, state.knob if state.part == "knobs" else None, state.typed))
        self._legend.show(state.note, coloured=reading.reply.logprobs is not None or not reading.reply.tokens)
        self.show_keys()

    def _loading(self) -> str | None:
        model = self.host.state.model
        if not isinstance(model, LoadingModel):
            return None
        return f"{'the model loads' if self._info is None else 'the engine starts again'}: {model.fraction:.0%}"

    def _question(self) -> str:
        turns, turn = self.host.chat.turns, self.state.reading.turn
        place = next((index for index, one in enumerate(turns) if one.id == turn.id), 0)
        return turns[place - 1].content if place else ""

    # Keys

    async def on_key(self, event: events.Key) -> None:
        # Here and not as bindings: those run after what was typed next.
        character = event.character if event.is_printable else None
        name = action(self.state.part, event.key, character)
        if name is None:
            return
        event.stop()
        event.prevent_default()
        self.state.note = None
        await self.run_action(name)
        if self.is_attached:
            self._go_on()

    def action_back(self) -> None:
        """Give up what is typed, else go back to the tokens, else leave."""
        if self.state.typed is not None:
            self.state.typed = None
        elif self.state.part != "text":
            self.state.enter("text")
        else:
            self.dismiss()

    def action_move(self, by: int) -> None:
        if not self._text.plain:
            self.state.go(self.state.reading.at + by)

    def action_move_lines(self, by: int) -> None:
        text = self._text.widget
        if not self._text.plain and self.state.reading.at < text.count:
            self.state.go(text.flow.moved(self.state.reading.at, by))

    def action_move_pages(self, by: int) -> None:
        self.action_move_lines(by * self._text.widget.page)

    def action_move_to(self, at: int) -> None:
        if not self._text.plain:
            self.state.go(at)

    def action_follow(self) -> None:
        if not self._text.plain:
            self.state.follow()

    def action_surprise(self, step: int) -> None:
        if not self._text.plain:
            self.state.surprise(step)

    def action_step_reply(self, step: int) -> None:
        self.state.choose_reply(step)

    def action_step_part(self, step: int) -> None:
        self.state.step_part(step)

    def action_step_stage(self, step: int) -> None:
        self.state.step_stage(step)

    def action_step_row(self, step: int) -> None:
        self.state.step_row(step)

    def action_page_rows(self, step: int) -> None:
        self.state.step_row(step * self._weighed.page)

    def action_knob(self, name: str) -> None:
        self.state.take_knob(name)

    def action_step_knob(self, step: int) -> None:
        self.state.step_knob(step)

    def action_nudge(self, steps: int) -> None:
        self.state.turn(self.state.knobs.nudged(self.state.knob, steps))

    def action_type(self, character: str) -> None:
        self.state.typed = (self.state.typed or "") + character

    def action_erase(self) -> None:
        """Take back a typed character; with nothing typed, what the slider was turned to."""
        if self.state.typed is not None:
            self.state.typed = self.state.typed[:-1] or None
        else:
            self.state.turn(self.state.knobs.set(self.state.knob, None))

    def action_set(self) -> None:
        self.state.set_typed()

    def action_unbend(self) -> None:
        self.state.unbend()

    def action_take(self) -> None:
        """Let the chat draw as the sliders stand here."""
        knobs = self.state.knobs
        if not knobs.changed:
            self.state.note = Note("the sliders stand as this reply was drawn: t, k, p or m chooses one to turn")
            return
        for name in knobs.changed:
            self.host.chat.set_sampling(name, knobs.value(name))
        values = ", ".join(f"{label(name)} {value_text(name, knobs.value(name))}" for name in knobs.changed)
        self.state.note = Note(f"the chat now draws with {values}")

    def action_branch(self) -> None:
        """Go on from the candidate selected instead of the token that was drawn; the view gives way to the reply."""
        state = self.state
        chosen, turn, at = state.chosen, state.reading.turn, state.reading.at
        if not state.reading.places:
            state.note = Note("there is no token to branch from")
        elif chosen is None:
            state.note = Note(state.looks.trouble or "this token is still being looked at")
        elif chosen.token == state.reading.drawn:
            state.note = Note("this is the token that was drawn: choose another one to branch from")
        elif chosen.end:
            state.note = Note("this token ends the reply: there is nothing to go on with")
        elif self.host.chat.replying:
            state.note = Note(
                f"a reply is under way: wait for its end, or {self.stop_key} stops it, then branch", trouble=True
            )
        elif self.host.ask(lambda: self._branch(turn, at, chosen.token)):
            self.dismiss()

    def _branch(self, turn: Turn, at: int, token: int) -> None:
        try:
            self.host.chat.branch(turn, at, token)
        except LmlabError as error:
            # The transcript, where it is said too, is out of sight.
            self.state.note = Note(str(error), trouble=True)
            raise

    # The mouse

    @on(TokenText.Pointed)
    def _on_pointed(self, event: TokenText.Pointed) -> None:
        if not self._text.plain:
            self.state.note = None
            self.state.enter("text")
            self.state.go(event.at)
            self._go_on()

    @on(Weighed.StagePicked)
    def _on_stage_picked(self, event: Weighed.StagePicked) -> None:
        self.state.stage = event.name
        self._go_on()

    @on(Weighed.RowPicked)
    def _on_row_picked(self, event: Weighed.RowPicked) -> None:
        self.state.note = None
        self.state.enter("weighed")
        self.state.row = event.row
        if event.twice:
            self.action_branch()
        if self.is_attached:
            self._go_on()

    @on(Weighed.Wheeled)
    def _on_wheeled(self, event: Weighed.Wheeled) -> None:
        if self.state.part != "weighed":
            self.state.enter("weighed")
        self.state.step_row(event.rows)
        self._go_on()

    @on(Sliders.Slid)
    def _on_slid(self, event: Sliders.Slid) -> None:
        self.state.take_knob(event.name)
        self.state.turn(self.state.knobs.slid(event.name, event.share))
        self._go_on()

    @on(Sliders.Nudged)
    def _on_nudged(self, event: Sliders.Nudged) -> None:
        self.state.take_knob(event.name)
        if event.steps:
            self.state.turn(self.state.knobs.nudged(event.name, event.steps))
        self._go_on()


def _nothing_yet(streaming: bool) -> str:
    return "no token has come yet" if streaming else "this reply has no tokens"

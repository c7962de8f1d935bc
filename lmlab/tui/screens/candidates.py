"""The candidates view: all replies to the last message side by side, also while they are drawn; another can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from lmlab.errors import UsageError
from lmlab.lab.slash_best_of import replies
from lmlab.store import Turn
from lmlab.terminal_text import one_line
from lmlab.tui.candidate_feed import CandidateFeed
from lmlab.tui.format import count
from lmlab.tui.keys import Hint
from lmlab.tui.pace import Pace
from lmlab.tui.screens.view import ChatView
from lmlab.tui.status import kept_candidate_lines
from lmlab.tui.widgets.columns import Columns

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_SELECTED = "●"
_CHOSEN = "✓"
_QUESTION = 300


def open_view(app: ChatApp) -> CandidatesView:
    """Return the view of the replies to the last message. Raises UsageError when there is none."""
    turns = replies(app.chat)
    if not turns:
        raise UsageError("there is no reply yet: send a message first")
    return CandidatesView(app, turns)


class CandidatesView(ChatView):
    """A column for each of ``turns``, which answer one message. Those under way grow; Enter goes on from one."""

    view = "candidates"

    def __init__(self, app: ChatApp, turns: Sequence[Turn]) -> None:
        super().__init__()
        self._turns = tuple(turns)
        self._question = app.chat.turns[-2].content if len(app.chat.turns) > 1 else ""
        self._head = Static(id="candidates-head")
        self._headline = Content("")
        self._columns = Columns(_titles(self._turns))
        self._live = self._under_way(app)
        self._said = ""
        self._pace = Pace(app.state.clock)
        for index, turn in enumerate(self._turns):
            if index not in self._live:
                self._columns.column(index).set_text(turn.content)
        drawn = len(self._live)
        self._feed = CandidateFeed(self._columns, drawn, len(self._turns) - drawn) if drawn else None
        self._columns.choose(next((at for at, turn in enumerate(self._turns) if turn.id == app.chat.turns[-1].id), 0))

    def content(self) -> Sequence[Widget]:
        return (self._head, self._columns)

    def on_mount(self) -> None:
        self._columns.focus()
        self._show_kept()
        if self._feed is not None and self.host.state.reply is not None:
            self._feed.show_numbers(self.host.state.reply)
        super().on_mount()

    def catch_up(self) -> None:
        reply = self.host.state.reply
        if self._feed is not None and reply is not None:
            self._feed.catch_up(reply)
            if reply.ended:
                self._settle()
            elif self._pace.numbers_due(streaming=True):
                self._feed.show_numbers(reply)
        self._show_head()
        super().catch_up()

    def hints(self) -> list[Hint]:
        found = []
        if self._feed is None and self._current.id != self._selected:
            found.append(Hint("enter", f"go on from {self._columns.current + 1}"))
        if len(self._turns) > 1:
            found.append(Hint(f"←→ 1-{min(9, len(self._turns))}", "choose"))
        return [*found, Hint("↑↓", "scroll")]

    @on(Columns.Picked)
    def _on_picked(self) -> None:
        """Go on from the current one, and back to the chat."""
        if self._feed is not None:
            self._said = f"they are still being drawn: {self.stop_key} stops them"
            self._show_head()
            return
        if self._current.id != self._selected:
            self.host.run_slash(f"/candidates {self._columns.current + 1}")
        self.dismiss()

    @on(Columns.Moved)
    def _on_moved(self) -> None:
        self._said = ""
        self._show_head()
        self.show_keys()

    @property
    def _current(self) -> Turn:
        return self._turns[self._columns.current]

    @property
    def _selected(self) -> int:
        """The reply that the chat goes on from."""
        return self.host.chat.turns[-1].id

    def _under_way(self, app: ChatApp) -> range:
        """Which of the turns are under way: the newest, so many as are drawn at once."""
        newest = self._turns[-1].reply
        if not app.chat.replying or newest is None:
            return range(0)
        drawn = newest.candidate.of if newest.candidate is not None else 1
        return range(len(self._turns) - drawn, len(self._turns))

    def _settle(self) -> None:
        """All have ended: show what the chat kept of them, scores and notes too."""
        self._feed, self._live, self._said = None, range(0), ""
        kept = {turn.id: turn for turn in self.host.chat.siblings(self.host.chat.turns[-1])}
        self._turns = tuple(kept.get(turn.id, turn) for turn in self._turns)
        self._columns.choose(next((at for at, turn in enumerate(self._turns) if turn.id == self._selected), 0))
        self._show_kept()

    def _show_kept(self) -> None:
        titles = _titles(self._turns)
        for index, turn in enumerate(self._turns):
            if index not in self._live and turn.reply is not None:
                column = self._columns.column(index)
                column.title(titles[index], self._mark(turn))
                column.show_status(kept_candidate_lines(turn.reply), turn.reply.error)

    def _mark(self, turn: Turn) -> str:
        return " ".join(
            mark for mark, has in ((_CHOSEN, _was_chosen(turn)), (_SELECTED, turn.id == self._selected)) if has
        )

    def _show_head(self) -> None:
        headline = Content.assemble(
            ("Candidates", "bold $text-accent"),
            (f"   {' · '.join(self._facts())}\n", "$text-muted"),
            one_line(self._question, _QUESTION),
        )
        if headline != self._headline:
            self._headline = headline
            self._head.update(headline, layout=False)

    def _facts(self) -> list[str]:
        """How many there are, how far they are, what the marks mean."""
        facts = [count(len(self._turns), "reply", "replies")]
        reply = self.host.state.reply
        if self._feed is None or reply is None:
            facts += [f"{_CHOSEN} chosen"] if any(_was_chosen(turn) for turn in self._turns) else []
            return [*facts, f"{_SELECTED} the chat goes on from it"]
        facts.append(f"{reply.candidates_ended} of {reply.candidates} ended")
        if self._said:
            return [facts[-1], self._said]
        return [*facts, f"{one_line(reply.selector, 60)} chooses"] if reply.selector is not None else facts


def _titles(turns: Sequence[Turn]) -> list[str]:
    """Return what follows each one's number: of how many, where they were all drawn at once."""
    drawn = [turn.reply.candidate if turn.reply is not None else None for turn in turns]
    if all(one is not None and one.of == len(turns) for one in drawn):
        return [f"of {len(turns)}"] * len(turns)
    return [f"· candidate {one.index + 1} of {one.of}" if one is not None else "· drawn alone" for one in drawn]


def _was_chosen(turn: Turn) -> bool:
    return turn.reply is not None and turn.reply.candidate is not None and turn.reply.candidate.chosen

"""What a person says of the answers on the compare screen: votes, differences. Knows nothing of how they came."""

from __future__ import annotations

from textual import on

from lmlab.errors import LmlabError
from lmlab.lab.compare.record import VoteKind
from lmlab.lab.compare.sitting import Sitting
from lmlab.tui.compare.differing import marked
from lmlab.tui.compare.state import CompareState
from lmlab.tui.inbox_app import InboxApp
from lmlab.tui.widgets.activity import Activity
from lmlab.tui.widgets.columns import Columns


class Judging(InboxApp):
    """The judging half of ``CompareApp``, which makes the widgets."""

    sitting: Sitting
    state: CompareState
    columns: Columns
    activity: Activity
    blind: bool
    differing: bool = False
    named: bool = False
    """Whether the names were to be seen with these answers."""

    @property
    def hidden(self) -> bool:
        """Whether the names are not to be seen: until the vote, in a blind comparison."""
        return self.blind and self.state.case is not None and not self.named

    @property
    def judging(self) -> bool:
        """Whether keys of a single letter judge: nothing is typed and every answer is in."""
        return self.focused is self.columns and self.state.case is not None and not self.state.asking

    def show_judged(self) -> None:
        """Show names, marks and keys anew."""
        raise NotImplementedError

    def action_vote_side(self, place: int) -> None:
        if self.state.variants == 2:
            self._vote("win", self.state.order[place])
        else:
            self.activity.flash("of more than two, choose a column with the arrows: enter says it is the best")

    def action_vote(self, kind: VoteKind) -> None:
        self._vote(kind)

    @on(Columns.Picked)
    def _on_picked(self, event: Columns.Picked) -> None:
        if self.judging:
            self._vote("win", self.state.order[event.index])

    def _vote(self, kind: VoteKind, winner: int | None = None) -> None:
        case = self.state.case
        if case is None:
            return
        if self.state.vote is not None:
            self.activity.flash("this prompt has its vote: u votes again, n goes on")
            return
        if any(live.answer is None or live.answer.error is not None for live in self.state.answers):
            self.activity.flash("an answer is missing, and a vote would count that: a asks again")
            return
        try:
            self.state.vote = self.sitting.comparison.vote(
                case, kind, winner, order=self.state.order, blind=self.hidden
            )
        except LmlabError as error:
            self.activity.flash(str(error))
        else:
            self.named = True
        self.show_judged()

    def action_vote_again(self) -> None:
        self.state.vote = None
        self.show_judged()

    def action_differences(self) -> None:
        """Mark the words in which the answers differ, or show them plain again."""
        if self.hidden:
            return
        self.differing = not self.differing
        texts = [answer.text if (answer := self.state.answers[one].answer) else "" for one in self.state.order]
        shown = marked(texts) if self.differing else [None] * len(texts)
        for place, content in enumerate(shown):
            self.columns.column(place).overlay(content)
        self.show_judged()

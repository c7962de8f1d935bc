"""Variants side by side: one prompt on top, an answer a column, votes by key. What is shown is decided in state.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from time import monotonic
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from lmlab.errors import LmlabError
from lmlab.lab.batch.row import BadRow
from lmlab.lab.compare.case import Case, typed_case
from lmlab.lab.compare.sitting import Sitting, SittingEvent
from lmlab.tui import themes
from lmlab.tui.compare import words
from lmlab.tui.compare.asked import Asked
from lmlab.tui.compare.judging import Judging
from lmlab.tui.compare.state import CompareState
from lmlab.tui.history import History
from lmlab.tui.inbox import Inbox
from lmlab.tui.screens.help import HelpScreen
from lmlab.tui.state import Clock
from lmlab.tui.widgets.activity import Activity
from lmlab.tui.widgets.columns import Columns
from lmlab.tui.widgets.composer import Completions, Composer, Prompt
from lmlab.tui.widgets.keys_line import KeysLine

_QUIT_WITHIN_S = 3.0
_LEAST_CELLS = 28
_WON = "✓"


class CompareApp(Judging):
    """``lmlab compare`` on a terminal. ``failure`` is the exception that ended it, for whoever ran it."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        "../app.tcss",
        "../widgets/prose.tcss",
        "../widgets/columns/columns.tcss",
        "../widgets/composer/composer.tcss",
        "../screens/help.tcss",
        "compare.tcss",
    ]
    TITLE = "lmlab compare"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", show=False, priority=True),
        Binding("f1", "help", show=False, priority=True),
        Binding("question_mark", "help", show=False),
        Binding("escape", "stop", show=False),
        Binding("tab,shift+tab,i", "type", show=False),
        Binding("l", "vote_side(0)", show=False),
        Binding("r", "vote_side(1)", show=False),
        Binding("t", "vote('tie')", show=False),
        Binding("b", "vote('bad')", show=False),
        Binding("u", "vote_again", show=False),
        Binding("n", "next", show=False),
        Binding("a", "ask_again", show=False),
        Binding("d", "differences", show=False),
        Binding("ctrl+d", "leave", show=False),
    ]

    def __init__(
        self,
        sitting: Sitting,
        inbox: Inbox[SittingEvent],
        cases: Iterator[Case],
        history: History,
        *,
        blind: bool,
        theme: str | None = None,
        clock: Clock = monotonic,
    ) -> None:
        super().__init__(inbox, clock)
        self.sitting = sitting
        self.state = CompareState(len(sitting.comparison.contenders), clock)
        self._cases = cases
        self._coming: Case | None = None
        self._of_file = 0
        self.passed_over: list[str] = []
        """Why some rows of the file could not be put."""
        self._history = history
        self.blind = blind
        self._theme_wanted = theme
        self._places = [0] * self.state.variants
        self._interrupted_at: float | None = None
        self.asked = Asked()
        self.columns = Columns([words.hidden_name(place) for place in range(self.state.variants)], least=_LEAST_CELLS)
        self.activity = Activity()
        self.keys_line = KeysLine()
        completions = Completions()
        self.prompt = Prompt(history, completions, lambda line: [], self._submit)

    @property
    def failed_answers(self) -> int:
        return self.state.failed_answers

    # The screen

    def compose(self) -> ComposeResult:
        yield self.asked
        yield self.columns
        yield self.activity
        yield Composer(self.prompt)
        yield self.keys_line

    def on_mount(self) -> None:
        self.theme = themes.DARK.name
        self.prompt.placeholder = "ask all of them something"
        self.prompt.focus()
        try:
            self.theme = themes.theme_name(self._theme_wanted, dict(self.available_themes))
        except LmlabError as error:
            self.activity.flash(str(error))
        self._show_all()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.begin()
        self.sitting.open()

    # Events

    def follow_events(self) -> None:
        was_ready, was_asking = self.state.ready, self.state.asking
        for event in self._inbox.drain():
            self.state.fold(event)
        if self.state.failure is not None:
            self.failure = self.state.failure
            self.exit(1)
            return
        for said in self.state.take_said():
            self.activity.flash(said)
        if self.state.ready and not was_ready:
            self._begin_file()
        if was_asking and not self.state.asking and not self.prompt.text:
            self.columns.focus()
        self._show_all()

    def _show_all(self) -> None:
        self._show_texts()
        if self._pace.numbers_due(self.state.asking):
            self._show_numbers()
        self.show_keys()

    def _show_texts(self) -> None:
        for place, variant in enumerate(self.state.order):
            live = self.state.answers[variant]
            if live.answer is None or live.answer.text == "".join(live.text.pieces):
                text, self._places[variant] = live.text.since(self._places[variant])
                self.columns.column(place).append(text)
            elif self._places[variant] >= 0:
                # Of several candidates another was chosen, or it comes from the record.
                self._places[variant] = -1
                self.columns.column(place).set_text(live.answer.text)

    def _show_numbers(self) -> None:
        comparison = self.sitting.comparison
        for place, variant in enumerate(self.state.order):
            column, contender = self.columns.column(place), comparison.contenders[variant]
            live = self.state.answers[variant]
            name = words.hidden_name(place) if self.hidden else contender.label
            vote = self.state.vote
            won = vote is not None and vote.winner == contender.run
            column.title(name, _WON if won else "")
            lines = words.answer_lines(live, contender, hidden=self.hidden) if self.state.case is not None else []
            error = live.answer.error if live.answer is not None else None
            column.show_status(lines, error)
        self._show_activity()
        self.asked.show(self.state.case.prompt if self.state.case is not None else "", self.state.number)

    def _show_activity(self) -> None:
        comparison = self.sitting.comparison
        line = words.activity(self.state, comparison.contenders, sequential=comparison.sequential, hidden=self.hidden)
        if not line and self.state.vote is not None:
            line = words.tally(comparison)
        self.activity.show(line)

    def show_judged(self) -> None:
        self._show_numbers()
        self.show_keys()

    def show_keys(self) -> None:
        self.keys_line.show(
            words.hints(
                self.state,
                typing=self.focused is self.prompt,
                hidden=self.hidden,
                differing=self.differing,
                more=self._coming is not None,
            )
        )

    # Prompts

    def _begin_file(self) -> None:
        self._coming = self._take()
        if self._of_file:
            self._next()

    def _take(self) -> Case | None:
        """Return the next prompt of the file, passing over what cannot be asked and what was voted on before."""
        voted = {vote.key for vote in self.sitting.comparison.votes}
        for case in self._cases:
            self._of_file += 1
            if isinstance(case.row, BadRow):
                self.passed_over.append(str(case.row.error))
                self.activity.flash(self.passed_over[-1])
            elif case.key not in voted:
                return case
        return None

    def _next(self) -> None:
        if self._coming is None:
            self.activity.flash("no further prompt waits for a vote: type one, or ctrl+q")
            self.prompt.focus()
        else:
            self._put(self._coming)
            self._coming = self._take()

    def _put(self, case: Case, *, again: bool = False) -> None:
        """Show a case and have those answer that have not. ``again``: it is the one on the screen, asked for again."""
        comparison = self.sitting.comparison
        order = comparison.order(case) if self.blind else tuple(range(self.state.variants))
        vote = None if again else next((vote for vote in comparison.votes if vote.key == case.key), None)
        # A stopped answer that was voted on stays what the vote is on.
        kept = [one if one is not None and (one.ended or vote) else None for one in self.sitting.kept(case)]
        self.state.begin(case, order, kept, vote)
        self.named = vote is not None or (again and self.named)
        self.differing = False
        self._places = [0] * self.state.variants
        for place in range(self.state.variants):
            self.columns.column(place).overlay(None)
            self.columns.column(place).clear()
        self.sitting.put(case, [index for index in order if kept[index] is None])

    def _submit(self, text: str) -> None:
        if not text.strip():
            return
        if not self.state.ready:
            self.activity.flash("the models are still loading; what you typed stays here")
            return
        if self.state.asking:
            self.activity.flash("answers are under way: esc stops them; what you typed stays here")
            return
        self.activity.unflash()
        self._put(typed_case(text))
        self.prompt.clear()
        try:
            self._history.add(text)
        except (LmlabError, OSError) as error:
            self.activity.flash(f"what you typed is not kept for the next start: {error}")
        self.columns.focus()
        self._show_all()

    @on(Prompt.Wanted)
    def _on_wanted(self, event: Prompt.Wanted) -> None:
        match event.what:
            case "panel":
                self.columns.focus()
            case "quit":
                self.exit(0)
            case "stop":
                self.action_stop()
            case where:
                self.columns.scroll(where)
        self.call_after_refresh(self.show_keys)

    # Votes and keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of a single letter judge only where nothing is typed and every answer is in."""
        if action in ("vote", "vote_side", "vote_again", "next", "ask_again", "differences"):
            return self.judging
        return super().check_action(action, parameters)

    def action_next(self) -> None:
        self._next()
        self._show_all()

    def action_ask_again(self) -> None:
        """Have those answer again that failed or were stopped."""
        if self.state.case is not None and self.state.incomplete:
            self._put(self.state.case, again=True)
            self._show_all()

    def stop_asking(self) -> bool:
        """End the answers under way; return whether there were any."""
        if not self.state.asking:
            return False
        self.sitting.stop()
        return True

    def action_stop(self) -> None:
        self.stop_asking()

    def action_type(self) -> None:
        self.prompt.focus()

    def action_leave(self) -> None:
        self.exit(0)

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(words.HELP, ()))

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop, else quit at the second time."""
        now = monotonic()
        if selected := self.prompt.selected_text or self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            self.activity.flash(f"copied {len(selected):,} characters")
        elif self.stop_asking():
            pass
        elif self._interrupted_at is not None and now - self._interrupted_at < _QUIT_WITHIN_S:
            self.exit(0)
        else:
            self._interrupted_at = now
            self.activity.flash("ctrl+c again quits")

    @on(Columns.Moved)
    def _on_moved(self) -> None:
        self.show_keys()

    def on_descendant_focus(self) -> None:
        self.show_keys()

"""The scrolling list of turns. It shows the turns it is given, and mounts old ones only when somebody looks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from lmlab.store import Turn
from lmlab.tui.format import count
from lmlab.tui.widgets.transcript.turns import ReplyTurn, SaidLine, UserTurn

_WELCOME = (
    ("Ask a model something", "in the line below; it streams its reply here."),
    ("Turn its knobs", "with tab, also while it speaks: the next token follows."),
    ("Type /", "for commands: another model, a system prompt, a file to read."),
    ("Press f1", "for every key."),
)
# Old turns come in pages: a session of years opens as fast as a new one.
_PAGE = 30


class Transcript(VerticalScroll, can_focus=False):
    """The conversation. It follows its end until somebody scrolls up.

    ``answer_line`` says what was read off a reply to a question, if that is not all of it.
    """

    class FollowingChanged(Message):
        """It began or ceased to follow its end."""

    def __init__(self, answer_line: Callable[[Turn, Turn], str | None] = lambda question, reply: None) -> None:
        super().__init__(id="transcript")
        self._answer_line = answer_line
        self._followed = True
        self._turns: tuple[Turn, ...] = ()
        self._widgets: dict[int, Widget] = {}
        # As high as the screen at least: an anchored list that is shorter would hang from the bottom.
        self._list = Vertical(id="turns")
        self._earlier = Static(classes="earlier")
        self._welcome = Static(
            Content("\n").join(
                Content.assemble((first, "bold"), (f" {rest}", "$text-muted")) for first, rest in _WELCOME
            )
        )
        self._hidden = 0
        self._live: ReplyTurn | None = None
        self._adding = False

    def compose(self) -> ComposeResult:
        with self._list:
            yield self._earlier
            yield self._welcome

    def on_mount(self) -> None:
        self.anchor()
        self._earlier.display = False

    @property
    def following(self) -> bool:
        """Whether the end stays in sight as the conversation grows."""
        return not self.is_mounted or self.max_scroll_y - self.scroll_y < 1

    @property
    def live(self) -> ReplyTurn | None:
        """The reply under way, or the last one that was."""
        return self._live

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()
        self.scroll_end(animate=False)

    def go(self, where: str) -> None:
        """Scroll: ``page_up``, ``page_down``, ``home``, or to the ``end`` and stay there."""
        match where:
            case "page_up":
                self.scroll_page_up(animate=False)
            case "page_down":
                self.scroll_page_down(animate=False)
            case "home":
                self.scroll_home(animate=False)
            case _:
                self.follow()

    def show(self, turns: Sequence[Turn], speaker: str, replying: bool) -> None:
        """Show ``turns``; those already on the screen stay as they are.

        When ``replying``, the last turn is a reply of ``speaker``, and its text comes through ``live`` alone.
        """
        turns = tuple(turns)
        same = 0
        for old, new in zip(self._turns, turns, strict=False):
            if old.id != new.id:
                break
            same += 1
        gone = [widget for turn in self._turns[same:] if (widget := self._widgets.pop(turn.id, None)) is not None]
        if self._live in gone:
            self._live = None
        if same == 0:
            self._reset()
        self._turns = turns
        first = max(same, len(turns) - _PAGE)
        if first > same:
            self._hidden = first
        last = len(turns) - 1
        added = [self._widget(index, speaker, replying and index == last) for index in range(first, len(turns))]
        if added:
            # Another reply to the same question stands where the one before stood; one that is to come, at the end.
            in_place = gone[0] if gone and same and not replying else None
            self._list.mount_all(added, before=in_place)
        for widget in gone:
            widget.remove()
        self._welcome.display = not turns
        self._show_earlier()

    def say(self, text: str, error: bool = False) -> None:
        """Add a line that belongs to no turn."""
        self._list.mount(SaidLine(text, error))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self.following != self._followed:
            self._followed = self.following
            self.post_message(self.FollowingChanged())
        if self._hidden and round(new_value) == 0 and old_value > new_value:
            self.show_earlier()

    def show_earlier(self) -> None:
        """Mount one page more of old turns, above; what is in sight stays where it is."""
        if not self._hidden or self._adding:
            return
        self._adding = True
        first = max(0, self._hidden - _PAGE)
        added = [self._widget(index, "", False) for index in range(first, self._hidden)]
        self._hidden = first
        height = self.virtual_size.height
        self._list.mount_all(added, after=self._earlier)
        self._show_earlier()
        self.call_after_refresh(self._keep_place, height)

    def _keep_place(self, height: int) -> None:
        self.scroll_to(y=self.scroll_y + self.virtual_size.height - height, animate=False, immediate=True)
        self._adding = False

    def _widget(self, index: int, speaker: str, live: bool) -> Widget:
        widget: Widget
        turn = self._turns[index]
        if turn.reply is None:
            widget = UserTurn(turn)
        elif live:
            widget = self._live = ReplyTurn(speaker)
        else:
            widget = ReplyTurn.kept(turn, self._answer_line(self._turns[index - 1], turn) if index else None)
        self._widgets[turn.id] = widget
        return widget

    def _reset(self) -> None:
        """Nothing of what was shown is part of what comes."""
        self._list.query_children("UserTurn, ReplyTurn, SaidLine").remove()
        self._widgets.clear()
        self._hidden = 0
        self._live = None

    def _show_earlier(self) -> None:
        self._earlier.display = self._hidden > 0
        if self._hidden:
            self._earlier.update(Content(f"{count(self._hidden, 'earlier turn')}: scroll up"))

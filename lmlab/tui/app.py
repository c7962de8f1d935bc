"""The chat on the screen: events in, widgets out, keys to the chat. What the screen shows is decided in state.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from time import monotonic
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from lmlab.errors import LmlabError
from lmlab.lab import slash
from lmlab.lab.chat import Chat
from lmlab.lab.events import ChatEvent
from lmlab.lab.slash_complete import complete
from lmlab.tui import themes, views
from lmlab.tui.actions import ChatActions
from lmlab.tui.editing import MessageEdit
from lmlab.tui.history import History
from lmlab.tui.inbox import Inbox
from lmlab.tui.keymap import Keymap
from lmlab.tui.keys import ACTIONS, hints, keymap
from lmlab.tui.palette import Palette
from lmlab.tui.reading import DocumentRead, DocumentReading
from lmlab.tui.sampling_changes import SamplingChanges
from lmlab.tui.screens import ChatView, HelpScreen
from lmlab.tui.state import Clock, ScreenState
from lmlab.tui.status import model_line
from lmlab.tui.widgets.activity import Activity
from lmlab.tui.widgets.composer import Completions, Composer, Offer, Prompt
from lmlab.tui.widgets.header import Header
from lmlab.tui.widgets.keys_line import KeysLine
from lmlab.tui.widgets.panel import SamplingPanel
from lmlab.tui.widgets.transcript import Transcript

_NARROW = 100


class ChatApp(ChatActions):
    """``lmlab chat``. ``failure`` is the unexpected exception that ended it, for whoever ran it."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        "app.tcss",
        "widgets/prose.tcss",
        "widgets/columns/columns.tcss",
        "widgets/transcript/transcript.tcss",
        "widgets/composer/composer.tcss",
        "widgets/panel/panel.tcss",
        "screens/help.tcss",
        "screens/prompt.tcss",
        "screens/tree.tcss",
        "screens/sessions.tcss",
        "screens/candidates.tcss",
        "screens/tokens.tcss",
    ]
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's own declaration
        (0, "-narrow"),
        (_NARROW, "-wide"),
    ]
    TITLE = "lmlab"
    COMMANDS = {Palette}  # noqa: RUF012 - Textual's own declaration
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(action.key, action.run, id=action.id, show=False, priority=True) for action in ACTIONS),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(
        self,
        chat: Chat,
        inbox: Inbox[ChatEvent],
        history: History,
        *,
        model_ref: str | None = None,
        model_names: Sequence[str] = (),
        theme: str | None = None,
        keys: Keymap | None = None,
        clock: Clock = monotonic,
    ) -> None:
        super().__init__(inbox, clock)
        self.chat = chat
        self.keys = keys or keymap()
        self.state = ScreenState(clock)
        self._history = history
        self._model_ref = model_ref
        self._model_names = model_names
        self._wanted_theme = theme
        self._changes = SamplingChanges(chat)
        self.transcript = Transcript(chat.prompts.answer_line)
        self.panel = SamplingPanel()
        self.header = Header()
        self.activity = Activity()
        self.keys_line = KeysLine()
        self.completions = Completions()
        self.prompt = Prompt(history, self.completions, self._complete, self._submit)
        self.composer = Composer(self.prompt)
        self.editing = MessageEdit(self.composer, self.prompt)
        self.reading = DocumentReading(lambda outcome: self.post_message(DocumentRead(outcome)))

    # The screen

    def compose(self) -> ComposeResult:
        yield self.header
        with Horizontal(id="body"):
            yield self.transcript
            yield self.panel
            yield self.completions
        yield self.activity
        yield self.composer
        yield self.keys_line

    def on_mount(self) -> None:
        self.set_keymap(self.keys.for_textual())
        self.theme = themes.DARK.name
        self.prompt.focus()
        self._show_turns(replying=False)
        try:
            self.theme = themes.theme_name(self._wanted_theme, dict(self.available_themes))
        except LmlabError as error:
            self.transcript.say(str(error), error=True)
        self._show_all()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.begin()
        self._try(lambda: self.chat.open_model(self._model_ref))

    def on_unmount(self) -> None:
        self.reading.stop()

    # Events of the chat

    def follow_events(self) -> None:
        self._drain()
        if (view := self._view) is not None:
            # What it covers waits until it is gone: Textual would draw all of it again and again, unseen.
            view.catch_up()
        else:
            self._show_all()

    @property
    def _view(self) -> ChatView | None:
        """The view over the chat, if one is. At the very end, when events may still come, there is no screen at all."""
        top = self.screen_stack[-1] if self.screen_stack else None
        return top if isinstance(top, ChatView) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Over the chat, also below the palette or the help, only what does not act on something that is out of sight."""
        if any(isinstance(screen, ChatView | HelpScreen) for screen in self.screen_stack):
            return action not in ("regenerate", "slash", "edit", "follow")
        return super().check_action(action, parameters)

    def ask_again(self) -> None:
        self.ask(self.chat.regenerate)

    def moved(self) -> None:
        """The chat goes on from another turn than before: show that."""
        self.editing.keep_to(self.chat.session)
        self.state.forget_reply()
        self._show_turns(replying=False)
        self._show_all()

    def _drain(self) -> None:
        for event in self._inbox.drain():
            self.state.fold(event)
        views.read_answer(self.chat, self.state)
        live = self.transcript.live
        if live is not None and self.state.reply is not None and self._view is None:
            live.catch_up(self.state.reply)
        if self.state.take_chosen():
            self._show_turns(replying=False)
        for said in self.state.take_said():
            self.transcript.say(said.text, said.error)

    def _show_all(self) -> None:
        now = self.state.clock()
        reply = self.state.reply
        streaming = reply is not None and not reply.ended and reply.first_token is not None
        if self._pace.numbers_due(streaming):
            live = self.transcript.live
            if reply is not None and live is not None:
                live.show_numbers(reply, self.state.model, now)
            self.header.show(views.header_view(self.chat, self.state, self._model_ref))
            self.panel.show(views.sampling_view(self.chat, self.state))
            self.show_activity()
        self.show_keys()

    def show_activity(self) -> None:
        line = model_line(self.state.model, views.model_name(self.chat, self._model_ref))
        if line is None:
            warning = views.context_trouble(self.chat, self.state)
            line = (
                (warning, True)
                if warning is not None
                else (self.reading.line or self.editing.line or views.going_along(self.chat), False)
            )
        self.activity.show(*line)

    def show_keys(self) -> None:
        self.keys_line.show(hints(views.situation(self), self.keys))

    def _show_turns(self, replying: bool) -> None:
        self.transcript.show(self.chat.turns, views.model_name(self.chat, self._model_ref), replying)

    # What a person wants

    def _try(self, act: Callable[[], Any]) -> bool:
        """Do something of the chat's; an error becomes a line in the transcript. Return whether it was done."""
        try:
            act()
        except LmlabError as error:
            self.transcript.say(str(error), error=True)
            self.transcript.follow()
            return False
        return True

    def _submit(self, text: str) -> None:
        self.activity.unflash()
        if not text.strip() and not self.chat.attachments and self.editing.turn is None:
            return
        if slash.is_command(text) and not slash.is_message(text):
            # Also when it fails: the next one typed would be glued to it, and the history brings it back.
            self._take(text)
            self.run_slash(text.rstrip())
        elif self._send(text[1:].rstrip() if slash.is_message(text) else text):
            self._take(text)
        self._show_all()

    def _send(self, text: str) -> bool:
        turn = self.editing.turn
        return self.ask(lambda: self.chat.send(text) if turn is None else self.chat.edit(turn, text))

    def _take(self, text: str) -> None:
        self.prompt.clear()
        self.editing.end()
        self._remember(text)

    def _remember(self, text: str) -> None:
        try:
            self._history.add(text)
        except (LmlabError, OSError) as error:
            self.activity.flash(f"what you typed is not kept for the next start: {error}")

    def ask(self, act: Callable[[], object]) -> bool:
        """Do what asks the chat for a reply; the transcript then shows the reply to come. Return whether it was done."""
        if self.reading.line:
            self.activity.flash(f"{self.reading.line}; what you typed stays here")
            return False
        if self.chat.replying:
            kept = "; what you typed stays here" if self.prompt.text else ""
            self.activity.flash(f"a reply is under way: esc stops it{kept}")
            return False
        self._drain()
        before = self.state.reply
        self.state.begin_reply()
        if not self._try(act):
            self.state.reply = before
            return False
        self._show_turns(replying=True)
        self.transcript.follow()
        self._show_all()
        return True

    def run_slash(self, line: str) -> bool:
        if self.begin_reading(line):
            return True
        results: list[slash.SlashResult] = []
        run = self.ask if slash.asks(line) else self._try
        if not run(lambda: results.append(slash.run(self.chat, line))):
            return False
        result = results[0]
        if result.action == "quit":
            self.exit(0)
        elif result.action == "help":
            self.action_help()
        elif result.action in ("cleared", "moved"):
            self.moved()
        elif result.turn is not None:
            self.begin_edit(result.turn)
        elif result.view is not None:
            self.action_view(result.view)
        elsewhere = result.action in ("help", "edit") or result.view is not None
        if result.lines and not elsewhere:
            self.transcript.say("\n".join(result.lines))
            self.transcript.follow()
        self._show_all()
        return True

    @on(Prompt.Wanted)
    def _on_wanted(self, event: Prompt.Wanted) -> None:
        match event.what:
            case "panel":
                self.panel.focus()
            case "quit":
                self.exit(0)
            case "stop":
                if self.chat.replying:
                    self.chat.stop()
                elif not (self.reading.stop() or self.editing.end()):
                    self.screen.clear_selection()
                    self.activity.unflash()
            case where:
                self.transcript.go(where)
        self.call_after_refresh(self.show_keys)

    # The sampling panel

    @on(SamplingPanel.Changed)
    def _on_changed(self, event: SamplingPanel.Changed) -> None:
        try:
            self._changes.make(event.name, event.value)
        except LmlabError as error:
            self.panel.refuse(str(error))
        self.panel.show(views.sampling_view(self.chat, self.state))

    @on(SamplingPanel.UndoWanted)
    def _on_undo_wanted(self) -> None:
        if not self._changes.undo():
            self.activity.flash("there is no change to undo")
        self.panel.show(views.sampling_view(self.chat, self.state))

    @on(SamplingPanel.Escaped)
    def _on_escaped(self) -> None:
        if not self.chat.stop():
            self.prompt.focus()

    @on(SamplingPanel.Left)
    def _on_left(self) -> None:
        self.prompt.focus()

    @on(SamplingPanel.TypingChanged)
    @on(Prompt.Completing)
    @on(Transcript.FollowingChanged)
    def _on_keys_changed(self) -> None:
        self.show_keys()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.screen.set_class(event.widget is self.panel, "-panel-open")
        self.show_keys()

    def _complete(self, line: str) -> list[Offer]:
        found = complete(line, self._model_names, self.chat)
        return [Offer(text, views.command_help(text)) for text in found if text != line]

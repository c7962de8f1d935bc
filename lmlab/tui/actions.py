"""What keys, the palette and commands do in the chat, beside sending. Knows nothing of how events arrive or are shown."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, cast

from textual import on
from textual.command import CommandPalette

from lmlab.errors import LmlabError
from lmlab.lab import documents, slash
from lmlab.lab.chat import Chat
from lmlab.store import Turn
from lmlab.tui import editor, themes
from lmlab.tui.editing import MessageEdit
from lmlab.tui.inbox_app import InboxApp
from lmlab.tui.keymap import Keymap
from lmlab.tui.keys import help_sections
from lmlab.tui.reading import DocumentRead, DocumentReading
from lmlab.tui.screens import VIEWS, ChatView, HelpScreen
from lmlab.tui.signals import suspended
from lmlab.tui.view_keys import view_sections
from lmlab.tui.widgets.activity import Activity
from lmlab.tui.widgets.composer import Prompt
from lmlab.tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_QUIT_WITHIN_S = 3.0


class ChatActions(InboxApp):
    """The actions of ``ChatApp``, which makes the widgets."""

    chat: Chat
    keys: Keymap
    reading: DocumentReading
    transcript: Transcript
    activity: Activity
    prompt: Prompt
    editing: MessageEdit
    _interrupted_at: float | None = None

    def run_slash(self, line: str) -> bool:
        """Run a command as if it had been typed; return whether it was done."""
        raise NotImplementedError

    def ask_again(self) -> None:
        """Ask for another reply to the last question."""
        raise NotImplementedError

    def show_keys(self) -> None:
        """Show what works now."""
        raise NotImplementedError

    def show_activity(self) -> None:
        """Show what is going on."""
        raise NotImplementedError

    def begin_reading(self, line: str) -> bool:
        """Read the file of a ``/read`` that takes its time, beside the screen; return whether it is one."""
        path = slash.file_to_read(line)
        if path is None or not documents.takes_time(path):
            return False
        self.reading.begin(path)
        self.show_activity()
        return True

    @on(DocumentRead)
    def _on_document_read(self, event: DocumentRead) -> None:
        self.reading.finish()
        if isinstance(event.outcome, LmlabError):
            self.transcript.say(str(event.outcome), error=True)
        else:
            self.transcript.say(self.chat.take(event.outcome))
        self.transcript.follow()
        self.show_activity()

    def action_view(self, name: str) -> None:
        """Open the view ``name`` of VIEWS over the chat; one that is open gives way, the same one closes."""
        if isinstance(self.screen, ChatView):
            same = self.screen.view == name
            self.screen.dismiss()
            if same:
                return
        elif len(self.screen_stack) > 1:
            return
        try:
            view = VIEWS[name].open(cast("ChatApp", self))
        except LmlabError as error:
            self.activity.flash(str(error))
            return
        self.push_screen(view, self._uncovered)

    def uncover(self) -> None:
        """Leave the view over the chat, if there is one."""
        if isinstance(self.screen, ChatView):
            self.screen.dismiss()

    def _uncovered(self, _: None) -> None:
        self.call_later(self.catch_up)

    def action_slash(self, line: str) -> None:
        self.run_slash(line)

    def action_regenerate(self) -> None:
        self.ask_again()

    def action_stop(self) -> None:
        self.chat.stop()

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop the reply, else quit at the second time."""
        now = monotonic()
        if selected := self.prompt.selected_text or self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            self.prompt.move_cursor(self.prompt.cursor_location)
            self.activity.flash(f"copied {len(selected):,} characters")
        elif self.chat.replying:
            self.chat.stop()
        elif self._interrupted_at is not None and now - self._interrupted_at < _QUIT_WITHIN_S:
            self.exit(0)
        else:
            self._interrupted_at = now
            self.activity.flash(f"{self.keys.first('interrupt')} again quits")
        self.show_keys()

    def action_leave(self) -> None:
        self.exit(0)

    def action_command_palette(self) -> None:
        # Textual looks at the top only, where the help may be, and there cannot be two.
        if not any(isinstance(screen, CommandPalette) for screen in self.screen_stack):
            super().action_command_palette()

    def action_help(self) -> None:
        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        else:
            commands = [(command.usage, command.help) for command in slash.COMMANDS]
            usual = help_sections(self.keys)
            if isinstance(self.screen, ChatView):
                sections = (*view_sections(self.screen.view), *usual)
            else:
                sections = (*usual, *view_sections(None))
            self.push_screen(HelpScreen(sections, commands))

    def begin_edit(self, turn: Turn) -> None:
        """Bring an earlier message back into the composer."""
        self.editing.begin(turn)
        self.prompt.focus()
        self.show_activity()
        self.show_keys()

    def action_follow(self) -> None:
        self.transcript.follow()

    def action_edit(self) -> None:
        """Let the person write in their own editor."""
        try:
            command = editor.editor_command()
            with suspended(self):
                text = editor.edit(self.prompt.text, command)
        except LmlabError as error:
            self.activity.flash(str(error))
            return
        if text != self.prompt.text:
            self.prompt.recall(text)
        self.prompt.focus()

    def action_toggle_theme(self) -> None:
        self.theme = themes.LIGHT.name if self.current_theme.dark else themes.DARK.name

    def action_copy_reply(self) -> None:
        replies = [turn.content for turn in self.chat.turns if turn.reply is not None]
        if replies:
            self.copy_to_clipboard(replies[-1])
            self.activity.flash(f"copied {len(replies[-1]):,} characters")
        else:
            self.activity.flash("there is no reply to copy yet")

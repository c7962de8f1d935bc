"""The sessions view: every conversation that is kept. Search, open, rename, export, import, remove, and take that back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from lmlab.errors import LmlabError
from lmlab.lab.chat import Chat
from lmlab.store import Found, Session
from lmlab.terminal_text import one_line
from lmlab.tui.format import count
from lmlab.tui.keys import Hint
from lmlab.tui.screens.view import ChatView
from lmlab.tui.widgets.sessions import AskLine, SessionBook, SessionPreview, SessionRows
from lmlab.tui.widgets.sessions.ask_line import AskInput
from lmlab.tui.widgets.sessions.wishes import Done, SessionWishes, called, file_name

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_TYPED_S = 0.15
_SEEN_S = 0.05
_NAME = 40


def open_view(app: ChatApp) -> SessionsView:
    """Return the view. Raises StoreError when the sessions cannot be read."""
    book = SessionBook(app.chat.store, app.chat.snapshots)
    book.load()
    return SessionsView(app.chat, book)


class SessionsView(ChatView):
    """The rows, and beside them, where there is room, what the session at the cursor says."""

    view = "sessions"
    AUTO_FOCUS = "SessionRows"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", show=False),
        Binding("r", "rename", show=False),
        Binding("e", "export", show=False),
        Binding("i", "import", show=False),
        Binding("d,delete", "remove", show=False),
        Binding("u", "undo", show=False),
        Binding("n", "new", show=False),
        Binding("escape", "back", show=False),
    ]

    def __init__(self, chat: Chat, book: SessionBook) -> None:
        super().__init__()
        self._book = book
        self._wishes = SessionWishes(chat)
        self._head = Static(id="sessions-head")
        self._ask = AskLine()
        self._rows = SessionRows()
        self._preview = SessionPreview()
        self._said = Static(id="sessions-said")
        self._sought = ""
        self._typed: Timer | None = None
        self._seen: Timer | None = None
        self._state: tuple[object, ...] = ()

    def content(self) -> Sequence[Widget]:
        return (self._head, self._ask, Horizontal(self._rows, self._preview, id="sessions-body"), self._said)

    def on_mount(self) -> None:
        self._rows.focus()
        self._show(self._opened)
        super().on_mount()

    def on_unmount(self) -> None:
        """What was removed is gone for good now."""
        chat = self.host.chat
        try:
            if self._opened in self._book.removed:
                chat.clear()
                self.host.call_later(self.host.moved)
            self._book.carry_out()
        except LmlabError as error:
            self.host.activity.flash(str(error))

    def catch_up(self) -> None:
        now = (self._opened, self.host.chat.replying)
        if self._state and now != self._state:
            self._try(self._book.load)
            self._show()
        self._state = now
        super().catch_up()

    def hints(self) -> list[Hint]:
        if self.focused is not self._rows:
            if self._ask.what != "search":
                return [Hint("enter", "do it")]
            return [Hint("enter", "open"), Hint("↑↓", "choose"), Hint("tab", "to the list")] if self._at else []
        found = []
        if self._at is not None:
            found += [Hint("enter", "open"), Hint("/", "search"), Hint("r", "rename"), Hint("e", "export")]
            found.append(Hint("d", "remove"))
        if self._book.removed:
            found.append(Hint("u", "undo"))
        return [*found, Hint("n", "new"), Hint("i", "import"), Hint("↑↓", "choose")]

    # The list

    @property
    def _opened(self) -> str | None:
        session = self.host.chat.session
        return None if session is None else session.id

    @property
    def _at(self) -> Session | None:
        row = self._rows.row
        return None if row is None else row.session

    def _show(self, at: str | None = None) -> None:
        """Show the rows, the cursor at the session ``at``; else at the one it was at."""
        self._rows.show(self._book.rows, self._opened, at or (self._at.id if self._at else None))
        parts = [("Sessions", "bold $text-accent"), (f"   {count(self._book.count, 'session')}", "$text-muted")]
        if self._book.searching:
            number = len(self._book.rows)
            what = (
                f'   "{one_line(self._sought, _NAME)}" is in {number:,}'
                if number
                else f'   "{one_line(self._sought, _NAME)}" is in none'
            )
            parts.append((what, ""))
        self._head.update(Content.assemble(*parts))
        if not self._book.count and not self._book.removed:
            self._say("there are no sessions yet: what you say in the chat is kept here; i imports one")
        self.show_keys()

    @on(SessionRows.Moved)
    def _on_moved(self) -> None:
        if self._seen is not None:
            self._seen.stop()
        # The keys come faster than a long conversation is read.
        self._seen = self.set_timer(_SEEN_S, self._look)
        self.show_keys()

    def on_resize(self) -> None:
        self._on_moved()

    def _look(self) -> None:
        session = self._at
        if session is None:
            self._preview.clear()
        elif self._preview.display:
            self._try(lambda: self._preview.show(session, self.host.chat.store.path(session.id)))

    @on(SessionRows.Picked)
    def action_open(self) -> None:
        """Go on with the session at the cursor, and leave."""
        session, chat = self._at, self.host.chat
        if session is None:
            return
        if session.id in self._book.removed:
            self._say("that one is removed: u brings it back", trouble=True)
            return
        if session.id == self._opened:
            self._read_again()
            return
        stopped = chat.replying
        if self._try(lambda: chat.resume(chat.store.session(session.id))):
            self.dismiss()
            self.host.moved()
            if stopped:
                self.host.activity.flash("the reply that was under way is stopped; what had come of it is kept")

    def _read_again(self) -> None:
        """Leave to the session that is open, with what another program has made of it."""
        chat, changed = self.host.chat, [False]
        if chat.replying or self._try(lambda: changed.append(chat.reread())):
            self.dismiss()
        if changed[-1]:
            # What is on the screen stays there as long as it is the same messages, whatever they say.
            self.host.transcript.show((), "", False)
            self.host.moved()

    def action_new(self) -> None:
        """Begin a new session, and leave."""
        gone = self._opened in self._book.removed
        self.dismiss()
        # One that is removed is left anyway, and not kept as the command would say.
        if not gone:
            self.host.run_slash("/clear")

    def action_remove(self) -> None:
        """Let the session at the cursor go; until the view is left it can be brought back."""
        session = self._at
        if session is None:
            return
        if session.id == self._opened and self.host.chat.replying:
            self._say("a reply is under way in it: stop it first", trouble=True)
            return
        self._book.remove(session.id)
        self._show()
        self._rows.action_move(1)
        self._say(f"{called(session)} goes when you leave this view: u brings it back")

    def action_undo(self) -> None:
        """Bring back what was removed last."""
        name = self._book.bring_back()
        if name is None:
            self._say("there is nothing to bring back", trouble=True)
            return
        self._show(name)
        self._say(f"{name} is back")

    def action_back(self) -> None:
        """Drop the search, else leave."""
        if self._book.searching or self._ask.what == "search":
            self._drop_search()
        else:
            self.dismiss()

    # What is asked

    def action_search(self) -> None:
        self._ask.ask("search", "search", self._sought, "words in a title or a message, in any case")
        self.show_keys()

    def action_rename(self) -> None:
        if (session := self._at) is not None:
            self._ask_for("rename", f"title of {session.id}", session.title)

    def action_export(self) -> None:
        if (session := self._at) is not None:
            self._ask_for("export", "export to", f"{file_name(session)}.md", ".md is the transcript, .json everything")

    def action_import(self) -> None:
        self._ask_for("import", "import", "", "a .json or .md file that was exported")

    def _ask_for(self, what: str, label: str, text: str, placeholder: str = "") -> None:
        self._wishes.begin()
        self._say("")
        self._ask.ask(what, label, text, placeholder)
        self.show_keys()

    @on(AskLine.Changed)
    def _on_typed(self, event: AskLine.Changed) -> None:
        if type(event) is AskLine.Changed and event.what == "search":
            if self._typed is not None:
                self._typed.stop()
            self._typed = self.set_timer(_TYPED_S, self._search)

    @on(AskLine.Answered)
    def _on_answered(self, event: AskLine.Answered) -> None:
        if type(event) is not AskLine.Answered:
            return
        session, text = self._at, event.text.strip()
        match event.what:
            case "search":
                self._search_now()
                self.action_open()
            case "rename" if session is not None:
                self._answer(lambda: self._wishes.rename(session, text))
            case "export" if session is not None:
                self._answer(lambda: self._wishes.export(session, text))
            case "import":
                self._answer(lambda: self._wishes.bring_in(text))

    @on(AskLine.Closed)
    def _on_closed(self, event: AskLine.Closed) -> None:
        self._close()
        if event.what == "search":
            self._drop_search()

    @on(AskInput.Walked)
    def _on_walked(self, event: AskInput.Walked) -> None:
        if self._ask.what == "search":
            self._rows.action_move(event.by)

    def on_descendant_focus(self) -> None:
        if self.focused is self._rows:
            if self._ask.what is not None and self._ask.what != "search":
                self._ask.close()
        elif self._ask.what is None:
            # By the mouse, or by tab.
            self.action_search()
        self.show_keys()

    def _close(self) -> None:
        self._ask.close()
        self._rows.focus()
        self.show_keys()

    def _answer(self, act: Callable[[], Done]) -> None:
        """Do what was asked for; the line stays open when it cannot be done."""
        done: list[Done] = []
        if self._try(lambda: done.append(act())):
            self._close()
            self._try(self._book.load)
            self._show(done[0].session)
            self._say(done[0].said)

    def _search(self) -> None:
        """Look for what is typed, away from the screen's thread."""
        self._sought = text = self._ask.text
        if text.strip():
            self.run_worker(lambda: self._look_for(text), thread=True, exclusive=True)
        else:
            self._narrow(text, None)

    def _look_for(self, text: str) -> None:
        """On another thread."""
        try:
            found = self.host.chat.store.search(text)
        except LmlabError as error:
            self.app.call_from_thread(self._say, str(error), True)
        else:
            self.app.call_from_thread(self._narrow, text, found)

    def _search_now(self) -> None:
        """Whoever presses Enter means what is typed, not what was found before."""
        if self._typed is not None:
            self._typed.stop()
        self._sought = text = self._ask.text
        self._try(lambda: self._narrow(text, self.host.chat.store.search(text) if text.strip() else None))

    def _narrow(self, text: str, found: Sequence[Found] | None) -> None:
        # Something else may have been typed since.
        if text == self._sought:
            self._book.narrow(found)
            self._show()

    def _drop_search(self) -> None:
        self._sought = ""
        if self._typed is not None:
            self._typed.stop()
        self._close()
        self._book.narrow(None)
        self._show()

    # What is said

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except LmlabError as error:
            self._say(str(error), trouble=True)
            return False
        return True

    def _say(self, text: str, trouble: bool = False) -> None:
        self._said.set_class(trouble, "-trouble")
        self._said.update(Content(one_line(text, 300)))
        self.show_keys()

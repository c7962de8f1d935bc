"""The tree view: every branch of the conversation. Walk it, go on from anywhere, edit, fork, prune, and take that back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.tree import tree, walk
from lmlab.store import Turn
from lmlab.terminal_text import one_line
from lmlab.tui.format import count
from lmlab.tui.keys import Hint
from lmlab.tui.screens.view import ChatView
from lmlab.tui.widgets.tree import TreeRows, TurnDetail

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_BEGINNING = 40


def open_view(app: ChatApp) -> TreeView:
    """Return the view. Raises UsageError when there is nothing in the tree, nor anything to bring back."""
    if not app.chat.turns and not app.chat.tree() and not app.chat.pruned:
        raise UsageError("there is no tree yet: send a message first")
    return TreeView()


class TreeView(ChatView):
    """The rows, and the message at the cursor beside them; under them where there is no room beside."""

    view = "tree"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", show=False),
        Binding("f", "fork", show=False),
        Binding("d,delete", "prune", show=False),
        Binding("u", "undo", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._head = Static(id="tree-head")
        self._rows = TreeRows()
        self._detail = TurnDetail()
        self._said = Static(id="tree-said")
        self._shown: tuple[object, ...] = ()

    def content(self) -> Sequence[Widget]:
        return (self._head, Horizontal(self._rows, self._detail, id="tree-body"), self._said)

    def on_mount(self) -> None:
        self._rows.focus()
        super().on_mount()

    def catch_up(self) -> None:
        chat = self.host.chat
        path = chat.turns
        now = (chat.session and chat.session.id, chat.replying, len(chat.pruned), *(turn.id for turn in path))
        if now != self._shown:
            first = not self._shown
            self._shown = now
            self._load(path[-1].id if first and path else self._at)
        elif chat.replying and path:
            self._rows.grow(path[-1])
            self._show_detail()
        super().catch_up()

    def hints(self) -> list[Hint]:
        turn = self._turn
        found = []
        if turn is not None:
            found += [Hint("↑↓", "walk"), Hint("←→", "branches"), Hint("enter", "go on")]
            found.append(Hint("e", "edit") if turn.reply is None else Hint("f", "fork"))
            found.append(Hint("d", "prune"))
        if self.host.chat.pruned:
            found.append(Hint("u", "undo"))
        return found

    @on(TreeRows.Moved)
    def _on_moved(self) -> None:
        self._show_detail()
        self.show_keys()

    @on(TreeRows.Picked)
    def action_select(self) -> None:
        """Go on from the row at the cursor, and leave."""
        turn = self._turn
        if turn is None:
            return
        before = self._path
        if turn.id in before[-1:] or self._try(lambda: self.host.chat.select(turn)):
            self.dismiss()
            if self._path != before:
                self.host.editing.end()
                self.host.moved()

    def action_fork(self) -> None:
        """Let the next message follow the reply at the cursor, and leave."""
        turn = self._turn
        if turn is not None and self._try(lambda: self.host.chat.fork(turn)):
            self.dismiss()
            self.host.editing.end()
            self.host.moved()
            self.host.activity.flash(f'your next message follows "{one_line(turn.content, _BEGINNING)}"')

    def action_edit(self) -> None:
        """Bring the message at the cursor back into the composer, and leave."""
        turn = self._turn
        if turn is None:
            return
        if turn.reply is not None:
            self._say("a reply cannot be edited: edit the message before it, or f goes on from here", trouble=True)
            return
        self.dismiss()
        self.host.begin_edit(turn)

    def action_prune(self) -> None:
        """Remove what is at the cursor and all below it."""
        turn = self._turn
        if turn is not None and self._change(lambda: self.host.chat.prune(turn), None):
            gone = self.host.chat.pruned[-1].count
            self._say(f"{count(gone, 'message')} {'is' if gone == 1 else 'are'} gone: u brings back what was there")

    def action_undo(self) -> None:
        """Bring back what was pruned last."""
        if not self.host.chat.pruned:
            self._say("there is nothing to bring back", trouble=True)
            return
        pruned = self.host.chat.pruned[-1]
        if self._change(lambda: self.host.chat.restore(pruned), pruned.turn.id):
            self._say(f"{count(pruned.count, 'message')} {'is' if pruned.count == 1 else 'are'} back")

    @property
    def _turn(self) -> Turn | None:
        row = self._rows.row
        return None if row is None else self._rows.turn_of(row)

    @property
    def _at(self) -> int | None:
        return None if self._turn is None else self._turn.id

    @property
    def _path(self) -> tuple[int, ...]:
        return tuple(turn.id for turn in self.host.chat.turns)

    def _change(self, act: Callable[[], object], at: int | None) -> bool:
        """Do what changes the tree and show it, the cursor at the turn ``at``."""
        before = self._path
        if not self._try(act):
            return False
        if self._path != before:
            self.host.moved()
        self._load(at)
        return True

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except LmlabError as error:
            self._say(str(error), trouble=True)
            return False
        return True

    def _load(self, at: int | None) -> None:
        chat = self.host.chat
        turns = chat.tree()
        rows = tuple(walk(tree(turns, chat.turns)))
        self._rows.show(rows, at)
        ends = sum(not row.node.children for row in rows)
        parts = [
            ("Tree", "bold $text-accent"),
            (f"   {count(len(turns), 'message')}, {count(ends, 'branch', 'branches')}", "$text-muted"),
        ]
        if chat.session is not None:
            parts.append((f"   {one_line(chat.session.title, 60)}", ""))
        self._head.update(Content.assemble(*parts))
        self._show_detail()

    def _show_detail(self) -> None:
        turn = self._turn
        if turn is None:
            self._detail.clear()
        else:
            self._detail.show(turn, self._rows.number(turn), self._growing(turn))

    def _growing(self, turn: Turn) -> bool:
        chat = self.host.chat
        partial = turn.reply is not None and turn.reply.status == "partial"
        return partial and chat.replying and turn.parent == chat.turns[-1].parent

    def _say(self, text: str, trouble: bool = False) -> None:
        self._said.set_class(trouble, "-trouble")
        self._said.update(Content(one_line(text, 300)))
        self.show_keys()

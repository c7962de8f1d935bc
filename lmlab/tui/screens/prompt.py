"""The prompt view: the template for the next message and how it is put, beside the exact text that the model would get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from lmlab.backends import Event
from lmlab.errors import LmlabError, UsageError
from lmlab.lab.conversation import compose
from lmlab.lab.next_prompt import NextPrompt, PromptLook
from lmlab.lab.slash_template import summary
from lmlab.terminal_text import one_line
from lmlab.tui.format import count
from lmlab.tui.keys import Hint
from lmlab.tui.screens.view import ChatView
from lmlab.tui.widgets.prompt_view import Choice, PromptText, PutRows, TemplateList, marked, plain

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_PLACEHOLDER = "(your message)"
_PARTS = ("templates", "put", "text")


def open_view(app: ChatApp) -> PromptView:
    """Raises UsageError while an earlier message is edited: it keeps its template, and stands in another place."""
    if app.editing.turn is not None:
        raise UsageError(
            "an earlier message is being edited, and keeps its template: send it first, or leave it with esc"
        )
    return PromptView(Choice(app.chat.prompts))


class PromptView(ChatView):
    """One prompt is asked for at a time; its answer asks for what is chosen by then. Enter keeps the choice."""

    view = "prompt"

    class Answered(Message):
        """The model has answered."""

        def __init__(self, event: Event) -> None:
            super().__init__()
            self.event = event

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self._choice = choice
        self._part = _PARTS[0]
        self._head = Static(id="prompt-head")
        self._templates = TemplateList()
        self._about = Static(id="prompt-about")
        self._put = PutRows()
        self._text = PromptText()
        self._looking: PromptLook | None = None
        self._asked: object = None
        self._seen: NextPrompt | None = None
        self._trouble = ""

    def content(self) -> Sequence[Widget]:
        left = Vertical(self._templates, self._about, self._put, id="prompt-left")
        return (self._head, Horizontal(left, self._text, id="prompt-body"))

    def on_mount(self) -> None:
        self._looking = PromptLook(self.host.chat, self._hear)
        super().on_mount()

    def catch_up(self) -> None:
        self._ask()
        self._show()

    def hints(self) -> list[Hint]:
        keep = Hint("enter", "keep")
        match self._part:
            case "templates":
                found = [keep, Hint("↑↓", "choose"), Hint("a-z", "find")]
                return [*found, Hint("tab", "technique" if self._choice.rows() else "text")]
            case "put":
                typed = self._choice.rows()[self._choice.row].typed
                return [keep, Hint("↑↓", "row"), Hint("a-z ⌫", "type") if typed else Hint("←→", "change"), _TAB]
            case _:
                return [keep, Hint("↑↓ page up/down", "scroll"), _TAB]

    # The question to the model

    @property
    def _typed(self) -> str:
        """The message as it stands in the input."""
        text = self.host.prompt.text
        return text if text.strip() or self.host.chat.attachments else _PLACEHOLDER

    def _wanted(self) -> object:
        """What the prompt depends on."""
        chat, current = self.host.chat, self._choice.current
        last = chat.turns[-1].id if chat.turns else None
        put = (current.renderer.fingerprint, current.name) if current is not None else None
        return (put, self._typed, chat.attachments, chat.system, last, chat.replying, chat.info, chat.model)

    def _ask(self) -> None:
        looking, wanted = self._looking, self._wanted()
        if looking is None or looking.asking or wanted == self._asked:
            return
        self._asked, self._trouble = wanted, ""
        if self.host.chat.info is None:
            self._seen, self._trouble = None, "no model is loaded yet: its tokens are shown once it is"
            return
        self._try(lambda: looking.ask(self._typed, self._choice.current))

    def _hear(self, event: Event) -> None:
        """Called on any thread."""
        self.post_message(self.Answered(event))

    @on(Answered)
    def _on_answered(self, answer: Answered) -> None:
        self._try(lambda: self._take(answer.event))
        self._ask()
        self._show()

    def _take(self, event: Event) -> None:
        found = self._looking.take(event) if self._looking is not None else None
        if isinstance(found, LmlabError):
            raise found
        if found is not None:
            self._seen = found

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except LmlabError as error:
            self._seen, self._trouble = None, str(error)

    # What is shown

    def _show(self) -> None:
        choice = self._choice
        current = choice.current
        self._templates.show(choice.names, choice.pointed, choice.filter, self._part == "templates")
        about = current.renderer.template.description if choice.rows() and current is not None else ""
        self._about.update(Content(one_line(about)))
        self._put.show(choice.rows(), choice.row if self._part == "put" else None, choice.error)
        self._head.update(Content("\n").join([self._title(), self._facts()]), layout=False)
        self._text.show(self._prompt())
        self.show_keys()

    def _title(self) -> Content:
        current = self._choice.current
        said = f"{summary(current)} · your message is its {current.main}" if current is not None else ""
        return Content.assemble(("Prompt", "bold $text-accent"), (f"   {said or 'sent as it is typed'}", "$text-muted"))

    def _facts(self) -> Content:
        seen, info = self._seen, self.host.chat.info
        if self._trouble or seen is None:
            return Content.styled(
                self._trouble or "asking the model", "$text-warning" if self._trouble else "$text-muted"
            )
        if info is not None and seen.tokens >= info.context:
            return Content.styled(
                f"{count(seen.tokens, 'token')}, and the context holds {info.context:,}: this cannot be sent",
                "$text-error",
            )
        parts = [count(seen.tokens, "token"), f"{seen.cached:,} in memory", f"{seen.tokens - seen.cached:,} to read"]
        parts.append(f"{seen.shared:,} the same for any message")
        return Content.styled(" · ".join(parts), "$text-muted")

    def _prompt(self) -> Content:
        if self._seen is not None:
            return marked(self._seen)
        chat, current = self.host.chat, self._choice.current
        try:
            use = current.use(compose(self._typed, chat.attachments)) if current is not None else None
        except LmlabError:
            return Content("")
        return plain(chat.to_send(self._typed, use))

    # Keys and the mouse

    async def on_key(self, event: events.Key) -> None:
        # Here and not as bindings: those run after what was typed next.
        if self._pressed(event.key, event.character if event.is_printable else None):
            event.stop()
            event.prevent_default()
            self._changed()

    def on_paste(self, event: events.Paste) -> None:
        if self._part == "put":
            self._choice.type(event.text)
            self._changed()

    def _pressed(self, key: str, character: str | None) -> bool:
        """Do what the key says; return whether it says anything here."""
        choice, part = self._choice, self._part
        match key:
            case "enter":
                self._keep()
            case "tab" | "shift+tab":
                self._go(1 if key == "tab" else -1)
            case "pageup":
                self._text.scroll_page_up(animate=False)
            case "pagedown":
                self._text.scroll_page_down(animate=False)
            case "up" | "down":
                by = 1 if key == "down" else -1
                if part == "templates":
                    choice.move(by)
                elif part == "put":
                    choice.point(by)
                else:
                    self._text.scroll_relative(y=by, animate=False)
            case "home" | "end" if part == "text":
                (self._text.scroll_home if key == "home" else self._text.scroll_end)(animate=False)
            case "home" | "end" if part == "templates":
                choice.move(-999 if key == "home" else 999)
            case "left" | "right" if part == "put":
                choice.step(1 if key == "right" else -1)
            case "backspace" if part == "templates":
                choice.narrow(choice.filter[:-1])
            case "backspace" if part == "put":
                choice.erase()
            case _ if character and part == "templates":
                choice.narrow(choice.filter + character)
            case _ if character and part == "put":
                choice.type(character)
            case _:
                return False
        return True

    def _go(self, by: int) -> None:
        parts = [part for part in _PARTS if part != "put" or self._choice.rows()]
        self._part = parts[(parts.index(self._part) + by) % len(parts)]

    def _keep(self) -> None:
        if not self._choice.names:
            self._choice.refuse()
        elif self._choice.pointed == self._choice.name:
            self.host.chat.prompts.take(self._choice.prompts)
            self.dismiss()

    def _changed(self) -> None:
        if self._part == "put" and not self._choice.rows():
            self._part = "templates"
        self.catch_up()

    @on(TemplateList.Picked)
    def _on_template_picked(self, event: TemplateList.Picked) -> None:
        self._part = "templates"
        self._choice.choose(event.name)
        self._changed()

    @on(TemplateList.Wheeled)
    def _on_wheeled(self, event: TemplateList.Wheeled) -> None:
        self._choice.move(event.by)
        self._changed()

    @on(PutRows.Picked)
    def _on_row_picked(self, event: PutRows.Picked) -> None:
        self._part = "put"
        self._choice.row = event.index
        if event.by:
            self._choice.step(event.by)
        self._changed()


_TAB = Hint("tab", "next part")

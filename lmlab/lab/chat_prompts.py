"""The prompt template that a chat's next messages go through, and the answers read off the replies. Knows no screens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.errors import UsageError
from lmlab.lab.conversation import compose
from lmlab.lab.message_prompt import MessagePrompt, answer_reader, fitting
from lmlab.sampling import SamplingParams
from lmlab.settings import expanded
from lmlab.store import Attachment, TemplateUse, Turn

if TYPE_CHECKING:
    # What renders templates is slow to import, and many chats need none.
    from lmlab.prompting import Approach

_NOTHING = SamplingParams()


class ChatPrompts:
    """``current`` is the template that the next message goes through; None sends what is typed."""

    def __init__(self, folder: Path) -> None:
        self.current: MessagePrompt | None = None
        self._folder = folder
        self._wanted: Approach | None = None
        self._readers: dict[str, Callable[[str], str | None] | None] = {}

    def choose(
        self, name: str | None, approach: Approach | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        """Put the next messages through the template ``name``; None: through none. Raises UsageError or PromptError."""
        if name is None:
            self.current = self._wanted = None
            return
        from lmlab.prompting import Approach

        path = expanded(name)
        if path.exists() and not (path.is_file() or path.is_dir()):
            # A pipe would be waited for, and nothing else would be done meanwhile.
            raise UsageError(f"{name} is not an ordinary file: give a template's file, or its name")
        approach = approach or Approach()
        self.current = MessagePrompt.load(name, approach, variables or {}, self._folder)
        self._wanted = approach

    def put(self, **changes: Any) -> None:
        """Change how the template is put: fields of Approach; None is as the template has it.

        What was said of examples is kept for when a technique shows some again. Raises UsageError or PromptError.
        """
        current = self.chosen()
        wanted = replace(self._wanted or current.approach, **changes)
        approach = fitting(wanted, current.renderer.template.technique) if "technique" in changes else wanted
        self.current = current.again(approach, current.renderer.fixed)
        self._wanted = wanted

    def set_variable(self, name: str, value: str | None) -> None:
        """Give an input of the template, or free it with None. Raises UsageError or PromptError."""
        current = self.chosen()
        if name not in current.renderer.template.inputs:
            known = ", ".join(current.renderer.template.inputs) or "none"
            raise UsageError(f"{current.renderer.template.name} has no input {name!r}: there are {known}")
        given = {other: text for other, text in current.renderer.fixed.items() if other != name}
        self.current = current.again(current.approach, given if value is None else {**given, name: value})

    def chosen(self) -> MessagePrompt:
        """Return the template in use. Raises UsageError when there is none."""
        if self.current is None:
            raise UsageError("no template is in use: /template NAME chooses one, such as /template summarize")
        return self.current

    def names(self) -> list[str]:
        """Return the names of the templates that there are."""
        from lmlab.prompting import known_templates

        return list(known_templates(self._folder))

    @property
    def sampling(self) -> SamplingParams:
        """What the template in use is best done with."""
        return self.current.sampling if self.current is not None else _NOTHING

    def use(self, text: str, attachments: Sequence[Attachment]) -> TemplateUse | None:
        """Return the record of a message that goes through the template in use, if one is. Raises as its ``render``."""
        return self.current.use(compose(text, attachments)) if self.current is not None else None

    def copy(self) -> ChatPrompts:
        """Return the same choice, to try others on."""
        other = ChatPrompts(self._folder)
        other.current, other._wanted = self.current, self._wanted
        return other

    def take(self, other: ChatPrompts) -> None:
        """Choose as ``other`` has chosen."""
        self.current, self._wanted = other.current, other._wanted

    def use_again(self, use: TemplateUse | None, text: str, attachments: Sequence[Attachment]) -> TemplateUse | None:
        """Return ``use`` with another message. Raises UsageError or PromptError, also when its template is gone."""
        if use is None:
            return None
        return MessagePrompt.of(use, self._folder).use(compose(text, attachments))

    def reader(self, use: TemplateUse | None) -> Callable[[str], str | None] | None:
        """Return what reads the answer off a reply to ``use``; None when an answer is the whole reply, or not known."""
        if use is None:
            return None
        if use.fingerprint not in self._readers:
            self._readers[use.fingerprint] = answer_reader(use, self._folder)
        return self._readers[use.fingerprint]

    def answer_line(self, question: Turn, reply: Turn) -> str | None:
        """Return what to say of the answer in a reply that has ended; None where the whole reply is the answer."""
        read = self.reader(question.prompt)
        if read is None or reply.reply is None or reply.reply.status != "done" or not reply.content:
            return None
        answer = read(reply.content)
        return f"answer: {answer}" if answer is not None else "no answer was found in the reply"


def asked_through(use: TemplateUse | None, asked: SamplingParams, *, base: bool) -> SamplingParams:
    """Return ``asked`` with what the template of a message has for the reply below it.

    A ``base`` model is stopped where it would go on to another input; a chat model ends its turns by itself.
    """
    if use is None:
        return asked
    asked = asked.merge(use.sampling)
    if not base or not use.stop:
        return asked
    return replace(asked, stop=tuple(dict.fromkeys((*(asked.stop or ()), *use.stop))))

"""What is put to a model, before it is known which: a text, messages, or a template's inputs, made into a prompt.

Knows nothing of files, of backends or of who asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmlab.backends import ChatPrompt, Constraint, Message, Prompt, TextPrompt
from lmlab.errors import PromptError, UsageError
from lmlab.lab.best_of import Question
from lmlab.sampling import SamplingParams

if TYPE_CHECKING:
    # What renders templates is slow to import, and few prompts come from one.
    from lmlab.prompting import Renderer

PROMPT = "prompt"
MESSAGES = "messages"

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Put:
    """One prompt, ready. ``stop`` ends the reply beside what the sampling says; ``question`` is what is answered."""

    prompt: Prompt
    question: Question
    stop: tuple[str, ...] = ()

    def sampling(self, asked: SamplingParams) -> SamplingParams:
        """Return ``asked`` with the prompt's own stop texts."""
        if not self.stop:
            return asked
        return replace(asked, stop=tuple(dict.fromkeys((*(asked.stop or ()), *self.stop))))


@dataclass(frozen=True, slots=True)
class Task:
    """How values become a prompt: through ``renderer``'s template, else as the ``prompt`` or ``messages`` they hold.

    ``system`` None leaves it to the config, an empty one is none. ``raw`` sends a text without a chat template; a base
    model never has one. ``parse_special`` makes special tokens in such a text special; elsewhere they are plain text.
    ``constraint`` is what the reply must look like.
    """

    renderer: Renderer | None = None
    system: str | None = None
    raw: bool = False
    parse_special: bool = False
    constraint: Constraint | None = None

    def check(self, chat_template: bool) -> None:
        """Raise UsageError for what a model with or without a chat template could only ignore."""
        if chat_template and not self.raw:
            if self.parse_special:
                raise UsageError("--parse-special needs --raw: in a chat, special tokens belong to the template alone")
        elif self.system:
            why = "--raw sends no turns" if self.raw else "this is a base model, its file has no chat template"
            raise UsageError(f"--system has no place here: {why}; put the instruction into the prompt")

    def put(self, values: Mapping[str, Any], chat_template: bool, default_system: str | None = None) -> Put:
        """Return the prompt for ``values``. Raises PromptError that names what is missing, or UsageError as ``check``."""
        self.check(chat_template)
        chat = chat_template and not self.raw
        system = (self.system if self.system is not None else default_system) if chat else None
        turns = (Message("system", system),) if system else ()
        if self.renderer is not None:
            return self._rendered(self.renderer, values, chat, turns)
        if MESSAGES in values:
            return _conversation(_messages(values[MESSAGES]), chat, turns)
        if values.get(PROMPT) is None:
            raise PromptError(
                "there is no prompt and there are no messages: name the column prompt, or give a --template"
            )
        text = _text(values[PROMPT])
        return self._plain(text, chat, turns)

    def _plain(self, text: str, chat: bool, turns: tuple[Message, ...]) -> Put:
        asked = Message("user", text)
        question = Question((*turns, asked), text, str.strip)
        if chat:
            return Put(ChatPrompt((*turns, asked)), question)
        return Put(TextPrompt(text, self.parse_special), question)

    def _rendered(self, renderer: Renderer, values: Mapping[str, Any], chat: bool, turns: tuple[Message, ...]) -> Put:
        rendered = renderer.render(variables(renderer, values), values)
        messages = (*turns, *rendered.messages)
        if chat:
            question = Question(messages, rendered.messages[-1].content, renderer.read_answer)
            return Put(ChatPrompt(messages), question)
        question = Question(
            messages, rendered.messages[-1].content, lambda reply: renderer.read_answer(reply, rendered.lead)
        )
        return Put(TextPrompt(rendered.text, self.parse_special), question, rendered.stop)


def variables(renderer: Renderer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of ``values`` are inputs of the template; null is not given, and other columns are nobody's.

    A ``prompt`` that is no input of it stands for the one input that is still missing. Raises PromptError when there is
    not exactly one, or when a value is given twice.
    """
    inputs = renderer.template.inputs
    given = {name: value for name, value in values.items() if name in inputs and value is not None}
    for name in given:
        if name in renderer.fixed:
            raise PromptError(f"{name} is given twice, by --var and by the row: leave one out")
    if MESSAGES in values and MESSAGES not in inputs:
        raise PromptError(f"{MESSAGES} and the template {renderer.template.name} both say what to send: leave one out")
    if PROMPT not in inputs and (prompt := values.get(PROMPT)) is not None:
        missing = [name for name in renderer.missing if name not in given]
        if len(missing) != 1:
            which = " or ".join(missing) or "none is missing"
            raise PromptError(
                f"the text has no place in {renderer.template.name} ({which}): name the inputs with --var"
            )
        given[missing[0]] = prompt
    return given


def _conversation(messages: tuple[Message, ...], chat: bool, turns: tuple[Message, ...]) -> Put:
    if not chat:
        raise PromptError("messages need a chat template, and here there is none: give a prompt in their place")
    if turns and messages[0].role == "system":
        turns = ()
    text = "\n\n".join(message.content for message in messages if message.role == "user")
    return Put(ChatPrompt((*turns, *messages)), Question((*turns, *messages), text, str.strip))


def _messages(value: Any) -> tuple[Message, ...]:
    wrong = PromptError('messages: give a list such as [{"role": "user", "content": "Hello"}]')
    if not isinstance(value, list) or not value:
        raise wrong
    messages = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise wrong
        role, content = message["role"], message["content"]
        if role not in _ROLES:
            raise PromptError(f"message {number} has the role {role!r}: there are {', '.join(_ROLES)}")
        if not isinstance(content, str):
            raise PromptError(f"the content of message {number} is no text")
        messages.append(Message(role, content))
    if messages[-1].role != "user":
        raise PromptError(f"the last message is of the role {messages[-1].role!r}: end with the user's")
    return tuple(messages)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PromptError(f"the prompt is no text but {type(value).__name__}: put it in quotes")
    if not value.strip():
        raise PromptError("the prompt is empty")
    return value

"""A message through a prompt template: what was typed becomes one of its inputs, and the reply is read for its answer.

Knows nothing of chats, models or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lmlab.errors import LmlabError, PromptError, UsageError
from lmlab.sampling import SamplingParams
from lmlab.store import TemplateUse

if TYPE_CHECKING:
    # What renders templates is slow to import, and is there once one is used.
    from lmlab.prompting import Approach, Rendered, Renderer, Style, Technique
    from lmlab.prompting.picking import Pick

_WITHOUT_EXAMPLES = ("zero-shot", "cot")
_OPTION = re.compile(r"--(technique|shots|pick|style|var)\b")
# "give it with --var x=... or as a column"
_VALUE = re.compile(r"(/var \w+)=(\S+)(?: or as a column)?")


@dataclass(frozen=True, slots=True)
class MessagePrompt:
    """A template as it is put to messages: ``renderer``, made by ``approach`` of what ``name`` finds.

    ``main`` is the input that a message becomes: the first required one that has no value, else the last of the others.
    """

    name: str
    renderer: Renderer
    approach: Approach
    main: str

    @classmethod
    def load(cls, name: str, approach: Approach, variables: Mapping[str, str], folder: Path) -> MessagePrompt:
        """Read the template that ``name`` means, a person's own in ``folder``. Raises UsageError or PromptError."""
        from lmlab.prompting import Renderer, find_template, known_templates, load_template

        with in_words_of_a_chat():
            path = find_template(name, folder)
            renderer = Renderer(load_template(path), approach, variables)
        # A file is found again from any other folder.
        known = known_templates(folder)
        return cls(name if name in known else str(path.absolute()), renderer, approach, _main_input(renderer))

    @classmethod
    def of(cls, use: TemplateUse, folder: Path) -> MessagePrompt:
        """Return the template as ``use`` put it; the file may have changed since. Raises UsageError or PromptError."""
        from lmlab.prompting import Approach

        approach = Approach(cast("Technique", use.technique))
        if use.shots:
            style = cast("Style | None", use.style)
            approach = Approach(approach.technique, use.shots, cast("Pick", use.pick), use.pick_seed, style)
        return cls.load(use.template, approach, use.variables, folder)

    def again(self, approach: Approach, variables: Mapping[str, str]) -> MessagePrompt:
        """Return the same template put otherwise. Raises UsageError or PromptError."""
        from lmlab.prompting import Renderer

        with in_words_of_a_chat():
            renderer = Renderer(self.renderer.template, approach, variables)
        return replace(self, renderer=renderer, approach=approach, main=_main_input(renderer))

    def filled(self) -> MessagePrompt:
        """Return the same with every input given but the message: what is left out, as the template has it."""
        inputs = self.renderer.template.inputs.items()
        defaults = {name: given.default for name, given in inputs if name != self.main and not given.required}
        return self.again(self.approach, {**defaults, **self.renderer.fixed})

    @property
    def missing(self) -> tuple[str, ...]:
        """The required inputs that have no value yet, beside the message."""
        return tuple(name for name in self.renderer.missing if name != self.main)

    @property
    def sampling(self) -> SamplingParams:
        """What the task is best done with."""
        return self.renderer.template.sampling

    def render(self, text: str) -> Rendered:
        """Return what a message makes of the template. Raises UsageError that names what is missing, or PromptError."""
        if self.missing:
            name = self.missing[0]
            raise UsageError(f"{self.renderer.template.name} needs {name} too: /var {name} TEXT gives it")
        with in_words_of_a_chat():
            return self.renderer.render({self.main: text})

    def use(self, text: str) -> TemplateUse:
        """Return the record of a message sent through it. Raises as ``render``."""
        renderer, rendered = self.renderer, self.render(text)
        return TemplateUse(
            template=self.name,
            fingerprint=renderer.fingerprint,
            technique=renderer.technique,
            shots=renderer.shots,
            variables=dict(renderer.fixed),
            messages=rendered.messages,
            stop=rendered.stop,
            sampling=self.sampling,
            pick=self.approach.pick,
            pick_seed=self.approach.pick_seed,
            style=self.approach.style,
        )

    def read_answer(self, reply: str) -> str | None:
        """Return the answer in a chat's reply; None when it gives none."""
        return self.renderer.read_answer(reply)

    @property
    def has_answer(self) -> bool:
        """Whether an answer is something else than the whole reply."""
        answer = self.renderer.template.answer
        return self.renderer.reasons or (answer is not None and answer.regex is not None)


def fitting(approach: Approach, usual: Technique) -> Approach:
    """Return ``approach`` without what is about examples, where its technique shows none."""
    if (approach.technique or usual) not in _WITHOUT_EXAMPLES:
        return approach
    return replace(approach, shots=None, pick="order", pick_seed=0, style=None)


def answer_reader(use: TemplateUse, folder: Path) -> Callable[[str], str | None] | None:
    """Return what reads the answer off a reply to ``use``.

    None when an answer is the whole reply, or when the template is gone or is another by now.
    """
    try:
        prompt = MessagePrompt.of(use, folder)
    except LmlabError:
        return None
    same = prompt.renderer.fingerprint == use.fingerprint
    return prompt.read_answer if same and prompt.has_answer else None


@contextmanager
def in_words_of_a_chat() -> Iterator[None]:
    """Let errors name the commands of a chat in place of options."""
    try:
        yield
    except (UsageError, PromptError) as error:
        said = _VALUE.sub(r"\1 \2", _OPTION.sub(r"/\1", str(error)))
        raise type(error)(said) from None


def _main_input(renderer: Renderer) -> str:
    inputs = renderer.template.inputs
    free = [name for name in inputs if name not in renderer.fixed]
    if not free:
        which = "it has no inputs" if not inputs else f"all of {', '.join(inputs)} have a value; /var NAME - frees one"
        raise UsageError(f"{renderer.template.name} has no place for a message: {which}")
    return renderer.missing[0] if renderer.missing else free[-1]

"""A template put to a model by a technique: as messages for a chat model, as text for a base model.

What every row shares, the instruction and the examples, comes first and unchanged, so that a prefix cache keeps it.
Knows nothing of models, tokens or files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lmlab.errors import PromptError, UsageError
from lmlab.prompting.answers import MARKER, AnswerForm
from lmlab.prompting.approach import Approach, fingerprint_of, pool_of, shots_of
from lmlab.prompting.checks import check_answer
from lmlab.prompting.cues import reasoning_cue
from lmlab.prompting.layout import Layout, Skeleton, Worked
from lmlab.prompting.parts import Part, split
from lmlab.prompting.picking import Picker
from lmlab.prompting.sandbox import RenderingError
from lmlab.prompting.template import Answer, Example, PromptTemplate, Style, Technique
from lmlab.worker.prompts import Message

USUAL_COT = "Let's think step by step."
# Shorter beginnings would end replies that are not over.
_SHORTEST_STOP = 3
_AS_IT_SAYS = Approach()
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rendered:
    """One row's prompt: ``messages`` for a chat model; ``text``, ``lead`` and ``stop`` for a base model.

    ``lead`` is the end of ``text`` that belongs to the reply. ``examples`` are indices into the template's, as shown.
    What every row has: the first ``shared_messages`` messages whole, ``shared_in_message`` characters of the next, and
    ``shared_characters`` of ``text``. A row that is itself an example sees another in its place, and shares less.
    """

    messages: tuple[Message, ...]
    text: str
    lead: str
    stop: tuple[str, ...]
    examples: tuple[int, ...]
    shared_messages: int
    shared_characters: int
    shared_in_message: int


class Renderer:
    """One template, one approach, and the inputs that are ``fixed`` for every row.

    ``reasons``: whether the technique asks for reasoning. ``shots``: the examples shown. ``missing``: the required inputs
    that each row has to give. ``fingerprint`` names all that shapes the prompt.
    Raises UsageError or PromptError for what no row could mend.
    """

    def __init__(
        self, template: PromptTemplate, approach: Approach = _AS_IT_SAYS, fixed: Mapping[str, str] = _NONE
    ) -> None:
        self.template = template
        self.technique: Technique = approach.technique or template.technique
        self.reasons = self.technique in ("cot", "few-shot-cot")
        self.fixed = _inputs_of(template, fixed)
        self.missing = tuple(name for name in _required(template) if name not in self.fixed)
        self._pool = pool_of(template, self.technique)
        self.shots = shots_of(template, approach, self.technique, self._pool)
        pooled = [template.examples[index].inputs for index in self._pool]
        self._picker = Picker(pooled, self.shots, approach.pick, approach.pick_seed)
        answer = template.answer or Answer()
        self._form = self._read_form(answer)
        self._check = answer.check
        self._instruction, self._input = split(template.body, template.given)
        self._cot = (template.cot or USUAL_COT).strip()
        style = approach.style or template.style
        self._inline = style == "inline" and self.shots > 0
        self._layout = self._lay_out(style)
        shown = self.shots > 0 or not self.reasons
        self._stop = _stop(template, self._beginning(self._input, {}), shown)
        self._worked = [self._work(template.examples[index]) for index in self._pool] if self.shots else []
        self._skeleton = self._find_skeleton(turned=style == "turns")
        self.fingerprint = fingerprint_of(template, self.technique, self.shots, approach, style, self.fixed)

    def render(self, variables: Mapping[str, Any], others: Collection[str] = ()) -> Rendered:
        """Return the prompt for a row of inputs. Raises PromptError for one that is missing, empty, unknown or misused.

        ``others`` are what the row has besides; an input that is missing may be among them under another name.
        """
        values = self._values(variables, others)
        instruction = self._write(self._instruction, values) if self._instruction else ""
        asked = self._write(self._input, values)
        places = self._picker.pick(values)
        examples = [self._worked[place] for place in places]
        messages = self._layout.messages(instruction, examples, asked)
        text = self._layout.text(instruction, examples, asked)
        whole, within, characters = self._skeleton.shared(messages, text)
        return Rendered(
            messages=messages,
            text=text,
            lead=self._layout.cue,
            stop=self._stop,
            examples=tuple(self._pool[place] for place in places),
            shared_messages=whole,
            shared_characters=characters,
            shared_in_message=within,
        )

    def read_answer(self, reply: str, lead: str = "") -> str | None:
        """Return the answer in a reply; ``lead`` is what a base model's reply goes on from. None: it gives none."""
        return self._form.read_inline(reply) if self._inline and not lead else self._form.read(reply, lead)

    def check(self, answer: str | None, expected: str) -> bool:
        """Return whether ``answer`` is as the template's check has it; None never is."""
        return answer is not None and check_answer(self._check, answer, expected)

    def _values(self, variables: Mapping[str, Any], others: Collection[str]) -> dict[str, Any]:
        template = self.template
        # JSON's null and a cell that is not there mean the same: not given.
        given = {name: value for name, value in variables.items() if value is not None}
        unknown = sorted(given.keys() - template.inputs.keys())
        if unknown:
            raise PromptError(f"{template.name} has no input {unknown[0]!r}: {_known(template)}")
        twice = sorted(given.keys() & self.fixed.keys())
        if twice:
            raise PromptError(
                f"{twice[0]} is given by --var for every prompt, and once more for this one: give it once"
            )
        missing = [name for name in self.missing if name not in given]
        if missing:
            known = list(dict.fromkeys([*self.fixed, *given, *others]))
            values = f"the values given are {', '.join(known)}; " if known else ""
            raise PromptError(
                f"{template.name} needs {', '.join(missing)}: {values}give it with --var {missing[0]}=... or as a column"
            )
        _check_filled(template, given)
        return {**template.defaults, **self.fixed, **given}

    def _write(self, part: Part, values: Mapping[str, Any]) -> str:
        try:
            return part.render(values)
        except RenderingError as error:
            raise self._failure(part, error) from None

    def _beginning(self, part: Part, known: Mapping[str, Any]) -> str:
        try:
            return part.beginning(known)
        except RenderingError as error:
            raise self._failure(part, error) from None

    def _failure(self, part: Part, error: RenderingError) -> PromptError:
        template = self.template
        line = template.body_line + part.line + error.line - 2 if error.line else None
        return PromptError(f"{template.place(line)}: {template.name} could not be rendered: {error}")

    def _read_form(self, answer: Answer) -> AnswerForm:
        try:
            return AnswerForm(answer, self.reasons)
        except RenderingError as error:
            raise self._failed_format(error) from None

    def _failed_format(self, error: RenderingError) -> PromptError:
        return PromptError(f"{self.template.place(None)}: answer.format could not be rendered: {error}")

    def _lay_out(self, style: Style) -> Layout:
        inline = style == "inline"
        if not self.reasons:
            return Layout(inline, ask="", ask_text="", cue=self._form.cue)
        marked = self._form.marked
        ask = f'{self._cot} Then write "{MARKER}" and the answer.' if marked else self._cot
        cue = reasoning_cue(self._cot, self.template.examples)
        if cue != self._cot:
            return Layout(inline, ask=ask, ask_text=ask, cue=cue)
        # Examples show a base model where the answer goes; without any it has to be told.
        told = f'Write "{MARKER}" and the answer at the end.' if marked and not self.shots else ""
        return Layout(inline, ask=ask, ask_text=told, cue=cue)

    def _work(self, example: Example) -> Worked:
        # What an example does not give is what the template has for it, never the row's: the row may be another thing.
        asked = self._write(self._input, {**self.template.defaults, **example.inputs})
        try:
            reply = self._form.write(example.answer)
            if not self.reasons:
                return Worked(asked, reply, self._form.write_after_cue(example.answer))
        except RenderingError as error:
            raise self._failed_format(error) from None
        reasoned = f"{(example.reasoning or '').strip()}\n{reply}"
        cue = self._layout.cue
        return Worked(asked, reasoned, reasoned if reasoned.startswith(cue) else f"{cue} {reasoned}")

    def _find_skeleton(self, *, turned: bool) -> Skeleton:
        instruction = ""
        if self._instruction is not None:
            if not self._instruction.names <= self.fixed.keys():
                beginning = self._beginning(self._instruction, self.fixed)
                return self._layout.skeleton("", (), beginning, turned=False)
            instruction = self._write(self._instruction, {**self.template.defaults, **self.fixed})
        if self.shots and not self._picker.fixed:
            return self._layout.skeleton(instruction, (), self._beginning(self._input, {}), turned=False)
        examples = [self._worked[place] for place in self._picker.usual]
        beginning = self._beginning(self._input, self.fixed)
        return self._layout.skeleton(instruction, examples, beginning, turned=turned and bool(examples))


def _inputs_of(template: PromptTemplate, fixed: Mapping[str, str]) -> dict[str, str]:
    for name in fixed:
        if name not in template.inputs:
            raise UsageError(f"--var {name}: {template.name} has no such input; {_known(template)}")
    _check_filled(template, fixed)
    return dict(fixed)


def _check_filled(template: PromptTemplate, given: Mapping[str, Any]) -> None:
    for name in _required(template):
        value = given.get(name)
        if isinstance(value, str) and not value.strip():
            raise PromptError(f"{template.name} needs {name}, and it is empty")


def _known(template: PromptTemplate) -> str:
    return f"its inputs are {', '.join(template.inputs)}" if template.inputs else "it has no inputs"


def _required(template: PromptTemplate) -> list[str]:
    return [name for name, given in template.inputs.items() if given.required]


def _stop(template: PromptTemplate, beginning: str, shown: bool) -> tuple[str, ...]:
    """Return what ends a base model's reply: the template's own, and where it would begin with another input.

    Unless it was ``shown`` what a reply looks like, a blank line ends none: reasoning goes on in paragraphs.
    """
    first = beginning.partition("\n")[0].rstrip()
    own = [f"\n\n{first}"] if len(first) >= _SHORTEST_STOP else []
    given = [text for text in template.stop if shown or text.strip()]
    return tuple(dict.fromkeys([*given, *own]))

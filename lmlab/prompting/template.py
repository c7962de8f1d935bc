"""A prompt template: one Markdown file that says what a task is, what it takes, and how it is put to a model.

Knows nothing of models, chat templates or techniques.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError, field_validator

from lmlab.errors import PromptError, SamplingError, UsageError
from lmlab.prompting.front_matter import FrontMatter, parse
from lmlab.sampling import SamplingParams


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Strict):
    """A variable of the body. One that is not required and not given is ``default``."""

    description: StrictStr = ""
    required: StrictBool = True
    default: StrictStr = ""


class Example(BaseModel):
    """A worked example: an answer, perhaps the reasoning that leads to it, and a value for each input."""

    model_config = ConfigDict(extra="allow", frozen=True)

    answer: StrictStr
    reasoning: StrictStr | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Answer(_Strict):
    """How to read the answer off a reply: the first group of ``regex``, compared as ``check`` says."""

    regex: StrictStr
    check: Literal["exact", "number", "contains"] = "exact"


class PromptTemplate(_Strict):
    """The file's front matter, checked, and its ``body``: Jinja2 over the inputs.

    ``cot`` is the sentence that asks for reasoning. ``sampling`` is what the task is best done with. ``stop`` ends a
    reply when the body is put to a model as plain text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: StrictStr = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: StrictStr
    inputs: dict[StrictStr, Input] = Field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    cot: StrictStr | None = None
    answer: Answer | None = None
    sampling: SamplingParams = Field(default_factory=SamplingParams)
    stop: tuple[StrictStr, ...] = ()
    body: StrictStr

    @field_validator("sampling", mode="before")
    @classmethod
    def _read_sampling(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("write sampling as keys and values, such as temperature: 0.7")
        try:
            return SamplingParams.from_dict(value)
        except SamplingError as error:
            raise ValueError(str(error)) from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """Return the body with ``variables`` in it. Raises PromptError for one that is missing, unknown or misused."""
        unknown = sorted(set(variables) - set(self.inputs))
        if unknown:
            known = ", ".join(self.inputs) or "none"
            raise PromptError(f"{self.name} has no input {unknown[0]!r}: its inputs are {known}")
        missing = [name for name, given in self.inputs.items() if given.required and name not in variables]
        if missing:
            raise PromptError(f"{self.name} needs {', '.join(missing)}: give --var {missing[0]}=...")
        defaults = {name: given.default for name, given in self.inputs.items()}
        try:
            return _environment().from_string(self.body).render({**defaults, **variables})
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise PromptError(f"{self.name} could not be rendered: {' '.join(str(error).split())}") from None


def load_template(path: Path) -> PromptTemplate:
    """Read and check the file. Raises UsageError when it cannot be read, PromptError with the line of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no such prompt template: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the prompt template {path}: {error}") from None
    matter = parse(text, path.name)
    if "body" in matter.values:
        raise PromptError(
            f"{path.name}, line {matter.line(('body',))}: unknown key 'body': the body follows the front matter"
        )
    try:
        template = PromptTemplate.model_validate({**matter.values, "body": matter.body})
    except ValidationError as error:
        raise PromptError(_explain(error, matter, path.name)) from None
    _check_body(template, matter, path.name)
    _check_examples(template, matter, path.name)
    return template


def _check_body(template: PromptTemplate, matter: FrontMatter, name: str) -> None:
    environment = _environment()
    try:
        used = meta.find_undeclared_variables(environment.parse(template.body))
        environment.from_string(template.body)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{name}, line {matter.body_line + error.lineno - 1}: {error.message}") from None
    for variable in sorted(used - set(template.inputs)):
        raise PromptError(f"{name}, line {matter.body_line}: the body uses {variable!r}: add it to inputs")


def _check_examples(template: PromptTemplate, matter: FrontMatter, name: str) -> None:
    for index, example in enumerate(template.examples):
        for key in example.inputs:
            if key not in template.inputs:
                line = matter.line(("examples", index, key))
                raise PromptError(f"{name}, line {line}: the example gives {key!r}, which is not among inputs")
        for key, given in template.inputs.items():
            if given.required and key not in example.inputs:
                raise PromptError(f"{name}, line {matter.line(('examples', index))}: the example gives no {key!r}")


def _explain(error: ValidationError, matter: FrontMatter, name: str) -> str:
    problem = error.errors(include_url=False)[0]
    where = problem["loc"]
    label = ".".join(str(part) for part in where)
    line = f"{name}, line {matter.line(where)}"
    if problem["type"] == "extra_forbidden":
        holder: type[BaseModel] = PromptTemplate if len(where) == 1 else Answer if where[0] == "answer" else Input
        known = [key for key in holder.model_fields if key != "body"]
        near = get_close_matches(str(where[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return f"{line}: unknown key {label!r}: {hint}"
    if problem["type"] == "missing":
        return f"{line}: {label!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{line}: {label}: {message[:1].lower()}{message[1:]}"


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)

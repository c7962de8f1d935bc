"""A prompt template: one Markdown file that says what a task is, what it takes, and how it is put to a model.

Knows nothing of models, chat templates or how a technique is rendered.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, field_validator

from lmlab.errors import SamplingError
from lmlab.prompting.checks import Check
from lmlab.sampling import SamplingParams

Technique: TypeAlias = Literal["zero-shot", "few-shot", "cot", "few-shot-cot"]
Style: TypeAlias = Literal["turns", "inline"]

USUAL_SHOTS = 4
"""Examples shown when nobody says how many, fewer where there are fewer."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]*$"


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
    """How an answer is written, read off a reply and compared with the one expected.

    ``format`` is Jinja2 over ``answer``. The last match of ``regex`` counts: its group ``answer``, else its first, else
    all of it. Without one the answer is the whole reply.
    """

    format: StrictStr | None = None
    regex: StrictStr | None = None
    check: Check = "exact"


class PromptTemplate(_Strict):
    """The file's front matter, checked, and its ``body``: Jinja2 over the inputs.

    ``technique``, ``shots`` and ``style`` are what is used when nobody says otherwise. ``cot`` is the sentence that asks
    for reasoning. ``sampling`` is what the task is best done with. ``stop`` ends a reply when the body is put to a model
    as plain text. ``file``, ``body_line`` and ``example_lines`` say where things stand, for messages; of a ``packaged``
    template nobody has seen the lines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: StrictStr = Field(pattern=NAME_PATTERN)
    description: StrictStr
    inputs: dict[StrictStr, Input] = Field(default_factory=dict)
    technique: Technique = "zero-shot"
    shots: int | None = Field(default=None, ge=1, strict=True)
    style: Style = "turns"
    examples: tuple[Example, ...] = ()
    cot: StrictStr | None = Field(default=None, pattern=r"\S")
    answer: Answer | None = None
    sampling: SamplingParams = Field(default_factory=SamplingParams)
    stop: tuple[StrictStr, ...] = ()
    body: StrictStr
    file: StrictStr
    body_line: int
    example_lines: tuple[int, ...]
    packaged: StrictBool = False

    @field_validator("sampling", mode="before")
    @classmethod
    def _read_sampling(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("write sampling as keys and values, such as temperature: 0.7")
        try:
            return SamplingParams.from_dict(value)
        except SamplingError as error:
            raise ValueError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of the front matter and the body as plain JSON values."""
        values = self.model_dump(mode="json", exclude={"sampling", *PLACES} - {"body"})
        return {**values, "sampling": self.sampling.to_dict()}

    def place(self, line: int | None) -> str:
        """Return where ``line`` of the file is, for a message."""
        if self.packaged:
            return f"the template {self.name}"
        return self.file if line is None else f"{self.file}, line {line}"

    @property
    def given(self) -> frozenset[str]:
        """The inputs that any example gives."""
        return frozenset(name for example in self.examples for name in example.inputs)

    @property
    def defaults(self) -> dict[str, str]:
        return {name: given.default for name, given in self.inputs.items()}


PLACES = frozenset({"body", "file", "body_line", "example_lines", "packaged"})
"""Fields of a PromptTemplate that are no keys of the front matter."""
KEYS = tuple(name for name in PromptTemplate.model_fields if name not in PLACES)

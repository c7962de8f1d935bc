"""What all variants of a comparison are given: one prompt, and which repeat of it. Knows nothing of variants."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lmlab.lab.batch.keys import content_key, row_content
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.work import EXPECTED
from lmlab.lab.task import MESSAGES, PROMPT


@dataclass(frozen=True, slots=True)
class Case:
    """``question`` is 32 hex digits for the row's content, ``key`` for that and ``repeat``, which counts from 0.

    Every variant draws a case with the seed that follows from its key: the same for all of them.
    """

    question: str
    repeat: int
    key: str
    row: Row | BadRow

    @property
    def prompt(self) -> str:
        """The row as a person would call it: its prompt, else its columns."""
        if isinstance(self.row, BadRow):
            return str(self.row.error)
        return prompt_text(self.row.values)


def cases(rows: Iterable[Row | BadRow], repeats: int = 1) -> Iterator[Case]:
    """Return a case for each row and repeat, those of a row together. Rows of equal content are told apart by their order."""
    seen: Counter[bytes] = Counter()
    for row in rows:
        content = row_content(row)
        for repeat in range(repeats):
            yield _case(row, content, seen[content], repeat)
        seen[content] += 1


def typed_case(text: str) -> Case:
    """Return the case of a prompt that was typed; of the same text the same one."""
    row = typed_row(text, 1)
    return _case(row, row_content(row), 0, 0)


def typed_row(text: str, number: int) -> Row:
    return Row(number, number, {PROMPT: text}, None, 0)


def prompt_text(values: Mapping[str, object]) -> str:
    """Return the prompt that is in a row, else what was said in its messages, else its columns, a line each.

    The columns that answers are compared with are no part of a prompt.
    """
    if isinstance(prompt := values.get(PROMPT), str):
        return prompt
    if isinstance(messages := values.get(MESSAGES), list):
        return "\n\n".join(str(said.get("content", "")) for said in messages if isinstance(said, dict))
    columns = {name: _shown(value) for name, value in values.items() if name not in ("id", *EXPECTED)}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return "\n".join(f"{name}: {value}" for name, value in columns.items())


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _case(row: Row | BadRow, content: bytes, occurrence: int, repeat: int) -> Case:
    return Case(
        content_key("question", content, occurrence), repeat, content_key(f"repeat {repeat}", content, occurrence), row
    )

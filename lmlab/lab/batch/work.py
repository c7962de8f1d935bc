"""One row for one variant, on its way from a prompt to a line. Knows nothing of engines or files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lmlab.backends import Handle, Request
from lmlab.errors import LmlabError
from lmlab.lab.batch.keys import row_seed
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.best_of import Choice, Gather
from lmlab.lab.result import Source, result_json
from lmlab.lab.task import Put

EXPECTED = ("expected", "answer", "label")
"""The columns that hold what an answer is compared with, the first that is there and no input of the template."""


@dataclass(slots=True, eq=False)
class Work:
    """``number`` is its place among the rows, from 0; ``run`` the plan's fingerprint. ``alone``: it is tried with
    nothing beside it.
    """

    number: int
    key: str
    row: Row | BadRow
    plan: Plan
    run: str
    put: Put | None = None
    gather: Gather | None = None
    handle: Handle | None = None
    attempts: int = 0
    alone: bool = False

    @property
    def expected(self) -> str | None:
        """What the answer should be, when the template can check one and the row says it."""
        renderer = self.plan.task.renderer
        if renderer is None or isinstance(self.row, BadRow) or not checks(self.plan):
            return None
        inputs = renderer.template.inputs
        named = self.plan.expect
        columns = (named,) if named else tuple(name for name in EXPECTED if name not in inputs)
        # A cell without a label is none: a table is often labelled only in part.
        value = next((found for name in columns if (found := self.row.values.get(name)) not in (None, "")), None)
        return None if value is None else str(value)

    def request(self, name: str) -> Request:
        """Render the row and return what is asked of the model. Raises LmlabError for a row that cannot be asked."""
        if isinstance(self.row, BadRow):
            raise self.row.error
        plan = self.plan
        put = plan.task.put(self.row.values, plan.chat, plan.default_system)
        self.put = replace(put, question=replace(put.question, expected=self.expected))
        self.gather = Gather(plan.candidates, put.question.read_answer)
        self.attempts += 1
        return Request(
            name,
            put.prompt,
            put.sampling(plan.asked).with_value("seed", row_seed(plan.seed, self.key)),
            logprobs=plan.candidates > 1,
            candidates=plan.candidates,
            constraint=plan.task.constraint,
            stream=False,
        )

    def head(self) -> dict[str, Any]:
        """Return what each line of this row says, however it ended."""
        return {"id": self.row.id, "key": self.key, "run": self.run, "variant": self.plan.label}

    def _input(self) -> dict[str, Any]:
        return {"input": self.row.values if isinstance(self.row, Row) else None}

    def failed(self, error: LmlabError) -> dict[str, Any]:
        return {**self.head(), **self._input(), "error": {"type": type(error).__name__, "message": str(error)}}

    def stopped(self, text: str) -> dict[str, Any]:
        """Return the line of an answer that somebody stopped, with what had come of it."""
        return {**self.head(), **self._input(), "text": text, "finish_reason": "cancelled"}

    def result(self, choice: Choice, source: Source) -> dict[str, Any]:
        """Return the line of a row that was answered."""
        gather = self.gather
        if gather is None or gather.finished is None or gather.started is None:
            raise ValueError("a row is told before it was answered")
        result = result_json(
            source,
            choice.candidates,
            selected=choice.selected,
            selector=str(self.plan.selector) if self.plan.selector else None,
            why=choice.why or None,
            usage=gather.finished.usage,
            timings=gather.finished.timings,
            sampling=gather.started.sampling,
            answers=self.plan.task.renderer is not None,
        )
        expected = self.expected
        told = {} if expected is None else {"correct": self.correct(choice.best.answer), "expected": expected}
        return {**self.head(), **told, **self._input(), **result}

    def correct(self, answer: str | None) -> bool | None:
        """Return whether an answer is the expected one; None when nothing is expected."""
        renderer, expected = self.plan.task.renderer, self.expected
        return None if renderer is None or expected is None else renderer.check(answer, expected)


def checks(plan: Plan) -> bool:
    """Whether the template says how answers are compared."""
    renderer = plan.task.renderer
    return renderer is not None and renderer.template.answer is not None

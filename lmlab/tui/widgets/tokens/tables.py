"""Candidates as the rows of a table: one stage beside the raw probabilities, or all stages where there is room.

Knows nothing of widgets but the names of their styles.
"""

from __future__ import annotations

from typing import Protocol

from textual.content import Content

from lmlab.backends import Alternative, Distribution
from lmlab.tui.widgets.tokens.figures import PERCENT_CELLS, bar_cells, percent, scale
from lmlab.tui.widgets.tokens.spelling import MARKS, fit, shown

_MARK_CELLS = 2
_RANK_CELLS = 5
_LEAST_TOKEN = 9
_LEAST_BAR = 7
_MOST_TOKEN = 20
_MOST_BAR = 24
_GAP = "  "
_WORD_CELLS = 6

_SHORT: dict[str, str] = {"penalties": "pen.", "temperature": "temp."}
# Temperature removes tokens only where it is greedy.
_REMOVED: dict[str, str] = {"temperature": "temp 0"}


class Table(Protocol):
    """``lines`` is how many its head has."""

    lines: int

    def head(self) -> list[Content]: ...

    def row(self, one: Alternative, *, drawn: bool, here: bool, late: bool) -> Content: ...

    def stage_at(self, x: int, line: int) -> str | None:
        """Return the stage whose name, or column, stands there in the head."""
        ...


def table(distribution: Distribution, stage: int, width: int) -> Table:
    """Return the table that fits in ``width``: a column for each stage, if it can be, with its name whole."""
    room = width - _edge(_LEAST_TOKEN, _LEAST_BAR)
    for names in ({}, _SHORT):
        if sum(_column_cells(distribution, names)) <= room:
            return AllStages(distribution, stage, width, names)
    return OneStage(distribution, stage, width)


class _Rows:
    """What both tables have on the left: marks, rank, token, bar."""

    def __init__(self, distribution: Distribution, stage: int, width: int, columns: int) -> None:
        self.distribution = distribution
        self.stage = stage
        room = width - _edge(0, 0) - columns
        self.token_cells = min(_MOST_TOKEN, max(_LEAST_TOKEN, room * 2 // 5))
        self.bar_cells = min(_MOST_BAR, max(_LEAST_BAR, room - self.token_cells))
        self.full = scale(distribution, stage)

    @property
    def edge(self) -> int:
        """Where the columns begin."""
        return _edge(self.token_cells, self.bar_cells)

    def left(self, one: Alternative, drawn: bool, here: bool, late: bool) -> Content:
        chance = one.probabilities[self.stage]
        filled, lost = bar_cells(chance, one.probabilities[0], self.full, self.bar_cells)
        return Content.assemble(
            ("›" if here else " ", ".weighed--cursor"),
            ("●" if drawn else " ", ".weighed--drawn"),
            (f"{_rank(one.rank):>{_RANK_CELLS - 1}} ", ".weighed--quiet"),
            _token(fit(shown(one.text), self.token_cells), _style(chance == 0, drawn, late)),
            " ",
            (filled, ".weighed--gone" if late else ".weighed--bar"),
            (lost, ".weighed--lost"),
            " " * (self.bar_cells - len(filled) - len(lost)),
        )

    def axis(self, title: str = "") -> Content:
        """Return ``title`` over the tokens, and over the bars what a full one is."""
        begin = self.edge - self.bar_cells
        full = f"{self.full * 100:g} %"
        text = (" " * (_MARK_CELLS + _RANK_CELLS) + title).ljust(begin)
        return Content.styled(f"{text}0{full.rjust(self.bar_cells - 1)}", ".weighed--quiet")


class OneStage(_Rows):
    """The raw probability and that after one stage; of a removed token, which stage removed it."""

    lines = 3

    def __init__(self, distribution: Distribution, stage: int, width: int) -> None:
        super().__init__(distribution, stage, width, PERCENT_CELLS + 1 + _WORD_CELLS + 1)
        names = [one.name for one in distribution.stages]
        short = {} if len(_GAP.join(names)) <= width else _SHORT
        self._names = [(name, short.get(name, name)) for name in names]

    def head(self) -> list[Content]:
        raw, now = self.distribution.stages[0], self.distribution.stages[self.stage]
        names = [
            Content.styled(text, ".weighed--stage" if index == self.stage else ".weighed--quiet")
            for index, (_, text) in enumerate(self._names)
        ]
        left = f"{now.left:,} of {raw.left:,} left · {raw.entropy:.2f} → {now.entropy:.2f} bits"
        if not self.stage:
            left = f"{raw.left:,} tokens · {raw.entropy:.2f} bits"
        columns = f" {'raw':>{PERCENT_CELLS}}"
        if self.stage:
            columns += f" {_SHORT.get(now.name, now.name):>{_WORD_CELLS}}"
        return [
            Content(_GAP).join(names),
            Content.styled(left, ".weighed--quiet"),
            self.axis() + Content.styled(columns, ".weighed--quiet"),
        ]

    def row(self, one: Alternative, *, drawn: bool, here: bool, late: bool) -> Content:
        now = one.probabilities[self.stage]
        if not self.stage:
            after = ""
        elif now == 0 and one.removed_by is not None:
            after = f" {_REMOVED.get(one.removed_by, one.removed_by):>{_WORD_CELLS}}"
        else:
            after = f" {percent(now):>{_WORD_CELLS}}"
        return self.left(one, drawn, here, late) + Content.assemble(
            (f" {percent(one.probabilities[0])}", ".weighed--quiet"), (after, _style(now == 0, drawn, late))
        )

    def stage_at(self, x: int, line: int) -> str | None:
        begin = 0
        for name, text in self._names:
            if line == 0 and begin <= x < begin + len(text):
                return name
            begin += len(text) + len(_GAP)
        return None


class AllStages(_Rows):
    """A column for each stage: how many tokens it leaves, the entropy, and what it makes of each candidate."""

    lines = 4

    def __init__(self, distribution: Distribution, stage: int, width: int, names: dict[str, str]) -> None:
        self._names = names
        self._cells = _column_cells(distribution, names)
        super().__init__(distribution, stage, width, sum(self._cells))

    def head(self) -> list[Content]:
        stages = self.distribution.stages
        blank = Content(" " * self.edge)
        return [
            blank + self._columns([self._names.get(stage.name, stage.name) for stage in stages], ".weighed--stage"),
            self._title("tokens left") + self._columns([f"{stage.left:,}" for stage in stages]),
            self._title("entropy, bits") + self._columns([f"{stage.entropy:.2f}" for stage in stages]),
            self.axis(),
        ]

    def row(self, one: Alternative, *, drawn: bool, here: bool, late: bool) -> Content:
        names = [stage.name for stage in self.distribution.stages]
        end = next((index for index, name in enumerate(names) if name == one.removed_by), len(names))
        figures = [percent(chance) for chance in one.probabilities[:end]]
        figures += ["cut"] * (end < len(names)) + [""] * (len(names) - end - 1)
        return self.left(one, drawn, here, late) + self._columns(
            figures, _style(one.probabilities[self.stage] == 0, drawn, late)
        )

    def stage_at(self, x: int, line: int) -> str | None:
        begin = self.edge
        for stage, cells in zip(self.distribution.stages, self._cells, strict=True):
            if begin <= x < begin + cells:
                return stage.name
            begin += cells
        return None

    def _title(self, text: str) -> Content:
        return Content.styled((" " * (_MARK_CELLS + _RANK_CELLS) + text).ljust(self.edge), ".weighed--quiet")

    def _columns(self, figures: list[str], style: str = "") -> Content:
        """Return a figure a stage, the one of the stage chosen in ``style``."""
        padded = (figure.rjust(cells) for figure, cells in zip(figures, self._cells, strict=True))
        parts: list[tuple[str, str]] = []
        for index, text in enumerate(padded):
            figure = text.lstrip()
            parts += [
                (" " * (len(text) - len(figure)), ""),
                (figure, style if index == self.stage else ".weighed--quiet"),
            ]
        return Content.assemble(*parts)


def _style(removed: bool, drawn: bool, late: bool) -> str:
    if removed or late:
        return ".weighed--gone"
    return ".weighed--drawn" if drawn else ""


def _token(text: str, style: str) -> Content:
    """Return the text of a token; the mark it begins with recedes."""
    if text.startswith(MARKS):
        return Content.assemble((text[0], ".weighed--lost"), (text[1:], style))
    return Content.styled(text, style)


def _edge(token_cells: int, bar: int) -> int:
    return _MARK_CELLS + _RANK_CELLS + token_cells + 1 + bar


def _column_cells(distribution: Distribution, names: dict[str, str]) -> list[int]:
    return [
        max(len(names.get(stage.name, stage.name)), len(f"{stage.left:,}"), PERCENT_CELLS) + 2
        for stage in distribution.stages
    ]


def _rank(rank: int) -> str:
    """Return a rank from 1 in four cells."""
    return str(rank + 1) if rank < 9_999 else f"{(rank + 1) // 1000}k"

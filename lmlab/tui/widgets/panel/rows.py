"""All rows of the panel, top to bottom."""

from __future__ import annotations

from lmlab.sampling import PARAMETERS
from lmlab.tui.widgets.panel.choosing_rows import BestOfRow, SelectRow
from lmlab.tui.widgets.panel.parameter_rows import ParameterRow, StopRow
from lmlab.tui.widgets.panel.preset_row import PresetRow
from lmlab.tui.widgets.panel.row_kind import RowKind

SAMPLING_ROWS: tuple[RowKind, ...] = (*(ParameterRow(parameter.name) for parameter in PARAMETERS), StopRow())
"""Those whose names are sampling parameters'."""

ROWS: tuple[RowKind, ...] = (PresetRow(), *SAMPLING_ROWS, BestOfRow(), SelectRow())
BY_ROW_NAME: dict[str, RowKind] = {row.name: row for row in ROWS}
NAMES: tuple[str, ...] = tuple(BY_ROW_NAME)

"""Several texts side by side that stream at the same time; tabs where they do not all fit."""

from lmlab.tui.widgets.columns.column import Column
from lmlab.tui.widgets.columns.columns import Columns

__all__ = ["Column", "Columns"]

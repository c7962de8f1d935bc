"""The panel on the right: every sampling parameter, live."""

from lmlab.tui.widgets.panel.panel import SamplingPanel
from lmlab.tui.widgets.panel.rows import SamplingView

__all__ = ["SamplingPanel", "SamplingView"]

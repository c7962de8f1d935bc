"""The panel on the right: every sampling parameter, live, and how many replies are drawn."""

from lmlab.tui.widgets.panel.panel import SamplingPanel
from lmlab.tui.widgets.panel.view import SamplingView

__all__ = ["SamplingPanel", "SamplingView"]

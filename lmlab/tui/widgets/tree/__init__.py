"""The tree of a conversation: its rows, and the message under the cursor."""

from lmlab.tui.widgets.tree.detail import TurnDetail
from lmlab.tui.widgets.tree.rows import TreeRows

__all__ = ["TreeRows", "TurnDetail"]

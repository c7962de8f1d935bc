"""The sessions of the store as a list, with what one of them says beside it."""

from lmlab.tui.widgets.sessions.ask_line import AskLine
from lmlab.tui.widgets.sessions.book import SessionBook, SessionRow
from lmlab.tui.widgets.sessions.preview import SessionPreview
from lmlab.tui.widgets.sessions.rows import SessionRows

__all__ = ["AskLine", "SessionBook", "SessionPreview", "SessionRow", "SessionRows"]

"""The parts of the prompt view: what is chosen on the left, the text that follows from it on the right."""

from lmlab.tui.widgets.prompt_view.choice import Choice
from lmlab.tui.widgets.prompt_view.prompt_text import PromptText, marked, plain
from lmlab.tui.widgets.prompt_view.put_rows import PutRows
from lmlab.tui.widgets.prompt_view.template_list import TemplateList

__all__ = ["Choice", "PromptText", "PutRows", "TemplateList", "marked", "plain"]

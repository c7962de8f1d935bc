"""Prompt template files: finding, checking and rendering them by a technique, and reading the answers."""

from lmlab.prompting.approach import Approach
from lmlab.prompting.checks import Check, check_answer
from lmlab.prompting.library import find_template, known_templates, load, packaged_templates, transcript
from lmlab.prompting.lint import check_file
from lmlab.prompting.loading import Problem, load_template, read_text
from lmlab.prompting.renderer import Rendered, Renderer
from lmlab.prompting.template import Answer, Example, Input, PromptTemplate, Style, Technique

__all__ = [
    "Answer",
    "Approach",
    "Check",
    "Example",
    "Input",
    "Problem",
    "PromptTemplate",
    "Rendered",
    "Renderer",
    "Style",
    "Technique",
    "check_answer",
    "check_file",
    "find_template",
    "known_templates",
    "load",
    "load_template",
    "packaged_templates",
    "read_text",
    "transcript",
]

"""Prompt template files: finding, checking and rendering them."""

from lmlab.prompting.library import find_template, packaged_templates, transcript
from lmlab.prompting.template import Answer, Example, Input, PromptTemplate, load_template

__all__ = [
    "Answer",
    "Example",
    "Input",
    "PromptTemplate",
    "find_template",
    "load_template",
    "packaged_templates",
    "transcript",
]

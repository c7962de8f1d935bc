"""A text to measure models over when nobody gives one: the worked examples of the prompt templates that come with lmlab.

Prose, dialogue, code and tables, some 7,500 words, all written for this project.
"""

from __future__ import annotations


def sample_text() -> str:
    # Imported here: a template takes YAML and Jinja2 to read, and few commands come this way.
    from lmlab.prompting.library import packaged_templates
    from lmlab.prompting.loading import load_template

    examples = (example for path in packaged_templates() for example in load_template(path).examples)
    pieces = (
        "\n".join(
            part for part in (*example.inputs.values(), example.reasoning, example.answer) if isinstance(part, str)
        )
        for example in examples
    )
    return "\n\n".join(pieces) + "\n"

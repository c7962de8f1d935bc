from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.prompting.parts import Part, split


@pytest.mark.parametrize(
    ("body", "instruction", "asked", "line"),
    [
        ("Do it.\n\nText: {{ t }}\n", "Do it.", "Text: {{ t }}\n", 3),
        ("One.\n\nTwo.\n \t\n\nText: {{ t }}", "One.\n\nTwo.", "Text: {{ t }}", 6),
        ("Labels: {{ other }}.\n\n{{ t }}", "Labels: {{ other }}.", "{{ t }}", 3),
        ("Put {{ t }} so.\n\nMore.", None, "Put {{ t }} so.\n\nMore.", 1),
        ("\n\n{{ t }}", None, "\n\n{{ t }}", 1),
        ("No input.\n\nNone at all.", None, "No input.\n\nNone at all.", 1),
        # Blocks, comments and expressions are never cut.
        ("A.\n\n{% if t %}\nB.\n\nC {{ t }}\n{% endif %}", "A.", "{% if t %}\nB.\n\nC {{ t }}\n{% endif %}", 3),
        ("{% if o %}\nA.\n\nB.\n{% endif %}\n\n{{ t }}", "{% if o %}\nA.\n\nB.\n{% endif %}", "{{ t }}", 7),
        ("A.{# one\n\ntwo #}\n\n{{ t }}", "A.{# one\n\ntwo #}", "{{ t }}", 5),
        ("{% raw %}\nA {{ t }}\n\nB{% endraw %}\n\n{{ t }}", "{% raw %}\nA {{ t }}\n\nB{% endraw %}", "{{ t }}", 6),
        ("{{ o or\n\n'x' }}\n\n{{ t }}", "{{ o or\n\n'x' }}", "{{ t }}", 5),
        ("{% for x in t %}\na\n\nb\n{% endfor %}", None, "{% for x in t %}\na\n\nb\n{% endfor %}", 1),
        # What an early paragraph makes may be used in a late one.
        ("{% set s = 'x' %}A.\n\n{{ s }} {{ t }}", None, "{% set s = 'x' %}A.\n\n{{ s }} {{ t }}", 1),
        ("{% set s = 'x' %}A {{ s }}.\n\n{{ t }}", "{% set s = 'x' %}A {{ s }}.", "{{ t }}", 3),
        # An instruction stands before the input only.
        ("A.\n\n{{ t }}\n\nB.\n\n{{ t }}", "A.", "{{ t }}\n\nB.\n\n{{ t }}", 3),
    ],
)
def test_the_instruction_is_what_uses_no_input_of_examples(
    body: str, instruction: str | None, asked: str | None, line: int
) -> None:
    found, rest = split(body, {"t"})
    assert (found and found.source) == instruction
    assert rest.source == (body if asked is None else asked)
    assert rest.line == line


def test_without_examples_all_is_the_input() -> None:
    assert split("Do it.\n\nText: {{ t }}", set())[0] is None


@pytest.mark.parametrize(
    ("source", "known", "beginning"),
    [
        ("\n\nText: {{ t }}", {}, "Text:"),
        ("Text:\n{{ t }}", {}, "Text:"),
        ("{{ t }} and", {}, ""),
        ("{{ t }} and", {"t": "this"}, "this and"),
        ("Into {{ to }}: {{ t }}", {"to": "French"}, "Into French:"),
        ("A {% if t %}b{% endif %}", {}, "A"),
        ("A {% if k %}b{% endif %} {{ t }}", {"k": 1}, "A b"),
        ("A   {{- t }}", {}, "A"),
        ("{% set x = 'a' %}{{ x }}b{{ t }}", {}, "ab"),
        ("{% set x = t %}a{{ x }}b", {}, ""),
        ("whole ", {}, "whole"),
    ],
)
def test_what_every_rendering_begins_with(source: str, known: dict[str, object], beginning: str) -> None:
    assert Part.of(source).beginning(known) == beginning


@settings(deadline=None)
@given(t=st.text(st.characters(exclude_categories=["Cs"])), k=st.sampled_from(["", "x", "\n", "a\n\nb"]))
@pytest.mark.parametrize(
    "source", ["Text:\n{{ t }}\n", "{{ k }}: {{ t }}", "\n{{ k }}\n{{ t }}", "{% if k %}A {{ k }}{% endif %}\n{{ t }}"]
)
def test_a_beginning_is_one_of_every_rendering(source: str, t: str, k: str) -> None:
    part = Part.of(source)
    for known in ({}, {"k": k}):
        assert part.render({"t": t, "k": k}).startswith(part.beginning(known))

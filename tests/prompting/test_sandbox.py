from __future__ import annotations

import jinja2
import pytest

from lmlab.prompting import sandbox
from lmlab.prompting.sandbox import MAX_CHARACTERS, Compiled, RenderingError


def failure(source: str, **values: object) -> RenderingError:
    with pytest.raises(RenderingError) as caught:
        Compiled(source).render(values)
    return caught.value


def test_what_a_row_holds_is_data() -> None:
    assert Compiled("a {{ x }}\n").render({"x": "{{ 1 }} {% for %}"}) == "a {{ 1 }} {% for %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ x[name] }}",
        "{% set xs = [1] %}{{ xs.append(2) }}",
        "{{ x.upper.__self__ }}",
        "{{ 'x'.ljust(99999) }}",
        "{{ x.format(1) }}",
        "{{ 'x' | tojson(indent=2) }}",
        "{% for i in [1] %}{{ loop }}{% endfor %}",
        "{{ namespace(a=1) }}",
        "{{ 5000000000 * 5000000000 }}",
        "{{ 'x' | indent(10000000) }}",
        "{{ '%99999d' % 1 }}",
        "{{ '{:99999}'.format(1) }}",
        "{{ 'x' * 10000000 }}",
        "{{ 10000000 * [1] }}",
        "{{ 9 ** 99999 }}",
        "{{ ('x' * 4000000) + 'x' }}",
        "{% for i in range(1000000) %}{% endfor %}",
    ],
)
def test_what_no_value_can_mend_is_forbidden(source: str) -> None:
    assert failure(f"\n{source}", x="x", name="__class__").forbidden


def test_a_failure_has_its_line() -> None:
    for source in ("{{ 1 // 0 }}", "{{ x.nothing }}", "{{ x + 1 }}", "{{ x.items() }}", "{{ [][3] + 1 }}"):
        error = failure(f"one\n\n{source}\n", x="x")
        assert (error.line, error.forbidden) == (3, False)


@pytest.mark.parametrize(
    "loop",
    [
        "{% for i in range(99999) %}\n{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}\n{% for j in range(99999) if j < 0 %}{{ j }}{% endfor %}{% endfor %}",
    ],
)
def test_what_takes_too_long_is_stopped_at_a_line(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TIME_LIMIT_S", 0.05)
    error = failure(f"\n{loop}")
    assert "took over 0.05 s and was stopped" in str(error)
    assert error.line in (2, 3)
    assert error.forbidden


def test_what_becomes_too_large_is_stopped() -> None:
    error = failure("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}")
    assert str(error) == "the text became longer than 1,000,000 characters"
    assert len(Compiled("{{ x }}").render({"x": "x" * MAX_CHARACTERS})) == MAX_CHARACTERS


def test_ordinary_templates_are_let_be() -> None:
    source = (
        "{% for x in xs %}{{ loop.index }}/{{ loop.length }} {{ x | upper | trim }}{% if not loop.last %}, {% endif %}"
        "{% endfor %} {{ 1.256 | round(2) }} {{ 'a-' * 3 }}{{ 2 ** 10 + 1 }} {{ [1] + [2] }} {{ 7 // 2 ~ '!' ~ 7 % 4 }}"
    )
    assert Compiled(source).render({"xs": ["a", "b "]}) == "1/2 A, 2/2 B 1.26 a-a-a-1025 [1, 2] 3!3"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ rows | map(attribute='a') | join(', ') }}", "1, 2"),
        ("{{ rows | join(', ', attribute='a') }} {{ rows | sum(attribute='a') }}", "1, 2 3"),
        ("{{ rows | selectattr('a', 'eq', 2) | first | tojson }}", '{"a": 2, "b": "<é>"}'),
        ("{% for key, value in rows[1].items() %}{{ key }}={{ value }};{% endfor %}", "a=2;b=<é>;"),
        ("{{ rows[1].keys() }} {{ rows[1] | dictsort | last }}", "['a', 'b'] ('b', '<é>')"),
        (
            "{{ ', '.join(['x', 'y']) }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'a|b'.split('|') }}",
            "x, y a-bX ['a', 'b']",
        ),
        ("{{ 'aXbX' | replace('X', '--') }} {{ 'a b' | title }} {{ 'a b c' | wordcount }}", "a--b-- A B 3"),
        ("{{ 'a\nb' | indent(2) }} {{ 'a\nb' | indent('> ', true) }}", "a\n  b > a\n> b"),
        (
            "{{ '<' | e }}{{ '<' | escape | length }} {{ 'abcdefghij' | truncate(4) }} {{ none | default('d', true) }}",
            "&lt;4 a... d",
        ),
        ("{% set n = namespace(c=0) %}{% for r in rows %}{% set n.c = n.c + r.a %}{% endfor %}{{ n.c }}", "3"),
        (
            "{% set x %}a{{ 1 }}{% endset %}{{ x }}{% filter upper %}b{% endfilter %}{% with y = 2 %}{{ y }}{% endwith %}",
            "a1B2",
        ),
        (
            "{{ 'ab' | list | reverse | list }} {{ [3, 1] | sort }} {{ [1, 1] | unique | list }}",
            "['b', 'a'] [1, 3] [1]",
        ),
    ],
)
def test_what_prompts_are_written_with(source: str, text: str) -> None:
    assert Compiled(source).render({"rows": [{"a": 1}, {"a": 2, "b": "<é>"}]}) == text


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% include 'x' %}", "{% include %} is not for prompt templates: there are if, for, set, with and filter"),
        ("{% import 'x' as y %}", "{% import %} is not for"),
        ("{% from 'x' import y %}", "{% from %} is not for"),
        ("{% extends 'x' %}", "{% extends %} is not for"),
        ("{% block x %}{% endblock %}", "{% block %} is not for"),
        ("{% macro x() %}{% endmacro %}", "{% macro %} is not for"),
        ("{% autoescape true %}{% endautoescape %}", "{% autoescape %} is not for"),
        ("{% for x in [] recursive %}{% endfor %}", "a loop may not be recursive"),
        ("{{ x | attr('y') }}", "there is no filter 'attr' in prompt templates: there are abs, "),
        ("{% filter center %}{% endfilter %}", "there is no filter 'center'"),
    ],
)
def test_what_is_not_for_prompts_is_refused_with_its_line(source: str, problem: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError) as caught:
        Compiled(f"one\n\n{source}\n")
    assert (caught.value.lineno, str(caught.value.message)[: len(problem)]) == (3, problem)


def test_nothing_is_worked_out_while_compiling() -> None:
    for source in ("{{ 'x' * 99999999 }}", "{% if 'x' * 99999999 %}a{% endif %}", "{{ ([1] * 99999999) | list }}"):
        Compiled(source)


def test_compiling_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TIME_LIMIT_S", -1)
    with pytest.raises(jinja2.TemplateSyntaxError, match="compiling it took over -1 s: make it shorter"):
        Compiled("{{ x }}")


def test_what_python_cannot_compile_is_a_syntax_error() -> None:
    loops = 25
    with pytest.raises(jinja2.TemplateSyntaxError, match="it cannot be compiled"):
        Compiled("{% for x in y %}" * loops + "{% endfor %}" * loops)

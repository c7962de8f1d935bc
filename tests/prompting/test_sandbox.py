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
        "{{ x | attr('__class__') }}",
        "{{ x[name] }}",
        "{% set xs = [1] %}{{ xs.append(2) }}",
        "{{ x.upper.__self__ }}",
        "{{ 'x'.ljust(99999) }}",
        "{{ 'x' | center(10000000) }}",
        "{{ 'x' | indent(10000000) }}",
        "{{ '%99999d' | format(1) }}",
        "{{ '%99999d' % 1 }}",
        "{{ '{:99999}'.format(1) }}",
        "{{ 'x' * 10000000 }}",
        "{{ 10000000 * [1] }}",
        "{{ 9 ** 99999 }}",
        "{{ ('x' * 600000) + ('x' * 600000) }}",
        "{% for i in range(1000000) %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
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
        "{% macro twice(n) %}\n{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}{{ twice(99) }}",
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
        "{% endfor %} {{ '%.2f' | format(1.5) }} {{ 'a-' * 3 }}{{ 2 ** 10 + 1 }} {{ [1] + [2] }} {{ 'x' | center(3) }}|"
    )
    assert Compiled(source).render({"xs": ["a", "b "]}) == "1/2 A, 2/2 B 1.50 a-a-a-1025 [1, 2]  x |"


def test_what_python_cannot_compile_is_a_syntax_error() -> None:
    loops = 25
    with pytest.raises(jinja2.TemplateSyntaxError, match="it cannot be compiled"):
        Compiled("{% for x in y %}" * loops + "{% endfor %}" * loops)

from __future__ import annotations

import sys
import threading
from datetime import datetime

import pytest

from lmlab.errors import TemplateError
from lmlab.worker.template import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]


def render(source: str, messages: list[dict[str, str]] = HELLO, **special: str) -> str:
    return ChatTemplate(source, special).render(messages)


def failure(source: str, messages: list[dict[str, str]] = HELLO, time_limit_s: float = 5.0) -> str:
    with pytest.raises(TemplateError) as caught:
        ChatTemplate(source, {}, time_limit_s).render(messages)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_messages_special_tokens_and_the_generation_prompt() -> None:
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    template = ChatTemplate(source, {"bos_token": "<s>"})
    assert template.render(HELLO) == "<s>[user]Hello>"
    assert template.render(HELLO, generation_prompt=False) == "<s>[user]Hello"


def test_blocks_are_trimmed_as_transformers_does() -> None:
    assert render("  {% for m in messages %}\n{{ m.content }}\n  {% endfor %}\nend") == "Hello\nend"


def test_loop_controls() -> None:
    source = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    assert render(source) == "023"


def test_the_generation_block_is_its_content() -> None:
    assert render("a{% generation %}{{ messages[0].content }}{% endgeneration %}b") == "aHellob"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", '{"b": "<é>", "a": 1}'),
        ("ensure_ascii=true", '{"b": "<\\u00e9>", "a": 1}'),
        ("separators=(',', ':')", '{"b":"<é>","a":1}'),
        ("sort_keys=true", '{"a": 1, "b": "<é>"}'),
        ("indent=1", '{\n "b": "<é>",\n "a": 1\n}'),
    ],
)
def test_tojson_is_that_of_transformers(arguments: str, expected: str) -> None:
    assert render("{{ {'b': '<é>', 'a': 1} | tojson(" + arguments + ") }}") == expected


def test_an_unknown_option_of_tojson_is_an_error_and_not_ignored() -> None:
    assert "default" in failure("{{ [] | tojson(default=1) }}")


def test_strftime_now_is_the_moment_it_is_given() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", {})
    assert template.render(HELLO, now=datetime(2024, 2, 29)) == "2024-02-29"
    before = datetime.now().strftime("%Y-%m-%d")
    assert template.render(HELLO) in {before, datetime.now().strftime("%Y-%m-%d")}


def test_a_refusal_carries_the_templates_words_and_its_line() -> None:
    message = failure(
        "line one\n\n{% if messages|length == 1 %}\n{{ raise_exception('Roles must\nalternate') }}{% endif %}"
    )
    assert message == "the model's chat template refuses these messages at line 4: Roles must alternate"


def test_a_syntax_error_carries_its_line() -> None:
    with pytest.raises(TemplateError, match=r"not valid at line 2: .*endfor") as caught:
        ChatTemplate("{% for m in messages %}\n{{ m.content }}", {})
    assert "--raw" in str(caught.value)


def test_an_unknown_filter_is_a_syntax_error() -> None:
    with pytest.raises(TemplateError, match=r"line 1: .*'no_such_filter'"):
        ChatTemplate("{{ messages | no_such_filter }}", {})


def test_loops_deeper_than_python_allows_are_an_error_of_the_template() -> None:
    source = "{% for a in messages %}" * 30 + "x" + "{% endfor %}" * 30
    with pytest.raises(TemplateError, match="cannot be compiled"):
        ChatTemplate(source, {})


def test_nesting_deeper_than_the_stack_is_an_error_of_the_template() -> None:
    with pytest.raises(TemplateError, match="cannot be compiled"):
        ChatTemplate("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", {})


def test_an_attribute_of_what_is_not_there_carries_its_line() -> None:
    message = failure("ok\n{{ messages[0].tool.name }}")
    assert "at line 2" in message
    assert "UndefinedError" in message


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(90000) %}\n{% for b in range(90000) %}\n{% endfor %}{% endfor %}",
        # Nothing is called in these loops; Python only iterates.
        "{% set many = [0] * 100000 %}\n{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}",
        "\n{% macro twice(n) %}{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}{{ twice(60) }}",
        "\n{{ ([[0] * 100000] * 100000) | map('sum') | list }}",
    ],
    ids=["ranges", "lists", "macro", "filters"],
)
def test_what_does_not_end_is_stopped_and_its_line_named(source: str) -> None:
    threads = threading.active_count()
    message = failure(source, time_limit_s=0.3)
    assert "took over 0.3 s at line 2 and was stopped" in message
    assert threading.active_count() == threads
    assert sys.gettrace() is None or "lmlab" not in repr(sys.gettrace())


def test_a_template_that_was_stopped_once_can_render_again() -> None:
    source = "{% if messages|length > 1 %}{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}{% endif %}ok"
    template = ChatTemplate(source, {}, 0.3)
    with pytest.raises(TemplateError, match="was stopped"):
        template.render(HELLO * 2)
    assert template.render(HELLO) == "ok"


@pytest.mark.parametrize(
    "expression",
    ["'x' * 10**12", "10**12 * 'x'", "[0] * 10**12", "(1, 2) * 10**9", "10 ** 1000", "99999 ** 3", "2 ** 65"],
)
def test_what_would_take_all_memory_is_refused(expression: str) -> None:
    assert "OverflowError" in failure("{{ " + expression + " }}")


def test_ordinary_arithmetic_works() -> None:
    assert render("{{ '-' * 3 }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ -2 * 3 }}{{ 'x' * -1 }}") == "---102412-6"


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "messages.__class__",
        "raise_exception.__globals__",
        "strftime_now.__globals__['sys']",
        "strftime_now.__closure__[0].cell_contents.__name__",
        "cycler.__init__.__globals__",
        "self._TemplateReference__context",
        "messages[0].__getattribute__('keys')",
        "'{0.__class__.__mro__}'.format(1)",
        "'{x.__class__}'.format_map({'x': 1})",
        "('{0.__cla' ~ 'ss__}').format(messages)",
        "(messages | first)['__class__'].mro()",
        "messages | map(attribute='__class__') | map(attribute='__mro__') | list | first | first",
        "(messages | attr('__class__')).mro()",
        "namespace.__init__.__globals__",
        "lipsum.__globals__.os.getcwd()",
    ],
)
def test_the_sandbox_lets_nothing_out(expression: str) -> None:
    # What is unsafe is undefined: it reads as nothing, and doing anything with it fails.
    try:
        outcome = render("{{ " + expression + " }}")
    except TemplateError as error:
        outcome = str(error)
    assert outcome == "" or "SecurityError" in outcome or "UndefinedError" in outcome


@pytest.mark.parametrize(
    "statement",
    [
        "messages.append(1)",
        "messages.pop()",
        "messages.clear()",
        "messages[0].update({'role': 'system'})",
        "messages[0].pop('role')",
        "messages.sort()",
    ],
)
def test_messages_cannot_be_changed(statement: str) -> None:
    messages = [dict(HELLO[0])]
    assert "SecurityError" in failure("{% set _ = " + statement + " %}", messages)
    assert messages == HELLO


@pytest.mark.parametrize(
    "statement", ["{% include 'x' %}", "{% extends '/etc/hosts' %}", "{% import 'os' as os %}{{ os }}"]
)
def test_nothing_is_loaded_from_files(statement: str) -> None:
    assert "TypeError" in failure(statement)


def test_endless_recursion_is_an_error_of_the_template() -> None:
    assert "RecursionError" in failure("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}")


@pytest.mark.parametrize(
    "expression",
    [
        "'{:>9999999999}'.format(3)",
        "'{:>{}}'.format(3, 99999999999)",
        "'%9999999999d' % 3",
        "'%*d' % (99999999999, 3)",
        "'%9999999999d'|format(3)",
        "'a'.ljust(99999999999)",
        "'a'|center(99999999999)",
    ],
)
def test_padding_that_no_time_limit_could_stop_is_refused(expression: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate("{{ " + expression + " }}", {}).render([])


def test_ordinary_formatting_works() -> None:
    source = "{{ '{:02d} {:>5}'.format(7, 'a') }} {{ '%5d' % 3 }} {{ '%s!'|format('b') }}"
    assert ChatTemplate(source, {}).render([]) == "07     a     3 b!"

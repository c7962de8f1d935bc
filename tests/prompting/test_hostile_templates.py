"""Templates that are after memory, time or files, put to a row in a process whose memory is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="memory is measured by what Windows does not have")

GROWING = "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set n.x = EXPRESSION %}{% endfor %}{{ n.x }}"
NESTING = "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = EXPRESSION %}{% endfor %}{{ n.x }}"
BODIES = {
    "folded": "{{ [1]|slice(1000000000)|list|length }}",
    "range": "{% for i in range(100000000) %}x{% endfor %}",
    "power": "{{ 9**9**9 }}",
    "times": "{{ 'a' * 10000000000 }}",
    "percent": "{{ '%1000000000d' % 3 }}",
    "include": "{% include '/etc/passwd' %}",
    "macro": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "tilde": GROWING.replace("EXPRESSION", "n.x ~ n.x"),
    "plus": GROWING.replace("EXPRESSION", "n.x + n.x"),
    "join": GROWING.replace("EXPRESSION", "[n.x, n.x]|join"),
    "join-method": GROWING.replace("EXPRESSION", "''.join([n.x, n.x])"),
    "replace": GROWING.replace("EXPRESSION", "n.x|replace('a', 'aa')"),
    "replace-method": GROWING.replace("EXPRESSION", "n.x.replace('', 'aa')"),
    "indent": GROWING.replace("EXPRESSION", "('\\n' * 1000)|indent(100000)"),
    "block": GROWING.replace("{% set n.x = EXPRESSION %}", "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}"),
    "kept": "{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
    "{% set n.x = n.x + ['b' * 100000 ~ i] %}{% endfor %}{{ n.x|length }}",
    "mapped": "{{ ([t] * 90000)|map('replace', t, 'b' * 99999)|list|length }}",
    "nested": NESTING.replace("EXPRESSION", "[n.x, n.x]"),
    "nested-tuples": NESTING.replace("EXPRESSION", "(n.x, n.x)"),
    "nested-mappings": NESTING.replace("EXPRESSION", "{'a': n.x, 'b': n.x}"),
    "nested-calls": NESTING.replace("EXPRESSION", "dict(a=n.x, b=n.x)"),
    "nested-namespaces": NESTING.replace("EXPRESSION", "namespace(a=n.x, b=n.x)"),
    "tojson": "{{ [t]|tojson(indent=10000000) }}",
    "bytes": "{{ (2).to_bytes(1000000000, 'big')|length }}",
    "product": GROWING.replace("'aaaaaaaa'", "7").replace("EXPRESSION", "n.x * n.x"),
    "rounded": "{{ 1.5|round(1000000000, 'floor') }}",
    "padded": "{{ t.ljust(1000000000) }}",
    "characters": "{{ (t * 7000)|list|length }}",
    "words": "{{ ((t[:1] ~ ' ') * 3000000).split()|length }}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "too-deep": "{{ " + "(" * 50_000 + ")" * 50_000 + " }}",
}


def test_they_end_in_an_error_with_a_line_and_take_little(tmp_path: Path) -> None:
    files = []
    for name, body in BODIES.items():
        files.append(tmp_path / f"{name}.md")
        text = f"---\nname: {name}\ndescription: x\ninputs: {{t: {{}}}}\n---\n\n\n{body}{{{{ t }}}}\n"
        files[-1].write_text(text, encoding="utf-8")
    program = Path(__file__).with_name("hostile_templates.py")
    run = subprocess.run([sys.executable, program, *files], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    found = json.loads(run.stdout)
    lines = dict.fromkeys(BODIES, 8) | {"too-deep": 6}
    wrong = {
        name: outcome
        for name, outcome in found["outcomes"].items()
        if not outcome.startswith(f"{name}.md, line {lines[name]}: ")
    }
    assert wrong == {}
    assert found["megabytes"] < 200

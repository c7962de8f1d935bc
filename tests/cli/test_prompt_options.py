from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmlab.cli.complete import complete_template
from lmlab.cli.prompt_options import PromptOptions
from lmlab.errors import PromptError, UsageError
from lmlab.prompting import Approach, packaged_templates
from lmlab.settings import Paths

OWN = """\
---
name: greet
description: Greet somebody.
inputs: {who: {}, how: {required: false, default: Hello}}
examples:
  - {who: Ann, answer: "Hi, Ann!"}
  - {who: Bob, answer: "Hi, Bob!"}
---
{{ how }}, {{ who }}!
"""


@pytest.fixture(autouse=True)
def own() -> Path:
    """A template of the user's own."""
    folder = Paths.find().prompts
    folder.mkdir(parents=True)
    (folder / "greet.md").write_text(OWN, encoding="utf-8")
    return folder


def options(**values: Any) -> PromptOptions:
    return PromptOptions(**values)


def test_without_a_template_there_is_nothing_to_render() -> None:
    assert options().renderer(Paths.find()) is None
    assert options().approach() == Approach()


@pytest.mark.parametrize(
    ("name", "value"),
    [("var", ["a=b"]), ("technique", "cot"), ("shots", "2"), ("pick", "nearest"), ("style", "inline")],
)
def test_the_others_need_a_template(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^--{name} is about a prompt template: name one with -t"):
        options(**{name: value}).renderer(Paths.find())


def test_all_of_them_reach_the_renderer(own: Path) -> None:
    for template in ("greet", str(own / "greet.md")):
        asked = options(
            template=template, var=["how=A=B"], technique="few-shot", shots="1", pick="random:7", style="inline"
        )
        renderer = asked.renderer(Paths.find())
        assert renderer is not None
        assert (renderer.template.name, renderer.technique, renderer.shots) == ("greet", "few-shot", 1)
        assert (renderer.fixed, renderer.missing) == ({"how": "A=B"}, ("who",))
        assert asked.approach() == Approach("few-shot", 1, "random", 7, "inline")
        assert renderer.render({"who": "Eve"}).messages[0].content.endswith("A=B, Eve!\nAnswer:")


def test_a_value_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b.txt").write_text("\ufeffline\n\n", encoding="utf-8", newline="\n")
    monkeypatch.chdir(tmp_path)
    assert options(var=["a=@a b.txt", "b=@@x", "c="]).variables() == {"a": "line\n", "b": "@x", "c": ""}
    (tmp_path / "dos.txt").write_bytes(b"a\r\nb\r\n")
    assert options(var=["a=@dos.txt", "b=x\r\ny\rz"]).variables() == {"a": "a\nb", "b": "x\ny\nz"}
    with pytest.raises(UsageError, match=r"^--var a=@none\.txt: cannot read it: "):
        options(var=["a=@none.txt"]).variables()
    (tmp_path / "latin").write_bytes(b"\xfc")
    with pytest.raises(UsageError, match=r"^--var a=@latin: the file is no UTF-8 text$"):
        options(var=["a=@latin"]).variables()


def test_the_variable_holds_one_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMLAB_VAR", "who=Ann and Bob\n\nhow=Hey\n")
    assert options().variables() == {"who": "Ann and Bob", "how": "Hey"}
    assert options(var=["who=Eve"]).variables() == {"who": "Eve"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"var": ["who"]}, "--var who: write NAME=TEXT"),
        ({"var": ["who=a", "who=b"]}, "--var who is given twice"),
        ({"var": ["whom=a"]}, "--var whom: greet has no such input; its inputs are who, how"),
        ({"technique": "few"}, "--technique few: give zero-shot, few-shot, cot or few-shot-cot"),
        ({"style": "chat"}, "--style chat: give turns or inline"),
        ({"shots": "two"}, "--shots two: give a whole number"),
        ({"shots": "-1"}, "--shots -1: give a whole number"),
        ({"pick": "best"}, "--pick best: give order, random or nearest"),
        ({"pick": "order:1"}, "--pick order:1: only random takes a seed"),
        ({"pick": "random:"}, "--pick random:: give a whole number"),
        ({"pick": "random:x"}, "--pick random:x: give a whole number"),
        ({"template": "gret"}, "no prompt template is called 'gret': did you mean greet"),
    ],
)
def test_what_is_wrong_is_told(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(**{"template": "greet", **values}).renderer(Paths.find())
    assert str(caught.value).startswith(problem)


def test_a_broken_template_is_told_with_its_line(own: Path) -> None:
    (own / "greet.md").write_text(OWN.replace("{{ how }}", "{{ now }}"), encoding="utf-8")
    with pytest.raises(PromptError, match=r"^greet\.md, line 9: the body uses 'now'"):
        options(template="greet").renderer(Paths.find())


def test_names_are_completed() -> None:
    assert complete_template("gree") == [("greet", "your own")]
    assert [name for name, _ in complete_template("")] == sorted(
        [path.stem for path in packaged_templates()] + ["greet"]
    )

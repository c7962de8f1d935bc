from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_models import fake_header
from harness import Fake, Lmlab, Outcome, Terminal

from lmlab.cli import prompts as prompts_command
from lmlab.lab import prompt_view
from lmlab.models import ModelFile
from lmlab.prompting import packaged_templates
from lmlab.settings import Paths

OWN = """\
---
name: greet
description: Greet somebody.
inputs: {who: {}, how: {required: false, default: Hello}}
examples:
  - {who: Ann, answer: "Hi, Ann!"}
  - {who: Bob, answer: "Hi, Bob!", reasoning: Bob is a friend.}
---
Say {{ how }} to somebody.

Who: {{ who }}
"""
BAD = "---\nname: bad\ndescription: x\ncolour: red\n---\n{{ a }}\n"


@pytest.fixture
def own() -> Path:
    """The user's own templates: ``greet``."""
    folder = Paths.find().prompts
    folder.mkdir(parents=True)
    (folder / "greet.md").write_text(OWN, encoding="utf-8")
    return folder


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal 60 columns wide."""
    monkeypatch.setenv("COLUMNS", "60")

    def call(*arguments: str) -> Outcome:
        with Terminal() as out:
            monkeypatch.setattr(sys, "stdout", out)
            outcome = lmlab(*arguments)
            return Outcome(outcome.code, out.shown, outcome.err)

    return call


# list


def test_a_pipe_gets_a_header_and_a_line_each(lmlab: Lmlab, own: Path) -> None:
    outcome = lmlab("prompts", "list")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0] == "name\tdescription\tinputs\texamples\ttechnique\tsource"
    assert "greet\tGreet somebody.\twho, how?\t2\tzero-shot\tuser" in lines
    names = [line.partition("\t")[0] for line in lines[1:]]
    assert names == sorted([path.stem for path in packaged_templates()] + ["greet"])


def test_json_has_everything(lmlab: Lmlab, own: Path) -> None:
    rows = {row["name"]: row for row in json.loads(lmlab("prompts", "list", "--json").out)}
    assert rows["greet"] == {
        "name": "greet",
        "description": "Greet somebody.",
        "inputs": [
            {"name": "who", "description": "", "required": True, "default": ""},
            {"name": "how", "description": "", "required": False, "default": "Hello"},
        ],
        "examples": 2,
        "reasoned": 1,
        "technique": "zero-shot",
        "shots": None,
        "style": "turns",
        "source": "user",
        "path": str(own / "greet.md"),
    }
    assert rows["classify"]["source"] == "lmlab"


def test_a_terminal_gets_a_table_in_which_ones_own_are_marked(on_terminal: Lmlab, own: Path) -> None:
    outcome = on_terminal("prompts", "list")
    lines = outcome.out.splitlines()
    row = lines.index("greet *           Greet somebody.")
    assert lines[row + 1] == " " * 18 + "who, how? · 2 examples · zero-shot"
    assert max(map(len, lines)) <= 60
    assert outcome.err == f"lmlab: * is your own, in {own}\n"


def test_nothing_is_said_of_ones_own_when_there_are_none(on_terminal: Lmlab) -> None:
    outcome = on_terminal("prompts", "list")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_broken_one_hides_no_other(lmlab: Lmlab, own: Path) -> None:
    (own / "bad.md").write_text(BAD, encoding="utf-8")
    outcome = lmlab("prompts", "list")
    assert outcome.code == 0
    assert "greet\t" in outcome.out
    assert outcome.err.startswith("lmlab: bad.md, line 4: unknown key 'colour'")


def test_one_that_would_take_for_ever_hides_no_other(lmlab: Lmlab, own: Path) -> None:
    (own / "big.md").write_text(
        OWN.replace("{{ who }}", "{{ [1]|slice(1000000000)|list|length }}{{ who }}"), encoding="utf-8"
    )
    (own / "bigger.md").write_text(OWN.replace("{{ who }}", "{{ 'x' * 99999999999 }}{{ who }}"), encoding="utf-8")
    outcome = lmlab("prompts", "list")
    assert outcome.code == 0
    assert {"greet", "classify"} <= {line.partition("\t")[0] for line in outcome.out.splitlines()}
    assert outcome.err.startswith("lmlab: big.md, line 11: there is no filter 'slice'")
    assert outcome.err.count("\n") == 1


# show


def test_a_file_is_shown_as_it_is(lmlab: Lmlab, own: Path) -> None:
    for name in ("greet", str(own / "greet.md")):
        assert lmlab("prompts", "show", name) == Outcome(0, OWN, "")
    (own / "bad.md").write_text(BAD, encoding="utf-8")
    outcome = lmlab("prompts", "show", "bad")
    assert (outcome.code, outcome.out) == (0, BAD)
    assert outcome.err.startswith("lmlab: this template is broken: bad.md, line 4: unknown key 'colour'")
    (own / "empty.md").write_text("", encoding="utf-8")
    outcome = lmlab("prompts", "show", "empty")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.startswith("lmlab: this template is broken: empty.md, line 1: begin with front matter")


@pytest.mark.parametrize("command", [("prompts",), ("prompts", "list")])
def test_help_says_how_to_begin_one(lmlab: Lmlab, command: tuple[str, ...]) -> None:
    told = " ".join(lmlab(*command, "--help").out.split())
    assert "lmlab prompts show sentiment > mine.md" in told
    assert "prompts folder of LMLAB_HOME" in told


def test_a_file_is_shown_as_it_was_read(lmlab: Lmlab, own: Path) -> None:
    values = json.loads(lmlab("prompts", "show", "greet", "--json").out)
    assert values["name"] == "greet"
    assert values["body"] == "Say {{ how }} to somebody.\n\nWho: {{ who }}\n"
    assert values["examples"][1] == {"answer": "Hi, Bob!", "reasoning": "Bob is a friend.", "who": "Bob"}
    assert values["path"] == str(own / "greet.md")
    assert json.loads(lmlab("prompts", "show", "classify", "--json").out)["sampling"]["temperature"] == 0


def test_an_unknown_name_is_told_with_near_ones(lmlab: Lmlab) -> None:
    outcome = lmlab("prompts", "show", "sumarize")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("lmlab: no prompt template is called 'sumarize': did you mean summarize?")


# check


def test_sound_files_are_fine(lmlab: Lmlab, own: Path) -> None:
    assert lmlab("prompts", "check", "greet") == Outcome(0, "", "lmlab: 1 file is fine\n")
    assert lmlab("prompts", "check", str(own / "greet.md"), "classify") == Outcome(0, "", "lmlab: 2 files are fine\n")


def test_every_problem_is_told_with_file_and_line(lmlab: Lmlab, tmp_path: Path) -> None:
    bad, none = tmp_path / "bad.md", tmp_path / "none.md"
    bad.write_text(BAD, encoding="utf-8")
    outcome = lmlab("prompts", "check", str(bad), "classify", str(none))
    assert outcome.code == 1
    first, second, third = outcome.out.splitlines()
    assert first.startswith(f"{bad}, line 4: unknown key 'colour'")
    assert second == f"{bad}, line 6: the body uses 'a': add it to inputs"
    assert third == f"no such prompt template: {none}"
    assert outcome.err == "lmlab: 2 files of 3 have problems\n"
    assert lmlab("prompts", "check", str(bad)).err == "lmlab: 1 file of 1 has problems\n"


# render


def test_messages_are_shown_as_they_are(lmlab: Lmlab, own: Path) -> None:
    outcome = lmlab(
        "prompts", "render", "greet", "--var", "who=Eve", "--var", "how=Hey", "--technique", "few-shot", "--shots", "1"
    )
    assert outcome.code == 0
    assert outcome.out == (
        "=== user · shared\nSay Hey to somebody.\n\nWho: Ann\n\n"
        "=== assistant · shared\nHi, Ann!\n\n"
        "=== user · shared up to character 4\nWho: Eve\n\n"
    )
    assert outcome.err.startswith("lmlab: -m MODEL shows the final text and counts tokens")


def test_an_input_that_is_left_open_is_not_shared(lmlab: Lmlab, own: Path) -> None:
    outcome = lmlab("prompts", "render", "greet", "--var", "who=Eve", "--quiet")
    assert outcome == Outcome(0, "=== user · shared up to character 3\nSay Hello to somebody.\n\nWho: Eve\n\n", "")


def test_the_configs_system_message_is_part_of_it(lmlab: Lmlab, own: Path) -> None:
    Paths.find().config.write_text('system = "Be kind."\n', encoding="utf-8")
    outcome = lmlab("prompts", "render", "greet", "--var", "who=Eve")
    assert outcome.out.startswith("=== system · shared\nBe kind.\n\n=== user · shared up to character 3\n")


def test_json_has_both_renderings(lmlab: Lmlab, own: Path) -> None:
    outcome = lmlab("prompts", "render", "greet", "--var", "who=Eve", "--technique", "cot", "--json")
    values = json.loads(outcome.out)
    assert outcome.err == ""
    assert len(values.pop("fingerprint")) == 32
    assert values == {
        "template": "greet",
        "technique": "cot",
        "examples": [],
        "messages": [
            {
                "role": "user",
                "content": "Say Hello to somebody.\n\nWho: Eve\n\n"
                'Let\'s think step by step. Then write "Answer:" and the answer.',
            }
        ],
        "text": "Say Hello to somebody.\n\nWho: Eve\n\n"
        'Write "Answer:" and the answer at the end.\nLet\'s think step by step.',
        "lead": "Let's think step by step.",
        "stop": ["\n\nWho:"],
        "shared": {"messages": 0, "in_message": 3, "characters": 3},
        "model": None,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ((), 1, "greet needs who: give it with --var who=... or as a column"),
        (("--var", "whom=x"), 2, "--var whom: greet has no such input; its inputs are who, how"),
        (("--var", "who=x", "--technique", "few"), 2, "--technique few: give zero-shot"),
        (("--var", "who=x", "--shots", "2"), 2, "--shots is about examples"),
    ],
)
def test_what_is_wrong_is_told(lmlab: Lmlab, own: Path, arguments: tuple[str, ...], code: int, problem: str) -> None:
    outcome = lmlab("prompts", "render", "greet", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"lmlab: {problem}")


@pytest.fixture
def fake_for_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(ModelFile(ref="fake", path=tmp_path / "fake.gguf", header=fake_header(), notice=None))
    monkeypatch.setattr(prompt_view, "resolve", fake.resolve)
    monkeypatch.setattr(prompts_command, "local_backend", lambda paths: fake.open)
    return fake


def rendered_with(lmlab: Lmlab, *options: str) -> Any:
    arguments = ("prompts", "render", "greet", "--var", "who=Eve", "--technique", "few-shot", "--shots", "1", "-m", "x")
    outcome = lmlab(*arguments, *options)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


def test_with_a_model_tokens_are_counted(lmlab: Lmlab, own: Path, fake_for_prompts: Fake) -> None:
    out = rendered_with(lmlab)
    heads = [line for line in out.splitlines() if line.startswith("===")]
    assert heads[0].startswith("=== user · ")
    assert heads[-1].startswith("=== text · ")
    model = json.loads(rendered_with(lmlab, "--json"))["model"]
    assert (model["ref"], model["chat_template"]) == ("fake", True)
    assert heads[-1] == f"=== text · {model['tokens']} tokens, the first {model['shared_tokens']} shared"
    assert out.endswith(model["text"] + "\n")
    assert len(model["message_tokens"]) == 3
    assert fake_for_prompts.backend.closed


def test_a_base_model_is_shown_its_text(lmlab: Lmlab, own: Path, fake_for_prompts: Fake) -> None:
    fake_for_prompts.model = ModelFile("fake", fake_for_prompts.model.path, fake_header(chat_template=None), None)
    out = rendered_with(lmlab)
    assert out.startswith("=== text · ")
    assert "Who: Ann\nAnswer: Hi, Ann!\n\nWho: Eve\nAnswer:" in out
    assert out.endswith("\n=== the reply goes on from 'Answer:' · stop texts: '\\n\\nWho:'\n")

"""``lmlab compare`` on a fake model, away from the screen: what is printed where, exit codes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Terminal

from lmlab.backends.fake import FakeBackend
from lmlab.cli import compare as compare_command
from lmlab.errors import LmlabError, ModelNotFound

COLD, HOT = "fake@temperature=0,label=cold", "fake@temperature=1,label=hot"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Fake) -> Path:
    monkeypatch.setenv("LMLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compare_command, "local_backend", lambda paths: fake.open)
    return tmp_path / "home"


def records(home: Path) -> list[Path]:
    return list((home / "comparisons").glob("*.jsonl"))


def kinds(path: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines()]


def report(lmlab: Lmlab, *arguments: str, **options: Any) -> dict[str, Any]:
    outcome = lmlab("compare", COLD, HOT, "--json", *arguments, **options)
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_a_table_on_stdout_and_all_else_on_stderr(lmlab: Lmlab, home: Path) -> None:
    outcome = lmlab("compare", COLD, HOT, "-p", "Hi", "-p", "Ho")
    assert outcome.code == 0
    assert outcome.out.startswith("cold against hot: 2 prompts\n\nHi\n\n── cold · 4 tokens\nA fake reply.\n")
    assert "nothing here says which is better" in outcome.out
    (record,) = records(home)
    assert f"kept in {record}" in outcome.err
    assert kinds(record) == ["comparison"] + ["answer"] * 4


def test_the_same_command_goes_on(lmlab: Lmlab, fake: Fake, home: Path) -> None:
    lmlab("compare", COLD, HOT, "-p", "Hi")
    backends = len(fake.backends)
    outcome = lmlab("compare", HOT, COLD, "-p", "Hi")
    assert len(fake.backends) == backends
    assert "2 of the answers were there from before" in outcome.err
    assert len(records(home)) == 1


def test_prompts_from_a_file_a_pipe_and_the_command_line(lmlab: Lmlab, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "x", "prompt": "One"}\n{"prompt": "Two"}\n')
    found = report(lmlab, "-i", str(file), "--limit", "1", "-p", "Zero")
    assert [(one["id"], one["prompt"]) for one in found["answers"]] == [(None, "Zero"), ("x", "One")]
    assert found["input"] == f"the command line and {file}"
    piped = report(lmlab, stdin=b"Three\nFour\n")
    assert [one["prompt"] for one in piped["answers"]] == ["Three", "Four"]
    assert piped["input"] == "stdin"


def test_the_command_is_told_as_a_shell_reads_it(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMLAB_TOP_K", "7")
    found = report(lmlab, "-p", "It's me")
    assert found["command"] == (f"LMLAB_TOP_K=7 lmlab compare {COLD} {HOT} --json -p 'It'\"'\"'s me'")


@pytest.mark.parametrize(
    ("name", "begins"), [("r.html", "<!DOCTYPE html>"), ("r.MD", "# cold against hot"), ("r.json", "{\n")]
)
def test_reports_are_written_by_their_ending(lmlab: Lmlab, tmp_path: Path, name: str, begins: str) -> None:
    outcome = lmlab("compare", COLD, HOT, "-p", "Hi", "--report", str(tmp_path / name))
    assert outcome.code == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    assert outcome.out.startswith("cold against hot")


@pytest.mark.parametrize(
    ("report", "said"),
    [("r.pdf", "end it in .html, .md or .json"), ("nowhere/r.html", "there is no folder"), ("d.html", "is a folder")],
)
def test_a_report_that_could_not_be_written_is_refused_first(
    lmlab: Lmlab, fake: Fake, tmp_path: Path, report: str, said: str
) -> None:
    (tmp_path / "d.html").mkdir()
    outcome = lmlab("compare", COLD, HOT, "-p", "Hi", "--report", str(tmp_path / report))
    assert outcome.code == 2
    assert said in outcome.err
    assert fake.backends == []


def test_answers_are_checked_and_marked(lmlab: Lmlab, fake: Fake, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}+1?", "answer": n + 1}) + "\n" for n in range(3)))

    def prepare(backend: FakeBackend) -> None:
        for _ in range(6):
            backend.script(lambda request: ["The answer is 2." if request.sampling.temperature else "The answer is 3."])

    fake.prepare = prepare
    found = report(lmlab, "-t", "word-problem", "-i", str(file), "--score", "regex:3", "--repeat", "1")
    check, score = found["measures"]
    assert (check["kind"], check["pairs"][0]["wins"], check["pairs"][0]["losses"]) == ("check", 1, 1)
    assert (score["name"], score["pairs"][0]["wins"]) == ("regex:3", 3)


def test_repeats_of_a_greedy_variant_are_said_to_be_alike_once_and_in_the_report(lmlab: Lmlab, tmp_path: Path) -> None:
    said = "at temperature 0 the 3 answers to a prompt are alike, and tell no more than one: cold"
    page = tmp_path / "r.md"
    outcome = lmlab("compare", COLD, HOT, "-p", "Hi", "-p", "Ho", "--repeat", "3", "--report", str(page))
    assert outcome.code == 0
    assert outcome.err.count("alike") == outcome.out.count("alike") == 1
    assert f"lmlab: {said}\n" in outcome.err
    assert f"({said})" in outcome.out
    assert said in page.read_text(encoding="utf-8")
    assert "alike" not in lmlab("compare", COLD, HOT, "-p", "Hi").err


def test_an_output_of_its_own(lmlab: Lmlab, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    assert lmlab("compare", COLD, HOT, "-p", "Hi", "-o", str(out)).code == 0
    assert "answer" in kinds(out)
    assert records(home) == []
    other = lmlab("compare", COLD, "fake@temperature=0.7,label=warm", "-p", "Hi", "-o", str(out))
    assert other.code == 2
    assert "holds a comparison with hot" in other.err


def test_failed_answers_are_three_and_the_first_is_told(lmlab: Lmlab, fake: Fake) -> None:
    fake.prepare = lambda backend: backend.script((), error=LmlabError("odd"))
    outcome = lmlab("compare", COLD, HOT, "-p", "Hi")
    assert outcome.code == 3
    assert "cold: 1 answer failed: odd" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((COLD,), "1 variant to compare: give 2 to 4"),
        ((COLD,) * 5, "5 variants to compare"),
        ((COLD, COLD), "ask for the same"),
        ((COLD, HOT, "--score", "vote"), "--score vote"),
        ((COLD, HOT, "--score", "judge:x"), "give --judge MODEL"),
        ((COLD, HOT, "--score", "nothing"), "--score: select nothing: give logprob, reward:MODEL,"),
        ((COLD, HOT, "--repeat", "0"), "--repeat 0"),
        ((COLD, HOT, "--blind"), "--blind is for votes on the screen"),
        ((COLD, HOT, "--expect", "label"), "--expect label: nothing reads answers"),
        ((COLD, HOT, "--kl", "/no/such/file"), "--kl /no/such/file: cannot read it"),
        ((COLD, "fake@temprature=1"), "did you mean temperature"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_opens_nothing(
    lmlab: Lmlab, fake: Fake, arguments: tuple[str, ...], said: str
) -> None:
    outcome = lmlab("compare", *arguments, "-p", "Hi")
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert fake.backends == []


def test_no_prompt_at_all_is_said(lmlab: Lmlab) -> None:
    outcome = lmlab("compare", COLD, HOT, "--plain", stdin=Terminal())
    assert outcome.code == 2
    assert "no prompts: give one with -p PROMPT" in outcome.err


def test_every_variant_that_cannot_be_found_is_named(lmlab: Lmlab, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(ref: str | None, **options: Any) -> Any:
        if ref != "fake":
            raise ModelNotFound(f"no such file: {ref}")
        return fake.model

    monkeypatch.setattr("lmlab.models.resolve", resolve)
    outcome = lmlab("compare", "one.gguf", COLD, "two.gguf", "-p", "Hi")
    assert outcome.code == 1
    assert "2 of 3 variants cannot be used" in outcome.err
    assert "one.gguf: no such file" in outcome.err
    assert "two.gguf: no such file" in outcome.err


def test_quiet_says_nothing_beside_the_table(lmlab: Lmlab) -> None:
    assert lmlab("compare", COLD, HOT, "-p", "Hi", "--quiet").err == ""


def test_help_names_what_a_comparison_is_about(lmlab: Lmlab) -> None:
    out = lmlab("compare", "--help").out
    for name in ("--judge", "--score", "--repeat", "--report", "--kl", "--blind", "--sequential"):
        assert name in out

"""``lmlab batch`` on a fake model: streams, exit codes, bad input, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Outcome

from lmlab.backends import ChatPrompt
from lmlab.backends.fake import FakeBackend
from lmlab.errors import ConstraintError, ContextOverflow


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def by_id(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {line["id"]: line for line in lines(outcome.out)}


def test_stdin_to_stdout_with_nothing_but_data_on_it(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("batch", stdin=b"One\n\nTwo\n")
    assert outcome.code == 0
    assert sorted(line["input"]["prompt"] for line in lines(outcome.out)) == ["One", "Two"]
    assert "2 rows done" in outcome.err
    assert "tokens/s" in outcome.err


def test_quiet_says_nothing(fake: Fake, lmlab: Lmlab) -> None:
    assert lmlab("batch", "-i", "-", "--quiet", stdin=b"One\n").err == ""


def test_a_template_takes_its_inputs_from_columns(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text('id,text,to\na,"Good, morning",French\nb,Thanks,German\n')
    outcome = lmlab("batch", "-i", str(table), "-t", "translate")
    assert set(by_id(outcome)) == {"a", "b"}
    said = [request.prompt.messages[-1].content for request in fake.backend.requests]  # type: ignore[union-attr]
    assert "Good, morning" in said[0]
    assert "French" in said[0]
    assert "German" in said[1]


def test_a_text_row_is_the_input_that_var_leaves_open(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("batch", "-i", "-", "-t", "translate", "--var", "to=French", stdin=b"Good morning.\n")
    assert outcome.code == 0
    prompt = fake.backend.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert "Good morning." in prompt.messages[-1].content


def test_a_broken_row_costs_no_other_row(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = [json.dumps({"id": str(number), "prompt": f"Say {number}"}) for number in range(1, 11)]
    good[6] = '{"id": "7", "prompt": '
    file.write_text("\n".join(good) + "\n")
    outcome = lmlab("batch", "-i", str(file))
    assert outcome.code == 3
    errors = [line for line in lines(outcome.out) if "error" in line]
    assert len(lines(outcome.out)) == 10
    assert len(errors) == 1
    assert f"{file}, line 7" in errors[0]["error"]["message"]
    assert "9 rows done, 1 failed" in outcome.err


def test_a_ragged_row_of_a_table_is_one_failed_line(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("id,prompt\na,Hi\nb\nc,Ho\n")
    outcome = lmlab("batch", "-i", str(table))
    assert outcome.code == 3
    (error,) = [line["error"]["message"] for line in lines(outcome.out) if "error" in line]
    assert f"{table}, line 3" in error


def test_a_missing_variable_is_named(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", {"id": "a", "text": "Hi", "to": "French"}, {"id": "b", "to": "French"})
    outcome = lmlab("batch", "-i", file, "-t", "translate")
    assert outcome.code == 3
    assert "translate needs text" in by_id(outcome)["b"]["error"]["message"]
    assert "error" not in by_id(outcome)["a"]


def test_a_row_over_the_context_fails_alone(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    fake.prepare = lambda backend: backend.script((), error=ContextOverflow(9000, 8191))
    outcome = lmlab("batch", "-i", jsonl(tmp_path / "rows.jsonl", "long", "short"))
    assert outcome.code == 3
    assert [line["error"]["type"] for line in lines(outcome.out) if "error" in line] == ["ContextOverflow"]
    assert len(lines(outcome.out)) == 2


@pytest.mark.parametrize(
    ("front", "body", "message"),
    [
        ("name: mine\ndescription: x\ninput: {}", "Hi", "unknown key 'input': did you mean 'inputs'?"),
        ("name: mine\ndescription: x\ninputs: {text: {}}", "{% if text %}Hi", "line 6"),
        ("name: mine\ndescription: x\ninputs: {text: {}}", "{{ text.__class__ }}", "__class__"),
        ("name: mine\ndescription: x\ninputs: {text: {}}", "{{ txt }}", "the body uses 'txt'"),
    ],
)
def test_a_wrong_template_is_one_line_with_its_line(
    fake: Fake, lmlab: Lmlab, tmp_path: Path, front: str, body: str, message: str
) -> None:
    file = tmp_path / "mine.md"
    file.write_text(f"---\n{front}\n---\n{body}\n")
    outcome = lmlab("batch", "-i", "-", "-t", str(file), stdin=b"Hi\n")
    shown = outcome.err if outcome.code != 3 else lines(outcome.out)[0]["error"]["message"]
    assert message in shown
    assert "mine" in shown


def test_a_template_that_never_ends_is_stopped(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text(
        "---\nname: mine\ndescription: x\ninputs: {text: {}}\n---\n"
        "{{ text }}{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}"
        "{% endfor %}{% endfor %}\n"
    )
    outcome = lmlab("batch", "-i", "-", "-t", str(file), stdin=b"Hi\n")
    assert outcome.code in (1, 3)
    assert "mine" in outcome.err + outcome.out
    assert fake.backends == [] or fake.backend.requests == []


# Outputs


def test_the_same_command_again_does_what_is_left(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    out = str(tmp_path / "out.jsonl")
    lmlab("batch", "-i", "-", "-o", out, "--limit", "2", stdin=b"a\nb\nc\n")
    again = lmlab("batch", "-i", "-", "-o", out, stdin=b"a\nb\nc\n")
    assert (again.code, again.out) == (0, "")
    assert "has 2 rows done: going on" in again.err
    assert "1 row done, 2 done before" in again.err
    assert sorted(line["input"]["prompt"] for line in lines(Path(out).read_text())) == ["a", "b", "c"]


def test_an_output_of_another_run_is_left_alone_unless_forced(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    lmlab("batch", "-i", "-", "-o", str(out), stdin=b"a\n")
    before = out.read_text()
    refused = lmlab("batch", "-i", "-", "-o", str(out), "--temp", "0.1", stdin=b"a\n")
    assert refused.code == 2
    assert "--force" in refused.err
    assert out.read_text() == before
    forced = lmlab("batch", "-i", "-", "-o", str(out), "--temp", "0.1", "--force", stdin=b"a\n")
    assert forced.code == 0
    assert out.read_text().startswith(before)
    assert len(lines(out.read_text())) == 2


def test_the_input_is_never_the_output(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", {"prompt": "Hi"})
    before = Path(file).read_text()
    outcome = lmlab("batch", "-i", file, "-o", file, "--force")
    assert outcome.code == 2
    assert "the same file" in outcome.err
    assert Path(file).read_text() == before


def test_a_failure_whose_row_was_mended_leaves_no_line_behind(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": }\n')
    assert lmlab("batch", "-i", str(file), "-o", str(out)).code == 3
    file.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    assert lmlab("batch", "-i", str(file), "-o", str(out)).code == 0
    assert [line.get("error") for line in lines(out.read_text())] == [None, None]


def test_the_summary_can_be_read_by_a_program(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    outcome = lmlab("batch", "-i", "-", "-o", str(tmp_path / "o.jsonl"), "--json", "--quiet", stdin=b"a\nb\n")
    summary = json.loads(outcome.out)
    assert (summary["rows"], summary["failed"], summary["interrupted"]) == (2, 0, False)
    assert (summary["completion_tokens"], list(summary["variants"])) == (8, ["fake"])
    # With rows on stdout, it is a line on stderr.
    streamed = lmlab("batch", "-i", "-", "--json", "--quiet", stdin=b"a\nb\n")
    assert len(lines(streamed.out)) == 2
    assert json.loads(streamed.err)["rows"] == 2


def test_accuracy_comes_with_its_interval(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    def prepare(backend: FakeBackend) -> None:
        for _ in range(4):
            backend.script(["The answer is 4."])

    fake.prepare = prepare
    rows = [{"question": f"{number}?", "answer": "4" if number else "5"} for number in range(4)]
    outcome = lmlab("batch", "-i", jsonl(tmp_path / "rows.jsonl", *rows), "-t", "word-problem")
    # Wilson: (3 + 1.92) / (4 + 3.84) minus and plus 1.96 / 7.84 * sqrt(0.75 + 0.96).
    assert "3 of 4 answers are as expected: 75.0 % (95 % interval 30.1 to 95.4 %)" in outcome.err


# Rows


def test_rows_can_be_chosen(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    rows = [{"id": str(number), "prompt": f"{number}", "kind": "odd" if number % 2 else "even"} for number in range(10)]
    file = jsonl(tmp_path / "rows.jsonl", *rows)
    assert set(by_id(lmlab("batch", "-i", file, "--where", "kind=odd"))) == {"1", "3", "5", "7", "9"}
    assert set(by_id(lmlab("batch", "-i", file, "--where", "kind=odd", "--limit", "2"))) == {"1", "3"}
    some = set(by_id(lmlab("batch", "-i", file, "--sample", "4", "--seed", "3")))
    assert len(some) == 4
    assert set(by_id(lmlab("batch", "-i", file, "--sample", "4", "--seed", "3"))) == some


def test_variants_are_told_apart_in_one_output(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("batch", "-m", "fake@temperature=0", "-m", "fake@temperature=1,label=hot", stdin=b"a\n")
    assert {line["variant"]: line["sampling"]["temperature"] for line in lines(outcome.out)} == {
        "fake@temperature=0": 0,
        "hot": 1,
    }
    assert len(fake.backends) == 1
    assert "hot: 1 row done" in outcome.err


def test_ordered_lines_come_in_the_order_of_the_rows(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("batch", "--ordered", stdin=b"a\nb\nc\n")
    assert [line["input"]["prompt"] for line in lines(outcome.out)] == ["a", "b", "c"]


def test_training_data_is_written_with_keep(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    fake.prepare = lambda backend: backend.script_candidates(["no", "yes"])
    out = tmp_path / "train.jsonl"
    arguments = ("batch", "-i", "-", "-o", str(out), "--best-of", "2", "--select", "regex:^yes", "--keep", "best")
    assert lmlab(*arguments, stdin=b"Will it?\n").code == 0
    (row,) = lines(out.read_text())
    assert row["messages"] == [{"role": "user", "content": "Will it?"}, {"role": "assistant", "content": "yes"}]


# A dry run


def test_a_dry_run_counts_and_estimates_and_writes_nothing(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    outcome = lmlab("batch", "-i", "-", "-o", str(out), "--dry-run", stdin=b"one two\nthree\n")
    assert (outcome.code, outcome.out, out.exists()) == (0, "", False)
    assert "2 rows, 7 prompt tokens, 4 in the longest prompt" in outcome.err
    assert "from the 2 rows that were answered to measure it" in outcome.err


def test_a_dry_run_tells_of_rows_that_would_fail(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    outcome = lmlab("batch", "-i", jsonl(tmp_path / "r.jsonl", {"prompt": "a"}, {"x": 1}), "--dry-run", "--json")
    assert outcome.code == 3
    (found,) = json.loads(outcome.out)["variants"].values()
    assert (found["rows"], found["failed"], found["measured"]) == (2, 1, 1)
    assert "there is no prompt" in found["first_error"]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "nowhere.jsonl"), "cannot read nowhere.jsonl"),
        (("-i", "-", "--format", "xml"), "--format 'xml' is not known"),
        (("-i", "-", "--limit", "0"), "--limit 0: give a whole number of 1 or more"),
        (("-i", "-", "--force"), "--force writes to a file that holds other lines: name it with -o FILE"),
        (("-i", "-", "--retries", "-1"), "--retries -1: give a whole number of 0 or more"),
        (("-i", "-", "--where", "x"), "is no condition"),
        (("-i", "-", "-m", "fake@temprature=1"), "did you mean temperature"),
        (("-i", "-", "-m", "fake", "-m", "fake"), "ask for the same: leave one out"),
        (("-i", "-", "--keep", "best"), "--keep best chooses among candidates: say how many with --best-of N"),
        (("-i", "-", "--keep", "worst", "--best-of", "2"), "--keep worst: give one of best, all, pairs"),
        (("-i", "-", "--shots", "3"), "none is named: give -t NAME"),
        (("-i", "-", "--ordered", "-m", "fake@ctx=512", "-m", "fake@ctx=1024,temp=1"), "--ordered with several models"),
    ],
)
def test_what_cannot_be_meant_is_one_line_before_anything_runs(
    fake: Fake, lmlab: Lmlab, arguments: tuple[str, ...], message: str
) -> None:
    outcome = lmlab("batch", *arguments, stdin=b"a\n")
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert fake.backends == []


def test_how_examples_are_shown_is_about_the_variants_that_show_some(fake: Fake, lmlab: Lmlab) -> None:
    arguments = ("batch", "-i", "-", "-t", "word-problem", "--shots", "2")
    outcome = lmlab(
        *arguments,
        "-m",
        "fake@technique=zero-shot,label=none",
        "-m",
        "fake@technique=few-shot,label=two",
        stdin=b"1?\n",
    )
    assert outcome.code == 0
    assert [len(request.prompt.messages) for request in fake.backend.requests] == [1, 5]  # type: ignore[union-attr]
    refused = lmlab(*arguments, "-m", "fake@technique=zero-shot", stdin=b"1?\n")
    assert refused.code == 2
    assert "no variant shows any" in refused.err


def test_a_column_that_no_row_has_is_refused_before_a_model_is_loaded(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", {"prompt": "a"}, {"prompt": "b", "kind": "x"})
    for arguments in (("--where", "typo!=x"), ("--where", "typo!=x", "--limit", "1")):
        refused = lmlab("batch", "-i", file, *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert "no row has a column 'typo'; there are prompt, kind" in refused.err
    named = lmlab("batch", "-i", file, "-t", "word-problem", "--expect", "gold")
    assert named.code == 2
    assert "--expect gold: no row has such a column; there are prompt, kind" in named.err
    assert fake.backends == []


def test_expect_without_an_answer_to_check_is_refused(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    refused = lmlab("batch", "-i", jsonl(tmp_path / "rows.jsonl", {"prompt": "a", "gold": "x"}), "--expect", "gold")
    assert refused.code == 2
    assert "nothing reads answers here" in refused.err


def test_the_first_failure_is_said_and_where_the_others_are(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": }\n')
    outcome = lmlab("batch", "-i", str(file), "-o", str(out))
    assert f"the first failure: {file}, line 2: broken JSON" in outcome.err
    assert f"each line of {out} that failed has its error" in outcome.err
    assert "the same command tries the failed rows again" in outcome.err


def test_why_a_row_gives_no_training_row_is_said_where_it_cannot_be_written(fake: Fake, lmlab: Lmlab) -> None:
    arguments = ("batch", "--best-of", "2", "--select", "regex:^never", "--keep", "best")
    outcome = lmlab(*arguments, stdin=b"a\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert "row 1 gives no training row: no candidate passed regex:^never" in outcome.err
    assert "1 rows have no candidate that passed" in outcome.err


def test_one_candidate_beside_several_is_an_experiment(fake: Fake, lmlab: Lmlab) -> None:
    arguments = ("-m", "fake@best_of=1,label=one", "-m", "fake@label=three")
    outcome = lmlab("batch", *arguments, "--best-of", "3", "--select", "vote", stdin=b"a\n")
    assert outcome.code == 0
    assert {line["variant"]: len(line["candidates"]) for line in lines(outcome.out)} == {"one": 1, "three": 3}


def test_a_draft_of_a_variant_is_refused_where_batches_are_fixed(fake: Fake, lmlab: Lmlab) -> None:
    refused = lmlab("batch", "-m", "fake@draft=lookup", "--deterministic", stdin=b"a\n")
    assert refused.code == 2
    assert "--deterministic fixes" in refused.err


def test_a_constraint_that_cannot_be_is_told_with_its_option(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script((), error=ConstraintError("$.type: there is no such type"))

    fake.prepare = prepare
    outcome = lmlab("batch", "--json-schema", '{"type": "string"}', stdin=b"a\nb\n")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.endswith("lmlab: --json-schema: $.type: there is no such type\n")


def test_an_expected_column_that_a_stream_does_not_have_is_said_at_its_end(fake: Fake, lmlab: Lmlab) -> None:
    arguments = ("batch", "-i", "-", "-t", "word-problem", "--expect", "gold")
    assert "no row has an expected one in gold" in lmlab(*arguments, stdin=b'{"question": "2 + 2?"}\n').err
    assert "--expect" not in lmlab(*arguments, stdin=b'{"question": "2 + 2?", "gold": "4"}\n').err

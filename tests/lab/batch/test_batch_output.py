from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_lines import OTHER, RUN, failure, filled, ids, key, lines, record, states
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmlab.errors import UsageError
from lmlab.lab.batch.output import Output


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# Lines


def test_a_line_begins_with_what_resuming_needs(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.write(key(1), {"text": "größer\n\u2028", "id": None})
        output.write(key(2), {"text": "half \ud83d", "id": "x"})
    first, second = path.read_bytes().splitlines(keepends=True)
    assert first.decode() == f'{{"id":null,"key":"{key(1)}","run":"{RUN}","text":"größer\\n\u2028"}}\n'
    assert second.decode() == f'{{"id":"x","key":"{key(2)}","run":"{RUN}","text":"half \\ud83d"}}\n'


def test_each_line_is_in_the_file_when_write_returns(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        for number in range(3):
            output.write(key(number), record(number))
            assert len(lines(path)) == number + 1


def test_several_runs_share_a_file_and_a_record_names_its_own(path: Path) -> None:
    with Output.open(path, [RUN, OTHER]) as output:
        output.write(key(1), record(1, run=OTHER))
        with pytest.raises(ValueError, match="names no run"):
            output.write(key(2), record(2))
    assert lines(path)[0]["run"] == OTHER


def test_what_a_caller_gets_wrong_is_not_written(path: Path) -> None:
    with pytest.raises(ValueError, match="a run is 16 hex digits"):
        Output.open(path, ["short"])
    with Output.open(path, [RUN]) as output:
        output.write(key(1), record(1))
        with pytest.raises(ValueError, match="done already"):
            output.write(key(1), record(1))
        with pytest.raises(ValueError, match="32 hex digits"):
            output.write("abc", record(1))
        with pytest.raises(ValueError, match="Out of range float values"):
            output.write(key(2), record(2, score=float("nan")))
    assert ids(path) == ["row-1"]


# Resuming


def test_what_is_done_is_known_and_what_failed_too(path: Path) -> None:
    filled(path, 3, failed=(1,))
    with Output.open(path, [RUN]) as output:
        assert (output.done, output.failed, output.notes) == (2, 1, ())
        assert states(output, 4) == ["done", "failed", "done", "new"]


def test_a_line_that_another_program_wrote_differently_is_still_known(path: Path) -> None:
    filled(path, 3, failed=(1,))
    path.write_text("".join(json.dumps(line, sort_keys=True) + "\r\n" for line in lines(path)), newline="")
    with Output.open(path, [RUN]) as output:
        assert states(output, 4) == ["done", "failed", "done", "new"]


def test_the_word_error_in_a_result_is_no_failure(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0, error=None))
        output.write(key(1), record(1, input={"error": "deep"}))
        output.write(key(2), {"id": '","key":"', "text": 'say "error": x'})
    with Output.open(path, [RUN]) as output:
        assert states(output, 3) == ["done"] * 3


def test_failed_rows_are_forgotten_all_or_some(path: Path) -> None:
    filled(path, 5, failed=(1, 3, 4))
    with Output.open(path, [RUN]) as output:
        output.forget_failed([key(0), key(1), key(9)])
        assert states(output, 5) == ["done", "new", "done", "failed", "failed"]
        assert ids(path) == ["row-0", "row-2", "row-3", "row-4"]
        output.forget_failed()
        assert (output.done, output.failed) == (2, 0)
        output.write(key(4), record(4))
    assert ids(path) == ["row-0", "row-2", "row-4"]


def test_a_row_that_is_retried_has_one_line_in_the_end(path: Path) -> None:
    filled(path, 3, failed=(0, 1))
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        output.write(key(1), failure(1))
        assert (output.done, output.failed) == (2, 1)
    assert ids(path) == ["row-2", "row-0", "row-1"]
    assert [line.get("error") is not None for line in lines(path)] == [False, False, True]


def test_lines_a_killed_retry_left_twice_are_one_after_opening(path: Path) -> None:
    filled(path, 2, failed=(0,))
    failed = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    done = filled(path, 2).splitlines(keepends=True)
    path.write_bytes(failed[0] + failed[1] + done[0] + done[1] + failed[0])
    with Output.open(path, [RUN]) as output:
        assert (output.done, output.failed) == (2, 0)
    assert path.read_bytes() == done[1] + done[0]


# Order


def test_lines_are_put_into_the_order_of_the_input(path: Path) -> None:
    filled(path, 6)
    with Output.open(path, [RUN]) as output:
        output.reorder(key(number) for number in (5, 3, 99, 0, 5))
        assert states(output, 7) == ["done"] * 6 + ["new"]
        output.write(key(6), record(6))
    assert ids(path) == [f"row-{number}" for number in (5, 3, 0, 1, 2, 4, 6)]


def test_a_new_order_keeps_the_lines_of_others_first(path: Path) -> None:
    other = filled(path, 2, run=OTHER)
    path.write_bytes(other + b"# notes\n" + b"{}")
    with Output.open(path, [RUN], force=True) as output:
        output.write(key(0), record(0))
        output.write(key(1), record(1))
        output.reorder([key(1), key(0)])
    kept = other + b"# notes\n{}\n"
    assert path.read_bytes().startswith(kept)
    assert [json.loads(line)["id"] for line in path.read_bytes().removeprefix(kept).splitlines()] == ["row-1", "row-0"]


# Rows without a line


def test_rows_without_a_line_are_kept_beside_the_output(path: Path) -> None:
    beside = path.with_name("out.jsonl.skipped.jsonl")
    with Output.open(path, [RUN]) as output:
        assert not beside.exists()
        output.write(key(0), {"id": "row-0", "messages": []})
        output.skip(key(1), {"id": "row-1", "reason": "no answer was right"})
        output.skip(key(2), failure(2))
        assert (output.done, output.failed) == (2, 1)
    assert ids(path) == ["row-0"]
    assert ids(beside) == ["row-1", "row-2"]

    with Output.open(path, [RUN]) as output:
        assert states(output, 4) == ["done", "done", "failed", "new"]
        output.write(key(2), record(2))
    assert ids(path) == ["row-0", "row-2"]
    assert ids(beside) == ["row-1"]


def test_the_file_beside_goes_when_it_is_empty(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.skip(key(0), failure(0))
    with Output.open(path, [RUN]) as output:
        output.forget_failed()
        output.write(key(0), record(0))
    assert os.listdir(path.parent) == ["out.jsonl"]


def test_the_file_beside_is_repaired_and_guarded_too(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.skip(key(0), {"reason": "none"})
    beside = path.with_name("out.jsonl.skipped.jsonl")
    whole = beside.read_bytes()
    beside.write_bytes(whole + whole[:30])
    with Output.open(path, [RUN]) as output:
        assert output.notes == (f"{path}.skipped.jsonl: half a line at the end (30 bytes) was cut off",)
    assert beside.read_bytes() == whole
    with pytest.raises(UsageError, match=r"skipped\.jsonl holds 1 line of another run"):
        Output.open(path, [OTHER])


# Repair


def test_a_file_cut_at_any_byte_is_resumed_with_each_line_once(path: Path) -> None:
    whole = filled(path, 2, failed=(1,))
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        # A line is there when all but its end is.
        there = sum(1 for end in ends if cut >= end - 1)
        with Output.open(path, [RUN]) as output:
            assert output.done + output.failed == there, cut
            torn = cut not in {0, *ends, *(end - 1 for end in ends)}
            assert len(output.notes) == torn
            output.forget_failed()
            for number in range(2):
                if output.state(key(number)) == "new":
                    output.write(key(number), record(number))
        assert sorted(ids(path)) == ["row-0", "row-1"], cut


texts = st.text(max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    results=st.lists(
        st.fixed_dictionaries(
            {"id": st.none() | texts, "text": texts, "error": st.none() | texts, "input": st.dictionaries(texts, texts)}
        ),
        min_size=1,
        max_size=5,
    ),
    data=st.data(),
)
def test_any_results_survive_a_cut_and_holes(path: Path, results: list[dict[str, Any]], data: st.DataObject) -> None:
    path.unlink(missing_ok=True)
    with Output.open(path, [RUN]) as output:
        for number, result in enumerate(results):
            output.write(key(number), result)
    whole = path.read_bytes()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if len(damaged) > 10 and data.draw(st.booleans()):
        # What a power cut leaves: blocks that were never written read as zeros.
        start = data.draw(st.integers(6, len(damaged)))
        end = data.draw(st.integers(start, len(damaged)))
        damaged[start:end] = bytes(end - start)
    path.write_bytes(damaged)

    with Output.open(path, [RUN]) as output:
        for number, result in enumerate(results):
            if output.state(key(number)) == "new":
                output.write(key(number), result)
    assert Counter(path.read_bytes().splitlines()) == Counter(whole.splitlines())


@pytest.mark.parametrize("tail", [b"{\0\0", b"\0\0\0", b'\0\0 the rest"}\n', b'{"id":"x\0\0y"}\n\0\0'])
def test_blocks_that_were_never_written_are_taken_out(path: Path, tail: bytes) -> None:
    first, second = filled(path, 2).splitlines(keepends=True)
    path.write_bytes(first + tail)
    with Output.open(path, [RUN]) as output:
        assert states(output, 2) == ["done", "new"]
        assert len(output.notes) == 1
    assert path.read_bytes() == first

    if tail.endswith(b"\n"):
        path.write_bytes(first + tail + second)
        with Output.open(path, [RUN]) as output:
            assert states(output, 2) == ["done", "done"]
            assert output.notes == (f"{path}: 1 damaged line was removed, its row is done again",)
        assert path.read_bytes() == first + second


@pytest.mark.parametrize(
    "content",
    [
        b"{\0\1\n",
        b"my notes",
        b"my notes\n",
        b'{"question": "a"}\n',
        b'{"id": 3}',
        b'{"id":3}\n',
        b"\0\0\1\n",
        b"[1]\n",
        b'{"id":"x\n',
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"out\.jsonl, line 1, was not written by lmlab batch: .* --force"):
        Output.open(path, [RUN])
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["out.jsonl"]

    with Output.open(path, [RUN], force=True) as output:
        output.write(key(0), failure(0))
    with Output.open(path, [RUN], force=True) as output:
        output.write(key(0), record(0))
    kept = content.removesuffix(b"\n") + b"\n"
    assert path.read_bytes().startswith(kept)
    assert json.loads(path.read_bytes().removeprefix(kept))["text"] == "answer 0"


def test_a_foreign_line_among_ours_is_named(path: Path) -> None:
    whole = filled(path, 2)
    path.write_bytes(whole + b'{"key": "short"}\n')
    with pytest.raises(UsageError, match="line 3, was not written"):
        Output.open(path, [RUN])


def test_lines_of_another_run_are_refused_and_counted(path: Path) -> None:
    whole = filled(path, 3, run=OTHER)
    path.write_bytes(whole + whole[:20])
    with pytest.raises(UsageError, match=r"out\.jsonl holds 3 lines of another run .* -o, or add --force"):
        Output.open(path, [RUN])
    assert path.read_bytes() == whole + whole[:20]

    with Output.open(path, [RUN], force=True) as output:
        assert states(output, 3) == ["new"] * 3
        output.write(key(0), record(0))
    assert path.read_bytes().startswith(whole)
    assert len(lines(path)) == 4

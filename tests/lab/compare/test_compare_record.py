from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from compare_desk import Desk, prompts

from lmlab.errors import UsageError
from lmlab.lab.compare.record import Record, Score, Verdict, comparison_id

A, B, C = "a" * 16, "b" * 16, "c" * 16


def header(*runs: str) -> dict[str, object]:
    return {"id": comparison_id(runs), "variants": [{"label": run[0], "run": run} for run in runs]}


def made(path: Path, *runs: str) -> Record:
    record = Record(path, runs)
    record.begin(header(*runs))
    return record


def test_the_record_of_the_same_variants_has_the_same_name_in_any_order() -> None:
    assert comparison_id([A, B]) == comparison_id([B, A]) != comparison_id([A, C])


def test_what_was_said_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with closing(made(path, A, B)) as record:
        record.add(Score("regex:x", "k", "q", 0, A, 1.0))
        record.add(Verdict("judge", "j", "k", "q", 0, (A, B), 0.5, asked=True, swayed=True))
        before = (dict(record.scores), dict(record.verdicts))
    with closing(Record(path, [A, B])) as record:
        assert (record.scores, record.verdicts) == before
        assert record.note is None


def test_a_half_line_is_cut_off_and_said(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    made(path, A, B).close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"sco')
    with closing(Record(path, [A, B])) as record:
        assert record.note is not None
        assert "half a line" in record.note
    assert path.read_bytes() == whole


def test_only_a_half_header_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"kind":"compar')
    with closing(made(path, A, B)) as record:
        assert len(record.headers) == 1


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"kind":"answer"}\n', b"no line end", b'{"id":1}\n'])
def test_what_is_no_record_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="line 1, was not written by lmlab compare"):
        Record(path, [A, B])
    assert path.read_bytes() == content


def test_other_variants_are_refused_by_name_and_more_are_welcome(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    made(path, A, B).close()
    with pytest.raises(UsageError, match="with b, which is not among"):
        Record(path, [A, C])
    Record(path, [C, B, A]).close()


def test_one_command_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with closing(made(path, A, B)), pytest.raises(UsageError, match="another run is writing"):
        Record(path, [A, B])
    Record(path, [A, B]).close()


def test_text_that_is_half_a_character_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with closing(made(path, A, B)) as record:
        record.add(Score("regex:x", "k", "q", 0, A, None, "half: \ud83d"))
    with closing(Record(path, [A, B])) as record:
        assert record.scores["regex:x", "k", A].note == "half: \ud83d"


def test_a_later_vote_on_a_case_counts_in_place_of_the_earlier(desk: Desk) -> None:
    plans = [desk.plan("a"), desk.plan("b")]
    (case,) = prompts("Hi")
    with closing(desk.record(plans)) as record, closing(desk.comparison(plans, record)) as comparison:
        comparison.vote(case, "win", 0, order=(1, 0), blind=True)
        comparison.vote(case, "win", 1)
        comparison.vote(prompts("Ho")[0], "bad")
        assert len(comparison.votes) == 2
        assert (comparison.standing(0, 1).wins, comparison.standing(0, 1).losses, comparison.standing(0, 1).ties) == (
            0,
            1,
            1,
        )
    assert [line["winner"] for line in desk.lines("vote")] == [plans[0].fingerprint(), plans[1].fingerprint(), None]
    assert desk.lines("vote")[0]["order"] == [plans[1].fingerprint(), plans[0].fingerprint()]


def test_a_vote_for_nobody_is_refused(desk: Desk) -> None:
    plans = [desk.plan("a"), desk.plan("b")]
    with (
        closing(desk.record(plans)) as record,
        closing(desk.comparison(plans, record)) as comparison,
        pytest.raises(UsageError, match="a vote is for one of the variants"),
    ):
        comparison.vote(prompts("Hi")[0], "win")

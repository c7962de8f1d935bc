"""Benchmarks written, read, kept, found again and compared."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench_values import DECODE, DEEP, PREFILL, report, result

from lmlab.errors import StoreError, UsageError
from lmlab.lab.bench.against import check_comparable, compare_reports
from lmlab.lab.bench.history import History
from lmlab.lab.bench.report import parse_report
from lmlab.lab.bench.spread import Spread, spread_of

ONE = result(prefill=[300.0, 310.0, 290.0], decode=[100.0, 104.0, 102.0], first_token=[3.1, 3.0])


class TestSpread:
    def test_it_is_the_median_and_all_between_the_least_and_the_most(self) -> None:
        assert spread_of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0, (3.0, 1.0, 2.0, 10.0))

    @pytest.mark.parametrize(
        ("one", "other", "apart"),
        [
            ([1.0, 2.0], [3.0, 4.0], True),
            ([3.0, 4.0], [1.0, 2.0], True),
            ([1.0, 3.0], [3.0, 4.0], False),
            ([1.0, 9.0], [3.0, 4.0], False),
            ([1.0], [3.0, 4.0], None),
            ([3.0, 4.0], [1.0], None),
        ],
    )
    def test_apart_is_where_no_run_is_in_the_range_of_the_other(
        self, one: list[float], other: list[float], apart: bool | None
    ) -> None:
        assert spread_of(one).apart_from(spread_of(other)) is apart


class TestWriting:
    def test_what_is_written_is_read_again(self) -> None:
        before = report(ONE, replace(ONE, label="other", bandwidth=None, notes=("a note",), failed=True))
        assert parse_report(json.dumps(before.to_dict()), "here") == before

    def test_a_figure_says_what_a_program_needs(self) -> None:
        figure = ONE.to_dict()["figures"][1]
        assert figure == {
            "measure": "decode",
            "depth": 0,
            "sequences": 1,
            "unit": "tokens/s",
            "median": 102.0,
            "low": 100.0,
            "high": 104.0,
            "runs": [100.0, 104.0, 102.0],
            "memory_bound": 416.0,
            "share": 102.0 / 416.0,
            "prompt_tokens": None,
        }

    @pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"format": 1}', "\x00", "[" * 200_000])
    def test_what_is_none_is_refused_by_its_place(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"x\.json is no benchmark"):
            parse_report(text, "x.json")

    def test_one_of_a_later_lmlab_is_refused_by_its_format(self) -> None:
        with pytest.raises(UsageError, match="format 2; this lmlab reads format 1"):
            parse_report(json.dumps({**report(ONE).to_dict(), "format": 2}), "x.json")

    def test_what_is_no_amount_is_refused(self) -> None:
        said = json.dumps(report(ONE).to_dict())
        for number in ("NaN", "Infinity", "1e400", "1" + 400 * "0", '"nan"', '"many"', "[]"):
            for changed in (said.replace("310.0", number), said.replace("416.0", number)):
                assert changed != said
                with pytest.raises(UsageError, match=r"x\.json is no benchmark"):
                    parse_report(changed, "x.json")

    def test_a_measure_that_is_not_known_is_refused(self) -> None:
        said = report(ONE).to_dict()
        said["results"][0]["figures"][0]["measure"] = "charm"
        with pytest.raises(UsageError, match="unknown measure 'charm'"):
            parse_report(json.dumps(said), "x.json")


class TestHistory:
    @pytest.fixture
    def history(self, tmp_path: Path) -> History:
        return History(tmp_path / "benchmarks")

    def test_what_is_kept_is_found_in_order(self, history: History) -> None:
        assert history.all() == ([], 0)
        kept = [report(ONE, id=f"{number}{number}aabbcc") for number in range(3)]
        for one in kept:
            history.append(one)
        assert history.all() == (kept, 0)
        assert history.find("11", []) == kept[1]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
    def test_only_its_owner_may_read_it(self, history: History) -> None:
        history.append(report(ONE))
        assert stat.S_IMODE(history.path.stat().st_mode) == 0o600

    def test_a_line_that_was_cut_off_costs_no_other(self, history: History) -> None:
        history.append(report(ONE, id="aaaaaaaa"))
        with history.path.open("a", encoding="utf-8") as file:
            file.write('{"format": 1, "id": "cut')
        history.append(report(ONE, id="bbbbbbbb"))
        found, damaged = history.all()
        assert ([one.id for one in found], damaged) == (["aaaaaaaa", "bbbbbbbb"], 1)

    def test_a_line_has_what_ends_lines_elsewhere(self, history: History) -> None:
        kept = report(result("a\u2028b\x85c", decode=[1.0]))
        history.append(kept)
        assert history.all() == ([kept], 0)

    def test_the_last_is_that_of_one_of_these_variants(self, history: History) -> None:
        history.append(report(result("a", decode=[1.0]), id="aaaaaaaa"))
        history.append(report(result("b", decode=[1.0]), id="bbbbbbbb"))
        assert history.find("last", ["a"]).id == "aaaaaaaa"
        assert history.find("LAST", ["c"]).id == "bbbbbbbb"

    def test_a_file_is_one_too(self, history: History, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        path.write_text(json.dumps(report(ONE).to_dict()))
        assert history.find(str(path), []) == report(ONE)

    def test_what_cannot_be_meant_is_said(self, history: History) -> None:
        with pytest.raises(UsageError, match="no benchmark is kept yet"):
            history.find("last", [])
        with pytest.raises(UsageError, match="no such benchmark and no such file"):
            history.find("12ab", [])
        for id in ("12aabbcc", "12ddeeff"):
            history.append(report(ONE, id=id))
        with pytest.raises(UsageError, match="2 benchmarks begin so"):
            history.find("12", [])

    def test_a_place_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "benchmarks").mkdir()
        (tmp_path / "benchmarks" / "history.jsonl").mkdir()
        with pytest.raises(StoreError, match="the benchmark was not kept"):
            History(tmp_path / "benchmarks").append(report(ONE))


class TestAgainst:
    def test_each_figure_has_its_ratio_and_whether_it_is_beyond_the_spread(self) -> None:
        now = report(result(prefill=[330.0, 341.0], decode=[101.0, 103.0], deep=[50.0]))
        before = report(result(prefill=[300.0, 310.0], decode=[100.0, 102.0], deep=[100.0, 101.0]))
        found = compare_reports(now, before)
        assert [(change.key, round(change.ratio or 0, 3), change.apart) for change in found.changes] == [
            (PREFILL, 1.1, True),
            (DECODE, 1.01, False),
            (DEEP, 0.498, None),
        ]
        assert found.notes == ()

    def test_variants_are_told_apart_by_their_labels(self) -> None:
        now = report(result("a", decode=[2.0]), result("b", decode=[3.0]), result("c", decode=[4.0]))
        before = report(result("b", decode=[6.0]), result("a", decode=[1.0]))
        found = compare_reports(now, before)
        assert [(change.label, change.ratio) for change in found.changes] == [("a", 2.0), ("b", 0.5)]
        assert found.notes == ("c is not in that benchmark",)

    def test_what_has_nothing_in_common_is_refused(self) -> None:
        before = report(result("a", decode=[1.0]), result("b", decode=[1.0]))
        check_comparable(["b"], before)
        check_comparable(["c", "a"], before)
        check_comparable(["c"], report(result("a", decode=[1.0])))
        for labels, earlier in ((["c"], before), (["c", "d"], before), (["c"], report())):
            with pytest.raises(UsageError, match="nothing to compare c"):
                check_comparable(labels, earlier)

    def test_one_variant_each_is_compared_whatever_it_is_called_and_all_that_differs_is_said(self) -> None:
        now = report(result("a", decode=[2.0], deep=[2.0]), processor="new")
        then = result("b", fingerprint="0" * 16, decode=[1.0])
        before = report(replace(then, load={**then.load, "threads": 1, "llama_cpp": "0.2"}), processor="old")
        assert compare_reports(now, replace(before, versions={"lmlab": "0.1", "llama_cpp": "0.2"})).notes == (
            "another processor: old then, new now",
            "llama_cpp 0.2 then, 0.3.36 now",
            "a is compared with b",
            "a: another model file",
            "a: threads 1 then, 2 now",
            "a: 1 of 2 figures are not in that benchmark",
        )

    def test_other_amounts_are_said(self) -> None:
        before = report(ONE)
        shorter = replace(before, amounts=replace(before.amounts, decode=16))
        assert compare_reports(before, shorter).notes == ("decode of 16 tokens then, 64 now",)

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import Lmlab, Outcome, Terminal
from rich.cells import cell_len
from tiny_models import write_llama

from lmlab.cli import bench_chart, bench_table
from lmlab.lab.bench import bench as module
from lmlab.lab.bench.amounts import Amounts, Key
from lmlab.lab.bench.bench import Doing
from lmlab.lab.bench.history import History
from lmlab.lab.bench.report import Figure, Result
from lmlab.lab.bench.spread import spread_of
from lmlab.lab.bench.subject import Subject
from lmlab.settings import Paths

HEADER = "variant,measure,depth,sequences,unit,median,low,high,runs,memory_bound,share"
LOAD = {
    "threads": 1,
    "context": 2048,
    "gpu_layers": 0,
    "llama_cpp": "0.3.36",
    "ubatch": 512,
    "flash_attention": True,
    "kv_type": "f16,f16",
}


def figures(scale: float) -> tuple[Figure, ...]:
    def figure(key: Key, *runs: float, bound: float | None = None) -> Figure:
        return Figure(key, spread_of([scale * run for run in runs]), bound)

    return (
        figure(Key("prefill"), 300, 310, 305),
        figure(Key("decode"), 100, 101, 99, bound=400),
        figure(Key("decode", 1024), 80, 82, 81, bound=300),
        figure(Key("decode_together", 128, 1), 95, 96, 97, bound=390),
        figure(Key("decode_together", 128, 4), 200, 201, 202, bound=900),
        Figure(Key("first_token", 1000), spread_of([3.25, 3.5]), tokens=998),
        figure(Key("memory", 1000), 375e6, 375e6),
    )


class MadeUp:
    """A bench that has measured already; which amounts and time it was asked for is kept."""

    asked: list[tuple[list[str], Amounts, float | None]]
    results: Callable[[Subject, int], Result]
    cancelled = False
    complete = True

    def __init__(
        self,
        subjects: Sequence[Subject],
        amounts: Amounts,
        *,
        log_folder: Path,
        listener: Callable[[Doing], None],
        most_s: float | None,
    ) -> None:
        self.asked.append(([one.label for one in subjects], amounts, most_s))
        self._subjects = subjects

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> tuple[Result, ...]:
        return tuple(type(self).results(one, number) for number, one in enumerate(self._subjects))


def found(subject: Subject, number: int) -> Result:
    model = {"ref": subject.label, "fingerprint": "f", "quantization": "F32", "size": 158_000}
    return Result(subject.label, model, LOAD, spread_of([4e9, 5e9]), 150_000, figures(1 + number / 2))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> type[MadeUp]:
    class Bench(MadeUp):
        asked = []  # noqa: RUF012 - new for each test
        results = staticmethod(found)

    monkeypatch.setattr(module, "Bench", Bench)
    return Bench


@pytest.fixture
def model(home: Path) -> Path:
    """A file in lmlab's own folder."""
    folder = Paths.find().models
    folder.mkdir(parents=True)
    return write_llama(folder / "mine.gguf")


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> Outcome:
        with Terminal() as out, Terminal() as err:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments).code, out.shown, err.shown)

    return call


def kept() -> list[Any]:
    return History(Paths.find().benchmarks).all()[0]


def test_a_pipe_gets_a_header_and_a_line_a_figure(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    outcome = lmlab("bench", "mine")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == HEADER.replace(",", "\t")
    assert lines[2] == "mine\tdecode\t0\t1\ttokens/s\t100\t99\t101\t3\t400\t0.25"
    assert len(lines) == 1 + len(figures(1))
    (one,) = kept()
    assert outcome.err == f"lmlab: kept as {one.id}: lmlab bench --against {one.id} compares with it\n"
    assert one.results[0].figures == figures(1)
    assert one.versions["llama_cpp"] == "0.3.36"


def test_comma_separated_lines_quote_what_must_be(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    outcome = lmlab("bench", 'mine@label="a,b"', "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert {row["variant"] for row in rows} == {"a,b"}
    assert rows[0].keys() == set(HEADER.split(","))


def test_json_has_every_run(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    said = json.loads(lmlab("bench", "mine", "--json").out)
    assert said["results"][0]["figures"][1]["runs"] == [100.0, 101.0, 99.0]
    assert said["against"] is None
    assert said["command"] == "lmlab bench mine --json"


def test_what_is_asked_for_is_measured(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    lmlab("bench", "mine", "mine@label=again")
    lmlab("bench", "mine", "--quick", "--repeat", "7", "--max-time", "90")
    lmlab("bench", "mine", "--prefill", "99", "--decode", "9", "--depths", "512,0,512", "--together", "3")
    labels, amounts, most_s = made_up.asked[0]
    assert (labels, amounts, most_s) == (["mine", "again"], Amounts(), None)
    _, amounts, most_s = made_up.asked[1]
    assert (amounts.repeat, amounts.depths, most_s) == (7, (0, 1024), 90)
    _, amounts, _ = made_up.asked[2]
    assert (amounts.prompt, amounts.decode, amounts.depths, amounts.together) == (99, 9, (0, 512), (3,))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--json", "--csv"), "give one of them"),
        (("--history", "--against", "last"), "measures nothing"),
        (("--history",), "leave out mine"),
        (("--repeat", "0"), "--repeat 0"),
        (("--depths", "1,x"), "--depths x"),
        (("--together", "0"), "--together 0"),
        (("--max-time", "soon"), "--max-time soon"),
        (("--against", "last"), "no benchmark is kept yet"),
        (("--against", "nothing"), "no such benchmark and no such file"),
    ],
)
def test_a_wrong_command_line_is_said_before_anything_is_measured(
    lmlab: Lmlab, made_up: type[MadeUp], model: Path, arguments: tuple[str, ...], says: str
) -> None:
    outcome = lmlab("bench", "mine", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert made_up.asked == []


def test_a_terminal_gets_tables_and_bars_no_wider_than_it_is(
    on_terminal: Lmlab, made_up: type[MadeUp], model: Path
) -> None:
    on_terminal("bench", "mine")
    outcome = on_terminal("bench", "mine", "--against", "last")
    assert max(map(cell_len, outcome.out.splitlines())) <= 80
    table, _, beside = outcome.out.partition("\nagainst ")
    rows = {line.strip().split("  ")[0]: line.split() for line in table.splitlines()}
    assert rows["decode, depth 0"][3:] == ["100", "tok/s", "99.0–101", "400", "25%"]
    rows_beside = {line.split("  ")[0]: line.split() for line in beside.splitlines()}
    assert rows_beside["decode, depth 0"][3:] == ["100", "100", "1.000", "within", "the", "spread"]
    assert " ".join(rows["first token (998 tokens)"]) == "first token (998 tokens) 3.38 s 3.25–3.50 s – –"
    assert "decode tokens/s, by depth\n      0  █" in outcome.out
    assert "mine: F32, 158 kB, 1 thread\n  context 2,048, KV f16, flash attention on, ubatch 512\n" in outcome.out
    assert "  bound: 150 kB of weights a token, memory read at 4.5 GB/s (4.0–5.0)" in outcome.out


def test_several_variants_stand_side_by_side(on_terminal: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    outcome = on_terminal("bench", "mine", "mine@ctx=256,label=short")
    assert max(map(cell_len, outcome.out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "prefill, depth 0 305 ±2% 458 ±2%" in lines
    assert "of the bound 25% 38%" in lines
    assert "first token (998 tokens) 3.38 s ±4% 3.38 s ±4%" in lines


def test_a_difference_beyond_the_spread_is_named_by_what_it_means(
    on_terminal: Lmlab, made_up: type[MadeUp], model: Path
) -> None:
    on_terminal("bench", "mine")
    made_up.results = staticmethod(lambda subject, number: found(subject, 2))
    out = on_terminal("bench", "mine", "--against", "last").out
    lines = {line.split("  ")[0]: line.split() for line in out[out.index("\nagainst ") :].splitlines()}
    assert lines["decode, depth 0"][-2:] == ["2.000", "better"]
    assert lines["memory held"][-2:] == ["2.000", "worse"]
    assert lines["first token"][-4:] == ["1.000", "within", "the", "spread"]


def test_the_comparison_is_in_every_format(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    lmlab("bench", "mine")
    (before,) = kept()
    first = lmlab("bench", "mine", "--against", before.id[:6]).out.splitlines()
    assert first[0].split("\t")[-3:] == ["before", "ratio", "beyond_spread"]
    assert first[2].split("\t")[-3:] == ["100", "1", "false"]
    said = json.loads(lmlab("bench", "mine", "--json", "--against", before.id).out)
    assert said["against"]["id"] == before.id
    assert said["against"]["changes"][1]["ratio"] == 1.0


def test_what_has_nothing_to_be_compared_with_is_not_measured(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    lmlab("bench", "mine")
    outcome = lmlab("bench", "mine@label=a", "mine@label=b", "--against", "last")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"the benchmark {kept()[0].id} is of mine, so there is nothing to compare a, b with" in outcome.err
    assert len(made_up.asked) == 1


def test_the_history_is_listed_and_nothing_measured(
    lmlab: Lmlab, on_terminal: Lmlab, made_up: type[MadeUp], model: Path
) -> None:
    assert lmlab("bench", "--history").err == "lmlab: no benchmark is kept yet: lmlab bench makes one\n"
    lmlab("bench", "mine", "mine@label=again")
    made_up.asked.clear()
    (one,) = kept()
    header, line = lmlab("bench", "--history").out.splitlines()
    assert header.split("\t")[:4] == ["id", "when", "variants", "prefill"]
    assert line.split("\t")[:5] == [one.id, one.when, "mine, again", "305.00, 457.50", "100.00, 150.00"]
    assert [each["id"] for each in json.loads(lmlab("bench", "--history", "--json").out)] == [one.id]
    shown = on_terminal("bench", "--history").out.splitlines()
    assert shown[1].split()[0] == one.id
    assert max(map(cell_len, shown)) <= 80
    assert made_up.asked == []


def test_damaged_lines_are_said(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    lmlab("bench", "mine")
    path = History(Paths.find().benchmarks).path
    path.write_text("{\n" + path.read_text())
    outcome = lmlab("bench", "--history")
    assert len(outcome.out.splitlines()) == 2
    assert "1 line of " in outcome.err


def test_what_fails_on_the_way_is_said_and_the_code_is_3(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    made_up.results = staticmethod(
        lambda subject, number: replace(found(subject, number), failed=True, notes=("it failed: why",))
    )
    outcome = lmlab("bench", "mine")
    assert outcome.code == 3
    assert outcome.err.startswith("lmlab: mine: it failed: why\n")
    assert len(outcome.out.splitlines()) == 1 + len(figures(1))


def test_interrupted_what_there_is_is_shown_and_kept(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    made_up.cancelled, made_up.complete = True, False
    outcome = lmlab("bench", "mine")
    assert outcome.code == 130
    assert "lmlab: it ended early: some figures are of fewer runs, or not there\n" in outcome.err
    assert len(outcome.out.splitlines()) == 1 + len(figures(1))
    assert [one.complete for one in kept()] == [False]


def test_nothing_measured_is_a_failure_and_nothing_is_kept(lmlab: Lmlab, made_up: type[MadeUp], model: Path) -> None:
    made_up.results = staticmethod(lambda subject, number: replace(found(subject, number), figures=()))
    outcome = lmlab("bench", "mine", "--max-time", "1")
    assert (outcome.code, outcome.out) == (1, "")
    assert "nothing was measured within 1 s" in outcome.err
    assert lmlab("bench", "mine", "--quiet").code == 2
    made_up.cancelled = True
    assert lmlab("bench", "mine").code == 130
    assert kept() == []


def test_a_model_is_really_measured(lmlab: Lmlab, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "array_size", lambda: 1 << 20)
    outcome = lmlab(
        *("bench", "mine@temperature=0.5", "--threads", "1", "--repeat", "1", "--prefill", "8", "--decode", "4"),
        *("--depths", "0,100000", "--together", "1,2", "--ctx-size", "1024", "--json"),
    )
    assert outcome.code == 0
    result = json.loads(outcome.out)["results"][0]
    assert {"prefill", "decode", "decode_together", "first_token", "memory"} <= {
        one["measure"] for one in result["figures"]
    }
    assert (result["load"]["threads"], result["load"]["context"]) == (1, 1024)
    assert "depth 100,000 needs a context of 100,008 tokens" in outcome.err
    assert "no speed depends on temperature: left out" in outcome.err


class TestBars:
    def test_without_utf8_they_are_ascii(self, made_up: type[MadeUp], lmlab: Lmlab, model: Path) -> None:
        lmlab("bench", "mine")
        drawn = bench_chart.text(kept()[0], "ascii")
        assert drawn.isascii()
        assert "      0  ####" in drawn

    def test_one_bar_is_no_chart(self, made_up: type[MadeUp], lmlab: Lmlab, model: Path) -> None:
        lmlab("bench", "mine")
        (one,) = kept()
        alone = replace(one.results[0], figures=(figures(1)[1],))
        assert bench_chart.text(replace(one, results=(alone,)), "utf-8").strip() == ""

    def test_a_run_that_stands_alone_has_no_range(self, made_up: type[MadeUp], lmlab: Lmlab, model: Path) -> None:
        lmlab("bench", "mine")
        (one,) = kept()
        alone = replace(one.results[0], figures=(Figure(Key("decode"), spread_of([5.0])),))
        (row,) = [line for line in bench_table.text(replace(one, results=(alone,))).splitlines() if "depth" in line]
        assert row.split() == ["decode,", "depth", "0", "5.00", "tok/s", "–"]

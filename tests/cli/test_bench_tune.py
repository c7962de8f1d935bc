"""``lmlab bench --tune``: what is refused, what is printed and kept, and that it is used from then on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Outcome, Program, Terminal
from rich.cells import cell_len
from tiny_models import write_llama

from lmlab.backends import LoadSpec
from lmlab.cli import bench_tune
from lmlab.cli import compare as compare_command
from lmlab.errors import ModelLoadError
from lmlab.lab.bench import Speed, spread_of
from lmlab.lab.tuning import tune as tuning
from lmlab.lab.tuning.machine import machine as this_machine
from lmlab.lab.tuning.saved import Tuned, keep, load_tuned
from lmlab.lab.tuning.settings import Settings
from lmlab.models import fingerprint
from lmlab.settings import Paths, private_folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Attention heads as long as a quantized block.
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", width=128)


class Machine:
    """``measure_speed`` on a machine whose clock goes on by itself; four threads are half as fast again."""

    def __init__(self) -> None:
        self.specs: list[LoadSpec] = []
        self.gain = 1.5
        self.stop_at: int | None = None
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def __call__(self, spec: LoadSpec, **asked: Any) -> Speed | None:
        self.specs.append(spec)
        self.now += 0.5
        if self.stop_at is not None and len(self.specs) >= self.stop_at:
            signal.raise_signal(signal.SIGINT)
        if asked["cancelled"]():
            return None
        rate = self.gain if self.faster(spec) else 1.0
        return Speed(spread_of([1000 * rate]), spread_of([100 * rate]), 0.3, 10**6)

    def faster(self, spec: LoadSpec) -> bool:
        return spec.threads == 4


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made_up = Machine()
    monkeypatch.setattr(tuning, "logical_processors", lambda: 4)
    for name, value in (("measure", made_up), ("physical", 2), ("clock", made_up.clock)):
        monkeypatch.setitem(tuning.tune.__kwdefaults__, name, value)
    return made_up


def kept_for(path: Path, settings: Settings) -> Tuned:
    return Tuned(
        fingerprint(path), this_machine(), path.stem, settings, None, "mixed", 0.1, 0.05, 0.2, "2026-01-02", "1", "1"
    )


def kept() -> tuple[Tuned, ...]:
    return load_tuned(Paths.find())


def test_what_won_is_printed_and_kept(lmlab: Lmlab, machine: Machine, tiny: Path) -> None:
    outcome = lmlab("bench", "--tune", str(tiny))
    assert outcome.code == 0
    header, threads, flash, ubatch = (line.split("\t") for line in outcome.out.splitlines())
    assert header == ["what", "usual", "tried", "kept", "gain", "gain_low", "gain_high", "why"]
    assert threads == ["threads", "2", "1,3,4", "4", "0.5000", "0.5000", "0.5000", "faster in all of 6 rounds"]
    assert (flash[0], flash[3], flash[7]) == ("flash attention", "", "not faster in round 1")
    assert (ubatch[0], ubatch[3], ubatch[7]) == ("ubatch", "", "none was faster")
    assert "threads: 4, not 2: +50% (+50% to +50%)\n" in outcome.err
    assert f"from now on {tiny} is loaded with 4 threads where nothing else is said" in outcome.err
    (tuned,) = kept()
    assert (tuned.settings, tuned.fingerprint, tuned.objective) == (Settings(threads=4), fingerprint(tiny), "mixed")


def test_json_has_all_of_it(lmlab: Lmlab, machine: Machine, tiny: Path) -> None:
    said = json.loads(lmlab("bench", "--tune", str(tiny), "--json", "--objective", "prefill").out)
    assert said["settings"] == {"threads": 4, "flash_attention": None, "ubatch": None, "kv_type": None}
    assert said["gain"]["median"] == pytest.approx(0.5)
    assert len(said["gain"]["rounds"]) == 6
    assert (said["before"]["prefill"], said["after"]["prefill"]) == (1000, 1500)
    assert said["tuned"]["objective"] == "prefill"
    assert said["cost"] is None
    assert [step["what"] for step in said["steps"]] == ["threads", "flash attention", "ubatch"]


def test_a_terminal_gets_it_in_words(
    lmlab: Lmlab, machine: Machine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Terminal() as out:
        monkeypatch.setattr(sys, "stdout", out)
        outcome = Outcome(lmlab("bench", "--tune", str(tiny)).code, out.shown, "")
    assert outcome.code == 0
    assert "4, not 2: +50%" in outcome.out
    assert "stays auto: off was not faster in round 1" in outcome.out
    assert max(map(cell_len, outcome.out.splitlines())) <= 80


def test_where_nothing_is_faster_what_was_kept_stays(lmlab: Lmlab, machine: Machine, tiny: Path) -> None:
    assert lmlab("bench", "--tune", str(tiny)).code == 0
    machine.gain = 1.0
    outcome = lmlab("bench", "--tune", str(tiny))
    assert outcome.code == 0
    assert "nothing was faster beyond doubt" in outcome.err
    assert "what was kept before stays: 4 threads" in outcome.err
    assert kept()[0].settings == Settings(threads=4)
    assert all(spec.threads != 4 for spec in machine.specs[-2:]), (
        "what was kept is not what others are measured against"
    )


def test_forgetting(lmlab: Lmlab, machine: Machine, tiny: Path) -> None:
    lmlab("bench", "--tune", str(tiny))
    outcome = lmlab("bench", "--tune", "--forget", str(tiny))
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"lmlab: forgotten: {tiny} is no longer loaded with 4 threads\n"
    assert kept() == ()
    assert "nothing is kept for" in lmlab("bench", "--tune", "--forget", str(tiny)).err


def test_what_could_not_be_kept_is_not_looked_for(
    lmlab: Lmlab, machine: Machine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Paths.find().tuned
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.write_text("{")
    outcome = lmlab("bench", "--tune", str(tiny))
    assert (outcome.code, outcome.out) == (1, "")
    assert "remove the file, and tune again" in outcome.err
    saved.unlink()

    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench_tune.tempfile, "mkdtemp", full)
    outcome = lmlab("bench", "--tune", str(tiny))
    assert (outcome.code, outcome.out) == (2, "")
    assert "No space left on device; set LMLAB_HOME" in outcome.err
    assert machine.specs == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where the tests run in the background, interrupts are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_a_killed_run_left_is_removed_and_another_run_is_left_alone(
    lmlab: Lmlab, machine: Machine, tiny: Path, interruptible: None
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    data = private_folder(Paths.find().data)
    left, other = data / f".tune-{dead.pid}-a", data / f".tune-{os.getppid()}-b"
    for folder in (left, other):
        folder.mkdir()
        (folder / "model.gguf").write_bytes(b"GGUF")
    machine.stop_at = 8
    lmlab("bench", "--tune", str(tiny))
    assert not left.exists()
    assert other.exists()


def test_an_interrupt_keeps_nothing(lmlab: Lmlab, machine: Machine, tiny: Path, interruptible: None) -> None:
    machine.stop_at = 8
    outcome = lmlab("bench", "--tune", str(tiny))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.endswith("lmlab: interrupted: nothing is kept\n")
    assert kept() == ()
    assert not list(Paths.find().data.glob(".tune-*"))


def test_a_model_that_does_not_load_is_one_line(
    lmlab: Lmlab, machine: Machine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: LoadSpec, **asked: Any) -> Speed:
        raise ModelLoadError("it needs more memory")

    monkeypatch.setitem(tuning.tune.__kwdefaults__, "measure", refuse)
    outcome = lmlab("bench", "--tune", str(tiny))
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "lmlab: it needs more memory\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--objective", "decode"), "--objective is for tuning: say --tune, too"),
        (("--forget",), "--forget is for tuning: say --tune, too"),
        (("--tune", "--objective", "fast"), "--objective fast: give mixed, decode or prefill"),
        (("--tune", "--allow", "kv,all"), "--allow kv,all: there is no 'all'; give kv or weights, or both"),
        (("--tune", "--quantize", "Q4_0"), "say --allow weights, too"),
        (("--tune", "--allow", "weights", "--quantize", "Q9"), "Q9"),
        (("--tune", "--forget", "--allow", "kv"), "--forget measures nothing"),
        (("--tune", "--deterministic"), "--deterministic uses nothing that tuning finds"),
        (("--tune", "--draft", "lookup"), "leave out --draft"),
        (("--tune", "--quick"), "say --max-time only"),
        (("--tune", "--repeat", "3"), "say --max-time only"),
        (("--tune", "--csv"), "say --json or nothing"),
        (("--tune", "--against", "last"), "say --json or nothing"),
        (("--tune", "another.gguf"), "--tune is for one model, and 2 are named"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    lmlab: Lmlab, machine: Machine, tiny: Path, arguments: tuple[str, ...], says: str
) -> None:
    outcome = lmlab("bench", str(tiny), *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert machine.specs == []


def test_a_variant_is_no_model_to_tune(lmlab: Lmlab, machine: Machine, tiny: Path) -> None:
    outcome = lmlab("bench", "--tune", f"{tiny}@temperature=0")
    assert outcome.code == 2
    assert "name it alone" in outcome.err


class Quantized(Machine):
    """Where a quantized KV cache, or weights of Q4_0, are faster."""

    def faster(self, spec: LoadSpec) -> bool:
        return spec.key_type == "q8_0" or Path(spec.path).stem.endswith("Q4_0")


@pytest.fixture
def quantized(monkeypatch: pytest.MonkeyPatch) -> Quantized:
    made_up = Quantized()
    monkeypatch.setattr(tuning, "logical_processors", lambda: 1)
    for name, value in (("measure", made_up), ("physical", 1), ("clock", made_up.clock)):
        monkeypatch.setitem(tuning.tune.__kwdefaults__, name, value)
    return made_up


def test_what_changes_replies_says_what_it_costs(
    lmlab: Lmlab, quantized: Quantized, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMLAB_THREADS", "1")
    outcome = lmlab("bench", "--tune", str(tiny), "--allow", "kv", "--json")
    assert outcome.code == 0
    said = json.loads(outcome.out)
    assert said["settings"]["kv_type"] == "q8_0"
    figures = said["cost"]["figures"]
    assert figures["kl"]["value"] > 0
    assert 0 < figures["agreement"]["value"] <= 1
    assert figures["kl"]["error"] is not None, "the text is long enough to name errors"
    assert kept()[0].settings == Settings(kv_type="q8_0")


def test_weights_that_win_become_a_model_of_their_own(
    lmlab: Lmlab, quantized: Quantized, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMLAB_THREADS", "1")
    outcome = lmlab("bench", "--tune", str(tiny), "--allow", "weights", "--quantize", "q8_0,q4_0,f32")
    assert f"F32 is left out: {tiny} has it already" in outcome.err
    assert "lmlab: what it costs, over the examples of lmlab's prompt templates:\n" in outcome.err
    assert "lmlab: same most likely token " in outcome.err
    assert outcome.code == 0, outcome.err
    written = Paths.find().models / "tiny-Q4_0.gguf"
    assert f"wrote {written}; use it with -m tiny-Q4_0" in outcome.err
    assert [path.name for path in written.parent.iterdir()] == ["tiny-Q4_0.gguf"]
    assert not list(Paths.find().data.glob(".tune-*"))
    assert lmlab("models", "show", "tiny-Q4_0").code == 0
    again = lmlab("bench", "--tune", str(tiny), "--allow", "weights", "--quantize", "q4_0")
    assert again.code == 2
    assert "is there already" in again.err


def test_a_real_model_is_really_measured(start: Program, tiny: Path) -> None:
    process = start("bench", "--tune", str(tiny), "--max-time", "2", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    said = json.loads(out)
    # Threads are named in the environment of these tests, so they are not varied.
    assert [step["what"] for step in said["steps"]][:2] == ["flash attention", "ubatch"]
    assert said["workload"]["prompt"] >= 64
    assert (said["gain"] is None) == (said["tuned"] is None)


# From then on


def test_a_real_run_is_loaded_with_what_was_found(
    start: Program, tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(Paths.find(), kept_for(tiny, Settings(ubatch=64)))

    def run(*options: str) -> tuple[int, str]:
        process = start("run", "-m", str(tiny), "--json", "-n", "1", "--raw", *options, "hello")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return json.loads(out)["engine"]["ubatch"], err.decode()

    ubatch, err = run()
    assert ubatch == 64
    assert "tiny is loaded with ubatch 64, as lmlab bench --tune found faster here (+10%)" in err
    assert run("--ubatch", "32")[0] == 32
    ubatch, err = run()
    assert (ubatch, "bench --tune" in err) == (64, False), "it is told once"
    assert run("--deterministic")[0] == 512


@pytest.mark.parametrize(
    ("command", "stdin"),
    [
        (("run", "-m", "fake", "Hi"), b""),
        (("chat", "--plain", "fake"), b"Hi\n"),
        (("batch", "-i", "-", "-m", "fake"), b"Hi\n"),
        (("compare", "fake@temperature=0,label=a", "fake@temperature=1,label=b", "-p", "Hi"), b""),
    ],
)
def test_every_command_loads_with_what_was_found(
    lmlab: Lmlab, fake: Fake, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], stdin: bytes
) -> None:
    monkeypatch.setattr(compare_command, "local_backend", lambda paths: fake.open)
    found = Settings(threads=3, ubatch=64, kv_type="q8_0")
    keep(Paths.find(), kept_for(fake.model.path, found))
    outcome = lmlab(*command, stdin=stdin)
    assert outcome.code == 0, outcome.err
    spec = fake.backend.spec
    assert (spec.threads, spec.ubatch, spec.key_type, spec.value_type) == (3, 64, "q8_0", "q8_0")
    assert outcome.err.count("as lmlab bench --tune found faster here") == 1
    assert lmlab(*command, "--kv-type", "f16", "--threads", "1", "--no-cache", stdin=stdin).code == 0
    spec = fake.backends[-1].spec
    assert (spec.threads, spec.ubatch, spec.key_type) == (1, 64, "f16")


def test_workers_that_share_the_processor_keep_their_shares(
    lmlab: Lmlab, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads were found for one model alone."""
    monkeypatch.setattr(compare_command, "local_backend", lambda paths: fake.open)
    monkeypatch.setattr("lmlab.lab.compare.workers.cores", lambda: 6)
    keep(Paths.find(), kept_for(fake.model.path, Settings(threads=5, ubatch=64)))
    assert (
        lmlab("compare", "fake@ctx=512,temperature=0,label=a", "fake@ctx=1024,temperature=1,label=b", "-p", "Hi").code
        == 0
    )
    assert [(backend.spec.threads, backend.spec.ubatch) for backend in fake.backends] == [(3, 64), (3, 64)]


def test_a_batch_that_was_begun_with_another_kv_type_is_not_gone_on_with(
    lmlab: Lmlab, fake: Fake, tmp_path: Path
) -> None:
    """Its lines would have come about in two ways."""
    rows, out = tmp_path / "rows.txt", tmp_path / "out.jsonl"
    rows.write_text("one\n")
    command = ("batch", "-i", str(rows), "-o", str(out), "-m", "fake")
    assert lmlab(*command).code == 0
    one = kept_for(fake.model.path, Settings(threads=3))
    keep(Paths.find(), one)
    assert "has 1 rows done: going on" in lmlab(*command).err
    keep(Paths.find(), replace(one, settings=Settings(kv_type="q8_0")))
    other = lmlab(*command)
    assert other.code == 2
    assert "--force" in other.err
    assert len(fake.backends) == 1


def test_the_temporary_folder_goes_whatever_happens(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "config.toml", tmp_path / "data", tmp_path / "logs")

    def interrupted() -> None:
        with bench_tune._temporary_folder(paths) as folder:
            shutil.copy(__file__, folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(paths.data.iterdir()) == []

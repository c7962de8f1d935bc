"""Settings, sessions, models, memory and the network: what each check finds when something is wrong."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from machines import machine
from model_stores import Stores
from tiny_models import write_llama

from lmlab import snapshot_layout
from lmlab.errors import UsageError
from lmlab.lab.doctor import configuration, main_memory, network, storage
from lmlab.lab.doctor.finding import Finding, guarded, worst
from lmlab.lab.doctor.models_found import ModelsFound
from lmlab.lab.tuning.machine import machine as this_machine
from lmlab.lab.tuning.saved import Tuned, keep
from lmlab.lab.tuning.settings import Settings
from lmlab.settings import Config, Paths, private_folder, write_private
from lmlab.store import Store


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture
def paths(home: Path) -> Paths:
    return Paths.find()


def test_what_goes_wrong_in_a_check_is_a_finding() -> None:
    for error in (UsageError("a\nb\x1b"), OSError(5, "Input/output error")):

        def check(error: Exception = error) -> list[Finding]:
            raise error

        (finding,) = guarded("files", "disk", check)
        assert (finding.section, finding.name, finding.level) == ("files", "disk", "broken")
        assert not {"\n", "\x1b"} & set(finding.text)


def test_the_worst_is_what_counts() -> None:
    def found(*levels: str) -> list[Finding]:
        return [Finding("", "", level, "") for level in levels]  # type: ignore[arg-type]

    assert worst([]) == "ok"
    assert worst(found("note", "ok")) == "note"
    assert worst(found("warning", "broken", "ok")) == "broken"


class TestConfig:
    def test_none_need_be(self, paths: Paths) -> None:
        config, finding = configuration.read(paths)
        assert (config, finding.level) == (Config(), "ok")

    def test_a_valid_one_says_what_it_sets(self, paths: Paths) -> None:
        write_private(paths.config, 'model = "x"\n[sampling]\ntemperature = 0.5\n')
        config, finding = configuration.read(paths)
        assert config.model == "x"
        assert (finding.level, finding.text) == ("ok", f"{paths.config}, valid; it sets model, [sampling]")

    @pytest.mark.parametrize(
        ("text", "says"),
        [("model = [", "cannot read"), ("modle = 'x'", "unknown key 'modle'"), ("[sampling]\ntop_p = 7", "top-p 7")],
    )
    def test_one_with_an_error_is_broken_and_not_used(self, paths: Paths, text: str, says: str) -> None:
        write_private(paths.config, text)
        config, finding = configuration.read(paths)
        assert (config, finding.level) == (Config(), "broken")
        assert says in finding.text
        assert finding.advice == f"mend {paths.config}, or move it away"

    def test_presets_that_cannot_be_read_are_broken(self, paths: Paths) -> None:
        write_private(paths.presets, "{")
        levels = {finding.name: finding.level for finding in configuration.check(paths)}
        assert levels == {"presets": "broken", "tuned": "ok"}

    def test_presets_of_ones_own_are_named(self, paths: Paths) -> None:
        write_private(paths.presets, '{"mine": {"temperature": 0.5}}')
        assert next(configuration.check(paths)).text == "1 of your own: mine"


class TestTuned:
    def tuned(self, of_machine: str) -> Tuned:
        return Tuned(
            *("f" * 16, of_machine, "smollm2", Settings(threads=3, ubatch=256), None, "decode"),
            *(0.123, 0.1, 0.15, "2026-01-02T03:04:05+00:00", "0.1.0", "0.3.36"),
        )

    def test_settings_of_this_machine_are_named(self, paths: Paths) -> None:
        keep(paths, self.tuned(this_machine()))
        (finding,) = configuration.check(paths)
        assert finding.text == "smollm2: 3 threads, ubatch 256 (+12% decode, 2026-01-02)"
        assert finding.values["settings"]["ubatch"] == 256

    def test_those_of_another_are_not_used(self, paths: Paths) -> None:
        keep(paths, self.tuned("another machine, 4 logical processors"))
        (finding,) = configuration.check(paths)
        assert (finding.level, finding.text) == ("note", "1 more, found on other machines, are not used on this one")

    def test_a_file_that_cannot_be_read_is_broken(self, paths: Paths) -> None:
        write_private(paths.tuned, "[]")
        (finding,) = configuration.check(paths)
        assert finding.level == "broken"
        assert str(paths.tuned) in finding.text


class TestStorage:
    def looked(self, paths: Paths, config: Config | None = None) -> dict[str, Finding]:
        return {finding.name: finding for finding in storage.check(paths, config or Config())}

    def test_whole_sessions_are_counted(self, paths: Paths) -> None:
        with closing(Store(paths.database)) as store:
            store.add_turn(store.create_session().id, None, "hello")
        finding = self.looked(paths)["database"]
        assert finding.level == "ok"
        assert finding.text.startswith("1 session, 1 message, ")

    def test_a_corrupt_store_is_broken_and_left_alone(self, paths: Paths) -> None:
        write_private(paths.database, "no database at all, whatever it is called " * 200)
        before = paths.database.read_bytes()
        found = self.looked(paths)
        assert (found["database"].level, found["snapshots"].level) == ("broken", "ok")
        assert "damaged" in found["database"].text
        assert paths.database.read_bytes() == before

    def test_broken_links_are_broken(self, paths: Paths) -> None:
        with closing(Store(paths.database)) as store:
            session = store.create_session().id
            store.add_turn(session, store.add_turn(session, None, "one").id, "two")
        with closing(sqlite3.connect(paths.database)) as connection:
            connection.execute("DELETE FROM turn WHERE content = 'one'")
            connection.commit()
        finding = self.looked(paths)["database"]
        assert finding.level == "broken"
        assert "it is damaged: turn row 2 names a turn that is not there" in finding.text
        assert finding.advice is not None
        assert "lmlab sessions export" in finding.advice

    def test_snapshots_are_measured_against_their_budget(self, paths: Paths) -> None:
        folder = private_folder(paths.snapshots / "abcde")
        for _ in range(2):
            (folder / snapshot_layout.new_name("0" * 16)).write_bytes(b"x" * 1000)
        finding = self.looked(paths, Config(snapshot_budget=5000))["snapshots"]
        assert (finding.level, finding.text) == ("ok", "2 prefixes, 2 kB of the 5 kB they may take")
        assert self.looked(paths, Config(snapshot_budget=1000))["snapshots"].level == "warning"
        off = self.looked(paths, Config(snapshot_budget=0))["snapshots"]
        assert (off.level, off.advice) == ("note", f"remove the folder {paths.snapshots}")


class TestModels:
    def looked(
        self, paths: Paths, named: str | None = None, *, config: Config | None = None, available: int = 10**12
    ) -> tuple[ModelsFound, dict[str, Finding]]:
        models = ModelsFound(paths, config or Config(), os.environ)
        findings = models.look(named, lambda: available, lambda: 10.0**10)
        return models, {finding.name: finding for finding in findings}

    def test_without_a_model_it_says_how_to_fetch_one(self, paths: Paths) -> None:
        models, found = self.looked(paths)
        assert models.model is None
        assert {finding.level for finding in found.values()} == {"note"}
        assert found["default"].advice == "fetch it now: lmlab models pull smollm2"

    def test_a_model_that_is_here_is_said_and_tried(self, paths: Paths) -> None:
        private_folder(paths.models)
        path = write_llama(paths.models / "mine.gguf")
        os.utime(path, (10.0**10 - 3 * 86_400 - 5, 0))
        models, found = self.looked(paths)
        assert models.model is not None
        assert models.model.path == path
        assert found["here"].text.startswith("1 model, ")
        assert found["model"].text == f"mine: llama F32, {path.stat().st_size // 1000 + 1} kB, fits, read 3 days ago"
        assert (found["default"].level, found["default"].advice) == (
            "note",
            "LMLAB_MODEL=mine, or model = in the config file, makes one the default",
        )

    def test_the_smallest_that_fits_is_tried(self, paths: Paths) -> None:
        private_folder(paths.models)
        small, large = write_llama(paths.models / "b.gguf"), paths.models / "a.gguf"
        large.write_bytes(small.read_bytes() + b"\0" * 1000)
        models, _ = self.looked(paths)
        assert models.model is not None
        assert models.model.path == small
        models, found = self.looked(paths, available=10)
        assert models.model is None
        assert found["model"].level == "note"
        assert "does not fit" in found["model"].text

    def test_the_defaults_are_followed_and_named(self, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
        private_folder(paths.models)
        for name in ("one", "two", "three"):
            write_llama(paths.models / f"{name}.gguf")
        write_private(paths.last_model, "three\n")
        _, found = self.looked(paths)
        assert found["default"].text.endswith("three.gguf, used last")
        _, found = self.looked(paths, config=Config(model="two"))
        assert found["default"].text.endswith("two.gguf, by the config file")
        monkeypatch.setenv("LMLAB_MODEL", "one")
        _, found = self.looked(paths, config=Config(model="two"))
        assert found["default"].text.endswith("one.gguf, by LMLAB_MODEL")
        _, found = self.looked(paths, "three")
        assert found["default"].text.endswith("three.gguf, as asked for")

    @pytest.mark.parametrize("named", ["nothing.gguf", "smollm2", "hf:a/b"])
    def test_one_that_is_not_here_is_broken_and_nothing_is_fetched(self, paths: Paths, named: str) -> None:
        models, found = self.looked(paths, named)
        assert (models.model, found["default"].level) == (None, "broken")

    def test_a_variable_that_names_nothing_is_broken(self, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMLAB_MODEL", "/nowhere.gguf")
        _, found = self.looked(paths)
        assert found["default"].level == "broken"
        assert found["default"].text.startswith("LMLAB_MODEL: ")

    def test_damaged_files_are_a_warning(self, paths: Paths) -> None:
        private_folder(paths.models)
        (paths.models / "cut.gguf").write_bytes(b"GGUF")
        _, found = self.looked(paths)
        assert found["damaged"].level == "warning"
        assert "cut.gguf" in found["damaged"].text


class TestMemory:
    def test_it_is_said_with_its_limit(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000000\n"}
        finding, swap = main_memory.check(machine(tmp_path, files), lambda: 2_000_000_000)
        assert (finding.level, finding.values["limit"]) == ("ok", 3_000_000)
        assert finding.text.endswith(", and this container may take 3 MB")
        assert swap.level == "ok"

    def test_too_little_is_a_warning(self, tmp_path: Path) -> None:
        finding, _ = main_memory.check(machine(tmp_path), lambda: 500_000_000)
        assert finding.level == "warning"
        assert finding.text.startswith("500 MB free of ")


class TestNetwork:
    def test_a_hub_that_cannot_be_reached_is_a_finding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        environ = {"HF_ENDPOINT": "http://127.0.0.1:9"}
        (finding,) = guarded("network", "model hub", lambda: network.check(environ))
        assert finding.level == "broken"
        assert "127.0.0.1:9 cannot be reached" in finding.text

    def test_one_that_is_switched_off_is_said(self) -> None:
        (finding,) = guarded("network", "model hub", lambda: network.check({"HF_HUB_OFFLINE": "1"}))
        assert "switched off" in finding.text

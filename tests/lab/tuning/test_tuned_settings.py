"""The settings that tuning found: what they change of a LoadSpec, how they are kept, and when they are put to use."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lmlab.backends import Backend, LoadSpec, Status
from lmlab.errors import StoreError
from lmlab.lab.tuning import saved
from lmlab.lab.tuning.saved import Tuned, forget, keep, load_tuned, mark_told, tuned_for
from lmlab.lab.tuning.settings import Settings, found_in
from lmlab.lab.tuning.using import SavedSettings
from lmlab.models import fingerprint
from lmlab.settings import Paths

HERE = "a processor, 4 logical processors"
SETTINGS = Settings(threads=3, flash_attention=False, ubatch=256)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "machine", lambda: HERE)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(config=tmp_path / "config.toml", data=tmp_path / "data", logs=tmp_path / "logs")


@pytest.fixture
def model(tmp_path: Path) -> LoadSpec:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return LoadSpec(str(path))


def tuned(of: str | LoadSpec = "f" * 16, settings: Settings = SETTINGS, **other: Any) -> Tuned:
    name = of if isinstance(of, str) else fingerprint(Path(of.path))
    usual = Tuned(
        fingerprint=name,
        machine=HERE,
        ref="smollm2",
        settings=settings,
        gpu_layers=None,
        objective="mixed",
        gain=0.12,
        gain_low=0.08,
        gain_high=0.2,
        date="2026-01-02T03:04:05+00:00",
        lmlab="1.0",
        llama_cpp="0.3",
    )
    return replace(usual, **other)


# What they change


def test_settings_go_where_nothing_was_said() -> None:
    used = SETTINGS.over(LoadSpec("m"), kv_said=False)
    assert (used.threads, used.flash_attention, used.ubatch, used.key_type) == (3, False, 256, "f16")
    said = LoadSpec("m", threads=8, flash_attention=True, ubatch=1024)
    assert SETTINGS.over(said, kv_said=False) == said
    assert Settings().over(LoadSpec("m"), kv_said=False) == LoadSpec("m")


def test_kv_types_that_were_asked_for_stay() -> None:
    quantized = Settings(kv_type="q8_0")
    used = quantized.over(LoadSpec("m"), kv_said=False)
    assert (used.key_type, used.value_type) == ("q8_0", "q8_0")
    assert quantized.over(LoadSpec("m"), kv_said=True) == LoadSpec("m")


def test_a_quantized_v_cache_keeps_flash_attention() -> None:
    """Either way llama.cpp would refuse the two together."""
    asked = LoadSpec("m", key_type="q8_0", value_type="q8_0")
    assert Settings(flash_attention=False).over(asked, kv_said=True) == asked
    without = LoadSpec("m", flash_attention=False)
    assert Settings(kv_type="q8_0").over(without, kv_said=False) == without
    keys_only = LoadSpec("m", key_type="q8_0")
    assert Settings(flash_attention=False).over(keys_only, kv_said=True).flash_attention is False


def test_settings_are_what_tuning_changed() -> None:
    base = LoadSpec("m", threads=2)
    assert found_in(base, base) == Settings()
    won = replace(base, flash_attention=False, ubatch=256, key_type="q8_0", value_type="q8_0")
    assert found_in(won, base) == Settings(flash_attention=False, ubatch=256, kv_type="q8_0")


def test_settings_in_words() -> None:
    assert Settings().words() == ""
    assert Settings(threads=1).words() == "1 thread"
    every = Settings(3, flash_attention=False, ubatch=256, kv_type="q8_0")
    assert every.words() == "3 threads, flash attention off, ubatch 256, KV cache q8_0"
    assert every.in_force(LoadSpec("m", threads=3, flash_attention=True)) == Settings(threads=3)


# How they are kept


def test_what_is_kept_is_found_again(paths: Paths) -> None:
    first, second = tuned("a" * 16), tuned("b" * 16, Settings(kv_type="q4_0"), told=True, gpu_layers=0)
    assert load_tuned(paths) == ()
    keep(paths, first)
    keep(paths, second)
    assert load_tuned(paths) == (first, second)
    assert tuned_for(paths, "b" * 16) == second
    assert tuned_for(paths, "c" * 16) is None


def test_a_file_name_may_be_no_text(paths: Paths) -> None:
    one = replace(tuned(), ref="models/\udcff.gguf")
    keep(paths, one)
    assert load_tuned(paths) == (one,)


def test_the_newest_replaces_what_was_kept_for_the_same(paths: Paths) -> None:
    elsewhere = tuned(machine="another machine")
    for one in (tuned(), elsewhere, tuned(settings=Settings(threads=1))):
        keep(paths, one)
    assert load_tuned(paths) == (elsewhere, tuned(settings=Settings(threads=1)))


def test_another_machine_has_settings_of_its_own(paths: Paths) -> None:
    keep(paths, tuned(machine="another machine"))
    assert tuned_for(paths, "f" * 16) is None
    assert forget(paths, "f" * 16) is None
    assert len(load_tuned(paths)) == 1


def test_forgetting_leaves_the_others(paths: Paths) -> None:
    keep(paths, tuned("a" * 16))
    keep(paths, tuned("b" * 16))
    assert forget(paths, "a" * 16) == tuned("a" * 16)
    assert load_tuned(paths) == (tuned("b" * 16),)
    assert forget(paths, "a" * 16) is None


def _changed(**changes: Any) -> str:
    return json.dumps({"format": 1, "tuned": [{**asdict(tuned()), **changes}]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is not of format 1"),
        ('{"format": 2, "tuned": []}', "it is not of format 1"),
        ('{"format": 1, "tuned": [3]}', "an entry has no settings"),
        ('{"format": 1, "tuned": [{"settings": {}}]}', "missing"),
        (_changed(surprise=1), "surprise"),
        (_changed(ref=3), "lacks a name"),
        (_changed(gain="much"), "a gain is no number"),
        (_changed(settings={"threads": 0}), "threads or ubatch"),
        (_changed(settings={"threads": 513}), "threads or ubatch"),
        (_changed(settings={"ubatch": 4096}), "threads or ubatch"),
        (_changed(settings={"ubatch": True}), "threads or ubatch"),
        (_changed(settings={"flash_attention": "no"}), "true or false"),
        (_changed(settings={"kv_type": "q9"}), "there is no KV type 'q9'"),
        (_changed(settings={"speed": 3}), "speed"),
        (_changed(gpu_layers="all"), "gpu_layers is no number"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_to_do(paths: Paths, text: str, says: str) -> None:
    """Nothing of it may reach llama.cpp, which ends the process at a bad number."""
    paths.data.mkdir()
    paths.tuned.write_text(text)
    with pytest.raises(StoreError, match=says) as raised:
        load_tuned(paths)
    assert "remove the file, and tune again with lmlab bench --tune MODEL" in str(raised.value)


def test_a_file_that_cannot_be_written_is_said(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, "write_private", full)
    with pytest.raises(StoreError, match=r"cannot write .*tuned\.json: No space left on device; make room"):
        keep(paths, tuned())


# When they are used


class Opened:
    """What was opened, and what was said."""

    def __init__(self, paths: Paths, *, kv_said: bool = False) -> None:
        self.specs: list[LoadSpec] = []
        self.said: list[str] = []
        self.saved = SavedSettings(paths, kv_said=kv_said, say=self.said.append)

    def __call__(self, spec: LoadSpec, *, tell: bool = True) -> LoadSpec:
        self.saved.opener(self._open, tell=tell)(spec, _unheard)
        return self.specs[-1]

    def _open(self, spec: LoadSpec, on_status: Any) -> Backend:
        self.specs.append(spec)
        return None  # type: ignore[return-value]


def _unheard(status: Status) -> None:
    pass


def test_a_model_is_opened_with_what_was_found_for_it(paths: Paths, model: LoadSpec, tmp_path: Path) -> None:
    keep(paths, tuned(model))
    opened = Opened(paths)
    assert opened(model) == replace(model, threads=3, flash_attention=False, ubatch=256)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF of another kind")
    assert opened(LoadSpec(str(other))) == LoadSpec(str(other))


def test_what_was_said_goes_over_what_was_found(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model, replace(SETTINGS, flash_attention=None, kv_type="q8_0")))
    assert Opened(paths)(replace(model, threads=1)).threads == 1
    assert Opened(paths)(replace(model, threads=1)).key_type == "q8_0"
    assert Opened(paths, kv_said=True)(model).key_type == "f16"


@pytest.mark.parametrize("changes", [{"deterministic": True}, {"rank": True}, {"gpu_layers": 0}])
def test_it_is_not_used_where_it_does_not_belong(paths: Paths, model: LoadSpec, changes: dict[str, Any]) -> None:
    keep(paths, tuned(model))
    spec = replace(model, **changes)
    opened = Opened(paths)
    assert opened(spec) == spec
    assert opened.said == []


def test_a_person_is_told_the_first_time_only(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model))
    first, second = Opened(paths), Opened(paths)
    first(model)
    first(model)
    second(model)
    expected = (
        "smollm2 is loaded with 3 threads, flash attention off, ubatch 256, as lmlab bench --tune found faster here "
        "(+12%); lmlab bench --tune --forget smollm2 undoes that"
    )
    assert first.said == [expected]
    assert second.said == []
    assert second.specs[-1].threads == 3


def test_what_changes_replies_is_told_every_time(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model, Settings(kv_type="q8_0"), told=True))
    opened = Opened(paths)
    opened(model)
    opened(model)
    assert len(opened.said) == 1
    assert "KV cache q8_0" in opened.said[0]


def test_only_what_is_in_force_is_told(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model))
    opened = Opened(paths)
    opened(replace(model, threads=8, flash_attention=True))
    assert opened.said[0].startswith("smollm2 is loaded with ubatch 256, as")
    nothing = Opened(paths)
    nothing(replace(model, threads=8, flash_attention=True, ubatch=64))
    assert nothing.said == []


def test_where_nobody_can_read_it_nothing_is_told_and_it_is_told_later(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model))
    opened = Opened(paths)
    assert opened(model, tell=False).threads == 3
    assert opened.said == []
    again = Opened(paths)
    again(model)
    assert len(again.said) == 1


def test_a_record_has_what_changes_results_and_no_threads(paths: Paths, model: LoadSpec) -> None:
    keep(paths, tuned(model, replace(SETTINGS, flash_attention=None, kv_type="q8_0")))
    opened = Opened(paths)
    planned = opened.saved.results_over(model)
    assert planned == replace(model, key_type="q8_0", value_type="q8_0")
    assert opened.said[0].startswith("smollm2 is loaded with 3 threads, ubatch 256, KV cache q8_0, as")
    # What opens it adds the rest, unless threads were shared out meanwhile.
    assert (opened(planned).threads, opened(planned).ubatch) == (3, 256)
    assert opened(replace(planned, threads=1)).threads == 1


def test_a_file_that_cannot_be_read_is_said_and_the_model_loads(paths: Paths, model: LoadSpec) -> None:
    paths.data.mkdir()
    paths.tuned.write_text("{")
    opened = Opened(paths)
    assert opened(model) == model
    assert opened.said[0].startswith("loaded without tuned settings: the tuned settings in ")


def test_that_it_was_told_is_noted_beside_the_rest(paths: Paths) -> None:
    keep(paths, tuned())
    mark_told(paths, tuned())
    assert load_tuned(paths) == (tuned(told=True),)

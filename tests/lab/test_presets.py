"""Presets: those that come with lmlab, a person's own in their file, and those of a chat."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.errors import UsageError
from lmlab.lab import slash
from lmlab.lab.events import Notice
from lmlab.lab.presets import BUILT_IN, SHAPE, Preset, Presets
from lmlab.lab.slash_complete import complete
from lmlab.lab.variant import parse_variant
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.settings import Paths


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(tmp_path / "home" / "presets.json")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, auto=True)
    yield desk
    desk.close()


def test_those_that_come_with_lmlab_say_all_of_how_tokens_are_drawn(presets: Presets) -> None:
    assert [preset.name for preset in presets.all()] == ["greedy", "precise", "balanced", "creative"]
    for preset in BUILT_IN:
        assert set(preset.sampling.to_dict()) == set(SHAPE)
    assert presets.get("Greedy").sampling.temperature == 0
    assert presets.get("balanced").matches(DEFAULTS)


def test_what_is_saved_is_there_for_the_next_one_who_looks(presets: Presets, tmp_path: Path) -> None:
    mine = SamplingParams(temperature=0.55, top_k=7, seed=3, max_tokens=9, stop=("x",))
    assert presets.save(" Mine ", mine) is None
    again = Presets(tmp_path / "home" / "presets.json")
    saved = again.get("mine")
    assert (saved.sampling.temperature, saved.sampling.top_k, saved.own) == (0.55, 7, True)
    # How long and with which seed is no preset's to say, and what was left open is the default.
    assert set(saved.sampling.to_dict()) == set(SHAPE)
    assert saved.sampling.top_p == DEFAULTS.top_p
    assert [preset.name for preset in again.all()][-1] == "mine"
    assert again.save("mine", SamplingParams(temperature=1)) == saved
    assert again.remove("mine").sampling.temperature == 1
    assert again.all() == BUILT_IN


@pytest.mark.skipif(sys.platform == "win32", reason="there, modes say nothing of who may read")
def test_the_file_is_its_owners_alone(presets: Presets, tmp_path: Path) -> None:
    presets.save("mine", DEFAULTS)
    file = tmp_path / "home" / "presets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("greedy", "greedy comes with lmlab and stays as it is"),
        ("undo", "'undo' cannot be the name of a preset"),
        ("my preset", "'my preset' cannot be the name"),
        ("", "'' cannot be the name"),
        ("x" * 41, "up to 40 small letters"),
    ],
)
def test_some_names_cannot_be_had(presets: Presets, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        presets.save(name, DEFAULTS)
    assert presets.all() == BUILT_IN


def test_a_name_that_is_none_is_said_with_near_ones(presets: Presets) -> None:
    with pytest.raises(UsageError, match="no preset is called 'crative': did you mean creative"):
        presets.get("crative")
    with pytest.raises(UsageError, match="there are greedy, precise, balanced, creative"):
        presets.get("zzz")
    with pytest.raises(UsageError, match="precise comes with lmlab and cannot be removed"):
        presets.remove("precise")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", 'write {"name"'),
        ('{"mine": {"temperature": "hot"}}', "mine: temperature 'hot': give a number from 0 to 100"),
        ('{"mine": {"seed": 1}}', "mine: a preset has no 'seed'"),
        ('{"greedy": {"temperature": 1}}', "'greedy' cannot be the name"),
        ('{"mine": 3}', "mine: write sampling parameters in braces"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_named_and_left_alone(
    presets: Presets, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "home" / "presets.json"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"presets\.json cannot be read: ") as caught:
        presets.all()
    assert message in str(caught.value)
    with pytest.raises(UsageError):
        presets.save("other", DEFAULTS)
    assert file.read_text(encoding="utf-8") == text
    assert presets.get("creative").name == "creative"


def test_what_has_no_effect_makes_no_difference() -> None:
    greedy = BUILT_IN[0]
    assert greedy.matches(DEFAULTS.with_value("temperature", 0.0).with_value("top_k", 3))
    assert not greedy.matches(DEFAULTS.with_value("temperature", 0.0).with_value("repeat_penalty", 1.1))


def test_a_preset_goes_over_what_was_asked_and_leaves_the_rest(desk: Desk) -> None:
    desk.open()
    assert desk.chat.preset is None  # The model recommends a temperature of its own.
    desk.chat.set_sampling("seed", 7)
    desk.chat.set_sampling("temperature", 1.9)
    desk.chat.set_preset("precise")
    assert (desk.chat.asked.seed, desk.chat.asked.temperature, desk.chat.preset) == (7, 0.3, "precise")
    desk.chat.set_sampling("temperature", 0.31)
    assert desk.chat.preset is None


def test_of_two_that_draw_alike_the_one_that_was_chosen_is_named(desk: Desk) -> None:
    desk.open()
    desk.chat.set_preset("creative")
    slash.run(desk.chat, "/preset save wild")
    assert desk.chat.preset == "wild"
    desk.chat.set_preset("creative")
    assert desk.chat.preset == "creative"


def test_a_reply_under_way_follows(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    backend = desk.open()
    desk.chat.send("hi")
    desk.chat.set_preset("greedy")
    assert backend.updates[-1][1].temperature == 0
    desk.chat.presets.undo()
    assert backend.updates[-1][1].temperature is None
    desk.close()


def test_choosing_saving_and_removing_can_be_taken_back(desk: Desk) -> None:
    desk.open()
    with pytest.raises(UsageError, match="there is nothing to undo"):
        slash.run(desk.chat, "/preset undo")
    desk.chat.set_sampling("top_k", 3)
    slash.run(desk.chat, "/preset greedy")
    desk.chat.set_sampling("seed", 5)
    slash.run(desk.chat, "/preset undo")
    assert desk.chat.asked == SamplingParams(top_k=3, seed=5)

    slash.run(desk.chat, "/preset save mine")
    desk.chat.set_sampling("top_k", 4)
    slash.run(desk.chat, "/preset save mine")
    assert desk.chat.presets.known[-1].sampling.top_k == 4
    slash.run(desk.chat, "/preset undo")
    assert desk.chat.presets.known[-1].sampling.top_k == 3
    slash.run(desk.chat, "/preset remove mine")
    assert desk.chat.presets.known == BUILT_IN
    slash.run(desk.chat, "/preset undo")
    assert desk.chat.presets.known[-1].name == "mine"
    slash.run(desk.chat, "/preset save other")
    slash.run(desk.chat, "/preset undo")
    assert [preset.name for preset in desk.chat.presets.known if preset.own] == ["mine"]


def test_the_list_marks_what_is_in_force(desk: Desk) -> None:
    desk.open()
    lines = slash.run(desk.chat, "/preset").lines
    assert lines[-1].startswith("  now, like none of them: temperature 0.60, top-k 20")
    assert not any(line.startswith("›") for line in lines)
    assert slash.run(desk.chat, "/preset greedy").lines == ("greedy: temperature 0.00",)
    lines = slash.run(desk.chat, "/presets").lines
    assert [line for line in lines if line.startswith("›")] == [
        "› greedy    temperature 0.00 (always the likeliest token)"
    ]
    assert len(lines) == len(BUILT_IN)


def test_the_list_has_what_another_program_saved_meanwhile(desk: Desk) -> None:
    desk.open()
    slash.run(desk.chat, "/preset")
    Presets(desk.paths.presets).save("theirs", SamplingParams(temperature=0.1))
    assert any(line.startswith("  theirs ") for line in slash.run(desk.chat, "/preset").lines)


def test_a_file_that_cannot_be_read_is_told_once_and_the_chat_goes_on(desk: Desk) -> None:
    desk.paths.presets.write_text("nonsense", encoding="utf-8")
    desk.open()
    desk.chat.set_preset("balanced")
    assert desk.chat.preset == desk.chat.preset == "balanced"
    assert [note.text for note in desk.told(Notice) if "presets.json cannot be read" in note.text] != []
    assert sum("presets.json" in note.text for note in desk.told(Notice)) == 1


def test_names_are_completed(desk: Desk) -> None:
    desk.open()
    slash.run(desk.chat, "/preset save mine")
    assert complete("/preset ", chat=desk.chat)[:2] == ["/preset greedy", "/preset precise"]
    assert complete("/preset s", chat=desk.chat) == ["/preset save "]
    assert complete("/preset remove ", chat=desk.chat) == ["/preset remove mine"]


def test_a_variant_takes_a_preset_and_is_written_with_it() -> None:
    Presets(Paths.find().presets).save("mine", SamplingParams(temperature=0.5))
    variant = parse_variant("m@temp=0.25,preset=mine,seed=1")
    assert variant.preset == Preset("mine", variant.preset.sampling if variant.preset else SamplingParams())
    assert (variant.sampling.temperature, variant.sampling.top_k, variant.sampling.seed) == (0.25, 40, 1)
    assert str(variant) == variant.label == "m@preset=mine,temperature=0.25,seed=1"
    assert parse_variant(str(variant)) == variant
    with pytest.raises(UsageError, match=r"in the variant m@preset=min: no preset is called 'min': did you mean mine"):
        parse_variant("m@preset=min")


def test_a_preset_file_is_what_json_says_it_is(presets: Presets, tmp_path: Path) -> None:
    presets.save("mine", SamplingParams(temperature=0.5))
    written = json.loads((tmp_path / "home" / "presets.json").read_text(encoding="utf-8"))
    assert list(written) == ["mine"]
    assert written["mine"]["temperature"] == 0.5

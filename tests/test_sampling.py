from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.errors import SamplingError
from lmlab.sampling import (
    BY_NAME,
    DEFAULTS,
    PARAMETERS,
    Parameter,
    SamplingParams,
    candidate_seed,
    ineffective,
    recommended,
)

NAMES = [f.name for f in fields(SamplingParams)]
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 100),
        "top_k": st.integers(0, 100),
        "top_p": st.floats(0, 1),
        "min_p": st.floats(0, 1),
        "seed": st.integers(-1, 2**32 - 2),
        "max_tokens": st.integers(1, 1000),
        "stop": st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    },
)
PARAMS = VALUES.map(lambda values: SamplingParams(**values))


def just_beyond(parameter: Parameter) -> tuple[float, float]:
    if parameter.kind == "int":
        return parameter.minimum - 1, parameter.maximum + 1
    return math.nextafter(parameter.minimum, -math.inf), math.nextafter(parameter.maximum, math.inf)


def test_every_field_but_stop_is_a_parameter_that_can_be_turned() -> None:
    assert [parameter.name for parameter in PARAMETERS] == [name for name in NAMES if name != "stop"]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_both_ends_of_a_range_are_in_it_and_nothing_beyond(parameter: Parameter) -> None:
    for value in (parameter.minimum, parameter.maximum):
        kept = getattr(SamplingParams(**{parameter.name: value}), parameter.name)
        assert kept == value
        assert type(kept) is (int if parameter.kind == "int" else float)
    for value in just_beyond(parameter):
        with pytest.raises(SamplingError, match=parameter.label) as caught:
            SamplingParams(**{parameter.name: value})
        assert parameter.describe_range() in str(caught.value)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400), True, "1", [1], 1j], ids=repr)
def test_what_is_no_number_in_range_is_refused(parameter: Parameter, value: object) -> None:
    with pytest.raises(SamplingError, match=parameter.label):
        SamplingParams(**{parameter.name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [parameter.name for parameter in PARAMETERS if parameter.kind == "int"])
def test_whole_numbers_only(name: str) -> None:
    assert type(getattr(SamplingParams(**{name: 7.0}), name)) is int
    with pytest.raises(SamplingError, match="a whole number"):
        SamplingParams(**{name: 7.5})


def test_a_range_is_told_in_full() -> None:
    assert BY_NAME["top_p"].describe_range() == "a number from 0 to 1"
    assert BY_NAME["repeat_penalty"].describe_range() == "a number from 0.01 to 100"
    assert BY_NAME["top_k"].describe_range() == "a whole number of 0 or more"
    assert BY_NAME["seed"].describe_range() == "a whole number from -1 to 4294967294"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("temperature", "0.7", 0.7), ("temperature", "1", 1.0), ("top_k", "40", 40), ("seed", "0", 0), ("seed", "-1", -1)],
)
def test_parse(name: str, text: str, value: float) -> None:
    parsed = BY_NAME[name].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("top_k", "4.5"), ("top_k", ""), ("top_p", "a lot"), ("top_p", "nan"), ("seed", "9" * 5000)]
)
def test_parse_refuses(name: str, text: str) -> None:
    with pytest.raises(SamplingError, match="give a"):
        BY_NAME[name].parse(text)


@pytest.mark.parametrize("stop", ["###", 5, {"a": 1}, [""], ["a", ""], [1], [None]], ids=repr)
def test_stop_is_a_list_of_texts(stop: Any) -> None:
    with pytest.raises(SamplingError, match="stop"):
        SamplingParams.from_dict({"stop": stop})


@settings(deadline=None)
@given(PARAMS, PARAMS)
def test_merge_keeps_what_is_set_and_fills_the_rest(above: SamplingParams, below: SamplingParams) -> None:
    merged = above.merge(below)
    for name in NAMES:
        mine = getattr(above, name)
        assert getattr(merged, name) == (mine if mine is not None else getattr(below, name))


def test_merge_takes_zero_and_no_stops_for_values() -> None:
    zero = SamplingParams(temperature=0, top_k=0, seed=0, stop=())
    assert zero.merge(SamplingParams(temperature=1, top_k=9, seed=9, stop=("x",))) == zero


@settings(deadline=None)
@given(PARAMS)
def test_a_dictionary_and_back(params: SamplingParams) -> None:
    assert SamplingParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params


def test_an_unknown_key_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(SamplingError, match=r"'temprature'.*temperature"):
        SamplingParams.from_dict({"temprature": 1})
    with pytest.raises(SamplingError, match="'nope'"):
        DEFAULTS.with_value("nope", 1)


@settings(deadline=None)
@given(PARAMS, PARAMS)
def test_changes_tell_what_differs_and_lead_from_one_to_the_other(old: SamplingParams, new: SamplingParams) -> None:
    changes = old.changes(new)
    assert [name for name, _, _ in changes] == [name for name in NAMES if getattr(old, name) != getattr(new, name)]
    for name, before, after in changes:
        assert getattr(old, name) == before
        old = old.with_value(name, after)
    assert old == new


def test_with_value_checks_and_unsets() -> None:
    assert DEFAULTS.with_value("top_k", None).top_k is None
    with pytest.raises(SamplingError, match="top-p 2"):
        DEFAULTS.with_value("top_p", 2)


def test_defaults_are_complete_but_for_the_seed_and_the_length() -> None:
    assert {name for name in NAMES if getattr(DEFAULTS, name) is None} == {"seed", "max_tokens"}


def test_what_a_model_file_recommends() -> None:
    metadata = {
        "general.sampling.temp": "0.600000",
        "general.sampling.top_k": 20,
        "general.sampling.top_p": 0.95,
        "general.sampling.penalty_repeat": "1.05",
        "general.sampling.penalty_last_n": "128",
        "general.name": "x",
    }
    assert recommended(metadata.get) == SamplingParams(
        temperature=0.6, top_k=20, top_p=0.95, repeat_penalty=1.05, repeat_last_n=128
    )


@pytest.mark.parametrize(
    "nonsense", ["", "hot", "-1", "1e999", "nan", b"\xff", [1, 2], "9" * 5000], ids=lambda v: repr(v)[:9]
)
def test_nonsense_recommends_nothing(nonsense: object) -> None:
    assert recommended(lambda _key: nonsense) == SamplingParams()


def test_no_metadata_recommends_nothing() -> None:
    assert recommended(lambda _key: None) == SamplingParams()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"repeat_last_n"}),
        ({"temperature": 0.0}, {"top_k", "top_p", "min_p", "seed", "repeat_last_n"}),
        ({"repeat_penalty": 1.1}, set()),
        ({"presence_penalty": -0.5}, set()),
        ({"frequency_penalty": 0.5}, set()),
        (
            {"repeat_penalty": 1.1, "repeat_last_n": 0},
            {"repeat_penalty", "presence_penalty", "frequency_penalty"},
        ),
    ],
)
def test_what_has_no_effect(changes: dict[str, Any], names: set[str]) -> None:
    reasons = ineffective(SamplingParams(**changes).merge(DEFAULTS))
    assert set(reasons) == names
    assert all(reasons.values())


@pytest.mark.parametrize(("value", "text"), [(None, "unset"), (0.8, "0.80"), (0, "0.00")])
def test_format(value: float | None, text: str) -> None:
    assert BY_NAME["temperature"].format(value) == text
    assert BY_NAME["top_k"].format(40) == "40"


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 2])
def test_candidates_have_seeds_of_their_own(seed: int) -> None:
    seeds = [candidate_seed(seed, candidate) for candidate in range(256)]
    assert seeds[0] == seed
    assert len(set(seeds)) == 256
    assert all(0 <= found <= BY_NAME["seed"].maximum for found in seeds)
    assert seeds == [candidate_seed(seed, candidate) for candidate in range(256)]


def test_neighbouring_seeds_share_no_candidates() -> None:
    seeds = [candidate_seed(seed, candidate) for seed in range(64) for candidate in range(64)]
    assert len(set(seeds)) == len(seeds)


def test_the_seeds_of_candidates_stay_what_they_are() -> None:
    """A recorded run is repeated by its seed: another hash would make it another run."""
    assert [candidate_seed(42, candidate) for candidate in range(4)] == [42, 4156582098, 2445218553, 3319172875]

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UsageError
from lmlab.lab.batch.keys import content_key, row_content, row_key, row_seed
from lmlab.lab.batch.row import BadRow, Row

RUN = "00112233445566ff"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def row(**values: object) -> Row:
    return Row(1, 1, dict(values), None, 10)


def test_a_key_is_the_same_on_every_machine_and_in_every_python() -> None:
    # Reckoned apart, by b2sum over the JSON.
    whole = row(question="Wie heißt du? \N{GRINNING FACE}", number=3, ratio=0.1, nested={"b": [1, None], "a": True})
    assert row_content(whole).hex() == "a3d3970ee9e4df92f4edc92660ad2a58"
    assert row_key(RUN, whole, 0) == "fb61f14c321d08c38aa8405ee9b446d8"
    assert row_seed(7, row_key(RUN, whole, 0)) == 3_393_205_857


@given(st.dictionaries(st.text(), json_values, max_size=5), st.randoms())
def test_the_order_of_columns_does_not_matter(values: dict[str, object], order: random.Random) -> None:
    names = list(values)
    order.shuffle(names)
    assert row_content(Row(1, 1, {name: values[name] for name in names}, None, 1)) == row_content(
        Row(9, 9, values, "x", 2)
    )


def test_what_differs_in_json_differs() -> None:
    different = [row(a=1), row(a=1.0), row(a="1"), row(a=True), row(a=[1]), row(a=None), row(), row(b=1), row(a=1, b=1)]
    assert len({row_content(each) for each in different}) == len(different)


def test_the_run_and_the_occurrence_tell_equal_rows_apart() -> None:
    same = row(prompt="hello")
    keys = [row_key(RUN, same, 0), row_key(RUN, same, 1), row_key("f" * 16, same, 0)]
    assert len(set(keys)) == 3
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert content_key(RUN, row_content(same), 1) == keys[1]


def test_a_bad_row_is_known_by_its_place_and_its_fault() -> None:
    bad = BadRow(3, 7, None, UsageError("q.jsonl, line 7: broken"), 99)
    assert row_key(RUN, bad, 0) == row_key(RUN, BadRow(4, 7, None, UsageError("q.jsonl, line 7: broken"), 120), 0)
    assert row_key(RUN, bad, 0) != row_key(RUN, BadRow(3, 8, None, UsageError("q.jsonl, line 8: broken"), 99), 0)


def test_seeds_follow_from_the_run_and_the_key_and_spread() -> None:
    keys = [row_key(RUN, row(number=number), 0) for number in range(500)]
    seeds = {row_seed(0, key) for key in keys}
    assert len(seeds) == 500
    assert max(seeds) <= 2**32 - 2
    assert {seed >> 28 for seed in seeds} == set(range(16))
    assert seeds.isdisjoint(row_seed(1, key) for key in keys)

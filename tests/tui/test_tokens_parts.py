"""What the tokens view is made of: spelled tokens, lines of them, bands, bars, and what a slider's place means."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tokens_oracle import weigh

from lmlab.errors import SamplingError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.tui.widgets.tokens.bands import BANDS, band, perplexity, probability
from lmlab.tui.widgets.tokens.figures import bar_cells, first_alternative, percent, scale, stage_index, window
from lmlab.tui.widgets.tokens.flow import Flow
from lmlab.tui.widgets.tokens.knobs import KNOBS, Knobs
from lmlab.tui.widgets.tokens.spelling import Spelling, fit, shown
from lmlab.tui.widgets.tokens.tables import AllStages, OneStage, table

COMBINING = "\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (" Paris", "▁Paris"),
        ("a\n\n", "a⏎⏎"),
        ("\t", "⇥"),
        (r"\xe2\x80", "‹0xE280›"),
        (r"\x41", r"\x41"),
        ("", "‹›"),
        ("\x1b[2J", "␛[2J"),
        ("\r", "␍"),
        (COMBINING, "‹U+0301›"),
        (f"{COMBINING}e", f"◌{COMBINING}e"),
        ("\N{ZERO WIDTH JOINER}", "‹U+200D›"),
        ("[bold]", "[bold]"),
    ],
)
def test_a_token_is_seen_whatever_it_is(text: str, mark: str) -> None:
    assert shown(text) == mark


@given(st.text(max_size=8))
def test_a_shown_token_is_one_line_and_has_a_cell_to_click(text: str) -> None:
    assert len(shown(text).splitlines()) == 1
    assert cell_len(shown(text)) >= 1


def test_a_spelling_asks_for_each_token_once() -> None:
    spelling = Spelling()
    assert spelling.missing((5, 6, 5)) == (5, 6)
    spelling.add((5,), (" a",))
    assert spelling.missing((5, 6, 5)) == (6,)
    assert spelling[5] == "▁a"


def test_what_is_longer_than_its_cells_is_cut_and_wide_characters_are_not_halved() -> None:
    assert fit("Paris", 7) == "Paris  "
    assert fit("Madagascar", 5) == "Mada…"
    assert cell_len(fit("日本語日本語", 6)) == 6


def lines(flow: Flow) -> list[str]:
    return ["".join(piece.text for piece in line) for line in flow.lines]


def flow_of(*texts: str, width: int) -> Flow:
    flow = Flow(width)
    for text in texts:
        flow.append(text)
    return flow


def test_a_line_breaks_before_the_word_that_does_not_fit() -> None:
    flow = flow_of("The", "▁long", "▁un", "able", width=12)
    assert lines(flow) == ["The▁long", "▁unable"]
    assert [flow.line_of(token) for token in range(4)] == [0, 0, 1, 1]


def test_a_word_longer_than_a_third_of_the_line_breaks_between_its_tokens() -> None:
    assert lines(flow_of("A", "▁anti", "dis", "estab", width=12)) == ["A▁antidis", "estab"]


def test_a_newline_ends_its_line_also_within_a_token() -> None:
    assert lines(flow_of("a", "⏎⏎", "b⏎c", width=12)) == ["a⏎", "⏎", "b⏎", "c"]


def test_a_token_wider_than_the_line_goes_on_below() -> None:
    flow = flow_of("x", "abcdefgh", width=5)
    assert lines(flow) == ["x", "abcde", "fgh"]
    assert flow.line_of(1) == 1
    assert flow.at(2, 1) == 1


def test_what_stands_where_is_known() -> None:
    flow = flow_of("日本", "▁is", "⏎", "Japan", width=20)
    assert [flow.at(0, x) for x in range(9)] == [0, 0, 0, 0, 1, 1, 1, 2, None]
    assert flow.at(1, 0) == 3
    assert flow.at(2, 0) is None
    assert flow.at(-1, 0) is None


def test_up_and_down_go_to_the_nearest_token_and_stop_at_the_edges() -> None:
    flow = flow_of("aaaa", "▁bbbb", "▁cccc⏎", "dd⏎", "⏎", "▁e", width=20)
    assert flow.moved(2, 1) == 3
    assert flow.moved(3, -1) == 0
    assert flow.moved(3, 2) == 5
    assert flow.moved(5, 1) == 5
    assert flow.moved(1, -1) == 0


@given(st.lists(st.text("ab▁⏎日", min_size=1, max_size=9), max_size=40), st.integers(2, 12))
def test_nothing_is_lost_or_too_wide_and_every_token_is_found(texts: list[str], width: int) -> None:
    flow = flow_of(*texts, width=width)
    assert "".join(lines(flow)) == "".join(texts)
    for number, line in enumerate(flow.lines):
        for piece in line:
            assert piece.x + piece.width <= max(width, piece.width)
            assert flow.at(number, piece.x) == piece.token
    for token in range(len(texts)):
        assert any(piece.token == token for piece in flow.lines[flow.line_of(token)])


def test_bands_cover_every_probability_and_what_is_unknown_has_none() -> None:
    assert [band(one.least) for one in BANDS] == [one.name for one in BANDS]
    assert band(1.0) == "sure"
    assert band(0.049) == "surprising"
    assert band(None) is None
    assert probability(math.nan) is None
    assert probability(None) is None
    assert probability(math.log(0.25)) == pytest.approx(0.25)


def test_perplexity_leaves_out_what_is_not_known() -> None:
    assert perplexity([math.log(0.5), math.nan, math.log(0.125)]) == pytest.approx(4)
    assert perplexity([math.nan]) is None
    assert perplexity([]) is None


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100.0"), (0.4123, " 41.2"), (0.0412, " 4.12"), (0.00004, "<0.01"), (0, " 0.00")]
)
def test_percentages_have_one_width_and_only_zero_looks_like_it(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_bar_shows_what_is_left_and_what_was_lost() -> None:
    assert bar_cells(0.5, 0.5, 1.0, 8) == ("████", "")
    assert bar_cells(0.25, 0.5, 1.0, 8) == ("██", "░░")
    assert bar_cells(0.0, 0.5, 1.0, 8) == ("", "░░░░")
    assert bar_cells(0.0001, 0.0, 1.0, 8) == ("▏", "")
    assert bar_cells(0.9, 0.9, 0.5, 8) == ("████████", "")


def test_the_scale_is_the_least_round_one_that_fits() -> None:
    seen = weigh("look", 0, 99, " x", DEFAULTS)
    most = max(max(one.probabilities[0], one.probabilities[-1]) for one in seen.alternatives)
    assert 0.2 < most <= 0.5
    assert scale(seen, len(seen.stages) - 1) == 0.5


def test_a_stage_that_is_off_gives_way_to_the_last() -> None:
    seen = weigh("look", 0, 99, " x", SamplingParams(top_k=0))
    assert stage_index(seen, "top-p") == 1
    assert stage_index(seen, "top-k") == len(seen.stages) - 1
    assert stage_index(seen, None) == len(seen.stages) - 1


def test_the_first_candidate_is_the_likeliest_that_was_not_drawn() -> None:
    seen = weigh("look", 0, 99, " x", DEFAULTS)
    assert seen.alternatives[0].token == 99
    assert first_alternative(seen.alternatives, 99) == 1
    assert first_alternative(seen.alternatives, None) == 0


def test_the_token_that_was_drawn_stays_in_sight() -> None:
    assert window(40, 10, None, 3, 0).rows == tuple(range(10))
    assert window(41, 10, None, 40, 0).rows == (*range(9), 40)
    assert window(41, 10, 20, 40, 0).rows == (*range(12, 21), 40)
    assert window(41, 10, 40, 40, 0).rows == tuple(range(31, 41))
    assert window(3, 10, 0, 2, 5).rows == (0, 1, 2)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_the_cursor_is_always_in_sight(total: int, room: int, data: st.DataObject) -> None:
    cursor = data.draw(st.integers(0, total - 1))
    pin = data.draw(st.none() | st.integers(0, total - 1))
    rows = window(total, room, cursor, pin, data.draw(st.integers(0, 60))).rows
    assert cursor in rows
    assert len(rows) <= room
    assert len(set(rows)) == len(rows)
    assert all(0 <= row < total for row in rows)


def test_sliders_begin_as_the_reply_was_drawn_and_bend_only_here() -> None:
    knobs = Knobs(DEFAULTS)
    assert knobs.changed == ()
    bent = knobs.nudged("temperature", 2)
    assert bent.sampling.temperature == pytest.approx(0.9)
    assert bent.changed == ("temperature",)
    assert bent.base == DEFAULTS
    assert bent.nudged("temperature", -2).changed == ()
    assert bent.set("temperature", None).changed == ()


def test_top_k_climbs_a_ladder_that_ends_with_off() -> None:
    knobs = Knobs(DEFAULTS)
    assert knobs.value("top_k") == 40
    assert knobs.nudged("top_k", 1).value("top_k") == 60
    assert knobs.nudged("top_k", -99).value("top_k") == 1
    assert knobs.nudged("top_k", 99).value("top_k") == 0
    assert knobs.slid("top_k", 1.0).value("top_k") == 0
    assert knobs.slid("top_k", 0.0).value("top_k") == 1
    assert knobs.set("top_k", 45).nudged("top_k", 1).value("top_k") == 60


@pytest.mark.parametrize("name", KNOBS.values())
def test_sliders_stay_in_range(name: str) -> None:
    knobs = Knobs(DEFAULTS)
    assert 0 <= knobs.nudged(name, -999).fraction(name) <= 1
    assert 0 <= knobs.nudged(name, 999).fraction(name) <= 1
    for share in (-1, 0, 0.5, 1, 2):
        assert 0 <= knobs.slid(name, share).fraction(name) <= 1


def test_a_nudge_does_not_pull_a_typed_value_down_to_the_end_of_the_slider() -> None:
    knobs = Knobs(DEFAULTS).typed("temperature", "5")
    assert knobs.nudged("temperature", 1).value("temperature") == 5
    assert knobs.nudged("temperature", -1).value("temperature") == pytest.approx(4.95)
    with pytest.raises(SamplingError, match="from 0 to 100"):
        knobs.typed("temperature", "101")


def test_at_temperature_0_the_others_are_idle() -> None:
    knobs = Knobs(DEFAULTS).set("temperature", 0)
    assert [knobs.idle(name) for name in KNOBS.values()] == [False, True, True, True]


def test_every_stage_has_a_column_where_there_is_room() -> None:
    seen = weigh("look", 0, 99, " x", DEFAULTS)
    assert isinstance(table(seen, 4, 39), OneStage)
    assert isinstance(table(seen, 4, 69), AllStages)


@pytest.mark.parametrize("width", [39, 64, 69, 90])
@pytest.mark.parametrize("asked", [DEFAULTS, SamplingParams(temperature=0), SamplingParams(top_k=0, top_p=1, min_p=0)])
def test_no_line_of_a_table_is_wider_than_its_room(width: int, asked: SamplingParams) -> None:
    seen = weigh("look", 3, 99, " a token that is very long", asked)
    for stage in range(len(seen.stages)):
        made = table(seen, stage, width)
        assert len(made.head()) == made.lines
        rows = [made.row(one, drawn=True, here=True, late=False) for one in seen.alternatives]
        assert all(line.cell_length <= width for line in (*made.head(), *rows))


def test_which_stage_removed_a_token_is_said() -> None:
    seen = weigh("look", 0, 99, " x", DEFAULTS)
    removed = next(one for one in seen.alternatives if one.removed_by == "top-p")
    narrow, wide = table(seen, 4, 39), table(seen, 4, 69)
    assert narrow.row(removed, drawn=False, here=False, late=False).plain.endswith("top-p")
    line = wide.row(removed, drawn=False, here=False, late=False).plain
    assert wide.stage_at(line.index("cut"), 0) == "top-p"

"""The compare screen, driven by keys: streaming, ending apart, voting, blindness, differences, files of prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare_harness import Table, prompts
from screen_harness import screen_text
from textual.pilot import Pilot

from lmlab.backends.fake import FakeBackend
from lmlab.errors import EngineStopped, ModelLoadError, UsageError
from lmlab.lab.batch.row import BadRow
from lmlab.lab.compare.case import cases
from lmlab.tui.compare.words import farewell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def says(**texts: str) -> Any:
    """Return what has each fake answer with the text under its model's name, however often it is asked."""

    def prepare(backend: FakeBackend) -> None:
        text = texts[Path(backend.spec.path).stem]
        for _ in range(20):
            backend.script([word + " " for word in text.split()])

    return prepare


def lines(table: Table, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in table.record.read_text("utf-8").splitlines()]
    return [line for line in found if line["kind"] == kind]


async def test_one_prompt_is_answered_in_two_columns(folder: Path) -> None:
    table = Table(folder, prepare=says(calm="It is four.", hot="Perhaps five?"))
    async with table.run() as pilot:
        await table.ask(pilot, "What is two and two?")
        shown = screen_text(pilot.app)
        for text in ("What is two and two?", "It is four.", "Perhaps five?", "calm-0", "hot-1", "first token"):
            assert text in shown
        assert [line["text"].strip() for line in lines(table, "answer")] == ["It is four.", "Perhaps five?"]


async def test_columns_stream_at_the_same_time_and_show_their_numbers(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="one two three four", hot="five six seven eight"))
    async with table.run(loads=False) as pilot:
        await table.load(pilot)
        pilot.app.prompt.insert("Count")
        await pilot.press("enter")
        await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
        table.backends["calm"].step(3)
        table.backends["hot"].step(2)
        await table.wait_until(pilot, lambda: "five" in screen_text(pilot.app) and "two" in screen_text(pilot.app))
        assert "three" not in screen_text(pilot.app)
        assert "2 answers under way" in screen_text(pilot.app)
        table.backends["hot"].finish()
        await table.wait_until(pilot, lambda: "1 answer under way" in screen_text(pilot.app))
        assert "eight" in screen_text(pilot.app)
        table.backends["calm"].finish()
        await table.all_in(pilot)


async def test_a_worker_that_crashes_leaves_the_other_column_alone(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="steady as a rock", hot="boom"))
    async with table.run(loads=False) as pilot:
        await table.load(pilot)
        pilot.app.prompt.insert("Hold")
        await pilot.press("enter")
        await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
        table.backends["hot"].crash(EngineStopped("the engine stopped: out of memory"))
        table.backends["calm"].finish()
        await table.all_in(pilot)
        shown = screen_text(pilot.app)
        assert "steady as a rock" in shown
        assert "out of memory" in shown
        assert pilot.app.failed_answers == 1


@pytest.mark.parametrize(
    ("key", "choice", "winner"), [("l", "win", 0), ("r", "win", 1), ("t", "tie", None), ("b", "bad", None)]
)
async def test_a_key_votes_and_the_vote_is_on_disk(folder: Path, key: str, choice: str, winner: int | None) -> None:
    table = Table(folder, prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.ask(pilot, "Well?")
        await pilot.press(key)
        (vote,) = lines(table, "vote")
        runs = [plan.fingerprint() for plan in table.plans()]
        assert (vote["choice"], vote["winner"]) == (choice, None if winner is None else runs[winner])
        await pilot.press("r")
        assert len(lines(table, "vote")) == 1
        await pilot.press("u", "l")
        assert lines(table, "vote")[-1]["winner"] == runs[0]


async def test_blind_hides_the_names_until_the_vote(folder: Path) -> None:
    asked = prompts("First?", "Second?", "Third?", "Fourth?")
    table = Table(folder, blind=True, asked=asked, prepare=says(calm="yes", hot="no"))
    orders = set()
    async with table.run() as pilot:
        app = pilot.app
        for number in range(4):
            await table.wait_until(pilot, lambda number=number: app.state.number == number + 1)
            await table.all_in(pilot)
            hidden = screen_text(app)
            assert "calm" not in hidden
            assert "hot" not in hidden
            assert "log-probability" not in hidden
            orders.add(app.state.order)
            left = app.state.order[0]
            await pilot.press("l")
            vote = lines(table, "vote")[-1]
            assert vote["winner"] == table.plans()[left].fingerprint()
            assert vote["blind"]
            assert f"{table.models[left]}-{left} ✓" in screen_text(app)
            await pilot.press("n")
    assert orders == {(0, 1), (1, 0)}


async def test_the_tally_and_its_interval_follow_the_vote(folder: Path) -> None:
    table = Table(folder, prepare=says(calm="yes", hot="no"))
    async with table.run(size=(200, 50)) as pilot:
        await table.ask(pilot, "Well?")
        assert "interval" not in screen_text(pilot.app)
        await pilot.press("l")
        assert "calm-0 1 · hot-1 0 · ties 0 · calm-0 wins 100%, 95% interval 21% to 100%" in screen_text(pilot.app)
        said = farewell(table.sitting.comparison)
        assert said[0].startswith("calm-0 against hot-1: won 1 of 1 decided (100%, 95% interval 21% to 100%)")
        assert said[-1].endswith(str(table.record))


async def test_differences_are_marked_and_taken_away(folder: Path) -> None:
    table = Table(folder, prepare=says(calm="the red house", hot="the blue house"))
    async with table.run() as pilot:
        await table.ask(pilot, "Which?")
        await pilot.press("d")
        marked = [
            segment.text
            for strip in pilot.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.underline and segment.style.bold
        ]
        assert [text.strip() for text in marked] == ["red", "blue"]
        await pilot.press("d")
        assert "plain text" not in screen_text(pilot.app)


async def test_a_prompt_that_was_voted_on_before_is_passed_over(folder: Path) -> None:
    asked = prompts("First?", "Second?")
    table = Table(folder, asked=asked, prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.all_in(pilot)
        await pilot.press("l")
    again = Table(folder, asked=asked, prepare=says(calm="YES", hot="NO"))
    async with again.run() as pilot:
        await again.all_in(pilot)
        assert "Second?" in screen_text(pilot.app)
    third = Table(folder, asked=asked, prepare=says(calm="other", hot="other"))
    async with third.run() as pilot:
        await third.all_in(pilot)
        # Answered and not voted on: what was answered is shown, and nothing is drawn again.
        assert "YES" in screen_text(pilot.app)
        assert all(not backend.requests for backend in third.backends.values())


async def test_four_variants_stand_side_by_side_and_the_chosen_one_wins(folder: Path) -> None:
    texts = {"one": "first", "two": "second", "three": "third", "four": "fourth"}
    table = Table(folder, models=tuple(texts), prepare=says(**texts))
    async with table.run() as pilot:
        await table.ask(pilot, "Which?")
        assert all(text in screen_text(pilot.app) for text in texts.values())
        await pilot.press("3", "enter")
        assert lines(table, "vote")[-1]["winner"] == table.plans()[2].fingerprint()


async def test_at_80_columns_four_variants_are_tabs(folder: Path) -> None:
    texts = {"one": "first", "two": "second", "three": "third", "four": "fourth"}
    table = Table(folder, models=tuple(texts), prepare=says(**texts))
    async with table.run(size=(80, 24)) as pilot:
        await table.ask(pilot, "Which?")
        assert "fourth" not in screen_text(pilot.app)
        await pilot.press("4")
        assert "fourth" in screen_text(pilot.app)


async def test_variants_of_one_model_share_a_worker(folder: Path) -> None:
    table = Table(folder, models=("calm", "calm"), prepare=says(calm="yes"))
    async with table.run() as pilot:
        await table.ask(pilot, "Well?")
        assert table.opened == ["calm"]
        assert len(table.backends["calm"].requests) == 2


async def test_sequential_opens_one_worker_after_the_other(folder: Path) -> None:
    table = Table(folder, sequential=True, asked=prompts("Well?"), prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.all_in(pilot)
        assert "yes" in screen_text(pilot.app)
        assert "no" in screen_text(pilot.app)
        assert table.opened == ["calm", "hot", "calm", "hot"]


async def test_esc_stops_and_what_came_stays(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="one two three", hot="four five six"))
    async with table.run(loads=False) as pilot:
        await table.load(pilot)
        pilot.app.prompt.insert("Count")
        await pilot.press("enter")
        await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
        for backend in table.backends.values():
            backend.step(2)
        await table.wait_until(pilot, lambda: "four" in screen_text(pilot.app))
        await pilot.press("escape")
        await table.all_in(pilot)
        shown = screen_text(pilot.app)
        assert "stopped" in shown
        assert "one" in shown
        await pilot.press("l")
        assert [vote["winner"] for vote in lines(table, "vote")] == [pilot.app.sitting.comparison.contenders[0].run]
    kept = {line["variant"]: (line["text"], line["finish_reason"]) for line in lines(table, "answer")}
    assert kept == {"calm-0": ("one ", "cancelled"), "hot-1": ("four ", "cancelled")}


async def test_a_stopped_answer_stays_what_its_vote_is_on_until_it_is_asked_for_again(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="one two three", hot="four five six"))
    async with table.run(loads=False) as pilot:
        await table.load(pilot)
        for _ in range(2):
            pilot.app.prompt.insert("Count")
            await pilot.press("enter")
            if not lines(table, "vote"):
                await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
                for backend in table.backends.values():
                    backend.step(2)
                await pilot.press("escape")
            await table.all_in(pilot)
            await pilot.press("l", "tab")
        assert len(table.backends["calm"].requests) == 1
        assert "one" in screen_text(pilot.app)
        assert "✓" in screen_text(pilot.app)
        await pilot.press("tab", "a")
        await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
        for backend in table.backends.values():
            backend.finish()
        await table.all_in(pilot)
        await pilot.press("r")
    assert [vote["winner"] for vote in lines(table, "vote")] == [
        pilot.app.sitting.comparison.contenders[index].run for index in (0, 1)
    ]
    assert {line["variant"]: line["finish_reason"] for line in lines(table, "answer")} == {
        "calm-0": "stop",
        "hot-1": "stop",
    }


async def test_a_variant_that_cannot_load_ends_the_screen_with_its_reason(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=lambda backend: backend.fail_load(ModelLoadError("not a model")))
    async with table.run(loads=False) as pilot:
        await table.wait_until(pilot, lambda: pilot.app.failure is not None)
    assert "not a model" in str(pilot.app.failure)
    assert "calm-0" in str(pilot.app.failure)
    assert "hot-1" in str(pilot.app.failure)


async def test_what_is_typed_while_answers_come_is_kept(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="one", hot="two"))
    async with table.run(loads=False) as pilot:
        pilot.app.prompt.insert("Early")
        await pilot.press("enter")
        assert pilot.app.prompt.text == "Early"
        assert "still loading" in screen_text(pilot.app)
        await table.load(pilot)
        await pilot.press("enter")
        await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
        await pilot.press("tab")
        await pilot.press("l", "x")
        assert pilot.app.prompt.text == "lx"
        await pilot.press("enter")
        assert "esc stops them" in screen_text(pilot.app)
        assert pilot.app.prompt.text == "lx"
        for backend in table.backends.values():
            backend.finish()
        await table.all_in(pilot)
        assert pilot.app.focused is pilot.app.prompt


async def begin(table: Table, pilot: Pilot[Any]) -> None:
    """Load every model of a table that does nothing by itself."""
    for name in dict.fromkeys(table.models):
        await table.wait_until(pilot, lambda name=name: name in table.backends)
        table.backends[name].ready()
    await table.wait_until(pilot, lambda: pilot.app.state.ready)


async def crash_one(table: Table, pilot: Pilot[Any]) -> None:
    """Put a prompt of which ``hot`` dies, while ``calm`` answers."""
    await begin(table, pilot)
    pilot.app.prompt.insert("Hold")
    await pilot.press("enter")
    await table.wait_until(pilot, lambda: all(one.running for one in table.backends.values()))
    table.backends["hot"].crash(EngineStopped("the engine stopped: out of memory"))
    table.backends["calm"].finish()
    await table.all_in(pilot)


async def test_an_answer_that_failed_has_no_vote_and_is_asked_for_again(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="steady", hot="sizzling"))
    async with table.run(loads=False) as pilot:
        await crash_one(table, pilot)
        assert "a ask again" in screen_text(pilot.app)
        await pilot.press("l")
        assert "a asks again" in screen_text(pilot.app)
        assert lines(table, "vote") == []
        await pilot.press("a")
        table.backends["hot"].ready()
        await table.wait_until(pilot, lambda: table.backends["hot"].running)
        table.backends["hot"].finish()
        await table.all_in(pilot)
        assert "sizzling" in screen_text(pilot.app)
        assert len(table.backends["calm"].requests) == 1
        assert pilot.app.failed_answers == 0
        await pilot.press("l")
        assert len(lines(table, "vote")) == 1


async def test_a_model_that_loads_again_has_no_name_while_names_are_hidden(folder: Path) -> None:
    table = Table(folder, auto=False, blind=True, prepare=says(calm="steady", hot="sizzling"))
    async with table.run(loads=False) as pilot:
        await crash_one(table, pilot)
        await pilot.press("a")
        table.backends["hot"].loading(0.4)
        await table.wait_until(pilot, lambda: "loading answer" in screen_text(pilot.app))
        assert "hot" not in screen_text(pilot.app)
        table.backends["hot"].ready()
        await table.wait_until(pilot, lambda: "loading" not in screen_text(pilot.app))


async def test_blind_models_that_are_loaded_in_turn_are_loaded_from_left_to_right(folder: Path) -> None:
    asked = prompts("First?", "Second?", "Third?", "Fourth?")
    table = Table(folder, blind=True, sequential=True, asked=asked, prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        app = pilot.app
        expected = ["calm", "hot"]
        for number in range(4):
            await table.wait_until(pilot, lambda number=number: app.state.number == number + 1)
            await table.all_in(pilot)
            expected += [table.models[variant] for variant in app.state.order]
            await pilot.press("n")
        assert table.opened == expected


async def test_a_vote_that_is_changed_once_the_names_were_seen_is_no_blind_one(folder: Path) -> None:
    table = Table(folder, blind=True, prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.ask(pilot, "Well?")
        await pilot.press("l", "u")
        assert "calm-0" in screen_text(pilot.app)
        await pilot.press("r")
        assert [vote["blind"] for vote in lines(table, "vote")] == [True, False]


async def test_rows_that_cannot_be_put_are_said_wherever_they_stand(folder: Path) -> None:
    first, second = prompts("First?", "Second?")
    rows = [BadRow(number, number, None, UsageError(f"line {number}: broken"), 0) for number in (2, 4)]
    bad_one, bad_two = cases(rows)
    table = Table(folder, asked=(first, bad_one, second, bad_two), prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.all_in(pilot)
        assert "line 2: broken" in screen_text(pilot.app)
        await pilot.press("n")
        await table.all_in(pilot)
        assert "Second?" in screen_text(pilot.app)
        assert "n next prompt" not in screen_text(pilot.app)
        assert pilot.app.passed_over == ["line 2: broken", "line 4: broken"]
        said = farewell(table.sitting.comparison, pilot.app.passed_over)
        assert said[0] == "2 rows could not be put: line 2: broken"


async def test_a_file_whose_prompts_all_have_votes_is_at_its_end(folder: Path) -> None:
    table = Table(folder, asked=prompts("Only?"), prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        await table.all_in(pilot)
        assert "n next prompt" not in screen_text(pilot.app)
        await pilot.press("l")
    again = Table(folder, asked=prompts("Only?"), prepare=says(calm="yes", hot="no"))
    async with again.run() as pilot:
        assert "no further prompt waits for a vote" in screen_text(pilot.app)


async def test_without_a_file_none_is_spoken_of(folder: Path) -> None:
    table = Table(folder, prepare=says(calm="yes", hot="no"))
    async with table.run() as pilot:
        assert "no further prompt" not in screen_text(pilot.app)


async def test_a_terminal_without_room_is_endured(folder: Path) -> None:
    table = Table(folder, models=("one", "two", "calm", "hot"), prepare=says(one="1", two="2", calm="yes", hot="no"))
    async with table.run(size=(80, 24)) as pilot:
        await table.ask(pilot, "日本語 " * 100)
        for size in ((30, 8), (10, 3), (1, 1), (2, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.press("right", "d")
        shown = screen_text(pilot.app)
        assert "… 400 characters in all" in shown
        assert "t tie" in shown


async def test_a_low_terminal_keeps_its_keys_in_sight(folder: Path) -> None:
    table = Table(folder, prepare=says(calm="yes", hot="no"))
    async with table.run(size=(60, 9)) as pilot:
        await table.ask(pilot, "word " * 500)
        shown = screen_text(pilot.app)
        assert "l left wins" in shown
        assert "yes" in shown


async def test_a_model_that_dies_while_it_loads_again_is_loading_no_more(folder: Path) -> None:
    table = Table(folder, auto=False, prepare=says(calm="steady", hot="sizzling"))
    async with table.run(loads=False) as pilot:
        await crash_one(table, pilot)
        await pilot.press("a")
        table.backends["hot"].loading(0.4)
        await table.wait_until(pilot, lambda: "loading hot-1" in screen_text(pilot.app))
        table.backends["hot"].crash(EngineStopped("the engine stopped again"))
        await table.all_in(pilot)
        pilot.app.activity.unflash()
        await pilot.pause()
        assert "loading" not in screen_text(pilot.app)


async def test_esc_while_a_model_loads_leaves_its_answer_out_until_it_is_asked_for_again(folder: Path) -> None:
    table = Table(folder, auto=False, sequential=True, prepare=says(calm="yes", hot="no"))

    async def load(number: int) -> FakeBackend:
        await table.wait_until(pilot, lambda: len(table.opened) == number)
        backend = table.backends[table.opened[-1]]
        backend.ready()
        return backend

    async with table.run(loads=False) as pilot:
        await load(1)
        await load(2)
        await table.wait_until(pilot, lambda: pilot.app.state.ready)
        pilot.app.prompt.insert("Well?")
        await pilot.press("enter")
        await table.wait_until(pilot, lambda: len(table.opened) == 3)
        await pilot.press("escape")
        await load(3)
        await table.all_in(pilot)
        assert screen_text(pilot.app).count("not asked") == 2
        await pilot.press("l")
        assert "a asks again" in screen_text(pilot.app)
        await pilot.press("a")
        for number in (4, 5):
            backend = await load(number)
            await table.wait_until(pilot, lambda backend=backend: bool(backend.running))
            backend.finish()
        await table.all_in(pilot)
        assert "yes" in screen_text(pilot.app)
        await pilot.press("l")
        assert len(lines(table, "vote")) == 1


async def test_of_three_variants_the_farewell_tests_all_pairs_together(folder: Path) -> None:
    texts = {"one": "first", "two": "second", "three": "third"}
    table = Table(folder, models=tuple(texts), prepare=says(**texts))
    async with table.run() as pilot:
        for number in range(6):
            await table.ask(pilot, f"Which, {number}?")
            await pilot.press("1", "enter")
        said = farewell(table.sitting.comparison)
    # Six of six is p = 0.031 alone; two of three pairs have it, which Holm's method triples.
    assert said[0].startswith(
        "one-0 against two-1: won 6 of 6 decided (100%, 95% interval 61% to 100%), no ties, p = 0.094"
    )
    assert "p by Holm's method, for all pairs together" in said

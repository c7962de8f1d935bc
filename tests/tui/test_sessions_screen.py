"""The sessions view: what it lists, and that everything it does is done to the store, or taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.pilot import Pilot

from lmlab.errors import UsageError
from lmlab.snapshot_layout import folder_name, new_name
from lmlab.store import Attachment, Reply, Session, Store
from lmlab.tui.screens.sessions import SessionsView
from lmlab.tui.widgets.sessions import SessionBook, SessionRows
from lmlab.tui.widgets.sessions.wishes import SessionWishes, file_name


def said(desk: Desk, *messages: str) -> Session:
    session = desk.store.create_session()
    parent: int | None = None
    for number, text in enumerate(messages):
        reply = Reply(status="done", model="smollm2") if number % 2 else None
        parent = desk.store.add_turn(session.id, parent, text, reply=reply).id
    return desk.store.session(session.id)


def kept(desk: Desk, session: Session) -> Path:
    """Make a snapshot of ``session``."""
    path = desk.paths.snapshots / folder_name(session.id) / new_name("0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 2_000_000)
    return path


def ids(desk: Desk) -> list[str]:
    return [session.id for session in desk.store.sessions()]


async def open_sessions(desk: Desk, pilot: Pilot[Any]) -> SessionRows:
    await pilot.press("ctrl+o")
    await desk.wait_until(pilot, lambda: isinstance(pilot.app.screen, SessionsView))
    await pilot.pause()
    return pilot.app.screen.query_one(SessionRows)


async def answer(pilot: Pilot[Any], text: str) -> None:
    """Type over what the line has and press Enter."""
    await pilot.press("home", "ctrl+k", *(("slash" if key == "/" else key) for key in text), "enter")
    await pilot.pause()


def at(rows: SessionRows) -> str | None:
    return rows.row.session.id if rows.row is not None else None


# The list


def test_the_book_lists_searches_and_removes(desk: Desk) -> None:
    old, new = said(desk, "apples", "red"), said(desk, "pears")
    snapshot = kept(desk, old)
    book = SessionBook(desk.store, desk.paths.snapshots)
    book.load()
    assert [(row.session.id, row.messages, row.snapshot_bytes) for row in book.rows] == [
        (new.id, 1, 0),
        (old.id, 2, 2_000_000),
    ]
    book.narrow(desk.store.search("RED"))
    (row,) = book.rows
    assert (row.session.id, str(row.match)) == (old.id, "red")
    book.narrow(None)
    book.remove(old.id)
    book.remove(old.id)
    book.remove(new.id)
    assert (book.count, [row.removed for row in book.rows], len(desk.store.sessions())) == (0, [True, True], 2)
    assert (book.bring_back(), book.count) == (new.id, 1)
    assert book.carry_out() == (old.id,)
    book.load()
    assert ([row.session.id for row in book.rows], book.bring_back(), book.carry_out()) == ([new.id], None, ())
    assert ids(desk) == [new.id]
    assert not snapshot.exists()
    desk.store.close()


async def test_it_lists_what_there_is_and_marks_the_one_that_is_open(desk: Desk) -> None:
    old = said(desk, "About [b]apples[/b] \x1b[2J", "They are red.")
    kept(desk, old)
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        rows = await open_sessions(desk, pilot)
        text = screen_text(pilot.app)
        assert "Sessions   2 sessions" in text
        first, second = (next(line for line in text.splitlines() if name in line) for name in ("Pears", "apples"))
        assert first.startswith("› ● Pears")
        assert "About [b]apples[/b] ␛[2J" in second
        assert "smollm2  2 msg  2 MB" in second
        assert at(rows) == desk.session.id
        await pilot.press("down", "escape")
        assert not isinstance(pilot.app.screen, SessionsView)
        assert pilot.app.chat.session.id == desk.session.id


async def test_with_room_the_end_of_the_session_is_beside_it(desk: Desk) -> None:
    said(desk, *(f"line {number}" for number in range(10)))
    desk.session = said(desk, "Pears")
    async with desk.run(size=(140, 36)) as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("down")
        await desk.wait_until(pilot, lambda: "… 4 messages before" in screen_text(pilot.app))
        assert "line 9" in screen_text(pilot.app)
        await pilot.resize_terminal(80, 24)
        await desk.wait_until(pilot, lambda: "messages before" not in screen_text(pilot.app))


async def test_an_empty_list_says_how_it_fills(desk: Desk) -> None:
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        assert "there are no sessions yet" in screen_text(pilot.app)
        await pilot.press("enter", "d", "r", "e", "u", "down", "pagedown")
        assert "there is nothing to bring back" in screen_text(pilot.app)
        assert isinstance(pilot.app.screen, SessionsView)


# Search


async def test_typing_searches_and_enter_opens_what_is_at_the_cursor(desk: Desk) -> None:
    wanted = said(desk, "Fruit", "An apple is\n red.")
    for number in range(4):
        said(desk, f"other {number}")
    async with desk.run() as pilot:
        rows = await open_sessions(desk, pilot)
        await pilot.press("slash", *"APPLE")
        await desk.wait_until(pilot, lambda: '"APPLE" is in 1' in screen_text(pilot.app))
        assert "An apple is red." in screen_text(pilot.app)
        assert at(rows) == wanted.id
        await pilot.press("backspace", "backspace", "backspace", "backspace", "backspace")
        await desk.wait_until(pilot, lambda: "other 3" in screen_text(pilot.app))
        await pilot.press(*"apple", "enter")
        await desk.wait_until(pilot, lambda: not isinstance(pilot.app.screen, SessionsView))
        assert pilot.app.chat.session.id == wanted.id
        assert "An apple is" in screen_text(pilot.app)


async def test_enter_means_what_is_typed_and_opens_nothing_when_there_is_none(desk: Desk) -> None:
    desk.session = said(desk, "Pears")
    said(desk, "Apples")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("slash", *"nowhere", "enter")
        await pilot.pause()
        assert '"nowhere" is in none' in screen_text(pilot.app)
        assert isinstance(pilot.app.screen, SessionsView)
        await pilot.press("escape")
        assert "Apples" in screen_text(pilot.app)
        assert isinstance(pilot.app.screen, SessionsView)
        await pilot.press("slash", *"pears", "tab", "escape")
        assert "Apples" in screen_text(pilot.app)
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, SessionsView)


async def test_in_the_search_the_arrows_walk_and_tab_goes_to_what_was_found(desk: Desk) -> None:
    first, second = said(desk, "apple one"), said(desk, "apple two")
    async with desk.run() as pilot:
        rows = await open_sessions(desk, pilot)
        await pilot.press("slash", *"apple")
        await desk.wait_until(pilot, lambda: "is in 2" in screen_text(pilot.app))
        await pilot.press("down")
        assert at(rows) == first.id
        await pilot.press("up")
        assert at(rows) == second.id
        await pilot.press("tab", "d")
        assert "removed, u brings it back" in screen_text(pilot.app)
        assert '"apple" is in 2' in screen_text(pilot.app)


# Open, new


async def test_opening_goes_on_with_that_session(desk: Desk) -> None:
    other = said(desk, "Apples", "Red.")
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("down", "enter")
        assert not isinstance(pilot.app.screen, SessionsView)
        assert pilot.app.chat.session.id == other.id
        assert "Red." in screen_text(pilot.app)
        await desk.send(pilot, "Why?")
        assert [turn.content for turn in desk.store.path(other.id)] == ["Apples", "Red.", "Why?", ""]


async def test_opening_the_one_that_is_open_reads_what_another_program_made_of_it(desk: Desk) -> None:
    desk.session = said(desk, "Pears", "Green.")
    last = desk.store.path(desk.session.id)[-1]
    async with desk.run() as pilot:
        app = pilot.app
        kept = Attachment("notes.txt", "text")
        app.chat.attachments = (kept,)
        assert last.reply is not None
        desk.store.save_reply(last.id, "Yellow.", last.reply)
        desk.store.add_turn(desk.session.id, last.id, "And plums?")
        await open_sessions(desk, pilot)
        await pilot.press("enter")
        await desk.settle(pilot)
        assert not isinstance(app.screen, SessionsView)
        shown = screen_text(app)
        assert "Yellow." in shown
        assert "Green." not in shown
        assert "And plums?" in shown
        assert app.chat.attachments == (kept,)
        app.transcript.say("still here")
        await open_sessions(desk, pilot)
        await pilot.press("enter")
        await desk.settle(pilot)
        assert "still here" in screen_text(app)


async def test_opening_the_one_that_is_open_leaves_its_reply_alone(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "Why?")
        desk.backend.step(2)
        await open_sessions(desk, pilot)
        await pilot.press("enter")
        assert not isinstance(pilot.app.screen, SessionsView)
        assert pilot.app.chat.replying


async def test_opening_another_stops_the_reply_that_is_under_way_and_says_so(desk: Desk) -> None:
    other = said(desk, "Apples")
    async with desk.run() as pilot:
        await desk.send(pilot, "Why?")
        desk.backend.step(2)
        stopped = pilot.app.chat.session
        rows = await open_sessions(desk, pilot)
        await pilot.press("d")
        assert "a reply is under way in it: stop it first" in screen_text(pilot.app)
        assert rows.row is not None
        assert not rows.row.removed
        await pilot.press("down", "enter")
        assert pilot.app.chat.session.id == other.id
        assert "is stopped; what had come of it is kept" in screen_text(pilot.app)
        assert not pilot.app.state.replying
        assert desk.store.path(stopped.id)[-1].content == "A"


async def test_a_click_chooses_and_another_opens(desk: Desk) -> None:
    other = said(desk, "Apples")
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        rows = await open_sessions(desk, pilot)
        await pilot.click(SessionRows, offset=(10, 1))
        assert at(rows) == other.id
        await pilot.click(SessionRows, offset=(10, 9))
        assert isinstance(pilot.app.screen, SessionsView)
        await pilot.click(SessionRows, offset=(10, 1))
        await desk.wait_until(pilot, lambda: pilot.app.chat.session.id == other.id)


async def test_a_click_into_the_search_searches(desk: Desk) -> None:
    said(desk, "Apples")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.click("#sessions-ask Input")
        await pilot.press(*"app")
        await desk.wait_until(pilot, lambda: '"app" is in 1' in screen_text(pilot.app))


async def test_a_click_on_the_line_of_keys_presses_them(desk: Desk) -> None:
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        line = screen_text(pilot.app).splitlines()[-1]
        await pilot.click("#keys", offset=(line.index("/ search") + 3, 0))
        await desk.wait_until(pilot, lambda: "tab to the list" in screen_text(pilot.app))
        line = screen_text(pilot.app).splitlines()[-1]
        await pilot.click("#keys", offset=(line.index("esc back") + 1, 0))
        await desk.wait_until(pilot, lambda: "tab to the list" not in screen_text(pilot.app))


async def test_a_new_session_is_begun(desk: Desk) -> None:
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("n")
        assert not isinstance(pilot.app.screen, SessionsView)
        assert pilot.app.chat.session is None
        assert "the old one is kept" in screen_text(pilot.app)
        assert desk.session.id in ids(desk)


async def test_a_new_session_after_the_open_one_was_removed_keeps_nothing(desk: Desk) -> None:
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("d", "n")
        await desk.wait_until(pilot, lambda: ids(desk) == [])
        await desk.wait_until(pilot, lambda: "Pears" not in screen_text(pilot.app))
        assert "is kept" not in screen_text(pilot.app)


# Rename, remove


async def test_a_session_is_renamed_also_the_one_that_is_open(desk: Desk) -> None:
    other = said(desk, "Apples")
    desk.session = said(desk, "Pears")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("r")
        assert f"title of {desk.session.id} › Pears" in screen_text(pilot.app)
        await answer(pilot, "Fruit")
        assert f'{desk.session.id} is now called "Fruit"' in screen_text(pilot.app)
        assert pilot.app.chat.session.title == "Fruit"
        await pilot.press("down", "r")
        await answer(pilot, "")
        assert "a title cannot be empty" in screen_text(pilot.app)
        await pilot.press(*"Other", "enter")
        assert desk.store.session(other.id).title == "Other"
        await pilot.press("r", "x", "escape")
        assert desk.store.session(other.id).title == "Other"
        assert isinstance(pilot.app.screen, SessionsView)


async def test_what_is_removed_comes_back_until_the_view_is_left(desk: Desk) -> None:
    gone, back = said(desk, "Apples"), said(desk, "Pears")
    snapshot = kept(desk, gone)
    async with desk.run() as pilot:
        rows = await open_sessions(desk, pilot)
        await pilot.press("d", "d")
        assert "0 sessions" in screen_text(pilot.app)
        await pilot.press("enter")
        assert "that one is removed: u brings it back" in screen_text(pilot.app)
        await pilot.press("u", "u")
        assert at(rows) == back.id
        assert "2 sessions" in screen_text(pilot.app)
        await pilot.press("down", "delete")
        assert len(ids(desk)) == 2
        await pilot.press("escape")
        await desk.wait_until(pilot, lambda: ids(desk) == [back.id])
        assert not snapshot.exists()


async def test_the_open_session_can_go_too(desk: Desk) -> None:
    desk.session = said(desk, "Pears", "Green.")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("d")
        assert "Green." not in screen_text(pilot.app)
        await pilot.press("ctrl+o")
        await desk.wait_until(pilot, lambda: ids(desk) == [])
        await desk.wait_until(pilot, lambda: "Green." not in screen_text(pilot.app))
        assert pilot.app.chat.session is None


async def test_leaving_the_program_carries_it_out(desk: Desk) -> None:
    desk.session = said(desk, "Pears")
    other = said(desk, "Apples")
    async with desk.run() as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("home", "d", "ctrl+q")
    assert pilot.app.failure is None
    desk.store = Store(desk.paths.database)
    assert ids(desk) == [desk.session.id]
    assert other.id != desk.session.id
    desk.store.close()


# Files


async def test_a_session_goes_out_and_comes_in(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    desk.session = said(desk, "Why? (Really)", "Because.")
    async with desk.run(size=(120, 24)) as pilot:
        await open_sessions(desk, pilot)
        await pilot.press("e")
        assert "export to › why-really.md" in screen_text(pilot.app)
        await pilot.press("enter")
        assert f"wrote {tmp_path / 'why-really.md'}"[:100] in screen_text(pilot.app)
        await pilot.press("e")
        await answer(pilot, "chat.txt")
        assert "chat.txt: end the name in .md" in screen_text(pilot.app)
        await answer(pilot, "chat.json")
        assert len(json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))["turns"]) == 2
        (tmp_path / "chat.json").write_text("mine")
        await pilot.press("e")
        await answer(pilot, "chat.json")
        assert "chat.json exists: enter again overwrites it" in screen_text(pilot.app)
        assert (tmp_path / "chat.json").read_text() == "mine"
        await pilot.press("enter")
        assert (tmp_path / "chat.json").read_text(encoding="utf-8") != "mine"

        await pilot.press("i")
        await answer(pilot, "none.json")
        assert "no such file: none.json" in screen_text(pilot.app)
        await answer(pilot, "chat.json")
        assert f"session {desk.session.id} is there already: enter again imports it as another" in screen_text(
            pilot.app
        )
        assert len(ids(desk)) == 1
        await pilot.press("enter")
        assert 'imported "Why? (Really)" as ' in screen_text(pilot.app)
        assert len(ids(desk)) == 2
        assert "2 sessions" in screen_text(pilot.app)


def test_the_second_asking_must_be_the_same(desk: Desk, tmp_path: Path) -> None:
    session = said(desk, "Why?")
    wishes = SessionWishes(desk.app().chat)
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        wishes.export(session, str(tmp_path / "a.md"))
    with pytest.raises(UsageError, match="exists"):
        wishes.export(session, str(tmp_path / "b.md"))
    wishes.begin()
    with pytest.raises(UsageError, match="exists"):
        wishes.export(session, str(tmp_path / "b.md"))
    wishes.export(session, str(tmp_path / "b.md"))
    assert (tmp_path / "a.md").read_text() == "mine"
    desk.store.close()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Why? (Really)", "why-really"),
        ("../../etc/passwd", "etc-passwd"),
        ("日本 語", "日本-語"),
        ("?!", "abc234"),
        ("x" * 90, "x" * 40),
    ],
)
def test_a_title_makes_a_file_s_name(desk: Desk, title: str, name: str) -> None:
    now = desk.store.create_session().created
    assert file_name(Session("abc234", title, now, now)) == name
    desk.store.close()

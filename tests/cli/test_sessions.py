from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Lmlab, Outcome, Terminal
from rich.cells import cell_len

from lmlab.settings import Paths
from lmlab.snapshot_layout import folder_name, new_name
from lmlab.store import Reply, Session, Store

HEADER = "id\ttitle\tmodel\tmessages\tsnapshot_bytes\tupdated\n"


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(Paths.find().database)
    yield store
    store.close()


def said(store: Store, text: str, reply: str = "Yes.", model: str = "smollm2") -> Session:
    """Make a session of one question and its reply."""
    session = store.create_session()
    question = store.add_turn(session.id, None, text)
    store.add_turn(session.id, question.id, reply, reply=Reply(status="done", model=model))
    return store.session(session.id)


def kept(session: Session, size: int) -> Path:
    """Make a snapshot of ``session``, of ``size`` bytes."""
    path = Paths.find().snapshots / folder_name(session.id) / new_name("0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal 70 columns wide, at whose keyboard ``typed`` is typed."""
    monkeypatch.setenv("COLUMNS", "70")

    def call(*arguments: str, typed: str = "") -> Outcome:
        with Terminal() as out, Terminal() as err, Terminal(typed.encode()) as keyboard:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments, stdin=keyboard).code, out.shown, err.shown)

    return call


# list


@pytest.mark.parametrize(("options", "out"), [((), HEADER), (("--json",), "[]\n")])
def test_no_sessions_are_said_beside_the_data(lmlab: Lmlab, options: tuple[str, ...], out: str) -> None:
    outcome = lmlab("sessions", "list", *options)
    assert (outcome.code, outcome.out) == (0, out)
    assert outcome.err == "lmlab: there are no sessions yet: lmlab chat starts one\n"


def test_no_sessions_are_no_table(on_terminal: Lmlab) -> None:
    outcome = on_terminal("sessions", "list")
    assert (outcome.code, outcome.out) == (0, "")
    assert "there are no sessions yet" in outcome.err


def test_a_pipe_gets_a_header_and_a_line_each_newest_first(lmlab: Lmlab, store: Store) -> None:
    old, new = said(store, "Why?"), said(store, "日本")
    store.rename(new.id, "tab\tand\nline")
    new = store.session(new.id)
    outcome = lmlab("sessions", "list")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == HEADER + "".join(
        f"{session.id}\t{title}\tsmollm2\t2\t0\t{session.updated.isoformat(timespec='seconds')}\n"
        for session, title in ((new, "tab and line"), (old, "Why?"))
    )


def test_json_is_one_array(lmlab: Lmlab, store: Store) -> None:
    session = said(store, "Größe?")
    empty = store.create_session()
    listed = json.loads(lmlab("sessions", "list", "--json").out)
    assert [row["id"] for row in listed] == [empty.id, session.id]
    assert listed[1] == {
        "id": session.id,
        "title": "Größe?",
        "model": "smollm2",
        "messages": 2,
        "snapshot_bytes": 0,
        "created": session.created.isoformat(timespec="seconds"),
        "updated": session.updated.isoformat(timespec="seconds"),
    }
    assert (listed[0]["model"], listed[0]["messages"]) == (None, 0)


def test_a_terminal_gets_a_table_whose_titles_alone_are_cut(on_terminal: Lmlab, store: Store, tmp_path: Path) -> None:
    session = said(store, "日本語" * 20, model=str(tmp_path / "mine.gguf"))
    store.rename(store.create_session().id, "[red]\x1b[2J")
    lines = on_terminal("sessions", "list").out.splitlines()
    written = session.updated.astimezone().strftime("%Y-%m-%d %H:%M")
    assert lines[0].split() == ["id", "title", "model", "messages", "on", "disk", "last", "written"]
    assert "[red]␛[2J" in lines[1]
    assert lines[2].startswith(f"{session.id}  日本語")
    assert "…" in lines[2]
    assert lines[2].endswith(f"  mine.gguf         2           {written}")


def test_the_list_says_how_much_disk_the_snapshots_of_a_session_take(
    lmlab: Lmlab, on_terminal: Lmlab, store: Store
) -> None:
    with_two, without = said(store, "one"), said(store, "two")
    kept(with_two, 1_200_000)
    kept(with_two, 800_000)
    listed = json.loads(lmlab("sessions", "list", "--json").out)
    assert {row["id"]: row["snapshot_bytes"] for row in listed} == {with_two.id: 2_000_000, without.id: 0}
    assert [line.split("\t")[4] for line in lmlab("sessions", "list").out.splitlines()[1:]] == ["0", "2000000"]
    lines = on_terminal("sessions", "list").out.splitlines()
    assert "2     2 MB  2" in lines[2]
    assert "MB" not in lines[1]


# search and rename


def test_a_search_lists_what_it_found_and_where(lmlab: Lmlab, on_terminal: Lmlab, store: Store) -> None:
    in_message = said(store, "Why?", "It is\na PRIME  number.")
    in_title = said(store, "Prime numbers")
    said(store, "else")
    piped = lmlab("sessions", "list", "--search", "prime num")
    assert (piped.code, piped.err) == (0, "")
    head, *lines = (line.split("\t") for line in piped.out.splitlines())
    assert head[-1] == "match"
    assert [(line[0], line[-1]) for line in lines] == [
        (in_title.id, "Prime numbers"),
        (in_message.id, "It is a PRIME number."),
    ]
    listed = json.loads(lmlab("sessions", "list", "--json", "--search", "prime NUM").out)
    assert listed[1]["match"] == "It is a PRIME number."
    store.rename(in_title.id, "[b]primes[/b]")
    lines_shown = on_terminal("sessions", "list", "--search", "a prime").out.splitlines()
    assert [line.split()[0] for line in lines_shown] == ["id", in_message.id, "It"]
    assert lines_shown[2] == "        It is a PRIME number."


def test_a_match_on_a_terminal_is_cut_to_its_width(on_terminal: Lmlab, store: Store) -> None:
    said(store, f"{'日本語 ' * 30} needle {'x' * 300}\x1b[2J")
    line = on_terminal("sessions", "list", "--search", "NEEDLE").out.splitlines()[2]
    assert line.startswith("        …")
    assert line.endswith("x…")
    assert " needle x" in line
    assert cell_len(line) == 70


def test_a_search_without_result_says_so_beside_the_data(lmlab: Lmlab, store: Store) -> None:
    said(store, "Why?")
    outcome = lmlab("sessions", "list", "--search", "a\nb")
    assert (outcome.code, outcome.out) == (0, HEADER.rstrip() + "\tmatch\n")
    assert outcome.err == "lmlab: 'a b' is in no title and no message\n"
    refused = lmlab("sessions", "list", "--search", "  ")
    assert (refused.code, refused.err) == (2, "lmlab: --search needs a text that is not empty\n")


def test_a_session_gets_another_title(lmlab: Lmlab, store: Store) -> None:
    session = said(store, "Why?")
    outcome = lmlab("sessions", "rename", session.id[:3], " The\nreason \x1b[2J ")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"lmlab: {session.id} is now called The reason ␛[2J\n"
    assert store.session(session.id).title == "The reason ␛[2J"
    refused = lmlab("sessions", "rename", session.id, " ")
    assert (refused.code, refused.err) == (2, "lmlab: a title cannot be empty: give it some text\n")


# import


def test_what_was_exported_comes_back(lmlab: Lmlab, store: Store, tmp_path: Path) -> None:
    session, file = said(store, "Why?"), tmp_path / "chat.json"
    lmlab("sessions", "export", session.id, "-o", str(file))
    text = file.read_text(encoding="utf-8")
    there = lmlab("sessions", "import", str(file))
    assert (there.code, there.out) == (2, "")
    assert there.err == (
        f"lmlab: session {session.id} (Why?) is there already: import it as another with --again, "
        "or remove that one first\n"
    )
    store.remove(session.id)
    outcome = lmlab("sessions", "import", str(file))
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == (f"lmlab: imported {session.id} (Why?, 2 messages): lmlab chat --session {session.id}\n")
    again = lmlab("sessions", "import", str(file), "--again")
    assert again.code == 0
    copy = next(one for one in store.sessions() if one.id != session.id)
    assert f"imported {copy.id} (Why?" in again.err
    back = json.loads(lmlab("sessions", "export", session.id, "--json").out)
    before = json.loads(text)
    assert back["session"] == {**before["session"], "leaf": back["session"]["leaf"]}


def test_a_file_that_is_no_session_is_one_line(lmlab: Lmlab, store: Store, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"lmlab_session": 2, "session": {')
    outcome = lmlab("sessions", "import", str(tmp_path / "cut.json"))
    assert (outcome.code, outcome.out, store.sessions()) == (2, "", ())
    assert outcome.err.startswith(f"lmlab: {tmp_path / 'cut.json'}: it is cut off or not JSON: ")
    assert outcome.err.count("\n") == 1


# show and export


def test_show_prints_the_transcript_safely(lmlab: Lmlab, on_terminal: Lmlab, store: Store) -> None:
    session = said(store, "Why?", "a\x1b[2Jb")
    piped = lmlab("sessions", "show", session.id[:4])
    assert (piped.code, piped.err) == (0, "")
    assert piped.out == "# Why?\n\n## You\n\nWhy?\n\n## smollm2\n\na\x1b[2Jb\n"
    assert on_terminal("sessions", "show", session.id).out == piped.out.replace("\x1b", "␛")


def test_export_writes_markdown_or_everything_to_stdout(lmlab: Lmlab, on_terminal: Lmlab, store: Store) -> None:
    session = said(store, "Why?")
    store.select(store.turns(session.id)[0].id)
    other = store.add_turn(session.id, store.turns(session.id)[0].id, "Nó.", reply=Reply(status="done"))
    shown = lmlab("sessions", "show", session.id).out
    places = f"\n<!-- lmlab {session.id} 9: 3+1u 7+1a -->\n"
    assert lmlab("sessions", "export", session.id).out == shown + places
    for outcome in (
        lmlab("sessions", "export", session.id, "--json"),
        on_terminal("sessions", "export", session.id, "--json"),
    ):
        assert [turn["content"] for turn in json.loads(outcome.out)["turns"]] == ["Why?", "Yes.", other.content]


@pytest.mark.parametrize("name", ["chat.md", "chat.JSON"])
def test_export_writes_the_file_that_is_named(lmlab: Lmlab, store: Store, tmp_path: Path, name: str) -> None:
    session, file = said(store, "Why?"), tmp_path / name
    outcome = lmlab("sessions", "export", session.id, "-o", str(file))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"lmlab: wrote {file}\n")
    kind = ("--json",) if name.endswith("JSON") else ()
    assert file.read_text(encoding="utf-8") == lmlab("sessions", "export", session.id, *kind).out


def test_export_overwrites_only_by_force(lmlab: Lmlab, store: Store, tmp_path: Path) -> None:
    session, file = said(store, "Why?"), tmp_path / "chat.md"
    file.write_text("mine")
    refused = lmlab("sessions", "export", session.id, "-o", str(file))
    assert (refused.code, refused.out, file.read_text()) == (2, "", "mine")
    assert refused.err == f"lmlab: {file} exists: choose another name, or overwrite it with --force\n"
    assert lmlab("sessions", "export", session.id, "-o", str(file), "--force").code == 0
    assert file.read_text().startswith("# Why?")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--force",), "--force overwrites a file: name it with -o FILE"),
        (("--json", "-o", "chat.md"), "--json and -o chat.md do not go together: end the name in .json"),
        (("-o", "chat.txt"), "chat.txt: end the name in .md for a transcript, or in .json for everything"),
    ],
)
def test_options_that_could_only_be_ignored_are_refused(
    lmlab: Lmlab, store: Store, options: tuple[str, ...], message: str
) -> None:
    outcome = lmlab("sessions", "export", said(store, "Why?").id, *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"lmlab: {message}\n")


@pytest.mark.parametrize("command", [("show",), ("export",), ("remove", "--yes")])
def test_an_id_of_no_session_is_one_line(lmlab: Lmlab, store: Store, command: tuple[str, ...]) -> None:
    said(store, "Why?")
    outcome = lmlab("sessions", *command, "zzzzzzz")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("lmlab: no session is called 'zzzzzzz'")
    assert outcome.err.count("\n") == 1
    assert len(store.sessions()) == 1


# remove


def test_remove_asks_first_and_says_what_would_go(on_terminal: Lmlab, store: Store) -> None:
    session = said(store, "Why?")
    for typed in ("", "\n", "n\n", "yess\n"):
        outcome = on_terminal("sessions", "remove", session.id, typed=typed)
        assert outcome.code == 1
        assert outcome.err.startswith(f"{session.id}  Why? (2 messages)\nRemove it for good? [y/N] ")
        assert outcome.err.endswith("lmlab: nothing was removed\n")
    assert len(store.turns(session.id)) == 2
    outcome = on_terminal("sessions", "remove", session.id, typed="Y\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert store.sessions() == ()
    assert store.turns(session.id) == ()


def test_without_a_terminal_remove_needs_yes(lmlab: Lmlab, store: Store) -> None:
    session = said(store, "Why?")
    outcome = lmlab("sessions", "remove", session.id, stdin=b"y\n")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--yes removes it unasked" in outcome.err
    assert store.sessions() == (session,)


def test_remove_takes_several_and_all_or_none_of_them(lmlab: Lmlab, store: Store) -> None:
    first, second, kept = (said(store, text) for text in ("one", "two", "three"))
    assert lmlab("sessions", "remove", "--yes", first.id, "zzzzzzz").code == 1
    assert len(store.sessions()) == 3
    outcome = lmlab("sessions", "remove", "-y", first.id, second.id, first.id)
    assert (outcome.code, outcome.err) == (0, f"lmlab: removed {first.id}, {second.id}\n")
    assert store.sessions() == (kept,)


def test_remove_takes_the_snapshots_too_and_says_how_much_they_were(lmlab: Lmlab, store: Store) -> None:
    first, second, spared = (said(store, text) for text in ("one", "two", "three"))
    files = [kept(session, 1_500_000) for session in (first, second, spared)]
    outcome = lmlab("sessions", "remove", "-y", first.id, second.id)
    assert (outcome.code, outcome.err) == (0, f"lmlab: removed {first.id}, {second.id} and 3 MB of snapshots\n")
    assert [file.exists() for file in files] == [False, False, True]
    assert not files[0].parent.exists()


def test_a_removal_that_is_refused_keeps_the_snapshots(lmlab: Lmlab, store: Store) -> None:
    session = said(store, "one")
    file = kept(session, 10)
    assert lmlab("sessions", "remove", "-y", session.id, "zzzzzzz").code == 1
    assert file.exists()


# Completion


@pytest.mark.parametrize(
    "words", ["lmlab chat --session ", "lmlab sessions show ", "lmlab sessions export ", "lmlab sessions remove "]
)
def test_the_shell_completes_session_ids(
    lmlab: Lmlab, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    old, new = said(store, "one"), said(store, "two")

    def offered(begun: str) -> list[str]:
        monkeypatch.setenv("_LMLAB_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words + begun)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        with pytest.raises(SystemExit):
            lmlab()
        return capsys.readouterr().out.split()

    assert offered("") == [new.id, old.id]
    assert old.id in offered(old.id[:5])


def test_completion_makes_no_database_and_reports_none_that_is_broken(home: Path) -> None:
    from lmlab.cli.complete import complete_session

    assert complete_session("") == []
    assert not home.exists()
    home.mkdir()
    Paths.find().database.write_bytes(b"no database" * 100)
    assert complete_session("") == []

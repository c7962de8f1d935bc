from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.lab.slash_complete import complete


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "/s",
            [
                "/set ",
                "/system ",
                "/select ",
                "/shots ",
                "/style ",
                "/save ",
                "/session",
                "/schema ",
                "/sessions",
                "/stats",
            ],
        ),
        ("/SE", ["/set ", "/select ", "/session", "/sessions"]),
        ("/ex", ["/exit"]),
        ("/zzz", []),
        ("/zzz a", []),
        ("/set top", ["/set top-k ", "/set top-p "]),
        ("/set TOP_P", ["/set top-p "]),
        ("/set top-p 0", []),
        ("/help re", ["/help read", "/help regen", "/help rename"]),
        ("/bye ", []),
        ("//s", []),
        ("hello", []),
        ("", []),
        ("/s\n", []),
    ],
)
def test_commands_and_parameters(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_a_slash_alone_offers_every_command() -> None:
    offered = complete("/")
    assert offered[0] == "/set "
    assert "/bye" in offered


def test_models_are_offered_as_given() -> None:
    assert complete("/model s", ["smollm2", "gemma3-270m", "small"]) == ["/model smollm2", "/model small"]
    assert complete("/model ") == []


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    for name in ("note one.txt", "other.txt", ".hidden", "notes/a.txt"):
        (tmp_path / name).write_text("")

    assert complete("/read no") == ["/read note one.txt", "/read notes/"]
    assert complete("/read ") == ["/read note one.txt", "/read notes/", "/read other.txt"]
    assert complete("/read .h") == ["/read .hidden"]
    assert complete("/save notes/") == ["/save notes/a.txt"]
    assert complete("/grammar no") == ["/grammar note one.txt", "/grammar notes/"]
    assert complete("/schema ot") == ["/schema other.txt"]
    assert complete("/read note o") == ["/read note one.txt"]
    assert complete("/read nowhere/") == []


def test_the_home_folder_stays_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    assert complete("/read ~/no") == ["/read ~/notes.txt"]


def test_selectors_and_numbers_of_candidates() -> None:
    assert complete("/sel") == ["/select "]
    assert complete("/select j") == ["/select judge", "/select judge:"]
    assert complete("/select judge:sm", ["smollm2", "gemma3-270m"]) == ["/select judge:smollm2"]
    assert complete("/select regex:s", ["smollm2"]) == []
    assert complete("/best-of ") == ["/best-of 3", "/best-of 5", "/best-of 8", "/best-of off"]
    assert complete("/cand") == ["/candidates "]

"""What was exported comes back whole, from this version and the one before; what is not whole does not come in at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_harness import Desk

from lmlab.backends.fake import FakeCandidate
from lmlab.errors import UsageError
from lmlab.lab import importing
from lmlab.lab.export import save
from lmlab.lab.importing import import_file
from lmlab.sampling import SamplingParams
from lmlab.store import Branch, Reply, Session, Store, TemplateUse, Turn
from lmlab.worker.prompts import Message

EXPORTED = Path(__file__).parent / "exported"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Store]:
    """The store of another machine, where something was said already."""
    store = Store(tmp_path / "elsewhere" / "sessions.db")
    store.add_turn(store.create_session().id, None, "here before")
    yield store
    store.close()


def exported(store: Store, session: Session, file: Path) -> Path:
    session = store.session(session.id)
    return save(
        str(file), session, store.path(session.id), store.turns(session.id), store.chosen(session.id), overwrite=True
    )


def everything(store: Store, session: Session) -> tuple[Any, ...]:
    """All that is kept of a session, its turns called by their place in it."""
    session = store.session(session.id)
    turns = store.turns(session.id)
    place = {turn.id: number for number, turn in enumerate(turns)}

    def placed(turn: Turn) -> Turn:
        reply = turn.reply
        if reply is not None and reply.branch is not None:
            reply = replace(reply, branch=Branch(place[reply.branch.turn], reply.branch.at))
        parent = None if turn.parent is None else place[turn.parent]
        return replace(turn, id=place[turn.id], parent=parent, reply=reply, session="")

    return (
        replace(session, id="", leaf=None if session.leaf is None else place[session.leaf]),
        [placed(turn) for turn in turns],
        [place[turn.id] for turn in store.path(session.id)],
        {place[parent]: place[child] for parent, child in store.chosen(session.id).items()},
    )


def rich_session(desk: Desk) -> Session:
    """Branches, attachments, a system prompt, candidates, changes, a crash, a template, log-probabilities."""
    backend = desk.open()
    desk.chat.set_system("Be brief.")
    (desk.folder / "notes.txt").write_text("one\ttwo\nthree — \U0001f600\n", encoding="utf-8")
    desk.chat.attach(str(desk.folder / "notes.txt"))
    desk.chat.send("Count the words é")
    backend.step(2)
    desk.chat.set_sampling("temperature", 1.3)
    desk.chat.set_sampling("stop", ("###",))
    backend.finish()
    desk.chat.regenerate()
    backend.step(2)
    desk.chat.stop()
    desk.chat.set_best_of(2)
    backend.script_candidates([FakeCandidate(text, logprob=p) for text, p in (("It is 41", -2.0), ("It is 42", -0.5))])
    desk.chat.send("How many?")
    backend.finish()
    session, turns = desk.chat.session, desk.chat.turns
    assert session is not None
    use = TemplateUse(
        "classify",
        "f" * 64,
        "few-shot",
        2,
        {"labels": "a, b"},
        (Message("user", "Classify."), Message("assistant", "a")),
        ("\n",),
        "It is",
        SamplingParams(temperature=0.0),
    )
    asked = desk.store.add_turn(session.id, turns[1].id, "ham", prompt=use)
    logprobs = (-0.5, float("-1.25"))
    desk.store.add_turn(
        session.id,
        asked.id,
        "spam",
        reply=Reply(status="done", tokens=(1, 2**31 - 1), logprobs=logprobs, branch=Branch(turns[1].id, 1)),
    )
    desk.store.add_turn(session.id, None, "A first message of its own")
    desk.store.select(turns[0].id)
    return session


def test_everything_comes_back_and_is_exported_alike(desk: Desk, elsewhere: Store, tmp_path: Path) -> None:
    session = rich_session(desk)
    file = exported(desk.store, session, tmp_path / "chat.json")

    added = import_file(elsewhere, str(file))

    assert added.id == session.id
    assert everything(elsewhere, added) == everything(desk.store, session)
    second = exported(elsewhere, added, tmp_path / "again.json")
    third = Store(tmp_path / "third.db")
    assert everything(third, import_file(third, str(second))) == everything(desk.store, session)
    third.close()


def test_a_session_that_is_there_is_said_and_can_be_had_again(desk: Desk, tmp_path: Path) -> None:
    session = rich_session(desk)
    for name in ("chat.json", "chat.md"):
        file = exported(desk.store, session, tmp_path / name)
        before = desk.store.sessions()
        with pytest.raises(
            UsageError, match=rf"session {session.id} \(Count the words é\) is there already: .*--again"
        ):
            import_file(desk.store, str(file))
        assert desk.store.sessions() == before
        copy = import_file(desk.store, str(file), again=True)
        assert copy.id not in [one.id for one in before]
    whole = next(one for one in desk.store.sessions() if one.id != session.id and len(desk.store.turns(one.id)) > 6)
    assert everything(desk.store, whole) == everything(desk.store, session)


def test_the_version_before_comes_back(elsewhere: Store) -> None:
    session = import_file(elsewhere, str(EXPORTED / "version-1.json"))
    was = json.loads((EXPORTED / "version-1.json").read_text(encoding="utf-8"))
    turns = elsewhere.turns(session.id)
    assert session.id == was["session"]["id"]
    assert (session.system, session.created.isoformat()) == ("Be brief.", was["session"]["created"])
    assert [turn.content for turn in turns] == [turn["content"] for turn in was["turns"]]
    path = ["Count the words é", "A fake reply.", "And now?", ""]
    assert [turn.content for turn in elsewhere.path(session.id)] == path
    reply = turns[1].reply
    assert reply is not None
    assert reply.changes == ((1, "temperature", 0.6, 1.3), (1, "stop", (), ("###",)))
    assert (reply.tokens, reply.fingerprint) == ((100, 101, 102, 103), "print-fake")
    assert [turn.reply.candidate.chosen for turn in turns[4:6] if turn.reply and turn.reply.candidate] == [False, True]
    assert turns[0].attachments[0].text == "one two\nthree — vier\n"
    # It did not say what was selected on branches that were left: there the youngest is.
    assert [turn.content for turn in elsewhere.select(turns[2].id)][2:] == ["How many?", "It is 42"]
    assert [turn.content for turn in elsewhere.select(turns[1].id)] == path


def test_a_transcript_brings_what_was_said(elsewhere: Store, desk: Desk, tmp_path: Path) -> None:
    old = import_file(elsewhere, str(EXPORTED / "version-1.md"))
    assert [(turn.role, turn.content) for turn in elsewhere.path(old.id)] == [
        ("user", "Attached: notes.txt (21 characters)\n\nCount the words é"),
        ("assistant", "A"),
        ("user", "How many?"),
        ("assistant", "It is 42"),
    ]
    assert (old.title, old.system, old.model) == ("Count the words é", "Be brief.", "fake")
    session = rich_session(desk)
    new = import_file(elsewhere, str(exported(desk.store, session, tmp_path / "chat.md")))
    assert new.id == session.id
    assert [turn.content for turn in elsewhere.path(new.id)][1:] == [turn.content for turn in desk.store.path(new.id)][
        1:
    ]


def test_an_imported_session_goes_on(auto: Desk, elsewhere: Store) -> None:
    session = import_file(auto.store, str(EXPORTED / "version-1.json"))
    auto.open()
    auto.chat.resume(session)
    auto.chat.send("And?")
    assert [turn.role for turn in auto.chat.turns[-2:]] == ["user", "assistant"]
    assert auto.chat.asked.temperature == 1.3


Spoil = Callable[[dict[str, Any]], Any]


def in_session(**values: Any) -> Spoil:
    return lambda document: document["session"].update(values)


def in_turn(number: int, **values: Any) -> Spoil:
    return lambda document: document["turns"][number - 1].update(values)


def in_reply(**values: Any) -> Spoil:
    return lambda document: document["turns"][1]["reply"].update(values)


def without(part: str, *names: str) -> Spoil:
    def spoil(document: dict[str, Any]) -> None:
        place: Any = document
        for name in part.split():
            place = place[int(name) if name.isdigit() else name]
        for name in names:
            del place[name]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda document: document.update(lmlab_session=3), "a newer lmlab wrote it (format 3, this one knows 2)"),
        (lambda document: document.update(lmlab_session="x"), "no session that lmlab exported"),
        (lambda document: document.update(extra=1), "the file has 'extra', which this lmlab does not know"),
        (lambda document: document.update(turns={}), "its turns are no list"),
        (lambda document: document.update(session=[]), "the session is no JSON object"),
        (without("", "turns"), "no session that lmlab exported"),
        (without("session", "title"), "the session: "),
        (without("session", "created"), "the session: 'created' is missing"),
        (in_session(id="../../etc"), "'../../etc' is no id of a session"),
        (in_session(id=7), "the session: id cannot be 7"),
        (in_session(title=None), "the session: title cannot be None"),
        (in_session(title="\ud800"), "the session: title cannot be"),
        (in_session(colour="red"), "the session has 'colour'"),
        (in_session(created="yesterday"), "the session: Invalid isoformat string: 'yesterday'"),
        (in_session(created="2026-01-01"), "does not say its zone"),
        (in_session(created=5), "a time is no text"),
        (in_session(updated="0001-01-01T00:00:00+23:00"), "the session: "),
        (in_session(leaf=99), "its selected path ends at message 99, which is not in it"),
        (in_session(leaf="8"), "the session: leaf cannot be '8'"),
        (lambda document: document["turns"].append(5), "message 9 is no JSON object"),
        (in_turn(3, id=2), "message 3: its id 2 is that of another before it"),
        (in_turn(1, parent=1), "message 1: it follows message 1, which is not before it"),
        (in_turn(1, parent=8), "message 1: it follows message 8, which is not before it"),
        (in_turn(4, parent="3"), "message 4: parent cannot be '3'"),
        (in_turn(4, id=True), "message 4: id cannot be True"),
        (in_turn(2, role="system"), "message 2: its role 'system' and its reply do not go together"),
        (in_turn(1, role="assistant"), "message 1: its role 'assistant' and its reply do not go together"),
        (in_turn(2, parent=None), "message 2: a reply must follow a message of the user"),
        (in_turn(5, parent=3), "message 5: a reply must follow a message of the user"),
        (in_turn(2, content=["x"]), "message 2: content cannot be ['x']"),
        (in_turn(2, content="\udfff"), "message 2: content cannot be"),
        (in_turn(2, attachments=[]), None),
        (in_turn(2, attachments=[{"name": "x", "text": "y"}]), "a reply has no template and no attachments"),
        (in_turn(1, attachments=[{"name": "x"}]), "message 1: "),
        (in_turn(1, attachments=[5]), "message 1: "),
        (in_turn(1, attachments=[{"name": "x", "text": 5}]), "message 1: attachments cannot be"),
        (in_turn(1, attachments=7), "message 1: "),
        (in_turn(1, prompt={}), "message 1: "),
        (in_turn(1, prompt=None), "message 1: "),
        (in_turn(2, reply=None), "message 2: "),
        (in_turn(2, chosen=5), "below message 2 it chose 5, which is no child of it"),
        (in_turn(4, chosen="6"), "below message 4 it chose '6'"),
        (in_turn(4, chosen=[]), "below message 4 it chose []"),
        (without("turns 3", "content"), "message 4: 'content' is missing"),
        (in_reply(colour="red"), "message 2: "),
        (in_reply(status="half"), "message 2: reply: status cannot be 'half'"),
        (in_reply(status=[]), "message 2: reply: status cannot be []"),
        (in_reply(finish_reason="tired"), "reply: finish_reason cannot be 'tired'"),
        (in_reply(tokens="abc"), "reply: tokens cannot be"),
        (in_reply(tokens=[1.5]), "reply: tokens cannot be (1.5,)"),
        (in_reply(tokens=[-1]), "message 2: a token id is out of range"),
        (in_reply(tokens=[2**31]), "message 2: a token id is out of range"),
        (in_reply(tokens=[10**30]), "message 2: a token id is out of range"),
        (in_reply(tokens=5), "message 2: "),
        (in_reply(asked=5), "message 2: "),
        (in_reply(asked={"temperature": -5}), "message 2: temperature -5"),
        (in_reply(asked={"heat": 5}), "unknown sampling parameter 'heat'"),
        (in_reply(sampling={"seed": 5}), "its sampling lacks the temperature or the seed"),
        (in_reply(changes=[[1, "heat", 1, 2]]), "no sampling parameter is called 'heat'"),
        (in_reply(changes=[[1, "temperature", 1]]), "message 2: "),
        (in_reply(changes=[["1", "temperature", 1, 2]]), "reply: changes cannot be"),
        (in_reply(changes=[[1, "temperature", 1, "hot"]]), "temperature 'hot'"),
        (in_reply(usage={"prompt_tokens": "x", "cached_tokens": 0, "completion_tokens": 1}), "usage: prompt_tokens"),
        (in_reply(usage=[]), "message 2: "),
        (in_reply(timings={"ttft_s": None}), "message 2: "),
        (in_reply(versions=["1"]), "reply: versions cannot be ('1',)"),
        (in_reply(candidate={"index": "0", "of": 2}), "reply: candidate: index cannot be '0'"),
        (in_reply(logprobs=[0.0] * 9), "it has 9 log-probabilities for 4 tokens"),
        (in_reply(logprobs=["x"]), "message 2: "),
        (in_reply(branch={"turn": 1}), "message 2: "),
        (in_reply(branch={"turn": 1, "at": 1.5}), "reply: branch: at cannot be 1.5"),
        (in_reply(model=5), "reply: model cannot be 5"),
        (in_reply(error=5), "reply: error cannot be 5"),
    ],
)
def test_a_file_with_one_thing_wrong_says_it_and_nothing_comes_in(
    elsewhere: Store, tmp_path: Path, spoil: Spoil, problem: str | None
) -> None:
    document = {"lmlab_session": 2, **json.loads((EXPORTED / "version-1.json").read_text(encoding="utf-8"))}
    spoil(document)
    file = tmp_path / "spoiled.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    if problem is None:
        assert import_file(elsewhere, str(file)).id == document["session"]["id"]
        return
    before = elsewhere.sessions()
    with pytest.raises(UsageError) as caught:
        import_file(elsewhere, str(file))
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert problem in message
    assert "\n" not in message
    assert elsewhere.sessions() == before


@pytest.mark.parametrize("cut", [1, 30, 300, 3000, 8000])
def test_a_file_that_was_cut_off_says_so(elsewhere: Store, tmp_path: Path, cut: int) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes((EXPORTED / "version-1.json").read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"cut\.json: it is cut off or not JSON: .*(column|char)"):
        import_file(elsewhere, str(file))
    assert len(elsewhere.sessions()) == 1


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "there is no message in it: lmlab imports the .json and .md files"),
        (b"hello\nworld", "there is no message in it"),
        (b"\xff\xfe\x00", "is not UTF-8 text (byte 0)"),
        (
            b"# T\n\n## You\n\nx\n\n## You\n\ny\n\n<!-- lmlab abc234 9: 3+1a 7+1u -->\n",
            "message 1 is a reply that no message",
        ),
        (b'{"a": ' * 100_000, "nests too deep"),
        (b'{"session": {}, "turns": [NaN]}', "NaN is no number of JSON"),
        (b'{"session": {}, "turns": [' + b"9" * 5000 + b"]}", "it is cut off or not JSON: "),
    ],
)
def test_a_file_that_is_none_of_lmlab_s_is_one_line(
    elsewhere: Store, tmp_path: Path, data: bytes, problem: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        import_file(elsewhere, str(file))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(elsewhere.sessions()) == 1


def test_what_cannot_be_read_is_one_line(elsewhere: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such file"):
        import_file(elsewhere, str(tmp_path / "none.json"))
    with pytest.raises(UsageError, match="is not a file"):
        import_file(elsewhere, str(tmp_path))
    monkeypatch.setattr(importing, "SIZE_LIMIT", 100)
    with pytest.raises(UsageError, match=r"has [\d,]+ bytes, and what is imported has at most 100"):
        import_file(elsewhere, str(EXPORTED / "version-1.json"))


def test_a_long_conversation_comes_back(elsewhere: Store, desk: Desk, tmp_path: Path) -> None:
    session = desk.store.create_session()
    parent: int | None = None
    with desk.store.transaction():
        for number in range(3000):
            reply = Reply(status="done") if number % 2 else None
            parent = desk.store.add_turn(session.id, parent, str(number), reply=reply).id
    added = import_file(elsewhere, str(exported(desk.store, session, tmp_path / "long.json")))
    assert [turn.content for turn in elsewhere.path(added.id)] == [str(number) for number in range(3000)]

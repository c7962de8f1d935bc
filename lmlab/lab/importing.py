"""A file that lmlab exported, brought back into the store: all of it or nothing. Knows nothing of screens."""

from __future__ import annotations

from datetime import UTC, datetime

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.session_json import SESSION_ID, Incoming, from_json
from lmlab.lab.transcript import Transcript, from_markdown
from lmlab.settings import expanded
from lmlab.store import Reply, Session, Store, Turn
from lmlab.terminal_text import one_line

SIZE_LIMIT = 256 * 2**20

_WHAT_IT_READS = "lmlab imports the .json and .md files that lmlab sessions export and /save write"


def import_file(store: Store, path: str, *, again: bool = False) -> Session:
    """Add the session in the file ``path`` and return it. With ``again`` it gets an id of its own.

    Raises UsageError, with nothing imported, when the file cannot be read or is not what was exported, and when the
    session is there already (unless ``again``).
    """
    incoming = read_file(path)
    session = incoming.session
    if not again and session.id and store.has_session(session.id):
        raise UsageError(
            f"session {session.id} ({one_line(store.session(session.id).title, 40)}) is there already: "
            f"import it as another with --again, or remove that one first"
        )
    return put(store, incoming, copy=again)


def put(store: Store, incoming: Incoming, *, copy: bool) -> Session:
    """Add what was read to the store, under an id of its own if it has none or ``copy`` says so. Raises StoreError."""
    return store.add_session(incoming.session, incoming.turns, incoming.chosen, copy=copy or not incoming.session.id)


def read_file(path: str) -> Incoming:
    """Return the session in the file ``path``, checked. Raises UsageError that says what is wrong with it."""
    text = _read(path)
    try:
        if text.lstrip().startswith("{"):
            return from_json(text)
        transcript = from_markdown(text)
        if transcript is None:
            raise UsageError(f"there is no message in it: {_WHAT_IT_READS}")
        return _from_transcript(transcript)
    except LmlabError as error:
        raise UsageError(f"{path}: {error}") from None


def _read(path: str) -> str:
    file = expanded(path)
    try:
        if not file.exists():
            raise UsageError(f"no such file: {path}")
        if not file.is_file():
            raise UsageError(f"{path} is not a file: {_WHAT_IT_READS}")
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
        if len(data) > SIZE_LIMIT:
            size = file.stat().st_size
            raise UsageError(f"{path} has {size:,} bytes, and what is imported has at most {SIZE_LIMIT:,}")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start:,}): {_WHAT_IT_READS}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _from_transcript(transcript: Transcript) -> Incoming:
    named = transcript.session
    now = datetime.now(UTC)
    system = next((section.text for section in transcript.sections if section.role == "system"), None)
    said = [section for section in transcript.sections if section.role != "system"]
    session_id = named if named is not None and SESSION_ID.fullmatch(named) else ""
    turns = tuple(
        Turn(
            id=number,
            session=session_id,
            parent=number - 1 or None,
            content=section.text,
            created=now,
            reply=Reply(status="done", model=section.model) if section.role == "assistant" else None,
        )
        for number, section in enumerate(said, 1)
    )
    if (wrong := next((turn for turn in turns if not _in_order(turn, turns)), None)) is not None:
        raise UsageError(f"message {wrong.id} is a reply that no message of yours is before: {_WHAT_IT_READS}")
    model = next((section.model for section in reversed(said) if section.model), None)
    session = Session(session_id, transcript.title, now, now, model=model, system=system, leaf=len(turns))
    return Incoming(session, turns, {turn.id: turn.id + 1 for turn in turns[:-1]})


def _in_order(turn: Turn, turns: tuple[Turn, ...]) -> bool:
    return turn.reply is None or (turn.parent is not None and turns[turn.parent - 1].reply is None)

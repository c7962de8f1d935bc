"""What is said about the candidates of a reply, in words. Knows nothing of chats or of where they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmlab.store import Candidacy, Reply, Turn
from lmlab.terminal_text import one_line

_NOTE = 80
_BEGINNING = 60


def standing(reply: Reply) -> str:
    """Return ``candidate 3 of 5, by vote: 4 of 5 say 42``, of others the score; nothing for a reply drawn alone."""
    one = reply.candidate
    if one is None:
        return ""
    line = f"candidate {one.index + 1} of {one.of}"
    if one.chosen:
        by = f", by {one_line(one.selector, _NOTE)}" if one.selector else ""
        return f"{line}{by}: {one.why}" if one.why else line + by
    return " · ".join((line, *_score(one)))


def listed(replies: Sequence[Turn], selected: int | None) -> Iterable[str]:
    """Yield a line for each reply to one question, numbered from 1; ``selected`` is the id of the one gone on from."""
    for number, turn in enumerate(replies, 1):
        mark = "›" if turn.id == selected else " "
        facts = " · ".join(_facts(turn))
        yield f"{mark} {number:>2}  {facts}"
        yield f'      "{one_line(turn.content, _BEGINNING)}"'


def _facts(turn: Turn) -> Iterable[str]:
    reply = turn.reply
    assert reply is not None
    one = reply.candidate
    yield f"candidate {one.index + 1} of {one.of}" if one else "a reply drawn alone"
    if one is not None and one.chosen:
        yield f"chosen by {one_line(one.selector, _NOTE)}" if one.selector else "kept"
    if one is not None:
        yield from _score(one)
    if reply.status == "partial":
        yield "not ended"
    elif reply.finish_reason not in ("stop", None):
        yield f"ended: {reply.finish_reason}"


def _score(one: Candidacy) -> Iterable[str]:
    if one.score is not None:
        yield f"score {one.score:.3g}"
    if one.logprob is not None and one.logprob != one.score:
        yield f"log-probability {one.logprob:.3f}"
    if one.note:
        yield one_line(one.note, _NOTE)

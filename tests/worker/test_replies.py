"""What the worker tells the parent, from a scripted engine whose token ids are the bytes they spell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from lmlab.engine import Admitted, Changed, Drawn, Ended, EngineEvent, Prefilled, Refused
from lmlab.errors import ContextOverflow
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.messages import (
    Applied,
    CandidateEnded,
    Event,
    Failed,
    Finished,
    Prefill,
    Started,
    Timings,
    Token,
    Usage,
)
from lmlab.worker.streams import Replies

PIECES = [b"", b"Hel", b"lo", b"\xf0\x9f", b"\x91", b"\x8d", b"#", b"##", b"lo###", b" x"]
CONTROL, HEL, LO, HAND, HAND_2, HAND_3, HASH, HASHES, LO_STOP, X = range(10)
SAMPLING = DEFAULTS.merge(SamplingParams(seed=1))


class ScriptedEngine:
    """Says what a test tells it to; ``finish`` ends a request that it has not ended itself."""

    def __init__(self) -> None:
        self.alive = {"a", "b"}
        self.finished: list[str] = []
        self.drawn = 0

    def finish(self, request_id: str, candidate: int = 0) -> list[EngineEvent]:
        self.finished.append(request_id)
        if request_id not in self.alive:
            return []
        return [self.end("stop", request_id)]

    def end(
        self, reason: Literal["stop", "length", "context", "cancelled"], request_id: str = "a", **values: Any
    ) -> Ended:
        self.alive.discard(request_id)
        numbers = {"candidate": 0, "restored": 0, "drafted": None, "accepted": None}
        numbers |= {"cached": 3, "drawn": self.drawn, "first_s": 0.5, "prefill_s": 0.4, "decode_s": 2.0, "total_s": 2.5}
        return Ended(request_id, reason=reason, held=7, **{**numbers, **values})

    def draw(self, *tokens: int, logprobs: Sequence[float] | None = None, request_id: str = "a") -> list[EngineEvent]:
        events: list[EngineEvent] = []
        for number, token in enumerate(tokens):
            logprob = None if logprobs is None else logprobs[number]
            events.append(Drawn(request_id, 0, self.drawn, token, False, logprob))
            self.drawn += 1
        return events

    def draw_end(self, logprob: float | None = None) -> Drawn:
        self.drawn += 1
        return Drawn("a", 0, self.drawn - 1, CONTROL, True, logprob)


class Conversation:
    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.replies = Replies(self.engine.finish, PIECES.__getitem__)

    def begin(
        self, *stop: str, request_id: str = "a", streamed: bool = True, candidates: int = 1, begun: Sequence[int] = ()
    ) -> None:
        self.engine.drawn = len(begun)
        sampling = SAMPLING.with_value("stop", stop)
        self.replies.add(request_id, 10, sampling, candidates, streamed=streamed, begun=begun)

    def say(self, *events: EngineEvent) -> list[Event]:
        return self.replies.translate(events)


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


def texts(said: Sequence[Event]) -> list[str]:
    return [event.text for event in said if isinstance(event, Token)]


def finish_of(said: Sequence[Event]) -> Finished:
    assert isinstance(said[-1], Finished)
    return said[-1]


def test_a_whole_reply(talk: Conversation) -> None:
    talk.begin()
    said = talk.say(Admitted("a", 3, 0), Prefilled("a", 10, 10), *talk.engine.draw(HEL, LO), talk.engine.draw_end())
    assert said == [
        Started("a", 10, 3, SAMPLING),
        Prefill("a", 10, 10),
        Token("a", 0, HEL, "Hel", None),
        Token("a", 1, LO, "lo", None),
    ]
    assert talk.say(talk.engine.end("stop")) == [
        Finished("a", "stop", "", (HEL, LO), Usage(10, 3, 2), Timings(0.5, 7 / 0.4, 1.0, 2.5), 7, None)
    ]
    assert talk.replies.sampling("a") is None


def test_a_character_over_three_tokens(talk: Conversation) -> None:
    talk.begin()
    assert texts(talk.say(*talk.engine.draw(HEL, HAND, HAND_2, HAND_3))) == ["Hel", "", "", "👍"]


def test_half_a_character_at_the_end_is_the_tail(talk: Conversation) -> None:
    talk.begin()
    talk.say(*talk.engine.draw(HEL, HAND))
    finished = finish_of(talk.say(talk.engine.end("length")))
    assert finished.tail == "\ufffd"
    assert finished.tokens == (HEL, HAND)


def test_a_stop_over_two_tokens_ends_the_request_in_the_engine(talk: Conversation) -> None:
    talk.begin("###")
    said = talk.say(*talk.engine.draw(HEL, LO, HASH, HASHES, X))
    assert texts(said) == ["Hel", "lo", "", ""]
    finished = finish_of(said)
    assert (finished.reason, finished.tail, finished.tokens) == ("stop", "", (HEL, LO))
    assert finished.usage.completion_tokens == 4
    assert talk.engine.finished == ["a"]
    assert sum(isinstance(event, Finished) for event in said) == 1


def test_what_looked_like_a_stop_is_the_tail(talk: Conversation) -> None:
    talk.begin("###")
    assert texts(talk.say(*talk.engine.draw(HEL, HASH))) == ["Hel", ""]
    finished = finish_of(talk.say(talk.engine.draw_end(), talk.engine.end("stop")))
    assert (finished.tail, finished.tokens) == ("#", (HEL, HASH))


def test_a_token_that_holds_the_stop_and_text_before_it_is_among_the_tokens(talk: Conversation) -> None:
    talk.begin("###")
    said = talk.say(*talk.engine.draw(HEL, LO_STOP))
    assert texts(said) == ["Hel", "lo"]
    assert finish_of(said).tokens == (HEL, LO_STOP)


def test_a_stop_at_the_very_start_leaves_no_tokens(talk: Conversation) -> None:
    talk.begin("#")
    finished = finish_of(talk.say(*talk.engine.draw(HASHES)))
    assert (finished.tokens, finished.usage.completion_tokens) == ((), 1)


def test_a_stop_completed_by_the_last_token_allowed_is_the_reason(talk: Conversation) -> None:
    talk.begin("###")
    said = talk.say(*talk.engine.draw(HEL, HASH, HASHES), talk.engine.end("length"))
    finished = finish_of(said)
    assert (finished.reason, finished.tail, finished.tokens) == ("stop", "", (HEL,))
    assert sum(isinstance(event, Finished) for event in said) == 1


@pytest.mark.parametrize("reason", ["length", "context", "cancelled"])
def test_other_reasons_are_told_as_they_are(talk: Conversation, reason: Any) -> None:
    talk.begin("###")
    assert finish_of(talk.say(*talk.engine.draw(HEL, HASH), talk.engine.end(reason))).reason == reason


def test_a_token_that_spells_nothing_is_still_one_of_the_reply(talk: Conversation) -> None:
    talk.begin()
    said = talk.say(*talk.engine.draw(HEL, CONTROL), talk.engine.end("length"))
    assert texts(said) == ["Hel", ""]
    assert finish_of(said).tokens == (HEL, CONTROL)


def test_stops_changed_midway_are_in_force_and_told(talk: Conversation) -> None:
    talk.begin()
    later = SAMPLING.with_value("stop", ("###",))
    changes = (("stop", (), ("###",)),)
    said = talk.say(*talk.engine.draw(HASH), Changed("a", 1, later, changes), *talk.engine.draw(HASHES))
    assert said[1] == Applied("a", 1, later, changes)
    assert texts(said) == ["#", ""]
    assert talk.replies.sampling("a") == later
    assert finish_of(talk.say(*talk.engine.draw(HASHES))).reason == "stop"


def test_the_mean_logprob_is_over_every_draw(talk: Conversation) -> None:
    talk.begin()
    talk.say(*talk.engine.draw(HEL, LO, logprobs=[-1.0, -2.0]), talk.engine.draw_end(-3.0))
    assert finish_of(talk.say(talk.engine.end("stop"))).logprob == pytest.approx(-2.0)


def test_no_logprob_when_none_was_asked_for(talk: Conversation) -> None:
    talk.begin()
    assert finish_of(talk.say(*talk.engine.draw(HEL), talk.engine.end("length"))).logprob is None


def test_no_rate_without_anything_to_measure(talk: Conversation) -> None:
    talk.begin()
    ended = talk.engine.end("cancelled", first_s=None, prefill_s=0.4, decode_s=0.0)
    assert finish_of(talk.say(ended)).timings == Timings(None, None, None, 2.5)


@pytest.mark.parametrize("seconds", [{"prefill_s": 0.0}, {"decode_s": 0.0}])
def test_a_clock_too_coarse_to_see_the_work_gives_no_rate(talk: Conversation, seconds: dict[str, float]) -> None:
    talk.begin()
    timings = finish_of(talk.say(*talk.engine.draw(HEL), talk.engine.end("length", **seconds))).timings
    assert None in (timings.prefill_tokens_per_s, timings.decode_tokens_per_s)


def test_a_refused_request_fails_with_its_error_and_is_forgotten(talk: Conversation) -> None:
    talk.begin()
    error = ContextOverflow(10, 5)
    assert talk.say(Refused("a", error)) == [Failed("a", error)]
    assert talk.replies.sampling("a") is None
    assert talk.say(*talk.engine.draw(HEL)) == []


def test_two_requests_keep_their_texts_apart(talk: Conversation) -> None:
    talk.begin("###")
    talk.begin(request_id="b")
    said = talk.say(
        *talk.engine.draw(HASH),
        *talk.engine.draw(HAND, request_id="b"),
        *talk.engine.draw(HASHES),
        *talk.engine.draw(HAND_2, HAND_3, request_id="b"),
    )
    assert [(e.request_id, e.text) for e in said if isinstance(e, Token) and e.text] == [("b", "👍")]
    assert [e.request_id for e in said if isinstance(e, Finished)] == ["a"]


def test_a_reply_that_is_not_streamed_comes_whole(talk: Conversation) -> None:
    talk.begin(streamed=False)
    drawn = talk.engine.draw(HEL, HAND, HAND_2, HAND_3, LO, HAND)
    assert talk.say(Admitted("a", 3, 0), Prefilled("a", 10, 10), *drawn) == [Started("a", 10, 3, SAMPLING)]
    finished = finish_of(talk.say(talk.engine.end("length")))
    assert finished.tail == "Hel👍lo\ufffd"
    assert finished.tokens == (HEL, HAND, HAND_2, HAND_3, LO, HAND)


def test_a_stop_ends_a_reply_that_is_not_streamed(talk: Conversation) -> None:
    talk.begin("###", streamed=False)
    finished = finish_of(talk.say(*talk.engine.draw(HEL, LO, HASH, HASHES, X)))
    assert (finished.reason, finished.tail, finished.tokens) == ("stop", "Hello", (HEL, LO))
    assert talk.engine.finished == ["a"]


def test_a_stop_that_comes_midway_does_not_look_back_at_what_was_not_streamed(talk: Conversation) -> None:
    talk.begin(streamed=False)
    later = SAMPLING.with_value("stop", ("###",))
    changed = Changed("a", 2, later, (("stop", (), ("###",)),))
    assert talk.say(*talk.engine.draw(LO_STOP, HASH), changed, *talk.engine.draw(HASHES)) == [
        Applied("a", 2, later, changed.changes)
    ]
    finished = finish_of(talk.say(*talk.engine.draw(HEL, LO_STOP)))
    assert (finished.reason, finished.tail) == ("stop", "lo######Hello")


def started_text(said: Sequence[Event]) -> str:
    assert isinstance(said[0], Started)
    return said[0].text


def test_a_reply_that_begins_with_tokens_is_told_from_behind_them(talk: Conversation) -> None:
    talk.begin(begun=[HEL, LO])
    said = talk.say(Admitted("a", 3, 0), Prefilled("a", 10, 10), *talk.engine.draw(X))
    assert said == [
        Started("a", 10, 3, SAMPLING, text="Hello"),
        Prefill("a", 10, 10),
        Token("a", 2, X, " x", None),
    ]
    finished = finish_of(talk.say(talk.engine.draw_end(), talk.engine.end("stop", drawn=2)))
    assert finished.tokens == (HEL, LO, X)
    assert finished.usage == Usage(10, 3, 1)
    assert finished.tail == ""


def test_a_character_begun_in_the_beginning_comes_whole_with_the_next_token(talk: Conversation) -> None:
    talk.begin(begun=[HEL, HAND, HAND_2])
    said = talk.say(Admitted("a", 3, 0), *talk.engine.draw(HAND_3, X))
    assert started_text(said) == "Hel"
    assert texts(said) == ["\N{THUMBS UP SIGN}", " x"]


def test_a_stop_begun_in_the_beginning_is_met(talk: Conversation) -> None:
    talk.begin("###", begun=[HEL, HASH])
    said = talk.say(Admitted("a", 3, 0), *talk.engine.draw(HASHES, X))
    assert started_text(said) == "Hel"
    finished = finish_of(said)
    assert (finished.reason, texts(said), finished.tail, finished.tokens) == ("stop", [""], "", (HEL,))


def test_what_looked_like_a_stop_in_the_beginning_comes_with_the_next_token(talk: Conversation) -> None:
    talk.begin("###", begun=[HEL, HASH])
    said = talk.say(Admitted("a", 3, 0), *talk.engine.draw(X))
    assert (started_text(said), texts(said)) == ("Hel", ["# x"])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_beginning_that_holds_a_stop_is_the_whole_reply(talk: Conversation, streamed: bool) -> None:
    talk.begin("###", begun=[HEL, LO_STOP, X], streamed=streamed)
    said = talk.say(Admitted("a", 3, 0), *talk.engine.draw(X))
    finished = finish_of(said)
    assert (started_text(said), finished.tail, finished.reason) == ("Hello", "", "stop")
    assert finished.tokens == (HEL, LO_STOP)
    assert finished.usage.completion_tokens == 0
    assert [type(event) for event in said] == [Started, Finished]


def test_what_begins_with_tokens_and_is_not_streamed_comes_from_behind_them(talk: Conversation) -> None:
    talk.begin(begun=[HEL, HAND], streamed=False)
    said = talk.say(Admitted("a", 3, 0), *talk.engine.draw(HAND_2, HAND_3, LO))
    finished = finish_of(talk.say(talk.engine.end("length")))
    assert (started_text(said), finished.tail) == ("Hel", "\N{THUMBS UP SIGN}lo")
    assert finished.tokens == (HEL, HAND, HAND_2, HAND_3, LO)


def test_each_candidate_goes_on_from_the_same_beginning(talk: Conversation) -> None:
    talk.begin("###", begun=[HEL, HASH], candidates=2)
    said = talk.say(
        Admitted("a", 3, 0),
        Drawn("a", 0, 2, HASHES, False, None),
        Drawn("a", 1, 2, X, False, None),
        talk.engine.end("stop"),
    )
    (first,) = [event for event in said if isinstance(event, CandidateEnded)]
    assert (first.candidate, first.reason, first.tokens) == (0, "stop", (HEL,))
    later = talk.say(talk.engine.end("length", candidate=1))
    assert isinstance(later[0], CandidateEnded)
    assert (later[0].candidate, later[0].tokens) == (1, (HEL, HASH, X))
    assert [(e.candidate, e.text) for e in said if isinstance(e, Token)] == [(0, ""), (1, "# x")]
    assert finish_of(later).usage.completion_tokens == 2


def test_the_mean_logprob_leaves_the_beginning_out(talk: Conversation) -> None:
    talk.begin(begun=[HEL, LO])
    talk.say(Admitted("a", 3, 0), *talk.engine.draw(X, X, logprobs=[-1.0, -2.0]))
    assert finish_of(talk.say(talk.engine.end("length"))).logprob == pytest.approx(-1.5)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_that_never_ran_has_not_even_its_beginning(talk: Conversation, streamed: bool) -> None:
    talk.begin(begun=[HEL, HAND], streamed=streamed)
    finished = finish_of(talk.say(talk.engine.end("cancelled", drawn=0, cached=0, first_s=None)))
    assert (finished.tokens, finished.tail, finished.usage.completion_tokens) == ((), "", 0)

"""The requests a worker has in hand: engine events in, messages for the parent out.

Holds the text of each candidate as it grows; knows tokens only as numbers that spell bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lmlab.engine import Admitted, Changed, Drawn, Ended, EngineEvent, Prefilled, Refused
from lmlab.sampling import SamplingParams
from lmlab.worker import messages
from lmlab.worker.text_stream import TextStream


@dataclass(slots=True, eq=False)
class Candidate:
    """One continuation under way. ``unread``: how many of its last tokens are not in its text yet.

    ``tokens`` and ``text`` begin with what the reply began with.
    """

    stream: TextStream
    unread: int = 0
    text: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Reply:
    """One request under way. ``streamed``: told token by token. ``ended`` are its candidates' ends, by number.

    Each candidate began with the same ``replied`` tokens, which make the text ``begun`` certain.
    """

    request_id: str
    prompt_tokens: int
    sampling: SamplingParams
    candidates: list[Candidate]
    streamed: bool
    replied: int = 0
    begun: str = ""
    started: bool = False
    ended: dict[int, messages.CandidateEnded] = field(default_factory=dict)
    draws: int = 0
    drafted: int | None = None
    accepted: int | None = None
    held: int = 0


class Replies:
    """Every request in the engine, and the translation of its events.

    ``finish`` ends a candidate in the engine and returns what that says. ``piece`` spells a token as bytes.
    """

    def __init__(self, finish: Callable[[str, int], list[EngineEvent]], piece: Callable[[int], bytes]) -> None:
        self._finish = finish
        self._piece = piece
        self._replies: dict[str, Reply] = {}

    def add(
        self,
        request_id: str,
        prompt_tokens: int,
        sampling: SamplingParams,
        candidates: int = 1,
        *,
        streamed: bool = True,
        begun: Sequence[int] = (),
    ) -> None:
        """Begin a request whose replies all begin with the tokens ``begun``, which are the prompt's last."""
        streams = [
            Candidate(TextStream(sampling.stop or ()), unread=len(begun), tokens=list(begun)) for _ in range(candidates)
        ]
        texts = [self._read(candidate) for candidate in streams]
        self._replies[request_id] = Reply(
            request_id, prompt_tokens, sampling, streams, streamed, replied=len(begun), begun=texts[0]
        )

    def sampling(self, request_id: str) -> SamplingParams | None:
        """Return what is in force for a request, or None when it has ended."""
        reply = self._replies.get(request_id)
        return None if reply is None else reply.sampling

    @property
    def watching(self) -> bool:
        """Whether some text must be read as it is drawn, since it may end there."""
        return any(reply.sampling.stop for reply in list(self._replies.values()))

    def translate(self, events: Iterable[EngineEvent]) -> list[messages.Event]:
        """Return what to tell the parent; may end candidates in the engine whose text has met a stop string."""
        said: list[messages.Event] = []
        for event in events:
            reply = self._replies.get(event.request_id)
            if reply is not None:
                self._translate(event, reply, said)
        return said

    def _translate(self, event: EngineEvent, reply: Reply, said: list[messages.Event]) -> None:
        match event:
            case Drawn():
                self._drawn(event, reply, said)
            case Ended():
                self._ended(event, reply, said)
            case Prefilled():
                if reply.streamed:
                    said.append(messages.Prefill(event.request_id, event.done, event.total))
            case Admitted():
                self._admitted(event, reply, said)
            case Changed():
                reply.sampling = event.sampling
                for candidate in reply.candidates:
                    self._read(candidate)
                    candidate.stream.set_stop(event.sampling.stop or ())
                said.append(messages.Applied(event.request_id, event.index, event.sampling, event.changes))
            case Refused():
                del self._replies[event.request_id]
                said.append(messages.Failed(event.request_id, event.error))

    def _admitted(self, event: Admitted, reply: Reply, said: list[messages.Event]) -> None:
        reply.started = True
        said.append(
            messages.Started(
                event.request_id,
                reply.prompt_tokens,
                event.cached,
                sampling=reply.sampling,
                restored_tokens=event.restored,
                text=reply.begun,
            )
        )
        # What a reply begins with can hold a stop text already.
        for number, candidate in enumerate(reply.candidates):
            if candidate.stream.stopped:
                said.extend(self.translate(self._finish(event.request_id, number)))

    def _drawn(self, event: Drawn, reply: Reply, said: list[messages.Event]) -> None:
        candidate = reply.candidates[event.candidate]
        if event.candidate in reply.ended:
            # Drawn in the step in which its text met a stop string.
            return
        if event.logprob is not None:
            candidate.logprobs.append(event.logprob)
        if event.end:
            return
        candidate.tokens.append(event.token)
        candidate.unread += 1
        if not (reply.streamed or reply.sampling.stop):
            # Read at its end, in one piece.
            return
        text = self._read(candidate)
        if reply.streamed:
            said.append(
                messages.Token(event.request_id, event.index, event.token, text, event.logprob, event.candidate)
            )
        if candidate.stream.stopped:
            said.extend(self.translate(self._finish(event.request_id, event.candidate)))

    def _read(self, candidate: Candidate) -> str:
        """Take the tokens that are not read yet into the text; return what became certain of it."""
        unread = candidate.tokens[len(candidate.tokens) - candidate.unread :]
        candidate.unread = 0
        text = candidate.stream.push(b"".join(map(self._piece, unread)))
        candidate.text.append(text)
        return text

    def _ended(self, event: Ended, reply: Reply, said: list[messages.Event]) -> None:
        if event.candidate in reply.ended:
            return
        candidate = reply.candidates[event.candidate]
        self._read(candidate)
        tail = candidate.stream.flush()
        candidate.text.append(tail)
        # One that never ran has said nothing, not even what it was to begin with.
        unheard = not reply.started and len(candidate.tokens) == reply.replied
        if unheard:
            tail = ""
        elif not reply.streamed:
            tail = "".join(candidate.text)[len(reply.begun) :]
        # A stop string can be completed by the very token that exhausted max_tokens or the context.
        reason = "stop" if candidate.stream.stopped else event.reason
        logprobs = candidate.logprobs
        end = messages.CandidateEnded(
            request_id=event.request_id,
            candidate=event.candidate,
            reason=reason,
            tail=tail,
            tokens=() if unheard else self._spelling(candidate),
            logprob=sum(logprobs) / len(logprobs) if logprobs else None,
        )
        reply.ended[event.candidate] = end
        reply.draws += event.drawn
        if event.drafted is not None and event.accepted is not None:
            reply.drafted = (reply.drafted or 0) + event.drafted
            reply.accepted = (reply.accepted or 0) + event.accepted
        if event.candidate == 0:
            reply.held = event.held
        several = len(reply.candidates) > 1
        if several:
            said.append(end)
        if len(reply.ended) == len(reply.candidates):
            said.append(self._finished(event, reply, "" if several else tail))

    def _finished(self, event: Ended, reply: Reply, tail: str) -> messages.Finished:
        del self._replies[event.request_id]
        first = reply.ended[0]
        decoded = reply.prompt_tokens - event.cached
        return messages.Finished(
            request_id=event.request_id,
            reason=first.reason,
            tail=tail,
            tokens=first.tokens,
            usage=messages.Usage(
                reply.prompt_tokens,
                event.cached,
                sum(len(candidate.tokens) - reply.replied for candidate in reply.candidates),
                event.restored,
            ),
            timings=messages.Timings(
                ttft_s=event.first_s,
                prefill_tokens_per_s=decoded / event.prefill_s
                if event.first_s is not None and event.prefill_s > 0
                else None,
                # The first draw of each candidate ends the prefill.
                decode_tokens_per_s=(reply.draws - len(reply.candidates)) / event.decode_s
                if event.decode_s > 0
                else None,
                total_s=event.total_s,
                draft_tokens=reply.drafted,
                draft_accepted=reply.accepted,
            ),
            context_used=reply.held,
            logprob=first.logprob,
        )

    def _spelling(self, candidate: Candidate) -> tuple[int, ...]:
        """Return the tokens that spell the text: all of them, or those before a stop string that was cut away."""
        if not candidate.stream.stopped:
            return tuple(candidate.tokens)
        length = len("".join(candidate.text).encode("utf-8"))
        spelled = 0
        for count, token in enumerate(candidate.tokens):
            if spelled >= length:
                return tuple(candidate.tokens[:count])
            spelled += len(self._piece(token))
        return tuple(candidate.tokens)

"""The requests a worker has in hand: engine events in, messages for the parent out.

Holds the text of each reply as it grows; knows tokens only as numbers that spell bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lmlab.engine import Admitted, Changed, Drawn, Ended, Engine, EngineEvent, Prefilled, Refused
from lmlab.sampling import SamplingParams
from lmlab.worker import messages
from lmlab.worker.text_stream import TextStream


@dataclass(slots=True, eq=False)
class Reply:
    """One request under way."""

    request_id: str
    prompt_tokens: int
    sampling: SamplingParams
    stream: TextStream
    text: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Replies:
    """Every request in the engine, and the translation of its events. ``piece`` spells a token as bytes."""

    def __init__(self, engine: Engine, piece: Callable[[int], bytes]) -> None:
        self._engine = engine
        self._piece = piece
        self._replies: dict[str, Reply] = {}

    def add(self, request_id: str, prompt_tokens: int, sampling: SamplingParams) -> None:
        stream = TextStream(sampling.stop or ())
        self._replies[request_id] = Reply(request_id, prompt_tokens, sampling, stream)

    def sampling(self, request_id: str) -> SamplingParams | None:
        """Return what is in force for a request, or None when it has ended."""
        reply = self._replies.get(request_id)
        return None if reply is None else reply.sampling

    def translate(self, events: Iterable[EngineEvent]) -> list[messages.Event]:
        """Return what to tell the parent; may end requests in the engine whose text has met a stop string."""
        said: list[messages.Event] = []
        for event in events:
            reply = self._replies.get(event.request_id)
            # A request that met its stop string earlier in this step has ended already.
            if reply is not None:
                self._translate(event, reply, said)
        return said

    def _translate(self, event: EngineEvent, reply: Reply, said: list[messages.Event]) -> None:
        match event:
            case Drawn():
                self._drawn(event, reply, said)
            case Ended():
                said.append(self._ended(event, reply))
            case Prefilled():
                said.append(messages.Prefill(event.request_id, event.done, event.total))
            case Admitted():
                said.append(
                    messages.Started(event.request_id, reply.prompt_tokens, event.cached, sampling=reply.sampling)
                )
            case Changed():
                reply.sampling = event.sampling
                reply.stream.set_stop(event.sampling.stop or ())
                said.append(messages.Applied(event.request_id, event.index, event.sampling, event.changes))
            case Refused():
                del self._replies[event.request_id]
                said.append(messages.Failed(event.request_id, event.error))

    def _drawn(self, event: Drawn, reply: Reply, said: list[messages.Event]) -> None:
        if event.logprob is not None:
            reply.logprobs.append(event.logprob)
        if event.end:
            return
        reply.tokens.append(event.token)
        text = reply.stream.push(self._piece(event.token))
        reply.text.append(text)
        said.append(messages.Token(event.request_id, event.index, event.token, text, event.logprob))
        if reply.stream.stopped:
            said.extend(self.translate(self._engine.finish(event.request_id)))

    def _ended(self, event: Ended, reply: Reply) -> messages.Finished:
        del self._replies[event.request_id]
        tail = reply.stream.flush()
        reply.text.append(tail)
        decoded = reply.prompt_tokens - event.cached
        return messages.Finished(
            request_id=event.request_id,
            # A stop string can be completed by the very token that exhausted max_tokens or the context.
            reason="stop" if reply.stream.stopped else event.reason,
            tail=tail,
            tokens=self._spelling(reply),
            usage=messages.Usage(reply.prompt_tokens, event.cached, len(reply.tokens)),
            timings=messages.Timings(
                ttft_s=event.first_s,
                prefill_tokens_per_s=decoded / event.prefill_s
                if event.first_s is not None and event.prefill_s > 0
                else None,
                decode_tokens_per_s=(event.drawn - 1) / event.decode_s if event.decode_s > 0 else None,
                total_s=event.total_s,
            ),
            context_used=event.held,
            logprob=sum(reply.logprobs) / len(reply.logprobs) if reply.logprobs else None,
        )

    def _spelling(self, reply: Reply) -> tuple[int, ...]:
        """Return the tokens that spell the reply's text: all of them, or those before a stop string that was cut away."""
        if not reply.stream.stopped:
            return tuple(reply.tokens)
        length = len("".join(reply.text).encode("utf-8"))
        spelled = 0
        for count, token in enumerate(reply.tokens):
            if spelled >= length:
                return tuple(reply.tokens[:count])
            spelled += len(self._piece(token))
        return tuple(reply.tokens)

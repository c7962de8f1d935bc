"""Drawing a candidate's next token from a row of logits, and what follows from it.

Knows nothing of batches or KV cells.
"""

from __future__ import annotations

from lmlab.engine.request import Changed, Drawn, EndReason, EngineEvent, Running
from lmlab.llama import Context, Model, Sampler
from lmlab.sampling import candidate_seed


class Drawing:
    """Samples for the candidates of one context."""

    def __init__(self, model: Model, context: Context) -> None:
        self._vocabulary = model.vocabulary
        self._context = context

    def draw(self, running: Running, row: int, now: float, events: list[EngineEvent]) -> EndReason | None:
        """Sample the next token of ``running`` from batch row ``row``; return why it ends, or None if it goes on."""
        if running.pending is not None:
            self._change(running, events)
        sampler = running.sampler
        if sampler is None:
            sampler = running.sampler = self._sampler(running)
        token = sampler.sample(self._context, row)
        request = running.request
        logprob = self._context.row(row).log_probability(token) if request.logprobs else None
        end = self._vocabulary.is_end(token)
        events.append(Drawn(request.id, running.candidate, running.length, token, end, logprob))
        group = running.group
        if group.first is None:
            group.first = now
        group.latest = now
        if end:
            running.ended = True
            return "stop"
        running.tokens.append(token)
        if running.complete:
            return "length"
        return "context" if len(running.tokens) >= self._context.size else None

    def _sampler(self, running: Running) -> Sampler:
        sampling = running.sampling
        assert sampling.seed is not None
        grammar = running.request.grammar
        return Sampler(
            sampling.with_value("seed", candidate_seed(sampling.seed, running.candidate)),
            running.tokens,
            vocabulary=self._vocabulary.size,
            longest=self._context.size,
            grammar=None if grammar is None else grammar.clone(),
        )

    def _change(self, running: Running, events: list[EngineEvent]) -> None:
        assert running.pending is not None
        sampling, running.pending = running.pending, None
        changes = running.sampling.changes(sampling)
        running.sampling = sampling
        if running.sampler is not None:
            assert sampling.seed is not None
            seed = candidate_seed(sampling.seed, running.candidate)
            running.sampler.change(sampling.with_value("seed", seed), running.tokens)
        if changes and running is running.group.live[0]:
            events.append(Changed(running.request.id, running.length, sampling, changes))

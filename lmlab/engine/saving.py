"""Which states of sequences are handed out to be kept beyond this process. Knows nothing of where they go."""

from __future__ import annotations

from lmlab.engine.prefix_cache import ReusePolicy
from lmlab.engine.request import Running, Saved
from lmlab.llama import Context

WORTH_SAVING = 256
"""Tokens of a prefix that two requests share, from which on it is saved where they part."""


class Saving:
    """Reads the states of ``context``, whose prefixes are reused by ``policy``."""

    def __init__(self, context: Context, policy: ReusePolicy) -> None:
        self._context = context
        self._policy = policy
        self._branches: set[int] = set()

    def end(self, candidate: Running) -> list[Saved]:
        """Return the state of a candidate that is about to leave, if it is the first of a request that asked for it."""
        if not candidate.request.save or candidate.candidate or candidate.sequence < 0 or not candidate.computed:
            return []
        return self._read(candidate, branch=False)

    def branch(self, candidate: Running) -> list[Saved]:
        """Return what a candidate that has just entered begins with, where no end of another can be cut back to it.

        A document that is asked a second time parts from the first question here. Each place is saved once.
        """
        if not candidate.request.save or self._policy == "full" or candidate.computed < WORTH_SAVING:
            return []
        place = hash((candidate.request.scales, tuple(candidate.tokens[: candidate.computed])))
        if place in self._branches:
            return []
        self._branches.add(place)
        return self._read(candidate, branch=True)

    def _read(self, candidate: Running, *, branch: bool) -> list[Saved]:
        payload = self._context.save(candidate.sequence)
        if not len(payload):
            return []
        tokens = tuple(candidate.tokens[: candidate.computed])
        return [Saved(candidate.request.id, tokens, candidate.request.scales, payload, branch)]

"""Tokens guessed ahead for the requests that decode: from a draft model, or from what their own text repeats.

A guess is right or costs a row; what the model draws is the same either way. Knows nothing of how rows are verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmlab.engine.draft import DraftJob, DraftModel
from lmlab.engine.request import Running
from lmlab.engine.scheduler import Slice
from lmlab.engine.speculation import DepthControl, Lookup, RowCost


class Drafting:
    """Proposes drafts by ``model``, or by n-grams of the context when that is None."""

    def __init__(self, model: DraftModel | None) -> None:
        self._model = model
        self._cost = RowCost()

    def record(self, plan: Sequence[Slice], seconds: float) -> None:
        """Take in that decoding ``plan`` took ``seconds``."""
        if all(part.running.decoding for part in plan):
            self._cost.record(sum(1 + len(part.drafts) for part in plan), seconds)

    def propose(self, plan: Sequence[Slice], outputs: int, size: int) -> None:
        """Put drafts into the slices of ``plan``, as deep as pays; ``outputs`` rows may have logits in all.

        Nobody's guesses lengthen a step that prefills, and none are made for those that share a row: they may draw apart.
        """
        if not plan or any(not part.running.decoding for part in plan):
            return
        alone, others, spare = [part for part in plan if not part.twins], len(plan) - 1, outputs - len(plan)
        if self._model is None:
            self._look_up(alone, others, spare, size)
        else:
            self._ask(self._model, alone, others, spare, size)

    def _look_up(self, plan: Sequence[Slice], others: int, spare: int, size: int) -> None:
        for part in plan:
            running = part.running
            if running.lookup is None:
                running.lookup = Lookup(running.tokens)
            elif len(running.lookup) < len(running.tokens):
                running.lookup.extend(running.tokens[len(running.lookup) :])

            def cost(rows: int, others: int = others) -> float:
                return self._cost(others + rows)

            depth = running.lookup.depth(cost, others)
            part.drafts = running.lookup.propose(min(depth, spare, room(running, size)))
            others += len(part.drafts)
            spare -= len(part.drafts)

    def _ask(self, model: DraftModel, plan: Sequence[Slice], others: int, spare: int, size: int) -> None:
        asked: list[Slice] = []
        jobs: list[DraftJob] = []
        for part in plan:
            running = part.running
            if running.depth is None:
                running.depth = DepthControl()

            def cost(rows: int, others: int = others) -> float:
                return self._cost(others + rows) + (rows - 1) * model.seconds_per_guess

            catch_up = model.catch_up(running.sequence, len(running.tokens))
            depth = min(running.depth.depth(cost, others, catch_up), spare, room(running, size))
            if depth > 0:
                asked.append(part)
                jobs.append(DraftJob(running.sequence, running.tokens, depth))
                others += depth
                spare -= depth
        if not jobs:
            return
        for part, guesses in zip(asked, model.propose(jobs), strict=True):
            if guesses:
                part.drafts = guesses
            elif guesses is not None and part.running.depth is not None:
                part.running.depth.record(0, 0)

    def drawn(self, running: Running, proposed: int, accepted: int) -> None:
        """Take in that the model drew what was drafted for the first ``accepted`` of ``proposed`` tokens."""
        running.drafted += proposed
        running.accepted += accepted
        if running.depth is not None and proposed:
            running.depth.record(proposed, accepted)

    def drop(self, sequence: int) -> None:
        """A request on ``sequence`` ended or was set back."""
        if self._model is not None:
            self._model.drop(sequence)


def room(running: Running, size: int) -> int:
    """How many tokens ``running`` may still draw after the next one."""
    room = size - len(running.tokens) - 1
    if running.sampling.max_tokens is not None:
        room = min(room, running.sampling.max_tokens - running.length - 1)
    return room

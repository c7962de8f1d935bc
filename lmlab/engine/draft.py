"""A draft model: a small model that guesses how the texts of a larger one go on.

Its context mirrors the target's: the same sequence ids, each holding the text of that request as far as it has caught
up. Knows nothing of how guesses are verified, nor of whether they pay. Nothing that goes wrong here is an error: the
request goes on without guesses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmlab.engine.prefix_cache import common_prefix
from lmlab.errors import ModelLoadError
from lmlab.llama import Context, DecodeStatus, Model

SURE = 0.4
"""A guess whose probability is below this is not made, nor any after it. Where a guess is worth its row is where its
chance exceeds what the row adds to a step, 0.31 to 0.47 of it on a processor; the draft's own probability is close to it."""

CATCH_UP = 32
"""Rows of a call, more for many jobs, that read text the draft does not hold yet. A long prompt is read over many
calls: all at once it would hold up every request that decodes."""


@dataclass(frozen=True, slots=True)
class DraftJob:
    """Guess up to ``depth`` tokens after ``tokens``, the whole text of the request on ``sequence``."""

    sequence: int
    tokens: Sequence[int]
    depth: int


@dataclass(slots=True, eq=False)
class _Work:
    """A job under way. ``missing`` is decoded next; ``caught_up``: it is all that was missing, and guesses follow."""

    sequence: int
    depth: int
    missing: list[int]
    caught_up: bool = False
    row: int = -1
    guesses: list[int] = field(default_factory=list)


class DraftModel:
    """Guesses with ``model``, which check_draft found fit for the target, on ``context``, which it owns from now on.

    ``vocabulary``: how many tokens the target has; no guess is beyond them. Raises ModelLoadError for an encoder.
    """

    def __init__(
        self, model: Model, context: Context, *, vocabulary: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not context.has_memory:
            raise ModelLoadError(
                "the draft model is an encoder: it makes embeddings and cannot guess how a text goes on"
            )
        self._vocabulary = model.vocabulary
        self._shared_size = min(vocabulary, model.vocabulary.size)
        self._window = model.sliding_window
        self._context = context
        self._clock = clock
        self._held: dict[int, list[int]] = {}
        # Sequences whose request has ended, the oldest first, and those that found no room.
        self._idle: dict[int, None] = {}
        self._crowded: set[int] = set()
        self._guess_s: float | None = None
        self._row_s: float | None = None

    @property
    def seconds_per_guess(self) -> float:
        """What a guess has taken of late; 0 before the first."""
        return self._guess_s or 0.0

    def catch_up(self, sequence: int, length: int) -> float:
        """Return the seconds it would take to read what is missing of a text of ``length`` tokens on ``sequence``."""
        missing = length - len(self._held.get(sequence, ()))
        return max(0, missing - 1) * (self._row_s or 0.0)

    def propose(self, jobs: Sequence[DraftJob]) -> list[list[int] | None]:
        """Return the guesses for each job: none where the draft is unsure, None where it could not guess this time.

        That is while it catches up with a long text, when its own KV cache is full, and after an interrupt.
        """
        works = [self._begin(job) for job in jobs]
        active = self._share_room([work for work in works if work is not None])
        answered: set[_Work] = set()
        while active:
            begin = self._clock()
            rows = sum(len(work.missing) for work in active)
            decoded = self._decode(active)
            guessing = [work for work in decoded if work.caught_up]
            active = [work for work in guessing if self._guess(work)]
            answered.update(guessing)
            self._measure(rows, decoded, self._clock() - begin)
        return [work.guesses if work in answered else None for work in works]

    def drop(self, sequence: int) -> None:
        """The request on ``sequence`` has ended; what is held of it stays while there is room, for one that begins alike."""
        if sequence in self._held:
            self._idle[sequence] = None
        # There is room again for those who had none.
        self._crowded.clear()

    def interrupt(self) -> None:
        """Make the decode that is running, or the next one, end now. Any thread may call this."""
        self._context.interrupt()

    def clear_interrupt(self) -> None:
        self._context.clear_interrupt()

    def _begin(self, job: DraftJob) -> _Work | None:
        """Cut what is held of the job's sequence back to where it agrees with its text, and see what is missing."""
        if not 0 <= job.sequence < self._context.sequences:
            raise ValueError(f"sequence {job.sequence} is not one of the draft's {self._context.sequences}")
        tokens = list(job.tokens)
        # The last guess is not decoded, so it needs no room.
        depth = min(job.depth, self._context.size - len(tokens) + 1)
        if depth <= 0 or not tokens or job.sequence in self._crowded:
            return None
        self._idle.pop(job.sequence, None)
        missing = tokens[self._align(job.sequence, tokens) :]
        # The target may know tokens that the draft does not.
        if max(missing) >= self._vocabulary.size:
            return None
        return _Work(job.sequence, depth, missing)

    def _share_room(self, works: list[_Work]) -> list[_Work]:
        """Return those of ``works`` that have a part in the first batch, cut to what they may read in it.

        Those with least to read come first: who guesses already goes on guessing while a newcomer catches up.
        """
        works.sort(key=lambda work: len(work.missing))
        room = min(self._context.batch.capacity, CATCH_UP + 4 * len(works))
        for count, work in enumerate(works):
            if room <= 0:
                return works[:count]
            work.caught_up = len(work.missing) <= room
            del work.missing[room:]
            room -= len(work.missing)
        return works

    def _align(self, sequence: int, tokens: list[int]) -> int:
        """Make ``sequence`` hold a prefix of ``tokens``, the longest there is but for the last token; return its length."""
        held = self._held.get(sequence, [])
        length = _usable(held, tokens)
        if length < len(held) and not self._context.cut(sequence, length):
            length = 0
        if length and not self._intact(sequence, length):
            length = 0
        # Looking through the others is worth it only where there is much to read.
        if length == 0 or len(tokens) - length > CATCH_UP:
            length = self._borrow(sequence, tokens, length)
        self._held[sequence] = tokens[:length]
        return length

    def _borrow(self, sequence: int, tokens: list[int], length: int) -> int:
        """Where another sequence holds more than ``length`` of ``tokens``, let this one begin with that; return how much.

        Candidates of one prompt and the turns of a chat begin alike.
        """
        source = -1
        for other, held in self._held.items():
            shared = _usable(held, tokens)
            if other != sequence and shared > length and self._intact(other, shared):
                source, length = other, shared
        if source >= 0 or length == 0:
            self._context.drop(sequence)
        if source >= 0:
            self._context.share(source, sequence, length)
        return length

    def _intact(self, sequence: int, position: int) -> bool:
        """Whether all that a token at ``position`` attends to is held; a sliding window loses its oldest cells silently."""
        if not self._window:
            return True
        return 0 <= self._context.first_position(sequence) <= max(0, position - self._window + 1)

    def _decode(self, active: list[_Work]) -> list[_Work]:
        """Decode what ``active`` miss; return those for whom it was done."""
        works = list(active)
        while works:
            batch = self._context.batch
            batch.clear()
            for work in works:
                position = len(self._held[work.sequence])
                work.row = batch.add(work.missing, position, work.sequence, logits=work.caught_up)
            status = self._context.decode()
            if status is DecodeStatus.DONE:
                for work in works:
                    self._held[work.sequence] += work.missing
                    work.missing = []
                return works
            if status is not DecodeStatus.NO_ROOM:
                for work in works:
                    self._restore(work.sequence, status)
                return []
            if self._idle:
                self._forget(next(iter(self._idle)))
                continue
            # Whoever has most to read gives way, until a request ends.
            crowded = works.pop().sequence
            self._forget(crowded)
            self._crowded.add(crowded)
        return []

    def _restore(self, sequence: int, status: DecodeStatus) -> None:
        """After a batch that was not done: forget the part of it that may be there."""
        if status is not DecodeStatus.INTERRUPTED or not self._context.cut(sequence, len(self._held[sequence])):
            self._forget(sequence)

    def _forget(self, sequence: int) -> None:
        self._context.drop(sequence)
        self._held.pop(sequence, None)
        self._idle.pop(sequence, None)

    def _guess(self, work: _Work) -> bool:
        """Add the likeliest next token to the guesses, if it is likely enough; return whether to guess on after it."""
        logits = self._context.logits(work.row)[: self._shared_size]
        token = int(logits.argmax())
        probability = 1.0 / float(np.exp(logits - logits[token]).sum())
        # Nothing follows an end, so a guess at it gains nothing.
        if probability < SURE or self._vocabulary.is_end(token):
            return False
        work.guesses.append(token)
        work.missing = [token]
        return len(work.guesses) < work.depth

    def _measure(self, rows: int, decoded: list[_Work], seconds: float) -> None:
        """Take in what a round of ``rows`` rows took: reading, if it was mostly that, or else guessing."""
        if not decoded:
            return
        if rows > 4 * len(decoded):
            self._row_s = _smoothed(self._row_s, seconds / rows)
        else:
            self._guess_s = _smoothed(self._guess_s, seconds / len(decoded))


def _usable(held: list[int], tokens: list[int]) -> int:
    """Return how much of ``tokens`` is held; the last one is decoded again, for its logits."""
    return min(common_prefix(held, tokens), len(tokens) - 1)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.8 * old + 0.2 * new

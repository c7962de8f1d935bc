"""Which candidate holds which KV cells: sequences handed out, prefixes shared, room made.

Knows nothing of sampling or of when anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmlab.engine.prefix_cache import PrefixCache, ReusePolicy, common_prefix
from lmlab.engine.request import Running, Scales
from lmlab.llama import Context, Model

KEPT_PREFIXES = {"full": 64, "sliding-window": 64, "recurrent": 4}
"""Sequence ids for idle prefixes. They cost KV cells, given up when needed; a recurrent one costs a state of its own."""

WORTH_SHARING = 16
"""Tokens: a request waits for another to decode their common prefix, or reads a state from disk, for no fewer."""

GROWTH = 32
"""Cells kept free for each running candidate when another is admitted, so that it is not set back at once."""


def reuse_policy(model: Model) -> ReusePolicy:
    """Return how prefixes of this model's memory may be reused."""
    if model.recurrent:
        return "recurrent"
    return "sliding-window" if model.sliding_window else "full"


class KvMemory:
    """The cells of ``context``. With ``reuse`` False no prefix outlives its request."""

    def __init__(self, context: Context, policy: ReusePolicy, *, sliding_window: int, reuse: bool) -> None:
        self._context = context
        self._policy = policy
        self._reuse = reuse
        self._free = list(range(context.sequences))
        self.cache = PrefixCache(
            context, policy, sliding_window=sliding_window, first=context.sequences, capacity=KEPT_PREFIXES[policy]
        )

    def has_sequence(self) -> bool:
        """Whether another candidate can enter."""
        return bool(self._free)

    def free_cells(self, running: Iterable[Running]) -> int:
        """Return how many cells nobody holds."""
        return self._context.size - self.cache.held - sum(other.private for other in running)

    def fits(self, candidate: Running, reused: int, running: Sequence[Running]) -> bool:
        """Whether there is room for the rest of a candidate's tokens beside those that run, idle prefixes given up."""
        # A recurrent state takes no more room as it grows.
        if not running or self._policy == "recurrent":
            return True
        # What it reuses may be idle now and will not be afterwards.
        idle = max(0, self.cache.evictable - reused)
        needed = len(candidate.tokens) - reused + GROWTH * (len(running) + 1)
        return needed <= self.free_cells(running) + idle

    def leader(self, candidate: Running, running: Iterable[Running]) -> tuple[Running | None, int]:
        """Return the running candidate that is decoding most of the same prefix now, and how many tokens they share."""
        best, length = None, 0
        if not self._reuse or self._policy == "recurrent":
            # A state moves on with every chunk: there is none to take over at the place where two texts part.
            return best, length
        for other in running:
            if other.prefilling and other.request.scales == candidate.request.scales:
                shared = min(common_prefix(other.tokens, candidate.tokens), len(candidate.tokens) - 1)
                if shared > length:
                    best, length = other, shared
        return best, length

    def matched(self, candidate: Running) -> int:
        """Return how many of a candidate's tokens need not be decoded."""
        return self.cached(candidate.tokens, candidate.request.scales)

    def cached(self, tokens: Sequence[int], scales: Scales) -> int:
        """Return how many of ``tokens`` need not be decoded. Changes nothing."""
        return self.cache.match(tokens, scales).length if self._reuse else 0

    def enter(self, candidate: Running) -> int:
        """Give a candidate a sequence that begins with what it can reuse; return how many tokens were restored."""
        candidate.sequence = self._free.pop(0)
        candidate.computed = 0
        candidate.lease = None
        if not self._reuse:
            return 0
        hit = self.cache.match(candidate.tokens, candidate.request.scales)
        restored = self._restore(candidate, hit.length)
        if restored:
            return restored
        if hit.length:
            candidate.lease = self.cache.begin(hit, candidate.sequence)
            candidate.computed = hit.length
        return 0

    def _restore(self, candidate: Running, matched: int) -> int:
        """Bring a state in from outside if it saves more than ``matched`` tokens; return how many it holds, or 0."""
        state = candidate.request.restorable
        if state is None or state.length < matched + WORTH_SHARING:
            return 0
        payload = state.read()
        if payload is None or not self._context.restore(candidate.sequence, payload):
            return 0
        if state.length < len(state.tokens) and not self._context.cut(candidate.sequence, state.length):
            self._context.drop(candidate.sequence)
            return 0
        if not self.cache.window_intact(candidate.sequence, state.length):
            self._context.drop(candidate.sequence)
            return 0
        candidate.computed = state.length
        candidate.lease = self.cache.insert(
            candidate.sequence, candidate.tokens[: state.length], None, candidate.request.scales
        )
        return state.length

    def fork(self, source: Running, sibling: Running) -> None:
        """Give ``sibling`` a sequence that holds all that ``source`` has computed."""
        sibling.sequence = self._free.pop(0)
        sibling.computed = source.computed
        sibling.lease = None
        if self._reuse:
            # One more token than is held: a hit leaves the last one of a prompt to be decoded.
            hit = self.cache.match([*source.tokens[: source.computed], -1], source.request.scales)
            if hit.length == source.computed:
                sibling.lease = self.cache.begin(hit, sibling.sequence)
                return
        self._context.share(source.sequence, sibling.sequence, source.computed)

    @property
    def joins_rows(self) -> bool:
        """Whether what one candidate decodes can serve others with the same text: attention cells can be shared one by one."""
        return self._reuse and self._policy != "recurrent"

    def follow(self, source: Running, twin: Running) -> None:
        """Let ``twin`` share the cell of the one token that ``source``, whose text is the same, has just decoded."""
        self._context.share(source.sequence, twin.sequence, twin.computed + 1, first=twin.computed)
        twin.computed += 1

    def publish(self, candidate: Running) -> None:
        """Let others share what ``candidate`` has computed so far."""
        if self._reuse:
            candidate.lease = self.cache.insert(
                candidate.sequence, candidate.tokens[: candidate.computed], candidate.lease, candidate.request.scales
            )

    def leave(self, candidate: Running, *, keep: bool) -> None:
        """Take a candidate's sequence back, keeping what it holds for others if that is wanted and allowed."""
        if keep and self._reuse and candidate.computed:
            tokens = candidate.tokens[: candidate.computed]
            self.cache.keep(candidate.sequence, tokens, candidate.lease, candidate.request.scales)
        else:
            self.drop(candidate)
        candidate.lease = None
        self._free.append(candidate.sequence)
        candidate.sequence = -1

    def drop(self, candidate: Running) -> None:
        """Forget what a candidate has computed; it keeps its sequence."""
        if candidate.lease is not None:
            self.cache.release(candidate.lease)
            candidate.lease = None
        self._context.drop(candidate.sequence)
        candidate.computed = 0

    def cut_back(self, candidate: Running) -> bool:
        """Forget what the KV cache holds of a candidate beyond ``computed``. False when that cannot be done."""
        whole = self._context.cut(candidate.sequence, candidate.computed)
        return whole and self.cache.window_intact(candidate.sequence, candidate.computed)

    def trim(self, rows: int) -> None:
        """Give up idle prefixes that cost steps of ``rows`` rows more than they may save.

        Attention passes over every cell up to the last one in use, whoever holds it: of a step with 8 rows, 4,000 idle
        cells took a tenth on a processor. The more rows there are, the fewer idle cells are worth their time.
        """
        while self.cache.evictable * 2 * rows > self._context.size and self.cache.evict() is not None:
            pass

    def make_room(self, cells: int, running: Sequence[Running]) -> None:
        """Give idle prefixes up until ``cells`` are free or none is left."""
        if self._policy == "recurrent":
            return
        while self.free_cells(running) < cells and self.cache.evict() is not None:
            pass

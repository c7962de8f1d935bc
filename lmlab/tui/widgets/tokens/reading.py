"""Where a person is in the replies of a chat: which reply, which of its tokens. Plain values; knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.store import Reply, Turn
from lmlab.tui.widgets.tokens.bands import SURPRISING, probability


class Reading:
    """``turn`` is the reply that is read, number ``index`` of ``replies``; ``at`` is the token that is selected.

    After the last token of a reply that the model ended there is one place more: what it weighed when it ended.
    ``following``: the newest token of a reply under way stays selected.
    """

    def __init__(self) -> None:
        self.replies: tuple[Turn, ...] = ()
        self.index = 0
        self.at = 0
        self.following = False

    @property
    def turn(self) -> Turn:
        return self.replies[self.index]

    @property
    def reply(self) -> Reply:
        reply = self.turn.reply
        assert reply is not None, "only replies are taken"
        return reply

    @property
    def streaming(self) -> bool:
        """Whether tokens may still come."""
        return self.reply.status == "partial"

    @property
    def ended(self) -> bool:
        """Whether the model itself ended the reply."""
        return self.reply.status == "done" and self.reply.finish_reason == "stop"

    @property
    def places(self) -> int:
        """How many places can be selected."""
        tokens = len(self.reply.tokens)
        return tokens + 1 if tokens and self.ended else tokens

    @property
    def drawn(self) -> int | None:
        """The token that was drawn at the place selected; None where the reply ended."""
        return self.reply.tokens[self.at] if self.at < len(self.reply.tokens) else None

    def take(self, turns: Sequence[Turn]) -> bool:
        """Take in the selected turns as they stand. Return whether another reply is read than before."""
        replies = tuple(turn for turn in turns if turn.reply is not None)
        before = self.turn.id if self.replies else None
        if not replies:
            return False
        self.replies = replies
        found = [index for index, turn in enumerate(replies) if turn.id == before]
        if found:
            self.index = found[0]
        else:
            self._begin(len(replies) - 1)
        if self.following:
            self.at = max(0, len(self.reply.tokens) - 1)
            self.following = self.streaming
        self.at = min(self.at, max(0, self.places - 1))
        return not found

    def choose(self, step: int) -> bool:
        """Read the reply ``step`` further. Return whether there is one."""
        target = self.index + step
        if not 0 <= target < len(self.replies):
            return False
        self._begin(target)
        return True

    def go(self, at: int) -> None:
        """Select a token, or the nearest there is."""
        self.at = min(max(0, at), max(0, self.places - 1))
        self.following = False

    def follow(self) -> None:
        """Select the last token, and the newest from now on while the reply comes."""
        self.go(self.places - 1)
        self.following = self.streaming

    def chance(self, at: int) -> float | None:
        """Return the probability that token ``at`` was drawn with, before any sampler; None when it is not known."""
        logprobs = self.reply.logprobs
        return None if logprobs is None or at >= len(logprobs) else probability(logprobs[at])

    def surprise(self, step: int) -> int | None:
        """Return the next token, or with -1 the one before, that was hardly likely; from the end it goes on at the start."""
        count = len(self.reply.tokens)
        for distance in range(1, count + 1):
            at = (self.at + step * distance) % count
            chance = self.chance(at)
            if chance is not None and chance < SURPRISING:
                return at
        return None

    def sampling(self) -> SamplingParams:
        """Return what the token selected was drawn with, complete."""
        reply = self.reply
        found = reply.sampling or reply.asked
        for at_token, name, before, _ in sorted(reply.changes, key=lambda change: change[0], reverse=True):
            if at_token > self.at:
                found = found.with_value(name, before)
        return found.merge(DEFAULTS)

    def _begin(self, index: int) -> None:
        self.index = index
        self.at = 0
        self.following = self.streaming

"""A text as windows of tokens, of which the second half is scored: as llama-perplexity does it. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmlab.errors import UsageError

LONGEST = 512
SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Windows:
    """``count`` windows of ``size`` tokens, one after another. Each begins with ``bos``, in place of its first token,
    where the model wants one; the context before it is forgotten."""

    tokens: Sequence[int]
    size: int
    bos: int | None

    @property
    def count(self) -> int:
        return len(self.tokens) // self.size

    @property
    def left_over(self) -> int:
        return len(self.tokens) - self.count * self.size

    @property
    def first_scored(self) -> int:
        """The position in a window whose logits are the first to be compared; its last one's are not: nothing follows."""
        return self.size // 2

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count * self.size, self.size):
            window = list(self.tokens[start : start + self.size])
            if self.bos is not None:
                window[0] = self.bos
            yield window


def windows(tokens: Sequence[int], bos: int | None, trained: Sequence[int]) -> Windows:
    """Cut ``tokens`` for models trained for so many tokens of context each. Raises UsageError when there are too few."""
    if len(tokens) < SHORTEST:
        raise UsageError(
            f"the text has {len(tokens)} tokens, too few to compare models by: give {SHORTEST} at least, and "
            f"{20 * LONGEST:,} or more for figures to rely on"
        )
    longest = max(SHORTEST, min([LONGEST, *trained]))
    return Windows(tokens, min(longest, len(tokens)), bos)

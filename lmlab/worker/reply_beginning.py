"""The tokens that a reply already begins with: whether it can, and taken in by what constrains it."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab.errors import UsageError
from lmlab.llama import Grammar, Vocabulary
from lmlab.worker.spelling import require_known, token_text


def check_beginning(reply: Sequence[int], vocabulary: Vocabulary) -> None:
    """Raise UsageError when no reply of a model with ``vocabulary`` can go on behind ``reply``."""
    require_known(reply, vocabulary)
    for place, token in enumerate(reply):
        if vocabulary.is_end(token):
            raise UsageError(
                f"a reply is over at {token_text(vocabulary, token)!r}, token {place} of what it is to begin with: "
                "leave that and what follows out"
            )


def take_in(grammar: Grammar, reply: Sequence[int], vocabulary: Vocabulary) -> None:
    """Let ``grammar`` go on behind ``reply``. Raises UsageError when it forbids one of these tokens."""
    for place, token in enumerate(reply):
        if not grammar.allows(token):
            raise UsageError(
                f"the constraint forbids {token_text(vocabulary, token)!r} as token {place} of the reply: "
                "begin with another, or loosen the constraint"
            )
        grammar.accept(token)

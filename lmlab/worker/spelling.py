"""Tokens by themselves: what each one says, and whether a model has it. Knows nothing of the text that they make together."""

from __future__ import annotations

from collections.abc import Iterable

from lmlab.errors import UsageError
from lmlab.llama import Vocabulary
from lmlab.worker.questions import Spell, Spelled


def token_text(vocabulary: Vocabulary, token: int) -> str:
    r"""Return the text of a token: a control token by its name, bytes that are part of a character as ``\xHH``."""
    piece = vocabulary.piece(token, special=True)
    return piece.decode("utf-8", "backslashreplace") or vocabulary.text(token)


def spelled(command: Spell, vocabulary: Vocabulary) -> Spelled:
    """Return the answer to ``command``. Raises UsageError."""
    require_known(command.tokens, vocabulary)
    return Spelled(command.request_id, tuple(token_text(vocabulary, token) for token in command.tokens))


def require_known(tokens: Iterable[int], vocabulary: Vocabulary) -> None:
    """Raise UsageError when one of ``tokens`` is not in ``vocabulary``: llama.cpp would end the process."""
    for token in tokens:
        if not 0 <= token < vocabulary.size:
            raise UsageError(
                f"token {token} is not one of the {vocabulary.size:,} that this model has: it comes from another model"
            )

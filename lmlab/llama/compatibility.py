"""Whether one model can draft for another: its token ids must mean the same, and its memory must be one that can be cut."""

from __future__ import annotations

import llama_cpp

from lmlab.errors import ModelLoadError
from lmlab.llama.model import Model, Vocabulary

SIZE_DIFFERENCE = 128
FIRST_COMPARED = 5
"""As llama.cpp has it (common/speculative.cpp): models of one family differ in padding and in their first special tokens."""


def check_draft(target: Model, draft: Model) -> None:
    """Raise ModelLoadError, saying why, if ``draft`` cannot draft for ``target``."""
    reason = _memory_reason(draft) or _vocabulary_reason(target.vocabulary, draft.vocabulary)
    if reason:
        raise ModelLoadError(
            f"the draft model cannot draft for this model: {reason}; use a smaller model of the same family, or prompt lookup"
        )


def _memory_reason(draft: Model) -> str | None:
    if not draft.generates:
        return "it does not continue text (an encoder or a diffusion model)"
    if draft.recurrent:
        return "its memory is a recurrent state, which cannot be cut back after a wrong guess"
    return None


def _vocabulary_reason(target: Vocabulary, draft: Vocabulary) -> str | None:
    if not target.size or not draft.size:
        return "one of them has no vocabulary"
    for name, value in (
        ("kind of vocabulary", llama_cpp.llama_vocab_type),
        ("use of a beginning token", llama_cpp.llama_vocab_get_add_bos),
        ("use of an end token", llama_cpp.llama_vocab_get_add_eos),
    ):
        if value(target.pointer) != value(draft.pointer):
            return f"the {name} differs"
    if target.add_bos and target.bos != draft.bos:
        return f"its beginning token is {draft.bos}, not {target.bos}"
    if llama_cpp.llama_vocab_get_add_eos(target.pointer) and target.eos != draft.eos:
        return f"its end token is {draft.eos}, not {target.eos}"
    if abs(target.size - draft.size) > SIZE_DIFFERENCE:
        return f"its vocabulary has {draft.size:,} tokens, not {target.size:,} (at most {SIZE_DIFFERENCE} may differ)"
    token = _first_difference(target, draft)
    if token is not None:
        return f"its token {token} is {draft.text(token)!r}, not {target.text(token)!r}"
    return None


def _first_difference(target: Vocabulary, draft: Vocabulary) -> int | None:
    # Straight from the library: 262k tokens are compared in 0.2 s.
    text = llama_cpp.llama_vocab_get_text
    left, right = target.pointer, draft.pointer
    for token in range(FIRST_COMPARED, min(target.size, draft.size)):
        if text(left, token) != text(right, token):
            return token
    return None

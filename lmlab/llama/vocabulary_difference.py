"""Whether two models mean the same by every token id, so that what they make of a text can be compared."""

from __future__ import annotations

import llama_cpp

from lmlab.llama.model import Vocabulary

_KINDS = {
    llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN: "unknown",
    llama_cpp.LLAMA_TOKEN_ATTR_UNUSED: "unused",
    llama_cpp.LLAMA_TOKEN_ATTR_NORMAL: "normal",
    llama_cpp.LLAMA_TOKEN_ATTR_CONTROL: "control",
    llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED: "user-defined",
    llama_cpp.LLAMA_TOKEN_ATTR_BYTE: "byte",
}
# The other attributes say how text beside a token is trimmed, and follow from the model's name.
_KIND_BITS = sum(_KINDS)


def vocabulary_difference(first: Vocabulary, second: Vocabulary) -> str | None:
    """Return what differs first, or None when the vocabularies match token for token. Neither may be without one."""
    if first.size != second.size:
        return f"the first has {first.size:,} tokens and the second {second.size:,}"
    if (token := _first_difference(first, second)) is not None:
        return f"token {token} is {_spelled(first, token)} in the first and {_spelled(second, token)} in the second"
    kinds = [int(llama_cpp.llama_vocab_type(vocabulary.pointer)) for vocabulary in (first, second)]
    if kinds[0] != kinds[1]:
        return f"their kinds of vocabulary differ (llama.cpp's numbers {kinds[0]} and {kinds[1]})"
    if (begins := _beginning(first)) != (other := _beginning(second)):
        return f"the first begins a text with {begins} and the second with {other}"
    return None


def _first_difference(first: Vocabulary, second: Vocabulary) -> int | None:
    # Straight from the library: 262k tokens are compared in 0.3 s.
    text, attributes = llama_cpp.llama_vocab_get_text, llama_cpp.llama_vocab_get_attr
    left, right = first.pointer, second.pointer
    for token in range(first.size):
        if text(left, token) != text(right, token):
            return token
        if (attributes(left, token) ^ attributes(right, token)) & _KIND_BITS:
            return token
    return None


def _spelled(vocabulary: Vocabulary, token: int) -> str:
    attributes = int(llama_cpp.llama_vocab_get_attr(vocabulary.pointer, token))
    kinds = [name for bit, name in _KINDS.items() if attributes & bit]
    return f"{vocabulary.text(token)!r} ({', '.join(kinds) or 'of no kind'})"


def _beginning(vocabulary: Vocabulary) -> str:
    return f"token {vocabulary.bos}" if vocabulary.add_bos else "no token of its own"

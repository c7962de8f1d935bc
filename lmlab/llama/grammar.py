"""A grammar that a reply must follow, at one place in it: which tokens may come next.

llama.cpp ends the process when a grammar takes a token that it does not allow, and on some grammars: neither gets there.
Knows nothing of sampling or JSON.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import llama_cpp
import numpy as np
import numpy.typing as npt

from lmlab.errors import ConstraintError
from lmlab.gbnf import check_gbnf

if TYPE_CHECKING:
    from lmlab.llama.model import Vocabulary

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data."""

MAX_SECONDS = 2.0
"""Of computing, for one token. A grammar that can be read in many ways at once needs several times more at each, and no
call of llama.cpp can be cut short: it is given up at the first that took longer."""

_SECOND_BYTES = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}
"""What may follow these bytes in UTF-8. llama.cpp takes any continuation, and for another character."""

FEW = 1024
"""Candidates that are weighed at once; of more, only those that begin with a byte that is possible."""

NO_BYTE = 256


class CandidateArray:
    """Tokens and logits as llama.cpp's samplers take them; they sort and shorten it in place.

    ``falling``: they are in the order of their logits already.
    """

    def __init__(self, candidates: npt.NDArray[np.void], *, falling: bool = False) -> None:
        # Held, so that the memory outlives the pointer to it.
        self._candidates = np.ascontiguousarray(candidates, CANDIDATE)
        self.struct = llama_cpp.llama_token_data_array(
            data=self._candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data)),
            size=len(self._candidates),
            selected=-1,
            sorted=falling,
        )

    def apply(self, sampler: object) -> None:
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(self.struct))

    @property
    def left(self) -> npt.NDArray[np.void]:
        return self._candidates[: self.struct.size]

    @property
    def selected(self) -> int:
        """The token that was drawn; ValueError when none was."""
        if not 0 <= self.struct.selected < self.struct.size:
            raise ValueError("nothing was drawn")
        return int(self._candidates[self.struct.selected]["id"])


class Grammar:
    """``gbnf`` for the tokens of ``vocabulary``, at its beginning. Raises ConstraintError for one that cannot be used."""

    def __init__(self, vocabulary: Vocabulary, gbnf: str) -> None:
        check_gbnf(gbnf)
        # Now rather than at the first draw, which others wait for.
        _spelling(vocabulary)
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary.pointer, gbnf.encode("utf-8"), b"root")
        if not sampler:
            raise ConstraintError("llama.cpp refuses the grammar; the log of the model says why")
        self._begin(vocabulary, sampler, inverted="[^" in gbnf)

    def _begin(self, vocabulary: Vocabulary, sampler: object, *, inverted: bool) -> None:
        self._vocabulary = vocabulary
        self._sampler = sampler
        self._inverted = inverted
        self._spent = 0.0
        self._last = b""

    def clone(self) -> Grammar:
        """Return another that goes on from the same place."""
        clone = Grammar.__new__(Grammar)
        clone._begin(self._vocabulary, llama_cpp.llama_sampler_clone(self._open()), inverted=self._inverted)
        clone._last = self._last
        return clone

    def allows(self, token: int) -> bool:
        """Whether ``token`` may come next."""
        if not 0 <= token < self._vocabulary.size:
            return False
        return bool(self._weigh(np.array([(token, 0, 0)], CANDIDATE))[0])

    def mask(self, candidates: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """Return those of ``candidates`` (dtype CANDIDATE) that may come next, in the same order. Raises ConstraintError."""
        ids = candidates["id"]
        if len(ids) and not (ids.min() >= 0 and ids.max() < self._vocabulary.size):
            raise ValueError(f"candidates are not all in a vocabulary of {self._vocabulary.size}")
        if len(candidates) > FEW:
            candidates = candidates[self._may_begin()[_spelling(self._vocabulary).first[ids]]]
        return candidates[self._weigh(candidates)]

    def accept(self, token: int) -> None:
        """Go on behind ``token``; ValueError when it may not come next. An end of generation changes nothing."""
        if not self.allows(token):
            raise ValueError(f"the grammar does not allow token {token} here")
        begin = time.thread_time()
        llama_cpp.llama_sampler_accept(self._open(), token)
        self._spend(begin)
        self._spent = 0.0
        self._last = self._vocabulary.piece(token)[-1:]

    def close(self) -> None:
        if self._sampler:
            llama_cpp.llama_sampler_free(self._sampler)
            self._sampler = None

    def _may_begin(self) -> npt.NDArray[np.bool_]:
        """Return, for each first byte, whether a token that begins with it may come next; NO_BYTE is for one of none."""
        may = np.ones(NO_BYTE + 1, np.bool_)
        single = _spelling(self._vocabulary).single
        # llama.cpp takes half a character for none that an inverted class allows, unless it allows all that begin so.
        known = np.flatnonzero(single[:128] >= 0) if self._inverted else np.flatnonzero(single >= 0)
        probes = np.zeros(len(known), CANDIDATE)
        probes["id"] = single[known]
        may[known] = self._weigh(probes)
        return may

    def _weigh(self, candidates: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        """Return which of ``candidates`` may come next."""
        array = np.empty(len(candidates), CANDIDATE)
        array["id"], array["logit"] = candidates["id"], 0
        # A control token would be taken for the text of its name, which is not what a reply shows of it.
        array["logit"][_spelling(self._vocabulary).hidden[candidates["id"]]] = -np.inf
        weighed = CandidateArray(array)
        begin = time.thread_time()
        weighed.apply(self._open())
        self._spend(begin)
        allowed: npt.NDArray[np.bool_] = weighed.left["logit"] == 0
        second = _SECOND_BYTES.get(self._last[0]) if self._last else None
        if second is not None:
            # Few are left in the middle of a character.
            for place in np.flatnonzero(allowed).tolist():
                piece = self._vocabulary.piece(int(candidates["id"][place]))
                allowed[place] = bool(piece) and piece[0] in second
        return allowed

    def _spend(self, begin: float) -> None:
        # The processor time of this thread, so that a busy machine refuses no more than an idle one.
        self._spent += time.thread_time() - begin
        if self._spent > MAX_SECONDS:
            raise ConstraintError(
                f"the grammar took {self._spent:.0f} s to weigh one token: make it less ambiguous, or its lists shorter"
            )

    def _open(self) -> object:
        # llama.cpp takes a null sampler for one that allows everything.
        if not self._sampler:
            raise ValueError("the grammar is closed")
        return self._sampler


@dataclass(frozen=True, slots=True, eq=False)
class _Spelling:
    """Of each token of a vocabulary: its ``first`` byte or NO_BYTE, and whether a reply hides it (a control token that does
    not end one). Of each byte: a ``single`` token that spells it, or -1."""

    first: npt.NDArray[np.uint16]
    hidden: npt.NDArray[np.bool_]
    single: npt.NDArray[np.int32]


_spellings: WeakKeyDictionary[Vocabulary, _Spelling] = WeakKeyDictionary()


def _spelling(vocabulary: Vocabulary) -> _Spelling:
    """Return the spelling of ``vocabulary``, read once: a quarter of a second for the largest."""
    found = _spellings.get(vocabulary)
    if found is None:
        found = _spellings[vocabulary] = _read_spelling(vocabulary)
    return found


def _read_spelling(vocabulary: Vocabulary) -> _Spelling:
    first = np.full(vocabulary.size, NO_BYTE, np.uint16)
    single = np.full(256, -1, np.int32)
    hidden = np.zeros(vocabulary.size, np.bool_)
    # One buffer for all: making them is most of the time that Vocabulary.piece takes.
    buffer = ctypes.create_string_buffer(256)
    for token in range(vocabulary.size):
        length = llama_cpp.llama_token_to_piece(vocabulary.pointer, token, buffer, len(buffer), 0, False)
        if length == 0:
            hidden[token] = not vocabulary.is_end(token)
            continue
        begin = vocabulary.piece(token)[0] if length < 0 else buffer[0][0]
        # An end of generation is judged by what it is, whatever it spells.
        if not vocabulary.is_end(token):
            first[token] = begin
            if length == 1:
                single[begin] = token
    return _Spelling(first, hidden, single)

"""The rows of one decode call, filled through numpy views of the arrays that llama.cpp reads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np


class Batch:
    """Room for ``capacity`` rows of (token, position, sequence, wants logits). Reused from step to step."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        # One pointer a row, each to that row's one sequence id; they never change.
        width = self._sequences.itemsize
        self._pointers = np.arange(capacity, dtype=np.uintp) * width + np.uintp(self._sequences.ctypes.data)
        self._logits = np.zeros(capacity, np.int8)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_pos)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(llama_cpp.llama_seq_id))),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.struct.n_tokens = 0

    def add(self, tokens: Sequence[int], position: int, sequence: int, *, logits: bool, every: bool = False) -> int:
        """Append ``tokens`` of one sequence from ``position`` on; ``logits`` asks for the last row's, ``every`` for the others'.

        Returns the index of the last row, by which its logits are read. Raises ValueError when there is no room,
        or nothing to append.
        """
        if not tokens:
            raise ValueError("no tokens to append")
        start = int(self.struct.n_tokens)
        end = start + len(tokens)
        if end > self.capacity:
            raise ValueError(f"{len(tokens)} rows do not fit a batch that has {start} of {self.capacity}")
        last = end - 1
        if last == start:
            # The row of a decode, made once a token: single elements cost a fraction of what slices do.
            self._tokens[start] = tokens[0]
            self._positions[start] = position
            self._sequences[start] = sequence
        else:
            self._tokens[start:end] = tokens
            self._positions[start:end] = np.arange(position, position + len(tokens))
            self._sequences[start:end] = sequence
            self._logits[start:last] = every
        self._logits[last] = logits
        self.struct.n_tokens = end
        return last

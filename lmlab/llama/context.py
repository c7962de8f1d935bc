"""A context: the KV cache of many sequences, and the call that decodes a batch into it.

One thread makes all calls but ``interrupt``, which any thread may make.
"""

from __future__ import annotations

import ctypes
from enum import Enum
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from lmlab.errors import ModelLoadError
from lmlab.llama.batch import Batch
from lmlab.llama.library import abort_by_flag
from lmlab.llama.model import Model

MAX_SEQUENCE_IDS = 256
"""LLAMA_MAX_SEQ: an id at or above this ends the process."""


class DecodeStatus(Enum):
    DONE = "done"
    NO_ROOM = "no KV cells are free; nothing was changed"
    INTERRUPTED = "interrupted; rows before the interrupted part may have been decoded"
    FAILED = "llama.cpp could not compute it"


class Context:
    """``context`` KV cells shared by up to ``sequences`` sequences that are decoded at once (unified).

    Ids from ``sequences`` on can hold cells but not be decoded; a recurrent model needs room for each such id it will
    use, in ``idle``. ``batch`` rows at most a call. Raises ModelLoadError when llama.cpp refuses, most often for want of memory.
    """

    def __init__(self, model: Model, *, context: int, sequences: int, idle: int, batch: int, threads: int) -> None:
        if sequences + idle > MAX_SEQUENCE_IDS:
            raise ValueError(f"{sequences} sequences and {idle} idle ones are more than {MAX_SEQUENCE_IDS}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = max(batch, sequences + idle)
        parameters.n_ubatch = min(512, parameters.n_batch)
        parameters.n_seq_max = sequences + (idle if model.recurrent else 0)
        # llama.cpp ends the process when it may have more sequences than outputs.
        parameters.n_outputs_max = parameters.n_seq_max
        parameters.n_threads = threads
        # Any ubatch of more than one token uses the batch count, so the two must agree.
        parameters.n_threads_batch = threads
        parameters.kv_unified = True
        parameters.swa_full = True
        parameters.no_perf = True
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise ModelLoadError(
                f"llama.cpp could not make a context of {context:,} tokens: try a smaller one with --ctx-size"
            )
        self.size = int(llama_cpp.llama_n_ctx(self.pointer))
        self.sequences = sequences
        # llama.cpp takes no batch larger than the context, whatever was asked for.
        self.batch = Batch(int(llama_cpp.llama_n_batch(self.pointer)))
        self._vocabulary_size = model.vocabulary.size
        self._memory = llama_cpp.llama_get_memory(self.pointer)
        self._flag, callback = abort_by_flag()
        llama_cpp.llama_set_abort_callback(
            self.pointer,
            ctypes.cast(callback, llama_cpp.ggml_abort_callback),
            ctypes.cast(self._flag, ctypes.c_void_p),  # type: ignore[arg-type]
        )

    @property
    def has_memory(self) -> bool:
        """False for an encoder, which keeps nothing to continue from."""
        return bool(self._memory)

    def warm_up(self, token: int) -> None:
        """Run one token through, so that the first request does not pay for reading the weights in."""
        llama_cpp.llama_set_warmup(self.pointer, True)
        self.batch.clear()
        self.batch.add([token], 0, 0, logits=True)
        llama_cpp.llama_decode(self.pointer, self.batch.struct)
        llama_cpp.llama_memory_clear(self._memory, True)
        llama_cpp.llama_synchronize(self.pointer)
        llama_cpp.llama_set_warmup(self.pointer, False)

    def decode(self) -> DecodeStatus:
        """Decode the rows of ``self.batch``."""
        code = int(llama_cpp.llama_decode(self.pointer, self.batch.struct))
        if code == 0:
            return DecodeStatus.DONE
        if code == 1:
            return DecodeStatus.NO_ROOM
        if code == 2:
            return DecodeStatus.INTERRUPTED
        return DecodeStatus.FAILED

    def interrupt(self) -> None:
        """Make the decode that is running, or the next one, return INTERRUPTED. Any thread may call this."""
        self._flag.value = b"1"  # type: ignore[attr-defined]

    def clear_interrupt(self) -> None:
        self._flag.value = b"0"  # type: ignore[attr-defined]

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Return the logits of a batch row that asked for them, shape (vocabulary,); valid until the next decode.

        Raises ValueError for any other row.
        """
        return np.ctypeslib.as_array(self.require_logits(row), shape=(self._vocabulary_size,))

    def require_logits(self, row: int) -> Any:
        """Return a pointer to the logits of ``row``; ValueError when it has none, where a draw would end the process."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, row)
        if not pointer:
            raise ValueError(f"row {row} of the batch has no logits")
        return pointer

    def first_position(self, sequence: int) -> int:
        """The first position of ``sequence`` still held by every layer, or -1 for none."""
        self._check(sequence)
        return int(llama_cpp.llama_memory_seq_pos_min(self._memory, sequence))

    def last_position(self, sequence: int) -> int:
        """The last position of ``sequence``, or -1 for none."""
        self._check(sequence)
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence))

    def cut(self, sequence: int, position: int) -> bool:
        """Forget ``sequence`` from ``position`` on. False when the model's memory cannot be cut there."""
        self._check(sequence)
        if position < 0:
            raise ValueError(f"position {position} is negative")
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def drop(self, sequence: int) -> None:
        """Forget ``sequence``."""
        self._check(sequence)
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def share(self, source: int, target: int, length: int) -> None:
        """Let ``target``, which must be empty, begin with the first ``length`` positions of ``source``; copies nothing."""
        self._check(source)
        self._check(target)
        if length < 0:
            raise ValueError(f"length {length} is negative")
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None

    def _check(self, sequence: int) -> None:
        if not 0 <= sequence < MAX_SEQUENCE_IDS:
            raise ValueError(f"sequence {sequence} is not one of {MAX_SEQUENCE_IDS}")

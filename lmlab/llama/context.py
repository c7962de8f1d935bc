"""A context: the KV cache of many sequences, and the call that decodes a batch into it.

One thread makes all calls but ``interrupt``, which any thread may make.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import Enum
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from lmlab.errors import ModelLoadError
from lmlab.llama.adapters import Adapters
from lmlab.llama.batch import Batch
from lmlab.llama.library import abort_by_flag
from lmlab.llama.logits_row import LogitsRow
from lmlab.llama.model import Model

MAX_SEQUENCE_IDS = 256
"""LLAMA_MAX_SEQ: an id at or above this ends the process."""


KV_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    # Not bound: ggml.h's GGML_TYPE_BF16.
    "bf16": 30,
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
WHOLE_TYPES = ("f32", "f16", "bf16")
"""Those of KV_TYPES that keep each value by itself."""
_BLOCK = 32
"""Values that every quantized type of KV_TYPES keeps together."""


class DecodeStatus(Enum):
    DONE = "done"
    NO_ROOM = "no KV cells are free; nothing was changed"
    INTERRUPTED = "interrupted; rows before the interrupted part may have been decoded"
    FAILED = "llama.cpp could not compute it"


class Context:
    """``context`` KV cells shared by up to ``sequences`` sequences that are decoded at once (unified).

    Ids from ``sequences`` on can hold cells but not be decoded; a recurrent model needs room for each such id it will
    use, in ``idle``. ``batch`` rows at most a call, computed ``ubatch`` at a time. ``outputs``: rows of a call that may
    ask for logits, of whichever sequences; None is as many as there are sequences. ``flash_attention`` None leaves it
    to llama.cpp. ``key_type`` and ``value_type`` are of KV_TYPES.

    Raises ModelLoadError when llama.cpp would refuse, most often for want of memory.
    """

    def __init__(
        self,
        model: Model,
        *,
        context: int,
        sequences: int,
        idle: int,
        batch: int,
        threads: int,
        ubatch: int = 512,
        outputs: int | None = None,
        flash_attention: bool | None = None,
        key_type: str = "f16",
        value_type: str = "f16",
    ) -> None:
        if sequences + idle > MAX_SEQUENCE_IDS:
            raise ValueError(f"{sequences} sequences and {idle} idle ones are more than {MAX_SEQUENCE_IDS}")
        check_kv_types(model, flash_attention, key_type, value_type)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = max(batch, sequences + idle)
        parameters.n_ubatch = min(ubatch, parameters.n_batch)
        parameters.n_seq_max = sequences + (idle if model.recurrent else 0)
        # llama.cpp ends the process when it may have more sequences than outputs.
        parameters.n_outputs_max = max(outputs or sequences, parameters.n_seq_max)
        parameters.flash_attn_type = -1 if flash_attention is None else int(flash_attention)
        parameters.type_k = KV_TYPES[key_type]
        parameters.type_v = KV_TYPES[value_type]
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
        self.outputs = int(parameters.n_outputs_max)
        self.ubatch = int(llama_cpp.llama_n_ubatch(self.pointer))
        # llama.cpp takes no batch larger than the context, whatever was asked for.
        self.batch = Batch(int(llama_cpp.llama_n_batch(self.pointer)))
        self._vocabulary_size = model.vocabulary.size
        self._rows: dict[int, LogitsRow] = {}
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

    def set_adapters(self, adapters: Adapters, scales: Sequence[float]) -> None:
        """Apply ``adapters``, one scale each, from the next decode on; 0 is off. They must live as long as the context.

        What was decoded before keeps the scales it was decoded with. Raises ValueError when the counts differ.
        """
        pointers = adapters.pointers
        if len(scales) != len(pointers):
            raise ValueError(f"{len(scales)} scales for {len(pointers)} adapters")
        count = len(pointers)
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)(
            *(ctypes.cast(pointer, llama_cpp.llama_adapter_lora_p_ctypes) for pointer in pointers)
        )
        llama_cpp.llama_set_adapters_lora(self.pointer, handles, count, (ctypes.c_float * count)(*scales))

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
        self._rows.clear()
        code = int(llama_cpp.llama_decode(self.pointer, self.batch.struct))
        if code == 0:
            return DecodeStatus.DONE
        if code == 1:
            return DecodeStatus.NO_ROOM
        if code == 2:
            return DecodeStatus.INTERRUPTED
        return DecodeStatus.FAILED

    def synchronize(self) -> None:
        """Wait until all that was decoded has been computed; a GPU may still be at it when ``decode`` returns."""
        llama_cpp.llama_synchronize(self.pointer)

    def interrupt(self) -> None:
        """Make the decode that is running, or the next one, return INTERRUPTED. Any thread may call this."""
        self._flag.value = b"1"  # type: ignore[attr-defined]

    def clear_interrupt(self) -> None:
        self._flag.value = b"0"  # type: ignore[attr-defined]

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Return the logits of a batch row that asked for them, shape (vocabulary,); valid until the next decode.

        Raises ValueError for any other row.
        """
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, row)
        if not pointer:
            # A draw from it would end the process.
            raise ValueError(f"row {row} of the batch has no logits")
        return np.ctypeslib.as_array(pointer, shape=(self._vocabulary_size,))

    def row(self, row: int) -> LogitsRow:
        """Return the same with what was computed of it, for all who draw from that row; valid until the next decode."""
        found = self._rows.get(row)
        if found is None:
            found = self._rows[row] = LogitsRow(self.logits(row))
        return found

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

    def clear(self) -> None:
        """Forget every sequence; cells are taken from the first one on again."""
        llama_cpp.llama_memory_clear(self._memory, False)

    def share(self, source: int, target: int, length: int, *, first: int = 0) -> None:
        """Let ``target``, which must hold ``first`` positions, have those of ``source`` from there to ``length``; copies nothing."""
        self._check(source)
        self._check(target)
        if not 0 <= first <= length:
            raise ValueError(f"positions {first} to {length} are none")
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, first, length)

    def save(self, sequence: int) -> memoryview:
        """Return all that is held of ``sequence``, as bytes that only a context of the same kind understands.

        Raises ValueError for an idle id of a model that is not recurrent: llama.cpp would leave the ids out of the cells.
        Nothing when llama.cpp fails.
        """
        self._check_state(sequence)
        size = int(llama_cpp.llama_state_seq_get_size_ext(self.pointer, sequence, llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE))
        data = np.empty(size, np.uint8)
        written = llama_cpp.llama_state_seq_get_data_ext(
            self.pointer, _bytes_of(data), size, sequence, llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE
        )
        return data[: int(written)].data

    def restore(self, sequence: int, data: bytes | memoryview) -> bool:
        """Let the empty ``sequence`` hold what ``save`` returned. False, and still empty, when it does not fit.

        Which model ``data`` belongs to and whether it is intact must be known: llama.cpp notices neither.
        """
        self._check_state(sequence)
        if self.last_position(sequence) >= 0:
            raise ValueError(f"sequence {sequence} is not empty")
        read = llama_cpp.llama_state_seq_set_data_ext(
            self.pointer,
            _bytes_of(np.frombuffer(data, np.uint8)),
            len(data),
            sequence,
            llama_cpp.LLAMA_STATE_SEQ_FLAGS_NONE,
        )
        if 0 < int(read) == len(data):
            return True
        self.drop(sequence)
        return False

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None

    def _check(self, sequence: int) -> None:
        if not 0 <= sequence < MAX_SEQUENCE_IDS:
            raise ValueError(f"sequence {sequence} is not one of {MAX_SEQUENCE_IDS}")

    def _check_state(self, sequence: int) -> None:
        count = int(llama_cpp.llama_n_seq_max(self.pointer))
        if not 0 <= sequence < count:
            raise ValueError(f"sequence {sequence} is not one of the {count} whose state can be saved or restored")


def _bytes_of(data: npt.NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def check_kv_types(model: Model, flash_attention: bool | None, key_type: str, value_type: str) -> None:
    """Refuse what llama.cpp answers with a bare null, or by ending the process."""
    if value_type not in WHOLE_TYPES and flash_attention is False:
        raise ModelLoadError(
            f"a {value_type} V cache needs flash attention, which is off: "
            f"leave out --flash-attn off, or quantize the K cache only (--kv-type {key_type},f16)"
        )
    sizes = model.head_sizes
    if sizes is None:
        return
    for letter, kind, size in (("K", key_type, sizes[0]), ("V", value_type, sizes[1])):
        if kind not in WHOLE_TYPES and size % _BLOCK:
            raise ModelLoadError(
                f"a {kind} {letter} cache keeps {_BLOCK} values together, and this model's attention heads have "
                f"{size}, no multiple of it: use --kv-type f16"
            )

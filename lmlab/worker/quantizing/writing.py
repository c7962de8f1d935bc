"""A model file written anew: planned first, which costs nothing, then written where there is room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lmlab import memory
from lmlab.errors import ModelError, UsageError
from lmlab.llama import FileHeader, read_file_header
from lmlab.llama.importance import Importance, read_importance
from lmlab.llama.quantize import Quantization, quantize
from lmlab.worker.loading import default_threads
from lmlab.worker.quantizing.messages import Planned, Quantize, Written
from lmlab.worker.quantizing.quantize_log import QuantizeLog

_SPARE = 1 << 20
"""Bytes: sizes in the log are rounded, and tensors begin at round places."""
_ALIGNMENT, _WRITTEN_ALIGNMENT = "general.alignment", 32
_LARGEST_BUFFER = 8 << 30
_LEAST_BUFFER = 64 << 20
_SHARE_OF_MEMORY = 0.5


def free_space(folder: str) -> int:
    return shutil.disk_usage(folder).free


def write(
    request: Quantize,
    log: QuantizeLog,
    planned: Callable[[Planned], None],
    *,
    free: Callable[[str], int] = free_space,
    available: Callable[[], int] = memory.available_memory,
) -> Written:
    """Write what is asked for. Needs a started library whose log ``log`` takes; changes the current folder.

    Raises UsageError for what the type or the importance matrix does not allow, and ModelError when there is no room or
    llama.cpp could not write it; a half-written file may be left behind.
    """
    importance = None if request.importance is None else read_importance(request.importance)
    wanted = _wanted(request, importance, available())
    # llama.cpp opens what it writes by the name alone, which on Windows could not be spelled in every language.
    os.chdir(request.folder)
    if not quantize(request.source, request.name, wanted, dry_run=True):
        raise _failed(request, log)
    if log.needs_importance and importance is None:
        raise UsageError(
            f"{request.label} has too few bits to do without an importance matrix: give one with --imatrix FILE "
            "(llama.cpp's llama-imatrix makes them), or take a larger type, such as Q3_K_M or IQ4_XS"
        )
    size = log.size + request.metadata
    room = free(request.folder)
    if size + _SPARE > room:
        raise ModelError(
            f"{request.label} takes {memory.size(size)} and {memory.size(room)} are free in {request.folder}: "
            "make room, or write elsewhere with -o"
        )
    planned(Planned(size))
    log.begin_writing()
    if not quantize(request.source, request.name, wanted):
        raise _failed(request, log, size=size, room=free(request.folder))
    if read_file_header(request.source) is not None and read_file_header(request.name) is None:
        raise ModelError(
            f"what llama.cpp wrote of {request.source} it cannot read itself, and it was thrown away: get another file "
            "of this model"
        )
    return Written(log.tensors, log.fallbacks, log.unweighted)


def _wanted(request: Quantize, importance: Importance | None, available: int) -> Quantization:
    header = read_file_header(request.source)
    columns = {} if importance is None else importance.columns
    if columns and header is not None and not columns.keys() & header.tensors.keys():
        raise UsageError(
            f"{request.importance} is an importance matrix of another model: none of its {len(columns):,} entries, "
            f"such as {next(iter(columns))}, is a tensor of {request.source}"
        )
    return Quantization(
        file_type=request.file_type,
        threads=request.threads or default_threads(),
        requantize=request.requantize,
        leave_output=request.leave_output,
        pure=request.pure,
        token_embedding=request.token_embedding,
        output=request.output,
        importance=columns,
        notes=dict(_notes(request, importance, header)),
        buffer=max(_LEAST_BUFFER, min(_LARGEST_BUFFER, round(available * _SHARE_OF_MEMORY))),
    )


def _notes(
    request: Quantize, importance: Importance | None, header: FileHeader | None
) -> Iterator[tuple[str, int | str]]:
    """Yield what is noted in the file: of an importance matrix what llama-quantize notes, its name but not its folder."""
    if header is not None and _ALIGNMENT in header.numbers:
        # llama.cpp copies this key and writes by its own alignment all the same.
        yield _ALIGNMENT, _WRITTEN_ALIGNMENT
    if importance is not None and request.importance is not None:
        yield "quantize.imatrix.file", Path(request.importance).name
        yield "quantize.imatrix.entries_count", len(importance.columns)
        if importance.chunks:
            yield "quantize.imatrix.chunks_count", importance.chunks


def _failed(request: Quantize, log: QuantizeLog, size: int = 0, room: int | None = None) -> ModelError:
    reason = log.failure or "llama.cpp does not say why"
    if "iostream error" in reason or "basic_ios" in reason:
        left = "" if room is None else f", where {memory.size(room)} are free"
        # Free space is not all there is: the system may limit what one user, or one file, may take.
        if room is not None and room > size > 0:
            left += f", though it takes {memory.size(size)}: a quota or a limit on files is smaller"
        return ModelError(f"cannot write to {request.folder}{left}: make room, or write elsewhere with -o")
    return ModelError(f"{request.source} cannot be written as {request.label}: {reason}")

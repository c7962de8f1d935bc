"""A model written anew with weights of another type: what may be asked for, where it goes, and what came of it.

Knows nothing of how it is written: a process of its own does that.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.backends.quantizing import Listener, run_quantize
from lmlab.errors import LmlabError, ModelError, ModelFileError, UsageError
from lmlab.models import GgufHeader, ModelFile, read_header
from lmlab.models.gguf_reader import read_layout
from lmlab.models.header import part_names, part_paths
from lmlab.models.quantizations import block_of, file_type, file_type_number, tensor_type, tensor_type_number
from lmlab.models.reference import FileReference, parse
from lmlab.settings import Config, Paths, expanded
from lmlab.worker.quantizing.messages import Planned, Quantize, Quantizing

_WHOLE = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")
"""Types whose weights stand for themselves, not in blocks that share a scale."""
_OUTPUT = "output.weight"
_PART_AT_END = re.compile(r"-\d{5}-of-\d{5}$")
_TYPE_AT_END = re.compile(r"(?<=.)[-._](?:FP?16|FP?32|BF16|I?Q\d\w*|TQ\d_\d|MXFP4\w*)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """``threads`` None is one a physical core. ``token_embedding`` and ``output`` name the types of those tensors.

    ``requantize`` takes a source that is quantized already, ``force`` replaces a file. ``importance``: a file of
    llama-imatrix. ``pure``: one type for every matrix. ``leave_output`` keeps the output's tensor as it is.
    """

    threads: int | None = None
    requantize: bool = False
    leave_output: bool = False
    pure: bool = False
    token_embedding: str | None = None
    output: str | None = None
    importance: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Quantized:
    """``path`` holds ``after``, made of ``source``, which is ``before``. ``fallbacks`` of its tensors got a larger type,
    because their rows are no whole blocks of the one wanted; on ``unweighted`` the importance matrix had nothing."""

    source: Path
    path: Path
    type: str
    before: GgufHeader
    after: GgufHeader
    fallbacks: int
    unweighted: int
    seconds: float

    def notices(self) -> tuple[str, ...]:
        """Return what a person should know of how it came out, as lines."""
        lines = []
        if self.fallbacks:
            kinds = ", ".join(f"{kind.count} {kind.name}" for kind in self.after.kinds)
            lines.append(
                f"{self.fallbacks} of {self.after.tensor_count} tensors got a larger type than {self.type} has for them, "
                f"since their rows are no whole blocks of it: there are {kinds}"
            )
        if self.unweighted:
            lines.append(f"the importance matrix has nothing on {self.unweighted} of the tensors")
        if self.after.size > self.before.size:
            lines.append(f"{self.path.name} is larger than what it was made of")
        return tuple(lines)


def bits_per_weight(header: GgufHeader) -> float:
    return 8 * sum(kind.size for kind in header.kinds) / header.parameters


def _ignored(_report: Planned | Quantizing) -> None:
    """For whoever waits."""


def _never() -> bool:
    return False


def quantize(
    source: Path,
    ftype: str,
    target: Path,
    *,
    options: QuantizeOptions | None = None,
    log_folder: Path,
    progress: Listener = _ignored,
    cancelled: Callable[[], bool] = _never,
) -> Quantized | None:
    """Write the model at ``source`` as ``ftype`` to ``target``, which is there whole or not at all.

    ``progress`` gets Planned and Quantizing on this thread. None once ``cancelled``, which is asked some ten times a
    second. Raises UsageError for what cannot be asked for, ModelError for what cannot be done, and EngineStopped.
    """
    options = options or QuantizeOptions()
    ftype = file_type(ftype)
    before = read_header(source)
    source, target = source.absolute(), target.absolute()
    _check_source(source, before, ftype, options)
    _check_tensors(source, before, options)
    check_target(source, target, force=options.force)
    unfinished = target.with_name(f".lmlab-{secrets.token_hex(6)}.part")
    request = _request(source, unfinished, ftype, before, options)
    begun = time.monotonic()
    try:
        written = run_quantize(request, progress, log_folder=log_folder, cancelled=cancelled)
        if written is None:
            return None
        after = _checked(source, unfinished, ftype, before)
        # Another run may have put a file there meanwhile.
        check_target(source, target, force=options.force)
        _move(unfinished, target)
    finally:
        # Windows removes nothing that is open; by now the process that wrote it is gone.
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    seconds = time.monotonic() - begun
    return Quantized(source, target, ftype, before, after, written.fallbacks, written.unweighted, seconds)


def _request(source: Path, unfinished: Path, ftype: str, before: GgufHeader, options: QuantizeOptions) -> Quantize:
    def number(name: str | None) -> int | None:
        return None if name is None else tensor_type_number(tensor_type(name))

    importance = None if options.importance is None else str(expanded(options.importance).absolute())
    return Quantize(
        source=str(source),
        folder=str(unfinished.parent),
        name=unfinished.name,
        file_type=file_type_number(ftype),
        label=ftype,
        metadata=max(0, before.size - sum(kind.size for kind in before.kinds)),
        threads=options.threads,
        requantize=options.requantize,
        leave_output=options.leave_output,
        pure=options.pure,
        token_embedding=number(options.token_embedding),
        output=number(options.output),
        importance=importance,
    )


def default_target(model: ModelFile, ftype: str, models: Path) -> Path:
    """Return where in the folder ``models`` this model goes as ``ftype``: the name it has, with the type at its end."""
    name = part_names(model.path.name)[0]
    if name.lower().endswith(".gguf"):
        stem = _TYPE_AT_END.sub("", _PART_AT_END.sub("", name[: -len(".gguf")]))
    else:
        # Ollama names its files by their digest.
        stem = re.sub(r"[^\w.-]+", "-", (model.stands_for or model.ref).removeprefix("ollama:"))
    return models / f"{stem}-{file_type(ftype)}.gguf"


def name_of(path: Path, paths: Paths, config: Config) -> str:
    """Return what ``-m`` takes for the model at ``path``: its name where that means this file alone, else the path."""
    with contextlib.suppress(LmlabError):
        if parse(path.stem, config.aliases, paths.models, config.model_folders) == FileReference(path):
            return path.stem
    return str(path)


def check_target(source: Path, target: Path, *, force: bool) -> None:
    """Raise UsageError when a model made of ``source`` cannot be written to ``target``."""
    if target.is_dir():
        raise UsageError(f"{target} is a folder: give the file that should be written")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}: make it first")
    if len(part_names(target.name)) > 1 or part_names(target.name)[0] != target.name:
        raise UsageError(f"{target.name} is the name of one part of a model, and this one is whole: give another name")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"you may not write to the folder {target.parent}: -o FILE writes elsewhere")
    if not target.exists():
        return
    if any(part.exists() and target.samefile(part) for part in part_paths(source)):
        raise UsageError(f"{target} is the model itself: give another file with -o")
    if not force:
        raise UsageError(f"{target} is there already: --force replaces it, -o FILE writes elsewhere")


def _check_source(source: Path, before: GgufHeader, ftype: str, options: QuantizeOptions) -> None:
    if options.requantize:
        return
    if before.quantization == ftype:
        raise UsageError(f"{source} is {ftype} already: give another type")
    if any(kind.name not in _WHOLE for kind in before.kinds):
        raise UsageError(
            f"{source} is quantized already ({before.quantization}, {bits_per_weight(before):.1f} bits a weight): "
            f"what that lost stays lost, and {ftype} would lose more on top of it. Better take the F16 or BF16 file; "
            "--requantize does it all the same"
        )


def _check_tensors(source: Path, before: GgufHeader, options: QuantizeOptions) -> None:
    """Raise UsageError for a wish about a tensor that is not there, or whose rows no blocks of the type fill."""
    own_output = any(tensor.name == _OUTPUT for part in part_paths(source) for tensor in read_layout(part).tensors)
    for name, flag in ((options.output, "--output-type"), (options.leave_output, "--leave-output")):
        if name and not own_output:
            raise UsageError(
                f"{flag}: this model has no output tensor of its own, its token embeddings serve for both: "
                "say --token-embedding-type"
            )
    if options.leave_output and options.output is not None:
        raise UsageError("--leave-output keeps the type of the output and --output-type changes it: give one of them")
    wanted = ((options.token_embedding, "--token-embedding-type"), (options.output, "--output-type"))
    for kind, flag in wanted:
        width = before.embedding_length
        if kind is None or width is None:
            continue
        block = block_of(tensor_type(kind))
        if width % block:
            raise UsageError(
                f"{flag} {kind}: its rows have {width:,} weights, which are no whole blocks of {block}: "
                f"take a type with smaller blocks, such as {'Q8_0 or Q5_1' if width % 32 == 0 else 'F16'}"
            )


def _checked(source: Path, written: Path, ftype: str, before: GgufHeader) -> GgufHeader:
    """Return the header of what was written. Raises ModelError unless it is a whole model of the same tensors."""
    expected = {tensor.name: tensor.elements for part in part_paths(source) for tensor in read_layout(part).tensors}
    try:
        after = read_header(written)
        found = {tensor.name: tensor.elements for tensor in read_layout(written).tensors}
    except ModelFileError as error:
        raise ModelError(f"what llama.cpp wrote is no whole model, and was thrown away: {error}") from None
    if found != expected:
        raise ModelError(
            f"what llama.cpp wrote has other tensors than {source.name} ({len(found):,} of {len(expected):,}), and was "
            "thrown away: the disk may be full, or the file be damaged"
        )
    if after.quantization != ftype:
        raise ModelError(f"what llama.cpp wrote says it is {after.quantization}, not {ftype}, and was thrown away")
    return after


def _move(unfinished: Path, target: Path) -> None:
    """Give the file its name, once it is on the disk and not only on its way there."""
    try:
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}; close what uses it, or use -o") from None

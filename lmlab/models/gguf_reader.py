"""The layout of a GGUF file, read with bounds: key-value pairs and tensor descriptions, never the weights.

The file is not trusted: every count and length is checked against what is left of the file before it is believed, arrays
are stepped over without being built, and memory stays within a few MiB whatever the file says. Knows nothing of what the
keys mean. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from lmlab.errors import ModelFileError, ModelNotFound
from lmlab.models.ggml_types import TENSOR_TYPES
from lmlab.terminal_text import one_line

Scalar: TypeAlias = str | int | float | bool
Numbers: TypeAlias = tuple[int | float | bool, ...]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_WINDOW = 1 << 20
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = _SCALARS[4], _SCALARS[10]

# Several times what the largest published models have; beyond them a count is taken for damage.
_MOST_PAIRS = 1 << 16
_MOST_TENSORS = 1 << 17
_MOST_ITEMS = 1 << 24
# Arrays with a number a layer are short; all that are kept together stay small whatever the file holds.
_MOST_KEPT = 4096
_MOST_KEPT_TOGETHER = 1 << 16
_LONGEST_KEY = (1 << 16) - 1
_LONGEST_STRING = 1 << 22
_LARGEST_HEADER = 1 << 28
_MOST_DIMENSIONS = 4
_MOST_ELEMENTS = 1 << 50
_LARGEST_ALIGNMENT = 1 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """``elements`` weights of ggml type number ``type``, in ``size`` bytes (0 when the type is not known here)."""

    name: str
    elements: int
    type: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What one GGUF file holds. ``pairs`` leaves out arrays; ``size`` is the file's, in bytes.

    ``lengths`` has every array's, by key, and ``arrays`` those of numbers that are short, such as one a layer.
    """

    version: int
    pairs: dict[str, Scalar]
    tensors: tuple[Tensor, ...]
    size: int
    lengths: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, Numbers] = field(default_factory=dict)


def read_layout(path: Path) -> Layout:
    """Read the file's header. Raises ModelNotFound, or ModelFileError when it is no complete, sane GGUF."""
    try:
        with path.open("rb") as file:
            return _Reader(file, path).layout()
    except FileNotFoundError:
        raise ModelNotFound(f"no such file: {path}") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = file.seek(0, 2)
        self._window = b""
        self._start = 0  # of the window, in the file
        self._at = 0  # of the next byte, in the file
        self._lengths: dict[str, int] = {}
        self._arrays: dict[str, Numbers] = {}
        self._kept = 0

    def layout(self) -> Layout:
        version = self._version()
        tensor_count = self._count("tensors", _MOST_TENSORS, least=24)
        pair_count = self._count("metadata keys", _MOST_PAIRS, least=13)
        pairs: dict[str, Scalar] = {}
        for _ in range(pair_count):
            key = self._string(_LONGEST_KEY)
            value = self._value(key)
            if value is not None:
                pairs[key] = value
            if self._at > _LARGEST_HEADER:
                raise self._damaged(f"{self._at:,} bytes of metadata")
        described = [self._tensor() for _ in range(tensor_count)]
        data = _align(self._at, self._alignment(pairs))
        end = max((data + offset + tensor.size for offset, tensor in described), default=self._at)
        if end > self._size:
            raise ModelFileError(f"{self._path} is cut short: it holds {self._size:,} bytes of {end:,}; fetch it again")
        tensors = tuple(tensor for _, tensor in described)
        return Layout(version, pairs, tensors, self._size, self._lengths, self._arrays)

    def _version(self) -> int:
        magic = self._bytes(4) if self._size >= 4 else b""
        if magic != _MAGIC:
            raise ModelFileError(f"{self._path} is not a GGUF file: {_what_else(self._path, self._size)}")
        version = self._unpack(_U32)
        assert isinstance(version, int)
        if version in _VERSIONS:
            return version
        if version & 0xFFFF == 0:
            raise ModelFileError(f"{self._path} is a big-endian GGUF: get the little-endian one, or convert it")
        if version == 1:
            raise ModelFileError(f"{self._path} is a GGUF of version 1, of 2023: get or convert a newer one")
        raise ModelFileError(
            f"{self._path} is a GGUF of version {version}; lmlab reads 2 and 3: is there a newer lmlab?"
        )

    def _value(self, key: str) -> Scalar | None:
        """Return the next value, or None for an array, which is noted or stepped over."""
        kind = self._int(_U32)
        if kind == _STRING:
            return self._string(_LONGEST_STRING)
        if kind == _ARRAY:
            self._array(key)
            return None
        if kind not in _SCALARS:
            raise self._damaged(f"a value of unknown type {kind}")
        return self._unpack(_SCALARS[kind])

    def _array(self, key: str) -> None:
        kind = self._int(_U32)
        if kind == _STRING:
            self._lengths[key] = count = self._count("strings in an array", _MOST_ITEMS, least=8)
            self._skip_strings(count)
        elif kind in _SCALARS:
            form = _SCALARS[kind]
            self._lengths[key] = count = self._count("numbers in an array", _MOST_ITEMS, least=form.size)
            if count <= _MOST_KEPT and self._kept + count <= _MOST_KEPT_TOGETHER:
                self._kept += count
                self._arrays[key] = tuple(value for (value,) in form.iter_unpack(self._bytes(count * form.size)))
            else:
                self._at += count * form.size
        elif kind == _ARRAY:
            raise self._damaged("arrays inside an array, which llama.cpp does not read")
        else:
            raise self._damaged(f"an array of unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has hundreds of thousands of these: the loop touches nothing but locals.
        unpack = _U64.unpack_from
        while count:
            self._need(8)
            window = self._window
            position, last = self._at - self._start, len(window) - 8
            while count and position <= last:
                position += 8 + unpack(window, position)[0]
                count -= 1
            self._at = self._start + position
            if self._at > self._size:
                raise self._damaged("a string that is longer than the file")

    def _tensor(self) -> tuple[int, Tensor]:
        """Return the next tensor and where its data is, counted from the start of all data."""
        name = self._string(_LONGEST_KEY)
        dimensions = self._int(_U32)
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"a tensor of {dimensions} dimensions")
        shape = [self._int(_U64) for _ in range(dimensions)]
        elements = 1
        for length in shape:
            elements *= length
        if elements > _MOST_ELEMENTS:
            raise self._damaged(f"a tensor of {elements:.3g} weights")
        number = self._int(_U32)
        offset = self._int(_U64)
        size = 0
        if kind := TENSOR_TYPES.get(number):
            if (shape[0] if shape else 1) % kind.block_elements:
                raise self._damaged(f"a {kind.name} tensor whose rows are not whole blocks of {kind.block_elements}")
            size = elements // kind.block_elements * kind.block_bytes
        return offset, Tensor(name, elements, number, size)

    def _alignment(self, pairs: dict[str, Scalar]) -> int:
        alignment = pairs.get("general.alignment", 32)
        if isinstance(alignment, int) and 0 < alignment <= _LARGEST_ALIGNMENT and not alignment & (alignment - 1):
            return alignment
        raise self._damaged(f"an alignment of {one_line(str(alignment), 20)}")

    def _count(self, what: str, most: int, *, least: int) -> int:
        """Return a count of things that take at least ``least`` bytes each."""
        count = self._int(_U64)
        if count > most or count * least > self._size - self._at:
            raise self._damaged(f"{count:,} {what}")
        return count

    def _string(self, longest: int) -> str:
        length = self._int(_U64)
        if length > longest or length > self._size - self._at:
            raise self._damaged(f"a text of {length:,} bytes")
        return self._bytes(length).decode("utf-8", errors="replace")

    def _int(self, form: struct.Struct) -> int:
        value = self._unpack(form)
        assert isinstance(value, int)
        return value

    def _unpack(self, form: struct.Struct) -> int | float | bool:
        self._need(form.size)
        (value,) = form.unpack_from(self._window, self._at - self._start)
        self._at += form.size
        assert isinstance(value, (int, float))
        return value

    def _bytes(self, length: int) -> bytes:
        self._need(length)
        begin = self._at - self._start
        self._at += length
        return self._window[begin : begin + length]

    def _need(self, length: int) -> None:
        """Make the next ``length`` bytes be in the window."""
        if self._start <= self._at and self._at + length <= self._start + len(self._window):
            return
        if self._at + length <= self._size:
            self._file.seek(self._at)
            self._window = self._file.read(max(length, _WINDOW))
            self._start = self._at
        if self._at + length > self._start + len(self._window):
            raise ModelFileError(
                f"{self._path} is cut short: its header ends early, at byte {self._size:,}; fetch it again"
            )

    def _damaged(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path} is damaged: its header claims {what}; fetch it again")


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


_OTHERS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.startswith(b"version https://git-lfs"), "it is a Git LFS pointer; run `git lfs pull` beside it"),
    (lambda head: head.lstrip()[:9].lower() in (b"<!doctype", b"<html>"), "it is a web page; fetch the file itself"),
    (lambda head: head[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg"), "it is of the ggml format before GGUF; convert it"),
    (lambda head: head[8:10] == b'{"', "it is a safetensors file; convert it with llama.cpp's convert_hf_to_gguf.py"),
    (lambda head: head[:4] == b"PK\x03\x04", "it is a zip archive; unpack or convert it"),
    (lambda head: not any(byte < 9 or byte == 127 for byte in head), "it is a text file; give a model in GGUF form"),
)


def _what_else(path: Path, size: int) -> str:
    if size == 0:
        return "it is empty; fetch it again"
    with path.open("rb") as file:
        head = file.read(512)
    return next((what for matches, what in _OTHERS if matches(head)), "give a model in GGUF form")

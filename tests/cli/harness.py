"""What the tests of the command line share: a terminal in memory, and a model that every reference opens."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.models import ModelFile


class Terminal(io.TextIOWrapper):
    """A terminal in memory."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", newline="\n")

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


@dataclass
class Fake:
    """The model that every reference opens, and the backends it was opened in."""

    model: ModelFile
    prepare: Callable[[FakeBackend], None] = lambda backend: None
    auto: bool = True
    kind: type[FakeBackend] = FakeBackend
    backends: list[FakeBackend] = field(default_factory=list)
    resolved: list[tuple[str | None, bool]] = field(default_factory=list)

    @property
    def backend(self) -> FakeBackend:
        return self.backends[-1]

    def open(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        self.backends.append(self.kind(spec, on_status, auto=self.auto))
        self.prepare(self.backend)
        return self.backend

    def resolve(self, ref: str | None, *, offline: bool, **_: Any) -> ModelFile:
        self.resolved.append((ref, offline))
        return self.model


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Lmlab: TypeAlias = Callable[..., Outcome]
Program: TypeAlias = Callable[..., "subprocess.Popen[bytes]"]

"""llama.cpp in the test process: started once, each model loaded once. Only the tests of `llama` and `engine` need it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

from lmlab.llama import Context, Library, Model

OpenContext = Callable[..., Context]
"""A model and any sizes that matter to a small context, closed after the test."""


@functools.cache
def library() -> Library:
    return Library(lambda level, line: None, lambda message: sys.__stderr__.write(f"{message}\n"))


def threads_for(model: Model) -> int:
    """One for a tiny model: threads that wait for each other at every node are slow on a busy machine."""
    return 2 if model.parameters > 10_000_000 else 1


@functools.cache
def load_model(path: Path) -> Model:
    library()
    return Model(str(path), gpu_layers=0, progress=lambda fraction: None)

"""llama.cpp in the test process: started once, each model loaded once. Only the tests of `llama` and `engine` need it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

from lmlab.llama import Context, Library, Model

OpenContext = Callable[..., Context]
"""A model and any sizes that matter to a small context, closed after the test."""

THREADS = 1
"""Threads that wait for each other at every node of a graph are slow on a busy machine."""


@functools.cache
def library() -> Library:
    return Library(lambda level, line: None, lambda message: sys.__stderr__.write(f"{message}\n"))


@functools.cache
def load_model(path: Path) -> Model:
    library()
    return Model(str(path), gpu_layers=0, progress=lambda fraction: None)

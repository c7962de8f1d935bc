"""llama.cpp in the test process: started once, each model loaded once. Only the tests of `llama` and `engine` need it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def opened_contexts(**defaults: int) -> Iterator[OpenContext]:
    """Give what makes contexts of these sizes unless told others; all are closed in the end."""
    opened: list[Context] = []

    def open_context(model: Model, **options: Any) -> Context:
        opened.append(Context(model, **({"sequences": 4, "threads": THREADS} | defaults | options)))
        return opened[-1]

    yield open_context
    for context in opened:
        context.close()

"""Opens models the way every command does: in a worker process of their own."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.settings import Paths, private_folder


def local_backend(paths: Paths) -> Callable[[LoadSpec, StatusSink], Backend]:
    """Return what opens a model in a worker process, whose own output goes to the log folder."""

    def open_model(spec: LoadSpec, on_status: StatusSink) -> Backend:
        from lmlab.backends.local import LocalBackend

        return LocalBackend(spec, on_status, log_folder=private_folder(paths.logs))

    return open_model

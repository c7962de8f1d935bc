"""``python -m lmlab.worker``: let the parent connect, load a model, serve it."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.worker.child import connected, note, start_library
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import Loaded, load
from lmlab.worker.messages import LoadSpec
from lmlab.worker.rank_loading import load_ranker
from lmlab.worker.ranking import LoadedRanker
from lmlab.worker.serving import Worker


def _load(spec: LoadSpec, progress: Callable[[float], None]) -> Loaded | LoadedRanker:
    log = LoadLog()
    latest = -1.0

    loading = True

    def take(level: str, line: str) -> None:
        if loading:
            log.take(level, line)

    def read(fraction: float) -> None:
        nonlocal latest
        if fraction - latest >= 0.01 or fraction >= 1:
            latest = fraction
            progress(fraction)

    loaded = (load_ranker if spec.rank else load)(spec, start_library(take), log, read, note=note)
    loading = False
    return loaded


def main() -> None:
    connection, watch = connected()
    worker = Worker(connection, _load)
    watch.last_words = worker.flush
    worker.run()


if __name__ == "__main__":
    main()

"""llama.cpp, looked at in a worker process: whether it starts, what it was built for, how it would lay a model out."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from lmlab import __version__
from lmlab.backends import LoadSpec
from lmlab.backends.examining import run_examine
from lmlab.errors import EngineStopped, LmlabError
from lmlab.lab.doctor.finding import Finding, counted
from lmlab.lab.doctor.rebuilding import rebuild
from lmlab.models import size_text
from lmlab.terminal_text import one_line
from lmlab.worker.examining.messages import Build, LaidOut, NotLaidOut

VERSIONS = "versions"
LOADING = "loading"


class Engine:
    """What a worker process says of llama.cpp; ``build`` is None when it died before it could say."""

    def __init__(self) -> None:
        self.build: Build | None = None
        self._layout: LaidOut | NotLaidOut | None = None
        self._error: LmlabError | None = None

    def look(self, spec: LoadSpec | None, *, log_folder: Path, cancelled: Callable[[], bool]) -> None:
        try:
            run_examine(spec, self._take, log_folder=log_folder, cancelled=cancelled)
        except LmlabError as error:
            self._error = error

    def versions(self) -> Iterator[Finding]:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        yield Finding(VERSIONS, "lmlab", "ok", __version__, values={"version": __version__})
        yield Finding(
            VERSIONS, "Python", "ok", f"{python}, {sys.executable}", values={"version": platform.python_version()}
        )
        if self.build is None:
            why = self._error or EngineStopped("it was not asked, for Ctrl-C was pressed")
            yield Finding(VERSIONS, "llama.cpp", "broken", one_line(str(why), 600), _remedy(str(why)))
            return
        build = self.build
        ggml = f", ggml {build.ggml}" if build.ggml else ""
        text = f"that of llama-cpp-python {build.binding}{ggml}, {build.folder}"
        yield Finding(VERSIONS, "llama.cpp", "ok", text, values=asdict(build))

    @property
    def can_load(self) -> bool:
        """Whether there is no reason known why the model should not be loaded."""
        return isinstance(self._layout, LaidOut)

    def loading(self, ref: str) -> Iterator[Finding]:
        """Yield how the model called ``ref`` would be loaded, or why it cannot be."""
        match self._layout:
            case LaidOut() as layout:
                yield from _laid_out(ref, layout)
            case NotLaidOut(error):
                yield Finding(LOADING, "layout", "broken", one_line(str(error), 600))
            case None if self.build is not None and self._error is not None:
                text = f"{ref}: {self._error}"
                yield Finding(
                    LOADING, "layout", "broken", one_line(text, 600), "fetch the file again, or use another model"
                )
            case None:
                return

    def _take(self, report: Build | LaidOut | NotLaidOut) -> None:
        if isinstance(report, Build):
            self.build = report
        else:
            self._layout = report


def _laid_out(ref: str, layout: LaidOut) -> Iterator[Finding]:
    values = asdict(layout)
    held = "read from the file as needed" if layout.mapped else "held in memory of their own"
    attention = "flash attention" if layout.flash_attention else "no flash attention"
    shape = (
        f"{ref}: {layout.context:,} of {layout.context_trained:,} tokens of context, {layout.sequences} sequences at "
        f"once (n_seq_max), {layout.outputs} rows of logits a step (n_outputs_max), ubatch {layout.ubatch}, "
        f"{counted(layout.threads, 'thread')}, {attention}"
    )
    yield Finding(LOADING, "layout", "ok", one_line(shape, 400), values=values)
    sizes = (
        f"weights {size_text(layout.weights)}, {held}; KV cache {size_text(layout.kv)}, buffers "
        f"{size_text(layout.compute)}; {size_text(layout.available)} of memory are free"
    )
    yield Finding(LOADING, "sizes", "ok", sizes, values=values)


def _remedy(why: str) -> str:
    if "SIGILL" in why:
        return f"the build uses instructions that this processor does not have; build it here: {rebuild()}"
    if "LMLAB_HOME" in why:
        return "see the section files"
    return f"build it anew: {rebuild()}"

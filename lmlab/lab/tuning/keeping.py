"""What to keep of a tuning, and what it costs where replies change. Knows nothing of screens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lmlab import __version__
from lmlab.backends import LoadSpec
from lmlab.lab.divergence import Divergence, measure
from lmlab.lab.quantizing import QuantizeOptions, check_target, default_target, quantize
from lmlab.lab.sample_text import sample_text
from lmlab.lab.tuning.machine import machine
from lmlab.lab.tuning.rule import Objective
from lmlab.lab.tuning.saved import Tuned
from lmlab.lab.tuning.tune import Tuning
from lmlab.models import ModelFile, fingerprint
from lmlab.worker.divergence.messages import Measuring, ModelLoading
from lmlab.worker.quantizing.messages import Planned, Quantizing

# Characters: a dozen windows, so that errors can be named, and on a small machine still a matter of seconds.
_TEXT = 26_000


def to_keep(ref: str, base: LoadSpec, objective: Objective, tuning: Tuning) -> Tuned | None:
    """Return what is kept for the model that won, which ``ref`` names; None when no setting won."""
    gain = tuning.found.gain
    if gain is None or not tuning.settings.words():
        return None
    return Tuned(
        fingerprint=fingerprint(Path(tuning.found.spec.path)),
        machine=machine(),
        ref=ref,
        settings=tuning.settings,
        gpu_layers=base.gpu_layers,
        objective=objective,
        gain=gain.median,
        gain_low=gain.low,
        gain_high=gain.high,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        lmlab=__version__,
        llama_cpp=_llama_cpp(),
    )


def changes_output(base: LoadSpec, tuning: Tuning) -> bool:
    """Whether what won changes replies by more than rounding."""
    return tuning.settings.changes_output or tuning.found.spec.path != base.path


def cost(
    base: LoadSpec,
    tuning: Tuning,
    *,
    log_folder: Path,
    progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> Divergence | None:
    """Return how far the predictions move with what won; None once ``cancelled``. Raises as ``lab.divergence.measure``."""

    def heard(report: ModelLoading | Measuring) -> None:
        if isinstance(report, Measuring):
            progress(report.figures.windows / report.figures.planned)

    text = sample_text()[:_TEXT]
    found = measure(base, tuning.found.spec, text, heard, log_folder=log_folder, cancelled=cancelled)
    return None if found is None or not found.complete else found


def weight_files(model: ModelFile, types: Sequence[str], models: Path) -> dict[str, Path]:
    """Return where in the folder ``models`` the model goes with each type. Raises UsageError where it cannot go."""
    files = {kind: default_target(model, kind, models) for kind in types}
    for path in files.values():
        check_target(model.path, path, force=False)
    return files


def write_weights(
    source: Path,
    types: Sequence[str],
    folder: Path,
    *,
    threads: int | None,
    log_folder: Path,
    progress: Callable[[str, float], None],
    cancelled: Callable[[], bool],
) -> dict[str, Path] | None:
    """Write the model at ``source`` once for each of ``types`` into ``folder``; None once ``cancelled``.

    It may be quantized already: what that costs is measured afterwards. Raises as ``lab.quantizing.quantize``.
    """
    written: dict[str, Path] = {}
    for kind in types:

        def heard(report: Planned | Quantizing, kind: str = kind) -> None:
            if isinstance(report, Quantizing):
                progress(kind, report.fraction)

        progress(kind, 0.0)
        done = quantize(
            source,
            kind,
            folder / f"{kind}.gguf",
            options=QuantizeOptions(threads=threads, requantize=True),
            log_folder=log_folder,
            progress=heard,
            cancelled=cancelled,
        )
        if done is None:
            return None
        written[kind] = done.path
    return written


def _llama_cpp() -> str:
    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        return "unknown"

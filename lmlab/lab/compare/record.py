"""What a comparison leaves on disk, a line for each thing that came of it, as it came. Knows nothing of how it came.

Every line is a JSON object with a ``kind``: ``comparison`` begins what one command did, ``answer`` is a line as a batch
writes them, ``vote``, ``score`` and ``verdict`` are about answers, ``divergence`` about models. A later line about the
same thing replaces the earlier one. A kill loses at most the line being written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmlab.errors import UsageError
from lmlab.lab.batch.line_file import LineFile
from lmlab.lab.batch.output_lock import OutputLock
from lmlab.settings import private_folder

FORMAT = 1

VoteKind: TypeAlias = Literal["win", "tie", "bad"]


@dataclass(frozen=True, slots=True)
class Vote:
    """What a person said of a case: one run wins over the other ``runs``, they tie, or all are bad.

    ``order`` is how they lay from left to right, ``blind`` whether the names were hidden.
    """

    key: str
    question: str
    repeat: int
    runs: tuple[str, ...]
    choice: VoteKind
    winner: str | None = None
    order: tuple[str, ...] = ()
    blind: bool = False
    at: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """What the scorer ``by`` gave one answer; None where it could give none, as ``note`` says."""

    by: str
    key: str
    question: str
    repeat: int
    run: str
    score: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of two answers: ``share`` is 1 for the first of ``runs``, 0 for the second, 0.5 for a tie.

    It is None where the judge could not be asked, as ``note`` says. ``judge`` names its model and prompts exactly, ``by``
    for a person. ``asked``: it was asked, in both orders; ``swayed``: it named the same place in both.
    """

    by: str
    judge: str
    key: str
    question: str
    repeat: int
    runs: tuple[str, str]
    share: float | None
    asked: bool = False
    swayed: bool = False
    note: str = ""


def comparison_id(runs: Iterable[str]) -> str:
    """Return the name of the record of these variants, in whichever order they were given."""
    return hashlib.blake2b(",".join(sorted(runs)).encode("ascii"), digest_size=6).hexdigest()


class Record:
    """The file at ``path``, held by one command at a time. Use from one thread at a time, and close it.

    Raises UsageError when another command writes to it, or when it holds something else: it is then untouched.
    ``note`` says what was repaired.
    """

    def __init__(self, path: Path, runs: Sequence[str]) -> None:
        self.path = path
        self.note: str | None = None
        self.headers: list[dict[str, Any]] = []
        self.votes: dict[str, Vote] = {}
        self.scores: dict[tuple[str, str, str], Score] = {}
        self.verdicts: dict[tuple[str, str, str, str], Verdict] = {}
        self.divergences: dict[tuple[str, ...], dict[str, Any]] = {}
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}
        private_folder(path.parent)
        with ExitStack() as stack:
            lock = OutputLock(path, str(path))
            stack.callback(lock.release)
            # Looked at before it is opened to be written: what is not a record is not to be touched, nor made.
            end = self._read(runs) if path.exists() else 0
            self._file = LineFile(path, str(path))
            stack.callback(self._file.close)
            if end < self._file.end:
                self.note = f"{path}: half a line at the end ({self._file.end - end:,} bytes) was cut off"
                self._file.truncate(end)
            self._held = stack.pop_all()

    def close(self) -> None:
        """Give it up, with all on disk. Closing twice is closing once."""
        self._held.close()

    def answer(self, key: str, run: str) -> Mapping[str, Any] | None:
        """Return the line of an answer, a failed one too."""
        return self._answers.get((key, run))

    def is_done(self, key: str, run: str) -> bool:
        """Whether there is an answer that neither failed nor was stopped."""
        line = self._answers.get((key, run))
        return line is not None and line.get("error") is None and line["finish_reason"] != "cancelled"

    @property
    def empty(self) -> bool:
        return not self.headers

    def begin(self, header: Mapping[str, Any]) -> None:
        """Write what one command is about to do."""
        self._keep({"kind": "comparison", "format": FORMAT, **header})

    def add_answer(self, line: Mapping[str, Any]) -> None:
        self._keep({"kind": "answer", **line})

    def add(self, thing: Vote | Score | Verdict) -> None:
        """Write what was said of answers. A vote is on the disk before this returns."""
        kind = type(thing).__name__.lower()
        self._keep({"kind": kind, **asdict(thing)})
        if isinstance(thing, Vote):
            self._file.sync()

    def add_divergence(self, line: Mapping[str, Any]) -> None:
        self._keep({"kind": "divergence", **line})

    def _keep(self, line: dict[str, Any]) -> None:
        # JSON takes any text but half characters in UTF-8, so these are escaped.
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            data = json.dumps(line, allow_nan=False, separators=(",", ":")).encode("ascii")
        self._file.append(data + b"\n")
        self._take(json.loads(data))

    def _read(self, runs: Sequence[str]) -> int:
        """Take in what is there; return where its last whole line ends."""
        end = 0
        try:
            with open(self.path, "rb") as stream:
                for number, data in enumerate(stream, 1):
                    if not data.endswith(b"\n"):
                        self._check_begun(data, number)
                        break
                    line = self._parsed(data, number)
                    if number == 1:
                        self._check_first(line, runs)
                    self._take(line)
                    end += len(data)
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}; check its permissions") from None
        return end

    def _check_begun(self, data: bytes, number: int) -> None:
        # Half a line that a crash left is ours to cut off; a file of something else is not.
        if number == 1 and not b'{"kind":"comparison"'.startswith(data[:20]):
            raise self._foreign(number)

    def _parsed(self, data: bytes, number: int) -> dict[str, Any]:
        try:
            line = json.loads(data)
        except (ValueError, RecursionError):
            raise self._foreign(number) from None
        if not isinstance(line, dict) or "kind" not in line:
            raise self._foreign(number)
        return line

    def _foreign(self, number: int) -> UsageError:
        return UsageError(
            f"{self.path}, line {number:,}, was not written by lmlab compare: write to another file with -o"
        )

    def _check_first(self, line: Mapping[str, Any], runs: Sequence[str]) -> None:
        if line["kind"] != "comparison":
            raise self._foreign(1)
        if line.get("format") != FORMAT:
            raise UsageError(f"{self.path} was written by another version of lmlab: write to another file with -o")
        others = [variant["label"] for variant in line["variants"] if variant["run"] not in runs]
        if others:
            raise UsageError(
                f"{self.path} holds a comparison with {', '.join(others)}, which is not among these variants or was "
                "asked otherwise: write to another file with -o"
            )

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.pop("kind")
        match kind:
            case "comparison":
                self.headers.append(line)
            case "answer":
                self._answers[line["key"], line["run"]] = line
            case "vote":
                vote = Vote(**{**line, "runs": tuple(line["runs"]), "order": tuple(line["order"])})
                self.votes[vote.key] = vote
            case "score":
                score = Score(**line)
                self.scores[score.by, score.key, score.run] = score
            case "verdict":
                first, second = line["runs"]
                verdict = Verdict(**{**line, "runs": (first, second)})
                self.verdicts[verdict.judge, verdict.key, first, second] = verdict
            case "divergence":
                self.divergences[tuple(line["of"])] = line

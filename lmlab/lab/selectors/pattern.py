"""``regex:PATTERN``: a candidate in which a regular expression is found."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lmlab.errors import LmlabError
from lmlab.lab.selectors.candidates import Candidate, Choice, Question, best_scored, by_text, conclude, contenders
from lmlab.lab.selectors.pattern_child import FOUND
from lmlab.lab.selectors.shell import NEW_GROUP

LIMIT_S = 2.0
"""Longest that one candidate is searched."""

_CLOSED = "the selector was closed"
_CHILD = Path(__file__).with_name("pattern_child.py")


class RegexSelector:
    """Score 1 where ``re.search`` finds the pattern, 0 where not; of equals, the most probable.

    Some patterns take years on some texts, and Python's ``re`` holds up every thread meanwhile and cannot be stopped. So
    a child process searches, one for all candidates, and is ended and begun anew when it takes too long.
    """

    blocking = True

    def __init__(self, pattern: str, limit_s: float = LIMIT_S) -> None:
        self.name = f"regex:{pattern}"
        self._search = _Search(pattern, limit_s)

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        return len(ended) >= total

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        pool = contenders(candidates)
        scores: dict[int, float] = {}
        notes: dict[int, str] = {}
        for text, group in by_text(pool).items():
            found = self._search.find(text)
            scores |= {one.index: float(bool(found)) for one in group}
            if found is None:
                notes |= {one.index: f"the search took over {self._search.limit_s:g} s and was ended" for one in group}
        best = best_scored(pool, scores)
        why = _why(sum(score > 0 for score in scores.values()), len(notes), len(pool))
        return conclude(self.name, candidates, best, why, scores, notes)

    def close(self) -> None:
        self._search.close()


class _Search:
    """A child process that knows the pattern. One text at a time, whoever asks."""

    def __init__(self, pattern: str, limit_s: float) -> None:
        self.limit_s = limit_s
        self._pattern = pattern
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def find(self, text: str) -> bool | None:
        """Return whether the pattern is in ``text``; None when that could not be told in time."""
        with self._lock:
            process = self._start()
            late = threading.Event()

            def end() -> None:
                # Killing it is what ends the wait for its answer.
                late.set()
                process.kill()

            timer = threading.Timer(self.limit_s, end)
            timer.start()
            answer = _ask(process, text)
            timer.cancel()
            timer.join()
            if late.is_set() or not answer:
                self._end()
        if answer:
            return answer == FOUND
        if late.is_set():
            return None
        raise LmlabError(_CLOSED if self._closed else "the process that searches for the pattern ended: try again")

    def close(self) -> None:
        # A search under way is not waited for.
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        """Return the child, which is ready: starting it is no part of the time for a search."""
        if self._closed:
            raise LmlabError(_CLOSED)
        if self._process is None:
            try:
                # -I and -S: nothing of the person's folder or packages is needed, and it starts sooner.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-W", "ignore", str(_CHILD), str(math.ceil(self.limit_s) + 1)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    creationflags=NEW_GROUP,
                    start_new_session=True,
                )
            except OSError as error:
                raise LmlabError(f"the search for the pattern could not be started: {error}") from None
            _ask(self._process, self._pattern)
        return self._process

    def _end(self) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            # What it has not read cannot be flushed, and is of no interest any more.
            with suppress(OSError):
                pipe.close()


def _ask(process: subprocess.Popen[bytes], text: str) -> bytes:
    """Return the child's one byte; none when it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    data = text.encode("utf-8", "surrogatepass")
    try:
        process.stdin.write(b"%d\n" % len(data) + data)
        process.stdin.flush()
        return process.stdout.read(1)
    except OSError:
        return b""


def _why(matches: int, unknown: int, total: int) -> str:
    late = f", {unknown} could not be searched in time" if unknown else ""
    if not matches:
        return f"the pattern is in none of {total}{late}: the most probable"
    return f"the pattern is in {matches} of {total}{late}" + (": the most probable of them" if matches > 1 else "")

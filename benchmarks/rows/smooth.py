"""The time between the tokens of a chat while a long prompt arrives, against the same chat alone.

lmlab sends tokens some 25 times a second, several together. Here the worker's own loop runs in a child of this process
with that time set to nothing, so that each token tells when it was drawn. Every turn has a fresh long prompt.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import texts
from sides import DRAWN, Reply, sampling, token_counter
from table import NotMeasured, Row, Setting, quantile

from lmlab.backends import LoadSpec, Ready, Request, TextPrompt
from lmlab.backends.process import worker_environment
from lmlab.errors import EngineStopped
from lmlab.worker.messages import Cancel, Events, Generate, Load

LONG, ALONE, CHAT = 2000, 200, 3000
ENOUGH = 100
"""Gaps that a 99th percentile needs."""


def serve(connection: Connection) -> None:
    """Be a worker that says each token at once; its log goes nowhere."""
    from lmlab.worker import serving
    from lmlab.worker.__main__ import _load

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    serving.TOGETHER_S = 0.0
    serving.Worker(connection, _load).run()


class PlainWorker:
    """A worker on a pipe, without LocalBackend. ``take`` passes one message on; requests are told apart by id."""

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._replies: dict[str, Reply] = {}
        self._connection.send(Load(LoadSpec(str(path))))
        while not isinstance(report := self._connection.recv(), Ready):
            if error := getattr(report, "error", None):
                raise error

    def send(self, request_id: str, prompt: str, tokens: int, seed: int) -> Reply:
        reply = self._replies[request_id] = Reply(time.perf_counter())
        self._connection.send(Generate(Request(request_id, TextPrompt(prompt), sampling(DRAWN, tokens, seed))))
        return reply

    def cancel(self, request_id: str) -> None:
        self._connection.send(Cancel(request_id))

    def take(self) -> None:
        report = self._connection.recv()
        if not isinstance(report, Events):
            raise EngineStopped(f"the worker said {report!r}")
        for event in report.events:
            self._replies[event.request_id].take(event)

    def close(self) -> None:
        self._connection.close()
        self._process.join()


def measure(setting: Setting) -> Iterator[Row]:
    count = token_counter(setting.path)
    length = setting.size(LONG, 200)
    # What LocalBackend would give it: it must be there when the process begins.
    os.environ.update(worker_environment(os.environ))
    with closing(PlainWorker(setting.path)) as worker:
        turns = [one_turn(worker, turn, texts.document(turn, length, count)) for turn in range(setting.turns or 4)]
    alone = [gap for each, _ in turns for gap in each]
    beside = [gap for _, each in turns for gap in each]
    median = statistics.median(alone) * 1000
    yield Row(
        work=f"time between tokens of a chat while a {length:,}-token prompt arrives, p99",
        model=setting.ref,
        against="the median of the same chat alone",
        goal=3,
        at_most=True,
        values=tuple(quantile(after, 0.99) / statistics.median(before) for before, after in turns),
        detail=(
            f"alone median {median:.1f} ms, p99 {quantile(alone, 0.99) * 1000:.1f}; "
            f"beside it median {statistics.median(beside) * 1000:.1f} ms, p99 {quantile(beside, 0.99) * 1000:.1f}, "
            f"worst {max(beside) * 1000:.1f}; {len(beside):,} gaps"
        ),
    )


def one_turn(worker: PlainWorker, turn: int, document: str) -> tuple[list[float], list[float]]:
    """Return the seconds between the chat's tokens alone, and from the long prompt's sending to its first token."""
    for attempt in range(20):
        name = f"{turn}-{attempt}"
        chat = worker.send(f"chat-{name}", texts.PROMPTS[attempt % len(texts.PROMPTS)], CHAT, 100 * turn + attempt)
        while len(chat.arrivals) < ALONE and not chat.ended.is_set():
            worker.take()
        # Another beginning each time: what is cached of an earlier attempt would make this one shorter.
        long = worker.send(f"long-{name}", f"Attempt {attempt}. {document}", 1, 0)
        while not long.ended.is_set():
            worker.take()
        survived = not chat.ended.is_set()
        worker.cancel(f"chat-{name}")
        while not chat.ended.is_set():
            worker.take()
        gaps = list(itertools.pairwise(chat.arrivals))
        alone = [after - before for before, after in gaps if after <= long.begin]
        beside = [after - before for before, after in gaps if long.begin < after <= long.arrivals[0]]
        if survived or len(beside) >= ENOUGH:
            return alone[len(alone) // 10 :], beside
    raise NotMeasured("the chat ends before the long prompt has arrived each time: make it shorter with --scale")

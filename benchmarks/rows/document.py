"""A second question about a long document, and one after a restart: the time to the first token against the first's.

Every turn has a fresh document and a fresh worker before and after the restart. Times are taken here, from sending the
request to the first token's arrival, with the worker ready.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import texts
from sides import DRAWN, Lmlab, sampling, token_counter
from table import NotMeasured, Row, Setting, middle, ratios

from lmlab.backends import TextPrompt
from lmlab.worker.messages import Snapshots

DOCUMENT, TOKENS, WARM = 1500, 16, 3
BUDGET = 1_000_000_000
WRITTEN_S = 30.0


def measure(setting: Setting) -> Iterator[Row]:
    count = token_counter(setting.path)
    length = setting.size(DOCUMENT, 50)
    turns = [one_turn(setting, turn, texts.document(turn, length, count)) for turn in range(setting.turns or 5)]
    cold = f"first question {middle(turns, 0) * 1000:.0f} ms"
    work = f"time to first token, {length:,}-token document"
    yield Row(
        f"{work}: second question",
        setting.ref,
        "the first question",
        50,
        ratios(turns, 0, 1),
        f"{cold}, second {middle(turns, 1) * 1000:.1f} ms",
    )
    yield Row(
        f"{work}: after a restart, from disk",
        setting.ref,
        "the first question",
        30,
        ratios(turns, 0, 2),
        f"{cold}, after the restart {middle(turns, 2) * 1000:.1f} ms",
    )


def one_turn(setting: Setting, turn: int, document: str) -> tuple[float, float, float]:
    """Return the seconds to the first token cold, warm (the median of several questions) and restored from disk."""
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(folder, BUDGET)

        def ask(lmlab: Lmlab, question: int) -> float:
            prompt = f"{document}\n\nQuestion: {texts.QUESTIONS[question % len(texts.QUESTIONS)]}\nAnswer:"
            how = sampling(DRAWN, TOKENS, seed=question)
            return lmlab.run([TextPrompt(prompt)], how, session=f"document-{turn}")[0].ttft_s

        with closing(Lmlab(setting.path, snapshots=snapshots)) as lmlab:
            lmlab.run([TextPrompt(texts.PROMPTS[0])], sampling(DRAWN, 8))
            cold = ask(lmlab, 0)
            warm = statistics.median(ask(lmlab, 1 + question) for question in range(WARM))
            _wait_until_written(Path(folder))
        with closing(Lmlab(setting.path, snapshots=snapshots)) as lmlab:
            restored = ask(lmlab, 1 + WARM)
    return cold, warm, restored


def _wait_until_written(folder: Path) -> None:
    """Wait until the files of ``folder`` have kept their sizes for a moment: they are written in the background."""
    end = time.perf_counter() + WRITTEN_S
    before: dict[Path, int] = {}
    while time.perf_counter() < end:
        time.sleep(0.5)
        now = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        if now and now == before:
            return
        before = now
    raise NotMeasured(f"no snapshot was written within {WRITTEN_S:.0f} s of the answer")

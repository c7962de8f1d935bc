"""Switching between two branches of a long conversation: the time from asking for a reply to its first token.

A chat as the program has it, with its store, over a real worker. Both branches share the first of three exchanges and
differ in the two after it; each turn takes up the one that was not in use: for another reply to its last message, and for
a further short question. What the question's own tokens cost is shown by asking one more without switching.
"""

from __future__ import annotations

import queue
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import texts
from sides import token_counter
from table import Row, Setting

from lmlab.backends import Failed, Finished, Token
from lmlab.backends.local import LocalBackend
from lmlab.lab.chat import Chat, ChatEvent
from lmlab.lab.events import ModelFailed
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Store, Turn

LENGTH, EXCHANGES, SWITCHES, TOKENS = 1500, 3, 10, 16
GOAL_MS = 100


def measure(setting: Setting) -> Iterator[Row]:
    count = token_counter(setting.path)
    length = setting.size(LENGTH, 60) // EXCHANGES - 2 * TOKENS
    with tempfile.TemporaryDirectory() as folder:
        talk = _Talk(Path(folder), setting.path)
        try:
            parts = [texts.document(number, length, count) for number in range(2 * EXCHANGES)]
            leaves = [talk.tell(parts[:EXCHANGES])]
            talk.chat.edit(talk.chat.turns[2], parts[EXCHANGES])
            talk.finish()
            leaves.append(talk.tell(parts[EXCHANGES + 1 : 2 * EXCHANGES - 1]))
            held = talk.chat.turns[-1].reply
            again, further, same = [], [], []
            for switch in range(setting.turns or SWITCHES):
                talk.chat.select(leaves[switch % 2])
                again.append(1000 * talk.regenerate())
                talk.chat.select(leaves[(switch + 1) % 2])
                further.append(1000 * talk.ask(texts.QUESTIONS[switch % len(texts.QUESTIONS)]))
                same.append(1000 * talk.ask(texts.QUESTIONS[(switch + 1) % len(texts.QUESTIONS)]))
        finally:
            talk.close()
    tokens = held.context_used if held is not None and held.context_used else 0
    work = f"another branch of a conversation of {tokens:,} tokens: first token of"
    for what, values, detail in (
        ("another reply", again, "nothing to read but the last token"),
        ("a further question", further, f"a question without switching: {statistics.median(same):.0f} ms"),
    ):
        yield Row(f"{work} {what}", setting.ref, "nothing", GOAL_MS, tuple(values), detail, unit="ms", at_most=True)


class _Talk:
    def __init__(self, folder: Path, model: Path) -> None:
        paths = Paths(folder / "config.toml", folder, folder / "logs")
        self._events: queue.SimpleQueue[tuple[float, ChatEvent]] = queue.SimpleQueue()
        self._store = Store(paths.database)
        self.chat = Chat(
            store=self._store,
            paths=paths,
            config=Config(),
            opener=lambda spec, on_status: LocalBackend(spec, on_status, log_folder=folder),
            listener=lambda event: self._events.put((time.perf_counter(), event)),
            sampling=SamplingParams(temperature=0, max_tokens=TOKENS),
        )
        self.chat.open_model(str(model))

    def tell(self, parts: list[str]) -> Turn:
        """Say each of ``parts``, wait for the replies, and return where the conversation then ends."""
        for part in parts:
            self.ask(part)
        return self.chat.turns[-1]

    def ask(self, text: str) -> float:
        """Return the seconds from the message to the first token of its reply, which then comes to its end."""
        begin = time.perf_counter()
        self.chat.send(text)
        return self.finish() - begin

    def regenerate(self) -> float:
        """Return the seconds from asking for another reply to its first token."""
        begin = time.perf_counter()
        self.chat.regenerate()
        return self.finish() - begin

    def finish(self) -> float:
        """Wait for the end of the reply under way and return when its first token came."""
        first = None
        while True:
            moment, event = self._events.get()
            if isinstance(event, Token) and first is None:
                first = moment
            if isinstance(event, Failed | ModelFailed):
                raise event.error
            if isinstance(event, Finished):
                return moment if first is None else first

    def close(self) -> None:
        self.chat.close()
        self._store.close()

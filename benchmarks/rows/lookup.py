"""Prompt lookup on a text that is written again with one word changed, and on free text, against the same without.

Two workers, one with ``draft="lookup"``. Copying is greedy, so both write the same; free text is drawn. The rate is the
worker's own, over the tokens after the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import texts
from sides import DRAWN, GREEDY, Lmlab, Reply, sampling
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import TextPrompt
from lmlab.worker.messages import LOOKUP

SENTENCES, TOKENS = 10, 160
ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """``prompt`` gives the prompt for a seed."""

    name: str
    prompt: Callable[[int], str]
    how: dict[str, float]
    goal: float


@dataclass(slots=True)
class Side:
    """One worker on one task; ``replies`` are those that counted, one a turn."""

    lmlab: Lmlab
    task: Task
    tokens: int
    replies: list[Reply] = field(default_factory=list)

    def rate(self, turn: int) -> float:
        for attempt in range(10):
            seed = 100 * turn + attempt
            prompt = TextPrompt(self.task.prompt(seed))
            reply = self.lmlab.run([prompt], sampling(self.task.how, self.tokens, seed))[0]
            measured = reply.finished.timings.decode_tokens_per_s
            if reply.tokens >= ENOUGH * self.tokens and measured:
                self.replies.append(reply)
                return measured
        raise NotMeasured(f"the model ends before {ENOUGH * self.tokens:.0f} tokens each time: use --scale for fewer")


def measure(setting: Setting) -> Iterator[Row]:
    tokens, sentences = setting.size(TOKENS, 16), setting.size(SENTENCES, 2)
    tasks = (
        Task("a copy-and-edit task", lambda seed: texts.copy_and_edit(seed, sentences), GREEDY, 1.3),
        Task("free text", lambda seed: texts.PROMPTS[seed % len(texts.PROMPTS)], DRAWN, 0.97),
    )
    with closing(Lmlab(setting.path, draft=LOOKUP)) as drafting, closing(Lmlab(setting.path)) as plain:
        for task in tasks:
            yield compare(setting, task, Side(drafting, task, tokens), Side(plain, task, tokens))


def compare(setting: Setting, task: Task, ours: Side, without: Side) -> Row:
    for side in (ours, without):
        side.lmlab.run([TextPrompt(texts.PROMPTS[0])], sampling(DRAWN, 16))
    figures = alternate(setting.turns or 8, ours.rate, without.rate)
    timings = [reply.finished.timings for reply in ours.replies]
    accepted = sum(each.draft_accepted or 0 for each in timings)
    detail = (
        f"with {middle(figures, 0):.1f} tokens/s, without {middle(figures, 1):.1f}; "
        f"{accepted:,} of {sum(each.draft_tokens or 0 for each in timings):,} drafted tokens accepted"
    )
    if task.how is GREEDY:
        same = sum(mine.text == other.text for mine, other in zip(ours.replies, without.replies, strict=True))
        detail += f"; {same} of {len(timings)} replies the same in both"
    return Row(f"prompt lookup, {task.name}", setting.ref, "the same without", task.goal, ratios(figures, 0, 1), detail)

"""What a judge is asked and what its replies say: one answer scored, or two compared in both orders.

Knows nothing of candidates, only of texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from lmlab.backends import Backend, ChatPrompt, TextPrompt
from lmlab.errors import PromptError, UsageError
from lmlab.lab.selectors.asking import Asker, Asking, Reply, raise_if_all_failed
from lmlab.sampling import SamplingParams

if TYPE_CHECKING:
    from lmlab.prompting import Renderer

JUDGE_TEMPLATES = SCORE_TEMPLATE, PAIR_TEMPLATE = "judge", "judge-pair"
_SCORE_INPUTS = frozenset({"question", "reply"})
_PAIR_INPUTS = frozenset({"question", "first", "second"})

# Temperature 0 draws nothing; the seed is for the record.
_GREEDY = SamplingParams(temperature=0.0, seed=0)
_UNLESS_TEMPLATE_SAYS = SamplingParams(max_tokens=512)

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_VERDICT = re.compile(r"(?:(?:answer|reply|option)\s*)?(a|b|tie)", re.IGNORECASE)
_EDGES = " \t\r\n.,;:!?\"'`*_()[]<>"
_UNREADABLE = "the judge's reply has no readable verdict"

Winner: TypeAlias = Literal["first", "second", "tie"]


@dataclass(slots=True)
class Verdicts:
    """By text: ``scores``, higher is better, and ``notes``. ``readable`` replies had a verdict in them; ``swayed``
    comparisons named the same place in both orders, whichever answer was there."""

    scores: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    readable: int = 0
    swayed: int = 0


class Judge:
    """A model with the two templates. May be used by several threads at once."""

    def __init__(self, backend: Backend, template_folder: Path | None) -> None:
        self._asker = Asker(backend)
        self._score = _renderer(SCORE_TEMPLATE, _SCORE_INPUTS, template_folder)
        self._pair = _renderer(PAIR_TEMPLATE, _PAIR_INPUTS, template_folder)

    def close(self) -> None:
        self._asker.close()

    def score(self, question: str, texts: Sequence[str]) -> Verdicts:
        """Score each text by itself. One whose reply cannot be read, or that is too long to ask about, has no score.

        Raises LmlabError when the judge could be asked about none.
        """
        replies = self._ask(self._score, [{"question": question, "reply": text} for text in texts])
        verdicts = Verdicts()
        for text, reply in zip(texts, replies, strict=True):
            if isinstance(reply, PromptError):
                verdicts.notes[text] = f"not judged: {reply}"
            elif found := _NUMBER.search(reply):
                verdicts.scores[text] = float(found[0])
                verdicts.readable += 1
            else:
                verdicts.notes[text] = _UNREADABLE
        return verdicts

    def compare(self, question: str, texts: Sequence[str]) -> Verdicts:
        """Compare each with each, in both orders; a score is the share won of the comparisons that could be made.

        A reply that cannot be read counts as a tie. Raises LmlabError when no comparison could be made.
        """
        pairs = [(a, b) for one, other in combinations(texts, 2) for a, b in ((one, other), (other, one))]
        replies = self._ask(self._pair, [{"question": question, "first": a, "second": b} for a, b in pairs])
        verdicts, points, unreadable = Verdicts(), dict.fromkeys(texts, 0.0), dict.fromkeys(texts, 0)
        made = dict.fromkeys(texts, 0)
        for (one, other), forward, backward in zip(pairs[::2], replies[::2], replies[1::2], strict=True):
            if isinstance(forward, PromptError) or isinstance(backward, PromptError):
                error = forward if isinstance(forward, PromptError) else backward
                verdicts.notes |= dict.fromkeys((one, other), f"not judged: {error}")
                continue
            seen = [_winner(forward), _winner(backward)]
            verdicts.readable += sum(winner is not None for winner in seen)
            verdicts.swayed += seen in (["first", "first"], ["second", "second"])
            share = _share(*seen)
            for text, won in ((one, share), (other, 1 - share)):
                made[text] += 1
                points[text] += won
                unreadable[text] += seen.count(None)
        for text in texts:
            if made[text]:
                verdicts.scores[text] = points[text] / made[text]
                verdicts.notes[text] = _tally(points[text], made[text], unreadable[text])
        return verdicts

    def _ask(self, renderer: Renderer, inputs: Sequence[Mapping[str, str]]) -> list[Reply]:
        """Return what was read off each reply, empty where nothing could be."""
        chat = self._asker.backend.wait_ready().chat_template
        results: list[Reply] = []
        askings: dict[int, tuple[Asking, str]] = {}
        for place, variables in enumerate(inputs):
            try:
                askings[place] = _asking(renderer, variables, chat)
                results.append("")
            except PromptError as error:
                results.append(error)
        replies = self._asker.ask([asking for asking, _ in askings.values()])
        for (place, (_, lead)), reply in zip(askings.items(), replies, strict=True):
            results[place] = reply if isinstance(reply, PromptError) else renderer.read_answer(reply, lead) or ""
        raise_if_all_failed(results)
        return results


def _asking(renderer: Renderer, variables: Mapping[str, str], chat: bool) -> tuple[Asking, str]:
    """Return the request, and how the reply to it begins that is not in the reply."""
    rendered = renderer.render(variables)
    own = renderer.template.sampling
    sampling = _GREEDY.merge(own).merge(_UNLESS_TEMPLATE_SAYS)
    if chat:
        return Asking(ChatPrompt(rendered.messages), sampling), ""
    sampling = sampling.with_value("stop", (*(own.stop or ()), *rendered.stop) or None)
    return Asking(TextPrompt(rendered.text), sampling), rendered.lead


def _renderer(name: str, inputs: frozenset[str], folder: Path | None) -> Renderer:
    from lmlab.prompting import Renderer, load

    renderer = Renderer(load(name, folder))
    if not set(renderer.missing) <= inputs <= set(renderer.template.inputs):
        has, needs = ", ".join(renderer.template.inputs) or "none", ", ".join(sorted(inputs))
        raise UsageError(f"the template {name!r} is to judge, so its inputs must be {needs}: they are {has}")
    return renderer


def _winner(answer: str) -> Winner | None:
    found = _VERDICT.fullmatch(answer.strip(_EDGES))
    if found is None:
        return None
    said: dict[str, Winner] = {"a": "first", "b": "second", "tie": "tie"}
    return said[found[1].lower()]


def _share(forward: Winner | None, backward: Winner | None) -> float:
    """Return what the first of two gets: all or nothing only if both orders agree."""
    if (forward, backward) == ("first", "second"):
        return 1.0
    return 0.0 if (forward, backward) == ("second", "first") else 0.5


def _tally(points: float, made: int, unreadable: int) -> str:
    note = f"won {points:g} of {made} comparison{'s' if made > 1 else ''}"
    return f"{note}; {unreadable} of {2 * made} replies of the judge had no readable verdict" if unreadable else note

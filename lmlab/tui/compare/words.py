"""What the compare screen says of answers and votes. Knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.contender import Contender
from lmlab.lab.compare.measures import by_votes
from lmlab.lab.compare.standing import bad_count
from lmlab.models.progress import size_text
from lmlab.terminal_text import one_line
from lmlab.tui.compare.state import CompareState, LiveAnswer
from lmlab.tui.format import bar, count
from lmlab.tui.keys import Hint
from lmlab.tui.status import facts

_REASONS = {"length": "max tokens", "context": "context full", "cancelled": "stopped"}
_HOW = {"cancelled": "stopped", "error": "failed"}
_BAR_CELLS = 8


def hidden_name(place: int) -> str:
    """Return what the column at ``place``, from 0, is called while names are hidden."""
    return f"answer {chr(ord('A') + place)}"


def answer_lines(live: LiveAnswer, contender: Contender, *, hidden: bool) -> list[str]:
    """Return the lines under an answer. ``hidden`` ones say nothing that would tell whose it is."""
    answer = live.answer
    if hidden:
        return [_HOW.get(answer.reason, "ended")] if answer is not None else [_under_way(live)]
    if answer is None:
        return [_under_way(live) if live.first_token is None else _so_far(live), _memory(contender)]
    lines = [
        " · ".join(
            part
            for part in (
                facts(answer.tokens, answer.tokens_per_s, answer.ttft_s, answer.cached_tokens, answer.prompt_tokens),
                _REASONS.get(answer.reason, ""),
            )
            if part
        ),
        " · ".join(part for part in (_likelihood(answer.logprob), _memory(contender)) if part),
    ]
    if answer.candidates > 1:
        lines.append(f"best of {answer.candidates}: {one_line(answer.why, 120)}")
    if answer.answer is not None:
        verdict = {True: " · right", False: " · wrong", None: ""}[answer.correct]
        lines.append(f"answer {one_line(answer.answer, 60)}{verdict}")
    elif answer.correct is not None:
        lines.append("no answer could be read · wrong")
    return [line for line in lines if line]


def _under_way(live: LiveAnswer) -> str:
    if live.left_out:
        return "not asked"
    if live.selector is not None:
        return f"{one_line(live.selector, 40)} chooses"
    if not live.started:
        return "waiting"
    if live.first_token is None:
        if live.prompt_tokens and live.prefilled < live.prompt_tokens:
            return f"reading the prompt {bar(live.prefilled / live.prompt_tokens, _BAR_CELLS)}"
        return "reading the prompt"
    return "answering"


def _so_far(live: LiveAnswer) -> str:
    if live.selector is not None:
        return _under_way(live)
    first = live.first_token - live.asked if live.first_token is not None else None
    return facts(live.text.tokens, live.tokens_per_s, first, live.cached_tokens, live.prompt_tokens, steady=True)


def _likelihood(logprob: float | None) -> str:
    return "" if logprob is None else f"log-probability {logprob:.3f}"


def _memory(contender: Contender) -> str:
    return "" if contender.memory is None else size_text(contender.memory)


def activity(state: CompareState, contenders: Sequence[Contender], *, sequential: bool, hidden: bool) -> str:
    """Return the line above the input."""
    for variant, status in sorted(state.loading.items()):
        name = hidden_name(state.order.index(variant)) if hidden else one_line(contenders[variant].label, 40)
        return f"loading {name}  {bar(status.fraction, _BAR_CELLS)} {status.fraction * 100:3.0f} %"
    if not state.ready:
        return "looking at the models, one after the other" if sequential else "loading the models"
    if state.asking:
        going = sum(not live.ended for live in state.answers)
        return f"{count(going, 'answer')} under way"
    return ""


def standings(comparison: Comparison) -> list[str]:
    """Return a line for each two variants that somebody voted on, the first's view of it.

    Of more than two variants the tests are several: their p is Holm's, and so is what would decide them.
    """
    votes, contenders = comparison.votes, comparison.contenders
    found = by_votes(comparison.record, {vote.key for vote in votes}, [one.run for one in contenders])
    if found is None:
        return []
    lines = []
    for duel in found.duels:
        if duel.rate.decided or duel.rate.ties:
            names = [one_line(contenders[index].label, 40) for index in (duel.first, duel.second)]
            rate = replace(duel.rate, p=duel.adjusted, more=duel.more)
            lines.append(f"{names[0]} against {names[1]}: {rate.words()}")
    if len(contenders) > 2:
        lines.append("p by Holm's method, for all pairs together")
    if bad := bad_count(votes):
        lines.append(f"{count(bad, 'prompt')} on which all were bad, counted as ties")
    return lines


def tally(comparison: Comparison) -> str:
    """Return how the votes stand, in facts of which the first matter most."""
    votes, contenders = comparison.votes, comparison.contenders
    won = {one.index: sum(vote.winner == one.run for vote in votes) for one in contenders}
    parts = [f"{one_line(one.label, 30)} {won[one.index]:,}" for one in contenders]
    parts.append(f"ties {sum(vote.choice != 'win' for vote in votes):,}")
    if len(contenders) == 2:
        rate = comparison.standing(0, 1)
        if rate.share is not None and rate.low is not None and rate.high is not None:
            first = one_line(contenders[0].label, 30)
            parts.append(f"{first} wins {rate.share:.0%}, 95% interval {rate.low:.0%} to {rate.high:.0%}")
        if rate.more:
            parts.append(f"about {count(rate.more, 'more prompt')} would decide it")
    return " · ".join(parts)


def farewell(comparison: Comparison, passed_over: Sequence[str] = ()) -> list[str]:
    """Return what is said once the screen is gone. ``passed_over`` is why rows were not put, each."""
    lines = standings(comparison)
    if passed_over:
        lines.append(f"{count(len(passed_over), 'row')} could not be put: {passed_over[0]}")
    kept = comparison.record.path
    return [*lines, f"answers and votes are kept in {kept}"] if kept.exists() else lines


def hints(state: CompareState, *, typing: bool, hidden: bool, differing: bool, more: bool) -> list[Hint]:
    """Return what works now, the most useful first. ``more``: there is a next prompt in the file."""
    if typing:
        found = [Hint("enter", "ask")] if state.ready and not state.asking else []
        if state.asking:
            found.append(Hint("esc", "stop"))
        return [*found, Hint("tab", "answers"), Hint("f1", "help"), Hint("ctrl+q", "quit")]
    if state.asking:
        return [
            Hint("esc", "stop"),
            Hint("←→", "column"),
            Hint("↑↓", "scroll"),
            Hint("tab", "type"),
            Hint("f1", "help"),
        ]
    found = []
    if state.case is not None:
        if state.vote is None or hidden:
            sides = [Hint("l", "left wins"), Hint("r", "right wins")]
            found += [
                *(sides if state.variants == 2 else [Hint("enter", "this one wins")]),
                Hint("t", "tie"),
                Hint("b", "both bad" if state.variants == 2 else "all bad"),
            ]
        if state.incomplete:
            found.insert(0, Hint("a", "ask again"))
        if more:
            found.append(Hint("n", "next prompt"))
        found.append(Hint("f1", "help"))
        if not hidden:
            found.append(Hint("d", "plain text" if differing else "differences"))
        if state.vote is not None and not hidden:
            found.append(Hint("u", "vote again"))
    else:
        found.append(Hint("f1", "help"))
    return [*found, Hint("←→", "column"), Hint("tab", "type"), Hint("ctrl+q", "quit")]


HELP: tuple[tuple[str, tuple[Hint, ...]], ...] = (
    (
        "Judging",
        (
            Hint("l, r", "the left or the right answer is better, of two"),
            Hint("enter", "the answer in the column you are on is the best; a click on its title too"),
            Hint("t", "they are as good"),
            Hint("b", "all are bad; counted as a tie, and told apart"),
            Hint("u", "vote again on this prompt; the last vote counts, no longer as a blind one"),
            Hint("n", "the next prompt of the file"),
            Hint("d", "mark the words that differ: two answers from each other, more from the first"),
        ),
    ),
    (
        "Looking",
        (
            Hint("← →, 1-4", "choose a column; where not all fit, it comes into sight"),
            Hint("↑ ↓, page up, page down", "scroll it; home and end"),
            Hint("mouse", "wheel scrolls, a click chooses; select text, then ctrl+c copies it"),
        ),
    ),
    (
        "Asking",
        (
            Hint("tab", "between the input and the answers"),
            Hint("enter", "put what is typed to all; ctrl+j is a new line"),
            Hint("esc", "stop the answers under way; what has come stays"),
            Hint("a", "ask again, where an answer failed or was stopped"),
            Hint("ctrl+c", "copy what is selected, else stop; twice: quit"),
            Hint("ctrl+q", "quit; answers and votes are kept"),
        ),
    ),
)

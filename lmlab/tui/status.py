"""What is said about a reply, the model and the context, in words. Knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import PurePath
from typing import Any

from lmlab.backends import FinishReason
from lmlab.lab.candidate_words import standing
from lmlab.sampling import BY_NAME
from lmlab.store import Change, Reply, TemplateUse
from lmlab.terminal_text import one_line
from lmlab.tui.format import bar, count, megabytes, rate, seconds, time_left
from lmlab.tui.state import (
    EngineGone,
    FetchingModel,
    LiveReply,
    LiveText,
    LoadingModel,
    ModelReady,
    ModelState,
    NoModel,
)

# Short prompts are read faster than a bar can be looked at.
_BAR_AFTER_S = 0.3
_BAR_CELLS = 10
# What it leaves, 80 columns have room for a bar and figures.
_LABEL_CELLS = 36
_NOTE_CELLS = 160

NEARLY_FULL = 0.9

_REASONS: dict[FinishReason, str] = {
    "length": "max tokens",
    "context": "context full",
    "cancelled": "stopped",
}


def live_status(reply: LiveReply, model: ModelState, now: float) -> str:
    """Return the line under the reply under way."""
    if reply.error is not None:
        # The worker, which measures the time to the first token, took it along.
        return facts(reply.tokens, reply.tokens_per_s, None, reply.cached_tokens, reply.prompt_tokens)
    if reply.finished is not None:
        line = facts(reply.tokens, reply.tokens_per_s, reply.ttft_s, reply.cached_tokens, reply.prompt_tokens)
        return _with_reason(line, reply.finished.reason)
    if reply.started is None:
        return "preparing the prompt" if isinstance(model, ModelReady) else "waiting for the model"
    if reply.reading:
        return _reading(reply, now)
    return facts(reply.tokens, reply.tokens_per_s, reply.ttft_s, reply.cached_tokens, reply.prompt_tokens, steady=True)


def live_notes(reply: LiveReply) -> list[str]:
    """Return the lines under those facts: the answer, how far the candidates are, and what was changed meanwhile."""
    return [*_answer(reply.answer), *_candidates(reply), *change_notes(reply.changes)]


def candidate_lines(text: LiveText) -> list[str]:
    """Return the two lines under a candidate under way: how long it is, and how it stands."""
    length = count(text.tokens, "token")
    if text.reason is None:
        return [length, "drawing" if text.tokens else "waiting"]
    return [_with_reason(length, text.reason), likelihood(text.logprob) or "ended"]


def likelihood(logprob: float | None) -> str:
    """Return the mean log-probability of a candidate's tokens, in words; nothing when it is not known."""
    return "" if logprob is None else f"log-probability {logprob:.3f}"


def kept_candidate_lines(reply: Reply) -> list[str]:
    """Return the lines under a reply from the store that stands beside others: first two as ``candidate_lines`` has."""
    one = reply.candidate
    length = count(len(reply.tokens), "token")
    if reply.status == "partial":
        return [length, "not ended"]
    lines = [_with_reason(length, reply.finish_reason)]
    if one is None:
        return [*lines, "drawn alone"]
    score = f"score {one.score:.3g}" if one.score is not None and one.score != one.logprob else ""
    how = "failed" if reply.finish_reason == "error" else "ended"
    lines.append(" · ".join(filter(None, [score, likelihood(one.logprob)])) or how)
    if one.chosen:
        by = f"chosen by {one_line(one.selector, _NOTE_CELLS)}" if one.selector else "kept"
        lines.append(f"{by}: {one_line(one.why, _NOTE_CELLS)}" if one.why else by)
    if one.note:
        lines.append(one_line(one.note, _NOTE_CELLS))
    return lines


def kept_notes(reply: Reply, answer: str | None = None) -> list[str]:
    """Return the lines under the facts about a reply from the store, ``answer`` what was read off it."""
    return [*_answer(answer), *filter(None, [standing(reply)]), *change_notes(reply.changes)]


def template_line(use: TemplateUse) -> str:
    """Return the template that a message went through, and how it was put."""
    shots = f", {count(use.shots, 'example')}" if use.shots else ""
    return f"{one_line(PurePath(use.template).stem, _LABEL_CELLS)}, {use.technique}{shots}"


def kept_status(reply: Reply) -> str:
    """Return the line under a reply from the store."""
    usage, timings = reply.usage, reply.timings
    tokens = usage.completion_tokens if usage else len(reply.tokens)
    line = facts(
        tokens,
        timings.decode_tokens_per_s if timings else None,
        timings.ttft_s if timings else None,
        usage.cached_tokens if usage else 0,
        usage.prompt_tokens if usage else 0,
    )
    if reply.status == "partial":
        return " · ".join(part for part in (line, "cut off when lmlab ended") if part)
    return _with_reason(line, reply.finish_reason)


def facts(
    tokens: int, per_s: float | None, ttft_s: float | None, cached: int, prompt: int, steady: bool = False
) -> str:
    """Return ``41 tokens · 118 tok/s · first token 0.09 s · 790 of 812 cached``, less what is not known.

    ``steady``: numbers that still grow have room for it, so that nothing moves.
    """
    parts = []
    if steady:
        parts.append(f"{tokens:>4,} tokens · {rate(per_s) if per_s is not None else '':>5} tok/s")
    else:
        parts += [count(tokens, "token")] if tokens else []
        parts += [f"{rate(per_s)} tok/s"] if per_s is not None else []
    if ttft_s is not None:
        parts.append(f"first token {seconds(ttft_s)}")
    if prompt:
        parts.append(f"{cached:,} of {prompt:,} cached")
    return " · ".join(parts)


def change_notes(changes: Iterable[Change]) -> list[str]:
    """Return a note for each parameter that changed while the reply came: ``temperature 0.20 → 1.30 at token 41``."""
    notes = []
    ordered = sorted(changes, key=lambda change: change[1])
    for name, group in groupby(ordered, key=lambda change: change[1]):
        steps = list(group)
        note = f"{label(name)} {value_text(name, steps[0][2])}"
        for position, (at_token, _, _, new) in enumerate(steps):
            note += f" → {value_text(name, new)} at {'' if position else 'token '}{at_token:,}"
        notes.append((steps[0][0], note))
    return [note for _, note in sorted(notes)]


def short_name(ref: str) -> str:
    """Return a model's reference as a name: a path without folders, anything else as it is."""
    path = PurePath(ref)
    return path.stem if path.is_absolute() else ref.removeprefix("hf:").rsplit("/", 1)[-1]


def label(name: str) -> str:
    return BY_NAME[name].label if name in BY_NAME else name


def value_text(name: str, value: Any) -> str:
    """Return a sampling parameter's value as it is shown everywhere."""
    if name in BY_NAME:
        return BY_NAME[name].format(value)
    return " ".join(one_line(repr(text), 20) for text in value or ()) or "none"


def model_line(model: ModelState, name: str) -> tuple[str, bool] | None:
    """Return what there is to say about the model and whether it is trouble; None when it is ready."""
    match model:
        case NoModel(None):
            return "looking for a model", False
        case NoModel(_):
            return "no model: /model NAME opens one", True
        case FetchingModel(progress, bytes_per_s):
            label = one_line(progress.label, _LABEL_CELLS)
            text = f"{label}  " if label.startswith("unpacking ") else f"fetching {label}  "
            if progress.total:
                text += bar(progress.done / progress.total, _BAR_CELLS) + " "
            text += megabytes(progress.done, progress.total)
            if bytes_per_s and progress.total and progress.done < progress.total:
                text += f" · {time_left((progress.total - progress.done) / bytes_per_s)}"
            return text, False
        case LoadingModel(fraction):
            return f"loading {one_line(name, 40)}  {bar(fraction, _BAR_CELLS)} {fraction * 100:3.0f} %", False
        case EngineGone(_):
            return "the engine is gone: the next message starts it again", True
        case _:
            return None


def context_warning(used: int | None, context: int | None, ended_reply: bool = False) -> str | None:
    """Return what to do about a context that is full or nearly so; None while there is room.

    ``ended_reply``: the last reply ended because not one token more fitted, which may leave a cell.
    """
    if not context or used is None or used < context * NEARLY_FULL:
        return None
    if ended_reply or used >= context:
        return "the context is full: /clear begins a new session"
    return f"the context is nearly full, {count(context - used, 'token')} left: /clear begins a new session"


def _answer(line: str | None) -> list[str]:
    return [one_line(line, _NOTE_CELLS)] if line else []


def _candidates(reply: LiveReply) -> list[str]:
    if reply.candidates == 1 or reply.standing:
        return [reply.standing] if reply.standing else []
    if reply.ended:
        return [f"candidate {reply.chosen + 1} of {reply.candidates}"]
    line = f"{reply.candidates_ended} of {reply.candidates} candidates ended"
    if reply.selector is not None:
        line = (
            f"{one_line(reply.selector, _LABEL_CELLS)} chooses among {reply.candidates} · esc takes the most probable"
        )
    return [line]


def _reading(reply: LiveReply, now: float) -> str:
    started = reply.started if reply.started is not None else now
    if now - started < _BAR_AFTER_S or not reply.prompt_tokens:
        return "reading the prompt"
    whole = f"{reply.prompt_tokens:,}"
    text = (
        f"reading the prompt {bar(reply.prefilled / reply.prompt_tokens, _BAR_CELLS)} "
        f"{f'{reply.prefilled:,}'.rjust(len(whole))} / {whole}"
    )
    if per_s := reply.prefill_rate(now):
        text += f" · {rate(per_s)} tok/s"
        if reply.prefilled < reply.prompt_tokens:
            text += f" · {time_left((reply.prompt_tokens - reply.prefilled) / per_s)}"
    return text


def _with_reason(line: str, reason: FinishReason | None) -> str:
    words = _REASONS.get(reason) if reason else None
    return " · ".join(part for part in (line, words) if part)

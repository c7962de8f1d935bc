"""What the widgets show, read from the chat, the state and each other. Knows nothing of widgets' insides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lmlab.lab import slash
from lmlab.lab.chat import Chat
from lmlab.lab.constraints import called
from lmlab.lab.model_slot import size_and_quantization
from lmlab.lab.slash_template import summary
from lmlab.sampling import SamplingParams
from lmlab.terminal_text import one_line
from lmlab.tui.format import count
from lmlab.tui.keys import Situation
from lmlab.tui.state import ScreenState
from lmlab.tui.status import context_warning, short_name
from lmlab.tui.widgets.header import HeaderView
from lmlab.tui.widgets.panel import SamplingView
from lmlab.tui.widgets.panel.rows import SAMPLING_ROWS

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp


def model_name(chat: Chat, wanted: str | None) -> str:
    """Return what the model is called: the open one, else the one asked for."""
    if chat.model is not None:
        return short_name(chat.model.ref)
    return short_name(wanted) if wanted else "the model"


def header_view(chat: Chat, state: ScreenState, wanted: str | None) -> HeaderView:
    model, info = chat.model, chat.info
    parts = []
    if model is not None:
        parts.append(size_and_quantization(model))
    if info is not None:
        if not info.chat_template:
            parts.append("base model")
        on = ", ".join(info.devices) if info.gpu_layers else f"CPU {count(info.threads, 'thread')}"
        parts.append(on)
    return HeaderView(
        model=model_name(chat, wanted) if model is not None or wanted else "",
        detail=" · ".join(parts),
        title=chat.session.title if chat.session is not None else "",
        used=context_used(chat, state),
        context=info.context if info is not None else None,
    )


def sampling_view(chat: Chat, state: ScreenState) -> SamplingView:
    """While a reply comes, what is in force is what its engine said last."""
    reply = state.reply
    running = reply.sampling if reply is not None and not reply.ended else None
    coming = chat.in_force
    drawn = reply.sampling.seed if reply is not None and reply.sampling is not None else _kept_seed(chat)
    in_force = running or replace(coming, seed=coming.seed if coming.seed not in (None, -1) else drawn)
    return SamplingView(
        chat.asked,
        coming,
        in_force,
        {row.name: chat.origin(row.name) for row in SAMPLING_ROWS},
        best_of=chat.best_of,
        select=str(chat.selector),
        at_once=chat.info.layout.sequences if chat.info is not None else None,
        preset=chat.preset,
        presets=tuple(preset.name for preset in chat.presets.known),
    )


def situation(app: ChatApp) -> Situation:
    in_panel = app.focused is app.panel
    return Situation(
        in_panel=in_panel,
        typing_value=in_panel and app.panel.typing,
        completing=app.prompt.completing,
        selected=bool(app.screen.selections or app.prompt.selected_text),
        replying=app.state.replying,
        following=app.transcript.following,
        can_regenerate=bool(app.chat.turns),
        candidates=_of_several(app),
        editing=app.editing.turn is not None,
        has_text=bool(app.prompt.text),
    )


def context_used(chat: Chat, state: ScreenState) -> int | None:
    """Return how full the context is, else how full it was when last known; None when that was never known."""
    if state.context_used or not chat.turns:
        return state.context_used
    known = (turn.reply.context_used for turn in reversed(chat.turns) if turn.reply is not None)
    return next((used for used in known if used), None)


def context_trouble(chat: Chat, state: ScreenState) -> str | None:
    """Return what to do about a context that is full or nearly so; None while there is room."""
    info = chat.info
    reply = chat.turns[-1].reply if chat.turns else None
    ended_by_it = reply is not None and reply.finish_reason == "context"
    return context_warning(context_used(chat, state), info.context if info is not None else None, ended_by_it)


def going_along(chat: Chat) -> str:
    """Return what the next message goes through and what goes with it, in words; nothing when nothing does."""
    prompt = chat.prompts.current
    through = [f"{summary(prompt)} · you type its {prompt.main}"] if prompt is not None else []
    if chat.constraint is not None:
        through.append(f"replies held to a {called(chat.constraint)}")
    if not chat.attachments:
        return " · ".join(through)
    names = [one_line(file.name, 30) for file in chat.attachments]
    what = names[0] if len(names) == 1 else count(len(names), "file")
    attached = f"{what} attached, {count(sum(len(file.text) for file in chat.attachments), 'character')}"
    return " · ".join([*through, attached])


def read_answer(chat: Chat, state: ScreenState) -> None:
    """Keep what a reply that has ended gives as its answer, once."""
    reply = state.reply
    if reply is None or reply.finished is None or reply.answer or len(chat.turns) < 2:
        return
    reply.answer = chat.prompts.answer_line(*chat.turns[-2:]) or ""


def command_help(line: str) -> str:
    """Return what the command is for, when ``line`` is the name of one and nothing more."""
    command = slash.BY_NAME.get(line[1:].rstrip())
    return command.help if command is not None else ""


def _kept_seed(chat: Chat) -> int | None:
    replies = [turn.reply for turn in chat.turns[-1:] if turn.reply is not None]
    sampling: SamplingParams | None = replies[-1].sampling if replies else None
    return sampling.seed if sampling is not None else None


def _of_several(app: ChatApp) -> bool:
    """Whether the last reply is one of several drawn at once."""
    if app.state.reply is not None and app.state.reply.candidates > 1:
        return True
    last = app.chat.turns[-1].reply if app.chat.turns else None
    return last is not None and last.candidate is not None

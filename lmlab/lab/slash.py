"""Slash commands: what a person types in a chat that is not for the model. Both chats on screen share them.

A line that begins with ``/`` is a command; ``//`` sends a message that begins with a slash. Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from lmlab.errors import UsageError
from lmlab.lab import slash_best_of, slash_set
from lmlab.lab.chat import Chat
from lmlab.lab.engine_words import about_engine, about_reply
from lmlab.lab.model_slot import size_and_quantization
from lmlab.terminal_text import one_line

Action: TypeAlias = Literal["none", "quit", "help", "cleared", "sent", "resent", "model", "moved"]
"""What the front end should do besides showing the lines. ``sent`` and ``resent``: a reply is under way. ``moved``: the chat goes on
from another turn than before."""


@dataclass(frozen=True, slots=True)
class SlashResult:
    lines: tuple[str, ...] = ()
    action: Action = "none"


@dataclass(frozen=True, slots=True)
class Command:
    """``names`` without the slash, the first the one shown; ``arguments`` as a usage line has them."""

    names: tuple[str, ...]
    arguments: str
    help: str
    example: str
    run: Callable[[Chat, str], SlashResult]

    @property
    def usage(self) -> str:
        return f"/{self.names[0]} {self.arguments}".rstrip()


def is_command(line: str) -> bool:
    """Whether a line that was typed is for ``run`` and not for the model."""
    return line.startswith("/")


def is_message(line: str) -> bool:
    """Whether a line for ``run`` sends what was typed: its text is the message, after the first slash."""
    return line.startswith("//")


def run(chat: Chat, line: str) -> SlashResult:
    """Do what ``line`` says. Raises UsageError when it cannot be understood, and what the chat raises."""
    if is_message(line):
        chat.send(line[1:])
        return SlashResult(action="sent")
    name, *rest = line[1:].split(maxsplit=1) or [""]
    return find(name).run(chat, rest[0].strip() if rest else "")


def find(name: str) -> Command:
    """Return the command of that name. Raises UsageError that suggests near ones."""
    name = name.strip().removeprefix("/").lower()
    if name in BY_NAME:
        return BY_NAME[name]
    near = get_close_matches(name, BY_NAME, n=2)
    hint = f"did you mean {' or '.join('/' + other for other in near)}?" if near else "/help lists the commands"
    raise UsageError(f"no command is called /{one_line(name, 40)}: {hint} (// sends a message that begins with /)")


def _set(chat: Chat, rest: str) -> SlashResult:
    return SlashResult(slash_set.run(chat, rest))


def _best_of(chat: Chat, rest: str) -> SlashResult:
    return SlashResult(slash_best_of.best_of(chat, rest))


def _select(chat: Chat, rest: str) -> SlashResult:
    return SlashResult(slash_best_of.select(chat, rest))


def _candidates(chat: Chat, rest: str) -> SlashResult:
    if not rest:
        return SlashResult(slash_best_of.show(chat))
    return SlashResult(slash_best_of.go_to(chat, rest), "moved")


def _system(chat: Chat, rest: str) -> SlashResult:
    if rest:
        chat.set_system(None if rest == "-" else rest)
    text = chat.system
    return SlashResult((f"system prompt: {text}" if text else "there is no system prompt",))


def _model(chat: Chat, rest: str) -> SlashResult:
    if rest:
        chat.open_model(rest)
        return SlashResult(action="model")
    model, info = chat.model, chat.info
    if model is None:
        return SlashResult(("no model is open; /model REF opens one, for example /model smollm2",))
    detail = size_and_quantization(model)
    if info is not None:
        detail += f", context {info.context:,} of {info.context_trained:,} tokens"
    where = model.ref if model.ref == str(model.path) else f"{model.ref}: {model.path}"
    return SlashResult((where, detail))


def _read(chat: Chat, rest: str) -> SlashResult:
    if rest == "-":
        chat.detach()
    elif rest:
        file = chat.attach(_unquoted(rest))
        return SlashResult((f"{file.name}, {len(file.text):,} characters, goes with your next message",))
    if not chat.attachments:
        return SlashResult(("no file goes with your next message",))
    files = (f"  {file.name}, {len(file.text):,} characters" for file in chat.attachments)
    return SlashResult(("with your next message go:", *files))


def _regen(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("regen", rest)
    chat.regenerate()
    return SlashResult(action="resent")


def _save(chat: Chat, rest: str) -> SlashResult:
    name, _, last = rest.rpartition(" ")
    overwrite = last == "--overwrite" and bool(name)
    if not rest:
        raise UsageError("/save needs a file: /save chat.md for a transcript, /save chat.json for everything")
    where = chat.save(_unquoted(name.strip() if overwrite else rest), overwrite)
    return SlashResult((f"saved to {where}",))


def _session(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("session", rest)
    session = chat.session
    if session is None:
        return SlashResult((f"nothing was said yet; sessions are kept in {chat.store.file}",))
    return SlashResult(
        (
            f"session {session.id}: {session.title}",
            f"kept in {chat.store.file}",
            f"go on with it later: lmlab chat --session {session.id}",
        )
    )


def _stats(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("stats", rest)
    if chat.info is None:
        raise UsageError("no model is loaded yet: /stats says how it was, once it is")
    replies = [turn.reply for turn in chat.turns if turn.reply is not None and turn.reply.usage is not None]
    latest = about_reply(replies[-1].usage, replies[-1].timings) if replies else ()
    return SlashResult((*about_engine(chat.info), slash_best_of.describe(chat), *latest))


def _clear(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("clear", rest)
    old = chat.session
    chat.clear()
    begun = f"a new session; the old one is kept: lmlab chat --session {old.id}" if old else "a new session"
    stays = (f'the system prompt stays: "{one_line(chat.system, 60)}"; /system - drops it',) if chat.system else ()
    return SlashResult((begun, *stays), "cleared")


def _help(chat: Chat, rest: str) -> SlashResult:
    if rest:
        command = find(rest)
        others = [f"/{name}" for name in command.names[1:]]
        also = (f"also {', '.join(others)}",) if others else ()
        return SlashResult((command.usage, command.help, *also, f"for example: {command.example}"))
    width = max(len(command.usage) for command in COMMANDS)
    return SlashResult(
        (
            *(f"{command.usage:<{width}}  {command.help}" for command in COMMANDS),
            f"{'//TEXT':<{width}}  Send a message that begins with a slash.",
        ),
        "help",
    )


def _bye(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("bye", rest)
    return SlashResult(action="quit")


def _nothing_after(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"/{name} takes no arguments; // sends a message that begins with a slash")


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


COMMANDS: tuple[Command, ...] = (
    Command(
        ("set",),
        "[NAME VALUE | NAME unset]",
        "Show the sampling parameters, or set or unset one.",
        "/set temperature 0.2",
        _set,
    ),
    Command(
        ("system",),
        "[TEXT | -]",
        "Show, set or remove (-) the system prompt.",
        "/system Answer like a pirate.",
        _system,
    ),
    Command(("model",), "[REF]", "Show the model, or open another.", "/model gemma3-270m", _model),
    Command(
        ("read",),
        "[FILE | -]",
        "Attach a text file, list what is attached, or drop it all (-).",
        "/read notes.txt",
        _read,
    ),
    Command(("regen",), "", "Ask for another reply to your last message.", "/regen", _regen),
    Command(
        ("best-of", "best"),
        "[N | off]",
        "Draw N replies to each message and keep the best; off draws one again.",
        "/best-of 5",
        _best_of,
    ),
    Command(
        ("select",),
        "[S]",
        "Show or set what chooses the best; vote compares whole replies.",
        "/select judge",
        _select,
    ),
    Command(
        ("candidates", "candidate"),
        "[K]",
        "List the replies to your last message with their scores, or go on from another.",
        "/candidates 2",
        _candidates,
    ),
    Command(
        ("save",),
        "FILE [--overwrite]",
        "Save the chat: .md is a transcript, .json everything.",
        "/save chat.md",
        _save,
    ),
    Command(("session",), "", "Say where this session is kept and how to go on with it.", "/session", _session),
    Command(("stats",), "", "Say how the model was loaded and what the latest reply cost.", "/stats", _stats),
    Command(("clear",), "", "Begin a new session; this one is kept.", "/clear", _clear),
    Command(("help", "?"), "[COMMAND]", "List the commands, or explain one.", "/help set", _help),
    Command(("bye", "exit", "quit"), "", "Leave.", "/bye", _bye),
)
BY_NAME: dict[str, Command] = {name: command for command in COMMANDS for name in command.names}

"""Slash commands: what a person types in a chat that is not for the model. Both chats on screen share them.

A line that begins with ``/`` is a command; ``//`` sends a message that begins with a slash. Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from lmlab.errors import UsageError
from lmlab.lab import slash_best_of, slash_constraint, slash_preset, slash_set, slash_template, slash_tree, slash_views
from lmlab.lab.chat import Chat
from lmlab.lab.engine_words import about_engine, about_reply
from lmlab.lab.model_slot import size_and_quantization
from lmlab.lab.slash_command import Action, Command, SlashResult, View, unquoted
from lmlab.store import Attachment
from lmlab.terminal_text import one_line

__all__ = [
    "BY_NAME",
    "COMMANDS",
    "Action",
    "Command",
    "SlashResult",
    "View",
    "asks",
    "find",
    "is_command",
    "is_message",
    "run",
]


def is_command(line: str) -> bool:
    """Whether a line that was typed is for ``run`` and not for the model."""
    return line.startswith("/")


def is_message(line: str) -> bool:
    """Whether a line for ``run`` sends what was typed: its text is the message, after the first slash."""
    return line.startswith("//")


def asks(line: str) -> bool:
    """Whether ``line`` asks for a reply when it is run."""
    if is_message(line):
        return True
    name, rest = _parted(line)
    command = BY_NAME.get(name.lower())
    return command is not None and command.asks(rest)


def run(chat: Chat, line: str) -> SlashResult:
    """Do what ``line`` says. Raises UsageError when it cannot be understood, and what the chat raises."""
    if is_message(line):
        chat.send(line[1:])
        return SlashResult(action="sent")
    name, rest = _parted(line)
    return find(name).run(chat, rest)


def file_to_read(line: str) -> str | None:
    """Return the path in a line that attaches a file, for who reads it on another thread."""
    name, *rest = line.split(maxsplit=1) or [""]
    path = rest[0].strip() if rest else ""
    return unquoted(path) if name.lower() == "/read" and path not in ("", "-") else None


def find(name: str) -> Command:
    """Return the command of that name. Raises UsageError that suggests near ones."""
    name = name.strip().removeprefix("/").lower()
    if name in BY_NAME:
        return BY_NAME[name]
    near = get_close_matches(name, BY_NAME, n=2)
    hint = f"did you mean {' or '.join('/' + other for other in near)}?" if near else "/help lists the commands"
    raise UsageError(f"no command is called /{one_line(name, 40)}: {hint} (// sends a message that begins with /)")


def _parted(line: str) -> tuple[str, str]:
    name, *rest = line[1:].split(maxsplit=1) or [""]
    return name, rest[0].strip() if rest else ""


def _set(chat: Chat, rest: str) -> SlashResult:
    return SlashResult(slash_set.run(chat, rest))


def _saying(act: Callable[[Chat, str], tuple[str, ...]]) -> Callable[[Chat, str], SlashResult]:
    """Return what runs a command that only has something to say."""
    return lambda chat, rest: SlashResult(act(chat, rest))


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
        return SlashResult((chat.attach(unquoted(rest)),))
    lines = ["no file goes with your next message"]
    if chat.attachments:
        lines = ["with your next message go:", *map(_file, chat.attachments)]
    if chat.documents:
        lines += ["in the conversation are, and can be asked about:", *map(_file, chat.documents)]
        chat.measure()
    return SlashResult(tuple(lines))


def _file(file: Attachment) -> str:
    return f"  {one_line(file.name, 60)}, {len(file.text):,} characters"


def _regen(chat: Chat, rest: str) -> SlashResult:
    _nothing_after("regen", rest)
    chat.regenerate()
    return SlashResult(action="resent")


def _save(chat: Chat, rest: str) -> SlashResult:
    name, _, last = rest.rpartition(" ")
    overwrite = last == "--overwrite" and bool(name)
    if not rest:
        raise UsageError("/save needs a file: /save chat.md for a transcript, /save chat.json for everything")
    where = chat.save(unquoted(name.strip() if overwrite else rest), overwrite)
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
    stays = []
    if chat.system:
        stays.append(f'the system prompt stays: "{one_line(chat.system, 60)}"; /system - drops it')
    if (prompt := chat.prompts.current) is not None:
        stays.append(f"messages still go through {slash_template.summary(prompt)}; /template - ends that")
    if chat.constraint is not None:
        stays.append(slash_constraint.staying(chat.constraint))
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


COMMANDS: tuple[Command, ...] = (
    Command(
        ("set",),
        "[NAME VALUE | NAME unset]",
        "Show the sampling parameters, or set or unset one.",
        "/set temperature 0.2",
        _set,
    ),
    Command(
        ("preset", "presets"),
        "[NAME | save NAME | remove NAME | undo]",
        "List the presets, draw as one does, or save how you draw now.",
        "/preset precise",
        _saying(slash_preset.run),
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
        "Attach a text or PDF, list what was read, or drop what is attached (-).",
        "/read notes.txt",
        _read,
    ),
    Command(
        ("regen",),
        "",
        "Ask for another reply to your last message.",
        "/regen",
        _regen,
        asks=lambda rest: not rest,
    ),
    *slash_tree.COMMANDS,
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
        "Show or set what chooses the best; vote compares a template's answers, else whole replies.",
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
        ("template",),
        "[NAME | -]",
        "Put your messages through a prompt template, or through none (-).",
        "/template summarize",
        _saying(slash_template.template),
    ),
    Command(
        ("technique",),
        "[T]",
        "How the template is put: zero-shot, few-shot, cot or few-shot-cot.",
        "/technique few-shot-cot",
        _saying(slash_template.technique),
    ),
    Command(
        ("shots",),
        "[K | -]",
        "How many of the template's examples are shown.",
        "/shots 2",
        _saying(slash_template.shots),
    ),
    Command(
        ("pick",),
        "[order | random:SEED | nearest]",
        "Which examples are shown.",
        "/pick nearest",
        _saying(slash_template.pick),
    ),
    Command(
        ("style",),
        "[turns | inline]",
        "Examples as turns of their own, or inside your message.",
        "/style inline",
        _saying(slash_template.style),
    ),
    Command(
        ("var",),
        "[NAME TEXT | NAME -]",
        "Give another input of the template, or free it (-).",
        "/var audience children of ten",
        _saying(slash_template.var),
    ),
    Command(
        ("save",),
        "FILE [--overwrite]",
        "Save the chat: .md is a transcript, .json everything.",
        "/save chat.md",
        _save,
    ),
    Command(("session",), "", "Say where this session is kept and how to go on with it.", "/session", _session),
    *slash_constraint.COMMANDS,
    *slash_views.COMMANDS,
    Command(("stats",), "", "Say how the model was loaded and what the latest reply cost.", "/stats", _stats),
    Command(("clear",), "", "Begin a new session; this one is kept.", "/clear", _clear),
    Command(("help", "?"), "[COMMAND]", "List the commands, or explain one.", "/help set", _help),
    Command(("bye", "exit", "quit"), "", "Leave.", "/bye", _bye),
)
BY_NAME: dict[str, Command] = {name: command for command in COMMANDS for name in command.names}

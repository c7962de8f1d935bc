"""The chat line by line: messages in, replies on stdout, all else on stderr.

For pipes, screen readers and dumb terminals. Knows nothing of models or stores; the chat does.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

from lmlab.backends import CandidateEnded, Failed, Finished, Loading, LoadSpec, Prefill, Ready, Started, Stopped, Token
from lmlab.cli import notices, report
from lmlab.cli.interrupt import endings_raised, first_interrupt
from lmlab.cli.lines import HELP, Lines, Typed
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout
from lmlab.errors import LmlabError
from lmlab.lab import slash
from lmlab.lab.candidate_words import standing
from lmlab.lab.chat import Chat
from lmlab.lab.events import (
    ChatEvent,
    Choosing,
    Chosen,
    Drawing,
    Fetching,
    ModelFailed,
    Notice,
    SaveFailed,
    SelectorFailed,
)
from lmlab.sampling import SamplingParams

# Windows runs signal handlers only between waits.
_WAIT_S = 0.2
_PREFILL_PATIENCE_S = 1.0


def run_plain(
    make_chat: Callable[[Callable[[ChatEvent], None]], Chat],
    *,
    model_ref: str | None,
    load: LoadSpec,
    history: Path,
    quiet: bool,
) -> int:
    """Chat until the input ends or the person leaves, and return the exit code."""
    inbox: queue.SimpleQueue[ChatEvent | None] = queue.SimpleQueue()
    chat = make_chat(inbox.put)
    try:
        with endings_raised():
            return _PlainChat(chat, inbox, load, Lines(history), quiet).run(model_ref)
    finally:
        chat.close()


class _PlainChat:
    def __init__(
        self,
        chat: Chat,
        inbox: queue.SimpleQueue[ChatEvent | None],
        load: LoadSpec,
        lines: Lines,
        quiet: bool,
    ) -> None:
        self._chat = chat
        self._inbox = inbox
        self._load = load
        self._lines = lines
        self._stdout = Stdout()
        self._quiet = quiet
        self._bars = Bars(quiet)
        self._notices = report.Notices(quiet)
        self._exit_code = 0
        self._said_error = ""
        self._sampling = SamplingParams()
        self._drawn = 1
        self._ended = 0
        self._standing = ""

    def run(self, model_ref: str | None) -> int:
        """Return 0, or from a pipe the exit code of the last message that failed or was interrupted."""
        self._greet()
        self._chat.open_model(model_ref)
        self._wait_for_model()
        if self._exit_code and not self._lines.terminal:
            return self._exit_code
        interrupted = False
        while True:
            try:
                typed = self._lines.read()
            except KeyboardInterrupt:
                if interrupted or not self._lines.terminal:
                    raise
                interrupted = True
                report.write_line("")
                report.write_line("Ctrl-C again leaves, and so do Ctrl-D and /bye")
                continue
            interrupted = False
            if typed is None or not self._answer(typed):
                return 0 if self._lines.terminal else self._exit_code

    def _greet(self) -> None:
        session = self._chat.session
        if session is not None:
            count = len(self._chat.turns)
            self._notices.say(f"going on with session {session.id} ({session.title}), {count} messages")
        if self._lines.terminal:
            self._notices.say("/help lists the commands, Ctrl-D leaves")

    def _answer(self, typed: Typed) -> bool:
        """Do what was typed and wait until it is done; return whether to go on."""
        if not typed.text.strip():
            return True
        self._drain()
        try:
            with first_interrupt(lambda: self._inbox.put(None)):
                if not typed.fenced and slash.is_command(typed.text):
                    return self._command(typed.text)
                self._chat.send(typed.text)
                self._wait_for_reply()
                return True
        except LmlabError as error:
            self._fail(error)
            return True

    def _command(self, line: str) -> bool:
        result = slash.run(self._chat, line)
        for text in result.lines:
            report.write_line(text)
        match result.action:
            case "quit":
                return False
            case "help":
                report.write_line(HELP)
            case "sent" | "resent":
                self._wait_for_reply()
            case "moved":
                if self._chat.turns and self._chat.turns[-1].reply is not None:
                    self._stdout.write(self._chat.turns[-1].content)
                    self._stdout.end_line()
            case "model":
                self._wait_for_model()
        return True

    # Waiting

    def _wait_for_model(self) -> None:
        while True:
            event = self._next()
            if event is None:
                raise KeyboardInterrupt
            self._show(event)
            if isinstance(event, Stopped):
                self._exit_code = event.error.exit_code
            if isinstance(event, Ready | ModelFailed | Stopped):
                return

    def _wait_for_reply(self) -> None:
        while True:
            event = self._next()
            if event is None:
                self._chat.stop()
                continue
            self._show(event)
            if isinstance(event, Finished | Failed):
                return

    def _next(self) -> ChatEvent | None:
        """Wait for the next event; None is Ctrl-C."""
        while True:
            try:
                return self._inbox.get(timeout=_WAIT_S)
            except queue.Empty:
                continue

    def _drain(self) -> None:
        """Show what happened while nothing was waited for."""
        while not self._inbox.empty():
            event = self._inbox.get()
            if event is not None:
                self._show(event)

    # Showing

    def _show(self, event: ChatEvent) -> None:
        match event:
            case Fetching(progress):
                self._bars.update(progress.label, progress.done, progress.total, size=True, patience=0)
            case Loading(fraction):
                self._bars.update("loading the model", fraction, 1)
            case Prefill(_, done, total):
                self._bars.update("reading the prompt", done, total, patience=_PREFILL_PATIENCE_S)
            case Token(text=text):
                # Of several, the one that is chosen is printed.
                if self._drawn == 1:
                    self._bars.clear()
                    self._stdout.write(text)
            case Drawing(candidates=count):
                self._drawn, self._ended = count, 0
            case CandidateEnded():
                self._ended += 1
                self._bars.update("drawing candidates", self._ended, self._drawn)
            case Choosing(selector=selector):
                self._bars.update(f"choosing by {selector}", 0, None)
            case Chosen(turn=turn):
                self._bars.clear()
                self._stdout.write(turn.content)
                self._standing = standing(turn.reply) if turn.reply is not None else ""
            case Started(sampling=sampling):
                self._sampling = sampling
                self._say(*notices.about_sampling(self._chat.asked, sampling))
            case Ready(info):
                self._say(*notices.about_load(self._load, info))
                self._bars.clear()
            case Notice(text):
                self._say(text)
            case Finished():
                self._finish(event)
            case Failed(error=error):
                if self._drawn > 1:
                    # None of it was printed yet.
                    self._bars.clear()
                    self._stdout.write(self._chat.turns[-1].content)
                self._drawn = 1
                self._fail(error)
            case ModelFailed(error) | SaveFailed(error) | SelectorFailed(error):
                self._fail(error)
            case Stopped(error):
                self._say_error(error)
            case _:
                pass

    def _finish(self, end: Finished) -> None:
        self._bars.clear()
        self._stdout.write(end.tail)
        self._stdout.end_line()
        self._said_error = ""
        if self._standing:
            self._say(self._standing)
        self._drawn, self._standing = 1, ""
        if (answer := self._chat.prompts.answer_line(*self._chat.turns[-2:])) is not None:
            self._say(answer)
        if end.reason == "cancelled":
            self._exit_code = report.INTERRUPTED
        self._say(*notices.about_end(end, self._sampling))
        if self._lines.terminal and not self._quiet:
            report.write_line(f"({notices.figures(end)})")

    def _say(self, *texts: str) -> None:
        if texts:
            self._bars.clear()
        for text in texts:
            self._notices.say(text)

    def _fail(self, error: LmlabError) -> None:
        self._exit_code = error.exit_code
        self._say_error(error)

    def _say_error(self, error: LmlabError) -> None:
        """Say ``error`` once: a dead engine is reported both of itself and of the reply that it was making."""
        self._bars.clear()
        self._stdout.end_line()
        if str(error) != self._said_error:
            self._said_error = str(error)
            report.say_error(error)

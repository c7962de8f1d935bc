"""``lmlab chat``: a conversation, on the screen or line by line. Knows which of the two, and nothing of either."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli.best_of_options import BestOfOptions
from lmlab.cli.complete import complete_model, complete_session
from lmlab.cli.constraint_options import ConstraintOptions
from lmlab.cli.load_options import LoadOptions, with_snapshots
from lmlab.cli.opener import local_backend
from lmlab.cli.options import (
    MODEL_HELP,
    GeneralOptions,
    ModelOption,
    SamplingOptions,
    SystemOption,
    grouped,
    option,
)
from lmlab.cli.prompt_options import PromptOptions
from lmlab.cli.streams import is_terminal
from lmlab.errors import UsageError
from lmlab.settings import Config, Paths, load_config

if TYPE_CHECKING:
    from lmlab.lab.chat import Chat, ChatEvent
    from lmlab.store import Session, Store
    from lmlab.tui.keymap import Keymap

EXAMPLES = """[bold]Examples[/bold]

lmlab chat

lmlab chat smollm2 --system "Answer in one sentence" --temp 0.2

lmlab chat --continue

lmlab chat --best-of 5 --select judge

lmlab chat -t word-problem --technique few-shot-cot --preset precise

lmlab chat --kv-type q8_0 --ctx-size 32768 --draft lookup

printf 'Hello\\n/set temp 0\\nAnd again\\n' | lmlab chat --plain"""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Which session is gone on with."""

    go_on: Annotated[bool, option("--continue", help="Go on with the session written to last.")] = False
    session: Annotated[
        str | None,
        option(
            "--session",
            metavar="ID",
            help="Go on with this session; the start of its id is enough. lmlab sessions list names them.",
            complete=complete_session,
        ),
    ] = None

    def check(self) -> None:
        """Raise UsageError when two sessions are named."""
        if self.go_on and self.session is not None:
            raise UsageError("--continue and --session name two sessions: give one of them")

    def find(self, store: Store) -> Session | None:
        """Return the session, None for a new one. Raises UsageError or StoreError when there is none such."""
        if self.session is not None:
            return store.session(self.session)
        if not self.go_on:
            return None
        session = store.latest_session()
        if session is None:
            raise UsageError("there is no session to continue yet: start one with lmlab chat")
        return session


@grouped
def chat(
    *,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help=MODEL_HELP, autocompletion=complete_model)
    ] = None,
    named: ModelOption = None,
    plain: Annotated[
        bool, option("--plain", help="Line by line, for pipes, screen readers and dumb terminals.")
    ] = False,
    going_on: SessionOptions,
    system: SystemOption = None,
    prompt: PromptOptions,
    best_of: BestOfOptions,
    constraints: ConstraintOptions,
    sampling: SamplingOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Talk to a model.

    On a terminal it fills the screen; anywhere else, and with --plain, it goes line by line. F1 lists the keys of the
    screen; the table \\[keys] of the config file changes them, for example tokens = "f5".
    """
    general.apply()
    params, spec = sampling.params(), load.spec()
    candidates, selector, constraint = best_of.candidates(), best_of.selector(), constraints.constraint()
    ref = _one_of(model, named)
    going_on.check()
    paths = Paths.find()
    config = load_config(paths.config)
    spec = with_snapshots(spec, paths, config)
    # What is wrong with the template is said before anything opens.
    templated = prompt.renderer(paths) is not None

    from lmlab.lab.chat import Chat
    from lmlab.lab.events import Notice
    from lmlab.store import Store

    store = Store(paths.database)
    try:
        resumed = going_on.find(store)

        def make_chat(listener: Callable[[ChatEvent], None]) -> Chat:
            chat = Chat(
                store=store,
                paths=paths,
                config=config,
                opener=load.saved(paths, lambda line: listener(Notice(line))).opener(local_backend(paths)),
                listener=listener,
                session=resumed,
                sampling=params,
                system=system,
                best_of=candidates,
                selector=selector,
                constraint=constraint,
                load=spec,
                offline=general.offline,
            )
            if templated:
                chat.set_template(prompt.template, prompt.approach(), prompt.variables())
            return chat

        if plain or not _may_fill_the_screen():
            from lmlab.cli.plain import run_plain

            code = run_plain(make_chat, model_ref=ref, load=spec, history=paths.history, quiet=general.quiet)
        else:
            code = _on_the_screen(make_chat, ref, paths, config)
    finally:
        store.close()
    raise typer.Exit(code)


def _on_the_screen(
    make_chat: Callable[[Callable[[ChatEvent], None]], Chat], ref: str | None, paths: Paths, config: Config
) -> int:
    from lmlab.tui import run_chat

    return run_chat(
        make_chat,
        model_ref=ref,
        theme=config.theme,
        history=paths.history,
        aliases=config.aliases,
        keys=_keymap(config, paths),
    )


def _one_of(model: str | None, named: str | None) -> str | None:
    if model is not None and named is not None:
        raise UsageError(f"two models are named, {model} and {named}: give one")
    return model or named


def _may_fill_the_screen() -> bool:
    # stderr too: it is what Textual draws on.
    terminals = all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))
    return terminals and os.environ.get("TERM") != "dumb"


def _keymap(config: Config, paths: Paths) -> Keymap:
    """Return the keys as the config has them. Raises UsageError that names the file."""
    from lmlab.tui.keys import keymap

    try:
        return keymap(config.keys)
    except UsageError as error:
        raise UsageError(f"{paths.config}: [keys] {error}") from None

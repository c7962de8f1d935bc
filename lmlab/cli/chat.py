"""``lmlab chat``: a conversation, on the screen or line by line. Knows which of the two, and nothing of either."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli.best_of_options import BestOfOptions
from lmlab.cli.complete import complete_model, complete_session
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
from lmlab.cli.streams import is_terminal
from lmlab.errors import UsageError
from lmlab.settings import Paths, load_config

if TYPE_CHECKING:
    from lmlab.lab.chat import Chat, ChatEvent
    from lmlab.store import Session, Store

EXAMPLES = """[bold]Examples[/bold]

lmlab chat

lmlab chat smollm2 --system "Answer in one sentence" --temp 0.2

lmlab chat --continue

lmlab chat --best-of 5 --select judge

lmlab chat --kv-type q8_0 --ctx-size 32768 --draft lookup

printf 'Hello\\n/set temp 0\\nAnd again\\n' | lmlab chat --plain"""


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
    go_on: Annotated[bool, option("--continue", help="Go on with the session written to last.")] = False,
    session: Annotated[
        str | None,
        option(
            "--session",
            metavar="ID",
            help="Go on with this session; the start of its id is enough. lmlab sessions list names them.",
            complete=complete_session,
        ),
    ] = None,
    system: SystemOption = None,
    best_of: BestOfOptions,
    sampling: SamplingOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Talk to a model.

    On a terminal it fills the screen; anywhere else, and with --plain, it goes line by line.
    """
    general.apply()
    params, spec = sampling.params(), load.spec()
    candidates, selector = best_of.candidates(), best_of.selector()
    ref = _one_of(model, named)
    if go_on and session is not None:
        raise UsageError("--continue and --session name two sessions: give one of them")
    paths = Paths.find()
    config = load_config(paths.config)
    spec = with_snapshots(spec, paths, config)

    from lmlab.lab.chat import Chat
    from lmlab.store import Store

    store = Store(paths.database)
    try:
        resumed = _session(store, go_on, session)

        def make_chat(listener: Callable[[ChatEvent], None]) -> Chat:
            return Chat(
                store=store,
                paths=paths,
                config=config,
                opener=local_backend(paths),
                listener=listener,
                session=resumed,
                sampling=params,
                system=system,
                best_of=candidates,
                selector=selector,
                load=spec,
                offline=general.offline,
            )

        if plain or not _may_fill_the_screen():
            from lmlab.cli.plain import run_plain

            code = run_plain(make_chat, model_ref=ref, load=spec, history=paths.history, quiet=general.quiet)
        else:
            from lmlab.tui import run_chat

            code = run_chat(make_chat, model_ref=ref, theme=config.theme, history=paths.history, aliases=config.aliases)
    finally:
        store.close()
    raise typer.Exit(code)


def _one_of(model: str | None, named: str | None) -> str | None:
    if model is not None and named is not None:
        raise UsageError(f"two models are named, {model} and {named}: give one")
    return model or named


def _may_fill_the_screen() -> bool:
    # stderr too: it is what Textual draws on.
    terminals = all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))
    return terminals and os.environ.get("TERM") != "dumb"


def _session(store: Store, latest: bool, name: str | None) -> Session | None:
    """Return the session to go on with, None for a new one. Raises UsageError or StoreError when there is none such."""
    if name is not None:
        return store.session(name)
    if not latest:
        return None
    session = store.latest_session()
    if session is None:
        raise UsageError("there is no session to continue yet: start one with lmlab chat")
    return session

"""The command palette: what keys do, and every slash command, in the order in which people want them; leaving last.

What has a key says it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from lmlab.lab import slash
from lmlab.tui.keys import ACTIONS
from lmlab.tui.screens.registry import VIEWS

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

_QUIT = next(action.title for action in ACTIONS if action.id == "quit")

_HAVE_A_KEY = {"regen", "clear", "help", "bye", *VIEWS}
"""Commands that are offered as what their key does."""


_ANYWHERE = {"help", "quit", *VIEWS}
"""Actions that are as good over a view; the others first go back to the chat, where they are seen."""


class Offer(NamedTuple):
    title: str
    help: str
    act: Callable[[], object]


def offers(app: ChatApp) -> list[Offer]:
    """Titles are Textual markup: nothing of a model's or a person's goes into them."""

    def command(name: str) -> Offer:
        found = slash.find(name)
        return Offer(f"/{name}", found.help, in_chat(partial(_run, app, found)))

    by_id = {action.id: action for action in ACTIONS}

    def key(name: str) -> Offer:
        action = by_id[name]
        act = partial(app.run_action, action.run, default_namespace=app)
        return Offer(action.title, f"{action.help} · {app.keys.all(name)}", act if name in _ANYWHERE else in_chat(act))

    def in_chat(act: Callable[[], object]) -> Callable[[], object]:
        return partial(_in_chat, app, act)

    offered = [
        Offer("Sampling", "Go to the sampling panel · tab", in_chat(app.panel.focus)),
        *map(key, ("regenerate", "tokens", "candidates", "tree", "prompt", "sessions")),
        *map(command, ("best-of", "select", "model", "system")),
        Offer("Light or dark", "The other of the two themes", app.action_toggle_theme),
        Offer("Theme", "Choose among all themes", app.action_change_theme),
        command("save"),
        *map(key, ("new-session", "help")),
        Offer("Stop", "Stop the reply · esc", app.action_stop),
        Offer("Copy the last reply", "To the clipboard", app.action_copy_reply),
        key("editor"),
    ]
    there = {offer.title for offer in offered}
    left = (name for name in (found.names[0] for found in slash.COMMANDS) if name not in _HAVE_A_KEY)
    return [*offered, *(command(name) for name in left if f"/{name}" not in there), key("quit")]


class Palette(Provider):
    """Feeds Textual's command palette, which by itself would sort by title."""

    async def discover(self) -> Hits:
        for offer in offers(cast("ChatApp", self.app)):
            yield DiscoveryHit(offer.title, offer.act, help=offer.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for offer in offers(cast("ChatApp", self.app)):
            if (score := matcher.match(offer.title)) > 0:
                # A letter and Enter too early shall not end it: leaving comes after whatever else matches.
                score *= 0.01 if offer.title == _QUIT else 1
                yield Hit(score, matcher.highlight(offer.title), offer.act, help=offer.help)


def _in_chat(app: ChatApp, act: Callable[[], object]) -> object:
    app.uncover()
    return act()


def _run(app: ChatApp, command: slash.Command) -> None:
    """Run a command that needs no argument; write the beginning of any other in an empty input."""
    line = f"/{command.names[0]}"
    if not command.arguments:
        app.action_slash(line)
    elif app.prompt.text:
        app.activity.flash(f"the input is not empty: send it or clear it, then type {line}")
    else:
        app.prompt.recall(f"{line} ")
        app.prompt.focus()

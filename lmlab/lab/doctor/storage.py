"""What was said so far: the sessions' database and the snapshots of prefixes."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from lmlab import snapshot_layout
from lmlab.lab.doctor.finding import Finding, counted, guarded
from lmlab.models import size_text
from lmlab.settings import Config, Paths
from lmlab.terminal_text import one_line

SECTION = "sessions"


def check(paths: Paths, config: Config) -> Iterator[Finding]:
    yield from guarded(SECTION, "database", functools.partial(_database, paths))
    yield from guarded(SECTION, "snapshots", functools.partial(_snapshots, paths, config))


def _database(paths: Paths) -> Iterator[Finding]:
    # Imported here: most of what is looked at needs no database.
    from lmlab.store.health import NEWEST, health

    found = health(paths.database)
    if found is None:
        yield Finding(SECTION, "database", "ok", "none yet: the first chat makes it")
        return
    sizes = size_text(found.size) + (f" and a log of {size_text(found.log)}" if found.log else "")
    text = f"{counted(found.sessions, 'session')}, {counted(found.turns, 'message')}, {sizes}"
    values = {
        "path": str(paths.database),
        "sessions": found.sessions,
        "turns": found.turns,
        "size": found.size,
        "log": found.log,
        "schema": found.schema,
        "newest_schema": NEWEST,
        "damage": list(found.damage),
    }
    if found.damage:
        said = one_line("; ".join(found.damage), 240)
        advice = (
            f"save what can be read (lmlab sessions export), then rename {paths.database} and lmlab starts a new one"
        )
        yield Finding(SECTION, "database", "broken", f"{text}; it is damaged: {said}", advice, values)
    elif found.schema < NEWEST:
        old = f"{text}; schema {found.schema} of {NEWEST}: the next chat brings it up to date"
        yield Finding(SECTION, "database", "note", old, values=values)
    else:
        yield Finding(SECTION, "database", "ok", f"{text}, whole", values=values)


def _snapshots(paths: Paths, config: Config) -> Iterator[Finding]:
    entries = list(snapshot_layout.entries(paths.snapshots))
    size, budget = sum(entry.size for entry in entries), config.snapshot_budget
    values = {"files": len(entries), "size": size, "budget": budget}
    if not budget:
        text = "switched off (snapshot_budget = 0)"
        left = f"; {size_text(size)} are left from before" if entries else ""
        advice = f"remove the folder {paths.snapshots}" if entries else None
        yield Finding(SECTION, "snapshots", "note" if entries else "ok", text + left, advice, values)
        return
    text = f"{counted(len(entries), 'prefix', 'prefixes')}, {size_text(size)} of the {size_text(budget)} they may take"
    # One that is being written now may go over it for a moment: it is cut back to the budget when that is done.
    if size > budget + budget // 10:
        advice = f"the next chat removes the oldest; or remove the folder {paths.snapshots}"
        yield Finding(SECTION, "snapshots", "warning", text, advice, values)
    else:
        yield Finding(SECTION, "snapshots", "ok", text, values=values)

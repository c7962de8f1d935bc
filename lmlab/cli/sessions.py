"""``lmlab sessions``: what was said earlier, listed, searched, shown, renamed, exported, imported, removed.

Opens no model.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.complete import complete_session
from lmlab.cli.help import Command, show_when_alone
from lmlab.cli.options import option
from lmlab.cli.streams import Stdout, is_terminal
from lmlab.errors import UsageError
from lmlab.settings import Paths
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.store import Session, Store

EXAMPLES = """[bold]Examples[/bold]

lmlab sessions list --search "prime numbers"

lmlab sessions show abc234

lmlab sessions rename abc234 "Prime numbers"

lmlab sessions export abc234 -o chat.json

lmlab sessions import chat.json

lmlab sessions remove abc234 def567"""

TITLE_LIMIT = 200

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The session's id; its start is enough.", autocompletion=complete_session),
]

app = typer.Typer(help="List, search, show, rename, export, import or remove earlier chats.")
app.callback(invoke_without_command=True)(show_when_alone)


@app.command("list", cls=Command)
def list_sessions(
    text: Annotated[
        str | None,
        option("--search", metavar="TEXT", help="Those in whose title or messages this is, in any case."),
    ] = None,
    as_json: Annotated[bool, option("--json", help="A JSON array in place of the table.")] = False,
) -> None:
    """List the sessions, the one written to last first.

    On a terminal as a table, anywhere else as a header and lines whose fields are separated by tabs. The size is that of
    a session's snapshots, which let it go on at once in a later program. With --search each has the first place in its
    messages where the text is; attached files are not searched.
    """
    from lmlab.cli import session_table
    from lmlab.store import snapshot_files

    if text is not None and not text.strip():
        raise UsageError("--search needs a text that is not empty")
    with _opened() as store:
        sizes = snapshot_files.sizes(Paths.find().snapshots)
        found = None if text is None else store.search(text)
        listed = store.sessions() if found is None else [one.session for one in found]
        rows = session_table.rows(listed, store.lengths(), sizes, found)
    stdout = Stdout()
    if as_json:
        stdout.json([row.to_dict() for row in rows])
    elif not stdout.terminal:
        stdout.write(session_table.tab_separated(rows, matches=text is not None))
    elif rows:
        stdout.write(session_table.table(rows))
    if not rows and text is not None:
        report.write_line(f"lmlab: {one_line(text, 60)!r} is in no title and no message")
    elif not rows:
        report.write_line("lmlab: there are no sessions yet: lmlab chat starts one")


@app.command("show", cls=Command)
def show(session: Id) -> None:
    """Print the transcript of a session."""
    from lmlab.lab.transcript import to_markdown

    with _opened() as store:
        found = store.session(session)
        turns = store.path(found.id)
    Stdout().write(to_markdown(found, turns))


@app.command("rename", cls=Command)
def rename(
    session: Id,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Its new title.")],
) -> None:
    """Give a session another title."""
    if not title.strip():
        raise UsageError("a title cannot be empty: give it some text")
    with _opened() as store:
        found = store.session(session)
        store.rename(found.id, one_line(title, TITLE_LIMIT))
    report.write_line(f"lmlab: {found.id} is now called {one_line(title, TITLE_LIMIT)}")


@app.command("export", cls=Command)
def export(
    session: Id,
    output: Annotated[
        str | None,
        option("-o", "--output", metavar="FILE", help="A .md or .json file. Default: Markdown on stdout."),
    ] = None,
    as_json: Annotated[bool, option("--json", help="Everything, branches too, as JSON.")] = False,
    force: Annotated[bool, option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write a session as Markdown, to read, or as JSON, with everything in it."""
    from lmlab.lab.export import save, to_json
    from lmlab.lab.transcript import to_markdown

    if force and output is None:
        raise UsageError("--force overwrites a file: name it with -o FILE")
    if as_json and output is not None and Path(output).suffix.lower() != ".json":
        raise UsageError(f"--json and -o {output} do not go together: end the name in .json")
    if output is not None and not force and os.path.lexists(Path(output).expanduser()):
        raise UsageError(f"{output} exists: choose another name, or overwrite it with --force")
    with _opened() as store:
        found = store.session(session)
        selected, tree, chosen = store.path(found.id), store.turns(found.id), store.chosen(found.id)
    stdout = Stdout()
    if output is not None:
        report.write_line(f"lmlab: wrote {save(output, found, selected, tree, chosen, overwrite=force)}")
    elif as_json:
        stdout.write(to_json(found, tree, chosen, ascii_only=stdout.terminal))
    else:
        stdout.write(to_markdown(found, selected, places=True))


@app.command("import", cls=Command)
def import_session(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .json or .md file that export wrote.")],
    again: Annotated[bool, option("--again", help="Also when it is there already: as another session.")] = False,
) -> None:
    """Bring back a session that was exported.

    JSON brings everything: all branches and how each reply was made. Markdown brings what was said on the selected
    path, and of attached files their names.
    """
    from lmlab.lab.importing import import_file

    with _opened() as store:
        session = import_file(store, file, again=again)
        count = len(store.turns(session.id))
    title = one_line(session.title, 60) or "no title"
    messages = "1 message" if count == 1 else f"{count:,} messages"
    report.write_line(f"lmlab: imported {session.id} ({title}, {messages}): lmlab chat --session {session.id}")


@app.command("remove", cls=Command)
def remove(
    sessions: Annotated[
        list[str],
        typer.Argument(
            metavar="ID", help="Ids of sessions; the start of one is enough.", autocompletion=complete_session
        ),
    ],
    yes: Annotated[bool, option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove sessions with all that was said in them, and their snapshots. There is no way back."""
    from lmlab.models import size_text
    from lmlab.store import snapshot_files

    ask = not yes
    if ask and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError("nobody can be asked whether to remove it: there is no terminal; --yes removes it unasked")
    with _opened() as store:
        found = tuple({session.id: session for session in map(store.session, sessions)}.values())
        if ask and not _confirmed(found, store.lengths()):
            report.write_line("lmlab: nothing was removed")
            raise typer.Exit(report.FAILED)
        with store.transaction():
            for session in found:
                store.remove(session.id)
    snapshots = Paths.find().snapshots
    freed = sum(snapshot_files.remove(snapshots, session.id) for session in found)
    removed = ", ".join(session.id for session in found)
    report.write_line(f"lmlab: removed {removed}" + (f" and {size_text(freed)} of snapshots" if freed else ""))


def _confirmed(sessions: tuple[Session, ...], lengths: dict[str, int]) -> bool:
    """Ask on stderr; Ctrl-D and anything but y or yes mean no."""
    for session in sessions:
        report.write_line(f"{session.id}  {session.title} ({lengths.get(session.id, 0)} messages)")
    question = "Remove it for good?" if len(sessions) == 1 else f"Remove these {len(sessions)} for good?"
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        # Ctrl-D leaves the cursor behind the question.
        report.write_line("")
    return answer.strip().lower() in ("y", "yes")


def _opened() -> closing[Store]:
    # Imported here: the database takes time to import, and the other commands need none.
    from lmlab.store import Store

    return closing(Store(Paths.find().database))

"""``lmlab models``: the models that are here, what they are, fetching and removing them, and names for them.

Loads none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import models_changes, models_quantize, report
from lmlab.cli.help import Command, show_when_alone
from lmlab.cli.models_complete import HERE_HELP, complete_here
from lmlab.cli.options import option
from lmlab.cli.streams import Stdout
from lmlab.errors import UsageError
from lmlab.models import ModelFile, find_here, size_text
from lmlab.settings import Paths, load_config

if TYPE_CHECKING:
    from lmlab.models.card import Card

EXAMPLES = """[bold]Examples[/bold]

lmlab models list

lmlab models pull hf:bartowski/Qwen2.5-1.5B-Instruct-GGUF

lmlab models show smollm2 gemma3-270m

lmlab models quantize model-F16.gguf Q4_K_M

lmlab models alias fast smollm2

lmlab models remove gemma3-270m"""

app = typer.Typer(help="List, fetch, inspect, quantize, name or remove models.")
app.callback(invoke_without_command=True)(show_when_alone)


def list_models(
    catalogue: Annotated[
        bool, option("--catalogue", help="The names that can be fetched, in place of what is here.")
    ] = False,
    as_json: Annotated[bool, option("--json", help="A JSON array in place of the table.")] = False,
) -> None:
    """List the models that can be used without fetching: lmlab's, and those that other programs keep.

    Looked for in lmlab's own folder, the Hugging Face cache, Ollama's store, LM Studio's folder, and the folders that
    model_folders in the config file names. On a terminal as a table, anywhere else as a header and lines whose fields are
    separated by tabs. A model that fits "short" does so with a context of fewer than 8,192 tokens.
    """
    from lmlab.cli import models_table
    from lmlab.models.here import models_here
    from lmlab.models.memory_need import available_memory

    paths = Paths.find()
    found, problems = models_here(paths, load_config(paths.config))
    for problem in problems:
        report.write_line(f"lmlab: {problem}")
    stdout = Stdout()
    available = available_memory()
    if catalogue:
        _list_catalogue(stdout, {name for one in found for name in (one.place.ref, *one.place.also)}, as_json)
    elif as_json:
        stdout.json([one.to_dict(available) for one in found])
    elif not stdout.terminal:
        stdout.write(models_table.tab_separated(found, available))
    elif found:
        stdout.write(models_table.table(found, available))
        whole = size_text(sum(one.facts.size for one in found))
        report.write_line(f"lmlab: {_models(len(found))}, {whole} on disk; {size_text(available)} of memory are free")
    if not found and not catalogue:
        report.write_line("lmlab: there are no models yet: lmlab models pull smollm2 fetches one")


def _list_catalogue(stdout: Stdout, here: set[str], as_json: bool) -> None:
    from lmlab.cli import models_table
    from lmlab.models.catalogue import ENTRIES, PackagedEntry

    if not as_json:
        stdout.write(models_table.catalogue(ENTRIES, here, for_people=stdout.terminal))
        return
    stdout.json(
        [
            {
                "name": entry.name,
                "title": entry.title,
                "repository": entry.hub.repo,
                "here": entry.name in here,
                "tested": isinstance(entry, PackagedEntry),
            }
            for entry in ENTRIES
        ]
    )


def show(
    refs: Annotated[
        list[str],
        typer.Argument(
            metavar="REF [REF]", help=f"{HERE_HELP} Two or more are lined up.", autocompletion=complete_here
        ),
    ],
    # No variable here: LMLAB_TEMPLATE names a prompt template.
    template: Annotated[bool, typer.Option("--template", help="Print the chat template, whole and alone.")] = False,
    as_json: Annotated[
        bool, option("--json", help="One JSON object; of several models an array, and what differs.")
    ] = False,
) -> None:
    """Show what a model's file says of it: its shape, its weights, what memory it takes, how it wants to be used.

    Of several models, ≠ marks the lines in which they differ. KV is what a context keeps for every token, by --kv-type.
    """
    from lmlab.cli import models_card
    from lmlab.models.card import card_of
    from lmlab.models.memory_need import available_memory

    if template and (as_json or len(refs) > 1):
        raise UsageError("--template prints one model's chat template and nothing else: give one REF and no --json")
    paths = Paths.find()
    config = load_config(paths.config)
    models = [find_here(ref, paths=paths, config=config) for ref in refs]
    stdout = Stdout()
    if template:
        _print_template(stdout, models[0])
        return
    cards = [card_of(model) for model in models]
    rows = models_card.rows(cards, available_memory())
    if as_json:
        stdout.json(_as_dict(cards))
    else:
        stdout.write(models_card.text(rows, width=models_card.terminal_width() if stdout.terminal else None))
    for model in models:
        if model.notice:
            report.write_line(f"lmlab: {model.ref}: {model.notice}")


def _print_template(stdout: Stdout, model: ModelFile) -> None:
    source = model.header.chat_template
    if source is None:
        raise UsageError(f"{model.ref} has no chat template: it is a base model, which continues text")
    stdout.write(source if source.endswith("\n") else source + "\n")


def _as_dict(cards: list[Card]) -> object:
    said = [card.to_dict() for card in cards]
    if len(said) == 1:
        return said[0]
    differing = [key for key in said[0] if any(one[key] != said[0][key] for one in said[1:])]
    shapes = [one["hyperparameters"] for one in said]
    shaped = [key for key in shapes[0] if any(shape[key] != shapes[0][key] for shape in shapes[1:])]
    return {"models": said, "different": differing, "different_hyperparameters": shaped}


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count:,} models"


# In the order of the help page.
app.command("list", cls=Command)(list_models)
app.command("pull", cls=Command)(models_changes.pull)
app.command("show", cls=Command)(show)
app.command("quantize", cls=Command, epilog=models_quantize.EXAMPLES)(models_quantize.quantize)
app.command("remove", cls=Command)(models_changes.remove)
app.command("alias", cls=Command)(models_changes.alias)

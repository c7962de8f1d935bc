"""``lmlab models quantize``: a model written anew with weights of another type, and what that costs and gains."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lmlab.cli import report
from lmlab.cli.interrupt import first_interrupt
from lmlab.cli.models_complete import HERE_HELP, complete_here
from lmlab.cli.models_quantize_options import QuantizationOptions, complete_type
from lmlab.cli.options import grouped, option
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout, decode, is_terminal
from lmlab.errors import UsageError
from lmlab.models import ModelFile, find_here, read_header
from lmlab.models.kv_size import is_encoder
from lmlab.models.quantizations import file_type
from lmlab.settings import Paths, expanded, load_config, private_folder

if TYPE_CHECKING:
    from lmlab.lab.quantized_cost import QuantizedCost
    from lmlab.lab.quantizing import Quantized, QuantizeOptions
    from lmlab.worker.quantizing.messages import Planned, Quantizing

_SAMPLE = "the examples of lmlab's prompt templates"

EXAMPLES = """[bold]Examples[/bold]

lmlab models quantize hf:owner/repo:F16 Q4_K_M

lmlab models quantize model-F16.gguf Q6_K -o small.gguf --compare

lmlab models quantize smollm2 Q4_0 --requantize --no-compare"""


@dataclass(slots=True)
class _Job:
    """One run of the command: where its progress goes, and whether Ctrl-C was pressed."""

    paths: Paths
    quiet: bool
    stopped: list[bool] = field(default_factory=list)

    def cancelled(self) -> bool:
        return bool(self.stopped)

    def write(self, model: ModelFile, ftype: str, target: Path, options: QuantizeOptions) -> Quantized:
        from lmlab.lab.quantizing import quantize

        bars = Bars(self.quiet)

        def show(said: Planned | Quantizing) -> None:
            bars.update(f"writing {target.name}", getattr(said, "fraction", 0.0), 1.0)

        try:
            with first_interrupt(lambda: self.stopped.append(True)):
                done = quantize(
                    model.path,
                    ftype,
                    target,
                    options=options,
                    log_folder=self.paths.logs,
                    progress=show,
                    cancelled=self.cancelled,
                )
        finally:
            bars.clear()
        if done is None:
            report.write_line("lmlab: stopped; nothing was written")
            raise typer.Exit(report.INTERRUPTED)
        return done

    def cost(self, done: Quantized, text: str, name: str, threads: int | None) -> QuantizedCost:
        from lmlab.lab.quantized_cost import measure_cost

        bars = Bars(self.quiet)
        try:
            with first_interrupt(lambda: self.stopped.append(True)):
                return measure_cost(
                    done.source,
                    done.path,
                    text,
                    name,
                    threads=threads,
                    log_folder=self.paths.logs,
                    stage=lambda what, fraction: bars.update(what, fraction, 1.0),
                    cancelled=self.cancelled,
                )
        finally:
            bars.clear()


@grouped
def quantize(
    *,
    ref: Annotated[str, typer.Argument(metavar="REF", help=HERE_HELP, autocompletion=complete_here)],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="What to write the weights as: Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, IQ4_XS, Q3_K_M ... by llama.cpp's names.",
            autocompletion=complete_type,
        ),
    ],
    # No variable here: LMLAB_OUTPUT is where a batch goes.
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Default: a new file in lmlab's folder, found by its name."
        ),
    ] = None,
    force: Annotated[bool, option("--force", help="Replace the file if it is there.")] = False,
    writing: QuantizationOptions,
    compare: Annotated[
        bool | None,
        typer.Option(
            "--compare/--no-compare",
            help="Measure what it costs and gains: KL divergence, agreement, perplexity and speed of both. Default: ask.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        option("--text", metavar="FILE", help=f"The text to compare over. Default: {_SAMPLE}, 7,500 words."),
    ] = None,
    as_json: Annotated[bool, option("--json", help="One JSON object in place of the table.")] = False,
    quiet: Annotated[bool, option("--quiet", help="No notices, no progress and no question; errors stay.")] = False,
) -> None:
    """Write a model anew with weights of another type: smaller, often faster, and a little less exact.

    Made of a model that is not quantized (F16, BF16, F32) it loses least. The new file is there whole or not at all. What
    the loss is can be measured at once, over a text and against the model it was made of.
    """
    ftype = file_type(kind)
    options = writing.values(force=force)
    measured = _text(text, compare)
    # Whoever names a text to compare over wants it compared.
    compare = True if measured is not None else compare
    paths = Paths.find()
    config = load_config(paths.config)
    model = find_here(ref, paths=paths, config=config)
    if compare:
        _check_speaks(model)
    from lmlab.lab import quantizing

    target = expanded(output).absolute() if output is not None else None
    if target is None:
        target = quantizing.default_target(model, ftype, private_folder(paths.models))
    job = _Job(paths, quiet)
    done = job.write(model, ftype, target, options)
    stdout, notices = Stdout(), report.Notices(quiet)
    for line in done.notices():
        notices.say(line)
    name = quantizing.name_of(done.path, paths, config)
    speaks = not is_encoder(done.after)
    use = f'"{name}"' if " " in name else name
    notices.say(f"wrote {done.path}" + (f"; use it with -m {use}" if speaks else ""))
    if not as_json:
        _show_result(stdout, done)
    cost = None
    if compare or (compare is None and speaks and not as_json and not quiet and _wanted()):
        cost = job.cost(done, *(measured or (_sample(), _SAMPLE)), options.threads)
    if as_json:
        stdout.json(_as_dict(done, name, cost))
    elif cost is not None:
        _show_cost(stdout, cost)
    if job.stopped:
        _stop(cost)


def _check_speaks(model: ModelFile) -> None:
    """Raise UsageError for a model that cannot be compared, before anything is written."""
    if is_encoder(read_header(model.path)):
        raise UsageError(
            f"{model.path.name} is an encoder and makes no text to compare: leave out --compare and --text"
        )


def _stop(cost: QuantizedCost | None) -> NoReturn:
    some = cost is not None and cost.divergence is not None
    report.write_line("lmlab: stopped" + (": these are the figures so far" if some else "; nothing was compared"))
    raise typer.Exit(report.INTERRUPTED)


def _text(file: str | None, compare: bool | None) -> tuple[str, str] | None:
    """Return the text to compare over and what it is called. Raises UsageError before anything is written."""
    if file is None:
        return None
    if compare is False:
        raise UsageError("--text is what models are compared over, and --no-compare forbids that: give one of them")
    try:
        return decode(expanded(file).read_bytes(), file), file
    except OSError as error:
        raise UsageError(f"--text {file}: cannot read it: {error.strerror or error}") from None


def _sample() -> str:
    from lmlab.lab.sample_text import sample_text

    return sample_text()


def _wanted() -> bool:
    """Ask on stderr whether to compare; Enter means yes, Ctrl-D no. No without anybody to ask."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return False
    sys.stderr.write("Compare it with the model it was made of? Both read 7,500 words; Ctrl-C ends that early. [Y/n] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        # Ctrl-D leaves the cursor behind the question.
        report.write_line("")
        return False
    return answer.strip().lower() in ("", "y", "yes")


def _show_result(stdout: Stdout, done: Quantized) -> None:
    from lmlab.cli import models_quantize_table as table

    stdout.write(table.drawn(table.result_rows(done)) if stdout.terminal else table.result_fields(done))


def _show_cost(stdout: Stdout, cost: QuantizedCost) -> None:
    from lmlab.cli import models_quantize_table as table

    if not stdout.terminal:
        stdout.write(table.cost_fields(cost))
        return
    if cost.before is not None:
        stdout.write("\n" + table.drawn(table.cost_rows(cost)))
    if cost.divergence is not None:
        lines = (f"over {cost.text}:", *cost.divergence.words())
        stdout.write("\n" + table.wrapped(lines, shutil.get_terminal_size().columns))


def _as_dict(done: Quantized, name: str, cost: QuantizedCost | None) -> dict[str, Any]:
    from dataclasses import asdict

    from lmlab.lab.quantizing import bits_per_weight

    def side(path: Path, header: Any) -> dict[str, Any]:
        return {
            "path": str(path),
            "quantization": header.quantization,
            "size": header.size,
            "bits_per_weight": bits_per_weight(header),
            "tensor_types": [asdict(kind) for kind in header.kinds],
        }

    return {
        "ref": name,
        "type": done.type,
        "before": side(done.source, done.before),
        "after": side(done.path, done.after),
        "fallbacks": done.fallbacks,
        "unweighted": done.unweighted,
        "seconds": done.seconds,
        "comparison": None if cost is None else cost.to_dict(),
    }

"""The options of ``lmlab models quantize`` that say how the file is written. Knows nothing of what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lmlab.cli.options import option, whole_number
from lmlab.models.quantizations import QUANTIZATIONS, TENSORS, tensor_type

if TYPE_CHECKING:
    from lmlab.lab.quantizing import QuantizeOptions

_MOST_THREADS = 512


def complete_type(incomplete: str) -> list[tuple[str, str]]:
    """Return the types that begin with ``incomplete``, in its case, each with the bits that a weight takes."""
    return [
        (name, f"{kind.bits:g} bits a weight" + (", needs --imatrix" if kind.needs_importance else ""))
        for known, kind in QUANTIZATIONS.items()
        if (name := _as_typed(known, incomplete)).startswith(incomplete)
    ]


def _complete_tensor_type(incomplete: str) -> list[tuple[str, str]]:
    names = (_as_typed(name, incomplete) for name in TENSORS)
    return [(name, "") for name in names if name.startswith(incomplete)]


def _as_typed(name: str, incomplete: str) -> str:
    """A shell takes what is offered only when it begins exactly as what is typed."""
    return name.lower() if incomplete.islower() else name


@dataclass(frozen=True, slots=True)
class QuantizationOptions:
    """How the file is written. Texts as typed."""

    requantize: Annotated[
        bool, option("--requantize", help="Take a model that is quantized already, too; what that lost stays lost.")
    ] = False
    importance: Annotated[
        str | None,
        option(
            "--imatrix", metavar="FILE", help="An importance matrix, made by llama.cpp's llama-imatrix of this model."
        ),
    ] = None
    pure: Annotated[bool, option("--pure", help="One type for every matrix, in place of a mixture.")] = False
    leave_output: Annotated[
        bool, option("--leave-output", help="Keep the output's tensor as it is: larger, and often better.")
    ] = False
    output_type: Annotated[
        str | None,
        option(
            "--output-type", metavar="TYPE", help="The type of the output's tensor.", complete=_complete_tensor_type
        ),
    ] = None
    token_embedding_type: Annotated[
        str | None,
        option(
            "--token-embedding-type",
            metavar="TYPE",
            help="The type of the token embeddings.",
            complete=_complete_tensor_type,
        ),
    ] = None
    threads: Annotated[str | None, option("--threads", metavar="N", help="Default: one a physical core.")] = None

    def count(self) -> int | None:
        return whole_number("--threads", self.threads, 1, _MOST_THREADS)

    def values(self, *, force: bool) -> QuantizeOptions:
        """Raises UsageError."""
        from lmlab.lab.quantizing import QuantizeOptions

        return QuantizeOptions(
            threads=self.count(),
            requantize=self.requantize,
            leave_output=self.leave_output,
            pure=self.pure,
            token_embedding=None if self.token_embedding_type is None else tensor_type(self.token_embedding_type),
            output=None if self.output_type is None else tensor_type(self.output_type),
            importance=self.importance,
            force=force,
        )

"""The options that say how a model is loaded. Knows nothing of what the values do."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmlab.backends import LoadSpec, Lora, Snapshots
from lmlab.cli.complete import complete_draft
from lmlab.cli.options import Completion, lines_of, option, whole_number, words
from lmlab.errors import UsageError
from lmlab.settings import Config, Paths
from lmlab.worker.messages import LARGEST_BATCH, KvType

if TYPE_CHECKING:
    from lmlab.lab.tuning.using import SavedSettings

# ggml has no room for more threads, and llama.cpp counts the context in 32 bits.
_MAX_THREADS = 512
_MAX_CONTEXT = 2**31 - 1

_FLASH = {"auto": None, "on": True, "off": False}
_KV_TYPES: tuple[KvType, ...] = typing.get_args(KvType)


def _complete_kv_type(incomplete: str) -> list[tuple[str, str]]:
    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{kind}", "") for kind in _KV_TYPES if kind.startswith(last)]


def _loading(*names: str, help: str, metavar: str = "", complete: Completion | None = None) -> Any:
    return option(*names, help=help, metavar=metavar, panel="Loading", complete=complete)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the model is loaded."""

    ctx_size: Annotated[
        str | None,
        _loading(
            "-c",
            "--ctx-size",
            metavar="N",
            help="Tokens of context; 0 is all the model was trained for. Default: that, up to 8192, less if memory is short.",
        ),
    ] = None
    gpu_layers: Annotated[
        str | None,
        _loading(
            "-ngl",
            "--gpu-layers",
            metavar="N|auto",
            help="Layers kept on the GPU; 0 is none, auto all of them. Default: auto.",
            complete=words("auto"),
        ),
    ] = None
    threads: Annotated[
        str | None,
        _loading(
            "--threads", metavar="N", help="CPU threads. Default: what bench --tune found, else one a physical core."
        ),
    ] = None
    ubatch: Annotated[
        str | None,
        _loading(
            "-ub",
            "--ubatch",
            "--ubatch-size",
            metavar="N",
            help=f"Tokens of a prompt computed at once, up to {LARGEST_BATCH}: more is often faster and takes more "
            "memory. Default: what bench --tune found, else 512.",
        ),
    ] = None
    flash_attn: Annotated[
        str | None,
        _loading(
            "--flash-attn",
            metavar="auto|on|off",
            help="Flash attention: faster, and needed for a quantized V cache. Default: auto, where it is supported.",
            complete=words(*_FLASH),
        ),
    ] = None
    kv_type: Annotated[
        str | None,
        _loading(
            "--kv-type",
            metavar="K[,V]",
            help=f"Type of the KV cache, or one for keys and one for values: {', '.join(_KV_TYPES)}. "
            "q8_0 takes about half the memory of f16. Default: f16.",
            complete=_complete_kv_type,
        ),
    ] = None
    lora: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a path may well hold one.
        typer.Option(
            "--lora",
            metavar="FILE[:SCALE]",
            help="Apply a LoRA adapter (GGUF), at a scale: 1 unless given. Repeatable; in LMLAB_LORA one a line.",
            rich_help_panel="Loading",
        ),
    ] = None
    draft: Annotated[
        str | None,
        _loading(
            "--draft",
            metavar="MODEL|lookup",
            help="Guess tokens ahead with a small model of the same family, or, with lookup, from what the text repeats. "
            "The reply is drawn as without it, and sooner where guesses are right.",
            complete=complete_draft,
        ),
    ] = None
    deterministic: Annotated[
        bool,
        _loading(
            "--deterministic",
            help="The same bytes for the same seed: one sequence at a time in fixed batches, nothing reused. Slower.",
        ),
    ] = False
    no_cache: Annotated[
        bool, _loading("--no-cache", help="Decode every prompt whole: reuse nothing, from memory or from disk.")
    ] = False

    def spec(self) -> LoadSpec:
        """Return how to load, with no path yet, and the draft as it was named. Raises UsageError that says what may be given."""
        layers = None if self.gpu_layers in (None, "auto") else self.gpu_layers
        key_type, value_type = _kv_types(self.kv_type)
        flash = _flash(self.flash_attn)
        if flash is False and value_type not in ("f32", "f16", "bf16"):
            raise UsageError(
                f"--kv-type {self.kv_type}: a {value_type} V cache needs flash attention: "
                f"leave out --flash-attn off, or quantize the K cache only, --kv-type {key_type},f16"
            )
        if self.deterministic and self.draft is not None:
            raise UsageError("--draft changes the shape of batches, which --deterministic fixes: give one of them")
        return LoadSpec(
            path="",
            context=whole_number("--ctx-size", self.ctx_size, 0, _MAX_CONTEXT),
            gpu_layers=whole_number("--gpu-layers", layers, 0, _MAX_CONTEXT, also="auto or "),
            threads=whole_number("--threads", self.threads, 1, _MAX_THREADS),
            flash_attention=flash,
            key_type=key_type,
            value_type=value_type,
            lora=_adapters(self.lora or lines_of("LMLAB_LORA")),
            draft=self.draft or None,
            ubatch=whole_number("--ubatch", self.ubatch, 1, LARGEST_BATCH),
            deterministic=self.deterministic,
            reuse=not self.no_cache,
        )

    def saved(self, paths: Paths, say: Callable[[str], None]) -> SavedSettings:
        """Return what puts in the settings that ``lmlab bench --tune`` found, where these options leave things open."""
        # Imported here: it brings in what opens models.
        from lmlab.lab.tuning.using import SavedSettings

        return SavedSettings(paths, kv_said=self.kv_type is not None, say=say)


def with_snapshots(spec: LoadSpec, paths: Paths, config: Config) -> LoadSpec:
    """Return ``spec`` with prefixes kept on disk as the config file has it; none where nothing is to be reused."""
    if not spec.reuse or spec.deterministic or not config.snapshot_budget:
        return spec
    return replace(spec, snapshots=Snapshots(str(paths.snapshots), config.snapshot_budget))


def _flash(text: str | None) -> bool | None:
    if text is not None and text not in _FLASH:
        raise UsageError(f"--flash-attn {text}: give auto, on or off")
    return None if text is None else _FLASH[text]


def _kv_types(text: str | None) -> tuple[KvType, KvType]:
    if text is None:
        return "f16", "f16"
    key, comma, value = text.partition(",")
    by_name: dict[str, KvType] = {name: name for name in _KV_TYPES}
    try:
        return by_name[key], by_name[value if comma else key]
    except KeyError as error:
        raise UsageError(
            f"--kv-type {text}: there is no type {error}; give one, or one for keys and one for values, of {', '.join(_KV_TYPES)}"
        ) from None


def _adapters(texts: list[str]) -> tuple[Lora, ...]:
    if not texts:
        return ()
    # Imported here: few command lines name an adapter.
    from lmlab.lab.variant import parse_lora

    return tuple(parse_lora(text, "--lora") for text in texts)

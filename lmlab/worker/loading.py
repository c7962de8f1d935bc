"""Loading: from a LoadSpec to a model, its engine and its prompt encoder, and what there is to say of them."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lmlab import memory
from lmlab.engine import Drafting, Engine, Scales, reuse_policy
from lmlab.engine.draft import DraftModel
from lmlab.errors import ModelLoadError, TemplateError, UsageError
from lmlab.llama import Adapters, Context, Library, Model
from lmlab.llama.compatibility import check_draft
from lmlab.sampling import recommended
from lmlab.worker.faults import settled
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import LOOKUP, Layout, LoadSpec, ModelInfo
from lmlab.worker.model_identity import SnapshotKey, file_identity, rope_parameters
from lmlab.worker.planning import BATCH, Plan, check_generates, open_context, plan, sequences, ubatch
from lmlab.worker.prompt import PromptEncoder
from lmlab.worker.snapshots import SnapshotStore
from lmlab.worker.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Loaded:
    """``snapshot_key`` names what a state decoded at given LoRA scales belongs to; ``snapshots`` None keeps none."""

    model: Model
    engine: Engine
    encoder: PromptEncoder
    info: ModelInfo
    lora: Scales
    snapshots: SnapshotStore | None
    snapshot_key: Callable[[Scales], str]

    def scales(self, asked: Scales | None) -> Scales:
        """Return the LoRA scales for a request. Raises UsageError when they are not one finite number an adapter."""
        if asked is None:
            return self.lora
        if len(asked) != len(self.lora):
            raise UsageError(f"{len(asked)} LoRA scales are given for {len(self.lora)} adapters: give one for each")
        if not all(math.isfinite(scale) for scale in asked):
            raise UsageError("a LoRA scale must be a finite number; 0 switches the adapter off")
        return asked


def load(
    spec: LoadSpec,
    library: Library,
    log: LoadLog,
    progress: Callable[[float], None],
    *,
    note: Callable[[str], None] = lambda line: None,
    available: Callable[[], int] = memory.available_memory,
) -> Loaded:
    """Load the model of ``spec``. Raises ModelLoadError with what llama.cpp said, or with the numbers when it cannot fit.

    ``note`` gets one line for whatever goes wrong with a snapshot. ``available`` returns the bytes of main memory there are.
    """
    begin = time.perf_counter()
    threads = spec.threads or default_threads()
    model, context, adapters, drafting, layout, gpu_layers = _open(spec, library, log, progress, available(), threads)
    asked, spec = spec, settled(spec, model)
    context.warm_up(max(model.vocabulary.bos, 0))
    info = model_info(
        spec,
        model,
        layout,
        log,
        context=context.size,
        reuse=reuse_policy(model) if spec.reuse and not spec.deterministic else "none",
        threads=threads,
        gpu_layers=gpu_layers,
        load_s=time.perf_counter() - begin,
        version=library.version,
    )
    engine = Engine(
        model,
        context,
        reuse=spec.reuse,
        deterministic=spec.deterministic,
        drafting=drafting,
        adapt=lambda scales: context.set_adapters(adapters, scales),
    )
    return Loaded(
        model=model,
        engine=engine,
        encoder=prompt_encoder(model),
        info=replace(info, alone=spec.sequences < asked.sequences),
        lora=tuple(adapter.scale for adapter in spec.lora),
        snapshots=_snapshots(spec, model, context.size, note),
        snapshot_key=_snapshot_key(spec, model, layout, library.version),
    )


def model_info(
    spec: LoadSpec,
    model: Model,
    layout: Layout,
    log: LoadLog,
    *,
    context: int,
    reuse: str,
    threads: int,
    gpu_layers: int,
    load_s: float,
    version: str,
) -> ModelInfo:
    """Return what there is to say of a model that has been loaded as ``layout`` has it."""
    source = model.chat_template
    return ModelInfo(
        path=spec.path,
        description=model.description,
        architecture=model.metadata("general.architecture") or "",
        parameters=model.parameters,
        size=model.size,
        vocabulary=model.vocabulary.size,
        context=context,
        context_trained=model.context_trained,
        chat_template=source is not None,
        template_hash=None if source is None else hashlib.sha256(source.encode()).hexdigest()[:16],
        recommended=recommended(model.metadata),
        reuse=reuse,
        threads=threads,
        devices=tuple(dict.fromkeys(log.devices)),
        gpu_layers=gpu_layers,
        load_s=load_s,
        llama_cpp=version,
        layout=layout,
        draft=spec.draft,
        deterministic=spec.deterministic,
    )


def prompt_encoder(model: Model) -> PromptEncoder:
    """Return what encodes prompts for ``model``, with its own chat template."""
    vocabulary = model.vocabulary
    special = {"bos_token": vocabulary.text(vocabulary.bos), "eos_token": vocabulary.text(vocabulary.eos)}
    return PromptEncoder(vocabulary, _template(model.chat_template, special), special)


class _Opened(NamedTuple):
    model: Model
    context: Context
    adapters: Adapters
    drafting: Drafting | None
    layout: Layout
    gpu_layers: int


def _open(
    spec: LoadSpec,
    library: Library,
    log: LoadLog,
    progress: Callable[[float], None],
    available: int,
    threads: int,
) -> _Opened:
    """Load everything that takes memory, once it is known to fit."""
    with quoting(log):
        planned = plan(spec, log, available, gpu=library.gpu_offload)
        log.forget_sizes()
        model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=progress, mapped=planned.mapped)
        check_generates(model, spec.path)
        # Before the context, which makes room for them.
        adapters = Adapters(model, [adapter.path for adapter in spec.lora])
        context = open_context(model, spec, planned.context, threads)
        if not context.has_memory:
            raise ModelLoadError(f"{spec.path} is an encoder: it makes embeddings and cannot generate text")
        # What the log says of a draft comes after: of it only the sizes belong here.
        layout = layout_of(
            spec, log, available, sequences=context.sequences, outputs=context.outputs, ubatch=context.ubatch
        )
        gpu_layers = log.gpu_layers
        drafting = _drafting(spec, model, planned, context.size, threads)
    layout = replace(layout, weights=log.weights, kv=log.kv, compute=log.compute)
    return _Opened(model, context, adapters, drafting, layout, gpu_layers)


def _snapshots(spec: LoadSpec, model: Model, context: int, note: Callable[[str], None]) -> SnapshotStore | None:
    if spec.snapshots is None or not spec.reuse or spec.deterministic:
        return None
    return SnapshotStore(
        Path(spec.snapshots.folder),
        spec.snapshots.budget,
        note,
        policy=reuse_policy(model),
        context=context,
        window=model.sliding_window,
    )


def _drafting(spec: LoadSpec, model: Model, planned: Plan, size: int, threads: int) -> Drafting | None:
    """Return what drafts for ``model``, in contexts of ``size`` tokens."""
    if spec.draft is None:
        return None
    if model.recurrent:
        raise ModelLoadError(
            f"{spec.path} keeps a recurrent state, which cannot be cut back after a wrong guess: leave out --draft"
        )
    if spec.draft == LOOKUP:
        return Drafting(None)
    draft = Model(spec.draft, gpu_layers=spec.gpu_layers, progress=lambda fraction: None, mapped=planned.mapped)
    check_draft(model, draft)
    context = Context(
        draft, context=size, sequences=sequences(spec), idle=0, batch=BATCH, threads=threads, ubatch=ubatch(spec)
    )
    return Drafting(DraftModel(draft, context, vocabulary=model.vocabulary.size))


def _snapshot_key(spec: LoadSpec, model: Model, layout: Layout, version: str) -> Callable[[Scales], str]:
    if spec.snapshots is None:
        identity, adapters = "", [""] * len(spec.lora)
    else:
        identity, adapters = file_identity(spec.path), [file_identity(adapter.path) for adapter in spec.lora]
    rope = rope_parameters(model)

    def key(scales: Scales) -> str:
        return SnapshotKey(
            model=identity,
            # An adapter that is off leaves no trace.
            lora=tuple((name, scale) for name, scale in zip(adapters, scales, strict=True) if scale),
            key_type=layout.key_type,
            value_type=layout.value_type,
            flash_attention=layout.flash_attention,
            rope=rope,
            kv_unified=True,
            swa_full=True,
            library=version,
        ).digest()

    return functools.lru_cache(64)(key)


def layout_of(spec: LoadSpec, log: LoadLog, available: int, *, sequences: int, outputs: int, ubatch: int) -> Layout:
    """Return how a context of this shape was laid out, from what llama.cpp has said so far."""
    return Layout(
        sequences=sequences,
        outputs=outputs,
        ubatch=ubatch,
        flash_attention=log.flash_attention,
        key_type=spec.key_type,
        value_type=spec.value_type,
        mapped=log.mapped,
        weights=log.weights,
        kv=log.kv,
        compute=log.compute,
        available=available,
    )


@contextmanager
def quoting(log: LoadLog) -> Iterator[None]:
    """Add what llama.cpp said last, if it complained, to an error that passes."""
    try:
        yield
    except ModelLoadError as error:
        detail = f" (it said: {log.reason})" if log.reason else ""
        raise ModelLoadError(f"{error}{detail}") from None


def _template(source: str | None, special: dict[str, str]) -> ChatTemplate | TemplateError | None:
    """Return the compiled template. One that cannot be used is an error for the chat that needs it, not for the model."""
    if source is None:
        return None
    if "{" not in source:
        name = " ".join(source.split())[:60]
        return TemplateError(
            f"the file names a built-in chat template ({name}) instead of carrying one: use --raw, or another file of this model"
        )
    try:
        return ChatTemplate(source, special)
    except TemplateError as error:
        return error


def default_threads() -> int:
    """Return one thread a physical core that this process may run on, as llama.cpp chooses."""
    try:
        allowed: set[int] = os.sched_getaffinity(0)
    except AttributeError:
        allowed = set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
                cores.add(file.read().strip())
        except OSError:
            # Not Linux: logical processors are all that can be counted; above four they are usually two a core.
            return len(allowed) if len(allowed) <= 4 else len(allowed) // 2
    return len(cores)

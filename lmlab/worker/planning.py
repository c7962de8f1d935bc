"""How a model is to be loaded so that it fits: its context, and where its weights lie; refused when it cannot fit.

Knows nothing of what is done with the model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lmlab import memory
from lmlab.engine import KEPT_PREFIXES, reuse_policy
from lmlab.errors import ModelLoadError
from lmlab.llama import Context, FileHeader, Model, read_file_header
from lmlab.llama.context import WHOLE_TYPES
from lmlab.llama.ranking import RankContext
from lmlab.memory import MemoryNeed
from lmlab.worker.faults import check_computed_rightly, settled
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import DEFAULT_CONTEXT, LARGEST_BATCH, LOOKUP, LoadSpec

BATCH = LARGEST_BATCH
UBATCH = 512
DRAFT_ROWS = 16
"""Rows of logits a step for drafted tokens, beside one a sequence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``context`` tokens; the weights ``mapped``, or in memory of their own."""

    context: int
    mapped: bool


def ubatch(spec: LoadSpec) -> int:
    """Return how many tokens are computed at once."""
    return spec.ubatch or UBATCH


def sequences(spec: LoadSpec) -> int:
    """Return how many sequences are decoded at once; fixed batches have one."""
    return 1 if spec.deterministic else spec.sequences


def plan(spec: LoadSpec, log: LoadLog, available: int, *, gpu: bool) -> Plan:
    """Decide how to load within ``available`` bytes. Raises ModelLoadError, before anything is loaded, when it cannot be.

    What clearly fits is only estimated from the file's header, else it is measured. A context that nobody asked for
    becomes as small as must be.
    """
    header = read_file_header(spec.path)
    beside = _beside(spec, gpu=gpu)
    estimate = None if header is None else _estimate(header, spec, gpu=gpu)
    if header is not None and estimate is not None and 2 * (estimate.total + beside) <= available:
        return Plan(context_size(spec.context, _trained(header)), _mapped(spec, gpu=gpu, roomy=True))
    model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=lambda fraction: None, measure=True)
    try:
        check_generates(model, spec.path)
        wanted = context_size(spec.context, model.context_trained)
        measured = partial(open_context, model, spec, threads=1)
        return fit(model, spec, header, log, available, wanted=wanted, open_one=measured, beside=beside, gpu=gpu)
    finally:
        model.close()


def fit(
    model: Model,
    spec: LoadSpec,
    header: FileHeader | None,
    log: LoadLog,
    available: int,
    *,
    wanted: int,
    open_one: Callable[[int], Context | RankContext],
    beside: int,
    gpu: bool,
) -> Plan:
    """Measure ``model``, which has no weights, with contexts that ``open_one`` makes; decide as ``plan`` does.

    ``wanted`` tokens are what it gets if they fit. ``beside``: bytes that are taken besides.
    """

    def need(context: int) -> MemoryNeed:
        return _measure(model, header, context, log, open_one, beside)

    fits, asked = memory.largest_context(need, wanted, available)
    if fits < wanted and (spec.context is not None or not fits):
        quantized = spec.key_type not in WHOLE_TYPES
        raise memory.refusal(spec.path, wanted, asked, available, fits, quantized=quantized)
    roomy = fits == wanted and 2 * asked.total <= available
    return Plan(fits, _mapped(spec, gpu=gpu, roomy=roomy))


def _mapped(spec: LoadSpec, *, gpu: bool, roomy: bool) -> bool:
    """Whether to read the weights from the file as needed.

    Weights in memory of their own can lie in huge pages, for which the worker is started with GLIBC_TUNABLES; those of
    a mapped file cannot. On Linux that made decoding 11 % faster for SmolLM2 and 25 % for Gemma 3. A file replaced or
    cut short meanwhile does no harm then either, where a mapped one ends the process. Only done where there is plenty of
    room: mapped weights can be dropped and read again when memory runs short, and are shared between workers.
    """
    on_cpu = not gpu or spec.gpu_layers == 0
    return not (sys.platform == "linux" and on_cpu and roomy)


def _estimate(header: FileHeader, spec: LoadSpec, *, gpu: bool) -> MemoryNeed | None:
    layers = header.numbers.get(f"{header.architecture}.block_count", 0)
    every = layers + 1 if isinstance(layers, int) else 0
    shape = memory.ContextShape(
        outputs=_outputs(spec),
        ubatch=ubatch(spec),
        flash_attention=spec.flash_attention is not False,
        key_type=spec.key_type,
        value_type=spec.value_type,
    )
    return memory.estimate(
        header.architecture,
        header.numbers,
        header.tensors,
        vocabulary=header.lengths.get("tokenizer.ggml.tokens", 0),
        context=context_size(spec.context, _trained(header)),
        shape=shape,
        offloaded=_offloaded(spec, every) if gpu else 0,
    )


def _measure(
    model: Model,
    header: FileHeader | None,
    context: int,
    log: LoadLog,
    open_one: Callable[[int], Context | RankContext],
    beside: int,
) -> MemoryNeed:
    """Return what a context of ``context`` tokens takes, as llama.cpp itself reckons for a model without its weights."""
    log.forget_sizes()
    open_one(context).close()
    layers = max(1, model.layers)
    kept = memory.host_share(layers, log.gpu_layers)
    weights = model.size * kept // layers
    if header is not None:
        weights = memory.host_weights(header.tensors, layers, log.gpu_layers)
    return MemoryNeed(weights + beside, log.kv_wanted * kept // layers, log.compute)


def _beside(spec: LoadSpec, *, gpu: bool) -> int:
    """Return the bytes that LoRA adapters and a draft model take."""
    try:
        total = sum(os.path.getsize(adapter.path) for adapter in spec.lora)
        if spec.draft in (None, LOOKUP):
            return total
        header = read_file_header(spec.draft or "")
        alone = replace(spec, draft=None, key_type="f16", value_type="f16")
        need = None if header is None else _estimate(header, alone, gpu=gpu)
        return total + (os.path.getsize(spec.draft or "") if need is None else need.weights + need.kv + need.compute)
    except OSError:
        # Said by whoever opens the file.
        return 0


def open_context(model: Model, spec: LoadSpec, context: int, threads: int) -> Context:
    spec = settled(spec, model)
    return Context(
        model,
        context=context,
        sequences=sequences(spec),
        idle=KEPT_PREFIXES[reuse_policy(model)],
        batch=BATCH,
        threads=threads,
        ubatch=ubatch(spec),
        outputs=_outputs(spec),
        flash_attention=spec.flash_attention,
        key_type=spec.key_type,
        value_type=spec.value_type,
    )


def _outputs(spec: LoadSpec) -> int:
    return sequences(spec) + (DRAFT_ROWS if spec.draft is not None else 0)


def _offloaded(spec: LoadSpec, every: int) -> int:
    return every if spec.gpu_layers is None else min(spec.gpu_layers, every)


def _trained(header: FileHeader) -> int:
    trained = header.numbers.get(f"{header.architecture}.context_length", 0)
    return trained if isinstance(trained, int) else 0


def context_size(asked: int | None, trained: int) -> int:
    if asked is None:
        return min(trained, DEFAULT_CONTEXT) or DEFAULT_CONTEXT
    return asked or trained or DEFAULT_CONTEXT


def check_generates(model: Model, path: str) -> None:
    """Refuse what can be loaded and cannot answer."""
    if model.ranks:
        raise ModelLoadError(
            f"{path} is a reward model or reranker: it scores answers and writes none: use another model, or this one to "
            "choose between candidates (--select reward:FILE)"
        )
    if not model.generates:
        raise ModelLoadError(
            f"{path} is not a model that continues text (an encoder or a diffusion model): use another"
        )
    if not model.causal:
        raise ModelLoadError(f"{path} is an encoder: it makes embeddings and cannot generate text")
    if model.vocabulary.size <= 0:
        raise ModelLoadError(
            f"{path} has no vocabulary, so it cannot read or write text: use another file of this model"
        )
    check_computed_rightly(model, path)

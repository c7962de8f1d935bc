"""Loading a reward model or reranker, so that it fits: from a LoadSpec to a model, its context and its prompt encoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from lmlab import memory
from lmlab.errors import ModelLoadError
from lmlab.llama import FileHeader, Library, Model, read_file_header
from lmlab.llama.ranking import CHUNK, RankContext, RankHead, rank_head, reads_whole
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import default_threads, layout_of, model_info, prompt_encoder, quoting
from lmlab.worker.messages import LoadSpec
from lmlab.worker.planning import Plan, context_size, fit, sequences
from lmlab.worker.ranking import LoadedRanker

WHOLE_CONTEXT = 2048
"""Tokens of a pair at most, when nobody asks, in a model that reads a pair in one piece: the memory that takes grows with
the square."""


def load_ranker(
    spec: LoadSpec,
    library: Library,
    log: LoadLog,
    progress: Callable[[float], None],
    *,
    note: Callable[[str], None] = lambda line: None,
    available: Callable[[], int] = memory.available_memory,
) -> LoadedRanker:
    """Load the model of ``spec`` to score answers. Raises ModelLoadError as ``load`` does, and when it has no rank head.

    ``note`` gets a line for the log.
    """
    begin = time.perf_counter()
    threads = spec.threads or default_threads()
    _check_spec(spec)
    free = available()
    with quoting(log):
        header = read_file_header(spec.path)
        planned, whole = _plan(spec, header, log, free, gpu=library.gpu_offload)
        log.forget_sizes()
        model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=progress, mapped=planned.mapped)
        head = _head(model, spec, header)
        context = _open(model, spec, head, planned.context, whole=whole, threads=threads)
    note(f"the score is output {head.score} of {head.outputs} ({', '.join(head.labels) or 'no labels'})")
    # So that the first pair does not pay for reading the weights in.
    context.score([[max(model.vocabulary.bos, 0)]])
    outputs = context.batch.capacity
    layout = layout_of(spec, log, free, sequences=context.sequences, outputs=outputs, ubatch=context.ubatch)
    return LoadedRanker(
        model=model,
        context=context,
        encoder=prompt_encoder(model),
        info=model_info(
            spec,
            model,
            layout,
            log,
            context=context.longest,
            reuse="none",
            threads=threads,
            gpu_layers=log.gpu_layers,
            load_s=time.perf_counter() - begin,
            version=library.version,
        ),
    )


def _check_spec(spec: LoadSpec) -> None:
    if spec.lora:
        raise ModelLoadError(f"{spec.path} is to score answers, where LoRA adapters are not applied: leave out --lora")
    if spec.draft is not None:
        raise ModelLoadError(f"{spec.path} is to score answers and draws no tokens: leave out --draft")


def _head(model: Model, spec: LoadSpec, header: FileHeader | None) -> RankHead:
    if header is None:
        raise ModelLoadError(f"the header of {spec.path} cannot be read, so it is not known to have a rank head")
    return rank_head(model, spec.path, header.tensors)


def _plan(spec: LoadSpec, header: FileHeader | None, log: LoadLog, available: int, *, gpu: bool) -> tuple[Plan, bool]:
    """Decide how to load within ``available`` bytes, and find whether the model reads a pair whole."""
    model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=lambda fraction: None, measure=True)
    try:
        head = _head(model, spec, header)
        if model.vocabulary.size <= 0:
            raise ModelLoadError(
                f"{spec.path} has no vocabulary, so it cannot read text: use another file of this model"
            )
        whole = reads_whole(model)
        wanted = _wanted(spec, model, whole=whole)
        measured = partial(_open, model, spec, head, whole=whole, threads=1)
        # The logits of a decoder's rows, which are allotted when it decodes. Those of an encoder are never written.
        beside = 0 if whole else 4 * CHUNK * model.vocabulary.size
        planned = fit(model, spec, header, log, available, wanted=wanted, open_one=measured, beside=beside, gpu=gpu)
        return planned, whole
    finally:
        model.close()


def _wanted(spec: LoadSpec, model: Model, *, whole: bool) -> int:
    wanted = context_size(spec.context, model.context_trained)
    if not whole:
        return wanted
    if spec.context is None:
        return min(wanted, WHOLE_CONTEXT)
    # It has no positions beyond those it was trained for.
    return min(wanted, model.context_trained or wanted)


def _open(model: Model, spec: LoadSpec, head: RankHead, context: int, *, whole: bool, threads: int) -> RankContext:
    return RankContext(
        model,
        head,
        context=context,
        sequences=sequences(spec),
        whole=whole,
        threads=threads,
        flash_attention=spec.flash_attention,
        key_type=spec.key_type,
        value_type=spec.value_type,
    )

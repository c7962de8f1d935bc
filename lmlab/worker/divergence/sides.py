"""The two models of a divergence: sized before anything is loaded, loaded when both fit, and read in lockstep."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from lmlab import memory
from lmlab.errors import EngineStopped, ModelLoadError, UsageError
from lmlab.llama import Adapters, Context, DecodeStatus, Model, read_file_header
from lmlab.llama.vocabulary_difference import vocabulary_difference
from lmlab.memory import MemoryNeed
from lmlab.worker.divergence.tally import Logits
from lmlab.worker.divergence.windows import Windows, windows
from lmlab.worker.faults import settled
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import default_threads, quoting
from lmlab.worker.messages import LoadSpec
from lmlab.worker.planning import check_generates

LOGITS = 1 << 27
"""Bytes of logits that are held at once, of each model: at 262k tokens those of 128 positions."""

_OWN_ARRAYS = 3 * 8
"""Bytes a token of the vocabulary: the three arrays in which two rows of logits are compared."""


class Side:
    """One model, loaded with its adapters, and a context for one window of ``size`` tokens."""

    def __init__(self, spec: LoadSpec, size: int, log: LoadLog, progress: Callable[[float], None]) -> None:
        _forget(log)
        with quoting(log):
            self.model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=progress)
            # Before the context, which makes room for them.
            self._adapters = Adapters(self.model, [adapter.path for adapter in spec.lora])
            self._context = _context(self.model, spec, size, spec.threads or default_threads())
        self._context.set_adapters(self._adapters, [adapter.scale for adapter in spec.lora])
        self._path = spec.path

    @property
    def rows(self) -> int:
        """How many tokens ``read`` takes at most."""
        return self._context.outputs

    def begin(self, tokens: Sequence[int]) -> None:
        """Forget the window before and read ``tokens``, whose logits are of no interest."""
        self._context.clear()
        self._read(tokens, 0, scored=False)

    def read(self, tokens: Sequence[int], position: int) -> list[Logits]:
        """Go on with ``tokens``, ``rows`` at most; return the logits of each, valid until the next call."""
        self._read(tokens, position, scored=True)
        return [self._context.logits(row) for row in range(len(tokens))]

    def close(self) -> None:
        self._context.close()
        self._adapters.close()
        self.model.close()

    def _read(self, tokens: Sequence[int], position: int, *, scored: bool) -> None:
        batch = self._context.batch
        batch.clear()
        batch.add(tokens, position, 0, logits=scored, every=scored)
        status = self._context.decode()
        if status is not DecodeStatus.DONE:
            raise EngineStopped(f"{self._path} could not be measured: {status.value}; try again")


def prepare(specs: Sequence[LoadSpec], text: str, log: LoadLog, available: int) -> Windows:
    """Cut ``text`` for both models of ``specs``, and see that they can be compared and fit into ``available`` bytes.

    Reads headers and vocabularies, no weights. Raises UsageError when the vocabularies differ or the text is too short,
    and ModelLoadError when a model cannot be used, or both together need more memory.
    """
    models: list[Model] = []
    try:
        for spec in specs:
            _forget(log)
            with quoting(log):
                models.append(Model(spec.path, gpu_layers=spec.gpu_layers, progress=_ignored, measure=True))
                check_generates(models[-1], spec.path)
        cut = _cut(specs, models, text)
        needs = [_need(spec, model, cut.size, log) for spec, model in zip(specs, models, strict=True)]
        _check_memory(specs, needs, models[0].vocabulary.size, available)
        return cut
    finally:
        for model in models:
            model.close()


def _cut(specs: Sequence[LoadSpec], models: Sequence[Model], text: str) -> Windows:
    names = f"{specs[0].path} and {specs[1].path} cannot be compared token by token"
    first, second = (model.vocabulary for model in models)
    if difference := vocabulary_difference(first, second):
        raise UsageError(f"{names}: {difference}; only models with one vocabulary can be")
    try:
        tokens, others = (vocabulary.tokenize(text, special=False) for vocabulary in (first, second))
    except UnicodeEncodeError as error:
        raise UsageError(f"the text is not valid Unicode at character {error.start:,}: save it as UTF-8") from None
    if tokens != others:
        place = next((at for at, pair in enumerate(zip(tokens, others, strict=False)) if pair[0] != pair[1]), -1)
        where = f"from token {place:,} on" if place >= 0 else "at its end"
        raise UsageError(f"{names}: they split the text differently, {where}; only models with one tokenizer can be")
    bos = first.bos if first.add_bos and first.bos >= 0 else None
    trained = [model.context_trained for model in models if model.context_trained > 0]
    return windows(tokens if bos is None else [bos, *tokens], bos, trained)


def _need(spec: LoadSpec, model: Model, size: int, log: LoadLog) -> MemoryNeed:
    """Return what ``model``, which has no weights, would take, as llama.cpp itself reckons."""
    _forget(log)
    with quoting(log):
        context = _context(model, spec, size, 1)
        continues = context.has_memory
        context.close()
    if not continues:
        raise ModelLoadError(f"{spec.path} is an encoder: it expects no next token, so nothing can be compared")
    header = read_file_header(spec.path)
    layers = max(1, model.layers)
    kept = memory.host_share(layers, log.gpu_layers)
    weights = model.size * kept // layers
    if header is not None:
        weights = memory.host_weights(header.tensors, layers, log.gpu_layers)
    try:
        weights += sum(os.path.getsize(adapter.path) for adapter in spec.lora)
    except OSError as error:
        raise ModelLoadError(f"cannot read the LoRA adapter {error.filename}: {error.strerror}") from None
    # The logits' own buffer is only made when something is decoded.
    outputs = 4 * _rows(model, size) * model.vocabulary.size
    return MemoryNeed(weights, log.kv_wanted * kept // layers, log.compute + outputs)


def _check_memory(specs: Sequence[LoadSpec], needs: Sequence[MemoryNeed], vocabulary: int, available: int) -> None:
    first, second = needs
    both = MemoryNeed(
        first.weights + second.weights,
        first.kv + second.kv,
        # A vocabulary is in memory twice, so what is reckoned for it beside a model is, too.
        first.compute + second.compute + memory.OWN + _OWN_ARRAYS * vocabulary,
    )
    if both.total > available:
        size = memory.size
        buffers = size(both.compute + memory.OWN)
        raise ModelLoadError(
            f"{specs[0].path} and {specs[1].path} need {size(both.total)} of memory together (weights "
            f"{size(first.weights)} and {size(second.weights)}, KV caches {size(both.kv)}, buffers {buffers}) and "
            f"{size(available)} are available: use files with smaller quantizations, or end other programs"
        )


def _context(model: Model, spec: LoadSpec, size: int, threads: int) -> Context:
    spec = settled(spec, model)
    return Context(
        model,
        context=size,
        sequences=1,
        idle=0,
        batch=size // 2,
        threads=threads,
        outputs=_rows(model, size),
        flash_attention=spec.flash_attention,
        key_type=spec.key_type,
        value_type=spec.value_type,
    )


def _rows(model: Model, size: int) -> int:
    """Return how many positions' logits are held at once; no more are scored in a window."""
    return max(1, min(LOGITS // (4 * model.vocabulary.size), size // 2))


def _forget(log: LoadLog) -> None:
    """Begin anew: what was said of one model is not to be said of the other."""
    log.forget_sizes()
    log.errors.clear()
    log.gpu_layers = 0


def _ignored(_fraction: float) -> None:
    """What has no weights loads in no time."""

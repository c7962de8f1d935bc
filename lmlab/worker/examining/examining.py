"""What llama.cpp was built for, and how a model would be laid out: sized by llama.cpp itself, without its weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict

from lmlab import memory
from lmlab.errors import ModelLoadError
from lmlab.llama import Library, Model
from lmlab.llama.devices import devices, ggml_version
from lmlab.llama.library import library_folder
from lmlab.worker.examining.messages import Build, ComputeDevice, LaidOut
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import default_threads, quoting
from lmlab.worker.messages import LoadSpec
from lmlab.worker.planning import check_generates, open_context, plan


def build(library: Library) -> Build:
    found = devices()
    return Build(
        binding=library.version,
        ggml=ggml_version(),
        folder=str(library_folder()),
        features=features(library.system_info),
        gpu_offload=library.gpu_offload,
        devices=None if found is None else tuple(ComputeDevice(**asdict(device)) for device in found),
        threads=default_threads(),
    )


def features(system_info: str) -> tuple[str, ...]:
    """Return what is on in ``CPU : SSE3 = 1 | AVX = 0 | ... | CUDA : ARCHS = 500,610 | ...``; a value other than 1 is kept."""
    found = []
    for part in system_info.split("|"):
        name, equals, value = part.rpartition(":")[2].partition("=")
        if equals and value.strip() not in ("0", ""):
            found.append(name.strip() if value.strip() == "1" else f"{name.strip()}={value.strip()}")
    return tuple(dict.fromkeys(found))


def layout(
    spec: LoadSpec, library: Library, log: LoadLog, *, available: Callable[[], int] = memory.available_memory
) -> LaidOut:
    """Return how the model of ``spec`` would be loaded. Raises ModelLoadError as loading it would."""
    there = available()
    threads = spec.threads or default_threads()
    with quoting(log):
        planned = plan(spec, log, there, gpu=library.gpu_offload)
        model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=lambda fraction: None, measure=True)
        with closing(model):
            check_generates(model, spec.path)
            log.forget_sizes()
            with closing(open_context(model, spec, planned.context, threads)) as context:
                if not context.has_memory:
                    raise ModelLoadError(f"{spec.path} is an encoder: it makes embeddings and cannot generate text")
                return LaidOut(
                    context=context.size,
                    context_trained=model.context_trained,
                    sequences=context.sequences,
                    outputs=context.outputs,
                    ubatch=context.ubatch,
                    threads=threads,
                    flash_attention=log.flash_attention,
                    mapped=planned.mapped,
                    weights=model.size,
                    kv=log.kv_wanted,
                    compute=log.compute,
                    available=there,
                )

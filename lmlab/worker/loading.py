"""Loading: from a LoadSpec to a model, its engine and its prompt encoder, and what there is to say of them."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lmlab.engine import Engine
from lmlab.engine.engine import KEPT_PREFIXES, reuse_policy
from lmlab.errors import ModelLoadError, TemplateError
from lmlab.llama import Context, Library, Model
from lmlab.sampling import recommended
from lmlab.worker.messages import LoadSpec, ModelInfo
from lmlab.worker.prompt import PromptEncoder
from lmlab.worker.template import ChatTemplate

DEFAULT_CONTEXT = 8192
BATCH = 2048


@dataclass(slots=True)
class LoadLog:
    """What llama.cpp says while it loads, as far as it is worth repeating."""

    errors: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    gpu_layers: int = 0

    def take(self, level: str, line: str) -> None:
        if level == "error":
            self.errors.append(line.split(": ", 1)[-1].strip())
        if found := re.search(r"using device (\S+) \((.+?)\)", line):
            self.devices.append(found.group(2))
        if found := re.search(r"offloaded (\d+)/\d+ layers to GPU", line):
            self.gpu_layers = int(found.group(1))


@dataclass(frozen=True, slots=True)
class Loaded:
    model: Model
    engine: Engine
    encoder: PromptEncoder
    info: ModelInfo


def load(spec: LoadSpec, library: Library, log: LoadLog, progress: Callable[[float], None]) -> Loaded:
    """Load the model of ``spec``. Raises ModelLoadError with what llama.cpp said."""
    begin = time.perf_counter()
    try:
        model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=progress)
        _check(model, spec.path)
        threads = spec.threads or default_threads()
        policy = reuse_policy(model)
        context = Context(
            model,
            context=_context_size(spec.context, model.context_trained),
            sequences=spec.sequences,
            idle=KEPT_PREFIXES[policy],
            batch=BATCH,
            threads=threads,
        )
    except ModelLoadError as error:
        detail = f" (it said: {log.errors[-1]})" if log.errors else ""
        raise ModelLoadError(f"{error}{detail}") from None
    if not context.has_memory:
        raise ModelLoadError(f"{spec.path} is an encoder: it makes embeddings and cannot generate text")
    vocabulary = model.vocabulary
    context.warm_up(max(vocabulary.bos, 0))
    source = model.chat_template
    special = {"bos_token": vocabulary.text(vocabulary.bos), "eos_token": vocabulary.text(vocabulary.eos)}
    info = ModelInfo(
        path=spec.path,
        description=model.description,
        architecture=model.metadata("general.architecture") or "",
        parameters=model.parameters,
        size=model.size,
        vocabulary=vocabulary.size,
        context=context.size,
        context_trained=model.context_trained,
        chat_template=source is not None,
        template_hash=None if source is None else hashlib.sha256(source.encode()).hexdigest()[:16],
        recommended=recommended(model.metadata),
        reuse=policy,
        threads=threads,
        devices=tuple(dict.fromkeys(log.devices)),
        gpu_layers=log.gpu_layers,
        load_s=time.perf_counter() - begin,
        llama_cpp=library.version,
    )
    encoder = PromptEncoder(vocabulary, _template(source, special), special)
    return Loaded(model, Engine(model, context), encoder, info)


def _check(model: Model, path: str) -> None:
    if not model.generates:
        raise ModelLoadError(
            f"{path} is not a model that continues text (an encoder or a diffusion model): use another"
        )
    if model.vocabulary.size <= 0:
        raise ModelLoadError(
            f"{path} has no vocabulary, so it cannot read or write text: use another file of this model"
        )


def _context_size(asked: int | None, trained: int) -> int:
    if asked is None:
        return min(trained, DEFAULT_CONTEXT)
    return asked or trained


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

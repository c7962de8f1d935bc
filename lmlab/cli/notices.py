"""What a person should know about a model or a reply, in sentences. Knows nothing of where they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.backends import Finished, LoadSpec, ModelInfo
from lmlab.lab.best_of import Candidate
from lmlab.models import ModelFile
from lmlab.models.catalogue import STARTER
from lmlab.sampling import BY_NAME, SamplingParams, ineffective
from lmlab.worker.messages import DEFAULT_CONTEXT

_CONTEXT_STEP = 256


def about_base_model(model: ModelFile) -> str:
    """Return what a base model does with a prompt and, when nobody named it now, how it came to be the one."""
    subject = f"the model used last, {model.ref}," if model.used_last else model.ref
    return (
        f"{subject} is a base model (its file has no chat template): it continues the text; "
        f"for answers choose another, such as -m {STARTER.name}"
    )


def about_load(spec: LoadSpec, info: ModelInfo) -> Iterator[str]:
    """Yield where the loaded model is not as ``spec`` asked for."""
    if spec.context and info.context < spec.context:
        yield f"the context is {info.context:,} tokens, not the {spec.context:,} asked for"
    if spec.context and info.context > spec.context:
        yield (
            f"the context is {info.context:,} tokens, not {spec.context:,}: "
            f"llama.cpp allots them in steps of {_CONTEXT_STEP}"
        )
    if spec.context and info.context > info.context_trained > 0 and spec.context > info.context_trained:
        yield f"the context is {info.context:,} tokens; beyond the {info.context_trained:,} it was trained for, the model may ramble"
    usual = min(info.context_trained, DEFAULT_CONTEXT)
    if spec.context is None and info.context < usual:
        yield (
            f"the context is {info.context:,} tokens, not {usual:,}: "
            f"no more fits the {info.layout.available / 1e9:.1f} GB of memory there were; --kv-type q8_0 takes less"
        )
    if info.alone:
        yield f"sequences are decoded one at a time: this llama.cpp mixes up what {info.architecture} models remember of several"
    if spec.ubatch and info.layout.ubatch < spec.ubatch:
        yield f"{info.layout.ubatch} tokens are computed at once, not {spec.ubatch}: the context holds no more"
    if spec.flash_attention and not info.layout.flash_attention:
        yield "flash attention is off: this model does not support it here"
    if spec.gpu_layers and info.gpu_layers < spec.gpu_layers:
        devices = ", ".join(info.devices) or "CPU"
        yield f"{info.gpu_layers} layers are on the GPU, not the {spec.gpu_layers} asked for; in use: {devices}"


def about_sampling(asked: SamplingParams, used: SamplingParams) -> Iterator[str]:
    """Yield the parameters that were asked for and cannot change anything."""
    for name, reason in ineffective(used).items():
        if getattr(asked, name) is not None:
            yield f"{BY_NAME[name].label} {BY_NAME[name].format(getattr(asked, name))}: {reason}"


def about_end(end: Finished, sampling: SamplingParams) -> Iterator[str]:
    """Yield why a reply ended, when the model did not end it."""
    if end.reason == "length":
        yield f"the reply was ended at {_tokens(sampling.max_tokens or len(end.tokens))}, as --max-tokens says"
    elif end.reason == "context":
        yield (
            f"the reply was ended because the context is full at {end.context_used:,} tokens: "
            "make it larger with --ctx-size (0 is all the model was trained for)"
        )


def about_choice(
    candidates: tuple[Candidate, ...], best: Candidate, selector: str | None, why: str, saved: int
) -> Iterator[str]:
    """Yield which of several candidates is the reply and what spoke for it."""
    line = f"candidate {best.index + 1} of {len(candidates)}"
    yield line + (f", by {selector}: {why}" if selector else "")
    if saved:
        yield f"{saved} of {len(candidates)} candidates were not drawn to their end: they could not change the choice"
    if best.reason in ("length", "context"):
        limit = "--max-tokens" if best.reason == "length" else "the end of the context"
        yield f"this candidate was ended by {limit}"


def figures(end: Finished) -> str:
    """Return a reply's size and speed in a few words."""
    usage, timings = end.usage, end.timings
    parts = [_tokens(usage.completion_tokens)]
    if timings.decode_tokens_per_s is not None:
        parts.append(f"{timings.decode_tokens_per_s:.0f} tok/s")
    if timings.ttft_s is not None:
        parts.append(f"first token {timings.ttft_s:.2f} s")
    parts.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} cached")
    return " · ".join(parts)


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"

"""How a model was loaded, and how the latest reply went, in words. Knows nothing of where they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.backends import ModelInfo, Timings, Usage
from lmlab.models.progress import size_text


def about_engine(info: ModelInfo) -> Iterator[str]:
    """Yield what was chosen for a loaded model, a line each."""
    layout = info.layout
    yield (
        f"context {info.context:,} tokens, up to {layout.sequences} sequences at once, {layout.outputs} rows of logits "
        f"a step, micro-batches of {layout.ubatch} tokens"
    )
    attention = "on" if layout.flash_attention else "off"
    yield f"flash attention {attention}, KV cache {layout.key_type} (K) and {layout.value_type} (V), reuse: {info.reuse}"
    weights = "mapped from the file" if layout.mapped else "in memory of their own"
    yield (
        f"memory: weights {size_text(layout.weights)} ({weights}), KV cache {size_text(layout.kv)}, "
        f"buffers {size_text(layout.compute)}; {size_text(layout.available)} were free"
    )
    where = f"{info.gpu_layers} layers on {', '.join(info.devices)}" if info.gpu_layers else "on the processor"
    drafts = f", drafts by {info.draft}" if info.draft else ""
    yield f"{where}, {info.threads} threads{drafts}, llama-cpp-python {info.llama_cpp}"


def about_reply(usage: Usage | None, timings: Timings | None) -> Iterator[str]:
    """Yield what the latest reply cost, a line each."""
    if usage is None or timings is None:
        return
    restored = f", {usage.restored_tokens:,} of them from disk" if usage.restored_tokens else ""
    yield (
        f"latest reply: {usage.prompt_tokens:,} prompt tokens, {usage.cached_tokens:,} cached{restored}; "
        f"{usage.completion_tokens:,} drawn"
    )
    rates = [
        f"{name} {value:,.{digits}f} {unit}"
        for name, value, unit, digits in (
            ("first token", timings.ttft_s, "s", 2),
            ("prefill", timings.prefill_tokens_per_s, "tokens/s", 0),
            ("decode", timings.decode_tokens_per_s, "tokens/s", 1),
        )
        if value is not None
    ]
    if timings.draft_tokens:
        share = (timings.draft_accepted or 0) / timings.draft_tokens
        rates.append(f"{share:.0%} of {timings.draft_tokens:,} drafted tokens were right")
    if rates:
        yield ", ".join(rates)

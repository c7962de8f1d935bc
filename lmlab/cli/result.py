"""A result as the JSON object that scripts rely on. Knows nothing of where it is written."""

from __future__ import annotations

from typing import Any

from lmlab import __version__
from lmlab.backends import ModelInfo
from lmlab.lab.generate import GenerateResult
from lmlab.models import fingerprint


def result_json(result: GenerateResult) -> dict[str, Any]:
    """Return ``result`` as plain JSON values. With one candidate there is nothing to select, so ``selector`` is null."""
    timings = result.timings
    return {
        "text": result.text,
        "finish_reason": result.reason,
        "candidates": [
            {
                "text": result.text,
                "score": result.logprob,
                "finish_reason": result.reason,
                "tokens": result.completion_tokens,
            }
        ],
        "selected": 0,
        "selector": None,
        "usage": {
            "prompt_tokens": result.usage.prompt_tokens,
            "cached_tokens": result.usage.cached_tokens,
            "restored_tokens": result.usage.restored_tokens,
            "completion_tokens": result.usage.completion_tokens,
        },
        "timings": {
            "load_s": result.info.load_s,
            "ttft_s": timings.ttft_s if timings else None,
            "prefill_tokens_per_s": timings.prefill_tokens_per_s if timings else None,
            "decode_tokens_per_s": timings.decode_tokens_per_s if timings else None,
            "draft_tokens": timings.draft_tokens if timings else None,
            "draft_accepted": timings.draft_accepted if timings else None,
        },
        "sampling": result.sampling.to_dict(),
        "engine": _engine(result.info),
        "model": {
            "ref": result.model.ref,
            "fingerprint": fingerprint(result.model.path),
            "quantization": result.model.header.quantization,
        },
        "versions": {"lmlab": __version__, "llama_cpp": result.info.llama_cpp},
    }


def _engine(info: ModelInfo) -> dict[str, Any]:
    layout = info.layout
    return {
        "context": info.context,
        "sequences": layout.sequences,
        "outputs": layout.outputs,
        "ubatch": layout.ubatch,
        "threads": info.threads,
        "gpu_layers": info.gpu_layers,
        "flash_attention": layout.flash_attention,
        "kv_type": f"{layout.key_type},{layout.value_type}",
        "reuse": info.reuse,
        "draft": info.draft,
        "deterministic": info.deterministic,
        "memory": {
            "weights": layout.weights,
            "weights_mapped": layout.mapped,
            "kv": layout.kv,
            "compute": layout.compute,
            "available": layout.available,
        },
    }

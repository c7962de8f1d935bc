"""A reply as the JSON object that scripts rely on. Knows nothing of where it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmlab import __version__
from lmlab.backends import ModelInfo, Timings, Usage
from lmlab.lab.best_of import Candidate
from lmlab.models import ModelFile
from lmlab.sampling import SamplingParams


class Source:
    """Where replies come from: what is the same for all that a loaded model gives."""

    def __init__(self, model: ModelFile, info: ModelInfo) -> None:
        self.load_s = info.load_s
        self.engine = _engine(info)
        self.model = {
            "ref": model.ref,
            "fingerprint": model.fingerprint,
            "quantization": model.header.quantization,
        }
        self.versions = {"lmlab": __version__, "llama_cpp": info.llama_cpp}


def result_json(
    source: Source,
    candidates: Sequence[Candidate],
    *,
    selected: int,
    selector: str | None,
    why: str | None,
    usage: Usage,
    timings: Timings | None,
    sampling: SamplingParams,
    answers: bool,
) -> dict[str, Any]:
    """Return a reply as plain JSON values. With one candidate and no selector there is nothing to select: null, and the
    score is the mean log-probability where it is known. ``answers``: a template reads them off the texts; else null.
    """
    best = next(candidate for candidate in candidates if candidate.index == selected)
    return {
        "text": best.text,
        "finish_reason": best.reason,
        "answer": best.answer if answers else None,
        "candidates": [_candidate(candidate, selector, answers) for candidate in candidates],
        "selected": selected,
        "selector": selector,
        "why": why,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "restored_tokens": usage.restored_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "timings": {
            "load_s": source.load_s,
            "ttft_s": timings.ttft_s if timings else None,
            "prefill_tokens_per_s": timings.prefill_tokens_per_s if timings else None,
            "decode_tokens_per_s": timings.decode_tokens_per_s if timings else None,
            "draft_tokens": timings.draft_tokens if timings else None,
            "draft_accepted": timings.draft_accepted if timings else None,
        },
        "sampling": sampling.to_dict(),
        "engine": source.engine,
        "model": source.model,
        "versions": source.versions,
    }


def _candidate(candidate: Candidate, selector: str | None, answers: bool) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "score": candidate.logprob if selector is None else candidate.score,
        "logprob": candidate.logprob,
        "answer": candidate.answer if answers else None,
        "finish_reason": candidate.reason,
        "tokens": len(candidate.tokens),
        "note": candidate.note or None,
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

"""Benchmarks made up for tests of what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

from lmlab.lab.bench.amounts import Amounts, Key
from lmlab.lab.bench.report import Figure, Report, Result
from lmlab.lab.bench.spread import spread_of

PREFILL, DECODE, DEEP = Key("prefill"), Key("decode"), Key("decode", 1024)
LOAD = {
    "threads": 2,
    "context": 8192,
    "gpu_layers": 0,
    "devices": [],
    "llama_cpp": "0.3.36",
    "ubatch": 512,
    "flash_attention": True,
    "kv_type": "f16,f16",
    "mapped": False,
    "lora": [],
    "draft": None,
    "deterministic": False,
    "reuse": True,
}


def result(label: str = "smollm2", *, fingerprint: str = "f" * 16, **runs: Sequence[float]) -> Result:
    """Return a result with ``prefill``, ``decode`` and ``deep`` figures, decoding of some bound."""
    keys = {"prefill": PREFILL, "decode": DECODE, "deep": DEEP, "first_token": Key("first_token", 1000)}
    keys["together"] = Key("decode_together", 128, 4)
    figures = tuple(
        Figure(
            keys[name],
            spread_of(values),
            bound=4 * max(values) if name in ("decode", "deep") else None,
            tokens=998 if name == "first_token" else None,
        )
        for name, values in runs.items()
    )
    model = {"ref": label, "fingerprint": fingerprint, "quantization": "Q4_1", "size": 98_000_000, "parameters": 1}
    bandwidth = spread_of([50e9, 48e9, 51e9])
    return Result(label, model, dict(LOAD), bandwidth, 89_000_000, figures)


def report(*results: Result, id: str = "0123abcd", **machine: object) -> Report:
    return Report(
        id=id,
        when="2026-11-22T11:00:00+01:00",
        command="lmlab bench",
        machine={"processor": "A processor, 2 logical processors", "memory": 8 << 30, **machine},
        versions={"lmlab": "0.1", "llama_cpp": "0.3.36"},
        amounts=Amounts(),
        results=results,
        complete=True,
    )

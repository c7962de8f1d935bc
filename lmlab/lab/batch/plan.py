"""One variant of a batch, settled: which file, loaded how, asked what, drawn how. Knows nothing of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmlab.backends import LoadSpec
from lmlab.lab.batch.training import Keep
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.task import Task
from lmlab.models import ModelFile, fingerprint
from lmlab.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Plan:
    """``asked`` has no seed: each row's follows from ``seed``. ``load`` has the path and the draft's path in it.

    ``default_system`` is the config's. ``keep`` is the shape of the lines, ``expect`` the column named for the expected
    answer. ``judged_by`` names the model and templates that the selector brings with it.
    """

    label: str
    model: ModelFile
    load: LoadSpec
    task: Task
    asked: SamplingParams
    seed: int
    candidates: int = 1
    selector: SelectorSpec | None = None
    default_system: str | None = None
    keep: Keep | None = None
    expect: str | None = None
    judged_by: str | None = None

    @property
    def chat(self) -> bool:
        return self.model.header.chat_template is not None

    def fingerprint(self) -> str:
        """Return 16 hex digits that name all that a row's result follows from, besides the row.

        How many sequences, threads and tokens of context there are is not among it: these decide how fast, and whether
        a row fits. Reads the files that it names.
        """
        task, load = self.task, self.load
        constraint = task.constraint
        parts: Mapping[str, Any] = {
            "format": 1,
            "model": self.model.fingerprint,
            "lora": [(fingerprint(Path(lora.path)), lora.scale) for lora in load.lora],
            "kv": (load.key_type, load.value_type),
            "flash_attention": load.flash_attention,
            "deterministic": load.deterministic,
            "template": task.renderer.fingerprint if task.renderer else None,
            "system": task.system if task.system is not None else self.default_system,
            "raw": (task.raw, task.parse_special),
            "constraint": (constraint.kind, constraint.text) if constraint else None,
            "sampling": self.asked.to_dict(),
            "seed": self.seed,
            "candidates": self.candidates,
            "selector": asdict(self.selector) if self.selector else None,
            "judged_by": self.judged_by,
            "expect": self.expect,
            "keep": self.keep,
        }
        text = json.dumps(parts, sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

"""The page of the architectures that lmlab runs, from what loading the tiny model of each has shown.

``python tests/architectures/architectures_table.py`` writes it anew; the tests compare it with what they load.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import llama_cpp
from families import FAMILIES, Family
from family_loading import Loader, spec_of
from refused_families import REFUSED
from tiny_family import write_family

from lmlab.errors import ModelLoadError
from lmlab.models import GgufHeader, ModelFile, read_header
from lmlab.models.card import Card, card_of
from lmlab.worker import faults
from lmlab.worker.messages import ModelInfo

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"

_REUSED = {
    "full": "any prefix",
    "sliding-window": "any prefix whose window is still held",
    "recurrent": "whole prompts and replies",
    "none": "nothing",
}
HEAD = f"""# Architectures

What lmlab does with each architecture of the llama.cpp in llama-cpp-python {llama_cpp.__version__}. For each line a tiny
model with random weights is written, loaded as the worker loads any model, and made to continue text alone, beside two
others, as three candidates of one prompt, from the cache, and from a saved state: the log-probabilities of the tokens
must be the same. What its card says of it, and of the memory that its KV cache takes, is compared with what llama.cpp
allotted. A tiny model shows that an architecture is run rightly; it does not show that a large file of it fits.

Written by `python tests/architectures/architectures_table.py`, and checked by the tests.

- **attention**: *full* looks back at everything; *window*: some layers see the last tokens only; *recurrent* keeps a
  state instead of the text; *hybrid* has layers of both kinds. *Compressed*: one row is kept for keys and values
  (multi-head latent attention); *chosen*: an indexer chooses the tokens that are looked at.
- **reused**: what of an earlier request a new one need not decode again. A state cannot be cut back, so of a recurrent
  or hybrid model only what ended exactly there can be gone on from.

## Run

| family | `general.architecture` | attention | reused | remarks |
|---|---|---|---|---|
"""
_REFUSED_HEAD = """
## Refused, in one line

| family | `general.architecture` | because it is |
|---|---|---|
"""
_FOOT = """
The file that lets a model see images (`clip`, often named mmproj) is refused too, and so is, by its name, what llama.cpp
does not know, such as GPT-J. Not tried: Chameleon, which llama.cpp has by halves; models that speak; and the small heads
that only draft for one other model.
"""


def supported_row(family: Family, header: GgufHeader, card: Card, info: ModelInfo) -> str:
    cells = (
        family.name,
        f"`{family.architecture}`",
        _attention(header, card),
        _REUSED[info.reuse],
        _remarks(card, info),
    )
    return f"| {' | '.join(cells)} |\n"


def refused_row(family: Family, path: Path, said: str) -> str:
    reason = said.removeprefix(f"{path} is ").split(": use ")[0]
    return f"| {family.name} | `{family.architecture}` | {reason} |\n"


def page(supported: list[str], refused: list[str]) -> str:
    return HEAD + "".join(supported) + _REFUSED_HEAD + "".join(refused) + _FOOT


def _attention(header: GgufHeader, card: Card) -> str:
    if card.kv is None or card.kv.state != 0:
        parts = ["hybrid" if card.kv is None or card.kv.keys else "recurrent"]
    else:
        parts = ["window" if card.shape.windowed_layers else "full"]
    if card.kv is not None and card.kv.keys and not card.kv.values:
        parts.append("compressed")
    if f"{header.architecture}.attention.indexer.top_k" in header.metadata:
        parts.append("chosen")
    return ", ".join(parts)


def _remarks(card: Card, info: ModelInfo) -> str:
    remarks = ["experts"] if card.shape.experts else []
    if info.architecture in faults.ONE_AT_A_TIME:
        remarks.append("one sequence at a time: llama.cpp mixes up prompts that are decoded together")
    if info.architecture in faults.WITHOUT_COPIES:
        remarks.append("one sequence at a time, and nothing reused: llama.cpp loses copies of its state")
    if info.architecture in faults.WITHOUT_FLASH_ATTENTION:
        remarks.append("no flash attention")
    return "; ".join(remarks)


def _write() -> None:
    loader = Loader()
    supported, refused = [], []
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES.values():
            path = write_family(Path(folder) / "tiny.gguf", family)
            header = read_header(path)
            card = card_of(ModelFile(str(path), path, header, None))
            supported.append(supported_row(family, header, card, loader(spec_of(path)).info))
            loader.close()
        for family in REFUSED.values():
            path = write_family(Path(folder) / "tiny.gguf", family)
            try:
                loader(spec_of(path))
            except ModelLoadError as error:
                refused.append(refused_row(family, path, str(error)))
    PAGE.write_text(page(supported, refused), encoding="utf-8")


if __name__ == "__main__":
    _write()

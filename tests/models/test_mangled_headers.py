"""A thousand headers that lie: whatever is said of a model is said, or refused in one line, and nothing else happens."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from tiny_gguf import write_gguf

from lmlab.cli import models_card, models_table
from lmlab.errors import ModelError
from lmlab.models import ModelFile, read_header
from lmlab.models.card import Card, card_of
from lmlab.models.header_cache import Facts, HeaderCache, read_facts
from lmlab.models.here import Found, Place

MUTATIONS = 1000
MEMORY = 8_000_000_000
VALUES: dict[str, object] = {
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": [2, 1],
    "llama.attention.key_length": 8,
    "llama.attention.sliding_window": 64,
    "llama.attention.sliding_window_pattern": [True, False],
    "llama.expert_count": 4,
    "llama.feed_forward_length": [64, 32],
    "llama.rope.freq_base": 10_000.0,
    "llama.rope.scaling.factor": 2.0,
    "llama.rope.scaling.type": "yarn",
    "llama.ssm.state_size": 16,
    "llama.ssm.conv_kernel": 4,
    "llama.ssm.inner_size": 64,
    "general.file_type": 15,
    "general.license": "mit",
    "general.sampling.temp": 0.5,
    "general.sampling.top_k": 20,
    "tokenizer.chat_template": "{{ messages }}",
    "tokenizer.ggml.model": "gpt2",
}
# Of each type that a value may have: the ends of its range, and what is no number.
STRANGE = [
    *(struct.pack("<IB", kind, value) for kind in (0, 1, 7) for value in (0, 1, 255)),
    *(struct.pack("<II", kind, value) for kind in (4, 5) for value in (0, 1, 1 << 31, (1 << 32) - 1)),
    *(struct.pack("<IQ", kind, value) for kind in (10, 11) for value in (0, 1 << 63, (1 << 64) - 1)),
    *(struct.pack("<If", 6, value) for value in (float("nan"), float("inf"), -float("inf"), -1.0, 1e38)),
    *(struct.pack("<Id", 12, value) for value in (float("nan"), float("inf"), 1e308)),
    *(struct.pack("<IQ", 8, len(value)) + value for value in (b"", b"\x1b[2J", b"\xff\xfe", b"a\nb\tc\0", b"x" * 3000)),
    *(struct.pack("<IIQ", 9, 4, len(value) // 4) + value for value in (b"", b"\xff" * 8, bytes(16), b"\x01\0\0\0" * 3)),
    *(
        struct.pack("<IIQ", 9, 6, len(value) // 4) + value
        for value in (b"\x00\x00\xc0\x7f" * 2, b"\x00\x00\x80\x7f" * 2)
    ),
]


def mutants(whole: bytes) -> Iterator[bytes]:
    """Yield the file with some bytes changed, with values of other types in place of its own, or with both."""
    chance = random.Random(8)
    places = [(whole.index(key.encode()) + len(key), size) for key, size in _value_sizes(whole).items()]
    header = whole.index(b"blk.0.weight") + 200
    for _ in range(MUTATIONS):
        data = whole
        if chance.random() < 0.6:
            # From the back, so that the places before stay what they were.
            for at, size in sorted(chance.sample(places, chance.randint(1, 4)), reverse=True):
                data = data[:at] + chance.choice(STRANGE) + data[at + size :]
        else:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(header)
                value = chance.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", struct.pack("<Q", 1 << 63), b"\x08"))
                changed[at : at + len(value)] = value
            data = bytes(changed)
        yield data if chance.random() < 0.95 else data[: chance.randrange(len(data))]


def _value_sizes(whole: bytes) -> dict[str, int]:
    """Return how many bytes each value takes, its type included."""
    sizes = {}
    for key, value in {
        **VALUES,
        "llama.context_length": 0,
        "llama.block_count": 0,
        "llama.embedding_length": 0,
    }.items():
        at = whole.index(key.encode()) + len(key)
        if isinstance(value, list):
            width = 1 if isinstance(value[0], bool) else 4
            sizes[key] = 16 + width * len(value)
        elif isinstance(value, str):
            sizes[key] = 12 + struct.unpack_from("<Q", whole, at + 4)[0]
        else:
            sizes[key] = 8
    return sizes


def said_of(path: Path, kept: Path) -> tuple[Card, Found]:
    """Return what ``lmlab models show`` and ``lmlab models list`` have to print."""
    card = card_of(ModelFile(str(path), path, read_header(path), None))
    cache = HeaderCache(kept)
    facts, problem = read_facts(cache, path)
    assert problem is None
    assert facts is not None
    cache.save()
    assert read_facts(HeaderCache(kept), path) == (facts, None)
    return card, Found(Place("m", "folder", path), facts)


def test_no_header_breaks_what_is_said_of_it(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", values=VALUES)
    # With room behind the weights a longer header is still that of a whole file.
    whole = path.read_bytes() + bytes(1 << 12)
    said: list[tuple[Card, Found]] = []
    refusals: list[str] = []
    listed: list[tuple[Facts | None, str | None]] = []
    for data in mutants(whole):
        path.write_bytes(data)
        try:
            said.append(said_of(path, tmp_path / "headers.json"))
        except ModelError as error:
            refusals.append(str(error))
            listed.append(read_facts(HeaderCache(tmp_path / "headers.json"), path))

    assert len(said) > 300
    assert len(refusals) > 100
    assert not [line for line in refusals if "\n" in line or "\x1b" in line]
    # A list passes over what is no language model, and says anything else that show says.
    assert all(facts is None for facts, _ in listed)
    assert {problem for _, problem in listed} <= {None, *refusals}
    for card, found in said:
        json.dumps([card.to_dict(), found.to_dict(MEMORY)], allow_nan=False).encode()
        models_card.rows([card], MEMORY)
        models_table.tab_separated([found], MEMORY)
    # Drawing takes longest: all in one table, and side by side a few.
    assert models_table.table([found for _, found in said], MEMORY).count("\n") >= len(said)
    for first in range(0, len(said), 20):
        models_card.text(models_card.rows([card for card, _ in said[first : first + 2]], MEMORY), width=80)

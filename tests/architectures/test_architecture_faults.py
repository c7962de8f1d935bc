"""What ``lmlab.worker.faults`` runs round is still wrong in llama.cpp. Where one of these fails, its entry can go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from families import FAMILIES, Family
from family_loading import Loader, spec_of
from loaded_models import OpenContext, load_model, opened_contexts
from refused_families import REFUSED
from replies import text
from tiny_family import write_family

from lmlab.errors import ModelLoadError
from lmlab.llama import Context, DecodeStatus, Model
from lmlab.worker.faults import ONE_AT_A_TIME, WITHOUT_COPIES, WITHOUT_FLASH_ATTENTION, WRONG

Logits = npt.NDArray[np.float32]
EXACT = 1e-3
PROMPTS = text(60, 1), text(60, 5)
ALL: dict[str, Family] = {family.architecture: family for family in (*FAMILIES.values(), *REFUSED.values())}


@pytest.fixture
def open_context() -> Iterator[OpenContext]:
    with opened_contexts(context=512, idle=4, batch=256) as open_one:
        yield open_one


def model_of(architecture: str, folder: Path) -> Model:
    return load_model(write_family(folder / f"{architecture}.gguf", ALL[architecture]))


def exact_context(open_context: OpenContext, model: Model) -> Context:
    return open_context(model, key_type="f32", value_type="f32", flash_attention=False)


def decode(context: Context, *rows: tuple[Sequence[int], int, int]) -> list[Logits]:
    """Decode tokens, each from a position on and of a sequence, in one batch; return the logits after the last of each."""
    context.batch.clear()
    last = [context.batch.add(list(tokens), position, sequence, logits=True) for tokens, position, sequence in rows]
    assert context.decode() is DecodeStatus.DONE
    return [context.logits(row).copy() for row in last]


def next_logits(context: Context, prompt: Sequence[int], sequence: int) -> list[Logits]:
    """Return what is said after ``prompt``, and after one token more, with nothing beside it."""
    context.clear()
    after = decode(context, (prompt, 0, sequence))
    more = decode(context, ((7,), len(prompt), sequence))
    context.clear()
    return after + more


@pytest.mark.parametrize("architecture", sorted(ONE_AT_A_TIME))
def test_prompts_decoded_together_disturb_each_other(
    architecture: str, open_context: OpenContext, tmp_path: Path
) -> None:
    context = exact_context(open_context, model_of(architecture, tmp_path))
    alone = [next_logits(context, prompt, sequence) for sequence, prompt in enumerate(PROMPTS)]
    after = decode(context, *((prompt, 0, sequence) for sequence, prompt in enumerate(PROMPTS)))
    more = [decode(context, ((7,), len(prompt), sequence))[0] for sequence, prompt in enumerate(PROMPTS)]
    wrong = [np.abs(said - true[0]).max() for said, true in zip(after, alone, strict=True)]
    wrong += [np.abs(said - true[1]).max() for said, true in zip(more, alone, strict=True)]
    assert max(wrong) > EXACT


@pytest.mark.parametrize("architecture", sorted(WITHOUT_COPIES))
def test_a_copy_is_lost_with_its_original(architecture: str, open_context: OpenContext, tmp_path: Path) -> None:
    context = exact_context(open_context, model_of(architecture, tmp_path))
    prompt = PROMPTS[0]
    true = next_logits(context, prompt, 0)[1]
    decode(context, (prompt, 0, 0))
    copy_whole(context, 0, 5)
    context.drop(0)
    copy_whole(context, 5, 0)
    assert np.abs(decode(context, ((7,), len(prompt), 0))[0] - true).max() > EXACT


def copy_whole(context: Context, source: int, target: int) -> None:
    """As ``share`` does, but for the range, which would end the process."""
    llama_cpp.llama_memory_seq_cp(context._memory, source, target, -1, -1)


@pytest.mark.parametrize("architecture", sorted(WRONG))
def test_a_prompts_last_logits_are_its_first(architecture: str, open_context: OpenContext, tmp_path: Path) -> None:
    context = exact_context(open_context, model_of(architecture, tmp_path))
    prompt = PROMPTS[0]
    first = next_logits(context, prompt[:1], 0)[0]
    assert np.abs(next_logits(context, prompt, 0)[0] - first).max() < EXACT


@pytest.mark.parametrize("architecture", sorted(WITHOUT_FLASH_ATTENTION))
def test_flash_attention_that_would_end_the_process_is_refused(
    architecture: str, loader: Loader, tmp_path: Path
) -> None:
    spec = replace(spec_of(write_family(tmp_path / "model.gguf", ALL[architecture])), flash_attention=True)
    with pytest.raises(ModelLoadError, match=f"{architecture}.*no flash attention: leave out --flash-attn on"):
        loader(spec)
    assert not loader(replace(spec, flash_attention=None)).info.layout.flash_attention
    loader.close()

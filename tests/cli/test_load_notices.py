"""What a person is told where a model was not loaded as they would expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lmlab.backends import LoadSpec
from lmlab.backends.fake import fake_info
from lmlab.cli.notices import about_load


def told(spec: LoadSpec, *, layout: dict[str, Any] | None = None, **info: Any) -> list[str]:
    usual = fake_info()
    loaded = replace(usual, layout=replace(usual.layout, **(layout or {})), **info)
    return list(about_load(spec, loaded))


def test_a_context_made_smaller_for_want_of_memory_is_said() -> None:
    said = told(LoadSpec(""), context=4096, layout={"available": 2_500_000_000})
    assert said == [
        "the context is 4,096 tokens, not 8,192: no more fits the 2.5 GB of memory there were; --kv-type q8_0 takes less"
    ]


@pytest.mark.parametrize(
    "info", [{}, {"context": 2048, "context_trained": 2048}, {"context": 8192, "context_trained": 131_072}]
)
def test_the_usual_context_is_nothing_to_say(info: dict[str, Any]) -> None:
    assert told(LoadSpec(""), **info) == []


def test_fewer_tokens_at_once_than_asked_for_are_said() -> None:
    assert told(LoadSpec("", ubatch=2048), layout={"ubatch": 1024}) == [
        "1024 tokens are computed at once, not 2048: the context holds no more"
    ]
    assert told(LoadSpec("", ubatch=2048), layout={"ubatch": 2048}) == []


def test_flash_attention_that_is_not_to_be_had_is_said() -> None:
    assert told(LoadSpec("", flash_attention=True), layout={"flash_attention": False}) == [
        "flash attention is off: this model does not support it here"
    ]
    assert told(LoadSpec(""), layout={"flash_attention": False}) == []


def test_sequences_that_cannot_be_decoded_together_are_said() -> None:
    assert told(LoadSpec(""), alone=True, architecture="plamo2") == [
        "sequences are decoded one at a time: this llama.cpp mixes up what plamo2 models remember of several"
    ]

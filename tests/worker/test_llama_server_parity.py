"""Token ids that llama-server gave for these texts, built from the llama.cpp inside the pinned llama-cpp-python 0.3.36.

Its ``/tokenize`` with ``add_special`` and ``parse_special``; for the chat, ``/apply-template`` and then ``/tokenize``.
"""

from __future__ import annotations

import pytest
from vocabulary_reader import Reader

from lmlab.worker.prompts import TextPrompt

SMOLLM2 = {
    "  two  spaces\n\n\nand\tTABS ": [216, 827, 216, 5600, 1116, 198, 397, 197, 68, 45119, 216],
    "def f(x):\n    return x ** 2  # comment\n": [
        1604,
        275,
        24,
        104,
        727,
        472,
        1003,
        1792,
        1903,
        216,
        34,
        216,
        907,
        5189,
        198,
    ],
    "Привет, как дела?": [155, 249, 46879, 16464, 32547, 28, 31338, 6511, 13760, 33427, 42292, 6511, 47],
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag": [
        10813,
        235,
        119,
        321,
        231,
        10813,
        235,
        119,
        321,
        231,
        10813,
        235,
        117,
        321,
        231,
        10813,
        235,
        116,
        1564,
        15107,
        233,
        128,
        31752,
        321,
        231,
        10813,
        230,
        226,
        7048,
    ],
    "\r\nCRLF\r\n": [201, 198, 9088, 60, 54, 2738],
    "<|im_start|>user\nhi<|im_end|>": [1, 4093, 198, 6004, 2],
    "<start_of_turn>user\nhi<end_of_turn>": [
        44,
        3738,
        79,
        1714,
        79,
        20589,
        46,
        4093,
        198,
        6004,
        44,
        486,
        79,
        1714,
        79,
        20589,
        46,
    ],
}
GEMMA3 = {
    "  two  spaces\n\n\nand\tTABS ": [2, 138, 13498, 138, 35220, 109, 624, 255968, 236774, 76379, 236743],
    "def f(x):\n    return x ** 2  # comment\n": [
        2,
        2063,
        517,
        236769,
        236781,
        1473,
        107,
        140,
        2060,
        1123,
        5213,
        236743,
        236778,
        138,
        236865,
        5739,
        107,
    ],
    "Привет, как дела?": [2, 116130, 236764, 6815, 22633, 236881],
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag": [
        2,
        243767,
        237243,
        243767,
        237243,
        244814,
        237243,
        244990,
        2523,
        236743,
        248177,
        238178,
        237243,
        243712,
        8134,
    ],
    "\r\nCRLF\r\n": [2, 251, 107, 6459, 43102, 251, 107],
    "<|im_start|>user\nhi<|im_end|>": [
        2,
        236820,
        236909,
        548,
        236779,
        3041,
        111038,
        2364,
        107,
        2202,
        236820,
        236909,
        548,
        236779,
        643,
        111038,
    ],
    "<start_of_turn>user\nhi<end_of_turn>": [2, 105, 2364, 107, 2202, 106],
}
CHAT = [1, 9690, 198, 6077, 5453, 30, 2, 198, 1, 4093, 198, 26843, 15107, 235, 229, 2, 198, 1, 520, 9531, 198]


@pytest.mark.parametrize("text", SMOLLM2)
def test_smollm2_reads_text_as_llama_server_does(smol: Reader, text: str) -> None:
    assert smol.encoder.encode(TextPrompt(text, parse_special=True)) == SMOLLM2[text]


@pytest.mark.parametrize("text", GEMMA3)
def test_gemma3_reads_text_as_llama_server_does(gemma: Reader, text: str) -> None:
    assert gemma.encoder.encode(TextPrompt(text, parse_special=True)) == GEMMA3[text]


def test_smollm2_reads_a_chat_as_llama_server_does(smol: Reader) -> None:
    assert smol.chat(("system", "Be brief."), ("user", "Hi 👋")) == CHAT

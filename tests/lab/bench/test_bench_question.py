from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lmlab.lab.bench.process_memory import memory_of
from lmlab.lab.bench.question_text import question_text


@pytest.mark.parametrize("words", [1, 5, 300])
def test_a_text_has_as_many_words_as_asked_and_is_always_the_same(words: int) -> None:
    text = question_text(words, 7)
    number, *rest = text.split()
    assert (number, len(rest)) == ("7.", words)
    assert text == question_text(words, 7)


def test_texts_of_different_numbers_begin_differently() -> None:
    beginnings = {question_text(300, number).split()[0] for number in range(50)}
    assert len(beginnings) == 50
    assert len({question_text(300, number)[4:40] for number in range(50)}) == 50


def test_what_this_process_holds_is_known() -> None:
    found = memory_of(os.getpid())
    assert found is not None
    assert found.held > 1 << 20
    if sys.platform in ("linux", "win32"):
        assert found.peak is not None
        assert found.peak > 1 << 20


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert memory_of(process.pid) is None

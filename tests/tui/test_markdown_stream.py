"""Markdown that grows: the same however it is cut, and never dropped."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.tui.markdown import MarkdownSource, lay_out

SAMPLE = """# Title

A paragraph with **bold**, *em*, `code` and a [link](http://example.com),
and a second line.
***not a rule*** but text

1. first

   more of it
2. second
   - nested
   ```py
   x = 1
   ```
3. third

> quoted
> - list in a quote

| a | b |
|---|---|
| 1 | two words |

- loose

- list
---
<b>html</b> &amp; \\(x^2\\) ![image](u)

```python
def f():
    return 1
```
after
"""


def lines(pieces: list[str], width: int = 40) -> list[str]:
    source = MarkdownSource()
    for piece in pieces:
        source.feed(piece)
    return [line.content.plain for block in source.blocks for line in lay_out(block, width)]


def cut(text: str, seed: int) -> list[str]:
    chance = random.Random(seed)
    pieces = []
    while text:
        size = chance.randint(1, 8)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_it_looks_the_same_however_it_is_cut(seed: int) -> None:
    assert lines(cut(SAMPLE, seed)) == lines([SAMPLE])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a ", "\n", "- ", "1. ", "```", "> ", "| ", "#", "*", "    ", "\n\n", "|-|\n", "`"])))
def test_any_text_may_be_cut_anywhere(parts: list[str]) -> None:
    text = "".join(parts)
    assert lines(list(text)) == lines([text])


def test_what_feed_calls_stable_did_not_change() -> None:
    source = MarkdownSource()
    before = source.blocks
    for piece in cut(SAMPLE, 1):
        stable, rest = source.feed(piece)
        assert source.blocks[:stable] == before[:stable]
        assert source.blocks[stable:] == rest
        before = source.blocks


def test_a_long_list_leaves_one_item_to_do_again() -> None:
    source = MarkdownSource()
    for number in range(500):
        source.feed(f"- item {number}\n")
    stable, rest = source.feed("- last\n")
    assert stable == 499
    assert len(rest) == 2


def test_a_long_fence_leaves_a_short_piece_to_do_again() -> None:
    source = MarkdownSource()
    source.feed("```text\n")
    for number in range(1000):
        source.feed(f"line {number}\n")
    _, rest = source.feed("x")
    assert len(lay_out(rest[-1], 40)) < 60
    assert [line.strip() for line in lines(["```\n", "a\n" * 100, "```\n"])] == ["a"] * 100


@pytest.mark.parametrize(
    "text",
    [
        "<b>html</b>",
        "&amp; &#27;",
        "\\(x\\) \\[y\\]",
        "![alt](where)",
        "[x]: http://y",
        "<http://z>",
        "main.py",
        "(c) ...",
    ],
)
def test_nothing_that_was_said_goes_missing(text: str) -> None:
    shown = " ".join(lines([text], 100))
    for word in text.replace("![alt](where)", "alt where").split():
        assert word in shown


def test_a_link_shows_where_it_leads() -> None:
    assert lines(["[text](http://a/b)"]) == ["text (http://a/b)"]


def test_list_items_hang_and_numbers_are_the_authors() -> None:
    assert lines(["7. one two three four\n8. five\n"], 12) == ["7. one two", "   three", "   four", "8. five"]


def test_code_is_folded_and_text_wrapped_to_the_width() -> None:
    source = MarkdownSource()
    source.feed("```\n" + "x" * 50 + "\n```\n\n" + "漢" * 30)
    for block in source.blocks:
        assert all(line.content.cell_length <= 20 for line in lay_out(block, 20))


def test_a_table_fits_its_width() -> None:
    text = "| name | what it is |\n|---|---|\n| a | " + "word " * 30 + "|\n"
    source = MarkdownSource()
    source.feed(text)
    (table,) = source.blocks
    assert all(line.content.cell_length <= 40 for line in lay_out(table, 40))


def test_a_real_document_is_laid_out_whole() -> None:
    text = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
    assert " ".join(" ".join(lines([text], 60)).split()) == " ".join(text.split())

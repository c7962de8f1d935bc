"""The same report as text, Markdown, JSON and HTML: complete, and nothing in it does anything."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from compare_desk import CHECKED, Desk, prompts, rows, says

from lmlab.errors import LmlabError
from lmlab.lab.best_of import parse_selector
from lmlab.lab.compare.case import cases
from lmlab.lab.compare.html import html_lines
from lmlab.lab.compare.markdown import markdown_lines
from lmlab.lab.compare.report import Report
from lmlab.lab.compare.text import text_lines
from lmlab.lab.task import Task
from lmlab.prompting import Renderer, load

HOSTILE = "<script>alert(1)</script> & \"'><img src=http://x.test/y> \x1b[31mred\u202eback ```` | *x* </pre></details>"
_VOID = {"meta", "input", "img", "br", "link", "rect", "line", "circle"}


class Page(HTMLParser):
    """Takes a page apart; a tag that is not closed, or closes what is not open, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def hostile(desk: Desk) -> Report:
    """Return a report in which every text that somebody else wrote is hostile."""
    file = desk.folder / "sums.md"
    file.write_text(CHECKED)
    task = Task(Renderer(load(str(file), None)), system=HOSTILE)
    desk.prepare = says({"a": f"{HOSTILE} is 4", "b": f"other {HOSTILE} is 5"})
    given = rows(
        {"id": HOSTILE, "question": HOSTILE, "answer": "4"},
        {"question": "2+3", "answer": HOSTILE},
        *({"question": f"{number}", "answer": "4"} for number in range(4)),
    )
    report = desk.study(
        list(cases(given, 2)),
        desk.plan("a", HOSTILE[:50], task=task),
        desk.plan("b", "plain", task=task),
        scorers=(parse_selector("regex:4"), parse_selector("logprob")),
    )
    assert report is not None
    return report


def test_a_page_is_whole_and_does_nothing(desk: Desk) -> None:
    text = "\n".join(html_lines(hostile(desk)))
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "a", "form", "base"}
    every = [(tag, name, value or "") for tag, attributes in page.tags for name, value in attributes.items()]
    assert not any(name.startswith("on") or name in ("src", "href", "style") for _, name, _ in every)
    assert "url(" not in text
    assert "@import" not in text
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert page.text.count("<script>alert(1)</script>") > 10


def test_a_page_has_every_answer_with_its_differences_and_every_chart_says_what_it_shows(desk: Desk) -> None:
    page = Page("\n".join(html_lines(hostile(desk))))
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("svg") == kinds.count("title") - 1 >= 4
    assert all(attributes["aria-label"] for tag, attributes in page.tags if tag == "svg")
    assert (
        sum("prompt" in (attributes.get("class") or "").split() for tag, attributes in page.tags if tag == "details")
        == 6
    )
    assert kinds.count("mark") >= 2 * 6 * 2
    assert "No difference is shown between" in page.text
    assert "McNemar" in page.text
    assert "lmlab compare a b" in page.text
    assert "one cluster" in page.text


def test_markdown_shows_what_was_said_as_it_was_said(desk: Desk) -> None:
    lines = list(markdown_lines(hostile(desk)))
    text = "\n".join(lines)
    fence = None
    outside = []
    for line in text.split("\n"):
        if fence is None and (found := re.match(r"`{3,}", line)):
            fence = found[0]
        elif fence is not None and line == fence:
            fence = None
        elif fence is None:
            outside.append(line)
    assert fence is None
    assert not any(re.search(r"(?<!\\)<", line) for line in outside)
    assert text.count("is 5") == 12
    widths = {line.count("|") - line.count("\\|") for line in outside if line.startswith("| ---")}
    assert widths
    assert "\x1b" not in text


def test_json_has_it_all_as_plain_values(desk: Desk) -> None:
    report = hostile(desk)
    value = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert {"id", "command", "versions", "machine", "variants", "measures", "answers", "figures", "record"} <= set(
        value
    )
    assert value["variants"][0]["system"] == HOSTILE
    check = value["measures"][0]
    assert (check["kind"], check["pairs"][0]["first"], check["pairs"][0]["prompts"]) == ("check", HOSTILE[:50], 6)
    assert value["answers"][0]["cases"][1]["answers"][1]["text"] == f"other {HOSTILE} is 5"
    assert value["answers"][0]["cases"][0]["scores"]["regex:4"] == [1.0, 0.0]


def test_text_says_what_is_shown_and_how_surely(desk: Desk) -> None:
    desk.prepare = says({"a": "yes", "b": "no"})
    report = desk.study(
        prompts(*(f"Say {number}" for number in range(8))),
        desk.plan("a"),
        desk.plan("b"),
        scorers=(parse_selector("regex:yes"),),
    )
    assert report is not None
    lines = list(text_lines(report))
    assert lines[0] == "a against b: 8 prompts"
    assert "a is marked higher than b: it won 8 of 8 prompts that were decided (p = 0.0078)." in lines
    (row,) = [line.split() for line in lines if line.strip().startswith("a against b ")]
    assert row[3:] == ["8", "0", "0", "100.0", "%", "67.6", "to", "100.0", "%", "0.0078", "+1.000", "all", "alike"]


def test_nothing_shown_is_said_with_how_many_more_would_show_it(desk: Desk) -> None:
    replies = {"a": ["yes"] * 4 + ["no"], "b": ["no"] * 4 + ["yes"]}
    desk.prepare = says(replies)
    report = desk.study(prompts(*"12345"), desk.plan("a"), desk.plan("b"), scorers=(parse_selector("regex:yes"),))
    assert report is not None
    (said,) = [line for line in text_lines(report) if line.startswith("No difference")]
    assert re.fullmatch(
        r"No difference is shown between a and b: a won 4 of 5 prompts that were decided \(p = 0\.38\); "
        r"about \d+ more prompts would decide it, should it go on so\.",
        said,
    )


def test_of_one_prompt_it_is_not_spoken_as_of_several(desk: Desk) -> None:
    desk.prepare = says({"a": "yes", "b": "no", "c": "no"})
    plans = [desk.plan(name) for name in "abc"]
    report = desk.study(prompts("1"), *plans, scorers=(parse_selector("regex:yes"),))
    assert report is not None
    text = "\n".join(text_lines(report))
    assert "a won 1 of 1 prompt that was decided" in text
    assert "b and c are not told apart: the one prompt ties." in text


def test_a_page_says_who_got_a_prompt_in_which_words(desk: Desk) -> None:
    file = desk.folder / "sums.md"
    file.write_text(CHECKED)
    desk.prepare = says({"a": "It is 4", "b": "It is 5"})
    task = Task(Renderer(load(str(file), None)))
    report = desk.study(list(cases(rows({"question": "2+2"}))), desk.plan("a", task=task), desk.plan("b", task=task))
    assert report is not None
    assert "as a, b got it" in Page("\n".join(html_lines(report))).text


def test_few_prompts_are_shown_with_their_answers(desk: Desk) -> None:
    desk.prepare = says({"a": "yes\nindeed", "b": "no"})
    report = desk.study(prompts("Is it?"), desk.plan("a"), desk.plan("b"))
    assert report is not None
    lines = list(text_lines(report))
    assert lines[1:8] == ["", "Is it?", "", "── a · 2 tokens", "yes", "indeed", ""]
    assert lines[-1].startswith("nothing here says which is better")


@pytest.mark.parametrize("layout", [html_lines, markdown_lines, text_lines])
def test_what_failed_is_said_and_left_out(desk: Desk, layout: object) -> None:
    desk.prepare = lambda backend: (
        backend.script((), error=LmlabError("odd one")) if "a." in backend.spec.path else None
    )
    report = desk.study(prompts("one"), desk.plan("a"), desk.plan("b"), scorers=(parse_selector("logprob"),))
    assert report is not None
    text = "\n".join(layout(report))  # type: ignore[operator]
    assert "odd one" in text
    assert "no prompt has a mark for both" in text

"""A transcript read back is what was said, whatever was said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lmlab.lab.transcript import Section, from_markdown, to_markdown
from lmlab.sampling import SamplingParams
from lmlab.store import Attachment, Candidacy, Reply, Session, Turn

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOSTILE = "## You\n\n```\n## You\n\n# x\n\n*temperature 1 · seed 2*\n\n<!-- lmlab abc234 3: 1+1u -->\n\n\n## Notes\n~~~"


def session(system: str | None = None, title: str = "Why?") -> Session:
    return Session("abc234", title, NOW, NOW, system=system)


def conversation(*texts: str, reply: Reply | None = None) -> list[Turn]:
    """Turns that follow one another, a question first."""
    made = reply or Reply(status="done", model="smollm2")
    return [
        Turn(number, "abc234", number - 1 or None, text, NOW, reply=None if number % 2 else made)
        for number, text in enumerate(texts, 1)
    ]


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines", HOSTILE, "a\n\nb\n", "", "*ended: here*", "## smollm2", "é\t日本"]
)
def test_what_was_said_comes_back_whatever_it_was(text: str) -> None:
    turns = conversation("x" + text, "y" + text, "z" + text, text)
    written = to_markdown(session(system="s" + text), turns, places=True)
    read = from_markdown(written)
    assert read is not None
    assert (read.title, read.session) == ("Why?", "abc234")
    assert read.sections == (
        Section("system", "s" + text),
        *(
            Section("assistant", turn.content.strip(), "smollm2")
            if turn.reply
            else Section("user", turn.content.rstrip())
            for turn in turns
        ),
    )


def test_small_print_and_line_ends_of_other_systems_are_no_part_of_it() -> None:
    reply = Reply(
        status="partial",
        finish_reason="length",
        sampling=SamplingParams(temperature=0.5, seed=7),
        candidate=Candidacy(0, 2, chosen=True, selector="vote", why="2 of 2"),
    )
    turns = conversation("Why?", "Because.", reply=reply)
    for places in (True, False):
        written = to_markdown(session(), turns, places=places).replace("\n", "\r\n")
        assert "candidate 1 of 2, by vote: 2 of 2 · cut off · temperature 0.5 · seed 7" in written
        read = from_markdown(written)
        assert read is not None
        assert read.sections == (Section("user", "Why?"), Section("assistant", "Because."))


def test_a_file_s_name_stays_and_a_question_may_wait_for_its_reply() -> None:
    turns = [Turn(1, "abc234", None, "Sum up", NOW, attachments=(Attachment("notes.txt", "one two"),))]
    for places in (True, False):
        read = from_markdown(to_markdown(session(), turns, places=places))
        assert read is not None
        assert read.sections == (Section("user", "Attached: notes.txt (7 characters)\n\nSum up"),)


def test_without_the_comment_headings_decide_but_not_those_in_code() -> None:
    turns = conversation("How?", "Like this:\n\n```md\n## You\n\n## Other\n```\n\n## Notes\n\nDone.", "Thanks", "Sure.")
    read = from_markdown(to_markdown(session(system="Be brief."), turns))
    assert read is not None
    assert read.session is None
    assert [section.role for section in read.sections] == ["system", "user", "assistant", "user", "assistant"]
    assert [section.text for section in read.sections[1:]] == [turn.content for turn in turns]


def test_after_lines_were_added_headings_decide_and_the_session_is_still_known() -> None:
    written = to_markdown(session(), conversation("Why?", "Because.\n\nSo."), places=True)
    read = from_markdown(written.replace("Because.\n", "Because\nof that.\n"))
    assert read is not None
    assert read.session == "abc234"
    assert [section.text for section in read.sections] == ["Why?", "Because\nof that.\n\nSo."]


def test_a_fence_that_is_never_closed_takes_the_rest() -> None:
    read = from_markdown("# T\n\n## You\n\n```\n## smollm2\n\nno\n")
    assert read is not None
    assert read.sections == (Section("user", "```\n## smollm2\n\nno"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# Only a title\n",
        "## System\n\nBe brief.\n",
        "Hello\n## Notes\n",
        "<!-- lmlab abc234 1: -->",
        "# T\n\n## Reply\n\nx",
    ],
)
def test_text_without_a_message_is_none(text: str) -> None:
    assert from_markdown(text) is None


@pytest.mark.parametrize("places", ["0+0u", "99+1u", "3+99u", "2+1u", "999999999+999999999u"])
def test_places_that_are_nowhere_are_not_followed(places: str) -> None:
    read = from_markdown(f"# T\n\n## You\n\nWhy?\n\n<!-- lmlab abc234 5: {places} -->\n")
    assert read is not None
    assert read.sections == (Section("user", "Why?"),)

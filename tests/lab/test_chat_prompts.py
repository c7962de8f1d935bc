"""Messages of a chat that go through a prompt template."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.backends import ChatPrompt, Message
from lmlab.errors import LmlabError, PromptError, UsageError
from lmlab.lab import slash
from lmlab.lab.slash_complete import complete
from lmlab.prompting import Approach
from lmlab.sampling import SamplingParams
from lmlab.store import TemplateUse

SUMS = """---
name: sums
description: Add two numbers.
inputs:
  question: {}
  unit: {required: false, default: apples}
examples:
  - {question: 1 + 1, reasoning: One and one is two., answer: "2"}
  - {question: 2 + 3, reasoning: Two and three is five., answer: "5"}
  - {question: 4 + 4, answer: "8"}
answer: {format: "The sum is {{ answer }}.", regex: 'sum is (\\d+)'}
sampling: {temperature: 0.1, max_tokens: 50}
stop: ["\\nSum:"]
---
Add, in {{ unit }}.

Sum: {{ question }}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, auto=True)
    own = desk.paths.prompts
    own.mkdir(parents=True)
    (own / "sums.md").write_text(SUMS, encoding="utf-8")
    yield desk
    desk.close()


def sent(desk: Desk) -> tuple[Message, ...]:
    prompt = desk.backends[-1].requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def test_what_is_typed_becomes_the_main_input(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_template("sums", Approach("few-shot", 1), {"unit": "pears"})
    desk.chat.send("7 + 5")
    assert sent(desk) == (
        Message("user", "Add, in pears.\n\nSum: 1 + 1"),
        Message("assistant", "The sum is 2."),
        Message("user", "Sum: 7 + 5"),
    )
    question = desk.chat.turns[0]
    assert question.content == "7 + 5"
    assert desk.chat.session is not None
    assert desk.chat.session.title == "7 + 5"
    use = question.prompt
    assert use is not None
    assert (use.template, use.technique, use.shots) == ("sums", "few-shot", 1)
    assert use.variables == {"unit": "pears"}
    assert use.messages == sent(desk)
    assert desk.store.turns(desk.chat.session.id)[0].prompt == use
    assert backend.requests[-1].sampling == SamplingParams(temperature=0.1, max_tokens=50)


def test_the_next_message_goes_without_it_once_it_is_dropped(desk: Desk) -> None:
    desk.open()
    slash.run(desk.chat, "/template sums")
    desk.chat.send("7 + 5")
    assert slash.run(desk.chat, "/template -").lines == ("the next message is sent as you type it",)
    desk.chat.send("why?")
    assert desk.chat.turns[2].prompt is None
    assert sent(desk)[0].content == "Add, in apples.\n\nSum: 7 + 5"
    assert sent(desk)[-1] == Message("user", "why?")
    assert desk.backends[-1].requests[-1].sampling == SamplingParams()


def test_the_templates_sampling_lies_under_what_was_asked(desk: Desk) -> None:
    desk.open()
    assert (desk.chat.in_force.temperature, desk.chat.origin("temperature")) == (0.6, "model")
    desk.chat.set_template("sums")
    assert (desk.chat.in_force.temperature, desk.chat.origin("temperature")) == (0.1, "template")
    desk.chat.set_sampling("temperature", 1.5)
    assert (desk.chat.in_force.temperature, desk.chat.origin("temperature")) == (1.5, "set")
    desk.chat.send("7 + 5")
    assert desk.backends[-1].requests[-1].sampling.temperature == 1.5
    reply = desk.chat.turns[-1].reply
    assert reply is not None
    # What the person asked for is kept as that: another session would have it, the template's it would not.
    assert reply.asked == SamplingParams(temperature=1.5)


def test_a_change_during_the_reply_keeps_the_templates_sampling_below(tmp_path: Path, desk: Desk) -> None:
    desk.auto = False
    backend = desk.open()
    desk.chat.set_template("sums")
    desk.chat.send("7 + 5")
    desk.chat.set_template(None)
    # In force is what the reply under way is drawn with.
    assert desk.chat.in_force.temperature == 0.1
    desk.chat.set_sampling("top_k", 3)
    assert backend.updates[-1][1] == SamplingParams(temperature=0.1, max_tokens=50, top_k=3)
    backend.finish()
    assert desk.chat.in_force.temperature == 0.6


def test_another_reply_to_a_question_has_the_questions_template(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_template("sums")
    desk.chat.send("7 + 5")
    first = backend.requests[-1]
    desk.chat.set_template("title")
    desk.chat.regenerate()
    assert (backend.requests[-1].prompt, backend.requests[-1].sampling) == (first.prompt, first.sampling)


def test_a_base_model_is_stopped_where_it_would_go_on_to_another_input(desk: Desk) -> None:
    backend = desk.open("base")
    desk.chat.set_template("sums")
    desk.chat.send("7 + 5")
    stop = backend.requests[-1].sampling.stop
    assert stop is not None
    assert "\nSum:" in stop
    assert len(stop) > 2  # A turn of the transcript ends a reply all the same.


def test_files_go_into_the_main_input(desk: Desk, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Bees dance.", encoding="utf-8")
    desk.open()
    desk.chat.set_template("summarize")
    desk.chat.attach(str(notes))
    desk.chat.send("")
    assert "Bees dance." in sent(desk)[-1].content
    assert sent(desk)[-1].content.startswith("Summarize the text for")
    assert desk.chat.turns[0].attachments[0].name == "notes.txt"


def test_what_is_missing_is_named_and_nothing_is_sent(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_template("judge-pair")
    with pytest.raises(UsageError, match=r"judge-pair needs \w+ too: /var \w+ TEXT gives it"):
        desk.chat.send("hello")
    assert not backend.requests
    assert desk.chat.turns == ()


def test_an_empty_message_is_no_input(desk: Desk) -> None:
    desk.open()
    desk.chat.set_template("sums")
    with pytest.raises(UsageError, match="there is nothing to send"):
        desk.chat.send("  ")


def test_the_main_input_is_the_first_required_one_without_a_value(desk: Desk) -> None:
    desk.open()
    desk.chat.set_template("sums")
    assert desk.chat.prompts.chosen().main == "question"
    slash.run(desk.chat, "/var question 1 + 2")
    assert desk.chat.prompts.chosen().main == "unit"
    desk.chat.send("plums")
    assert sent(desk)[-1].content == "Add, in plums.\n\nSum: 1 + 2"
    with pytest.raises(UsageError, match="sums has no place for a message: all of question, unit have a value"):
        slash.run(desk.chat, "/var unit pears")
    assert desk.chat.prompts.chosen().main == "unit"
    slash.run(desk.chat, "/var question -")
    assert desk.chat.prompts.chosen().main == "question"


def test_answers_are_read_off_replies_also_after_a_restart(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_template("sums", Approach("few-shot-cot"), {"unit": "pears"})
    backend.script(["Seven and five is twelve. ", "The sum is 12."])
    desk.chat.send("7 + 5")
    question, reply = desk.chat.turns
    assert desk.chat.prompts.answer_line(question, reply) == "answer: 12"
    backend.script(["I do not know."])
    desk.chat.send("7 + 6")
    assert desk.chat.prompts.answer_line(*desk.chat.turns[2:]) == "no answer was found in the reply"
    desk.chat.set_template("summarize")
    desk.chat.send("Bees dance.")
    assert desk.chat.prompts.answer_line(*desk.chat.turns[4:]) is None

    assert desk.chat.session is not None
    again = desk.make_chat(session=desk.chat.session)
    assert again.prompts.answer_line(*again.turns[:2]) == "answer: 12"
    again.close()


def test_a_template_that_changed_reads_no_answers(desk: Desk) -> None:
    backend = desk.open()
    backend.script(["The sum is 12."])
    desk.chat.set_template("sums")
    desk.chat.send("7 + 5")
    assert desk.chat.prompts.answer_line(*desk.chat.turns) == "answer: 12"
    file = desk.paths.prompts / "sums.md"
    file.write_text(SUMS.replace("sum is (", "total is ("), encoding="utf-8")
    again = desk.make_chat(session=desk.chat.session)
    assert again.prompts.answer_line(*again.turns) is None
    file.unlink()
    assert desk.make_chat(session=desk.chat.session).prompts.answer_line(*again.turns) is None
    again.close()


def test_a_vote_goes_by_the_answers(desk: Desk) -> None:
    backend = desk.open()
    desk.chat.set_template("sums")
    desk.chat.set_best_of(3)
    slash.run(desk.chat, "/select vote")
    backend.script_candidates(["Hm. The sum is 13.", "I say: the sum is 12.", "So the sum is 12. Yes."])
    desk.chat.send("7 + 5")
    assert "the sum is 12" in desk.chat.turns[-1].content


def test_the_same_use_takes_another_message(desk: Desk) -> None:
    desk.open()
    desk.chat.set_template("sums", Approach("few-shot", 2, "random", 7, "inline"), {"unit": "pears"})
    desk.chat.send("7 + 5")
    use = desk.chat.turns[0].prompt
    assert use is not None
    desk.chat.set_template(None)
    again = desk.chat.prompts.use_again(use, "7 + 6", ())
    assert again is not None
    expected = tuple(replace(one, content=one.content.replace("7 + 5", "7 + 6")) for one in use.messages)
    assert again == replace(use, messages=expected)
    assert expected != use.messages
    (desk.paths.prompts / "sums.md").unlink()
    with pytest.raises(UsageError, match="no prompt template is called 'sums'"):
        desk.chat.prompts.use_again(use, "7 + 6", ())


def test_a_file_is_found_again_from_another_folder(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.open()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.md").write_text(SUMS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    desk.chat.set_template("there/mine.md")
    monkeypatch.chdir(tmp_path / "there")
    desk.chat.send("1 + 2")
    use = desk.chat.turns[0].prompt
    assert isinstance(use, TemplateUse)
    assert Path(use.template) == tmp_path / "there" / "mine.md"
    assert desk.chat.prompts.use_again(use, "1 + 3", ()) is not None


def test_how_examples_are_shown_outlasts_a_technique_without_any(desk: Desk) -> None:
    desk.open()
    run = slash.run
    assert run(desk.chat, "/template sums").lines[0] == "sums, zero-shot: Add two numbers."
    assert run(desk.chat, "/technique few-shot").lines == ("sums, few-shot, 3 examples",)
    assert run(desk.chat, "/shots 2").lines == ("sums, few-shot, 2 examples",)
    assert run(desk.chat, "/pick random:7").lines == ("sums, few-shot, 2 examples, random:7",)
    assert run(desk.chat, "/style inline").lines == ("sums, few-shot, 2 examples, random:7, inline",)
    assert run(desk.chat, "/technique cot").lines == ("sums, cot",)
    assert run(desk.chat, "/technique few-shot-cot").lines == ("sums, few-shot-cot, 2 examples, random:7, inline",)
    assert run(desk.chat, "/shots -").lines == ("sums, few-shot-cot, 2 examples, random:7, inline",)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["/technique cot"], "no template is in use: /template NAME chooses one"),
        (["/template smus"], "no prompt template is called 'smus': did you mean sums"),
        (["/template sums", "/technique fewshot"], "/technique fewshot: there are zero-shot"),
        (["/template sums", "/shots 2"], "/shots is about examples, and zero-shot shows none: add /technique few-shot"),
        (["/template sums", "/technique few-shot", "/shots 9"], "9 examples were asked for, and sums has 3: /shots 3"),
        (["/template sums", "/shots many"], "/shots many: give a whole number, or -"),
        (["/template sums", "/pick order:1"], "/pick order:1: only random takes a seed"),
        (["/template sums", "/style odd"], "/style odd: there are turns, inline"),
        (["/template sums", "/var colour red"], "sums has no input 'colour': there are question, unit"),
    ],
)
def test_what_cannot_be_is_said_in_the_words_of_a_chat(desk: Desk, lines: list[str], error: str) -> None:
    desk.open()
    for line in lines[:-1]:
        slash.run(desk.chat, line)
    before = desk.chat.prompts.current
    with pytest.raises(LmlabError) as caught:
        slash.run(desk.chat, lines[-1])
    assert str(caught.value).startswith(error)
    assert desk.chat.prompts.current is before


def test_a_template_is_described(desk: Desk) -> None:
    desk.open()
    lines = slash.run(desk.chat, "/template").lines
    assert "sums" in lines[1]
    slash.run(desk.chat, "/template judge-pair")
    slash.run(desk.chat, "/var")
    slash.run(desk.chat, "/template sums")
    assert slash.run(desk.chat, "/var unit figs").lines == (
        "sums, zero-shot: Add two numbers.",
        "  question  your message",
        "  unit      figs",
    )
    assert slash.run(desk.chat, "/var unit -").lines[-1] == "  unit      apples (/var unit TEXT changes it)"


def test_a_broken_template_is_said_with_its_line(desk: Desk) -> None:
    desk.open()
    (desk.paths.prompts / "broken.md").write_text(SUMS.replace("name: sums", "name: broken\nnoise: 1"), "utf-8")
    with pytest.raises(PromptError, match=r"broken\.md, line 3: unknown key 'noise'"):
        desk.chat.set_template("broken")


def test_names_are_completed(desk: Desk) -> None:
    desk.open()
    assert complete("/template su", chat=desk.chat) == ["/template summarize", "/template sums"]
    assert complete("/technique few", chat=desk.chat) == ["/technique few-shot", "/technique few-shot-cot"]
    assert complete("/var ", chat=desk.chat) == []
    slash.run(desk.chat, "/template sums")
    assert complete("/var u", chat=desk.chat) == ["/var unit "]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_template(desk: Desk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(UsageError, match="not an ordinary file"):
        slash.run(desk.chat, f"/template {tmp_path / 'pipe.md'}")

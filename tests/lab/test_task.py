"""Values into prompts: as given, by template, for models with and without a chat template."""

from __future__ import annotations

from typing import Any

import pytest

from lmlab.backends import ChatPrompt, Message, TextPrompt
from lmlab.errors import PromptError, UsageError
from lmlab.lab.task import Put, Task
from lmlab.prompting import Approach, Renderer, load
from lmlab.sampling import SamplingParams

USER = Message("user", "Hi")
HI = {"prompt": "Hi"}


def word_problems(**options: Any) -> Renderer:
    return Renderer(load("word-problem", None), Approach(**options))


def test_a_chat_model_gets_turns() -> None:
    assert Task().put(HI, True).prompt == ChatPrompt((USER,))
    assert Task(system="Be brief").put(HI, True).prompt == ChatPrompt((Message("system", "Be brief"), USER))


def test_the_default_system_message_gives_way_to_what_was_typed_even_if_empty() -> None:
    default = Message("system", "default")
    assert Task().put(HI, True, "default").prompt == ChatPrompt((default, USER))
    assert Task(system="").put(HI, True, "default").prompt == ChatPrompt((USER,))


def test_text_goes_as_it_is_to_a_base_model_and_when_raw() -> None:
    assert Task().put(HI, False, "default").prompt == TextPrompt("Hi")
    assert Task(raw=True).put(HI, True).prompt == TextPrompt("Hi")
    assert Task(raw=True, parse_special=True).put(HI, True).prompt == TextPrompt("Hi", parse_special=True)


@pytest.mark.parametrize(
    ("task", "chat_template", "message"),
    [
        (Task(system="x", raw=True), True, "--system has no place here: --raw"),
        (Task(system="x"), False, "--system has no place here: this is a base model"),
        (Task(parse_special=True), True, "--parse-special needs --raw"),
    ],
)
def test_what_could_only_be_ignored_is_refused(task: Task, chat_template: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task.put(HI, chat_template)


def test_messages_are_taken_as_they_are() -> None:
    turns = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "Hi"}]
    put = Task().put({"messages": turns, "topic": "x"}, True, "default")
    expected = (Message("system", "default"), Message("user", "A"), Message("assistant", "B"), USER)
    assert put.prompt == ChatPrompt(expected)
    own = [{"role": "system", "content": "mine"}, {"role": "user", "content": "Hi"}]
    assert Task().put({"messages": own}, True, "default").prompt == ChatPrompt((Message("system", "mine"), USER))


@pytest.mark.parametrize(
    ("values", "chat_template", "message"),
    [
        ({}, True, "there is no prompt"),
        ({"prompt": None}, True, "there is no prompt"),
        ({"prompt": 3}, True, "the prompt is no text but int"),
        ({"prompt": " "}, True, "the prompt is empty"),
        ({"messages": []}, True, "messages: give a list"),
        ({"messages": [{"role": "user"}]}, True, "messages: give a list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, True, "message 1 has the role 'robot'"),
        ({"messages": [{"role": "user", "content": 1}]}, True, "the content of message 1 is no text"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, True, "end with the user's"),
        ({"messages": [{"role": "user", "content": "x"}]}, False, "messages need a chat template"),
    ],
)
def test_values_that_make_no_prompt_are_refused(values: dict[str, Any], chat_template: bool, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        Task().put(values, chat_template)


def test_a_template_is_rendered_for_either_kind_of_model() -> None:
    renderer = word_problems(technique="few-shot", shots=2)
    values = {"question": "What is 2 + 2?", "id": "a", "answer": "4"}
    rendered = renderer.render({"question": "What is 2 + 2?"})
    chat = Task(renderer, system="Be exact").put(values, True)
    assert chat.prompt == ChatPrompt((Message("system", "Be exact"), *rendered.messages))
    assert (chat.stop, chat.question.read_answer("The answer is 4.")) == ((), "4")
    text = Task(renderer).put(values, False)
    assert (text.prompt, text.stop) == (TextPrompt(rendered.text), rendered.stop)
    # A base model goes on from the cue, which belongs to the answer.
    assert text.question.read_answer(" 4.") == "4"


def test_a_text_stands_for_the_one_input_that_is_missing() -> None:
    renderer = word_problems()
    assert Task(renderer).put({"prompt": "How many?"}, True).prompt == (
        Task(renderer).put({"question": "How many?"}, True).prompt
    )
    with pytest.raises(PromptError, match="the text has no place in word-problem"):
        Task(renderer).put({"prompt": "How many?", "question": "What?"}, True)


def test_an_input_given_twice_is_refused() -> None:
    renderer = Renderer(load("word-problem", None), Approach(), {"question": "What?"})
    with pytest.raises(PromptError, match="question is given twice"):
        Task(renderer).put({"question": "How many?"}, True)
    with pytest.raises(PromptError, match="both say what to send"):
        Task(word_problems()).put({"question": "x", "messages": []}, True)


def test_a_prompts_stop_texts_go_beside_those_that_were_asked_for() -> None:
    put = Put(TextPrompt("x"), Task().put(HI, False).question, stop=("\n", "Q:"))
    assert put.sampling(SamplingParams(stop=("Q:", "END"))).stop == ("Q:", "END", "\n")
    assert put.sampling(SamplingParams(temperature=1)).stop == ("\n", "Q:")

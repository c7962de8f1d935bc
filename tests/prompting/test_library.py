from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmlab.errors import UsageError
from lmlab.prompting import find_template, load_template, packaged_templates, transcript
from lmlab.worker.template import ChatTemplate

NAMES = ["classify", "summarize", "transcript", "translate", "word-problem"]


def render(*messages: tuple[str, str], generation_prompt: bool = True) -> str:
    """Render the transcript as the worker does."""
    source, _ = transcript()
    said = [{"role": role, "content": content} for role, content in messages]
    return ChatTemplate(source, {"bos_token": "<bos>"}).render(said, generation_prompt=generation_prompt)


def test_these_come_with_lmlab() -> None:
    assert [path.stem for path in packaged_templates()] == NAMES


@pytest.mark.parametrize("path", packaged_templates(), ids=lambda path: path.stem)
def test_each_that_comes_with_lmlab_is_sound(path: Path) -> None:
    template = load_template(path)
    assert template.name == path.stem
    for example in template.examples:
        assert example.inputs.keys() <= template.inputs.keys()
        text = template.render(example.inputs)
        assert all(str(value) in text for value in example.inputs.values())
        assert "{{" not in text
    if template.answer is not None:
        assert re.compile(template.answer.regex).groups == 1


def test_answers_are_found_where_the_tasks_ask_for_them() -> None:
    number = load_template(find_template("word-problem")).answer
    label = load_template(find_template("classify")).answer
    assert number is not None
    assert label is not None
    assert re.findall(number.regex, "So 1,000 + 2.5. The answer is -1,002.5.") == ["-1,002.5"]
    assert re.findall(label.regex, "It praises.\nLabel: positive.") == ["positive"]


def test_finding() -> None:
    assert find_template("translate").name == "translate.md"
    assert find_template("mine.md") == Path("mine.md")
    assert find_template("folder/mine") == Path("folder/mine")
    with pytest.raises(UsageError, match=r"^no prompt template is called 'sumarize': did you mean summarize\?$"):
        find_template("sumarize")
    with pytest.raises(UsageError, match="there are classify, summarize"):
        find_template("xyz")


def test_the_transcript_ends_where_the_model_goes_on() -> None:
    intro = "A conversation between a user and an assistant who answers truthfully, helpfully and briefly.\n\n"
    assert render(("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")) == (
        f"{intro}User:\nHi\n\nAssistant:\nHello.\n\nUser:\nBye\n\nAssistant:\n"
    )
    assert render(("user", "Hi"), generation_prompt=False) == f"{intro}User:\nHi\n\n"


def test_a_system_prompt_takes_the_place_of_the_first_line() -> None:
    assert render(("system", "A pirate talks."), ("user", "Hi")) == "A pirate talks.\n\nUser:\nHi\n\nAssistant:\n"


def test_the_next_prompt_begins_with_the_last_one_and_its_reply() -> None:
    first = render(("user", "Hi"))
    assert render(("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")).startswith(first + "Hello.")


def test_a_stop_text_ends_a_reply_where_the_next_turn_would_begin() -> None:
    _, stop = transcript()
    following = render(("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")).partition("Hello.")[2]
    assert min((following.find(text), text) for text in stop if text in following) == (0, "\n\nUser:")

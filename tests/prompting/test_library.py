from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.errors import PromptError, UsageError
from lmlab.prompting import check_file, find_template, known_templates, load, packaged_templates, transcript
from lmlab.worker.template import ChatTemplate

OWN = "---\nname: {0}\ndescription: My own.\n---\nHello\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with a template of their own, and one that goes before a packaged one."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name in ("greet", "classify"):
        (folder / f"{name}.md").write_text(OWN.format(name), encoding="utf-8")
    return folder


def render(*messages: tuple[str, str], generation_prompt: bool = True) -> str:
    """Render the transcript as the worker does."""
    source, _ = transcript()
    said = [{"role": role, "content": content} for role, content in messages]
    return ChatTemplate(source, {"bos_token": "<bos>"}).render(said, generation_prompt=generation_prompt)


def test_tasks_come_with_lmlab_and_the_transcript_is_none_of_them() -> None:
    names = [path.stem for path in packaged_templates()]
    assert {"classify", "summarize", "translate", "word-problem"} <= set(names)
    assert "transcript" not in names
    assert names == sorted(names)


@pytest.mark.parametrize("path", packaged_templates(), ids=lambda path: path.stem)
def test_each_that_comes_with_lmlab_is_sound_and_called_as_its_file(path: Path) -> None:
    assert check_file(path) == ()
    assert load(path.stem, None).name == path.stem


def test_the_transcript_is_sound() -> None:
    assert check_file(packaged_templates()[0].parent / "transcript.md") == ()


def test_finding_by_name_or_path(own: Path) -> None:
    assert find_template("translate").name == "translate.md"
    assert find_template("mine.md") == Path("mine.md")
    assert find_template("folder/mine") == Path("folder/mine")
    assert find_template("~/x.md") == Path.home() / "x.md"
    assert find_template("greet", own) == own / "greet.md"
    assert load(str(own / "greet.md"), None).description == "My own."


def test_a_users_own_goes_before_the_packaged_one(own: Path) -> None:
    assert load("classify", own).description == "My own."
    known = known_templates(own)
    assert known["classify"] == own / "classify.md"
    assert list(known) == sorted({path.stem for path in packaged_templates()} | {"greet"})
    assert known_templates(own / "none") == known_templates(None)


def test_what_is_not_found_is_told_with_what_there_is(own: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^no prompt template is called 'sumarize': did you mean summarize\?; a file is"
    ):
        find_template("sumarize")
    with pytest.raises(UsageError, match=r"did you mean greet\?"):
        find_template("greets", own)
    with pytest.raises(
        UsageError, match=r": there are .*classify, .*word-problem; a file is given by its path, such as \./xyz"
    ):
        find_template("xyz")
    with pytest.raises(UsageError, match=r"^no such prompt template: "):
        load(str(tmp_path / "none.md"), own)
    with pytest.raises(UsageError, match="null character"):
        find_template("a\0b")


def test_a_broken_template_of_ones_own_is_told_with_its_line(own: Path) -> None:
    (own / "bad.md").write_text("---\nname: bad\ndescription: x\ncolour: red\n---\nHello\n", encoding="utf-8")
    with pytest.raises(PromptError, match=r"^bad\.md, line 4: unknown key 'colour'"):
        load("bad", own)


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

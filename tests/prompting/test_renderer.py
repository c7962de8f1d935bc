from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.errors import PromptError, UsageError
from lmlab.prompting import Approach, PromptTemplate, Rendered, Renderer, load, load_template, packaged_templates

HEAD = """\
name: feel
description: Tell what is felt.
inputs:
  text: {}
  labels: {required: false, default: "good, bad"}
"""
POOL = """\
examples:
  - {text: I won., reasoning: Winning is nice., answer: good}
  - {text: I lost., reasoning: Losing is not., answer: bad}
  - {text: I ate., answer: good}
"""
ANSWER = "answer: {format: 'It is {{ answer }}.', regex: 'is (\\w+)'}\n"
BODY = "Say what is felt: {{ labels }}.\n\nText: {{ text }}\n"
INSTRUCTION = "Say what is felt: good, bad."


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def write(front: str, body: str = BODY) -> PromptTemplate:
        path = tmp_path / "feel.md"
        path.write_text(f"---\n{front}---\n{body}", encoding="utf-8")
        return load_template(path)

    return write


@pytest.fixture
def feel(make: Any) -> PromptTemplate:
    return make(HEAD + POOL + ANSWER)


def said(rendered: Rendered) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in rendered.messages]


def render(template: PromptTemplate, *, fixed: dict[str, str] | None = None, **approach: Any) -> Rendered:
    return Renderer(template, Approach(**approach), fixed or {"labels": "good, bad"}).render({"text": "I slept."})


# What is sent


def test_zero_shot(feel: PromptTemplate) -> None:
    rendered = render(feel)
    assert said(rendered) == [("user", f"{INSTRUCTION}\n\nText: I slept.")]
    assert rendered.text == f"{INSTRUCTION}\n\nText: I slept.\nIt is"
    assert (rendered.lead, rendered.stop, rendered.examples) == ("It is", ("\n\nText:",), ())


def test_few_shot_gives_examples_as_turns(feel: PromptTemplate) -> None:
    rendered = render(feel, technique="few-shot", shots=2)
    assert said(rendered) == [
        ("user", f"{INSTRUCTION}\n\nText: I won."),
        ("assistant", "It is good."),
        ("user", "Text: I lost."),
        ("assistant", "It is bad."),
        ("user", "Text: I slept."),
    ]
    assert rendered.text == (
        f"{INSTRUCTION}\n\nText: I won.\nIt is good.\n\nText: I lost.\nIt is bad.\n\nText: I slept.\nIt is"
    )
    assert rendered.examples == (0, 1)


def test_inline_puts_them_into_one_message(feel: PromptTemplate) -> None:
    rendered = render(feel, technique="few-shot", shots=1, style="inline")
    assert said(rendered) == [("user", f"{INSTRUCTION}\n\nText: I won.\nIt is good.\n\nText: I slept.\nIt is")]
    assert rendered.text == render(feel, technique="few-shot", shots=1).text
    reasoned, ask = render(feel, technique="few-shot-cot", shots=1, style="inline"), "Let's think step by step."
    assert said(reasoned) == [
        ("user", f"{INSTRUCTION}\n\nText: I won.\n{ask} Winning is nice.\nIt is good.\n\nText: I slept.\n{ask}")
    ]


def test_cot_asks_for_reasoning_last(feel: PromptTemplate) -> None:
    rendered = render(feel, technique="cot")
    assert said(rendered) == [("user", f"{INSTRUCTION}\n\nText: I slept.\n\nLet's think step by step.")]
    assert rendered.text == f"{INSTRUCTION}\n\nText: I slept.\nLet's think step by step."
    assert rendered.lead == "Let's think step by step."


def test_few_shot_cot_shows_reasoning(feel: PromptTemplate) -> None:
    rendered = render(feel, technique="few-shot-cot")
    ask = "Let's think step by step."
    assert said(rendered) == [
        ("user", f"{INSTRUCTION}\n\nText: I won.\n\n{ask}"),
        ("assistant", "Winning is nice.\nIt is good."),
        ("user", f"Text: I lost.\n\n{ask}"),
        ("assistant", "Losing is not.\nIt is bad."),
        ("user", f"Text: I slept.\n\n{ask}"),
    ]
    assert rendered.text == (
        f"{INSTRUCTION}\n\nText: I won.\n{ask} Winning is nice.\nIt is good.\n\n"
        f"Text: I lost.\n{ask} Losing is not.\nIt is bad.\n\nText: I slept.\n{ask}"
    )
    assert rendered.examples == (0, 1)


def test_without_regex_reasoning_ends_in_a_marker(make: Any) -> None:
    template = make(HEAD + POOL + "cot: Think.\n")
    rendered = render(template, technique="few-shot-cot", shots=1)
    assert said(rendered)[1:] == [
        ("assistant", "Winning is nice.\nAnswer: good"),
        ("user", 'Text: I slept.\n\nThink. Then write "Answer:" and the answer.'),
    ]
    ask = 'Think. Then write "Answer:" and the answer.'
    assert rendered.text.endswith(
        f"Text: I won.\n\n{ask}\nReasoning: Winning is nice.\nAnswer: good\n\nText: I slept.\n\n{ask}\nReasoning:"
    )
    alone = render(template, technique="cot")
    assert alone.text.endswith(f"Text: I slept.\n\n{ask}\nReasoning:")
    assert alone.lead == "Reasoning:"
    renderer = Renderer(template, Approach(technique="cot"))
    assert renderer.read_answer(" Hm.\nAnswer: bad", alone.lead) == "bad"
    assert renderer.read_answer("bad", alone.lead) is None


def test_a_sentence_that_leads_in_is_what_a_base_model_goes_on_from(make: Any) -> None:
    for cot in ("Let us think.", "let’s think"):
        alone = render(make(HEAD + POOL + f"cot: {cot}\n"), technique="cot")
        assert alone.text.endswith(f'Text: I slept.\n\nWrite "Answer:" and the answer at the end.\n{cot}')
        assert alone.lead == cot
    assert render(make(HEAD + POOL + "cot: Letters first.\n"), technique="cot").lead == "Reasoning:"


def test_a_label_that_all_reasoning_has_is_the_cue(make: Any) -> None:
    labelled = make(HEAD + POOL.replace("reasoning: ", "reasoning: 'Why: ").replace(".,", ".',", 9) + "cot: Say why.\n")
    rendered = render(labelled, technique="few-shot-cot", shots=1)
    assert "\nWhy: Winning is nice.\nAnswer: good\n" in rendered.text
    assert rendered.lead == "Why:"
    one = make(
        HEAD + POOL.replace("reasoning: Winning", "reasoning: 'Why: Winning").replace("nice.", "nice.'") + "cot: X.\n"
    )
    assert render(one, technique="few-shot-cot").lead == "Reasoning:"


def test_an_inline_reply_may_say_the_cue_again(make: Any) -> None:
    inline = Approach("few-shot", style="inline")
    for front, replies in {
        ANSWER: ["good.", " It is good."],
        "": ["good", " answer: good"],
        "answer: {format: '<{{ answer }}>'}\n": ["good>", "<good>"],
    }.items():
        renderer = Renderer(make(HEAD + POOL + front), inline)
        assert {renderer.read_answer(reply) for reply in replies} == {"<good>" if "<" in front else "good"}


def test_the_template_says_what_is_usual(make: Any) -> None:
    template = make(HEAD + POOL + "technique: few-shot\nshots: 1\nstyle: inline\nstop: [END]\n")
    rendered = render(template)
    assert said(rendered) == [("user", f"{INSTRUCTION}\n\nText: I won.\nAnswer: good\n\nText: I slept.\nAnswer:")]
    assert (rendered.lead, rendered.stop) == ("Answer:", ("END", "\n\nText:"))
    assert len(render(template, style="turns", shots=2).messages) == 5
    assert len(render(template, technique="zero-shot").messages) == 1


def test_a_task_without_instruction_or_literal_beginning(make: Any) -> None:
    template = make(HEAD + POOL, "{{ text }}: {{ labels }}?\n")
    rendered = render(template, technique="few-shot", shots=1)
    assert said(rendered) == [("user", "I won.: good, bad?"), ("assistant", "good"), ("user", "I slept.: good, bad?")]
    assert rendered.stop == ()


def test_an_example_never_takes_what_is_the_rows(make: Any) -> None:
    template = make(HEAD + POOL, "Text: {{ text }}\nLabels: {{ labels }}")
    rendered = render(template, fixed={"labels": "yes, no"}, technique="few-shot", shots=1)
    assert [message.content for message in rendered.messages] == [
        "Text: I won.\nLabels: good, bad",
        "good",
        "Text: I slept.\nLabels: yes, no",
    ]


# What is shared


def test_what_is_shared_of_each_technique(feel: PromptTemplate) -> None:
    assert shared(render(feel)) == ((0, f"{INSTRUCTION}\n\nText:"), f"{INSTRUCTION}\n\nText:")
    few = render(feel, technique="few-shot", shots=1)
    assert shared(few) == ((2, "Text:"), f"{INSTRUCTION}\n\nText: I won.\nIt is good.\n\nText:")
    inline = render(feel, technique="few-shot", shots=1, style="inline")
    assert shared(inline) == ((0, shared(few)[1]), shared(few)[1])
    nearest = render(feel, technique="few-shot", shots=1, pick="nearest")
    assert shared(nearest) == ((0, f"{INSTRUCTION}\n\nText:"), f"{INSTRUCTION}\n\nText:")


def test_an_instruction_that_rows_may_change_is_not_shared(feel: PromptTemplate) -> None:
    rendered = Renderer(feel, Approach("few-shot")).render({"text": "I slept."})
    assert shared(rendered) == ((0, "Say what is felt:"), "Say what is felt:")


def test_a_row_that_is_an_example_sees_another_and_shares_less(feel: PromptTemplate) -> None:
    renderer = Renderer(feel, Approach("few-shot", shots=2), {"labels": "x"})
    rendered = renderer.render({"text": "I lost."})
    assert rendered.examples == (0, 2)
    assert rendered.shared_messages == 2
    assert rendered.text[: rendered.shared_characters].endswith("Text: I ")
    assert Renderer(feel, Approach("few-shot", shots=3)).render({"text": "I lost."}).examples == (0, 2)


def shared(rendered: Rendered) -> tuple[tuple[int, str], str]:
    beginning = rendered.messages[rendered.shared_messages].content[: rendered.shared_in_message]
    return (rendered.shared_messages, beginning), rendered.text[: rendered.shared_characters]


APPROACHES = [
    Approach(technique, pick=pick, style=style)
    for technique, picks in {"few-shot": ["order", "random", "nearest"], "few-shot-cot": ["order", "nearest"]}.items()
    for pick in picks
    for style in ("turns", "inline")
] + [Approach("zero-shot"), Approach("cot")]
TASKS = [load_template(path) for path in packaged_templates()]
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("template", TASKS, ids=lambda template: template.name)
def test_what_is_said_to_be_shared_is(template: PromptTemplate, data: st.DataObject) -> None:
    approach = data.draw(st.sampled_from(APPROACHES))
    fixed = {name: data.draw(VALUES) for name in data.draw(st.sets(st.sampled_from(sorted(template.inputs))))}
    try:
        renderer = Renderer(template, approach, fixed)
    except PromptError:
        # It has no reasoning to show.
        assert approach.technique == "few-shot-cot"
        return
    others = sorted(template.inputs.keys() - fixed.keys())
    one, other = (renderer.render({name: data.draw(VALUES) for name in others}) for _ in range(2))
    whole = min(one.shared_messages, other.shared_messages)
    assert one.messages[:whole] == other.messages[:whole]
    if one.shared_messages == other.shared_messages:
        size = min(one.shared_in_message, other.shared_in_message)
        assert one.messages[whole].content[:size] == other.messages[whole].content[:size]
    size = min(one.shared_characters, other.shared_characters)
    assert one.text[:size] == other.text[:size]
    for rendered in (one, other):
        assert rendered.shared_messages < len(rendered.messages)
        assert rendered.text.endswith(rendered.lead)
        assert rendered.text == rendered.text.rstrip()
        assert len(rendered.examples) == renderer.shots
        assert [message.role for message in rendered.messages] == ["user", "assistant"] * (
            len(rendered.messages) // 2
        ) + ["user"]


# What is refused


@pytest.mark.parametrize(
    ("approach", "problem"),
    [
        (Approach(shots=2), "--shots is about examples, and zero-shot shows none: add --technique few-shot"),
        (Approach("cot", pick="nearest"), "--pick is about examples, and cot shows none: add --technique few-shot-cot"),
        (Approach(style="inline"), "--style is about examples, and zero-shot shows none: add --technique few-shot"),
        (Approach("few-shot", shots=0), "--shots 0: few-shot shows at least 1"),
        (Approach("few-shot", shots=4), "4 examples were asked for, and feel has 3: --shots 3 at most"),
        (Approach("few-shot-cot", shots=4), "4 examples were asked for, and feel has 2: --shots 2 at most"),
        (
            Approach("few-shot-cot", shots=3),
            "feel.md, line 10: this example has no reasoning; few-shot-cot is to show 3, and 2 of 3 have",
        ),
    ],
)
def test_examples_that_are_not_there(feel: PromptTemplate, approach: Approach, problem: str) -> None:
    with pytest.raises((UsageError, PromptError)) as caught:
        Renderer(feel, approach)
    assert str(caught.value).startswith(problem)


def test_no_examples_and_no_reasoning_at_all(make: Any) -> None:
    with pytest.raises(UsageError, match=r"^feel has no examples: --technique zero-shot and cot need none$"):
        Renderer(make(HEAD), Approach("few-shot"))
    without = make(HEAD + "examples: [{text: a, answer: b}]\n")
    with pytest.raises(PromptError, match=r"^feel\.md, line 7: this example has no reasoning, nor has any other"):
        Renderer(without, Approach("few-shot-cot"))


def test_inputs_that_are_unknown_missing_or_given_twice(feel: PromptTemplate) -> None:
    with pytest.raises(UsageError, match=r"^--var txt: feel has no such input; its inputs are text, labels$"):
        Renderer(feel, fixed={"txt": "x"})
    renderer = Renderer(feel, fixed={"labels": "x"})
    assert renderer.missing == ("text",)
    with pytest.raises(PromptError, match=r"^feel needs text: the values given are labels; give it with --var"):
        renderer.render({})
    with pytest.raises(PromptError, match=r"^feel needs text"):
        renderer.render({"text": None})
    with pytest.raises(PromptError, match=r"^feel has no input 'x': its inputs are text, labels$"):
        renderer.render({"text": "a", "x": 1})
    with pytest.raises(PromptError, match=r"^labels is given by --var for every prompt"):
        renderer.render({"text": "a", "labels": "b"})
    assert Renderer(feel, fixed={"text": "a"}).missing == ()
    with pytest.raises(PromptError, match=r"^feel needs text: give it with --var text=\.\.\. or as a column$"):
        Renderer(feel).render({})
    with pytest.raises(
        PromptError, match=r"^feel needs text: the values given are labels, id, txt; give it with --var"
    ):
        Renderer(feel).render({"labels": "x"}, ("id", "txt"))


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_input_that_is_required_is_not_empty(feel: PromptTemplate, empty: str) -> None:
    with pytest.raises(PromptError, match=r"^feel needs text, and it is empty$"):
        Renderer(feel).render({"text": empty})
    with pytest.raises(PromptError, match=r"^feel needs text, and it is empty$"):
        Renderer(feel, fixed={"text": empty})
    assert Renderer(feel, fixed={"labels": empty}).render({"text": "a"}).text


@pytest.mark.parametrize("technique", ["zero-shot", "few-shot", "cot"])
def test_what_fails_without_any_input_fails_at_once_with_its_line(make: Any, technique: Any) -> None:
    template = make(HEAD + POOL, "Do.\n\nText:\n{{ 9**9**9 }}{{ text }}\n")
    with pytest.raises(PromptError, match=r"^feel\.md, line 15: feel could not be rendered: a power this large"):
        Renderer(template, Approach(technique))


def test_nobody_is_sent_to_a_line_of_a_packaged_file() -> None:
    with pytest.raises(PromptError) as caught:
        Renderer(load("translate", None), Approach("few-shot-cot"))
    assert str(caught.value) == (
        "the examples of translate have no reasoning, and few-shot-cot shows some: take --technique few-shot or cot, "
        "or write it into a template of your own, begun with lmlab prompts show translate > mine.md"
    )


def test_a_body_that_fails_is_told_with_its_line(make: Any) -> None:
    template = make(HEAD + POOL, "Do.\n\nText:\n{{ text + 1 }}\n")
    with pytest.raises(PromptError, match=r"^feel\.md, line 15: feel could not be rendered: can only concatenate"):
        Renderer(template).render({"text": "x"})
    with pytest.raises(PromptError, match=r"^feel\.md, line 15: feel could not be rendered"):
        Renderer(template, Approach("few-shot"))
    broken = make(HEAD + POOL + "answer: {format: '{{ answer.x }}'}\n")
    with pytest.raises(PromptError, match=r"^feel\.md: answer\.format could not be rendered"):
        Renderer(broken, Approach("few-shot"))


# What identifies it, and what is read


def test_the_fingerprint_names_all_that_shapes_the_prompt(make: Any) -> None:
    feel = make(HEAD + POOL + ANSWER)
    few = Approach("few-shot")
    different = [
        Renderer(feel),
        Renderer(feel, Approach("cot")),
        Renderer(feel, few),
        Renderer(feel, Approach("few-shot", shots=2)),
        Renderer(feel, Approach("few-shot", style="inline")),
        Renderer(feel, Approach("few-shot", pick="nearest")),
        Renderer(feel, Approach("few-shot", pick="random")),
        Renderer(feel, Approach("few-shot", pick="random", pick_seed=1)),
        Renderer(feel, few, {"labels": "x"}),
        Renderer(make(HEAD + POOL + ANSWER, BODY + "."), few),
        Renderer(make(HEAD + POOL + ANSWER.replace("It", "This")), few),
        Renderer(make(HEAD + POOL.replace("nice", "fine") + ANSWER), few),
    ]
    assert len({renderer.fingerprint for renderer in different}) == len(different)
    same = Renderer(make(HEAD.replace("Tell", "Say") + POOL + ANSWER), Approach("few-shot", shots=3))
    assert same.fingerprint == Renderer(feel, few).fingerprint


def test_answers_are_read_and_checked(feel: PromptTemplate) -> None:
    renderer = Renderer(feel)
    assert renderer.read_answer(" good.", "It is") == renderer.read_answer("It is good.") == "good"
    assert renderer.check("Good.", "good")
    assert not renderer.check(None, "good")


def test_a_blank_line_ends_no_reasoning_that_was_not_shown(make: Any) -> None:
    template = make(HEAD + POOL + 'stop: ["\\n\\n", END]\n')
    stops = {
        technique: Renderer(template, Approach(technique=technique)).render({"text": "x"}).stop
        for technique in ("zero-shot", "few-shot", "cot")
    }
    assert stops["zero-shot"] == stops["few-shot"] == ("\n\n", "END", "\n\nText:")
    assert stops["cot"] == ("END", "\n\nText:")

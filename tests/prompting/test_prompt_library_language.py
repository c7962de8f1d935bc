"""The library's templates for classifying and for writing: what they send, and what they read back."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from golden_renderings import assert_stopped_after_the_answer, check_golden

from lmlab.prompting import Approach, PromptTemplate, Renderer, Technique, load

ROWS: dict[str, dict[str, str]] = {
    "ad-copy": {"product": "a thermos that keeps tea hot for 24 hours", "audience": "hikers", "words": "30"},
    "classify": {"labels": "billing, delivery, other", "text": "My parcel never came."},
    "dialogue": {"first": "Tom (a gardener)", "second": "Lucy (his niece)", "topic": "roses that do not bloom"},
    "emotion": {"text": "I miss him every day."},
    "grammar-fix": {"text": "He go to school every days."},
    "nli": {"premise": "A man plays a guitar on a stage.", "hypothesis": "A man makes music."},
    "rewrite": {"tone": "formal", "text": "Hey, the party is at 8, bring snacks!"},
    "sentiment": {"text": "The pizza was burnt and the waiter laughed at us."},
    "spam": {"text": "Win a free phone now, click here!"},
    "story": {"premise": "A fisherman catches a fish that talks.", "words": "boat, moon"},
    "summarize": {"text": "The town will plant 500 trees by 2030.\n\nHalf of the cost is paid by the state."},
    "title": {"text": "The town will plant 500 trees by 2030. They cost 20,000 euros."},
    "topic": {"text": "The central bank raised its interest rate by half a point."},
    "translate": {"to": "German", "from": "English", "text": "Hello Tom,\nsee you tomorrow."},
}
NAMES = sorted(ROWS)
CLASSIFIERS = ["classify", "emotion", "nli", "sentiment", "spam", "topic"]
WRITERS = [name for name in NAMES if name not in CLASSIFIERS]
LABELS = {
    "nli": ["entailment", "neutral", "contradiction"],
    "sentiment": ["positive", "negative", "neutral"],
    "spam": ["spam", "not spam"],
    "topic": ["world", "sports", "business", "technology"],
}


def techniques(name: str) -> list[Technique]:
    return ["zero-shot", "few-shot", "cot", "few-shot-cot"] if name in CLASSIFIERS else ["zero-shot", "few-shot", "cot"]


SUPPORTED = [(name, technique) for name in NAMES for technique in techniques(name)]
WITH_EXAMPLES = [(name, technique) for name, technique in SUPPORTED if technique.startswith("few-shot")]


def answers(template: PromptTemplate) -> list[str]:
    return [example.answer for example in template.examples]


@pytest.mark.parametrize(("name", "technique"), SUPPORTED)
def test_each_rendering_is_as_it_was(name: str, technique: Technique) -> None:
    check_golden(name, technique, Renderer(load(name, None), Approach(technique)).render(ROWS[name]))


@pytest.mark.parametrize(("name", "technique"), WITH_EXAMPLES)
def test_the_answer_of_each_worked_reply_is_read_back(name: str, technique: Technique) -> None:
    template = load(name, None)
    renderer = Renderer(template, Approach(technique, shots=len(template.examples)))
    rendered = renderer.render(ROWS[name])
    replies = [message.content for message in rendered.messages if message.role == "assistant"]
    assert [renderer.read_answer(reply) for reply in replies] == answers(template)
    # A base model goes on from the lead, which may be the beginning of the reply.
    continued = [renderer.read_answer(reply.removeprefix(rendered.lead), rendered.lead) for reply in replies]
    assert continued == answers(template)
    assert all(renderer.check(answer, answer) for answer in answers(template))


@pytest.mark.parametrize(("name", "technique"), WITH_EXAMPLES)
def test_a_base_model_that_goes_on_and_on_is_stopped_after_its_answer(name: str, technique: Technique) -> None:
    assert_stopped_after_the_answer(Renderer(load(name, None), Approach(technique)), ROWS[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_holds_enough_examples_that_differ(name: str) -> None:
    inputs = [example.inputs for example in load(name, None).examples]
    assert len(inputs) >= 6
    assert all(inputs.count(one) == 1 for one in inputs)
    assert ROWS[name] not in inputs


@pytest.mark.parametrize("name", NAMES)
def test_what_rows_share_comes_first(name: str) -> None:
    template = load(name, None)
    settings = {key: value for key, value in template.defaults.items() if key not in ROWS[name]}
    renderer = Renderer(template, Approach("few-shot"), settings)
    one = renderer.render(ROWS[name])
    two = renderer.render({key: f"Other {value}" for key, value in ROWS[name].items()})
    assert one.messages[:-1] == two.messages[:-1]
    assert one.shared_messages == len(one.messages) - 1 == 2 * renderer.shots
    shared = one.text[: one.shared_characters]
    assert two.text[: two.shared_characters] == shared
    assert all(template.examples[index].answer in shared for index in one.examples)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_draw_nothing_at_random_and_show_their_reasons(name: str) -> None:
    template = load(name, None)
    assert template.sampling.temperature == 0
    assert all(example.reasoning for example in template.examples)


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_balanced_in_the_pool_and_in_what_is_shown(name: str) -> None:
    template = load(name, None)
    labels = answers(template)
    counts = Counter(labels)
    assert sorted(counts) == sorted(LABELS[name])
    assert len(set(counts.values())) == 1
    shown = Counter(labels[: Renderer(template, Approach("few-shot")).shots])
    assert len(set(shown.values())) == 1
    assert sorted(shown) == sorted(LABELS[name])


def test_each_example_of_classify_takes_one_of_its_labels() -> None:
    for example in load("classify", None).examples:
        assert example.answer in example.inputs["labels"].split(", ")


def test_the_emotions_of_the_examples_are_those_of_the_list() -> None:
    template = load("emotion", None)
    listed = template.body.partition("list:")[2].partition(".")[0].replace("\n", " ").split(",")
    labels = {label.strip() for label in listed}
    assert len(labels) == len(listed) == 28
    assert {label for answer in answers(template) for label in answer.split(", ")} == labels
    assert {answer.count(",") for answer in answers(template)} == {0, 1, 2}


def test_advertisements_keep_to_their_words() -> None:
    for example in load("ad-copy", None).examples:
        assert len(example.answer.split()) <= int(example.inputs["words"])


def test_headlines_and_summaries_keep_to_their_length() -> None:
    title, summary = load("title", None), load("summarize", None)
    assert max(len(answer.split()) for answer in answers(title)) <= int(title.defaults["words"])
    assert max(len(re.findall(r"[.!?](?:\s|$)", answer)) for answer in answers(summary)) <= int(
        summary.defaults["sentences"]
    )


@pytest.mark.parametrize("name", ["summarize", "title"])
def test_numbers_in_an_answer_stand_in_the_text(name: str) -> None:
    for example in load(name, None).examples:
        assert set(re.findall(r"\d[\d.,]*\d|\d", example.answer)) <= set(
            re.findall(r"\d[\d.,]*\d|\d", example.inputs["text"])
        )


def test_stories_have_the_words_they_must_have() -> None:
    renderer = Renderer(load("story", None))
    for example in renderer.template.examples:
        assert renderer.check(example.answer, example.inputs["words"])
    assert not renderer.check("A boat sailed under the sun.", "boat, moon")


def test_a_story_without_words_says_nothing_of_them() -> None:
    assert "Words:" not in Renderer(load("story", None)).render({"premise": "A fish talks."}).messages[0].content


def test_dialogues_are_between_their_characters_and_of_six_lines() -> None:
    template = load("dialogue", None)
    assert template.defaults["lines"] == "6"
    for example in template.examples:
        first, second = (str(example.inputs[key]).partition(" (")[0] for key in ("first", "second"))
        assert [line.partition(": ")[0] for line in example.answer.splitlines()] == [first, second] * 3


def test_corrections_keep_the_lines_and_some_texts_are_right_already() -> None:
    examples = load("grammar-fix", None).examples
    assert [example.answer.count("\n") for example in examples] == [e.inputs["text"].count("\n") for e in examples]
    assert sum(example.answer == example.inputs["text"] for example in examples) == 1


def test_the_language_it_is_in_need_not_be_said() -> None:
    renderer = Renderer(load("translate", None))
    said = renderer.render(ROWS["translate"]).messages[0].content
    unsaid = renderer.render({"to": "German", "text": "Hello"}).messages[0].content
    assert said.count("from English into German") == 1
    assert "from" not in unsaid


READINGS: dict[str, list[tuple[str, str | None]]] = {
    "ad-copy": [("Hot tea, cold peaks.\n", "Hot tea, cold peaks."), ("", None)],
    "classify": [
        ("The sender asks for money back.\nLabel: billing", "billing"),
        ("**Label:** other.", "other"),
        ('The label is "can wait".', "can wait"),
        ("Label: billing\nNo, it never came.\nLabel: delivery", "delivery"),
        ("delivery", "delivery"),
        (" Delivery.\n", "Delivery"),
        ("It is about a parcel that never came, so something went wrong on the way.", None),
        ("Label:", None),
        ("", None),
    ],
    "dialogue": [("Tom: Hello.\nLucy: Hi.\n", "Tom: Hello.\nLucy: Hi."), (" \n", None)],
    "emotion": [
        ("The writer mourns.\nEmotions: grief, sadness", "grief, sadness"),
        ("Emotions: **joy**", "joy"),
        ("Emotion: Joy.", "Joy"),
        ("gratitude", "gratitude"),
        ("gratitude, joy\n", "gratitude, joy"),
        ("Emotions: fear\nEmotions: fear , anger", "fear , anger"),
        ("The machine works by turning heat into movement, and it is loud: very loud.", None),
        ("Emotions:", None),
    ],
    "grammar-fix": [("He goes to school every day.\n", "He goes to school every day."), ("", None)],
    "nli": [
        ("A guitar makes music, so it must be true.\nRelation: entailment", "entailment"),
        ("**Relation:** Neutral.", "Neutral"),
        ("contradiction", "contradiction"),
        ("This is a contradiction.", "contradiction"),
        ("It is neutral.\nWait.\nRelation: entailment", "entailment"),
        ("Relation: unclear", None),
        ("The premise is true.", None),
        ("There is no contradiction here.", None),
    ],
    "rewrite": [(" Dear guests, the party begins at 8.\n", "Dear guests, the party begins at 8."), ("\n", None)],
    "sentiment": [
        ("The food was burnt.\nSentiment: negative", "negative"),
        ('Sentiment: "Positive"', "Positive"),
        ("Neutral.", "Neutral"),
        ("The text is neutral. It gives no opinion.", "neutral"),
        ("The sentiment of the text is **negative**", "negative"),
        ("It is positive about the food and not about the bill.\nSentiment: neutral", "neutral"),
        ("This is not positive at all.", None),
        ('Sentiment: "Sentiment: "', None),
        ("I like pizza.", None),
    ],
    "spam": [
        ("It promises a prize.\nVerdict: spam", "spam"),
        ("Verdict: not spam", "not spam"),
        ("Not spam.", "Not spam"),
        ("**Verdict:** Spam", "Spam"),
        ("The message is spam. It sells something.", "spam"),
        ("This is not spam.", "not spam"),
        ("This is a spam message.", "spam"),
        ("The message is spam. No, the sender is known.\nVerdict: not spam", "not spam"),
        ("It is definitely not a spam message.", None),
        ("Click the link.", None),
    ],
    "story": [("A fish spoke.\n\nIt was late.\n", "A fish spoke.\n\nIt was late."), ("", None)],
    "summarize": [("The town plants 500 trees.", "The town plants 500 trees."), ("\n ", None)],
    "title": [("Town plants 500 trees\n", "Town plants 500 trees"), ("\n", None)],
    "topic": [
        ("A bank sets its rate.\nTopic: business", "business"),
        ("Topic: World News", "World"),
        ("Topic: science and technology", "technology"),
        ("The news is about sports.", "sports"),
        ("**Topic:** Business", "Business"),
        ("technology", "technology"),
        ("The carmaker will cut jobs.", None),
        ("Topic: weather", None),
    ],
    "translate": [(" Hallo Tom,\nbis morgen.\n", "Hallo Tom,\nbis morgen."), ("", None)],
}


@pytest.mark.parametrize(
    ("name", "reply", "answer"), [(name, *case) for name, cases in READINGS.items() for case in cases]
)
def test_an_answer_is_read_off_a_reply(name: str, reply: str, answer: str | None) -> None:
    assert Renderer(load(name, None), Approach("zero-shot")).read_answer(reply) == answer


def test_every_template_has_readings() -> None:
    assert sorted(READINGS) == NAMES


@pytest.mark.parametrize("name", WRITERS)
def test_after_reasoning_only_what_is_marked_is_the_answer(name: str) -> None:
    renderer = Renderer(load(name, None), Approach("cot"))
    assert renderer.read_answer("It should be short.\nAnswer: Done.") == "Done."
    assert renderer.read_answer("It should be short. Done.") is None


@pytest.mark.parametrize(
    ("name", "answer", "expected", "same"),
    [
        ("classify", "Can wait", "can wait", True),
        ("classify", "urgent", "can wait", False),
        ("emotion", "sadness, Grief", "grief, sadness", True),
        ("emotion", "grief", "grief, sadness", False),
        ("grammar-fix", "He goes to school.", "He goes to school.", True),
        ("grammar-fix", "He go to school.", "He goes to school.", False),
        ("spam", "Not spam", "not spam", True),
        ("spam", "not spam", "spam", False),
        ("topic", "World", "world", True),
        ("translate", "Der Zug hat zehn Minuten Verspätung.", "Der Zug ist zehn Minuten verspätet.", True),
        ("translate", "Guten Morgen.", "Der Zug ist zehn Minuten verspätet.", False),
    ],
)
def test_answers_are_compared_as_the_task_has_it(name: str, answer: str, expected: str, same: bool) -> None:
    assert Renderer(load(name, None)).check(answer, expected) is same

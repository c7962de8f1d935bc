"""``lmlab run`` with a template, and with several candidates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_models import fake_header
from harness import Fake, Lmlab

from lmlab.backends import ChatPrompt, TextPrompt
from lmlab.backends.fake import FakeBackend
from lmlab.errors import EngineStopped, ModelLoadError


def asked(fake: Fake) -> list[str]:
    prompt = fake.backend.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    return [message.content for message in prompt.messages]


# Templates


def test_a_text_is_the_input_that_is_missing(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("run", "-t", "translate", "--var", "to=French", stdin=b"Good morning.\n")
    assert (outcome.code, outcome.err) == (0, "")
    (text,) = asked(fake)
    assert "French" in text
    assert "Good morning." in text


def test_a_technique_puts_examples_before_the_question(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", "-t", "word-problem", "--technique", "few-shot", "--shots", "3", "What is 2 + 2?")
    texts = asked(fake)
    assert len(texts) == 7
    assert "What is 2 + 2?" in texts[-1]


def test_the_templates_sampling_is_below_what_was_typed(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text(
        "---\nname: mine\ndescription: Mine.\ninputs: {text: {}}\nsampling: {temperature: 0.1, top_k: 7}\n---\n"
        "Say {{ text }}\n"
    )
    lmlab("run", "-t", str(file), "--temp", "0.9", "hi")
    sampling = fake.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k) == (0.9, 7)
    assert asked(fake) == ["Say hi"]


def test_a_base_model_gets_text_with_its_own_stop(fake: Fake, lmlab: Lmlab) -> None:
    fake.model = replace(fake.model, header=fake_header(chat_template=None))
    lmlab("run", "-t", "word-problem", "--technique", "few-shot", "What is 2 + 2?")
    request = fake.backend.requests[0]
    assert isinstance(request.prompt, TextPrompt)
    assert request.prompt.text.rstrip() == request.prompt.text
    assert any("\n\n" in text for text in request.sampling.stop or ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-t", "word-problm", "x"), "did you mean word-problem"),
        (("-t", "translate", "x"), "the text has no place in translate (text or to)"),
        (("-t", "translate", "--var", "too=French", "x"), "too"),
        (
            (
                "-t",
                "word-problem",
            ),
            "word-problem needs question: give it as text",
        ),
        (("--technique", "cot", "x"), "--technique is about a prompt template: name one with -t"),
        (("-t", "word-problem", "--technique", "few-shot", "--shots", "99", "x"), "99"),
        (("--select", "vote", "x"), "--select vote chooses among candidates: say how many with --best-of N"),
        (("--best-of", "0", "x"), "--best-of 0: give a whole number from 1 to 64"),
        (("--best-of", "3", "--select", "vot", "x"), "did you mean vote"),
    ],
)
def test_what_cannot_be_meant_is_one_line(fake: Fake, lmlab: Lmlab, arguments: tuple[str, ...], message: str) -> None:
    outcome = lmlab("run", *arguments)
    assert outcome.code in (1, 2)
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert fake.backends == []


# Best of N


def test_the_chosen_candidate_is_the_reply_and_stderr_says_why(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script_candidates(
        ["The answer is 5.", "The answer is 4.", "It is: answer is 4"]
    )
    outcome = lmlab("run", "-t", "word-problem", "--best-of", "3", "--select", "vote", "What is 2 + 2?")
    assert (outcome.code, outcome.out) == (0, "The answer is 4.\n")
    assert "candidate 2 of 3, by vote: 2 of 3 say 4" in outcome.err
    request = fake.backend.requests[0]
    assert (request.candidates, request.stream, request.logprobs) == (3, False, True)
    assert fake.backend.spec.sequences == 3


def test_json_has_every_candidate_with_its_score(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script_candidates(["one", "two, longer"])
    outcome = lmlab("run", "--json", "--quiet", "--best-of", "2", "--select", "command:wc -c", "hi")
    assert outcome.err == ""
    found = json.loads(outcome.out)
    assert (found["text"], found["selected"], found["selector"]) == ("two, longer", 1, "command:wc -c")
    assert [(one["text"], one["score"]) for one in found["candidates"]] == [("one", 3.0), ("two, longer", 11.0)]


def test_without_a_selector_the_most_probable_is_kept(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script_candidates(["same", "same"])
    outcome = lmlab("run", "--best-of", "2", "hi")
    assert outcome.out == "same\n"
    assert "by logprob" in outcome.err


def test_an_engine_that_fails_before_any_candidate_ended_is_an_error(fake: Fake, lmlab: Lmlab) -> None:
    def prepare(backend: FakeBackend) -> None:
        backend.script((), error=EngineStopped("the engine stopped"))

    fake.prepare = prepare
    outcome = lmlab("run", "--best-of", "2", "hi")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "lmlab: the engine stopped\n")


def test_a_template_is_no_mistake_with_a_base_model(fake: Fake, lmlab: Lmlab) -> None:
    fake.model = replace(fake.model, header=fake_header(chat_template=None))
    assert "base model" in lmlab("run", "Once").err
    assert "base model" not in lmlab("run", "-t", "word-problem", "2 + 2?").err


def test_an_encoder_is_not_called_a_base_model(fake: Fake, lmlab: Lmlab) -> None:
    fake.model = replace(fake.model, header=fake_header(chat_template=None))
    fake.auto = False

    def prepare(backend: FakeBackend) -> None:
        backend.start = lambda: backend.fail_load(ModelLoadError("it is an encoder"))  # type: ignore[method-assign]

    fake.prepare = prepare
    assert lmlab("run", "hi").err == "lmlab: it is an encoder\n"


def test_a_reply_that_was_cut_off_does_not_follow_its_schema_yet(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(['{"a"'], reason="length")
    assert "does not follow its grammar or schema yet" in lmlab("run", "--json-schema", "true", "-n", "2", "hi").err

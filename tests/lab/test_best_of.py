"""Selectors by name, and candidates gathered from events."""

from __future__ import annotations

import pytest

from lmlab.backends import Backend, FinishReason, LoadSpec, Request, TextPrompt
from lmlab.backends.fake import FakeBackend
from lmlab.backends.fake_reply import FakeCandidate
from lmlab.errors import EngineStopped, UsageError
from lmlab.lab.best_of import Gather, SelectorSpec, open_selector, parse_selector

# Names


@pytest.mark.parametrize(
    ("text", "kind", "argument", "model"),
    [
        ("logprob", "logprob", "", None),
        ("vote", "vote", "", None),
        (" Vote ", "vote", "", None),
        ("judge", "judge", "", None),
        ("judge:hf:owner/repo:Q4_0", "judge", "hf:owner/repo:Q4_0", "hf:owner/repo:Q4_0"),
        ("reward:r.gguf", "reward", "r.gguf", "r.gguf"),
        ("regex:a:b ", "regex", "a:b ", None),
        ("command:python3 -c 'import x: y'", "command", "python3 -c 'import x: y'", None),
    ],
)
def test_a_selector_is_a_name_and_what_follows_the_first_colon(
    text: str, kind: str, argument: str, model: str | None
) -> None:
    spec = parse_selector(text)
    assert (spec.kind, spec.argument, spec.model) == (kind, argument, model)
    assert parse_selector(str(spec)) == spec


def test_only_a_vote_needs_answers() -> None:
    assert [kind for kind in ("logprob", "vote", "judge") if parse_selector(kind).needs_answer] == ["vote"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vot", "did you mean vote"),
        ("banana", r"give logprob, vote, judge\[:MODEL\], reward:MODEL, regex:PATTERN or command:CMD"),
        ("", "give logprob"),
        ("vote:3", "vote takes nothing after it"),
        ("logprob:", "logprob takes nothing after it"),
        ("judge: ", "name a model"),
        ("reward", "name the reward model"),
        ("reward:", "name the reward model"),
        ("regex", "give a pattern"),
        ("regex:a(b", r"missing \), unterminated subpattern at character 2"),
        ("regex:a{99999999999}", "too large"),
        ("command: ", "say which command"),
    ],
)
def test_a_wrong_selector_is_refused_with_what_may_be_given(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_selector(text)


def test_a_pattern_that_python_frowns_upon_is_taken() -> None:
    assert parse_selector("regex:[[a]").argument == "[[a]"


@pytest.mark.parametrize("text", ["logprob", "vote", "judge", "judge:other", "reward:other", "regex:a", "command:true"])
def test_each_selector_opens_under_the_name_it_was_given(text: str) -> None:
    opened: list[tuple[str, bool]] = []
    own = FakeBackend(LoadSpec("own.gguf"), lambda status: None, auto=True)

    def open_model(ref: str, rank: bool) -> Backend:
        opened.append((ref, rank))
        return FakeBackend(LoadSpec(ref, rank=rank), lambda status: None, auto=True)

    selector = open_selector(parse_selector(text), own=own, open_model=open_model, template_folder=None)
    assert selector.name == text
    assert selector.blocking == (text not in ("logprob", "vote"))
    assert opened == {"judge:other": [("other", False)], "reward:other": [("other", True)]}.get(text, [])
    selector.close()
    assert not own.closed


# Gathering


def read_answer(text: str) -> str | None:
    return text.rpartition(" ")[2] or None


def gathered(backend: FakeBackend, count: int, stream: bool) -> Gather:
    gather = Gather(count, read_answer)
    backend.generate(Request("r", TextPrompt("Hi"), candidates=count, stream=stream), gather.fold)
    return gather


@pytest.fixture
def auto() -> FakeBackend:
    return FakeBackend(LoadSpec("fake.gguf"), lambda status: None, auto=True)


@pytest.fixture
def manual() -> FakeBackend:
    backend = FakeBackend(LoadSpec("fake.gguf"), lambda status: None)
    backend.ready()
    return backend


@pytest.mark.parametrize("stream", [True, False])
def test_candidates_are_gathered_whole_with_their_answers(auto: FakeBackend, stream: bool) -> None:
    auto.script_candidates(
        [FakeCandidate("it is 7", logprob=-0.5), FakeCandidate("it is 42", "length", "!", logprob=-0.25)]
    )
    gather = gathered(auto, 2, stream)
    assert [(one.index, one.text, one.reason, one.logprob, one.answer) for one in gather.ended] == [
        (0, "it is 7", "stop", -0.5, "7"),
        (1, "it is 42!", "length", -0.25, "42!"),
    ]
    assert [len(one.tokens) for one in gather.ended] == [3, 3]
    assert gather.started is not None
    assert gather.finished is not None
    assert gather.failed is None


@pytest.mark.parametrize("stream", [True, False])
def test_a_single_candidate_ends_with_its_request(auto: FakeBackend, stream: bool) -> None:
    auto.script_candidates([FakeCandidate("it is 7", logprob=-0.5)])
    (only,) = gathered(auto, 1, stream).ended
    assert (only.text, only.answer, only.logprob) == ("it is 7", "7", -0.5)


def test_candidates_are_known_as_they_end(manual: FakeBackend) -> None:
    manual.script_candidates(["one two three", "it"])
    gather = Gather(2, read_answer)
    manual.generate(Request("r", TextPrompt("Hi"), candidates=2), gather.fold)
    manual.step(3)
    assert [one.index for one in gather.ended] == [1]
    assert gather.text(0) == "one two"
    assert gather.text(1) == "it"
    assert gather.finished is None


def test_a_cancelled_candidate_keeps_its_text_and_has_no_answer(manual: FakeBackend) -> None:
    manual.script_candidates(["one two three", "it"])
    gather = Gather(2, read_answer)
    handle = manual.generate(Request("r", TextPrompt("Hi"), candidates=2), gather.fold)
    manual.step(2)
    handle.cancel(0)
    manual.finish()
    first, second = gather.ended
    assert (first.reason, first.text, first.answer) == ("cancelled", "one", None)
    assert (second.reason, second.answer) == ("stop", "it")


def test_a_failed_request_keeps_what_had_ended(manual: FakeBackend) -> None:
    manual.script_candidates(["one two three", "it"])
    gather = Gather(2, read_answer)
    manual.generate(Request("r", TextPrompt("Hi"), candidates=2), gather.fold)
    manual.step(3)
    manual.crash(EngineStopped("the engine stopped: killed by signal 9"))
    assert isinstance(gather.failed, EngineStopped)
    assert [one.text for one in gather.ended] == ["it"]


@pytest.mark.parametrize("reason", ["length", "context"])
def test_a_candidate_that_a_limit_cut_is_read_like_any(auto: FakeBackend, reason: FinishReason) -> None:
    auto.script_candidates([FakeCandidate("it is 7", reason)])
    assert gathered(auto, 1, True).ended[0].answer == "7"


def test_a_spec_is_a_value() -> None:
    assert SelectorSpec("vote") == parse_selector("vote")

"""A draft model: what it guesses, and that it stays in step with the texts it guesses for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from loaded_models import OpenContext, load_model, opened_contexts

from lmlab.engine.draft import CATCH_UP, DraftJob, DraftModel
from lmlab.errors import ModelLoadError
from lmlab.llama import Context, DecodeStatus, Model

OpenDraft = Callable[..., DraftModel]

PROMPT = "The days of the week are Monday, Tuesday, Wednesday,"
COUNT = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,"


@pytest.fixture
def open_context() -> Iterator[OpenContext]:
    with opened_contexts(context=512, idle=0, batch=512) as opened:
        yield opened


@pytest.fixture
def open_draft(open_context: OpenContext) -> OpenDraft:
    def open_draft(model: Model, *, vocabulary: int | None = None, **options: int) -> DraftModel:
        size = model.vocabulary.size if vocabulary is None else vocabulary
        return DraftModel(model, open_context(model, **options), vocabulary=size)

    return open_draft


def greedy(context: Context, tokens: list[int], count: int) -> list[int]:
    """Return ``count`` likeliest tokens after ``tokens``, decoded plainly."""
    context.drop(0)
    said: list[int] = []
    missing, position = tokens, 0
    for _ in range(count):
        context.batch.clear()
        row = context.batch.add(missing, position, 0, logits=True)
        assert context.decode() is DecodeStatus.DONE
        position += len(missing)
        missing = [int(context.logits(row).argmax())]
        said += missing
    return said


def caught_up(draft: DraftModel, sequence: int, tokens: list[int], depth: int) -> list[int]:
    """Ask until the draft has read the text, and return its guesses."""
    for _ in range(len(tokens) // CATCH_UP + 2):
        (guesses,) = draft.propose([DraftJob(sequence, tokens, depth)])
        if guesses is not None:
            return guesses
    raise AssertionError("it never caught up")


def decoded_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of rows of each decode from now on."""
    rows: list[int] = []
    decode = Context.decode

    def counted(context: Context) -> DecodeStatus:
        rows.append(int(context.batch.struct.n_tokens))
        return decode(context)

    monkeypatch.setattr(Context, "decode", counted)
    return rows


def test_a_model_guesses_what_it_would_say_itself(
    smollm2_model: Model, open_draft: OpenDraft, open_context: OpenContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = smollm2_model.vocabulary.tokenize(COUNT, special=False)
    said = greedy(open_context(smollm2_model), tokens, 5)
    draft = open_draft(smollm2_model)
    assert caught_up(draft, 0, tokens, 5) == said, "a text as sure as counting is guessed to the full depth"
    assert caught_up(draft, 0, tokens, 2) == said[:2]
    rows = decoded_rows(monkeypatch)
    assert caught_up(draft, 0, [*tokens, *said[:3]], 2) == said[3:]
    assert rows == [2, 1], "the last guess that was held, the draw after it, and the first new guess"


def test_it_stops_where_it_is_unsure(smollm2_model: Model, open_draft: OpenDraft) -> None:
    tokens = smollm2_model.vocabulary.tokenize("My favourite", special=False)
    assert caught_up(open_draft(smollm2_model), 0, tokens, 8) == []


def test_after_a_wrong_guess_it_goes_on_from_what_was_drawn(smollm2_model: Model, open_draft: OpenDraft) -> None:
    vocabulary = smollm2_model.vocabulary
    tokens = vocabulary.tokenize(COUNT, special=False)
    draft = open_draft(smollm2_model)
    guesses = caught_up(draft, 0, tokens, 5)
    other = vocabulary.tokenize("20, 21, 22, 2", special=False)
    assert guesses[1:2] != other[:1]
    diverged = [*tokens, guesses[0], *other]
    assert caught_up(draft, 0, diverged, 4) == caught_up(open_draft(smollm2_model), 0, diverged, 4) != []


def test_several_texts_at_once_are_guessed_as_each_alone(smollm2_model: Model, open_draft: OpenDraft) -> None:
    vocabulary = smollm2_model.vocabulary
    texts = [vocabulary.tokenize(text, special=False) for text in (COUNT, PROMPT, "a b c d e f g a b c d e f g a b c")]
    alone = [caught_up(open_draft(smollm2_model), 0, tokens, 3) for tokens in texts]
    draft = open_draft(smollm2_model)
    jobs = [DraftJob(sequence, tokens, 3) for sequence, tokens in enumerate(texts, start=1)]
    for _ in range(4):
        together = draft.propose(jobs)
    assert together == alone
    assert sum(map(len, alone)) >= 6


def test_a_long_text_is_read_over_several_calls_while_others_are_guessed(tiny: Model, open_draft: OpenDraft) -> None:
    draft = open_draft(tiny)
    short, long = list(b"hello"), list(b"the quick brown fox " * 10)
    draft.propose([DraftJob(1, short, 1)])
    answers = [draft.propose([DraftJob(0, long, 1), DraftJob(1, short, 1)]) for _ in range(len(long) // CATCH_UP + 1)]
    assert answers[0][0] is None
    assert answers[-1][0] is not None
    assert all(guesses is not None for _, guesses in answers)


def test_what_it_reads_is_measured(tiny: Model, open_context: OpenContext) -> None:
    ticks = iter(range(1000))
    draft = DraftModel(tiny, open_context(tiny), vocabulary=tiny.vocabulary.size, clock=lambda: float(next(ticks)))
    text = list(b"the quick brown fox " * 10)
    assert draft.seconds_per_guess == draft.catch_up(0, len(text)) == 0
    draft.propose([DraftJob(0, text, 1)])
    first = draft.catch_up(0, len(text))
    assert 0 < first < draft.catch_up(1, len(text))
    caught_up(draft, 0, text, 1)
    assert draft.catch_up(0, len(text)) == 0
    draft.propose([DraftJob(0, text, 1)])
    assert draft.seconds_per_guess == 1, "a tick"


@pytest.mark.parametrize("over", [False, True])
def test_a_text_that_begins_like_another_is_not_read_again(
    tiny: Model, open_draft: OpenDraft, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """Candidates share the prompt of one that runs, a chat's next turn that of one that is over."""
    draft, text = open_draft(tiny), list(b"the quick brown fox " * 10)
    caught_up(draft, 0, text, 1)
    if over:
        draft.drop(0)
    rows = decoded_rows(monkeypatch)
    same, branch = [*text, 65], [*text, 66]
    together = draft.propose([DraftJob(1, same, 1), DraftJob(2, branch, 1)])
    assert rows[0] == 2, "what is new of each"
    fresh = open_draft(tiny)
    assert together == [caught_up(fresh, 0, same, 1), caught_up(fresh, 1, branch, 1)]


@pytest.mark.parametrize("sequence", [0, 2])
def test_a_window_that_is_gone_is_read_again(
    windowed: Model, open_draft: OpenDraft, monkeypatch: pytest.MonkeyPatch, sequence: int
) -> None:
    """llama.cpp drops what lies behind the window of one text when another needs the cells."""
    draft = open_draft(windowed, context=256)
    text = list(b"the quick brown fox jumps over the lazy dog, and again and again" * 2)[:80]
    caught_up(draft, 1, list(b"a" * 80), 1)
    caught_up(draft, 0, text, 1)
    caught_up(draft, 1, list(b"b" * 110), 1)
    earlier = text[:30]
    rows = decoded_rows(monkeypatch)
    guesses = caught_up(draft, sequence, earlier, 3)
    assert sum(rows) >= 30, "the cut text was not whole any more"
    assert guesses == caught_up(open_draft(windowed), 0, earlier, 3)


def test_without_room_somebody_gets_no_guesses_until_another_ends(
    tiny: Model, open_draft: OpenDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = open_draft(tiny, context=256)
    texts = [list(bytes([letter]) * 100) for letter in b"abc"]
    caught_up(draft, 0, texts[0], 1)
    draft.drop(0)
    jobs = [DraftJob(sequence, tokens, 2) for sequence, tokens in enumerate(texts)]
    for _ in range(12):
        answers = draft.propose(jobs)
    assert [guesses is None for guesses in answers].count(True) == 1
    rows = decoded_rows(monkeypatch)
    assert draft.propose(jobs) == answers
    assert max(rows) <= 4, "whoever has no room does not begin again and again"
    crowded = answers.index(None)
    draft.drop((crowded + 1) % 3)
    assert caught_up(draft, crowded, texts[crowded], 2) is not None


def test_a_text_longer_than_its_context_gets_no_guesses(tiny: Model, open_draft: OpenDraft) -> None:
    draft = open_draft(tiny, context=256)
    text = list(b"a" * 256)
    assert caught_up(draft, 0, text[:255], 8) is not None
    assert draft.propose([DraftJob(0, [*text, 97], 8)]) == [None]


def test_guesses_stay_within_the_targets_vocabulary(smollm2_model: Model, open_draft: OpenDraft) -> None:
    tokens = smollm2_model.vocabulary.tokenize(COUNT, special=False)
    guess = caught_up(open_draft(smollm2_model), 0, tokens, 1)[0]
    assert guess not in caught_up(open_draft(smollm2_model, vocabulary=guess), 0, tokens, 1)


def test_a_token_it_does_not_know_ends_its_guesses(tiny: Model, open_draft: OpenDraft) -> None:
    draft = open_draft(tiny)
    assert draft.propose([DraftJob(0, [1, tiny.vocabulary.size, 2], 2)]) == [None]
    assert caught_up(draft, 0, [1, 2], 2) is not None


def test_an_interrupt_ends_the_guessing_and_leaves_it_in_step(smollm2_model: Model, open_draft: OpenDraft) -> None:
    tokens = smollm2_model.vocabulary.tokenize(COUNT, special=False)
    draft = open_draft(smollm2_model)
    expected = caught_up(draft, 0, tokens, 4)
    longer = [*tokens, *expected[:1]]
    draft.interrupt()
    assert draft.propose([DraftJob(0, longer, 3)]) == [None]
    draft.clear_interrupt()
    assert caught_up(draft, 0, longer, 3) == expected[1:]


@pytest.mark.parametrize("status", [DecodeStatus.INTERRUPTED, DecodeStatus.FAILED])
def test_what_a_batch_that_was_not_done_left_behind_is_forgotten(
    tiny: Model, open_draft: OpenDraft, monkeypatch: pytest.MonkeyPatch, status: DecodeStatus
) -> None:
    draft, text = open_draft(tiny), list(b"hello world")
    caught_up(draft, 0, text[:6], 1)
    decode = Context.decode

    def half_done(context: Context) -> DecodeStatus:
        decode(context)
        return status

    monkeypatch.setattr(Context, "decode", half_done)
    assert draft.propose([DraftJob(0, text, 2)]) == [None]
    monkeypatch.setattr(Context, "decode", decode)
    assert caught_up(draft, 0, text, 2) == caught_up(open_draft(tiny), 0, text, 2)


def test_a_sequence_it_cannot_decode_is_refused(tiny: Model, open_draft: OpenDraft) -> None:
    for sequence in (-1, 4, 256):
        with pytest.raises(ValueError, match=f"sequence {sequence} is not one of the draft's 4"):
            open_draft(tiny).propose([DraftJob(sequence, [1], 1)])


def test_no_guesses_asked_for_are_none_given(tiny: Model, open_draft: OpenDraft) -> None:
    draft = open_draft(tiny)
    assert draft.propose([]) == []
    assert draft.propose([DraftJob(0, [1, 2], 0)]) == [None]


def test_it_does_not_guess_at_an_end(smollm2_model: Model, open_draft: OpenDraft, open_context: OpenContext) -> None:
    vocabulary = smollm2_model.vocabulary
    turn = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes"
    tokens = vocabulary.tokenize(f"{turn}.<|im_end|>\n{turn}.", special=True)
    (said,) = greedy(open_context(smollm2_model), tokens, 1)
    assert vocabulary.is_end(said)
    assert caught_up(open_draft(smollm2_model), 0, tokens, 8) == []


def test_an_encoder_cannot_guess(tmp_path: Path, open_draft: OpenDraft) -> None:
    encoder = load_model(tiny_models.write_encoder(tmp_path / "encoder.gguf"))
    with pytest.raises(ModelLoadError, match="makes embeddings"):
        open_draft(encoder)

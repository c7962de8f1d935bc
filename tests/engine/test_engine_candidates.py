"""Several candidates of one prompt, and prompts that share what comes first."""

from __future__ import annotations

import pytest
from engine_drive import GREEDY, HOT, Drive, OpenEngine, alone, check_nothing_left, check_same, noise, request

from lmlab.engine import Admitted, Drawn
from lmlab.llama import Model


def test_candidates_share_one_prefill(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny))
    reply = drive.finish(request("a", noise(50), HOT, candidates=4))["a"]
    assert len(reply.of(Admitted)) == 1
    assert drive.rows == [50, *[4] * 11]
    for candidate in range(4):
        assert reply.of_candidate(candidate).ended.drawn == 12
    check_nothing_left(drive.engine)


def test_each_candidate_draws_its_own_first_token(tiny: Model, open_engine: OpenEngine) -> None:
    reply = alone(open_engine(tiny, sequences=8), request("a", noise(5), HOT, candidates=8))
    firsts = [reply.of_candidate(candidate).tokens[0] for candidate in range(8)]
    assert len(set(firsts)) > 1


@pytest.mark.parametrize("sequences", [1, 3, 8])
def test_a_candidate_does_not_depend_on_how_many_there_are(
    any_tiny: Model, open_engine: OpenEngine, sequences: int
) -> None:
    one, four, eight = (
        alone(open_engine(any_tiny, sequences=sequences), request("a", noise(20), HOT, candidates=count))
        for count in (1, 4, 8)
    )
    assert one.of_candidate(0).tokens == eight.of_candidate(0).tokens
    for candidate in range(4):
        assert four.of_candidate(candidate).tokens == eight.of_candidate(candidate).tokens


def test_candidates_on_a_real_model_are_the_same_among_four_or_eight(
    smollm2_model: Model, open_engine: OpenEngine
) -> None:
    prompt = smollm2_model.vocabulary.tokenize("Once upon a time there was a", special=False)
    four, eight = (
        alone(open_engine(smollm2_model, sequences=8), request("a", prompt, HOT, candidates=count)) for count in (4, 8)
    )
    for candidate in range(4):
        assert four.of_candidate(candidate).tokens == eight.of_candidate(candidate).tokens


def test_candidates_share_a_row_for_as_long_as_their_texts_are_the_same(
    any_tiny: Model, open_engine: OpenEngine
) -> None:
    drive = Drive(open_engine(any_tiny))
    reply = drive.finish(request("a", noise(50), GREEDY, candidates=4))["a"]
    apart = 4 if any_tiny.recurrent else 1
    assert drive.rows == [50, *[apart] * 11]
    single = alone(open_engine(any_tiny), request("a", noise(50), GREEDY))
    for candidate in range(4):
        check_same(reply.of_candidate(candidate), single)
    check_nothing_left(drive.engine)


def test_candidates_that_part_go_on_as_if_they_had_never_shared(any_tiny: Model, open_engine: OpenEngine) -> None:
    # A temperature at which some stay together.
    mild = HOT.with_value("temperature", 0.06).with_value("max_tokens", 24)
    drive = Drive(open_engine(any_tiny, sequences=6))
    reply = drive.finish(request("a", noise(50), mild, candidates=6))["a"]
    texts = [reply.of_candidate(candidate).tokens for candidate in range(6)]
    different = [len({tuple(text[:drawn]) for text in texts}) for drawn in range(1, 24)]
    assert 1 < different[-1] < 6, "they never parted, or all did: try another temperature"
    assert drive.rows[1:] == ([6] * 23 if any_tiny.recurrent else different)
    for candidate, text in enumerate(texts):
        follow = [*noise(50), *text]
        reused = drive.finish(request(f"b{candidate}", follow, max_tokens=1))[f"b{candidate}"]
        assert any_tiny.recurrent or reused.ended.cached >= 50 + 23
        (logprob,) = alone(open_engine(any_tiny), request("b", follow, max_tokens=1)).logprobs
        assert reused.logprobs[0] == pytest.approx(logprob, abs=0.05)
    check_nothing_left(drive.engine)


@pytest.mark.parametrize("gone", [0, 2])
def test_the_others_go_on_when_one_that_shares_their_row_is_cancelled(
    tiny: Model, open_engine: OpenEngine, gone: int
) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(20), GREEDY, candidates=3))
    drive.until("a", 9)
    drive.engine.cancel("a", gone)
    reply = drive.finish()["a"]
    single = alone(open_engine(tiny), request("a", noise(20), GREEDY))
    for candidate in {0, 1, 2} - {gone}:
        check_same(reply.of_candidate(candidate), single)
    assert reply.of_candidate(gone).ended.reason == "cancelled"
    check_nothing_left(drive.engine)


def test_no_rows_are_shared_where_nothing_may_be_reused(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, reuse=False))
    drive.finish(request("a", noise(20), GREEDY, candidates=3))
    assert drive.rows == [20, *[3] * 11]


def test_more_candidates_than_sequences_are_all_served(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, sequences=2))
    reply = drive.finish(request("a", noise(30), HOT, candidates=5))["a"]
    assert sorted(event.candidate for event in reply.of(Drawn) if event.index == 11) == list(range(5))
    # Those that begin later do so two at a time, and decode the last token of the prompt again for both: all of it where
    # a state cannot be cut back by one token.
    again = 30 if any_tiny.recurrent else 1
    assert sum(drive.rows) == 30 + 5 * 11 + 2 * again
    check_nothing_left(drive.engine)


def test_one_candidate_can_be_cancelled(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny))
    drive.submit(request("a", noise(20), HOT, candidates=3))
    drive.until("a", 9)
    drive.engine.cancel("a", 1)
    reply = drive.finish()["a"]
    assert [reply.of_candidate(candidate).ended.reason for candidate in range(3)] == ["length", "cancelled", "length"]
    whole = alone(open_engine(any_tiny), request("a", noise(20), HOT, candidates=3))
    for candidate in (0, 2):
        assert reply.of_candidate(candidate).tokens == whole.of_candidate(candidate).tokens
    check_nothing_left(drive.engine)


def test_cancelling_a_request_ends_all_its_candidates(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, sequences=2))
    drive.submit(request("a", noise(20), HOT, candidates=4))
    drive.until("a", 3)
    drive.engine.cancel("a")
    reply = drive.finish()["a"]
    assert [reply.of_candidate(candidate).ended.reason for candidate in range(4)] == ["cancelled"] * 4
    check_nothing_left(drive.engine)


def test_a_change_is_for_every_candidate(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(20), HOT, candidates=3))
    drive.until("a", 6)
    drive.engine.update("a", HOT.with_value("temperature", 0.0).with_value("max_tokens", 6))
    reply = drive.finish()["a"]
    assert len(reply.changed) == 1
    assert [reply.of_candidate(candidate).ended.drawn for candidate in range(3)] == [6, 6, 6]


def test_prompts_that_arrive_together_decode_their_common_prefix_once(any_tiny: Model, open_engine: OpenEngine) -> None:
    shared = noise(100)
    requests = [request(str(seed), [*shared, *noise(7, seed)], max_tokens=3) for seed in range(1, 4)]
    drive = Drive(open_engine(any_tiny))
    replies = drive.finish(*requests)
    if any_tiny.recurrent:
        assert sum(drive.rows) == 3 * (107 + 2), "a state cannot be taken over halfway"
    else:
        assert sum(drive.rows) == 100 + 3 * (7 + 2)
        assert [replies[name].ended.cached for name in "123"] == [0, 100, 100]
    for new in requests:
        check_same(replies[new.id], alone(open_engine(any_tiny), new))
    check_nothing_left(drive.engine)


def test_a_prefix_decoded_in_chunks_is_waited_for(tiny: Model, open_engine: OpenEngine) -> None:
    shared = noise(300)
    drive = Drive(open_engine(tiny, context=1024))
    replies = drive.finish(*(request(str(seed), [*shared, *noise(5, seed)], max_tokens=2) for seed in range(3)))
    assert sum(drive.rows) == 300 + 3 * (5 + 1)
    assert [replies[name].ended.cached for name in "012"] == [0, 300, 300]


def test_one_that_waits_for_a_prefix_holds_up_nobody(tiny: Model, open_engine: OpenEngine) -> None:
    shared = noise(300)
    drive = Drive(open_engine(tiny, context=1024, sequences=3))
    drive.submit(
        request("a", [*shared, 1, 2, 3]),
        request("b", [*shared, 4, 5, 6]),
        request("c", noise(20, seed=8), max_tokens=2),
    )
    drive.step()
    assert [running.request.id for running in drive.engine._running] == ["a", "c"]
    drive.finish()
    assert drive.replies["b"].ended.cached == 300


def test_when_the_one_that_decodes_a_prefix_is_cancelled_another_goes_on_from_there(
    tiny: Model, open_engine: OpenEngine
) -> None:
    shared = noise(300)
    drive = Drive(open_engine(tiny, context=1024))
    drive.submit(request("a", [*shared, 1, 2, 3]), request("b", [*shared, 4, 5, 6]))
    drive.step()
    (computed,) = drive.rows
    drive.engine.cancel("a")
    replies = drive.finish()
    assert replies["b"].ended.cached == computed
    check_same(replies["b"], alone(open_engine(tiny, context=1024), request("b", [*shared, 4, 5, 6])))


def test_candidates_set_back_for_want_of_memory_are_none_the_worse(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, context=256, sequences=4))
    crowded = drive.finish(request("a", noise(60), HOT, candidates=4, max_tokens=90))["a"]
    roomy = alone(open_engine(any_tiny, context=1024), request("a", noise(60), HOT, candidates=4, max_tokens=90))
    for candidate in range(4):
        assert crowded.of_candidate(candidate).ended.drawn == 90
        assert len(roomy.of_candidate(candidate).tokens) == 90
    check_nothing_left(drive.engine)

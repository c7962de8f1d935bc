"""Every architecture says the same alone, beside others, from the cache and from a saved state, or is refused in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from architectures_table import HEAD, PAGE, refused_row, supported_row
from families import FAMILIES
from family_loading import Loader, Tiny, spec_of
from refused_families import REFUSED
from replies import LENGTH, all_replies, difference, reply, request, text
from tiny_family import write_family

from lmlab.engine import KEPT_PREFIXES, Restorable, reuse_policy
from lmlab.errors import ModelLoadError
from lmlab.worker import faults

TOLERANCE = 0.005
"""Of log-probabilities. Of a token in another's place, or another's state, they change by more than twice as much."""

_REASONS = ("makes embeddings", "not a model that continues text", "returns the logits of a prompt's first token")
PROMPT, COMMON = text(60, 1), 40
OTHERS = {"second": text(40, 2), "third": text(33, 3)}


def test_what_was_said_before_matters(tiny: Tiny) -> None:
    """So that the tests below could fail: another beginning, of which nothing is left in the last tokens, is noticed."""
    one = reply(tiny.uncached, request("one", PROMPT))
    other = reply(tiny.uncached, request("other", (*text(COMMON, 7), *PROMPT[COMMON:])))
    assert difference(one, other) > 2 * TOLERANCE


def test_beside_others_it_says_what_it_says_alone(tiny: Tiny) -> None:
    requests = [request("first", PROMPT), *(request(name, tokens) for name, tokens in OTHERS.items())]
    alone = {new.id: reply(tiny.uncached, new) for new in requests}
    for engine in (tiny.uncached, tiny.loaded.engine):
        together = all_replies(engine, *requests)
        assert max(difference(alone[new.id], together[new.id, 0]) for new in requests) < TOLERANCE


def test_candidates_go_on_from_one_prompt(tiny: Tiny) -> None:
    alone = reply(tiny.uncached, request("alone", PROMPT))
    several = all_replies(tiny.loaded.engine, request("several", PROMPT, candidates=3))
    assert len(several) == 3
    assert max(difference(alone, candidate) for candidate in several.values()) < TOLERANCE


def test_the_cache_changes_nothing_but_the_time(tiny: Tiny) -> None:
    """The same again, a conversation that goes on, and one that parts from it halfway."""
    engine, policy = tiny.loaded.engine, tiny.loaded.info.reuse
    first = reply(engine, request("first", PROMPT))
    longer = (*PROMPT, *first.tokens, *text(20, 9))
    parted = (*PROMPT[:COMMON], *text(30, 11))
    whole_states_only = 0 if policy in ("recurrent", "none") else None
    for name, tokens, least in (
        ("again", PROMPT, len(PROMPT) - 1 if whole_states_only is None else whole_states_only),
        ("longer", longer, 0 if policy == "none" else len(PROMPT) + LENGTH - 1),
        ("parted", parted, COMMON if whole_states_only is None else whole_states_only),
    ):
        cached = reply(engine, request(name, tokens))
        assert cached.cached == least, name
        assert difference(reply(tiny.uncached, request(name, tokens)), cached) < TOLERANCE, name


def test_a_saved_state_is_as_good_as_a_decoded_one(tiny: Tiny, loader: Loader) -> None:
    first = reply(tiny.loaded.engine, request("first", PROMPT, save=True))
    assert first.saved is not None
    state = first.saved
    longer = (*state.tokens, *text(20, 9))
    fresh = loader(replace(tiny.spec, reuse=True)).engine
    payload = bytes(state.payload)
    restorable = Restorable(state.tokens, len(state.tokens), lambda: payload)
    restored = reply(fresh, request("longer", longer, restorable=restorable))
    # A model of which nothing may be reused reads nothing either.
    assert restored.restored == (0 if tiny.loaded.info.reuse == "none" else len(state.tokens))
    assert difference(reply(tiny.uncached, request("longer", longer)), restored) < TOLERANCE


def test_it_runs_as_people_run_it(tiny: Tiny, loader: Loader) -> None:
    """With flash attention where there is one, and two bytes a number in the KV cache."""
    default = loader(replace(tiny.spec, key_type="f16", value_type="f16", flash_attention=None))
    together = all_replies(default.engine, request("first", PROMPT), request("second", OTHERS["second"]))
    assert [len(said.tokens) for said in together.values()] == [LENGTH, LENGTH]


def test_the_policy_is_that_of_its_memory(tiny: Tiny) -> None:
    shape, kv, model = tiny.card.shape, tiny.card.kv, tiny.loaded.model
    keeps_state = kv is None or kv.state != 0
    expected = "recurrent" if keeps_state else "sliding-window" if shape.windowed_layers else "full"
    assert reuse_policy(model) == expected
    assert tiny.loaded.info.reuse == ("none" if tiny.family.architecture in faults.WITHOUT_COPIES else expected)
    assert tiny.loaded.info.layout.sequences == (
        1 if tiny.family.architecture in faults.ONE_AT_A_TIME | faults.WITHOUT_COPIES else 4
    )


def test_the_card_is_what_llama_cpp_loaded(tiny: Tiny) -> None:
    shape, model = tiny.card.shape, tiny.loaded.model
    assert tiny.card.architecture == tiny.family.architecture
    assert (shape.layers, shape.parameters) == (model.layers, model.parameters)
    assert shape.vocabulary == model.vocabulary.size
    said = {
        key: tiny.header.metadata.get(f"{tiny.family.architecture}.{key}")
        for key in ("expert_count", "expert_used_count")
    }
    assert (shape.experts, shape.experts_used) == (said["expert_count"], said["expert_used_count"])
    if reuse_policy(model) != "recurrent":
        assert (shape.sliding_window if shape.windowed_layers else 0) == model.sliding_window


def test_the_kv_cache_takes_what_the_card_says(tiny: Tiny) -> None:
    kv, layout = tiny.card.kv, tiny.loaded.info.layout
    if tiny.family.architecture in ("deepseek4", "glm5-next"):
        assert kv is None
        return
    assert kv is not None
    assert kv.state is not None
    states = layout.sequences + KEPT_PREFIXES["recurrent"]
    # llama.cpp says it in hundredths of a MiB, of keys and values of each cache.
    expected = kv.bytes_for(tiny.loaded.info.context, "f32") + (states * kv.state if kv.state else 0)
    assert layout.kv == pytest.approx(expected, abs=6 * 2**20 // 100)


def test_the_page_says_so(tiny: Tiny) -> None:
    assert supported_row(tiny.family, tiny.header, tiny.card, tiny.loaded.info) in PAGE.read_text(encoding="utf-8")


def test_the_page_says_no_more() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written.startswith(HEAD)
    assert written.count("\n| ") - 2 == len(FAMILIES) + len(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_continue_text_is_refused(name: str, loader: Loader, tmp_path: Path) -> None:
    path = write_family(tmp_path / "refused.gguf", REFUSED[name])
    with pytest.raises(ModelLoadError) as refused:
        loader(spec_of(path))
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith(str(path))
    assert any(reason in said for reason in _REASONS)
    assert refused_row(REFUSED[name], path, said) in PAGE.read_text(encoding="utf-8")


def test_an_architecture_that_llama_cpp_does_not_know_is_named(loader: Loader, tmp_path: Path) -> None:
    path = tiny_models.write_tensors(tmp_path / "unknown.gguf", "gptj", {}, {})
    with pytest.raises(ModelLoadError, match=r"unsupported model architecture: 'gptj'"):
        loader(spec_of(path))

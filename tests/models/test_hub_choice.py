"""Which quantization is taken when nobody named one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import Hub

from lmlab.errors import DownloadError, ModelNotFound
from lmlab.models import resolve
from lmlab.models.catalogue import ENTRIES, PackagedEntry
from lmlab.models.hub_choice import choose_for_memory
from lmlab.models.hub_files import HubReference, quantization_in
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]
REPO = "owner/Tiny-GGUF"
GB = 10**9
SIZES = {"README.md": 9, "m-Q2_K.gguf": 3 * GB, "m-Q4_K_M.gguf": 5 * GB, "m-Q8_0.gguf": 8 * GB, "m-f16.gguf": 15 * GB}


@pytest.mark.parametrize(
    ("available", "name"), [(64, "m-Q4_K_M.gguf"), (6, "m-Q4_K_M.gguf"), (5.9, "m-Q2_K.gguf"), (3.6, "m-Q2_K.gguf")]
)
def test_the_usual_one_if_it_fits_else_the_largest_that_does(available: float, name: str) -> None:
    choice = choose_for_memory(SIZES, HubReference(REPO), round(available * GB))

    assert choice.name == name
    assert "of 4 quantizations" in choice.why
    assert "of memory are free" in choice.why


def test_where_the_usual_one_does_not_fit_the_reason_says_so() -> None:
    why = choose_for_memory(SIZES, HubReference(REPO), 4 * GB).why

    assert (
        why
        == "Q2_K of 4 quantizations, the largest that fits (4.0 GB of memory are free; Q4_K_M, with 5.0 GB, does not)"
    )


def test_nothing_that_fits_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        ModelNotFound, match=r"2.0 GB of memory are free, and the smallest, Q2_K, has 3.0 GB.*:m-Q2_K.gguf"
    ):
        choose_for_memory(SIZES, HubReference(REPO), 2 * GB)


def test_without_the_usual_one_a_quantized_one_goes_before_a_whole_one() -> None:
    sizes = {"m-Q4_0.gguf": 4 * GB, "m-Q8_0.gguf": 8 * GB, "m-BF16.gguf": 15 * GB}

    assert choose_for_memory(sizes, HubReference(REPO), 64 * GB).name == "m-Q8_0.gguf"
    assert "there is no Q4_K_M" in choose_for_memory(sizes, HubReference(REPO), 64 * GB).why
    twice = {"a-Q4_K_M.gguf": 4 * GB, "b-Q4_K_M.gguf": 5 * GB}
    assert "2 are Q4_K_M" in choose_for_memory(twice, HubReference(REPO), 64 * GB).why
    assert choose_for_memory({"m-BF16.gguf": 15 * GB}, HubReference(REPO), 64 * GB).name == "m-BF16.gguf"


def test_parts_count_together_and_the_only_model_needs_no_reason() -> None:
    sizes = {f"m-Q4_K_M-0000{number}-of-00002.gguf": 4 * GB for number in (1, 2)}

    choice = choose_for_memory(sizes, HubReference(REPO), 64 * GB)
    assert (choice.name, choice.why) == ("m-Q4_K_M-00001-of-00002.gguf", "")
    with pytest.raises(ModelNotFound, match=r"has 8\.0 GB"):
        choose_for_memory(sizes, HubReference(REPO), 9 * GB)


def test_without_sizes_it_is_as_without_memory() -> None:
    assert choose_for_memory(dict.fromkeys(SIZES), HubReference(REPO), 1).name == "m-Q4_K_M.gguf"
    with pytest.raises(ModelNotFound, match="has no Q4_K_M; it holds"):
        choose_for_memory({"m-Q8_0.gguf": None, "m-Q2_K.gguf": None}, HubReference(REPO), 1)


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Q4_K_M/Llama-3.2-1B-Instruct-Q4_K_M-00001-of-00002.gguf", "Q4_K_M"),
        ("gemma-3-270m-q4_k_m.gguf", "q4_k_m"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("m-UD-Q4_K_XL.gguf", "Q4_K_XL"),
        ("Qwen3-0.6B-IQ4_XS.gguf", "IQ4_XS"),
        ("Qwen3-0.6B-f16.gguf", "f16"),
        ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
        ("Qwen3-0.6B.gguf", None),
    ],
)
def test_a_quantization_is_read_from_a_name(name: str, quantization: str | None) -> None:
    assert quantization_in(name) == quantization


@pytest.fixture
def hub_with_three(hub: Hub, make_gguf: MakeGguf) -> Hub:
    hub.repos[REPO] = {
        "m-Q2_K.gguf": make_gguf(1, rows=100),
        "m-Q4_K_M.gguf": make_gguf(2, rows=4000),
        "m-Q8_0.gguf": make_gguf(3, rows=8000),
    }
    return hub


@pytest.mark.parametrize(("available", "name"), [(10**9, "m-Q4_K_M.gguf"), (10**6, "m-Q2_K.gguf")])
def test_what_is_fetched_follows_the_memory_and_the_notice_says_so(
    hub_with_three: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, available: int, name: str
) -> None:
    monkeypatch.setattr("lmlab.models.memory_need.available_memory", lambda: available)

    model = resolve(f"hf:{REPO}", paths=paths, config=Config(), environ=dict(os.environ))

    assert model.path.name == name
    assert model.notice is not None
    assert f"it is {quantization_in(name)} of 3 quantizations" in model.notice
    hub_with_three.requests.clear()
    again = resolve(f"hf:{REPO}", paths=paths, config=Config(), offline=True, environ=dict(os.environ))
    assert (again.path, again.notice, hub_with_three.requests) == (model.path, None, [])


def test_of_several_that_are_here_the_last_one_fetched_is_meant(
    hub_with_three: Hub, paths: Paths, make_gguf: MakeGguf
) -> None:
    def pull(ref: str, **options: bool) -> Path:
        return resolve(ref, paths=paths, config=Config(), environ=dict(os.environ), **options).path

    for number, ref in enumerate((f"{REPO}:Q8_0", f"{REPO}:Q2_K")):
        os.utime(pull(ref), ns=(number, number))

    assert pull(f"hf:{REPO}", offline=True).name == "m-Q2_K.gguf"


def test_a_name_of_the_hub_alone_is_fetched_and_checked(hub: Hub, paths: Paths, make_gguf: MakeGguf) -> None:
    entry = next(entry for entry in ENTRIES if entry.name == "qwen3-0.6b")
    hub.repos[entry.hub.repo] = {"Qwen3-0.6B-Q8_0.gguf": make_gguf(1)}

    model = resolve("qwen3-0.6b", paths=paths, config=Config(), environ=dict(os.environ))

    assert (model.ref, model.path.name) == ("qwen3-0.6b", "Qwen3-0.6B-Q8_0.gguf")
    assert (
        resolve("qwen3-0.6b", paths=paths, config=Config(), offline=True, environ=dict(os.environ)).path == model.path
    )


def test_wrong_bytes_of_such_a_name_are_refused(hub: Hub, paths: Paths, make_gguf: MakeGguf) -> None:
    hub.repos["ggml-org/Qwen3-0.6B-GGUF"] = {"Qwen3-0.6B-Q8_0.gguf": make_gguf(1)}
    hub.corrupt = True

    with pytest.raises(DownloadError, match="arrived wrong"):
        resolve("qwen3-0.6b", paths=paths, config=Config(), environ=dict(os.environ))


def test_names_of_the_hub_alone_are_marked() -> None:
    for entry in ENTRIES:
        assert isinstance(entry, PackagedEntry) != entry.title.endswith("not tested here")


def test_a_model_of_which_only_the_first_part_fits_the_disk_is_not_begun(
    hub: Hub, paths: Paths, make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    parts = {f"m-0000{number}-of-00002.gguf": make_gguf(number, rows=4000) for number in (1, 2)}
    hub.repos[REPO] = parts
    first = len(parts["m-00001-of-00002.gguf"])
    usage = namedtuple("usage", "total used free")(1, 1, (16 << 20) + first + 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    with pytest.raises(DownloadError, match=r"it takes 3 MB in .* is free"):
        resolve(f"hf:{REPO}:m-00001-of-00002.gguf", paths=paths, config=Config(), environ=dict(os.environ))
    assert not [path for path in hub.paths("GET") if "resolve" in path]

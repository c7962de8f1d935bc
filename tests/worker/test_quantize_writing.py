"""Writing a model anew, in this process: from the log alone, and what is refused before anything is written."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tiny_models import write_llama

from lmlab.errors import ModelError, UsageError
from lmlab.llama import Library
from lmlab.models.quantizations import QUANTIZATIONS, file_type_number
from lmlab.worker.quantizing.messages import Planned, Quantize, Written
from lmlab.worker.quantizing.quantize_log import QuantizeLog
from lmlab.worker.quantizing.writing import write

PLENTY = 1 << 40


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", width=256)


@pytest.fixture
def log(library: Library, monkeypatch: pytest.MonkeyPatch) -> QuantizeLog:
    """What the library, which other tests share, writes to for this one: the callback of whoever started it last is called."""
    log = QuantizeLog(lambda done, tensors, fraction: heard.append((done, tensors, fraction)))
    heard: list[tuple[int, int, float]] = []
    monkeypatch.setattr(library._started[-1], "_log", log.take)
    log.heard = heard  # type: ignore[attr-defined]
    return log


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Planned]:
    monkeypatch.chdir(tmp_path)
    return []


def request(source: Path, folder: Path, label: str, **options: object) -> Quantize:
    known = {"threads": 1, "metadata": 1000} | options
    return Quantize(str(source), str(folder), "new.part", file_type_number(label), label, **known)  # type: ignore[arg-type]


def run(asked: Quantize, log: QuantizeLog, planned: list[Planned], free: int = PLENTY) -> Written:
    return write(asked, log, planned.append, free=lambda folder: free, available=lambda: PLENTY)


def test_it_is_planned_then_written_and_the_bytes_are_counted(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    assert run(request(source, tmp_path, "Q8_0"), log, planned) == Written(tensors=21, fallbacks=0, unweighted=0)
    size = (tmp_path / "new.part").stat().st_size
    assert abs(planned[0].size - size) < 30_000
    heard = log.heard  # type: ignore[attr-defined]
    assert [done for done, _, _ in heard] == list(range(1, 22))
    fractions = [fraction for _, _, fraction in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1, abs=0.01)


def test_without_room_nothing_is_written_and_both_numbers_are_said(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    with pytest.raises(ModelError, match=r"Q8_0 takes \d MB and 1 MB are free in .*: make room"):
        run(request(source, tmp_path, "Q8_0"), log, planned, free=1_000_000)
    assert planned == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [name for name, kind in QUANTIZATIONS.items() if kind.needs_importance])
def test_types_with_too_few_bits_want_an_importance_matrix(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned], label: str
) -> None:
    with pytest.raises(UsageError, match=rf"{label} has too few bits .* --imatrix"):
        run(request(source, tmp_path, label), log, planned)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [name for name, kind in QUANTIZATIONS.items() if not kind.needs_importance])
def test_every_other_type_is_written(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned], label: str
) -> None:
    assert run(request(source, tmp_path, label), log, planned).fallbacks == 0
    assert (tmp_path / "new.part").exists()


def matrix(path: Path, name: str, width: int) -> Path:
    head = struct.pack(f"<ii{len(name)}sii", 1, len(name), name.encode(), 1, width)
    path.write_bytes(head + struct.pack(f"<{width}f", *[1.0] * width))
    return path


def test_what_the_importance_matrix_lacks_is_counted(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    file = matrix(tmp_path / "imatrix", "blk.0.ffn_up.weight", 256)
    found = run(request(source, tmp_path, "Q4_0", importance=str(file)), log, planned)
    assert found.unweighted == 15


def test_a_tensor_that_must_have_one_is_named(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    file = matrix(tmp_path / "imatrix", "blk.0.ffn_up.weight", 256)
    with pytest.raises(ModelError, match=r"cannot be written as IQ2_XXS: Missing importance matrix for tensor blk"):
        run(request(source, tmp_path, "IQ2_XXS", importance=str(file)), log, planned)


def test_the_importance_matrix_of_another_model_is_refused(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    file = matrix(tmp_path / "imatrix", "blk.9.ffn_up.weight", 256)
    with pytest.raises(UsageError, match=r"another model: none of its 1 entries, such as blk\.9"):
        run(request(source, tmp_path, "Q4_0", importance=str(file)), log, planned)
    file = matrix(tmp_path / "imatrix", "blk.0.ffn_up.weight", 128)
    with pytest.raises(ModelError, match="imatrix size 128 is different from tensor size 256"):
        run(request(source, tmp_path, "Q4_0", importance=str(file)), log, planned)


def test_rows_that_are_no_whole_blocks_are_counted(tmp_path: Path, log: QuantizeLog, planned: list[Planned]) -> None:
    narrow = write_llama(tmp_path / "narrow.gguf", width=64)
    # Sixteen matrices; for the output the mixture itself takes Q8_0.
    assert run(request(narrow, tmp_path, "Q4_K_S"), log, planned).fallbacks == 15


def test_a_folder_that_takes_no_file_is_said(
    source: Path, tmp_path: Path, log: QuantizeLog, planned: list[Planned]
) -> None:
    (tmp_path / "new.part").mkdir()
    with pytest.raises(ModelError, match=r"cannot write to .*: make room, or write elsewhere with -o"):
        run(request(source, tmp_path, "Q8_0"), log, planned)

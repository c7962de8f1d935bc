"""A model written anew in a process of its own: what comes back, what is refused, and that nothing half stays behind."""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import pytest
import tiny_models

from lmlab.backends import process as backend
from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped, ModelError, ModelFileError, UsageError
from lmlab.lab import quantizing
from lmlab.lab.quantizing import Quantized, QuantizeOptions, bits_per_weight, default_target, quantize
from lmlab.models import ModelFile, read_header
from lmlab.models.quantizations import QUANTIZATIONS, TENSORS, file_type, file_type_number, tensor_type_number
from lmlab.worker.quantizing.messages import Planned, Quantizing, Written

WIDE = 256


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", width=WIDE)


@pytest.fixture(scope="module")
def quantized(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    assert quantize(source, "Q8_0", folder / "tiny.gguf", options=ONE, log_folder=folder / "logs")
    return folder / "tiny.gguf"


ONE = QuantizeOptions(threads=1)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[WorkerProcess]]:
    """The processes that were started; all must have ended when the test does."""
    started: list[WorkerProcess] = []

    def start(folder: Path, *, program: str) -> WorkerProcess:
        started.append(WorkerProcess(folder, program=program))
        return started[-1]

    monkeypatch.setattr(backend, "WorkerProcess", start)
    yield started
    assert [process for process in started if process._process.poll() is None] == []


def made(source: Path, ftype: str, folder: Path, **options: object) -> Quantized:
    target = folder / "new.gguf"
    done = quantize(
        source,
        ftype,
        target,
        options=QuantizeOptions(threads=1, **options),
        log_folder=folder.parent / "logs",  # type: ignore[arg-type]
    )
    assert done is not None
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def test_it_is_written_checked_and_named(source: Path, folder: Path, processes: list[WorkerProcess]) -> None:
    events: list[object] = []
    done = quantize(
        source, "q4_k_s", folder / "new.gguf", options=ONE, log_folder=folder.parent / "logs", progress=events.append
    )
    assert done is not None
    assert (done.source, done.path, done.type) == (source, folder / "new.gguf", "Q4_K_S")
    assert [path.name for path in folder.iterdir()] == ["new.gguf"]
    assert read_header(done.path).quantization == "Q4_K_S"
    assert 4 < bits_per_weight(done.after) < 8 < bits_per_weight(done.before) == 32
    assert isinstance(events[0], Planned)
    assert events[-1] == Quantizing(21, 21, pytest.approx(1, abs=0.01))
    assert done.notices() == ()


def test_options_reach_the_file(source: Path, folder: Path) -> None:
    made(source, "Q8_0", folder, token_embedding="q4_0", output="f16")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(folder / "new.gguf").tensors}
    assert kinds["token_embd.weight"] == "Q4_0"
    assert kinds["output.weight"] == "F16"
    assert kinds["blk.0.attn_q.weight"] == "Q8_0"


def test_an_importance_matrix_makes_types_of_few_bits_possible(source: Path, folder: Path) -> None:
    entries = b""
    names = [name for name in _matrices(source) if name.startswith("blk")]
    for name in names:
        width = 2 * WIDE if "ffn_down" in name else WIDE
        entries += struct.pack(f"<i{len(name)}sii", len(name), name.encode(), 1, width)
        entries += struct.pack(f"<{width}f", *[1.0] * width)
    matrix = folder.parent / "imatrix"
    matrix.write_bytes(struct.pack("<i", len(names)) + entries)
    done = made(source, "Q2_K_S", folder, importance=str(matrix))
    assert bits_per_weight(done.after) < 4
    assert done.notices() == ("the importance matrix has nothing on 2 of the tensors",)
    fields = gguf.GGUFReader(done.path).fields
    assert fields["quantize.imatrix.file"].contents() == "imatrix"
    assert fields["quantize.imatrix.entries_count"].contents() == len(names)


def _matrices(path: Path) -> list[str]:
    return [tensor.name for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1]


def test_a_model_in_parts_becomes_whole(source: Path, folder: Path) -> None:
    parts = folder.parent / "parts"
    parts.mkdir()
    _rewrite(source, parts / "tiny.gguf", tensors_a_part=10)
    assert len(list(parts.iterdir())) > 1
    first = min(parts.iterdir())
    done = made(first, "Q8_0", folder)
    assert done.after.tensor_count == 21
    assert done.path.read_bytes()[-5000:] == made(source, "Q8_0", folder, force=True).path.read_bytes()[-5000:]
    with pytest.raises(ModelFileError, match="a later part"):
        made(max(parts.iterdir()), "Q8_0", folder)


def test_a_file_that_is_laid_out_otherwise_becomes_a_usual_one(source: Path, folder: Path) -> None:
    other = folder.parent / "other.gguf"
    _rewrite(source, other, alignment=256)
    done = made(other, "Q8_0", folder)
    assert done.after.metadata["general.alignment"] == 32
    usual = {
        tensor.name: tensor.data for tensor in gguf.GGUFReader(made(source, "Q8_0", folder, force=True).path).tensors
    }
    made(other, "Q8_0", folder, force=True)
    for tensor in gguf.GGUFReader(done.path).tensors:
        assert (tensor.data == usual[tensor.name]).all()


def _rewrite(source: Path, target: Path, *, tensors_a_part: int = 0, alignment: int = 32) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama", split_max_tensors=tensors_a_part)
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            tiny_models._add_value(writer, name, field.contents())
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_rows_that_are_no_whole_blocks_are_said(folder: Path) -> None:
    narrow = tiny_models.write_llama(folder.parent / "narrow.gguf", width=64)
    (line,) = made(narrow, "Q4_K_M", folder).notices()
    assert line.startswith("15 of 21 tensors got a larger type than Q4_K_M has for them")
    assert "no whole blocks" in line


# what is refused


@pytest.mark.parametrize(
    ("ftype", "options", "why"),
    [
        ("Q4_L", {}, r"no type 'Q4_L': did you mean .*Q4_\w+.*\? there are F32, .*, Q1_0"),
        ("F32", {}, "is F32 already: give another type"),
        ("Q8_0", {"token_embedding": "IQ2_XXS"}, "there is no type 'IQ2_XXS'"),
        ("Q8_0", {"output": "F16", "leave_output": True}, "give one of them"),
        ("Q8_0", {"importance": "/no/such/file"}, "cannot read the importance matrix"),
        ("IQ2_S", {}, "too few bits to do without an importance matrix"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    source: Path, folder: Path, ftype: str, options: dict[str, object], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        made(source, ftype, folder, **options)
    assert list(folder.iterdir()) == []


def test_what_is_quantized_is_taken_only_when_told(quantized: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"is Q8_0 already"):
        made(quantized, "Q8_0", folder)
    with pytest.raises(UsageError, match=r"quantized already \(Q8_0, 8\.\d bits a weight\): .* --requantize"):
        made(quantized, "Q4_0", folder)
    assert list(folder.iterdir()) == []
    assert made(quantized, "Q4_0", folder, requantize=True).after.quantization == "Q4_0"


def test_types_whose_blocks_do_not_fit_are_refused_before_llama_cpp_gives_up(folder: Path) -> None:
    narrow = tiny_models.write_llama(folder.parent / "narrow.gguf", width=64)
    with pytest.raises(UsageError, match=r"rows have 64 weights, which are no whole blocks of 256: .* Q8_0 or Q5_1"):
        made(narrow, "Q8_0", folder, token_embedding="Q4_K")
    assert made(narrow, "Q8_0", folder, token_embedding="Q4_0").fallbacks == 0


@pytest.mark.parametrize("options", [{"output": "F16"}, {"leave_output": True}])
def test_an_output_that_is_not_there_can_have_no_type(folder: Path, options: dict[str, object]) -> None:
    tied = tiny_models.write_sliding_window(folder.parent / "tied.gguf")
    with pytest.raises(UsageError, match="no output tensor of its own"):
        made(tied, "Q8_0", folder, **options)


def test_where_it_cannot_go_is_said(source: Path, folder: Path) -> None:
    def to(target: Path, *, force: bool = False) -> None:
        quantizing.check_target(source, target, force=force)

    with pytest.raises(UsageError, match="is a folder"):
        to(folder)
    with pytest.raises(UsageError, match="there is no folder"):
        to(folder / "deeper" / "new.gguf")
    with pytest.raises(UsageError, match="one part of a model"):
        to(folder / "new-00001-of-00002.gguf")
    with pytest.raises(UsageError, match="one part of a model"):
        to(folder / "new-00002-of-00002.gguf")
    with pytest.raises(UsageError, match="is the model itself"):
        to(source, force=True)
    (folder / "new.gguf").write_bytes(b"precious")
    with pytest.raises(UsageError, match="--force replaces it"):
        made(source, "Q8_0", folder)
    assert (folder / "new.gguf").read_bytes() == b"precious"
    assert made(source, "Q8_0", folder, force=True).after.quantization == "Q8_0"


def test_a_file_that_came_meanwhile_is_not_replaced(source: Path, folder: Path) -> None:
    target = folder / "new.gguf"
    with pytest.raises(UsageError, match="--force replaces it"):
        quantize(
            source,
            "Q8_0",
            target,
            options=ONE,
            log_folder=folder.parent / "logs",
            progress=lambda _said: None if target.exists() else target.write_bytes(b"precious") and None,
        )
    assert list(folder.iterdir()) == [target]
    assert target.read_bytes() == b"precious"


# how it can end


def test_cancelled_it_leaves_nothing(source: Path, folder: Path, processes: list[WorkerProcess]) -> None:
    begun: list[object] = []
    found = quantize(
        source,
        "Q4_K_M",
        folder / "new.gguf",
        options=ONE,
        log_folder=folder.parent / "logs",
        progress=begun.append,
        cancelled=lambda: bool(begun),
    )
    assert found is None
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_it_leaves_nothing_and_says_so(source: Path, folder: Path, processes: list[WorkerProcess]) -> None:
    def kill(_event: object) -> None:
        os.kill(processes[0].pid, signal.SIGKILL)

    with pytest.raises(EngineStopped, match="it was killed"):
        quantize(source, "Q4_K_M", folder / "new.gguf", options=ONE, log_folder=folder.parent / "logs", progress=kill)
    assert list(folder.iterdir()) == []


def test_when_llama_cpp_gives_up_its_words_are_said(folder: Path, processes: list[WorkerProcess]) -> None:
    absurd = tiny_models.write_llama(folder.parent / "absurd.gguf", values={"llama.block_count": 100_000})
    with pytest.raises(EngineStopped, match=r"the engine stopped: llama\.cpp gave up: .*GGML_ASSERT") as error:
        made(absurd, "Q8_0", folder)
    assert "\n" not in str(error.value)
    assert list(folder.iterdir()) == []


def test_what_llama_cpp_itself_does_not_know_is_said(folder: Path) -> None:
    plain = tiny_models.write_llama(folder.parent / "plain.gguf").read_bytes()
    other = folder.parent / "other.gguf"
    other.write_bytes(plain.replace(b"llama", b"lmaaa"))
    with pytest.raises(ModelError, match="cannot be written as Q8_0: unknown model architecture: 'lmaaa'"):
        made(other, "Q8_0", folder)


@pytest.mark.parametrize("write", [tiny_models.write_recurrent, tiny_models.write_encoder])
def test_other_kinds_of_models_are_written_too(folder: Path, write: Callable[[Path], Path]) -> None:
    done = made(write(folder.parent / "other.gguf"), "Q8_0", folder)
    assert any(kind.name == "Q8_0" for kind in done.after.kinds)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on a file's size")
def test_a_disk_that_fills_half_way_leaves_nothing(source: Path, folder: Path, processes: list[WorkerProcess]) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        # The disk itself has room.
        words = r"cannot write to .* are free, though it takes .*: a quota or a limit on files is smaller: make room"
        with pytest.raises(ModelError, match=words):
            made(source, "Q8_0", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:-1000], "no whole model, and was thrown away: .* cut short"),
        (lambda data: b"", "no whole model, and was thrown away: .* empty"),
        (lambda data: data.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"), "other tensors than tiny.gguf"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_never_gets_its_name(
    source: Path, quantized: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, change: object, why: str
) -> None:
    def write(request: object, *_: object, **__: object) -> Written:
        data = change(quantized.read_bytes())  # type: ignore[operator]
        Path(request.folder, request.name).write_bytes(data)  # type: ignore[attr-defined]
        return Written(21, 0, 0)

    monkeypatch.setattr(quantizing, "run_quantize", write)
    with pytest.raises(ModelError, match=why):
        made(source, "Q8_0", folder)
    assert list(folder.iterdir()) == []


def test_a_file_of_another_type_never_gets_its_name(
    source: Path, quantized: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(request: object, *_: object, **__: object) -> Written:
        Path(request.folder, request.name).write_bytes(quantized.read_bytes())  # type: ignore[attr-defined]
        return Written(21, 0, 0)

    monkeypatch.setattr(quantizing, "run_quantize", write)
    with pytest.raises(ModelError, match="says it is Q8_0, not Q4_0"):
        made(source, "Q4_0", folder)


# names


@pytest.mark.parametrize(
    ("file", "ref", "name"),
    [
        ("model.gguf", "model", "model-Q4_K_M.gguf"),
        ("Model-1B-F16.gguf", "Model", "Model-1B-Q4_K_M.gguf"),
        ("Model.fp16.GGUF", "Model", "Model-Q4_K_M.gguf"),
        ("model-bf16-00001-of-00003.gguf", "x", "model-Q4_K_M.gguf"),
        ("smollm2.Q4_1.gguf", "smollm2", "smollm2-Q4_K_M.gguf"),
        ("IQ4_XS.gguf", "x", "IQ4_XS-Q4_K_M.gguf"),
        ("sha256-0123", "ollama:me/tiny:latest", "me-tiny-latest-Q4_K_M.gguf"),
    ],
)
def test_the_name_is_the_models_with_the_type_at_its_end(source: Path, file: str, ref: str, name: str) -> None:
    model = ModelFile(ref=ref, path=Path("/somewhere") / file, header=read_header(source), notice=None)
    assert default_target(model, "q4_k", Path("/models")) == Path("/models") / name


@pytest.mark.parametrize(
    ("typed", "name"),
    [("q4_k_m", "Q4_K_M"), (" Q4-0 ", "Q4_0"), ("q5_k", "Q5_K_M"), ("fp16", "F16"), ("mxfp4", "MXFP4_MOE")],
)
def test_types_are_understood_as_people_write_them(typed: str, name: str) -> None:
    assert file_type(typed) == name


def test_every_name_has_the_librarys_number() -> None:
    import llama_cpp

    known = {
        name.removeprefix("LLAMA_FTYPE_MOSTLY_").removeprefix("LLAMA_FTYPE_ALL_"): getattr(llama_cpp, name)
        for name in dir(llama_cpp)
        if name.startswith("LLAMA_FTYPE_")
    }
    # llama.cpp names NVFP4 and does not write it; GUESSED is no type.
    assert {name: file_type_number(name) for name in QUANTIZATIONS} == {
        name: number for name, number in known.items() if name not in ("NVFP4", "LLAMA_FTYPE_GUESSED")
    }
    tensors = {kind.name: kind.value for kind in gguf.GGMLQuantizationType}
    # gguf's own list may be older than the library.
    tensors |= {"Q2_0": llama_cpp.GGML_TYPE_Q2_0}
    for name in TENSORS:
        assert tensor_type_number(name) == tensors[name]

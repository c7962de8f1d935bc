"""Two models over one text, in this process: against all logits at once, and what cannot be compared."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import tiny_models
from scipy import special

from lmlab.errors import ModelLoadError, UsageError
from lmlab.llama import Context, Library, Model
from lmlab.worker.divergence import sides
from lmlab.worker.divergence.measuring import measure
from lmlab.worker.divergence.messages import Figures, Measure, Measuring, ModelLoading
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import LoadSpec, Lora

PLENTY = 1 << 40
TEXT = "".join(f"hello world, {number} times over; " for number in range(60))
PROSE = (
    "The lighthouse keeper climbed the stairs every evening, and every evening he counted them, though he knew that "
    "there were two hundred and eleven. At the top he trimmed the wick, wiped the glass and wrote a line in the book. "
    "On the third of March he wrote: wind from the north, two ships, a letter from my sister at last."
)
KINDS: dict[str, Callable[..., Path]] = {
    "full attention": tiny_models.write_llama,
    "sliding window": tiny_models.write_sliding_window,
    "recurrent": tiny_models.write_recurrent,
}


@pytest.fixture(scope="module")
def log(library: Library) -> LoadLog:
    """What the library, which the other tests share, does not write to: sizes are then unknown, and 0."""
    return LoadLog()


def spec(path: Path, **options: object) -> LoadSpec:
    return LoadSpec(str(path), threads=1, gpu_layers=0, **options)  # type: ignore[arg-type]


def measured(first: LoadSpec, second: LoadSpec, text: str, log: LoadLog, available: int = PLENTY) -> Figures:
    return measure(Measure(first, second, text), log, lambda report: None, available=lambda: available)


def plain(first: Path, second: Path, text: str) -> tuple[int, float, int, float]:
    """Return positions, mean KL, agreements and the first's perplexity, from the logits of whole windows."""
    models = [Model(str(path), gpu_layers=0, progress=lambda fraction: None) for path in (first, second)]
    vocabulary = models[0].vocabulary
    tokens = vocabulary.tokenize(text, special=False)
    if vocabulary.add_bos:
        tokens = [vocabulary.bos, *tokens]
    size = min(512, len(tokens))
    kl, agreed, surprise = [], 0, []
    for start in range(0, len(tokens) - size + 1, size):
        window = tokens[start : start + size]
        if vocabulary.add_bos:
            window[0] = vocabulary.bos
        shares = [special.softmax(all_logits(model, window).astype(np.float64), axis=1) for model in models]
        scored = range(size // 2, size - 1)
        p, q = (share[scored.start : scored.stop] for share in shares)
        kl += special.rel_entr(p, q).sum(axis=1).tolist()
        agreed += np.count_nonzero(p.argmax(axis=1) == q.argmax(axis=1))
        surprise += [-np.log(p[row, window[at + 1]]) for row, at in enumerate(scored)]
    for model in models:
        model.close()
    return len(kl), float(np.mean(kl)), agreed, float(np.exp(np.mean(surprise)))


def all_logits(model: Model, tokens: list[int]) -> np.ndarray:
    context = Context(model, context=512, sequences=1, idle=0, batch=512, threads=1, outputs=512)
    context.batch.add(tokens, 0, 0, logits=True, every=True)
    context.decode()
    logits = np.array([context.logits(row) for row in range(len(tokens))])
    context.close()
    return logits


class TestFigures:
    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_those_of_all_logits_at_once(self, kind: str, tmp_path: Path, log: LoadLog) -> None:
        first, second = (KINDS[kind](tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2))
        found = measured(spec(first), spec(second), TEXT, log)
        scored, kl, agreed, perplexity = plain(first, second, TEXT)
        assert found.planned > 1
        assert found.scored == scored
        assert found.kl.value == pytest.approx(kl, rel=1e-3)
        assert found.kl.value > 0.1
        assert found.agreement.value * scored == pytest.approx(agreed, abs=2)
        assert found.perplexity_first.value == pytest.approx(perplexity, rel=1e-3)

    def test_a_beginning_token_begins_every_window(self, tmp_path: Path, log: LoadLog) -> None:
        first, second = (
            tiny_models.write_llama(tmp_path / f"{seed}.gguf", seed=seed, tokenizer="spm") for seed in (1, 2)
        )
        found = measured(spec(first), spec(second), TEXT, log)
        scored, kl, _, perplexity = plain(first, second, TEXT)
        assert found.planned > 1
        assert (found.scored, found.kl.value) == (scored, pytest.approx(kl, rel=1e-3))
        assert found.perplexity_first.value == pytest.approx(perplexity, rel=1e-3)

    @pytest.mark.parametrize("logits", [1, 269 * 4 * 100])
    def test_how_many_logits_are_held_makes_no_difference(
        self, logits: int, tmp_path: Path, log: LoadLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = (tiny_models.write_llama(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2))
        whole = measured(spec(first), spec(second), TEXT, log)
        monkeypatch.setattr(sides, "LOGITS", logits)
        parts = measured(spec(first), spec(second), TEXT, log)
        assert (parts.scored, parts.kl.value) == (whole.scored, pytest.approx(whole.kl.value, rel=1e-3))

    def test_an_adapter_counts_as_far_as_it_is_scaled(self, tmp_path: Path, log: LoadLog) -> None:
        model = tiny_models.write_llama(tmp_path / "tiny.gguf")
        adapter = str(tiny_models.write_lora(tmp_path / "lora.gguf"))
        off, on = (measured(spec(model), spec(model, lora=(Lora(adapter, scale),)), TEXT, log) for scale in (0.0, 1.0))
        assert off.kl_max == pytest.approx(0, abs=1e-9)
        assert on.kl.value > 0.01

    def test_gemma_does_not_differ_from_itself(self, gemma3: Path, log: LoadLog) -> None:
        found = measured(spec(gemma3), spec(gemma3), PROSE, log)
        assert (found.kl.value, found.kl_max, found.agreement.value) == (0, 0, 1)
        assert 2 < found.perplexity_first.value < 100

    def test_smollm2_quantized_further_differs_by_as_much_as_all_its_logits_say(
        self, smollm2: Path, tmp_path: Path, log: LoadLog
    ) -> None:
        coarse = tmp_path / "coarse.gguf"
        quantize(smollm2, coarse)
        found = measured(spec(smollm2), spec(coarse), PROSE, log)
        scored, kl, agreed, perplexity = plain(smollm2, coarse, PROSE)
        assert found.scored == scored
        # Batches of another shape round activations otherwise, which a model of 4 bits shows.
        assert found.kl.value == pytest.approx(kl, rel=0.1)
        assert found.kl.value > 0.02
        assert found.agreement.value * scored == pytest.approx(agreed, abs=5)
        assert found.perplexity_first.value == pytest.approx(perplexity, rel=0.05)


def test_loading_of_both_and_progress_are_told(tmp_path: Path, log: LoadLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmlab.worker.divergence.measuring.APART_S", 0.0)
    first, second = (tiny_models.write_llama(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2))
    reports: list[ModelLoading | Measuring] = []
    request = Measure(spec(first), spec(second), TEXT)
    found = measure(request, log, reports.append, available=lambda: PLENTY)
    loading = [report for report in reports if isinstance(report, ModelLoading)]
    assert [report.path for report in loading if report.fraction == 1] == [str(first), str(second)]
    windows = [report.figures.windows for report in reports if isinstance(report, Measuring)]
    assert windows == list(range(1, found.planned))


class TestWhatCannotBeCompared:
    def test_vocabularies_that_differ_are_named_with_the_first_token(
        self, smollm2: Path, gemma3: Path, tmp_path: Path, log: LoadLog
    ) -> None:
        with pytest.raises(UsageError, match="the first has 49,152 tokens and the second 262,144"):
            measured(spec(smollm2), spec(gemma3), PROSE, log)
        tiny = tiny_models.write_llama(tmp_path / "tiny.gguf")
        tokens = [chr(0x4E00 + number) for number in range(269)]
        other = tiny_models.write_llama(tmp_path / "other.gguf", values={"tokenizer.ggml.tokens": tokens})
        with pytest.raises(UsageError, match=r"token 0 is '!' \(normal\) in the first and '一' \(normal\)"):
            measured(spec(tiny), spec(other), TEXT, log)

    def test_one_vocabulary_that_splits_otherwise_is_refused(self, tmp_path: Path, log: LoadLog) -> None:
        first = tiny_models.write_llama(tmp_path / "tiny.gguf")
        fewer = {"tokenizer.ggml.merges": ["h e", "l l", "he ll", "w o", "r l", "wo rl", "worl d", "Ġ world"]}
        second = tiny_models.write_llama(tmp_path / "other.gguf", values=fewer)
        with pytest.raises(UsageError, match="split the text differently, from token 0 on"):
            measured(spec(first), spec(second), TEXT, log)

    def test_an_encoder_is_refused(self, tmp_path: Path, log: LoadLog) -> None:
        encoder = tiny_models.write_encoder(tmp_path / "bert.gguf")
        with pytest.raises(ModelLoadError, match=r"bert\.gguf is an encoder"):
            measured(spec(encoder), spec(encoder), TEXT, log)

    def test_a_file_that_is_none_is_named(self, tmp_path: Path, log: LoadLog) -> None:
        tiny = tiny_models.write_llama(tmp_path / "tiny.gguf")
        with pytest.raises(ModelLoadError, match=r"nothing\.gguf"):
            measured(spec(tiny), spec(tmp_path / "nothing.gguf"), TEXT, log)

    def test_a_text_that_is_no_text_is_refused(self, tmp_path: Path, log: LoadLog) -> None:
        tiny = spec(tiny_models.write_llama(tmp_path / "tiny.gguf"))
        with pytest.raises(UsageError, match="not valid Unicode at character 5"):
            measured(tiny, tiny, "hello\ud800" * 20, log)

    def test_what_does_not_fit_is_refused_before_it_is_loaded(self, smollm2: Path, log: LoadLog) -> None:
        reports: list[object] = []
        request = Measure(spec(smollm2), spec(smollm2), PROSE)
        with pytest.raises(ModelLoadError, match=r"memory together \(weights 9\d MB and 9\d MB.*250 MB are available"):
            measure(request, log, reports.append, available=lambda: 250_000_000)
        assert reports == []


def quantize(source: Path, target: Path) -> None:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.allow_requantize = True
    parameters.nthread = 1
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    assert llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters)) == 0

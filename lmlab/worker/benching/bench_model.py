"""A model and a context as lmlab lays them out, and llama.cpp's own calls timed on them, as llama-bench times its own.

Tokens are random, nothing is drawn from the logits, and no engine stands between. Needs a started library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lmlab import memory
from lmlab.errors import EngineStopped, ModelLoadError, UsageError
from lmlab.llama import Adapters, DecodeStatus, Library, Model, read_file_header
from lmlab.worker.benching.messages import Opened, Ran, Run
from lmlab.worker.benching.weights import weights_read
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import default_threads, layout_of, quoting
from lmlab.worker.messages import LoadSpec
from lmlab.worker.planning import check_generates, open_context, plan


class BenchModel:
    """The model of ``spec``, loaded as any worker loads it but for the draft, which guesses nothing of random tokens.

    Raises ModelLoadError with what llama.cpp said, or with the numbers when it does not fit.
    """

    def __init__(
        self,
        spec: LoadSpec,
        library: Library,
        log: LoadLog,
        progress: Callable[[float], None],
        *,
        available: Callable[[], int] = memory.available_memory,
    ) -> None:
        begin = time.perf_counter()
        spec = replace(spec, draft=None)
        threads, room = spec.threads or default_threads(), available()
        with quoting(log):
            planned = plan(spec, log, room, gpu=library.gpu_offload)
            log.forget_sizes()
            self._model = Model(spec.path, gpu_layers=spec.gpu_layers, progress=progress, mapped=planned.mapped)
            check_generates(self._model, spec.path)
            # Before the context, which makes room for them.
            self._adapters = Adapters(self._model, [adapter.path for adapter in spec.lora])
            self._context = open_context(self._model, spec, planned.context, threads)
            if not self._context.has_memory:
                raise ModelLoadError(f"{spec.path} is an encoder: it makes embeddings and cannot generate text")
        self._context.set_adapters(self._adapters, [adapter.scale for adapter in spec.lora])
        self._context.warm_up(max(self._model.vocabulary.bos, 0))
        self._path = spec.path
        self._random = np.random.default_rng(0)
        self._held = [0] * self._context.sequences
        self._warm: set[bool] = set()
        read, in_experts, experts, used = weights_read(read_file_header(spec.path))
        self.opened = Opened(
            load_s=time.perf_counter() - begin,
            context=self._context.size,
            threads=threads,
            gpu_layers=log.gpu_layers,
            devices=tuple(dict.fromkeys(log.devices)),
            llama_cpp=library.version,
            layout=layout_of(
                spec,
                log,
                room,
                sequences=self._context.sequences,
                outputs=self._context.outputs,
                ubatch=self._context.ubatch,
            ),
            weights_read=read,
            expert_weights=in_experts,
            experts=experts,
            experts_used=used,
        )

    def run(self, run: Run) -> Ran:
        """Carry out ``run``. Raises UsageError when it does not fit the context, EngineStopped when llama.cpp cannot."""
        self._check(run)
        self._warm_up(run)
        begin = time.perf_counter()
        filled = self._bring_to(run.sequences, run.depth)
        ready = time.perf_counter()
        if run.prompt:
            self._read(run.sequences, run.prompt)
        else:
            self._write(run.sequences, run.decode)
        return Ran(time.perf_counter() - ready, filled, ready - begin)

    def close(self) -> None:
        self._context.close()
        self._adapters.close()
        self._model.close()

    def _check(self, run: Run) -> None:
        tokens = run.sequences * (run.depth + run.prompt + run.decode)
        if not 1 <= run.sequences <= self._context.sequences or min(run.depth, run.prompt, run.decode) < 0:
            raise ValueError(f"cannot be run with {self._context.sequences} sequences: {run!r}")
        if (run.prompt == 0) == (run.decode == 0):
            raise ValueError(f"one of prompt and decode must be 0, and the other not: {run!r}")
        if tokens > self._context.size:
            raise UsageError(
                f"{run.sequences} x {tokens // run.sequences:,} tokens do not fit the context of {self._context.size:,}: "
                "make it larger with --ctx-size, or measure less"
            )

    def _warm_up(self, run: Run) -> None:
        """Do the same once unmeasured, as llama-bench does: a whole prompt, or one token."""
        if (reads := run.prompt > 0) in self._warm:
            return
        self._warm.add(reads)
        self._bring_to(run.sequences, 0)
        if reads:
            self._read(run.sequences, run.prompt)
        else:
            self._write(run.sequences, 1)
        self._bring_to(run.sequences, 0)

    def _bring_to(self, sequences: int, depth: int) -> int:
        """Let the first ``sequences`` hold ``depth`` tokens each, and the others none; return how many had to be read."""
        held = self._held
        keep = all(self._shortens(number, depth) for number in range(sequences)) and depth > 0
        if not keep:
            self._context.clear()
            held[:] = [0] * len(held)
        for number in range(sequences, len(held)):
            if held[number]:
                self._context.drop(number)
                held[number] = 0
        missing = 0
        for number in range(sequences):
            if (lacks := depth - held[number]) > 0:
                self._read_into(number, lacks)
                missing += lacks
        self._finish()
        return missing

    def _shortens(self, number: int, depth: int) -> bool:
        """Whether sequence ``number`` holds ``depth`` tokens or fewer, or could be cut back to them; then it is."""
        if self._held[number] > depth:
            if not self._context.cut(number, depth):
                return False
            self._held[number] = depth
        return True

    def _read(self, sequences: int, count: int) -> None:
        for number in range(sequences):
            self._read_into(number, count)
        self._finish()

    def _read_into(self, number: int, count: int) -> None:
        batch, held = self._context.batch, self._held
        end = held[number] + count
        while held[number] < end:
            rows = min(end - held[number], batch.capacity)
            batch.clear()
            batch.add(self._tokens(rows, first=held[number] == 0), held[number], number, logits=True)
            self._decode()
            held[number] += rows

    def _write(self, sequences: int, count: int) -> None:
        batch, held = self._context.batch, self._held
        for _ in range(count):
            batch.clear()
            for number in range(sequences):
                batch.add(self._tokens(1, first=held[number] == 0), held[number], number, logits=True)
                held[number] += 1
            self._decode()
            self._finish()

    def _tokens(self, count: int, *, first: bool) -> Sequence[int]:
        vocabulary = self._model.vocabulary
        tokens: list[int] = self._random.integers(0, vocabulary.size, count).tolist()
        if first and vocabulary.add_bos and vocabulary.bos >= 0:
            tokens[0] = vocabulary.bos
        return tokens

    def _decode(self) -> None:
        status = self._context.decode()
        if status is not DecodeStatus.DONE:
            raise EngineStopped(f"{self._path} could not be measured: {status.value}; try again")

    def _finish(self) -> None:
        self._context.synchronize()

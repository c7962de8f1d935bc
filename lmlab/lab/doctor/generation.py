"""A model made to speak for a few seconds: whether its numbers are sound, whether it repeats itself, and how fast it is.

Greedy and without a cache, twice: two runs of the same sums give the same tokens on a sound machine.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from lmlab.backends import (
    Backend,
    ChatPrompt,
    Event,
    Failed,
    Finished,
    LoadSpec,
    Message,
    ModelInfo,
    Prompt,
    Request,
    Status,
    StatusSink,
    TextPrompt,
    Timings,
    Token,
)
from lmlab.errors import EngineStopped, LmlabError
from lmlab.lab.doctor.finding import Finding, counted
from lmlab.models import size_text
from lmlab.sampling import SamplingParams
from lmlab.terminal_text import one_line

SECTION = "generation"
TEXT = "The four seasons of the year are"
TOKENS = 48
RUN_S = 2.5
"""From the first LEAST tokens on, of each of the two runs; the second ends at as many tokens as the first."""
FIRST_S = 30.0
"""Longest that the first LEAST tokens may take, and longest that a reply may take to end when it is told to."""
_STEP_S = 0.1
LEAST = 4
"""Tokens: of fewer nothing can be said."""

Opener = Callable[[LoadSpec, StatusSink], Backend]


@dataclass(frozen=True, slots=True)
class Run:
    tokens: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    text: str
    timings: Timings | None


def check(
    ref: str,
    spec: LoadSpec,
    opener: Opener,
    on_status: Callable[[Status], None],
    *,
    cancelled: Callable[[], bool],
    run_s: float = RUN_S,
) -> Iterator[Finding]:
    """Load the model of ``spec``, have it speak twice, and end it. ``cancelled`` is asked some ten times a second."""
    # Nothing reused and one reply at a time: both runs are the same sums in batches of the same shape.
    spec = replace(spec, reuse=False, snapshots=None, draft=None)
    with closing(opener(spec, on_status)) as backend:
        info = _loaded(backend, cancelled)
        if info is None:
            return
        yield _loading(ref, info)
        first = _run(backend, info, TOKENS, run_s, cancelled)
        if cancelled():
            return
        yield from _sound(first)
        if len(first.tokens) >= LEAST:
            second = _run(backend, info, len(first.tokens), 2 * run_s, cancelled)
            if not cancelled():
                yield _repeated(first, second)
                yield _speed(first, second)


def _loaded(backend: Backend, cancelled: Callable[[], bool]) -> ModelInfo | None:
    """Wait for the model; None once ``cancelled``."""
    found: list[ModelInfo | LmlabError] = []

    def wait() -> None:
        try:
            found.append(backend.wait_ready())
        except LmlabError as error:
            found.append(error)

    # It cannot be waited for and Ctrl-C be heard on one thread.
    waiting = threading.Thread(target=wait, daemon=True, name="doctor-load")
    waiting.start()
    while waiting.is_alive() and not cancelled():
        waiting.join(0.1)
    if not found:
        return None
    if isinstance(found[0], LmlabError):
        raise found[0]
    return found[0]


def _run(backend: Backend, info: ModelInfo, tokens: int, run_s: float, cancelled: Callable[[], bool]) -> Run:
    """Have ``tokens`` tokens drawn, or as many as ``run_s`` seconds give. Raises EngineStopped when it hangs."""
    ended = threading.Event()
    drawn: list[Token] = []
    ends: list[Finished | Failed] = []

    def take(event: Event) -> None:
        if isinstance(event, Token):
            drawn.append(event)
        elif isinstance(event, (Finished, Failed)):
            ends.append(event)
            ended.set()

    prompt: Prompt = TextPrompt(TEXT)
    if info.chat_template:
        prompt = ChatPrompt((Message("user", f"Continue: {TEXT}"),))
    sampling = SamplingParams(temperature=0, max_tokens=tokens, repeat_penalty=1)
    handle = backend.generate(Request(f"doctor-{secrets.token_hex(4)}", prompt, sampling, logprobs=True), take)
    begun, limit = time.monotonic(), FIRST_S
    while not ended.wait(_STEP_S) and not cancelled() and time.monotonic() - begun < limit:
        # A busy machine may need all the time of a run for the first few, and of fewer nothing can be said.
        if len(drawn) >= LEAST and limit == FIRST_S:
            begun, limit = time.monotonic(), run_s
    handle.cancel()
    told = time.monotonic()
    while not ended.wait(_STEP_S):
        if time.monotonic() - told > FIRST_S:
            raise EngineStopped(f"the model did not end its reply within {FIRST_S:.0f} s of being told to: try another")
    end = ends[0]
    if isinstance(end, Failed):
        raise end.error
    text = "".join(token.text for token in drawn) + end.tail
    return Run(end.tokens, tuple(token.logprob for token in drawn), text, end.timings)


def _loading(ref: str, info: ModelInfo) -> Finding:
    where = f"{info.gpu_layers} layers on {', '.join(info.devices)}" if info.gpu_layers else "all on the processor"
    values = {"ref": ref, "load_s": info.load_s, "gpu_layers": info.gpu_layers, "devices": list(info.devices)}
    text = (
        f"{ref} in {info.load_s:.1f} s, {size_text(info.size)} of weights, {where}, {counted(info.threads, 'thread')}"
    )
    return Finding(SECTION, "loaded", "ok", one_line(text, 300), values=values)


def _sound(run: Run) -> Iterator[Finding]:
    if len(run.tokens) < LEAST:
        text = f"{counted(len(run.tokens), 'token')} came: too few to say anything of the model"
        yield Finding(SECTION, "reply", "note", text, "lmlab doctor -m MODEL tries another model")
        return
    unsound = [logprob for logprob in run.logprobs if logprob is None or not math.isfinite(logprob) or logprob > 1e-3]
    if unsound:
        text = f"{len(unsound)} of {len(run.logprobs)} tokens have a probability that is no number: the file or the build is bad"
        advice = "fetch the model again; if another model does the same, try -ngl 0 and --flash-attn off"
        yield Finding(SECTION, "numbers", "broken", text, advice)
    else:
        yield Finding(SECTION, "numbers", "ok", f"the probabilities of {len(run.logprobs)} tokens are all finite")
    yield Finding(SECTION, "reply", "ok", f'"{one_line(run.text, 60)}"')


def _repeated(first: Run, second: Run) -> Finding:
    common = min(len(first.tokens), len(second.tokens))
    same = next((at for at in range(common) if first.tokens[at] != second.tokens[at]), common)
    values = {"tokens": common, "same": same}
    if same == common:
        return Finding(SECTION, "repeats", "ok", f"greedy, twice the same {common} tokens", values=values)
    text = f"greedy, it drew other tokens the second time, from token {same + 1} of {common} on"
    advice = "GPUs may do so; on a processor look at its memory and its cooling, and try --threads 1"
    return Finding(SECTION, "repeats", "warning", text, advice, values)


def _speed(*runs: Run) -> Finding:
    rates = [run.timings.decode_tokens_per_s for run in runs if run.timings and run.timings.decode_tokens_per_s]
    if not rates:
        return Finding(SECTION, "speed", "note", "too short to measure", "lmlab bench MODEL measures it")
    rate = max(rates)
    said = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
    text = f"{said} tokens/s; lmlab bench measures it properly"
    return Finding(SECTION, "speed", "ok", text, values={"decode_tokens_per_s": rates})

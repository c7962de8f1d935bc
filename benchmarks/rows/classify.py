"""200 remarks classified few-shot as ``lmlab batch`` does it, against the same rows by three others.

All send the same tokens, draw greedily and end where the model or the template ends. lmlab renders the rows, answers and
writes them; the others get token ids ready made: llama-server from a client that keeps 16 requests open, ``Llama`` one
after the other. Every turn is a fresh process on each side, so that nothing is cached; loading does not count. The bound
is what must be decoded at least (the beginning that all prompts share once, each one's own end, the replies) at the rate
at which llama-bench reads prompts.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sides import GREEDY, HERE, LineProcess, LlamaServer, Lmlab, find_tool, llama_bench_prefill
from table import Row, Setting, alternate, middle, ratios

from lmlab.backends.local import LocalBackend
from lmlab.lab.batch.output import Output
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.planning import Wanted, make_plans
from lmlab.lab.batch.row import BadRow
from lmlab.lab.batch.row import Row as InputRow
from lmlab.lab.batch.rows import RowSource, read_rows
from lmlab.lab.batch.runner import BatchEvent, BatchRun, Loaded
from lmlab.lab.variant import Variant
from lmlab.models import ModelFile, read_header
from lmlab.prompting import Approach
from lmlab.sampling import SamplingParams

DATA = HERE / "data" / "sentiment.jsonl"
ROWS, TOKENS, SLOTS, IN_FLIGHT = 200, 12, 8, 16


@dataclass(frozen=True, slots=True)
class _Job:
    """The rows, and the same as token ids with the texts that end a reply."""

    plan: Plan
    rows: tuple[InputRow | BadRow, ...]
    prompts: tuple[tuple[int, ...], ...]
    stop: tuple[str, ...]
    context: int
    threads: int


def measure(setting: Setting) -> Iterator[Row]:
    server_tool, bench_tool = find_tool(setting.tools, "llama-server"), find_tool(setting.tools, "llama-bench")
    job = _job(setting)
    needed = 0

    def ours(_: int) -> float:
        nonlocal needed
        rate, replies = _batch(job)
        needed = _shared(job.prompts) + replies
        return rate

    def server(_: int) -> float:
        with closing(
            LlamaServer(server_tool, setting.path, slots=SLOTS, context=job.context, threads=job.threads)
        ) as running:
            begin = time.perf_counter()
            running.run(job.prompts, GREEDY, TOKENS, in_flight=IN_FLIGHT, stop=job.stop, ignore_eos=False)
            return len(job.rows) / (time.perf_counter() - begin)

    def calls(_: int) -> float:
        with closing(LineProcess("high_level.py", setting.path, job.context, job.threads)) as running:
            order = {"prompts": job.prompts, "tokens": TOKENS, "stop": job.stop}
            return len(job.rows) / float(running.ask(order)["seconds"])

    def bound(_: int) -> float:
        rate = llama_bench_prefill(bench_tool, setting.path, threads=job.threads)
        return len(job.rows) * rate / needed

    figures = alternate(setting.turns or 3, ours, server, calls, bound)
    work = f"{len(job.rows)} rows classified few-shot, prompts of some {len(job.prompts[0])} tokens"
    for which, name, goal in (
        (1, f"llama-server -np {SLOTS}, {IN_FLIGHT} in flight", 1.3),
        (2, "calls of Llama, one by one", 1.2),
        (3, "what must be decoded, at llama-bench's prefill rate", 0.8),
    ):
        detail = (
            f"lmlab {middle(figures, 0):.1f} rows/s, the other {middle(figures, which):.1f}; {needed:,} tokens needed"
        )
        yield Row(work, setting.ref, name, goal, ratios(figures, 0, which), detail)


def _job(setting: Setting) -> _Job:
    model = ModelFile(setting.ref, setting.path, read_header(setting.path), None)
    wanted = Wanted(
        sampling=SamplingParams(max_tokens=TOKENS, temperature=0),
        template="sentiment",
        approach=Approach("few-shot"),
    )
    (plan,) = make_plans((Variant(None, ""),), wanted, resolve=lambda _: model, template_folder=None)
    with closing(RowSource(DATA)) as source:
        rows = tuple(read_rows(source))[: setting.size(ROWS, 8)]
    puts = [plan.task.put(row.values, plan.chat) for row in rows if isinstance(row, InputRow)]
    with closing(Lmlab(setting.path)) as lmlab:
        prompts = tuple(lmlab.encode(put.prompt) for put in puts)
        info = lmlab.info
    return _Job(plan, rows, prompts, puts[0].sampling(plan.asked).stop or (), info.context, info.threads)


def _batch(job: _Job) -> tuple[float, int]:
    """Return rows per second from the loaded model to the last line on disk, and the tokens of all replies."""
    begin = 0.0

    def listen(event: BatchEvent) -> None:
        nonlocal begin
        if isinstance(event, Loaded):
            begin = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        logs.mkdir()
        out = Path(folder) / "out.jsonl"
        with Output.open(out, [job.plan.fingerprint()]) as output:
            run = BatchRun(
                (job.plan,),
                rows=lambda: job.rows,
                output=output,
                opener=lambda spec, status: LocalBackend(spec, status, log_folder=logs),
                resolve=lambda ref: job.plan.model,
                listener=listen,
            )
            # The end of the run closes the worker, which is no part of the rows: the last line's time counts.
            run.run()
        lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(lines) == len(job.rows)
    assert not any("error" in line for line in lines)
    return len(lines) / (run.summary.answered_at - begin), sum(line["usage"]["completion_tokens"] for line in lines)


def _shared(prompts: tuple[tuple[int, ...], ...]) -> int:
    """Return how many tokens of ``prompts`` must be decoded when what all of them begin with is decoded once."""
    first, last = min(prompts), max(prompts)
    shared = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return shared + sum(len(prompt) - shared for prompt in prompts)

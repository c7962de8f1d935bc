"""A batch of many rows on a fake model, in a process of its own.

    python benchmarks/batch_rows.py ROWS OUTPUT

Writes the rows, as JSONL, to a temporary file, answers those that OUTPUT does not have, and prints one JSON line: the
seconds of the run and the most memory the process ever held, in bytes.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.lab.batch.output import Output
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.rows import RowSource, read_rows
from lmlab.lab.batch.runner import BatchRun
from lmlab.lab.task import Task
from lmlab.models import GgufHeader, ModelFile
from lmlab.sampling import SamplingParams

_HEADER = GgufHeader(
    version=3,
    architecture="llama",
    name="fake",
    parameters=1,
    quantization="Q4_0",
    context_length=8192,
    block_count=1,
    embedding_length=1,
    chat_template="{{ messages }}",
    recommended=SamplingParams(),
    warnings=(),
    size=1,
    tensor_count=1,
    metadata={},
)


def open_fake(spec: LoadSpec, on_status: StatusSink) -> Backend:
    return FakeBackend(spec, on_status, auto=True, forgetful=True)


def main() -> None:
    count, out = int(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        rows, model = Path(folder) / "rows.jsonl", Path(folder) / "fake.gguf"
        model.write_bytes(b"GGUF")
        with rows.open("w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps({"id": number, "prompt": f"Question {number}: " + "what is it? " * 20}) + "\n")
        plan = Plan(
            label="fake",
            model=ModelFile("fake", model, _HEADER, None),
            load=LoadSpec(str(model)),
            task=Task(),
            asked=SamplingParams(),
            seed=0,
        )
        begin = time.perf_counter()
        source = RowSource(rows)
        with Output.open(out, [plan.fingerprint()]) as output:
            BatchRun(
                (plan,),
                rows=lambda: read_rows(source),
                output=output,
                opener=open_fake,
                resolve=lambda ref: plan.model,
                listener=lambda event: None,
                at_once=True,
            ).run()
        seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "memory": most_memory()}))


def most_memory() -> int:
    """Return the most bytes of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says on Linux begins with the process that started this one.
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()

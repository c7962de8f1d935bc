"""Puts each template file that is named to a row; says what became of it, and the most memory that it all took."""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

from lmlab.errors import PromptError
from lmlab.prompting import Renderer, load_template

outcomes = {}
for path in map(Path, sys.argv[1:]):
    try:
        outcomes[path.stem] = f"{len(Renderer(load_template(path)).render({'t': '字' * 1000}).text)} characters"
    except PromptError as error:
        outcomes[path.stem] = str(error)

status = Path("/proc/self/status")
if status.exists():
    # What getrusage says on Linux begins with the process that started this one.
    peak_kb = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])  # type: ignore[index]
else:
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
json.dump({"outcomes": outcomes, "megabytes": peak_kb / 1024}, sys.stdout)

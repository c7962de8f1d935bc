"""Puts each template file that is named to a row; says what became of it, and the most memory that it all took."""

from __future__ import annotations

import json
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
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
json.dump({"outcomes": outcomes, "megabytes": peak / (2**20 if sys.platform == "darwin" else 2**10)}, sys.stdout)

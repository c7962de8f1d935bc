"""Results as a batch writes them, and what of them is in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmlab.lab.batch.output import Output, State

RUN = "0123456789abcdef"
OTHER = "f" * 16


def key(number: int) -> str:
    return f"{number:032x}"


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"row-{number}", "text": f"answer {number}", **more}


def failure(number: int) -> dict[str, Any]:
    return {"id": f"row-{number}", "error": {"type": "PromptError", "message": "too long"}}


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def ids(path: Path) -> list[str]:
    return [line["id"] for line in lines(path)]


def states(output: Output, count: int) -> list[State]:
    return [output.state(key(number)) for number in range(count)]


def filled(path: Path, count: int = 3, failed: tuple[int, ...] = (), run: str = RUN) -> bytes:
    with Output.open(path, [run]) as output:
        for number in range(count):
            output.write(key(number), failure(number) if number in failed else record(number))
    return path.read_bytes()

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from batch_lines import RUN, filled, ids, key, lines, record, states

from lmlab.errors import LmlabError
from lmlab.lab.batch import line_file
from lmlab.lab.batch.output import Output


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# Disks


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes left on the disk, for what goes through ``os.write``."""
    left = [1 << 60]
    write = os.write

    def limited(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(line_file.os, "write", limited)
    return left


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_leaves_whole_lines_and_can_be_gone_on_with(path: Path, small_disk: list[int], room: int) -> None:
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        before = path.read_bytes()
        small_disk[0] = room
        with pytest.raises(LmlabError, match=r"the disk is full: .*out\.jsonl could not be written; .* run the same"):
            output.write(key(1), record(1))
        assert path.read_bytes() == before
        assert states(output, 2) == ["done", "new"]
        assert (output.done, output.failed) == (1, 0)
        small_disk[0] = 1 << 60
        output.write(key(1), record(1))
    assert ids(path) == ["row-0", "row-1"]


def test_half_a_line_that_cannot_be_taken_back_is_not_written_after(
    path: Path, small_disk: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(descriptor: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        with monkeypatch.context() as broken:
            broken.setattr(line_file.os, "ftruncate", stuck)
            small_disk[0] = 9
            with pytest.raises(LmlabError, match="the disk is full"):
                output.write(key(1), record(1))
        small_disk[0] = 1 << 60
        with pytest.raises(LmlabError, match="half a line could not be taken back; run the same command again"):
            output.write(key(1), record(1))
    with Output.open(path, [RUN]) as output:
        assert states(output, 2) == ["done", "new"]


def test_an_interrupt_in_the_middle_of_a_line_takes_it_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:10])
        raise KeyboardInterrupt

    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        with monkeypatch.context() as once:
            once.setattr(line_file.os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                output.write(key(1), record(1))
        output.write(key(1), record(1))
    assert ids(path) == ["row-0", "row-1"]


def test_a_disk_that_does_not_take_what_was_written_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(line_file, "SYNC_EVERY_S", 0.0)
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        with monkeypatch.context() as broken:
            broken.setattr(line_file.os, "fsync", lost)
            with pytest.raises(LmlabError, match=r"cannot write to .*: Input/output error"):
                output.write(key(1), record(1))
        assert states(output, 2) == ["done", "new"]
        output.write(key(1), record(1))
    assert ids(path) == ["row-0", "row-1"]


def test_a_rewrite_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    whole = filled(path, 3, failed=(0,))
    with Output.open(path, [RUN]) as output:
        with monkeypatch.context() as broken:
            broken.setattr(line_file.os, "replace", full)
            with pytest.raises(LmlabError, match="the disk is full"):
                output.reorder([key(2), key(1)])
            with pytest.raises(LmlabError, match="the disk is full"):
                output.forget_failed()
        assert path.read_bytes() == whole
        assert states(output, 3) == ["failed", "done", "done"]
        output.write(key(3), record(3))
    assert ids(path) == ["row-0", "row-1", "row-2", "row-3"]
    assert os.listdir(path.parent) == ["out.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits are Unix's")
def test_a_file_that_may_not_grow_is_told(path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from lmlab.errors import LmlabError\n"
        "from lmlab.lab.batch.output import Output\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        f"output = Output.open(Path(sys.argv[1]), ['{RUN}'])\n"
        "try:\n"
        "    for number in range(100): output.write(f'{number:032x}', {'id': f'row-{number}'})\n"
        "except LmlabError as error: print(number, error)\n"
        "output.close()\n"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    number, message = run.stdout.split(" ", 1)
    assert message.startswith(f"the file may not grow further: {path} could not be written; every whole line is kept")
    assert ids(path) == [f"row-{each}" for each in range(int(number))]
    assert 0 < path.stat().st_size <= 1000


def test_a_file_that_another_program_changes_is_told(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        with path.open("ab") as other:
            other.write(b"mine\n")
        with pytest.raises(LmlabError, match="another program wrote to it"):
            output.write(key(1), record(1))
    assert path.read_bytes().endswith(b"mine\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_file_that_is_removed_is_told(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
        path.unlink()
        with pytest.raises(LmlabError, match="was removed or replaced while it was written"):
            output.write(key(1), record(1))


# Kills

WRITER = f"""
import os, random, sys
from pathlib import Path
from lmlab.lab.batch.output import Output
path, (count, seed, calls) = Path(sys.argv[1]), map(int, sys.argv[2:])
def until_killed(call):
    def counted(*arguments):
        global calls
        calls -= 1
        if not calls:
            os._exit(9)
        return call(*arguments)
    return counted
for name in ("write", "replace", "fsync", "ftruncate", "lseek"):
    setattr(os, name, until_killed(getattr(os, name)))
# A system may take part of what it is given; this one always does.
write = os.write
os.write = lambda descriptor, data: write(descriptor, data[:max(1, len(data) // 2)])
draw = random.Random(seed)
numbers = list(range(count))
draw.shuffle(numbers)
sys.stdout.write("ready\\n"); sys.stdout.flush()
output = Output.open(path, ["{RUN}"])
output.forget_failed()
for number in numbers:
    key = f"{{number:032x}}"
    if output.state(key) == "new":
        record = {{"id": str(number), "text": "x" * draw.randrange(2000)}}
        if draw.random() < 0.1 and seed:
            output.write(key, {{"id": str(number), "error": "not now"}})
        elif number % 10 == 3:
            output.skip(key, record)
        else:
            output.write(key, record)
output.reorder(f"{{number:032x}}" for number in range(count))
output.close()
"""


def writer(path: Path, count: int, seed: int = 0, calls: int = -1) -> subprocess.Popen[bytes]:
    """Start a run that has imported what it needs; it ends itself, as a kill would, at the system call of that number."""
    command = [sys.executable, "-c", WRITER, path, str(count), str(seed), str(calls)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    process.stdout.close()
    return process


def check_killed(path: Path, count: int) -> None:
    """Run to the end and look at what is there."""
    assert writer(path, count).wait(timeout=120) == 0
    beside = path.with_name("out.jsonl.skipped.jsonl")
    assert ids(path) == [str(number) for number in range(count) if number % 10 != 3]
    assert sorted(map(int, ids(beside))) == list(range(3, count, 10))
    assert not any("error" in line for line in lines(path) + lines(beside))
    assert sorted(os.listdir(path.parent)) == ["out.jsonl", "out.jsonl.skipped.jsonl"]


def test_a_run_killed_at_fifty_moments_has_each_row_once(path: Path) -> None:
    draw = random.Random(0)
    for seed in range(1, 51):
        process = writer(path, 2000, seed)
        try:
            process.wait(timeout=draw.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    check_killed(path, 2000)


def test_a_run_killed_between_any_two_system_calls_has_each_row_once(path: Path) -> None:
    draw = random.Random(1)
    torn = 0
    for seed in range(1, 31):
        assert writer(path, 400, seed, draw.randrange(1, 250)).wait(timeout=60) in {0, 9}
        torn += not path.read_bytes().endswith(b"\n")
    assert torn >= 10
    check_killed(path, 400)


REWRITER = f"""
import os, sys
from pathlib import Path
from lmlab.lab.batch import line_file
from lmlab.lab.batch.output import Output
output = Output.open(Path(sys.argv[1]), ["{RUN}"])
real = os.replace
def replaced(source, target):
    real(source, target)
    os._exit(9)
def died(*arguments):
    os._exit(9)
if sys.argv[2] == "after": os.replace = replaced
if sys.argv[2] == "before": os.replace = died
if sys.argv[2] == "copied": os.fsync = died
if sys.argv[2] == "copying": line_file._take_over_rights = died
output.forget_failed()
"""


@pytest.mark.parametrize("moment", ["copying", "copied", "before", "after"])
def test_a_rewrite_that_is_killed_has_happened_or_not(path: Path, moment: str) -> None:
    whole = filled(path, 4, failed=(1, 2))
    rewritten = b"".join(line for line in whole.splitlines(keepends=True) if b"error" not in line)
    run = subprocess.run([sys.executable, "-c", REWRITER, path, moment], timeout=60, check=False)
    assert run.returncode == 9
    assert path.read_bytes() == (rewritten if moment == "after" else whole)

    with Output.open(path, [RUN]) as output:
        assert output.done == 2
        output.forget_failed()
    assert path.read_bytes() == rewritten
    assert os.listdir(path.parent) == ["out.jsonl"]

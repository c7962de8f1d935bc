from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from batch_lines import RUN, failure, filled, ids, key, record, states

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.batch.output import Output


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# Locks


def test_a_second_run_is_refused_at_once_and_a_later_one_is_not(path: Path) -> None:
    with Output.open(path, [RUN]) as output:
        with pytest.raises(UsageError, match=r"another run is writing to .*out\.jsonl: wait until it has ended"):
            Output.open(path, [RUN])
        output.write(key(0), record(0))
    with Output.open(path, [RUN]) as output:
        assert output.done == 1
    assert os.listdir(path.parent) == ["out.jsonl"]


def test_closing_twice_is_closing_once_and_leaves_the_next_run_alone(path: Path) -> None:
    first = Output.open(path, [RUN])
    first.close()
    with Output.open(path, [RUN]):
        first.close()
        with pytest.raises(UsageError, match="another run"):
            Output.open(path, [RUN])


def test_a_lock_file_nobody_holds_does_not_block(path: Path) -> None:
    path.with_name("out.jsonl.lock").write_text("")
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0))
    assert os.listdir(path.parent) == ["out.jsonl"]


def test_only_one_of_many_that_open_and_close_has_it(path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    refused: list[int] = []

    def visit(number: int) -> None:
        for _ in range(20):
            try:
                with Output.open(path, [RUN]):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
            except UsageError:
                refused.append(number)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) + len(refused) == 80


# Places


def test_a_folder_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder: name a file in it"):
        Output.open(tmp_path, [RUN])
    with pytest.raises(UsageError, match=r"there is no folder .*missing: make it"):
        Output.open(tmp_path / "missing" / "out.jsonl", [RUN])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "results.jsonl", tmp_path / "out.jsonl"
    link.symlink_to(target)
    filled(link, 2, failed=(0,))
    with Output.open(link, [RUN]) as output:
        with pytest.raises(UsageError, match="another run"):
            Output.open(target, [RUN])
        output.forget_failed()
    assert link.is_symlink()
    assert ids(target) == ["row-1"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_rewrite_keeps_the_permissions(path: Path) -> None:
    filled(path, 2, failed=(0,))
    path.chmod(0o640)
    with Output.open(path, [RUN]) as output:
        output.forget_failed()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(LmlabError, match=r"out\.jsonl\.lock.*write to a folder where you may make files"):
            Output.open(tmp_path / "out.jsonl", [RUN])
    finally:
        tmp_path.chmod(0o700)


def test_a_lock_that_cannot_be_made_is_told(path: Path) -> None:
    path.with_name("out.jsonl.lock").mkdir()
    with pytest.raises(LmlabError, match=r"cannot make .*out\.jsonl\.lock, which keeps a second run away"):
        Output.open(path, [RUN])


def test_stdout_is_given_each_line_and_keeps_nothing() -> None:
    sent: list[str] = []
    output = Output.open(None, [RUN], stdout=sent.append)
    output.write(key(0), record(0))
    output.write(key(1), failure(1))
    output.skip(key(2), {"reason": "none"})
    assert (output.done, output.failed) == (2, 1)
    assert states(output, 2) == ["new", "new"]
    output.forget_failed()
    output.reorder([])
    output.close()
    assert [json.loads(line)["id"] for line in sent] == ["row-0", "row-1"]
    assert all(line.endswith("\n") for line in sent)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are Unix's")
def test_a_named_pipe_is_a_stream(path: Path) -> None:
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with Output.open(path, [RUN]) as output:
        output.write(key(0), record(0, text="x" * 300_000))
        output.write(key(1), record(1))
    reader.join()
    assert [json.loads(line)["id"] for line in read[0].splitlines()] == ["row-0", "row-1"]
    assert os.listdir(path.parent) == ["out.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are Unix's")
def test_a_pipe_whose_reader_left_is_told(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Output.open(path, [RUN]) as output:
        os.close(reader)
        with pytest.raises(LmlabError, match="has stopped reading"):
            output.write(key(0), record(0))


@pytest.mark.skipif(sys.platform == "win32", reason="/dev is Unix's")
def test_devices_are_streams_even_where_they_stand_for_a_file(tmp_path: Path) -> None:
    with Output.open(Path(os.devnull), [RUN]) as output:
        output.write(key(0), record(0))
    program = (
        "from pathlib import Path; from lmlab.lab.batch.output import Output\n"
        f"with Output.open(Path('/dev/stdout'), ['{RUN}']) as output: output.write('{key(0)}', {{'id': 'row-0'}})"
    )
    with (tmp_path / "redirected").open("wb") as stdout:
        stdout.write(b"before\n")
        stdout.flush()
        subprocess.run([sys.executable, "-c", program], stdout=stdout, check=True, timeout=60)
    before, line = (tmp_path / "redirected").read_bytes().splitlines()
    assert (before, json.loads(line)["id"]) == (b"before", "row-0")
    assert os.listdir(tmp_path) == ["redirected"]

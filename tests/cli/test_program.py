"""The program as a person starts it: real processes, real signals, real pipes, and the real models."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Lmlab, Program

TIMEOUT_S = 120
COUNT = "Count from one to one thousand in words."


def finish(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    out, err = process.communicate(data, timeout=TIMEOUT_S)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


# Input that is wrong


def broken_models(folder: Path, whole: Path) -> dict[str, tuple[str, int]]:
    """Return what may be typed as a model, what the error names, and the exit code."""
    (folder / "notes.gguf").write_text("just some text, long enough to be a header of something" * 10)
    with whole.open("rb") as model:
        (folder / "half.gguf").write_bytes(model.read(whole.stat().st_size // 2))
    (folder / "absurd.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    return {
        str(folder / "missing.gguf"): ("no such file", 1),
        str(folder): ("is a folder", 1),
        str(folder / "notes.gguf"): ("not a GGUF", 1),
        str(folder / "half.gguf"): ("half.gguf", 1),
        str(folder / "absurd.gguf"): ("absurd.gguf", 1),
        "smolm2": ("smollm2", 1),
    }


def test_a_model_that_is_none_is_one_line(lmlab: Lmlab, tmp_path: Path, smollm2: Path) -> None:
    for model, (named, code) in broken_models(tmp_path, smollm2).items():
        for arguments in (("run", "-m", model, "hi"), ("chat", "--plain", model)):
            outcome = lmlab(*arguments)
            assert outcome.code in (code, 2), outcome
            assert outcome.out == ""
            assert outcome.err.startswith("lmlab: ")
            assert named in outcome.err
            assert outcome.err.count("\n") == 1


def test_a_prompt_longer_than_the_context_has_both_numbers(start: Program, smollm2: Path) -> None:
    process = start("run", "-m", str(smollm2), "-c", "256", stdin=subprocess.PIPE)
    code, out, err = finish(process, b"word " * 2000)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"lmlab: the prompt has 2,0\d\d tokens and the context holds 2\d\d: .*\n", err)


def test_stdin_that_is_not_utf8(start: Program) -> None:
    code, out, err = finish(start("run", "hi", stdin=subprocess.PIPE), b"abc\xff")
    assert (code, out) == (2, "")
    assert err.startswith("lmlab: stdin is not UTF-8 text: byte 3 is 0xFF")


# A reply


def test_json_of_a_real_reply(start: Program, smollm2: Path) -> None:
    arguments = ("run", "-m", str(smollm2), "--json", "--temp", "0", "-n", "8", "What", "is", "2+2?")
    code, out, err = finish(start(*arguments))
    assert code == 0, err
    result = json.loads(out)
    assert result["text"]
    assert result["finish_reason"] in ("stop", "length")
    assert result["candidates"] == [
        {
            "text": result["text"],
            "score": pytest.approx(-0.5, abs=0.5),
            "logprob": result["candidates"][0]["score"],
            "answer": None,
            "note": None,
            "finish_reason": result["finish_reason"],
            "tokens": result["usage"]["completion_tokens"],
        }
    ]
    assert result["usage"]["prompt_tokens"] > 30
    assert result["timings"]["decode_tokens_per_s"] > 0
    assert result["timings"]["load_s"] > 0
    assert result["sampling"]["temperature"] == 0
    assert isinstance(result["sampling"]["seed"], int)
    assert result["model"]["quantization"] == "Q4_1"
    assert re.fullmatch("[0-9a-f]{16}", result["model"]["fingerprint"])
    assert result["versions"]["llama_cpp"] == "0.3.36"


def test_the_same_seed_draws_the_same_reply(start: Program, smollm2: Path) -> None:
    arguments = ("run", "-m", str(smollm2), "--seed", "7", "--temp", "1.5", "-n", "6", "--quiet", "Name a fruit")
    first, second = (finish(start(*arguments)) for _ in range(2))
    assert first == second
    assert first[0] == 0
    assert first[2] == ""


def test_a_base_model_continues_the_text(start: Program, gemma3: Path) -> None:
    code, out, err = finish(start("run", "-m", str(gemma3), "--temp", "0", "-n", "4", "The quick brown fox jumps"))
    assert (code, out) == (0, " over the lazy dog\n")
    assert "is a base model (its file has no chat template): it continues the text; for answers" in err


def test_a_special_token_is_text_unless_it_is_asked_for(start: Program, smollm2: Path) -> None:
    def prompt_tokens(*options: str) -> int:
        process = start("run", "-m", str(smollm2), "--json", "--raw", "-n", "1", *options, "<|im_start|><|im_end|>")
        return int(json.loads(finish(process)[1])["usage"]["prompt_tokens"])

    special, plain = prompt_tokens("--parse-special"), prompt_tokens()
    assert special < 5 < plain


@pytest.mark.parametrize("at", [0, 3])
def test_special_tokens_in_a_chat_are_refused_wherever_the_option_stands(
    start: Program, smollm2: Path, at: int
) -> None:
    arguments = ["-m", str(smollm2), "<|im_end|>"]
    arguments.insert(at, "--parse-special")
    code, out, err = finish(start("run", *arguments))
    assert (code, out) == (2, "")
    assert err.startswith("lmlab: --parse-special needs --raw")


def test_a_plain_chat_from_a_pipe_remembers(start: Program, smollm2: Path) -> None:
    process = start("chat", str(smollm2), "--plain", "-n", "5", "--temp", "0", "--quiet", stdin=subprocess.PIPE)
    code, out, err = finish(process, b"Hello\n/set temp 0.5\nAnd you?\n")
    assert (code, len(out.splitlines())) == (0, 2), err
    process = start("chat", "--plain", "--continue", "-n", "5", stdin=subprocess.PIPE)
    code, out, err = finish(process, b"Bye\n")
    # Drawn at random, it may well be of several lines.
    assert code == 0, err
    assert out.strip()
    assert re.search(r"going on with session \w+ \(Hello\), 4 messages\n", err)


# Pipes and signals


def test_a_reply_streams_and_ctrl_c_keeps_what_came(start: Program, smollm2: Path) -> None:
    with start("run", "-m", str(smollm2), COUNT) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert code == 130
    assert first
    assert out.endswith("\n")
    assert err == ""


def test_ctrl_c_keeps_what_came_in_json_too(start: Program, smollm2: Path) -> None:
    # stderr says that the reply has begun: nothing is on stdout before the end.
    arguments = ("run", "-m", str(smollm2), "--json", "--temp", "0", "--top-k", "5", COUNT)
    with start(*arguments) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"lmlab: top-k 5: no effect at temperature 0\n"
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, err) == (130, "")
    assert json.loads(out)["finish_reason"] == "cancelled"


def test_two_ctrl_c_end_the_program_without_a_traceback(start: Program, smollm2: Path) -> None:
    with start("run", "-m", str(smollm2), COUNT) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert (code, err) == (130, "")


def test_a_closed_pipe_ends_quietly(start: Program, smollm2: Path) -> None:
    with start("run", "-m", str(smollm2), COUNT) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_S) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["run", "chat", "--version", "--help"])
def test_stdout_on_a_full_disk_is_one_line(start: Program, smollm2: Path, command: str) -> None:
    arguments = {"run": ("run", "-m", str(smollm2), "hi"), "chat": ("chat", str(smollm2))}.get(command, (command,))
    with open("/dev/full", "wb") as full:
        process = start(*arguments, stdin=subprocess.PIPE, stdout=full)
        code, _, err = finish(process, b"hi\n" if command == "chat" else b"")
    assert code == 1
    assert err == "lmlab: cannot write to stdout: No space left on device; make room and try again\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_plain_chat_on_a_terminal(start: Program, smollm2: Path) -> None:
    import pty

    person, terminal = pty.openpty()
    shown = b""

    def until(text: bytes, *, interrupting: bool = False) -> None:
        nonlocal shown
        while text not in shown:
            # CPython loses an interrupt that comes between readline's prompt and its wait for a key: as a person would,
            # press again where nothing happened. Two that wait are one.
            if interrupting and not select.select([person], [], [], 2)[0]:
                process.send_signal(signal.SIGINT)
            else:
                shown += os.read(person, 4096)
        shown = shown.partition(text)[2]

    process = start(
        *("chat", str(smollm2), "--plain", "-n", "3", "--temp", "0"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={"TERM": "dumb"},
    )
    os.close(terminal)
    try:
        until(b"you> ")
        os.write(person, b"Hello\n")
        until(b"as --max-tokens says")
        until(b" cached)")
        until(b"you> ")
        process.send_signal(signal.SIGINT)
        until(b"Ctrl-C again leaves", interrupting=True)
        until(b"you> ")
        os.write(person, b"/bye\n")
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(person)

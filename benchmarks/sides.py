"""The sides that are compared: lmlab, llama-server, ``Llama``, the bare loop, llama-bench and llama-batched-bench.

Knows how to start each on a model file, what to say to it and how to end it. Knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import llama_cpp
from table import NotMeasured

from lmlab.backends import (
    Encode,
    Encoded,
    Event,
    Failed,
    Finished,
    LoadSpec,
    ModelInfo,
    Prompt,
    Question,
    Request,
    Token,
)
from lmlab.backends.local import LocalBackend
from lmlab.sampling import SamplingParams

HERE = Path(__file__).parent
TOOLS = HERE / ".tools"
Command: TypeAlias = list[str | os.PathLike[str]]

DRAWN = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0}
"""How every side draws unless a row says otherwise; the names are lmlab's and llama-server's."""
GREEDY = {**DRAWN, "temperature": 0.0}

# llama.cpp keeps the callback for the life of the process.
_silent = llama_cpp.llama_log_callback(lambda *_: None)


def sampling(how: dict[str, float], tokens: int, seed: int = 0) -> SamplingParams:
    return SamplingParams.from_dict({**how, "max_tokens": tokens, "seed": seed})


@dataclass(slots=True)
class Reply:
    """A request's events and when each arrived here; ``begin`` is when it was sent. Seconds of perf_counter."""

    begin: float = 0.0
    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def take(self, event: Event) -> None:
        # The measuring thread sleeps until the end, as a screen's does until its next frame.
        self.times.append(time.perf_counter())
        self.events.append(event)
        if isinstance(event, Finished | Failed):
            self.ended.set()

    @property
    def finished(self) -> Finished:
        last = self.events[-1]
        if isinstance(last, Failed):
            raise last.error
        assert isinstance(last, Finished)
        return last

    @property
    def tokens(self) -> int:
        """Tokens drawn, of all candidates."""
        return self.finished.usage.completion_tokens

    @property
    def arrivals(self) -> list[float]:
        """When each token arrived."""
        return [at for at, event in zip(self.times, self.events, strict=True) if isinstance(event, Token)]

    @property
    def ttft_s(self) -> float:
        """Seconds until something was drawn: a token, or at once the end."""
        drawn = next(index for index, event in enumerate(self.events) if isinstance(event, Token | Finished))
        return self.times[drawn] - self.begin

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Token)) + self.finished.tail


class Lmlab:
    """The whole stack: LocalBackend and its worker process. ``spec`` are fields of LoadSpec."""

    def __init__(self, path: Path, **spec: Any) -> None:
        self._logs = tempfile.TemporaryDirectory()
        self._backend = LocalBackend(LoadSpec(str(path), **spec), lambda _: None, log_folder=Path(self._logs.name))
        self._sent = 0
        self.info: ModelInfo = self._backend.wait_ready()

    @property
    def pid(self) -> int:
        pid = self._backend.worker_pid
        assert pid is not None
        return pid

    def send(self, prompt: Any, sampling: SamplingParams, **request: Any) -> Reply:
        self._sent += 1
        reply = Reply(time.perf_counter())
        self._backend.generate(Request(f"request-{self._sent}", prompt, sampling, **request), reply.take)
        return reply

    def ask(self, question: Question) -> Event:
        """Return the answer to ``question``. Raises what it failed of."""
        answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._backend.ask(question, answers.put)
        answer = answers.get()
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of ``prompt``."""
        answer = self.ask(Encode("encode", prompt))
        assert isinstance(answer, Encoded)
        return answer.tokens

    def run(self, prompts: Sequence[Any], sampling: SamplingParams, **request: Any) -> list[Reply]:
        """Send a request for each of ``prompts`` at once; return when all have ended. Raises what failed."""
        replies = [self.send(prompt, sampling, **request) for prompt in prompts]
        for reply in replies:
            reply.ended.wait()
            _ = reply.finished
        return replies

    def close(self) -> None:
        self._backend.close()
        self._logs.cleanup()


class LlamaServer:
    """llama-server with ``slots`` over one unified KV cache and its prompt cache on, else as it is by default."""

    def __init__(self, tool: Path, path: Path, *, slots: int, context: int, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        command: Command = [
            tool,
            "--model",
            path,
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
            "--parallel",
            str(slots),
        ]
        command += ["--kv-unified", "--ctx-size", str(context), "--cache-prompt", "--no-webui"]
        command += ["--threads", str(threads), "--threads-batch", str(threads)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait()

    def _wait(self) -> None:
        while True:
            if self._process.poll() is not None:
                self._log.seek(0)
                tail = self._log.read()[-2000:].decode("utf-8", "replace")
                raise NotMeasured(f"llama-server ended with code {self._process.returncode}:\n{tail}")
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    connection.close()
                    return
            time.sleep(0.05)

    def run(
        self,
        prompts: Sequence[str | Sequence[int]],
        how: dict[str, float],
        tokens: int,
        *,
        seed: int = 0,
        n: int = 1,
        in_flight: int,
        stop: Sequence[str] = (),
        ignore_eos: bool = True,
    ) -> int:
        """Complete all ``prompts``, texts or token ids, ``n`` answers each, at most ``in_flight`` at once.

        Return the tokens drawn.
        """
        body = {
            **how,
            "n_predict": tokens,
            "seed": seed,
            "n": n,
            "stop": list(stop),
            "ignore_eos": ignore_eos,
            "cache_prompt": True,
        }
        kept = threading.local()

        def complete(prompt: str | Sequence[int]) -> int:
            if not hasattr(kept, "connection"):
                kept.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
            kept.connection.request("POST", "/completion", json.dumps({**body, "prompt": prompt}))
            response = kept.connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200:
                raise NotMeasured(f"llama-server refused: {answer}")
            answers = answer if isinstance(answer, list) else [answer]
            return sum(int(each["tokens_predicted"]) for each in answers)

        with ThreadPoolExecutor(in_flight) as pool:
            return sum(pool.map(complete, prompts))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


class LineProcess:
    """A script of this folder that answers each JSON line with another: the bare loop, or ``Llama``."""

    def __init__(self, script: str, *arguments: object, environ: Mapping[str, str] | None = None) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self._answer()

    def ask(self, order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasured(f"{self._script} ended with code {self._process.wait()}: its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def llama_bench(tool: Path, path: Path, *, tokens: int, threads: int) -> float:
    """Return the tokens per second of one sequence's decode, as llama-bench measures it."""
    command: Command = [
        tool,
        "--model",
        path,
        "-p",
        "0",
        "-n",
        str(tokens),
        "-r",
        "1",
        "-t",
        str(threads),
        "-o",
        "json",
    ]
    return float(json.loads(_output(command))[0]["avg_ts"])


def llama_bench_prefill(tool: Path, path: Path, *, threads: int, tokens: int = 512) -> float:
    """Return the tokens per second at which llama-bench reads a prompt."""
    command: Command = [
        tool,
        "--model",
        path,
        "-p",
        str(tokens),
        "-n",
        "0",
        "-r",
        "3",
        "-t",
        str(threads),
        "-o",
        "json",
    ]
    return float(json.loads(_output(command))[0]["avg_ts"])


def run_script(script: Path, *arguments: object) -> dict[str, Any]:
    """Return the JSON that ``script`` prints, run in a process of its own."""
    answer: dict[str, Any] = json.loads(_output([sys.executable, script, *map(str, arguments)]))
    return answer


def llama_batched_bench(tool: Path, path: Path, *, sequences: int, prompt: int, tokens: int, threads: int) -> float:
    """Return the tokens per second of ``sequences`` decoded together, prefill not counted."""
    size = sequences * (prompt + tokens)
    command: Command = [
        tool,
        "--model",
        path,
        "-c",
        str(size),
        "-npp",
        str(prompt),
        "-ntg",
        str(tokens),
        "-npl",
        str(sequences),
    ]
    command += ["-t", str(threads), "-tb", str(threads), "--output-format", "jsonl"]
    lines = [line for line in _output(command).splitlines() if line.startswith("{")]
    return float(json.loads(lines[-1])["speed_tg"])


def _output(command: Command) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"{Path(command[0]).name} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def find_tool(folder: Path, name: str) -> Path:
    """Return the program ``name`` of ``folder``: one that build_llama_tools.py made, or any folder that holds it."""
    for place in (folder / "build" / "bin", folder / "build" / "bin" / "Release", folder / "bin", folder):
        for file in (place / name, place / f"{name}.exe"):
            if file.is_file():
                return file
    raise NotMeasured(
        f"no {name} in {folder}: build it with python benchmarks/build_llama_tools.py, or say where it is with --tools"
    )


@functools.cache
def token_counter(path: Path) -> Callable[[str], int]:
    """Return what counts a text's tokens, by the vocabulary of the model in ``path``, special tokens not added."""
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise NotMeasured(f"llama.cpp could not load {path}")
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def count(text: str) -> int:
        data = text.encode()
        room = len(data) + 8
        return int(llama_cpp.llama_tokenize(vocabulary, data, len(data), (ctypes.c_int32 * room)(), room, False, False))

    return count

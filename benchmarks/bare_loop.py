"""The yardstick: llama-cpp-python's low-level calls and nothing else, in a process of its own.

    python benchmarks/bare_loop.py MODEL TOKENS THREADS [--like-lmlab]

Prints one JSON line for each line it reads on standard input, so that it can take turns with what it is compared with.
``--like-lmlab`` reads the weights into memory, as lmlab's worker does, instead of mapping the file; whoever starts it so
gives it the worker's environment too.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp

PROMPT = b"The history of the sea is a long one. In the beginning"


def main() -> None:
    path, tokens, threads, options = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    how = llama_cpp.llama_model_default_params()
    if options == ["--like-lmlab"]:
        how.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    elif options:
        raise SystemExit(f"unknown option {options[0]}: there is --like-lmlab")
    model = llama_cpp.llama_model_load_from_file(path.encode(), how)
    if not model:
        raise SystemExit(f"llama.cpp could not load {path}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = 8192
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        seed = int(line)
        print(json.dumps(measure(context, vocabulary, tokens, seed)), flush=True)


def measure(context: Any, vocabulary: Any, tokens: int, seed: int) -> dict[str, float]:
    """Generate ``tokens`` tokens at lmlab's default sampling and return the decode rate, end tokens not heeded."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    ids = (ctypes.c_int32 * 64)()
    count = llama_cpp.llama_tokenize(vocabulary, PROMPT, len(PROMPT), ids, 64, True, True)
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for stage in (
        llama_cpp.llama_sampler_init_top_k(40),
        llama_cpp.llama_sampler_init_top_p(0.95, 1),
        llama_cpp.llama_sampler_init_min_p(0.05, 1),
        llama_cpp.llama_sampler_init_temp(0.8),
        llama_cpp.llama_sampler_init_dist(seed),
    ):
        llama_cpp.llama_sampler_chain_add(chain, stage)
    llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, count))
    token = (ctypes.c_int32 * 1)(llama_cpp.llama_sampler_sample(chain, context, -1))
    begin = time.perf_counter()
    for _ in range(tokens - 1):
        llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(token, 1))
        token[0] = llama_cpp.llama_sampler_sample(chain, context, -1)
    seconds = time.perf_counter() - begin
    llama_cpp.llama_sampler_free(chain)
    return {"tokens_per_s": (tokens - 1) / seconds}


if __name__ == "__main__":
    main()

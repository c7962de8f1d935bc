"""What most people call from Python: llama-cpp-python's ``Llama``, in a process of its own.

    python benchmarks/high_level.py MODEL CONTEXT THREADS

Reads JSON lines ``{"prompt", "calls", "tokens", "seed"}`` and answers each with ``{"tokens", "seconds"}``: that many
calls one after the other, the way its users draw several answers. It keeps the prompt in its KV cache between them. With
``{"prompts", "tokens", "stop"}``, a call for each of the prompts, greedily.
"""

from __future__ import annotations

import json
import sys
import time

import llama_cpp


def main() -> None:
    path, context, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = llama_cpp.Llama(path, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        begin = time.perf_counter()
        drawn = 0
        for prompt in order.get("prompts", ()):
            answer = model.create_completion(prompt, max_tokens=order["tokens"], temperature=0, stop=order["stop"])
            drawn += answer["usage"]["completion_tokens"]
        for call in range(order.get("calls", 0)):
            answer = model.create_completion(
                order["prompt"],
                max_tokens=order["tokens"],
                temperature=0.8,
                top_k=40,
                top_p=0.95,
                min_p=0.05,
                repeat_penalty=1.0,
                seed=order["seed"] + call,
            )
            drawn += answer["usage"]["completion_tokens"]
        print(json.dumps({"tokens": drawn, "seconds": time.perf_counter() - begin}), flush=True)


if __name__ == "__main__":
    main()

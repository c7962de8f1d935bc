"""``python -m lmlab.worker.divergence``: a process that runs one text through two models and compares what they expect.

Both models' logits are compared as they come, and are never on disk. Importing this package imports no llama.cpp.
"""

"""The child process. Importing this package imports no llama.cpp; only ``python -m lmlab.worker`` does."""

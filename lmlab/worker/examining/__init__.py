"""llama.cpp looked at in a process of its own: what it was built for, and how it would lay a model out.

Begun as a program, ``python -m lmlab.worker.examining``; others import its messages only.
"""

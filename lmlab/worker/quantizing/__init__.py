"""``python -m lmlab.worker.quantizing``: a process that writes a model file anew with weights of another type.

llama.cpp cannot be stopped in the middle of it but by ending the process. Importing this package imports no llama.cpp.
"""

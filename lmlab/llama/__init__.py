"""The only importer of llama_cpp: the library, a model, a context, a batch, a sampler chain.

Thin, checked wrappers over llama-cpp-python's low-level API. Whatever ends the process when llama.cpp is given it
(an id out of range, a null sampler, a batch too large) is refused here first. Knows nothing of requests or text streams.
"""

from lmlab.llama.adapters import Adapters
from lmlab.llama.context import Context, DecodeStatus
from lmlab.llama.file_header import FileHeader, read_file_header
from lmlab.llama.grammar import Grammar
from lmlab.llama.library import Library
from lmlab.llama.model import Model, Vocabulary
from lmlab.llama.sampler import Sampler

__all__ = [
    "Adapters",
    "Context",
    "DecodeStatus",
    "FileHeader",
    "Grammar",
    "Library",
    "Model",
    "Sampler",
    "Vocabulary",
    "read_file_header",
]

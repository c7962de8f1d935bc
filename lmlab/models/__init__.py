"""What a person typed for a model, turned into a GGUF file that was read and checked.

References, the catalogue, Hugging Face, wheels, what other programs keep, and the GGUF header. Knows nothing of llama.cpp, of conversations, or of
who shows the progress. Nothing here is slow to import: the network libraries load when something is fetched.
"""

from lmlab.models.header import GgufHeader, read_header
from lmlab.models.progress import Progress, size_text
from lmlab.models.resolution import ModelFile, find_here, locate, remember, resolve
from lmlab.models.sampled_hash import fingerprint

__all__ = [
    "GgufHeader",
    "ModelFile",
    "Progress",
    "find_here",
    "fingerprint",
    "locate",
    "read_header",
    "remember",
    "resolve",
    "size_text",
]

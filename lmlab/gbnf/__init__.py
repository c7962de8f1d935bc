"""GBNF, the notation of llama.cpp's grammars: read, and refused where llama.cpp would end the process or never end.

Needs no llama.cpp. Knows nothing of tokens, models or JSON.
"""

from lmlab.gbnf.check import check_gbnf
from lmlab.gbnf.reader import MAX_REPEATS

__all__ = ["MAX_REPEATS", "check_gbnf"]

"""Tokens in, events out. The engine never sees text, files or a screen."""

from lmlab.engine.engine import Engine
from lmlab.engine.request import Admitted, Changed, Drawn, Ended, EngineEvent, EngineRequest, Prefilled, Refused

__all__ = [
    "Admitted",
    "Changed",
    "Drawn",
    "Ended",
    "Engine",
    "EngineEvent",
    "EngineRequest",
    "Prefilled",
    "Refused",
]

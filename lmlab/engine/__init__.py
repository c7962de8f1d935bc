"""Tokens in, events out. The engine never sees text, files or a screen."""

from lmlab.engine.drafting import Drafting
from lmlab.engine.engine import Engine
from lmlab.engine.kv_memory import KEPT_PREFIXES, reuse_policy
from lmlab.engine.request import (
    Admitted,
    Changed,
    Drawn,
    Ended,
    EngineEvent,
    EngineRequest,
    Inspected,
    Peeked,
    Prefilled,
    Refused,
    Restorable,
    Saved,
    Scales,
)

__all__ = [
    "KEPT_PREFIXES",
    "Admitted",
    "Changed",
    "Drafting",
    "Drawn",
    "Ended",
    "Engine",
    "EngineEvent",
    "EngineRequest",
    "Inspected",
    "Peeked",
    "Prefilled",
    "Refused",
    "Restorable",
    "Saved",
    "Scales",
    "reuse_policy",
]

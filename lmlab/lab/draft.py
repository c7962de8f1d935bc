"""The draft model that goes with a model: named as any model is, found as any model is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lmlab.backends import LoadSpec
from lmlab.models import ModelFile
from lmlab.worker.messages import LOOKUP


def with_draft(spec: LoadSpec, resolve: Callable[[str], ModelFile]) -> LoadSpec:
    """Return ``spec`` with the file of the draft that was named in it; prompt lookup needs none."""
    if spec.draft is None or spec.draft == LOOKUP:
        return spec
    return replace(spec, draft=str(resolve(spec.draft).path))

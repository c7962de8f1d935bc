"""Whether models can be fetched. The one check that touches the network, made only when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from lmlab.lab.doctor.finding import Finding
from lmlab.models.catalogue import STARTER

SECTION = "network"


def check(environ: Mapping[str, str]) -> Iterator[Finding]:
    # Imported here: the library behind it is slow to import.
    from lmlab.models.hub import reach

    begin = time.perf_counter()
    address = reach(STARTER.hub.repo, environ=environ)
    took = time.perf_counter() - begin
    yield Finding(SECTION, "model hub", "ok", f"{address} answers ({took:.1f} s)", values={"address": address})

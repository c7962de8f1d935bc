"""The tiny model of each family, loaded once, and with it an engine that reuses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from families import FAMILIES
from family_loading import Loader, Tiny, spec_of
from tiny_family import write_family

from lmlab.models import ModelFile, read_header
from lmlab.models.card import card_of


@pytest.fixture(scope="session")
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, loader: Loader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    family = FAMILIES[request.param]
    path = write_family(tmp_path_factory.mktemp("family") / f"{family.architecture}.gguf", family)
    spec = spec_of(path)
    header = read_header(path)
    card = card_of(ModelFile(str(path), path, header, None))
    yield Tiny(family, spec, loader(spec), loader(replace(spec, reuse=False)).engine, header, card)
    loader.close()
    path.unlink()

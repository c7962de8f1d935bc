from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_harness import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A chat whose backends are stepped by hand."""
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def auto(tmp_path: Path) -> Iterator[Desk]:
    """A chat whose models load and answer at once."""
    desk = Desk(tmp_path, auto=True)
    yield desk
    desk.close()

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screen_harness import Desk


@pytest.fixture
def make_desk(tmp_path: Path) -> Callable[..., Desk]:
    return lambda **options: Desk(tmp_path / "home", **options)


@pytest.fixture
def desk(make_desk: Callable[..., Any]) -> Desk:
    return make_desk()

"""The packages keep to the one direction of imports, also in what they import by way of others."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys

import pytest

SURFACE = {"typer", "click", "rich", "textual"}
PARENT_BANS = {"llama_cpp", "lmlab.engine", "lmlab.llama", "lmlab.worker.__main__"}
SLOW_TO_IMPORT = {"huggingface_hub", "jinja2", "yaml", "numpy", "scipy"}
# With every module of the package imported, these must not have come along. What imports llama_cpp gets jinja2 and
# sqlite3 with it: there the bans are on lmlab's own.
ABSENT_FROM_PACKAGE = {
    "lmlab.engine": SURFACE | {"lmlab.worker", "lmlab.backends", "lmlab.models", "lmlab.store", "lmlab.settings"},
    "lmlab.llama": SURFACE | {"lmlab.engine", "lmlab.worker", "lmlab.backends", "lmlab.models", "lmlab.store"},
    "lmlab.worker": SURFACE | {"lmlab.backends", "lmlab.models", "lmlab.store", "lmlab.lab"},
    "lmlab.backends": SURFACE | PARENT_BANS | SLOW_TO_IMPORT | {"sqlite3", "pydantic", "lmlab.models", "lmlab.store"},
    "lmlab.models": SURFACE | PARENT_BANS | SLOW_TO_IMPORT | {"sqlite3", "lmlab.backends", "lmlab.store"},
    "lmlab.prompting": SURFACE | PARENT_BANS | {"sqlite3", "lmlab.backends", "lmlab.models", "lmlab.store"},
    "lmlab.store": SURFACE | PARENT_BANS | SLOW_TO_IMPORT | {"lmlab.backends", "lmlab.models"},
    "lmlab.lab": SURFACE | PARENT_BANS | SLOW_TO_IMPORT | {"lmlab.cli", "lmlab.tui"},
    "lmlab.cli": PARENT_BANS | SLOW_TO_IMPORT | {"textual", "lmlab.tui"},
    "lmlab.tui": PARENT_BANS | {"typer", "huggingface_hub", "lmlab.cli"},
}
# With this one module imported, these must not have come along.
ABSENT_FROM_MODULE = {
    "lmlab.errors": SURFACE | SLOW_TO_IMPORT | {"pydantic", "sqlite3"},
    "lmlab.sampling": SURFACE | SLOW_TO_IMPORT | {"pydantic", "sqlite3"},
    "lmlab.settings": SURFACE | SLOW_TO_IMPORT | {"pydantic", "sqlite3", "platformdirs"},
    "lmlab.terminal_text": SURFACE | SLOW_TO_IMPORT | {"pydantic", "sqlite3"},
    "lmlab.worker.messages": SURFACE | SLOW_TO_IMPORT | PARENT_BANS | {"pydantic", "sqlite3"},
    "lmlab.lab.generate": SURFACE | SLOW_TO_IMPORT | PARENT_BANS | {"pydantic", "sqlite3"},
    "lmlab.cli.app": PARENT_BANS | SLOW_TO_IMPORT | {"rich", "textual", "sqlite3", "lmlab.tui", "lmlab.store"},
    "lmlab.cli.report": SURFACE
    | SLOW_TO_IMPORT
    | {"pydantic", "sqlite3", "lmlab.lab", "lmlab.models", "lmlab.cli.app"},
}


def modules_of(package: str) -> list[str]:
    """Return the package and every module in it, but for those that are programs."""
    found = importlib.util.find_spec(package)
    assert found is not None
    inside = pkgutil.walk_packages(found.submodule_search_locations, f"{package}.")
    return [package, *(module.name for module in inside if not module.name.endswith(".__main__"))]


def loaded_after(statement: str) -> set[str]:
    """Return the names in ``sys.modules`` after ``statement`` in a fresh interpreter."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("package", sorted(ABSENT_FROM_PACKAGE))
def test_a_package_brings_in_nothing_it_should_not(package: str) -> None:
    assert loaded_after(f"import {', '.join(modules_of(package))}") & ABSENT_FROM_PACKAGE[package] == set()


@pytest.mark.parametrize("module", sorted(ABSENT_FROM_MODULE))
def test_a_module_brings_in_nothing_it_should_not(module: str) -> None:
    assert loaded_after(f"import {module}") & ABSENT_FROM_MODULE[module] == set()


def test_asking_for_the_version_imports_no_command() -> None:
    loaded = loaded_after(
        "import contextlib, io, sys, lmlab.__main__ as program\n"
        "sys.argv = ['lmlab', '--version']\n"
        "with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())): program.main()"
    )
    assert "lmlab.cli.report" in loaded
    assert loaded & (SURFACE | SLOW_TO_IMPORT | {"lmlab.cli.app", "lmlab.lab", "lmlab.models", "pydantic"}) == set()


@pytest.mark.parametrize("package", sorted(ABSENT_FROM_PACKAGE))
def test_the_public_names_are_sorted_and_exist(package: str) -> None:
    public = getattr(importlib.import_module(package), "__all__", [])
    assert list(public) == sorted(public, key=_order)
    assert [name for name in public if not hasattr(importlib.import_module(package), name)] == []


def _order(name: str) -> tuple[bool, bool, str]:
    """Ruff's order for ``__all__``: constants, classes, then the rest."""
    return (not name.isupper(), not name[:1].isupper(), name)

from __future__ import annotations

import pickle

import pytest

from lmlab import errors
from lmlab.errors import ContextOverflow, LmlabError


def tree(kind: type[LmlabError]) -> list[type[LmlabError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


def example(kind: type[LmlabError]) -> LmlabError:
    return ContextOverflow(9000, 8191) if kind is ContextOverflow else kind("something 'quoted' – happened")


# Those of this module only: other modules may have children of their own.
TREE = [kind for kind in tree(LmlabError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", TREE)
def test_errors_cross_processes_unchanged(kind: type[LmlabError]) -> None:
    error = example(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.args == error.args
    assert again.__dict__ == error.__dict__
    assert again.exit_code == error.exit_code


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_is_drawn_in_the_docstring(kind: type[LmlabError]) -> None:
    assert errors.__doc__ is not None
    assert f" {kind.__name__} " in errors.__doc__


def test_wrong_usage_and_only_that_exits_with_2() -> None:
    assert {kind.__name__ for kind in TREE if kind.exit_code == 2} == {"UsageError", "SamplingError", "ConstraintError"}
    assert {kind.exit_code for kind in TREE} == {1, 2}


def test_an_overflow_names_both_numbers() -> None:
    error = ContextOverflow(9000, 8191)
    assert (error.prompt_tokens, error.limit) == (9000, 8191)
    assert "9,000" in str(error)
    assert "8,191" in str(error)
    assert "--ctx-size" in str(error)

"""Every controller of the catalog has tests of its plan that need no cluster."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.controllers.runtime.controller import Controller
from tests.docs.test_controllers import everything

UNIT = Path(__file__).parents[1]


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@functools.lru_cache(maxsize=1)
def imported_by_tests() -> frozenset[str]:
    return frozenset(name for path in UNIT.rglob("test_*.py") for name in imported(path))


@pytest.mark.parametrize("one", everything(), ids=lambda one: str(one.name))
def test_its_plan_is_tested_by_itself(one: Controller) -> None:
    plan = one.plan.func if isinstance(one.plan, functools.partial) else one.plan
    module = inspect.getmodule(plan)
    assert module is not None
    assert module.__name__ in imported_by_tests(), f"no test under tests/unit imports {module.__name__}"

"""Plain words: how docstrings begin, and the names that have been replaced.

A pre-commit hook runs this file. It reads the package's files and imports none of them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "ideogram_async"

UNCLEAR = re.compile(r"(gives?|tells?|says?|notes?|takes? in)\b", re.IGNORECASE)
"""How no docstring begins. "Return …", "Record …", "Raise …" and the like are clear."""

OLD_NAMES: dict[type[ast.AST], str] = {
    ast.ClassDef: """
        Agenda Album Attempts Breaker Calendar Core Crew Deal Engine Feed Folder Guest Inbox Intake
        Ledger Lesson Lifetime Line Luck Meter News Order Orders Pace Part Plan Pool Screen Seat
        Seen Session Shard Sharing Sheet Source Subscriptions Throttle Trouble Unfetched Verdict
        Waiter _Job
    """,
    ast.FunctionDef: """
        _again _ending _once_more _ring _rouse _salvage _settle _sweep _turn_away departs objection
        renewed running settle stir tidy
    """,
    ast.AnnAssign: """
        elsewhere k mu p p_anchor renewed sample_k sample_x sg t0 t_anchor twin watches x
    """,
    ast.Module: """
        address agenda album attempts breaker calendar core crew deal engine feed folder guest inbox
        intake ledger lesson lifetime line luck meter news order orders pace part plan salvage
        screen seat seen shard sharing sheet subscriptions text throttle trouble unfetched verdict
        waiter wire
    """,
}
"""Names that the field's terms have replaced. A module's name is without underscores here."""


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Parse each file of the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Go through the docstrings: of modules, classes and functions, and below attributes."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value


def test_docstrings_begin_with_what_is_done(trees: dict[str, ast.Module]) -> None:
    """No docstring begins with Give, Tell, Say, Take in or Note."""
    found = [
        f"{file}:{one.lineno}: {str(one.value).strip().splitlines()[0]}"
        for file, tree in trees.items()
        for one in _docstrings(tree)
        if UNCLEAR.match(str(one.value).strip())
    ]
    assert found == []


def _names(node: ast.AST) -> Iterator[tuple[type[ast.AST], str]]:
    """Yield what a class or function names: itself, and the fields that it declares."""
    if isinstance(node, ast.ClassDef):
        yield ast.ClassDef, node.name
        for one in node.body:
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                yield ast.AnnAssign, one.target.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield ast.FunctionDef, node.name


def test_no_old_name_is_left(trees: dict[str, ast.Module]) -> None:
    """No class, function, module or field has a name that a term of the field has replaced."""
    old = {kind: set(names.split()) for kind, names in OLD_NAMES.items()}
    found = [name for name in trees if Path(name).stem.strip("_") in old[ast.Module]]
    for file, tree in trees.items():
        for node in ast.walk(tree):
            found += [f"{file}: {name}" for kind, name in _names(node) if name in old[kind]]
    assert found == []

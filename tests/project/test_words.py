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

OLD_NAMES = {
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
    ast.Module: """
        address agenda album attempts breaker calendar core crew deal engine feed folder guest inbox
        intake ledger lesson lifetime line luck meter news order orders pace part plan salvage
        screen seat seen shard sharing sheet subscriptions text throttle trouble unfetched verdict
        waiter wire
    """,
}
"""Names that the field's terms have replaced. A module's name is without underscores here."""

TO_BE_WRITTEN_ANEW: tuple[str, ...] = ()
"""Folders and files that are exempt, until their own issue has written them anew."""


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Parse each file of the package; the exempt ones are left out."""
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if not name.startswith(TO_BE_WRITTEN_ANEW)
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


def test_no_old_name_is_left(trees: dict[str, ast.Module]) -> None:
    """No class, function or module has a name that a term of the field has replaced."""
    found = [name for name in trees if Path(name).stem.strip("_") in OLD_NAMES[ast.Module].split()]
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                kind = ast.ClassDef if isinstance(node, ast.ClassDef) else ast.FunctionDef
                if node.name in OLD_NAMES[kind].split():
                    found.append(f"{file}:{node.lineno}: {node.name}")
    assert found == []

"""The guide for contributors, the promises and the workflows agree with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.fault_matrix import test_fault_matrix as fault_matrix
from tests.fault_matrix.scene import Row
from tests.project.test_structure import EDGES, FLOORS

ROOT = Path(__file__).parents[2]
PLACEHOLDER = re.compile(r"/[^/]*<.*")
MOST_FILES = 3

pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="no checkout around it")


def _rows(path: str, head: str) -> list[list[str]]:
    """Return the rows of a document's tables with such a head."""
    rows: list[list[str]] = []
    for table in (ROOT / path).read_text(encoding="utf-8").split(f"\n{head}\n")[1:]:
        lines = table.split("\n\n")[0].splitlines()[1:]
        rows += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows


def test_the_map_lists_each_room_in_the_order_of_imports() -> None:
    """The map names the rooms from the top floor down, then those that stand around them."""
    named = [
        row[0].strip("`") for row in _rows(".github/CONTRIBUTING.md", "| room | what it holds |")
    ]
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    inner = [floors[room] for room in named if room in floors]
    assert sorted(named) == sorted(floors.keys() | EDGES)
    assert inner == sorted(inner, reverse=True)


def test_a_change_needs_few_files() -> None:
    """Each kind of change has at most three files, which exist, and a test among them."""
    changes = _rows(".github/CONTRIBUTING.md", "| change | files |")
    assert len(changes) >= 10
    for change, cell in changes:
        files = re.findall(r"`([^`]+)`", cell)
        assert len(files) <= MOST_FILES, change
        assert any(file.startswith("tests/") for file in files), change
        for file in files:
            assert (ROOT / PLACEHOLDER.sub("", file)).exists(), f"{change}: {file}"


def test_promises_are_numbered_and_have_tests() -> None:
    """Each promise names tests that exist, and the fault matrix has no other numbers."""
    promises = _rows("tests/README.md", "| | promise | more tests in |")
    assert [row[0] for row in promises] == [str(n) for n in range(1, len(promises) + 1)]
    for number, _, tests in promises:
        files = re.findall(r"`([^`]+)`", tests)
        assert files, number
        assert all((ROOT / "tests" / file).exists() or (ROOT / file).exists() for file in files)
    rows = [
        row for value in vars(fault_matrix).values() if isinstance(value, list) for row in value
    ]
    used = {row.promise for row in rows if isinstance(row, Row)}
    assert used == set(range(1, len(promises) + 1)) - {18}


def test_the_pythons_that_ci_runs_are_declared() -> None:
    """The classifiers list the versions that CI runs, and the lowest is the one required."""
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    matrix = re.findall(r'"(3\.\d+)"', workflow.split("matrix:")[1].split("steps:")[0])
    declared = [one.rpartition(" ")[2] for one in project["classifiers"] if ":: 3." in one]
    assert matrix == declared
    assert project["requires-python"] == f">={matrix[0]}"
    folders = re.findall(r"tests/\w+", workflow)
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_licence_is_in_the_package() -> None:
    """The licence's text lies in the package, where wheel and sdist take it from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (file,) = project["license-files"]
    assert file.startswith("ideogram_async/")
    assert (ROOT / file).read_text(encoding="utf-8").startswith(f"{project['license']} License")

"""The structure: rooms are folders, imports run downward, and all of it is documented.

A room is a folder of the package, or a module in its root; `FLOORS` lists them from the bottom up.
A new file in a room needs no entry here.
"""

from __future__ import annotations

import ast
import inspect
import sys
from fnmatch import fnmatch
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import pytest

import ideogram_async
import ideogram_async.testing
from ideogram_async import _errors, _models

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "ideogram_async"
PACKAGE = Path(ideogram_async.__file__).parent
ROOT = Path(__file__).parents[2]

FLOORS = [
    {"_limiter", "_models", "_statistics", "_logging", "_version"},
    {"_errors"},
    {"_protocol", "_schedules"},
    {"_hooks", "_validation"},
    {"_downloads"},
    {"_config"},
    {"_limits", "_transport"},
    {"_fleet", "_polling"},
    {"_runs", "_runtime"},
    {"_client"},
    {"__init__"},
]
EDGES: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"_protocol", "_validation", "_logging", "ray", "testing"},
    "pytest_plugin": {"testing"},
    "redis": {"_fleet"},
    "ray": {"_config", "_errors", "_fleet", "_protocol", "_runs", "_validation"},
    "telemetry": set(),
    "testing": set(),
}
"""What stands around the client, and which rooms each may use beside the public names."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LONGEST_FUNCTION = 40
MEDIAN_FUNCTION = 7
"""Lines of code, docstrings not counted."""
ROOT_MODULES = 15

OUTSIDE = {"aiohttp", "anyio", "msgspec"}
OUTSIDE_OF = {
    "cli": {"anyio", "msgspec", "rich", "typer"},
    "pytest_plugin": {"pytest", "pytest_asyncio"},
    "ray": {"anyio", "msgspec", "ray"},
    "redis": {"msgspec", "redis"},
    "telemetry": {"opentelemetry"},
}
TOP_LEVEL = {
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "PKG-INFO",  # in an sdist
    "README.md",
    "benchmarks",
    "ideogram_async",
    "pyproject.toml",
    "tests",
}


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


class Import(NamedTuple):
    """One import of one name in one file."""

    file: Path
    module: str
    """The module that it is taken from, with dots."""
    name: str | None
    """The name that is taken from it, if any."""
    typing_only: bool

    @property
    def room(self) -> str:
        """The room that imports."""
        return self.file.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def target(self) -> str | None:
        """The room that is imported; None for what is not ours."""
        top, _, rest = self.module.partition(".")
        if top != NAME:
            return None
        if rest:
            return rest.split(".")[0]
        return self.name if self.name in FLOOR_OF.keys() | EDGES else "__init__"

    @property
    def target_file(self) -> Path | None:
        """The file that is imported; None for what is not ours."""
        if self.module.partition(".")[0] != NAME:
            return None
        path = PACKAGE.joinpath(*self.module.split(".")[1:])
        for candidate in (path / f"{self.name}.py", path.with_suffix(".py"), path / "__init__.py"):
            if candidate.exists():
                return candidate
        return None

    def __str__(self) -> str:
        where = self.file.relative_to(PACKAGE)
        return f"{where}: {self.module} {self.name or ''}"


class _Imports(ast.NodeVisitor):
    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: list[Import] = []
        self.typing_only = False

    def visit_If(self, node: ast.If) -> None:
        outer, self.typing_only = self.typing_only, ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body:
            self.visit(child)
        self.typing_only = outer
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            parents = [NAME, *self.file.relative_to(PACKAGE).parts[:-1]]
            above = parents[: len(parents) - node.level + 1]
            module = ".".join([*above, module]) if module else ".".join(above)
        for alias in node.names:
            self._add(module, alias.name)

    def _add(self, module: str, name: str | None) -> None:
        self.found.append(Import(self.file, module, name, self.typing_only))


def sources() -> list[Path]:
    """List the package's files."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports() -> list[Import]:
    """Return every import in the package."""
    found: list[Import] = []
    for file in sources():
        visitor = _Imports(file)
        visitor.visit(_tree(file))
        found += visitor.found
    return found


def test_every_room_is_on_a_floor() -> None:
    """Each room is listed once, and nothing that is gone is listed."""
    found = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in sources()}
    assert found == FLOOR_OF.keys() | EDGES
    assert len(FLOOR_OF) == sum(map(len, FLOORS))


def test_imports_never_go_up() -> None:
    """No room knows one of a floor above its own, be it for its types alone, nor an edge."""
    upward = [
        str(one)
        for one in imports()
        if one.room in FLOOR_OF
        and one.target
        and FLOOR_OF.get(one.target, len(FLOORS)) > FLOOR_OF[one.room]
    ]
    assert upward == []


def test_rooms_of_one_floor_do_not_know_each_other() -> None:
    """What stands side by side can be read, and changed, apart."""
    sideways = [
        str(one)
        for one in imports()
        if one.room in FLOOR_OF
        and one.target not in {None, one.room}
        and FLOOR_OF.get(one.target or "") == FLOOR_OF[one.room]
    ]
    assert sideways == []


def test_no_file_stands_in_a_circle() -> None:
    """Files build on each other in one direction, types included."""
    graph: dict[Path, set[Path]] = {}
    for one in imports():
        target = one.target_file
        if target is not None and target != one.file:
            graph.setdefault(one.file, set()).add(target)
    assert list(TopologicalSorter(graph).static_order())


def test_edges_use_public_names_and_few_rooms() -> None:
    """What stands around the client is written as a user would write it, but for a few rooms."""
    public = {
        NAME: set(ideogram_async.__all__),
        f"{NAME}.testing": set(ideogram_async.testing.__all__),
        f"{NAME}.cli": {"app", "main"},
        f"{NAME}.ray": {"RayRun", "ray_as_completed"},
    }
    private = [
        str(one)
        for one in imports()
        if one.room in EDGES
        and one.target not in {None, one.room}
        and one.name not in public.get(one.module, set())
        and one.target not in EDGES[one.room] & FLOOR_OF.keys()
    ]
    assert private == []


def test_aiohttp_is_imported_by_the_transport_alone() -> None:
    """On the client's side the transport knows it for queries, and the downloads for images."""
    importers = {one.room for one in imports() if one.module.split(".")[0] == "aiohttp"}
    assert importers == {"_transport", "_downloads", "testing"}


def test_what_is_needed_from_outside() -> None:
    """The library needs its three packages, and an edge what its extra brings."""
    for one in imports():
        top = one.module.split(".")[0]
        if top == NAME or top in sys.stdlib_module_names:
            continue
        assert top in OUTSIDE_OF.get(one.room, OUTSIDE), str(one)


def _rank(name: str) -> tuple[int, str]:
    """Rank names as linters sort them: constants, classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("package", [ideogram_async, ideogram_async.testing], ids=str)
def test_the_exported_surface_is_sorted_and_complete(package: object) -> None:
    """`__all__` lists, in order and once, exactly what the package binds in public."""
    exported: list[str] = package.__all__  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    bound = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exported == sorted(set(exported), key=_rank)
    assert set(exported) - {"__version__"} == bound


def test_every_error_and_record_is_exported() -> None:
    """Whatever can be raised or returned can be named by whoever gets it."""
    for module in (_errors, _models):
        for name, value in vars(module).items():
            is_own = inspect.isclass(value) and value.__module__ == module.__name__
            if is_own and not name.startswith("_"):  # the base of all records is returned by none
                assert name in ideogram_async.__all__


PUBLIC = {
    name: getattr(ideogram_async, name) for name in ideogram_async.__all__ if name != "__version__"
}


def test_every_public_name_has_a_docstring() -> None:
    """Each exported name, and each public method and property of it, says what it is."""
    for name, thing in PUBLIC.items():
        assert vars(thing).get("__doc__"), name
        for attribute, value in vars(thing).items():
            described = inspect.isfunction(value) or isinstance(value, property | classmethod)
            if described and not attribute.startswith("_"):
                assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


def _functions() -> Iterator[tuple[str, int]]:
    """Go through all functions, each with its lines of code."""
    for file in sources():
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
                yield f"{file.relative_to(PACKAGE)}: {node.name}", lines


def test_functions_are_short() -> None:
    """A function fits on a screen, and most of them in a glance."""
    lengths = dict(_functions())
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}
    assert median(lengths.values()) <= MEDIAN_FUNCTION


def test_the_root_holds_few_modules() -> None:
    """What has a subject stands in that subject's room."""
    assert len(list(PACKAGE.glob("*.py"))) <= ROOT_MODULES


def test_every_module_says_what_it_is() -> None:
    """Each file of the package begins with a docstring."""
    for file in sources():
        assert ast.get_docstring(_tree(file)), file.name


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout stands around it")
def test_the_top_level_holds_what_belongs_there() -> None:
    """At the top of the repository stand its few known names, and what git does not see."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    ignored = [line.strip("/") for line in lines]
    seen = (path for path in ROOT.iterdir() if path.is_file() or any(path.iterdir()))
    names = {path.name for path in seen if not any(fnmatch(path.name, one) for one in ignored)}
    assert names - TOP_LEVEL == set()

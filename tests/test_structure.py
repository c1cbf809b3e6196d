"""The structure: imports run downward, edges use public names alone, and all of it is documented.

A new module is listed here, on the lowest floor that stands above all that it imports.
"""

from __future__ import annotations

import ast
import inspect
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import ideogram_async
import ideogram_async.testing
from ideogram_async import _errors, _models

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "ideogram_async"
PACKAGE = Path(ideogram_async.__file__).parent
ROOT = Path(__file__).parents[1]

FLOORS = [
    {"_address", "_errors", "_log", "_models", "_statistics", "_text", "_version"},
    {"_adaptive", "_credentials", "_hooks", "_ids", "_learned", "_salvage", "_schedule"}
    | {"_downloads", "_folder", "_images", "_settings", "_wire"},
    {"_agenda", "_breaker", "_calendar", "_crew", "_engine", "_feed", "_intake", "_job"}
    | {"_ledger", "_line", "_run", "_seen", "_sessions", "_sharing", "_subscriptions", "_throttle"}
    | {"_waiter"},
    {"_attempts", "_connections", "_downloader", "_fetch", "_transport"},
    {"_client", "_core", "_lifetime"},
    {"__init__"},
]
EDGES = {"__main__", "cli", "pytest_plugin", "ray", "telemetry", "testing"}
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
LONGEST = 400
"""Lines of a module: beyond them it holds more than one noun."""

OUTSIDE = {"aiohttp", "anyio", "msgspec"}
OUTSIDE_OF = {
    "cli": {"anyio", "msgspec", "rich", "typer"},
    "pytest_plugin": {"pytest", "pytest_asyncio"},
    "ray": {"anyio", "msgspec", "ray"},
    "telemetry": {"opentelemetry"},
}
TOP_LEVEL = {
    ".ci",
    ".git",
    ".gitignore",
    "README.md",
    "benchmarks",
    "ideogram_async",
    "pyproject.toml",
    "tests",
}


class Import(NamedTuple):
    """One import of one name in one file."""

    file: Path
    module: str
    """The module that it is taken from, with dots."""
    name: str | None
    """The name that is taken from it, if any."""
    typing_only: bool

    @property
    def importer(self) -> str:
        """The module or package, directly within ours, that imports."""
        return self.file.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def imported(self) -> str | None:
        """What of ours is imported, directly within the package; None for what is not ours."""
        top, _, rest = self.module.partition(".")
        if top != NAME:
            return None
        if rest:
            return rest.split(".")[0]
        return self.name if self.name in FLOOR_OF.keys() | EDGES else "__init__"

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


def imports() -> Iterator[Import]:
    """Go through every import in the package."""
    for file in sources():
        visitor = _Imports(file)
        visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
        yield from visitor.found


IMPORTS = list(imports())


def test_every_module_is_on_a_floor() -> None:
    """Each module and subpackage is listed once, and nothing that is gone is listed."""
    found = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in sources()}
    assert found == FLOOR_OF.keys() | EDGES
    assert len(FLOOR_OF) == sum(map(len, FLOORS))


def test_imports_never_go_up() -> None:
    """No module knows one of a floor above its own, be it for its types alone, nor an edge."""
    upward = [
        str(one)
        for one in IMPORTS
        if one.importer in FLOOR_OF
        and one.imported
        and FLOOR_OF.get(one.imported, len(FLOORS)) > FLOOR_OF[one.importer]
    ]
    assert upward == []


def test_imports_within_a_floor_go_one_way() -> None:
    """Modules of one floor may build on each other, but never in a circle."""
    graph: dict[str, set[str]] = {}
    for one in IMPORTS:
        if one.importer in FLOOR_OF and one.imported and not one.typing_only:
            graph.setdefault(one.importer, set()).add(one.imported)
    assert list(TopologicalSorter(graph).static_order())


def test_the_lowest_floor_stands_on_nothing() -> None:
    """Models, errors and texts import nothing of ours when they run."""
    below = [str(one) for one in IMPORTS if FLOOR_OF.get(one.importer) == 0 and one.imported]
    typing_only = [str(one) for one in IMPORTS if one.typing_only]
    assert [told for told in below if told not in typing_only] == []


def test_edges_use_public_names_alone() -> None:
    """The command line and the test kit are written as a user would write them."""
    public = {
        NAME: set(ideogram_async.__all__),
        f"{NAME}.testing": set(ideogram_async.testing.__all__),
        f"{NAME}.cli": {"app", "main"},
        f"{NAME}.ray": {"RayRun", "ray_as_completed"},
    }
    private = [
        str(one)
        for one in IMPORTS
        if one.importer in EDGES
        and one.imported not in {None, one.importer}
        and one.name not in public.get(one.module, set())
    ]
    assert private == []


def test_aiohttp_is_imported_by_the_transport_alone() -> None:
    """On the client's side one module for queries, with its part, and one for images know it."""
    importers = {one.importer for one in IMPORTS if one.module.split(".")[0] == "aiohttp"}
    assert importers == {"_transport", "_connections", "_fetch", "testing"}
    assert {one.importer for one in IMPORTS if one.imported == "_connections"} == {"_transport"}


def test_what_is_needed_from_outside() -> None:
    """The library needs its three packages, and an edge what its extra brings."""
    for one in IMPORTS:
        top = one.module.split(".")[0]
        if top == NAME or top in sys.stdlib_module_names:
            continue
        assert top in OUTSIDE_OF.get(one.importer, OUTSIDE), str(one)


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
            if inspect.isclass(value) and value.__module__ == module.__name__:
                assert name in ideogram_async.__all__


PUBLIC = {
    name: getattr(ideogram_async, name) for name in ideogram_async.__all__ if name != "__version__"
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Each exported name, and each public method and property of it, says what it is."""
    thing = PUBLIC[name]
    assert vars(thing).get("__doc__"), name
    for attribute, value in vars(thing).items():
        described = inspect.isfunction(value) or isinstance(value, property | classmethod)
        if described and not attribute.startswith("_"):
            assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


def test_no_module_is_too_long() -> None:
    """A file that outgrows its noun is split."""
    lengths = {
        str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines())
        for file in sources()
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_every_module_says_what_it_is() -> None:
    """Each file of the package begins with a docstring."""
    for file in sources():
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file.name


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout stands around it")
def test_the_top_level_holds_what_belongs_there() -> None:
    """At the top of the repository stand its few known names, and what git does not see."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    ignored = [line.strip("/") for line in lines]
    seen = (path for path in ROOT.iterdir() if path.is_file() or any(path.iterdir()))
    names = {path.name for path in seen if not any(fnmatch(path.name, one) for one in ignored)}
    assert names - TOP_LEVEL == set()

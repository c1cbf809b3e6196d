"""Where a client's time goes in its steady state, by whose code it is spent in."""

from __future__ import annotations

import pstats
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import ideogram_async
from benchmarks._report import table
from benchmarks.speed.child import run
from benchmarks.speed.turns import Measured, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNERS = ("aiohttp", "asyncio", "ours", "msgspec", "other")
_PARTS = {  # of a file's path, or of a built-in's name: the first that fits
    f"{Path(ideogram_async.__file__).parent}/": "ours",
    "/aiohttp/": "aiohttp",
    "/multidict/": "aiohttp",
    "/yarl/": "aiohttp",
    "/propcache/": "aiohttp",
    "/asyncio/": "asyncio",
    "/selectors.py": "asyncio",
    "msgspec": "msgspec",
    "aiohttp": "aiohttp",
    "multidict": "aiohttp",
    "yarl": "aiohttp",
    "select.epoll": "asyncio",
    "_socket.socket": "asyncio",
    "'_asyncio.": "asyncio",
    "_contextvars": "asyncio",
}


class Function(msgspec.Struct, frozen=True):
    """One function, and what a query spends in it, in microseconds."""

    owner: str
    name: str
    calls: float
    """A query."""
    own: float
    whole: float


def profiled(task: Task, directory: Path) -> list[Function]:
    """Run a round under cProfile, and give its functions, the dearest first."""
    file = directory / f"{task.client}.prof"
    run("turns", msgspec.structs.replace(task, profile=str(file)), Measured, said=b"\n")
    return sorted(_functions(file, task.queries), key=lambda one: one.own, reverse=True)


def _functions(file: Path, queries: int) -> Iterator[Function]:
    entries = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    for (path, line, name), (_, calls, own, whole, _) in entries.items():
        where = name if path == "~" else f"{Path(path).name}:{line} {name}"
        owner = owner_of(name if path == "~" else path)
        yield Function(owner, where, calls / queries, own / queries * 1e6, whole / queries * 1e6)


def owner_of(place: str) -> str:
    """Tell whose a file or a built-in is."""
    return next((owner for part, owner in _PARTS.items() if part in place), "other")


def tell(functions: list[Function], most: int = 12) -> Iterator[str]:
    """Lay out the shares of all owners, and each one's dearest functions."""
    total = sum(one.own for one in functions)
    for owner in OWNERS:
        mine = [one for one in functions if one.owner == owner]
        own = sum(one.own for one in mine)
        yield f"\n{owner}: {own:.1f} us a query, {own / total:.0%}"
        rows = [
            [f"  {one.name}", f"{one.calls:.2f}", f"{one.own:.2f}", f"{one.whole:.2f}"]
            for one in mine[:most]
        ]
        yield from table(["  function", "calls", "own us", "with callees"], rows)

"""Where a client's CPU time goes in its steady state, by the owner of the code."""

from __future__ import annotations

import pstats
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

import ideogram_async
from benchmarks._report import table
from benchmarks.speed.child import started
from benchmarks.speed.turns import Turn, TurnsTask

OWNERS = ("aiohttp", "asyncio", "ours", "msgspec", "other")
_OWNER_BY_PART = {  # of a file's path, or of a built-in's name: the first that fits
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
    """One function and its cost per query."""

    owner: str
    name: str
    calls: float
    own: float
    """Microseconds, without its callees."""
    total: float
    """Microseconds, with its callees."""


def profiled(task: TurnsTask) -> list[Function]:
    """Run a turn under cProfile, and return its functions, the most expensive first."""
    with NamedTemporaryFile() as file:
        with started("turns", msgspec.structs.replace(task, profile=file.name)) as child:
            child.receive(Turn)
            child.go_on()
            child.receive(Turn)
        functions = [*_functions(file.name, task.queries)]
    return sorted(functions, key=lambda one: one.own, reverse=True)


def _functions(file: str, queries: int) -> Iterator[Function]:
    entries = pstats.Stats(file).stats  # type: ignore[attr-defined]
    for (path, line, name), (_, calls, own, total, _) in entries.items():
        place = name if path == "~" else f"{Path(path).name}:{line} {name}"
        owner = owner_of(name if path == "~" else path)
        yield Function(owner, place, calls / queries, own / queries * 1e6, total / queries * 1e6)


def owner_of(place: str) -> str:
    """Return the owner of a file or of a built-in function."""
    return next((owner for part, owner in _OWNER_BY_PART.items() if part in place), "other")


def profile_lines(functions: list[Function], most: int = 12) -> Iterator[str]:
    """Yield the share of each owner, and its most expensive functions."""
    total = sum(one.own for one in functions)
    for owner in OWNERS:
        owned = [one for one in functions if one.owner == owner]
        own = sum(one.own for one in owned)
        yield f"\n{owner}: {own:.1f} us per query, {own / total:.0%}"
        rows = [
            [f"  {one.name}", f"{one.calls:.2f}", f"{one.own:.2f}", f"{one.total:.2f}"]
            for one in owned[:most]
        ]
        yield from table(["  function", "calls", "own us", "with callees"], rows)

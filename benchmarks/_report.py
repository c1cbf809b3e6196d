"""How every benchmark tells its figures: goals, tables, a JSON file, and a plot."""

from __future__ import annotations

import importlib
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """One figure, and what it may be at most."""

    what: str
    figure: float
    limit: float
    holds: bool


def goal(what: str, figure: float, limit: float) -> Goal:
    """Hold a figure against its goal."""
    return Goal(what, figure, limit, figure <= limit)


def report(goals: Iterable[Goal], title: str) -> Iterator[str]:
    """Tell of each goal its figure, and whether it holds."""
    yield f"\n{title}"
    for one in goals:
        verdict = "holds" if one.holds else "FAILS"
        yield f"  {verdict}  {one.figure:8.3f} ≤ {one.limit:<6g} {one.what}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lay out a table: the first column flush left, the others right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        yield "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()


def about(machine: Mapping[str, str]) -> Iterator[str]:
    """Tell where it was measured."""
    yield " · ".join(f"{key} {value}" for key, value in machine.items())


def spread(figures: Sequence[float]) -> float:
    """Give the noise: how far the rounds lie apart, as a share of their median."""
    return (max(figures) - min(figures)) / statistics.median(figures)


def say(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def write(
    directory: Path, name: str, document: Mapping[str, Any], plot: Callable[[Path], None]
) -> None:
    """Write NAME.json, and NAME.png where matplotlib is installed."""
    directory.mkdir(parents=True, exist_ok=True)
    written = msgspec.json.format(msgspec.json.encode(document))
    (directory / f"{name}.json").write_bytes(written)
    try:
        plot(directory / f"{name}.png")
    except ImportError:
        sys.stdout.write("\nNo plot: matplotlib is not installed.\n")


def figure(*, width: float, height: float) -> Any:
    """Make an empty plot, of a size in inches; raises ImportError without matplotlib."""
    return importlib.import_module("matplotlib.figure").Figure(
        (width, height), layout="constrained"
    )

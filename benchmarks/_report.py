"""The options and the output of the benchmarks: goals, tables, a JSON file, and a plot."""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec


def argument_parser(doc: str | None, *, output: bool = False) -> argparse.ArgumentParser:
    """Return a parser with a docstring's first line, and `--output` where files are written."""
    parser = argparse.ArgumentParser(description=str(doc).split("\n", maxsplit=1)[0])
    if output:
        parser.add_argument("--output", type=Path, default=Path("build"), help="a directory")
    return parser


class Goal(msgspec.Struct, frozen=True):
    """A measured figure and its limit."""

    what: str
    figure: float
    limit: float
    holds: bool
    at_least: bool = False
    """Whether the limit is a lower one."""
    unit: str = ""


def goal(what: str, figure: float, limit: float, *, at_least: bool = False, unit: str = "") -> Goal:
    """Return the goal, with whether the figure keeps the limit."""
    holds = figure >= limit if at_least else figure <= limit
    return Goal(what, figure, limit, holds, at_least, unit)


def report(goals: Iterable[Goal], title: str) -> Iterator[str]:
    """Yield a line per goal: whether it holds, its figure, and its limit."""
    yield f"\n{title}"
    for one in goals:
        verdict, relation = "holds" if one.holds else "FAILS", "≥" if one.at_least else "≤"
        yield f"  {verdict}  {one.figure:8.3f} {relation} {one.limit:<6g} {one.what}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: the first column is aligned left, the others right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        yield "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()


def about(machine: Mapping[str, str]) -> Iterator[str]:
    """Yield one line that describes the machine."""
    yield " · ".join(f"{key} {value}" for key, value in machine.items())


def spread(figures: Sequence[float]) -> float:
    """Return the distance of the highest figure from the lowest, as a share of the median."""
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
    """Return an empty plot, its size in inches; raise ImportError without matplotlib."""
    return importlib.import_module("matplotlib.figure").Figure(
        (width, height), layout="constrained"
    )

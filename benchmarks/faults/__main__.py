"""Play the scenes and print one table: a row a scene, its figures beside their goals.

`python -m benchmarks.faults [--seeds 1-8] [--only NAME …] [--processes 2]`. A cell is the mean over
the seeds and the worst seed; `!` marks a figure that is not within its goal. The exit status is 1
where any is not. All is virtual time over real HTTP on loopback, with default settings.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from typing import NamedTuple

from benchmarks._report import say, table
from benchmarks.faults.scene import Goal
from benchmarks.faults.scenes import SCENES


class Row(NamedTuple):
    """What came of a scene: for each figure, one goal a seed."""

    name: str
    figures: list[list[Goal]]
    cpu: float
    """Seconds of processor time, over all seeds."""

    @property
    def holds(self) -> bool:
        """Whether every figure of every seed is within its goal."""
        return all(goal.holds for figure in self.figures for goal in figure)

    @property
    def heads(self) -> list[str]:
        """The figures' names, each with its goal."""
        return [figure[0].head for figure in self.figures]

    def cells(self) -> list[str]:
        """Return the figures and the verdict."""
        return [self.name, *map(_cell, self.figures), "holds" if self.holds else "FAILS"]


def _cell(figure: list[Goal]) -> str:
    figures = [goal.figure for goal in figure]
    mark = " " if all(goal.holds for goal in figure) else "!"
    return f"{sum(figures) / len(figures):.4g} | {max(figures):.4g}{mark}"


def play(name: str, seeds: list[int]) -> Row:
    """Play a scene for each seed; an exception is a figure that fails."""
    begun = time.process_time()
    try:
        runs = [SCENES[name](seed) for seed in seeds]
    except Exception as error:  # noqa: BLE001 - one scene must not end the sweep
        runs = [[Goal(f"raised {type(error).__name__}: {error}", 1, 0)]]
    figures = [list(figure) for figure in zip(*runs, strict=True)]
    return Row(name, figures, time.process_time() - begun)


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Lay out rows, with a head wherever the figures or their goals change."""
    for _, group in groupby(rows, key=lambda row: (row.name.split("/")[0], row.heads)):
        family = list(group)
        yield ""
        yield from table(["scene", *family[0].heads, ""], [row.cells() for row in family])


def summary(rows: list[Row]) -> Iterator[str]:
    """Say how many scenes hold, and what they cost."""
    yield ""
    for family, group in groupby(rows, key=lambda row: row.name.split("/")[0]):
        listed = list(group)
        holding, cpu = sum(row.holds for row in listed), sum(row.cpu for row in listed)
        yield f"{family}: {holding} of {len(listed)} scenes hold ({cpu:.0f} s of CPU)"


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def chosen(only: list[str] | None) -> list[str]:
    """Return the scenes whose name holds one of the words; without words, all."""
    return [name for name in SCENES if not only or any(word in name for word in only)]


def main() -> int:
    """Play what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=[1], help="as 3, or 1-8 (default 1)")
    parser.add_argument("--only", nargs="+", help="scenes whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=1, help="default 1")
    arguments = parser.parse_args()
    names = chosen(arguments.only)
    logging.getLogger("ideogram_async").addHandler(logging.NullHandler())
    with ProcessPoolExecutor(arguments.processes) as pool:
        rows = list(pool.map(play, names, [arguments.seeds] * len(names)))
    say(lines(rows))
    say(summary(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

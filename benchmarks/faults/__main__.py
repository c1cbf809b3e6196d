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
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from typing import NamedTuple

from benchmarks._report import say, table
from benchmarks.faults.scene import Goal, Scene
from benchmarks.faults.scenes import FULL, GROUPS, SCENES
from benchmarks.faults.stage import observers
from benchmarks.faults.trace import trace


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
    return f"{_number(sum(figures) / len(figures))} | {_number(max(figures))}{mark}"


def _number(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.2f}"


def play(name: str, seeds: list[int]) -> Row:
    """Play a scene for each seed; an exception is a figure that fails."""
    scene, begun = ({**SCENES, **FULL})[name], time.process_time()
    try:
        runs = [scene(seed) for seed in seeds]
    except Exception as error:  # noqa: BLE001 - one scene must not end the sweep
        runs = [[Goal(f"raised {type(error).__name__}: {error}", 1, 0)]]
    figures = [list(figure) for figure in zip(*runs, strict=True)]
    return Row(name, figures, time.process_time() - begun)


def play_all(names: list[str], seeds: list[int], processes: int) -> list[Row]:
    """Play scenes, in processes of their own where there are several."""
    if processes == 1:
        return [play(name, seeds) for name in names]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(play, names, [seeds] * len(names)))


def lines(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """Lay out the rows of a group, with a head wherever the figures or their goals change."""
    yield f"\n{title}"
    for heads, family in groupby(rows, key=lambda row: row.heads):
        yield ""
        yield from table(["scene", *heads, ""], [row.cells() for row in family])


def summary(title: str, rows: list[Row]) -> str:
    """Say how many scenes of a group hold, and what they cost."""
    holding, cpu = sum(row.holds for row in rows), sum(row.cpu for row in rows)
    return f"{holding:4} of {len(rows):3} hold, {cpu:4.0f} s of CPU: {title}"


def chosen(scenes: Mapping[str, Scene], only: list[str] | None) -> list[str]:
    """Return the scenes whose name holds one of the words; without words, all."""
    return [name for name in scenes if not only or any(word in name for word in only)]


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=[1], help="as 3, or 1-8 (default 1)")
    parser.add_argument("--only", nargs="+", help="scenes whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=1, help="default 1")
    parser.add_argument("--full", action="store_true", help="the scenes in full size, too")
    parser.add_argument("--trace", action="store_true", help="print what happens in each scene")
    return parser.parse_args(given)


def _log(*, traced: bool) -> None:
    logger = logging.getLogger("ideogram_async")
    logger.addHandler(logging.NullHandler())
    if traced:
        logger.setLevel(logging.INFO)
        observers.append(lambda stage: say(trace(stage)))


def main(given: list[str] | None = None) -> int:
    """Play what is asked for; return the exit status."""
    arguments, rows, told = _arguments(given), [], []
    _log(traced=arguments.trace)
    groups = {**GROUPS, "In full size": FULL} if arguments.full else GROUPS
    for title, scenes in groups.items():
        names = chosen(scenes, arguments.only)
        group = play_all(names, arguments.seeds, arguments.processes)
        if group:
            say(lines(title, group))
            told.append(summary(title, group))
        rows += group
    say(["", *told])
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

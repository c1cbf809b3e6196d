"""What the limiter makes of a gateway's limits: `python -m benchmarks.limits`.

The real client, dispatcher, tracker, pool and limiter in virtual time; HTTP alone is replaced.
Each row stands for a gateway; its figures are counted on the gateway's side (`scenes` names them).
`--only` takes parts of names. `--save` writes the figures, to be shown later by `--beside`.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from benchmarks.limits.oracle import oracle
from benchmarks.limits.scenes import Figures, Scene
from benchmarks.limits.table import ROWS
from ideogram_async.testing import run_in_virtual_time

HERE = Path(__file__).parent
TO_BE_REACHED = {"used", "least"}
Results = dict[str, list[Figures]]
"""The figures of each row, seed by seed."""


def measure(row: str, seed: int, *, told: bool) -> Figures:
    """Run one row with one seed, as it is or by the oracle."""
    scene = next(scene for scene in ROWS if scene.name == row)
    with oracle(scene.told if told else None):
        figures = run_in_virtual_time(scene.run, seed)
    return {name: round(figure, 2) for name, figure in figures.items()}


def _measured(job: tuple[str, int, bool]) -> Figures:
    name, seed, told = job
    logging.disable(logging.WARNING)  # each outage would be told
    return measure(name, seed, told=told)


def main() -> None:
    """Run the rows over the seeds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-4", help="as 1-8, or 1,5,7 (default 1-4)")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of rows")
    parser.add_argument("--oracle", action="store_true", help="tell each client the limit")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    parser.add_argument("--beside", nargs="*", type=Path, default=[], help="files to show beside")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if not arguments.only or _is_named(row, arguments.only)]
    if arguments.oracle:
        rows = [row for row in rows if row.told is not None]
    begun = time.process_time()
    results = _run(rows, _seeds(arguments.seeds), arguments.oracle, arguments.jobs)
    if arguments.save:
        arguments.save.write_bytes(
            msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
        )
    beside = [msgspec.json.decode(path.read_bytes(), type=Results) for path in arguments.beside]
    for line in table(rows, results, beside):
        print(line)
    if arguments.jobs == 1:
        print(f"{time.process_time() - begun:.0f} s of CPU")


def _is_named(row: Scene, parts: Iterable[str]) -> bool:
    return any(part in row.name for part in parts)


def _seeds(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(one) for one in text.split(",")]


def _run(rows: Sequence[Scene], seeds: Sequence[int], told: bool, jobs: int) -> Results:
    work = [(row.name, seed, told) for row in rows for seed in seeds]
    if jobs == 1:
        figures = list(map(_measured, work))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            figures = list(pool.map(_measured, work))
    count = len(seeds)
    return {row.name: figures[i * count : (i + 1) * count] for i, row in enumerate(rows)}


def table(
    rows: Sequence[Scene], results: Results, beside: Sequence[Mapping[str, list[Figures]]] = ()
) -> Iterator[str]:
    """Lay out each row's figures: the mean, the worst seed, and the means of the files beside."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        runs = results[row.name]
        for place, (figure, limit) in enumerate(row.goals.items()):
            values = [run[figure] for run in runs]
            mean = statistics.fmean(values)
            reach = figure in TO_BE_REACHED
            worst = min(values) if reach else max(values)
            misses = mean < limit if reach else mean > limit
            cells = [f"{row.name if not place else '':{width}} {figure:8}"]
            cells += [_beside(other, row.name, figure) for other in beside]
            asked = (
                "" if limit in {0.0, 100.0} and not misses else f"{'≥' if reach else '≤'} {limit:g}"
            )
            cells += [f"{mean:8.2f} ({worst:8.2f}) {asked:7} {'MISSED' if misses else ''}"]
            yield " ".join(cells).rstrip()


def _beside(other: Mapping[str, list[Figures]], name: str, figure: str) -> str:
    runs = other.get(name)
    if not runs or figure not in runs[0]:
        return f"{'-':>8}"
    return f"{statistics.fmean(run[figure] for run in runs):8.2f}"


if __name__ == "__main__":
    main()

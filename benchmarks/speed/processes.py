"""What more cores give: `python -m benchmarks.processes`.

One process, then two, each with a client of its own and its share of the ids, which is how a
service uses more than one core: asyncio and the interpreter keep a client to one. All start
together, after their warm-up, and the rate is that of all ids over the time until the last is
answered.

A word on bias. The processes share nothing, no key's pace either, so that loopback shows the best
that can be had; a gateway's limit is shared, blindly. The server takes a part of one of the cores:
with as many processes as cores they are its neighbours, and give less than they would elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks._machine import all_cores, described
from benchmarks._report import about, figure, say, spread, table, write
from benchmarks.speed.child import opened
from benchmarks.speed.competitors import COMPETITORS, Target
from benchmarks.speed.server import Server, serving
from benchmarks.speed.turns import Measured, Task


class Row(msgspec.Struct, frozen=True):
    """So many processes, and what each round gave."""

    processes: int
    rates: list[float]
    """Queries a second, of all together."""
    costs: list[float]
    """Microseconds of CPU time a query, of the clients."""

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


def measure(server: Server, counts: Sequence[int], queries: int, rounds: int) -> list[Row]:
    """Measure each number of processes, in turn."""
    rows = [Row(count, [], []) for count in counts]
    for _ in range(rounds):
        for row in rows:
            measured = _together([*_tasks(server, row.processes, queries)])
            asked = sum(one.queries for one in measured)
            row.rates.append(asked / max(one.wall for one in measured))
            row.costs.append(sum(one.cpu for one in measured) / asked * 1e6)
    return rows


def _tasks(server: Server, count: int, queries: int) -> Iterator[Task]:
    cores = all_cores()
    flight = COMPETITORS["retrieve_many"].in_flight
    target = Target(server.base_url, server.authority, flight, 0)
    for index in range(count):
        core = cores[index % len(cores)]
        yield Task("retrieve_many", "asyncio", target, queries // count, 3 * flight, core)


def _together(tasks: Sequence[Task]) -> list[Measured]:
    """Start the tasks at one moment."""
    with ExitStack() as stack:
        children = [stack.enter_context(opened("turns", task)) for task in tasks]
        for child in children:
            child.hear(Measured)
        for child in children:
            child.say()
        return [child.hear(Measured) for child in children]


def tell(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out what each number of processes gave."""
    yield from table(["processes", "queries/s", "x one", "us CPU a query", "spread"], _cells(rows))


def _cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        yield [
            str(row.processes),
            f"{row.rate:,.0f}",
            f"{row.rate / rows[0].rate:.2f}",
            f"{statistics.median(row.costs):.1f}",
            f"{spread(row.rates):.0%}",
        ]


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the rate, a bar for each number of processes."""
    drawing = figure(width=5, height=4)
    axes = drawing.subplots()
    axes.bar([str(row.processes) for row in rows], [row.rate for row in rows])
    axes.set(xlabel="processes", ylabel="queries a second")
    drawing.savefig(path, dpi=110)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 10,000 queries")
    parser.add_argument("--counts", type=int, nargs="+", default=(1, 2), help="of processes")
    parser.add_argument("--rounds", type=int, help="default 7")
    parser.add_argument("--queries", type=int, help="a round, over all; default 40,000")
    parser.add_argument("--output", type=Path, default=Path("build"), help="a directory")
    arguments = parser.parse_args(given)
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.queries = arguments.queries or (10_000 if arguments.quick else 40_000)
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    arguments = _arguments(given)
    machine = described("aiohttp", "msgspec")
    say(about(machine))
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(Path(directory), tls=False, core=all_cores()[-1]) as server,
    ):
        say([f"server: {server.what}\n"])
        rows = measure(server, arguments.counts, arguments.queries, arguments.rounds)
    say(tell(rows))
    document = {"machine": machine, "rows": rows}
    write(arguments.output, "processes", document, lambda path: plot(rows, path))


if __name__ == "__main__":
    main()

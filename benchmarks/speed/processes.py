"""The throughput of more processes: `python -m benchmarks.processes`.

One process, then two, each with a client and its share of the ids. A service uses several cores in
this way: asyncio and the interpreter keep one client on one core. All processes start together,
after their warm-up. The rate is the number of all ids by the time until the last is answered.

About bias. The processes share nothing, not even the pace of a key, so loopback shows the best
case; on a real gateway they share its limit without knowing of each other. The server uses a part
of one core: with as many processes as cores they share that core with it, and do less than they
would elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks._machine import all_cores, described
from benchmarks._report import about, argument_parser, figure, say, spread, table, write
from benchmarks.speed.child import started
from benchmarks.speed.competitors import COMPETITORS, Target
from benchmarks.speed.server import Server, serving
from benchmarks.speed.turns import Turn, TurnsTask


class Row(msgspec.Struct, frozen=True):
    """A number of processes, and the figures of each round."""

    processes: int
    rates: list[float]
    """Queries per second, of all processes together."""
    costs: list[float]
    """Microseconds of CPU time per query, of the clients."""

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return statistics.median(self.rates)


def measure(server: Server, counts: Sequence[int], queries: int, rounds: int) -> list[Row]:
    """Measure each number of processes, in turn, in each round."""
    rows = [Row(count, [], []) for count in counts]
    for _ in range(rounds):
        for row in rows:
            turns = _together([*_tasks(server, row.processes, queries)])
            asked = sum(turn.queries for turn in turns)
            row.rates.append(asked / max(turn.wall for turn in turns))
            row.costs.append(sum(turn.cpu for turn in turns) / asked * 1e6)
    return rows


def _tasks(server: Server, count: int, queries: int) -> Iterator[TurnsTask]:
    cores = all_cores()
    in_flight = COMPETITORS["retrieve_many"].in_flight
    target = Target(server.base_url, server.ca_file, in_flight, 0)
    for index in range(count):
        core = cores[index % len(cores)]
        yield TurnsTask("retrieve_many", "asyncio", target, queries // count, 3 * in_flight, core)


def _together(tasks: Sequence[TurnsTask]) -> list[Turn]:
    """Start the turns of all tasks together, and return them."""
    with ExitStack() as stack:
        children = [stack.enter_context(started("turns", task)) for task in tasks]
        for child in children:
            child.receive(Turn)
        for child in children:
            child.go_on()
        return [child.receive(Turn) for child in children]


def result_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table with a row per number of processes."""
    yield from table(
        ["processes", "queries/s", "x one", "us CPU per query", "spread"], _cells(rows)
    )


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
    """Draw the rate, with a bar for each number of processes."""
    drawing = figure(width=5, height=4)
    axes = drawing.subplots()
    axes.bar([str(row.processes) for row in rows], [row.rate for row in rows])
    axes.set(xlabel="processes", ylabel="queries per second")
    drawing.savefig(path, dpi=110)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__, output=True)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 10,000 queries")
    parser.add_argument("--counts", type=int, nargs="+", default=(1, 2), help="of processes")
    parser.add_argument("--rounds", type=int, help="default 7")
    parser.add_argument("--queries", type=int, help="per round, of all processes; default 40,000")
    arguments = parser.parse_args(given)
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.queries = arguments.queries or (10_000 if arguments.quick else 40_000)
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    arguments = _arguments(given)
    machine = described("aiohttp", "msgspec")
    say(about(machine))
    with serving(core=all_cores()[-1]) as server:
        say([f"server: {server.what}\n"])
        rows = measure(server, arguments.counts, arguments.queries, arguments.rounds)
    say(result_lines(rows))
    document = {"machine": machine, "rows": rows}
    write(arguments.output, "processes", document, lambda path: plot(rows, path))


if __name__ == "__main__":
    main()

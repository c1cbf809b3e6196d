"""What it costs to be observed: `python -m benchmarks.hooks`.

The client asks a server on loopback, as in `benchmarks.throughput`, without hooks, with one that
does nothing, and with OpenTelemetry's SDK: metrics alone, then spans, too, whose exporter drops
them. Each runs in a process of its own on a core of its own, in turn with the others; ratios are of
the same round. An exporter that sends what it gets costs more; a sampler that takes one span in a
hundred, less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks._machine import cores, described
from benchmarks._report import about, goal, report, say, spread, table
from benchmarks.speed.competitors import EVERY, OBSERVED
from benchmarks.speed.rounds import Rounds, Row
from benchmarks.speed.server import serving

CLIENTS = ("bare", "as_completed", *OBSERVED)
NAMES = {"as_completed": "ours, hooks off"}
HOOK_LIMIT = 1.1
"""What a hook that does nothing may cost, times a query without one."""


def measure(rounds: Rounds, repeats: int, clients: Sequence[str] = CLIENTS) -> list[Row]:
    """Measure each in turn, so many times."""
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(Path(directory), tls=False, core=cores()[1]) as server,
    ):
        rounds.run(clients, ["asyncio"], server, rounds=repeats, reference="as_completed")
    return rounds.rows()


def tell(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out the cost a query, and its ratio to that without hooks."""
    (off,) = [row for row in rows if row.client == "as_completed"]
    yield from table(
        ["", "us CPU", "x off", "queries/s", "spread"],
        (
            [
                NAMES.get(row.client, EVERY[row.client].what),
                f"{row.cost:.1f}",
                f"{row.ratio(off):.2f}",
                f"{statistics.median(row.rates):,.0f}",
                f"{spread(row.costs):.0%}",
            ]
            for row in rows
        ),
    )
    hooks = [row for row in rows if row.client == "hook"]
    goals = [goal("a hook that does nothing: x none", row.ratio(off), HOOK_LIMIT) for row in hooks]
    yield from report(goals, "Goals (medians of the rounds' ratios)")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--queries", type=int, default=4_000, help="a turn")
    arguments = parser.parse_args()
    say(about(described("aiohttp", "opentelemetry-sdk")))
    rounds = Rounds(arguments.queries, 1, cores()[0], callgrind=False)
    rows = measure(rounds, arguments.rounds)
    say((*tell(rows), *(f"skipped: {name}, {why}" for name, why in rounds.skipped.items())))


if __name__ == "__main__":
    main()

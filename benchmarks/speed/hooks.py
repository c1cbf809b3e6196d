"""What hooks cost: `python -m benchmarks.hooks`.

The client asks a server on loopback, as in `benchmarks.throughput`: without hooks, with one that
does nothing, and with OpenTelemetry's SDK, whose exporter drops every span: metrics alone, then
metrics and spans. Each runs in a process of its own on the client's core, in turn with the others,
and ratios are to the turn without hooks just before. An exporter that sends its spans costs more; a
sampler that takes one span in a hundred costs less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks._machine import cores, described
from benchmarks._report import about, argument_parser, goal, report, say
from benchmarks.speed.competitors import OBSERVED
from benchmarks.speed.rounds import Rounds, Row, cost_table
from benchmarks.speed.server import serving

WITHOUT = "as_completed"
CLIENTS = ("bare", WITHOUT, *OBSERVED)
COST_RATIO_LIMIT = 1.1
"""The cost of a query with a hook that does nothing, by that of one without."""


def measure(rounds: Rounds, repeats: int, clients: Sequence[str] = CLIENTS) -> list[Row]:
    """Run the rounds, and return their rows."""
    with serving(core=cores()[1]) as server:
        rounds.run(clients, ["asyncio"], server, rounds=repeats, reference=WITHOUT)
    return rounds.rows()


def result_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the cost of a query, its ratio to that without hooks, and the goal."""
    (without,) = [row for row in rows if row.client == WITHOUT]
    yield from cost_table(rows, "us CPU", base=WITHOUT)
    goals = [
        goal("a hook that does nothing: x without hooks", row.ratio(without), COST_RATIO_LIMIT)
        for row in rows
        if row.client == "hook"
    ]
    yield from report(goals, "Goals (medians of the rounds' ratios)")


def main() -> None:
    """Measure, and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--queries", type=int, default=4_000, help="per turn")
    arguments = parser.parse_args()
    say(about(described("aiohttp", "opentelemetry-sdk")))
    rounds = Rounds(arguments.queries, 1, cores()[0], callgrind=False)
    rows = measure(rounds, arguments.rounds)
    say((*result_lines(rows), *rounds.notes()))


if __name__ == "__main__":
    main()

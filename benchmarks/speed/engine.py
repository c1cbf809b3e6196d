"""The instructions of a query without HTTP: `python -m benchmarks.engine`.

The whole client runs, except its transport: answers of 400 bytes come a turn of the event loop
later, and are decoded. What bare workers over the same transport take is subtracted, so that what
is left is the engine's: queue, limits, tracker and run; where ids are polled, also the schedule's
decision. Counted in user space with Valgrind's callgrind, on a loop with a clock of its own. The
figures depend on the Python version, not on the machine.

The limiters have a rate that no query has to wait for: one that was told, one that was found, and
that of a member of a fleet, as with Redis, whose reports are answered at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks._machine import described
from benchmarks._report import Goal, about, argument_parser, goal, report, say, table
from benchmarks.speed.rounds import Rounds, Row
from benchmarks.speed.server import Server
from benchmarks.speed.stubbed import STUBBED

WORKERS = "stub_workers"
ENGINE_LIMIT = 70.0
"""Thousands of instructions per query."""
ENGINES = ("stub_retrieve_many", "stub_as_completed")
LIMITERS = ("stub_found", "stub_told", "stub_shared")
LIMITER_RATIO_LIMIT = 1.03
"""The cost of a query at a limit that is shared, by that at one's own."""
LOOP = "benchmarks.speed.ticking_loop"
NO_SERVER = Server("http://127.0.0.1:9", "none", None)


def result_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the instructions of each query, and what of them is the engine's."""
    cost = {row.client: row.cost for row in rows}
    bare = cost[WORKERS]
    cells = [[STUBBED[name].what, f"{one:.1f}", f"{one - bare:.1f}"] for name, one in cost.items()]
    yield from table(["1,000 instructions per query", "all", "the engine"], cells)
    yield from report(list(_judge(cost)), "Goals")


def _judge(cost: dict[str, float]) -> Iterator[Goal]:
    bare = cost[WORKERS]
    for name in ENGINES:
        if name in cost:
            what = f"{STUBBED[name].what}: 1,000 instructions of the engine"
            yield goal(what, cost[name] - bare, ENGINE_LIMIT)
    found, told, shared = LIMITERS
    for local in (found, told):
        if shared in cost and local in cost:
            what = f"{STUBBED[shared].what}: x {STUBBED[local].what}"
            yield goal(what, cost[shared] / cost[local], LIMITER_RATIO_LIMIT)


def main() -> None:
    """Count, and print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--queries", type=int, default=1_000, help="per turn")
    parser.add_argument("--only", nargs="+", choices=STUBBED, default=list(STUBBED))
    arguments = parser.parse_args()
    say(about(described("msgspec")))
    rounds = Rounds(arguments.queries, arguments.queries, None, callgrind=True)
    rounds.run(dict.fromkeys((WORKERS, *arguments.only)), [LOOP], NO_SERVER, rounds=1)
    say((*result_lines(rounds.rows()), *rounds.notes()))


if __name__ == "__main__":
    main()

"""What many pending ids cost: `python -m benchmarks.scale`.

A thousand to a million ids that stay pending, in a new process for each size. Measured are the
bytes per id beyond its own string, the CPU time per poll, the longest stall of the event loop in
each phase, and the time to take the ids in and to leave the run. The comparison is an asyncio task
per id, which sleeps between its polls, with the same schedule, up to a bounded size. The ids come
as a list; at the largest size also from a generator and from an async one, and with `gc.freeze()`
after the intake.

About bias. The whole client runs, except its transport: answers of 400 bytes come a turn of the
loop later, without a network, and are decoded. So HTTP does not hide what grows with the number of
ids. Real polls cost some 50 us more each, which makes the ratio between sizes smaller. The schedule
makes every decision of the default one, and then has all ids overdue at all times: a worse case
than any real one. Memory is the resident memory of the process, with the slack of the allocator and
of growing tables. Up to 100,000 ids the client keeps the last record of each, beyond that none, so
the bytes per id fall there. A stall is the CPU time between two turns of the loop, so that other
processes on the machine do not count; the JSON has the wall time, too.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks._machine import cores, described
from benchmarks._report import (
    Goal,
    about,
    argument_parser,
    figure,
    goal,
    report,
    say,
    spread,
    table,
    write,
)
from benchmarks.speed.child import started
from benchmarks.speed.pending_ids import PendingCost, PendingTask

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MILLION = 1_000_000
PHASES = ("taking in", "first", "polling", "leaving")


class Row(msgspec.Struct, frozen=True):
    """A number of ids, and the costs of its rounds."""

    who: str
    source: str
    count: int
    rounds: Sequence[PendingCost]

    @property
    def memory(self) -> float:
        """Bytes per id."""
        return statistics.median(one.memory for one in self.rounds)

    @property
    def poll(self) -> float:
        """Microseconds of CPU time per poll."""
        return statistics.median(one.poll for one in self.rounds)

    @property
    def taken_in(self) -> float:
        """Seconds until all ids are taken in."""
        return statistics.median(one.taken_in for one in self.rounds)

    @property
    def left(self) -> float:
        """Seconds until the run is left."""
        return statistics.median(one.left for one in self.rounds)

    def stall(self, phase: str) -> float:
        """Return the longest stall of a phase, in milliseconds of CPU time."""
        return statistics.median(one.stalls[phase].work for one in self.rounds)


def plan(sizes: Sequence[int], most_tasks: int, polls: int) -> Iterator[PendingTask]:
    """Yield the tasks."""
    core = cores()[0]
    for count in sizes:
        yield PendingTask("ours", "list", count, polls, core=core)
        if count == max(sizes):
            for source in ("generator", "async"):
                yield PendingTask("ours", source, count, polls, core=core)
            yield PendingTask("ours", "list", count, polls, freeze=True, core=core)
        if count <= most_tasks:
            yield PendingTask("tasks", "list", count, polls, core=core)


def measure(tasks: Sequence[PendingTask], rounds: int) -> list[Row]:
    """Measure all tasks in each round, and return a row per task."""
    costs: dict[PendingTask, list[PendingCost]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            with started("pending_ids", task) as child:
                costs[task].append(child.receive(PendingCost))
    return [
        Row(task.who, task.source + ", frozen" * task.freeze, task.count, some)
        for task, some in costs.items()
    ]


def judge(rows: Sequence[Row]) -> Iterator[Goal]:
    """Yield the goals of a million ids, if that many were measured."""
    ours = [row for row in rows if row.who == "ours"]
    for row in ours:
        if row.count == MILLION:
            what = f"1,000,000 ids, {row.source}"
            yield goal(f"{what}: bytes each", row.memory, 400)
            yield goal(f"{what}: seconds to take them in", row.taken_in, 5)
            stall = max(row.stall(phase) for phase in PHASES)
            yield goal(f"{what}: longest stall, ms", stall, 50)
            ratio = row.poll / ours[0].poll
            yield goal(f"{what}: a poll, x one among {ours[0].count:,}", ratio, 1.3)


def result_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table with a row per number of ids and source."""
    head = ["", "ids", "bytes per id", "us per poll", "x first", "spread", "in, s", "out, s"]
    head += [f"stall {phase}, ms" for phase in PHASES]
    yield ""
    yield from table(head, (_cells(row, rows[0]) for row in rows))


def _cells(row: Row, first: Row) -> list[str]:
    return [
        "a task per id" if row.who == "tasks" else f"ours, {row.source}",
        f"{row.count:,}",
        f"{row.memory:,.0f}",
        f"{row.poll:.1f}",
        f"{row.poll / first.poll:.2f}",
        f"{spread([one.poll for one in row.rounds]):.0%}",
        f"{row.taken_in:.2f}",
        f"{row.left:.2f}",
        *(f"{row.stall(phase):.0f}" for phase in PHASES),
    ]


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw memory, the cost of a poll and the longest stall against the number of ids."""
    drawing = figure(width=15, height=5)
    panels: dict[str, Callable[[Row], float]] = {
        "bytes per id": lambda row: row.memory,
        "us of CPU time per poll": lambda row: row.poll,
        "longest stall, ms": lambda row: max(row.stall(phase) for phase in PHASES),
    }
    for axes, (title, value) in zip(drawing.subplots(1, 3), panels.items(), strict=True):
        for who in ("ours", "tasks"):
            mine = [row for row in rows if row.who == who and row.source == "list"]
            axes.plot([row.count for row in mine], [value(row) for row in mine], "o-", label=who)
        # Not "log": few ids may take no memory that can be measured.
        axes.set(xscale="log", yscale="symlog", title=title, xlabel="pending ids")
        axes.grid(visible=True, which="both", alpha=0.2)
        axes.legend()
    drawing.savefig(path, dpi=110)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__, output=True)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--tasks", type=int, default=100_000, help="largest size for a task per id")
    parser.add_argument("--polls", type=int, default=100_000, help="that are timed")
    arguments = parser.parse_args(given)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    arguments = _arguments(given)
    machine = described("msgspec", "anyio")
    say(about(machine))
    tasks = list(plan(sorted(arguments.sizes), arguments.tasks, arguments.polls))
    rows = measure(tasks, arguments.rounds)
    goals = list(judge(rows))
    say((*result_lines(rows), *report(goals, "Goals (medians of the rounds)")))
    document = {"machine": machine, "goals": goals, "rows": rows}
    write(arguments.output, "scale", document, lambda path: plot(rows, path))


if __name__ == "__main__":
    main()

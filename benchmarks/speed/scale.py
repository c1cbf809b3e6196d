"""What many pending ids cost: `python -m benchmarks.scale`.

A thousand to a million ids that stay pending, in a process for each size: bytes an id beyond its
own string, CPU time a poll, the longest stall of the event loop in each phase, and how long taking
in and leaving take. Against a task for each id, asleep between its polls, with the same schedule;
that stops at a bounded size. Ids come as a list; at the largest size also from a generator and an
async one, and with `gc.freeze()` after the intake.

A word on bias. The whole client runs, its transport aside: answers of 400 bytes come a turn of the
loop later, with no network, and are decoded, so that what grows with the number of ids is not
hidden behind HTTP. Real polls cost some 50 us more each, which makes the ratio of sizes smaller.
The schedule makes every decision that the default one makes, and then has all ids overdue at all
times: a worse case than any real one. Memory is what the process has resident, all slack of the
allocator and of growing tables included. Up to 100,000 ids the client keeps the last record of
each, beyond it none: bytes an id fall there. A stall counts the CPU time between two turns of the
loop, so that neighbours on the machine do not count; the JSON has the wall's, too.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks._machine import cores, described
from benchmarks._report import Goal, about, figure, goal, report, say, spread, table, write
from benchmarks.speed.child import run
from benchmarks.speed.pending_ids import Measured, Task

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MILLION = 1_000_000
PHASES = ("taking in", "first", "polling", "leaving")


class Row(msgspec.Struct, frozen=True):
    """One crowd, and what its rounds gave."""

    who: str
    source: str
    count: int
    rounds: Sequence[Measured]

    @property
    def memory(self) -> float:
        """Bytes an id."""
        return statistics.median(one.memory for one in self.rounds)

    @property
    def poll(self) -> float:
        """Microseconds of CPU time a poll."""
        return statistics.median(one.poll for one in self.rounds)

    @property
    def taken_in(self) -> float:
        """Seconds."""
        return statistics.median(one.taken_in for one in self.rounds)

    @property
    def left(self) -> float:
        """Seconds."""
        return statistics.median(one.left for one in self.rounds)

    def stall(self, phase: str) -> float:
        """Milliseconds of work that held up the loop at most."""
        return statistics.median(one.stalls[phase].work for one in self.rounds)


def plan(sizes: Sequence[int], most_tasks: int, polls: int) -> Iterator[Task]:
    """List what is measured."""
    core = cores()[0]
    for count in sizes:
        yield Task("ours", "list", count, polls, core=core)
        if count == max(sizes):
            for source in ("generator", "async"):
                yield Task("ours", source, count, polls, core=core)
            yield Task("ours", "list", count, polls, freeze=True, core=core)
        if count <= most_tasks:
            yield Task("tasks", "list", count, polls, core=core)


def measure(tasks: Sequence[Task], rounds: int) -> list[Row]:
    """Measure everything once, then once more, as often as told."""
    measured: dict[Task, list[Measured]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            measured[task].append(run("pending_ids", task, Measured)[0])
    return [
        Row(task.who, task.source + ", frozen" * task.freeze, task.count, some)
        for task, some in measured.items()
    ]


def judge(rows: Sequence[Row]) -> Iterator[Goal]:
    """Hold the largest crowds of ours against the goals of a million, if that is their size."""
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


def tell(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out all crowds."""
    head = ["", "ids", "bytes an id", "us a poll", "x first", "spread", "in, s", "out, s"]
    head += [f"stall {phase}, ms" for phase in PHASES]
    yield ""
    yield from table(head, (_cells(row, rows[0]) for row in rows))


def _cells(row: Row, first: Row) -> list[str]:
    return [
        "a task an id" if row.who == "tasks" else f"ours, {row.source}",
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
        "bytes an id": lambda row: row.memory,
        "us of CPU time a poll": lambda row: row.poll,
        "longest stall, ms": lambda row: max(row.stall(phase) for phase in PHASES),
    }
    for axes, (title, value) in zip(drawing.subplots(1, 3), panels.items(), strict=True):
        for who in ("ours", "tasks"):
            mine = [row for row in rows if row.who == who and row.source == "list"]
            axes.plot([row.count for row in mine], [value(row) for row in mine], "o-", label=who)
        axes.set(xscale="log", yscale="log", title=title, xlabel="pending ids")
        axes.grid(visible=True, which="both", alpha=0.2)
        axes.legend()
    drawing.savefig(path, dpi=110)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--tasks", type=int, default=100_000, help="at most, of a task an id")
    parser.add_argument("--polls", type=int, default=100_000, help="that are timed")
    parser.add_argument("--output", type=Path, default=Path("build"), help="a directory")
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
    say((*tell(rows), *report(goals, "Goals (medians of the rounds)")))
    document = {"machine": machine, "goals": goals, "rows": rows}
    write(arguments.output, "scale", document, lambda path: plot(rows, path))


if __name__ == "__main__":
    main()

"""The rounds of a throughput benchmark: all clients in turn, each in its own process.

Processes stay open for some rounds, so that turns can be short, and before each turn a reference
has one of its own: the speed of a shared machine changes from one second to the next, by up to
twofold. Then come new ones, for how memory happens to lie makes one a tenth slower than another.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import msgspec

from benchmarks.speed.child import Child, ChildError, opened, run
from benchmarks.speed.competitors import EVERY, Target
from benchmarks.speed.turns import Measured, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.speed.server import Server

TOGETHER = 3
"""Rounds of one set of processes."""
WARM_UP = 30
"""Queries that each connection has had before anything is measured."""
Turn = Callable[[], tuple[float, list[float]]]
"""Gives the cost of a query, and how many there were a second."""

_COLLECTED = re.compile(rb"Collected : (\d+)")


class Row(msgspec.Struct):
    """One client on one loop, with or without TLS: a figure for each round."""

    client: str
    loop: str
    tls: bool
    costs: list[float]
    """Of a query: microseconds of CPU time, or thousands of instructions."""
    rates: list[float]
    """Queries a second; none where instructions are counted."""
    ratios: list[float]
    """The cost by that of the reference's turn just before; none where there is no reference."""

    @property
    def variant(self) -> tuple[str, bool]:
        """What it is compared within."""
        return self.loop, self.tls

    @property
    def cost(self) -> float:
        """The median."""
        return statistics.median(self.costs)

    def ratio(self, other: Row) -> float:
        """Compare with another round by round, by what the reference's turns say of both."""
        both = bool(self.ratios and other.ratios)
        pairs = zip(
            self.ratios if both else self.costs, other.ratios if both else other.costs, strict=True
        )
        return statistics.median(mine / theirs for mine, theirs in pairs)


class Rounds:
    """Runs rounds, and collects what they gave."""

    def __init__(self, queries: int, pending: int, core: int | None, callgrind: bool) -> None:
        self.skipped: dict[str, str] = {}
        self._queries, self._pending, self._runtime = queries, pending, core
        self._callgrind = callgrind
        self._rows: dict[tuple[str, str, bool], Row] = {}

    def run(
        self,
        clients: Iterable[str],
        loops: Sequence[str],
        server: Server,
        *,
        rounds: int,
        reference: str = "bare",
    ) -> None:
        """Run so many rounds, in an order that is shuffled anew for each."""
        shuffle = random.Random(0).shuffle
        tasks = [self.task(client, loop, server) for client, loop in product(clients, loops)]
        for first in range(0, rounds, TOGETHER):
            with ExitStack() as stack:
                turns = [(task, turn) for task in tasks if (turn := self._open(task, stack))]
                references = {
                    task.loop: turn
                    for task, turn in turns
                    if task.client == reference and not self._callgrind
                }
                for _ in range(first, min(first + TOGETHER, rounds)):
                    shuffle(turns)
                    turns = [one for one in turns if self._take(*one, references.get(one[0].loop))]
                tasks = [task for task, _ in turns]

    def rows(self) -> list[Row]:
        """Give what was measured, in the order of the competitors."""
        order = list(EVERY)
        rows = list(self._rows.values())
        return sorted(rows, key=lambda row: (row.tls, row.loop, order.index(row.client)))

    def task(self, client: str, loop: str, server: Server) -> Task:
        """Make the task of one client."""
        competitor = EVERY[client]
        flight = competitor.in_flight
        target = Target(server.base_url, server.authority, flight, self._pending)
        queries = max(int(self._queries * competitor.share), 1)
        return Task(client, loop, target, queries, warm_up=WARM_UP * flight, core=self._runtime)

    def _open(self, task: Task, stack: ExitStack) -> Turn | None:
        """Make a client ready; give what takes a turn of it."""
        if self._callgrind:
            return partial(_instructions, task)
        child = stack.enter_context(opened("turns", task))
        try:
            skipped = child.hear(Measured).skipped
        except ChildError as error:
            skipped = str(error)
        if skipped is None:
            return partial(_time, child)
        self._skip(task, skipped)
        return None

    def _take(self, task: Task, turn: Turn, reference: Turn | None) -> bool:
        """Take a turn, the reference's first; tell whether it went well."""
        try:
            near = None if reference is None else reference()[0]
            cost, rate = turn()
        except ChildError as error:
            self._skip(task, str(error))
            return False
        row = self._rows.setdefault(_key(task), Row(*_key(task), [], [], []))
        row.costs.append(cost)
        row.rates += rate
        row.ratios += [] if near is None else [cost / near]
        return True

    def _skip(self, task: Task, why: str) -> None:
        """Leave a client out: rounds are compared one by one, so it has all of them or none."""
        self.skipped[f"{task.client} ({task.loop}{', TLS' if task.target.authority else ''})"] = why
        self._rows.pop(_key(task), None)


def _key(task: Task) -> tuple[str, str, bool]:
    return task.client, task.loop, task.target.authority is not None


def _time(child: Child) -> tuple[float, list[float]]:
    child.say()
    measured = child.hear(Measured)
    return measured.cpu / measured.queries * 1e6, [measured.queries / measured.wall]


def _instructions(task: Task) -> tuple[float, list[float]]:
    """Count what two turns take more than one."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ChildError("valgrind is not installed")
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    is_one_shot, twice = (_collected(task, command, turns) for turns in (1, 2))
    return (twice - is_one_shot) / task.queries / 1000, []


def _collected(task: Task, command: Sequence[str], turns: int) -> int:
    measured, told = run("turns", task, Measured, under=command, said=b"\n" * turns)
    found = _COLLECTED.search(told)
    if measured.skipped is not None or found is None:
        raise ChildError(measured.skipped or "valgrind counted nothing")
    return int(found[1])

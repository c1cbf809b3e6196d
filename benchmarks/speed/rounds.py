"""Rounds of a comparison: all clients in turn, each in its own process.

1. A turn is short, and a turn of a reference client comes right before it: the speed of a shared
   machine changes from one second to the next, by up to twofold. Only ratios to that turn count.
2. The processes are new after some rounds: by the layout of its memory alone, one process is a
   tenth slower than another.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product

import msgspec

from benchmarks._report import spread, table
from benchmarks.speed.child import Child, ChildError, started
from benchmarks.speed.clients import ALL_CLIENTS
from benchmarks.speed.competitors import Target
from benchmarks.speed.server import Server
from benchmarks.speed.turns import Turn, TurnsTask

ROUNDS_PER_PROCESS = 3
WARM_UP_QUERIES_PER_CONNECTION = 30
TakeTurn = Callable[[], tuple[float, list[float]]]
"""Returns the cost of a query, and the queries per second, if they were measured."""

_COLLECTED = re.compile(rb"Collected : (\d+)")


class Row(msgspec.Struct):
    """One client on one loop, with or without TLS: a figure for each round."""

    client: str
    loop: str
    tls: bool
    costs: list[float]
    """Per query: microseconds of CPU time, or thousands of instructions."""
    rates: list[float]
    """Queries per second; empty where instructions are counted."""
    ratios: list[float]
    """The cost, divided by that of the reference's turn just before; empty without a reference."""

    @property
    def variant(self) -> tuple[str, bool]:
        """The loop and TLS: rows are compared within a variant."""
        return self.loop, self.tls

    @property
    def cost(self) -> float:
        """The median of the costs."""
        return statistics.median(self.costs)

    def ratio(self, other: Row) -> float:
        """Return the median over the rounds of this cost by the other's.

        Where both rows have ratios to the reference, these are compared.
        """
        both = bool(self.ratios and other.ratios)
        pairs = zip(
            self.ratios if both else self.costs, other.ratios if both else other.costs, strict=True
        )
        return statistics.median(mine / theirs for mine, theirs in pairs)


def cost_table(rows: Sequence[Row], unit: str, base: str = "bare") -> Iterator[str]:
    """Yield a table of rows: the cost per query, its ratio to that of `base`, and the spread."""
    by_client = {row.client: row for row in rows}
    yield from table(
        ["client", unit, f"x {ALL_CLIENTS[base].what}", "queries/s", "spread"],
        (
            [
                ALL_CLIENTS[row.client].what,
                f"{row.cost:.1f}",
                f"{row.ratio(by_client[base]):.2f}" if base in by_client else "",
                f"{statistics.median(row.rates):,.0f}" if row.rates else "",
                f"{spread(row.costs):.0%}",
            ]
            for row in rows
        ),
    )


class Rounds:
    """Runs rounds, and collects their figures."""

    def __init__(self, queries: int, pending: int, core: int | None, *, callgrind: bool) -> None:
        self.skipped: dict[str, str] = {}
        """Why a client was left out, by its name and variant."""
        self._queries, self._pending, self._core = queries, pending, core
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
        """Run the rounds; the order of the clients is shuffled anew for each."""
        shuffle = random.Random(0).shuffle
        tasks = [self.task(client, loop, server) for client, loop in product(clients, loops)]
        for first in range(0, rounds, ROUNDS_PER_PROCESS):
            with ExitStack() as stack:
                turns = [(task, turn) for task in tasks if (turn := self._start(task, stack))]
                references = {
                    task.loop: turn
                    for task, turn in turns
                    if task.client == reference and not self._callgrind
                }
                for _ in range(first, min(first + ROUNDS_PER_PROCESS, rounds)):
                    shuffle(turns)
                    turns = [one for one in turns if self._take(*one, references.get(one[0].loop))]
                tasks = [task for task, _ in turns]

    def rows(self) -> list[Row]:
        """Return the rows, in the order of the clients' table."""
        order = list(ALL_CLIENTS)
        rows = list(self._rows.values())
        return sorted(rows, key=lambda row: (row.tls, row.loop, order.index(row.client)))

    def notes(self) -> list[str]:
        """Return a line for each client that was left out."""
        return [f"skipped: {name}, {reason}" for name, reason in self.skipped.items()]

    def task(self, client: str, loop: str, server: Server) -> TurnsTask:
        """Return the task of one client."""
        competitor = ALL_CLIENTS[client]
        in_flight = competitor.in_flight
        target = Target(server.base_url, server.ca_file, in_flight, self._pending)
        queries = max(int(self._queries * competitor.share), 1)
        warm_up = WARM_UP_QUERIES_PER_CONNECTION * in_flight
        return TurnsTask(client, loop, target, queries, warm_up, self._core)

    def _start(self, task: TurnsTask, stack: ExitStack) -> TakeTurn | None:
        """Start a client, wait until it is warm, and return the function that measures a turn."""
        if self._callgrind:
            return partial(_count_instructions, task)
        child = stack.enter_context(started("turns", task))
        try:
            skipped = child.receive(Turn).skipped
        except ChildError as error:
            skipped = str(error)
        if skipped is None:
            return partial(_time, child)
        self._skip(task, skipped)
        return None

    def _take(self, task: TurnsTask, turn: TakeTurn, reference: TakeTurn | None) -> bool:
        """Measure a turn, the reference's first, and return whether both went well."""
        try:
            reference_cost = None if reference is None else reference()[0]
            cost, rate = turn()
        except ChildError as error:
            self._skip(task, str(error))
            return False
        row = self._rows.setdefault(_key(task), Row(*_key(task), [], [], []))
        row.costs.append(cost)
        row.rates += rate
        row.ratios += [] if reference_cost is None else [cost / reference_cost]
        return True

    def _skip(self, task: TurnsTask, reason: str) -> None:
        """Leave a client out wholly: rows are compared round by round."""
        name = f"{task.client} ({task.loop}{', TLS' if task.target.ca_file else ''})"
        self.skipped[name] = reason
        self._rows.pop(_key(task), None)


def _key(task: TurnsTask) -> tuple[str, str, bool]:
    return task.client, task.loop, task.target.ca_file is not None


def _time(child: Child) -> tuple[float, list[float]]:
    child.go_on()
    turn = child.receive(Turn)
    return turn.cpu_per_query, [turn.queries / turn.wall]


def _count_instructions(task: TurnsTask) -> tuple[float, list[float]]:
    """Return how many thousand instructions per query three turns take more than one."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ChildError("valgrind is not installed")
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    one, three = (_instructions(task, command, turns) for turns in (1, 3))
    return (three - one) / 2 / task.queries / 1000, []


def _instructions(task: TurnsTask, command: Sequence[str], turns: int) -> int:
    with started("turns", task, under=command) as child:
        skipped = child.receive(Turn).skipped
        for _ in range(turns if skipped is None else 0):
            child.go_on()
            child.receive(Turn)
        found = _COLLECTED.search(child.finish())
    if skipped is not None or found is None:
        raise ChildError(skipped or "valgrind counted nothing")
    return int(found[1])

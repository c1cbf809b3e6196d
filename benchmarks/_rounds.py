"""The rounds of a throughput benchmark: each in its own process, and what they gave together."""

from __future__ import annotations

import os
import re
import shutil
import statistics
from typing import TYPE_CHECKING

import msgspec

from benchmarks._child import ChildError, run
from benchmarks._competitors import EVERY, Target
from benchmarks._round import Measured, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._server import Server

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

    @property
    def variant(self) -> tuple[str, bool]:
        """What it is compared within."""
        return self.loop, self.tls

    @property
    def cost(self) -> float:
        """The median."""
        return statistics.median(self.costs)

    def ratio(self, other: Row) -> float:
        """Compare with another round by round: what disturbs one disturbs its neighbour, too."""
        pairs = zip(self.costs, other.costs, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


class Rounds:
    """Runs rounds, and collects what they gave."""

    def __init__(self, queries: int, pending: int, core: int | None, callgrind: bool) -> None:
        self.skipped: dict[str, str] = {}
        self._queries, self._pending, self._core = queries, pending, core
        self._callgrind = callgrind
        self._rows: dict[tuple[str, str, bool], Row] = {}

    def run(self, client: str, loop: str, server: Server) -> None:
        """Run one round, unless an earlier one failed."""
        key = client, loop, server.authority is not None
        name = f"{client} ({loop}{', TLS' if key[2] else ''})"
        if name in self.skipped:
            return
        task = self.task(client, loop, server)
        try:
            cost, rate = _instructions(task) if self._callgrind else _time(task)
        except SkippedError as error:
            self.skipped[name] = str(error)
            self._rows.pop(key, None)  # rounds are compared one by one: it has all or none
            return
        row = self._rows.setdefault(key, Row(*key, [], []))
        row.costs.append(cost)
        row.rates += rate

    def rows(self) -> list[Row]:
        """Give what was measured, in the order of the competitors."""
        order = list(EVERY)
        rows = list(self._rows.values())
        return sorted(rows, key=lambda row: (row.tls, row.loop, order.index(row.client)))

    def task(self, client: str, loop: str, server: Server) -> Task:
        """Make the task of one round."""
        competitor = EVERY[client]
        flight = competitor.in_flight
        target = Target(server.base_url, server.authority, flight, self._pending)
        queries = int(self._queries * competitor.share)
        return Task(client, loop, target, queries, warm_up=3 * flight, core=self._core)


class SkippedError(Exception):
    """A client cannot be measured here; why."""


def _time(task: Task) -> tuple[float, list[float]]:
    measured, _ = _run(task, [])
    return measured.cpu / measured.queries * 1e6, [measured.queries / measured.wall]


def _instructions(task: Task) -> tuple[float, list[float]]:
    """Count what twice as many queries take more."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SkippedError("valgrind is not installed")
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    tasks = [msgspec.structs.replace(task, queries=task.queries * n) for n in (1, 2)]
    once, twice = (_collected(_run(one, command)[1]) for one in tasks)
    return (twice - once) / task.queries / 1000, []


def _collected(told: bytes) -> int:
    found = _COLLECTED.search(told)
    if found is None:
        raise SkippedError("valgrind counted nothing")
    return int(found[1])


def _run(task: Task, under: Sequence[str]) -> tuple[Measured, bytes]:
    try:
        measured, told = run("_round", task, Measured, under=under)
    except ChildError as error:
        raise SkippedError(str(error)) from error
    if measured.skipped is not None:
        raise SkippedError(measured.skipped)
    return measured, told

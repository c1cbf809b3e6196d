"""One client in a process of its own, turn by turn: `python -m benchmarks.speed.turns TASK`.

The process writes an empty measurement once it is warm. Then it measures one turn for each line of
its input; between its turns its event loop stands still.
"""

from __future__ import annotations

import asyncio
import cProfile
import importlib
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import count

import msgspec

from benchmarks._machine import pin, raise_mmap_threshold
from benchmarks.speed.answers import COMPLETE, make_ids
from benchmarks.speed.child import read_task, write_line
from benchmarks.speed.clients import ALL_CLIENTS
from benchmarks.speed.competitors import Drain, Target


class TurnsTask(msgspec.Struct, frozen=True):
    """What to measure."""

    client: str
    loop: str
    target: Target
    queries: int
    """Queries per turn."""
    warm_up: int
    """Queries before the first turn."""
    core: int | None = None
    profile: str | None = None
    """The file for a profile of the last turn, or None for no profile."""


class Turn(msgspec.Struct, frozen=True):
    """What one turn cost, or why the client was skipped."""

    queries: int = 0
    cpu: float = 0.0
    """Seconds, user and system."""
    wall: float = 0.0
    """Seconds."""
    skipped: str | None = None

    @property
    def cpu_per_query(self) -> float:
        """Microseconds."""
        return self.cpu / self.queries * 1e6


async def take_turns(task: TurnsTask) -> None:
    """Open the client, warm it up, and measure each turn."""
    async with ALL_CLIENTS[task.client].opened(task.target) as drain:
        await drain(make_ids(task.warm_up, COMPLETE))
        write_line(Turn())
        for turn in count(1):
            if not sys.stdin.readline():  # it may block the loop: nothing is in flight
                return
            write_line(await _measure(task, drain, make_ids(task.queries, COMPLETE, seed=turn)))


async def _measure(task: TurnsTask, drain: Drain, ids: Sequence[str]) -> Turn:
    with nullcontext() if task.profile is None else cProfile.Profile() as profile:
        cpu, wall = time.process_time(), time.perf_counter()
        answered = await drain(ids)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert sorted(answered) == sorted(ids)
    if profile is not None and task.profile is not None:
        profile.dump_stats(task.profile)
    return Turn(task.queries, cpu, wall)


def main() -> None:
    """Measure the task of the command line."""
    task = read_task(TurnsTask)
    pin(task.core)
    if not ALL_CLIENTS[task.client].default_malloc:
        raise_mmap_threshold()
    try:
        factory = importlib.import_module(task.loop).new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(take_turns(task))
    except ImportError as error:
        write_line(Turn(skipped=f"{error.name or error} is not installed"))


if __name__ == "__main__":
    main()

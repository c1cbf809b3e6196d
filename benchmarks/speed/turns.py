"""One client in a process of its own, turn by turn: `python -m benchmarks.speed.turns TASK`.

The task and what was measured are JSON. It tells that it is warm by a line that measures nothing,
and takes a turn for each line that it is given: between its turns its loop stands still.
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

from benchmarks._machine import close_malloc_trap, pin
from benchmarks.speed.answers import COMPLETE, make_ids
from benchmarks.speed.competitors import EVERY, Drain, Target


class Task(msgspec.Struct, frozen=True):
    """What to measure."""

    client: str
    loop: str
    target: Target
    queries: int
    """A turn."""
    warm_up: int
    core: int | None = None
    profile: str | None = None
    """Where to leave a profile of the last turn, or None for none."""


class Measured(msgspec.Struct, frozen=True):
    """What it took; or, instead, why it was not measured."""

    queries: int = 0
    cpu: float = 0.0
    """Seconds, of user and system."""
    wall: float = 0.0
    skipped: str | None = None


async def take_turns(task: Task) -> None:
    """Open, warm up, and time the queries of each turn."""
    async with EVERY[task.client].opened(task.target) as drain:
        await drain(make_ids(task.warm_up, COMPLETE))
        _tell(Measured())
        for turn in count(1):
            if not sys.stdin.readline():  # nothing is under way that this could hold up
                return
            _tell(await _measured(task, drain, make_ids(task.queries, COMPLETE, seed=turn)))


async def _measured(task: Task, drain: Drain, ids: Sequence[str]) -> Measured:
    with nullcontext() if task.profile is None else cProfile.Profile() as profile:
        cpu, wall = time.process_time(), time.perf_counter()
        told = await drain(ids)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert sorted(told) == sorted(ids)
    if profile is not None and task.profile is not None:
        profile.dump_stats(task.profile)
    return Measured(task.queries, cpu, wall)


def _tell(measured: Measured) -> None:
    print(msgspec.json.encode(measured).decode(), flush=True)


def main() -> None:
    """Measure the task of the command line."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    pin(task.core)
    if not EVERY[task.client].malloc_trap:
        close_malloc_trap()
    try:
        factory = importlib.import_module(task.loop).new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(take_turns(task))
    except ImportError as error:
        _tell(Measured(skipped=f"{error.name or error} is not installed"))


if __name__ == "__main__":
    main()

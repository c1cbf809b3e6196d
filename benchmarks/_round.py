"""One round of one client in a process of its own: `python -m benchmarks._round TASK`.

The task and what was measured are JSON. Only what lies between warm-up and closing is counted.
"""

from __future__ import annotations

import asyncio
import cProfile
import importlib
import sys
import time
from contextlib import nullcontext

import msgspec

from benchmarks._answer import COMPLETE, make_ids
from benchmarks._competitors import EVERY, Target
from benchmarks._machine import close_malloc_trap, pin


class Task(msgspec.Struct, frozen=True):
    """What to measure."""

    client: str
    loop: str
    target: Target
    queries: int
    warm_up: int
    core: int | None = None
    profile: str | None = None
    """Where to leave a profile, or None for none."""
    start_together: bool = False
    """Whether, after the warm-up, to say a line and to wait for one."""


class Measured(msgspec.Struct, frozen=True):
    """What it took; or, instead, why it was not measured."""

    queries: int = 0
    cpu: float = 0.0
    """Seconds, of user and system."""
    wall: float = 0.0
    skipped: str | None = None


async def measure(task: Task) -> Measured:
    """Open, warm up, and time the queries."""
    ids = make_ids(task.warm_up + task.queries, COMPLETE)
    warm, timed = ids[: task.warm_up], ids[task.warm_up :]
    async with EVERY[task.client].opened(task.target) as drain:
        await drain(warm)
        if task.start_together:
            print("ready", flush=True)
            sys.stdin.readline()  # nothing is under way that this could hold up
        with nullcontext() if task.profile is None else cProfile.Profile() as profile:
            cpu, wall = time.process_time(), time.perf_counter()
            await drain(timed)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if profile is not None and task.profile is not None:
        profile.dump_stats(task.profile)
    return Measured(task.queries, cpu, wall)


def main() -> None:
    """Measure the task of the command line."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    pin(task.core)
    if not EVERY[task.client].malloc_trap:
        close_malloc_trap()
    try:
        factory = importlib.import_module(task.loop).new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            measured = runner.run(measure(task))
    except ImportError as error:
        measured = Measured(skipped=f"{error.name or error} is not installed")
    print(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()

"""What the command line costs: processor time of `watch` on a terminal, against the library alone.

Both are processes that poll the same gateway for as many ids, in turn: a bare loop over
`as_completed`, and `watch --output` on a terminal of 120 by 24 whose screen is drawn and read. The
time is the process's own, user and system, its start and its imports included. Both are told one
rate of queries, or else the one that is quicker on a busy machine would ask more often.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks._served import Served

LIBRARY = """
import asyncio, sys
from ideogram_async import IdeogramClient
bytearray(1 << 20)
async def main():
    ids = open(sys.argv[1]).read().split()
    async with IdeogramClient(max_in_flight=50, max_rate=1000) as client:
        count = 0
        async for _ in client.as_completed(ids):
            count += 1
        assert count == len(ids)
asyncio.run(main())
"""


def processor_time(command: list[str], environment: dict[str, str]) -> float:
    """Run a command on a terminal; give the seconds of processor that it took."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(  # noqa: S603 - our own
        command, stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    reader = threading.Thread(target=_read_all, args=(master,))
    reader.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    os.close(master)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime


def _read_all(master: int) -> None:
    with suppress(OSError):  # EIO: the other end is closed
        while os.read(master, 1 << 16):
            pass


class Cost(NamedTuple):
    """What one process took."""

    seconds: float
    queries: int


def round_of(count: int, seed: int) -> tuple[Cost, Cost]:
    """Measure both on new ids, one after the other."""
    with tempfile.TemporaryDirectory() as path, Served(latency=0.002, seed=seed) as served:
        listed = Path(path) / "ids"
        watch = [sys.executable, "-m", "ideogram_async", "watch", "--from", str(listed)]
        watch += ["--output", f"{path}/results.jsonl", "--max-in-flight", "50"]
        watch += ["--max-rate", "1000"]
        library = [sys.executable, "-c", LIBRARY, str(listed)]
        if seed % 2:  # which one is first must not matter
            ours, bare = (_cost(command, served, listed, count) for command in (watch, library))
        else:
            bare, ours = (_cost(command, served, listed, count) for command in (library, watch))
    return bare, ours


def _cost(command: list[str], served: Served, listed: Path, count: int) -> Cost:
    gateway, chance = served.gateway, random.Random(count)
    durations = [chance.uniform(5, 25) for _ in range(count)]
    ids = served.call(lambda: [gateway.submit(duration=one) for one in durations])
    listed.write_text("\n".join(ids))
    before = len(gateway.queries)
    seconds = processor_time(command, served.environment() | {"TERM": "xterm-256color"})
    return Cost(seconds, len(gateway.queries) - before)


def main() -> None:
    """Run it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    rounds = [round_of(told.ids, seed) for seed in range(told.rounds)]
    ratio = statistics.median(ours.seconds / bare.seconds for bare, ours in rounds)
    print(f"| {told.ids:,} ids | processor time | queries | against the library |")
    print("|---|---|---|---|")
    _print_row("a loop over `as_completed`", [bare for bare, _ in rounds], 1)
    _print_row("`watch --output` on a terminal", [ours for _, ours in rounds], ratio)


def _print_row(name: str, costs: list[Cost], ratio: float) -> None:
    seconds = statistics.median(cost.seconds for cost in costs)
    queries = statistics.median(cost.queries for cost in costs)
    print(f"| {name} | {seconds:.2f} s | {queries:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

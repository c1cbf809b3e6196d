"""The CPU time of `watch` on a terminal, and of the library alone: `python -m benchmarks.terminal`.

Two processes poll the same gateway for as many ids, one after the other: a bare loop over
`as_completed`, and `watch --output` on a terminal of 120 by 24 whose screen is drawn and read. The
time is the process's own, user and system, with its start and its imports. Both have the same
`max_rate`; without it, the one that is quicker on a busy machine would send more queries.
"""

from __future__ import annotations

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

from benchmarks._gateway import GatewayProcess, gateway_process
from benchmarks._report import argument_parser
from ideogram_async.testing import Gateway

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


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Run a command on a terminal, and return its CPU time."""
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
    """What one process cost."""

    seconds: float
    queries: int


def round_of(count: int, seed: int) -> tuple[Cost, Cost]:
    """Measure both with new ids, one after the other."""
    with (
        tempfile.TemporaryDirectory() as path,
        gateway_process(latency=0.002, seed=seed) as gateway,
    ):
        listed = Path(path) / "ids"
        watch = [sys.executable, "-m", "ideogram_async", "watch", "--from", str(listed)]
        watch += ["--output", f"{path}/results.jsonl", "--max-in-flight", "50"]
        watch += ["--max-rate", "1000"]
        library = [sys.executable, "-c", LIBRARY, str(listed)]
        if seed % 2:  # the order must not matter
            ours, bare = (_cost(command, gateway, listed, count) for command in (watch, library))
        else:
            bare, ours = (_cost(command, gateway, listed, count) for command in (library, watch))
    return bare, ours


def _cost(command: list[str], gateway: GatewayProcess, listed: Path, count: int) -> Cost:
    rng = random.Random(count)
    listed.write_text("\n".join(gateway.submit(rng.uniform(5, 25) for _ in range(count))))
    before = gateway.call(_query_count)
    seconds = cpu_seconds(command, gateway.environment() | {"TERM": "xterm-256color"})
    return Cost(seconds, gateway.call(_query_count) - before)


def _query_count(gateway: Gateway) -> int:
    return len(gateway.queries)


def main() -> None:
    """Run it, and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--ids", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = [round_of(arguments.ids, seed) for seed in range(arguments.rounds)]
    ratio = statistics.median(ours.seconds / bare.seconds for bare, ours in rounds)
    print(f"| {arguments.ids:,} ids | CPU time | queries | by the library's |")
    print("|---|---|---|---|")
    _print_row("a loop over `as_completed`", [bare for bare, _ in rounds], 1)
    _print_row("`watch --output` on a terminal", [ours for _, ours in rounds], ratio)


def _print_row(name: str, costs: list[Cost], ratio: float) -> None:
    seconds = statistics.median(cost.seconds for cost in costs)
    queries = statistics.median(cost.queries for cost in costs)
    print(f"| {name} | {seconds:.2f} s | {queries:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

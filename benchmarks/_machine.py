"""The machine under a benchmark: its cores, its versions, and a trap of its malloc."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Where `python -m benchmarks.…` is run."""


def cores() -> tuple[int | None, int | None]:
    """Choose a core for the client, and another for the server; None where nothing is pinned."""
    cores = all_cores()
    return cores[0], cores[-1]


def all_cores() -> list[int | None]:
    """List the cores there are, the client's first; one None where nothing is pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return [*sorted(os.sched_getaffinity(0), reverse=True)]


def pin(core: int | None, process: int = 0) -> None:
    """Keep a process, by default this one, on a core."""
    if core is not None:
        os.sched_setaffinity(process, {core})


def close_malloc_trap() -> None:
    """Free one large block, so that glibc keeps smaller ones instead of mapping each anew.

    asyncio receives into blocks of 256 KiB, above glibc's first threshold for `mmap`; freeing a
    larger one raises that for good. Worth a fifth of aiohttp's time on Python 3.11, nothing on
    3.13.
    """
    bytearray(1 << 20)


def described(*packages: str) -> dict[str, str]:
    """Tell of the machine, and of the versions that matter."""
    told = {
        "cpu": _processor(),
        "cores": str(len(_allowed())),
        "system": f"{platform.system()} {platform.release()}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    for package in packages:
        with suppress(PackageNotFoundError):
            told[package] = version(package)
    return told


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""The machine that a benchmark runs on: its cores, versions and memory, and a setting of malloc."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The directory in which `python -m benchmarks.…` runs."""


def cores() -> tuple[int | None, int | None]:
    """Return a core for the client and one for the server; None where nothing can be pinned."""
    cores = all_cores()
    return cores[0], cores[-1]


def all_cores() -> list[int | None]:
    """Return the cores, the client's first; one None where nothing can be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return [*sorted(os.sched_getaffinity(0), reverse=True)]


def pin(core: int | None, process: int = 0) -> None:
    """Keep a process (0: this one) on a core; do nothing for None."""
    if core is not None:
        os.sched_setaffinity(process, {core})


def raise_mmap_threshold() -> None:
    """Free one large block, so that glibc keeps smaller blocks instead of mapping each anew.

    asyncio receives into blocks of 256 KiB. That is above glibc's first threshold for `mmap`, and
    freeing a larger block raises the threshold for good. This saves a fifth of aiohttp's CPU time
    on Python 3.11, and nothing on 3.13.
    """
    bytearray(1 << 20)


def resident_bytes() -> int:
    """Return this process's resident memory, in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def described(*packages: str) -> dict[str, str]:
    """Return the machine's properties, and the versions of Python and of installed packages."""
    properties = {
        "cpu": _processor(),
        "cores": str(len(all_cores()) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    for package in packages:
        with suppress(PackageNotFoundError):
            properties[package] = version(package)
    return properties


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Reading and writing without blocking the loop, and without threads.

A file descriptor is waited for, and left as it is: making it non-blocking would change it for every
process that shares it, a shell and its terminal among them.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import Any

CHUNK_BYTES = 1 << 16
PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe which is ready takes without blocking."""


async def read_some(fd: int) -> bytes:
    """Wait until there is something to read, and return it; b"" at the end."""
    loop = asyncio.get_running_loop()
    await _ready(fd, loop.add_reader, loop.remove_reader)
    return os.read(fd, CHUNK_BYTES)


async def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, as fast as the reader takes them."""
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        await _ready(fd, loop.add_writer, loop.remove_writer)
        rest = rest[os.write(fd, rest[:PIPE_BUF]) :]


async def _ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    try:
        add(fd, ready.set)
    except (PermissionError, NotImplementedError):
        return  # a file, which is always ready; or Windows, where it may block
    try:
        await ready.wait()
    finally:
        remove(fd)

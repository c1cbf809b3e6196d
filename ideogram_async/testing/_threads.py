"""Whether anyio's worker threads work. No other module of the kit uses anyio's private names."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

_WORKER = "AnyIO worker thread"


def worker_is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether one of anyio's worker threads works for this loop."""
    if threading.active_count() == 1:
        return False
    return any(_is_busy(thread, loop) for thread in threading.enumerate())


def _is_busy(thread: Any, loop: asyncio.AbstractEventLoop) -> bool:
    if not thread.name.startswith(_WORKER):
        return False
    try:
        # A thread is listed as idle only after the loop has received its result.
        return thread.loop is loop and thread not in thread.idle_workers
    except AttributeError:
        raise RuntimeError(
            "virtual time cannot tell whether a worker thread of this version of anyio works: "
            "use asyncio.to_thread, or hold the clock with VirtualTimeLoop.standing()"
        ) from None

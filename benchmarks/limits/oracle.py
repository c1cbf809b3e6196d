"""A client that is told each limit, and learns nothing from refusals: what could be had at best."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.limits.scenes import SETTINGS, Told


@contextmanager
def oracle(told: Told | None) -> Iterator[None]:
    """Tell each client that is made within the block."""
    if told is None:
        yield
        return
    SETTINGS.update({"max_rate": sum(told.rates)})
    yield
    SETTINGS.clear()

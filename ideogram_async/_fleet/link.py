"""The way from a member to what coordinates all: a server, or the process that started them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ideogram_async._fleet.messages import Announcement, Reply, Report


class Link(Protocol):
    """One member's connection, in one event loop. It raises `OSError` where it is cut."""

    async def send(self, report: Report) -> Reply:
        """Send a report; return what the coordinator makes of it."""
        ...

    async def leave(self, report: Report) -> None:
        """Send the last report, and close."""

    async def listen(self, hear: Callable[[Announcement, float], None]) -> None:
        """Pass on what is published, and when it came, until cancelled."""

"""The way from a shard to the run's process: its reports, and the calls that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from ideogram_async._fleet.messages import Announcement, Reply, Report


class ShardLink:
    """The link of a shard's limiter. It is cut only where the shard ends."""

    def __init__(self, report_soon: Callable[[], None]) -> None:
        self._report_soon = report_soon
        self._report: Report | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._hear: Callable[[Announcement, float], None] = lambda *_: None

    # As a `Link`

    async def send(self, report: Report) -> Reply:
        """Put a report into the shard's next one; return what the run makes of it."""
        self._report = report
        self._reply = asyncio.get_running_loop().create_future()
        self._report_soon()
        return await self._reply

    async def leave(self, report: Report) -> None:
        """Do nothing: the run ends the shard, and knows it."""

    async def listen(self, hear: Callable[[Announcement, float], None]) -> None:
        """Pass on what is published, and when it came, until cancelled."""
        self._hear = hear
        await anyio.sleep_forever()

    # For the shard

    def take_report(self) -> Report | None:
        """Return the report that waits, if there is one."""
        report, self._report = self._report, None
        return report

    def answer(self, reply: Reply) -> None:
        """Pass on the run's reply to the last report."""
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def publish(self, news: list[Announcement]) -> None:
        """Pass on what all shards of the key should hear."""
        for one in news:
            self._hear(one, asyncio.get_running_loop().time())

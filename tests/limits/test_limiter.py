"""The seam: any limiter may decide when a session sends, and wakes the client when it may."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from ideogram_async import IdeogramClient
from ideogram_async._limits.pool import SessionPool
from ideogram_async._limits.told_rate import ToldRate
from ideogram_async._statistics import LimitSource
from ideogram_async.testing import Gateway

pytestmark = pytest.mark.anyio


class Refilled(ToldRate):
    """A limiter that has no permits until it is given some, as one that others share."""

    source: LimitSource = "found"

    def __init__(self) -> None:
        super().__init__(1000.0)
        self.permits = 0
        self._changed: Callable[[], None] = lambda: None

    def opens_at(self, now: float) -> float:
        """Return that it is open while there are permits."""
        return now if self.permits else math.inf

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Use a permit."""
        self.permits -= 1
        super().sent(now, paced=paced)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Remember whom to call."""
        self._changed = changed

    def refill(self, permits: int) -> None:
        """Add permits, as a background task does."""
        self.permits += permits
        self._changed()


async def test_permits_that_arrive_wake_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without permits nothing goes out; as many queries as there are permits go at once then."""
    limiter = Refilled()
    monkeypatch.setattr(
        "ideogram_async._runtime.SessionPool", lambda settings: SessionPool(settings, limiter)
    )
    async with Gateway(latency=0.0) as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=0) for _ in range(5)]
        calls = [asyncio.ensure_future(client.retrieve(one)) for one in ids]
        await asyncio.sleep(20)
        assert not gateway.queries
        begun = asyncio.get_running_loop().time()
        limiter.refill(3)
        await asyncio.sleep(1)
        assert [query.at - begun < 0.1 for query in gateway.queries] == [True] * 3
        limiter.refill(2)
        for call in calls:
            assert (await call).is_complete

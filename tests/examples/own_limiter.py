import asyncio
import math
import time
from collections.abc import Callable
from typing import Literal

from limits import RateLimitItem
from limits.aio.strategies import RateLimiter


class LimitsLimiter:
    # Sends what a limiter of `limits` allows: in memory, or in a Redis that others use, too.

    source: Literal["told"] = "told"
    held_until: float = -math.inf
    is_probing: bool = False

    def __init__(self, limiter: RateLimiter, item: RateLimitItem) -> None:
        self.limiter, self.item = limiter, item
        self.rate = item.amount / item.get_expiry()
        self.permits = 0
        self.wanted = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None

    def opens_at(self, now: float) -> float:
        return max(now, self.held_until) if self.permits > 0 else math.inf

    def wait(self, pending: float) -> None:
        self.wanted.set()

    def sent(self, now: float, *, paced: bool = True) -> None:
        self.permits -= 1

    def accepted(self, asked: float, now: float) -> None:
        pass

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        self.hold(now + (retry_after or 1.0), now)
        return True

    def hold(self, until: float, now: float) -> None:
        self.held_until = max(self.held_until, until)

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def run(self, budget: str) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            if await self.limiter.hit(self.item, budget):
                self.permits += 1
                self.changed()
            else:
                window = await self.limiter.get_window_stats(self.item, budget)
                await asyncio.sleep(max(window.reset_time - time.time(), 0.01))
                self.wanted.set()

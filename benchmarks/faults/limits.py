"""5. A real limit must not pass for the fault of ids: the rate limiter hears of it.

And no id fails unasked, however long its turn takes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from benchmarks.faults.scene import Goal, Scene
from benchmarks.faults.stage import Stage, staged
from ideogram_async import FixedInterval
from ideogram_async.testing import (
    Limit,
    Query,
    SlidingWindow,
    TokenBucket,
    run_in_virtual_time,
)

SPAN = 900.0
"""Seconds in which ids that never end are polled."""
REFUSED = 40.0
"""Queries in a hundred that may be refused in the second half of the span, where the limit is far
below what a single id asks. A limiter that hears of each refusal had 31 to 35; one that hears of
none has 50 and more."""
REFUSED_OF_MANY = 2.0
"""The same behind a limit of many queries a second."""
REFUSED_OF_CROWD = 10.0
"""Queries in a hundred that may be refused where ids come new, at a few a second."""
OUTAGE = 5.0
"""Seconds from the start in which nothing listens, where there is an outage."""
LONGEST = 4000.0

Story: TypeAlias = Callable[[Stage], Coroutine[Any, Any, None]]


def limited(
    limit: Callable[[], Limit],
    story: Story,
    seed: int,
    *,
    refused: float = REFUSED,
    **settings: Any,
) -> list[Goal]:
    """Play a story behind a limit that nobody told: a rate shows, and few are refused later."""
    return run_in_virtual_time(_limited, limit(), story, seed, refused, settings)


async def _limited(
    limit: Limit, story: Story, seed: int, refused: float, settings: dict[str, Any]
) -> list[Goal]:
    async with staged(seed, limit=limit, **settings) as stage:
        await stage.play(story(stage), until=SPAN)
        session = stage.client.statistics().sessions[0]
        later = [one for one in stage.gateway.queries if one.at >= SPAN / 2]
        return [
            Goal("no rate", session.rate is None, 0),
            Goal("refused", _refused(later), refused, "%"),
        ]


def _refused(queries: list[Query]) -> float:
    refused = sum(one.status in {429, 503} for one in queries)
    return 100 * refused / max(len(queries), 1)


def endless(ids: int) -> Story:
    """Return a story of ids that never end, polled in one run."""

    async def story(stage: Stage) -> None:
        listed = [stage.gateway.submit(progress="never") for _ in range(ids)]
        await stage.run(listed, deadline=None)

    return story


async def one_after_another(stage: Stage) -> None:
    """Submit a request and await it; then the next."""
    while True:
        await stage.wait(stage.gateway.submit(), just_submitted=True)


async def one_a_second(stage: Stage) -> None:
    """Submit a request each second, and await it while others come."""
    async with anyio.create_task_group() as tasks:
        while True:
            wait = partial(stage.wait, just_submitted=True)
            tasks.start_soon(wait, stage.gateway.submit())
            await anyio.sleep(1.0)


def crowd(ids: int, rate: float, seed: int, *, outage: bool = False) -> list[Goal]:
    """More ids than the limit lets through in their deadline: each is asked in its turn."""
    return run_in_virtual_time(_crowd, ids, rate, seed, outage)


async def _crowd(ids: int, rate: float, seed: int, outage: bool) -> list[Goal]:
    async with staged(seed, limit=TokenBucket(rate, rate)) as stage:
        listed = [stage.gateway.submit(submitted=-60.0) for _ in range(ids)]
        async with anyio.create_task_group() as tasks:
            if outage:
                tasks.start_soon(_away, stage)
                await anyio.lowlevel.checkpoint()
            await stage.play(stage.run(listed), until=LONGEST)
        asked = stage.times_asked(until=LONGEST)
        unasked = sum(not asked[one] for one in stage.errors(listed))
        return [
            Goal("lost", stage.lost(listed), 0),
            Goal("failed unasked", unasked, 0),
            Goal("refused", _refused(stage.gateway.queries), REFUSED_OF_CROWD, "%"),
        ]


async def _away(stage: Stage) -> None:
    async with stage.gateway.down():
        await anyio.sleep(OUTAGE)


def one_in_ten_seconds() -> Limit:
    """Return a limit that is lower than what one id's schedule asks."""
    return SlidingWindow(1, 10.0)


SCENES: dict[str, Scene] = {
    "limit/one-id": partial(limited, one_in_ten_seconds, endless(1)),
    "limit/two-ids": partial(limited, one_in_ten_seconds, endless(2)),
    "limit/one-id/1-in-2-s": partial(limited, partial(TokenBucket, 0.5, 1.0), endless(1)),
    "limit/one-wait-after-another": partial(
        limited, partial(TokenBucket, 0.2, 1.0), one_after_another
    ),
    "limit/one-wait-a-second": partial(
        limited, partial(TokenBucket, 4.0, 4.0), one_a_second, refused=REFUSED_OF_CROWD
    ),
    "limit/bucket-refuses-9-percent": partial(
        limited,
        partial(TokenBucket, 20.0, 20.0),
        endless(44),
        refused=REFUSED_OF_MANY,
        schedule=FixedInterval(2.0),
    ),
    "crowd/3000": partial(crowd, 3000, 3.0),
    "crowd/3000/after-an-outage": partial(crowd, 3000, 3.0, outage=True),
}

FULL: dict[str, Scene] = {
    "crowd/20000": partial(crowd, 20_000, 20.0),
    "crowd/20000/after-an-outage": partial(crowd, 20_000, 20.0, outage=True),
}
"""The same in full size."""

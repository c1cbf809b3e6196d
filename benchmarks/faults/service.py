"""2. A service whose requests come one by one, while one of its models is out of order.

For five minutes the requests of that model get an error each time they are asked; then it works.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import product

import anyio

from benchmarks.faults.scene import Goal, Scene, mean
from benchmarks.faults.sickness import KINDS, Kind
from benchmarks.faults.stage import Stage, staged
from ideogram_async.testing import Fault, Query, run_in_virtual_time

OUT = range(60, 360)
"""The seconds in which the model is out of order."""
LAST = 480.0
"""When the last request comes, in seconds."""
PAUSE = 1.5
"""Seconds between two requests, in the mean."""
PATIENCE = 30.0
"""Seconds that a caller who waits alone gives each of its requests."""
MEAN_LAG = 2.0


class Service:
    """Requests that come one by one, some of them for a model that is out of order."""

    def __init__(self, stage: Stage, kind: Kind, share: float) -> None:
        self._stage = stage
        self._kind = kind
        self._share = share
        self.sound: list[str] = []
        self.sick: list[str] = []
        stage.gateway.on_query = self._judge

    def _judge(self, query: Query) -> Fault | None:
        if query.request_id in self.sick and int(query.at) in OUT:
            return self._kind.of(query.request_id)
        return None

    def _submit(self) -> str:
        request_id = self._stage.gateway.submit()
        out = int(anyio.current_time()) in OUT and self._stage.random.random() < self._share
        (self.sick if out else self.sound).append(request_id)
        return request_id

    async def one_by_one(self) -> None:
        """Await one request after another."""
        while anyio.current_time() < LAST:
            await self._stage.wait(self._submit(), timeout=PATIENCE, just_submitted=True)
            await anyio.sleep(self._stage.random.expovariate(1 / PAUSE))

    async def side_by_side(self) -> None:
        """Await each request as it comes."""
        async with anyio.create_task_group() as tasks:
            while anyio.current_time() < LAST:
                wait = partial(self._stage.wait, just_submitted=True)
                tasks.start_soon(wait, self._submit())
                await anyio.sleep(self._stage.random.expovariate(1 / PAUSE))


def one_by_one(kind: str, percent: int, seed: int) -> list[Goal]:
    """Play a service that awaits one request at a time, and gives each up after 30 s."""
    return run_in_virtual_time(_one_by_one, KINDS[kind], percent / 100, seed)


async def _one_by_one(kind: Kind, share: float, seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        service = Service(stage, kind, share)
        await stage.play(service.one_by_one())
        errors = stage.errors(service.sick)
        untold = sum(not kind.is_named(str(error)) for error in errors.values())
        return [*_lags(stage, service.sound), Goal("not told", untold, 0)]


def side_by_side(kind: str, percent: int, seed: int) -> list[Goal]:
    """Play a service that awaits many requests at a time: the sick ones, too, end well at last."""
    return run_in_virtual_time(_side_by_side, KINDS[kind], percent / 100, seed)


async def _side_by_side(kind: Kind, share: float, seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        service = Service(stage, kind, share)
        await stage.play(service.side_by_side(), until=1500.0)
        return [*_lags(stage, service.sound), Goal("sick lost", stage.lost(service.sick), 0)]


def _lags(stage: Stage, sound: Iterable[str]) -> list[Goal]:
    lags = stage.lags(sound).values()
    return [Goal("lost", stage.lost(sound), 0), Goal("mean lag", mean(lags), MEAN_LAG, "s")]


KIND = ("500", "429", "503")

SCENES: dict[str, Scene] = {
    **{
        f"service/one-by-one/{kind}/{share}": partial(one_by_one, kind, share)
        for kind, share in product(KIND, (15, 50))
    },
    **{
        f"service/side-by-side/{kind}/{share}": partial(side_by_side, kind, share)
        for kind, share in product(KIND, (5, 15, 30, 50))
    },
}

"""4. Hiccups of 20 s in every wording: no id is lost that was ever answered well.

An honest "I do not know this id" still ends `retrieve`, `retrieve_many` and polling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, TypeAlias

from benchmarks.faults.scene import Goal, Scene
from benchmarks.faults.sickness import KINDS, for_all, for_ever
from benchmarks.faults.stage import Stage, staged
from ideogram_async import RequestNotFound
from ideogram_async.testing import run_in_virtual_time

BEGINS = 25.0
SECONDS = 20.0
ENDS = (30.0, 70.0)
"""When the requests are done, in seconds: some within the hiccup, some after it."""

Calls: TypeAlias = Callable[[Stage, list[str]], Any]


def hiccup(kind: str, ids: int, seed: int, *, seconds: float = SECONDS) -> list[Goal]:
    """Every query meets a fault for a while, after all ids were answered well."""
    return run_in_virtual_time(_hiccup, kind, ids, seed, seconds)


async def _hiccup(kind: str, ids: int, seed: int, seconds: float) -> list[Goal]:
    async with staged(seed) as stage:
        stage.gateway.on_query = for_all(KINDS[kind], since=BEGINS, until=BEGINS + seconds)
        sound = [_submit(stage) for _ in range(ids)]
        await stage.play(stage.waits(sound) if ids == 1 else stage.run(sound))
        met = sum(BEGINS <= one.at < BEGINS + seconds for one in stage.gateway.queries)
        return [Goal("lost", stage.lost(sound), 0), Goal("not met", not met, 0)]


def _submit(stage: Stage) -> str:
    ends = stage.random.uniform(*ENDS)
    return stage.gateway.submit(queue=ends - 15.0, duration=15.0)


def unknown(
    kind: str, calls: Calls, seed: int, *, sound: int, within: float, strangers: int = 1
) -> list[Goal]:
    """Ids that the gateway does not know, beside some that it knows: they alone end, and soon."""
    return run_in_virtual_time(_unknown, kind, calls, seed, (strangers, sound), within)


async def _unknown(
    kind: str, calls: Calls, seed: int, ids: tuple[int, int], within: float
) -> list[Goal]:
    async with staged(seed) as stage:
        strangers, known = (stage.submit(count) for count in ids)
        stage.gateway.on_query = for_ever(KINDS[kind], strangers)
        await stage.play(calls(stage, [*strangers, *known]))
        errors = stage.errors(strangers)
        ends = [stage.ends[one].at if one in errors else math.inf for one in strangers]
        honest = sum(isinstance(error, RequestNotFound) for error in errors.values())
        return [
            Goal("lost", stage.lost(known), 0),
            Goal("ended after", max(ends), within, "s"),
            Goal("not told", ids[0] - honest, 0),
        ]


KIND = (
    "500",
    "html-502",
    "503",
    "429",
    "404",
    "html-404",
    "400",
    "410",
    "422",
    "empty",
    "null",
    "html-200",
    "error-in-200",
    "code-in-200",
    "drop",
    "truncate",
    "hang",
    "302",
    "invalid-url",
)
UNKNOWN = ("404", "400", "422", "empty")
POLLED, ALL_POLLED = 40.0, 75.0
"""Seconds in which polling ends for an unknown id: three answers 5 s apart; and where all are
unknown and none was ever answered, 30 s more."""

SCENES: dict[str, Scene] = {
    **{
        f"hiccup/{kind}/{ids}": partial(hiccup, kind, ids)
        for kind, ids in product(KIND, (1, 2, 50))
    },
    **{
        f"unknown/{kind}/retrieve": partial(unknown, kind, Stage.retrieve_each, sound=0, within=1.0)
        for kind in UNKNOWN
    },
    **{
        f"unknown/{kind}/retrieve-many": partial(
            unknown, kind, Stage.retrieve_many, sound=20, within=5.0
        )
        for kind in UNKNOWN
    },
    **{
        f"unknown/{kind}/run": partial(unknown, kind, Stage.run, sound=20, within=POLLED)
        for kind in UNKNOWN
    },
    **{
        f"unknown/{kind}/wait-alone": partial(
            unknown, kind, Stage.waits, sound=0, within=ALL_POLLED
        )
        for kind in UNKNOWN
    },
    **{
        f"unknown/{kind}/all-of-20": partial(
            unknown, kind, Stage.run, sound=0, within=ALL_POLLED, strangers=20
        )
        for kind in UNKNOWN
    },
}

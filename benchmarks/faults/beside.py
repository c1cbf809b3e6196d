"""1. Sound ids beside sick ones: none is lost, none is late, and each sick one fails alone.

The same scene without the sick ids, for the same seed, is the reference: the lag of a sound id is
what it has beyond its lag there.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import product
from typing import Literal, NamedTuple

from benchmarks.faults.scene import Goal, Scene, longest, middle
from benchmarks.faults.sickness import KINDS, for_ever
from benchmarks.faults.stage import Stage, staged
from ideogram_async.testing import run_in_virtual_time

SHARES = (5, 20, 50, 80)
"""Sick ids in a hundred."""
IDS = 60
ASKED = 60
"""Queries that a sick id may cost in 900 s."""

Callers = Literal["run", "waits", "both"]
Order = Literal["shuffled", "sick-first"]


class Mix(NamedTuple):
    """How many ids are sound and sick, who awaits them, and in which order they are handed in."""

    sound: int
    sick: int
    callers: Callers = "run"
    order: Order = "shuffled"
    longest: float | None = None
    """Seconds that the last sound id may lag; by default, what the order allows."""

    @property
    def longest_lag(self) -> float:
        """Seconds that the last sound id may lag."""
        if self.longest is not None:
            return self.longest
        return 8.0 if self.order == "shuffled" else 20.0


class Played(NamedTuple):
    """What came of a scene: the lags of the sound ids, and figures on the sick ones."""

    lost: int
    lags: dict[str, float]
    asked: int = 0
    untold: int = 0
    """Sick ids that did not fail with the words of their own fault."""


def beside(kind: str, mix: Mix, seed: int) -> list[Goal]:
    """Play sound ids beside sick ones, and the sound ones alone."""
    alone = _alone(mix, seed)
    played = run_in_virtual_time(_play, mix, seed, kind)
    beyond = [lag - alone.lags[one] for one, lag in played.lags.items()]
    return [
        Goal("lost", played.lost, 0),
        Goal("median lag", middle(beyond), 1, "s"),
        Goal("longest lag", longest(beyond), mix.longest_lag, "s"),
        Goal("asked", played.asked, ASKED),
        Goal("not told", played.untold, 0),
    ]


@lru_cache(maxsize=64)
def _alone(mix: Mix, seed: int) -> Played:
    return run_in_virtual_time(_play, mix, seed, None)


async def _play(mix: Mix, seed: int, kind: str | None) -> Played:
    async with staged(seed) as stage:
        sound, sick = stage.submit(mix.sound), stage.submit(mix.sick)
        handed_in = [*sick, *sound]
        if mix.order == "shuffled":
            stage.random.shuffle(handed_in)
        if kind is None:
            handed_in = [one for one in handed_in if one in set(sound)]
        else:
            stage.gateway.on_query = for_ever(KINDS[kind], sick)
        await _call(stage, mix.callers, handed_in)
        lost, lags = stage.lost(sound), stage.lags(sound)
        if kind is None:
            return Played(lost, lags)
        return Played(lost, lags, _most_asked(stage, sick), _untold(stage, kind, sick))


async def _call(stage: Stage, callers: Callers, ids: list[str]) -> None:
    if callers == "both":
        await stage.play(stage.run(ids[::2]), stage.waits(ids[1::2]))
    else:
        await stage.play(stage.run(ids) if callers == "run" else stage.waits(ids))


def _most_asked(stage: Stage, ids: list[str]) -> int:
    return max(len(stage.asked(one, until=900.0)) for one in ids)


def _untold(stage: Stage, kind: str, ids: list[str]) -> int:
    errors = stage.errors(ids)
    return len(ids) - sum(KINDS[kind].is_told(error, one) for one, error in errors.items())


SICK = (
    "500",
    "html-200",
    "html-502",
    "410",
    "drop",
    "truncate",
    "429",
    "503",
    "429-wait",
    "503-wait",
)
CALLERS: tuple[Callers, ...] = ("run", "waits", "both")
ORDERS: tuple[Order, ...] = ("shuffled", "sick-first")


def _mix(share: int, callers: Callers, order: Order) -> Mix:
    sick = round(IDS * share / 100)
    return Mix(IDS - sick, sick, callers, order)


SCENES: dict[str, Scene] = {
    f"beside/{kind}/{share}/{callers}/{order}": partial(beside, kind, _mix(share, callers, order))
    for order, kind, share, callers in product(ORDERS, SICK, SHARES, CALLERS)
}

"""1. Sound ids beside sick ones: none is lost, none is late, and each sick one fails alone.

The same scene without the sick ids, for the same seed, is the reference: the lag of a sound id is
what it has beyond its lag there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

from benchmarks.faults.scene import Goal, Scene, longest, middle
from benchmarks.faults.sickness import KINDS, Judge, for_ever
from benchmarks.faults.stage import Stage, staged
from ideogram_async.testing import run_in_virtual_time

ASKED = 60
"""Queries that a sick id may cost in 900 s."""
HUNG_LAG = 45.0
"""Seconds that a sound id may lag beside ids whose queries are never answered."""

Callers: TypeAlias = Literal["run", "waits", "both"]
Order: TypeAlias = Literal["shuffled", "sick-first"]
Faults: TypeAlias = Callable[[list[str]], Judge]
"""From the sick ids to what the gateway does."""


class Mix(NamedTuple):
    """How many ids are sound and sick, who awaits them, and in which order they are handed in."""

    sound: int
    sick: int = 0
    callers: Callers = "run"
    order: Order = "shuffled"

    @property
    def longest_lag(self) -> float:
        """Seconds that the last sound id may lag."""
        return 8.0 if self.order == "shuffled" else 20.0


class Played(NamedTuple):
    """What came of a scene."""

    stops: int
    """Runs that ended for all their ids."""
    lost: int
    """Sound ids that did not end well."""
    lags: Mapping[str, float]
    """Of the sound ids."""
    asked: int
    """Queries for the sick id that was asked most."""
    untold: Mapping[str, int]
    """By kind: sick ids that did not end with the words of that fault."""

    def beyond(self, alone: Played) -> list[float]:
        """Return the sound ids' lags beyond what they have alone."""
        return [lag - alone.lags.get(one, 0.0) for one, lag in self.lags.items()]


def played(mix: Mix, seed: int, faults: Faults) -> Played:
    """Play ids, of which some are sick, against a gateway with faults."""
    return run_in_virtual_time(_play, mix, seed, faults)


@lru_cache(maxsize=64)
def alone(mix: Mix, seed: int) -> Played:
    """Play the same sound ids without the sick ones, against a gateway without a fault."""
    return run_in_virtual_time(_play, mix, seed, None)


async def _play(mix: Mix, seed: int, faults: Faults | None) -> Played:
    async with staged(seed, token="key-0") as stage:  # noqa: S106 - made up
        sound, sick = stage.submit(mix.sound), stage.submit(mix.sick)
        handed_in = [*sick, *sound]
        if mix.order == "shuffled":
            stage.random.shuffle(handed_in)
        if faults is None:
            handed_in = [one for one in handed_in if one not in set(sick)]
        else:
            stage.gateway.on_query = faults(sick)
        await call(stage, mix.callers, handed_in)
        asked = stage.times_asked()
        return Played(
            stops=len(stage.stops),
            lost=stage.lost(sound),
            lags=stage.lags(sound),
            asked=max((asked[one] for one in sick), default=0),
            untold={kind: untold(stage, kind, sick) for kind in KINDS},
        )


async def call(stage: Stage, callers: Callers, ids: list[str]) -> None:
    """Await ids in a run, in tasks of their own, or half in each."""
    if callers == "both":
        await stage.play(stage.run(ids[::2]), stage.waits(ids[1::2]))
    else:
        await stage.play(stage.run(ids) if callers == "run" else stage.waits(ids))


def untold(stage: Stage, kind: str, ids: list[str]) -> int:
    """Return how many ids ended badly, but not by an error that names them and their own fault."""
    errors = stage.errors(ids)
    return stage.lost(ids) - sum(KINDS[kind].is_told(error, one) for one, error in errors.items())


def beside(kind: str, mix: Mix, seed: int, *, since: float = 0.0) -> list[Goal]:
    """Sound ids beside sick ones."""
    found = played(mix, seed, partial(for_ever, KINDS[kind], since=since))
    beyond = found.beyond(alone(mix, seed))
    return [
        Goal("lost", found.lost, 0),
        Goal("median lag", middle(beyond), 1, "s"),
        Goal("longest lag", longest(beyond), mix.longest_lag, "s"),
        Goal("asked", found.asked, ASKED),
        Goal("not told", found.untold[kind], 0),
    ]


def hung(mix: Mix, seed: int) -> list[Goal]:
    """Sound ids beside ids whose queries are never answered."""
    found = played(mix, seed, partial(for_ever, KINDS["hang"]))
    return [
        Goal("lost", found.lost, 0),
        Goal("longest lag", longest(found.beyond(alone(mix, seed))), HUNG_LAG, "s"),
        Goal("asked", found.asked, ASKED),
        Goal("not told", found.untold["hang"], 0),
    ]


def mix_of(ids: int, percent: int, callers: Callers = "run", order: Order = "shuffled") -> Mix:
    """Return a mix in which so many in a hundred are sick."""
    sick = round(ids * percent / 100)
    return Mix(ids - sick, sick, callers, order)


IDS = 60
SHARES = (5, 20, 50, 80)
"""Sick ids in a hundred."""
CALLERS: tuple[Callers, ...] = ("run", "waits", "both")
ORDERS: tuple[Order, ...] = ("shuffled", "sick-first")
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

SCENES: dict[str, Scene] = {
    **{
        f"beside/{kind}/{share}/{callers}/{order}": partial(
            beside, kind, mix_of(IDS, share, callers, order)
        )
        for order, kind, share, callers in product(ORDERS, SICK, SHARES, CALLERS)
    },
    **{  # answered well for 20 s, then sick
        f"beside-later/{kind}/{share}/{callers}": partial(
            beside, kind, mix_of(IDS, share, callers), since=20.0
        )
        for kind, share, callers in product(("500", "429", "410"), (20, 50), CALLERS[:2])
    },
    **{
        f"hung/{ids}/{share}/{callers}": partial(hung, mix_of(ids, share, callers))
        for ids, share, callers in product((50, 200, 500), (5, 15, 30), CALLERS[:2])
    },
}

"""The scenes that were reported: each row that once was seen to fail, with its right outcome.

Those that belong to another group stand there alone: one id answered 403, with one key and with
two; bad certificates; two keys refused in turn; quota words and 402 from the start; a proxy that
answers 407; and 200 ids with a deadline of 30 s and no gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import anyio

from benchmarks.faults import hiccups, verdicts
from benchmarks.faults.beside import ASKED, Mix, beside, call, hung
from benchmarks.faults.scene import Goal, Scene, longest
from benchmarks.faults.sickness import KINDS, Judge, for_ever, one_in
from benchmarks.faults.stage import Stage, staged
from ideogram_async import IdeogramClient
from ideogram_async.testing import run_in_virtual_time

LAG = 8.0
"""Seconds that a sound id may lag."""
AT_ONCE = 1.0
"""Seconds in which an id fails at once."""


def two_sick_waits(seed: int) -> list[Goal]:
    """Two waits of sick ids and no deadline, beside a run of sound ids."""
    return run_in_virtual_time(_two_sick_waits, seed)


async def _two_sick_waits(seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        sound, sick = stage.submit(20), stage.submit(2)
        stage.gateway.on_query = for_ever(KINDS["500"], sick)
        await stage.play(stage.waits(sick, deadline=None), stage.run(sound, deadline=None))
        return [
            *_unharmed(stage, sound),
            Goal("asked", max(stage.times_asked()[one] for one in sick), ASKED),
        ]


def one_asks_to_wait(seed: int) -> list[Goal]:
    """One id of 201 gets 500 with `Retry-After: 60`: nobody else waits, no `retrieve` fails."""
    return run_in_virtual_time(_one_asks_to_wait, seed)


async def _one_asks_to_wait(seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        sound, sick = stage.submit(200), stage.submit(1)
        stage.gateway.on_query = for_ever(KINDS["500-wait"], sick)
        retrieved = [stage.gateway.submit(submitted=-60.0) for _ in range(5)]

        async def now_and_then() -> None:
            for one in retrieved:
                await anyio.sleep(2.0)
                await stage.retrieve_each([one])

        await stage.play(stage.run([*sick, *sound]), now_and_then())
        return _unharmed(stage, [*sound, *retrieved])


def _unharmed(stage: Stage, sound: list[str]) -> list[Goal]:
    return [
        Goal("lost", stage.lost(sound), 0),
        Goal("longest lag", longest(stage.lags(sound).values()), LAG, "s"),
    ]


class Text(str):
    """A text that is no plain `str`, as `numpy.str_` and `Markup` are."""

    __slots__ = ()


def text_of_another_type(seed: int) -> list[Goal]:
    """Three ids of a subclass of `str` are asked as any other, or else fail at once, alone."""
    return run_in_virtual_time(_text_of_another_type, seed)


async def _text_of_another_type(seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        odd, sound = stage.submit(3), stage.submit(20)
        await call(stage, "run", [*map(Text, odd), *sound])
        late = sum(one not in stage.ends or stage.ends[one].at > AT_ONCE for one in odd)
        return [*_unharmed(stage, sound), Goal("neither", min(late, stage.lost(odd)), 0)]


def proxy_is_refused(proxy: str, seed: int) -> list[Goal]:  # noqa: ARG001 - nothing is drawn
    """What is no URL of an HTTP proxy is refused when the client is made."""
    try:
        IdeogramClient("http://127.0.0.1:9", proxy=proxy)
    except ValueError:
        return [Goal("accepted", 0, 0)]
    return [Goal("accepted", 1, 0)]


def _judged(judge: Callable[[], Judge]) -> Callable[[list[str]], Judge]:
    return lambda _: judge()


def _stray(kind: str, number: int, *, first: int) -> Callable[[list[str]], Judge]:
    return _judged(partial(one_in, KINDS[kind], number, first=first))


FOR_EVER = ("500", "410", "html-200")
MIXES = (
    Mix(50, 20),
    Mix(50, 40),
    Mix(50, 60),
    Mix(200, 80),
    Mix(20, 200, order="sick-first"),
)
LATER_UNKNOWN = ("404", "400", "empty", "null", "error-in-200")
WRONG_ROUTE = ("405", "413", "421", "431", "501", "html-404", "html-400")
NO_PROXY: dict[str, Any] = {"without-scheme": "127.0.0.1:3128", "socks": "socks5://127.0.0.1:1080"}

SCENES: dict[str, Scene] = {
    **{
        f"reported/{mix.sick}-sick-{mix.sound}-sound/{kind}": partial(beside, kind, mix)
        for mix, kind in product(MIXES, FOR_EVER)
    },
    **{
        f"reported/{sick}-of-200/{kind}": partial(beside, kind, Mix(200 - sick, sick))
        for sick, kind in product((5, 20, 50), ("429", "503"))
    },
    "reported/60-hung-50-sound": partial(hung, Mix(50, 60)),
    "reported/two-sick-waits": two_sick_waits,
    "reported/one-asks-to-wait": one_asks_to_wait,
    "reported/text-of-another-type": text_of_another_type,
    "reported/one-401-in-300": partial(verdicts.stray, Mix(60), _stray("401", 10**9, first=300)),
    "reported/one-302-after-700": partial(
        verdicts.stray, Mix(150), _stray("302", 10**9, first=700)
    ),
    **{
        f"reported/wait-for-one/{kind}": partial(hiccups.hiccup, kind, 1, seconds=15.0)
        for kind in LATER_UNKNOWN
    },
    **{
        f"reported/wrong-route/{kind}": partial(verdicts.wrong_address, kind, "run", 20)
        for kind in WRONG_ROUTE
    },
    **{f"reported/{kind}-for-one-id": partial(beside, kind, Mix(20, 1)) for kind in ("410", "451")},
    **{
        f"reported/proxy/{name}": partial(proxy_is_refused, proxy)
        for name, proxy in NO_PROXY.items()
    },
}
"""One row or more for each row of the table in which these scenes were first seen."""

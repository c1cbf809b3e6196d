"""3. Verdicts on a key or the address: a stray one ends nothing, a real one ends the run soon."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

from benchmarks.faults.beside import ASKED, CALLERS, Callers, Faults, Mix, alone, call, played
from benchmarks.faults.nodes import tls_nodes
from benchmarks.faults.scene import Goal, Scene, longest
from benchmarks.faults.sickness import (
    KINDS,
    Judge,
    for_all,
    for_ever,
    of_key,
    one_in,
    only_first,
)
from benchmarks.faults.stage import Stage, keys, staged
from ideogram_async import (
    AuthenticationError,
    BaseURLError,
    Credential,
    IdeogramClient,
    IdeogramError,
)
from ideogram_async.testing import Gateway, Query, run_in_virtual_time

STRAY_LAG = 8.0
"""Seconds that a sound id may lag for a stray verdict: it costs one retry."""
MIDWAY = 20.0
"""When a key or an address goes bad, in seconds."""
SENT_AFTER = 12
"""Queries that may be sent after the first refusal of a dead key came back."""
ENDED = 10.0
"""Seconds from that refusal in which the run ends."""
WRONG_ADDRESS = 15.0
"""Seconds in which a run against a wrong address ends."""
HOUR = 3600.0
PATIENT = 7200.0
"""A deadline that outlasts an hour of maintenance, in seconds."""


# Stray ones


def stray(mix: Mix, faults: Faults, seed: int) -> list[Goal]:
    """Verdicts that are wrong: of all ids sound, none is lost, and no run ends."""
    found = played(mix, seed, faults)
    return [
        Goal("runs ended", found.stops, 0),
        Goal("lost", found.lost, 0),
        Goal("longest lag", longest(found.beyond(alone(mix, seed))), STRAY_LAG, "s"),
    ]


def for_one_id(kind: str, mix: Mix, seed: int) -> list[Goal]:
    """A verdict for one id, for ever: it is that id's, which fails alone."""
    found = played(mix, seed, partial(for_ever, KINDS[kind]))
    return [
        Goal("runs ended", found.stops, 0),
        Goal("lost", found.lost, 0),
        Goal("longest lag", longest(found.beyond(alone(mix, seed))), STRAY_LAG, "s"),
        Goal("asked", found.asked, ASKED),
        Goal("not told", found.untold[kind], 0),
    ]


def _one_in(kind: str, number: int, _: list[str]) -> Judge:
    return one_in(KINDS[kind], number, first=number // 2)


def _first(kind: str, _: list[str]) -> Judge:
    return only_first(KINDS[kind])


# Real ones


def real(
    kind: str, callers: Callers, seed: int, *, key_count: int = 1, since: float = MIDWAY
) -> list[Goal]:
    """Every key is refused from some moment on: the run ends, and few queries are sent."""
    return run_in_virtual_time(_real, kind, callers, seed, key_count, since)


async def _real(kind: str, callers: Callers, seed: int, key_count: int, since: float) -> list[Goal]:
    async with staged(seed, credentials=_credentials(key_count)) as stage:
        stage.gateway.on_query = for_all(KINDS[kind], since=since)
        await call(stage, callers, stage.submit(60))
        began = min(one.answered for one in stage.gateway.queries if one.at >= since)
        return [
            Goal("sent after", _sent_after(stage, began), SENT_AFTER),
            Goal("ended after", _ended(stage) - began, ENDED, "s"),
            Goal("not told", _unnamed(stage, kind, AuthenticationError), 0),
        ]


def _sent_after(stage: Stage, moment: float) -> int:
    return sum(one.at > moment for one in stage.gateway.queries)


def _ended(stage: Stage) -> float:
    """Return when all had ended; infinite where an id is neither ended nor listed as pending."""
    return math.inf if stage.unended() else stage.last_end()


def _unnamed(stage: Stage, kind: str, expected: type[IdeogramError] = IdeogramError) -> int:
    """Return how many errors do not name the fault, or are of another type than expected."""
    errors = [*stage.errors(stage.given).values(), *(one.error for one in stage.stops)]
    told = (KINDS[kind].is_named(str(one)) and isinstance(one, expected) for one in errors)
    return sum(not one for one in told)


def _credentials(count: int) -> list[Credential]:
    return [Credential(token=key) for key in keys(count)]


def wrong_address(kind: str, callers: Callers, ids: int, seed: int) -> list[Goal]:
    """An address that never took a query: each call ends soon, and says what came."""
    return run_in_virtual_time(_wrong_address, kind, callers, ids, seed)


async def _wrong_address(kind: str, callers: Callers, ids: int, seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        stage.gateway.on_query = for_all(KINDS[kind])
        await call(stage, callers, stage.submit(ids))
        return [
            Goal("ended after", _ended(stage), WRONG_ADDRESS, "s"),
            Goal("not told", _unnamed(stage, kind, BaseURLError), 0),
        ]


# One key of two


def one_dead_key(seed: int, *, since: float) -> list[Goal]:
    """One key of two is refused from some moment on: all goes on with the other."""
    return run_in_virtual_time(_keys, seed, {"key-0": (since, math.inf)})


def keys_in_turn(seed: int) -> list[Goal]:
    """Two keys are refused in turn, the second when the first works again: nothing ends."""
    return run_in_virtual_time(_keys, seed, {"key-0": (10.0, 25.0), "key-1": (45.0, 60.0)})


async def _keys(seed: int, spans: Mapping[str, tuple[float, float]]) -> list[Goal]:
    judges = {key: of_key(KINDS["401"], key, since=a, until=b) for key, (a, b) in spans.items()}
    async with staged(seed, credentials=_credentials(2)) as stage:
        stage.gateway.on_query = lambda query: judges.get(query.key or "", _well)(query)
        sound = stage.submit(60, over=60.0)
        await call(stage, "run", sound)
        refused = sum(one.status == 401 for one in stage.gateway.queries)
        return [
            Goal("runs ended", len(stage.stops), 0),
            Goal("lost", stage.lost(sound), 0),
            Goal("longest lag", longest(stage.lags(sound).values()), STRAY_LAG, "s"),
            Goal("refused", refused, 2 * SENT_AFTER),
        ]


def _well(_: Query) -> None:
    return None


def two_keys_one_id(kind: str, seed: int) -> list[Goal]:
    """Two keys, and an id that both refuse for ever: it fails alone, asked a few times of each."""
    return run_in_virtual_time(_two_keys_one_id, kind, seed)


async def _two_keys_one_id(kind: str, seed: int) -> list[Goal]:
    async with staged(seed, credentials=_credentials(2)) as stage:
        sound, sick = stage.submit(40), stage.submit(1)
        stage.gateway.on_query = for_ever(KINDS[kind], sick)
        await call(stage, "run", [*sick, *sound])
        return [
            Goal("runs ended", len(stage.stops), 0),
            Goal("lost", stage.lost(sound), 0),
            Goal("asked", stage.times_asked()[sick[0]], ASKED),
            Goal("not told", 1 - sum(_is_told(stage, kind, one) for one in sick), 0),
        ]


def _is_told(stage: Stage, kind: str, request_id: str) -> bool:
    errors = stage.errors([request_id])
    return any(KINDS[kind].is_told(error, one) for one, error in errors.items())


# Spells that pass


def spell(kind: str, seconds: float, seed: int, **options: Any) -> list[Goal]:
    """All queries get a verdict for a while: no run ends, and what has its time is not lost."""
    return run_in_virtual_time(_spell, kind, seconds, seed, options)


async def _spell(kind: str, seconds: float, seed: int, options: dict[str, Any]) -> list[Goal]:
    async with staged(seed, token="key-0") as stage:  # noqa: S106 - made up
        stage.gateway.on_query = for_all(KINDS[kind], since=MIDWAY, until=MIDWAY + seconds)
        sound = stage.submit(40)
        await stage.play(stage.run(sound, **options), until=PATIENT)
        return [Goal("runs ended", len(stage.stops), 0), Goal("lost", stage.lost(sound), 0)]


def until_the_deadline(kind: str, seed: int) -> list[Goal]:
    """An hour of maintenance, and the default deadline: each id ends by it, and no run before."""
    return run_in_virtual_time(_until_the_deadline, kind, seed)


async def _until_the_deadline(kind: str, seed: int) -> list[Goal]:
    async with staged(seed) as stage:
        stage.gateway.on_query = for_all(KINDS[kind], since=MIDWAY)
        await call(stage, "run", stage.submit(40))
        return [
            Goal("runs ended", len(stage.stops), 0),
            Goal("ended after", _ended(stage), 960.0, "s"),
            Goal("not told", _unnamed(stage, kind), 0),
        ]


# Certificates


def bad_node(seed: int) -> list[Goal]:
    """For an hour, after good answers, one new connection in three meets a bad certificate."""
    return run_in_virtual_time(_bad_node, seed)


async def _bad_node(seed: int) -> list[Goal]:
    async with Gateway(seed=seed) as gateway:
        loop, draws = asyncio.get_running_loop(), random.Random(seed)
        is_bad = lambda: 0 < loop.time() - MIDWAY < HOUR and draws.random() < 1 / 3  # noqa: E731
        nodes = tls_nodes(gateway.url, is_bad)
        async with nodes as (url, context), IdeogramClient(url, ssl=context) as client:
            stage = Stage(gateway, client, seed)
            sound = stage.submit(20, over=HOUR)
            await stage.play(stage.run(sound, deadline=PATIENT), until=PATIENT)
            return [Goal("runs ended", len(stage.stops), 0), Goal("lost", stage.lost(sound), 0)]


def untrusted(seed: int) -> list[Goal]:
    """No node shows a certificate that can be trusted: the run ends soon, and says so."""
    return run_in_virtual_time(_untrusted, seed)


async def _untrusted(seed: int) -> list[Goal]:
    async with (
        Gateway(seed=seed) as gateway,
        tls_nodes(gateway.url, lambda: True) as (url, context),
        IdeogramClient(url, ssl=context) as client,
    ):
        stage = Stage(gateway, client, seed)
        await call(stage, "run", stage.submit(20))
        told = any("certificate" in str(one.error) for one in stage.stops)
        return [
            Goal("ended after", _ended(stage), WRONG_ADDRESS, "s"),
            Goal("not told", not told, 0),
        ]


OF_KEY = ("401", "403", "402", "quota-403", "quota-429")
OF_ADDRESS = ("302", "invalid-url", "html-200", "html-404", "405", "421")
WRONG = (*OF_ADDRESS, "html-400", "413", "431", "501")
STRAY = (*OF_KEY, *OF_ADDRESS)
RARE = ((100, 60), (1000, 300))
"""One query in so many, and the ids that are polled: enough to meet it."""
AS_ONE_OR_MANY: tuple[tuple[Callers, int], ...] = (("run", 50), ("waits", 50), ("waits", 1))

SCENES: dict[str, Scene] = {
    **{
        f"stray/{kind}/one-in-{number}": partial(stray, Mix(ids), partial(_one_in, kind, number))
        for kind, (number, ids) in product(STRAY, RARE)
    },
    **{f"stray/{kind}/first": partial(stray, Mix(60), partial(_first, kind)) for kind in STRAY},
    "stray/certificate/one-in-3-nodes": bad_node,
    **{f"one-id/{kind}": partial(for_one_id, kind, Mix(60, 1)) for kind in STRAY},
    **{f"one-id/{kind}/two-keys": partial(two_keys_one_id, kind) for kind in ("401", "403")},
    **{
        f"real/{kind}/{callers}": partial(real, kind, callers)
        for kind, callers in product(OF_KEY, CALLERS)
    },
    **{f"real/{kind}/three-keys": partial(real, kind, "run", key_count=3) for kind in OF_KEY},
    **{f"real/{kind}/at-the-start": partial(real, kind, "run", since=0.0) for kind in OF_KEY},
    "key-of-two/dead-at-the-start": partial(one_dead_key, since=0.0),
    "key-of-two/dead-midway": partial(one_dead_key, since=MIDWAY),
    "key-of-two/refused-in-turn": keys_in_turn,
    **{
        f"wrong-address/{kind}/{callers}/{ids}": partial(wrong_address, kind, callers, ids)
        for kind, (callers, ids) in product(WRONG, AS_ONE_OR_MANY)
    },
    "wrong-address/certificate": untrusted,
    "spell/302/hour": partial(spell, "302", HOUR, deadline=PATIENT),
    "spell/html-200/hour": partial(spell, "html-200", HOUR, deadline=PATIENT),
    "spell/html-503/hour": partial(spell, "html-503", HOUR, deadline=PATIENT),
    "spell/html-404/minutes": partial(spell, "html-404", 240.0),
    "spell/invalid-url/minutes": partial(spell, "invalid-url", 240.0),
    "spell/405/minutes": partial(spell, "405", 240.0),
    "spell/quota-429-wait/20-s": partial(spell, "quota-429-wait", 20.0),
    "spell/302/past-the-deadline": partial(until_the_deadline, "302"),
    "spell/html-200/past-the-deadline": partial(until_the_deadline, "html-200"),
}
